r"""Kernels of the log of a matrix-vector product: values, gradients and second derivatives in one pass over a table.

With a table :math:`P_{ik} \ge 0` (event *i*, column *k*), multiplicities :math:`m_i` and coefficients :math:`v_k`,

.. math::

    s_i = \sum_k P_{ik} v_k, \qquad
    \ell = \sum_i m_i \log s_i, \qquad
    \frac{\partial \ell}{\partial v_k} = \sum_i \frac{m_i P_{ik}}{s_i}, \qquad
    \frac{\partial^2 \ell}{\partial v_k \partial v_l} = -\sum_i \frac{m_i P_{ik} P_{il}}{s_i^2} .

Layout
------
The table is stored as ``(n_blocks, K, BLOCK)``: a block of 256 events lies together, column by column, so that one
contiguous stream of memory serves both the products and the gradient (the second reading of a block comes from the
first-level cache), and every inner loop runs over consecutive events and vectorises. Entries past the last event
are never read.

Logarithm
---------
A logarithm costs as much as reading twenty numbers. Events of multiplicity one need only the sum of their
logarithms: eight densities are multiplied first, and one logarithm is taken of the product. This is exact to
rounding while each factor is within ``1e-37 ... 1e37``, which is checked for every block; other blocks take one
logarithm per event, and blocks with zeros, negative numbers, subnormals or NaN take a scalar path that gives each of
them its proper value. The logarithm itself is :math:`\log x = e \log 2 + 2\,\mathrm{artanh}\frac{f-1}{f+1}` with
:math:`x = 2^e f`, :math:`f \in [\sqrt{1/2}, \sqrt 2)`, a series in odd powers that LLVM vectorises (it does not
vectorise ``math.log``); nine terms leave a relative error below 1e-16.

Zeros
-----
An event of density zero and multiplicity zero contributes nothing, to the value and to every derivative; with positive
multiplicity the value is ``-inf`` and the gradient large and finite. A negative or NaN density gives NaN.

Kernels are serial and release the interpreter lock: samplers run one thread per chain.
"""

import hashlib
import inspect
import math
import sys

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "SOURCE_VERSION", "fused", "hessian_product", "pointwise", "pushforward", "to_blocks", "vjp"]

BLOCK = 256
"""Events per block."""

_PRODUCT_MIN, _PRODUCT_MAX = 1e-37, 1e37  # eight factors stay within 1e-296 ... 1e296
_PRODUCT_MIN_BITS, _PRODUCT_MAX_BITS = (np.float64(x).view(np.int64) for x in (_PRODUCT_MIN, _PRODUCT_MAX))
_NORMAL_MIN, _NORMAL_MAX = 2.3e-308, 1.7e308
_LOG2 = math.log(2.0)
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_A1, _A3, _A5, _A7, _A9, _A11, _A13, _A15, _A17 = (2.0 / n for n in range(1, 18, 2))

# nnan and ninf are left out on purpose: with them LLVM may assume that there is no NaN to report.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
_jit = nb.njit(cache=True, nogil=True, fastmath=_FASTMATH, error_model="numpy")


@_jit
def _dot_block(block, coefficients, n, density):
    """``density[j] = sum_k block[k, j] coefficients[k]`` for the first ``n`` events.

    Four columns at a time: the running sum is written and read back once for four products.
    """
    n_columns = block.shape[0]
    head = (n_columns - 1) % 4 + 1
    r0, c0 = block[0], coefficients[0]
    if head == 1:
        for j in range(n):
            density[j] = c0 * r0[j]
    elif head == 2:
        r1, c1 = block[1], coefficients[1]
        for j in range(n):
            density[j] = c0 * r0[j] + c1 * r1[j]
    elif head == 3:
        r1, c1 = block[1], coefficients[1]
        r2, c2 = block[2], coefficients[2]
        for j in range(n):
            density[j] = c0 * r0[j] + c1 * r1[j] + c2 * r2[j]
    else:
        r1, c1 = block[1], coefficients[1]
        r2, c2 = block[2], coefficients[2]
        r3, c3 = block[3], coefficients[3]
        for j in range(n):
            density[j] = c0 * r0[j] + c1 * r1[j] + c2 * r2[j] + c3 * r3[j]
    for k in range(head, n_columns, 4):
        r0, c0 = block[k], coefficients[k]
        r1, c1 = block[k + 1], coefficients[k + 1]
        r2, c2 = block[k + 2], coefficients[k + 2]
        r3, c3 = block[k + 3], coefficients[k + 3]
        for j in range(n):
            density[j] += c0 * r0[j] + c1 * r1[j] + c2 * r2[j] + c3 * r3[j]


