"""Responses on disk: a zarr store with everything that made them, and a hash of each part.

A store holds the inputs after compilation (IRF tables, rasters, spectra) rather than the tables derived from them,
which take less time to rebuild than to read. It is a zarr group of format 3 with two attributes: a header in JSON, and
the hash of the header. The header holds all that is no array, and the hash of each array.

Stores come from other people. Zarr does whatever a store asks for, and codecs of a store can run code (those that
unpickle) or ask for any amount of memory. So the files are read here, and of all that zarr can write only what
:func:`save` writes is known: float64 in one chunk, without compression, whose file has the size that its shape gives.
A file may be small on disk and of any size to a reader (a sparse one); such files are refused too. Nothing is built
before all hashes are right.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.datasets import Citation
from pymc_gamma.errors import DataFileError, ModelError, ResponseMismatchError
from pymc_gamma.files import atomic_path, restore, user_path
from pymc_gamma.folding.component import component_from_arrays
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.response.folds import Fold
from pymc_gamma.response.scan_nodes import ScanNodes

__all__ = ["Stored", "check_same_inputs", "fingerprint", "keep", "load", "save"]

FORMAT = "pymc-gamma response 9"
HEADER, HEADER_HASH = "pymc_gamma", "pymc_gamma_hash"
"""Attributes of the store."""
BYTE_ORDER = {"little": "<f8", "big": ">f8"}
LARGEST_METADATA = 64 * 2**20
"""Bytes of a file of metadata; larger ones are not read, nor written."""
HOLLOW, HOLLOWS = 100, 256 * 2**20
"""Ratio of the size of a file and of what it takes on disk, and bytes of such files, that are not believed."""
STORE_FILES = ("zarr.json", ".zgroup")
"""What a zarr store of format 3 or 2 has at its top."""

type Header = dict[str, Any]
type Tree = dict[str, NDArray[np.float64]]


class Stored(NamedTuple):
    """What a store holds.

    Attributes
    ----------
    fold : Fold
        Components and observations.
    citations : tuple of Citation
        What to cite.
    free_spectrum : tuple of str
        Names of the components of free spectrum.
    """

    fold: Fold
    citations: tuple[Citation, ...]
    free_spectrum: tuple[str, ...]


def fingerprint(stored: Stored) -> dict[str, str]:
    """Hash of each input of a response, by a name that a user recognises."""
    return _marks(*_content(stored))


def save(stored: Stored, path: str | Path, *, overwrite: bool = False) -> None:
    """See :meth:`pymc_gamma.Response.save`."""
    import zarr

    _refuse_other_folder(path)
    header, arrays = _content(stored)
    header |= {
        "fingerprint": _marks(header, arrays),
        "hashes": {key: _hash(None, {key: table}) for key, table in arrays.items()},
    }
    text = json.dumps(header)
    if len(text) > LARGEST_METADATA // 2:  # its quotes are escaped
        raise ModelError(
            f"the description of this response takes {len(text) / 1e6:.3g} MB, a store can hold "
            f"{LARGEST_METADATA / 2e6:.3g} MB; simplify the regions, or fold fewer observations at once."
        )
    with atomic_path(path, overwrite=overwrite) as temporary:
        root = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        root.attrs.update({HEADER: text, HEADER_HASH: _hash_text(text)})
        for key, table in arrays.items():
            array = root.create_array(
                key,
                shape=table.shape,
                dtype="float64",
                chunks=table.shape,
                compressors=None,
                config={"write_empty_chunks": True},  # also what holds nothing but zeros
            )
            array[...] = table


def load(path: str | Path) -> Stored:
    """See :meth:`pymc_gamma.Response.load`."""
    with _reading(path):
        store = user_path(path)
        restore(store)
        header = _header(store)
        arrays = _arrays(store, header["hashes"])
        _compare(path, header["fingerprint"], _marks(header, arrays), "is damaged", DataFileError)
        return _build(header, arrays)


def keep(stored: Stored, path: str | Path) -> None:
    """Save a response unless its store exists; then raise ResponseMismatchError if that is of other inputs."""
    store = user_path(path)
    restore(store)
    if not store.exists():
        try:
            save(stored, store)
        except FileExistsError:
            pass  # another process has made it at the same time
        else:
            return
    check_same_inputs(store, stored)


def check_same_inputs(path: str | Path, stored: Stored) -> None:
    """Raise ResponseMismatchError unless the response at ``path`` was made from the same inputs."""
    with _reading(path):
        before = _header(path)["fingerprint"]
        _compare(path, before, fingerprint(stored), "was made from other inputs", ResponseMismatchError)


def _refuse_other_folder(path: str | Path) -> None:
    """Raise ``FileExistsError`` for a folder that is no zarr store: it is not replaced, whatever ``overwrite`` says."""
    folder = user_path(path)
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in STORE_FILES):
        raise FileExistsError(f"{path} is a folder that is no zarr store and is left as it is; choose another name.")


def _content(stored: Stored) -> tuple[Header, Tree]:
    """All that a store holds but hashes: what is no array, and the arrays by their names in the store."""
    fold = stored.fold
    irfs = list({id(obs.irfs): obs.irfs for obs in fold.observations}.values())
    header: Header = {
        "format": FORMAT,
        "roi": fold.roi.to_dict(),
        "irfs": [{"name": one.name, "repairs": list(one.repairs)} for one in irfs],
        "observations": [
            {**obs.to_dict(), "irfs": next(k for k, one in enumerate(irfs) if one is obs.irfs)}
            for obs in fold.observations
        ],
        "citations": [asdict(citation) for citation in stored.citations],
        "components": [],
        "free_spectrum": list(stored.free_spectrum),
        "free_shape": [component.name for component in fold.components if component.is_free],
        "scans": [],
    }
    arrays: Tree = {"energy_true_edges": fold.energy_true_edges}
    for k, one in enumerate(irfs):
        arrays |= {f"irfs/{k}/{key}": table for key, table in one.arrays().items()}
    for k, component in enumerate(fold.components):
        meta, tables = component.to_arrays()
        header["components"].append({"kind": component.kind, **meta})
        arrays |= {f"components/{k}/{key}": table for key, table in tables.items()}
    for k, scan in enumerate(fold.scans):
        nodes = []
        for j, component in enumerate(scan.components):
            meta, tables = component.to_arrays()
            nodes.append({"kind": component.kind, **meta})
            arrays |= {f"scans/{k}/{j}/{key}": table for key, table in tables.items()}
        arrays |= {f"scans/{k}/nodes/{parameter}": values for parameter, values in scan.grid.items()}
        header["scans"].append({"name": scan.name, "units": dict(scan.units), "nodes": nodes})
    return header, {key: np.ascontiguousarray(table, dtype=np.float64) for key, table in arrays.items()}


def _build(header: Header, arrays: Tree) -> Stored:
    """Inverse of `_content`."""
    irfs = [
        IRFs.from_arrays(_within(arrays, f"irfs/{k}/"), one["name"], tuple(one["repairs"]))
        for k, one in enumerate(header["irfs"])
    ]
    observations = [
        Observation.from_dict({key: value for key, value in data.items() if key != "irfs"}, irfs[data["irfs"]])
        for data in header["observations"]
    ]
    components = [
        component_from_arrays(meta, _within(arrays, f"components/{k}/")) for k, meta in enumerate(header["components"])
    ]
    components = [one.freed() if one.name in header["free_shape"] else one for one in components]
    citations = tuple(Citation(**data) for data in header["citations"])
    roi = RegionOfInterest.from_dict(header["roi"])
    scans = [
        ScanNodes(
            one["name"],
            {parameter: arrays[f"scans/{k}/nodes/{parameter}"] for parameter in one["units"]},
            one["units"],
            tuple(
                component_from_arrays(meta, _within(arrays, f"scans/{k}/{j}/")) for j, meta in enumerate(one["nodes"])
            ),
        )
        for k, one in enumerate(header["scans"])
    ]
    fold = Fold.make(components, observations, roi, arrays["energy_true_edges"], scans)
    return Stored(fold, citations, tuple(header["free_spectrum"]))


def _marks(header: Header, arrays: Tree) -> dict[str, str]:
    """Hash of each input, from what a store holds."""
    marks = {
        "region of interest": _hash(header["roi"], {}),
        "true-energy bins": _hash(None, {"edges": arrays["energy_true_edges"]}),
    }
    for k, observation in enumerate(header["observations"]):
        marks[f"observation {k}"] = _hash({key: value for key, value in observation.items() if key != "irfs"}, {})
        marks[f"IRFs of observation {k}"] = _hash(None, _within(arrays, f"irfs/{observation['irfs']}/"))
    for k, component in enumerate(header["components"]):
        marks[f"component {component['name']!r}"] = _hash(component, _within(arrays, f"components/{k}/"))
    for k, scan in enumerate(header["scans"]):
        marks[f"scan of {scan['name']!r}"] = _hash(scan, _within(arrays, f"scans/{k}/"))
    if header["free_spectrum"]:
        marks["free spectra"] = _hash(header["free_spectrum"], {})
    if header["free_shape"]:
        marks["free shapes"] = _hash(header["free_shape"], {})
    return marks


def _within(arrays: Tree, group: str) -> Tree:
    """The arrays of a group, by their names in it."""
    return {key.removeprefix(group): table for key, table in arrays.items() if key.startswith(group)}


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Say of every failure which response it was."""
    try:
        yield
    except (DataFileError, ResponseMismatchError):
        raise
    except Exception as error:  # the content of files can fail in any way
        message = (
            f"cannot read the response at {str(path)!r} ({type(error).__name__}: {error}); make it again with fold."
        )
        raise DataFileError(message) from error


