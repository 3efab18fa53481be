r"""`EventMixture`: events drawn from a mixture of components with unknown fractions.

For *N* events :math:`x_i` with multiplicities :math:`m_i` and fractions :math:`f_k \ge 0`,

.. math::

    \log L(f) = \sum_i m_i \Big[ \log \sum_k f_k \, p_k(x_i) - \log \sum_k f_k \Big],

where :math:`p_k` is the density of component *k*, folded through the instrument and normalised over the region of
interest. The last term vanishes for fractions that sum to one; with it the likelihood depends on ratios only, as the
simulation does.

A component that was folded with its true-energy axis has a density that follows a spectrum with parameters
(:mod:`pymc_gamma.model.spectral`); it stays normalised, so the amplitude of the spectrum cancels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pymc.distributions.distribution import Distribution, _support_point
from pymc.logprob.abstract import _logprob
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import disconnected_grad
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors, explicit_graph_inputs
from pytensor.tensor.random.op import RNGConsumerOp

from pymc_gamma.arguments import checked, integer, kind, text
from pymc_gamma.errors import ModelError
from pymc_gamma.keywords import check_keywords, keywords_of
from pymc_gamma.model.build import build_intensity, model_components
from pymc_gamma.model.component import Spectrum
from pymc_gamma.model.event_source import EventSource, ResponseSource, TabulatedSource
from pymc_gamma.model.fixed_number import FixedNumber
from pymc_gamma.model.intensity import Parameters
from pymc_gamma.model.live_table import LiveTable
from pymc_gamma.model.own_table import coords_of_last_dim, fraction_tensor, own_table
from pymc_gamma.model.protocol import MixtureResponse
from pymc_gamma.model.random import EventMixtureRV, representative_rows
from pymc_gamma.model.scanned_table import ScannedTable, has_nodes, scanned_table
from pymc_gamma.model.systematics.base import Systematic
from pymc_gamma.model.table import TableInputs
from pymc_gamma.tensors import descriptions_of, units_of, value_of

__all__ = ["EventMixture", "observe_events"]

_DIST_KEYWORDS = ("shape", "size", "rng", "return_next_rng")
"""What PyMC passes on to the random variable of any distribution."""
_OF_MODELS = ("observed", "dims", "log_likelihood", "multiplicity")
"""Keywords that need a model: what is observed, and the names of its axes."""

_EVENT_DIM, _RECO_DIM, _COMPONENT_DIM = "event", "reco", "component"
_LEAST = 1e-300
"""Fractions below are zero: their reciprocals are infinite."""


class EventMixture(Distribution):
    r"""Events from a mixture of components.

    Parameters
    ----------
    name : str
        Name of the variable.
    fraction : tensor_like, shape (..., K)
        Fractions of the components; leading axes are batch axes, each with its own events. Only ratios matter. Those of
        xarray or pandas are taken by the names of the components.
    response : MixtureResponse, optional
        Densities of the components and draws from them, usually from `fold`.
    spectra : mapping of str to callable, optional
        Spectrum of each component that was folded with ``free_spectrum``: a function from the true energy in TeV to a
        PyTensor vector in TeV-1 cm-2 s-1, such as `PowerLaw`. The fraction is that of the events, so the amplitude
        of a spectrum cancels; leave it at any number.
    systematics : sequence of Systematic, optional
        Uncertainties of the instrument, such as `EnergyScale`; each adds a variable to the model. Factors on all events
        of a component cancel, and are refused.
    shapes : mapping of str to GaussianShape, PointShape, DiskShape or ShellShape, optional
        Position and extension of each component that was folded with ``free_shape``, in deg in the frame of the region;
        numbers or variables, see `position`. Events are impossible where they leave the range around the shape that
        the component was folded with.
    scan : mapping of str to tensor_like, optional
        Value of each parameter of the components that were folded as `Scanned`, or of the nodes of ``log_likelihood``:
        a variable or number in the unit of the nodes, or a quantity. Components whose parameters have one name share
        its value. Events are impossible where it leaves the nodes. With `Marginalised` the likelihood is summed over
        the nodes.
    observed : Events, array of shape (N, len(response.reco)) or pymc.Data, optional
        Observed events. Arrays hold one event per row, in the columns ``response.reco``; one column more is the
        multiplicity, and six after it are the edges of cells (:mod:`pymc_gamma.events.rows`). For a batch of fractions
        a list with events for each; shorter ones are filled up with rows of multiplicity 0.
    n_events : int, optional
        Number of events to draw, when there are no observed ones.
    log_likelihood : array_like, DataArray, DataFrame or pymc.Data, shape (N, K), optional
        Instead of a response and observed events: your own log-likelihood of each event under each component, up to a
        constant per event. ``-inf`` is allowed. Labels of xarray and pandas are put into the order of the model's
        coordinates: those of the components, and of the events where the model has them too. A transposed table is
        known by its dims or labels. With parameters whose values ``scan`` gives, a DataArray has a dim for each, whose
        coordinate holds the nodes (with ``attrs["units"]``, if they have a unit); or pass a mapping from components to
        tables, a vector for those without parameters. Log-likelihoods are interpolated between the nodes, of one
        parameter or two for each component.
    multiplicity : array_like, shape (N,), optional
        Multiplicity of the rows of ``log_likelihood``.
    dims : tuple of str, optional
        Dims of the variable; ``("event", "reco")`` by default.
    **kwargs
        As for any PyMC distribution, for example ``initval``.

    Raises
    ------
    ModelError
        If fractions, labels or lists of events and components do not match, arguments contradict each other, or a table
        depends on parameters of the model; if a free component has no
        spectrum, a fixed one has, or a spectrum is negative or not finite at the initial point of the model.
    TypeError
        If a keyword is unknown; names the nearest known one.
    EventError
        If observed events are malformed, outside the region, or impossible under every component.

    Notes
    -----
    The number of events is fixed: it carries no information on the fractions. Events are impossible where a fraction
    is negative or all are zero (below 1e-300). Values are exact for any others;
    derivatives need a sum of fractions above 1e-150, whose square is a number, and are infinite where they exceed the
    largest floating-point number. The log-likelihood is
    available event by event (`pymc.compute_log_likelihood`); samplers run a fused form of its sum. Pictures of a model
    (`pymc.model_to_graphviz`) draw no events, unless other variables depend on them.

    Observed values that do not change (arrays, `Events`) are folded once, when the log-probability is built. For
    `pymc.Data` the table is kept with the graph and made anew when `pymc.set_data` brings other numbers.

    Examples
    --------
    Two components of a small region, simulated and fitted by the same model:

    >>> import astropy.units as u
    >>> import numpy as np
    >>> import pymc as pm
    >>> from astropy.coordinates import SkyCoord
    >>> import pymc_gamma as pmg
    >>> centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    >>> observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=5 * u.h)
    >>> roi = pmg.RegionOfInterest(center=centre, width=2 * u.deg, energy=(0.5, 50) * u.TeV)
    >>> response = pmg.fold([pmg.HGPSCatalog(), pmg.CosmicRayBackground()], observation, roi)
    >>> with pm.Model(coords=response.coords) as model:
    ...     fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
    ...     events = pmg.EventMixture("events", fraction, response=response, n_events=100)
    >>> observed = response.simulate({"hgps": 1, "ccr": 1}, 250, rng=1)
    >>> with pmg.observe_events(model, observed) as conditioned:
    ...     logp = conditioned.compile_logp()
    >>> bool(np.isfinite(logp(conditioned.initial_point())))
    True

    A table of log-likelihoods that was computed elsewhere:

    >>> log_likelihood = np.random.default_rng(1).normal(size=(50, 2))
    >>> with pm.Model(coords={"component": ["source", "background"]}) as model:
    ...     fraction = pm.Dirichlet("fraction", a=np.ones(2), dims="component")
    ...     events = pmg.EventMixture("events", fraction, log_likelihood=log_likelihood)
    >>> model.named_vars_to_dims["events"]
    ('event', 'component')
    """

    rv_type = EventMixtureRV

    def __new__(
        cls,
        name: str,
        fraction: Any,
        *,
        response: MixtureResponse | None = None,
        spectra: Mapping[str, Spectrum] | None = None,
        systematics: Sequence[Systematic] = (),
        shapes: Mapping[str, Any] | None = None,
        scan: Mapping[str, Any] | None = None,
        observed: Any = None,
        n_events: int | None = None,
        log_likelihood: Any = None,
        multiplicity: Any = None,
        dims: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Add the events to the model on the context stack."""
        check_keywords(cls.__name__, kwargs, (*keywords_of(cls.__new__, Distribution.__new__), "shape", "size"))
        model = pm.modelcontext(None)
        n_events = None if n_events is None else number_of_events(n_events, f"{name}: n_events")
        source: EventSource
        events = None
        parameters: Parameters | None
        if log_likelihood is not None:
            if systematics or any(one is not None for one in (response, spectra, shapes, observed, n_events)):
                raise ModelError(
                    f"{name}: log_likelihood replaces response, spectra, systematics, shapes, observed and n_events; "
                    "pass it alone."
                )
            if scan is not None or has_nodes(log_likelihood):
                source, fraction, observed, events, parameters = scanned_table(
                    name, model, fraction, log_likelihood, multiplicity, dims, scan
                )
            else:
                source, fraction, observed, events = own_table(
                    name, model, fraction, log_likelihood, multiplicity, dims
                )
                parameters = None
        else:
            if multiplicity is not None:
                raise ModelError(f"{name}: multiplicity goes with log_likelihood; observed events carry their own.")
            source, parameters = _response_source(name, response, spectra, systematics, shapes, scan, model)
            fraction = fraction_tensor(name, model, fraction, source.component_names)
            if observed is not None and n_events is not None:
                raise ModelError(f"{name}: pass either observed or n_events; observed events say how many they are.")
        _check_components(name, model, fraction, source)
        if isinstance(source, ResponseSource) and not isinstance(observed, Variable | None):
            observed = source.batch(observed, fraction.type.shape[:-1], name, fraction.name or "the fractions")

        if isinstance(source, FixedNumber | ScannedTable) and source.marginal is not None:
            if fraction.type.ndim > 1:
                raise ModelError(f"{name}: the fractions must be one vector where a parameter is Marginalised().")
            if observed is not None:
                value = observed if isinstance(observed, Variable) else pt.constant(observed)
                inputs = () if parameters is None else parameters.inputs
                own = source.mixture_log_densities(table_inputs(source, value, ()), _normalised(fraction), inputs)
                source.marginal.add_probabilities(name, own)

        extra = () if observed is None else source.layout(n_columns(observed)).extra
        if observed is None and n_events is None and dims is None and not {"shape", "size"} & kwargs.keys():
            raise ModelError(f"{name}: say how many events there are: pass observed=, n_events= or dims=.")
        if dims is None and fraction.type.ndim == 1 and not {"shape", "size"} & kwargs.keys():
            dims = default_dims(name, model, source, extra, observed, n_events, events)
        elif n_events is not None:
            kwargs["n_events"] = n_events
        source.units |= units_of(model.named_vars)
        source.descriptions |= descriptions_of(model.named_vars)
        return super().__new__(
            cls,
            name,
            fraction,
            parameters=parameters,
            source=source,
            extra=extra,
            observed=observed,
            dims=dims,
            **kwargs,
        )

    @classmethod
    def dist(
        cls,
        fraction: Any,
        *,
        response: MixtureResponse | None = None,
        spectra: Mapping[str, Spectrum] | None = None,
        systematics: Sequence[Systematic] = (),
        shapes: Mapping[str, Any] | None = None,
        scan: Mapping[str, Any] | None = None,
        n_events: int | None = None,
        parameters: Parameters | None = None,
        source: EventSource | None = None,
        extra: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> Any:
        """Events that belong to no model, for `pymc.draw` and as part of other expressions.

        Parameters
        ----------
        fraction : tensor_like, shape (..., K)
            Fractions of the components.
        response : MixtureResponse
            Densities of the components and draws from them.
        spectra : mapping of str to callable, optional
            Spectra of the components that were folded with ``free_spectrum``.
        systematics : sequence of Systematic, optional
            Uncertainties of the instrument, each with its ``value``: default priors are variables of a model.
        shapes : mapping of str to LiveShape, optional
            Positions and extensions of those that were folded with ``free_shape``.
        scan : mapping of str to tensor_like, optional
            Values of the parameters of those that were folded as `Scanned`.
        n_events : int
            Number of events for each vector of fractions.
        parameters : Parameters, optional
            Of a source: the values of spectra one after the other, and parameters of blocks.
        source : EventSource, optional
            Instead of the response and what goes with it, a source made from these.
        extra : tuple of str
            Columns of observed rows after those of the response.
        **kwargs
            ``shape`` or ``size`` instead of ``n_events``.

        Returns
        -------
        TensorVariable, shape (..., n_events, len(response.reco))
            The events.

        Raises
        ------
        TypeError
            If a keyword needs a model, or is unknown.
        ModelError
            As for the distribution itself.
        """
        name = f"{cls.__name__}.dist"
        check_dist_keywords(cls, kwargs, _OF_MODELS)
        if source is None:
            source, parameters = _response_source(name, response, spectra, systematics, shapes, scan, None)
            if n_events is None and not {"shape", "size"} & kwargs.keys():
                raise ModelError(f"{name}: say how many events there are: pass n_events=.")
        elif systematics or any(one is not None for one in (response, spectra, shapes, scan)):
            raise ModelError(f"{name}: source replaces response and what goes with it; pass it alone.")
        fraction = fraction_tensor(name, None, fraction, source.component_names)
        if fraction.type.ndim > 1:
            fraction = pt.expand_dims(fraction, -2)  # the axis of events, which share their fractions
        if n_events is not None:
            n_events = number_of_events(n_events, "n_events")
            kwargs["size"] = (*(fraction.shape[i] for i in range(fraction.type.ndim - 2)), n_events)
        inputs = [fraction] if parameters is None else [fraction, *parameters.inputs]
        return super().dist(inputs, source=source, extra=extra, **kwargs)

    @classmethod
    def rv_op(
        cls,
        fraction: Variable,
        *parameters: Variable,
        source: EventSource,
        extra: tuple[str, ...],
        size: Any = None,
        rng: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Random variable on a source."""
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        op = EventMixtureRV(source=source, extra=extra)
        return op(fraction, *parameters, size=size, rng=rng, return_next_rng=True)[1]


def check_dist_keywords(cls: type[Distribution], given: Mapping[str, Any], of_models: Sequence[str]) -> None:
    """Refuse keywords of ``dist`` that nobody will read, or that make sense in a model only.

    Raises
    ------
    TypeError
        If there is one; names it.
    """
    for keyword in given:
        if keyword in of_models:
            raise TypeError(
                f"{cls.__name__}.dist() takes no {keyword!r}: its events belong to no model, which {keyword!r} needs. "
                f'Use {cls.__name__}("name", ..., {keyword}=...) within a model.'
            )
    check_keywords(f"{cls.__name__}.dist", given, (*keywords_of(cls.dist), *_DIST_KEYWORDS))


@checked(model=kind("Model"), name=text)
def observe_events(model: pm.Model, events: Any, name: str | None = None) -> pm.Model:
    """Copy of a model in which events are observed; their number may differ from what was simulated.

    Parameters
    ----------
    model : pymc.Model
        A model with an `EventMixture` or `ExtendedEventMixture` made with a response.
    events : Events, array of shape (N, len(response.reco)) or list of such
        The observed events; a list with events for each vector of a batch of fractions.
    name : str, optional
        Which variable; needed if the model has several.

    Returns
    -------
    pymc.Model
        The same model, conditioned on the events.

    Raises
    ------
    ModelError
        If there is no such variable, or its kind does not fit the events.

    Examples
    --------
    >>> with observe_events(model, events):  # doctest: +SKIP
    ...     idata = pm.sample()
    """
    candidates = {rv.name: rv for rv in model.basic_RVs if rv.owner and isinstance(rv.owner.op, EventMixtureRV)}
    if name is None and len(candidates) == 1:
        name = next(iter(candidates))
    if name not in candidates:
        raise ModelError(
            f"name must be one of the EventMixture variables of the model, {list(candidates)}; got {name!r}."
        )
    op = candidates[name].owner.op
    if not isinstance(op.source, ResponseSource):
        raise ModelError(f"{name} was made from a log_likelihood table; make a new model for other events.")
    value = op.source.observed_value(events, candidates[name])
    extra = op.source.layout(value.shape[-1]).extra
    if len(extra) > len(op.extra):
        raise ModelError(
            f"{name} was made for {'events with multiplicities' if op.extra else 'single events'} and these "
            f"{'fill cells' if op.extra else 'have multiplicities'}; make a new model with "
            "EventMixture(..., observed=events)."
        )
    if extra != op.extra:
        completed = op.layout.completed(value.reshape(-1, value.shape[-1]))
        value = completed.reshape(*value.shape[:-1], -1)
    fixed = candidates[name].type.shape[-2]
    if fixed not in (None, value.shape[-2]):
        raise ModelError(
            f"{name} was made for {fixed} events, a number that its shape keeps, and these are {value.shape[-2]}; make "
            "a new model with EventMixture(..., observed=events), or give the variable dims= instead of a shape."
        )
    observed_model = pm.observe(model, {name: value})
    dims = observed_model.named_vars_to_dims.get(name)
    if dims:
        coords = observed_model.coords.get(dims[-2])
        length = value.shape[-2]
        observed_model.set_dim(dims[-2], length, coord_values=None if coords is None else np.arange(length))
    return observed_model


@_logprob.register(EventMixtureRV)
def _event_mixture_logp(
    op: EventMixtureRV,
    values: list[Variable],
    rng: Variable,
    size: Variable,
    fraction: Variable,
    *parameters: Variable,
    **kwargs: Any,
) -> Variable:
    (value,) = values
    if not fraction.type.broadcastable[-2]:
        raise NotImplementedError("all events of an EventMixture share their fractions; got fractions for each event")
    fraction = fraction[..., 0, :]
    coefficients = _normalised(fraction)
    batch_shape = value.type.shape[:-2]
    if None in batch_shape:
        raise NotImplementedError(f"batch axes of observed events must have known lengths, got {value.type}")
    logps = []
    for index in np.ndindex(batch_shape):
        own = tuple(0 if same else i for i, same in zip(index, coefficients.type.broadcastable[:-1], strict=True))
        inputs = table_inputs(op.source, value, index)
        logps.append(op.source.mixture_log_density(inputs, coefficients[own], parameters))
    if not batch_shape:
        return logps[0]
    return pt.stack(logps).reshape((*batch_shape, -1))


def _normalised(fraction: Variable) -> Variable:
    """Fractions over their sum; all zero, and the events impossible, where none is positive or one is negative."""

    def over_sum(x: Variable, *, constant: bool) -> Variable:
        total = x.sum(axis=-1, keepdims=True)
        safe = pt.switch(pt.eq(total, 0), 1.0, total)
        return x / (disconnected_grad(safe) if constant else safe)

    largest = fraction.max(axis=-1, keepdims=True)
    impossible = pt.any(fraction < 0, axis=-1, keepdims=True) | (largest < pt.constant(_LEAST, dtype="float64"))
    possible = pt.switch(impossible, 0.0, fraction)
    # only ratios count, so a first division may be by a constant: the square of a tiny sum in a gradient is zero
    return over_sum(over_sum(possible, constant=True), constant=False)


@_support_point.register(EventMixtureRV)
def _event_mixture_support_point(op: EventMixtureRV, rv: Variable, *inputs: Variable) -> Variable:
    return representative_rows(op, rv)


def table_inputs(source: EventSource, value: Variable, index: tuple[int, ...]) -> TableInputs:
    """Table inputs of the Ops: shared variables for data that stay, a runtime table for data that may change."""
    if isinstance(value, Constant):
        table = source.table(value.data[index])
        return TableInputs(table.inputs, table.added)
    return TableInputs.of(source.added_types(), LiveTable(source)(value[index], return_list=True))


def _response_source(
    name: str, response: Any, spectra: Any, systematics: Any, shapes: Any, scan: Any, model: pm.Model | None
) -> tuple[FixedNumber, Parameters]:
    """The intensity of the components of a response, and its parameters."""
    if response is None:
        raise ModelError(f"{name}: pass a response (from `fold`), or a log_likelihood table.")
    ResponseSource(response)  # a TypeError if it is none
    components = model_components(name, response, spectra, {}, systematics, shapes, scan, model)
    missing = [one.name for one in components if one.free and one.spectrum is None]
    if missing:
        example = ", ".join(f'"{component}": pmg.PowerLaw(index=index)' for component in missing)
        raise ModelError(
            f"{name}: the response leaves the spectrum of {missing} to the model; pass spectra={{{example}}}."
        )
    cancels = [one.name for one in components if one.norm is not None and not one.norm.type.ndim]
    if cancels:
        raise ModelError(
            f"{name}: a factor on all events of {cancels} cancels in an EventMixture, whose fractions say how many "
            "there are; leave that systematic out, give it a value for each observation, or use ExtendedEventMixture."
        )
    return build_intensity(name, FixedNumber, components, model, needs_norms=False)


def number_of_events(value: Any, what: str) -> int:
    """A number of events that a user gave; a ModelError if there is none."""
    number = integer(value, what, low=None)
    if number < 1:
        raise ModelError(f"{what} must be at least 1, got {number}.")
    return number


def n_columns(observed: NDArray[np.float64] | Variable) -> int:
    """Number of columns of observed events."""
    if isinstance(observed, SharedVariable):
        return int(observed.get_value(borrow=True).shape[-1])
    if not isinstance(observed, Variable):
        return int(observed.shape[-1])
    columns = observed.type.shape[-1]
    if columns is None:
        raise ModelError(f"the number of columns of the observed events must be known, got {observed.type}.")
    return int(columns)


def _check_components(name: str, model: pm.Model, fraction: Variable, source: EventSource) -> None:
    """Raise a ModelError unless the fractions are those of the components, in their order."""
    if fraction.type.ndim == 0:
        raise ModelError(f"{name}: fractions must be a vector with one entry for each of {source.component_names}.")
    label = fraction.name or "the fractions"
    given = coords_of_last_dim(model, fraction)
    if given is not None and given != source.component_names:
        missing = [c for c in source.component_names if c not in given]
        extra = [c for c in given if c not in source.component_names]
        what = f"missing {missing}, unknown {extra}" if missing or extra else "they differ in order"
        raise ModelError(
            f"{name}: the components of {label!r}, {given}, are not those of the response, "
            f"{source.component_names}: {what}."
        )
    length = fraction.type.shape[-1]
    if length is not None and length != source.n_components:
        raise ModelError(
            f"{name}: {label!r} has {length} entries, but the response has {source.n_components} components, "
            f"{source.component_names}."
        )
    is_random = any(one.owner is not None and isinstance(one.owner.op, RNGConsumerOp) for one in ancestors([fraction]))
    if not is_random and all(isinstance(variable, Constant) for variable in explicit_graph_inputs([fraction])):
        try:
            source.check_parameters(value_of(fraction))
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None


def default_dims(
    name: str,
    model: pm.Model,
    source: EventSource,
    extra: tuple[str, ...],
    observed: Any,
    n_events: int | None,
    events: tuple[Any, ...] | None = None,
) -> tuple[str, ...] | None:
    """Dims of the variable, added to the model: events with labels if given, and what is known of each."""
    if isinstance(observed, Variable):
        own = model.named_vars_to_dims.get(observed.name or "")
        if own is not None:
            return tuple(own)
        length = observed.shape[0] if observed.type.shape[0] is None else observed.type.shape[0]
    else:
        length = n_events if observed is None else len(observed)
    if length is None:
        return None
    known = model.coords.get(_EVENT_DIM)
    if events is not None and known is not None and tuple(known) == events:
        event_dim = _EVENT_DIM
    else:
        event_dim = _EVENT_DIM if _EVENT_DIM not in model.coords else f"{name}_{_EVENT_DIM}"
        model.add_coord(event_dim, events, length=length)
    columns = (*source.columns, *extra)
    plain = _COMPONENT_DIM if isinstance(source, TabulatedSource) else _RECO_DIM
    for dim in (plain, f"{name}_{plain}"):
        known = model.coords.get(dim)
        if known is None or tuple(str(v) for v in known) == columns:
            if known is None:
                model.add_coord(dim, columns)
            return (event_dim, dim)
    raise ModelError(f"{name}: the coordinates {plain!r} and '{name}_{plain}' of the model are not {columns}.")
