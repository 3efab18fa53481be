"""What is learnt from a model: nested sampling and evidence, expressions of the model at the draws of its posterior."""
