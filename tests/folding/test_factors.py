"""Columns of many widths as combinations of a few of them: against least squares of NumPy."""

import numpy as np
import pytest

from pymc_gamma.folding.factors_kernels import FAINT, MAX_PIVOTS, pick_pivots

N_WIDTHS, N_NODES = 20, 90
TOLERANCE = 2e-4
WEIGHTS = np.stack([np.arange(1, N_WIDTHS + 1) ** power for power in (-1.5, 0.0, 2.0)])
WEIGHTS /= WEIGHTS.sum(axis=1, keepdims=True)


@pytest.fixture
def columns(rng):
    """Columns of events at some distances: Gaussians widened by a PSF that narrows with the energy, times noise."""
    variance = (0.01 * 1.5 ** np.arange(N_WIDTHS)[:, None]) ** 2 + np.geomspace(0.2, 0.05, N_NODES) ** 2
    distance = np.array([0.0, 0.1, 0.6, 2.0])[:, None, None]
    brightness = np.exp(-0.5 * distance**2 / variance) / variance
    dispersion = np.exp(-0.5 * ((np.arange(N_NODES) - 40) / 12.0) ** 2) * rng.uniform(0.7, 1.3, N_NODES)
    dispersion[(np.arange(N_NODES) < 5) | (np.arange(N_NODES) > 80)] = 0
    return brightness * dispersion


def picked(columns):
    pivots = np.empty((len(columns), MAX_PIVOTS), np.int64)
    factors = np.empty((len(columns), MAX_PIVOTS, N_WIDTHS))
    pick_pivots(columns, WEIGHTS, TOLERANCE, pivots, factors)
    return pivots, factors


def test_factors_are_those_of_least_squares(columns):
    pivots, factors = picked(columns)
    for own, which, found in zip(columns, pivots, factors, strict=True):
        which = which[which >= 0]
        assert 1 < len(which) < MAX_PIVOTS
        densities = WEIGHTS @ own
        mean = (densities / densities.max(axis=1, keepdims=True)).mean(axis=0)
        weight = np.maximum(mean / mean.max(), FAINT) ** -0.75
        expected = np.linalg.lstsq((own[which] * weight).T, (own * weight).T, rcond=None)[0]
        np.testing.assert_allclose(found[: len(which)], expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
        np.testing.assert_allclose(found[: len(which), which], np.eye(len(which)), atol=1e-9)
        assert not found[len(which) :].any()


@pytest.mark.parametrize("end", [0.3, 0.5, 1.0])
def test_densities_are_right_for_all_profiles_and_spectra(columns, end):
    pivots, factors = picked(columns)
    at = np.arange(N_NODES) / N_NODES
    spectrum = np.exp(-3 * at) * (at < end)
    for own, which, found in zip(columns, pivots, factors, strict=True):
        combined = np.einsum("jg,jn->gn", found[which >= 0], own[which[which >= 0]])
        np.testing.assert_allclose(WEIGHTS @ combined @ spectrum, WEIGHTS @ own @ spectrum, rtol=TOLERANCE)


def test_columns_that_are_alike_need_one():
    columns = np.arange(1.0, N_WIDTHS + 1)[:, None] * np.ones(N_NODES)
    pivots, factors = picked(columns[None])
    assert (pivots[0] >= 0).sum() == 1
    np.testing.assert_allclose(factors[0, 0] * columns[pivots[0, 0]][0], columns[:, 0])


def test_no_columns_no_pivots():
    pivots, factors = picked(np.zeros((1, N_WIDTHS, N_NODES)))
    assert (pivots == -1).all()
    assert not factors.any()
