"""Whole runs that this package writes: gammapy's data store opens them, and everything comes back."""

import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from dl3_field import IRFS, observations
from gammapy.data import DataStore, HDUIndexTable, ObservationTable
from gammapy.data import Observation as Run

import pymc_gamma as pmg
from pymc_gamma.errors import DataFileError, EventError, IRFError, PymcGammaWarning

ROWS = ("energy", "lon", "lat", "observation")
CENTRE = SkyCoord(83.63 * u.deg, 22.01 * u.deg)


@pytest.fixture(scope="module")
def folder(simulated, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "runs"
    first, second = observations()
    first.energy_range = (0.3, 80.0)
    assert pmg.write_runs(path, simulated, [first, second], rng=3) == [11, 12]
    return path


def events(n=20, **changes):
    return pmg.Events(
        np.linspace(1, 5, n) * u.TeV, np.linspace(83, 84, n) * u.deg, np.full(n, 22) * u.deg, frame="icrs", **changes
    )


@pytest.fixture(scope="module")
def observation():
    return pmg.Observation(pmg.load_irfs(IRFS), CENTRE, livetime=20 * u.min)


def back(store):
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        return pmg.Observation.list_from_gammapy(store), pmg.Events.from_gammapy(store, frame="icrs")


def test_everything_comes_back(folder, simulated):
    store = DataStore.from_dir(folder)
    assert len(store.get_observations()) == 2, "gammapy leaves no run out"
    found, again = back(store)
    for mine, original in zip(found, observations(), strict=True):
        assert mine.name == original.name
        assert mine.pointing.separation(original.pointing) < 1e-9 * u.deg
        assert mine.livetime_s == pytest.approx(original.livetime_s, rel=1e-9)
        assert mine.ontime_s == pytest.approx(original.ontime_s, rel=1e-9)
        assert mine.irfs.fingerprint() == original.irfs.fingerprint()
    assert [one.energy_range for one in found] == [(0.3, 80.0), (0.0, np.inf)]
    order = np.argsort(simulated.observation, kind="stable")
    assert again.to_rows(ROWS) == pytest.approx(simulated.to_rows(ROWS)[order], rel=1e-12, abs=1e-11)
    assert again.meta["outside_good_time"] == {}


def test_gammapy_finds_no_fault_in_the_store(folder):
    store = DataStore.from_dir(folder)
    faults = [one for one in store.check(["obs_table", "hdu_table", "consistency"]) if one["level"] == "error"]
    assert faults == []
    assert sorted(path.name for path in folder.iterdir()) == [
        "hdu-index.fits.gz",
        "obs-index.fits.gz",
        "run_000011.fits.gz",
        "run_000012.fits.gz",
    ]
    assert len(back(DataStore.from_events_files(sorted(folder.glob("run_*"))))[0]) == 2
    for name in ("GEOLON", "GEOLAT", "ALTITUDE"):
        assert name in ObservationTable.read(folder / "obs-index.fits.gz").meta


def test_raw_content_of_a_file(folder, simulated):
    with fits.open(folder / "run_000012.fits.gz", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:3]] == ["EVENTS", "GTI"]
        header, data = hdus["EVENTS"].header, hdus["EVENTS"].data
        gti = hdus["GTI"].data
        assert len(data) == np.sum(simulated.observation == 1)
        assert header["OBS_ID"] == 12
        assert (header["TIMEUNIT"], header["TIMEREF"], header["TIMESYS"]) == ("s", "LOCAL", "TT")
        assert header["DEADC"] == pytest.approx(0.9)
        assert header["ONTIME"] == pytest.approx(1200)
        assert "drawn uniformly" in str(header["COMMENT"])
        assert header["GEOLAT"] < 0, "the southern array"
        assert gti["STOP"] - gti["START"] == pytest.approx(1200)
        assert gti["START"][0] <= data["TIME"].min() < data["TIME"].max() <= gti["STOP"][0]
        spread = np.sort((data["TIME"] - gti["START"][0]) / 1200)
        # Kolmogorov-Smirnov, 99.9 %
        assert np.abs(spread - (np.arange(len(spread)) + 0.5) / len(spread)).max() < 1.95 / np.sqrt(len(spread))
        with fits.open(pmg.datasets.path(IRFS)) as response:
            for hdu in response[1:]:
                for name in hdu.columns.names:
                    assert np.array_equal(hdus[hdu.name].data[name], hdu.data[name]), name


