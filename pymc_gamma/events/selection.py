"""Which events fall inside a region of interest, and why the others do not."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import PymcGammaWarning
from pymc_gamma.geometry import RegionOfInterest, convert_lonlat

if TYPE_CHECKING:
    from pymc_gamma.events.container import Events

__all__ = ["EventSelection"]


@dataclass(frozen=True, eq=False)
class EventSelection:
    """Report of a selection. Each event left out is counted once, under the first reason that holds.

    Parameters
    ----------
    inside : numpy.ndarray
        Mask of the events kept, shape ``(event,)``.
    outside_region : float
        Events (with multiplicities) outside the region on the sky.
    below_energy, above_energy : float
        Events inside the region but below or above its energy range.
    roi : RegionOfInterest
        The region.
    n_total : float
        All events.
    """

    inside: NDArray[np.bool_]
    outside_region: float
    below_energy: float
    above_energy: float
    roi: RegionOfInterest
    n_total: float

    @classmethod
    def from_events(cls, events: "Events", roi: RegionOfInterest) -> Self:
        """Compare ``events`` with ``roi``; directions are converted to the frame of the region."""
        energy = events.energy.value
        lon, lat = convert_lonlat(events.lon.value, events.lat.value, events.frame, roi.frame)
        in_region = np.asarray(roi.contains(lon, lat), dtype=bool)
        below = in_region & (energy < roi.energy_min)
        above = in_region & (energy > roi.energy_max)
        weight = events.multiplicity
        return cls(
            inside=in_region & ~below & ~above,
            outside_region=float(weight[~in_region].sum()),
            below_energy=float(weight[below].sum()),
            above_energy=float(weight[above].sum()),
            roi=roi,
            n_total=events.n_total,
        )

    @property
    def n_outside(self) -> float:
        """Number of events left out, multiplicities counted."""
        return self.outside_region + self.below_energy + self.above_energy

    def __str__(self) -> str:
        if self.n_outside == 0:
            return f"All {self.n_total:g} events lie inside {self.roi}."
        reasons = [
            (self.outside_region, "outside the region on the sky"),
            (self.below_energy, f"below {self.roi.energy_min:g} TeV"),
            (self.above_energy, f"above {self.roi.energy_max:g} TeV"),
        ]
        told = ", ".join(f"{count:g} {reason}" for count, reason in reasons if count)
        return f"{self.n_outside:g} of {self.n_total:g} events lie outside {self.roi}: {told}."

    def warn(self) -> None:
        """Issue a :class:`~pymc_gamma.errors.PymcGammaWarning` with the report if any event was left out."""
        if self.n_outside:
            warnings.warn(f"{self} They are left out.", PymcGammaWarning, stacklevel=3)
