"""Nested sampling: the prior transform against exact priors, the evidence against quadrature."""

import arviz as az
import numpy as np
import pymc as pm
import pytest
from scipy import stats
from scipy.special import logsumexp
from toy import ToyResponse

from pymc_gamma.distributions import EventMixture
from pymc_gamma.errors import ModelError
from pymc_gamma.mixture import MixtureTree
from pymc_gamma.nested import NestedProblem, log_likelihood, prior_transform, sample_nested


def draws_of_prior(model, rng, n=2000):
    problem = NestedProblem(model)
    points = np.array([problem.prior_transform(u) for u in rng.random((n, problem.n_dim))])
    return problem, points


def test_dirichlet_transform(rng):
    alpha = np.array([0.7, 2.0, 5.0])
    with pm.Model() as model:
        f = pm.Dirichlet("f", a=alpha)
        pm.Potential("nothing", 0 * f.sum())
    problem, points = draws_of_prior(model, rng)
    assert problem.n_dim == 2
    assert problem.parameter_names == ["f[0]", "f[1]"]
    points = problem.parameters(points)["f"]
    np.testing.assert_allclose(points.sum(axis=1), 1, rtol=1e-12)
    for k in range(3):
        assert stats.kstest(points[:, k], stats.beta(alpha[k], alpha.sum() - alpha[k]).cdf).pvalue > 1e-3


def test_batched_dirichlet_and_its_hyperprior(rng):
    with pm.Model() as model:
        a = pm.Gamma("a", 3.0, 1.0)
        f = pm.Dirichlet("f", a=a * np.ones((2, 3)))
        pm.Potential("nothing", 0 * f.sum())
    problem, points = draws_of_prior(model, rng)
    assert problem.n_dim == 1 + 2 * 2
    f = problem.parameters(points)["f"]
    np.testing.assert_allclose(f.sum(axis=-1), 1, rtol=1e-12)
    # given a, each fraction is Beta(a, 2 a)
    for row in range(2):
        for k in range(3):
            uniform = stats.beta(points[:, 0], 2 * points[:, 0]).cdf(f[:, row, k])
            assert stats.kstest(uniform, "uniform").pvalue > 1e-3


def test_hierarchical_transform(rng):
    with pm.Model() as model:
        scale = pm.HalfNormal("scale", 2.0)
        mu = pm.Normal("mu", 1.0, scale)
        x = pm.LogNormal("x", mu, 0.5, shape=2)
        pm.Normal("y", x.sum(), 1.0, observed=1.0)
    problem, points = draws_of_prior(model, rng)
    assert problem.parameter_names == ["scale", "mu", "x[0]", "x[1]"]
    scale, mu, x0, x1 = points.T
    for uniform in (
        stats.halfnorm(scale=2).cdf(scale),
        stats.norm(1, scale).cdf(mu),
        stats.norm(mu, 0.5).cdf(np.log(x0)),
        stats.norm(mu, 0.5).cdf(np.log(x1)),
    ):
        assert stats.kstest(uniform, "uniform").pvalue > 1e-3


def test_edges_of_the_cube():
    with pm.Model() as model:
        pm.Normal("x")
        pm.Normal("y", 0, 1, observed=0.0)
    transform = prior_transform(model)
    assert np.isfinite(transform(np.array([0.0]))).all()
    assert np.isfinite(transform(np.array([1.0]))).all()


def test_likelihood_includes_potentials_and_leaves_out_the_prior():
    with pm.Model() as model:
        x = pm.Normal("x", 0, 1)
        pm.Normal("y", x, 1, observed=[0.3, 0.5])
        pm.Potential("p", -3 * x)
    expected = stats.norm(0.2, 1).logpdf([0.3, 0.5]).sum() - 0.6
    np.testing.assert_allclose(log_likelihood(model)(np.array([0.2])), expected, rtol=1e-12)
    problem = NestedProblem(model)
    u = stats.norm.cdf(0.2)
    np.testing.assert_allclose(problem.log_likelihood_of_cube(np.array([u])), expected, rtol=1e-9)


