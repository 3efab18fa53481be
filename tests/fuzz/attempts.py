"""One attempt: a change of a file, and what its reader makes of it."""

import tempfile
import traceback
import warnings
import zlib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from description import Description, described, differing
from mutators import Change
from targets import TARGETS, Target

from pymc_gamma.errors import PymcGammaError, PymcGammaWarning

__all__ = ["EXPECTED", "FAILURES", "Case", "Outcome", "change_of", "outcome_of", "prepare"]

EXPECTED = ("equal", "refused", "told", "unseen", "not ours")
"""Outcomes that are right: read as the original; an error of this package that names the file; read as something else
with a warning of this package that the original does not have; read as something else, which no check can see; refused
by the library that reads the file before this package does."""
FAILURES = ("silent", "unnamed", "raw", "crash", "hang")
"""Outcomes that are wrong: read as something else though a check could see it; an error that does not name the file; an
error of another kind; the end of the process; too much time."""


@dataclass(frozen=True)
class Case:
    """Which change of which file.

    Parameters
    ----------
    target : str
        Name of the target.
    mutator : str
        Name of the mutator.
    number : int
        Seed of the mutator.
    """

    target: str
    mutator: str
    number: int

    def __str__(self) -> str:
        return f"{self.target} {self.mutator} {self.number}"


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Parameters
    ----------
    kind : str
        One of :data:`EXPECTED`, :data:`FAILURES`, or "not made" where there is nothing to change.
    told : str
        What was changed.
    detail : str
        The error, the warning, or what differs.
    """

    kind: str
    told: str = ""
    detail: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def change_of(case: Case) -> Change:
    """Changed content of the file of a case."""
    target = TARGETS[case.target]
    mutate = next(one for one in target.mutators if one.__name__ == case.mutator)
    rng = np.random.default_rng([zlib.crc32(f"{case.target} {case.mutator}".encode()), case.number])
    with warnings.catch_warnings(action="ignore"):
        return mutate(target.original(), rng)


@cache
def prepare(name: str) -> tuple[Description, frozenset[str]]:
    """Description of the original of a target, and the warnings that it brings."""
    target = TARGETS[name]
    with warnings.catch_warnings(action="ignore"):
        content = target.original()
    found, told = _read(target, content)
    if isinstance(found, Exception):
        raise found
    assert found is not None
    return found, told


def _read(target: Target, content: Any) -> tuple[Description | Exception | None, frozenset[str]]:
    """What is read of some content, or the error; the warnings of this package."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as name, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        folder = Path(name)
        try:
            value = target.read(target.place(folder, content))
            found = None if value is None else described(value, folder)
        except Exception as error:
            found = error
        told = [str(w.message) for w in warned if issubclass(w.category, PymcGammaWarning)]
        return found, frozenset(one.replace(name, "") for one in told)


def outcome_of(case: Case) -> Outcome:
    """Change a file, read it, and judge."""
    target = TARGETS[case.target]
    expected, before = prepare(case.target)
    try:
        change = change_of(case)
    except Exception as error:
        return Outcome("not made", detail=repr(error))
    found, told = _read(target, change.content)
    if isinstance(found, PymcGammaError):
        named = any(name in str(found) for name in target.named)
        return Outcome("refused" if named else "unnamed", change.told, f"{type(found).__name__}: {found}")
    if isinstance(found, Exception):
        return Outcome("raw", change.told, _site(found))
    if found is None:
        return Outcome("not ours", change.told)
    changed = differing(expected, found)
    if not changed:
        return Outcome("equal", change.told)
    if told - before:
        return Outcome("told", change.told, min(told - before))
    seen = change.visible or (target.sums and change.keeps_sums)
    return Outcome("silent" if seen else "unseen", change.told, f"{len(changed)} parts, {'; '.join(changed[:3])}")


def _site(error: BaseException) -> str:
    """An error and the last line of this package that it went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "pymc_gamma" in f.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}, " if frames else ""
    return f"{place}{type(error).__name__}: {error}"
