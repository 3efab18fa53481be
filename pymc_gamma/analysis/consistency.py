"""Whether the sections of an analysis file go together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pymc_gamma.analysis.document import Problem, nearest
from pymc_gamma.analysis.parameters import Named, parameters_in
from pymc_gamma.analysis.pictures import picture_named

if TYPE_CHECKING:
    from pymc_gamma.analysis.schema import AnalysisConfig

__all__ = ["contradictions"]


def _of_tables(config: "AnalysisConfig") -> Iterator[Problem]:
    """What does not go with tables of log-likelihoods."""
    for k, one in enumerate(config.components):
        if not one.is_table:
            yield Problem(("components", k), "is folded, and others are tables; all must be tables, or none")
    for key in ("observations", "pointings", "datasets", "models", "systematics", "simulate"):
        if getattr(config, key):
            yield Problem((key,), "does not go with tables, in which all that is there already")
    if config.mixture.likelihood != "mixture":
        yield Problem(("mixture", "likelihood"), "tables hold no expected counts: choose mixture")
    if "pictures" in config.results.model_fields_set:
        for k, name in enumerate(config.results.pictures):
            if picture_named(name).needs_events:
                yield Problem(("results", "pictures", k), f"{name!r} shows events, and tables have none")


def _names(config: "AnalysisConfig") -> Iterator[Problem]:
    """Names of priors that there are not, and priors that nothing names."""
    used = set()
    parts: list[tuple[tuple[str | int, ...], Any]] = [
        *((("components", k), one) for k, one in enumerate(config.components)),
        (("dark_matter",), config.dark_matter),
        *((("systematics", k), one) for k, one in enumerate(config.systematics)),
        *((("priors", name), one) for name, one in config.priors.items()),
    ]
    for place, part in parts:
        own = getattr(part, "scan_names", ())
        implied = [one for one in own if one not in getattr(part, "values", {})]
        named = [one.name for one in parameters_in(part) if isinstance(one, Named)]
        for name in dict.fromkeys([*(one for one in named if one not in own), *implied]):
            used.add(name)
            if name not in config.priors:
                known = nearest(name, list(config.priors)) if config.priors else "there are none"
                yield Problem(place, f"there is no prior {name!r} under `priors`; {known}")
    if not config.of_tables:  # the names of their parameters are in files
        for name in config.priors:
            if name not in used:
                yield Problem(("priors", name), "is used nowhere: name it where it is meant, or leave it out")


def contradictions(config: "AnalysisConfig") -> Iterator[Problem]:
    """What is wrong with sections together."""
    yield from _names(config)
    names = [one.name for one in config.components]
    for k, name in enumerate(names):
        if names.index(name) != k:
            yield Problem(("components", k, "name"), f"a component {name!r} is there already; give each its own name")
    if not names and not config.models:
        yield Problem((), "there is nothing to be seen: give components or models")
    ids = [one.id for one in config.pointings]
    for k, one in enumerate(ids):
        if one is not None and ids.index(one) != k:
            yield Problem(("pointings", k, "id"), f"a pointing {one!r} is there already; give each its own id")
    if any(one.is_table for one in config.components):
        yield from _of_tables(config)
        return
    if config.datasets is None:
        yield Problem(("datasets",), "is missing")
    runs = config.observations is not None and config.observations.datastore is not None
    events = config.observations is not None and config.observations.events is not None
    if runs and config.pointings:
        yield Problem(("pointings",), "observations.datastore has the pointings of its runs; leave one of both out")
    if not runs and not config.pointings:
        yield Problem((), "there are no observations: give observations.datastore, or pointings")
    if runs and events:
        yield Problem(("observations", "events"), "goes with pointings; a data store has its own events")
    if config.simulate is None and not runs and not events:
        yield Problem((), "there are no events: add the section simulate, or observations.events")
    if config.simulate is not None and events:
        yield Problem(("simulate",), "observations.events are there to be read; leave one of both out")
    poisson = config.mixture.likelihood == "poisson"
    if config.simulate is not None and not poisson and config.simulate.n_events is None:
        yield Problem(("simulate",), "a mixture has a fixed number of events: give n_events")
    if config.simulate is not None and poisson and config.simulate.n_events is not None:
        yield Problem(("simulate", "n_events"), "a Poisson process has as many events as its fluxes make; leave it out")
    if poisson:
        for key in ("tree", "concentrations"):
            if getattr(config.mixture, key):
                yield Problem(("mixture", key), "belongs to the likelihood mixture; a Poisson process has norms")
    else:
        for key in ("expected_counts", "integrated_flux"):
            if getattr(config.results, key):
                yield Problem(("results", key), "needs mixture.likelihood: poisson")
