"""Checks of single arguments at the public edge: each returns the value meant, or raises an error with its name.

Quantities are checked by :mod:`pymc_gamma.units`.
"""

import functools
import inspect
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from pymc_gamma.errors import DataFileError
from pymc_gamma.units import numbers, to_value

__all__ = [
    "array",
    "ascending",
    "checked",
    "direction",
    "directions",
    "generator",
    "instance",
    "integer",
    "is_several",
    "kind",
    "mapping",
    "number",
    "offering",
    "path",
    "plain",
    "quantity",
    "seed",
    "several",
    "text",
    "texts",
    "unitless",
    "vectors",
]

type Check = Callable[[Any, str], Any]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def number(value: Any, name: str, *, low: float = -np.inf, high: float = np.inf) -> float:
    """A finite number, with ``low < value <= high``.

    Raises
    ------
    TypeError
        If it is not a single number.
    ValueError
        If it is not finite, or out of range.

    Examples
    --------
    >>> number(2, "step", low=0)
    2.0
    """
    found = numbers(value, name)
    if found.ndim:
        raise TypeError(f"{name} must be a single number, got an array of shape {found.shape}.")
    if not low < found <= high:
        limits = f"above {low:g}" + ("" if np.isinf(high) else f" and at most {high:g}")
        raise ValueError(f"{name} must be {limits}, got {value!r}.")
    return float(found)


def integer(value: Any, name: str, *, low: int | None = 0) -> int:
    """A whole number, ``low`` or larger if that is given.

    Raises
    ------
    TypeError
        If it is not a whole number.
    ValueError
        If it is too small.

    Examples
    --------
    >>> integer(np.int64(3), "bins", low=1)
    3
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    whole = isinstance(value, int | np.integer) or (isinstance(value, float | np.floating) and value.is_integer())
    if not whole or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}.")
    if low is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}.")
    return int(value)


def array(value: Any, name: str, shape: tuple[int | None, ...], unit: str = "") -> NDArray[np.float64]:
    """Finite numbers of a shape, in which None stands for any length; a quantity must be in ``unit``.

    Raises
    ------
    ValueError
        If the shape is another, or one is not finite.
    TypeError
        If there are no numbers in it.
    astropy.units.UnitConversionError
        If they have another unit.

    Examples
    --------
    >>> array([[1, 0, 0]], "vectors", (None, 3)).shape
    (1, 3)
    """
    found = numbers(value, name, unit)
    if len(shape) != found.ndim or any(n not in (None, m) for n, m in zip(shape, found.shape, strict=True)):
        wanted = ", ".join("n" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have the shape ({wanted}), got {found.shape}.")
    return found


def ascending(value: Any, name: str, *, least: int = 2, unit: str = "") -> NDArray[np.float64]:
    """Finite ascending numbers, ``least`` or more; a quantity must be in ``unit``.

    Raises
    ------
    ValueError
        If they are not ascending, or too few.
    TypeError
        If there are no numbers in it.
    astropy.units.UnitConversionError
        If they have another unit.

    Examples
    --------
    >>> ascending([1, 2, 4], "nodes").tolist()
    [1.0, 2.0, 4.0]
    """
    found = numbers(value, name, unit)
    if found.ndim != 1 or len(found) < least:
        raise ValueError(f"{name} must be a list of at least {least} ascending numbers, got {value!r}.")
    if not np.all(np.diff(found) > 0):
        place = int(np.argmin(np.diff(found) > 0))
        raise ValueError(
            f"{name} must be ascending, got {found[place]:g} before {found[place + 1]:g}; sort them, each once."
        )
    return found


def energy_edges(value: Any, name: str) -> NDArray[np.float64]:
    """Finite ascending positive energies in TeV, two or more, from a quantity.

    Raises
    ------
    ValueError
        If they are not ascending or not positive, or too few.
    TypeError
        If they have no unit.
    astropy.units.UnitConversionError
        If that is no unit of energy.

    Examples
    --------
    >>> energy_edges([500, 2000] * u.GeV, "edges").tolist()
    [0.5, 2.0]
    """
    found = ascending(to_value(value, "TeV", name), name)
    if not (found[0] > 0 and np.isfinite(found).all()):
        raise ValueError(f"{name} must be finite and positive energies, got {value}.")
    return found


def generator(rng: Any, name: str = "rng") -> np.random.Generator:
    """Random numbers from a generator, a seed or None.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or (isinstance(rng, int | np.integer) and rng >= 0) or isinstance(rng, np.random.SeedSequence):
        return np.random.default_rng(rng)
    raise TypeError(
        f"{name} must be a numpy.random.Generator, a seed (a whole number >= 0) or None, got {_short(rng)}."
    )


