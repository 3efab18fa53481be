"""Counts densities and acceptances of the fold against brute force. The full version is in tests/validation."""

import pytest
from oracle import Oracle
from setups import (
    assert_close_to_brute_force,
    column,
    edge_sources,
    only,
    pdf_integral,
    quick_start_components,
    quick_start_response,
    simulated_acceptance,
)

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
