"""The tables that ``compare.py`` prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from job import N_EVENTS

TARGET = 100.0
#: Title, stages of the peer, stages of ours, target of the ratio.
ROWS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], float | None], ...] = (
    ("set up", ("set_up",), ("set_up",), None),
    ("simulate", ("simulate",), ("simulate",), TARGET),
    ("marginalise", ("normalise", "marginalise"), ("fold", "density"), TARGET),
    ("sample, nested", ("sample",), ("nested",), TARGET),
    ("sample, NUTS", ("sample",), ("nuts",), None),
    (
        "all of it",
        ("set_up", "simulate", "normalise", "marginalise", "sample"),
        ("set_up", "fold", "simulate", "density", "nested"),
        None,
    ),
)
LABELS = {"diffuse": "Galactic diffuse", "hgps": "HGPS sources", "ccr": "cosmic rays"}

Stages = Mapping[str, Mapping[str, float]]


def total(stages: Stages, names: Sequence[str], kind: str = "wall") -> float:
    """Return the summed seconds of some stages."""
    return sum(stages[name][kind] for name in names)


def three_digits(value: float) -> str:
    """Return a positive number with three significant digits and no exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:#.3g}" if value >= 1e-3 else f"{value:.1e}"


def timing_table(peer: Stages, first: Stages, steady: Stages, whole_job: bool) -> list[str]:
    """Return the lines of the table of stages: wall and CPU seconds, and ratios of wall seconds.

    The targets are those of the whole job; a part of it is not judged.
    """
    groups = f"{'GammaBayes':>17s}{'ours, first':>18s}{'times':>8s}{'ours, steady':>18s}{'times':>8s}"
    columns = f"{'wall':>9s}{'CPU':>9s}" + f"{'wall':>9s}{'CPU':>9s}{'faster':>8s}" * 2
    lines = [f"{'':15s}{groups}", f"{'stage':14s}{columns}{'target':>8s}"]
    for title, theirs, our_stages, target in ROWS:
        peer_wall = total(peer, theirs)
        line = f"{title:14s}{three_digits(peer_wall):>9s}{three_digits(total(peer, theirs, 'cpu')):>9s}"
        for stages in (first, steady):
            wall, cpu = total(stages, our_stages), total(stages, our_stages, "cpu")
            line += f"{three_digits(wall):>9s}{three_digits(cpu):>9s}{three_digits(peer_wall / wall):>8s}"
        if target is not None and whole_job:
            line += f"{target:8.0f}  {'met' if peer_wall / total(steady, our_stages) >= target else 'missed'}"
        lines.append(line)
    return lines


def posterior_table(peer: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of posterior fractions."""
    runs = {"GammaBayes": peer, "ours, nested": ours["nested"], "ours, NUTS": ours["nuts"]}
    lines = [f"{'fraction':18s}{'truth':>8s}" + "".join(f"{name:>18s}" for name in runs)]
    for k, (name, truth) in enumerate(zip(peer["components"], peer["truth"], strict=True)):
        cells = [f"{run['fraction_mean'][k]:.4f} ± {run['fraction_sd'][k]:.4f}" for run in runs.values()]
        lines.append(f"{LABELS[name]:18s}{truth:8.4f}" + "".join(f"{cell:>18s}" for cell in cells))
    return lines


def report(peer: Mapping[str, Any], ours: Mapping[str, Any], reused: Path | None) -> str:
    """Return the whole report.

    Parameters
    ----------
    peer, ours : mapping
        What ``peer.py`` and ``ours.py`` wrote.
    reused : pathlib.Path or None
        File that the peer's numbers were taken from, if it was not run.
    """
    whole_job = peer["n_events"] == N_EVENTS
    theirs, mine = 1e6 * peer["likelihood_seconds"], 1e6 * ours["likelihood_seconds"]
    lines = [
        f"{peer['program']} and {ours['program']}: {ours['n_events']} events, three fractions",
        f"{ours['machine']}; Python {peer['python']} and {ours['python']}; seconds",
        "",
        *timing_table(peer["stages"], ours["first"], ours["steady"], whole_job),
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
        *posterior_table(peer, ours),
        "",
        "Each program analysed its own simulation, so the posteriors scatter independently around the truth.",
    ]
    if not whole_job:
        lines.append(f"NOT THE WHOLE JOB: {peer['n_events']} events instead of {N_EVENTS}.")
    if reused:
        lines.append(f"THE PEER WAS NOT RUN: its numbers are those of {reused}, from a {peer['machine']} machine.")
    return "\n".join(lines)
