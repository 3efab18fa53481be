r"""The best fit of a model: where its posterior density is largest, with the errors that the curvature there gives.

It is the quick answer before sampling, and where chains of a model of many events start well. Errors are those of the
Gaussian of the same curvature (Laplace's approximation) in the unconstrained parameters of PyMC; for deterministics and
constrained variables they are carried over to first order.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pymc.initial_point import make_initial_point_fn
from pymc.pytensorf import join_nonshared_inputs, rewrite_pregrad
from pytensor.compile.sharedvalue import SharedVariable

from pymc_gamma.arguments import checked, instance, integer, mapping, number, seed
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError, warn_user
from pymc_gamma.inference.ascent import Summit, ascend
from pymc_gamma.inference.posterior import known_name
from pymc_gamma.labelled import aligned
from pymc_gamma.units import numbers

__all__ = ["BestFit", "best_fit"]

_STEP = 0.1
"""Of the derivatives of what is computed from the parameters, in standard deviations."""
_SMALLEST_FALL = 0.02
"""Of the logarithm of a density, one standard deviation from its maximum, where a Gaussian's falls by 0.5."""
_MOST_LOPSIDED = 1e-3
"""What it falls by on one side, over that on the other."""


class BestFit:
    """The maximum of a posterior density, and its curvature; made by :func:`best_fit`.

    Attributes
    ----------
    value : xarray.Dataset
        Free variables and deterministics at the maximum, with the dims of the model.
    sd : xarray.Dataset
        Their standard deviations, to first order.
    covariance : xarray.DataArray
        Of the unconstrained parameters, dims (parameter, other).
    log_density : float
        Natural logarithm of the posterior density there, up to a constant.
    distance : float
        How far the true maximum is, in standard deviations, by the gradient.
    converged : bool
        Whether that is within the tolerance, and the density falls on both sides in all directions: errors of variables
        whose best value is at an end of their range mean nothing.
    """

    def __init__(self, parameters: "_Parameters", summit: Summit, covariance: FloatArray, *, converged: bool) -> None:
        self._parameters, self._x = parameters, summit.x
        names = parameters.names
        self.log_density, self.distance, self.converged = summit.value, summit.distance, converged
        self.covariance = xr.DataArray(
            covariance, {"parameter": names, "other": names}, ("parameter", "other"), name="covariance"
        )
        here = parameters.outputs(summit.x)
        self.value = parameters.dataset(here)
        self.sd = parameters.dataset(parameters.errors(summit.x, covariance))

    @property
    def initvals(self) -> dict[str, FloatArray]:
        """Values of the free variables, for ``pm.sample(initvals=...)``."""
        return {name: self.value[name].values.copy() for name in self._parameters.free}

    @checked(draws=partial(integer, low=1), random_seed=seed)
    def draws(self, draws: int = 1000, *, random_seed: Any = None) -> xr.DataTree:
        """Draws of the Gaussian of the same curvature, as a posterior.

        Parameters
        ----------
        draws : int
            How many.
        random_seed : int or `numpy.random.Generator`, optional

        Returns
        -------
        xarray.DataTree
            With a group ``posterior`` of one chain: what reads posteriors (:func:`~pymc_gamma.summary`,
            ``az.plot_dist``, ...) reads it. It is an approximation, and says so in ``attrs["approximation"]``.
        """
        rng = np.random.default_rng(random_seed)
        points = self._x + rng.normal(size=(draws, len(self._x))) @ _factor(self.covariance.values).T
        columns = [self._parameters.outputs(x) for x in points]
        stacked = {name: np.stack([one[name] for one in columns])[None] for name in columns[0]}
        posterior = self._parameters.dataset(stacked, ("chain", "draw"))
        posterior = posterior.assign_coords(chain=[0], draw=np.arange(draws))
        posterior.attrs["approximation"] = "Gaussian of the curvature at the maximum of the posterior density"
        return xr.DataTree.from_dict({"posterior": posterior})

    def __repr__(self) -> str:
        lines = []
        for name in self.value.data_vars:
            values, errors = np.ravel(self.value[name]), np.ravel(self.sd[name])
            if values.size <= 8:
                lines.append(
                    f"  {name}: " + ", ".join(f"{v:.5g} +- {s:.2g}" for v, s in zip(values, errors, strict=True))
                )
            else:
                lines.append(f"  {name}: {values.size} values")
        state = "" if self.converged else ", not converged"
        return f"BestFit(log density {self.log_density:.6g}{state}\n" + "\n".join(lines) + ")"


