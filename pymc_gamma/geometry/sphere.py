r"""Directions, frames and projections.

Directions are unit vectors or (lon, lat) in degrees in one frame, galactic or ICRS. Two local systems are used:

* the *offset frame* of a direction: longitude :math:`\lambda` and latitude :math:`\beta` on a sphere rotated so that
  the direction is at (0, 0) and north is up;
* the Lambert azimuthal *equal-area plane*, :math:`(x, y) = \sqrt{2/(1+\cos\theta)}\,(v\cdot e_x, v\cdot e_y)` in
  degrees, on which a pixel has the same solid angle everywhere (Snyder 1987, USGS Professional Paper 1395, eq. 24-2),
  so that integrals over the sphere are plain sums.
"""

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import ICRS, Galactic, SkyCoord
from numpy.typing import ArrayLike

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import RegionError

__all__ = [
    "FRAMES",
    "EqualAreaPlane",
    "convert_lonlat",
    "frame_rotation",
    "gaussian_nodes",
    "lonlat_from_vectors",
    "major_offsets",
    "position_angle_of_north",
    "position_angle_vector",
    "scalar_direction",
    "separation_deg",
    "sky_frame",
    "tangent_basis",
    "unit_vectors",
]

FRAMES = ("galactic", "icrs")


def sky_frame(name: str) -> Any:
    """Astropy frame of a frame name (``"galactic"`` or ``"icrs"``)."""
    if name not in FRAMES:
        raise RegionError(
            f"frame must be one of {FRAMES}, got {name!r}; convert with SkyCoord.galactic or SkyCoord.icrs."
        )
    return Galactic() if name == "galactic" else ICRS()


def unit_vectors(lon: ArrayLike, lat: ArrayLike) -> FloatArray:
    """Unit vectors, shape (..., 3), of longitudes and latitudes in degrees."""
    lam, beta = np.radians(np.asarray(lon, float)), np.radians(np.asarray(lat, float))
    cos_beta = np.cos(beta)
    return np.stack([cos_beta * np.cos(lam), cos_beta * np.sin(lam), np.sin(beta) + 0.0 * lam], axis=-1)


