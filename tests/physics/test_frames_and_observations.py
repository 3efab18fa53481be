"""Frames, shapes of the region, several pointings: the same sky seen otherwise is the same sky."""

import numpy as np
import pymc as pm
import pytest
from astropy.coordinates import SkyCoord
from pymc.model.transform.conditioning import remove_value_transforms
from scipy import stats
from setups import (
    P_VALUE,
    chi_square,
    column,
    count_in_bins,
    only,
    pdf_in_bins,
    pdf_integral,
    pointing,
    region,
    simulated_acceptance,
    source,
)

import pymc_gamma as pmg
from pymc_gamma.geometry import convert_lonlat

RA, DEC = 150.0, 60.0
"""A field at high declination, where longitudes are squeezed and the two frames are rotated against each other."""
HERE = tuple(float(x) for x in convert_lonlat(RA, DEC, "icrs", "galactic"))
ENERGY = np.geomspace(0.3, 30, 7)


def sky():
    return [
        source("point", RA + 1.3, DEC + 0.5, index=2.3, frame="icrs"),
        source("gaussian", RA - 1.0, DEC - 0.7, sigma=0.3, index=2.1, frame="icrs"),
        pmg.CosmicRayBackground(),
    ]


def disc(frame):
    where = (RA, DEC) if frame == "icrs" else HERE
    return region(*where, frame=frame, energy=(0.3, 30.0), radius=1.6)


@pytest.fixture(scope="module")
def by_frame():
    """The same observation of the same sky, analysed in either frame."""
    observation = pointing(RA + 0.8, DEC - 0.3, "icrs")
    return {frame: pmg.fold(sky(), observation, disc(frame)) for frame in ("icrs", "galactic")}


def test_acceptances_do_not_depend_on_the_frame(by_frame):
    np.testing.assert_allclose(by_frame["icrs"].acceptance, by_frame["galactic"].acceptance, rtol=1e-4)


def test_densities_do_not_depend_on_the_frame(by_frame, rng):
    events = by_frame["icrs"].simulate([1, 1, 1], 3000, rng=rng)
    assert events.frame == "icrs"
    # to the edge of the disc, which rounding may put on either side
    events = events[by_frame["icrs"].roi.offset(*events.to_rows().T[1:]) < 1.6 - 1e-6]
    np.testing.assert_allclose(by_frame["icrs"].density(events), by_frame["galactic"].density(events), rtol=1e-6)


def test_separations_agree_with_astropy(by_frame, rng):
    rows = by_frame["icrs"].simulate_rows(only(by_frame["icrs"], "point"), 500, rng)
    centre = SkyCoord(RA, DEC, unit="deg", frame="icrs")
    events = SkyCoord(rows[:, 1], rows[:, 2], unit="deg", frame="icrs")
    assert events.separation(centre).deg.max() <= 1.6
    near = events.separation(SkyCoord(RA + 1.3, DEC + 0.5, unit="deg", frame="icrs")).deg
    assert np.median(near) < 0.2


@pytest.mark.parametrize("name", ["point", "gaussian"])
def test_acceptance_of_a_disc_is_the_simulated_one(by_frame, name, rng):
    response = by_frame["icrs"]
    component = next(c for c in sky() if c.name == name)
    counts, error = simulated_acceptance(response, component, 200_000, rng)
    assert abs(float(response.acceptance[column(response, name)]) - counts) < 4 * error


@pytest.mark.parametrize(("name", "step"), [("point", 0.02), ("gaussian", 0.05), ("ccr", 0.1)])
def test_density_integrates_to_one_over_a_disc(by_frame, name, step):
    assert abs(pdf_integral(by_frame["icrs"], name, step, per_decade=40) - 1) < 2e-3


@pytest.mark.parametrize(("name", "step"), [("point", 0.02), ("gaussian", 0.05), ("ccr", 0.05)])
def test_events_of_a_disc_are_distributed_as_expected(by_frame, name, step, rng):
    """Radii are counted from the pointing, 0.5 deg off the centre of the disc."""
    response = by_frame["icrs"]
    radius = np.linspace(0, 2.2, 9)
    rows = response.simulate_rows(only(response, name), 100_000, rng)
    expected = pdf_in_bins(response, name, ENERGY, radius, step, per_decade=40)
    assert chi_square(count_in_bins(response, rows, ENERGY, radius), expected)[2] > P_VALUE


@pytest.fixture(scope="module")
def pair():
    """Two pointings of different live times, and each alone."""
    observations = [pointing(0.7, 0.4, hours=30.0), pointing(-1.1, -0.6, hours=10.0)]
    components = [source("left", 1.0, 0.2), source("wide", -0.8, 0.1, sigma=0.4), pmg.CosmicRayBackground()]
    roi = region(width=3.0, energy=(0.3, 30.0))
    alone = [pmg.fold(components, observation, roi) for observation in observations]
    return pmg.fold(components, observations, roi), alone


def test_acceptance_is_the_sum_over_observations(pair):
    both, alone = pair
    for o, one in enumerate(alone):
        np.testing.assert_allclose(both.acceptance_by_observation.sel(observation=o), one.acceptance, rtol=1e-6)
    np.testing.assert_allclose(both.acceptance, sum(one.acceptance for one in alone), rtol=1e-6)


def test_density_is_that_of_the_observation_of_the_event(pair, rng):
    both, alone = pair
    events = both.simulate([1, 1, 1], 3000, rng=rng)
    density = both.density(events)
    for o, one in enumerate(alone):
        mine = np.asarray(events.observation) == o
        np.testing.assert_allclose(density[mine], one.density(events[mine].with_observation(0)), rtol=1e-5)


@pytest.mark.parametrize("name", ["left", "wide", "ccr"])
def test_simulated_events_are_shared_by_acceptance(pair, name, rng):
    both, _ = pair
    n = 40_000
    rows = both.simulate_rows(only(both, name), n, rng)
    share = float(
        both.acceptance_by_observation.sel(component=name, observation=1) / both.acceptance.sel(component=name)
    )
    low, high = stats.binom.interval(0.999, n, share)
    assert low <= np.sum(rows[:, 3] == 1) <= high


def test_density_integrates_to_one_over_both_observations(pair):
    both, _ = pair
    for name, step in [("left", 0.02), ("wide", 0.05), ("ccr", 0.1)]:
        total = sum(pdf_integral(both, name, step, per_decade=40, observation=o) for o in range(2))
        assert abs(total - 1) < 2e-3, name


def test_two_observations_end_to_end(pair, rng):
    """Simulate with known fractions, fit with EventMixture: the truth lies where the posterior says."""
    both, _ = pair
    truth = np.array([0.2, 0.3, 0.5])
    events = both.simulate(truth, 4000, rng=rng)
    with pm.Model(coords=both.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(3), dims="component")
        pmg.EventMixture("events", fraction, response=both, observed=events)
    free = remove_value_transforms(model)
    logp = free.compile_logp(vars=free["events"], jacobian=False)
    density = both.component_pdf(events.to_rows(both.reco))
    best = np.full(3, 1 / 3)
    for _ in range(500):
        share = density * best
        best = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    gain = float(logp({"fraction": best}) - logp({"fraction": truth}))
    assert gain >= 0
    assert 2 * gain < stats.chi2.isf(P_VALUE, 2)
    # and the fit can tell: a tenth of the events moved from one component to another is excluded
    assert float(logp({"fraction": best}) - logp({"fraction": truth + np.array([0.1, -0.1, 0])})) > 10