@checked(tolerance=partial(number, low=1e-12, high=1.0), max_steps=partial(integer, low=1), compile_kwargs=mapping)
def best_fit(
    model: pm.Model | None = None,
    *,
    start: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    jacobian: bool = False,
    tolerance: float = 1e-3,
    max_steps: int = 100,
    compile_kwargs: Mapping[str, Any] | None = None,
) -> BestFit:
    """Find the maximum of the posterior density of a model, and its curvature there.

    By default the density is that of the variables themselves: with flat priors its maximum is that of the likelihood.
    Errors are those of the Gaussian with the same curvature, in the unconstrained parameters in which PyMC samples,
    such as the logarithm of a positive variable.

    Steps are those of Newton, with the curvature from differences of the gradient: two gradients per parameter and
    step. That is made for likelihoods of many events, of which ``pm.find_MAP`` finds no maximum when they are of order
    1e9, and for some tens of parameters.

    Parameters
    ----------
    model : pymc.Model, optional
        Default: that of the context.
    start : mapping or list of mappings, optional
        Values of free variables to start from, by name; variables that are not named start at the initial point of the
        model. Of several starts the one that ends highest is kept: a density may have several maxima.
    jacobian : bool
        Find the maximum of the density of the unconstrained parameters instead: it differs by the Jacobian determinant
        of their transforms, and is nowhere at an end of the range of a variable.
    tolerance : float
        Stop where the maximum is nearer than this, by the gradient, in standard deviations.
    max_steps : int
        Steps at most, from each start.
    compile_kwargs : mapping, optional
        For `pymc.compile`, such as ``{"mode": "FAST_COMPILE"}``.

    Returns
    -------
    BestFit
        Values, errors and covariance; draws of the Gaussian; values for chains to start from.

    Raises
    ------
    ModelError
        If the model has no free variable, discrete ones, or some of single precision; if a start names other variables,
        has another shape or an impossible density, or lies at an end of a range.

    Warns
    -----
    PymcGammaWarning
        If no maximum was found, or none with a Gaussian around it: the density rises towards the end of a prior, or has
        a ridge. A norm that is best at zero, for one: with ``jacobian=True`` it has a maximum above zero, and an error.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     rate = pm.Exponential("rate", 0.01)
    ...     half = pm.Deterministic("half", rate / 2)
    ...     n = pm.Poisson("n", rate, observed=100)
    >>> fit = best_fit(model, compile_kwargs={"mode": "FAST_COMPILE"})
    >>> fit.value.rate.round(2).item(), fit.sd.half.round(2).item()
    (99.01, 4.95)
    """
    model = instance(pm.modelcontext(model), pm.Model, "model")
    several = list(start) if isinstance(start, list | tuple) else [{} if start is None else start]
    starts = [mapping(one, "start") for one in several]
    if not starts:
        raise ModelError("start must name at least one point, got an empty list.")
    parameters = _Parameters(model, jacobian=jacobian, compile_kwargs=dict(compile_kwargs or {}))
    ends = [
        ascend(parameters.log_density, parameters.start(one), tolerance=tolerance, max_steps=max_steps)
        for one in starts
    ]
    best = max(ends, key=lambda one: one.value)
    covariance = _inverse(best.curvature)
    fault = _fault(parameters, best, covariance, tolerance)
    if fault:
        where = "" if jacobian else ", where that of jacobian=True vanishes"
        warn_user(
            f"no maximum was found with a Gaussian around it: after {best.n_calls} evaluations {fault}. The density "
            f"may rise towards an end of a prior{where}; or start somewhere else (start=)."
        )
    return BestFit(parameters, best, covariance, converged=not fault)


