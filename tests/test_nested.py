"""Nested sampling: the prior transform against exact priors, the evidence against quadrature."""

import arviz as az
import dynesty
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pymc.distributions import transforms
from scipy import stats
from scipy.special import logsumexp
from toy import ToyResponse

from pymc_gamma.errors import ModelError
from pymc_gamma.inference.nested import NestedProblem, log_likelihood, prior_transform, sample_nested
from pymc_gamma.model import EventMixture
from pymc_gamma.model.mixture_tree import MixtureTree


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
    with pytest.raises(ModelError, match=r"discrete: \['n'\]. Sum them out .* scan them .* pm.sample"):
        sample_nested(model)


def quantiles(model, u):
    """Values of the variable x for numbers of the unit interval."""
    problem = NestedProblem(model)
    return problem.parameters(problem.prior_transform(np.asarray(u)[:, None]))["x"]


def one_variable(build):
    with pm.Model() as model:
        build()
        pm.Potential("nothing", pt.constant(0.0))
    return model


U = np.array([1e-3, 0.1, 0.5, 0.9, 0.999])


@pytest.mark.parametrize(
    ("build", "exact"),
    [
        (lambda: pm.Uniform("x", 1, 3), stats.uniform(1, 2)),
        (lambda: pm.Gamma("x", 2, 3), stats.gamma(2, scale=1 / 3)),
        (lambda: pm.StudentT("x", nu=3), stats.t(3)),
        (lambda: pm.TruncatedNormal("x", 1, 2, lower=-1, upper=2), stats.truncnorm(-1, 0.5, 1, 2)),
        (lambda: pm.Truncated("x", pm.Normal.dist(), upper=-1), stats.truncnorm(-np.inf, -1)),
        (lambda: pm.LogNormal("x", 0.2, 0.7, initval=3.0), stats.lognorm(0.7, scale=np.exp(0.2))),
        (lambda: pm.HalfNormal("x", 2.0, default_transform=None), stats.halfnorm(scale=2)),
    ],
)
def test_quantiles(build, exact):
    # PyMC computes constants such as sqrt(2), and functions of whole numbers, in single precision
    np.testing.assert_allclose(quantiles(one_variable(build), U), exact.ppf(U), rtol=1e-6)


def test_truncated_between_bounds():
    base = stats.gamma(2)
    low, high = base.cdf([0.5, 3])
    model = one_variable(lambda: pm.Truncated("x", pm.Gamma.dist(2, 1), lower=0.5, upper=3))
    np.testing.assert_allclose(quantiles(model, U), base.ppf(low + U * (high - low)), rtol=1e-6)


def test_censored_prior_has_atoms():
    model = one_variable(lambda: pm.Censored("x", pm.Normal.dist(), lower=-1, upper=1))
    np.testing.assert_allclose(quantiles(model, U), np.clip(stats.norm.ppf(U), -1, 1))


def test_correlated_normals(rng):
    covariance = np.array([[2.0, -0.8], [-0.8, 1.0]])
    with pm.Model() as model:
        pm.MvNormal("x", np.array([1.0, -1.0]), covariance, shape=(3, 2))
        pm.Potential("nothing", pt.constant(0.0))
    problem = NestedProblem(model)
    assert problem.n_dim == 6
    x = problem.parameters(problem.prior_transform(rng.random((4000, 6))))["x"]
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (x - [1.0, -1.0]).reshape(-1, 2).T)
    for row in whitened:
        assert stats.kstest(row, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(whitened)[0, 1]) < 0.05


@pytest.mark.parametrize(
    "build",
    [
        lambda: pm.LKJCholeskyCov("x", n=3, eta=1, sd_dist=pm.HalfNormal.dist(1, shape=3), compute_corr=False),
        lambda: pm.LKJCorr("x", n=3, eta=1),
        lambda: pm.ZeroSumNormal("x", shape=3),
        lambda: pm.VonMises("x", 0, 1),
        lambda: pm.Flat("x"),
        lambda: pm.NormalMixture("x", w=[0.5, 0.5], mu=[0, 1], sigma=1),
        lambda: pm.Truncated("x", pm.VonMises.dist(0, 1), lower=0, upper=1),
    ],
)
def test_priors_without_a_transform_are_named(build):
    with pytest.raises(ModelError, match=r"inverse cumulative distribution of 'x', .*Write the prior with"):
        NestedProblem(one_variable(build))


def test_events_that_are_not_observed():
    response = ToyResponse()
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
        EventMixture("events", fraction, response=response, n_events=4)
        pm.Potential("more", fraction[0])
    with pytest.raises(ModelError, match=r"'events', and there is none for 'EventMixture'"):
        NestedProblem(model)


@pytest.mark.parametrize("transform", [transforms.ordered, transforms.log])
def test_transforms_that_restrict_a_prior(transform):
    with pm.Model() as model:
        x = pm.Normal("x", shape=3, transform=transform, initval=[0.5, 1, 2])
        pm.Normal("y", x.sum(), 1, observed=0.0)
    with pytest.raises(ModelError, match="'x' has the transform"):
        NestedProblem(model)


