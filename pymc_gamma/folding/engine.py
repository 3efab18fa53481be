r"""Densities and acceptances of compiled components for one observation.

.. math::
   \lambda(E', \Omega') = t \sum_e \phi(E_e)\, R_e(E'\mid o)\, M_e(\Omega') , \qquad
   c = t \sum_e \phi(E_e) \int S(\Omega)\, A_e(o)\, P_e(\mathrm{domain}\mid\Omega)\, p_e(o)\,\mathrm{d}\Omega ,

where :math:`M_e` is the brightness times effective area convolved with the PSF, :math:`P_e` the probability to be
reconstructed inside the domain of selection on the sky (:mod:`pymc_gamma.folding.containment`) and :math:`p_e` inside
its energy range. The acceptance is integrated over the *true* sky, where it needs no convolution of the source; so it
does not share the approximations of the densities and checks them.

The residual background is already in reconstructed coordinates: rate times on-time, nothing is folded.
"""

import math
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.domain import Domain, DomainCells
from pymc_gamma.errors import IRFError
from pymc_gamma.folding import kernels
from pymc_gamma.folding.containment import DomainMask, containment
from pymc_gamma.folding.nodes import at_bins
from pymc_gamma.folding.parts import Analytic, CompiledComponent
from pymc_gamma.folding.raster import SPILL_MARGIN, Ladder
from pymc_gamma.folding.tables import FoldTables, interpolate_area
from pymc_gamma.geometry import RegionOfInterest, separation_deg
from pymc_gamma.irfs.core import TINY_RATE
from pymc_gamma.observation import Observation
from pymc_gamma.sums import weighted_sum
from pymc_gamma.threads import cpu_count, piece_size, run_parallel

__all__ = ["BackgroundRate", "FoldedObservation"]

FloatArray = NDArray[np.float64]
Place = tuple[NDArray[np.int64], FloatArray, NDArray[np.int64], NDArray[np.int64]]
"""Row and fraction of each event on the grid of reconstructed energies, start and stop of its band."""

CHUNK = 8192
BACKGROUND_CELL = 0.05
NO_TABLE = np.empty((0, 0, 0))


