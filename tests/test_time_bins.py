"""Observations cut into time bins, and their events."""

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from setups import P_VALUE, direction, quick_start_irfs, region, source

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, ModelError, PymcGammaWarning

START = Time("2025-03-01T22:00:00", scale="tt")


def run(*intervals, name="run", live=0.9, start=START, **options):
    """An observation with good time in intervals of minutes since the start; a tenth of it is dead."""
    good = start + np.array(intervals or [(0, 30)], dtype=float) * u.min
    length = float(np.diff(np.array(intervals or [(0, 30)])).sum())
    return pmg.Observation(
        quick_start_irfs(), direction(0, 0), live * length * u.min, name=name, good_time=good, **options
    )


def at(minutes, observation=None, **options):
    """Events at minutes since the start."""
    minutes = np.asarray(minutes, dtype=float)
    n = len(minutes)
    time = START + np.nan_to_num(minutes) * u.min
    if np.isnan(minutes).any():
        time[np.isnan(minutes)] = np.ma.masked
    options = {"frame": "galactic"} | options | {"observation": observation, "time": time}
    return pmg.Events(np.full(n, 2.0) * u.TeV, np.zeros(n) * u.deg, np.zeros(n) * u.deg, **options)


def minutes(times):
    return (times - START).to_value("min")


def test_good_time_of_an_observation():
    one = run((0, 10), (8, 20), (25, 30))
    np.testing.assert_allclose(minutes(one.good_time), [[0, 20], [25, 30]], atol=1e-8)
    assert pmg.Observation(one.irfs, one.pointing, 1 * u.h).good_time is None
    whole = pmg.Observation(one.irfs, one.pointing, 20 * u.min, good_time=one.good_time)
    assert whole.ontime.to_value("min") == pytest.approx(25)
    again = pmg.Observation.from_dict(one.to_dict(), one.irfs)
    assert np.array_equal(again.good_time_s, one.good_time_s)
    old = {key: value for key, value in one.to_dict().items() if key != "good_time_s"}
    assert pmg.Observation.from_dict(old, one.irfs).good_time_s is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"good_time": START}, ValueError, "good_time must be the start and the end"),
        ({"good_time": START + [0, 1, 2] * u.h}, ValueError, "good_time must be the start and the end"),
        (
            {"good_time": (START + [0, 1] * u.h)[:0].reshape(0, 2)},
            ValueError,
            "good_time must be the start and the end",
        ),
        ({"good_time": START + [1, 0] * u.h}, ValueError, "good_time must be intervals that end after they start"),
        ({"good_time": START + [[0, 1], [2, 2]] * u.h}, ValueError, "good_time must be intervals that end after"),
        ({"good_time": START + [0, 101] * u.yr}, ValueError, "less than a century"),
        ({"good_time": START + [0, 0.4] * u.h}, ValueError, "0 < livetime <= ontime"),
        ({"good_time": START + [0, 0.9] * u.h, "ontime": 1 * u.h}, ValueError, "good_time must last as long"),
        ({"good_time": [0, 1] * u.h}, TypeError, "good_time must be absolute times"),
    ],
)
def test_bad_good_time(options, error, message):
    with pytest.raises(error, match=message):
        pmg.Observation(quick_start_irfs(), direction(0, 0), 0.5 * u.h, **options)


@pytest.mark.parametrize(
    "edges", [[0, 10, 20, 30] * u.min, [0, 600, 1200, 1800] * u.s, START + [0, 10, 20, 30] * u.min]
)
def test_live_times_follow_from_the_good_time_in_a_bin(edges):
    whole = run((0, 12), (15, 30), energy_range=[1, 50] * u.TeV, fov_rotation=20 * u.deg)
    pieces = whole.split(edges)
    assert [one.name for one in pieces] == ["run 0", "run 1", "run 2"]
    np.testing.assert_allclose([one.ontime.to_value("min") for one in pieces], [10, 7, 10], rtol=1e-9)
    np.testing.assert_allclose([one.livetime.to_value("min") for one in pieces], [9, 6.3, 9], rtol=1e-9)
    np.testing.assert_allclose(minutes(pieces[1].good_time), [[10, 12], [15, 20]], atol=1e-8)
    assert all(one.irfs is whole.irfs and one.energy_range == (1, 50) and one.fov_rotation == 20 for one in pieces)
    assert whole.name == "run"
    assert whole.ontime.to_value("min") == pytest.approx(27)


def test_bins_in_any_scale():
    (first, second) = run().split(START.utc + [0, 10, 30] * u.min)
    assert first.ontime.to_value("min") == pytest.approx(10, abs=1e-7)
    assert second.ontime.to_value("min") == pytest.approx(20, abs=1e-7)


