r"""How significant a component is: the likelihood with it over that without it.

The **likelihood ratio** at the maximum, with the prior of the parameters that both models share,

.. math:: \mathrm{TS} = 2 \log \frac{L(\hat\theta)\,\pi(\hat\theta_s)}{\max_{\theta_s} L_0(\theta_s)\,\pi(\theta_s)} ,

and the **evidence ratio** for the component, a Bayes factor, from draws of the posterior of the model with it,

.. math:: \frac{1}{B} = \frac{Z_0}{Z_1} = \Big\langle \frac{L_0(\theta_s)\,\pi(\theta_s)\,g(\theta_c|\theta_s)}
    {L(\theta)\,\pi(\theta)} \Big\rangle_{\theta \sim p(\theta|D)}

with any density *g* of the parameters :math:`\theta_c` of the component (Chen 1994, JASA 89, 818). Their prior makes it
the mean of :math:`L_0/L`, which is what Savage and Dickey's ratio of densities at zero becomes where the parameters of
the component may have any prior: right for faint sources. For bright ones Gaussians near their posterior are. The one
whose terms differ least is taken.
"""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
from arviz_stats.base.array import array_stats
from pytensor.graph.traversal import ancestors
from scipy import stats
from scipy.special import logsumexp

from pymc_gamma.arguments import checked, instance, integer, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import warn_user
from pymc_gamma.inference.best_fit import BestFit, best_fit
from pymc_gamma.inference.evidence import BayesFactor
from pymc_gamma.inference.flux_data import draws_of
from pymc_gamma.inference.without import Unconstrained, held, needless, without_component

__all__ = ["Significance", "significance"]

FEWEST_NEAR = 20
"""Draws with a likelihood ratio between 1/e and e, for these to be averaged."""
SCALES = (1.0, 0.7, 0.4)
"""Widths of Gaussians, over those of the posterior."""
LARGEST_K = 0.7
"""Shape of the tail of importance weights above which their mean is not known (Vehtari et al. 2024)."""


@dataclass(frozen=True, eq=False)
class Significance:
    """How significant a component is; made by :func:`significance`.

    Attributes
    ----------
    component : str
        The component.
    ts : float
        Test statistic: twice the logarithm of the likelihood ratio at the maxima of the posterior densities with the
        component and without it. Of the priors only those of the parameters that both models have take part. Infinite
        if an event is impossible without the component; below zero where the prior of its flux holds that above what
        the data ask for.
    n_parameters : int
        Parameters that the likelihood has more with the component.
    best : BestFit
        The maximum with it.
    null : BestFit or None
        That without; None if no parameter is left.
    evidence_ratio : BayesFactor or None
        Bayes factor for the component against none, from the draws of a posterior; None without one.
    k_hat : float or None
        How heavy the tail of its importance weights is; it is not to be trusted above 0.7.
    """

    component: str
    ts: float
    n_parameters: int
    best: BestFit
    null: BestFit | None
    evidence_ratio: BayesFactor | None = None
    k_hat: float | None = None

    @property
    def sqrt_ts(self) -> float:
        """Root of the test statistic: Gaussian standard deviations, one-sided, if there is one parameter more."""
        return float(np.sqrt(max(self.ts, 0.0)))

    @property
    def p_value(self) -> float:
        """Probability of a larger test statistic without the component, where many events are expected.

        Half of the chi-square distribution of one degree of freedom if there is one parameter more, a flux that is not
        negative (Chernoff 1954). With more, that of as many degrees of freedom: a rough guide, as what is only defined
        with the component (a position, an index) follows no such law.
        """
        share = 0.5 if self.n_parameters == 1 else 1.0
        return float(share * stats.chi2.sf(max(self.ts, 0.0), max(self.n_parameters, 1)))

    def __repr__(self) -> str:
        more = f"{self.n_parameters} parameter{'' if self.n_parameters == 1 else 's'} more"
        told = f"Significance({self.component!r}: likelihood ratio TS = {self.ts:.2f} with {more}"
        told += f", sqrt(TS) = {self.sqrt_ts:.2f}" if self.n_parameters == 1 else f", p-value {self.p_value:.2g}"
        if self.evidence_ratio is None:
            return f"{told})"
        return f"{told}; evidence ratio ln B = {self.evidence_ratio.log:.2f} +- {self.evidence_ratio.log_err:.2f})"


