"""Files of gammapy models, read so that nothing in them is left out in silence.

gammapy takes from a file of models (YAML) what it knows: a parameter whose name is misspelt keeps its default, an
unknown key is ignored, and of a key that is there twice the last counts. Here the file is compared with what gammapy
can take before it does, and with the models made of it afterwards: their own description must have every key of the
file. So new kinds of models need nothing here.
"""

import math
import warnings
from collections.abc import Collection, Hashable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from pymc_gamma.errors import DataFileError, ModelError, PymcGammaError, warn_user
from pymc_gamma.fits_files import check_whole

__all__ = ["models_of", "read_model_file"]

SECTIONS = ("spectral", "spatial", "temporal")
"""Parts of a component."""
TOP_KEYS = ("components", "covariance", "metadata", "checksum")
"""Keys of a file."""
COMPONENT_KEYS = ("name", "type", "datasets_names", "apply_irf", "filename", *SECTIONS)
"""Keys of a component, of which gammapy leaves out those with default values."""
PARAMETER_KEYS = (
    "name", "value", "unit", "error", "min", "max", "frozen", "interp", "scale_method", "scale_transform", "link",
    "prior",
)  # fmt: skip
"""Keys of a parameter."""
PRIOR_KEYS = ("type", "parameters", "weight")
"""Keys of a prior."""


