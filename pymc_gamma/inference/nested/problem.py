"""A PyMC model as nested samplers see it: a prior transform, a log-likelihood and the names that go with them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any
from uuid import uuid4

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray
from pymc.distributions.transforms import _default_transform
from pymc.model.transform.conditioning import remove_value_transforms
from pymc.pytensorf import get_symbolic_rv_shapes
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import io_toposort

from pymc_gamma.arguments import instance
from pymc_gamma.errors import ModelError
from pymc_gamma.inference.nested.cube import CubePrior, cube_prior
from pymc_gamma.inference.nested.functions import Mark, ProblemFunction, Store
from pymc_gamma.tensors import COMPILING
from pymc_gamma.units import numbers

__all__ = ["NestedProblem", "log_likelihood", "prior_transform"]

_N_TRIES = 64
"""Points of the cube at which transforms are tried."""
_EDGE = 1e-16  # keeps u off 0 and 1, where an inverse cumulative distribution may be infinite


@dataclass(frozen=True)
class _Slot:
    """Where a variable sits in the vector of parameters, and in that of all values."""

    name: str
    shape: tuple[int, ...]
    values: slice
    parameters: slice
    prior: CubePrior


class NestedProblem:
    """A PyMC model as nested samplers see it.

    The vector of parameters is as long as the cube has dimensions, as samplers ask for: of a Dirichlet it has all
    fractions but the last, which is what they leave of one. `parameters` and `variables` complete them.

    Parameters
    ----------
    model : pymc.Model
        Continuous free variables, each with a known inverse cumulative distribution, or Dirichlet.

    Attributes
    ----------
    n_dim : int
        Dimension of the unit cube, and number of parameters.
    parameter_names : list of str
        One name for each parameter, for example ``fraction[ccr]``.

    Raises
    ------
    ModelError
        If a variable is discrete, has no inverse cumulative distribution or a transform that changes its prior, or the
        model has no free or no observed variable.

    Notes
    -----
    All functions of a problem take one point or many, and can be pickled. They hold the model: a pool that sends them
    with every task, as `multiprocessing.Pool` does, is slow if there are many events; `sample_nested` sends a model
    once, and so does ``dynesty.pool.Pool``.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model(coords={"component": ["crab", "ccr"]}) as model:
    ...     fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
    ...     y = pm.Binomial("y", 3, fraction[0], observed=2)
    >>> problem = NestedProblem(model)
    >>> problem.n_dim, problem.parameter_names, problem.prior_transform(np.array([0.25])).tolist()
    (1, ['fraction[crab]'], [0.25])
    >>> problem.parameters(np.array([0.25]))
    {'fraction': array([0.25, 0.75])}

    With dynesty, by hand:

    >>> import dynesty
    >>> sampler = dynesty.NestedSampler(problem.log_likelihood, problem.prior_transform, problem.n_dim, nlive=50)
    """

    def __init__(self, model: pm.Model) -> None:
        instance(model, pm.Model, "model")
        if not (model.observed_RVs or model.potentials):
            raise ModelError("the model has no observed variable and no potential, hence no likelihood to integrate.")
        if not model.free_RVs:
            raise ModelError("the model has no free variable to integrate over.")
        if model.discrete_value_vars:
            names = [variable.name for variable in model.discrete_value_vars]
            raise ModelError(
                f"nested sampling needs continuous variables; these are discrete: {names}. Sum them out of the model "
                "(pm.Mixture, or marginalize of pymc-extras), scan them (one run for each value; evidences times prior "
                "probabilities add up), or sample the model with pm.sample."
            )
        with _without_initial_values(model):
            self.model = remove_value_transforms(model)
        self.token = uuid4().hex
        self.store = Store()
        self._cube = pt.vector("u", dtype="float64")
        self._slots: list[_Slot] = []
        self._free = _in_order_of_dependence(self.model)
        values: dict[Variable, Variable] = {}
        cursor = start = 0
        for rv in self._free:
            shape = _shape(rv)
            prior = cube_prior(rv, shape)
            stop, end = cursor + _size(prior.shape), start + _size(shape)
            value = prior.value(self._cube[cursor:stop].reshape(prior.shape))
            if values:
                (value,) = clone_replace([value], dict(values), rebuild_strict=False)
            values[rv] = value
            self._slots.append(_Slot(rv.name, shape, slice(start, end), slice(cursor, stop), prior))
            cursor, start = stop, end
        self.n_dim = cursor
        if not self.n_dim:
            raise ModelError(
                f"there is nothing to sample: the free variables {[rv.name for rv in self._free]} have no freedom left "
                "(a Dirichlet of one fraction is 1, an empty variable has no value). Make them constants."
            )
        _check_transforms(model, {rv.name: value for rv, value in values.items()}, self._cube, self.n_dim)
        self._values_of_cube = pt.concatenate([values[rv].ravel() for rv in self._free])
        self.parameter_names = [
            slot.name + (f"[{', '.join(labels)}]" if labels else "")
            for slot in self._slots
            for labels in product(*self._axis_labels(slot))
        ]

    def _axis_labels(self, slot: "_Slot") -> list[list[str]]:
        """Coordinate values along each axis of the parameters of a variable, numbers where it has none."""
        dims = self.model.named_vars_to_dims.get(slot.name) or (None,) * len(slot.shape)
        known = [self.model.coords.get(dim) if dim else None for dim in dims]
        return [
            [str(label) for label in (range(length) if labels is None else labels)][:length]
            for labels, length in zip(known, slot.prior.shape, strict=True)
        ]

    @cached_property
    def prior_transform(self) -> ProblemFunction:
        """Function from points of the unit cube to parameters, both of shape (n_dim,) or (n, n_dim)."""
        return ProblemFunction(self, "prior_transform")

    @cached_property
    def log_likelihood(self) -> ProblemFunction:
        """Function from parameters, shape (n_dim,) or (n, n_dim), to the log-likelihood, potentials included."""
        return ProblemFunction(self, "log_likelihood")

    @cached_property
    def log_likelihood_of_cube(self) -> ProblemFunction:
        """Log-likelihood as a function of points of the unit cube, shape (n_dim,) or (n, n_dim), compiled as one."""
        return ProblemFunction(self, "log_likelihood_of_cube")

    @cached_property
    def values_of_cube(self) -> ProblemFunction:
        """Function from points of the unit cube to all values, the last fractions of a Dirichlet included."""
        return ProblemFunction(self, "values_of_cube")

    @cached_property
    def values_of_parameters(self) -> ProblemFunction:
        """Function from parameters to all values."""
        return ProblemFunction(self, "values_of_parameters")

    def function(self, kind: str) -> ProblemFunction:
        """One of the functions above, by name."""
        function = getattr(self, kind)
        assert isinstance(function, ProblemFunction)
        return function

    def compiled(self, kind: str) -> Callable[[NDArray[np.float64]], Any]:
        """One of the functions above, compiled, of one point."""
        parameters = pt.vector("parameters", dtype="float64")
        with COMPILING:
            match kind:
                case "prior_transform":
                    run = pytensor.function([self._cube], self._parameters_of(self._values_of_cube), trust_input=True)
                    return lambda u: run(_inside(u))
                case "values_of_cube":
                    run = pytensor.function([self._cube], self._values_of_cube, trust_input=True)
                    return lambda u: run(_inside(u))
                case "values_of_parameters":
                    return pytensor.function([parameters], self._values_of(parameters), trust_input=True)
                case "log_likelihood":
                    graph = self._log_likelihood_at(self._values_of(parameters))
                    run = pytensor.function([parameters], graph, trust_input=True)
                    return lambda x: self._not_nan(float(run(x)), x)
                case "log_likelihood_of_cube":
                    graph = self._log_likelihood_at(self._values_of_cube)
                    run = pytensor.function([self._cube], graph, trust_input=True)
                    return lambda u: self._not_nan(float(run(_inside(u))), u, of_cube=True)
        raise KeyError(kind)

    def _parameters_of(self, values: Variable) -> Variable:
        """Parameters among all values."""
        parts = []
        for slot in self._slots:
            value = values[slot.values].reshape(slot.shape)
            kept = tuple(slice(n) for n in slot.prior.shape)
            parts.append((value[kept] if kept else value).ravel())
        return pt.concatenate(parts)

    def _values_of(self, parameters: Variable) -> Variable:
        """All values for parameters."""
        parts = [
            slot.prior.completed(parameters[slot.parameters].reshape(slot.prior.shape)).ravel() for slot in self._slots
        ]
        return pt.concatenate(parts)

    def _log_likelihood_at(self, values: Variable) -> Variable:
        """Log-likelihood for the vector of all values."""
        terms = [*self.model.observed_RVs, *self.model.potentials]
        graph = self.model.logp(vars=terms, jacobian=False)
        replacements = {}
        for rv, slot in zip(self._free, self._slots, strict=True):
            value = self.model.rvs_to_values[rv]
            part = values[slot.values].reshape(slot.shape).astype(value.dtype)
            replacements[value] = pt.specify_shape(part, value.type.shape)
        return clone_replace([graph], replacements, rebuild_strict=False)[0]

    def _not_nan(self, value: float, point: NDArray[np.float64], *, of_cube: bool = False) -> float:
        """The value, or an error that names the parameters: taking NaN for impossible would bias the evidence."""
        if np.isnan(value):
            parameters = self.prior_transform(point) if of_cube else point
            at = dict(zip(self.parameter_names, np.asarray(parameters).tolist(), strict=True))
            raise ModelError(f"the log-likelihood is NaN at {at}; check the model there, or exclude it by the prior.")
        return value

    def mark(self, settings: dict[str, Any], dlogz: float) -> Mark:
        """What a checkpoint of this problem says about it."""
        points = np.random.default_rng(0).random((4, self.n_dim))
        return Mark(
            tuple(self.parameter_names),
            self.prior_transform(points),
            np.asarray(self.log_likelihood_of_cube(points)),
            settings,
            dlogz,
        )

    @cached_property
    def payload(self) -> bytes:
        """The problem, pickled.

        Raises
        ------
        ModelError
            If the model holds something that cannot be.
        """
        try:
            return bytes(cloudpickle.dumps(self))
        except Exception as error:
            raise ModelError(
                f"the model cannot be pickled for other processes ({error}); make it of functions and data that can."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        """Without what each process compiles for itself."""
        own = {name: value for name, value in vars(self).items() if not isinstance(value, ProblemFunction)}
        own.pop("payload", None)
        return {**own, "store": Store()}

    def parameters(self, parameters: Any) -> dict[str, NDArray[np.float64]]:
        """Free variables of the model for vectors of parameters.

        Parameters
        ----------
        parameters : array_like, shape (..., n_dim)
            Vectors of parameters.

        Returns
        -------
        dict of str to ndarray
            For each free variable its values; the shape of the variable follows that of the batch.
        """
        points = numbers(parameters, "parameters")
        if points.ndim == 0 or points.shape[-1] != self.n_dim:
            raise ModelError(f"parameters must have the shape (..., {self.n_dim}), got {points.shape}.")
        batch = points.shape[:-1]
        values = self.values_of_parameters(points.reshape(-1, points.shape[-1]) if batch else points)
        return {slot.name: values[..., slot.values].reshape((*batch, *slot.shape)) for slot in self._slots}

    def variables(self, parameters: Any) -> xr.Dataset:
        """Variables of the model, deterministics included, of many vectors of parameters.

        Parameters
        ----------
        parameters : array_like, shape (n, n_dim)
            Vectors of parameters.

        Returns
        -------
        xarray.Dataset
            Dims chain (of length one), draw and those of the model.
        """
        return self._dataset(self.parameters(np.atleast_2d(parameters)))

    def variables_of_cube(self, points: NDArray[np.float64]) -> xr.Dataset:
        """As :meth:`variables`, for points of the unit cube (n, n_dim)."""
        values = self.values_of_cube(points)
        return self._dataset({slot.name: values[:, slot.values].reshape(-1, *slot.shape) for slot in self._slots})

    def _dataset(self, draws: Mapping[str, NDArray[np.float64]]) -> xr.Dataset:
        data = {name: (self._dims(name, value[None]), value[None]) for name, value in draws.items()}
        dataset = xr.Dataset(data, coords=self._coords(data))
        if self.model.deterministics:
            dataset = dataset.merge(pm.compute_deterministics(dataset, model=self.model, progressbar=False))
        return dataset

    def _dims(self, name: str, value: NDArray[np.float64]) -> tuple[str, ...]:
        dims = self.model.named_vars_to_dims.get(name)
        own = dims if dims else tuple(f"{name}_dim_{i}" for i in range(value.ndim - 2))
        return ("chain", "draw", *own)

    def _coords(self, data: Mapping[str, tuple[tuple[str, ...], NDArray[np.float64]]]) -> dict[str, Any]:
        coords: dict[str, Any] = {}
        for dims, value in data.values():
            for dim, length in zip(dims, value.shape, strict=True):
                known = self.model.coords.get(dim)
                coords[dim] = np.arange(length) if known is None else list(known)
        return coords


def prior_transform(model: pm.Model | None = None) -> ProblemFunction:
    """Deterministic map from the unit cube to the parameters of a model, for any nested sampler.

    Parameters
    ----------
    model : pymc.Model, optional
        The model on the context stack if not given.

    Returns
    -------
    callable
        From (n_dim,) to (n_dim,), or (n, n_dim) to (n, n_dim); a Dirichlet of *K* fractions uses *K* - 1 coordinates of
        the cube, and has as many parameters: its fractions but the last. Use `NestedProblem` for the number and names
        of the parameters, and for the variables of the model.

    Raises
    ------
    ModelError
        If a variable has no inverse cumulative distribution.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model():
    ...     fraction = pm.Dirichlet("fraction", a=[1.0, 1.0])
    ...     y = pm.Bernoulli("y", p=fraction[0], observed=[1, 0, 1])
    ...     transform = prior_transform()
    >>> transform(np.array([0.25])).tolist()
    [0.25]
    """
    return NestedProblem(pm.modelcontext(model)).prior_transform


def log_likelihood(model: pm.Model | None = None) -> ProblemFunction:
    """Log-likelihood of a model as a function of the parameters that `prior_transform` returns.

    Parameters
    ----------
    model : pymc.Model, optional
        The model on the context stack if not given.

    Returns
    -------
    callable
        From (n_dim,) to a number, or (n, n_dim) to (n,); potentials are part of it.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model():
    ...     mu = pm.Normal("mu")
    ...     y = pm.Normal("y", mu, 1, observed=0.0)
    ...     function = log_likelihood()
    >>> round(function(np.array([0.0])), 4)
    -0.9189
    """
    return NestedProblem(pm.modelcontext(model)).log_likelihood


def _shape(rv: Variable) -> tuple[int, ...]:
    """Shape of a free variable, which may depend on lengths of dims that are known when it is asked for."""
    if None not in rv.type.shape:
        return tuple(rv.type.shape)
    lengths = pytensor.function([], get_symbolic_rv_shapes([rv])[0], mode=Mode(linker="py", optimizer=None))()
    return tuple(int(n) for n in lengths)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=int))


def _inside(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(u, _EDGE, 1.0 - _EDGE)


def _in_order_of_dependence(model: pm.Model) -> list[Variable]:
    position = {node: i for i, node in enumerate(io_toposort([], model.free_RVs))}
    return sorted(model.free_RVs, key=lambda rv: position[rv.owner])


def _check_transforms(model: pm.Model, values: Mapping[str, Variable], cube: Variable, n_dim: int) -> None:
    """Raise a ModelError for a transform that restricts a variable: its prior is then not that of the cube.

    Values from the cube, ``values``, must survive a transform and its inverse.
    """
    unusual = []
    for rv in model.free_RVs:
        transform = model.rvs_to_transforms.get(rv)
        if transform is not None and type(transform) is not type(_default_transform(rv.owner.op, rv)):
            unusual.append((rv, transform))
    if not unusual:
        return
    replacements = {rv: values[rv.name] for rv in model.free_RVs}
    there_and_back = []
    for rv, transform in unusual:
        inputs = clone_replace(list(rv.owner.inputs), replacements, rebuild_strict=False)
        value = values[rv.name]
        there_and_back += [value, transform.backward(transform.forward(value, *inputs), *inputs)]
    function = pytensor.function([cube], there_and_back, mode="FAST_COMPILE")
    points = np.random.default_rng(0).random((_N_TRIES, n_dim))
    found = [function(point) for point in points]
    for k, (rv, transform) in enumerate(unusual):
        if not all(np.allclose(one[2 * k], one[2 * k + 1], rtol=1e-6) for one in found):
            raise ModelError(
                f"{rv.name!r} has the transform {transform.name!r}, which restricts its prior to part of its range (as "
                "'ordered' does), and the unit cube knows nothing of it. Say so in the prior: order with "
                "pm.Deterministic (a cumulative sum of positive variables), bound with pm.Truncated; then leave "
                "transform= out."
            )


@contextmanager
def _without_initial_values(model: pm.Model) -> Iterator[None]:
    """PyMC copies no model with initial values, and nested sampling uses none."""
    given = dict(model.rvs_to_initial_values)
    model.rvs_to_initial_values.update(dict.fromkeys(given))
    try:
        yield
    finally:
        model.rvs_to_initial_values.update(given)
