"""Leave-one-out cross-validation by ArviZ, of events and of cells, against leaving each out by hand."""

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.special import logsumexp
from setups import pointing, region, source

import pymc_gamma as pmg

GRID = np.linspace(0.001, 0.999, 999)


@pytest.fixture(scope="module")
def response():
    sky = [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=1), region(width=1.2, energy=(0.8, 30.0)))


@pytest.mark.parametrize("binned", [False, True])
def test_against_leaving_out_by_hand(response, binned):
    """With one fraction the posterior without each event, or cell, is known by quadrature."""
    events = response.simulate([0.3, 0.7], 150, rng=1)
    if binned:
        events = events.binned(10, pixel=0.1 * u.deg)
    with pm.Model() as model:
        f = pm.Uniform("f", 0, 1)
        pmg.EventMixture("events", pm.math.stack([f, 1 - f]), response=response, observed=events)
    density = response.density(events) / np.asarray(response.acceptance)
    per_row = events.multiplicity * np.log(np.outer(GRID, density[:, 0]) + np.outer(1 - GRID, density[:, 1]))
    total = per_row.sum(axis=1)
    probability = np.exp(total - total.max())
    draws = np.random.default_rng(1).choice(GRID, (4, 500), p=probability / probability.sum())
    posterior = xr.Dataset({"f": (("chain", "draw"), draws)})
    idata = xr.DataTree.from_dict({"posterior": posterior})
    with model:
        pm.compute_log_likelihood(idata, progressbar=False)
    found = az.loo(idata, pointwise=True)
    without = total[:, None] - per_row
    # p(x_i | others) = int p(x_i | f) p(f | others) df
    wanted = logsumexp(total[:, None], axis=0) - logsumexp(without, axis=0)
    assert found.elpd == pytest.approx(wanted.sum(), abs=0.1)
    np.testing.assert_allclose(found.elpd_i, wanted, atol=0.05)
    assert float(found.pareto_k.max()) < 0.7
