r"""Bayes factors: ratios of evidences, with their errors.

Nested sampling states the evidence and its error. Sequential Monte Carlo has one estimate :math:`\hat Z_c` for each
chain, unbiased, so that the evidence is their mean, and its error follows from their spread,
:math:`s(\hat Z) / (\bar Z \sqrt{n})` in the logarithm.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from pymc_gamma.arguments import checked, kind
from pymc_gamma.errors import ModelError, warn_user

__all__ = ["BayesFactor", "bayes_factor", "log_evidence"]


@dataclass(frozen=True)
class BayesFactor:
    """How much more probable data are under one model than under another.

    Attributes
    ----------
    log : float
        Natural logarithm of the Bayes factor; positive if the data favour the first model.
    log_err : float
        Its standard error.

    Examples
    --------
    >>> BayesFactor(math.log(100), 0.1)
    BayesFactor(ln B = 4.61 +- 0.10, 100 to 1 for the first model)
    """

    log: float
    log_err: float

    @property
    def value(self) -> float:
        """The Bayes factor; inf where it exceeds the largest number."""
        return math.exp(self.log) if self.log < math.log(np.finfo(float).max) else math.inf

    @property
    def log10(self) -> float:
        """Its decimal logarithm."""
        return self.log / math.log(10)

    def __repr__(self) -> str:
        odds, which = (self.log, "first") if self.log >= 0 else (-self.log, "second")
        stated = f"{math.exp(odds):.3g}" if odds < math.log(1e6) else f"10^{odds / math.log(10):.1f}"
        return f"BayesFactor(ln B = {self.log:.2f} +- {self.log_err:.2f}, {stated} to 1 for the {which} model)"


@checked(a=kind("DataTree", "Dataset"), b=kind("DataTree", "Dataset"))
def bayes_factor(a: xr.DataTree | xr.Dataset, b: xr.DataTree | xr.Dataset) -> BayesFactor:
    """Bayes factor of two models of the same events.

    Parameters
    ----------
    a, b : `xarray.DataTree` or `xarray.Dataset`
        Results of :func:`~pymc_gamma.sample_nested` or ``pm.sample_smc``, of either model, not necessarily of the same
        sampler.

    Returns
    -------
    BayesFactor
        Positive logarithms favour ``a``.

    Raises
    ------
    ModelError
        If a result has no evidence; says which.

    Warns
    -----
    PymcGammaWarning
        If a run of ``pm.sample_smc`` has one chain, which says nothing of its error.

    Notes
    -----
    Evidences depend on the priors, also far from where the posterior lies: ten times the width of the prior of a
    parameter that the other model lacks is ten times less evidence. Both models must be of the same events, in the same
    cells.

    Examples
    --------
    >>> import xarray as xr
    >>> a, b = (xr.Dataset(attrs={"log_evidence": z, "log_evidence_err": 0.1}) for z in (-10.0, -12.3))
    >>> bayes_factor(a, b).log_err.__round__(3)
    0.141
    """
    (first, first_err), (second, second_err) = (log_evidence(one, name) for one, name in ((a, "a"), (b, "b")))
    return BayesFactor(first - second, math.hypot(first_err, second_err))


def log_evidence(idata: xr.DataTree | xr.Dataset, name: str) -> tuple[float, float]:
    """Natural logarithm of the evidence of a run, and its standard error.

    Raises
    ------
    ModelError
        If it has none.
    """
    stated = idata.attrs
    if "log_evidence" in stated:
        return _finite(float(stated["log_evidence"]), float(stated.get("log_evidence_err", np.nan)), name)
    chains = _smc_chains(idata)
    if chains is None:
        raise ModelError(
            f"{name} has no evidence: it needs the result of sample_nested or of pm.sample_smc; pm.sample gives none."
        )
    n = len(chains)
    if not np.isfinite(chains).all():
        return _finite(np.nan, np.nan, name)
    mean = float(logsumexp(chains) - np.log(n))
    if n == 1:
        warn_user(f"{name} is one chain of pm.sample_smc, which says nothing of the error of its evidence; run four.")
        return _finite(mean, 0.0, name)
    return _finite(mean, float(np.std(np.exp(chains - mean), ddof=1) / np.sqrt(n)), name)


def _smc_chains(idata: xr.DataTree | xr.Dataset) -> Any:
    """Logarithm of the evidence of each chain of sequential Monte Carlo; None if there is none."""
    group = idata["sample_stats"].to_dataset() if "sample_stats" in getattr(idata, "children", ()) else idata
    if "log_marginal_likelihood" not in getattr(group, "data_vars", ()):
        return None
    values = np.asarray(group["log_marginal_likelihood"].values)
    chains = values.reshape(values.shape[0], -1) if values.ndim else values.reshape(1, 1)
    # stages follow each other, the last one is the evidence; shorter runs are filled up with NaN
    last = []
    for chain in chains:
        numbers = np.concatenate([np.ravel(np.asarray(one, float)) for one in chain])
        numbers = numbers[~np.isnan(numbers)]
        last.append(numbers[-1] if len(numbers) else np.nan)
    return np.array(last)


def _finite(value: float, error: float, name: str) -> tuple[float, float]:
    if not (np.isfinite(value) and np.isfinite(error)):
        raise ModelError(f"the evidence of {name} is not a number: ln Z = {value:g} +- {error:g}.")
    return value, error
