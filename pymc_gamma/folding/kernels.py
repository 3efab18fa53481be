r"""Compiled kernels of the fold.

All angles are in degrees unless a name says otherwise, directions are unit vectors in the frame of the region.
Densities per solid angle are converted from deg-2 to sr-1 by :math:`(180/\pi)^2`.

For a Gaussian source of variance :math:`\sigma_s^2` and a PSF of variance :math:`\sigma^2` the convolution is a
Gaussian of variance :math:`\sigma_s^2+\sigma^2`, and the true direction of an event at distance vector :math:`d`
from the source has the posterior mean :math:`s + f d` and the variance :math:`f\sigma^2` with
:math:`f = \sigma_s^2/(\sigma_s^2+\sigma^2)`: effective area, dispersion and PSF are taken at the mean, and the area is
averaged over the variance. An elongated Gaussian is the same along and across its major axis, with the variances
:math:`a^2+\sigma^2` and :math:`b^2+\sigma^2`.

For a template convolved to :math:`v` the posterior mean is :math:`x + \sigma^2 \nabla \log v` (Tweedie's formula; Efron
2011, JASA 106, 1602), and the variance along either axis is :math:`f\sigma^2` with
:math:`f = 1 + \frac{\sigma^2}{2}\nabla^2\log v` in the mean. Because
:math:`\nabla^2 v = 2\,\partial v/\partial\sigma^2`, the ladder itself gives
:math:`f = 1 + \partial\log v/\partial\log\sigma^2 - \frac{\sigma^2}{2}|\nabla\log v|^2`.
"""

import math

import numpy as np

from pymc_gamma.compilation import kernel
from pymc_gamma.search_kernels import interval

__all__ = [
    "add_elongated",
    "add_gaussians",
    "add_template",
    "average_dispersion",
    "band_extents",
    "gather_bands",
    "gather_hats",
    "locate_bands",
    "smooth_over_psf",
    "true_sky_integral",
]

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
DEG = math.pi / 180
PER_SR = (180 / math.pi) ** 2
REACH = 45.0
"""Squared distance, in variances, beyond which a Gaussian (there 2e-10 of its peak) is not evaluated."""


@kernel(inline="always")
def _cumulative(row, integral, q):
    """Integral from the first node to position q of a density that is linear between nodes one apart, 0 outside."""
    n = len(row)
    if q <= 0.0:
        # half a bin below the first node the histogram still has its first value
        return row[0] * max(q, -0.5)
    if q >= n - 1:
        return integral[n - 1] + row[n - 1] * min(q - (n - 1), 0.5)
    m = int(q)
    f = q - m
    return integral[m] + f * (row[m] + 0.5 * f * (row[m + 1] - row[m]))


@kernel(error_model="numpy")
def average_dispersion(edges, weight, log_nodes, density, migra0, migra_step, energy, out):
    """Average the dispersion over the sub-bins of each true-energy bin.

    ``out[r, e] = sum_s weight[e, s] <p(energy[r] / E) / E>_s``, where the average over sub-bin s between ``edges[e,
    s]`` and ``edges[e, s + 1]`` is the exact integral over the migration: the histograms are spiky where few events
    were simulated, and sampling them at points would miss or double spikes.
    """
    n_e, n_sub = weight.shape
    n_migra = density.shape[1]
    n_r = len(energy)
    log0 = math.log(energy[0])
    per_log = (n_r - 1) / math.log(energy[n_r - 1] / energy[0])
    row, integral, column = np.empty(n_migra), np.empty(n_migra), np.empty(n_r)
    bottom = max(migra0 - 0.5 * migra_step, 1e-9)
    top = migra0 + (n_migra - 0.5) * migra_step
    for e in range(n_e):
        column[:] = 0.0
        lowest, highest = n_r, 0
        for s in range(n_sub):
            low, high = edges[e, s], edges[e, s + 1]
            middle = math.sqrt(low * high)
            k, t = interval(log_nodes, math.log(middle))
            first, last = n_migra, 0
            for m in range(n_migra):
                row[m] = density[k, m] * (1 - t) + density[k + 1, m] * t
                integral[m] = 0.0 if m == 0 else integral[m - 1] + 0.5 * (row[m - 1] + row[m])
                if row[m] > 0:
                    first, last = min(first, m), m + 1
            if last == 0:
                continue
            # nodes of reconstructed energy that this sub-bin can reach
            reach_low = max(bottom, migra0 + (first - 1) * migra_step) * low
            reach_high = min(top, migra0 + last * migra_step) * high
            r0 = min(max(int((math.log(reach_low) - log0) * per_log), 0), n_r)
            r1 = min(max(int((math.log(reach_high) - log0) * per_log) + 2, 0), n_r)
            lowest, highest = min(lowest, r0), max(highest, r1)
            scale = weight[e, s] * middle * migra_step / (high - low)
            for r in range(r0, r1):
                upper = (energy[r] / low - migra0) / migra_step
                lower = (energy[r] / high - migra0) / migra_step
                mass = _cumulative(row, integral, upper) - _cumulative(row, integral, lower)
                if mass > 0:
                    column[r] += scale * mass / energy[r]
        for r in range(lowest, highest):
            out[r, e] = column[r]


