"""A factor on the width of the PSF."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pymc as pm
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import integer
from pymc_gamma.arrays import FloatArray
from pymc_gamma.labelled import aligned
from pymc_gamma.model.component import ModelComponent, PSFScaling
from pymc_gamma.model.systematics.base import Systematic

__all__ = ["PSFScale"]


@dataclass(frozen=True, eq=False)
class PSFScale(Systematic):
    """Factor on the width of the PSF; prior Normal(1, ``sigma``), truncated at three ``sigma``.

    Densities are evaluated for a few factors, and their logarithms interpolated (:mod:`pymc_gamma.model.varied`);
    nothing is folded again. It acts on everything that comes from the sky, and on components of free shape.

    Parameters
    ----------
    sigma : float
        Width of the prior, at most 0.2.
    value : TensorVariable or float, optional
        Instead of the default prior; log L is -inf beyond three ``sigma`` from 1.
    nodes : int
        Number of factors for which densities are evaluated.
    """

    sigma: float = 0.05
    nodes: int = 9
    variable: ClassVar[str] = "psf_scale"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "nodes", integer(self.nodes, "PSFScale(nodes=...)"))
        if self.nodes < 5:
            raise ValueError(f"PSFScale(nodes=...) must be at least 5, got {self.nodes}.")
        if self.sigma > 0.2:
            raise ValueError(
                f"PSFScale(sigma=...) must be at most 0.2, got {self.sigma}: the response is mixed over three of it on "
                "both sides."
            )
        value = aligned(self.value, {"observation": None}, "PSFScale(value=...)")
        if isinstance(value, np.ndarray) and np.any(np.abs(value - 1) > 3 * self.sigma * (1 + 1e-9)):
            raise ValueError(f"PSFScale(value=...) must lie within three sigma ({self.sigma}) of 1, got {self.value}.")

    @property
    def scaling(self) -> PSFScaling:
        """The range of the factor, and how finely it is followed."""
        return PSFScaling((1 - 3 * self.sigma, 1 + 3 * self.sigma), self.nodes)

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``psf_scale``, within three ``sigma`` of 1."""
        return pm.TruncatedNormal(self.variable, 1.0, self.sigma, lower=1 - 3 * self.sigma, upper=1 + 3 * self.sigma)

    def act(self, component: ModelComponent, value: Variable) -> ModelComponent:
        """Another width of the PSF for what comes from the sky."""
        return component.with_psf_scale(value, self.scaling) if "psf" in component.irfs else component
