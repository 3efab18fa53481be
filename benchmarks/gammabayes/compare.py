"""Compare pymc_gamma with GammaBayes 0.1.9 on the job of GammaBayes' own Quick Start, or on one of dark matter.

Runs the peer's script in an environment of its own, made on the first run, then ours in this one, both with
one thread for linear algebra, and prints for each stage the seconds of both, their ratio and the target,
both posteriors beside the truth, and whether our two samplers agree.

==============  ===============================  =================================================
stage           GammaBayes                       pymc_gamma
==============  ===============================  =================================================
simulate        draw, pass through the IRFs      ``response.simulate``
marginalise     ``normalise`` + ``marginalise``  ``fold`` + ``response.density``
sample, nested  dynesty, 500 live points         dynesty, 500 live points (``sample_nested``)
sample, NUTS    the same                         4 x (1000 + 1000) draws (``pm.sample``)
==============  ===============================  =================================================

Ours is timed twice: in a fresh process with empty compilation caches ("first"), and again in that process
("steady"). The whole takes ten to fifteen minutes, nearly all of it the peer's::

    python benchmarks/gammabayes/compare.py

The mass of dark matter that annihilates into W+W-, beside the Quick Start's components; the peer scans 21 masses::

    python benchmarks/gammabayes/compare.py --case darkmatter

On a twentieth of the events, in a few minutes::

    python benchmarks/gammabayes/compare.py --fraction-of-job 0.05

Ours anew, beside the peer's numbers of an earlier run (the report then says so)::

    python benchmarks/gammabayes/compare.py --reuse benchmarks/results/gammabayes-quickstart-peer.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from environment import ComparisonError, ensure_peer
from job import JOBS, Job
from report import report

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ENVIRONMENT = ROOT / ".venv-gammabayes"


def run_script(
    python: str | Path, script: str, output: Path, options: Sequence[object], **variables: str
) -> dict[str, Any]:
    """Run a script of this directory in an interpreter and return the record that it writes."""
    output.parent.mkdir(parents=True, exist_ok=True)
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    print(f"Running {script}", file=sys.stderr, flush=True)
    try:
        subprocess.run(
            [str(python), str(HERE / script), "--output", str(output), *map(str, options)],
            env={**os.environ, **one_thread, **variables},
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ComparisonError(f"{script} failed: {error}; see above.") from error
    return dict(json.loads(output.read_text()))


def run_ours(script: str, output: Path, options: Sequence[object]) -> dict[str, Any]:
    """Run a script of our side in a fresh process whose compilation caches are empty."""
    with tempfile.TemporaryDirectory(prefix="pymc-gamma-") as caches:
        inherited = {name: os.environ.get(name) for name in ("PYTENSOR_FLAGS", "PYTHONPATH")}
        return run_script(
            sys.executable,
            script,
            output,
            options,
            NUMBA_CACHE_DIR=f"{caches}/numba",
            PYTENSOR_FLAGS=",".join(filter(None, (inherited["PYTENSOR_FLAGS"], f"base_compiledir={caches}"))),
            PYTHONPATH=os.pathsep.join(filter(None, (str(ROOT), inherited["PYTHONPATH"]))),
        )


def read_peer(path: Path, job: Job) -> dict[str, Any]:
    """Return the peer's record of an earlier run of a job."""
    try:
        record = dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ComparisonError(f"--reuse {path}: {error}") from error
    missing = {"stages", "n_events", "mean", "likelihood_calls", "components", "parameters"} - record.keys()
    if missing:
        raise ComparisonError(
            f"--reuse {path}: lacks {', '.join(sorted(missing))}; give a file that {job.scripts[0]} wrote."
        )
    if [*record["components"], *record["parameters"]] != [*job.fractions, *job.parameters]:
        raise ComparisonError(f"--reuse {path} is of another --case; give a file that {job.scripts[0]} wrote.")
    return record


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare pymc_gamma with GammaBayes 0.1.9 on the same job.")
    parser.add_argument("--case", choices=list(JOBS), default="quickstart", help="which job; default quickstart")
    parser.add_argument("--reuse", type=Path, metavar="JSON", help="take the peer's numbers from an earlier run")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, metavar="DIR", help="the peer's environment")
    parser.add_argument("--peer-python", type=Path, help="interpreter that already has the peer installed")
    parser.add_argument("--fraction-of-job", type=float, default=1.0, metavar="F", help="0 < F <= 1; default 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="passes of ours after the first (default 5)")
    return parser.parse_args()


def compare(arguments: argparse.Namespace) -> str:
    """Run what has to be run and return the report."""
    job, seed = JOBS[arguments.case], ("--seed", arguments.seed)
    of_peer, of_ours = job.scripts
    if arguments.reuse:
        peer = read_peer(arguments.reuse, job)
    else:
        python = arguments.peer_python or ensure_peer(arguments.environment)
        output = RESULTS / f"gammabayes-{arguments.case}-peer.json"
        peer = run_script(python, of_peer, output, (*seed, "--fraction-of-job", arguments.fraction_of_job))
    passes = (*seed, "--events", peer["n_events"], "--repeats", arguments.repeats)
    ours = run_ours(of_ours, RESULTS / f"gammabayes-{arguments.case}-ours.json", passes)
    return report(job, peer, ours, arguments.reuse)


def main() -> int:
    try:
        print(compare(parse_arguments()))
    except ComparisonError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
