r"""Kernels of the log of a matrix-vector product: values, gradients and second derivatives in one pass over a table.

With a table :math:`P_{ik} \ge 0` (event *i*, column *k*), multiplicities :math:`m_i` and coefficients :math:`v_k`,

.. math::

    s_i = \sum_k P_{ik} v_k, \qquad
    \ell = \sum_i m_i \log s_i, \qquad
    \frac{\partial \ell}{\partial v_k} = \sum_i \frac{m_i P_{ik}}{s_i}, \qquad
    \frac{\partial^2 \ell}{\partial v_k \partial v_l} = -\sum_i \frac{m_i P_{ik} P_{il}}{s_i^2} .

Some columns reach few events: those of a free spectrum, one per node of true energy, only the events that the energy
dispersion can bring there. They are stored as bands, for each event a run of neighbouring columns
:math:`a_i, \dots, b_i` and its numbers, and :math:`s_i = \sum_k P_{ik} v_k + \sum_{j=a_i}^{b_i} B_{ij} v_j`. Every
kernel takes them as an optional last argument. The numbers are kept in single precision, because reading them is most
of the work, and all sums are taken in double precision.

Layout
------
The table is stored as ``(n_blocks, K, BLOCK)``: a block of 512 events lies together, column by column, so that one
contiguous stream of memory serves both the products and the gradient (the second reading of a block comes from the
first-level cache), and every inner loop runs over consecutive events and vectorises. Entries past the last event
are never read. Bands lie event after event, and their inner loops run along the columns.

Logarithm
---------
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
odd powers that LLVM vectorises (it does not vectorise ``math.log``); nine terms leave a relative error below 1e-16.
Blocks with zeros, negative numbers, subnormals or NaN take a scalar path that gives each of them its proper value.

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
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils
from numpy.typing import NDArray

__all__ = [
    "BLOCK",
    "SOURCE_VERSION",
    "fused",
    "hessian_product",
    "pointwise",
    "pushforward",
    "to_blocks",
    "vjp",
]

type _Floats = NDArray[np.float64]
type _Flags = NDArray[np.bool_]
type _Bands = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]

BLOCK = 512
"""Events per block."""

_LINE = 8  # numbers in a cache line
_LOG2 = math.log(2.0)
_LARGEST = 1.7e308
_SMALL = 1e-290  # multiplicities over more than this do not overflow
_MANTISSA_BITS = np.int64(0x000FFFFFFFFFFFFF)
_PAIR_MIN_BITS, _PAIR_MAX_BITS = (np.float64(x).view(np.int64) for x in (1e-150, 1e150))
_ONE_BITS = np.int64(0x3FF0000000000000)
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_NORMAL_MIN_BITS = np.int64(0x0010000000000000)
_NORMAL_MAX_BITS = np.int64(0x7FEFFFFFFFFFFFFF)
_A1, _A3, _A5, _A7, _A9, _A11, _A13, _A15, _A17 = (2.0 / n for n in range(1, 18, 2))

# nnan and ninf are left out on purpose: with them LLVM may assume that there is no NaN to report.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
_jit = nb.njit(cache=True, nogil=True, fastmath=_FASTMATH, error_model="numpy")


@nb.extending.intrinsic
def _bits(typing_context, number):  # type: ignore[no-untyped-def]
    """The bits of a float64 as an int64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(nb.int64))

    return nb.int64(nb.float64), codegen


@nb.extending.intrinsic
def _from_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float64 that has these bits."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(nb.float64))

    return nb.float64(nb.int64), codegen