@kernel(error_model="numpy")
def smooth_over_psf(aeff, variance, share, step, node, weight, out):
    """Effective area for photons of an even sky reconstructed at each offset, per share of each Gaussian there.

    Photons from around come with the Gaussians of where they come from, of variances and shares (n_g, n_o, n_e): that
    the PSF widens with the offset changes how many are reconstructed at one as much as the effective area does.
    ``node`` and ``weight`` are a quadrature of the standard normal, symmetric around 0: across the radius half of it
    will do.
    """
    n_o, n_e = aeff.shape
    n = len(node)
    for g in range(len(variance)):
        for o in range(n_o):
            for e in range(n_e):
                here = variance[g, o, e]
                sigma = math.sqrt(here)
                total = 0.0
                for b in range(n // 2, n):
                    twice = weight[b] if 2 * b == n - 1 else 2 * weight[b]
                    across = sigma * node[b]
                    for a in range(n):
                        along = o * step + sigma * node[a]
                        position = min(math.sqrt(along * along + across * across) / step, n_o - 1.000001)
                        k = int(position)
                        t = position - k
                        area = aeff[k, e] * (1 - t) + aeff[k + 1, e] * t
                        if share[g, o, e] > 0:
                            ratio = here / (variance[g, k, e] * (1 - t) + variance[g, k + 1, e] * t)
                            distance = node[a] * node[a] + node[b] * node[b]
                            ratio *= math.exp(0.5 * distance * (1 - ratio))
                            ratio *= (share[g, k, e] * (1 - t) + share[g, k + 1, e] * t) / share[g, o, e]
                            area *= ratio
                        total += twice * weight[a] * area
                out[g, o, e] = total


@kernel(fastmath=FASTMATH, error_model="numpy")
def locate_bands(log_energy, log0, step, band_start, band_stop, row, fraction, start, stop):
    """Where each event lies on the grid of reconstructed energies, and its band of true energies."""
    n_r = len(band_start)
    for i in range(len(log_energy)):
        x = (log_energy[i] - log0) / step
        r = min(max(int(x), 0), n_r - 2)
        row[i] = r
        fraction[i] = min(max(x - r, 0.0), 1.0)
        start[i] = band_start[r]
        stop[i] = band_stop[r]


@kernel(inline="always")
def _dispersion(edisp, edisp_offset, offset, r, t, e):
    """Density in reconstructed energy (TeV-1) of true-energy bin e at an offset, bilinear in log E' and offset."""
    n_j = len(edisp_offset)
    j, s = 0, 0.0
    if n_j > 1:
        # nodes are nearly equidistant: start where they would be
        guess = (offset - edisp_offset[0]) / (edisp_offset[n_j - 1] - edisp_offset[0]) * (n_j - 1)
        j = min(max(int(guess), 0), n_j - 2)
        while j > 0 and offset < edisp_offset[j]:
            j -= 1
        while j < n_j - 2 and offset > edisp_offset[j + 1]:
            j += 1
        s = min(max((offset - edisp_offset[j]) / (edisp_offset[j + 1] - edisp_offset[j]), 0.0), 1.0)
    low = edisp[j, r, e] * (1 - t) + edisp[j, r + 1, e] * t
    if s == 0.0:
        return low
    high = edisp[j + 1, r, e] * (1 - t) + edisp[j + 1, r + 1, e] * t
    return low * (1 - s) + high * s


@kernel(inline="always")
def _linear(table, position, e):
    """Column e of a table at a position in units of its node spacing, constant beyond the last node."""
    n = len(table)
    k = min(int(position), n - 2)
    t = min(position - k, 1.0)
    return table[k, e] * (1 - t) + table[k + 1, e] * t


@kernel(inline="always")
def _angle_deg(chord2):
    """Angle in degrees of a squared chord; the series is right to 1e-7 up to 13 deg, to 2e-6 up to 20 deg."""
    return math.sqrt(chord2) * (1 + chord2 * (1 / 24 + chord2 * (3 / 640))) / DEG


@kernel(fastmath=FASTMATH, error_model="numpy")
def add_gaussians(
    vectors,
    row,
    fraction,
    start,
    stop,
    edisp,
    edisp_offset,
    axis,
    source,
    source_variance,
    flux,
    aeff,
    aeff_smooth,
    variance,
    widest,
    weight,
    offset_step,
    out,
):
    """Add point (variance 0) and Gaussian sources to the bands: out[i, b] += flux[p, e] A_p(x_i, e).

    ``widest[e]`` is the largest variance of the PSF in a true-energy bin, for a quick way out.
    """
    n_g, n_o = variance.shape[0], variance.shape[1]
    last = (n_o - 1) * offset_step
    overall = 0.0
    for e in range(len(widest)):
        overall = max(overall, widest[e])
    for p in range(len(source_variance)):
        s2 = source_variance[p]
        sx, sy, sz = source[p, 0], source[p, 1], source[p, 2]
        ax, ay, az = sx - axis[0], sy - axis[1], sz - axis[2]
        # squared chord to the pointing of s + f d is quadratic in f: c0 + f c1 + f^2 c2
        c0 = ax * ax + ay * ay + az * az
        source_offset = _angle_deg(c0)
        if source_offset > last + 6 * math.sqrt(s2):
            continue
        source_position = min(source_offset, last) / offset_step
        for i in range(len(row)):
            dx, dy, dz = vectors[i, 0] - sx, vectors[i, 1] - sy, vectors[i, 2] - sz
            c2 = dx * dx + dy * dy + dz * dz
            r2 = c2 * (1 + c2 / 12) / (DEG * DEG)
            if r2 > REACH * (s2 + overall):
                continue
            c1 = 2 * (dx * ax + dy * ay + dz * az)
            for e in range(start[i], stop[i]):
                if r2 > REACH * (s2 + widest[e]):
                    continue
                total = 0.0
                for g in range(n_g):
                    position, offset, f = source_position, source_offset, 0.0
                    v = _linear(variance[g], position, e)
                    if s2 > 0:
                        f = s2 / (s2 + v)
                        offset = _angle_deg(c0 + f * (c1 + f * c2))
                        position = offset / offset_step
                    if offset > last:
                        continue
                    spread = _dispersion(edisp, edisp_offset, offset, row[i], fraction[i], e)
                    if spread <= 0:
                        continue
                    area = _linear(aeff, position, e)
                    exponent = 0.0
                    if s2 > 0:
                        v = _linear(variance[g], position, e)
                        # the posterior of the true direction has the variance f v: that share of the curvature
                        area += f * (_linear(aeff_smooth[g], position, e) - area)
                        # and the PSF widens across it: the first order of the mean of exp(-r^2 / 2v) / v
                        k = min(int(position), n_o - 2)
                        slope = (variance[g, k + 1, e] - variance[g, k, e]) / offset_step
                        outward = (0.5 * c1 + f * c2) / (DEG * math.sqrt(c0 + f * (c1 + f * c2)) + 1e-12)
                        exponent = -f * (1 - f) * outward * slope / v
                    v += s2
                    total += (
                        _linear(weight[g], position, e)
                        * math.exp(exponent - 0.5 * r2 / v)
                        / (2 * math.pi * v)
                        * area
                        * spread
                    )
                out[i, e - start[i]] += total * flux[p, e] * PER_SR


@kernel(fastmath=FASTMATH, error_model="numpy")
def add_elongated(
    vectors,
    row,
    fraction,
    start,
    stop,
    edisp,
    edisp_offset,
    axis,
    source,
    major_axis,
    source_variance,
    minor_variance,
    flux,
    aeff,
    aeff_smooth,
    variance,
    widest,
    weight,
    offset_step,
    out,
):
    """As :func:`add_gaussians`, for elongated Gaussians: (u, w) are coordinates along and across the major axis.

    Along either axis the posterior of the true direction has the mean f u (or h w) and the variance f v (or h v), where
    f = a^2 / (a^2 + v) and h = b^2 / (b^2 + v).
    """
    n_g, n_o = variance.shape[0], variance.shape[1]
    last = (n_o - 1) * offset_step
    overall = 0.0
    for e in range(len(widest)):
        overall = max(overall, widest[e])
    for p in range(len(source_variance)):
        a2, b2 = source_variance[p], minor_variance[p]
        sx, sy, sz = source[p, 0], source[p, 1], source[p, 2]
        mx, my, mz = major_axis[p, 0], major_axis[p, 1], major_axis[p, 2]
        nx, ny, nz = sy * mz - sz * my, sz * mx - sx * mz, sx * my - sy * mx
        ax, ay, az = sx - axis[0], sy - axis[1], sz - axis[2]
        c0 = ax * ax + ay * ay + az * az
        if _angle_deg(c0) > last + 6 * math.sqrt(a2):
            continue
        # the pointing seen from the source, in radians along and across
        pu, pw = axis[0] * mx + axis[1] * my + axis[2] * mz, axis[0] * nx + axis[1] * ny + axis[2] * nz
        for i in range(len(row)):
            dx, dy, dz = vectors[i, 0] - sx, vectors[i, 1] - sy, vectors[i, 2] - sz
            c2 = dx * dx + dy * dy + dz * dz
            # arc over sine of the arc, so that (u, w) are the arc split by its direction
            arc = math.sqrt((1 + c2 / 12) / (1 - c2 / 4))
            u, w = arc * (dx * mx + dy * my + dz * mz), arc * (dx * nx + dy * ny + dz * nz)
            u2, w2 = u * u / (DEG * DEG), w * w / (DEG * DEG)
            if u2 / (a2 + overall) + w2 / (b2 + overall) > REACH:
                continue
            for e in range(start[i], stop[i]):
                if u2 / (a2 + widest[e]) + w2 / (b2 + widest[e]) > REACH:
                    continue
                total = 0.0
                for g in range(n_g):
                    # twice: the variance at the posterior mean, and this from the variance
                    v = _linear(variance[g], min(_angle_deg(c0), last) / offset_step, e)
                    f, h = a2 / (a2 + v), b2 / (b2 + v)
                    offset = _offset_along(c0, pu, pw, f * u, h * w)
                    if offset > last:
                        continue
                    position = offset / offset_step
                    spread = _dispersion(edisp, edisp_offset, offset, row[i], fraction[i], e)
                    if spread <= 0:
                        continue
                    v = _linear(variance[g], position, e)
                    k = min(int(position), n_o - 2)
                    # direction away from the pointing at the posterior mean
                    ou, ow = f * u - pu, h * w - pw
                    scale = 1 / (math.sqrt(ou * ou + ow * ow) + 1e-12)
                    ou, ow = ou * scale, ow * scale
                    # curvature of the area over the posterior: what the PSF alone would see, split into the direction
                    # away from the pointing and the one across it, where a slope over an offset is a curvature
                    area = _linear(aeff, position, e)
                    curvature = _linear(aeff_smooth[g], position, e) - area
                    turning = 0.5 * v * (aeff[k + 1, e] - aeff[k, e]) / (offset_step * offset_step * (k + 0.5))
                    outward = f * ou * ou + h * ow * ow
                    area += outward * (curvature - turning) + (f + h - outward) * turning
                    slope = (variance[g, k + 1, e] - variance[g, k, e]) / offset_step
                    lean = (f * (1 - f) * u * ou + h * (1 - h) * w * ow) / DEG
                    exponent = -lean * slope / v - 0.5 * (u2 / (a2 + v) + w2 / (b2 + v))
                    total += (
                        _linear(weight[g], position, e)
                        * math.exp(exponent)
                        / (2 * math.pi * math.sqrt((a2 + v) * (b2 + v)))
                        * max(area, 0.0)
                        * spread
                    )
                out[i, e - start[i]] += total * flux[p, e] * PER_SR


@kernel(inline="always")
def _offset_along(c0, pu, pw, u, w):
    """Angle in degrees from the pointing of the direction at the arcs (u, w) from a source, all in radians.

    ``c0`` is the squared chord from the source to the pointing, (pu, pw) the pointing on the axes of the source.
    """
    r2 = u * u + w * w
    cosine = r2 * (0.5 - r2 / 24)  # one minus the cosine of the arc
    sine = 1 - r2 * (1 / 6 - r2 / 120)  # sine of the arc over the arc
    return _angle_deg(max(c0 + (2 - c0) * cosine - 2 * sine * (pu * u + pw * w), 0.0))


@kernel(inline="always")
def _spline_weights(t, w, d):
    """Weights of the cubic B-spline and of its derivative at the fraction t of a pixel."""
    u = 1 - t
    w[0] = u * u * u / 6
    w[1] = (3 * t * t * t - 6 * t * t + 4) / 6
    w[2] = (-3 * t * t * t + 3 * t * t + 3 * t + 1) / 6
    w[3] = t * t * t / 6
    d[0] = -u * u / 2
    d[1] = (3 * t * t - 4 * t) / 2
    d[2] = (-3 * t * t + 2 * t + 1) / 2
    d[3] = t * t / 2


@kernel(fastmath=FASTMATH, error_model="numpy")
def add_template(
    x,
    y,
    offset,
    row,
    fraction,
    start,
    stop,
    edisp,
    edisp_offset,
    axis_x,
    axis_y,
    ladder,
    origin,
    pixel,
    height,
    rung_step,
    flux,
    aeff,
    aeff_smooth,
    variance,
    weight,
    offset_step,
    out,
):
    """Add a template on the sigma ladder to the bands.

    ``ladder[iy, ix, j]`` are cubic B-spline coefficients of the template convolved with a Gaussian, whose variance
    increases by a constant factor from one rung j to the next; in between cubic in the logarithm of the variance.
    ``height[g, o, e]`` is the rung, and the fraction to the next, of the variance of offset node o; ``rung_step`` the
    logarithm of the factor. (x, y) are plane coordinates of the events, (axis_x, axis_y) of the pointing.
    """
    n_y, n_x, n_j = ladder.shape
    n_g, n_o = variance.shape[0], variance.shape[1]
    last = (n_o - 1) * offset_step
    wx, dx = np.empty(4, np.float32), np.empty(4, np.float32)
    wy, dy = np.empty(4, np.float32), np.empty(4, np.float32)
    value = np.empty(n_j, np.float32)
    slope_x, slope_y = np.empty(n_j, np.float32), np.empty(n_j, np.float32)
    for i in range(len(row)):
        qx, qy = (x[i] - origin) / pixel, (y[i] - origin) / pixel
        kx, ky = math.floor(qx), math.floor(qy)
        if kx < 1 or ky < 1 or kx > n_x - 3 or ky > n_y - 3 or offset[i] > last:
            continue
        _spline_weights(np.float32(qx - kx), wx, dx)
        _spline_weights(np.float32(qy - ky), wy, dy)
        value[:] = 0
        slope_x[:] = 0
        slope_y[:] = 0
        for b in range(4):
            for a in range(4):
                w, gx, gy = wx[a] * wy[b], dx[a] * wy[b], wx[a] * dy[b]
                column = ladder[ky - 1 + b, kx - 1 + a]
                for j in range(n_j):
                    c = column[j]
                    value[j] += w * c
                    slope_x[j] += gx * c
                    slope_y[j] += gy * c
        ox, oy = x[i] - axis_x, y[i] - axis_y
        # distances on the plane are angles only around its centre: use them for the small shift alone
        radius = math.sqrt(ox * ox + oy * oy)
        stretch = offset[i] - radius
        position = offset[i] / offset_step
        ko = min(int(position), n_o - 2)
        to = position - ko
        for e in range(start[i], stop[i]):
            total = 0.0
            for g in range(n_g):
                s2 = variance[g, ko, e] * (1 - to) + variance[g, ko + 1, e] * to
                h = height[g, ko, e] * (1 - to) + height[g, ko + 1, e] * to
                j = min(max(int(h) - 1, 0), n_j - 4)
                f = h - j
                # Lagrange polynomials through the rungs j to j + 3
                p, q, r = f - 1, f - 2, f - 3
                w0, w1, w2, w3 = -p * q * r / 6, f * q * r / 2, -f * p * r / 2, f * p * q / 6
                v = w0 * value[j] + w1 * value[j + 1] + w2 * value[j + 2] + w3 * value[j + 3]
                k = min(int(h), n_j - 2)
                rise = (
                    -(p * q + p * r + q * r) / 6 * value[j]
                    + (q * r + f * r + f * q) / 2 * value[j + 1]
                    - (p * r + f * r + f * p) / 2 * value[j + 2]
                    + (p * q + f * q + f * p) / 6 * value[j + 3]
                )
                if v < 0.5 * min(value[k], value[k + 1]) or v <= 0:
                    # far outside everything the values change by orders of magnitude from rung to rung
                    w0, w1, w2, w3 = 0.0, 0.0, 0.0, 0.0
                    t = h - k
                    if k == j:
                        w0, w1 = 1 - t, t
                    elif k == j + 1:
                        w1, w2 = 1 - t, t
                    else:
                        w2, w3 = 1 - t, t
                    v = value[k] * (1 - t) + value[k + 1] * t
                    rise = value[k + 1] - value[k]
                if v <= 0:
                    continue
                shift = s2 / (pixel * v)
                mx = shift * (w0 * slope_x[j] + w1 * slope_x[j + 1] + w2 * slope_x[j + 2] + w3 * slope_x[j + 3])
                my = shift * (w0 * slope_y[j] + w1 * slope_y[j + 1] + w2 * slope_y[j + 2] + w3 * slope_y[j + 3])
                away = 0.5 * (mx * mx + my * my) / s2
                share = min(max(1 + rise / (v * rung_step) - away, 0.0), 1.0)
                # the PSF is another at the true direction than at the event: first order of exp(-r^2 / 2 s2) / s2
                slope = (variance[g, ko + 1, e] - variance[g, ko, e]) / offset_step
                outward = (mx * ox + my * oy) / (radius + 1e-12)
                exponent = min(max(slope * outward / s2 * (away + 2 * share - 1), -1.0), 1.0)
                mx, my = ox + mx, oy + my
                at = max(math.sqrt(mx * mx + my * my) + stretch, 0.0)
                if at > last:
                    continue
                area = _linear(aeff, at / offset_step, e)
                area += share * (_linear(aeff_smooth[g], at / offset_step, e) - area)
                total += (
                    _linear(weight[g], at / offset_step, e)
                    * v
                    * math.exp(exponent)
                    * area
                    * _dispersion(edisp, edisp_offset, at, row[i], fraction[i], e)
                )
            out[i, e - start[i]] += total * flux[e]


@kernel(inline="always")
def _cubic(values, u):
    """Values one apart at position u, by the cubic through the four nearest."""
    k = min(max(int(u) - 1, 0), len(values) - 4)
    t = u - k
    a, b, c = t - 1, t - 2, t - 3
    return (
        -values[k] * a * b * c / 6
        + values[k + 1] * t * b * c / 2
        - values[k + 2] * t * a * c / 2
        + values[k + 3] * t * a * b / 6
    )


@kernel(error_model="numpy")
def true_sky_integral(
    x,
    y,
    offset,
    brightness,
    mask,
    mask_origin,
    mask_pixel,
    rung,
    aeff,
    weight,
    offset_step,
    edisp_offset,
    first,
    last_bin,
    out,
):
    """Integrate brightness x A x P(inside domain) over the true sky, for a range of true-energy bins.

    out[j, e] += sum_q s_j(o_q) brightness[q] A_e(o_q) P(q, e), in cm2 TeV, where s_j are the weights of the
    linear interpolation between the offsets of the dispersion: probabilities of energy bins multiply afterwards. (x, y)
    are plane coordinates of the nodes; ``mask[iy, ix, r]`` are cubic B-spline coefficients of the domain blurred by the
    variance of rung r; ``rung[g, o, e]`` is the place of the variances of the PSF among the rungs.
    """
    n_g, n_o = rung.shape[0], rung.shape[1]
    n_y, n_x, n_r = mask.shape
    n_j = len(edisp_offset)
    limit = (n_o - 1) * offset_step
    wx, dx = np.empty(4, np.float32), np.empty(4, np.float32)
    wy, dy = np.empty(4, np.float32), np.empty(4, np.float32)
    inside = np.empty(n_r, np.float32)
    highest = np.zeros(last_bin)
    for g in range(n_g):
        for o in range(n_o):
            for e in range(first, last_bin):
                highest[e] = max(highest[e], rung[g, o, e])
    for q in range(len(brightness)):
        if offset[q] > limit or brightness[q] == 0:
            continue
        px, py = (x[q] - mask_origin) / mask_pixel, (y[q] - mask_origin) / mask_pixel
        kx, ky = math.floor(px), math.floor(py)
        if kx < 1 or ky < 1 or kx > n_x - 3 or ky > n_y - 3:
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
        # up to which rung everything, or nothing, of the PSF is in the domain
        n_whole, n_dark = 0, 0
        while n_whole < n_r and inside[n_whole] > 1 - 1e-6:
            n_whole += 1
        while n_dark < n_r and inside[n_dark] < 1e-7:
            n_dark += 1
        if n_dark == n_r:
            continue
        for r in range(n_r):
            inside[r] = math.log(max(inside[r], 1e-9))
        position = offset[q] / offset_step
        j, s = 0, 0.0
        if n_j > 1:
            while j < n_j - 2 and offset[q] > edisp_offset[j + 1]:
                j += 1
            s = min(max((offset[q] - edisp_offset[j]) / (edisp_offset[j + 1] - edisp_offset[j]), 0.0), 1.0)
        j1 = min(j + 1, n_j - 1)
        for e in range(first, last_bin):
            area = _linear(aeff, position, e) * brightness[q]
            if area <= 0:
                continue
            if highest[e] + 2 < n_dark:
                continue
            if highest[e] + 2 >= n_whole:
                total = 0.0
                for g in range(n_g):
                    share = _linear(weight[g], position, e)
                    if share > 0:
                        total += share * math.exp(min(_cubic(inside, _linear(rung[g], position, e)), 0.0))
                area *= total
            out[j, e] += area * (1 - s)
            out[j1, e] += area * s


@kernel(error_model="numpy")
def gather_hats(band, start, stop, per_bin, out):
    """Add bands of fine bins to the hat functions of nodes ``per_bin`` bins apart, linear in the bin number."""
    for i in range(len(start)):
        for e in range(start[i], stop[i]):
            x = (e + 0.5) / per_bin
            k = int(x)
            out[i, k] += (k + 1 - x) * band[i, e - start[i]]
            out[i, k + 1] += (x - k) * band[i, e - start[i]]


@kernel(error_model="numpy")
def band_extents(rows, negligible, multiple, start, length):
    """Where rows differ from zero; lengths are multiples of ``multiple``, or the whole row, or zero."""
    n = rows.shape[1]
    for i in range(len(rows)):
        cut = negligible * rows[i].max()
        first, last = n, 0
        for e in range(n):
            if rows[i, e] > cut:
                first, last = min(first, e), e + 1
        size = max(last - first, 0)
        size = min((size + multiple - 1) // multiple * multiple, n)
        length[i] = size
        start[i] = min(first, n - size) if size else 0


@kernel(error_model="numpy")
def gather_bands(rows, start, pointer, values):
    """Copy the bands of rows, one after the other."""
    for i in range(len(rows)):
        for b in range(pointer[i + 1] - pointer[i]):
            values[pointer[i] + b] = rows[i, start[i] + b]
