"""What the scripts of both programs share: the jobs, the stop-watch, the record they write.

Standard library only, and nothing newer than Python 3.11, because it also runs in the peer's environment.
"""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIVE_POINTS = 500
DLOGZ = 0.5


@dataclass(frozen=True)
class Job:
    """What both programs do.

    Attributes
    ----------
    title : str
        What it is, for the report.
    n_events : int
        Number of events.
    fractions : dict
        Share of the events of each component, in the order in which both programs hold them.
    scripts : tuple of str
        The scripts that do it in GammaBayes and in pymc_gamma.
    targets : frozenset of str
        Rows of the report for which ours should be a hundred times faster.
    parameters : dict
        Values of the other parameters that the events are simulated with, and that are inferred.
    """

    title: str
    n_events: int
    fractions: dict[str, float]
    scripts: tuple[str, str]
    targets: frozenset[str]
    parameters: dict[str, float] = field(default_factory=dict)


QUICKSTART = Job(
    title="the Quick Start, three fractions",
    n_events=4500,
    fractions={"diffuse": 1 / 6, "hgps": 1 / 3, "ccr": 1 / 2},
    scripts=("peer.py", "ours.py"),
    targets=frozenset({"simulate", "marginalise", "sample, nested"}),
)
DARKMATTER = Job(
    title="dark matter to W+W-, four fractions and the mass",
    n_events=1500,
    fractions={"dm": 1 / 2, "diffuse": 1 / 6, "hgps": 1 / 6, "ccr": 1 / 6},
    scripts=("peer_darkmatter.py", "ours_darkmatter.py"),
    targets=frozenset({"all of it"}),
    parameters={"log10_mass": 0.0},
)
JOBS = {"quickstart": QUICKSTART, "darkmatter": DARKMATTER}
#: Masses in TeV that the peer scans: ends and number, in equal steps of the logarithm. Ours is free between the ends.
MASS_SCAN = (0.2, 20.0, 21)


def cpu_seconds() -> float:
    """CPU seconds of this process, its threads and its finished children."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class StageClock:
    """Wall and CPU seconds of named stages."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` statement and report it on standard error."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        yield
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        self.stages[name] = {"wall": wall, "cpu": cpu}
        print(f"  {name:12s} {wall:9.3f} s wall {cpu:9.3f} s CPU", file=sys.stderr, flush=True)


def seconds_per_call(function: Any, argument: Any, repeats: int = 20, calls: int = 100) -> float:
    """Seconds of one call: the least over repeats of the mean over calls."""
    function(argument)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            function(argument)
        best = min(best, (time.perf_counter() - start) / calls)
    return best


def installed_version(package: str) -> str:
    """Version of a package, or ``"source tree"`` if it is imported without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "source tree"


def write_record(
    path: Path, job: Job, program: str, packages: Sequence[str], seed: int, measurements: Mapping[str, Any]
) -> None:
    """Write measurements as JSON, with the job and everything that a reader needs to judge them."""
    record = {
        "program": f"{program} {installed_version(program)}",
        "packages": {name: installed_version(name) for name in packages},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "components": list(job.fractions),
        "parameters": list(job.parameters),
        "truth": [*job.fractions.values(), *job.parameters.values()],
        "seed": seed,
        **measurements,
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
