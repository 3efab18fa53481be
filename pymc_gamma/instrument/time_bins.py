r"""Observations cut into time bins.

A bin :math:`[t_j, t_{j+1})` takes of an observation the part of its good time :math:`T` that lies in it,

.. math:: T_j = T \cap [t_j, t_{j+1}), \qquad t_{\rm on, j} = t_{\rm on}\,\frac{|T_j|}{|T|}, \qquad
          t_{\rm live, j} = t_{\rm live}\,\frac{|T_j|}{|T|} ,

so that the dead-time fraction stays what it is, and on-times and live times add up to those of the observation where
the bins cover it. Events follow by their times (:mod:`pymc_gamma.events.splitting`).
"""

from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.time import Time

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import warn_user
from pymc_gamma.instrument.good_time import LONGEST, TOLERANCE, GoodTime, union
from pymc_gamma.times import from_seconds, reference, to_seconds
from pymc_gamma.units import to_value

if TYPE_CHECKING:
    from pymc_gamma.instrument.observation import Observation

__all__ = ["intervals", "split_observations"]


def intervals(times: Any) -> FloatArray:
    """Good time intervals given by a user, as seconds since the reference: disjoint, in order, shape ``(interval, 2)``.

    Raises
    ------
    TypeError
        If they are no astropy times.
    ValueError
        If the shape is another, a time is masked or not finite, or an interval is not longer than 0 or longer than a
        century.
    """
    seconds = to_seconds(times, "good_time")
    if seconds.ndim not in (1, 2) or seconds.shape[-1] != 2 or seconds.size == 0:
        raise ValueError(
            "good_time must be the start and the end of an interval, shape (2,), or of several, shape (interval, 2); "
            f"got times of shape {seconds.shape}."
        )
    start, stop = seconds.reshape(-1, 2).T
    if not np.all((stop > start) & (stop - start < LONGEST)):  # NaN too
        raise ValueError(f"good_time must be intervals that end after they start, of less than a century; got {times}.")
    return np.stack(union(start, stop), axis=1)


def split_observations[ObservationT: "Observation"](
    observations: Sequence[ObservationT], times: Any
) -> list[ObservationT]:
    """See :meth:`pymc_gamma.Observation.split_list`."""
    found: list[ObservationT] = []
    filled: set[int] = set()
    outside: dict[str, float] = {}
    n_bins = 0
    for k, one in enumerate(observations):
        if one.good_time_s is None:
            raise ValueError(
                f"observation {one.name or k} cannot be cut into time bins, because it has no good time intervals; "
                "give them with Observation(..., good_time=start + [0, 30] * u.min)."
            )
        good = GoodTime(reference(), *one.good_time_s.T)
        edges = _edges(times, good.start[0])
        n_bins, covered = len(edges) - 1, 0.0
        for j, (low, high) in enumerate(pairwise(edges)):
            part = good.within(low, high)
            covered += part.duration_s
            if part.duration_s > TOLERANCE:  # shorter ones are rounding
                found.append(_piece(one, part, part.duration_s / good.duration_s, j))
                filled.add(j)
        if good.duration_s - covered > TOLERANCE * (n_bins + 1):
            outside[one.name or str(k)] = good.duration_s - covered
    if not observations:
        raise ValueError("observations must be at least one, to be cut into time bins; got none.")
    if not found:
        spans = np.concatenate([one.good_time_s for one in observations if one.good_time_s is not None])
        first, last = from_seconds([spans.min(), spans.max()]).isot
        raise ValueError(
            f"times must cut the observations into bins, but no bin of {_shown(times)} holds good time: these "
            f"observations lasted from {first} to {last} (TT)."
        )
    empty = [str(j) for j in range(n_bins) if j not in filled]
    if empty:
        warn_user(
            f"{len(empty)} of {n_bins} time bins hold no good time and are left out: {', '.join(empty[:8])}"
            f"{', ...' if len(empty) > 8 else '.'}"
        )
    if outside:
        shown = ", ".join(f"{seconds:.6g} s of {name}" for name, seconds in list(outside.items())[:5])
        warn_user(
            f"the time bins leave out {sum(outside.values()):.6g} s of the good time of {len(outside)} observation(s): "
            f"{shown}{', ...' if len(outside) > 5 else '.'}"
        )
    return found


def _piece[ObservationT: "Observation"](
    observation: ObservationT, part: GoodTime, share: float, number: int
) -> ObservationT:
    piece = copy(observation)
    piece.good_time_s = np.stack([part.start, part.stop], axis=1)
    piece.livetime_s, piece.ontime_s = share * observation.livetime_s, share * observation.ontime_s
    piece.name = f"{observation.name} {number}" if observation.name else str(number)
    if observation.is_numbered or not observation.name:
        piece.bin_name = piece.name
    return piece


def _edges(times: Any, start: float) -> FloatArray:
    """Edges of bins in seconds since the reference, of times or of offsets from a start."""
    if isinstance(times, Time):
        edges = to_seconds(times, "times")
    elif isinstance(times, u.Quantity):
        edges = start + to_value(times, "s", "times")
    else:
        raise TypeError(
            "times must be the edges of bins, an astropy Time, or a Quantity of time since the start of the "
            f"observation; got {type(times).__name__}."
        )
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > TOLERANCE):
        raise ValueError(f"times must be two or more increasing edges of bins, got {_shown(times)}.")
    return edges


def _shown(times: Any) -> str:
    shown = " ".join(str(times).split())
    return shown if len(shown) <= 120 else f"{times[0]} ... {times[-1]}"
