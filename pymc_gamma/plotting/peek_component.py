"""Pictures of sky components: a map and the spectrum of all of it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from scipy.optimize import isotonic_regression

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.geometry import RegionOfInterest, major_offsets, position_angle_vector, unit_vectors
from pymc_gamma.plotting.sky_axes import draw_map, draw_outline, draw_sed, sed_axes, sky_axes
from pymc_gamma.sky.component import Shape, SkyComponent, SkyGaussian, SkyPart, TemplateShape
from pymc_gamma.units import scalar_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["part_flux", "peek_component"]

DEG2_PER_SR = np.degrees(1.0) ** 2
N_ENERGIES = 200
#: Pixels between two lines of labels.
LABEL_GAP = 13.0


def peek_component(
    component: SkyComponent,
    roi: RegionOfInterest,
    *,
    energy_true: u.Quantity = 1 * u.TeV,
    max_labels: int = 12,
    fig: "Figure | None" = None,
) -> "Figure":
    """See :meth:`pymc_gamma.SkyComponent.peek`."""
    parts = component.parts(roi, margin_deg=0.0)
    if not parts:
        raise SkyModelError(f"{component.name!r} does not shine into {roi!r}; there is nothing to show.")
    energy = scalar_value(energy_true, "TeV", "energy_true")
    at_energy = np.array([energy])
    picture, sky, grid = sky_axes(roi, fig)
    lon, lat, inside, pixel = grid
    image = np.zeros(lon.shape)
    for part in parts:
        flux = float(part.spectrum(at_energy)[0])
        if flux > 0:
            image[inside] += flux * _brightness(part, lon[inside], lat[inside], pixel)
    draw_map(sky, image, r"intensity [TeV$^{-1}$ cm$^{-2}$ s$^{-1}$ sr$^{-1}$]")
    draw_outline(sky, roi)
    _mark_sources(sky, parts, energy, max_labels)
    sky.set_title(f"{component.name} at {energy:g} TeV")

    energies = np.geomspace(roi.energy_min, roi.energy_max, N_ENERGIES)
    fluxes = [part_flux(part, roi)(energies) for part in parts]
    total = np.array(fluxes).sum(axis=0)
    axes = sed_axes(picture, energies, total)
    if len(parts) > 1:
        for k, values in enumerate(fluxes):
            label = f"its {len(parts)} parts" if k == 0 else None
            draw_sed(axes, energies, values, color="0.6", linewidth=0.8, label=label)
    draw_sed(axes, energies, total, color="C0", linewidth=2, label=component.name)
    axes.set(xlabel="energy $E$ [TeV]", ylabel=r"$E^2\,\mathrm{d}N/\mathrm{d}E$ [TeV cm$^{-2}$ s$^{-1}$]")
    axes.legend(frameon=False)
    return picture


def part_flux(part: SkyPart, roi: RegionOfInterest) -> Callable[[FloatArray], FloatArray]:
    """Flux of a part as a function of true energy: of the whole source, or of the region if it has no edge.

    Parameters
    ----------
    part : SkyPart
        The part.
    roi : RegionOfInterest
        Region over which a brightness of no unit integral is integrated.

    Returns
    -------
    callable
        True energy in TeV to TeV-1 cm-2 s-1.
    """
    shape, share = part.shape, 1.0
    if isinstance(shape, TemplateShape) and not _has_edge(shape):
        lon, lat, weight = roi.quadrature(max(min(shape.feature, roi.radius / 25), 0.02))
        share = float(shape.brightness(lon, lat) @ weight)
    return lambda energy_true: share * part.spectrum(energy_true)


def _has_edge(shape: Shape) -> bool:
    return not isinstance(shape, TemplateShape) or (shape.unit_integral and bool(np.isfinite(shape.radius)))


def _brightness(part: SkyPart, lon: FloatArray, lat: FloatArray, pixel: float) -> FloatArray:
    shape = part.shape
    if isinstance(shape, TemplateShape):
        return shape.brightness(lon, lat)
    sigma, minor, phi = (shape.sigma, shape.minor, shape.phi) if isinstance(shape, SkyGaussian) else (0.0, 0.0, 0.0)
    length, width = max(sigma, 2 * pixel), max(minor, 2 * pixel)
    axis = position_angle_vector(shape.lon, shape.lat, phi)
    along, across = major_offsets(unit_vectors(lon, lat), unit_vectors(shape.lon, shape.lat), axis)
    exponent = -0.5 * ((along / length) ** 2 + (across / width) ** 2)
    return np.exp(exponent) / (2 * np.pi * length * width) * DEG2_PER_SR


def _mark_sources(axes: Any, parts: Sequence[SkyPart], energy: float, max_labels: int) -> None:
    """Cross and name of each source in the picture, once per source, the brightest first."""
    from matplotlib import patheffects

    sources = [part for part in parts if _has_edge(part.shape)]
    at_energy = np.array([energy])
    sources.sort(key=lambda p: float(p.spectrum(at_energy)[0]), reverse=True)
    named: dict[str, SkyPart] = {}
    for part in sources:
        named.setdefault(part.name.split("/")[0].split("@")[0], part)
    if not named:
        return
    n_y, n_x = axes.images[0].get_array().shape
    x, y = axes.wcs.world_to_pixel_values(
        [part.shape.lon for part in named.values()], [part.shape.lat for part in named.values()]
    )
    axes.plot(x, y, "+", color="white", markersize=6, zorder=3)
    axes.set(xlim=(-0.5, n_x - 0.5), ylim=(-0.5, n_y - 0.5))
    names = list(named)
    visible = [k for k in range(len(names)) if 0 <= x[k] < n_x and 0 <= y[k] < n_y][:max_labels]
    visible.sort(key=lambda k: x[k])
    outline = [patheffects.withStroke(linewidth=2, foreground="black")]
    for k, column in zip(visible, _spread([float(x[k]) for k in visible], n_x), strict=True):
        axes.annotate(
            names[k],
            (x[k], y[k]),
            xytext=(column, 0.97 * n_y),
            rotation=90,
            ha="center",
            va="top",
            color="white",
            fontsize=7.5,
            path_effects=outline,
            arrowprops={
                "arrowstyle": "-",
                "color": "white",
                "linewidth": 0.5,
                "alpha": 0.6,
                "relpos": (0.5, 0),
            },
        )


def _spread(columns: Sequence[float], width: int) -> list[float]:
    """Increasing positions as near as possible to those wanted, a line of text apart, inside the picture."""
    gap = min(LABEL_GAP, (width - LABEL_GAP) / max(len(columns), 1))
    # With the gaps taken out, "increasing by at least a gap" is "not decreasing": an isotonic regression.
    targets = np.array(columns) - gap * np.arange(len(columns))
    low, high = gap / 2, width - gap / 2 - gap * max(len(columns) - 1, 0)
    fitted = isotonic_regression(targets).x if len(columns) else targets
    return [float(v) for v in np.clip(fitted, low, high) + gap * np.arange(len(columns))]
