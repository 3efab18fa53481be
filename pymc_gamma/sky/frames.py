"""From the frame of a source to that of a region, and which sources are near enough to matter there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.geometry import convert_lonlat, frame_rotation, position_angle_vector, tangent_basis
from pymc_gamma.sky.component import Brightness, Shape, SkyGaussian, SkyPart, TemplateShape
from pymc_gamma.sky.maps import RotatedCells

if TYPE_CHECKING:
    from pymc_gamma.geometry import RegionOfInterest

__all__ = ["RotatedBrightness", "distance_to_region", "extent_deg", "parts_near"]

#: Radius of a Gaussian in standard deviations: 4e-6 of its flux lies outside (gammapy's evaluation radius).
GAUSSIAN_EXTENT = 5.0


@dataclass(frozen=True)
class RotatedBrightness:
    """A brightness defined in one frame, called with directions in another.

    Parameters
    ----------
    brightness : callable
        Longitude and latitude in degrees, in ``own_frame``, to sr-1.
    own_frame, frame : str
        Frame of the brightness, and of the directions it is called with.
    """

    brightness: Brightness
    own_frame: str
    frame: str

    def __call__(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        """Brightness in sr-1 at directions in degrees."""
        return self.brightness(*convert_lonlat(lon, lat, self.frame, self.own_frame))


def extent_deg(shape: Shape) -> float:
    """Radius in degrees outside which a shape is dark, or nearly so.

    Parameters
    ----------
    shape : SkyPoint, SkyGaussian or TemplateShape
        Any shape.

    Returns
    -------
    float
        0 for a point, five standard deviations along the major axis for a Gaussian.
    """
    if isinstance(shape, SkyGaussian):
        return GAUSSIAN_EXTENT * shape.sigma
    return shape.radius if isinstance(shape, TemplateShape) else 0.0


def distance_to_region(roi: "RegionOfInterest", lon: FloatArray, lat: FloatArray) -> FloatArray:
    """Distance in degrees from the edge of a region, 0 inside.

    Parameters
    ----------
    roi : RegionOfInterest
        Region.
    lon, lat : numpy.ndarray
        Directions in degrees, in its frame.

    Returns
    -------
    numpy.ndarray
        For a rectangle the excess over its half widths taken as a plane triangle: exact for a few degrees.
    """
    if roi.half_width is None:
        return np.maximum(roi.offset(lon, lat) - roi.radius, 0.0)
    x, y = roi.offset_lonlat(lon, lat)
    beyond_x = np.maximum(np.abs(x) - roi.half_width[0], 0.0) * np.cos(np.radians(y))
    return np.hypot(beyond_x, np.maximum(np.abs(y) - roi.half_width[1], 0.0))


def parts_near(parts: Sequence[SkyPart], frame: str, roi: "RegionOfInterest", margin_deg: float) -> tuple[SkyPart, ...]:
    """Parts that reach into a region, in its frame.

    Parameters
    ----------
    parts : sequence of SkyPart
        Parts with shapes in ``frame``.
    frame : str
        ``"galactic"`` or ``"icrs"``.
    roi : RegionOfInterest
        Region.
    margin_deg : float
        A part is kept when its extent comes within this many degrees of the region.

    Returns
    -------
    tuple of SkyPart
        In the order given. A shape that fills the sky is centred on the region.

    Raises
    ------
    SkyModelError
        If a position or an extent is not a number.
    """
    if not parts:
        return ()
    for part in parts:
        values = (part.shape.lon, part.shape.lat, extent_deg(part.shape))
        if np.isnan(values).any() or values[2] < 0:
            raise SkyModelError(
                f"The source {part.name!r} is at lon={values[0]:g} deg, lat={values[1]:g} deg with a radius "
                f"of {values[2]:g} deg; all must be numbers, the radius not negative."
            )
    lon, lat = convert_lonlat([p.shape.lon for p in parts], [p.shape.lat for p in parts], frame, roi.frame)
    lon = 180.0 - (180.0 - lon) % 360.0
    extent = np.array([extent_deg(p.shape) for p in parts])
    near = distance_to_region(roi, lon, lat) <= margin_deg + extent
    return tuple(
        replace(part, shape=_moved(part.shape, float(x), float(y), frame, roi))
        for part, x, y, keep in zip(parts, lon, lat, near, strict=True)
        if keep
    )


def _moved(shape: Shape, lon: float, lat: float, frame: str, roi: "RegionOfInterest") -> Shape:
    if isinstance(shape, SkyGaussian):
        return replace(shape, lon=lon, lat=lat, phi=_turned(shape, lon, lat, frame, roi.frame))
    if not isinstance(shape, TemplateShape):
        return replace(shape, lon=lon, lat=lat)
    if np.isinf(shape.radius):
        lon, lat = roi.lon, roi.lat
    if frame == roi.frame:
        return replace(shape, lon=lon, lat=lat)
    return replace(
        shape,
        lon=lon,
        lat=lat,
        brightness=RotatedBrightness(shape.brightness, frame, roi.frame),
        cells=None if shape.cells is None else RotatedCells(shape.cells, frame, roi.frame),
    )


def _turned(shape: SkyGaussian, lon: float, lat: float, frame: str, to: str) -> float:
    """Position angle in degrees in another frame, in which the shape is at (lon, lat)."""
    if frame == to or shape.e == 0:
        return shape.phi
    axis = frame_rotation(frame, to) @ position_angle_vector(shape.lon, shape.lat, shape.phi)
    _, east, north = tangent_basis(lon, lat)
    return float(np.degrees(np.arctan2(axis @ east, axis @ north)))