class _Loader(yaml.SafeLoader):
    """YAML, where a key that is there twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """As the parent, after a look at the keys."""
        keys = [one.value for one, _ in node.value if isinstance(one.value, str)]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.MarkedYAMLError("while reading a mapping", node.start_mark, f"{min(twice)!r} is there twice")
        return super().construct_mapping(node, deep=deep)


def read_model_file(path: str | Path) -> Any:
    """Gammapy ``Models`` of a YAML file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    gammapy.modeling.models.Models

    Raises
    ------
    DataFileError
        If there is no such file, it cannot be read as YAML, its checksum does not fit, or a map it names is damaged.
    ModelError
        If a name or a key is not known, something is missing or has a value of the wrong kind; names file, component,
        part and key, and the nearest name that is known.

    Warns
    -----
    PymcGammaWarning
        If a parameter is not in the file, so that it has gammapy's default; names it, and says which.
    """
    file = Path(path)
    return models_of(_loaded(file), str(file), file.parent)


def models_of(data: Any, source: str, folder: Path) -> Any:
    """Gammapy ``Models`` of the content of a file.

    Parameters
    ----------
    data : dict
        What the file holds.
    source : str
        Its name, for messages.
    folder : pathlib.Path
        What paths in it start from.

    Returns
    -------
    gammapy.modeling.models.Models

    Raises
    ------
    DataFileError, ModelError
        As for :func:`read_model_file`.

    Warns
    -----
    PymcGammaWarning
        As for :func:`read_model_file`.
    """
    if not isinstance(data, dict) or not isinstance(data.get("components"), list):
        raise ModelError(f"{source} holds no list `components` of gammapy models; it is not what Models.write makes.")
    _check_keys(data, TOP_KEYS, source)
    places = [_place(source, k, one) for k, one in enumerate(data["components"])]
    for place, component in zip(places, data["components"], strict=True):
        _check_component(component, place, folder)
    models = _built(data, places, folder)
    _check_links(data["components"], places)
    defaults = [
        text
        for place, component, model in zip(places, data["components"], models, strict=True)
        for text in _compare(component, _described(model, place), place, model)
    ]
    if defaults:
        warn_user(f"{source}: parameters that are not in the file have the default of gammapy: {', '.join(defaults)}.")
    return models


def _loaded(file: Path) -> Any:
    """Content of a YAML file, its checksum compared if it has one."""
    from gammapy.utils.scripts import from_yaml

    try:
        if not file.is_file():
            raise DataFileError(f"there is no file of models {str(file)!r}; check the path.")
        text = file.read_text(encoding="utf-8")
        data = yaml.load(text, _Loader)
        if isinstance(data, dict) and "checksum" in data:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="Checksum verification failed")
                from_yaml(text, checksum=True)
    except PymcGammaError:
        raise
    except UserWarning as error:
        raise DataFileError(
            f"{file}: its checksum does not fit: the file was changed after it was written. Copy it again, or remove "
            "the line `checksum` if it was changed on purpose."
        ) from error
    except Exception as error:
        told = " ".join(str(error).split())
        raise DataFileError(
            f"{file} cannot be read as YAML ({type(error).__name__}: {told}). Correct it, or copy it again."
        ) from error
    return data


def _place(source: str, k: int, component: Any) -> str:
    name = component.get("name") if isinstance(component, dict) else None
    return f"{source}, component {k}" + ("" if name is None else f" ({name!r})")


def _check_keys(node: Any, known: Collection[str], place: str) -> None:
    if not isinstance(node, dict):
        raise ModelError(f"{place} is {node!r}, expected keys and values.")
    for key in node:
        if key not in known:
            raise ModelError(f"{place}: unknown key {key!r}{_nearest(key, known)}.")


def _nearest(word: Any, known: Collection[str]) -> str:
    """The nearest name that is known, or all of a few."""
    close = get_close_matches(str(word), list(known), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"[:-1]
    return f"; expected one of {', '.join(sorted(known))}" if len(known) <= 12 else ""


def _class(registry: Any, tag: Any, place: str) -> Any:
    try:
        return registry.get_cls(tag)
    except KeyError:
        tags = [one for cls in registry for one in ([cls.tag] if isinstance(cls.tag, str) else cls.tag)]
        raise ModelError(f"{place}: unknown type {tag!r}{_nearest(tag, tags)}.") from None


def _check_component(component: Any, place: str, folder: Path) -> None:
    from gammapy.modeling import models as gp

    _check_keys(component, COMPONENT_KEYS, place)
    if "type" not in component:
        raise ModelError(f"{place} has no type, for example SkyModel.")
    _class(gp.MODEL_REGISTRY, component["type"], place)
    registries = (gp.SPECTRAL_MODEL_REGISTRY, gp.SPATIAL_MODEL_REGISTRY, gp.TEMPORAL_MODEL_REGISTRY)
    _check_file(component, place, folder)
    for section, registry in zip(SECTIONS, registries, strict=True):
        if component.get(section) is not None:
            _check_model(component[section], registry, f"{place}, {section}", folder)


def _check_model(data: Any, registry: Any, place: str, folder: Path) -> None:
    """Check a spectral, spatial or temporal model, and those it is made of."""
    if not isinstance(data, dict) or "type" not in data:
        raise ModelError(f"{place} has no type: {data!r}.")
    cls = _class(registry, data["type"], place)
    _check_file(data, place, folder)
    for key, part in data.items():
        if isinstance(part, dict) and "type" in part:
            _check_model(part, registry, f"{place}, {key}", folder)
    _check_parameters(data.get("parameters"), cls, place)


def _check_file(data: Mapping[str, Any], place: str, folder: Path) -> None:
    """Check the map that a model is made of."""
    from gammapy.utils.scripts import make_path

    if not isinstance(data.get("filename"), str):
        return
    for path in (folder / data["filename"], make_path(data["filename"])):
        if path.is_file() and ".fit" in path.name:
            try:
                check_whole(path)
            except DataFileError as error:
                raise DataFileError(f"{place}: {error}") from error
            return


def _check_parameters(entries: Any, cls: Any, place: str) -> None:
    """Check parameters of a model or prior; a class without any of its own takes them as they come."""
    if entries is None:
        return
    known = cls.default_parameters.names
    if not isinstance(entries, list):
        raise ModelError(f"{place}: parameters must be a list, got {entries!r}.")
    names: set[str] = set()
    for k, entry in enumerate(entries):
        here = f"{place}, parameter {k}"
        _check_keys(entry, PARAMETER_KEYS, here)
        name = entry.get("name")
        if not isinstance(name, str):
            raise ModelError(f"{here} has no name, or one that is no text: {name!r}.")
        if known and name not in known:
            raise ModelError(f"{place}: unknown parameter {name!r} of {cls.__name__}{_nearest(name, known)}.")
        if name in names:
            raise ModelError(f"{place}: the parameter {name!r} is there twice.")
        names.add(name)
        default = cls.default_parameters[name].unit if known else ""
        if str(default) and "unit" not in entry:
            raise ModelError(
                f"{place}: the parameter {name!r} has no unit; gammapy would take '{default}'. Add `unit:`."
            )
        _check_values(entry, f"{place}, parameter {name!r}")


def _check_values(entry: Mapping[str, Any], place: str) -> None:
    import astropy.units as u
    from gammapy.modeling import models as gp

    if not math.isfinite(_number(entry.get("value"), place, "value")):
        raise ModelError(f"{place}: its value is {entry['value']!r}, not a finite number.")
    for key in ("min", "max", "error"):
        if key in entry:
            _number(entry[key], place, key)
    if not isinstance(entry.get("frozen", False), bool):
        raise ModelError(f"{place}: frozen is {entry['frozen']!r}, expected true or false.")
    try:
        u.Unit(entry.get("unit", ""))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{place}: {entry['unit']!r} is no unit ({error}).") from error
    prior = entry.get("prior")
    if prior is not None:
        _check_keys(prior, PRIOR_KEYS, f"{place}, prior")
        if "type" not in prior:
            raise ModelError(f"{place}: its prior has no type, for example GaussianPrior.")
        cls = _class(gp.PRIOR_REGISTRY, prior["type"], f"{place}, prior")
        if not isinstance(prior.get("parameters"), list):
            raise ModelError(
                f"{place}: its prior {prior['type']} has no parameters, {', '.join(cls.default_parameters.names)}."
            )
        _number(prior.get("weight", 1), place, "the weight of its prior")
        _check_parameters(prior["parameters"], cls, f"{place}, prior")
        given = {one["name"] for one in prior["parameters"]}
        if missing := [name for name in cls.default_parameters.names if name not in given]:
            raise ModelError(f"{place}: its prior {prior['type']} has no {', '.join(missing)}.")


def _number(value: Any, place: str, key: str) -> float:
    """A number; YAML takes ``1e-12`` for text, and so does not count for one."""
    try:
        if isinstance(value, bool) or value is None:
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ModelError(f"{place}: {key} is {value!r}, expected a number.") from None


def _entries(node: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All parameters below a node, with their places."""
    if not isinstance(node, dict):
        return
    for key, part in node.items():
        if key == "parameters" and isinstance(part, list):
            yield from ((f"{place}, parameter {entry['name']!r}", entry) for entry in part)
        elif isinstance(part, dict):
            yield from _entries(part, f"{place}, {key}")


