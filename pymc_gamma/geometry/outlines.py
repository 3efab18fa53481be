r"""Shapes on the sphere: what a region of interest is bounded by, and what is cut out of it.

A shape answers whether directions lie inside of it. Local coordinates around its centre :math:`c` are angles on the
sphere: with :math:`r` the separation from the centre and :math:`\theta` the position angle, :math:`x = r \sin\theta`
to the east and :math:`y = r \cos\theta` to the north (zenithal equidistant projection). Angles turn as on the sky, from
north through east: ``angle`` is the position angle of the *height* of a shape, the convention of the package
`regions <https://astropy-regions.readthedocs.io>`_. Edges of a polygon are great circles.

Directions are unit vectors in the frame of the region of interest, angles are degrees.
"""

import base64
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, override

import numpy as np

from pymc_gamma.arrays import BoolArray, FloatArray
from pymc_gamma.errors import RegionError
from pymc_gamma.geometry.cover import BoxCells, Cells, RingCells
from pymc_gamma.geometry.sphere import (
    convert_lonlat,
    lonlat_from_vectors,
    separation_deg,
    tangent_basis,
    unit_vectors,
)

__all__ = ["Circle", "Compound", "Ellipse", "MaskMap", "Polygon", "Rectangle", "SkyShape"]


class SkyShape(ABC):
    """A part of the sky. Subclasses are frozen dataclasses of plain numbers, or of other shapes."""

    _kinds: ClassVar[dict[str, type["SkyShape"]]] = {}

    def __init_subclass__(cls) -> None:
        SkyShape._kinds[cls.__name__] = cls

    @abstractmethod
    def contains(self, vectors: FloatArray) -> BoolArray:
        """Whether unit vectors (..., 3) lie inside; its edge belongs to a shape."""

    @abstractmethod
    def bounds(self) -> tuple[float, float, float]:
        """Longitude, latitude and radius in degrees of a circle that holds the shape."""

    def cells(self, step: float) -> Cells:
        """Small cells that cover the shape, no wider than ``step`` in degrees; they may reach beyond it."""
        lon, lat, radius = self.bounds()
        return RingCells(tangent_basis(lon, lat), radius, step)

    @property
    def solid_angle(self) -> float | None:
        """Solid angle in sr where a formula gives it, else None."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """The kind of the shape and its numbers."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        plain = {name: value.to_dict() if isinstance(value, SkyShape) else value for name, value in values}
        return {"kind": type(self).__name__, **plain}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "SkyShape":
        """Inverse of :meth:`to_dict`."""
        values = {
            name: SkyShape.from_dict(value) if isinstance(value, Mapping) else value
            for name, value in data.items()
            if name != "kind"
        }
        return SkyShape._kinds[data["kind"]](**values)


def _rotated_basis(lon: float, lat: float, angle: float) -> FloatArray:
    """Rows: the direction, and the axes of width (towards the east at angle 0) and height of a turned shape."""
    towards, east, north = tangent_basis(lon, lat)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.stack([towards, c * east - s * north, s * east + c * north])


@dataclass(frozen=True)
class Circle(SkyShape):
    """Directions within ``radius`` of a centre."""

    lon: float
    lat: float
    radius: float

    def __post_init__(self) -> None:
        if not 0 < self.radius <= 180:
            raise RegionError(f"a radius must be positive and at most 180 deg, got {self.radius} deg.")

    @override
    def contains(self, vectors: FloatArray) -> BoolArray:
        # by the chord, whose square needs no root
        chord = np.asarray(vectors) - unit_vectors(self.lon, self.lat)
        return np.asarray(np.einsum("...k,...k", chord, chord) <= 4 * np.sin(np.radians(self.radius) / 2) ** 2)

    @override
    def bounds(self) -> tuple[float, float, float]:
        return self.lon, self.lat, self.radius

    @property
    @override
    def solid_angle(self) -> float:
        return float(2 * np.pi * (1 - np.cos(np.radians(self.radius))))


