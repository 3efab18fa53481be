"""Point-like responses: how far from a point source its events may be reconstructed.

The effective area of such a response counts photons of a point source whose events pass a cut in their distance from
it. The largest distance is a header keyword ``RAD_MAX`` of the tables, or a table of its own over reconstructed energy
and offset (``RAD_MAX_2D``), constant in bins of energy as such cuts are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import IRFError
from pymc_gamma.instrument.irfs.reading import Cells, read_axis, read_values

__all__ = ["RadMax", "is_point_like", "rad_max"]

WHAT = "largest distance (RAD_MAX)"
LARGEST = 10.0
"""Degrees."""


@dataclass(frozen=True)
class RadMax:
    """Largest distance from a point source at which events were kept when a point-like response was made.

    Attributes
    ----------
    energy : numpy.ndarray
        Edges of bins of reconstructed energy in TeV, shape (n_energy + 1,); the first and the last hold beyond.
    offset : numpy.ndarray
        Nodes of the offset of the source in deg, shape (n_offset,); linear between, constant beyond.
    radius : numpy.ndarray
        Degrees, shape (n_energy, n_offset).

    Raises
    ------
    ValueError
        If the shapes do not match.
    """

    energy: FloatArray
    offset: FloatArray
    radius: FloatArray

    def __post_init__(self) -> None:
        if self.radius.shape != (len(self.energy) - 1, len(self.offset)):
            raise ValueError(
                f"{len(self.energy) - 1} bins of energy and {len(self.offset)} offsets need as many radii, got the "
                f"shape {self.radius.shape}."
            )

    @property
    def is_fixed(self) -> bool:
        """Whether it is one radius at all energies and offsets."""
        return bool(np.ptp(self.radius) == 0)

    def at(self, energy: FloatArray, offset: float) -> FloatArray:
        """Radius in deg at reconstructed energies in TeV, of any shape, for a source at an offset in deg."""
        own = np.array([np.interp(offset, self.offset, row) for row in self.radius])
        which = np.clip(np.searchsorted(self.energy, energy, side="right") - 1, 0, len(own) - 1)
        return own[which]

    def arrays(self) -> dict[str, FloatArray]:
        """The table as arrays by name; enough to rebuild it."""
        return {"rad_max_energy": self.energy, "rad_max_offset": self.offset, "rad_max_radius": self.radius}

    @classmethod
    def from_arrays(cls, tables: Mapping[str, FloatArray]) -> "RadMax":
        """Inverse of :meth:`arrays`."""
        return cls(*(tables[f"rad_max_{key}"] for key in ("energy", "offset", "radius")))


def is_point_like(tables: Mapping[str, Any], name: str) -> bool:
    """Whether effective area and energy dispersion are those of a point-like response.

    Raises
    ------
    IRFError
        If one is and the other is not.
    """
    kinds = {key: bool(getattr(tables[key], "is_pointlike", False)) for key in ("aeff", "edisp") if tables.get(key)}
    if len(set(kinds.values())) > 1:
        point_like = [key for key, value in kinds.items() if value]
        raise IRFError(
            f"IRFs {name}: of effective area and energy dispersion {point_like} alone is point-like (HDUCLAS3); they "
            "are not of one response."
        )
    return any(kinds.values())


def rad_max(tables: Mapping[str, Any], name: str) -> RadMax | None:
    """The largest distance of a point-like response; None where tables do not say.

    Raises
    ------
    IRFError
        If it is not a positive angle.
    """
    table = tables.get("rad_max")
    if table is not None:
        energy, offset = read_axis(table, "energy", "TeV", WHAT, name), read_axis(table, "offset", "deg", WHAT, name)
        radius = read_values(table, "deg", WHAT, name)
        bad = ~((radius > 0) & (radius < LARGEST))
        if bad.any():
            raise IRFError(
                f"IRFs {name}: the {WHAT} must be between 0 and {LARGEST:g} deg; it is "
                f"{Cells.of(table).describe(bad, radius)} deg."
            )
        return RadMax(energy.edges, offset.centers, radius)
    for key in ("aeff", "edisp"):
        value = (getattr(tables.get(key), "meta", None) or {}).get("RAD_MAX")
        if value is None:
            continue
        try:
            largest = float(value)
        except (TypeError, ValueError):
            largest = np.nan
        if not 0 < largest < LARGEST:
            raise IRFError(
                f"IRFs {name}: RAD_MAX of {key} is {value!r}, expected the largest distance from the source in deg."
            )
        return RadMax(np.array([0.0, np.inf]), np.zeros(1), np.full((1, 1), largest))
    return None
