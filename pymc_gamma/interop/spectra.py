r"""Spectral models of gammapy as spectra with PyMC parameters.

Each gammapy model with a counterpart in :mod:`pymc_gamma.model.spectra` becomes that counterpart; a norm model becomes
the spectrum of the same form whose amplitude is the norm. Three take a rewriting:

.. math::

    \text{PowerLaw2} \quad & \phi_0 = F_0 \Big/ \int_{E_{\min}}^{E_{\max}} (E/E_{\max})^{-\Gamma}\,\mathrm dE,
        \quad E_0 = E_{\max} \\
    \text{ExpCutoffPowerLaw3FGL} \quad & \phi_0 e^{(E_0 - E)/E_c} = (\phi_0 e^{E_0/E_c})\, e^{-\lambda E},
        \quad \lambda = 1/E_c \\
    \text{SuperExpCutoffPowerLaw3FGL} \quad & \phi_0 e^{(E_0/E_c)^{\Gamma_2} - (E/E_c)^{\Gamma_2}}
        = (\phi_0 e^{(E_0/E_c)^{\Gamma_2}})\, e^{-(\lambda E)^{\Gamma_2}} .

A compound model becomes the same operation on its parts. Any model whose parameters are frozen is evaluated by gammapy,
once. Where *all* free parameters are factors of the whole spectrum, :math:`\phi(E; \theta) = \prod_j (\theta_j /
\theta_j^0)\, \phi(E; \theta^0)`, any model will do, and its shape is folded once.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.errors import ModelError, SkyModelError
from pymc_gamma.folding.nodes import has_narrow, spectrum_nodes
from pymc_gamma.interop.priors import Role
from pymc_gamma.model.spectra import (
    FLUX,
    BrokenPowerLaw,
    EBLAbsorption,
    ExpCutoffPowerLaw,
    LogParabola,
    PowerLaw,
    SmoothBrokenPowerLaw,
    Spectrum,
    is_smooth,
)
from pymc_gamma.power_laws import mean_exponential_tensor

__all__ = ["convert_spectrum", "free_parameters", "is_common_factor", "spectral_roles", "whole_spectrum"]

Variables = Mapping[Any, Variable]
"""Variable of each free gammapy parameter."""
Number = Callable[[str], Any]
"""Number or tensor of a parameter, by its name, in the unit of the counterpart."""


@dataclass(frozen=True)
class _Counterpart:
    """Units and roles of the parameters of a gammapy model, and how to build its spectrum from them."""

    parameters: Mapping[str, tuple[str, Role]]
    build: Callable[[Number], Callable[[Any], Any]]


_INDEX = ("", Role.REAL)
_ENERGY = ("TeV", Role.POSITIVE)
_AMPLITUDE = (FLUX, Role.SCALE)
_NORM = ("", Role.SCALE)
_SHARPNESS = ("", Role.POSITIVE)


def _same(spectrum: Callable[..., Spectrum], **parameters: tuple[str, Role]) -> _Counterpart:
    """Counterpart whose parameters have the names that gammapy gives them."""
    return _Counterpart(parameters, lambda number: spectrum(**{name: number(name) for name in parameters}))


def _integral_power_law(number: Number) -> Spectrum:
    index, emin, emax = number("index"), number("emin"), number("emax")
    log_ratio = pt.log(pt.as_tensor_variable(emax) / emin)
    share = mean_exponential_tensor((index - 1) * log_ratio)  # 1 where gammapy's form is 0 / 0: at an index of 1
    return PowerLaw(index=index, amplitude=number("amplitude") / (emax * log_ratio * share), reference=emax)


def _cutoff_from_reference(number: Number, index: str, sharpness: str | None) -> Spectrum:
    alpha = 1.0 if sharpness is None else number(sharpness)
    ratio = pt.as_tensor_variable(number("reference") / number("ecut"))
    return ExpCutoffPowerLaw(
        index=number(index),
        amplitude=number("amplitude") * pt.exp(ratio**alpha),
        reference=number("reference"),
        lambda_=1 / number("ecut"),
        alpha=alpha,
    )


_CUTOFF = {"index": _INDEX, "reference": _ENERGY, "lambda_": ("TeV-1", Role.POSITIVE), "alpha": _SHARPNESS}

_COUNTERPARTS: Mapping[str, _Counterpart] = {
    "PowerLawSpectralModel": _same(PowerLaw, index=_INDEX, amplitude=_AMPLITUDE, reference=_ENERGY),
    "PowerLawNormSpectralModel": _Counterpart(
        {"tilt": _INDEX, "norm": _NORM, "reference": _ENERGY},
        lambda number: PowerLaw(index=number("tilt"), amplitude=number("norm"), reference=number("reference")),
    ),
    "PowerLaw2SpectralModel": _Counterpart(
        {"amplitude": ("cm-2 s-1", Role.SCALE), "index": _INDEX, "emin": _ENERGY, "emax": _ENERGY}, _integral_power_law
    ),
    "ExpCutoffPowerLawSpectralModel": _same(ExpCutoffPowerLaw, amplitude=_AMPLITUDE, **_CUTOFF),
    "ExpCutoffPowerLawNormSpectralModel": _Counterpart(
        {"norm": _NORM, **_CUTOFF},
        lambda number: ExpCutoffPowerLaw(amplitude=number("norm"), **{name: number(name) for name in _CUTOFF}),
    ),
    "ExpCutoffPowerLaw3FGLSpectralModel": _Counterpart(
        {"index": _INDEX, "amplitude": _AMPLITUDE, "reference": _ENERGY, "ecut": _ENERGY},
        lambda number: _cutoff_from_reference(number, "index", None),
    ),
    "SuperExpCutoffPowerLaw3FGLSpectralModel": _Counterpart(
        {
            "amplitude": _AMPLITUDE,
            "reference": _ENERGY,
            "ecut": _ENERGY,
            "index_1": _INDEX,
            "index_2": _SHARPNESS,
        },
        lambda number: _cutoff_from_reference(number, "index_1", "index_2"),
    ),
    "LogParabolaSpectralModel": _same(LogParabola, amplitude=_AMPLITUDE, reference=_ENERGY, alpha=_INDEX, beta=_INDEX),
    "LogParabolaNormSpectralModel": _Counterpart(
        {"norm": _NORM, "reference": _ENERGY, "alpha": _INDEX, "beta": _INDEX},
        lambda number: LogParabola(
            amplitude=number("norm"), reference=number("reference"), alpha=number("alpha"), beta=number("beta")
        ),
    ),
    "BrokenPowerLawSpectralModel": _same(
        BrokenPowerLaw, index1=_INDEX, index2=_INDEX, amplitude=_AMPLITUDE, ebreak=_ENERGY
    ),
    "SmoothBrokenPowerLawSpectralModel": _same(
        SmoothBrokenPowerLaw,
        index1=_INDEX,
        index2=_INDEX,
        amplitude=_AMPLITUDE,
        ebreak=_ENERGY,
        reference=_ENERGY,
        beta=_SHARPNESS,
    ),
    "ConstantSpectralModel": _Counterpart(
        {"const": _AMPLITUDE}, lambda number: PowerLaw(index=0.0, amplitude=number("const"))
    ),
}


_LOOKED_AT = (0.01, 300.0)
"""Range in TeV in which frozen models are looked at for narrow features."""
_NEAREST_NODES = 0.15
"""Distance in log E of the nodes of norms, below which what they make is not smooth."""


@dataclass(frozen=True, eq=False)
class _Frozen(Spectrum):
    """A gammapy model without free parameters, at energies that are known when the graph is made."""

    name: str
    model: Any

    @property
    def smooth(self) -> bool:
        """Whether the model has no narrow features."""
        edges = np.geomspace(*_LOOKED_AT, 200)
        flux = np.asarray(self(spectrum_nodes(edges)).data)
        return bool(np.all(np.isfinite(flux)) and not has_narrow(flux, edges))

    def evaluate(self, energy: Variable) -> Variable:
        """Flux in TeV-1 cm-2 s-1, or a number without unit, at energies in TeV."""
        if not isinstance(energy, Constant):
            raise ModelError(
                f"The spectral model {type(self.model).__name__} of {self.name!r} is evaluated by gammapy and needs "
                "energies that are numbers, not variables."
            )
        nodes = np.asarray(energy.data)
        flux = u.Quantity(self.model(nodes.ravel() * u.TeV))
        values = flux.to_value(FLUX if flux.unit.is_equivalent(FLUX) else "")
        return pt.constant(np.broadcast_to(values, nodes.size).reshape(nodes.shape).astype(np.float64))


@dataclass(frozen=True, eq=False)
class _Operation(Spectrum):
    """Two spectra joined by an operator, as gammapy's compound model is."""

    first: Callable[[Any], Any]
    second: Callable[[Any], Any]
    operator: Callable[[Any, Any], Any]

    @property
    def smooth(self) -> bool:
        """Whether both are."""
        return is_smooth(self.first) and is_smooth(self.second)

    def evaluate(self, energy: Variable) -> Variable:
        """Both, joined."""
        return self.operator(self.first(energy), self.second(energy))


