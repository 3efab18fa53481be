r"""Regions and projections on the sphere.

Directions are unit vectors or (lon, lat) in degrees in one frame, galactic or ICRS. Two local systems are used:

* the *offset frame* of a region: longitude :math:`\lambda` and latitude :math:`\beta` on a sphere rotated so that the
  centre of the region is at (0, 0) and north is up. A rectangular region is :math:`|\lambda| \le w/2,
  |\beta| \le h/2`; its solid angle is :math:`2 w \sin(h/2)`, wherever it lies on the sky.
* the Lambert azimuthal *equal-area plane*, :math:`(x, y) = \sqrt{2/(1+\cos\theta)}\,(v\cdot e_x, v\cdot e_y)` in
  degrees, on which a pixel has the same solid angle everywhere (Snyder 1987, USGS Professional Paper 1395, eq. 24-2),
  so that integrals over the sphere are plain sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import ICRS, Galactic, SkyCoord
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.errors import RegionError
from pymc_gamma.units import scalar_value, to_value

__all__ = [
    "EqualAreaPlane",
    "RegionOfInterest",
    "convert_lonlat",
    "frame_rotation",
    "gaussian_nodes",
    "lonlat_from_vectors",
    "major_offsets",
    "position_angle_vector",
    "scalar_direction",
    "separation_deg",
    "sky_frame",
    "tangent_basis",
    "unit_vectors",
]

FloatArray = NDArray[np.float64]

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


class RegionOfInterest:
    """Region of the sky and energy range in which events are used.

    Rectangular (``width``) or circular (``radius``). A rectangle is bounded in the offset frame of its centre, so
    a width of 6.4 deg is 6.4 deg on the sky at any latitude.

    Parameters
    ----------
    center : `~astropy.coordinates.SkyCoord`
        Centre, galactic or ICRS. Its frame is the frame of the analysis.
    width : `~astropy.units.Quantity`, optional
        Full width: one number for a square, or two (longitude, latitude).
    radius : `~astropy.units.Quantity`, optional
        Radius of a circular region, instead of ``width``.
    energy : `~astropy.units.Quantity`
        Range (minimum, maximum) of reconstructed energy.

    Attributes
    ----------
    frame : str
        ``"galactic"`` or ``"icrs"``.
    lon, lat : float
        Centre in degrees.
    half_width : tuple of float or None
        Half widths in degrees (longitude, latitude) of a rectangle.
    energy_min, energy_max : float
        Range of reconstructed energy in TeV.
    solid_angle : float
        In steradians.
    radius : float
        Radius in degrees of the smallest circle around the centre that holds the region.

    Raises
    ------
    RegionError
        If neither or both of ``width`` and ``radius`` are given, a size is not positive or too large, the
        frame is not galactic or ICRS, or the energy range is empty.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    >>> roi = RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
    >>> round(roi.solid_angle, 6)
    0.012471
    >>> roi.contains([0.0, 3.3], [1.0, 0.0]).tolist()
    [True, False]
    """

    def __init__(
        self,
        center: SkyCoord,
        width: u.Quantity | Sequence[u.Quantity] | None = None,
        radius: u.Quantity | None = None,
        *,
        energy: u.Quantity | Sequence[u.Quantity],
    ) -> None:
        self.frame, self.lon, self.lat = scalar_direction(center, "center")
        if (width is None) == (radius is None):
            raise RegionError("give exactly one of width (rectangle) and radius (circle).")
        self.half_width: tuple[float, float] | None = None
        if width is not None:
            full = np.atleast_1d(to_value(width, "deg", "width"))
            if full.shape not in [(1,), (2,)]:
                raise RegionError(f"width must be one angle or two (longitude, latitude), got {full.size}.")
            half = np.broadcast_to(full / 2, 2)
            if not np.all((half > 0) & (half <= (90, 80))):
                raise RegionError(f"width must be positive and at most 180 x 160 deg, got {full} deg.")
            self.half_width = (float(half[0]), float(half[1]))
            corner = unit_vectors(self.half_width[0], [0.0, self.half_width[1]])
            self.radius = float(separation_deg(corner, unit_vectors(0, 0)).max())
            self.solid_angle = float(2 * np.radians(full[0]) * np.sin(np.radians(half[1])))
        else:
            self.radius = scalar_value(radius, "deg", "radius")
            if not 0 < self.radius <= 80:
                raise RegionError(f"radius must be positive and at most 80 deg, got {self.radius} deg.")
            self.solid_angle = float(2 * np.pi * (1 - np.cos(np.radians(self.radius))))
        bounds = to_value(energy, "TeV", "energy")
        if bounds.shape != (2,) or not (np.all(np.isfinite(bounds)) and 0 < bounds[0] < bounds[1]):
            raise RegionError(
                f"energy must be a range (minimum, maximum) with 0 < minimum < maximum, got {bounds} TeV."
            )
        self.energy_min, self.energy_max = float(bounds[0]), float(bounds[1])
        self._basis = tangent_basis(self.lon, self.lat)

    def __repr__(self) -> str:
        if self.half_width is None:
            size = f"radius={self.radius:g} deg"
        else:
            size = f"width=({2 * self.half_width[0]:g}, {2 * self.half_width[1]:g}) deg"
        return (
            f"RegionOfInterest({self.frame}, lon={self.lon:g} deg, lat={self.lat:g} deg, {size}, "
            f"energy=({self.energy_min:g}, {self.energy_max:g}) TeV)"
        )

    @property
    def center(self) -> SkyCoord:
        """Centre as a SkyCoord."""
        return SkyCoord(self.lon * u.deg, self.lat * u.deg, frame=sky_frame(self.frame))

    @property
    def basis(self) -> FloatArray:
        """Rotation matrix (3, 3) from the frame of the region into its offset frame."""
        return self._basis

    @property
    def plane(self) -> EqualAreaPlane:
        """Equal-area plane around the centre."""
        return EqualAreaPlane(self.lon, self.lat)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers that define the region (degrees, TeV)."""
        return {
            "frame": self.frame,
            "lon": self.lon,
            "lat": self.lat,
            "half_width": None if self.half_width is None else list(self.half_width),
            "radius": self.radius,
            "energy": [self.energy_min, self.energy_max],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RegionOfInterest":
        """Inverse of :meth:`to_dict`."""
        size: dict[str, Any]
        if data["half_width"] is None:
            size = {"radius": data["radius"] * u.deg}
        else:
            size = {"width": 2 * np.asarray(data["half_width"]) * u.deg}
        center = SkyCoord(data["lon"] * u.deg, data["lat"] * u.deg, frame=sky_frame(data["frame"]))
        return cls(center, energy=np.asarray(data["energy"]) * u.TeV, **size)

    def lonlat(self, coords: SkyCoord) -> tuple[FloatArray, FloatArray]:
        """Longitude in (-180, 180] and latitude, in degrees, in the frame of the region."""
        here = coords.transform_to(sky_frame(self.frame)).spherical
        lon = (here.lon.deg + 180) % 360 - 180
        return np.asarray(lon, float), np.asarray(here.lat.deg, float)

    def offset_lonlat(self, lon: ArrayLike, lat: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Coordinates in the offset frame (degrees) of directions in the frame of the region (degrees)."""
        return lonlat_from_vectors(unit_vectors(lon, lat) @ self._basis.T)

    def from_offset(self, lon: ArrayLike, lat: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Inverse of :meth:`offset_lonlat`."""
        return lonlat_from_vectors(unit_vectors(lon, lat) @ self._basis)

    def offset(self, lon: ArrayLike, lat: ArrayLike) -> FloatArray:
        """Angle from the centre in degrees."""
        return separation_deg(unit_vectors(lon, lat), self._basis[0])

    def contains(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.bool_]:
        """Whether directions (degrees, frame of the region) lie in the region."""
        return self.contains_vectors(unit_vectors(lon, lat))

    def contains_vectors(self, vectors: FloatArray) -> NDArray[np.bool_]:
        """As :meth:`contains`, for unit vectors (..., 3)."""
        if self.half_width is None:
            return np.asarray(separation_deg(vectors, self._basis[0]) <= self.radius)
        dlon, dlat = lonlat_from_vectors(vectors @ self._basis.T)
        return (np.abs(dlon) <= self.half_width[0]) & (np.abs(dlat) <= self.half_width[1])

    def quadrature(self, step: float = 0.05) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Nodes and weights of an integral over the region.

        Parameters
        ----------
        step : float
            Largest spacing of nodes in degrees.

        Returns
        -------
        lon, lat : numpy.ndarray
            Nodes in degrees, frame of the region, shape (n,).
        weight : numpy.ndarray
            Solid angle of each node in sr; sums to :attr:`solid_angle`.
        """
        if self.half_width is not None:
            edges_lon, edges_lat = self.cell_edges(step)
            lon, lat = np.meshgrid(0.5 * (edges_lon[1:] + edges_lon[:-1]), 0.5 * (edges_lat[1:] + edges_lat[:-1]))
            weight = np.diff(np.sin(np.radians(edges_lat)))[:, None] * np.radians(np.diff(edges_lon))
            return *self.from_offset(lon.ravel(), lat.ravel()), weight.ravel()
        edges, turn = self._rings(step)
        weight = np.repeat(-np.diff(np.cos(edges)) * 2 * np.pi / turn, turn)
        half = np.full(len(weight), 0.5)
        lon, lat = lonlat_from_vectors(self._in_cells(np.arange(len(weight)), half, half, step))
        return lon, lat, weight

    def sample_cells(self, cell: NDArray[np.int64], rng: np.random.Generator, step: float = 0.05) -> FloatArray:
        """Unit vectors (n, 3) uniform in the cells of :meth:`quadrature`, given by index."""
        return self._in_cells(cell, rng.random(len(cell)), rng.random(len(cell)), step)

    def _in_cells(self, cell: NDArray[np.int64], u: FloatArray, w: FloatArray, step: float) -> FloatArray:
        """Points at fractions (u, w) of cells: linear in longitude and area along the other coordinate."""
        if self.half_width is not None:
            edges_lon, edges_lat = self.cell_edges(step)
            row, column = np.divmod(cell, len(edges_lon) - 1)
            lon = edges_lon[column] + u * (edges_lon[1] - edges_lon[0])
            sine = np.sin(np.radians(edges_lat))
            lat = np.degrees(np.arcsin(sine[row] + w * (sine[row + 1] - sine[row])))
            return unit_vectors(lon, lat) @ self._basis
        edges, turn = self._rings(step)
        ring, sector = np.divmod(cell, turn)
        cosine = np.cos(edges)
        height = cosine[ring] + w * (cosine[ring + 1] - cosine[ring])
        azimuth = (sector + u) * 2 * np.pi / turn
        across = np.sqrt(np.maximum(1 - height**2, 0))
        local = np.stack([height, across * np.cos(azimuth), across * np.sin(azimuth)], axis=-1)
        return local @ self._basis

    def _rings(self, step: float) -> tuple[FloatArray, int]:
        """Edges (rad) of the rings of a circular region and the number of sectors of each."""
        edges = np.linspace(0, np.radians(self.radius), max(4, int(np.ceil(self.radius / step))) + 1)
        return edges, max(8, int(np.ceil(2 * np.pi * self.radius / step)))

    def cell_edges(self, step: float = 0.05) -> tuple[FloatArray, FloatArray]:
        """Edges in the offset frame (degrees) of a grid of cells that covers the region.

        For a circle the grid covers its bounding square.
        """
        half = self.half_width or (self.radius / max(np.cos(np.radians(self.radius)), 0.1), self.radius)
        edges = [np.linspace(-h, h, max(4, int(np.ceil(2 * h / step - 1e-9))) + 1) for h in half]
        return edges[0], edges[1]


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
