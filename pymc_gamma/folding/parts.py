r"""Sky components compiled to plain arrays: all that folding and simulation need of them.

Spectra are tabulated at nodes of true energy (:mod:`pymc_gamma.folding.nodes`). What is stored here is also what a
saved response holds, so a response can be loaded without the sky models that made it.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import PymcGammaWarning, SkyModelError
from pymc_gamma.folding.nodes import spectrum_nodes, split_bins, tabulate
from pymc_gamma.folding.raster import Raster, rasterise
from pymc_gamma.geometry import (
    RegionOfInterest,
    gaussian_nodes,
    position_angle_vector,
    separation_deg,
    unit_vectors,
)
from pymc_gamma.irfs import IRFs
from pymc_gamma.observation import Observation
from pymc_gamma.sky import GaussianShape, PointShape, SkyComponent, SkyPart, TemplateShape

__all__ = ["Analytic", "CompiledComponent", "Template", "compile_component", "folded_edges", "shining_offsets"]

FloatArray = NDArray[np.float64]

GAUSSIAN_REACH = 9.0
"""Beyond as many widths nothing of a Gaussian source is evaluated, neither at events nor in integrals."""
UNRESOLVED = 0.12
"""Mean relative difference between neighbouring cells of a map that does not resolve its source. A round Gaussian of
twice the width of a cell has 0.09, of once the width 0.3."""


@dataclass(frozen=True)
class Analytic:
    """Point and Gaussian sources.

    Attributes
    ----------
    names : tuple of str
        One per source.
    vectors : numpy.ndarray
        Unit vectors of their positions, shape (n, 3).
    variance : numpy.ndarray
        Variances along the major axis in deg2, 0 for points, shape (n,).
    minor_variance : numpy.ndarray
        Variances along the minor axis in deg2, those of the major axis for points and round Gaussians, shape (n,).
    major_axis : numpy.ndarray
        Unit vectors along the major axis, tangent to the sphere at the source, shape (n, 3).
    flux : numpy.ndarray
        TeV-1 cm-2 s-1 on the spectrum nodes, shape (n, n_nodes).
    """

    names: tuple[str, ...]
    vectors: FloatArray
    variance: FloatArray
    minor_variance: FloatArray
    major_axis: FloatArray
    flux: FloatArray

    @property
    def elongated(self) -> NDArray[np.bool_]:
        """Which sources are elongated, shape (n,)."""
        return np.asarray(self.minor_variance != self.variance)

    def nodes(self, p: int, radii: int, azimuths: int) -> tuple[FloatArray, FloatArray]:
        """Quadrature nodes of the brightness of source *p*; see :func:`pymc_gamma.geometry.gaussian_nodes`."""
        return gaussian_nodes(
            self.vectors[p], self.variance[p], radii, azimuths, self.minor_variance[p], self.major_axis[p]
        )


@dataclass(frozen=True)
class Template:
    """A source of any other brightness: its raster, and its spectrum on the nodes."""

    name: str
    raster: Raster
    flux: FloatArray


@dataclass(frozen=True)
class CompiledComponent:
    """One mixture component: its analytic sources, templates, or the residual background."""

    name: str
    analytic: Analytic | None = None
    templates: tuple[Template, ...] = field(default=())
    instrumental: bool = False

    def scaled(self, factor: float) -> "CompiledComponent":
        """The component with all its fluxes times a factor."""
        return self if self.instrumental else self.with_fluxes(self.part_fluxes() * factor)

    def with_fluxes(self, fluxes: FloatArray) -> "CompiledComponent":
        """The component with other spectra for its parts, shape (n_parts, n_nodes)."""
        n = 0 if self.analytic is None else len(self.analytic.flux)
        return replace(
            self,
            analytic=None if self.analytic is None else replace(self.analytic, flux=fluxes[:n]),
            templates=tuple(replace(t, flux=flux) for t, flux in zip(self.templates, fluxes[n:], strict=True)),
        )

    def offsets(self, axis: FloatArray) -> tuple[float, float]:
        """Range in deg of the offsets from a pointing (a unit vector) at which it shines."""
        if self.instrumental:
            return math.inf, 0.0
        if self.templates or self.analytic is None:
            return 0.0, math.inf
        centre, reach = separation_deg(self.analytic.vectors, axis), GAUSSIAN_REACH * np.sqrt(self.analytic.variance)
        return max(float((centre - reach).min()), 0.0), float((centre + reach).max())

    def part_fluxes(self) -> FloatArray:
        """Spectra of all parts on the spectrum nodes, TeV-1 cm-2 s-1, shape (n_parts, n_nodes)."""
        analytic = [] if self.analytic is None else list(self.analytic.flux)
        return np.stack([*analytic, *(template.flux for template in self.templates)])


def folded_edges(components: Iterable[CompiledComponent], energy_edges: FloatArray) -> FloatArray:
    """True-energy bins to fold components on: the given ones, split where one of them has a narrow spectrum.

    Sources are looked at one by one. Templates may be slices of a cube, whose spectra are hats that add up to something
    smooth: their sum is.
    """
    spectra: list[FloatArray] = []
    for component in components:
        if component.analytic is not None:
            spectra += list(component.analytic.flux)
        if component.templates:
            spectra.append(np.sum([template.flux for template in component.templates], axis=0))
    return split_bins(spectra, energy_edges)


def shining_offsets(
    components: Sequence[CompiledComponent], observations: Sequence[Observation], frame: str
) -> dict[IRFs, tuple[float, float]]:
    """Range in deg of the offsets at which components shine, for each response of some observations.

    Parameters
    ----------
    components : sequence of CompiledComponent
        What shines.
    observations : sequence of Observation
        Several may share a response.
    frame : str
        Frame of the components.
    """
    ranges: dict[IRFs, tuple[float, float]] = {}
    for observation in observations:
        axis = observation.axis_vector(frame)
        low, high = ranges.get(observation.irfs, (math.inf, 0.0))
        for component in components:
            first, last = component.offsets(axis)
            low, high = min(low, first), max(high, last)
        ranges[observation.irfs] = (low, high)
    return ranges


def compile_component(
    component: SkyComponent,
    roi: RegionOfInterest,
    energy_edges: FloatArray,
    pixel: float,
    margin: float,
    sharpest: float = 0.0,
) -> CompiledComponent:
    """Turn a sky component into arrays.

    Parameters
    ----------
    component : SkyComponent
        What shines.
    roi : RegionOfInterest
        Where it is looked at.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.
    pixel : float
        Largest pixel of templates in deg.
    margin : float
        Degrees beyond the region from which photons spill in.
    sharpest : float
        Width in degrees of the narrowest PSF. A map that changes from cell to cell and whose cells are wider gets a
        warning.

    Returns
    -------
    CompiledComponent

    Raises
    ------
    SkyModelError
        If the component has no part near the region, or a spectrum is negative or not finite.
    """
    if component.instrumental:
        return CompiledComponent(component.name, instrumental=True)
    parts = component.parts(roi, margin)
    if not parts:
        raise SkyModelError(f"component {component.name!r} has no source in or near {roi!r}; leave it out.")
    energy = spectrum_nodes(energy_edges)
    _check_cells(component.name, parts, sharpest)
    analytic = [part for part in parts if isinstance(part.shape, PointShape | GaussianShape)]
    templates = []
    for part in parts:
        if not isinstance(part.shape, PointShape | GaussianShape):
            if len(parts) > 1 and not np.any(part.spectrum(energy)):
                continue  # a cube may hold energies that are of no concern here
            label = f"component {component.name!r}, {part.name!r}"
            raster = rasterise(part.shape, roi, pixel, margin, label)
            templates.append(Template(part.name, raster, _flux(part, energy_edges, component.name)))
    if not analytic and not templates:
        raise SkyModelError(f"component {component.name!r}: the spectrum is zero at every energy.")
    return CompiledComponent(component.name, _analytic(analytic, energy_edges, component.name), tuple(templates))


def _check_cells(component: str, parts: Iterable[SkyPart], sharpest: float) -> None:
    """Warn of a map that is coarser than what the instrument shows of it; once, for all energies of a cube."""
    for part in parts:
        shape = part.shape
        if isinstance(shape, TemplateShape) and shape.unresolved > UNRESOLVED and 0 < sharpest < shape.feature:
            warnings.warn(
                f"component {component!r}: the map of {part.name!r} has cells of {shape.feature:.3g} deg, wider than "
                f"the narrowest PSF (sigma {sharpest:.3g} deg), and differs by {shape.unresolved:.0%} from cell to "
                "cell. Its counts are right, but densities show cells instead of the structure in them; use a finer "
                "map.",
                PymcGammaWarning,
                stacklevel=4,
            )
            return


def _analytic(parts: Iterable[SkyPart], energy_edges: FloatArray, component: str) -> Analytic | None:
    parts = list(parts)
    if not parts:
        return None
    gaussians = [
        (part.shape.sigma, part.shape.minor, part.shape.phi) if isinstance(part.shape, GaussianShape) else (0.0,) * 3
        for part in parts
    ]
    return Analytic(
        names=tuple(part.name for part in parts),
        vectors=np.stack([unit_vectors(part.shape.lon, part.shape.lat) for part in parts]),
        variance=np.array([major**2 for major, _, _ in gaussians]),
        minor_variance=np.array([minor**2 for _, minor, _ in gaussians]),
        major_axis=np.stack(
            [
                position_angle_vector(part.shape.lon, part.shape.lat, phi)
                for part, (_, _, phi) in zip(parts, gaussians, strict=True)
            ]
        ),
        flux=np.stack([_flux(part, energy_edges, component) for part in parts]),
    )


def _flux(part: SkyPart, energy_edges: FloatArray, component: str) -> FloatArray:
    energy = spectrum_nodes(energy_edges)
    flux = tabulate(part.spectrum, energy_edges, f"component {component!r}, {part.name!r}: the spectrum")
    if flux.shape != energy.shape:
        raise SkyModelError(
            f"component {component!r}, {part.name!r}: the spectrum returned shape {flux.shape} "
            f"for energies of shape {energy.shape}."
        )
    bad = ~(np.isfinite(flux) & (flux >= 0))
    if bad.any():
        first = int(bad.argmax())
        raise SkyModelError(
            f"component {component!r}, {part.name!r}: the spectrum is {flux[first]} TeV-1 cm-2 s-1 at "
            f"{energy[first]:.4g} TeV (and at {int(bad.sum())} of {bad.size} energies); it must be finite and >= 0."
        )
    if not flux.any():
        raise SkyModelError(f"component {component!r}, {part.name!r}: the spectrum is zero at every energy.")
    return flux
