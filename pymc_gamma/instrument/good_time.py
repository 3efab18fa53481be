r"""Good time intervals: when a run took data that may be used.

A run lists intervals :math:`[a_k, b_k]`; a selection in time :math:`S` may narrow them further. Everything refers to
the same set, their union:

.. math:: T = S \cap \bigcup_k [a_k, b_k], \qquad t_{\rm on} = |T|, \qquad
          \text{events} = \{ i : t_i \in T \} .

Time that two intervals share counts once, and so does an interval that is listed twice. Times are compared as absolute
ones, whatever the zero point and the scale (UTC, TT) of each table.
"""

from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import DataFileError, warn_user
from pymc_gamma.times import header_reference, reference, seconds_since

__all__ = [
    "LONGEST",
    "NO_TIMES_KEY",
    "TOLERANCE",
    "GoodTime",
    "events_inside",
    "good_time",
    "of_intervals",
    "phase_band",
    "placeholders",
    "selected_events",
    "union",
    "whole_run",
]

TOLERANCE = 1e-6
"""Seconds by which an event may miss an interval: times are floats of some 1e8 s, exact to 1e-7 s."""

ANOTHER_NIGHT = 86400.0
"""Seconds between all events and the intervals from which on their clocks are taken to differ."""

LONGEST = 100 * 365.25 * 86400.0
"""Seconds, a century, from which on an interval cannot be one of observation."""

NO_TIMES_KEY = "PGNOTIME"
"""Header key of events of this package that have no arrival times; their TIME is the reference time."""


@dataclass(frozen=True, eq=False)
class GoodTime:
    """Disjoint intervals in which a run took data.

    Attributes
    ----------
    reference : astropy.time.Time
        Zero point.
    start, stop : numpy.ndarray
        Seconds since ``reference``, increasing, shape ``(interval,)``.
    selected : bool
        Whether a selection in time is among what made them.
    """

    reference: Any
    start: FloatArray
    stop: FloatArray
    selected: bool = False

    @property
    def duration_s(self) -> float:
        """Length of all intervals in seconds."""
        return float((self.stop - self.start).sum())

    def contains(self, seconds: ArrayLike) -> NDArray[np.bool_]:
        """Which times lie in an interval, both ends included; NaN does not.

        Parameters
        ----------
        seconds : array_like
            Seconds since the reference, shape ``(event,)``.

        Returns
        -------
        numpy.ndarray
            Mask of the same shape.
        """
        times = np.asarray(seconds, dtype=np.float64)
        if len(self.start) == 0:
            return np.zeros(times.shape, dtype=bool)
        last = np.searchsorted(self.start - TOLERANCE, times, side="right") - 1
        # searchsorted puts NaN after the last interval, and the comparison then says no
        return (last >= 0) & (times <= self.stop[np.maximum(last, 0)] + TOLERANCE)

    def within(self, start: float, stop: float) -> Self:
        """The part between two times."""
        return self._replaced(np.maximum(self.start, start), np.minimum(self.stop, stop))

    def without(self, start: float, stop: float) -> Self:
        """The part before and after."""
        before, after = self.within(-np.inf, start), self.within(stop, np.inf)
        return self._replaced(np.r_[before.start, after.start], np.r_[before.stop, after.stop])

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Seconds since the reference, drawn uniformly in the intervals, shape ``(n,)``."""
        ends = np.cumsum(self.stop - self.start)
        passed = ends[-1] * rng.random(n)
        which = np.minimum(np.searchsorted(ends, passed, side="right"), len(ends) - 1)
        return np.clip(self.stop[which] - (ends[which] - passed), self.start[which], self.stop[which])

    def _replaced(self, start: FloatArray, stop: FloatArray) -> Self:
        return type(self)(self.reference, *union(start, stop), selected=True)


def union(start: FloatArray, stop: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Disjoint intervals that cover the same as those given, in any order; those without a length are left out."""
    some = stop > start
    order = np.argsort(start[some], kind="stable")
    start, stop = start[some][order], np.maximum.accumulate(stop[some][order])
    first = np.r_[True, start[1:] > stop[:-1]][: len(start)]
    last = np.r_[first[1:], True][: len(start)]
    return start[first], stop[last]


