r"""PyTensor Ops for the log-likelihood of events under a linear form, :math:`\ell_i = m_i (\log (P v)_i + o_i)`.

All models of this package end in this expression (see ``docs/development/architecture.md``): *P* is the table of
scaled densities, *o* the logarithms of the scales, *m* the multiplicities, *v* the coefficients.

========================  =======================================================================================
:class:`LogMatVec`        :math:`\ell_i`, one value per event: what a distribution's ``logp`` returns
:class:`LogMatVecSum`     :math:`\sum_i \ell_i` and its gradient in one pass: what samplers run (by rewrite)
:class:`LogMatVecVJP`     :math:`\sum_i g_i \, \partial \ell_i / \partial v` for any cotangent *g*
:class:`LogMatVecJVP`     :math:`g_i \, \partial \ell_i / \partial v \cdot u` for any direction *u*
:class:`LogMatVecHVP`     :math:`\sum_i g_i \, \partial^2 \ell_i / \partial v^2 \, u`
========================  =======================================================================================

The first inputs describe the data and are shared by all (:data:`TABLE_INPUTS`); they are arrays, never differentiated
with respect to. ``offset_sum`` is :math:`\sum_i m_i o_i`, carried along so that the fused form need not read *o*;
``log_rows`` has the rows that a table of floating-point numbers cannot hold (:mod:`pymc_gamma.ops.rare_kernels`).

Where some columns reach few events and are stored as tiles (:mod:`pymc_gamma.ops.tiles`), the Ops are made with
``banded=True`` and take four inputs more, :data:`BAND_INPUTS`; the coefficients of these columns follow those of the
others. All table inputs are then in the order of the tiles; weights and values per event are in the user's order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from pymc_gamma.ops import kernels

__all__ = [
    "BAND_INPUTS",
    "TABLE_INPUTS",
    "LogMatVec",
    "LogMatVecHVP",
    "LogMatVecJVP",
    "LogMatVecSum",
    "LogMatVecVJP",
    "banded_log_matvec",
    "log_matvec",
    "log_matvec_sum",
]

TABLE_INPUTS = ("table", "multiplicity", "unit", "offset", "offset_sum", "log_rows")
"""Names of the inputs that describe the events: shapes (n_blocks, K, BLOCK), (N,), (n_blocks,) bool, (N,), (),
(n, 1 + K)."""

BAND_INPUTS = ("numbers", "tiles", "pointer", "order")
"""Names of the inputs that describe columns stored as tiles: float32 (n_numbers,), int64 (n_tiles, 5), (n_blocks + 1,),
(N,); see `pymc_gamma.ops.tiles.Tiles`."""

_TABLE_TYPES = ((3, "float64"), (1, "float64"), (1, "bool"), (1, "float64"), (0, "float64"), (2, "float64"))
_BAND_TYPES = ((1, "float32"), (2, "int64"), (1, "int64"), (1, "int64"))


def _events_type(inputs: Sequence[Variable]) -> Any:
    return pt.vector(dtype="float64", shape=inputs[1].type.shape)


def _is_disconnected(variable: Variable) -> bool:
    return isinstance(variable.type, DisconnectedType)


class _EventOp(Op):
    """What the Ops of this family have in common.

    Parameters
    ----------
    banded : bool
        Whether some columns are stored as tiles.
    """

    __props__ = ("banded",)

    def __init__(self, banded: bool = False) -> None:
        self.banded = banded

    @property
    def table_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that describe the events."""
        return (*TABLE_INPUTS, *BAND_INPUTS) if self.banded else TABLE_INPUTS

    def split(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The inputs that describe the events, and the vectors after them."""
        n = len(self.table_inputs)
        return list(inputs[:n]), list(inputs[n:])

    def _as_inputs(self, inputs: Sequence[Any], n_vectors: int) -> list[Variable]:
        """Variables of the right dtype and rank, or a TypeError that names the input."""
        table_inputs, vectors = self.split(inputs)
        if len(table_inputs) != len(self.table_inputs) or len(vectors) != n_vectors:
            raise TypeError(
                f"expected the table inputs {self.table_inputs} and {n_vectors} vector(s), got {len(inputs)} variables"
            )
        types = (*_TABLE_TYPES, *_BAND_TYPES)
        variables = []
        for name, (ndim, dtype), value in zip(self.table_inputs, types, table_inputs, strict=False):
            variable = pt.as_tensor_variable(value)
            if variable.type.ndim != ndim or variable.type.dtype != dtype:
                raise TypeError(f"{name} must be a {dtype} tensor with {ndim} dimensions, got {variable.type}")
            variables.append(variable)
        for value in vectors:
            variable = pt.as_tensor_variable(value)
            if variable.type.ndim != 1:
                raise TypeError(f"coefficients, directions and weights must be vectors, got {variable.type}")
            variables.append(variable.astype("float64"))
        return variables

    def _columns_type(self, inputs: Sequence[Variable]) -> Any:
        return pt.vector(dtype="float64", shape=inputs[len(self.table_inputs)].type.shape)

    def _kernel_inputs(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any], Any]:
        """Table inputs, vectors and tiles, as the kernels take them."""
        table_inputs, vectors = self.split(inputs)
        n = len(TABLE_INPUTS)
        return table_inputs[:n], vectors, tuple(table_inputs[n:-1]) if self.banded else None

    def _in_table_order(self, weight: Any, inputs: Sequence[Any]) -> Any:
        """Numbers per event, in the user's order, as the kernels take them."""
        return weight[self.split(inputs)[0][-1]] if self.banded else weight

    def _in_event_order(self, values: Any, inputs: Sequence[Any]) -> Any:
        """Numbers per event, as the kernels return them, in the user's order."""
        return kernels.in_event_order(values, self.split(inputs)[0][-1]) if self.banded else values

    def _pattern(self, n_vectors: int, *connected: tuple[bool, ...]) -> list[list[bool]]:
        """Connection pattern: that of the first table inputs as given, everything else connected."""
        everything = [True] * len(connected[0])
        more = n_vectors + len(self.table_inputs) - len(connected)
        return [*map(list, connected), *([list(everything)] * more)]

    def _data_cotangents(self, inputs: Sequence[Variable]) -> list[Variable]:
        """Cotangents of the table inputs: observed data, which nothing may be differentiated with respect to."""
        return [
            grad_not_implemented(self, i, inputs[i], "the event table is data; only its coefficients have gradients")
            for i in range(len(self.table_inputs))
        ]


class LogMatVec(_EventOp):
    """``(*table_inputs, v) -> m_i (log (P v)_i + o_i)``, shape (N,).

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_gamma.distributions.table import EventTable
    >>> table = EventTable(np.array([[0.5, 0.1], [0.2, 0.7]]))
    >>> log_matvec(*table.inputs, [0.3, 0.7]).eval().round(3).tolist()
    [-1.514, -0.598]
    """

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on the table inputs and the coefficients."""
        variables = self._as_inputs(inputs, 1)
        return Apply(self, variables, [_events_type(variables)])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        (table, multiplicity, _, offset, _, log_rows), (coefficients,), tiles = self._kernel_inputs(inputs)
        values = kernels.pointwise(table, multiplicity, offset, coefficients, tiles, log_rows)
        output_storage[0][0] = self._in_event_order(values, inputs)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One value per event."""
        return [(shapes[1][0],)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Everything but the sum of offsets and the unit flags matters."""
        return self._pattern(1, (True,), (True,), (False,), (True,), (False,))

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangent of the coefficients, by :class:`LogMatVecVJP`."""
        *table_inputs, coefficients = inputs
        (cotangent,) = cotangents
        if _is_disconnected(cotangent):
            return [disconnected_type() for _ in inputs]
        data = self._data_cotangents(inputs)
        data[2] = data[4] = disconnected_type()
        return [*data, LogMatVecVJP(self.banded)(*table_inputs, coefficients, cotangent)]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Derivative along a direction of the coefficients, by :class:`LogMatVecJVP`."""
        *table_inputs, coefficients = inputs
        direction = tangents[-1]
        if _is_disconnected(direction):
            return [disconnected_type()]
        weight = pt.ones_like(table_inputs[1])
        return [LogMatVecJVP(self.banded)(*table_inputs, coefficients, weight, direction)]


class LogMatVecSum(_EventOp):
    """``(*table_inputs, v) -> (sum_i m_i (log (P v)_i + o_i), its gradient)`` in one pass over the table."""

    default_output = 0

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on the table inputs and the coefficients."""
        variables = self._as_inputs(inputs, 1)
        return Apply(self, variables, [pt.scalar(dtype="float64"), self._columns_type(variables)])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        (table, multiplicity, unit, _, offset_sum, log_rows), (coefficients,), tiles = self._kernel_inputs(inputs)
        value, gradient = kernels.fused(table, multiplicity, unit, coefficients, tiles, log_rows)
        output_storage[0][0] = np.asarray(value + offset_sum)
        output_storage[1][0] = gradient

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """A scalar, and one number per column."""
        return [(), shapes[len(self.table_inputs)]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Neither output reads the offsets; only the value reads their sum."""
        return self._pattern(1, (True, True), (True, True), (False, False), (False, False), (True, False))

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangent of the coefficients: the gradient that is there already, and the Hessian for the second output."""
        *table_inputs, coefficients = inputs
        of_value, of_gradient = cotangents
        terms = []
        if not _is_disconnected(of_value):
            terms.append(of_value * outputs[1])
        if not _is_disconnected(of_gradient):
            weight = pt.ones_like(table_inputs[1])
            terms.append(LogMatVecHVP(self.banded)(*table_inputs, coefficients, weight, of_gradient))
        if not terms:
            return [disconnected_type() for _ in inputs]
        data = self._data_cotangents(inputs)
        data[2] = data[3] = disconnected_type()
        if _is_disconnected(of_value):
            data[4] = disconnected_type()
        return [*data, sum(terms[1:], start=terms[0])]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Derivatives of value and gradient along a direction of the coefficients."""
        *table_inputs, coefficients = inputs
        direction = tangents[-1]
        if _is_disconnected(direction):
            return [disconnected_type(), disconnected_type()]
        weight = pt.ones_like(table_inputs[1])
        return [
            pt.dot(outputs[1], direction),
            LogMatVecHVP(self.banded)(*table_inputs, coefficients, weight, direction),
        ]


class LogMatVecVJP(_EventOp):
    """``(*table_inputs, v, g) -> sum_i g_i m_i P_ik / (P v)_i``, shape (K,)."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on the table inputs, the coefficients and one weight per event."""
        variables = self._as_inputs(inputs, 2)
        return Apply(self, variables, [self._columns_type(variables)])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        (table, multiplicity, *_, log_rows), (coefficients, weight), tiles = self._kernel_inputs(inputs)
        weight = self._in_table_order(weight, inputs) * multiplicity
        output_storage[0][0] = kernels.vjp(table, weight, coefficients, tiles, log_rows)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per column."""
        return [shapes[len(self.table_inputs)]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The offsets do not matter."""
        return self._pattern(2, (True,), (True,), (False,), (False,), (False,))

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of coefficients (Hessian) and of the weights."""
        *table_inputs, coefficients, weight = inputs
        (cotangent,) = cotangents
        if _is_disconnected(cotangent):
            return [disconnected_type() for _ in inputs]
        data = self._data_cotangents(inputs)
        data[2] = data[3] = data[4] = disconnected_type()
        return [
            *data,
            LogMatVecHVP(self.banded)(*table_inputs, coefficients, weight, cotangent),
            LogMatVecJVP(self.banded)(*table_inputs, coefficients, pt.ones_like(weight), cotangent),
        ]


class LogMatVecJVP(_EventOp):
    """``(*table_inputs, v, g, u) -> g_i m_i (P u)_i / (P v)_i``, shape (N,)."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on the table inputs, the coefficients, the weights and the direction."""
        variables = self._as_inputs(inputs, 3)
        return Apply(self, variables, [_events_type(variables)])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        (table, multiplicity, *_, log_rows), vectors, tiles = self._kernel_inputs(inputs)
        coefficients, weight, direction = vectors
        weight = self._in_table_order(weight, inputs) * multiplicity
        values = kernels.pushforward(table, weight, coefficients, direction, tiles, log_rows)
        output_storage[0][0] = self._in_event_order(values, inputs)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One value per event."""
        return [(shapes[1][0],)]


class LogMatVecHVP(_EventOp):
    """``(*table_inputs, v, g, u) -> -sum_i g_i m_i P_ik (P u)_i / (P v)_i^2``, shape (K,)."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on the table inputs, the coefficients, the weights and the direction."""
        variables = self._as_inputs(inputs, 3)
        return Apply(self, variables, [self._columns_type(variables)])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        (table, multiplicity, *_, log_rows), vectors, tiles = self._kernel_inputs(inputs)
        coefficients, weight, direction = vectors
        weight = self._in_table_order(weight, inputs) * multiplicity
        output_storage[0][0] = kernels.hessian_product(table, weight, coefficients, direction, tiles, log_rows)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per column."""
        return [shapes[len(self.table_inputs)]]


log_matvec = LogMatVec()
banded_log_matvec = LogMatVec(banded=True)
log_matvec_sum = LogMatVecSum()
log_matvec_vjp = LogMatVecVJP()
log_matvec_jvp = LogMatVecJVP()
log_matvec_hvp = LogMatVecHVP()
