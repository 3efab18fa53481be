"""Kills writers with SIGKILL, at chosen steps and at random times: ``python kills.py CASE FOLDER NUMBER SEED``.

With ``interrupt`` as a fifth argument they get Ctrl-C instead, once or twice, and write again in the same process.

Each writer runs in a forked child. A step is an audited event of Python: a file is opened, renamed, removed, locked.
The child kills itself before the chosen one, so every state of the disk between two operations can be met. What is
there afterwards must be, bit for bit, what was there before, or what an undisturbed writer makes.
"""

import gc
import gzip
import hashlib
import os
import random
import signal
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import astropy.units as u
import numpy as np
import setups
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io.fits.hdu.base import _ValidHDU
from matplotlib.figure import Figure
from rich.console import Console

import pymc_gamma as pmg
from pymc_gamma import renames
from pymc_gamma.analysis import quickstart as workflow
from pymc_gamma.analysis import report, stages
from pymc_gamma.analysis.stages import Job, Stage
from pymc_gamma.files import restore
from pymc_gamma.folding.compile import Field, compile_component
from pymc_gamma.response.scan_files import Node, NodeFiles

STEPS = ("open", "os.", "shutil.", "fcntl.", "ctypes.dlsym")
COMMIT = "commit"

Snapshot = dict[str, str]


def responses():
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    irfs = pmg.load_irfs("prod5-south-20deg-50h")
    roi = pmg.RegionOfInterest(centre, width=1 * u.deg, energy=(1, 10) * u.TeV)
    return [
        pmg.fold([pmg.CosmicRayBackground()], pmg.Observation(irfs, centre, livetime=hours * u.h), roi)
        for hours in (1, 2)
    ]


def some_events(version):
    rng = np.random.default_rng(version)
    return pmg.Events(
        rng.uniform(1, 10, 200) * u.TeV, rng.random(200) * u.deg, rng.random(200) * u.deg, frame="galactic"
    )


class Store:
    """``Response.save`` over an earlier store."""

    name, owned, notes, exchanges = "response.zarr", None, {}, True

    def __init__(self, path):
        self.path = path
        self.responses = responses()

    def write(self, version):
        self.responses[version % 2].save(self.path, overwrite=True)


class ScanNode:
    """A node of a scan over an earlier one."""

    name, owned, notes, exchanges = "sigma=0.1.npz", None, {}, True

    def __init__(self, path):
        self.path = path
        scanned = pmg.Scanned("source", self.gaussian, {"sigma": [0.1, 0.2] * u.deg}, checkpoint_folder=path.parent)
        centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
        roi = pmg.RegionOfInterest(centre, width=1 * u.deg, energy=(1, 10) * u.TeV)
        field = Field(roi, np.geomspace(0.5, 20, 1001), 0.05, 0.5)
        self.files = NodeFiles(path.parent, scanned, field)
        assert self.files.path(0) == path
        self.nodes = [Node(compile_component(one, field), one.citations) for one in scanned.components()]

    @staticmethod
    def gaussian(sigma):
        return setups.source("source", 0.0, 0.0, sigma=sigma.to_value("deg"))

    def write(self, version):
        self.files.write(0, self.nodes[version % 2])


class EventFile:
    """``Events.write`` over an earlier file."""

    name, owned, notes, exchanges = "events.fits.gz", None, {}, True

    def __init__(self, path):
        self.path = path

    def write(self, version):
        some_events(version % 2).write(self.path, overwrite=True)


class Quickstart:
    """The quick start with prepared samples, over earlier results and beside files of the user."""

    name, owned, notes, exchanges = "results", workflow.OUTPUT_FILES, {"notes.txt": b"mine"}, True

    def __init__(self, path):
        self.path = path
        for name, content in self.notes.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)

    def write(self, version):
        fraction = np.random.default_rng(version % 2).dirichlet(np.ones(3), (2, 10))
        draws = xr.Dataset({"fraction": (("chain", "draw", "component"), fraction)})
        figures = {}
        for name in ("corner.png", "counts.png", "ppc.png"):
            figures[name] = Figure(figsize=(0.5, 0.5))
            figures[name].text(0, 0, f"{name} {version % 2}")
        results = workflow._Results(
            some_events(version % 2), None, xr.DataTree.from_dict({"posterior": draws}), figures
        )
        with mock.patch.multiple(workflow, _work=lambda *_: results, _report=lambda *_: None):
            workflow.quickstart(overwrite=True, output=self.path, console=Console(quiet=True))