def _header(path: str | Path) -> Header:
    try:
        attributes = _metadata(Path(path), "group")["attributes"]
        text = attributes[HEADER]
        header = json.loads(text)
        stored = header["format"]
    except (KeyError, OSError, ValueError, TypeError, RecursionError) as error:
        raise DataFileError(
            f"no response at {str(path)!r} ({type(error).__name__}: {error}); expected what Response.save writes."
        ) from error
    if stored != FORMAT:
        raise ResponseMismatchError(
            f"the response at {str(path)!r} has the format {stored!r}, this version reads {FORMAT!r}; "
            "make it again with fold."
        )
    if attributes.get(HEADER_HASH) != _hash_text(text):
        raise DataFileError(f"the response at {str(path)!r} is damaged: its header does not match its hash.")
    return dict(header)


def _arrays(root: Path, hashes: Mapping[str, str]) -> Tree:
    """All arrays of a store, checked."""
    nodes = {Path(folder).relative_to(root) for folder, _, files in os.walk(root) if "zarr.json" in files}
    known = {Path(key) for key in hashes}
    groups = {parent for key in known for parent in key.parents}
    if nodes != known | groups:
        odd = sorted(str(node) for node in nodes ^ (known | groups))
        raise DataFileError(f"the response at {str(root)!r} is damaged: missing or not part of it: {', '.join(odd)}.")
    _refuse_hollow(root)
    for group in groups:
        _metadata(root / group, "group")
    arrays = {}
    for key, stored in hashes.items():
        arrays[key] = _array(root / key)
        if _hash(None, {key: arrays[key]}) != stored:  # before the next takes memory
            raise DataFileError(f"the response at {str(root)!r} is damaged: no match with the hash of {key}.")
    return arrays


