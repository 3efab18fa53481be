"""Functions of a `NestedProblem` that can be sent to other processes and stored with the state of a sampler.

A compiled function cannot be pickled, and a model with its events may hold hundreds of megabytes. A
:class:`ProblemFunction` pickles as the name of its problem, a token; a process compiles a problem when it first meets
its token, and keeps it. What it makes the problem from is

* the pickled model itself, sent along: what happens by hand, as with ``dynesty.pool.Pool``, which sends functions once;
* a file with the pickled model, while `sample_nested` runs with a pool: pools send functions with every task;
* in a checkpoint nothing but a :class:`Mark`, by which `sample_nested` recognises the problem that the checkpoint
  belongs to.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]
import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError

if TYPE_CHECKING:
    from pymc_gamma.inference.nested.problem import NestedProblem

__all__ = ["Mark", "ProblemFunction", "Store", "load_problem", "resuming", "sent_by_file", "stored_with"]

_N_PROBLEMS = 2  # enough for a model and its rival, without hoarding the events of a loop over data sets
_known: "OrderedDict[str, NestedProblem]" = OrderedDict()
_lock = threading.Lock()


class Mark(NamedTuple):
    """What a checkpoint says about the run that it belongs to.

    Attributes
    ----------
    names : tuple of str
        Names of the parameters.
    parameters, log_likelihood : ndarray
        Prior transform and log-likelihood at a few points of the cube: they tell models and data apart.
    settings : dict
        Settings of the sampler.
    dlogz : float
        Where the run is to stop.
    """

    names: tuple[str, ...]
    parameters: FloatArray
    log_likelihood: FloatArray
    settings: dict[str, Any]
    dlogz: float

    def check(self, now: "Mark") -> None:
        """Raise a ModelError unless another mark is that of the same problem and settings."""
        if self.names != now.names:
            raise ModelError(
                f"the checkpoint belongs to another model: its parameters are {list(self.names)}, those of this model "
                f"{list(now.names)}."
            )
        for what, then, here in (
            ("prior", self.parameters, now.parameters),
            ("likelihood (other events, or another response)", self.log_likelihood, now.log_likelihood),
        ):
            if not np.allclose(then, here, rtol=1e-9, atol=1e-9, equal_nan=True):
                raise ModelError(
                    f"the checkpoint belongs to a model of another {what}; at points of the cube it has "
                    f"{np.array2string(then.ravel()[:3])}, this model {np.array2string(here.ravel()[:3])}."
                )
        changed = {
            key: (self.settings.get(key), now.settings.get(key))
            for key in sorted(self.settings.keys() | now.settings.keys())
            if self.settings.get(key) != now.settings.get(key)
        }
        if changed:
            said = "; ".join(f"{key}: {then} then, {here} now" for key, (then, here) in changed.items())
            raise ModelError(f"the checkpoint belongs to a run with other settings ({said}); resume with the same.")


class Store(NamedTuple):
    """What the functions of a problem are pickled with: a file of the model, or a mark; both absent: the model."""

    path: str | None = None
    mark: Mark | None = None


class ProblemFunction:
    """A function of a `NestedProblem`, of one point or of many.

    Parameters
    ----------
    problem : NestedProblem
        The problem.
    kind : str
        Name of the function.
    """

    def __init__(self, problem: "NestedProblem", kind: str) -> None:
        self.problem = problem
        self.kind = kind
        self._one: Callable[[FloatArray], Any] | None = None
        self._lock = threading.Lock()  # a compiled function keeps its numbers in one place

    def __call__(self, point: Any) -> Any:
        """Value at a point (n_dim,), or values at points (n, n_dim)."""
        point = np.asarray(point, dtype=np.float64)
        if point.ndim not in (1, 2) or point.shape[-1] != self.problem.n_dim:
            raise ModelError(
                f"{self.kind} takes a point of shape ({self.problem.n_dim},), or points of shape "
                f"(n, {self.problem.n_dim}), got {point.shape}."
            )
        with self._lock:
            if self._one is None:
                self._one = self.problem.compiled(self.kind)
            if point.ndim == 1:
                return self._one(point)
            return np.array([self._one(row) for row in point])

    def __reduce__(self) -> tuple[Callable[..., "ProblemFunction"], tuple[Any, ...]]:
        """The name of the problem, and what it can be made from."""
        store = self.problem.store
        payload = self.problem.payload if store == Store() else None
        return _function, (self.kind, self.problem.token, payload, store.path, store.mark)


def _function(kind: str, token: str, payload: bytes | None, path: str | None, mark: Mark | None) -> ProblemFunction:
    """Function of a problem that this process knows, or makes."""
    resumed = _resumed.get()
    if resumed is None or mark is None:
        return load_problem(token, payload, path).function(kind)
    problem, marks = resumed
    assert problem.store.mark is not None
    mark.check(problem.store.mark)
    marks.append(mark)
    return problem.function(kind)


def load_problem(token: str, payload: bytes | None, path: str | None = None) -> "NestedProblem":
    """The problem of this name: known to the process, or from the pickled model or a file of it."""
    with _lock:
        if token not in _known:
            if payload is None and path is None:
                raise ModelError("this is the state of a sampler: resume it with sample_nested(..., resume=True).")
            try:
                payload = Path(path).read_bytes() if path is not None else payload
            except FileNotFoundError as error:
                raise ModelError(
                    f"a worker of the pool cannot see {path}, which holds the model; workers on other machines need "
                    "a folder that all of them share: set the environment variable TMPDIR to one."
                ) from error
            _remember(token, cloudpickle.loads(payload))
        _known.move_to_end(token)
        return _known[token]


def _remember(token: str, problem: "NestedProblem") -> None:
    _known[token] = problem
    while len(_known) > _N_PROBLEMS:
        _known.popitem(last=False)


@contextmanager
def sent_by_file(problem: "NestedProblem") -> Iterator[None]:
    """Workers find the model in a file, which every task names."""
    with TemporaryDirectory(prefix="pymc-gamma-nested-") as folder:
        path = Path(folder) / "model.pickle"
        path.write_bytes(problem.payload)
        with _lock:
            _remember(problem.token, problem)  # processes forked from now on have it already
        problem.store = problem.store._replace(path=str(path))
        try:
            yield
        finally:
            problem.store = problem.store._replace(path=None)


@contextmanager
def stored_with(problem: "NestedProblem", mark: Mark) -> Iterator[None]:
    """Checkpoints hold a mark in place of the model."""
    problem.store = problem.store._replace(mark=mark)
    try:
        yield
    finally:
        problem.store = problem.store._replace(mark=None)


_resumed: "ContextVar[tuple[NestedProblem, list[Mark]] | None]" = ContextVar("resumed", default=None)


@contextmanager
def resuming(problem: "NestedProblem") -> Iterator[list[Mark]]:
    """What is unpickled is the state of a sampler of this problem, or refused; gives the marks that were met."""
    marks: list[Mark] = []
    before = _resumed.set((problem, marks))
    try:
        yield marks
    finally:
        _resumed.reset(before)
