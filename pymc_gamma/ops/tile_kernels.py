r"""Kernels of columns that reach few events: products of tiles, and their transpose.

A tile holds the numbers of consecutive events and neighbouring columns, column by column,

.. math::

    B_{ij} = \mathtt{numbers}[\mathtt{start} + (j - \mathtt{column})\,n + i - \mathtt{event}], \qquad
    \mathtt{event} \le i < \mathtt{event} + n, \quad \mathtt{column} \le j < \mathtt{column} + w ,

and how events are put into tiles is the matter of :mod:`pymc_gamma.ops.tiles`. The
inner loops run over events and vectorise, and nothing is looked up in them. The numbers are kept in single precision,
because reading them is most of the work, and all sums are taken in double precision.
"""

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.compilation import kernel
from pymc_gamma.ops.intrinsics import part, prefetch
from pymc_gamma.ops.layout import BLOCK, Tiles

__all__ = [
    "COLUMN",
    "EVENT",
    "N_COLUMNS",
    "N_EVENTS",
    "START",
    "accumulate_tiles",
    "add_tile_row",
    "add_tiles",
    "fill_batches",
    "fill_tiles",
    "place",
]

START, EVENT, N_EVENTS, COLUMN, N_COLUMNS = range(5)
"""Columns of the array that describes tiles: its first number, event and column, and how many of the latter."""

_LINE = nb.uint64(16)  # numbers in a cache line
_ONE, _TWO, _THREE, _FOUR = (nb.uint64(n) for n in range(1, 5))


@part
def _add_tile(
    numbers: NDArray[np.float32],
    start: int,
    n: int,
    column: int,
    n_columns: int,
    coefficients: _Floats,
    density: _Floats,
    event: int,
    ahead: int,
) -> None:
    """``density[event + i] += sum_j B[i, j] coefficients[column + j]``, four columns at a time.

    Half of the numbers that lie ``ahead`` are fetched into the second-level cache. Indices are unsigned, so that numba
    does not test each for counting from the end.
    """
    at, k, end = nb.uint64(start), nb.uint64(column), nb.uint64(column + n_columns)
    n, to, ahead = nb.uint64(n), nb.uint64(event), nb.uint64(ahead)
    while k + _FOUR <= end:
        for a in range(at + ahead, at + ahead + _TWO * n, _LINE):
            prefetch(numbers, (a,))
        c0, c1 = coefficients[k], coefficients[k + _ONE]
        c2, c3 = coefficients[k + _TWO], coefficients[k + _THREE]
        a1, a2, a3 = at + n, at + _TWO * n, at + _THREE * n
        for i in range(n):
            density[to + i] += c0 * numbers[at + i] + c1 * numbers[a1 + i] + c2 * numbers[a2 + i] + c3 * numbers[a3 + i]
        at, k = a3 + n, k + _FOUR
    while k < end:
        c0 = coefficients[k]
        for i in range(n):
            density[to + i] += c0 * numbers[at + i]
        at, k = at + n, k + _ONE


@part
def _accumulate_tile(
    numbers: NDArray[np.float32],
    start: int,
    n: int,
    column: int,
    n_columns: int,
    weight: _Floats,
    total: _Floats,
    event: int,
    ahead: int,
) -> None:
    """``total[column + j] += sum_i B[i, j] weight[event + i]``; the rest as in `_add_tile`, and the other half."""
    at, k, end = nb.uint64(start), nb.uint64(column), nb.uint64(column + n_columns)
    n, to, ahead = nb.uint64(n), nb.uint64(event), nb.uint64(ahead)
    while k + _FOUR <= end:
        a1, a2, a3 = at + n, at + _TWO * n, at + _THREE * n
        for a in range(a2 + ahead, a3 + ahead + n, _LINE):
            prefetch(numbers, (a,))
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            w = weight[to + i]
            t0 += w * numbers[at + i]
            t1 += w * numbers[a1 + i]
            t2 += w * numbers[a2 + i]
            t3 += w * numbers[a3 + i]
        total[k] += t0
        total[k + _ONE] += t1
        total[k + _TWO] += t2
        total[k + _THREE] += t3
        at, k = a3 + n, k + _FOUR
    while k < end:
        t0 = 0.0
        for i in range(n):
            t0 += weight[to + i] * numbers[at + i]
        total[k] += t0
        at, k = at + n, k + _ONE


