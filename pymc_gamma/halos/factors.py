r"""J and D factors: integrals of a density, or of its square, along lines of sight and over regions of the sky.

With the distance :math:`R` of the Galactic centre and a line of sight at the separation :math:`\psi` from it,

.. math:: \frac{\mathrm dJ}{\mathrm d\Omega}(\psi) = \int_0^\infty \rho^p\big(r(s)\big)\,\mathrm ds,\qquad
   r^2 = R^2 + s^2 - 2 R s \cos\psi ,

where :math:`p = 2` is the J factor of annihilation and :math:`p = 1` the D factor of decay (Bergstrom, Ullio and
Buckley 1998, Astropart. Phys. 9, 137). From the point nearest to the centre, at the distance :math:`b = R \sin\psi`,
the line is followed in :math:`x` with :math:`r = b \cosh x`: a power of :math:`r` is an exponential in it, so that a
cusp is as smooth as the rest, and Gauss-Legendre nodes converge to rounding. What lies beyond the last node, or inside
of the first on the line through the centre, is the integral of a power law.

Over a region,

.. math:: J = \int \frac{\mathrm dJ}{\mathrm d\Omega}(\psi)\,a(\psi)\,\sin\psi\;\mathrm d\psi ,

with :math:`a(\psi)` the length in azimuth of the part of the circle around the centre that lies in the region: its ends
are found by bisection. The integral is taken over :math:`\ln\psi`, in panels that are halved until it no longer
changes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pymc_gamma.arrays import BoolArray, FloatArray
from pymc_gamma.errors import RegionError, SkyModelError
from pymc_gamma.geometry import RegionOfInterest, frame_rotation, separation_deg, tangent_basis, unit_vectors

if TYPE_CHECKING:
    from pymc_gamma.halos.density import Profile

__all__ = ["circle_integrals", "region_integral", "sight_integral"]

NODES, WEIGHTS = (0.5 * values for values in np.polynomial.legendre.leggauss(8))
"""Gauss-Legendre nodes and weights of a panel, from -1/2 to 1/2 around its middle."""

FAR = 1e4
"""Where a density is its last power law, in units of its largest length."""

NEAR = 1e-12
"""Where it is its first, in units of its smallest length; and separations of as many radians."""

CHUNK = 2_000_000
"""Values of the density that are computed at once."""

N_AZIMUTHS = 1440
"""Directions in which the edge of a region is looked for on each circle; a corner less wide than one step is missed."""

TOLERANCE = 1e-7
"""Change of a panel, relative to the whole integral, that needs no further halving."""

MAX_HALVINGS = 40

FLAT, N_PANELS = 1e-6, 250
"""Separation in rad within which functions are flat, and panels from there on for those that are smooth."""


def sight_integral(profile: "Profile", separation: FloatArray, power: int) -> FloatArray:
    """Integral of a power of the density along lines of sight, in (GeV cm-3)^power kpc.

    Parameters
    ----------
    profile : Profile
        The density.
    separation : numpy.ndarray
        Angles from the Galactic centre in radians, from 0 to pi.
    power : int
        2 for annihilation, 1 for decay.

    Returns
    -------
    numpy.ndarray
        Of the same shape.

    Raises
    ------
    SkyModelError
        If it is infinite: at the centre of a cusp, or for a density that falls too slowly.
    """
    check_outside(profile, power)
    psi = np.ravel(separation)
    if np.any(psi == 0) and power * profile.inner_slope >= 1:
        raise SkyModelError(
            f"the line of sight through the centre of {profile!r} has an infinite {'DJ'[power - 1]} factor: its "
            f"density rises as r^-{profile.inner_slope:g}. Ask for that of a region around the centre, or give the "
            "profile a core, r_c."
        )
    longest = 2 * _n_panels(profile, np.log(FAR * _largest(profile) / (NEAR * _smallest(profile))))
    step = max(1, CHUNK // (longest * len(NODES)))
    parts = [_lines(profile, psi[k : k + step], power) for k in range(0, len(psi), step)]
    return np.concatenate([np.empty(0), *parts]).reshape(np.shape(separation))


def check_outside(profile: "Profile", power: int) -> None:
    """Refuse a density whose integral to infinity does not converge."""
    if power * profile.outer_slope <= 1:
        raise SkyModelError(
            f"{profile!r} has an infinite {'DJ'[power - 1]} factor: far away its density falls as "
            f"r^-{profile.outer_slope:g} only, and must fall faster than r^-{1 / power:g}."
        )


def _largest(profile: "Profile") -> float:
    return max(profile.scale, profile.core, profile.radius_sun)


def _smallest(profile: "Profile") -> float:
    return min(profile.scale, profile.core or np.inf, profile.radius_sun)


def _n_panels(profile: "Profile", length: float) -> int:
    """Panels for a length in the logarithm of the radius, over which a density turns as its sharpness says."""
    return max(1, int(np.ceil(length / min(1.0, 2 * profile.turn))))


def _lines(profile: "Profile", psi: FloatArray, power: int) -> FloatArray:
    """As :func:`sight_integral` for a list of separations."""
    distance = profile.radius_sun
    # a density knows no smaller separations than these: only a cusp differs there, and is a power law
    cosine, nearest = np.cos(psi), distance * np.maximum(np.sin(psi), 1e-30)
    out = np.empty(len(psi))
    ahead = cosine > 0
    through = ahead & (psi == 0)
    if np.any(through):
        out[through] = _through_centre(profile, power)
    away = ~ahead
    if np.any(away):
        out[away] = _away(profile, -distance * cosine[away], distance * np.sin(psi[away]), power)
    ahead &= ~through
    if np.any(ahead):
        b = nearest[ahead]
        middle = np.arcsinh(distance * cosine[ahead] / b)
        last = np.arcsinh(FAR * _largest(profile) / b)

        def along(x: FloatArray) -> FloatArray:
            r = b[:, None] * np.cosh(x)
            return profile.plain_density(r) ** power * r

        both = _panels(profile, along, np.zeros(len(b)), middle)
        beyond = _panels(profile, along, middle, last)
        out[ahead] = 2 * both + beyond + _outside(profile, power)
    return out


def _panels(
    profile: "Profile", function: Callable[[FloatArray], FloatArray], low: FloatArray, high: FloatArray
) -> FloatArray:
    """Integral of a function of the logarithm of the radius, between limits of each line."""
    n = _n_panels(profile, float(np.max(high - low)))
    nodes = ((np.arange(n)[:, None] + 0.5 + NODES) / n).ravel()
    length = high - low
    values = function(low[:, None] + length[:, None] * nodes)
    return np.asarray(values @ np.tile(WEIGHTS, n) * length / n)


def _outside(profile: "Profile", power: int) -> float:
    """Integral from the last node to infinity, along a radius."""
    r = FAR * _largest(profile)
    value = float(profile.plain_density(np.array(r)) ** power)
    return value * r / (power * profile.outer_slope - 1) if value else 0.0


def _through_centre(profile: "Profile", power: int) -> float:
    """The line of sight through the centre: once out to the observer, once to infinity."""
    first = NEAR * _smallest(profile)

    def along(y: FloatArray) -> FloatArray:
        r = np.exp(y)
        return profile.plain_density(r) ** power * r

    inner = float(profile.plain_density(np.array(first)) ** power) * first / (1 - power * profile.inner_slope)
    start, sun, end = (np.log([r]) for r in (first, profile.radius_sun, FAR * _largest(profile)))
    front = inner + _panels(profile, along, start, sun)[0]
    return float(2 * front + _panels(profile, along, sun, end)[0] + _outside(profile, power))


def _away(profile: "Profile", first: FloatArray, nearest: FloatArray, power: int) -> FloatArray:
    """Lines of sight that lead away from the centre, from the observer on."""
    scale = min(profile.radius_sun, _smallest(profile))

    def along(x: FloatArray) -> FloatArray:
        r = np.hypot(nearest[:, None], first[:, None] + scale * np.sinh(x))
        return profile.plain_density(r) ** power * scale * np.cosh(x)

    last = np.full(len(first), np.arcsinh(FAR * _largest(profile) / scale))
    return _panels(profile, along, np.zeros(len(first)), last) + _outside(profile, power)


class _Region(NamedTuple):
    """A region seen from the Galactic centre.

    Attributes
    ----------
    contains : callable
        Whether unit vectors lie inside.
    basis : numpy.ndarray
        Rows: the Galactic centre, and two axes across, one of them towards the region.
    apart : float
        Separation of the middle of the region from the centre, rad.
    radius : float
        Radius of a circle that holds it, rad.
    """

    contains: Callable[[FloatArray], BoolArray]
    basis: FloatArray
    apart: float
    radius: float

    def window(self, psi: FloatArray) -> FloatArray:
        """Half the azimuth of circles around the centre that may lie in the region, shape (n,)."""
        across = np.maximum(np.sin(psi) * np.sin(self.apart), np.finfo(float).tiny)
        ratio = (np.cos(self.radius) - np.cos(psi) * np.cos(self.apart)) / across
        return np.arccos(np.clip(ratio, -1, 1))

    def inside(self, psi: FloatArray, azimuth: FloatArray) -> BoolArray:
        """Whether directions lie inside."""
        towards, first, second = self.basis
        s = np.sin(psi)[..., None]
        across = np.cos(azimuth)[..., None] * first + np.sin(azimuth)[..., None] * second
        return np.asarray(self.contains(np.cos(psi)[..., None] * towards + s * across))

    def azimuth(self, psi: FloatArray) -> FloatArray:
        """Azimuth in rad of the parts of circles that lie in the region, shape (n,)."""
        half = self.window(psi)
        step = 2 * half / N_AZIMUTHS
        places = -half[:, None] + (np.arange(N_AZIMUTHS) + 0.5) * step[:, None]
        inside = self.inside(np.broadcast_to(psi[:, None], places.shape), places)
        length = inside.sum(axis=1) * step
        closed = half >= np.pi  # a whole circle: the last place is beside the first
        after = np.roll(inside, -1, axis=1)
        after[~closed, -1] = inside[~closed, -1]
        row, column = np.nonzero(inside != after)
        # the edge lies within a step of the first place; half a step was counted
        low, high = np.zeros(len(row)), np.ones(len(row))
        for _ in range(30):
            middle = (low + high) / 2
            same = self.inside(psi[row], places[row, column] + middle * step[row]) == inside[row, column]
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        sign = np.where(inside[row, column], 1.0, -1.0)
        np.add.at(length, row, sign * (low - 0.5) * step[row])
        return length


def _seen_from_centre(region: Any) -> _Region:
    if isinstance(region, RegionOfInterest):
        frame, contains, bounds = region.frame, region.contains_vectors, region.outline.bounds()
    else:
        from pymc_gamma.geometry.sky_regions import frame_of, single_shape

        frame = frame_of(region)
        shape = single_shape(region, frame)
        contains, bounds = shape.contains, shape.bounds()
    towards = frame_rotation("galactic", frame) @ np.array([1.0, 0.0, 0.0])
    middle = unit_vectors(bounds[0], bounds[1])
    apart = float(np.radians(separation_deg(middle, towards)))
    across = middle - (middle @ towards) * towards
    length = float(np.linalg.norm(across))
    lat = float(np.degrees(np.arcsin(np.clip(towards[2], -1, 1))))
    lon = float(np.degrees(np.arctan2(towards[1], towards[0])))
    first = across / length if length > 1e-9 else tangent_basis(lon, lat)[1]
    return _Region(contains, np.stack([towards, first, np.cross(towards, first)]), apart, np.radians(bounds[2]))


def circle_integrals(region: Any, brightness: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Integrals over a region of functions of the separation from the Galactic centre that are flat within 1e-6 rad.

    Parameters
    ----------
    region : RegionOfInterest, regions.SkyRegion, path or gammapy map
        Where; what a region of interest excludes does not count.
    brightness : callable
        From separations in rad (n,) to values per sr, shape (n, m).

    Returns
    -------
    numpy.ndarray
        Shape (m,).
    """
    seen = _seen_from_centre(region)
    first = max(seen.apart - seen.radius, FLAT)
    end = max(min(seen.apart + seen.radius, np.pi), 2 * FLAT)
    length = np.log(end / first) / N_PANELS
    log_psi = np.log(first) + length * (np.arange(N_PANELS)[:, None] + 0.5 + NODES).ravel()
    psi = np.exp(log_psi)
    weight = np.tile(WEIGHTS, N_PANELS) * length * seen.azimuth(psi) * np.sin(psi) * psi
    total = weight @ brightness(psi)
    if first == FLAT:
        total = total + 0.5 * FLAT**2 * seen.azimuth(np.array([FLAT]))[0] * brightness(np.array([FLAT]))[0]
    return np.asarray(total)


