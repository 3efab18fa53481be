"""The tables that ``compare.py`` prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from job import Job

TARGET = 100.0
#: How far NUTS and nested sampling may differ, in combined Monte Carlo errors of the means.
AGREEMENT = 3.0
#: How far the truth may lie from the mean, in standard deviations of the posterior.
RECOVERY = 3.0
#: Title, stages of the peer, stages of ours.
ROWS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("set up", ("set_up",), ("set_up",)),
    ("simulate", ("simulate",), ("simulate",)),
    ("marginalise", ("normalise", "marginalise"), ("fold", "density")),
    ("sample, nested", ("sample",), ("nested",)),
    ("sample, NUTS", ("sample",), ("nuts",)),
    (
        "all of it",
        ("set_up", "simulate", "normalise", "marginalise", "sample"),
        ("set_up", "fold", "simulate", "density", "nested"),
    ),
)
LABELS = {
    "dm": "dark matter",
    "diffuse": "Galactic diffuse",
    "hgps": "HGPS sources",
    "ccr": "cosmic rays",
    "log10_mass": "log10(mass/TeV)",
}

Stages = Mapping[str, Mapping[str, float]]


def total(stages: Stages, names: Sequence[str], kind: str = "wall") -> float:
    """Return the summed seconds of some stages."""
    return sum(stages[name][kind] for name in names)


def three_digits(value: float) -> str:
    """Return a positive number with three significant digits and no exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:#.3g}" if value >= 1e-3 else f"{value:.1e}"


def timing_table(peer: Stages, first: Stages, steady: Stages, targets: frozenset[str]) -> list[str]:
    """Return the lines of the table of stages: wall and CPU seconds, and ratios of wall seconds."""
    groups = f"{'GammaBayes':>17s}{'ours, first':>18s}{'times':>8s}{'ours, steady':>18s}{'times':>8s}"
    columns = f"{'wall':>9s}{'CPU':>9s}" + f"{'wall':>9s}{'CPU':>9s}{'faster':>8s}" * 2
    lines = [f"{'':15s}{groups}", f"{'stage':14s}{columns}{'target':>8s}"]
    for title, theirs, our_stages in ROWS:
        peer_wall = total(peer, theirs)
        line = f"{title:14s}{three_digits(peer_wall):>9s}{three_digits(total(peer, theirs, 'cpu')):>9s}"
        for stages in (first, steady):
            wall, cpu = total(stages, our_stages), total(stages, our_stages, "cpu")
            line += f"{three_digits(wall):>9s}{three_digits(cpu):>9s}{three_digits(peer_wall / wall):>8s}"
        if title in targets:
            line += f"{TARGET:8.0f}  {verdict(peer_wall / total(steady, our_stages) >= TARGET)}"
        lines.append(line)
    return lines


def verdict(fulfilled: bool) -> str:
    """Return what to print about a target."""
    return "met" if fulfilled else "missed"


def posterior_table(runs: Mapping[str, Mapping[str, Any]], names: Sequence[str], truth: Sequence[float]) -> list[str]:
    """Return the lines of the table of posterior means and standard deviations."""
    lines = [f"{'':18s}{'truth':>8s}" + "".join(f"{name:>18s}" for name in runs)]
    for k, (name, true) in enumerate(zip(names, truth, strict=True)):
        cells = [f"{run['mean'][k]:.4f} ± {run['sd'][k]:.4f}" for run in runs.values()]
        lines.append(f"{LABELS[name]:18s}{true:8.4f}" + "".join(f"{cell:>18s}" for cell in cells))
    return lines


def checks(runs: Mapping[str, Mapping[str, Any]], ours: Mapping[str, Any], truth: Sequence[float]) -> list[str]:
    """Return lines that say whether the truth was recovered, and whether the samplers agree."""
    nested, nuts = ours["nested"], ours["nuts"]
    error = np.hypot(nested["mean_error"], nuts["mean_error"])
    apart = float(np.max(np.abs(np.subtract(nested["mean"], nuts["mean"])) / error))
    away = {name: float(np.max(np.abs(np.subtract(run["mean"], truth)) / run["sd"])) for name, run in runs.items()}
    recovered = max(value for name, value in away.items() if name != "GammaBayes") <= RECOVERY
    largest = ", ".join(f"{value:.1f} ({name})" for name, value in away.items())
    return [
        f"Truth, largest distance from a mean in standard deviations of the posterior: {largest}; ours at most "
        f"{RECOVERY:.0f}: {verdict(recovered)}.",
        f"Means of NUTS and of nested sampling: at most {apart:.1f} combined Monte Carlo errors apart; at most "
        f"{AGREEMENT:.0f}: {verdict(apart <= AGREEMENT)}.",
    ]


def report(job: Job, peer: Mapping[str, Any], ours: Mapping[str, Any], reused: Path | None) -> str:
    """Return the whole report.

    Parameters
    ----------
    job : Job
        What both did; a part of it is not judged.
    peer, ours : mapping
        What the scripts of both wrote.
    reused : pathlib.Path or None
        File that the peer's numbers were taken from, if it was not run.
    """
    whole_job = peer["n_events"] == job.n_events
    theirs, mine = 1e6 * peer["likelihood_seconds"], 1e6 * ours["likelihood_seconds"]
    runs = {"GammaBayes": peer, "ours, nested": ours["nested"], "ours, NUTS": ours["nuts"]}
    lines = [
        f"{peer['program']} and {ours['program']}: {ours['n_events']} events; {job.title}",
        f"{ours['machine']}; Python {peer['python']} and {ours['python']}; seconds",
        "",
        *timing_table(peer["stages"], ours["first"], ours["steady"], job.targets if whole_job else frozenset()),
        "",
        "first: fresh process, empty compilation caches; steady: same process, other events, models built",
        "anew, tables of the instrument kept. Ratios are of wall seconds; the target is for the steady ones.",
        f"Imports: {three_digits(total(peer['stages'], ('import',)))} and "
        f"{three_digits(total(ours['first'], ('import',)))} s.",
        f"NUTS spent {three_digits(ours['nuts_sampling_seconds'])} s on sampling, the rest on compiling "
        "the model; it has no target, for the peer has no counterpart.",
        f"One likelihood call: {theirs:.1f} and {mine:.1f} microseconds, {theirs / mine:.1f} times faster; "
        f"nested sampling made {peer['likelihood_calls']} and {ours['nested']['likelihood_calls']} calls.",
        "",
        *posterior_table(runs, [*peer["components"], *peer["parameters"]], peer["truth"]),
        "",
        *checks(runs, ours, peer["truth"]),
        "Each program analysed its own simulation, so the posteriors scatter independently around the truth.",
    ]
    if not whole_job:
        lines.append(f"NOT THE WHOLE JOB: {peer['n_events']} events instead of {job.n_events}.")
    if reused:
        lines.append(f"THE PEER WAS NOT RUN: its numbers are those of {reused}, from a {peer['machine']} machine.")
    return "\n".join(lines)
