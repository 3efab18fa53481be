"""Safe energies of runs: those of the file, and those that gammapy's own data sets get from a SafeMaskMaker."""

import logging
import warnings

import astropy.units as u
import numpy as np
import pytest
from dl3_field import POSITION, pointing, run_of, tables, write_dl3
from gammapy.data import DataStore
from gammapy.data import Observation as Run
from gammapy.datasets import MapDataset
from gammapy.makers import MapDatasetMaker, SafeMaskMaker
from gammapy.maps import MapAxis, WcsGeom

import pymc_gamma as pmg
from pymc_gamma.errors import DataFileError, PymcGammaWarning
from pymc_gamma.instrument.safe_mask import RunLimits, index_energies, run_limits

NO_LIMIT = RunLimits((0.0, np.inf), np.inf)
FINE = MapAxis.from_energy_bounds("0.02 TeV", "200 TeV", 100, per_decade=True, name="energy")


def run_with(**header):
    """A run whose effective area has header keys of its own."""
    aeff = tables()["aeff"]
    meta = {**(aeff.meta or {}), **header}
    return run_of(11, irfs={**tables(), "aeff": type(aeff)(aeff.axes, data=aeff.data, unit=aeff.unit, meta=meta)})


@pytest.mark.parametrize(
    ("header", "energy"),
    [
        ({}, (0.0, np.inf)),
        ({"LO_THRES": 0.3}, (0.3, np.inf)),
        ({"HI_THRES": 50.0}, (0.0, 50.0)),
        ({"LO_THRES": 0.87, "HI_THRES": 100}, (0.87, 100.0)),
        ({"LO_THRES": "0.5"}, (0.5, np.inf)),
        ({"LO_THRES": 0.0, "HI_THRES": -1}, (0.0, np.inf)),
        ({"SAFE_ENERGY_LO": 0.4, "SAFE_ENERGY_HI": 90.0}, (0.4, 90.0)),
    ],
)
def test_what_the_file_says(header, energy):
    assert run_limits(run_with(**header)) == RunLimits(energy, np.inf)
    assert run_limits(run_with(**header), None) == NO_LIMIT


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_observations_know_and_tell_their_limits():
    runs = [run_with(LO_THRES=0.3, HI_THRES=50.0), run_of(12)]
    first, second = pmg.Observation.list_from_gammapy(runs)
    assert (first.energy_range, second.energy_range) == ((0.3, 50.0), (0.0, np.inf))
    assert "energy=(0.3, 50) TeV" in repr(first)
    assert "energy" not in repr(second)
    assert pmg.Observation.from_gammapy(runs[0], safe_mask=None).energy_range == (0.0, np.inf)
    by_hand = pmg.Observation.from_gammapy(runs[0], energy_range=(400, 5000) * u.GeV, offset_max=1.5 * u.deg)
    assert by_hand.energy_range == pytest.approx((0.4, 5))
    assert by_hand.offset_max == 1.5
    assert "offset<=1.5 deg" in repr(by_hand)
    maker = SafeMaskMaker(["aeff-default", "offset-max"], offset_max="2 deg")
    both = pmg.Observation.list_from_gammapy(runs, safe_mask=maker)
    assert [(one.energy_range, one.offset_max) for one in both] == [((0.3, 50.0), 2.0), ((0.0, np.inf), 2.0)]


def first_safe_bin(maker, run, centre, width=0.06, npix=3):
    """Number of the first energy bin that gammapy keeps in a data set with narrow bins around a place."""
    peak = "bkg-peak" in maker.methods
    geom = WcsGeom.create(skydir=centre, npix=npix, binsz=width / npix, axes=[FINE])
    dataset = MapDataset.create(
        geom,
        energy_axis_true=MapAxis.from_energy_bounds(
            *(run.edisp if "edisp-bias" in maker.methods else run.aeff).axes["energy_true"].bounds,
            200,
            per_decade=True,
            name="energy_true",
        ),
        migra_axis=None if peak else run.edisp.axes["migra"],
        binsz_irf=width / npix,
    )
    dataset = MapDatasetMaker(selection=["background"] if peak else ["exposure", "edisp"]).run(dataset, run)
    dataset = maker.run(dataset, run)
    return int(np.flatnonzero(dataset.mask_safe.data.any(axis=(1, 2)))[0])


def agrees(energy, number):
    """Whether a threshold makes gammapy keep this bin as the first one."""
    edges = FINE.edges.to_value("TeV")
    return edges[number - 1] < energy * (1 + 1e-9) and energy <= edges[number] * (1 + 1e-9)


