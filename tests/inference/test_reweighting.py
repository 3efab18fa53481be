"""Posteriors under other priors, against posteriors that are known in closed form, and against sampling anew."""

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, PymcGammaWarning

N = (4, 2500)


def dataset(**draws):
    names = {name: ("chain", "draw", *(f"{name}_{k}" for k in range(np.ndim(v) - 2))) for name, v in draws.items()}
    return xr.Dataset({name: (names[name], value) for name, value in draws.items()})


def agrees(found, name, mean, sd):
    """Weighted mean within 4.5 standard errors, and standard deviation within 7 %."""
    weight = np.exp(found["weighted"].log_weight)
    values = found["weighted"][name]
    np.testing.assert_allclose(weight.sum(), 1, rtol=1e-10)
    average = (weight * values).sum(("chain", "draw"))
    spread = np.sqrt((weight * (values - average) ** 2).sum(("chain", "draw")))
    assert np.all(np.abs(average - mean) < 4.5 * np.asarray(sd) / np.sqrt(found.attrs["ess"]))
    np.testing.assert_allclose(spread, sd, rtol=0.07)
    equal = found["posterior"][name]
    assert equal.sizes["draw"] == int(found.attrs["ess"])
    assert np.all(np.abs(equal.mean(("chain", "draw")) - mean) < 6 * np.asarray(sd) / np.sqrt(found.attrs["ess"]))


class TestKnownPosteriors:
    def test_normal(self, rng):
        """N(0, 2) -> N(1, 0.8), one datum of 1.5 +- 1."""
        with pm.Model() as model:
            pm.Normal("y", pm.Normal("mu", 0, 2), 1, observed=1.5)
        draws = rng.normal(1.5 * 4 / 5, np.sqrt(4 / 5), N)
        found = pmg.reweight(dataset(mu=draws), model, {"mu": pm.Normal.dist(1, 0.8)}, random_seed=1)
        precision = 1 + 1 / 0.8**2
        agrees(found, "mu", (1.5 + 1 / 0.8**2) / precision, precision**-0.5)
        assert found.attrs["pareto_k"] < 0.5

    def test_rate_with_log_transform(self, rng):
        """Gamma(2, 1) -> Gamma(4, 2), 20 counts in 5: no Jacobian of the transform is left over."""
        with pm.Model() as model:
            pm.Poisson("n", pm.Gamma("rate", 2, 1), observed=[3, 5, 4, 2, 6])
        draws = rng.gamma(22, 1 / 6, N)
        for prior in (pm.Gamma.dist(4, 2), lambda rate: 3 * pm.math.log(rate) - 2 * rate):
            found = pmg.reweight(dataset(rate=draws), model, {"rate": prior}, random_seed=1)
            agrees(found, "rate", 24 / 7, np.sqrt(24) / 7)

    def test_probability_with_interval_transform(self, rng):
        with pm.Model() as model:
            pm.Binomial("n", 10, pm.Uniform("p", 0, 1), observed=3)
        found = pmg.reweight(dataset(p=rng.beta(4, 8, N)), model, {"p": pm.Beta.dist(3, 2)}, random_seed=1)
        new = stats.beta(6, 9)
        agrees(found, "p", new.mean(), new.std())

    def test_dirichlet(self, rng):
        with pm.Model() as model:
            pm.Multinomial("n", 20, pm.Dirichlet("f", np.ones(3)), observed=[4, 6, 10])
        draws = rng.dirichlet([5, 7, 11], N)
        found = pmg.reweight(dataset(f=draws), model, {"f": pm.Dirichlet.dist([3.0, 1.0, 2.0])}, random_seed=1)
        new = stats.dirichlet([7, 7, 12])
        agrees(found, "f", new.mean(), np.sqrt(new.var()))

    def test_discrete(self, rng):
        with pm.Model() as model:
            pm.Normal("y", pm.Poisson("k", 3.0), 1.0, observed=4.0)
        k = np.arange(40)

        def posterior(rate):
            p = stats.poisson(rate).pmf(k) * stats.norm(4, 1).pdf(k)
            return p / p.sum()

        draws = rng.choice(k, N, p=posterior(3.0))
        found = pmg.reweight(dataset(k=draws), model, {"k": pm.Poisson.dist(4.5)}, random_seed=1)
        new = posterior(4.5)
        mean = new @ k
        agrees(found, "k", mean, np.sqrt(new @ (k - mean) ** 2))
        assert found["posterior"].k.dtype.kind == "i"

    @pytest.mark.parametrize("which", ["mu", "theta"])
    def test_hierarchy(self, rng, which):
        """The prior of a variable that others hang on, and one that hangs on another: both are Gaussian."""
        y = np.array([0.5, 2.0, 1.0])
        with pm.Model() as model:
            mu = pm.Normal("mu", 0, 1.5)
            theta = pm.Normal("theta", mu, 1.0, shape=3)
            pm.Normal("y", theta, 1, observed=y)

        def gaussian(mean, sd, scatter):
            """Mean and covariance of (mu, theta)."""
            precision = np.zeros((4, 4))
            precision[0, 0] = 1 / sd**2 + 3 / scatter**2
            precision[1:, 1:] = np.eye(3) * (1 + 1 / scatter**2)
            precision[0, 1:] = precision[1:, 0] = -1 / scatter**2
            covariance = np.linalg.inv(precision)
            return covariance @ [mean / sd**2, *y], covariance

        draws = rng.multivariate_normal(*gaussian(0, 1.5, 1.0), N)
        posterior = dataset(mu=draws[..., 0], theta=draws[..., 1:])
        prior, new = {
            "mu": (pm.Normal.dist(1, 1), gaussian(1, 1, 1.0)),
            "theta": (pm.Normal.dist(model["mu"], 0.7), gaussian(0, 1.5, 0.7)),
        }[which]
        found = pmg.reweight(posterior, model, {which: prior}, random_seed=1)
        agrees(found, "mu", new[0][0], np.sqrt(new[1][0, 0]))
        agrees(found, "theta", new[0][1:], np.sqrt(np.diag(new[1])[1:]))

    def test_two_at_once(self, rng):
        with pm.Model() as model:
            a, b = pm.Normal("a", 0, 1), pm.Normal("b", 0, 1)
            pm.Normal("y", a, 1, observed=1.0)
            pm.Normal("z", b, 1, observed=-1.0)
        draws = rng.normal([0.5, -0.5], 0.5**0.5, (*N, 2))
        priors = {"a": pm.Normal.dist(0, 0.7), "b": pm.Normal.dist(0.5, 1)}
        found = pmg.reweight(dataset(a=draws[..., 0], b=draws[..., 1]), model, priors, random_seed=1)
        agrees(found, "a", 0.49 / 1.49, np.sqrt(0.49 / 1.49))
        agrees(found, "b", -0.25, 0.5**0.5)