def test_times_follow_one_another(observation, tmp_path):
    start = Time("2027-05-01T22:00:00", scale="utc")
    pair = [observation, observation]
    pmg.write_runs(tmp_path / "runs", events(observation=np.arange(20) % 2), pair, start=start, rng=1)
    first, second = DataStore.from_dir(tmp_path / "runs").get_observations()
    assert abs((first.tstart - start).to_value("s")) < 1e-5
    assert (second.tstart - first.tstop).to_value("s") == pytest.approx(60, abs=1e-5)
    halves = [first.select_time([first.tstart, first.tmid]), first.select_time([first.tmid, first.tstop])]
    found, again = back(halves)
    assert sum(one.ontime_s for one in found) == pytest.approx(1200, abs=1e-5)
    assert len(again) == 10


def test_draws_of_times_can_be_repeated(observation, tmp_path):
    times = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        pmg.write_runs(tmp_path / name, events(), observation, rng=seed)
        times.append(fits.getdata(tmp_path / name / "run_000001.fits.gz", "EVENTS")["TIME"])
    assert np.array_equal(times[0], times[1])
    assert not np.array_equal(times[0], times[2])


@pytest.mark.parametrize(
    ("names", "ids"), [(("7", "3"), [7, 3]), (("7", "07"), [1, 2]), (("night", "3"), [1, 2]), ((None, None), [1, 2])]
)
def test_names_that_are_numbers_are_kept(observation, tmp_path, names, ids):
    pair = [pmg.Observation(observation.irfs, CENTRE, livetime=1 * u.h, name=name) for name in names]
    assert pmg.write_runs(tmp_path / "runs", events(), pair) == ids
    assert set(DataStore.from_dir(tmp_path / "runs").obs_ids) == set(ids)


def test_an_observation_without_events_and_without_background(observation, tmp_path):
    irfs = observation.irfs
    bare = type(irfs)(irfs.name, irfs.aeff, irfs.edisp, irfs.psf, None)
    pair = [observation, observation.with_irfs(bare)]
    pmg.write_runs(tmp_path / "runs", events(), pair)
    assert "BACKGROUND" not in [hdu.name for hdu in fits.open(tmp_path / "runs" / "run_000002.fits.gz")]
    store = DataStore.from_dir(tmp_path / "runs")
    _, again = back(store.get_observations(required_irf=["aeff", "edisp", "psf"]))
    assert np.bincount(again.observation, minlength=2).tolist() == [20, 0]


def test_response_of_a_file_of_the_user(observation, tmp_path):
    path = tmp_path / "mine.fits.gz"
    path.write_bytes(pmg.datasets.path(IRFS).read_bytes())
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        mine = observation.with_irfs(pmg.load_irfs(path))
    with pytest.raises(IRFError, match=r"response of observation 0, 'mine.fits.gz', is not a data set.*irfs="):
        pmg.write_runs(tmp_path / "runs", events(), mine)
    pmg.write_runs(tmp_path / "runs", events(), mine, irfs=path)
    assert back(DataStore.from_dir(tmp_path / "runs"))[0][0].irfs.fingerprint() == mine.irfs.fingerprint()


def test_place_of_the_telescopes(observation, tmp_path):
    path = tmp_path / "nowhere.fits"
    with fits.open(pmg.datasets.path(IRFS)) as hdus:
        for hdu in hdus:
            hdu.header["INSTRUME"] = "a new one"
        hdus.writeto(path)
    with pytest.raises(DataFileError, match=r"nowhere\.fits does not say where its telescopes stand.*location="):
        pmg.write_runs(tmp_path / "runs", events(), observation, irfs=path)
    place = EarthLocation(lon=20 * u.deg, lat=-30 * u.deg, height=1000 * u.m)
    pmg.write_runs(tmp_path / "runs", events(), observation, irfs=path, location=place)
    (run,) = DataStore.from_dir(tmp_path / "runs").get_observations()
    assert run.observatory_earth_location.lat.deg == pytest.approx(-30)


