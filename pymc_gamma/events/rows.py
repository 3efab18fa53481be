"""Names of the columns of events as plain rows of numbers, the form that PyMC sees.

A row begins with what was reconstructed. A multiplicity may follow, and after it the edges of the cell that the events
of the row fill. An array has no names, so its number of columns says which of these it has: :func:`row_layout` is the
one place that knows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELL", "EVENT_ROWS", "MULTIPLICITY", "RECO", "SPACE_ROWS", "RowLayout", "row_layout"]

RECO = ("energy", "lon", "lat")
MULTIPLICITY = "multiplicity"
"""How many events a row stands for."""
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
