"""Counts densities and acceptances of the fold against brute force. The full version is in tests/validation."""

import astropy.units as u
import numpy as np
import pytest
from oracle import Oracle
from setups import (
    assert_close_to_brute_force,
    column,
    edge_sources,
    only,
    pdf_integral,
    pointing,
    quick_start_components,
    quick_start_response,
    region,
    simulated_acceptance,
)

import pymc_gamma as pmg
from pymc_gamma.response.asimov import CellEdges, _counts

SKY = {component.name: component for component in [*quick_start_components(), *edge_sources()]}
EVENTS = {"diffuse": 20, "hgps": 8, "far point": 100, "far gaussian": 20, "edge gaussian": 20, "outside point": 100}


@pytest.fixture(scope="module")
def response():
    return quick_start_response()


@pytest.fixture(scope="module")
def oracle(response):
    edges = response.energy_true_edges
    return Oracle(response.observations[0], response.roi, edges, n_energy=600, n_radius=24, n_azimuth=32)


@pytest.mark.parametrize("name", EVENTS)
def test_density_of_random_events_is_that_of_brute_force(response, oracle, name, rng):
    rows = response.simulate_rows(only(response, name), EVENTS[name], rng)
    k = column(response, name)
    density = response.component_pdf(rows)[:, k] * float(response.acceptance[k])
    assert_close_to_brute_force(density, oracle.component(SKY[name], rows))


@pytest.mark.parametrize(
    "name", ["far point", "far gaussian", "edge point", "outside point", "edge gaussian", "diffuse"]
)
def test_acceptance_is_the_simulated_one(response, name, rng):
    counts, error = simulated_acceptance(response, SKY[name], 200_000, rng)
    assert abs(float(response.acceptance[column(response, name)]) - counts) < 4 * error


@pytest.mark.parametrize(
    ("name", "step"),
    [("diffuse", 0.1), ("ccr", 0.1), ("far point", 0.02), ("edge point", 0.01), ("edge gaussian", 0.1)],
)
def test_density_integrates_to_one_over_the_region(response, name, step):
    assert abs(pdf_integral(response, name, step, per_decade=40) - 1) < 2e-3


@pytest.fixture(scope="module")
def even_sky():
    """A sky of one brightness, as a map that is drawn on a raster like all others."""
    from gammapy.maps import Map, WcsGeom
    from gammapy.modeling.models import PowerLawSpectralModel, TemplateSpatialModel

    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", npix=(120, 120), binsz=0.1, proj="CAR")
    spatial = TemplateSpatialModel(Map.from_geom(geom, data=1.0, unit="sr-1"), normalize=False, filename="even")
    return pmg.SkySource("even", spatial, PowerLawSpectralModel(index=2.5))


def test_an_even_sky_where_the_psf_widens(even_sky):
    """Photons come with the PSF of where they come from: 1 % more or less where it is wider there than at the event."""
    response = pmg.fold([even_sky], pointing(), region(energy=(0.5, 100.0), radius=4.2))
    edges = response.energy_true_edges
    brute = Oracle(response.observations[0], response.roi, edges, n_energy=400, n_radius=32, n_azimuth=64)
    offset = np.array([0.3, 1.5, 2.0, 2.5, 2.9, 3.42, 3.46, 3.5, 3.54, 3.8])
    rows = np.column_stack([np.full(len(offset), 0.6), offset * 0.8, offset * 0.6])
    density = response.component_pdf(rows)[:, 0] * float(response.acceptance[0])
    # no map in between: nodes of the response are 0.05 deg apart, and the width of the PSF has kinks at 2.5 and 3.5 deg
    np.testing.assert_allclose(density, brute.component(even_sky, rows), rtol=2.5e-3)


def test_cells_hold_as_many_as_are_expected():
    """A likelihood of 10^8 events sees 1e-4 of difference between the integral of its densities and its acceptance."""
    response = pmg.fold([pmg.GalacticDiffuse()], pointing(), region(energy=(0.5, 100.0), width=6.4), pixel=0.02 * u.deg)
    folded = response._fold
    rows = CellEdges(response.roi, np.array([0.5, 1.0, 100.0]) * u.TeV, 0.4 * u.deg, None, None).in_domain(
        folded.domains[0]
    )
    counts = _counts(folded, folded.folded[0], np.arange(1), rows)
    expected = response.npred(energy=[0.5, 1.0, 100.0] * u.TeV).values.reshape(-1)
    in_bins = [counts[rows[:, 0] < 0.9].sum(), counts[rows[:, 0] > 0.9].sum()]
    np.testing.assert_allclose(in_bins, expected, rtol=4e-5)
