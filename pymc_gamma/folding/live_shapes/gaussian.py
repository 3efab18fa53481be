r"""Round and elongated Gaussians, and points.

.. math:: S = \frac{1}{2\pi ab}\, e^{-u^2/2a^2 - w^2/2b^2}, \qquad a = \sigma,\quad b = \sigma\sqrt{1 - e^2},

with :math:`u` along the major axis, whose position angle :math:`\varphi` counts from north to east, and :math:`w`
across it. The PSF adds its variance to both :math:`a^2` and :math:`b^2`. A point has :math:`a = b = 0`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding import live_counts_kernels, live_kernels
from pymc_gamma.folding.live_shapes.base import Family, Limits, LiveShape, is_number

__all__ = ["GaussianFamily", "GaussianShape", "PointShape"]

TAIL = 6.0
"""Widths beyond which nothing of a Gaussian is looked at."""
SHARE = 0.5
"""Share of the own variance of a reference below which differences between widths of the PSF do not matter."""
SIZE_SCALE = 0.05**2
"""Variance in deg2 above which sizes are counted by their logarithm."""
ELONGATED_MAX = 0.98
"""Largest eccentricity for which expected counts are tabulated: axes as 5 to 1."""


class GaussianFamily(Family):
    """Parameters: variances along the major and the minor axis in deg2, position angle of the major axis in rad."""

    density = staticmethod(live_kernels.gaussian_density)
    counts = staticmethod(live_counts_kernels.gaussian_counts)
    profile = np.empty((0, 0))
    n_own = 3
    n_sizes = 14

    def seen(
        self, own: FloatArray, across: FloatArray, along: FloatArray, variance: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :class:`Family`."""
        minor, major = own[1] + variance, own[0] + variance
        a, c = across[:, None], along[:, None]
        log_density = -0.5 * (a**2 / minor + c**2 / major + np.log(minor * major)) - math.log(2 * math.pi)
        return log_density, own[1] / minor * a, own[0] / major * c

    def turn(self, own: FloatArray) -> float:
        """See :class:`Family`."""
        return float(own[2])

    def widest(self, own: FloatArray, variance: float) -> float:
        """See :class:`Family`."""
        return TAIL * math.sqrt(own[0] + variance)

    def expression(self, xp: Any, own: Any, pointing: Any, event: Any, fields: Any, rung: Any) -> Any:
        """See :class:`Family`."""
        psf, major, minor, turn = own
        reference, widening, curvature, change = fields
        width, value, slope = psf * psf * rung[0], rung[1], rung[2]
        cosine, sine = xp.cos(turn), xp.sin(turn)
        (p, q), (a, c) = (
            (cosine * east - sine * north, sine * east + cosine * north) for east, north in (pointing, event)
        )
        first = widening * (p * p + q * q - reference)
        before = width * (1 + first + 0.5 * first * first)
        f, h = minor / (minor + before), major / (major + before)
        mean_a, mean_c = p + f * a, q + h * c
        moved = mean_a * mean_a + mean_c * mean_c - reference
        first = widening * moved
        after = width * (1 + first + 0.5 * first * first)
        v, w = minor + after, major + after
        exponent = -0.5 * (a * a / v + c * c / w) + change * moved
        exponent -= 2 * widening * (f * (1 - f) * a * mean_a + h * (1 - h) * c * mean_c)
        smooth = 1 + 0.5 * psf * psf * curvature * (f + h)
        return xp.exp(exponent) / (2 * math.pi * xp.sqrt(v * w)) * smooth * (value + slope * moved)

    def count_points(self, xp: Any, own: Any, north: Any, east: Any, nodes: Any) -> Any:
        """See :class:`Family`."""
        major, minor, turn = own
        node, weight = nodes
        step = node * xp.sqrt(major - minor + live_counts_kernels.TINY)
        x, y = (step * (xp.cos(turn) * n + xp.sin(turn) * e) for n, e in zip(north, east, strict=True))
        # a quadrature of one node is that of a round source
        size = minor + 0 * step if weight.type.shape[0] > 1 else 0.5 * (major + minor)
        return x, y, size, weight + 0 * step

    def blur(self, own: FloatArray) -> float:
        """See :class:`Family`; a share of the own variance, since that is free."""
        return SHARE * float(own[1])

    def extent(self, own: FloatArray) -> float:
        """See :class:`Family`."""
        return live_counts_kernels.NODE_REACH * math.sqrt(own[0])

    def transform(self, wave: FloatArray, size: float) -> FloatArray:
        """See :class:`Family`; the size is the variance in deg2."""
        return np.asarray(np.exp(-0.5 * size * wave**2))


