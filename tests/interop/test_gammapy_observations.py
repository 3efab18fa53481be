"""DL3 runs of gammapy, in memory and from files: pointing, times, response and events come back as they went in."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from dl3_field import IRFS, POSITION, REFERENCE, RUNS, observations, region, run_of, sky_model, tables, write_dl3
from gammapy.data import DataStore, EventList, FixedPointingInfo, Observations
from gammapy.data import Observation as Run

import pymc_gamma as pmg
from pymc_gamma.errors import DataFileError, EventError, IRFError, PymcGammaWarning


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dl3")
    paths = [folder / f"run{run.obs_id}.fits" for run in runs]
    for run, path in zip(runs, paths, strict=True):
        write_dl3(run, path)
    return paths


def read(files, how):
    return DataStore.from_events_files(files) if how == "store" else [Run.read(path) for path in files]


@pytest.mark.parametrize("how", ["list", "store"])
def test_round_trip_through_files(files, how, simulated):
    source = read(files, how)
    with pytest.warns(PymcGammaWarning, match=r"IRFs of 2 observation\(s\), 11, 12:\nenergy dispersion: integrals"):
        found = pmg.Observation.list_from_gammapy(source)
    events = pmg.Events.from_gammapy(source, frame="icrs")
    for mine, original in zip(found, observations(), strict=True):
        assert mine.name == original.name
        assert mine.pointing.separation(original.pointing) < 1e-9 * u.deg
        assert mine.livetime_s == pytest.approx(original.livetime_s, rel=1e-12)
        assert mine.ontime_s == pytest.approx(original.ontime_s, rel=1e-12)
        assert mine.livetime < mine.ontime
    assert found[0].irfs is found[1].irfs, "equal responses are shared"
    bundled = pmg.load_irfs(IRFS).arrays()
    for key, table in found[0].irfs.arrays().items():
        assert np.array_equal(table, bundled[key]), key
    assert len(events) == len(simulated)
    assert events.meta["obs_ids"] == [11, 12]
    mine, original = (one.to_rows(("energy", "lon", "lat", "observation")) for one in (events, simulated))
    assert mine == pytest.approx(original[np.argsort(original[:, 3], kind="stable")], rel=1e-12, abs=1e-12)


def test_response_of_files_is_that_of_the_simulation(files, simulated):
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        runs = read(files, "list")
        mine = pmg.Observation.list_from_gammapy(runs)
        events = pmg.Events.from_gammapy(runs, roi=region(0.8))
    components = [pmg.SkySource.from_gammapy(sky_model()), pmg.CosmicRayBackground()]
    ours, theirs = (pmg.fold(components, one, region(0.8)) for one in (mine, observations()))
    assert ours.acceptance.values == pytest.approx(theirs.acceptance.values, rel=1e-9)
    order = np.argsort(simulated.observation, kind="stable")
    assert ours.density(events) == pytest.approx(theirs.density(simulated[order]), rel=1e-6)


def test_events_outside_are_counted(runs):
    everything = pmg.Events.from_gammapy(Observations(runs))
    assert everything.frame == "galactic"
    with pytest.warns(PymcGammaWarning, match=r"\d+ outside the region on the sky") as told:
        inside = pmg.Events.from_gammapy(Observations(runs), roi=region())
    assert inside.frame == "icrs"
    assert str(len(everything) - len(inside)) in str(told[0].message)
    assert told[0].filename == __file__, "the warning points at the caller"
    assert set(inside.observation) == {0, 1}


def test_one_run_and_event_lists(runs):
    assert set(pmg.Events.from_gammapy(runs[1]).observation) == {0}
    assert set(pmg.Events.from_gammapy(runs[1], observation=3).observation) == {3}
    assert set(pmg.Events.from_gammapy(runs, observation=3).observation) == {3, 4}
    both = pmg.Events.from_gammapy(runs, frame="icrs")
    assert np.array_equal(both.energy[both.observation == 1], pmg.Events.from_gammapy(runs[1].events).energy)


def test_an_index_in_the_file_does_not_count(simulated):
    # of an analysis of other runs
    run = run_of(11, simulated[simulated.observation == 1].to_gammapy())
    assert set(run.events.table["OBS_INDEX"]) == {1}
    assert set(pmg.Events.from_gammapy([run]).observation) == {0}


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_times():
    observation = pmg.Observation.from_gammapy(run_of(12))
    _, ontime, dead = RUNS[12]
    assert observation.ontime.to_value("s") == pytest.approx(ontime.to_value("s"))
    assert observation.livetime.to_value("s") == pytest.approx((1 - dead) * ontime.to_value("s"))
    run = run_of(12)
    run.obs_filter.event_filters.append({"type": "custom", "opts": {"parameter": "PHASE", "band": (0.2, 0.5)}})
    phase = pmg.Observation.from_gammapy(run)
    # background and exposure both go with the share of the phase
    assert phase.ontime_s == pytest.approx(0.3 * observation.ontime_s)
    assert phase.livetime_s == pytest.approx(0.3 * observation.livetime_s)
    shorter = pmg.Observation.from_gammapy(run_of(12).select_time(run_of(12).gti.time_intervals[0]))
    assert shorter.ontime_s == pytest.approx(0.25 * observation.ontime_s)


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_different_responses_are_kept_apart():
    aeff = tables()["aeff"]
    other = {**tables(), "aeff": type(aeff)(aeff.axes, data=0.5 * aeff.data, unit=aeff.unit, meta=aeff.meta)}
    first, second = pmg.Observation.list_from_gammapy([run_of(11), run_of(12, irfs=other)])
    assert first.irfs is not second.irfs
    assert second.irfs.aeff.values == pytest.approx(0.5 * first.irfs.aeff.values)
    without = {key: table for key, table in tables().items() if key != "bkg"}
    assert pmg.Observation.from_gammapy(run_of(11, irfs=without)).irfs.bkg is None


def drifting():
    location = EarthLocation(lon=-70 * u.deg, lat=-24 * u.deg, height=2 * u.km)
    pointing = FixedPointingInfo(fixed_altaz=SkyCoord(alt=70 * u.deg, az=0 * u.deg, frame=AltAz()))
    return run_of(11, pointing=pointing, location=location)


def filtered():
    run = run_of(11)
    run.obs_filter.event_filters.append({"type": "custom", "opts": {"parameter": "ENERGY", "band": (1, 2)}})
    return run


def without(name):
    run = run_of(11)
    setattr(run, name, None)
    return run


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (drifting, DataFileError, "observation 11 drifts"),
        (filtered, DataFileError, "observation 11 has the event filter"),
        (lambda: without("_gti"), DataFileError, "observation 11 has no good time interval"),
        (lambda: without("_pointing"), DataFileError, "observation 11 has no pointing"),
        (lambda: without("aeff"), IRFError, "of observation 11 have no effective area"),
        (lambda: [run_of(11)], TypeError, "use Observation.list_from_gammapy"),
        (lambda: observations()[0], TypeError, "one gammapy Observation, got Observation"),
    ],
)
def test_runs_that_cannot_be_used_are_named(make, error, message):
    with pytest.raises(error, match=message):
        pmg.Observation.from_gammapy(make())


def test_wrong_types():
    with pytest.raises(TypeError, match="expected a gammapy Observation"):
        pmg.Observation.list_from_gammapy("run11.fits")
    with pytest.raises(TypeError, match="found str among them"):
        pmg.Observation.list_from_gammapy(["run11.fits"])
    with pytest.raises(TypeError, match="expected a gammapy Observation"):
        pmg.Events.from_gammapy(POSITION.ra.deg)
    with pytest.raises(EventError, match="observation 11 has no event list"):
        pmg.Events.from_gammapy(run_of(11))


@pytest.mark.filterwarnings("ignore::pymc_gamma.errors.PymcGammaWarning")
def test_background_of_old_hess_files_is_mirrored():
    bkg = tables()["bkg"]
    data = bkg.data * np.linspace(0.5, 1.5, bkg.data.shape[1])[:, None]
    straight, mirrored = (
        pmg.load_irfs(
            {**tables(), "bkg": type(bkg)(bkg.axes, data=data, unit=bkg.unit, meta=bkg.meta, fov_alignment=alignment)}
        )
        for alignment in ("RADEC", "REVERSE_LON_RADEC")
    )
    assert not any("left-right" in repair for repair in mirrored.repairs)
    assert mirrored.bkg.fov_lon == pytest.approx(-straight.bkg.fov_lon[::-1])
    np.testing.assert_allclose(mirrored.bkg.rate, straight.bkg.rate[:, ::-1], rtol=1e-12)
    assert np.array_equal(mirrored.bkg.covered, straight.bkg.covered[::-1])


def test_events_that_no_response_covers_are_left_out(runs):
    here = runs[0].pointing.fixed_icrs
    events = pmg.Events(
        [1, 2] * u.TeV, [here.ra.deg] * 2 * u.deg, [here.dec.deg, here.dec.deg + 6.5] * u.deg, frame="icrs"
    )
    table = events.to_gammapy().table
    table["TIME"] = REFERENCE + [1, 2] * u.s
    with pytest.warns(PymcGammaWarning, match=r"1 of 2 events .* 1 beyond the largest offset, 6 deg"):
        kept = pmg.Events.from_gammapy([run_of(next(iter(RUNS)), EventList(table))], roi=region(7.0))
    assert len(kept) == 1


def test_events_follow_the_limits_of_given_observations(runs):
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        narrow = pmg.Observation.list_from_gammapy(runs, energy_range=(1, 10) * u.TeV, offset_max=0.5 * u.deg)
        events = pmg.Events.from_gammapy(runs, roi=region(0.8), observations=narrow)
        shifted = pmg.Events.from_gammapy(runs, roi=region(0.8), observations=narrow, observation=3)
    assert len(events) > 10
    assert np.all((events.energy.value >= 1) & (events.energy.value <= 10))
    for k, one in enumerate(narrow):
        assert np.all(events.coords[events.observation == k].separation(one.pointing).deg <= 0.5)
    assert np.array_equal(shifted.observation, events.observation + 3)
    with pytest.raises(EventError, match="observations= goes with roi="):
        pmg.Events.from_gammapy(runs, observations=narrow)
