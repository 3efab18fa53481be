"""Densities, acceptances and the simulator at full precision: the long versions of tests/physics."""

import numpy as np
import pytest
from oracle import Oracle
from setups import (
    P_VALUE,
    chi_square,
    column,
    count_in_bins,
    edge_sources,
    only,
    pdf_in_bins,
    pdf_integral,
    quick_start_components,
    quick_start_response,
    relative_errors,
    simulated_acceptance,
)

pytestmark = pytest.mark.slow

SKY = {component.name: component for component in [*quick_start_components(), *edge_sources()]}
EVENTS = 100
ENERGY = np.geomspace(0.1, 100, 19)
RADIUS = np.r_[np.linspace(0, 3.2, 17), 3.6, 4.0, 4.53]


@pytest.fixture(scope="module")
def response():
    return quick_start_response()


@pytest.fixture(scope="module")
def oracle(response):
    return Oracle(response.observations[0], response.roi, response.energy_true_edges)


@pytest.mark.parametrize("name", [name for name in SKY if name != "ccr"])
def test_density_of_random_events_is_that_of_brute_force(response, oracle, name, rng):
    rows = response.simulate_rows(only(response, name), EVENTS, rng)
    k = column(response, name)
    density = response.component_pdf(rows)[:, k] * float(response.acceptance[k])
    truth = oracle.component(SKY[name], rows)
    median, high = relative_errors(density, truth)
    bias = float(np.mean(density / truth - 1))
    print(f"density {name:14s} {EVENTS} events: median {median:.3%}, 95 % within {high:.3%}, mean {bias:+.3%}")
    assert median < 1e-3
    assert high < 1e-2


@pytest.mark.parametrize(
    ("name", "photons"),
    [
        ("diffuse", 2_000_000),
        ("far point", 1_000_000),
        ("far gaussian", 1_000_000),
        ("edge point", 2_000_000),
        ("outside point", 8_000_000),
        ("edge gaussian", 3_000_000),
    ],
)
def test_acceptance_is_the_simulated_one(response, name, photons, rng):
    counts, error = simulated_acceptance(response, SKY[name], photons, rng)
    ours = float(response.acceptance[column(response, name)])
    print(f"acceptance {name:14s} {ours:11.5g}, simulated {ours / counts - 1:+.3%} off, +- {error / counts:.3%}")
    assert error / counts < 1.1e-3
    assert abs(ours - counts) < 4 * error


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("diffuse", 0.1),
        ("hgps", 0.03),
        ("ccr", 0.1),
        ("far point", 0.01),
        ("edge point", 0.005),
        ("outside point", 0.004),
        ("far gaussian", 0.05),
        ("edge gaussian", 0.05),
    ],
)
def test_density_integrates_to_one_over_the_region(response, name, step):
    total = pdf_integral(response, name, step, per_decade=60)
    print(f"integral of the density {name:14s} 1 {total - 1:+.3%}")
    assert abs(total - 1) < 2e-3


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("diffuse", 0.05),
        ("hgps", 0.03),
        ("ccr", 0.05),
        ("far point", 0.01),
        ("edge point", 0.004),
        ("far gaussian", 0.05),
        ("edge gaussian", 0.02),
    ],
)
def test_a_million_events_are_distributed_as_expected(response, name, step, rng):
    rows = response.simulate_rows(only(response, name), 1_000_000, rng)
    expected = pdf_in_bins(response, name, ENERGY, RADIUS, step, per_decade=60)
    statistic, freedom, p = chi_square(count_in_bins(response, rows, ENERGY, RADIUS), expected)
    print(f"simulator {name:14s} chi-square {statistic:.1f} for {freedom} degrees of freedom, p = {p:.3f}")
    assert p > P_VALUE
