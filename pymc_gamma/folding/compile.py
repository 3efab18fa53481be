"""From sky components to arrays: what is folded, on which bins of true energy, and where it shines."""

import math
from collections.abc import Iterable, Sequence
from functools import singledispatch
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import SkyModelError, warn_user
from pymc_gamma.folding.background import CompiledBackground
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.nodes import spectrum_nodes, split_bins, tabulate
from pymc_gamma.folding.parts import Analytic, Template
from pymc_gamma.folding.raster import rasterise
from pymc_gamma.folding.sources import CompiledSources
from pymc_gamma.geometry import RegionOfInterest, position_angle_vector, unit_vectors
from pymc_gamma.irfs import IRFs
from pymc_gamma.observation import Observation
from pymc_gamma.sky import GaussianShape, PointShape, SkyComponent, SkyPart, TemplateShape

__all__ = ["Field", "compile_component", "folded_edges", "shining_offsets"]

FloatArray = NDArray[np.float64]

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
        return CompiledBackground(component.name)
    parts = component.parts(field.roi, field.margin)
    if not parts:
        raise SkyModelError(f"component {component.name!r} has no source in or near {field.roi!r}; leave it out.")
    energy = spectrum_nodes(field.energy_edges)
    _check_cells(component.name, parts, field.sharpest)
    analytic = [part for part in parts if isinstance(part.shape, PointShape | GaussianShape)]
    templates = []
    for part in parts:
        if not isinstance(part.shape, PointShape | GaussianShape):
            if len(parts) > 1 and not np.any(part.spectrum(energy)):
                continue  # a cube may hold energies that are of no concern here
            label = f"component {component.name!r}, {part.name!r}"
            raster = rasterise(part.shape, field.roi, field.pixel, field.margin, label)
            templates.append(Template(part.name, raster, _flux(part, field.energy_edges, component.name)))
    if not analytic and not templates:
        raise SkyModelError(f"component {component.name!r}: the spectrum is zero at every energy.")
    return CompiledSources(component.name, _analytic(analytic, field.energy_edges, component.name), tuple(templates))


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