@dataclass(frozen=True, eq=False)
class _Piecewise(Spectrum):
    """Norms at nodes of energy, interpolated linearly, in the logarithms or not; constant beyond the nodes."""

    nodes: Any
    norms: Any
    logarithmic: bool

    @property
    def smooth(self) -> bool:
        """Whether the nodes are far apart."""
        return bool(np.diff(np.log(self.nodes)).min() > _NEAREST_NODES)

    def evaluate(self, energy: Variable) -> Variable:
        """Norm at energies in TeV."""
        norms = pt.stack([pt.as_tensor_variable(norm) for norm in self.norms])
        x, at, y = np.asarray(self.nodes, dtype=np.float64), energy, norms
        if self.logarithmic:
            x, at, y = np.log(x), pt.log(energy), pt.log(norms)
        k = pt.clip(pt.searchsorted(pt.constant(x), at) - 1, 0, len(x) - 2)
        share = pt.clip((at - pt.constant(x)[k]) / pt.constant(np.diff(x))[k], 0.0, 1.0)
        result = y[k] + share * (y[k + 1] - y[k])
        return pt.exp(result) if self.logarithmic else result


def free_parameters(model: Any) -> list[Any]:
    """Free parameters of a gammapy model, each once."""
    return list(model.parameters.free_unique_parameters)


