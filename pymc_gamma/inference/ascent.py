r"""Newton's way to the summit of a log-density, where numbers are large and scales differ.

With :math:`10^8` events a log-likelihood is of order :math:`10^9`, known to about :math:`10^{-7}` of a unit, and one
parameter may be known ten thousand times better than another. Optimisers that compare values, or that learn scales from
their own steps, stop early there. This one takes the curvature :math:`H = -\nabla\nabla \ln p` from differences of the
gradient, over a tenth of the standard deviation of each parameter, and stops by the *decrement*
:math:`\sqrt{g^\top H^{-1} g}`: how far the summit is, in standard deviations. Where the density is not concave, the
sizes of the eigenvalues count, so that a step leads uphill from anywhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pymc_gamma.arrays import FloatArray

__all__ = ["Summit", "ascend"]

type LogDensity = Callable[[FloatArray], tuple[float, FloatArray]]
"""Value and gradient of a logarithm of a density."""

_STEP = 0.1
"""Of the differences, in standard deviations."""
_FIRST_STEP = 1e-4
_SUITABLE, _LARGEST_CHANGE = 1.6, 9.0
"""Factor (its logarithm) by which a step may be too long or short, and by which it changes at once."""
_TRIES = 16
_FLATTEST = 1e-8
"""Smallest eigenvalue, in units of the curvature along the axes."""
_SHORTEST = 2.0**-40
"""Of a step, over Newton's."""


class Summit(NamedTuple):
    """Where an ascent ended.

    Attributes
    ----------
    x : array, shape (n,)
    value : float
        Logarithm of the density.
    curvature : array, shape (n, n)
        Minus its second derivatives.
    distance : float
        Decrement: standard deviations from the summit.
    concave : bool
        Whether the curvature is positive in all directions.
    n_calls : int
        Of the function.
    """

    x: FloatArray
    value: float
    curvature: FloatArray
    distance: float
    concave: bool
    n_calls: int


def ascend(function: LogDensity, start: FloatArray, *, tolerance: float, max_steps: int) -> Summit:
    """Climb until the summit is nearer than ``tolerance`` standard deviations.

    Parameters
    ----------
    function : callable
        Value and gradient of the logarithm of a density; the value may be -inf outside of where it is defined.
    start : array, shape (n,)
        Where the value is finite.
    tolerance : float
        Standard deviations.
    max_steps : int
        Steps of Newton at most.

    Returns
    -------
    Summit
        The nearest point, whether it is near enough or not.
    """
    climb = _Climb(function, np.array(start, dtype=float))
    for _ in range(max_steps):
        direction, distance, concave = climb.look()
        # the last step, too, is taken: its length was the distance
        if not climb.go(direction, distance) or (concave and distance < tolerance):
            break
    else:
        direction, distance, concave = climb.look()
    return Summit(climb.x, climb.value, climb.curvature, distance, concave, climb.n_calls)


class _Climb:
    """A point, and what is known around it."""

    def __init__(self, function: LogDensity, x: FloatArray) -> None:
        self._function, self.n_calls = function, 0
        self.x = x
        self.value, self.gradient = self._at(x)
        self._scale = np.maximum(np.abs(x), 1.0) * _FIRST_STEP / _STEP
        self._known = np.zeros(len(x), dtype=bool)
        self.curvature = np.zeros((len(x), len(x)))

    def _at(self, x: FloatArray) -> tuple[float, FloatArray]:
        self.n_calls += 1
        value, gradient = self._function(x)
        return float(value), np.asarray(gradient, dtype=float)

    def look(self) -> tuple[FloatArray, float, bool]:
        """Newton's step from here, its length in standard deviations, and whether the density is concave here."""
        curvature = np.stack([self._column(j) for j in range(len(self.x))])
        self.curvature = 0.5 * (curvature + curvature.T)
        scale = self._scale
        size, axes = np.linalg.eigh(self.curvature * np.outer(scale, scale))
        along = axes.T @ (self.gradient * scale)
        held = np.maximum(np.abs(size), _FLATTEST)
        distance = float(np.sqrt(np.sum(along**2 / held)))
        return scale * (axes @ (along / held)), distance, bool((size > 0).all())

    def _column(self, j: int) -> FloatArray:
        """Minus the derivatives of the gradient by one parameter, over a step that suits its curvature."""
        best, power, last = np.zeros(len(self.x)), 1.0, 0.0
        for _ in range(_TRIES):
            step = _STEP * self._scale[j]
            ends = []
            for sign in (1, -1):
                x = self.x.copy()
                x[j] += sign * step
                value, gradient = self._at(x)
                ends.append(gradient if np.isfinite(value) and np.isfinite(gradient).all() else None)
            if ends[0] is None and ends[1] is None:
                self._scale[j] *= 0.1
                continue
            up, down = (self.gradient if end is None else end for end in ends)
            best = (down - up) / (step * sum(end is not None for end in ends))
            if best[j] == 0:
                if self._known[j]:
                    break
                self._scale[j] *= 10.0
                continue
            off = -0.5 * np.log(np.abs(best[j])) - np.log(self._scale[j])
            if off * last < 0:  # too far, as where the density ends: half of the way back
                power *= 0.5
            self._scale[j] *= np.exp(np.clip(power * off, -_LARGEST_CHANGE, _LARGEST_CHANGE))
            self._known[j], last = True, off
            if abs(off) < _SUITABLE:
                break
        return best

    def go(self, direction: FloatArray, distance: float) -> bool:
        """Take a step, as much of it as leads uphill; whether there was such a step."""
        noise = 1e3 * np.finfo(float).eps * abs(self.value)
        share = 1.0
        while share >= _SHORTEST:
            x = self.x + share * direction
            if np.array_equal(x, self.x):
                return False
            value, gradient = self._at(x)
            gain = value - self.value
            if np.isfinite(value) and np.isfinite(gradient).all() and gain > 1e-4 * share * distance**2 - noise:
                self.x, self.value, self.gradient = x, value, gradient
                return True
            share *= 0.5
        return False
