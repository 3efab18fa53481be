"""Systematics in analysis files: a class of systematics of this package by its name, and its keywords by theirs.

::

    systematics:
      - {type: EffectiveAreaNorm, sigma: 0.15}
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from pymc_gamma.analysis.document import Problem, nearest
from pymc_gamma.analysis.parameters import Scope, read_parameter
from pymc_gamma.analysis.section import VALUE_ERRORS, Told, checked_by, problems_of, quantity_in, refuse, refuse_all

__all__ = ["SystematicChoice", "SystematicField", "systematic_classes"]


@dataclass(frozen=True)
class SystematicChoice:
    """A systematic.

    Parameters
    ----------
    kind : str
        Its class.
    keywords : dict
        Numbers; the value may be a prior.
    """

    kind: str
    keywords: dict[str, Any]

    def build(self, scope: Scope) -> Any:
        """The object, with variables of the PyMC model of the context."""
        cls = systematic_classes()[self.kind]
        keywords = dict(self.keywords)
        if "value" in keywords:
            keywords["value"] = keywords["value"].tensor(scope, cls.variable, "")
        return cls(**keywords)


def systematic_classes() -> dict[str, Any]:
    """Systematics by name, also those that a user has derived."""
    from pymc_gamma.model.systematics import Systematic

    found: dict[str, Any] = {}
    pending = [Systematic]
    while pending:
        for cls in pending.pop().__subclasses__():
            pending.append(cls)
            found[cls.__name__] = cls
    return found


def _read(value: Any) -> SystematicChoice:
    if isinstance(value, SystematicChoice):
        return value
    known = systematic_classes()
    if not isinstance(value, dict) or "type" not in value:
        raise refuse(f"a systematic has a type, such as {{type: EffectiveAreaNorm, sigma: 0.1}}; got {value!r}")
    kind = value["type"]
    if not isinstance(kind, str) or kind not in known:
        raise refuse(f"there is no systematic {kind!r}; {nearest(kind, list(known))}", ("type",))
    keywords = {key: one for key, one in value.items() if key != "type"}
    names = [one.name for one in dataclasses.fields(known[kind]) if one.init]
    problems = [
        Problem((key,), f"unknown keyword of {kind}; {nearest(key, names)}") for key in keywords if key not in names
    ]
    if "value" in keywords:
        try:
            keywords["value"] = read_parameter(keywords["value"])
        except VALUE_ERRORS as error:
            problems += problems_of(error, ("value",))
    for key in ("reference", "knots"):
        if isinstance(keywords.get(key), str):
            keywords[key] = quantity_in(keywords[key], "TeV")
    if problems:
        raise refuse_all(problems)
    try:
        known[kind](**{key: one for key, one in keywords.items() if key != "value"})
    except Exception as error:
        raise refuse(" ".join(str(error).split())) from error
    return SystematicChoice(kind, keywords)


SystematicField = Annotated[Any, checked_by(_read), Told("systematic")]
"""A systematic."""