def spectral_roles(name: str, spectral: Any) -> dict[Any, Role]:
    """Role of each free parameter of a spectral model.

    Parameters
    ----------
    name : str
        Name of the source, for messages.
    spectral : gammapy.modeling.models.SpectralModel
        The model.

    Returns
    -------
    dict
        Parameter to role.

    Raises
    ------
    SkyModelError
        If a model has a free parameter and no counterpart; names source, model and parameter.
    """
    if is_common_factor(spectral):
        return dict.fromkeys(free_parameters(spectral), Role.SCALE)
    roles: dict[Any, Role] = {}
    for leaf in _leaves(spectral):
        known = _leaf_roles(leaf)
        for parameter in free_parameters(leaf):
            if parameter.name not in known:
                raise SkyModelError(
                    f"The parameter {parameter.name!r} of the spectral model {type(leaf).__name__} of {name!r} is "
                    "free, but cannot vary here. Freeze it "
                    f"(`models[{name!r}].spectral_model.{parameter.name}.frozen = True`), or use one of "
                    f"{', '.join(sorted(_COUNTERPARTS))}, PiecewiseNormSpectralModel, "
                    "EBLAbsorptionNormSpectralModel (alpha_norm) or products and sums of them."
                )
            roles.setdefault(parameter, known[parameter.name])
    return roles


def is_common_factor(spectral: Any) -> bool:
    """Whether every free parameter is a factor of the whole spectrum, and there is one.

    Found by trying: gammapy evaluates the model with its parameters scaled.
    """
    free = free_parameters(spectral)
    if not free or any(parameter.value == 0 for parameter in free):
        return False
    trial = deepcopy(spectral)
    mine = [parameter for parameter in trial.parameters.unique_parameters if not parameter.frozen]
    energy = np.geomspace(0.03, 300, 13) * u.TeV
    before = np.asarray(u.Quantity(trial(energy)).value, dtype=np.float64) * np.ones(energy.size)
    lit = np.isfinite(before) & (before != 0)
    start = [parameter.value for parameter in mine]
    factors = [np.where(np.arange(len(mine)) == j, 3.0, 1.0) for j in range(len(mine))]
    factors.append(2.0 + np.arange(len(mine)))
    for factor in factors:
        for parameter, value, one in zip(mine, start, factor, strict=True):
            parameter.value = value * one
        after = np.asarray(u.Quantity(trial(energy)).value, dtype=np.float64) * np.ones(energy.size)
        if not (lit.any() and np.allclose(after[lit], before[lit] * np.prod(factor), rtol=1e-10, atol=0)):
            return False
    return True


