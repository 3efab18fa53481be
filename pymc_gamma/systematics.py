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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import integer, is_several
from pymc_gamma.errors import ModelError
from pymc_gamma.labelled import aligned, has_labels
from pymc_gamma.tensors import joined
from pymc_gamma.units import numbers, scalar_value, to_value

__all__ = [
    "BackgroundNorm",
    "BackgroundTilt",
    "EffectiveAreaNorm",
    "EffectiveAreaShape",
    "EnergyScale",
    "PSFScale",
    "Systematic",
    "Systematics",
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
    of_sky: ClassVar[bool] = True
    """Whether it changes sky components, not the residual background."""

    def __post_init__(self) -> None:
        label = f"{type(self).__name__}(sigma=...)"
        sigma = numbers(self.sigma, label)
        if sigma.ndim or not sigma > 0:
            raise ValueError(f"{label} must be a positive number, got {self.sigma}.")
        object.__setattr__(self, "sigma", float(sigma))
        object.__setattr__(self, "value", joined(self.value, f"{type(self).__name__}(value=...)"))
        if not (self.value is None or isinstance(self.value, Variable) or has_labels(self.value)):
            label = f"{type(self).__name__}(value=...)"
            object.__setattr__(self, "value", numbers(self.value, label))
            if np.ndim(self.value) > 1:
                raise ValueError(f"{label} must be a number or a vector, got shape {np.shape(self.value)}.")

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
            label = f"{type(self).__name__}(value=...)"
            value = aligned(self.value, {"observation": range(n_observations)}, label)
            value = value if isinstance(value, Variable) else numbers(value, label)
            return self._checked(pt.as_tensor_variable(value).astype("float64"), n_observations, energy)
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
        if n_observations == 1 and () in shapes and value.type.ndim == 1 and value.type.shape[0] in (None, 1):
            return pt.specify_shape(value, (1,))[0]  # an entry for each observation
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
        object.__setattr__(self, "nodes", integer(self.nodes, "PSFScale(nodes=...)"))
        if self.nodes < 5:
            raise ValueError(f"PSFScale(nodes=...) must be at least 5, got {self.nodes}.")
        if self.sigma > 0.2:
            raise ValueError(
                f"PSFScale(sigma=...) must be at most 0.2, got {self.sigma}: the response is mixed over three of it on "
                "both sides."
            )
        if self.knots[0] < self.knots[1] - self.knots[0]:
            raise ValueError(f"PSFScale(sigma={self.sigma}) needs more than nodes={self.nodes}.")
        value = aligned(self.value, {"observation": None}, "PSFScale(value=...)")
        if isinstance(value, np.ndarray) and np.any(np.abs(value - 1) > 3 * self.sigma * (1 + 1e-9)):
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
    of_sky = False

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
    of_sky: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not scalar_value(self.reference, "TeV", "BackgroundTilt(reference=...)") > 0:
            raise ValueError(f"BackgroundTilt(reference=...) must be a positive energy, got {self.reference}.")

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


class Systematics:
    """The systematics of a model by their kind, and which kinds it knew an effect of.

    A kind is a class that derives from `Systematic` directly; a subclass of it, with a prior of its own for example, is
    of that kind and has its effect.

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    given : Systematic or sequence of Systematic
        What the user gave; classes stand for objects with default priors.

    Raises
    ------
    ModelError
        If one is not a systematic, or two are of a kind.
    """

    def __init__(self, name: str, given: Any) -> None:
        self.name = name
        self._by_kind: dict[type[Systematic], Systematic] = {}
        self._known: set[type[Systematic]] = set()
        for one in _listed(name, given):
            one = one() if isinstance(one, type) and issubclass(one, Systematic) else one
            if not isinstance(one, Systematic):
                raise ModelError(f"{name}: systematics must be objects such as pmg.EnergyScale(), got {one!r}.")
            kinds = [base for base in type(one).__mro__ if Systematic in base.__bases__]
            if len(kinds) != 1:
                raise ModelError(
                    f"{name}: {type(one).__name__} is {' and '.join(kind.__name__ for kind in kinds)} at once; pass "
                    "one systematic for each, with the same value= if they share it."
                )
            if kinds[0] in self._by_kind:
                other = type(self._by_kind[kinds[0]]).__name__
                raise ModelError(
                    f"{name}: systematics has {kinds[0].__name__} twice ({other}, {type(one).__name__}); pass one, and "
                    "combine their variables in its value=."
                )
            self._by_kind[kinds[0]] = one

    def __iter__(self) -> Iterator[tuple[type[Systematic], Systematic]]:
        return iter(self._by_kind.items())

    def get[S: Systematic](self, kind: type[S]) -> S | None:
        """The systematic of a kind that the caller has an effect for; None if there is none."""
        self._known.add(kind)
        found = self._by_kind.get(kind)
        assert found is None or isinstance(found, kind)
        return found

    def __contains__(self, kind: type[Systematic]) -> bool:
        return self.get(kind) is not None

    def check_known(self) -> None:
        """Raise a ModelError if there is one that nobody asked for: it would have no effect."""
        for kind, one in self:
            if kind not in self._known:
                known = sorted(other.__name__ for other in self._known)
                raise ModelError(
                    f"{self.name}: {type(one).__name__} would have no effect: the model knows what {', '.join(known)} "
                    "do. Derive it from one of these, or put its variable into spectra= or norms=."
                )


def _listed(name: str, given: Any) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, Systematic | type):
        return [given]
    if is_several(given):
        return list(given)
    raise ModelError(f"{name}: systematics must be a list of objects such as pmg.EnergyScale(), got {given!r}.")
