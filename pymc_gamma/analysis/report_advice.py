"""What a report tells to do: in the words of Python, or in those of an analysis file where one made the results."""

from dataclasses import dataclass

__all__ = ["OF_FILE", "OF_PYTHON", "Advice"]


@dataclass(frozen=True)
class Advice:
    """What to do, in parts of sentences or whole ones.

    Parameters
    ----------
    response, results, events, model, spectra, text, predictive, evidence : str
        Why something is not there, and how to have it.
    longer : str
        Where to ask for more draws.
    draws, live_points, target_accept, tree_depth : str
        Names of settings.
    chains : str
        How to look at chains.
    summary, corner : str
        How to see all parameters.
    """

    response: str
    results: str
    events: str
    model: str
    spectra: str
    text: str
    predictive: str
    evidence: str
    longer: str
    draws: str
    live_points: str
    target_accept: str
    tree_depth: str
    chains: str
    summary: str
    corner: str


OF_PYTHON = Advice(
    response="No response was given: nothing was folded through an instrument.",
    results="No results of a sampler were given.",
    events="No observed events were given, and neither the results nor the model hold any.",
    model="No model was given; pass model= to see its variables and priors.",
    spectra="pass model= or spectra= to see them",
    text="No file made these results, or its text was not given (config=).",
    predictive="Draw them with pm.sample_posterior_predictive(idata, model=model, extend_inferencedata=True).",
    evidence="pmg.sample_nested(model) and pm.sample_smc give it",
    longer="tune=, draws=",
    draws="draws=",
    live_points="nlive=",
    target_accept="target_accept=",
    tree_depth="max_treedepth",
    chains="arviz.plot_trace",
    summary="pmg.summary(idata) has the others",
    corner="pmg.plot_corner(idata, [names]) draws them",
)
"""For those who called `pymc_gamma.report`."""

OF_FILE = Advice(
    response="There is no response: the stage fold has not run to its end.",
    results="There is no posterior: no stage of a sampler has run to its end.",
    events="There are no events: the stage events has not run to its end.",
    model="There is no model: the stages before it have not run to their end.",
    spectra="they are shown once the model is there",
    text="The text of the file is not known.",
    predictive="The stage predict, which draws them, has not run to its end.",
    evidence="fit.sampler: nested, or smc, gives it",
    longer="fit.tune, fit.draws",
    draws="fit.draws",
    live_points="fit.nlive",
    target_accept="fit.target_accept",
    tree_depth="the greatest tree depth, which is a setting in Python alone",
    chains="in Python: arviz.plot_trace of posterior.nc",
    summary="posterior.nc in the folder of the sampler has the others",
    corner="In Python pmg.plot_corner draws them from posterior.nc in the folder of the sampler",
)
"""For those who ran an analysis file."""