def distorted(observation):
    return observation.with_irfs(observation.irfs.distorted(psf_scale=1.1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda one: {"events": [1, 2]}, TypeError, "events must be Events, got list"),
        (lambda one: {"observations": ["run"]}, TypeError, "observations must be of the class Observation, got str"),
        (lambda one: {"observations": []}, EventError, "no observation to write"),
        (lambda one: {"events": events(observation=2)}, EventError, "observation 2, but there are 1"),
        (lambda one: {"events": events(multiplicity=np.full(20, 2.0))}, EventError, "cells of several events"),
        (lambda one: {"irfs": 3}, TypeError, "irfs must be the path"),
        (lambda one: {"irfs": [IRFS, IRFS]}, IRFError, "2 files for 1 observations"),
        (lambda one: {"irfs": "no-such.fits"}, DataFileError, r"no file no-such\.fits"),
        (lambda one: {"observations": distorted(one)}, IRFError, "PSF scale 1.1', is not a data set"),
        (lambda one: {"observations": distorted(one), "irfs": IRFS}, IRFError, "is not that of .*prod5.*in memory"),
    ],
)
def test_nothing_is_left_behind_when_it_fails(observation, tmp_path, arguments, error, message):
    given = {"events": events(), "observations": observation, **arguments(observation)}
    with pytest.raises(error, match=message):
        pmg.write_runs(tmp_path / "runs", **given)
    assert list(tmp_path.iterdir()) == []


def test_files_that_hold_no_response(observation, tmp_path):
    (tmp_path / "text.fits").write_text("no FITS at all")
    events().write(tmp_path / "events.fits")
    place = EarthLocation(lon=20 * u.deg, lat=-30 * u.deg, height=1000 * u.m)
    with pytest.raises(DataFileError, match=r"text\.fits is no FITS file"):
        pmg.write_runs(tmp_path / "runs", events(), observation, irfs=tmp_path / "text.fits")
    with pytest.raises(IRFError, match=r"events\.fits has no table aeff, edisp, psf"):
        pmg.write_runs(tmp_path / "runs", events(), observation, irfs=tmp_path / "events.fits", location=place)
    with pytest.raises(EventError, match=r"makes a folder, got the name of a file"):
        pmg.write_runs(tmp_path / "runs.fits", events(), observation)


def test_an_existing_folder_is_respected(observation, tmp_path):
    folder = tmp_path / "runs"
    pmg.write_runs(folder, events(), observation)
    with pytest.raises(FileExistsError, match="runs exists"):
        pmg.write_runs(folder, events(), observation)
    pmg.write_runs(folder, events(3), observation, overwrite=True)
    assert len(back(DataStore.from_dir(folder))[1]) == 3
    (folder / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match=r"holds what write_runs did not write \(thesis\.tex\)"):
        pmg.write_runs(folder, events(), observation, overwrite=True)
    assert (folder / "thesis.tex").read_text() == "precious"


def test_the_largest_offset_has_no_place(observation, tmp_path):
    narrow = pmg.Observation(observation.irfs, CENTRE, livetime=1 * u.h, offset_max=2 * u.deg)
    with pytest.warns(PymcGammaWarning, match="offset_max of observation 0 has no place") as told:
        pmg.write_runs(tmp_path / "runs", events(), narrow)
    assert told[0].filename == __file__


# data stores that gammapy reads by leaving runs out


def rewritten_index(folder, change):
    """The data store of a folder with another index of HDUs."""
    store = DataStore.from_dir(folder)
    table = Table(store.hdu_table)
    return DataStore(HDUIndexTable(table[change(table)], meta=store.hdu_table.meta), store.obs_table)


def test_runs_that_gammapy_leaves_out_are_named(folder):
    read = pmg.Observation.list_from_gammapy
    without_psf = rewritten_index(folder, lambda t: (t["HDU_TYPE"] != "psf") | (t["OBS_ID"] == 11))
    assert len(without_psf.get_observations()) == 1, "without a word"
    with pytest.raises(DataFileError, match=r"1 of 2 observations of the data store lack tables \(12: no psf\)"):
        read(without_psf)
    without_gti = rewritten_index(folder, lambda t: (t["HDU_TYPE"] != "psf") & (t["HDU_TYPE"] != "gti"))
    with pytest.raises(DataFileError, match=r"2 of 2 .*\(11, 12: no gti, psf\)"):
        read(without_gti)


