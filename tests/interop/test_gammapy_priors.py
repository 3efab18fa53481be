"""gammapy's priors and the random variables made of them: the same densities, limits and draws."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from gammapy.modeling import Parameter, PriorParameter
from gammapy.modeling import models as gp
from scipy import integrate, stats

from pymc_gamma.errors import ModelError
from pymc_gamma.inference.nested import prior_transform
from pymc_gamma.interop.priors import DEFAULT_WIDTH, Role, prior_variable

PRIORS = {
    "gaussian": (gp.GaussianPrior(mu=2.1, sigma=0.3), 2.0, (1.2, 2.9)),
    "uniform": (gp.UniformPrior(min=1.0, max=3.0), 2.0, (1.1, 2.9)),
    "log-uniform": (gp.LogUniformPrior(min=1e-13, max=1e-11), 1e-12, (2e-13, 9e-12)),
    "laplace": (gp.GeneralizedGaussianPrior(mu=2.1, sigma=0.3, eta=1.0), 2.0, (1.2, 2.9)),
    "pointed": (gp.GeneralizedGaussianPrior(mu=2.1, sigma=0.3, eta=0.3), 2.0, (1.2, 2.9)),
    "normal as a special case": (gp.GeneralizedGaussianPrior(mu=2.1, sigma=0.3, eta=0.5), 2.0, (1.2, 2.9)),
}


def variable(parameter, role=Role.REAL):
    with pm.Model() as model:
        prior_variable("x", parameter, role)
    return model


def log_density(model, values):
    x = pt.dvector("x")
    return pytensor.function([x], pm.logp(model["x"], x), mode="FAST_COMPILE")(np.atleast_1d(values))


def total_probability(model):
    """Integral of the density that a sampler sees, over its unbounded coordinate."""
    value = model.rvs_to_values[model["x"]]
    logp = model.compile_logp(mode="FAST_COMPILE")
    start = float(model.initial_point()[value.name])
    nodes = start + 30 * np.sinh(np.linspace(-6, 6, 1201)) / np.sinh(6)
    return integrate.trapezoid([np.exp(logp({value.name: node})) for node in nodes], x=nodes)


@pytest.mark.parametrize("case", PRIORS)
def test_density_is_that_of_gammapy(case):
    prior, value, (low, high) = PRIORS[case]
    parameter = Parameter("x", value, prior=prior)
    points = np.geomspace(low, high, 7)
    theirs = []
    for point in points:
        parameter.value = point
        theirs.append(prior(parameter))
    parameter.value = value
    assert -2 * log_density(variable(parameter), points) == pytest.approx(np.array(theirs), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("limits", [(np.nan, np.nan), (1.7, np.nan), (np.nan, 2.3), (1.7, 2.3)])
@pytest.mark.parametrize("case", PRIORS)
def test_it_is_a_probability_within_the_limits(case, limits, seed):
    prior, value, _ = PRIORS[case]
    if case == "log-uniform":
        limits = tuple(limit * 5e-13 for limit in limits)
    model = variable(Parameter("x", value, prior=prior, min=limits[0], max=limits[1]))
    assert total_probability(model) == pytest.approx(1.0, rel=1e-3)
    lower, upper = (float(edge) for edge in support(model, prior, limits))
    draws = pm.draw(model["x"], 400, random_seed=seed, mode="FAST_COMPILE")
    assert lower <= draws.min() <= draws.max() <= upper
    grid = np.geomspace(lower, upper, 4001) if case == "log-uniform" else np.linspace(lower, upper, 4001)
    cumulative = integrate.cumulative_trapezoid(np.exp(log_density(model, grid)), grid, initial=0)
    assert stats.kstest(draws, lambda x: np.interp(x, grid, cumulative)).pvalue > 1e-3


def support(model, prior, limits):
    """Where a variable may lie; far into the tails, where there is no limit."""
    if isinstance(prior, gp.UniformPrior | gp.LogUniformPrior):
        return prior.min.value, prior.max.value  # gammapy takes no other limits then
    return tuple(np.where(np.isnan(limits), (prior.mu.value - 8, prior.mu.value + 8), limits))


def test_weights():
    parameter = Parameter("x", 2.0, prior=gp.GaussianPrior(mu=2.0, sigma=0.5, weight=4))
    assert log_density(variable(parameter), 2.3)[0] == pytest.approx(stats.norm(2, 0.25).logpdf(2.3))
    parameter.prior = gp.GeneralizedGaussianPrior(mu=2.0, sigma=0.5, eta=1.0, weight=2)
    assert log_density(variable(parameter), 2.3)[0] == pytest.approx(stats.laplace(2, 0.5 * 2**-0.5).logpdf(2.3))
    parameter.prior = gp.LogUniformPrior(min=1, max=3, weight=2)
    with pytest.raises(ModelError, match="x: a LogUniformPrior of weight 2"):
        variable(parameter)


@pytest.mark.parametrize(
    ("role", "value", "expected"),
    [
        (Role.SCALE, 3e-12, stats.lognorm(DEFAULT_WIDTH[Role.SCALE], scale=3e-12)),
        (Role.POSITIVE, 0.05, stats.lognorm(1.0, scale=0.05)),
        (Role.REAL, 2.3, stats.norm(2.3, 1.0)),
    ],
)
def test_default_priors(role, value, expected):
    points = value * np.array([0.3, 0.9, 2.5])
    assert log_density(variable(Parameter("x", value), role), points) == pytest.approx(expected.logpdf(points))
    limited = Parameter("x", value, min=0.5 * value, max=2 * value)
    inside = np.log(expected.cdf(2 * value) - expected.cdf(0.5 * value))
    found = log_density(variable(limited, role), points)
    assert found[1] == pytest.approx(expected.logpdf(points[1]) - inside)
    assert found[0] == found[2] == -np.inf
    assert total_probability(variable(limited, role)) == pytest.approx(1.0, rel=1e-3)


def test_scales_are_not_negative_whatever_the_prior():
    parameter = Parameter("x", 1e-12, prior=gp.GaussianPrior(mu=1e-12, sigma=2e-12))
    model = variable(parameter, Role.SCALE)
    assert log_density(model, -1e-13)[0] == -np.inf
    assert pm.draw(model["x"], 200, random_seed=1, mode="FAST_COMPILE").min() > 0
    parameter.prior = gp.UniformPrior(min=-1e-11, max=1e-11)
    assert log_density(variable(parameter, Role.SCALE), 5e-12)[0] == pytest.approx(-np.log(1e-11))


@pytest.mark.parametrize("prior", [None, gp.GaussianPrior(mu=1e-12, sigma=1e-13), gp.UniformPrior(min=0, max=1e-11)])
def test_a_sampler_sees_numbers_of_order_one(prior):
    model = variable(Parameter("x", 1e-12, prior=prior), Role.SCALE)
    value = model.rvs_to_values[model["x"]]
    point = model.initial_point()
    second = model.compile_d2logp(negate_output=False, mode="FAST_COMPILE")(point)
    assert abs(float(point[value.name])) < 40
    assert 1e-3 < abs(float(np.squeeze(second))) < 1e4


@pytest.mark.parametrize("limits", [{}, {"min": 1e-13}, {"max": 1e-11}, {"min": 1e-13, "max": 1e-11}])
@pytest.mark.parametrize(
    "prior",
    [
        None,
        gp.GaussianPrior(mu=1e-12, sigma=1e-12),
        gp.UniformPrior(min=0, max=1e-11),
        gp.LogUniformPrior(min=1e-13, max=1e-11),
        gp.GeneralizedGaussianPrior(mu=1e-12, sigma=1e-12, eta=0.4),
    ],
)
def test_sampling_starts_at_the_scale_of_the_parameter(prior, limits):
    model = variable(Parameter("x", 1e-12, prior=prior, **limits), Role.SCALE)
    assert all(value is None for value in model.rvs_to_initial_values.values()), "pm.observe would refuse the model"
    point = model.initial_point()
    assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(point))
    (value,) = model.value_vars
    (x,) = model.replace_rvs_by_values([model["x"]])
    start = float(x.eval({value: point[value.name]}, mode="FAST_COMPILE"))
    assert 1e-14 < start < 1e-10


@pytest.mark.parametrize("prior", [None, gp.GaussianPrior(mu=2, sigma=1), gp.LogUniformPrior(min=1, max=4)])
@pytest.mark.parametrize("limits", [{}, {"min": 1.0, "max": 4.0}])
def test_nested_sampling_knows_the_quantiles(prior, limits, seed):
    model = variable(Parameter("x", 2.0, prior=prior, **limits), Role.POSITIVE)
    with model:
        pm.Normal("y", model["x"], 1, observed=2.0)
    transform = prior_transform(model)
    draws = pm.draw(model["x"], 400, random_seed=seed, mode="FAST_COMPILE")
    low, high = (float(transform(np.array([u]))[0]) for u in (0.3, 0.7))
    assert stats.binomtest(int(np.sum((draws > low) & (draws < high))), 400, 0.4).pvalue > 1e-3


class NewPrior(gp.Prior):
    tag = ["NewPrior"]  # noqa: RUF012, gammapy's form
    _type = "prior"


@pytest.mark.parametrize(
    ("parameter", "role", "message"),
    [
        (Parameter("x", 0.0), Role.SCALE, "x: its value 0 must lie between its limits 0 and inf"),
        (Parameter("x", -1.0), Role.POSITIVE, "must lie between"),
        (Parameter("x", 5.0, max=4.0), Role.REAL, "x: its value 5 must lie"),
        (Parameter("x", 5.0, min=4.0, max=4.0), Role.REAL, "no number between"),
        (Parameter("x", 1.0, prior=gp.GaussianPrior(mu=1, sigma=0)), Role.REAL, "positive widths"),
        (Parameter("x", 1.0, prior=gp.GaussianPrior(mu=1, sigma=1, weight=0)), Role.REAL, "positive weight"),
        (Parameter("x", 1.0, prior=gp.LogUniformPrior(min=0, max=2)), Role.REAL, "0 < min < max"),
        (
            Parameter("x", 1.0, prior=gp.GaussianPrior(mu=PriorParameter("mu", "1 TeV"), sigma=1)),
            Role.REAL,
            "mu of its GaussianPrior",
        ),
        (Parameter("x", 1.0, prior=NewPrior()), Role.REAL, "its prior NewPrior has no counterpart"),
    ],
)
def test_bad_priors_are_named(parameter, role, message):
    with pytest.raises(ModelError, match=message):
        variable(parameter, role)
