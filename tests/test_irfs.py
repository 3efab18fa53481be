import copy
import gzip

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

import pymc_gamma as pmg
from pymc_gamma import datasets
from pymc_gamma.errors import DataFileError, IRFError, PymcGammaWarning
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.instrument.irfs.core import Background

NAME = "prod5-south-20deg-50h"


@pytest.fixture(scope="module")
def irfs():
    return pmg.load_irfs(NAME)


@pytest.fixture(scope="module")
def gammapy_irfs():
    from gammapy.irf import load_irf_dict_from_file

    return load_irf_dict_from_file(datasets.path(NAME))


@pytest.fixture
def fits_file(tmp_path):
    """A plain FITS file of the bundled IRFs that a test may spoil."""
    path = tmp_path / "irf.fits"
    path.write_bytes(gzip.decompress(datasets.path(NAME).read_bytes()))
    return path


def test_effective_area_is_gammapys(irfs, gammapy_irfs):
    energy = np.array([0.0131, 0.1, 0.77, 13.0, 180.0])
    offset = np.array([0.0, 0.3, 1.7, 3.3, 5.9])
    theirs = gammapy_irfs["aeff"].evaluate(energy_true=energy[:, None] * u.TeV, offset=offset * u.deg).to_value("cm2")
    nodes = np.log(irfs.aeff.energy)
    by_energy = np.stack([np.interp(np.log(energy), nodes, column) for column in irfs.aeff.values.T], 1)
    ours = np.stack([np.interp(offset, irfs.aeff.offset, row) for row in by_energy])
    assert np.allclose(np.maximum(ours, 0), theirs, rtol=1e-6, atol=1e-3)


def test_energy_dispersion_is_normalised_everywhere(irfs):
    step = irfs.edisp.migra[1] - irfs.edisp.migra[0]
    assert np.allclose(irfs.edisp.density.sum(axis=2) * step, 1, rtol=1e-12)


def test_psf_is_normalised_and_free_of_placeholders(irfs):
    assert np.allclose(irfs.psf.weight.sum(axis=0), 1)
    # invalid cells of the file say sigma = 1 deg; interpolating into them would give widths that are not there
    assert irfs.psf.sigma.max() < 0.3
    assert irfs.psf.sigma.min() > 0.01


def test_bundled_repairs_are_listed_and_silent(irfs):
    text = " ".join(irfs.repairs)
    assert "energy dispersion" in text
    assert "point spread function" in text
    assert irfs.citations


def test_a_users_file_warns_and_names_file_and_axis(fits_file):
    with pytest.warns(PymcGammaWarning, match=r"irf\.fits(.|\n)*migra") as record:
        irfs = pmg.load_irfs(fits_file)
    assert len(record) == 1
    assert irfs.fingerprint() == pmg.load_irfs(NAME).fingerprint()


def test_a_gammapy_dictionary_gives_the_same(irfs, gammapy_irfs):
    with pytest.warns(PymcGammaWarning):
        assert pmg.load_irfs(gammapy_irfs).fingerprint() == irfs.fingerprint()


def test_arrays_round_trip(irfs):
    again = IRFs.from_arrays(irfs.arrays(), irfs.name)
    assert again.fingerprint() == irfs.fingerprint()


def test_a_radial_background_is_read(gammapy_irfs):
    flat = gammapy_irfs["bkg"].to_2d()
    with pytest.warns(PymcGammaWarning):
        irfs = pmg.load_irfs({**gammapy_irfs, "bkg": flat})
    assert irfs.bkg.radial
    assert irfs.bkg.rate.shape == (20, len(irfs.bkg.fov_lon), 1)  # nothing was recorded in the lowest of 21 bins


def test_a_tabulated_psf_becomes_gaussians_with_a_reported_error(gammapy_irfs, irfs):
    psf = gammapy_irfs["psf"].to_psf3d()
    with pytest.warns(PymcGammaWarning, match=r"PSF3D described by \d Gaussians"):
        table = pmg.load_irfs({**gammapy_irfs, "psf": psf})
    assert 0 < table.psf.fit_error < 0.03
    assert np.allclose(table.psf.weight.sum(axis=0), 1)
    # compare where the parametric one is valid: 1 TeV, 0.5 deg
    e = int(np.abs(np.log(table.psf.energy)).argmin())
    o = int(np.abs(table.psf.offset - 0.5).argmin())
    width = np.sqrt((table.psf.weight[:, e, o] * table.psf.sigma[:, e, o] ** 2).sum())
    truth = np.interp(np.log(table.psf.energy[e]), np.log(irfs.psf.energy), irfs.psf.sigma[0, :, 1])
    assert width == pytest.approx(truth, rel=0.1)


