r"""A halo of dark matter, folded: one density profile, as a sum of Gaussians of fixed widths.

The flux is that for a J factor of 1 TeV2 cm-5 (or a D factor of 1 TeV cm-2), and the Gaussians have J factors
(:func:`pymc_gamma.halos.gaussian_weights`),

.. math:: \phi(E, \Omega) = \phi_J(E)\, \sum_g J_g\, G_g(\Omega) ,

so that whoever changes the profile changes the J factors, and whoever changes the spectrum the flux for each.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.compile import Field, reshaped
from pymc_gamma.folding.energies import Place
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.halo_kernels import add_halo
from pymc_gamma.folding.parts import Analytic, Template
from pymc_gamma.folding.photons import PhotonComponent
from pymc_gamma.folding.raster import SPILL_MARGIN, Raster
from pymc_gamma.folding.sources import CompiledSources
from pymc_gamma.folding.tables import interpolate_area
from pymc_gamma.geometry import RegionOfInterest, gaussian_nodes, lonlat_from_vectors, separation_deg
from pymc_gamma.halos import GAUSSIAN_WIDTHS, Profile, gaussian_density, gaussian_weights, region_shares
from pymc_gamma.labelled import as_mapping
from pymc_gamma.sums import weighted_sum

__all__ = ["UNIT_OF_POWER", "CompiledHalo", "SkyNodes"]

UNIT_OF_POWER = {2: 1e-6, 1: 1e-3}
"""TeV2 cm-5 in GeV2 cm-5, and TeV cm-2 in GeV cm-2, by the power of the density."""
SAME_EVERYWHERE = 1e14
"""Variance in deg2 that stands for an infinite one."""
VARIANCE: FloatArray = np.minimum(GAUSSIAN_WIDTHS**2, SAME_EVERYWHERE)
NARROW = 0.2
"""Gaussians below this share of half the region are integrated around the centre, others around the region."""
STEP = 0.05
"""Spacing in deg of the latter nodes."""
BLUR = 0.02
"""Width in deg of a PSF so sharp that a centre seen through it is called a peak."""
BRIGHT = 0.01
"""Share of the brightness there from which a Gaussian is."""


@dataclass(frozen=True, eq=False)
class SkyNodes:
    """Nodes on the true sky that Gaussians of the widths share.

    Attributes
    ----------
    polar : tuple
        Unit vectors (n, 3) and weights (n,) around the centre, of the narrow widths, the first ones.
    vectors : numpy.ndarray
        Unit vectors around the region, shape (n, 3).
    weight : numpy.ndarray
        The other widths there: density times solid angle, shape (n_wide, n).
    """

    polar: tuple[tuple[FloatArray, FloatArray], ...]
    vectors: FloatArray
    weight: FloatArray

    def of(self, amounts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Nodes and weights of a sum of the Gaussians."""
        narrow = list(zip(self.polar, amounts, strict=False))
        vectors = [one[0] for one, _ in narrow] + [self.vectors]
        weight = [one[1] * amount for one, amount in narrow] + [amounts[len(narrow) :] @ self.weight]
        return np.concatenate(vectors), np.concatenate(weight)

    def one(self, g: int) -> tuple[FloatArray, FloatArray]:
        """Nodes and weights of a Gaussian."""
        return self.polar[g] if g < len(self.polar) else (self.vectors, self.weight[g - len(self.polar)])


