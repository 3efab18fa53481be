r"""True energies from which events are reconstructed in a range of energies.

A dispersion has tails. The counts in :math:`(E'_1, E'_2)` of a power law of index :math:`\Gamma` come from true
energies with the density

.. math:: c(E) \propto E^{-\Gamma}\, A(E, o) \int_{E'_1/E}^{E'_2/E} p(\mu \mid E, o)\,\mathrm{d}\mu .

The true-energy axis of a fold must hold all but a negligible share of it, for steep spectra at the lower end and for
hard ones at the upper. How far that is differs: a factor of 2 to 2.7 below the threshold for CTAO, 2 to 5 for
H.E.S.S.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.instrument.irfs import IRFs

__all__ = ["true_energy_range"]


STEEP, HARD = 5.0, 1.5
"""Indices of the spectra whose counts must be held."""
NEGLIGIBLE = 1e-4
"""Share of the counts that may come from beyond either end."""
NODES_PER_DECADE = 60


def true_energy_range(irfs: IRFs, energy_range: tuple[float, float], offset_max: float) -> tuple[float, float]:
    """Range of true energies that matters for a range of reconstructed ones, at offsets up to a largest one.

    Parameters
    ----------
    irfs : IRFs
        The response.
    energy_range : tuple of float
        Reconstructed energies in TeV.
    offset_max : float
        Degrees.

    Returns
    -------
    tuple of float
        TeV; within what the response covers.

    Examples
    --------
    >>> from pymc_gamma.instrument.irfs import load_irfs
    >>> low, high = true_energy_range(load_irfs("prod5-south-20deg-50h"), (0.1, 100.0), 2.0)
    >>> 0.03 < low < 0.06, 130 < high < 200
    (True, True)
    """
    first, last = irfs.energy_true_range
    n = math.ceil(math.log10(last / first) * NODES_PER_DECADE) + 1
    energy = np.geomspace(first, last, n)
    edisp = irfs.edisp
    nearest = np.rint(np.interp(np.log(energy), np.log(edisp.energy), np.arange(len(edisp.energy)))).astype(np.int64)
    # one node beyond the largest offset takes part in the interpolation
    n_offsets = min(int((edisp.offset <= offset_max).sum()) + 1, len(edisp.offset))
    low, high = last, first
    for j in range(n_offsets):
        area = _area(irfs, energy, float(edisp.offset[j]))
        inside = _inside(irfs, energy, nearest, j, energy_range)
        for index, towards in ((STEEP, 1), (HARD, -1)):
            counts = (energy ** (1 - index) * area * inside)[::towards]
            if not counts.sum() > 0:
                continue
            place = int(np.searchsorted(np.cumsum(counts) / counts.sum(), NEGLIGIBLE))
            end = float(energy[::towards][max(place - 1, 0)])
            low, high = (min(low, end), high) if towards == 1 else (low, max(high, end))
    return (low, high) if low < high else (first, last)


def _area(irfs: IRFs, energy: FloatArray, offset: float) -> FloatArray:
    """Effective area in cm2 at energies in TeV."""
    aeff = irfs.aeff
    profile = np.array([np.interp(offset, aeff.offset, row) for row in aeff.values])
    return np.maximum(np.interp(np.log(energy), np.log(aeff.energy), profile), 0)


def _inside(
    irfs: IRFs, energy: FloatArray, nearest: NDArray[np.int64], offset: int, energy_range: tuple[float, float]
) -> FloatArray:
    """Probability to be reconstructed in a range, of energies in TeV, by the tables nearest to them."""
    migra = irfs.edisp.migra
    step = migra[1] - migra[0]
    edges = np.append(migra - step / 2, migra[-1] + step / 2)
    out = np.empty(len(energy))
    for i, (value, k) in enumerate(zip(energy, nearest, strict=True)):
        cumulative = np.concatenate([[0.0], np.cumsum(irfs.edisp.density[k, offset])]) * step
        above, below = np.interp([energy_range[1] / value, energy_range[0] / value], edges, cumulative)
        out[i] = above - below
    return out
