"""Kernels of columns that are products of factors and bands, see :mod:`pymc_gamma.ops.factored`."""

import numba as nb
import numpy as np

from pymc_gamma.compilation import kernel
from pymc_gamma.ops.coarse_kernels import FIRST, STEP, cubic, n_few

__all__ = ["rows_dot", "rows_pull"]

FASTMATH = {"reassoc", "contract", "nsz"}
_U = nb.uint64
"""Indices are unsigned, so that numba does not test each for counting from the end."""


@kernel(error_model="numpy", fastmath=FASTMATH)
def rows_dot(w, v, span, factors, values, pointer, column, few, few_pointer, few_column, low):  # type: ignore[no-untyped-def]
    """Products of rows of factors with ``w`` and of bands with ``v``, shape (R,) each.

    Coefficients ``v`` are smooth but in a span of nodes, see :mod:`pymc_gamma.ops.coarse_kernels`.
    """
    n, n_widths, n_nodes = len(factors), factors.shape[1], len(v)
    lo, hi = span[0], span[1]
    coarse, rest, ends = v[:0], v[:0], (0.0, 0.0)
    if hi - lo < n_nodes:
        coarse = v[FIRST::STEP][: n_few(n_nodes)].copy()
        rest = np.empty(hi - lo)
        for k in range(hi - lo):
            rest[k] = _remainder(v, coarse, lo + k)
        ends = (_remainder(v, coarse, 0), _remainder(v, coarse, n_nodes - 1))
    first, second = np.empty(n), np.empty(n)
    for r in range(n):
        total = 0.0
        for g in range(n_widths):
            total += factors[r, g] * w[g]
        first[r] = total
        total, start, stop = 0.0, column[r], column[r] + pointer[r + 1] - pointer[r]
        if low[r] >= lo:
            a, length, c = _U(pointer[r]), _U(stop - start), _U(start)
            for j in range(length):
                total += values[a + j] * v[c + j]
        else:
            a, length, c = _U(few_pointer[r]), _U(few_pointer[r + 1] - few_pointer[r]), _U(few_column[r])
            for j in range(length):
                total += few[a + j] * coarse[c + j]
            begin, end = max(start, lo), min(stop, hi)
            if begin < end:
                a, length, c = _U(pointer[r] + begin - start), _U(end - begin), _U(begin - lo)
                for j in range(length):
                    total += values[a + j] * rest[c + j]
            if start == 0 < stop:
                total += values[pointer[r]] * ends[0]
            if start < stop == n_nodes:
                total += values[pointer[r + 1] - 1] * ends[1]
        second[r] = total
    return first, second


@kernel(error_model="numpy", fastmath=FASTMATH)
def rows_pull(x, y, n_nodes, span, factors, values, pointer, column, few, few_pointer, few_column, low):  # type: ignore[no-untyped-def]
    """Sums of rows of factors and of bands, with weights: the transpose of `rows_dot`."""
    n, n_widths = factors.shape
    lo, hi = span[0], span[1]
    partly = hi - lo < n_nodes
    w, v = np.zeros(n_widths), np.zeros(n_nodes)
    coarse, rest = np.zeros(n_few(n_nodes) if partly else 0), np.zeros(hi - lo if partly else 0)
    low_end, high_end = 0.0, 0.0
    for r in range(n):
        weight = x[r]
        for g in range(n_widths):
            w[g] += factors[r, g] * weight
        weight, start, stop = y[r], column[r], column[r] + pointer[r + 1] - pointer[r]
        if low[r] >= lo:
            a, length, c = _U(pointer[r]), _U(stop - start), _U(start)
            for j in range(length):
                v[c + j] += values[a + j] * weight
        else:
            a, length, c = _U(few_pointer[r]), _U(few_pointer[r + 1] - few_pointer[r]), _U(few_column[r])
            for j in range(length):
                coarse[c + j] += few[a + j] * weight
            begin, end = max(start, lo), min(stop, hi)
            if begin < end:
                a, length, c = _U(pointer[r] + begin - start), _U(end - begin), _U(begin - lo)
                for j in range(length):
                    rest[c + j] += values[a + j] * weight
            if start == 0 < stop:
                low_end += values[pointer[r]] * weight
            if start < stop == n_nodes:
                high_end += values[pointer[r + 1] - 1] * weight
    if partly:
        for k in range(hi - lo):
            _give_back(v, coarse, lo + k, rest[k])
        _give_back(v, coarse, 0, low_end)
        _give_back(v, coarse, n_nodes - 1, high_end)
        for j in range(len(coarse)):
            v[FIRST + STEP * j] += coarse[j]
    return w, v


@kernel(error_model="numpy")
def _remainder(v, coarse, node):  # type: ignore[no-untyped-def]
    """What the cubic through few nodes misses at a node."""
    at, w0, w1, w2, w3 = cubic(node, len(coarse))
    return v[node] - (w0 * coarse[at] + w1 * coarse[at + 1] + w2 * coarse[at + 2] + w3 * coarse[at + 3])


@kernel(error_model="numpy")
def _give_back(v, coarse, node, weight):  # type: ignore[no-untyped-def]
    """The transpose of `_remainder`, added."""
    at, w0, w1, w2, w3 = cubic(node, len(coarse))
    v[node] += weight
    coarse[at] -= w0 * weight
    coarse[at + 1] -= w1 * weight
    coarse[at + 2] -= w2 * weight
    coarse[at + 3] -= w3 * weight