@dataclass(frozen=True, eq=False)
class CompiledHalo(PhotonComponent):
    """A halo around one direction.

    Attributes
    ----------
    vector : numpy.ndarray
        Unit vector of the centre, shape (3,).
    flux : numpy.ndarray
        Spectrum on the nodes for a J factor of 1 TeV2 cm-5, or a D factor of 1 TeV cm-2, TeV-1 cm-2 s-1.
    profile : Profile
        The density.
    power : int
        2 for annihilation, 1 for decay.
    free : bool
        Whether the profile is left to a model.
    """

    kind: ClassVar[str] = "halo"
    vector: FloatArray
    flux: FloatArray
    profile: Profile
    power: int
    free: bool = False

    @cached_property
    def amounts(self) -> FloatArray:
        """J factors of the Gaussians in TeV2 cm-5, or D factors in TeV cm-2."""
        return np.asarray(gaussian_weights(self.profile, self.power) * UNIT_OF_POWER[self.power])

    @property
    def n_parts(self) -> int:
        """It is one."""
        return 1

    @property
    def is_free(self) -> bool:
        """Whether its profile is left to a model."""
        return self.free

    def freed(self) -> "CompiledHalo":
        """The component with its profile left to a model."""
        return replace(self, free=True)

    @property
    def shape_example(self) -> str:
        """What a model may be given as its shape."""
        return f'{{"{(*self.profile.slopes, "r_s")[0]}": ...}}'

    def own_shape(self, given: Any) -> Profile:
        """A profile of numbers: that given, or this one with other parameters."""
        profile = given if isinstance(given, Profile) else self.profile.with_parameters(**self.named(given))
        gaussian_weights(profile, self.power)  # says what is wrong
        return profile

    def named(self, given: Any) -> Mapping[str, Any]:
        """Parameters of the profile by name.

        Raises
        ------
        ModelError
            If there is no such parameter.
        """
        names = ("r_s", "r_c", *self.profile.slopes)
        return as_mapping(given, names, f"the profile of {self.name!r}", "parameters")

    def with_fluxes(self, fluxes: FloatArray) -> "CompiledHalo":
        """The component with another spectrum, shape (1, n_nodes)."""
        return replace(self, flux=fluxes[0])

    def part_fluxes(self) -> FloatArray:
        """Its spectrum for a J or D factor of 1, shape (1, n_nodes)."""
        return self.flux[None]

    def spectra(self) -> list[FloatArray]:
        """Its spectrum."""
        return [self.flux]

    def peaks(self) -> tuple[FloatArray, FloatArray]:
        """The centre, and the variance in deg2 of the narrowest Gaussian that is bright there."""
        seen = self.amounts / (VARIANCE + BLUR**2)
        first = int(np.argmax(np.cumsum(seen) > BRIGHT * seen.sum()))
        return self.vector[None], VARIANCE[[first]]

    def offsets(self, axis: FloatArray) -> tuple[float, float]:
        """It shines everywhere."""
        return 0.0, math.inf

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a store keeps of it."""
        meta = {"name": self.name, "profile": self.profile.to_dict(), "power": self.power}
        return meta, {"vector": self.vector, "flux": self.flux}

    @classmethod
    def from_arrays(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "CompiledHalo":
        """The component from a store."""
        profile = Profile.from_dict(meta["profile"])
        return cls(meta["name"], arrays["vector"], arrays["flux"], profile, int(meta["power"]))

    def add_bands(
        self,
        folded: FoldedObservation,
        vectors: FloatArray,
        place: Place,
        dispersion: NDArray[Any],
        out: FloatArray,
    ) -> None:
        """Add the component to bands of true energy, for its spectrum; see `PhotonComponent.add_bands`."""
        self._add(folded, vectors, place, dispersion, self.amounts, False, out[:, None])

    def add_widths(
        self, folded: FoldedObservation, vectors: FloatArray, place: Place, dispersion: NDArray[Any], out: FloatArray
    ) -> None:
        """As :meth:`add_bands` for each of the Gaussians with a J factor of 1, in ``out[i, width, b]``."""
        self._add(folded, vectors, place, dispersion, np.ones(len(VARIANCE)), True, out)

    def _add(
        self,
        folded: FoldedObservation,
        vectors: FloatArray,
        place: Place,
        dispersion: NDArray[Any],
        amounts: FloatArray,
        separate: bool,
        out: FloatArray,
    ) -> None:
        tables = folded.tables
        add_halo(
            vectors,
            *place,
            dispersion,
            tables.edisp_offset,
            folded.axis,
            self.vector,
            VARIANCE,
            amounts,
            separate,
            folded.at_bins(self.flux[None])[0] * folded.observation.livetime_s,
            tables.aeff,
            tables.aeff_smooth,
            tables.variance,
            tables.widest,
            tables.weight,
            tables.offset_step,
            out,
        )

    def true_sky(self, folded: FoldedObservation) -> list[FloatArray]:
        """Integral of the response over the true sky, times the J factors."""
        widths = folded.made(self._widths)
        if widths is not None:
            return [np.tensordot(self.amounts, widths, 1)]
        return [folded.true_sky(*self.nodes(folded).of(self.amounts))]

    def true_sky_of_widths(self, folded: FoldedObservation) -> FloatArray:
        """Integrals of the response over the true sky for each Gaussian, shape (n_widths, n_j, n_e) in cm2 TeV.

        They are kept, and serve for all profiles.
        """

        def make() -> FloatArray:
            nodes = self.nodes(folded)
            return np.stack([folded.true_sky(*nodes.one(g)) for g in range(len(VARIANCE))])

        return folded.kept(self._widths, make)

    @property
    def _widths(self) -> str:
        return f"widths of {self.name!r}"

    def source_counts(self, folded: FoldedObservation, sources: CompiledSources) -> FloatArray:
        """Expected counts of the parts of what :meth:`as_sources` returned."""
        widths = folded.made(self._widths)
        span = np.array(folded.domain.energy_range)
        if widths is None:
            return sources.part_acceptance(folded.with_other(self.name, {}), span)[:, 0]
        migration, flux = folded.tables.migration(span)[:, 0], folded.at_bins(self.flux[None])[0]
        counts = self.amounts * np.einsum("gje,je,e->g", widths, migration, flux) * folded.observation.livetime_s
        n_narrow = sources.n_parts - 1
        return np.append(counts[:n_narrow], counts[n_narrow:].sum())

    def nodes(self, folded: FoldedObservation) -> SkyNodes:
        """Nodes on the true sky around an observation's part of the region."""
        roi, n_narrow = folded.roi, self._n_narrow(folded.roi)
        polar = []
        for variance in VARIANCE[:n_narrow]:
            whole = folded.mask.is_whole(self.vector, 5 * math.sqrt(variance) + 0.5)
            polar.append(gaussian_nodes(self.vector, float(variance), *((12, 16) if whole else (64, 64))))
        spill = max(SPILL_MARGIN, 5 * math.sqrt(folded.tables.variance_range[1]))
        vectors, solid_angle = _around(roi, roi.radius + spill, min(STEP, min(roi.half_extent) / 8))
        weight = self._densities(vectors, n_narrow) * solid_angle
        return SkyNodes(tuple(polar), vectors, weight)

    def part_exposure(self, folded: FoldedObservation, energy: FloatArray) -> FloatArray:
        """Exposure in cm2 s, averaged over its brightness in the region, at true energies in TeV, (1, n)."""
        vectors, weight = self.nodes(folded).of(self.amounts)
        inside = folded.roi.contains_vectors(vectors)
        area, step = interpolate_area(folded.observation.irfs, energy)
        position = separation_deg(vectors[inside], folded.axis) / step
        left = np.minimum(position.astype(int), area.shape[1] - 2)
        fraction, weight = position - left, weight[inside]
        seen = position <= area.shape[1] - 1
        at_node = np.bincount(left[seen], (weight * (1 - fraction))[seen], area.shape[1])
        at_node += np.bincount(left[seen] + 1, (weight * fraction)[seen], area.shape[1])
        return folded.observation.livetime_s * weighted_sum(area, at_node)[None] / max(weight.sum(), 1e-300)

    def as_sources(self, roi: RegionOfInterest, spill: float) -> CompiledSources:
        """The narrow Gaussians as sources, and the rest as one template of the region: what events are drawn of."""
        lon = float(lonlat_from_vectors(self.vector)[0])
        n_narrow = self._n_narrow(roi)
        narrow, amounts = VARIANCE[:n_narrow], self.amounts[:n_narrow]
        axis = np.array([-math.sin(math.radians(lon)), math.cos(math.radians(lon)), 0.0])
        analytic = Analytic(
            tuple(f"{self.name}: {math.sqrt(variance):.3g} deg" for variance in narrow),
            np.tile(self.vector, (n_narrow, 1)),
            narrow,
            narrow,
            np.tile(axis, (n_narrow, 1)),
            amounts[:, None] * self.flux,
        )
        half = roi.radius + spill
        pixel = min(STEP, min(roi.half_extent) / 8)
        n = 2 * math.ceil(half / pixel)
        centre = (np.arange(n) - 0.5 * (n - 1)) * pixel
        x, y = np.meshgrid(centre, centre)
        near = np.hypot(x, y) < half
        values = np.zeros(x.shape)
        vectors = roi.plane.unproject(x[near], y[near])
        values[near] = self.amounts[n_narrow:] @ self._densities(vectors, n_narrow)
        template = Template(self.name, Raster(roi.plane, pixel, values), self.flux)
        return CompiledSources(self.name, analytic if n_narrow else None, (template,))

    def _n_narrow(self, roi: RegionOfInterest) -> int:
        """Number of Gaussians that are integrated around the centre; none if that is far away."""
        size = NARROW * min(roi.half_extent)
        away = float(separation_deg(self.vector, roi.basis[0])) - roi.radius
        return int(np.searchsorted(GAUSSIAN_WIDTHS, size)) if away < 3 * size else 0

    def _densities(self, vectors: FloatArray, first: int) -> FloatArray:
        """Gaussians per solid angle at unit vectors, from one on, shape (n_widths - first, n)."""
        found = gaussian_density(np.maximum(separation_deg(vectors, self.vector), 1e-6))
        return np.ascontiguousarray(found[:, first:].T)

    def flux_scale(self, roi: RegionOfInterest, shape: Any = None) -> Any:
        """J factor of the region in TeV2 cm-5, or D factor in TeV cm-2."""
        profile = shape if isinstance(shape, Profile) else self.profile
        values = {} if shape is None or isinstance(shape, Profile) else self.named(shape)
        found = (region_shares(roi) * gaussian_weights(profile, self.power, **values)).sum()
        return found * UNIT_OF_POWER[self.power]

    def check_spectrum(self, spectrum: Any) -> None:
        """Raise a SkyModelError for a spectrum with a J or D factor of its own, or of the other kind of process."""
        power = getattr(spectrum, "density_power", None)
        if power not in (None, self.power):
            kinds = {2: "annihilation, by the square of the density", 1: "decay, by the density"}
            raise SkyModelError(
                f"the halo {self.name!r} shines by {kinds[self.power]}, and its spectrum is one of {kinds[power]}; "
                "fold it with a spectrum of the same kind."
            )
        factor = getattr(spectrum, "density_factor", None)
        if factor is not None:
            raise SkyModelError(
                f"the spectrum of the halo {self.name!r} has a {factor}, but that follows from the density profile; "
                f"leave {factor} out of the spectrum."
            )


def _around(roi: RegionOfInterest, half: float, step: float) -> tuple[FloatArray, float]:
    """Unit vectors of a grid within a distance in deg of the middle of a region, and its solid angle each in sr."""
    grid = np.arange(-half, half + step, step)
    x, y = np.meshgrid(grid, grid)
    near = np.hypot(x, y) < half
    return np.ascontiguousarray(roi.plane.unproject(x[near], y[near])), math.radians(step) ** 2


@reshaped.register
def _(component: CompiledHalo, shape: Profile, field: Field) -> CompiledHalo:
    return replace(component, profile=shape)