@_jit
def _accumulate_block(block, weight, n, total):
    """``total[k] += sum_j block[k, j] weight[j]`` over the first ``n`` events, columns in the groups of `_dot_block`."""
    n_columns = block.shape[0]
    head = (n_columns - 1) % 4 + 1
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    r0 = block[0]
    if head == 1:
        for j in range(n):
            t0 += r0[j] * weight[j]
    elif head == 2:
        r1 = block[1]
        for j in range(n):
            t0 += r0[j] * weight[j]
            t1 += r1[j] * weight[j]
        total[1] += t1
    elif head == 3:
        r1, r2 = block[1], block[2]
        for j in range(n):
            t0 += r0[j] * weight[j]
            t1 += r1[j] * weight[j]
            t2 += r2[j] * weight[j]
        total[1] += t1
        total[2] += t2
    else:
        r1, r2, r3 = block[1], block[2], block[3]
        for j in range(n):
            t0 += r0[j] * weight[j]
            t1 += r1[j] * weight[j]
            t2 += r2[j] * weight[j]
            t3 += r3[j] * weight[j]
        total[1] += t1
        total[2] += t2
        total[3] += t3
    total[0] += t0
    for k in range(head, n_columns, 4):
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        r0, r1, r2, r3 = block[k], block[k + 1], block[k + 2], block[k + 3]
        for j in range(n):
            t0 += r0[j] * weight[j]
            t1 += r1[j] * weight[j]
            t2 += r2[j] * weight[j]
            t3 += r3[j] * weight[j]
        total[k] += t0
        total[k + 1] += t1
        total[k + 2] += t2
        total[k + 3] += t3


@_jit
def _within(density, n, lowest, highest):
    """Whether all of the first ``n`` densities lie strictly within the bounds (NaN does not)."""
    inside = True
    for j in range(n):
        inside &= (density[j] > lowest) & (density[j] < highest)
    return inside


@_jit
def _log_normal(x_bits, f):
    """Logarithm of a positive normal number: its bits, and ``f`` its mantissa in [sqrt(1/2), sqrt(2))."""
    exponent = float((x_bits - _SQRT_HALF_BITS) >> 52)
    t = (f - 1.0) / (f + 1.0)
    z = t * t
    series = _A1 + z * (
        _A3 + z * (_A5 + z * (_A7 + z * (_A9 + z * (_A11 + z * (_A13 + z * (_A15 + z * _A17)))))))
    return exponent * _LOG2 + t * series


@_jit
def _multiply_halves(x, out):
    """``out[j] = x[j] x[j + half]``; the length is read from the array so that LLVM vectorises instead of unrolling."""
    half = x.shape[0] // 2
    low, high = x[:half], x[half:]
    for j in range(half):
        out[j] = low[j] * high[j]


@_jit
def _divide_halves(x, reciprocal, out):
    """``out = 1 / x`` from ``reciprocal[j] = 1 / (x[j] x[j + half])``, without a division."""
    half = x.shape[0] // 2
    low, high = x[:half], x[half:]
    out_low, out_high = out[:half], out[half:]
    for j in range(half):
        out_low[j] = reciprocal[j] * high[j]
    for j in range(half):
        out_high[j] = reciprocal[j] * low[j]


@_jit
def _sum_log(x, mantissa_bits):
    """``sum_j log x[j]`` of positive normal numbers."""
    bits, mantissa = x.view(np.int64), mantissa_bits.view(np.float64)
    n = x.shape[0]
    for j in range(n):
        mantissa_bits[j] = bits[j] - (((bits[j] - _SQRT_HALF_BITS) >> 52) << 52)
    total = 0.0
    for j in range(n):
        total += _log_normal(bits[j], mantissa[j])
    return total


