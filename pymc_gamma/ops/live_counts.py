r"""Ops of live shapes: expected counts of a source of free position and extension, per coefficient of its spectrum.

:func:`live_counts` returns :math:`C_{on}(\theta_o)` for rows of parameters, one of each observation *o*; expected
counts are :math:`\sum_n C_{on}\, \rho_{on}`. Second derivatives are those of the kernels at complex parameters, as in
:mod:`pymc_gamma.ops.live_density`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba as nb
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.compilation import cache_version
from pymc_gamma.folding.live_counts import LiveCounts
from pymc_gamma.folding.live_counts_kernels import CountArrays
from pymc_gamma.folding.live_shapes import Family
from pymc_gamma.ops import live_counts_kernels as kernels
from pymc_gamma.ops.live_density import rows_of, shared_tables
from pymc_gamma.ops.live_density_kernels import shifted

__all__ = ["LiveCountsHVP", "LiveCountsJVP", "LiveCountsOp", "LiveCountsVJP", "live_counts"]

_TABLE_TYPES = {
    "images": (5, "float32"),
    "basis": (4, "float64"),
    "frame": (2, "float64"),
    "grid": (1, "float64"),
    "size": (1, "float64"),
    "nodes": (2, "float64"),
}
"""Rank and dtype of the inputs that describe the acceptance, see `CountArrays`."""
_KNOWN_LENGTHS = {"images": (3,), "nodes": (0, 1)}
"""Axes whose lengths are written out in elementary operations: images for each pixel, nodes of the quadrature."""
N_TABLES = len(_TABLE_TYPES)


def live_counts(theta: Any, counts: LiveCounts) -> Variable:
    """Expected counts per unit coefficient, shape (n_observations, n).

    Parameters
    ----------
    theta : tensor_like
        Parameters as of `LiveShape.theta`: one row, or one for each observation.
    counts : LiveCounts
        The acceptance.

    Returns
    -------
    TensorVariable
    """
    tables, family = shared_tables(_TABLE_TYPES, counts.arrays, _KNOWN_LENGTHS), counts.source.shape.family
    return LiveCountsOp(family)(rows_of(theta, len(counts.arrays.images)), *tables)


class _CountsOp(Op):
    """What the Ops of this family have in common.

    Parameters
    ----------
    family : Family
        Numerics of the shapes; has no state of its own.
    """

    __props__ = ("family",)

    def __init__(self, family: Family) -> None:
        self.family = family

    def _as_inputs(self, inputs: Sequence[Any], ranks: Sequence[int]) -> list[Variable]:
        """Variables of the right dtype and rank, or a TypeError that names the input."""
        if len(inputs) != len(ranks) + N_TABLES:
            raise TypeError(f"expected {len(ranks)} variables and {N_TABLES} tables, got {len(inputs)} inputs")
        variables = []
        for k, rank in enumerate(ranks):
            variable = pt.as_tensor_variable(inputs[k])
            if variable.type.ndim != rank:
                raise TypeError(f"input {k} must have {rank} dimensions, got {variable.type}")
            variables.append(variable.astype("float64"))
        for (name, (rank, dtype)), value in zip(_TABLE_TYPES.items(), inputs[len(ranks) :], strict=True):
            variable = pt.as_tensor_variable(value)
            if variable.type.ndim != rank or variable.type.dtype != dtype:
                raise TypeError(f"{name} must be a {dtype} tensor with {rank} dimensions, got {variable.type}")
            variables.append(variable)
        return variables

    def _data(self, inputs: Sequence[Variable]) -> list[Variable]:
        """Cotangents of the tables."""
        first = len(inputs) - N_TABLES
        return [
            grad_not_implemented(self, k, inputs[k], "the acceptance is data; only parameters have gradients")
            for k in range(first, len(inputs))
        ]


class LiveCountsOp(_CountsOp):
    """``(theta, *tables) -> counts, derivatives``, shapes (n_observations, n) and (n_observations, n_theta, n)."""

    default_output = 0

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on parameters and tables."""
        variables = self._as_inputs(inputs, (2,))
        return Apply(self, variables, [pt.matrix(dtype="float64"), pt.tensor3(dtype="float64")])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        theta, *arrays = inputs
        tables = CountArrays(*arrays)
        out = kernels.room(theta, tables)
        self.family.counts(theta, tables, out)
        output_storage[0][0], output_storage[1][0] = kernels.parted(out)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per observation and coefficient, and their derivatives."""
        n_observations, n_theta, n = shapes[0][0], shapes[0][1], shapes[2][3]
        return [(n_observations, n), (n_observations, n_theta, n)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Everything matters."""
        return [[True, True] for _ in node.inputs]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangent of the parameters."""
        if not isinstance(cotangents[1].type, DisconnectedType):
            return [
                grad_not_implemented(self, k, one, "differentiate the counts, not what their gradient is made of")
                for k, one in enumerate(inputs)
            ]
        if isinstance(cotangents[0].type, DisconnectedType):
            return [disconnected_type() for _ in inputs]
        theta, *tables = inputs
        return [LiveCountsVJP(self.family)(cotangents[0], theta, outputs[1], *tables), *self._data(inputs)]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Derivative along a direction."""
        if isinstance(tangents[0].type, DisconnectedType):
            return [disconnected_type(), disconnected_type()]
        theta, *tables = inputs
        return [LiveCountsJVP(self.family)(tangents[0], theta, outputs[1], *tables), disconnected_type()]


