r"""Components of free spectrum in an event mixture.

With the coefficients :math:`\rho_{kn}` of a spectrum (:func:`pymc_gamma.folding.free.hat_coefficients`), the densities
per coefficient :math:`q_{ikn}` and the shares :math:`a_{kn}` of the nodes in the acceptance, component *k* has the
density

.. math:: p_k(x_i) = \frac{\sum_n q_{ikn}\,\rho_{kn}}{\sum_n a_{kn}\,\rho_{kn}},

so that the mixture is linear in :math:`\psi_{kn} = f_k\,\rho_{kn} / \sum_m a_{km}\,\rho_{km}`, which is what the Ops
take. A factor common to a spectrum cancels: the fraction says how many events a component has, the spectrum which.
"""

from collections.abc import Callable, Mapping
from typing import Any

import astropy.units as u
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.distributions.protocol import SpectralResponse
from pymc_gamma.distributions.sources import ResponseSource
from pymc_gamma.distributions.table import TableArrays
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.free import hat_coefficients
from pymc_gamma.units import to_value

__all__ = ["SpectralSource", "check_spectra", "spectra_tensor", "spectral_coefficients"]

FloatArray = NDArray[np.float64]


class SpectralSource(ResponseSource):
    """Densities and draws of a response with components of free spectrum.

    Parameters
    ----------
    response : SpectralResponse
        The response.

    Attributes
    ----------
    free : tuple of int
        Columns of the components of free spectrum.
    energy : numpy.ndarray
        True energies in TeV at which spectra are evaluated, shape (n,).
    """

    response: SpectralResponse

    def __init__(self, response: SpectralResponse) -> None:
        super().__init__(response)
        self.free = tuple(self.component_names.index(name) for name in response.free_spectrum)
        self.fixed = tuple(k for k in range(self.n_components) if k not in self.free)
        self.energy = np.asarray(response.energy_true, dtype=np.float64)

    @property
    def n_flux(self) -> int:
        """Length of the vector of all spectra."""
        return len(self.free) * len(self.energy)

    @property
    def n_columns(self) -> int:
        """Number of columns of the table that are not stored as bands."""
        return len(self.fixed)

    @property
    def acceptance_share(self) -> FloatArray:
        """Share of each node in the acceptance, shape (n_free, n)."""
        acceptance = self.response.spectral_acceptance()
        return np.asarray(acceptance / acceptance.sum(axis=1, keepdims=True))

    def arrays(self, value: FloatArray) -> TableArrays:
        """Blocked arrays of an observed value: the fixed columns, and bands for the free ones.

        Rows are scaled by the largest density, where that of a free component is the one with all coefficients 1.
        """
        rows, multiplicity = self.split(value)
        densities = self.densities(rows)[:, self.fixed]
        bands = self.response.spectral_bands(rows)
        per_event = np.diff(bands.pointer[:: len(self.free)])
        # reduceat gives an entry, not zero, for an event without any
        sums = np.add.reduceat(np.append(bands.values, np.float32(0)), bands.pointer[: -1 : len(self.free)])
        largest = np.maximum(densities.max(axis=1, initial=0), np.where(per_event > 0, sums, 0))
        self._check_possible(largest, multiplicity, rows)
        scale = np.where(largest > 0, largest, 1.0)
        numbers = bands.values * np.repeat((1 / scale).astype(np.float32), per_event)
        column = bands.column + len(self.fixed) + len(self.energy) * np.arange(len(self.free))
        return TableArrays.build(
            densities / scale[:, None], multiplicity, np.log(scale), (numbers, bands.pointer, column)
        )

    def simulate(
        self, weights: FloatArray, n: int, rng: np.random.Generator, flux: FloatArray | None = None
    ) -> FloatArray:
        """Events drawn through the response, with given spectra (n_flux,) or the nominal ones."""
        spectra = None if flux is None else flux.reshape(len(self.free), len(self.energy))
        return np.asarray(self.response.simulate_rows(weights, n, rng, spectra), dtype=np.float64)


