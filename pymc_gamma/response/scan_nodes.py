"""A component at the nodes of a scan, compiled: what a response keeps of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import astropy.units as u
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pymc_gamma.arrays import FloatArray
from pymc_gamma.datasets import Citation
from pymc_gamma.errors import ModelError, SkyModelError
from pymc_gamma.files import locked_folder
from pymc_gamma.folding.compile import Field, compile_component
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.response.scan_files import Node, NodeFiles
from pymc_gamma.sky import Scanned, SkyComponent
from pymc_gamma.threads import run_as_made
from pymc_gamma.units import numbers, scalar_value

__all__ = ["ScanNodes", "compile_nodes"]


@dataclass(frozen=True, eq=False)
class ScanNodes:
    """A component at the nodes of one parameter, or of two.

    Attributes
    ----------
    name : str
        Name of the component.
    grid : dict
        Nodes of each parameter.
    units : dict
        Their unit, or None.
    components : tuple of CompiledComponent
        The component at each node; of two parameters the second runs fastest.
    scanned : Scanned, optional
        What makes it at other values; unknown to a response that was loaded.
    field : Field, optional
        Where it is compiled.
    factor : float
        Factor on its flux.
    citations : tuple of Citation
        What to cite for the nodes.
    """

    name: str
    grid: Mapping[str, FloatArray]
    units: Mapping[str, str | None]
    components: tuple[CompiledComponent, ...]
    scanned: Scanned | None = None
    field: Field | None = None
    factor: float = 1.0
    citations: tuple[Citation, ...] = ()

    def __post_init__(self) -> None:
        if len(self.components) != int(np.prod(self.shape)) or len(self.shape) not in (1, 2):
            raise ModelError(f"the scan {self.name!r} has {len(self.components)} components for {self.shape} nodes.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes of each parameter."""
        return tuple(len(nodes) for nodes in self.grid.values())

    @property
    def nominal(self) -> CompiledComponent:
        """The component at the middle node, which a response has where nothing else is asked for."""
        return self.components[middle(self.shape)]

    def scaled(self, factor: float) -> "ScanNodes":
        """With all fluxes times a factor."""
        scaled = tuple(component.scaled(factor) for component in self.components)
        return replace(self, components=scaled, factor=self.factor * factor)

    def number(self, parameter: str, value: Any) -> float:
        """A value of a parameter in the unit of its nodes, from a number or a quantity.

        Raises
        ------
        ModelError
            If it is outside the nodes.
        TypeError
            If it is no single number.
        astropy.units.UnitConversionError
            If it has another unit.
        """
        return number_at(self.grid[parameter], self.units[parameter], value, f"{parameter!r} of {self.name!r}")

    def at(self, values: Mapping[str, Any]) -> CompiledComponent:
        """The component at values of all its parameters: folded for these, or at the nearest node after loading.

        Raises
        ------
        ModelError
            If a parameter is missing, unknown, or outside its nodes.
        """
        if set(values) != set(self.grid):
            raise ModelError(
                f"the component {self.name!r} is a scan of {list(self.grid)}; give a value for each, got "
                f"{list(values)}."
            )
        found = {parameter: self.number(parameter, values[parameter]) for parameter in self.grid}
        if self.scanned is None or self.field is None:
            place = [int(np.argmin(np.abs(self.grid[name] - value))) for name, value in found.items()]
            return self.components[int(np.ravel_multi_index(place, self.shape))]
        return compile_component(self.scanned.at(**found), self.field).scaled(self.factor)


def middle(shape: tuple[int, ...]) -> int:
    """Index of the middle node."""
    return int(np.ravel_multi_index([n // 2 for n in shape], shape))


def number_at(nodes: FloatArray, unit: str | None, value: Any, what: str) -> float:
    """A value in the unit of nodes and within these; see :meth:`ScanNodes.number`."""
    if isinstance(value, u.Quantity):
        if unit is None and value.unit != u.dimensionless_unscaled:
            raise u.UnitConversionError(f"{what} has nodes without a unit, got {value}.")
        plain = scalar_value(value, unit or "", what)
    else:
        single = numbers(value, what)
        if single.ndim:
            raise TypeError(f"{what} must be a single number, got an array of shape {single.shape}.")
        plain = float(single)
    if not nodes[0] <= plain <= nodes[-1]:
        of = "" if unit is None else f" {unit}"
        raise ModelError(
            f"{what} is {plain:g}{of}, outside its nodes, {nodes[0]:g} to {nodes[-1]:g}{of}; choose another value, or "
            "nodes that reach further."
        )
    return plain


def compile_nodes(scanned: Scanned, field: Field, *, progressbar: bool) -> ScanNodes:
    """Compile the components of all nodes, or read them where the scan keeps them.

    Templates are drawn with pixels as wide as the narrowest PSF at most: coarser ones make densities that change with
    how edges lie on the pixels, by more than what is interpolated.

    Raises
    ------
    SkyModelError
        If a component cannot be made or compiled, or is dark; says at which node.
    ResponseMismatchError
        If the folder of the scan holds nodes of another one, or made with other settings.
    FolderInUseError
        If another run makes nodes in it.
    OSError
        If a node cannot be kept there.
    """
    field = field._replace(pixel=min(field.pixel, field.sharpest))
    if scanned.checkpoint_folder is None:
        nodes = _make_nodes(scanned, field, {}, None, progressbar=progressbar)
    else:
        nodes = _kept_nodes(scanned, field, NodeFiles(scanned.checkpoint_folder, scanned, field), progressbar)
    made = [nodes[index] for index in range(len(scanned))]
    citations = tuple(dict.fromkeys(citation for one in made for citation in one.citations))
    components = tuple(one.component for one in made)
    return ScanNodes(scanned.name, scanned.grid, scanned.units, components, scanned, field, citations=citations)


def _kept_nodes(scanned: Scanned, field: Field, files: NodeFiles, progressbar: bool) -> dict[int, Node]:
    """Nodes from files; those that are missing are made and kept, by one run at a time."""
    files.check()
    kept = files.read(range(len(scanned)), warn=False)
    if len(kept) == len(scanned):  # of a folder that may be read-only
        return kept
    with locked_folder(files.folder):
        files.check()  # another run may just have ended
        kept |= files.read(index for index in range(len(scanned)) if index not in kept)
        return _make_nodes(scanned, field, kept, files, progressbar=progressbar)


def _make_nodes(
    scanned: Scanned, field: Field, kept: Mapping[int, Node], files: NodeFiles | None, *, progressbar: bool
) -> dict[int, Node]:
    """All nodes. Each is compiled in a thread and kept as soon as it is made, while the next are being made.

    Factories are called here, one after the other: they need not be safe in threads.
    """
    missing = [index for index in range(len(scanned)) if index not in kept]

    def compiled(made: tuple[int, SkyComponent]) -> Node:
        index, component = made
        try:
            node = Node(compile_component(component, field), component.citations)
        except SkyModelError as error:
            raise SkyModelError(f"{scanned!r}, {scanned.label(index)}: {error}") from error
        if files is not None:
            files.write(index, node)
        advance()
        return node

    with _bar(f"compiling {scanned.name}", len(kept), len(scanned), shown=progressbar) as advance:
        found = run_as_made(compiled, ((index, scanned.component(index, field.roi)) for index in missing))
    return {**kept, **dict(zip(missing, found, strict=True))}


@contextmanager
def _bar(label: str, done: int, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar that shows how many are done; yields what moves it by one."""
    if not shown:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task(label, total=total, completed=done)
        yield lambda: progress.advance(bar)
