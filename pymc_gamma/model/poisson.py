r"""A Poisson process of physical fluxes: its norms, draws and integrated fluxes.

The coefficients of the columns and the expected counts follow from norms, spectra and systematics as in a mixture
(:mod:`pymc_gamma.model.intensity`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import spectrum_values
from pymc_gamma.folding.nodes import NODE_STEP
from pymc_gamma.labelled import aligned, as_mapping, has_labels, match_labels
from pymc_gamma.model.component import ModelComponent, flux_scale
from pymc_gamma.model.event_source import lists_of_events
from pymc_gamma.model.groups import entries, one_by_one
from pymc_gamma.model.intensity import Intensity, Parameters
from pymc_gamma.model.own_table import coords_of_last_dim
from pymc_gamma.model.parts import PoissonPart, poisson_part
from pymc_gamma.model.protocol import EventList, PoissonResponse
from pymc_gamma.model.scans import between_nodes
from pymc_gamma.model.spectra import FLUX
from pymc_gamma.model.systematics.base import observation_dim
from pymc_gamma.model.table import TableInputs
from pymc_gamma.power_laws import mean_exponential_tensor
from pymc_gamma.tensors import described, joined, only_entry, value_of, with_unit
from pymc_gamma.units import numbers, to_value

__all__ = ["PoissonSource", "add_integrated_flux", "checked_norm", "checked_norms", "emitted_flux", "one_list"]

_ENERGIES_PER_DECADE = 50


class PoissonSource(Intensity):
    """The intensity of a Poisson process; a row that is NaN throughout holds no event.

    Attributes
    ----------
    components : tuple of ModelComponent
        What a model made it of.
    emitted : tuple of ModelComponent
        The same before any systematic acted on them.
    """

    response: PoissonResponse
    components: tuple[ModelComponent, ...] = ()
    emitted: tuple[ModelComponent, ...] = ()

    @property
    def energy_range(self) -> tuple[float, float]:
        """Reconstructed energies of its events in TeV."""
        roi = getattr(self.response, "roi", None)
        return (0.0, np.inf) if roi is None else (roi.energy_min, roi.energy_max)

    @property
    def observations(self) -> tuple[Any, ...]:
        """Observations that its events belong to."""
        return tuple(getattr(self.response, "observations", ()))

    def flux(self, component: str, energy: FloatArray) -> Variable:
        """Flux of a sky component, TeV-1 cm-2 s-1 at true energies in TeV (n,), shape (n,) or (n_observations, n).

        Raises
        ------
        ModelError
            If it has none, because it is a residual background.
        """
        return emitted_flux(self._of_sky(component), energy)

    def without(self, component: str, inputs: Sequence[Variable]) -> list[Variable]:
        """Parameters of the random variable with a norm of zero for a component."""
        norms, *rest = inputs
        kept = np.concatenate([np.full(one.n_rows, float(one.name != component)) for one in self.blocks])
        return [norms * pt.constant(kept), *rest]

    def flux_part(self, component: str, value: FloatArray, energy: tuple[float, float]) -> PoissonPart:
        """The part of its events with reconstructed energies in a range in TeV; a group for each observation.

        Raises
        ------
        ModelError
            If the component is a residual background, nothing is expected from it there, a parameter is summed over, or
            cells lie across an end of the range.
        RegionError
            If no observation keeps any of these energies.
        """
        self._of_sky(component)
        if not hasattr(self.response, "in_energy_range"):
            raise ModelError(f"the flux of {component!r} in parts of the data needs a response of `fold`.")
        if self.marginal is not None:
            raise ModelError(
                f"a parameter is Marginalised(), summed over in the likelihood: fluxes of {component!r} in parts of "
                "the data are found where every parameter is a variable of the model."
            )
        return poisson_part(self, self.components, component, value, energy)

    def _of_sky(self, component: str) -> ModelComponent:
        found = {one.name: one for one in self.emitted}
        if component not in found:
            raise ModelError(f"no component {component!r}; there are {list(found)}.")
        if "aeff" not in found[component].irfs:
            raise ModelError(
                f"{component!r} is a residual background, which has no flux; choose one of "
                f"{[one.name for one in self.emitted if 'aeff' in one.irfs]}."
            )
        return found[component]

    def log_densities(self, inputs: TableInputs, parameters: Parameters, n_rows: Variable) -> Variable:
        """Logarithm of the likelihood of a Poisson process, (N,), or at each node of what is summed over, (n_nodes, N).

        Rows share the expected counts equally.
        """

        def log_density(given: Parameters) -> Variable:
            weighted = self.weighted(given)
            return self.log_density(inputs, weighted) - weighted.total / n_rows

        return self.at_nodes(parameters, log_density)

    def split(self, value: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rows and multiplicities; of multiplicity 0 where there is no event."""
        empty = np.isnan(value).all(axis=-1) if value.ndim == 2 else np.zeros(1, bool)
        if value.ndim != 2 or not empty.any():
            return super().split(value)
        held, counts = super().split(np.where(empty[:, None], 0.0, value))
        return np.where(empty[:, None], np.nan, held), np.where(empty, 0.0, counts)

    def padded(self, events: Any, n_rows: int | None) -> FloatArray:
        """Rows of events, checked, and rows of NaN after them up to ``n_rows``; by default enough for other draws."""
        listed = events.multiplicity if isinstance(events, EventList) else events
        empty = isinstance(listed, np.ndarray) and listed.ndim > 0 and len(listed) == 0
        if isinstance(events, np.ndarray) and events.ndim == 2 and not empty:
            events = events[~np.isnan(events).all(axis=1)]
            empty = len(events) == 0
        value = np.empty((0, len(self.columns))) if empty else self.numbers(events)
        if value.ndim != 2:
            self.split(value)  # says what is wrong with it
        n = len(value)
        n_rows = n + 10 * int(np.ceil(np.sqrt(2.0 * n))) + 50 if n_rows is None else int(n_rows)
        if n > n_rows:
            raise ModelError(f"{n} events are observed, more than max_events={n_rows}.")
        value = np.concatenate([value, np.full((n_rows - n, value.shape[1]), np.nan)])
        self.table(value)  # the one that the model reads, made here, so that a bad event is refused at once
        return value

    def observed_value(self, events: Any, variable: Variable) -> FloatArray:
        """Rows of other events, as many as the variable has, or more where it has too few."""
        events = one_list(variable.name or "events", events)
        n_rows = variable.type.shape[-2]
        return self.padded(events, None if n_rows is not None and len(events) > n_rows else n_rows)

    def check_parameters(self, *parameters: FloatArray) -> None:
        """Raise a ModelError unless norms are possible; spectra are checked where they are used."""
        norms = self.parameters(parameters).norms
        if not (np.all(np.isfinite(norms)) and np.all(norms >= 0)):
            raise ModelError(
                f"the norms of {self.component_names} must be finite and not negative to draw events, got {norms}."
            )

    def draw(self, n: int, rng: np.random.Generator, *parameters: FloatArray) -> FloatArray:
        """A Poisson number of events, and rows of NaN after them up to ``n``."""
        given = self.drawn(self.parameters(parameters), rng)
        parts = self.expected_parts(given)
        expected = np.array([[of[k].sum() for of in parts] for k in range(self.n_components)])
        counts = rng.poisson(expected)
        total = int(counts.sum())
        if total > n:
            raise ModelError(
                f"a draw holds {total} events ({expected.sum():.6g} were expected, most of them of "
                f"{self.component_names[int(expected.sum(axis=1).argmax())]!r}), more than max_events={n} rows; pass a "
                "larger max_events=, or narrow the priors of the fluxes. (pymc.Data has no rows to spare: pass the "
                "events themselves as observed= for predictive draws.)"
            )
        rows = np.full((n, len(self.columns)), np.nan)
        rows[:total] = self.response.draw_rows(counts, rng, self.spectra(given.flux), parts, **self.frozen(given))
        return rows

    def representative_row(self) -> FloatArray:
        """A row without event, which is always possible."""
        return np.full(len(self.columns), np.nan)