def _fault(parameters: "_Parameters", summit: Summit, covariance: FloatArray, tolerance: float) -> str:
    """Why a summit is no maximum well inside of the ranges of all variables; empty if it is one."""
    diagonal = np.diag(summit.curvature)
    if not summit.concave:
        return (
            f"the density is not concave; the least known parameter is {parameters.names[int(np.argmin(diagonal))]!r}"
        )
    if not summit.distance < tolerance:
        return f"it is {summit.distance:.2g} standard deviations from where the gradient points to"
    sd = np.sqrt(np.diag(covariance))
    # where the density is a Gaussian it falls by 0.5 along all of these: one parameter alone, and its principal axes
    for axis in (*np.diag(1 / np.sqrt(diagonal)), *_factor(covariance).T):
        with np.errstate(all="ignore"):
            fall = {sign: summit.value - parameters.log_density(summit.x + sign * axis)[0] for sign in (1, -1)}
        sign = min(fall, key=lambda one: np.nan_to_num(fall[one], nan=np.inf))
        if fall[sign] < _SMALLEST_FALL or fall[sign] < _MOST_LOPSIDED * fall[-sign] < np.inf:
            most = int(np.argmax(np.abs(axis) / sd))
            side, name = "higher" if sign * axis[most] > 0 else "lower", parameters.names[most]
            return f"the density hardly falls within a standard deviation towards {side} values of {name!r}"
    return ""


