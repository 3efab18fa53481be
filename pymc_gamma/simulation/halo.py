"""Sampling events of a halo: of its narrow Gaussians as sources, and of the rest as a template of the region."""

import math
from typing import Self

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.halo import CompiledHalo
from pymc_gamma.folding.raster import SPILL_MARGIN
from pymc_gamma.folding.sources import CompiledSources
from pymc_gamma.simulation.simulator import Sampler, make_sampler
from pymc_gamma.simulation.source import SourceSampler

__all__ = ["HaloSampler"]


class HaloSampler(SourceSampler):
    """Sampler of a halo for one observation.

    Parameters
    ----------
    component : CompiledHalo
        The halo.
    folded : FoldedObservation
        The observation.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.
    """

    def __init__(self, component: CompiledHalo, folded: FoldedObservation, energy_edges: FloatArray) -> None:
        sources, counts = _sources(component, folded)
        super().__init__(sources, folded.domain, energy_edges, counts)

    def with_component(  # type: ignore[override]
        self, component: CompiledHalo, folded: FoldedObservation, part_counts: FloatArray
    ) -> Self:
        """A sampler of the same halo with another spectrum or profile."""
        sources, counts = _sources(component, folded)
        return super().with_component(sources, folded, counts)

    def with_psf_scale(self, scale: float, part_counts: FloatArray) -> Self:
        """A sampler whose PSF is wider by a factor."""
        return super().with_psf_scale(scale, self._counts)


def _sources(component: CompiledHalo, folded: FoldedObservation) -> tuple[CompiledSources, FloatArray]:
    """What events are drawn of, with the expected counts of its parts."""
    spill = max(SPILL_MARGIN, 5 * math.sqrt(folded.tables.variance_range[1]))
    sources = component.as_sources(folded.roi, spill)
    return sources, component.source_counts(folded, sources)


@make_sampler.register
def _(component: CompiledHalo, folded: FoldedObservation, energy_edges: FloatArray, part_counts: FloatArray) -> Sampler:
    return HaloSampler(component, folded, energy_edges)
