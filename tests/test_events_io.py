"""Event lists in and out: predictive samples, tables, gammapy, GADF files."""

import shutil
import warnings
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked
from gammapy.data import EventList

from pymc_gamma.errors import DataFileError, EventError, PymcGammaWarning
from pymc_gamma.events import Events, gadf

RECO = ["energy", "lon", "lat"]
RESPONSE = SimpleNamespace(roi=SimpleNamespace(frame="galactic"), reco=("energy", "lon", "lat"))
ALL = ("energy", "lon", "lat", "observation", "multiplicity")


@pytest.fixture
def events(rng):
    n = 40
    return Events(
        rng.uniform(0.1, 100, n) * u.TeV,
        rng.uniform(-3, 3, n) * u.deg,
        rng.uniform(-3, 3, n) * u.deg,
        observation=rng.integers(0, 3, n),
        multiplicity=rng.integers(1, 4, n),
        frame="galactic",
    )


def sample(rng, chains=2, draws=3, n=5, name="events", names=True):
    values = rng.uniform(0.5, 2.0, (chains, draws, n, 3))
    coords = {"reco": RECO} if names else {}
    return xr.Dataset({name: (("chain", "draw", "event", "reco"), values)}, coords=coords)


@pytest.mark.parametrize("group", ["prior", "prior_predictive", "posterior_predictive", "predictions"])
def test_predictive_groups(rng, group):
    dataset = sample(rng)
    idata = xr.DataTree.from_dict({group: dataset, "observed_data": dataset.isel(chain=0, draw=0)})
    events = Events.from_predictive(idata, RESPONSE, draw=2, chain=1)
    np.testing.assert_array_equal(events.to_rows(), dataset["events"].values[1, 2])
    assert events.meta == {"variable": "events", "chain": 1, "draw": 2}


def test_predictive_dataset_and_frame(rng):
    response = SimpleNamespace(roi=SimpleNamespace(frame="icrs"), reco=tuple(RECO))
    events = Events.from_predictive(sample(rng, names=False), response)
    assert events.frame == "icrs"


def test_predictive_with_observations(rng):
    dataset = sample(rng)
    wide = xr.concat([dataset, 0 * dataset.isel(reco=[0]) + 1], dim="reco")
    wide = wide.assign_coords(reco=[*RECO, "observation"])
    assert Events.from_predictive(wide, RESPONSE).observation.tolist() == [1] * 5


def test_predictive_padding_is_dropped(rng):
    dataset = sample(rng)
    dataset["events"][0, 0, 3:] = np.nan
    assert len(Events.from_predictive(dataset, RESPONSE)) == 3
    assert len(Events.from_predictive(dataset, RESPONSE, draw=1)) == 5


def test_predictive_partial_nan_is_an_error(rng):
    dataset = sample(rng)
    dataset["events"][0, 0, 3, 1] = np.nan
    with pytest.raises(EventError, match=r"lon must be finite.*row 3"):
        Events.from_predictive(dataset, RESPONSE)


def test_predictive_ambiguities_are_refused(rng):
    idata = xr.DataTree.from_dict({"prior": sample(rng), "posterior_predictive": sample(rng)})
    with pytest.raises(EventError, match=r"choose one of.*group='posterior_predictive'.*group='prior'"):
        Events.from_predictive(idata, RESPONSE)
    assert len(Events.from_predictive(idata, RESPONSE, group="prior")) == 5
    two = xr.merge([sample(rng), sample(rng, name="other")])
    with pytest.raises(EventError, match="var_name='other'"):
        Events.from_predictive(two, RESPONSE)
    assert len(Events.from_predictive(two, RESPONSE, var_name="other")) == 5


