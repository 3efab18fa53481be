"""Counts spectra: OGIP files and gammapy data sets read, expected counts, groups, bad input."""

import itertools

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from gammapy.data import DataStore
from gammapy.datasets import SpectrumDataset
from gammapy.irf import EDispMap
from gammapy.makers import ReflectedRegionsBackgroundMaker, SpectrumDatasetMaker
from gammapy.maps import MapAxis, RegionGeom
from gammapy.modeling.models import PowerLawSpectralModel, SkyModel
from ogip_files import N_CHANNELS, N_TRUE, toy, write
from regions import CircleSkyRegion
from scipy import integrate

import pymc_gamma as pmg
from pymc_gamma.errors import DataFileError, EventError, ModelError, PymcGammaWarning
from pymc_gamma.on_off.ogip import _rounding
from pymc_gamma.times import from_seconds

CM2_S = u.Unit("cm2 s")


def made(**changes):
    true, reco, area, matrix, on, off = toy()
    given = {
        "energy": reco * u.TeV,
        "energy_true": true * u.TeV,
        "exposure": area * 1000 * CM2_S,
        "edisp": matrix,
        "counts_off": off,
        "alpha": 0.25,
    }
    return pmg.CountsSpectrum("toy", **({"counts": on} | given | changes))


@pytest.mark.parametrize("first_channel", [0, 1])
@pytest.mark.parametrize("unit", ["TeV", "keV"])
def test_files(tmp_path, first_channel, unit):
    """Channels are counted from 0 or from 1, energies are those of gamma-ray or X-ray astronomy."""
    read = pmg.CountsSpectrum.read(write(tmp_path, first_channel=first_channel, tlmin=first_channel, unit=unit))
    true, reco, area, matrix, on, off = toy()
    assert read.name == "7"
    np.testing.assert_allclose(read.edisp, matrix, rtol=1e-12)
    np.testing.assert_allclose(read.energy.to_value("TeV"), reco, rtol=1e-12)
    np.testing.assert_allclose(read.energy_true.to_value("TeV"), true, rtol=1e-12)
    np.testing.assert_allclose(read.exposure.to_value("cm2 s"), area * 1000, rtol=1e-12)
    np.testing.assert_array_equal(read.counts, on)
    np.testing.assert_array_equal(read.counts_off, off)
    np.testing.assert_allclose(read.alpha, 0.25)


def test_alpha_has_all_that_scales_exposures(tmp_path):
    backscal = (np.linspace(1, 2, N_CHANNELS), 3.0)
    read = pmg.CountsSpectrum.read(
        write(tmp_path, backscal=backscal, exposure=(1000.0, 500.0), areascal=(0.5, 0.25)), name="other"
    )
    assert read.name == "other"
    np.testing.assert_allclose(read.alpha, backscal[0] / 3 * 2 * 2)
    # AREASCAL is a share of the effective area
    response = read.exposure.to_value("cm2 s")[:, None] * read.edisp
    np.testing.assert_allclose(response, 0.5 * 1000 * toy()[2][:, None] * toy()[3])


def test_areascal_differs_between_channels_and_may_be_above_one(tmp_path):
    areascal = np.linspace(1.0, 2.0, N_CHANNELS)
    column = fits.Column("AREASCAL", "D", array=areascal)
    read = pmg.CountsSpectrum.read(write(tmp_path, columns=lambda made: [*made, column]))
    response = read.exposure.to_value("cm2 s")[:, None] * read.edisp
    np.testing.assert_allclose(response, areascal * 1000 * toy()[2][:, None] * toy()[3])


@pytest.mark.parametrize("areascal", [0.0, -1.0, np.nan])
def test_no_area_without_a_background(tmp_path, areascal):
    column = fits.Column("AREASCAL", "D", array=np.full(N_CHANNELS, areascal))
    path = write(tmp_path, columns=lambda made: [*made, column], without=("BACKFILE",))
    with pytest.raises(DataFileError, match="positive AREASCAL"):
        pmg.CountsSpectrum.read(path)


