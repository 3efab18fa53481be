r"""Tables of densities under a response with a parameter, such as the scale of the PSF.

Densities are linear in the coefficients of a spectrum, :math:`r_i = \sum_n v_n D_{in}(x)`. They are evaluated for some
values :math:`x_g` of the parameter, and between them

.. math:: D_{in}(x) = D_{in}(0)\, e^{a_i(x) + (n - m_i)\, b_i(x)},

so that they are smooth and never negative, and at :math:`x = 0` what they are without the parameter. A change of the
response multiplies the densities at neighbouring energies by nearly the same factor: its logarithm is linear in the
number of the node. The slopes :math:`b_i(x_g)` are those of a regression weighted with the density of a spectrum that
is near the truth, and :math:`a_i(x_g)` gives that spectrum exactly what it has. In :math:`x` both are polynomials
through all :math:`x_g`, the nodes of Chebyshev: for a Gaussian of width :math:`\sigma e^x` the logarithm is
:math:`-2x - d^2 e^{-2x}/2\sigma^2`, and the error falls faster than any power of their number. Where a raster is nearly
dark, logarithms are noise, which polynomials would amplify between the nodes: few terms, fitted to the values of
:math:`x` at which an event is bright, are in their place, and nothing is tilted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.ops.varied_kernels import VariedArrays

__all__ = ["Runs", "VariedTables", "basis", "polynomials", "varied_nodes"]

STEEPEST = 50.0
"""Largest change of a logarithm along a band."""
ROUGH = 0.3
"""Change of a logarithm by the last terms of its polynomial beyond which it is noise where densities are small."""
TERMS = 4
"""Terms of the polynomial in its place, a fit to where densities are large."""
TINY = 1e-290
"""Densities below are taken as zero: so near to the smallest numbers they have few digits."""
OUT_OF_REACH = 1e-20
"""Share of the largest density of all events that one has for some value of the parameter, or is not looked at."""
OVERSHOOT = 0.5
"""By how much a logarithm may exceed its values at the nodes: rasters have noise where they are all but dark."""
FAINT = 1e-6
"""Share of the largest coefficient of a spectrum that each counts with, at least: fits may find light anywhere."""


def varied_nodes(low: float, high: float, n: int) -> FloatArray:
    """Values of the parameter at which densities are evaluated: the nodes of Chebyshev, ascending, but for zero.

    Examples
    --------
    >>> varied_nodes(-1.0, 1.0, 2).round(4).tolist()
    [-0.7071, 0.7071]
    """
    half = (high - low) / 2
    nodes = (low + high) / 2 - half * np.cos(np.pi * (np.arange(n) + 0.5) / n)
    # of zero nothing is learnt: that is known
    least = 1e-3 * half
    return np.where(np.abs(nodes) < least, least, nodes)


def polynomials(nodes: FloatArray, span: tuple[float, float], values: FloatArray) -> FloatArray:
    """Coefficients of x T_p(z) of the polynomials that are zero at zero and take values (..., G) at nodes (G,)."""
    return np.asarray(values @ np.linalg.inv(basis(nodes, span, len(nodes))).T)


def basis(x: FloatArray, span: tuple[float, float], n: int) -> FloatArray:
    """Values of x T_p(z) at x (...), shape (..., n)."""
    z = (2 * np.asarray(x, float) - span[0] - span[1]) / (span[1] - span[0])
    return np.asarray(np.asarray(x)[..., None] * chebyshev.chebvander(z, n - 1).reshape(*np.shape(z), n))


@dataclass(frozen=True, eq=False)
class Runs:
    """Columns of one component: a run of numbers for each event.

    Attributes
    ----------
    values : numpy.ndarray
        One event after the other, not negative.
    pointer : numpy.ndarray
        Where each run starts, and at last their total length, shape (N + 1,).
    column : numpy.ndarray
        Coefficient that goes with the first number, shape (N,).
    """

    values: NDArray[np.floating[Any]]
    pointer: IntArray
    column: IntArray

    @cached_property
    def event(self) -> IntArray:
        """To which event each number belongs."""
        return np.repeat(np.arange(len(self.column)), np.diff(self.pointer))

    @cached_property
    def place(self) -> IntArray:
        """Place of each number in its run."""
        return np.arange(len(self.values)) - self.pointer[self.event]

    def trimmed(self, instead: "Runs") -> "Runs":
        """Without zeros at the ends; another run of those events that have none."""
        empty = self.totals(np.ones_like(self.values)) == 0
        values = np.concatenate([self.values, instead.values])
        first = np.where(empty, instead.pointer[:-1] + len(self.values), self.pointer[:-1])
        length = np.where(empty, np.diff(instead.pointer), np.diff(self.pointer))
        column = np.where(empty, instead.column, self.column)
        event = np.repeat(np.arange(len(first)), length)
        at = np.arange(len(event)) - np.repeat(np.cumsum(length) - length, length)
        lit = values[first[event] + at] > 0
        low, high = np.full(len(first), np.iinfo(np.int64).max), np.zeros(len(first), np.int64)
        np.minimum.at(low, event[lit], at[lit])
        np.maximum.at(high, event[lit], at[lit] + 1)
        low = np.minimum(low, high)
        source, pointer = _gathered(first + low, high - low)
        return Runs(values[source], pointer, column + low)

    def take(self, which: IntArray) -> "Runs":
        """Those of some events."""
        source, pointer = _gathered(self.pointer[which], np.diff(self.pointer)[which])
        return Runs(self.values[source], pointer, self.column[which])

    def along(self, spectrum: FloatArray) -> FloatArray:
        """The coefficients of a spectrum that go with the numbers."""
        return np.asarray(spectrum[self.column[self.event] + self.place])

    def totals(self, weight: FloatArray) -> FloatArray:
        """Sums of numbers with weights, for each event."""
        return np.bincount(self.event, self.values * weight, len(self.column))

    def at(self, other: "Runs") -> FloatArray:
        """The numbers that go with those of other runs of the same events; zero where there is none."""
        event = other.event
        place = other.place + other.column[event] - self.column[event]
        inside = (place >= 0) & (place < np.diff(self.pointer)[event])
        found = np.zeros(len(event))
        found[inside] = self.values[(self.pointer[event] + place)[inside]]
        return found


@dataclass(frozen=True, eq=False)
class VariedTables:
    """Densities of events between values of a parameter.

    Attributes
    ----------
    arrays : VariedArrays
        What the kernels read.
    n_events : int
        Number of all events.
    """

    arrays: VariedArrays
    n_events: int

    @classmethod
    def build(
        cls,
        nodes: FloatArray,
        span: tuple[float, float],
        nominal: Runs,
        varied: Callable[[int], Runs],
        spectrum: FloatArray,
    ) -> "VariedTables":
        """Tables from densities at nodes.

        Parameters
        ----------
        nodes : numpy.ndarray
            Values of the parameter, ascending and not zero, shape (G,).
        span : tuple of float
            Its range.
        nominal : Runs
            Densities at zero per unit coefficient.
        varied : callable
            Those at a node, by its number; they are asked for one after the other.
        spectrum : numpy.ndarray
            Coefficients of a spectrum near the truth, shape (n_coefficients,); if there is but one, nothing is tilted.
        """
        spectrum = np.maximum(spectrum, FAINT * spectrum.max())
        last = varied(len(nodes) - 1)
        base = nominal.trimmed(last)
        brightest = np.maximum(nominal.totals(nominal.along(spectrum)), last.totals(last.along(spectrum)))
        least = max(OUT_OF_REACH * brightest.max(initial=0), TINY)
        present = np.flatnonzero((base.totals(base.along(spectrum)) > 0) & (brightest > least))
        base = base.take(present)
        weight = base.along(spectrum)
        centre = base.totals(weight * base.place) / base.totals(weight)
        each = [_compared(base, varied(g).take(present), spectrum, weight, centre) for g in range(len(nodes) - 1)]
        each.append(_compared(base, last.take(present), spectrum, weight, centre))
        levels, plain, slopes = (np.stack(rows, axis=-1) for rows in zip(*each, strict=True))
        # of events that are dark at zero the run is another one, with a level of its own
        known = nominal.totals(np.ones_like(nominal.values))[present] > TINY
        (levels, shift), (plain, _) = (_filled(nodes, one, known) for one in (levels, plain))
        spread = np.sqrt(base.totals(weight * (base.place - centre[base.event]) ** 2) / base.totals(weight))
        of_levels, of_slopes = polynomials(nodes, span, levels), polynomials(nodes, span, slopes)
        rough = _last_terms(of_levels, span) + _last_terms(of_slopes, span) * spread > ROUGH
        of_levels[rough], of_slopes[rough] = _fitted(nodes, span, plain[rough]), 0.0
        cap = np.maximum(np.where(rough[:, None], plain, levels).max(axis=1, initial=0), 0) + OVERSHOOT
        arrays = VariedArrays(
            np.array(span, float),
            (base.values * np.exp(shift)[base.event]).astype(np.float32),
            base.pointer,
            base.column,
            centre,
            np.ascontiguousarray(of_levels.T, np.float32),
            np.ascontiguousarray(of_slopes.T, np.float32)[: len(nodes) * (len(spectrum) > 1)],
            cap.astype(np.float32),
            present,
        )
        return cls(arrays, len(nominal.column))


def _gathered(start: IntArray, length: IntArray) -> tuple[IntArray, IntArray]:
    """Places of numbers of runs that are put one after the other, and where each then starts."""
    pointer = np.concatenate([[0], np.cumsum(length)])
    return np.repeat(start - pointer[:-1], length) + np.arange(pointer[-1]), pointer


def _last_terms(coefficients: FloatArray, span: tuple[float, float]) -> FloatArray:
    """How much the last two terms of polynomials may change them."""
    return np.abs(coefficients[:, -2:]).sum(axis=1) * max(-span[0], span[1])


def _fitted(nodes: FloatArray, span: tuple[float, float], levels: FloatArray) -> FloatArray:
    """Coefficients of polynomials of few terms near logarithms (N, G), each the nearer the larger."""
    weight = np.exp(levels - levels.max(axis=1, keepdims=True)) + 1e-6
    columns = basis(nodes, span, min(TERMS, len(nodes)))
    normal = np.einsum("ng,gp,gq->npq", weight, columns, columns)
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(columns.shape[1])
    out = np.zeros_like(levels)
    out[:, : columns.shape[1]] = np.linalg.solve(normal, ((weight * levels) @ columns)[..., None])[..., 0]
    return out


def _compared(
    base: Runs, other: Runs, spectrum: FloatArray, weight: FloatArray, centre: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Level, level without a slope, and slope of the logarithm of other densities over the base, for each event."""
    event, away, n = base.event, base.place - centre[base.event], len(centre)
    total = other.totals(other.along(spectrum))
    found = other.at(base)
    both = (found > 0) & (base.values > 0)
    ratio = np.log(np.where(both, found, 1.0) / np.where(both, base.values, 1.0))
    share = np.where(both, weight * base.values, 0.0)
    s, sx, sy, sxx, sxy = (np.bincount(event, share * one, n) for one in (1.0, away, ratio, away**2, away * ratio))
    s = np.maximum(s, np.finfo(float).tiny)
    spread = sxx - sx**2 / s
    wide = spread > 1e-9 * s
    slope = np.where(wide, (sxy - sx * sy / s) / np.where(wide, spread, 1.0), 0.0)
    limit = STEEPEST / np.maximum(np.diff(base.pointer), 1)
    slope = np.clip(slope, -limit, limit)
    tilted = np.bincount(event, weight * base.values * np.exp(slope[event] * away), n)
    lit = (total > TINY) & (tilted > 0)
    level, plain = (
        np.where(lit, np.log(np.where(lit, total, 1.0) / np.where(lit, one, 1.0)), -np.inf)
        for one in (tilted, base.totals(weight))
    )
    return level, plain, slope


