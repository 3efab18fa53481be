"""A factor on the effective area."""

import pymc as pm
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.systematics.base import Systematic

__all__ = ["EffectiveAreaNorm"]


class EffectiveAreaNorm(Systematic):
    """Factor on the effective area, the same at all energies; prior LogNormal(0, ``sigma``).

    It is degenerate with the amplitudes of all sources, and widens them as it should. One factor for all observations
    by default; a ``value`` with an entry for each is one for each.
    """

    variable = "aeff_norm"

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``aeff_norm``."""
        return pm.LogNormal(self.variable, 0.0, self.sigma)

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """One number, or one for each observation."""
        return [(), (n_observations,)]

    def act(self, component: ModelComponent, value: Variable) -> ModelComponent:
        """A factor on the norm of what comes from the sky."""
        return component.times(value) if "aeff" in component.irfs else component