class _Parameters:
    """The free variables of a model as one vector of unconstrained parameters, and what is computed from them."""

    def __init__(self, model: pm.Model, *, jacobian: bool, compile_kwargs: dict[str, Any]) -> None:
        if not model.free_RVs:
            raise ModelError("the model has no free variable to fit.")
        if model.discrete_value_vars:
            names = [variable.name for variable in model.discrete_value_vars]
            raise ModelError(f"a best fit needs continuous variables; these are discrete: {names}.")
        coarse = [variable.name for variable in model.value_vars if variable.dtype != "float64"]
        if coarse:
            raise ModelError(
                f"a best fit needs the precision of float64, and these variables have less: {coarse}; leave out "
                "dtype=, and set pytensor.config.floatX to 'float64'."
            )
        self._model = model
        self.free = [rv.name for rv in model.free_RVs]
        variables = model.continuous_value_vars
        initial = model.initial_point(0)
        log_density = rewrite_pregrad(model.logp(jacobian=jacobian))
        slopes = pytensor.grad(log_density, variables, disconnected_inputs="ignore")
        gradient = pt.concatenate([slope.ravel() for slope in slopes])
        outputs, vector = join_nonshared_inputs(initial, [log_density, gradient], variables)
        self._function = pm.compile([vector], outputs, **compile_kwargs)
        self._shapes = {variable.name: np.shape(initial[variable.name]) for variable in variables}
        self.names = [
            name + (f"[{', '.join(map(str, index))}]" if shape else "")
            for name, shape in self._shapes.items()
            for index in np.ndindex(shape)
        ]
        stated = [*model.free_RVs, *model.deterministics]
        self._stated = [variable.name for variable in stated]
        # as the data and labels are now, whatever `pm.set_data` changes later
        self._dims, self._coords = dict(model.named_vars_to_dims), dict(model.coords)
        data = [one for one in model.data_vars if isinstance(one, SharedVariable)]
        self._outputs = pytensor.function(
            list(variables),
            model.replace_rvs_by_values(stated),
            givens=[(one, one.type.make_constant(one.get_value())) for one in data],
            mode="FAST_COMPILE",
            on_unused_input="ignore",
        )

    def log_density(self, x: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = self._function(x)
        return float(value), gradient

    def start(self, values: Mapping[str, Any]) -> FloatArray:
        """The vector at named values, completed by the initial point of the model."""
        dims, coords = self._dims, self._coords
        plain = make_initial_point_fn(model=self._model, return_transformed=False)(0) if values else {}
        given: dict[Any, FloatArray] = {}
        for name, value in values.items():
            rv, what = self._model[known_name(name, self.free, "the model")], f"start of {name!r}"
            array = numbers(aligned(value, {dim: coords.get(dim) for dim in dims.get(name, ())}, what), what)
            if array.shape != plain[name].shape:
                raise ModelError(f"{what} must have shape {plain[name].shape}, got {array.shape}.")
            given[rv] = array
        initial = make_initial_point_fn(model=self._model, overrides=given)(0)
        x = np.concatenate([np.ravel(initial[name]) for name in self._shapes]).astype(float)
        if not np.isfinite(x).all():
            ends = [name for name in self._shapes if not np.isfinite(initial[name]).all()]
            raise ModelError(
                f"the start {dict(values)} is not inside of the range of a variable: {ends} would not be finite."
            )
        value, gradient = self.log_density(x)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            terms = ", ".join(f"{name} {one:g}" for name, one in self._model.point_logps(initial).items())
            raise ModelError(
                f"the model is impossible at the start {dict(values) or '(its initial point)'}: "
                f"its log density is {value:g}, by variable {terms}. Give another start=."
            )
        return x

    def outputs(self, x: FloatArray) -> dict[str, FloatArray]:
        """Free variables and deterministics, by name."""
        parts, cursor = [], 0
        for shape in self._shapes.values():
            size = int(np.prod(shape))
            parts.append(x[cursor : cursor + size].reshape(shape))
            cursor += size
        found = self._outputs(*parts)
        return {name: np.asarray(one, dtype=float) for name, one in zip(self._stated, found, strict=True)}

    def errors(self, x: FloatArray, covariance: FloatArray) -> dict[str, FloatArray]:
        """Standard deviations of the outputs, to first order: along the axes of the Gaussian."""
        total: dict[str, FloatArray] = {}
        for axis in _factor(covariance).T:
            step = _STEP * axis
            up, down = self.outputs(x + step), self.outputs(x - step)
            for name in up:
                with np.errstate(invalid="ignore"):
                    slope: FloatArray = (up[name] - down[name]) / (2 * _STEP)
                total[name] = total.get(name, np.zeros(slope.shape)) + slope**2
        return {name: np.sqrt(one) for name, one in total.items()}

    def dataset(self, values: Mapping[str, FloatArray], sample: tuple[str, ...] = ()) -> xr.Dataset:
        """Values by name with the dims and coordinates of the model."""
        variables: dict[str, Any] = {}
        for name, value in values.items():
            rest = value.ndim - len(sample)
            own = self._dims.get(name) or tuple(f"{name}_dim_{i}" for i in range(rest))
            variables[name] = ((*sample, *own), value)
        used = {dim for own, _ in variables.values() for dim in own}
        coords = {dim: list(labels) for dim, labels in self._coords.items() if dim in used and labels is not None}
        return xr.Dataset(variables, coords)


def _inverse(curvature: FloatArray) -> FloatArray:
    """The covariance of a curvature; variances are held below 1e24, where nothing is known."""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-24))
    size, axes = np.linalg.eigh(curvature * np.outer(scale, scale))
    held = np.maximum(np.abs(size), 1e-12)
    return np.asarray((axes / held) @ axes.T * np.outer(scale, scale))


def _factor(covariance: FloatArray) -> FloatArray:
    """A matrix whose product with its transpose is the covariance; scales may be far apart."""
    sd = np.sqrt(np.diag(covariance))
    size, axes = np.linalg.eigh(covariance / np.outer(sd, sd))
    return np.asarray(sd[:, None] * axes * np.sqrt(np.maximum(size, 0.0)))
