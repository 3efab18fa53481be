"""What was read, as plain values that can be compared: equal files give equal descriptions."""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

__all__ = ["described", "differing"]

LEFT_OUT = ("meta", "citations", "_frozen")
"""Attributes that are carried along: nothing is computed from them."""


TOLERANCE = 1e-9
"""Relative difference of numbers that are the same: directions in another frame differ by some 1e-14."""

type Description = dict[str, str | np.ndarray]


def described(value: Any, folder: Path) -> Description:
    """Every part of an object by its path in it; names of files are those below ``folder``, labels of links (random)
    without."""
    return {
        key: re.sub(r"@[\w-]{8}", "@", part.replace(str(folder), "")) if isinstance(part, str) else part
        for key, part in _parts(value, "", ())
    }


def differing(one: Description, other: Description) -> list[str]:
    """What differs between two descriptions, path by path."""
    told = []
    for key in sorted({*one, *other}):
        before, after = one.get(key, "nothing"), other.get(key, "nothing")
        if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
            if before.shape != after.shape:
                told.append(f"{key}: {before.shape} -> {after.shape}")
            elif n := int((~np.isclose(after, before, rtol=TOLERANCE, atol=0, equal_nan=True)).sum()):
                told.append(f"{key}: {n} of {before.size} numbers")
        elif type(before) is not type(after) or before != after:
            told.append(f"{key}: {before} -> {after}")
    return told


def _parts(value: Any, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, str | np.ndarray]]:
    if id(value) in above:
        return
    above = (*above, id(value))
    if isinstance(value, u.Quantity):
        yield f"{path}.unit", str(value.unit)
        value = value.value
    if isinstance(value, SkyCoord):
        value = {"frame": value.frame.name, "lon": value.spherical.lon.deg, "lat": value.spherical.lat.deg}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        yield path, np.array(value)
    elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind != "O":
        yield path, repr(value.tolist())
    elif isinstance(value, int | float | complex) and not isinstance(value, bool):
        yield path, np.array(value)
    elif value is None or isinstance(value, str | bytes | bool | Path):
        yield path, repr(value)
    elif isinstance(value, Mapping):
        yield path, f"{len(value)} entries"
        for key, part in value.items():
            yield from _parts(part, f"{path}.{key}", above)
    elif isinstance(value, list | tuple | set | frozenset | np.ndarray):
        yield path, f"{len(value)} entries"
        for k, part in enumerate(sorted(value, key=repr) if isinstance(value, set | frozenset) else value):
            yield from _parts(part, f"{path}.{k}", above)
    elif inspect.isroutine(value) or isinstance(value, type):
        yield path, value.__qualname__
    elif hasattr(value, "to_dict") and not type(value).__module__.startswith("pymc_gamma"):
        yield from _parts(value.to_dict(), path, above)
    else:
        yield path, type(value).__qualname__
        names = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
        held = {name: getattr(value, name) for name in names if hasattr(value, name)} | getattr(value, "__dict__", {})
        if not held:
            yield f"{path}.text", re.sub(r"0x[0-9a-f]+", "", repr(value))
        for name, part in held.items():
            if name.strip("_") not in LEFT_OUT and name != "__weakref__" and not _is_lock(part):
                yield from _parts(part, f"{path}.{name}", above)


def _is_lock(value: Any) -> bool:
    return type(value).__module__ in ("_thread", "weakref", "threading")
