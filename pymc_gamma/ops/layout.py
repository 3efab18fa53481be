"""How an event table lies in memory: the arrays that describe it, and the blocks of its rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "EventArrays", "Tiles", "to_blocks"]

BLOCK = 512
"""Events per block."""


class EventArrays(NamedTuple):
    """What describes the events of a table, as the kernels take it.

    Attributes
    ----------
    table : ndarray, shape (n_blocks, K, BLOCK)
        Scaled densities, see :func:`to_blocks`.
    multiplicity : ndarray, shape (N,)
        How many events each row stands for.
    unit : ndarray of bool, shape (n_blocks,)
        Whether all events of a block have multiplicity one.
    offset : ndarray, shape (N,)
        Logarithm of the scale of each row.
    offset_sum : ndarray, shape ()
        Sum of multiplicity times offset.
    log_rows : ndarray, shape (n, 1 + K)
        Rows with numbers that the table cannot hold: their places in it, ascending, and their logarithms.
    """

    table: NDArray[np.float64]
    multiplicity: NDArray[np.float64]
    unit: NDArray[np.bool_]
    offset: NDArray[np.float64]
    offset_sum: NDArray[np.float64]
    log_rows: NDArray[np.float64]


class Tiles(NamedTuple):
    """Columns that reach few events, see :mod:`pymc_gamma.ops.tiles`.

    Attributes
    ----------
    numbers : ndarray of float32
        Numbers of all tiles, one after the other, column by column.
    tiles : ndarray of int64, shape (n_tiles, 5)
        For each where its numbers start, its first event, their count, its first column, their count. Tiles are sorted
        by their first event, and none reaches over the end of a block.
    pointer : ndarray of int64, shape (n_blocks + 1,)
        First tile of each block, and at last their count.
    order : ndarray of int64, shape (N,)
        The place in the user's list of each event of the table.
    """

    numbers: NDArray[np.float32]
    tiles: NDArray[np.int64]
    pointer: NDArray[np.int64]
    order: NDArray[np.int64]


def to_blocks(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blocked copy of a table of rows.

    Parameters
    ----------
    rows : ndarray, shape (N, K)
        One row per event.

    Returns
    -------
    ndarray, shape (ceil(N / BLOCK), K, BLOCK)
        Contiguous; entries past the last event are zero.

    Examples
    --------
    >>> import numpy as np
    >>> to_blocks(np.ones((300, 3))).shape
    (1, 3, 512)
    """
    n_events, n_columns = rows.shape
    n_blocks = -(-n_events // BLOCK)
    blocks = np.zeros((n_blocks, n_columns, BLOCK))
    n_full = n_events // BLOCK
    blocks[:n_full] = rows[: n_full * BLOCK].reshape(n_full, BLOCK, n_columns).transpose(0, 2, 1)
    if n_full < n_blocks:
        blocks[n_full, :, : n_events - n_full * BLOCK] = rows[n_full * BLOCK :].T
    return blocks
