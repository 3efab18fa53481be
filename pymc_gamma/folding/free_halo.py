"""A halo whose spectrum and profile are both free: columns of few widths for each event."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import warn_user
from pymc_gamma.folding.bands import Averaging, Bands, compress, concatenate
from pymc_gamma.folding.energies import Energies
from pymc_gamma.folding.factors_kernels import MAX_PIVOTS, pick_pivots
from pymc_gamma.folding.fine import FineBins, FineTables, Level
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.free import FreeColumns, free_columns
from pymc_gamma.folding.free_sources import FreeSources, extrapolate
from pymc_gamma.folding.halo import VARIANCE, CompiledHalo
from pymc_gamma.folding.nodes import sharpened
from pymc_gamma.halos import GeneralisedNFW, gaussian_weights
from pymc_gamma.threads import run_parallel

__all__ = ["FactoredColumns", "FreeHalo"]

TOLERANCE = 2e-4
"""Remainder of columns that a few do not tell, over the largest: log L of 4500 events changes by less than 1e-3."""
CHUNK_BYTES = 2**26
MUCH = 2**29
"""Memory of tables in bytes from which on the user is told."""


class FactoredColumns(NamedTuple):
    """Columns of events, as products: for each row of a table, a factor for each width and a band of nodes.

    Attributes
    ----------
    event : numpy.ndarray
        Event of each row, ascending, shape (R,).
    factors : numpy.ndarray
        Of the widths, float32, shape (R, n_widths).
    bands : Bands
        Of the rows, per unit coefficient and J factor.
    """

    event: NDArray[np.int64]
    factors: NDArray[np.float32]
    bands: Bands


class FreeHalo(FreeSources):
    """A halo of free spectrum under one or several observations."""

    def factored(
        self,
        bins: FineBins,
        folded: FoldedObservation,
        vectors: FloatArray,
        energies: Energies,
        smooth: bool,
        averaging: Averaging,
    ) -> FactoredColumns:
        """Columns of events of one observation for any weights of the widths; see `FreeColumns.bands`.

        Warns of tables that take much memory, before they are made.
        """
        levels = (bins.fine, bins.coarse) if smooth else (bins.boxes,)
        placed = [
            (self._on(level), level, folded.on_tables(level.tables), energies.on(level.tables)) for level in levels
        ]
        n_nodes = len(self._smooth_energy if smooth else self._energy)
        size = max(1, CHUNK_BYTES // (8 * len(VARIANCE) * n_nodes))
        source = self._source
        assert isinstance(source, CompiledHalo)
        weights = _extremes(source.power)

        def one_chunk(chunk: tuple[slice, Averaging]) -> FactoredColumns:
            rows, average = chunk
            here, dense = np.ascontiguousarray(vectors[rows]), []
            for halo, level, on_level, locate in placed:
                assert isinstance(halo, CompiledHalo)
                located = locate(rows)
                out = np.zeros((len(here), len(VARIANCE), located.band.shape[1]))
                halo.add_widths(on_level, here, located.place, located.dispersion, out)
                dense.append(average.apply(_columns(level, out, located.place[2], located.place[3])))
            columns = extrapolate(*dense) if smooth else dense[0]
            pivots = np.empty((len(columns), MAX_PIVOTS), np.int64)
            factors = np.empty((len(columns), MAX_PIVOTS, len(VARIANCE)))
            pick_pivots(columns, weights, TOLERANCE, pivots, factors)
            event, j = np.nonzero(pivots >= 0)
            own = columns[event, pivots[event, j]]
            own = own if smooth else sharpened(own)
            return FactoredColumns(event, factors[event, j].astype(np.float32), compress(own[:, None]))

        chunks = averaging.chunks(size)
        first = one_chunk(chunks[0])
        n_events = len(averaging.first) - 1
        needed = (first.bands.values.nbytes + first.factors.nbytes) * len(vectors) / max(chunks[0][0].stop, 1)
        if needed > MUCH:
            warn_user(
                f"the tables of {self._source.name!r}, of free spectrum and free profile, will take about "
                f"{needed / 2**20:.0f} MB for {n_events} events. To save memory, fold it with a fixed spectrum (leave "
                "it out of free_spectrum), or put the events into cells (events.binned)."
            )
        return joined([first, *run_parallel(one_chunk, chunks[1:])], [len(one[1].first) - 1 for one in chunks])


def joined(parts: list[FactoredColumns], n_events: list[int]) -> FactoredColumns:
    """Columns of several lists of events, one after the other."""
    before = np.cumsum([0, *n_events[:-1]])
    return FactoredColumns(
        np.concatenate([one.event + k for one, k in zip(parts, before, strict=True)]),
        np.concatenate([one.factors for one in parts]),
        concatenate([one.bands for one in parts], 1),
    )


def _columns(level: Level, band: FloatArray, start: NDArray[np.int64], stop: NDArray[np.int64]) -> FloatArray:
    """Bands (n, n_widths, width) as columns at the nodes, (n, n_widths, n_nodes)."""
    n, n_widths, width = band.shape
    repeated = np.repeat(start, n_widths), np.repeat(stop, n_widths)
    return level.at_nodes(band.reshape(n * n_widths, width), *repeated).reshape(n, n_widths, -1)


@cache
def _extremes(power: int) -> FloatArray:
    """Weights of the widths in profiles from flat to as steep as there can be, that sum to one."""
    slopes = np.array([0.0, 0.4, 0.8, 1.1, 1.35, 1.48]) * 2 / power
    found = np.stack([gaussian_weights(GeneralisedNFW(float(gamma)), power) for gamma in slopes])
    return np.asarray(found / found.sum(axis=1, keepdims=True))


@free_columns.register
def _(component: CompiledHalo, folded: list[FoldedObservation], fine: FineTables) -> FreeColumns:
    return FreeHalo(component, folded, fine.energy_edges)
