r"""Expected counts of a source whose position and extension are left to the model.

The counts per coefficient of the spectrum are an integral over the true sky,

.. math:: C_n(\theta) = t \int S(\Omega; \theta)\, H_n(\Omega)\,\mathrm{d}\Omega , \qquad
    H_n(\Omega) = \int K_n(o)\, P_n(\mathrm{domain} \mid \Omega) ,

of its brightness and the acceptance of a point: effective area, probability to be reconstructed in the range of
energies, and in the domain on the sky. :math:`H` is drawn on a plane around the reference, as a few images
(:math:`H_n \approx \sum_k h_k B_{kn}`, a singular-value decomposition). These are convolved with the shape in Fourier
space, where shapes are closed forms, for some sizes: a Chebyshev interpolant in the size. So

.. math:: C_n(\theta) = \sum_k B_{kn}\, (S_\theta * h_k)(x_\theta)

is a cubic B-spline in position. Nothing is sampled with the source, however it straddles an edge.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.containment import containment
from pymc_gamma.folding.live import Level, LiveSource
from pymc_gamma.folding.live_counts_kernels import NODE_REACH, NODE_STEP, CountArrays, acceptance_map
from pymc_gamma.folding.live_shapes import LiveShape
from pymc_gamma.folding.raster import spill_margin
from pymc_gamma.geometry import separation_deg
from pymc_gamma.threads import run_parallel

__all__ = ["LiveCounts", "live_counts"]

PIXEL_RANGE = (0.012, 0.05)
"""Pixel in deg, as the narrowest PSF needs it at an edge of the domain, and where there is none."""
PIXELS = 0.7
"""Pixel over the width of the narrowest Gaussian of the PSF."""
MAX_PIXELS, MAX_KEPT = 512, 50
"""Pixels of the plane, and of half the images that are kept, at most."""
SPLINE_MARGIN = 12
"""Pixels around an image within which its end makes itself felt in the coefficients of a spline."""
RANK_ERROR = 2e-5
"""Share of the counts that the images leave out."""
MINOR = 1e-3
"""Share of the counts below which a coefficient need not be as accurate."""
EDGE_WIDTHS = 6.0
"""Widths of the PSF within which an edge matters."""


@dataclass(frozen=True, eq=False)
class LiveCounts:
    """Expected counts of a source of free shape.

    Attributes
    ----------
    arrays : CountArrays
        What the kernels read.
    source : LiveSource
        What they were made for.
    """

    arrays: CountArrays
    source: LiveSource

    def per_coefficient(self, shape: LiveShape, psf_scale: float = 1.0) -> FloatArray:
        """Expected counts per unit coefficient, shape (n_observations, n), for a shape of numbers."""
        shape.check_family(self.source.shape)
        theta = np.tile(np.array(shape.theta(psf_scale), float), (len(self.arrays.images), 1))
        out = np.empty((len(theta), theta.shape[1] + 1, self.source.n_coefficients))
        shape.family.counts(theta, self.arrays, out)
        return out[:, 0].copy()


def live_counts(source: LiveSource) -> LiveCounts:
    """Tabulate the expected counts of a source around its reference."""
    largest = np.array(source.largest.own, float)
    family = source.shape.family
    extent = family.extent(largest)
    elongated = source.shape.elongated(source.limits)
    stretch = extent if elongated else 0.0
    needed = source.reach + stretch
    low, high, scale = source.shape.sizes(source.limits)
    n_sizes = family.n_sizes if high > low else 1
    whole = all(
        one.mask.is_whole(source.basis[0], needed + extent + _edge(source, o)) for o, one in enumerate(source.folded)
    )
    pixel = PIXEL_RANGE[1] if whole else min(max(PIXELS * _sharpest(source), PIXEL_RANGE[0]), PIXEL_RANGE[1])
    # photons come from no further than this; a period of the plane is long enough for no source to meet them twice
    half = min(needed + extent, max(_seen_radius(source, o) for o in range(len(source.folded))))
    period = needed + extent + half + 8 * pixel
    pixel = max(pixel, period / MAX_PIXELS)
    n = scipy.fft.next_fast_len(math.ceil(period / pixel), real=True)
    # what has been convolved is smooth: every so many pixels are enough
    coarser = max(math.ceil(needed / (MAX_KEPT * pixel)), 1)
    crop = math.ceil(needed / (coarser * pixel)) + 3
    n = max(n, scipy.fft.next_fast_len(2 * coarser * (crop + SPLINE_MARGIN) + 2, real=True))
    middle = n // 2
    more = crop + SPLINE_MARGIN
    kept = middle + coarser * np.arange(-more, more + 1)
    inner = slice(more - crop, more + crop + 1)
    x = np.cos((np.arange(n_sizes) + 0.5) * math.pi / n_sizes)
    if scale > 0:
        values = (scale + low) * np.exp(0.5 * (x + 1) * math.log((scale + high) / (scale + low))) - scale
    else:
        values = low + 0.5 * (x + 1) * (high - low)
    kx, ky = 2 * np.pi * scipy.fft.rfftfreq(n), 2 * np.pi * scipy.fft.fftfreq(n)[:, None]
    wave = np.sqrt(kx**2 + ky**2) / pixel
    filters = [family.transform(wave, float(size)) for size in values]
    to_coefficients = np.linalg.inv(chebyshev.chebvander(x, n_sizes - 1))

    def one_observation(o: int) -> tuple[FloatArray, FloatArray]:
        maps, basis = _images(source, o, n, pixel, half)
        images = np.empty((2 * crop + 1, 2 * crop + 1, n_sizes, len(maps)))
        for k, image in enumerate(maps):
            spectrum = scipy.fft.rfft2(image)
            for m, filtered in enumerate(filters):
                image = scipy.fft.irfft2(spectrum * filtered, (n, n))[np.ix_(kept, kept)]
                images[:, :, m, k] = spline_filter(image, 3)[inner, inner]
        smaller, smaller_basis = _compressed(images.reshape(-1, len(maps)), basis, source.nominal)
        images = smaller.reshape(*images.shape[:3], -1)
        return np.einsum("ms,yxsk->yxmk", to_coefficients, images), smaller_basis

    found = run_parallel(one_observation, range(len(source.folded)))
    rank = max(basis.shape[0] for _, basis in found)
    images = np.zeros((len(found), 2 * crop + 1, 2 * crop + 1, n_sizes, rank), np.float32)
    basis = np.zeros((len(found), rank, 2, source.n_coefficients))
    for o, (image, own_basis) in enumerate(found):
        images[o, ..., : image.shape[-1]] = image
        basis[o, : len(own_basis)] = own_basis
    xi = np.arange(-NODE_REACH, NODE_REACH + 1e-9, NODE_STEP) if elongated else np.zeros(1)
    weight = np.exp(-0.5 * xi**2)
    arrays = CountArrays(
        images,
        basis,
        np.ascontiguousarray(source.basis),
        coarser * pixel * np.array([-crop, 1.0]),
        np.array([low, high, scale], float),
        np.stack([xi, weight / weight.sum()]),
    )
    return LiveCounts(arrays, source)


def _edge(source: LiveSource, o: int) -> float:
    """How far in deg from an edge of the domain it matters."""
    tables = source.levels(o)[0].tables
    return EDGE_WIDTHS * math.sqrt(float(tables.variance[tables.weight > 1e-3].max()))


def _seen_radius(source: LiveSource, o: int) -> float:
    """How far in deg from the reference photons come from that are seen in the domain."""
    one = source.folded[o]
    reach = spill_margin(math.sqrt(source.levels(o)[0].tables.variance_range[1]))
    return float(separation_deg(source.basis[0], one.roi.basis[0])) + one.roi.radius * 1.01 + reach


def _sharpest(source: LiveSource) -> float:
    """Width in deg of the narrowest Gaussian of the PSF."""
    return math.sqrt(min(float(source.levels(o)[0].tables.variance.min()) for o in range(len(source.folded))))


def _images(source: LiveSource, o: int, n: int, pixel: float, half: float) -> tuple[FloatArray, FloatArray]:
    """Images of the acceptance of an observation, (K, n, n), and what each counts, (K, 2, n_coefficients)."""
    one = source.folded[o]
    coordinate = (np.arange(n) - n // 2) * math.radians(pixel)
    u, w = np.meshgrid(coordinate, coordinate)
    arc = np.hypot(u, w)
    local = np.stack([np.cos(arc), np.sinc(arc / np.pi) * u, np.sinc(arc / np.pi) * w], axis=-1).reshape(-1, 3)
    vectors = local @ source.basis
    offset = separation_deg(vectors, one.axis)
    inside = containment(one.mask, source.levels(o)[0].tables.variance_range)
    x, y = one.mask.plane.project(vectors)
    rate, variance, weight = _by_coefficient(source, o)
    tables = source.levels(o)[0].tables
    n_parts = rate.shape[1]
    # rows beyond what is seen are zero and stay out
    seen = np.flatnonzero(
        (offset <= (len(rate) - 1) * tables.offset_step) & (np.degrees(arc.ravel()) <= math.sqrt(2) * half)
    )
    counts = np.zeros((len(seen), 2, n_parts))
    chunks = np.array_split(np.arange(len(seen)), max(len(seen) // 4096, 1))

    def one_chunk(rows: NDArray[np.int64]) -> None:
        mine = seen[rows]
        out = np.empty((len(rows), 2, n_parts))
        acceptance_map(
            np.ascontiguousarray(x[mine]),
            np.ascontiguousarray(y[mine]),
            offset[mine],
            inside.coefficients,
            one.mask.origin,
            one.mask.pixel,
            inside.positions(variance),
            inside.log_variance[1],
            weight,
            rate,
            tables.offset_step,
            out,
        )
        counts[rows] = out

    run_parallel(one_chunk, chunks)
    counts *= one.observation.livetime_s
    if not source.free_spectrum:
        counts = counts.sum(axis=2, keepdims=True)
    n_coefficients = counts.shape[2]
    images, basis = _compressed(
        counts.reshape(len(seen), -1), np.eye(counts[0].size).reshape(-1, 2, n_coefficients), source.nominal
    )
    maps = np.zeros((images.shape[1], n * n))
    maps[:, seen] = images.T
    return maps.reshape(-1, n, n), basis


def _compressed(images: FloatArray, basis: FloatArray, nominal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """As few images as hold the counts: from images (n, K) and what each counts (K, 2, n_coefficients)."""
    flat = basis.reshape(len(basis), -1)
    gram = images.T @ images
    square = np.maximum(np.einsum("kc,kl,lc->c", flat, gram, flat), 0)[: len(nominal)]
    size = np.sqrt(square)
    share = size * nominal / max(float((size * nominal).sum()), 1e-300)
    # what is left out is relative to the counts of each coefficient, unless it has few
    scale = np.tile(np.where(size > 0, size, 1.0) * np.maximum(MINOR / np.maximum(share, 1e-300), 1.0), 2)
    scaled = flat / scale
    values, vectors = np.linalg.eigh(scaled.T @ gram @ scaled)
    values, vectors = values[::-1], vectors[:, ::-1]
    left = np.sqrt(np.maximum(np.cumsum(values[::-1])[::-1], 0) / max(values.sum(), 1e-300))
    rank = max(int((left > RANK_ERROR).sum()), 1)
    return images @ (scaled @ vectors[:, :rank]), (vectors[:, :rank] * scale[:, None]).T.reshape(rank, 2, -1)


def _by_coefficient(source: LiveSource, o: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rate of a point in cm2 TeV by offset and coefficient, (n_o, n), variances and weights of the PSF, (n_g, n_o, n).

    A fixed spectrum is kept apart by bins, whose widths differ.
    """
    levels = source.levels(o)
    energy_range = np.array(source.folded[o].domain.energy_range)
    rate: FloatArray = np.zeros(0)
    fine = levels[0].tables
    for level in levels:
        mine = _hats(level, _seen(level, energy_range))
        rate = level.factor * mine if rate.size == 0 else rate + level.factor * mine
    share = _seen(levels[0], energy_range)
    total = _hats(levels[0], share)
    safe = np.where(total > 0, total, 1.0)
    plain = _hats(levels[0], np.ones_like(share))
    variance, weight = np.empty((2, len(fine.variance), *rate.shape))
    for g in range(len(fine.variance)):
        for out, table in ((variance, np.log(fine.variance[g])), (weight, fine.weight[g])):
            out[g] = np.where(total > 0, _hats(levels[0], share * table) / safe, _hats(levels[0], table) / plain)
    return np.ascontiguousarray(np.maximum(rate, 0)), np.exp(variance), np.ascontiguousarray(weight)


