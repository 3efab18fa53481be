r"""Kernels of logarithms and quotients of densities: from the densities of a block to its terms and weights.

A logarithm costs as much as reading twenty numbers. Events of multiplicity one need only the sum of their
logarithms: with :math:`s_i = 2^{e_i} f_i`, :math:`f_i \in [1, 2)`,

.. math::

    \sum_i \log s_i = \log 2 \sum_i e_i + \log \prod_i f_i ,

an integer sum and a product, taken from the bits of the numbers, and one logarithm for a whole block. Densities are
taken in pairs, :math:`s_i s_j`, which also gives two reciprocals for one division, and the product of the 256
mantissas of a block stays below :math:`2^{256}`. This is exact to rounding while densities are within
1e-150 ... 1e150, which is checked.

Blocks with other multiplicities take one logarithm per event,
:math:`\log x = e \log 2 + 2\,\mathrm{artanh}\frac{f-1}{f+1}` with :math:`f \in [\sqrt{1/2}, \sqrt 2)`, a series in
odd powers that LLVM vectorises (it does not vectorise ``math.log``); nine terms leave a relative error of 1e-15.
Blocks with zeros, negative numbers, very small ones or NaN take a scalar path that gives each of them its proper value,
but for those that are rare (:mod:`pymc_gamma.ops.rare_kernels`), which it leaves out.
"""

import math

import numpy as np

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.ops.intrinsics import from_bits, part, to_bits
from pymc_gamma.ops.layout import BLOCK
from pymc_gamma.ops.rare_kernels import RARE, held, is_rare

__all__ = ["exponent", "log_and_weight", "log_of_pairs", "log_term", "mantissa", "outside_pair", "quotient"]

_LOG2 = math.log(2.0)
_MANTISSA_BITS = np.int64(0x000FFFFFFFFFFFFF)
_PAIR_MIN_BITS, _PAIR_MAX_BITS = (np.float64(x).view(np.int64) for x in (1e-150, 1e150))
_ONE_BITS = np.int64(0x3FF0000000000000)
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_ORDINARY_MIN_BITS = np.float64(RARE).view(np.int64)  # multiplicities over more than this do not overflow
_ORDINARY_MAX_BITS = np.int64(0x7FEFFFFFFFFFFFFF)
_A1, _A3, _A5, _A7, _A9, _A11, _A13, _A15, _A17 = (2.0 / n for n in range(1, 18, 2))


@part
def _all_ordinary(density: _Floats, n: int) -> np.bool_:
    """Whether the first ``n`` densities are positive and finite, and not as small as to overflow in a quotient."""
    outside = np.int64(0)
    for j in range(n):  # the sign bit records any number beyond the bounds
        bits = to_bits(density[j])
        outside |= bits | (bits - _ORDINARY_MIN_BITS) | (_ORDINARY_MAX_BITS - bits)
    return outside >= 0


@part
def _log_ordinary(x: float) -> float:
    """Logarithm of a number for which `_all_ordinary` holds."""
    bits = to_bits(x)
    exponent = (bits - _SQRT_HALF_BITS) >> 52
    f = from_bits(bits - (exponent << 52))
    t = (f - 1.0) / (f + 1.0)
    z = t * t
    series = _A1 + z * (_A3 + z * (_A5 + z * (_A7 + z * (_A9 + z * (_A11 + z * (_A13 + z * (_A15 + z * _A17)))))))
    return float(exponent) * _LOG2 + t * series


@part
def outside_pair(x: float, y: float) -> np.int64:
    """Negative if one of two densities is out of the range in which their product is exact to rounding, or NaN."""
    bx, by = to_bits(x), to_bits(y)
    return (bx - _PAIR_MIN_BITS) | (_PAIR_MAX_BITS - bx) | (by - _PAIR_MIN_BITS) | (_PAIR_MAX_BITS - by)


@part
def exponent(product: float) -> np.int64:
    """Binary exponent of a positive number, and 1023."""
    return to_bits(product) >> 52


@part
def mantissa(product: float) -> float:
    """A positive number over the power of two below it."""
    return from_bits((to_bits(product) & _MANTISSA_BITS) | _ONE_BITS)


@part
def log_of_pairs(exponents: np.int64, mantissas: float) -> float:
    """Logarithm of the product of a full block of densities, for the sum and the product over its pairs."""
    return float(exponents - 1023 * (BLOCK // 2)) * _LOG2 + math.log(mantissas)


@part
def _sum_log_and_reciprocal(density: _Floats, reciprocal: _Floats) -> float:
    """Sum of the logarithms of a full block of densities, and their reciprocals, two by two with one division.

    NaN, with void reciprocals, if a density lies outside the range in which the product of two is exact to rounding.
    """
    exponents = np.int64(0)
    outside = np.int64(0)
    mantissas = 1.0
    half = BLOCK // 2
    for j in range(half):
        x, y = density[j], density[j + half]
        outside |= outside_pair(x, y)
        product = x * y
        exponents += exponent(product)
        mantissas *= mantissa(product)
        r = 1.0 / product
        reciprocal[j] = r * y
        reciprocal[j + half] = r * x
    if outside < 0:
        return np.nan
    return log_of_pairs(exponents, mantissas)


@part
def log_term(density: float, multiplicity: float) -> float:
    """``multiplicity * log density`` of one event that is not rare, whatever the numbers."""
    if density > 0.0:
        return multiplicity * math.log(density)
    return 0.0 if density == 0.0 and multiplicity == 0.0 else np.nan


@part
def quotient(weight: float, density: float) -> float:
    """``weight / density`` without ``0 / 0`` and without overflow, so that it may be multiplied by zero."""
    if weight == 0.0 and density == 0.0:
        return 0.0
    return held(weight / density) if density == density else np.nan


@part
def log_and_weight(density: _Floats, multiplicity: _Floats, unit: bool, n: int, weight: _Floats) -> tuple[float, bool]:
    """Sum of ``multiplicity * log(density)``, and whether there are rare events, which it leaves out.

    ``weight`` becomes ``multiplicity / density``, zero for rare events. This is the part of the kernels that does not
    know where the densities come from.
    """
    if unit and n == BLOCK:
        total = _sum_log_and_reciprocal(density, weight)
        if total == total:
            return total, False
    total = 0.0
    rare = False
    if _all_ordinary(density, n):
        for j in range(n):
            total += multiplicity[j] * _log_ordinary(density[j])
            weight[j] = multiplicity[j] / density[j]
    else:
        for j in range(n):
            if is_rare(density[j], multiplicity[j]):
                weight[j] = 0.0
                rare = True
            else:
                total += log_term(density[j], multiplicity[j])
                weight[j] = quotient(multiplicity[j], density[j])
    return total, rare
