"""Values of whatever stands for a spectrum, in the units of this package."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.errors import ModelError
from pymc_gamma.tensors import has_variables
from pymc_gamma.units import numbers

__all__ = ["Photons", "is_gammapy_model", "photons_of", "spectrum_values"]


class Photons(NamedTuple):
    """A spectrum as photons at points within intervals of energy: what integrals over it need, lines and all.

    Attributes
    ----------
    energy : TensorVariable
        TeV, shape (n_intervals, q); each row within its interval.
    flux : TensorVariable
        Photons at these, cm-2 s-1, shape (n_intervals, q), or (n_rows, n_intervals, q).
    """

    energy: Variable
    flux: Variable

    def times(self, factor: Callable[[Any], Any]) -> "Photons":
        """With a factor that depends on the energy."""
        values = pt.as_tensor_variable(factor(self.energy.ravel()))
        return self._replace(flux=self.flux * values.reshape((*values.shape[:-1], *self.energy.shape)))


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
    ModelError
        If a function does not take the energies, or returns something else than numbers.
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
        of_function = _called(spectrum, energy, name)
        if not (isinstance(of_function, u.Quantity) or _are_values(of_function)):
            raise ModelError(
                f"the spectrum of {name!r} must return numbers or a tensor, one value for each energy it is called "
                f"with, got {type(of_function).__name__}; does it end with return?"
            )
        spectrum = of_function
    if isinstance(spectrum, Variable) or (isinstance(spectrum, list | tuple) and has_variables(spectrum)):
        return spectrum
    return numbers(spectrum, f"the spectrum of {name!r}", unit, finite=False)


def _called(spectrum: Callable[..., Any], energy: NDArray[np.float64], name: str) -> Any:
    """What a function returns for energies."""
    if isinstance(spectrum, type):
        raise ModelError(
            f"the spectrum of {name!r} is the class {spectrum.__name__} itself; make one of it, with its parameters: "
            f"{spectrum.__name__}(...)."
        )
    given = energy * u.TeV if is_gammapy_model(spectrum) else energy
    try:
        inspect.signature(spectrum).bind(given)
    except ValueError:  # one of a library in C, which does not tell
        pass
    except TypeError as error:
        raise ModelError(
            f"the spectrum of {name!r} must be a function of the energy in TeV alone, such as pmg.PowerLaw(index=2) or "
            f"lambda energy: 1e-12 * energy**-2 ({error})."
        ) from None
    return spectrum(given)


def _are_values(values: Any) -> bool:
    """Whether something is numbers, or expressions of PyTensor."""
    if isinstance(values, list | tuple):
        return all(map(_are_values, values))
    if isinstance(values, Variable):
        return True
    try:
        return np.asarray(values).dtype.kind in "biuf"
    except (TypeError, ValueError):
        return False


def photons_of(spectrum: Any, edges: NDArray[np.float64]) -> Photons | None:
    """Photons of a function of the energy in the intervals between edges in TeV, if it knows them.

    It knows better than its values tell where lines and endpoints are: it has a method ``photons``.
    """
    function = None if isinstance(spectrum, type) else getattr(spectrum, "photons", None)
    return None if function is None else function(edges)
