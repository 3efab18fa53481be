"""Live densities and counts in plain tensor algebra, for JAX: it compiles and differentiates for itself.

What a rung contributes is an expression of the family of shapes; here events, rungs and
numbers, and images of the acceptance, are brought together.
Derivatives are those that PyTensor takes of it.
"""

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter

from pymc_gamma.folding.kernels import DEG
from pymc_gamma.folding.live_counts_kernels import CountArrays
from pymc_gamma.folding.live_kernels import LANES, N_COMMON, LiveArrays
from pymc_gamma.folding.live_shapes import Family
from pymc_gamma.ops.live_counts import N_TABLES as N_COUNT_TABLES
from pymc_gamma.ops.live_counts import LiveCountsHVP, LiveCountsJVP, LiveCountsOp, LiveCountsVJP
from pymc_gamma.ops.live_density import N_TABLES, LiveDensity, LiveDensityHVP, LiveDensityJVP, LiveDensityVJP

__all__ = ["lower_live_counts", "lower_live_density"]


def _arc(sine2: Variable) -> Variable:
    """Arc over its sine, of the squared sine; in deg."""
    return (1 + sine2 * (1 / 6 + sine2 * 0.075)) / DEG


def _gathered(rho: Variable, tables: LiveArrays) -> tuple[Variable, Variable]:
    """W and W' of each rung, shape (n_rungs, LANES)."""
    at = pt.arange(tables.numbers.shape[0])
    block = pt.searchsorted(tables.pointer, at, side="right") - 1
    first_rung = tables.rung_pointer[block]
    n_rungs = tables.rung_pointer[block + 1] - first_rung
    node, within = pt.divmod(at - tables.pointer[block], 2 * n_rungs * LANES)
    row, lane = pt.divmod(within, LANES)
    is_slope = pt.cast(pt.ge(row, n_rungs), "int64")
    coefficient = rho[tables.observation[block], tables.node[block] + node]
    room = pt.zeros((2, tables.rungs.shape[0], LANES))
    place = first_rung + row - is_slope * n_rungs
    both = pt.inc_subtensor(room[is_slope, place, lane], tables.numbers.astype("float64") * coefficient)
    return both[0], both[1]


def _density(family: Family, theta: Variable, rho: Variable, tables: Sequence[Variable]) -> Variable:
    arrays, n_events = LiveArrays(*tables[:-1]), tables[-1]
    row = theta[arrays.observation]
    lon, lat = row[:, 0, None] * DEG, row[:, 1, None] * DEG
    cl, sl, cb, sn = pt.cos(lon), pt.sin(lon), pt.cos(lat), pt.sin(lat)

    def seen(x: Variable, y: Variable, z: Variable) -> tuple[Variable, Variable]:
        """Directions on the tangent plane of the source, as long as the arc."""
        east, north = y * cl - x * sl, cb * z - sn * (x * cl + y * sl)
        scale = _arc(east * east + north * north)
        return scale * east, scale * north

    event = seen(*(arrays.events[:, k] for k in range(3)))
    axis = arrays.axes[arrays.observation]
    pointing = seen(*(axis[:, k, None] for k in range(3)))
    block = pt.searchsorted(arrays.rung_pointer, pt.arange(arrays.rungs.shape[0]), side="right") - 1
    own = tuple(row[block, k, None] for k in range(2, family.n_own + 3))
    rung = family.expression(
        pt,
        own,
        tuple(-one[block] for one in pointing),
        tuple(one[block] for one in event),
        tuple(arrays.events[block, k] for k in range(3, 7)),
        (arrays.rungs, *_gathered(rho, arrays)),
    )
    total = pt.inc_subtensor(pt.zeros_like(arrays.events[:, 0])[block], rung)
    used = pt.ge(arrays.place, 0)
    values = pt.switch(used & pt.gt(total, 0), total, 0.0)
    return pt.inc_subtensor(pt.zeros((n_events,))[pt.switch(used, arrays.place, 0)], values)


@node_rewriter([LiveDensity, LiveDensityVJP, LiveDensityJVP, LiveDensityHVP])
def lower_live_density(fgraph: FunctionGraph, node: Apply) -> Sequence[Variable] | None:
    """Write an Op of the family out in elementary operations."""
    op, tables = node.op, node.inputs[-N_TABLES:]
    theta, rho = pt.matrix("theta"), pt.matrix("rho")
    density = _density(op.family, theta, rho, tables)
    match op:
        case LiveDensity():
            at, outputs = node.inputs[:2], [density, pt.zeros((1, 1))]
        case LiveDensityVJP():
            weight, *at, _ = node.inputs[:4]
            outputs = pt.grad(pt.dot(weight, density), [theta, rho])
        case LiveDensityHVP():
            weight, *at, along_theta, along_rho = node.inputs[:5]
            first = pt.grad(pt.dot(weight, density), [theta, rho])
            outputs = pt.grad((first[0] * along_theta).sum() + (first[1] * along_rho).sum(), [theta, rho])
        case _:
            along_theta, along_rho, *at, _ = node.inputs[:5]
            weight = pt.vector("weight")
            first = pt.grad(pt.dot(weight, density), [theta, rho])
            outputs = [pt.grad((first[0] * along_theta).sum() + (first[1] * along_rho).sum(), weight)]
            outputs = graph_replace(outputs, {weight: pt.zeros_like(density)}, strict=False)
    outputs = graph_replace(outputs, dict(zip((theta, rho), at, strict=True)), strict=False)
    copy_stack_trace(node.outputs, outputs)
    return [
        found if old.type.is_super(found.type) else pt.specify_shape(found, old.type.shape)
        for found, old in zip(outputs, node.outputs, strict=True)
    ]


