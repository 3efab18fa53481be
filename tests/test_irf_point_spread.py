"""Point spread functions as observatories write them, against the containment of the file."""

import copy
import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from gammapy.irf import PSF3D, EnergyDependentMultiGaussPSF, PSFKing, load_irf_dict_from_file
from gammapy.maps import MapAxis

import pymc_gamma as pmg
from pymc_gamma import datasets
from pymc_gamma.errors import IRFError, PymcGammaWarning
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.instrument.irfs.core import PointSpread
from pymc_gamma.instrument.irfs.point_spread import poor_fit

NAME = "prod5-south-20deg-50h"
ENERGY = MapAxis.from_energy_edges(np.geomspace(0.05, 160, 13) * u.TeV, name="energy_true")
OFFSET = MapAxis.from_edges([0, 1, 2, 4, 6], unit="deg", name="offset")
RAD = np.sqrt(np.linspace(0, 0.6**2, 145))
"""Rings of equal solid angle: the first one holds much of a narrow PSF."""


@pytest.fixture(scope="module")
def prod5():
    return dict(load_irf_dict_from_file(datasets.path(NAME)))


def table(containment, edges=RAD, **changes):
    """A tabulated PSF with a given containment(radius, energy, offset) at its edges; the mean density in each ring."""
    radius = np.asarray(edges, float)
    c = containment(radius, ENERGY.center.value[:, None, None], OFFSET.center.value[:, None])
    solid = 2 * np.pi * (np.cos(np.radians(radius[:-1])) - np.cos(np.radians(radius[1:])))
    rad = MapAxis.from_edges(radius, unit="deg", name="rad")
    return PSF3D(
        axes=[ENERGY, OFFSET, rad], data=np.diff(np.broadcast_to(c, (12, 4, len(radius))), axis=2) / solid, unit="sr-1"
    )


def king(sigma, gamma):
    return lambda r, *_: 1 - (1 + r**2 / (2 * gamma * sigma**2)) ** (1 - gamma)


def gauss(r, sigma):
    return 1 - np.exp(-0.5 * (r / sigma) ** 2)


def changing(r, energy, offset):
    """A core that narrows with energy and widens with offset, and a halo."""
    sigma = 0.06 * (1 + 0.1 * offset) * energy**-0.15
    return 0.8 * gauss(r, sigma) + 0.2 * gauss(r, 2.3 * sigma)


def of_gaussians(psf, radius, row, column):
    """Containment of the sum of Gaussians at one cell."""
    sigma, weight = psf.sigma[:, row, column, None], psf.weight[:, row, column, None]
    return (weight * gauss(np.asarray(radius), sigma)).sum(axis=0)


def load(prod5, psf):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        irfs = pmg.load_irfs({**prod5, "psf": psf})
    return irfs, [str(one.message) for one in seen if one.category is PymcGammaWarning]


def columns(psf):
    """Where the offsets of the file lie among the nodes."""
    return [int(np.abs(psf.offset - offset).argmin()) for offset in OFFSET.center.value]


CASES = {
    "changing": (changing, 0.01),
    "one Gaussian": (lambda r, *_: gauss(r, 0.07), 1e-3),
    "three Gaussians": (lambda r, *_: 0.5 * gauss(r, 0.03) + 0.4 * gauss(r, 0.07) + 0.1 * gauss(r, 0.2), 0.005),
    "King, narrow": (king(0.02, 1.9), 0.008),
    "King, wide": (king(0.08, 3.0), 0.005),
}


@pytest.mark.parametrize("case", CASES)
def test_containment_of_a_table(prod5, case):
    containment, tolerance = CASES[case]
    irfs, _ = load(prod5, table(containment))
    psf = irfs.psf
    assert psf.weight.min() >= 0
    np.testing.assert_allclose(psf.weight.sum(axis=0), 1, rtol=1e-12)
    for row, energy in enumerate(ENERGY.center.value):
        for place, offset in zip(columns(psf), OFFSET.center.value, strict=True):
            right = np.broadcast_to(containment(RAD, energy, offset), RAD.shape)
            difference = np.abs(of_gaussians(psf, RAD, row, place) - right / right[-1]).max()
            assert difference < tolerance
            # and what it says about itself is what it is
            assert psf.containment_error[row, place] == pytest.approx(difference, abs=1e-6)
    assert psf.fit_error < tolerance
    assert np.nansum(psf.photon_share) == pytest.approx(1)


