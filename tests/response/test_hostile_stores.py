"""Stores that were damaged or made to do harm: one kind of error, nothing run, nothing silently different."""

import hashlib
import json
import os
import pickle
import shutil
import tracemalloc

import astropy.units as u
import numpy as np
import pytest
from galactic_centre import CENTRE, observe

import pymc_gamma as pmg
from pymc_gamma.datasets import Citation
from pymc_gamma.errors import DataFileError, ResponseMismatchError
from pymc_gamma.response import storage
from pymc_gamma.response.folds import Fold
from pymc_gamma.response.response import Response

ARRAY = "components/0/sources_flux"


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    roi = pmg.RegionOfInterest(CENTRE, width=3 * u.deg, energy=(0.5, 50) * u.TeV)
    response = pmg.fold([pmg.HGPSCatalog(), pmg.CosmicRayBackground()], observe(), roi)
    path = tmp_path_factory.mktemp("stores") / "original"
    response.save(path)
    return path


@pytest.fixture
def store(original, tmp_path):
    return shutil.copytree(original, tmp_path / "response.zarr")


@pytest.fixture
def unbuilt(monkeypatch):
    """What would be built is returned instead: nothing may be built of a damaged store."""
    monkeypatch.setattr(storage, "_build", lambda header, arrays: (header, arrays))


def edit_json(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def edit_header(store, edit, *, hashed=False):
    def change(content):
        attributes = content["attributes"]
        header = json.loads(attributes["pymc_gamma"])
        edit(header)
        attributes["pymc_gamma"] = json.dumps(header)
        if hashed:
            digest = hashlib.blake2b(attributes["pymc_gamma"].encode(), digest_size=16)
            attributes["pymc_gamma_hash"] = digest.hexdigest()

    edit_json(store / "zarr.json", change)


def refused(store, match=None):
    with pytest.raises(DataFileError, match=match) as caught:
        pmg.Response.load(store)
    assert store.name in str(caught.value)


def test_pickles_of_format_2_are_not_opened(store, tmp_path, unbuilt):
    marker = tmp_path / "ran"
    content = pickle.dumps(Payload(marker))
    array = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "fill_value": None,
        "order": "C",
        "compressor": None,
        "filters": [{"id": "pickle", "protocol": 5}],
    }
    # one array of a store, and a whole store
    folder = store / ARRAY
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / ".zarray").write_text(json.dumps(array))
    (folder / "0").write_bytes(content)
    refused(store, "missing or not part of it: components/0/sources_flux")
    attributes = json.loads((store / "zarr.json").read_text())["attributes"]
    for path in store.rglob("zarr.json"):
        path.unlink()
    for group in ("", "irfs", "irfs/0", "components", "components/0"):
        (store / group / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
    (store / ".zattrs").write_text(json.dumps(attributes))
    refused(store, "no response at")
    assert not marker.exists()
    pickle.loads(content)  # this is what would have happened
    assert marker.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        {"codecs": [{"name": "vlen-utf8"}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "numcodecs.pickle"}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {}}]},
        {"codecs": [{"name": "bytes"}]},
        {"codecs": []},
        {"data_type": "string"},
        {"data_type": "object"},
        {"data_type": "int64"},
        {"data_type": {"name": "fixed_length_utf32", "configuration": {"length_bytes": 8}}},
        {"zarr_format": 2},
        {"node_type": "group"},
        {"storage_transformers": [{"name": "run", "configuration": {}}]},
        {"shape": [10**9, 10**9], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**9] * 2}}},
        {"shape": [10**18]},
        {"shape": [-1, -1]},
        {"shape": "many"},
        {"shape": None},
        {"shape": [0, 0], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 0]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1]}}},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
    ],
    ids=str,
)
def test_arrays_of_another_kind_are_not_read(store, unbuilt, change):
    edit_json(store / ARRAY / "zarr.json", lambda content: content.update(change))
    refused(store)


@pytest.mark.parametrize(
    "edit",
    [
        lambda header: header["irfs"][0].update(repairs=[]),
        lambda header: header["irfs"][0].update(name="another"),
        lambda header: header["citations"].pop(),
        lambda header: header["citations"][0].update(text="Someone else"),
        lambda header: header["observations"][0].update(livetime_s=1.0),
        lambda header: header["observations"][0].update(name="another"),
        lambda header: header["observations"][0].update(lon=0.5),
        lambda header: header["components"][0].update(name="another"),
        lambda header: header["components"][0]["sources"].reverse(),
        lambda header: header["roi"].update(energy=[500, 50000]),
        lambda header: header.update(free_spectrum=["hgps"]),
        lambda header: header["hashes"].pop(ARRAY),
        lambda header: header["fingerprint"].clear(),
    ],
)
def test_an_edited_header_is_noticed(store, unbuilt, edit):
    edit_header(store, edit)
    refused(store, "header does not match its hash")


