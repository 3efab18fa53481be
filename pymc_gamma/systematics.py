r"""Instrument systematics as priors.

What an instrument does not know about itself becomes a random variable of the model, with a prior that says how well it
is known. Pass any of these to ``ExtendedEventMixture(..., systematics=[...])``; each adds its variable, under its own
name, and the posterior says what the data had to say about it:

======================  =====================  ===================================================================
class                   variable               what it does
======================  =====================  ===================================================================
`EffectiveAreaNorm`     ``aeff_norm``          factor on the effective area, hence on all sky fluxes
`EffectiveAreaShape`    ``aeff_shape``         logarithm of that factor at a few true energies, a cubic spline between
`EnergyScale`           ``energy_scale``       factor on the energies that the response assumes for gamma rays
`PSFScale`              ``psf_scale``          factor on the width of the PSF
`BackgroundNorm`        ``background_norm``    factor on the residual background, in each observation
`BackgroundTilt`        ``background_tilt``    index of a power law in reconstructed energy on it, in each observation
======================  =====================  ===================================================================

Factors are 1 and tilts 0 for the nominal response. Instead of the default prior, give any PyTensor variable (or number)
as ``value``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.errors import ModelError
from pymc_gamma.units import to_value

__all__ = [
    "BackgroundNorm",
    "BackgroundTilt",
    "EffectiveAreaNorm",
    "EffectiveAreaShape",
    "EnergyScale",
    "PSFScale",
    "Systematic",
    "check_systematics",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Systematic(ABC):
    """A systematic uncertainty: a variable of the model with a default prior.

    Parameters
    ----------
    sigma : float
        Width of the prior.
    value : TensorVariable or float, optional
        Instead of the default prior.
    """

    sigma: float = 0.1
    value: Any = None
    variable: ClassVar[str]

    def __post_init__(self) -> None:
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"{type(self).__name__}(sigma=...) must be a positive number, got {self.sigma}.")

    @abstractmethod
    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Add the variable with its default prior to the model on the context stack."""

    def tensor(self, n_observations: int, energy: FloatArray) -> Variable:
        """The variable: the one given, or a new one with the default prior.

        Parameters
        ----------
        n_observations : int
            Number of observations.
        energy : numpy.ndarray
            Range of the true energy in TeV, shape (2,).

        Raises
        ------
        ModelError
            If the model has a variable of that name already.
        """
        if self.value is not None:
            return self._checked(pt.as_tensor_variable(self.value).astype("float64"), n_observations, energy)
        model = pm.modelcontext(None)
        if self.variable in model.named_vars:
            raise ModelError(
                f"the model has a variable {self.variable!r} already; pass it on with "
                f"{type(self).__name__}(value=...), so that both share it."
            )
        return self.prior(n_observations, energy)

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """Shapes that the variable may have."""
        return [()]

    def _checked(self, value: Variable, n_observations: int, energy: FloatArray) -> Variable:
        shapes = self.shapes(n_observations, energy)
        for shape in shapes:
            if len(shape) == value.type.ndim and all(
                known in (None, wanted) for known, wanted in zip(value.type.shape, shape, strict=True)
            ):
                return pt.specify_shape(value, shape) if shape else value
        allowed = " or ".join("a single number" if not shape else f"a vector of {shape[0]}" for shape in shapes)
        raise ModelError(f"{type(self).__name__}(value=...) must be {allowed}, got {value.type}.")


class EffectiveAreaNorm(Systematic):
    """Factor on the effective area, the same at all energies; prior LogNormal(0, ``sigma``).

    It is degenerate with the amplitudes of all sources, and widens them as it should.
    """

    variable = "aeff_norm"

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``aeff_norm``."""
        return pm.LogNormal(self.variable, 0.0, self.sigma)


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
            raise ValueError(f"knots must be at least 2 ascending positive energies, got {knots} TeV.")
        return np.asarray(knots)

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``aeff_shape``, dims ``aeff_knot`` (TeV)."""
        model = pm.modelcontext(None)
        if "aeff_knot" not in model.coords:
            model.add_coord("aeff_knot", self.energies(energy))
        return pm.Normal(self.variable, 0.0, self.sigma, dims="aeff_knot")

    def factor(self, values: Variable, energy: FloatArray) -> Callable[[FloatArray], Variable]:
        """The factor as a function of the true energy in TeV."""
        from scipy.interpolate import CubicSpline

        knots = np.log(self.energies(energy))
        spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural" if len(knots) > 2 else "not-a-knot")

        def factor(at: FloatArray) -> Variable:
            basis = spline(np.clip(np.log(at), knots[0], knots[-1]))
            return pt.exp(pt.dot(pt.constant(basis), values))

        return factor


