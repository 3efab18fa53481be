"""Unit checks at the public edge: quantities come in, floats in fixed units go on.

Inside the package every number is in TeV, deg, s, cm2 and sr.
"""

from typing import Any

import astropy.units as u
import numpy as np
from astropy.time import TimeDelta
from numpy.typing import NDArray

__all__ = ["numbers", "scalar_value", "to_value"]


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
        If ``quantity`` has no unit.
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
    return np.asarray(quantity.to_value(unit), dtype=np.float64)


def scalar_value(quantity: Any, unit: str, name: str) -> float:
    """As :func:`to_value` for one number; raises ``TypeError`` for an array."""
    value = to_value(quantity, unit, name)
    if value.ndim:
        raise TypeError(f"{name} must be a single quantity, got an array of shape {value.shape}.")
    return float(value)


def numbers(value: Any, name: str, unit: str = "", *, finite: bool = True) -> NDArray[np.float64]:
    """Plain numbers, from an array or a quantity in ``unit``; finite ones, unless the caller looks at them itself.

    Raises
    ------
    TypeError
        If there are no numbers in it.
    ValueError
        If one is not finite, or left out by a mask.
    astropy.units.UnitConversionError
        If they have a unit.

    Examples
    --------
    >>> numbers([50, 60] * u.percent, "share").tolist()
    [0.5, 0.6]
    """
    if isinstance(value, u.Quantity):
        value = to_value(value, unit, name)
    try:
        plain = np.ma.asarray(value)
        if plain.dtype.kind not in "biufO":  # text, times and durations would be turned into numbers
            raise TypeError(plain.dtype)
        found = np.ma.filled(plain.astype(np.float64), np.nan)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers, got {value!r}.") from error
    if finite and not np.all(np.isfinite(found)):
        raise ValueError(f"{name} must be finite, got {value!r}.")
    return np.asarray(found)


def _example(value: Any) -> str:
    if isinstance(value, int | float):
        return repr(value)
    numbers = isinstance(value, list | tuple | np.ndarray) and 0 < np.size(value) <= 4 and np.ndim(value) == 1
    return str(tuple(value)) if numbers and all(isinstance(one, int | float) for one in value) else "1"
