r"""Kernel of a halo: a sum of Gaussians on the sphere around one direction, convolved with the PSF.

A Gaussian is :math:`e^{-\lambda c}` with the squared chord :math:`c` and :math:`\lambda = 1/2\sigma^2`, of any width; a
PSF that is narrow against the sphere adds its variance. Everything else is as for Gaussian sources
(:mod:`pymc_gamma.folding.kernels`).
"""

import math

from pymc_gamma.compilation import kernel
from pymc_gamma.folding.kernels import DEG, FASTMATH, REACH, _angle_deg, _dispersion, _linear

__all__ = ["add_halo"]


@kernel(fastmath=FASTMATH, error_model="numpy")
def add_halo(  # type: ignore[no-untyped-def]
    vectors,
    row,
    fraction,
    start,
    stop,
    edisp,
    edisp_offset,
    axis,
    centre,
    source_variance,
    amount,
    separate,
    flux,
    aeff,
    aeff_smooth,
    variance,
    widest,
    weight,
    offset_step,
    out,
):
    """Add Gaussians of given amounts to bands: out[i, k, b], all to k = 0, or each to its own if ``separate``.

    Variances are in deg2, 0 for a point; 1e12 and more is the same everywhere.
    """
    n_g, n_o = variance.shape[0], variance.shape[1]
    last = (n_o - 1) * offset_step
    overall = 0.0
    for e in range(len(widest)):
        overall = max(overall, widest[e])
    sx, sy, sz = centre[0], centre[1], centre[2]
    ax, ay, az = sx - axis[0], sy - axis[1], sz - axis[2]
    c0 = ax * ax + ay * ay + az * az
    source_offset = _angle_deg(c0)
    source_position = min(source_offset, last) / offset_step
    for p in range(len(source_variance)):
        s2 = source_variance[p]
        if amount[p] <= 0:
            continue
        k = p if separate else 0
        for i in range(len(row)):
            dx, dy, dz = vectors[i, 0] - sx, vectors[i, 1] - sy, vectors[i, 2] - sz
            c2 = dx * dx + dy * dy + dz * dz
            r2 = c2 / (DEG * DEG)
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
                        area += f * (_linear(aeff_smooth[g], position, e) - area)
                        o = min(int(position), n_o - 2)
                        slope = (variance[g, o + 1, e] - variance[g, o, e]) / offset_step
                        outward = (0.5 * c1 + f * c2) / (DEG * math.sqrt(c0 + f * (c1 + f * c2)) + 1e-12)
                        exponent = -f * (1 - f) * outward * slope / v
                    rate = 0.5 / ((v + s2) * DEG * DEG)
                    # the integral over the sphere, which is one to rounding for all but the widest
                    sphere = 1.0 if rate > 10 else -math.expm1(-4 * rate)
                    total += (
                        _linear(weight[g], position, e)
                        * math.exp(exponent - rate * c2)
                        * rate
                        / (math.pi * sphere)
                        * area
                        * spread
                    )
                out[i, k, e - start[i]] += total * flux[e] * amount[p]
