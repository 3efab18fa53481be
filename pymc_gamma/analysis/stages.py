"""Stages of an analysis: each makes something, keeps it in a folder of its own, and is repeated when its inputs change.

The folder of a stage appears whole or not at all (:func:`pymc_gamma.files.atomic_path`), with a record of what it was
made of: a hash of each part of the inputs (keys of the analysis file, files of data, the version of the package), and
of the stages that it needs. A stage whose record fits and whose files are as they were written is not run again.
"""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymc_gamma import __version__
from pymc_gamma.analysis.progress import Bars
from pymc_gamma.errors import AnalysisFileError
from pymc_gamma.files import atomic_path, restore

__all__ = ["FAILURE", "RECORD", "Failure", "Job", "Stage", "State", "mark_of_files"]

RECORD = "stage.json"
"""File in the folder of a stage that says what it was made of."""
FAILURE = "failed.json"
"""File beside the folders of stages that says which of them failed last, and why; there until it has succeeded."""

LARGEST_HASHED = 64 * 2**20
"""Bytes of a file of data that is compared by its content; larger ones by size and time."""


class Stage(ABC):
    """A stage.

    Attributes
    ----------
    name : str
        Name of its folder.
    needs : tuple of str
        Names of the stages before it that it uses.
    rounded : bool
        Whether files hold it a little differently: what they hold is used then, so that it does not matter when.
    """

    name: str
    needs: tuple[str, ...] = ()
    rounded: bool = False

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """What it depends on besides other stages: parts that JSON can hold, by a name that a user recognises."""

    @abstractmethod
    def compute(self, job: "Job") -> Any:
        """Make it; other stages are at ``job.value(name)``."""

    @abstractmethod
    def write(self, value: Any, folder: Path) -> None:
        """Write what was made into a folder that is there."""

    @abstractmethod
    def read(self, folder: Path) -> Any:
        """Read what was written."""


@dataclass(frozen=True)
class State:
    """Whether a stage has to run.

    Parameters
    ----------
    is_current : bool
        Whether what is there is what would be made.
    why : str
        In words.
    mark : str
        Hash of all its inputs.
    """

    is_current: bool
    why: str
    mark: str


@dataclass(frozen=True)
class Failure:
    """Why a stage failed.

    Parameters
    ----------
    stage : str
        Its name.
    error : str
        What was raised.
    when : str
        Date and time.
    """

    stage: str
    error: str
    when: str


