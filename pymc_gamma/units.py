"""Unit checks at the public edge: quantities come in, floats in fixed units go on.

Inside the package every number is in TeV, deg, s, cm2 and sr.
"""

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

__all__ = ["scalar_value", "to_value"]


def to_value(quantity: Any, unit: str, name: str) -> NDArray[np.float64]:
    """Value of ``quantity`` in ``unit``, or an error that names the parameter.

    Parameters
    ----------
    quantity : `~astropy.units.Quantity`
        What the user passed.
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
    if not isinstance(quantity, u.Quantity):
        if isinstance(quantity, list | tuple) and any(isinstance(q, u.Quantity) for q in quantity):
            quantity = u.Quantity(quantity)
        else:
            raise TypeError(
                f"{name} must be an astropy Quantity in units of {unit}, got {quantity!r} without a unit; "
                f"write for example `{name}={_example(quantity)} * u.{unit}`."
            )
    if not quantity.unit.is_equivalent(unit):
        raise u.UnitConversionError(
            f"{name} must be convertible to {unit}, got a quantity in '{quantity.unit}' "
            f"({quantity.unit.physical_type})."
        )
    return np.asarray(quantity.to_value(unit), dtype=np.float64)


def scalar_value(quantity: Any, unit: str, name: str) -> float:
    """As :func:`to_value` for one number; raises ``TypeError`` for an array."""
    value = to_value(quantity, unit, name)
    if value.ndim:
        raise TypeError(f"{name} must be a single quantity, got an array of shape {value.shape}.")
    return float(value)


def _example(value: Any) -> str:
    if isinstance(value, int | float):
        return repr(value)
    numbers = isinstance(value, list | tuple | np.ndarray) and 0 < len(value) <= 4
    return str(tuple(value)) if numbers and all(isinstance(one, int | float) for one in value) else "1"
