r"""Kernels for sums over nodes of a spectrum that is smooth but for a line or an end: most of them at fewer nodes.

Coefficients :math:`v_n` are what the cubic through four of few nodes :math:`n_j`, every fourth, says, and a remainder,

.. math:: v_n = \sum_j L_{nj}\,v_{n_j} + e_n .

The remainder is negligible but in a span *S* around lines, steps and ends, and at the first and the last node, whose
hats are halves. So

.. math:: \sum_n B_n v_n = \sum_j (B L)_j\,v_{n_j} + \sum_{n \in S} B_n e_n :

a sum over a quarter of the nodes, and a few more. Bands :math:`B L` are tables. Where most of a band lies above the
beginning of the span little may be left of two numbers that cancel; it is summed node by node.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.compilation import kernel
from pymc_gamma.ops.intrinsics import part

__all__ = [
    "FIRST",
    "LEAST",
    "LONGEST",
    "NEAR",
    "NEGLIGIBLE",
    "STEP",
    "FewNodes",
    "coarsened",
    "cubic",
    "n_few",
    "no_few_nodes",
    "rough_span",
]

FIRST, STEP = 2, 4
"""The first of the few nodes, and how far they are apart."""
LEAST = 40
"""Nodes from which on fewer are worth it."""
NEGLIGIBLE = 3e-4
"""Remainder over the largest coefficient near by, at most."""
NEAR = 2
"""Steps that are near by."""
LONGEST = 3
"""A span of one node in so many, and more, is that of all nodes."""
LOW = 0.01
"""Share of a band below the span with which it is summed at few nodes."""
MULTIPLE = 8
NEVER = np.iinfo(np.int64).max


class FewNodes(NamedTuple):
    """Bands at few nodes.

    Attributes
    ----------
    values : numpy.ndarray
        Numbers of all bands, float32.
    pointer : numpy.ndarray
        Where each begins, and at last their count, shape (R + 1,).
    column : numpy.ndarray
        The first of the few nodes of each, shape (R,).
    low : numpy.ndarray
        Node below which a hundredth of each band lies: spans must begin above it, shape (R,).
    """

    values: NDArray[np.float32]
    pointer: NDArray[np.int64]
    column: NDArray[np.int64]
    low: NDArray[np.int64]


def no_few_nodes(n_rows: int) -> FewNodes:
    """For bands that are always summed node by node."""
    return FewNodes(
        np.empty(0, np.float32),
        np.zeros(n_rows + 1, np.int64),
        np.zeros(n_rows, np.int64),
        np.full(n_rows, NEVER),
    )


def coarsened(
    values: NDArray[np.float32], pointer: NDArray[np.int64], column: NDArray[np.int64], n_nodes: int
) -> FewNodes:
    """Bands at few nodes.

    Parameters
    ----------
    values, pointer, column : numpy.ndarray
        Bands of nodes, see `pymc_gamma.folding.bands.Bands`; one of them in each row.
    n_nodes : int
        Number of nodes.
    """
    if n_nodes < LEAST:
        return no_few_nodes(len(column))
    few_pointer, few_column, low = np.empty(len(column) + 1, np.int64), np.empty_like(column), np.empty_like(column)
    _extents(values, pointer, column, n_nodes, few_pointer, few_column, low)
    few = np.empty(few_pointer[-1], np.float32)
    _gather(values, pointer, column, n_nodes, few_pointer, few_column, few)
    return FewNodes(few, few_pointer, few_column, low)


@part
def n_few(n: int) -> int:
    """Number of few nodes among ``n``."""
    return (n - 1 - 2 * FIRST) // STEP + 1


@part
def cubic(node: int, few: int) -> tuple[int, float, float, float, float]:
    """The first of the four of few nodes that are nearest to a node, and the weights of a cubic through them."""
    first = min(max((node - FIRST) // STEP - 1, 0), few - 4)
    a = (node - FIRST) / STEP - first
    b, c, d = a - 1.0, a - 2.0, a - 3.0
    return first, -b * c * d / 6.0, a * c * d / 2.0, -a * b * d / 2.0, a * b * c / 6.0


@kernel(error_model="numpy")
def _extents(values, pointer, column, n_nodes, few_pointer, few_column, low):  # type: ignore[no-untyped-def]
    """Fill where bands at few nodes begin, their first node, and below which node little of them lies."""
    few = n_few(n_nodes)
    few_pointer[0] = 0
    for r in range(len(column)):
        begin, end, start = pointer[r], pointer[r + 1], column[r]
        first, length = 0, 0
        if end > begin:
            first = cubic(start, few)[0]
            length = cubic(start + end - begin - 1, few)[0] + 4 - first
            length = min(-(-length // MULTIPLE) * MULTIPLE, few)
            first = min(first, few - length)
        few_column[r], few_pointer[r + 1] = first, few_pointer[r] + length
        total, below, j = 0.0, 0.0, begin
        for k in range(begin, end):
            total += values[k]
        while j < end and below < LOW * total:
            below += values[j]
            j += 1
        low[r] = start + j - begin


@kernel(error_model="numpy")
def _gather(values, pointer, column, n_nodes, few_pointer, few_column, out):  # type: ignore[no-untyped-def]
    """Fill bands at few nodes."""
    few = n_few(n_nodes)
    row = np.zeros(few)
    for r in range(len(column)):
        row[:] = 0.0
        for k in range(pointer[r], pointer[r + 1]):
            first, w0, w1, w2, w3 = cubic(column[r] + k - pointer[r], few)
            row[first] += w0 * values[k]
            row[first + 1] += w1 * values[k]
            row[first + 2] += w2 * values[k]
            row[first + 3] += w3 * values[k]
        for k in range(few_pointer[r], few_pointer[r + 1]):
            out[k] = row[few_column[r] + k - few_pointer[r]]


@kernel(error_model="numpy")
def rough_span(v: _Floats) -> NDArray[np.int64]:
    """First node between both ends at which the remainder is not negligible, and one past the last; or all nodes."""
    n = len(v)
    if n < LEAST:
        return np.array([0, n])
    few = n_few(n)
    largest = np.zeros(n // STEP + 2 * (NEAR + 1))  # from one of the few nodes, or where it would be, to the next
    for node in range(n):
        j = (node - FIRST + STEP) // STEP + NEAR
        largest[j] = max(largest[j], abs(v[node]))
    lo, hi = n - 1, n - 1
    for node in range(1, n - 1):
        first, w0, w1, w2, w3 = cubic(node, few)
        at = FIRST + STEP * first
        rest = v[node] - (w0 * v[at] + w1 * v[at + STEP] + w2 * v[at + 2 * STEP] + w3 * v[at + 3 * STEP])
        j = (node - FIRST + STEP) // STEP + NEAR
        scale = 0.0
        for k in range(j - NEAR, j + NEAR + 1):
            scale = max(scale, largest[k])
        if not abs(rest) <= NEGLIGIBLE * scale:
            lo, hi = min(lo, node), node + 1
    if (hi - lo) * LONGEST > n:
        return np.array([0, n])
    return np.array([lo, hi])
