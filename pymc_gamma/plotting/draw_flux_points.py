"""Picture of flux points."""

from typing import Any

import astropy.units as u
import numpy as np

from pymc_gamma.plotting.flux_points import draw_points, read_flux_points
from pymc_gamma.plotting.style import PALETTE

__all__ = ["draw_flux_points"]

_DROP, _FAINT = -8.0, 0.02
"""Logarithm of densities beyond the grid, and densities over the largest that are drawn as nothing."""


def draw_flux_points(points: Any, ax: Any) -> Any:
    """See :meth:`pymc_gamma.inference.flux_table.FluxPoints.plot`."""
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(6.8, 4.6), layout="constrained")
    read = read_flux_points(points)
    factor = u.TeV.to("erg") * read.energy**2
    energy, dnde = points.reference
    ax.plot(energy, u.TeV.to("erg") * energy**2 * dnde, color="0.35", linewidth=1.2, label="reference")
    draw_points(ax, read, factor, PALETTE[0])
    ends = np.concatenate([factor * (read.flux - read.error[0]), factor * (read.flux + read.error[1])])
    span = 0.4 * max(ends[ends > 0].min(), 1e-4 * ends.max()), 2.5 * ends.max()
    _draw_posteriors(ax, points, span)
    edges = np.append(points.table["e_min"].to_value("TeV"), points.table["e_max"][-1].to_value("TeV"))
    ax.set(xscale="log", yscale="log", xlim=(edges[0] / 1.15, edges[-1] * 1.15), ylim=span)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="energy [TeV]", ylabel=r"$E^2\,\mathrm{d}N/\mathrm{d}E$ [erg cm$^{-2}$ s$^{-1}$]")
    if read.is_limit.any():
        ax.set_title(f"arrows: {100 * points.table.meta['UL_CONF']:g} % upper limits", fontsize=9)
    ax.legend(loc="lower left", framealpha=0.85, edgecolor="none", fontsize=9)
    return ax


def _draw_posteriors(ax: Any, points: Any, span: tuple[float, float]) -> None:
    """The posterior of each flux as a colour behind its point."""
    flux = np.geomspace(*span, 400)
    for row, log_density in zip(points.table, points.posterior, strict=True):
        norm = flux / row["ref_e2dnde"].to_value("erg cm-2 s-1")
        density = np.exp(np.interp(norm, log_density.norm.values, log_density.values, left=_DROP, right=_DROP))
        edges = [row[name].to_value("TeV") for name in ("e_min", "e_max")]
        image = np.ma.masked_less(density[:-1, None], _FAINT)
        ax.pcolormesh(edges, flux, image, cmap="Blues", vmin=0, vmax=2.0, zorder=0, rasterized=True)