def instance[T](value: Any, kind: type[T], name: str) -> T:
    """An object of a class.

    Raises
    ------
    TypeError
        If it is another.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be of the class {kind.__name__}, got {_short(value)}.")
    return value


def is_several(value: Any) -> bool:
    """Whether a value holds several objects: not a string, a mapping or a single number, though these can be iterated.

    Examples
    --------
    >>> is_several([1]), is_several("abc"), is_several(1 * u.m)
    (True, False, False)
    """
    alone = isinstance(value, str | bytes | Mapping) or getattr(value, "shape", None) == ()
    return isinstance(value, Iterable) and not alone


def text(value: Any, name: str, allowed: Collection[str] = ()) -> str:
    """A string, one of those allowed if any are named.

    Raises
    ------
    TypeError
        If it is no string.
    ValueError
        If it is not allowed.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {_short(value)}.")
    if allowed and value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
    return value


def _short(value: Any) -> str:
    """A value for messages."""
    shown = repr(value)
    return f"{type(value).__name__} {shown}" if len(shown) < 60 else type(value).__name__


def texts(value: Any, name: str) -> tuple[str, ...]:
    """Several strings; one alone stands for itself.

    Raises
    ------
    TypeError
        If they are something else.
    """
    try:
        found = (value,) if isinstance(value, str) else tuple(value)
    except TypeError as error:
        raise TypeError(f"{name} must be strings, in a list, got {_short(value)}.") from error
    if not all(isinstance(one, str) for one in found):
        raise TypeError(f"{name} must be strings, in a list, got {_short(value)}.")
    return found


def path(value: Any, name: str) -> Any:
    """A path.

    Raises
    ------
    TypeError
        If it is neither a string nor a path.
    DataFileError
        If it is an address of the internet.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a string or a path, got {_short(value)}.")
    if _ADDRESS.match(os.fsdecode(value)):
        raise DataFileError(
            f"{name} must be the path of a file or folder, got the address {os.fsdecode(value)!r}; addresses are not "
            "read: download it first, for example by astropy.utils.data.download_file, and give the path."
        )
    return value


def seed(value: Any, name: str) -> Any:
    """What :func:`generator` takes, as it is."""
    generator(value, name)
    return value


def mapping(value: Any, name: str) -> Any:
    """A mapping.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, got {_short(value)}.")
    return value


def plain(unit: str = "", *shape: int | None) -> Check:
    """Check for finite numbers in a unit, of a shape if any is given; quantities become numbers in that unit."""

    def check(value: Any, name: str) -> Any:
        found = array(value, name, shape, unit) if shape else numbers(value, name, unit)
        return found if found.ndim else float(found)

    return check


def unitless(value: Any, name: str) -> Any:
    """Numbers without a unit, or of several in one array; what else they must be is checked where they are used.

    Raises
    ------
    TypeError
        If they have one.
    """
    if not isinstance(value, u.Quantity):
        return value
    if not value.unit.is_equivalent(u.one):
        raise TypeError(f"{name} must be numbers without a unit, got a quantity in {str(value.unit)!r}.")
    return to_value(value, "", name)


def quantity(unit: str) -> Check:
    """Check for a finite quantity in a unit."""

    def check(value: Any, name: str) -> Any:
        if not np.all(np.isfinite(to_value(value, unit, name))):
            raise ValueError(f"{name} must be finite, got {value}.")
        return value

    return check