@pytest.mark.parametrize("first_channel", [0, 1])
def test_channels_without_numbers_are_those_of_the_rmf(tmp_path, first_channel):
    path = write(tmp_path, first_channel=first_channel, columns=lambda made: made[1:])
    np.testing.assert_array_equal(pmg.CountsSpectrum.read(path).counts, toy()[4])
    short = write(tmp_path, columns=lambda made: [fits.Column("COUNTS", "D", array=np.ones(5))])
    with pytest.raises(DataFileError, match="without numbers, 5"):
        pmg.CountsSpectrum.read(short)


def test_narrow_bins_of_an_arf_that_are_shifted_by_one(tmp_path):
    """Edges are compared to the width of bins: those of high resolution are narrower than a thousandth."""
    shifted = toy()[0] * (1 + 5e-4)
    pmg.CountsSpectrum.read(write(tmp_path, arf_edges=shifted))  # rounding, of wide bins
    narrow = 6.0 * (1 + 1e-4 * np.arange(7))
    assert np.all(_rounding(narrow) < np.diff(narrow)[0] / 2)
    np.testing.assert_allclose(_rounding(toy()[0]), 1e-3 * toy()[0])


def test_quality_of_either_file_and_range_of_energies(tmp_path):
    bad_on, bad_off = np.zeros(N_CHANNELS, int), np.zeros(N_CHANNELS, int)
    bad_on[0], bad_off[3] = 5, 1
    path = write(tmp_path, quality=(bad_on, bad_off))
    assert np.flatnonzero(~pmg.CountsSpectrum.read(path).mask).tolist() == [0, 3]
    edges = toy()[1]
    narrower = pmg.CountsSpectrum.read(path, energy_range=(edges[1], 0.999 * edges[6]) * u.TeV)
    assert np.flatnonzero(narrower.mask).tolist() == [1, 2, 4]
    np.testing.assert_allclose(narrower.energy_range.value, [edges[1], edges[5]])


def test_without_a_background(tmp_path):
    read = pmg.CountsSpectrum.read(write(tmp_path, without=("BACKFILE",)))
    assert not read.has_off
    with pytest.raises(EventError, match="no OFF region"):
        _ = read.alpha
    np.testing.assert_array_equal(read.excess, read.counts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on": [1, 2, -3, 0, 0, 0, 0, 0]}, r"toy\.pha: 1 of 8 channels .* -3 in row 2"),
        ({"off": [1, 2, 0.5, 0, 0, 0, 0, 0]}, r"toy\.bkg: 1 of 8 channels .* 0\.5 in row 2"),
        ({"backscal": (0.0, 1.0)}, "alpha of the exposures would be zero"),
        ({"exposure": (0.0, 1.0)}, r"toy\.pha: EXPOSURE is 0 s"),
        ({"arf_edges": np.geomspace(0.5, 10, 7)}, r"toy\.arf and .*toy\.rmf have different true energies"),
        ({"without": ("RESPFILE",)}, "names no RMF"),
        ({"without": ("ANCRFILE",)}, "names no ARF"),
        ({"pha": {"BACKFILE": "gone.fits"}}, r"gone\.fits"),
        ({"pha": {"HDUCLAS2": "NET"}}, "background was subtracted"),
        ({"pha": {"POISSERR": False}}, "not those of a Poisson process"),
        ({"columns": lambda made: [made[0], made[2]]}, "not COUNTS"),
        ({"quality": (np.ones(N_CHANNELS), np.zeros(N_CHANNELS))}, "no channel has quality 0"),
        ({"pha": {"BACKFILE": "toy.pha"}}, r"toy\.pha names itself as its background"),
        ({"pha": {"BACKFILE": "./toy.pha"}}, r"toy\.pha names itself as its background"),
    ],
)
def test_files_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(DataFileError, match=message):
        pmg.CountsSpectrum.read(write(tmp_path, **changes))


def test_an_rmf_of_other_channels(tmp_path):
    path = write(tmp_path)
    with fits.open(tmp_path / "toy.rmf") as hdus:
        hdus["EBOUNDS"].data["CHANNEL"] += 1
        hdus["MATRIX"].data["F_CHAN"] += 1
        hdus.writeto(tmp_path / "toy.rmf", overwrite=True, checksum=True)
    with pytest.raises(DataFileError, match=r"toy\.rmf has the channels 1 to 8, and .*toy\.pha 0 to 7"):
        pmg.CountsSpectrum.read(path)


