"""Predicted counts in bins, from simulated lists and from fractions, and the pictures made of them."""

from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from scipy import stats
from setups import P_VALUE, chi_square, direction, pointing, quick_start_irfs, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError, PymcGammaWarning
from pymc_gamma.events.histogram import Bins
from pymc_gamma.events.skymap import SkyMap
from pymc_gamma.plotting import SkyCells, plot_counts, plot_counts_spectrum, plot_ppc, plot_radial_profile
from pymc_gamma.plotting.panels import draw_residuals, poisson_interval
from pymc_gamma.plotting.prediction import Prediction, bin_probability, ring_nodes

FRACTION = np.array([0.3, 0.7])
CENTER = direction(0.3, 0.2)


@pytest.fixture(scope="module")
def response():
    components = [source("point", 0.3, 0.2, index=2.4, amplitude=2e-11), pmg.CosmicRayBackground()]
    return pmg.fold(components, pointing(hours=5.0), region(width=2.0, energy=(0.3, 50.0)))


@pytest.fixture(scope="module")
def free_response(response):
    return response.refold(free_spectrum=["point"])


def posterior(response, rng, fraction=FRACTION, draws=200):
    values = rng.dirichlet(20_000 * np.asarray(fraction), (2, draws))
    return xr.Dataset(
        {"fraction": (("chain", "draw", "component"), values)}, coords={"component": list(response.component_names)}
    )


def predictive(response, rng, draws=60, n=3000, spread=0, name="events"):
    """Lists of simulated events, with padding where their number varies."""
    sizes = n + (rng.integers(-spread, spread + 1, draws) if spread else np.zeros(draws, int))
    lists = np.full((1, draws, int(sizes.max()), len(response.reco)), np.nan)
    for one, size in zip(lists[0], sizes, strict=True):
        one[:size] = response.simulate_rows(FRACTION, size, rng)
    return xr.Dataset({name: (("chain", "draw", "event", "reco"), lists)}, coords={"reco": list(response.reco)})


def tree(**groups):
    return xr.DataTree.from_dict(groups)


def toy_lists(rows, reco=("energy", "lon", "lat"), frame="galactic"):
    toy = SimpleNamespace(roi=SimpleNamespace(frame=frame), reco=reco)
    return xr.Dataset({"events": (("chain", "draw", "event", "reco"), np.asarray(rows, float))}), toy


NAN = [np.nan] * 3
ROWS = [[[[1.0, 0.0, 0.0], [1.5, 0.1, 0.0], [20.0, 0.0, 0.3]], [[3.0, 0.0, -0.2], NAN, NAN]]]


@pytest.mark.parametrize(
    ("kwargs", "dims", "counts"),
    [
        ({}, (), [3, 1]),
        ({"energy": [1, 2, 20] * u.TeV}, ("energy",), [[2, 1], [0, 1]]),
        ({"energy": [1000, 2000] * u.GeV}, ("energy",), [[2], [0]]),
        (
            {"lon": [-1, 0.05, 1] * u.deg, "lat": [-1, 0, 1] * u.deg},
            ("lat", "lon"),
            [[[0, 0], [2, 1]], [[1, 0], [0, 0]]],
        ),
        ({"center": CENTER, "radius": [0, 0.35, 9] * u.deg}, ("radius",), [[2, 1], [0, 1]]),
        ({"center": CENTER.icrs, "radius": [0, 21, 540] * u.arcmin}, ("radius",), [[2, 1], [0, 1]]),
        ({"energy": [1, 50] * u.TeV, "center": CENTER, "radius": [0, 9] * u.deg}, ("energy", "radius"), [[[3]], [[1]]]),
    ],
)
def test_counts_of_lists_skip_the_padding(kwargs, dims, counts):
    lists, toy = toy_lists(ROWS)
    found = pmg.predictive_counts(lists, toy, **kwargs)
    assert found.dims == ("chain", "draw", *dims)
    np.testing.assert_array_equal(found.values[0], counts)