def test_evidence_of_a_mixture_against_quadrature(rng, seed):
    response = ToyResponse((2.0, 2.6), (0.5, 4.0), ("source", "background"))
    rows = response.simulate_rows([0.3, 0.7], 300, rng)
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
        pm.Deterministic("odds", fraction[0] / fraction[1])
        EventMixture("events", fraction, response=response, observed=rows)
    result = sample_nested(model, nlive=200, random_seed=seed, progressbar=False)
    x = (np.arange(20_000) + 0.5) / 20_000
    logs = np.log(np.column_stack([x, 1 - x]) @ response.component_pdf(rows).T).sum(axis=1)
    exact = logsumexp(logs) - np.log(len(x))
    assert abs(result.attrs["log_evidence"] - exact) < 4 * result.attrs["log_evidence_err"]
    assert result.attrs["ncall"] < 20_000

    weight = np.exp(logs - logs.max())
    mean = weight @ x / weight.sum()
    sd = np.sqrt(weight @ (x - mean) ** 2 / weight.sum())
    posterior = result["posterior"]
    assert posterior["fraction"].dims == ("chain", "draw", "component")
    assert list(posterior["component"].values) == ["source", "background"]
    assert abs(float(posterior["fraction"].sel(component="source").mean()) - mean) < 0.3 * sd
    np.testing.assert_allclose(
        posterior["odds"].values, (posterior["fraction"][..., 0] / posterior["fraction"][..., 1]).values
    )
    assert az.summary(result).shape[0] == 3

    nested = result["nested"]
    w = np.exp(nested["log_weight"].values[0])
    np.testing.assert_allclose(w.sum(), 1, rtol=1e-9)
    assert abs(w @ nested["fraction"].values[0, :, 0] - mean) < 0.3 * sd

    again = sample_nested(model, nlive=200, random_seed=seed, progressbar=False)
    assert again.attrs["log_evidence"] == result.attrs["log_evidence"]
    np.testing.assert_array_equal(again["posterior"]["odds"].values, posterior["odds"].values)


def test_evidence_of_a_gaussian(seed):
    with pm.Model():
        x = pm.Normal("x", 0, 1, shape=2)
        pm.Normal("y", x, 0.5, observed=[0.4, -1.0])
        result = sample_nested(nlive=150, random_seed=seed, progressbar=False, bound="single")
    exact = stats.norm(0, np.sqrt(1.25)).logpdf([0.4, -1.0]).sum()
    assert abs(result.attrs["log_evidence"] - exact) < 4 * result.attrs["log_evidence_err"]
    assert result["posterior"]["x"].dims == ("chain", "draw", "x_dim_0")


def test_tree_of_mixtures(rng):
    response = ToyResponse()
    rows = response.simulate_rows([1, 2, 3], 100, rng)
    tree = MixtureTree({"source": None, "background": ["cosmic", "diffuse"]})
    with pm.Model(coords=response.coords) as model:
        EventMixture("events", tree.fractions(), response=response, observed=rows)
    problem = NestedProblem(model)
    assert problem.n_dim == 2
    shares = {"mixture": [0.2, 0.8], "background": [0.6, 0.4]}
    parameters = np.concatenate([shares[name.split("[")[0]][:1] for name in problem.parameter_names])
    f = tree.flatten(shares, response.component_names)
    expected = np.log(response.component_pdf(rows) @ f).sum()
    np.testing.assert_allclose(problem.log_likelihood(parameters), expected, rtol=1e-10)
    draws = problem.variables(parameters[None])
    np.testing.assert_allclose(draws["fraction"].values[0, 0], f)


def test_distribution_without_inverse():
    with pm.Model() as model:
        x = pm.SkewNormal("x", mu=0, sigma=1, alpha=3)
        pm.Normal("y", x, 1, observed=0.0)
    with pytest.raises(ModelError, match="inverse cumulative distribution of 'x'"):
        prior_transform(model)


def test_models_that_cannot_be_integrated():
    with pm.Model() as model:
        pm.Normal("x")
    with pytest.raises(ModelError, match="no likelihood"):
        sample_nested(model)
    with pm.Model() as model:
        pm.Normal("y", 0, 1, observed=0.0)
    with pytest.raises(ModelError, match="no free variable"):
        sample_nested(model)
    with pm.Model() as model:
        n = pm.Poisson("n", 3)
        pm.Normal("y", n, 1, observed=0.0)
    with pytest.raises(ModelError, match=r"discrete: \['n'\]"):
        sample_nested(model)
