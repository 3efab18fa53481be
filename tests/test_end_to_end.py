"""The public API together, on the bundled instrument: what a user's first script does."""

import subprocess
import sys
import warnings

import arviz as az
import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError

TRUTH = np.array([1 / 6, 1 / 3, 1 / 2])


@pytest.fixture(scope="module")
def response():
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=50 * u.h)
    roi = pmg.RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
    return pmg.fold([pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()], observation, roi)


def mixture(response, **kwargs):
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
        pmg.EventMixture("events", fraction, response=response, **kwargs)
    return model


@pytest.fixture(scope="module")
def events(response):
    """Simulated by PyMC: the generative model with the fractions set."""
    with pm.do(mixture(response, n_events=1500), {"fraction": TRUTH}):
        prior = pm.sample_prior_predictive(draws=1, random_seed=3)
    return pmg.Events.from_predictive(prior, response, draw=0)


def test_simulated_events_are_those_of_the_response(response, events):
    assert len(events) == 1500
    assert events.frame == "galactic"
    expected = TRUTH @ (response.npred(energy=[0.1, 1, 100] * u.TeV) / response.acceptance).values
    share = (events.energy.value < 1).mean()
    assert share == pytest.approx(expected[0], abs=3.3 * np.sqrt(0.25 / 1500))


def test_posterior_recovers_the_fractions(response, events):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with mixture(response, observed=events):
            idata = pm.sample(
                300, tune=400, chains=2, cores=1, nuts_sampler="pymc", random_seed=1, progressbar=False, quiet=True
            )
            pm.compute_log_likelihood(idata, progressbar=False)
            predictive = pm.sample_posterior_predictive(idata.isel(draw=slice(0, 2)), random_seed=2, progressbar=False)
    draws = idata.posterior["fraction"]
    assert draws.dims == ("chain", "draw", "component")
    pull = (draws.mean(("chain", "draw")) - TRUTH) / draws.std(("chain", "draw"))
    assert np.abs(pull).max() < 3.5
    assert idata.log_likelihood["events"].dims == ("chain", "draw", "event")
    assert np.isfinite(az.loo(idata).elpd)
    again = pmg.Events.from_predictive(predictive, response, draw=1)
    assert len(again) == 1500
    assert response.roi.contains(again.lon.value, again.lat.value).all()


def test_the_logp_is_the_mixture_of_the_densities(response, events):
    model = mixture(response, observed=events)
    logp = model.compile_logp(vars=[model["events"]], jacobian=False)
    point = model.initial_point()
    weights = np.full(3, 1 / 3)
    expected = np.log((response.density(events) / response.acceptance.values) @ weights).sum()
    assert logp(point) == pytest.approx(expected, rel=1e-12)


def test_events_in_another_frame_are_converted(response, events):
    here, there = (
        model.compile_logp()(model.initial_point())
        for model in (mixture(response, observed=events), mixture(response, observed=events.to_frame("icrs")))
    )
    assert here == pytest.approx(there, rel=1e-9)


def test_binned_events_weigh_by_their_multiplicity(response, events):
    twice = pmg.Events.from_rows(
        np.column_stack([events.to_rows(), np.full(len(events), 2.0)]), ("energy", "lon", "lat", "multiplicity")
    )
    one, two = (
        model.compile_logp(vars=[model["events"]], jacobian=False)(model.initial_point())
        for model in (mixture(response, observed=events), mixture(response, observed=twice))
    )
    assert two == pytest.approx(2 * one, rel=1e-12)


def test_two_pointings_end_to_end():
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    irfs = pmg.load_irfs("prod5-south-20deg-50h")
    pointings = [(-1.0, 0.5, 10), (1.0, -0.5, 30)]
    observations = [
        pmg.Observation(irfs, SkyCoord(lon * u.deg, lat * u.deg, frame="galactic"), livetime=hours * u.h)
        for lon, lat, hours in pointings
    ]
    roi = pmg.RegionOfInterest(center=centre, width=4 * u.deg, energy=(0.2, 50) * u.TeV)
    response = pmg.fold([pmg.HGPSCatalog(), pmg.CosmicRayBackground()], observations, roi)
    events = response.simulate({"hgps": 0.3, "ccr": 0.7}, 2000, rng=4)
    assert set(events.observation) == {0, 1}
    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
        pmg.EventMixture("events", fraction, response=response, observed=events)
    logp = model.compile_logp(vars=[model["events"]], jacobian=False)
    grid = np.linspace(0.2, 0.4, 81)
    values = np.array([logp({"fraction_simplex__": np.array([0.5 * np.log(f / (1 - f))])}) for f in grid])
    best = grid[values.argmax()]
    spread = np.sqrt(1 / -np.gradient(np.gradient(values, grid), grid)[values.argmax()])
    assert abs(best - 0.3) < 3.5 * spread
    # forgetting which pointing an event belongs to is an error, not a wrong answer
    with pytest.raises(EventError, match="belong to observation 1"):
        pmg.fold([pmg.HGPSCatalog()], observations[0], roi).density(events)


def test_events_outside_are_refused_by_row(response, events):
    low = pmg.Events([0.05, 1.0] * u.TeV, [0, 0] * u.deg, [0, 0] * u.deg, frame="galactic")
    with pytest.raises(EventError, match=r"1 of 2 events are below 0\.1 TeV, first rows \[0\]"):
        mixture(response, observed=low)
    with pytest.raises(EventError, match="empty"):
        mixture(response, observed=events[:0])


def test_an_event_no_component_can_produce(response):
    centre = response.roi.center
    far = SkyCoord(-2.5 * u.deg, 2.5 * u.deg, frame="galactic")
    only = pmg.fold(pmg.HGPSCatalog(sources=["HESS J1745-290"]), response.observations[0], response.roi)
    both = pmg.Events.from_skycoord([1, 50] * u.TeV, SkyCoord([centre, far]))
    with pm.Model(coords=only.coords):
        fraction = pm.Dirichlet("fraction", a=np.ones(1), dims="component")
        with pytest.raises(EventError, match=r"1 of 2 events have zero density.*hgps"):
            pmg.EventMixture("events", fraction, response=only, observed=both)


def test_fractions_must_match_the_components(response, events):
    with pm.Model(coords=response.coords):
        fraction = pm.Dirichlet("fraction", a=np.ones(2))
        with pytest.raises(ModelError, match="3"):
            pmg.EventMixture("events", fraction, response=response, observed=events)


def test_a_tree_gives_the_flat_fractions(response, events):
    tree = pmg.MixtureTree({"sources": ["hgps"], "background": {"gamma": ["diffuse"], "cosmic": ["ccr"]}})
    with pm.Model(coords=response.coords) as model:
        fraction = tree.fractions()
        pmg.EventMixture("events", fraction, response=response, observed=events)
    assert model.named_vars_to_dims["fraction"] == ("component",)
    prior = pm.draw(model["fraction"], draws=100, random_seed=1)
    assert np.allclose(prior.sum(axis=1), 1)


def test_importing_the_package_is_light():
    code = "import pymc_gamma, sys; print(sorted({'pymc', 'gammapy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="EventMixtur"):
        pmg.EventMixtur  # noqa: B018
    assert "EventMixture" in dir(pmg)
    assert all(getattr(pmg, name) is not None for name in pmg.__all__)
