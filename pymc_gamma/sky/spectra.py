r"""Spectra of sky parts: true energy in TeV to TeV-1 cm-2 s-1.

The analytic form covers a power law and its exponential cut-off,

.. math:: \phi(E) = \phi_0\,(E/E_0)^{-\Gamma}\,e^{-\lambda E},

written as gammapy's ``PowerLawSpectralModel`` and ``ExpCutoffPowerLawSpectralModel`` have it. Any other
gammapy model is wrapped, its unit checked once and its values at every call.
"""

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError

__all__ = ["FLUX_UNIT", "GammapySpectrum", "PowerLawSpectrum", "check_flux"]

FLUX_UNIT = u.Unit("TeV-1 cm-2 s-1")


@dataclass(frozen=True)
class PowerLawSpectrum:
    """Power law, with an exponential cut-off if ``cutoff`` is positive.

    Parameters
    ----------
    amplitude : float
        Differential flux at the reference energy without the cut-off, in TeV-1 cm-2 s-1.
    index : float
        Photon index.
    reference : float
        Reference energy in TeV.
    cutoff : float
        Inverse cut-off energy in TeV-1.

    Examples
    --------
    >>> import numpy as np
    >>> PowerLawSpectrum(1e-12, 2.0)(np.array([1.0, 10.0]))
    array([1.e-12, 1.e-14])
    """

    amplitude: float
    index: float
    reference: float = 1.0
    cutoff: float = 0.0

    def __post_init__(self) -> None:
        values = (self.amplitude, self.index, self.reference, self.cutoff)
        if not (np.all(np.isfinite(values)) and self.amplitude >= 0 and self.reference > 0):
            raise SkyModelError(f"A power law needs finite numbers, amplitude >= 0 and reference > 0, got {self!r}.")

    def __call__(self, energy_true: FloatArray) -> FloatArray:
        """Differential flux in TeV-1 cm-2 s-1 at true energies in TeV."""
        energy = np.asarray(energy_true, dtype=np.float64)
        return self.amplitude * (energy / self.reference) ** -self.index * np.exp(-self.cutoff * energy)


@dataclass(frozen=True)
class GammapySpectrum:
    """A gammapy spectral model.

    Parameters
    ----------
    name : str
        Name of the source, for messages.
    model : gammapy.modeling.models.SpectralModel
        The model.
    unit : astropy.units.Unit
        Unit to which its values are converted; the product with the shape is in TeV-1 cm-2 s-1 sr-1.

    Raises
    ------
    SkyModelError
        If its values cannot be converted to that unit, or, when called, are negative or not finite.
    """

    name: str
    model: Any
    unit: u.UnitBase = FLUX_UNIT

    def __post_init__(self) -> None:
        value = u.Quantity(self.model(np.array([1.0]) * u.TeV))
        if not value.unit.is_equivalent(self.unit):
            raise SkyModelError(
                f"The spectrum of {self.name!r} ({type(self.model).__name__}) is in '{value.unit}', "
                f"expected a unit convertible to '{self.unit}'."
            )

    def __call__(self, energy_true: FloatArray) -> FloatArray:
        """Differential flux at true energies in TeV."""
        energy = np.asarray(energy_true, dtype=np.float64)
        flux = u.Quantity(self.model(energy.ravel() * u.TeV)).to_value(self.unit)
        # A constant model returns one number for all energies.
        return check_flux(np.broadcast_to(flux, energy.size).reshape(energy.shape), energy, self.name)


def check_flux(flux: FloatArray, energy: FloatArray, name: str) -> FloatArray:
    """Pass on a flux that is finite and not negative.

    Parameters
    ----------
    flux : numpy.ndarray
        Differential flux.
    energy : numpy.ndarray
        Energies in TeV, of the same shape.
    name : str
        Name of the source, for the message.

    Returns
    -------
    numpy.ndarray
        ``flux`` in float64.

    Raises
    ------
    SkyModelError
        If a value is negative or not finite; it names the source and the energy.
    """
    flux = np.asarray(flux, dtype=np.float64)
    bad = ~(np.isfinite(flux) & (flux >= 0))
    if bad.any():
        first = np.argmax(bad)
        where = np.asarray(energy).ravel()[first]
        raise SkyModelError(
            f"The spectrum of {name!r} is {flux.ravel()[first]:g} at {where:g} TeV "
            f"({int(bad.sum())} of {bad.size} energies); a flux must be finite and not negative."
        )
    return flux