def direction(value: Any, name: str) -> Any:
    """A single finite direction.

    Raises
    ------
    TypeError
        If it is none, or several.
    ValueError
        If it is not finite.
    """
    directions(value, name)
    if not value.isscalar:
        raise TypeError(f"{name} must be a single direction, got {value.size} of them.")
    return value


def directions(value: Any, name: str) -> Any:
    """Finite directions, one or several.

    Raises
    ------
    TypeError
        If they are something else.
    ValueError
        If one is not finite.
    """
    if not isinstance(value, SkyCoord):
        raise TypeError(f"{name} must be an astropy SkyCoord, got {_short(value)}.")
    sphere = value.spherical
    if not np.all(np.isfinite(sphere.lon) & np.isfinite(sphere.lat)):
        raise ValueError(f"{name} must be finite, got {value}.")
    return value


def kind(*classes: str) -> Check:
    """Check for an object of one of some classes, given by their names, or of a subclass."""

    def check(value: Any, name: str) -> Any:
        if not {base.__name__ for base in type(value).__mro__}.intersection(classes):
            raise TypeError(f"{name} must be of the class {' or '.join(classes)}, got {_short(value)}.")
        return value

    return check


def several(*classes: str) -> Check:
    """Check for an object of one of some classes, or a sequence of such, which comes back as a list."""
    one = kind(*classes)

    def check(value: Any, name: str) -> Any:
        if {base.__name__ for base in type(value).__mro__}.intersection(classes):
            return value
        if not is_several(value):
            raise TypeError(
                f"{name} must be of the class {' or '.join(classes)}, or several in a list, got {_short(value)}."
            )
        return [one(each, name) for each in value]

    return check


def vectors(value: Any, name: str) -> Any:
    """Finite vectors in space, shape (..., 3).

    Raises
    ------
    ValueError
        If the last axis has another length, or a number is not finite.
    """
    found = numbers(value, name)
    if found.shape[-1:] != (3,):
        raise ValueError(f"{name} must be vectors of three numbers, shape (..., 3), got shape {found.shape}.")
    return found


def offering(*attributes: str) -> Check:
    """Check for an object with some attributes."""

    def check(value: Any, name: str) -> Any:
        missing = [one for one in attributes if not hasattr(value, one)]
        if missing:
            raise TypeError(f"{name} must have {', '.join(attributes)} (see `fold`), got {_short(value)}.")
        return value

    return check


def checked[**P, R](*alike: str, **checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator that puts the arguments of a public function through checks before it runs.

    An argument that is left out, or is the default, is not looked at; nor is None where the annotation allows it.

    Parameters
    ----------
    *alike : str
        Names of arguments whose shapes must fit each other.
    **checks
        For arguments by name: a function of the value and the name that returns the value to use, or raises.

    Examples
    --------
    >>> @checked(bins=integer)
    ... def histogram(bins=10):
    ...     return bins
    >>> histogram(bins=2.5)
    Traceback (most recent call last):
    TypeError: histogram: bins must be a whole number, got 2.5.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        label = function.__qualname__.removesuffix(".__init__").rpartition("<locals>.")[2]
        defaults = {name: signature.parameters[name].default for name in checks}
        optional = {name for name in checks if "None" in str(signature.parameters[name].annotation)}

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # says what is wrong with the call
            given = bound.arguments
            for name, check in checks.items():
                if name not in given or given[name] is defaults[name]:
                    continue
                if given[name] is not None or name not in optional:
                    given[name] = check(given[name], f"{label}: {name}")
            shapes = [np.shape(given[name]) for name in alike if name in given]
            try:
                np.broadcast_shapes(*shapes)
            except ValueError:
                told = " and ".join(f"{name} {shape}" for name, shape in zip(alike, shapes, strict=False))
                raise ValueError(f"{label}: the shapes of {told} do not fit each other.") from None
            return function(*bound.args, **bound.kwargs)

        return wrapper

    return decorate
