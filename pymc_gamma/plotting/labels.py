"""Labels of scalars with their units, and a power of ten that makes their numbers readable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.plotting.samples import PosteriorDraws

__all__ = ["Scale", "scales_of", "truth_in_unit"]


# Numbers whose typical size lies between these need no power of ten.
_PLAIN = (1e-2, 1e4)


@dataclass(frozen=True)
class Scale:
    """How a scalar is shown: divided by ``10**exponent``, in ``unit``.

    Parameters
    ----------
    exponent : int
        Power of ten.
    unit : str
        Unit, empty if there is none.
    """

    exponent: int = 0
    unit: str = ""

    @property
    def factor(self) -> float:
        """Number that draws are divided by."""
        return float(f"1e{self.exponent}")

    def label(self, name: str) -> str:
        r"""Name with the power and the unit in brackets.

        Examples
        --------
        >>> Scale(-12, "cm-2 s-1 TeV-1").label("amplitude")
        'amplitude\n[1e-12 cm-2 s-1 TeV-1]'
        """
        power = f"1e{self.exponent}" if self.exponent else ""
        inside = " ".join(filter(None, (power, self.unit)))
        return f"{name}\n[{inside}]" if inside else name


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
        scales.append(Scale(_exponent(values), unit if isinstance(unit, str) else f"{unit:generic}"))
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


def _exponent(values: FloatArray) -> int:
    size = float(np.median(np.abs(values[np.isfinite(values)]))) if np.isfinite(values).any() else 0.0
    # A parameter around zero is as large as its spread.
    size = max(size, float(np.std(values)))
    if size == 0 or not np.isfinite(size) or _PLAIN[0] <= size < _PLAIN[1]:
        return 0
    return int(np.floor(np.log10(size)))
