"""A pool of threads for compiled kernels that release the GIL.

Kernels are compiled for one thread and called on chunks, rather than with numba's own parallel loops: those start
slowly, stall when another process holds a core, and their threading layer may abort the process when two Python
threads use it.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

__all__ = ["cpu_count", "piece_size", "run_as_made", "run_parallel"]

_WORKER = "pymc_gamma-worker"
_PIECES, _SMALLEST = 16, 256


def cpu_count() -> int:
    """Number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def piece_size(n: int, largest: int) -> int:
    """How many of ``n`` items one task works on, for results that are the same on any number of cores.

    Parameters
    ----------
    n : int
        Number of items.
    largest : int
        What a task can hold.

    Returns
    -------
    int
        A sixteenth of the items, within bounds.

    Examples
    --------
    >>> piece_size(10, 8192), piece_size(32_000, 8192), piece_size(1_000_000, 8192)
    (256, 2000, 8192)
    """
    return min(largest, max(_SMALLEST, -(-n // _PIECES)))


def run_parallel[T](task: Callable[[T], Any], items: Iterable[T]) -> list[Any]:
    """Results of ``task`` for each item, in order; the first exception is raised.

    A task may call this itself: its items are then worked on by its own thread, since the others are busy.
    """
    items = list(items)
    workers = min(cpu_count(), len(items))
    if workers < 2 or threading.current_thread().name.startswith(_WORKER):
        return [task(item) for item in items]
    with ThreadPoolExecutor(workers, thread_name_prefix=_WORKER) as pool:
        return list(pool.map(task, items))


def run_as_made[T](task: Callable[[T], Any], items: Iterable[T]) -> list[Any]:
    """Results of ``task`` for each item, in order, where it takes long to make the items.

    The items are made by the thread that calls this, while others work on those before. If one cannot be made, or a
    task fails, no more are made; tasks that were begun end first, whatever they do.
    """
    workers = cpu_count()
    if workers < 2 or threading.current_thread().name.startswith(_WORKER):
        return [task(item) for item in items]
    futures = []
    with ThreadPoolExecutor(workers, thread_name_prefix=_WORKER) as pool:
        for item in items:
            futures.append(pool.submit(task, item))
            waiting = [one for one in futures if not one.done()]
            if len(waiting) > workers:  # items may be large
                wait(waiting, return_when=FIRST_COMPLETED)
            if any(one.done() and one.exception() is not None for one in futures):
                break
    return [one.result() for one in futures]
