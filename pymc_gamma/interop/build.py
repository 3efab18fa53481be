"""gammapy models, observations and data sets as a PyMC model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymc as pm

from pymc_gamma.arguments import is_several
from pymc_gamma.errors import IRFError, ModelError, RegionError
from pymc_gamma.events import Events
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.instrument.dl3 import gammapy_runs
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.instrument.safe_mask import SafeMask
from pymc_gamma.interop.datasets import GivenDataset, read_datasets, sorted_data
from pymc_gamma.interop.models import GammapyTranslation
from pymc_gamma.model import ExtendedEventMixture
from pymc_gamma.model.on_off import OffBackground
from pymc_gamma.response import fold

if TYPE_CHECKING:
    from pymc_gamma.response import Response

__all__ = ["from_gammapy"]


def from_gammapy(
    models: Any,
    observations: Any,
    roi: RegionOfInterest | None = None,
    *,
    events: Events | None = None,
    safe_mask: SafeMask = "file",
    datasets: Sequence[str] | None = None,
    response: "Response | None" = None,
    fold_options: Mapping[str, Any] | None = None,
    name: str = "events",
    background: OffBackground | type[OffBackground] | None = None,
    dataset_options: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> pm.Model:
    r"""Make a PyMC model of gammapy models and observations, data sets, or both.

    Each ``SkyModel`` is a component. Each free parameter is a random variable with gammapy's unique name, such as
    ``crab.spectral.index``, in the unit of the parameter; frozen ones are constants and linked ones are one variable.
    gammapy's priors are kept; parameters without one get a wide prior, see :mod:`pymc_gamma.interop.priors`. The
    likelihood of observations is the Poisson process of :class:`~pymc_gamma.ExtendedEventMixture`, event by event.

    Data sets stand beside them, or alone, with variables of the name of each: a ``SpectrumDatasetOnOff`` (and a
    ``SpectrumDataset`` without background) is an :class:`~pymc_gamma.OnOffCounts`, a ``FluxPointsDataset`` a
    :class:`~pymc_gamma.FluxPointsData`. A model is for all of them, or for those in its ``datasets_names``. What lies
    in the ON region of a counts spectrum is taken for granted, as in gammapy: all photons of a model count, and
    containment is in the effective area. A ``MapDataset`` has lost its events: give its observations.

    Positions and extensions of points, Gaussians, discs and shells may be free (``lon_0``, ``lat_0``, ``sigma``, ``e``,
    ``phi``, ``r_0``, ``radius``, ``width``). Their values say around which the source is folded: start near the truth,
    within 0.3 deg in position and a factor of two in extension, which is also how far they may go.

    The residual background of the instrument is in the model if the responses of the observations have one. Each
    ``FoVBackgroundModel`` gives its observation a norm and a tilt; without one the background is that of the response.

    Parameters
    ----------
    models : gammapy.modeling.models.Models, list of models or path
        The models, or the YAML file they are in.
    observations : gammapy observations or datasets, or Observation
        A gammapy ``Observation``, ``Observations`` or ``DataStore``, or one or several :class:`Observation`; gammapy
        ``Datasets`` of any kinds, one data set or several; or a list of both.
    roi : RegionOfInterest, optional
        Region and energy range of the events; needed where there are observations.
    events : Events, optional
        The observed events. Default: those of the gammapy observations inside ``roi``, within the energies and offsets
        of each. Observations of this package have no events; without any, the model is one to simulate from (and needs
        ``max_events``).
    safe_mask : "file", gammapy.makers.SafeMaskMaker or None
        What limits the energies and offsets of gammapy observations, see
        :meth:`Observation.from_gammapy <pymc_gamma.Observation.from_gammapy>`.
    datasets : sequence of str, optional
        gammapy's dataset name of each observation of events, by which models may be assigned. Default: the observation
        ids; then ``obs-<id>`` is understood, and a single name that is unknown (``stacked``) means all.
    response : Response, optional
        The components folded before, see :class:`~pymc_gamma.interop.GammapyTranslation`. Default: fold them now.
    fold_options : mapping, optional
        Passed to :func:`~pymc_gamma.fold`: ``energy_true``, ``pixel``, ``path``, and ``free_spectrum``, which may name
        components that have no free spectrum in the models but need one for a systematic.
    name : str
        Name of the variable of the events.
    background : OffBackground, optional
        What is assumed of the background of each ``SpectrumDatasetOnOff``: `MeasuredBackground` by default.
    dataset_options : mapping of str to mapping, optional
        Options of the distributions of data sets, by their names, such as
        ``{"magic": {"systematics": [pmg.EnergyScale(0.15)]}}``.
    **options
        Passed to :class:`~pymc_gamma.ExtendedEventMixture`: ``expected_counts``, ``integrated_flux``, ``systematics``,
        ``max_events``.

    Returns
    -------
    pymc.Model
        To be sampled with any sampler; :func:`~pymc_gamma.to_gammapy` writes the posterior back.

    Raises
    ------
    TypeError
        If something is not of the types above.
    ModelError
        If there is no model, or a prior has no counterpart, names the parameter; if there is no model for a data set,
        two have one name, or one is of a kind that has no counterpart, such as a ``MapDataset``.
    SkyModelError
        If a model or a free parameter has no counterpart; says which and what to do.
    IRFError
        If some observations have a residual background and others do not; names them.
    RegionError
        If an observation does not see the region.

    Examples
    --------
    >>> import astropy.units as u
    >>> import pymc_gamma as pmg
    >>> from astropy.coordinates import SkyCoord
    >>> from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
    >>> spatial = PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", frame="icrs")
    >>> spatial.freeze()
    >>> crab = SkyModel(PowerLawSpectralModel(amplitude="3e-11 TeV-1 cm-2 s-1"), spatial, name="crab")
    >>> irfs = pmg.load_irfs("prod5-south-20deg-50h")
    >>> observation = pmg.Observation(irfs, SkyCoord(83.63 * u.deg, 22.51 * u.deg), livetime=0.5 * u.h)
    >>> roi = pmg.RegionOfInterest(spatial.position, radius=0.5 * u.deg, energy=(0.2, 50) * u.TeV)
    >>> model = pmg.from_gammapy([crab], observation, roi, max_events=20_000)
    >>> [variable.name for variable in model.free_RVs if variable.ndim == 0]
    ['crab.spectral.index', 'crab.spectral.amplitude']
    """
    if events is not None and not isinstance(events, Events):
        raise TypeError(f"events must be Events or None, got {type(events).__name__}.")
    observed, given = sorted_data(observations)
    shared = {} if background is None else {"background": background}
    if observed is None:
        extra = {"events": events, "datasets": datasets, "response": response, "fold_options": fold_options} | options
        if unused := [key for key, value in extra.items() if value is not None]:
            raise TypeError(
                f"from_gammapy: {unused} are for observations of events, and there are data sets alone; options of "
                "these go into dataset_options."
            )
        if not given:
            raise ModelError("observations holds no data set; give at least one.")
        sets = read_datasets(given, dataset_options, shared)
        translation = GammapyTranslation(models, (), spectral=[one.name for one in sets])
        with pm.Model() as model:
            _add_datasets(sets, translation, translation.variables())
        return model
    if not isinstance(roi, RegionOfInterest):
        raise TypeError(f"roi must be a RegionOfInterest, got {type(roi).__name__}.")
    pointings, runs = _pointings(observed, safe_mask)
    labels = [one.name or str(k) for k, one in enumerate(pointings)] if datasets is None else list(datasets)
    if len(labels) != len(pointings):
        raise ValueError(f"datasets must name each of the {len(pointings)} observations, got {labels}.")
    sets = read_datasets(given, dataset_options, shared)
    spectral = [one.name for one in sets]
    if both := sorted({*labels} & {*spectral}):
        raise ModelError(f"observations and data sets are both called {both}; give each a name of its own.")
    instrumental = _have_background(pointings, labels)
    translation = GammapyTranslation(models, labels, background=instrumental, spectral=spectral)
    if response is None:
        how = dict(fold_options or {})
        further = how.pop("free_spectrum", ())
        free = dict.fromkeys((*translation.free_spectrum, *([further] if isinstance(further, str) else further)))
        response = fold(
            translation.components, pointings, roi, free_spectrum=free, free_shape=translation.free_shape, **how
        )
    else:
        translation.check_response(response)
    if events is None and runs is not None:
        events = Events.from_gammapy(runs, roi=roi, observations=pointings)
    with pm.Model(coords=response.coords) as model:
        variables = translation.variables()
        ExtendedEventMixture(
            name,
            response=response,
            spectra=translation.spectra(variables, response),
            norms=translation.norms(variables),
            shapes=translation.shapes(variables, response),
            observed=events,
            **options,
        )
        _add_datasets(sets, translation, variables)
    return model


def _add_datasets(sets: Sequence[GivenDataset], translation: GammapyTranslation, variables: Mapping[Any, Any]) -> None:
    """Add data sets to the model on the context stack."""
    for one in sets:
        one.add(translation.spectrum(one.name, variables), translation.sources(one.name))


def _have_background(observations: Sequence[Observation], labels: Sequence[str]) -> bool:
    """Whether the responses have a residual background, all of them or none."""
    without = [label for label, one in zip(labels, observations, strict=True) if one.irfs.bkg is None]
    if without and len(without) < len(observations):
        raise IRFError(
            f"{len(without)} of {len(observations)} observations have no background table: {without}. A model without "
            "a background would take every cosmic ray for a gamma ray. Leave these observations out, or give them the "
            "response of a similar run, `observation.with_irfs(...)`."
        )
    return not without


def _pointings(observations: Any, safe_mask: SafeMask) -> tuple[list[Observation], list[Any] | None]:
    """Observations of this package, and the gammapy runs they were made of, if they were."""
    if isinstance(observations, Observation):
        return [observations], None
    if isinstance(observations, str | Path):
        raise TypeError(
            f"observations must be observations, not the path {str(observations)!r}; read it with "
            "gammapy.data.Observation.read or DataStore.from_dir."
        )
    if is_several(observations):
        observations = list(observations)
        if not observations:
            raise RegionError("there is no observation; give at least one.")
        if any(isinstance(one, Observation) for one in observations):
            wrong = [type(one).__name__ for one in observations if not isinstance(one, Observation)]
            if wrong:
                raise TypeError(f"observations must all be of one kind, found pymc_gamma's and {wrong[0]}.")
            return observations, None
    runs = gammapy_runs(observations)
    return Observation.list_from_gammapy(runs, safe_mask=safe_mask), runs
