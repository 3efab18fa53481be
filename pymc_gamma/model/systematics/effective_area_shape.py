"""A factor on the effective area that depends on the true energy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.systematics.base import Systematic
from pymc_gamma.units import to_value

__all__ = ["EffectiveAreaShape"]

KNOTS = "aeff_knot"
"""Name of the dim of its knots."""


@dataclass(frozen=True, eq=False)
class EffectiveAreaShape(Systematic):
    """Factor on the effective area that depends on the true energy; prior Normal(0, ``sigma``) of its logarithm.

    The logarithm is a natural cubic spline in log E through its values at a few energies, constant beyond them. All sky
    components must be of free spectrum.

    Parameters
    ----------
    sigma : float
        Width of the prior at each knot.
    value : TensorVariable, optional
        Instead of the default prior: a vector with one entry for each knot.
    knots : int or `~astropy.units.Quantity`
        How many, equidistant in log E over the range of true energies, or the energies themselves.
    """

    knots: Any = 5
    variable: ClassVar[str] = "aeff_shape"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value is not None and isinstance(self.knots, int | np.integer):
            raise ValueError(
                "EffectiveAreaShape(value=...) needs knots=[...] too, the energies that its entries belong to: the "
                "default ones differ from response to response."
            )
        if not isinstance(self.knots, int | np.integer):
            self.energies(np.empty(0))  # refused here, where the user is

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """One number for each knot."""
        return [(len(self.energies(energy)),)]

    def energies(self, energy: FloatArray) -> FloatArray:
        """Energies of the knots in TeV, ascending."""
        if isinstance(self.knots, int | np.integer):
            if self.knots < 2:
                raise ValueError(f"EffectiveAreaShape needs at least 2 knots, got {self.knots}.")
            return np.geomspace(energy[0], energy[-1], int(self.knots))
        knots = np.atleast_1d(to_value(self.knots, "TeV", "EffectiveAreaShape(knots=...)"))
        if knots.ndim != 1 or len(knots) < 2 or not (np.all(np.diff(knots) > 0) and knots[0] > 0):
            raise ValueError(
                f"EffectiveAreaShape(knots=...) must be at least 2 ascending positive energies, got {knots} TeV."
            )
        return np.asarray(knots)

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``aeff_shape``, dims ``aeff_knot`` (TeV); both with the name of an instrument before them."""
        model, own = pm.modelcontext(None), EffectiveAreaShape.variable
        dims = f"{self.variable.removesuffix(own)}{KNOTS}" if self.variable.endswith(own) else f"{self.variable}_knot"
        knots = self.energies(energy)
        if dims not in model.coords:
            model.add_coord(dims, knots)
        elif not np.array_equal(model.coords[dims], knots):
            raise ModelError(
                f"EffectiveAreaShape: the coordinate {dims!r} of the model is {model.coords[dims]}, and its knots are "
                f"{knots} TeV; call that coordinate another name."
            )
        return pm.Normal(self.variable, 0.0, self.sigma, dims=dims)

    def factor(self, values: Variable, energy: FloatArray) -> Callable[[Any], Variable]:
        """The factor as a function of the true energy in TeV, numbers or a variable, shape (n,)."""
        from scipy.interpolate import CubicSpline

        knots = np.log(self.energies(energy))
        spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural" if len(knots) > 2 else "not-a-knot")

        def factor(at: Any) -> Variable:
            if not isinstance(at, Variable):
                return pt.exp(pt.dot(pt.constant(spline(np.clip(np.log(at), knots[0], knots[-1]))), values))
            # energies that depend on parameters, such as those of lines: the polynomials between the knots
            log = pt.clip(pt.log(at), knots[0], knots[-1])
            k = pt.clip(pt.searchsorted(pt.constant(knots), log, side="right") - 1, 0, len(knots) - 2)
            cubic, square, slope, value = (pt.dot(pt.constant(one), values)[k] for one in spline.c)
            step = log - pt.constant(knots)[k]
            return pt.exp(((cubic * step + square) * step + slope) * step + value)

        return factor

    def act(self, component: ModelComponent, value: Variable) -> ModelComponent:
        """A factor on the spectrum of what comes from the sky."""
        if "aeff" not in component.irfs:
            return component
        return component.with_factor(self.factor(value, component.energy_range))
