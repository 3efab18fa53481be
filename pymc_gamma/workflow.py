r"""The quick start: simulate a CTAO observation of the Galactic centre and infer what it is made of.

One pointing of 50 h with the CTAO South prod5 instrument response, 6.4 deg x 6.4 deg and 0.1-100 TeV, three
components (Galactic diffuse emission, the sources of the H.E.S.S. Galactic Plane Survey, residual cosmic
rays). PyMC simulates the events with known fractions through the instrument response, and the same model
then infers them:

.. math:: f \sim \mathrm{Dirichlet}(1, 1, 1), \qquad x_i \sim \sum_k f_k\, p_k(x_i)

by Hamiltonian Monte Carlo and by nested sampling, which also gives the evidence.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pymc_gamma.files import atomic_path

if TYPE_CHECKING:
    import pymc as pm

    from pymc_gamma.events import Events
    from pymc_gamma.response import Response

__all__ = ["OUTPUT_FILES", "QuickStart", "check_arguments", "check_output", "quickstart"]

OUTPUT_FILES = ("events.fits", "posterior.nc", "corner.png", "counts.png", "ppc.png")

_N_COMPONENTS = 3
_FRACTIONS = (1 / 6, 1 / 3, 1 / 2)
_CHAINS, _TUNE, _DRAWS = 4, 1000, 1000
_NLIVE, _DLOGZ = 500, 0.5
_INTERVAL = (0.05, 0.95)
_DPI = 130


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
    force: bool = False,
    console: Console | None = None,
) -> QuickStart:
    """Run the quick start and write its results.

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
    force : bool
        Replace results that are already there.
    console : `rich.console.Console`, optional
        Where to show progress and the tables; ``Console(quiet=True)`` for silence.

    Returns
    -------
    QuickStart
        The results, also written to ``output``.

    Raises
    ------
    ValueError
        If a number makes no sense; the message names it.
    FileExistsError
        If results are already there and ``force`` is false. Checked before the work starts.
    """
    check_arguments(n_events, fractions, seed)
    folder = check_output(output, force=force)
    console = console or Console()
    truth = np.asarray(fractions, dtype=np.float64)
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(4)]

    with _Stages(console) as stages, _quiet_pymc():
        with stages.run("import libraries"):
            import pymc as pm

            import pymc_gamma as pmg
        with stages.run("fold the sky through the instrument response"):
            response = galactic_centre_response()
        with stages.run(f"simulate {n_events} events"):
            events = _simulate(response, n_events, truth, seeds[0])
        with stages.run("fold the events"):
            model = _mixture_model(response, observed=events)
        with stages.run("sample the posterior", total=_CHAINS * (_TUNE + _DRAWS)) as advance:
            # PyMC's own sampler, because its compilation, most of the time here, is cached between runs.
            idata = pm.sample(
                model=model,
                draws=_DRAWS,
                tune=_TUNE,
                chains=_CHAINS,
                cores=1,
                nuts_sampler="pymc",
                random_seed=seeds[1],
                progressbar=False,
                callback=lambda **_: advance(),
            )
        with stages.run("sample the evidence"):
            nested = pmg.sample_nested(model, nlive=_NLIVE, dlogz=_DLOGZ, random_seed=seeds[2], progressbar=False)
        posterior = _collect(idata, nested, truth, n_events, seed)
        with stages.run("draw the pictures"):
            figures = _draw(events, response, idata, nested, truth, seeds[3])
        with stages.run("write the results"):
            _write(folder, events, posterior, figures, overwrite=force)
    result = QuickStart(events, response, posterior, stages.seconds, folder)
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


def check_output(output: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Folder for the results, made if missing.

    Raises
    ------
    FileExistsError
        If results are already there and ``force`` is false.
    NotADirectoryError
        If ``output`` is a file.
    """
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; choose a folder for the results with --output.")
    present = [name for name in OUTPUT_FILES if (folder / name).exists()]
    if present and not force:
        raise FileExistsError(
            f"{folder} already holds {', '.join(present)}; choose another folder with --output, "
            "or replace them with --force."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def galactic_centre_response() -> "Response":
    """Response of the quick start: one pointing, three components.

    Returns
    -------
    Response
        CTAO South, 50 h at the Galactic centre, 6.4 deg x 6.4 deg, 0.1-100 TeV.
    """
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    import pymc_gamma as pmg

    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    observation = pmg.Observation(irfs=pmg.load_irfs("prod5-south-20deg-50h"), pointing=centre, livetime=50 * u.h)
    roi = pmg.RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
    components = [pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()]
    return pmg.fold(components, observation, roi)


def _mixture_model(response: "Response", **events: Any) -> "pm.Model":
    import pymc as pm

    import pymc_gamma as pmg

    with pm.Model(coords=response.coords) as model:
        fraction = pm.Dirichlet("fraction", a=np.ones(_N_COMPONENTS), dims="component")
        pmg.EventMixture("events", fraction, response=response, **events)
    return model


def _simulate(response: "Response", n_events: int, truth: np.ndarray, seed: int) -> "Events":
    import pymc as pm

    import pymc_gamma as pmg

    known = pm.do(_mixture_model(response, n_events=n_events), {"fraction": truth})
    # Python draws the events either way: compiling the graph would only cost time.
    prior = pm.sample_prior_predictive(draws=1, model=known, random_seed=seed, compile_kwargs={"mode": "FAST_COMPILE"})
    return pmg.Events.from_predictive(prior, response)


def _collect(idata: xr.DataTree, nested: xr.DataTree, truth: np.ndarray, n_events: int, seed: int) -> xr.DataTree:
    """Both runs in one tree; what was asked for and the evidence among its attributes."""
    tree = idata.copy()
    tree["nested_posterior"] = nested["posterior"]
    tree["nested"] = nested["nested"]
    tree.attrs |= {
        "log_evidence": float(nested.attrs["log_evidence"]),
        "log_evidence_err": float(nested.attrs["log_evidence_err"]),
        "true_fraction": truth,
        "n_events": n_events,
        "seed": seed,
    }
    return tree


def _draw(
    events: "Events",
    response: "Response",
    idata: xr.DataTree,
    nested: xr.DataTree,
    truth: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    from pymc_gamma.plotting import SkyCells, plot_corner, plot_counts, plot_ppc
    from pymc_gamma.plotting.counts import default_cells

    sky = SkyCells.from_response(response, default_cells(events))
    return {
        "corner.png": plot_corner({"NUTS": idata, "nested sampling": nested}, ["fraction"], truths={"fraction": truth}),
        "counts.png": plot_counts(events, response, idata, cells=sky),
        "ppc.png": plot_ppc(events, response, idata, sky=sky, random_seed=seed),
    }


def _write(folder: Path, events: "Events", posterior: xr.DataTree, figures: dict[str, Any], *, overwrite: bool) -> None:
    import matplotlib.pyplot as plt

    events.write(folder / "events.fits", overwrite=overwrite)
    with atomic_path(folder / "posterior.nc", overwrite=overwrite) as temporary:
        posterior.to_netcdf(temporary, engine="h5netcdf")
    for name, figure in figures.items():
        with atomic_path(folder / name, overwrite=overwrite) as temporary:
            figure.savefig(temporary, dpi=_DPI)
        plt.close(figure)


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


@dataclass(eq=False)
class _Stages:
    """Times the stages of a job and shows a bar for the one at work."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> "_Stages":
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def run(self, name: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """Time a block; it may call what it gets to advance the bar by one of ``total``."""
        task = self._progress.add_task(name, total=total)
        start = time.perf_counter()
        yield lambda: self._progress.advance(task)
        self.seconds[name] = time.perf_counter() - start
        self._finish(task)

    def _finish(self, task: TaskID) -> None:
        self._progress.update(task, total=1, completed=1)


@contextmanager
def _quiet_pymc() -> Iterator[None]:
    """Hold back the messages of PyMC below a warning: they would break into the progress bars."""
    logger = logging.getLogger("pymc.sampling")  # not "pymc": importing PyMC sets the level of that one
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
