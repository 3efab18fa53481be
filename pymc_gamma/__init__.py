"""Event-by-event Bayesian inference for gamma-ray astronomy, as a plug-in for PyMC.

Simulate events of a Cherenkov telescope through its instrument response functions, and infer which fraction of them
comes from which component, inside an ordinary PyMC model. Names are loaded when they are first used, so that
importing the package is quick.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymc_gamma.analysis.analysis import Analysis
    from pymc_gamma.analysis.report import report
    from pymc_gamma.events import Events, predictive_counts
    from pymc_gamma.events.run_files import write_runs
    from pymc_gamma.folding.live_shapes import DiskShape, GaussianShape, PointShape, ShellShape
    from pymc_gamma.geometry import RegionOfInterest
    from pymc_gamma.inference.annotate import annotate
    from pymc_gamma.inference.best_fit import BestFit, best_fit
    from pymc_gamma.inference.evaluate import spectrum_draws
    from pymc_gamma.inference.evidence import BayesFactor, bayes_factor
    from pymc_gamma.inference.expected import expected_limits, observed_limits
    from pymc_gamma.inference.flux_points import flux_points
    from pymc_gamma.inference.flux_table import FluxPoints, LightCurve
    from pymc_gamma.inference.light_curve import light_curve
    from pymc_gamma.inference.nested import NestedProblem, log_likelihood, prior_transform, sample_nested
    from pymc_gamma.inference.reweighting import reweight
    from pymc_gamma.inference.sensitivity import sensitivity
    from pymc_gamma.inference.shape_check import check_shapes
    from pymc_gamma.inference.significance import Significance, significance
    from pymc_gamma.inference.summary import summary
    from pymc_gamma.inference.upper_limits import upper_limit
    from pymc_gamma.instrument.irfs import IRFs, load_irfs
    from pymc_gamma.instrument.observation import Observation
    from pymc_gamma.interop import from_gammapy, to_gammapy
    from pymc_gamma.model import EventMixture, ExtendedEventMixture, observe_events
    from pymc_gamma.model.flux_points import FluxPointsData
    from pymc_gamma.model.marginal import Marginalised
    from pymc_gamma.model.mixture_tree import MixtureTree
    from pymc_gamma.model.on_off import (
        FlatBackground,
        MeasuredBackground,
        OffBackground,
        OnOffCounts,
        ProfiledBackground,
    )
    from pymc_gamma.model.priors import amplitude
    from pymc_gamma.model.scans import scan_error
    from pymc_gamma.model.shapes import position
    from pymc_gamma.model.spectra import (
        BrokenPowerLaw,
        EBLAbsorption,
        ExpCutoffPowerLaw,
        LogParabola,
        PowerLaw,
        PowerLawNorm,
        SmoothBrokenPowerLaw,
        TemplateSpectrum,
    )
    from pymc_gamma.model.systematics import (
        BackgroundNorm,
        BackgroundTilt,
        EffectiveAreaNorm,
        EffectiveAreaShape,
        EnergyScale,
        PSFScale,
        Systematic,
    )
    from pymc_gamma.on_off import CountsSpectrum, OnOffEvents
    from pymc_gamma.ops.device import single_precision_tables
    from pymc_gamma.plotting import (
        plot_corner,
        plot_counts,
        plot_counts_spectrum,
        plot_limits,
        plot_ppc,
        plot_radial_profile,
        plot_residuals,
        plot_sensitivity,
        plot_spectrum,
    )
    from pymc_gamma.response import Response, fold
    from pymc_gamma.sky import CosmicRayBackground, GalacticDiffuse, HGPSCatalog, Scanned, SkyComponent, SkySource

__all__ = [
    "Analysis",
    "BackgroundNorm",
    "BackgroundTilt",
    "BayesFactor",
    "BestFit",
    "BrokenPowerLaw",
    "CosmicRayBackground",
    "CountsSpectrum",
    "DiskShape",
    "EBLAbsorption",
    "EffectiveAreaNorm",
    "EffectiveAreaShape",
    "EnergyScale",
    "EventMixture",
    "Events",
    "ExpCutoffPowerLaw",
    "ExtendedEventMixture",
    "FlatBackground",
    "FluxPoints",
    "FluxPointsData",
    "GalacticDiffuse",
    "GaussianShape",
    "HGPSCatalog",
    "IRFs",
    "LightCurve",
    "LogParabola",
    "Marginalised",
    "MeasuredBackground",
    "MixtureTree",
    "NestedProblem",
    "Observation",
    "OffBackground",
    "OnOffCounts",
    "OnOffEvents",
    "PSFScale",
    "PointShape",
    "PowerLaw",
    "PowerLawNorm",
    "ProfiledBackground",
    "RegionOfInterest",
    "Response",
    "Scanned",
    "ShellShape",
    "Significance",
    "SkyComponent",
    "SkySource",
    "SmoothBrokenPowerLaw",
    "Systematic",
    "TemplateSpectrum",
    "amplitude",
    "annotate",
    "bayes_factor",
    "best_fit",
    "check_shapes",
    "expected_limits",
    "flux_points",
    "fold",
    "from_gammapy",
    "light_curve",
    "load_irfs",
    "log_likelihood",
    "observe_events",
    "observed_limits",
    "plot_corner",
    "plot_counts",
    "plot_counts_spectrum",
    "plot_limits",
    "plot_ppc",
    "plot_radial_profile",
    "plot_residuals",
    "plot_sensitivity",
    "plot_spectrum",
    "position",
    "predictive_counts",
    "prior_transform",
    "report",
    "reweight",
    "sample_nested",
    "scan_error",
    "sensitivity",
    "significance",
    "single_precision_tables",
    "spectrum_draws",
    "summary",
    "to_gammapy",
    "upper_limit",
    "write_runs",
]

try:
    __version__ = version("pymc-gamma")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"

_WHERE = {
    "pymc_gamma.analysis.analysis": ("Analysis",),
    "pymc_gamma.model": ("EventMixture", "ExtendedEventMixture", "observe_events"),
    "pymc_gamma.model.flux_points": ("FluxPointsData",),
    "pymc_gamma.inference.annotate": ("annotate",),
    "pymc_gamma.inference.evaluate": ("spectrum_draws",),
    "pymc_gamma.on_off": ("CountsSpectrum", "OnOffEvents"),
    "pymc_gamma.model.on_off": (
        "FlatBackground",
        "MeasuredBackground",
        "OffBackground",
        "OnOffCounts",
        "ProfiledBackground",
    ),
    "pymc_gamma.events": ("Events", "predictive_counts"),
    "pymc_gamma.folding.live_shapes": ("DiskShape", "GaussianShape", "PointShape", "ShellShape"),
    "pymc_gamma.geometry": ("RegionOfInterest",),
    "pymc_gamma.interop": ("from_gammapy", "to_gammapy"),
    "pymc_gamma.instrument.irfs": ("IRFs", "load_irfs"),
    "pymc_gamma.model.marginal": ("Marginalised",),
    "pymc_gamma.model.mixture_tree": ("MixtureTree",),
    "pymc_gamma.inference.nested": ("NestedProblem", "log_likelihood", "prior_transform", "sample_nested"),
    "pymc_gamma.inference.best_fit": ("BestFit", "best_fit"),
    "pymc_gamma.inference.evidence": ("BayesFactor", "bayes_factor"),
    "pymc_gamma.inference.expected": ("expected_limits", "observed_limits"),
    "pymc_gamma.inference.flux_points": ("flux_points",),
    "pymc_gamma.inference.flux_table": ("FluxPoints", "LightCurve"),
    "pymc_gamma.inference.light_curve": ("light_curve",),
    "pymc_gamma.inference.reweighting": ("reweight",),
    "pymc_gamma.inference.sensitivity": ("sensitivity",),
    "pymc_gamma.inference.shape_check": ("check_shapes",),
    "pymc_gamma.inference.significance": ("Significance", "significance"),
    "pymc_gamma.inference.upper_limits": ("upper_limit",),
    "pymc_gamma.analysis.report": ("report",),
    "pymc_gamma.inference.summary": ("summary",),
    "pymc_gamma.instrument.observation": ("Observation",),
    "pymc_gamma.plotting": (
        "plot_corner",
        "plot_counts",
        "plot_counts_spectrum",
        "plot_limits",
        "plot_ppc",
        "plot_radial_profile",
        "plot_residuals",
        "plot_sensitivity",
        "plot_spectrum",
    ),
    "pymc_gamma.ops.device": ("single_precision_tables",),
    "pymc_gamma.response": ("Response", "fold"),
    "pymc_gamma.events.run_files": ("write_runs",),
    "pymc_gamma.sky": (
        "CosmicRayBackground",
        "GalacticDiffuse",
        "HGPSCatalog",
        "Scanned",
        "SkyComponent",
        "SkySource",
    ),
    "pymc_gamma.model.scans": ("scan_error",),
    "pymc_gamma.model.priors": ("amplitude",),
    "pymc_gamma.model.shapes": ("position",),
    "pymc_gamma.model.spectra": (
        "BrokenPowerLaw",
        "EBLAbsorption",
        "ExpCutoffPowerLaw",
        "LogParabola",
        "PowerLaw",
        "PowerLawNorm",
        "SmoothBrokenPowerLaw",
        "TemplateSpectrum",
    ),
    "pymc_gamma.model.systematics": (
        "BackgroundNorm",
        "BackgroundTilt",
        "EffectiveAreaNorm",
        "EffectiveAreaShape",
        "EnergyScale",
        "PSFScale",
        "Systematic",
    ),
}

# Modules that the reference named as attributes of the package before they moved into rooms.
_MOVED = {
    "distributions": "model",
    "domain": "instrument.domain",
    "good_time": "instrument.good_time",
    "irfs": "instrument.irfs",
    "safe_mask": "instrument.safe_mask",
    "spectra": "model.spectra",
    "systematics": "model.systematics",
    "workflow": "analysis.quickstart",
}


def __getattr__(name: str) -> Any:
    for module, names in _WHERE.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    if name in _MOVED:
        return import_module(f"{__name__}.{_MOVED[name]}")
    try:
        return import_module(f"{__name__}.{name}")  # submodules: pymc_gamma.datasets
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
