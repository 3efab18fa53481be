r"""Kernels of live shapes: the density of near events and its gradient, for free position, extension and spectrum.

The density of event *i* is a sum over true energies *n* and the Gaussians *g* of the PSF. Once per data set it is
reduced to :math:`L` widths :math:`\varrho_l` ("rungs") per event (:mod:`pymc_gamma.folding.live`),

.. math::

    r_i = \sum_l F(d_i; v_l)\, (1 + \kappa f_l)\, e^{-Q_l + \Lambda\,\delta u_l}\,
          \bigl[ W_l(\rho) + W_l'(\rho)\, \delta u_l \bigr] , \qquad
    W_l(\rho) = \sum_n K_{ln}\, \rho_n , \qquad
    v_l = s^2 \varrho_l\, e^{\gamma\,\delta u_l} .

* :math:`F(d; v)` is the brightness convolved with a Gaussian of variance :math:`v`, at the event's distance vector
  :math:`d` from the source; for a Gaussian source a Gaussian of the summed variances.
* The response is taken at the posterior mean of the true direction, :math:`m = d + v\,\nabla\ln F` from the source (for
  a Gaussian :math:`m = f d` with :math:`f = \sigma^2/(\sigma^2 + v)`), where the squared offset is
  :math:`u = |p + m|^2` with :math:`p` the source seen from the pointing; :math:`\delta u = u - u_i` is the distance
  from the reference, and everything is of first order in it: :math:`W'` and :math:`\Lambda` for rates,
  :math:`\gamma` for widths.
* :math:`\kappa f`: the effective area is averaged over the posterior, of variance :math:`f v`.
* :math:`Q`: the PSF widens across the posterior, :math:`Q = 2\gamma f (1 - f)\, d\cdot(p + m)` (first order).

:math:`s` scales the widths of the PSF. Every row of parameters and of coefficients belongs to one observation.

Layout
------
Events are sorted by energy and kept in blocks of :data:`LANES`, with a common band of nodes; inner loops run over the
lanes and vectorise. Numbers per event come in fields, lanes last.

Second derivatives
------------------
All kernels take complex parameters too: the imaginary part of the gradient at :math:`\theta + i h\,\delta\theta` over
:math:`h` is the Hessian times :math:`\delta\theta`, exact to rounding for :math:`h = 10^{-30}` (Squire & Trapp 1998,
SIAM Review 40, 110).
"""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.compilation import kernel
from pymc_gamma.folding.kernels import DEG, FASTMATH

__all__ = [
    "LANES",
    "N_FIELDS",
    "LiveArrays",
    "gaussian_density",
    "out_shape",
    "pull",
    "push",
    "scatter",
]

fast = kernel(fastmath=FASTMATH, error_model="numpy")
inlined = kernel(fastmath=FASTMATH, error_model="numpy", inline="always")

type _Numbers = NDArray[np.float64] | NDArray[np.complex128]

LANES = 16
"""Events of a block."""
N_FIELDS = 7
"""Fields of an event: its unit vector, squared offset, and changes with it: of widths, of curvature, of rates."""
N_COMMON = 3
"""Parameters that all shapes have, the first of each row: lon, lat, scale of the PSF."""

# Places in the work space: coordinates; density; adjoints of the squared offset of the source, of the coordinates, the
# mean and the width; fields of the event and of a rung; what is left of a rung; results; adjoints of own parameters.
A, C, R, US_, A_, C_, B1_, B2_ = 0, 16, 32, 48, 64, 80, 96, 112
PSF_, REF, GAM, KAP, LAM, RUNG, VALUE, SLOPE = 128, 144, 160, 176, 192, 208, 224, 240
BARE, LINE, X, Y, Z, OUT, OWN_ = 256, 272, 288, 304, 320, 336, 400
MAGIC = 6755399441055744.0  # 1.5 x 2^52: the low bits of a sum with it are an integer