class FoldedObservation:
    """One observation prepared for folding.

    Parameters
    ----------
    domain : Domain
        What is kept of an observation.
    tables : FoldTables
        Its response on the true-energy bins.
    mask : DomainMask
        The domain on the sky, drawn; observations with the same share one.
    ladders : dict
        Ladder of each template, by component and part name; shared by all observations.

    Attributes
    ----------
    observation : Observation
        Pointing and times.
    roi : RegionOfInterest
        Region of interest.
    """

    def __init__(
        self, domain: Domain, tables: FoldTables, mask: DomainMask, ladders: dict[tuple[str, str], Ladder]
    ) -> None:
        assert domain.observation is not None
        self.domain, self.tables, self.mask, self.ladders = domain, tables, mask, ladders
        self.observation: Observation = domain.observation
        self.roi: RegionOfInterest = domain.roi
        self.axis = self.observation.axis_vector(self.roi.frame)
        self._responses: dict[str, list[FloatArray]] = {}
        self._backgrounds: dict[str, BackgroundRate] = {}

    @cached_property
    def background(self) -> "BackgroundRate":
        """Residual background; raises IRFError where the IRFs have none."""
        return BackgroundRate(self.domain)

    def background_of(self, component: str) -> "BackgroundRate":
        """Residual background of a component: that of the IRFs, unless it was given another."""
        other = self._backgrounds.get(component)
        return self.background if other is None else other

    def with_background(self, component: str, rate: "BackgroundRate") -> "FoldedObservation":
        """The same with another residual background of one component."""
        other = copy(self)
        other._backgrounds = {**self._backgrounds, component: rate}
        return other

    def with_backgrounds_of(self, folded: "FoldedObservation") -> "FoldedObservation":
        """The same with the residual backgrounds of another."""
        other = copy(self)
        if "background" in folded.__dict__:
            other.__dict__["background"] = folded.background
        other._backgrounds = folded._backgrounds
        return other

    def density(
        self,
        components: Sequence[CompiledComponent],
        vectors: FloatArray,
        energy: FloatArray,
        out: FloatArray,
    ) -> None:
        """Expected counts density of each component at each event.

        Parameters
        ----------
        components : sequence of CompiledComponent
            Mixture components, K of them.
        vectors : numpy.ndarray
            Unit vectors of the reconstructed directions, shape (N, 3).
        energy : numpy.ndarray
            Reconstructed energies in TeV, shape (N,).
        out : numpy.ndarray
            Filled with TeV-1 sr-1, shape (N, K).
        """
        size = piece_size(len(energy), CHUNK)

        def one_chunk(first: int) -> None:
            rows = slice(first, first + size)
            self._chunk(components, vectors[rows], np.log(energy[rows]), out[rows])

        if any(component.instrumental for component in components):
            _ = self.background  # built once, not in every thread
        run_parallel(one_chunk, range(0, len(energy), size))

    def density_in_bins(
        self, components: Sequence[CompiledComponent], vectors: FloatArray, energy_edges: FloatArray
    ) -> FloatArray:
        """Expected counts per solid angle of each component, integrated over bins of reconstructed energy.

        Zero outside the domain of selection; bins are cut at its energies.

        Parameters
        ----------
        components : sequence of CompiledComponent
            Mixture components, K of them.
        vectors : numpy.ndarray
            Unit vectors of reconstructed directions, shape (N, 3).
        energy_edges : numpy.ndarray
            Edges of the energy bins in TeV.

        Returns
        -------
        numpy.ndarray
            sr-1, shape (K, n_bins, N).
        """
        kept, used = self._bins(energy_edges)
        inside = np.flatnonzero(self.domain.contains_sky(vectors))
        every = np.zeros((len(components), len(energy_edges) - 1, len(vectors)))
        if len(kept) and len(inside):
            found = self._density_in_bins(components, vectors[inside], used)
            every[np.ix_(range(len(components)), kept, inside)] = found
        return every

    def _bins(self, energy_edges: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
        """Which bins are not empty after they are cut at the energies of the domain, and their edges."""
        edges = self.domain.clip(energy_edges)
        kept = np.flatnonzero(np.diff(edges) > 0)
        return kept, edges[np.r_[kept, kept[-1] + 1]] if len(kept) else edges[:1]

    def _density_in_bins(
        self, components: Sequence[CompiledComponent], vectors: FloatArray, energy_edges: FloatArray
    ) -> FloatArray:
        migration = self.tables.migration(energy_edges)
        n_bins = migration.shape[1]
        # the kernels interpolate between two rows of energy; here the first of them is the bin and the second unused
        rows = np.concatenate([migration, np.zeros_like(migration[:, :1])], axis=1, dtype=np.float32)
        out = np.empty((len(components), n_bins, len(vectors)))
        n_e = migration.shape[2]

        def one_chunk(first: int) -> None:
            chunk = slice(first, first + CHUNK)
            here = np.ascontiguousarray(vectors[chunk])
            n = len(here)
            band = np.empty((n, n_e))
            every = (np.zeros(n), np.zeros(n, np.int64), np.full(n, n_e))
            for k, component in enumerate(components):
                if component.instrumental:
                    out[k, :, chunk] = self.background_of(component.name).density_in_bins(here, energy_edges)
                    continue
                for b in range(n_bins):
                    band[:] = 0
                    self.band_density(component, here, (np.full(n, b), *every), rows, band)
                    out[k, b, chunk] = np.maximum(band.sum(axis=1), 0)  # the bins undershoot beside lines

        if any(component.instrumental for component in components):
            _ = self.background
        run_parallel(one_chunk, range(0, len(vectors), CHUNK))
        return out

    def place(self, log_energy: FloatArray) -> tuple[Place, FloatArray]:
        """Where events of these natural logarithms of energy lie on the tables, and room for their bands (zeros)."""
        tables, n = self.tables, len(log_energy)
        place = (np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64))
        kernels.locate_bands(log_energy, *tables.log_energy, tables.band_start, tables.band_stop, *place)
        return place, np.zeros((n, tables.band_width))

    def band_density(
        self,
        component: CompiledComponent,
        vectors: FloatArray,
        place: Place,
        dispersion: NDArray[Any],
        out: FloatArray,
    ) -> None:
        """Add a component to its true-energy bands, for the nominal spectra.

        ``dispersion[j, r, e]`` weighs true-energy bin e at row r (density in reconstructed energy, or probability of
        a bin) and dispersion offset j; ``out[i, b]`` is in units of it times sr-1.
        """
        tables, livetime = self.tables, self.observation.livetime_s
        analytic = component.analytic
        if analytic is not None:
            flux = self._at_bins(analytic.flux) * livetime
            events = (vectors, *place, dispersion, tables.edisp_offset, self.axis)
            smooth = tables.aeff_smooth if analytic.variance.any() else NO_TABLE
            response = (tables.aeff, smooth, tables.variance, tables.widest, tables.weight)
            round_, long = ~analytic.elongated, analytic.elongated
            if round_.any():
                kernels.add_gaussians(
                    *events,
                    analytic.vectors[round_],
                    analytic.variance[round_],
                    flux[round_],
                    *response,
                    tables.offset_step,
                    out,
                )
            if long.any():
                kernels.add_elongated(
                    *events,
                    analytic.vectors[long],
                    analytic.major_axis[long],
                    analytic.variance[long],
                    analytic.minor_variance[long],
                    flux[long],
                    *response,
                    tables.offset_step,
                    out,
                )
        for template in component.templates:
            ladder, raster = self.ladders[component.name, template.name], template.raster
            x, y = raster.plane.project(vectors)
            axis_x, axis_y = raster.plane.project(self.axis)
            kernels.add_template(
                x,
                y,
                separation_deg(vectors, self.axis),
                *place,
                dispersion,
                tables.edisp_offset,
                float(axis_x),
                float(axis_y),
                ladder.coefficients,
                raster.origin,
                raster.pixel,
                ladder.positions(tables.variance),
                ladder.step,
                self._at_bins(template.flux) * livetime,
                tables.aeff,
                tables.aeff_smooth,
                tables.variance,
                tables.weight,
                tables.offset_step,
                out,
            )

    def acceptance(self, component: CompiledComponent, energy_edges: FloatArray) -> FloatArray:
        """Expected counts of a component in the domain, per bin of reconstructed energy, shape (n_bins,)."""
        return sum(self.part_acceptance(component, energy_edges), np.zeros(len(energy_edges) - 1))

    def part_acceptance(self, component: CompiledComponent, energy_edges: FloatArray) -> list[FloatArray]:
        """As :meth:`acceptance`, for each analytic source and then each template of the component."""
        kept, used = self._bins(energy_edges)
        found: list[FloatArray]
        if len(kept) == 0:
            found = [np.zeros(0)] * (1 if component.instrumental else len(component.part_fluxes()))
        elif component.instrumental:
            found = [self.background_of(component.name).counts(used)]
        else:
            migration = self.tables.migration(used)
            found = [
                self.observation.livetime_s * np.einsum("je,jke,e->k", response, migration, flux)
                for response, flux in self._part_responses(component)
            ]
        every = np.zeros((len(found), len(energy_edges) - 1))
        every[:, kept] = found
        return list(every)

    def part_acceptance_by_energy_true(self, component: CompiledComponent) -> list[FloatArray]:
        """As :meth:`part_acceptance` for the whole range of energies, by true-energy bin, shape (n_e,) each."""
        migration = self.tables.migration(np.array(self.domain.energy_range))[:, 0]
        return [
            self.observation.livetime_s * np.einsum("je,je,e->e", response, migration, flux)
            for response, flux in self._part_responses(component)
        ]

    def part_exposure(self, component: CompiledComponent, energy: FloatArray) -> list[FloatArray]:
        """Exposure in cm2 s of each part of a component, averaged over its brightness, at true energies in TeV."""
        area, step = interpolate_area(self.observation.irfs, energy)
        n = 0 if component.analytic is None else len(component.analytic.variance)
        nodes = [component.analytic.nodes(p, 12, 16) for p in range(n) if component.analytic is not None]
        nodes += [template.raster.nodes() for template in component.templates]
        out = []
        for vectors, weight in nodes:
            position = separation_deg(vectors, self.axis) / step
            seen = position <= area.shape[1] - 1
            left = np.minimum(position.astype(int), area.shape[1] - 2)
            fraction = position - left
            of_node = np.bincount(left[seen], (weight * (1 - fraction))[seen], area.shape[1])
            of_node += np.bincount(left[seen] + 1, (weight * fraction)[seen], area.shape[1])
            out.append(self.observation.livetime_s * weighted_sum(area, of_node) / weight.sum())
        return out

    def _at_bins(self, flux: FloatArray) -> FloatArray:
        """Spectra on the nodes, at the true-energy bins."""
        return np.ascontiguousarray(at_bins(flux, self.tables.energy_edges))

    def _part_responses(self, component: CompiledComponent) -> list[tuple[FloatArray, FloatArray]]:
        """Integrals over the true sky (n_j, n_e) in cm2 TeV, and fluxes (n_e,), of the parts of a component."""
        sources = [] if component.analytic is None else list(self._at_bins(component.analytic.flux))
        if component.name not in self._responses:
            seen = [
                self._true_sky(*self._source_nodes(component.analytic, p))
                for p in range(len(sources))
                if component.analytic is not None
            ]
            seen += [self._true_sky(*template.raster.nodes()) for template in component.templates]
            self._responses[component.name] = seen
        fluxes = [*sources, *(self._at_bins(template.flux) for template in component.templates)]
        return list(zip(self._responses[component.name], fluxes, strict=True))

    def _chunk(
        self,
        components: Sequence[CompiledComponent],
        vectors: FloatArray,
        log_energy: FloatArray,
        out: FloatArray,
    ) -> None:
        vectors = np.ascontiguousarray(vectors)
        place, band = self.place(log_energy)
        for k, component in enumerate(components):
            if component.instrumental:
                out[:, k] = self.background_of(component.name).density(vectors, log_energy)
                continue
            band[:] = 0
            self.band_density(component, vectors, place, self.tables.edisp, band)
            band.sum(axis=1, out=out[:, k])
            np.maximum(out[:, k], 0, out=out[:, k])  # the bins undershoot beside lines

    def _source_nodes(self, analytic: Analytic, p: int) -> tuple[FloatArray, FloatArray]:
        """Quadrature nodes on the true sky of a point or Gaussian source.

        Far more where the source straddles an edge of the domain: the integrand falls off within the PSF there.
        """
        centre, variance = analytic.vectors[p], analytic.variance[p]
        if variance == 0:
            return centre[None], np.ones(1)
        sigma = np.sqrt(variance)
        if self.mask.is_whole(centre, 5 * sigma + 0.5):
            return analytic.nodes(p, 12, 16)
        size = min(self.roi.half_extent)
        if sigma < 0.2 * size:
            return analytic.nodes(p, 64, 64)
        # the region sees a part of the source: nodes around the region, not around the source
        spill = max(SPILL_MARGIN, 5 * math.sqrt(self.tables.variance_range[1]))
        half = self.roi.radius + spill
        step = min(0.05, sigma / 6, size / 8)
        grid = np.arange(-half, half + step, step)
        x, y = np.meshgrid(grid, grid)
        vectors = self.roi.plane.unproject(x.ravel(), y.ravel())
        if analytic.elongated[p]:
            return self._elongated_nodes(analytic, p, half, step)
        separation = separation_deg(vectors, centre)
        density = np.exp(-0.5 * separation**2 / variance) / (2 * np.pi * variance)
        seen = separation < 7 * sigma
        return np.ascontiguousarray(vectors[seen]), density[seen] * step**2

    def _elongated_nodes(self, analytic: Analytic, p: int, half: float, step: float) -> tuple[FloatArray, FloatArray]:
        """Quadrature nodes of an elongated Gaussian within ``half`` deg of the region: a grid along its axes."""
        centre, major_axis = analytic.vectors[p], analytic.major_axis[p]
        grids, profiles = [], []
        for variance in (analytic.variance[p], analytic.minor_variance[p]):
            sigma = np.sqrt(variance)
            width = min(step, 0.5 * sigma)
            # a line has one node across
            grid = (
                np.arange(-np.ceil(7 * sigma / width), np.ceil(7 * sigma / width) + 1) * width if sigma else np.zeros(1)
            )
            profile = np.exp(-0.5 * grid**2 / variance) if sigma else np.ones(1)
            grids.append(grid)
            profiles.append(profile / profile.sum())
        u, w = (np.radians(axis.ravel()) for axis in np.meshgrid(*grids))
        arc = np.hypot(u, w)
        local = np.stack([np.cos(arc), np.sinc(arc / np.pi) * u, np.sinc(arc / np.pi) * w], axis=-1)
        vectors = local @ np.stack([centre, major_axis, np.cross(centre, major_axis)])
        weight = np.outer(profiles[1], profiles[0]).ravel()
        seen = separation_deg(vectors, self.roi.basis[0]) < half
        return np.ascontiguousarray(vectors[seen]), weight[seen]

    def _true_sky(self, vectors: FloatArray, weight: FloatArray) -> FloatArray:
        """Integral of the response over nodes of the true sky: cm2 TeV, shape (n_j, n_e)."""
        tables, mask = self.tables, self.mask
        inside = containment(mask, tables.variance_range)
        rung = inside.positions(tables.variance)
        x, y = mask.plane.project(vectors)
        offset = separation_deg(vectors, self.axis)
        n_e = tables.aeff.shape[1]
        out = np.zeros((len(tables.edisp_offset), n_e))
        # the sum of a bin is the same in any division of the bins
        bounds = np.linspace(0, n_e, min(n_e, 2 * cpu_count()) + 1).astype(int)

        def some_bins(k: int) -> None:
            kernels.true_sky_integral(
                x,
                y,
                offset,
                weight,
                inside.coefficients,
                mask.origin,
                mask.pixel,
                rung,
                tables.aeff,
                tables.weight,
                tables.offset_step,
                tables.edisp_offset,
                bounds[k],
                bounds[k + 1],
                out,
            )

        run_parallel(some_bins, range(len(bounds) - 1))
        return out


