r"""Kernels of columns that reach all events, for one block of a table: products, their transpose, both at once.

The two passes over a block of many columns need room for the densities and their reciprocals. With few columns
everything that is known of an event fits into registers, and a single reading of the block gives value and gradient.
Reading a table that no cache holds is then most of the time, so that the next block is fetched meanwhile, little by
little: asked for all at once, it keeps the processor waiting.
"""

import numpy as np

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.ops.intrinsics import part, prefetch
from pymc_gamma.ops.layout import BLOCK
from pymc_gamma.ops.log_kernels import exponent, log_of_pairs, mantissa, outside_pair

__all__ = ["FEW", "accumulate_block", "dot_block", "prefetch_block", "value_and_gradient_of_few"]


FEW = 3
"""Columns of which value and gradient can be computed at once."""

_LINE = 8  # numbers in a cache line
_HALF = BLOCK // 2
_STEP = 32  # pairs between two requests of memory


@part
def prefetch_block(block: _Floats) -> None:
    """Fetch a block into the second-level cache while the one before it is computed on (a fifth of the time)."""
    for k in range(block.shape[0]):
        for j in range(0, BLOCK, _LINE):
            prefetch(block, (k, j))


@part
def dot_block(block: _Floats, coefficients: _Floats, n: int, density: _Floats) -> None:
    """``density[j] = sum_k block[k, j] coefficients[k]`` for the first ``n`` events.

    Four columns at a time: the running sum is written and read back once for four products. Elements are indexed
    one by one, because taking a row of an array costs atomic reference counts in every block.
    """
    n_columns = block.shape[0]
    head = (n_columns - 1) % 4 + 1
    c0 = coefficients[0]
    if head == 1:
        for j in range(n):
            density[j] = c0 * block[0, j]
    elif head == 2:
        c1 = coefficients[1]
        for j in range(n):
            density[j] = c0 * block[0, j] + c1 * block[1, j]
    elif head == 3:
        c1, c2 = coefficients[1], coefficients[2]
        for j in range(n):
            density[j] = c0 * block[0, j] + c1 * block[1, j] + c2 * block[2, j]
    else:
        c1, c2, c3 = coefficients[1], coefficients[2], coefficients[3]
        for j in range(n):
            density[j] = c0 * block[0, j] + c1 * block[1, j] + c2 * block[2, j] + c3 * block[3, j]
    for k in range(head, n_columns, 4):
        c0, c1, c2, c3 = coefficients[k], coefficients[k + 1], coefficients[k + 2], coefficients[k + 3]
        for j in range(n):
            density[j] += c0 * block[k, j] + c1 * block[k + 1, j] + c2 * block[k + 2, j] + c3 * block[k + 3, j]


@part
def accumulate_block(block: _Floats, weight: _Floats, n: int, total: _Floats) -> None:
    """``total[k] += sum_j block[k, j] weight[j]`` over the first ``n`` events, grouped as in `dot_block`."""
    n_columns = block.shape[0]
    head = (n_columns - 1) % 4 + 1
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    if head == 1:
        for j in range(n):
            t0 += block[0, j] * weight[j]
    elif head == 2:
        for j in range(n):
            t0 += block[0, j] * weight[j]
            t1 += block[1, j] * weight[j]
        total[1] += t1
    elif head == 3:
        for j in range(n):
            t0 += block[0, j] * weight[j]
            t1 += block[1, j] * weight[j]
            t2 += block[2, j] * weight[j]
        total[1] += t1
        total[2] += t2
    else:
        for j in range(n):
            t0 += block[0, j] * weight[j]
            t1 += block[1, j] * weight[j]
            t2 += block[2, j] * weight[j]
            t3 += block[3, j] * weight[j]
        total[1] += t1
        total[2] += t2
        total[3] += t3
    total[0] += t0
    for k in range(head, n_columns, 4):
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for j in range(n):
            t0 += block[k, j] * weight[j]
            t1 += block[k + 1, j] * weight[j]
            t2 += block[k + 2, j] * weight[j]
            t3 += block[k + 3, j] * weight[j]
        total[k] += t0
        total[k + 1] += t1
        total[k + 2] += t2
        total[k + 3] += t3


@part
def value_and_gradient_of_few(table: _Floats, b: int, coefficients: _Floats, total: _Floats) -> float:
    """Sum of the logarithms of the densities of the full block ``b``, of multiplicity one, by at most three columns.

    ``total[k] += sum_j block[k, j] / density[j]``. Events go in pairs, see :mod:`pymc_gamma.ops.log_kernels`: NaN,
    and nothing added, if a density lies outside the range for that. Columns that are not there are the first, times 0.
    """
    n_columns = table.shape[1]
    k1, k2 = 1 if n_columns > 1 else 0, 2 if n_columns > 2 else 0
    c0 = coefficients[0]
    c1, c2 = coefficients[k1] if k1 > 0 else 0.0, coefficients[k2] if k2 > 0 else 0.0
    t0, t1, t2 = 0.0, 0.0, 0.0
    exponents, outside, mantissas = np.int64(0), np.int64(0), 1.0
    for start in range(0, _HALF, _STEP):
        if b + 1 < table.shape[0]:
            for k in range(n_columns):
                for j in range(2 * start, 2 * (start + _STEP), _LINE):
                    prefetch(table, (b + 1, k, j))
        for i in range(start, start + _STEP):
            j = i + _HALF
            p0, p1, p2 = table[b, 0, i], table[b, k1, i], table[b, k2, i]
            q0, q1, q2 = table[b, 0, j], table[b, k1, j], table[b, k2, j]
            x = c0 * p0 + c1 * p1 + c2 * p2
            y = c0 * q0 + c1 * q1 + c2 * q2
            outside |= outside_pair(x, y)
            product = x * y
            exponents += exponent(product)
            mantissas *= mantissa(product)
            r = 1.0 / product
            u, w = r * y, r * x
            t0 += p0 * u + q0 * w
            t1 += p1 * u + q1 * w
            t2 += p2 * u + q2 * w
    if outside < 0:
        return np.nan
    total[0] += t0
    if k1 > 0:
        total[k1] += t1
    if k2 > 0:
        total[k2] += t2
    return log_of_pairs(exponents, mantissas)
