r"""The probability that a photon is reconstructed inside the domain of selection.

A photon from :math:`\Omega` is reconstructed at :math:`\Omega'` with the density of the PSF, a sum of Gaussians. With
:math:`\chi(\Omega')` one inside the domain and zero outside, the probability under a Gaussian of variance :math:`v` is
the mask blurred by it,

.. math:: P(\Omega, v) = \int \chi(\Omega')\, \frac{e^{-|\Omega'-\Omega|^2 / 2v}}{2\pi v}\, \mathrm{d}\Omega' ,

whatever the shape of the domain: a circle, holes, the edge of the field of view. As a template, the mask is drawn on an
equal-area plane and blurred by a ladder of widths. A pixel holds the mean of the mask under a cubic B-spline, of
variance :math:`p^2/3` per axis (pixel size :math:`p`), which the ladder leaves out; means over the pixels themselves
would blur an edge by anything up to :math:`p^2/4`, depending on where it falls between them. Between the rungs,
equidistant in :math:`\ln v`, the *logarithms* of the probabilities are interpolated by cubic polynomials: far outside
they fall as :math:`e^{-d^2/2v}`. In position the interpolation is by cubic B-splines.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.raster import SPILL_MARGIN, blur
from pymc_gamma.geometry import EqualAreaPlane, RegionOfInterest
from pymc_gamma.geometry.cover import lattice

__all__ = ["Containment", "DomainMask", "containment"]

PIXEL = 0.02
"""Largest pixel of a mask in degrees."""
PIXELS_PER_RADIUS = 25
MAX_PIXELS = 800
PARTS = 4
"""Parts along each side of a pixel in which the domain is measured."""
RUNG_RATIO = 1.35
"""Ratio of the variances of neighbouring rungs, at most."""


@dataclass(frozen=True, eq=False)
class DomainMask:
    """A domain, drawn on an equal-area plane.

    Attributes
    ----------
    plane : EqualAreaPlane
        Where the pixels lie.
    pixel : float
        Pixel size in deg.
    share : numpy.ndarray
        Share of the domain around the centre of each pixel, weighted with a cubic B-spline, shape (n, n), rows along y;
        beyond it the domain is empty.
    """

    plane: EqualAreaPlane
    pixel: float
    share: FloatArray

    @classmethod
    def draw(
        cls, roi: RegionOfInterest, contains: Callable[[FloatArray], NDArray[np.bool_]], margin: float
    ) -> "DomainMask":
        """Mask of a domain given by which unit vectors (n, 3) it contains, with a margin around it in degrees."""
        half = roi.radius * 1.01 + margin
        pixel = max(min(PIXEL, roi.radius / PIXELS_PER_RADIUS), 2 * half / MAX_PIXELS)
        n = math.ceil(2 * half / pixel)
        centre = (np.arange(n) - 0.5 * (n - 1)) * pixel
        corner = np.append(centre - pixel / 2, centre[-1] + pixel / 2)
        plane = roi.plane

        def look(x: FloatArray, y: FloatArray) -> NDArray[np.bool_]:
            inside = np.zeros(x.shape, bool)
            near = x**2 + y**2 <= (1.01 * roi.radius) ** 2  # nothing of the region is further from its centre
            inside[near] = contains(plane.unproject(x[near], y[near]))
            return inside

        corners = look(*np.meshgrid(corner, corner))
        seen = [corners[:-1, :-1], corners[1:, :-1], corners[:-1, 1:], corners[1:, 1:]]
        whole = np.all(seen, axis=0)
        rows, columns = np.nonzero(np.any(seen, axis=0) & ~whole)
        parts = np.repeat(np.repeat(whole, PARTS, axis=0), PARTS, axis=1).astype(np.float32)
        if len(rows):
            u, w = lattice()
            inside = look(
                centre[columns][:, None] + (u - 0.5) * pixel, centre[rows][:, None] + (w - 0.5) * pixel
            ).astype(np.float32)
            of_part = (w * PARTS).astype(int) * PARTS + (u * PARTS).astype(int)
            measure = (of_part[:, None] == np.arange(PARTS**2)).astype(np.float32)
            share = (inside @ measure / measure.sum(axis=0)).reshape(-1, PARTS, PARTS)
            below, left = rows[:, None, None] * PARTS, columns[:, None, None] * PARTS
            parts[below + np.arange(PARTS)[:, None], left + np.arange(PARTS)] = share
        spline = _spline_means(n)
        return cls(plane, pixel, np.asarray(spline @ parts @ spline.T, dtype=np.float64))

    @property
    def variance(self) -> float:
        """Variance per axis in deg2 by which the mask is blurred: of the B-spline, and of the parts of a pixel."""
        return self.pixel**2 * (1 / 3 + 1 / (12 * PARTS**2))

    @property
    def origin(self) -> float:
        """Coordinate in deg of the centre of the first pixel, on both axes."""
        return -0.5 * (len(self.share) - 1) * self.pixel

    def is_whole(self, vector: FloatArray, radius: float) -> bool:
        """Whether everything within ``radius`` degrees of a direction, less than a pixel of it, is in the domain."""
        x0, y0 = (float(value) for value in self.plane.project(vector))
        centre = self.origin + np.arange(len(self.share)) * self.pixel
        if max(abs(x0), abs(y0)) + radius > centre[-1]:
            return False
        near = (centre - x0) ** 2 + (centre[:, None] - y0) ** 2 <= radius**2
        return bool(np.all(self.share[near] > 1 - 1e-5))

    def same_as(self, other: "DomainMask") -> bool:
        """Whether two masks of one region are equal."""
        return self.share.shape == other.share.shape and bool(np.array_equal(self.share, other.share))


def _spline_means(n: int) -> sparse.csr_array:
    """Matrix (n, n * PARTS) from the parts of pixels to means under a cubic B-spline around each pixel."""
    edge = (np.arange(4 * PARTS + 1) / PARTS) - 2.0
    weight = np.diff(_spline_integral(edge))
    pixel, part = np.repeat(np.arange(n), 4 * PARTS), np.tile(np.arange(4 * PARTS), n)
    # a spline reaches two pixels from the middle of its own
    column = pixel * PARTS + part - 2 * PARTS + PARTS // 2
    kept = (column >= 0) & (column < n * PARTS)
    values = np.tile(weight, n)[kept].astype(np.float32)
    return sparse.csr_array((values, (pixel[kept], column[kept])), shape=(n, n * PARTS))


def _spline_integral(x: FloatArray) -> FloatArray:
    """Integral of the cubic B-spline from -2 to x, for x in (-2, 2)."""
    r = np.abs(x)
    tail = np.where(r > 1, (2 - r) ** 4 / 24, 0.5 - 2 * r / 3 + r**3 / 3 - r**4 / 8)
    return np.where(x < 0, tail, 1 - tail)


class Containment:
    """Probabilities to be reconstructed inside a domain, for PSFs whose variances lie in a range.

    Parameters
    ----------
    mask : DomainMask
        The domain.
    variance_range : tuple of float
        Smallest and largest variance of the Gaussians of the PSF in deg2.

    Attributes
    ----------
    coefficients : numpy.ndarray
        B-spline coefficients, shape (n, n, rungs), float32.
    log_variance : tuple of float
        Natural logarithm of the variance of the first rung, and the step to the next.
    """

    def __init__(self, mask: DomainMask, variance_range: tuple[float, float]) -> None:
        self.mask = mask
        low, high = (math.log(one) for one in variance_range)
        steps = max(math.ceil((high - low) / math.log(RUNG_RATIO)), 1)
        step = max(high - low, 1e-3) / steps
        # a rung more at each end: the cubic needs two on either side
        rungs = low + step * np.arange(-1, steps + 2)
        self.log_variance = (float(rungs[0]), step)
        variance = np.exp(rungs)
        reach = max(SPILL_MARGIN, 5 * math.sqrt(variance[-2]))
        self.coefficients = blur(mask.share, mask.pixel, np.maximum(variance - mask.variance, 0), reach)

    def positions(self, variance: FloatArray) -> FloatArray:
        """Places of variances in deg2 on the ladder, in units of its rungs."""
        first, step = self.log_variance
        return np.asarray((np.log(np.maximum(variance, np.finfo(float).tiny)) - first) / step)


@lru_cache(maxsize=4)
def containment(mask: DomainMask, variance_range: tuple[float, float]) -> Containment:
    """The last few containments, of which observations with one domain share one; they are large."""
    return Containment(mask, variance_range)
