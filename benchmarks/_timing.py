"""Timing on a machine that others use too: minima over many repetitions, and a table of figures against targets."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pymc as pm

__all__ = ["Figures", "best_time", "interleaved_times"]


def interleaved_times(functions: dict[str, Callable[[], object]], seconds: float = 2.0) -> dict[str, float]:
    """Shortest time of one call of each function, in seconds.

    The functions take turns, so that a busy moment hits all of them.
    """
    repetitions = {}
    for name, function in functions.items():
        function()
        start = time.perf_counter()
        function()
        repetitions[name] = max(1, int(1e-3 / max(time.perf_counter() - start, 1e-7)))
    shortest = dict.fromkeys(functions, float("inf"))
    end = time.perf_counter() + seconds * len(functions)
    while time.perf_counter() < end:
        for name, function in functions.items():
            n = repetitions[name]
            start = time.perf_counter()
            for _ in range(n):
                function()
            shortest[name] = min(shortest[name], (time.perf_counter() - start) / n)
    return shortest


def best_time(function: Callable[[], object], seconds: float = 2.0) -> float:
    """Shortest time of one call, in seconds."""
    return interleaved_times({"it": function}, seconds)["it"]


def gradient_time(model: pm.Model) -> float:
    """Seconds of one call of PyMC's function for value and gradient."""
    wrapper = model.logp_dlogp_function(ravel_inputs=True)
    wrapper.set_extra_values({})
    function = wrapper._pytensor_function
    function.trust_input = True
    start = np.concatenate([np.ravel(value) for value in model.initial_point().values()])
    return best_time(lambda: function(start))


@dataclass
class Figures:
    """Measured figures beside their targets."""

    title: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, what: str, target: str, measured: str, met: bool | None = None) -> None:
        """Add a line; ``met`` is None where there is no target."""
        self.rows.append((what, target, measured, {True: "yes", False: "NO", None: ""}[met]))

    def show(self) -> None:
        """Print the table and the machine it was measured on."""
        header = ("what", "target", "measured", "met")
        table = [header, *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        print(f"\n{self.title}")
        load = os.getloadavg()[0]
        print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}")
        for row in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
