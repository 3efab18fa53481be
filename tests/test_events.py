"""The event list: columns, bad input, selecting, joining, binning."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from pymc_gamma.errors import EventError, PymcGammaWarning
from pymc_gamma.events import Cells, Events
from pymc_gamma.geometry import RegionOfInterest


def make_events(rng, n=1000, **kwargs):
    return Events(
        rng.uniform(0.1, 100, n) * u.TeV,
        rng.uniform(-3.2, 3.2, n) * u.deg,
        rng.uniform(-3.2, 3.2, n) * u.deg,
        **({"frame": "galactic"} | kwargs),
    )


@pytest.fixture
def roi():
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    return RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)


def test_columns_have_units_and_defaults():
    events = Events([500, 2000] * u.GeV, [6, 1] * u.arcmin, [0, 0] * u.deg, frame="galactic")
    np.testing.assert_allclose(events.energy.to_value("TeV"), [0.5, 2.0])
    np.testing.assert_allclose(events.lon.to_value("deg"), [0.1, 1 / 60])
    assert events.observation.tolist() == [0, 0]
    assert events.multiplicity.tolist() == [1.0, 1.0]
    assert events.n_total == 2
    assert events.frame == "galactic"
    assert events.coords.frame.name == "galactic"


def test_scalars_make_one_event():
    assert len(Events(1 * u.TeV, 0 * u.deg, 0 * u.deg, frame="galactic")) == 1


@pytest.mark.parametrize(
    ("given", "kept"), [(359.5, -0.5), (180.0, 180.0), (-180.0, 180.0), (540.0, 180.0), (-0.1, -0.1)]
)
def test_longitudes_are_wrapped(given, kept):
    assert Events(1 * u.TeV, given * u.deg, 0 * u.deg, frame="galactic").lon[0].value == pytest.approx(kept, abs=1e-12)


def test_longitudes_inside_keep_every_bit():
    tiny = 1e-17
    events = Events([1, 1] * u.TeV, [tiny, 200.0] * u.deg, [0, 0] * u.deg, frame="galactic")
    assert events.lon[0].value == tiny


def test_arrays_are_copies_and_read_only():
    energy = np.array([1.0, 2.0])
    events = Events(energy * u.TeV, [0, 0] * u.deg, [0, 0] * u.deg, frame="galactic")
    energy[0] = 7.0
    assert events.energy[0].value == 1.0
    for column in (events.energy, events.lon, events.lat, events.observation, events.multiplicity):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]
        with pytest.raises(ValueError, match="read-only"):
            events[:1].energy[0] = 3 * u.TeV


@pytest.mark.parametrize(
    ("energy", "lon", "lat", "names"),
    [
        ([1, np.nan, 2], [0, 0, 0], [0, 0, 0], "energy must be finite.*1 of 3.*row 1: nan"),
        ([1, -2, 0], [0, 0, 0], [0, 0, 0], "energy must be positive.*2 of 3.*row 1: -2, row 2: 0"),
        ([1, np.inf, 2], [0, 0, 0], [0, 0, 0], "energy must be finite"),
        ([1, 1, 1], [0, np.nan, 0], [0, 0, 0], "lon must be finite"),
        ([1, 1, 1], [0, 0, 0], [0, 0, 90.5], "lat must lie within.*row 2: 90.5"),
        ([1, 1, 1], [0, 0], [0, 0, 0], "same length.*energy 3, lon 2, lat 3"),
        ([[1, 1]], [0, 0], [0, 0], "energy must be one-dimensional"),
    ],
)
def test_bad_columns_are_named(energy, lon, lat, names):
    with pytest.raises(EventError, match=names):
        Events(energy * u.TeV, lon * u.deg, lat * u.deg, frame="galactic")


def test_only_the_first_bad_rows_are_listed():
    with pytest.raises(EventError, match="and 95 more"):
        Events(np.full(100, -1.0) * u.TeV, np.zeros(100) * u.deg, np.zeros(100) * u.deg, frame="galactic")


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        ({"frame": "fk5"}, "frame must be one of 'galactic', 'icrs'"),
        ({"observation": [0, -1]}, "observation must be an index.*row 1"),
        ({"observation": [0.5, 0]}, "observation must be an integer"),
        ({"observation": [0, np.nan]}, "observation must be an integer"),
        ({"observation": ["a", "b"]}, "observation must be numbers, got text"),
        ({"observation": [0, 1, 2]}, "same length"),
        ({"multiplicity": [1, 0]}, "multiplicity must be positive.*row 1"),
        ({"multiplicity": [1, np.nan]}, "multiplicity must be finite"),
        ({"multiplicity": [[1, 2]]}, "multiplicity must be one-dimensional"),
    ],
)
def test_bad_options_are_named(kwargs, names):
    with pytest.raises(EventError, match=names):
        Events([1, 2] * u.TeV, [0, 0] * u.deg, [0, 0] * u.deg, **({"frame": "galactic"} | kwargs))


def test_numbers_without_units_are_refused():
    with pytest.raises(TypeError, match="energy must be an astropy Quantity"):
        Events([1.0], [0] * u.deg, [0] * u.deg, frame="galactic")
    with pytest.raises(TypeError, match="lat must be an astropy Quantity"):
        Events([1] * u.TeV, [0] * u.deg, [0.0], frame="galactic")
    with pytest.raises(u.UnitConversionError, match="lon must be convertible to deg"):
        Events([1] * u.TeV, [0] * u.m, [0] * u.deg, frame="galactic")


def test_empty_list_is_a_container():
    empty = Events([] * u.TeV, [] * u.deg, [] * u.deg, frame="galactic")
    assert len(empty) == 0
    assert empty.n_total == 0
    assert repr(empty) == "Events(0 events, galactic)"
    assert empty.to_rows().shape == (0, 3)
    assert len(empty + empty) == 0
    assert len(empty.to_frame("icrs")) == 0
    assert len(empty.binned(4, pixel=1 * u.deg)) == 0
    with pytest.raises(EventError, match="empty"):
        empty.peek()


def test_indexing(rng):
    events = make_events(rng, 10, observation=np.arange(10), multiplicity=np.arange(1, 11))
    assert events[3].observation.tolist() == [3]
    assert events[-1].multiplicity.tolist() == [10.0]
    assert events[2:8:2].observation.tolist() == [2, 4, 6]
    assert events[[5, 1]].observation.tolist() == [5, 1]
    assert events[events.multiplicity > 8].observation.tolist() == [8, 9]
    assert [int(event.observation[0]) for event in events] == list(range(10))
    with pytest.raises(IndexError):
        events[10]
    with pytest.raises(EventError, match="mask for 10 events"):
        events[np.ones(9, dtype=bool)]


def test_joining(rng):
    first = make_events(rng, 3, meta={"seed": 1, "site": "south"})
    second = make_events(rng, 2, observation=1, meta={"seed": 2, "site": "south"})
    both = first + second
    assert len(both) == 5
    assert both.observation.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(both.to_rows(), np.vstack([first.to_rows(), second.to_rows()]))
    assert both.meta == {"site": "south"}
    with pytest.raises(EventError, match="galactic frame and in the icrs frame"):
        first + second.to_frame("icrs")
    with pytest.raises(TypeError):
        first + 1


def test_frames_agree_with_astropy(rng):
    events = make_events(rng, 50)
    icrs = events.to_frame("icrs")
    assert icrs.frame == "icrs"
    assert events.coords.separation(icrs.coords).max() < 1e-9 * u.deg
    np.testing.assert_allclose(icrs.to_frame("galactic").to_rows(), events.to_rows(), atol=1e-11)
    assert events.to_frame("galactic") is events


def test_from_skycoord():
    crab = SkyCoord([83.633], [22.014], unit="deg", frame="icrs")
    events = Events.from_skycoord([1] * u.TeV, crab, observation=2)
    assert events.coords[0].separation(crab[0]) < 1e-9 * u.deg
    assert events.observation.tolist() == [2]


def test_rows_round_trip(rng):
    events = make_events(rng, 20, observation=rng.integers(0, 3, 20), multiplicity=rng.integers(1, 5, 20), frame="icrs")
    reco = ("lat", "energy", "lon", "multiplicity", "observation")
    rows = events.to_rows(reco)
    assert rows.shape == (20, 5)
    assert rows.dtype == np.float64
    again = Events.from_rows(rows, reco, "icrs")
    np.testing.assert_array_equal(again.to_rows(reco), rows)
    assert again.observation.dtype == np.int64


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(EventError, match=r"shape \(event, 3\)"):
        Events.from_rows(np.ones((4, 2)))
    with pytest.raises(EventError, match="reco must name lat"):
        Events.from_rows(np.ones((4, 2)), ("energy", "lon"))
    with pytest.raises(EventError, match="distinct names"):
        Events.from_rows(np.ones((4, 3)), ("energy", "lon", "colour"))
    with pytest.raises(EventError, match="distinct names"):
        Events.from_rows(np.ones((4, 3)), ("energy", "lon", "lon"))
    with pytest.raises(EventError, match=r"energy must be finite.*row 0"):
        Events.from_rows(np.full((1, 3), np.nan))


def test_array_conversion_is_refused(rng):
    with pytest.raises(TypeError, match="to_rows"):
        np.asarray(make_events(rng, 3))


def test_selection_counts_each_event_once(roi):
    events = Events(
        [1, 0.05, 200, 0.05, 1] * u.TeV,
        [0, 0, 0, 5, 5] * u.deg,
        [0, 0, 0, 0, 0] * u.deg,
        multiplicity=[1, 2, 3, 4, 5],
        frame="galactic",
    )
    selection = events.selection(roi)
    assert selection.inside.tolist() == [True, False, False, False, False]
    assert selection.left_out == {"outside the region on the sky": 9, "below 0.1 TeV": 2, "above 100 TeV": 3}
    assert "14 of 15 events" in str(selection)
    with pytest.warns(PymcGammaWarning, match=r"9 outside the region.*2 below 0.1 TeV, 3 above 100 TeV"):
        kept = events.select(roi)
    assert len(kept) == 1


def test_selection_of_everything_is_silent(rng, roi):
    events = make_events(rng, 20)
    events = events[(np.abs(events.lon.value) < 3) & (np.abs(events.lat.value) < 3)]
    assert len(events.select(roi)) == len(events)
    assert str(events.selection(roi)).startswith("All")


def test_selection_converts_the_frame(rng, roi):
    events = make_events(rng, 200)
    kept = events.to_frame("icrs")[roi.contains(events.lon.value, events.lat.value)].select(roi)
    assert kept.frame == "galactic"
    assert len(kept) > 150


def test_binning_keeps_every_event(rng):
    events = make_events(rng, 5000, observation=rng.integers(0, 2, 5000))
    cells = events.binned(10, pixel=0.4 * u.deg)
    assert cells.n_total == 5000
    assert len(cells) < len(events)
    for observation in (0, 1):
        assert cells[cells.observation == observation].n_total == np.sum(events.observation == observation)
    assert len(np.unique(cells.to_rows(("energy", "lon", "lat", "observation")), axis=0)) == len(cells)
    # A mean of events keeps their mean.
    assert np.average(cells.lon.value, weights=cells.multiplicity) == pytest.approx(events.lon.value.mean())


def test_binning_against_a_histogram(rng):
    events = make_events(rng, 3000, multiplicity=rng.integers(1, 4, 3000))
    energy, lon, lat = np.geomspace(0.1, 100, 6), np.linspace(-3.2, 3.2, 9), np.linspace(-3.2, 3.2, 5)
    cells = events.binned(energy * u.TeV, lon=lon * u.deg, lat=lat * u.deg)
    histogram, _ = np.histogramdd(events.to_rows(), [energy, lon, lat], weights=events.multiplicity)
    again, _ = np.histogramdd(cells.to_rows(), [energy, lon, lat], weights=cells.multiplicity)
    np.testing.assert_array_equal(histogram, again)
    assert len(cells) == np.count_nonzero(histogram)


def test_binning_puts_cells_at_the_mean_of_their_events():
    events = Events([2, 3, 20] * u.TeV, [0.02, 0.08, 0.32] * u.deg, [0.05, 0.01, -0.02] * u.deg, frame="galactic")
    cells = events.binned([1, 10, 100] * u.TeV, pixel=0.1 * u.deg)
    np.testing.assert_allclose(cells.energy.value, [np.sqrt(6), 20])
    np.testing.assert_allclose(cells.lon.value, [0.05, 0.32])
    np.testing.assert_allclose(cells.lat.value, [0.03, -0.02])
    assert cells.multiplicity.tolist() == [2.0, 1.0]


def test_binning_across_the_date_line():
    events = Events([1, 1, 1] * u.TeV, [179.96, -179.96, 179.97] * u.deg, [0, 0, 0] * u.deg, frame="galactic")
    cells = events.binned([0.5, 2] * u.TeV, pixel=0.1 * u.deg)
    assert sorted(cells.multiplicity.tolist()) == [1.0, 2.0]
    given = events.binned([0.5, 2] * u.TeV, lon=[179, 181] * u.deg, lat=[-1, 1] * u.deg)
    assert given.multiplicity.tolist() == [3.0]
    assert given.lon[0].value == pytest.approx(179.99)  # the mean of -0.04, 0.04 and -0.03 around 180


def test_binning_reports_events_outside_the_edges():
    events = Events([0.5, 2, 20] * u.TeV, [0, 0, 0] * u.deg, [0, 0, 0] * u.deg, frame="galactic")
    with pytest.warns(PymcGammaWarning, match="2 of 3 events lie outside the bin edges"):
        cells = events.binned([1, 10] * u.TeV, pixel=1 * u.deg)
    assert cells.n_total == 1


@pytest.mark.parametrize(
    ("energy", "kwargs", "names"),
    [
        (5, {}, "either pixel=, or both"),
        (5, {"lon": [0, 1] * u.deg}, "either pixel=, or both"),
        (5, {"pixel": 1 * u.deg, "lon": [0, 1] * u.deg, "lat": [0, 1] * u.deg}, "either pixel=, or both"),
        (0, {"pixel": 1 * u.deg}, "at least one bin"),
        (5, {"pixel": -1 * u.deg}, "pixel must be positive"),
        ([10, 1] * u.TeV, {"pixel": 1 * u.deg}, "energy edges must be two or more increasing"),
        ([0, 1] * u.TeV, {"pixel": 1 * u.deg}, "energy edges must be positive"),
        (5, {"lon": [0] * u.deg, "lat": [0, 1] * u.deg}, "lon edges must be two or more"),
    ],
)
def test_bad_bins_are_named(rng, energy, kwargs, names):
    with pytest.raises(EventError, match=names):
        make_events(rng, 5).binned(energy, **kwargs)


def test_binning_keeps_the_extents_of_cells():
    events = Events([2, 3, 20] * u.TeV, [0.02, 0.08, 0.32] * u.deg, [0.05, 0.01, -0.02] * u.deg, frame="galactic")
    cells = events.binned([1, 10, 100] * u.TeV, pixel=0.1 * u.deg)
    expected = [[1, 10, 0, 0.1, 0, 0.1], [10, 100, 0.3, 0.4, -0.1, 0]]
    np.testing.assert_allclose(cells.cells.edges, expected, atol=1e-12)
    assert events.cells is None
    assert "2 cells, 3 events" in repr(cells)
    assert "1 cells, 1 event" in repr(cells[1])
    np.testing.assert_array_equal(cells[[1]].cells.edges, cells.cells.edges[1:])
    np.testing.assert_array_equal(cells.with_observation(3).cells.edges, cells.cells.edges)
    assert cells.without_cells().cells is None
    assert cells.cells.energy.unit == u.TeV
    assert cells.cells.lon.shape == cells.cells.lat.shape == (2, 2)
    assert events[:0].binned([1, 10] * u.TeV, pixel=1 * u.deg).cells is None


def test_single_events_join_cells():
    events = Events([2, 3] * u.TeV, [0.02, 0.08] * u.deg, [0.05, 0.01] * u.deg, frame="galactic")
    cells = events.binned([1, 10] * u.TeV, pixel=0.1 * u.deg)
    both = cells + events
    np.testing.assert_allclose(both.cells.edges[0], [1, 10, 0, 0.1, 0, 0.1], atol=1e-12)
    np.testing.assert_array_equal(both.cells.edges[1:, ::2], events.to_rows())
    np.testing.assert_array_equal(both.cells.edges[1:, 1::2], events.to_rows())
    assert (events + events).cells is None


def test_cells_as_rows():
    events = Events([2] * u.TeV, [0.02] * u.deg, [0.05] * u.deg, frame="galactic")
    names = ("energy", "lon", "lat", "energy_min", "energy_max", "lon_min", "lon_max", "lat_min", "lat_max")
    cells = events.binned([1, 10] * u.TeV, pixel=0.1 * u.deg)
    np.testing.assert_allclose(cells.to_rows(names)[0], [2, 0.02, 0.05, 1, 10, 0, 0.1, 0, 0.1], atol=1e-12)
    again = Events.from_rows(cells.to_rows(names), names)
    np.testing.assert_array_equal(again.cells.edges, cells.cells.edges)
    with pytest.raises(EventError, match="a cell needs all of energy_min"):
        Events.from_rows(cells.to_rows(names[:5]), names[:5])


def test_cells_across_the_date_line():
    events = Events([1, 1] * u.TeV, [179.96, -179.97] * u.deg, [0, 0] * u.deg, frame="galactic")
    cells = events.binned([0.5, 2] * u.TeV, lon=[179, 181] * u.deg, lat=[-1, 1] * u.deg)
    np.testing.assert_allclose(cells.cells.lon.value, [[179, 181]])
    single = Events([1] * u.TeV, [-179.9] * u.deg, [0] * u.deg, cells=cells.cells, frame="galactic")
    np.testing.assert_allclose(single.cells.lon.value, [[-181, -179]])


def test_cells_know_one_frame():
    events = Events([2] * u.TeV, [0.02] * u.deg, [0.05] * u.deg, frame="galactic").binned(
        [1, 10] * u.TeV, pixel=0.1 * u.deg
    )
    assert events.to_frame("galactic") is events
    with pytest.raises(EventError, match=r"to_frame\('icrs'\).binned.*without_cells"):
        events.to_frame("icrs")
    assert events.without_cells().to_frame("icrs").frame == "icrs"


def test_cells_gathered_into_larger_ones():
    events = Events([2, 3, 4] * u.TeV, [0.02, 0.08, 0.12] * u.deg, [0.05, 0.01, 0.02] * u.deg, frame="galactic")
    cells = events.binned([1, 10] * u.TeV, pixel=0.1 * u.deg)
    larger = cells.binned([1, 10] * u.TeV, pixel=0.2 * u.deg)
    assert larger.multiplicity.tolist() == [3.0]
    np.testing.assert_allclose(larger.cells.edges, [[1, 10, 0, 0.2, 0, 0.2]], atol=1e-12)
    with pytest.raises(EventError, match="1 of 2 rows fill cells already"):
        cells.binned([1, 10] * u.TeV, pixel=0.15 * u.deg)


@pytest.mark.parametrize(
    ("energy", "lon", "lat", "match"),
    [
        ([[2, 1]], [[0, 1]], [[0, 1]], "edges reversed"),
        ([[1, 3]], [[1, 0]], [[0, 1]], "edges reversed"),
        ([[0, 3]], [[0, 1]], [[0, 1]], "not positive"),
        ([[1, np.nan]], [[0, 1]], [[0, 1]], "not finite"),
        ([[1, 3]], [[0, 400]], [[0, 1]], "go round the sky"),
        ([[1, 3]], [[0, 1]], [[0, 91]], "beyond a pole"),
        ([[1, 3]], [[0.6, 1]], [[0, 1]], "do not hold their events"),
        ([[1, 3]] * 2, [[0, 1]], [[0, 1]], "same length"),
        ([[1, 3]] * 2, [[0, 1]] * 2, [[0, 1]] * 2, "1 events and 2 cells"),
        ([1, 3], [[0, 1]], [[0, 1]], r"shape \(event, 2\)"),
    ],
)
def test_bad_cells_are_named(energy, lon, lat, match):
    with pytest.raises(EventError, match=match):
        Events(
            [2] * u.TeV,
            [0.5] * u.deg,
            [0.5] * u.deg,
            cells=Cells(energy * u.TeV, lon * u.deg, lat * u.deg),
            frame="galactic",
        )


def test_cells_of_another_type():
    with pytest.raises(TypeError, match="cells must be Cells"):
        Events([2] * u.TeV, [0.5] * u.deg, [0.5] * u.deg, cells=[[1, 3, 0, 1, 0, 1]], frame="galactic")


def test_repr_tells_cells_and_observations(rng):
    events = make_events(rng, 5, observation=[0, 0, 1, 1, 2], multiplicity=[1, 2, 3, 4, 5])
    assert "5 cells, 15 events" in repr(events)
    assert "3 observations" in repr(events)


def test_peek_draws_labelled_axes(rng):
    for scaling in ("sqrt", "linear", "log"):
        figure = make_events(rng, 300).peek(count_scaling=scaling)
        assert figure.axes[0].collections[0].norm.vmax >= 1
    sky, spectrum, *_ = figure.axes
    assert sky.get_xlabel() == "Galactic longitude [deg]"
    assert sky.xaxis_inverted()
    assert spectrum.get_xlabel() == "Reconstructed energy [TeV]"
    with pytest.raises(ValueError, match="count_scaling"):
        make_events(rng, 3).peek(count_scaling="cubic")


def test_peek_of_one_event(rng):
    make_events(rng, 1, frame="icrs").peek()
