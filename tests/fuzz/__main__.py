"""Change files with seeds, read them in processes with limits, and report what is neither read nor refused.

    make fuzz                                                ten minutes
    python tests/fuzz --seconds 60 --seed 7 events irfs      some targets
    python tests/fuzz --replay events flip_bits 7000012      one case again

The same seed tries the same cases in the same order. Failing files are kept in a folder; a case that has been mended
belongs into ``tests/fuzz/corpus.json`` (``--keep``), which the tests try again.
"""

import argparse
import json
import logging
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from limits import Child, Limits, ended

CORPUS = Path(__file__).parent / "corpus.json"
CASES_OF_A_SEED = 10**6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: all; with --replay: target, mutator and number")
    parser.add_argument("--seconds", type=float, default=600, help="time after which no case begins")
    parser.add_argument("--cases", type=int, default=CASES_OF_A_SEED, help="number of cases at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--save", type=Path, default=Path("fuzz-failures"), help="folder for files that fail")
    parser.add_argument("--replay", action="store_true", help="try one case again and keep its file")
    parser.add_argument("--keep", action="store_true", help="with --replay: add the case to the corpus")
    parser.add_argument("--show", default="", help="outcomes of which every case is shown, besides failures")
    return parser.parse_args()


def cases(names: list[str], seed: int, number: int) -> Iterator["Case"]:
    """Targets in turn, each with one of its mutators."""
    for k in range(number):
        name = names[k % len(names)]
        mutators = TARGETS[name].mutators
        chosen = mutators[int(np.random.default_rng([seed, k]).integers(len(mutators)))]
        yield Case(name, chosen.__name__, CASES_OF_A_SEED * seed + k)


def run(todo: Iterator["Case"], options: argparse.Namespace) -> Iterator[tuple["Case", "Outcome"]]:
    """Outcomes as they come, until the time is over."""
    end = time.monotonic() + options.seconds
    running: dict[Child, Case] = {}
    while True:
        while len(running) < options.jobs and time.monotonic() < end:
            case = next(todo, None)
            if case is None:
                break
            running[Child(lambda case=case: outcome_of(case).to_dict(), Limits())] = case
        if not running:
            return
        for child in ended(list(running), 1.0):
            kind, answer = child.result()
            yield running.pop(child), Outcome(**answer) if kind == "done" else Outcome(kind, detail=answer)


def save(case: "Case", outcome: "Outcome", folder: Path) -> Path:
    """Keep the file of a case."""
    place = folder / str(case).replace(" ", "-")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "outcome.json").write_text(json.dumps({"case": vars(case), **outcome.to_dict()}, indent=1))
    TARGETS[case.target].place(place, change_of(case).content)
    return place


def table(counts: dict[str, Counter[str]]) -> str:
    """Outcomes by target."""
    columns = [*EXPECTED, *FAILURES]
    total = sum(counts.values(), Counter())
    rows = [["target", "mutations", *columns]]
    for name, count in [*counts.items(), ("all", total)]:
        rows.append([name, *map(str, (sum(count[one] for one in columns), *(count[one] for one in columns)))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def main() -> int:
    """Run, report; 1 if anything failed."""
    options = arguments()
    if options.replay:
        case = Case(options.targets[0], options.targets[1], int(options.targets[2]))
        outcome = next(run(iter([case]), options))[1]
        print(case, "|", outcome.kind, "|", outcome.told, "|", outcome.detail)
        print("file:", save(case, outcome, options.save))
        if options.keep:
            known = json.loads(CORPUS.read_text())
            known.append({**vars(case), "told": outcome.told})
            CORPUS.write_text("[\n" + ",\n".join(f" {json.dumps(one)}" for one in known) + "\n]\n")
        return int(outcome.kind in FAILURES)
    names = []
    for name in options.targets or TARGETS:
        if why := TARGETS[name].missing():
            print(f"{name} is left out: {why}")
        else:
            prepare(name)
            names.append(name)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case, outcome in run(cases(names, options.seed, options.cases), options):
        counts[case.target][outcome.kind] += 1
        if outcome.kind in FAILURES:
            print(
                outcome.kind, "|", case, "|", outcome.told, "|", outcome.detail, "|", save(case, outcome, options.save)
            )
        elif outcome.kind in options.show.split(","):
            print(outcome.kind, "|", case, "|", outcome.told, "|", outcome.detail)
        sys.stdout.flush()
    print(f"seed {options.seed}")
    print(table({name: counts[name] for name in names}))
    return int(any(count[kind] for count in counts.values() for kind in FAILURES))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    from attempts import EXPECTED, FAILURES, Case, Outcome, change_of, outcome_of, prepare
    from targets import TARGETS

    sys.exit(main())