def convert_spectrum(name: str, spectral: Any, variables: Variables) -> Callable[[Any], Any]:
    """Spectrum of a gammapy spectral model with variables in place of its free parameters.

    Parameters
    ----------
    name : str
        Name of the source, for messages.
    spectral : gammapy.modeling.models.SpectralModel
        The model.
    variables : mapping
        Free gammapy parameter to its PyTensor variable, in the unit of the parameter.

    Returns
    -------
    callable
        Energy in TeV to TeV-1 cm-2 s-1; to a number without unit for a norm model.

    Raises
    ------
    SkyModelError
        If a part has no counterpart, or a parameter has a unit that does not fit.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> from gammapy.modeling.models import PowerLawSpectralModel
    >>> model = PowerLawSpectralModel(index=2.0, amplitude="1e-11 TeV-1 cm-2 s-1")
    >>> model.amplitude.frozen = True
    >>> spectrum = convert_spectrum("crab", model, {model.index: pt.constant(3.0)})
    >>> spectrum([1.0, 10.0]).eval().round(20).tolist()
    [1e-11, 1e-14]
    """
    if _is_compound(spectral):
        first = convert_spectrum(name, spectral.model1, variables)
        return _Operation(first, convert_spectrum(name, spectral.model2, variables), spectral.operator)
    if not any(parameter in variables for parameter in spectral.parameters):
        return _Frozen(name, spectral)
    kind = type(spectral).__name__
    if kind == "EBLAbsorptionNormSpectralModel":
        return EBLAbsorption.from_gammapy(spectral, alpha_norm=_number(name, spectral.alpha_norm, "", variables))
    if kind == "PiecewiseNormSpectralModel":
        norms = [_number(name, parameter, "", variables) for parameter in spectral.parameters]
        return _Piecewise(spectral.energy.to_value("TeV"), norms, spectral.to_dict()["spectral"]["interp"] == "log")
    if kind not in _COUNTERPARTS:
        raise SkyModelError(f"The spectral model {kind} of {name!r} has free parameters and no counterpart here.")
    counterpart = _COUNTERPARTS[kind]

    def number(parameter: str) -> Any:
        return _number(name, getattr(spectral, parameter), counterpart.parameters[parameter][0], variables)

    return counterpart.build(number)


def whole_spectrum(name: str, spectral: Any, variables: Variables) -> Callable[[Any], Any]:
    """Spectrum of a gammapy spectral model, also of one whose free parameters are factors of the whole.

    Parameters
    ----------
    name : str
        Name of the source, for messages.
    spectral : gammapy.modeling.models.SpectralModel
        The model, of a flux.
    variables : mapping
        Free gammapy parameter to its PyTensor variable, in the unit of the parameter.

    Raises
    ------
    SkyModelError
        If a part has no counterpart, or a parameter has a unit that does not fit.

    Examples
    --------
    >>> import astropy.units as u
    >>> import pytensor.tensor as pt
    >>> from gammapy.modeling.models import GaussianSpectralModel
    >>> line = GaussianSpectralModel(amplitude="1e-12 cm-2 s-1", mean="1 TeV", sigma="0.1 TeV")
    >>> line.mean.frozen = line.sigma.frozen = True
    >>> brighter = whole_spectrum("line", line, {line.amplitude: pt.constant(3e-12)})
    >>> round(float(brighter([1.0]).eval()[0] / line(1 * u.TeV).value), 6)
    3.0
    """
    leaves = _leaves(spectral)
    known = all(one.name in _leaf_roles(leaf) for leaf in leaves for one in free_parameters(leaf))
    if known or not is_common_factor(spectral):
        return convert_spectrum(name, spectral, variables)
    factors = [variables[one] / float(one.value) for one in free_parameters(spectral)]
    return _Frozen(name, spectral) * pt.prod(pt.stack(factors))


def _number(name: str, parameter: Any, unit: str, variables: Variables) -> Any:
    """Value of a parameter in a unit: a float if it is frozen, else its variable times a conversion."""
    if not parameter.unit.is_equivalent(unit):
        raise SkyModelError(
            f"The parameter {parameter.name!r} of the spectral model of {name!r} is in '{parameter.unit}', expected a "
            f"unit convertible to '{unit}'."
        )
    factor = float(parameter.unit.to(unit))
    variable = variables.get(parameter)
    if variable is None:
        return float(parameter.value) * factor
    return variable if factor == 1 else variable * factor


def _is_compound(spectral: Any) -> bool:
    from gammapy.modeling.models import CompoundSpectralModel

    return isinstance(spectral, CompoundSpectralModel)


def _leaves(spectral: Any) -> list[Any]:
    if not _is_compound(spectral):
        return [spectral]
    return [*_leaves(spectral.model1), *_leaves(spectral.model2)]


def _leaf_roles(leaf: Any) -> dict[str, Role]:
    kind = type(leaf).__name__
    if kind == "EBLAbsorptionNormSpectralModel":
        return {"alpha_norm": Role.POSITIVE}
    if kind == "PiecewiseNormSpectralModel":
        return {parameter.name: Role.SCALE for parameter in leaf.parameters}
    counterpart = _COUNTERPARTS.get(kind)
    return {} if counterpart is None else {key: role for key, (_, role) in counterpart.parameters.items()}
