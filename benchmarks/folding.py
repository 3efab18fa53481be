"""Folding: tables, ladders and acceptances of three components, then densities per event.

The first fold of a process builds everything. "IRF tables cached" folds again with the tables of the instrument
kept, as a second response of the same process does.
"""

import time

import numpy as np

import pymc_gamma as pmg
from benchmarks._timing import Figures, best_time
from benchmarks.setting import FRACTIONS, galactic_centre
from pymc_gamma.folding.tables import build_tables

EVENTS = 300_000


def main() -> None:
    figures = Figures("folding: 150 true-energy bins, 0.05 deg, three components")
    components, observation, roi = galactic_centre()
    pmg.fold(components, observation, roi)  # compile
    build_tables.cache_clear()
    start = time.perf_counter()
    response = pmg.fold(components, observation, roi)
    uncached = time.perf_counter() - start
    figures.add("fold, IRF tables uncached", "<= 3 s", f"{uncached:.2f} s", uncached <= 3)
    cached = best_time(lambda: pmg.fold(components, observation, roi))
    figures.add("fold, IRF tables cached", "<= 0.5 s", f"{cached:.2f} s", cached <= 0.5)
    for n in (4500, EVENTS):
        events = response.simulate(FRACTIONS, n, rng=np.random.default_rng(1))
        wall = best_time(lambda events=events: response.density(events))
        per_event = wall / n * 1e6
        figures.add(f"densities of {n} events", "<= 5 us/event", f"{per_event:.2f} us/event", per_event <= 5)
    figures.show()


if __name__ == "__main__":
    main()
