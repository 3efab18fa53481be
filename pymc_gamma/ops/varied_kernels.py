r"""Kernels of densities under a response with a parameter, see :mod:`pymc_gamma.ops.varied_tables`.

A component has one tilted exponential per event,

.. math::

    r_i(x) = \sum_n v_n B_{in}\, e^{\alpha_{in}(x)}, \qquad
    \alpha_{in}(x) = a_i(x) + (n - m_i)\, b_i(x), \qquad
    a_i(x) = \sum_p a_{ip}\, x\, T_p(z),

with :math:`z` in (-1, 1) for the range of :math:`x`. Along a band the exponential is a power, one multiplication for
each number. Derivatives with respect to :math:`x` multiply a term by :math:`\alpha'` and :math:`\alpha'^2 + \alpha''`,
which are polynomials in :math:`n - m_i`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.compilation import kernel
from pymc_gamma.ops.scan_kernels import exponential

__all__ = ["VariedArrays", "densities", "pull"]

_BLOCK = 256
_part = kernel(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


class VariedArrays(NamedTuple):
    """What the kernels read: *n* events that the component may reach, of N.

    Attributes
    ----------
    span : numpy.ndarray
        Range of the parameter, shape (2,).
    values : numpy.ndarray
        Bands at parameter zero, one event after the other, float32.
    pointer : numpy.ndarray
        Where each band starts, and at last the number of values, shape (n + 1,).
    column : numpy.ndarray
        Coefficient that goes with the first number of each band, shape (n,).
    centre : numpy.ndarray
        Place in its band around which an event is tilted, shape (n,).
    level, slope : numpy.ndarray
        Coefficients of the polynomials a and b, float32, shapes (P, n) and (Q, n).
    cap : numpy.ndarray
        Value that a is not above, float32, shape (n,).
    place : numpy.ndarray
        Which event it is, shape (n,).
    """

    span: FloatArray
    values: NDArray[np.float32]
    pointer: IntArray
    column: IntArray
    centre: FloatArray
    level: NDArray[np.float32]
    slope: NDArray[np.float32]
    cap: NDArray[np.float32]
    place: IntArray


@_part
def _basis(x, span, n):  # type: ignore[no-untyped-def]
    """Values of x T_p(z), and their first and second derivatives, shape (3, n)."""
    out = np.empty((3, n))
    dz = 2.0 / (span[1] - span[0])
    z = (x - span[0]) * dz - 1.0
    t0, t1, s0, s1, c0, c1 = 1.0, z, 0.0, dz, 0.0, 0.0
    for p in range(n):
        out[0, p] = x * t0
        out[1, p] = t0 + x * s0
        out[2, p] = 2.0 * s0 + x * c0
        t2 = 2.0 * z * t1 - t0
        s2 = 2.0 * (dz * t1 + z * s1) - s0
        c2 = 2.0 * (2.0 * dz * s1 + z * c1) - c0
        t0, t1, s0, s1, c0, c1 = t1, t2, s1, s2, c1, c2
    return out


@_part
def _polynomials(coefficients, basis, first, out):  # type: ignore[no-untyped-def]
    """Polynomials of some events and their first two derivatives, of coefficients (P, n), into (3, ...)."""
    out[:] = 0.0
    n = out.shape[1]
    for p in range(len(coefficients)):
        row = coefficients[p, first : first + n]
        t0, t1, t2 = basis[0, p], basis[1, p], basis[2, p]
        for i in range(n):
            c = np.float64(row[i])
            out[0, i] += c * t0
            out[1, i] += c * t1
            out[2, i] += c * t2


@_part
def _tilts(basis, arrays, first, n, level, slope, power):  # type: ignore[no-untyped-def]
    """Polynomials a and b of some events, and what their bands start with."""
    _polynomials(arrays.level, basis, first, level)
    _polynomials(arrays.slope, basis, first, slope)
    for i in range(n):
        capped = level[0, i] > arrays.cap[first + i]
        level[0, i] = arrays.cap[first + i] if capped else level[0, i]
        level[1, i] = 0.0 if capped else level[1, i]
        level[2, i] = 0.0 if capped else level[2, i]
    for i in range(n):
        power[i] = exponential(level[0, i] - arrays.centre[first + i] * slope[0, i])


@kernel(error_model="numpy")
def densities(x, v, arrays, n_events):  # type: ignore[no-untyped-def]
    """Densities of all events, and their first and second derivatives with respect to x."""
    out = np.zeros((3, n_events))
    basis = _basis(x, arrays.span, max(len(arrays.level), len(arrays.slope)))
    tilted = len(arrays.slope) > 0
    for first in range(0, len(arrays.place), _BLOCK):
        n = min(_BLOCK, len(arrays.place) - first)
        level, slope, power = np.empty((3, n)), np.empty((3, n)), np.empty(n)
        _tilts(basis, arrays, first, n, level, slope, power)
        for i in range(n):
            a1, a2, b1, b2 = level[1, i], level[2, i], slope[1, i], slope[2, i]
            start, k, place = arrays.pointer[first + i], arrays.column[first + i], arrays.place[first + i]
            length = arrays.pointer[first + i + 1] - start
            if not tilted:
                total = 0.0
                for j in range(length):
                    total += arrays.values[start + j] * v[k + j]
                total *= power[i]
                out[0, place], out[1, place], out[2, place] = total, a1 * total, (a1 * a1 + a2) * total
                continue
            factor, now = exponential(slope[0, i]), power[i]
            s0 = s1 = s2 = 0.0
            for j in range(length):
                term = arrays.values[start + j] * v[k + j] * now
                away = j - arrays.centre[first + i]
                s0 += term
                s1 += term * away
                s2 += term * away * away
                now *= factor
            out[0, place] = s0
            out[1, place] = a1 * s0 + b1 * s1
            out[2, place] = (a1 * a1 + a2) * s0 + (2.0 * a1 * b1 + b2) * s1 + b1 * b1 * s2
    return out[0], out[1], out[2]


@kernel(error_model="numpy")
def pull(order, x, g, n_coefficients, arrays):  # type: ignore[no-untyped-def]
    """Sum over events of g_i times the derivative of an order of r_i for each coefficient, shape (n_coefficients,)."""
    out = np.zeros(n_coefficients)
    basis = _basis(x, arrays.span, max(len(arrays.level), len(arrays.slope)))
    for first in range(0, len(arrays.place), _BLOCK):
        n = min(_BLOCK, len(arrays.place) - first)
        level, slope, power = np.empty((3, n)), np.empty((3, n)), np.empty(n)
        _tilts(basis, arrays, first, n, level, slope, power)
        for i in range(n):
            a1, a2, b1, b2 = level[1, i], level[2, i], slope[1, i], slope[2, i]
            start, k = arrays.pointer[first + i], arrays.column[first + i]
            factor, now = exponential(slope[0, i]), g[arrays.place[first + i]] * power[i]
            # a polynomial in the distance from the centre
            p0, p1, p2 = 1.0, 0.0, 0.0
            if order == 1:
                p0, p1 = a1, b1
            elif order == 2:
                p0, p1, p2 = a1 * a1 + a2, 2.0 * a1 * b1 + b2, b1 * b1
            for j in range(arrays.pointer[first + i + 1] - start):
                away = j - arrays.centre[first + i]
                out[k + j] += arrays.values[start + j] * now * (p0 + away * (p1 + away * p2))
                now *= factor
    return out