def test_coordinates_are_centres_with_units():
    lists, toy = toy_lists(ROWS)
    found = pmg.predictive_counts(lists, toy, [1, 4] * u.TeV, lon=[0, 1] * u.deg, lat=[2, 4] * u.deg)
    assert found["energy"].item() == pytest.approx(2.0)
    assert (found["lon"].item(), found["lat"].item()) == (0.5, 3.0)
    assert found["energy"].attrs["units"] == "TeV"
    assert found["lat"].attrs["units"] == "deg"
    assert found.attrs["units"] == "counts"


def test_longitudes_count_around_the_field():
    lists, toy = toy_lists([[[[1.0, 179.9, 0.0], [1.0, -179.8, 0.0]]]], frame="icrs")
    found = pmg.predictive_counts(lists, toy, lon=[179.5, 180.0, 180.5] * u.deg, lat=[-1, 1] * u.deg)
    np.testing.assert_array_equal(found.values.ravel(), [1, 1])


def test_multiplicities_count():
    reco = ("energy", "lon", "lat", "multiplicity")
    lists, toy = toy_lists([[[[1.0, 0, 0, 3], [1.0, 0, 0, 2], [9.0, 0, 0, 1]]]], reco)
    assert pmg.predictive_counts(lists, toy, [0.5, 2, 10] * u.TeV).values.tolist() == [[[5.0, 1.0]]]
    assert pmg.predictive_counts(lists, toy).values.tolist() == [[6.0]]


def test_draws_of_a_model(response):
    import pymc as pm

    with pm.Model(coords=response.coords):
        fraction = pm.Dirichlet("fraction", a=[30.0, 70.0], dims="component")
        pmg.EventMixture("events", fraction, response=response, n_events=50)
        prior = pm.sample_prior_predictive(4, random_seed=1, compile_kwargs={"mode": "FAST_COMPILE"})
    edges = [0.3, 1.0, 50.0] * u.TeV
    counts = pmg.predictive_counts(prior, response, edges, group=None)
    assert counts.dims == ("chain", "draw", "energy")
    assert counts.sum("energy").values.tolist() == [[50.0] * 4]
    events = pmg.Events.from_predictive(prior, response, draw=2)
    np.testing.assert_array_equal(counts.values[0, 2], np.histogram(events.energy, edges)[0])


def test_groups_and_names():
    lists, toy = toy_lists(ROWS)
    idata = tree(prior_predictive=lists)
    with pytest.raises(EventError, match="no group 'posterior_predictive'"):
        pmg.predictive_counts(idata, toy)
    assert pmg.predictive_counts(idata, toy, group="prior_predictive").shape == (1, 2)
    assert pmg.predictive_counts(idata, toy, group=None, var_name="events").shape == (1, 2)
    with pytest.raises(EventError, match="No variable named 'photons'"):
        pmg.predictive_counts(lists, toy, var_name="photons")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"lon": [0, 1] * u.deg}, EventError, "both lon and lat"),
        ({"center": CENTER}, EventError, "center and radius go together"),
        ({"radius": [0, 1] * u.deg}, EventError, "center and radius go together"),
        (
            {"lon": [0, 1] * u.deg, "lat": [0, 1] * u.deg, "center": CENTER, "radius": [0, 1] * u.deg},
            EventError,
            "either lon and lat",
        ),
        ({"center": CENTER, "radius": [-1, 1] * u.deg}, EventError, "must not be negative"),
        ({"center": (0, 0), "radius": [0, 1] * u.deg}, TypeError, "center must be an astropy SkyCoord"),
        (
            {"center": SkyCoord([0, 1], [0, 1], unit="deg"), "radius": [0, 1] * u.deg},
            EventError,
            "a single direction",
        ),
        ({"energy": [2, 1] * u.TeV}, EventError, "energy edges must be two or more increasing"),
        ({"energy": [1, 2]}, TypeError, "energy must be an astropy Quantity"),
    ],
)
def test_edges_that_do_not_fit(kwargs, error, message):
    lists, toy = toy_lists(ROWS)
    with pytest.raises(error, match=message):
        pmg.predictive_counts(lists, toy, **kwargs)


