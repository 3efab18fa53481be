"""Best fits against closed forms: maxima, errors, scales far apart, log-densities of 1e9, several maxima, bad input."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, PymcGammaWarning
from pymc_gamma.inference.ascent import ascend

QUICK = {"compile_kwargs": {"mode": "FAST_COMPILE"}}


def counts(n, width=5.0):
    """A Poisson count with a prior that is flat in the logarithm of its rate."""
    with pm.Model() as model:
        log_rate = pm.Flat("log_rate", initval=np.log(n) + width)
        pm.Deterministic("rate", pm.math.exp(log_rate))
        pm.Potential("counts", n * log_rate - pm.math.exp(log_rate))
    return model


@pytest.fixture(scope="module")
def response():
    sky = [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=500_000), region(energy=(0.5, 30.0), width=1.6), free_spectrum=["crab"])


class TestValues:
    def test_linear_regression(self, rng):
        """Value and covariance of the normal equations, with priors, at scales of 1e-12 to 1e6."""
        scale = np.array([1e-12, 1.0, 1e6])
        design = rng.normal(size=(50, 3)) / scale
        y = design @ (scale * [1, 2, 3]) + rng.normal(size=50)
        with pm.Model(coords={"term": ["a", "b", "c"]}) as model:
            b = pm.Normal("b", 0, 3 * scale, dims="term")
            pm.Normal("y", design @ b, 1, observed=y)
        fit = pmg.best_fit(model, **QUICK)
        covariance = np.linalg.inv(design.T @ design + np.diag(1 / (3 * scale) ** 2))
        wanted = covariance @ design.T @ y
        sd = np.sqrt(np.diag(covariance))
        assert fit.converged
        assert fit.value.b.dims == ("term",)
        assert np.all(abs(fit.value.b - wanted) < 2e-3 * sd)
        np.testing.assert_allclose(fit.sd.b, sd, rtol=1e-5)
        np.testing.assert_allclose(
            fit.covariance / np.outer(scale, scale), covariance / np.outer(scale, scale), rtol=1e-4
        )
        assert list(fit.covariance.parameter.values) == ["b[0]", "b[1]", "b[2]"]

    @pytest.mark.parametrize("n", [3, 1e4, 1e8, 1e12])
    def test_large_numbers(self, n):
        fit = pmg.best_fit(counts(n), **QUICK)
        assert abs(fit.value.log_rate - np.log(n)) * np.sqrt(n) < 2e-3
        assert float(fit.sd.log_rate) == pytest.approx(n**-0.5, rel=5e-3)
        assert float(fit.sd.rate) == pytest.approx(n**0.5, rel=2e-2)

    def test_the_two_densities(self):
        """Of a Gamma(a, b) density the maximum is at (a - 1) / b, of its logarithm's at a / b."""
        with pm.Model() as model:
            pm.Gamma("x", 4, 2)
        assert pmg.best_fit(model, **QUICK).value.x.item() == pytest.approx(1.5, rel=1e-3)
        assert pmg.best_fit(model, jacobian=True, **QUICK).value.x.item() == pytest.approx(2.0, rel=1e-3)

    def test_highest_of_several(self):
        with pm.Model() as model:
            x = pm.Flat("x", initval=0.1)
            pm.Potential("two", pm.math.log(0.2 * pm.math.exp(-0.5 * (x + 5) ** 2) + pm.math.exp(-0.5 * (x - 5) ** 2)))
        assert pmg.best_fit(model, start={"x": -4.0}, **QUICK).value.x.item() == pytest.approx(-5, abs=2e-3)
        starts = [{"x": -4.0}, {"x": 6.0}, {"x": -6.0}]
        assert pmg.best_fit(model, start=starts, **QUICK).value.x.item() == pytest.approx(5, abs=2e-3)

    def test_draws(self, seed):
        with pm.Model(coords={"term": ["a", "b"]}) as model:
            x = pm.MvNormal("x", [1, 2], [[1.0, 0.6], [0.6, 2.0]], dims="term")
            pm.Deterministic("sum", x.sum())
        draws = pmg.best_fit(model, **QUICK).draws(4000, random_seed=seed).posterior
        assert draws.x.dims == ("chain", "draw", "term")
        assert list(draws.term.values) == ["a", "b"]
        assert np.allclose(draws["sum"], draws.x.sum("term"))
        assert draws["sum"].std().item() == pytest.approx(4.2**0.5, rel=0.06)
        again = pmg.best_fit(model, **QUICK).draws(4000, random_seed=seed).posterior
        xr.testing.assert_identical(draws, again)

    def test_data_of_the_fit(self, seed):
        """What `pm.set_data` changes after a fit does not change its draws, nor their labels."""
        with pm.Model(coords={"at": ["a", "b"]}) as model:
            t = pm.Data("t", [1.0, 2.0], dims="at")
            x = pm.Normal("x")
            line = pm.Deterministic("line", t * x, dims="at")
            pm.Normal("y", line, 1, observed=[1.0, 2.0])
        fit = pmg.best_fit(model, **QUICK)
        before = fit.draws(5, random_seed=seed).posterior
        with model:
            pm.set_data({"t": [3.0, 4.0, 5.0]}, coords={"at": ["a", "b", "c"]})
        xr.testing.assert_identical(fit.draws(5, random_seed=seed).posterior, before)
        np.testing.assert_allclose(before.line / before.x, [[[1, 2]] * 5])

    def test_context_and_initvals(self):
        with counts(100):
            fit = pmg.best_fit(**QUICK)
        assert list(fit.initvals) == ["log_rate"]
        assert "log_rate: 4.605" in repr(fit)

    def test_start_with_labels(self):
        with pm.Model(coords={"term": ["a", "b"]}) as model:
            pm.Normal("x", 0, 1, dims="term")
            x = model["x"]
            pm.Potential("wells", -10 * ((x**2 - 4) ** 2).sum())
        start = {"x": xr.DataArray([2.0, -2.0], {"term": ["b", "a"]})}
        np.testing.assert_allclose(pmg.best_fit(model, start=start, **QUICK).value.x, [-2, 2], atol=0.02)


