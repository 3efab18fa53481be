r"""Reconstructed energies of points at which densities are asked: single ones, or ranges.

Over a range densities are averaged,

.. math:: \bar\lambda(\Omega') = \frac{1}{E_2 - E_1} \int_{E_1}^{E_2} \lambda(E', \Omega')\,\mathrm{d}E' .

What photons are expected at a direction depends on the reconstructed energy through the dispersion alone, so that its
table is averaged, exactly as densities interpolate it, and everything else is computed as for an event. A rate that is
given in reconstructed energy is integrated by Gauss-Legendre nodes in the logarithm of the energy; it is a power law
between its own nodes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.folding import kernels
from pymc_gamma.folding.tables import FoldTables

__all__ = ["AtEnergies", "Energies", "EnergyRanges", "InRanges", "Located", "Place"]

Place = tuple[IntArray, FloatArray, IntArray, IntArray]
"""Row and fraction of each point on the rows of a table of dispersion, start and stop of its band of true energies."""

NODES = 6
"""Gauss-Legendre nodes for a rate in reconstructed energy ..."""
NODES_STEP = 0.35
"""... in each part of a range, of this width in the logarithm of the energy at most."""


class Located(NamedTuple):
    """Points on the tables of a response.

    Attributes
    ----------
    place : Place
        Where they lie on the rows of ``dispersion``.
    band : numpy.ndarray
        Room for their bands of true energies, zeros, shape (N, width).
    dispersion : numpy.ndarray
        Density in reconstructed energy, TeV-1, shape (n_offsets, n_rows, n_energy_true).
    """

    place: Place
    band: FloatArray
    dispersion: NDArray[Any]


class Energies(ABC):
    """Reconstructed energies of N points."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: slice | IntArray) -> Self:
        """Those of some of the points."""

    @abstractmethod
    def on(self, tables: FoldTables) -> Callable[[slice], Located]:
        """What finds some of the points on the tables of a response."""

    @abstractmethod
    def quadrature(self) -> tuple[FloatArray, FloatArray]:
        """Energies in TeV and weights, which sum to 1, that stand for each point, shapes (N, n)."""

    def average(self, density: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Average of a function of the natural logarithms of the energies of the points, shape (N,)."""
        energy, weight = self.quadrature()
        out = np.zeros(len(energy))
        for log_energy, share in zip(np.log(energy).T, weight.T, strict=True):
            out += share * density(log_energy)
        return out


class AtEnergies(Energies):
    """Single energies.

    Parameters
    ----------
    energy : numpy.ndarray
        TeV, shape (N,).
    """

    def __init__(self, energy: FloatArray) -> None:
        self.energy = energy

    def __len__(self) -> int:
        return len(self.energy)

    def take(self, rows: slice | IntArray) -> "AtEnergies":
        """Those of some of the points."""
        return AtEnergies(self.energy[rows])

    def on(self, tables: FoldTables) -> Callable[[slice], Located]:
        """What finds some of the points on the tables of a response."""

        def located(rows: slice) -> Located:
            log_energy = np.log(self.energy[rows])
            n = len(log_energy)
            place = (np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64))
            kernels.locate_bands(log_energy, *tables.log_energy, tables.band_start, tables.band_stop, *place)
            return Located(place, np.zeros((n, tables.band_width)), tables.edisp)

        return located

    def average(self, density: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """The function at the energies."""
        return density(np.log(self.energy))

    def quadrature(self) -> tuple[FloatArray, FloatArray]:
        """The energies themselves."""
        return self.energy[:, None], np.ones((len(self.energy), 1))


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


class EnergyRanges:
    """Some ranges of reconstructed energy; one without extent stands for the density at that energy.

    Parameters
    ----------
    low, high : numpy.ndarray
        TeV, shape (n_ranges,).
    """

    def __init__(self, low: FloatArray, high: FloatArray) -> None:
        self.low, self.high = low, high
        self._last: tuple[FoldTables, RangeTable] | None = None

    def __len__(self) -> int:
        return len(self.low)

    def table(self, tables: FoldTables) -> "RangeTable":
        """Dispersion averaged over each range; that of the last response is kept."""
        if self._last is None or self._last[0] is not tables:
            self._last = tables, self._average(tables)
        return self._last[1]

    def _average(self, tables: FoldTables) -> "RangeTable":
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


class InRanges(Energies):
    """Energies that are known to lie in ranges, over which densities are averaged.

    Parameters
    ----------
    ranges : EnergyRanges
        The ranges.
    which : numpy.ndarray
        Range of each point, shape (N,).
    """

    def __init__(self, ranges: EnergyRanges, which: IntArray) -> None:
        self.ranges, self.which = ranges, which

    def __len__(self) -> int:
        return len(self.which)

    def take(self, rows: slice | IntArray) -> "InRanges":
        """Those of some of the points."""
        return InRanges(self.ranges, self.which[rows])

    def on(self, tables: FoldTables) -> Callable[[slice], Located]:
        """What finds some of the points on the tables of a response, averaged over the ranges."""
        table = self.ranges.table(tables)
        width = int((table.stop - table.start).max(initial=1))

        def located(rows: slice) -> Located:
            which = self.which[rows]
            place = (which, np.zeros(len(which)), table.start[which], table.stop[which])
            return Located(place, np.zeros((len(which), width)), table.edisp)

        return located

    def quadrature(self) -> tuple[FloatArray, FloatArray]:
        """Gauss-Legendre nodes of the range of each point."""
        energy, weight = self.ranges.nodes()
        return energy[self.which], weight[self.which]