def test_containment_and_radius_of_the_gaussians(prod5):
    psf = load(prod5, table(changing))[0].psf
    radius = psf.containment_radius(0.8)
    fine = np.linspace(0, 0.6, 20_001)
    for row, place in ((0, 0), (7, 2)):
        right = np.interp(0.8, of_gaussians(psf, fine, row, place), fine)
        assert radius[row, place] == pytest.approx(right, rel=1e-4)
        np.testing.assert_allclose(psf.containment(RAD)[:, row, place], of_gaussians(psf, RAD, row, place), rtol=1e-12)
    np.testing.assert_allclose(psf.containment(radius[None])[0], 0.8, rtol=1e-8)


def test_few_gaussians_where_few_are_needed(prod5):
    assert len(load(prod5, table(CASES["one Gaussian"][0]))[0].psf.sigma) <= 2


def test_containment_of_a_table_is_gammapys(prod5):
    psf = table(changing)
    irfs, _ = load(prod5, psf)
    for row in (2, 9):
        theirs = psf.containment(
            rad=RAD[1:] * u.deg, energy_true=ENERGY.center[row], offset=OFFSET.center[1]
        ).value.ravel()
        assert np.abs(of_gaussians(irfs.psf, RAD[1:], row, columns(irfs.psf)[1]) - theirs).max() < 0.01