@dataclass(frozen=True)
class Rectangle(SkyShape):
    """Longitudes and latitudes on a sphere turned so that the centre is at (0, 0) and the height points north."""

    lon: float
    lat: float
    half_width: float
    half_height: float
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.half_width <= 90 and 0 < self.half_height <= 80):
            full = f"{2 * self.half_width:g} x {2 * self.half_height:g}"
            raise RegionError(f"width must be positive and at most 180 x 160 deg, got {full} deg.")

    @cached_property
    def _basis(self) -> FloatArray:
        return _rotated_basis(self.lon, self.lat, self.angle)

    @override
    def contains(self, vectors: FloatArray) -> BoolArray:
        # |lon| <= w and |lat| <= h without an arctangent: this is asked millions of times
        ahead, east, north = (np.asarray(vectors) @ axis for axis in self._basis)
        if self.half_width < 90:
            inside = (ahead > 0) & (np.abs(east) <= ahead * np.tan(np.radians(self.half_width)))
        else:
            inside = ahead >= 0
        return np.asarray(inside & (np.abs(north) <= np.sin(np.radians(self.half_height))))

    @override
    def bounds(self) -> tuple[float, float, float]:
        corner = unit_vectors(self.half_width, self.half_height)
        return self.lon, self.lat, float(separation_deg(corner, unit_vectors(0, 0)))

    @override
    def cells(self, step: float) -> Cells:
        return BoxCells(self._basis, self.half_width, self.half_height, step)

    @property
    @override
    def solid_angle(self) -> float:
        return float(4 * np.radians(self.half_width) * np.sin(np.radians(self.half_height)))


@dataclass(frozen=True)
class Ellipse(SkyShape):
    """An ellipse in local coordinates, given by its half axes."""

    lon: float
    lat: float
    half_width: float
    half_height: float
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.half_width <= 90 and 0 < self.half_height <= 90):
            raise RegionError(
                f"the half axes of an ellipse must be positive and at most 90 deg, got {self.half_width:g} and "
                f"{self.half_height:g} deg."
            )

    @cached_property
    def _basis(self) -> FloatArray:
        return _rotated_basis(self.lon, self.lat, self.angle)

    @override
    def contains(self, vectors: FloatArray) -> BoolArray:
        local = np.asarray(vectors) @ self._basis.T
        across = np.hypot(local[..., 1], local[..., 2])
        scale = np.degrees(np.arctan2(across, local[..., 0])) / np.maximum(across, np.finfo(float).tiny)
        x, y = local[..., 1] * scale, local[..., 2] * scale
        return np.asarray((x / self.half_width) ** 2 + (y / self.half_height) ** 2 <= 1)

    @override
    def bounds(self) -> tuple[float, float, float]:
        return self.lon, self.lat, max(self.half_width, self.half_height)


