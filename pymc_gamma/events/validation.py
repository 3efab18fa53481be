"""Checks of event columns; every error names the column and the first rows at fault."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.errors import EventError
from pymc_gamma.geometry import FRAMES
from pymc_gamma.units import to_value

__all__ = ["as_multiplicity", "as_observation", "check_columns", "check_frame", "to_column", "wrap_longitude"]

_ROWS_NAMED = 5


def check_frame(frame: Any) -> str:
    """``frame`` if it is a frame of the sky known here, else an :class:`~pymc_gamma.errors.EventError`."""
    if frame not in FRAMES:
        raise EventError(f"frame must be one of {', '.join(map(repr, FRAMES))}, got {frame!r}.")
    return str(frame)


def to_column(quantity: Any, unit: str, name: str) -> NDArray[np.float64]:
    """One-dimensional float64 copy of ``quantity`` in ``unit``; a scalar becomes one row."""
    values = np.atleast_1d(to_value(quantity, unit, name)).copy()
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
) -> None:
    """Raise :class:`~pymc_gamma.errors.EventError` unless the columns are equally long and physical."""
    columns = {
        "energy": energy,
        "lon": lon,
        "lat": lat,
        "observation": observation,
        "multiplicity": multiplicity,
    }
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise EventError(f"All columns of an event list need the same length, got {found}.")
    for name in ("energy", "lon", "lat", "multiplicity"):
        _refuse(~np.isfinite(columns[name]), columns[name], name, "must be finite")
    _refuse(energy <= 0.0, energy, "energy", "must be positive [TeV]")
    _refuse(np.abs(lat) > 90.0, lat, "lat", "must lie within -90 and 90 [deg]")
    _refuse(multiplicity <= 0.0, multiplicity, "multiplicity", "must be positive; leave out empty cells")
    _refuse(observation < 0, observation, "observation", "must be an index counted from 0")


def as_observation(observation: ArrayLike | None, length: int) -> NDArray[np.int64]:
    """Integer observation indices; ``None`` means that all events belong to observation 0."""
    if observation is None:
        return np.zeros(length, dtype=np.int64)
    values = np.atleast_1d(np.asarray(observation))
    if values.ndim != 1:
        raise EventError(f"observation must be one-dimensional, got shape {values.shape}.")
    if values.size == 0:
        return np.zeros(0, dtype=np.int64)
    if values.dtype.kind not in "iuf":
        raise EventError(f"observation must hold integer indices, got an array of {values.dtype}.")
    if values.dtype.kind == "f":
        _refuse(values != np.floor(values), values, "observation", "must be an integer index")  # NaN too
    return np.broadcast_to(values, (length,)).astype(np.int64) if values.size == 1 else values.astype(np.int64)


def as_multiplicity(multiplicity: ArrayLike | None, length: int) -> NDArray[np.float64]:
    """Floating-point multiplicities; ``None`` means 1 for every event."""
    if multiplicity is None:
        return np.ones(length)
    values = np.array(multiplicity, dtype=np.float64, ndmin=1)
    if values.ndim != 1:
        raise EventError(f"multiplicity must be one-dimensional, got shape {values.shape}.")
    return values


def _refuse(bad: NDArray[np.bool_], values: NDArray[Any], name: str, rule: str) -> None:
    rows = np.flatnonzero(bad)
    if rows.size == 0:
        return
    shown = ", ".join(f"row {row}: {values[row]:g}" for row in rows[:_ROWS_NAMED])
    more = f" and {rows.size - _ROWS_NAMED} more" if rows.size > _ROWS_NAMED else ""
    raise EventError(f"{name} {rule}; found {rows.size} of {len(values)} events at fault ({shown}{more}).")
