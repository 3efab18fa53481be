"""Responses on disk: a zarr store with everything that made them, and a hash of each part.

A store holds the inputs after compilation (IRF tables, rasters, spectra) rather than the tables derived from them,
which take less time to rebuild than to read. Reading checks the content against the stored hashes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.datasets import Citation
from pymc_gamma.errors import DataFileError, ResponseMismatchError
from pymc_gamma.files import atomic_path, restore, user_path
from pymc_gamma.folding.parts import Analytic, CompiledComponent, Template
from pymc_gamma.folding.raster import Raster
from pymc_gamma.geometry import EqualAreaPlane, RegionOfInterest
from pymc_gamma.irfs import IRFs
from pymc_gamma.observation import Observation

if TYPE_CHECKING:
    from pymc_gamma.response.core import Response

__all__ = ["check_same_inputs", "fingerprint", "keep", "load", "save"]

FORMAT = "pymc-gamma response 5"
ANALYTIC_ARRAYS = ("vectors", "variance", "minor_variance", "major_axis", "flux")
STORE_FILES = ("zarr.json", ".zgroup")
"""What a zarr store of format 3 or 2 has at its top."""

Tree = dict[str, NDArray[Any]]


def fingerprint(response: "Response") -> dict[str, str]:
    """Hash of each input of a response, by a name that a user recognises."""
    marks = {
        "region of interest": _hash(response.roi.to_dict(), {}),
        "true-energy bins": _hash(None, {"edges": response.energy_true_edges}),
    }
    for k, observation in enumerate(response.observations):
        marks[f"observation {k}"] = _hash(observation.to_dict(), {})
        marks[f"IRFs of observation {k}"] = observation.irfs.fingerprint()
    for component in response._components:
        meta, arrays = _component_to_arrays(component)
        marks[f"component {component.name!r}"] = _hash(meta, arrays)
    if response.free_spectrum:
        marks["free spectra"] = _hash(list(response.free_spectrum), {})
    return marks


def save(response: "Response", path: str | Path, *, overwrite: bool = False) -> None:
    """See :meth:`pymc_gamma.Response.save`."""
    import zarr

    _refuse_other_folder(path)
    irfs = list({id(obs.irfs): obs.irfs for obs in response.observations}.values())
    header: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": fingerprint(response),
        "roi": response.roi.to_dict(),
        "irfs": [{"name": one.name, "repairs": list(one.repairs)} for one in irfs],
        "observations": [
            {**obs.to_dict(), "irfs": next(k for k, one in enumerate(irfs) if one is obs.irfs)}
            for obs in response.observations
        ],
        "citations": [asdict(citation) for citation in response.citations()],
        "components": [],
        "free_spectrum": list(response.free_spectrum),
    }
    arrays: Tree = {"energy_true_edges": response.energy_true_edges}
    for k, one in enumerate(irfs):
        arrays |= {f"irfs/{k}/{key}": table for key, table in one.arrays().items()}
    for k, component in enumerate(response._components):
        meta, tables = _component_to_arrays(component)
        header["components"].append(meta)
        arrays |= {f"components/{k}/{key}": table for key, table in tables.items()}
    with atomic_path(path, overwrite=overwrite) as temporary:
        root = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        root.attrs["pymc_gamma"] = json.dumps(header)
        for key, table in arrays.items():
            root.create_array(key, data=np.ascontiguousarray(table))


def load(path: str | Path) -> "Response":
    """See :meth:`pymc_gamma.Response.load`."""
    import zarr

    from pymc_gamma.response.core import Response

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
            _component_from_arrays(meta, _arrays(root, f"components/{k}"))
            for k, meta in enumerate(header["components"])
        ]
        edges = root["energy_true_edges"][:]
    except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise DataFileError(f"cannot read the response at {str(path)!r}: {error}; make it again with fold.") from error
    citations = [Citation(**data) for data in header["citations"]]
    roi, free = RegionOfInterest.from_dict(header["roi"]), header.get("free_spectrum", ())
    response = Response(components, observations, roi, edges, citations, free)
    _compare(path, header["fingerprint"], fingerprint(response), "is damaged")
    return response


def keep(response: "Response", path: str | Path) -> None:
    """Save a response unless its store exists; then raise ResponseMismatchError if that is of other inputs."""
    store = user_path(path)
    restore(store)
    if not store.exists():
        try:
            response.save(store)
        except FileExistsError:
            pass  # another process has made it at the same time
        else:
            return
    check_same_inputs(store, response)


def check_same_inputs(path: str | Path, response: "Response") -> None:
    """Raise ResponseMismatchError unless the response at ``path`` was made from the same inputs."""
    _compare(path, _header(path)["fingerprint"], fingerprint(response), "was made from other inputs")


def _refuse_other_folder(path: str | Path) -> None:
    """Raise ``FileExistsError`` for a folder that is no zarr store: it is not replaced, whatever ``overwrite`` says."""
    folder = user_path(path)
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in STORE_FILES):
        raise FileExistsError(f"{path} is a folder that is no zarr store and is left as it is; choose another name.")


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


def _component_to_arrays(component: CompiledComponent) -> tuple[dict[str, Any], Tree]:
    meta: dict[str, Any] = {
        "name": component.name,
        "instrumental": component.instrumental,
        "sources": [] if component.analytic is None else list(component.analytic.names),
        "templates": [
            {
                "name": template.name,
                "lon": template.raster.plane.lon,
                "lat": template.raster.plane.lat,
                "pixel": template.raster.pixel,
            }
            for template in component.templates
        ],
    }
    arrays: Tree = {}
    if component.analytic is not None:
        arrays |= {f"sources_{key}": getattr(component.analytic, key) for key in ANALYTIC_ARRAYS}
    for k, template in enumerate(component.templates):
        arrays |= {f"template_{k}_values": template.raster.values, f"template_{k}_flux": template.flux}
    return meta, arrays


def _component_from_arrays(meta: Mapping[str, Any], arrays: Tree) -> CompiledComponent:
    analytic = None
    if meta["sources"]:
        analytic = Analytic(tuple(meta["sources"]), **{key: arrays[f"sources_{key}"] for key in ANALYTIC_ARRAYS})
    templates = tuple(
        Template(
            data["name"],
            Raster(EqualAreaPlane(data["lon"], data["lat"]), data["pixel"], arrays[f"template_{k}_values"]),
            arrays[f"template_{k}_flux"],
        )
        for k, data in enumerate(meta["templates"])
    )
    return CompiledComponent(meta["name"], analytic, templates, meta["instrumental"])


def _arrays(root: Any, key: str) -> Tree:
    return {name: table[:] for name, table in root[key].arrays()} if key in root else {}
