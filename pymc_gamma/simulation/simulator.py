"""Drawing given numbers of events from all components and observations of a response."""

from collections.abc import Sequence
from copy import copy
from functools import singledispatch
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.geometry import lonlat_from_vectors
from pymc_gamma.threads import run_parallel

__all__ = ["Sampler", "Simulator", "make_sampler"]

CHUNK = 200_000


class Sampler(Protocol):
    """Draws events of one component in one observation."""

    def sample(self, rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        """Reconstructed events inside the domain: energies in TeV (n,) and unit vectors (n, 3)."""
        ...

    def with_component(self, component: Any, folded: FoldedObservation, part_counts: FloatArray) -> Self:
        """A sampler of the same component with other fluxes."""
        ...

    def with_psf_scale(self, scale: float, part_counts: FloatArray) -> Self:
        """A sampler for a PSF that is wider by a factor, with the expected counts of the parts under it."""
        ...


@singledispatch
def make_sampler(
    component: CompiledComponent, folded: FoldedObservation, energy_edges: FloatArray, part_counts: FloatArray
) -> Sampler:
    """Sampler of a component in one observation; the class of the component says which.

    Parameters
    ----------
    component : CompiledComponent
        What events are drawn of.
    folded : FoldedObservation
        The observation.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.
    part_counts : numpy.ndarray
        Expected counts of the parts.

    Raises
    ------
    ModelError
        If events of such a component cannot be drawn.
    """
    raise ModelError(f"no events can be drawn of {component.name!r} ({type(component).__name__}).")


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
                make_sampler(component, one, energy_edges, counts)
                for component, counts in zip(components, of_observation, strict=True)
            ]
            for one, of_observation in zip(folded, part_counts, strict=True)
        ]

    def of_component(self, k: int) -> list[Sampler]:
        """Samplers of component *k*, one for each observation."""
        return [own[k] for own in self.samplers]

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
            [sampler.with_psf_scale(scale, counts) for sampler, counts in zip(own, of_observation, strict=True)]
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
