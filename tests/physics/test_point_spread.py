"""PSFs of several Gaussians and tabulated ones."""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from oracle import Oracle
from setups import (
    P_VALUE,
    assert_close_to_brute_force,
    chi_square,
    column,
    count_in_bins,
    only,
    pdf_in_bins,
    pointing,
    quick_start_irfs,
    region,
    relative_errors,
    simulated_acceptance,
    source,
)

import pymc_gamma as pmg
from pymc_gamma.errors import PymcGammaWarning

ENERGY = np.geomspace(0.3, 30, 9)
RADIUS = np.r_[np.linspace(0, 1, 6), 1.45]
SKY = {
    "point": source("point", 0.7, -0.5, index=2.3),
    "gaussian": source("gaussian", -0.9, 0.4, sigma=0.2, index=2.2),
    "diffuse": pmg.GalacticDiffuse(),
}


def small_region():
    return region(width=2.0, energy=(0.3, 30.0))


def several_gaussians(irfs):
    """A core, a shoulder and a tail, in shares that change with energy."""
    single = irfs.psf.sigma[0]
    shoulder = np.broadcast_to(np.linspace(0.2, 0.35, len(irfs.psf.energy))[:, None], single.shape)
    tail = np.full(single.shape, 0.1)
    weight = np.stack([1 - shoulder - tail, shoulder, tail])
    sigma = np.stack([0.7 * single, 1.4 * single, 2.2 * single])
    return dataclasses.replace(irfs, psf=dataclasses.replace(irfs.psf, sigma=sigma, weight=weight))


@pytest.fixture(scope="module")
def response():
    return pmg.fold(list(SKY.values()), pointing(irfs=several_gaussians(quick_start_irfs())), small_region())


@pytest.mark.parametrize(("name", "events"), [("point", 100), ("gaussian", 10), ("diffuse", 10)])
def test_density_with_three_gaussians_is_that_of_brute_force(response, name, events, rng):
    oracle = Oracle(
        response.observations[0], response.roi, response.energy_true_edges, n_energy=500, n_radius=20, n_azimuth=24
    )
    rows = response.simulate_rows(only(response, name), events, rng)
    k = column(response, name)
    density = response.component_pdf(rows)[:, k] * float(response.acceptance[k])
    assert_close_to_brute_force(density, oracle.component(SKY[name], rows))


@pytest.mark.parametrize("name", SKY)
def test_acceptance_with_three_gaussians_is_the_simulated_one(response, name, rng):
    counts, error = simulated_acceptance(response, SKY[name], 200_000, rng)
    assert abs(float(response.acceptance[column(response, name)]) - counts) < 4 * error


@pytest.mark.parametrize(("name", "step"), [("point", 0.02), ("gaussian", 0.05), ("diffuse", 0.1)])
def test_events_with_three_gaussians_are_distributed_as_expected(response, name, step, rng):
    rows = response.simulate_rows(only(response, name), 100_000, rng)
    expected = pdf_in_bins(response, name, ENERGY, RADIUS, step, per_decade=40)
    assert chi_square(count_in_bins(response, rows, ENERGY, RADIUS), expected)[2] > P_VALUE


def test_the_tail_makes_a_difference(response, rng):
    """Densities of one Gaussian of the same core do not pass for those of three."""
    plain = pmg.fold(list(SKY.values()), pointing(), small_region())
    rows = response.simulate_rows(only(response, "point"), 100_000, rng)
    expected = pdf_in_bins(plain, "point", ENERGY, RADIUS, 0.02, per_decade=40)
    assert chi_square(count_in_bins(response, rows, ENERGY, RADIUS), expected)[2] < P_VALUE


@pytest.fixture(scope="module")
def tabulated():
    """The Gaussian PSF of the quick start as a table of separations, and the IRFs read from it."""
    from gammapy.irf import PSF3D, load_irf_dict_from_file
    from gammapy.maps import MapAxis

    clean = quick_start_irfs()
    tables = load_irf_dict_from_file(pmg.datasets.fetch("prod5-south-20deg-50h"))
    axes = tables["psf"].axes
    rad = MapAxis.from_edges(np.r_[np.linspace(0, 0.3, 151), np.linspace(0.31, 1.2, 90)] * u.deg, name="rad")
    where = np.searchsorted(clean.psf.offset, axes["offset"].center.to_value("deg") - 1e-9)
    sigma = clean.psf.sigma[0][:, where, None]
    r = rad.center.to_value("deg")
    profile = np.exp(-0.5 * (r / sigma) ** 2) / (2 * np.pi * np.radians(sigma) ** 2)
    tables["psf"] = PSF3D(axes=[axes["energy_true"], axes["offset"], rad], data=profile, unit="sr-1")
    with pytest.warns(PymcGammaWarning, match="described by"):
        return pmg.load_irfs(tables)


def test_a_tabulated_psf_is_fitted_with_a_small_error(tabulated):
    assert 0 < tabulated.psf.fit_error < 0.02
    np.testing.assert_allclose(tabulated.psf.weight.sum(axis=0), 1)


def test_densities_of_a_tabulated_psf_are_those_of_its_gaussian(tabulated, rng):
    parametric = pmg.fold(list(SKY.values()), pointing(), small_region())
    fitted = pmg.fold(list(SKY.values()), pointing(irfs=tabulated), small_region())
    np.testing.assert_allclose(fitted.acceptance, parametric.acceptance, rtol=1e-3)
    rows = parametric.simulate_rows([1, 1, 1], 2000, rng)
    for k, name in enumerate(SKY):
        one, other = parametric.component_pdf(rows)[:, k], fitted.component_pdf(rows)[:, k]
        seen = one > 0.05 * one.mean()
        median, high = relative_errors(other[seen], one[seen])
        assert median < 0.01, name
        assert high < 0.05, name