class EnergyScale(Systematic):
    """Factor on the energies that the response assumes for gamma rays; prior LogNormal(0, ``sigma``).

    A photon of energy E is dispersed and blurred like one of the factor times E
    (:mod:`pymc_gamma.distributions.energy_scale`), while the effective area stays. The residual background stays too:
    it was measured in reconstructed energies. All sky components must be of free spectrum.
    """

    variable = "energy_scale"

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``energy_scale``."""
        return pm.LogNormal(self.variable, 0.0, self.sigma)


@dataclass(frozen=True, eq=False)
class PSFScale(Systematic):
    """Factor on the width of the PSF; prior Normal(1, ``sigma``), truncated at three ``sigma``.

    The response is folded for a few factors and mixed between them (:mod:`pymc_gamma.distributions.columns`). With
    3000 events of a source and the default step of 0.05 between the factors, what the data say of the width is right
    within a tenth of its standard deviation; the error goes with the square of the step, ``6 sigma / (nodes - 3)``.

    Parameters
    ----------
    sigma : float
        Width of the prior, at most 0.2.
    value : TensorVariable or float, optional
        Instead of the default prior; beyond three ``sigma`` from 1 it has no further effect.
    nodes : int
        Number of factors for which the response is folded.
    """

    sigma: float = 0.05
    nodes: int = 9
    variable: ClassVar[str] = "psf_scale"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nodes < 5:
            raise ValueError(f"PSFScale(nodes=...) must be at least 5, got {self.nodes}.")
        if self.sigma > 0.2:
            raise ValueError(
                f"PSFScale(sigma=...) must be at most 0.2, got {self.sigma}: the response is mixed over three of it on "
                "both sides."
            )
        if self.knots[0] < self.knots[1] - self.knots[0]:
            raise ValueError(f"PSFScale(sigma={self.sigma}) needs more than nodes={self.nodes}.")
        if isinstance(self.value, int | float) and abs(self.value - 1) > 3 * self.sigma * (1 + 1e-9):
            raise ValueError(f"PSFScale(value=...) must lie within three sigma ({self.sigma}) of 1, got {self.value}.")

    @property
    def knots(self) -> FloatArray:
        """Knots of the splines: the second and the last but one are three ``sigma`` from 1."""
        step = 6 * self.sigma / (self.nodes - 3)
        return np.asarray(1 - 3 * self.sigma + step * np.arange(-1, self.nodes - 1), dtype=np.float64)

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``psf_scale``, within three ``sigma`` of 1."""
        return pm.TruncatedNormal(self.variable, 1.0, self.sigma, lower=1 - 3 * self.sigma, upper=1 + 3 * self.sigma)


class BackgroundNorm(Systematic):
    """Factor on the residual background in each observation; prior LogNormal(0, ``sigma``)."""

    variable = "background_norm"

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """One number, or one for each observation."""
        return [(), (n_observations,)]

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``background_norm``, dims ``observation``."""
        return pm.LogNormal(self.variable, 0.0, self.sigma, dims=_observation_dim(n_observations))


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

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """One number, or one for each observation."""
        return [(), (n_observations,)]

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``background_tilt``, dims ``observation``."""
        return pm.Normal(self.variable, 0.0, self.sigma, dims=_observation_dim(n_observations))


def _observation_dim(n_observations: int) -> str:
    model = pm.modelcontext(None)
    known = model.coords.get("observation")
    if "observation" not in model.coords:
        model.add_coord("observation", np.arange(n_observations))
    elif known is not None and len(known) != n_observations:
        raise ModelError(
            f"the coordinate 'observation' of the model has {len(known)} entries, and there are {n_observations} "
            "observations; give BackgroundNorm or BackgroundTilt a value= with dims of your own."
        )
    return "observation"


def check_systematics(name: str, systematics: Sequence[Any]) -> dict[type[Systematic], Systematic]:
    """The systematics by their class.

    Raises
    ------
    ModelError
        If one is not a systematic, or two are of a kind.
    """
    found: dict[type[Systematic], Systematic] = {}
    for one in [systematics] if isinstance(systematics, Systematic) else systematics:
        if isinstance(one, type) and issubclass(one, Systematic):
            one = one()
        if not isinstance(one, Systematic):
            raise ModelError(f"{name}: systematics must be objects such as pmg.EnergyScale(), got {one!r}.")
        if type(one) in found:
            raise ModelError(f"{name}: systematics has {type(one).__name__} twice.")
        found[type(one)] = one
    return found
