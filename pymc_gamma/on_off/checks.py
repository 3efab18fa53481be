"""Checks that data of ON and OFF regions share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import EventError, PymcGammaError
from pymc_gamma.units import numbers, to_value

__all__ = ["checked_alpha", "checked_edges", "checked_exposure", "checked_range", "shaped"]


def checked_edges(name: str, values: Any, what: str) -> FloatArray:
    """Positive energies that increase, at least two, in TeV; an EventError otherwise."""
    edges = to_value(values, "TeV", f"{name}: {what}")
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.isfinite(edges)) or not np.all(np.diff(edges) > 0):
        raise EventError(f"{name!r}: {what} must be edges that increase, at least two, got {values}.")
    if edges[0] <= 0:
        raise EventError(f"{name!r}: {what} must be positive, got {edges[0]:g} TeV.")
    return edges


def checked_exposure(name: str, values: Any, n: int) -> FloatArray:
    """Exposures of n bins in cm2 s."""
    seen = shaped(name, to_value(values, "cm2 s", f"{name}: exposure"), "exposure", (n,))
    if not np.all(np.isfinite(seen) & (seen >= 0)) or not seen.any():
        raise EventError(f"{name!r}: exposure must be finite, not negative, and not zero everywhere.")
    return seen


def checked_alpha(name: str, values: Any, used: NDArray[np.bool_], what: str) -> FloatArray:
    """Ratios of acceptances, positive where they are used, shape (n,)."""
    ratio = numbers(values, f"{name}: alpha", finite=False)
    ratio = np.full(used.shape, float(ratio)) if ratio.ndim == 0 else shaped(name, ratio, "alpha", used.shape)
    bad = used & ~(np.isfinite(ratio) & (ratio > 0))
    if bad.any():
        c = int(bad.argmax())
        raise EventError(
            f"{name!r}: alpha must be positive where {what}s are used; it is {ratio[c]:g} in {what} {c} (and in "
            f"{int(bad.sum())} in all). Leave these {what}s out by mask=."
        )
    return ratio


def checked_range(energy_range: Any, error: type[PymcGammaError]) -> tuple[float, float]:
    """Two energies in TeV, the lower first; an error of that kind otherwise."""
    values = to_value(energy_range, "TeV", "energy_range")
    if values.shape != (2,) or not values[0] < values[1]:
        raise error(f"energy_range must be two energies, the lower first, got {energy_range}.")
    return float(values[0]), float(values[1])


def shaped(name: str, values: FloatArray, what: str, shape: tuple[int, ...]) -> FloatArray:
    """A copy of an array that has a shape; an EventError otherwise."""
    if values.shape != shape:
        raise EventError(f"{name!r}: {what} must have the shape {shape}, as the energies say; got {values.shape}.")
    return np.array(values, float)
