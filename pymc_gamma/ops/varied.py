r"""Ops of densities under a response with a parameter: smooth, with first and second derivatives.

:class:`VariedDensity` gives :math:`r_i(x, v)` of :mod:`pymc_gamma.ops.varied_tables`, and
:math:`\partial_x r_i, \partial_x^2 r_i` from the same pass. As it is linear in :math:`v`, all products are sums over
these, but for the cotangent of :math:`v`,

.. math:: \bar v_n = \sum_i g_i\, \partial_x^k \frac{\partial r_i}{\partial v_n},

which is :class:`VariedPull` of order *k*. Third derivatives with respect to :math:`x` are not known. Tables are inputs
and data.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba as nb
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.arrays import FloatArray
from pymc_gamma.compilation import cache_version
from pymc_gamma.ops import varied_kernels as kernels
from pymc_gamma.ops.varied_kernels import VariedArrays

__all__ = ["VariedDensity", "VariedPull", "polynomial_at", "varied_types"]

_TABLES = {
    "span": (1, "float64"),
    "values": (1, "float32"),
    "pointer": (1, "int64"),
    "column": (1, "int64"),
    "centre": (1, "float64"),
    "level": (2, "float32"),
    "slope": (2, "float32"),
    "cap": (1, "float32"),
    "place": (1, "int64"),
    "n_events": (0, "int64"),
}
"""Rank and dtype of the inputs that describe the events: `VariedArrays`, and the number of all events."""


def varied_types() -> list[Any]:
    """Types of the variables that describe the events."""
    return [pt.TensorType(dtype, shape=(None,) * rank) for rank, dtype in _TABLES.values()]


def polynomial_at(x: Variable, span: Any, coefficients: FloatArray | Variable) -> Variable:
    """Polynomials of :func:`pymc_gamma.ops.varied_tables.polynomials`, coefficients (..., P), at a scalar."""
    rows = pt.as_tensor_variable(coefficients)
    n = rows.type.shape[-1]
    assert n is not None
    return pt.dot(rows, _basis(x, span, n)[0]) if n else pt.zeros(rows.shape[:-1])


def _basis(x: Variable, span: Any, n: int) -> list[Variable]:
    """Values of x T_p(z), and their first and second derivatives, shape (n,) each."""
    dz = 2 / (span[1] - span[0])
    z = (x - span[0]) * dz - 1
    one = pt.ones_like(x)
    t, s, c = [one, z], [0 * one, dz * one], [0 * one, 0 * one]
    for p in range(2, n):
        t.append(2 * z * t[p - 1] - t[p - 2])
        s.append(2 * (dz * t[p - 1] + z * s[p - 1]) - s[p - 2])
        c.append(2 * (2 * dz * s[p - 1] + z * c[p - 1]) - c[p - 2])
    terms = [(x * t[p], t[p] + x * s[p], 2 * s[p] + x * c[p]) for p in range(n)]
    return [pt.stack(row) for row in zip(*terms, strict=True)]


def _is_disconnected(variable: Variable) -> bool:
    return isinstance(variable.type, DisconnectedType)


class _VariedOp(Op):
    """What the two Ops have in common: ``(x, vector, *tables)`` and perhaps more."""

    __props__: tuple[str, ...] = ()

    def _as_inputs(self, inputs: Sequence[Any], ranks: Sequence[int]) -> list[Variable]:
        """Variables of the right dtype and rank, or a TypeError that names the input."""
        types = [(f"input {k}", (rank, "float64")) for k, rank in enumerate(ranks)] + list(_TABLES.items())
        variables = []
        for (name, (rank, dtype)), value in zip(types, inputs, strict=True):
            variable = pt.as_tensor_variable(value)
            if variable.type.ndim != rank or variable.type.dtype != dtype:
                raise TypeError(f"{name} must be a {dtype} tensor with {rank} dimensions, got {variable.type}")
            variables.append(variable)
        return variables

    def _cotangents(
        self,
        inputs: Sequence[Variable],
        found: Sequence[Variable],
        told: str = "tables of events are data; only parameters have gradients",
    ) -> list[Variable]:
        """Cotangents of all inputs, of the first ones those found; the number of events has none."""
        rest = range(len(found), len(inputs) - 1)
        return [*found, *(grad_not_implemented(self, k, inputs[k], told) for k in rest), disconnected_type()]


class VariedDensity(_VariedOp):
    """``(x, v, *tables) -> r_i, dr_i/dx, d2r_i/dx2``: shape (N,) each, 0 for events out of reach."""

    default_output = 0

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on the parameter, coefficients and tables."""
        variables = self._as_inputs(inputs, (0, 1))
        return Apply(self, variables, [pt.vector(dtype="float64") for _ in range(3)])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        x, v, *arrays, n_events = inputs
        found = kernels.densities(float(x), v, VariedArrays(*arrays), int(n_events))
        for storage, one in zip(output_storage, found, strict=True):
            storage[0] = one

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per event."""
        return [(node.inputs[-1],)] * 3

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Everything but the number of events matters."""
        return [*[[True] * 3] * (len(node.inputs) - 1), [False] * 3]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of the parameter and the coefficients."""
        x, v, *tables = inputs
        if not _is_disconnected(cotangents[2]):
            return self._cotangents(inputs, [], "third derivatives with respect to a parameter are not known")
        given = [(order, one) for order, one in enumerate(cotangents[:2]) if not _is_disconnected(one)]
        if not given:
            return [disconnected_type() for _ in inputs]
        of_x = [pt.dot(one, outputs[order + 1]) for order, one in given]
        of_v = [VariedPull(order)(x, one, v, *tables) for order, one in given]
        return self._cotangents(inputs, [sum(of_x[1:], of_x[0]), sum(of_v[1:], of_v[0])])

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Derivatives along a direction; of the second one none."""
        x, _, *tables = inputs
        if all(_is_disconnected(one) for one in tangents[:2]):
            return [disconnected_type() for _ in outputs]
        found = [0.0, 0.0]
        if not _is_disconnected(tangents[0]):
            found = [one + outputs[order + 1] * tangents[0] for order, one in enumerate(found)]
        if not _is_disconnected(tangents[1]):
            along = self(x, tangents[1], *tables, return_list=True)
            found = [one + along[order] for order, one in enumerate(found)]
        return [*found, disconnected_type()]


