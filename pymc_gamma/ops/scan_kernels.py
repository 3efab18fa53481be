r"""Kernels of scans: densities between nodes and their derivatives, see :mod:`pymc_gamma.ops.scan_tables`.

The logarithm of a density is a sum of 4 rows of the table for one parameter, of 16 for two, with weights that all
events share; its derivatives are sums of the same rows with other weights. One pass over them gives all, then

.. math::

    r = e^l, \qquad r_a = r\, l_a, \qquad r_{ab} = r\,(l_a l_b + l_{ab}) .

The exponential is :math:`2^n \sum_k y^k/k!` with :math:`x = n \log 2 + y`, :math:`|y| \le \log(2)/2`: fourteen terms
leave a relative error of a few units in the last place. It has no branches, so that LLVM vectorises it (it does not
vectorise ``math.exp``), and is cut off below -708 and above 709: smaller ones are 0, larger ones infinite.

Compiled without fastmath: it would delete the rounding by addition of :math:`1.5 \times 2^{52}`, and make two versions
of loops (see :mod:`pymc_gamma.ops.hat_kernels`).
"""

import math

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.compilation import kernel
from pymc_gamma.ops.intrinsics import from_bits, to_bits
from pymc_gamma.search_kernels import interval

__all__ = ["combination", "curvatures", "densities", "exponential"]

_BLOCK = 256
_ROUND = 6755399441055744.0  # 1.5 x 2^52: the low bits of a sum with it are the nearest integer
_LOG2E = 1 / math.log(2)
_LOG2_HIGH, _LOG2_LOW = (
    6.93147180369123816490e-01,
    1.90821492927058770002e-10,
)  # sum: log 2; 21 low bits of the first are 0
_BIAS = np.int64(1023)
_LOWEST, _HIGHEST = -708.0, 709.0
(_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13) = (1 / math.factorial(k) for k in range(2, 14))

