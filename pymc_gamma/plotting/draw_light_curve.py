"""Picture of a light curve."""

from typing import Any

import numpy as np

from pymc_gamma.plotting.style import PALETTE

__all__ = ["draw_light_curve"]


def draw_light_curve(curve: Any, ax: Any) -> Any:
    """See :meth:`pymc_gamma.inference.flux_table.LightCurve.plot`."""
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
    table = curve.table
    start, stop = (table[name].tt.mjd for name in ("time_min", "time_max"))
    day = np.floor(start.min())
    unit, name = (24.0, "hours") if np.ptp([*start, *stop]) < 1.5 else (1.0, "days")
    middle, half = unit * (0.5 * (start + stop) - day), unit * 0.5 * (stop - start)
    flux, low, high, limit = (
        table[column].to_value("cm-2 s-1") for column in ("flux", "flux_errn", "flux_errp", "flux_ul")
    )
    is_limit = np.asarray(table["is_ul"], bool)
    style: dict[str, Any] = {"color": PALETTE[0], "linestyle": "none", "elinewidth": 1.2}
    seen = ~is_limit
    errors = [low[seen], high[seen]]
    ax.errorbar(middle[seen], flux[seen], errors, half[seen], marker="o", markersize=4, **style)
    if is_limit.any():
        arrow = 0.35 * limit[is_limit]
        ax.errorbar(middle[is_limit], limit[is_limit], arrow, half[is_limit], uplims=True, **style)
        ax.set_title(f"arrows: {100 * table.meta['UL_CONF']:g} % upper limits", fontsize=9)
    ax.axhline(table["ref_flux"][0].to_value("cm-2 s-1"), color="0.35", linewidth=1.0, label="reference")
    span = (table[column][0].to_value("TeV") for column in ("e_min", "e_max"))
    ax.set_ylim(bottom=0)
    ax.set(
        xlabel=f"{name} since MJD {day:.0f} (TT)",
        ylabel="flux, {:g} to {:g} TeV\n[cm$^{{-2}}$ s$^{{-1}}$]".format(*span),
    )
    ax.legend(loc="lower right", framealpha=0.85, edgecolor="none", fontsize=9)
    return ax
