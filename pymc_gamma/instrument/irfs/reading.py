"""Reading the axes and values of a gammapy IRF, and filling what its cells leave out; shared by all four tables.

An axis is given by bins (edges) or by nodes (in the files, ``THETA_LO`` equal to ``THETA_HI``). A table reaches to the
outermost edge of its bins, or to its outermost node: beyond a node nothing was simulated, and the edges that gammapy
puts around nodes, half a step further out, are not part of the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.units import UnitsError
from numpy.typing import NDArray
from scipy import ndimage

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import IRFError

__all__ = [
    "Axis",
    "Cells",
    "at_least_two",
    "extend_to_edges",
    "nearest_valid",
    "read_axis",
    "read_values",
    "refuse_point_like",
    "require",
]

LARGEST_OFFSET = 60.0
"""Degrees; fields of view are at most half the sky, of imaging telescopes ten degrees."""
LARGEST_SEPARATION = 180.0
ENERGY_AXES = ("energy", "energy_true")


def require(tables: Mapping[str, Any], key: str, what: str, name: str) -> Any:
    """The table ``key``, or an error that says which IRFs lack it."""
    if tables.get(key) is None:
        raise IRFError(f"IRFs {name} have no {what} ({key!r}); present: {sorted(tables)}.")
    return tables[key]


class Axis:
    """Bin centres and edges as plain floats.

    Parameters
    ----------
    centers, edges : numpy.ndarray
        Shapes (n,) and (n + 1,).
    nodes : bool
        Whether the file gives nodes: the edges are then gammapy's, half a step around them.
    """

    def __init__(self, centers: FloatArray, edges: FloatArray, *, nodes: bool = False) -> None:
        self.centers, self.edges, self.nodes = centers, edges, nodes

    @property
    def span(self) -> tuple[float, float]:
        """Lowest and highest value at which the table is given: outermost edges, or outermost nodes."""
        ends = self.centers if self.nodes else self.edges
        return float(ends[0]), float(ends[-1])

    @property
    def single(self) -> bool:
        """Whether there is one node only: the table does not say how it depends on this axis, or how far it goes."""
        return self.nodes and len(self.centers) == 1


def read_axis(irf: Any, axis: str, unit: str, what: str = "", name: str = "") -> Axis:
    """Centres and edges of an axis, in ``unit``, checked.

    Parameters
    ----------
    irf : gammapy.irf.IRF
        The table.
    axis : str
        gammapy's name of the axis.
    unit : str
        Unit wanted.
    what, name : str
        The table and the IRFs, for messages.

    Raises
    ------
    IRFError
        If the axis has another kind of unit, does not ascend, or has values that cannot be: not finite, energies that
        are not positive, negative angles or migrations, offsets beyond 60 deg, bins in two units.
    """
    found = irf.axes[axis]
    place = f"IRFs {name}: axis {axis} of the {what or type(irf).__name__}"
    try:
        centers = np.array(found.center.to_value(unit), float)
        edges = np.array(found.edges.to_value(unit), float)
    except (UnitsError, TypeError) as error:
        raise IRFError(f"{place} is in '{found.unit}', expected {unit or 'no unit'}.") from error
    if not (np.isfinite(edges).all() and np.isfinite(centers).all()):
        bad = np.flatnonzero(~np.isfinite(edges)).tolist()
        raise IRFError(f"{place} has values that are not finite, edges {bad} of {edges} {unit}.")
    nodes = str(found.node_type) == "center"
    if not (np.diff(edges) > 0).all() and not (nodes and len(centers) == 1):
        k = int((np.diff(edges) <= 0).argmax())
        raise IRFError(f"{place} does not ascend: edge {k} is {edges[k]:g}, edge {k + 1} is {edges[k + 1]:g} {unit}.")
    if axis in ENERGY_AXES:
        _check_energies(place, edges)
    elif axis in ("offset", "rad", "migra"):
        # gammapy's edges around nodes that start at zero are negative
        if centers[0] < 0:
            raise IRFError(f"{place} has negative values, from {centers[0]:g} {unit} on.")
        edges[0] = max(edges[0], 0.0)
        limit = {"offset": LARGEST_OFFSET, "rad": LARGEST_SEPARATION, "migra": np.inf}[axis]
        if edges[-1] > limit:
            raise IRFError(f"{place} reaches to {edges[-1]:g} {unit}, expected at most {limit:g}; check its unit.")
    elif axis in ("fov_lon", "fov_lat") and np.abs(edges).max() > LARGEST_OFFSET:
        raise IRFError(
            f"{place} reaches from {edges[0]:g} to {edges[-1]:g} {unit}, expected at most {LARGEST_OFFSET:g} from the "
            "pointing; check its unit."
        )
    return Axis(centers, edges, nodes=nodes)


def _check_energies(place: str, edges: FloatArray) -> None:
    """Energies are positive, and the last edge is in the unit of the others."""
    if not edges[0] > 0:
        raise IRFError(f"{place} has an energy that is not positive, {edges[0]:g} TeV.")
    if len(edges) > 3:
        steps = np.diff(np.log(edges))
        # gammapy takes the lower edges and the last upper one: these may be in two units
        for factor in (1e3, 1e6):
            if abs(steps[-1] - np.log(factor) - steps[-2]) < 0.2 * steps[-2]:
                raise IRFError(
                    f"{place} ends with a bin from {edges[-2]:g} to {edges[-1]:g} TeV, {factor:g} times wider than "
                    "those before: lower and upper edges seem to be in different units."
                )


def read_values(irf: Any, unit: str, what: str, name: str, *, finite: bool = True) -> FloatArray:
    """Values of a table in ``unit``; all of them finite unless the caller looks after others."""
    try:
        values = np.array(irf.quantity.to_value(unit), dtype=np.float64)
    except Exception as error:
        raise IRFError(f"IRFs {name}: the {what} is in '{irf.unit}', expected {unit or 'no unit'}.") from error
    if values.size == 0:
        raise IRFError(f"IRFs {name}: the {what} is empty, its shape is {values.shape}.")
    bad = ~np.isfinite(values)
    if finite and bad.any():
        raise IRFError(
            f"IRFs {name}: the {what} has {int(bad.sum())} values that are not finite, the first at "
            f"{Cells.of(irf).describe(bad)}."
        )
    return values


@dataclass(frozen=True)
class Cells:
    """Axes of a table, to say where a cell lies.

    Attributes
    ----------
    names, units : tuple of str
        Of the axes.
    centers : tuple of numpy.ndarray
        Bin centres.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    centers: tuple[FloatArray, ...]

    @classmethod
    def of(cls, irf: Any, axes: Sequence[str] | None = None) -> "Cells":
        """Axes of a gammapy IRF, in the units of the file."""
        chosen = [irf.axes[name] for name in (axes or irf.axes.names)]
        return cls(
            tuple(axis.name for axis in chosen),
            tuple(str(axis.unit) for axis in chosen),
            tuple(np.asarray(axis.center.value, float) for axis in chosen),
        )

    def describe(self, which: NDArray[np.bool_], values: FloatArray | None = None) -> str:
        """The first cell of a mask, by the values of its axes, and what it holds."""
        first = np.argwhere(which)[0]
        text = ", ".join(
            f"{name}={centers[k]:.4g} {unit}".rstrip()
            for name, unit, centers, k in zip(self.names, self.units, self.centers, first, strict=True)
        )
        return text if values is None else f"{text}: {values[tuple(first)]:.4g}"


