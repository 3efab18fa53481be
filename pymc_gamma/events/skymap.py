r"""Flat coordinates of maps of the sky.

Longitude and latitude as they are, a degree of latitude as long as one of the sky. Towards a pole of the frame the
meridians converge and such a map is all stretch: beyond :math:`|b| = 70` deg, coordinates are offsets in the
equal-area plane around the centre instead (:class:`pymc_gamma.geometry.EqualAreaPlane`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.events.validation import wrap_longitude
from pymc_gamma.geometry import EqualAreaPlane, lonlat_from_vectors, unit_vectors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SkyMap"]

_LABELS = {
    "galactic": ("Galactic longitude [deg]", "Galactic latitude [deg]"),
    "icrs": ("Right ascension [deg]", "Declination [deg]"),
}
_SYMBOLS = {"galactic": ("$l$", "$b$"), "icrs": ("RA", "Dec")}
_POLAR = 70.0


@dataclass(frozen=True)
class SkyMap:
    """Coordinates of a map.

    Parameters
    ----------
    frame : {"galactic", "icrs"}
        Frame of the directions.
    lon, lat : float
        Centre [deg].

    Examples
    --------
    >>> SkyMap("icrs", 179, 0).coordinates(np.array([-179.0]), np.array([0.5]))
    (array([181.]), array([0.5]))
    >>> x, y = SkyMap("icrs", 0, 90).coordinates(np.array([0.0, 90.0]), np.array([89.0, 89.0]))
    >>> x.round(3) + 0.0, y.round(3) + 0.0
    (array([0., 1.]), array([-1.,  0.]))
    """

    frame: str
    lon: float
    lat: float

    @classmethod
    def around(cls, frame: str, lon: FloatArray, lat: FloatArray) -> Self:
        """Map around the mean of directions [deg]."""
        centre = lonlat_from_vectors(unit_vectors(lon, lat).mean(axis=0))
        return cls(frame, float(centre[0]), float(centre[1]))

    @property
    def polar(self) -> bool:
        """Whether the coordinates are offsets in a plane."""
        return abs(self.lat) > _POLAR

    @property
    def labels(self) -> tuple[str, str]:
        """Labels of the two axes."""
        if not self.polar:
            return _LABELS[self.frame]
        lon, lat = _SYMBOLS[self.frame]
        return f"Offset east of {lon} = {self.lon:.4g}° [deg]", f"Offset north of {lat} = {self.lat:.4g}° [deg]"

    def coordinates(self, lon: Any, lat: Any) -> tuple[FloatArray, FloatArray]:
        """Map coordinates [deg] of directions [deg] in the frame of the map; the first grows to the east."""
        lon, lat = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
        if self.polar:
            return EqualAreaPlane(self.lon, self.lat).to_plane(lon, lat)
        return wrap_longitude(lon, self.lon), lat

    def directions(self, x: Any, y: Any) -> tuple[FloatArray, FloatArray]:
        """Inverse of :meth:`coordinates`: longitude and latitude [deg]."""
        if self.polar:
            return EqualAreaPlane(self.lon, self.lat).to_sky(x, y)
        return wrap_longitude(np.asarray(x, dtype=np.float64)), np.asarray(y, dtype=np.float64)

    def label_axes(self, ax: "Axes") -> None:
        """Name the axes, let the first increase leftwards, and make a degree equally long both ways."""
        x_label, y_label = self.labels
        ax.set(xlabel=x_label, ylabel=y_label)
        ax.set_aspect(1.0 if self.polar else 1.0 / np.cos(np.radians(self.lat)))
        ax.locator_params(axis="x", nbins=6)
        if not ax.xaxis_inverted():
            ax.invert_xaxis()