@nb.extending.intrinsic
def _prefetch(typing_context, array, k, j):  # type: ignore[no-untyped-def]
    """Ask for the cache line of ``array[k, j]`` ahead of its use."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array_type = signature.args[0]
        header = context.make_array(array_type)(context, builder, value=arguments[0])
        element = cgutils.get_item_pointer(context, builder, array_type, header, arguments[1:])
        address = builder.bitcast(element, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type] + [ir.IntType(32)] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 2, 1)]  # read; second level and beyond; data
        builder.call(function, [address, *flags])
        return context.get_dummy_value()

    return nb.void(array, nb.int64, nb.int64), codegen


@_jit
def _prefetch_block(block: _Floats) -> None:
    """Fetch a block into the second-level cache while the one before it is computed on (a fifth of the time)."""
    for k in range(block.shape[0]):
        for j in range(0, BLOCK, _LINE):
            _prefetch(block, k, j)


@_jit
def _dot_block(block: _Floats, coefficients: _Floats, n: int, density: _Floats) -> None:
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


@_jit
def _accumulate_block(block: _Floats, weight: _Floats, n: int, total: _Floats) -> None:
    """``total[k] += sum_j block[k, j] weight[j]`` over the first ``n`` events, grouped as in `_dot_block`."""
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


@_jit
def _add_bands(bands: _Bands, first: int, n: int, coefficients: _Floats, density: _Floats) -> None:
    """Add the products of ``n`` events from ``first`` with their bands to ``density``."""
    values, pointer, column = bands
    n_columns = nb.uint64(coefficients.shape[0])
    n_bands = column.shape[1]
    for j in range(n):
        total = 0.0
        for k in range(n_bands):
            band = (first + j) * n_bands + k
            # unsigned, so that numba does not test every index for counting from the end
            start, length = nb.uint64(pointer[band]), nb.uint64(pointer[band + 1] - pointer[band])
            to = nb.uint64(column[first + j, k])
            if to + length > n_columns:
                raise ValueError("the number of coefficients does not match the bands of the event table")
            for b in range(length):
                total += values[start + b] * coefficients[to + b]
        density[j] += total


@_jit
def _accumulate_bands(bands: _Bands, first: int, n: int, weight: _Floats, total: _Floats) -> None:
    """Add ``weight`` times the bands of ``n`` events from ``first`` to their columns of ``total``."""
    values, pointer, column = bands
    n_bands = column.shape[1]
    for j in range(n):
        w = weight[j]
        for k in range(n_bands):
            band = (first + j) * n_bands + k
            start, length = nb.uint64(pointer[band]), nb.uint64(pointer[band + 1] - pointer[band])
            to = nb.uint64(column[first + j, k])
            for b in range(length):
                total[to + b] += w * values[start + b]


@_jit
def _densities(table: _Floats, bands: _Bands | None, b: int, n: int, coefficients: _Floats, density: _Floats) -> None:
    """Densities of the ``n`` events of block ``b``."""
    if table.shape[1] > 0:
        _dot_block(table[b], coefficients, n, density)
    else:
        density[:n] = 0.0
    if bands is not None:
        _add_bands(bands, b * BLOCK, n, coefficients, density)


@_jit
def _accumulate(table: _Floats, bands: _Bands | None, b: int, n: int, weight: _Floats, total: _Floats) -> None:
    """``total[k] += sum_j P[j, k] weight[j]`` over the ``n`` events of block ``b``."""
    if table.shape[1] > 0:
        _accumulate_block(table[b], weight, n, total)
    if bands is not None:
        _accumulate_bands(bands, b * BLOCK, n, weight, total)


@_jit
def _all_normal(density: _Floats, n: int) -> np.bool_:
    """Whether the first ``n`` densities are positive normal numbers: neither zero, subnormal, infinite nor NaN."""
    outside = np.int64(0)
    for j in range(n):  # the sign bit records any number beyond the bounds
        bits = _bits(density[j])
        outside |= bits | (bits - _NORMAL_MIN_BITS) | (_NORMAL_MAX_BITS - bits)
    return outside >= 0


@_jit
def _log_normal(x: float) -> float:
    """Logarithm of a positive normal number."""
    bits = _bits(x)
    exponent = (bits - _SQRT_HALF_BITS) >> 52
    f = _from_bits(bits - (exponent << 52))
    t = (f - 1.0) / (f + 1.0)
    z = t * t
    series = _A1 + z * (_A3 + z * (_A5 + z * (_A7 + z * (_A9 + z * (_A11 + z * (_A13 + z * (_A15 + z * _A17)))))))
    return float(exponent) * _LOG2 + t * series


@_jit
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
        bx, by = _bits(x), _bits(y)
        outside |= (bx - _PAIR_MIN_BITS) | (_PAIR_MAX_BITS - bx) | (by - _PAIR_MIN_BITS) | (_PAIR_MAX_BITS - by)
        product = x * y
        bits = _bits(product)
        exponents += bits >> 52
        mantissas *= _from_bits((bits & _MANTISSA_BITS) | _ONE_BITS)
        r = 1.0 / product
        reciprocal[j] = r * y
        reciprocal[j + half] = r * x
    if outside < 0:
        return np.nan
    return float(exponents - 1023 * half) * _LOG2 + math.log(mantissas)


@_jit
def _log_term(density: float, multiplicity: float) -> float:
    """``multiplicity * log density`` of one event, whatever the numbers."""
    if density > 0.0:
        return multiplicity * math.log(density)
    if density == 0.0:
        return -np.inf if multiplicity != 0.0 else 0.0
    return np.nan


@_jit
def _quotient(weight: float, density: float) -> float:
    """``weight / density`` without ``0 / 0`` and without overflow, so that it may be multiplied by zero."""
    if weight == 0.0 and density == 0.0:
        return 0.0
    return min(max(weight / density, -_LARGEST), _LARGEST) if density == density else np.nan


@_jit
def _log_and_weight(density: _Floats, multiplicity: _Floats, unit: bool, n: int, weight: _Floats) -> float:
    """Sum of ``multiplicity * log(density)``; ``weight`` becomes ``multiplicity / density``.

    This is the part of the kernels that does not know where the densities come from.
    """
    if unit and n == BLOCK:
        total = _sum_log_and_reciprocal(density, weight)
        if total == total:
            return total
    total = 0.0
    if _all_normal(density, n):
        for j in range(n):
            total += multiplicity[j] * _log_normal(density[j])
            weight[j] = multiplicity[j] / density[j]
    else:
        for j in range(n):
            total += _log_term(density[j], multiplicity[j])
            weight[j] = _quotient(multiplicity[j], density[j])
    return total


@_jit
def _check_columns(table: _Floats, bands: _Bands | None, coefficients: _Floats) -> None:
    n_dense = table.shape[1]
    if (bands is None and n_dense != coefficients.shape[0]) or n_dense > coefficients.shape[0]:
        raise ValueError("the number of coefficients does not match the number of columns of the event table")


@_jit
def _add_and_accumulate_bands(
    bands: _Bands,
    first: int,
    n: int,
    multiplicity: _Floats,
    coefficients: _Floats,
    density: _Floats,
    gradient: _Floats,
) -> None:
    """Complete the densities and add to the gradient, event by event: a band is read again while it is near."""
    values, pointer, column = bands
    n_columns = nb.uint64(coefficients.shape[0])
    n_bands = column.shape[1]
    for j in range(n):
        total = 0.0
        for k in range(n_bands):
            band = (first + j) * n_bands + k
            start, length = nb.uint64(pointer[band]), nb.uint64(pointer[band + 1] - pointer[band])
            to = nb.uint64(column[first + j, k])
            if to + length > n_columns:
                raise ValueError("the number of coefficients does not match the bands of the event table")
            for b in range(length):
                total += values[start + b] * coefficients[to + b]
        density[j] += total
        m = multiplicity[first + j]
        w = m / density[j] if density[j] > _SMALL else _quotient(m, density[j])
        for k in range(n_bands):
            band = (first + j) * n_bands + k
            start, length = nb.uint64(pointer[band]), nb.uint64(pointer[band + 1] - pointer[band])
            to = nb.uint64(column[first + j, k])
            for b in range(length):
                gradient[to + b] += w * values[start + b]


@_jit
def fused(
    table: _Floats, multiplicity: _Floats, unit: _Flags, coefficients: _Floats, bands: _Bands | None = None
) -> tuple[float, _Floats]:
    """Value and gradient of ``sum_i m_i log s_i`` in one pass.

    Parameters
    ----------
    table : ndarray, shape (n_blocks, K, BLOCK)
        Blocked table, see :func:`to_blocks`.
    multiplicity : ndarray, shape (N,)
        Multiplicity of each event; without bands not read in blocks whose ``unit`` is set.
    unit : ndarray of bool, shape (n_blocks,)
        Whether all events of a block have multiplicity one.
    coefficients : ndarray, shape (K,)
        Coefficients ``v``: those of the table, then those of the bands.
    bands : tuple of ndarray, optional
        Columns that reach few events: their numbers (float32, those of event 0 first); where the numbers of each event
        and each of its bands start, and at last their count, shape (N * n_bands + 1,); the coefficient that goes with
        the first number of each, shape (N, n_bands).

    Returns
    -------
    value : float
        The sum.
    gradient : ndarray, shape (K,)
        Its gradient with respect to the coefficients.
    """
    _check_columns(table, bands, coefficients)
    n_events = multiplicity.shape[0]
    density = np.empty(BLOCK)
    weight = np.empty(BLOCK)
    gradient = np.zeros(coefficients.shape[0])
    value = 0.0
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, None, b, n, coefficients, density)
        if bands is not None:
            _add_and_accumulate_bands(bands, first, n, multiplicity, coefficients, density, gradient)
        if b + 1 < table.shape[0]:
            _prefetch_block(table[b + 1])
        value += _log_and_weight(density, multiplicity[first : first + n], unit[b], n, weight)
        _accumulate(table, None, b, n, weight, gradient)
    return value, gradient


@_jit
def pointwise(
    table: _Floats, multiplicity: _Floats, offset: _Floats, coefficients: _Floats, bands: _Bands | None = None
) -> _Floats:
    """``m_i (log s_i + offset_i)`` of every event, shape (N,); zero where the multiplicity is zero and ``s_i`` too."""
    _check_columns(table, bands, coefficients)
    n_events = multiplicity.shape[0]
    density = np.empty(BLOCK)
    out = np.empty(n_events)
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, bands, b, n, coefficients, density)
        for j in range(n):
            i = first + j
            out[i] = _log_term(density[j], multiplicity[i]) + multiplicity[i] * offset[i]
    return out


@_jit
def vjp(table: _Floats, weight: _Floats, coefficients: _Floats, bands: _Bands | None = None) -> _Floats:
    """``sum_i weight_i P_ik / s_i``, shape (K,): the gradient for arbitrary weights (cotangent times multiplicity)."""
    _check_columns(table, bands, coefficients)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    out = np.zeros(coefficients.shape[0])
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, bands, b, n, coefficients, density)
        for j in range(n):
            density[j] = _quotient(weight[first + j], density[j])
        _accumulate(table, bands, b, n, density, out)
    return out


@_jit
def pushforward(
    table: _Floats, weight: _Floats, coefficients: _Floats, direction: _Floats, bands: _Bands | None = None
) -> _Floats:
    """``weight_i (P_i . direction) / s_i`` of every event, shape (N,): the derivative along a direction."""
    _check_columns(table, bands, coefficients)
    _check_columns(table, bands, direction)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    slope = np.empty(BLOCK)
    out = np.empty(n_events)
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, bands, b, n, coefficients, density)
        _densities(table, bands, b, n, direction, slope)
        for j in range(n):
            out[first + j] = _quotient(weight[first + j], density[j]) * slope[j]
    return out


@_jit
def hessian_product(
    table: _Floats, weight: _Floats, coefficients: _Floats, direction: _Floats, bands: _Bands | None = None
) -> _Floats:
    """``-sum_i weight_i P_ik (P_i . direction) / s_i^2``, shape (K,): the Hessian times a direction."""
    _check_columns(table, bands, coefficients)
    _check_columns(table, bands, direction)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    slope = np.empty(BLOCK)
    out = np.zeros(coefficients.shape[0])
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, bands, b, n, coefficients, density)
        _densities(table, bands, b, n, direction, slope)
        for j in range(n):
            slope[j] = -_quotient(_quotient(weight[first + j], density[j]) * slope[j], density[j])
        _accumulate(table, bands, b, n, slope, out)
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


SOURCE_VERSION: int = int.from_bytes(
    hashlib.blake2b(inspect.getsource(sys.modules[__name__]).encode(), digest_size=6).digest(), "big"
)
"""Changes with this file: the version under which PyTensor caches what it compiles around these kernels."""