class LiveArrays(NamedTuple):
    """Tables of the events near one source.

    Attributes
    ----------
    events : numpy.ndarray
        Fields of each event, shape (n_blocks, N_FIELDS, LANES).
    rungs : numpy.ndarray
        Widths in deg2, shape (n_rungs, LANES).
    rung_pointer : numpy.ndarray
        First rung of each block, and at last their number, shape (n_blocks + 1,).
    numbers : numpy.ndarray
        For each node of the band of a block K of all rungs and then K', float32, lanes last, flat.
    node : numpy.ndarray
        First node of the band of each block, shape (n_blocks,).
    pointer : numpy.ndarray
        First of the numbers of each block, and at last their count, shape (n_blocks + 1,).
    observation : numpy.ndarray
        Observation of each block, shape (n_blocks,).
    place : numpy.ndarray
        Index of each event among all events, -1 for lanes that are not used, shape (n_blocks, LANES).
    axes : numpy.ndarray
        Unit vectors of the pointings, shape (n_observations, 3).
    profile : numpy.ndarray
        Table of the family of shapes, see `pymc_gamma.folding.live_shapes.base.Family`.
    """

    events: NDArray[np.float64]
    rungs: NDArray[np.float64]
    rung_pointer: NDArray[np.int64]
    numbers: NDArray[np.float32]
    node: NDArray[np.int64]
    pointer: NDArray[np.int64]
    observation: NDArray[np.int64]
    place: NDArray[np.int64]
    axes: NDArray[np.float64]
    profile: NDArray[np.float64]


# ---------------------------------------------------------------------------- functions of real or complex numbers
def exponential(x):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Exponential to 1e-9, without branches, of a number; 0 below -600."""
    raise NotImplementedError


@nb.extending.overload(exponential, inline="always")
def _exponential(x):  # type: ignore[no-untyped-def]
    if isinstance(x, nb.types.Complex):
        return lambda x: np.exp(x)

    def real(x):  # type: ignore[no-untyped-def]
        # 2^k times a polynomial on (-ln 2 / 2, ln 2 / 2)
        z = max(x, -600.0)
        k = math.floor(z * 1.4426950408889634 + 0.5)
        y = z - k * 0.6931471805599453
        p = 1 / 720 + y * (1 / 5040 + y * (1 / 40320))
        p = 1 + y * (1 + y * (0.5 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y * p)))))
        bits = np.float64(k + MAGIC).view(np.int64)
        return p * np.int64((bits << 52) + (1023 << 52)).view(np.float64)

    return real


def root(x):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Square root of a number."""
    raise NotImplementedError


@nb.extending.overload(root, inline="always")
def _root(x):  # type: ignore[no-untyped-def]
    if isinstance(x, nb.types.Complex):
        return lambda x: np.sqrt(x)
    return lambda x: math.sqrt(x)


# ---------------------------------------------------------------------------- what all shapes share
@inlined
def source_frame(lon, lat):  # type: ignore[no-untyped-def]
    """Sines and cosines of a position: cos lon, sin lon, cos lat, sin lat."""
    return np.cos(lon * DEG), np.sin(lon * DEG), np.cos(lat * DEG), np.sin(lat * DEG)


@inlined
def pointing_seen(cl, sl, cb, sn, axis):  # type: ignore[no-untyped-def]
    """The source seen from the pointing, east and north in deg, and the derivatives by lon and lat (per deg).

    Tangent coordinates of the source, as long as the arc.
    """
    rx, ry = axis[1] * cl - axis[0] * sl, cb * axis[2] - sn * (axis[0] * cl + axis[1] * sl)
    az = cb * (axis[0] * cl + axis[1] * sl) + sn * axis[2]
    rho2 = rx * rx + ry * ry
    k, dk = (1 + rho2 * (1 / 6 + rho2 * 0.075)) / DEG, (1 / 3 + 0.3 * rho2) / DEG
    rx_l, ry_l, ry_b = -cb * az + sn * ry, -sn * rx, -az  # rx does not depend on lat
    a_l, a_b = rx * rx_l + ry * ry_l, ry * ry_b
    return (
        -k * rx,
        -k * ry,
        -(k * rx_l + dk * a_l * rx) * DEG,
        -(k * ry_l + dk * a_l * ry) * DEG,
        -(dk * a_b * rx) * DEG,
        -(k * ry_b + dk * a_b * ry) * DEG,
    )


@inlined
def out_row(tables, b, n_theta):  # type: ignore[no-untyped-def]
    """First row of a block among the derivatives."""
    return b * (1 + n_theta) + 2 * tables.rung_pointer[b]


