"""Picture of simulated photons: their true directions and energies."""

from typing import Any

import numpy as np

from pymc_gamma.events.skymap import SkyMap
from pymc_gamma.simulation.source import TrueEvents

__all__ = ["peek_photons"]


def peek_photons(photons: TrueEvents, figsize: tuple[float, float], count_scaling: str) -> Any:
    """See :meth:`pymc_gamma.simulation.TrueEvents.peek`."""
    if count_scaling not in ("linear", "log"):
        raise ValueError(f"count_scaling must be 'linear' or 'log', got {count_scaling!r}.")
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 2, figsize=figsize, layout="constrained")
    sky = SkyMap.around(photons.frame, photons.lon_true, photons.lat_true)
    lonlat = sky.coordinates(photons.lon_true, photons.lat_true)
    image = axes[0].hist2d(*lonlat, bins=80, cmin=1, cmap="inferno", norm=count_scaling)[3]
    axes[0].set_facecolor("black")
    axes[0].figure.colorbar(image, ax=axes[0], label="photons / cell")
    sky.label_axes(axes[0])
    axes[0].set_title("true directions")
    edges = np.geomspace(photons.energy_true.min(), photons.energy_true.max() * (1 + 1e-9), 41)
    axes[1].hist(photons.energy_true, bins=edges, histtype="step")
    axes[1].set(xscale="log", yscale="log", xlabel="true energy [TeV]", ylabel="photons / bin")
    return axes
