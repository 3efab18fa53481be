"""Axes of the pictures of sky components: a map of a region, and a spectrum."""

from typing import Any

import astropy.units as u
import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.geometry import RegionOfInterest

__all__ = ["draw_map", "draw_outline", "draw_sed", "sed_axes", "sky_axes"]

#: Orders of magnitude that a map shows below its brightest pixel.
MAP_DECADES = 4.0
N_PIXELS = 320
FIGURE = (12.5, 5.0)
OUTLINE_PIXELS = 1001
#: Height over width of the slimmest map.
SLIMMEST_MAP = 0.6
#: A map reaches this much further than the region.
MAP_EXCESS = 1.12


def sky_axes(roi: RegionOfInterest, fig: Any) -> tuple[Any, Any, Any]:
    """Figure, map axes, and the directions of its pixels with the valid ones and their size in degrees."""
    import matplotlib.pyplot as plt
    from astropy.wcs import WCS

    half_x, half_y = roi.half_extent
    # Angles shrink towards the edge of the equal-area plane: 2 sin(r/2) instead of r.
    half_x, half_y = (float(np.degrees(2 * np.sin(np.radians(h) / 2))) for h in (half_x, half_y))
    half_y = max(half_y, SLIMMEST_MAP * half_x)
    step = 2 * MAP_EXCESS * half_x / N_PIXELS
    n_y = round(N_PIXELS * half_y / half_x)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLON-ZEA", "GLAT-ZEA"] if roi.frame == "galactic" else ["RA---ZEA", "DEC--ZEA"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [roi.lon, roi.lat]
    wcs.wcs.crpix = [(N_PIXELS + 1) / 2, (n_y + 1) / 2]
    wcs.wcs.cdelt = [-step, step]  # longitude grows to the left
    if roi.frame == "icrs":
        wcs.wcs.radesys = "ICRS"
    lon, lat = wcs.pixel_to_world_values(*np.meshgrid(np.arange(N_PIXELS), np.arange(n_y)))
    inside = np.isfinite(lon) & np.isfinite(lat)

    figure = plt.figure(figsize=FIGURE, layout="constrained") if fig is None else fig
    axes = figure.add_subplot(1, 2, 1, projection=wcs)
    if roi.frame == "galactic":
        axes.coords[0].set_coord_type("longitude", coord_wrap=180 * u.deg)
    labels = ("Galactic longitude", "Galactic latitude") if roi.frame == "galactic" else ("RA", "Dec")
    for coordinate, label in zip(axes.coords, labels, strict=True):
        coordinate.set_axislabel(f"{label} [deg]")
        coordinate.set_format_unit("deg", decimal=True, show_decimal_unit=False)
    return figure, axes, (lon, lat, inside, step)


def draw_map(axes: Any, image: FloatArray, label: str) -> None:
    """Brightness on a logarithmic scale, with its colour bar."""
    from matplotlib.colors import LogNorm

    top = float(image.max())
    if top <= 0:
        raise SkyModelError("The component is dark at this energy; choose another `energy_true`.")
    bottom = float(image[image > top * 10**-MAP_DECADES].min())
    if bottom == top:
        bottom, top = top / 2, top * 2
    drawn = axes.imshow(
        np.maximum(image, bottom),
        origin="lower",
        cmap="inferno",
        norm=LogNorm(bottom, top),
        interpolation="nearest",
    )
    axes.figure.colorbar(drawn, ax=axes, label=label, shrink=0.9)


def draw_outline(axes: Any, roi: RegionOfInterest) -> None:
    """Edges of a region of any shape, and of what is cut out of it."""
    from contourpy import contour_generator

    half = 1.02 * max(roi.half_extent)
    grid = np.linspace(-half, half, OUTLINE_PIXELS)
    x, y = np.meshgrid(grid, grid)
    inside = roi.contains_vectors(roi.plane.unproject(x, y))
    for line in contour_generator(x, y, inside.astype(float)).lines(0.5):
        lon, lat = roi.plane.to_sky(*np.asarray(line).T)
        axes.plot(lon, lat, transform=axes.get_transform("world"), color="white", linewidth=1, linestyle="--")


def draw_sed(axes: Any, energy: FloatArray, flux: FloatArray, **style: Any) -> None:
    """Energy squared times flux, where there is any."""
    lit = flux > 0
    axes.plot(energy[lit], (energy**2 * flux)[lit], **style)


def sed_axes(figure: Any, energy: FloatArray, total: FloatArray) -> Any:
    """Logarithmic axes whose limits follow from the sum, not from its faintest part."""
    axes = figure.add_subplot(1, 2, 2)
    axes.set(xscale="log", yscale="log", xlim=(energy[0] / 1.3, energy[-1] * 1.3))
    sed = (energy**2 * total)[total > 0]
    if sed.size:
        axes.set_ylim(max(sed.max() * 1e-5, sed.min() * 0.02), sed.max() * 2)
    axes.autoscale(enable=False)
    axes.grid(alpha=0.3)
    return axes