class TestEvents:
    """Asimov data of 2e8 events in cells: the optimiser of SciPy stops on the way, this one does not."""

    @pytest.mark.parametrize("index", [1.5, 3.5])
    def test_asimov(self, response, index):
        spectrum = pmg.PowerLaw(index=2.45, amplitude=4e-12)
        events = response.asimov(energy=24, pixel=0.2 * u.deg, spectra={"crab": spectrum}, norms={"ccr": 1.2})
        assert events.n_total > 1e8
        with pm.Model() as model:
            free = pmg.PowerLaw(index=pm.Normal("index", 2, 5), amplitude=pm.LogNormal("amplitude", np.log(1e-12), 5))
            norms = {"ccr": pm.LogNormal("norm", 0, 5)}
            pmg.ExtendedEventMixture("events", response=response, spectra={"crab": free}, norms=norms, observed=events)
        fit = pmg.best_fit(model, start={"index": index, "amplitude": 1e-13}, **QUICK)
        assert fit.converged
        for name, truth in (("index", 2.45), ("amplitude", 4e-12), ("norm", 1.2)):
            # cells hold the counts of a grid of points: the truth is within a few of their errors
            assert abs(fit.value[name] / truth - 1) < 1e-4, name
            assert fit.sd[name] < 1e-2 * truth


class TestAscent:
    @pytest.mark.parametrize("start", [[-1.2, 1.0], [5.0, -5.0], [0.0, 10.0]])
    def test_banana(self, start):
        def function(x):
            r = x[1] - x[0] ** 2
            return -100 * r**2 - (1 - x[0]) ** 2, np.array([400 * x[0] * r + 2 * (1 - x[0]), -200 * r])

        found = ascend(function, np.array(start), tolerance=1e-4, max_steps=200)
        np.testing.assert_allclose(found.x, [1, 1], atol=1e-3)
        np.testing.assert_allclose(np.linalg.inv(found.curvature), [[0.5, 1.0], [1.0, 2.005]], rtol=0.02)
        assert found.concave

    def test_edge(self):
        """-inf outside of where the density is defined."""

        def function(x):
            if x[0] <= 0:
                return -np.inf, np.array([np.nan])
            return 0.01 * np.log(x[0]) - x[0], 0.01 / x - 1

        found = ascend(function, np.array([50.0]), tolerance=1e-4, max_steps=200)
        assert found.x[0] == pytest.approx(0.01, rel=1e-3)

    def test_too_few_steps(self):
        def function(x):
            return -np.sum(np.cosh(x)), -np.sinh(x)

        found = ascend(function, np.array([20.0]), tolerance=1e-6, max_steps=3)
        assert found.distance > 1e-6


