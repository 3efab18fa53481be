"""Which observation an event belongs to, by its arrival time.

Good times of the observations of a list are disjoint, so that every time lies in one of them at most. An event at the
edge that two of them share belongs to the later one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError, warn_user
from pymc_gamma.events.rows import TIME
from pymc_gamma.instrument.good_time import TOLERANCE, GoodTime
from pymc_gamma.times import from_seconds, reference

if TYPE_CHECKING:
    from pymc_gamma.events.container import Events
    from pymc_gamma.instrument.observation import Observation

__all__ = ["draw_times", "outside_good_time", "split_events"]


def split_events[EventsT: "Events"](
    events: EventsT, observations: "Sequence[Observation] | Sequence[Sequence[Observation]]"
) -> EventsT:
    """See :meth:`pymc_gamma.events.Events.split`."""
    groups, nested = _groups(observations)
    seconds = events.to_rows((TIME,))[:, 0]
    if len(events) and np.isnan(seconds).all():
        raise EventError(
            "events without arrival times cannot be split by them. Times come with events of gammapy and of files; "
            "cells (binned) have none: split before. Or give them, events.with_time(time)."
        )
    index = np.full(len(events), -1)
    if nested and len(events) and events.observation.max() >= len(groups):
        raise EventError(
            f"events belong to observations up to {events.observation.max()}, but {len(groups)} list(s) of "
            "observations are given; give one for each."
        )
    first = 0
    for k, group in enumerate(groups):
        mine = np.flatnonzero(events.observation == k) if nested else np.arange(len(events))
        found = _assign(seconds[mine], group, first)
        index[mine] = np.where(found < 0, -1, found + first)
        first += len(group)
    left_out = {
        "without a time": float(events.multiplicity[np.isnan(seconds)].sum()),
        "outside their good time": float(events.multiplicity[~np.isnan(seconds) & (index < 0)].sum()),
    }
    n_outside = sum(left_out.values())
    kept = events[index >= 0].with_observation(index[index >= 0])
    if n_outside:
        kept.meta["outside_time_bins"] = n_outside
        told = ", ".join(f"{count:g} {reason}" for reason, count in left_out.items() if count)
        warn_user(
            f"{n_outside:g} of {events.n_total:g} events belong to none of the {first} observations: {told}. They are "
            "left out."
        )
    return kept


def _groups(observations: Any) -> "tuple[list[list[Observation]], bool]":
    """Lists of observations, and whether there is one for each index of the events."""
    if not isinstance(observations, list | tuple):
        observations = [observations]
    nested = [isinstance(one, list | tuple) for one in observations]
    if any(nested) and not all(nested):
        raise EventError("observations must be one list of them, or one list for each index; got a mixture of both.")
    groups = [list(one) for one in observations] if any(nested) else [list(observations)]
    wrong = [type(one).__name__ for group in groups for one in group if not hasattr(one, "good_time_s")]
    if wrong:
        raise TypeError(f"observations must be Observation, found {wrong[0]} among them.")
    return groups, any(nested)


def _assign(seconds: FloatArray, observations: "list[Observation]", first: int) -> NDArray[np.int64]:
    """Which of the observations each time lies in, -1 if in none; ``first`` counts those before, for messages."""
    start, stop, which = _intervals(observations, first)
    if not len(start):
        return np.full(len(seconds), -1)
    over = np.flatnonzero(stop[:-1] - start[1:] > TOLERANCE)
    if over.size:
        one, other = (_label(observations, int(which[over[0] + shift]), first) for shift in (0, 1))
        raise EventError(
            f"the good times of observations {one} and {other} overlap, so that a time does not say which of them an "
            "event belongs to; give one list of observations for each index that the events have now, "
            "events.split([[...], [...]])."
        )
    before = np.searchsorted(start, seconds, side="right") - 1
    after = np.minimum(before + 1, len(start) - 1)
    in_before = (before >= 0) & (seconds <= stop[before] + TOLERANCE)
    in_after = (seconds >= start[after] - TOLERANCE) & (seconds <= stop[after] + TOLERANCE)
    return np.where(in_before, which[before], np.where(in_after, which[after], -1))


def _intervals(observations: "list[Observation]", first: int) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Start and end of all good times in order, and the observation of each."""
    rows = []
    for k, one in enumerate(observations):
        if one.good_time_s is None:
            raise EventError(
                f"observation {_label(observations, k, first)} has no good time intervals, so events cannot be given "
                "to it by their times; give them with Observation(..., good_time=start + [0, 30] * u.min)."
            )
        rows += [(*interval, k) for interval in one.good_time_s]
    table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2].astype(np.int64)


def _label(observations: "list[Observation]", k: int, first: int) -> str:
    return f"{first + k}" + (f" ({observations[k].name})" if observations[k].name else "")


def outside_good_time(events: "Events", observations: "Sequence[Observation]") -> NDArray[np.bool_]:
    """Which events arrived outside the good time of their observation; none where either is not known."""
    outside = np.zeros(len(events), bool)
    seconds = events.to_rows((TIME,))[:, 0]
    if np.isnan(seconds).all():
        return outside
    for k, one in enumerate(observations):
        if one.good_time_s is not None:
            good = GoodTime(reference(), *one.good_time_s.T)
            mine = np.flatnonzero((events.observation == k) & ~np.isnan(seconds))
            outside[mine] = ~good.contains(seconds[mine])
    return outside


def draw_times[EventsT: "Events"](
    events: EventsT, observations: "Sequence[Observation]", rng: np.random.Generator
) -> EventsT:
    """Simulated events with times drawn uniformly in the good time of their observation, where that is known."""
    if all(one.good_time_s is None for one in observations):
        return events
    seconds = np.full(len(events), np.nan)
    for k, one in enumerate(observations):
        if one.good_time_s is not None:
            mine = np.flatnonzero(events.observation == k)
            seconds[mine] = GoodTime(reference(), *one.good_time_s.T).draw(len(mine), rng)
    return events.with_time(from_seconds(seconds))