def spectra_tensor(name: str, source: SpectralSource, spectra: Mapping[str, Callable[[Any], Any]] | None) -> Variable:
    """All spectra at the energies of the response, one after the other, TeV-1 cm-2 s-1.

    Raises
    ------
    ModelError
        If a free component has no spectrum, a spectrum belongs to no free component, or one is not a vector with one
        value for each energy.
    """
    given = dict(spectra or {})
    free = source.response.free_spectrum
    missing = [component for component in free if component not in given]
    if missing:
        example = ", ".join(f'"{component}": pmg.PowerLaw(index=index)' for component in missing)
        raise ModelError(
            f"{name}: the response leaves the spectrum of {missing} to the model; pass spectra={{{example}}}."
        )
    fixed = [component for component in given if component in source.component_names and component not in free]
    if fixed:
        raise ModelError(
            f"{name}: spectra are given for {fixed}, which were folded with a fixed spectrum; "
            f"fold with free_spectrum={[*free, *fixed]}, or leave them out of spectra."
        )
    unknown = [component for component in given if component not in free]
    if unknown:
        raise ModelError(f"{name}: spectra are given for {unknown}, but the components are {source.component_names}.")
    return pt.concatenate([_flux(name, component, given[component], source.energy) for component in free])


def _flux(name: str, component: str, spectrum: Any, energy: FloatArray) -> Variable:
    if not callable(spectrum):
        raise ModelError(
            f"{name}: the spectrum of {component!r} must be a function of the energy such as pmg.PowerLaw(...), "
            f"got {type(spectrum).__name__}."
        )
    if any(base.__module__.startswith("gammapy.") for base in type(spectrum).__mro__):
        spectrum = _of_quantities(spectrum)
    flux = spectrum(energy)
    if isinstance(flux, u.Quantity):
        flux = to_value(flux, "TeV-1 cm-2 s-1", f"the spectrum of {component!r}")
    flux = pt.as_tensor_variable(flux)
    if flux.type.ndim != 1 or flux.type.shape[0] not in (None, len(energy)):
        raise ModelError(
            f"{name}: the spectrum of {component!r} must return a vector with one flux for each of the {len(energy)} "
            f"energies it is called with, got {flux.type}."
        )
    return pt.specify_shape(flux.astype("float64"), len(energy))


def _of_quantities(model: Any) -> Callable[[FloatArray], Any]:
    """A gammapy model, which takes and returns quantities, as a function of numbers."""

    def spectrum(energy: FloatArray) -> Any:
        return model(energy * u.TeV)

    return spectrum


def check_spectra(name: str, source: SpectralSource, flux: Variable, model: pm.Model) -> None:
    """Raise a ModelError if a spectrum is negative or not finite where sampling starts."""
    if isinstance(flux, Constant):
        values = np.asarray(flux.data)
    else:
        graph = model.replace_rvs_by_values([flux])
        inputs = model.value_vars
        function = model.compile_fn(graph, inputs=inputs, mode="FAST_COMPILE", on_unused_input="ignore")
        values = np.asarray(function(model.initial_point())[0])
    for component, one in zip(source.response.free_spectrum, values.reshape(-1, len(source.energy)), strict=True):
        bad = ~(np.isfinite(one) & (one >= 0))
        if bad.any():
            first = int(bad.argmax())
            raise ModelError(
                f"{name}: the spectrum of {component!r} is {one[first]:g} TeV-1 cm-2 s-1 at {source.energy[first]:.4g} "
                f"TeV (and at {int(bad.sum())} of {bad.size} energies) for the initial values of the parameters; it "
                "must be finite and not negative. Check its parameters and their priors."
            )
        if not one.any():
            raise ModelError(
                f"{name}: the spectrum of {component!r} is zero at all energies for the initial values of parameters."
            )


def spectral_coefficients(source: SpectralSource, fraction: Variable, flux: Variable) -> Variable:
    """Coefficients of the table and its bands, for fractions (K,) and spectra (n_flux,)."""
    n, shares = len(source.energy), source.acceptance_share
    free = []
    for j, k in enumerate(source.free):
        coefficients = hat_coefficients(flux[j * n : (j + 1) * n], source.energy, pt)
        free.append(fraction[k] * coefficients / pt.dot(pt.constant(shares[j]), coefficients))
    return pt.concatenate([fraction[list(source.fixed)], *free] if source.fixed else free)
