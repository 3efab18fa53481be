"""An index of a power law on the residual background."""

from dataclasses import dataclass
from typing import Any, ClassVar

import astropy.units as u
import pymc as pm
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.spectra import PowerLawNorm
from pymc_gamma.model.systematics.base import Systematic, observation_dim
from pymc_gamma.units import scalar_value

__all__ = ["BackgroundTilt"]


@dataclass(frozen=True, eq=False)
class BackgroundTilt(Systematic):
    """Residual background times :math:`(E/E_0)^{-t}` in each observation; prior Normal(0, ``sigma``) of the tilt.

    Parameters
    ----------
    sigma : float
        Width of the prior.
    value : TensorVariable, optional
        Instead of the default prior: a number, or a vector with one entry for each observation.
    reference : `~astropy.units.Quantity`
        Energy at which nothing changes, 1 TeV by default.
    """

    sigma: float = 0.05
    reference: Any = 1 * u.TeV
    variable: ClassVar[str] = "background_tilt"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not scalar_value(self.reference, "TeV", "BackgroundTilt(reference=...)") > 0:
            raise ValueError(f"BackgroundTilt(reference=...) must be a positive energy, got {self.reference}.")

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """One number, or one for each observation."""
        return [(), (n_observations,)]

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``background_tilt``, dims ``observation``."""
        return pm.Normal(self.variable, 0.0, self.sigma, dims=observation_dim(n_observations))

    def act(self, component: ModelComponent, value: Variable) -> ModelComponent:
        """A power law as a factor on the rate of a background."""
        if "bkg" not in component.irfs:
            return component
        return component.with_factor(PowerLawNorm(tilt=value, reference=self.reference))
