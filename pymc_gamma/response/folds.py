r"""Components folded for observations: what a response is made of.

.. math:: c_{ko} = \int \lambda_{ko}(x)\,\mathrm{d}E\,\mathrm{d}\Omega

are the expected counts of component :math:`k` in observation :math:`o`, over the domain of selection of that, for the
nominal fluxes.
"""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError, ModelError, RegionError, SkyModelError
from pymc_gamma.folding.compile import Field, folded_edges, reshaped, shining_offsets
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.containment import DomainMask
from pymc_gamma.folding.engine import part_acceptance
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.live_shapes import LiveShape
from pymc_gamma.folding.nodes import spectrum_nodes
from pymc_gamma.folding.raster import Ladder, spill_margin
from pymc_gamma.folding.tables import IN_BIN_INDEX, build_tables
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.instrument.domain import Domain
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.response.checks import check_coverage, check_true_energies
from pymc_gamma.response.scan_nodes import ScanNodes
from pymc_gamma.threads import run_parallel

__all__ = ["Fold"]

_NO_TIME = 1e-12
"""Share of a live time that is next to nothing, and yet no division by zero."""
PIXEL = 0.05
"""Largest pixel of templates in deg, unless one is asked for."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Components folded for observations.

    Attributes
    ----------
    components : tuple of CompiledComponent
        Components of the mixture, K of them.
    folded : tuple of FoldedObservation
        The observations, with the tables of their responses.
    roi : RegionOfInterest
        Region of interest.
    energy_true_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.
    scans : tuple of ScanNodes
        Nodes of the components that are scans; ``components`` has one of these.
    """

    components: tuple[CompiledComponent, ...]
    folded: tuple[FoldedObservation, ...]
    roi: RegionOfInterest
    energy_true_edges: FloatArray
    scans: tuple[ScanNodes, ...] = ()

    @classmethod
    def make(
        cls,
        components: Sequence[CompiledComponent],
        observations: Sequence[Observation],
        roi: RegionOfInterest,
        energy_true_edges: FloatArray,
        scans: Sequence[ScanNodes] = (),
    ) -> "Fold":
        """Fold components for observations.

        Raises
        ------
        RegionError
            If there is no observation, one sees nothing of the region, or its IRFs do not reach all true energies.
        ModelError
            If a component cannot be folded for as many observations.
        SkyModelError
            If no event is expected from a component.
        """
        if not observations:
            raise RegionError("no observation to fold with; give at least one Observation.")
        for component in components:
            component.check_observations(len(observations))
        check_true_energies(energy_true_edges, observations)
        domains = tuple(Domain(roi, observation) for observation in observations)
        check_coverage(domains)
        edges = np.ascontiguousarray(energy_true_edges, float)
        folded = _fold(components, domains, roi, edges, _of_nodes(scans))
        made = cls(tuple(components), folded, roi, edges, tuple(scans))
        without = [one.name for one, counts in zip(components, made.counts, strict=True) if not counts.sum() > 0]
        if without:
            raise SkyModelError(f"no events expected from {without} in {roi!r}; leave them out or enlarge the region.")
        return made

    def with_components(
        self, components: Sequence[CompiledComponent], scans: Sequence[ScanNodes] | None = None
    ) -> "Fold":
        """Other fluxes of the same components; folded anew only where these need other bins of true energy."""
        scans = self.scans if scans is None else tuple(scans)
        folded, edges = self.folded, self.energy_true_edges
        if not np.array_equal(folded[0].tables.energy_edges, folded_edges([*components, *_of_nodes(scans)], edges)):
            folded = _fold(components, self.domains, self.roi, edges, _of_nodes(scans))
        return Fold(tuple(components), folded, self.roi, edges, scans)

    def with_shapes(self, shapes: Mapping[str, LiveShape]) -> "Fold":
        """Components of free shape at other positions and extensions, of numbers; the rest is shared.

        Raises
        ------
        SkyModelError
            If one is too far from the region, or no event is expected from it.
        """
        made = self
        for name, shape in shapes.items():
            component = self.components[self.index(name)]
            pixel = min((raster.pixel for raster in component.rasters().values()), default=PIXEL)
            field = Field(self.roi, self.energy_true_edges, pixel, spill_margin(math.sqrt(self._variance_range[1])))
            made = made._with_other(reshaped(component, shape, field), f"at {shape}")
        return made

    def at_scan(self, values: Mapping[str, Mapping[str, Any]]) -> "Fold":
        """Components that are scans at values of their parameters, no longer scans; the rest is shared.

        Parameters
        ----------
        values : mapping
            For each component a number or quantity for each of its parameters.

        Raises
        ------
        ModelError
            If a name is not that of a scan, or of one of its parameters, or a value is outside its nodes.
        SkyModelError
            If the component cannot be made, or no event is expected from it.
        """
        made = self
        for name, own in values.items():
            component = self.scan(name).at(own)
            told = ", ".join(f"{parameter} = {value}" for parameter, value in own.items())
            edges = folded_edges([*made.components, *_of_nodes(self.scans), component], self.energy_true_edges)
            scans = tuple(one for one in made.scans if one.name != name)
            if np.array_equal(edges, self.folded[0].tables.energy_edges):
                other = made._with_other(component, f"at {told}")
                made = Fold(other.components, other.folded, self.roi, self.energy_true_edges, scans)
                made.__dict__["part_counts"] = other.part_counts
            else:  # a spectrum that is narrower than at any node
                components = [component if one.name == name else one for one in made.components]
                made = Fold.make(components, self.observations, self.roi, self.energy_true_edges, scans)
        return made

    def in_energy_range(self, low: float, high: float) -> "Fold":
        """A part of the reconstructed energies in TeV, with the same true energies and as many observations.

        Raises
        ------
        RegionError
            If no observation keeps any of these energies.
        """
        span = max(low, self.roi.energy_min), min(high, self.roi.energy_max)
        kept = [max(span[0], one.energy_range[0]) < min(span[1], one.energy_range[1]) for one in self.domains]
        if not any(kept):
            ranges = [one.energy_range for one in self.domains]
            raise RegionError(
                f"no events are kept at {low:g}-{high:g} TeV: the region and its observations have "
                f"{min(one[0] for one in ranges):.4g}-{max(one[1] for one in ranges):.4g} TeV."
            )
        roi = copy(self.roi)
        roi.energy_min, roi.energy_max = span
        spare = self.observations[kept.index(True)]
        observations = [one if has else _absent(one, spare) for one, has in zip(self.observations, kept, strict=True)]
        domains = [Domain(roi, one) for one in observations]
        folded = _fold(self.components, domains, roi, self.energy_true_edges, _of_nodes(self.scans))
        made = Fold(self.components, folded, roi, self.energy_true_edges, self.scans)
        seen = [one for one, counts in zip(made.components, made.counts, strict=True) if counts.sum() > 0]
        names = {one.name for one in seen}
        scans = tuple(one for one in self.scans if one.name in names)
        return (
            made if len(seen) == len(self.components) else Fold(tuple(seen), folded, roi, made.energy_true_edges, scans)
        )

    def with_psf_scales(self, scales: Sequence[float], span: tuple[float, float], names: Sequence[str]) -> list["Fold"]:
        """Some components under PSFs whose widths are off by factors within a range; tables of energies are shared."""
        components = [self.components[self.index(name)] for name in names]
        factors = (min(span[0], 1.0) ** 2, max(span[1], 1.0) ** 2)
        ladders = {
            (one.name, part): self.folded[0].ladders[one.name, part].widened(raster, factors)
            for one in components
            for part, raster in one.rasters().items()
        }
        return [
            Fold(
                tuple(components),
                tuple(one.with_psf_scale(scale, span, ladders) for one in self.folded),
                self.roi,
                self.energy_true_edges,
            )
            for scale in scales
        ]

    def scan(self, name: str) -> ScanNodes:
        """The nodes of a component.

        Raises
        ------
        ModelError
            If it was not folded as a scan.
        """
        found = {one.name: one for one in self.scans}
        if name not in found:
            raise ModelError(
                f"the component {name!r} is not a scan, those are {list(found)}; fold it as pymc_gamma.Scanned(...)."
            )
        return found[name]

    def alone(self, component: CompiledComponent) -> "Fold":
        """One form of a component by itself, as the observations see it."""
        own = self._ladders(component)
        folded = tuple(one.with_other(component.name, own) for one in self.folded)
        return Fold((component,), folded, self.roi, self.energy_true_edges)

    def node_counts(self, name: str) -> FloatArray:
        """Expected counts of a scan at its nodes, shape (n_nodes, n_observations)."""
        if name not in self._node_counts:
            nodes = self.scan(name).components
            self._node_counts[name] = np.array(run_parallel(lambda one: self.alone(one).counts[0], nodes))
        return self._node_counts[name]

    @cached_property
    def _node_counts(self) -> dict[str, FloatArray]:
        return {}

    def _with_other(self, component: CompiledComponent, told: str) -> "Fold":
        """Another form of the component of the same name; the rest is shared."""
        k, counts = self.index(component.name), [list(of) for of in self.part_counts]
        components = [component if one.name == component.name else one for one in self.components]
        others = {key: one for key, one in self.folded[0].ladders.items() if key[0] != component.name}
        ladders = others | self._ladders(component)
        folded = tuple(one.with_other(component.name, ladders) for one in self.folded)
        for of, one in zip(counts, folded, strict=True):
            of[k] = part_acceptance(one, component, self.span)[:, 0]
        if not sum(float(of[k].sum()) for of in counts) > 0:
            raise SkyModelError(f"no events expected from {component.name!r} {told} in {self.roi!r}.")
        made = Fold(tuple(components), folded, self.roi, self.energy_true_edges, self.scans)
        made.__dict__["part_counts"] = counts
        return made

    def _ladders(self, component: CompiledComponent) -> dict[tuple[str, str], Ladder]:
        return {
            (component.name, part): Ladder(raster, self._variance_range) for part, raster in component.rasters().items()
        }

    @property
    def _variance_range(self) -> tuple[float, float]:
        """Smallest and largest variance of the PSF in deg2."""
        ranges = [one.tables.variance_range for one in self.folded]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    @property
    def span(self) -> FloatArray:
        """Range of reconstructed energy in TeV."""
        return np.array([self.roi.energy_min, self.roi.energy_max])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components."""
        return tuple(component.name for component in self.components)

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Pointings."""
        return tuple(one.observation for one in self.folded)

    @property
    def observation_labels(self) -> tuple[str, ...] | tuple[int, ...]:
        """Names of the observations, the index of those without one; where none has a name their indices as numbers."""
        return labels_of(self.observations)

    @property
    def domains(self) -> tuple[Domain, ...]:
        """What is kept of each observation."""
        return tuple(one.domain for one in self.folded)

    @property
    def reco(self) -> tuple[str, ...]:
        """Columns of an event row: energy (TeV), lon, lat (deg), and observation where there are several."""
        return ("energy", "lon", "lat", *(["observation"] if len(self.folded) > 1 else []))

    @property
    def energy_true(self) -> FloatArray:
        """Nodes of true energy in TeV at which spectra are tabulated, shape (n,)."""
        return spectrum_nodes(self.energy_true_edges)

    @cached_property
    def part_counts(self) -> list[list[FloatArray]]:
        """Expected counts of the parts, by observation and component, shape (n_parts,) each."""
        return [
            [part_acceptance(folded, component, self.span)[:, 0] for component in self.components]
            for folded in self.folded
        ]

    @cached_property
    def counts(self) -> FloatArray:
        """Expected counts, shape (K, n_observations)."""
        return np.array([[counts[k].sum() for counts in self.part_counts] for k in range(len(self.components))])

    def index(self, component: str) -> int:
        """Number of a component.

        Raises
        ------
        SkyModelError
            If there is no such.
        """
        if component not in self.names:
            raise SkyModelError(f"no component {component!r}; there are {self.names}.")
        return self.names.index(component)

    def observation_index(self, observation: int | str) -> int:
        """Index of an observation given by its index or its name.

        Raises
        ------
        EventError
            If there is none, or several.
        """
        names = [one.name for one in self.observations]
        if isinstance(observation, str):
            if observation not in names and observation in self.observation_labels:
                return self.observation_labels.index(observation)  # type: ignore[arg-type]
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

    def chosen(self, observation: int | str | None) -> tuple[FoldedObservation, ...]:
        """One observation, or all."""
        return self.folded if observation is None else (self.folded[self.observation_index(observation)],)

    def nominal_flux(self, component: str, energy: ArrayLike) -> FloatArray:
        """Spectrum of a component, summed over its parts, TeV-1 cm-2 s-1 at true energies in TeV.

        Raises
        ------
        SkyModelError
            If there is no such component, or it has no true energy.
        ModelError
            If an energy is outside those that it was folded for.
        """
        at, span = np.asarray(energy, float), self.energy_true_edges[[0, -1]]
        if np.any((at < span[0] * (1 - 1e-9)) | (at > span[1] * (1 + 1e-9))):
            raise ModelError(
                f"the spectrum of {component!r} is known at {span[0]:.4g}-{span[1]:.4g} TeV, for which it was folded, "
                f"and not at {at.min():.4g}-{at.max():.4g} TeV; fold with a wider energy_true, or give its spectrum."
            )
        nodes = self.energy_true
        ratio = self.components[self.index(component)].part_fluxes().sum(axis=0) * nodes**IN_BIN_INDEX
        # linear, as densities and draws have it: the integral over a line is that of its values at the nodes
        return np.asarray(np.interp(np.log(at), np.log(nodes), ratio) * at**-IN_BIN_INDEX)

    def mean_exposure(self, component: str, energy: ArrayLike) -> FloatArray:
        """Exposure in cm2 s of a component, averaged over its brightness, at true energies in TeV (n,).

        By observation, shape (n_observations, n).

        Raises
        ------
        SkyModelError
            If there is no such component, or it has no true energy.
        """
        compiled, at = self.components[self.index(component)], np.asarray(energy, float)
        fluxes = compiled.part_fluxes()
        share = fluxes / np.where(fluxes.sum(axis=0) > 0, fluxes.sum(axis=0), 1)
        nodes = np.log(self.energy_true)
        weight = np.stack([np.interp(np.log(at), nodes, one) for one in share])
        weight = np.where(weight.sum(axis=0) > 0, weight, 1 / len(weight))
        return np.stack([(weight * compiled.part_exposure(one, at)).sum(axis=0) for one in self.folded])


