r"""Ops of live shapes: the density of events near a source of free position, extension and spectrum.

With rows of parameters :math:`\theta_o` and coefficients :math:`\rho_o`, one of each observation *o*, and the tables of
:mod:`pymc_gamma.folding.live`, :data:`live_density` returns :math:`r_i(\theta, \rho)`, one number per event, 0 for
those out of reach. Its cotangent is one product more with derivatives that the same pass has left,

.. math::

    \bar\theta = \sum_i g_i\, \partial r_i/\partial\theta, \qquad
    \bar\rho = \sum_i g_i\, \partial r_i/\partial\rho .

Second derivatives run the kernels once more at complex parameters: the imaginary part of
:math:`\bar\theta(\theta + i h\,\delta\theta)` over :math:`h` is the Hessian of :math:`\sum_i g_i r_i` times
:math:`\delta\theta`, exact to rounding (Squire & Trapp 1998, SIAM Review 40, 110).

Tables are data: nothing may be differentiated with respect to them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numba as nb
import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.compilation import cache_version
from pymc_gamma.folding.live import LiveTables
from pymc_gamma.folding.live_kernels import LANES, LiveArrays
from pymc_gamma.folding.live_shapes import Family
from pymc_gamma.ops import live_density_kernels as kernels

__all__ = [
    "LiveDensity",
    "LiveDensityHVP",
    "LiveDensityJVP",
    "LiveDensityVJP",
    "live_density",
    "rows_of",
    "table_inputs",
    "table_types",
]

_TABLE_TYPES = {
    "events": (3, "float64"),
    "rungs": (2, "float64"),
    "rung_pointer": (1, "int64"),
    "numbers": (1, "float32"),
    "node": (1, "int64"),
    "pointer": (1, "int64"),
    "observation": (1, "int64"),
    "place": (2, "int64"),
    "axes": (2, "float64"),
    "profile": (2, "float64"),
    "n_events": (0, "int64"),
}
"""Rank and dtype of the inputs that describe the events: `LiveArrays`, and the number of all events."""
N_TABLES = len(_TABLE_TYPES)


def table_types() -> list[Any]:
    """Types of the variables that describe the events."""
    return [pt.TensorType(dtype, shape=(None,) * ndim) for ndim, dtype in _TABLE_TYPES.values()]


def table_inputs(tables: LiveTables) -> list[Variable]:
    """Events as shared variables: compilation does not depend on their number, and their values can be swapped."""
    return [*shared_tables(_TABLE_TYPES, tables.arrays), pt.constant(np.asarray(tables.n_events, np.int64))]


def shared_tables(
    names: Iterable[str], values: Iterable[NDArray[Any]], known: Mapping[str, Collection[int]] | None = None
) -> list[Variable]:
    """Arrays as shared variables of their rank, with the lengths of the known axes of each by name."""
    found = []
    for name, value in zip(names, values, strict=False):  # the number of events is a constant: a shape
        axes = (known or {}).get(name, ())
        shape = tuple(n if axis in axes else None for axis, n in enumerate(np.shape(value)))
        found.append(pytensor.shared(np.asarray(value), name=f"live_{name}", borrow=True, shape=shape))
    return found


def live_density(theta: Any, rho: Any, tables: LiveTables) -> Variable:
    """Density of all events in TeV-1 sr-1, shape (N,).

    Parameters
    ----------
    theta : tensor_like
        Parameters as of `LiveShape.theta`: one row, or one for each observation.
    rho : tensor_like
        Coefficients of the spectrum: one row, or one for each observation.
    tables : LiveTables
        The events.

    Returns
    -------
    TensorVariable
    """
    n = len(tables.arrays.axes)
    return LiveDensity(tables.source.shape.family)(rows_of(theta, n), rows_of(rho, n), *table_inputs(tables))


def rows_of(value: Any, n_observations: int) -> Variable:
    """One row of each observation, of a vector or of such rows."""
    variable = pt.as_tensor_variable(value).astype("float64")
    if variable.type.ndim == 1:
        variable = variable[None, :]
    if variable.type.ndim != 2 or variable.type.shape[0] not in (None, 1, n_observations):
        raise ValueError(f"expected a vector, or a row for each of {n_observations} observations, got {variable.type}")
    if variable.type.shape[0] == n_observations:
        return variable
    return pt.broadcast_to(variable, (n_observations, variable.shape[1]))


def _is_disconnected(variable: Variable) -> bool:
    return isinstance(variable.type, DisconnectedType)


class _LiveOp(Op):
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
            grad_not_implemented(self, k, inputs[k], "tables of events are data; only parameters have gradients")
            for k in range(first, len(inputs))
        ]


def _events_type() -> Any:
    return pt.vector(dtype="float64")


class LiveDensity(_LiveOp):
    """``(theta, rho, *tables) -> r, derivatives``: densities of events, and what the gradient is made of."""

    default_output = 0

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on parameters, coefficients and tables."""
        variables = self._as_inputs(inputs, (2, 2))
        return Apply(self, variables, [_events_type(), pt.matrix(dtype="float64")])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        theta, rho, *arrays, n_events = inputs
        tables = LiveArrays(*arrays)
        out = kernels.room(theta, tables)
        self.family.density(theta, rho, tables, out)
        output_storage[0][0], output_storage[1][0] = kernels.values(out, theta, tables, int(n_events)), out

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per event; rows of derivatives."""
        n_theta, n_blocks, n_rungs = shapes[0][1], shapes[2][0], shapes[3][0]
        return [(node.inputs[-1],), (n_blocks * (1 + n_theta) + 2 * n_rungs, LANES)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Everything but the number of events matters."""
        return [*[[True, True]] * (len(node.inputs) - 1), [False, False]]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of parameters and coefficients, by :class:`LiveDensityVJP`."""
        theta, rho, *tables = inputs
        if not _is_disconnected(cotangents[1]):
            return [
                grad_not_implemented(self, k, one, "differentiate the densities, not what their gradient is made of")
                for k, one in enumerate(inputs)
            ]
        if _is_disconnected(cotangents[0]):
            return [disconnected_type() for _ in inputs]
        found = LiveDensityVJP(self.family)(cotangents[0], theta, rho, outputs[1], *tables)
        return [*found, *self._data(inputs)[:-1], disconnected_type()]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Derivative along a direction, by :class:`LiveDensityJVP`."""
        theta, rho, *tables = inputs
        if all(_is_disconnected(one) for one in tangents[:2]):
            return [disconnected_type(), disconnected_type()]
        directions = [
            pt.zeros_like(at) if _is_disconnected(one) else one for one, at in zip(tangents, (theta, rho), strict=False)
        ]
        return [LiveDensityJVP(self.family)(*directions, theta, rho, outputs[1], *tables), disconnected_type()]


