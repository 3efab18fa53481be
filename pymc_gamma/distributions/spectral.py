r"""Spectra of a model, checked, as one vector: what the distributions take as a parameter.

A spectrum that is known to be smooth is evaluated at the few nodes of :attr:`FreeComponent.smooth`. Any other is taken
at all nodes, projected on their hat functions :math:`h_n`,

.. math:: \phi_n = E_n^{-2.5} \int \phi\, h_n\,\mathrm{d}E \Big/ \int E^{-2.5}\, h_n\,\mathrm{d}E ,

by Gauss-Legendre sums between the nodes: a fixed linear map of its values there. So counts are right wherever a line or
a step lies between nodes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.distributions.columns import ColumnSource
from pymc_gamma.distributions.protocol import SpectralResponse
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import spectrum_values
from pymc_gamma.folding.free import FreeComponent
from pymc_gamma.folding.nodes import bends_between, has_narrow, tabulate, warn_unresolved
from pymc_gamma.spectra import is_smooth

__all__ = ["check_spectra", "narrow_spectra", "not_smooth", "spectra_tensor", "value_at_start"]

FloatArray = NDArray[np.float64]
Spectra = Mapping[str, Callable[[Any], Any]]

PROJECTION_NODES = 4
"""Gauss-Legendre nodes in each interval between the nodes of a spectrum."""


def narrow_spectra(response: SpectralResponse, spectra: Spectra | None) -> frozenset[str]:
    """Names of the free components whose spectra may have narrow features, and need all nodes of the response.

    A spectrum whose class says that it is smooth is; one without parameters, such as a model of gammapy, is looked at;
    of any other nothing is known.
    """
    narrow = set()
    for one in response.free_components if response.free_spectrum else ():
        spectrum = (spectra or {}).get(one.name)
        if one.smooth is None or is_smooth(spectrum):
            continue
        values: Any = one.nominal
        if callable(spectrum):
            values = spectrum_values(spectrum, one.energy, one.unit, one.name)
        if isinstance(values, Constant):
            values = values.data
        if isinstance(values, Variable) or (
            np.shape(values) == one.energy.shape and has_narrow(np.asarray(values, float), one.smooth.energy)
        ):
            narrow.add(one.name)
    return frozenset(narrow)


def not_smooth(source: ColumnSource, flux: FloatArray) -> frozenset[str]:
    """Names of the components that a source has on the few nodes of smooth spectra, and that bend between them."""
    return frozenset(
        one.name
        for one, values in zip(source.free, source.values(flux), strict=True)
        if one.name in source.smooth and bends_between(values[0], one.energy)
    )


def spectra_tensor(
    name: str,
    source: ColumnSource,
    spectra: Mapping[str, Callable[[Any], Any]] | None,
    *,
    nominal: bool = False,
    factors: Mapping[str, Callable[[FloatArray], Any]] | None = None,
) -> Variable:
    """All spectra at the energies of the response, one after the other, shape (n_flux,).

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    source : ColumnSource
        Where the components come from.
    spectra : mapping of str to callable
        Spectra of the free components.
    nominal : bool
        Whether a component without a spectrum keeps the one it was folded with.
    factors : mapping of str to callable, optional
        Factors on the spectra of components, as functions of the energy in TeV.

    Raises
    ------
    ModelError
        If a free component has no spectrum, a spectrum belongs to no free component, or one is not a vector with one
        value for each energy.
    """
    given = dict(spectra or {})
    free = [one.name for one in source.free]
    missing = [component for component in free if component not in given]
    if missing and not nominal:
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
    vectors = []
    for one in source.free:
        flux = _flux(name, one, given[one.name]) if one.name in given else _averages(one, pt.constant(one.nominal))
        factor = (factors or {}).get(one.name)
        if factor is not None:
            flux = flux * factor(one.energy)
        n_rows = len(one.acceptance)
        rows = pt.broadcast_to(flux, one.acceptance.shape) if n_rows > 1 else flux
        vectors.append(rows.reshape((one.size,)))
    return pt.concatenate(vectors) if vectors else pt.zeros(0)


def _flux(name: str, component: FreeComponent, spectrum: Any) -> Variable:
    if not callable(spectrum):
        raise ModelError(
            f"{name}: the spectrum of {component.name!r} must be a function of the energy such as pmg.PowerLaw(...), "
            f"got {type(spectrum).__name__}."
        )
    projected = None if component.smooth is None else _projected(component, spectrum)
    flux = projected
    if flux is None:
        flux = spectrum_values(spectrum, component.energy, component.unit, component.name)
    flux = pt.as_tensor_variable(flux).astype("float64")
    n_rows, n = component.acceptance.shape
    for shape in [(n,), (n_rows, n)]:  # a row for each observation of a background, or one
        if len(shape) == flux.type.ndim and all(
            known in (None, wanted) for known, wanted in zip(flux.type.shape, shape, strict=True)
        ):
            flux = pt.specify_shape(flux, shape)
            flux = flux[0] if n_rows == 1 and len(shape) > 1 else flux
            return flux if projected is not None else _averages(component, flux)
    per_row = f", or such a vector for each of {n_rows} observations" if n_rows > 1 else ""
    raise ModelError(
        f"{name}: the spectrum of {component.name!r} must return a vector with one flux for each of the {n} "
        f"energies it is called with{per_row}, got {flux.type}."
    )


def _projected(component: FreeComponent, spectrum: Callable[[Any], Any]) -> Any:
    """A spectrum projected on the nodes; None if it does not take other energies than these."""
    assert component.smooth is not None
    nodes, n = component.energy, len(component.energy) - 1
    x, weight = np.polynomial.legendre.leggauss(PROJECTION_NODES)
    above = 0.5 * (x + 1)
    energy = nodes[:-1, None] * np.exp(math.log(nodes[1] / nodes[0]) * above)
    flux = spectrum_values(spectrum, energy.ravel(), component.unit, component.name)
    if not isinstance(flux, Variable):
        if np.shape(flux) != (energy.size,):
            return None

        def at(energy: FloatArray) -> FloatArray:
            return np.asarray(spectrum_values(spectrum, energy, component.unit, component.name), float)

        values = tabulate(at, component.smooth.energy, f"the spectrum of {component.name!r}")
        return _averages(component, pt.constant(values))
    if flux.type.shape != (energy.size,):
        return None
    measure = energy * weight
    hats = np.stack([1 - above, above], axis=-1)
    norm = np.einsum("cq,qs->cs", measure * energy**-component.index, hats)
    total = np.append(norm[:, 0], 0) + np.append(0, norm[:, 1])
    integrals = pt.dot((flux.astype("float64") * pt.constant(measure.ravel())).reshape((n, PROJECTION_NODES)), hats)
    zero = pt.zeros(1)
    sums = pt.concatenate([integrals[:, 0], zero]) + pt.concatenate([zero, integrals[:, 1]])
    return sums * pt.constant(nodes**-component.index / total)


def _averages(component: FreeComponent, flux: Variable) -> Variable:
    """Averages over the hats of the nodes, from values there; of few nodes, values are wanted."""
    if component.smooth is None:
        return flux
    scale = pt.constant(component.energy**component.index)
    ratio = flux * scale
    inner = ratio[1:-1] + (ratio[2:] - 2 * ratio[1:-1] + ratio[:-2]) / 12
    return pt.concatenate([ratio[:1], inner, ratio[-1:]]) / scale


def value_at_start(variable: Variable, model: pm.Model) -> FloatArray:
    """Value of an expression at the initial point of a model."""
    if isinstance(variable, Constant):
        return np.asarray(variable.data)
    graph = model.replace_rvs_by_values([variable])
    function = model.compile_fn(graph, inputs=model.value_vars, mode="FAST_COMPILE", on_unused_input="ignore")
    return np.asarray(function(model.initial_point())[0])


def check_spectra(name: str, source: ColumnSource, flux: FloatArray, *, dark: bool = False) -> None:
    """Raise a ModelError if a spectrum is negative, not finite or (unless ``dark``) zero where sampling starts.

    ``flux`` are all spectra there, shape (n_flux,). Warns where one has features narrower than the nodes.
    """
    if not source.free:
        return
    for component, spectrum in zip(source.free, source.values(flux), strict=True):
        for one in spectrum:
            bad = ~(np.isfinite(one) & (one >= 0))
            unit = f" {component.unit}" if component.unit else ""
            if bad.any():
                first = int(bad.argmax())
                raise ModelError(
                    f"{name}: the spectrum of {component.name!r} is {one[first]:g}{unit} at "
                    f"{component.energy[first]:.4g} TeV (and at {int(bad.sum())} of {bad.size} energies) for the "
                    "initial "
                    "values of the parameters; it must be finite and not negative. Check its parameters and "
                    "their priors."
                )
            if not (dark or one.any()):
                raise ModelError(
                    f"{name}: the spectrum of {component.name!r} is zero at all energies for the initial values of "
                    "parameters."
                )
        if component.smooth is not None:
            label = f"{name}: the spectrum of {component.name!r}"
            warn_unresolved(spectrum[0], component.smooth.energy, label)