def test_lengths_of_dims_are_asked_when_they_are_needed():
    with pm.Model(coords={"band": ["low", "high", "top"]}) as model:
        x = pm.Normal("x", dims="band")
        pm.Normal("y", x, 1, observed=np.zeros(3), dims="band")
    assert model["x"].type.shape == (None,)
    assert NestedProblem(model).parameter_names == ["x[low]", "x[high]", "x[top]"]


def test_initial_values_stay():
    with pm.Model() as model:
        x = pm.Normal("x", initval=0.5)
        pm.Normal("y", x, 1, observed=0.0)
    NestedProblem(model)
    assert model.initial_point()["x"] == 0.5


def fractions_and_norm():
    response = ToyResponse()
    rows = response.simulate_rows([1, 2, 3], 50, np.random.default_rng(3))
    with pm.Model(coords=response.coords) as model:
        norm = pm.HalfNormal("norm")
        fraction = pm.Dirichlet("fraction", a=[1.0, 2.0, 3.0], dims="component")
        EventMixture("events", fraction, response=response, observed=rows)
        pm.Normal("monitor", norm, 0.1, observed=1.0)
    return model, response, rows


def test_by_hand_with_dynesty(seed):
    model, *_ = fractions_and_norm()
    problem = NestedProblem(model)
    assert sorted(problem.parameter_names) == ["fraction[diffuse]", "fraction[source]", "norm"]
    sampler = dynesty.NestedSampler(
        problem.log_likelihood, problem.prior_transform, problem.n_dim, nlive=100, rstate=np.random.default_rng(seed)
    )
    sampler.run_nested(dlogz=0.5, print_progress=False)
    ours = sample_nested(model, nlive=100, random_seed=seed, progressbar=False).attrs
    error = np.hypot(sampler.results.logzerr[-1], ours["log_evidence_err"])
    assert abs(sampler.results.logz[-1] - ours["log_evidence"]) < 4 * error
    posterior = problem.variables(sampler.results.samples)
    np.testing.assert_allclose(posterior["fraction"].sum("component"), 1, rtol=1e-12)
    norm = problem.parameter_names.index("norm")
    np.testing.assert_array_equal(posterior["norm"].values[0], sampler.results.samples[:, norm])


@pytest.mark.parametrize("vectorized", [False, True])
def test_by_hand_with_ultranest(vectorized):
    """What UltraNest checks of its functions when it is given them: shapes, finite numbers, one name per parameter."""
    model, response, rows = fractions_and_norm()
    problem = NestedProblem(model)
    u = np.random.default_rng(1).uniform(size=(2, problem.n_dim))
    assert len(problem.parameter_names) == problem.n_dim
    p = problem.prior_transform(u if vectorized else u[0])
    assert p.shape == ((2, problem.n_dim) if vectorized else (problem.n_dim,))
    values = problem.log_likelihood(p)
    assert np.shape(values) == ((2,) if vectorized else ())
    full = problem.parameters(p)
    for norm, f, value in zip(
        np.atleast_1d(full["norm"]), np.atleast_2d(full["fraction"]), np.atleast_1d(values), strict=True
    ):
        expected = np.log(response.component_pdf(rows) @ f).sum() + stats.norm(norm, 0.1).logpdf(1.0)
        np.testing.assert_allclose(value, expected, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("vectorized", [False, True])
def test_ultranest(vectorized):
    ultranest = pytest.importorskip("ultranest")
    model, *_ = fractions_and_norm()
    problem = NestedProblem(model)
    np.random.seed(1)  # noqa: NPY002 UltraNest knows no other way
    sampler = ultranest.ReactiveNestedSampler(
        problem.parameter_names, problem.log_likelihood, problem.prior_transform, vectorized=vectorized
    )
    result = sampler.run(min_num_live_points=100, dlogz=0.5, show_status=False, viz_callback=False)
    ours = sample_nested(model, nlive=100, random_seed=1, progressbar=False).attrs
    assert abs(result["logz"] - ours["log_evidence"]) < 4 * np.hypot(result["logzerr"], ours["log_evidence_err"])


def test_points_that_are_none():
    problem = NestedProblem(fractions_and_norm()[0])
    norm = problem.parameter_names.index("norm")
    with pytest.raises(ModelError, match=r"shape \(3,\), .* got \(4,\)"):
        problem.log_likelihood(np.zeros(4))
    with pytest.raises(ModelError, match=r"NaN at .*fraction"):
        problem.log_likelihood(np.insert([0.9, 0.9], norm, 1.0))
    assert np.isfinite(problem.log_likelihood(np.insert([0.3, 0.7], norm, 1.0)))


@pytest.mark.parametrize(
    "variables",
    [lambda: pm.Dirichlet("x", [1.0]), lambda: pm.Normal("x", shape=0), lambda: pm.Dirichlet("x", np.ones((4, 1)))],
)
def test_variables_without_any_freedom(variables):
    with pm.Model() as model:
        variables()
        pm.Normal("y", 0, 1, observed=0.0)
    with pytest.raises(ModelError, match=r"nothing to sample: the free variables \['x'\]"):
        NestedProblem(model)