@pytest.mark.parametrize(("extension", "low"), [("EBOUNDS", "E_MIN"), ("MATRIX", "ENERG_LO")])
def test_energies_that_run_downwards(tmp_path, extension, low):
    path = write(tmp_path)
    with fits.open(tmp_path / "toy.rmf") as hdus:
        rows = hdus[extension].data
        for name in (low, low.replace("MIN", "MAX").replace("LO", "HI")):
            rows[name] = rows[name][::-1].copy()
        hdus.writeto(tmp_path / "toy.rmf", overwrite=True, checksum=True)
    with pytest.raises(DataFileError, match=rf"toy\.rmf: the energies {low} of {extension} run downwards"):
        pmg.CountsSpectrum.read(path)


@pytest.mark.parametrize("variable", [True, False])
@pytest.mark.parametrize("first_channel", [0, 1])
def test_an_rmf_of_several_groups(tmp_path, first_channel, variable):
    """Rows of none to three groups, with gaps between them, in arrays of variable length or filled with zeros."""
    path = write(tmp_path, first_channel=first_channel)
    expected = np.zeros_like(toy()[3])
    groups = [[(0, 3), (5, 2)], [(1, 1), (3, 1), (6, 2)], [], [(2, 6)], [(0, 1), (7, 1)], [(4, 2), (6, 2)]]
    first, number, values = (np.empty(N_TRUE, object) for _ in range(3))
    for e, row in enumerate(groups):
        first[e] = np.array([c + first_channel for c, _ in row], np.int16)
        number[e] = np.array([n for _, n in row], np.int16)
        for c, n in row:
            expected[e, c : c + n] = np.arange(1, n + 1) / 100 + c / 1000 + 0.01 * e
        values[e] = np.concatenate([expected[e, c : c + n] for c, n in row] or [np.zeros(0)])
    if variable:
        kinds = {"F_CHAN": ("PI()", first), "N_CHAN": ("PI()", number), "MATRIX": ("PD()", values)}
    else:
        filled = [
            np.array([np.pad(one, (0, n - len(one))) for one in a]) for a, n in ((first, 3), (number, 3), (values, 8))
        ]
        kinds = dict(zip(("F_CHAN", "N_CHAN", "MATRIX"), zip(("3I", "3I", "8D"), filled, strict=True), strict=True))
    with fits.open(tmp_path / "toy.rmf") as hdus:
        columns = [hdus["MATRIX"].columns[name] for name in ("ENERG_LO", "ENERG_HI")]
        columns.append(fits.Column("N_GRP", "I", array=[len(row) for row in groups]))
        columns += [fits.Column(name, form, array=array) for name, (form, array) in kinds.items()]
        matrix = fits.BinTableHDU.from_columns(columns, name="MATRIX")
        fits.HDUList([fits.PrimaryHDU(), matrix, hdus["EBOUNDS"]]).writeto(tmp_path / "toy.rmf", overwrite=True)
    np.testing.assert_allclose(pmg.CountsSpectrum.read(path).edisp, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": [1.0] * 7}, r"counts must have the shape \(8,\)"),
        ({"counts": [1.5] + [1.0] * 7}, "whole numbers"),
        ({"counts": [np.nan] + [1.0] * 7}, "whole numbers"),
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"alpha": None}, "go together"),
        ({"mask": [False] * 8}, "no channel is used"),
        ({"mask": [1.0] * 8}, "True or False"),
        ({"energy": toy()[1][::-1] * u.TeV}, "edges that increase"),
        ({"edisp": toy()[3] * 2}, "add up to at most 1"),
        ({"exposure": -toy()[2] * CM2_S}, "not negative"),
        ({"exposure": 0 * toy()[2] * CM2_S}, "not zero everywhere"),
    ],
)
def test_bad_numbers(changes, message):
    with pytest.raises(EventError, match=message):
        made(**changes)