@checked(component=text, max_draws=partial(integer, low=10))
def significance(model: pm.Model, component: str, idata: Any = None, *, max_draws: int = 1000) -> Significance:
    """Compare a model with the same without one of its components.

    Parameters
    ----------
    model : pymc.Model
        With observed events of :class:`~pymc_gamma.EventMixture`, :class:`~pymc_gamma.ExtendedEventMixture` or
        :class:`~pymc_gamma.OnOffCounts`.
    component : str
        Name of a component (the source of `OnOffCounts` is called ``"source"`` unless it says ``component=``); it is
        taken out of all observed events.
    idata : `xarray.DataTree` or `xarray.Dataset`, optional
        A posterior of the model, for an evidence ratio: a Bayes factor, which depends on the priors of the parameters
        of the component.
    max_draws : int
        Draws of the posterior that are used at most, spread evenly.

    Returns
    -------
    Significance

    Raises
    ------
    ModelError
        If the model observes no events of such a component, or of no other.

    Warns
    -----
    PymcGammaWarning
        If other data, such as `OnOffCounts` whose source has another name, know the flux of the component and keep it.
        If the evidence ratio is not to be trusted, as where the other parameters would lie far away without a bright
        source; use :func:`~pymc_gamma.sample_nested` for both models and :func:`~pymc_gamma.bayes_factor`. If a maximum
        is not found (see :func:`~pymc_gamma.best_fit`).

    See Also
    --------
    bayes_factor : of the evidences of two models.
    flux_points : with the same ratio in each band of energy.

    Examples
    --------
    >>> found = pmg.significance(model, "dm", idata)  # doctest: +SKIP
    >>> found.sqrt_ts, found.evidence_ratio  # doctest: +SKIP
    """
    model = instance(model, pm.Model, "model")
    null = without_component(model, component)
    best, faults = _highest(model)
    every = Unconstrained(model)
    forward = every.forward()
    point = forward(best.initvals)
    idle, n_parameters = needless(model, null, point)
    _tell_of_other_data(model, component, n_parameters)
    null = held(null, idle, best.initvals)
    with_it = best.log_density - every.log_prior(idle, jacobian=False)(point)
    without = None
    if null.free_RVs:
        without = best_fit(null, start={name: best.initvals[name] for name in every.names if name not in idle})
    log_null = Unconstrained(null).log_density()({}) if without is None else without.log_density
    ts = 2 * (with_it - log_null)
    if ts > 1:  # else the best flux is next to zero, where the density has no maximum inside of its range
        for fault in faults:
            warn_user(fault)
    if idata is None:
        return Significance(component, ts, n_parameters, best, without)
    draws = draws_of(model, idata, max_draws)
    points = [forward({name: draws[name].values[0, d] for name in every.names}) for d in range(draws.sizes["draw"])]
    terms = _terms(every, Unconstrained(null), idle, points)
    return Significance(component, ts, n_parameters, best, without, *_evidence_ratio(terms, component))


def _tell_of_other_data(model: pm.Model, component: str, n_parameters: int) -> None:
    """Warn if nothing is free without the component as other data know its parameters, and still have it in them."""
    source = {rv.name: getattr(getattr(rv.owner, "op", None), "source", None) for rv in model.observed_RVs}
    with_it = [rv for rv in model.observed_RVs if component in getattr(source[rv.name], "component_names", ())]
    parameters = set(model.free_RVs) & set(ancestors(with_it))
    others = [rv.name for rv in model.observed_RVs if rv not in with_it and parameters & set(ancestors([rv]))]
    if n_parameters == 0 and others:
        warn_user(
            f"{component!r} is taken out of {[rv.name for rv in with_it]} alone: {others} share parameters and have no "
            "such component, so that they know its flux with it and without it. The test statistic compares the "
            "events with that flux and without; it is no significance of all data, and p_value has no meaning."
        )


