"""Picture of a set of instrument response functions."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pymc_gamma.instrument.irfs.core import IRFs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["peek_irfs"]

SHOWN_OFFSETS = (0.5, 1.5, 2.5, 3.5, 4.5)


def peek_irfs(irfs: IRFs, *, fig: "Figure | None" = None) -> "Figure":
    """See :meth:`pymc_gamma.instrument.irfs.IRFs.peek`."""
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(12, 8), layout="constrained") if fig is None else fig
    axes = fig.subplots(2, 2)
    fig.suptitle(irfs.name)
    offsets = [offset for offset in SHOWN_OFFSETS if offset <= irfs.offset_max]
    _area(irfs, offsets, axes[0, 0])
    _dispersion(irfs, axes[0, 1])
    _psf(irfs, offsets, axes[1, 0])
    _background(irfs, axes[1, 1])
    return fig


def _area(irfs: IRFs, offsets: list[float], ax: Any) -> None:
    aeff = irfs.aeff
    for offset in offsets:
        profile = [np.interp(offset, aeff.offset, row) for row in aeff.values]
        ax.plot(aeff.energy, np.array(profile) * 1e-4, label=f"{offset:g} deg")
    ax.set(
        xscale="log", yscale="log", xlabel="true energy [TeV]", ylabel="effective area [m$^2$]",
        ylim=(aeff.values.max() * 1e-10, aeff.values.max() * 3e-4), title="effective area",
    )  # fmt: skip
    ax.legend(title="offset", fontsize="small")


def _dispersion(irfs: IRFs, ax: Any) -> None:
    edisp = irfs.edisp
    table = edisp.density[:, 0, :].T
    low, high = irfs.energy_true_range
    shown = (edisp.energy >= low) & (edisp.energy <= high)
    image = ax.pcolormesh(
        edisp.energy[shown], edisp.migra, table[:, shown], shading="nearest", vmax=np.quantile(table, 0.997),
        rasterized=True,
    )  # fmt: skip
    ax.figure.colorbar(image, ax=ax, label=r"$\mathrm{d}p/\mathrm{d}\mu$")
    ax.axhline(1, color="white", linewidth=0.8, linestyle=":")
    ax.set(
        xscale="log", ylim=(0, 2), xlabel="true energy [TeV]", ylabel=r"migration $\mu$ = energy / true energy",
        title=f"energy dispersion at {edisp.offset[0]:g} deg",
    )  # fmt: skip


def _psf(irfs: IRFs, offsets: list[float], ax: Any) -> None:
    psf = irfs.psf
    if psf is None:
        _rad_max(irfs, offsets, ax)
        return
    width = psf.containment_radius(0.68)
    for offset in offsets:
        ax.plot(psf.energy, [np.interp(offset, psf.offset, row) for row in width], label=f"{offset:g} deg")
    ax.set(xscale="log", yscale="log", xlabel="true energy [TeV]", ylabel="68 % containment radius [deg]")
    ax.set_title("point spread function")
    ax.legend(title="offset", fontsize="small")


def _rad_max(irfs: IRFs, offsets: list[float], ax: Any) -> None:
    if irfs.rad_max is None:
        ax.set_axis_off()
        told = "point-like, without RAD_MAX:\nthe distance from the source is not known"
        ax.text(0.5, 0.5, told, ha="center", va="center", transform=ax.transAxes)
        return
    energy = np.geomspace(*irfs.energy_true_range, 500)
    for offset in offsets[:1] if irfs.rad_max.is_fixed else offsets:
        ax.plot(energy, irfs.rad_max.at(energy, offset), label=f"{offset:g} deg")
    ax.set(xscale="log", ylim=(0, None), xlabel="energy [TeV]", ylabel="largest distance from the source [deg]")
    ax.set_title("point-like: no point spread function")
    if not irfs.rad_max.is_fixed:
        ax.legend(title="offset", fontsize="small")


def _background(irfs: IRFs, ax: Any) -> None:
    bkg = irfs.bkg
    if bkg is None:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no background in these IRFs", ha="center", va="center", transform=ax.transAxes)
        return
    axis = (0, 0) if bkg.radial else (len(bkg.fov_lon) // 2, len(bkg.fov_lat) // 2)
    profile = bkg.rate[:, axis[0], axis[1]]
    seen = profile > 0
    ax.plot(bkg.energy[seen], profile[seen])
    ax.set(
        xscale="log", yscale="log", xlabel="energy [TeV]", ylabel=r"rate [s$^{-1}$ TeV$^{-1}$ sr$^{-1}$]",
        title="residual background on axis",
    )  # fmt: skip
