"""What a systematic is: a variable of the model with a prior, and what it does to the components."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import is_several
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.labelled import aligned, has_labels
from pymc_gamma.model.component import FixedSpectrumError, ModelComponent
from pymc_gamma.tensors import described, joined, only_entry, with_unit
from pymc_gamma.units import numbers

__all__ = ["Systematic", "observation_dim", "prefixed", "with_systematics"]


@dataclass(frozen=True, eq=False)
class Systematic(ABC):
    """A systematic uncertainty: a variable of the model with a default prior, and what it does.

    To add one, derive a class with the name of its ``variable``, its :meth:`prior` and its effect, :meth:`act`. The
    name may be one of the object instead, such as a field: several of one class then act side by side.

    Parameters
    ----------
    sigma : float
        Width of the prior.
    value : TensorVariable or float, optional
        Instead of the default prior.
    """

    sigma: float = 0.1
    value: Any = None
    variable: ClassVar[str]

    def __post_init__(self) -> None:
        label = f"{type(self).__name__}(sigma=...)"
        sigma = numbers(self.sigma, label)
        if sigma.ndim or not sigma > 0:
            raise ValueError(f"{label} must be a positive number, got {self.sigma}.")
        object.__setattr__(self, "sigma", float(sigma))
        object.__setattr__(self, "value", joined(self.value, f"{type(self).__name__}(value=...)"))
        if not (self.value is None or isinstance(self.value, Variable) or has_labels(self.value)):
            label = f"{type(self).__name__}(value=...)"
            object.__setattr__(self, "value", numbers(self.value, label))
            if np.ndim(self.value) > 1:
                raise ValueError(f"{label} must be a number or a vector, got shape {np.shape(self.value)}.")

    @abstractmethod
    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Add the variable with its default prior to the model on the context stack."""

    @abstractmethod
    def act(self, component: ModelComponent, value: Variable) -> ModelComponent:
        """The component as it is for a value of the variable.

        Parameters
        ----------
        component : ModelComponent
            A component of the model; it has methods for what may change, and says through which IRFs it came.
        value : TensorVariable
            The variable, of one of :meth:`shapes`.

        Returns
        -------
        ModelComponent
            Another one, or the same where this systematic has no effect.
        """

    def tensor(self, observations: Sequence[Any], energy: FloatArray) -> Variable:
        """The variable: the one given, or a new one with the default prior.

        Parameters
        ----------
        observations : sequence
            Labels of the observations.
        energy : numpy.ndarray
            Range of the true energy in TeV, shape (2,).

        Raises
        ------
        ModelError
            If the model has a variable of that name already, the class names none, or the variable has another shape.
        """
        n_observations, kind = len(observations), type(self).__name__
        if self.value is not None:
            label = f"{kind}(value=...)"
            value = aligned(self.value, {"observation": observations}, label)
            value = value if isinstance(value, Variable) else numbers(value, label)
            return self._checked(pt.as_tensor_variable(value).astype("float64"), n_observations, energy, label)
        model = pm.modelcontext(None)
        if self.variable_name is None:
            raise ModelError(
                f"{kind} does not say what its variable is called; give the class a name, such as "
                f'variable = "{kind.lower()}", or pass {kind}(value=...).'
            )
        if self.variable in model.named_vars:
            raise ModelError(
                f"the model has a variable {self.variable!r} already; pass it on with "
                f"{type(self).__name__}(value=...), so that both share it."
            )
        value, label = self.prior(n_observations, energy), f"what {kind}.prior returns"
        if not isinstance(value, Variable):
            raise ModelError(f"{label} must be the variable that it adds, such as pm.Normal(...), got {value!r}.")
        return self._checked(pt.as_tensor_variable(value).astype("float64"), n_observations, energy, label)

    @property
    def variable_name(self) -> str | None:
        """Name of the variable that the default prior adds, None if there is none."""
        name = getattr(self, "variable", None)
        return name if isinstance(name, str) and name else None

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """Shapes that the variable may have."""
        return [()]

    def _checked(self, value: Variable, n_observations: int, energy: FloatArray, label: str) -> Variable:
        shapes = self.shapes(n_observations, energy)
        if n_observations == 1 and () in shapes and value.type.ndim == 1 and value.type.shape[0] in (None, 1):
            return only_entry(value)  # an entry for each observation
        for shape in shapes:
            if len(shape) == value.type.ndim and all(
                known in (None, wanted) for known, wanted in zip(value.type.shape, shape, strict=True)
            ):
                return pt.specify_shape(value, shape) if shape else value
        allowed = " or ".join("a single number" if not shape else f"a vector of {shape[0]}" for shape in shapes)
        raise ModelError(
            f"{label} must be {allowed}, got {value.type}; {type(self).__name__}.shapes says which shapes it may have."
        )


