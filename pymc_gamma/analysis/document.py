"""YAML files as plain data that remembers where each key was written.

YAML itself allows what an analysis must not: a key that is there twice (the last one wins), and aliases that multiply
until the memory is full. Both are refused here, like tabs, with the line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from pymc_gamma.errors import AnalysisFileError
from pymc_gamma.files import user_path

__all__ = ["Document", "Problem", "nearest", "raise_problems", "told_path"]

type Place = tuple[str | int, ...]

LARGEST_FILE = 4 * 2**20
"""Bytes; analyses are written by people."""
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
"""Of mappings and lists; others would ask for objects."""
MOST_NODES = 200_000
"""Of a document with its aliases written out."""


@dataclass(frozen=True)
class Problem:
    """Something wrong in an analysis file.

    Parameters
    ----------
    place : tuple
        Keys and indices that lead to it.
    text : str
        What is wrong, and what to do.
    """

    place: Place
    text: str


@dataclass
class Document:
    """Content of an analysis file.

    Parameters
    ----------
    data : dict
        Plain mappings, lists, strings and numbers.
    source : str
        Where it is from, for messages.
    folder : pathlib.Path
        What relative paths in it start from.
    text : str
        As it was written.
    lines : dict
        Where each key and entry was written: the line, or what else says it.
    """

    data: dict[str, Any]
    source: str
    folder: Path
    text: str = ""
    lines: dict[Place, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Any) -> "Document":
        """Read a file.

        Raises
        ------
        AnalysisFileError
            If it is missing, or no YAML with keys and values; says in which line.
        """
        file = user_path(path)
        try:
            if file.is_dir():
                raise AnalysisFileError(f"{path} is a folder; give the analysis file in it.")
            if not file.is_file():
                raise AnalysisFileError(
                    f"there is no analysis file {str(path)!r}; check the path, or write one with `pymc-gamma init`."
                )
            if file.stat().st_size > LARGEST_FILE:
                raise AnalysisFileError(f"{path} has {file.stat().st_size / 1e6:.3g} MB; it is no analysis file.")
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise AnalysisFileError(f"{path} is no text in UTF-8 ({error}); it is no analysis file.") from error
        except OSError as error:
            raise AnalysisFileError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
        return cls.parse(text, str(path), file.resolve().parent)

    @classmethod
    def parse(cls, text: str, source: str = "analysis", folder: Path | None = None) -> "Document":
        """Read a text.

        Raises
        ------
        AnalysisFileError
            If it is no YAML with keys and values; says in which line.

        Examples
        --------
        >>> document = Document.parse("fit: {draws: 100}")
        >>> document.data, document.where(("fit", "draws"))
        ({'fit': {'draws': 100}}, 'analysis:1')
        """
        document = cls({}, source, Path.cwd() if folder is None else folder, text)
        loader = _loader(text, source)
        try:
            node = loader.get_single_node()
            if node is None:
                raise AnalysisFileError(f"{source} is empty; `pymc-gamma init` writes an analysis file to start from.")
            document.data = _Reader(loader, document).value(node, ())
        except yaml.YAMLError as error:
            raise _unreadable(source, error, text) from error
        except RecursionError as error:
            raise AnalysisFileError(f"{source} is nested too deeply; it is no analysis file.") from error
        finally:
            loader.dispose()
        if not isinstance(document.data, dict):
            raise AnalysisFileError(
                f"{source} must hold keys and values such as `version: 1`, got {_short(document.data)}."
            )
        return document

    def where(self, place: Place) -> str:
        """File and line of a place, or of the nearest above it that was written."""
        for k in range(len(place), -1, -1):
            if place[:k] in self.lines:
                return self.lines[place[:k]]
        return self.source

    def set(self, assignment: str) -> None:
        """Change one value.

        Parameters
        ----------
        assignment : str
            ``key=value``: keys joined by dots, entries of lists by index or by their name; the value in YAML.

        Raises
        ------
        AnalysisFileError
            If it cannot be read, or leads nowhere.

        Examples
        --------
        >>> document = Document.parse("components: [{kind: ccr, name: rest}]")
        >>> document.set("components.rest.norm=2")
        >>> document.data
        {'components': [{'kind': 'ccr', 'name': 'rest', 'norm': 2}]}
        """
        key, equals, text = assignment.partition("=")
        said = f"--set {assignment}"
        if not equals or not key.strip():
            raise AnalysisFileError(f"{said}: write key=value, for example fit.draws=2000.")
        other = Document({}, said, self.folder)
        loader = _loader(text, said)
        try:
            node = loader.get_single_node()
            value = None if node is None else _Reader(loader, other).value(node, ())
        except yaml.YAMLError as error:
            raise AnalysisFileError(f"{said}: {text!r} is no value ({_reason(error)}).") from error
        finally:
            loader.dispose()
        *above, last = key.strip().split(".")
        here: Any = self.data
        place: Place = ()
        for step in above:
            found = _entry(here, step, said)
            if found not in here if isinstance(here, dict) else False:
                here[found] = {}
            if here[found] is None:
                here[found] = {}
            here, place = here[found], (*place, found)
            if not isinstance(here, dict | list):
                raise AnalysisFileError(f"{said}: {told_path(place)} is {_short(here)}, which has no keys.")
        found = _entry(here, last, said)
        here[found] = value
        place = (*place, found)
        for one in [one for one in self.lines if one[: len(place)] == place]:
            del self.lines[one]
        self.lines[place] = said


def nearest(word: Any, known: Sequence[str]) -> str:
    """Hint at the nearest of the names that are known, or at all of them.

    Examples
    --------
    >>> nearest("drwas", ["draws", "tune"])
    "did you mean 'draws'?"
    >>> nearest("x", ["draws", "tune"])
    'expected one of draws, tune'
    """
    close = get_close_matches(str(word), list(known), n=1)
    if not close:
        lower = {one.lower(): one for one in known}
        close = [lower[one] for one in get_close_matches(str(word).lower(), list(lower), n=1)]
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"


def told_path(place: Place) -> str:
    """Keys and indices in words.

    Examples
    --------
    >>> told_path(("components", 0, "name"))
    'components.0.name'
    """
    return ".".join(map(str, place))


def raise_problems(document: Document, problems: Sequence[Problem]) -> None:
    """Raise one error for all problems, in the order of their lines, if there are any."""
    if not problems:
        return
    lines = []
    for one in problems:
        name = told_path(one.place)
        lines.append(f"{document.where(one.place)}: {name + ': ' if name else ''}{one.text}")
    raise AnalysisFileError("\n".join(dict.fromkeys(lines)))


class _Reader:
    """Plain data from the nodes of a document, which remembers their lines."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader, self._document = loader, document
        self._open: list[int] = []
        self._n_nodes = 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        self._n_nodes += 1
        if id(node) in self._open or self._n_nodes > MOST_NODES:
            raise yaml.MarkedYAMLError(problem="aliases without an end", problem_mark=node.start_mark)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            raise yaml.MarkedYAMLError(
                problem=f"could not determine a constructor for the tag {node.tag!r}", problem_mark=node.start_mark
            )
        self._document.lines.setdefault(place, self._line(node))
        self._open.append(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, place)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(one, (*place, k)) for k, one in enumerate(node.value)]
            return self._loader.construct_object(node)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen: dict[str, yaml.Node] = {}
        for key in own:
            name = self._key(key)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {name!r} is there twice, before in line {seen[name].start_mark.line + 1}",
                    problem_mark=key.start_mark,
                )
            seen[name] = key
        self._loader.flatten_mapping(node)
        found: dict[str, Any] = {}
        for key, value in node.value:  # what was merged comes first, so that own keys win
            name = self._key(key)
            self._document.lines[(*place, name)] = self._line(key)
            found[name] = self.value(value, (*place, name))
        return found

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=node.start_mark)
        return str(node.value)

    def _line(self, node: yaml.Node) -> str:
        source = self._document.source
        return source if source.startswith("--set") else f"{source}:{node.start_mark.line + 1}"


def _loader(text: str, source: str) -> yaml.SafeLoader:
    try:
        return yaml.SafeLoader(text)
    except yaml.YAMLError as error:  # characters that no YAML may hold
        raise _unreadable(source, error, text) from error


def _unreadable(source: str, error: yaml.YAMLError, text: str) -> AnalysisFileError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = None if mark is None else mark.line + 1
    lines = text.splitlines()
    if line is not None and line <= len(lines) and "\t" in lines[line - 1]:
        return AnalysisFileError(f"{source}:{line}: a tab; YAML is indented by spaces, replace it.")
    where = source if line is None else f"{source}:{line}"
    return AnalysisFileError(f"{where}: not readable as YAML: {_reason(error)}.")


def _reason(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None)
    return " ".join(str(problem or error).split())


def _entry(here: Any, step: str, said: str) -> str | int:
    """Key of a mapping; index of a list, or of the entry of that name."""
    if isinstance(here, Mapping):
        return step
    for k, one in enumerate(here):
        if isinstance(one, Mapping) and str(one.get("name", one.get("id", one.get("kind")))) == step:
            return k
    if step.isdecimal() and int(step) < len(here):
        return int(step)
    raise AnalysisFileError(f"{said}: there is no entry {step!r} among {len(here)}.")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
