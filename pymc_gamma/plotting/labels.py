"""Labels of scalars with their units, and a power of ten that makes their numbers readable."""

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.scales import Scale, power_of_ten
from pymc_gamma.plotting.samples import PosteriorDraws

__all__ = ["scales_of", "truth_in_unit"]


def scales_of(draws: Mapping[str, PosteriorDraws], units: Mapping[str, Any] | None) -> list[Scale]:
    """Scale of each scalar, the same for all runs.

    Parameters
    ----------
    draws : mapping of PosteriorDraws
        Runs with the same scalars.
    units : mapping, optional
        Unit by variable, a string or an `~astropy.units.Unit`. Default: ``attrs["units"]`` of the variable.

    Raises
    ------
    ModelError
        If a unit is given for a variable that is not shown.
    """
    first = next(iter(draws.values()))
    names = {name for name, _ in first.owners}
    unknown = [name for name in units or {} if name not in names]
    if unknown:
        raise ModelError(f"units names {', '.join(map(repr, unknown))}; the picture shows {sorted(names)}.")
    scales = []
    for column, (name, _) in enumerate(first.owners):
        unit = (units or {}).get(name, first.units.get(name, ""))
        values = np.concatenate([run.values[:, column] for run in draws.values()])
        scales.append(Scale(power_of_ten(values), unit if isinstance(unit, str) else f"{unit:generic}"))
    return scales


def truth_in_unit(name: str, truth: Any, unit: str) -> FloatArray:
    """Values of a truth in the unit of its variable.

    Raises
    ------
    ModelError
        If the truth has a unit and the variable none that is known.
    astropy.units.UnitConversionError
        If the units do not fit.
    """
    if isinstance(truth, u.Quantity):
        try:
            known = u.Unit(unit)
        except ValueError:
            known = None
        if known is None or (not unit and not truth.unit.is_equivalent("")):
            raise ModelError(
                f"truths[{name!r}] is in {truth.unit}, but the unit of the variable is "
                f"{f'{unit!r}, which astropy does not know' if unit else 'not known'}; give it with units=."
            )
        if not truth.unit.is_equivalent(known):
            raise u.UnitConversionError(f"truths[{name!r}] is in {truth.unit}, not convertible to {known}.")
        truth = truth.to_value(known)
    return np.asarray(truth, dtype=np.float64).ravel()
