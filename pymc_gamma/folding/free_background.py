"""Residual background of free shape: columns along the reconstructed energy.

The background has no true energy. Its free shape is a factor on the rate of the IRFs, linear in the logarithm of the
*reconstructed* energy between nodes, in each observation its own: every event has two numbers.
"""

import math
from collections.abc import Sequence

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.background import CompiledBackground
from pymc_gamma.folding.background_rate import BackgroundRate
from pymc_gamma.folding.bands import Averaging, Bands, compress
from pymc_gamma.folding.energies import Energies
from pymc_gamma.folding.fine import FineBins, FineTables
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.free import FreeColumns, FreeComponent, free_columns
from pymc_gamma.sums import weighted_sum

__all__ = ["FreeBackground"]

BACKGROUND_NODES_PER_DECADE = 10
BACKGROUND_BINS_PER_NODE = 8


class FreeBackground(FreeColumns):
    """Residual background of free shape under one or several observations.

    Parameters
    ----------
    background : CompiledBackground
        The background.
    folded : sequence of FoldedObservation
        The observations.
    """

    def __init__(self, background: CompiledBackground, folded: Sequence[FoldedObservation]) -> None:
        self._background = background
        roi = folded[0].roi
        n = max(math.ceil(BACKGROUND_NODES_PER_DECADE * math.log10(roi.energy_max / roi.energy_min)), 2)
        self._energy = np.geomspace(roi.energy_min, roi.energy_max, n + 1)
        self._acceptance = np.zeros((len(folded), n + 1))

    def count(self, bins: FineBins, observations: Sequence[FoldedObservation]) -> None:
        """Expected counts of observations under each hat; no narrow bins are needed."""
        for folded in observations:
            self._acceptance[folded.index] = self._hat_counts(self._background.rate(folded))

    def _hat_counts(self, rate: BackgroundRate) -> FloatArray:
        low, high = rate.domain.energy_range
        position = np.arange((len(self._energy) - 1) * BACKGROUND_BINS_PER_NODE + 1) / BACKGROUND_BINS_PER_NODE
        nodes, log_nodes = np.arange(len(self._energy)), np.log(self._energy)
        edges = np.exp(np.interp(position, nodes, log_nodes))
        edges = np.r_[low, edges[(edges > low * (1 + 1e-9)) & (edges < high * (1 - 1e-9))], high]
        middle = np.interp(0.5 * np.log(edges[1:] * edges[:-1]), log_nodes, nodes)
        hats = np.maximum(1 - np.abs(middle[:, None] - nodes), 0)
        return weighted_sum(hats.T, rate.counts(edges))

    @property
    def component(self) -> FreeComponent:
        """What a model needs to know of it."""
        ones = np.ones(len(self._energy))
        return FreeComponent(self._background.name, self._energy, self._acceptance, ones, 0.0, "")

    def bands(
        self,
        bins: FineBins,
        folded: FoldedObservation,
        vectors: FloatArray,
        energies: Energies,
        smooth: bool,
        averaging: Averaging,
    ) -> Bands:
        """Densities per unit coefficient of events of one observation; see `FreeColumns.bands`."""
        energy, share = energies.quadrature()
        n_points = energy.shape[1]
        single = n_points == 1 and averaging.is_single
        vectors, log_energy, n = np.repeat(vectors, n_points, axis=0), np.log(energy.ravel()), len(self._energy)
        density = self._background.rate(folded).density(vectors, log_energy) / self._acceptance.sum()
        position = np.clip(np.interp(log_energy, np.log(self._energy), np.arange(n)), 0, n - 1)
        node = np.minimum(position.astype(np.int64), n - 2)
        above = position - node
        values = np.stack([density * (1 - above), density * above], axis=1)
        first_column = folded.index * n
        if single:
            column = (first_column + node)[:, None]
            return Bands(values.astype(np.float32).ravel(), 2 * np.arange(len(node) + 1), column)
        # points of a cell lie between different nodes
        weight, first = (averaging.weight[:, None] * share).ravel(), averaging.first * n_points
        n_cells = len(first) - 1
        to = np.repeat(np.arange(n_cells) * n, np.diff(first)) + node
        dense = np.zeros(n_cells * n)
        for side in (0, 1):
            np.add.at(dense, to + side, weight * values[:, side])
        found = compress(dense.reshape(n_cells, 1, n), multiple=1)
        return found._replace(column=found.column + first_column)

    def part_counts(self, coefficients: FloatArray) -> list[FloatArray]:
        """Expected counts in each observation, for coefficients (size,)."""
        rows = self._acceptance * coefficients.reshape(self._acceptance.shape)
        return [np.atleast_1d(row.sum()) for row in rows]

    def with_coefficients(self, coefficients: FloatArray) -> CompiledBackground:
        """The background times a shape, given by its coefficients."""
        return self._background.with_shape(self._energy, coefficients.reshape(self._acceptance.shape))


@free_columns.register
def _(component: CompiledBackground, folded: Sequence[FoldedObservation], fine: FineTables) -> FreeColumns:
    return FreeBackground(component, folded)