def test_lists_that_are_none():
    _, toy = toy_lists(ROWS)
    flat = xr.Dataset({"events": (("chain", "draw", "reco"), np.ones((1, 2, 3)))})
    with pytest.raises(EventError, match=r"events need \(chain, draw, event, reco\)"):
        pmg.predictive_counts(flat, toy)
    lists, toy = toy_lists(np.ones((1, 2, 4, 2)), ("energy", "lon"))
    with pytest.raises(EventError, match="lat are needed too"):
        pmg.predictive_counts(lists, toy)
    lists, toy = toy_lists(np.full((1, 2, 4, 3), np.nan))
    assert pmg.predictive_counts(lists, toy, [1, 2] * u.TeV).values.tolist() == [[[0.0], [0.0]]]


RUNS = (((0.0, 0.0), 5.0, "first"), ((0.6, -0.5), 2.0, "second"), ((-0.4, 0.3), 1.0, "third"))


@pytest.fixture(scope="module")
def runs():
    """Three named observations, of different pointings and times."""
    return [
        pmg.Observation(quick_start_irfs(), direction(*place), hours * u.h, name=name) for place, hours, name in RUNS
    ]


@pytest.fixture(scope="module")
def several(runs):
    components = [source("point", 0.3, 0.2, index=2.4, amplitude=2e-11), pmg.CosmicRayBackground()]
    return pmg.fold(components, runs, region(width=2.0, energy=(0.3, 50.0)))


@pytest.fixture(scope="module")
def alone(runs):
    """The second observation by itself."""
    components = [source("point", 0.3, 0.2, index=2.4, amplitude=2e-11), pmg.CosmicRayBackground()]
    return pmg.fold(components, runs[1], region(width=2.0, energy=(0.3, 50.0)))


@pytest.mark.parametrize("observation", [1, np.int64(1), "second"])
def test_one_observation_of_several_is_that_observation(several, alone, observation):
    edges = np.array([0.3, 2.0, 50.0])
    lon, lat = np.array([0.3, 0.31, -0.8, 0.0]), np.array([0.2, 0.2, 0.9, -0.5])
    np.testing.assert_allclose(
        several.surface_density(lon, lat, edges, observation=observation), alone.surface_density(lon, lat, edges)
    )
    np.testing.assert_allclose(several.npred(edges * u.TeV, observation=observation), alone.npred(edges * u.TeV))


def test_observations_sum_to_all(several):
    edges = np.array([0.3, 2.0, 50.0])
    lon, lat, _ = several.roi.quadrature(0.3)
    parts = sum(several.surface_density(lon, lat, edges, observation=name) for name in ("first", "second", "third"))
    np.testing.assert_allclose(parts, several.surface_density(lon, lat, edges))
    whole = SkyCells.from_response(several, 8)
    parts = sum(whole.of_observation(several, index).probability for index in range(3))
    np.testing.assert_allclose(parts, whole.probability, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("observation", "error", "message"),
    [
        ("fourth", EventError, r"no observation named 'fourth'; the response has \['first', 'second', 'third'\]"),
        (3, EventError, "no observation 3; the response has 3, from 0"),
        (-1, EventError, "no observation -1"),
        (True, TypeError, "an index or a name, got True"),
        (1.0, TypeError, "an index or a name, got 1.0"),
    ],
)
def test_unknown_observations(several, rng, observation, error, message):
    events, idata = several.simulate(FRACTION, 50, rng=rng), posterior(several, rng)
    for plot in (plot_counts_spectrum, plot_ppc, plot_counts):
        with pytest.raises(error, match=message):
            plot(events, several, idata, observation=observation)
    with pytest.raises(error, match=message):
        plot_radial_profile(events, several, idata, CENTER, observation=observation)
    with pytest.raises(error, match=message):
        several.surface_density([0.0], [0.0], [1, 2], observation=observation)
    with pytest.raises(error, match=message):
        several.npred(observation=observation)


def test_names_that_are_numbers(runs):
    named = pmg.Observation(runs[0].irfs, runs[0].pointing, runs[0].livetime, name="23523")
    response = pmg.fold([pmg.CosmicRayBackground()], named, region(width=2.0, energy=(0.3, 50.0)))
    with pytest.raises(EventError, match=r"no observation 23523; .* Its name is a string: observation='23523'"):
        response.npred(observation=23523)