def _highest(model: pm.Model) -> tuple[BestFit, list[str]]:
    """The maximum, and what is wrong with it.

    Steps from a flux that is much too large may end next to zero, where the density of its logarithm is flat. That of
    the unconstrained parameters is not: from its maximum they lead to the other.
    """
    with warnings.catch_warnings(record=True) as faults:
        warnings.simplefilter("always")
        best = best_fit(model)
        if not best.converged:
            faults.clear()
            again = best_fit(model, start=best_fit(model, jacobian=True).initvals)
            best = max(best, again, key=lambda one: one.log_density)
    return best, [] if best.converged else [str(one.message) for one in faults]


def _terms(
    model: Unconstrained, null: Unconstrained, idle: list[str], points: list[dict[str, FloatArray]]
) -> list[tuple[bool, FloatArray]]:
    """Logarithms of what is averaged over draws, for several densities of the parameters of the component.

    With each, whether draws lie where they are needed.
    """
    densities = model.log_density(), null.log_density()
    log_ratio = np.array([densities[1](one) - densities[0](one) for one in points])
    prior = model.log_prior(idle, jacobian=True)
    likelihoods = log_ratio + np.array([prior(one) for one in points])
    # of the prior only where draws are like the model without the component
    found = [(bool(np.sum(np.abs(likelihoods) < 1.0) >= FEWEST_NEAR), likelihoods)]
    if idle:
        own, shared = (
            np.array([np.concatenate([np.zeros(0), *(np.ravel(one[name]) for name in names)]) for one in points])
            for names in (idle, [name for name in model.names if name not in idle])
        )
        found += [(True, log_ratio + _conditional_log_density(own, shared, scale)) for scale in SCALES]
    return found


def _conditional_log_density(own: FloatArray, shared: FloatArray, scale: float) -> FloatArray:
    """Logarithm of a density of some parameters (n, k) given others: a Gaussian, narrower than their posterior."""
    centred = shared - np.median(shared, axis=0)
    middle = own - np.median(own, axis=0)
    slope = np.linalg.lstsq(centred, middle, rcond=None)[0]
    rest = middle - centred @ slope
    covariance = scale**2 * np.atleast_2d(np.cov(rest.T))
    return np.asarray(stats.multivariate_normal(cov=covariance, allow_singular=True).logpdf(rest))


def _evidence_ratio(terms: list[tuple[bool, FloatArray]], component: str) -> tuple[BayesFactor, float]:
    """Bayes factor from logarithms of what is averaged over draws: of the terms that differ least, if to be trusted."""
    found = []
    for reaches, one in terms:
        smoothed, k_hat = array_stats.psislw(-one, r_eff=1.0)  # of minus the logarithms of weights
        n_effective = 1 / float(np.sum(np.exp(2 * (smoothed - logsumexp(smoothed)))))
        log_mean = float(logsumexp(one) - np.log(len(one)))
        error = float(np.sqrt(max(1 / n_effective - 1 / len(one), 0.0)))
        found.append((not reaches, not k_hat < LARGEST_K, error, float(k_hat), log_mean))
    far, heavy, error, k_hat, log_mean = min(found)
    if far or heavy:
        warn_user(
            f"hardly a draw of the posterior is like the model without {component!r}: the evidence ratio is not to be "
            f"trusted (k-hat {k_hat:.2f}). Use sample_nested for both models, and bayes_factor of the results."
        )
    return BayesFactor(-log_mean, error), k_hat