@pytest.mark.slow
def test_against_sampling_anew():
    """Events of a source on background: its norm, and the spectral index that hangs on no other variable."""
    sky = [source("crab", 0.3, -0.2, index=2.3, amplitude=3e-12), pmg.CosmicRayBackground()]
    response = pmg.fold(sky, pointing(hours=1), region(width=1.0, energy=(1.0, 30.0)), free_spectrum=["crab"])
    events = response.simulate(rng=1).binned(8, pixel=0.1 * u.deg)

    def build(index, norm):
        with pm.Model() as model:
            spectrum = pmg.PowerLaw(index=index("index"), amplitude=3e-12 * norm("norm"))
            pmg.ExtendedEventMixture("events", response=response, spectra={"crab": spectrum}, observed=events)
            idata = pm.sample(
                500, tune=300, chains=2, cores=1, random_seed=1, progressbar=False, compute_convergence_checks=False
            )
        return model, idata

    model, idata = build(lambda n: pm.Normal(n, 2.3, 0.5), lambda n: pm.LogNormal(n, 0, 1))
    new = {"index": pm.Normal.dist(2.0, 0.2), "norm": pm.Gamma.dist(9, 6)}
    _, again = build(lambda n: pm.Normal(n, 2.0, 0.2), lambda n: pm.Gamma(n, 9, 6))
    found = pmg.reweight(idata, model, new, random_seed=1)
    weight = np.exp(found["weighted"].log_weight)
    for name in ("index", "norm"):
        values, wanted = found["weighted"][name], again["posterior"][name]
        n = min(found.attrs["ess"], float(az.ess(again, var_names=[name])[name]))
        mean = float((weight * values).sum())
        assert abs(mean - float(wanted.mean())) < 4.5 * float(wanted.std()) * np.sqrt(2 / n)
        # and the priors matter here
        assert abs(float(wanted.mean() - values.mean())) > 0.2 * float(wanted.std())
    assert "observed_data" in found.children