def test_a_share_of_the_good_time():
    """A selection in phase leaves a share of the good time, and of that of every bin."""
    whole = pmg.Observation(
        quick_start_irfs(), direction(0, 0), 9 * u.min, 10 * u.min, good_time=START + [0, 30] * u.min
    )
    (first, second) = whole.split([0, 3, 30] * u.min)
    assert (first.name, second.name) == ("0", "1")
    assert (first.ontime.to_value("min"), first.livetime.to_value("min")) == pytest.approx((1, 0.9))
    assert (second.ontime.to_value("min"), second.livetime.to_value("min")) == pytest.approx((9, 8.1))


def test_bins_without_good_time_are_left_out_and_told():
    with pytest.warns(PymcGammaWarning, match=r"2 of 4 time bins hold no good time and are left out: 1, 3\."):
        pieces = run((0, 10), (20, 30)).split([0, 10, 20, 30, 40] * u.min)
    assert [one.name for one in pieces] == ["run 0", "run 2"]


def test_good_time_outside_of_the_bins_is_told():
    with pytest.warns(
        PymcGammaWarning, match=r"leave out 900 s of the good time of 1 observation\(s\): 900 s of run\."
    ):
        (piece,) = run().split([10, 25] * u.min)
    assert piece.livetime.to_value("min") == pytest.approx(0.9 * 15)


def test_several_observations_share_bins():
    runs = [run(name="a"), run((60, 90), name="b"), run((80, 110), name="c")]
    pieces = pmg.Observation.split_list(runs, START + [0, 85, 110] * u.min)
    assert [one.name for one in pieces] == ["a 0", "b 0", "b 1", "c 0", "c 1"]
    np.testing.assert_allclose([one.ontime.to_value("min") for one in pieces], [30, 25, 5, 5, 25], rtol=1e-8)
    offsets = pmg.Observation.split_list(runs, [0, 10, 30] * u.min)
    np.testing.assert_allclose([one.ontime.to_value("min") for one in offsets], 3 * [10, 20], rtol=1e-8)
    assert [one.name for one in pmg.Observation.split_list(runs[0], [0, 30] * u.min)] == ["a 0"]


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        ([0, 10, 5] * u.min, ValueError, "times must be two or more increasing edges"),
        ([0, 0] * u.min, ValueError, "times must be two or more increasing edges"),
        ([10] * u.min, ValueError, "times must be two or more increasing edges"),
        ([] * u.min, ValueError, "times must be two or more increasing edges"),
        (10 * u.min, ValueError, "times must be two or more increasing edges"),
        ([[0, 10]] * u.min, ValueError, "times must be two or more increasing edges"),
        ([0, np.nan] * u.min, ValueError, "times must be"),
        ([0, 10] * u.m, u.UnitConversionError, "times"),
        ([0, 10], TypeError, "times must be the edges of bins, an astropy Time, or a Quantity"),
        ([40, 50] * u.min, ValueError, "no bin of .* holds good time: these observations lasted from 2025-03-01T22:00"),
    ],
)
def test_bad_bins(times, error, message):
    with pytest.raises(error, match=message):
        run().split(times)


def test_what_cannot_be_cut():
    one = pmg.Observation(quick_start_irfs(), direction(0, 0), 1 * u.h, name="mine")
    with pytest.raises(
        ValueError, match=r"observation mine cannot be cut .* give them with Observation\(\.\.\., good_time"
    ):
        one.split([0, 1] * u.h)
    with pytest.raises(ValueError, match="mine has no good time intervals to draw times in"):
        one.draw_times(3)
    with pytest.raises(ValueError, match="observations must be at least one"):
        pmg.Observation.split_list([], [0, 1] * u.h)


def test_events_follow_by_their_times():
    pieces = run().split([0, 10, 20, 30] * u.min)
    found = at([0, 5, 9.9999, 10, 15, 20, 30], observation=4).split(pieces)
    assert found.observation.tolist() == [
        0,
        0,
        0,
        1,
        1,
        2,
        2,
    ]  # an edge belongs to the later bin, the last one to the last
    np.testing.assert_allclose(minutes(found.time), [0, 5, 9.9999, 10, 15, 20, 30], atol=1e-7)
    assert at([]).split(pieces).observation.tolist() == []
    assert pmg.Events([] * u.TeV, [] * u.deg, [] * u.deg, frame="galactic").split(pieces).time is None
    assert at([3]).split(run()).observation.tolist() == [0]


