"""Extents of the cells that binned events fill.

A cell is a range of energies times a rectangle in longitude and latitude, in the frame of its events. The events in it
are only known to lie inside: their density is the average over the cell.
"""

from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError
from pymc_gamma.events.validation import ENERGIES
from pymc_gamma.units import to_value

__all__ = ["Cells"]

_ROUNDING = 1e-9
_ROWS_NAMED = 5


class Cells:
    """Edges of cells, one for each row of an event list.

    Parameters
    ----------
    energy : `~astropy.units.Quantity`
        Lower and upper edge, shape ``(event, 2)``.
    lon, lat : `~astropy.units.Quantity`
        Edges in the frame of the events, shape ``(event, 2)``. Equal edges are an event that is known exactly.

    Raises
    ------
    TypeError
        If edges have no unit.
    EventError
        If shapes differ, an edge is not finite, edges are reversed, an energy is not positive, a latitude beyond a
        pole, or a cell goes round the sky.

    Examples
    --------
    >>> import astropy.units as u
    >>> cells = Cells([[1, 2]] * u.TeV, [[0, 0.1]] * u.deg, [[-0.1, 0]] * u.deg)
    >>> len(cells), cells.energy
    (1, <Quantity [[1., 2.]] TeV>)
    """

    __slots__ = ("_edges",)

    def __init__(self, energy: u.Quantity, lon: u.Quantity, lat: u.Quantity) -> None:
        columns = [_pairs(energy, "TeV", "energy"), _pairs(lon, "deg", "lon"), _pairs(lat, "deg", "lat")]
        if len({len(column) for column in columns}) > 1:
            raise EventError(f"edges of cells need the same length, got {[len(column) for column in columns]}.")
        self._edges = np.concatenate(columns, axis=1)
        _check(self._edges)
        self._edges.setflags(write=False)

    @classmethod
    def from_edges(cls, edges: FloatArray) -> Self:
        """From an array (N, 6) with the columns :data:`pymc_gamma.events.rows.CELL`, TeV and deg."""
        return cls(edges[:, :2] * u.TeV, edges[:, 2:4] * u.deg, edges[:, 4:] * u.deg)

    @property
    def edges(self) -> FloatArray:
        """Edges as numbers (N, 6): energy [TeV], longitude and latitude [deg], lower and upper."""
        return self._edges

    @property
    def energy(self) -> u.Quantity:
        """Edges of the energy [TeV], shape ``(event, 2)``."""
        return u.Quantity(self._edges[:, :2], "TeV", copy=False)

    @property
    def lon(self) -> u.Quantity:
        """Edges of the longitude [deg], shape ``(event, 2)``; continuous across +-180 deg."""
        return u.Quantity(self._edges[:, 2:4], "deg", copy=False)

    @property
    def lat(self) -> u.Quantity:
        """Edges of the latitude [deg], shape ``(event, 2)``."""
        return u.Quantity(self._edges[:, 4:], "deg", copy=False)

    def __len__(self) -> int:
        return len(self._edges)

    def around(self, energy: FloatArray, lon: FloatArray, lat: FloatArray) -> Self:
        """The same with longitudes next to those of the events (TeV, deg), checked to hold these.

        Raises
        ------
        EventError
            If there is another number of events, or one lies outside its cell.
        """
        if len(energy) != len(self):
            raise EventError(f"there are {len(energy)} events and {len(self)} cells; give one cell for each row.")
        edges = self._edges.copy()
        turns = np.round((0.5 * (edges[:, 2] + edges[:, 3]) - lon) / 360)
        edges[:, 2:4] -= 360 * turns[:, None]
        values = np.stack([energy, lon, lat], axis=1)
        slack = _ROUNDING * np.maximum(1.0, np.abs(values))
        outside = ((values < edges[:, ::2] - slack) | (values > edges[:, 1::2] + slack)).any(axis=1)
        _refuse(outside, "do not hold their events", edges)
        return type(self).from_edges(edges)

    def take(self, item: Any) -> Self:
        """Cells of some rows."""
        new = object.__new__(type(self))
        new._edges = self._edges[item]
        new._edges.setflags(write=False)
        return new


def _pairs(edges: u.Quantity, unit: str, name: str) -> FloatArray:
    values = to_value(edges, unit, name)
    if values.ndim != 2 or values.shape[1] != 2:
        raise EventError(f"{name} of cells must have shape (event, 2), lower and upper edges; got {values.shape}.")
    return np.asarray(values, dtype=np.float64)


def _check(edges: FloatArray) -> None:
    _refuse(~np.isfinite(edges).all(axis=1), "are not finite", edges)
    _refuse((edges[:, ::2] > edges[:, 1::2]).any(axis=1), "have their edges reversed", edges)
    _refuse(edges[:, 0] <= 0, "begin at an energy that is not positive", edges)
    low, high = ENERGIES
    _refuse((edges[:, 0] < low) | (edges[:, 1] > high), f"reach beyond energies from {low:g} to {high:g} TeV", edges)
    _refuse((edges[:, 4] < -90) | (edges[:, 5] > 90), "reach beyond a pole", edges)
    _refuse(edges[:, 3] - edges[:, 2] > 360, "go round the sky", edges)


def _refuse(bad: NDArray[np.bool_], fault: str, edges: FloatArray) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        example = ", ".join(f"{edge:g}" for edge in edges[rows[0]])
        raise EventError(
            f"{rows.size} of {len(edges)} cells {fault}: rows {rows[:_ROWS_NAMED].tolist()} (the first has the edges "
            f"{example}, of energy in TeV, lon and lat in deg)."
        )
