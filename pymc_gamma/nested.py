r"""Nested sampling of PyMC models: evidence and posterior from a deterministic prior transform.

Nested samplers draw from the unit cube. The transform :math:`\theta = T(u)` that turns the uniform distribution
into the prior follows from the model: variables are visited in the order in which they depend on each other, each
through the inverse of its cumulative distribution given the ones before it,

.. math::

    \theta_j = F_j^{-1}(u_j \mid \theta_{<j}),

and a Dirichlet with concentrations :math:`\alpha` by breaking a stick,

.. math::

    v_k = F^{-1}_{\mathrm{Beta}(\alpha_k,\, \sum_{j>k} \alpha_j)}(u_k), \qquad
    f_k = v_k \prod_{j<k} (1 - v_j),

which takes one coordinate less than there are fractions (Devroye 1986, section XI.4). The transform is
deterministic and its Jacobian is the prior; nothing is rejected and no prior density is evaluated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray
from pymc.logprob.basic import icdf
from pymc.model.transform.conditioning import remove_value_transforms
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import io_toposort
from pytensor.tensor.random.basic import DirichletRV

from pymc_gamma.arguments import array, generator, instance, integer, number
from pymc_gamma.errors import ModelError

__all__ = ["NestedProblem", "log_likelihood", "prior_transform", "sample_nested"]

_EDGE = 1e-16  # keeps u off 0 and 1, where an inverse cumulative distribution may be infinite


@dataclass(frozen=True)
class _Slot:
    """Where a variable sits in the flat vector of parameters."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


class NestedProblem:
    """A PyMC model as nested samplers see it.

    Parameters
    ----------
    model : pymc.Model
        Continuous free variables, each with a known inverse cumulative distribution, or Dirichlet.

    Attributes
    ----------
    n_dim : int
        Dimension of the unit cube.
    parameter_names : list of str
        One name per entry of the flat vector of parameters, for example ``fraction[ccr]``.

    Raises
    ------
    ModelError
        If a variable has no inverse cumulative distribution, or the model no observed variable.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 1)
    ...     y = pm.Normal("y", mu, 1, observed=[0.3, 0.5])
    >>> problem = NestedProblem(model)
    >>> problem.n_dim, problem.prior_transform(np.array([0.5])).tolist()
    (1, [0.0])
    """

    def __init__(self, model: pm.Model) -> None:
        instance(model, pm.Model, "model")
        if not (model.observed_RVs or model.potentials):
            raise ModelError("the model has no observed variable and no potential, hence no likelihood to integrate.")
        if not model.free_RVs:
            raise ModelError("the model has no free variable to integrate over.")
        if model.discrete_value_vars:
            names = [variable.name for variable in model.discrete_value_vars]
            raise ModelError(f"nested sampling needs continuous variables; these are discrete: {names}.")
        self.model = remove_value_transforms(model)
        point = self.model.initial_point()
        self._cube = pt.vector("u", dtype="float64")
        self._slots: list[_Slot] = []
        self._free = _in_order_of_dependence(self.model)
        values: dict[Variable, Variable] = {}
        cursor = start = 0
        for rv in self._free:
            value_name = self.model.rvs_to_values[rv].name
            if value_name not in point:
                raise ModelError(f"{rv.name} has no transform from the unit cube; give it another prior.")
            shape = np.shape(point[value_name])
            values[rv], n_used = _from_cube(rv, shape, self._cube, cursor, values)
            size = int(np.prod(shape, dtype=int))
            self._slots.append(_Slot(rv.name, shape, start, start + size))
            cursor += n_used
            start += size
        self.n_dim = cursor
        self._theta_of_u = pt.concatenate([values[rv].ravel() for rv in self._free])
        self.parameter_names = [
            slot.name + (f"[{', '.join(labels)}]" if labels else "")
            for slot in self._slots
            for labels in product(*self._axis_labels(slot))
        ]

    def _axis_labels(self, slot: "_Slot") -> list[list[str]]:
        """Coordinate values along each axis of a variable, numbers where it has none."""
        dims = self.model.named_vars_to_dims.get(slot.name) or (None,) * len(slot.shape)
        known = [self.model.coords.get(dim) if dim else None for dim in dims]
        return [
            [str(label) for label in (range(length) if labels is None else labels)]
            for labels, length in zip(known, slot.shape, strict=True)
        ]

    @cached_property
    def _likelihood_graph(self) -> tuple[Variable, Variable]:
        theta = pt.vector("theta", dtype="float64")
        terms = [*self.model.observed_RVs, *self.model.potentials]
        graph = self.model.logp(vars=terms, jacobian=False)
        return theta, clone_replace([graph], self._value_replacements(theta), rebuild_strict=False)[0]

    def _value_replacements(self, theta: Variable) -> dict[Variable, Variable]:
        replacements = {}
        for rv, slot in zip(self._free, self._slots, strict=True):
            value = self.model.rvs_to_values[rv]
            part = theta[slot.start : slot.stop].reshape(slot.shape).astype(value.dtype)
            replacements[value] = pt.specify_shape(part, value.type.shape)
        return replacements

    @cached_property
    def prior_transform(self) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Function from the unit cube (n_dim,) to the flat vector of parameters (n_parameters,)."""
        function = pytensor.function([self._cube], self._theta_of_u, trust_input=True)

        def prior_transform(u: NDArray[np.float64]) -> NDArray[np.float64]:
            inside = np.clip(np.asarray(u, dtype=np.float64), _EDGE, 1.0 - _EDGE)
            return np.asarray(function(inside))

        return prior_transform

    @cached_property
    def log_likelihood(self) -> Callable[[NDArray[np.float64]], float]:
        """Function from the flat vector of parameters to the log-likelihood, potentials included."""
        theta, graph = self._likelihood_graph
        function = pytensor.function([theta], graph, trust_input=True)

        def log_likelihood(parameters: NDArray[np.float64]) -> float:
            return self._not_nan(float(function(np.asarray(parameters, dtype=np.float64))), parameters)

        return log_likelihood

    @cached_property
    def log_likelihood_of_cube(self) -> Callable[[NDArray[np.float64]], float]:
        """Log-likelihood as a function of the unit cube (n_dim,), compiled as one."""
        theta, graph = self._likelihood_graph
        composed = clone_replace([graph], {theta: self._theta_of_u}, rebuild_strict=False)[0]
        function = pytensor.function([self._cube], composed, trust_input=True)

        def log_likelihood_of_cube(u: NDArray[np.float64]) -> float:
            value = float(function(np.clip(u, _EDGE, 1.0 - _EDGE)))
            return value if value == value else self._not_nan(value, self.prior_transform(u))

        return log_likelihood_of_cube

    def _not_nan(self, value: float, parameters: NDArray[np.float64]) -> float:
        """The value, or an error that names the parameters: taking NaN for impossible would bias the evidence."""
        if np.isnan(value):
            at = dict(zip(self.parameter_names, np.asarray(parameters).tolist(), strict=True))
            raise ModelError(f"the log-likelihood is NaN at {at}; check the model there, or exclude it by the prior.")
        return value

    def variables(self, parameters: NDArray[np.float64]) -> xr.Dataset:
        """Variables of the model, deterministics included, of many vectors of parameters.

        Parameters
        ----------
        parameters : ndarray, shape (n, n_parameters)
            Flat vectors of parameters.

        Returns
        -------
        xarray.Dataset
            Dims chain (of length one), draw and those of the model.
        """
        parameters = array(parameters, "parameters", (None, len(self.parameter_names)))
        draws = {
            slot.name: parameters[None, :, slot.start : slot.stop].reshape(1, len(parameters), *slot.shape)
            for slot in self._slots
        }
        data = {name: (self._dims(name, value), value) for name, value in draws.items()}
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


def prior_transform(model: pm.Model | None = None) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Deterministic map from the unit cube to the parameters of a model, for any nested sampler.

    Parameters
    ----------
    model : pymc.Model, optional
        The model on the context stack if not given.

    Returns
    -------
    callable
        From (n_dim,) to (n_parameters,); a Dirichlet of *K* fractions uses *K* - 1 coordinates of the cube. Use
        `NestedProblem` for the numbers and names of the parameters.

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
    [0.25, 0.75]
    """
    return NestedProblem(pm.modelcontext(model)).prior_transform


