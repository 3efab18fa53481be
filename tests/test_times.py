"""Arrival times of events: kept by whatever is done with a list, exact to less than a microsecond."""

import copy
import pickle

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.time import Time

from pymc_gamma import Events
from pymc_gamma.errors import EventError, PymcGammaWarning
from pymc_gamma.times import TIME_REFERENCE, from_seconds, reference, to_seconds

START = Time("2025-03-01T22:00:00", scale="utc")
MICROSECOND = 1e-6


def times(n=4):
    """Times that no single float of days, as MJD, holds to a microsecond."""
    return START + (np.arange(n) * 1234.567891) * u.s


def make_events(time=None, n=4, **options):
    return Events(
        np.arange(1, n + 1) * u.TeV,
        np.arange(n) * u.deg,
        np.zeros(n) * u.deg,
        time=time,
        **({"frame": "galactic"} | options),
    )


def assert_times(events, expected):
    assert np.abs((events.time - expected).to_value("s")).max() < MICROSECOND


@pytest.mark.parametrize("scale", ["utc", "tt", "tai", "tdb"])
@pytest.mark.parametrize("year", [1975, 2001, 2026])
def test_any_scale_over_decades(scale, year):
    given = Time(f"{year}-05-06T07:08:09.123456", scale=scale) + [0, 1e-6, 1, 1e6] * u.s
    events = make_events(given)
    assert events.time.scale == "tt"
    assert np.abs((events.time - given.tt).to_value("s")).max() < 0.2 * MICROSECOND
    assert (np.diff(to_seconds(events.time, "time")) > 0.5 * MICROSECOND).all()


def test_seconds_count_from_an_epoch_that_headers_name():
    assert from_seconds(0.0).utc.isot == "2001-01-01T00:00:00.000"
    assert TIME_REFERENCE["MJDREFI"] + TIME_REFERENCE["MJDREFF"] == reference().mjd
    # 24 years with 6 leap days, 5 leap seconds since 2001
    assert to_seconds(Time("2025-01-01", scale="utc"), "time") == pytest.approx((24 * 365 + 6) * 86400 + 5, abs=1e-6)


def test_what_is_done_with_a_list_keeps_its_times():
    events = make_events(times(), observation=[0, 1, 0, 1])
    assert_times(events[1:3], times()[1:3])
    assert_times(events[2], times()[[2]])
    assert_times(events[[3, 0]], times()[[3, 0]])
    assert_times(events[events.energy > 2 * u.TeV], times()[2:])
    assert_times(events.to_frame("icrs"), times())
    assert_times(events.with_observation(3), times())
    assert_times(events.without_cells(), times())
    assert_times(copy.copy(events), times())
    assert_times(copy.deepcopy(events), times())
    assert_times(pickle.loads(pickle.dumps(events)), times())
    assert_times(sum([events, events[:2]]), times()[[0, 1, 2, 3, 0, 1]])
    rows = events.to_rows(("energy", "lon", "lat", "time"))
    assert np.array_equal(Events.from_rows(rows, ("energy", "lon", "lat", "time")).to_rows(("time",)), rows[:, 3:])
    assert events[[]].time.shape == (0,)


def test_a_list_without_times_stays_so():
    events = make_events()
    found = [events, events[1:], events.to_frame("icrs"), events + events, events.with_observation(1)]
    found.append(Events.from_rows(events.to_rows(("energy", "lon", "lat", "time")), ("energy", "lon", "lat", "time")))
    found += [Events.from_table(events.to_table()), Events.from_gammapy(events.to_gammapy())]
    found.append(make_events(times()).with_time(None))
    assert all(one.time is None for one in found)
    assert "TIME" not in events.to_table().colnames
    assert np.isnan(events.to_rows(("time",))).all()


@pytest.mark.parametrize("swap", [False, True])
def test_joined_lists_with_and_without_times(swap):
    timed, other = make_events(times()), make_events(n=2)
    joined = other + timed if swap else timed + other
    known = np.r_[np.zeros(2, bool), np.ones(4, bool)] if swap else np.r_[np.ones(4, bool), np.zeros(2, bool)]
    assert np.array_equal(~joined.time.mask, known)
    assert_times(joined[known], times())
    again = [Events.from_table(joined.to_table()), Events.from_gammapy(joined.to_gammapy()), joined.to_frame("icrs")]
    for one in [*again, joined.with_observation(1)]:
        assert np.array_equal(one.to_rows(("time",)), joined.to_rows(("time",)), equal_nan=True)
    assert (make_events(n=0) + timed).time.masked is False


def test_masked_times_are_not_known_and_their_events_stay():
    given = times()
    given[1] = np.ma.masked
    events = make_events(given)
    assert len(events) == 4
    assert events.time.mask.tolist() == [False, True, False, False]
    masked = np.ma.MaskedArray([0, 0, 0, 0], mask=[True, False, False, False])
    with pytest.warns(PymcGammaWarning, match="1 of 4 events are masked"):
        assert make_events(times(), observation=masked).time.shape == (3,)