def checked_norms(name: str, response: PoissonResponse, norms: Any, model: pm.Model | None) -> dict[str, Variable]:
    """Factors on the fluxes of components by name, each a number or one for each observation.

    Raises
    ------
    ModelError
        If they are no numbers that are finite and not negative, or as many as there are components or observations.
    """
    names = tuple(response.component_names)
    what = f"{name}: norms"
    norms = joined(norms, what, low=0.0)
    if isinstance(norms, Variable) or not (norms is None or isinstance(norms, Mapping) or has_labels(norms)):
        vector = pt.as_tensor_variable(norms if isinstance(norms, Variable) else numbers(norms, what))
        if vector.type.ndim != 1 or vector.type.shape[0] not in (None, len(names)):
            raise ModelError(
                f"{what} must be a mapping from names of components, or a vector with one entry for each of "
                f"{names}, got {vector.type}."
            )
        labels = None if model is None else coords_of_last_dim(model, norms)
        places = (
            range(len(names)) if labels is None else match_labels(labels, names, f"the coords of {what}", "component")
        )
        norms = {component: vector[k] for component, k in zip(names, places, strict=True)}
    observations = response.coords["observation"]
    separate = one_by_one(what, norms, lambda members, vector: entries(what, members, vector))
    return {
        component: checked_norm(name, component, value, observations)
        for component, value in as_mapping(separate, names, what).items()
    }


