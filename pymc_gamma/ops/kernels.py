r"""Kernels of the log of a matrix-vector product: values, gradients and second derivatives in one pass over a table.

With a table :math:`P_{ik} \ge 0` (event *i*, column *k*), multiplicities :math:`m_i` and coefficients :math:`v_k`,

.. math::

    s_i = \sum_k P_{ik} v_k, \qquad
    \ell = \sum_i m_i \log s_i, \qquad
    \frac{\partial \ell}{\partial v_k} = \sum_i \frac{m_i P_{ik}}{s_i}, \qquad
    \frac{\partial^2 \ell}{\partial v_k \partial v_l} = -\sum_i \frac{m_i P_{ik} P_{il}}{s_i^2} .

Some columns reach few events: those of a free spectrum, one per node of true energy, only the events that the energy
dispersion can bring there, a run of neighbouring ones :math:`a_i, \dots, b_i`, so that
:math:`s_i = \sum_k P_{ik} v_k + \sum_{j=a_i}^{b_i} B_{ij} v_j`. Every kernel takes them as an optional last argument,
the tiles of :mod:`pymc_gamma.ops.tile_kernels`; events are then sorted, and numbers per event go in and come out in
that order, see :func:`in_event_order`. Logarithms are those of :mod:`pymc_gamma.ops.log_kernels`.

Layout
------
The table is stored as ``(n_blocks, K, BLOCK)``: a block of 512 events lies together, column by column, so that one
contiguous stream of memory serves both the products and the gradient (the second reading of a block comes from the
first-level cache), and every inner loop runs over consecutive events and vectorises. Entries past the last event
are never read.

Zeros
-----
An event of density zero and multiplicity zero contributes nothing, to the value and to every derivative; with positive
multiplicity the value is ``-inf`` and the gradient large and finite. A negative or NaN density gives NaN.

Densities that are zero or nearly so because a product of floating-point numbers underflows are computed by logarithms
instead, in :mod:`pymc_gamma.ops.rare_kernels`. The last optional argument of the kernels, ``log_rows``, has the
logarithms of rows with numbers that a table cannot hold.

Kernels are serial and release the interpreter lock: samplers run one thread per chain.
"""

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.ops.intrinsics import inlined, jit, part, prefetch
from pymc_gamma.ops.layout import BLOCK
from pymc_gamma.ops.log_kernels import log_and_weight, log_term, quotient
from pymc_gamma.ops.rare_kernels import add_rare, held, is_rare, rare_ratios, rare_slope
from pymc_gamma.ops.tile_kernels import TileArrays, accumulate_tiles, add_tiles

__all__ = ["fused", "hessian_product", "in_event_order", "pointwise", "pushforward", "vjp"]

type _Floats = NDArray[np.float64]
type _Flags = NDArray[np.bool_]
type _Tiles = TileArrays | None
type _LogRows = NDArray[np.float64] | None

_LINE = 8  # numbers in a cache line


@part
def _prefetch_block(block: _Floats) -> None:
    """Fetch a block into the second-level cache while the one before it is computed on (a fifth of the time)."""
    for k in range(block.shape[0]):
        for j in range(0, BLOCK, _LINE):
            prefetch(block, (k, j))


@part
def _dot_block(block: _Floats, coefficients: _Floats, n: int, density: _Floats) -> None:
    """``density[j] = sum_k block[k, j] coefficients[k]`` for the first ``n`` events.

    Four columns at a time: the running sum is written and read back once for four products. Elements are indexed
    one by one, because taking a row of an array costs atomic reference counts in every block.
    """
    n_columns = block.shape[0]
    head = (n_columns - 1) % 4 + 1
    c0 = coefficients[0]
    if head == 1:
        for j in range(n):
            density[j] = c0 * block[0, j]
    elif head == 2:
        c1 = coefficients[1]
        for j in range(n):
            density[j] = c0 * block[0, j] + c1 * block[1, j]
    elif head == 3:
        c1, c2 = coefficients[1], coefficients[2]
        for j in range(n):
            density[j] = c0 * block[0, j] + c1 * block[1, j] + c2 * block[2, j]
    else:
        c1, c2, c3 = coefficients[1], coefficients[2], coefficients[3]
        for j in range(n):
            density[j] = c0 * block[0, j] + c1 * block[1, j] + c2 * block[2, j] + c3 * block[3, j]
    for k in range(head, n_columns, 4):
        c0, c1, c2, c3 = coefficients[k], coefficients[k + 1], coefficients[k + 2], coefficients[k + 3]
        for j in range(n):
            density[j] += c0 * block[k, j] + c1 * block[k + 1, j] + c2 * block[k + 2, j] + c3 * block[k + 3, j]


