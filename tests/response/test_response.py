import astropy.units as u
import numpy as np
import pytest
from scipy import stats

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError, SkyModelError
from pymc_gamma.simulation import TrueEvents


def test_expected_counts_of_the_quick_start(response):
    # the three totals of the design, computed there with other code
    assert response.acceptance.values == pytest.approx([1.33e6, 6.7e4, 6.04e6], rel=5e-3)


def test_coordinates_and_names(response, two_pointings):
    assert response.component_names == ("diffuse", "hgps", "ccr")
    assert response.coords == {
        "component": ["diffuse", "hgps", "ccr"],
        "observation": [0],
        "reco": ["energy", "lon", "lat"],
    }
    assert two_pointings.coords["reco"] == ["energy", "lon", "lat", "observation"]
    assert "diffuse" in repr(response)


def test_density_and_pdf_differ_by_the_acceptance(response, events):
    density = response.density(events)
    assert density.shape == (300, 3)
    assert np.isfinite(density).all()
    assert (density >= 0).all()
    pdf = response.component_pdf(events.to_rows())
    assert np.allclose(density / response.acceptance.values, pdf, rtol=1e-12)


def test_density_does_not_depend_on_the_frame_or_order_of_the_events(response, events):
    icrs = events.to_frame("icrs")
    assert np.allclose(response.density(icrs), response.density(events), rtol=1e-6)
    assert np.allclose(response.density(events[::-1]), response.density(events)[::-1], rtol=1e-12)


def test_no_events_is_no_problem(response):
    nothing = response.simulate([1, 1, 1], 0, rng=1)
    assert len(nothing) == 0
    assert response.density(nothing).shape == (0, 3)


def test_bins_add_up_to_the_acceptance(response):
    spectrum = response.npred(energy=np.geomspace(0.1, 100, 13) * u.TeV)
    assert spectrum.dims == ("component", "energy")
    assert np.allclose(spectrum.sum("energy"), response.acceptance, rtol=1e-9)
    assert np.allclose(response.npred(), response.acceptance, rtol=1e-9)


def test_a_map_adds_up_to_the_acceptance(response):
    edges = np.linspace(-3.2, 3.2, 9)
    image = response.npred(lon=edges * u.deg, lat=edges * u.deg, step=0.1 * u.deg)
    assert image.dims == ("component", "lat", "lon")
    assert np.allclose(image.sum(("lat", "lon")), response.acceptance, rtol=1e-9)
    # half of the region is not rescaled: density summed there, against the whole map
    half = response.npred(lon=edges[:5] * u.deg, lat=edges * u.deg, step=0.1 * u.deg).drop_sel(component="hgps")
    assert np.allclose(half, image[:, :, :4].drop_sel(component="hgps"), rtol=3e-3)
    # bins beyond the region are empty, bins across its edge are cut
    wide = response.npred(energy=[0.01, 0.05, 0.1, 1.0, 300.0] * u.TeV)
    assert np.allclose(wide[:, :2], 0)
    with pytest.raises(TypeError, match="energy"):
        response.npred(energy=[1, 5])
    assert np.allclose(wide.sum("energy"), response.acceptance, rtol=1e-9)


def test_two_pointings_share_by_their_exposure(two_pointings, components, roi):
    by = two_pointings.acceptance_by_observation
    singles = [pmg.fold(components, obs, roi) for obs in two_pointings.observations]
    for k, single in enumerate(singles):
        assert np.allclose(by.sel(observation=k), single.acceptance, rtol=1e-9)
    events = two_pointings.simulate([1, 2, 3], 20_000, rng=3)
    expected = (by / by.sum("observation")).sel(observation=1).values @ np.array([1, 2, 3]) / 6
    assert events.observation.mean() == pytest.approx(expected, abs=3.3 * np.sqrt(0.25 / 20_000))
    # an event has the density of its own pointing
    density = two_pointings.density(events[:200])
    for k, single in enumerate(singles):
        mine = events[:200].observation == k
        alone = events[:200][mine].with_observation(np.zeros(mine.sum(), int))
        assert np.allclose(density[mine], single.density(alone), rtol=1e-9)


def test_ontime_scales_the_background_and_livetime_the_sky(components, observation, roi, response):
    times = {"livetime": 50 * u.h, "ontime": 100 * u.h}
    slow = pmg.fold(components, pmg.Observation(observation.irfs, observation.pointing, **times), roi)
    assert np.allclose(slow.acceptance / response.acceptance, [1, 1, 2])