@fast
def gather(tables: LiveArrays, rho: _Numbers, b: int, weights: _Numbers) -> None:
    """``weights[c * LANES + j] = sum_k rho[k] K[k, c, j]`` over the band of a block."""
    size = 2 * (tables.rung_pointer[b + 1] - tables.rung_pointer[b]) * LANES
    weights[:size] = 0.0
    node = tables.node[b]
    for at in range(tables.pointer[b], tables.pointer[b + 1], size):
        value, row = rho[node], tables.numbers[at : at + size]
        for c in range(size):
            weights[c] += value * row[c]
        node += 1


@inlined
def place_events(event, work, cl, sl, cb, sn, ct, st):  # type: ignore[no-untyped-def]
    """Coordinates in deg of the events of a block along two axes at the source, the first ``ct`` east, ``-st`` north.

    Everything that the inner loops read and write lies in one array at constant places: only then does the compiler
    know that nothing overlaps, and vectorises (a factor of 4).
    """
    e0, e1, n0, n1, n2 = -sl, cl, -sn * cl, -sn * sl, cb
    work[:] = 0.0
    for j in range(LANES):
        work[X + j], work[Y + j], work[Z + j] = event[0, j], event[1, j], event[2, j]
        work[REF + j], work[GAM + j], work[KAP + j], work[LAM + j] = event[3, j], event[4, j], event[5, j], event[6, j]
    for j in range(LANES):
        x0, x1, x2 = work[X + j], work[Y + j], work[Z + j]
        x, y = x0 * e0 + x1 * e1, x0 * n0 + x1 * n1 + x2 * n2
        q = x * x + y * y
        k = (1 + q * (1 / 6 + q * 0.075)) / DEG  # arc over sine of the arc
        work[A + j], work[C + j] = k * (ct * x - st * y), k * (st * x + ct * y)


@inlined
def take_rung(rungs, weights, work, w):  # type: ignore[no-untyped-def]
    """Width and gathered numbers of a rung, where the inner loops read them."""
    slope = (len(rungs) + w) * LANES
    for j in range(LANES):
        work[RUNG + j] = rungs[w, j]
        work[VALUE + j] = weights[w * LANES + j]
        work[SLOPE + j] = weights[slope + j]


@inlined
def leave_rung(o, first, n_l, work, w):  # type: ignore[no-untyped-def]
    """Derivatives by the gathered numbers of a rung, from where the inner loops wrote them."""
    for j in range(LANES):
        o[first + w, j] = work[BARE + j]
        o[first + n_l + w, j] = work[LINE + j]


@inlined
def finish_events(work, o, cl, sl, cb, sn, ct, st, p1, p2, seen, psf):  # type: ignore[no-untyped-def]
    """From adjoints of coordinates to derivatives by the parameters that all shapes have."""
    e0, e1, n0, n1, n2 = -sl, cl, -sn * cl, -sn * sl, cb
    _, _, px_l, py_l, px_b, py_b = seen
    for j in range(LANES):
        x0, x1, x2 = work[X + j], work[Y + j], work[Z + j]
        z = cb * (x0 * cl + x1 * sl) + sn * x2
        x, y = x0 * e0 + x1 * e1, x0 * n0 + x1 * n1 + x2 * n2
        q = x * x + y * y
        k, dk = 1 + q * (1 / 6 + q * 0.075), 1 / 3 + 0.3 * q
        g1, g2 = work[A_ + j], work[C_ + j]
        b1_, b2_ = work[B1_ + j] + 2 * p1 * work[US_ + j], work[B2_ + j] + 2 * p2 * work[US_ + j]
        gx, gy = ct * g1 + st * g2, ct * g2 - st * g1  # back to east and north
        hx, hy = ct * b1_ + st * b2_, ct * b2_ - st * b1_
        x_l, y_l, y_b = -cb * z + sn * y, -sn * x, -z
        q_l, q_b = dk * (x * x_l + y * y_l), dk * y * y_b
        work[OUT + j] = gx * (k * x_l + q_l * x) + gy * (k * y_l + q_l * y) + hx * px_l + hy * py_l
        work[OUT + LANES + j] = gx * q_b * x + gy * (k * y_b + q_b * y) + hx * px_b + hy * py_b
        work[OUT + 2 * LANES + j] = 2 * work[PSF_ + j] / psf
    for j in range(LANES):
        o[0, j] = work[R + j]
        o[1, j], o[2, j], o[3, j] = work[OUT + j], work[OUT + LANES + j], work[OUT + 2 * LANES + j]


