r"""Kernels of rare events: densities too small for the sums of floating-point numbers, by logarithms.

A number below :data:`RARE` may have lost digits, or all of itself, where products and sums underflow. Such events are
left out of the fast passes and taken one by one,

.. math::

    \log s_i = L + \log \sum_k \operatorname{sign}(v_k)\, e^{\log P_{ik} + \log |v_k| - L}, \qquad
    \frac{P_{ik}}{s_i} = e^{\log P_{ik} - \log s_i}, \qquad L = \max_k (\log P_{ik} + \log |v_k|) .

The logarithms are those of the table and its tiles, or for rows with numbers that these cannot hold, those of
``log_rows``, shape (n, 1 + K): the place of an event in the table, ascending, and its :math:`\log P_{ik}` in the
columns of the table. What is added to the densities, :math:`r_i`, is one term more: a column of ones (the last) with
the coefficient :math:`r_i`, zero where nothing is added.

Ratios are held below 1e302, and sums of them below the largest number, so that they may be multiplied by zero: they
are exact wherever a derivative with respect to :math:`\log v_k` differs from zero by more than 1e-302, and that with
respect to :math:`r_i` where :math:`s_i` is above 1e-302.
"""

import math

import numpy as np

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.ops.intrinsics import part
from pymc_gamma.ops.layout import BLOCK, EventArrays, Tiles
from pymc_gamma.ops.tile_kernels import add_tile_row, place

__all__ = ["RARE", "add_rare", "held", "is_rare", "number_of", "put", "rare_ratios", "rare_slope", "with_one_more"]

RARE = 1e-290
"""Densities below are rare: above it no sum of a few thousand products loses a digit to underflow."""

_LARGEST = 1.7e308
_LOG_LARGEST_RATIO = math.log(1e302)


@part
def is_rare(density: float, weight: float) -> bool:
    """Whether an event of this density and weight (of any sign) is to be taken by logarithms."""
    return 0.0 <= density < RARE and weight != 0.0


@part
def held(x: float) -> float:
    """A number, or the largest of its sign."""
    return min(max(x, -_LARGEST), _LARGEST)


@part
def _log_row(events: EventArrays, tiles: Tiles | None, b: int, j: int, row: _Floats) -> None:
    """``row[k] = log P_ik`` of event ``j`` of block ``b`` under all columns, those of tiles and the last included."""
    table, log_rows = events.table, events.log_rows
    last = row.shape[0] - 1
    for k in range(last):
        row[k] = table[b, k, j] if k < table.shape[1] else 0.0
    if tiles is not None:
        add_tile_row(tiles, b, b * BLOCK + j, row)
    for k in range(last):
        row[k] = math.log(row[k]) if row[k] > 0.0 else -np.inf
    row[last] = 0.0
    i, low, high = float(b * BLOCK + j), 0, log_rows.shape[0]
    while low < high:
        middle = (low + high) // 2
        if log_rows[middle, 0] < i:
            low = middle + 1
        else:
            high = middle
    if low < log_rows.shape[0] and log_rows[low, 0] == i:
        for k in range(table.shape[1]):
            row[k] = log_rows[low, 1 + k]


@part
def number_of(values: _Floats | None, i: int) -> float:
    """The number of an event, in the user's order; zero if there are none."""
    return 0.0 if values is None else values[i]


@part
def put(values: _Floats | None, i: int, number: float) -> None:
    """Put the number of an event into its place, if there is room."""
    if values is not None:
        values[i] = number


@part
def with_one_more(coefficients: _Floats) -> _Floats:
    """Coefficients, and at last room for what is added to the density of an event, zero at first."""
    n = coefficients.shape[0]
    terms = np.empty(n + 1)
    for k in range(n):
        terms[k] = coefficients[k]
    terms[n] = 0.0
    return terms


@part
def rare_ratios(
    events: EventArrays, tiles: Tiles | None, b: int, j: int, coefficients: _Floats, ratio: _Floats
) -> float:
    """``log s_i`` of event ``j`` of block ``b``; ``ratio[k]`` becomes ``P_ik / s_i``, the last ``1 / s_i``."""
    _log_row(events, tiles, b, j, ratio)
    largest = -np.inf
    for k in range(ratio.shape[0]):
        if coefficients[k] != 0.0:
            largest = max(largest, ratio[k] + math.log(abs(coefficients[k])))
    total = 0.0
    if largest > -np.inf:
        for k in range(ratio.shape[0]):
            if coefficients[k] != 0.0:
                term = math.exp(ratio[k] + math.log(abs(coefficients[k])) - largest)
                total += math.copysign(term, coefficients[k])
    if total < 0.0:
        ratio[:] = np.nan
        return np.nan
    log_density = largest + math.log(total) if total > 0.0 else -np.inf
    for k in range(ratio.shape[0]):
        if ratio[k] > -np.inf:
            ratio[k] = math.exp(min(ratio[k] - log_density, _LOG_LARGEST_RATIO))
        else:
            ratio[k] = 0.0
    return log_density


@part
def rare_slope(ratio: _Floats, direction: _Floats) -> float:
    """``sum_k direction_k P_ik / s_i`` of the ratios of an event."""
    slope = 0.0
    for k in range(ratio.shape[0]):
        slope += ratio[k] * direction[k]
    return held(slope)


@part
def add_rare(
    events: EventArrays,
    tiles: Tiles | None,
    b: int,
    n: int,
    weight: _Floats,
    coefficients: _Floats,
    added: _Floats | None,
    density: _Floats,
    total: _Floats,
    of_events: _Floats | None,
) -> float:
    """``sum_i weight_i log s_i`` over rare events of block ``b``; ``total[k] += sum_i weight_i P_ik / s_i``.

    ``of_events``, in the user's order, gets ``weight_i / s_i`` of these events, unless it is None.
    """
    terms = with_one_more(coefficients)
    ratio = np.empty(terms.shape[0])
    value = 0.0
    for j in range(n):
        if is_rare(density[j], weight[j]):
            i = place(tiles, b * BLOCK + j)
            terms[-1] = number_of(added, i)
            value += weight[j] * rare_ratios(events, tiles, b, j, terms, ratio)
            for k in range(total.shape[0]):
                total[k] = held(total[k] + weight[j] * ratio[k])
            put(of_events, i, held(weight[j] * ratio[-1]))
    return value
