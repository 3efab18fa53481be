"""Flux points: the flux of a component in bands of energy, from the events of a model."""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pymc as pm
from astropy.table import QTable

from pymc_gamma.arguments import checked, energy_edges, instance, integer, number, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.flux_data import (
    Spectrum,
    band_of,
    check_edges,
    draws_of,
    norm_posterior,
    observed_sources,
)
from pymc_gamma.inference.flux_table import MOST_PROBABLE, FluxPoints, flux_row

__all__ = ["flux_points", "reference_of"]


@checked(
    edges=energy_edges,
    component=text,
    probability=partial(number, low=0.0, high=MOST_PROBABLE),
    max_draws=partial(integer, low=1),
)
def flux_points(
    model: pm.Model,
    edges: Any,
    component: str,
    idata: Any = None,
    *,
    probability: float = 0.95,
    max_draws: int = 1000,
) -> FluxPoints:
    """Flux of a component in bands of reconstructed energy, as points to publish.

    In each band the flux is a factor, the norm, on a reference spectrum, with a flat prior above zero. Its posterior is
    that of the events with reconstructed energies in the band, unbinned otherwise, and needs no sampling.

    Without ``idata`` all parameters of the model are held at its best fit, and the reference is the spectrum there:
    that is what gammapy's ``FluxPointsEstimator`` does. With a posterior the norm is averaged over its draws, so that
    the errors contain what is not known of backgrounds, of systematics of the instrument and of the shape of the
    spectrum; the reference is the geometric mean of the spectra. Draws are weighted so that they are those of a
    posterior in which the flux of the band is free.

    Parameters
    ----------
    model : pymc.Model
        With observed events of :class:`~pymc_gamma.ExtendedEventMixture` or :class:`~pymc_gamma.OnOffCounts`, one or
        several; the component has one flux in all of them that have it.
    edges : `~astropy.units.Quantity`
        Edges of the bands, shape (n + 1,), within the reconstructed energies of the data. Events in cells need edges of
        these.
    component : str
        Name of a component of the sky.
    idata : `xarray.DataTree`, `xarray.Dataset` or BestFit, optional
        A posterior of the model, or its :func:`~pymc_gamma.best_fit`, which is found unless anything is given.
    probability : float
        Posterior probability below the upper limits, 0.9999 at most.
    max_draws : int
        Draws of the posterior that are used at most, spread evenly.

    Returns
    -------
    FluxPoints
        With the table, ``to_gammapy()`` and ``plot()``.

    Raises
    ------
    ModelError
        If the model observes no events with fluxes, has no such component, or it is a residual background; if the
        posterior lacks a free variable; if cells lie across an edge.
    RegionError
        If a band has energies that the data do not have.

    Warns
    -----
    PymcGammaWarning
        If few draws of the posterior have most of the weight in a band.

    See Also
    --------
    light_curve : flux by observation or time bin.
    spectrum_draws : the spectrum itself at the draws, which needs no points.

    Notes
    -----
    A point is not a measurement of events of true energies in the band: the norm is that of the spectrum as a whole,
    whose events are looked at in one band of reconstructed energy, as usual in the field. A band without events has a
    limit.

    Examples
    --------
    >>> points = pmg.flux_points(model, [1, 2, 5, 10] * u.TeV, "crab", idata)  # doctest: +SKIP
    >>> points.table["e_ref", "dnde", "dnde_errn", "dnde_errp", "sqrt_ts"]  # doctest: +SKIP
    >>> points.to_gammapy().write("crab.ecsv")  # doctest: +SKIP
    """
    model = instance(model, pm.Model, "model")
    observed = observed_sources(model, component)
    check_edges(edges, observed)
    draws = draws_of(model, idata, max_draws)
    rows, posteriors = [], []
    energies: list[FloatArray] = []
    dnde: list[FloatArray] = []
    for energy in pairwise(map(float, edges)):
        told = f"{component!r} at {energy[0]:.4g}-{energy[1]:.4g} TeV"
        band = band_of(observed, component, energy, draws)
        spectra = [one.averaged(own) for one, own in zip(band.spectra, band.observations, strict=True)]
        typical = spectra[0].typical()
        reference = reference_of(typical, told)
        factors = [
            np.broadcast_to(reference["flux"] / one.flux, (len(one.flux), len(own)))
            for one, own in zip(spectra, band.observations, strict=True)
        ]
        groups = [range(len(part.counts)) for part in band.parts]
        posterior = norm_posterior(band, groups, factors, told)
        row = flux_row(posterior, reference, energy, probability)
        row["counts"] = sum(float(part.counts.sum()) for part in band.parts)
        row["npred_excess"] = posterior.maximum * sum(float(one.sum()) for one in band.expected(factors))
        rows.append(row)
        posteriors.append(posterior)
        energies.append(typical.energy if not energies else typical.energy[1:])
        dnde.append(typical.dnde[0, 0] if not dnde else typical.dnde[0, 0, 1:])
    table = QTable(rows)
    table.meta.update({"UL_CONF": probability, "component": component})
    return FluxPoints(table, posteriors, component, (np.concatenate(energies), np.concatenate(dnde)))


def reference_of(spectrum: Spectrum, told: str) -> dict[str, float]:
    """``dnde`` and ``e2dnde`` in the middle of a band, ``flux`` and ``eflux`` in it, of one spectrum.

    Raises
    ------
    ModelError
        If there is no flux.
    """
    middle = len(spectrum.energy) // 2
    dnde = float(spectrum.dnde[0, 0, middle])
    flux = float(spectrum.flux[0, 0])
    if not (dnde > 0 and np.isfinite(flux)):
        raise ModelError(f"the spectrum of {told} is {dnde:g} TeV-1 cm-2 s-1: no norm can make another one of it.")
    e2dnde = float(spectrum.energy[middle] ** 2 * dnde)
    return {"dnde": dnde, "e2dnde": e2dnde, "flux": flux, "eflux": float(spectrum.eflux[0, 0])}
