r"""Ops of scans: densities of events at parameters between nodes, smooth, with first and second derivatives.

:class:`ScanDensity` gives the densities :math:`r_i(x)` of :mod:`pymc_gamma.ops.scan_tables` and their derivatives
:math:`\partial_a r_i` in one pass; :class:`ScanCurvature` the second derivatives. All products that PyTensor asks for
are sums over these,

.. math::

    \bar x_a = \sum_i g_i\, \partial_a r_i, \qquad
    \dot r_i = \sum_a \partial_a r_i\, u_a, \qquad
    (H u)_a = \sum_{ib} g_i\, \partial_a \partial_b r_i\, u_b,

so that no further Ops are needed for them. Tables are inputs and data: nothing may be differentiated with respect to
them.

Outside of the nodes a density is that of the nearest edge: a model must give no probability to parameters there, which
:func:`inside` tells. A parameter that takes the values of the nodes alone is summed over, see
:func:`marginal_log_likelihood`.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import numba as nb
import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.compilation import cache_version
from pymc_gamma.ops import scan_kernels
from pymc_gamma.ops.scan_tables import ScanTables

__all__ = [
    "ScanCurvature",
    "ScanDensity",
    "inside",
    "marginal_log_likelihood",
    "node_log_probabilities",
    "scan_counts",
    "scan_density",
    "scan_inputs",
]


def scan_inputs(tables: ScanTables) -> tuple[Variable, ...]:
    """Tables as shared variables, the first inputs of the Ops: compilation does not depend on the number of events.

    Their names are unique, because nutpie's ``with_data`` looks them up by name.
    """
    label = uuid4().hex[:12]
    named = zip(("table", "first", "second"), (tables.table, *tables.padded_nodes), strict=True)
    return tuple(
        pytensor.shared(array, name=f"scan_{name}_{label}", borrow=True, shape=array.shape) for name, array in named
    )


def scan_density(x: Any, tables: ScanTables | Sequence[Variable]) -> Variable:
    """Densities of events, or expected counts of observations, at values of the parameters that were scanned.

    Parameters
    ----------
    x : tensor_like or sequence of tensor_like
        Value of the parameter, a scalar; of two parameters both.
    tables : ScanTables or sequence of Variable
        Log densities at nodes; or what `scan_inputs` made of them, so that several graphs share one table.

    Returns
    -------
    TensorVariable
        Shape (N,), in the unit that the tables were built with.

    Raises
    ------
    TypeError
        If there is not one scalar of each parameter.

    Examples
    --------
    >>> import numpy as np
    >>> radius = np.linspace(0.1, 0.5, 5)
    >>> tables = ScanTables.build(radius, np.log(np.array([radius, radius**2])))
    >>> scan_density(0.25, tables).eval().round(2).tolist()
    [0.25, 0.06]
    """
    inputs = scan_inputs(tables) if isinstance(tables, ScanTables) else tables
    return ScanDensity()(*inputs, _vector(x))


def scan_counts(x: Any, nodes: Any, log_counts: Any) -> Variable:
    """Expected counts of observations between nodes, by the cubics that densities have.

    Parameters
    ----------
    x : tensor_like or sequence of tensor_like
        Value of the parameter, a scalar; of two parameters both.
    nodes : array_like or sequence of two array_like
        Nodes of the parameter, or of two parameters.
    log_counts : array_like, shape (n_obs, G1) or (n_obs, G1, G2)
        Logarithms of the expected counts at the nodes; -inf where there are none.

    Returns
    -------
    TensorVariable
        Shape (n_obs,).

    Examples
    --------
    >>> scan_counts(1.5, [1.0, 2.0], [[0.0, 1.0]]).eval().round(4).tolist()
    [1.6487]
    """
    return scan_density(x, ScanTables.build(nodes, log_counts))


def inside(x: Any, nodes: ScanTables | Sequence[Any]) -> Variable:
    """Whether parameters lie within their nodes, edges included: log L must be -inf where they do not.

    Parameters
    ----------
    x : tensor_like or sequence of tensor_like
        Value of the parameter, a scalar; of two parameters both.
    nodes : ScanTables or sequence of array_like
        Tables, or the nodes of each parameter.

    Examples
    --------
    >>> tables = ScanTables.build([1.0, 2.0], [[0.0, 0.0]])
    >>> bool(inside(1.0, tables).eval()), bool(inside(2.1, tables).eval())
    (True, False)
    """
    values = _vector(x)
    axes = nodes.nodes if isinstance(nodes, ScanTables) else nodes
    low = np.array([axis[0] for axis in axes])
    high = np.array([axis[-1] for axis in axes])
    return pt.all(pt.and_(values >= low, values <= high))


def marginal_log_likelihood(log_likelihood: Any, log_prior: Any) -> Variable:
    r"""Log likelihood summed over a discrete parameter, :math:`\log \sum_g \pi_g L_g`.

    Parameters
    ----------
    log_likelihood : tensor_like, shape (..., *nodes)
        Log L at each node. Axes before those of ``log_prior`` are events, which are added up: all have the same node.
    log_prior : tensor_like, shape (*nodes)
        Logarithms of the prior weights of the nodes, which need not add up to one; -inf for nodes that are ruled out.

    Returns
    -------
    TensorVariable
        A scalar; -inf if no node with a weight can produce the events.

    Examples
    --------
    >>> import numpy as np
    >>> float(np.exp(marginal_log_likelihood(np.log([0.1, 0.3]), np.zeros(2)).eval()).round(6))
    0.2
    """
    joint, prior = _joint(log_likelihood, log_prior)
    return _log_sum_exp(joint) - _log_sum_exp(prior)


def node_log_probabilities(log_likelihood: Any, log_prior: Any) -> Variable:
    """Logarithms of the posterior probabilities of the nodes of a discrete parameter, of the shape of ``log_prior``.

    Parameters are those of :func:`marginal_log_likelihood`; evaluated at posterior draws of the others and averaged (as
    probabilities), this recovers the posterior of the parameter that was summed over.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(node_log_probabilities(np.log([0.1, 0.3]), np.zeros(2)).eval()).round(6).tolist()
    [0.25, 0.75]
    """
    joint, _ = _joint(log_likelihood, log_prior)
    return joint - _log_sum_exp(joint)


def _joint(log_likelihood: Any, log_prior: Any) -> tuple[Variable, Variable]:
    likelihood, prior = (pt.as_tensor_variable(one).astype("float64") for one in (log_likelihood, log_prior))
    n_events = likelihood.type.ndim - prior.type.ndim
    if n_events < 0:
        raise TypeError(f"log_likelihood must have the axes of log_prior last, got {likelihood.type} and {prior.type}")
    if n_events:
        likelihood = likelihood.sum(axis=tuple(range(n_events)))
    return likelihood + prior, prior


def _log_sum_exp(x: Variable) -> Variable:
    """Over all axes; -inf if all are, with derivatives of zero then."""
    top = pt.max(x)
    some = pt.neq(top, -np.inf)
    shifted = pt.switch(some, x - pt.switch(some, top, 0.0), 0.0)
    return pt.switch(some, top + pt.log(pt.sum(pt.exp(shifted))), -np.inf)


def _vector(x: Any) -> Variable:
    """Values of the parameters as one vector."""
    if isinstance(x, Sequence):
        scalars = [pt.as_tensor_variable(one) for one in x]
    else:
        variable = pt.as_tensor_variable(x)
        scalars = [variable] if variable.type.ndim == 0 else [variable[k] for k in range(variable.type.shape[0] or 0)]
    if len(scalars) not in (1, 2) or any(one.type.ndim for one in scalars):
        raise TypeError(f"a scan takes a scalar for each of its one or two parameters, got {x!r}")
    return pt.stack([one.astype("float64") for one in scalars])


def _is_disconnected(variable: Variable) -> bool:
    return isinstance(variable.type, DisconnectedType)


class _ScanOp(Op):
    """What the two Ops have in common: ``(table, first, second, x)``."""

    __props__ = ()

    def _as_inputs(self, inputs: Sequence[Any]) -> list[Variable]:
        """Variables of the right dtype and rank, or a TypeError that names the input."""
        variables = []
        for name, rank, value in zip(("table", "first", "second", "x"), (2, 1, 1, 1), inputs, strict=True):
            variable = pt.as_tensor_variable(value)
            if variable.type.ndim != rank or variable.type.dtype != "float64":
                raise TypeError(f"{name} must be a float64 tensor with {rank} dimensions, got {variable.type}")
            variables.append(variable)
        if variables[-1].type.shape[0] not in (1, 2):
            raise TypeError(f"x must be a vector of one or two numbers, got {variables[-1].type}")
        return variables

    def _cotangents(self, inputs: Sequence[Variable], of_x: Variable) -> list[Variable]:
        """Cotangents of all inputs: tables are data."""
        told = "the nodes and log densities of a scan are data; only its parameters have gradients"
        return [*(grad_not_implemented(self, k, one, told) for k, one in enumerate(inputs[:-1])), of_x]


class ScanDensity(_ScanOp):
    """``(table, first, second, x) -> r_i, dr_i/dx_a``: shapes (N,) and (n_axes, N)."""

    default_output = 0

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on table, nodes and parameters."""
        variables = self._as_inputs(inputs)
        n_events, n_axes = variables[0].type.shape[1], variables[-1].type.shape[0]
        outputs = [pt.vector(shape=(n_events,), dtype="float64"), pt.matrix(shape=(n_axes, n_events), dtype="float64")]
        return Apply(self, variables, outputs)

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        output_storage[0][0], output_storage[1][0] = scan_kernels.densities(*inputs)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per event, and one per parameter and event."""
        return [(shapes[0][1],), (shapes[3][0], shapes[0][1])]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangent of the parameters: products with the derivatives."""
        of_value, of_slope = cotangents
        total = None
        if not _is_disconnected(of_value):
            total = pt.sum(outputs[1] * of_value, axis=1)
        if not _is_disconnected(of_slope):
            curved = pt.sum(ScanCurvature()(*inputs) * of_slope, axis=(1, 2))
            total = curved if total is None else total + curved
        return [disconnected_type() for _ in inputs] if total is None else self._cotangents(inputs, total)

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Derivative along a direction of the parameters."""
        direction = tangents[-1]
        if _is_disconnected(direction):
            return [disconnected_type(), disconnected_type()]
        curved = pt.sum(ScanCurvature()(*inputs) * direction[None, :, None], axis=1)
        return [pt.sum(outputs[1] * direction[:, None], axis=0), curved]


class ScanCurvature(_ScanOp):
    """``(table, first, second, x) -> d2r_i/dx_a dx_b``, shape (n_axes, n_axes, N)."""

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on table, nodes and parameters."""
        variables = self._as_inputs(inputs)
        n_events, n_axes = variables[0].type.shape[1], variables[-1].type.shape[0]
        return Apply(self, variables, [pt.tensor(shape=(n_axes, n_axes, n_events), dtype="float64")])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        output_storage[0][0] = scan_kernels.curvatures(*inputs)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """One number per pair of parameters and event."""
        return [(shapes[3][0], shapes[3][0], shapes[0][1])]