# ---------------------------------------------------------------------------- Gaussians
@fast
def gaussian_density(theta: _Numbers, rho: _Numbers, tables: LiveArrays, out: _Numbers) -> None:
    """Density of the events near a Gaussian or point source, and its derivatives.

    Parameters
    ----------
    theta : numpy.ndarray
        lon, lat (deg), scale of the PSF, variances along the major and the minor axis (deg2), position angle of the
        major axis from north to east (rad); one row per observation.
    rho : numpy.ndarray
        Coefficients of the spectrum, shape (n_observations, n_nodes).
    tables : LiveArrays
        The events.
    out : numpy.ndarray
        Filled, see :func:`out_shape`: for each block density in TeV-1 sr-1, its derivatives by each parameter and by
        the gathered W and W' of its rungs.
    """
    most = np.max(np.diff(tables.rung_pointer)) if len(tables.node) else 0
    weights, work = np.empty(2 * most * LANES, theta.dtype), np.empty(OWN_ + 2 * LANES, theta.dtype)
    for b in range(len(tables.node)):
        one = tables.observation[b]
        psf, sa, sb, turn = theta[one, 2], theta[one, 4], theta[one, 3], theta[one, 5]
        psf2 = psf * psf
        cl, sl, cb, sn = source_frame(theta[one, 0], theta[one, 1])
        ct, st = np.cos(turn), np.sin(turn)
        seen = pointing_seen(cl, sl, cb, sn, tables.axes[one])
        px, py = seen[0], seen[1]
        p1, p2 = ct * px - st * py, st * px + ct * py  # across and along the major axis
        us = p1 * p1 + p2 * p2
        gather(tables, rho[one], b, weights)
        rungs = tables.rungs[tables.rung_pointer[b] : tables.rung_pointer[b + 1]]
        event, o, n_l = tables.events[b], out[out_row(tables, b, 6) : out_row(tables, b + 1, 6)], len(rungs)
        place_events(event, work, cl, sl, cb, sn, ct, st)
        for w in range(n_l):
            take_rung(rungs, weights, work, w)
            for j in range(LANES):
                width, value, slope = psf2 * work[RUNG + j], work[VALUE + j], work[SLOPE + j]
                ref, gam, kap, lam = work[REF + j], work[GAM + j], psf2 * work[KAP + j], work[LAM + j]
                a, c = work[A + j], work[C + j]
                g0 = gam * (us - ref)
                v0 = width * (1 + g0 * (1 + 0.5 * g0))  # as the exponential to second order, and never negative
                i1, i2 = 1 / (sa + v0), 1 / (sb + v0)
                f1, f2 = sa * i1, sb * i2
                b1, b2 = p1 + f1 * a, p2 + f2 * c
                du = b1 * b1 + b2 * b2 - ref
                g = gam * du
                v = width * (1 + g * (1 + 0.5 * g))
                y1, y2 = 1 / (v + sa), 1 / (v + sb)
                z1, z2 = f1 * (1 - f1), f2 * (1 - f2)
                quad = 0.5 * (a * a * y1 + c * c * y2) + 2 * gam * (z1 * a * b1 + z2 * c * b2) - lam * du
                bare = exponential(-quad) * root(y1 * y2) * (0.5 / math.pi)
                t = bare * (1 + 0.5 * kap * (f1 + f2))
                line = value + slope * du
                work[BARE + j] = t
                work[LINE + j] = t * du
                tw = t * line
                # adjoints, from the end back: variances, u, mean direction, f
                v1_, v2_ = 0.5 * tw * y1 * (a * a * y1 - 1), 0.5 * tw * y2 * (c * c * y2 - 1)
                u_ = t * slope + tw * lam + (v1_ + v2_) * width * gam * (1 + g)
                gq = -2 * gam * tw
                b1_, b2_ = 2 * b1 * u_ + gq * z1 * a, 2 * b2 * u_ + gq * z2 * c
                o_ = 0.5 * kap * bare * line
                f1_ = a * b1_ + o_ + gq * (1 - 2 * f1) * a * b1
                f2_ = c * b2_ + o_ + gq * (1 - 2 * f2) * c * b2
                v0_ = -(f1_ * sa * i1 * i1 + f2_ * sb * i2 * i2)
                work[R + j] += tw
                work[US_ + j] += v0_ * width * gam * (1 + g0)
                work[A_ + j] += -tw * a * y1 + f1 * b1_ + gq * z1 * b1
                work[C_ + j] += -tw * c * y2 + f2 * b2_ + gq * z2 * b2
                work[B1_ + j] += b1_
                work[B2_ + j] += b2_
                work[PSF_ + j] += v0_ * v0 + (v1_ + v2_) * v + o_ * (f1 + f2)
                work[OWN_ + j] += v1_ + f1_ * v0 * i1 * i1
                work[OWN_ + LANES + j] += v2_ + f2_ * v0 * i2 * i2
            leave_rung(o, 7, n_l, work, w)
        finish_events(work, o, cl, sl, cb, sn, ct, st, p1, p2, seen, psf)
        for j in range(LANES):
            b1_, b2_ = work[B1_ + j] + 2 * p1 * work[US_ + j], work[B2_ + j] + 2 * p2 * work[US_ + j]
            work[OUT + j] = work[C_ + j] * work[A + j] - work[A_ + j] * work[C + j] + b2_ * p1 - b1_ * p2
        for j in range(LANES):
            o[4, j], o[5, j], o[6, j] = work[OWN_ + LANES + j], work[OWN_ + j], work[OUT + j]