def test_counts_have_a_unit_or_none():
    _, _, _, _, on, off = toy()
    counted = made(counts=on * u.ct, counts_off=off * u.ct)
    np.testing.assert_array_equal(counted.counts, made().counts)
    np.testing.assert_array_equal(counted.counts_off, made().counts_off)
    with pytest.raises(u.UnitConversionError, match="counts must be a number without unit"):
        made(counts=on * u.TeV)


def test_units_are_asked_for():
    with pytest.raises(TypeError, match="energy"):
        made(energy=toy()[1])
    with pytest.raises(u.UnitConversionError):
        made(exposure=toy()[2] * u.cm**2)


def test_an_empty_off_region_is_told():
    with pytest.warns(PymcGammaWarning, match="OFF region holds no event"):
        made(counts_off=[0] * 8)


@pytest.mark.parametrize(
    "spectrum",
    [
        pmg.PowerLaw(index=2.7, amplitude=3e-11),
        pmg.LogParabola(amplitude=3e-11, alpha=2.2, beta=0.3, reference=1 * u.TeV),
    ],
)
def test_expected_counts_against_integrals(spectrum):
    """Integrals of the flux in the bins by another quadrature."""
    data = made()
    true, _, area, matrix, _, _ = toy()
    photons = [
        integrate.quad(lambda e: float(spectrum(np.array([e])).eval()[0]), low, high, epsrel=1e-10)[0]
        for low, high in itertools.pairwise(true)
    ]
    np.testing.assert_allclose(data.npred(spectrum), (area * 1000 * photons) @ matrix, rtol=2e-6)


def test_expected_counts_of_a_line_are_those_of_its_photons():
    """A line lies between all nodes: it knows its photons."""
    from pymc_gamma import darkmatter

    line = darkmatter.Annihilation(3.0, 1e-26, "gamma")
    data = made()
    scale = data.npred(line).sum().item()
    nodes = data.nodes()
    photons = np.asarray(line.photons(nodes.edges).flux.eval()).sum(axis=-1)
    assert photons.argmax() == np.searchsorted(nodes.edges, 3.0) - 1
    assert photons.max() > 0.98 * photons.sum()
    assert scale == pytest.approx((nodes.from_photons @ photons).sum(), abs=0)


def test_gammapy_agrees(tmp_path):
    """On expected counts, and on what a data set holds."""
    from gammapy.datasets import SpectrumDatasetOnOff

    dataset = SpectrumDatasetOnOff.read(write(tmp_path, gammapy=True))
    data = pmg.CountsSpectrum.from_gammapy(dataset)
    read = pmg.CountsSpectrum.read(tmp_path / "toy.pha")
    np.testing.assert_array_equal(data.counts, read.counts)
    np.testing.assert_allclose(data.alpha, read.alpha)
    np.testing.assert_allclose(data.exposure.value, read.exposure.value, rtol=1e-6)
    np.testing.assert_allclose(data.edisp, read.edisp, atol=1e-7)
    model = PowerLawSpectralModel(index=2.0, amplitude="3e-11 TeV-1 cm-2 s-1", reference="1 TeV")
    dataset.models = [SkyModel(spectral_model=model, name="source")]
    # gammapy integrates a power law in each bin exactly too
    np.testing.assert_allclose(data.npred(model), dataset.npred_signal().data.ravel(), rtol=1e-4)
    with pytest.raises(TypeError, match="SpectrumDatasetOnOff"):
        pmg.CountsSpectrum.from_gammapy("dataset")


