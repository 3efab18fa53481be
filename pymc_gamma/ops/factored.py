r"""Columns of events that are sums of products: of factors of widths, and of bands of nodes.

.. math:: r_i = \sum_{j \in J_i} x_j\,y_j, \qquad x_j = \sum_g U_{jg}\,w_g, \quad y_j = \sum_n B_{jn}\,v_n

Two Ops, each the transpose of the other, make :math:`x` and :math:`y` and take cotangents back; everything else is
PyTensor's own, so that there are derivatives of all orders. Tables are data.

Bands are summed at a quarter of the nodes where :math:`v` is smooth (:mod:`pymc_gamma.ops.coarse_kernels`). Where it is
not, a span of nodes, is asked of :math:`v` once, and derivatives do not know of it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba as nb
import numpy as np
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.gradient import DisconnectedType, disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.compilation import cache_version
from pymc_gamma.ops import coarse_kernels
from pymc_gamma.ops import factored_kernels as kernels
from pymc_gamma.ops.coarse_kernels import FIRST, STEP

__all__ = ["RoughSpan", "RowsDot", "RowsPull", "factored_density", "factored_types"]

_TABLES = {
    "factors": (2, "float32"),
    "values": (1, "float32"),
    "pointer": (1, "int64"),
    "column": (1, "int64"),
    "few": (1, "float32"),
    "few_pointer": (1, "int64"),
    "few_column": (1, "int64"),
    "low": (1, "int64"),
}
"""Rank and dtype of the tables: factors, bands of nodes, and bands of few nodes."""


def factored_types() -> list[Any]:
    """Types of the variables that hold the tables: those of the Ops, and the event of each row."""
    kinds = [*_TABLES.values(), (1, "int64")]
    return [pt.TensorType(dtype, shape=(None,) * rank) for rank, dtype in kinds]


def factored_density(w: Variable, v: Variable, tables: Sequence[Variable], n_events: Variable) -> Variable:
    """Densities of events for weights of widths and coefficients of nodes, shape (n_events,).

    Parameters
    ----------
    w, v : TensorVariable
        Weights of widths, and coefficients of nodes.
    tables : sequence of TensorVariable
        Of the types of :func:`factored_types`.
    n_events : TensorVariable
        Number of events.
    """
    *own, event = tables
    first, second = RowsDot()(w, v, RoughSpan()(v), *own)
    return pt.inc_subtensor(pt.zeros((n_events,))[event], first * second)


class RoughSpan(Op):
    """``v -> [first, last + 1]``: where coefficients are not smooth; see :mod:`pymc_gamma.ops.coarse_kernels`."""

    __props__: tuple[str, ...] = ()

    def make_node(self, v: Any) -> Apply:
        """Apply node on coefficients."""
        return Apply(self, [pt.as_tensor_variable(v).astype("float64")], [pt.TensorType("int64", shape=(2,))()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        output_storage[0][0] = coarse_kernels.rough_span(inputs[0])

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """Two numbers."""
        return [(pt.constant(2),)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Nothing to differentiate."""
        return [[False]]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Nothing."""
        return [disconnected_type()]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Nothing."""
        return [disconnected_type()]


class _RowsOp(Op):
    """What the two Ops share: two vectors, a length, a span, and tables."""

    __props__: tuple[str, ...] = ()

    def _inputs(self, vectors: Sequence[Any], span: Any, tables: Sequence[Any]) -> list[Variable]:
        variables = [pt.as_tensor_variable(one).astype("float64") for one in vectors]
        if any(one.type.ndim != 1 for one in variables):
            raise TypeError(f"vectors must have one dimension, got {[one.type for one in variables]}")
        variables.append(pt.as_tensor_variable(span).astype("int64"))
        for (name, (rank, dtype)), value in zip(_TABLES.items(), tables, strict=True):
            variable = pt.as_tensor_variable(value)
            if variable.type.ndim != rank or variable.type.dtype != dtype:
                raise TypeError(f"{name} must be a {dtype} tensor with {rank} dimensions, got {variable.type}")
            variables.append(variable)
        return variables


def _given(cotangents: Sequence[Variable], like: Sequence[Variable]) -> list[Variable]:
    """Cotangents, zeros where there are none."""
    return [
        pt.zeros_like(one) if isinstance(given.type, DisconnectedType) else given
        for given, one in zip(cotangents, like, strict=True)
    ]