def test_irfs_without_background_load_and_say_so(gammapy_irfs):
    rest = {key: irf for key, irf in gammapy_irfs.items() if key != "bkg"}
    with pytest.warns(PymcGammaWarning):
        irfs = pmg.load_irfs(rest)
    assert irfs.bkg is None
    assert "background=no" in repr(irfs)


@pytest.mark.parametrize(
    ("key", "what"), [("aeff", "effective area"), ("edisp", "energy dispersion"), ("psf", "point")]
)
def test_a_missing_table_is_named(gammapy_irfs, key, what):
    rest = {name: irf for name, irf in gammapy_irfs.items() if name != key}
    with pytest.raises(IRFError, match=f"have no {what}"):
        pmg.load_irfs(rest)


def test_nan_in_a_table_is_named(gammapy_irfs):
    aeff = copy.deepcopy(gammapy_irfs["aeff"])
    aeff.data = aeff.data.copy()
    aeff.data[3, 2] = np.nan
    with pytest.raises(IRFError, match="effective area has 1 values that are not finite"):
        pmg.load_irfs({**gammapy_irfs, "aeff": aeff})


def rebuilt(irf, **changes):
    """A gammapy effective area with another unit or flag."""
    return type(irf)(**{"axes": irf.axes, "data": irf.data, "unit": irf.unit, "meta": irf.meta, **changes})


def test_a_wrong_unit_is_named(gammapy_irfs):
    aeff = rebuilt(gammapy_irfs["aeff"], unit="TeV")
    with pytest.raises(IRFError, match="effective area is in 'TeV'"):
        pmg.load_irfs({**gammapy_irfs, "aeff": aeff})


def test_truncated_files_are_refused(fits_file, tmp_path):
    content = fits_file.read_bytes()
    fits_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataFileError, match=r"irf\.fits"):
        pmg.load_irfs(fits_file)
    packed = tmp_path / "irf.fits.gz"
    packed.write_bytes(datasets.path(NAME).read_bytes()[:100_000])
    with pytest.raises(DataFileError, match=r"irf\.fits\.gz"):
        pmg.load_irfs(packed)


def test_other_files_are_refused(tmp_path):
    empty = tmp_path / "empty.fits"
    fits.PrimaryHDU().writeto(empty)
    with pytest.raises((DataFileError, IRFError), match=r"empty\.fits"):
        pmg.load_irfs(empty)
    text = tmp_path / "notes.txt"
    text.write_text("not FITS")
    with pytest.raises(DataFileError, match=r"notes\.txt"):
        pmg.load_irfs(text)
    with pytest.raises(DataFileError, match="no IRF file 'prod9'"):
        pmg.load_irfs("prod9")


def test_tables_that_are_point_like_in_part_are_refused(gammapy_irfs):
    aeff = rebuilt(gammapy_irfs["aeff"], is_pointlike=True)
    with pytest.raises(IRFError, match="point-like"):
        pmg.load_irfs({**gammapy_irfs, "aeff": aeff})


def test_peek_draws_four_panels(irfs):
    axes = np.array(irfs.peek().axes[:4]).reshape(2, 2)
    assert axes.shape == (2, 2)
    assert "effective area" in axes[0, 0].get_ylabel()


def test_background_rate_between_and_beyond_nodes():
    from pymc_gamma.geometry import unit_vectors

    energy = np.array([1.0, 10.0])
    rate = np.array([[1.0, 0.5, 0.25], [0.1, 0.05, 0.025]])[..., None]
    edges, all_lat, covered = np.array([0.0, 0.5, 1.5, 2.5]), np.array([-90.0, 90.0]), np.ones((3, 1), bool)
    nodes = np.array([0.0, 1.0, 2.0])
    bkg = Background(energy, nodes, np.zeros(1), rate, True, (0.5, 20.0), edges, all_lat, covered)
    offset = np.array([0.0, 1.0, 1.5, 2.4, 2.6, 0.0, 0.0])
    at = np.array([1.0, 10.0, 10**0.5, 1.0, 1.0, 0.5, 20.0])
    turned = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = bkg.rate_at(unit_vectors(offset, 0 * offset) @ turned, np.log(at), turned)
    expected = [1.0, 0.05, 10**-0.5 * 2**-1.5, 0.25, 0.0, 1.0, 0.1]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
