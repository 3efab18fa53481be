"""Every form in which columns of events come: read as what they mean, or refused with the column named."""

import warnings

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from astropy.coordinates import Latitude, Longitude, SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked

from pymc_gamma import Events
from pymc_gamma.errors import DataFileError, EventError, PymcGammaWarning

ZERO = [0, 0] * u.deg
TEV = np.array([0.5, 2.0])
# 1 TeV in other units, from the definitions of the prefixes and 1 eV = 1.602176634e-19 J
UNITS = {
    "eV": 1e12,
    "keV": 1e9,
    "MeV": 1e6,
    "GeV": 1e3,
    "TeV": 1.0,
    "PeV": 1e-3,
    "erg": 1.602176634,
    "J": 1.602176634e-7,
}


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        (Column([500, 2000], unit="GeV"), TEV),
        (Column([500, 2000], unit="GeV", dtype="i4"), TEV),
        (Column([0.5, 2.0], unit="TeV", dtype=">f4"), TEV),
        (Column([0.5, 2], unit="TeV", dtype=object), TEV),
        ([0.5 * u.TeV, 2000 * u.GeV], TEV),
        ((0.5 * u.TeV, 2.0 * u.TeV), TEV),
        (np.array([500.0, 2000.0]) * u.GeV, TEV),
        (u.Dex([-1, 1] * u.dex(u.TeV)), [0.1, 10]),
    ],
)
def test_forms_of_energies(energy, expected):
    events = Events(energy, Longitude([359.0, 1.0] * u.deg), Latitude([1.0, 2.0] * u.deg), frame="galactic")
    np.testing.assert_allclose(events.energy.to_value("TeV"), expected, rtol=1e-14)
    np.testing.assert_allclose(events.lon.to_value("deg"), [-1, 1], rtol=1e-13)


def test_directions_in_other_units():
    events = Events(
        [1, 2] * u.TeV, Column([0.0, np.pi / 2], unit="rad"), Column([0, 90], unit="arcmin"), frame="galactic"
    )
    np.testing.assert_allclose(events.lon.value, [0, 90])
    np.testing.assert_allclose(events.lat.value, [0, 1.5])
    np.testing.assert_allclose(Events(1 * u.TeV, Longitude("1h"), 0 * u.deg, frame="galactic").lon.value, [15])


@pytest.mark.parametrize(
    "masked",
    [
        MaskedColumn([1.0, 2.0, 3.0], unit="TeV", mask=[False, True, True]),
        Masked([1.0, 2.0, 3.0] * u.TeV, mask=[False, True, True]),
        [1 * u.TeV, Masked(2 * u.TeV, mask=True), Masked(3 * u.TeV, mask=True)],
    ],
)
def test_what_is_masked_is_left_out_and_counted(masked):
    zero = np.zeros(3) * u.deg
    with pytest.warns(PymcGammaWarning, match=r"2 of 3 events are masked \(energy 2\)\. They are left out") as told:
        events = Events(masked, zero, zero, frame="galactic")
    assert len(told) == 1
    assert events.energy.value.tolist() == [1.0]


NOT_NUMBERS = [
    (Column(["1", "2"], unit="TeV"), "energy must be numbers, got text, for example '1'"),
    (["1 TeV", "2 TeV"], "energy must be numbers, got text"),
    ("1 TeV", "energy must be numbers, got text"),
    (Column([1.0, "x"], unit="TeV", dtype=object), r"energy must be numbers; 1 of 2 rows are none \(row 1: 'x'\)"),
    (Column([1.0, None], unit="TeV", dtype=object), r"1 of 2 rows are none \(row 1: None\)"),
    (Column([True, False], unit="TeV"), "energy must be numbers, got truth values"),
    ([1 + 1j, 2] * u.TeV, "energy must be numbers, got complex numbers"),
    (np.ones(2, dtype=[("a", float), ("b", float)]), "energy must be numbers, got records of several fields"),
    (u.Quantity(np.ones(2, dtype=[("a", "f8")]), u.StructuredUnit((u.TeV,))), "got records of several fields"),
    (np.array(["2020-01-01"] * 2, dtype="M8[s]"), "energy must be numbers, got times"),
    ([[1.0, 2.0], [1.0]], "energy must be numbers, one for each event"),
    ([1 * u.TeV, 2], "1 of 2 entries are no single quantity with a unit .*entry 1: 2"),
    ([1 * u.TeV, [2] * u.TeV], "entry 1: <Quantity"),
    ([1 * u.TeV, 2 * u.deg], r"list of quantities in TeV \(entry 0\) and deg \(1\)"),
    (SkyCoord(ZERO, ZERO), "energy must be numbers with a unit, one for each event, got SkyCoord"),
    (Table({"E": [1, 2]}), "energy must be numbers with a unit, one for each event, got Table"),
    ([[1, 2], [3, 4]] * u.TeV, r"energy must be one-dimensional, one entry per event, got shape \(2, 2\)"),
    ([[1], [2]] * u.TeV, r"energy must be one-dimensional, one entry per event, got shape \(2, 1\)"),
    ([np.nan, 1] * u.TeV, r"energy must be finite; found 1 of 2 events at fault \(row 0: nan\)"),
    ([1, -np.inf] * u.TeV, r"energy must be finite; found 1 of 2"),
    ([0, -1] * u.TeV, r"energy must be positive \[TeV\]; found 2 of 2"),
    (1 * u.TeV, "same length, got energy 1, lon 2"),
]


