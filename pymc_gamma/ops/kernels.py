r"""Kernels of the log of a matrix-vector product: values, gradients and second derivatives in one pass over a table.

With a table :math:`P_{ik} \ge 0` (event *i*, column *k*), multiplicities :math:`m_i`, coefficients :math:`v_k` and, if
something is added to the densities that no table holds, a vector :math:`r_i \ge 0`,

.. math::

    s_i = \sum_k P_{ik} v_k + r_i, \qquad
    \ell = \sum_i m_i \log s_i, \qquad
    \frac{\partial \ell}{\partial v_k} = \sum_i \frac{m_i P_{ik}}{s_i}, \qquad
    \frac{\partial^2 \ell}{\partial v_k \partial v_l} = -\sum_i \frac{m_i P_{ik} P_{il}}{s_i^2} ,

and :math:`r` is one column more for each event: :math:`\partial \ell / \partial r_i = m_i / s_i`, and so on.

Some columns reach few events: those of a free spectrum, one per node of true energy, only the events that the energy
dispersion can bring there, a run of neighbouring ones :math:`a_i, \dots, b_i`, so that
:math:`s_i = \sum_k P_{ik} v_k + \sum_{j=a_i}^{b_i} B_{ij} v_j`. Every kernel takes them as its second argument,
the tiles of :mod:`pymc_gamma.ops.tile_kernels`, or None; the arrays of the table are then in their order, whereas all
other numbers per event go in and come out in the user's. Logarithms are those of :mod:`pymc_gamma.ops.log_kernels`.

Arguments
---------
All kernels take the same ones in this order; which of them, and what is computed of them, is their own matter.

``events`` : EventArrays
    The table and what else is known of its events.
``tiles`` : Tiles or None
    Columns that reach few events.
``coefficients`` : ndarray, shape (K,)
    Coefficients *v*: those of the table, then those of the tiles.
``added`` : ndarray, shape (N,), or None
    What is added to the densities, *r*, in the units of the table. With it, kernels that return one number per column
    return one per event too.
``weight`` : ndarray, shape (N,)
    One factor per event; the multiplicities come on top.
``direction``, ``added_direction`` : ndarray, shape (K,) and (N,)
    Direction of a derivative in *v* and in *r*; the latter is None where *r* is.

What is None is known when a kernel is compiled, and costs nothing.

Layout
------
The table is stored as ``(n_blocks, K, BLOCK)``: a block of 512 events lies together, column by column, so that one
contiguous stream of memory serves both the products and the gradient (the second reading of a block comes from the
first-level cache), and every inner loop runs over consecutive events and vectorises. Entries past the last event
are never read. Up to three columns need no second reading, see :mod:`pymc_gamma.ops.block_kernels`.

Zeros
-----
An event of density zero and multiplicity zero contributes nothing, to the value and to every derivative; with positive
multiplicity the value is ``-inf`` and the gradient large and finite. A negative or NaN density gives NaN.

Densities that are zero or nearly so because a product of floating-point numbers underflows are computed by logarithms
instead, in :mod:`pymc_gamma.ops.rare_kernels`.

Kernels are serial and release the interpreter lock: samplers run one thread per chain.
"""

import numpy as np

from pymc_gamma.arrays import FloatArray as _Floats
from pymc_gamma.ops.block_kernels import FEW, accumulate_block, dot_block, prefetch_block, value_and_gradient_of_few
from pymc_gamma.ops.intrinsics import borrowed, inlined, jit, outputs, part, room_like, scratch
from pymc_gamma.ops.layout import BLOCK, EventArrays, Tiles
from pymc_gamma.ops.log_kernels import log_and_weight, log_term, quotient
from pymc_gamma.ops.rare_kernels import add_rare, held, is_rare, number_of, put, rare_ratios, rare_slope, with_one_more
from pymc_gamma.ops.tile_kernels import accumulate_tiles, add_tiles, place

__all__ = ["fused", "hessian_product", "pointwise", "pushforward", "vjp"]


@part
def _gather(values: _Floats, tiles: Tiles | None, first: int, n: int, block: _Floats) -> None:
    """Copy the numbers of ``n`` events of the table from event ``first`` on, out of the user's order."""
    for j in range(n):
        block[j] = values[place(tiles, first + j)]


@part
def _add(values: _Floats | None, tiles: Tiles | None, first: int, n: int, block: _Floats) -> None:
    """Add these numbers instead, if there are any."""
    if values is None:
        return
    for j in range(n):
        block[j] += values[place(tiles, first + j)]


@part
def _scatter(block: _Floats, tiles: Tiles | None, first: int, n: int, values: _Floats | None) -> None:
    """Copy the numbers of ``n`` events of the table from event ``first`` on into the user's order, if there is room."""
    if values is None:
        return
    for j in range(n):
        values[place(tiles, first + j)] = block[j]