class LiveDensityVJP(_LiveOp):
    """``(g, theta, rho, derivatives, *tables) -> sum_i g_i dr_i/dtheta, sum_i g_i dr_i/drho``."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on cotangents, what :class:`LiveDensity` took and returned, and tables."""
        variables = self._as_inputs(inputs, (1, 2, 2, 2))
        return Apply(self, variables, [variables[1].type(), variables[2].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        weight, theta, rho, derivatives, *arrays, _ = inputs
        found = kernels.pull(weight, theta, rho, derivatives, LiveArrays(*arrays))
        output_storage[0][0], output_storage[1][0] = found

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """Those of the parameters and the coefficients."""
        return [shapes[1], shapes[2]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The derivatives are a function of what they are taken at, not an input of their own."""
        pattern = [[True, True] for _ in node.inputs]
        pattern[3] = pattern[-1] = [False, False]
        return pattern

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of the weights, and of parameters and coefficients (Hessian)."""
        weight, theta, rho, derivatives, *tables = inputs
        if all(_is_disconnected(one) for one in cotangents):
            return [disconnected_type() for _ in inputs]
        along = [
            pt.zeros_like(at) if _is_disconnected(one) else one
            for one, at in zip(cotangents, (theta, rho), strict=True)
        ]
        second = LiveDensityHVP(self.family)(weight, theta, rho, *along, *tables)
        of_weight = LiveDensityJVP(self.family)(*along, theta, rho, derivatives, *tables)
        return [of_weight, *second, disconnected_type(), *self._data(inputs)[:-1], disconnected_type()]


class LiveDensityJVP(_LiveOp):
    """``(dtheta, drho, theta, rho, derivatives, *tables) -> dr_i/dtheta . dtheta + dr_i/drho . drho``, shape (N,)."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on a direction, what :class:`LiveDensity` took and returned, and tables."""
        return Apply(self, self._as_inputs(inputs, (2, 2, 2, 2, 2)), [_events_type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        along_theta, along_rho, _, _, derivatives, *arrays, n_events = inputs
        output_storage[0][0] = kernels.push(along_theta, along_rho, derivatives, LiveArrays(*arrays), int(n_events))

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per event."""
        return [(node.inputs[-1],)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The derivatives are a function of what they are taken at, not an input of their own."""
        pattern = [[True] for _ in node.inputs]
        pattern[4] = pattern[-1] = [False]
        return pattern

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of the direction, and of parameters and coefficients (Hessian)."""
        along_theta, along_rho, theta, rho, derivatives, *tables = inputs
        (cotangent,) = cotangents
        if _is_disconnected(cotangent):
            return [disconnected_type() for _ in inputs]
        first = LiveDensityVJP(self.family)(cotangent, theta, rho, derivatives, *tables)
        second = LiveDensityHVP(self.family)(cotangent, theta, rho, along_theta, along_rho, *tables)
        return [*first, *second, disconnected_type(), *self._data(inputs)[:-1], disconnected_type()]


class LiveDensityHVP(_LiveOp):
    """``(g, theta, rho, dtheta, drho, *tables)`` -> Hessian of ``sum_i g_i r_i`` times the direction, in two parts."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on weights, parameters, coefficients, a direction and tables."""
        variables = self._as_inputs(inputs, (1, 2, 2, 2, 2))
        return Apply(self, variables, [variables[1].type(), variables[2].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernels at complex parameters."""
        weight, theta, rho, along_theta, along_rho, *arrays, _ = inputs
        tables = LiveArrays(*arrays)
        complex_theta, complex_rho = kernels.shifted(theta, along_theta), kernels.shifted(rho, along_rho)
        out = kernels.room(complex_theta, tables)
        self.family.density(complex_theta, complex_rho, tables, out)
        found = kernels.curvature(weight, complex_theta, complex_rho, out, tables)
        output_storage[0][0], output_storage[1][0] = found

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """Those of the parameters and the coefficients."""
        return [shapes[1], shapes[2]]


# ---------------------------------------------------------------------------- numba forms
# kernels of a family are called by name, not handed on: numba could not cache what takes a function
@register_funcify_default_op_cache_key(LiveDensity)
def _live_density(op: LiveDensity, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    density = op.family.density

    @nb.njit
    def live_density(theta, rho, *tables):  # type: ignore[no-untyped-def]
        arrays = LiveArrays(*tables[:-1])
        out = kernels.room(theta, arrays)
        density(theta, rho, arrays, out)
        return kernels.values(out, theta, arrays, tables[-1].item()), out

    return live_density, cache_version()


@register_funcify_default_op_cache_key(LiveDensityVJP)
def _live_density_vjp(op: LiveDensityVJP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def live_density_vjp(weight, theta, rho, derivatives, *tables):  # type: ignore[no-untyped-def]
        return kernels.pull(weight, theta, rho, derivatives, LiveArrays(*tables[:-1]))

    return live_density_vjp, cache_version()


@register_funcify_default_op_cache_key(LiveDensityJVP)
def _live_density_jvp(op: LiveDensityJVP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def live_density_jvp(along_theta, along_rho, theta, rho, derivatives, *tables):  # type: ignore[no-untyped-def]
        return kernels.push(along_theta, along_rho, derivatives, LiveArrays(*tables[:-1]), tables[-1].item())

    return live_density_jvp, cache_version()


@register_funcify_default_op_cache_key(LiveDensityHVP)
def _live_density_hvp(op: LiveDensityHVP, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    density = op.family.density

    @nb.njit
    def live_density_hvp(weight, theta, rho, along_theta, along_rho, *tables):  # type: ignore[no-untyped-def]
        arrays = LiveArrays(*tables[:-1])
        complex_theta, complex_rho = kernels.shifted(theta, along_theta), kernels.shifted(rho, along_rho)
        out = kernels.room(complex_theta, arrays)
        density(complex_theta, complex_rho, arrays, out)
        return kernels.curvature(weight, complex_theta, complex_rho, out, arrays)

    return live_density_hvp, cache_version()
