"""Work in processes of their own, with limits of memory and time: what crashes or hangs there, is seen here."""

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Child", "Limits", "ended", "limited_memory"]

MEMORY = 3 * 2**30
"""Bytes that reading a small file may take."""


class Limits:
    """Limits of one piece of work.

    Parameters
    ----------
    memory : int
        Bytes that may be taken beyond those that the process has when it begins.
    cpu : int
        Seconds of computing time.
    wall : float
        Seconds after which it counts as hanging, whatever it waits for.
    """

    def __init__(self, memory: int = MEMORY, cpu: int = 30, wall: float = 150) -> None:
        self.memory, self.cpu, self.wall = memory, cpu, wall


class Child:
    """A process that does one piece of work; it is a copy of this one, so that all is imported.

    Parameters
    ----------
    work : callable
        Gives what can be pickled.
    limits : Limits
        Its limits.
    """

    def __init__(self, work: Callable[[], Any], limits: Limits) -> None:
        context = multiprocessing.get_context("fork")
        self._ours, theirs = context.Pipe(duplex=False)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the child)
        self._end = time.monotonic() + limits.wall
        self._process = context.Process(target=_work, args=(work, limits, theirs, self._errors.fileno()))
        self._process.start()
        theirs.close()

    @property
    def overdue(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() > self._end

    def result(self) -> tuple[str, Any]:
        """``("done", result)``, ``("crash", reason)`` or ``("hang", reason)``; ends the process."""
        answer = None
        if self._ours.poll(0):
            with contextlib.suppress(EOFError):
                answer = self._ours.recv()
        if answer is None and self._process.is_alive() and self.overdue:
            self._process.kill()
            self._process.join()
            return "hang", "no end within the time"
        self._process.join()
        code = self._process.exitcode
        self._ours.close()
        self._errors.seek(0)
        printed = self._errors.read()[-2000:].decode(errors="replace")
        self._errors.close()
        if answer is not None:
            return "done", answer
        if code == -signal.SIGXCPU:
            return "hang", "more computing time than allowed"
        return "crash", f"exit code {code}: {printed}"


def ended(children: list[Child], timeout: float) -> list[Child]:
    """Those that have an answer, have died or are overdue, after waiting for the first."""
    wait([one._ours for one in children], timeout)
    return [one for one in children if one._ours.poll(0) or not one._process.is_alive() or one.overdue]


def _work(work: Callable[[], Any], limits: Limits, answer: Connection, errors: int) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(errors, 2)
    faulthandler.enable(errors)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu, limits.cpu + 5))
    with limited_memory(limits.memory):
        found = work()
    answer.send(found)


@contextlib.contextmanager
def limited_memory(size: int = MEMORY) -> Iterator[None]:
    """Refuse this process more than ``size`` bytes beyond those that it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[0]) * resource.getpagesize()