def test_events_that_miss_an_interval_by_rounding():
    pieces = run((0, 10), (20, 30)).split([0, 15, 40] * u.min)
    found = at(np.array([0, 10, 20, 30]) + np.array([-1, 1, -1, 1]) * 5e-7 / 60).split(pieces)
    assert found.observation.tolist() == [0, 0, 1, 1]


def test_events_of_no_bin_are_counted_by_reason():
    pieces = run((0, 10), (20, 30)).split([0, 15, 30] * u.min)
    events = at([5, 12, 25, np.nan, 40, -1], multiplicity=[1, 2, 1, 1, 1, 1])
    told = r"5 of 7 events belong to none of the 2 observations: 1 without a time, 4 outside their good time"
    with pytest.warns(PymcGammaWarning, match=told) as warned:
        found = events.split(pieces)
    assert warned[0].filename == __file__
    assert found.observation.tolist() == [0, 1]
    assert found.meta["outside_time_bins"] == 5


def test_types_of_events_keep_their_own_observations():
    """Good times of several types of events are the same: there a time does not say which type it is."""
    types = [run(name="good"), run(name="poor")]
    nested = [one.split([0, 10, 30] * u.min) for one in types]
    events = at([5, 5, 20, 20], observation=[0, 1, 0, 1])
    assert events.split(nested).observation.tolist() == [0, 2, 1, 3]
    with pytest.raises(EventError, match=r"observations 0 \(good 0\) and 2 \(poor 0\) overlap.*one list"):
        events.split([*nested[0], *nested[1]])
    with pytest.raises(EventError, match=r"observations up to 1, but 1 list\(s\)"):
        events.split(nested[:1])
    with pytest.raises(EventError, match="mixture of both"):
        events.split([nested[0], *nested[1]])


def test_events_that_cannot_be_split():
    pieces = run().split([0, 30] * u.min)
    with pytest.raises(EventError, match="without arrival times cannot be split"):
        at([1, 2]).with_time(None).split(pieces)
    bare = pmg.Observation(quick_start_irfs(), direction(0, 0), 1 * u.h, name="bare")
    with pytest.raises(EventError, match=r"observation 1 \(bare\) has no good time"):
        at([1, 2]).split([*pieces, bare])
    with pytest.raises(TypeError, match=r"observations must be .*IRFs"):
        at([1, 2]).split([bare.irfs])


edges = st.lists(st.integers(-5, 125), min_size=2, max_size=8, unique=True).map(sorted)


