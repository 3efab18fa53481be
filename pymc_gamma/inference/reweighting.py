r"""Posteriors under other priors, by importance weights of the draws that are there.

Where only the prior of some variables changes, the likelihood cancels in the ratio of the posteriors,

.. math:: w_s \propto \prod_j \frac{\pi'_j(\theta_{js})}{\pi_j(\theta_{js})} ,

and so do the Jacobians of transforms that a sampler uses: both densities are of the variable itself. Priors of other
variables that depend on it cancel too, as their conditional form stays. The largest weights are smoothed by a Pareto
distribution (Vehtari et al. 2024, JMLR 25, 72), whose shape says whether they can be trusted.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pymc.logprob.basic import conditional_logp
from pymc.logprob.utils import ParameterValueError
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors

from pymc_gamma.arguments import checked, generator, integer, kind, mapping
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError, warn_user
from pymc_gamma.inference.evaluate import expression_draws
from pymc_gamma.inference.posterior import (
    LOG_WEIGHT,
    SAMPLE_DIMS,
    equal_weight_indices,
    known_name,
    posterior_dataset,
)

__all__ = ["reweight"]

LARGEST_K = 0.7
"""Shape of the Pareto distribution above which weights are not to be trusted."""
LEAST_EFFECTIVE = 100
LEAST_DRAWS = 25
"""Of fewer none are in the tail that a Pareto distribution is fitted to."""
SAME = 1e-9
"""Logarithms of weights that differ by less are equal."""
PRIOR_DRAWS = 1000
LARGEST_UNSEEN = 0.01
"""Share of a new prior that may lie where the old one is zero."""

type Prior = Variable | Callable[[Variable], Any]


@checked(idata=kind("DataTree", "Dataset"), model=kind("Model"), new_priors=mapping, n_draws=partial(integer, low=1))
def reweight(
    idata: xr.DataTree | xr.Dataset,
    model: pm.Model,
    new_priors: Mapping[str, Prior],
    *,
    n_draws: int | None = None,
    random_seed: int | np.random.Generator | None = None,
) -> xr.DataTree:
    """Posterior under other priors, without sampling again.

    Parameters
    ----------
    idata : `xarray.DataTree` or `xarray.Dataset`
        With a ``posterior`` group of draws of equal weight, or that group itself.
    model : pymc.Model
        The model that was sampled.
    new_priors : mapping of str to TensorVariable or callable
        For some of the free variables a distribution, such as ``pm.Normal.dist(0, 1)``, whose parameters may be
        variables of the model; or a function from the variable (a PyTensor expression) to the logarithm of its new
        density, up to a constant.
    n_draws : int, optional
        Number of draws of equal weight to return. Default: as many as the effective number of weighted ones.
    random_seed : int or numpy.random.Generator, optional
        Seed of these.

    Returns
    -------
    xarray.DataTree
        Group ``posterior``: draws of equal weight under the new priors. Group ``weighted``: all draws, with
        ``log_weight`` (normalised), which :func:`~pymc_gamma.upper_limit` uses. Groups without draws, such as the
        observed data, are kept. Attributes: ``pareto_k``, and ``ess``, the effective number of weighted draws.

    Raises
    ------
    ModelError
        If a name is not that of a free variable (names the nearest one), a prior does not fit it, is not a number at a
        draw, or all draws are impossible.
    TypeError
        If a prior is neither a distribution nor a function.

    Warns
    -----
    PymcGammaWarning
        If weights cannot be trusted: the shape of their Pareto distribution is above 0.7, fewer than 100 draws are
        effective, or a part of a new prior lies where the old one is zero. The posterior must then be sampled with the
        new priors.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     mu = pm.Normal("mu", 0, 1)
    ...     y = pm.Normal("y", mu, 1, observed=1.0)
    >>> draws = np.random.default_rng(1).normal(0.5, 0.5**0.5, (4, 1000))
    >>> posterior = xr.Dataset({"mu": (("chain", "draw"), draws)})
    >>> narrow = reweight(posterior, model, {"mu": pm.Normal.dist(0, 0.5)}, random_seed=1)
    >>> bool(abs(narrow.posterior.mu.mean() - 0.2) < 0.05)
    True
    """
    posterior, rng = posterior_dataset(idata), generator(random_seed, "random_seed")
    change = _PriorChange(model, new_priors)
    dims = [dim for dim in SAMPLE_DIMS if dim in posterior.dims]
    try:
        log_ratio = expression_draws(posterior, change.log_ratio, "the change of priors")
    except ParameterValueError as error:
        raise ModelError(
            f"a new prior of {sorted(new_priors)} has a parameter that is impossible at a draw ({error}); write it so "
            "that it is possible for all values of the variables that it depends on."
        ) from None
    _check(log_ratio, new_priors)
    shape = tuple(posterior.sizes[dim] for dim in dims)
    log_weight, pareto_k = _smoothed(log_ratio.reshape(shape if len(shape) > 1 else (1, -1)))
    weight = np.exp(log_weight)
    effective = float(1 / np.sum(weight**2))
    _warn(sorted(new_priors), pareto_k, effective, change.unseen(rng), len(weight))
    index = equal_weight_indices(weight, rng) if n_draws is None else rng.choice(len(weight), n_draws, p=weight)
    places = np.unravel_index(index, shape)
    picked = posterior.isel({dim: xr.DataArray(i, dims="_drawn") for dim, i in zip(dims, places, strict=True)})
    equal = picked.drop_vars(dims, errors="ignore").rename(_drawn="draw").expand_dims("chain")
    weighted = posterior.assign({LOG_WEIGHT: (dims, log_weight.reshape(shape))})
    attrs = {"pareto_k": pareto_k, "ess": effective, "new_priors": ", ".join(map(str, new_priors))}
    groups = {"posterior": equal.assign_attrs(attrs), "weighted": weighted.assign_attrs(attrs)}
    for name, group in idata.children.items() if isinstance(idata, xr.DataTree) else ():
        if not {*SAMPLE_DIMS} & {*group.dims} and name not in groups:
            groups[name] = group.to_dataset()
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(attrs)
    return tree


class _PriorChange:
    """Logarithm of new priors over old ones, as an expression of the variables of a posterior.

    Attributes
    ----------
    log_ratio : TensorVariable
        The logarithm, of variables with the names of those of the model.
    """

    def __init__(self, model: pm.Model, new_priors: Mapping[str, Prior]) -> None:
        if not new_priors:
            raise ModelError("new_priors is empty; name a variable and its new distribution.")
        self._free = {rv.name: rv for rv in model.free_RVs}
        for name in new_priors:
            known_name(str(name), list(self._free), "new_priors must name free variables of the model, which")
        self._values = {rv: rv.type(name=rv.name) for rv in self._free.values()}
        old = conditional_logp(dict(self._values))
        terms = []
        self._new, self._old = dict(new_priors), {}
        for name, prior in new_priors.items():
            value = self._values[self._free[name]]
            self._old[name] = old[value]
            terms.append(self._log_density(name, prior, value).sum() - old[value].sum())
        self.log_ratio = pt.add(*terms) if len(terms) > 1 else terms[0]

    def _log_density(self, name: str, prior: Prior, value: Variable) -> Variable:
        """Logarithm of a new prior at a value, of the variables of the posterior."""
        if isinstance(prior, Variable):
            if prior.type.ndim > value.type.ndim or not _broadcasts(prior.type.shape, value.type.shape):
                raise ModelError(
                    f"the new prior of {name!r} has the shape {prior.type.shape}, but the variable {value.type.shape}."
                )
            if (prior.type.dtype[0] == "f") != (value.type.dtype[0] == "f"):
                raise ModelError(
                    f"the new prior of {name!r} is of {prior.type.dtype} numbers, but the variable of "
                    f"{value.type.dtype}: a density is no probability."
                )
            try:
                density = pm.logp(prior, value)
            except NotImplementedError as error:
                raise ModelError(f"the new prior of {name!r} has no density that PyMC knows: {error}") from None
        elif callable(prior):
            density = pt.as_tensor_variable(prior(value))
        else:
            raise TypeError(
                f"the new prior of {name!r} must be a distribution such as pm.Normal.dist(0, 1), or a function of the "
                f"variable to the logarithm of its density, got {type(prior).__name__}."
            )
        (found,) = clone_replace([density], dict(self._values), rebuild_strict=False)
        return found

    def unseen(self, rng: np.random.Generator) -> dict[str, float]:
        """Share of each new prior, if it depends on no other variable, that lies where the old one is zero."""
        found = {}
        for name, prior in self._new.items():
            value, old = self._values[self._free[name]], self._old[name]
            others = {*self._values} | {one for one in self._values.values() if one is not value}
            graphs = [prior, old] if isinstance(prior, Variable) else []
            if not graphs or others & {*ancestors(graphs)}:
                continue
            draws = pm.draw(prior, PRIOR_DRAWS, random_seed=rng)
            full = np.empty((PRIOR_DRAWS, *pm.draw(self._free[name], random_seed=rng).shape), value.type.dtype)
            full[:] = draws.reshape(PRIOR_DRAWS, *(1,) * (full.ndim - draws.ndim), *draws.shape[1:])
            own = xr.Dataset({name: (("draw", *(f"d{k}" for k in range(full.ndim - 1))), full)})
            found[name] = float(np.mean(np.isneginf(expression_draws(own, old.sum(), "the old prior"))))
        return found


def _broadcasts(new: tuple[int | None, ...], old: tuple[int | None, ...]) -> bool:
    """Whether a shape fits into another, as far as they are known."""
    pairs = zip(reversed(new), reversed(old), strict=False)
    return all(a is None or b is None or a in (1, b) for a, b in pairs)


def _check(log_ratio: FloatArray, new_priors: Mapping[str, Any]) -> None:
    """Raise a ModelError unless weights follow from logarithms of ratios."""
    names = list(map(str, new_priors))
    if log_ratio.ndim != 1 or not len(log_ratio):
        raise ModelError(f"the posterior holds no draws to reweight for {names}.")
    bad = np.isnan(log_ratio) | np.isposinf(log_ratio)
    if bad.any():
        raise ModelError(
            f"the ratio of the new priors of {names} to the old ones is not a number at {int(bad.sum())} of "
            f"{len(bad)} draws; are these draws of this model?"
        )
    if np.isneginf(log_ratio).all():
        raise ModelError(f"no draw is possible under the new priors of {names}; sample the model with them.")


def _smoothed(log_ratio: FloatArray) -> tuple[FloatArray, float]:
    """Logarithms of weights of draws (chain, draw), flat, normalised and with their largest smoothed; Pareto's k."""
    from arviz_stats.base.array import array_stats

    flat = log_ratio.ravel()
    possible = np.isfinite(flat)
    kept = flat[possible]
    log_weight = np.asarray(flat - np.logaddexp.reduce(flat))
    if np.ptp(kept) < SAME:
        return log_weight, -np.inf
    if len(kept) < LEAST_DRAWS or log_ratio.shape[1] < 4:
        return log_weight, np.nan
    ratio = np.exp(log_ratio - kept.max())
    efficiency = float(array_stats.ess(ratio, chain_axis=0, draw_axis=1, method="mean")) / flat.size
    try:  # it takes logarithms of what weights are divided by, as LOO has them
        smooth, pareto_k = array_stats.psislw(-kept, r_eff=min(max(efficiency, 1e-3), 1.0))
    except ValueError:  # the largest weights are all the same: nothing to smooth
        return log_weight, -np.inf
    log_weight[possible] = smooth
    return np.asarray(log_weight - np.logaddexp.reduce(log_weight)), float(pareto_k)


def _warn(names: list[str], pareto_k: float, effective: float, unseen: Mapping[str, float], n: int) -> None:
    """Say if weights cannot be trusted."""
    again = "sample the model with the new priors"
    limit = min(LARGEST_K, 1 - 1 / np.log10(max(n, 11)))
    if pareto_k > limit:
        warn_user(
            f"Pareto k of the weights for the new priors of {names} is {pareto_k:.2f}, above {limit:.2f}: the "
            f"posterior lies where the old one has few draws, and the weights cannot be trusted; {again}, or change "
            "the priors less."
        )
    elif effective < LEAST_EFFECTIVE:
        warn_user(
            f"only {effective:.0f} of {n} draws are effective under the new priors of {names}; draw more, or {again}."
        )
    for name, share in unseen.items():
        if share > LARGEST_UNSEEN:
            warn_user(
                f"{share:.0%} of the new prior of {name!r} lies where the old one is zero, and no draw can be there; "
                f"{again}, unless the data exclude that part."
            )
