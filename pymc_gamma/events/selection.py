"""Which events are kept, and why the others are not; :mod:`pymc_gamma.instrument.domain` decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import EventError, warn_user
from pymc_gamma.events.splitting import outside_good_time
from pymc_gamma.geometry import RegionOfInterest, convert_lonlat, unit_vectors
from pymc_gamma.instrument.domain import Domain

if TYPE_CHECKING:
    from pymc_gamma.events.container import Events
    from pymc_gamma.instrument.observation import Observation

__all__ = ["EventSelection"]


@dataclass(frozen=True, eq=False)
class EventSelection:
    """Report of a selection. Each event left out is counted once, under the first reason that holds.

    Parameters
    ----------
    inside : numpy.ndarray
        Mask of the events kept, shape ``(event,)``.
    left_out : mapping
        Events (with multiplicities) that are not kept, by reason.
    roi : RegionOfInterest
        The region.
    n_total : float
        All events.
    """

    inside: NDArray[np.bool_]
    left_out: Mapping[str, float]
    roi: RegionOfInterest
    n_total: float
    _hint: str = field(default="", repr=False)

    @classmethod
    def from_events(
        cls, events: "Events", roi: RegionOfInterest, observations: "Observation | Sequence[Observation] | None" = None
    ) -> Self:
        """Compare ``events`` with a region and with the limits of their observations, if these are given.

        Directions are converted to the frame of the region.

        Raises
        ------
        EventError
            If an event belongs to none of the observations.
        RegionError
            If an observation keeps no energy of the region.
        """
        energy = events.energy.value
        lon, lat = convert_lonlat(events.lon.value, events.lat.value, events.frame, roi.frame)
        vectors = unit_vectors(lon, lat)
        inside = np.ones(len(events), bool)
        left_out: dict[str, float] = {}
        late = (
            np.zeros(len(events), bool) if observations is None else outside_good_time(events, _several(observations))
        )
        for domain, mine in _domains(events, roi, observations):
            for reason, bad in domain.reasons(vectors[mine], energy[mine]).items():
                inside[mine[bad]] = False
                left_out[reason] = left_out.get(reason, 0.0) + float(events.multiplicity[mine[bad]].sum())
        if (late := late & inside).any():
            inside[late] = False
            left_out["outside the good time"] = float(events.multiplicity[late].sum())
        hint = ""
        if len(events) and not inside.any():
            hint = (
                f" None is left: these events are in the frame {events.frame!r}, the first of them at longitude "
                f"{events.lon[0]:.4g} and latitude {events.lat[0]:.4g}; is that so?"
            )
        return cls(inside, left_out, roi, events.n_total, hint)

    @property
    def n_outside(self) -> float:
        """Number of events left out, multiplicities counted."""
        return sum(self.left_out.values())

    def __str__(self) -> str:
        if self.n_outside == 0:
            return f"All {self.n_total:g} events lie inside {self.roi}."
        told = ", ".join(f"{count:g} {reason}" for reason, count in self.left_out.items())
        return f"{self.n_outside:g} of {self.n_total:g} events lie outside {self.roi}: {told}.{self._hint}"

    def warn(self) -> None:
        """Issue a :class:`~pymc_gamma.errors.PymcGammaWarning` with the report if any event was left out."""
        if self.n_outside:
            warn_user(f"{self} They are left out.")


def _several(observations: "Observation | Sequence[Observation]") -> "list[Observation]":
    return list(observations) if isinstance(observations, Sequence) else [observations]


def _domains(
    events: "Events", roi: RegionOfInterest, observations: "Observation | Sequence[Observation] | None"
) -> list[tuple[Domain, NDArray[np.int64]]]:
    """What is kept of each observation, and the rows of its events."""
    if observations is None:
        return [(Domain(roi), np.arange(len(events)))]
    several = _several(observations)
    unknown = events.observation >= len(several)
    if unknown.any():
        raise EventError(
            f"{int(unknown.sum())} of {len(events)} events, first rows {np.flatnonzero(unknown)[:5].tolist()}, belong "
            f"to observation {int(events.observation.max())}, but {len(several)} observation(s) are given."
        )
    return [(Domain(roi, one), np.flatnonzero(events.observation == k)) for k, one in enumerate(several)]
