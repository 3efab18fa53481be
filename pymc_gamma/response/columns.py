"""What is expected of sky components: densities at events, and acceptances; see :mod:`pymc_gamma.response.core`."""

import math
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import checked, kind, number, plain, text, texts
from pymc_gamma.datasets import Citation
from pymc_gamma.domain import Domain
from pymc_gamma.errors import EventError, ModelError, SkyModelError
from pymc_gamma.events import Events
from pymc_gamma.events.rows import EVENT_ROWS, SPACE_ROWS, row_layout
from pymc_gamma.flux import spectrum_values
from pymc_gamma.folding.containment import DomainMask
from pymc_gamma.folding.engine import FoldedObservation
from pymc_gamma.folding.free import Averaging, Bands, FreeComponent, concatenate, no_bands, reorder
from pymc_gamma.folding.nodes import spectrum_nodes, tabulate, warn_unresolved
from pymc_gamma.folding.parts import CompiledComponent, folded_edges, shining_offsets
from pymc_gamma.folding.ranges import InRanges
from pymc_gamma.folding.raster import Ladder, spill_margin
from pymc_gamma.folding.tables import IN_BIN_INDEX, build_tables
from pymc_gamma.geometry import RegionOfInterest, unit_vectors
from pymc_gamma.labelled import as_mapping
from pymc_gamma.observation import Observation
from pymc_gamma.response.cells import CellGroup, average_over_cells, check_cells
from pymc_gamma.response.checks import check_coverage, check_rows, warn_unexplained
from pymc_gamma.response.free import FreeColumns
from pymc_gamma.threads import run_parallel
from pymc_gamma.units import numbers

__all__ = ["Columns"]

FloatArray = NDArray[np.float64]