@_jit
def _unit_block(density, reciprocal, work, mantissa_bits):
    """Sum of the logarithms of one full block, and the reciprocals, from products of eight densities.

    Returns NaN, and leaves ``reciprocal`` alone, if a density lies outside the product range.
    """
    bits = density.view(np.int64)
    outside = np.int64(0)
    for j in range(density.shape[0]):  # the sign bit records what is not positive, or too small, too large, NaN
        outside |= (bits[j] - _PRODUCT_MIN_BITS) | (_PRODUCT_MAX_BITS - bits[j])
    if outside < 0:
        return np.nan
    pairs, quads, octets, inverse = work
    _multiply_halves(density, pairs)
    _multiply_halves(pairs, quads)
    _multiply_halves(quads, octets)
    total = _sum_log(octets, mantissa_bits)
    for j in range(octets.shape[0]):
        octets[j] = 1.0 / octets[j]
    _divide_halves(quads, octets, inverse[: quads.shape[0]])
    _divide_halves(pairs, inverse[: quads.shape[0]], reciprocal[: pairs.shape[0]])
    for j in range(pairs.shape[0]):
        inverse[j] = reciprocal[j]
    _divide_halves(density, inverse, reciprocal)
    return total


@_jit
def _sum_log_weighted(density, multiplicity, n, mantissa_bits):
    """``sum_j multiplicity[j] log density[j]`` of positive normal densities."""
    bits, mantissa = density.view(np.int64), mantissa_bits.view(np.float64)
    for j in range(n):
        mantissa_bits[j] = bits[j] - (((bits[j] - _SQRT_HALF_BITS) >> 52) << 52)
    total = 0.0
    for j in range(n):
        total += multiplicity[j] * _log_normal(bits[j], mantissa[j])
    return total


@_jit
def _log_term(density, multiplicity):
    """``multiplicity * log density`` of one event, whatever the numbers."""
    if density > 0.0:
        return multiplicity * math.log(density)
    if density == 0.0:
        return -np.inf if multiplicity != 0.0 else 0.0
    return np.nan


@_jit
def _quotient(weight, density):
    """``weight / density`` without ``0 / 0`` and without overflow, so that it may be multiplied by zero."""
    if weight == 0.0 and density == 0.0:
        return 0.0
    return min(max(weight / density, -_NORMAL_MAX), _NORMAL_MAX) if density == density else np.nan


@_jit
def _log_and_weight(density, multiplicity, unit, n, weight, work, mantissa_bits):
    """Sum of ``multiplicity * log(density)``; ``weight`` becomes ``multiplicity / density``.

    This is the part of the kernels that does not know where the densities come from.
    """
    if unit and n == BLOCK:
        total = _unit_block(density, weight, work, mantissa_bits)
        if total == total:
            return total
    if _within(density, n, _NORMAL_MIN, _NORMAL_MAX):
        total = _sum_log_weighted(density, multiplicity, n, mantissa_bits)
        for j in range(n):
            weight[j] = multiplicity[j] / density[j]
        return total
    total = 0.0
    for j in range(n):
        total += _log_term(density[j], multiplicity[j])
        weight[j] = _quotient(multiplicity[j], density[j])
    return total


@_jit
def _check_columns(table, coefficients):
    if table.shape[1] != coefficients.shape[0]:
        raise ValueError("the number of coefficients does not match the number of columns of the event table")


