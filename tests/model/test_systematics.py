"""Systematics: an instrument that is off gives a biased answer, one that may be off a covered one."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from laplace import fit
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import ModelError, PymcGammaWarning

INDEX, AMPLITUDE = 2.3, 3e-12
BIASED, COVERED = 3.5, 3.3
"""Standard deviations; the second holds 99.9 % of draws."""


def sky(sigma=0.0):
    return [source("crab", 0.3, -0.2, sigma=sigma, index=INDEX, amplitude=AMPLITUDE), pmg.CosmicRayBackground()]


@pytest.fixture(scope="module")
def response():
    return pmg.fold(sky(), pointing(hours=20), region(width=1.6, energy=(0.5, 100)), free_spectrum=["crab", "ccr"])


@pytest.fixture(scope="module")
def extended_source():
    observations = [pointing(hours=4), pointing(lon=0.4, hours=3)]
    return pmg.fold(sky(0.25), observations, region(width=1.6, energy=(0.5, 100)), free_spectrum=["crab", "ccr"])


def posterior(response, events, systematics=()):
    with pm.Model(coords=response.coords) as model:
        index = pm.Normal("index", 2.5, 0.5)
        amplitude = pm.LogNormal("amplitude", np.log(AMPLITUDE), 1.0)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            spectra={"crab": pmg.PowerLaw(index=index, amplitude=amplitude)},
            observed=events,
            systematics=systematics,
        )
    return model


def pulls(fitted):
    return {
        "index": (fitted.value["index"][0] - INDEX) / fitted.sd["index"][0],
        "amplitude": (fitted.value["amplitude_log__"][0] - np.log(AMPLITUDE)) / fitted.sd["amplitude_log__"][0],
    }


def true_flux(energy, factor=1.0):
    return factor * AMPLITUDE * energy**-INDEX


def events_with(kind, response):
    """Events of an instrument that is off, 20 h of them: the fit knows the nominal one."""
    nodes = response.energy_true
    if kind == "aeff_norm":
        response = response.with_spectra(norms={"crab": 1.25})
    elif kind == "aeff_shape":
        response = response.with_spectra({"crab": true_flux(nodes, (nodes / 2) ** 0.25)})
    elif kind == "energy_scale":
        response = response.with_systematics(energy_scale=1.2)
    elif kind == "psf_scale":
        response = response.with_systematics(psf_scale=1.3)
    else:
        reco = response.free_components[1].energy
        rows = np.stack([1.4 * reco**-0.15, 1.2 * reco**0.1])
        response = response.with_spectra({"ccr": rows})
    return response.simulate(rng=8)


@pytest.mark.parametrize(
    ("kind", "systematics", "biased"),
    [
        ("aeff_norm", [pmg.EffectiveAreaNorm(sigma=0.2)], "amplitude"),
        ("aeff_shape", [pmg.EffectiveAreaShape(sigma=0.4)], "index"),
        ("energy_scale", [pmg.EnergyScale(sigma=0.1)], "amplitude"),
        ("psf_scale", [pmg.PSFScale(sigma=0.15)], "amplitude"),
        ("background", [pmg.BackgroundNorm(sigma=0.3), pmg.BackgroundTilt(sigma=0.2)], "amplitude"),
    ],
)
def test_biased_without_and_covered_with(response, extended_source, kind, systematics, biased):
    response = extended_source if kind == "background" else response
    events = events_with(kind, response)
    without = pulls(fit(posterior(response, events)))
    assert abs(without[biased]) > BIASED
    fitted = fit(posterior(response, events, systematics))
    assert {name: abs(pull) < COVERED for name, pull in pulls(fitted).items()} == {"index": True, "amplitude": True}


def test_the_data_measure_the_background(extended_source):
    systematics = [pmg.BackgroundNorm(sigma=0.3), pmg.BackgroundTilt(sigma=0.2)]
    fitted = fit(posterior(extended_source, events_with("background", extended_source), systematics))
    norm, sd = np.exp(fitted.value["background_norm_log__"]), fitted.sd["background_norm_log__"]
    np.testing.assert_allclose(np.log(norm / [1.4, 1.2]) / sd, 0, atol=COVERED)
    np.testing.assert_allclose(
        (fitted.value["background_tilt"] - [0.15, -0.1]) / fitted.sd["background_tilt"], 0, atol=COVERED
    )
    assert np.all(sd < 0.1)


def log_likelihood(response, events, systematics=()):
    with pm.Model(coords=response.coords) as model:
        pmg.ExtendedEventMixture("events", response=response, observed=events, systematics=systematics)
    return float(model.compile_logp(mode="FAST_COMPILE")({}))


def test_energy_scale_against_distorted_dispersion(response):
    """A change of the spectrum against a change of the response: the data tell the same scale.

    Not the same likelihood: the noise of the simulated dispersion moves with the energies of the response.
    """
    events = response.with_systematics(energy_scale=1.2).simulate(rng=5)
    scales = np.array([1.1, 1.2, 1.3])
    shifted = [log_likelihood(response, events, [pmg.EnergyScale(value=s)]) for s in scales]
    folded = [log_likelihood(response.with_systematics(energy_scale=s), events) for s in scales]
    of_shift, of_fold = (np.roots(np.polyder(np.polyfit(scales, logs, 2)))[0] for logs in (shifted, folded))
    assert abs(of_shift - 1.2) < 0.03
    assert abs(of_shift - of_fold) < 0.02


def test_no_shift_is_the_nominal_response(response):
    events = response.simulate(rng=2)
    assert abs(log_likelihood(response, events, [pmg.EnergyScale(value=1.0)]) - log_likelihood(response, events)) < 0.05


def test_densities_stay_positive(response):
    """A bright source and events far from it: an interpolation that overshoots would give negative densities."""
    background = response.simulate({"ccr": 1}, 300, rng=1)

    def log_l(response, systematics=()):
        with pm.Model(coords=response.coords) as model:
            pmg.ExtendedEventMixture(
                "events", response=response, norms={"crab": 100.0}, observed=background, systematics=systematics
            )
        return float(model.compile_logp(mode="FAST_COMPILE")({}))

    for scale in (0.75, 0.9, 1.1):
        expected = log_l(response.with_systematics(psf_scale=scale))
        assert log_l(response, [pmg.PSFScale(sigma=0.15, value=scale)]) == pytest.approx(expected, abs=0.1)


def test_the_background_of_the_response_is_kept(response):
    changed = response.with_spectra(norms={"ccr": 3.0})
    assert float(changed.with_systematics(psf_scale=1.1).acceptance.sel(component="ccr")) == pytest.approx(
        float(changed.acceptance.sel(component="ccr"))
    )
    plain = pmg.fold(sky(), pointing(hours=1), region(width=1.0, energy=(0.5, 100))).with_spectra(norms={"ccr": 3.0})
    with pm.Model(coords=plain.coords) as model:
        pmg.ExtendedEventMixture("events", response=plain, expected_counts=True, systematics=[pmg.PSFScale(value=1.0)])
    counts = model["events_expected_counts"].eval()
    np.testing.assert_allclose(counts, plain.acceptance.values, rtol=2e-3)


def test_energy_scale_at_the_edge_of_the_field_of_view():
    """Far off axis the effective area is zero at low energies: a shift must not blow up what is just above."""
    response = pmg.fold(
        sky()[:1], pointing(lon=5.0, hours=10), region(0.3, -0.2, radius=0.4, energy=(0.05, 50)), free_spectrum="crab"
    )
    nominal = float(response.acceptance.sum())
    for scale in (0.8, 0.95, 1.05):
        with pm.Model(coords=response.coords) as model:
            systematics = [pmg.EnergyScale(value=scale)]
            pmg.ExtendedEventMixture("events", response=response, expected_counts=True, systematics=systematics)
        counts = float(model["events_expected_counts"].eval().sum())
        assert counts == pytest.approx(float(response.with_systematics(energy_scale=scale).acceptance.sum()), rel=0.1)
        assert counts == pytest.approx(nominal, rel=0.2)


def test_energy_scale_of_unlike_observations():
    observations = [pointing(lon=0.5, hours=1), pointing(lon=5.0, hours=10)]
    response = pmg.fold(sky()[:1], observations, region(0.3, -0.2, radius=0.4, energy=(0.1, 50)), free_spectrum="crab")
    with pm.Model(coords=response.coords), pytest.warns(PymcGammaWarning, match="mean effective area"):
        pmg.ExtendedEventMixture("events", response=response, systematics=[pmg.EnergyScale()])


def test_several_at_once_and_own_variables(response):
    events = response.simulate(rng=4)
    with pm.Model(coords=response.coords) as model:
        scale = pm.Deterministic("my_scale", pm.Normal("raw", 0, 1) * 0.02 + 1)
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            observed=events,
            systematics=[pmg.EnergyScale(value=scale), pmg.PSFScale(nodes=5), pmg.EffectiveAreaNorm],
        )
    assert {"psf_scale", "aeff_norm"} < set(model.named_vars)
    assert "energy_scale" not in model.named_vars
    assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point()))


def test_draws_know_the_systematics(response):
    """More events pass a larger effective area, and their energies follow the scale."""
    counts = {}
    for name, systematic in (
        ("nominal", ()),
        ("area", [pmg.EffectiveAreaNorm(value=1.5)]),
        ("scale", [pmg.EnergyScale(value=1.25)]),
    ):
        with pm.Model(coords=response.coords) as model:
            pmg.ExtendedEventMixture("events", response=response, norms={"ccr": 0.0}, systematics=systematic)
        rows = pm.draw(model["events"], random_seed=1, mode="FAST_COMPILE")
        counts[name] = int(np.isfinite(rows[:, 0]).sum())
    expected = float(response.acceptance.sel(component="crab"))
    assert abs(counts["nominal"] - expected) < 4 * np.sqrt(expected)
    assert abs(counts["area"] - 1.5 * expected) < 4 * np.sqrt(1.5 * expected)
    distorted = float(response.with_systematics(energy_scale=1.25).acceptance.sel(component="crab"))
    assert distorted > 1.1 * expected
    assert abs(counts["scale"] - distorted) < 4 * np.sqrt(distorted)


def test_bad_input(response):
    plain = pmg.fold(sky(), [pointing(hours=1), pointing(lon=0.5, hours=1)], region(width=1.0, energy=(0.5, 100)))
    events = plain.simulate(rng=1)

    def build(systematics, response=plain, events=events):
        with pm.Model():
            pmg.ExtendedEventMixture("events", response=response, observed=events, systematics=systematics)

    with pytest.raises(ModelError, match="fold with free_spectrum"):
        build([pmg.EffectiveAreaShape()])
    with pytest.raises(ModelError, match="fold with free_spectrum"):
        build([pmg.EnergyScale()])
    with pytest.raises(ModelError, match=r"BackgroundTilt changes spectra.*free_spectrum=\['ccr'\]"):
        build([pmg.BackgroundTilt()])
    with pytest.raises(ModelError, match="EnergyScale twice"):
        build([pmg.EnergyScale(), pmg.EnergyScale()])
    with pytest.raises(ModelError, match=r"such as pmg.EnergyScale\(\), got 0.1"):
        build([0.1])
    with pytest.raises(ModelError, match="must be a single number or a vector of 2"):
        build([pmg.EffectiveAreaNorm(value=[1.0, 2.0, 3.0])])
    with pytest.raises(ModelError, match="a single number or a vector of 2"):
        build([pmg.BackgroundNorm(value=[1.0, 2.0, 3.0])])
    only_source = pmg.fold(sky()[:1], pointing(hours=1), region(width=1.0, energy=(0.5, 100)))
    with pytest.raises(ModelError, match=r"BackgroundNorm would have no effect on \[.*\]; leave it out"):
        build([pmg.BackgroundNorm()], only_source, only_source.simulate(rng=1))
    with pm.Model():
        pm.Normal("aeff_norm")
        with pytest.raises(ModelError, match="already"):
            pmg.ExtendedEventMixture("events", response=plain, observed=events, systematics=[pmg.EffectiveAreaNorm()])
    for make, message in (
        (lambda: pmg.EnergyScale(sigma=-1), "positive number"),
        (lambda: pmg.PSFScale(sigma=0.5), "at most 0.2"),
        (lambda: pmg.PSFScale(nodes=4), "at least 5"),
        (lambda: pmg.PSFScale(value=3.0), "within three sigma"),
        (lambda: pmg.EffectiveAreaShape(value=np.zeros(5)), r"needs knots=\[...\] too"),
        (lambda: pmg.EffectiveAreaShape(knots=[3, 1] * u.TeV).energies(np.array([0.1, 10])), "ascending"),
        (lambda: pmg.EffectiveAreaShape(knots=1).energies(np.array([0.1, 10])), "at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(u.UnitConversionError):
        pmg.EffectiveAreaShape(knots=[1, 3] * u.m).energies(np.array([0.1, 10]))