@inlined
def _densities(
    table: _Floats,
    tiles: Tiles | None,
    b: int,
    n: int,
    coefficients: _Floats,
    added: _Floats | None,
    density: _Floats,
) -> None:
    """Densities of the ``n`` events of block ``b``."""
    if table.shape[1] > 0:
        dot_block(table[b], coefficients, n, density)
    else:
        density[:n] = 0.0
    add_tiles(tiles, b, coefficients, density)
    _add(added, tiles, b * BLOCK, n, density)


@inlined
def _accumulate(table: _Floats, tiles: Tiles | None, b: int, n: int, weight: _Floats, total: _Floats) -> None:
    """``total[k] += sum_j P[j, k] weight[j]`` over the ``n`` events of block ``b``."""
    if table.shape[1] > 0:
        accumulate_block(table[b], weight, n, total)
    accumulate_tiles(tiles, b, weight, total)


@part
def _at_once(
    table: _Floats, tiles: Tiles | None, b: int, coefficients: _Floats, added: _Floats | None, total: _Floats
) -> float:
    """Sum of the logarithms of block ``b``, and their gradient on top of ``total``, if that can be had; else NaN."""
    if tiles is not None:
        return np.nan
    if added is not None:
        return np.nan
    return value_and_gradient_of_few(table, b, coefficients, total)


@inlined
def _check_columns(events: EventArrays, tiles: Tiles | None, coefficients: _Floats) -> None:
    n_dense = events.table.shape[1]
    if (tiles is None and n_dense != coefficients.shape[0]) or n_dense > coefficients.shape[0]:
        raise ValueError("the number of coefficients does not match the number of columns of the event table")


@inlined
def _check_events(events: EventArrays, values: _Floats | None) -> None:
    if values is not None and values.shape[0] != events.multiplicity.shape[0]:
        raise ValueError("the number of values per event does not match the number of events of the event table")


@jit
def fused(
    events: EventArrays, tiles: Tiles | None, coefficients: _Floats, added: _Floats | None
) -> tuple[_Floats, ...]:
    """``sum_i m_i (log s_i + offset_i)``, shape (), and its gradient in ``v``, and in ``r``, in one pass."""
    _check_columns(events, tiles, coefficients)
    _check_events(events, added)
    few = 0 < coefficients.shape[0] <= FEW
    value = 0.0
    gradient = np.zeros(coefficients.shape[0])
    slopes = room_like(added)
    events, tiles, coefficients, added, total, of_events = borrowed(
        (events, tiles, coefficients, added, gradient, slopes)
    )
    table, multiplicity, unit = events.table, events.multiplicity, events.unit
    n_events = multiplicity.shape[0]
    density, weight = scratch(), scratch()
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, n_events - first)
        if few and unit[b] and n == BLOCK:
            logs = _at_once(table, tiles, b, coefficients, added, total)
            if logs == logs:
                value += logs
                continue
        _densities(table, tiles, b, n, coefficients, added, density)
        if b + 1 < table.shape[0]:
            prefetch_block(table[b + 1])
        counts = multiplicity[first : first + n]
        logs, rare = log_and_weight(density, counts, unit[b], n, weight)
        value += logs
        _accumulate(table, tiles, b, n, weight, total)
        _scatter(weight, tiles, first, n, of_events)
        if rare:
            value += add_rare(events, tiles, b, n, counts, coefficients, added, density, total, of_events)
    return outputs((np.asarray(value + events.offset_sum.item()), gradient), slopes)


@jit
def pointwise(events: EventArrays, tiles: Tiles | None, coefficients: _Floats, added: _Floats | None) -> _Floats:
    """``m_i (log s_i + offset_i)`` of every event, shape (N,); zero where the multiplicity is zero and ``s_i`` too."""
    _check_columns(events, tiles, coefficients)
    _check_events(events, added)
    terms = with_one_more(coefficients)
    ratio = np.empty(terms.shape[0])
    out = np.empty(events.multiplicity.shape[0])
    events, tiles, coefficients, added, values = borrowed((events, tiles, coefficients, added, out))
    table, multiplicity, offset = events.table, events.multiplicity, events.offset
    density = scratch()
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, multiplicity.shape[0] - first)
        _densities(table, tiles, b, n, coefficients, added, density)
        for j in range(n):
            i = first + j
            if is_rare(density[j], multiplicity[i]):
                terms[-1] = number_of(added, place(tiles, i))
                term = multiplicity[i] * rare_ratios(events, tiles, b, j, terms, ratio)
            else:
                term = log_term(density[j], multiplicity[i])
            values[place(tiles, i)] = term + multiplicity[i] * offset[i]
    return out


