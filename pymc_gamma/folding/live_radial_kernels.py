r"""Kernels of live shapes whose brightness depends on the distance alone.

A brightness is a sum of terms :math:`a_k P(d; R_k)`, each a profile of unit integral and radius :math:`R_k`. Convolved
with a Gaussian of variance :math:`v = w^2` it is a function of two numbers, tabulated once
(:mod:`pymc_gamma.folding.live_shapes.radial`) as

.. math::

    \ln P = L(t, \lambda) - \ln 2\pi(v + R^2/2) , \qquad
    t = \operatorname{arsinh} \frac{s}{c} , \quad s = \frac{d^2 - R^2}{2 w (R + w)} , \quad
    \lambda = \ln \frac{w}{R + w} ,

cubic B-splines in both. :math:`s` is the distance from the edge in widths of the PSF for a large source, and
:math:`d^2/2v` for a small one; it depends on :math:`d^2`, so that nothing is special about the centre. The posterior
mean of the true direction is :math:`m = h d` with :math:`h = 1 + 2 v\, \partial \ln F / \partial d^2` (Tweedie's
formula; Efron 2011, JASA 106, 1602).

:math:`F` is evaluated at the width of the reference and corrected to first order in that of the PSF at the posterior
mean. Kernels take complex parameters too, as those of :mod:`pymc_gamma.folding.live_kernels` do.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.folding.kernels import _spline_weights
from pymc_gamma.folding.live_counts_kernels import CountArrays, _spread_counts, plane_point, terms
from pymc_gamma.folding.live_kernels import (
    A_,
    B1_,
    B2_,
    BARE,
    C_,
    GAM,
    KAP,
    LAM,
    LANES,
    LINE,
    OWN_,
    PSF_,
    REF,
    RUNG,
    SLOPE,
    US_,
    VALUE,
    A,
    C,
    LiveArrays,
    R,
    exponential,
    fast,
    finish_events,
    gather,
    leave_rung,
    out_row,
    place_events,
    pointing_seen,
    root,
    source_frame,
    take_rung,
)

__all__ = ["HEADER", "STRETCH", "log_profiles", "radial_counts", "radial_density"]

type _Numbers = NDArray[np.float64] | NDArray[np.complex128]

STRETCH = 1.5
"""The number c."""
HEADER = 1
"""Rows of a table before its coefficients: t and lambda of the first node and their steps."""
S, S_Z, S_W, S_R, S_ZZ, S_ZW, S_ZR, S_WW, S_WR = range(9)
"""Logarithm of a profile, and its derivatives by the squared distance z, the width w and the radius R."""


@fast
def _spline(q, w):  # type: ignore[no-untyped-def]
    """Weights of the cubic B-spline, of its first and of its second derivative, at the fraction q: w (3, 4)."""
    _spline_weights(q, w[0], w[1])
    w[2, 0], w[2, 1], w[2, 2], w[2, 3] = 1 - q, 3 * q - 2, 1 - 3 * q, q


@fast
def log_profile(z, w, radius, table, weights, out):  # type: ignore[no-untyped-def]
    """Logarithm of a profile in deg-2 at a squared distance z and the width w of the PSF, and its derivatives.

    ``weights`` is room for (6, 4) numbers, ``out`` for nine.
    """
    n_t, n_l = table.shape[0] - HEADER, table.shape[1]
    t0, t_step, l0, l_step = table[0, 0], table[0, 1], table[0, 2], table[0, 3]
    q = radius + w
    den = 2 * w * q
    s = (z - radius * radius) / den
    norm = root(s * s + STRETCH * STRETCH)
    # arsinh of |s|: no digits are lost
    sign = 1.0 if s.real >= 0 else -1.0
    t = sign * np.log((sign * s + norm) / STRETCH)
    lam = np.log(w / q)
    ft, fl = (t - t0) / t_step, (lam - l0) / l_step
    kt = min(max(math.floor(ft.real), 1), n_t - 3)
    kl = min(max(math.floor(fl.real), 1), n_l - 3)
    _spline(ft - kt, weights[:3])
    _spline(fl - kl, weights[3:])
    v = v_t = v_l = v_tt = v_tl = v_ll = 0 * s
    for a in range(4):
        x = x_l = x_ll = 0 * s
        for b in range(4):
            c = table[HEADER + kt - 1 + a, kl - 1 + b]
            x += weights[3, b] * c
            x_l += weights[4, b] * c
            x_ll += weights[5, b] * c
        v += weights[0, a] * x
        v_t += weights[1, a] * x
        v_tt += weights[2, a] * x
        v_l += weights[0, a] * x_l
        v_tl += weights[1, a] * x_l
        v_ll += weights[0, a] * x_ll
    v_t, v_tt, v_l, v_ll = v_t / t_step, v_tt / (t_step * t_step), v_l / l_step, v_ll / (l_step * l_step)
    v_tl = v_tl / (t_step * l_step)
    # t by s; s by z, w, R; lambda by w, R
    t_s = 1 / norm
    t_ss = -s / (norm * norm * norm)
    g = 1 / w + 1 / q
    s_z, s_w, s_r = 1 / den, -s * g, -2 * radius / den - s / q
    s_zw, s_zr = -s_z * g, -s_z / q
    s_ww, s_wr = s * g * g + s * (1 / (w * w) + 1 / (q * q)), -s_r * g + s / (q * q)
    l_w, l_r = 1 / w - 1 / q, -1 / q
    l_ww, l_wr = -1 / (w * w) + 1 / (q * q), 1 / (q * q)
    f, f2, fl_ = v_t * t_s, v_tt * t_s * t_s + v_t * t_ss, v_tl * t_s  # by s, twice, and by s and lambda
    area = w * w + 0.5 * radius * radius
    out[S] = v - np.log(2 * math.pi * area)
    out[S_Z] = f * s_z
    out[S_W] = f * s_w + v_l * l_w - 2 * w / area
    out[S_R] = f * s_r + v_l * l_r - radius / area
    out[S_ZZ] = f2 * s_z * s_z
    out[S_ZW] = f2 * s_z * s_w + fl_ * s_z * l_w + f * s_zw
    out[S_ZR] = f2 * s_z * s_r + fl_ * s_z * l_r + f * s_zr
    out[S_WW] = (
        f2 * s_w * s_w
        + 2 * fl_ * s_w * l_w
        + v_ll * l_w * l_w
        + f * s_ww
        + v_l * l_ww
        - 2 / area
        + 4 * w * w / (area * area)
    )
    out[S_WR] = (
        f2 * s_w * s_r
        + fl_ * (s_w * l_r + s_r * l_w)
        + v_ll * l_w * l_r
        + f * s_wr
        + v_l * l_wr
        + 2 * w * radius / (area * area)
    )


@fast
def log_profiles(
    own: NDArray[np.float64],
    z: NDArray[np.float64],
    variance: NDArray[np.float64],
    table: NDArray[np.float64],
    log_density: NDArray[np.float64],
    mean: NDArray[np.float64],
) -> None:
    """Logarithm of the brightness in deg-2, and the number h, at squared distances (N,) and variances (M,)."""
    weights, out = np.empty((6, 4)), np.empty(9)
    for i in range(len(z)):
        for m in range(len(variance)):
            top, total, slope = -1e300, 0.0, 0.0
            for k in range(1, len(own), 2):
                log_profile(z[i], math.sqrt(variance[m]), own[k], table, weights, out)
                if own[k + 1] > 0:
                    top = max(top, out[S].real)
            for k in range(1, len(own), 2):
                log_profile(z[i], math.sqrt(variance[m]), own[k], table, weights, out)
                p = own[k + 1] * math.exp(out[S] - top)
                total += p
                slope += p * out[S_Z]
            total = max(total, 1e-12)
            log_density[i, m] = top + math.log(total)
            mean[i, m] = 1 + 2 * variance[m] * slope / total


@fast
def radial_density(theta: _Numbers, rho: _Numbers, tables: LiveArrays, out: _Numbers) -> None:
    """Density of the events near a source of round profile, and its derivatives.

    Parameters
    ----------
    theta : numpy.ndarray
        lon, lat (deg), scale of the PSF, variance of the brightness along an axis (deg2), and of each term radius (deg)
        and amplitude; one row per observation.
    rho, tables, out : numpy.ndarray, LiveArrays, numpy.ndarray
        See `pymc_gamma.folding.live_kernels.gaussian_density`.
    """
    n_theta = theta.shape[1]
    n_terms = (n_theta - 4) // 2
    most = np.max(np.diff(tables.rung_pointer)) if len(tables.node) else 0
    weights, work = np.empty(2 * most * LANES, theta.dtype), np.empty(OWN_ + (n_theta - 3) * LANES, theta.dtype)
    terms_, room = np.empty((n_terms, 9), theta.dtype), np.empty((6, 4), theta.dtype)
    parts = np.empty(n_terms, theta.dtype)
    for b in range(len(tables.node)):
        one = tables.observation[b]
        psf, s2 = theta[one, 2], theta[one, 3]
        psf2 = psf * psf
        cl, sl, cb, sn = source_frame(theta[one, 0], theta[one, 1])
        seen = pointing_seen(cl, sl, cb, sn, tables.axes[one])
        p1, p2 = seen[0], seen[1]
        us = p1 * p1 + p2 * p2
        gather(tables, rho[one], b, weights)
        rungs = tables.rungs[tables.rung_pointer[b] : tables.rung_pointer[b + 1]]
        event, o, n_l = tables.events[b], out[out_row(tables, b, n_theta) : out_row(tables, b + 1, n_theta)], len(rungs)
        place_events(event, work, cl, sl, cb, sn, 1.0, 0.0)
        for r in range(n_l):
            take_rung(rungs, weights[: 2 * n_l * LANES], work, r)
            for j in range(LANES):
                v0 = psf2 * work[RUNG + j]
                w = root(v0)
                value, slope, ref, gam = work[VALUE + j], work[SLOPE + j], work[REF + j], work[GAM + j]
                kap, lam, a, c = psf2 * work[KAP + j], work[LAM + j], work[A + j], work[C + j]
                z, dp = a * a + c * c, a * p1 + c * p2
                plain = plain_z = 0 * v0
                for k in range(n_terms):
                    log_profile(z, w, theta[one, 4 + 2 * k], tables.profile, room, terms_[k])
                    parts[k] = theta[one, 5 + 2 * k] * exponential(terms_[k, S])
                    plain += parts[k]
                    plain_z += parts[k] * terms_[k, S_Z]
                if not plain.real > 1e-150:  # its square is a number
                    work[BARE + j], work[LINE + j] = 0, 0
                    continue
                h = 1 + 2 * v0 * plain_z / plain
                du = us + 2 * h * dp + h * h * z - ref
                g = gam * du
                full = tilt = 0 * v0
                for k in range(n_terms):  # to first order at the width of the posterior mean
                    e = 0.5 * w * terms_[k, S_W]
                    full += parts[k] * exponential(e * g)
                    tilt += parts[k] * exponential(e * g) * e
                f = s2 / (s2 + v0)
                bend = dp + h * z
                q = 2 * gam * f * (1 - h) * bend
                shape = exponential(lam * du - q)
                t = full * shape * (1 + kap * f)
                line = value + slope * du
                work[BARE + j], work[LINE + j] = t, t * du
                tw = t * line
                # adjoints, from the end back
                u_ = t * slope + tw * (lam + gam * tilt / full)
                f_ = full * shape * line * kap - tw * 2 * gam * (1 - h) * bend
                h_ = u_ * 2 * bend + tw * 2 * gam * f * (bend - (1 - h) * z)
                dp_ = u_ * 2 * h - tw * 2 * gam * f * (1 - h)
                z_ = u_ * h * h - tw * 2 * gam * f * (1 - h) * h
                v0_ = -f_ * s2 / ((s2 + v0) * (s2 + v0)) + h_ * 2 * plain_z / plain
                plain_, plain_z_ = -h_ * 2 * v0 * plain_z / (plain * plain), h_ * 2 * v0 / plain
                w_ = 2 * w * v0_
                for k in range(n_terms):
                    e = 0.5 * w * terms_[k, S_W]
                    moved = exponential(e * g) * tw / full
                    of_log = parts[k] * (moved + plain_ + terms_[k, S_Z] * plain_z_)
                    of_slope, of_e = parts[k] * plain_z_, parts[k] * moved * g
                    z_ += of_log * terms_[k, S_Z] + of_slope * terms_[k, S_ZZ] + of_e * 0.5 * w * terms_[k, S_ZW]
                    w_ += of_log * terms_[k, S_W] + of_slope * terms_[k, S_ZW]
                    w_ += of_e * 0.5 * (terms_[k, S_W] + w * terms_[k, S_WW])
                    radius_ = of_log * terms_[k, S_R] + of_slope * terms_[k, S_ZR] + of_e * 0.5 * w * terms_[k, S_WR]
                    work[OWN_ + (1 + 2 * k) * LANES + j] += radius_
                    own = exponential(terms_[k, S])
                    work[OWN_ + (2 + 2 * k) * LANES + j] += own * (moved + plain_ + terms_[k, S_Z] * plain_z_)
                work[R + j] += tw
                work[US_ + j] += u_
                work[A_ + j] += 2 * a * z_ + p1 * dp_
                work[C_ + j] += 2 * c * z_ + p2 * dp_
                work[B1_ + j] += a * dp_
                work[B2_ + j] += c * dp_
                work[PSF_ + j] += 0.5 * w_ * w + full * shape * line * kap * f
                work[OWN_ + j] += f_ * v0 / ((s2 + v0) * (s2 + v0))
            leave_rung(o, 1 + n_theta, n_l, work, r)
        finish_events(work, o, cl, sl, cb, sn, 1.0, 0.0, p1, p2, seen, psf)
        for k in range(n_theta - 3):
            for j in range(LANES):
                o[4 + k, j] = work[OWN_ + k * LANES + j]


@fast
def radial_counts(theta: _Numbers, tables: CountArrays, out: _Numbers) -> None:
    """Expected counts per coefficient of a source of round profile, and their derivatives by the parameters.

    Parameters
    ----------
    theta : numpy.ndarray
        Rows as of :func:`radial_density`.
    tables : CountArrays
        Images.
    out : numpy.ndarray
        Filled, shape (n_observations, 1 + n_theta, n).
    """
    n_theta, n_k = theta.shape[1], tables.images.shape[4]
    values, sums = np.empty((4, n_k), theta.dtype), np.empty((1 + n_theta, n_k), theta.dtype)
    for one in range(len(theta)):
        found = plane_point(theta[one, 0], theta[one, 1], tables.frame)
        sums[:] = 0
        for i in range(4, n_theta, 2):
            amplitude = theta[one, i + 1]
            terms(found[0], found[1], theta[one, i], one, tables, values)
            for k in range(n_k):
                sums[0, k] += amplitude * values[0, k]
                sums[1, k] += amplitude * (values[1, k] * found[2] + values[2, k] * found[3])
                sums[2, k] += amplitude * (values[1, k] * found[4] + values[2, k] * found[5])
                sums[1 + i, k] += amplitude * values[3, k]
                sums[2 + i, k] += values[0, k]
        out[one] = 0
        _spread_counts(sums, theta[one, 2], one, tables, out[one])
