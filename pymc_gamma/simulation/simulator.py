"""Drawing given numbers of events from all components and observations of a response."""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.folding.engine import FoldedObservation
from pymc_gamma.folding.parts import CompiledComponent
from pymc_gamma.geometry import lonlat_from_vectors
from pymc_gamma.simulation.background import BackgroundSampler
from pymc_gamma.simulation.source import SourceSampler
from pymc_gamma.threads import run_parallel

__all__ = ["Simulator"]

FloatArray = NDArray[np.float64]
Sampler = SourceSampler | BackgroundSampler

CHUNK = 200_000


class Simulator:
    """Samplers of every component under every observation.

    Parameters
    ----------
    components : sequence of CompiledComponent
        Mixture components, K of them.
    folded : sequence of FoldedObservation
        The observations.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.
    part_counts : sequence of sequence of numpy.ndarray
        Expected counts of the parts, by observation and component.

    Attributes
    ----------
    samplers : list of list
        By observation and component.
    """

    def __init__(
        self,
        components: Sequence[CompiledComponent],
        folded: Sequence[FoldedObservation],
        energy_edges: FloatArray,
        part_counts: Sequence[Sequence[FloatArray]],
    ) -> None:
        self.samplers: list[list[Sampler]] = [
            [
                BackgroundSampler(one.background_of(component.name))
                if component.instrumental
                else SourceSampler(component, one.domain, energy_edges, counts)
                for component, counts in zip(components, of_observation, strict=True)
            ]
            for one, of_observation in zip(folded, part_counts, strict=True)
        ]

    def with_component(self, k: int, samplers: Sequence[Sampler]) -> "Simulator":
        """A simulator with other samplers for component *k*, one for each observation."""
        other = copy(self)
        other.samplers = [
            [*own[:k], sampler, *own[k + 1 :]] for own, sampler in zip(self.samplers, samplers, strict=True)
        ]
        return other

    def with_psf_scale(self, scale: float, part_counts: Sequence[Sequence[FloatArray]]) -> "Simulator":
        """A simulator of an instrument whose PSF is wider by a factor, with the expected counts of that instrument."""
        other = copy(self)
        other.samplers = [
            [
                sampler.with_psf_scale(scale, counts) if isinstance(sampler, SourceSampler) else sampler
                for sampler, counts in zip(own, of_observation, strict=True)
            ]
            for own, of_observation in zip(self.samplers, part_counts, strict=True)
        ]
        return other

    def rows(self, counts: NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
        """Events, component by component.

        Parameters
        ----------
        counts : numpy.ndarray
            Number of events of each component in each observation, shape (K, n_observations).
        rng : numpy.random.Generator
            Random numbers.

        Returns
        -------
        numpy.ndarray
            Energy in TeV, longitude, latitude in deg, observation; shape (counts.sum(), 4).
        """
        tasks = []
        for (k, o), count in np.ndenumerate(counts):
            for first in range(0, int(count), CHUNK):
                size = min(CHUNK, int(count) - first)
                # own generators, so that the result does not depend on the number of threads
                tasks.append((k, o, size, np.random.default_rng(rng.integers(2**63, size=4))))

        def one(task: tuple[int, int, int, np.random.Generator]) -> FloatArray:
            k, o, size, generator = task
            energy, directions = self.samplers[o][k].sample(generator, size)
            lon, lat = lonlat_from_vectors(directions)
            return np.column_stack([energy, lon, lat, np.full(size, float(o))])

        blocks = run_parallel(one, tasks)
        return np.concatenate(blocks) if blocks else np.empty((0, 4))
