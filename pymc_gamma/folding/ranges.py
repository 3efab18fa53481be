r"""Densities averaged over ranges of reconstructed energy.

.. math:: \bar\lambda(\Omega') = \frac{1}{E_2 - E_1} \int_{E_1}^{E_2} \lambda(E', \Omega')\,\mathrm{d}E' .

What photons are expected at a direction depends on the reconstructed energy through the dispersion alone, so that its
table is averaged, exactly as densities interpolate it, and everything else is computed as for an event. The rate of the
residual background is integrated by Gauss-Legendre nodes in the logarithm of the energy; it is a power law between its
own nodes.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.folding.engine import CHUNK, BackgroundRate, FoldedObservation, Place
from pymc_gamma.folding.parts import CompiledComponent
from pymc_gamma.folding.tables import FoldTables
from pymc_gamma.threads import piece_size, run_parallel

__all__ = ["EnergyRanges", "InRanges", "RangeTable", "density_in_ranges"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NODES = 6
"""Gauss-Legendre nodes for the background ..."""
NODES_STEP = 0.35
"""... in each part of a range, of this width in the logarithm of the energy at most."""


class RangeTable(NamedTuple):
    """Dispersion averaged over ranges.

    Attributes
    ----------
    edisp : numpy.ndarray
        TeV-1, float32, shape (n_j, n_ranges + 1, n_e); the last row is a stop for the kernels.
    start, stop : numpy.ndarray
        True-energy bins that reach each range, shape (n_ranges,).
    """

    edisp: NDArray[np.float32]
    start: IntArray
    stop: IntArray

    def place(self, which: IntArray) -> tuple[Place, FloatArray]:
        """Where points in the given ranges lie in the table, and room for their bands (zeros)."""
        place = (which, np.zeros(len(which)), self.start[which], self.stop[which])
        return place, np.zeros((len(which), int((self.stop - self.start).max(initial=1))))


class EnergyRanges:
    """Some ranges of reconstructed energy; one without extent stands for the density at that energy.

    Parameters
    ----------
    low, high : numpy.ndarray
        TeV, shape (n_ranges,).
    """

    def __init__(self, low: FloatArray, high: FloatArray) -> None:
        self.low, self.high = low, high

    def __len__(self) -> int:
        return len(self.low)

    def table(self, tables: FoldTables) -> RangeTable:
        """Dispersion of an observation averaged over each range."""
        n_j, n_r, n_e = tables.edisp.shape
        rows = np.zeros((n_j, len(self) + 1, n_e), np.float32)
        wide = self.high > self.low
        if wide.any():
            edges = np.unique(np.concatenate([self.low[wide], self.high[wide]]))
            probability = tables.migration(edges)
            first, last = np.searchsorted(edges, self.low), np.searchsorted(edges, self.high)
            for k in np.flatnonzero(wide):
                rows[:, k] = probability[:, first[k] : last[k]].sum(axis=1) / (self.high[k] - self.low[k])
        for k in np.flatnonzero(~wide):
            position = (math.log(self.low[k]) - tables.log_energy[0]) / tables.log_energy[1]
            r = min(max(int(position), 0), n_r - 2)
            t = min(max(position - r, 0.0), 1.0)
            rows[:, k] = tables.edisp[:, r] * (1 - t) + tables.edisp[:, r + 1] * t
        present = (rows[:, :-1] > 0).any(axis=0)
        some = present.any(axis=1)
        start = np.where(some, present.argmax(axis=1), 0)
        stop = np.where(some, n_e - present[:, ::-1].argmax(axis=1), 0)
        return RangeTable(rows, start.astype(np.int64), stop.astype(np.int64))

    def nodes(self) -> tuple[FloatArray, FloatArray]:
        """Energies in TeV and weights, which sum to 1, of a quadrature of each range, shapes (n_ranges, n)."""
        width = np.log(self.high / self.low)
        parts = max(1, math.ceil(float(width.max(initial=0)) / NODES_STEP))
        node, weight = np.polynomial.legendre.leggauss(NODES)
        position = ((np.arange(parts)[:, None] + 0.5 * (node + 1)) / parts).ravel()
        energy = self.low[:, None] * np.exp(width[:, None] * position)
        measure = np.tile(weight, parts) * energy
        return energy, measure / measure.sum(axis=1, keepdims=True)


class InRanges(NamedTuple):
    """Energies that are known to lie in ranges.

    Attributes
    ----------
    ranges : EnergyRanges
        The ranges.
    which : numpy.ndarray
        Range of each point, shape (N,).
    """

    ranges: EnergyRanges
    which: IntArray


def density_in_ranges(
    folded: FoldedObservation,
    components: Sequence[CompiledComponent],
    vectors: FloatArray,
    ranges: EnergyRanges,
    table: RangeTable,
    which: IntArray,
) -> FloatArray:
    """Expected counts density of each component, averaged over a range of energies.

    Parameters
    ----------
    folded : FoldedObservation
        The observation.
    components : sequence of CompiledComponent
        Mixture components, K of them.
    vectors : numpy.ndarray
        Unit vectors of reconstructed directions, shape (N, 3).
    ranges : EnergyRanges
        Ranges of energy.
    table : RangeTable
        Their table for this observation.
    which : numpy.ndarray
        Range of each direction, shape (N,).

    Returns
    -------
    numpy.ndarray
        TeV-1 sr-1, shape (N, K).
    """
    out = np.empty((len(vectors), len(components)))
    size = piece_size(len(vectors), CHUNK)

    def one_chunk(begin: int) -> None:
        rows = slice(begin, begin + size)
        here, of = np.ascontiguousarray(vectors[rows]), which[rows]
        place, band = table.place(of)
        for k, component in enumerate(components):
            if component.instrumental:
                out[rows, k] = _background(folded.background_of(component.name), here, ranges, of)
                continue
            band[:] = 0
            folded.band_density(component, here, place, table.edisp, band)
            band.sum(axis=1, out=out[rows, k])

    if any(component.instrumental for component in components):
        _ = folded.background  # built once, not in every thread
    run_parallel(one_chunk, range(0, len(vectors), size))
    return out


def _background(rate: BackgroundRate, vectors: FloatArray, ranges: EnergyRanges, which: IntArray) -> FloatArray:
    energy, weight = ranges.nodes()
    out = np.zeros(len(vectors))
    for log_energy, share in zip(np.log(energy).T, weight.T, strict=True):
        out += share[which] * rate.density(vectors, log_energy[which])
    return out
