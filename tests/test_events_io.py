"""Event lists in and out: predictive samples, tables, gammapy, GADF files."""

from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.table import Table
from gammapy.data import EventList

from pymc_gamma.errors import DataFileError, EventError
from pymc_gamma.events import Events

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


def test_gammapy_reads_our_files(events, tmp_path):
    events.write(tmp_path / "events.fits")
    event_list = EventList.read(tmp_path / "events.fits", checksum=True)
    np.testing.assert_allclose(event_list.energy.to_value("TeV"), events.energy.value)
    assert event_list.radec.separation(events.coords.icrs).max() < 1e-9 * u.deg
    assert "pymc_gamma" in fits.getheader(tmp_path / "events.fits", "EVENTS")["CREATOR"]


def test_empty_fits_round_trip(tmp_path):
    Events([] * u.TeV, [] * u.deg, [] * u.deg).write(tmp_path / "none.fits")
    assert len(Events.read(tmp_path / "none.fits")) == 0


def test_write_never_overwrites_unasked(events, tmp_path):
    path = tmp_path / "events.fits"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"events\.fits exists"):
        events.write(path)
    assert path.read_text() == "precious"
    events.write(path, overwrite=True)
    assert len(Events.read(path)) == len(events)


def test_files_that_cannot_be_read_are_named(events, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.fits"):
        Events.read(tmp_path / "nothing.fits")
    (tmp_path / "text.fits").write_text("no FITS at all")
    with pytest.raises(DataFileError, match=r"text\.fits cannot be read"):
        Events.read(tmp_path / "text.fits")
    fits.PrimaryHDU().writeto(tmp_path / "other.fits")
    with pytest.raises(DataFileError, match=r"other\.fits has no HDU EVENTS"):
        Events.read(tmp_path / "other.fits")
    big = sum((events for _ in range(9)), events)
    big.write(tmp_path / "whole.fits")
    whole = (tmp_path / "whole.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: len(whole) - 9000])
    with pytest.raises(DataFileError, match=r"cut\.fits .*truncated"):
        Events.read(tmp_path / "cut.fits")


def test_bad_rows_in_a_file_name_the_file(tmp_path):
    table = Table({"ENERGY": [-1.0] * u.TeV, "RA": [0.0] * u.deg, "DEC": [0.0] * u.deg})
    table.meta["EXTNAME"] = "EVENTS"
    table.write(tmp_path / "bad.fits")
    with pytest.raises(EventError, match=r"bad\.fits: energy must be positive.*row 0"):
        Events.read(tmp_path / "bad.fits")


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
