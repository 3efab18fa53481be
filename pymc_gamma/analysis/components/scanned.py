"""A component with a parameter that has no closed form: folded at the nodes of a grid."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import astropy.units as u
import numpy as np
from pydantic import Field

from pymc_gamma.analysis.components.base import Component, Surroundings
from pymc_gamma.analysis.parameters import Named, Prior, parameter, parameters_in
from pymc_gamma.analysis.section import FilePath, Section, Told, checked_by, one_of

__all__ = ["Scan"]


class _Grid(Section):
    """Nodes from one value to another."""

    min: Annotated[u.Quantity, checked_by(u.Quantity), Told("quantity")] = Field(description="First node.")
    max: Annotated[u.Quantity, checked_by(u.Quantity), Told("quantity")] = Field(description="Last node.")
    n: int = Field(ge=2, description="How many.")
    log: bool = Field(default=False, description="Whether they are equidistant in the logarithm.")


def _nodes(value: Any) -> u.Quantity:
    """Nodes of a parameter: a list, or a grid."""
    if isinstance(value, u.Quantity):
        return value
    if isinstance(value, list):
        found = u.Quantity([u.Quantity(one) for one in value])
    else:
        grid = _Grid.model_validate(value)
        first, last = float(grid.min.value), float(grid.max.to_value(grid.min.unit))
        if grid.log and not first > 0:
            raise ValueError(f"nodes in the logarithm must be positive, got {grid.min}")
        found = (np.geomspace if grid.log else np.linspace)(first, last, grid.n) * grid.min.unit
    if len(found) < 2 or not np.all(np.diff(found.value) > 0):
        raise ValueError(f"nodes must be two or more and ascending, got {found}")
    return found


class Scan(Component):
    """A component at the nodes of one parameter, or of two, `Scanned`."""

    kind: ClassVar[str] = "scanned"
    summary: ClassVar[str] = "A component whose parameter has no closed form, folded at nodes of it (`Scanned`)."

    component: one_of(Component, "kind") = Field(  # type: ignore[valid-type]
        description="The component; where a value is the name of a node, it takes its values."
    )
    nodes: dict[str, Annotated[Any, checked_by(_nodes), Told("nodes")]] = Field(
        description="For each parameter, by name, its nodes: a list, or `{min, max, n, log}`."
    )
    values: dict[str, parameter()] = Field(  # type: ignore[valid-type]
        default={}, description="Value of each parameter in the model; the prior of its name by default."
    )
    checkpoints: FilePath | None = Field(default=None, description="Folder that keeps nodes that are folded.")

    def sky(self, around: Surroundings) -> Any:
        """A scan of the component."""
        import pymc_gamma as pmg

        for one in parameters_in(self.component):
            if isinstance(one, Prior) or (isinstance(one, Named) and one.name not in self.nodes):
                told = f"the prior {one.name!r}" if isinstance(one, Named) else "a prior"
                raise ValueError(f"a component that is scanned has numbers and names of nodes only, got {told}")

        def factory(**values: Any) -> Any:
            return self.component.sky(around.at(values))

        nodes = {name: one.value if not str(one.unit) else one for name, one in self.nodes.items()}
        folder = None if self.checkpoints is None else around.path(self.checkpoints)
        return pmg.Scanned(self.name, factory, nodes, checkpoint_folder=folder)

    def scan(self, around: Surroundings) -> dict[str, Any]:
        """Values of its parameters in the model."""
        found = {}
        for name, nodes in self.nodes.items():
            value = self.values.get(name, Named(name))
            found[name] = value.tensor(around.scope, f"{self.name}.{name}", str(nodes.unit))
        return found

    @property
    def scan_names(self) -> tuple[str, ...]:
        """Its parameters."""
        return tuple(self.nodes)

    def files(self, around: Surroundings) -> Iterator[Path]:
        """Files of the component."""
        first = {name: one[0] for name, one in self.nodes.items()}
        return self.component.files(around.at(first))