def test_simulation_is_reproducible_and_weighted(response):
    first, again = (response.simulate({"diffuse": 1, "hgps": 2, "ccr": 3}, 500, rng=9) for _ in range(2))
    assert np.array_equal(first.to_rows(), again.to_rows())
    other = response.simulate([1, 2, 3], 500, rng=10)
    assert not np.array_equal(first.to_rows(), other.to_rows())
    assert response.roi.contains(first.lon.value, first.lat.value).all()
    assert (first.energy.value >= 0.1).all()
    assert (first.energy.value <= 100).all()


def test_nominal_simulation_is_poisson(observation, components):
    roi = pmg.RegionOfInterest(observation.pointing, width=1 * u.deg, energy=(10, 100) * u.TeV)
    small = pmg.fold(components[1:], observation, roi)
    expected = float(small.acceptance.sum())
    numbers = [len(small.simulate(rng=seed)) for seed in range(20)]
    assert len(set(numbers)) > 10
    assert np.mean(numbers) == pytest.approx(expected, abs=3.3 * np.sqrt(expected / 20))


def test_stages_of_the_low_level_simulation(response):
    photons = response.simulate_true("hgps", 2000, rng=1)
    assert len(photons) == 2000
    assert photons.energy_true.min() >= response.energy_true_edges[0]
    both = photons + response.simulate_true("diffuse", 1000, rng=2)
    assert len(both) == 3000
    events = response.reconstruct(both, rng=3)
    assert len(events) + events.meta["lost"] == 3000
    assert len(both.coords) == 3000
    assert both.peek().axes[1].get_xlabel() == "true energy [TeV]"


def test_reconstruction_moves_directions_by_the_psf(response):
    psf = response.observations[0].irfs.psf
    # a node of the table, as seen from the pointing at 0, 0
    at = np.abs(psf.energy - 1).argmin(), np.abs(psf.offset - 1).argmin()
    n = 4000
    energy, lon, lat = np.full(n, psf.energy[at[0]]), np.full(n, psf.offset[at[1]]), np.zeros(n)
    events = response.reconstruct(TrueEvents(energy, lon, lat, response.roi.frame), rng=3)
    assert events.meta["lost"] == 0
    moved = pmg.geometry.separation_deg(
        pmg.geometry.unit_vectors(lon, lat), pmg.geometry.unit_vectors(events.lon.value, events.lat.value)
    )
    sigma, weight = psf.sigma[:, *at, None], psf.weight[:, *at, None]
    containment = stats.kstest(moved, lambda r: (weight * -np.expm1(-0.5 * (r / sigma) ** 2)).sum(axis=0))
    assert containment.pvalue > 1e-3


def test_the_background_has_no_true_photons(response):
    with pytest.raises(SkyModelError, match="residual background"):
        response.simulate_true("ccr", 10)
    with pytest.raises(SkyModelError, match="no component 'dm'"):
        response.simulate_true("dm", 10)


def test_citations_name_what_was_used(response):
    text = " ".join(str(citation) for citation in response.citations())
    assert "5499840" in text  # prod5
    assert "Galactic" in text  # H.E.S.S. survey


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "2 weights for 3 components"),
        ({"diffuse": 1, "hgps": 1, "dm": 1}, r"weights are given for \['dm'\]"),
        ([1, -1, 1], "not negative"),
        ([0, 0, 0], "not all zero"),
        ([1, np.nan, 1], "finite"),
    ],
)
def test_bad_weights(response, weights, message):
    with pytest.raises(ModelError, match=message):
        response.simulate(weights, 10)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.05, 0, 0], "below 0.1 TeV"),
        ([200, 0, 0], "above 100 TeV"),
        ([1, 3.3, 0], "outside the region"),
        ([np.nan, 0, 0], "not finite"),
        ([1, 0, np.inf], "not finite"),
    ],
)
def test_bad_rows_are_counted_and_shown(response, row, message):
    rows = np.array([[1.0, 0, 0], row, [1.0, 0, 0]])
    with pytest.raises(EventError, match=message) as error:
        response.component_pdf(rows)
    assert "1 of 3 events" in str(error.value)
    assert "[1]" in str(error.value)


def test_unknown_observations_and_shapes(two_pointings, response):
    with pytest.raises(EventError, match="unknown observation"):
        two_pointings.component_pdf([[1.0, 0.0, 0.0, 2.0]])
    with pytest.raises(EventError, match="shape"):
        response.component_pdf([[1.0, 0.0]])
