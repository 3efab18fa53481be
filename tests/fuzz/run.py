"""Read changed files and report what is neither read nor refused by an error of this package that names the file.

    python tests/fuzz/run.py [--seeds 100] [--first 0] [target ...]

Batches run in subprocesses with limits of memory and time. A batch that dies names its seed.
"""

import argparse
import collections
import json
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).parent
MEMORY = 6 * 2**30
SECONDS = 60
BATCH = 50


class Hang(BaseException):
    """A reader took too long."""


def one(target, seed: int) -> dict[str, str]:
    """Outcome of one seed."""
    import numpy as np

    import pymc_gamma as pmg

    rng = np.random.default_rng(seed)
    try:
        content, told = target.mutate(target.original(), rng)
    except Exception as error:
        return {"outcome": "not made", "told": repr(error)}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        path = target.place(Path(folder), content)
        signal.alarm(SECONDS)
        try:
            found = target.read(path)
        except pmg.errors.PymcGammaError as error:
            named = any(name in str(error) for name in target.named)
            outcome = {"outcome": "refused" if named else "unnamed", "error": f"{type(error).__name__}: {error}"[:400]}
        except (Exception, Hang) as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if "pymc_gamma" in f.filename and "fuzz" not in f.filename]
            site = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}" if ours else "?"
            outcome = {
                "outcome": "raw" if ours else "not ours",
                "error": f"{type(error).__name__}: {error}"[:300],
                "site": site,
            }
        else:
            mine = [w for w in warned if issubclass(w.category, pmg.errors.PymcGammaWarning)]
            outcome = {
                "outcome": "not ours" if found is None else "told" if mine else "read",
                "value": repr(found)[:150],
            }
        finally:
            signal.alarm(0)
    return outcome | {"told": told}


def work(name: str, seeds: range) -> None:
    """Outcomes of a batch, one line of JSON each; the seed is written first, so that a crash names it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def ring(*_):
        raise Hang(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, ring)
    import logging

    logging.disable(logging.CRITICAL)
    from targets import TARGETS

    for seed in seeds:
        print(json.dumps({"seed": seed}), flush=True)
        print(json.dumps(one(TARGETS[name], seed)), flush=True)


def batch(name: str, seeds: range) -> list[dict[str, str]]:
    """Outcomes of some seeds; goes on after a crash."""
    found: list[dict[str, str]] = []
    left = seeds
    while len(left):
        command = [sys.executable, __file__, name, "--first", str(left[0]), "--seeds", str(len(left)), "--work"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seed = left[0]
        last_had_outcome = True
        for line in done.stdout.splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if list(entry) == ["seed"]:
                seed, last_had_outcome = entry["seed"], False
            else:
                found.append({"target": name, "seed": str(seed)} | entry)
                last_had_outcome = True
        if done.returncode:
            if last_had_outcome:
                raise RuntimeError(done.stderr)
            found.append(
                {"target": name, "seed": str(seed), "outcome": "crash", "error": done.stderr[-300:], "told": ""}
            )
            left = range(seed + 1, left.stop)
        else:
            break
    return found


def main() -> int:
    """Run, report, and give the number of findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--show", default="", help="outcomes of which every one is shown")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    if options.work:
        work(options.targets[0], seeds)
        return 0
    from targets import TARGETS

    bad = 0
    for name in options.targets or TARGETS:
        entries = [
            entry
            for start in range(seeds.start, seeds.stop, BATCH)
            for entry in batch(name, range(start, min(start + BATCH, seeds.stop)))
        ]
        counts = collections.Counter(entry["outcome"] for entry in entries)
        print(f"{name}: {dict(counts)}")
        for entry in entries:
            if entry["outcome"] in ("raw", "unnamed", "crash") or entry["outcome"] in options.show.split(","):
                bad += entry["outcome"] in ("raw", "unnamed", "crash")
                print("   ", entry["seed"], entry["outcome"], "|", entry["told"], "|", entry.get("site", ""), "|",
                      entry.get("error", entry.get("value", "")))  # fmt: skip
    return min(bad, 100)


if __name__ == "__main__":
    sys.exit(main())
