"""The region of interest: an outline on the sky, what is cut out of it, and a range of reconstructed energy."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import checked, directions, mapping, number, plain, text, vectors
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import RegionError
from pymc_gamma.geometry.cover import BoxCells, Cells, lattice
from pymc_gamma.geometry.outlines import Circle, Rectangle, SkyShape
from pymc_gamma.geometry.sphere import (
    EqualAreaPlane,
    lonlat_from_vectors,
    scalar_direction,
    separation_deg,
    sky_frame,
    tangent_basis,
    unit_vectors,
)
from pymc_gamma.units import scalar_value, to_value

__all__ = ["RegionOfInterest", "covered_cells", "covered_fraction"]

SOLID_ANGLE_STEP = 0.01
"""Cells in units of the radius for the solid angle of a shape without a formula."""


class RegionOfInterest:
    """Region of the sky and energy range in which events are used.

    Rectangular (``width``) or circular (``radius``); any other outline by :meth:`from_region`. A rectangle is bounded
    in the offset frame of its centre, so a width of 6.4 deg is 6.4 deg on the sky at any latitude.

    To leave a source or any other part of the sky out of an analysis, name it in ``exclude``. Taking its events away by
    hand would leave the expected counts as they are: everything else would come out too faint.

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
    exclude : region, path or gammapy map, or a list of them, optional
        What to cut out: sky regions of the package `regions <https://astropy-regions.readthedocs.io>`_ (circle,
        ellipse, rectangle, polygon, annuli, and their combinations) in any frame, a DS9 region file, or a mask map of
        gammapy, which is False where it excludes.

    Attributes
    ----------
    frame : str
        ``"galactic"`` or ``"icrs"``.
    lon, lat : float
        Centre in degrees.
    outline : SkyShape
        Its shape, before anything is cut out.
    exclude : tuple of SkyShape
        What is cut out.
    half_width : tuple of float or None
        Half widths in degrees (longitude, latitude) of an upright rectangle.
    half_extent : tuple of float
        Half widths in degrees (longitude, latitude) of an upright box around the outline.
    energy_min, energy_max : float
        Range of reconstructed energy in TeV.
    solid_angle : float
        Of the outline, in steradians.
    radius : float
        Radius in degrees of a circle around the centre that holds the region.

    Raises
    ------
    RegionError
        If neither or both of ``width`` and ``radius`` are given, a size is not positive or too large, the
        frame is not galactic or ICRS, the energy range is empty, an exclusion cannot be used or leaves nothing.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from regions import CircleSkyRegion
    >>> centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    >>> roi = RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
    >>> round(roi.solid_angle, 6)
    0.012471
    >>> roi.contains([0.0, 3.3], [1.0, 0.0]).tolist()
    [True, False]
    >>> disc = CircleSkyRegion(centre, 0.5 * u.deg)
    >>> roi = RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV, exclude=disc)
    >>> roi.contains([0.0, 0.0], [1.0, 0.0]).tolist()
    [True, False]
    """

    def __init__(
        self,
        center: SkyCoord,
        width: u.Quantity | Sequence[u.Quantity] | None = None,
        radius: u.Quantity | None = None,
        *,
        energy: u.Quantity | Sequence[u.Quantity],
        exclude: Any = (),
    ) -> None:
        frame, lon, lat = scalar_direction(center, "center")
        if (width is None) == (radius is None):
            raise RegionError("give exactly one of width (rectangle) and radius (circle).")
        outline: SkyShape
        if width is not None:
            full = np.atleast_1d(to_value(width, "deg", "width"))
            if full.shape not in [(1,), (2,)]:
                raise RegionError(f"width must be one angle or two (longitude, latitude), got {full.size}.")
            half = np.broadcast_to(full / 2, 2)
            outline = Rectangle(lon, lat, float(half[0]), float(half[1]))
        else:
            size = scalar_value(radius, "deg", "radius")
            if not 0 < size <= 80:
                raise RegionError(f"radius must be positive and at most 80 deg, got {size} deg.")
            outline = Circle(lon, lat, size)
        self._set(frame, outline, energy, exclude)

    @classmethod
    @checked(frame=text)
    def from_region(
        cls,
        region: Any,
        *,
        energy: u.Quantity | Sequence[u.Quantity],
        exclude: Any = (),
        frame: str | None = None,
    ) -> Self:
        """Region of interest bounded by a sky region: an ellipse, a turned rectangle, a polygon, an annulus, a mask.

        Parameters
        ----------
        region : regions.SkyRegion, path or gammapy map
            One sky region, a DS9 file that holds one, or a mask map of gammapy, which is True inside.
        energy : `~astropy.units.Quantity`
            Range (minimum, maximum) of reconstructed energy.
        exclude : region, path or gammapy map, or a list of them, optional
            As for the class.
        frame : {"galactic", "icrs"}, optional
            Frame of the analysis. Default: that of the region where it is one of these, else ICRS.

        Returns
        -------
        RegionOfInterest
            Around the middle of the region.

        Raises
        ------
        RegionError
            If it is no such region, or more than one; says what it is.

        Examples
        --------
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> from regions import EllipseSkyRegion
        >>> centre = SkyCoord(83.63 * u.deg, 22.01 * u.deg)
        >>> ellipse = EllipseSkyRegion(centre, width=2 * u.deg, height=1 * u.deg, angle=30 * u.deg)
        >>> RegionOfInterest.from_region(ellipse, energy=(1, 10) * u.TeV)
        RegionOfInterest(icrs, lon=83.63 deg, lat=22.01 deg, Ellipse within 1 deg, energy=(1, 10) TeV)
        """
        from pymc_gamma.geometry.sky_regions import frame_of, single_shape

        frame = frame_of(region) if frame is None else frame
        sky_frame(frame)  # an unknown one is refused here
        outline = single_shape(region, frame)
        if not outline.bounds()[2] <= 80:
            raise RegionError(
                f"a region of interest must fit into a circle of 80 deg, got {outline.bounds()[2]:.4g} deg."
            )
        roi = cls.__new__(cls)
        roi._set(frame, outline, energy, exclude)
        return roi

    def _set(self, frame: str, outline: SkyShape, energy: Any, exclude: Any) -> None:
        self.frame, self.outline = frame, outline
        self.lon, self.lat, self.radius = outline.bounds()
        upright = isinstance(outline, Rectangle) and outline.angle == 0
        self.half_width = (outline.half_width, outline.half_height) if upright else None  # type: ignore[attr-defined]
        bounds = to_value(energy, "TeV", "energy")
        if bounds.shape != (2,) or not (np.all(np.isfinite(bounds)) and 0 < bounds[0] < bounds[1]):
            raise RegionError(
                f"energy must be a range (minimum, maximum) with 0 < minimum < maximum, got {bounds} TeV."
            )
        self.energy_min, self.energy_max = float(bounds[0]), float(bounds[1])
        self._basis = tangent_basis(self.lon, self.lat)
        self.exclude = self._excluded(exclude)

    def _excluded(self, exclude: Any) -> tuple[SkyShape, ...]:
        several = [] if exclude is None else list(exclude) if _is_list(exclude) else [exclude]
        if not several:
            return ()
        if all(isinstance(one, SkyShape) for one in several):
            shapes = tuple(several)
        else:
            from pymc_gamma.geometry.sky_regions import shapes_of

            shapes = tuple(shape for one in several for shape in shapes_of(one, self.frame))
        lon, lat, _ = self.quadrature(self.radius / 100)
        vectors = unit_vectors(lon, lat)
        if len(lon) and np.all(np.any([shape.contains(vectors) for shape in shapes], axis=0)):
            raise RegionError(f"exclude leaves nothing of the {self!r}.")
        return shapes

    def __repr__(self) -> str:
        if self.half_width is not None:
            size = f"width=({2 * self.half_width[0]:g}, {2 * self.half_width[1]:g}) deg"
        elif isinstance(self.outline, Circle):
            size = f"radius={self.radius:g} deg"
        else:
            size = f"{type(self.outline).__name__} within {self.radius:.4g} deg"
        cut = f", {len(self.exclude)} excluded" if getattr(self, "exclude", ()) else ""
        return (
            f"RegionOfInterest({self.frame}, lon={self.lon:g} deg, lat={self.lat:g} deg, {size}{cut}, "
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

    @property
    def half_extent(self) -> tuple[float, float]:
        """Half widths in degrees (longitude, latitude) of an upright box around the outline, in the offset frame."""
        return self.half_width or (self.radius, self.radius)

    @cached_property
    def solid_angle(self) -> float:
        """Solid angle of the outline in sr."""
        known = self.outline.solid_angle
        return float(self.quadrature(SOLID_ANGLE_STEP * self.radius)[2].sum()) if known is None else known

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers that define the region (degrees, TeV)."""
        return {
            "frame": self.frame,
            "outline": self.outline.to_dict(),
            "exclude": [shape.to_dict() for shape in self.exclude],
            "energy": [self.energy_min, self.energy_max],
        }

    @classmethod
    @checked(data=mapping)
    def from_dict(cls, data: dict[str, Any]) -> "RegionOfInterest":
        """Inverse of :meth:`to_dict`."""
        roi = cls.__new__(cls)
        exclude = [SkyShape.from_dict(one) for one in data["exclude"]]
        roi._set(data["frame"], SkyShape.from_dict(data["outline"]), np.asarray(data["energy"]) * u.TeV, exclude)
        return roi

    @checked(coords=directions)
    def lonlat(self, coords: SkyCoord) -> tuple[FloatArray, FloatArray]:
        """Longitude in (-180, 180] and latitude, in degrees, in the frame of the region."""
        here = coords.transform_to(sky_frame(self.frame)).spherical
        lon = (here.lon.deg + 180) % 360 - 180
        return np.asarray(lon, float), np.asarray(here.lat.deg, float)

    @checked("lon", "lat", lon=plain("deg"), lat=plain("deg"))
    def offset_lonlat(self, lon: ArrayLike, lat: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Coordinates in the offset frame (degrees) of directions in the frame of the region (degrees)."""
        return lonlat_from_vectors(unit_vectors(lon, lat) @ self._basis.T)

    @checked("lon", "lat", lon=plain("deg"), lat=plain("deg"))
    def from_offset(self, lon: ArrayLike, lat: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Inverse of :meth:`offset_lonlat`."""
        return lonlat_from_vectors(unit_vectors(lon, lat) @ self._basis)

    @checked("lon", "lat", lon=plain("deg"), lat=plain("deg"))
    def offset(self, lon: ArrayLike, lat: ArrayLike) -> FloatArray:
        """Angle from the centre in degrees."""
        return separation_deg(unit_vectors(lon, lat), self._basis[0])

    @checked("lon", "lat", lon=plain("deg"), lat=plain("deg"))
    def contains(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.bool_]:
        """Whether directions (degrees, frame of the region) lie in the region and in nothing that is cut out."""
        return self.contains_vectors(unit_vectors(lon, lat))

    @checked(vectors=vectors)
    def contains_vectors(self, vectors: FloatArray) -> NDArray[np.bool_]:
        """As :meth:`contains`, for unit vectors (..., 3)."""
        inside = self.outline.contains(vectors)
        return inside & ~self.excludes_vectors(vectors) if self.exclude else inside

    @checked(vectors=vectors)
    def excludes_vectors(self, vectors: FloatArray) -> NDArray[np.bool_]:
        """Whether unit vectors (..., 3) lie in something that is cut out."""
        out = np.zeros(np.shape(vectors)[:-1], bool)
        for shape in self.exclude:
            out |= shape.contains(vectors)
        return out

    @checked(step=partial(number, low=0))
    def quadrature(self, step: float = 0.05) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Nodes and weights of an integral over the outline, what is cut out of it included.

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
        cells = self.cells(step)
        weight = cells.solid_angle
        if self.outline.solid_angle is None:
            weight = weight * covered_fraction(cells, self.outline.contains)
        kept = np.flatnonzero(weight > 0)
        half = np.full(len(kept), 0.5)
        lon, lat = lonlat_from_vectors(cells.points(kept, half, half))
        return lon, lat, weight[kept]

    @checked(step=partial(number, low=0))
    def cells(self, step: float = 0.05) -> Cells:
        """Small cells that cover the outline, no wider than ``step`` in degrees."""
        return self.outline.cells(step)

    @checked(step=partial(number, low=0))
    def cell_edges(self, step: float = 0.05) -> tuple[FloatArray, FloatArray]:
        """Edges in the offset frame (degrees) of a grid of cells that covers the region.

        For anything but an upright rectangle the grid covers a square around it.
        """
        half = self.half_width or (self.radius / max(np.cos(np.radians(self.radius)), 0.1), self.radius)
        edges = BoxCells(self._basis, half[0], half[1], step).edges
        return edges[0], edges[1]


def covered_fraction(cells: Cells, contains: Callable[[FloatArray], NDArray[np.bool_]]) -> FloatArray:
    """Share of each cell that lies inside, shape (n,); see :func:`covered_cells`."""
    out = np.zeros(len(cells.solid_angle))
    index, _, fraction = covered_cells(cells, contains)
    out[index] = fraction
    return out


def covered_cells(
    cells: Cells, contains: Callable[[FloatArray], NDArray[np.bool_]]
) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Cells that lie inside of something, at least in part.

    Parameters
    ----------
    cells : Cells
        n cells.
    contains : callable
        Whether unit vectors (n, 3) lie inside.

    Returns
    -------
    index : numpy.ndarray
        Which cells, shape (m,).
    vectors : numpy.ndarray
        Middle of the part of each that lies inside, shape (m, 3).
    fraction : numpy.ndarray
        How large that part is, shape (m,): 1 but for the cells that an edge crosses, where points are counted.
    """
    n = len(cells.solid_angle)

    def look(which: NDArray[np.int64], u: FloatArray, w: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        points = cells.points(np.repeat(which, len(u)), np.tile(u, len(which)), np.tile(w, len(which)))
        return points.reshape(len(which), -1, 3), contains(points).reshape(len(which), -1)

    # the first look is at corners too, so that no edge passes between two cells
    corner = np.array([0.0, 0.5, 1.0])
    corners, inside = look(np.arange(n), np.tile(corner, 3), np.repeat(corner, 3))
    share = inside.mean(axis=1)
    middle = corners[:, 4]
    crossed = np.flatnonzero((share > 0) & (share < 1))
    if len(crossed):
        points, inside = look(crossed, *lattice())
        share[crossed] = inside.mean(axis=1)
        total = (points * inside[..., None]).sum(axis=1)
        middle[crossed] = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), np.finfo(float).tiny)
    index = np.flatnonzero(share > 0)
    return index, np.ascontiguousarray(middle[index]), np.asarray(share[index])


def _is_list(thing: Any) -> bool:
    single = isinstance(thing, str | bytes | Path | SkyCoord) or hasattr(thing, "geom")
    return isinstance(thing, Iterable) and not single
