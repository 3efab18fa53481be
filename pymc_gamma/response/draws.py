"""Draws from folded components: a response run forwards.

A component is picked with probability proportional to its weight, an observation and a source of it with probability
proportional to their share of the expected counts; then a true photon is drawn and passed through the instrument.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import integer
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError, ModelError, SkyModelError
from pymc_gamma.events import Events
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.engine import part_acceptance
from pymc_gamma.folding.free import FreeComponents
from pymc_gamma.geometry import lonlat_from_vectors, unit_vectors
from pymc_gamma.labelled import as_mapping, has_labels
from pymc_gamma.response.folds import Fold
from pymc_gamma.simulation import Simulator, SourceSampler, TrueEvents
from pymc_gamma.units import numbers

__all__ = ["Draws", "PartCounts", "Scans", "Shapes"]

Shapes = Mapping[str, Any]
"""By component, a live shape of numbers, or another profile of a halo."""
Scans = Mapping[str, Mapping[str, float]]
"""By component, the values of the parameters of a scan."""
PartCounts = list[list[FloatArray]]
"""Expected counts of the parts, by observation and component, shape (n_parts,) each."""


class Draws:
    """Draws from folded components, at their nominal fluxes or at other spectra of those of free spectrum.

    Parameters
    ----------
    fold : Fold
        Components and observations.
    free : FreeComponents or None
        The components of free spectrum.
    """

    def __init__(self, fold: Fold, free: FreeComponents | None) -> None:
        self._fold, self._free = fold, free
        self._last: tuple[Any, Fold] | None = None

    @cached_property
    def _simulator(self) -> Simulator:
        fold = self._fold
        return Simulator(fold.components, fold.folded, fold.energy_true_edges, fold.part_counts)

    def expected_parts(
        self,
        spectra: Sequence[ArrayLike] | None = None,
        shapes: Shapes | None = None,
        scans: Scans | None = None,
    ) -> PartCounts:
        """Expected counts of the parts, for given spectra, shapes and parameters of scans, or the nominal ones."""
        fold = self._frozen(shapes, scans)
        counts = [list(of_observation) for of_observation in fold.part_counts]
        for j, spectrum in enumerate(() if spectra is None or self._free is None else spectra):
            assert self._free is not None
            k, coefficients = self._coefficients(j, spectrum)
            if fold.components[k] is self._fold.components[k]:
                found = self._free.columns[j].part_counts(coefficients)
            else:
                seen = self._seen(fold, j, k, coefficients)
                found = [part_acceptance(one, seen(one.index), fold.span)[:, 0] for one in fold.folded]
            for of_observation, parts in zip(counts, found, strict=True):
                of_observation[k] = parts
        return counts

    def _frozen(self, shapes: Shapes | None, scans: Scans | None) -> Fold:
        """The components at given parameters; those asked for last are kept, as counts and events follow in turn."""
        if not shapes and not scans:
            return self._fold
        shapes, scans = shapes or {}, scans or {}
        key = (
            {name: (type(shape), repr(vars(shape))) for name, shape in shapes.items()},
            {name: dict(values) for name, values in scans.items()},
        )
        if self._last is None or self._last[0] != key:
            self._last = key, self._fold.with_shapes(shapes).at_scan(scans)
        return self._last[1]

    def rows(
        self,
        counts: NDArray[np.int64],
        rng: np.random.Generator,
        spectra: Sequence[ArrayLike] | None,
        parts: PartCounts,
        psf_scale: float = 1.0,
        shapes: Shapes | None = None,
        scans: Scans | None = None,
    ) -> FloatArray:
        """Given numbers of events of each component in each observation, (K, n_observations), in random order."""
        simulator, fold = self._simulator, self._frozen(shapes, scans)
        changed: dict[int, Callable[[int], CompiledComponent]] = {}
        for name in (*(shapes or ()), *(scans or ())):
            changed[fold.index(name)] = partial(_alike, fold.components[fold.index(name)])
        for j, spectrum in enumerate(() if spectra is None or self._free is None else spectra):
            k, coefficients = self._coefficients(j, spectrum)
            changed[k] = self._seen(fold, j, k, coefficients)
        for k, seen in changed.items():
            if counts[k].any():
                simulator = _with_component(simulator, fold, k, seen, parts)
        if psf_scale != 1:
            simulator = simulator.with_psf_scale(psf_scale, parts)
        rows = simulator.rows(counts, rng)[:, : len(self._fold.reco)]
        return rows[rng.permutation(len(rows))]

    def mixture_rows(
        self,
        weights: ArrayLike | Mapping[str, float],
        n: int,
        rng: np.random.Generator,
        spectra: Sequence[ArrayLike] | None,
        shapes: Shapes | None = None,
    ) -> FloatArray:
        """Events of the mixture with given fractions of the components, in random order."""
        weights, names, n = self.weights(weights), self._fold.names, integer(n, "n")
        parts = self.expected_parts(spectra, shapes)
        expected = np.array([[of[k].sum() for of in parts] for k in range(len(names))])
        without = [name for k, name in enumerate(names) if weights[k] > 0 and not expected[k].any()]
        if without:
            raise ModelError(f"the spectra of {without} are zero everywhere; no event of them can be drawn.")
        share = expected / np.maximum(expected.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        share[~expected.any(axis=1), 0] = 1.0  # drawn from never, but a distribution all the same
        counts = rng.multinomial(rng.multinomial(n, weights / weights.sum()), share)
        return self.rows(counts, rng, spectra, parts, shapes=shapes)

    def photons(self, component: str, n: int, observation: int, rng: np.random.Generator) -> TrueEvents:
        """Photons of one component that pass the effective area, before reconstruction."""
        k = self._fold.index(component)
        sampler = self._simulator.samplers[self._fold.observation_index(observation)][k]
        if not isinstance(sampler, SourceSampler):
            raise SkyModelError(
                f"{component!r} is given in reconstructed coordinates, as a residual background is; it has no photons."
            )
        return sampler.sample_true(rng, n)

    def reconstruct(self, photons: TrueEvents, observation: int, rng: np.random.Generator) -> Events:
        """Pass photons through the energy dispersion and the PSF of an observation; nothing is cut."""
        frame = self._fold.roi.frame
        if photons.frame != frame:
            raise EventError(f"photons are in the frame {photons.frame}, the response in {frame}.")
        samplers = self._simulator.samplers[self._fold.observation_index(observation)]
        sampler = next((one for one in samplers if isinstance(one, SourceSampler)), None)
        if sampler is None:
            raise SkyModelError("no component of the response has photons; fold a source.")
        vectors = unit_vectors(photons.lon_true, photons.lat_true)
        energy, directions = sampler.reconstruct(rng, np.log(photons.energy_true), vectors)
        seen = energy > 0
        lon, lat = lonlat_from_vectors(directions[seen])
        rows = np.column_stack([energy[seen], lon, lat, np.full(int(seen.sum()), float(observation))])
        events = Events.from_rows(rows, ("energy", "lon", "lat", "observation"), frame=frame)
        events.meta["lost"] = int((~seen).sum())
        return events

    def weights(self, weights: ArrayLike | Mapping[str, float]) -> FloatArray:
        """Fractions of the components in their order, checked."""
        names = self._fold.names
        if isinstance(weights, Mapping) or has_labels(weights):
            named = as_mapping(weights, names, "weights")
            weights = [named.get(name, 0.0) for name in names]
        values = numbers(weights, "weights", finite=False)
        if values.shape != (len(names),):
            raise ModelError(
                f"{values.size} weights for {len(names)} components {names}; there must be one for each, got shape "
                f"{values.shape}."
            )
        if not (np.all(np.isfinite(values)) and np.all(values >= 0) and values.sum() > 0):
            raise ModelError(f"weights must be finite, not negative and not all zero, got {values}.")
        return values

    def _coefficients(self, j: int, spectrum: ArrayLike) -> tuple[int, FloatArray]:
        """Number of free component *j* among all, and the coefficients of a spectrum of it."""
        assert self._free is not None
        return self._fold.index(self._free.components[j].name), self._free.coefficients(j, spectrum)

    def _seen(self, fold: Fold, j: int, k: int, coefficients: FloatArray) -> Callable[[int], CompiledComponent]:
        """What an observation sees of component *k*, free one *j*, of a fold with another spectrum."""
        assert self._free is not None
        columns, component = self._free.columns[j], fold.components[k]
        as_folded = component is self._fold.components[k]

        def seen(observation: int) -> CompiledComponent:
            found = columns.seen_by(observation, coefficients)
            return found if as_folded else component.with_fluxes(found.part_fluxes())

        return seen


def _alike(component: CompiledComponent, observation: int) -> CompiledComponent:
    """The same for all observations."""
    return component


def _with_component(
    simulator: Simulator, fold: Fold, k: int, seen: Callable[[int], CompiledComponent], parts: PartCounts
) -> Simulator:
    """A simulator that draws component *k* with another spectrum or shape, as each observation sees it."""
    samplers = [
        sampler.with_component(seen(folded.index), folded, of_observation[k])
        for sampler, folded, of_observation in zip(simulator.of_component(k), fold.folded, parts, strict=True)
    ]
    return simulator.with_component(k, samplers)
