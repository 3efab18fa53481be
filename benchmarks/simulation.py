"""Simulation through the instrument response: a small data set, and the sustained rate per CPU-second."""

import time

import numpy as np

import pymc_gamma as pmg
from benchmarks._timing import Figures, best_time
from benchmarks.setting import FRACTIONS, galactic_centre

EVENTS = 1_000_000


def main() -> None:
    figures = Figures("simulation, three components")
    response = pmg.fold(*galactic_centre())
    rng = np.random.default_rng(1)
    response.simulate(FRACTIONS, 1000, rng=rng)  # compile
    wall = best_time(lambda: response.simulate(FRACTIONS, 4500, rng=rng))
    figures.add("4500 events", "<= 0.5 s", f"{wall * 1e3:.1f} ms", wall <= 0.5)
    cases = {"mixture": FRACTIONS} | {
        name: np.eye(len(response.component_names))[k] for k, name in enumerate(response.component_names)
    }
    for name, weights in cases.items():
        best = np.inf
        for _ in range(3):
            start = time.process_time()
            response.simulate(weights, EVENTS, rng=rng)
            best = min(best, time.process_time() - start)
        rate = EVENTS / best
        target = ">= 1e6 events/CPU-s" if name == "mixture" else ""
        figures.add(f"sustained, {name}", target, f"{rate:.2e} events/CPU-s", rate >= 1e6 if target else None)
    figures.show()


if __name__ == "__main__":
    main()
