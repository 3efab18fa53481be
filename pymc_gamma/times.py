"""Times as plain numbers: seconds (TT) since one reference time, the same for everything in this package.

An astropy ``Time`` holds two floats and its own scale (UTC, TT, TDB). Inside, one float of seconds is enough: at 30
years from the reference it resolves 0.1 microseconds.
"""

from functools import cache
from typing import Any

import astropy.units as u
import numpy as np
from astropy.time import Time
from numpy.typing import ArrayLike

from pymc_gamma.arrays import FloatArray

__all__ = ["TIME_REFERENCE", "from_seconds", "header_reference", "reference", "seconds_since", "to_seconds"]


# MJD 51910 + 64.184 s (TT): the reference epoch of the CTA science data challenges.
TIME_REFERENCE = {"MJDREFI": 51910, "MJDREFF": 0.000742870370370241, "TIMEUNIT": "s", "TIMESYS": "TT"}
"""The reference time, as headers of GADF files have it."""


@cache
def reference() -> Time:
    """The reference time, 2001-01-01 00:00:00 UTC."""
    return Time(TIME_REFERENCE["MJDREFI"], TIME_REFERENCE["MJDREFF"], format="mjd", scale="tt")


def header_reference(header: Any) -> Time:
    """Reference time of a table by its header (``MJDREFI``, ``MJDREFF``, ``TIMESYS``).

    Raises
    ------
    KeyError
        If the header does not have it.
    """
    from gammapy.utils.time import time_ref_from_dict

    return time_ref_from_dict(header)


def seconds_since(reference: Time, times: Time) -> FloatArray:
    """Seconds since a reference time, in its scale; NaN where a time is masked."""
    # differences of times of different scales count in the first one: seconds of TDB are not those of TT
    seconds = (getattr(times, reference.scale) - reference).to_value("sec")
    return np.asarray(seconds.filled(np.nan) if hasattr(seconds, "filled") else seconds, dtype=np.float64)


def to_seconds(times: Any, name: str) -> FloatArray:
    """Seconds since the reference time; NaN where a time is masked.

    Raises
    ------
    TypeError
        If they are no astropy times.
    ValueError
        If they are not absolute ones, in the scale ``"local"``.
    """
    if not isinstance(times, Time):
        raise TypeError(
            f"{name} must be absolute times, an astropy Time, got {type(times).__name__}; write for example "
            '`Time("2025-03-01T22:00:00", scale="utc") + [0, 1, 2] * u.h`.'
        )
    if times.scale == "local":
        raise ValueError(f"{name} must be absolute times, got the scale 'local', which has no relation to others.")
    return seconds_since(reference(), times)


def from_seconds(seconds: ArrayLike) -> Time:
    """Times (TT) of seconds since the reference time; masked where these are NaN.

    Examples
    --------
    >>> from_seconds([0.0, 86400.0]).utc.isot.tolist()
    ['2001-01-01T00:00:00.000', '2001-01-02T00:00:00.000']
    """
    values = np.asarray(seconds, dtype=np.float64)
    unknown = np.isnan(values)
    times = reference() + np.where(unknown, 0.0, values) * u.s
    times.format = "isot"
    if unknown.any():
        times[unknown] = np.ma.masked
    return times
