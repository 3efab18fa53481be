"""From gammapy models and DL3 runs to a PyMC model, its posterior, and back to gammapy models."""

import numpy as np
import pymc as pm
import pytest
from dl3_field import observations, region, sky_model
from gammapy.data import Observations
from gammapy.makers import SafeMaskMaker
from gammapy.modeling import models as gp

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, PymcGammaWarning
from pymc_gamma.interop import GammapyTranslation

pytestmark = pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
TRUTH = {"crab.spectral.index": 2.4, "crab.spectral.amplitude": 3.8e-11}


def crab_and_background():
    crab = sky_model()
    crab.spectral_model.index.value = 2.2
    crab.spectral_model.amplitude.value = 2e-11
    norm = gp.FoVBackgroundModel("obs-11")
    norm.spectral_model.norm.prior = gp.GaussianPrior(mu=1.0, sigma=0.2)
    return gp.Models([crab, norm])


@pytest.fixture(scope="module")
def model(runs):
    return pmg.from_gammapy(
        crab_and_background(), Observations(runs), region(), fold_options={"energy_true": 60}, expected_counts=True
    )


def by_hand(simulated, index, amplitude, norms):
    """Log-likelihood of this package for the same parameters, without the interface."""
    inside = simulated[simulated.selection(region()).inside]
    components = [pmg.SkySource.from_gammapy(sky_model()), pmg.CosmicRayBackground()]
    response = pmg.fold(components, observations(), region(), free_spectrum=["crab", "ccr"], energy_true=60)
    with pm.Model(coords=response.coords) as model:
        spectra = {"crab": pmg.PowerLaw(index=index, amplitude=amplitude), "ccr": pmg.PowerLawNorm(norm=norms)}
        pmg.ExtendedEventMixture("events", response=response, spectra=spectra, observed=inside)
    return float(model.compile_logp(mode="FAST_COMPILE")({}))


def log_likelihood(model, values):
    """Of the events alone, at values of the parameters."""
    graph = pm.logp(model["events"], model.rvs_to_values[model["events"]]).sum()
    return float(graph.eval({model[name]: value for name, value in values.items()}, mode="FAST_COMPILE"))


def test_likelihood_is_that_of_the_same_model_by_hand(model, simulated):
    at = {"crab.spectral.index": 2.5, "crab.spectral.amplitude": 3.1e-11, "obs-11-bkg.spectral.norm": 0.9}
    assert {variable.name for variable in model.free_RVs} == set(at)
    # the second run has no background model: its background is that of the response
    expected = by_hand(simulated, 2.5, 3.1e-11, np.array([0.9, 1.0]))
    assert log_likelihood(model, at) == pytest.approx(expected, abs=1e-4)


def test_posterior_goes_back_to_gammapy(model, seed):
    with model:
        idata = pm.sample(
            draws=400,
            tune=400,
            chains=2,
            cores=1,
            nuts_sampler="pymc",  # the quickest to compile
            random_seed=seed,
            progressbar=False,
            compute_convergence_checks=False,
        )
    assert int(idata.sample_stats["diverging"].sum()) == 0
    found = pmg.to_gammapy(idata, crab_and_background())
    spectral = found["crab"].spectral_model
    for name, truth in TRUTH.items():
        parameter = getattr(spectral, name.rsplit(".", 1)[-1])
        assert abs(parameter.value - truth) < 4 * parameter.error
        assert 0 < parameter.error < 0.1 * truth
    assert abs(found["obs-11-bkg"].spectral_model.norm.value - 1) < 4 * found["obs-11-bkg"].spectral_model.norm.error


def test_a_yaml_file_and_a_response_folded_before(model, runs, tmp_path):
    path = tmp_path / "models.yaml"
    crab_and_background().write(path)
    translation = GammapyTranslation(path, ["11", "12"])
    response = pmg.fold(
        translation.components, observations(), region(), free_spectrum=translation.free_spectrum, energy_true=60
    )
    again = pmg.from_gammapy(path, Observations(runs), region(), response=response)
    point = model.initial_point()
    assert set(point) == set(again.initial_point())
    mine, theirs = (one.compile_logp(mode="FAST_COMPILE")(point) for one in (again, model))
    assert float(mine) == pytest.approx(float(theirs), rel=1e-9)


def test_simulation_without_events(seed):
    models = crab_and_background()
    for parameter in models.parameters:
        parameter.frozen = True
    models["crab"].spectral_model.amplitude.frozen = False
    models["crab"].spectral_model.amplitude.prior = gp.UniformPrior(min=1.9e-11, max=2.1e-11)
    translation = GammapyTranslation(models, ["11", "12"])
    assert translation.free_spectrum == ("ccr",), "one run has a norm, if frozen, the other has none"
    response = pmg.fold(
        translation.components, observations(), region(), free_spectrum=translation.free_spectrum, energy_true=60
    )
    model = pmg.from_gammapy(models, observations(), region(), response=response, max_events=3000)
    with model:
        prior = pm.sample_prior_predictive(draws=10, random_seed=seed, compile_kwargs={"mode": "FAST_COMPILE"})
    drawn = [pmg.Events.from_predictive(prior, response, draw=draw) for draw in range(10)]
    counts = sum(len(events) for events in drawn)
    expected = 10 * float(response.acceptance.sum())
    # a prior of 2.9 % width, and Poisson noise
    assert abs(counts - expected) < 4 * np.sqrt(expected + 10 * (0.03 * expected / 10) ** 2)


def test_systematics_and_further_free_spectra(runs):
    model = pmg.from_gammapy(
        sky_model(),
        runs,
        region(),
        fold_options={"energy_true": 60, "free_spectrum": "ccr"},
        systematics=[pmg.BackgroundTilt()],
    )
    assert len(model.free_RVs) > 2
    assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point()))


def test_events_outside_are_told_and_other_responses_refused(runs):
    with pytest.warns(PymcGammaWarning, match="outside the region on the sky"):
        pmg.from_gammapy(sky_model(), iter(runs), region(), fold_options={"energy_true": 60})
    other = pmg.fold([pmg.CosmicRayBackground()], observations(), region(), energy_true=60)
    with pytest.raises(ModelError, match="the response has the components"):
        pmg.from_gammapy(sky_model(), runs, region(), response=other)


def test_safe_energies_and_offsets_limit_events_and_response(runs):
    maker = SafeMaskMaker(methods=["offset-max"], offset_max="0.45 deg")
    model = pmg.from_gammapy(
        crab_and_background(), Observations(runs), region(0.8), safe_mask=maker, fold_options={"energy_true": 60}
    )
    events = pmg.Events.from_gammapy(runs)
    near = [
        events.coords[events.observation == k].separation(run.pointing.fixed_icrs).deg <= 0.45
        for k, run in enumerate(runs)
    ]
    coords, energy = events.coords, events.energy.value
    inside = (coords.separation(region().center).deg <= 0.8) & (energy >= 0.3) & (energy <= 50) & np.concatenate(near)
    observed = model.rvs_to_values[model["events"]].eval()  # rows of NaN leave room for longer draws
    assert np.isfinite(observed).all(axis=1).sum() == inside.sum()
    at = {"crab.spectral.index": 2.5, "crab.spectral.amplitude": 3.1e-11, "obs-11-bkg.spectral.norm": 0.9}
    assert np.isfinite(log_likelihood(model, at))
