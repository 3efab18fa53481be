"""Bins of true energy narrower than the nodes of free spectra: the tables that their columns are summed from."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding import kernels
from pymc_gamma.folding.compile import shining_offsets
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.energies import Located
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.nodes import spectrum_nodes
from pymc_gamma.folding.tables import build_tables
from pymc_gamma.instrument.irfs import IRFs

__all__ = ["FineBins", "FineTables", "Level"]

FINE_STEP = 0.014
"""Width of the fine bins in the logarithm of the energy, at most."""
KEPT_BYTES = 2**29
"""Tables of fine bins are kept for other events until they take up as much memory."""


class Level:
    """One set of bins of true energy under one response, narrower than the nodes of a spectrum or around them.

    Parameters
    ----------
    irfs : IRFs
        The response.
    energy_edges : numpy.ndarray
        Edges of the bins in TeV.
    nodes : numpy.ndarray
        Equidistant energies in TeV that hold the edges and the centres, at which spectra are tabulated.
    per_bin : int
        Number of these bins between two nodes of hats; 0 for bins around the nodes.
    energy_range, offsets : tuple of float
        As for :func:`pymc_gamma.folding.tables.build_tables`.
    """

    def __init__(
        self,
        irfs: IRFs,
        energy_edges: FloatArray,
        nodes: FloatArray,
        per_bin: int,
        energy_range: tuple[float, float],
        offsets: tuple[float, float],
    ) -> None:
        self.energy_edges, self.nodes, self.per_bin = energy_edges, nodes, per_bin
        # not kept for other responses: they are large, and no other has the same bins
        self.tables = build_tables.__wrapped__(irfs, tuple(energy_edges.tolist()), energy_range, offsets)

    @property
    def n_bytes(self) -> int:
        """Memory of the tables."""
        return self.tables.edisp.nbytes

    def columns(self, located: Located) -> FloatArray:
        """Bands of the bins, filled, as densities at the nodes, shape (N, n_nodes)."""
        (_, _, start, stop), band, _ = located
        return self.at_nodes(band, start, stop)

    def at_nodes(self, band: FloatArray, start: NDArray[np.int64], stop: NDArray[np.int64]) -> FloatArray:
        """As :meth:`columns`, for bands of the bins from ``start`` to ``stop``."""
        return self.hats(band, start, stop) if self.per_bin else self._dense(band, start, stop)

    def hats(
        self,
        band: FloatArray,
        start: NDArray[np.int64] | None = None,
        stop: NDArray[np.int64] | None = None,
    ) -> FloatArray:
        """Bands of bins, or values in all of them, gathered into hats around the nodes, shape (N, n)."""
        n = len(band)
        start = np.zeros(n, np.int64) if start is None else start
        stop = np.full(n, band.shape[1]) if stop is None else stop
        hats = np.zeros((n, (len(self.energy_edges) - 1) // self.per_bin + 1))
        kernels.gather_hats(band, start, stop, self.per_bin, hats)
        return hats

    def _dense(self, band: FloatArray, start: NDArray[np.int64], stop: NDArray[np.int64]) -> FloatArray:
        """Bands of bins among zeros, shape (N, n_bins)."""
        out = np.zeros((len(band), len(self.energy_edges) - 1))
        at = start[:, None] + np.arange(band.shape[1])
        row, column = np.nonzero(at < stop[:, None])
        out[row, at[row, column]] = band[row, column]
        return out


class FineBins:
    """The fine and coarse bins of smooth spectra, and bins around all nodes, under one response."""

    def __init__(
        self,
        irfs: IRFs,
        energy_edges: FloatArray,
        energy_range: tuple[float, float],
        offsets: tuple[float, float],
    ) -> None:
        self._given = irfs, energy_edges, energy_range, offsets
        self._per_node = 2 * math.ceil(math.log(energy_edges[1] / energy_edges[0]) / (2 * FINE_STEP))

    @cached_property
    def fine(self) -> Level:
        """Bins several times narrower than the spacing of the nodes of smooth spectra."""
        return self._of_hats(self._per_node)

    @cached_property
    def coarse(self) -> Level:
        """Bins twice as wide."""
        return self._of_hats(self._per_node // 2)

    def _of_hats(self, per_bin: int) -> Level:
        irfs, energy, span, offsets = self._given
        position = np.arange((len(energy) - 1) * per_bin + 1) / per_bin
        edges = np.exp(np.interp(position, np.arange(len(energy)), np.log(energy)))
        return Level(irfs, edges, spectrum_nodes(edges), per_bin, span, offsets)

    @cached_property
    def boxes(self) -> Level:
        """On bins around all nodes, from half-way to half-way."""
        irfs, edges, span, offsets = self._given
        energy = spectrum_nodes(edges)
        half = np.geomspace(energy[0], energy[-1], 2 * len(energy) - 1)
        bounds = np.concatenate([half[:1], half[1::2], half[-1:]])
        return Level(irfs, bounds, half, 0, span, offsets)

    @property
    def n_bytes(self) -> int:
        """Memory of the tables made so far."""
        made = [self.__dict__[name] for name in ("fine", "coarse", "boxes") if name in self.__dict__]
        return sum(level.n_bytes for level in made)


class FineTables:
    """Narrow bins under the responses of several observations, kept as long as there is room for them.

    Parameters
    ----------
    components : sequence of CompiledComponent
        What is folded on them: the tables reach as far as these shine.
    folded : sequence of FoldedObservation
        The observations.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV: the nodes of smooth spectra.
    """

    def __init__(
        self, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation], energy_edges: FloatArray
    ) -> None:
        self.energy_edges = energy_edges
        roi = folded[0].roi
        self._span = (roi.energy_min, roi.energy_max)
        self._offsets = shining_offsets(components, [one.observation for one in folded], roi.frame)
        self._kept: dict[IRFs, FineBins] = {}

    def sharing(self, folded: Sequence[FoldedObservation]) -> list[list[FoldedObservation]]:
        """Observations that share a response."""
        return [[one for one in folded if one.observation.irfs is irfs] for irfs in self._offsets]

    def of(self, folded: FoldedObservation) -> FineBins:
        """Bins under the response of an observation."""
        irfs = folded.observation.irfs
        bins = self._kept.get(irfs)
        if bins is None:
            bins = FineBins(irfs, self.energy_edges, self._span, self._offsets[irfs])
            if sum(kept.n_bytes for kept in self._kept.copy().values()) < KEPT_BYTES:
                self._kept[irfs] = bins
        return bins

    def release(self) -> None:
        """Drop the bins; they are made again."""
        self._kept.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Without the bins: they would make a pickled model a hundred times larger."""
        return {**self.__dict__, "_kept": {}}