@dataclass(frozen=True, eq=False)
class GaussianShape(LiveShape):
    """A Gaussian, as gammapy's ``GaussianSpatialModel``.

    Parameters
    ----------
    lon_0, lat_0 : float or variable
        Position in deg.
    sigma : float or variable
        Standard deviation along the major axis in deg.
    e : float or variable
        Eccentricity, 0 (round) to 1.
    phi : float or variable
        Position angle of the major axis in deg, from north to east.

    Raises
    ------
    SkyModelError
        If a number is not finite, ``sigma`` negative, or ``e`` outside 0 to 1.

    Examples
    --------
    >>> [round(value, 6) for value in GaussianShape(83.6, 22.0, sigma=0.1, e=0.6).own]
    [0.01, 0.0064, 0.0]
    """

    lon_0: Any
    lat_0: Any
    sigma: Any
    e: Any = 0.0
    phi: Any = 0.0
    family = GaussianFamily()
    extents = ("sigma",)
    model = "GaussianSpatialModel"

    def __post_init__(self) -> None:
        self.check()
        if is_number(self.sigma) and not self.sigma >= 0:
            raise self._refuse("sigma", "of at least 0 deg")
        if is_number(self.e) and not 0 <= self.e <= 1:
            raise self._refuse("e", "between 0 and 1")

    @property
    def own(self) -> tuple[Any, ...]:
        """Variances in deg2 and position angle in rad."""
        variance = self.sigma * self.sigma
        return variance, variance * ((1 - self.e) * (1 + self.e)), self.phi * (math.pi / 180)

    def limits(self) -> Limits:
        """The extension from zero to twice that of the reference, and 0.2 deg at least."""
        return {"sigma": (0.0, max(2 * self.sigma, 0.2)), "e": (0.0, ELONGATED_MAX), "phi": (-math.inf, math.inf)}

    def sizes(self, limits: Limits) -> tuple[float, float, float]:
        """Variances along the minor axis."""
        (narrow, wide), (round_, long) = limits["sigma"], limits["e"]
        return narrow**2 * (1 - long) * (1 + long), wide**2 * (1 - round_) * (1 + round_), SIZE_SCALE

    def elongated(self, limits: Limits) -> bool:
        """Whether the eccentricity may differ from zero."""
        return limits["e"][1] > 0


@dataclass(frozen=True, eq=False)
class PointShape(LiveShape):
    """A point, as gammapy's ``PointSpatialModel``.

    Parameters
    ----------
    lon_0, lat_0 : float or variable
        Position in deg.

    Raises
    ------
    SkyModelError
        If a number is not finite.
    """

    lon_0: Any
    lat_0: Any
    family = GaussianFamily()
    extents = ()
    model = "PointSpatialModel"

    def __post_init__(self) -> None:
        self.check()

    @property
    def own(self) -> tuple[Any, ...]:
        """A Gaussian without extension."""
        return 0.0, 0.0, 0.0

    def limits(self) -> Limits:
        """Nothing but a position."""
        return {}

    def sizes(self, limits: Limits) -> tuple[float, float, float]:
        """Zero."""
        return 0.0, 0.0, SIZE_SCALE
