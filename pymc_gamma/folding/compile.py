"""From sky components to arrays: what is folded, on which bins of true energy, and where it shines."""

import math
from collections.abc import Iterable, Sequence
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError, warn_user
from pymc_gamma.folding.background import CompiledBackground
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.live_shapes import LiveShape, shape_of_model
from pymc_gamma.folding.nodes import spectrum_nodes, split_bins, tabulate
from pymc_gamma.folding.parts import Analytic, Template
from pymc_gamma.folding.raster import rasterise
from pymc_gamma.folding.sources import CompiledSources
from pymc_gamma.geometry import RegionOfInterest, position_angle_vector, unit_vectors
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.sky import SkyComponent, SkyGaussian, SkyPart, SkySource, TemplateShape

__all__ = ["Field", "compile_component", "folded_edges", "reshaped", "shining_offsets"]

UNRESOLVED = 0.12
"""Mean relative difference between neighbouring cells of a map that does not resolve its source. A round Gaussian of
twice the width of a cell has 0.09, of once the width 0.3."""


class Field(NamedTuple):
    """Where and how finely sky components are looked at.

    Attributes
    ----------
    roi : RegionOfInterest
        The region.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.
    pixel : float
        Largest pixel of templates in deg.
    margin : float
        Degrees beyond the region from which photons spill in.
    sharpest : float
        Width in degrees of the narrowest PSF. A map that changes from cell to cell and whose cells are wider gets a
        warning.
    """

    roi: RegionOfInterest
    energy_edges: FloatArray
    pixel: float
    margin: float
    sharpest: float = 0.0


def folded_edges(components: Iterable[CompiledComponent], energy_edges: FloatArray) -> FloatArray:
    """True-energy bins to fold components on: the given ones, split where one of them has a narrow spectrum."""
    spectra = [spectrum for component in components for spectrum in component.spectra()]
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


@singledispatch
def compile_component(component: SkyComponent, field: Field) -> CompiledComponent:
    """Turn a sky component into arrays; a class whose numerics are its own registers how.

    Parameters
    ----------
    component : SkyComponent
        What shines.
    field : Field
        Where it is looked at.

    Raises
    ------
    SkyModelError
        If the component has no part near the region, or a spectrum is negative or not finite.
    """
    if component.instrumental:
        return CompiledBackground(component.name, bkg=component.bkg)
    parts = component.parts(field.roi, field.margin)
    if not parts:
        raise SkyModelError(f"component {component.name!r} has no source in or near {field.roi!r}; leave it out.")
    energy = spectrum_nodes(field.energy_edges)
    _check_cells(component.name, parts, field.sharpest)
    # a cube may hold energies that are of no concern here
    lit = [
        part
        for part in parts
        if len(parts) == 1 or not isinstance(part.shape, TemplateShape) or np.any(part.spectrum(energy))
    ]
    if not lit:
        raise SkyModelError(f"component {component.name!r}: the spectrum is zero at every energy.")
    fluxes = [_flux(part, field.energy_edges, component.name) for part in lit]
    only = parts[0].shape if len(parts) == 1 else None
    form = None if only is None else shape_of_model(only.model, only.lon, only.lat, only.parameters)
    return _sources(component.name, lit, fluxes, field, form)


@singledispatch
def reshaped(component: CompiledComponent, shape: Any, field: Field) -> CompiledComponent:
    """A component of free shape at another position and extension, of numbers, with the same spectrum.

    A class whose shapes are its own registers how.

    Raises
    ------
    SkyModelError
        If it is too far from the region to be seen.
    """
    from gammapy.modeling.models import PowerLawSpectralModel

    # the spectrum is not used
    source = SkySource(component.name, shape.spatial_model(field.roi.frame), PowerLawSpectralModel())
    parts = source.parts(field.roi, field.margin)
    if not parts:
        raise SkyModelError(
            f"component {component.name!r}: {shape} is not in or near {field.roi!r}; no event of it is seen there."
        )
    made = _sources(component.name, parts, list(component.part_fluxes()), field, shape)
    return made.freed() if component.is_free else made


def _sources(
    name: str, parts: Sequence[SkyPart], fluxes: Sequence[FloatArray], field: Field, form: LiveShape | None
) -> CompiledSources:
    """Parts with spectra on the nodes, in closed form or as rasters."""
    analytic, templates = [], []
    for part, flux in zip(parts, fluxes, strict=True):
        if isinstance(part.shape, TemplateShape):
            label = f"component {name!r}, {part.name!r}"
            raster = rasterise(part.shape, field.roi, field.pixel, field.margin, label)
            templates.append(Template(part.name, raster, flux))
        else:
            analytic.append((part, flux))
    return CompiledSources(name, _analytic(analytic), tuple(templates), form)


def _check_cells(component: str, parts: Iterable[SkyPart], sharpest: float) -> None:
    """Warn of a map that is coarser than what the instrument shows of it; once, for all energies of a cube."""
    for part in parts:
        shape = part.shape
        if isinstance(shape, TemplateShape) and shape.unresolved > UNRESOLVED and 0 < sharpest < shape.feature:
            warn_user(
                f"component {component!r}: the map of {part.name!r} has cells of {shape.feature:.3g} deg, wider than "
                f"the narrowest PSF (sigma {sharpest:.3g} deg), and differs by {shape.unresolved:.0%} from cell to "
                "cell. Its counts are right, but densities show cells instead of the structure in them; use a finer "
                "map."
            )
            return


def _analytic(sources: Sequence[tuple[SkyPart, FloatArray]]) -> Analytic | None:
    if not sources:
        return None
    parts = [part for part, _ in sources]
    gaussians = [
        (part.shape.sigma, part.shape.minor, part.shape.phi) if isinstance(part.shape, SkyGaussian) else (0.0,) * 3
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
        flux=np.stack([flux for _, flux in sources]),
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
