"""Parameters: numbers, quantities, priors, or the names of priors that several share.

A prior is any distribution of PyMC by its name, with its keywords::

    index: 2.4                                             # a number
    amplitude: 3e-11 TeV-1 cm-2 s-1                        # a quantity
    index: {prior: Normal, mu: 2.4, sigma: 0.5}            # a variable of its own
    mass: {prior: Uniform, lower: 500 GeV, upper: 20 TeV}  # with units
    amplitude: {prior: LogNormal, mu: log(3e-11 TeV-1 cm-2 s-1), sigma: 1}
    amplitude: {prior: HalfNormal, sigma: 3, unit: 1e-11 TeV-1 cm-2 s-1}
    mass: dm_mass                                          # the prior of this name under `priors`

Plain numbers in a prior are in the unit of the parameter, or in ``unit``, which is that of the variable then.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any

import astropy.units as u
import numpy as np
from pydantic import BaseModel

from pymc_gamma.analysis.document import Problem, nearest
from pymc_gamma.analysis.section import Told, checked_by, quantity_in, refuse, refuse_all

__all__ = ["Fixed", "Named", "Parameter", "Prior", "Scope", "parameter", "parameters_in", "read_parameter"]

_NAME = re.compile(r"[A-Za-z_]\w*")
_LOG = re.compile(r"log\((.+)\)")
_RESERVED = ("prior", "unit", "dims")
MARGINALISED = "Marginalised"
"""Not a distribution: a parameter of a scan that is summed over."""
LOG_UNIFORM = "LogUniform"
"""Uniform in the logarithm, between `lower` and `upper`; PyMC has none."""


@dataclass(frozen=True)
class Fixed:
    """A number, in the unit of its parameter; a list of them for vectors."""

    value: Any

    is_free = False

    def tensor(self, scope: "Scope", name: str, unit: str) -> Any:
        """The number."""
        return self.value

    def reference(self, scope: "Scope", unit: str) -> float:
        """The number."""
        return float(self.value)


@dataclass(frozen=True)
class Named:
    """A prior that has a name, or a parameter of a scan."""

    name: str

    is_free = True

    def tensor(self, scope: "Scope", name: str, unit: str) -> Any:
        """The variable of that name, in a unit."""
        return scope.variable(self.name, unit)

    def reference(self, scope: "Scope", unit: str) -> float:
        """Where the prior is centred."""
        return scope.reference(self.name, unit)


@dataclass(frozen=True)
class Prior:
    """A distribution of PyMC.

    Parameters
    ----------
    distribution : str
        Its name.
    keywords : dict
        Numbers, quantities, lists of these, or names of other priors.
    unit : str, optional
        Unit of the variable, if it is not that of the parameter.
    dims : str, optional
        Dim of the variable: one number for each entry of it.
    """

    distribution: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    unit: str | None = None
    dims: str | None = None

    is_free = True

    def own_unit(self, unit: str) -> str:
        """Unit of the variable, for a parameter in a unit."""
        return unit if self.unit is None else self.unit

    def tensor(self, scope: "Scope", name: str, unit: str) -> Any:
        """A new variable in the PyMC model of the context, converted to a unit."""
        own = self.own_unit(unit)
        made = self.variable(scope, name, own)
        factor = _factor(own, unit)
        return made if factor == 1 or self.distribution == MARGINALISED else made * factor

    def variable(self, scope: "Scope", name: str, unit: str) -> Any:
        """A new variable in the PyMC model of the context, in its own unit."""
        import pymc as pm

        import pymc_gamma as pmg
        from pymc_gamma.interop.priors import Standardised, log_uniform

        keywords = {key: _plain(value, scope) for key, value in self.keywords.items()}
        if unit:
            scope.units[name] = unit
        if self.distribution == MARGINALISED:
            return pmg.Marginalised(keywords.get("weights"))
        if self.distribution == LOG_UNIFORM:
            return log_uniform(name, keywords["lower"], keywords["upper"])
        options: dict[str, Any] = {} if self.dims is None else {"dims": self.dims}
        if self.distribution == "Normal" and all(isinstance(one, float) for one in keywords.values()):
            # samplers start within one unit of the centre, and positions or amplitudes have other scales
            mu, sigma = keywords.get("mu", 0.0), keywords.get("sigma", 1.0)
            if set(keywords) <= {"mu", "sigma"} and sigma > 0:
                options["transform"] = Standardised(mu, sigma)
        return getattr(pm, self.distribution)(name, **keywords, **options)

    def reference(self, scope: "Scope", unit: str) -> float:
        """Where the distribution is centred: PyMC's starting point."""
        own = self.own_unit(unit)
        return _centre(self, scope, own) * _factor(own, unit)


