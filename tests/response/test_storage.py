import json
import os

import astropy.units as u
import numpy as np
import pytest

import pymc_gamma as pmg
from pymc_gamma.errors import DataFileError, ModelError, ResponseMismatchError
from pymc_gamma.response import storage
from pymc_gamma.workspace import Workspace


@pytest.fixture
def store(two_pointings, tmp_path):
    path = tmp_path / "response.zarr"
    two_pointings.save(path)
    return path


def test_a_loaded_response_is_the_same(two_pointings, store):
    again = pmg.Response.load(store)
    assert again.fingerprint() == two_pointings.fingerprint()
    assert again.component_names == two_pointings.component_names
    assert np.allclose(again.acceptance_by_observation, two_pointings.acceptance_by_observation, rtol=1e-12)
    events = two_pointings.simulate([1, 1, 1], 100, rng=1)
    assert np.allclose(again.density(events), two_pointings.density(events), rtol=1e-12)
    assert np.array_equal(
        again.simulate([1, 1, 1], 50, rng=2).to_rows(), two_pointings.simulate([1, 1, 1], 50, rng=2).to_rows()
    )
    assert again.citations() == two_pointings.citations()


def test_nothing_is_overwritten_unasked(two_pointings, store):
    with pytest.raises(FileExistsError, match=r"response\.zarr"):
        two_pointings.save(store)
    two_pointings.save(store, overwrite=True)
    assert pmg.Response.load(store).fingerprint() == two_pointings.fingerprint()


def test_a_folder_that_is_no_store_is_not_replaced(two_pointings, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="thesis is a folder that is no zarr store"):
        two_pointings.save(folder, overwrite=True)
    assert (folder / "thesis.tex").read_text() == "precious"


def test_loading_completes_a_replacement_that_was_killed_between_two_renames(two_pointings, store):
    cut = Workspace.make(store, None)
    os.close(cut.lock.descriptor)  # killed
    cut.new.parent.rename(cut.whole.parent)
    cut.old.mkdir()
    store.rename(cut.whole)
    assert pmg.Response.load(store).fingerprint() == two_pointings.fingerprint()
    assert list(store.parent.iterdir()) == [store]


def test_two_processes_that_fold_the_same_at_the_same_time_both_succeed(
    components, observation, roi, tmp_path, monkeypatch
):
    path = tmp_path / "kept.zarr"
    first = pmg.fold(components[1], observation, roi)
    save, refused = storage.save, []

    def late(stored, path, **options):
        save(stored, path)  # the other process is faster
        try:
            save(stored, path, **options)
        except FileExistsError as error:
            refused.append(error)
            raise

    monkeypatch.setattr(storage, "save", late)
    first.keep(path)
    assert len(refused) == 1
    assert pmg.Response.load(path).fingerprint() == first.fingerprint()


def test_a_tilde_is_the_home_folder(two_pointings, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    two_pointings.save("~/response.zarr")
    assert (tmp_path / "response.zarr").is_dir()
    assert pmg.Response.load("~/response.zarr").fingerprint() == two_pointings.fingerprint()


def test_a_store_of_the_same_inputs_is_checked_and_left_as_it_is(components, observation, roi, tmp_path, monkeypatch):
    path = tmp_path / "kept.zarr"
    first = pmg.fold(components[1], observation, roi, path=path)
    assert pmg.Response.load(path).fingerprint() == first.fingerprint()
    written = {one: one.stat().st_mtime_ns for one in path.rglob("*")}

    def unwanted(*_, **__):
        raise AssertionError("written again")

    monkeypatch.setattr(storage, "save", unwanted)
    again = pmg.fold(components[1], observation, roi, path=path)
    np.testing.assert_array_equal(again.acceptance, first.acceptance)
    assert {one: one.stat().st_mtime_ns for one in path.rglob("*")} == written


def test_other_inputs_are_refused_by_name(components, observation, roi, tmp_path):
    path = tmp_path / "kept.zarr"
    pmg.fold(components[1], observation, roi, path=path)
    longer = pmg.Observation(observation.irfs, observation.pointing, livetime=60 * u.h)
    with pytest.raises(ResponseMismatchError, match="differing: observation 0"):
        pmg.fold(components[1], longer, roi, path=path)
    with pytest.raises(ResponseMismatchError, match="component 'ccr', component 'hgps'"):
        pmg.fold(components[2], observation, roi, path=path)


def test_a_damaged_store_is_refused(store):
    import zarr

    root = zarr.open_group(str(store), mode="r+")
    root["components/1/sources_flux"][0] = 1.0
    with pytest.raises(DataFileError, match="is damaged: no match with the hash of components/1/sources_flux"):
        pmg.Response.load(store)


def test_an_incomplete_store_is_refused(store):
    import shutil

    shutil.rmtree(store / "components" / "1")
    with pytest.raises(DataFileError, match=r"response\.zarr.*missing.*components/1"):
        pmg.Response.load(store)


def test_other_formats_and_missing_files(store, tmp_path):
    import zarr

    root = zarr.open_group(str(store), mode="r+")
    header = json.loads(root.attrs["pymc_gamma"])
    root.attrs["pymc_gamma"] = json.dumps({**header, "format": "pymc-gamma response 0"})
    with pytest.raises(ResponseMismatchError, match="format 'pymc-gamma response 0'"):
        pmg.Response.load(store)
    with pytest.raises(DataFileError, match="no response at"):
        pmg.Response.load(tmp_path / "nothing.zarr")


@pytest.mark.parametrize("name", ["a\0b", "lone\ud800", "~nobody-of-this-name/x"])
def test_names_that_no_file_can_have(two_pointings, components, observation, roi, name):
    for call in (
        pmg.Response.load,
        two_pointings.save,
        lambda path: pmg.fold(components[2], observation, roi, path=path),
    ):
        with pytest.raises(DataFileError, match="cannot be the name of a file"):
            call(name)


def test_a_description_that_would_not_be_read_is_not_written(two_pointings, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LARGEST_METADATA", 1000)
    with pytest.raises(ModelError, match=r"a store can hold 0\.0005 MB; simplify the regions"):
        two_pointings.save(tmp_path / "large.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(two_pointings, tmp_path, monkeypatch):
    import zarr

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(zarr.Group, "create_array", fail)
    with pytest.raises(OSError, match="disk full"):
        two_pointings.save(tmp_path / "half.zarr")
    assert list(tmp_path.iterdir()) == []
