"""The simulator follows the densities of the fold: chi-square in energy and radius from the pointing."""

import numpy as np
import pytest
from setups import (
    P_VALUE,
    chi_square,
    count_in_bins,
    only,
    pdf_in_bins,
    quick_start_response,
)

ENERGY = np.geomspace(0.1, 100, 13)
RADIUS = np.r_[np.linspace(0, 3.2, 9), 4.53]


@pytest.fixture(scope="module")
def response():
    return quick_start_response()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("diffuse", 0.1),
        ("ccr", 0.1),
        ("hgps", 0.025),  # at 0.05 the sum over points misses a part of the cores: chi-square of 72 instead of 57
        ("far point", 0.01),
        ("far gaussian", 0.05),
        ("edge gaussian", 0.05),
    ],
)
def test_events_are_distributed_as_expected(response, name, step, rng):
    rows = response.simulate_rows(only(response, name), 100_000, rng)
    expected = pdf_in_bins(response, name, ENERGY, RADIUS, step, per_decade=24)
    _, _, p = chi_square(count_in_bins(response, rows, ENERGY, RADIUS), expected)
    assert p > P_VALUE


def test_the_chi_square_can_fail(response, rng):
    rows = response.simulate_rows(only(response, "diffuse"), 100_000, rng)
    expected = pdf_in_bins(response, "ccr", ENERGY, RADIUS, 0.1, per_decade=24)
    assert chi_square(count_in_bins(response, rows, ENERGY, RADIUS), expected)[2] < P_VALUE


def test_mixture_weights_are_the_shares_of_the_components(response, rng):
    """A component that fills a corner of its own shows the number of its events."""
    weights = only(response, "diffuse") + 2 * only(response, "far point")
    rows = response.simulate_rows(weights, 30_000, rng)
    near = np.hypot(rows[:, 1] - 2.6, rows[:, 2] + 1.9) < 0.5
    pdf = response.component_pdf(rows[near])
    # events near the source: 20 000 from it, of which 98 % and more lie within 0.5 deg
    assert 19_000 < near.sum() < 20_700
    assert np.all(pdf >= 0)