@_jit
def fused(table, multiplicity, unit, coefficients):
    """Value and gradient of ``sum_i m_i log s_i`` in one pass.

    Parameters
    ----------
    table : ndarray, shape (n_blocks, K, BLOCK)
        Blocked table, see :func:`to_blocks`.
    multiplicity : ndarray, shape (N,)
        Multiplicity of each event; not read in blocks whose ``unit`` is set.
    unit : ndarray of bool, shape (n_blocks,)
        Whether all events of a block have multiplicity one.
    coefficients : ndarray, shape (K,)
        Coefficients ``v``.

    Returns
    -------
    value : float
        The sum.
    gradient : ndarray, shape (K,)
        Its gradient with respect to the coefficients.
    """
    _check_columns(table, coefficients)
    n_events = multiplicity.shape[0]
    density = np.empty(BLOCK)
    weight = np.empty(BLOCK)
    work = (np.empty(BLOCK // 2), np.empty(BLOCK // 4), np.empty(BLOCK // 8), np.empty(BLOCK // 2))
    mantissa_bits = np.empty(BLOCK, np.int64)
    gradient = np.zeros(coefficients.shape[0])
    value = 0.0
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        block = table[b]
        if n == BLOCK:  # a constant trip count lets LLVM drop the remainder loops
            _dot_block(block, coefficients, BLOCK, density)
        else:
            _dot_block(block, coefficients, n, density)
        value += _log_and_weight(
            density, multiplicity[first : first + n], unit[b], n, weight, work, mantissa_bits
        )
        if n == BLOCK:
            _accumulate_block(block, weight, BLOCK, gradient)
        else:
            _accumulate_block(block, weight, n, gradient)
    return value, gradient


@_jit
def pointwise(table, multiplicity, offset, coefficients):
    """``m_i (log s_i + offset_i)`` of every event, shape (N,); zero where the multiplicity is zero and ``s_i`` too."""
    _check_columns(table, coefficients)
    n_events = multiplicity.shape[0]
    density = np.empty(BLOCK)
    out = np.empty(n_events)
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _dot_block(table[b], coefficients, n, density)
        for j in range(n):
            i = first + j
            out[i] = _log_term(density[j], multiplicity[i]) + multiplicity[i] * offset[i]
    return out


@_jit
def vjp(table, weight, coefficients):
    """``sum_i weight_i P_ik / s_i``, shape (K,): the gradient for arbitrary weights (cotangent times multiplicity)."""
    _check_columns(table, coefficients)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    out = np.zeros(coefficients.shape[0])
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _dot_block(table[b], coefficients, n, density)
        for j in range(n):
            density[j] = _quotient(weight[first + j], density[j])
        _accumulate_block(table[b], density, n, out)
    return out


@_jit
def pushforward(table, weight, coefficients, direction):
    """``weight_i (P_i . direction) / s_i`` of every event, shape (N,): the derivative along a direction."""
    _check_columns(table, coefficients)
    _check_columns(table, direction)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    slope = np.empty(BLOCK)
    out = np.empty(n_events)
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _dot_block(table[b], coefficients, n, density)
        _dot_block(table[b], direction, n, slope)
        for j in range(n):
            out[first + j] = _quotient(weight[first + j], density[j]) * slope[j]
    return out


@_jit
def hessian_product(table, weight, coefficients, direction):
    """``-sum_i weight_i P_ik (P_i . direction) / s_i^2``, shape (K,): the Hessian times a direction."""
    _check_columns(table, coefficients)
    _check_columns(table, direction)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    slope = np.empty(BLOCK)
    out = np.zeros(coefficients.shape[0])
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _dot_block(table[b], coefficients, n, density)
        _dot_block(table[b], direction, n, slope)
        for j in range(n):
            slope[j] = -_quotient(_quotient(weight[first + j], density[j]) * slope[j], density[j])
        _accumulate_block(table[b], slope, n, out)
    return out


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
    (2, 3, 256)
    """
    n_events, n_columns = rows.shape
    n_blocks = -(-n_events // BLOCK)
    blocks = np.zeros((n_blocks, n_columns, BLOCK))
    n_full = n_events // BLOCK
    blocks[:n_full] = rows[: n_full * BLOCK].reshape(n_full, BLOCK, n_columns).transpose(0, 2, 1)
    if n_full < n_blocks:
        blocks[n_full, :, : n_events - n_full * BLOCK] = rows[n_full * BLOCK :].T
    return blocks


SOURCE_VERSION: int = int.from_bytes(
    hashlib.blake2b(inspect.getsource(sys.modules[__name__]).encode(), digest_size=6).digest(), "big"
)
"""Changes with this file: the version under which PyTensor caches what it compiles around these kernels."""