@pytest.mark.parametrize(
    "edit",
    [
        lambda header: header["observations"][0].update(irfs=7),
        lambda header: header["observations"][0].update(irfs="x"),
        lambda header: header["observations"][0].update(livetime_s=1.0),
        lambda header: header["observations"][0].pop("frame"),
        lambda header: header["roi"].update(frame="nowhere"),
        lambda header: header["roi"]["outline"].update(kind="Anything"),
        lambda header: header["irfs"][0].pop("name"),
        lambda header: header["citations"][0].pop("text"),
        lambda header: header["citations"][0].update(__class__="x"),
        lambda header: header["components"][0].update(sources=["one"]),
        lambda header: header["components"][0].update(name="another"),
        lambda header: header["components"].append(None),
        lambda header: header.pop("components"),
        lambda header: header.pop("hashes"),
        lambda header: header.update(hashes=["a"]),
        lambda header: header.update(fingerprint=None),
        lambda header: header["hashes"].update({"../../outside": "0"}),
        lambda header: header["hashes"].update({"/etc": "0"}),
        lambda header: header.update(free_spectrum=3),
    ],
)
def test_a_header_that_makes_no_response(store, edit):
    edit_header(store, edit, hashed=True)
    refused(store)


def test_files_that_are_missing_added_or_not_files(store, tmp_path, unbuilt):
    original = shutil.copytree(store, tmp_path / "copy")

    def again():
        shutil.rmtree(store)
        return shutil.copytree(original, store)

    shutil.rmtree(store / ARRAY)
    refused(store, ARRAY)
    (again() / ARRAY / "c" / "0" / "0").unlink()
    refused(store)
    (again() / "components" / "0" / "zarr.json").unlink()
    refused(store, "components/0")
    shutil.copytree(again() / ARRAY, store / "components" / "0" / "more")
    refused(store, "not part of it: components/0/more")
    chunk = again() / ARRAY / "c" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to(original / ARRAY / "c" / "0" / "0")
    refused(store, "is not a file")
    chunk.unlink()
    os.mkfifo(chunk)
    refused(store, "is not a file")
    shutil.rmtree(again() / ARRAY)
    (store / ARRAY).symlink_to(original / ARRAY)
    refused(store, ARRAY)
    (again() / "zarr.json").unlink()
    (store / "zarr.json").symlink_to("/dev/zero")
    refused(store, "no response at")
    shutil.rmtree(store)
    refused(store, "no response at")
    store.mkdir()
    refused(store, "no response at")
    store.rmdir()
    store.write_text("{}")
    refused(store, "no response at")


def test_chunks_of_another_size(store, unbuilt):
    """One number too few or too many: of the right size is what its shape says."""
    chunk = store / ARRAY / "c" / "0" / "0"
    content = chunk.read_bytes()
    for changed in (content[:-8], content + bytes(8), b""):
        chunk.write_bytes(changed)
        refused(store, f"has {len(changed)} bytes instead of {len(content)}")
    chunk.write_bytes(content)
    storage.load(store)


def peak(store):
    """Memory that an attempt to load takes, in bytes; it has to fail."""
    tracemalloc.start()
    refused(store)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def make_hollow(store, key, n):
    """Have an array say that it is large, in a file of holes."""

    def enlarge(content):
        content["shape"] = content["chunk_grid"]["configuration"]["chunk_shape"] = [n]

    edit_json(store / key / "zarr.json", enlarge)
    shutil.rmtree(store / key / "c")
    (store / key / "c").mkdir()
    with (store / key / "c" / "0").open("wb") as file:
        file.truncate(8 * n)


def test_files_of_holes_take_no_memory(store, unbuilt):
    make_hollow(store, ARRAY, 2**27)  # 1 GiB
    if (store / ARRAY / "c" / "0").stat().st_blocks > 1000:
        pytest.skip("no sparse files here")
    refused(store, "files of 1.07e\\+03 MB that are all but empty on disk")
    assert peak(store) < 30e6