def _spline(t: Variable) -> Variable:
    """Weights of the cubic B-spline at the fraction t of a pixel, on a new last axis."""
    u = 1 - t
    middle = (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    return pt.stack([u**3 / 6, *middle, t**3 / 6], axis=-1)


def _polynomials(size: Variable, tables: Any, n: int) -> Variable:
    """Chebyshev polynomials of a size, or of its logarithm, on a new last axis."""
    low, high, scale = (tables.size[k] for k in range(3))
    safe = pt.switch(pt.gt(scale, 0), scale, 1.0)
    span = pt.log((safe + high) / (safe + low))
    logarithmic = 2 * pt.log((safe + size) / (safe + low)) / pt.switch(pt.gt(span, 0), span, 1.0) - 1
    linear = 2 * (size - low) / pt.switch(pt.gt(high, low), high - low, 1.0) - 1
    z = pt.switch(pt.gt(scale, 0), logarithmic, linear)
    found = [pt.ones_like(z), z]
    while len(found) < n:
        found.append(2 * z * found[-1] - found[-2])
    return pt.stack(found[:n], axis=-1)


def _counts(family: Family, theta: Variable, tables: Any) -> Variable:
    lon, lat = theta[:, 0, None] * DEG, theta[:, 1, None] * DEG
    cl, sl, cb, sn = pt.cos(lon), pt.sin(lon), pt.cos(lat), pt.sin(lat)
    zero = pt.zeros_like(lon)
    directions = (cb * cl, cb * sl, sn), (-sl, cl, zero), (-sn * cl, -sn * sl, cb)
    (x, y), east, north = (
        tuple(sum(one[k] * tables.frame[axis, k] for k in range(3)) for axis in (1, 2)) for one in directions
    )
    arc = _arc(x * x + y * y)
    own = tuple(theta[:, k, None] for k in range(N_COMMON, N_COMMON + family.n_own))
    more_x, more_y, size, amplitude = family.count_points(pt, own, north, east, (tables.nodes[0], tables.nodes[1]))
    first, pixel = tables.grid[0], tables.grid[1]
    place, fraction = [], []
    for value, n in ((arc * y + more_y, tables.images.shape[1]), (arc * x + more_x, tables.images.shape[2])):
        position = (value - first) / pixel
        cell = pt.clip(pt.floor(position).astype("int64"), 1, n - 3)
        place.append(cell[..., None] - 1 + pt.arange(4))
        fraction.append(position - cell)
    observation = pt.arange(theta.shape[0])[:, None, None, None]
    images = tables.images[observation, place[0][..., :, None], place[1][..., None, :]].astype("float64")
    weight = amplitude[..., None, None] * _spline(fraction[0])[..., :, None] * _spline(fraction[1])[..., None, :]
    polynomial = _polynomials(size, tables, tables.images.type.shape[3])
    # axes: observation, point, 4, 4, M, K
    values = (weight[..., None, None] * polynomial[:, :, None, None, :, None] * images).sum(axis=(1, 2, 3, 4))
    change = 2 * pt.log(theta[:, 2, None, None])
    return (values[:, :, None] * (tables.basis[:, :, 0] + change * tables.basis[:, :, 1])).sum(axis=1)


@node_rewriter([LiveCountsOp, LiveCountsVJP, LiveCountsJVP, LiveCountsHVP])
def lower_live_counts(fgraph: FunctionGraph, node: Apply) -> Sequence[Variable] | None:
    """Write an Op of the family out in elementary operations."""
    tables = CountArrays(*node.inputs[-N_COUNT_TABLES:])
    images, nodes = node.inputs[-N_COUNT_TABLES], node.inputs[-1]
    if images.type.shape[3] is None or nodes.type.shape[1] is None:
        return None
    theta = pt.matrix("theta")
    counts = _counts(node.op.family, theta, tables)
    match node.op:
        case LiveCountsOp():
            at, outputs = node.inputs[0], [counts, pt.zeros((1, 1, 1))]
        case LiveCountsVJP():
            weight, at = node.inputs[:2]
            outputs = [pt.grad((weight * counts).sum(), theta)]
        case LiveCountsHVP():
            weight, at, along = node.inputs[:3]
            outputs = [pt.grad((pt.grad((weight * counts).sum(), theta) * along).sum(), theta)]
        case _:
            along, at = node.inputs[:2]
            weight = pt.matrix("weight")
            outputs = [pt.grad((pt.grad((weight * counts).sum(), theta) * along).sum(), weight)]
            outputs = graph_replace(outputs, {weight: pt.zeros_like(counts)}, strict=False)
    outputs = graph_replace(outputs, {theta: at}, strict=False)
    copy_stack_trace(node.outputs, outputs)
    return outputs


optdb.register(
    "pymc_gamma_lower_live_counts",
    dfs_rewriter(lower_live_counts),
    "jax",
    position=1.95,
)
optdb.register(
    "pymc_gamma_lower_live_density",
    dfs_rewriter(lower_live_density),
    "jax",
    position=1.95,  # before specialisation, which simplifies what is written out
)