@dataclass(frozen=True)
class Polygon(SkyShape):
    """A polygon whose edges are great circles, less than 80 deg from the middle of its vertices."""

    lon: tuple[float, ...]
    lat: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "lon", tuple(self.lon))
        object.__setattr__(self, "lat", tuple(self.lat))
        if len(self.lon) < 3:
            raise RegionError(f"a polygon needs at least three vertices, got {len(self.lon)}.")
        if self.bounds()[2] > 80:
            raise RegionError("the vertices of a polygon must lie within 80 deg of their middle.")

    @cached_property
    def _middle(self) -> FloatArray:
        total = unit_vectors(self.lon, self.lat).sum(axis=0)
        length = float(np.linalg.norm(total))
        if length < 1e-6:
            raise RegionError("the vertices of a polygon must lie within 80 deg of their middle.")
        return np.asarray(total / length)

    @cached_property
    def _basis(self) -> FloatArray:
        lon, lat = lonlat_from_vectors(self._middle)
        return tangent_basis(float(lon), float(lat))

    def _plane(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Gnomonic coordinates, in which great circles are straight, and the cosine of the separation."""
        local = np.asarray(vectors) @ self._basis.T
        ahead = np.where(local[..., 0] > 1e-9, local[..., 0], np.nan)
        return local[..., 1] / ahead, local[..., 2] / ahead, local[..., 0]

    @override
    def contains(self, vectors: FloatArray) -> BoolArray:
        x, y, _ = self._plane(vectors)
        corner_x, corner_y, _ = self._plane(unit_vectors(self.lon, self.lat))
        inside = np.zeros(np.shape(x), bool)
        # a ray to the east crosses the edges of a polygon an odd number of times from inside
        for k in range(len(corner_x)):
            x0, y0, x1, y1 = corner_x[k - 1], corner_y[k - 1], corner_x[k], corner_y[k]
            if y0 == y1:
                continue
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
        return inside

    @override
    def bounds(self) -> tuple[float, float, float]:
        lon, lat = lonlat_from_vectors(self._middle)
        return float(lon), float(lat), float(separation_deg(unit_vectors(self.lon, self.lat), self._middle).max())


@dataclass(frozen=True)
class Compound(SkyShape):
    """Two shapes combined: ``"and"``, ``"or"``, ``"xor"``, or ``"minus"``, which cuts the second out of the first."""

    first: SkyShape
    second: SkyShape
    operation: str

    def __post_init__(self) -> None:
        if self.operation not in _OPERATIONS:
            raise RegionError(f"shapes are combined by one of {tuple(_OPERATIONS)}, got {self.operation!r}.")

    @override
    def contains(self, vectors: FloatArray) -> BoolArray:
        return np.asarray(_OPERATIONS[self.operation](self.first.contains(vectors), self.second.contains(vectors)))

    @override
    def bounds(self) -> tuple[float, float, float]:
        if self.operation in ("and", "minus"):
            return self.first.bounds()
        lon, lat, radius = self.first.bounds()
        other_lon, other_lat, other_radius = self.second.bounds()
        apart = float(separation_deg(unit_vectors(lon, lat), unit_vectors(other_lon, other_lat)))
        return lon, lat, min(max(radius, apart + other_radius), 180.0)


_OPERATIONS: dict[str, Callable[[BoolArray, BoolArray], BoolArray]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "minus": lambda first, second: first & ~second,
}


@dataclass(frozen=True)
class MaskMap(SkyShape):
    """Pixels of a map; what lies outside of the map is not part of the shape.

    Attributes
    ----------
    header : str
        Celestial WCS of the map as a FITS header.
    shape : tuple of int
        Rows and columns.
    pixels : str
        Whether each pixel belongs to the shape: packed bits, compressed, base64.
    map_frame, frame : str
        Frame of the map, and of the directions that are asked about.
    """

    header: str
    shape: tuple[int, int]
    pixels: str
    map_frame: str
    frame: str

    @classmethod
    def from_pixels(cls, wcs: Any, inside: BoolArray, map_frame: str, frame: str) -> "MaskMap":
        """From an astropy celestial WCS and a boolean image."""
        packed = base64.b64encode(zlib.compress(np.packbits(inside).tobytes())).decode()
        shape = (int(inside.shape[0]), int(inside.shape[1]))
        return cls(wcs.to_header_string(relax=True), shape, packed, map_frame, frame)

    @cached_property
    def _inside(self) -> BoolArray:
        bits = np.frombuffer(zlib.decompress(base64.b64decode(self.pixels)), np.uint8)
        return np.unpackbits(bits, count=self.shape[0] * self.shape[1]).reshape(self.shape).astype(bool)

    @cached_property
    def _wcs(self) -> Any:
        from astropy.io import fits
        from astropy.wcs import WCS

        return WCS(fits.Header.fromstring(self.header))

    @override
    def contains(self, vectors: FloatArray) -> BoolArray:
        vectors = np.asarray(vectors)
        lon, lat = convert_lonlat(*lonlat_from_vectors(vectors), self.frame, self.map_frame)
        x, y = self._wcs.wcs_world2pix(np.ravel(lon), np.ravel(lat), 0)
        seen = np.isfinite(x) & np.isfinite(y)
        column, row = (np.where(seen, np.floor(value + 0.5), -1).astype(np.int64) for value in (x, y))
        # a plate-carree map may reach over half a turn from its reference point, or all the way round
        turn = round(abs(360 / float(self._wcs.wcs.cdelt[0]))) if self._wcs.wcs.ctype[0].endswith("CAR") else 0
        for shift in (turn, -turn) if turn else ():
            other = column + shift
            fits = ((column < 0) | (column >= self.shape[1])) & (other >= 0) & (other < self.shape[1])
            column = np.where(fits, other, column)
        seen &= (column >= 0) & (column < self.shape[1]) & (row >= 0) & (row < self.shape[0])
        inside = np.zeros(len(x), bool)
        inside[seen] = self._inside[row[seen], column[seen]]
        return inside.reshape(vectors.shape[:-1])

    @override
    def bounds(self) -> tuple[float, float, float]:
        rows, columns = np.nonzero(self._inside)
        if not len(rows):
            return 0.0, 0.0, 1e-6
        lon, lat = self._wcs.wcs_pix2world(columns, rows, 0)
        good = np.isfinite(lon) & np.isfinite(lat)
        vectors = unit_vectors(*convert_lonlat(lon[good], lat[good], self.map_frame, self.frame))
        middle = vectors.mean(axis=0)
        length = float(np.linalg.norm(middle))
        if length < 1e-6:
            return 0.0, 0.0, 180.0
        lon_0, lat_0 = lonlat_from_vectors(middle / length)
        pixel = float(np.hypot(*self._wcs.wcs.cdelt[:2]))
        return float(lon_0), float(lat_0), float(min(separation_deg(vectors, middle / length).max() + pixel, 180.0))