def region_integral(profile: "Profile", region: Any, power: int) -> float:
    """Integral of a power of the density over a region of the sky, in (GeV cm-3)^power kpc sr.

    Parameters
    ----------
    profile : Profile
        The density.
    region : RegionOfInterest, regions.SkyRegion, path or gammapy map
        Where; what a region of interest excludes does not count.
    power : int
        2 for annihilation, 1 for decay.

    Raises
    ------
    SkyModelError
        If it is infinite.
    RegionError
        If it is no region, or an empty one.
    """
    check_outside(profile, power)
    seen = _seen_from_centre(region)
    first = NEAR * min(1.0, _smallest(profile) / profile.radius_sun)
    start, end = max(seen.apart - seen.radius, first), min(seen.apart + seen.radius, np.pi)
    inner = 0.0
    if start == first:
        arc = float(seen.azimuth(np.array([first]))[0])
        if arc and power * profile.inner_slope >= 3:
            raise SkyModelError(
                f"{profile!r} has an infinite {'DJ'[power - 1]} factor in a region with the Galactic centre: its "
                f"density rises as r^-{profile.inner_slope:g}, and must rise slower than r^-{3 / power:g}. Take a "
                "flatter profile, give it a core, r_c, or leave the centre out of the region."
            )
        if arc:
            values = sight_integral(profile, first * np.exp([-0.05, 0.0, 0.05]), power)
            slope = float(np.log(values[2] / values[0]) / 0.1)
            inner = float(arc * values[1] * first**2 / (2 + slope))

    def along(y: FloatArray) -> FloatArray:
        psi = np.minimum(np.exp(y), np.pi)
        arc = seen.azimuth(psi)
        out = np.zeros(len(psi))
        some = arc > 0
        out[some] = sight_integral(profile, psi[some], power) * arc[some] * np.sin(psi[some]) * psi[some]
        return out

    total = inner + _halving(along, np.log(start), np.log(end), inner)
    if not total > 0:
        raise RegionError(f"nothing of the sky lies in {region!r}, so that it has no {'DJ'[power - 1]} factor.")
    return total