@part
def _distance(tiles: Tiles, b: int) -> int:
    """From the numbers of block ``b`` to those of the next: how far ahead to fetch, which gains a fifth."""
    table, pointer = tiles.tiles, tiles.pointer
    if pointer[b] == pointer[b + 1] or pointer[b + 1] == table.shape[0]:
        return 0
    return table[pointer[b + 1], START] - table[pointer[b], START]


@part
def add_tiles(tiles: Tiles | None, b: int, coefficients: _Floats, density: _Floats) -> None:
    """Add the products of all tiles of block ``b``, if there are any, to the densities of its events."""
    if tiles is None:
        return
    numbers, table, pointer = tiles.numbers, tiles.tiles, tiles.pointer
    ahead = _distance(tiles, b)
    for t in range(pointer[b], pointer[b + 1]):
        start, event, n, column, n_columns = table[t, 0], table[t, 1], table[t, 2], table[t, 3], table[t, 4]
        if column + n_columns > coefficients.shape[0]:
            raise ValueError("the number of coefficients does not match the bands of the event table")
        _add_tile(numbers, start, n, column, n_columns, coefficients, density, event - b * BLOCK, ahead)


@part
def accumulate_tiles(tiles: Tiles | None, b: int, weight: _Floats, total: _Floats) -> None:
    """Add the weights of the events of block ``b`` times their tiles, if there are any, to the columns."""
    if tiles is None:
        return
    numbers, table, pointer = tiles.numbers, tiles.tiles, tiles.pointer
    ahead = _distance(tiles, b)
    for t in range(pointer[b], pointer[b + 1]):
        start, event, n, column, n_columns = table[t, 0], table[t, 1], table[t, 2], table[t, 3], table[t, 4]
        _accumulate_tile(numbers, start, n, column, n_columns, weight, total, event - b * BLOCK, ahead)


@part
def add_tile_row(tiles: Tiles, b: int, event: int, row: _Floats) -> None:
    """Add the numbers of one event of block ``b`` to a row of all columns."""
    numbers, table, pointer = tiles.numbers, tiles.tiles, tiles.pointer
    for t in range(pointer[b], pointer[b + 1]):
        start, first, n, column, n_columns = table[t, 0], table[t, 1], table[t, 2], table[t, 3], table[t, 4]
        if first <= event < first + n:
            for j in range(n_columns):
                row[column + j] += numbers[start + j * n + event - first]


@part
def place(tiles: Tiles | None, i: int) -> int:
    """The place in the user's list of event ``i`` of the table."""
    return i if tiles is None else tiles.order[i]


@kernel(error_model="numpy")
def fill_tiles(
    values: NDArray[np.float32],
    pointer: NDArray[np.int64],
    column: NDArray[np.int64],
    order: NDArray[np.int64],
    tiles: NDArray[np.int64],
    band: NDArray[np.int64],
    numbers: NDArray[np.float32],
) -> None:
    """Copy the numbers of bands to their tiles."""
    n_bands = column.shape[1]
    for t in range(len(tiles)):
        n, width = tiles[t, N_EVENTS], tiles[t, N_COLUMNS]
        for i in range(n):
            event = order[tiles[t, EVENT] + i]
            start, stop = pointer[event * n_bands + band[t]], pointer[event * n_bands + band[t] + 1]
            to = column[event, band[t]] - tiles[t, COLUMN]
            for j in range(max(0, -to), min(stop - start, width - to)):
                numbers[tiles[t, START] + (to + j) * n + i] = values[start + j]


@kernel(error_model="numpy")
def fill_batches(
    numbers: NDArray[np.float32],
    tiles: NDArray[np.int64],
    length: int,
    part: NDArray[np.int64],
    start: NDArray[np.int64],
    column: NDArray[np.int64],
    room: NDArray[np.float32],
) -> None:
    """Add the numbers of tiles to those of :mod:`pymc_gamma.ops.batches`, of groups of ``length`` events.

    ``part`` names one of the latter for each group that a tile reaches, tile by tile; these start at ``start`` in
    ``room`` and at ``column``.
    """
    at = 0
    for t in range(len(tiles)):
        n = tiles[t, N_EVENTS]
        for first in range(0, n, length):
            to = part[at]
            at += 1
            for j in range(tiles[t, N_COLUMNS]):
                row = start[to] + (tiles[t, COLUMN] + j - column[to]) * length
                for i in range(first, min(first + length, n)):
                    room[row + (tiles[t, EVENT] + i) % length] += numbers[tiles[t, START] + j * n + i]