def test_radius_of_68_percent(prod5):
    irfs, _ = load(prod5, table(changing))
    fine = np.linspace(0, 0.6, 3001)
    for row, energy in enumerate(ENERGY.center.value):
        right = np.interp(0.68, changing(fine, energy, 0.5), fine)
        found = np.interp(0.68, of_gaussians(irfs.psf, fine, row, columns(irfs.psf)[0]), fine)
        assert found == pytest.approx(right, rel=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_cell_with_a_hole_takes_its_neighbour_and_spoils_none(prod5, value):
    good, _ = load(prod5, table(changing))
    spoiled = table(changing)
    spoiled.data = spoiled.data.copy()
    spoiled.data[5, 2, 40] = value
    irfs, told = load(prod5, spoiled)
    where = columns(good.psf)
    for row in range(12):
        for k, place in enumerate(where):
            if (row, k) != (5, 2):
                same = of_gaussians(good.psf, RAD, row, place)
                assert np.abs(of_gaussians(irfs.psf, RAD, row, place) - same).max() < 2e-3
    filled = of_gaussians(irfs.psf, RAD, 5, where[2])
    candidates = [of_gaussians(irfs.psf, RAD, row, where[k]) for row, k in ((4, 2), (6, 2), (5, 1), (5, 3))]
    assert min(np.abs(filled - one).max() for one in candidates) < 1e-9
    assert np.isnan(irfs.psf.containment_error[5, where[2]])
    assert irfs.psf.photon_share[5, where[2]] == 0
    text = " ".join(told)
    assert "1 of 48 (energy_true, offset) cells are invalid" in text
    assert f"energy_true={ENERGY.center[5].value:.4g} TeV, offset=3 deg" in text


def test_negative_values_are_cut_and_counted(prod5):
    psf = table(changing)
    psf.data = psf.data.copy()
    psf.data[3, 1, 100] = -1.0
    irfs, told = load(prod5, psf)
    assert "1 negative values set to 0" in " ".join(told)
    assert "offset=1.5 deg" in " ".join(told)
    assert np.isfinite(irfs.psf.weight).all()


def test_a_table_in_another_normalisation_is_normalised_and_said(prod5):
    psf = table(changing)
    psf.data = psf.data * 0.25
    irfs, told = load(prod5, psf)
    assert "in the median 0.25; normalised to 1" in " ".join(told)
    good, _ = load(prod5, table(changing))
    np.testing.assert_allclose(irfs.psf.weight, good.psf.weight, atol=1e-6)


def king_irf(sigma, gamma):
    data = np.zeros((12, 4), dtype=[("sigma", float), ("gamma", float)])
    data["sigma"], data["gamma"] = sigma, gamma
    return PSFKing(axes=[ENERGY, OFFSET], data=data, unit={"sigma": u.deg, "gamma": u.Unit("")})


@pytest.mark.parametrize(
    ("sigma", "gamma", "tolerance"),
    [(0.05, 3.0, 0.01), (0.05, 2.0, 0.01), (0.03, 1.8, 0.01), (0.05, 1.6, 0.01), (0.05, 1.5, 0.01), (0.1, 1.4, 0.045)],
)
def test_king_profiles_keep_their_tail(prod5, sigma, gamma, tolerance):
    irfs, told = load(prod5, king_irf(sigma, gamma))
    radius = np.r_[0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 4.0]
    right = king(sigma, gamma)(radius)
    found = of_gaussians(irfs.psf, radius, 6, 1)
    assert np.abs(found - right).max() < tolerance
    beyond = 1 - king(sigma, gamma)(4.0)
    text = " ".join(told)
    assert ("beyond 4 deg" in text) == (beyond > 0.01)
    if beyond > 0.01:
        assert f"up to {beyond:.1%} of their containment beyond 4 deg" in text


def test_king_cells_without_a_fit_are_filled(prod5):
    psf = king_irf(0.05, 2.0)
    psf.data["gamma"][0, 0] = 0
    psf.data["sigma"][3, 2] = np.nan
    irfs, told = load(prod5, psf)
    assert "2 of 48 (energy_true, offset) cells are invalid" in " ".join(told)
    assert np.abs(of_gaussians(irfs.psf, RAD, 3, columns(irfs.psf)[2]) - king(0.05, 2.0)(RAD)).max() < 0.01


@pytest.fixture(scope="module")
def ring():
    """A PSF that no sum of Gaussians describes: a hole in the middle, above 5 TeV."""

    def containment(r, energy, offset):
        hole = np.clip((r / 0.15) ** 4, 0, 1)
        return np.where(energy > 5, hole, gauss(r, 0.06))

    return table(containment)


def test_a_poor_fit_is_told_with_its_place_and_the_same_on_both_ways_in(prod5, ring):
    from astropy.coordinates import SkyCoord
    from gammapy.data import FixedPointingInfo, Observation, Observations

    irfs, told = load(prod5, ring)
    (line,) = (text for text in told if "differ from the containment" in text)
    rows = ENERGY.center.value[ENERGY.center.value > 5]
    assert f"energy_true {rows[0]:.3g} to {rows[-1]:.3g} TeV, offset 0.5 to 5 deg" in line
    assert poor_fit(irfs.psf) in line
    run = Observation.create(
        pointing=FixedPointingInfo(fixed_icrs=SkyCoord(83.63 * u.deg, 22.01 * u.deg)),
        livetime=0.5 * u.h, irfs={**prod5, "psf": ring}, obs_id=7,
    )  # fmt: skip
    for read in (pmg.Observation.from_gammapy, lambda one: pmg.Observation.list_from_gammapy(Observations([one]))):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            read(run)
        assert [str(one.message) for one in seen if poor_fit(irfs.psf) in str(one.message)]


def test_good_fits_are_not_told(prod5):
    irfs, told = load(prod5, table(changing))
    assert poor_fit(irfs.psf) is None
    assert not any("differ from the containment" in text for text in told)
    assert poor_fit(pmg.load_irfs(NAME).psf) is None


def test_noise_where_nothing_is_detected_does_not_dominate(prod5):
    """Noisy cells far below the threshold, as in files of H.E.S.S."""
    aeff = copy.deepcopy(prod5["aeff"])
    aeff.data = np.where(aeff.axes["energy_true"].center.value[:, None] < 0.12, 1e-4, 1) * aeff.data
    psf = table(changing)
    psf.data = psf.data.copy()
    psf.data[0] = 0
    psf.data[0, :, [3, 30, 31, 90]] = 1e4
    psf_irfs, told = load({**prod5, "aeff": aeff}, psf)
    assert np.nanmax(psf_irfs.psf.containment_error[0]) > 0.02
    assert psf_irfs.psf.fit_error < 0.02
    assert not any("differ from the containment" in text for text in told)


def test_errors_survive_storage(prod5, ring):
    irfs, _ = load(prod5, ring)
    again = IRFs.from_arrays(irfs.arrays(), irfs.name)
    assert again.fingerprint() == irfs.fingerprint()
    np.testing.assert_array_equal(again.psf.containment_error, irfs.psf.containment_error)
    assert again.psf.fit_error == irfs.psf.fit_error > 0
    assert poor_fit(again.psf) == poor_fit(irfs.psf)
    assert again.offset_max == irfs.offset_max
    assert again.energy_true_range == irfs.energy_true_range
    assert "on average" in repr(irfs.psf)


def test_fit_error_is_the_mean_over_photons():
    psf = PointSpread(
        np.array([1.0, 2.0]), np.array([0.0]), np.ones((1, 2, 1)), np.ones((1, 2, 1)),
        containment_error=np.array([[0.1], [np.nan]]), photon_share=np.array([[1.0], [0.0]]),
    )  # fmt: skip
    assert psf.fit_error == pytest.approx(0.1)
    assert PointSpread(np.ones(1), np.zeros(1), np.ones((1, 1, 1)), np.ones((1, 1, 1))).fit_error == 0


def test_other_kinds_are_refused(prod5):
    from types import SimpleNamespace

    psf = table(changing)
    odd = SimpleNamespace(axes=psf.axes[["energy_true", "offset"]], required_parameters=("width",), is_pointlike=False)
    with pytest.raises(IRFError, match="expected Gaussians"):
        pmg.load_irfs({**prod5, "psf": odd})


HESS = Path(os.environ.get("PYMC_GAMMA_DATA", "")) / "hess-dl3-dr1"


@pytest.mark.slow
@pytest.mark.skipif(not HESS.is_dir(), reason="needs PYMC_GAMMA_DATA with the folder hess-dl3-dr1")
def test_all_runs_of_hess():
    """Containment within 1 % (median 0.3 %) at the nodes, or within the noise of the table."""
    from gammapy.data import DataStore

    differences, radii, limits = [], [], []
    for run in DataStore.from_dir(HESS).get_observations():
        with warnings.catch_warnings(action="ignore"):
            psf = pmg.Observation.from_gammapy(run).irfs.psf
        table = run.psf  # read anew at each access
        edges = table.axes["rad"].edges.value
        solid = 2 * np.pi * (np.cos(np.radians(edges[:-1])) - np.cos(np.radians(edges[1:])))
        for row in np.flatnonzero((psf.energy > 0.5) & (psf.energy < 50)):
            for offset in range(5):
                content = np.maximum(np.asarray(table.data[row, offset], float), 0) * solid
                content /= content.sum()
                right = np.r_[0, np.cumsum(content)]
                found = of_gaussians(psf, edges, row, offset)
                differences.append(np.abs(found - right).max())
                fine = np.linspace(0, edges[-1], 4001)
                radius = np.sqrt(np.interp(0.68, right, edges**2))
                radii.append(np.interp(0.68, of_gaussians(psf, fine, row, offset), fine) / radius - 1)
                # the smallest entry is one simulated event, or an interpolated share of one: at most so many events
                limits.append(0.83 / np.sqrt(1 / content[content > 0].min()))
    differences = np.array(differences)
    assert len(differences) > 2000
    assert np.median(differences) < 0.0031
    assert ((differences < 0.01) | (differences < limits)).all()
    assert np.median(np.abs(radii)) < 0.004
    assert np.abs(radii).max() < 0.05


# far tails: what is judged is the core


def three_gauss(sigma, ampl):
    """A gammapy PSF of three Gaussians, the same everywhere."""
    shape = (ENERGY.nbin, OFFSET.nbin)
    names = ("sigma_1", "sigma_2", "sigma_3", "scale", "ampl_2", "ampl_3")
    values = (*sigma, 1.0, *ampl)
    data = np.zeros(shape, dtype=[(name, float) for name in names])
    for name, value in zip(names, values, strict=True):
        data[name] = value
    unit = {name: u.deg if "sigma" in name else u.Unit("sr-1" if name == "scale" else "") for name in names}
    return EnergyDependentMultiGaussPSF(axes=[ENERGY, OFFSET], data=data, unit=unit)


@pytest.mark.parametrize("far", [0.5, 3.0, 6.0])
def test_a_far_tail_is_not_taken_for_another_unit(prod5, far):
    irfs, told = load(prod5, three_gauss((0.05, 0.1, far), (0.1, 0.01)))
    integral = np.array([0.05**2, 0.1 * 0.1**2, 0.01 * far**2])
    order = np.argsort(irfs.psf.sigma[:, 5, 2])
    np.testing.assert_allclose(irfs.psf.sigma[order, 5, 2], [0.05, 0.1, far])
    np.testing.assert_allclose(irfs.psf.weight[order, 5, 2], integral / integral.sum())
    # most of the photons are in it, which is said
    assert any("more than half of the photons are not in the core" in text for text in told) == (far > 1)


@pytest.mark.parametrize("factor", [np.pi / 180, 180 / np.pi])
def test_all_widths_in_another_unit_are_refused_with_a_tail_or_without(prod5, factor):
    for ampl in ((0.1, 0.01), (0.1, 0.0)):
        with pytest.raises(IRFError, match=r"deg wide .*radians"):
            load(prod5, three_gauss(np.array([0.05, 0.1, 0.5]) * factor, ampl))


def test_photons_that_are_absurdly_far_away_are_refused(prod5):
    with pytest.raises(IRFError, match="wider than 10 deg in 48 cells"):
        load(prod5, three_gauss((0.05, 0.1, 60.0), (0.1, 0.01)))


def test_a_narrow_peak_is_not_taken_for_another_unit(prod5):
    """Brightest in the middle, but few photons there."""
    irfs, told = load(prod5, three_gauss((0.002, 0.05, 0.1), (0.3, 0.05)))
    weight = np.array([0.002**2, 0.3 * 0.05**2, 0.05 * 0.1**2])
    order = np.argsort(irfs.psf.sigma[:, 3, 1])
    np.testing.assert_allclose(irfs.psf.weight[order, 3, 1], weight / weight.sum())
    assert not any("not in the core" in text for text in told)