@pytest.mark.parametrize(("energy", "told"), NOT_NUMBERS)
def test_what_is_no_energy(energy, told):
    with warnings.catch_warnings(action="error"), pytest.raises(EventError, match=told):
        Events(energy, ZERO, ZERO, frame="galactic")


@pytest.mark.parametrize(("energy", "told"), NOT_NUMBERS[:6])
def test_what_is_no_energy_in_a_table(energy, told):
    table = Table({"RA": ZERO, "DEC": ZERO})
    table["ENERGY"] = energy if isinstance(energy, Column) else Column(energy, unit="TeV")
    with pytest.raises(EventError, match=told.replace("energy", "ENERGY")):
        Events.from_table(table)


@pytest.mark.parametrize("energy", [Column([1, 2]), np.array([1, 2]), [1, 2], pd.Series([1, 2])])
def test_no_unit_is_guessed(energy):
    with pytest.raises(
        TypeError, match=r"energy must be an astropy Quantity in units of TeV.*`energy=\[1, 2\] \* u.TeV`"
    ):
        Events(energy, ZERO, ZERO, frame="galactic")


@pytest.mark.parametrize("name", ["observation", "multiplicity"])
@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["a", "b"], "must be numbers, got text"),
        ([None, 1], "must be numbers; 1 of 2 rows are none"),
        ([True, False], "must be numbers, got truth values"),
        ([1, 1] * u.TeV, "must be numbers without a unit, got a quantity in 'TeV'"),
        (Column([1, 1], unit="s"), "must be numbers without a unit, got a quantity in 's'"),
        ([[1, 1]], "must be one-dimensional"),
        ([1, np.nan], "must be"),
        ([1, -1], "must be"),
    ],
)
def test_numbers_without_units(name, values, told):
    with pytest.raises(EventError, match=f"{name} {told}"):
        Events([1, 2] * u.TeV, ZERO, ZERO, frame="galactic", **{name: values})


def test_indices_are_exact():
    with pytest.raises(
        EventError, match=r"observation must be an index; found 1 of 2 events at fault \(row 0: 1e\+30\)"
    ):
        Events([1, 2] * u.TeV, ZERO, ZERO, observation=[1e30, 1], frame="galactic")
    assert Events([1, 2] * u.TeV, ZERO, ZERO, observation=pd.Series([3, 4]), frame="galactic").observation.tolist() == [
        3,
        4,
    ]
    with pytest.warns(PymcGammaWarning, match=r"1 of 2 events are masked \(observation 1\)"):
        events = Events([1, 2] * u.TeV, ZERO, ZERO, observation=pd.Series([3, pd.NA], dtype="Int64"), frame="galactic")
    assert events.observation.tolist() == [3]


# tables


def columns(**changes):
    return {"ENERGY": TEV * u.TeV, "RA": [83.6, 83.7] * u.deg, "DEC": [22.0, 22.1] * u.deg} | changes


def frame_of(**changes):
    return pd.DataFrame({"energy": [500.0, 2000.0], "ra": [83.6, 83.7], "dec": [22.0, 22.1]} | changes)