class QuickstartBesideFolders(Quickstart):
    """The same where a folder of the user cannot be linked, so that names are replaced and not the folder."""

    notes, exchanges = {"notes.txt": b"mine", "drafts/thesis.tex": b"precious"}, False


class Report:
    """``pmg.report`` over an earlier page, with the sections of no picture."""

    name, owned, notes, exchanges = "report.html", None, {}, True

    def __init__(self, path):
        self.path = path

    def write(self, version):
        config = "\n".join(map(str, some_events(version % 2).energy.value))
        with mock.patch.multiple(report, SECTIONS=(), _now=lambda: "today"):
            pmg.report(None, None, self.path, config=config, overwrite=True)


class EventsOfAnalysis(Stage):
    """A stage of an analysis that makes events, of a version."""

    name = "stage"

    def __init__(self, version):
        self.version = version

    def inputs(self):
        return {"version": self.version}

    def compute(self, job):
        return some_events(self.version)

    def write(self, value, folder):
        (folder / "events").write_bytes(value.to_rows().tobytes())  # no writer within the writer

    def read(self, folder):
        return np.frombuffer((folder / "events").read_bytes())


class AnalysisStage:
    """A stage of an analysis over what it has made before."""

    name, owned, notes, exchanges = "stage", None, {}, True

    def __init__(self, path):
        self.path = path

    def write(self, version):
        job = Job([EventsOfAnalysis(version % 2)], self.path.parent, force=True)
        job.restore()
        job.run(SimpleNamespace(tell=lambda _: None))


CASES = {
    "stage": AnalysisStage,
    "store": Store,
    "node": ScanNode,
    "events": EventFile,
    "quickstart": Quickstart,
    "folders": QuickstartBesideFolders,
    "report": Report,
}


def snapshot(path: Path) -> Snapshot:
    """Hash of each file of a result that a user sees."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    seen = [one for one in files if one.is_file() and not any(part.startswith(".") for part in one.parts)]
    return {str(one.relative_to(path)): hashlib.sha256(one.read_bytes()).hexdigest() for one in seen}


def fork(
    case,
    version: int,
    *,
    kill_at: tuple[int, ...] = (),
    how: signal.Signals = signal.SIGKILL,
    from_commit: bool = False,
    log: Path | None = None,
) -> int:
    """Process that writes a version; it notes its steps in a file, or sends itself a signal before some of them.

    Steps are counted from the start, or from the rename that says that everything is written. After Ctrl-C the process
    writes again.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
        child = os.fork()
    if child:
        return child
    code, steps = 1, []
    try:

        def step(event, arguments):
            if event.startswith(STEPS):
                if event == "os.rename" and Path(arguments[0]).name == "new":
                    event = COMMIT
                steps.append(event)
                first = 0 if not from_commit else steps.index(COMMIT) if COMMIT in steps else len(steps)
                if len(steps) - 1 - first in kill_at:
                    os.kill(os.getpid(), how)

        sys.addaudithook(step)
        try:
            case.write(version)
        except KeyboardInterrupt:
            kill_at = ()
            case.write(version)
        if log is not None:
            log.write_text("\n".join(steps))
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Trial:
    """One case, killed many times."""

    def __init__(self, case, *, exchanges: bool):
        self.case, self.exchanges = case, exchanges
        self.others = set(case.notes)
        self.version = 0
        self.expected = []
        case.write(0)  # so that the children need not import what it takes
        for version in range(2):
            self.finish(version)
            self.expected.append(snapshot(case.path))
        assert self.expected[0] != self.expected[1]
        assert len(self.expected[0]) > len(self.others)
        self.version = 1
        self.outcomes = {"old": 0, "new": 0}

    def finish(self, version, **signals):
        """Write to the end; what killed writers, or interrupted ones of the process, left is gone then."""
        assert ended(fork(self.case, version, **signals)) == 0, "the next run must succeed"
        left = [one for one in self.case.path.parent.rglob(".*") if one != self.case.path]
        assert not left, f"left behind: {left}"

    def check(self):
        """Old or new as a whole; then take it as the old."""
        old, new = self.expected[self.version % 2], self.expected[(self.version + 1) % 2]
        found = snapshot(self.case.path)
        mine = {name: found[name] for name in found if name not in self.others}
        assert self.others <= set(found), "a file of the user is hidden"
        if not self.exchanges:
            assert mine.items() <= old.items() or mine.items() <= new.items(), "a mixture of two runs"
            restore(self.case.path, self.case.owned)
            found = snapshot(self.case.path)
        assert found in (old, new), f"neither the old nor the new: {sorted(found)}"
        self.outcomes["new" if found == new else "old"] += 1
        self.version += found == new

    def killed_at(self, step: int, *, from_commit: bool):
        code = ended(fork(self.case, self.version + 1, kill_at=(step,), from_commit=from_commit))
        assert code in (0, -signal.SIGKILL)
        self.check()

    def interrupted_at(self, steps: tuple[int, ...], *, from_commit: bool):
        self.version += 1
        self.finish(self.version, kill_at=steps, how=signal.SIGINT, from_commit=from_commit)
        assert snapshot(self.case.path) == self.expected[self.version % 2]

    def killed_after(self, seconds: float):
        child = fork(self.case, self.version + 1)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        ended(child)
        self.check()

    def steps(self, log: Path) -> tuple[list[str], float]:
        start = time.perf_counter()
        assert ended(fork(self.case, self.version + 1, log=log)) == 0
        seconds = time.perf_counter() - start
        self.version += 1
        return log.read_text().split("\n"), seconds


