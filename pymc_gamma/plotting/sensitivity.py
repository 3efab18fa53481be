"""Sensitivity in bands of energy: the smallest fluxes that are detected, and what decides."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from pymc_gamma.errors import ModelError
from pymc_gamma.plotting.style import component_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_sensitivity"]

CRITERIA = {
    "significance": ("o", "significance"),
    "gamma": ("s", "number of events"),
    "bkg": ("^", "share of background"),
}
"""Markers, and what decides."""
COLUMNS = ("e_min", "e_max", "e_ref", "e2dnde", "criterion")


def plot_sensitivity(tables: Any, ax: "Axes | None" = None) -> "Axes":
    r"""Draw the sensitivity that :func:`~pymc_gamma.sensitivity` finds, :math:`E^2\,\mathrm{d}N/\mathrm{d}E` in bands.

    Parameters
    ----------
    tables : `~astropy.table.Table` or mapping of str to Table
        One, or several by their labels.
    ax : matplotlib.axes.Axes, optional
        Where to draw; new axes if not given.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        If it is something else.
    ModelError
        If there is none, or a column is missing.

    Examples
    --------
    >>> edges = np.geomspace(0.1, 100, 13) * u.TeV  # doctest: +SKIP
    >>> found = {f"{hours} h": pmg.sensitivity(responses[hours], edges, "crab") for hours in (5, 50)}  # doctest: +SKIP
    >>> pmg.plot_sensitivity(found)  # doctest: +SKIP
    """
    import matplotlib.pyplot as plt

    several = {"": tables} if isinstance(tables, Table) else tables
    if not isinstance(several, Mapping) or not all(isinstance(one, Table) for one in several.values()):
        raise TypeError(
            f"tables must be what pmg.sensitivity returns, or several of these by their labels, got "
            f"{type(tables).__name__}."
        )
    if not several:
        raise ModelError("tables is empty; give at least one that pmg.sensitivity returns.")
    for label, table in several.items():
        missing = [name for name in COLUMNS if name not in table.colnames]
        if missing:
            raise ModelError(f"tables: {label or 'it'} has no columns {missing}; pass what pmg.sensitivity returns.")
    if ax is None:
        _, ax = plt.subplots(figsize=(6.8, 4.4), layout="constrained")
    seen: list[str] = []
    for k, (label, table) in enumerate(several.items()):
        low, high, middle = (table[name].to_value("TeV") for name in COLUMNS[:3])
        flux = table["e2dnde"].to_value("erg cm-2 s-1")
        color = component_color(k)
        ax.hlines(flux, low, high, color=color, linewidth=1.8, label=label or "_sensitivity")
        for criterion, (marker, _) in CRITERIA.items():
            here = np.asarray(table["criterion"]) == criterion
            if here.any():
                ax.plot(middle[here], flux[here], marker, color=color, markersize=5)
                seen += [criterion] if criterion not in seen else []
    for criterion in seen:
        marker, what = CRITERIA[criterion]
        ax.plot([], [], marker, color="0.4", markersize=5, label=f"by {what}")
    ax.set(xscale="log", yscale="log", xlabel="energy [TeV]")
    ax.set_ylabel(r"smallest $E^2\,\mathrm{d}N/\mathrm{d}E$ [erg cm$^{-2}$ s$^{-1}$]")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=9)
    return ax
