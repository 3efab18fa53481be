r"""Batches: the tiles of columns that reach few events, in arrays of equal tiles, for XLA.

Tiles (:mod:`pymc_gamma.ops.tiles`) have all sizes, which suits a loop. XLA knows neither loops over them nor their
bounds, but an array :math:`B_{tji}` of equal tiles *t* it multiplies and sums as it reads,

.. math:: s_{ti} = \sum_j B_{tji}\, v_{c_t + j}, \qquad \bar v_{c_t + j} \mathrel{+}= \sum_i B_{tji}\, w_{ti} .

So the events are cut into groups of equal length; the tiles of a group that overlap or touch become one; and those of
about one width share an array, padded with zeros. For 1e6 events of a Galactic diffuse component that is a tenth more
numbers, and a call takes a fifteenth of the time of gathers and scatters number by number.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import IntArray
from pymc_gamma.ops.layout import Tiles
from pymc_gamma.ops.tile_kernels import COLUMN, EVENT, N_COLUMNS, N_EVENTS, fill_batches

__all__ = ["Batch", "Batches", "to_batches"]

GROUPS = (128, 32, 8)
"""Lengths of groups to choose from; that of the fewest numbers, where each tile costs four events more."""

_STEP = 8


class Batch(NamedTuple):
    """Tiles of one width.

    Attributes
    ----------
    numbers : ndarray of float32, shape (n, width, length)
        Their numbers.
    column : ndarray of int64, shape (n, width)
        The column of each row of a tile. Those of zeros at its end may repeat the last of all.
    group : ndarray of int64, shape (n,)
        The group of events of each tile.
    """

    numbers: NDArray[np.float32]
    column: IntArray
    group: IntArray


class Batches(NamedTuple):
    """All tiles.

    Attributes
    ----------
    batches : tuple of Batch
        By width; empty if there are no tiles.
    n_groups, length : int
        Number of groups of events, and the number of events in each, the last of which may not exist.
    """

    batches: tuple[Batch, ...]
    n_groups: int
    length: int

    @property
    def single(self) -> bool:
        """Whether each group has one tile."""
        groups = np.concatenate([np.empty(0, np.int64), *(batch.group for batch in self.batches)])
        return np.array_equal(np.sort(groups), np.arange(self.n_groups))


def to_batches(tiles: Tiles) -> Batches:
    """Batches of tiles, for events in the same order.

    Parameters
    ----------
    tiles : Tiles
        As `pymc_gamma.ops.to_tiles` makes them.

    Examples
    --------
    >>> from pymc_gamma.ops.tiles import to_tiles
    >>> tiles = to_tiles(np.ones(4, np.float32), np.array([0, 2, 4]), np.array([[3], [1]]))
    >>> (batch,), n_groups, length = to_batches(tiles)
    >>> batch.numbers.shape, batch.column[0].tolist()
    ((1, 8, 8), [1, 2, 3, 4, 4, 4, 4, 4])
    """
    n_events = len(tiles.order)
    candidates = (_merged(tiles.tiles, length) for length in GROUPS)
    merged = min(candidates, key=lambda one: int(one.width.sum()) * (one.length + 4))
    n_groups = -(-n_events // merged.length)
    order = np.argsort(merged.width, kind="stable")
    size = merged.width * merged.length
    start = np.empty_like(size)
    start[order] = np.cumsum(size[order]) - size[order]
    room = np.zeros(size.sum(), np.float32)
    fill_batches(tiles.numbers, tiles.tiles, merged.length, merged.of_tile, start, merged.column, room)
    last = int((tiles.tiles[:, COLUMN] + tiles.tiles[:, N_COLUMNS]).max(initial=1)) - 1
    return Batches(tuple(_by_width(room, merged, order, last)), n_groups, merged.length)


class _Merged(NamedTuple):
    """Tiles of groups of one length, in the order of groups and columns."""

    length: int
    group: IntArray
    column: IntArray
    width: IntArray
    of_tile: IntArray
    """Into which of these each of the given tiles goes, or the first of those of its groups."""


def _merged(tiles: IntArray, length: int) -> _Merged:
    """Tiles that overlap or touch become one."""
    parts = -(-tiles[:, N_EVENTS] // length)
    first = np.cumsum(parts) - parts
    tile = np.repeat(np.arange(len(tiles)), parts)
    group = tiles[tile, EVENT] // length + np.arange(len(tile)) - first[tile]
    begin = tiles[tile, COLUMN]
    end = begin + tiles[tile, N_COLUMNS]
    order = np.lexsort((begin, group))
    far = int(end.max(initial=0)) + 1  # one axis of the columns of all groups, with a gap between two of them
    lows, highs = (group * (far + 1) + begin)[order], (group * (far + 1) + end)[order]
    reached = np.maximum.accumulate(highs)
    new = np.append(np.ones(min(1, len(lows)), bool), lows[1:] > reached[:-1])
    starts = np.flatnonzero(new)
    stops = reached[np.append(starts[1:], len(lows))[: len(starts)] - 1]
    of_part = np.empty(len(tile), np.int64)
    of_part[order] = np.cumsum(new) - 1
    return _Merged(length, group[order][starts], begin[order][starts], _width(stops - lows[starts]), of_part)


def _width(needed: IntArray) -> IntArray:
    """Widths of arrays for tiles that need these: few, and none much wider than needed."""
    step = _STEP * 2 ** np.maximum(np.ceil(np.log2(np.maximum(needed, 1) / (8 * _STEP))), 0).astype(np.int64)
    return -(-needed // step) * step


def _by_width(room: NDArray[np.float32], merged: _Merged, order: IntArray, last: int) -> Iterator[Batch]:
    """Views of the numbers, width by width."""
    at = 0
    for width in np.unique(merged.width):
        own = order[merged.width[order] == width]
        size = len(own) * width * merged.length
        numbers = room[at : at + size].reshape(len(own), width, merged.length)
        column = np.minimum(merged.column[own, None] + np.arange(width), last)
        yield Batch(numbers, column, merged.group[own])
        at += size