def _asked(found: Sequence[Variable], cotangents: Sequence[Variable]) -> list[Variable]:
    """What was found, but where nothing was given."""
    return [
        given if isinstance(given.type, DisconnectedType) else one for one, given in zip(found, cotangents, strict=True)
    ]


class RowsDot(_RowsOp):
    """``(w, v, span, *tables) -> x, y``: products of each row."""

    def make_node(self, w: Any, v: Any, span: Any, *tables: Any) -> Apply:
        """Apply node on weights, coefficients, where these are not smooth, and tables."""
        return Apply(self, self._inputs((w, v), span, tables), [pt.dvector(), pt.dvector()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        for storage, one in zip(output_storage, kernels.rows_dot(*inputs), strict=True):
            storage[0] = one

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per row."""
        return [shapes[3][:1], shapes[3][:1]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The first vector makes the first output, the second the second."""
        return [[True, False], [False, True], *[[False, False]] * (1 + len(_TABLES))]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """The transpose."""
        _w, v, *tables = inputs
        none = [disconnected_type() for _ in tables]
        if all(isinstance(one.type, DisconnectedType) for one in cotangents):
            return [disconnected_type(), disconnected_type(), *none]
        return [*_asked(RowsPull()(*_given(cotangents, outputs), v, *tables), cotangents), *none]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """The map itself."""
        if all(isinstance(one.type, DisconnectedType) for one in tangents[:2]):
            return [disconnected_type(), disconnected_type()]
        return _asked(self(*_given(tangents[:2], inputs[:2]), *inputs[2:]), tangents[:2])


class RowsPull(_RowsOp):
    """``(x, y, v, span, *tables) -> sum of rows``: the transpose of `RowsDot`; of ``v`` only the length matters."""

    def make_node(self, x: Any, y: Any, v: Any, span: Any, *tables: Any) -> Apply:
        """Apply node on weights of rows, a vector of as many coefficients, where these are not smooth, and tables."""
        variables = self._inputs((x, y, v), span, tables)
        return Apply(self, variables, [pt.dvector(), variables[2].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        x, y, v, *tables = inputs
        for storage, one in zip(output_storage, kernels.rows_pull(x, y, len(v), *tables), strict=True):
            storage[0] = one

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per width, and per node."""
        return [shapes[4][1:], shapes[2]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The first vector makes the first output, the second the second."""
        return [[True, False], [False, True], *[[False, False]] * (2 + len(_TABLES))]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """The map itself."""
        tables = inputs[3:]
        none = [disconnected_type() for _ in inputs[2:]]
        if all(isinstance(one.type, DisconnectedType) for one in cotangents):
            return [disconnected_type(), disconnected_type(), *none]
        return [*_asked(RowsDot()(*_given(cotangents, outputs), *tables), cotangents), *none]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """The transpose."""
        if all(isinstance(one.type, DisconnectedType) for one in tangents[:2]):
            return [disconnected_type(), disconnected_type()]
        return _asked(self(*_given(tangents[:2], inputs[:2]), *inputs[2:]), tangents[:2])


@register_funcify_default_op_cache_key(RoughSpan)
def _rough_span(op: RoughSpan, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def rough_span(v):  # type: ignore[no-untyped-def]
        return coarse_kernels.rough_span(v)

    return rough_span, cache_version()


@register_funcify_default_op_cache_key(RowsDot)
def _rows_dot(op: RowsDot, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def rows_dot(w, v, span, factors, values, pointer, column, few, few_pointer, few_column, low):  # type: ignore[no-untyped-def]
        return kernels.rows_dot(w, v, span, factors, values, pointer, column, few, few_pointer, few_column, low)

    return rows_dot, cache_version()


@register_funcify_default_op_cache_key(RowsPull)
def _rows_pull(op: RowsPull, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def rows_pull(x, y, v, span, factors, values, pointer, column, few, few_pointer, few_column, low):  # type: ignore[no-untyped-def]
        n = len(v)
        return kernels.rows_pull(x, y, n, span, factors, values, pointer, column, few, few_pointer, few_column, low)

    return rows_pull, cache_version()


def _cubics(n: Variable) -> tuple[Variable, list[tuple[Variable, Variable]]]:
    """Nodes, and for each of four few nodes near them its place among all and its weight; see `coarse_kernels`."""
    node = pt.arange(n)
    few = (n - 1 - 2 * FIRST) // STEP + 1
    first = pt.clip((node - FIRST) // STEP - 1, 0, few - 4)
    a = (node - FIRST) / STEP - first
    b, c, d = a - 1, a - 2, a - 3
    weights = (-b * c * d / 6, a * c * d / 2, -a * b * d / 2, a * b * c / 6)
    return node, [(FIRST + STEP * (first + k), weight) for k, weight in enumerate(weights)]


@node_rewriter([RoughSpan])
def write_out_span(fgraph: FunctionGraph, node: Apply) -> Sequence[Variable]:
    """The span in PyTensor's own operations, which JAX knows."""
    (v,) = node.inputs
    n = v.shape[0]
    at, terms = _cubics(n)
    rest = v - sum(v[place] * weight for place, weight in terms)
    begin = FIRST + STEP * ((at - FIRST) // STEP - coarse_kernels.NEAR)
    around = begin[:, None] + np.arange(STEP * (2 * coarse_kernels.NEAR + 1))
    scale = pt.max(pt.abs(v)[pt.clip(around, 0, n - 1)], axis=1)
    rough = ~(pt.abs(rest) <= coarse_kernels.NEGLIGIBLE * scale) & (at > 0) & (at < n - 1)
    lo, hi = pt.min(pt.switch(rough, at, n - 1)), pt.max(pt.switch(rough, at + 1, 0))
    hi = pt.maximum(lo, hi)
    every = ((hi - lo) * coarse_kernels.LONGEST > n) | (n < coarse_kernels.LEAST)
    found = pt.stack([pt.switch(every, 0, lo), pt.switch(every, n, hi)]).astype("int64")
    copy_stack_trace(node.outputs[0], found)
    return [pt.specify_shape(found, (2,))]


@node_rewriter([RowsDot, RowsPull])
def write_out_rows(fgraph: FunctionGraph, node: Apply) -> Sequence[Variable]:
    """An Op of the two in PyTensor's own operations, which JAX knows."""
    own = len(_TABLES) + 1
    first, second, *rest = node.inputs[:-own]
    span, factors, values, pointer, column, few, few_pointer, few_column, low = node.inputs[-own:]
    v = second if isinstance(node.op, RowsDot) else rest[0]
    n, whole = v.shape[0], pt.ge(low, span[0])
    at, terms = _cubics(n)
    none = pt.constant(0.0, dtype="float64")  # JAX adds to numbers of the precision that they start with
    kept = ((at >= span[0]) & (at < span[1])) | pt.eq(at, 0) | pt.eq(at, n - 1)
    row, place = _places(values, pointer, column)
    few_row, few_place = _places(few, few_pointer, few_column)
    few_place = FIRST + STEP * few_place
    if isinstance(node.op, RowsDot):
        remainder = pt.switch(kept, v - sum(v[places] * weight for places, weight in terms), none)
        own_value = pt.switch(whole[row], v[place], remainder[place])
        room = pt.inc_subtensor(pt.zeros((factors.shape[0],))[row], values * own_value)
        of_few = pt.inc_subtensor(pt.zeros((factors.shape[0],))[few_row], few * v[few_place])
        outputs = [pt.dot(factors, first), room + pt.switch(whole, none, of_few)]
    else:
        zeros = pt.zeros_like(v)
        fully, partly = pt.switch(whole, second, none), pt.switch(whole, none, second)
        total = pt.inc_subtensor(zeros[place], values * fully[row])
        total = pt.inc_subtensor(total[few_place], few * partly[few_row])
        remainder = pt.switch(kept, pt.inc_subtensor(zeros[place], values * partly[row]), none)
        total = total + remainder
        for places, weight in terms:
            total = pt.inc_subtensor(total[places], -weight * remainder)
        outputs = [pt.dot(first, factors), total]
    outputs = [one.astype("float64") for one in outputs]
    outputs = [
        new if old.type.is_super(new.type) else pt.specify_shape(new, old.type.shape)
        for new, old in zip(outputs, node.outputs, strict=True)
    ]
    copy_stack_trace(node.outputs, outputs)
    return outputs


def _places(values: Variable, pointer: Variable, column: Variable) -> tuple[Variable, Variable]:
    """Row and place of each number of bands."""
    entry = pt.arange(values.shape[0])
    row = pt.searchsorted(pointer, entry, side="right") - 1
    return row, column[row] + entry - pointer[row]


optdb.register(
    "pymc_gamma_write_out_rows",
    dfs_rewriter(write_out_rows, write_out_span, ignore_newtrees=True),
    "jax",
    position=1.95,  # before specialisation, which simplifies what is written out
)