def _halving(function: Callable[[FloatArray], FloatArray], low: float, high: float, known: float) -> float:
    """Integral of a function, by panels that are halved until it does not change.

    Parameters
    ----------
    function : callable
        Of a list of places.
    low, high : float
        Limits.
    known : float
        What the integral is added to, for the accuracy that is needed.
    """

    def integrals(left: FloatArray, right: FloatArray) -> FloatArray:
        middle, width = (left + right) / 2, right - left
        places = middle[:, None] + NODES * width[:, None]
        return np.asarray(function(places.ravel()).reshape(places.shape) @ WEIGHTS * width)

    edges = np.linspace(low, high, max(2, int(np.ceil(high - low))) + 1)
    left, right = edges[:-1], edges[1:]
    values, done = integrals(left, right), 0.0
    for _ in range(MAX_HALVINGS):
        middle = (left + right) / 2
        first, second = integrals(left, middle), integrals(middle, right)
        better = first + second
        kept = np.abs(better - values) > TOLERANCE * (known + done + float(better.sum()))
        done += float(better[~kept].sum())
        if not np.any(kept):
            break
        left, right = np.append(left[kept], middle[kept]), np.append(middle[kept], right[kept])
        values = np.append(first[kept], second[kept])
    else:
        done += float(values.sum())
    return done