def good_time(run: Any, label: str) -> GoodTime:
    """Good time of a gammapy run, with its selection in time if it has one (``run.select_time``).

    Parameters
    ----------
    run : gammapy.data.Observation
        The run.
    label : str
        Its name, for messages.

    Returns
    -------
    GoodTime

    Raises
    ------
    DataFileError
        If there is no interval, one is not finite or ends before it starts, or nothing is left.
    """
    # gammapy drops a whole interval when a part of it is deselected, so its own selection is not used here
    good = of_intervals(whole_run(run).gti, f"observation {label}")
    selection = run.obs_filter.time_filter
    if selection is None:
        return good
    first, last = (float(seconds_since(good.reference, selection[k])) for k in (0, 1))
    if not first < last:
        raise DataFileError(f"observation {label} has a selection in time that ends before it starts.")
    good = good.without(first, last) if run.obs_filter.inverted_time else good.within(first, last)
    if not good.duration_s > 0:
        raise DataFileError(f"observation {label} has no good time: its selection in time leaves nothing of its GTIs.")
    return good


def of_intervals(gti: Any, what: str) -> GoodTime:
    """Good time of a gammapy ``GTI``; ``what`` is the run or the file, for messages."""
    if gti is None or len(gti.table) == 0:
        raise DataFileError(f"{what} has no good time interval (GTI), so its duration is not known.")
    reference = gti.time_start[0]
    start, stop = (seconds_since(reference, times) for times in (gti.time_start, gti.time_stop))
    bad = ~(np.isfinite(start) & np.isfinite(stop) & (stop >= start) & (stop - start < LONGEST))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataFileError(
            f"{what}: {int(bad.sum())} of its {len(bad)} good time intervals (GTI) are not finite, end before they "
            f"start, or are longer than a century; the first is row {row}, {stop[row] - start[row]:g} s long."
        )
    good = GoodTime(reference, *union(start, stop))
    if not good.duration_s > 0:
        raise DataFileError(f"{what} has no good time: its {len(start)} good time intervals (GTI) have no length.")
    return good


def whole_run(run: Any) -> Any:
    """The run without its selections in time and phase."""
    from gammapy.data import ObservationFilter

    whole = copy(run)
    whole.obs_filter = ObservationFilter()
    return whole


def phase_band(run: Any, label: str) -> tuple[float, float] | None:
    """The selection in phase of a gammapy run, None without one.

    Raises
    ------
    DataFileError
        If the run has another selection of events, of which its live time knows nothing, or several in phase.
    """
    filters = run.obs_filter.event_filters
    for one in filters:
        if one.get("opts", {}).get("parameter") != "PHASE":
            raise DataFileError(
                f"observation {label} has the event filter {one!r}, which the instrument response does not know; "
                "remove it, and choose events by a region of interest instead."
            )
    if not filters:
        return None
    options = filters[0]["opts"]
    band = options.get("values", options.get("band"))  # "band" is the name in gammapy before 2.1
    try:
        low, high = (float(bound) for bound in band)
    except (TypeError, ValueError):
        low = high = np.nan
    if len(filters) > 1 or not options.get("is_range", True) or not 0 <= low < high <= 1:
        raise DataFileError(
            f"observation {label} has a selection in phase that leaves an unknown share of its time: {filters}; give "
            "one, with 0 <= minimum < maximum <= 1."
        )
    return low, high