def log_likelihood(model: pm.Model | None = None) -> Callable[[NDArray[np.float64]], float]:
    """Log-likelihood of a model as a function of the parameters that `prior_transform` returns.

    Parameters
    ----------
    model : pymc.Model, optional
        The model on the context stack if not given.

    Returns
    -------
    callable
        From (n_parameters,) to a number; potentials are part of it.

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


def sample_nested(
    model: pm.Model | None = None,
    *,
    nlive: int = 500,
    dlogz: float = 0.5,
    random_seed: int | np.random.Generator | None = None,
    progressbar: bool = True,
    **dynesty_options: Any,
) -> xr.DataTree:
    """Evidence and posterior of a model by nested sampling with dynesty.

    Parameters
    ----------
    model : pymc.Model, optional
        The model on the context stack if not given.
    nlive : int
        Number of live points.
    dlogz : float
        Stop when the evidence that may remain is less than this in the logarithm.
    random_seed : int or numpy.random.Generator, optional
        Seed.
    progressbar : bool
        Show dynesty's progress.
    **dynesty_options
        For `dynesty.NestedSampler`, for example ``bound`` or ``sample``. ``bootstrap`` is 0 unless given.

    Returns
    -------
    xarray.DataTree
        Group ``posterior``: draws of equal weight, deterministics included. Group ``nested``: all points of the
        run with ``log_weight`` (normalised), ``log_likelihood`` and ``log_prior_volume``. Attributes: ``log_evidence``,
        ``log_evidence_err``, ``ncall``, ``sampling_time`` (s), ``nlive``, ``dlogz``, ``sampler``.

    Raises
    ------
    ModelError
        If the model cannot be transformed, see `NestedProblem`.

    Notes
    -----
    The evidence refers to the likelihood as the model states it; for an `EventMixture` with a response that is
    the density of events of fixed number, in (TeV sr)^-1 per event. Ratios between models of the same events are
    free of units.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model():
    ...     mu = pm.Normal("mu")
    ...     y = pm.Normal("y", mu, 1, observed=0.0)
    ...     result = sample_nested(nlive=100, random_seed=1, progressbar=False)
    >>> bool(abs(result.attrs["log_evidence"] + 1.2655) < 4 * result.attrs["log_evidence_err"])
    True
    """
    import dynesty

    nlive, dlogz = integer(nlive, "nlive", low=2), number(dlogz, "dlogz", low=0)
    problem, rng = NestedProblem(pm.modelcontext(model)), generator(random_seed, "random_seed")
    # dynesty wants transforms that keep the dimension: sample the cube itself, map afterwards
    # a fixed enlargement of the bounds instead of bootstrapping them: the same evidence in 60 % of the time
    options = {"bootstrap": 0, **dynesty_options}
    sampler = dynesty.NestedSampler(
        problem.log_likelihood_of_cube, _identity, problem.n_dim, nlive=nlive, rstate=rng, **options
    )
    started = perf_counter()
    sampler.run_nested(dlogz=dlogz, print_progress=progressbar)
    sampling_time = perf_counter() - started
    results = sampler.results
    log_weight = np.asarray(results.logwt) - results.logz[-1]
    log_weight -= np.logaddexp.reduce(log_weight)
    points = np.stack([problem.prior_transform(u) for u in results.samples])
    equal = _equal_weight_indices(np.exp(log_weight), rng)
    attrs = {
        "log_evidence": float(results.logz[-1]),
        "log_evidence_err": float(results.logzerr[-1]),
        "ncall": int(np.sum(results.ncall)),
        "sampling_time": sampling_time,
        "nlive": nlive,
        "dlogz": dlogz,
        "sampler": f"dynesty {dynesty.__version__}",
    }
    weighted = problem.variables(points)
    weighted["log_weight"] = (("chain", "draw"), log_weight[None])
    weighted["log_likelihood"] = (("chain", "draw"), np.asarray(results.logl)[None])
    weighted["log_prior_volume"] = (("chain", "draw"), np.asarray(results.logvol)[None])
    posterior = problem.variables(points[equal])
    posterior.attrs.update(attrs)
    tree = xr.DataTree.from_dict({"posterior": posterior, "nested": weighted})
    tree.attrs.update(attrs)
    return tree


def _identity(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return u


def _equal_weight_indices(weight: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices that repeat each point in proportion to its weight (systematic resampling), shuffled.

    As many as the Kish effective sample size, so that summaries do not claim more than the run knows.
    """
    n = max(1, int(weight.sum() ** 2 / np.sum(weight**2)))
    positions = (np.arange(n) + rng.random()) / n
    cumulative = np.cumsum(weight)
    indices = np.searchsorted(cumulative / cumulative[-1], positions)
    return rng.permutation(indices)


