r"""Columns of events that are sums of products: of factors of widths, and of bands of nodes.

.. math:: r_i = \sum_{j \in J_i} x_j\,y_j, \qquad x_j = \sum_g U_{jg}\,w_g, \quad y_j = \sum_n B_{jn}\,v_n

Two Ops, each the transpose of the other, make :math:`x` and :math:`y` and take cotangents back; everything else is
PyTensor's own, so that there are derivatives of all orders. Tables are data.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba as nb
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.gradient import DisconnectedType, disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.compilation import cache_version
from pymc_gamma.ops import factored_kernels as kernels

__all__ = ["RowsDot", "RowsPull", "factored_density", "factored_types"]

_TABLES = {"factors": (2, "float32"), "values": (1, "float32"), "pointer": (1, "int64"), "column": (1, "int64")}
"""Rank and dtype of the tables."""


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
    first, second = RowsDot()(w, v, *own)
    return pt.inc_subtensor(pt.zeros((n_events,))[event], first * second)


class _RowsOp(Op):
    """What the two Ops share: two vectors, a length, and tables."""

    __props__: tuple[str, ...] = ()

    def _inputs(self, vectors: Sequence[Any], tables: Sequence[Any]) -> list[Variable]:
        variables = [pt.as_tensor_variable(one).astype("float64") for one in vectors]
        if any(one.type.ndim != 1 for one in variables):
            raise TypeError(f"vectors must have one dimension, got {[one.type for one in variables]}")
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
    """``(w, v, *tables) -> x, y``: products of each row."""

    def make_node(self, w: Any, v: Any, *tables: Any) -> Apply:
        """Apply node on weights, coefficients and tables."""
        return Apply(self, self._inputs((w, v), tables), [pt.dvector(), pt.dvector()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        for storage, one in zip(output_storage, kernels.rows_dot(*inputs), strict=True):
            storage[0] = one

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per row."""
        return [shapes[2][:1], shapes[2][:1]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The first vector makes the first output, the second the second."""
        return [[True, False], [False, True], *[[False, False]] * len(_TABLES)]

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
    """``(x, y, v, *tables) -> sum of rows``: the transpose of `RowsDot`; of ``v`` only the length matters."""

    def make_node(self, x: Any, y: Any, v: Any, *tables: Any) -> Apply:
        """Apply node on weights of rows, a vector of as many coefficients, and tables."""
        variables = self._inputs((x, y, v), tables)
        return Apply(self, variables, [pt.dvector(), variables[2].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        x, y, v, *tables = inputs
        for storage, one in zip(output_storage, kernels.rows_pull(x, y, len(v), *tables), strict=True):
            storage[0] = one

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per width, and per node."""
        return [shapes[3][1:], shapes[2]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The first vector makes the first output, the second the second."""
        return [[True, False], [False, True], *[[False, False]] * (1 + len(_TABLES))]

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


@register_funcify_default_op_cache_key(RowsDot)
def _rows_dot(op: RowsDot, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def rows_dot(w, v, factors, values, pointer, column):  # type: ignore[no-untyped-def]
        return kernels.rows_dot(w, v, factors, values, pointer, column)

    return rows_dot, cache_version()


@register_funcify_default_op_cache_key(RowsPull)
def _rows_pull(op: RowsPull, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def rows_pull(x, y, v, factors, values, pointer, column):  # type: ignore[no-untyped-def]
        return kernels.rows_pull(x, y, len(v), factors, values, pointer, column)

    return rows_pull, cache_version()


@node_rewriter([RowsDot, RowsPull])
def write_out_rows(fgraph: FunctionGraph, node: Apply) -> Sequence[Variable]:
    """An Op of the two in PyTensor's own operations, which JAX knows."""
    first, second, *rest = node.inputs
    factors, values, pointer, column = node.inputs[-4:]
    entry = pt.arange(values.shape[0])
    row = pt.searchsorted(pointer, entry, side="right") - 1
    place = column[row] + entry - pointer[row]
    if isinstance(node.op, RowsDot):
        room = pt.zeros((factors.shape[0],))
        outputs = [pt.dot(factors, first), pt.inc_subtensor(room[row], values * second[place])]
    else:
        outputs = [pt.dot(first, factors), pt.inc_subtensor(pt.zeros_like(rest[0])[place], values * second[row])]
    outputs = [one.astype("float64") for one in outputs]
    outputs = [
        new if old.type.is_super(new.type) else pt.specify_shape(new, old.type.shape)
        for new, old in zip(outputs, node.outputs, strict=True)
    ]
    copy_stack_trace(node.outputs, outputs)
    return outputs


optdb.register(
    "pymc_gamma_write_out_rows",
    dfs_rewriter(write_out_rows, ignore_newtrees=True),
    "jax",
    position=1.95,  # before specialisation, which simplifies what is written out
)