def refuse_point_like(irf: Any, what: str, name: str) -> None:
    """Raise IRFError for a table whose response is that of a point-like selection."""
    if getattr(irf, "is_pointlike", False):
        raise IRFError(f"IRFs {name}: the {what} is point-like; full-enclosure IRFs are needed to fold a sky model.")


def extend_to_edges(
    centers: FloatArray, ends: Sequence[float] | FloatArray, table: FloatArray, axis: int
) -> tuple[FloatArray, FloatArray]:
    """Add nodes at the ends by linear extrapolation (gammapy's rule), unless the outermost centres are the ends."""
    table = np.moveaxis(table, axis, -1)
    nodes, low, high = centers, float(ends[0]), float(ends[-1])
    if len(centers) == 1:
        if not low < high:
            return centers, np.moveaxis(table, -1, axis)
        return np.array([low, high]), np.moveaxis(np.repeat(table, 2, axis=-1), -1, axis)
    if low < centers[0]:
        slope = (table[..., 1] - table[..., 0]) / (centers[1] - centers[0])
        table = np.concatenate([(table[..., 0] + slope * (low - centers[0]))[..., None], table], axis=-1)
        nodes = np.r_[low, nodes]
    if high > centers[-1]:
        slope = (table[..., -1] - table[..., -2]) / (centers[-1] - centers[-2])
        table = np.concatenate([table, (table[..., -1] + slope * (high - centers[-1]))[..., None]], axis=-1)
        nodes = np.r_[nodes, high]
    return nodes, np.moveaxis(table, -1, axis)


def at_least_two(axis: Axis, table: FloatArray, *, axis_number: int) -> tuple[FloatArray, FloatArray]:
    """Nodes of an axis, its edges where there is one bin only: interpolation needs two."""
    if len(axis.centers) > 1:
        return axis.centers, table
    return axis.edges[[0, -1]], np.repeat(table, 2, axis=axis_number)


def nearest_valid(valid: NDArray[np.bool_], log_energy: FloatArray, offset: FloatArray) -> tuple[Any, Any]:
    """Indices of the nearest valid cell; one e-fold of energy counts as much as one degree."""
    steps = [float(np.mean(np.diff(axis))) if len(axis) > 1 else 1.0 for axis in (log_energy, offset)]
    index = ndimage.distance_transform_edt(~valid, sampling=steps, return_distances=False, return_indices=True)
    return index[0], index[1]