def test_probabilities_of_an_observation_agree_with_simulation(several, rng):
    """Bins of energy and radius in each observation: together they hold every event."""
    n = 100_000
    events = several.simulate(FRACTION, n, rng=rng)
    bins = Bins.from_quantities(
        "galactic", [0.3, 1, 50] * u.TeV, center=CENTER, radius=[0, 0.05, 0.1, 0.3, 1.0] * u.deg
    )
    counts, probability = [], []
    for index in range(3):
        counts.append(bins.count_events(events[events.observation == index]).ravel())
        probability.append(FRACTION @ bin_probability(several, bins, index).reshape(2, -1))
    counts, probability = np.concatenate(counts), np.concatenate(probability)
    _, _, p_value = chi_square(np.append(counts, n - counts.sum()), np.append(probability, 1 - probability.sum()))
    assert p_value > P_VALUE


def model_of(axes, label="model"):
    return next(patch for patch in axes.patches if patch.get_label() == label).get_data().values


@pytest.mark.parametrize("observation", [1, "second"])
def test_pictures_of_one_observation(several, alone, rng, observation):
    """Data, expectation and prediction are those of the observation; what is expected comes from a fold of its own."""
    n = 6000
    events = several.simulate(FRACTION, n, rng=rng)
    mine = events[events.observation == 1]
    idata = posterior(several, rng)
    per_event = FRACTION / several.acceptance.values  # counts of the observation for one event of all
    energy = [0.3, 1, 5, 50] * u.TeV
    figure = plot_counts_spectrum(events, several, idata, energy=energy, observation=observation)
    upper, lower = figure.axes
    assert upper.get_title() == "observation second"
    np.testing.assert_array_equal(
        upper.containers[0].lines[0].get_ydata(), np.histogram(mine.energy.value, energy.value)[0]
    )
    expected = n * per_event @ alone.npred(energy).values
    np.testing.assert_allclose(model_of(upper), expected, rtol=0.01)
    assert np.abs(residual_points(lower)).max() < 4

    radius = [0, 0.1, 0.3, 0.6] * u.deg
    figure = plot_radial_profile(events, several, idata, CENTER, radius=radius, observation=observation)
    upper, lower = figure.axes
    area = 2 * np.pi * -np.diff(np.cos(np.radians(radius.value))) * np.degrees(1) ** 2
    counts = np.histogram(mine.coords.separation(CENTER).deg, radius.value)[0]
    np.testing.assert_allclose(upper.containers[0].lines[0].get_ydata(), counts / area)
    rings = Bins.from_quantities("galactic", center=CENTER, radius=radius)
    expected = n * per_event @ (bin_probability(alone, rings) * alone.acceptance.values[:, None])
    np.testing.assert_allclose(model_of(upper) * area, expected, rtol=0.01)
    assert upper.get_title() == "observation second"

    figure = plot_ppc(events, several, idata, bins=10, observation=observation)
    assert sum(figure.axes[0].lines[-1].get_ydata()) == len(mine)
    assert np.abs(figure.axes[3].lines[-1].get_ydata()).max() < 4
    assert figure.axes[0].get_title() == "observation second"
    shared = SkyCells.from_response(several, 10)  # of all observations: their edges count
    again = plot_ppc(events, several, idata, bins=10, sky=shared, observation=observation)
    for one, other in zip(figure.axes, again.axes, strict=True):
        np.testing.assert_array_equal(one.lines[-1].get_ydata(), other.lines[-1].get_ydata())

    figure = plot_counts(events, several, idata, cells=6, observation=observation)
    assert figure.get_suptitle() == "observation second"
    model = figure.axes[1].collections[0].get_array()
    assert model.sum() == pytest.approx(n * per_event @ alone.acceptance.values, rel=0.01)


def test_predictive_draws_of_one_observation(several, rng):
    lists = predictive(several, rng, 40, 2000, spread=30)
    events = several.simulate(FRACTION, 2000, rng=rng)
    rows = lists["events"].values
    expected = np.nansum(rows[..., 3] == 1, axis=-1)
    found = pmg.predictive_counts(lists, several, observation="second")
    np.testing.assert_array_equal(found, expected)
    assert found.values.min() > 0
    draws = tree(posterior_predictive=lists)
    figure = plot_counts_spectrum(events, several, draws, energy=[0.3, 50] * u.TeV, observation="second")
    np.testing.assert_allclose(model_of(figure.axes[0]), expected.mean())
    assert np.abs(residual_points(figure.axes[1])).max() < 4
    figure = plot_ppc(events, several, draws, bins=8, observation="second")
    assert np.abs(figure.axes[3].lines[-1].get_ydata()).max() < 4


