"""Responses on disk: a zarr store with everything that made them, and a hash of each part.

A store holds the inputs after compilation (IRF tables, rasters, spectra) rather than the tables derived from them,
which take less time to rebuild than to read. Reading checks the content against the stored hashes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.datasets import Citation
from pymc_gamma.errors import DataFileError, ResponseMismatchError
from pymc_gamma.files import atomic_path
from pymc_gamma.folding.component import component_from_arrays
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.irfs import IRFs
from pymc_gamma.observation import Observation
from pymc_gamma.response.folds import Fold

__all__ = ["Stored", "check_same_inputs", "fingerprint", "load", "save"]

FORMAT = "pymc-gamma response 6"

Tree = dict[str, NDArray[Any]]


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
    fold = stored.fold
    marks = {
        "region of interest": _hash(fold.roi.to_dict(), {}),
        "true-energy bins": _hash(None, {"edges": fold.energy_true_edges}),
    }
    for k, observation in enumerate(fold.observations):
        marks[f"observation {k}"] = _hash(observation.to_dict(), {})
        marks[f"IRFs of observation {k}"] = observation.irfs.fingerprint()
    for component in fold.components:
        marks[f"component {component.name!r}"] = _hash(*component.to_arrays())
    if stored.free_spectrum:
        marks["free spectra"] = _hash(list(stored.free_spectrum), {})
    return marks


def save(stored: Stored, path: str | Path, *, overwrite: bool = False) -> None:
    """See :meth:`pymc_gamma.Response.save`."""
    import zarr

    fold = stored.fold
    irfs = list({id(obs.irfs): obs.irfs for obs in fold.observations}.values())
    header: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": fingerprint(stored),
        "roi": fold.roi.to_dict(),
        "irfs": [{"name": one.name, "repairs": list(one.repairs)} for one in irfs],
        "observations": [
            {**obs.to_dict(), "irfs": next(k for k, one in enumerate(irfs) if one is obs.irfs)}
            for obs in fold.observations
        ],
        "citations": [asdict(citation) for citation in stored.citations],
        "components": [],
        "free_spectrum": list(stored.free_spectrum),
    }
    arrays: Tree = {"energy_true_edges": fold.energy_true_edges}
    for k, one in enumerate(irfs):
        arrays |= {f"irfs/{k}/{key}": table for key, table in one.arrays().items()}
    for k, component in enumerate(fold.components):
        meta, tables = component.to_arrays()
        header["components"].append({"kind": component.kind, **meta})
        arrays |= {f"components/{k}/{key}": table for key, table in tables.items()}
    with atomic_path(path, overwrite=overwrite) as temporary:
        root = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        root.attrs["pymc_gamma"] = json.dumps(header)
        for key, table in arrays.items():
            root.create_array(key, data=np.ascontiguousarray(table))


def load(path: str | Path) -> Stored:
    """See :meth:`pymc_gamma.Response.load`."""
    import zarr

    header = _header(path)
    try:
        root = zarr.open_group(str(path), mode="r")
        irfs = [
            IRFs.from_arrays(
                {key: table[:] for key, table in root[f"irfs/{k}"].arrays()}, one["name"], tuple(one["repairs"])
            )
            for k, one in enumerate(header["irfs"])
        ]
        observations = [
            Observation.from_dict({k: v for k, v in data.items() if k != "irfs"}, irfs[data["irfs"]])
            for data in header["observations"]
        ]
        components = [
            component_from_arrays(meta, _arrays(root, f"components/{k}")) for k, meta in enumerate(header["components"])
        ]
        edges = root["energy_true_edges"][:]
    except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise DataFileError(f"cannot read the response at {str(path)!r}: {error}; make it again with fold.") from error
    fold = Fold.make(components, observations, RegionOfInterest.from_dict(header["roi"]), edges)
    stored = Stored(
        fold, tuple(Citation(**data) for data in header["citations"]), tuple(header.get("free_spectrum", ()))
    )
    _compare(path, header["fingerprint"], fingerprint(stored), "is damaged")
    return stored


def check_same_inputs(path: str | Path, stored: Stored) -> None:
    """Raise ResponseMismatchError unless the response at ``path`` was made from the same inputs."""
    _compare(path, _header(path)["fingerprint"], fingerprint(stored), "was made from other inputs")


def _header(path: str | Path) -> dict[str, Any]:
    import zarr

    try:
        root = zarr.open_group(str(path), mode="r")
        header: dict[str, Any] = json.loads(root.attrs["pymc_gamma"])
    except (KeyError, OSError, ValueError, TypeError) as error:
        raise DataFileError(
            f"no response at {str(path)!r} ({type(error).__name__}); expected a store written by Response.save."
        ) from error
    if header.get("format") != FORMAT:
        raise ResponseMismatchError(
            f"the response at {str(path)!r} has the format {header.get('format')!r}, this version reads {FORMAT!r}; "
            "make it again with fold."
        )
    return header


def _compare(path: str | Path, stored: Mapping[str, str], now: Mapping[str, str], what: str) -> None:
    differing = sorted(key for key in {*stored, *now} if stored.get(key) != now.get(key))
    if differing:
        raise ResponseMismatchError(
            f"the response at {str(path)!r} {what}; differing: {', '.join(differing)}. Give another path, or delete it."
        )


def _hash(meta: Any, arrays: Tree) -> str:
    digest = hashlib.blake2b(json.dumps(meta, sort_keys=True).encode(), digest_size=16)
    for key in sorted(arrays):
        digest.update(f"{key}{arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key], dtype=np.float64).tobytes())
    return digest.hexdigest()


def _arrays(root: Any, key: str) -> Tree:
    return {name: table[:] for name, table in root[key].arrays()} if key in root else {}