def _seen(level: Level, energy_range: FloatArray) -> FloatArray:
    """Effective area times probability to be reconstructed at the energies kept, of a unit coefficient, (n_o, n_e)."""
    tables = level.tables
    inside = tables.migration(energy_range)[:, 0]
    offset = np.arange(len(tables.aeff)) * tables.offset_step
    position = np.interp(offset, tables.edisp_offset, np.arange(len(tables.edisp_offset)))
    below = np.minimum(position.astype(np.int64), max(len(tables.edisp_offset) - 2, 0))
    above = np.minimum(below + 1, len(tables.edisp_offset) - 1)
    part = (position - below)[:, None]
    return np.asarray(tables.aeff * (inside[below] * (1 - part) + inside[above] * part) * level.flux)


def _hats(level: Level, values: FloatArray) -> FloatArray:
    """Values in the bins (n_o, n_e) gathered into the coefficients; into themselves for a fixed spectrum."""
    if level.per_bin == 0:
        return values
    n = values.shape[1]
    position = (np.arange(n) + 0.5) / level.per_bin
    node = position.astype(np.int64)
    out = np.zeros((n // level.per_bin + 1, len(values)))
    np.add.at(out, node, (values * (node + 1 - position)).T)
    np.add.at(out, node + 1, (values * (position - node)).T)
    return out.T