FRAME_UNITS = {"ENERGY": "GeV", "ra": "deg", "DEC": u.deg}


@pytest.mark.parametrize(
    ("table", "units"),
    [
        (Table(columns()), None),
        (QTable(columns()), None),
        (Table(columns(), masked=True), None),
        (columns(), None),
        (columns(ENERGY=Column([500, 2000], unit="GeV")), None),
        (Table(columns(ENERGY=[500, 2000])), {"energy": "GeV"}),
        (frame_of(), FRAME_UNITS),
        (frame_of().to_records(index=False), FRAME_UNITS),
        (frame_of().convert_dtypes(), FRAME_UNITS),
        (frame_of()[["dec", "energy", "ra"]], FRAME_UNITS),
    ],
)
def test_kinds_of_tables(table, units):
    events = Events.from_table(table, frame="icrs", units=units)
    np.testing.assert_allclose(events.to_rows(), [[0.5, 83.6, 22.0], [2.0, 83.7, 22.1]], rtol=1e-14)


@pytest.mark.parametrize(("unit", "factor"), UNITS.items())
def test_the_unit_of_the_energies_counts_in_every_reader(tmp_path, unit, factor):
    from gammapy.data import EventList

    table = Table(columns(ENERGY=Column(TEV * factor, unit=unit)))
    assert table["ENERGY"].unit == u.Unit(unit)
    found = [Events.from_table(table), Events.from_table(QTable(table))]
    bare = table.copy()
    bare["ENERGY"].unit = None
    found.append(Events.from_table(bare, units={"ENERGY": unit}))
    listed = table.copy()
    listed["TIME"] = Time([6e4, 6e4], format="mjd", scale="tt")
    found.append(Events.from_gammapy(EventList(listed)))
    table["TIME"] = [1.0, 2.0] * u.s
    table.meta["EXTNAME"] = "EVENTS"
    table.write(tmp_path / "events.fits")
    with pytest.warns(PymcGammaWarning, match="column TIME, are not taken: .* there is no 'MJDREFI'"):
        found.append(Events.read(tmp_path / "events.fits"))
    with fits.open(tmp_path / "events.fits", mode="update") as hdus:
        hdus["EVENTS"].header.update(
            {"MJDREFI": 51910, "MJDREFF": 0.0, "TIMEUNIT": "s", "TIMESYS": "TT", "TIMEREF": "L"}
        )
    found.append(Events.from_gammapy(EventList.read(tmp_path / "events.fits")))
    for events in found:
        np.testing.assert_allclose(events.energy.to_value("TeV"), TEV, rtol=1e-12)


@pytest.mark.parametrize(
    ("table", "units", "told"),
    [
        (frame_of(), None, r"Column energy .*has no unit, and none is guessed; .*units=\{'energy': 'TeV'\}"),
        (frame_of(), {"energy": "GeV"}, r"Column ra .*units=\{'ra': 'deg'\}"),
        (
            frame_of(),
            FRAME_UNITS | {"enrgy": "TeV"},
            "units names the column 'enrgy', which is not in the table: energy,",
        ),
        (frame_of(), FRAME_UNITS | {"ENERGY": "GeVV"}, "units: 'GeVV' of the column 'ENERGY' is no unit"),
        (frame_of(), FRAME_UNITS | {"ENERGY": "deg"}, "Column energy .*is in 'deg', which is not convertible to TeV"),
        (Table(columns()), {"ENERGY": "GeV"}, "column ENERGY is in 'GeV', the table itself 'TeV'; which is it"),
        (Table(columns(energy=[1, 2] * u.TeV)), None, "one column ENERGY; this has ENERGY, energy"),
        (Table(columns(ENERGY=[[1, 2], [3, 4]] * u.TeV)), None, "energy must be one-dimensional"),
        ({"ENERGY": [1, 2] * u.TeV, "RA": [1] * u.deg}, None, "do not make a table"),
        (Table(), None, "needs the columns ENERGY and RA, DEC .*this one has none"),
        (Table(columns(ENERGY=[-1, np.nan] * u.TeV)), None, "energy must be finite; found 1 of 2"),
    ],
)
def test_tables_that_leave_a_doubt(table, units, told):
    with pytest.raises(EventError, match=told):
        Events.from_table(table, units=units)


