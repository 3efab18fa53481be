"""From an analysis file to what is folded, and to the PyMC model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from pymc_gamma.analysis.components import Surroundings
from pymc_gamma.analysis.document import Document, Problem, nearest, raise_problems
from pymc_gamma.analysis.faults import at
from pymc_gamma.analysis.observing import Observing, existing
from pymc_gamma.analysis.parameters import Scope
from pymc_gamma.analysis.schema import AnalysisConfig
from pymc_gamma.errors import ModelError

__all__ = ["EVENTS", "FRACTION", "Built", "Modelling", "settable"]

EVENTS = "events"
"""Name of the variable of the events."""
FRACTION = "fraction"
"""Name of the variable of the fractions."""


@dataclass(frozen=True, eq=False)
class Built:
    """A PyMC model, and what it was made of.

    Parameters
    ----------
    model : pymc.Model
        The model.
    spectra : dict
        Spectra of components of free spectrum.
    shapes : dict
        Positions, extensions and profiles that are left to the model, by component.
    units : dict
        Unit of each variable that has one.
    """

    model: Any
    spectra: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, Any] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


class Modelling:
    """What an analysis file says of the model.

    Parameters
    ----------
    config : AnalysisConfig
        The analysis.
    document : Document
        The file, for messages and relative paths.
    observing : Observing
        Its observations.
    """

    def __init__(self, config: AnalysisConfig, document: Document, observing: Observing) -> None:
        self.config, self.document, self.observing = config, document, observing

    @property
    def is_poisson(self) -> bool:
        """Whether fluxes are physical, and the number of events is random."""
        return bool(self.config.mixture.likelihood == "poisson")

    def around(self) -> Surroundings:
        """What components share, for one model: its priors become variables of it."""
        return Surroundings(Scope(self.config.priors), self.document.folder, self.config.dark_matter)

    @cached_property
    def translation(self) -> Any:
        """Models of gammapy in the words of this package; None if there are none."""
        from pymc_gamma.interop import GammapyTranslation

        if self.config.models is None:
            return None
        with at(self.document, ("models",)):
            models = self.config.models
            if isinstance(models, list):
                from pymc_gamma.interop.model_file import models_of

                source = models_of({"components": models}, "models", self.document.folder)
            else:
                source = self.document.folder / models
            names = [one.name or str(k) for k, one in enumerate(self.observing.observations)]
            background = not any(one.kind == "ccr" for one in self.config.components)
            made = GammapyTranslation(source, names, background=background and self._has_background)
            if not self.is_poisson:
                _refuse_free_scales(made)
            return made

    @property
    def _has_background(self) -> bool:
        return all(one.irfs.bkg is not None for one in self.observing.observations)

    @cached_property
    def sky(self) -> list[Any]:
        """Components that are folded."""
        around = self.around()
        made = [] if self.translation is None else list(self.translation.components)
        for k, one in enumerate(self.config.components):
            with at(self.document, ("components", k)):
                made.append(one.sky(around))
        return made

    @property
    def free_spectrum(self) -> list[str]:
        """Names of the components whose spectrum is left to the model."""
        of_gammapy = () if self.translation is None else self.translation.free_spectrum
        around = self.around()
        mine = (one.name for one in self.config.components if one.keep_energies or one.frees_spectrum(around))
        return [*of_gammapy, *mine]

    @property
    def free_shape(self) -> list[str]:
        """Names of the components whose position or extension is left to the model."""
        of_gammapy = () if self.translation is None else self.translation.free_shape
        around = self.around()
        return [*of_gammapy, *(one.name for one in self.config.components if one.frees_shape(around))]

    @property
    def needs_draws(self) -> bool:
        """Whether counts have to come from predictive draws, because fractions do not fix them."""
        if self.config.of_tables:
            return False
        scans = any(one.scan_names for one in self.config.components)
        return bool(self.is_poisson or self.free_spectrum or self.free_shape or scans or self.config.systematics)

    def check_files(self) -> None:
        """Raise an error for files that are missing."""
        if isinstance(self.config.models, Path):
            with at(self.document, ("models",)):
                existing(self.document.folder / self.config.models)
        for k, one in enumerate(self.config.components):
            with at(self.document, ("components", k)):
                for path in one.files(self.around()):
                    existing(path)

    def files(self) -> Iterator[Path]:
        """Files that components are made of."""
        if isinstance(self.config.models, Path):
            yield self.document.folder / self.config.models
        for one in self.config.components:
            yield from one.files(self.around())

    def fold(self) -> Any:
        """Fold the sky through the instrument response."""
        import pymc_gamma as pmg

        geom = self.observing.datasets.geom
        with at(self.document, ()):
            return pmg.fold(
                self.sky,
                self.observing.observations,
                self.observing.roi,
                free_spectrum=self.free_spectrum,
                free_shape=self.free_shape,
                pixel=geom.wcs.binsize,
                energy_true=geom.axes.energy_true.nbins,
                progressbar=False,
            )

    def build_of_tables(self) -> Built:
        """The model of events whose log-likelihoods are in tables."""
        import pymc as pm

        import pymc_gamma as pmg

        around, names = self.around(), [one.name for one in self.config.components]
        with at(self.document, ()), pm.Model(coords={"component": names}, model=None) as model:
            tables: dict[str, Any] = {}
            scan: dict[str, Any] = {}
            for k, one in enumerate(self.config.components):
                with at(self.document, ("components", k)):
                    tables[one.name] = one.table(around)
                    scan |= one.scan(around)
            fraction = self.fractions(names)
            if scan:
                pmg.EventMixture(EVENTS, fraction, log_likelihood=tables, scan=scan)
            else:
                pmg.EventMixture(EVENTS, fraction, log_likelihood=_side_by_side(tables))
        return Built(model, units=around.scope.units)

    def build(self, response: Any, observed: Any = None) -> Built:
        """The model of events, or one to simulate them from.

        Parameters
        ----------
        response : Response
            From :meth:`fold`.
        observed : Events, optional
            The events.
        """
        import pymc as pm

        around = self.around()
        with at(self.document, ()), pm.Model(coords=response.coords, model=None) as model:
            options, units = self._options(around, response)
            if self.is_poisson:
                self._poisson(around, response, observed, options)
            else:
                self._mixture(response, observed, options)
        return Built(model, options["spectra"], options["shapes"], {**units, **around.scope.units})

    def _options(self, around: Surroundings, response: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Keywords that both likelihoods take, and units of the variables of gammapy's parameters."""
        spectra: dict[str, Any] = {}
        shapes: dict[str, Any] = {}
        scan: dict[str, Any] = {}
        norms: dict[str, Any] = {}
        units: dict[str, str] = {}
        if self.translation is not None:
            with at(self.document, ("models",)):
                variables = self.translation.variables()
                spectra |= self.translation.spectra(variables, response)
                shapes |= self.translation.shapes(variables, response)
                norms |= self.translation.norms(variables)
                units = {name: str(one.unit) for one, name in self.translation.names.items()}
        for k, one in enumerate(self.config.components):
            with at(self.document, ("components", k)):
                spectrum = one.spectrum(around)
                if spectrum is None and one.keep_energies and not self.is_poisson:
                    spectrum = _nominal(one.name, response)
                if spectrum is not None:
                    spectra[one.name] = spectrum
                shape = one.shape(around, response)
                if shape is not None:
                    shapes[one.name] = shape
                scan |= one.scan(around)
                if self.is_poisson and (factor := one.factor(around)) is not None:
                    norms[one.name] = factor
        systematics = []
        for k, one in enumerate(self.config.systematics):
            with at(self.document, ("systematics", k)):
                systematics.append(one.build(around.scope))
        options = {"spectra": spectra, "shapes": shapes, "scan": scan or None, "systematics": systematics}
        return (options | {"norms": norms} if self.is_poisson else options), units

    def _poisson(self, around: Surroundings, response: Any, observed: Any, options: dict[str, Any]) -> None:
        import pymc_gamma as pmg

        results = self.config.results
        flux = results.integrated_flux
        if flux is not None:
            options["integrated_flux"] = u.Quantity([flux.min, flux.max])
        pmg.ExtendedEventMixture(
            EVENTS, response=response, observed=observed, expected_counts=results.expected_counts, **options
        )

    def _mixture(self, response: Any, observed: Any, options: dict[str, Any]) -> None:
        import pymc as pm

        import pymc_gamma as pmg

        model = pm.modelcontext(None)

        if observed is not None:
            options["observed"] = observed
        else:
            assert self.config.simulate is not None
            options["n_events"] = self.config.simulate.n_events
        n_events = options["n_events"] if observed is None else observed.n_total
        fraction = self.fractions(response.component_names)
        pmg.EventMixture(EVENTS, fraction, response=response, **options)
        spectra, shapes = options["spectra"], options["shapes"]
        for k, one in enumerate(self.config.components):
            with at(self.document, ("components", k)):
                own = fraction[response.component_names.index(one.name)]
                found = one.from_fraction(own, n_events, response, spectra.get(one.name), shapes)
                for name, value in found.items():
                    if f"{one.name}.{name}" not in model.named_vars:
                        pm.Deterministic(f"{one.name}.{name}", value)

    def fractions(self, names: Any) -> Any:
        """Fractions of components, as variables of the PyMC model of the context."""
        import pymc as pm

        import pymc_gamma as pmg

        mixture = self.config.mixture
        if mixture.tree is not None:
            with at(self.document, ("mixture", "tree")):
                tree = pmg.MixtureTree(mixture.tree)
                return tree.fractions(FRACTION, concentration=mixture.concentrations)
        with at(self.document, ("mixture", "concentrations")):
            unknown = [one for one in mixture.concentrations if one != FRACTION]
            if unknown:
                raise ModelError(f"without a tree there is no node {unknown[0]!r}; {nearest(unknown[0], [FRACTION])}")
            given = np.asarray(mixture.concentrations.get(FRACTION, 1.0), dtype=np.float64)
            if given.shape not in ((), (len(names),)) or not np.all(given > 0):
                raise ModelError(
                    f"the concentrations must be one positive number, or one for each of {list(names)}, got {given}"
                )
            return pm.Dirichlet(FRACTION, a=np.broadcast_to(given, len(names)), dims="component")

    def true_values(self, built: Built) -> dict[str, Any]:
        """Values under `simulate`, as arrays in the units of their variables.

        Parameters
        ----------
        built : Built
            From :meth:`build`, or the variables alone.

        Raises
        ------
        AnalysisFileError
            If there is no such variable, events do not depend on it, or a value does not fit it; says all of it.
        """
        assert self.config.simulate is not None
        model = built.model
        known = settable(model)
        found, problems = {}, []
        for name, value in self.config.simulate.values.items():
            place = ("simulate", "values", name)
            if name not in known:
                told = f"the model has no variable {name!r}; {nearest(name, known)}"
                if name in model.named_vars and name != EVENTS:
                    told = f"{name!r} follows from others, and events do not depend on it; {nearest(name, known)}"
                problems.append(Problem(place, told))
                continue
            try:
                found[name] = _as_array(name, value, model, built.units.get(name, ""))
            except ModelError as error:
                problems.append(Problem(place, str(error)))
        raise_problems(self.document, problems)
        return found