class VariedPull(_VariedOp):
    """``(x, g, v, *tables) -> sum_i g_i d^k/dx^k dr_i/dv_n``; of the coefficients only their number matters.

    Parameters
    ----------
    order : int
        Order *k* of the derivative: 0, 1 or 2.
    """

    __props__ = ("order",)

    def __init__(self, order: int) -> None:
        self.order = order

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on the parameter, cotangents, coefficients and tables."""
        variables = self._as_inputs(inputs, (0, 1, 1))
        return Apply(self, variables, [variables[2].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        x, g, v, *arrays, _ = inputs
        output_storage[0][0] = kernels.pull(self.order, float(x), g, len(v), VariedArrays(*arrays))

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per coefficient."""
        return [shapes[2]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Neither the values of coefficients nor the number of events matter."""
        pattern = [[True] for _ in node.inputs]
        pattern[2] = pattern[-1] = [False]
        return pattern

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of the parameter and of the weights."""
        x, g, v, *tables = inputs
        (along,) = cotangents
        if _is_disconnected(along):
            return [disconnected_type() for _ in inputs]
        if self.order == 2:
            return self._cotangents(inputs, [], "third derivatives with respect to a parameter are not known")
        of_x = pt.dot(along, VariedPull(self.order + 1)(x, g, v, *tables))
        of_g = VariedDensity()(x, along, *tables, return_list=True)[self.order]
        return self._cotangents(inputs, [of_x, of_g, disconnected_type()])


# ---------------------------------------------------------------------------- numba forms
@register_funcify_default_op_cache_key(VariedDensity)
def _varied_density(op: VariedDensity, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def varied_density(x, v, *tables):  # type: ignore[no-untyped-def]
        return kernels.densities(x.item(), v, VariedArrays(*tables[:-1]), tables[-1].item())

    return varied_density, cache_version()


@register_funcify_default_op_cache_key(VariedPull)
def _varied_pull(op: VariedPull, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    order = op.order

    @nb.njit
    def varied_pull(x, g, v, *tables):  # type: ignore[no-untyped-def]
        return kernels.pull(order, x.item(), g, len(v), VariedArrays(*tables[:-1]))

    return varied_pull, cache_version()


# ---------------------------------------------------------------------------- elementary operations, for JAX
@node_rewriter([VariedDensity, VariedPull])
def write_out_varied(fgraph: FunctionGraph, node: Apply) -> Sequence[Variable]:
    """An Op of the family in PyTensor's own operations."""
    x, first, *rest = node.inputs
    arrays: Any = VariedArrays(*node.inputs[-len(_TABLES) : -1])
    n_events = node.inputs[-1]
    n = max(arrays.level.type.shape[0] or 0, arrays.slope.type.shape[0] or 0)
    basis = _basis(x, arrays.span, n)

    def polynomial(coefficients: Variable) -> list[Variable]:
        used = coefficients.type.shape[0]
        return [pt.dot(one[:used], coefficients.astype("float64")) for one in basis]

    a, b = polynomial(arrays.level), polynomial(arrays.slope)
    capped = pt.gt(a[0], arrays.cap)
    a = [pt.switch(capped, arrays.cap, a[0]), *(pt.switch(capped, 0.0, one) for one in a[1:])]
    entry = pt.arange(arrays.values.shape[0])
    event = pt.searchsorted(arrays.pointer, entry, side="right") - 1
    at = entry - arrays.pointer[event]
    away, coefficient = at - arrays.centre[event], arrays.column[event] + at
    tilt = [one[event] + away * other[event] for one, other in zip(a, b, strict=True)]
    terms = arrays.values * pt.exp(tilt[0])
    each = [terms, terms * tilt[1], terms * (tilt[1] ** 2 + tilt[2])]
    if isinstance(node.op, VariedDensity):
        room = pt.zeros((n_events,))
        outputs = [pt.inc_subtensor(room[arrays.place[event]], one * first[coefficient]) for one in each]
    else:
        weighted = each[node.op.order] * first[arrays.place[event]]
        outputs = [pt.inc_subtensor(pt.zeros_like(rest[0])[coefficient], weighted)]
    outputs = [
        new if old.type.is_super(new.type) else pt.specify_shape(new, old.type.shape)
        for new, old in zip(outputs, node.outputs, strict=True)
    ]
    copy_stack_trace(node.outputs, outputs)
    return outputs


optdb.register(
    "pymc_gamma_write_out_varied",
    dfs_rewriter(write_out_varied, ignore_newtrees=True),
    "jax",
    position=1.95,  # before specialisation, which simplifies what is written out
)