def test_several_files_of_holes_count_together(store, unbuilt):
    for key in (ARRAY, "energy_true_edges", "irfs/0/aeff_values"):
        make_hollow(store, key, 2**24)  # 128 MiB
    if (store / ARRAY / "c" / "0").stat().st_blocks > 1000:
        pytest.skip("no sparse files here")
    refused(store, "files of 403 MB that are all but empty on disk")


def test_the_first_array_that_does_not_fit_ends_it_without_a_copy(store, unbuilt):
    """Arrays of moderate size are read; of those that are not what was hashed, one."""
    for key in (ARRAY, "energy_true_edges"):
        make_hollow(store, key, 2**23)  # 64 MiB
    refused(store, "no match with the hash")
    assert 2**26 < peak(store) < 1.2 * 2**26 + 30e6


@pytest.mark.parametrize("node", [".", ARRAY])
def test_descriptions_of_any_size_are_not_read(store, unbuilt, node, monkeypatch):
    monkeypatch.setattr(storage, "HOLLOWS", np.inf)  # they need not be files of holes
    with (store / node / "zarr.json").open("r+b") as file:
        file.truncate(2**37)
    refused(store, "bytes, more than a description has")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '{"attributes": 3}', "[" * 10**5, '{"attributes": {"pymc_gamma": "[1]"}}', "\xff"],
    ids=lambda text: text[:20],
)
def test_headers_that_are_none(store, text):
    (store / "zarr.json").write_text(text, encoding="latin-1")
    refused(store, "no response at")


def content_of(loaded):
    header, arrays = loaded
    return json.dumps(header), {key: (table.shape, table.tobytes()) for key, table in arrays.items()}


def test_300_mutations(store, rng, unbuilt):
    expected = content_of(storage.load(store))
    files = sorted(path for path in store.rglob("*") if path.is_file())
    # as many in the small files that say what there is as in the large ones
    described = [path for path in files if path.name == "zarr.json"]
    refusals = []
    for k in range(300):
        path = rng.choice(np.array(described if k % 2 else files, dtype=object))
        before = path.read_bytes()
        after = bytearray(before)
        at = int(rng.integers(len(after)))
        match rng.integers(5):
            case 0:
                after[at] ^= 1 << int(rng.integers(8))
            case 1:
                after[at : at + int(rng.integers(1, 64))] = rng.bytes(int(rng.integers(0, 64)))
            case 2:
                del after[at:]
            case 3:
                after += rng.bytes(int(rng.integers(1, 64)))
            case 4:
                after[at : at + 1] = str(rng.integers(-9, 10**12)).encode()
        path.write_bytes(after)
        try:
            assert content_of(storage.load(store)) == expected
        except (DataFileError, ResponseMismatchError) as error:
            refusals.append(str(error))
        path.write_bytes(before)
    assert len(refusals) > 200
    assert all(store.name in message for message in refusals)
    assert content_of(storage.load(store)) == expected


def test_repairs_names_and_citations_survive(original, tmp_path):
    first = pmg.Response.load(original)
    (observation,) = first.observations
    citation = Citation("A. Author (2018), Ünicode 1, 2", terms="CC BY")
    irfs = pmg.IRFs.from_arrays(observation.irfs.arrays(), "my IRFs ☃", ("one repair", "another"))
    renamed = pmg.Observation(irfs, observation.pointing, livetime=10 * u.h, name="run α")
    response = Response(Fold.make(first.components, [renamed], first.roi, first.energy_true_edges), [citation])
    response.save(tmp_path / "r")
    again = pmg.Response.load(tmp_path / "r")
    assert again.observations[0].irfs.name == "my IRFs ☃"
    assert again.observations[0].irfs.repairs == ("one repair", "another")
    assert again.observations[0].name == "run α"
    assert tuple(again.citations()) == (citation,)
    assert again.fingerprint() == response.fingerprint()


def test_zarr_reads_what_is_written_also_zeros(original, tmp_path, monkeypatch):
    import zarr

    response = pmg.Response.load(original)
    header, arrays = storage._content(response._stored)
    monkeypatch.setattr(storage, "_content", lambda response: (header, {**arrays, "more": np.zeros((2, 3))}))
    response.save(tmp_path / "r")
    root = zarr.open_group(str(tmp_path / "r"), mode="r")
    for key, table in arrays.items():
        assert np.array_equal(root[key][...], table)
    monkeypatch.setattr(storage, "_build", lambda header, arrays: arrays)
    assert np.array_equal(storage.load(tmp_path / "r")["more"], np.zeros((2, 3)))
