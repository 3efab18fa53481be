r"""Counts of events in bins of energy, of position, or of distance from a direction.

A bin is half-open, :math:`[x_b, x_{b+1})`, the last one closed; events in no bin are not counted. A ring of radii
:math:`[r_b, r_{b+1})` around a direction is measured on the sphere.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError
from pymc_gamma.events.binning import cell_index, given_edges, longitude_edges
from pymc_gamma.events.skymap import SkyMap
from pymc_gamma.geometry import separation_deg, sky_frame, unit_vectors

if TYPE_CHECKING:
    from pymc_gamma.events.container import Events

__all__ = ["Bins"]


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins of reconstructed energy and of the sky.

    Parameters
    ----------
    frame : str
        Frame of the directions.
    energy : numpy.ndarray, optional
        Edges [TeV].
    lon, lat : numpy.ndarray, optional
        Edges [deg].
    radius : numpy.ndarray, optional
        Edges of the distance from ``center`` [deg], instead of ``lon`` and ``lat``.
    center : tuple of float, optional
        Longitude and latitude [deg] from which the radius counts.
    sky : SkyMap, optional
        Coordinates of ``lon`` and ``lat``. Default: longitude and latitude.
    """

    frame: str
    energy: FloatArray | None = None
    lon: FloatArray | None = None
    lat: FloatArray | None = None
    radius: FloatArray | None = None
    center: tuple[float, float] | None = None
    sky: SkyMap | None = None

    @classmethod
    def from_quantities(
        cls,
        frame: str,
        energy: u.Quantity | None = None,
        lon: u.Quantity | None = None,
        lat: u.Quantity | None = None,
        center: SkyCoord | None = None,
        radius: u.Quantity | None = None,
    ) -> Self:
        """Check edges given by a user; an axis left out is not divided.

        Raises
        ------
        EventError
            If edges do not increase, or the axes contradict each other.
        TypeError
            If edges have no unit, or ``center`` is no direction.
        """
        if (lon is None) != (lat is None):
            raise EventError("give the edges of both lon and lat, or of neither.")
        if (center is None) != (radius is None):
            raise EventError("center and radius go together: a direction and the edges of rings around it.")
        if lon is not None and radius is not None:
            raise EventError("give either lon and lat, or center and radius.")
        rings = _edges(radius, "deg", "radius")
        if rings is not None and rings[0] < 0:
            raise EventError(f"radius edges must not be negative, got {rings[0]:g} deg.")
        return cls(
            frame,
            energy=_edges(energy, "TeV", "energy"),
            lon=None if lon is None else longitude_edges(lon),
            lat=_edges(lat, "deg", "lat"),
            radius=rings,
            center=None if center is None else _direction(center, frame),
        )

    @property
    def edges(self) -> dict[str, FloatArray]:
        """Edges by axis, in the order of the dims of :meth:`count`."""
        axes = {"energy": self.energy, "lat": self.lat, "lon": self.lon, "radius": self.radius}
        return {name: edges for name, edges in axes.items() if edges is not None}

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of bins along each axis."""
        return tuple(len(edges) - 1 for edges in self.edges.values())

    @property
    def coords(self) -> dict[str, Any]:
        """Centres of the bins (geometric in energy), with their units, for xarray."""
        centres: dict[str, Any] = {}
        for name, edges in self.edges.items():
            middle = np.sqrt(edges[1:] * edges[:-1]) if name == "energy" else 0.5 * (edges[1:] + edges[:-1])
            centres[name] = (name, middle, {"units": "TeV" if name == "energy" else "deg"})
        return centres

    def count(self, energy: FloatArray, lon: FloatArray, lat: FloatArray, weights: FloatArray | None = None) -> Any:
        """Sum of the weights (default 1) of the events in each bin, of shape :attr:`shape`.

        Parameters
        ----------
        energy, lon, lat : numpy.ndarray
            TeV and degrees in :attr:`frame`, shape ``(event,)``.
        weights : numpy.ndarray, optional
            Multiplicities, shape ``(event,)``.
        """
        which = []
        if self.energy is not None:
            which.append(cell_index(energy, self.energy))
        if self.lat is not None:
            which.append(cell_index(self._map.coordinates(lon, lat)[1], self.lat))
        if self.lon is not None:
            which.append(cell_index(self._map.coordinates(lon, lat)[0], self.lon))
        if self.radius is not None and self.center is not None:
            separation = separation_deg(unit_vectors(lon, lat), unit_vectors(*self.center))
            which.append(cell_index(separation, self.radius))
        if not which:
            return np.asarray(len(energy) if weights is None else weights.sum(), dtype=np.float64)
        inside = np.logical_and.reduce([index >= 0 for index in which])
        flat = np.ravel_multi_index([index[inside] for index in which], self.shape)
        kept = None if weights is None else weights[inside]
        counts = np.bincount(flat, weights=kept, minlength=int(np.prod(self.shape)))
        return counts.reshape(self.shape).astype(np.float64)

    @property
    def _map(self) -> SkyMap:
        """Map whose longitudes have no jump between the edges."""
        middle = 0.0 if self.lon is None else float(0.5 * (self.lon[0] + self.lon[-1]))
        return self.sky or SkyMap(self.frame, middle, 0.0)

    def count_events(self, events: "Events") -> FloatArray:
        """Events in each bin, with their multiplicities, of shape :attr:`shape`."""
        here = events.without_cells().to_frame(self.frame)  # counted where their rows stand
        return np.asarray(self.count(here.energy.value, here.lon.value, here.lat.value, here.multiplicity))


def _edges(values: u.Quantity | None, unit: str, name: str) -> FloatArray | None:
    return None if values is None else given_edges(values, unit, name)


def _direction(center: SkyCoord, frame: str) -> tuple[float, float]:
    if not isinstance(center, SkyCoord):
        raise TypeError(f"center must be an astropy SkyCoord, got {type(center).__name__}.")
    if not center.isscalar:
        raise EventError(f"center must be a single direction, got an array of shape {center.shape}.")
    spherical = center.transform_to(sky_frame(frame)).spherical
    return float(spherical.lon.deg), float(spherical.lat.deg)
