"""Good time of runs: its union against counting on a grid, events and live time against the same grid."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time
from dl3_field import POSITION, REFERENCE, run_of, write_dl3
from gammapy.data import GTI, EventList, Observations
from gammapy.data import Observation as Run

import pymc_gamma as pmg
from pymc_gamma.errors import DataFileError, PymcGammaWarning
from pymc_gamma.instrument.good_time import GoodTime, good_time, union

PACKAGE_WARNINGS = "ignore::pymc_gamma.errors.PymcGammaWarning"


def event_list(seconds, reference=REFERENCE, **columns):
    """Events at the position of the source at some seconds after the reference time."""
    n = len(seconds)
    table = Table(
        {
            "ENERGY": np.linspace(1, 2, n) * u.TeV,
            "RA": np.full(n, POSITION.ra.deg) * u.deg,
            "DEC": np.full(n, POSITION.dec.deg) * u.deg,
            "TIME": reference + np.asarray(seconds, dtype=float) * u.s,
            **columns,
        }
    )
    table.meta.update({"MJDREFI": int(REFERENCE.mjd), "MJDREFF": REFERENCE.mjd % 1, "TIMESYS": "TT"})
    return EventList(table)


def run_with(intervals, seconds=(), **changes):
    """A run with given good time intervals and times of events, in seconds after the reference time."""
    run = run_of(11, event_list(seconds), **changes)
    start, stop = (np.array(one, dtype=float) for one in zip(*intervals, strict=True))
    run._gti = GTI.create(start * u.s, stop * u.s, REFERENCE)
    return run


def read(run):
    """Its on-time and live time in seconds, and its events."""
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        observation = pmg.Observation.from_gammapy(run)
        return observation.ontime_s, observation.livetime_s, pmg.Events.from_gammapy(run)


def on_grid(intervals, size=40):
    """Which unit cells a list of intervals with whole ends covers."""
    covered = np.zeros(size, dtype=bool)
    for start, stop in intervals:
        covered[start:stop] = True
    return covered


def random_intervals(rng, n, size=40):
    ends = np.sort(rng.integers(0, size + 1, (n, 2)), axis=1)
    return [(int(a), int(b)) for a, b in ends]


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_union_and_membership_are_those_of_a_grid(rng, n):
    for _ in range(50):
        intervals = random_intervals(rng, n)
        covered = on_grid(intervals)
        if not covered.any():
            continue
        start, stop = union(*np.array(intervals, dtype=float).T)
        good = GoodTime(REFERENCE, start, stop)
        assert good.duration_s == covered.sum()
        assert np.all(start < stop)
        assert np.all(stop[:-1] < start[1:])
        assert np.array_equal(good.contains(np.arange(40) + 0.5), covered)
        a, b = np.sort(rng.choice(41, 2, replace=False))
        inside = on_grid([(a, b)])
        assert good.within(a, b).duration_s == (covered & inside).sum()
        assert good.without(a, b).duration_s == (covered & ~inside).sum()
        assert np.array_equal(good.without(a, b).contains(np.arange(40) + 0.5), covered & ~inside)


def test_nothing_is_no_interval():
    start, stop = union(np.array([1.0, 3.0]), np.array([1.0, 3.0]))
    assert len(start) == len(stop) == 0
    assert not GoodTime(REFERENCE, np.array([0.0]), np.array([1.0])).contains([np.nan])[0]


SECONDS = np.arange(0.5, 1000)


@pytest.mark.parametrize(
    ("intervals", "ontime", "n"),
    [
        ([(0, 1000)], 1000, 1000),
        ([(0, 1000), (0, 1000)], 1000, 1000),  # listed twice
        ([(0, 250), (750, 1000)], 500, 500),
        ([(750, 1000), (0, 250)], 500, 500),  # not sorted
        ([(0, 600), (400, 1000), (500, 550)], 1000, 1000),  # overlapping
        ([(0, 400), (400, 1000)], 1000, 1000),  # touching
        ([(0, 400), (500, 500)], 400, 400),  # of no length
    ],
)
def test_run_events_and_times_refer_to_the_same_intervals(intervals, ontime, n):
    run = run_with(intervals, SECONDS, deadtime_fraction=0.1)
    found, live, events = read(run)
    assert found == pytest.approx(ontime, rel=1e-12)
    assert live == pytest.approx(0.9 * ontime, rel=1e-12)
    assert len(events) == n


def test_events_left_out_are_counted_by_run():
    half, all_of_it = run_with([(0, 250), (750, 1000)], SECONDS), run_with([(0, 1000)], SECONDS)
    all_of_it.obs_id = 12
    with pytest.warns(PymcGammaWarning, match=r"outside the good time intervals.*\(11: 500 of 1000\)") as told:
        events = pmg.Events.from_gammapy(Observations([half, all_of_it]))
    assert told[0].filename == __file__, "the warning points at the caller"
    assert len(told) == 1
    assert events.meta["outside_good_time"] == {"11": 500}
    assert np.bincount(events.observation).tolist() == [500, 1000]
    energy = half.events.table["ENERGY"]
    kept = (SECONDS < 250) | (SECONDS > 750)
    assert np.array_equal(events.energy[events.observation == 0], energy[kept].quantity)
    assert pmg.Events.from_gammapy(all_of_it).meta["outside_good_time"] == {}


def test_an_event_list_alone_is_taken_as_it_is():
    assert len(pmg.Events.from_gammapy(run_with([(0, 10)], SECONDS).events)) == 1000


def test_ends_count_and_rounding_does_no_harm():
    tiny = 1e-7  # what a float of 1e9 seconds can hold
    seconds = np.array([100 - tiny, 100, 200, 200 + tiny, 99.99, 200.01])
    assert len(read(run_with([(100, 200)], seconds))[2]) == 4


@pytest.mark.parametrize(("scale", "epoch"), [("utc", "2001-01-01T00:00:00"), ("tt", "1999-07-01T12:00:00")])
def test_zero_points_and_scales_of_the_tables_may_differ(tmp_path, scale, epoch):
    run = run_with([(0, 250), (750, 1000)], SECONDS)
    write_dl3(run, tmp_path / "run.fits")
    other = Time(epoch, scale=scale)
    from astropy.io import fits

    with fits.open(tmp_path / "run.fits", mode="update") as hdus:
        seconds = (REFERENCE - other).to_value("s") + SECONDS
        hdus["EVENTS"].data["TIME"] = seconds
        hdus["EVENTS"].header.update({"MJDREFI": int(other.mjd), "MJDREFF": other.mjd % 1, "TIMESYS": scale.upper()})
    again = Run.read(tmp_path / "run.fits")
    assert again.events.table["TIME"].scale == scale
    with pytest.warns(PymcGammaWarning, match="11: 500 of 1000"):
        assert len(pmg.Events.from_gammapy(again)) == 500


@pytest.fixture
def half_a_file(tmp_path):
    write_dl3(run_with([(0, 250), (750, 1000)], SECONDS), tmp_path / "half.fits")
    return tmp_path / "half.fits"


def test_a_file_of_events_is_read_within_the_intervals_in_it(half_a_file):
    with pytest.warns(
        PymcGammaWarning, match=r"half\.fits: 500 of 1000 events outside its good time intervals"
    ) as told:
        events = pmg.Events.read(half_a_file, frame="icrs")
    assert told[0].filename == __file__
    assert events.meta["outside_good_time"] == {"half.fits": 500}
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        run = pmg.Events.from_gammapy(Run.read(half_a_file), frame="icrs")
    assert np.array_equal(events.to_rows(), run.to_rows())


def test_files_whose_times_cannot_be_compared(half_a_file):
    from astropy.io import fits

    with fits.open(half_a_file, mode="update") as hdus:
        del hdus["EVENTS"].header["MJDREFI"]
    with (
        pytest.warns(PymcGammaWarning, match=r"half\.fits: its good time intervals are not looked at.*no 'MJDREFI'"),
        pytest.warns(PymcGammaWarning, match=r"times of the events, column TIME, are not taken.*no 'MJDREFI'"),
    ):
        assert len(pmg.Events.read(half_a_file)) == 1000
    with fits.open(half_a_file, mode="update") as hdus:
        hdus["EVENTS"].header["MJDREFI"] = 51910
        hdus["EVENTS"].columns.change_name("TIME", "WHEN")
    with pytest.raises(DataFileError, match=r"half\.fits: its events have no arrival times"):
        pmg.Events.read(half_a_file)


def select(run, start, stop, **options):
    return run.select_time(REFERENCE + [start, stop] * u.s, **options)


@pytest.mark.parametrize("intervals", [[(0, 1000)], [(0, 250), (750, 1000)], [(0, 400), (200, 600), (900, 1000)]])
@pytest.mark.parametrize(("start", "stop"), [(100, 300), (0, 800), (600, 2000), (390, 395)])
@pytest.mark.parametrize("inverted", [False, True])
def test_selection_in_time(intervals, start, stop, inverted):
    selected = on_grid([(start, min(stop, 1000))], 1000)
    expected = on_grid(intervals, 1000) & (~selected if inverted else selected)
    run = select(run_with(intervals, SECONDS), start, stop, inverted=inverted)
    if not expected.any():
        with pytest.raises(DataFileError, match=r"observation 11 has no good time.*selection in time leaves nothing"):
            pmg.Observation.from_gammapy(run)
        return
    ontime, _, events = read(run)
    assert ontime == pytest.approx(expected.sum(), abs=1e-6)
    assert len(events) == expected.sum()


def test_selections_add_up_to_the_whole(simulated, runs):
    whole = read(runs[0])
    parts = [read(runs[0].select_time([REFERENCE + a * u.s, REFERENCE + b * u.s])) for a, b in ((0, 30), (30, 1e6))]
    assert sum(part[0] for part in parts) == pytest.approx(whole[0], rel=1e-12)
    assert sum(len(part[2]) for part in parts) == len(whole[2]) == np.sum(simulated.observation == 0)


@pytest.mark.parametrize("name", ["band", "values"])  # gammapy 2.1 documents one and takes the other
def test_phase_and_time_together(name):
    run = run_with([(0, 500), (0, 500)], SECONDS)
    phase = np.linspace(0, 1, 1000)
    run._events = event_list(SECONDS, PHASE=phase)
    run.obs_filter.event_filters.append({"type": "custom", "opts": {"parameter": "PHASE", name: (0.1, 0.3)}})
    ontime, _, events = read(run)
    assert ontime == pytest.approx(0.2 * 500)
    assert len(events) == np.sum((phase >= 0.1) & (phase < 0.3) & (SECONDS < 500))
    run.obs_filter.event_filters.append({"type": "custom", "opts": {"parameter": "PHASE", name: (0.2, 0.4)}})
    for read_it in (pmg.Observation.from_gammapy, pmg.Events.from_gammapy):
        with pytest.raises(DataFileError, match="observation 11 has a selection in phase that leaves an unknown share"):
            read_it(run)


@pytest.mark.parametrize("band", [(0.4, 0.2), (0.2, 1.2), 0.5, None])
def test_phases_out_of_range(band):
    run = run_with([(0, 500)], SECONDS)
    run.obs_filter.event_filters.append({"type": "custom", "opts": {"parameter": "PHASE", "values": band}})
    with pytest.raises(DataFileError, match="observation 11 has a selection in phase"):
        pmg.Observation.from_gammapy(run)
    run.obs_filter.event_filters[0]["opts"]["values"] = (0.1, 0.2)
    with pytest.raises(DataFileError, match="its events have no column PHASE"):
        pmg.Events.from_gammapy(run)


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ([(0, 10), (30, 20)], "1 of its 2 good time intervals.*row 1, -10 s long"),
        ([(0, 10), (20, np.nan)], "1 of its 2 good time intervals.*row 1, nan s long"),
        ([(5, 5), (7, 7)], "no good time: its 2 good time intervals .*no length"),
    ],
)
def test_impossible_intervals_name_the_run(intervals, message):
    with pytest.raises(DataFileError, match=f"observation 11.*{message}"):
        pmg.Observation.from_gammapy(run_with(intervals))


def test_no_live_time_names_the_run():
    with pytest.raises(DataFileError, match=r"observation 11 has a dead-time fraction of 1"):
        pmg.Observation.from_gammapy(run_with([(0, 10)], deadtime_fraction=1.0))


def test_clocks_that_do_not_belong_together():
    run = run_with([(0, 1000)], SECONDS + 3e6)
    with pytest.raises(DataFileError, match=r"observation 11.*do not belong together: events from 3e\+06.*MJDREFI"):
        pmg.Events.from_gammapy(run)
    near = run_with([(0, 1000)], SECONDS + 2000)
    with pytest.warns(PymcGammaWarning, match="11: 1000 of 1000"):
        assert len(pmg.Events.from_gammapy(near)) == 0


def without_times(intervals, **meta):
    run = run_with(intervals, SECONDS)
    del run._events.table["TIME"]
    run._events.table.meta.update(meta)
    return run


def test_events_without_times():
    assert len(read(without_times([(0, 1000)]))[2]) == 1000
    assert len(read(without_times([(0, 600), (600, 1000)], TSTART=0.0, TSTOP=1000.0))[2]) == 1000
    for run in (
        without_times([(0, 250), (750, 1000)]),
        without_times([(0, 250)], TSTART=0.0, TSTOP=1000.0),
        select(without_times([(0, 1000)]), 0, 100),
    ):
        with pytest.raises(DataFileError, match=r"observation 11: its events have no arrival times \(TIME\)"):
            pmg.Events.from_gammapy(run)
    run = run_with([(0, 1000)], SECONDS)
    run._events.table["TIME"] = SECONDS * u.s
    with pytest.raises(DataFileError, match="column TIME of its events holds Column, not absolute times"):
        pmg.Events.from_gammapy(run)


def test_simulated_events_have_no_times(simulated):
    mine = simulated[simulated.observation == 0]
    run = run_of(11, mine.to_gammapy())
    assert len(pmg.Events.from_gammapy(run)) == len(mine), "simulated for the run as a whole"
    with pytest.raises(DataFileError, match="observation 11: its events have no arrival times"):
        pmg.Events.from_gammapy(select(run, 0, 100))


@pytest.mark.parametrize("kind", ["masked", "nan"])
def test_events_without_a_time_are_counted_as_outside(kind):
    run = run_with([(0, 1000)], SECONDS)
    times = run._events.table["TIME"]
    if kind == "masked":
        times[3:5] = np.ma.masked
    else:
        run._events.table["TIME"] = REFERENCE + np.where(np.arange(1000) // 2 == 2, np.nan, SECONDS) * u.s
    with pytest.warns(PymcGammaWarning, match="11: 2 of 1000"):
        assert len(pmg.Events.from_gammapy(run)) == 998


def test_a_run_without_events():
    assert len(pmg.Events.from_gammapy(run_with([(0, 1000)]))) == 0


def test_good_time_of_a_run():
    good = good_time(run_with([(100, 300), (250, 400)]), "11")
    assert (good.duration_s, good.selected) == (pytest.approx(300), False)
    assert abs((good.reference - REFERENCE).to_value("s") - 100) < 1e-9
