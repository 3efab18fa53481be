r"""Expected counts in bins.

Without spatial bins the counts are integrated over the true sky, as acceptances are: exact in the instrument
response. With spatial bins the counts density is summed over points at most ``step`` apart inside each bin; where
the bins cover the region, each component and energy bin is scaled to its exact total (a few per mille for point
sources).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.engine import acceptance, density_in_bins
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.geometry import RegionOfInterest, unit_vectors
from pymc_gamma.response.folds import Fold
from pymc_gamma.units import to_value

__all__ = ["npred"]


def npred(fold: Fold, energy: Any, lon: Any, lat: Any, step: float, observation: int | str | None) -> xr.DataArray:
    """See :meth:`pymc_gamma.Response.npred`."""
    if not step > 0:
        raise ValueError(f"step must be positive, got {step:g} deg.")
    if (lon is None) != (lat is None):
        raise ValueError("give bin edges for both lon and lat, or for neither.")
    energy_edges = None if energy is None else _edges(energy, "TeV", "energy")
    used = np.array([fold.roi.energy_min, fold.roi.energy_max]) if energy_edges is None else energy_edges
    folded = fold.chosen(observation)
    coords: dict[str, Any] = {"component": list(fold.names)}
    dims = ["component"]
    if energy_edges is not None:
        dims.append("energy")
        coords["energy"] = np.sqrt(energy_edges[1:] * energy_edges[:-1])
    if lon is None:
        computed = _totals(fold, folded, used)
    else:
        lon_edges, lat_edges = _edges(lon, "deg", "lon"), _edges(lat, "deg", "lat")
        if lon_edges[-1] - lon_edges[0] > 360 * (1 + 1e-12):
            raise ValueError(
                f"lon edges span {lon_edges[-1] - lon_edges[0]:g} deg; more than 360 deg would count directions twice."
            )
        if not -90 <= lat_edges[0] < lat_edges[-1] <= 90:
            raise ValueError(f"lat edges must lie within -90 and 90 deg, got {lat_edges[0]:g} to {lat_edges[-1]:g}.")
        dims += ["lat", "lon"]
        coords["lat"] = 0.5 * (lat_edges[1:] + lat_edges[:-1])
        coords["lon"] = 0.5 * (lon_edges[1:] + lon_edges[:-1])
        computed = _cube(fold, folded, used, lon_edges, lat_edges, step)
        if _covers(lon_edges, lat_edges, fold.roi):
            # points a step apart miss part of the core of a point source; its total is known
            exact, total = _totals(fold, folded, used), computed.sum(axis=(2, 3))
            computed *= (exact / np.where(total > 0, total, 1))[..., None, None]
    values = computed[:, 0] if energy_edges is None else computed
    return xr.DataArray(values, coords, tuple(dims), name="npred", attrs={"units": "counts"})


def _totals(fold: Fold, folded: Sequence[FoldedObservation], edges: FloatArray) -> FloatArray:
    """Counts (component, energy) in the whole domain."""
    counts = np.zeros((len(fold.components), len(edges) - 1))
    for one in folded:
        counts += [acceptance(one, component, edges) for component in fold.components]
    return counts


def _covers(lon_edges: FloatArray, lat_edges: FloatArray, roi: RegionOfInterest) -> bool:
    """Whether the bins hold the whole region, however the turns of their longitudes are counted."""
    lon, lat, _ = roi.quadrature(max(roi.radius / 30, 0.05))
    east = (lon - lon_edges[0]) % 360
    return bool(np.all((east <= lon_edges[-1] - lon_edges[0]) & (lat >= lat_edges[0]) & (lat <= lat_edges[-1])))


def _cube(
    fold: Fold,
    folded: Sequence[FoldedObservation],
    energy_edges: FloatArray,
    lon_edges: FloatArray,
    lat_edges: FloatArray,
    step: float,
) -> FloatArray:
    """Counts (component, energy, lat, lon) from the density at points inside the bins."""
    lon, lon_bin = _points(lon_edges, step)
    lat, lat_bin = _points(lat_edges, step)
    grid_lon, grid_lat = (axis.ravel() for axis in np.meshgrid(lon, lat))
    area = np.outer(
        np.cos(np.radians(lat)) * np.radians(_widths(lat_edges, lat_bin)),
        np.radians(_widths(lon_edges, lon_bin)),
    ).ravel()
    cell = (lat_bin[:, None] * (len(lon_edges) - 1) + lon_bin).ravel()
    inside = fold.roi.contains(grid_lon, grid_lat)
    vectors = unit_vectors(grid_lon[inside], grid_lat[inside])
    area, cell = area[inside], cell[inside]
    n_cells = (len(lat_edges) - 1) * (len(lon_edges) - 1)
    k = len(fold.components)
    counts = np.zeros((k, len(energy_edges) - 1, n_cells))
    for one in folded:
        density = density_in_bins(one, fold.components, vectors, energy_edges) * area
        for j, b in np.ndindex(*counts.shape[:2]):
            counts[j, b] += np.bincount(cell, weights=density[j, b], minlength=n_cells)
    return counts.reshape(k, len(energy_edges) - 1, len(lat_edges) - 1, len(lon_edges) - 1)


def _points(edges: FloatArray, step: float) -> tuple[FloatArray, NDArray[np.int64]]:
    """Points inside the bins, all bins alike, and the bin of each."""
    per_bin = max(1, math.ceil(float(np.diff(edges).max()) / step - 1e-9))
    fraction = (np.arange(per_bin) + 0.5) / per_bin
    points = edges[:-1, None] + np.diff(edges)[:, None] * fraction
    return points.ravel(), np.repeat(np.arange(len(edges) - 1), per_bin)


def _widths(edges: FloatArray, which: NDArray[np.int64]) -> FloatArray:
    per_bin = len(which) // (len(edges) - 1)
    return np.diff(edges)[which] / per_bin


def _edges(edges: Any, unit: str, name: str) -> FloatArray:
    values = to_value(edges, unit, name)
    if values.ndim != 1 or len(values) < 2 or not np.all(np.diff(values) > 0):
        raise ValueError(f"{name} must be ascending bin edges in {unit}, got {values}.")
    return values