# ---------------------------------------------------------------------------- products of all shapes
def out_shape(tables: LiveArrays, n_theta: int) -> tuple[int, int]:
    """Shape of the densities and their derivatives."""
    return len(tables.node) * (1 + n_theta) + 2 * len(tables.rungs), LANES


@fast
def scatter(out: _Numbers, tables: LiveArrays, n_theta: int, density: _Numbers) -> None:
    """Densities of near events in the order of all events; where the first order left the valid range, not below 0.

    Several points may have one place: they are added up.
    """
    density[:] = 0.0
    for b in range(len(tables.node)):
        o = out[out_row(tables, b, n_theta)]
        for j in range(LANES):
            i = tables.place[b, j]
            if i >= 0 and o[j].real > 0:
                density[i] += o[j]


@fast
def pull(cotangent: NDArray[np.float64], out: _Numbers, tables: LiveArrays, theta: _Numbers, rho: _Numbers) -> None:
    """Fill ``theta`` and ``rho`` with sum_i g_i dr_i / d theta and sum_i g_i dr_i / d rho."""
    theta[:], rho[:] = 0.0, 0.0
    n_theta = theta.shape[1]
    most = np.max(np.diff(tables.rung_pointer)) if len(tables.node) else 0
    g, weights = np.empty(LANES), np.empty(2 * most * LANES, theta.dtype)
    for b in range(len(tables.node)):
        one, o = tables.observation[b], out[out_row(tables, b, n_theta) : out_row(tables, b + 1, n_theta)]
        for j in range(LANES):
            i = tables.place[b, j]
            g[j] = cotangent[i] if i >= 0 and o[0, j].real > 0 else 0.0
        for k in range(n_theta):
            total = theta[one, k] * 0
            for j in range(LANES):
                total += g[j] * o[1 + k, j]
            theta[one, k] += total
        size = (len(o) - 1 - n_theta) * LANES
        flat = o[1 + n_theta :].reshape(size)
        for c in range(0, size, LANES):
            for j in range(LANES):
                weights[c + j] = flat[c + j] * g[j]
        node = tables.node[b]
        for at in range(tables.pointer[b], tables.pointer[b + 1], size):
            row, total = tables.numbers[at : at + size], theta[one, 0] * 0
            for c in range(size):
                total += weights[c] * row[c]
            rho[one, node] += total
            node += 1


@fast
def push(theta: _Numbers, rho: _Numbers, out: _Numbers, tables: LiveArrays, density: NDArray[np.float64]) -> None:
    """Fill ``density`` with the derivatives of the densities along a direction of parameters and coefficients."""
    density[:] = 0.0
    n_theta = theta.shape[1]
    most = np.max(np.diff(tables.rung_pointer)) if len(tables.node) else 0
    weights = np.empty(2 * most * LANES, theta.dtype)
    for b in range(len(tables.node)):
        one, o = tables.observation[b], out[out_row(tables, b, n_theta) : out_row(tables, b + 1, n_theta)]
        gather(tables, rho[one], b, weights)
        for j in range(LANES):
            i = tables.place[b, j]
            if i < 0 or o[0, j] <= 0:
                continue
            total = 0.0
            for k in range(n_theta):
                total += theta[one, k] * o[1 + k, j]
            for c in range(len(o) - 1 - n_theta):
                total += weights[c * LANES + j] * o[1 + n_theta + c, j]
            density[i] += total
