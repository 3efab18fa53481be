"""Picture of a counts spectrum: counts and background in channels, and the exposure."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pymc_gamma.on_off import CountsSpectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["finish", "peek_counts", "show_exposure"]


def peek_counts(spectrum: CountsSpectrum, *, fig: "Figure | None" = None) -> "Figure":
    """See :meth:`pymc_gamma.CountsSpectrum.peek`."""
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(10.5, 4.2), layout="constrained") if fig is None else fig
    counts, exposure = fig.subplots(1, 2)
    edges, used = spectrum.energy.to_value("TeV"), spectrum.mask
    on = np.zeros(len(spectrum))
    on[used] = spectrum.counts.values
    middle = spectrum.channel_energy
    counts.stairs(on, edges, fill=True, color="C0", alpha=0.25)
    counts.errorbar(middle, on[used], np.sqrt(np.maximum(on[used], 0)), fmt="o", ms=3.5, color="C0", label="ON counts")
    if spectrum.has_off:
        background = np.zeros(len(spectrum))
        background[used] = (spectrum.alpha * spectrum.counts_off).values
        counts.stairs(background, edges, color="C1", linewidth=1.5, label=r"background, $\alpha\,\times$ OFF counts")
    low, high = spectrum.energy_range.to_value("TeV")
    counts.set(ylabel="Counts per channel", title=spectrum.name)
    show_exposure(exposure, spectrum, low, high)
    finish(counts, exposure, low, high)
    return fig


def show_exposure(ax: Any, data: Any, low: float, high: float) -> None:
    """Exposure of an ON region, and the energies that are used, in TeV."""
    ax.stairs(data.exposure.to_value("m2 s"), data.energy_true.to_value("TeV"), color="C0", baseline=None)
    ax.axvspan(low, high, color="0.92", zorder=0, label="energies used")
    ax.set(xscale="log", yscale="log", xlabel="True energy [TeV]", ylabel="Exposure [m$^2$ s]")
    ax.legend(loc="lower right", framealpha=1, edgecolor="none")


def finish(counts: Any, exposure: Any, low: float, high: float) -> None:
    """Axes of both pictures."""
    margin = (high / low) ** 0.04
    counts.set(xscale="log", xlim=(low / margin, high * margin), xlabel="Reconstructed energy [TeV]")
    counts.legend(frameon=False)
    for ax in (counts, exposure):
        ax.xaxis.set_major_formatter("{x:g}")
        ax.grid(alpha=0.25)
