"""Tables of the fold for a smooth instrument, against integrals over its bins."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import RegularGridInterpolator
from setups import quick_start_irfs

from pymc_gamma.folding.tables import IN_BIN_INDEX, OFFSET_STEP, build_tables, interpolate_area
from pymc_gamma.instrument.irfs.core import EffectiveArea, EnergyDispersion, IRFs, PointSpread

EDGES = np.geomspace(0.2, 40.0, 9)
SPAN = (0.5, 20.0)


def area(energy, offset):
    return 1e9 * (1 + np.log(energy / 0.01)) * (1 - offset / 10)


@pytest.fixture(scope="module")
def irfs():
    """Effective area linear in log E and offset, a triangular dispersion, two Gaussians with widths of their own."""
    energy, offset, migra = np.geomspace(0.1, 100, 4), np.array([0.0, 1.0, 3.05]), np.linspace(0.25, 1.75, 61)
    density = np.maximum(0.5 - np.abs(migra - 1), 0) / 0.25
    sigma = np.stack([0.1 + 0.02 * np.log(energy / 0.1), 0.3 + 0.0 * energy])[:, :, None] * (1 + 0.1 * offset)
    weight = np.stack([0.7 + 0.02 * np.log(energy), 0.3 - 0.02 * np.log(energy)])[:, :, None] * np.ones(3)
    return IRFs(
        "smooth",
        EffectiveArea(energy, offset, area(energy[:, None], offset)),
        EnergyDispersion(energy, offset, migra, np.tile(density, (4, 3, 1)), offset_max=3.05),
        PointSpread(energy, offset, sigma, weight),
        None,
    )


@pytest.fixture(scope="module")
def tables(irfs):
    return build_tables(irfs, tuple(EDGES.tolist()), SPAN)


def bin_average(function, e):
    """Integral over a bin with the weight of the reference spectrum."""
    low, high = EDGES[e], EDGES[e + 1]
    centre = np.sqrt(low * high)
    return quad(lambda energy: (energy / centre) ** -IN_BIN_INDEX * function(energy), low, high, epsrel=1e-10)[0]


def test_offsets(irfs, tables):
    n_o = len(tables.aeff)
    assert tables.offset_step <= OFFSET_STEP + 1e-12
    assert (n_o - 1) * tables.offset_step == pytest.approx(irfs.offset_max)
    assert n_o == np.ceil(irfs.offset_max / OFFSET_STEP - 1e-9) + 1
    found, step = interpolate_area(irfs, np.array([0.5, 2.0, 200.0]))
    assert step == tables.offset_step
    at = step * np.arange(n_o)
    np.testing.assert_allclose(found[:2], area(np.array([[0.5], [2.0]]), at), rtol=1e-10)
    assert not found[2].any()  # beyond the nodes there is none


def test_effective_area_in_bins(tables):
    for o in (0, 7, len(tables.aeff) - 1):
        offset = o * tables.offset_step
        expected = [bin_average(lambda energy, o=offset: area(energy, o), e) for e in range(len(EDGES) - 1)]
        np.testing.assert_allclose(tables.aeff[o], expected, rtol=2e-3)
    np.testing.assert_allclose(tables.energy, np.sqrt(EDGES[1:] * EDGES[:-1]), rtol=1e-12)
    assert tables.energy_edges.tolist() == EDGES.tolist()


def test_psf_in_bins(tables):
    """Variances and weights averaged like the photons that are detected in a bin."""
    for o in (0, 12):
        offset = o * tables.offset_step
        for e in range(len(EDGES) - 1):
            total = bin_average(lambda energy, o=offset: area(energy, o), e)

            def mean(value, e=e, offset=offset, total=total):
                return bin_average(lambda energy: area(energy, offset) * value(energy), e) / total

            variance = mean(lambda energy: (0.1 + 0.02 * np.log(energy / 0.1)) ** 2) * (1 + 0.1 * offset) ** 2
            weight = mean(lambda energy: 0.7 + 0.02 * np.log(energy))
            assert tables.variance[0, o, e] == pytest.approx(variance, rel=1e-3)
            assert tables.variance[1, o, e] == pytest.approx(0.09 * (1 + 0.1 * offset) ** 2, rel=1e-9)
            assert tables.weight[0, o, e] == pytest.approx(weight, rel=1e-4)
    np.testing.assert_allclose(tables.weight.sum(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(tables.widest, tables.variance[1, -1], rtol=1e-12)
    assert tables.variance_range == (tables.variance.min(), tables.variance.max())


def test_a_gaussian_without_weight_does_not_widen_the_range(irfs):
    psf = irfs.psf
    alone = dataclasses.replace(psf, weight=np.stack([np.ones_like(psf.weight[0]), np.zeros_like(psf.weight[0])]))
    tables = build_tables(dataclasses.replace(irfs, psf=alone), tuple(EDGES.tolist()), SPAN)
    assert tables.variance_range == (tables.variance[0].min(), tables.variance[0].max())
    assert tables.variance_range[1] < tables.variance.max()


def energies(tables):
    first, step = tables.log_energy
    return np.exp(first + step * np.arange(tables.edisp.shape[1]))


def test_dispersion_in_bins(tables):
    measured = energies(tables)
    assert measured[[0, -1]].tolist() == pytest.approx(SPAN)
    assert len(measured) == round(np.log10(SPAN[1] / SPAN[0]) * 1000) + 1
    for e in (1, 4, 7):
        total = bin_average(lambda energy: area(energy, 0.0), e)
        for r in (10, 400, 800, 1200, 1600):

            def rate(energy, r=r):
                density = np.interp(measured[r] / energy, [0.5, 1.0, 1.5], [0, 2, 0])
                return area(energy, 0.0) * density / energy

            assert tables.edisp[0, r, e] == pytest.approx(bin_average(rate, e) / total, rel=2e-2, abs=2e-3)
    # over all energies a photon is measured somewhere
    inside = (EDGES[:-1] * 0.5 > SPAN[0]) & (EDGES[1:] * 1.5 < SPAN[1])
    assert inside.sum() >= 2
    sums = np.trapezoid(tables.edisp[:, :, inside], measured, axis=1)
    np.testing.assert_allclose(sums, 1, rtol=2e-3)


def test_dispersion_between_offsets(irfs, rng):
    """Linear between the offsets of the file; inside a bin it is weighted by the area of its own offset.

    Area and dispersion are others at each offset, and the area goes up and down from one to the next.
    """
    energy, offset = np.geomspace(0.1, 100, 7), np.linspace(0, 3, 31)
    values = 1e9 * rng.uniform(0.05, 1, (len(energy), len(offset)))
    at, width = np.array([0.0, 0.34, 1.0, 2.9, 3.4]), np.array([0.5, 0.2, 0.6, 0.3, 0.4])
    centre = np.array([1.0, 1.1, 0.9, 1.0, 1.2])
    migra = irfs.edisp.migra
    density = np.maximum(1 - np.abs(migra - centre[:, None]) / width[:, None], 0) / width[:, None]
    changed = dataclasses.replace(
        irfs,
        aeff=EffectiveArea(energy, offset, values),
        edisp=EnergyDispersion(energy, at, migra, np.tile(density, (len(energy), 1, 1)), offset_max=3.4),
    )
    assert changed.offset_max == 3.0
    tables = build_tables(changed, tuple(EDGES.tolist()), SPAN)
    measured = energies(tables)[::40]
    for j, o in enumerate([0.0, 0.17, 0.34, 0.67, 1.0, 1.95, 2.9, 3.15, 3.4]):
        assert tables.edisp_offset[j] == pytest.approx(o)
        mixed = [np.interp(o, at, column) for column in density.T]
        for e in range(1, len(EDGES) - 2):  # the others are seen in part
            fine = np.geomspace(EDGES[e], EDGES[e + 1], 4001)
            true = np.sqrt(fine[1:] * fine[:-1])
            here = RegularGridInterpolator((np.log(energy), offset), values)((np.log(true), min(o, 3.0)))
            weight = here * true**-IN_BIN_INDEX * np.diff(fine)
            rate = np.interp(measured[:, None] / true, migra, mixed, left=0, right=0) / true
            expected = rate @ weight / weight.sum()
            np.testing.assert_allclose(tables.edisp[j, ::40, e], expected, atol=2e-2 * expected.max())


def test_bands_hold_what_a_pair_of_rows_needs(tables):
    present = (tables.edisp > 0).any(axis=0)
    for r in range(len(present) - 1):
        both = np.flatnonzero(present[r] | present[r + 1])
        assert (tables.band_start[r], tables.band_stop[r]) == (both[0], both[-1] + 1)
    assert tables.band_width == (tables.band_stop - tables.band_start).max()
    assert tables.band_width < len(EDGES) - 1


@pytest.mark.parametrize("edges", [SPAN, (0.5, 1.0, 3.3, 20.0), (0.71, 0.7105, 5.0), (0.5, 0.5003, 19.99, 20.0)])
def test_migration_is_the_integral_over_bins(tables, edges, rng):
    """Of the density as events see it, linear in the logarithm of the energy between the nodes; here it is noise."""
    edges = np.array(edges)
    tables = dataclasses.replace(tables, edisp=rng.random(tables.edisp.shape).astype(np.float32))
    found = tables.migration(edges)
    assert found.shape == (len(tables.edisp_offset), len(edges) - 1, len(EDGES) - 1)
    log_nodes = np.log(energies(tables))
    for b in range(len(edges) - 1):
        at = np.linspace(edges[b], edges[b + 1], 400_001)
        for j, e in ((0, 2), (1, 4), (2, 6)):
            density = np.interp(np.log(at), log_nodes, tables.edisp[j, :, e])
            assert found[j, b, e] == pytest.approx(np.trapezoid(density, at), rel=1e-4, abs=1e-9)


def test_a_bin_without_effective_area_has_a_response_all_the_same(irfs):
    """It is multiplied by zero later; it must not be NaN."""
    aeff = dataclasses.replace(irfs.aeff, values=np.where(irfs.aeff.energy[:, None] < 5, 0, irfs.aeff.values))
    tables = build_tables(dataclasses.replace(irfs, aeff=aeff), tuple(EDGES.tolist()), SPAN)
    assert (tables.aeff[:, 0] == 0).all()
    assert (tables.aeff[:, -1] > 0).all()
    for table in (tables.variance, tables.weight, tables.edisp):
        assert np.isfinite(table).all()
    plain = 0.1 + 0.02 * np.log(EDGES[0] / 0.1), 0.1 + 0.02 * np.log(EDGES[1] / 0.1)
    assert plain[0] ** 2 < tables.variance[0, 0, 0] < plain[1] ** 2


def test_a_tiny_instrument_has_the_same_response(irfs, tables):
    """A trillionth of a square centimetre is not nothing."""
    tiny = dataclasses.replace(irfs.aeff, values=1e-21 * irfs.aeff.values)
    small = build_tables(dataclasses.replace(irfs, aeff=tiny), tuple(EDGES.tolist()), SPAN)
    np.testing.assert_allclose(small.aeff, 1e-21 * tables.aeff, rtol=1e-9)
    for name in ("variance", "weight", "edisp"):
        np.testing.assert_allclose(getattr(small, name), getattr(tables, name), rtol=1e-5, atol=1e-12)


def test_few_reconstructed_energies(irfs):
    tables = build_tables(irfs, tuple(EDGES.tolist()), (1.0, 1.01))
    assert tables.edisp.shape[1] == 16


def test_offsets_of_the_dispersion():
    """Those of the file, and one half-way between each two."""
    irfs = quick_start_irfs()
    tables = build_tables(irfs, tuple(np.geomspace(1, 10, 4).tolist()), (2.0, 5.0))
    nodes = irfs.edisp.offset
    expected = np.sort(np.r_[nodes, 0.5 * (nodes[1:] + nodes[:-1])])
    np.testing.assert_allclose(tables.edisp_offset, expected)