@pytest.mark.parametrize("irfs", ["DL4", "DL3"])
@pytest.mark.parametrize("method", ["aeff-default", "aeff-max", "edisp-bias"])
@pytest.mark.parametrize("where", ["pointing", "position", "fixed_offset"])
def test_thresholds_are_those_of_gammapys_data_sets(method, where, irfs):
    run = run_with(LO_THRES=0.123, HI_THRES=80.0)
    centre = pointing(0.4)
    options = {"pointing": {}, "position": {"position": POSITION}, "fixed_offset": {"fixed_offset": 1.2 * u.deg}}[where]
    if where == "position":
        centre = POSITION
    elif where == "fixed_offset":
        centre = centre.directional_offset_by(0 * u.deg, 1.2 * u.deg)
    maker = SafeMaskMaker([method], aeff_percent=5, bias_percent=3, irfs=irfs, **options)
    found = run_limits(run, maker)
    assert found.offset_max == np.inf
    assert agrees(found.energy_range[0], first_safe_bin(maker, run, centre))


@pytest.mark.parametrize(("percent", "offset"), [(20, 1.0), (10, 0.5), (5, 2.0)])
def test_threshold_of_the_area_does_not_move_with_bins(percent, offset):
    # brute force on the table, which gammapy interpolates between its 10 bins per decade
    aeff = tables()["aeff"]
    energy = np.geomspace(*aeff.axes["energy_true"].bounds.to_value("TeV"), 20_000)[1:-1]
    area = aeff.evaluate(energy_true=energy * u.TeV, offset=offset * u.deg).to_value("m2")
    first = energy[np.flatnonzero(area >= percent / 100 * area.max())[0]]
    maker = SafeMaskMaker(["aeff-max"], aeff_percent=percent, fixed_offset=offset * u.deg)
    assert run_limits(run_of(11), maker).energy_range[0] == pytest.approx(first, rel=0.008)


def test_parameters_of_the_methods_count():
    run = run_of(11)
    low = [
        run_limits(run, SafeMaskMaker(["aeff-max"], aeff_percent=percent)).energy_range[0] for percent in (1, 10, 30)
    ]
    assert low == sorted(low)
    assert low[0] < low[-1]
    aeff = tables()["aeff"]
    area = aeff.evaluate(energy_true=low[1] * u.TeV, offset=0 * u.deg).to_value("m2")
    largest = aeff.evaluate(energy_true=aeff.axes["energy_true"].center, offset=0 * u.deg).to_value("m2").max()
    assert area == pytest.approx(0.1 * largest, rel=0.02)


def test_a_selection_in_time_changes_no_threshold():
    run = run_of(11)
    maker = SafeMaskMaker(["aeff-max"])
    for inverted in (False, True):
        part = run.select_time([run.gti.time_start[0], run.gti.time_stop[0]], inverted=inverted)
        assert run_limits(part, maker) == run_limits(run, maker)


def falling_background():
    """A background that peaks at 0.4 TeV per logarithmic energy."""
    bkg = tables()["bkg"]
    energy = bkg.axes["energy"].center.to_value("TeV")[:, None, None]
    shape = np.exp(-0.5 * np.log(energy / 0.4) ** 2) / energy
    return type(bkg)(bkg.axes, data=shape * np.ones_like(bkg.data), unit=bkg.unit, meta=bkg.meta)


def test_peak_of_the_background():
    run = run_of(11, irfs={**tables(), "bkg": falling_background()})
    maker = SafeMaskMaker(["bkg-peak"])
    found = run_limits(run, maker).energy_range[0]
    ours, theirs = (
        np.log10(found),
        np.log10(FINE.edges.to_value("TeV")[first_safe_bin(maker, run, pointing(0.4), 12, 12)]),
    )
    assert ours == pytest.approx(theirs, abs=0.0201), "two of its bins"
    assert found == pytest.approx(0.4, rel=0.3), "the table has 5 bins per decade"


def test_methods_together():
    run = run_with(LO_THRES=0.05, HI_THRES=60.0)
    alone = [
        run_limits(run, SafeMaskMaker([method])).energy_range[0]
        for method in ("aeff-default", "aeff-max", "edisp-bias")
    ]
    together = run_limits(
        run, SafeMaskMaker(["aeff-default", "aeff-max", "edisp-bias", "offset-max"], offset_max="3 deg")
    )
    assert together.energy_range == (max(alone), 60.0)
    assert together.offset_max == 3.0
    only_offset = run_limits(run, SafeMaskMaker(["offset-max"], offset_max=2.5 * u.deg))
    assert only_offset == RunLimits((0.0, np.inf), 2.5)
    by_hand = run_limits(run, SafeMaskMaker(["aeff-max", "offset-max"], offset_max="3 deg"), offset_max=1 * u.deg)
    assert by_hand.offset_max == 1.0


def without(name):
    run = run_of(11)
    setattr(run, name, None)
    return run


class Stricter(SafeMaskMaker):
    """With a rule of its own."""

    def run(self, dataset, observation=None):
        """Nothing is safe."""
        raise NotImplementedError


