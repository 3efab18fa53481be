"""What all sections of an analysis file are: keys with types, where an unknown one is an error that names the nearest.

Values that pydantic does not know, such as quantities, are types with a validator here. Those of which there are
several kinds (components, samplers) are chosen by a key, among the subclasses of a class: deriving one is all that it
takes to add a kind.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import astropy.units as u
import numpy as np
from astropy.time import Time
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from pymc_gamma.analysis.document import Place, Problem, nearest

__all__ = [
    "VALUE_ERRORS",
    "Angle",
    "Duration",
    "Energy",
    "FilePath",
    "Moment",
    "Section",
    "Told",
    "checked_by",
    "expanded",
    "kinds_of",
    "one_of",
    "problems_of",
    "quantity_in",
    "refuse",
    "refuse_all",
]


@dataclass(frozen=True)
class Told:
    """What a value is, in words, for the documentation."""

    words: str


VALUE_ERRORS = (ValidationError, PydanticCustomError, ValueError, TypeError)
"""What validators of values raise."""


def refuse(text: str, place: Place = ()) -> PydanticCustomError:
    """Error of a value, or of what lies at a place below it."""
    return refuse_all([Problem(place, text)])


def refuse_all(problems: list[Problem]) -> PydanticCustomError:
    """Error of several problems at places below a value."""
    return PydanticCustomError("refused", "refused", {"problems": problems})


def problems_of(error: Exception, place: Place = ()) -> list[Problem]:
    """Problems that an error of a value tells of, with their places in the data, below one."""
    if isinstance(error, ValidationError):
        found = _of_pydantic(error)
    elif isinstance(error, PydanticCustomError):
        found = (error.context or {})["problems"]
    else:
        found = [Problem((), " ".join(str(error).split()))]
    return [Problem((*place, *one.place), one.text) for one in found]


def _of_pydantic(error: ValidationError) -> list[Problem]:
    found = []
    for one in error.errors():
        place = tuple(one["loc"])
        nested = one.get("ctx", {}).get("problems")
        if nested is None:
            found.append(Problem(place, _told(one)))
        else:
            found += [Problem((*place, *inner.place), inner.text) for inner in nested]
    return found


def _told(error: Any) -> str:
    given = repr(error["input"])
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "missing":
        return "is missing"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {given if len(given) < 60 else given[:57] + '...'}"


class Section(BaseModel):
    """Keys of a part of an analysis file."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_default=True, frozen=True)

    @classmethod
    def keys(cls) -> list[str]:
        """Keys that it may have."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if data is None:
            return {}  # a key without a value
        if not isinstance(data, dict):
            return data
        names = cls.keys()
        unknown = [key for key in data if key not in names]
        if unknown:
            problems = [Problem((key,), f"unknown key; {nearest(key, names)}") for key in unknown]
            rest = {key: value for key, value in data.items() if key in names}
            try:
                cls.model_validate(rest)
            except ValidationError as error:
                problems += problems_of(error)
            raise refuse_all(problems)
        return data


def checked_by(function: Callable[[Any], Any]) -> PlainValidator:
    """Validator of a function that raises ``ValueError``, ``TypeError`` or what :func:`refuse` makes."""

    def validate(value: Any) -> Any:
        try:
            return function(value)
        except VALUE_ERRORS as error:
            raise refuse_all(problems_of(error)) from error

    return PlainValidator(validate)


def quantity_in(value: Any, unit: str, *, what: str = "") -> u.Quantity:
    """A quantity of text such as "1 TeV", of a kind.

    Raises
    ------
    ValueError
        If it is none, or has another unit.

    Examples
    --------
    >>> quantity_in("500 GeV", "TeV")
    <Quantity 500. GeV>
    """
    example = f"write for example '{what or '1'} {unit}'".replace("''", "'")
    if isinstance(value, u.Quantity):
        found = value
    elif isinstance(value, str):
        try:
            found = u.Quantity(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{value!r} is no quantity; {example}") from error
    else:
        raise ValueError(f"{value!r} has no unit; {example}")
    if found.isscalar is False or not np.isfinite(found.value):
        raise ValueError(f"{value!r} is not one finite quantity; {example}")
    if not found.unit.is_equivalent(unit):
        wrong = f"in '{found.unit}' ({found.unit.physical_type})" if str(found.unit) else "without a unit"
        raise ValueError(f"{value!r} is {wrong}, expected a unit such as '{unit}'")
    return found


def _quantity(unit: str, *, positive: bool = False) -> PlainValidator:
    def check(value: Any) -> u.Quantity:
        found = quantity_in(value, unit)
        if positive and not found.value > 0:
            raise ValueError(f"{value!r} must be positive")
        return found

    return checked_by(check)


Energy = Annotated[u.Quantity, _quantity("TeV", positive=True), Told("energy")]
"""An energy, such as ``1 TeV``."""
Angle = Annotated[u.Quantity, _quantity("deg"), Told("angle")]
"""An angle, such as ``0.5 deg``."""
Duration = Annotated[u.Quantity, _quantity("h", positive=True), Told("duration")]
"""A time, such as ``50 h``."""


def _moment(value: Any) -> Time:
    try:
        return value if isinstance(value, Time) else Time(value if isinstance(value, str) else value.isoformat())
    except Exception as error:
        raise ValueError(f"{value!r} is no time; write for example '2004-03-27T04:00:00'") from error


Moment = Annotated[Time, checked_by(_moment), Told("time")]
"""A point in time, such as ``2004-03-27T04:00:00`` (UTC)."""


def _path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ValueError(f"{value!r} is no path")
    return expanded(value)


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with the home folder and variables of the environment put in."""
    return Path(os.path.expandvars(path)).expanduser()


FilePath = Annotated[Path, checked_by(_path), Told("path")]
"""A path; relative ones start from the folder of the analysis file, and ``$NAME`` is a variable of the environment."""


def _below(base: Any) -> Iterator[Any]:
    for cls in base.__subclasses__():
        yield cls
        yield from _below(cls)


def kinds_of(base: Any, key: str) -> dict[str, Any]:
    """Classes below one, by the name of their kind."""
    return {cls.__dict__[key]: cls for cls in _below(base) if isinstance(cls.__dict__.get(key), str)}


def one_of(base: type[Section], key: str) -> Any:
    """Type of a section of one of several kinds, which a key names."""

    def choose(value: Any) -> Any:
        if isinstance(value, base):
            return value
        if not isinstance(value, dict):
            raise refuse(f"expected keys and values, with {key}: {' or '.join(kinds_of(base, key))}; got {value!r}")
        known = kinds_of(base, key)
        if key not in value:
            raise refuse(f"has no {key}; give {key}: {', '.join(known)}")
        name = value[key]
        if not isinstance(name, str) or name not in known:
            raise refuse(f"there is no {key} {name!r}; {nearest(name, list(known))}", (key,))
        return known[name].model_validate({one: item for one, item in value.items() if one != key})

    return Annotated[base, checked_by(choose), Told(f"section with a `{key}`")]
