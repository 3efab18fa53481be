r"""Tiles: how columns that reach few events lie in memory.

Such columns come as bands, for each event a run of neighbouring columns. Event by event, loops over them are short and
each has its own bounds. So events are sorted by where their bands end and start: neighbours then reach nearly the same
columns, and a dense tile around the bands of 64 or 128 of them holds few zeros (5 % for 1e5 events of a Galactic
diffuse component, 21 % for 4500) and is computed on in a third to half of the time.

An event may have several bands, one for each free component. They have tiles of their own, but one order of events;
the bands sorted by first are those that make the cheapest tiles of all. The number of events of a tile is a power of
two, at most :data:`LARGEST`, found from below: two neighbours become one if

.. math:: w\,(n + \mathtt{COLUMN\_COST}) + \mathtt{TILE\_COST}

is less for the whole (*w* columns of *n* events) than the sum for the halves. Where no order helps, tiles are as small
as the bands of single events.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import IntArray
from pymc_gamma.ops.layout import BLOCK, Tiles
from pymc_gamma.ops.tile_kernels import COLUMN, EVENT, N_COLUMNS, N_EVENTS, START, fill_tiles

__all__ = ["LARGEST", "Tiles", "to_tiles"]

LARGEST = 128
"""Most events of a tile; with 64 all takes an eighth longer, and 256 gain nothing."""

COLUMN_COST, TILE_COST = 12, 60
"""Time of starting a column and a tile, in units of that of one number."""

_SIZES = tuple(2**k for k in range(LARGEST.bit_length()))
_NOWHERE = np.iinfo(np.int64).max


def to_tiles(values: NDArray[np.float32], pointer: IntArray, column: IntArray) -> Tiles:
    """Tiles of bands.

    Parameters
    ----------
    values : ndarray of float32
        Numbers of all bands, event by event.
    pointer : ndarray of int64, shape (N * n_bands + 1,)
        Where each band starts in ``values``, and at last their count.
    column : ndarray of int64, shape (N, n_bands)
        Column of the first number of each band.

    Returns
    -------
    Tiles
        The same numbers, for events in another order.

    Raises
    ------
    ValueError
        If the arrays do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> bands = np.ones(4, np.float32), np.array([0, 2, 4]), np.array([[3], [1]])
    >>> tiles = to_tiles(*bands)
    >>> tiles.order.tolist(), tiles.tiles.tolist()
    ([1, 0], [[0, 0, 2, 1, 4]])
    """
    n_events, n_bands = column.shape
    if len(pointer) != n_events * n_bands + 1 or pointer[-1] != len(values):
        raise ValueError(
            f"{n_events} events with {n_bands} bands need {n_events * n_bands + 1} pointers up to {len(values)}, "
            f"got {len(pointer)} up to {pointer[-1] if len(pointer) else 'none'}"
        )
    first, last = _extents(values, pointer, column)
    candidates = ((order, _merge(first[order], last[order])) for order in _orders(first, last))
    order, levels = min(candidates, key=lambda candidate: candidate[1][-1].cost.sum())
    tiles, band = _select(levels, n_events)
    numbers = np.zeros(tiles[:, N_EVENTS] @ tiles[:, N_COLUMNS], np.float32)
    fill_tiles(values, pointer, column, order, tiles, band, numbers)
    starts = np.arange(-(-n_events // BLOCK) + 1) * BLOCK
    return Tiles(numbers, tiles, np.searchsorted(tiles[:, EVENT], starts).astype(np.int64), order)


class _Level(NamedTuple):
    """Tiles of one size, shape (n_tiles, n_bands) each."""

    column: IntArray
    n_columns: IntArray
    cost: IntArray
    """Cost of the best tiles for these events, of this size or smaller."""
    whole: NDArray[np.bool_]
    """Whether those are of this size."""


def _orders(first: IntArray, last: IntArray) -> Iterator[IntArray]:
    """Orders of the events to choose from: by one of the bands, then by all."""
    if last.shape[1] == 0:
        yield np.arange(len(last))
    total = last.sum(axis=1)
    for k in range(last.shape[1]):
        yield np.lexsort((first[:, k], total, last[:, k]))


def _merge(first: IntArray, last: IntArray) -> list[_Level]:
    """Tiles of 1, 2, 4, ... events in a row, whose bands have these ends."""
    levels: list[_Level] = []
    for size in _SIZES:
        if levels:
            pairs = np.arange(0, len(first), 2)
            first, last = np.minimum.reduceat(first, pairs), np.maximum.reduceat(last, pairs)
        n_columns = np.maximum(last - first, 0)
        cost = np.where(n_columns > 0, n_columns * (size + COLUMN_COST) + TILE_COST, 0)
        parts = np.add.reduceat(levels[-1].cost, pairs) if levels else cost
        levels.append(_Level(first, n_columns, np.minimum(cost, parts), cost <= parts))
    return levels


def _select(levels: list[_Level], n_events: int) -> tuple[IntArray, IntArray]:
    """The best tiles in the order of events, and the band that each belongs to."""
    found, bands = [], []
    covered = np.zeros_like(levels[-1].whole)
    for size, level in zip(reversed(_SIZES), reversed(levels), strict=True):
        if size < LARGEST:
            covered = np.repeat(covered, 2, axis=0)[: len(level.whole)]
        tile, band = np.nonzero(level.whole & ~covered & (level.n_columns > 0))
        covered |= level.whole
        tiles = np.empty((len(tile), 5), np.int64)
        tiles[:, EVENT] = tile * size
        tiles[:, N_EVENTS] = np.minimum(size, n_events - tile * size)
        tiles[:, COLUMN] = level.column[tile, band]
        tiles[:, N_COLUMNS] = level.n_columns[tile, band]
        found.append(tiles)
        bands.append(band)
    tiles, band = np.concatenate(found), np.concatenate(bands)
    order = np.lexsort((band, tiles[:, EVENT]))
    tiles, band = tiles[order], band[order]
    tiles[:, START] = np.cumsum(tiles[:, N_EVENTS] * tiles[:, N_COLUMNS]) - tiles[:, N_EVENTS] * tiles[:, N_COLUMNS]
    return tiles, band


def _extents(values: NDArray[np.float32], pointer: IntArray, column: IntArray) -> tuple[IntArray, IntArray]:
    """First column that is not zero and the one after the last, for each event and band; a void range if all are."""
    nonzero = np.flatnonzero(values)
    at = np.searchsorted(nonzero, pointer)
    some = at[:-1] < at[1:]
    shift = column.ravel()[some] - pointer[:-1][some]
    first, last = np.full(column.size, _NOWHERE), np.zeros(column.size, np.int64)
    first[some] = nonzero[at[:-1][some]] + shift
    last[some] = nonzero[at[1:][some] - 1] + shift + 1
    return first.reshape(column.shape), last.reshape(column.shape)