@pytest.mark.parametrize("migra", [None, MapAxis.from_bounds(0.2, 5, nbin=400, name="migra", node_type="edges")])
def test_data_sets_that_gammapy_made_of_runs(migra):
    run = DataStore.from_dir(pmg.datasets.path("hess-dl3-dr1-crab")).get_observations()[0]
    run = run.select_time(run.gti.time_intervals[0])
    geom = RegionGeom.create(
        CircleSkyRegion(SkyCoord(83.633 * u.deg, 22.014 * u.deg), 0.11 * u.deg),
        axes=[MapAxis.from_energy_bounds("0.9 TeV", "30 TeV", nbin=8)],
    )
    true = MapAxis.from_energy_bounds("0.3 TeV", "100 TeV", nbin=20, per_decade=True, name="energy_true")
    maker = SpectrumDatasetMaker(selection=["counts", "exposure", "edisp"])
    empty = SpectrumDataset.create(geom, energy_axis_true=true, name="run")
    dataset = ReflectedRegionsBackgroundMaker().run(maker.run(empty, run), run)
    if migra is not None:
        dataset.edisp = EDispMap.from_diagonal_response(true, migra)
        dataset.exposure.meta = None
    data = pmg.CountsSpectrum.from_gammapy(dataset)
    start, stop = from_seconds(data.good_time_s)[0]
    assert abs((start - dataset.gti.time_start[0]).to_value("s")) < 1e-3
    assert abs((stop - dataset.gti.time_stop[0]).to_value("s")) < 1e-3
    model = PowerLawSpectralModel(index=2.5, amplitude="3e-11 TeV-1 cm-2 s-1", reference="1 TeV")
    dataset.models = [SkyModel(spectral_model=model, name="source")]
    np.testing.assert_allclose(data.npred(model), dataset.npred_signal().data.ravel(), rtol=1e-3)


def test_groups(tmp_path):
    grouping = [1, -1, -1, 1, -1, 1, 0, 0]
    data = pmg.CountsSpectrum.read(write(tmp_path, grouping=grouping))
    on = np.asarray(data.counts)
    grouped = data.grouped()
    assert grouped.counts.values.tolist() == [on[:3].sum(), on[3:5].sum(), *on[5:]]
    spectrum = pmg.PowerLaw(index=2.5, amplitude=1e-11)
    np.testing.assert_allclose(grouped.npred(spectrum).sum(), data.npred(spectrum).sum())
    assert made().grouped(3).counts.values.tolist() == [on[:3].sum(), on[3:].sum()]
    enough = made().grouped(min_off=70)
    assert (enough.counts_off >= 70).all()
    assert enough.counts_off.sum() == made().counts_off.sum()
    with pytest.raises(EventError, match="no groups of its own"):
        made().grouped()
    with pytest.raises(EventError, match="alpha differs within a group"):
        made(alpha=np.linspace(0.1, 0.2, 8)).grouped(2)


def test_channels_marked_zero_are_of_no_group():
    """OGIP/92-007: 1 begins a group, -1 goes on, 0 says that there is none."""
    grouped = made(grouping=[0, 0, 1, -1, -1, 0, 1, -1]).grouped()
    np.testing.assert_array_equal(np.searchsorted(toy()[1], grouped.energy.value), [0, 1, 2, 5, 6, 8])
    with pytest.raises(EventError, match="grouping must be 1"):
        made(grouping=[7] * 8)


def test_groups_do_not_reach_over_channels_that_are_not_used():
    mask = np.ones(8, bool)
    mask[3] = False
    grouped = made(mask=mask).grouped(2)
    on = made().counts.values
    # two, and one and a pair on the other side
    assert grouped.counts.sum() == on[mask].sum()
    assert grouped.mask.sum() == len(grouped.counts)
    used = np.flatnonzero(~grouped.mask)
    assert len(used) == 1
    np.testing.assert_allclose(grouped.energy[used[0]].value, toy()[1][3])


def test_no_channel_in_a_range():
    with pytest.raises(EventError, match="no channel that is used lies from 100 to 200 TeV"):
        made().select((100, 200) * u.TeV)
    with pytest.raises(EventError, match="the lower first"):
        made().select((3, 1) * u.TeV)


def test_peek_draws_counts_and_exposure():
    figure = made().peek()
    assert [ax.get_ylabel() for ax in figure.axes] == ["Counts per channel", "Exposure [m$^2$ s]"]


@pytest.mark.parametrize(
    ("spectrum", "message"),
    [
        (pmg.PowerLaw(index=pm.Normal.dist(2.0, 0.1), amplitude=1e-11), "random variables"),
        (pmg.PowerLaw(index=np.array([2.0, 2.4]), amplitude=1e-11), "one value for each energy"),
        (lambda energy: np.ones(3), "one value for each energy"),
    ],
)
def test_expected_counts_of_what_is_no_spectrum(spectrum, message):
    with pytest.raises(ModelError, match=message):
        made().npred(spectrum)
