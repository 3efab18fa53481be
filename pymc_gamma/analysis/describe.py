"""Every key of an analysis file, as a page of the documentation: made from the schema, so that both agree."""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import astropy.units as u

from pymc_gamma.analysis.components import Component
from pymc_gamma.analysis.parameters import Fixed
from pymc_gamma.analysis.pictures import Picture
from pymc_gamma.analysis.samplers import Sampler
from pymc_gamma.analysis.schema import AnalysisConfig, CircleConfig, SafeMaskConfig
from pymc_gamma.analysis.section import Section, Told, kinds_of
from pymc_gamma.analysis.spectra import spectrum_classes
from pymc_gamma.analysis.systematics import systematic_classes

__all__ = ["page"]

_PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", dict: "keys and values"}


def page() -> str:
    """The page, in Markdown.

    Examples
    --------
    >>> page().splitlines()[0]
    '# Every key of an analysis file'
    """
    lines = [
        "# Every key of an analysis file",
        "",
        "Made from the schema by `python scripts/analysis_keys.py`. What the sections are for, and how they work",
        "together, is explained in [Analysis files](analysis_file.md). A dash in the column of defaults marks keys",
        "that must be given.",
        "",
        *_section("The file", AnalysisConfig, ""),
        *_kinds(),
        *_samplers(),
        *_values(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, cls: type[Section], place: str) -> Iterator[str]:
    """A heading, a table of keys, and the sections below."""
    yield from (f"## {title}", "", _summary(cls), "")
    yield from _table(cls)
    for name, field in cls.model_fields.items():
        below = _section_in(field.annotation)
        if below is not None:
            where = f"{place}{name}"
            yield from _section(f"`{where}`", below, f"{where}.")
    if cls is AnalysisConfig:
        yield from _section("`datasets.safe_mask`", SafeMaskConfig, "")
        yield from _section("Circles", CircleConfig, "")


def _summary(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def _table(cls: type[Section], skip: tuple[str, ...] = ()) -> Iterator[str]:
    yield from ("| key | value | default | |", "|---|---|---|---|")
    for name, field in cls.model_fields.items():
        key = field.alias or name
        if key not in skip:
            default = "–" if field.is_required() else _default(field.get_default())
            told = _words(field.annotation, field.metadata)
            yield f"| `{key}` | {told} | {default} | {field.description or ''} |"
    yield ""


def _default(value: Any) -> str:
    if value is None or isinstance(value, Section) or (isinstance(value, list | dict) and not value):
        return ""
    if isinstance(value, Fixed):
        value = f"{value.value:g}"
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, list):
        value = f"[{', '.join(map(str, value))}]"
    return f"`{value}`" if isinstance(value, str | int | float | Path | u.Quantity) else ""


def _words(annotation: Any, metadata: Any = ()) -> str:
    """What a value is."""
    for one in metadata:
        if isinstance(one, Told):
            return one.words
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inner[0], inner[1:])
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one) for one in inner if one is not type(None))
    if origin is list:
        return f"list: {_words(inner[0])}"
    if origin is dict:
        return f"by name: {_words(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return _PLAIN.get(annotation, "value")


def _section_in(annotation: Any) -> Any:
    """A section that a key holds, or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return None if annotation is CircleConfig else annotation
    for one in get_args(annotation):
        if get_origin(annotation) is Annotated:
            return None
        found = _section_in(one)
        if found is not None:
            return found
    return None


def _own(base: type, key: str) -> dict[str, Any]:
    """Kinds that the package has, in the order of their names."""
    found = kinds_of(base, key)
    return {name: found[name] for name in sorted(found) if found[name].__module__.startswith("pymc_gamma.")}


def _kinds() -> Iterator[str]:
    yield from ("## Components", "", "An entry of `components` has a `kind` and the keys of its table.", "")
    for name, cls in _own(Component, "kind").items():
        yield from (f"### `kind: {name}`", "", cls.summary, "")
        yield from _table(cls)


def _samplers() -> Iterator[str]:
    yield from ("## `fit`", "", "`sampler` names one or a list of these; the other keys are those of the samplers.", "")
    yield from ("| `sampler` | |", "|---|---|")
    known = _own(Sampler, "sampler")
    yield from (f"| `{name}` | {cls.summary} |" for name, cls in known.items())
    yield from ("", "| key | value | default | |", "|---|---|---|---|")
    told = []
    for cls in known.values():
        told += [line for line in list(_table(cls))[2:-1] if line not in told]
    yield from (*told, "")


def _values() -> Iterator[str]:
    yield from ("## Pictures", "", "| name | shows |", "|---|---|")
    yield from (f"| `{name}` | {cls.summary} |" for name, cls in _own(Picture, "picture").items())
    yield from ("", "## Spectra", "", "| `type` | parameters |", "|---|---|")
    for name, cls in sorted(spectrum_classes().items()):
        units = [f"`{key}`" + (f" ({unit})" if unit else "") for key, unit in cls.units.items()]
        yield f"| `{name}` | {', '.join(units)} |"
    yield from ("", "## Systematics", "", "| `type` | variable |", "|---|---|")
    for name, cls in sorted(systematic_classes().items()):
        if cls.__module__.startswith("pymc_gamma."):
            yield f"| `{name}` | `{cls.variable}` |"
    yield ""