@settings(deadline=None, max_examples=60)
@given(
    intervals=st.lists(st.tuples(st.integers(0, 100), st.integers(1, 20)), min_size=1, max_size=4),
    inner=edges,
    n=st.integers(0, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_splitting_and_joining_conserves_events_and_live_time(intervals, inner, n, seed):
    bounds = [(start, start + length) for start, length in intervals]
    good = START + np.array(bounds, dtype=float) * u.min
    length = np.unique(np.concatenate([np.arange(*pair) for pair in bounds])).size  # minutes, each once
    whole = pmg.Observation(quick_start_irfs(), direction(0, 0), 0.8 * length * u.min, name="run", good_time=good)
    assert whole.ontime.to_value("min") == pytest.approx(length, rel=1e-9)
    cut = START + np.unique([-10, *inner, 130]) * u.min
    events = at(minutes(whole.draw_times(n, seed)), multiplicity=np.arange(1, n + 1))
    covered = {int(j) for pair in bounds for m in range(*pair) for j in [np.searchsorted(minutes(cut), m + 0.5) - 1]}
    empty = len(cut) - 1 - len(covered)
    if empty:
        with pytest.warns(PymcGammaWarning, match=f"{empty} of {len(cut) - 1} time bins"):
            pieces = whole.split(cut)
    else:
        pieces = whole.split(cut)
    assert sum(one.livetime_s for one in pieces) == pytest.approx(whole.livetime_s, rel=1e-9)
    assert sum(one.ontime_s for one in pieces) == pytest.approx(whole.ontime_s, rel=1e-9)
    found = events.split(pieces)
    assert np.array_equal(found.multiplicity, events.multiplicity)
    joined = sum((found[found.observation == k] for k in range(len(pieces))), found[[]])
    assert sorted(joined.multiplicity) == sorted(events.multiplicity)
    assert np.array_equal(np.sort(joined.to_rows(("time",))[:, 0]), np.sort(events.to_rows(("time",))[:, 0]))
    for k, one in enumerate(pieces):
        inside = minutes(found[found.observation == k].time)
        assert all(any(a - 1e-7 <= m <= b + 1e-7 for a, b in minutes(one.good_time)) for m in inside)


COMPONENTS = (source("crab", 0.1, 0.0, amplitude=1e-11), pmg.CosmicRayBackground())
ROI = region(width=1.6, energy=(1.0, 50.0))


@pytest.fixture(scope="module")
def cut():
    whole = run((0, 12), (15, 30), name="7")
    pieces = whole.split([0, 10, 30] * u.min)
    return pmg.fold(COMPONENTS, whole, ROI), pmg.fold(COMPONENTS, pieces, ROI), pieces


def test_expected_counts_of_bins_add_up(cut):
    whole, response, _ = cut
    of_bins = response.acceptance_by_observation
    np.testing.assert_allclose(of_bins.sum("observation"), whole.acceptance, rtol=1e-9)
    np.testing.assert_allclose(of_bins.sel(observation="7 0") / whole.acceptance, 10 / 27, rtol=1e-9)


def test_simulated_events_arrive_in_good_time(cut):
    whole, response, pieces = cut
    events = whole.simulate([1, 1], 20_000, rng=1)
    later = minutes(events.time)
    assert ((later < 12) | (later > 15)).all()
    passed = np.where(later < 12, later, later - 3)
    assert stats.kstest(passed, "uniform", args=(0, 27)).pvalue > P_VALUE
    found = response.simulate([1, 1], 2000, rng=2)
    assert np.array_equal(found.split(pieces).observation, found.observation)


def test_events_of_a_whole_run_are_not_those_of_its_bins(cut):
    """With the index 0 for all they would be taken for events of the first bin."""
    _, response, pieces = cut
    events = at([2, 3, 20])
    with pytest.raises(EventError, match=r"1 of 3 events, first rows \[2\], arrived outside the good time"):
        response.density(events)
    with pytest.warns(PymcGammaWarning, match="1 outside the good time"):
        assert len(events.select(ROI, pieces)) == 2
    assert response.density(events.split(pieces)).shape == (3, 2)
    assert response.density(events.with_time(None)).shape == (3, 2)


def test_good_time_in_stores(cut, tmp_path):
    _, response, pieces = cut
    response.save(tmp_path / "store")
    again = pmg.Response.load(tmp_path / "store")
    assert all(np.array_equal(a.good_time_s, b.good_time_s) for a, b in zip(again.observations, pieces, strict=True))
    assert again.coords == response.coords


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("a", "b"), ["a", "b"]),
        (("a", None), ["a", "1"]),
        (("", "a"), ["0", "a"]),
        (("1", "0"), ["1", "0"]),
        ((None, None), [0, 1]),
        (("", None), [0, 1]),
    ],
)
def test_labels_of_observations(names, labels):
    response = pmg.fold(COMPONENTS, [run(name=name) for name in names], ROI)
    assert response.coords["observation"] == labels
    counts = response.acceptance_by_observation
    assert counts["observation"].values.tolist() == labels
    assert counts.sel(observation=labels[1]).values.tolist() == counts.values[:, 1].tolist()
    for k, label in enumerate(labels):
        assert response.observation_index(k) == k
        assert response.observation_index(label) == k


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "a"), "observations 0 and 1 have the same label 'a': both have that name"),
        (("a", "b", "a"), "observations 0 and 2 have the same label 'a'"),
        (("1", None), "observations 0 and 1 have the same label '1': number 1 has no name"),
        (("", "0"), "observations 0 and 1 have the same label '0': number 0 has no name"),
    ],
)
def test_observations_of_one_label_are_refused(names, told):
    runs = [run(name=name) for name in names]
    with pytest.raises(ModelError, match=rf"{told}.* Give each a name of its own"):
        pmg.fold(COMPONENTS, runs, ROI)
    response = pmg.fold(COMPONENTS, runs[0], ROI)
    with pytest.raises(ModelError, match=told):
        response.refold(runs)


def test_bins_of_runs_without_names_are_labelled_by_their_indices():
    """Their numbers are no names: bins of several runs have the same ones."""
    bins = [0, 10, 30] * u.min
    pieces = pmg.Observation.split_list([run(name=None), run((60, 90), name=None)], bins)
    assert [one.name for one in pieces] == ["0", "1", "0", "1"]
    response = pmg.fold(COMPONENTS, pieces, ROI)
    assert response.coords["observation"] == [0, 1, 2, 3]
    with pytest.raises(EventError, match=r"the observations \[0, 2\] are all named '0'; choose one by its index"):
        response.observation_index("0")
    assert pmg.fold(COMPONENTS, pieces[:2], ROI).coords["observation"] == ["0", "1"]
    again = [part for piece in pieces[::2] for part in piece.split([0, 5, 10] * u.min)]
    assert [one.name for one in again] == ["0 0", "0 1", "0 0", "0 1"]
    assert pmg.fold(COMPONENTS, again, ROI).coords["observation"] == [0, 1, 2, 3]
    pieces[0].name = pieces[1].name = "mine"
    with pytest.raises(ModelError, match="observations 0 and 1 have the same label 'mine'"):
        pmg.fold(COMPONENTS, pieces, ROI)
    named = pmg.Observation.split_list([run(name="a"), run((60, 90), name="a")], bins)
    with pytest.raises(ModelError, match="observations 0 and 2 have the same label 'a 0'"):
        pmg.fold(COMPONENTS, named, ROI)


