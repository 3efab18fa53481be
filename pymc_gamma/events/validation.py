"""Checks of event columns; every error names the column and the first rows at fault."""

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.errors import EventError, warn_user
from pymc_gamma.events.columns import plain_column, with_unit
from pymc_gamma.geometry import FRAMES
from pymc_gamma.times import to_seconds
from pymc_gamma.units import to_value

__all__ = [
    "ENERGIES",
    "as_multiplicity",
    "as_observation",
    "as_seconds",
    "check_columns",
    "check_frame",
    "to_column",
    "without_masked",
    "wrap_longitude",
]

_ROWS_NAMED = 5
_LARGEST = 2**53
"""Largest index of an observation and largest count, up to which floats are exact."""
ENERGIES = (1e-12, 1e9)
"""Range of energies that a photon can have, in TeV: 1 eV to more than any cosmic ray that was seen (3e20 eV)."""
_CENTURIES = 1e10
"""Largest distance of a time from the reference, 2001, in seconds: three centuries."""
_TURNS = 720.0
"""Largest longitude in degrees; conventions differ by a turn."""


def without_masked(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns without the rows in which any of them is masked; says how many rows these are.

    Parameters
    ----------
    columns : mapping
        Name to values: arrays, quantities or columns of a table, masked or not, or None.

    Returns
    -------
    dict
        Plain arrays and quantities; columns without a mask are the same objects.

    Warns
    -----
    PymcGammaWarning
        If rows were left out; says how many, and in which columns they are masked.
    """
    plain: dict[str, Any] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, values in columns.items():
        plain[name], mask = plain_column(values, name)
        if mask is not None and mask.any():
            masks[name] = mask
    if not masks:
        return plain
    size = max(np.size(mask) for mask in masks.values())
    for name, one in plain.items():  # before rows are left out, which may make equal what was not
        if np.ndim(one) > 1:
            raise EventError(f"{name} must be one-dimensional, one entry per event, got shape {np.shape(one)}.")
        if one is not None and np.size(one) not in (1, size):
            raise EventError(
                f"All columns of an event list need the same length, got {name} {np.size(one)} and a mask of {size} "
                "rows."
            )
    keep = ~np.any(list(masks.values()), axis=0)
    told = ", ".join(f"{name} {int(mask.sum())}" for name, mask in masks.items())
    warn_user(f"{int((~keep).sum())} of {size} events are masked ({told}). They are left out.")
    return {name: np.atleast_1d(one)[keep] if np.size(one) == size else one for name, one in plain.items()}


def check_frame(frame: Any) -> str:
    """``frame`` if it is a frame of the sky known here, else an :class:`~pymc_gamma.errors.EventError`."""
    if frame not in FRAMES:
        raise EventError(f"frame must be one of {', '.join(map(repr, FRAMES))}, got {frame!r}.")
    return str(frame)


def to_column(quantity: Any, unit: str, name: str) -> NDArray[np.float64]:
    """One-dimensional float64 copy of ``quantity`` in ``unit``; a scalar becomes one row."""
    values = np.atleast_1d(to_value(with_unit(quantity, unit, name), unit, name)).copy()
    if values.ndim != 1:
        raise EventError(f"{name} must be one-dimensional, one entry per event, got shape {values.shape}.")
    return values


def wrap_longitude(lon: NDArray[np.float64], centre: float = 0.0) -> NDArray[np.float64]:
    """Longitudes [deg] in (centre - 180, centre + 180]; those already inside keep every bit."""
    inside = (lon > centre - 180.0) & (lon <= centre + 180.0)
    if inside.all():
        return lon
    half = centre + 180.0
    return np.where(inside, lon, half - (half - lon) % 360.0)


def check_columns(
    energy: NDArray[np.float64],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    observation: NDArray[np.int64],
    multiplicity: NDArray[np.float64],
    time: NDArray[np.float64] | None = None,
) -> None:
    """Raise :class:`~pymc_gamma.errors.EventError` unless the columns are equally long and physical."""
    columns = {
        "energy": energy,
        "lon": lon,
        "lat": lat,
        "observation": observation,
        "multiplicity": multiplicity,
    }
    if time is not None:
        columns["time"] = time
        _refuse(
            np.abs(time) > _CENTURIES, time, "time", "must lie within 300 years of 2001 [s]; is it in another format?"
        )
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise EventError(f"All columns of an event list need the same length, got {found}.")
    for name in ("energy", "lon", "lat", "multiplicity"):
        _refuse(~np.isfinite(columns[name]), columns[name], name, "must be finite")
    _refuse(energy <= 0.0, energy, "energy", "must be positive [TeV]")
    low, high = ENERGIES
    outside = (energy < low) | (energy > high)
    _refuse(outside, energy, "energy", f"must lie within {low:g} and {high:g} TeV; is it in another unit?")
    _refuse(np.abs(lon) > _TURNS, lon, "lon", f"must lie within {-_TURNS:g} and {_TURNS:g} [deg]")
    _refuse(np.abs(lat) > 90.0, lat, "lat", "must lie within -90 and 90 [deg]")
    _refuse(multiplicity <= 0.0, multiplicity, "multiplicity", "must be positive; leave out empty cells")
    _refuse(multiplicity > _LARGEST, multiplicity, "multiplicity", "must be a count below 2**53")
    _refuse(observation < 0, observation, "observation", "must be an index counted from 0")


def as_observation(observation: ArrayLike | None, length: int) -> NDArray[np.int64]:
    """Integer observation indices; ``None`` means that all events belong to observation 0."""
    if observation is None:
        return np.zeros(length, dtype=np.int64)
    values = _bare(observation, "observation")
    if values.ndim != 1:
        raise EventError(f"observation must be one-dimensional, got shape {values.shape}.")
    if values.size == 0:
        return np.zeros(0, dtype=np.int64)
    if values.dtype.kind == "f":
        _refuse(~(values == np.floor(values)), values, "observation", "must be an integer index")  # NaN too
    _refuse(np.abs(values) > _LARGEST, values, "observation", "must be an index")
    return np.broadcast_to(values, (length,)).astype(np.int64) if values.size == 1 else values.astype(np.int64)


def as_seconds(time: Any) -> NDArray[np.float64] | None:
    """Seconds since the reference time (:mod:`pymc_gamma.times`), NaN where a time is masked; ``None`` stays None."""
    if time is None:
        return None
    seconds = np.atleast_1d(to_seconds(time, "time")).copy()
    if seconds.ndim != 1:
        raise EventError(f"time must be one-dimensional, one entry per event, got shape {seconds.shape}.")
    return seconds


def as_multiplicity(multiplicity: ArrayLike | None, length: int) -> NDArray[np.float64]:
    """Floating-point multiplicities; ``None`` means 1 for every event."""
    if multiplicity is None:
        return np.ones(length)
    values = _bare(multiplicity, "multiplicity").astype(np.float64)
    if values.ndim != 1:
        raise EventError(f"multiplicity must be one-dimensional, got shape {values.shape}.")
    return values


def _bare(values: Any, name: str) -> NDArray[Any]:
    """Numbers without a unit, as an array of one dimension or more."""
    plain, _ = plain_column(values, name)
    if isinstance(plain, u.Quantity):
        if not plain.unit.is_equivalent(u.dimensionless_unscaled):
            raise EventError(f"{name} must be numbers without a unit, got a quantity in '{plain.unit}'.")
        plain = plain.to_value("")
    return np.atleast_1d(np.asarray(plain))


def _refuse(bad: NDArray[np.bool_], values: NDArray[Any], name: str, rule: str) -> None:
    rows = np.flatnonzero(bad)
    if rows.size == 0:
        return
    shown = ", ".join(f"row {row}: {values[row]:g}" for row in rows[:_ROWS_NAMED])
    more = f" and {rows.size - _ROWS_NAMED} more" if rows.size > _ROWS_NAMED else ""
    raise EventError(f"{name} {rule}; found {rows.size} of {len(values)} events at fault ({shown}{more}).")