@part
def _accumulate_block(block: _Floats, weight: _Floats, n: int, total: _Floats) -> None:
    """``total[k] += sum_j block[k, j] weight[j]`` over the first ``n`` events, grouped as in `_dot_block`."""
    n_columns = block.shape[0]
    head = (n_columns - 1) % 4 + 1
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    if head == 1:
        for j in range(n):
            t0 += block[0, j] * weight[j]
    elif head == 2:
        for j in range(n):
            t0 += block[0, j] * weight[j]
            t1 += block[1, j] * weight[j]
        total[1] += t1
    elif head == 3:
        for j in range(n):
            t0 += block[0, j] * weight[j]
            t1 += block[1, j] * weight[j]
            t2 += block[2, j] * weight[j]
        total[1] += t1
        total[2] += t2
    else:
        for j in range(n):
            t0 += block[0, j] * weight[j]
            t1 += block[1, j] * weight[j]
            t2 += block[2, j] * weight[j]
            t3 += block[3, j] * weight[j]
        total[1] += t1
        total[2] += t2
        total[3] += t3
    total[0] += t0
    for k in range(head, n_columns, 4):
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for j in range(n):
            t0 += block[k, j] * weight[j]
            t1 += block[k + 1, j] * weight[j]
            t2 += block[k + 2, j] * weight[j]
            t3 += block[k + 3, j] * weight[j]
        total[k] += t0
        total[k + 1] += t1
        total[k + 2] += t2
        total[k + 3] += t3


@inlined
def _densities(table: _Floats, tiles: _Tiles, b: int, n: int, coefficients: _Floats, density: _Floats) -> None:
    """Densities of the ``n`` events of block ``b``."""
    if table.shape[1] > 0:
        _dot_block(table[b], coefficients, n, density)
    else:
        density[:n] = 0.0
    if tiles is not None:
        add_tiles(tiles, b, coefficients, density)


@inlined
def _accumulate(table: _Floats, tiles: _Tiles, b: int, n: int, weight: _Floats, total: _Floats) -> None:
    """``total[k] += sum_j P[j, k] weight[j]`` over the ``n`` events of block ``b``."""
    if table.shape[1] > 0:
        _accumulate_block(table[b], weight, n, total)
    if tiles is not None:
        accumulate_tiles(tiles, b, weight, total)


@inlined
def _check_columns(table: _Floats, tiles: _Tiles, coefficients: _Floats) -> None:
    n_dense = table.shape[1]
    if (tiles is None and n_dense != coefficients.shape[0]) or n_dense > coefficients.shape[0]:
        raise ValueError("the number of coefficients does not match the number of columns of the event table")


@jit
def fused(
    table: _Floats,
    multiplicity: _Floats,
    unit: _Flags,
    coefficients: _Floats,
    tiles: _Tiles = None,
    log_rows: _LogRows = None,
) -> tuple[float, _Floats]:
    """Value and gradient of ``sum_i m_i log s_i`` in one pass.

    Parameters
    ----------
    table : ndarray, shape (n_blocks, K, BLOCK)
        Blocked table, see :func:`to_blocks`.
    multiplicity : ndarray, shape (N,)
        Multiplicity of each event; not read in full blocks whose ``unit`` is set.
    unit : ndarray of bool, shape (n_blocks,)
        Whether all events of a block have multiplicity one.
    coefficients : ndarray, shape (K,)
        Coefficients ``v``: those of the table, then those of the tiles.
    tiles : tuple of ndarray, optional
        Columns that reach few events: the first three arrays of :class:`pymc_gamma.ops.tiles.Tiles`.
    log_rows : ndarray, shape (n, 1 + K), optional
        Events with numbers that the table cannot hold: their places in it, and the logarithms of their rows.

    Returns
    -------
    value : float
        The sum.
    gradient : ndarray, shape (K,)
        Its gradient with respect to the coefficients.
    """
    _check_columns(table, tiles, coefficients)
    n_events = multiplicity.shape[0]
    density = np.empty(BLOCK)
    weight = np.empty(BLOCK)
    gradient = np.zeros(coefficients.shape[0])
    value = 0.0
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, tiles, b, n, coefficients, density)
        if b + 1 < table.shape[0]:
            _prefetch_block(table[b + 1])
        counts = multiplicity[first : first + n]
        total, rare = log_and_weight(density, counts, unit[b], n, weight)
        value += total
        _accumulate(table, tiles, b, n, weight, gradient)
        if rare:
            value += add_rare(table, tiles, log_rows, b, n, counts, coefficients, density, gradient)
    return value, gradient


