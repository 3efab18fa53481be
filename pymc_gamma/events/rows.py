"""Names of the columns of events as plain rows of numbers, the form that PyMC sees.

A row begins with what was reconstructed. A multiplicity may follow, and after it the edges of the cell that the events
of the row fill. An array has no names, so its number of columns says which of these it has: :func:`row_layout` is the
one place that knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError
from pymc_gamma.geometry import unit_vectors

__all__ = ["CELL", "EVENT_ROWS", "MULTIPLICITY", "RECO", "SPACE_ROWS", "TIME", "EventRows", "RowLayout", "row_layout"]

RECO = ("energy", "lon", "lat")
MULTIPLICITY = "multiplicity"
"""How many events a row stands for."""
TIME = "time"
"""When an event arrived, in seconds (TT) since :func:`pymc_gamma.times.reference`; NaN where that is not known."""
CELL = ("energy_min", "energy_max", "lon_min", "lon_max", "lat_min", "lat_max")
"""Edges of the cell that the events of a row fill, TeV and deg."""
EVENT_ROWS = ((), (MULTIPLICITY,), (MULTIPLICITY, *CELL))
"""What may follow the reconstructed columns where events are observed."""
SPACE_ROWS = ((), CELL)
"""What may follow them where densities are asked for."""


class RowLayout(NamedTuple):
    """Names of the columns of rows.

    Attributes
    ----------
    reco : tuple of str
        What was reconstructed: energy, direction, and what else tells events apart.
    extra : tuple of str
        What follows.
    """

    reco: tuple[str, ...]
    extra: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, in order."""
        return (*self.reco, *self.extra)

    def column(self, name: str) -> int:
        """Number of a column."""
        return self.names.index(name)

    @property
    def cell(self) -> slice | None:
        """Columns of the edges of cells; None if there are none."""
        return slice(self.column(CELL[0]), self.column(CELL[-1]) + 1) if CELL[0] in self.extra else None

    def completed(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows (N, n) of this layout from those of single events, or of events with multiplicities.

        An event counts once, and its cell has no extent; rows of NaN stay what they are.
        """
        columns = dict(zip((*self.reco, MULTIPLICITY), rows.T, strict=False))
        columns.setdefault(MULTIPLICITY, np.where(np.isnan(rows).all(axis=1), np.nan, 1.0))
        for name in CELL:
            columns[name] = columns.get(name.removesuffix("_min").removesuffix("_max"), np.empty(0))
        return np.stack([columns[name] for name in self.names], axis=1)


def row_layout(reco: Sequence[str], n_columns: int, kinds: Sequence[tuple[str, ...]] = EVENT_ROWS) -> RowLayout | None:
    """Layout of rows with so many columns; None if there is no such.

    Examples
    --------
    >>> row_layout(("energy", "lon", "lat"), 4).extra
    ('multiplicity',)
    """
    return next((RowLayout(tuple(reco), kind) for kind in kinds if len(reco) + len(kind) == n_columns), None)


@dataclass(frozen=True, eq=False)
class EventRows:
    """Events as named columns of numbers: the form in which the numerics see them.

    Attributes
    ----------
    energy : numpy.ndarray
        Reconstructed energies in TeV, shape (N,).
    lon, lat : numpy.ndarray
        Reconstructed directions in deg in the frame of the region, shape (N,).
    observation : numpy.ndarray
        Index of the observation that each event belongs to, shape (N,).
    cells : numpy.ndarray or None
        Edges of the cells that the events of a row fill, in the order of :data:`CELL`, shape (N, 6).
    """

    energy: FloatArray
    lon: FloatArray
    lat: FloatArray
    observation: FloatArray
    cells: FloatArray | None = None

    @classmethod
    def from_array(cls, rows: FloatArray, reco: Sequence[str]) -> "EventRows":
        """Columns of an array whose first columns are named; edges of cells may follow.

        Raises
        ------
        EventError
            If the array has another number of columns.
        """
        layout = row_layout(reco, rows.shape[1], SPACE_ROWS) if rows.ndim == 2 else None
        if layout is None:
            raise EventError(f"event rows must have shape (N, {len(reco)}) = {tuple(reco)}, got {rows.shape}.")
        columns = dict(zip(reco, rows.T, strict=False))
        return cls(
            energy=columns["energy"],
            lon=columns["lon"],
            lat=columns["lat"],
            observation=columns.get("observation", np.zeros(len(rows))),
            cells=None if layout.cell is None else rows[:, layout.cell],
        )

    def __len__(self) -> int:
        return len(self.energy)

    @cached_property
    def vectors(self) -> FloatArray:
        """Unit vectors of the directions, shape (N, 3)."""
        return unit_vectors(self.lon, self.lat)

    def by_observation(self) -> list[tuple[int, NDArray[np.intp]]]:
        """Index of each observation that events belong to, and the numbers of these events."""
        of = self.observation.astype(int)
        return [(o, np.flatnonzero(of == o)) for o in np.unique(of).tolist()]

    def take(self, which: NDArray[np.intp]) -> "EventRows":
        """Some of the events, given by ascending numbers."""
        if len(which) == len(self):
            return self
        cells = None if self.cells is None else self.cells[which]
        some = EventRows(self.energy[which], self.lon[which], self.lat[which], self.observation[which], cells)
        some.__dict__["vectors"] = self.vectors[which]
        return some

    def describe(self, row: int) -> dict[str, float]:
        """Energy, direction and observation of a row, for messages."""
        return {name: float(getattr(self, name)[row]) for name in (*RECO, "observation")}
