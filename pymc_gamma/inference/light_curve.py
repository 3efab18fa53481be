"""Light curves: the flux of a component by observation or time bin, from the events of a model."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
from astropy.table import QTable
from astropy.time import Time

from pymc_gamma.arguments import checked, energy_edges, instance, integer, number, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.flux_data import Band, band_of, check_edges, draws_of, norm_posterior, observed_sources
from pymc_gamma.inference.flux_points import reference_of
from pymc_gamma.inference.flux_table import MOST_PROBABLE, LightCurve, flux_row
from pymc_gamma.times import from_seconds, to_seconds

__all__ = ["light_curve"]

_ROUNDING = 1e-3
"""Seconds by which edges and good time may differ."""
_NOTHING = 1e-9
"""Share of the events of other observations below which one saw nothing at these energies."""


@checked(
    energy=energy_edges,
    component=text,
    probability=partial(number, low=0.0, high=MOST_PROBABLE),
    max_draws=partial(integer, low=1),
)
def light_curve(
    model: pm.Model,
    energy: Any,
    component: str,
    idata: Any = None,
    *,
    times: Time | None = None,
    probability: float = 0.95,
    max_draws: int = 1000,
) -> LightCurve:
    """Flux of a component by observation or time bin, with its spectrum as the model has it.

    In each bin the flux is a factor, the norm, on a reference spectrum, with a flat prior above zero, and what is
    reported is its posterior given the events of the bin, as :func:`flux_points` has it for a band of energy. The
    spectrum has one shape in all bins, unless the model gives observations different ones.

    Parameters
    ----------
    model : pymc.Model
        With observed events of :class:`~pymc_gamma.ExtendedEventMixture` or :class:`~pymc_gamma.OnOffCounts`, one or
        several (a run each, for one), whose observations have good time intervals.
    energy : `~astropy.units.Quantity`
        Range of energy, shape (2,): of the integrated fluxes, and of the reconstructed energies of the events that are
        used.
    component : str
        Name of a component of the sky.
    idata : `xarray.DataTree`, `xarray.Dataset` or BestFit, optional
        A posterior of the model, or its :func:`~pymc_gamma.best_fit`, which is found unless anything is given.
    times : `~astropy.time.Time`, optional
        Edges of bins. Each observation must lie in one of them; cut the runs with
        :meth:`Observation.split_list <pymc_gamma.Observation.split_list>` before they are folded. Default: a bin for
        each observation.
    probability : float
        Posterior probability below the upper limits, 0.9999 at most.
    max_draws : int
        Draws of the posterior that are used at most, spread evenly.

    Returns
    -------
    LightCurve
        With the table, ``to_gammapy()`` and ``plot()``.

    Raises
    ------
    ModelError
        As for :func:`flux_points`; if an observation has no good time, or lies across an edge of bins.
    RegionError
        If the data do not have these energies.

    Warns
    -----
    PymcGammaWarning
        If few draws of the posterior have most of the weight in a bin.

    See Also
    --------
    flux_points : flux in bands of energy.

    Examples
    --------
    >>> curve = pmg.light_curve(model, [1, 30] * u.TeV, "crab", idata)  # doctest: +SKIP
    >>> curve.table["time_min", "flux", "flux_errn", "flux_errp"]  # doctest: +SKIP
    >>> curve.to_gammapy().write("crab.fits", format="lightcurve")  # doctest: +SKIP
    """
    model = instance(model, pm.Model, "model")
    if len(energy) != 2:
        raise ModelError(f"energy must be a range (minimum, maximum), got {len(energy)} numbers.")
    span = float(energy[0]), float(energy[1])
    observed = observed_sources(model, component)
    check_edges(energy, observed)
    draws = draws_of(model, idata, max_draws)
    band = band_of(observed, component, span, draws)
    told = f"{component!r} at {span[0]:.4g}-{span[1]:.4g} TeV"
    typical = band.spectra[0].averaged(band.observations[0]).typical()
    reference = reference_of(typical, told)
    factors = [reference["flux"] / np.broadcast_to(one.flux, one.dnde.shape[:2]) for one in band.spectra]
    expected = band.expected(factors)
    bins = _bins(band, expected, times)
    rows, posteriors = [], []
    for one in bins:
        posterior = norm_posterior(band, one.groups, factors, f"{told} in {one.label}")
        row = {"time_min": from_seconds(one.start), "time_max": from_seconds(one.stop)}
        row |= flux_row(posterior, reference, span, probability)
        of_bin = [(k, group) for k, groups in enumerate(one.groups) for group in groups]
        row["counts"] = sum(float(band.parts[k].counts[group]) for k, group in of_bin)
        row["npred_excess"] = posterior.maximum * sum(float(expected[k][group]) for k, group in of_bin)
        rows.append(row)
        posteriors.append(posterior)
    table = QTable(rows)
    for name in ("time_min", "time_max"):
        table[name] = Time([row[name] for row in rows])
    table["observations"] = [one.label for one in bins]
    table.meta.update({"UL_CONF": probability, "component": component})
    return LightCurve(table, posteriors, component, (typical.energy, typical.dnde[0, 0]))


class _Bin(NamedTuple):
    """Start and end in seconds, and the groups of each part of the data that lie in it."""

    start: float
    stop: float
    groups: list[list[int]]
    label: str


def _bins(band: Band, expected: Sequence[FloatArray], times: Any) -> list[_Bin]:
    """Bins of the observations that took data at these energies, in the order of their starts."""
    spans = []
    for k, observations in enumerate(band.observations):
        for group, one in enumerate(observations):
            if one.good_time_s is None:
                raise ModelError(
                    f"observation {one.name or group} has no good time, so it is not known when its flux was; give "
                    "Observation(..., good_time=...)."
                )
            if expected[k][group] > _NOTHING * expected[k].max():
                start, stop = float(one.good_time_s.min()), float(one.good_time_s.max())
                spans.append((start, stop, k, group, str(one.name or group)))
    spans.sort()
    n = len(band.parts)
    if times is None:
        return [_Bin(start, stop, _only(n, [(k, group)]), name) for start, stop, k, group, name in spans]
    edges = _edges(times)
    which = np.searchsorted(edges, [one[0] + _ROUNDING for one in spans], side="right") - 1
    found = []
    for j, (low, high) in enumerate(pairwise(edges)):
        own = [one for one, place in zip(spans, which, strict=True) if place == j]
        across = [one[4] for one in own if one[1] > high + _ROUNDING]
        if across:
            raise ModelError(
                f"observations {across} lie across an edge of the time bins; cut them there with "
                "Observation.split_list(observations, times), and fold the pieces."
            )
        if own:
            label = ", ".join(one[4] for one in own)
            found.append(_Bin(float(low), float(high), _only(n, [one[2:4] for one in own]), label))
    outside = [one[4] for one, place in zip(spans, which, strict=True) if not 0 <= place < len(edges) - 1]
    if outside:
        raise ModelError(f"observations {outside} lie outside of the time bins; give bins that hold them.")
    return found


def _edges(times: Any) -> FloatArray:
    if not isinstance(times, Time):
        raise TypeError(f"times must be edges of bins, an astropy Time, got {type(times).__name__}.")
    edges = to_seconds(times, "times")
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ValueError(f"times must be two or more increasing edges of bins, got {times}.")
    return np.asarray(edges)


def _only(n: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Groups by part."""
    return [[group for k, group in pairs if k == own] for own in range(n)]