@pytest.mark.parametrize(
    ("run", "arguments", "error", "message"),
    [
        (
            lambda: run_with(LO_THRES=5.0, HI_THRES=2.0),
            {},
            DataFileError,
            "observation 11 has no safe energies by the thr",
        ),
        (lambda: run_with(LO_THRES=870.0), {}, DataFileError, "observation 11 has no safe energies by.*870 to"),
        (
            lambda: run_with(LO_THRES=np.nan),
            {},
            DataFileError,
            "observation 11: LO_THRES is nan, expected an energy in TeV",
        ),
        (lambda: run_with(HI_THRES="none"), {}, DataFileError, "observation 11: HI_THRES is 'none'"),
        (
            lambda: run_with(LO_THRES=5.0, HI_THRES=2.0),
            {"safe_mask": SafeMaskMaker(["aeff-default"])},
            DataFileError,
            "observation 11 has no safe energies by SafeMaskMaker with aeff-default",
        ),
        (
            lambda: run_of(11),
            {"safe_mask": SafeMaskMaker(["aeff-max"], fixed_offset=20 * u.deg)},
            DataFileError,
            "observation 11 has no safe energies by SafeMaskMaker with aeff-max: its effective area is zero",
        ),
        (
            lambda: without("bkg"),
            {"safe_mask": SafeMaskMaker(["bkg-peak"])},
            DataFileError,
            "observation 11: gammapy's SafeMaskMaker cannot evaluate 'bkg-peak'",
        ),
        (lambda: run_of(11), {"safe_mask": "files"}, TypeError, "safe_mask must be \"file\".*got 'files'"),
        (lambda: run_of(11), {"safe_mask": ["aeff-max"]}, TypeError, "safe_mask must be"),
        (lambda: run_of(11), {"safe_mask": Stricter()}, TypeError, "those of a class of its own"),
        (lambda: run_of(11), {"energy_range": (1, 10)}, TypeError, "energy_range must be an astropy Quantity"),
        (lambda: run_of(11), {"energy_range": (10, 1) * u.TeV}, ValueError, "energy_range must be a range"),
        (lambda: run_of(11), {"offset_max": 2}, TypeError, "offset_max must be an astropy Quantity"),
        (
            lambda: run_of(11),
            {"offset_max": 0 * u.deg},
            DataFileError,
            "observation 11: the largest offset must be pos",
        ),
    ],
)
def test_what_cannot_be_used_is_named(run, arguments, error, message):
    with pytest.raises(error, match=message):
        pmg.Observation.from_gammapy(run(), **arguments)


def test_thresholds_by_hand_replace_those_of_a_bad_file():
    run = run_with(LO_THRES=np.nan)
    assert run_limits(run, energy_range=(1, 10) * u.TeV).energy_range == (1.0, 10.0)
    assert run_limits(run, None) == NO_LIMIT


def test_index_of_a_data_store(runs, tmp_path):
    for run in runs:
        write_dl3(run, tmp_path / f"run{run.obs_id}.fits")
    store = DataStore.from_events_files(sorted(tmp_path.glob("*.fits")))
    store.obs_table["SAFE_ENERGY_LO"] = [300.0, 0.5e3] * u.GeV
    assert index_energies(store) == {"11": (0.3, None), "12": (0.5, None)}
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        found = pmg.Observation.list_from_gammapy(store)
    assert [one.energy_range for one in found] == [(0.3, np.inf), (0.5, np.inf)]
    assert index_energies(runs) == {}


CRAB = {23523: 0.8709636, 23526: 0.7079458, 23559: 0.6606934, 23592: 0.8709636}


def crab_run(obs_id):
    """A run of the first public test data release of H.E.S.S., of those that come with the package."""
    logging.getLogger("gammapy").setLevel(logging.ERROR)
    return Run.read(pmg.datasets.path("hess-dl3-dr1-crab") / "data" / f"hess_dl3_dr1_obs_id_{obs_id:06d}.fits.gz")


@pytest.mark.parametrize("obs_id", CRAB)
def test_runs_of_the_crab_nebula(obs_id):
    from astropy.coordinates import SkyCoord

    run = crab_run(obs_id)
    crab = SkyCoord(83.633 * u.deg, 22.014 * u.deg)
    assert run_limits(run).energy_range == pytest.approx((CRAB[obs_id], 100.0))
    for method in ("aeff-default", "aeff-max", "edisp-bias"):
        maker = SafeMaskMaker([method], position=crab)
        assert agrees(run_limits(run, maker).energy_range[0], first_safe_bin(maker, run, crab)), method
    maker = SafeMaskMaker(["bkg-peak"])
    ours = run_limits(run, maker).energy_range[0]
    theirs = FINE.edges.to_value("TeV")[first_safe_bin(maker, run, run.pointing.fixed_icrs, 5, 20)]
    assert np.log10(ours) == pytest.approx(np.log10(theirs), abs=0.0201)
