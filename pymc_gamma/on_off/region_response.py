r"""The response of a circle around a point source: a density of the reconstructed energy alone.

Of a photon of true energy :math:`E` from the middle of the circle, at the offset :math:`o` from the pointing,

.. math:: K(E' | E) = t\, A(E, o)\, C(E, o)\, R(E' | E, o) ,

with livetime, effective area and dispersion. The containment :math:`C` is 1 for a point-like response, whose effective
area counts the photons inside; else it is the share of the PSF within the radius. Tables are interpolated as in
:mod:`pymc_gamma.instrument.irfs.core`.
"""

import math
from typing import NamedTuple

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import RegionError
from pymc_gamma.instrument.irfs import EnergyDispersion, IRFs, PointSpread
from pymc_gamma.on_off.grid import EnergyGrid
from pymc_gamma.on_off.nodes import SpectrumNodes

__all__ = ["RegionResponse", "reconstructed_nodes", "region_response"]

NODES_PER_DECADE = 150
"""Of the reconstructed energy: a power law of an index of 4 that is linear between is 1e-4 too high at most."""
BINS_PER_DECADE = 50
"""Of the true energy; the rule inside has two nodes then."""
SMALLEST_MIGRA = 1e-3
"""Reconstructed over true energies below are those of no event."""


class RegionResponse(NamedTuple):
    """Maps from a spectrum to expected events per TeV at nodes of the reconstructed energy.

    Attributes
    ----------
    nodes : SpectrumNodes
        The maps.
    exposure : numpy.ndarray
        Effective area inside the region times livetime, the mean in the bins of true energy, cm2 s.
    """

    nodes: SpectrumNodes
    exposure: FloatArray


def reconstructed_nodes(low: float, high: float) -> FloatArray:
    """Nodes of the reconstructed energy in TeV, equidistant in its logarithm."""
    return np.geomspace(low, high, max(math.ceil(NODES_PER_DECADE * math.log10(high / low)), 2) + 1)


def region_response(
    irfs: IRFs, offset: float, radius: float | None, livetime: float, energy: FloatArray, label: str
) -> RegionResponse:
    """The response for a source in the middle of a region.

    Parameters
    ----------
    irfs : IRFs
        Point-like or not.
    offset : float
        Of the source from the pointing, deg.
    radius : float or None
        Of the region in deg; without effect for a point-like response.
    livetime : float
        Seconds.
    energy : numpy.ndarray
        Nodes of the reconstructed energy in TeV.
    label : str
        Of the run, for messages.

    Raises
    ------
    RegionError
        If the source lies beyond the offsets of the response, or it sees nothing there.
    """
    if offset > irfs.offset_max * (1 + 1e-9):
        raise RegionError(
            f"{label}: the source lies {offset:.3g} deg from the pointing, beyond the largest offset of the response, "
            f"{irfs.offset_max:.3g} deg. Leave the run out."
        )
    low, high = irfs.energy_true_range
    migra = irfs.edisp.migra
    step = migra[1] - migra[0]
    low = max(low, energy[0] / (migra[-1] + step))
    high = min(high, energy[-1] / max(migra[0] - step, SMALLEST_MIGRA))
    n = max(math.ceil(BINS_PER_DECADE * math.log10(high / low)), 4)
    edges = np.geomspace(low, high, n + 1)

    def seen(at: FloatArray) -> FloatArray:
        return _exposure(irfs, at, offset, radius) * livetime

    # the mean in each bin, as that of the response
    exposure = SpectrumNodes.of_function(edges, lambda at: seen(at)[:, None]).from_photons[0]
    if not exposure.any():
        raise RegionError(f"{label}: the effective area is zero at the source, {offset:.3g} deg from the pointing.")
    nodes = SpectrumNodes.of_function(edges, lambda at: seen(at)[:, None] * _dispersion(irfs.edisp, at, offset, energy))
    return RegionResponse(nodes, exposure)


def _exposure(irfs: IRFs, energy: FloatArray, offset: float, radius: float | None) -> FloatArray:
    """Effective area inside the region in cm2."""
    aeff = irfs.aeff
    of_offset = np.array([np.interp(offset, aeff.offset, row) for row in aeff.values])
    area = np.maximum(np.interp(np.log(energy), np.log(aeff.energy), of_offset, left=0.0, right=0.0), 0.0)
    if irfs.psf is None or radius is None:
        return area
    return area * _containment(irfs.psf, energy, offset, radius)


def _containment(psf: PointSpread, energy: FloatArray, offset: float, radius: float) -> FloatArray:
    """Share of the photons within a radius in deg."""
    total = np.zeros(len(energy))
    of_weights = np.zeros(len(energy))
    for sigma, weight in zip(psf.sigma, psf.weight, strict=True):
        width, share = (
            np.interp(np.log(energy), np.log(psf.energy), [float(np.interp(offset, psf.offset, row)) for row in table])
            for table in (sigma, weight)
        )
        total += share * -np.expm1(-0.5 * (radius / width) ** 2)
        of_weights += share
    return total / of_weights


def _dispersion(edisp: EnergyDispersion, energy_true: FloatArray, offset: float, energy: FloatArray) -> FloatArray:
    """Probability per TeV at reconstructed energies (n,) for true ones (m,), shape (m, n)."""
    near = int(np.clip(np.searchsorted(edisp.offset, offset, side="right") - 1, 0, len(edisp.offset) - 1))
    far = min(near + 1, len(edisp.offset) - 1)
    span = edisp.offset[far] - edisp.offset[near]
    part = float(np.clip((offset - edisp.offset[near]) / span, 0, 1)) if span > 0 else 0.0
    table = edisp.density[:, near] * (1 - part) + edisp.density[:, far] * part
    place = np.interp(np.log(energy_true), np.log(edisp.energy), np.arange(len(edisp.energy)))
    row = np.minimum(place.astype(int), len(edisp.energy) - 2)
    part_of_row = (place - row)[:, None]
    rows = table[row] * (1 - part_of_row) + table[row + 1] * part_of_row
    step = edisp.migra[1] - edisp.migra[0]
    # linear between nodes, and to zero within a step beyond the first and the last
    at = (energy / energy_true[:, None] - edisp.migra[0]) / step + 1
    padded = np.pad(np.maximum(rows, 0.0), ((0, 0), (1, 1)))
    place = np.clip(at, 0.0, padded.shape[1] - 1.0)
    k = np.minimum(place.astype(int), padded.shape[1] - 2)
    t = place - k
    left, right = np.take_along_axis(padded, k, 1), np.take_along_axis(padded, k + 1, 1)
    cumulative = np.pad(np.cumsum(0.5 * step * (padded[:, 1:] + padded[:, :-1]), axis=1), ((0, 0), (1, 0)))
    below = np.take_along_axis(cumulative, k, 1) + step * t * (left + 0.5 * t * (right - left))
    density = (left * (1 - t) + right * t) / energy_true[:, None]
    # columns of few simulated events have peaks between the nodes: what is inside of the range is exact
    summed = density @ EnergyGrid(energy).weights
    exact = below[:, -1] - below[:, 0]
    return density * np.where(summed > 0, exact / np.where(summed > 0, summed, 1.0), 0.0)[:, None]