def test_observation_without_events(several, rng):
    events = several.simulate(FRACTION, 300, rng=rng)
    others = events[events.observation != 1]
    with pytest.raises(EventError, match="observation second has none"):
        plot_counts_spectrum(others, several, posterior(several, rng), observation="second")


def test_observation_of_a_single_one(response, rng):
    events = response.simulate(FRACTION, 500, rng=rng)
    figure = plot_counts_spectrum(events, response, posterior(response, rng), observation=0, energy=[0.3, 50] * u.TeV)
    assert figure.axes[0].containers[0].lines[0].get_ydata().sum() == 500
    assert figure.axes[0].get_title() == "observation 0"


def test_surface_density_integrates_to_npred(response):
    edges = np.array([0.1, 0.3, 2.0, 50.0, 80.0])
    lon, lat, weight = response.roi.quadrature(0.02)
    counts = response.surface_density(lon, lat, edges) @ weight
    np.testing.assert_allclose(counts, response.npred(energy=edges * u.TeV).values, rtol=2e-3)
    assert np.all(counts[:, [0, 3]] == 0)
    assert np.all(response.surface_density([5.0], [0.0], edges) == 0)


def test_solid_angles_of_rings():
    edges = np.array([0.0, 0.1, 0.5, 2.0])
    for center in ((0.0, 0.0), (130.0, 89.9)):
        vectors, weight, ring = ring_nodes(center, edges)
        np.testing.assert_allclose(np.bincount(ring, weight), 2 * np.pi * -np.diff(np.cos(np.radians(edges))))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"energy": np.geomspace(0.5, 50, 9) * u.TeV},
        {"center": CENTER, "radius": np.linspace(0, 0.8, 13) * u.deg},
        {"energy": [0.3, 1, 5] * u.TeV, "center": CENTER, "radius": [0, 0.05, 0.1, 0.3, 1.0] * u.deg},
        {"center": direction(-0.5, 0.5), "radius": np.linspace(0.2, 1.4, 7) * u.deg},
    ],
)
def test_probabilities_agree_with_simulation(response, rng, kwargs):
    bins = Bins.from_quantities("galactic", **kwargs)
    probability = FRACTION @ bin_probability(response, bins).reshape(2, -1)
    n = 100_000
    counts = bins.count_events(response.simulate(FRACTION, n, rng=rng)).ravel()
    outside = max(1 - probability.sum(), 0.0)
    _, _, p_value = chi_square(np.append(counts, n - counts.sum()), np.append(probability, outside))
    assert p_value > P_VALUE


def test_draws_and_fractions_predict_the_same(response, rng):
    bins = Bins.from_quantities("galactic", center=CENTER, radius=np.linspace(0, 0.5, 6) * u.deg)
    n, draws = 3000, 60
    mean = pmg.predictive_counts(
        predictive(response, rng, draws, n), response, center=CENTER, radius=bins.radius * u.deg
    ).mean(("chain", "draw"))
    expected = n * FRACTION @ bin_probability(response, bins)
    chi2 = float(np.sum((mean.values - expected) ** 2 / (expected / draws)))
    assert stats.chi2.sf(chi2, len(expected)) > P_VALUE


def test_poisson_intervals():
    low, high = poisson_interval([0.0, 1.0, 10_000.0])
    np.testing.assert_allclose(low, [0.0, 0.173, 9900.0], atol=6e-4, rtol=2e-4)
    np.testing.assert_allclose(high, [1.841, 3.300, 10101.0], atol=6e-4, rtol=2e-4)


def residual_points(axes):
    return axes.containers[-1].lines[0].get_ydata()


