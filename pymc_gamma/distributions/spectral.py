"""Spectra of a model, checked, as one vector: what the distributions take as a parameter."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.distributions.columns import ColumnSource
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import spectrum_values
from pymc_gamma.folding.free import FreeComponent

__all__ = ["check_spectra", "spectra_tensor", "value_at_start"]

FloatArray = NDArray[np.float64]


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
        flux = _flux(name, one, given[one.name]) if one.name in given else pt.constant(one.nominal)
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
    flux = spectrum_values(spectrum, component.energy, component.unit, component.name)
    flux = pt.as_tensor_variable(flux).astype("float64")
    n_rows, n = component.acceptance.shape
    shapes = [(n,)] + ([(n_rows, n)] if n_rows > 1 else [])
    for shape in shapes:
        if len(shape) == flux.type.ndim and all(
            known in (None, wanted) for known, wanted in zip(flux.type.shape, shape, strict=True)
        ):
            return pt.specify_shape(flux, shape)
    per_row = f", or such a vector for each of {n_rows} observations," if n_rows > 1 else ""
    raise ModelError(
        f"{name}: the spectrum of {component.name!r} must return a vector with one flux for each of the {n} "
        f"energies it is called with{per_row} got {flux.type}."
    )


def value_at_start(variable: Variable, model: pm.Model) -> FloatArray:
    """Value of an expression at the initial point of a model."""
    if isinstance(variable, Constant):
        return np.asarray(variable.data)
    graph = model.replace_rvs_by_values([variable])
    function = model.compile_fn(graph, inputs=model.value_vars, mode="FAST_COMPILE", on_unused_input="ignore")
    return np.asarray(function(model.initial_point())[0])


def check_spectra(name: str, source: ColumnSource, flux: Variable, model: pm.Model, *, dark: bool = False) -> None:
    """Raise a ModelError if a spectrum is negative, not finite or (unless ``dark``) zero where sampling starts."""
    if not source.free:
        return
    for component, spectrum in zip(source.free, source.spectra(value_at_start(flux, model)), strict=True):
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