def test_runs_on_disk_keep_good_time_and_arrival_times(tmp_path):
    from gammapy.data import DataStore

    runs = [run((0, 12), (15, 30), name="7"), run((60, 90), name="8")]
    events = at([1, 20, 70], observation=[0, 0, 1]) + at([5], observation=0).with_time(None)
    pmg.write_runs(tmp_path / "runs", events, runs, rng=1)
    store = DataStore.from_dir(tmp_path / "runs")
    with pytest.warns(PymcGammaWarning, match="IRFs of 2 observation"):
        again = pmg.Observation.list_from_gammapy(store)
    for one, other in zip(again, runs, strict=True):
        np.testing.assert_allclose(minutes(one.good_time), minutes(other.good_time), atol=1e-8)
        assert (one.livetime_s, one.ontime_s) == pytest.approx((other.livetime_s, other.ontime_s), rel=1e-9)
    read = pmg.Events.from_gammapy(store)
    assert read.observation.tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(minutes(read.time)[[0, 1, 3]], [1, 20, 70], atol=1e-7)
    drawn = minutes(read.time)[2]
    assert 0 <= drawn <= 12 or 15 <= drawn <= 30


def test_runs_on_disk_whose_times_cannot_be_kept(tmp_path):
    with pytest.raises(EventError, match=r"1 of 2 events, first rows \[1\], arrived outside the good time"):
        pmg.write_runs(tmp_path / "runs", at([1, 40]), run(name="7"), rng=1)
    assert not (tmp_path / "runs").exists()
    with pytest.warns(PymcGammaWarning, match="times of 2 events are not written, but others, .* begin at start="):
        pmg.write_runs(tmp_path / "runs", at([1, 20]), run(name="7"), rng=1, start=START + 1 * u.yr)
    bare = pmg.Observation(quick_start_irfs(), direction(0, 0), 0.5 * u.h, name="7")
    with pytest.warns(PymcGammaWarning, match="times of 2 events are not written, but others, .* no good time"):
        pmg.write_runs(tmp_path / "other", at([1, 20]), bare, rng=1)


def test_types_of_events_are_observations_with_their_own_response():
    """Two halves of the events, one seen by half the effective area, are as informative as all events in one."""
    irfs = quick_start_irfs()
    tables = irfs.arrays()
    halves = {name: values / 2 if name in ("aeff_values", "bkg_rate") else values for name, values in tables.items()}
    assert sum(not np.array_equal(halves[name], values) for name, values in tables.items()) == 2
    half = pmg.IRFs.from_arrays(halves, name="half")
    good_time = START + [0, 30] * u.min
    types = [
        pmg.Observation(half, direction(0, 0), 27 * u.min, name=name, good_time=good_time) for name in ("good", "poor")
    ]
    response, whole = pmg.fold(COMPONENTS, types, ROI), pmg.fold(COMPONENTS, run(), ROI)
    np.testing.assert_allclose(response.acceptance, whole.acceptance, rtol=1e-6)
    events = whole.simulate(rng=1)
    typed = sum(events[k::2].with_observation(k) for k in range(2))
    shuffled = events[np.r_[0 : len(events) : 2, 1 : len(events) : 2]]
    np.testing.assert_allclose(2 * response.density(typed), whole.density(shuffled), rtol=1e-6)
    pieces = [one.split([0, 10, 30] * u.min) for one in types]
    cut = pmg.fold(COMPONENTS, [one for of_type in pieces for one in of_type], ROI)
    assert cut.coords["observation"] == ["good 0", "good 1", "poor 0", "poor 1"]
    split = typed.split(pieces)
    assert np.array_equal(split.observation // 2, typed.observation)
    np.testing.assert_allclose(cut.density(split).sum(axis=0), [
        np.sum(response.density(typed)[:, k] * np.where(split.observation % 2 == 0, 1 / 3, 2 / 3)) for k in range(2)
    ], rtol=1e-9)  # fmt: skip
