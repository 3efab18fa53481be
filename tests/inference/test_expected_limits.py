"""Expected limits: marginal posteriors against quadrature and samples, swapped events against models of their own."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from scipy import stats
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma import darkmatter
from pymc_gamma.errors import ModelError, PymcGammaWarning
from pymc_gamma.inference.marginal import MarginalPosterior

J_FACTOR = 1e22 * u.GeV**2 / u.cm**5
MASSES = [0.8, 2.0] * u.TeV


@pytest.fixture(scope="module")
def response():
    sky = [source("dm", 0.0, 0.0, sigma=0.15, amplitude=1e-12), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=20), region(width=1.2, energy=(0.5, 10.0)), free_spectrum=["dm"])


@pytest.fixture(scope="module")
def null(response):
    dark = {"dm": darkmatter.Annihilation(1.0, 0.0, "gamma", j_factor=J_FACTOR)}
    return response.asimov(energy=16, pixel=0.3 * u.deg, spectra=dark)


@pytest.fixture(scope="module")
def build(response):
    def build(events, mass):
        with pm.Model() as model:
            sigmav = pm.Uniform("sigmav", 0, 100)  # 1e-27 cm3 s-1
            norm = pm.LogNormal("norm", 0, 0.1)
            spectrum = darkmatter.Annihilation(mass, 1e-27 * sigmav, "gamma", j_factor=J_FACTOR)
            pmg.ExtendedEventMixture(
                "events", response=response, spectra={"dm": spectrum}, norms={"ccr": norm}, observed=events
            )
        return model

    return build


def test_asimov_data_alone(build, null):
    found = pmg.expected_limits(build, null, MASSES[:1], n=0, progressbar=False)
    assert found["asimov"].values == pytest.approx(pmg.observed_limits(build, null, MASSES[:1], progressbar=False))
    assert found["limit"].shape == (1, 0)
    assert np.isnan(found["quantiles"]).all()


class TestMarginalPosterior:
    """Models of a parameter and Gaussian others have posteriors in closed form."""

    @pytest.mark.parametrize("probability", [0.1, 0.5, 0.95])
    def test_without_others(self, probability):
        with pm.Model() as model:
            pm.Poisson("n", pm.Gamma("rate", 2, 1), observed=1)
        found = MarginalPosterior(model, "rate").quantile(probability)
        assert found == pytest.approx(stats.gamma(3, scale=0.5).ppf(probability), rel=1e-3)

    @pytest.mark.parametrize("observed", [-2.0, 0.0, 3.0])
    def test_with_a_gaussian_other(self, observed):
        """y = s + b, s >= 0 flat, b Gaussian: a truncated normal of both errors together."""
        with pm.Model() as model:
            pm.Normal("y", pm.Uniform("s", 0, 100) + pm.Normal("b", 0, 0.7), 1, observed=observed)
        sd = np.hypot(1, 0.7)
        wanted = stats.truncnorm(-observed / sd, (100 - observed) / sd, observed, sd).ppf(0.95)
        assert MarginalPosterior(model, "s").quantile(0.95) == pytest.approx(wanted, rel=2e-3)

    def test_correlated_others(self):
        """Gaussian of five dimensions, the marginal of one of them."""
        rng = np.random.default_rng(1)
        root = rng.normal(size=(5, 5))
        covariance = root @ root.T + 0.1 * np.eye(5)
        with pm.Model() as model:
            a, b = pm.Normal("a", 0, 1e3), pm.Normal("b", 0, 1e3, shape=4)
            pm.MvNormal("y", pm.math.concatenate([[a], b]), covariance, observed=np.arange(5.0))
        wanted = stats.norm(0, np.sqrt(covariance[0, 0])).ppf(0.95)
        assert MarginalPosterior(model, "a").quantile(0.95) == pytest.approx(wanted, rel=1e-3)

    def test_many_times_the_same(self):
        with pm.Model() as model:
            pm.Poisson("n", pm.Gamma("rate", 2, 1), observed=1)
        posterior = MarginalPosterior(model, "rate")
        assert posterior.quantile(0.9) == pytest.approx(posterior.quantile(0.9), rel=1e-6)

    @pytest.mark.slow
    def test_against_samples_of_events(self, build, null):
        model = build(null, 1.0)
        found = MarginalPosterior(model, "sigmav").quantile(0.95)
        with model:
            idata = pm.sample(
                1500, tune=500, chains=2, cores=1, random_seed=1, progressbar=False, compute_convergence_checks=False
            )
        sampled = pmg.upper_limit(idata, "sigmav", 0.95)
        assert abs(found - float(sampled)) < 4 * float(sampled.mcse) + 0.01 * found

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("sigma", "no variable 'sigma'; did you mean 'sigmav'"),
            ("vector", "of a single number"),
            ("bounded", "depends on other variables"),
        ],
    )
    def test_refused(self, name, message):
        with pm.Model() as model:
            sigmav, vector = pm.HalfNormal("sigmav"), pm.Normal("vector", shape=3)
            bounded = pm.Uniform("bounded", 0, sigmav)
            pm.Normal("y", sigmav + vector.sum() + bounded, observed=1.0)
        with pytest.raises(ModelError, match=message):
            MarginalPosterior(model, name)

    def test_discrete(self):
        with pm.Model() as model:
            pm.Normal("y", pm.HalfNormal("sigmav") + pm.Poisson("n", 2), observed=1.0)
        with pytest.raises(ModelError, match=r"\['n'\] are discrete"):
            MarginalPosterior(model, "sigmav")

    def test_improper(self):
        with pm.Model() as model:
            pm.Normal("y", 0 * pm.Flat("sigmav"), observed=1.0)
        with pytest.raises((ModelError, np.linalg.LinAlgError)):
            MarginalPosterior(model, "sigmav").quantile(0.9)


@pytest.fixture(scope="module")
def found(build, null):
    return pmg.expected_limits(build, null, MASSES, n=6, random_seed=2, progressbar=False)


class TestExpectedLimits:
    def test_result(self, found):
        assert found.sizes == {"mass": 2, "simulation": 6, "quantile": 5}
        assert found["mass"].attrs["units"] == "TeV"
        assert np.isfinite(found["limit"]).all()
        assert np.all(np.diff(found["quantiles"], axis=1) >= 0)
        np.testing.assert_allclose(found["quantiles"][:, 2], found["limit"].median("simulation"))
        assert 0.4 < float((found["asimov"] / found["quantiles"][:, 2]).mean()) < 2

    def test_swapped_events_are_those_of_models_of_their_own(self, found, build, null):
        """One compilation for all masses and simulations gives what a model of each does."""
        counts = np.random.default_rng([2, 3]).poisson(null.multiplicity)
        cells = null[counts > 0]
        events = pmg.Events(
            cells.energy,
            cells.lon,
            cells.lat,
            multiplicity=counts[counts > 0].astype(float),
            cells=cells.cells,
            frame="galactic",
        )
        for j, mass in enumerate(MASSES.value):
            own = MarginalPosterior(build(events, float(mass)), "sigmav").quantile(0.95)
            assert float(found["limit"][j, 3]) == pytest.approx(own, rel=1e-4)
            asimov = MarginalPosterior(build(null, float(mass)), "sigmav").quantile(0.95)
            assert float(found["asimov"][j]) == pytest.approx(asimov, rel=1e-4)

    def test_observed(self, found, build, null, response):
        """The limits of Asimov data, and of single events those of a model of theirs."""
        limits = pmg.observed_limits(build, null, MASSES, progressbar=False)
        np.testing.assert_allclose(limits, found["asimov"], rtol=1e-6)
        assert limits["mass"].attrs["units"] == "TeV"
        assert limits.attrs == {"probability": 0.95}
        events = response.simulate({"ccr": 1}, 500, rng=1)
        single = pmg.observed_limits(build, events, MASSES[:1], variable="norm", probability=0.5, progressbar=False)
        wanted = MarginalPosterior(build(events, MASSES[0].value), "norm").quantile(0.5)
        assert float(single[0]) == pytest.approx(wanted, rel=1e-4)

    def test_more_simulations(self, found, build, null):
        """Those that are known stay, those that are added do not depend on them."""
        counted = []

        def counting(events, mass):
            counted.append(mass)
            return build(events, mass)

        more = pmg.expected_limits(counting, null, MASSES, n=8, random_seed=2, previous=found, progressbar=False)
        np.testing.assert_array_equal(more["limit"][:, :6], found["limit"])
        assert np.isfinite(more["limit"]).all()
        assert len(counted) == 1
        pmg.expected_limits(counting, null, MASSES, n=8, random_seed=2, previous=more, progressbar=False)
        assert len(counted) == 1

    def test_interrupted(self, build, null):
        calls = []

        def limit(model):
            calls.append(model)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return float(len(calls))

        keywords = {"n": 2, "rebuild": True, "progressbar": False}
        with pytest.warns(PymcGammaWarning, match="pass previous="):
            part = pmg.expected_limits(build, null, MASSES, limit=limit, **keywords)
        assert int(np.isfinite(part["limit"]).sum()) == 1
        whole = pmg.expected_limits(build, null, MASSES, limit=lambda model: 9.0, previous=part, **keywords)
        assert whole["limit"].values.tolist() == [[2.0, 9.0], [9.0, 9.0]]
        assert whole["asimov"].values.tolist() == [1.0, 9.0]

    def test_simulated_events(self, build, response):
        """Single events, with a model for each; no Asimov data."""
        quiet = response.with_spectra(norms={"dm": 0.0})
        seen = []

        def limit(model):
            seen.append(model)
            return 1.0 + len(seen)

        found = pmg.expected_limits(
            build, lambda rng: quiet.simulate(rng=rng), [1.0] * u.TeV, n=2, limit=limit, progressbar=False
        )
        assert "asimov" not in found
        assert found["limit"].values.tolist() == [[2.0, 3.0]]
        assert [model["events"].owner is not None for model in seen] == [True, True]

    def test_the_null_itself_is_not_changed(self, build, null):
        before = null.multiplicity.copy()
        model = build(null, 1.0)
        pmg.expected_limits(lambda events, mass: model, null, [1.0] * u.TeV, n=1, rebuild=True, progressbar=False)
        np.testing.assert_array_equal(null.multiplicity, before)
        own = MarginalPosterior(model, "sigmav").quantile(0.95)
        assert own == pytest.approx(MarginalPosterior(build(null, 1.0), "sigmav").quantile(0.95), rel=1e-5)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"build": 3}, TypeError, "build must be a function"),
            ({"build": lambda events, mass: 3}, TypeError, "build must return a pymc.Model"),
            ({"null": 3}, TypeError, "null must be Events"),
            ({"null": lambda rng: 3}, TypeError, "null must return Events"),
            ({"null": lambda rng: 3, "n": 0}, ModelError, "n must be at least 1"),
            ({"limit": 3}, TypeError, "limit must be a function"),
            ({"limit": lambda model: np.nan}, ModelError, "limit of Asimov data at 1 TeV is nan"),
            ({"masses": [] * u.TeV}, ModelError, "masses must be a vector of positive masses"),
            ({"masses": [1.0, -1.0] * u.TeV}, ModelError, "masses must be a vector of positive masses"),
            ({"masses": [1.0, 1.0] * u.TeV}, ModelError, "must differ from each other"),
            ({"masses": [1.0] * u.m}, u.UnitConversionError, "masses"),
            ({"variable": "sigma"}, ModelError, "did you mean 'sigmav'"),
        ],
    )
    def test_refused(self, build, null, change, error, message):
        arguments = {"build": build, "null": null, "masses": [1.0] * u.TeV, "n": 1, "progressbar": False, **change}
        with pytest.raises(error, match=message):
            pmg.expected_limits(**arguments)

    def test_previous_of_something_else(self, found, build, null):
        for change in ({"random_seed": 3}, {"masses": [1.0] * u.TeV}, {"probability": 0.9}):
            arguments = {"masses": MASSES, "random_seed": 2, "n": 1, "previous": found, **change}
            with pytest.raises(ModelError, match="previous is a result of other masses or settings"):
                pmg.expected_limits(build, null, progressbar=False, **arguments)

    def test_events_of_two_variables(self, build, null, response):
        def both(events, mass):
            model = build(events, mass)
            with model:
                pmg.ExtendedEventMixture("more", response=response, observed=events)
            return model

        with pytest.raises(ModelError, match="2 variables of observed events"):
            pmg.expected_limits(both, null, [1.0] * u.TeV, n=1, progressbar=False)
