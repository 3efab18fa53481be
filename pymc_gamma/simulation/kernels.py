r"""Compiled kernels of the simulator.

The interpolated response is sampled exactly, as the mixture that an interpolation is: an IRF linear between nodes
with weights
:math:`1-t, t` is drawn by picking one of the nodes with these probabilities. Linear interpolation *inside* a
histogram is the convolution with a triangle, hence the sum of two uniform numbers.
"""

import math

import numpy as np

from pymc_gamma.compilation import kernel
from pymc_gamma.search_kernels import count_below, interval

__all__ = ["draw_index", "draw_indices", "guide_table", "reconstruct", "sample_true"]

DEG = math.pi / 180

POINT, GAUSSIAN, TEMPLATE = 0, 1, 2


@kernel
def guide_table(cdf, size):
    """Start of the search in a cumulative distribution for each of ``size`` equal intervals of (0, 1)."""
    guide = np.empty(size, np.int64)
    k = 0
    for i in range(size):
        while k < len(cdf) - 1 and cdf[k] <= i / size:
            k += 1
        guide[i] = k
    return guide


@kernel
def draw_index(cdf, guide, u):
    """Index k with cdf[k-1] <= u < cdf[k]; constant time with a guide table (Chen and Asau 1974)."""
    k = guide[min(int(u * len(guide)), len(guide) - 1)]
    while k < len(cdf) - 1 and cdf[k] <= u:
        k += 1
    return k


@kernel
def draw_indices(cdf, guide, u):
    """:func:`draw_index` for an array of uniform numbers."""
    out = np.empty(len(u), np.int64)
    for i in range(len(u)):
        out[i] = draw_index(cdf, guide, u[i])
    return out


@kernel(inline="always")
def _tangent(v, e1, e2):
    """Two unit vectors orthogonal to v and to each other (Duff et al. 2017, JCGT 6(1), 1)."""
    sign = 1.0 if v[2] >= 0 else -1.0
    a = -1.0 / (sign + v[2])
    b = v[0] * v[1] * a
    e1[0], e1[1], e1[2] = 1.0 + sign * v[0] * v[0] * a, sign * b, -sign * v[0]
    e2[0], e2[1], e2[2] = b, sign + v[1] * v[1] * a, -v[1]


@kernel(inline="always")
def _deflect(v, angle, azimuth, e1, e2, out):
    """Direction at an angle (rad) and azimuth (rad) from v."""
    _tangent(v, e1, e2)
    c, s = math.cos(angle), math.sin(angle)
    x, y = s * math.cos(azimuth), s * math.sin(azimuth)
    for k in range(3):
        out[k] = c * v[k] + x * e1[k] + y * e2[k]


