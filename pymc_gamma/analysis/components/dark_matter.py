"""Dark matter in the halo of the Milky Way."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import astropy.units as u
import numpy as np
from pydantic import Field

from pymc_gamma.analysis.components.base import Component, Surroundings
from pymc_gamma.analysis.document import Problem, nearest
from pymc_gamma.analysis.parameters import Fixed, Parameter, Scope, parameter, read_parameter
from pymc_gamma.analysis.section import (
    VALUE_ERRORS,
    FilePath,
    Section,
    Told,
    checked_by,
    expanded,
    problems_of,
    refuse,
    refuse_all,
)
from pymc_gamma.analysis.spectra import read_parameters

__all__ = ["DarkMatter", "DarkMatterConfig"]

_UNITS = {"r_s": "kpc", "r_c": "kpc", "rho_local": "GeV cm-3", "distance": "kpc"}
"""Of the parameters of profiles; slopes have none."""
_OF_THE_FORM = ("rho_local", "distance")
"""Parameters of a profile that are no part of its form, and so never free."""


@dataclass(frozen=True)
class ProfileChoice:
    """A density profile.

    Parameters
    ----------
    kind : str
        Class of :mod:`pymc_gamma.darkmatter`.
    parameters : dict
        By name.
    """

    kind: str
    parameters: dict[str, Parameter] = field(default_factory=dict)

    @property
    def free(self) -> list[str]:
        """Parameters that are left to the model."""
        return [name for name, one in self.parameters.items() if one.is_free]

    def build(self, scope: Scope) -> Any:
        """Where priors are centred."""
        values = {}
        for name, one in self.parameters.items():
            unit = _UNITS.get(name, "")
            value = one.reference(scope, unit)
            values[name] = value * u.Unit(unit) if unit else value
        return _profiles()[self.kind](**values)


def _profiles() -> dict[str, Any]:
    from pymc_gamma import darkmatter

    every = {name: getattr(darkmatter, name) for name in darkmatter.__all__}
    base = darkmatter.Profile
    return {name: cls for name, cls in every.items() if inspect.isclass(cls) and issubclass(cls, base) and cls != base}


def _read_profile(value: Any) -> ProfileChoice:
    if isinstance(value, ProfileChoice):
        return value
    known = _profiles()
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, dict) or "type" not in value:
        raise refuse(f"a profile has a type, such as {{type: Einasto, r_s: 28 kpc}}; got {value!r}")
    kind = value["type"]
    if not isinstance(kind, str) or kind not in known:
        raise refuse(f"there is no profile {kind!r}; {nearest(kind, list(known))}", ("type",))
    names = [name for name in inspect.signature(known[kind].__init__).parameters if name != "self"]
    units = {name: _UNITS.get(name, "") for name in names}
    found = ProfileChoice(kind, read_parameters({k: v for k, v in value.items() if k != "type"}, units, kind))
    for name in found.free:
        if name in _OF_THE_FORM:
            raise refuse("must be a number: it is a factor of all profiles, and the same as sigmav", (name,))
    return found


@dataclass(frozen=True)
class Channels:
    """Branching fractions.

    Parameters
    ----------
    fractions : dict
        Of each channel.
    concentrations : list of float, optional
        Of the Dirichlet prior that they have together.
    """

    fractions: dict[str, Parameter]
    concentrations: list[float] | None = None

    @property
    def is_free(self) -> bool:
        """Whether they are variables."""
        return self.concentrations is not None or any(one.is_free for one in self.fractions.values())

    def tensor(self, scope: Scope, name: str) -> Any:
        """As `Annihilation` takes them, with the variables of the PyMC model of the context."""
        import pymc as pm

        if self.concentrations is None:
            return {key: one.tensor(scope, f"{name}.{key}", "") for key, one in self.fractions.items()}
        dim = f"{name}_channel"
        pm.modelcontext(None).add_coord(dim, list(self.fractions))
        return pm.Dirichlet(name, a=np.array(self.concentrations), dims=dim)

    def reference(self, scope: Scope) -> dict[str, float]:
        """Where priors are centred."""
        if self.concentrations is not None:
            shares = np.array(self.concentrations) / sum(self.concentrations)
            return dict(zip(self.fractions, shares.tolist(), strict=True))
        found = {key: one.reference(scope, "") for key, one in self.fractions.items()}
        total = sum(found.values())
        return {key: value / total for key, value in found.items()} if self.is_free else found


def _read_channels(value: Any) -> Channels:
    from pymc_gamma.darkmatter import gamma_table
    from pymc_gamma.darkmatter.channels import channel_names

    if isinstance(value, Channels):
        return value
    known = list(channel_names(gamma_table()))
    if isinstance(value, str):
        value = {value: 1.0}
    if not isinstance(value, dict) or not value:
        raise refuse(f"expected a channel, such as W, or fractions such as {{W: 0.5, b: 0.5}}; got {value!r}")
    if value.get("prior") is not None:
        return _read_dirichlet(value, known)
    problems, found = [], {}
    for key, one in value.items():
        if key not in known:
            problems.append(Problem((key,), f"there is no channel {key!r}; {nearest(key, known)}"))
            continue
        try:
            found[key] = read_parameter(one)
        except VALUE_ERRORS as error:
            problems += problems_of(error, (key,))
    if problems:
        raise refuse_all(problems)
    total = sum(one.value for one in found.values() if isinstance(one, Fixed))
    if all(isinstance(one, Fixed) for one in found.values()) and abs(total - 1) > 1e-6:
        raise refuse(f"branching fractions must sum to 1, got {total:g}")
    return Channels(found)


def _read_dirichlet(value: dict[str, Any], known: list[str]) -> Channels:
    """Fractions with a prior: ``{prior: Dirichlet, of: [W, b], a: 1}``."""
    keys = ("prior", "of", "a")
    problems = [Problem((key,), f"unknown key; {nearest(key, keys)}") for key in value if key not in keys]
    names = value.get("of")
    if value["prior"] != "Dirichlet":
        problems.append(Problem(("prior",), "fractions that sum to 1 have the prior Dirichlet"))
    if not isinstance(names, list) or len(names) < 2:
        raise refuse_all([*problems, Problem((), "say of which channels: {prior: Dirichlet, of: [W, b]}")])
    problems += [
        Problem(("of", k), f"there is no channel {one!r}; {nearest(one, known)}")
        for k, one in enumerate(names)
        if one not in known
    ]
    given = value.get("a", 1.0)
    shares = given if isinstance(given, list) else [given] * len(names)
    if len(shares) != len(names) or not all(isinstance(one, int | float) and one > 0 for one in shares):
        problems.append(Problem(("a",), f"expected a positive number, or one for each of {names}, got {given!r}"))
    if problems:
        raise refuse_all(problems)
    return Channels({str(name): Fixed(0.0) for name in names}, [float(one) for one in shares])


class ModelOfParticles(Section):
    """A model of dark matter, as a table of its cross-sections."""

    table: str = Field(
        description="File of `AnnihilationTable.read`, or a data set: `z2-dimauro`, `z2-darksusy`; `z5-101x101`, "
        "`z5-11x11` of two kinds of particles."
    )
    parameters: dict[str, parameter()] = Field(  # type: ignore[valid-type]
        default={}, description="Its parameters but masses, by name."
    )
    masses: dict[str, parameter("TeV")] = Field(  # type: ignore[valid-type]
        default={},
        description="Masses by name (`mdm1`, `mdm2`), where there are several kinds of particles; `sigmav` goes with "
        "them, and `k` is 4.",
    )


class DarkMatterConfig(Section):
    """What all dark matter of an analysis has in common; components may say otherwise."""

    profile: Annotated[Any, checked_by(_read_profile), Told("profile")] | None = Field(
        default=None, description="Density: `type` and parameters of a class of `pymc_gamma.darkmatter`; Einasto."
    )
    process: Literal["annihilation", "decay"] | None = Field(default=None, description="`annihilation`, or `decay`.")
    mass: parameter("TeV") | None = Field(default=None, description="Mass.")  # type: ignore[valid-type]
    sigmav: parameter("cm3 s-1") | None = Field(  # type: ignore[valid-type]
        default=None, description="Cross-section of annihilation; 3e-26 cm3 s-1. Fractions do not depend on it."
    )
    lifetime: parameter("s") | None = Field(  # type: ignore[valid-type]
        default=None, description="Lifetime; 1e26 s. Fractions do not depend on it."
    )
    channels: Annotated[Any, checked_by(_read_channels), Told("channels")] | None = Field(
        default=None,
        description="Channel, fractions by channel, or `{prior: Dirichlet, of: [W, b], a: 1}`.",
    )
    k: float | None = Field(default=None, gt=0, description="2 for particles that are their antiparticles, or 4.")
    model: ModelOfParticles | None = Field(
        default=None, description="A model that says fractions, and sigmav where there is one kind of particles."
    )
    spectra: FilePath | None = Field(default=None, description="File of spectra, instead of PPPC 4 DM ID.")


class DarkMatter(DarkMatterConfig, Component):
    """Dark matter in the halo of the Milky Way, `DarkMatterHalo`."""

    kind: ClassVar[str] = "dark_matter"
    summary: ClassVar[str] = "Dark matter in the halo of the Milky Way (`DarkMatterHalo`); see `dark_matter`."

    name: str = Field(default="dm", description="Name of the component.")

    def sky(self, around: Surroundings) -> Any:
        """A halo where priors are centred."""
        from pymc_gamma.darkmatter import DarkMatterHalo

        return DarkMatterHalo(self._profile(around).build(around.scope), self._nominal(around), self.name)

    def frees_spectrum(self, around: Surroundings) -> bool:
        """Whether mass, cross-section or fractions are free."""
        parts = [self._get(around, key) for key in ("mass", "sigmav", "lifetime", "channels")]
        model = self._get(around, "model")
        parts += [] if model is None else [*model.parameters.values(), *model.masses.values()]
        return any(one is not None and one.is_free for one in parts)

    def frees_shape(self, around: Surroundings) -> bool:
        """Whether the profile is free."""
        return bool(self._profile(around).free)

    def spectrum(self, around: Surroundings) -> Any:
        """Its spectrum, if that is free."""
        if not self.frees_spectrum(around):
            return None
        scope, name = around.scope, self.name
        options, model = self._options(around), self._get(around, "model")
        if model is not None and model.masses:
            masses = {key: one.tensor(scope, f"{name}.{key}", "TeV") for key, one in model.masses.items()}
            sigmav = self._sigmav(around).tensor(scope, f"{name}.sigmav", "cm3 s-1")
            return self._table(around).annihilation(sigmav=sigmav, k=self._k(around), **masses, **options)
        mass = self._mass(around).tensor(scope, f"{name}.mass", "TeV")
        if model is not None:
            values = {key: one.tensor(scope, f"{name}.{key}", "") for key, one in model.parameters.items()}
            return self._table(around).annihilation(mass=mass, k=self._k(around), **values, **options)
        channels = self._channels(around).tensor(scope, f"{name}.channels")
        if self._decays(around):
            lifetime = self._lifetime(around).tensor(scope, f"{name}.lifetime", "s")
            return self._process(around)(mass=mass, lifetime=lifetime, channels=channels, **options)
        sigmav = self._sigmav(around).tensor(scope, f"{name}.sigmav", "cm3 s-1")
        return self._process(around)(mass=mass, sigmav=sigmav, channels=channels, k=self._k(around), **options)

    def shape_parameters(self, around: Surroundings) -> dict[str, Any]:
        """Parameters of the profile that are free."""
        profile = self._profile(around)
        return {
            name: profile.parameters[name].tensor(around.scope, f"{self.name}.{name}", _UNITS.get(name, ""))
            for name in profile.free
        }

    def conditions(
        self, around: Surroundings, spectrum: Any, parameters: Mapping[str, Any]
    ) -> Iterator[tuple[Any, str]]:
        """That the table has the channels at the mass, and that J or D is finite."""
        import pytensor.tensor as pt

        yield from super().conditions(around, spectrum, parameters)
        if not parameters:
            return
        profile, power = self._profile(around).build(around.scope), self._process(around).density_power
        own = profile.parameters
        values = {name: pt.constant(float(own[name])) for name in ("beta", "gamma") if name in own}
        for fulfilled, told, names in profile.mixture_conditions(values | dict(parameters), power):
            if set(names) & set(parameters):
                yield fulfilled, told

    def from_fraction(
        self, fraction: Any, n_events: float, response: Any, spectrum: Any, shapes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The cross-section, of annihilation with a free spectrum."""
        from pymc_gamma import darkmatter

        if getattr(spectrum, "sigmav", None) is None:
            return {}
        return {
            "sigmav": darkmatter.cross_section(fraction, n_events, response, self.name, spectrum, shapes=shapes or None)
        }

    def files(self, around: Surroundings) -> Iterator[Path]:
        """Tables of spectra and of cross-sections."""
        spectra, model = self._get(around, "spectra"), self._get(around, "model")
        if spectra is not None:
            yield around.path(spectra)
        if model is not None:
            yield self._table_path(around)

    def _get(self, around: Surroundings, key: str) -> Any:
        """What the component says, or the section `dark_matter`."""
        own = getattr(self, key)
        return own if own is not None or around.dark_matter is None else getattr(around.dark_matter, key)

    def _needed(self, around: Surroundings, key: str, example: str) -> Any:
        found = self._get(around, key)
        if found is None:
            raise ValueError(f"{self.name!r} has no {key}; give it here or under dark_matter, for example {example}")
        return found

    def _profile(self, around: Surroundings) -> Any:
        return self._get(around, "profile") or ProfileChoice("Einasto")

    def _mass(self, around: Surroundings) -> Any:
        return self._needed(around, "mass", "mass: 1 TeV")

    def _channels(self, around: Surroundings) -> Any:
        return self._needed(around, "channels", "channels: W")

    def _sigmav(self, around: Surroundings) -> Any:
        return self._get(around, "sigmav") or Fixed(3e-26)

    def _lifetime(self, around: Surroundings) -> Any:
        return self._get(around, "lifetime") or Fixed(1e26)

    def _k(self, around: Surroundings) -> float:
        model = self._get(around, "model")
        return float(self._get(around, "k") or (4.0 if model is not None and model.masses else 2.0))

    def _decays(self, around: Surroundings) -> bool:
        return bool(self._get(around, "process") == "decay")

    def _process(self, around: Surroundings) -> Any:
        from pymc_gamma import darkmatter

        return darkmatter.Decay if self._decays(around) else darkmatter.Annihilation

    def _check_keys(self, around: Surroundings) -> None:
        """Raise a ValueError if something is said that another key leaves no room for."""
        decays, model = self._decays(around), self._get(around, "model")
        for key in ("sigmav", "k", "model") if decays else ("lifetime",):
            if getattr(self, key) is not None:
                process = "decay" if decays else "annihilation"
                raise ValueError(f"{self.name!r} has the process {process}, which takes no {key}; leave it out")
        if model is None:
            return
        if decays:
            raise ValueError(
                f"{self.name!r} decays, but dark_matter.model is one of annihilation; leave one of them out"
            )
        beside = self if self.model is not None else around.dark_matter
        for key in ("channels", "mass" if model.masses else "sigmav"):
            if getattr(self, key) is not None or getattr(beside, key) is not None:
                raise ValueError(f"{self.name!r} has {key}, but its model says what they are; leave one of them out")

    def _nominal(self, around: Surroundings) -> Any:
        self._check_keys(around)
        scope, options = around.scope, self._options(around)
        model = self._get(around, "model")
        if model is not None and model.masses:
            masses = {key: one.reference(scope, "TeV") for key, one in model.masses.items()}
            sigmav = self._sigmav(around).reference(scope, "cm3 s-1")
            return self._table(around).annihilation(sigmav=sigmav, k=self._k(around), **masses, **options)
        mass = self._mass(around).reference(scope, "TeV")
        if model is not None:
            values = {key: one.reference(scope, "") for key, one in model.parameters.items()}
            return self._table(around).annihilation(mass=mass, k=self._k(around), **values, **options)
        channels = self._channels(around).reference(scope)
        if self._decays(around):
            lifetime = self._lifetime(around).reference(scope, "s")
            return self._process(around)(mass=mass, lifetime=lifetime, channels=channels, **options)
        sigmav = self._sigmav(around).reference(scope, "cm3 s-1")
        return self._process(around)(mass=mass, sigmav=sigmav, channels=channels, k=self._k(around), **options)

    def _options(self, around: Surroundings) -> dict[str, Any]:
        from pymc_gamma.darkmatter import GammaTable

        spectra = self._get(around, "spectra")
        return {} if spectra is None else {"table": GammaTable.read(around.path(spectra))}

    def _table_path(self, around: Surroundings) -> Path:
        from pymc_gamma import datasets

        name = self._get(around, "model").table
        return datasets.fetch(name) if name in datasets.names() else around.path(expanded(name))

    def _table(self, around: Surroundings) -> Any:
        from pymc_gamma.darkmatter import AnnihilationTable

        path, model = self._table_path(around), self._get(around, "model")
        found = AnnihilationTable.read(path, parameters=list(model.parameters) or None)
        if isinstance(found, AnnihilationTable) == bool(model.masses):
            one = "is of one kind of particles: give its `mass` beside the model, and leave model.masses out"
            several = f"is of several kinds of particles: give their masses, model.masses: {list(found.parameters)}"
            raise ValueError(f"{path} {one if model.masses else several}")
        return found