def _refuse_hollow(root: Path) -> None:
    """Raise a DataFileError for files that take next to nothing on disk, and would take much memory."""
    found = [Path(folder, name).lstat() for folder, _, files in os.walk(root) for name in files]
    size = sum(one.st_size for one in found if one.st_size > HOLLOW * 512 * getattr(one, "st_blocks", one.st_size))
    if size > HOLLOWS:
        raise DataFileError(
            f"the response at {str(root)!r} has files of {size / 1e6:.3g} MB that are all but empty on disk; it is "
            "taken for a damaged one. Copy it again, or make it again with fold."
        )


def _array(folder: Path) -> NDArray[np.float64]:
    """One array, if it is of the kind that `save` writes."""
    metadata = _metadata(folder, "array")
    shape = metadata["shape"]
    (codec,) = metadata["codecs"]
    endian = codec["configuration"]["endian"]
    found = {key: metadata.get(key) for key in ("data_type", "chunk_grid", "chunk_key_encoding")}
    expected = {
        "data_type": "float64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    }
    if codec["name"] != "bytes" or metadata.get("storage_transformers") or found != expected:
        raise ValueError(f"{folder.name} is not an array that Response.save writes")
    path = folder.joinpath("c", *("0" for _ in shape))
    size = 8 * math.prod(shape)
    if _size(path) != size:
        raise ValueError(f"{path} has {_size(path)} bytes instead of {size}")
    table = np.empty(shape, BYTE_ORDER[endian])
    with path.open("rb") as file:
        if file.readinto(table) != size:
            raise ValueError(f"{path} ends before its end")
    return table.astype(np.float64, copy=False)


def _metadata(folder: Path, kind: str) -> dict[str, Any]:
    """What zarr says about a group or an array of format 3."""
    path = folder / "zarr.json"
    if _size(path) > LARGEST_METADATA:
        raise ValueError(f"{path} has {_size(path)} bytes, more than a description has")
    metadata: dict[str, Any] = json.loads(path.read_bytes())
    if metadata["zarr_format"] != 3 or metadata["node_type"] != kind:
        raise ValueError(f"{folder.name} is not a zarr {kind} of format 3")
    return metadata


def _size(path: Path) -> int:
    """Bytes of a regular file; of a link or a device one would not know."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a file")
    return status.st_size


def _compare(
    path: str | Path, stored: Mapping[str, str], now: Mapping[str, str], what: str, error: type[ValueError]
) -> None:
    differing = sorted(key for key in {*stored, *now} if stored.get(key) != now.get(key))
    if differing:
        raise error(
            f"the response at {str(path)!r} {what}; differing: {', '.join(differing)}. Give another path, or delete it."
        )


def _hash_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _hash(meta: Any, arrays: Tree) -> str:
    digest = hashlib.blake2b(json.dumps(meta, sort_keys=True).encode(), digest_size=16)
    for key in sorted(arrays):
        digest.update(f"{key}{arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key], dtype="<f8"))
    return digest.hexdigest()
