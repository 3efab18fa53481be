"""Maps of the significance of residuals."""

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from setups import pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError
from pymc_gamma.plotting import SkyCells
from pymc_gamma.plotting.residuals import within_radius

RADIUS = 0.1 * u.deg


@pytest.fixture(scope="module")
def response():
    sky = [source("point", 0.3, 0.2, index=2.4, amplitude=5e-12), pmg.CosmicRayBackground()]
    return pmg.fold(sky, pointing(hours=5.0), region(width=2.0, energy=(0.3, 50.0)))


@pytest.fixture(scope="module")
def events(response):
    return response.simulate(rng=3)


def posterior(response, point):
    fraction = np.array([[[point, 1 - point]]])
    return xr.Dataset(
        {"fraction": (("chain", "draw", "component"), fraction)}, {"component": list(response.component_names)}
    )


def values_of(figure):
    return np.ma.filled(figure.axes[0].collections[0].get_array(), np.nan)


def test_sums_within_a_radius(response):
    """Against a loop over cells."""
    sky = SkyCells.from_response(response, 15)
    image = np.random.default_rng(1).poisson(2.0, (15, 15)).astype(float)
    lon, lat = (0.5 * (edge[1:] + edge[:-1]) for edge in (sky.lon, sky.lat))
    x, y = np.meshgrid(lon, lat)
    expected = [
        [image[np.hypot((x - a) * np.cos(np.radians(sky.sky.lat)), y - b) < 0.3].sum() for a in lon] for b in lat
    ]
    np.testing.assert_allclose(within_radius(image, sky, 0.3), expected, atol=1e-9)


def test_residuals_of_the_right_model_are_gaussian(response, events):
    acceptance = response.acceptance.values
    figure = pmg.plot_residuals(events, response, posterior(response, acceptance[0] / acceptance.sum()), radius=RADIUS)
    values = values_of(figure)
    values = values[np.isfinite(values)]
    n = 2.0**2 / (np.pi * 0.1**2)  # about so many are independent
    assert abs(values.mean()) < 4 / np.sqrt(n)
    assert abs(values.std() - 1) < 4 / np.sqrt(2 * n)
    assert f"mean {values.mean():+.2f}, width {values.std():.2f}" in [
        text.get_text() for text in figure.axes[1].get_legend().get_texts()
    ]


def test_a_source_that_the_model_lacks(response, events):
    """The largest value is that of the source, where it is."""
    figure = pmg.plot_residuals(events, response, posterior(response, 1e-6), radius=RADIUS)
    values, mesh = values_of(figure), figure.axes[0].collections[0]
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    lon, lat = mesh.get_coordinates()[row, column]
    assert np.hypot(lon - 0.3, lat - 0.2) < 0.06
    inside = np.hypot(events.lon.value - 0.3, events.lat.value - 0.2) < 0.1
    n, background = inside.sum(), len(events) * np.pi * 0.1**2 / 4.0  # flat, about
    expected = np.sqrt(2 * (n * np.log(n / background) - n + background))
    assert values[row, column] == pytest.approx(expected, rel=0.2)


def test_one_observation_and_bad_input(response, events):
    figure = pmg.plot_residuals(events, response, posterior(response, 0.1), radius=RADIUS, observation=0)
    assert figure.get_suptitle() == "observation 0"
    with pytest.raises(EventError, match="no events to draw"):
        pmg.plot_residuals(events[:0], response, posterior(response, 0.1))
    with pytest.raises(EventError, match=r"nowhere is as much as one event expected within 0\.01 deg"):
        pmg.plot_residuals(events[:50], response, posterior(response, 0.001), radius=0.01 * u.deg)
    with pytest.raises(ValueError, match="radius must be positive"):
        pmg.plot_residuals(events, response, posterior(response, 0.1), radius=0 * u.deg)
    with pytest.raises(EventError, match="no observation 3"):
        pmg.plot_residuals(events, response, posterior(response, 0.1), observation=3)