def settable(model: Any) -> list[str]:
    """Names of the variables that events depend on; of all, in a model without events."""
    from pytensor.graph.traversal import ancestors

    names = [str(one.name) for one in (*model.free_RVs, *model.deterministics, *model.observed_RVs)]
    if EVENTS not in names:
        return names
    above = set(ancestors([model[EVENTS]]))
    return [name for name in names if name != EVENTS and model[name] in above]


def _nominal(name: str, response: Any) -> Any:
    """The spectrum that a component was folded with; a factor of 1 on the residual background."""
    import pymc_gamma as pmg

    if name in response.instrumental:
        return pmg.PowerLawNorm()
    flux = response.nominal_flux(name, response.energy_true) * u.Unit("TeV-1 cm-2 s-1")
    return pmg.TemplateSpectrum(response.energy_true * u.TeV, flux)


def _side_by_side(tables: dict[str, Any]) -> Any:
    """Vectors as the columns of one table."""
    columns = {name: np.asarray(table, dtype=np.float64) for name, table in tables.items()}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ModelError(f"the tables must be vectors of one length, got the shapes {shapes}")
    return np.stack(list(columns.values()), axis=1)


def _as_array(name: str, value: Any, model: Any, unit: str) -> Any:
    """Value of a variable, in the order of its coordinates."""
    variable = model.named_vars[name]
    if isinstance(value, dict):
        dims = model.named_vars_to_dims.get(name, ())
        labels = [str(one) for one in model.coords[dims[0]]] if len(dims) == 1 else []
        if sorted(value) != sorted(labels):
            raise ModelError(f"give a value for each of {labels}, got {sorted(value)}")
        value = [value[label] for label in labels]
    several = isinstance(value, list)
    found = np.array([_in_unit(one, unit) for one in (value if several else [value])])
    found = found if several else found[0]
    dims = model.named_vars_to_dims.get(name) or [None] * variable.type.ndim
    shape = tuple(
        n if dim is None or model.coords.get(dim) is None else len(model.coords[dim])
        for n, dim in zip(variable.type.shape, dims, strict=True)
    )
    if np.ndim(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, np.shape(found), strict=True)):
        raise ModelError(f"expected {shape or 'a single number'}, got {found.tolist()}")
    is_division = variable.owner is not None and "irichlet" in str(variable.owner.op)
    if is_division and (np.any(found < 0) or abs(float(np.sum(found)) - 1) > 1e-6):
        raise ModelError(f"must be at least 0 and sum to 1, got {found.tolist()} (sum {float(np.sum(found)):.6g})")
    return found


def _in_unit(value: Any, unit: str) -> float:
    if isinstance(value, u.Quantity):
        if not value.unit.is_equivalent(unit):
            raise ModelError(f"{value} is not in a unit such as '{unit}'" if unit else f"{value} must have no unit")
        return float(value.to_value(unit))
    return float(value)


def _refuse_free_scales(translation: Any) -> None:
    from pymc_gamma.interop.priors import Role
    from pymc_gamma.interop.spectra import spectral_roles

    for model in translation.models:
        spectral = getattr(model, "spectral_model", None)
        if spectral is None or type(model).__name__ != "SkyModel":
            continue
        free = [one.name for one, role in spectral_roles(model.name, spectral).items() if role is Role.SCALE]
        if free:
            raise ModelError(
                f"{', '.join(free)} of {model.name!r} is free, and a mixture of fractions does not depend on it: "
                "freeze it (frozen: true), or choose mixture.likelihood: poisson"
            )