@pytest.mark.parametrize("table", [None, "events.fits", 3, [1, 2], np.ones((2, 3)), Table(columns())[0]])
def test_what_is_no_table(table):
    with pytest.raises(TypeError, match="expected a table of events"):
        Events.from_table(table)


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
def test_missing_values_of_a_data_frame_are_left_out_and_counted(missing):
    table = frame_of(energy=pd.array([500.0, missing], dtype="Float64" if missing is pd.NA else "float64"))
    with pytest.warns(PymcGammaWarning, match=r"1 of 2 events are masked \(energy 1\)"):
        assert Events.from_table(table, units=FRAME_UNITS).energy.value.tolist() == [0.5]


def test_units_do_not_change_the_table_of_the_user():
    table = Table(columns(ENERGY=[500, 2000]))
    Events.from_table(table, units={"ENERGY": "GeV"})
    assert table["ENERGY"].unit is None


def test_empty_tables_are_empty_lists():
    for table in (Table(columns())[:0], QTable(columns())[:0]):
        assert len(Events.from_table(table)) == 0
    assert len(Events.from_table(frame_of().iloc[:0], units=FRAME_UNITS)) == 0


def test_edges_that_are_not_all_there_are_told():
    with pytest.warns(PymcGammaWarning, match="ENERGY_MIN of the event table are not taken as edges of cells"):
        assert Events.from_table(Table(columns(ENERGY_MIN=[0.1, 1] * u.TeV))).cells is None


def test_pairs_of_coordinates_that_agree_are_silent():
    crab = SkyCoord([83.6, 83.7] * u.deg, [22.0, 22.1] * u.deg)
    table = Table(columns(GLON=crab.galactic.l, GLAT=crab.galactic.b))
    assert Events.from_table(table, frame="icrs").to_rows().shape == (2, 3)
    moved = Table(columns(GLON=crab.galactic.l, GLAT=crab.galactic.b + [0, 2] * u.arcsec))
    with pytest.warns(PymcGammaWarning, match=r"GLON and GLAT .* disagree .* in 1 of 2 rows, by up to 2 arcsec"):
        Events.from_table(moved)


def test_a_pair_of_coordinates_that_is_no_pair_of_numbers():
    with pytest.raises(EventError, match="GLON must be numbers, got text"):
        Events.from_table(Table(columns(GLON=Column(["a", "b"], unit="deg"), GLAT=ZERO)))


# rows


def test_rows_are_taken_by_their_names():
    frame = pd.DataFrame({"lat": [0.1, 0.2], "energy": [1.0, 2.0], "lon": [0.3, 0.4]})
    expected = [[1.0, 0.3, 0.1], [2.0, 0.4, 0.2]]
    assert Events.from_rows(frame).to_rows().tolist() == expected
    labelled = xr.DataArray(frame.to_numpy(), dims=("event", "reco"), coords={"reco": list(frame)})
    assert Events.from_rows(labelled).to_rows().tolist() == expected
    assert Events.from_rows(labelled.T).to_rows().tolist() == expected
    frame.iloc[0, 2] = np.nan
    with pytest.warns(PymcGammaWarning, match=r"1 of 2 events are masked \(lon 1\)"):
        assert Events.from_rows(frame).to_rows().tolist() == expected[1:]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([["a", "b", "c"]], "rows must be numbers, got text"),
        ([[1, 2, 3], [1]], "rows must be numbers"),
        ([1, 2, 3], r"rows must have shape \(event, 3\)"),
        ([[1, 2, 3, 4]], r"rows must have shape \(event, 3\).*got \(1, 4\)"),
        ([[1, 2, 3]] * u.TeV, "of quantities make events by Events"),
        (Table(columns()), r"make events by Events\.from_table"),
        (np.ones(2, dtype=[("energy", float)]), r"make events by Events\.from_table"),
        (
            pd.DataFrame({"energy": [1.0], "lon": [0.0], "b": [0.0]}),
            "rows have the columns energy, lon, b, but not lat",
        ),
    ],
)
def test_what_are_no_rows(rows, told):
    with pytest.raises(EventError, match=told):
        Events.from_rows(rows)


