"""A model without one of its components: what its parameters are then good for, and how well it fits."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pymc.model.fgraph import fgraph_from_model, model_from_fgraph
from pymc.model.transform.conditioning import do
from pymc.pytensorf import toposort_replace
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError

__all__ = ["Unconstrained", "held", "needless", "without_component"]

_MODE = "FAST_COMPILE"
STEP = 1e-3
"""Of differences."""
NO_CURVATURE = 1e-5
"""In units of the curvature along the axes: less is a difference of rounding."""


def without_component(model: pm.Model, component: str) -> pm.Model:
    """A copy of a model in which nothing of a component is expected, in any of its observed events.

    An observed variable takes part if its distribution has a ``source`` with ``component_names`` and ``without``.

    Raises
    ------
    ModelError
        If the model observes no events, or none of such a component.
    """
    known: list[str] = []
    chosen = []
    for rv in model.observed_RVs:
        names = getattr(_source(rv), "component_names", ())
        known += [name for name in names if name not in known]
        if component in names:
            chosen.append(rv)
    if not known:
        raise ModelError(
            f"the model observes no events of components; it observes {[rv.name for rv in model.observed_RVs]}."
        )
    if not chosen:
        raise ModelError(f"the model has no component {component!r}; it has {known}.")
    if len(known) == 1:
        raise ModelError(f"{component!r} is the only component: nothing is left to compare with.")
    graph, memo = fgraph_from_model(model, inlined_views=True)
    replacements = []
    for rv in chosen:
        drawn = memo[rv].owner.inputs[0]
        rng, size, *parameters = drawn.owner.inputs
        other = drawn.owner.op.make_node(rng, size, *_source(rv).without(component, parameters))
        replacements.append((drawn, other.outputs[1]))
    toposort_replace(graph, tuple(replacements))
    return model_from_fgraph(graph, mutate_fgraph=True)


def _source(rv: Any) -> Any:
    return getattr(getattr(rv.owner, "op", None), "source", None)


class Unconstrained:
    """A model on the real lines that samplers see.

    Parameters
    ----------
    model : pymc.Model
        The model.

    Attributes
    ----------
    names : list of str
        Its free variables.
    """

    def __init__(self, model: pm.Model) -> None:
        self._model, self.names = model, [rv.name for rv in model.free_RVs]
        self._values = [model.rvs_to_values[rv] for rv in model.free_RVs]

    def forward(self) -> Callable[[dict[str, FloatArray]], dict[str, FloatArray]]:
        """The function from values of the free variables to their values there."""
        plain = {rv: rv.type(name=rv.name) for rv in self._model.free_RVs}
        there = []
        for rv, value in plain.items():
            transform = self._model.rvs_to_transforms[rv]
            if transform is None:
                there.append(value)
                continue
            inputs = [graph_replace(one, plain, strict=False) for one in rv.owner.inputs]
            there.append(transform.forward(value, *inputs))
        function = pytensor.function(list(plain.values()), there, mode=_MODE, on_unused_input="ignore")
        return lambda point: dict(
            zip(self.names, map(np.asarray, function(*(np.asarray(point[name]) for name in self.names))), strict=True)
        )

    def log_likelihood_gradient(self) -> Callable[[dict[str, FloatArray]], dict[str, FloatArray]]:
        """The function to the derivatives of the likelihood of what is observed."""
        likelihood = self._model.logp(vars=self._model.observed_RVs, sum=True)
        slopes = pt.grad(likelihood, self._values, disconnected_inputs="ignore")
        function = pytensor.function(self._values, slopes, on_unused_input="ignore")
        return lambda point: dict(zip(self.names, function(*(point[name] for name in self.names)), strict=True))

    def log_density(self) -> Callable[[dict[str, FloatArray]], float]:
        """The function to the logarithm of the posterior density there, not normalised."""
        function = pytensor.function(self._values, self._model.logp(), on_unused_input="ignore")
        return lambda point: float(function(*(point[name] for name in self.names)))

    def log_prior(self, names: Sequence[str], *, jacobian: bool) -> Callable[[dict[str, FloatArray]], float]:
        """The function to the logarithm of the prior density of some variables; with the Jacobian of that there."""
        chosen = [self._model[name] for name in names]
        density = self._model.logp(vars=chosen, jacobian=jacobian, sum=True) if chosen else pt.constant(0.0)
        function = pytensor.function(self._values, density, mode=_MODE, on_unused_input="ignore")
        return lambda point: float(function(*(point[name] for name in self.names)))


def needless(model: pm.Model, null: pm.Model, point: dict[str, FloatArray]) -> tuple[list[str], int]:
    """Free variables that say nothing without a component, and how many parameters of the likelihood go with it.

    Parameters
    ----------
    model, null : pymc.Model
        With the component and without, of the same free variables.
    point : dict
        Values of these on the real lines.

    Returns
    -------
    names : list of str
        Those on which neither the likelihood without the component depends, nor the prior of a variable that it does
        depend on.
    n : int
        How many directions of the parameters the likelihood depends on less without it.
    """
    curvature, without = (_curvature(Unconstrained(one), point) for one in (model, null))
    which = np.repeat(np.arange(len(point)), [np.size(one) for one in point.values()])
    idle = {name for k, name in enumerate(point) if not np.any(without[which == k])}
    free = {rv.name: rv for rv in model.free_RVs}
    children = {
        name: [other for other, one in free.items() if other != name and rv in ancestors(one.owner.inputs)]
        for name, rv in free.items()
    }
    while True:
        still = {name for name in idle if idle.issuperset(children[name])}
        if still == idle:
            return [name for name in free if name in idle], _rank(curvature) - _rank(without)
        idle = still


def _curvature(model: Unconstrained, point: dict[str, FloatArray]) -> FloatArray:
    """Changes of the derivatives of the likelihood with each parameter, and these themselves, (n, n + 1)."""
    slopes = model.log_likelihood_gradient()

    def gradient(at: dict[str, FloatArray]) -> FloatArray:
        found = slopes(at)
        return np.concatenate([np.ravel(found[name]) for name in point])

    columns = [gradient(point)]
    for name in point:
        for index in np.ndindex(np.shape(point[name])):
            ends = []
            for sign in (1, -1):
                moved = np.array(point[name], float)
                moved[index] += sign * STEP
                ends.append(gradient({**point, name: moved}))
            columns.append((ends[0] - ends[1]) / (2 * STEP))
    return np.nan_to_num(np.array(columns).T)


def _rank(curvature: FloatArray) -> int:
    """Number of directions in which a likelihood is curved."""
    own = curvature[:, 1:]
    own = 0.5 * (own + own.T)
    scale = np.sqrt(np.maximum(np.abs(np.diag(own)), 1e-300))
    kept = np.abs(own).sum(axis=0) > 0
    own = (own / np.outer(scale, scale))[np.ix_(kept, kept)]
    return int(np.linalg.matrix_rank(own, tol=NO_CURVATURE, hermitian=True)) if own.size else 0


def held(model: pm.Model, names: Sequence[str], point: dict[str, FloatArray]) -> pm.Model:
    """A model with some of its free variables held at values."""
    return do(model, {name: np.asarray(point[name]) for name in names}) if names else model
