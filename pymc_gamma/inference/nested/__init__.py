"""Nested sampling of PyMC models: evidence and posterior from a deterministic prior transform."""

from pymc_gamma.inference.nested.problem import NestedProblem, log_likelihood, prior_transform
from pymc_gamma.inference.nested.sampling import sample_nested

__all__ = ["NestedProblem", "log_likelihood", "prior_transform", "sample_nested"]
