r"""gammapy models as components, variables and spectra.

Each ``SkyModel`` becomes one component, treated in the cheapest way that is exact:

* **fixed**: no free parameter. One column.
* **norm**: the free parameters are factors of the whole spectrum. One column, and a factor
  :math:`\prod_j \theta_j/\theta_j^0`.
* **spectrum**: other free spectral parameters. Its true energies are kept, and the model evaluates the spectrum.
* **correction**: as before, for a template in intensity (a diffuse cube, say), whose spectrum is that of the template
  times a norm model :math:`n`; the model evaluates :math:`\phi^0(E)\, n(E; \theta)/n(E; \theta^0)`.

With a free position or extension it is folded with a free shape besides, around the values of its model.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arguments import texts
from pymc_gamma.errors import ModelError, SkyModelError
from pymc_gamma.folding.live_shapes import LiveShape
from pymc_gamma.folding.nodes import has_narrow
from pymc_gamma.interop.background import BACKGROUND, BackgroundModels, datasets_of
from pymc_gamma.interop.parameters import copy_models, free_names, read_models
from pymc_gamma.interop.priors import Role, prior_variable
from pymc_gamma.interop.shapes import FreeShape
from pymc_gamma.interop.spectra import (
    convert_spectrum,
    free_parameters,
    is_common_factor,
    spectral_roles,
    whole_spectrum,
)
from pymc_gamma.model.spectra import FLUX, PowerLawNorm, Spectrum, is_smooth
from pymc_gamma.sky import CosmicRayBackground, SkyComponent, SkySource
from pymc_gamma.tensors import value_of, with_unit

__all__ = ["GammapyTranslation"]

Variables = Mapping[Any, Variable]


class GammapyTranslation:
    """What gammapy models are in the words of this package.

    :func:`~pymc_gamma.from_gammapy` is made of it. Use it to fold the models yourself, or to write a model by hand
    around their variables.

    Parameters
    ----------
    models : gammapy.modeling.models.Models, list or path
        The models, or the YAML file they are in.
    datasets : sequence of str
        Name of each observation, which gammapy's models may be assigned to by.
    background : bool
        Whether there is a residual background where no ``FoVBackgroundModel`` says so.
    spectral : sequence of str
        Names of data sets that see spectra alone, such as counts spectra and flux points.

    Attributes
    ----------
    components : tuple of SkyComponent
        One for each ``SkyModel`` that the observations see, and the residual background, ``"ccr"``.
    free_spectrum : tuple of str
        Those to fold with free spectrum.
    free_shape : tuple of str
        Those to fold with free shape.
    names : dict
        Free gammapy parameter to the name of its variable.

    Raises
    ------
    TypeError
        If the models are no gammapy models.
    ModelError
        If there is none.
    SkyModelError
        If a model or one of its free parameters has no counterpart; the message says which, and what to do.

    Examples
    --------
    >>> from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
    >>> from pymc_gamma.interop import GammapyTranslation
    >>> spatial = PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", frame="icrs")
    >>> spatial.freeze()
    >>> translation = GammapyTranslation([SkyModel(PowerLawSpectralModel(), spatial, name="crab")], ["run 1"])
    >>> translation.components
    (SkySource(name='crab'), CosmicRayBackground(name='ccr'))
    >>> translation.free_spectrum
    ('crab',)
    """

    def __init__(
        self, models: Any, datasets: Sequence[str], *, background: bool = True, spectral: Sequence[str] = ()
    ) -> None:
        from gammapy.modeling.models import FoVBackgroundModel, SkyModel

        self.models = copy_models(read_models(models))
        self.names = free_names(self.models)
        datasets = tuple(datasets)
        for model in self.models:
            if not isinstance(model, SkyModel | FoVBackgroundModel):
                raise SkyModelError(
                    f"The model {model.name!r} is a {type(model).__name__}, which has no counterpart here; use a "
                    "SkyModel for what shines, and a FoVBackgroundModel for the background of the instrument."
                )
        every = {model.name: model for model in self.models if isinstance(model, SkyModel)}
        seen = {name: _seen_by(model, datasets, tuple(spectral)) for name, model in every.items()}
        self._sky = {name: model for name, model in every.items() if seen[name].observations}
        self._spectral = {one: [every[name] for name in every if one in seen[name].spectral] for one in spectral}
        for model in self._sky.values():
            _check_for_events(model, datasets, seen[model.name].wanted)
        for one, shining in self._spectral.items():
            _check_spectral(one, shining)
        self._roles: dict[Any, Role] = {}
        for name, model in every.items():
            _check_alone(model, observed=name in self._sky)
            for parameter, role in spectral_roles(name, model.spectral_model).items():
                self._roles.setdefault(parameter, role)
        self._shapes = {
            name: FreeShape(name, model.spatial_model)
            for name, model in self._sky.items()
            if model.spatial_model is not None and free_parameters(model.spatial_model)
        }
        self._limits: dict[Any, tuple[float, float]] = {}
        for shape in self._shapes.values():
            for parameter, role in shape.roles.items():
                self._roles.setdefault(parameter, role)
                self._limits.setdefault(parameter, shape.limits[parameter])
        self._common = {name for name, model in self._sky.items() if is_common_factor(model.spectral_model)}
        backgrounds = tuple(model for model in self.models if isinstance(model, FoVBackgroundModel))
        _check_backgrounds(backgrounds, datasets, tuple(spectral))
        self._background = BackgroundModels(backgrounds, datasets)
        for parameter, role in self._background.roles.items():
            self._roles.setdefault(parameter, role)
        instrumental = (CosmicRayBackground(BACKGROUND),) if datasets and (background or backgrounds) else ()
        self.components: tuple[SkyComponent, ...] = (
            *(SkySource.from_gammapy(model) for model in self._sky.values()),
            *instrumental,
        )
        self.free_spectrum = (
            *(n for n, m in self._sky.items() if n not in self._common and free_parameters(m.spectral_model)),
            *(() if self._background.common else (BACKGROUND,)),
        )
        self.free_shape = tuple(self._shapes)

    def variables(self) -> dict[Any, Variable]:
        """One random variable for each free parameter, in the PyMC model of the context.

        Returns
        -------
        dict
            gammapy parameter to its variable, in the unit of the parameter.
        """
        everywhere = (-np.inf, np.inf)
        return {
            one: with_unit(
                prior_variable(name, one, self._roles[one], self._limits.get(one, everywhere)), f"{one.unit:generic}"
            )
            for one, name in self.names.items()
        }

    def norms(self, variables: Variables) -> dict[str, Any]:
        """Factors on the nominal flux of components of fixed shape, as ``ExtendedEventMixture`` takes them."""
        norms: dict[str, Any] = {}
        for name in self._sky:
            if name in self._common:
                free = free_parameters(self._sky[name].spectral_model)
                factors = [variables[parameter] / parameter.value for parameter in free]
                norms[name] = pt.prod(pt.stack(factors)) if len(factors) > 1 else factors[0]
        if self._background.models and self._background.common:
            norms[BACKGROUND] = self._background.norm(variables)
        return norms

    def spectra(self, variables: Variables, response: Any) -> dict[str, Callable[[Any], Any]]:
        """Spectra of the components of free spectrum, as ``ExtendedEventMixture`` takes them.

        Parameters
        ----------
        variables : mapping
            From :meth:`variables`.
        response : Response
            :attr:`components` folded with :attr:`free_spectrum`; it knows the nominal spectra of templates.
        """
        spectra: dict[str, Callable[[Any], Any]] = {}
        for name in self.free_spectrum:
            if name == BACKGROUND:
                norm, tilt, reference = self._background.vectors(variables)
                spectra[name] = PowerLawNorm(norm=norm, tilt=tilt, reference=reference)
                continue
            model = self._sky[name]
            spectrum = convert_spectrum(name, model.spectral_model, variables)
            if _is_correction(model):
                spectrum = _correction(name, model.spectral_model, spectrum, response)
            spectra[name] = spectrum
        return spectra

    def spectrum(self, dataset: str, variables: Variables) -> Callable[[Any], Any]:
        """Spectrum of all models that a data set of spectra sees.

        Parameters
        ----------
        dataset : str
            Its name, one of ``spectral``.
        variables : mapping
            From :meth:`variables`.
        """
        each = [whole_spectrum(one.name, one.spectral_model, variables) for one in self._spectral[dataset]]
        return reduce(operator.add, each)

    def sources(self, dataset: str) -> tuple[str, ...]:
        """Names of the models that a data set of spectra sees."""
        return tuple(one.name for one in self._spectral[dataset])

    def shapes(self, variables: Variables, response: Any) -> dict[str, LiveShape]:
        """Shapes of the components of free shape, as ``ExtendedEventMixture`` takes them.

        Parameters
        ----------
        variables : mapping
            From :meth:`variables`.
        response : Response
            :attr:`components` folded with :attr:`free_shape`: what is not free stays as it is there.

        Raises
        ------
        SkyModelError
            If a position or a position angle is free in another frame than that of the region.
        """
        folded = {one.name: one.shape for one in response.components}
        frame = response.roi.frame
        return {name: shape.shape(variables, folded[name], frame) for name, shape in self._shapes.items()}

    def check_response(self, response: Any) -> None:
        """Raise a ModelError unless a response was folded from these components, with these (or more) free spectra."""
        mine = tuple(component.name for component in self.components)
        if set(self.free_shape) != set(response.free_shape):
            raise ModelError(
                f"the response leaves the shapes of {tuple(response.free_shape)} to the model, the models have free "
                f"positions or extensions of {self.free_shape}; fold `translation.components` with "
                "`free_shape=translation.free_shape`."
            )
        if tuple(response.component_names) != mine or not set(self.free_spectrum) <= set(response.free_spectrum):
            raise ModelError(
                f"the response has the components {tuple(response.component_names)} with free spectra of "
                f"{tuple(response.free_spectrum)}, the models {mine} with {self.free_spectrum}; fold "
                "`translation.components` with `free_spectrum=translation.free_spectrum`."
            )


class _Seen(NamedTuple):
    """Where a model shines.

    Attributes
    ----------
    observations : bool
        Whether the observations see it.
    wanted : list of str or None
        Names by which it is assigned to them.
    spectral : tuple of str
        The data sets of spectra that see it.
    """

    observations: bool
    wanted: list[str] | None
    spectral: tuple[str, ...]


def _seen_by(model: Any, datasets: tuple[str, ...], spectral: tuple[str, ...]) -> _Seen:
    if model.datasets_names is None:
        return _Seen(bool(datasets), None, spectral)
    names = texts(model.datasets_names, f"datasets_names of {model.name!r}")
    wanted = [name for name in names if name not in spectral]
    seen = _Seen(bool(datasets and wanted), wanted, tuple(name for name in spectral if name in names))
    if not seen.observations and not seen.spectral:
        raise SkyModelError(
            f"The model {model.name!r} is for the datasets {list(names)}, and there are {[*datasets, *spectral]}; set "
            "`datasets_names=None`, or leave it out."
        )
    return seen


def _check_alone(model: Any, *, observed: bool) -> None:
    """Raise a SkyModelError if a model is none that shines here; ``observed`` by events."""
    name = model.name
    if name == BACKGROUND:
        raise SkyModelError(f"The model {name!r} has the name of the residual background here; rename it.")
    if model.temporal_model is not None:
        raise SkyModelError(
            f"The model {name!r} varies in time, which densities of events do not; set `temporal_model=None`, and for "
            "a light curve cut the observations into time bins (Observation.split)."
        )
    ignored = [irf for irf, applied in model.apply_irf.items() if not applied]
    if ignored:
        raise SkyModelError(
            f"The model {name!r} leaves out a part of the instrument response, apply_irf={model.apply_irf}; all of it "
            "is always applied here, so set `apply_irf` to all True."
        )
    if not observed and model.spatial_model is not None and (free := free_parameters(model.spatial_model)):
        raise SkyModelError(
            f"The parameters {[one.name for one in free]} of {name!r} are free, and no observation sees where it is; "
            f"freeze them (`models[{name!r}].spatial_model.freeze()`)."
        )


def _check_for_events(model: Any, datasets: tuple[str, ...], wanted: list[str] | None) -> None:
    """Raise a SkyModelError unless all observations see a model."""
    if len(datasets_of(model, wanted, datasets)) < len(datasets):
        raise SkyModelError(
            f"The model {model.name!r} is for the datasets {model.datasets_names} only; a source shines in every "
            "observation here, so set `datasets_names=None`."
        )


def _check_spectral(dataset: str, models: Sequence[Any]) -> None:
    """Raise an error unless there are models for a data set of spectra, and all have spectra of their own."""
    if not models:
        raise ModelError(f"no model is for the data set {dataset!r}; leave it out, or assign one (`datasets_names`).")
    for model in models:
        if _is_correction(model):
            raise SkyModelError(
                f"The flux of {model.name!r} follows from its map, and {dataset!r} has no directions; assign it to "
                "the observations alone (`datasets_names`), or give it a spectrum."
            )


def _check_backgrounds(models: Sequence[Any], datasets: tuple[str, ...], spectral: tuple[str, ...]) -> None:
    """Raise a SkyModelError if a background model is for something that has no residual background."""
    for model in models:
        names = texts(model.datasets_names or (), f"datasets_names of {model.name!r}")
        if not datasets or set(names) & set(spectral):
            raise SkyModelError(
                f"The background model {model.name!r} is for {list(names)}; backgrounds of counts spectra are those "
                "that their OFF regions measure, and flux points have none. Leave it out."
            )


def _is_correction(model: Any) -> bool:
    """Whether the spectral model multiplies the spectrum of a template."""
    value = u.Quantity(model.spectral_model(np.array([1.0]) * u.TeV))
    spatial = model.spatial_model
    return (spatial is not None and spatial.is_energy_dependent) or not value.unit.is_equivalent(FLUX)


def _correction(name: str, spectral: Any, spectrum: Callable[[Any], Any], response: Any) -> Callable[[Any], Any]:
    """Nominal spectrum of a template, corrected for what the parameters changed."""
    return _Correction(name, spectrum, convert_spectrum(name, spectral, {}), response)


@dataclass(frozen=True, eq=False)
class _Correction(Spectrum):
    """The nominal spectrum of a component of a response times the ratio of two spectra."""

    name: str
    spectrum: Callable[[Any], Any]
    start: Callable[[Any], Any]
    response: Any

    @property
    def smooth(self) -> bool:
        """Whether all three have no narrow features."""
        nominal = self.response.nominal_flux(self.name, self.response.energy_true)
        return (
            is_smooth(self.spectrum)
            and is_smooth(self.start)
            and not has_narrow(nominal, self.response.energy_true_edges)
        )

    def evaluate(self, energy: Variable) -> Variable:
        """Flux at energies in TeV."""
        at = value_of(energy)
        return self.response.nominal_flux(self.name, at) * (self.spectrum(at) / self.start(at))
