"""Sampling the residual background, directly in reconstructed coordinates.

The expected counts of small cells of the region times segments of energy, in which the rate is a power law, form
one discrete distribution; inside a cell positions are uniform and the energy follows the power law of that cell.
"""

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.background import CompiledBackground
from pymc_gamma.folding.background_rate import BackgroundRate
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.power_laws import quantile
from pymc_gamma.simulation import kernels
from pymc_gamma.simulation.simulator import Sampler, make_sampler

__all__ = ["BackgroundSampler"]


class BackgroundSampler:
    """Sampler of the residual background of one observation.

    Parameters
    ----------
    rate : BackgroundRate
        The rate and its domain of selection.
    """

    def __init__(self, rate: BackgroundRate) -> None:
        self._cells = rate.cells
        self._energy = rate.segments(np.array(rate.domain.energy_range))
        counts, self._slope = rate.cell_counts(self._energy)
        self._cdf = np.cumsum(counts.ravel())
        self._cdf /= self._cdf[-1]
        self._guide = kernels.guide_table(self._cdf, len(self._cdf))

    def sample(self, rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        """Events inside the domain: energies in TeV (n,) and unit vectors (n, 3)."""
        index = kernels.draw_indices(self._cdf, self._guide, rng.random(n))
        segment, cell = np.divmod(index, self._slope.shape[1])
        power = self._slope[segment, cell] + 1
        low, high = self._energy[segment], self._energy[segment + 1]
        ratio = np.log(high / low)
        growth = ratio * quantile(rng.random(n), power * ratio)
        energy = np.clip(low * np.exp(growth), self._energy[0], self._energy[-1])
        return energy, self._cells.sample(cell, rng)

    def with_component(
        self, component: CompiledBackground, folded: FoldedObservation, part_counts: FloatArray
    ) -> "BackgroundSampler":
        """A sampler of the background with another shape or factor."""
        return BackgroundSampler(component.rate(folded))

    def with_psf_scale(self, scale: float, part_counts: FloatArray) -> "BackgroundSampler":
        """The same: the background is measured in reconstructed coordinates."""
        return self


@make_sampler.register
def _(
    component: CompiledBackground, folded: FoldedObservation, energy_edges: FloatArray, part_counts: FloatArray
) -> Sampler:
    return BackgroundSampler(component.rate(folded))