@register_funcify_default_op_cache_key(ScanDensity)
def _scan_density(op: ScanDensity, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def scan_density(table, first, second, x):  # type: ignore[no-untyped-def]
        return scan_kernels.densities(table, first, second, x)

    return scan_density, cache_version()


@register_funcify_default_op_cache_key(ScanCurvature)
def _scan_curvature(op: ScanCurvature, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    @nb.njit
    def scan_curvature(table, first, second, x):  # type: ignore[no-untyped-def]
        return scan_kernels.curvatures(table, first, second, x)

    return scan_curvature, cache_version()


def _cubic(nodes: Variable, x: Variable) -> tuple[Variable, list[Variable]]:
    """The node before ``x``, and the weights of the cubic and its first two derivatives."""
    k = pt.clip(pt.searchsorted(nodes, x, side="right") - 1, 0, nodes.shape[0] - 2)
    step = nodes[k + 1] - nodes[k]
    t = pt.clip((x - nodes[k]) / step, 0.0, 1.0)
    s = 1 - t
    within = pt.switch(pt.or_(x < nodes[0], x > nodes[-1]), 0.0, 1.0)
    weights = [
        [(1 + 2 * t) * s * s, t * s * s * step, t * t * (3 - 2 * t), -t * t * s * step],
        [-6 * t * s / step, s * (1 - 3 * t), 6 * t * s / step, t * (3 * t - 2)],
        [(12 * t - 6) / step**2, (6 * t - 4) / step, (6 - 12 * t) / step**2, (6 * t - 2) / step],
    ]
    first, *others = (pt.stack(row) for row in weights)
    return k, [first, *(within * row for row in others)]


@node_rewriter([ScanDensity, ScanCurvature])
def write_out_scan(fgraph: FunctionGraph, node: Apply) -> list[Variable]:
    """The sums of rows in PyTensor's own operations, which JAX knows."""
    table, first, second, x = node.inputs
    n_axes = x.type.shape[0]
    i, own = _cubic(first, x[0])
    a = np.arange(4)
    if n_axes == 1:
        rows = table[2 * (i + a // 2) + a % 2]
        weights: dict[tuple[int, ...], Variable] = {(p,): own[p] for p in range(3)}
    else:
        j, other = _cubic(second, x[1])
        at = (i + a // 2)[:, None] * second.shape[0] + (j + a // 2)[None, :]
        rows = table[(4 * at + (a % 2)[:, None] + 2 * (a % 2)[None, :]).ravel()]
        weights = {(p, q): pt.outer(own[p], other[q]).ravel() for p in range(3) for q in range(3 - p)}

    def log_density(*axes: int) -> Variable:
        """Derivative of the logarithm along axes."""
        return pt.dot(weights[tuple(axes.count(axis) for axis in range(n_axes))], rows)

    value = pt.exp(log_density())
    slopes = [log_density(axis) for axis in range(n_axes)]
    if isinstance(node.op, ScanDensity):
        outputs = [value, value * pt.stack(slopes)]
    else:
        pairs = [
            pt.stack([value * (slopes[p] * slopes[q] + log_density(p, q)) for q in range(n_axes)])
            for p in range(n_axes)
        ]
        outputs = [pt.stack(pairs)]
    outputs = [pt.specify_shape(new, old.type.shape) for new, old in zip(outputs, node.outputs, strict=True)]
    copy_stack_trace(node.outputs, outputs)
    return outputs


optdb.register(
    "pymc_gamma_write_out_scan",
    dfs_rewriter(write_out_scan, ignore_newtrees=True),
    "jax",
    position=1.95,  # before specialisation, which simplifies what is written out
)
