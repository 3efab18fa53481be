"""A factor on the residual background."""

import pymc as pm
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.systematics.base import Systematic, observation_dim

__all__ = ["BackgroundNorm"]


class BackgroundNorm(Systematic):
    """Factor on the residual background in each observation; prior LogNormal(0, ``sigma``)."""

    variable = "background_norm"

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """One number, or one for each observation."""
        return [(), (n_observations,)]

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``background_norm``, dims ``observation``."""
        return pm.LogNormal(self.variable, 0.0, self.sigma, dims=observation_dim(n_observations))

    def act(self, component: ModelComponent, value: Variable) -> ModelComponent:
        """A factor on the norm of a background."""
        return component.times(value) if "bkg" in component.irfs else component
