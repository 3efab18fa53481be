r"""The quick start: simulate a CTAO observation of the Galactic centre and infer what it is made of.

One pointing of 50 h with the CTAO South prod5 instrument response, 6.4 deg x 6.4 deg and 0.1-100 TeV, three
components (Galactic diffuse emission, the sources of the H.E.S.S. Galactic Plane Survey, residual cosmic
rays). PyMC simulates the events with known fractions through the instrument response, and the same model
then infers them:

.. math:: f \sim \mathrm{Dirichlet}(1, 1, 1), \qquad x_i \sim \sum_k f_k\, p_k(x_i)

by Hamiltonian Monte Carlo and by nested sampling, which also gives the evidence.

It is the analysis file ``files/quickstart.yaml``, run by the stages of any analysis. Of its own it has the numbers that
its command takes, and its results appear together at the end.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from pymc_gamma.analysis.interrupts import interruptible
from pymc_gamma.analysis.progress import Bars, quiet_pymc
from pymc_gamma.files import atomic_path, locked_folder, refuse_full_disk, restore, user_path
from pymc_gamma.workspace import left_behind

if TYPE_CHECKING:
    from pymc_gamma.events import Events
    from pymc_gamma.response import Response

__all__ = ["OUTPUT_FILES", "Interface", "QuickStart", "check_arguments", "check_output", "quickstart"]

OUTPUT_FILES = ("events.fits", "posterior.nc", "corner.png", "counts.png", "ppc.png")

_N_COMPONENTS = 3
_FRACTIONS = (1 / 6, 1 / 3, 1 / 2)
_INTERVAL = (0.05, 0.95)
_SIZE, _SIZE_PER_EVENT = 1_500_000, 150
"""Bytes of the results: of the pictures and the posterior, and of each event in two files."""


class Interface(NamedTuple):
    """How a user of the quick start says things, for messages.

    Parameters
    ----------
    output : str
        The folder for the results.
    overwrite : str
        That results which are there may be replaced.
    """

    output: str = "output="
    overwrite: str = "overwrite=True"


PYTHON = Interface()


@dataclass(frozen=True, eq=False)
class QuickStart:
    """What the quick start made.

    Parameters
    ----------
    events : Events
        Simulated events.
    response : Response
        Response they were simulated with.
    posterior : `xarray.DataTree`
        Groups ``posterior``, ``sample_stats``, ``observed_data``, and of the nested run ``nested_posterior``
        and ``nested``. The evidence and the true fractions are among the attributes.
    seconds : dict
        Wall time of each stage.
    output : pathlib.Path
        Folder that holds :data:`OUTPUT_FILES`.
    """

    events: "Events"
    response: "Response"
    posterior: xr.DataTree
    seconds: dict[str, float]
    output: Path


def quickstart(
    n_events: int = 4500,
    fractions: Sequence[float] = _FRACTIONS,
    *,
    seed: int = 1,
    output: str | os.PathLike[str] = "quickstart",
    overwrite: bool = False,
    console: Console | None = None,
    interface: Interface = PYTHON,
) -> QuickStart:
    """Run the quick start and write its results.

    They appear together at the end. Until then the results of an earlier run stay as they are, and other files in the
    folder stay in any case.

    Parameters
    ----------
    n_events : int
        Number of events to simulate.
    fractions : sequence of float
        True fractions of diffuse emission, catalogued sources and residual cosmic rays; they sum to 1.
    seed : int
        Seed of everything random.
    output : path-like
        Folder for the results.
    overwrite : bool
        Replace results that are already there.
    console : `rich.console.Console`, optional
        Where to show progress and the tables; ``Console(quiet=True)`` for silence.
    interface : Interface, optional
        How messages name the arguments.

    Returns
    -------
    QuickStart
        The results, also written to ``output``.

    Raises
    ------
    ValueError
        If a number makes no sense; the message names it.
    FileExistsError
        If results are already there and ``overwrite`` is false. Checked before the work starts.
    FolderInUseError
        If another run is at work for the same folder. Checked before the work starts.
    OSError
        If the results cannot be written: no permission, no space. Checked before the work starts as far as possible.
    KeyboardInterrupt
        If it is interrupted; the message says what the folder holds.
    """
    check_arguments(n_events, fractions, seed)
    folder = check_output(output, overwrite=overwrite, interface=interface)
    console = console or Console()
    truth = np.asarray(fractions, dtype=np.float64)
    before = _identities(folder)
    with interruptible(lambda: _what_is_there(folder, before)):
        with locked_folder(folder):
            restore(folder, OUTPUT_FILES)
            check_output(folder, overwrite=overwrite, interface=interface)  # completed just now, or by another run
            refuse_full_disk(folder, _SIZE + _SIZE_PER_EVENT * n_events)
            with Bars(console) as bars, quiet_pymc():
                results = _work(bars, n_events, truth, seed)
                with bars.run("write the results"):
                    _write(folder, results, overwrite=overwrite, interface=interface)
        result = QuickStart(results.events, results.response, results.posterior, bars.seconds, folder)
        _report(result, truth, console)
    return result


def check_arguments(n_events: int, fractions: Sequence[float], seed: int) -> None:
    """Raise ``ValueError`` for numbers that make no sense.

    Examples
    --------
    >>> check_arguments(4500, (0.5, 0.6, 0.1), 1)
    Traceback (most recent call last):
        ...
    ValueError: fractions must be at least 0 and sum to 1, got 0.5, 0.6, 0.1 (sum 1.2).
    """
    if n_events < 1:
        raise ValueError(f"The number of events must be at least 1, got {n_events}.")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}.")
    if len(fractions) != _N_COMPONENTS:
        raise ValueError(
            f"fractions must be {_N_COMPONENTS} numbers (diffuse emission, sources, cosmic rays), got {len(fractions)}."
        )
    values = np.asarray(fractions, dtype=np.float64)
    if not np.all(values >= 0) or abs(values.sum() - 1) > 1e-6:
        told = ", ".join(f"{value:g}" for value in values)
        raise ValueError(f"fractions must be at least 0 and sum to 1, got {told} (sum {values.sum():.6g}).")


def check_output(output: str | os.PathLike[str], *, overwrite: bool = False, interface: Interface = PYTHON) -> Path:
    """Folder for the results; it is not made.

    Raises
    ------
    FileExistsError
        If results are already there and ``overwrite`` is false.
    NotADirectoryError
        If ``output`` is a file.
    """
    folder = user_path(output)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; choose a folder for the results with {interface.output}.")
    present = [name for name in OUTPUT_FILES if (folder / name).exists()]
    if present and not overwrite:
        raise FileExistsError(
            f"{folder} already holds {', '.join(present)}; choose another folder with {interface.output}, "
            f"or replace them with {interface.overwrite}."
        )
    return folder


@dataclass(frozen=True, eq=False)
class _Results:
    """What is written, before it is."""

    events: "Events"
    response: "Response"
    posterior: xr.DataTree
    figures: dict[str, Any]


def _work(bars: Bars, n_events: int, truth: np.ndarray, seed: int) -> _Results:
    with bars.run("import libraries"):
        import pymc  # noqa: F401

        from pymc_gamma.analysis.analysis import Analysis
        from pymc_gamma.analysis.pipeline import stages_of
        from pymc_gamma.analysis.plan import Plan
        from pymc_gamma.analysis.results import combined
        from pymc_gamma.analysis.stages import Job
        from pymc_gamma.analysis.templates import template
    fractions = ", ".join(map(repr, truth.tolist()))
    changes = [
        f"general.seed={seed}",
        "results.report=false",
        f"simulate.n_events={n_events}",
        f"simulate.values.fraction=[{fractions}]",
    ]
    analysis = Analysis.from_yaml(template("quickstart"), set=changes)
    job = Job(stages_of(Plan(analysis.config, analysis.document, bars)))
    job.run(bars)
    posterior = combined({one.sampler: job.value(one.sampler) for one in analysis.config.fit.samplers})
    posterior.attrs |= {"true_fraction": truth, "n_events": n_events, "seed": seed}
    events, pictures = job.value("events").selected.events, job.value("predict").pictures
    return _Results(events, job.value("fold"), posterior, pictures)


def _write(folder: Path, results: _Results, *, overwrite: bool, interface: Interface) -> None:
    from pymc_gamma.analysis.results import as_netcdf, as_png

    contents = {"posterior.nc": as_netcdf(results.posterior)}
    contents |= {name: as_png(figure) for name, figure in results.figures.items()}
    with atomic_path(folder, overwrite=overwrite, owned=OUTPUT_FILES, hint=interface.overwrite) as temporary:
        temporary.mkdir()
        results.events.write(temporary / "events.fits")
        for name, content in contents.items():
            (temporary / name).write_bytes(content)


def _report(result: QuickStart, truth: np.ndarray, console: Console) -> None:
    import arviz as az

    draws = result.posterior["posterior"].to_dataset()["fraction"]
    mean, sd = draws.mean(("chain", "draw")), draws.std(("chain", "draw"))
    low, high = (draws.quantile(q, ("chain", "draw")) for q in _INTERVAL)
    dataset = draws.to_dataset(name="fraction")
    rhat, ess = az.rhat(dataset)["fraction"], az.ess(dataset)["fraction"]

    table = Table(title=f"Fractions of {len(result.events)} events")
    table.add_column("component")
    for heading in ("truth", "mean", "sd", "90 % interval", "R-hat", "ESS"):
        table.add_column(heading, justify="right")
    for k, name in enumerate(result.response.component_names):
        table.add_row(
            name,
            f"{truth[k]:.4f}",
            f"{float(mean[k]):.4f}",
            f"{float(sd[k]):.4f}",
            f"{float(low[k]):.4f} to {float(high[k]):.4f}",
            f"{float(rhat[k]):.3f}",
            f"{float(ess[k]):.0f}",
        )
    console.print(table)
    attrs = result.posterior.attrs
    console.print(f"log evidence {attrs['log_evidence']:.2f} ± {attrs['log_evidence_err']:.2f} (nested sampling)")

    times = Table(title="Time")
    times.add_column("stage")
    times.add_column("seconds", justify="right")
    for stage, seconds in result.seconds.items():
        times.add_row(stage, f"{seconds:.2f}")
    times.add_section()
    times.add_row("total", f"{sum(result.seconds.values()):.2f}")
    console.print(times)
    console.print(f"Written to {result.output}{os.sep}: {', '.join(OUTPUT_FILES)}")


def _identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Which files of results a folder holds; another file of the same name is another one."""
    found = {}
    for name in OUTPUT_FILES:
        with suppress(OSError):
            status = (folder / name).stat()
            found[name] = (status.st_ino, status.st_mtime_ns)
    return found


def _what_is_there(folder: Path, before: dict[str, tuple[int, int]]) -> str:
    now = _identities(folder)
    if hidden := left_behind(Path(os.path.realpath(folder)), OUTPUT_FILES):
        where = ", ".join(map(str, hidden))
        return f"the results in {folder} are being replaced; until the next run into this folder the rest is in {where}"
    if now == before:
        return f"the earlier results in {folder} are unchanged" if now else f"nothing was written into {folder}"
    if set(now) == set(OUTPUT_FILES) and not set(now.values()) & set(before.values()):
        return f"the new results in {folder} are complete"
    return f"the results in {folder} are being replaced; the next run into this folder completes that"
