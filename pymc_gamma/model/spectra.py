r"""Spectra with parameters: true energy in TeV to a PyTensor vector in TeV-1 cm-2 s-1.

Names and definitions are those of gammapy (https://docs.gammapy.org, "Spectral models"):

.. math::

    \text{PowerLaw} \quad & \phi_0 (E/E_0)^{-\Gamma} \\
    \text{ExpCutoffPowerLaw} \quad & \phi_0 (E/E_0)^{-\Gamma} e^{-(\lambda E)^\alpha} \\
    \text{LogParabola} \quad & \phi_0 (E/E_0)^{-\alpha - \beta \ln(E/E_0)} \\
    \text{BrokenPowerLaw} \quad & \phi_0 (E/E_b)^{-\Gamma_1} \text{ for } E < E_b, \
        \phi_0 (E/E_b)^{-\Gamma_2} \text{ above} \\
    \text{SmoothBrokenPowerLaw} \quad & \phi_0 (E/E_0)^{-\Gamma_1}
        \big[1 + (E/E_b)^{|\Gamma_2 - \Gamma_1| / \beta}\big]^{-\beta\,\mathrm{sign}(\Gamma_2 - \Gamma_1)} \\
    \text{TemplateSpectrum} \quad & N\, T(E)\, (E/E_0)^{-t} \\
    \text{PowerLawNorm} \quad & N\, (E/E_0)^{-t}, \text{ a factor} .

Parameters are numbers, quantities or PyTensor variables such as the random variables of a PyMC model; numbers and
variables are in the units named with each class. Spectra can be added, and multiplied by numbers, variables or
functions of energy such as :class:`EBLAbsorption`.

A parameter may be a vector: the spectrum then has a row for each entry, one for each observation
(``spectra={"crab": ...}``) or for each of several components (``spectra={("S0", "S1"): ...}``).

Where a spectrum is wanted, any function of the energy that returns a PyTensor vector will do.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable
from scipy.ndimage import maximum_filter1d

from pymc_gamma.arguments import checked, kind
from pymc_gamma.flux import Photons, photons_of
from pymc_gamma.labelled import aligned, has_labels
from pymc_gamma.tensors import described, joined, with_unit
from pymc_gamma.units import numbers, to_value

__all__ = [
    "BrokenPowerLaw",
    "EBLAbsorption",
    "ExpCutoffPowerLaw",
    "LogParabola",
    "ParametricSpectrum",
    "PowerLaw",
    "PowerLawNorm",
    "SmoothBrokenPowerLaw",
    "Spectrum",
    "TemplateSpectrum",
    "conditions_of",
    "is_smooth",
]

FLUX = "TeV-1 cm-2 s-1"
_TINY = float(np.finfo(np.float64).tiny)
"""Stands for zero where logarithms are interpolated, as in gammapy."""
_SPAN, _LARGEST_BEND = 0.055, 0.05
"""Range of log E, and second difference over it relative to the largest value near by, of a table that is smooth."""


class Spectrum(ABC):
    """Differential flux as a function of true energy.

    Subclasses implement :meth:`evaluate`; sums and products come with this class.

    Attributes
    ----------
    smooth : bool
        Whether the spectrum has no features narrower than 10 % of the energy (lines, steps), whatever its parameters.
        Models then follow it on fewer energies. False unless a subclass says otherwise: right for any spectrum.
    """

    @property
    def smooth(self) -> bool:
        """Whether the spectrum has no narrow features."""
        return False

    @property
    def has_rows(self) -> bool:
        """Whether a parameter is a vector, so that there is a row for each of its entries."""
        return False

    @property
    def conditions(self) -> tuple[tuple[Variable, str], ...]:
        """What parameters must fulfil for the spectrum to be known: scalar truth values, and what to tell if not.

        Events are impossible under parameters that do not.
        """
        return ()

    def photons(self, edges: NDArray[np.float64]) -> Photons | None:
        """The spectrum as photons at points in the intervals between ``edges`` (TeV).

        None, unless a subclass knows its integrals better than its values tell (lines, endpoints).
        """
        return None

    @abstractmethod
    def evaluate(self, energy: Variable) -> Variable:
        """Flux in TeV-1 cm-2 s-1 at energies in TeV, of the same shape.

        Where parameters are vectors, energies come as a column, and there is a column for each entry.
        """

    def __call__(self, energy: Any) -> Variable:
        """Differential flux.

        Parameters
        ----------
        energy : array_like or TensorVariable
            True energies in TeV.

        Returns
        -------
        TensorVariable
            TeV-1 cm-2 s-1, of the same shape, with a row for each entry of parameters that are vectors.
        """
        if isinstance(energy, u.Quantity):
            energy = to_value(energy, "TeV", "energy")
        at = pt.as_tensor_variable(energy).astype("float64")
        return self.evaluate(at[:, None]).T if self.has_rows and at.type.ndim == 1 else self.evaluate(at)

    def __add__(self, other: Callable[[Any], Any]) -> "Spectrum":
        """Sum of two spectra."""
        if not callable(other):
            return NotImplemented
        return _Sum(self, other)

    __radd__ = __add__

    def __mul__(self, factor: Any) -> "Spectrum":
        """Product with a number, a variable or a function of energy."""
        return _Product(self, factor)

    __rmul__ = __mul__


@dataclass(frozen=True, eq=False)
class _Sum(Spectrum):
    """Sum of two spectra."""

    first: Callable[[Any], Any]
    second: Callable[[Any], Any]

    @property
    def smooth(self) -> bool:
        """Whether both are."""
        return is_smooth(self.first) and is_smooth(self.second)

    @property
    def has_rows(self) -> bool:
        """Whether one of them has."""
        return _has_rows(self.first) or _has_rows(self.second)

    @property
    def conditions(self) -> tuple[tuple[Variable, str], ...]:
        """Those of both."""
        return conditions_of(self.first) + conditions_of(self.second)

    def photons(self, edges: NDArray[np.float64]) -> Photons | None:
        """Photons of both, if one of them knows them."""
        terms = (self.first, self.second)
        known = [photons_of(one, edges) for one in terms]
        if not any(known):
            return None
        each = [_sampled(one, edges) if own is None else own for one, own in zip(terms, known, strict=True)]
        n_rows = [one.flux.shape[0] for one in each if one.flux.type.ndim > 2]
        fluxes = [pt.broadcast_to(one.flux, (n_rows[0], *one.flux.shape[-2:])) if n_rows else one.flux for one in each]
        return Photons(pt.concatenate([one.energy for one in each], axis=-1), pt.concatenate(fluxes, axis=-1))

    def evaluate(self, energy: Variable) -> Variable:
        """Sum of both."""
        return self.first(energy) + self.second(energy)


@dataclass(frozen=True, eq=False)
class _Product(Spectrum):
    """A spectrum times a factor that may depend on energy."""

    spectrum: Spectrum
    factor: Any

    def __post_init__(self) -> None:
        if not callable(self.factor) or isinstance(self.factor, Variable):
            object.__setattr__(self, "factor", _parameter(self.factor, "", "factor"))

    @property
    def smooth(self) -> bool:
        """Whether the spectrum is, and a factor that varies."""
        varies = callable(self.factor) and not isinstance(self.factor, Variable)
        return is_smooth(self.spectrum) and (not varies or is_smooth(self.factor))

    @property
    def has_rows(self) -> bool:
        """Whether the spectrum has, or the factor is a vector."""
        return _has_rows(self.spectrum) or _has_rows(self.factor)

    @property
    def conditions(self) -> tuple[tuple[Variable, str], ...]:
        """Those of both."""
        return conditions_of(self.spectrum) + conditions_of(self.factor)

    def photons(self, edges: NDArray[np.float64]) -> Photons | None:
        """Photons of the spectrum times the factor there."""
        own = photons_of(self.spectrum, edges)
        if own is None:
            return None
        if callable(self.factor) and not isinstance(self.factor, Variable):
            return own.times(self.factor)
        factor = pt.as_tensor_variable(self.factor)
        return own._replace(flux=own.flux * (factor[:, None, None] if factor.type.ndim else factor))

    def evaluate(self, energy: Variable) -> Variable:
        """Product of both."""
        varies = callable(self.factor) and not isinstance(self.factor, Variable)
        return self.spectrum(energy) * (self.factor(energy) if varies else self.factor)


class ParametricSpectrum(Spectrum):
    """A spectrum whose dataclass fields are parameters in the units of ``units``."""

    units: ClassVar[Mapping[str, str]]

    @property
    def smooth(self) -> bool:
        """Power laws, and how they bend and are cut off."""
        return True

    @property
    def has_rows(self) -> bool:
        """Whether a parameter is a vector."""
        return any(_has_rows(getattr(self, name)) for name in self.units)

    def __post_init__(self) -> None:
        for name, unit in self.units.items():
            label = f"{type(self).__name__}({name}=...)"
            value = _parameter(getattr(self, name), unit, label)
            object.__setattr__(self, name, described(value, f"{name} of {type(self).__name__}"))


@dataclass(frozen=True, eq=False)
class PowerLaw(ParametricSpectrum):
    r"""Power law, :math:`\phi_0 (E/E_0)^{-\Gamma}`.

    Parameters
    ----------
    index : float, Quantity or TensorVariable
        Photon index.
    amplitude : float, Quantity or TensorVariable
        Flux at the reference energy, TeV-1 cm-2 s-1.
    reference : float, Quantity or TensorVariable
        Reference energy, TeV.

    Raises
    ------
    TypeError
        If a parameter is not a single number.
    astropy.units.UnitConversionError
        If a parameter has the wrong unit.

    Examples
    --------
    >>> PowerLaw(index=2.0, amplitude=1e-11)([1.0, 10.0]).eval().round(20).tolist()
    [1e-11, 1e-13]
    """

    index: Any = 2.0
    amplitude: Any = 1e-12
    reference: Any = 1.0
    units: ClassVar[Mapping[str, str]] = {"index": "", "amplitude": FLUX, "reference": "TeV"}

    def evaluate(self, energy: Variable) -> Variable:
        """Flux at energies in TeV."""
        return self.amplitude * _power(energy / self.reference, -self.index)


@dataclass(frozen=True, eq=False)
class PowerLawNorm(Spectrum):
    r"""A factor that follows a power law, :math:`N (E/E_0)^{-t}`: norm and tilt of a background or of another spectrum.

    Parameters
    ----------
    norm, tilt : float, Quantity or TensorVariable
        Numbers, or vectors with one entry for each observation: then the factor has one row for each. Labels of xarray
        and pandas are the numbers of the observations, from 0.
    reference : float or Quantity
        Energy in TeV at which the factor is the norm.

    Raises
    ------
    TypeError
        If a parameter is neither a number nor a vector.
    astropy.units.UnitConversionError
        If a parameter has the wrong unit.

    Examples
    --------
    >>> PowerLawNorm(norm=2.0, tilt=1.0)([1.0, 10.0]).eval().round(6).tolist()
    [2.0, 0.2]
    >>> PowerLawNorm(norm=[1.0, 3.0])([1.0, 10.0]).eval().tolist()
    [[1.0, 1.0], [3.0, 3.0]]
    """

    norm: Any = 1.0
    tilt: Any = 0.0
    reference: Any = 1.0

    @property
    def smooth(self) -> bool:
        """A power law has no features."""
        return True

    @property
    def has_rows(self) -> bool:
        """Whether a parameter is a vector."""
        return _has_rows(self.norm) or _has_rows(self.tilt)

    def __post_init__(self) -> None:
        for name in ("norm", "tilt"):
            object.__setattr__(self, name, _scalar_or_vector(getattr(self, name), f"PowerLawNorm({name}=...)"))
        reference = _parameter(self.reference, "TeV", "PowerLawNorm(reference=...)")
        object.__setattr__(self, "reference", reference)

    def evaluate(self, energy: Variable) -> Variable:
        """Factor at energies in TeV."""
        return self.norm * _power(energy / self.reference, -self.tilt)


@dataclass(frozen=True, eq=False)
class ExpCutoffPowerLaw(ParametricSpectrum):
    r"""Power law with an exponential cut-off, :math:`\phi_0 (E/E_0)^{-\Gamma} e^{-(\lambda E)^\alpha}`.

    Parameters
    ----------
    index : float, Quantity or TensorVariable
        Photon index.
    amplitude : float, Quantity or TensorVariable
        Flux at the reference energy without the cut-off, TeV-1 cm-2 s-1.
    reference : float, Quantity or TensorVariable
        Reference energy, TeV.
    lambda_ : float, Quantity or TensorVariable
        Inverse cut-off energy, TeV-1.
    alpha : float, Quantity or TensorVariable
        Sharpness of the cut-off.

    Raises
    ------
    TypeError
        If a parameter is not a single number.
    astropy.units.UnitConversionError
        If a parameter has the wrong unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> spectrum = ExpCutoffPowerLaw(index=2.0, amplitude=1e-11, lambda_=1 / (50 * u.TeV))
    >>> spectrum([1.0, 10.0]).eval().round(14).tolist()
    [9.8e-12, 8e-14]
    """

    index: Any = 1.5
    amplitude: Any = 1e-12
    reference: Any = 1.0
    lambda_: Any = 0.1
    alpha: Any = 1.0
    units: ClassVar[Mapping[str, str]] = {
        "index": "",
        "amplitude": FLUX,
        "reference": "TeV",
        "lambda_": "TeV-1",
        "alpha": "",
    }

    def evaluate(self, energy: Variable) -> Variable:
        """Flux at energies in TeV."""
        cutoff = pt.power(energy * self.lambda_, self.alpha)
        return self.amplitude * pt.exp(-self.index * pt.log(energy / self.reference) - cutoff)


@dataclass(frozen=True, eq=False)
class LogParabola(ParametricSpectrum):
    r"""Log-parabola, :math:`\phi_0 (E/E_0)^{-\alpha - \beta \ln(E/E_0)}`.

    Parameters
    ----------
    amplitude : float, Quantity or TensorVariable
        Flux at the reference energy, TeV-1 cm-2 s-1.
    reference : float, Quantity or TensorVariable
        Reference energy, TeV: 10 by default, as in gammapy, where other spectra have 1.
    alpha : float, Quantity or TensorVariable
        Photon index at the reference energy.
    beta : float, Quantity or TensorVariable
        Curvature; where it is negative the flux rises again without end, so that a prior such as HalfNormal suits it.

    Raises
    ------
    TypeError
        If a parameter is not a single number.
    astropy.units.UnitConversionError
        If a parameter has the wrong unit.

    Examples
    --------
    >>> LogParabola(amplitude=1e-12, reference=1.0, alpha=2.0, beta=0.0)([10.0]).eval().round(16).tolist()
    [1e-14]
    """

    amplitude: Any = 1e-12
    reference: Any = 10.0
    alpha: Any = 2.0
    beta: Any = 1.0
    units: ClassVar[Mapping[str, str]] = {"amplitude": FLUX, "reference": "TeV", "alpha": "", "beta": ""}

    def evaluate(self, energy: Variable) -> Variable:
        """Flux at energies in TeV."""
        x = pt.log(energy / self.reference)
        return self.amplitude * pt.exp(-(self.alpha + self.beta * x) * x)


@dataclass(frozen=True, eq=False)
class BrokenPowerLaw(ParametricSpectrum):
    r"""Two power laws that meet at an energy.

    Parameters
    ----------
    index1, index2 : float, Quantity or TensorVariable
        Photon indices below and above the break.
    amplitude : float, Quantity or TensorVariable
        Flux at the break, TeV-1 cm-2 s-1.
    ebreak : float, Quantity or TensorVariable
        Energy of the break, TeV.

    Raises
    ------
    TypeError
        If a parameter is not a single number.
    astropy.units.UnitConversionError
        If a parameter has the wrong unit.

    Examples
    --------
    >>> BrokenPowerLaw(index1=1.0, index2=3.0)([0.1, 10.0]).eval().round(18).tolist()
    [1e-11, 1e-15]
    """

    index1: Any = 2.0
    index2: Any = 2.0
    amplitude: Any = 1e-12
    ebreak: Any = 1.0
    units: ClassVar[Mapping[str, str]] = {"index1": "", "index2": "", "amplitude": FLUX, "ebreak": "TeV"}

    def evaluate(self, energy: Variable) -> Variable:
        """Flux at energies in TeV."""
        ratio = energy / self.ebreak
        return self.amplitude * _power(ratio, -pt.switch(ratio < 1, self.index1, self.index2))


@dataclass(frozen=True, eq=False)
class SmoothBrokenPowerLaw(ParametricSpectrum):
    r"""Two power laws with a smooth transition.

    Parameters
    ----------
    index1, index2 : float, Quantity or TensorVariable
        Photon indices far below and far above the break.
    amplitude : float, Quantity or TensorVariable
        Flux of the first power law at the reference energy, TeV-1 cm-2 s-1.
    ebreak : float, Quantity or TensorVariable
        Energy of the break, TeV.
    reference : float, Quantity or TensorVariable
        Reference energy, TeV.
    beta : float, Quantity or TensorVariable
        Width of the transition.

    Raises
    ------
    TypeError
        If a parameter is not a single number.
    astropy.units.UnitConversionError
        If a parameter has the wrong unit.

    Examples
    --------
    >>> SmoothBrokenPowerLaw(index1=1.0, index2=3.0)([1.0]).eval().round(18).tolist()
    [5e-13]
    """

    index1: Any = 2.0
    index2: Any = 2.0
    amplitude: Any = 1e-12
    ebreak: Any = 1.0
    reference: Any = 1.0
    beta: Any = 1.0
    units: ClassVar[Mapping[str, str]] = {
        "index1": "",
        "index2": "",
        "amplitude": FLUX,
        "ebreak": "TeV",
        "reference": "TeV",
        "beta": "",
    }

    def evaluate(self, energy: Variable) -> Variable:
        """Flux at energies in TeV."""
        step = self.index2 - self.index1
        # log(1 + x) of a large power without forming the power
        bend = pt.softplus(pt.abs(step) / self.beta * pt.log(energy / self.ebreak))
        first = -self.index1 * pt.log(energy / self.reference)
        return self.amplitude * pt.exp(first - self.beta * pt.sign(step) * bend)


@dataclass(frozen=True, eq=False)
class TemplateSpectrum(ParametricSpectrum):
    r"""A tabulated spectrum with a free norm and tilt, :math:`N\, T(E)\, (E/E_0)^{-t}`.

    Interpolated, and extended beyond the table, as a power law between neighbouring energies, like gammapy's
    ``TemplateSpectralModel`` times ``PowerLawNormSpectralModel``.

    Parameters
    ----------
    energy : Quantity, shape (n,)
        Energies of the table, ascending.
    values : Quantity, shape (n,)
        Fluxes, convertible to TeV-1 cm-2 s-1, not negative.
    norm : float, Quantity or TensorVariable
        Factor.
    tilt : float, Quantity or TensorVariable
        Index added to that of the table.
    reference : float, Quantity or TensorVariable
        Energy at which the tilt changes nothing, TeV.

    Raises
    ------
    ValueError
        If the table is not a table of finite fluxes at ascending energies.
    TypeError
        If the table has no units, or a parameter is not a single number.
    astropy.units.UnitConversionError
        If something has the wrong unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> table = [1e-11, 1e-13] * u.Unit("TeV-1 cm-2 s-1")
    >>> TemplateSpectrum([1, 10] * u.TeV, table, norm=2.0)([1.0, 10.0]).eval().round(20).tolist()
    [2e-11, 2e-13]
    """

    energy: Any
    values: Any
    norm: Any = 1.0
    tilt: Any = 0.0
    reference: Any = 1.0
    units: ClassVar[Mapping[str, str]] = {"norm": "", "tilt": "", "reference": "TeV"}

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "energy", to_value(self.energy, "TeV", "TemplateSpectrum(energy=...)"))
        object.__setattr__(self, "values", to_value(self.values, FLUX, "TemplateSpectrum(values=...)"))
        _check_table(type(self).__name__, "values", self.energy, self.values)

    @property
    def smooth(self) -> bool:
        """Whether the table has no steps and no narrow lines."""
        return _is_smooth_table(self.energy, self.values)

    def evaluate(self, energy: Variable) -> Variable:
        """Flux at energies in TeV."""
        table = _interpolate_powers(self.energy, self.values, energy)
        return self.norm * table * _power(energy / self.reference, -self.tilt)


class EBLAbsorption:
    r"""Absorption on the extragalactic background light, :math:`e^{-\alpha \tau(E)}`: a factor for a spectrum.

    Parameters
    ----------
    energy : Quantity, shape (n,)
        Energies of the table, ascending.
    transmission : array_like, shape (n,)
        Share of the photons that arrive, :math:`e^{-\tau}`, at the redshift of the source.
    alpha_norm : float, Quantity or TensorVariable
        Factor on the optical depth.

    Raises
    ------
    ValueError
        If the table is not a table of numbers between 0 and 1 at ascending energies.

    Examples
    --------
    >>> import astropy.units as u
    >>> ebl = EBLAbsorption([0.1, 10] * u.TeV, [1.0, 0.5], alpha_norm=2.0)
    >>> (PowerLaw() * ebl)([10.0]).eval().round(20).tolist()
    [2.5e-15]
    """

    def __init__(self, energy: Any, transmission: Any, alpha_norm: Any = 1.0) -> None:
        self.energy = to_value(energy, "TeV", "EBLAbsorption(energy=...)")
        label = "EBLAbsorption(transmission=...)"
        self.transmission = numbers(aligned(transmission, {"energy": self.energy.ravel().tolist()}, label), label)
        self.alpha_norm = _parameter(alpha_norm, "", "EBLAbsorption(alpha_norm=...)")
        _check_table(type(self).__name__, "transmission", self.energy, self.transmission)
        if self.transmission.max() > 1 + 1e-6:
            raise ValueError(
                f"EBLAbsorption: the transmission must lie between 0 and 1, the largest is {self.transmission.max():g}."
            )

    @property
    def smooth(self) -> bool:
        """Whether the transmission has no steps."""
        return _is_smooth_table(self.energy, self.transmission)

    @classmethod
    @checked(model=kind("EBLAbsorptionNormSpectralModel"))
    def from_gammapy(cls, model: Any, alpha_norm: Any = None) -> "EBLAbsorption":
        """Absorption at the redshift of a gammapy ``EBLAbsorptionNormSpectralModel``, which stays fixed.

        Parameters
        ----------
        model : gammapy.modeling.models.EBLAbsorptionNormSpectralModel
            The model.
        alpha_norm : float, Quantity or TensorVariable, optional
            By default that of the model.
        """
        energy = u.Quantity(model.energy)
        transmission = u.Quantity(model.evaluate(energy, model.redshift.quantity, 1.0)).to_value("")
        return cls(energy, np.ravel(transmission), model.alpha_norm.value if alpha_norm is None else alpha_norm)

    def __call__(self, energy: Any) -> Variable:
        """Share of the photons that arrive, at energies in TeV."""
        energy = pt.as_tensor_variable(energy).astype("float64")
        share = pt.clip(_interpolate_powers(self.energy, self.transmission, energy), 0.0, 1.0)
        return pt.power(share, self.alpha_norm)

    def __mul__(self, spectrum: Any) -> Spectrum:
        """Absorbed spectrum."""
        return spectrum * self if isinstance(spectrum, Spectrum) else NotImplemented


def is_smooth(spectrum: Any) -> bool:
    """Whether a function of the energy says of itself that it has no narrow features."""
    return bool(getattr(spectrum, "smooth", False))


def conditions_of(spectrum: Any) -> tuple[tuple[Variable, str], ...]:
    """What the parameters of a function of the energy must fulfil; see :attr:`Spectrum.conditions`."""
    return () if isinstance(spectrum, type) else tuple(getattr(spectrum, "conditions", ()))


def _sampled(spectrum: Callable[[Any], Any], edges: NDArray[np.float64]) -> Photons:
    """Photons of a function of the energy by Gauss-Legendre sums in the logarithm of the energy."""
    x, weight = np.polynomial.legendre.leggauss(4)
    length = np.log(edges[1:] / edges[:-1])[:, None]
    energy = edges[:-1, None] * np.exp(length * 0.5 * (x + 1))
    flux = pt.as_tensor_variable(spectrum(energy.ravel()))
    flux = flux.reshape((*flux.shape[:-1], *energy.shape)) * pt.constant(energy * length * weight / 2)
    return Photons(pt.constant(energy), flux)


def _is_smooth_table(energy: NDArray[np.float64], values: NDArray[np.float64]) -> bool:
    """Whether a table interpolated as power laws bends little within the width of an energy resolution."""
    x, y = np.log(energy), np.log(np.maximum(values, _TINY))
    at = np.arange(x[0], x[-1] + _SPAN, _SPAN / 4)
    ratio = np.where(np.interp(at, x, y) <= np.log(2 * _TINY), 0.0, np.exp(np.interp(at, x, y) + 2.5 * at))
    bend = np.abs(ratio[:-4] - 2 * ratio[2:-2] + ratio[4:])
    scale = maximum_filter1d(ratio, 41)[2:-2]
    return bool(np.all(bend <= _LARGEST_BEND * scale))


def _has_rows(value: Any) -> bool:
    """Whether a parameter is a vector, or a spectrum has parameters that are."""
    return bool(getattr(value, "has_rows", getattr(getattr(value, "type", None), "ndim", 0)))


def _parameter(value: Any, unit: str, name: str) -> Any:
    """A float in the unit, or a PyTensor scalar or vector, which is in that unit already."""
    value = joined(value, name)
    if isinstance(value, Variable):
        if getattr(value.type, "ndim", None) not in (0, 1):
            raise TypeError(f"{name} must be a scalar or a vector, got {value.type}; pick one row of it.")
        return with_unit(value, unit)
    if isinstance(value, u.Quantity):
        value = to_value(value, unit, name)
    number = np.ma.asarray(value)
    if number.ndim > 1 or number.dtype.kind not in "fiu" or has_labels(value):
        raise TypeError(f"{name} must be a number, a Quantity or a PyTensor variable, or a vector, got {value!r}.")
    values = numbers(value, name)
    return pt.constant(values) if number.ndim else float(values)


def _scalar_or_vector(value: Any, name: str) -> Variable:
    """A PyTensor scalar or vector without unit; one with labels, of the observations, in their order."""
    value = joined(value, name)
    if has_labels(value):
        value = aligned(value, {"observation": range(np.shape(value)[0] if np.ndim(value) else 0)}, name)
    value = with_unit(value, "") if isinstance(value, Variable) else numbers(value, name)
    variable = pt.as_tensor_variable(value).astype("float64")
    if variable.type.ndim > 1:
        raise TypeError(
            f"{name} must be a number, or a vector with one entry for each observation, got {variable.type}."
        )
    return variable


def _power(base: Variable, exponent: Any) -> Variable:
    """Power of a positive base: cheaper than the general one, and so is its gradient."""
    return pt.exp(exponent * pt.log(base))


def _check_table(name: str, what: str, energy: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    if energy.ndim != 1 or len(energy) < 2 or not (np.all(np.diff(energy) > 0) and energy[0] > 0):
        raise ValueError(
            f"{name}(energy=...): energies must be at least two, positive and ascending, got {energy} TeV."
        )
    if values.shape != energy.shape or not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError(
            f"{name}({what}=...): there must be one finite value >= 0 for each of the {len(energy)} energies, "
            f"got shape {values.shape} from {np.min(values):g} to {np.max(values):g}."
        )


def _interpolate_powers(nodes: NDArray[np.float64], values: NDArray[np.float64], energy: Variable) -> Variable:
    """Interpolation linear in both logarithms, extended beyond the nodes; what is as small as zero is zero."""
    x, y = np.log(nodes), np.log(np.maximum(values, _TINY))
    slope = pt.constant(np.diff(y) / np.diff(x))
    at = pt.log(energy)
    k = pt.clip(pt.searchsorted(pt.constant(x), at) - 1, 0, len(x) - 2)
    result = pt.exp(pt.constant(y)[k] + slope[k] * (at - pt.constant(x)[k]))
    return pt.switch(result <= 2 * _TINY, 0.0, result)
