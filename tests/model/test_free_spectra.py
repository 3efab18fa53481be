"""`EventMixture` with spectra: values, predictive draws, sampling, bad input."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pymc.model.transform.conditioning import remove_value_transforms
from scipy import stats
from setups import P_VALUE, pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError
from pymc_gamma.ops import LogMatVecSum

INDEX, LAMBDA = 2.2, 0.08
N_EVENTS = 1500


def sky(index=INDEX, lambda_=LAMBDA):
    from gammapy.modeling.models import ExpCutoffPowerLawSpectralModel, PointSpatialModel

    spatial = PointSpatialModel(lon_0=0.3 * u.deg, lat_0=-0.2 * u.deg, frame="galactic")
    spectral = ExpCutoffPowerLawSpectralModel(index=index, lambda_=lambda_ / u.TeV)
    return [pmg.SkySource("crab", spatial, spectral), pmg.CosmicRayBackground()]


@pytest.fixture(scope="module")
def response():
    return pmg.fold(sky(), pointing(), region(width=2.0), free_spectrum=["crab"])


@pytest.fixture(scope="module")
def events(response):
    return response.simulate([2, 1], N_EVENTS, rng=11)


def model_of(response, **kwargs):
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
        index = pm.Normal("index", 2.3, 0.3)
        lambda_ = pm.HalfNormal("lambda_", 0.2)
        spectra = {"crab": pmg.ExpCutoffPowerLaw(index=index, lambda_=lambda_)}
        pmg.EventMixture("events", fraction, response=response, spectra=spectra, **kwargs)
    return model


POINT = {"fraction": np.array([0.6, 0.4]), "index": np.array(2.4), "lambda_": np.array(0.03)}


def events_logp(model):
    free = remove_value_transforms(model)
    return free.compile_logp(vars=[free["events"]], jacobian=False)


def expected_logp(events, point):
    """The same from a response folded with that spectrum."""
    fixed = pmg.fold(
        sky(float(point["index"]), float(point["lambda_"])), pointing(), region(width=2.0), energy_true=600
    )
    return np.log(fixed.component_pdf(fixed.event_rows(events)) @ point["fraction"])


@pytest.mark.parametrize("form", ["events", "data"])
def test_value(response, events, form):
    observed = events
    if form == "data":
        with pm.Model(coords=response.coords) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
            index, lambda_ = pm.Normal("index", 2.3, 0.3), pm.HalfNormal("lambda_", 0.2)
            data = pm.Data("data", response.event_rows(events))
            spectra = {"crab": pmg.ExpCutoffPowerLaw(index=index, lambda_=lambda_)}
            pmg.EventMixture("events", fraction, response=response, spectra=spectra, observed=data)
    else:
        model = model_of(response, observed=observed)
    found = events_logp(model)(POINT)
    assert abs(found - expected_logp(events, POINT).sum()) < 0.02


def test_amplitude_cancels(response, events):
    values = []
    for amplitude in (1e-12, 7e-9 * u.Unit("TeV-1 cm-2 s-1")):
        with pm.Model(coords=response.coords) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
            index = pm.Normal("index", 2.3, 0.3)
            spectra = {"crab": pmg.PowerLaw(index=index, amplitude=amplitude)}
            pmg.EventMixture("events", fraction, response=response, spectra=spectra, observed=events)
        values.append(events_logp(model)({key: POINT[key] for key in ("fraction", "index")}))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)


def test_one_pass_and_its_gradient(response, events):
    model = model_of(response, observed=events)
    wrapper = model.logp_dlogp_function(ravel_inputs=True)
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    family = [n.op for n in function.maker.fgraph.toposort() if type(n.op).__name__.startswith("LogMatVec")]
    assert family == [LogMatVecSum(True)]
    x = np.array([0.3, 2.25, -2.0])
    _, gradient = function(x)
    step = 1e-5
    numeric = [(function(x + step * e)[0] - function(x - step * e)[0]) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-3)


def test_pointwise_values_and_jax(response, events):
    pytest.importorskip("jax")
    model = remove_value_transforms(model_of(response, observed=events))
    (logp,) = model.logp(vars=[model["events"]], sum=False, jacobian=False)
    inputs = [model["fraction"], model["index"], model["lambda_"]]
    values = [model.rvs_to_values[rv] for rv in inputs]
    point = [POINT[rv.name] for rv in inputs]
    import pytensor

    found = [pytensor.function(values, logp, mode=mode, on_unused_input="ignore")(*point) for mode in ("NUMBA", "JAX")]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-8)
    np.testing.assert_allclose(found[0], expected_logp(events, POINT), atol=1e-2)


def test_multiplicity_is_repetition(response, events, rng):
    rows = response.event_rows(events)[:200]
    counts = rng.integers(0, 4, len(rows))
    weighted = model_of(response, observed=np.column_stack([rows, counts]))
    repeated = model_of(response, observed=np.repeat(rows, counts, axis=0))
    np.testing.assert_allclose(events_logp(weighted)(POINT), events_logp(repeated)(POINT), rtol=1e-10)


def test_every_component_may_be_free(response):
    both = [sky()[0], source("vela", -0.4, 0.1, index=2.0)]
    free = pmg.fold(both, pointing(), region(width=2.0), free_spectrum=["vela", "crab"])
    assert free.free_spectrum == ("crab", "vela")
    events = free.simulate([1, 1], 300, rng=2)
    with pm.Model(coords=free.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
        index = pm.Normal("index", 2.2, 0.3)
        spectra = {"vela": pmg.PowerLaw(index=index), "crab": pmg.ExpCutoffPowerLaw(index=INDEX, lambda_=LAMBDA)}
        pmg.EventMixture("events", fraction, response=free, spectra=spectra, observed=events)
    found = events_logp(model)({"fraction": POINT["fraction"], "index": np.array(2.0)})
    expected = np.log(free.component_pdf(free.event_rows(events)) @ POINT["fraction"]).sum()
    assert abs(found - expected) < 0.1


class TestPredictive:
    def test_prior(self, response, seed):
        model = model_of(response, n_events=250)
        prior = pm.sample_prior_predictive(6, model=model, random_seed=seed)["prior"]
        assert prior["events"].dims == ("chain", "draw", "event", "reco")
        again = pm.sample_prior_predictive(6, model=model, random_seed=seed)["prior"]
        np.testing.assert_array_equal(prior["events"], again["events"])
        assert len(pmg.Events.from_predictive(prior, response, draw=0)) == 250

    def test_draws_follow_the_spectrum(self, response, seed):
        fixed = pmg.fold(sky(3.0, 0.0), pointing(), region(width=2.0))
        expected = fixed.simulate([1, 0], 3000, rng=seed).energy.value
        spectra = {"crab": pmg.PowerLaw(index=3.0)}
        events = pmg.EventMixture.dist([1.0, 0.0], response=response, spectra=spectra, n_events=3000)
        rows = pm.draw(events, random_seed=seed)
        assert rows.shape == (3000, 3)
        assert stats.ks_2samp(rows[:, 0], expected).pvalue > P_VALUE

    def test_posterior(self, response, events, seed):
        model = model_of(response, observed=events)
        point = {"fraction": np.broadcast_to([1.0, 0.0], (1, 2, 2)), "lambda_": np.zeros((1, 2))}
        import arviz as az

        posterior = point | {"index": np.array([[1.7, 3.5]])}
        idata = az.from_dict({"posterior": posterior}, coords=response.coords, dims={"fraction": ["component"]})
        drawn = pm.sample_posterior_predictive(idata, model=model, random_seed=seed, progressbar=False)
        energy = drawn["posterior_predictive"]["events"].sel(reco="energy")
        hard, soft = (float(np.log(energy.isel(chain=0, draw=i)).mean()) for i in (0, 1))
        assert hard > soft + 0.3

    def test_support_point_is_a_valid_event(self, response):
        model = model_of(response, n_events=3)
        assert np.isfinite(model.compile_logp()(model.initial_point()))


def test_observe_events(response, events):
    model = pmg.observe_events(model_of(response, n_events=10), events)
    expected = events_logp(model_of(response, observed=events))(POINT)
    np.testing.assert_allclose(events_logp(model)(POINT), expected, rtol=1e-10)


def test_sampling_recovers_index_and_cutoff(response, seed):
    """Point source, index and cut-off free: clean chains, the truth within three standard deviations."""
    import arviz as az

    events = response.simulate([2, 1], 6000, rng=seed)
    with model_of(response, observed=events):
        idata = pm.sample(1000, tune=1000, chains=4, cores=2, random_seed=seed, progressbar=False, quiet=True)
    assert int(idata["sample_stats"]["diverging"].sum()) == 0
    summary = az.summary(idata, round_to="none")
    assert summary["r_hat"].max() < 1.01
    for name, truth in {"index": INDEX, "lambda_": LAMBDA, "fraction[crab]": 2 / 3}.items():
        assert abs(summary.loc[name, "mean"] - truth) < 3 * summary.loc[name, "sd"], name


@pytest.mark.parametrize(
    ("spectra", "error", "message"),
    [
        (None, ModelError, r"leaves the spectrum of \['crab'\] to the model"),
        ({}, ModelError, r"leaves the spectrum of \['crab'\]"),
        ({"crab": pmg.PowerLaw(), "ccr": pmg.PowerLaw()}, ModelError, r"folded with a fixed spectrum"),
        ({"crab": pmg.PowerLaw(), "vela": pmg.PowerLaw()}, ModelError, r"\['vela'\], but the components"),
        ({"crab": 2.2}, ModelError, "must be a function of the energy"),
        ({"crab": lambda energy: pt.sum(energy)}, ModelError, "must return a vector"),
        ({"crab": lambda energy: energy[:5]}, ModelError, "must return a vector"),
        ({"crab": lambda energy: energy * u.TeV}, u.UnitConversionError, "spectrum of 'crab'"),
        ({"crab": lambda energy: None}, ModelError, "spectrum of 'crab' must return numbers.*got NoneType"),
        ({"crab": lambda energy: "1e-12"}, ModelError, "spectrum of 'crab' must return numbers.*got str"),
        ({"crab": lambda energy: {"flux": energy}}, ModelError, "spectrum of 'crab' must return numbers.*got dict"),
        ({"crab": lambda energy: [None, *energy[1:]]}, ModelError, "spectrum of 'crab' must return numbers.*got list"),
        ({"crab": lambda: None}, ModelError, "spectrum of 'crab' must be a function of the energy in TeV alone"),
        ({"crab": lambda energy, index: energy}, ModelError, "function of the energy in TeV alone.*'index'"),
        ({"crab": pmg.PowerLaw}, ModelError, r"spectrum of 'crab' is the class PowerLaw itself"),
        ({"crab": lambda energy: 1 - energy}, ModelError, "'crab' is -.* TeV-1 cm-2 s-1 at"),
        ({"crab": lambda energy: np.log(-energy)}, ModelError, "'crab' is nan"),
        ({"crab": lambda energy: 0 * energy}, ModelError, "'crab' is zero at all energies"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # the logarithm of a negative number
def test_bad_spectra(response, events, spectra, error, message):
    with pm.Model(coords=response.coords), pytest.raises(error, match=message):
        pmg.EventMixture("events", [0.5, 0.5], response=response, spectra=spectra, observed=events)


def test_a_spectrum_that_is_negative_at_the_initial_point(response, events):
    with pm.Model(coords=response.coords):
        slope = pm.Normal("slope", 1.0, 1.0)
        with pytest.raises(ModelError, match="initial values"):
            pmg.EventMixture(
                "events",
                [0.5, 0.5],
                response=response,
                spectra={"crab": lambda energy: 1 - slope * energy},
                observed=events,
            )


def test_spectra_for_a_response_without_free_components(events):
    fixed = pmg.fold(sky(), pointing(), region(width=2.0))
    with pm.Model(), pytest.raises(ModelError, match=r"fold with free_spectrum=\['crab'\]"):
        pmg.EventMixture("x", [0.5, 0.5], response=fixed, spectra={"crab": pmg.PowerLaw()}, observed=events)
    with pm.Model(), pytest.raises(ModelError, match="pass it alone"):
        pmg.EventMixture("x", [0.5, 0.5], log_likelihood=np.zeros((4, 2)), spectra={"crab": pmg.PowerLaw()})


def test_gammapy_models_are_functions_too(response, events):
    from gammapy.modeling.models import PowerLawSpectralModel

    values = []
    for spectrum in (PowerLawSpectralModel(index=2.4), pmg.PowerLaw(index=2.4)):
        with pm.Model(coords=response.coords) as model:
            fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
            pmg.EventMixture("events", fraction, response=response, spectra={"crab": spectrum}, observed=events)
        values.append(events_logp(model)({"fraction": POINT["fraction"]}))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)
