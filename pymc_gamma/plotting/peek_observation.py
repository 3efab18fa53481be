"""Picture of an observation: its exposure over a region."""

from typing import TYPE_CHECKING

import numpy as np

from pymc_gamma.geometry import RegionOfInterest, convert_lonlat
from pymc_gamma.instrument.observation import Observation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["peek_observation"]


def peek_observation(
    observation: Observation, roi: RegionOfInterest, energy: float, *, fig: "Figure | None" = None
) -> "Figure":
    """See :meth:`pymc_gamma.Observation.peek`; ``energy`` in TeV."""
    import matplotlib.pyplot as plt

    half = 1.2 * max(roi.half_extent)
    grid = np.linspace(-half, half, 401)
    x, y = np.meshgrid(grid, grid)
    lon, lat = roi.from_offset(x, y)
    fig = plt.figure(figsize=(6, 5), layout="constrained") if fig is None else fig
    ax = fig.subplots()
    exposure = observation.exposure(energy, lon, lat, roi.frame)
    image = ax.pcolormesh(x, y, exposure, shading="auto", cmap="inferno", rasterized=True)
    fig.colorbar(image, ax=ax, label="exposure [cm$^2$ s]")
    edge = roi.contains(lon, lat).astype(float)
    ax.contour(x, y, edge, levels=[0.5], colors="white", linewidths=1, linestyles="--")
    towards = roi.offset_lonlat(*convert_lonlat(observation.lon, observation.lat, observation.frame, roi.frame))
    if max(abs(float(angle)) for angle in towards) < half:
        ax.plot(*towards, "+", color="black", markersize=9, label="pointing")
        ax.legend(loc="upper right", fontsize="small")
    ax.set_aspect("equal")
    ax.invert_xaxis()
    ax.set(
        xlabel="longitude from the centre of the region [deg]",
        ylabel="latitude from the centre of the region [deg]",
        title=f"exposure at {energy:g} TeV",
    )
    return fig
