"""Graph rewrites: the fused form before differentiation, and plain tensor algebra for JAX.

*Fusion.* A distribution's ``logp`` is pointwise, so that PyMC can compute pointwise log-likelihoods; a sampler
needs its sum and the gradient of that. Two rewrites, registered for canonicalisation and stabilisation, turn the
one into the other:

* ``Sum(LogMatVec)`` becomes the value of ``LogMatVecSum``. PyMC and nutpie canonicalise a log-probability before
  they differentiate it, so the gradient is then the second output of the same node;
* ``LogMatVecVJP`` with the same weight for all events becomes the gradient of ``LogMatVecSum``: this catches
  graphs that were differentiated first.

*Lowering.* JAX has no use for the kernels: XLA fuses ``log(P v)`` itself, on any device, and differentiates it. In
JAX mode each Op is therefore written out in PyTensor's own operations, and no JAX code (or import) is needed here.

*Slicing.* The gradient of a simplex transform splits a vector at constant positions. PyTensor's numba form of ``Split``
handles any sizes and formats error messages, which takes 4 s to compile, a fifth of the compilation of a model; slices
take none. Only graphs with Ops of this package are changed.
"""

from collections.abc import Sequence

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.tensor.basic import Alloc, Split
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.math import Sum
from pytensor.tensor.rewriting.basic import register_canonicalize, register_stabilize

from pymc_gamma.ops.device import warn_of_single_sums
from pymc_gamma.ops.logmatvec import (
    FAMILY,
    PER_EVENT,
    LogMatVec,
    LogMatVecJVP,
    LogMatVecSum,
    LogMatVecVJP,
)
from pymc_gamma.ops.row_forms import Rows, known

__all__ = ["fuse_sum", "fuse_uniform_vjp", "lower_to_tensor_algebra", "slice_constant_split", "split_sum"]


