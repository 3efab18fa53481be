"""Parameters that take the values of nodes alone: sums over them, and what they say of the nodes."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.special import logsumexp
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError

NODES, PRIOR = np.array([0.15, 0.2, 0.3]), np.array([0.2, 0.5, 0.3])
SIMPLEX = np.array([np.log(0.4 / 0.6) / 2])
RNG = np.random.default_rng(1)
X = RNG.normal(size=60)


@pytest.fixture(scope="module")
def response():
    def gaussian(sigma):
        return source("rxj", 0.1, 0.05, sigma=sigma.to_value("deg"), amplitude=2e-11)

    sky = [pmg.Scanned("rxj", gaussian, nodes={"sigma": NODES * u.deg}), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=5), region(width=2.4, energy=(1.0, 50.0)), progressbar=False)


@pytest.fixture(scope="module")
def events(response):
    """So few that no node is ruled out."""
    return response.simulate({"rxj": 0.4, "ccr": 0.6}, 60, rng=1)


def mixture(response, events, sigma, **options):
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
        pmg.EventMixture("e", fraction, response=response, scan={"sigma": sigma}, observed=events, **options)
    return model, {"fraction_simplex__": SIMPLEX}


def poisson(response, events, sigma):
    with pm.Model(coords=response.coords) as model:
        norms = {name: pm.LogNormal(name, default_transform=None) for name in ("rxj", "ccr")}
        pmg.ExtendedEventMixture("e", response=response, norms=norms, scan={"sigma": sigma}, observed=events)
    return model, {"rxj": np.array(0.02), "ccr": np.array(0.01)}


def own_table(response, events, sigma):
    table = -0.5 * (X[:, None] / (4 * NODES)) ** 2 - np.log(4 * NODES)
    with pm.Model(coords={"component": ["ccr", "dm"]}) as model:
        fraction = pm.Dirichlet("fraction", np.ones(2), dims="component")
        tables = {"dm": xr.DataArray(table, {"sigma": NODES}, ("event", "sigma")), "ccr": np.full(len(X), -2.0)}
        pmg.EventMixture("e", fraction, log_likelihood=tables, scan={"sigma": sigma})
    return model, {"fraction_simplex__": SIMPLEX}


@pytest.mark.parametrize(
    ("build", "mode"),
    [
        (mixture, "FAST_COMPILE"),
        (poisson, "FAST_COMPILE"),
        (own_table, None),
        pytest.param(mixture, None, marks=pytest.mark.slow),
        pytest.param(poisson, None, marks=pytest.mark.slow),
    ],
)
def test_sum_over_nodes(response, events, build, mode):
    """Value, gradient and probabilities of the nodes, from the likelihoods at each."""
    model, point = build(response, events, pmg.Marginalised(PRIOR))
    value, gradient = model.compile_logp(vars=[model["e"]], mode=mode), model.compile_dlogp(mode=mode)
    each, slopes = [], []
    for node in NODES:
        own, _ = build(response, events, node)
        each.append(float(own.compile_logp(vars=[own["e"]], mode="FAST_COMPILE")(point)))
        slopes.append(own.compile_dlogp(mode="FAST_COMPILE")(point))
    each = np.array(each)
    assert float(value(point)) == pytest.approx(logsumexp(each, b=PRIOR), rel=1e-12)
    posterior = PRIOR * np.exp(each - logsumexp(each, b=PRIOR))
    assert np.sort(posterior)[-2] > 0.02  # so that more than one node counts
    np.testing.assert_allclose(gradient(point), posterior @ np.array(slopes), rtol=1e-9)
    assert model.named_vars_to_dims["e_sigma_log_probability"] == ("e_sigma",)
    np.testing.assert_array_equal(model.coords["e_sigma"], NODES)
    (expression,) = model.replace_rvs_by_values([model["e_sigma_log_probability"]])
    found = model.compile_fn(expression, inputs=model.value_vars, mode="FAST_COMPILE", on_unused_input="ignore")(point)
    np.testing.assert_allclose(np.exp(found), posterior, rtol=1e-9)


def test_nodes_that_are_ruled_out(response, events):
    model, point = mixture(response, events, pmg.Marginalised([0, 1, 0]))
    own, _ = mixture(response, events, NODES[1])
    found, expected = (one.compile_logp(vars=[one["e"]], mode="FAST_COMPILE")(point) for one in (model, own))
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    assert np.isfinite(model.compile_dlogp(mode="FAST_COMPILE")(point)).all()


def test_draws_are_at_nodes_of_the_prior(response):
    with pm.Model(coords=response.coords):
        scan = {"sigma": pmg.Marginalised([1, 0, 1])}
        drawn = pmg.EventMixture("e", [1.0, 0.0], response=response, scan=scan, n_events=400)
    lists = pm.draw(drawn, draws=30, random_seed=1)
    x, y = (lists[..., 1] + 180) % 360 - 180 - 0.1, lists[..., 2] - 0.05
    variance = np.mean(x**2 + y**2, axis=1) / 2
    # the PSF adds 0.05 deg or so
    narrow, wide = np.abs(np.sqrt(variance) - 0.16) < 0.02, np.abs(np.sqrt(variance) - 0.305) < 0.03
    assert (narrow | wide).all()
    assert 5 <= narrow.sum() <= 25


def test_refused(response, events):
    for prior, error in (
        ([1, -1, 1], ValueError),
        ([0, 0, 0], ValueError),
        ("all", TypeError),
        ([[1, 1, 1]], ValueError),
    ):
        with pytest.raises(error, match="prior"):
            pmg.Marginalised(prior)
    with pytest.raises(ModelError, match="the prior of 'sigma' has 2 weights, and there are 3 nodes"):
        mixture(response, events, pmg.Marginalised([1, 1]))
    with pm.Model(coords=response.coords):
        scan = {"sigma": pmg.Marginalised()}
        with pytest.raises(ModelError, match="expected_counts differ from node to node"):
            pmg.ExtendedEventMixture("e", response=response, scan=scan, observed=events, expected_counts=True)
        with pytest.raises(ModelError, match="has other fluxes at each node"):
            pmg.ExtendedEventMixture("e", response=response, scan=scan, observed=events, integrated_flux=[1, 2] * u.TeV)
        with pytest.raises(ModelError, match="one vector where a parameter is Marginalised"):
            pmg.EventMixture("e", np.ones((2, 2)), response=response, scan=scan, observed=[events, events])
    table = xr.DataArray(np.zeros((5, 2, 2)), {"a": [0.0, 1.0], "b": [0.0, 1.0]}, ("event", "a", "b"))
    two = {"a": pmg.Marginalised(), "b": pmg.Marginalised()}
    with pm.Model(), pytest.raises(ModelError, match="only one parameter can be Marginalised"):
        pmg.EventMixture("e", [0.5, 0.5], log_likelihood={"x": table, "y": np.zeros(5)}, scan=two)
    other = xr.DataArray(np.zeros((5, 2)), {"a": [0.0, 2.0]}, ("event", "a"))
    scan = {"a": pmg.Marginalised(), "b": 0.5}
    with pm.Model(), pytest.raises(ModelError, match="have other nodes of 'a'"):
        pmg.EventMixture("e", [0.5, 0.5], log_likelihood={"x": table, "y": other}, scan=scan)