def test_events_need_only_their_own_tables(folder, simulated):
    bare = rewritten_index(folder, lambda t: (t["HDU_TYPE"] == "events") | (t["HDU_TYPE"] == "gti"))
    assert len(pmg.Events.from_gammapy(bare)) == len(simulated)
    without_gti = rewritten_index(folder, lambda t: (t["HDU_TYPE"] != "gti") | (t["OBS_ID"] == 11))
    with pytest.raises(DataFileError, match=r"1 of 2 observations of the data store lack tables \(12: no gti\)"):
        pmg.Events.from_gammapy(without_gti)
    without_events = rewritten_index(folder, lambda t: t["HDU_TYPE"] != "events")
    with pytest.raises(DataFileError, match=r"2 of 2 observations .*\(11, 12: no events\)"):
        pmg.Events.from_gammapy(without_events)


@pytest.mark.parametrize("read", [pmg.Observation.list_from_gammapy, pmg.Events.from_gammapy])
def test_no_runs_at_all(folder, read):
    nothing = rewritten_index(folder, lambda t: t["OBS_ID"] == 99)
    with pytest.raises(DataFileError, match="there is no observation in the DataStore"):
        read(nothing)
    with pytest.raises(DataFileError, match="there is no observation in the list"):
        read([])


def test_a_store_without_backgrounds_is_read(folder):
    store = rewritten_index(folder, lambda t: t["HDU_TYPE"] != "bkg")
    assert [one.irfs.bkg for one in back(store)[0]] == [None, None]


def test_point_like_runs_are_read(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for path in tmp_path.glob("run_*"):
        with fits.open(path, mode="update") as hdus:
            for hdu in hdus[3:]:
                hdu.header["HDUCLAS3"] = "POINT-LIKE"
            hdus["EFFECTIVE AREA"].header["RAD_MAX"] = 0.1
    only_two = rewritten_index(tmp_path, lambda t: (t["HDU_TYPE"] != "psf") & (t["HDU_TYPE"] != "bkg"))
    assert len(only_two.get_observations()) == 0, "an empty list"
    for source in (only_two, DataStore.from_dir(tmp_path), only_two.get_observations(required_irf="point-like")):
        with warnings.catch_warnings(action="ignore"):
            runs = pmg.Observation.list_from_gammapy(source)
        assert [one.irfs.is_point_like for one in runs] == [True, True]
        assert [one.irfs.rad_max.radius.item() for one in runs] == [0.1, 0.1]
        assert len(pmg.Events.from_gammapy(source, frame="icrs")) == len(back(DataStore.from_dir(folder))[1])
    without_psf = rewritten_index(folder, lambda t: t["HDU_TYPE"] != "psf")
    with pytest.raises(DataFileError, match="11, 12: no psf"):
        pmg.Observation.list_from_gammapy(without_psf)


@pytest.mark.parametrize(("instrument", "radius"), [("magic", 0.1414213), ("veritas", 0.1), ("fact", 0.1732051)])
def test_point_like_files_of_observatories(instrument, radius):
    root = os.environ.get("PYMC_GAMMA_DATA")
    found = sorted(Path(root).rglob(f"{instrument}/hdu-index.fits.gz")) if root else []
    if not found:
        pytest.skip("needs the files of the joint Crab publication: set PYMC_GAMMA_DATA to a folder that holds them")
    with warnings.catch_warnings(action="ignore"):
        runs = pmg.Observation.list_from_gammapy(DataStore.from_dir(found[0].parent))
    assert all(one.irfs.is_point_like for one in runs)
    np.testing.assert_allclose([one.irfs.rad_max.radius.item() for one in runs], radius, rtol=1e-6)


def test_runs_of_hess_keep_their_mirrored_backgrounds(tmp_path):
    root = os.environ.get("PYMC_GAMMA_DATA")
    found = sorted(Path(root).rglob("hess_dl3_dr1_obs_id_023523.fits.gz")) if root else []
    if not found:
        pytest.skip("needs a run of H.E.S.S.: set PYMC_GAMMA_DATA to a folder that holds it")
    (observation,), read = back([Run.read(found[0])])
    pmg.write_runs(tmp_path / "runs", read, observation, irfs=found[0])
    (again,), events_again = back(DataStore.from_dir(tmp_path / "runs"))
    assert again.irfs.fingerprint() == observation.irfs.fingerprint()
    assert (again.energy_range, again.name) == (observation.energy_range, observation.name)
    assert again.livetime_s == pytest.approx(observation.livetime_s, rel=1e-9)
    assert events_again.to_rows(ROWS) == pytest.approx(read.to_rows(ROWS), rel=1e-12, abs=1e-11)
