"""Runs whose files are cut, or are not what the index of their data store says, as they come through gammapy."""

import gzip
import io
import shutil
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from dl3_field import run_of, tables, write_dl3
from gammapy.data import DataStore, HDUIndexTable
from gammapy.data import Observation as Run

import pymc_gamma as pmg
from pymc_gamma.errors import DataFileError, EventError, IRFError, PymcGammaWarning

CUT_RUN = "023526"
READERS = [pmg.Observation.list_from_gammapy, pmg.Events.from_gammapy]


@pytest.fixture
def folder(tmp_path):
    """A copy of the four bundled runs on the Crab nebula."""
    return shutil.copytree(pmg.datasets.path("hess-dl3-dr1-crab"), tmp_path / "store")


def file_of(folder):
    (path,) = folder.rglob(f"*{CUT_RUN}.fits.gz")
    return path


def start_of(content, name):
    """First byte of the header of an extension."""
    with fits.open(io.BytesIO(content)) as hdus:
        return next(hdu for hdu in hdus if hdu.name.lower() == name).fileinfo()["hdrLoc"]


def cut(path, extension, further):
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[: start_of(content, extension) + further], 1))


def rewrite(path, change):
    with fits.open(path) as hdus:
        copies = fits.HDUList([hdu.copy() for hdu in hdus])
    change(copies)
    copies.writeto(path, overwrite=True)


def quietly(read, source):
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
        return read(source)


@pytest.mark.parametrize("extension", ["events", "gti", "aeff", "edisp", "psf", "bkg"])
@pytest.mark.parametrize("further", [1500, 7000])
@pytest.mark.parametrize("read", READERS)
def test_a_cut_is_told_wherever_it_is(folder, extension, further, read):
    path = file_of(folder)
    cut(path, extension, further)
    with pytest.raises(DataFileError, match=rf"(?s)observation 23526.*{path.name}.*copy it again"):
        quietly(read, DataStore.from_dir(folder))


@pytest.mark.parametrize("read", READERS)
def test_a_short_compressed_file(folder, read):
    path = file_of(folder)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataFileError, match=rf"observation 23526: .*{path.name}.*EOFError"):
        quietly(read, DataStore.from_dir(folder))


@pytest.mark.parametrize("extension", ["aeff", "psf", "bkg"])
def test_a_table_of_the_index_that_the_file_lacks(folder, extension):
    path = file_of(folder)
    cut(path, extension, 0)  # nothing in the file tells
    with pytest.raises(DataFileError, match=rf"observation 23526: the index lists '\w+' as extension.*{path.name}"):
        quietly(pmg.Observation.list_from_gammapy, DataStore.from_dir(folder))
    assert len(quietly(pmg.Events.from_gammapy, DataStore.from_dir(folder))) > 1000, "events are all there"


def test_runs_chosen_from_a_store_are_checked_too(folder):
    path = file_of(folder)
    cut(path, "bkg", 0)
    run = DataStore.from_dir(folder).obs(23526)
    part = run.select_time([run.gti.time_start[0], run.gti.time_stop[0]])
    for source in (run, part):
        with pytest.raises(DataFileError, match=r"observation 23526: the index lists 'bkg'"):
            quietly(pmg.Observation.from_gammapy, source)
    run.bkg = DataStore.from_dir(pmg.datasets.path("hess-dl3-dr1-crab")).obs(23526).bkg
    assert quietly(pmg.Observation.from_gammapy, run).irfs.bkg is not None, "replaced by hand"


def test_a_run_without_background_is_read(folder):
    path = file_of(folder)
    cut(path, "bkg", 0)
    store = DataStore.from_dir(folder)
    index = Table(store.hdu_table)
    index = index[np.array([str(kind).strip() != "bkg" for kind in index["HDU_TYPE"]])]
    honest = DataStore(HDUIndexTable(index, meta=store.hdu_table.meta), store.obs_table)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = pmg.Observation.list_from_gammapy(honest)
    assert [one.irfs.bkg for one in found] == [None] * 4
    assert not any("no background" in str(one.message) for one in told)