def labels_of(observations: Sequence[Observation]) -> tuple[str, ...] | tuple[int, ...]:
    """Names of observations, the index of those without one; where none has a name their indices as numbers."""
    names = [one.name or str(k) for k, one in enumerate(observations)]
    named = any(one.name for one in observations) and len(set(names)) == len(names)
    return tuple(names) if named else tuple(range(len(names)))


def _absent(observation: Observation, other: Observation) -> Observation:
    """What keeps the place of an observation that took no data: another one, which lasted next to no time."""
    absent = copy(other)
    absent.livetime_s, absent.ontime_s = _NO_TIME * other.livetime_s, _NO_TIME * other.ontime_s
    absent.name = observation.name
    return absent


def _of_nodes(scans: Sequence[ScanNodes]) -> list[CompiledComponent]:
    """Components at all nodes of scans."""
    return [component for scan in scans for component in scan.components]


def _fold(
    components: Sequence[CompiledComponent],
    domains: Sequence[Domain],
    roi: RegionOfInterest,
    energy_edges: FloatArray,
    nodes: Sequence[CompiledComponent] = (),
) -> tuple[FoldedObservation, ...]:
    """Observations folded for components, with tables that also serve their other forms, at nodes of scans."""
    observations = [domain.observation for domain in domains if domain.observation is not None]
    edges, span = tuple(folded_edges([*components, *nodes], energy_edges).tolist()), (roi.energy_min, roi.energy_max)
    offsets = shining_offsets([*components, *nodes], observations, roi.frame)
    made = run_parallel(lambda irfs: build_tables(irfs, edges, span, offsets[irfs]), offsets)
    tables = dict(zip(offsets, made, strict=True))
    low = min(table.variance_range[0] for table in tables.values())
    high = max(table.variance_range[1] for table in tables.values())
    ladders = {
        (component.name, part): Ladder(raster, (low, high))
        for component in components
        for part, raster in component.rasters().items()
    }
    margin = spill_margin(math.sqrt(high))
    masks: list[DomainMask] = []
    for domain in domains:
        mask = DomainMask.draw(roi, domain.contains_sky, margin)
        # containments are large: observations that keep the same part of the region share one
        masks.append(next((one for one in masks if one.same_as(mask)), mask))
    return tuple(
        FoldedObservation(o, domain, tables[observation.irfs], mask, ladders)
        for o, (domain, observation, mask) in enumerate(zip(domains, observations, masks, strict=True))
    )
