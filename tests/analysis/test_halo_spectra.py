"""Spectra of halos in reports and pictures are fluxes: times the J factor of the region, for the profile of a draw."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scenes import SMALL

import pymc_gamma as pmg
from pymc_gamma.analysis.outcomes import _fluxes
from pymc_gamma.analysis.report_input import ReportInput
from pymc_gamma.analysis.report_pictures import _spectra_of_model, spectra

MASS = "{prior: LogUniform, lower: 1 TeV, upper: 9 TeV}"
GAMMA = "{prior: Uniform, lower: 0.8, upper: 1.3}"
AT = {"dm.mass": 3.0, "dm.gamma": 1.2}


def halo(gamma, process="annihilation"):
    profile = f"{{type: GeneralisedNFW, r_s: 20 kpc, gamma: {gamma}}}"
    keys = f"kind: dark_matter, name: dm, channels: W, process: {process}, mass: {MASS}, profile: {profile}"
    return f"components.0={{{keys}}}"


@pytest.mark.parametrize(("gamma", "true_gamma"), [("1.1", 1.1), (GAMMA, 1.2)])
@pytest.mark.parametrize("process", ["annihilation", "decay"])
def test_spectra_of_halos_are_fluxes_of_the_region(process, gamma, true_gamma):
    poisson = ["mixture.likelihood=poisson", "simulate={}"]
    analysis = pmg.Analysis.from_yaml(SMALL, set=[halo(gamma, process), *poisson])
    with analysis._plan(None) as plan:
        response = plan.modelling.fold()
        events = response.simulate({"dm": 1, "ccr": 1}, 30, rng=1)
        built = plan.modelling.build(response, events)
    profile = pmg.darkmatter.GeneralisedNFW(true_gamma, r_s=20 * u.kpc)
    if process == "annihilation":
        factor = {"j_factor": profile.j_factor(response.roi)}
        expected = pmg.darkmatter.Annihilation(3 * u.TeV, 3e-26 * u.cm**3 / u.s, "W", **factor)
    else:
        expected = pmg.darkmatter.Decay(3 * u.TeV, 1e26 * u.s, "W", d_factor=profile.d_factor(response.roi))
    known = {built.model[name]: value for name, value in AT.items() if name in built.model.named_vars}
    energy = np.array([0.2, 0.6, 1.1])
    (of_picture,) = _fluxes(built, response).values()
    # a sum of Gaussians has the J factor to a few 1e-5
    np.testing.assert_allclose(of_picture(energy).eval(known), expected(energy).eval(), rtol=2e-4)
    subject = ReportInput(response=response, given_events=events, model=built.model)
    (of_report,) = _spectra_of_model(subject).values()
    nodes = response.energy_true[(response.energy_true > 0.2) & (response.energy_true < 1.0)][::5]
    np.testing.assert_allclose(of_report(nodes).eval(known), expected(nodes).eval(), rtol=0.01)


def test_the_report_says_that_it_is_a_flux():
    poisson = ["mixture.likelihood=poisson", "simulate={}"]
    analysis = pmg.Analysis.from_yaml(SMALL, set=[halo("1"), *poisson])
    with analysis._plan(None) as plan:
        response = plan.modelling.fold()
        built = plan.modelling.build(response, response.simulate({"dm": 1, "ccr": 1}, 30, rng=1))
        draws = pm.sample_prior_predictive(draws=8, model=built.model, var_names=["dm.mass"], random_seed=1)
    tree = draws.prior.to_dataset()
    told = str(spectra(ReportInput(xr.DataTree.from_dict({"posterior": tree}), response, model=built.model)))
    assert "Of dm it is the flux from the region of interest, with its J or D factor." in told
