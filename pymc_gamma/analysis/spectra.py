"""Spectra in analysis files: a class of spectra of this package by its name, and its parameters by theirs.

::

    spectrum: {type: LogParabola, amplitude: 3.5e-11 TeV-1 cm-2 s-1, reference: 1 TeV, alpha: {prior: Normal, mu: 2.4,
      sigma: 0.5}, beta: 0.2}

A list of spectra is their sum.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import astropy.units as u
import numpy as np

from pymc_gamma.analysis.document import Problem, nearest
from pymc_gamma.analysis.parameters import Scope, read_parameter
from pymc_gamma.analysis.section import VALUE_ERRORS, Told, checked_by, problems_of, refuse, refuse_all

__all__ = ["Spectral", "SpectrumField", "spectrum_classes"]

_NOMINAL_TEV = (1e-4, 1e4)
_NOMINAL_POINTS = 1601
"""Energies at which the spectrum that a component is folded with is tabulated: 200 per decade."""


@dataclass(frozen=True)
class Spectral:
    """A spectrum, or the sum of several.

    Parameters
    ----------
    terms : tuple
        Class and parameters of each.
    """

    terms: tuple[tuple[str, dict[str, Any]], ...]

    @property
    def is_free(self) -> bool:
        """Whether a parameter is a variable."""
        return any(one.is_free for _, parameters in self.terms for one in parameters.values())

    def build(self, scope: Scope, name: str) -> Any:
        """With the variables of the PyMC model of the context, named ``<name>.spectral.<parameter>``."""
        made = []
        for k, (kind, parameters) in enumerate(self.terms):
            prefix = f"{name}.spectral" if len(self.terms) == 1 else f"{name}.spectral{k + 1}"
            cls = spectrum_classes()[kind]
            values = {key: one.tensor(scope, f"{prefix}.{key}", unit_of(cls, key)) for key, one in parameters.items()}
            made.append(cls(**values))
        return sum(made[1:], made[0])

    def nominal(self, scope: Scope) -> Any:
        """As a model of gammapy, where its priors are centred."""
        from gammapy.modeling.models import TemplateSpectralModel

        from pymc_gamma.tensors import value_of

        energy = np.geomspace(*_NOMINAL_TEV, _NOMINAL_POINTS)
        flux = np.zeros(energy.size)
        for kind, parameters in self.terms:
            cls = spectrum_classes()[kind]
            values = {key: one.reference(scope, unit_of(cls, key)) for key, one in parameters.items()}
            flux += value_of(cls(**values)(energy))
        return TemplateSpectralModel(energy * u.TeV, flux * u.Unit("TeV-1 cm-2 s-1"))


def spectrum_classes() -> dict[str, Any]:
    """Spectra whose parameters are numbers, by name."""
    from pymc_gamma.model import spectra

    every = {name: getattr(spectra, name) for name in spectra.__all__}
    return {name: cls for name, cls in every.items() if isinstance(cls, type) and _is_plain(cls)}


def _is_plain(cls: Any) -> bool:
    """Whether all that a spectrum takes are parameters with units."""
    from pymc_gamma.model.spectra import ParametricSpectrum

    plain = issubclass(cls, ParametricSpectrum) and dataclasses.is_dataclass(cls)
    return plain and {one.name for one in dataclasses.fields(cls)} == set(cls.units)


def unit_of(cls: Any, parameter: str) -> str:
    """Unit of a parameter of a class of spectra."""
    return str(cls.units[parameter])


def _read(value: Any) -> Spectral:
    if isinstance(value, Spectral):
        return value
    if isinstance(value, list) and value:
        terms, problems = [], []
        for k, one in enumerate(value):
            try:
                terms.append(_term(one))
            except VALUE_ERRORS as error:
                problems += problems_of(error, (k,))
        if problems:
            raise refuse_all(problems)
        return Spectral(tuple(terms))
    return Spectral((_term(value),))


def _term(value: Any) -> tuple[str, dict[str, Any]]:
    known = spectrum_classes()
    if not isinstance(value, dict) or "type" not in value:
        raise refuse(f"a spectrum has a type and parameters, such as {{type: PowerLaw, index: 2}}; got {value!r}")
    kind = value["type"]
    if not isinstance(kind, str) or kind not in known:
        raise refuse(f"there is no spectrum {kind!r}; {nearest(kind, list(known))}", ("type",))
    cls = known[kind]
    return kind, read_parameters({key: one for key, one in value.items() if key != "type"}, cls.units, kind)


def read_parameters(given: dict[str, Any], units: Any, kind: str) -> dict[str, Any]:
    """Parameters by name, each in its unit; all problems in one error."""
    problems, found = [], {}
    for key, one in given.items():
        if key not in units:
            problems.append(Problem((key,), f"unknown parameter of {kind}; {nearest(key, list(units))}"))
            continue
        try:
            found[key] = read_parameter(one, str(units[key]))
        except VALUE_ERRORS as error:
            problems += problems_of(error, (key,))
    if problems:
        raise refuse_all(problems)
    return found


SpectrumField = Annotated[Any, checked_by(_read), Told("spectrum")]
"""A spectrum."""