def test_residuals_vanish_when_the_model_is_the_data(rng):
    import matplotlib.pyplot as plt

    counts = np.array([100.0, 25.0, 0.0])
    expected = np.repeat(counts[None, None], 50, axis=0)
    edges = np.arange(4.0)
    figure, (equal, off) = plt.subplots(1, 2)
    prediction = Prediction(rng.poisson(expected.sum(axis=1)).astype(float), expected)
    draw_residuals(equal, edges, edges[:-1] + 0.5, counts, prediction)
    np.testing.assert_array_equal(residual_points(equal), [0.0, 0.0, np.nan])
    assert equal.get_ylim() == (-3.5, 3.5)
    draw_residuals(off, edges, edges[:-1] + 0.5, counts + np.array([20, 100, 0]), prediction)
    np.testing.assert_allclose(residual_points(off)[:2], [2.0, 20.0])
    assert off.get_ylim() == (-8, 8)
    assert [line.get_marker() for line in off.lines].count("^") == 1
    figure.clear()


def test_counts_spectrum_from_fractions(response, rng):
    events = response.simulate(FRACTION, 3000, rng=rng)
    figure = plot_counts_spectrum(events, response, posterior(response, rng), energy=15)
    upper, lower = figure.axes
    (container,) = upper.containers
    assert container.lines[0].get_ydata().sum() == 3000
    assert np.abs(residual_points(lower)).max() < stats.norm.isf(P_VALUE / 2 / 15) + 1
    labels = [text.get_text() for text in upper.get_legend().get_texts()]
    assert labels == ["point", "ccr", "prediction, 95 %", "prediction, 68 %", "model", "events"]
    assert lower.get_xlabel() == "Reconstructed energy [TeV]"
    assert upper.get_yscale() == "log"


def test_counts_spectrum_around_a_direction(response, rng):
    events = response.simulate(FRACTION, 3000, rng=rng)
    near = events[events.coords.separation(CENTER) < 0.2 * u.deg]
    idata = posterior(response, rng)
    figure = plot_counts_spectrum(
        events, response, idata, energy=[0.3, 1, 5, 50] * u.TeV, center=CENTER, radius=12 * u.arcmin
    )
    counts = figure.axes[0].containers[0].lines[0].get_ydata()
    assert counts.sum() == len(near)
    assert figure.axes[0].get_title().startswith("within 0.2 deg of (0.3, 0.2)")
    assert np.abs(residual_points(figure.axes[1])).max() < 4


def test_free_spectra_need_predictive_draws(free_response, rng):
    events = free_response.simulate(FRACTION, 3000, rng=rng)
    idata = posterior(free_response, rng)
    for plot in (plot_counts_spectrum, plot_counts, plot_ppc):
        with pytest.raises(ModelError, match=r"'point' are free.*sample_posterior_predictive"):
            plot(events, free_response, idata)
    with pytest.raises(ModelError, match="sample_posterior_predictive"):
        plot_radial_profile(events, free_response, idata, CENTER)
    both = tree(posterior=idata, posterior_predictive=predictive(free_response, rng, spread=50))
    figure = plot_counts_spectrum(events, free_response, both, energy=12)
    assert np.abs(residual_points(figure.axes[1])).max() < 4.5
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["prediction, 95 %", "prediction, 68 %", "model", "events"]
    model = plot_counts(events, free_response, both, cells=6).axes[1].collections[0].get_array()
    assert model.sum() == pytest.approx(3000, rel=0.02)
    figure = plot_ppc(events, free_response, both, bins=10)
    assert np.abs(figure.axes[3].lines[-1].get_ydata()).max() < 4
    assert len(figure.axes) == 6


def test_predictive_draws_on_request(response, rng):
    events = response.simulate(FRACTION, 2000, rng=rng)
    idata = posterior(response, rng)
    with pytest.raises(ModelError, match="asked for with predictive="):
        plot_counts_spectrum(events, response, idata, predictive="events")
    both = tree(posterior=idata, posterior_predictive=predictive(response, rng, 20, 2000))
    figure = plot_counts_spectrum(events, response, both, predictive="events")
    assert "ccr" not in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    # a posterior without fractions has nothing else to go by
    lists = both["posterior_predictive"].to_dataset()
    alone = tree(posterior=idata.rename(fraction="norm"), posterior_predictive=lists)
    figure = plot_counts_spectrum(events, response, alone)
    assert "ccr" not in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    with pytest.raises(ModelError, match="no variable 'fraction'"):
        plot_counts_spectrum(events, response, idata.rename(fraction="norm"))