def prefixed(name: str, given: Any) -> Any:
    """Systematics whose variables begin with the name of the distribution that has them.

    Several instruments in one model each have an energy scale of their own.
    """
    made = []
    for one in _listed(name, given):
        one = one() if isinstance(one, type) and issubclass(one, Systematic) else one
        if isinstance(one, Systematic) and one.variable_name is not None:
            own = copy(one)
            object.__setattr__(own, "variable", f"{name}_{one.variable_name}")
            one = own
        made.append(one)
    return made


def observation_dim(n_observations: int) -> str:
    """Name of the dim of observations, added to the model on the context stack if it has none.

    Raises
    ------
    ModelError
        If the model has one of another length.
    """
    model = pm.modelcontext(None)
    known = model.coords.get("observation")
    if "observation" not in model.coords:
        model.add_coord("observation", np.arange(n_observations))
    elif known is not None and len(known) != n_observations:
        raise ModelError(
            f"the coordinate 'observation' of the model has {len(known)} entries, and there are {n_observations} "
            "observations; give BackgroundNorm or BackgroundTilt a value= with dims of your own."
        )
    return "observation"


def with_systematics(
    name: str,
    given: Any,
    components: Sequence[ModelComponent],
    observations: Sequence[Any],
    energy: FloatArray,
    model: pm.Model | None,
) -> list[ModelComponent]:
    """Components as systematics change them; adds the variables of these to the model on the context stack.

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    given : Systematic or sequence of Systematic
        What the user gave; classes stand for objects with default priors.
    components : sequence of ModelComponent
        What they act on.
    observations : sequence
        Labels of the observations.
    energy : numpy.ndarray
        Range of the true energy in TeV, shape (2,).
    model : pymc.Model, optional
        The model on the context stack; without one, systematics need a value.

    Raises
    ------
    ModelError
        If one is not a systematic, two add the same variable, one has no effect, or does not return a component.
    """
    changed = list(components)
    for one in _checked(name, given):
        kind = type(one).__name__
        if model is None and one.value is None:
            raise ModelError(
                f"{name}: {kind} adds a variable to a model, and there is none here; pass {kind}(value=...), a number "
                "or a variable such as pm.LogNormal.dist(0, 0.1)."
            )
        value = with_unit(described(one.tensor(observations, energy), f"systematic {kind}"), "")
        acted, fixed = [], []
        for component in changed:
            try:
                found = one.act(component, value)
            except FixedSpectrumError:
                fixed.append(component)
                continue
            if not isinstance(found, ModelComponent):
                raise ModelError(
                    f"{name}: {kind}.act must return a component, such as component.times(...), "
                    f"component.with_factor(...), or the component itself where it has no effect; got {found!r} for "
                    f"{component.name!r}."
                )
            acted.append(found)
        scans = [component.name for component in fixed if component.scan is not None]
        if scans:
            raise ModelError(
                f"{name}: {kind} changes spectra, and {scans} are scans, whose spectra follow from their nodes; leave "
                f"{kind} out, or replace the scans by components of free spectrum."
            )
        if fixed:
            fixed_names = [component.name for component in fixed]
            free = [component.name for component in components if component.free]
            raise ModelError(
                f"{name}: {kind} changes spectra, and {fixed_names} were folded with a fixed spectrum; "
                f"fold with free_spectrum={[*free, *fixed_names]} (they keep their spectra unless you give others)."
            )
        if all(new is old for new, old in zip(acted, changed, strict=True)):
            raise ModelError(
                f"{name}: {kind} would have no effect on {[component.name for component in changed]}; leave it out."
            )
        changed = acted
    return changed


def _checked(name: str, given: Any) -> list[Systematic]:
    """Systematics of different kinds, or with variables of different names.

    A kind is a class that derives from `Systematic` directly; a subclass of it, with a prior of its own for example, is
    of that kind and has its effect.
    """
    found: dict[tuple[type[Systematic], str | None], Systematic] = {}
    for one in _listed(name, given):
        one = one() if isinstance(one, type) and issubclass(one, Systematic) else one
        if not isinstance(one, Systematic):
            raise ModelError(f"{name}: systematics must be objects such as pmg.EnergyScale(), got {one!r}.")
        kinds = [base for base in type(one).__mro__ if Systematic in base.__bases__]
        if len(kinds) != 1:
            raise ModelError(
                f"{name}: {type(one).__name__} is {' and '.join(kind.__name__ for kind in kinds)} at once; pass "
                "one systematic for each, with the same value= if they share it."
            )
        key = kinds[0], one.variable_name
        if key in found:
            other = type(found[key]).__name__
            raise ModelError(
                f"{name}: systematics has {kinds[0].__name__} twice ({other}, {type(one).__name__}) with the variable "
                f"{one.variable_name!r}; pass one, and combine their variables in its value=, or let each have a "
                "variable of another name."
            )
        found[key] = one
    return list(found.values())


def _listed(name: str, given: Any) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, Systematic | type):
        return [given]
    if is_several(given):
        return list(given)
    raise ModelError(f"{name}: systematics must be a list of objects such as pmg.EnergyScale(), got {given!r}.")
