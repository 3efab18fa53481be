"""Reading the axes and values of a gammapy IRF, and filling what its cells leave out; shared by all four tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pymc_gamma.errors import IRFError

__all__ = [
    "Axis",
    "at_least_two",
    "extend_to_edges",
    "nearest_valid",
    "read_axis",
    "read_values",
    "refuse_point_like",
    "require",
]

FloatArray = NDArray[np.float64]


def require(tables: Mapping[str, Any], key: str, what: str, name: str) -> Any:
    """The table ``key``, or an error that says which IRFs lack it."""
    if tables.get(key) is None:
        raise IRFError(f"IRFs {name} have no {what} ({key!r}); present: {sorted(tables)}.")
    return tables[key]


class Axis:
    """Bin centres and edges as plain floats."""

    def __init__(self, centers: FloatArray, edges: FloatArray) -> None:
        self.centers, self.edges = centers, edges


def read_axis(irf: Any, axis: str, unit: str) -> Axis:
    """Centres and edges of an axis, in ``unit``."""
    found = irf.axes[axis]
    centers = np.asarray(found.center.to_value(unit), float)
    edges = np.asarray(found.edges.to_value(unit), float)
    return Axis(centers, edges)


def read_values(irf: Any, unit: str, what: str, name: str) -> FloatArray:
    """Values of a table in ``unit``, all of them finite."""
    try:
        values = np.array(irf.quantity.to_value(unit), dtype=np.float64)
    except Exception as error:
        raise IRFError(f"IRFs {name}: the {what} is in '{irf.unit}', expected {unit or 'no unit'}.") from error
    bad = ~np.isfinite(values)
    if bad.any():
        raise IRFError(f"IRFs {name}: the {what} has {int(bad.sum())} values that are not finite.")
    return values


def refuse_point_like(irf: Any, what: str, name: str) -> None:
    """Raise IRFError for a table whose response is that of a point-like selection."""
    if getattr(irf, "is_pointlike", False):
        raise IRFError(f"IRFs {name}: the {what} is point-like; full-enclosure IRFs are needed to fold a sky model.")


def extend_to_edges(
    centers: FloatArray, edges: FloatArray, table: FloatArray, axis: int
) -> tuple[FloatArray, FloatArray]:
    """Add nodes at the outer edges by linear extrapolation (gammapy's rule), unless centres are the edges."""
    table = np.moveaxis(table, axis, -1)
    nodes = centers
    if len(centers) == 1:
        return edges[[0, -1]], np.moveaxis(np.repeat(table, 2, axis=-1), -1, axis)
    if len(centers) > 1 and edges[0] < centers[0]:
        slope = (table[..., 1] - table[..., 0]) / (centers[1] - centers[0])
        table = np.concatenate([(table[..., 0] + slope * (edges[0] - centers[0]))[..., None], table], axis=-1)
        nodes = np.r_[edges[0], nodes]
    if len(centers) > 1 and edges[-1] > centers[-1]:
        slope = (table[..., -1] - table[..., -2]) / (centers[-1] - centers[-2])
        table = np.concatenate([table, (table[..., -1] + slope * (edges[-1] - centers[-1]))[..., None]], axis=-1)
        nodes = np.r_[nodes, edges[-1]]
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
