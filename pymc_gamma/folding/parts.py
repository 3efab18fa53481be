r"""Sky components compiled to plain arrays: all that folding and simulation need of them.

Spectra are tabulated at nodes of true energy (:mod:`pymc_gamma.folding.nodes`). What is stored here is also what a
saved response holds, so a response can be loaded without the sky models that made it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.nodes import spectrum_nodes, split_bins, tabulate
from pymc_gamma.folding.raster import Raster, rasterise
from pymc_gamma.geometry import RegionOfInterest, unit_vectors
from pymc_gamma.sky import GaussianShape, PointShape, SkyComponent, SkyPart

__all__ = ["Analytic", "CompiledComponent", "Template", "compile_component", "folded_edges"]

FloatArray = NDArray[np.float64]


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
        Variances in deg2, 0 for points, shape (n,).
    flux : numpy.ndarray
        TeV-1 cm-2 s-1 on the spectrum nodes, shape (n, n_nodes).
    """

    names: tuple[str, ...]
    vectors: FloatArray
    variance: FloatArray
    flux: FloatArray


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
        analytic = self.analytic
        return replace(
            self,
            analytic=None if analytic is None else replace(analytic, flux=analytic.flux * factor),
            templates=tuple(replace(template, flux=template.flux * factor) for template in self.templates),
        )

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


def compile_component(
    component: SkyComponent, roi: RegionOfInterest, energy_edges: FloatArray, pixel: float, margin: float
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


def _analytic(parts: Iterable[SkyPart], energy_edges: FloatArray, component: str) -> Analytic | None:
    parts = list(parts)
    if not parts:
        return None
    variance = [part.shape.sigma**2 if isinstance(part.shape, GaussianShape) else 0.0 for part in parts]
    return Analytic(
        names=tuple(part.name for part in parts),
        vectors=np.stack([unit_vectors(part.shape.lon, part.shape.lat) for part in parts]),
        variance=np.array(variance),
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