def interrupt(name: str, folder: Path, points: int, seed: int) -> None:
    rng = random.Random(seed)
    trial = Trial(CASES[name](folder / CASES[name].name), exchanges=True)
    steps, _ = trial.steps(folder.with_suffix(".steps"))
    last = len(steps) - steps.index(COMMIT)
    chosen = [(True, k) for k in range(last)] + [(False, k) for k in range(len(steps) - last)]
    for from_commit, k in rng.choices(chosen, k=points):
        trial.interrupted_at((k, k + 1)[: rng.randint(1, 2)], from_commit=from_commit)
    print(f"{name}: interrupted {points} times in {len(steps)} steps")


def main(name: str, folder: Path, points: int, seed: int) -> None:
    case = CASES[name]
    rng = random.Random(seed)
    for how, number in (("exchange", points), ("rename", points // 3)):
        home = folder / how
        home.mkdir()
        with nullcontext() if how == "exchange" else mock.patch.object(renames, "_rename", return_value=False):
            trial = Trial(case(home / case.name), exchanges=how == "exchange" and case.exchanges)
            steps, seconds = trial.steps(folder / "steps")
            # When all is written the new takes the place of the old: each step from there, and some of all.
            last = min(number // 2, len(steps) - steps.index(COMMIT))
            anywhere = [rng.randrange(len(steps)) for _ in range(number - number // 5 - last)]
            for k, step in enumerate([*range(last), *anywhere]):
                trial.killed_at(step, from_commit=k < last)
                if k % 8 == 7:
                    trial.version += 1
                    trial.finish(trial.version)
                    assert snapshot(trial.case.path) == trial.expected[trial.version % 2]
            for _ in range(number // 5):
                trial.killed_after(rng.uniform(0, seconds))
            trial.finish(trial.version)
        old, new = (trial.outcomes[key] for key in ("old", "new"))
        assert old + new == number
        assert old
        assert new
        print(f"{name}, {how}: killed {number} times in {len(steps)} steps; {old} old, {new} new")


if __name__ == "__main__":
    # The same bytes from the same events: FITS and gzip write the time otherwise.
    _ValidHDU._get_timestamp = lambda _: "2026-01-01T00:00:00"
    gzip.time = SimpleNamespace(time=lambda: 0.0)
    stages.time = SimpleNamespace(perf_counter=lambda: 0.0, strftime=lambda _: "2026-01-01T00:00:00")
    os.fsync = lambda _: None  # it matters when the power fails, and takes most of the time
    gc.freeze()  # children copy less
    (interrupt if sys.argv[5:] == ["interrupt"] else main)(
        sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    )
