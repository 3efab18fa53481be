r"""Templates on a grid, and the sigma ladder that convolves them.

The convolution of a template with the PSF depends on energy and offset through one number, the variance of
the PSF. So the template is convolved once with a ladder of Gaussian widths, independent of energy and pointing,

.. math:: \hat v_j(k) = \hat S(k)\, e^{-\sigma_j^2 k^2/2},

and interpolated per event: cubic B-spline in position (its prefilter is a division in Fourier space; Unser 1999,
IEEE SPM 16(6), 22) and cubic in :math:`\log\sigma^2` through the four nearest rungs. The brightness of a point goes
with :math:`\sigma^{-2}`, an exponential in :math:`\log\sigma^2`: for rungs a factor of 2 apart in :math:`\sigma^2` a
cubic is right to 5e-3 there, while linear interpolation in :math:`\sigma^2` is 6 % too high.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.geometry import EqualAreaPlane, RegionOfInterest, unit_vectors
from pymc_gamma.threads import run_parallel

if TYPE_CHECKING:
    from pymc_gamma.sky.component import Cells, TemplateShape

__all__ = ["Ladder", "Raster", "blur", "rasterise", "spill_margin"]

SPILL_MARGIN = 0.8
"""Degrees beyond the region from which events still spill in, at least; more where the PSF is wider."""
RUNGS = 14
SUPERSAMPLING = 3
MAX_PIXELS = 1024
POINTS_PER_PIXEL = 2
"""Points of a map along the side of a pixel of the raster, at least."""
PIXELS_PER_FEATURE, PIXELS_PER_EDGE = 2.5, 4


WIDEST_MARGIN = 4.0
"""Degrees beyond which the tails of no PSF are followed."""


def spill_margin(widest: float) -> float:
    """Degrees beyond a region from which events still spill in, for the largest width of the PSF in deg."""
    return min(max(SPILL_MARGIN, 5 * widest), WIDEST_MARGIN)


@dataclass(frozen=True)
class Raster:
    """Brightness on a square grid of an equal-area plane.

    Attributes
    ----------
    plane : EqualAreaPlane
        Where the grid lies.
    pixel : float
        Pixel size in deg.
    values : numpy.ndarray
        Mean brightness of each pixel in sr-1, shape (n, n), rows along y.
    """

    plane: EqualAreaPlane
    pixel: float
    values: FloatArray

    @property
    def origin(self) -> float:
        """Coordinate in deg of the centre of the first pixel, on both axes."""
        return -0.5 * (len(self.values) - 1) * self.pixel

    @property
    def pixel_sr(self) -> float:
        """Solid angle of a pixel in sr."""
        return math.radians(self.pixel) ** 2

    def nodes(self) -> tuple[FloatArray, FloatArray]:
        """Unit vectors (n, 3) of the pixels that are not dark, and brightness times solid angle (n,)."""
        rows, columns = np.nonzero(self.values)
        x, y = self.origin + columns * self.pixel, self.origin + rows * self.pixel
        return self.plane.unproject(x, y), self.values[rows, columns] * self.pixel_sr


class Ladder:
    """B-spline coefficients of a raster convolved with a ladder of Gaussian widths.

    Parameters
    ----------
    raster : Raster
        What to convolve.
    variance_range : tuple of float
        Smallest and largest variance of the PSF in deg2.
    rungs : int
        Number of widths.
    """

    def __init__(self, raster: Raster, variance_range: tuple[float, float], rungs: int = RUNGS) -> None:
        low, high = variance_range
        self.variance = np.geomspace(low, max(high, 1.001 * low), rungs)
        reach = max(SPILL_MARGIN, 5 * math.sqrt(high))
        self.coefficients = blur(raster.values, raster.pixel, self.variance, reach)

    def positions(self, variance: FloatArray) -> FloatArray:
        """Variances in units of rungs, counted from the first; any shape."""
        return np.asarray(np.clip(np.log(variance / self.variance[0]) / self.step, 0, len(self.variance) - 1))

    @property
    def step(self) -> float:
        """Difference of the logarithm of the variance from one rung to the next."""
        return math.log(self.variance[-1] / self.variance[0]) / (len(self.variance) - 1)

    def widened(self, raster: Raster, factors: tuple[float, float]) -> "Ladder":
        """One with as many rungs to a decade, for variances from a smallest to a largest factor times these."""
        low, high = self.variance[0] * factors[0], self.variance[-1] * factors[1]
        return Ladder(raster, (low, high), math.ceil(math.log(high / low) / self.step - 1e-9) + 1)


def blur(values: FloatArray, pixel: float, variance: FloatArray, reach: float) -> NDArray[np.float32]:
    """Cubic B-spline coefficients of an image convolved with round Gaussians.

    Parameters
    ----------
    values : numpy.ndarray
        Image, shape (n, n).
    pixel : float
        Pixel size in deg.
    variance : numpy.ndarray
        Variances of the Gaussians in deg2, shape (m,).
    reach : float
        Degrees beyond the image over which it is zero.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, n, m).
    """
    n = len(values)
    padded = scipy.fft.next_fast_len(n + math.ceil(reach / pixel), real=True)
    kx = 2 * np.pi * scipy.fft.rfftfreq(padded)
    ky = 2 * np.pi * scipy.fft.fftfreq(padded)[:, None]
    k2 = ((kx**2 + ky**2) / pixel**2).astype(np.float32)
    prefilter = ((2 + np.cos(kx)) * (2 + np.cos(ky)) / 9).astype(np.float32)
    spectrum = scipy.fft.rfft2(values.astype(np.float32), (padded, padded)) / prefilter
    coefficients = np.empty((n, n, len(variance)), np.float32)

    def one(j: int) -> None:
        smooth = spectrum * np.exp(np.float32(-0.5 * variance[j]) * k2)
        coefficients[..., j] = scipy.fft.irfft2(smooth, (padded, padded))[:n, :n]

    run_parallel(one, range(len(variance)))
    return coefficients


def rasterise(shape: "TemplateShape", roi: RegionOfInterest, pixel: float, margin: float, name: str) -> Raster:
    """Draw a template on an equal-area grid that reaches beyond the region, or holds the source.

    Parameters
    ----------
    shape : TemplateShape
        Brightness as a function of direction.
    roi : RegionOfInterest
        Region of interest.
    pixel : float
        Largest pixel size in deg; finer where the template has finer features.
    margin : float
        Degrees beyond the region, or the source, within which photons are blurred.
    name : str
        Of the part, for messages.

    Returns
    -------
    Raster

    Raises
    ------
    SkyModelError
        If the brightness is negative or not finite, or zero everywhere in and around the region.
    """
    reach = max(roi.half_extent) * 1.01 + margin
    whole = shape.radius + margin < reach
    plane = EqualAreaPlane(shape.lon, shape.lat) if whole else roi.plane
    half = shape.radius + margin if whole else reach
    # a map that fills the field is smooth between its own pixels; a source of its own may have sharp edges
    finest = shape.feature / (PIXELS_PER_EDGE if whole else PIXELS_PER_FEATURE)
    size = min(pixel, max(finest, 2 * half / MAX_PIXELS))
    n = math.ceil(2 * half / size)
    if shape.cells is not None:
        values = _from_cells(shape.cells, plane, n, size)
        if not np.any(values > 0):
            raise SkyModelError(f"{name}: brightness is zero in and around the region of interest.")
        return Raster(plane, size, values)
    values = np.zeros((n, n))
    samples = SUPERSAMPLING if whole else 1
    centre = (np.arange(n) - 0.5 * (n - 1)) * size
    shifts = ((np.arange(samples) + 0.5) / samples - 0.5) * size
    for dy in shifts:
        for dx in shifts:
            x, y = np.meshgrid(centre + dx, centre + dy)
            values += shape.brightness(*plane.to_sky(x, y))
    values /= samples**2
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        bad = int((~(values >= 0)).sum())
        raise SkyModelError(f"{name}: brightness is negative or not finite in {bad} of {values.size} pixels.")
    if not np.any(values > 0):
        raise SkyModelError(f"{name}: brightness is zero in and around the region of interest.")
    raster = Raster(plane, size, values)
    if whole and shape.unit_integral:
        values /= values.sum() * raster.pixel_sr
    return raster


def _from_cells(cells: "Cells", plane: EqualAreaPlane, n: int, size: float) -> FloatArray:
    """Brightness (n, n) of a map given as points: each shares its flux among the four nearest pixels.

    The sum of the pixels is that of the points, and their mean position is kept.
    """
    half = 0.5 * n * size
    # on this plane distances shrink outwards: arcs are longer
    reach = math.degrees(2 * math.asin(min(1.0, math.radians(math.sqrt(2) * half) / 2))) + 2 * size
    vectors, flux = cells(unit_vectors(plane.lon, plane.lat), reach, size / POINTS_PER_PIXEL)
    x, y = (q / size + 0.5 * (n - 1) for q in plane.project(vectors))
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, above = x - column, y - row
    total = np.zeros(n * n)
    for dx, share_x in ((0, 1 - right), (1, right)):
        for dy, share_y in ((0, 1 - above), (1, above)):
            i, j = column + dx, row + dy
            inside = (i >= 0) & (i < n) & (j >= 0) & (j < n)
            total += np.bincount((j * n + i)[inside], (flux * share_x * share_y)[inside], n * n)
    return total.reshape(n, n) / math.radians(size) ** 2