def lonlat_from_vectors(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Longitude in (-180, 180] and latitude, in degrees, of unit vectors (..., 3)."""
    lon = np.degrees(np.arctan2(vectors[..., 1], vectors[..., 0]))
    lat = np.degrees(np.arctan2(vectors[..., 2], np.hypot(vectors[..., 0], vectors[..., 1])))
    return lon, lat


def separation_deg(a: FloatArray, b: FloatArray) -> FloatArray:
    """Angle in degrees between unit vectors, accurate at small separations (chord, not arccos)."""
    chord = np.linalg.norm(np.asarray(a) - np.asarray(b), axis=-1)
    return np.degrees(2 * np.arcsin(np.clip(chord / 2, 0, 1)))


def tangent_basis(lon: float, lat: float) -> FloatArray:
    """Rows: the direction itself, east and north of it. A rotation matrix into the offset frame."""
    lam, beta = np.radians(lon), np.radians(lat)
    towards = unit_vectors(lon, lat)
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    north = np.array([-np.sin(beta) * np.cos(lam), -np.sin(beta) * np.sin(lam), np.cos(beta)])
    return np.stack([towards, east, north])


def convert_lonlat(lon: ArrayLike, lat: ArrayLike, frame: str, to: str) -> tuple[FloatArray, FloatArray]:
    """Convert degrees between the galactic and ICRS frames (a rotation)."""
    lon, lat = np.asarray(lon, float), np.asarray(lat, float)
    if frame == to:
        return lon, lat
    return lonlat_from_vectors(unit_vectors(lon, lat) @ frame_rotation(frame, to).T)


def position_angle_of_north(lon: float, lat: float, frame: str, to: str) -> float:
    """Position angle in degrees, in the frame ``to``, of the north of ``frame`` at a direction given in ``frame``."""
    if frame == to:
        return 0.0
    towards, _, north = tangent_basis(lon, lat) @ frame_rotation(frame, to).T
    _, east_there, north_there = tangent_basis(*(float(angle) for angle in lonlat_from_vectors(towards)))
    return float(np.degrees(np.arctan2(north @ east_there, north @ north_there)))


def position_angle_vector(lon: float, lat: float, angle: float) -> FloatArray:
    """Unit vector (3,) that is tangent to the sphere at a direction, at an angle in degrees from north to east."""
    _, east, north = tangent_basis(lon, lat)
    turn = np.radians(angle)
    return np.asarray(np.cos(turn) * north + np.sin(turn) * east)


def major_offsets(vectors: FloatArray, centre: FloatArray, major_axis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coordinates in degrees along and across an axis: the arc from the centre, split by its direction there.

    Parameters
    ----------
    vectors : numpy.ndarray
        Unit vectors, shape (..., 3).
    centre, major_axis : numpy.ndarray
        A direction, and a unit vector tangent to the sphere there; shape (3,).

    Returns
    -------
    along, across : numpy.ndarray
        Shape (...).
    """
    along, across = vectors @ major_axis, vectors @ np.cross(centre, major_axis)
    sine = np.hypot(along, across)
    angle = separation_deg(vectors, centre)
    # at the centre itself the arc is zero and any factor serves
    scale = angle / np.where(sine > 0, sine, 1.0)
    return along * scale, across * scale


def frame_rotation(frame: str, to: str) -> FloatArray:
    """Rotation matrix (3, 3) that takes unit vectors of one frame to another."""
    axes = SkyCoord([0, 90, 0] * u.deg, [0, 0, 90] * u.deg, frame=sky_frame(frame)).transform_to(sky_frame(to))
    return np.asarray(axes.cartesian.xyz.value)


@dataclass(frozen=True)
class EqualAreaPlane:
    """Lambert azimuthal equal-area plane around a direction.

    Parameters
    ----------
    lon, lat : float
        Centre of the plane in degrees.
    """

    lon: float
    lat: float

    def to_plane(self, lon: ArrayLike, lat: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Plane coordinates (x east, y north) in degrees of directions in degrees."""
        return self.project(unit_vectors(lon, lat))

    def project(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Plane coordinates in degrees of unit vectors (..., 3)."""
        towards, east, north = tangent_basis(self.lon, self.lat)
        scale = np.degrees(np.sqrt(2 / np.maximum(1 + vectors @ towards, 1e-12)))
        return (vectors @ east) * scale, (vectors @ north) * scale

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Longitude and latitude in degrees of plane coordinates in degrees."""
        return lonlat_from_vectors(self.unproject(x, y))

    def unproject(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        """Unit vectors of plane coordinates in degrees (inside the disc of the sphere)."""
        towards, east, north = tangent_basis(self.lon, self.lat)
        x, y = np.radians(np.asarray(x, float)), np.radians(np.asarray(y, float))
        r2 = x * x + y * y
        scale = np.sqrt(np.maximum(1 - r2 / 4, 0))
        return (x * scale)[..., None] * east + (y * scale)[..., None] * north + (1 - r2 / 2)[..., None] * towards


def gaussian_nodes(
    centre: FloatArray,
    variance: float,
    radii: int,
    azimuths: int,
    minor_variance: float | None = None,
    major_axis: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    r"""Quadrature nodes of a Gaussian on the sphere.

    The density of :math:`t = r^2/2\sigma^2` is :math:`e^{-t}`: Gauss-Laguerre nodes for few radii (smooth integrands),
    equally probable shells for many (integrands with edges). Azimuths are equidistant. For an elongated Gaussian the
    nodes of the round one are compressed along the minor axis.

    Parameters
    ----------
    centre : numpy.ndarray
        Unit vector, shape (3,).
    variance : float
        deg2, along the major axis; 0 gives the centre alone.
    radii, azimuths : int
        Number of nodes.
    minor_variance : float, optional
        deg2, along the minor axis. Default: that of the major axis.
    major_axis : numpy.ndarray, optional
        Unit vector along the major axis, tangent to the sphere at the centre, shape (3,).

    Returns
    -------
    vectors : numpy.ndarray
        Unit vectors, shape (n, 3).
    weight : numpy.ndarray
        Sums to 1, shape (n,).
    """
    if variance == 0:
        return np.ascontiguousarray(centre[None]), np.ones(1)
    if radii <= 20:
        t, weight = np.polynomial.laguerre.laggauss(radii)
    else:
        t, weight = -np.log1p(-(np.arange(radii) + 0.5) / radii), np.full(radii, 1 / radii)
    radius = np.radians(np.sqrt(2 * variance * t))[:, None]
    angle = (np.arange(azimuths) + 0.5) * 2 * np.pi / azimuths
    if minor_variance is not None and major_axis is not None and minor_variance != variance:
        along, beside = radius * np.cos(angle), radius * np.sin(angle) * np.sqrt(minor_variance / variance)
        arc = np.hypot(along, beside)
        basis = np.stack([centre, major_axis, np.cross(centre, major_axis)])
        slope = np.sinc(arc / np.pi)
        local = np.stack([np.cos(arc), slope * along, slope * beside], axis=-1)
        return np.ascontiguousarray(local.reshape(-1, 3) @ basis), np.repeat(weight / azimuths, azimuths)
    across = np.sin(radius)
    local = np.stack(np.broadcast_arrays(np.cos(radius), across * np.cos(angle), across * np.sin(angle)), axis=-1)
    lon, lat = lonlat_from_vectors(centre)
    vectors = local.reshape(-1, 3) @ tangent_basis(float(lon), float(lat))
    return np.ascontiguousarray(vectors), np.repeat(weight / azimuths, azimuths)


def scalar_direction(direction: SkyCoord, name: str) -> tuple[str, float, float]:
    """Frame name, longitude in (-180, 180] and latitude of one galactic or ICRS direction."""
    if not isinstance(direction, SkyCoord):
        raise TypeError(f"{name} must be an astropy SkyCoord, got {type(direction).__name__}.")
    if not direction.isscalar:
        raise RegionError(f"{name} must be a single direction, got an array of shape {direction.shape}.")
    frame = str(direction.frame.name)
    if frame not in FRAMES:
        raise RegionError(
            f"{name} is in the frame {frame!r}; only galactic and icrs are supported: "
            f"pass {name}.galactic or {name}.icrs."
        )
    spherical = direction.spherical
    lon = float((spherical.lon.deg + 180) % 360 - 180)
    lat = float(spherical.lat.deg)
    if not (np.isfinite(lon) and np.isfinite(lat)):
        raise RegionError(f"{name} is not finite: lon={lon} deg, lat={lat} deg.")
    return frame, lon, lat