def test_weights_choose_predictive_draws(response, rng):
    events = response.simulate(FRACTION, 1000, rng=rng)
    lists = xr.concat([predictive(response, rng, 3, 500), predictive(response, rng, 3, 500)], "chain")
    weights = [0, 0, 0, 0, 1.0, 0]
    figure = plot_counts_spectrum(
        events, response, tree(posterior_predictive=lists), energy=[0.3, 1, 50] * u.TeV, weights=weights
    )
    only = pmg.predictive_counts(lists, response, [0.3, 1, 50] * u.TeV).values[1, 1]
    model = next(patch for patch in figure.axes[0].patches if patch.get_label() == "model")
    np.testing.assert_allclose(model.get_data().values, only)


@pytest.mark.parametrize("squared", [False, True])
def test_radial_profile(response, rng, squared):
    events = response.simulate(FRACTION, 3000, rng=rng)
    figure = plot_radial_profile(
        events, response, posterior(response, rng), CENTER.icrs, radius=0.5 * u.deg, bins=10, squared=squared
    )
    upper, lower = figure.axes
    edges = 0.5 * np.sqrt(np.linspace(0, 1, 11)) if squared else np.linspace(0, 0.5, 11)
    separation = events.coords.separation(CENTER).deg
    counts, _ = np.histogram(separation, edges)
    area = 2 * np.pi * -np.diff(np.cos(np.radians(edges))) * np.degrees(1) ** 2
    drawn = upper.containers[0].lines[0]
    np.testing.assert_allclose(drawn.get_ydata(), (counts / area)[counts > 0], rtol=1e-9)
    assert upper.get_yscale() == ("linear" if squared else "log")
    assert np.abs(residual_points(lower)).max() < 4
    assert ("theta^2" in lower.get_xlabel()) == squared
    assert lower.get_xlim() == pytest.approx((0, edges[-1] ** (2 if squared else 1)))


def test_radial_profile_stops_at_the_region(response, rng):
    events = response.simulate(FRACTION, 3000, rng=rng)
    corner = direction(0.9, 0.9)
    figure = plot_radial_profile(
        events, response, posterior(response, rng), corner, radius=[0, 0.5, 1.0, 2.0, 6.0] * u.deg, residuals=False
    )
    (axes,) = figure.axes
    assert axes.get_xlim() == (0, 2.0)
    # the background is flat: rings cut at the edge have the same density as whole ones
    model = next(patch for patch in axes.patches if patch.get_label() == "ccr").get_data().values
    np.testing.assert_allclose(model[:3], model[0], rtol=0.1)
    assert axes.get_yscale() == "linear"


def test_radial_profile_in_an_energy_range(response, rng):
    events = response.simulate(FRACTION, 3000, rng=rng)
    figure = plot_radial_profile(
        events, response, posterior(response, rng), CENTER, radius=[0, 0.1, 0.3] * u.deg, energy=[1, 5] * u.TeV
    )
    inside = (events.energy >= 1 * u.TeV) & (events.energy <= 5 * u.TeV)
    counts, edges = np.histogram(events[inside].coords.separation(CENTER).deg, [0, 0.1, 0.3])
    area = 2 * np.pi * -np.diff(np.cos(np.radians(edges))) * np.degrees(1) ** 2
    np.testing.assert_allclose(figure.axes[0].containers[0].lines[0].get_ydata(), counts / area)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"center": direction(20, 0)}, EventError, "whose centre is 20 deg away"),
        ({"radius": 0 * u.deg}, EventError, "radius must be positive"),
        ({"radius": 1 * u.TeV}, u.UnitConversionError, "radius must be convertible to deg"),
        ({"energy": [1, 2, 3] * u.TeV}, EventError, "must be a range"),
    ],
)
def test_profiles_that_cannot_be_drawn(response, rng, kwargs, error, message):
    events = response.simulate(FRACTION, 10, rng=rng)
    with pytest.raises(error, match=message):
        plot_radial_profile(events, response, posterior(response, rng), **({"center": CENTER} | kwargs))