def test_files_hold_times(tmp_path):
    events = make_events(times(), observation=[0, 1, 0, 1]) + make_events(n=1)
    events.write(tmp_path / "events.fits")
    with fits.open(tmp_path / "events.fits") as hdus:
        header, seconds = hdus["EVENTS"].header, hdus["EVENTS"].data["TIME"]
        assert "PGNOTIME" not in header
        assert header["TIMESYS"] == "TT"
        zero = Time(header["MJDREFI"], header["MJDREFF"], format="mjd", scale="tt")
        assert np.abs((zero + seconds[:4] * u.s - times()).to_value("s")).max() < MICROSECOND
        assert np.isnan(seconds[4])
    again = Events.read(tmp_path / "events.fits")
    assert np.array_equal(again.to_rows(("time",)), events.to_rows(("time",)), equal_nan=True)
    from gammapy.data import EventList

    listed = EventList.read(tmp_path / "events.fits")
    assert np.abs((listed.time[:4] - times()).to_value("s")).max() < MICROSECOND
    assert np.array_equal(Events.from_gammapy(listed).to_rows(("time",)), events.to_rows(("time",)), equal_nan=True)


def test_files_without_times_say_so(tmp_path):
    make_events().write(tmp_path / "events.fits")
    assert fits.getval(tmp_path / "events.fits", "PGNOTIME", ext=1)
    assert Events.read(tmp_path / "events.fits").time is None


def test_tables_that_astropy_wrote(tmp_path):
    """It writes pairs of days, with a scale of their own that is not that of the header."""
    for name, table in {
        "ours.fits": make_events(times()).to_table(),
        "gammapy.fits": make_events(times()).to_gammapy().table,
    }.items():
        for scale in ("utc", "tt"):
            table["TIME"] = getattr(times(), scale)
            table.write(tmp_path / name, overwrite=True)
            assert_times(Events.read(tmp_path / name, hdu=1), times())
        with pytest.raises(EventError, match=r"Column TIME .* shape \(4, 2\).*astropy_native=True"):
            Events.from_table(Table.read(tmp_path / name))


def plain_table(time, **meta):
    table = Table({"ENERGY": [1.0, 2.0] * u.TeV, "RA": [0.0, 1.0] * u.deg, "DEC": [0.0, 1.0] * u.deg, "TIME": time})
    table.meta.update(meta)
    return table


@pytest.mark.parametrize("scale", ["utc", "tt"])
@pytest.mark.parametrize("unit", ["s", "d", None])
def test_numbers_count_from_what_the_header_says(scale, unit):
    numbers = np.array([100.0, 100.5])
    table = plain_table(numbers if unit is None else numbers * u.Unit(unit), MJDREFI=53736, MJDREFF=0.25)
    table.meta.update(TIMESYS=scale.upper(), TIMEUNIT="d")
    expected = Time(53736, 0.25, format="mjd", scale=scale) + numbers * u.Unit(unit or "d")
    assert_times(Events.from_table(table), expected)
    assert_times(Events.from_table(QTable(table)), expected)


def test_numbers_that_count_from_nowhere():
    with pytest.warns(PymcGammaWarning, match="column TIME, are not taken: .* no 'MJDREFI'"):
        assert Events.from_table(plain_table([1.0, 2.0] * u.s)).time is None


def test_a_missing_time_in_a_table():
    table = plain_table(np.ma.MaskedArray([1.0, 2.0], mask=[True, False]), MJDREFI=53736, MJDREFF=0.0, TIMESYS="TT")
    assert Events.from_table(table).time.mask.tolist() == [True, False]


@pytest.mark.parametrize(
    ("time", "error", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0] * u.s, TypeError, "time must be absolute times, an astropy Time, got Quantity"),
        (times().isot, TypeError, "time must be absolute times, an astropy Time"),
        (times(3), EventError, "same length, got energy 4.*time 3"),
        (times().reshape(2, 2), EventError, r"time must be one-dimensional.*\(2, 2\)"),
        (Time(times().isot, scale="local"), ValueError, "time .*'local'"),
        (Time([2000.0, 2001.0, 2002.0, 9e5], format="jyear"), EventError, "time must lie within 300 years.*row 3"),
    ],
)
def test_bad_times(time, error, message):
    with pytest.raises(error, match=message):
        make_events(time)
    with pytest.raises(error, match=message):
        make_events().with_time(time)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, 2.0] * u.TeV, "Column TIME .* in 'TeV', which is not convertible to s"),
        (["2025-01-01", "2025-01-02"], "Column TIME .* must hold astropy times"),
        (np.array(["2025-01-01", "2025-01-02"], "M8[s]"), "Column TIME .* must hold astropy times.*No scale"),
        (np.ones((2, 3)), r"Column TIME .* one number for each event.*\(2, 3\)"),
    ],
)
def test_bad_columns_of_times(column, message):
    with pytest.raises(EventError, match=message):
        Events.from_table(plain_table(column, MJDREFI=53736, MJDREFF=0.0))


def test_two_columns_of_times():
    frame = pd.DataFrame({"energy": [1.0], "ra": [0.0], "dec": [0.0], "TIME": [1.0], "time": [1.0]})
    with pytest.raises(EventError, match="one column TIME"):
        Events.from_table(frame, units={"energy": "TeV", "ra": "deg", "dec": "deg"})


def test_cells_have_no_times():
    assert make_events(times()).binned(2, pixel=1 * u.deg).time is None