@pytest.mark.parametrize("further", [0, 1500])
def test_a_run_in_memory_does_not_know_its_file(folder, further):
    path = file_of(folder)
    cut(path, "bkg", further)
    with warnings.catch_warnings(action="ignore"):
        run = Run.read(path)
    with pytest.warns(PymcGammaWarning) as told:
        assert pmg.Observation.from_gammapy(run).irfs.bkg is None
    (one,) = [one for one in told if "no background table" in str(one.message)]
    assert "1 observation(s), 23526, have no background table" in str(one.message)
    assert one.filename == __file__


def test_an_index_that_lists_the_same_of_every_file(runs, tmp_path):
    path = tmp_path / "run.fits"
    write_dl3(runs[0], path)
    store = DataStore.from_events_files([path], [path])
    assert quietly(pmg.Observation.list_from_gammapy, store)[0].irfs.bkg is not None
    rewrite(path, lambda hdus: hdus.pop([hdu.name for hdu in hdus].index("BACKGROUND")))
    with pytest.warns(PymcGammaWarning) as told:
        (found,) = pmg.Observation.list_from_gammapy(store)
    assert found.irfs.bkg is None
    assert any("1 observation(s), 11, have no background table" in str(one.message) for one in told)
    rewrite(path, lambda hdus: hdus.pop([hdu.name for hdu in hdus].index("POINT SPREAD FUNCTION")))
    with pytest.raises(DataFileError, match=r"observation 11: the index lists 'psf'"):
        quietly(pmg.Observation.list_from_gammapy, store)


def test_a_run_made_in_memory_without_background_is_nothing_to_tell():
    bare = {key: table for key, table in tables().items() if key != "bkg"}
    with pytest.warns(PymcGammaWarning) as told:
        pmg.Observation.from_gammapy(run_of(11, irfs=bare))
    assert not any("no background" in str(one.message) for one in told)


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_is_gone(folder, read):
    path = file_of(folder)
    path.unlink()
    with pytest.raises(DataFileError, match=rf"observation 23526: there is no file .*store.*{path.name}"):
        quietly(read, DataStore.from_dir(folder))


@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ("DEADC", "lacks the keyword DEADC. Add it"),
        ("GEOLON", "lacks the keyword GEOLON. Add it"),
        ("RA_PNT", "Keywords RA_PNT / DEC_PNT are required.*Correct the header"),
    ],
)
def test_keywords_that_are_missing(folder, keyword, message):
    path = file_of(folder)
    rewrite(path, lambda hdus: hdus["EVENTS"].header.remove(keyword))
    with pytest.raises(DataFileError, match=rf"observation 23526: the header of 'events' in .*{path.name}.*{message}"):
        quietly(pmg.Observation.list_from_gammapy, DataStore.from_dir(folder))


@pytest.mark.parametrize(("extension", "error"), [("EVENTS", EventError), ("GTI", DataFileError)])
def test_epochs_that_are_missing(folder, extension, error):
    path = file_of(folder)
    rewrite(path, lambda hdus: hdus[extension].header.remove("MJDREFI"))
    with pytest.raises(error, match=rf"observation 23526: .*{path.name} lacks the keyword MJDREFI"):
        quietly(pmg.Events.from_gammapy, DataStore.from_dir(folder))


def test_axes_with_gaps_are_seen(folder):
    def gap(hdus):
        hdus["AEFF"].data["ENERG_HI"][0, 3] *= 0.99

    rewrite(file_of(folder), gap)
    with pytest.raises(IRFError, match=r"observation 23526: .*axis ENERG: bins do not join, bin 3"):
        quietly(pmg.Observation.list_from_gammapy, DataStore.from_dir(folder))


def test_other_compressions_are_read(folder):
    import bz2

    path = file_of(folder)
    path.write_bytes(bz2.compress(gzip.decompress(path.read_bytes()), 1))
    assert len(quietly(pmg.Observation.list_from_gammapy, DataStore.from_dir(folder))) == 4
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataFileError, match="observation 23526"):
        quietly(pmg.Observation.list_from_gammapy, DataStore.from_dir(folder))