class Columns:
    """Densities and acceptances of sky components: what is expected.

    The first layer of :class:`pymc_gamma.Response`, which documents parameters and attributes.
    """

    def __init__(
        self,
        components: Sequence[CompiledComponent],
        observations: Sequence[Observation],
        roi: RegionOfInterest,
        energy_edges: FloatArray,
        citations: Sequence[Citation] = (),
        free_spectrum: Sequence[str] = (),
    ) -> None:
        self._components = tuple(components)
        self.component_names = tuple(component.name for component in components)
        self.observations = tuple(observations)
        self.roi = roi
        self.energy_true_edges = np.ascontiguousarray(energy_edges, float)
        self._citations = tuple(citations)
        self._background_is_nominal = True
        self.reco: tuple[str, ...] = ("energy", "lon", "lat")
        if len(self.observations) > 1:
            self.reco = (*self.reco, "observation")
        self.domains = tuple(Domain(roi, observation) for observation in self.observations)
        check_coverage(self.domains)
        self._folded = self._fold()
        self._counts = self._acceptances()
        dark = ~(self._counts.sum(axis=1) > 0)
        if dark.any():
            names = [name for name, is_dark in zip(self.component_names, dark, strict=True) if is_dark]
            raise SkyModelError(f"no events expected from {names} in {roi!r}; leave them out or enlarge the region.")
        self.free_spectrum = tuple(name for name in self.component_names if name in free_spectrum)

    def __repr__(self) -> str:
        rows = [
            f"  {name:<16} {count:12.5g} expected counts" + (", spectrum free" if name in self.free_spectrum else "")
            for name, count in zip(self.component_names, self._counts.sum(axis=1), strict=True)
        ]
        head = f"<Response: {len(rows)} components, {len(self.observations)} observation(s), {self.roi!r}>"
        return "\n".join([head, *rows])

    @property
    def coords(self) -> dict[str, list[Any]]:
        """Coordinates for ``pm.Model(coords=...)``: components, indices of observations, columns of events."""
        return {
            "component": list(self.component_names),
            "observation": list(range(len(self.observations))),
            "reco": list(self.reco),
        }

    @property
    def energy_true(self) -> FloatArray:
        """Nodes of true energy in TeV at which spectra are tabulated and free ones evaluated, shape (n,)."""
        return spectrum_nodes(self.energy_true_edges)

    @property
    def instrumental(self) -> tuple[str, ...]:
        """Names of the components that are residual background."""
        return tuple(component.name for component in self._components if component.instrumental)

    @property
    def acceptance(self) -> xr.DataArray:
        """Expected counts of each component at its nominal flux, over all observations."""
        return self.acceptance_by_observation.sum("observation")

    @property
    def acceptance_by_observation(self) -> xr.DataArray:
        """Expected counts, dims (component, observation)."""
        coords = {"component": list(self.component_names), "observation": np.arange(len(self.observations))}
        return xr.DataArray(
            self._counts.copy(),
            coords,
            ("component", "observation"),
            name="acceptance",
            attrs={"units": "counts"},
        )

    @checked(events=kind("Events"))
    def density(self, events: Events) -> FloatArray:
        """Expected counts density of each component at each event, at nominal fluxes.

        Parameters
        ----------
        events : Events
            N events inside the region.

        Returns
        -------
        numpy.ndarray
            TeV-1 sr-1, shape (N, K), under the observation each event belongs to.

        Raises
        ------
        EventError
            If an event is outside the domain of its observation, or of none of them; says why.
        """
        rows = self.event_rows(events)
        return self._densities(np.delete(rows, len(self.reco), axis=1) if rows.shape[1] > len(self.reco) else rows)

    def with_spectra(self, spectra: Mapping[str, Any] | None = None, norms: Mapping[str, float] | None = None) -> Self:
        """The same response with other nominal fluxes, which its ``npred``, ``acceptance`` and ``simulate`` follow.

        Parameters
        ----------
        spectra : mapping, optional
            Spectra of free components, as for :meth:`simulate`, in TeV-1 cm-2 s-1; factors on the rate of the residual
            background.
        norms : mapping, optional
            Factors on the fluxes of any components.

        Returns
        -------
        Response

        Raises
        ------
        ModelError
            If a name is not that of a component (of free spectrum), or a number is negative or not finite.
        """
        norms = as_mapping(norms, self.component_names, "norms")
        components, folded = list(self._components), list(self._folded)
        for j, spectrum in enumerate(self.spectra_values({} if spectra is None else spectra)):
            coefficients = self._free.coefficients(j, spectrum)
            k = self.component_names.index(self.free_spectrum[j])
            rates = self._free.background(j, coefficients)
            if rates is None:
                components[k] = self._free.compiled(j, coefficients)
            else:
                name = self.free_spectrum[j]
                folded = [one.with_background(name, rate) for one, rate in zip(folded, rates, strict=True)]
        for name, given in norms.items():
            norm = np.squeeze(numbers(given, f"the norm of {name!r}", finite=False))
            if norm.ndim or not (np.isfinite(norm) and norm >= 0):
                raise ModelError(f"the norm of {name!r} must be a finite number, not negative, got {given}.")
            k = self.component_names.index(name)
            components[k] = components[k].scaled(float(norm))
            if components[k].instrumental:
                folded = [one.with_background(name, one.background_of(name).scaled(float(norm))) for one in folded]
        changed = self._changed(components, folded)
        changed._background_is_nominal = self._background_is_nominal and folded == list(self._folded)
        return changed

    @checked(energy_scale=partial(number, low=0), psf_scale=partial(number, low=0))
    def with_systematics(self, *, energy_scale: float = 1.0, psf_scale: float = 1.0) -> Self:
        """The response of an instrument whose energies or PSF are off by factors, see `IRFs.distorted`."""
        irfs = {
            one: one.distorted(energy_scale=energy_scale, psf_scale=psf_scale)
            for one in {observation.irfs for observation in self.observations}
        }
        observations = [observation.with_irfs(irfs[observation.irfs]) for observation in self.observations]
        other = type(self)(
            self._components, observations, self.roi, self.energy_true_edges, self._citations, self.free_spectrum
        )
        if self._background_is_nominal:
            return other
        pairs = zip(other._folded, self._folded, strict=True)
        return other._changed(self._components, [new.with_backgrounds_of(old) for new, old in pairs])

    @checked(component=text, energy=plain("TeV"))
    def nominal_flux(self, component: str, energy: ArrayLike) -> FloatArray:
        """Spectrum of a sky component, summed over its parts, TeV-1 cm-2 s-1 at true energies in TeV.

        Raises
        ------
        SkyModelError
            If there is no such component, or it is the residual background.
        ModelError
            If an energy is outside those that the response was folded for.
        """
        at, span = np.asarray(energy, float), self.energy_true_edges[[0, -1]]
        if np.any((at < span[0] * (1 - 1e-9)) | (at > span[1] * (1 + 1e-9))):
            raise ModelError(
                f"the spectrum of {component!r} is known at {span[0]:.4g}-{span[1]:.4g} TeV, for which it was folded, "
                f"and not at {at.min():.4g}-{at.max():.4g} TeV; fold with a wider energy_true, or give its spectrum."
            )
        nodes = spectrum_nodes(self.energy_true_edges)
        ratio = self._sky_component(component).part_fluxes().sum(axis=0) * nodes**IN_BIN_INDEX
        # linear, as densities and draws have it: the integral over a line is that of its values at the nodes
        return np.asarray(np.interp(np.log(at), np.log(nodes), ratio) * at**-IN_BIN_INDEX)

    @checked(component=text, energy=plain("TeV", None))
    def mean_exposure(self, component: str, energy: ArrayLike) -> FloatArray:
        """Exposure in cm2 s of a sky component, averaged over its brightness, at true energies in TeV (n,).

        By observation, shape (n_observations, n).

        Raises
        ------
        SkyModelError
            If there is no such component, or it is the residual background.
        """
        compiled, at = self._sky_component(component), np.asarray(energy, float)
        fluxes = compiled.part_fluxes()
        share = fluxes / np.where(fluxes.sum(axis=0) > 0, fluxes.sum(axis=0), 1)
        nodes = np.log(spectrum_nodes(self.energy_true_edges))
        weight = np.stack([np.interp(np.log(at), nodes, one) for one in share])
        weight = np.where(weight.sum(axis=0) > 0, weight, 1 / len(weight))
        exposures = [np.stack(one.part_exposure(compiled, at)) for one in self._folded]
        return np.stack([(weight * exposure).sum(axis=0) for exposure in exposures])

    @checked(events=kind("Events"))
    def event_rows(self, events: Events) -> FloatArray:
        """Rows of an event list in the frame of the region: TeV, deg, and observation where there are several.

        A column more holds the multiplicities, if any differs from 1, and six more after it the edges of the cells that
        events fill (:mod:`pymc_gamma.events.rows`): `EventMixture` knows what they mean.

        Raises
        ------
        EventError
            If an event belongs to an observation that the response does not have, or events fill cells in another
            frame.
        """
        unknown = events.observation >= len(self.observations)
        if unknown.any():
            first = np.flatnonzero(unknown)[:5].tolist()
            raise EventError(
                f"{int(unknown.sum())} of {len(events)} events, first rows {first}, belong to observation "
                f"{int(events.observation.max())}, but the response has {len(self.observations)} observation(s)."
            )
        single, counted, celled = EVENT_ROWS
        extra = single if np.all(events.multiplicity == 1) else counted
        columns = (*self.reco, *(extra if events.cells is None else celled))
        return events.to_frame(self.roi.frame).to_rows(columns)

    def component_pdf(self, rows: ArrayLike) -> FloatArray:
        """Probability density of event rows under each component.

        Parameters
        ----------
        rows : array_like
            Shape (N, len(reco)): TeV, degrees in the frame of the region, observation index. Six columns more are edges
            of cells (:data:`pymc_gamma.events.rows.CELL`), over whose part in the region densities are averaged.

        Returns
        -------
        numpy.ndarray
            TeV-1 sr-1, shape (N, K); each column integrates to 1 over the region and observations.

        Raises
        ------
        EventError
            If a row is not finite or outside the domain of its observation.
        """
        return self._densities(np.asarray(rows, float)) / self._counts.sum(axis=1)

    @checked(smooth=texts)
    def column_densities(self, rows: ArrayLike, smooth: Collection[str] = ()) -> tuple[FloatArray, Bands]:
        """Densities as a model needs them: of fixed components as in :meth:`component_pdf`, bands of the free ones.

        Parameters
        ----------
        rows : array_like
            As for :meth:`component_pdf`.
        smooth : collection of str
            As for :meth:`spectral_bands`.

        Returns
        -------
        fixed : numpy.ndarray
            Of the components that are not of free spectrum, in their order, TeV-1 sr-1, shape (N, n).
        bands : Bands
            As of :meth:`spectral_bands`.
        """
        rows = np.asarray(rows, float)
        fixed = [k for k, name in enumerate(self.component_names) if name not in self.free_spectrum]
        own, cells = self._without_cells(rows)
        if cells is None:
            density = self._densities(rows, fixed)
            if self.instrumental:
                warn_unexplained(own, self._background_contrast(own), self.domains)
            bands = self.spectral_bands(rows, smooth) if self.free_spectrum else no_bands(len(rows))
        else:
            groups = self._over_cells(own, cells)
            density = self._in_order(groups, len(rows))[:, fixed]
            bands = self._bands_of_cells(groups, smooth) if self.free_spectrum else no_bands(len(rows))
        return density / self._counts.sum(axis=1)[fixed], bands

    @cached_property
    def free_components(self) -> tuple[FreeComponent, ...]:
        """Nodes, acceptances and nominal spectra of the components of free spectrum, in their order.

        Raises
        ------
        ModelError
            If the response was folded without ``free_spectrum``.
        """
        return self._free.components

    @checked(smooth=texts)
    def spectral_bands(self, rows: ArrayLike, smooth: Collection[str] = ()) -> Bands:
        """Columns of event rows for each free component.

        Parameters
        ----------
        rows : array_like
            As for :meth:`component_pdf`.
        smooth : collection of str
            Names of the components whose spectrum has no narrow features: their columns are those of
            ``free_components[k].smooth``.

        Returns
        -------
        Bands
            TeV-1 sr-1 per unit coefficient, over the total acceptance of each component of :attr:`free_components`.

        Raises
        ------
        EventError
            If a row is not finite or outside the domain of its observation.
        """
        rows, cells = self._without_cells(np.asarray(rows, float))
        if cells is not None:
            return self._bands_of_cells(self._over_cells(rows, cells), smooth)
        check_rows(rows, self.reco, self.domains)
        vectors = unit_vectors(rows[:, 1], rows[:, 2])
        if len(self.observations) == 1:
            return self._free.bands(0, vectors, rows[:, 0], smooth)
        which = rows[:, 3].astype(int)
        order = np.argsort(which, kind="stable")
        mine = [np.flatnonzero(which == o) for o in range(len(self.observations))]
        held = [o for o, i in enumerate(mine) if len(i)]
        parts = run_parallel(lambda o: self._free.bands(o, vectors[mine[o]], rows[mine[o], 0], smooth), held)
        return reorder(concatenate(parts, len(self.free_spectrum)), np.argsort(order))

    def release(self) -> None:
        """Drop large tables that only :meth:`spectral_bands` needs; it makes them again."""
        if "_free" in self.__dict__:
            self._free.release()

    def expected_parts(self, spectra: Sequence[ArrayLike] | None = None) -> list[list[FloatArray]]:
        """Expected counts of the parts of each component, at nominal fluxes or given spectra of the free components.

        Parameters
        ----------
        spectra : sequence of array_like, optional
            One for each of :attr:`free_components`: values at its energies, shape (n,) or (n_observations, n).

        Returns
        -------
        list of list of numpy.ndarray
            By observation and component, shape (n_parts,) each.
        """
        counts = [list(of_observation) for of_observation in self._part_counts]
        for j, spectrum in enumerate(() if spectra is None else spectra):
            coefficients = self._free.coefficients(j, spectrum)
            k = self.component_names.index(self.free_spectrum[j])
            for o, parts in enumerate(self._free.part_counts(j, coefficients)):
                counts[o][k] = parts
        return counts

    def spectra_values(self, spectra: Mapping[str, Any]) -> list[FloatArray]:
        """Values of given spectra at the energies of the free components, nominal where none is given.

        Raises
        ------
        ModelError
            If a name is not that of a free component.
        """
        spectra = as_mapping(spectra, self.free_spectrum, "spectra", "components of free spectrum")
        values = []
        for component in self.free_components if spectra else ():
            values.append(self._spectrum_values(component, spectra.get(component.name, component.nominal)))
        return values

    def _spectrum_values(self, component: FreeComponent, given: Any) -> FloatArray:
        """Values of a function at the energies of a free component, or the values given, checked."""

        def at(energy: FloatArray) -> FloatArray:
            flux = spectrum_values(given, energy, component.unit, component.name)
            return np.asarray(flux.eval() if hasattr(flux, "eval") else flux, float)

        if component.smooth is None:
            return at(component.energy)
        label = f"the spectrum of {component.name!r}"
        if callable(given):
            return tabulate(at, self.energy_true_edges, label)
        values = at(component.energy)
        if values.shape == component.energy.shape and given is not component.nominal:
            warn_unresolved(values, self.energy_true_edges, label)
        return values

    def _without_cells(self, rows: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Rows without the edges of cells, and these if there are any."""
        layout = row_layout(self.reco, rows.shape[1], SPACE_ROWS) if rows.ndim == 2 else None
        if layout is None or layout.cell is None:
            return rows, None
        return rows[:, : len(self.reco)], rows[:, layout.cell]

    def _densities(self, rows: FloatArray, which: Sequence[int] | None = None) -> FloatArray:
        """Counts density of all components, or some given by number, TeV-1 sr-1, shape (N, n); averaged over cells."""
        rows, cells = self._without_cells(rows)
        if cells is not None:
            averages = self._in_order(self._over_cells(rows, cells), len(rows))
            return averages if which is None else averages[:, which]
        check_rows(rows, self.reco, self.domains)
        components = self._components if which is None else [self._components[k] for k in which]
        vectors, out = unit_vectors(rows[:, 1], rows[:, 2]), np.empty((len(rows), len(components)))
        if not components:
            return out
        of = rows[:, 3].astype(int) if len(self.observations) > 1 else np.zeros(len(rows), int)

        def one_observation(o: int) -> None:
            mine = slice(None) if len(self.observations) == 1 else np.flatnonzero(of == o)
            part = np.empty((len(of[mine]), len(components)))
            self._folded[o].density(components, vectors[mine], rows[mine, 0], part)
            out[mine] = part

        run_parallel(one_observation, np.unique(of).tolist())
        return out

    def _background_contrast(self, rows: FloatArray) -> FloatArray:
        """The largest density of a background at events, over its mean on the domain at their energies, shape (N,)."""
        vectors, log_energy = unit_vectors(rows[:, 1], rows[:, 2]), np.log(rows[:, 0])
        of = rows[:, 3].astype(int) if len(self.observations) > 1 else np.zeros(len(rows), int)
        out = np.empty(len(rows))
        for o in np.unique(of).tolist():
            mine = np.flatnonzero(of == o)
            rates = [self._folded[o].background_of(name) for name in self.instrumental]
            out[mine] = np.max([rate.contrast(vectors[mine], log_energy[mine]) for rate in rates], axis=0)
        return out

    def _over_cells(self, rows: FloatArray, cells: FloatArray) -> list[CellGroup]:
        """Averages over the cells that rows fill, by observation."""
        check_cells(rows, cells, self.reco, len(self.observations))
        of = rows[:, 3].astype(int) if len(self.observations) > 1 else np.zeros(len(rows), int)
        return [
            group
            for o in np.unique(of).tolist()
            for group in average_over_cells(
                cells,
                rows[:, :3],
                np.flatnonzero(of == o),
                o,
                self._folded[o],
                self._components,
                self._counts.sum(axis=1),
            )
        ]

    def _in_order(self, groups: Sequence[CellGroup], n_rows: int) -> FloatArray:
        """Averaged densities in the order of the rows, shape (n_rows, K)."""
        out = np.empty((n_rows, len(self._components)))
        for group in groups:
            out[group.rows] = group.nodes.density
        return out

    def _bands_of_cells(self, groups: Sequence[CellGroup], smooth: Collection[str]) -> Bands:
        """Bands averaged over cells, in the order of the rows."""
        parts = []
        for group in groups:
            nodes = group.nodes
            energies = InRanges(group.ranges, np.repeat(group.which, np.diff(nodes.first)))
            averaging = Averaging(nodes.weight, nodes.first)
            vectors = unit_vectors(nodes.lon, nodes.lat)
            parts.append(self._free.bands(group.observation, vectors, energies, smooth, averaging))
        order = np.concatenate([np.empty(0, np.intp), *(group.rows for group in groups)])
        return reorder(concatenate(parts, len(self.free_spectrum)), np.argsort(order))

    def _changed(self, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation]) -> Self:
        """A copy with other fluxes of the same components."""
        other = copy(self)
        for derived in ("_simulator", "_free", "free_components"):
            other.__dict__.pop(derived, None)
        other._components, other._folded = tuple(components), tuple(folded)
        if not np.array_equal(other._folded[0].tables.energy_edges, other._bins()):
            pairs = zip(other._fold(), folded, strict=True)
            other._folded = tuple(new.with_backgrounds_of(old) for new, old in pairs)
        other._counts = other._acceptances()
        return other

    def _bins(self) -> FloatArray:
        """Edges in TeV of the true-energy bins that the components are folded on."""
        return folded_edges(self._components, self.energy_true_edges)

    def _fold(self) -> tuple[FoldedObservation, ...]:
        span = (self.roi.energy_min, self.roi.energy_max)
        edges = tuple(self._bins().tolist())
        offsets = shining_offsets(self._components, self.observations, self.roi.frame)
        made = run_parallel(lambda irfs: build_tables(irfs, edges, span, offsets[irfs]), offsets)
        tables = dict(zip(offsets, made, strict=True))
        low = min(table.variance_range[0] for table in tables.values())
        high = max(table.variance_range[1] for table in tables.values())
        ladders = {
            (component.name, template.name): Ladder(template.raster, (low, high))
            for component in self._components
            for template in component.templates
        }
        margin = spill_margin(math.sqrt(high))
        masks: list[DomainMask] = []
        for domain in self.domains:
            mask = DomainMask.draw(self.roi, domain.contains_sky, margin)
            # containments are large: observations that keep the same part of the region share one
            masks.append(next((one for one in masks if one.same_as(mask)), mask))
        return tuple(
            FoldedObservation(domain, tables[domain.observation.irfs], mask, ladders)
            for domain, mask in zip(self.domains, masks, strict=True)
            if domain.observation is not None
        )

    def _acceptances(self) -> FloatArray:
        edges = np.array([self.roi.energy_min, self.roi.energy_max])
        self._part_counts = [
            [np.ravel(folded.part_acceptance(component, edges)) for component in self._components]
            for folded in self._folded
        ]
        return np.array([[counts[k].sum() for counts in self._part_counts] for k in range(len(self._components))])

    def _observation_index(self, observation: int | str) -> int:
        """Index of an observation given by its index or its name; an EventError if there is none, or several."""
        names = [one.name for one in self.observations]
        if isinstance(observation, str):
            if names.count(observation) == 1:
                return names.index(observation)
            if observation in names:
                same = [index for index, name in enumerate(names) if name == observation]
                raise EventError(f"the observations {same} are all named {observation!r}; choose one by its index.")
            raise EventError(f"no observation named {observation!r}; the response has {names}.")
        if isinstance(observation, bool) or not isinstance(observation, int | np.integer):
            raise TypeError(f"observation must be an index or a name, got {observation!r}.")
        if not 0 <= observation < len(names):
            hint = f" Its name is a string: observation={str(observation)!r}." if str(observation) in names else ""
            raise EventError(f"no observation {observation}; the response has {len(names)}, from 0.{hint}")
        return int(observation)

    @cached_property
    def _free(self) -> FreeColumns:
        if not self.free_spectrum:
            raise ModelError(
                "no component has a free spectrum; name those that should in fold(..., free_spectrum=[...])."
            )
        components = [c for c in self._components if c.name in self.free_spectrum]
        return FreeColumns(components, self._folded, self.energy_true_edges)

    def _sky_component(self, component: str) -> CompiledComponent:
        if component not in self.component_names:
            raise SkyModelError(f"no component {component!r}; there are {self.component_names}.")
        compiled = self._components[self.component_names.index(component)]
        if compiled.instrumental:
            raise SkyModelError(f"{component!r} is the residual background; it has no true coordinates.")
        return compiled