def _in_order_of_dependence(model: pm.Model) -> list[Variable]:
    position = {node: i for i, node in enumerate(io_toposort([], model.free_RVs))}
    return sorted(model.free_RVs, key=lambda rv: position[rv.owner])


def _from_cube(
    rv: Variable, shape: tuple[int, ...], cube: Variable, cursor: int, before: Mapping[Variable, Variable]
) -> tuple[Variable, int]:
    """Value of a variable as a function of the cube from ``cursor`` on, and how many coordinates it used."""
    if isinstance(rv.owner.op, DirichletRV):
        concentration = pt.broadcast_to(rv.owner.inputs[-1], shape)
        cube_shape = (*shape[:-1], shape[-1] - 1)
        n_used = int(np.prod(cube_shape, dtype=int))
        value = _break_stick(concentration, cube[cursor : cursor + n_used].reshape(cube_shape), shape[-1])
    else:
        n_used = int(np.prod(shape, dtype=int))
        u = cube[cursor : cursor + n_used].reshape(shape)
        try:
            value = icdf(rv, u, warn_rvs=False)
        except (NotImplementedError, RuntimeError) as error:
            raise ModelError(
                f"nested sampling needs the inverse cumulative distribution of {rv.name!r}, and PyMC has none for "
                f"{rv.owner.op}. Write the prior with one that has (Normal, Uniform, LogNormal, Gamma, Beta, "
                "Dirichlet, ...), for example by a non-centred parametrisation and pm.Deterministic."
            ) from error
    if before:
        (value,) = clone_replace([value], dict(before), rebuild_strict=False)
    return value, n_used


def _break_stick(concentration: Variable, u: Variable, n: int) -> Variable:
    """Dirichlet fractions (..., n) from the unit cube (..., n - 1)."""
    remaining: Variable = pt.ones(u.shape[:-1])
    fractions = []
    for k in range(n - 1):
        rest = concentration[..., k + 1 :].sum(axis=-1)
        share = pt.betaincinv(concentration[..., k], rest, u[..., k])
        fractions.append(remaining * share)
        remaining = remaining * (1.0 - share)
    return pt.stack([*fractions, remaining], axis=-1)