type Parameter = Fixed | Named | Prior


class Scope:
    """What names stand for: priors that parameters share, their variables, and values of a scan.

    Parameters
    ----------
    priors : mapping of str to Prior
        Under `priors` in the file.
    values : mapping of str to Quantity or float, optional
        Of the parameters of a scan, at a node.
    """

    def __init__(self, priors: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> None:
        self.priors = dict(priors)
        self.values = dict(values or {})
        self.units: dict[str, str] = {}
        """Units of the variables that were made."""
        self._made: dict[str, Any] = {}

    def at(self, values: Mapping[str, Any]) -> "Scope":
        """The same with values for some names."""
        return Scope(self.priors, {**self.values, **values})

    def variable(self, name: str, unit: str | None = None) -> Any:
        """Variable of a name in a unit, made when it is first asked for."""
        if name in self.values:
            return self._value(name, unit)
        prior = self._prior(name)
        if name not in self._made:
            self._made[name] = prior.variable(self, name, prior.unit or "")
        made = self._made[name]
        factor = 1.0 if unit is None or prior.unit is None else _factor(prior.unit, unit)
        return made if factor == 1 else made * factor

    def reference(self, name: str, unit: str) -> float:
        """Where the prior of a name is centred, in a unit."""
        if name in self.values:
            return self._value(name, unit)
        prior = self._prior(name)
        return _centre(prior, self, prior.unit or "") * (1.0 if prior.unit is None else _factor(prior.unit, unit))

    def _prior(self, name: str) -> Prior:
        if name not in self.priors:
            known = nearest(name, list(self.priors)) if self.priors else "there is none"
            raise ValueError(f"there is no prior {name!r} under `priors`; {known}")
        found = self.priors[name]
        assert isinstance(found, Prior)
        return found

    def _value(self, name: str, unit: str | None) -> float:
        value = self.values[name]
        if isinstance(value, u.Quantity):
            return float(value.to_value(value.unit if unit is None else unit))
        return float(value)


def read_parameter(value: Any, unit: str = "", *, own_unit: bool = False) -> Parameter:
    """A parameter as it is written.

    Parameters
    ----------
    value : object
        From the file.
    unit : str
        Unit of the parameter.
    own_unit : bool
        Whether a prior says its unit itself, those of `priors`.

    Raises
    ------
    ValueError
        If it is no parameter, or has another unit.

    Examples
    --------
    >>> read_parameter("500 GeV", "TeV")
    Fixed(value=0.5)
    >>> read_parameter({"prior": "Normal", "mu": 2.4, "sigma": 0.5}).distribution
    'Normal'
    """
    if isinstance(value, Fixed | Named | Prior):
        return value
    if isinstance(value, dict):
        return _read_prior(value, unit, own_unit=own_unit)
    if isinstance(value, str) and _NAME.fullmatch(value):
        return Named(value)
    if isinstance(value, list):
        return Fixed([_number(one, unit) for one in value])
    return Fixed(_number(value, unit))


def parameters_in(value: Any) -> Iterator[Any]:
    """Priors and names in a part of an analysis, wherever they are; names in priors too."""
    if isinstance(value, Prior | Named):
        yield value
    if isinstance(value, Prior):
        yield from parameters_in(value.keywords)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from parameters_in(getattr(value, name))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            yield from parameters_in(getattr(value, one.name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from parameters_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from parameters_in(one)


def parameter(unit: str = "", *, own_unit: bool = False) -> Any:
    """Type of a parameter in a unit."""
    told = Told(f"parameter in {unit}" if unit else "parameter")
    return Annotated[Any, checked_by(lambda value: read_parameter(value, unit, own_unit=own_unit)), told]


def _number(value: Any, unit: str) -> float:
    if isinstance(value, bool) or value is None:
        raise ValueError(_no_parameter(value, unit))
    if isinstance(value, int | float):
        if not np.isfinite(value):
            raise ValueError(f"{value} is not finite")
        return float(value)
    if isinstance(value, u.Quantity):
        return float(quantity_in(value, unit).to_value(unit))
    if not isinstance(value, str):
        raise ValueError(_no_parameter(value, unit))
    try:
        return float(value)  # YAML takes 1e-12 for text
    except ValueError:
        pass
    logarithm = _LOG.fullmatch(value.strip())
    if logarithm:
        inner = _number(logarithm[1], unit)
        if not inner > 0:
            raise ValueError(f"{value!r} is the logarithm of {inner:g}, which is not positive")
        return float(np.log(inner))
    with u.set_enabled_equivalencies(u.mass_energy()):  # of densities of dark matter, such as Msun kpc-3
        return float(quantity_in(value, unit).to_value(unit))


def _no_parameter(value: Any, unit: str) -> str:
    example = f"'1 {unit}'" if unit else "1.5"
    return (
        f"{value!r} is no parameter; give a number or quantity ({example}), a prior "
        "({prior: Normal, mu: 2, sigma: 1}), or the name of one under `priors`"
    )


def _read_prior(value: Mapping[str, Any], unit: str, *, own_unit: bool) -> Prior:
    if "prior" not in value:
        near = get_close_matches("prior", list(map(str, value)), n=1, cutoff=0.5)
        hint = f" (instead of {near[0]!r}?)" if near else ""
        raise refuse(f"has no key `prior`{hint}; name a distribution of PyMC, such as prior: Normal")
    name = value["prior"]
    known = _keywords_of(name)
    given = {key: item for key, item in value.items() if key not in _RESERVED}
    own = value.get("unit")
    if own is not None:
        try:
            parsed = u.Unit(own)
        except (TypeError, ValueError) as error:
            raise refuse(f"{own!r} is no unit", ("unit",)) from error
        if not own_unit and not parsed.is_equivalent(unit):
            raise refuse(f"{own!r} is no unit of the kind of '{unit}'", ("unit",))
        own = str(own)
    elif own_unit:
        own = _unit_in(given)
    dims = value.get("dims")
    if dims not in (None, "observation", "component"):
        raise refuse(f"there is no dim {dims!r}; expected observation or component", ("dims",))
    problems, keywords = [], {}
    for key, item in given.items():
        if key not in known:
            problems.append(Problem((key,), f"unknown keyword of {name}; {nearest(key, known)}"))
            continue
        try:
            keywords[key] = _hyper(item, unit if own is None else own)
        except ValueError as error:
            problems.append(Problem((key,), str(error)))
    if problems:
        raise refuse_all(problems)
    found = Prior(str(name), keywords, own, dims)
    _try(found)
    return found


def _keywords_of(name: Any) -> list[str]:
    """Keywords of a distribution of PyMC."""
    import pymc as pm

    if name == MARGINALISED:
        return ["weights"]
    if name == LOG_UNIFORM:
        return ["lower", "upper"]
    cls: Any = getattr(pm, str(name), None) if isinstance(name, str) else None
    if not _is_distribution(cls):
        every = [key for key, one in vars(pm).items() if _is_distribution(one)]
        close = get_close_matches(str(name), every, n=1) or get_close_matches(str(name).title(), every, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "such as Normal, Uniform, LogNormal, HalfNormal, Dirichlet"
        raise refuse(f"PyMC has no distribution {name!r}; {hint}", ("prior",))
    skipped = {"self", "cls", "args", "kwargs", "shape", "size", "rng", "dist_params"}
    return [key for key in inspect.signature(cls.dist).parameters if key not in skipped]


def _is_distribution(thing: Any) -> bool:
    import pymc as pm

    return inspect.isclass(thing) and issubclass(thing, pm.Distribution)


def _unit_in(given: Mapping[str, Any]) -> str | None:
    """Unit of the first quantity among the keywords of a prior."""
    for item in given.values():
        if isinstance(item, str) and not _NAME.fullmatch(item):
            inner = _LOG.fullmatch(item.strip())
            try:
                unit = u.Quantity(inner[1] if inner else item).unit
            except (TypeError, ValueError):
                continue
            if str(unit):
                return str(unit)
    return None


def _hyper(item: Any, unit: str) -> Any:
    if isinstance(item, list):
        return [_hyper(one, unit) for one in item]
    if isinstance(item, str) and _NAME.fullmatch(item):
        return Named(item)
    return _number(item, unit)


def _plain(value: Any, scope: Scope) -> Any:
    if isinstance(value, Named):
        return scope.variable(value.name, None)
    if isinstance(value, list):
        made = [_plain(one, scope) for one in value]
        return np.array(made) if all(isinstance(one, float) for one in made) else made
    return value


def _has_names(value: Any) -> bool:
    return isinstance(value, Named) or (isinstance(value, list) and any(map(_has_names, value)))


def _try(prior: Prior) -> None:
    """Raise an error if the keywords of a distribution are no numbers for it, a negative width say."""
    if prior.distribution == MARGINALISED or any(map(_has_names, prior.keywords.values())):
        return
    if prior.distribution == LOG_UNIFORM:
        low, high = (prior.keywords.get(key, 0.0) for key in ("lower", "upper"))
        if not 0 < low < high:
            raise refuse(f"a LogUniform prior needs 0 < lower < upper, got {low:g} and {high:g}")
        return
    import pymc as pm

    from pymc_gamma.tensors import value_of

    try:
        keywords = {key: _as_array(value) for key, value in prior.keywords.items()}
        made = getattr(pm, prior.distribution).dist(**keywords)
        pm.draw(made, mode="FAST_COMPILE", random_seed=1)
        value_of(pm.logp(made, _start(made)))
    except Exception as error:
        told = " ".join(str(error).split())
        raise refuse(f"{prior.distribution} cannot be made of these numbers ({told[:200]})") from error


def _start(variable: Any) -> Any:
    from pymc.distributions.distribution import support_point

    from pymc_gamma.tensors import value_of

    return value_of(support_point(variable))


def _as_array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, list) else value


def _centred(value: Any, scope: Scope) -> Any:
    if isinstance(value, Named):
        return scope.reference(value.name, scope.priors[value.name].unit or "")
    return np.asarray([_centred(one, scope) for one in value]) if isinstance(value, list) else value


def _centre(prior: Prior, scope: Scope, unit: str) -> float:
    import pymc as pm

    if prior.distribution == MARGINALISED:
        raise ValueError("a parameter that is Marginalised has no value; it goes with a scan")
    keywords = {key: _centred(value, scope) for key, value in prior.keywords.items()}
    if prior.distribution == LOG_UNIFORM:
        return float(np.sqrt(keywords["lower"] * keywords["upper"]))
    made = getattr(pm, prior.distribution).dist(**keywords)
    return float(np.mean(_start(made)))


def _factor(have: str, want: str) -> float:
    if have == want:
        return 1.0
    try:
        return float(u.Unit(have).to(want))
    except u.UnitConversionError as error:
        raise ValueError(f"a prior in '{have}' is no parameter in '{want}'") from error