def require_times(table: Any, good: GoodTime, what: str) -> bool:
    """Whether events have arrival times; an error if they have none and need them.

    They need none if they were simulated for the run as a whole, or if the run is one interval without a selection.

    Raises
    ------
    DataFileError
        If it is not certain that they were all taken in good time, or their times are not absolute ones.
    """
    from astropy.time import Time

    times = table["TIME"] if "TIME" in table.colnames else None
    if times is not None and not isinstance(times, Time):
        raise DataFileError(
            f"{what}: the column TIME of its events holds {type(times).__name__}, not absolute times "
            "(astropy Time); read the events with gammapy.data.EventList.read."
        )
    if len(table) == 0:
        return False
    if times is not None and not placeholders(table.meta, times):
        return True
    if good.selected or (times is None and not _covered(table.meta, good)):
        raise DataFileError(
            f"{what}: its events have no arrival times (TIME), so it is not known which of them lie in "
            "its good time intervals" + (" and in the selection in time." if good.selected else ".")
        )
    if times is None:
        warn_user(
            f"{what}: its events have no arrival times (TIME); all {len(table)} are taken to lie in its good time "
            "interval."
        )
    return False


def selected_events(run: Any, label: str) -> Any:
    """Event table of a gammapy run, with its selections in time and phase; None if it has no events.

    Raises
    ------
    DataFileError
        If the events lack the column that a selection needs.
    """
    events = whole_run(run).events
    if events is None:
        return None
    if run.obs_filter.time_filter is not None:
        # before gammapy selects by times that may be placeholders
        require_times(events.table, good_time(run, label), f"observation {label}")
        events = events.select_time(run.obs_filter.time_filter, run.obs_filter.inverted_time)
    band = phase_band(run, label)
    if band is not None:
        if "PHASE" not in events.table.colnames:
            raise DataFileError(f"observation {label} has a selection in phase, but its events have no column PHASE.")
        events = events.select_parameter("PHASE", band)
    return events.table


def events_inside(table: Any, good: GoodTime, what: str) -> NDArray[np.bool_]:
    """Which events of a gammapy event table were taken in good time.

    Parameters
    ----------
    table : astropy.table.Table
        With the column ``TIME`` as absolute times, as gammapy reads it.
    good : GoodTime
        Of the run.
    what : str
        The run or the file, for messages.

    Returns
    -------
    numpy.ndarray
        Mask, shape ``(event,)``.

    Raises
    ------
    DataFileError
        As for :func:`require_times`, or if all events lie more than a day before the first interval or after the last
        one: then the zero points do not agree.
    """
    if not require_times(table, good, what):
        return np.ones(len(table), dtype=bool)
    seconds = seconds_since(good.reference, table["TIME"])
    known = seconds[np.isfinite(seconds)]
    if known.size and max(good.start[0] - known.max(), known.min() - good.stop[-1]) > ANOTHER_NIGHT:
        raise DataFileError(
            f"{what}: its events and its good time intervals (GTI) do not belong together: events from "
            f"{known.min():.6g} to {known.max():.6g} s, intervals from {good.start[0]:.6g} to {good.stop[-1]:.6g} s, "
            f"counted from {good.reference.isot} ({good.reference.scale.upper()}). Compare MJDREFI, MJDREFF and "
            "TIMESYS in the headers of the two tables."
        )
    return good.contains(seconds)


def placeholders(meta: Any, times: Any) -> bool:
    """Whether these are events of this package, which have no times of their own."""
    if not meta.get(NO_TIMES_KEY):
        return False
    zero = header_reference(meta) if "MJDREFI" in meta else reference()  # of a table that astropy wrote
    return bool(np.all(np.abs(seconds_since(zero, times)) <= TOLERANCE))


def _covered(meta: Any, good: GoodTime) -> bool:
    """Whether one interval holds all the time of the events, by their header."""
    if len(good.start) > 1:
        return False
    if not all(key in meta for key in ("TSTART", "TSTOP", "MJDREFI", "MJDREFF")):
        return True
    import astropy.units as u

    first, last = (
        float(seconds_since(good.reference, header_reference(meta) + float(meta[key]) * u.s))
        for key in ("TSTART", "TSTOP")
    )
    return first >= good.start[0] - 1 and last <= good.stop[-1] + 1