def _check_links(components: list[Any], places: list[str]) -> None:
    """A link joins two or more parameters of one value."""
    linked: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for component, place in zip(components, places, strict=True):
        for here, entry in _entries(component, place):
            if entry.get("link") is not None:
                linked.setdefault(str(entry["link"]), []).append((here, entry))
    for label, members in linked.items():
        here, entry = members[0]
        if len(members) == 1:
            others = [one for one in linked if one != label]
            near = _nearest(label, others) if others else ""
            raise ModelError(f"{here}: no other parameter has its link {label!r}{near}.")
        for there, other in members[1:]:
            if (float(other["value"]), other.get("unit", "")) != (float(entry["value"]), entry.get("unit", "")):
                raise ModelError(
                    f"{there} is linked to that of {here.rpartition(', component')[2]}, but their values differ: "
                    f"{other['value']} {other.get('unit', '')} and {entry['value']} {entry.get('unit', '')}."
                )


def _built(data: dict[str, Any], places: list[str], folder: Path) -> Any:
    """Models of the content of a file; an error names the component that cannot be made."""
    from gammapy.modeling.models import Models

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*truncated.*")
            return Models.from_dict(deepcopy(data), path=folder)
    except Exception as error:
        place, reason = places[0].rpartition(", component")[0] if places else str(folder), error
        for here, component in zip(places, data["components"], strict=True):
            try:
                Models.from_dict({"components": [deepcopy(component)]}, path=folder)
            except Exception as culprit:
                place, reason = here, culprit
                break
        told = " ".join(str(reason).split())
        raise ModelError(f"{place} is no model that gammapy can make ({type(reason).__name__}: {told}).") from error


def _described(model: Any, place: str) -> dict[str, Any]:
    try:
        return dict(model.to_dict(full_output=True))
    except Exception as error:
        raise ModelError(f"{place} cannot be described by gammapy ({type(error).__name__}: {error}).") from error


def _compare(given: Mapping[str, Any], made: Mapping[str, Any], place: str, model: Any) -> Iterator[str]:
    """Compare what the file says with what was made of it; yields parameters that the file does not have."""
    for section in SECTIONS:
        if given.get(section) is not None:
            yield from _compare_model(given[section], made.get(section) or {}, f"{place}, {section}", model.name)


def _compare_model(given: Mapping[str, Any], made: Mapping[str, Any], place: str, name: str) -> Iterator[str]:
    if "frame" in made and "frame" not in given and "filename" not in given:
        raise ModelError(
            f"{place} has no frame; gammapy would take {made['frame']!r}. Add `frame: icrs` or `galactic`."
        )
    for key, part in given.items():
        if key not in made:
            raise ModelError(f"{place}: unknown key {key!r} of {given['type']}{_nearest(key, list(made))}.")
        if isinstance(part, dict) and "type" in part:
            yield from _compare_model(part, made[key], f"{place}, {key}", name)
    there = {entry["name"] for entry in given.get("parameters") or ()}
    for entry in made.get("parameters", ()):
        if entry["name"] not in there:
            yield f"{name}, {entry['name']} = {entry['value']:g} {entry['unit']}".rstrip()
