"""Blocks: how the rows of an event table lie in memory."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "to_blocks"]

BLOCK = 512
"""Events per block."""


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
