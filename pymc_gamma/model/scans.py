"""Components whose parameters are scanned: their blocks, and values of these parameters."""

from collections.abc import Mapping
from typing import Any, Protocol

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.arguments import checked, kind, offering
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.labelled import as_mapping, has_labels
from pymc_gamma.model.blocks import AddedBlock, AddedTables, Block
from pymc_gamma.model.marginal import Marginal, Marginalised
from pymc_gamma.model.spectral import value_at_start
from pymc_gamma.ops.scan import inside, scan_counts, scan_density
from pymc_gamma.ops.scan_tables import ScanTables, grid_error
from pymc_gamma.tensors import described, with_unit
from pymc_gamma.units import numbers

__all__ = ["Grid", "ScanBlock", "between_nodes", "checked_scan", "scan_error"]


class Grid(Protocol):
    """Nodes of a component."""

    @property
    def grid(self) -> Mapping[str, FloatArray]:
        """Nodes of each parameter."""
        ...

    @property
    def units(self) -> Mapping[str, str | None]:
        """The unit of each parameter, or None."""
        ...

    def number(self, parameter: str, value: Any) -> float:
        """A value of a parameter in its unit, from a number or a quantity; a ModelError if it is outside the nodes."""
        ...


class ScanBlock(AddedBlock):
    """A component between the nodes of a scan.

    Parameters
    ----------
    scan : ScannedComponent
        Densities and expected counts at the nodes.
    block : Block
        The component at its middle node.
    place : int or None
        Column of event rows that says to which observation they belong.
    """

    def __init__(self, scan: Any, block: Block, place: int | None) -> None:
        super().__init__(block.name, block.acceptance, theta=pt.zeros(0))
        self._scan, self._place, self._grid = scan, place, list(scan.grid.values())
        counts = np.moveaxis(np.asarray(scan.acceptance), -1, 0)  # (n_observations, *nodes)
        counts = counts.sum(axis=0, keepdims=True) if self.n_rows == 1 else counts
        with np.errstate(divide="ignore"):
            self._log_counts = np.log(counts / self.total)

    def counts(self, theta: Variable | None, u: Variable) -> Variable:
        """Expected counts for coefficients (size,), over the acceptance at the middle node."""
        assert theta is not None
        return pt.sum(scan_counts(_scalars(theta, self._grid), self._grid, self._log_counts) * u)

    def valid(self, theta: Variable) -> Variable:
        """Whether parameters are within the nodes."""
        return inside(_scalars(theta, self._grid), self._grid)

    @property
    def known(self) -> FloatArray:
        """The middle of the nodes."""
        return np.array([axis[len(axis) // 2] for axis in self._grid])

    def tables(self, rows: FloatArray) -> AddedTables:
        """Logarithms of the densities of the events at the nodes, and the observations that they belong to."""
        logs = self._scan.log_densities(rows)
        made = ScanTables.build(self._grid, logs)
        observation = np.zeros(len(rows), np.int64)
        if self._place is not None and self.n_rows > 1:
            observation = rows[:, self._place].astype(np.int64)
        largest = np.exp(logs.reshape(len(logs), -1).max(axis=1))
        return AddedTables((made.table, *made.padded_nodes, observation), largest)

    def table_types(self) -> list[Any]:
        """Types of the variables that hold the tables."""
        return [pt.dmatrix, pt.dvector, pt.dvector, pt.lvector]

    def density(self, tables: tuple[Variable, ...], theta: Variable, v: Variable, n_events: Variable) -> Variable:
        """Densities of the events."""
        *scan, observation = tables
        return scan_density(_scalars(theta, self._grid), scan) * (v[0] if self.n_rows == 1 else v[observation])

    def frozen(self, theta: FloatArray) -> Mapping[str, Any]:
        """Values of the parameters, for draws."""
        return {"scans": {self.name: dict(zip(self._scan.grid, map(float, theta), strict=True))}}

    def expected_parts(self, theta: FloatArray, spectra: Any, response: Any) -> Any:
        """Expected counts of the parts of all components, by observation."""
        return response.expected_parts(spectra, **self.frozen(theta))


def between_nodes(scan: Any, values: Mapping[str, Variable], at_nodes: FloatArray) -> Variable:
    """A positive number that a component has at its nodes, shape (n_nodes,), at values of its parameters; a scalar."""
    summed = [parameter for parameter, one in values.items() if isinstance(one, Marginal)]
    if summed:
        raise ModelError(f"{scan.name!r} has other fluxes at each node of {summed}, which is Marginalised().")
    grid = list(scan.grid.values())
    with np.errstate(divide="ignore"):
        logs = np.log(at_nodes).reshape(1, *scan.shape)
    return scan_counts([values[parameter] for parameter in scan.grid], grid, logs)[0]


def _scalars(theta: Variable, grid: list[FloatArray]) -> list[Variable]:
    return [theta[k] for k in range(len(grid))]


def checked_scan(name: str, grids: Mapping[str, Grid], scan: Any, model: pm.Model | None) -> dict[str, dict[str, Any]]:
    """Values of the parameters of each component that is a scan.

    Components whose parameters have the same name share its value.

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    grids : mapping of str to Grid
        Nodes of these components.
    scan : mapping of str to tensor_like, optional
        Value of each parameter: a number or variable in the unit of its nodes, a quantity, or :class:`Marginalised`.
    model : pymc.Model, optional
        Knows where sampling starts; without it nothing is looked at there.

    Raises
    ------
    ModelError
        If a parameter is missing or unknown, no scalar, outside its nodes where sampling starts, or shared by nodes in
        different units.
    TypeError
        If a value is neither a number nor a variable.
    astropy.units.UnitConversionError
        If it has another unit than the nodes.
    """
    parameters = tuple(dict.fromkeys(parameter for one in grids.values() for parameter in one.grid))
    if scan and not grids:
        raise ModelError(
            f"{name}: scan= gives values of {list(scan)}, but no component is a scan; fold one as "
            "pymc_gamma.Scanned(name, factory, nodes), or leave scan out."
        )
    given = as_mapping(scan, parameters, f"{name}: scan", "scanned parameters")
    missing = [parameter for parameter in parameters if parameter not in given]
    if missing:
        owners = [component for component, one in grids.items() if set(missing) & set(one.grid)]
        example = ", ".join(f'"{parameter}": {parameter}' for parameter in parameters)
        raise ModelError(
            f"{name}: {owners} are scans, and no value is given for {missing}; pass scan={{{example}}}: variables "
            "of the model, or numbers."
        )
    found: dict[str, dict[str, Any]] = {component: {} for component in grids}
    for parameter in parameters:
        value = given[parameter]
        own = {component: one for component, one in grids.items() if parameter in one.grid}
        if isinstance(value, Marginalised):
            marginal = _marginal(name, parameter, own, value)
            if any(isinstance(one, Marginal) for values in found.values() for one in values.values()):
                raise ModelError(f"{name}: only one parameter can be Marginalised(); scan the others continuously.")
            for component in own:
                found[component][parameter] = marginal
            continue
        if not isinstance(value, Variable):
            if not isinstance(value, u.Quantity):
                _same_units(name, parameter, own)
            for component, one in own.items():
                found[component][parameter] = pt.constant(one.number(parameter, value))
            continue
        _same_units(name, parameter, own)
        unit = next(iter(own.values())).units[parameter] or ""
        with_unit(described(value, f"parameter {parameter!r} of the scan of {', '.join(own)}"), unit)
        value = pt.as_tensor_variable(value.values if hasattr(value.type, "dims") else value).astype("float64")
        if value.type.ndim:
            raise ModelError(f"{name}: scan of {parameter!r} must be a single number, got {value.type}.")
        if model is not None or isinstance(value, Constant):
            start = float(value_at_start(value, model))  # type: ignore[arg-type]
            for one in own.values():
                try:
                    one.number(parameter, start)
                except ModelError as error:
                    raise ModelError(f"{name}: where sampling starts, {error} See initval=, or its prior.") from None
        for component in own:
            found[component][parameter] = value
    return {component: {one: found[component][one] for one in grid.grid} for component, grid in grids.items()}


def _marginal(name: str, parameter: str, grids: Mapping[str, Grid], value: Marginalised) -> Marginal:
    """A parameter that is summed over, of components that have the same nodes of it."""
    _same_units(name, parameter, grids)
    first, *others = (one.grid[parameter] for one in grids.values())
    if any(not np.array_equal(first, one) for one in others):
        raise ModelError(
            f"{name}: {list(grids)} have other nodes of {parameter!r}, which is Marginalised(); give them the same."
        )
    return Marginal.build(name, parameter, first, value)


def _same_units(name: str, parameter: str, grids: Mapping[str, Grid]) -> None:
    """Raise a ModelError if nodes that share a value have different units."""
    units = {component: one.units[parameter] for component, one in grids.items()}
    if len(set(units.values())) > 1:
        raise ModelError(
            f"{name}: the nodes of {parameter!r} have the units {units}, and one value serves all; give them in one "
            "unit."
        )


@checked(response=offering("scans", "event_rows", "component_pdf", "acceptance"), events=kind("Events"))
def scan_error(response: Any, events: Any, weights: Any = None) -> dict[str, xr.DataArray]:
    """Whether the nodes of scans are close enough: change of log L of a data set if every second one is left out.

    The error of what is interpolated between all nodes goes with the fourth power of their spacing, so it is about a
    sixteenth of that. Changes that are large and of irregular signs mean that densities are not smooth in the
    parameter, as those of templates are not on coarse pixels: fold with a smaller ``pixel``.

    Parameters
    ----------
    response : Response
        A response with components that are scans.
    events : Events
        The events.
    weights : array_like or mapping, optional
        Fractions of the components, in order or by name; names left out count as 0. By default those of the nominal
        fluxes. Other scans are at their middle nodes.

    Returns
    -------
    dict
        For each scan the change of the log L of an `EventMixture` at each node, dims are its parameters; 0 where a
        node is kept.

    Raises
    ------
    ModelError
        If no component is a scan, one has fewer than three nodes, or the weights do not match the components.
    EventError
        If an event is outside the domain of its observation.

    Examples
    --------
    >>> scan_error(response, events)["rxj"].plot()  # doctest: +SKIP
    """
    if not response.scans:
        raise ModelError("no component of the response is a scan; fold one as pymc_gamma.Scanned(...).")
    names, n = tuple(response.component_names), len(response.reco)
    rows = response.event_rows(events)
    multiplicity = rows[:, n] if rows.shape[1] > n else np.ones(len(rows))
    rows = np.delete(rows, n, axis=1) if rows.shape[1] > n else rows
    share = _shares(response, weights)
    nominal = response.component_pdf(rows) * share
    found = {}
    for component, scan in response.scans.items():
        k = names.index(component)
        with np.errstate(divide="ignore"):
            rest = np.log(np.delete(nominal, k, axis=1).sum(axis=1))
            ratio = np.log(scan.acceptance.sum("observation").to_numpy() / float(response.acceptance[k]))
            logs = np.log(share[k]) + scan.log_densities(rows) - ratio
        change, _ = grid_error(list(scan.grid.values()), logs, multiplicity, rest)
        found[component] = xr.DataArray(change, scan.grid, tuple(scan.grid), name="change of log L")
    return found


def _shares(response: Any, weights: Any) -> FloatArray:
    """Fractions of the components, in their order."""
    names = tuple(response.component_names)
    if isinstance(weights, Mapping) or has_labels(weights):
        named = as_mapping(weights, names, "weights")
        weights = [named.get(name, 0.0) for name in names]
    values = numbers(response.acceptance.to_numpy() if weights is None else weights, "weights")
    if values.shape != (len(names),) or np.any(values < 0) or not values.sum() > 0:
        raise ModelError(
            f"weights must be one number for each of {names}, not negative and not all zero, got {values}."
        )
    return np.asarray(values / values.sum())