_part = kernel(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@kernel(error_model="numpy", inline="always")
def exponential(x):  # type: ignore[no-untyped-def]
    """Exponential; 0 below -708, inf above 709, NaN of NaN."""
    held = min(max(x, _LOWEST), _HIGHEST)
    shifted = held * _LOG2E + _ROUND
    whole = shifted - _ROUND
    y = (held - whole * _LOG2_HIGH) - whole * _LOG2_LOW
    p = _C9 + y * (_C10 + y * (_C11 + y * (_C12 + y * _C13)))
    p = 1 + y * (1 + y * (_C2 + y * (_C3 + y * (_C4 + y * (_C5 + y * (_C6 + y * (_C7 + y * (_C8 + y * p))))))))
    value = p * from_bits((to_bits(shifted) + _BIAS) << 52)
    value = value if x >= _LOWEST else x - x  # 0, or NaN
    return value if not x > _HIGHEST else np.inf


@_part
def _weights(nodes: _Floats, x: float, out: _Floats) -> int:
    """Weights of value, slope, next value and next slope (columns) in the cubic and its derivatives (rows); the node.

    Outside of the nodes the cubic is constant. Without nodes there is one row to take, as it is.
    """
    out[:] = 0.0
    if len(nodes) == 0:
        out[0, 0] = 1.0
        return 0
    k, t = interval(nodes, x)
    step = nodes[k + 1] - nodes[k]
    if x != x:  # NaN, which the search does not see
        t = np.nan
    s = 1.0 - t
    out[0, 0] = (1.0 + 2.0 * t) * s * s
    out[0, 1] = t * s * s * step
    out[0, 2] = t * t * (3.0 - 2.0 * t)
    out[0, 3] = -t * t * s * step
    if not (x < nodes[0] or x > nodes[len(nodes) - 1]):
        out[1, 0] = -6.0 * t * s / step
        out[1, 1] = s * (1.0 - 3.0 * t)
        out[1, 2] = 6.0 * t * s / step
        out[1, 3] = t * (3.0 * t - 2.0)
        out[2, 0] = (12.0 * t - 6.0) / (step * step)
        out[2, 1] = (6.0 * t - 4.0) / step
        out[2, 2] = (6.0 - 12.0 * t) / (step * step)
        out[2, 3] = (6.0 * t - 2.0) / step
    return k


@kernel(error_model="numpy")
def combination(first: _Floats, second: _Floats, x: _Floats) -> tuple[NDArray[np.int64], _Floats]:
    """Rows of a table that matter at ``x``, and their weights in the logarithm of the density and its derivatives.

    Parameters
    ----------
    first, second : ndarray
        Nodes of the parameters; none of the second if there is but one.
    x : ndarray, shape (n_axes,)
        Values of the parameters.

    Returns
    -------
    rows : ndarray, shape (4**n_axes,)
        Rows, see :class:`pymc_gamma.ops.scan_tables.ScanTables`.
    weights : ndarray, shape (3, 3, 4**n_axes)
        Weights in the derivative of an order (first index) along the first and one (second index) along the second.
    """
    n_axes = 1 if len(second) == 0 else 2
    if len(x) != n_axes:
        raise ValueError("a scan needs one value of each of its parameters")
    own, other = np.empty((3, 4)), np.empty((3, 4))
    i = _weights(first, x[0], own)
    j = _weights(second, x[n_axes - 1], other)
    n_second, n_other = (1, 1) if n_axes == 1 else (len(second), 4)
    rows, weights = np.empty(4 * n_other, np.int64), np.empty((3, 3, 4 * n_other))
    for a in range(4):
        for b in range(n_other):
            node = (i + a // 2) * n_second + j + b // 2
            rows[a * n_other + b] = node * 2**n_axes + a % 2 + 2 * (b % 2)
            for p in range(3):
                for q in range(3):
                    weights[p, q, a * n_other + b] = own[p, a] * other[q, b]
    return rows, weights


@_part
def _sum_rows(table: _Floats, rows: NDArray[np.int64], weight: _Floats, start: int, n: int, out: _Floats) -> None:
    """Sum of rows times weights for ``n`` events from ``start``, four rows at a time."""
    out[:n] = 0.0
    for k in range(0, len(rows), 4):
        r0, r1, r2, r3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for e in range(n):
            at = start + e
            out[e] += w0 * table[r0, at] + w1 * table[r1, at] + w2 * table[r2, at] + w3 * table[r3, at]


@kernel(error_model="numpy")
def densities(table: _Floats, first: _Floats, second: _Floats, x: _Floats) -> tuple[_Floats, _Floats]:
    """Densities (N,) of events at values of the parameters, and their derivatives (n_axes, N)."""
    rows, weights = combination(first, second, x)
    n_events, n_axes = table.shape[1], len(x)
    value, slope = np.empty(n_events), np.empty((n_axes, n_events))
    logs = np.empty(_BLOCK)
    for start in range(0, n_events, _BLOCK):
        n = min(_BLOCK, n_events - start)
        _sum_rows(table, rows, weights[0, 0], start, n, logs)
        for e in range(n):
            value[start + e] = exponential(logs[e])
        for a in range(n_axes):
            _sum_rows(table, rows, weights[1 - a, a], start, n, logs)
            for e in range(n):
                slope[a, start + e] = value[start + e] * logs[e]
    return value, slope


@kernel(error_model="numpy")
def curvatures(table: _Floats, first: _Floats, second: _Floats, x: _Floats) -> _Floats:
    """Second derivatives (n_axes, n_axes, N) of the densities of events."""
    rows, weights = combination(first, second, x)
    value, slope = densities(table, first, second, x)
    n_events, n_axes = table.shape[1], len(x)
    out = np.empty((n_axes, n_axes, n_events))
    for a in range(n_axes):
        for b in range(n_axes):
            weight = weights[2 - a - b, a + b]
            _sum_rows(table, rows, weight, 0, n_events, out[a, b])
            for e in range(n_events):
                if value[e] > 0.0:
                    along = slope[a, e] / value[e] * slope[b, e]
                    out[a, b, e] = along + value[e] * out[a, b, e]
                else:
                    out[a, b, e] = value[e]  # 0, or NaN
    return out