@jit
def vjp(
    events: EventArrays, tiles: Tiles | None, coefficients: _Floats, added: _Floats | None, weight: _Floats
) -> _Floats | tuple[_Floats, _Floats]:
    """``sum_i weight_i m_i P_ik / s_i``, shape (K,), and ``weight_i m_i / s_i``: the gradient for arbitrary weights."""
    _check_columns(events, tiles, coefficients)
    _check_events(events, added)
    _check_events(events, weight)
    out = np.zeros(coefficients.shape[0])
    slopes = room_like(added)
    events, tiles, coefficients, added, weight, total, of_events = borrowed(
        (events, tiles, coefficients, added, weight, out, slopes)
    )
    table, multiplicity = events.table, events.multiplicity
    density, own, factor = scratch(), scratch(), scratch()
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, weight.shape[0] - first)
        _gather(weight, tiles, first, n, own)
        _densities(table, tiles, b, n, coefficients, added, density)
        rare = False
        for j in range(n):
            own[j] *= multiplicity[first + j]
            rare |= is_rare(density[j], own[j])
            factor[j] = 0.0 if is_rare(density[j], own[j]) else quotient(own[j], density[j])
        _accumulate(table, tiles, b, n, factor, total)
        _scatter(factor, tiles, first, n, of_events)
        if rare:
            add_rare(events, tiles, b, n, own, coefficients, added, density, total, of_events)
    return outputs((out,), slopes)


@jit
def pushforward(
    events: EventArrays,
    tiles: Tiles | None,
    coefficients: _Floats,
    added: _Floats | None,
    weight: _Floats,
    direction: _Floats,
    added_direction: _Floats | None = None,
) -> _Floats:
    """``weight_i m_i (P_i . direction + added_direction_i) / s_i`` of every event, shape (N,)."""
    _check_columns(events, tiles, coefficients)
    _check_columns(events, tiles, direction)
    _check_events(events, added)
    _check_events(events, weight)
    _check_events(events, added_direction)
    terms, changes = with_one_more(coefficients), with_one_more(direction)
    ratio = np.empty(terms.shape[0])
    out = np.empty(weight.shape[0])
    events, tiles, coefficients, added, weight, direction, added_direction, values = borrowed(
        (events, tiles, coefficients, added, weight, direction, added_direction, out)
    )
    table, multiplicity = events.table, events.multiplicity
    density, slope = scratch(), scratch()
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, weight.shape[0] - first)
        _densities(table, tiles, b, n, coefficients, added, density)
        _densities(table, tiles, b, n, direction, added_direction, slope)
        for j in range(n):
            i = place(tiles, first + j)
            own = weight[i] * multiplicity[first + j]
            if is_rare(density[j], own):
                terms[-1], changes[-1] = number_of(added, i), number_of(added_direction, i)
                rare_ratios(events, tiles, b, j, terms, ratio)
                values[i] = held(own * rare_slope(ratio, changes))
            else:
                values[i] = quotient(own, density[j]) * slope[j]
    return out


@jit
def hessian_product(
    events: EventArrays,
    tiles: Tiles | None,
    coefficients: _Floats,
    added: _Floats | None,
    weight: _Floats,
    direction: _Floats,
    added_direction: _Floats | None = None,
) -> _Floats | tuple[_Floats, _Floats]:
    """The Hessian times a direction: ``-sum_i weight_i m_i P_ik t_i / s_i^2``, shape (K,), and the summand without *P*.

    Here ``t_i = P_i . direction + added_direction_i``.
    """
    _check_columns(events, tiles, coefficients)
    _check_columns(events, tiles, direction)
    _check_events(events, added)
    _check_events(events, weight)
    _check_events(events, added_direction)
    terms, changes = with_one_more(coefficients), with_one_more(direction)
    ratio = np.empty(terms.shape[0])
    out = np.zeros(coefficients.shape[0])
    slopes = room_like(added)
    events, tiles, coefficients, added, weight, direction, added_direction, total, of_events = borrowed(
        (events, tiles, coefficients, added, weight, direction, added_direction, out, slopes)
    )
    table, multiplicity = events.table, events.multiplicity
    density, slope = scratch(), scratch()
    for b in range(table.shape[0]):
        first = b * BLOCK
        n = min(BLOCK, weight.shape[0] - first)
        _densities(table, tiles, b, n, coefficients, added, density)
        _densities(table, tiles, b, n, direction, added_direction, slope)
        for j in range(n):
            i = place(tiles, first + j)
            own = weight[i] * multiplicity[first + j]
            if is_rare(density[j], own):
                terms[-1], changes[-1] = number_of(added, i), number_of(added_direction, i)
                rare_ratios(events, tiles, b, j, terms, ratio)
                change = held(own * rare_slope(ratio, changes))
                for k in range(total.shape[0]):
                    total[k] = held(total[k] - held(change * ratio[k]))
                slope[j] = 0.0
                put(of_events, i, -held(change * ratio[-1]))
            else:
                slope[j] = -quotient(quotient(own, density[j]) * slope[j], density[j])
                put(of_events, i, slope[j])
        _accumulate(table, tiles, b, n, slope, total)
    return outputs((out,), slopes)