def test_directions_that_cannot_be_converted():
    with pytest.raises(TypeError, match="coords must be an astropy SkyCoord, got list"):
        Events.from_skycoord([1, 2] * u.TeV, [1, 2])
    with pytest.raises(EventError, match="in the frame 'altaz' cannot be converted to 'galactic'"):
        Events.from_skycoord([1, 2] * u.TeV, SkyCoord(ZERO, ZERO, frame="altaz", obstime=Time(6e4, format="mjd")))
    with pytest.raises(TypeError, match="meta must be a mapping"):
        Events([1, 2] * u.TeV, ZERO, ZERO, meta=3, frame="galactic")


SIMPLE = {"energy": [1.0, 2.0], "ra": [3.0, 4.0], "dec": [5.0, 6.0]}


@pytest.mark.parametrize("units", ["TeV", u.TeV, ["TeV", "deg", "deg"], 3, [("energy", "TeV")]])
def test_units_that_are_no_mapping(units):
    for table in (pd.DataFrame(SIMPLE), Table(SIMPLE), SIMPLE):
        with pytest.raises(TypeError, match=r'units must be a mapping .*\{"energy": "TeV"'):
            Events.from_table(table, units=units)


def test_columns_of_the_same_name():
    units = {"energy": "TeV", "ra": "deg", "dec": "deg"}
    frame = pd.DataFrame(SIMPLE)
    with pytest.raises(EventError, match="more than one column of the name energy; name"):
        Events.from_table(pd.concat([frame, frame[["energy"]]], axis=1), units=units)
    frame[1], frame["1"] = 0, 0
    with pytest.raises(EventError, match="more than one column of the name 1; name"):
        Events.from_table(frame, units=units)


class TestChoosing:
    @pytest.fixture
    def events(self):
        return Events([1, 2, 3] * u.TeV, [0, 0, 0] * u.deg, [0, 0, 0] * u.deg, frame="galactic")

    @pytest.mark.parametrize("item", [99, 3, -4, np.int64(3), [0, 99], np.array([-4]), 1.5, {}, [0.5]])
    def test_there_is_no_such(self, events, item):
        with pytest.raises(IndexError, match="there are 3 events, chosen by numbers from 0 to 2"):
            events[item]

    def test_of_none(self, events):
        with pytest.raises(IndexError, match="there are 0 events"):
            events[:0][0]

    @pytest.mark.parametrize(
        "item",
        [
            np.ma.array([True, False, True], mask=[False, False, True]),
            np.ma.array([0, 2], mask=[True, False]),
            Masked([True, False, True], mask=[True, False, False]),
            MaskedColumn([True, False, True], mask=[True, False, False]),
        ],
    )
    def test_masked_entries(self, events, item):
        with pytest.raises(EventError, match="1 of its entries are masked"):
            events[item]

    def test_nothing_masked(self, events):
        for mask in (np.ma.array([True, False, True]), Masked([True, False, True])):
            assert events[mask].energy.value.tolist() == [1, 3]

    def test_last_and_single(self, events):
        assert events[-1].energy.value.tolist() == [3]
        assert events[np.int64(1)].energy.value.tolist() == [2]

    def test_sum(self, events):
        assert sum([events, events[:1]]).energy.value.tolist() == [1, 2, 3, 1]
        assert sum([events]).energy.value.tolist() == [1, 2, 3]
        for other in (1, 0.5, "0", None):
            with pytest.raises(TypeError, match=r"unsupported operand|can only concatenate"):
                other + events


def test_hdus_without_events(tmp_path):
    path = tmp_path / "events.fits"
    Events([1, 2] * u.TeV, ZERO, ZERO, frame="galactic").write(path)
    with pytest.raises(DataFileError, match=r"events.fits: the HDU PRIMARY is no table.*ENERGY are EVENTS: give hdu="):
        Events.read(path, hdu="PRIMARY")
    image = fits.ImageHDU(np.zeros((2, 2)), name="MAP")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "map.fits")
    with pytest.raises(DataFileError, match=r"map.fits: the HDU MAP is no table.*no HDU has a column ENERGY"):
        Events.read(tmp_path / "map.fits", hdu="MAP")


@pytest.mark.parametrize(
    "address", ["https://example.org/events.fits", "s3://bucket/events.fits", "file:///tmp/a.fits"]
)
def test_addresses_are_not_read(address):
    with pytest.raises(DataFileError, match=r"Events.read: path .*addresses are not read: download it first"):
        Events.read(address)