@register_canonicalize("pymc_gamma")
@register_stabilize("pymc_gamma")
@node_rewriter([Sum])
def fuse_sum(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """``Sum(LogMatVec)`` -> value of ``LogMatVecSum``."""
    summand = node.inputs[0].owner
    if summand is None or not isinstance(summand.op, LogMatVec):
        return None
    if node.op.axis is not None and tuple(node.op.axis) != (0,):
        return None
    value = summand.op.like(LogMatVecSum).make_node(*summand.inputs).outputs[0]
    copy_stack_trace(node.outputs[0], value)
    return [value]


@register_canonicalize("pymc_gamma")
@register_stabilize("pymc_gamma")
@node_rewriter([Sum])
def split_sum(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """``Sum(LogMatVec + a - b)`` -> ``Sum(LogMatVec) + Sum(a) - Sum(b)``: then the first term can be fused."""
    terms = node.inputs[0].owner
    if node.inputs[0].type.ndim != 1 or terms is None or not isinstance(terms.op, Elemwise):
        return None
    if not isinstance(terms.op.scalar_op, ps.Add | ps.Sub):
        return None
    events = [term for term in terms.inputs if term.owner is not None and isinstance(term.owner.op, LogMatVec)]
    if not events:
        return None
    n_events = events[0].shape[0]
    sums = [term.squeeze() * n_events if all(term.type.broadcastable) else pt.sum(term) for term in terms.inputs]
    total = terms.op(*sums)
    copy_stack_trace(node.outputs[0], total)
    return [total.astype(node.outputs[0].type.dtype)]


@register_canonicalize("pymc_gamma")
@register_stabilize("pymc_gamma")
@node_rewriter([LogMatVecVJP])
def fuse_uniform_vjp(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """``LogMatVecVJP`` with one weight for all events -> that weight times the gradients of ``LogMatVecSum``."""
    *inputs, weight = node.inputs
    uniform = _uniform_value(weight)
    if uniform is None:
        return None
    gradients = node.op.like(LogMatVecSum).make_node(*inputs).outputs[1:]
    copy_stack_trace(node.outputs, gradients)
    return [uniform * gradient for gradient in gradients]


def _uniform_value(vector: Variable) -> Variable | None:
    """The scalar that a vector repeats, if that can be seen from the graph."""
    if isinstance(vector, Constant):
        values = np.unique(vector.data)
        return pt.constant(values[0]) if values.size == 1 else None
    if vector.owner is None or not isinstance(vector.owner.op, Alloc):
        return None
    filler = vector.owner.inputs[0]
    if not all(filler.type.broadcastable):
        return None
    return filler.squeeze() if filler.type.ndim else filler


class _NoLogRows:
    """No event has its row kept as logarithms."""

    def __init__(self, log_rows: Variable, rows: Rows, coefficients: Variable, added: Variable | None) -> None:
        self._rows = rows

    def place(self, values: Variable, own: Variable | float) -> Variable:
        """Numbers per event, with those of these events in their places."""
        return values

    def place_logarithms(self, values: Variable, counts: Variable) -> Variable:
        """Logarithms of densities, likewise; zero for events that do not count."""
        return values

    def place_slopes(self, values: Variable, direction: Variable, added: Variable | None) -> Variable:
        """``(P_i . direction + added_i) / s_i`` of each event, likewise."""
        return values

    def transposed(self, weight: Variable, density: Variable, coefficients: Variable) -> tuple[Variable, Variable]:
        """``sum_i weight_i P_ik / s_i`` over all events, and ``weight_i / s_i`` of each."""
        quotient = _held_quotient(weight, density)
        return _held(self._rows.transposed(quotient, quotient, coefficients)), _held(quotient)


class _LogRows(_NoLogRows):
    """Events of which a table keeps the logarithms (:mod:`pymc_gamma.ops.rare_kernels`).

    Here all of them are computed so, whether they turn out to be rare or not: there are few.
    """

    def __init__(self, log_rows: Variable, rows: Rows, coefficients: Variable, added: Variable | None) -> None:
        super().__init__(log_rows, rows, coefficients, added)
        self._event = log_rows[:, 0].astype("int64")
        self._n_dense = log_rows.shape[1] - 1
        logs, dense = log_rows[:, 1:], coefficients[: self._n_dense]
        others = self._others(coefficients, added)
        each = [logs + _log_or_impossible(dense), _log_or_impossible(others)[:, None]]
        largest = pt.max(pt.concatenate(each, axis=1), axis=1)
        largest = pt.switch(pt.isinf(largest), 0.0, largest)
        total = pt.dot(pt.exp(pt.minimum(logs - largest[:, None], _HOLD)), dense) + others * pt.exp(-largest)
        self._log_density = largest + pt.log(total)
        ratio = pt.exp(pt.minimum(logs - self._log_density[:, None], _HOLD))
        self._ratio = pt.switch(pt.isinf(logs), 0.0, ratio)
        self._reciprocal = pt.exp(pt.minimum(-self._log_density, _HOLD))

    def _others(self, coefficients: Variable, added: Variable | None) -> Variable:
        """What is not kept in logarithms: products of tiles, and what is added."""
        terms = [one[self._event] for one in (self._rows.of_tiles(coefficients), added) if one is not None]
        return sum(terms, start=pt.zeros(self._event.shape[0]))

    def place(self, values: Variable, own: Variable | float) -> Variable:
        """See `_NoLogRows`."""
        return pt.set_subtensor(values[self._event], own)

    def place_logarithms(self, values: Variable, counts: Variable) -> Variable:
        """See `_NoLogRows`."""
        return self.place(values, pt.switch(counts[self._event], self._log_density, 0.0))

    def place_slopes(self, values: Variable, direction: Variable, added: Variable | None) -> Variable:
        """See `_NoLogRows`."""
        slope = pt.dot(self._ratio, direction[: self._n_dense]) + self._others(direction, added) * self._reciprocal
        return self.place(values, slope)

    def transposed(self, weight: Variable, density: Variable, coefficients: Variable) -> tuple[Variable, Variable]:
        """See `_NoLogRows`."""
        quotient = _held_quotient(weight, density)
        own = weight[self._event]
        of_events = self.place(quotient, own * self._reciprocal)
        total = self._rows.transposed(self.place(quotient, 0.0), of_events, coefficients)
        return _held(pt.inc_subtensor(total[: self._n_dense], pt.dot(own, self._ratio))), _held(of_events)


_HOLD = np.log(1e302)


def _log_or_impossible(x: Variable) -> Variable:
    """Logarithm of the size of numbers, held above the reach of subnormal ones; -inf at zero."""
    some = pt.neq(x, 0)
    return pt.switch(some, pt.maximum(pt.log(pt.switch(some, pt.abs(x), 1.0)), -_HOLD), -np.inf)


def _held_quotient(weight: Variable, density: Variable) -> Variable:
    """Quotient without ``0 / 0`` and without overflow, so that it may be multiplied by zero."""
    return weight / pt.maximum(density, pt.constant(1e-302, dtype="float64"))


def _held(x: Variable) -> Variable:
    """Numbers, or the largest of their sign."""
    largest = pt.constant(1.7e308, dtype="float64")
    return pt.clip(x, -largest, largest)


def _in_event_order(values: Variable, tiles: Sequence[Variable]) -> Variable:
    """Numbers per event in the order that the events were given in."""
    return pt.set_subtensor(pt.empty_like(values)[tiles[-1]], values) if tiles else values


def _plus(values: Variable, more: Variable | None) -> Variable:
    return values if more is None else values + more


@node_rewriter(list(FAMILY))
def lower_to_tensor_algebra(fgraph: FunctionGraph, node: Apply) -> Sequence[Variable] | None:
    """Write an Op of the family out in elementary operations; columns that reach few events must be known for that."""
    arrays, vectors = node.op.split(node.inputs)
    table, multiplicity, _, offset, offset_sum, log_rows, *tiles = arrays
    if any(known(one) is None for one in tiles):
        return None
    warn_of_single_sums()
    v = vectors["coefficients"]
    if tiles:  # numbers per event in the order of the table
        vectors = {name: one[tiles[-1]] if name in PER_EVENT else one for name, one in vectors.items()}
    rows = Rows(table, multiplicity.shape[0], tiles)
    few = known(log_rows)
    kind = _NoLogRows if few is not None and len(few) == 0 else _LogRows
    rare = kind(log_rows, rows, v, vectors.get("added"))
    unit = isinstance(multiplicity, Constant) and bool(np.all(multiplicity.data == 1))
    counts = pt.neq(multiplicity, 0)
    density = _plus(rows.dot(v), vectors.get("added"))
    if not unit:  # events of multiplicity zero may have density zero; their gradient must not become 0 * inf
        density = pt.switch(counts, density, 1.0)
    density = rare.place(density, 1.0)
    log_density = rare.place_logarithms(pt.log(density), counts)
    weight = vectors["weight"] * multiplicity if "weight" in vectors else multiplicity
    if "direction" in vectors:
        u, more = vectors["direction"], vectors.get("added_direction")
        slope = weight * rare.place_slopes(_held_quotient(_plus(rows.dot(u), more), density), u, more)
    match node.op:
        case LogMatVec():
            outputs = [multiplicity * (log_density + offset)]
        case LogMatVecSum():
            total = pt.sum(log_density) if unit else pt.dot(multiplicity, log_density)
            outputs = [total + offset_sum, *rare.transposed(weight, density, v)]
        case LogMatVecVJP():
            outputs = [*rare.transposed(weight, density, v)]
        case LogMatVecJVP():
            outputs = [slope]
        case _:
            # the quotient of the two may overflow where that of each event by itself did not
            outputs = [-one for one in rare.transposed(slope, pt.maximum(density, pt.abs(slope) * 1e-307), v)]
    outputs = [
        _in_event_order(output, tiles) if name in PER_EVENT else output
        for name, output in zip(node.op.returns, outputs, strict=False)  # without what is added one less is asked for
    ]
    copy_stack_trace(node.outputs, outputs)
    return outputs


optdb.register(
    "pymc_gamma_lower_to_tensor_algebra",
    dfs_rewriter(lower_to_tensor_algebra, ignore_newtrees=True),
    "jax",
    position=1.95,  # after the fusion above, before specialisation, which simplifies what is written out
)


@node_rewriter([Split])
def slice_constant_split(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """``Split`` at constant positions that fill a known length -> slices, next to Ops of this package."""
    vector, sizes = node.inputs
    axis = node.op.axis
    if not isinstance(sizes, Constant) or not any(isinstance(other.op, FAMILY) for other in fgraph.apply_nodes):
        return None
    stops = np.cumsum(sizes.data)
    if np.any(sizes.data < 0) or len(stops) != node.op.len_splits or vector.type.shape[axis] != stops[-1]:
        return None  # PyTensor's own form says what is wrong
    before = (slice(None),) * axis
    outputs = [
        vector[(*before, slice(int(stop - size), int(stop)))] for size, stop in zip(sizes.data, stops, strict=True)
    ]
    copy_stack_trace(node.outputs, outputs)
    return outputs


optdb.register(
    "pymc_gamma_slice_constant_split",
    dfs_rewriter(slice_constant_split, ignore_newtrees=True),
    "numba",
    position=2.5,  # after specialisation, before fusion
)