def checked_norm(name: str, component: str, value: Any, observations: Sequence[Any]) -> Variable:
    """Norm of one component: a number, or one for each observation."""
    label, n_observations = f"{name}: the norm of {component!r}", len(observations)
    if not isinstance(value, Variable):
        value = joined(aligned(value, {"observation": observations}, label), label, low=0.0)
    if not isinstance(value, Variable):
        value = numbers(value, label, finite=False)
        if not np.all(np.isfinite(value) & (value >= 0)):
            raise ModelError(f"{label} must be finite and not negative, got {value.tolist()}.")
    if isinstance(value, Variable):
        with_unit(described(value, f"norm of {component!r}"), "")
    norm = pt.as_tensor_variable(value).astype("float64")
    if norm.type.ndim == 0:
        return norm
    if norm.type.ndim == 1 and norm.type.shape[0] in (None, n_observations):
        return only_entry(norm) if n_observations == 1 else pt.specify_shape(norm, (n_observations,))
    each = f", or a vector with one for each of {n_observations} observations" if n_observations > 1 else ""
    raise ModelError(f"{label} must be a single number{each}, got {norm.type}.")


def add_integrated_flux(
    name: str, source: PoissonSource, components: Sequence[ModelComponent], norms: Mapping[str, Variable], energies: Any
) -> None:
    """Deterministic of the flux of each sky component in a range of energy.

    Parameters
    ----------
    name : str
        Name of the distribution.
    source : PoissonSource
        Knows which spectra are smooth.
    components : sequence of ModelComponent
        The components before any systematic acts on them: their true fluxes.
    norms : mapping of str to TensorVariable
        Factors on their fluxes.
    energies : Quantity
        Two energies.
    """
    span = np.ravel(to_value(energies, "TeV", "integrated_flux"))
    if len(span) != 2:
        raise ModelError(f"{name}: integrated_flux must be two energies, got {len(span)}.")
    low, high = span
    if not 0 < low < high < np.inf:
        raise ModelError(
            f"{name}: integrated_flux must be two finite, positive and ascending energies, got {low:g} and "
            f"{high:g} TeV."
        )
    fluxes = []
    sky = [one for one in components if "aeff" in one.irfs]
    for one in sky:
        narrow = one.name not in source.smooth
        step = 0.5 * NODE_STEP if narrow else np.log(10) / _ENERGIES_PER_DECADE
        energy = np.geomspace(low, high, max(int(np.log(high / low) / step), 2) + 1)
        norm = norms.get(one.name, pt.constant(1.0))
        if one.scan is not None:
            scan = one.response.scans[one.name]
            nodes = value_of(_trapezoid(pt.constant(scan.flux(energy)), energy))
            fluxes.append(norm * between_nodes(scan, one.scan, nodes))
            continue
        flux = _spectrum(one, energy)
        fluxes.append(norm * (_trapezoid(flux, energy) if narrow else _power_law_integral(flux, energy)))
    model = pm.modelcontext(None)
    dims = [f"{name}_source"]
    model.add_coord(dims[0], [one.name for one in sky])
    if any(one.type.ndim for one in fluxes):  # those of one observation differ from those of others
        n_observations = sky[0].n_observations
        fluxes = [pt.broadcast_to(one, (n_observations,)) for one in fluxes]
        dims.append(observation_dim(n_observations))
    integral = pm.Deterministic(f"{name}_flux", pt.stack(fluxes), dims=dims)
    with_unit(described(integral, "flux of each source, integrated over an energy range"), "cm-2 s-1")


