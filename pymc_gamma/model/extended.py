r"""`ExtendedEventMixture`: events of a Poisson process with physical fluxes; their number is random and informative.

For events :math:`x_i` with multiplicities :math:`m_i` and the expected counts density :math:`\lambda(x)` of all
components,

.. math::

    \log L = \sum_i m_i \log \lambda(x_i) - \Lambda, \qquad
    \lambda(x_i) = \sum_j D_{ij}\, v_j, \qquad \Lambda = \int \lambda(x)\,\mathrm{d}x = \sum_j c_j\, v_j ,

up to a constant (Cash 1979, ApJ 228, 939; Barlow 1990, NIM A 297, 496). The coefficients :math:`v_j` are norms of
components of fixed shape and spectra of the others (:mod:`pymc_gamma.model.intensity`), times the systematics of
the instrument (:mod:`pymc_gamma.model.systematics`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.distribution import Distribution, _support_point
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Variable

from pymc_gamma.errors import ModelError
from pymc_gamma.keywords import check_keywords, keywords_of
from pymc_gamma.model.build import build_intensity, model_components
from pymc_gamma.model.component import Spectrum
from pymc_gamma.model.event_mixture import (
    check_dist_keywords,
    default_dims,
    n_columns,
    number_of_events,
    table_inputs,
)
from pymc_gamma.model.intensity import Parameters
from pymc_gamma.model.poisson import PoissonSource, add_integrated_flux, checked_norms, one_list
from pymc_gamma.model.protocol import PoissonResponse
from pymc_gamma.model.random import EventMixtureRV, representative_rows
from pymc_gamma.model.spectral import value_at_start
from pymc_gamma.model.systematics import Systematic
from pymc_gamma.tensors import described, descriptions_of, units_of, with_unit

__all__ = ["ExtendedEventMixture"]

_OF_MODELS = ("observed", "dims", "expected_counts", "fractions", "integrated_flux")
"""Keywords that name variables of a model, or need one."""


class ExtendedEventMixtureRV(EventMixtureRV):
    """``(rng, size, norms, ...) -> event rows``, with NaN in rows that hold no event."""

    name = "ExtendedEventMixture"
    _print_name = ("ExtendedEventMixture", "\\operatorname{ExtendedEventMixture}")


class ExtendedEventMixture(Distribution):
    r"""Events of a Poisson process: components with physical fluxes, and a random number of events.

    Parameters
    ----------
    name : str
        Name of the variable.
    response : PoissonResponse
        Densities and expected counts of the components, and draws from them; from `fold`.
    spectra : mapping of str to callable, optional
        Spectra of components that were folded with ``free_spectrum``: functions from the true energy in TeV to a
        PyTensor vector in TeV-1 cm-2 s-1, such as `PowerLaw`. The residual background has a factor on its rate
        instead, a function of the reconstructed energy such as `PowerLawNorm`, and may have one row for each
        observation. A free component that is not named keeps the spectrum it was folded with.
    norms : mapping of str to tensor_like, or tensor_like of shape (K,), optional
        Factors on the fluxes of components, fixed or free, by name or all in order (or by the labels of a vector of
        xarray or pandas); 1 by default.
    systematics : sequence of Systematic, optional
        Uncertainties of the instrument, such as `EnergyScale`; each adds a variable to the model. A subclass acts like
        its base.
    shapes : mapping of str to GaussianShape, PointShape, DiskShape or ShellShape, optional
        Position and extension of each component that was folded with ``free_shape``, in deg in the frame of the region;
        numbers or variables, see `position`. Events are impossible where they leave the range around the shape that
        the component was folded with.
    scan : mapping of str to tensor_like, optional
        Value of each parameter of the components that were folded as `Scanned`: a variable or number in the unit of the
        nodes, or a quantity. Components whose parameters have one name share its value. Events are impossible where it
        leaves the nodes. With `Marginalised` the likelihood is summed over the nodes.
    observed : Events, array of shape (N, len(response.reco)) or pymc.Data, optional
        Observed events. An array may have one column more, of multiplicities, and six after it, of edges of cells.
        `pymc.Data` has no rows to spare for predictive draws of more events than observed: use `observe_events` for
        these.
    max_events : int, optional
        Number of rows of the variable. A draw has a random number of events, and NaN in the rows after them; one with
        more events is an error. By default enough for ten standard deviations around the number of observed events, or
        twice as many as expected at the initial point of the model.
    expected_counts : bool
        Whether to add the expected counts of each component, ``"<name>_expected_counts"``, as a deterministic.
    fractions : bool
        Whether to add the share of each component in all expected counts, ``"<name>_fractions"``, as a deterministic.
    integrated_flux : Quantity of two energies, optional
        Add the flux of each sky component between them, ``"<name>_flux"`` in cm-2 s-1, as a deterministic.
    dims : tuple of str, optional
        Dims of the variable; ``("event", "reco")`` by default.
    **kwargs
        As for any PyMC distribution.

    Raises
    ------
    ModelError
        If names do not match the components, a spectrum or norm is negative or not finite at the initial point of the
        model, or a systematic needs a component of free spectrum, has no effect, or is there twice.
    TypeError
        If a keyword is unknown; names the nearest known one.
    EventError
        If observed events are malformed, outside the region, or impossible under every component.

    Notes
    -----
    Rows are exchangeable. Pointwise log-likelihoods (`pymc.compute_log_likelihood`) share the expected number of events
    equally among all rows, those without event too, so that their sum is the log-likelihood. For LOO keep the rows that
    hold events, ``log_likelihood.isel(event=slice(0, n))``; it then compares how well models predict one event among
    others, not how many there are.

    `Events.from_predictive` takes the events of a draw out of the padding; :func:`pymc_gamma.predictive_counts` bins
    all draws.

    Examples
    --------
    A source of free spectrum on the residual background of 5 h:

    >>> import astropy.units as u
    >>> import numpy as np
    >>> import pymc as pm
    >>> from astropy.coordinates import SkyCoord
    >>> from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel
    >>> import pymc_gamma as pmg
    >>> place = SkyCoord(184.56 * u.deg, -5.78 * u.deg, frame="galactic")
    >>> source = pmg.SkySource(
    ...     "crab", PointSpatialModel(lon_0=place.l, lat_0=place.b, frame="galactic"), PowerLawSpectralModel(index=2.4)
    ... )
    >>> observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=place, livetime=5 * u.h)
    >>> roi = pmg.RegionOfInterest(center=place, radius=0.5 * u.deg, energy=(1, 50) * u.TeV)
    >>> response = pmg.fold([source, pmg.CosmicRayBackground()], observation, roi, free_spectrum=["crab"])
    >>> with pm.Model(coords=response.coords) as model:
    ...     index = pm.Normal("index", 2.5, 0.5)
    ...     amplitude = pm.LogNormal("amplitude", np.log(1e-11), 1.0)
    ...     norm = pm.LogNormal("norm", 0.0, 0.1)
    ...     events = pmg.ExtendedEventMixture(
    ...         "events",
    ...         response=response,
    ...         spectra={"crab": pmg.PowerLaw(index=index, amplitude=amplitude)},
    ...         norms={"ccr": norm},
    ...         observed=response.simulate(rng=1),
    ...     )
    >>> bool(np.isfinite(model.compile_logp()(model.initial_point())))
    True
    """

    rv_type = ExtendedEventMixtureRV

    def __new__(
        cls,
        name: str,
        *,
        response: PoissonResponse,
        spectra: Mapping[str, Spectrum] | None = None,
        norms: Any = None,
        systematics: Sequence[Systematic] = (),
        shapes: Mapping[str, Any] | None = None,
        scan: Mapping[str, Any] | None = None,
        observed: Any = None,
        max_events: int | None = None,
        expected_counts: bool = False,
        fractions: bool = False,
        integrated_flux: Any = None,
        dims: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Add the events to the model on the context stack."""
        for keyword in ("shape", "size"):
            if keyword in kwargs:
                raise TypeError(
                    f"{cls.__name__}() got an unexpected keyword argument {keyword!r}. It has as many rows as "
                    "max_events= says; shapes= are positions and extensions of sources."
                )
        check_keywords(cls.__name__, kwargs, keywords_of(cls.__new__, Distribution.__new__))
        model = pm.modelcontext(None)
        max_events = None if max_events is None else number_of_events(max_events, f"{name}: max_events")
        observed = one_list(name, observed)
        response = _checked_response(name, response)
        factors = checked_norms(name, response, norms, model)
        components = model_components(name, response, spectra, factors, systematics, shapes, scan, model)
        source, parameters = build_intensity(name, PoissonSource, components, model, needs_norms=True)
        emitted = model_components(name, response, spectra, factors, (), shapes, scan)
        source.components, source.emitted = tuple(components), tuple(emitted)
        every = [source.weighted(own).known_counts for own in source.each_node(parameters)]
        counts, *others = every
        expected = max(_checked_expectation(name, source, one, model) for one in every)
        if others and (expected_counts or fractions):
            which = "expected_counts" if expected_counts else "fractions"
            raise ModelError(f"{name}: {which} differ from node to node of what is Marginalised(); leave them out.")
        if isinstance(observed, Variable):
            n_rows = observed.type.shape[-2] if max_events is None else max_events
        elif observed is not None:
            observed = pt.constant(source.padded(observed, max_events))  # a Variable: PyMC imputes NaN of arrays
            n_rows = observed.type.shape[0]
        else:
            n_rows = int(2 * expected + 10 * np.sqrt(expected) + 100) if max_events is None else max_events
        extra = () if observed is None else source.layout(n_columns(observed)).extra
        if expected_counts:
            every_count = pm.Deterministic(f"{name}_expected_counts", counts, dims=_component_dims(name, model, source))
            with_unit(described(every_count, "expected number of events of each component"), "counts")
        if fractions:
            share = counts / pt.sum(counts)
            share = pm.Deterministic(f"{name}_fractions", share, dims=_component_dims(name, model, source))
            with_unit(described(share, "share of each component in the expected events"), "")
        if integrated_flux is not None:
            add_integrated_flux(name, source, emitted, factors, integrated_flux)
        if source.marginal is not None and observed is not None:
            own = source.log_densities(table_inputs(source, observed, ()), parameters, observed.shape[0])
            source.marginal.add_probabilities(name, own)
        if dims is None:
            dims = default_dims(name, model, source, extra, observed, n_rows)
        source.units |= units_of(model.named_vars)
        source.descriptions |= descriptions_of(model.named_vars)
        return super().__new__(
            cls,
            name,
            parameters,
            source=source,
            extra=extra,
            max_events=n_rows,
            observed=observed,
            dims=dims,
            **kwargs,
        )

    @classmethod
    def dist(
        cls,
        parameters: Parameters | None = None,
        *,
        response: PoissonResponse | None = None,
        spectra: Mapping[str, Spectrum] | None = None,
        norms: Any = None,
        systematics: Sequence[Systematic] = (),
        shapes: Mapping[str, Any] | None = None,
        scan: Mapping[str, Any] | None = None,
        max_events: int | None = None,
        source: PoissonSource | None = None,
        extra: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> Any:
        """Events that belong to no model, for `pymc.draw` and as part of other expressions.

        Parameters
        ----------
        parameters : Parameters, optional
            Of a source: norms, spectra, and parameters of blocks.
        response : PoissonResponse
            Densities and expected counts of the components, and draws from them.
        spectra : mapping of str to callable, optional
            Spectra of components that were folded with ``free_spectrum``.
        norms : mapping of str to tensor_like, or tensor_like of shape (K,), optional
            Factors on the fluxes of components.
        systematics : sequence of Systematic, optional
            Uncertainties of the instrument, each with its ``value``: default priors are variables of a model.
        shapes : mapping of str to LiveShape, optional
            Positions and extensions of those that were folded with ``free_shape``.
        scan : mapping of str to tensor_like, optional
            Values of the parameters of those that were folded as `Scanned`.
        max_events : int
            Number of rows.
        source : PoissonSource, optional
            Instead of the response and what goes with it, a source made from these, with its ``parameters``.
        extra : tuple of str
            Columns of observed rows after those of the response.
        **kwargs
            ``shape`` or ``size`` instead of ``max_events``.

        Returns
        -------
        TensorVariable, shape (max_events, len(response.reco))
            The events, and rows of NaN.

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
            folded = _checked_response(name, response)
            factors = checked_norms(name, folded, norms, None)
            components = model_components(name, response, spectra, factors, systematics, shapes, scan, None)
            source, parameters = build_intensity(name, PoissonSource, components, None, needs_norms=True)
            if max_events is None and not {"shape", "size"} & kwargs.keys():
                raise ModelError(f"{name}: say how many rows there are: pass max_events=.")
            max_events = None if max_events is None else number_of_events(max_events, f"{name}: max_events")
        elif any(one is not None for one in (response, spectra, norms, shapes, scan)) or systematics or not parameters:
            raise ModelError(f"{name}: source replaces response and what goes with it; pass it with its parameters.")
        assert parameters is not None
        if max_events is not None:
            for sizes in ("shape", "size"):
                kwargs.pop(sizes, None)
            kwargs["size"] = (max_events,)
        return super().dist(list(parameters.inputs), source=source, extra=extra, **kwargs)

    @classmethod
    def rv_op(
        cls,
        *parameters: Variable,
        source: PoissonSource,
        extra: tuple[str, ...],
        size: Any = None,
        rng: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Random variable on a source."""
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        op = ExtendedEventMixtureRV(source=source, extra=extra)
        return op(*parameters, size=size, rng=rng, return_next_rng=True)[1]


def _checked_response(name: str, response: Any) -> PoissonResponse:
    if not isinstance(response, PoissonResponse):
        raise TypeError(
            f"{name}: response must come from `fold`: a Poisson process needs expected counts, got "
            f"{type(response).__name__}."
        )
    return response


def _checked_expectation(name: str, source: PoissonSource, expected: Variable, model: pm.Model) -> float:
    """Expected number of events at the initial point; a ModelError where it makes no sense."""
    counts = value_at_start(expected, model)
    bad = ~(np.isfinite(counts) & (counts >= 0))
    if bad.any():
        first = int(bad.argmax())
        raise ModelError(
            f"{name}: {counts[first]:g} events are expected of {source.component_names[first]!r} for the "
            "initial "
            "values of the parameters; norms must be finite and not negative. Check them and their priors."
        )
    if not counts.sum() > 0:
        raise ModelError(f"{name}: no event is expected for the initial values of the parameters.")
    return float(counts.sum())


def _component_dims(name: str, model: pm.Model, source: PoissonSource) -> str:
    for dim in ("component", f"{name}_component"):
        known = model.coords.get(dim)
        if known is None:
            model.add_coord(dim, source.component_names)
            return dim
        if tuple(str(one) for one in known) == source.component_names:
            return dim
    raise ModelError(
        f"the coordinates 'component' and '{name}_component' of the model are not {source.component_names}."
    )


@_logprob.register(ExtendedEventMixtureRV)
def _extended_event_mixture_logp(
    op: ExtendedEventMixtureRV,
    values: list[Variable],
    rng: Variable,
    size: Variable,
    *parameters: Variable,
    **kwargs: Any,
) -> Variable:
    (value,) = values
    if value.type.ndim != 2:
        raise NotImplementedError(f"an ExtendedEventMixture has no batch axes; got events of type {value.type}.")
    assert isinstance(op.source, PoissonSource)
    given = op.source.parameters([one.reshape((one.shape[-1],)) for one in parameters])
    every = op.source.log_densities(table_inputs(op.source, value, ()), given, value.shape[0])
    return every if op.source.marginal is None else op.source.marginal.shared_out(every)


@_support_point.register(ExtendedEventMixtureRV)
def _extended_event_mixture_support_point(op: ExtendedEventMixtureRV, rv: Variable, *inputs: Variable) -> Variable:
    return representative_rows(op, rv)