def without_column(name, extension):
    def change(hdus):
        hdu = hdus[extension]
        columns = [one for one in hdu.columns if one.name != name]
        place = hdus.index_of(extension)
        hdus[place] = fits.BinTableHDU.from_columns(columns, header=hdu.header, nrows=len(hdu.data))

    return change


def with_values(name, extension, value):
    def change(hdus):
        hdus[extension].data[name][...] = value

    return change


def with_unit(name, extension, unit):
    def change(hdus):
        hdus[extension].columns.change_unit(name, unit)

    return change


def with_card(key, extension, value):
    def change(hdus):
        hdus[extension].header[key] = value

    return change


BAD_RUNS = [
    *(without_column(name, "EVENTS") for name in ("ENERGY", "TIME", "DEC")),
    *(without_column(name, "GTI") for name in ("START", "STOP")),
    *(without_column(name, "AEFF") for name in ("ENERG_LO", "ENERG_HI", "THETA_HI", "EFFAREA")),
    *(without_column(name, "EDISP") for name in ("MIGRA_LO", "MATRIX")),
    *(without_column(name, "PSF") for name in ("RAD_HI", "RPSF")),
    *(without_column(name, "BKG") for name in ("DETX_LO", "BKG")),
    with_unit("ENERGY", "EVENTS", "m2"),
    with_unit("EFFAREA", "AEFF", "TeV"),
    with_unit("RPSF", "PSF", "s"),
    with_unit("BKG", "BKG", "deg"),
    with_unit("START", "GTI", "TeV"),
    with_values("START", "GTI", np.nan),
    with_values("EFFAREA", "AEFF", np.nan),
    with_values("MATRIX", "EDISP", 0),
    with_values("ENERG_LO", "AEFF", -1.0),
    with_card("FOVALIGN", "BKG", "SIDEWAYS"),
    with_card("DEADC", "EVENTS", "most"),
    with_card("RA_PNT", "EVENTS", "east"),
    with_card("MJDREFI", "GTI", "long ago"),
    with_card("MJDREFI", "EVENTS", True),
]


@pytest.mark.parametrize("change", BAD_RUNS)
def test_what_cannot_be_read_of_a_run_names_it(folder, change):
    """Whatever the kind of damage and wherever it is found: by us, by gammapy or by astropy."""
    rewrite(file_of(folder), change)
    store = DataStore.from_dir(folder)
    errors = []
    for read in READERS:
        try:
            quietly(read, store)
        except (DataFileError, IRFError, EventError) as error:
            errors.append(str(error))
    assert errors, "neither reader noticed"
    assert all("observation 23526" in told for told in errors), errors


@pytest.mark.parametrize("column", ["OBS_ID", "HDU_TYPE", "HDU_NAME", "FILE_NAME"])
def test_an_index_without_a_column(folder, column):
    rewrite(folder / "hdu-index.fits.gz", without_column(column, 1))
    with pytest.raises(DataFileError, match=rf"hdu-index of the data store .*store is not an index .*{column}"):
        pmg.Events.from_gammapy(DataStore.from_dir(folder))


def crab_region():
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    return pmg.RegionOfInterest(SkyCoord(83.63 * u.deg, 22.01 * u.deg), radius=1 * u.deg, energy=(1, 10) * u.TeV)


def test_each_file_is_checked_once(folder, monkeypatch):
    from pymc_gamma import fits_files

    followed = []
    follow = fits_files._follow
    monkeypatch.setattr(fits_files, "_follow", lambda stream: (followed.append(stream.path.name), follow(stream)))
    quietly(lambda store: pmg.Events.from_gammapy(store, roi=crab_region()), DataStore.from_dir(folder))
    assert sorted(followed) == sorted(path.name for path in (folder / "data").iterdir())


def test_events_that_no_response_covers_are_told(folder):
    whole = quietly(lambda store: pmg.Events.from_gammapy(store, roi=crab_region()), DataStore.from_dir(folder))
    cut(file_of(folder), "bkg", 0)
    with pytest.warns(PymcGammaWarning) as told:
        events = pmg.Events.from_gammapy(DataStore.from_dir(folder), roi=crab_region())
    assert any("events are kept wherever they are" in str(one.message) for one in told)
    assert len(events) >= len(whole) > 100
