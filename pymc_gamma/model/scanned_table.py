r"""A user's own log-likelihoods of events under components, some of them at the nodes of parameters.

For events :math:`i`, components :math:`k` and nodes :math:`g` of a parameter the user gives :math:`\ell_{ikg}`; between
nodes it is interpolated (:mod:`pymc_gamma.ops.scan_tables`), at nodes it is what was given.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import ascending
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.labelled import aligned, has_labels, match_labels
from pymc_gamma.model.event_source import TabulatedSource
from pymc_gamma.model.intensity import Parameters
from pymc_gamma.model.marginal import Marginal, vector_of
from pymc_gamma.model.own_table import coords_of_last_dim, fraction_tensor
from pymc_gamma.model.scans import checked_scan
from pymc_gamma.model.table import TableArrays, TableInputs
from pymc_gamma.ops.logmatvec import log_matvec
from pymc_gamma.ops.scan import inside, scan_density
from pymc_gamma.ops.scan_tables import ScanTables
from pymc_gamma.response.scan_nodes import number_at
from pymc_gamma.tensors import joined
from pymc_gamma.units import numbers

__all__ = ["ScannedTable", "TableGrid", "has_nodes", "scanned_table"]


_EVENT_DIM, _COMPONENT_DIM = "event", "component"


class TableGrid(NamedTuple):
    """Nodes of one component of a table.

    Attributes
    ----------
    name : str
        Name of the component.
    grid : dict
        Nodes of each of its parameters; none of a component that has no parameters.
    units : dict
        Their units, or None.
    """

    name: str
    grid: dict[str, FloatArray]
    units: dict[str, str | None]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes of each parameter."""
        return tuple(map(len, self.grid.values()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, one for each node."""
        if not self.grid:
            return (self.name,)
        axes = [[f"{parameter}={node:.6g}" for node in nodes] for parameter, nodes in self.grid.items()]
        return tuple(
            f"{self.name} {' '.join(one[k] for one, k in zip(axes, at, strict=True))}" for at in np.ndindex(self.shape)
        )

    def number(self, parameter: str, value: Any) -> float:
        """A value of a parameter in the unit of its nodes; a ModelError if it is outside these."""
        return number_at(self.grid[parameter], self.units[parameter], value, f"{parameter!r} of {self.name!r}")


class ScannedTable(TabulatedSource):
    """A user's own log-likelihoods, of which some components have nodes; a row has all columns of all components.

    Parameters
    ----------
    grids : sequence of TableGrid
        The components.
    marginal : Marginal, optional
        A parameter that is summed over.
    """

    def __init__(self, grids: Sequence[TableGrid], marginal: Marginal | None = None) -> None:
        self.marginal = marginal
        super().__init__(tuple(one.name for one in grids))
        self.columns = tuple(column for one in grids for column in one.columns)
        bounds = np.cumsum([0, *(len(one.columns) for one in grids)])
        self._plain = [k for k, one in enumerate(grids) if not one.grid]
        self._scans = {k: one for k, one in enumerate(grids) if one.grid}
        self._places = [slice(int(first), int(last)) for first, last in pairwise(bounds)]

    @property
    def n_columns(self) -> int:
        """Number of components without nodes: columns of the table."""
        return len(self._plain)

    @property
    def signature(self) -> str:
        """Fractions, and values of the parameters of each component that has nodes."""
        return ",".join(["(k)", *(f"(t{k})" for k in self._scans)])

    def arrays(self, value: FloatArray) -> TableArrays:
        """Blocked arrays of an observed value: columns of what has no nodes, and the tables of the others."""
        rows, multiplicity = self.split(value)
        self._check_rows(rows)
        largest = rows.max(axis=1)
        self._check_possible(np.where(largest > -np.inf, 1.0, 0.0), multiplicity, rows)
        scale = np.where(np.isfinite(largest), largest, 0.0)
        plain = rows[:, [self._places[k].start for k in self._plain]] - scale[:, None]
        added = []
        for k, one in self._scans.items():
            logs = rows[:, self._places[k]].reshape(len(rows), *one.shape)
            made = ScanTables.build(list(one.grid.values()), logs, scale)
            added.append((made.table, *made.padded_nodes))
        return TableArrays.build(np.exp(plain), multiplicity, scale, log_densities=plain, added=tuple(added))

    def added_types(self) -> list[list[Any]]:
        """Types of the variables that hold the tables of components with nodes."""
        return [[pt.dmatrix, pt.dvector, pt.dvector] for _ in self._scans]

    def mixture_log_density(self, inputs: TableInputs, fraction: Variable, parameters: Sequence[Variable]) -> Variable:
        """Logarithm of the density of events, times their multiplicities, for fractions that sum to one; (N,)."""
        every = self.mixture_log_densities(inputs, fraction, parameters)
        return every if self.marginal is None else self.marginal.shared_out(every)

    def mixture_log_densities(
        self, inputs: TableInputs, fraction: Variable, parameters: Sequence[Variable]
    ) -> Variable:
        """As :meth:`mixture_log_density`, at each node of what is summed over, (n_nodes, N)."""
        thetas = tuple(theta.reshape((theta.shape[-1],)) for theta in parameters)
        if self.marginal is None:
            return self._log_density(inputs, fraction, thetas)
        return self.marginal.at_nodes(thetas, lambda own: self._log_density(inputs, fraction, own))

    def _log_density(self, inputs: TableInputs, fraction: Variable, thetas: Sequence[Variable]) -> Variable:
        rest, valid = None, []
        for tables, (k, one), theta in zip(inputs.added, self._scans.items(), thetas, strict=True):
            nodes = list(one.grid.values())
            values = [theta[axis] for axis in range(len(nodes))]
            valid.append(inside(values, nodes))
            # outside the nodes a value may be no number, and so would be its density
            known = [pt.switch(valid[-1], value, axis[0]) for value, axis in zip(values, nodes, strict=True)]
            density = scan_density(known, tables) * fraction[k]
            rest = density if rest is None else rest + density
        value = log_matvec(*inputs.columns, fraction[np.array(self._plain, np.int64)], added=rest)
        return value if not valid else value + pt.switch(pt.all(pt.stack(valid)), 0.0, -np.inf)


class _Parts(NamedTuple):
    """What a user gave of one component."""

    grid: TableGrid
    values: FloatArray
    events: tuple[Any, ...] | None


def has_nodes(table: Any) -> bool:
    """Whether a table of log-likelihoods is one of components with nodes."""
    if isinstance(table, xr.DataArray):
        return table.ndim > 2
    return isinstance(table, Mapping) and not isinstance(table, xr.Dataset)


def scanned_table(
    name: str, model: pm.Model, fraction: Any, table: Any, multiplicity: Any, dims: Any, scan: Any
) -> tuple[ScannedTable, Variable, FloatArray, tuple[Any, ...] | None, Parameters]:
    """The table of a mixture of components with nodes, in the order of the model.

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    model : pymc.Model
        Has the coordinates.
    fraction : tensor_like
        Fractions of the components.
    table : DataArray or mapping
        Log-likelihoods with dims event, component and the parameters; or by component, with dims event and those
        parameters that it has.
    multiplicity : array_like, optional
        Multiplicity of the events.
    dims : tuple of str, optional
        Dims that the variable will have.
    scan : mapping of str to tensor_like
        Values of the parameters.

    Returns
    -------
    source : ScannedTable
        Where densities come from.
    fraction : TensorVariable
        Fractions in the order of the components.
    observed : numpy.ndarray
        All columns, with multiplicities as a last one if there are any.
    events : tuple, optional
        Labels of the events.
    parameters : Parameters
        Values of the parameters.

    Raises
    ------
    ModelError
        If labels or lengths do not match, nodes have no coordinates, or parameters are missing, unknown or outside.
    """
    what = f"{name}: log_likelihood"
    fraction = joined(fraction, f"{name}: the fractions", low=0.0)
    fraction_dims = model.named_vars_to_dims.get(getattr(fraction, "name", None) or "")
    component_dim = str(fraction_dims[-1]) if fraction_dims and fraction_dims[-1] else _COMPONENT_DIM
    event_dim = _EVENT_DIM if dims is None or isinstance(dims, str) else str(dims[0])
    known = coords_of_last_dim(model, fraction)
    if known is None and component_dim in model.coords:
        known = tuple(str(one) for one in model.coords[component_dim] or ()) or None
    given = _by_component(what, table, component_dim, known)
    names = tuple(given) if known is None else known
    order = match_labels(tuple(given), names, f"the components of {what}", "component")
    each, labels = list(given.values()), model.coords.get(event_dim)
    events = None if labels is None else tuple(labels)
    parts = []
    for own, place in zip(names, order, strict=True):
        one = _parts(f"{what} of {own!r}", own, each[place], event_dim, events)
        events = one.events if events is None else events
        parts.append(one)
    lengths = {one.grid.name: len(one.values) for one in parts}
    if len(set(lengths.values())) > 1:
        raise ModelError(f"{what}: all components must have the same events, got {lengths} of them.")
    grids = {one.grid.name: one.grid for one in parts if one.grid.grid}
    values = checked_scan(name, grids, scan, model)
    source = ScannedTable([one.grid for one in parts], Marginal.find([values[own] for own in grids]))
    observed = np.concatenate([one.values.reshape(len(one.values), -1) for one in parts], axis=1)
    if multiplicity is not None:
        if has_labels(multiplicity):
            multiplicity = aligned(multiplicity, {event_dim: events}, f"{name}: multiplicity")
        counts = numbers(multiplicity, f"{name}: multiplicity", finite=False)
        if counts.shape != (len(observed),):
            raise ModelError(
                f"multiplicity must have one entry per event of log_likelihood ({len(observed)}), got shape "
                f"{counts.shape}."
            )
        observed = np.column_stack([observed, counts])
    source.table(observed)  # what cannot be used is refused here, where the user is
    tensor = fraction_tensor(name, model, fraction, names)
    if tensor.type.ndim > 1:
        raise ModelError(
            f"{name}: the fractions of a log_likelihood table must be one vector with an entry for each of {names}, "
            f"got {tensor.type}; make one EventMixture for each table of a batch."
        )
    thetas = tuple(vector_of({one: values[own][one] for one in grid.grid}) for own, grid in grids.items())
    return source, tensor, observed, events, Parameters(None, None, thetas)


def _by_component(what: str, table: Any, dim: str, known: tuple[str, ...] | None) -> dict[str, Any]:
    """Tables by component."""
    if isinstance(table, Mapping):
        return {str(name): one for name, one in table.items()}
    if not isinstance(table, xr.DataArray) or dim not in table.dims:
        told = f"dims {table.dims}" if isinstance(table, xr.DataArray) else type(table).__name__
        raise ModelError(
            f"{what} with nodes must be a DataArray with the dims {_EVENT_DIM!r}, {dim!r} and those of the nodes, or a "
            f"mapping from components to tables, got {told}."
        )
    n = table.sizes[dim]
    names = tuple(str(one) for one in table.coords[dim].values) if dim in table.coords else known
    if names is None or len(names) != n:
        raise ModelError(f"{what} has {n} entries along {dim!r} without names, and the model has {known}; label them.")
    return {name: table.isel({dim: k}, drop=True) for k, name in enumerate(names)}


def _parts(what: str, name: str, table: Any, event_dim: str, events: tuple[Any, ...] | None) -> _Parts:
    """Values, nodes and labels of one component."""
    if isinstance(table, Variable):
        raise ModelError(f"{what} must be numbers: tables with nodes are data that stay; got {table.type}.")
    if not isinstance(table, xr.DataArray):
        values = numbers(aligned(table, {event_dim: events}, what), what, finite=False)
        if values.ndim != 1:
            raise ModelError(
                f"{what} must have one number for each event, or be a DataArray whose dims name the parameters, with "
                f"nodes as coordinates; got shape {values.shape}."
            )
        return _Parts(TableGrid(name, {}, {}), values, None)
    if event_dim not in table.dims or not 1 <= table.ndim <= 3:
        raise ModelError(f"{what} must have the dim {event_dim!r} and one or two parameters, got dims {table.dims}.")
    parameters = [str(dim) for dim in table.dims if dim != event_dim]
    without = [parameter for parameter in parameters if parameter not in table.coords]
    if without:
        raise ModelError(f"{what}: the dims {without} have no coordinates; give them the nodes of the parameters.")
    grid = {one: ascending(table.coords[one].values, f"{what}: nodes of {one!r}") for one in parameters}
    units = {one: table.coords[one].attrs.get("units") for one in parameters}
    moved = table.transpose(event_dim, *parameters)
    if event_dim in moved.indexes:
        own = tuple(moved.indexes[event_dim])
        places = match_labels(own, own if events is None else events, f"the labels of {what}", event_dim)
        moved, events = moved.isel({event_dim: places}), own if events is None else events
    return _Parts(TableGrid(name, grid, units), numbers(moved.values, what, finite=False), events)