@jit
def pointwise(
    table: _Floats,
    multiplicity: _Floats,
    offset: _Floats,
    coefficients: _Floats,
    tiles: _Tiles = None,
    log_rows: _LogRows = None,
) -> _Floats:
    """``m_i (log s_i + offset_i)`` of every event, shape (N,); zero where the multiplicity is zero and ``s_i`` too."""
    _check_columns(table, tiles, coefficients)
    n_events = multiplicity.shape[0]
    density = np.empty(BLOCK)
    ratio = np.empty(coefficients.shape[0])
    out = np.empty(n_events)
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, tiles, b, n, coefficients, density)
        for j in range(n):
            i = first + j
            if is_rare(density[j], multiplicity[i]):
                term = multiplicity[i] * rare_ratios(table, tiles, log_rows, b, j, coefficients, ratio)
            else:
                term = log_term(density[j], multiplicity[i])
            out[i] = term + multiplicity[i] * offset[i]
    return out


@jit
def vjp(
    table: _Floats, weight: _Floats, coefficients: _Floats, tiles: _Tiles = None, log_rows: _LogRows = None
) -> _Floats:
    """``sum_i weight_i P_ik / s_i``, shape (K,): the gradient for arbitrary weights (cotangent times multiplicity)."""
    _check_columns(table, tiles, coefficients)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    factor = np.empty(BLOCK)
    out = np.zeros(coefficients.shape[0])
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        own = weight[first : first + n]
        _densities(table, tiles, b, n, coefficients, density)
        rare = False
        for j in range(n):
            rare |= is_rare(density[j], own[j])
            factor[j] = 0.0 if is_rare(density[j], own[j]) else quotient(own[j], density[j])
        _accumulate(table, tiles, b, n, factor, out)
        if rare:
            add_rare(table, tiles, log_rows, b, n, own, coefficients, density, out)
    return out


@jit
def pushforward(
    table: _Floats,
    weight: _Floats,
    coefficients: _Floats,
    direction: _Floats,
    tiles: _Tiles = None,
    log_rows: _LogRows = None,
) -> _Floats:
    """``weight_i (P_i . direction) / s_i`` of every event, shape (N,): the derivative along a direction."""
    _check_columns(table, tiles, coefficients)
    _check_columns(table, tiles, direction)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    slope = np.empty(BLOCK)
    ratio = np.empty(coefficients.shape[0])
    out = np.empty(n_events)
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, tiles, b, n, coefficients, density)
        _densities(table, tiles, b, n, direction, slope)
        for j in range(n):
            if is_rare(density[j], weight[first + j]):
                rare_ratios(table, tiles, log_rows, b, j, coefficients, ratio)
                out[first + j] = held(weight[first + j] * rare_slope(ratio, direction))
            else:
                out[first + j] = quotient(weight[first + j], density[j]) * slope[j]
    return out


@jit
def hessian_product(
    table: _Floats,
    weight: _Floats,
    coefficients: _Floats,
    direction: _Floats,
    tiles: _Tiles = None,
    log_rows: _LogRows = None,
) -> _Floats:
    """``-sum_i weight_i P_ik (P_i . direction) / s_i^2``, shape (K,): the Hessian times a direction."""
    _check_columns(table, tiles, coefficients)
    _check_columns(table, tiles, direction)
    n_events = weight.shape[0]
    density = np.empty(BLOCK)
    slope = np.empty(BLOCK)
    ratio = np.empty(coefficients.shape[0])
    out = np.zeros(coefficients.shape[0])
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        _densities(table, tiles, b, n, coefficients, density)
        _densities(table, tiles, b, n, direction, slope)
        for j in range(n):
            if is_rare(density[j], weight[first + j]):
                rare_ratios(table, tiles, log_rows, b, j, coefficients, ratio)
                change = held(weight[first + j] * rare_slope(ratio, direction))
                for k in range(ratio.shape[0]):
                    out[k] = held(out[k] - held(change * ratio[k]))
                slope[j] = 0.0
            else:
                slope[j] = -quotient(quotient(weight[first + j], density[j]) * slope[j], density[j])
        _accumulate(table, tiles, b, n, slope, out)
    return out


@jit
def in_event_order(values: _Floats, order: NDArray[np.int64]) -> _Floats:
    """Numbers per event of a table with tiles, in the order that its events were given in."""
    out = np.empty(len(values))
    for i in range(len(values)):
        out[order[i]] = values[i]
    return out
