"""The way from a FITS file to densities, against another: astropy opens the file, NumPy does the rest.

Other yardsticks (`oracle.py`, gammapy's maps) read tables that this package has cleaned, or gammapy has read. A wrong
unit, an axis taken for another, or a normalisation that is not that of the file would be the same on both sides there.
"""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from gammapy.data import DataStore
from scipy.interpolate import RegularGridInterpolator
from setups import direction, pointing, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import PymcGammaWarning

HOURS = 2.0
OFFSET = 1.5
"""Degrees, the centre of a bin of all tables."""
INDEX, AMPLITUDE = 2.2, 1e-12


@pytest.fixture(scope="module")
def tables():
    with fits.open(pmg.datasets.fetch("prod5-south-20deg-50h")) as file:
        return {hdu.header["HDUCLAS4"]: {name: hdu.data[0][name] for name in hdu.columns.names} for hdu in file[1:]}


def centres(table, axis):
    low, high = (table[f"{axis}_{end}"].astype(float) for end in ("LO", "HI"))
    return np.sqrt(low * high) if axis == "ENERG" else 0.5 * (low + high)


def at_offset(table, column):
    (k,) = np.flatnonzero(np.isclose(centres(table, "THETA"), OFFSET))
    return table[column][k].astype(float)


def density(tables, measured, separation):
    """Counts per TeV and sr at a measured energy (TeV) and separation (deg) from a point source."""
    energy = np.geomspace(0.02, 150, 6001)
    log_energy = np.log(energy)

    aeff = tables["AEFF_2D"]
    area = 1e4 * np.interp(log_energy, np.log(centres(aeff, "ENERG")), at_offset(aeff, "EFFAREA"))  # cm2

    edisp = tables["EDISP_2D"]
    matrix = at_offset(edisp, "MATRIX")  # probability of each bin of migration, for each true energy
    total = matrix.sum(axis=0)
    nodes = total > 0
    width = edisp["MIGRA_HI"] - edisp["MIGRA_LO"]
    columns = matrix[:, nodes] / (total[nodes] * width[:, None].astype(float))
    log_nodes = np.log(centres(edisp, "ENERG")[nodes])
    interpolated = RegularGridInterpolator(
        (centres(edisp, "MIGRA"), log_nodes), columns, bounds_error=False, fill_value=0
    )
    dispersion = interpolated(np.stack([measured / energy, log_energy], -1)) / energy

    psf = tables["PSF_3GAUSS"]
    sigma = np.array([at_offset(psf, f"SIGMA_{g}") for g in (1, 2, 3)])
    height = np.array([np.ones(sigma.shape[1]), at_offset(psf, "AMPL_2"), at_offset(psf, "AMPL_3")])
    fitted = at_offset(psf, "SCALE") > 0
    share = height * sigma**2
    share[:, fitted] /= share[:, fitted].sum(axis=0)
    log_centres = np.log(centres(psf, "ENERG"))
    spread = 0.0
    for of_sigma, of_share in zip(sigma, share, strict=True):
        there = fitted & (of_share > 0)  # one without weight has no width
        if not there.any():
            continue
        s = np.radians(np.interp(log_energy, log_centres[there], of_sigma[there]))
        w = np.interp(log_energy, log_centres[fitted], of_share[fitted])
        spread = spread + w * np.exp(-0.5 * (np.radians(separation) / s) ** 2) / (2 * np.pi * s**2)

    flux = AMPLITUDE * energy**-INDEX
    return HOURS * 3600 * np.trapezoid(flux * area * dispersion * spread, energy)


def test_a_point_source(tables):
    response = pmg.fold([source("s", OFFSET, 0.0, index=INDEX, amplitude=AMPLITUDE)], pointing(hours=HOURS), region())
    energy, separation = np.meshgrid([0.3, 1.0, 4.0, 20.0], [0.0, 0.03, 0.1])
    rows = np.column_stack([energy.ravel(), np.full(energy.size, OFFSET), separation.ravel()])
    found = response.component_pdf(rows)[:, 0] * float(response.acceptance[0])
    expected = [density(tables, *one) for one in zip(energy.flat, separation.flat, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_background(tables):
    """At the centres of bins, where no interpolation matters."""
    response = pmg.fold([pmg.CosmicRayBackground()], pointing(hours=HOURS), region())
    bkg = tables["BKG_3D"]
    energy, detx, dety = (centres(bkg, axis) for axis in ("ENERG", "DETX", "DETY"))
    for k, x, y in ((8, 34, 31), (10, 30, 22), (12, 41, 41), (16, 26, 29)):
        row = np.array([[energy[k], detx[x], dety[y]]])
        rate = 1e6 * bkg["BKG"][y, x, k]  # s-1 TeV-1 sr-1
        found = response.component_pdf(row)[0, 0] * float(response.acceptance[0])
        assert found == pytest.approx(HOURS * 3600 * rate, rel=5e-3)


def test_a_run():
    """Livetime, and the events of the good time, of a run of H.E.S.S."""
    store = DataStore.from_dir(pmg.datasets.fetch("hess-dl3-dr1-crab"))
    with warnings.catch_warnings(
        action="ignore", category=PymcGammaWarning
    ):  # of repairs, and of an event that is late
        (observation,) = pmg.Observation.list_from_gammapy(store.get_observations([23523]))
        found = pmg.Events.from_gammapy(store.get_observations([23523]))
    (path,) = pmg.datasets.fetch("hess-dl3-dr1-crab").glob("data/*23523*")
    with fits.open(path) as file:
        events, gti, header = file["EVENTS"].data, file["GTI"].data, file["EVENTS"].header
        ontime = float(sum(gti["STOP"] - gti["START"]))
        good = np.any([(events["TIME"] >= a) & (events["TIME"] <= b) for a, b in gti], axis=0)
        expected = {name: np.array(events[name][good], float) for name in ("ENERGY", "RA", "DEC")}
    assert observation.ontime_s == pytest.approx(ontime, rel=1e-9)
    assert observation.livetime_s == pytest.approx(ontime * header["DEADC"], rel=1e-6)
    assert observation.pointing.icrs.separation(direction(header["RA_PNT"], header["DEC_PNT"], "icrs")) < 1 * u.arcsec
    np.testing.assert_allclose(np.sort(found.energy.to_value("TeV")), np.sort(expected["ENERGY"]), rtol=1e-7)
    coords = found.coords.icrs
    order, of_expected = np.argsort(coords.ra.deg), np.argsort(expected["RA"])
    np.testing.assert_allclose(coords.ra.deg[order], expected["RA"][of_expected], rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.sort(coords.dec.deg), np.sort(expected["DEC"]), rtol=0, atol=1e-6)