class Job:
    """Stages that are run one after the other, or read where they have been.

    Parameters
    ----------
    stages : sequence of Stage
        Each after those that it needs.
    folder : pathlib.Path, optional
        Where they are kept; nothing is written without.
    force : bool
        Run all of them again.
    """

    def __init__(self, stages: Sequence[Stage], folder: Path | None = None, *, force: bool = False) -> None:
        self.stages, self.folder, self._force = tuple(stages), folder, force
        self._by_name = {one.name: one for one in stages}
        self._values: dict[str, Any] = {}
        self._parts = {one.name: {key: _hash(part) for key, part in one.inputs().items()} for one in stages}
        self._done: set[str] = set()
        self._files: dict[str, dict[str, str]] = {}

    def restore(self) -> None:
        """Complete what killed runs began to put in its place."""
        if self.folder is not None:
            for one in self.stages:
                restore(self.folder / one.name)

    def states(self) -> dict[str, State]:
        """Whether each stage has to run, and why."""
        found: dict[str, State] = {}
        for stage in self.stages:
            parts = self._all_parts(stage, found)
            mark = _hash(parts)
            why = self._why(stage, parts)
            found[stage.name] = State(not why, why or "up to date", mark)
        return found

    def value(self, name: str) -> Any:
        """What a stage has made."""
        if name not in self._values:
            assert self.folder is not None
            self._values[name] = self._by_name[name].read(self.folder / name)
        return self._values[name]

    def found(self, name: str) -> Any:
        """What a stage has made; None if it has not run, or what it has made does not fit the inputs."""
        there = name in self._values or (name in self._by_name and self.states()[name].is_current)
        return self.value(name) if there else None

    def run(self, bars: Bars, only: str | None = None) -> None:
        """Run what has to be.

        Parameters
        ----------
        bars : Bars
            What the user sees.
        only : str, optional
            Name of the only stage to run, with what is there of the others.
        """
        self.refuse_foreign()
        for stage in self.stages:
            if only not in (None, stage.name):
                continue
            if self.folder is not None:
                states = self.states()
                state, missing = states[stage.name], self.missing(stage, states)
                why = f"without {', '.join(missing)}" if state.is_current and missing else state.why
                bars.tell(f"{stage.name}: {why}")
                if state.is_current and not missing:
                    continue
            try:
                self._make(stage)
            except BaseException as error:
                if only is None:
                    self._note_failure(stage, error)
                raise
            if only is None and self.folder is not None:
                (self.folder / FAILURE).unlink(missing_ok=True)

    def missing(self, stage: Stage, states: Mapping[str, State]) -> list[str]:
        """Stages before one that have to run, so that what it would be made of is not there."""
        return [name for name in stage.needs if not states[name].is_current]

    @property
    def failure(self) -> Failure | None:
        """What went wrong with the stage that failed last; None if nothing did, or it has succeeded since."""
        if self.folder is None:
            return None
        try:
            held = json.loads((self.folder / FAILURE).read_text(encoding="utf-8"))
            return Failure(str(held["stage"]), str(held["error"]), str(held["when"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _make(self, stage: Stage) -> None:
        start = time.perf_counter()
        value = stage.compute(self)
        self._values[stage.name] = value
        if self.folder is not None:
            self._keep(stage, value, time.perf_counter() - start)
            if stage.rounded:
                del self._values[stage.name]
        self._done.add(stage.name)

    def _note_failure(self, stage: Stage, error: BaseException) -> None:
        if self.folder is None:
            return
        told = f"{type(error).__name__}: {error}".rstrip(": ")
        held = {"stage": stage.name, "error": told, "when": _now()}
        with suppress(OSError), atomic_path(self.folder / FAILURE, overwrite=True) as temporary:
            temporary.write_text(json.dumps(held, indent=1), encoding="utf-8")

    def refuse_foreign(self) -> None:
        """Raise an error if the folder of a stage holds something else."""
        if self.folder is None:
            return
        for stage in self.stages:
            folder = self.folder / stage.name
            if folder.exists() and not (folder / RECORD).is_file() and (folder.is_file() or any(folder.iterdir())):
                raise FileExistsError(
                    f"{folder} is there, and no result of an analysis; move it, or choose another folder by "
                    "general.outdir or --output."
                )

    def complete(self) -> list[str]:
        """Names of stages that are current."""
        return [name for name, state in self.states().items() if state.is_current]

    def _keep(self, stage: Stage, value: Any, seconds: float) -> None:
        assert self.folder is not None
        states = self.states()
        parts = self._all_parts(stage, states)
        if missing := self.missing(stage, states):
            parts["missing"] = ", ".join(missing)  # so that it is made again when they are there
        self._files.pop(stage.name, None)
        with atomic_path(self.folder / stage.name, overwrite=True) as temporary:
            temporary.mkdir()
            stage.write(value, temporary)
            record = {
                "stage": stage.name,
                "parts": parts,
                "files": self._files.setdefault(stage.name, _sums(temporary)),
                "seconds": round(seconds, 3),
                "version": __version__,
                "finished": _now(),
            }
            (temporary / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")

    def _all_parts(self, stage: Stage, states: dict[str, State]) -> dict[str, str]:
        needed = {f"stage {name}": states[name].mark for name in stage.needs}
        return {"version of pymc_gamma": _hash(__version__), **self._parts[stage.name], **needed}

    def _why(self, stage: Stage, parts: dict[str, str]) -> str:
        """Why a stage has to run; empty if it need not."""
        if self.folder is None:
            return "nothing is kept"
        if self._force and stage.name not in self._done:
            return "asked for"
        folder = self.folder / stage.name
        if not (folder / RECORD).is_file():
            return "not there yet"
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            before, files = dict(record["parts"]), dict(record["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return f"its record {RECORD} cannot be read"
        changed = [key for key in parts if before.get(key) != parts[key]]
        changed += [key for key in before if key not in parts]
        if changed:
            return f"changed: {', '.join(changed)}"
        if stage.name not in self._files:
            self._files[stage.name] = _sums(folder)
        broken = sorted(key for key, _ in self._files[stage.name].items() ^ files.items())
        if broken:
            return f"{broken[0]} is not as it was written"
        return ""


def mark_of_files(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """What tells files of data from others: their content, or size and time of large ones.

    Raises
    ------
    AnalysisFileError
        If one is missing.
    """
    found = []
    for path in paths:
        try:
            status = path.stat()
            if status.st_size <= LARGEST_HASHED:
                mark = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                mark = f"{status.st_size} bytes of {status.st_mtime_ns}"
            found.append((path.name, mark))
        except OSError as error:
            raise AnalysisFileError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    return sorted(found)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
