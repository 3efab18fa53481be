"""Nodes of a scan on disk, one file each: a fold that was interrupted goes on where it was.

What is kept of a node is its component, compiled, and what to cite for it. This depends on where and how finely the sky
is looked at, and on nothing else of the observations: it says with which it was made, and is read where these are the
same. It cannot say with which function the component was made.

A file is an archive of numpy (``.npz``) without compression and without pickles. Archives have checksums of what they
hold.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pymc_gamma.datasets import Citation
from pymc_gamma.errors import ResponseMismatchError, warn_user
from pymc_gamma.files import atomic_path
from pymc_gamma.folding.compile import Field
from pymc_gamma.folding.component import CompiledComponent, component_from_arrays
from pymc_gamma.sky.scanned import Scanned

__all__ = ["Node", "NodeFiles"]

FORMAT = "pymc-gamma node of a scan 1"
HEADER, ARRAYS = "pymc_gamma", "component/"
"""Name of the header in a file, and what the names of arrays begin with."""


class Node(NamedTuple):
    """The component at a node.

    Attributes
    ----------
    component : CompiledComponent
        It, compiled.
    citations : tuple of Citation
        What to cite for it.
    """

    component: CompiledComponent
    citations: tuple[Citation, ...]


class NodeFiles:
    """The files of a scan.

    Parameters
    ----------
    folder : pathlib.Path
        Where they are; need not exist.
    scanned : Scanned
        The scan.
    field : Field
        Where its components are compiled.
    """

    def __init__(self, folder: Path, scanned: Scanned, field: Field) -> None:
        self.folder, self._scanned = folder, scanned
        # as JSON gives it back
        self._made_with: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "version of the format": FORMAT,
                    "name": scanned.name,
                    "parameters and their units": scanned.units,
                    "region of interest": field.roi.to_dict(),
                    "true-energy bins": field.energy_edges.tolist(),
                    "pixel of templates": field.pixel,
                    "reach of the PSF": field.margin,
                }
            )
        )

    def path(self, index: int) -> Path:
        """File of a node. It is named by the values of the parameters, so that nodes may be added to a scan."""
        places = np.unravel_index(index, self._scanned.shape)
        values = [float(nodes[place]) for nodes, place in zip(self._scanned.grid.values(), places, strict=True)]
        told = ",".join(f"{name}={value!r}" for name, value in zip(self._scanned.grid, values, strict=True))
        return self.folder / f"{told}.npz"

    def check(self) -> None:
        """Raise ResponseMismatchError if the folder has a node that was made with something else, and say with what."""
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with path.open("rb") as stream, np.load(stream) as file:
                    made_with = _header(file)["made_with"]
            except Exception:  # damaged, or nothing of ours
                continue
            differing = [key for key in self._made_with if made_with.get(key) != self._made_with[key]]
            if differing:
                raise ResponseMismatchError(
                    f"{path} is a node of another scan than {self._scanned!r}, or was made with other settings; "
                    f"differing: {', '.join(differing)}. Give another checkpoint_folder, or delete {self.folder}."
                )

    def read(self, indices: Iterable[int], *, warn: bool = True) -> dict[int, Node]:
        """The nodes that the folder has of these; a damaged one gets a warning and counts as missing."""
        found: dict[int, Node] = {}
        for index in indices:
            path = self.path(index)
            try:
                with path.open("rb") as stream, np.load(stream) as file:
                    header = _header(file)
                    arrays = {key.removeprefix(ARRAYS): file[key] for key in file.files if key.startswith(ARRAYS)}
                component = component_from_arrays(header["component"], arrays)
                found[index] = Node(component, tuple(Citation(**data) for data in header["citations"]))
            except FileNotFoundError:
                continue
            except Exception as error:  # the content of files can fail in any way
                if warn:
                    warn_user(f"{path} cannot be read ({type(error).__name__}: {error}); this node is made again.")
        return found

    def write(self, index: int, node: Node) -> None:
        """Keep a node.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        meta, arrays = node.component.to_arrays()
        header = {
            "made_with": self._made_with,
            "component": {"kind": node.component.kind, **meta},
            "citations": [asdict(citation) for citation in node.citations],
        }
        tables = {f"{ARRAYS}{key}": np.ascontiguousarray(table, dtype=np.float64) for key, table in arrays.items()}
        with atomic_path(self.path(index), overwrite=True) as temporary, temporary.open("wb") as file:
            text = np.frombuffer(json.dumps(header).encode(), np.uint8)
            np.savez(file, allow_pickle=False, **{HEADER: text}, **tables)


def _header(file: Any) -> dict[str, Any]:
    return dict(json.loads(file[HEADER].tobytes()))
