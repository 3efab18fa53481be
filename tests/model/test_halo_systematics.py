"""Systematics of halos, of fixed and free spectrum and of fixed and free profile, against responses folded again."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from setups import pointing, region

import pymc_gamma as pmg
from pymc_gamma import darkmatter as dm
from pymc_gamma.errors import ModelError

GAMMA = 1.35
"""Steep, so that the PSF shows."""
CCR = 2e-3
"""Norm of the background: so that the halo shows."""
SPECTRUM = dm.Annihilation(1.13, 3e-25, "b")
TOLERANCE = 0.05
"""Of log L."""
FORMS = {
    "fixed": {},
    "free spectrum": {"free_spectrum": ["dm", "ccr"]},
    "free profile": {"free_shape": ["dm"]},
    "all free": {"free_spectrum": ["dm", "ccr"], "free_shape": ["dm"]},
}


def folded(form, hours=10.0):
    halo = dm.DarkMatterHalo(dm.GeneralisedNFW(GAMMA, r_s=20 * u.kpc), SPECTRUM)
    runs = [pointing(0.4, 0.2, hours=hours), pointing(-0.3, -0.2, hours=hours / 2)]
    sky = [halo, pmg.CosmicRayBackground()]
    return pmg.fold(sky, runs, region(width=2.0, energy=(0.3, 30.0)), energy_true=50, **FORMS[form])


@pytest.fixture(scope="module")
def responses():
    return {form: folded(form) for form in FORMS}


@pytest.fixture(scope="module")
def events(responses):
    return responses["fixed"].simulate({"dm": 0.5, "ccr": 0.5}, 400, rng=3)


def log_l(response, events, systematics=(), ccr=CCR, scale=1.0):
    """With its own profile as parameters where it is free."""
    with pm.Model(coords=response.coords) as model:
        shapes = {"dm": {"gamma": pt.constant(GAMMA)}} if response.free_shape else None
        pmg.ExtendedEventMixture(
            "events",
            response=response,
            observed=events,
            shapes=shapes,
            spectra={"dm": SPECTRUM} if response.free_spectrum else None,
            norms={"ccr": ccr, "dm": scale},
            systematics=list(systematics),
        )
    return float(model.compile_logp(mode="FAST_COMPILE")({}))


@pytest.mark.parametrize("form", FORMS)
def test_a_larger_area(form, responses, events):
    """The same as longer runs with a lower background rate."""
    found = log_l(responses[form], events, [pmg.EffectiveAreaNorm(value=1.3)])
    again = log_l(folded(form, hours=13.0), events, ccr=CCR / 1.3)
    assert found == pytest.approx(again, abs=TOLERANCE)
    assert abs(found - log_l(responses[form], events)) > 20 * TOLERANCE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [0.75, 1.25])
def test_a_wider_psf(form, scale, responses, events):
    systematics = [pmg.PSFScale(0.1, value=scale)]  # within three sigma
    if "profile" in form or form == "all free":
        with pytest.raises(
            ModelError, match="'dm', a halo of free profile, cannot be scaled; leave that systematic out"
        ):
            log_l(responses[form], events, systematics)
        return
    found = log_l(responses[form], events, systematics)
    again = log_l(responses[form].with_systematics(psf_scale=scale), events)
    assert found == pytest.approx(again, abs=TOLERANCE)
    assert abs(found - log_l(responses[form], events)) > 2 * TOLERANCE


@pytest.mark.parametrize("form", ["free spectrum", "all free"])
def test_a_shifted_energy_scale(form, responses):
    """The data tell the same scale as under responses with distorted dispersion, whose noise moves with them."""
    scales = np.array([1.0, 1.1, 1.2])
    events = responses["fixed"].with_systematics(energy_scale=1.1).simulate({"dm": 0.9, "ccr": 0.1}, 3000, rng=4)
    shifted = [log_l(responses[form], events, [pmg.EnergyScale(value=s)]) for s in scales]
    again = [log_l(responses["fixed"].with_systematics(energy_scale=s), events) for s in scales]
    of_shift, of_fold = (np.roots(np.polyder(np.polyfit(scales, logs, 2)))[0] for logs in (shifted, again))
    assert of_shift == pytest.approx(of_fold, abs=0.01)
    spread = (-np.polyfit(scales, again, 2)[0] * 2) ** -0.5
    assert spread < 0.03  # else the last line says nothing


@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_an_energy_scale_of_a_free_profile(scale, responses, events):
    systematics = [pmg.EnergyScale(value=scale)]
    found, known = (log_l(responses[form], events, systematics) for form in ("all free", "free spectrum"))
    assert found == pytest.approx(known, abs=TOLERANCE)


@pytest.mark.parametrize("form", ["fixed", "free profile"])
def test_an_energy_scale_needs_free_spectra(form, responses, events):
    with pytest.raises(ModelError, match=r"EnergyScale changes spectra, and \['dm'\] were folded with a fixed"):
        log_l(responses[form], events, [pmg.EnergyScale(value=1.1)])
