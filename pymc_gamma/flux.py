"""Values of whatever stands for a spectrum, in the units of this package."""

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.units import numbers

__all__ = ["is_gammapy_model", "spectrum_values"]


def is_gammapy_model(spectrum: Any) -> bool:
    """Whether a spectrum is a model of gammapy, which takes and returns quantities."""
    return any(base.__module__.startswith("gammapy.") for base in type(spectrum).__mro__)


def spectrum_values(spectrum: Any, energy: NDArray[np.float64], unit: str, name: str) -> Any:
    """Values of a spectrum.

    Parameters
    ----------
    spectrum : callable, Quantity, array_like or TensorVariable
        A function of the energy, or values.
    energy : numpy.ndarray
        TeV.
    unit : str
        Unit of the values.
    name : str
        What the spectrum is of, for messages.

    Returns
    -------
    numpy.ndarray or TensorVariable
        As the spectrum gives them, without unit; NaN where they are masked.

    Raises
    ------
    TypeError
        If they are no real numbers.
    astropy.units.UnitConversionError
        If they have another unit.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> 1e20 * spectrum_values([1e-16] * u.Unit("TeV-1 m-2 s-1"), np.ones(1), "TeV-1 cm-2 s-1", "crab").round(25)
    array([1.])
    """
    if callable(spectrum):
        spectrum = spectrum(energy * u.TeV) if is_gammapy_model(spectrum) else spectrum(energy)
    if isinstance(spectrum, Variable):
        return spectrum
    return numbers(spectrum, f"the spectrum of {name!r}", unit, finite=False)