class TestBadInput:
    def test_models(self):
        with pm.Model() as empty:
            pm.Potential("p", pm.math.constant(1.0))
        with pytest.raises(ModelError, match="no free variable"):
            pmg.best_fit(empty)
        with pm.Model() as discrete:
            pm.Poisson("n", 3)
        with pytest.raises(ModelError, match=r"discrete: \['n'\]"):
            pmg.best_fit(discrete)
        with pm.Model() as coarse:
            pm.Normal("x")
            pm.Normal("z", dtype="float32")
        with pytest.raises(ModelError, match=r"float64.*\['z'\]"):
            pmg.best_fit(coarse)
        with pytest.raises(TypeError, match="model"):
            pmg.best_fit(3)
        with pytest.raises(TypeError, match="context"):
            pmg.best_fit()

    @pytest.mark.parametrize(
        ("start", "message"),
        [
            ({"log_rat": 1}, "did you mean 'log_rate'"),
            ({"log_rate": [1, 2]}, r"must have shape \(\), got \(2,\)"),
            ({"log_rate": np.nan}, "must be finite"),
            ({"log_rate": 1e4}, "impossible at the start"),
            ({"log_rate": "high"}, "numbers"),
            ([], "empty list"),
            (3, "mapping"),
            ([{"log_rate": 1}, 3], "mapping"),
        ],
    )
    def test_starts(self, start, message):
        with pytest.raises((ValueError, TypeError), match=message):
            pmg.best_fit(counts(10), start=start, **QUICK)

    def test_no_maximum(self):
        """A density that is largest at the end of the prior."""
        with pm.Model() as model:
            x = pm.Uniform("x", 0, 1)
            pm.Potential("up", 3 * x)
        with pytest.warns(PymcGammaWarning, match="no maximum"):
            fit = pmg.best_fit(model, **QUICK)
        assert not fit.converged
        assert "not converged" in repr(fit)
        assert fit.value.x > 0.99

    @pytest.mark.parametrize(
        ("prior", "name"),
        [
            (lambda: pm.HalfNormal("s"), "s_log__"),
            (lambda: pm.Uniform("s", 0, 5), "s_interval__"),
            (lambda: pm.Dirichlet("s", [1, 1, 3, 4, 6, 2]), "s_simplex__"),
        ],
    )
    def test_best_at_an_end(self, prior, name):
        """Unconstrained, the density rises forever: errors would be those of no Gaussian."""
        with pm.Model() as model:
            s = prior()
            other = pm.LogNormal("other", 0, 0.1)
            pm.Normal("y", s.sum() + other, 1, observed=0.5)
        with pytest.warns(PymcGammaWarning, match=rf"hardly falls.*{name}.*jacobian=True"):
            fit = pmg.best_fit(model, **QUICK)
        assert not fit.converged
        inside = pmg.best_fit(model, jacobian=True, **QUICK)
        assert inside.converged
        assert np.all(inside.value.s > 0)

    def test_near_an_end(self):
        """A maximum at 0.4 with an error of 1 is one, although its Gaussian reaches below zero."""
        with pm.Model() as model:
            s = pm.Uniform("s", 0, 10)
            pm.Normal("y", s, 1, observed=0.4)
        fit = pmg.best_fit(model, **QUICK)
        assert fit.converged
        assert fit.value.s.item() == pytest.approx(0.4, abs=2e-3)

    @pytest.mark.parametrize("start", [0.0, 1.0, 2.0])
    def test_start_not_inside(self, start):
        with pm.Model() as model:
            pm.Uniform("s", 0, 1)
            pm.Normal("x", shape=2)
        with pytest.raises(ModelError, match=r"not inside of the range of a variable: \['s_interval__'\]"):
            pmg.best_fit(model, start={"s": start}, **QUICK)
