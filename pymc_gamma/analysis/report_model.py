"""Sections of a report about the model: its components and its variables."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pymc_gamma.analysis.report_input import LeftOut, ReportInput
from pymc_gamma.analysis.report_page import Column, Html, embedded, joined, paragraph, table

if TYPE_CHECKING:
    import pymc as pm

    from pymc_gamma.folding.component import CompiledComponent
    from pymc_gamma.response import Response

__all__ = ["components", "variables"]

_SHOWN = 40
_MOST_DRAWN = 40
"""Variables that a picture can show."""
_ENTRIES = 6
_IRFS = {"aeff": "effective area", "edisp": "energy dispersion", "psf": "PSF", "bkg": "background rate"}
_KINDS = {
    "free": "parameter",
    "observed": "observed",
    "deterministic": "computed",
    "data": "data",
    "potential": "potential",
}


def components(subject: ReportInput) -> Html:
    """What shines, and what the instrument adds."""
    response = subject.folded
    counts = response.acceptance.values
    rows = [
        (
            one.name,
            "residual background" if one.name in response.instrumental else "sky",
            ", ".join(text for irf, text in _IRFS.items() if irf in one.irfs),
            _left_to_the_model(response, one),
            f"{count:.5g}",
        )
        for one, count in zip(response.components, counts, strict=True)
    ]
    columns = (
        Column("Component"), Column("Kind"), Column("Instrument response it passes"), Column("Left to the model"),
        Column("Expected events", True),
    )  # fmt: skip
    return joined(
        table("Components", columns, rows, shown=_SHOWN),
        paragraph(
            "Expected events are those of the fluxes that the components were folded with, in the domain of the "
            "analysis and in all observations. Where their data come from is told under “What to cite”."
        ),
    )


def _left_to_the_model(response: "Response", one: "CompiledComponent") -> str:
    free = ["its share or norm"]
    free += ["spectrum"] if one.name in response.free_spectrum else []
    free += ["position and extension"] if one.name in response.free_shape else []
    free += list(response.scans[one.name].grid) if one.name in response.scans else []
    return ", ".join(free)


def variables(subject: ReportInput) -> Html:
    """Variables of the model, with their priors, and a picture of what depends on what."""
    model = subject.model
    if model is None:
        raise LeftOut(subject.advice.model)
    from pymc.model_graph import ModelGraph

    from pymc_gamma.plotting.draw_model import Node, draw_model

    kinds = _kinds(model)
    parents = ModelGraph(model).make_compute_graph()
    repr_of = {name: _prior(model[name]) for name in kinds}
    rows = [
        (
            name,
            _KINDS[kind],
            repr_of[name],
            ", ".join(map(str, model.named_vars_to_dims.get(name, ()))),
            _unit(subject, name),
        )
        for name, kind in kinds.items()
    ]
    columns = (Column("Variable"), Column("Kind"), Column("Distribution"), Column("Dims"), Column("Unit"))
    listing = table("Variables", columns, rows, shown=_SHOWN)
    if len(kinds) > _MOST_DRAWN:
        return joined(paragraph(f"The model has {len(kinds)} variables, too many for a picture of it."), listing)
    nodes = {
        name: Node(kind, f"{name}\n{_told(kind, repr_of[name])}", sorted(parents.get(name, set()) & kinds.keys()))
        for name, kind in kinds.items()
    }
    links = "; ".join(f"{name} depends on {', '.join(node.parents)}" for name, node in nodes.items() if node.parents)
    told = f"Model graph: parameters are round and white, observed variables grey, computed ones dashed. {links}."
    return joined(embedded(draw_model(nodes), told), listing)


def _told(kind: str, distribution: str) -> str:
    """What a picture says below the name of a variable: the name of its distribution, or what it is."""
    return distribution.split("(")[0] if kind in ("free", "observed") else _KINDS[kind]


def _kinds(model: "pm.Model") -> dict[str, str]:
    groups = {
        "data": model.data_vars,
        "free": model.free_RVs,
        "deterministic": model.deterministics,
        "observed": model.observed_RVs,
        "potential": model.potentials,
    }
    return {str(one.name): kind for kind, group in groups.items() for one in group}


def _unit(subject: ReportInput, name: str) -> str:
    held = subject.group("posterior")
    return "" if held is None or name not in held else str(held[name].attrs.get("units", ""))


def _prior(variable: Any) -> str:
    """How a variable is distributed or computed, with the numbers of its parameters."""
    from pytensor.graph.basic import Constant

    try:
        told = variable.str_repr()
    except Exception:  # of a distribution of the user
        return "not known"
    told = re.split(r" [~=] ", told, maxsplit=1)[-1].strip()
    told = re.sub(r"^(?:Deterministic|Potential)\((.*)\)$", r"\1", told)
    owner = variable.owner
    if owner is None or not hasattr(owner.op, "dist_params"):
        return str(told)
    constants = [one.data for one in owner.op.dist_params(owner) if isinstance(one, Constant) and one.data.size > 1]
    if told.count("<constant>") != len(constants):
        return str(told)
    for values in constants:
        told = told.replace("<constant>", _numbers(values), 1)
    return str(told)


def _numbers(values: np.ndarray) -> str:
    """A vector of numbers, shortened."""
    flat = np.ravel(values)
    if len(flat) > _ENTRIES and np.all(flat == flat[0]):
        return f"{flat[0]:.4g} × {len(flat)}"
    told = ", ".join(f"{one:.4g}" for one in flat[:_ENTRIES])
    return f"[{told}, … {len(flat)} numbers]" if len(flat) > _ENTRIES else f"[{told}]"
