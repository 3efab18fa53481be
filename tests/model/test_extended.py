"""ExtendedEventMixture: values, gradients, draws of varying length, deterministics, bad input."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from pymc.model.transform.conditioning import remove_value_transforms
from scipy import stats
from setups import P_VALUE, pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.folding.free import FreeComponents
from pymc_gamma.ops.logmatvec import LogMatVecSum
from pymc_gamma.response import densities

INDEX, AMPLITUDE = 2.3, 3e-12


def sky():
    return [
        source("crab", 0.3, -0.2, index=INDEX, amplitude=AMPLITUDE),
        source("halo", 0.0, 0.0, sigma=0.3, index=2.5, amplitude=1e-12),
        pmg.CosmicRayBackground(),
    ]


@pytest.fixture(scope="module")
def response():
    observations = [pointing(hours=1), pointing(lon=0.5, hours=2)]
    return pmg.fold(sky(), observations, region(width=2.0, energy=(0.5, 100)), free_spectrum=["crab", "ccr"])


@pytest.fixture(scope="module")
def fixed():
    return pmg.fold(sky(), pointing(hours=1), region(width=2.0, energy=(0.5, 100)))


@pytest.fixture(scope="module")
def events(response):
    return response.simulate(rng=11)


def model_of(response, **kwargs):
    with pm.Model(coords=response.coords) as model:
        index = pm.Normal("index", 2.4, 0.3)
        amplitude = pm.LogNormal("amplitude", np.log(AMPLITUDE), 0.5)
        halo = pm.LogNormal("halo", 0.0, 0.5)
        norm = pm.LogNormal("norm", 0.0, 0.3, shape=2)
        tilt = pm.Normal("tilt", 0.0, 0.1, shape=2)
        spectra = {
            "crab": pmg.PowerLaw(index=index, amplitude=amplitude),
            "ccr": pmg.PowerLawNorm(norm=norm, tilt=tilt, reference=2 * u.TeV),
        }
        pmg.ExtendedEventMixture("events", response=response, spectra=spectra, norms={"halo": halo}, **kwargs)
    return model


POINT = {
    "index": np.array(2.2),
    "amplitude": np.array(2.5e-12),
    "halo": np.array(1.4),
    "norm": np.array([1.2, 0.9]),
    "tilt": np.array([0.1, -0.2]),
}


def log_likelihood(model, point):
    free = remove_value_transforms(model)
    return float(free.compile_logp(vars=[free["events"]], jacobian=False, mode="FAST_COMPILE")(point))


def expected_log_likelihood(events, point):
    """Poisson log-likelihood from responses folded with those fluxes: no shared columns, no coefficients."""
    total = 0.0
    for o, (lon, hours) in enumerate(((0.0, 1), (0.5, 2))):
        true = [
            source("crab", 0.3, -0.2, index=float(point["index"]), amplitude=float(point["amplitude"])),
            source("halo", 0.0, 0.0, sigma=0.3, index=2.5, amplitude=1e-12 * float(point["halo"])),
            pmg.CosmicRayBackground(),
        ]
        one = pmg.fold(true, pointing(lon=lon, hours=hours), region(width=2.0, energy=(0.5, 100)), energy_true=600)
        mine = events[events.observation == o].with_observation(np.zeros(int((events.observation == o).sum()), int))
        density = one.density(mine)
        shape = float(point["norm"][o]) * (mine.energy.value / 2) ** -float(point["tilt"][o])
        edges = np.geomspace(0.5, 100, 801)
        counts = one.npred(energy=edges * u.TeV).sel(component="ccr").values
        centre = np.sqrt(edges[1:] * edges[:-1])
        background = counts @ (float(point["norm"][o]) * (centre / 2) ** -float(point["tilt"][o]))
        total += np.log(density[:, 0] + density[:, 1] + density[:, 2] * shape).sum()
        total -= float(one.acceptance.sel(component=["crab", "halo"]).sum()) + background
    return total


def test_value(response, events):
    model = model_of(response, observed=events)
    assert abs(log_likelihood(model, POINT) - expected_log_likelihood(events, POINT)) < 0.05


def test_fixed_components_to_rounding(fixed):
    events = fixed.simulate(rng=3)
    with pm.Model(coords=fixed.coords) as model:
        norms = pm.LogNormal("norms", 0, 1, dims="component")
        pmg.ExtendedEventMixture("events", response=fixed, norms=norms, observed=events)
    values = np.array([0.7, 1.3, 1.1])
    expected = np.log(fixed.density(events) @ values).sum() - values @ fixed.acceptance.values
    assert log_likelihood(model, {"norms": values}) == pytest.approx(expected, rel=1e-12)


def test_one_pass_and_its_gradient(response, events):
    model = model_of(response, observed=events)
    wrapper = model.logp_dlogp_function(ravel_inputs=True)
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    family = [n.op for n in function.maker.fgraph.toposort() if type(n.op).__name__.startswith("LogMatVec")]
    assert family == [LogMatVecSum(True)]
    x = np.concatenate([np.ravel(value) for value in model.initial_point().values()]) + 0.05
    _, gradient = function(x)
    step = 1e-5
    numeric = [(function(x + step * e)[0] - function(x - step * e)[0]) / (2 * step) for e in np.eye(len(x))]
    np.testing.assert_allclose(gradient, numeric, rtol=2e-5, atol=2e-3)


def test_pointwise_values_add_up(response, events):
    model = remove_value_transforms(model_of(response, observed=events))
    pointwise = model.compile_logp(vars=[model["events"]], sum=False, jacobian=False, mode="FAST_COMPILE")(POINT)[0]
    assert pointwise.shape == model.rvs_to_values[model["events"]].type.shape[:1]
    assert pointwise.sum() == pytest.approx(log_likelihood(model, POINT), rel=1e-10)
    padding = pointwise[len(events) :]
    assert np.all(padding == padding[0])
    assert padding[0] < 0


def test_jax(response, events):
    pytest.importorskip("jax")
    import pytensor

    model = remove_value_transforms(model_of(response, observed=events))
    logp = model.logp(vars=[model["events"]], jacobian=False)
    inputs = [model[name] for name in POINT]
    values = [model.rvs_to_values[rv] for rv in inputs]
    found = [pytensor.function(values, logp, mode=mode)(*POINT.values()) for mode in ("FAST_COMPILE", "JAX")]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-8)


def test_multiplicity_is_repetition(fixed, rng):
    rows = fixed.event_rows(fixed.simulate(rng=3))[:300]
    counts = rng.integers(0, 4, len(rows))
    values = {}
    for name, observed in (
        ("weighted", np.column_stack([rows, counts])),
        ("repeated", np.repeat(rows, counts, axis=0)),
    ):
        with pm.Model(coords=fixed.coords) as model:
            norm = pm.LogNormal("norm", 0, 1)
            pmg.ExtendedEventMixture("events", response=fixed, norms={"ccr": norm}, observed=observed)
        values[name] = log_likelihood(model, {"norm": np.array(1.3)})
    assert values["weighted"] == pytest.approx(values["repeated"], rel=1e-12)


def test_no_event_at_all(fixed):
    """Nothing seen is data too: an upper limit."""
    with pm.Model(coords=fixed.coords) as model:
        norm = pm.HalfNormal("norm", 1.0)
        norms = dict.fromkeys(fixed.component_names, norm)
        pmg.ExtendedEventMixture("events", response=fixed, norms=norms, observed=fixed.simulate(rng=1)[:0])
    value = log_likelihood(model, {"norm": np.array(0.01)})
    assert value == pytest.approx(-0.01 * float(fixed.acceptance.sum()), rel=1e-12)


class TestDraws:
    def test_number_of_events_is_poisson(self, fixed):
        with pm.Model(coords=fixed.coords) as model:
            norms = {"crab": 0.5, "halo": 2.0, "ccr": 0.3}
            pmg.ExtendedEventMixture("events", response=fixed, norms=norms)
        draws = pm.draw(model["events"], 60, random_seed=4, mode="FAST_COMPILE")
        assert draws.shape[1:] == (model.dim_lengths["event"].eval(), 3)
        counts = np.isfinite(draws[..., 0]).sum(axis=1)
        expected = float(fixed.acceptance.values @ [0.5, 2.0, 0.3])
        total = stats.poisson(60 * expected)
        assert total.ppf(P_VALUE / 2) <= counts.sum() <= total.isf(P_VALUE / 2)
        dispersion = counts.var(ddof=1) / counts.mean() * 59
        assert stats.chi2(59).ppf(P_VALUE / 2) < dispersion < stats.chi2(59).isf(P_VALUE / 2)
        assert np.all(np.isnan(draws).all(axis=-1) == np.isnan(draws).any(axis=-1))

    def test_prior_predictive_events_follow_the_parameters(self, response):
        """Energies of background alone, in each observation, against its own shape."""
        with pm.Model(coords=response.coords):
            shape = pmg.PowerLawNorm(norm=[3.0, 1.0], tilt=[0.4, 0.0])
            norms = {"crab": 0.0, "halo": 0.0}
            pmg.ExtendedEventMixture("events", response=response, spectra={"ccr": shape}, norms=norms)
            prior = pm.sample_prior_predictive(1, random_seed=2, compile_kwargs={"mode": "FAST_COMPILE"})
        events = pmg.Events.from_predictive(prior, response)
        changed = response.with_spectra({"ccr": shape})
        edges = np.geomspace(0.5, 100, 9)
        for o in range(2):
            expected = changed.npred(energy=edges * u.TeV, observation=o).sel(component="ccr").values
            found = np.histogram(events.energy.value[events.observation == o], edges)[0]
            kept = expected > 5
            assert stats.chi2(kept.sum()).sf(((found - expected) ** 2 / expected)[kept].sum()) > P_VALUE

    def test_posterior_predictive_after_observing(self, response, events):
        model = pmg.observe_events(model_of(response), events)
        with model:
            draws = pm.sample_posterior_predictive(
                pm.sample_prior_predictive(
                    3, random_seed=1, compile_kwargs={"mode": "FAST_COMPILE"}
                ).prior.to_dataset(),
                random_seed=1,
                progressbar=False,
                compile_kwargs={"mode": "FAST_COMPILE"},
            )
        one = pmg.Events.from_predictive(draws, response, draw=1)
        assert 0 < len(one) < draws.posterior_predictive.sizes["event"]
        assert log_likelihood(model, POINT) == pytest.approx(
            log_likelihood(model_of(response, observed=events), POINT), rel=1e-9
        )

    def test_a_source_that_does_not_shine(self, response):
        with pm.Model(coords=response.coords) as model:
            spectra = {"crab": pmg.PowerLaw(amplitude=0.0)}
            pmg.ExtendedEventMixture("events", response=response, spectra=spectra, norms={"halo": 0.0})
        rows = pm.draw(model["events"], random_seed=1, mode="FAST_COMPILE")
        expected = float(response.acceptance.sel(component="ccr"))
        assert abs(np.isfinite(rows[:, 0]).sum() - expected) < 4 * np.sqrt(expected)

    def test_too_many_events_is_an_error(self, fixed):
        with pm.Model(coords=fixed.coords) as model:
            pmg.ExtendedEventMixture("events", response=fixed, max_events=10)
        with pytest.raises(ModelError, match="more than max_events=10"):
            pm.draw(model["events"], random_seed=1, mode="FAST_COMPILE")


def test_deterministics(response, events):
    from gammapy.modeling.models import PowerLawSpectralModel

    model = model_of(response, observed=events, expected_counts=True, integrated_flux=(1, 10) * u.TeV)
    inputs = [model[name] for name in POINT]
    outputs = [model["events_expected_counts"], model["events_flux"]]
    counts, flux = model.compile_fn(outputs, inputs=inputs, mode="FAST_COMPILE", point_fn=False)(*POINT.values())
    spectra = {
        "crab": pmg.PowerLaw(index=2.2, amplitude=2.5e-12),
        "ccr": pmg.PowerLawNorm(norm=POINT["norm"], tilt=POINT["tilt"], reference=2.0),
    }
    changed = response.with_spectra(spectra, {"halo": 1.4})
    np.testing.assert_allclose(counts, changed.acceptance.values, rtol=1e-4)
    unit = u.Unit("TeV-1 cm-2 s-1")
    for found, index, amplitude in zip(flux, (2.2, 2.5), (2.5e-12, 1.4e-12), strict=True):
        expected = PowerLawSpectralModel(index=index, amplitude=amplitude * unit).integral(1 * u.TeV, 10 * u.TeV)
        assert found == pytest.approx(expected.to_value("cm-2 s-1"), rel=1e-4)
    assert list(model.coords["events_source"]) == ["crab", "halo"]


def test_npred_of_given_fluxes(response, tmp_path):
    spectra = {"crab": pmg.PowerLaw(index=2.0, amplitude=1e-12)}
    given = response.npred(energy=[1, 5, 50] * u.TeV, spectra=spectra, norms={"halo": 0.0})
    alone = pmg.fold(
        source("crab", 0.3, -0.2, index=2.0, amplitude=1e-12), response.observations, response.roi, energy_true=600
    )
    np.testing.assert_allclose(given.sel(component="crab"), alone.npred(energy=[1, 5, 50] * u.TeV)[0], rtol=2e-3)
    assert np.all(given.sel(component="halo") == 0)
    with pytest.raises(ModelError, match="norms are given for"):
        response.npred(norms={"vela": 1})
    with pytest.raises(ModelError, match="finite number"):
        response.with_spectra(norms={"halo": -1})
    # a store holds another background like any other flux
    shape = pmg.PowerLawNorm(norm=[1.2, 0.9], tilt=[0.1, -0.2], reference=2.0)
    changed = response.with_spectra({"ccr": shape}, {"ccr": 2.0})
    assert changed.fingerprint() != response.fingerprint()
    changed.save(tmp_path / "changed")
    again = pmg.Response.load(tmp_path / "changed")
    np.testing.assert_array_equal(again.acceptance_by_observation, changed.acceptance_by_observation)
    assert again.fingerprint() == changed.fingerprint()
    rows = changed.simulate_rows([1, 1, 1], 50, np.random.default_rng(4))
    np.testing.assert_array_equal(again.component_pdf(rows), changed.component_pdf(rows))
    assert not np.allclose(changed.component_pdf(rows)[:, 2], response.component_pdf(rows)[:, 2], rtol=0.01)


def test_bad_input(response, fixed, events):
    with pm.Model():
        with pytest.raises(TypeError, match="must come from `fold`"):
            pmg.ExtendedEventMixture("events", response=None)
        with pytest.raises(ModelError, match=r"norms are given for \['vela'\]"):
            pmg.ExtendedEventMixture("events", response=fixed, norms={"vela": 1.0})
        with pytest.raises(ModelError, match="must be a single number"):
            pmg.ExtendedEventMixture("events", response=fixed, norms={"ccr": [1.0, 2.0]})
        with pytest.raises(ModelError, match="one entry for each of"):
            pmg.ExtendedEventMixture("events", response=fixed, norms=[1.0, 2.0])
        with pytest.raises(ModelError, match="folded with a fixed spectrum"):
            pmg.ExtendedEventMixture("events", response=fixed, spectra={"crab": pmg.PowerLaw()})
        with pytest.raises(ModelError, match="the spectrum of 'crab' is -1"):
            pmg.ExtendedEventMixture("events", response=response, spectra={"crab": pmg.PowerLaw(2, -1e-12)})
        with pytest.raises(ModelError, match="norm of 'ccr' must be finite and not negative"):
            pmg.ExtendedEventMixture("events", response=fixed, norms={"ccr": -1.0})
        with pytest.raises(ModelError, match="no event is expected"):
            pmg.ExtendedEventMixture("events", response=fixed, norms=dict.fromkeys(fixed.component_names, 0.0))
        with pytest.raises(ModelError, match="each of 2 observations"):
            pmg.ExtendedEventMixture("events", response=response, spectra={"ccr": pmg.PowerLawNorm([1, 2, 3])})
        with pytest.raises(ModelError, match="more than max_events=5"):
            pmg.ExtendedEventMixture("events", response=response, observed=events, max_events=5)
        with pytest.raises(ModelError, match="at least 1"):
            pmg.ExtendedEventMixture("events", response=fixed, max_events=0)
        for span in [(10, 1), (1, np.inf), (0, 1), (np.nan, 1), (1, np.nan), (-1, 1), (1, 1)]:
            with pytest.raises(ModelError, match="integrated_flux must be two finite, positive and ascending energies"):
                pmg.ExtendedEventMixture("events", response=fixed, integrated_flux=span * u.TeV)
        rows = response.event_rows(events)[:5]
        rows[2, 0] = np.nan
        with pytest.raises(EventError, match="NaN"):
            pmg.ExtendedEventMixture("events", response=response, observed=rows)


def test_data_that_change(fixed):
    """pm.Data of any number of events, and others after them."""
    first, second = fixed.simulate(rng=3), fixed.simulate(rng=4)
    with pm.Model(coords={**fixed.coords, "event": np.arange(len(first))}) as model:
        data = pm.Data("data", fixed.event_rows(first), dims=("event", "reco"))
        norm = pm.LogNormal("norm", 0, 1)
        pmg.ExtendedEventMixture("events", response=fixed, norms={"ccr": norm}, observed=data)
    logp = model.compile_logp(mode="FAST_COMPILE")
    for events in (first, second):
        with model:
            pm.set_data({"data": fixed.event_rows(events)}, coords={"event": np.arange(len(events))})
        with pm.Model(coords=fixed.coords) as fresh:
            norm = pm.LogNormal("norm", 0, 1)
            pmg.ExtendedEventMixture("events", response=fixed, norms={"ccr": norm}, observed=events)
        point = {"norm_log__": np.array(0.1)}
        assert float(logp(point)) == pytest.approx(float(fresh.compile_logp(mode="FAST_COMPILE")(point)), rel=1e-12)


def test_pickled_models(response, events):
    """Samplers that start processes send the model along: small, and the same."""
    import cloudpickle

    model = model_of(response, observed=events)
    content = cloudpickle.dumps(model)
    assert len(content) < 100e6
    assert log_likelihood(cloudpickle.loads(content), POINT) == pytest.approx(log_likelihood(model, POINT), rel=1e-12)


@pytest.mark.parametrize("as_data", [False, True])
def test_events_are_folded_once(response, events, monkeypatch, as_data):
    """Whatever is compiled of a model, its events meet the response once, and free components only as bands."""
    folded, whole = [], []
    bands, density = FreeComponents.bands, densities.density
    monkeypatch.setattr(FreeComponents, "bands", lambda self, o, *rest: folded.append(o) or bands(self, o, *rest))

    def density_of(one, components, *rest):
        whole.extend((one.index, component.name) for component in components)
        density(one, components, *rest)

    monkeypatch.setattr(densities, "density", density_of)
    monkeypatch.setattr(type(response), "component_pdf", lambda self, rows: pytest.fail("all densities computed"))
    if as_data:
        with pm.Model():
            observed = pm.Data("data", response.event_rows(events))
    else:
        observed = events
    model = model_of(response, observed=observed)
    point = model.initial_point()
    model.compile_logp(mode="FAST_COMPILE")(point)
    model.compile_logp(vars=[model["events"]], mode="FAST_COMPILE")(point)
    model.compile_dlogp(mode="FAST_COMPILE")(point)
    assert sorted(folded) == [0, 1]
    assert sorted(whole) == [(0, "halo"), (1, "halo")]
