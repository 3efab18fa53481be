"""Pictures of sky components: a map and the spectrum of all of it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from pymc_gamma.arguments import checked, plain
from pymc_gamma.errors import IRFError, SkyModelError
from pymc_gamma.geometry import major_offsets, position_angle_vector, unit_vectors
from pymc_gamma.sky.component import Array, Shape, SkyComponent, SkyGaussian, SkyPart, TemplateShape
from pymc_gamma.units import scalar_value

if TYPE_CHECKING:
    from pymc_gamma.geometry import RegionOfInterest
    from pymc_gamma.observation import Observation

__all__ = ["part_flux", "peek_background", "peek_component"]

DEG2_PER_SR = np.degrees(1.0) ** 2

#: Orders of magnitude that a map shows below its brightest pixel.
MAP_DECADES = 4.0
N_PIXELS = 320
OUTLINE_PIXELS = 1001
N_ENERGIES = 200
#: Height over width of the slimmest map.
SLIMMEST_MAP = 0.6
#: Pixels between two lines of labels.
LABEL_GAP = 13.0
#: A map reaches this much further than the region.
MAP_EXCESS = 1.12


@checked(figsize=plain("", 2))
def peek_component(
    component: SkyComponent,
    roi: "RegionOfInterest",
    *,
    energy_true: u.Quantity = 1 * u.TeV,
    max_labels: int = 12,
    figsize: tuple[float, float] = (12.5, 5.0),
) -> NDArray[Any]:
    """Draw the brightness of a component at one energy, and the spectrum of all of it.

    Parameters
    ----------
    component : SkyComponent
        What to show.
    roi : RegionOfInterest
        Where; its outline is drawn.
    energy_true : `~astropy.units.Quantity`
        True energy of the map.
    max_labels : int
        Name that many sources, the brightest first.
    figsize : tuple of float
        Size in inches.

    Returns
    -------
    numpy.ndarray
        The two axes, map and spectrum. Points are drawn as Gaussians two pixels wide. The spectrum of a
        source is that of the whole source, of an unbounded component that of the region.

    Raises
    ------
    SkyModelError
        If nothing of the component reaches into the region.
    """
    parts = component.parts(roi, margin_deg=0.0)
    if not parts:
        raise SkyModelError(f"{component.name!r} does not shine into {roi!r}; there is nothing to show.")
    energy = scalar_value(energy_true, "TeV", "energy_true")
    at_energy = np.array([energy])
    figure, sky, grid = _sky_axes(roi, figsize)
    lon, lat, inside, pixel = grid
    image = np.zeros(lon.shape)
    for part in parts:
        flux = float(part.spectrum(at_energy)[0])
        if flux > 0:
            image[inside] += flux * _brightness(part, lon[inside], lat[inside], pixel)
    _draw_map(sky, image, r"intensity [TeV$^{-1}$ cm$^{-2}$ s$^{-1}$ sr$^{-1}$]")
    _draw_outline(sky, roi)
    _mark_sources(sky, parts, energy, max_labels)
    sky.set_title(f"{component.name} at {energy:g} TeV")

    energies = np.geomspace(roi.energy_min, roi.energy_max, N_ENERGIES)
    fluxes = [part_flux(part, roi)(energies) for part in parts]
    total = np.array(fluxes).sum(axis=0)
    axes = _sed_axes(figure, energies, total)
    if len(parts) > 1:
        for k, values in enumerate(fluxes):
            label = f"its {len(parts)} parts" if k == 0 else None
            _draw_sed(axes, energies, values, color="0.6", linewidth=0.8, label=label)
    _draw_sed(axes, energies, total, color="C0", linewidth=2, label=component.name)
    axes.set(xlabel="energy $E$ [TeV]", ylabel=r"$E^2\,\mathrm{d}N/\mathrm{d}E$ [TeV cm$^{-2}$ s$^{-1}$]")
    axes.legend(frameon=False)
    return np.array([sky, axes])


@checked(figsize=plain("", 2))
def peek_background(
    component: SkyComponent,
    roi: "RegionOfInterest",
    observation: "Observation",
    *,
    energy: u.Quantity = 1 * u.TeV,
    figsize: tuple[float, float] = (12.5, 5.0),
) -> NDArray[Any]:
    """Draw the residual background rate of an observation.

    Parameters
    ----------
    component : SkyComponent
        The background, for its name.
    roi : RegionOfInterest
        Where.
    observation : Observation
        Instrument and pointing.
    energy : `~astropy.units.Quantity`
        Reconstructed energy of the map.
    figsize : tuple of float
        Size in inches.

    Returns
    -------
    numpy.ndarray
        The two axes, map and spectrum.

    Raises
    ------
    IRFError
        If the observation has no background.
    """
    value = scalar_value(energy, "TeV", "energy")
    rate = _background_rate(observation, roi.frame)
    figure, sky, (lon, lat, inside, _) = _sky_axes(roi, figsize)
    image = np.zeros(lon.shape)
    image[inside] = rate(np.full(int(inside.sum()), value), lon[inside], lat[inside])
    _draw_map(sky, image, r"rate [s$^{-1}$ TeV$^{-1}$ sr$^{-1}$]")
    _draw_outline(sky, roi)
    sky.set_title(f"{component.name} at {value:g} TeV")

    energies = np.geomspace(roi.energy_min, roi.energy_max, N_ENERGIES)
    nodes = roi.quadrature(max(roi.radius / 25, 0.02))
    total = np.array([rate(np.full(nodes[0].size, e), nodes[0], nodes[1]) @ nodes[2] for e in energies])
    axes = _sed_axes(figure, energies, total)
    _draw_sed(axes, energies, total, color="C0", linewidth=2, label=component.name)
    axes.set(xlabel="reconstructed energy $E$ [TeV]", ylabel=r"$E^2\,\mathrm{d}\dot N/\mathrm{d}E$ [TeV s$^{-1}$]")
    axes.legend(frameon=False)
    return np.array([sky, axes])


def part_flux(part: SkyPart, roi: "RegionOfInterest") -> Callable[[Array], Array]:
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


def _brightness(part: SkyPart, lon: Array, lat: Array, pixel: float) -> Array:
    shape = part.shape
    if isinstance(shape, TemplateShape):
        return shape.brightness(lon, lat)
    sigma, minor, phi = (shape.sigma, shape.minor, shape.phi) if isinstance(shape, SkyGaussian) else (0.0, 0.0, 0.0)
    length, width = max(sigma, 2 * pixel), max(minor, 2 * pixel)
    axis = position_angle_vector(shape.lon, shape.lat, phi)
    along, across = major_offsets(unit_vectors(lon, lat), unit_vectors(shape.lon, shape.lat), axis)
    exponent = -0.5 * ((along / length) ** 2 + (across / width) ** 2)
    return np.exp(exponent) / (2 * np.pi * length * width) * DEG2_PER_SR


def _background_rate(observation: "Observation", frame: str) -> Callable[[Array, Array, Array], Array]:
    bkg = observation.irfs.bkg
    if bkg is None:
        raise IRFError(f"The IRFs {observation.irfs.name!r} have no background.")
    basis = observation.background_basis(frame)

    def rate(energy: Array, lon: Array, lat: Array) -> Array:
        return bkg.rate_at(unit_vectors(lon, lat), np.log(energy), basis)

    return rate


def _sky_axes(roi: "RegionOfInterest", figsize: tuple[float, float]) -> tuple[Any, Any, Any]:
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

    figure = plt.figure(figsize=figsize, layout="constrained")
    axes = figure.add_subplot(1, 2, 1, projection=wcs)
    if roi.frame == "galactic":
        axes.coords[0].set_coord_type("longitude", coord_wrap=180 * u.deg)
    labels = ("Galactic longitude", "Galactic latitude") if roi.frame == "galactic" else ("RA", "Dec")
    for coordinate, label in zip(axes.coords, labels, strict=True):
        coordinate.set_axislabel(f"{label} [deg]")
        coordinate.set_format_unit("deg", decimal=True, show_decimal_unit=False)
    return figure, axes, (lon, lat, inside, step)


def _draw_map(axes: Any, image: Array, label: str) -> None:
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


def _draw_outline(axes: Any, roi: "RegionOfInterest") -> None:
    """Edges of a region of any shape, and of what is cut out of it."""
    from contourpy import contour_generator

    half = 1.02 * max(roi.half_extent)
    grid = np.linspace(-half, half, OUTLINE_PIXELS)
    x, y = np.meshgrid(grid, grid)
    inside = roi.contains_vectors(roi.plane.unproject(x, y))
    for line in contour_generator(x, y, inside.astype(float)).lines(0.5):
        lon, lat = roi.plane.to_sky(*np.asarray(line).T)
        axes.plot(lon, lat, transform=axes.get_transform("world"), color="white", linewidth=1, linestyle="--")


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


def _draw_sed(axes: Any, energy: Array, flux: Array, **style: Any) -> None:
    lit = flux > 0
    axes.plot(energy[lit], (energy**2 * flux)[lit], **style)


def _sed_axes(figure: Any, energy: Array, total: Array) -> Any:
    """Logarithmic axes whose limits follow from the sum, not from its faintest part."""
    axes = figure.add_subplot(1, 2, 2)
    axes.set(xscale="log", yscale="log", xlim=(energy[0] / 1.3, energy[-1] * 1.3))
    sed = (energy**2 * total)[total > 0]
    if sed.size:
        axes.set_ylim(max(sed.max() * 1e-5, sed.min() * 0.02), sed.max() * 2)
    axes.autoscale(enable=False)
    axes.grid(alpha=0.3)
    return axes
