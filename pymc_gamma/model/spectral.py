r"""Spectra of a model at nodes, checked: what the distributions take as a parameter.

A spectrum that is known to be smooth is evaluated at the few nodes of :attr:`FreeComponent.smooth`. Any other is taken
at all nodes, projected on their hat functions :math:`h_n`,

.. math:: \phi_n = E_n^{-2.5} \int \phi\, h_n\,\mathrm{d}E \Big/ \int E^{-2.5}\, h_n\,\mathrm{d}E ,

by Gauss-Legendre sums between the nodes: a fixed linear map of its values there. So counts are right wherever a line or
a step lies between nodes. A spectrum that knows its photons in each interval (:meth:`Spectrum.photons`) is taken at its
word: so counts of lines and endpoints are smooth in the energies of these.

Where parameters do not fulfil the conditions of a spectrum it is NaN, and its block makes events impossible.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import Photons, photons_of, spectrum_values
from pymc_gamma.folding.free import FreeComponent
from pymc_gamma.folding.nodes import (
    bends_between,
    has_narrow,
    onto_hats,
    photons_at_nodes,
    tabulate,
    warn_unresolved,
)
from pymc_gamma.model.component import ModelComponent, Spectrum
from pymc_gamma.model.intensity import Intensity
from pymc_gamma.model.spectra import conditions_of, is_smooth

__all__ = [
    "check_conditions",
    "check_spectra",
    "is_narrow",
    "not_smooth",
    "spectrum_at_nodes",
    "value_at_start",
]

PROJECTION_NODES = 4
"""Gauss-Legendre nodes in each interval between the nodes of a spectrum."""


def is_narrow(component: ModelComponent, nodes: FreeComponent) -> bool:
    """Whether the spectrum of a free component may have narrow features, and needs all nodes of the response.

    A spectrum whose class says that it is smooth is; one without parameters, such as a model of gammapy, is looked at;
    of any other nothing is known.
    """
    spectrum = component.spectrum
    if nodes.smooth is None or is_smooth(spectrum):
        return False
    values: Any = nodes.nominal
    if callable(spectrum):
        values = spectrum_values(spectrum, nodes.energy, nodes.unit, nodes.name)
    if isinstance(values, Constant):
        values = values.data
    return isinstance(values, Variable) or (
        np.shape(values) == nodes.energy.shape and has_narrow(np.asarray(values, float), nodes.smooth.energy)
    )


def not_smooth(source: Intensity, flux: FloatArray) -> frozenset[str]:
    """Names of the components that a source has on the few nodes of smooth spectra, and that bend between them."""
    return frozenset(
        one.name
        for one, values in zip(source.free, source.values(flux), strict=True)
        if one.name in source.smooth and any(bends_between(row, one.energy) for row in values)
    )


def spectrum_at_nodes(name: str, component: ModelComponent, nodes: FreeComponent) -> Variable:
    """Values of a spectrum at the nodes of a component of free spectrum, with the factors on it.

    Parameters
    ----------
    name : str
        Name of the distribution, for messages.
    component : ModelComponent
        Has the spectrum; without one the component keeps that it was folded with.
    nodes : FreeComponent
        Energies, one row for each observation or for all.

    Returns
    -------
    TensorVariable
        Shape (n,), or (n_observations, n) if it has one row for each.

    Raises
    ------
    ModelError
        If the spectrum is not a vector with one value for each energy.
    """
    spectrum = component.spectrum
    if spectrum is None:
        flux = pt.constant(nodes.nominal)
        for factor in component.factors:
            flux = flux * factor(nodes.energy)
        return _averages(nodes, flux)
    if not callable(spectrum):
        raise ModelError(
            f"{name}: the spectrum of {component.name!r} must be a function of the energy such as pmg.PowerLaw(...), "
            f"got {type(spectrum).__name__}."
        )
    conditions = conditions_of(spectrum)
    if component.factors:
        spectrum = _Product(spectrum, component.factors, nodes)
    flux = _flux(name, nodes, spectrum, component.n_observations)
    return pt.switch(pt.all([fulfilled for fulfilled, _ in conditions]), flux, np.nan) if conditions else flux


@dataclass(frozen=True, eq=False)
class _Product:
    """A spectrum times factors on it, as a function of the energy."""

    spectrum: Any
    factors: tuple[Spectrum, ...]
    component: FreeComponent

    def photons(self, edges: FloatArray) -> Photons | None:
        """Photons of the spectrum times the factors there."""
        found = photons_of(self.spectrum, edges)
        if found is None:
            return None
        for factor in self.factors:
            found = found.times(factor)
        return found

    def __call__(self, energy: FloatArray) -> Any:
        flux = spectrum_values(self.spectrum, energy, self.component.unit, self.component.name)
        for factor in self.factors:
            flux = flux * factor(energy)
        return flux


def _flux(name: str, component: FreeComponent, spectrum: Any, n_observations: int) -> Variable:
    projected = None if component.smooth is None else _projected(component, spectrum)
    flux = projected
    if flux is None:
        flux = spectrum_values(spectrum, component.energy, component.unit, component.name)
    flux = pt.as_tensor_variable(flux).astype("float64")
    n = len(component.energy)
    for shape in [(n,), (n_observations, n)]:
        if len(shape) == flux.type.ndim and all(
            known in (None, wanted) for known, wanted in zip(flux.type.shape, shape, strict=True)
        ):
            flux = pt.specify_shape(flux, shape)
            flux = flux[0] if n_observations == 1 and len(shape) > 1 else flux
            return flux if projected is not None else _averages(component, flux)
    per_row = f", or such a vector for each of {n_observations} observations" if n_observations > 1 else ""
    raise ModelError(
        f"{name}: the spectrum of {component.name!r} must return a vector with one flux for each of the {n} "
        f"energies it is called with{per_row}, got {flux.type}."
    )


def _projected(component: FreeComponent, spectrum: Callable[[Any], Any]) -> Any:
    """A spectrum projected on the nodes; None if it does not take other energies than these."""
    assert component.smooth is not None
    nodes, n = component.energy, len(component.energy) - 1
    photons = photons_of(spectrum, nodes)
    if photons is not None:
        return photons_at_nodes(photons.energy, photons.flux, nodes, component.index, pt)
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
    if flux.type.ndim not in (1, 2) or None in flux.type.shape or flux.type.shape[-1] != energy.size:
        return None
    measure = energy * weight
    hats = np.stack([1 - above, above], axis=-1)
    norm = np.einsum("cq,qs->cs", measure * energy**-component.index, hats)
    total = np.append(norm[:, 0], 0) + np.append(0, norm[:, 1])
    rows = flux.type.shape[:-1]
    integrals = pt.dot((flux.astype("float64") * pt.constant(measure.ravel())).reshape((*rows, n, -1)), hats)
    return onto_hats(integrals[..., 0], integrals[..., 1], pt) * pt.constant(nodes**-component.index / total)


def _averages(component: FreeComponent, flux: Variable) -> Variable:
    """Averages over the hats of the nodes, from values there; of few nodes, values are wanted."""
    if component.smooth is None:
        return flux
    scale = pt.constant(component.energy**component.index)
    ratio = flux * scale
    inner = ratio[..., 1:-1] + (ratio[..., 2:] - 2 * ratio[..., 1:-1] + ratio[..., :-2]) / 12
    return pt.concatenate([ratio[..., :1], inner, ratio[..., -1:]], axis=-1) / scale


def value_at_start(variable: Variable, model: pm.Model) -> FloatArray:
    """Value of an expression at the initial point of a model."""
    if isinstance(variable, Constant):
        return np.asarray(variable.data)
    graph = model.replace_rvs_by_values([variable])
    function = model.compile_fn(graph, inputs=model.value_vars, mode="FAST_COMPILE", on_unused_input="ignore")
    return np.asarray(function(model.initial_point())[0])


def check_conditions(name: str, component: ModelComponent, model: pm.Model) -> None:
    """Raise a ModelError that says which if a condition of a spectrum is not fulfilled where sampling starts."""
    conditions = conditions_of(component.spectrum)
    if not conditions:
        return
    fulfilled = value_at_start(pt.stack([pt.as_tensor_variable(one) for one, _ in conditions]), model)
    for good, (_, message) in zip(fulfilled, conditions, strict=True):
        if not good:
            raise ModelError(
                f"{name}: for the initial values of the parameters, the spectrum of {component.name!r} is not known: "
                f"{message}"
            )


def check_spectra(
    name: str, source: Intensity, components: Sequence[ModelComponent], flux: FloatArray, *, dark: bool = False
) -> None:
    """Raise a ModelError if a spectrum is negative, not finite or (unless ``dark``) zero where sampling starts.

    ``flux`` are all spectra there, shape (n_flux,). Warns where one has features narrower than the nodes, unless it
    knows its photons between them.
    """
    if not source.free:
        return
    exact = {one.name for one in components if photons_of(one.spectrum, np.ones(2)) is not None}
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
        if component.smooth is not None and component.name not in exact:
            label = f"{name}: the spectrum of {component.name!r}"
            warn_unresolved(spectrum[0], component.smooth.energy, label)