@kernel(error_model="numpy")
def sample_true(
    rng,
    log_nodes,
    pdf,
    cdf,
    energy_guide,
    area,
    area_max,
    offset_step,
    axis,
    kind,
    centre,
    major_axis,
    sigma,
    minor_sigma,
    pixel_index,
    pixel_cdf,
    pixel_guide,
    plane_basis,
    row_length,
    origin,
    pixel,
    log_energy,
    vectors,
):
    """Fill with photons that pass the effective area: natural logarithm of the true energy (TeV) and true direction.

    Energies are proposed from ``pdf`` (piecewise linear in log E, proportional to flux x E x ``area_max``),
    directions from the brightness, and kept with probability ``area(E, offset) / area_max(E)``. Returns the number
    of proposals.
    """
    n = len(log_energy)
    step = log_nodes[1] - log_nodes[0]
    n_o = area.shape[1]
    v = centre.copy()
    minor_axis = np.cross(centre, major_axis)
    done, tried = 0, 0
    while done < n:
        tried += 1
        k = draw_index(cdf, energy_guide, rng.random())
        a, b, u = pdf[k], pdf[k + 1], rng.random()
        # inverse of the integral of a line from a to b over the segment
        t = u * (a + b) / (a + math.sqrt(a * a + u * (b * b - a * a)))
        if kind == GAUSSIAN:
            radius = DEG * math.sqrt(-2 * math.log(1 - rng.random()))
            azimuth = 2 * math.pi * rng.random()
            along, across = sigma * radius * math.cos(azimuth), minor_sigma * radius * math.sin(azimuth)
            arc = math.sqrt(along * along + across * across)
            slope = math.sin(min(arc, math.pi)) / arc if arc > 0 else 1.0
            for q in range(3):
                v[q] = math.cos(min(arc, math.pi)) * centre[q] + slope * (
                    along * major_axis[q] + across * minor_axis[q]
                )
        elif kind == TEMPLATE:
            flat = pixel_index[draw_index(pixel_cdf, pixel_guide, rng.random())]
            x = (origin + pixel * (flat % row_length + rng.random() + rng.random() - 1)) * DEG
            y = (origin + pixel * (flat // row_length + rng.random() + rng.random() - 1)) * DEG
            r2 = x * x + y * y
            f = math.sqrt(max(1 - r2 / 4, 0.0))
            for q in range(3):
                v[q] = (1 - r2 / 2) * plane_basis[0, q] + f * (x * plane_basis[1, q] + y * plane_basis[2, q])
        chord = math.sqrt((v[0] - axis[0]) ** 2 + (v[1] - axis[1]) ** 2 + (v[2] - axis[2]) ** 2)
        position = 2 * math.asin(min(1.0, 0.5 * chord)) / DEG / offset_step
        if position > n_o - 1:
            continue
        j = min(int(position), n_o - 2)
        s = position - j
        low = area[k, j] * (1 - s) + area[k, j + 1] * s
        high = area[k + 1, j] * (1 - s) + area[k + 1, j + 1] * s
        if rng.random() * (area_max[k] * (1 - t) + area_max[k + 1] * t) >= low * (1 - t) + high * t:
            continue
        log_energy[done] = log_nodes[k] + t * step
        vectors[done, 0], vectors[done, 1], vectors[done, 2] = v[0], v[1], v[2]
        done += 1
    return tried


@kernel(error_model="numpy")
def reconstruct(
    rng,
    log_energy,
    vectors,
    axis,
    edisp_log_energy,
    edisp_offset,
    edisp_cdf,
    migra0,
    migra_step,
    psf_log_energy,
    psf_offset,
    psf_sigma,
    psf_weight,
    energy,
    directions,
):
    """Draw the reconstructed energy (TeV) and direction of each photon."""
    n_g = len(psf_sigma)
    n_m = edisp_cdf.shape[2]
    e1, e2, out = np.empty(3), np.empty(3), np.empty(3)
    for i in range(len(log_energy)):
        v = vectors[i]
        chord = math.sqrt((v[0] - axis[0]) ** 2 + (v[1] - axis[1]) ** 2 + (v[2] - axis[2]) ** 2)
        offset = 2 * math.asin(min(1.0, 0.5 * chord)) / DEG
        k, t = interval(edisp_log_energy, log_energy[i])
        j, s = interval(edisp_offset, offset)
        if rng.random() < t:
            k += 1
        if rng.random() < s:
            j += 1
        m = min(count_below(edisp_cdf[k, j], rng.random(), n_m), n_m - 1)
        migra = migra0 + migra_step * (m + rng.random() + rng.random() - 1)
        energy[i] = math.exp(log_energy[i]) * max(migra, 0.0)
        k, t = interval(psf_log_energy, log_energy[i])
        j, s = interval(psf_offset, offset)
        k1, j1 = min(k + 1, len(psf_log_energy) - 1), min(j + 1, len(psf_offset) - 1)
        g = 0
        if n_g > 1:
            u = rng.random()
            for h in range(n_g):
                w = psf_weight[h]
                u -= (w[k, j] * (1 - t) + w[k1, j] * t) * (1 - s) + (w[k, j1] * (1 - t) + w[k1, j1] * t) * s
                g = h
                if u < 0:
                    break
        w = psf_sigma[g]
        sigma = (w[k, j] * (1 - t) + w[k1, j] * t) * (1 - s) + (w[k, j1] * (1 - t) + w[k1, j1] * t) * s
        radius = sigma * DEG * math.sqrt(-2 * math.log(1 - rng.random()))
        _deflect(v, min(radius, math.pi), 2 * math.pi * rng.random(), e1, e2, out)
        directions[i, 0], directions[i, 1], directions[i, 2] = out[0], out[1], out[2]