def test_predictive_missing_things_are_named(rng):
    idata = xr.DataTree.from_dict({"prior": xr.Dataset({"fraction": ("component", [1.0])})})
    with pytest.raises(EventError, match=r"No variable with the dim 'reco'.*'prior'.*fraction"):
        Events.from_predictive(idata, RESPONSE)
    with pytest.raises(EventError, match="no group 'posterior'; the groups are prior"):
        Events.from_predictive(idata, RESPONSE, group="posterior")
    with pytest.raises(EventError, match="no group of simulated events"):
        Events.from_predictive(xr.DataTree(), RESPONSE)
    with pytest.raises(EventError, match=r"draw=3 is out of range.*3 draws"):
        Events.from_predictive(sample(rng), RESPONSE, draw=3)
    with pytest.raises(TypeError, match="DataTree or Dataset"):
        Events.from_predictive({"events": 1}, RESPONSE)
    with pytest.raises(EventError, match=r"need \(event, reco\)"):
        Events.from_predictive(sample(rng).expand_dims("sample"), RESPONSE)


def test_predictive_unnamed_columns_must_fit(rng):
    with pytest.raises(EventError, match="2 columns without names"):
        Events.from_predictive(sample(rng, names=False).isel(reco=[0, 1]), RESPONSE)


@pytest.mark.parametrize("frame", ["galactic", "icrs"])
def test_table_round_trip(events, frame):
    events = events.to_frame(frame)
    again = Events.from_table(events.to_table())
    assert again.frame == frame
    np.testing.assert_allclose(again.to_rows(ALL), events.to_rows(ALL), rtol=0, atol=1e-11)


def test_table_of_other_origin():
    table = Table({"energy": [1.0] * u.TeV, "ra": [266.4] * u.deg, "dec": [-28.94] * u.deg})
    events = Events.from_table(table)
    assert events.frame == "galactic"
    assert abs(events.lon[0].value) < 0.2
    assert Events.from_table(table, frame="icrs").lat[0].value == pytest.approx(-28.94)


def test_table_that_cannot_be_events():
    with pytest.raises(EventError, match=r"needs the columns ENERGY and RA, DEC.*has ENERGY, RA"):
        Events.from_table(Table({"ENERGY": [1.0] * u.TeV, "RA": [0.0] * u.deg}))
    with pytest.raises(EventError, match="Column ENERGY of the event table has no unit"):
        Events.from_table(Table({"ENERGY": [1.0], "RA": [0.0] * u.deg, "DEC": [0.0] * u.deg}))


def test_gammapy_round_trip(events):
    event_list = events.to_gammapy()
    assert isinstance(event_list, EventList)
    assert event_list.radec.separation(events.coords.icrs).max() < 1e-9 * u.deg
    again = Events.from_gammapy(event_list)
    np.testing.assert_allclose(again.to_rows(ALL), events.to_rows(ALL), rtol=0, atol=1e-11)


def test_gammapy_list_takes_an_observation_index(events):
    event_list = events.to_gammapy()
    del event_list.table["OBS_INDEX"]
    assert set(Events.from_gammapy(event_list, observation=4).observation) == {4}


@pytest.mark.parametrize("name", ["events.fits", "events.fits.gz"])
@pytest.mark.parametrize("frame", ["galactic", "icrs"])
def test_fits_round_trip(events, tmp_path, name, frame):
    events = events.to_frame(frame)
    events.write(tmp_path / name)
    again = Events.read(tmp_path / name)
    assert again.frame == frame
    np.testing.assert_allclose(again.to_rows(ALL), events.to_rows(ALL), rtol=0, atol=1e-11)
    assert Events.read(tmp_path / name, frame="icrs").frame == "icrs"
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing temporary stays behind