def test_pictures_of_nothing_are_refused(response, rng):
    none = pmg.Events([] * u.TeV, [] * u.deg, [] * u.deg, frame="galactic")
    with pytest.raises(EventError, match="empty"):
        plot_counts_spectrum(none, response, posterior(response, rng))
    with pytest.raises(EventError, match="empty"):
        plot_radial_profile(none, response, posterior(response, rng), CENTER)


@pytest.mark.parametrize(("lon", "lat"), [(0.0, 89.5), (120.0, -88.0), (300.0, 90.0), (83.0, 22.0), (180.0, 0.0)])
def test_maps_are_reversible_and_keep_lengths(lon, lat, rng):
    sky = SkyMap("icrs", lon, lat)
    x, y = sky.coordinates([lon], [lat])
    around = sky.directions(x + rng.uniform(-1, 1, 200), y + rng.uniform(-1, 1, 200))
    again = sky.directions(*sky.coordinates(*around))
    here, back = (SkyCoord(*pair, unit="deg") for pair in (around, again))
    assert here.separation(back).deg.max() < 1e-9
    if sky.polar:
        x, y = sky.coordinates(*around)
        np.testing.assert_allclose(
            np.hypot(x, y), here.separation(SkyCoord(lon, lat, unit="deg")).deg, rtol=2e-4, atol=1e-9
        )
        assert sky.labels[0].startswith("Offset east of RA")


def test_counts_maps_near_a_pole(rng):
    components = [source("north", 40, 89.6, index=2.4, amplitude=2e-11, frame="icrs"), pmg.CosmicRayBackground()]
    roi = region(0, 89.5, "icrs", energy=(0.3, 50.0), width=2.0)
    response = pmg.fold(components, pointing(0, 89.5, "icrs", 5.0), roi)
    events = response.simulate(FRACTION, 4000, rng=rng)
    sky = SkyCells.from_response(response, 12)
    np.testing.assert_allclose(sky.probability.sum(axis=(1, 2)), 1)
    assert sky.lon[-1] - sky.lon[0] == pytest.approx(2.0, rel=1e-2)
    counts = sky.bins.count_events(events)
    assert counts.sum() == 4000
    _, _, p_value = chi_square(counts, np.tensordot(FRACTION, sky.probability, 1))
    assert p_value > P_VALUE
    figure = plot_counts(events, response, posterior(response, rng), cells=sky)
    assert "Offset east" in figure.axes[0].get_xlabel()
    assert figure.axes[0].get_aspect() == 1
    figure = plot_ppc(events, response, posterior(response, rng), sky=sky)
    assert "Offset north" in figure.axes[5].get_xlabel()
    assert "Offset east" in events.peek().axes[0].get_xlabel()


@pytest.mark.parametrize("kind", ["counts", "spectrum", "radial", "ppc"])
def test_pictures_show_the_events_of_the_domain(kind, rng):
    """Events that a response does not expect are told and left out, whatever the picture."""
    components = [source("point", 0.3, 0.2, index=2.4, amplitude=2e-11), pmg.CosmicRayBackground()]
    far = pmg.Observation(
        quick_start_irfs(), direction(0, 0), livetime=5 * u.h, offset_max=0.6 * u.deg, energy_range=(1, 20) * u.TeV
    )
    cut = pmg.fold(components, far, region(width=2.0, energy=(0.3, 50.0)))
    whole = pmg.fold(components, pointing(hours=5.0), region(width=2.0, energy=(0.3, 50.0)))
    events = whole.simulate(FRACTION, 4000, rng=3)
    kept = (events.coords.separation(direction(0, 0)).deg <= 0.6) & (events.energy.value >= 1)
    kept &= events.energy.value <= 20
    draw = {
        "counts": lambda some: plot_counts(some, cut, posterior(cut, rng)),
        "spectrum": lambda some: plot_counts_spectrum(some, cut, tree(posterior=posterior(cut, rng))),
        "radial": lambda some: plot_radial_profile(some, cut, tree(posterior=posterior(cut, rng)), CENTER),
        "ppc": lambda some: plot_ppc(some, cut, tree(posterior=posterior(cut, rng))),
    }[kind]
    draw(events[kept])
    with pytest.warns(PymcGammaWarning, match=rf"{(~kept).sum()} of 4000 events lie outside.*largest offset, 0\.6 deg"):
        draw(events)