def emitted_flux(component: ModelComponent, energy: FloatArray) -> Variable:
    """Flux of a sky component, TeV-1 cm-2 s-1 at true energies in TeV (n,), shape (n,) or (n_observations, n).

    Parameters
    ----------
    component : ModelComponent
        A component before any systematic acts on it.
    energy : numpy.ndarray
        True energies.
    """
    if component.scan is not None:
        scan = component.response.scans[component.name]
        flux = pt.stack([between_nodes(scan, component.scan, column) for column in np.asarray(scan.flux(energy)).T])
    else:
        flux = _spectrum(component, energy)
    norm = pt.constant(1.0) if component.norm is None else component.norm
    return norm[:, None] * flux if norm.type.ndim else norm * flux


def _spectrum(component: ModelComponent, energy: FloatArray) -> Variable:
    """Its spectrum, without its norm."""
    name, spectrum = component.name, component.spectrum
    if spectrum is None:
        flux = pt.constant(component.response.nominal_flux(name, energy))
    else:
        flux = pt.as_tensor_variable(spectrum_values(spectrum, energy, FLUX, name))
    return flux * flux_scale(component.response, name, component.shape)


def one_list(name: str, observed: Any) -> Any:
    """The one list of events; a ModelError for several of them: a Poisson process has no batch axes."""
    lists, _ = lists_of_events(observed, name)
    if len(lists) == 1:
        return lists[0]
    raise ModelError(
        f"{name}: observed holds {len(lists)} lists of events, and an ExtendedEventMixture has one. Join those of "
        "the observations of a response with + (`Events.with_observation` says which is which), or give each its own "
        "ExtendedEventMixture; they may share variables."
    )


def _power_law_integral(flux: Variable, energy: FloatArray) -> Variable:
    """Integral over energies of a spectrum that is a power law between neighbours."""
    step = np.diff(np.log(energy))
    product = pt.maximum(flux * energy, np.finfo(float).tiny)
    growth = pt.log(product[..., 1:] / product[..., :-1])
    return pt.sum(product[..., :-1] * step * mean_exponential_tensor(growth), axis=-1)


def _trapezoid(flux: Variable, energy: FloatArray) -> Variable:
    """Integral over energies of a spectrum that may be zero, by trapezoids in the logarithm of the energy."""
    weight = np.full(len(energy), np.log(energy[1] / energy[0]))
    weight[[0, -1]] /= 2
    return pt.sum(flux * pt.constant(energy * weight), axis=-1)