@pytest.mark.parametrize("name", ["events.fits", "events.fits.gz", "EVENTS.FITS.GZ"])
def test_every_extension_that_is_written_has_checksums(events, tmp_path, name):
    events.write(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # astropy warns of sums that do not fit
        with fits.open(tmp_path / name, checksum=True) as hdus:
            for hdu in hdus:
                assert {"CHECKSUM", "DATASUM"} <= set(hdu.header)
                assert hdu.verify_checksum() == hdu.verify_datasum() == 1


def test_gammapy_reads_our_files(events, tmp_path):
    events.write(tmp_path / "events.fits")
    event_list = EventList.read(tmp_path / "events.fits", checksum=True)
    np.testing.assert_allclose(event_list.energy.to_value("TeV"), events.energy.value)
    assert event_list.radec.separation(events.coords.icrs).max() < 1e-9 * u.deg
    assert "pymc_gamma" in fits.getheader(tmp_path / "events.fits", "EVENTS")["CREATOR"]


def test_empty_fits_round_trip(tmp_path):
    Events([] * u.TeV, [] * u.deg, [] * u.deg, frame="galactic").write(tmp_path / "none.fits")
    assert len(Events.read(tmp_path / "none.fits")) == 0


def test_no_room_for_the_file_is_noticed_before_it_is_written(events, tmp_path, monkeypatch):
    path = tmp_path / "events.fits"
    events.write(path)
    before = path.read_bytes()
    usage = shutil.disk_usage(tmp_path)._replace(free=5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(gadf, "atomic_path", lambda *_, **__: pytest.fail("it must not begin"))
    with pytest.raises(OSError, match=r"No space left.*MB are needed.*events\.fits"):
        events.write(path, overwrite=True)
    assert path.read_bytes() == before


def test_write_never_overwrites_unasked(events, tmp_path):
    path = tmp_path / "events.fits"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"events\.fits exists"):
        events.write(path)
    assert path.read_text() == "precious"
    events.write(path, overwrite=True)
    assert len(Events.read(path)) == len(events)


def test_files_that_cannot_be_read_are_named(events, tmp_path):
    with pytest.raises(DataFileError, match=r"no file .*nothing\.fits"):
        Events.read(tmp_path / "nothing.fits")
    (tmp_path / "text.fits").write_text("no FITS at all")
    with pytest.raises(DataFileError, match=r"text\.fits is no FITS file"):
        Events.read(tmp_path / "text.fits")
    fits.PrimaryHDU().writeto(tmp_path / "other.fits")
    with pytest.raises(DataFileError, match=r"other\.fits has no HDU EVENTS"):
        Events.read(tmp_path / "other.fits")
    big = sum((events for _ in range(9)), events)
    big.write(tmp_path / "whole.fits")
    whole = (tmp_path / "whole.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: len(whole) - 9000])
    with pytest.raises(DataFileError, match=r"cut\.fits: extension 'EVENTS' is cut"):
        Events.read(tmp_path / "cut.fits")


@pytest.mark.parametrize("name", ["a\0b.fits", "lone\ud800.fits", "~nobody-of-this-name/x.fits"])
def test_names_that_no_file_can_have(events, name):
    for call in (Events.read, events.write):
        with pytest.raises(DataFileError, match="cannot be the name of a file"):
            call(name)


def test_bad_rows_in_a_file_name_the_file(tmp_path):
    table = Table({"ENERGY": [-1.0] * u.TeV, "RA": [0.0] * u.deg, "DEC": [0.0] * u.deg})
    table.meta["EXTNAME"] = "EVENTS"
    table.write(tmp_path / "bad.fits")
    with pytest.raises(EventError, match=r"bad\.fits: energy must be positive.*row 0"):
        Events.read(tmp_path / "bad.fits")


# which columns count

CRAB = SkyCoord(83.63 * u.deg, 22.01 * u.deg)


def both_pairs(glon, glat, kind=QTable, **meta):
    table = kind({"ENERGY": [1, 2] * u.TeV, "RA": [83.63, 83.63] * u.deg, "DEC": [22.01, 22.01] * u.deg})
    table["GLON"], table["GLAT"] = glon * u.deg, glat * u.deg
    table.meta.update(meta)
    return table


@pytest.mark.parametrize("kind", [Table, QTable])
@pytest.mark.parametrize("frame", [None, "galactic", "icrs"])
def test_right_ascension_wins_over_placeholders(kind, frame):
    table = both_pairs(np.zeros(2), np.zeros(2), kind)
    with pytest.warns(
        PymcGammaWarning, match=r"GLON and GLAT .*disagree with RA and DEC in 2 of 2 rows.*RA and DEC are"
    ) as told:
        events = Events.from_table(table, frame=frame)
    assert told[0].filename == __file__
    assert events.frame == (frame or "galactic")
    assert events.coords.icrs.separation(CRAB).max() < 1e-9 * u.deg


@pytest.mark.parametrize("lost", [np.nan, None])
def test_galactic_columns_without_values_are_no_disagreement(lost):
    table = both_pairs(np.full(2, 7.0), np.full(2, 7.0), Table)
    for name in ("GLON", "GLAT"):
        table[name] = (
            MaskedColumn([7.0, 7.0], unit="deg", mask=True) if lost is None else Column([lost] * 2, unit="deg")
        )
    assert Events.from_table(table).coords.icrs.separation(CRAB).max() < 1e-9 * u.deg


def test_equal_directions_are_no_disagreement():
    galactic = CRAB.galactic
    single = np.float32([galactic.l.deg, galactic.l.deg]), np.float32([galactic.b.deg, galactic.b.deg])
    assert len(Events.from_table(both_pairs(*single))) == 2
    table = both_pairs(*single)
    table["GLON"][1] += 2 * u.arcsec
    with pytest.warns(PymcGammaWarning, match=r"in 1 of 2 rows, by up to 1\.9\d+ arcsec"):
        Events.from_table(table)


@pytest.mark.parametrize("frame", ["galactic", "icrs"])
def test_files_of_our_own_come_back_to_the_last_bit(events, tmp_path, frame):
    rows = np.abs(events.to_rows(ALL))  # negative longitudes lose a bit to the wrap at 360
    events = Events.from_rows(rows, ALL, frame)
    events.write(tmp_path / "events.fits")
    assert np.array_equal(Events.read(tmp_path / "events.fits").to_rows(ALL), events.to_rows(ALL))
    table = events.to_table()
    table["RA" if frame == "galactic" else "GLON"] += 1 * u.deg
    kept = "GLON and GLAT" if frame == "galactic" else "RA and DEC"
    with pytest.warns(PymcGammaWarning, match=f"{kept} are used"):
        assert np.array_equal(Events.from_table(table).to_rows(ALL), events.to_rows(ALL))


@pytest.mark.parametrize(("unit", "factor"), [("TeV", 1), ("GeV", 1e3), ("MeV", 1e6), ("erg", 1.602176634)])
@pytest.mark.parametrize("kind", [Table, QTable])
def test_units_of_energy_in_every_reader(tmp_path, kind, unit, factor):
    table = kind({"ENERGY": [2.0 * factor] * u.Unit(unit), "RA": [83.63] * u.deg, "DEC": [1320.6] * u.arcmin})
    table.meta["EXTNAME"] = "EVENTS"
    table.write(tmp_path / "events.fits")
    found = [
        Events.from_table(table),
        Events.read(tmp_path / "events.fits"),
        Events(table["ENERGY"], table["RA"], table["DEC"], frame="icrs"),
    ]
    table["TIME"] = Time([60000.0], format="mjd")
    found.append(Events.from_gammapy(EventList(Table(table))))
    for events in found:
        assert events.energy.value == pytest.approx([2.0], rel=1e-9)
        assert events.coords.icrs.separation(CRAB).max() < 1e-9 * u.deg


@pytest.mark.parametrize(("name", "unit"), [("ENERGY", "deg"), ("RA", "TeV")])
def test_wrong_units_name_the_column(tmp_path, name, unit):
    table = Table({"ENERGY": [1.0] * u.TeV, "RA": [0.0] * u.deg, "DEC": [0.0] * u.deg})
    table[name] = Column([1.0], unit=unit)
    with pytest.raises(EventError, match=f"Column {name} of the event table is in '{unit}'"):
        Events.from_table(table)
    table.write(tmp_path / "events.fits")
    with pytest.raises(EventError, match=rf"events\.fits: Column {name} of the event table is in '{unit}'"):
        Events.read(tmp_path / "events.fits", hdu="")


# masked rows


def masked_table(masks, kind=Table):
    """Four events, with masks on some columns."""
    columns = {
        "ENERGY": [1.0, 2.0, 3.0, 4.0] * u.TeV,
        "RA": [83.0, 83.1, 83.2, 83.3] * u.deg,
        "DEC": [22.0, 22.1, 22.2, 22.3] * u.deg,
        "OBS_INDEX": np.array([0, 1, 2, 3]),
        "MULTIPLICITY": np.array([1.0, 2.0, 3.0, 4.0]),
    }
    table = kind()
    for name, values in columns.items():
        mask = np.isin(np.arange(4), masks.get(name, []))
        if kind is QTable and name in masks and isinstance(values, u.Quantity):
            table[name] = Masked(values, mask=mask)
        elif name in masks:
            table[name] = MaskedColumn(getattr(values, "value", values), unit=getattr(values, "unit", None), mask=mask)
        else:
            table[name] = values
    return table


@pytest.mark.parametrize("kind", [Table, QTable])
@pytest.mark.parametrize(
    ("masks", "kept", "told"),
    [
        ({"ENERGY": [1]}, [0, 2, 3], r"1 of 4 events are masked \(ENERGY 1\)"),
        ({"ENERGY": [1], "DEC": [1, 3]}, [0, 2], r"2 of 4 events are masked \(ENERGY 1, DEC 2\)"),
        ({"RA": [0]}, [1, 2, 3], r"1 of 4 events are masked \(RA 1\)"),
        ({"OBS_INDEX": [2]}, [0, 1, 3], r"\(OBS_INDEX 1\)"),
        ({"MULTIPLICITY": [0, 2]}, [1, 3], r"2 of 4 events are masked \(MULTIPLICITY 2\)"),
        ({"ENERGY": [0, 1, 2, 3]}, [], "4 of 4 events are masked"),
    ],
)
def test_masked_rows_are_left_out_and_counted(kind, masks, kept, told):
    table = masked_table(masks, kind)
    with pytest.warns(PymcGammaWarning, match=told) as warned:
        events = Events.from_table(table, frame="icrs")
    assert warned[0].filename == __file__
    assert len(warned) == 1
    assert events.energy.value.tolist() == [1.0 + row for row in kept]
    assert events.observation.tolist() == kept
    assert events.multiplicity.tolist() == [1.0 + row for row in kept]
    assert events.lon.value == pytest.approx([83 + 0.1 * row for row in kept])


def test_a_mask_that_hides_nothing_is_silent():
    assert len(Events.from_table(masked_table({"ENERGY": [], "OBS_INDEX": []}))) == 4


@pytest.mark.parametrize("mask", [[True, False], [False, True]])
def test_masked_quantities(mask):
    energy, zero = [1, 2] * u.TeV, [0, 0] * u.deg
    for columns, name in (
        ((Masked(energy, mask=mask), zero, zero), "energy"),
        ((energy, Masked(zero, mask=mask), zero), "lon"),
        ((energy, zero, Masked(zero, mask=mask)), "lat"),
    ):
        with pytest.warns(PymcGammaWarning, match=rf"1 of 2 events are masked \({name} 1\)"):
            events = Events(*columns, frame="galactic")
        assert events.energy.value.tolist() == [2.0 if mask[0] else 1.0]
    for name in ("observation", "multiplicity"):
        with pytest.warns(PymcGammaWarning, match=rf"\({name} 1\)"):
            events = Events(energy, zero, zero, frame="galactic", **{name: np.ma.masked_array([3, 4], mask=mask)})
        assert getattr(events, name).tolist() == [4 if mask[0] else 3]


def test_masks_of_other_lengths_are_an_error():
    with pytest.raises(EventError, match="same length, got lon 2 and a mask of 3"):
        Events(Masked([1, 2, 3] * u.TeV, mask=[True, False, False]), [0, 0] * u.deg, [0, 0] * u.deg, frame="galactic")
    with pytest.raises(EventError, match="energy must be one-dimensional"):
        Events(Masked([[1, 2]] * u.TeV, mask=[[True, False]]), [0, 0] * u.deg, [0, 0] * u.deg, frame="galactic")


@pytest.mark.parametrize("kind", [np.ma.masked_array, Masked])
def test_masked_entries_of_rows(kind):
    rows = kind(np.array([[1.0, 0.1, 0.2], [2.0, 0.3, 0.4]]), mask=[[False, True, False], [False, False, False]])
    with pytest.warns(PymcGammaWarning, match=r"1 of 2 events are masked \(lon 1\)"):
        assert Events.from_rows(rows).to_rows().tolist() == [[2.0, 0.3, 0.4]]


def test_masked_coordinates():
    coords = SkyCoord(Masked([83.0, 84.0] * u.deg, mask=[True, False]), [22, 23] * u.deg)
    with pytest.warns(PymcGammaWarning, match="1 of 2 events are masked"):
        events = Events.from_skycoord([1, 2] * u.TeV, coords, frame="icrs")
    assert events.lat.value == pytest.approx([23.0])


def test_masked_rows_of_a_file(tmp_path):
    table = masked_table({"ENERGY": [1]})
    table.meta["EXTNAME"] = "EVENTS"
    table.write(tmp_path / "events.fits")  # FITS keeps a masked number as NaN
    with pytest.warns(PymcGammaWarning, match=r"1 of 4 events are masked \(ENERGY 1\)"):
        events = Events.read(tmp_path / "events.fits")
    assert events.energy.value.tolist() == [1.0, 3.0, 4.0]


def test_nan_that_is_not_masked_is_an_error():
    table = Table({"ENERGY": Column([1.0, np.nan], unit="TeV"), "RA": [0, 0] * u.deg, "DEC": [0, 0] * u.deg})
    with pytest.raises(EventError, match=r"energy must be finite.*row 1"):
        Events.from_table(table)


# names of files


@pytest.mark.parametrize("name", ["events.csv", "events.h5", "events", "events.txt.gz", "events.ecsv"])
def test_formats_that_are_not_written_are_refused(events, tmp_path, name):
    with pytest.raises(EventError, match=r"must end in \.fits, .*\.fits\.gz.*to_table"):
        events.write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["events.fit", "events.FITS", "night.1.fits.gz", "events.fts"])
def test_formats_that_are_written(events, tmp_path, name):
    events.write(tmp_path / name)
    assert len(Events.read(tmp_path / name)) == len(events)
    assert fits.getheader(tmp_path / name, "EVENTS")["PGNOTIME"] is True


@pytest.mark.parametrize("frame", ["galactic", "icrs"])
def test_cells_in_files(tmp_path, events, frame):
    cells = events.to_frame(frame).binned(5, pixel=0.5 * u.deg)
    cells.write(tmp_path / "cells.fits")
    again = Events.read(tmp_path / "cells.fits")
    assert again.frame == frame
    np.testing.assert_array_equal(again.multiplicity, cells.multiplicity)
    np.testing.assert_allclose(again.cells.edges, cells.cells.edges, rtol=0, atol=1e-10)
    np.testing.assert_allclose(again.to_rows(), cells.to_rows(), rtol=0, atol=1e-10)
    with fits.open(tmp_path / "cells.fits") as hdus:
        assert hdus["EVENTS"].columns["ENERGY_MIN"].unit == "TeV"
        assert hdus["EVENTS"].columns["LAT_MAX"].unit == "deg"
    events.write(tmp_path / "events.fits")
    assert Events.read(tmp_path / "events.fits").cells is None
    other = {"galactic": "icrs", "icrs": "galactic"}[frame]
    with pytest.raises(EventError, match="fill cells"):
        Events.read(tmp_path / "cells.fits", frame=other)


def test_cells_in_tables(events):
    cells = events.binned(5, pixel=0.5 * u.deg)
    np.testing.assert_allclose(Events.from_table(cells.to_table()).cells.edges, cells.cells.edges, atol=1e-10)
    assert set(cells.to_gammapy().table["MULTIPLICITY"]) == set(cells.multiplicity)


def test_checksums_of_a_file_do_not_travel_to_another(tmp_path):
    """Tables of astropy and gammapy write the keywords that they have, also those of other data."""
    lists = Events([1.0, 2.0, 3.0] * u.TeV, [0.1, 0.2, 0.3] * u.deg, [0.0, 0.1, 0.2] * u.deg, frame="galactic")
    lists.write(tmp_path / "first.fits")
    read = Events.read(tmp_path / "first.fits")
    assert not {"CHECKSUM", "DATASUM", "EXTNAME"} & set(read.meta)
    read[:2].to_table().write(tmp_path / "table.fits")
    assert len(Events.read(tmp_path / "table.fits", hdu=1)) == 2
    read[:1].to_gammapy().table.write(tmp_path / "gammapy.fits")
    assert len(Events.read(tmp_path / "gammapy.fits", hdu=1)) == 1
