"""A first look at an event list: counts map and energy histogram."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError
from pymc_gamma.events.container import Events
from pymc_gamma.events.skymap import SkyMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["count_norm", "peek_events"]


# With n events, about n / 4 cells show structure without being mostly empty or mostly noise.
_EVENTS_PER_CELL = 4
_CELLS = (16, 160)
_BINS_PER_DECADE = 12


def peek_events(events: Events, *, count_scaling: str = "sqrt", fig: "Figure | None" = None) -> "Figure":
    """See :meth:`pymc_gamma.events.Events.peek`."""
    norm = count_norm(count_scaling)
    if len(events) == 0:
        raise EventError("There are no events to draw: the list is empty.")
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(10.5, 4.4), layout="constrained") if fig is None else fig
    sky, spectrum = fig.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_map(sky, events, norm)
    _draw_spectrum(spectrum, events)
    return fig


def count_norm(count_scaling: str) -> Any:
    """Colour scale of counts in cells; a ValueError if there is none of that name."""
    from matplotlib.colors import LogNorm, Normalize, PowerNorm

    scales = {"linear": lambda: Normalize(vmin=0), "sqrt": lambda: PowerNorm(0.5, vmin=0), "log": lambda: LogNorm(0.7)}
    if count_scaling not in scales:
        raise ValueError(f"count_scaling must be 'sqrt', 'log' or 'linear', got {count_scaling!r}.")
    return scales[count_scaling]()


def _draw_map(ax: "Axes", events: Events, norm: Any) -> None:
    sky = SkyMap.around(events.frame, events.lon.value, events.lat.value)
    lon, lat = sky.coordinates(events.lon.value, events.lat.value)
    cells = int(np.clip(np.sqrt(events.n_total / _EVENTS_PER_CELL), *_CELLS))
    edges = [_linear_edges(lon, cells), _linear_edges(lat, cells)]
    counts, *_ = np.histogram2d(lat, lon, bins=[edges[1], edges[0]], weights=events.multiplicity)
    norm.vmax = max(counts.max(), 1.0)
    image = ax.pcolormesh(edges[0], edges[1], np.ma.masked_equal(counts, 0), norm=norm, cmap="inferno", rasterized=True)
    ax.set_facecolor("black")
    sky.label_axes(ax)
    size = np.sqrt(np.diff(edges[0])[0] * np.diff(edges[1])[0])
    ax.figure.colorbar(image, ax=ax, label=f"events per ({size:.2g} deg)$^2$ cell")
    ax.set_title(f"{events.n_total:,.0f} events")


def _draw_spectrum(ax: "Axes", events: Events) -> None:
    energy = events.energy.value
    decades = np.log10(energy.max() / energy.min())
    bins = int(np.clip(_BINS_PER_DECADE * decades, 8, 60))
    edges = np.geomspace(energy.min() * (1 - 1e-9), energy.max() * (1 + 1e-9), bins + 1)
    counts, _ = np.histogram(energy, edges, weights=events.multiplicity)
    ax.stairs(counts, edges, fill=True, color="C0", alpha=0.25)
    ax.stairs(counts, edges, color="C0", linewidth=1.5)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_ylim(bottom=0.7)
    ax.set(xlabel="Reconstructed energy [TeV]", ylabel="Events per bin", title="Energies")
    ax.grid(alpha=0.25)


def _linear_edges(values: FloatArray, bins: int) -> FloatArray:
    low, high = values.min(), values.max()
    margin = 1e-9 + 1e-9 * (high - low) if high > low else 0.5
    return np.linspace(low - margin, high + margin, bins + 1)