def _filled(nodes: FloatArray, levels: FloatArray, known: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Levels (N, G) with numbers in the place of -inf: as of a Gaussian, linear in exp(-2x), falling.

    Of events that are not known at zero they are over what that law has there, whose logarithms are returned, too.
    """
    nodes, levels = np.append(nodes, 0.0), np.column_stack([levels, np.where(known, 0.0, -np.inf)])
    out = levels.copy()
    (some,) = np.nonzero(~np.isfinite(levels).all(axis=1))
    narrow_first = np.argsort(nodes)
    u, own = np.exp(-2 * nodes[narrow_first]), levels[some][:, narrow_first]
    seen, row = np.isfinite(own), np.arange(len(some))
    a = seen.argmax(axis=1)  # the narrowest that is seen, and the next
    seen[row, a] = False
    b = np.where(seen.any(axis=1), seen.argmax(axis=1), a)
    change = np.where(a != b, own[row, b] - own[row, a], 0.0)
    fall = np.maximum(change / np.where(a != b, u[a] - u[b], 1.0), 0.0)
    law = own[row, a][:, None] - fall[:, None] * np.maximum(u - u[a][:, None], 0.0)
    out[some[:, None], narrow_first] = np.where(np.isfinite(own), own, law)
    return out[:, :-1] - out[:, -1:], out[:, -1]
