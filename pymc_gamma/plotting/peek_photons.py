"""Picture of simulated photons: their true directions and energies."""

from typing import TYPE_CHECKING

import numpy as np

from pymc_gamma.events.skymap import SkyMap
from pymc_gamma.plotting.peek_events import count_norm
from pymc_gamma.simulation.source import TrueEvents

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["peek_photons"]


def peek_photons(photons: TrueEvents, *, count_scaling: str = "sqrt", fig: "Figure | None" = None) -> "Figure":
    """See :meth:`pymc_gamma.simulation.TrueEvents.peek`."""
    norm = count_norm(count_scaling)
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(10, 4), layout="constrained") if fig is None else fig
    axes = fig.subplots(1, 2)
    sky = SkyMap.around(photons.frame, photons.lon_true, photons.lat_true)
    lonlat = sky.coordinates(photons.lon_true, photons.lat_true)
    image = axes[0].hist2d(*lonlat, bins=80, cmin=1, cmap="inferno", norm=norm)[3]
    axes[0].set_facecolor("black")
    fig.colorbar(image, ax=axes[0], label="photons / cell")
    sky.label_axes(axes[0])
    axes[0].set_title("true directions")
    edges = np.geomspace(photons.energy_true.min(), photons.energy_true.max() * (1 + 1e-9), 41)
    axes[1].hist(photons.energy_true, bins=edges, histtype="step")
    axes[1].set(xscale="log", yscale="log", xlabel="true energy [TeV]", ylabel="photons / bin")
    return fig