class LiveCountsVJP(_CountsOp):
    """``(g, theta, derivatives, *tables) -> sum_n g_on dC_on/dtheta_o``."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on cotangents, what :class:`LiveCountsOp` took and returned, and tables."""
        variables = self._as_inputs(inputs, (2, 2, 3))
        return Apply(self, variables, [variables[1].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        output_storage[0][0] = kernels.pull(inputs[0], inputs[2])

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """That of the parameters."""
        return [shapes[1]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The derivatives are a function of what they are taken at, not an input of their own."""
        return [[True], [True], [False], *[[True]] * N_TABLES]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of the weights and of the parameters (Hessian)."""
        weight, theta, derivatives, *tables = inputs
        (along,) = cotangents
        if isinstance(along.type, DisconnectedType):
            return [disconnected_type() for _ in inputs]
        of_weight = LiveCountsJVP(self.family)(along, theta, derivatives, *tables)
        second = LiveCountsHVP(self.family)(weight, theta, along, *tables)
        return [of_weight, second, disconnected_type(), *self._data(inputs)]


class LiveCountsJVP(_CountsOp):
    """``(dtheta, theta, derivatives, *tables) -> dC_on/dtheta_o . dtheta_o``, shape (n_observations, n)."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on a direction, what :class:`LiveCountsOp` took and returned, and tables."""
        return Apply(self, self._as_inputs(inputs, (2, 2, 3)), [pt.matrix(dtype="float64")])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        output_storage[0][0] = kernels.push(inputs[0], inputs[2])

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per observation and coefficient."""
        return [(shapes[1][0], shapes[2][2])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The derivatives are a function of what they are taken at, not an input of their own."""
        return [[True], [True], [False], *[[True]] * N_TABLES]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of the direction and of the parameters (Hessian)."""
        along, theta, derivatives, *tables = inputs
        (cotangent,) = cotangents
        if isinstance(cotangent.type, DisconnectedType):
            return [disconnected_type() for _ in inputs]
        first = LiveCountsVJP(self.family)(cotangent, theta, derivatives, *tables)
        second = LiveCountsHVP(self.family)(cotangent, theta, along, *tables)
        return [first, second, disconnected_type(), *self._data(inputs)]


class LiveCountsHVP(_CountsOp):
    """``(g, theta, dtheta, *tables)`` -> Hessian of ``sum_on g_on C_on`` times the direction."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on weights, parameters, a direction and tables."""
        variables = self._as_inputs(inputs, (2, 2, 2))
        return Apply(self, variables, [variables[1].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel at complex parameters."""
        weight, theta, along, *arrays = inputs
        tables, complex_theta = CountArrays(*arrays), shifted(theta, along)
        out = kernels.room(complex_theta, tables)
        self.family.counts(complex_theta, tables, out)
        output_storage[0][0] = kernels.curvature(weight, out)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """That of the parameters."""
        return [shapes[1]]


# ------------------------------------------------------------------------------- numba forms
@register_funcify_default_op_cache_key(LiveCountsOp)
def _live_counts(op: LiveCountsOp, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    counts = op.family.counts

    @nb.njit
    def live_counts(theta, *tables):  # type: ignore[no-untyped-def]
        arrays = CountArrays(*tables)
        out = kernels.room(theta, arrays)
        counts(theta, arrays, out)
        return kernels.parted(out)

    return live_counts, cache_version()


@register_funcify_default_op_cache_key(LiveCountsVJP)
def _live_counts_vjp(op: LiveCountsVJP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def live_counts_vjp(weight, theta, derivatives, *tables):  # type: ignore[no-untyped-def]
        return kernels.pull(weight, derivatives)

    return live_counts_vjp, cache_version()


@register_funcify_default_op_cache_key(LiveCountsJVP)
def _live_counts_jvp(op: LiveCountsJVP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def live_counts_jvp(along, theta, derivatives, *tables):  # type: ignore[no-untyped-def]
        return kernels.push(along, derivatives)

    return live_counts_jvp, cache_version()


@register_funcify_default_op_cache_key(LiveCountsHVP)
def _live_counts_hvp(op: LiveCountsHVP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    counts = op.family.counts

    @nb.njit
    def live_counts_hvp(weight, theta, along, *tables):  # type: ignore[no-untyped-def]
        arrays, complex_theta = CountArrays(*tables), shifted(theta, along)
        out = kernels.room(complex_theta, arrays)
        counts(complex_theta, arrays, out)
        return kernels.curvature(weight, out)

    return live_counts_hvp, cache_version()