class TestWarnings:
    @pytest.fixture
    def model(self):
        with pm.Model() as model:
            pm.Normal("y", pm.Normal("mu", 0, 1), 1, observed=0.0)
        return model

    @pytest.fixture
    def posterior(self, rng):
        return dataset(mu=rng.normal(0, 0.5**0.5, N))

    def test_pareto_k(self, model, posterior):
        """A wider posterior than that of the draws: the variance of the weights is infinite, k is above 0.7."""
        with pytest.warns(
            PymcGammaWarning, match=r"Pareto k of the weights for the new priors of \['mu'\] is .* sample"
        ):
            found = pmg.reweight(posterior, model, {"mu": lambda mu: 0.45 * mu**2 + 0.45 * mu**2}, random_seed=1)
        assert found.attrs["pareto_k"] > 0.7

    def test_few_effective(self, model, posterior):
        with pytest.warns(PymcGammaWarning, match=r"draws are effective|Pareto k"):
            pmg.reweight(posterior, model, {"mu": pm.Normal.dist(8, 1)}, random_seed=1)

    def test_new_prior_where_the_old_one_was_zero(self, rng):
        with pm.Model() as model:
            pm.Normal("y", pm.Uniform("mu", 0, 1), 1, observed=0.0)
        posterior = dataset(mu=rng.random(N))
        with pytest.warns(PymcGammaWarning, match=r"\d+% of the new prior of 'mu' lies where the old one is zero"):
            pmg.reweight(posterior, model, {"mu": pm.Uniform.dist(0, 2)}, random_seed=4)

    def test_same_prior(self, model, posterior):
        found = pmg.reweight(posterior, model, {"mu": pm.Normal.dist(0, 1)}, random_seed=1)
        assert found.attrs["ess"] == pytest.approx(10_000)
        assert found.attrs["pareto_k"] == -np.inf
        np.testing.assert_array_equal(
            np.sort(found["posterior"].mu.values.ravel()), np.sort(posterior.mu.values.ravel())
        )

    def test_a_part_cut_off(self, model, posterior):
        """Truncation: equal weights of those that are left, none of the others."""
        found = pmg.reweight(posterior, model, {"mu": lambda mu: -0.5 * mu**2 + pm.math.log(mu > 0)}, random_seed=1)
        assert found.attrs["ess"] == pytest.approx(float((posterior.mu > 0).sum()))
        assert (found["posterior"].mu > 0).all()

    def test_number_of_draws(self, model, posterior):
        found = pmg.reweight(posterior, model, {"mu": pm.Normal.dist(0, 0.9)}, n_draws=17, random_seed=1)
        assert found["posterior"].sizes["draw"] == 17


class TestBadInput:
    @pytest.fixture
    def model(self):
        with pm.Model() as model:
            mu = pm.Normal("mu", 0, 1, shape=2)
            pm.Deterministic("twice", 2 * mu)
            pm.Normal("y", mu, 1, observed=[0.0, 1.0])
        return model

    @pytest.mark.parametrize(
        ("priors", "error", "message"),
        [
            ({}, ModelError, "new_priors is empty"),
            ({"mv": pm.Normal.dist}, ModelError, "has no variable 'mv'; it has 'mu'"),
            ({"twice": pm.Normal.dist()}, ModelError, "no variable 'twice'"),
            ({"y": pm.Normal.dist()}, ModelError, "no variable 'y'"),
            ({"mu": 3.0}, TypeError, "must be a distribution such as"),
            ({"mu": pm.Normal.dist(shape=3)}, ModelError, "has the shape"),
            ({"mu": pm.Normal.dist(shape=(4, 2))}, ModelError, "has the shape"),
            ({"mu": pm.Poisson.dist(3)}, ModelError, "a density is no probability"),
            ({"mu": pm.Uniform.dist(100, 101)}, ModelError, "no draw is possible"),
            ({"mu": lambda mu: np.nan * mu}, ModelError, "is not a number at 10 of 10 draws"),
            (
                {"mu": pm.Normal.dist(0, -1)},
                ModelError,
                r"\['mu'\] has a parameter that is impossible at a draw \(sigma",
            ),
        ],
    )
    def test_refused(self, model, rng, priors, error, message):
        with pytest.raises(error, match=message):
            pmg.reweight(dataset(mu=rng.normal(size=(1, 10, 2))), model, priors)

    def test_posterior_without_the_variable(self, model, rng):
        with pytest.raises(ModelError, match="'mu', which the posterior does not hold"):
            pmg.reweight(dataset(nu=rng.normal(size=(1, 10))), model, {"mu": pm.Normal.dist()})

    def test_empty_posterior(self, model):
        with pytest.raises(ModelError, match="no draws to reweight"):
            pmg.reweight(dataset(mu=np.zeros((1, 0, 2))), model, {"mu": pm.Normal.dist()})
