"""Unit checks at the public edge: quantities come in, floats in fixed units go on.

Inside the package every number is in TeV, deg, s, cm2 and sr.
"""

from typing import Any

import astropy.units as u
import numpy as np
from astropy.time import TimeDelta
from astropy.utils.masked import Masked
from numpy.typing import NDArray

__all__ = ["numbers", "scalar_value", "to_value"]

_KINDS = "biuf"
"""Kinds of NumPy types that hold real numbers."""


def to_value(quantity: Any, unit: str, name: str) -> NDArray[np.float64]:
    """Value of ``quantity`` in ``unit``, or an error that names the parameter.

    Parameters
    ----------
    quantity : `~astropy.units.Quantity`
        What the user passed; a duration may also be a `~astropy.time.TimeDelta`.
    unit : str
        Unit to convert to.
    name : str
        Name of the parameter, for the message.

    Returns
    -------
    numpy.ndarray
        float64, with the shape of ``quantity``.

    Raises
    ------
    TypeError
        If ``quantity`` has no unit, or is complex.
    ValueError
        If an entry is masked.
    astropy.units.UnitConversionError
        If its unit cannot be converted.

    Examples
    --------
    >>> import astropy.units as u
    >>> float(to_value(100 * u.GeV, "TeV", "energy"))
    0.1
    """
    if isinstance(quantity, TimeDelta):
        quantity = quantity.to(u.s)
    if _is_masked(quantity):
        raise ValueError(f"{name} must have no masked entries, got {quantity!r}; leave them out, or fill them.")
    if not isinstance(quantity, u.Quantity):
        if isinstance(quantity, list | tuple) and any(isinstance(q, u.Quantity) for q in quantity):
            quantity = u.Quantity(quantity)
        else:
            raise TypeError(
                f"{name} must be an astropy Quantity in units of {unit}, got {quantity!r} without a unit; "
                f"write for example `{name}={_example(quantity)} * u.{unit}`."
            )
    if not quantity.unit.is_equivalent(unit):
        wanted = f"convertible to {unit}" if unit else "a number without unit"
        raise u.UnitConversionError(
            f"{name} must be {wanted}, got a quantity in '{quantity.unit}' ({quantity.unit.physical_type})."
        )
    if quantity.dtype.kind not in _KINDS:
        raise TypeError(f"{name} must be real numbers, got {quantity!r}.")
    plain = quantity.unmasked if isinstance(quantity, Masked) else quantity
    return np.asarray(plain.to_value(unit), dtype=np.float64)


def scalar_value(quantity: Any, unit: str, name: str) -> float:
    """As :func:`to_value` for one number; raises ``TypeError`` for an array."""
    value = to_value(quantity, unit, name)
    if value.ndim:
        raise TypeError(f"{name} must be a single quantity, got an array of shape {value.shape}.")
    return float(value)


def numbers(value: Any, name: str, unit: str = "", *, finite: bool = True) -> NDArray[np.float64]:
    """Plain numbers, from an array or a quantity in ``unit``; finite ones, unless the caller looks at them itself.

    What an array masks is not finite. Text, times and complex numbers are no numbers here, though NumPy converts some.

    Raises
    ------
    TypeError
        If there is anything but real numbers in it.
    ValueError
        If one is not finite, or left out by a mask.
    astropy.units.UnitConversionError
        If they have a unit.

    Examples
    --------
    >>> numbers([50, 60] * u.percent, "share").tolist()
    [0.5, 0.6]
    """
    masked = isinstance(value, Masked | np.ma.MaskedArray)
    if _is_masked(value) and (finite or not masked):
        raise ValueError(f"{name} must be finite, got masked entries in {value!r}.")
    plain = value.unmasked if isinstance(value, Masked) else np.ma.getdata(value) if masked else value
    if isinstance(plain, u.Quantity):
        plain = to_value(plain, unit, name)
    try:
        if not _is_real(plain):
            raise TypeError("other kinds of values")
        found = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers, got {value!r}.") from error
    if masked:
        found = np.where(value.mask, np.nan, found)
    if finite and not np.all(np.isfinite(found)):
        raise ValueError(f"{name} must be finite, got {value!r}.")
    return np.asarray(found)


def _is_masked(value: Any) -> bool:
    """Whether an entry is left out by a mask."""
    if isinstance(value, list | tuple):
        return any(_is_masked(one) for one in value)
    return isinstance(value, Masked | np.ma.MaskedArray) and bool(np.any(value.mask))


def _is_real(value: Any) -> bool:
    """Whether an array, list or object holds what can be meant as real numbers: no text, times or complex numbers."""
    array = np.asarray(value)
    if array.dtype.kind != "O":
        return array.dtype.kind in _KINDS
    return all(one is value or np.asarray(one).dtype.kind in _KINDS + "O" for one in array.flat)


def _example(value: Any) -> str:
    if isinstance(value, int | float):
        return repr(value)
    numbers = isinstance(value, list | tuple | np.ndarray) and 0 < np.size(value) <= 4 and np.ndim(value) == 1
    return str(tuple(value)) if numbers and all(isinstance(one, int | float) for one in value) else "1"