class BackgroundRate:
    """Residual background of one observation in reconstructed coordinates.

    Parameters
    ----------
    domain : Domain
        What is kept of an observation whose IRFs have a background.

    Raises
    ------
    IRFError
        If the IRFs have no background.
    """

    def __init__(self, domain: Domain) -> None:
        observation = domain.observation
        assert observation is not None
        bkg = observation.irfs.bkg
        if bkg is None:
            raise IRFError(
                f"IRFs {observation.irfs.name} have no background (bkg), which CosmicRayBackground needs; "
                "use IRFs with one or leave the component out."
            )
        self._bkg, self.domain, self.ontime_s = bkg, domain, observation.ontime_s
        self._basis = observation.background_basis(domain.roi.frame)
        self._shapes: tuple[tuple[FloatArray, FloatArray], ...] = ()

    def with_shape(self, energy: FloatArray, values: FloatArray) -> "BackgroundRate":
        """The rate times a factor, linear in the logarithm of the energy between nodes in TeV, constant beyond."""
        other = copy(self)
        other._shapes = (*self._shapes, (np.log(energy), np.asarray(values, float)))
        return other

    def scaled(self, factor: float) -> "BackgroundRate":
        """The rate times a constant factor."""
        other = copy(self)
        other.ontime_s = self.ontime_s * factor
        return other

    def density(self, vectors: FloatArray, log_energy: FloatArray) -> FloatArray:
        """Counts density in TeV-1 sr-1 at unit vectors (N, 3) and natural logarithms of the energy in TeV (N,)."""
        out = self._bkg.rate_at(vectors, log_energy, self._basis) * self.ontime_s
        for shape in self._shapes:
            out *= np.interp(log_energy, *shape)
        return out

    def contrast(self, vectors: FloatArray, log_energy: FloatArray) -> FloatArray:
        """The density at events over its mean on the domain at their energies, shape (N,)."""
        energy = self.segments(np.array(self.domain.energy_range))
        at, solid_angle = np.log(energy), self.cells.solid_angle
        rate = self._bkg.spectra_at(self.cells.vectors, at, self._basis) * self.ontime_s
        for shape in self._shapes:
            rate *= np.interp(at, *shape)[:, None]
        mean = np.log(np.maximum(weighted_sum(rate, solid_angle) / solid_angle.sum(), TINY_RATE))
        return self.density(vectors, log_energy) / np.exp(np.interp(log_energy, at, mean))

    @cached_property
    def cells(self) -> DomainCells:
        """Small cells of the domain."""
        return self.domain.cells(BACKGROUND_CELL)

    def segments(self, energy_edges: FloatArray) -> FloatArray:
        """Energies in TeV between which the rate is a power law: the given edges and the nodes between them."""
        nodes = self._bkg.energy
        nodes = np.concatenate([nodes, *(np.exp(log_energy) for log_energy, _ in self._shapes)])
        inside = nodes[(nodes > energy_edges[0] * (1 + 1e-9)) & (nodes < energy_edges[-1] * (1 - 1e-9))]
        inside = np.sort(inside)
        fresh = np.r_[True, np.diff(inside) > 1e-9 * inside[1:]] if len(inside) else np.empty(0, bool)
        near = np.abs(inside[:, None] / energy_edges - 1).min(axis=1) < 1e-9
        return np.sort(np.concatenate([energy_edges, inside[fresh & ~near]]))

    def cell_counts(self, energy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Counts in each (segment, cell), and the power-law index of each; shapes (n - 1, n_cells)."""
        integral, slope = self._segment_integrals(self.cells.vectors, energy)
        return integral * self.cells.solid_angle, slope

    def density_in_bins(self, vectors: FloatArray, energy_edges: FloatArray) -> FloatArray:
        """Counts per sr at unit vectors (N, 3), integrated over bins of energy, shape (n_bins, N)."""
        energy = self.segments(energy_edges)
        integral, _ = self._segment_integrals(vectors, energy)
        return np.asarray(np.add.reduceat(integral, np.searchsorted(energy, energy_edges[:-1]), axis=0))

    def counts(self, energy_edges: FloatArray) -> FloatArray:
        """Expected counts in the domain on the sky per bin of energy, shape (n_bins,)."""
        return weighted_sum(self.density_in_bins(self.cells.vectors, energy_edges), self.cells.solid_angle)

    def _segment_integrals(self, vectors: FloatArray, energy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Counts per sr between neighbouring energies, and the index of the power law there; (n - 1, N)."""
        log_energy = np.log(energy)
        rate = self._bkg.spectra_at(vectors, log_energy, self._basis) * self.ontime_s
        for shape in self._shapes:
            rate *= np.interp(log_energy, *shape)[:, None]
        slope = np.diff(np.log(np.maximum(rate, TINY_RATE)), axis=0) / np.diff(log_energy)[:, None]
        power = slope + 1  # integral of E^slope is E^power / power
        span = np.diff(log_energy)[:, None]
        flat = np.abs(power) < 1e-6
        safe = np.where(flat, 1, power)
        integral = energy[:-1, None] * rate[:-1] * np.where(flat, span, np.expm1(safe * span) / safe)
        return integral, slope
