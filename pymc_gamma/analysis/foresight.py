"""What can be said of a model before anything is folded: its variables, values to simulate with, where priors reach."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pymc_gamma.analysis.document import Place, Problem, raise_problems, told_path
from pymc_gamma.analysis.faults import at
from pymc_gamma.analysis.modelling import Built, Modelling, settable

__all__ = ["Foreseen", "foresee", "notes"]

N_DRAWS = 1000
"""Of the priors."""
MOST_NAMED = 8


@dataclass(frozen=True, eq=False)
class Foreseen:
    """Variables of a model.

    Parameters
    ----------
    built : Built
        A model of them, without events.
    conditions : list of tuple
        What they must fulfil for events to be possible: the place in the file, a tensor, and what to tell if not.
    """

    built: Built
    conditions: list[tuple[Place, Any, str]]


def foresee(modelling: Modelling) -> Foreseen:
    """The variables of a model, and what they must fulfil; nothing is folded.

    Raises
    ------
    AnalysisFileError
        If something cannot be made; says which line asks for it.
    """
    import pymc as pm

    from pymc_gamma.response.folds import labels_of

    config, document, observing = modelling.config, modelling.document, modelling.observing
    names, labels = [one.name for one in modelling.sky], labels_of(observing.observations)
    around, energy = modelling.around(), np.array([observing.roi.energy_min, observing.roi.energy_max])
    units: dict[str, str] = {}
    conditions: list[tuple[Place, Any, str]] = []
    with at(document, ()), pm.Model(coords={"component": names, "observation": list(labels)}, model=None) as model:
        if modelling.translation is not None:
            with at(document, ("models",)):
                modelling.translation.variables()
            units = {name: str(one.unit) for one, name in modelling.translation.names.items()}
        if not modelling.is_poisson:
            modelling.fractions(names)
        for k, one in enumerate(config.components):
            place = ("components", k)
            with at(document, place):
                spectrum, parameters = one.spectrum(around), one.shape_parameters(around)
                conditions += [(place, *condition) for condition in one.conditions(around, spectrum, parameters)]
                one.scan(around)
                if modelling.is_poisson:
                    one.factor(around)
        for k, systematic in enumerate(config.systematics):
            with at(document, ("systematics", k)):
                systematic.build(around.scope).tensor(labels, energy)
    return Foreseen(Built(model, units={**units, **around.scope.units}), conditions)


def notes(modelling: Modelling) -> Iterator[str]:
    """What is no fault of an analysis file, and may still not be meant: a sentence each, with file and line.

    Raises
    ------
    AnalysisFileError
        If a value to simulate with is one of no variable, or does not fit it.
    """
    foreseen, document = foresee(modelling), modelling.document
    simulate = modelling.config.simulate
    if simulate is not None:
        known = modelling.true_values(foreseen.built)
        drawn = [name for name in settable(foreseen.built.model) if not _is_given(name, foreseen.built.model, known)]
        if drawn:
            more = f" and {len(drawn) - MOST_NAMED} more" if len(drawn) > MOST_NAMED else ""
            yield (
                f"{document.where(('simulate',))}: simulate.values says nothing of {', '.join(drawn[:MOST_NAMED])}"
                f"{more}: events are simulated with values drawn from their priors"
            )
        wrong = [(place, told) for place, share, told in _impossible(foreseen, known) if share == 1]
        raise_problems(document, [Problem(place, f"impossible with simulate.values: {told}") for place, told in wrong])
    for place, share, told in _impossible(foreseen, {}):
        yield (
            f"{document.where(place)}: {told_path(place)}: events are impossible in {100 * share:.2g} % of the draws "
            f"of its priors: {told}"
        )


def _is_given(name: str, model: Any, known: dict[str, Any]) -> bool:
    """Whether a variable has a value, or follows from those that have one."""
    from pytensor.graph.traversal import ancestors

    if name in known or model[name] in model.deterministics:
        return True  # what is not given of what it follows from is told of
    below = [model[one] for one in known if model[one] in model.deterministics]
    return model[name] in set(ancestors(below))


def _impossible(foreseen: Foreseen, known: dict[str, Any]) -> Iterator[tuple[Place, float, str]]:
    """Conditions that priors do not always fulfil where some variables are known, with the share of their draws."""
    import pymc as pm
    import pytensor.tensor as pt
    from pytensor.graph.replace import graph_replace

    if not foreseen.conditions:
        return
    every = pt.stack([pt.as_tensor_variable(one).astype("bool") for _, one, _ in foreseen.conditions])
    model = foreseen.built.model
    values = {model[name]: pt.as_tensor_variable(one).astype(model[name].dtype) for name, one in known.items()}
    every = graph_replace(every, values, strict=False)
    drawn = np.asarray(pm.draw(every, draws=N_DRAWS, random_seed=1, mode="FAST_COMPILE"))
    for (place, _, told), share in zip(foreseen.conditions, 1 - drawn.mean(axis=0), strict=True):
        if share > 0:
            yield place, float(share), told.partition(";")[0]
