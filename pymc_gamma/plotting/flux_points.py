"""Flux points as plain arrays, out of gammapy or an astropy table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FluxPointArrays", "draw_points", "read_flux_points"]

_FLUX = u.Unit("TeV-1 cm-2 s-1")


@dataclass(frozen=True, eq=False)
class FluxPointArrays:
    """Differential flux at energies.

    Parameters
    ----------
    energy : numpy.ndarray
        Reference energies [TeV], shape ``(point,)``.
    flux : numpy.ndarray
        TeV-1 cm-2 s-1; the limit itself where ``is_limit``.
    error : numpy.ndarray
        Downward and upward error, shape ``(2, point)``; zero for limits.
    width : numpy.ndarray
        Distance to the lower and upper edge of the energy bin [TeV], shape ``(2, point)``; zero where unknown.
    is_limit : numpy.ndarray
        Whether a point is an upper limit.
    """

    energy: FloatArray
    flux: FloatArray
    error: FloatArray
    width: FloatArray
    is_limit: NDArray[np.bool_]


def read_flux_points(points: Any) -> FluxPointArrays:
    """Read flux points.

    Parameters
    ----------
    points : FluxPoints, `gammapy.estimators.FluxPoints` or `~astropy.table.Table`
        A table needs the columns ``e_ref`` and ``dnde`` with units; ``dnde_err``, or ``dnde_errn`` and ``dnde_errp``,
        ``dnde_ul``, ``is_ul``, ``e_min`` and ``e_max`` are used if present. A point is an upper limit if ``is_ul`` says
        so or it has no ``dnde``; points with neither are left out.

    Raises
    ------
    TypeError
        If it is something else.
    ModelError
        If a column is missing or has no unit.
    astropy.units.UnitConversionError
        If a column has the wrong unit.
    """
    table = points.to_table(sed_type="dnde") if hasattr(points, "to_table") else getattr(points, "table", points)
    if not hasattr(table, "colnames"):
        raise TypeError(f"flux points must be gammapy FluxPoints or an astropy Table, got {type(points).__name__}.")
    missing = [name for name in ("e_ref", "dnde") if name not in table.colnames]
    if missing:
        raise ModelError(f"The flux points have no column {' and '.join(missing)}; the columns are {table.colnames}.")
    energy = _column(table, "e_ref", u.TeV)
    flux = _column(table, "dnde", _FLUX)
    nothing = np.full(len(energy), np.nan)
    both = _column(table, "dnde_err", _FLUX, nothing)
    down, up = (_column(table, name, _FLUX, both) for name in ("dnde_errn", "dnde_errp"))
    limit = _column(table, "dnde_ul", _FLUX, nothing)
    is_limit = np.isfinite(limit) & ~np.isfinite(flux)
    if "is_ul" in table.colnames:
        is_limit |= np.isfinite(limit) & np.asarray(table["is_ul"], dtype=bool)
    low = energy - _column(table, "e_min", u.TeV, energy)
    high = _column(table, "e_max", u.TeV, energy) - energy
    value = np.where(is_limit, limit, flux)
    kept = np.isfinite(value) & (value > 0)
    error = np.where(is_limit, 0.0, np.nan_to_num(np.array([down, up])))
    return FluxPointArrays(
        energy[kept], value[kept], error[:, kept], np.maximum([low, high], 0.0)[:, kept], is_limit[kept]
    )


def draw_points(ax: "Axes", points: FluxPointArrays, factor: FloatArray, color: Any) -> None:
    """Draw them with error bars, times a factor, upper limits as arrows."""
    measured, limits = ~points.is_limit, points.is_limit
    value = points.flux * factor
    style: dict[str, Any] = {"color": color, "elinewidth": 1.1, "zorder": 4, "linestyle": "none"}
    ax.errorbar(
        points.energy[measured],
        value[measured],
        (points.error * factor)[:, measured],
        points.width[:, measured],
        marker="o",
        markersize=4,
        **style,
    )
    if limits.any():
        ax.errorbar(
            points.energy[limits],
            value[limits],
            0.35 * value[limits],
            points.width[:, limits],
            uplims=True,
            **style,
        )


def _column(table: Any, name: str, unit: u.UnitBase, default: FloatArray | None = None) -> FloatArray:
    if default is not None and name not in table.colnames:
        return default
    column = table[name]
    if column.unit is None:
        raise ModelError(f"The column {name!r} of the flux points has no unit; give it one convertible to {unit}.")
    if not column.unit.is_equivalent(unit):
        raise u.UnitConversionError(f"The column {name!r} of the flux points is in {column.unit}, not in {unit}.")
    values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)
    return np.asarray(values * column.unit.to(unit), dtype=np.float64)
