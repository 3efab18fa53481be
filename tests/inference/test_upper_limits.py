"""Upper limits: quantiles with their errors, of equal and of weighted draws."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError


def chains(values, name="sigmav", **coords):
    return xr.Dataset({name: (("chain", "draw", *coords), values)}, coords)


class TestValues:
    @pytest.mark.parametrize("probability", [0.05, 0.5, 0.95])
    def test_limit_and_its_error(self, rng, probability):
        """Over many posteriors the limit scatters as its error says."""
        found = [pmg.upper_limit(chains(rng.exponential(size=(4, 500))), "sigmav", probability) for _ in range(200)]
        pulls = (np.array(found) - stats.expon.ppf(probability)) / [float(one.mcse) for one in found]
        assert abs(pulls.mean()) < 0.3
        assert 0.85 < pulls.std() < 1.15

    def test_error_of_chains_that_move_slowly(self, rng):
        steps = rng.normal(size=(4, 4000))
        for k in range(1, 4000):
            steps[:, k] = 0.95 * steps[:, k - 1] + np.sqrt(1 - 0.95**2) * steps[:, k]
        slow = pmg.upper_limit(chains(steps), "sigmav")
        fast = pmg.upper_limit(chains(rng.normal(size=(4, 4000))), "sigmav")
        assert slow.mcse > 3 * fast.mcse

    def test_weighted(self, rng):
        draws = rng.uniform(0, 20, (1, 20_000))
        log_weight = -draws - np.logaddexp.reduce(-draws.ravel())
        weighted = chains(draws).assign(log_weight=(("chain", "draw"), log_weight))
        tree = xr.DataTree.from_dict({"posterior": chains(np.ones((1, 5))), "weighted": weighted})
        for idata in (tree, weighted):
            limit = pmg.upper_limit(idata, "sigmav", 0.95)
            assert abs(float(limit) - stats.expon.ppf(0.95)) < 4 * float(limit.mcse)
            # the error of a self-normalised estimate of a share: weights of the few draws above it are small
            above = np.exp(-float(limit))
            variance = 20 * (0.5 * above**2 * 0.95**2 + 0.5 * (1 - above**2) * 0.05**2) / 20_000
            assert float(limit.mcse) == pytest.approx(np.sqrt(variance) / above, rel=0.1)

    def test_nested(self):
        with pm.Model() as model:
            pm.Normal("y", pm.Normal("mu", 0, 1), 1, observed=1.0)
        found = [
            pmg.upper_limit(pmg.sample_nested(model, nlive=200, random_seed=k, progressbar=False), "mu", 0.9)
            for k in range(10)
        ]
        pulls = (np.array(found) - stats.norm(0.5, 0.5**0.5).ppf(0.9)) / [float(one.mcse) for one in found]
        assert stats.chi2.sf(np.sum(pulls**2), 10) > 1e-3

    def test_reweighted(self, rng):
        with pm.Model() as model:
            pm.Normal("y", pm.Normal("mu", 0, 1), 1, observed=1.0)
        posterior = chains(rng.normal(0.5, 0.5**0.5, (4, 2000)), "mu")
        found = pmg.upper_limit(pmg.reweight(posterior, model, {"mu": pm.Normal.dist(0, 0.5)}, random_seed=1), "mu")
        wanted = stats.norm(0.2, 0.2**0.5).ppf(0.95)
        assert abs(float(found) - wanted) < 4 * float(found.mcse)

    def test_dims_and_units(self, rng):
        draws = rng.normal([0, 10, 20], 1, (2, 300, 3))
        posterior = chains(draws, "norm", run=["a", "b", "c"])
        posterior["norm"].attrs["units"] = "cm3 s-1"
        limit = pmg.upper_limit(posterior, "norm", 0.9)
        assert limit.dims == ("run",)
        assert limit.mcse.dims == ("run",)
        assert limit.attrs == {"probability": 0.9, "units": "cm3 s-1"}
        for k, run in enumerate("abc"):
            own = pmg.upper_limit(chains(draws[..., k], "norm"), "norm", 0.9)
            assert float(limit.sel(run=run)) == float(own)
            assert float(limit.sel(run=run).mcse) == float(own.mcse)

    def test_one_draw_and_one_value(self):
        assert float(pmg.upper_limit(chains(np.full((1, 1), 2.0)), "sigmav")) == 2.0
        limit = pmg.upper_limit(chains(np.full((2, 100), 2.0)), "sigmav")
        assert (float(limit), float(limit.mcse)) == (2.0, 0.0)


class TestBadInput:
    def test_name(self):
        with pytest.raises(ModelError, match="no variable 'sigma_v'; did you mean 'sigmav'"):
            pmg.upper_limit(chains(np.ones((1, 4))), "sigma_v")
        with pytest.raises(ModelError, match="it has 'sigmav'"):
            pmg.upper_limit(chains(np.ones((1, 4))), "flux")

    def test_no_posterior(self):
        with pytest.raises(ModelError, match="no group 'posterior'"):
            pmg.upper_limit(xr.DataTree.from_dict({"prior": chains(np.ones((1, 4)))}), "sigmav")

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, bad):
        with pytest.raises(ModelError, match="must be finite numbers"):
            pmg.upper_limit(chains(np.array([[1.0, bad]])), "sigmav")

    def test_empty(self):
        with pytest.raises(ModelError, match="holds no draws of 'sigmav'"):
            pmg.upper_limit(chains(np.ones((2, 0))), "sigmav")

    @pytest.mark.parametrize("probability", [-0.1, 1.1, 95])
    def test_probability(self, probability):
        with pytest.raises(ValueError, match="probability"):
            pmg.upper_limit(chains(np.ones((1, 4))), "sigmav", probability)
