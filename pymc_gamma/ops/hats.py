r"""Coefficients of spectra, all components at once, and their derivatives: one Op instead of twenty.

A spectrum :math:`\phi` has the ratios :math:`r_n = \phi(E_n)\, E_n^\gamma` to a power law, and its coefficients between
nodes are :math:`\rho_n = r_n - \delta^2 r_n/12`, not less than :math:`r_n / 2`, and :math:`r_n` at both ends
(:mod:`pymc_gamma.folding.free`). This is a linear map on each side of that limit, :math:`\rho = J(\phi)\, \phi`; so
its derivative is :math:`J(\phi)`, and that of the derivative is zero.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba as nb
import numpy as np
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.gradient import DisconnectedType, disconnected_type
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from pymc_gamma.compilation import cache_version
from pymc_gamma.ops import hat_kernels

__all__ = ["HatMap", "hat_map"]


class HatMap(Op):
    r"""``(at, x, scale, bounds) -> J(at) x``, or its transpose.

    Parameters
    ----------
    transposed : bool
        Whether to apply the transpose.

    Notes
    -----
    ``scale`` holds :math:`E_n^\gamma`, and each run of nodes between neighbouring ``bounds`` is a spectrum.

    Examples
    --------
    >>> import numpy as np
    >>> flux = np.array([4.0, 2.0, 1.0, 0.5])
    >>> hat_map(flux, flux, np.ones(4), np.array([0, 4])).eval().round(4).tolist()
    [4.0, 1.9167, 0.9583, 0.5]
    """

    __props__ = ("transposed",)

    def __init__(self, transposed: bool = False) -> None:
        self.transposed = transposed

    def make_node(self, at: Any, x: Any, scale: Any, bounds: Any) -> Apply:
        """Apply node on two vectors of fluxes and the two that describe the nodes."""
        at, x, scale, bounds = (pt.as_tensor_variable(one) for one in (at, x, scale, bounds))
        vectors = [one.astype("float64") for one in (at, x, scale)]
        if any(one.type.ndim != 1 for one in (*vectors, bounds)) or bounds.type.dtype != "int64":
            raise TypeError("fluxes and scales must be vectors, bounds a vector of int64")
        return Apply(self, [*vectors, bounds], [pt.vector(dtype="float64", shape=x.type.shape)])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        output_storage[0][0] = hat_kernels.hat_map(*inputs, self.transposed)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """As long as its input."""
        return [shapes[1]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The map depends on ``at`` by the choice of a side alone: no derivative."""
        return [[False], [True], [False], [False]]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """The transpose."""
        at, _, scale, bounds = inputs
        (cotangent,) = cotangents
        none = [disconnected_type() for _ in inputs]
        if isinstance(cotangent.type, DisconnectedType):
            return none
        return [none[0], HatMap(not self.transposed)(at, cotangent, scale, bounds), *none[2:]]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """The map itself."""
        at, _, scale, bounds = inputs
        if isinstance(tangents[1].type, DisconnectedType):
            return [disconnected_type()]
        return [self(at, tangents[1], scale, bounds)]


hat_map = HatMap()


@register_funcify_default_op_cache_key(HatMap)
def _hat_map(op: HatMap, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    transposed = op.transposed

    @nb.njit
    def hat_map(at, x, scale, bounds):  # type: ignore[no-untyped-def]
        return hat_kernels.hat_map(at, x, scale, bounds, transposed)

    return hat_map, cache_version()


@node_rewriter([HatMap])
def write_out_hat_map(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """The map in PyTensor's own operations, which JAX knows."""
    at, x, scale, bounds = node.inputs
    if not isinstance(bounds, Constant):
        return None
    # nodes between two others of their run; shifts over the ends of runs meet zeros
    ends = np.concatenate([bounds.data[:-1], bounds.data[1:] - 1])
    inner = np.ones(bounds.data[-1], bool)
    inner[ends] = False
    ratio = at * scale
    left, right = pt.concatenate([ratio[:1], ratio[:-1]]), pt.concatenate([ratio[1:], ratio[-1:]])
    steep = ratio / 2 > ratio - (right - 2 * ratio + left) / 12
    here = pt.switch(inner, pt.switch(steep, 0.5, 7 / 6), 1.0)
    side = pt.switch(pt.constant(inner) & ~steep, -1 / 12, 0.0)
    zero = pt.zeros(1)
    if node.op.transposed:
        weighted = side * x
        from_right, from_left = pt.concatenate([weighted[1:], zero]), pt.concatenate([zero, weighted[:-1]])
        total = scale * (here * x + from_left + from_right)
    else:
        value = x * scale
        after, before = pt.concatenate([value[1:], zero]), pt.concatenate([zero, value[:-1]])
        total = here * value + side * (before + after)
    copy_stack_trace(node.outputs[0], total)
    return [pt.specify_shape(total, node.outputs[0].type.shape)]


optdb.register(
    "pymc_gamma_write_out_hat_map",
    dfs_rewriter(write_out_hat_map, ignore_newtrees=True),
    "jax",
    position=1.95,  # before specialisation, which simplifies what is written out
)
