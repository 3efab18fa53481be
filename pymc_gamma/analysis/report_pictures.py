"""Sections of a report that are pictures."""

from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr

from pymc_gamma.analysis.report_input import LeftOut, ReportInput, first_scalars, scalars
from pymc_gamma.analysis.report_page import Html, embedded, joined, listed, paragraph

__all__ = ["corner", "counts_map", "counts_spectrum", "predictive_check", "spectra"]

_CORNER = 8
"""Scalars that a corner plot can show."""
_TINY = 1e-300


def corner(subject: ReportInput) -> Html:
    """Joint distributions of parameters."""
    from pymc_gamma.plotting import plot_corner

    shown, left_out = _for_corner(subject)
    told = (
        f"Marginal distributions of {', '.join(map(str, shown.data_vars))}, alone and in pairs. Contours hold 39 % and "
        "86 % of the draws (1 and 2 sigma); titles give the median and the 16 % and 84 % quantiles."
    )
    drawn = embedded(plot_corner(shown), told)
    if not left_out:
        return drawn
    told = f"Not shown, or not all of it: {listed(left_out, _CORNER)}. {subject.advice.corner}."
    return joined(drawn, paragraph(told))


def _for_corner(subject: ReportInput) -> tuple[xr.Dataset, list[str]]:
    """Variables that fit into a picture, and the names of the others."""
    every = {
        str(name): one
        for name, one in subject.posterior.data_vars.items()
        if np.issubdtype(one.dtype, np.number) and np.isfinite(one.values).all() and float(one.std()) > 0
    }
    if not every:
        raise LeftOut("No parameter varies, or none has finite draws.")
    if subject.model is not None:  # what is computed from others comes after them
        free = [one.name for one in subject.model.free_RVs]
        every = dict(sorted(every.items(), key=lambda item: item[0] not in free))
    chosen: dict[str, xr.DataArray] = {}
    room = _CORNER
    for name, one in every.items():
        if scalars(one) <= room:
            chosen[name] = one
            room -= scalars(one)
    shown = xr.Dataset(chosen) if chosen else first_scalars(xr.Dataset(every), _CORNER)
    return shown, [str(name) for name in subject.posterior.data_vars if name not in chosen]


def counts_map(subject: ReportInput) -> Html:
    """Map of the events, of the model, and of the difference."""
    from pymc_gamma.plotting import plot_counts

    figure = plot_counts(subject.kept_events, subject.folded, subject.results, cells=subject.sky, **subject.prediction)
    return embedded(
        figure,
        f"Maps of {subject.kept_events.n_total:g} events, of what the model expects (posterior mean) and of the "
        "significance of the difference in each cell, in standard deviations.",
    )


def counts_spectrum(subject: ReportInput) -> Html:
    """Events and what is predicted, by energy."""
    from pymc_gamma.plotting import plot_counts_spectrum

    figure = plot_counts_spectrum(subject.kept_events, subject.folded, subject.results, **subject.prediction)
    return embedded(
        figure,
        "Events by reconstructed energy (points) with what the posterior predicts: mean (line), 68 % and 95 % of "
        "replicated data (grey). Below, residuals in standard deviations.",
    )


def predictive_check(subject: ReportInput) -> Html:
    """Events against replicated data along energy, longitude and latitude."""
    from pymc_gamma.plotting import plot_ppc

    figure = plot_ppc(subject.kept_events, subject.folded, subject.results, sky=subject.sky, **subject.prediction)
    return embedded(
        figure,
        "Posterior predictive check: events (points) along energy, longitude and latitude, with 68 % and 95 % of what "
        "the posterior predicts (grey). Below, residuals in standard deviations; two thirds should lie within 1, and "
        "nearly all within 2. Runs of residuals of one sign mean that something is missing in the model.",
    )


def spectra(subject: ReportInput) -> Html:
    """Spectra of components whose spectrum is free."""
    from pymc_gamma.plotting import plot_spectrum

    response = subject.folded
    found = dict(subject.spectra) if subject.spectra is not None else _spectra_of_model(subject)
    roi = response.roi
    figure = plot_spectrum(
        subject.results,
        found,
        energy=[roi.energy_min, roi.energy_max] * u.TeV,
        components=list(response.component_names),
    )
    told = f"Spectral energy distribution of {', '.join(found)}: median and pointwise 68 % and 95 % intervals. "
    scaled = [one.name for one in response.components if one.name in found and one.flux_scale(roi) != 1]
    if scaled and subject.spectra is None:
        told += f"Of {', '.join(scaled)} it is the flux from the region of interest, with its J or D factor. "
    return embedded(figure, told + _amplitude_told(subject))


def _amplitude_told(subject: ReportInput) -> str:
    from pymc_gamma.model.fixed_number import FixedNumber

    variable = subject.event_variable
    if variable is None or not isinstance(variable.owner.op.source, FixedNumber):
        return "Norms of components are not part of it."
    return "The number of events is fixed in this model: only the shape of a spectrum means something, not its height."


def _spectra_of_model(subject: ReportInput) -> dict[str, Callable[[Any], Any]]:
    """Spectra as the model evaluates them at nodes, systematics included, with power laws in between."""
    import pytensor.tensor as pt

    from pymc_gamma.model.fixed_number import FixedNumber
    from pymc_gamma.model.intensity import Intensity

    response, variable = subject.folded, subject.event_variable
    if not response.free_spectrum:
        raise LeftOut("All components have fixed spectra.")
    if variable is None or not isinstance(variable.owner.op.source, Intensity):
        raise LeftOut(f"The spectra of {', '.join(response.free_spectrum)} are free; {subject.advice.spectra}.")
    source = variable.owner.op.source
    inputs = variable.owner.op.dist_params(variable.owner)
    parameters = source.parameters(inputs[isinstance(source, FixedNumber) :])
    flux, scales = parameters.flux, source.flux_scales(parameters)
    found: dict[str, Callable[[Any], Any]] = {}
    start = 0
    for one in source.free:
        values = flux.reshape((-1,))[start : start + len(one.energy)]
        start += one.size
        if one.unit:

            def at(energy: Any, values: Any = values * scales[one.name], nodes: Any = one.energy) -> Any:
                weights = _between(np.log(nodes), np.log(np.asarray(energy, dtype=np.float64)))
                return pt.exp(pt.dot(pt.constant(weights), pt.log(pt.maximum(values, _TINY))))

            found[one.name] = at
    if not found:
        raise LeftOut("Only the residual background has a free spectrum, a factor on its rate.")
    return found


def _between(nodes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Weights of the nodes in linear interpolation, shape (n, n_nodes)."""
    left = np.clip(np.searchsorted(nodes, at) - 1, 0, len(nodes) - 2)
    share = (at - nodes[left]) / (nodes[left + 1] - nodes[left])
    weights = np.zeros((len(at), len(nodes)))
    weights[np.arange(len(at)), left] = 1 - share
    weights[np.arange(len(at)), left + 1] = share
    return weights
