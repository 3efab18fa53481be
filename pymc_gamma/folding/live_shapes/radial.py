r"""Shapes whose brightness depends on the distance alone: a table of the profile is all that they need.

Of a profile :math:`S(r)` of unit integral and radius 1 the table holds the convolution with a Gaussian,

.. math:: P(d) = \int_0^1 S(r)\, e^{-(d - r)^2/2v}\, \tilde I_0(d r / v)\, \frac{r}{v}\,\mathrm{d}r , \qquad
    \tilde I_0(x) = e^{-x} I_0(x) ,

with :math:`y = \sqrt{1 - r^2}` as the variable, in which profiles like :math:`\sqrt{1 - r^2}` have no edge; see
:mod:`pymc_gamma.folding.live_radial_kernels` for its coordinates.
"""

import math
from abc import abstractmethod
from functools import cached_property, lru_cache

import numpy as np
from scipy.ndimage import spline_filter1d
from scipy.special import i0e, j0

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding import live_radial_kernels
from pymc_gamma.folding.live_radial_kernels import HEADER, STRETCH, log_profiles
from pymc_gamma.folding.live_shapes.base import Family
from pymc_gamma.threads import run_parallel

__all__ = ["NARROWEST", "RadialFamily"]

NARROWEST = 0.01
"""Smallest width of a PSF over that of the source, w / (R + w), in a table."""
FURTHEST = 60.0
"""Largest s in a table: beyond, densities are 1e-17 of those at the centre."""
T_NODES, L_NODES = 240, 96
PADDING = 12
"""Nodes on either side that are there for the spline alone."""
QUADRATURE = 160
WIDTHS = 11.0
"""Widths of the PSF from which photons come to a point."""
CONTINUED, CANCELLED = 15.0, 0.1
"""Exponent -z / 2v, and what the positive and negative parts of an integral leave of it, up to which profiles are
continued to negative squared distances z."""


class RadialFamily(Family):
    """Parameters: variance of the brightness along an axis in deg2, then radius in deg and amplitude of each term."""

    density = staticmethod(live_radial_kernels.radial_density)
    counts = staticmethod(live_radial_kernels.radial_counts)
    n_sizes = 20

    @abstractmethod
    def brightness(self, y: FloatArray) -> FloatArray:
        r"""Profile S of radius 1 and unit integral over the plane, at :math:`y = \sqrt{1 - r^2}`."""

    @cached_property
    def profile(self) -> FloatArray:  # type: ignore[override]
        """The table: a header, and coefficients (T, L)."""
        return _table(self)

    def seen(
        self, own: FloatArray, across: FloatArray, along: FloatArray, variance: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See :class:`Family`."""
        log_density, mean = np.empty((2, len(across), len(variance)))
        log_profiles(np.ascontiguousarray(own), across**2 + along**2, variance, self.profile, log_density, mean)
        return log_density, mean * across[:, None], mean * along[:, None]

    def turn(self, own: FloatArray) -> float:
        """See :class:`Family`."""
        return 0.0

    def widest(self, own: FloatArray, variance: float) -> float:
        """See :class:`Family`."""
        return self.extent(own) + 6.0 * math.sqrt(variance)

    def extent(self, own: FloatArray) -> float:
        """See :class:`Family`."""
        return float(own[1::2].max())


@lru_cache(maxsize=8)
def _table(family: RadialFamily) -> FloatArray:
    l_step = -math.log(NARROWEST) / (L_NODES - 1)
    log_width = math.log(NARROWEST) + l_step * (np.arange(L_NODES + 2 * PADDING) - PADDING)
    width = np.exp(log_width)
    radius = 1 - width  # in units of R + w; negative in the padding, where only its square counts
    lowest = math.asinh(-((1 - NARROWEST) ** 2) / (2 * NARROWEST) / STRETCH)
    t_step = (math.asinh(FURTHEST / STRETCH) - lowest) / (T_NODES - 1)
    t = lowest + t_step * (np.arange(T_NODES + 2 * PADDING) - PADDING)
    values = np.empty((len(t), len(width)))

    def column(k: int) -> None:
        z = radius[k] ** 2 + 2 * width[k] * STRETCH * np.sinh(t)
        values[:, k] = _log_convolved(family, z, abs(radius[k]), width[k])
        values[:, k] += math.log(2 * math.pi * (width[k] ** 2 + 0.5 * radius[k] ** 2))

    run_parallel(column, range(len(width)))
    coefficients = spline_filter1d(spline_filter1d(values, 3, axis=0), 3, axis=1)
    table = np.zeros((HEADER + len(t), len(width)))
    table[HEADER:] = coefficients
    table[0, :4] = t[0], t_step, log_width[0], l_step
    return table


def _log_convolved(family: RadialFamily, z: FloatArray, radius: float, width: float) -> FloatArray:
    """Logarithm of the convolved profile at squared distances z, ascending.

    A spline needs some negative ones: there the Bessel function of an imaginary argument is another, as far as rounding
    allows, and a polynomial goes on from there. Where it is needed, far inside a large source, profiles are smooth.
    """
    variance = width**2
    if radius < 1e-9 * width:
        return -0.5 * z / variance - math.log(2 * math.pi * variance)
    out = np.empty(len(z))
    known = z > -2 * CONTINUED * variance
    d = np.sqrt(np.abs(z[known]))
    beyond = z[known] < 0
    node, weight = np.polynomial.legendre.leggauss(QUADRATURE)
    near = np.where(beyond, 0.0, np.minimum(d, radius))
    low, high = np.maximum(near - WIDTHS * width, 0), np.minimum(near + WIDTHS * width, radius)
    bottom, top = (np.sqrt(np.maximum(1 - (r / radius) ** 2, 0)) for r in (high, low))
    y = bottom[:, None] + 0.5 * (top - bottom)[:, None] * (node + 1)
    r = radius * np.sqrt(np.maximum(1 - y**2, 0))
    argument = d[:, None] * r / variance
    # S r dr = (S of radius 1) y dy, as R^2 cancels
    exponent = np.where(beyond[:, None], d[:, None] ** 2 - r**2, -((d[:, None] - r) ** 2)) / (2 * variance)
    largest = exponent.max(axis=1, keepdims=True)
    bessel = np.where(beyond[:, None], j0(argument), i0e(argument))
    integrand = family.brightness(y) * y * np.exp(exponent - largest) * bessel
    integral, size = ((one * weight).sum(axis=1) * 0.5 * (top - bottom) for one in (integrand, np.abs(integrand)))
    positive = integral > CANCELLED * size  # it has zeros
    positive = np.append(np.logical_and.accumulate(positive[::-1])[::-1], True)[: len(positive)]
    known[np.flatnonzero(known)[~positive]] = False
    out[known] = (largest[:, 0] + np.log(np.where(positive, integral, 1.0) / variance))[positive]
    if not known.all():
        first = np.flatnonzero(known)[0]
        at = first + 2 * np.arange(5)
        middle, half = z[at[2]], z[at[4]] - z[at[2]]
        out[~known] = np.polyval(np.polyfit((z[at] - middle) / half, out[at], 4), (z[~known] - middle) / half)
    return out
