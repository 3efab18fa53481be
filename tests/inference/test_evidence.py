"""Bayes factors: of nested sampling and sequential Monte Carlo, against evidences in closed form."""

import math

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, PymcGammaWarning
from pymc_gamma.inference.evidence import log_evidence


def smc(*chains, stages=1):
    """A result as pm.sample_smc makes it: objects, and NaN before the last stage."""
    values = np.array([[*([np.nan] * (stages - 1)), z] for z in chains], object)
    group = xr.Dataset({"log_marginal_likelihood": (("chain", "stage"), values)})
    return xr.DataTree.from_dict({"posterior": xr.Dataset(), "sample_stats": group})


def nested(log_evidence, error=0.1):
    return xr.Dataset(attrs={"log_evidence": log_evidence, "log_evidence_err": error})


def model(sd):
    """Ten data around a mean, which is zero or has a prior of width ``sd``."""
    y = np.array([0.3, 1.2, -0.4, 0.8, 1.9, 0.1, 0.6, 1.1, -0.2, 0.9])
    with pm.Model() as made:
        mean = pm.Normal("mu", 0, sd) if sd else 0.0
        pm.Normal("y", mean, 1, observed=y)
    covariance = np.eye(10) + sd**2 * np.ones((10, 10))
    return made, stats.multivariate_normal(np.zeros(10), covariance).logpdf(y)


def test_both_samplers_agree_with_the_exact_ratio():
    wide, narrow = model(3.0), model(0.5)
    exact = wide[1] - narrow[1]
    run_smc = [
        pm.sample_smc(1000, chains=4, cores=1, random_seed=k, progressbar=False, model=one[0])
        for k, one in enumerate((wide, narrow))
    ]
    run_nested = [
        pmg.sample_nested(one[0], nlive=300, dlogz=0.1, random_seed=k, progressbar=False)
        for k, one in enumerate((wide, narrow))
    ]
    for a, b in ((run_smc[0], run_smc[1]), (run_nested[0], run_nested[1]), (run_smc[0], run_nested[1])):
        found = pmg.bayes_factor(a, b)
        assert abs(found.log - exact) < 4 * found.log_err
        assert found.log_err < 0.3
        assert pmg.bayes_factor(b, a).log == pytest.approx(-found.log)


def test_error_of_chains_is_their_spread(rng):
    """Over many runs of four chains the error is as large as the scatter of their evidence."""
    runs = [log_evidence(smc(*rng.normal(-5, 0.1, 4)), "a") for _ in range(400)]
    values, errors = np.array(runs).T
    assert np.std(values) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.1)
    assert abs(values.mean() - (-5 + 0.005)) < 0.02


def test_last_stage():
    assert log_evidence(smc(-3.0, -3.0, stages=5), "a") == pytest.approx((-3.0, 0.0))


def test_value():
    found = pmg.bayes_factor(nested(-10.0, 0.3), nested(-12.0, 0.4))
    assert (found.log, found.log_err) == pytest.approx((2.0, 0.5))
    assert found.value == pytest.approx(math.exp(2))
    assert found.log10 == pytest.approx(2 / math.log(10))
    assert "for the first model" in repr(found)
    assert "for the second model" in repr(pmg.bayes_factor(nested(-12.0), nested(-10.0)))
    large = pmg.bayes_factor(nested(0.0), nested(-5000.0))
    assert large.value == math.inf
    assert "10^2171.5 to 1" in repr(large)


class TestBadInput:
    def test_one_chain(self):
        with pytest.warns(PymcGammaWarning, match="a is one chain of pm.sample_smc"):
            pmg.bayes_factor(smc(-3.0), nested(-4.0))

    def test_no_evidence(self):
        posterior = xr.DataTree.from_dict({"posterior": xr.Dataset({"x": (("chain", "draw"), np.ones((1, 3)))})})
        with pytest.raises(ModelError, match=r"b has no evidence: .* pm.sample gives none"):
            pmg.bayes_factor(nested(-1.0), posterior)

    @pytest.mark.parametrize("bad", [np.nan, -np.inf])
    def test_not_a_number(self, bad):
        with pytest.raises(ModelError, match="evidence of a is not a number"):
            pmg.bayes_factor(nested(bad), nested(-1.0))
        with pytest.raises(ModelError, match="evidence of b is not a number"):
            pmg.bayes_factor(nested(-1.0), smc(bad, bad))
