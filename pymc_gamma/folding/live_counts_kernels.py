r"""Kernels of the expected counts of live shapes, see :mod:`pymc_gamma.folding.live_counts`.

With images :math:`h_{mk}`, cubic B-splines on a plane, of the acceptance convolved with the shape,

.. math:: C_n = \sum_k V_k\, B_{kn}, \qquad V_k = \sum_m T_m(y)\, h_{mk}(x) ,

:math:`T_m` are Chebyshev polynomials of the size. Kernels take complex parameters too, as those of
:mod:`pymc_gamma.folding.live_kernels` do.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.folding.kernels import DEG, _cubic, _linear, _spline_weights
from pymc_gamma.folding.live_kernels import N_COMMON, fast, inlined, root, source_frame

__all__ = ["CountArrays", "acceptance_map", "gaussian_counts", "terms"]

type _Numbers = NDArray[np.float64] | NDArray[np.complex128]

TINY = 1e-8
"""Difference of the variances along both axes in deg2 that is added: its root must have a derivative at zero."""


NODE_STEP, NODE_REACH = 0.4, 4.8
"""Nodes along the major axis of a Gaussian, in units of its width."""


class CountArrays(NamedTuple):
    """Images of the acceptance.

    Attributes
    ----------
    images : numpy.ndarray
        Cubic B-spline coefficients, float32, shape (n_observations, n_y, n_x, M, K).
    basis : numpy.ndarray
        Counts of each coefficient of the spectrum for each image, and their change with the logarithm of the variance
        of the PSF, shape (n_observations, K, 2, n).
    frame : numpy.ndarray
        Unit vector of the centre of the plane, and of east and north there, shape (3, 3).
    grid : numpy.ndarray
        Coordinate of the first pixel and pixel size, deg.
    size : numpy.ndarray
        Smallest and largest size, and the scale of its logarithm, 0 for a linear one.
    nodes : numpy.ndarray
        Quadrature of the standard normal: nodes and weights, shape (2, n_nodes).
    """

    images: NDArray[np.float32]
    basis: NDArray[np.float64]
    frame: NDArray[np.float64]
    grid: NDArray[np.float64]
    size: NDArray[np.float64]
    nodes: NDArray[np.float64]


@fast
def acceptance_map(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    offset: NDArray[np.float64],
    mask: NDArray[np.float32],
    mask_origin: float,
    mask_pixel: float,
    rung: NDArray[np.float64],
    rung_step: float,
    weight: NDArray[np.float64],
    rate: NDArray[np.float64],
    offset_step: float,
    out: NDArray[np.float64],
) -> None:
    """Expected counts of points on the true sky, and their change with the logarithm of the variance of the PSF.

    ``out[q, 0, n] = rate[o, n] sum_g weight[g, o, n] P(q, rung[g, o, n])``, with the probability P to be reconstructed
    in the domain, and ``out[q, 1, n]`` its derivative. (x, y) are plane coordinates; see
    `pymc_gamma.folding.kernels.true_sky_integral`.
    """
    n_g, n_o, n_n = rung.shape
    n_y, n_x, n_r = mask.shape
    limit = (n_o - 1) * offset_step
    wx, dx = np.empty(4, np.float32), np.empty(4, np.float32)
    wy, dy = np.empty(4, np.float32), np.empty(4, np.float32)
    inside, logs = np.empty(n_r), np.empty(n_r)
    for q in range(len(x)):
        out[q] = 0.0
        px, py = (x[q] - mask_origin) / mask_pixel, (y[q] - mask_origin) / mask_pixel
        kx, ky = math.floor(px), math.floor(py)
        if offset[q] > limit or kx < 1 or ky < 1 or kx > n_x - 3 or ky > n_y - 3:
            continue
        _spline_weights(np.float32(px - kx), wx, dx)
        _spline_weights(np.float32(py - ky), wy, dy)
        inside[:] = 0
        for b in range(4):
            for a in range(4):
                w = wx[a] * wy[b]
                column = mask[ky - 1 + b, kx - 1 + a]
                for r in range(n_r):
                    inside[r] += w * column[r]
        whole, dark = True, True
        for r in range(n_r):
            whole = whole and inside[r] > 1 - 1e-6
            dark = dark and inside[r] < 1e-7
            logs[r] = math.log(max(inside[r], 1e-9))
        if dark:
            continue
        position = offset[q] / offset_step
        for n in range(n_n):
            value = _linear(rate, position, n)
            if whole:
                out[q, 0, n] = value
                continue
            for g in range(n_g):
                share = _linear(weight[g], position, n)
                at = _linear(rung[g], position, n)
                p = math.exp(min(_cubic(logs, at), 0.0))
                h = 1e-3
                change = (_cubic(logs, at + h) - _cubic(logs, at - h)) / (2 * h * rung_step)
                out[q, 0, n] += value * share * p
                out[q, 1, n] += value * share * p * change


@fast
def terms(
    x: float | complex,
    y: float | complex,
    size: float | complex,
    one: int,
    tables: CountArrays,
    values: _Numbers,
) -> None:
    """Images at a point of the plane (deg) and a size: values, and their derivatives by x, y and size; shape (4, K)."""
    images = tables.images[one]
    n_y, n_x, n_m, n_k = images.shape
    first, pixel = tables.grid[0], tables.grid[1]
    qx, qy = (x - first) / pixel, (y - first) / pixel
    kx = min(max(math.floor(qx.real), 1), n_x - 3)
    ky = min(max(math.floor(qy.real), 1), n_y - 3)
    w = np.empty((4, 4), values.dtype)
    _spline_weights(qx - kx, w[0], w[1])
    _spline_weights(qy - ky, w[2], w[3])
    low, high, scale = tables.size[0], tables.size[1], tables.size[2]
    # Chebyshev polynomials of the size, or of its logarithm, and their derivatives
    polynomial = np.empty((2, max(n_m, 2)), values.dtype)
    if n_m > 1:
        if scale > 0:
            span = math.log((scale + high) / (scale + low))
            z, dz = 2 * np.log((scale + size) / (scale + low)) / span - 1, 2 / (span * (scale + size))
        else:
            z, dz = 2 * (size - low) / (high - low) - 1, 2 / (high - low) + 0 * size
    else:
        z, dz = 0 * size, 0 * size
    polynomial[0, 0], polynomial[0, 1] = 1, z
    polynomial[1, 0], polynomial[1, 1] = 0, dz
    for m in range(2, n_m):
        polynomial[0, m] = 2 * z * polynomial[0, m - 1] - polynomial[0, m - 2]
        polynomial[1, m] = 2 * dz * polynomial[0, m - 1] + 2 * z * polynomial[1, m - 1] - polynomial[1, m - 2]
    values[:] = 0
    for b in range(4):
        for a in range(4):
            v, vx, vy = w[0, a] * w[2, b], w[1, a] * w[2, b] / pixel, w[0, a] * w[3, b] / pixel
            for m in range(n_m):
                t, dt = polynomial[0, m], polynomial[1, m]
                for k in range(n_k):
                    c = images[ky - 1 + b, kx - 1 + a, m, k]
                    values[0, k] += v * t * c
                    values[1, k] += vx * t * c
                    values[2, k] += vy * t * c
                    values[3, k] += v * dt * c


@inlined
def plane_point(lon, lat, frame):  # type: ignore[no-untyped-def]
    """Coordinates in deg of a position on the plane and their derivatives by lon and lat; its east and north there.

    Returns x, y, x_lon, y_lon, x_lat, y_lat, then components of the position, of east and of north on the axes of the
    frame: (s.c, s.x, s.y), (e.c, e.x, e.y), (n.c, n.x, n.y).
    """
    cl, sl, cb, sn = source_frame(lon, lat)
    s0, s1, s2 = cb * cl, cb * sl, sn
    e0, e1 = -sl, cl
    n0, n1, n2 = -sn * cl, -sn * sl, cb
    sx, sy = (
        s0 * frame[1, 0] + s1 * frame[1, 1] + s2 * frame[1, 2],
        s0 * frame[2, 0] + s1 * frame[2, 1] + s2 * frame[2, 2],
    )
    ex, ey = e0 * frame[1, 0] + e1 * frame[1, 1], e0 * frame[2, 0] + e1 * frame[2, 1]
    nx, ny = (
        n0 * frame[1, 0] + n1 * frame[1, 1] + n2 * frame[1, 2],
        n0 * frame[2, 0] + n1 * frame[2, 1] + n2 * frame[2, 2],
    )
    q = sx * sx + sy * sy
    k, dk = 1 + q * (1 / 6 + q * 0.075), 1 / 3 + 0.3 * q  # arc over sine of the arc
    g_l, g_b = dk * (sx * cb * ex + sy * cb * ey), dk * (sx * nx + sy * ny)
    return (
        k * sx / DEG,
        k * sy / DEG,
        k * cb * ex + g_l * sx,
        k * cb * ey + g_l * sy,
        k * nx + g_b * sx,
        k * ny + g_b * sy,
        sx,
        sy,
        ex,
        ey,
        nx,
        ny,
        cb,
        sn,
    )


@fast
def _spread_counts(values: _Numbers, psf: float | complex, one: int, tables: CountArrays, out: _Numbers) -> None:
    """From images to coefficients: ``out[c] += values[c] . basis``, and the change with the scale of the PSF."""
    basis = tables.basis[one]
    n = out.shape[1]
    change = 2 * np.log(psf)
    for k in range(basis.shape[0]):
        for c in range(len(values)):
            for m in range(n):
                out[c, m] += values[c, k] * (basis[k, 0, m] + change * basis[k, 1, m])
        for m in range(n):
            out[N_COMMON, m] += values[0, k] * basis[k, 1, m] * 2 / psf


@fast
def gaussian_counts(theta: _Numbers, tables: CountArrays, out: _Numbers) -> None:
    """Expected counts per coefficient of a Gaussian or point source, and their derivatives by the parameters.

    An elongated Gaussian is a round one of the smaller width, spread along its major axis.

    Parameters
    ----------
    theta : numpy.ndarray
        Rows as of `gaussian_density`, shape (n_observations, 6).
    tables : CountArrays
        Images.
    out : numpy.ndarray
        Filled, shape (n_observations, 7, n).
    """
    n_k = tables.images.shape[4]
    values, sums = np.empty((4, n_k), theta.dtype), np.empty((7, n_k), theta.dtype)
    n_nodes = tables.nodes.shape[1]
    for one in range(len(theta)):
        lon, lat, psf = theta[one, 0], theta[one, 1], theta[one, 2]
        major, minor, turn = theta[one, 3], theta[one, 4], theta[one, 5]
        x, y, x_l, y_l, x_b, y_b, sx, sy, ex, ey, nx, ny, cb, sn = plane_point(lon, lat, tables.frame)
        ct, st = np.cos(turn), np.sin(turn)
        # the major axis on the plane, and its derivatives by the angle, lon and lat (per deg)
        ux, uy = ct * nx + st * ex, ct * ny + st * ey
        vx, vy = ct * ex - st * nx, ct * ey - st * ny
        ux_l, uy_l = (st * (sn * nx - cb * sx) - ct * sn * ex) * DEG, (st * (sn * ny - cb * sy) - ct * sn * ey) * DEG
        ux_b, uy_b = -ct * sx * DEG, -ct * sy * DEG
        sums[:] = 0
        long = n_nodes > 1
        spread = root(major - minor + TINY) if long else 0 * major
        size = minor if long else 0.5 * (major + minor)
        for i in range(n_nodes):
            step, weight = tables.nodes[0, i] * spread, tables.nodes[1, i]
            terms(x + step * ux, y + step * uy, size, one, tables, values)
            for k in range(n_k):
                v, dx, dy, ds = values[0, k], values[1, k], values[2, k], values[3, k]
                sums[0, k] += weight * v
                sums[1, k] += weight * (dx * (x_l + step * ux_l) + dy * (y_l + step * uy_l))
                sums[2, k] += weight * (dx * (x_b + step * ux_b) + dy * (y_b + step * uy_b))
                if long:
                    along = tables.nodes[0, i] * (dx * ux + dy * uy) / (2 * spread)
                    sums[4, k] += weight * along
                    sums[5, k] += weight * (ds - along)
                    sums[6, k] += weight * step * (dx * vx + dy * vy)
                else:
                    sums[4, k] += weight * 0.5 * ds
                    sums[5, k] += weight * 0.5 * ds
        out[one] = 0
        _spread_counts(sums, psf, one, tables, out[one])
