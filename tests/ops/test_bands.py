"""Columns stored as bands: the Op family against the same table written out in full."""

import importlib.util

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad

from pymc_gamma.distributions.table import EventTable, TableArrays
from pymc_gamma.ops import (
    BLOCK,
    LogMatVecHVP,
    LogMatVecJVP,
    LogMatVecSum,
    LogMatVecVJP,
    banded_log_matvec,
    kernels,
)

N_EVENTS, N_NODES = BLOCK + 37, 30
BACK_ENDS = ["NUMBA", "FAST_COMPILE"]
if importlib.util.find_spec("jax"):
    BACK_ENDS.append("JAX")


def banded(rng, n_events=N_EVENTS, n_dense=2, n_bands=2, weighted=False):
    """Arrays of a table with bands, and the same as rows in full."""
    rows = rng.uniform(0.1, 1, (n_events, n_dense))
    length = rng.integers(0, 12, (n_events, n_bands))
    length[:3] = 0
    column = rng.integers(0, N_NODES - 12, (n_events, n_bands)) + n_dense + N_NODES * np.arange(n_bands)
    pointer = np.concatenate([[0], np.cumsum(length)])
    values = rng.uniform(0.1, 1, pointer[-1]).astype(np.float32)
    full = np.zeros((n_events, n_dense + n_bands * N_NODES))
    full[:, :n_dense] = rows
    for i, k in np.ndindex(n_events, n_bands):
        band = i * n_bands + k
        full[i, column[i, k] : column[i, k] + length[i, k]] = values[pointer[band] : pointer[band + 1]]
    multiplicity = rng.integers(0, 4, n_events).astype(float) if weighted else np.ones(n_events)
    arrays = TableArrays.build(rows, multiplicity, rng.normal(size=n_events), (values, pointer, column))
    return arrays, full


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_all_ops_in_every_back_end(rng, mode, weighted):
    arrays, full = banded(rng, weighted=weighted)
    inputs = EventTable(arrays).inputs
    n = full.shape[1]
    x, g, u = pt.vector("x", shape=(n,)), pt.vector("g", shape=(N_EVENTS,)), pt.vector("u", shape=(n,))
    outputs = [
        banded_log_matvec(*inputs, x),
        *LogMatVecSum(True).make_node(*inputs, x).outputs,
        LogMatVecVJP(True)(*inputs, x, g),
        LogMatVecJVP(True)(*inputs, x, g, u),
        LogMatVecHVP(True)(*inputs, x, g, u),
    ]
    function = pytensor.function([x, g, u], outputs, mode=mode)
    v, weight, direction = rng.uniform(0.1, 1, n), rng.normal(size=N_EVENTS), rng.normal(size=n)
    found = [np.asarray(a) for a in function(v, weight, direction)]
    m, s = arrays.multiplicity, full @ v
    terms = m * (np.log(s) + arrays.offset)
    expected = [
        terms,
        terms.sum(),
        full.T @ (m / s),
        full.T @ (weight * m / s),
        weight * m * (full @ direction) / s,
        -full.T @ (weight * m * (full @ direction) / s**2),
    ]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("n_events", "n_dense", "n_bands"), [(1, 0, 1), (BLOCK, 0, 3), (BLOCK + 1, 5, 1), (7, 1, 4)])
def test_kernels_for_every_shape(rng, n_events, n_dense, n_bands):
    arrays, full = banded(rng, n_events + 3, n_dense, n_bands)  # three events have no band
    if n_dense == 0:
        arrays = arrays._replace(multiplicity=np.r_[0.0, 0, 0, np.ones(n_events)], unit=np.zeros_like(arrays.unit))
    v = rng.uniform(0.1, 1, full.shape[1])
    value, gradient = kernels.fused(arrays.table, arrays.multiplicity, arrays.unit, v, arrays.tiles[:3])
    m, s = arrays.multiplicity, full @ v
    empty = m == 0
    finite = np.where(empty, 1, s)
    if (s[~empty] == 0).any():
        assert value == -np.inf
    else:
        np.testing.assert_allclose(value, m @ np.log(finite), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gradient, full.T @ (m / finite), rtol=1e-12)


def test_gradients_and_hessian(rng):
    arrays, full = banded(rng)
    inputs = EventTable(arrays).inputs
    point = [rng.uniform(0.5, 1, full.shape[1])]
    for value in (lambda x: banded_log_matvec(*inputs, x), lambda x: LogMatVecSum(True)(*inputs, x)):
        verify_grad(value, point, rng=rng, mode="FAST_COMPILE", eps=1e-7)
    x = pt.vector("x", shape=(full.shape[1],))
    second = pytensor.gradient.hessian(banded_log_matvec(*inputs, x).sum(), x)
    ratio = full / (full @ point[0])[:, None]
    np.testing.assert_allclose(
        pytensor.function([x], second, mode="FAST_COMPILE")(point[0]), -ratio.T @ ratio, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("order", ["sum first", "gradient first"])
def test_one_pass_over_the_table(rng, order):
    arrays, full = banded(rng)
    x = pt.vector("x", shape=(full.shape[1],))
    total = banded_log_matvec(*EventTable(arrays).inputs, x).sum()
    if order == "sum first":
        total = pytensor.graph.rewrite_graph(total, include=("canonicalize", "stabilize"))
    function = pytensor.function([x], [total, pytensor.grad(total, x)])
    family = [n.op for n in function.maker.fgraph.toposort() if type(n.op).__name__.startswith("LogMatVec")]
    assert family == [LogMatVecSum(True)]


def test_infer_shape(rng):
    arrays, full = banded(rng)
    inputs = [pt.tensor(dtype=v.type.dtype, shape=(None,) * v.type.ndim) for v in EventTable(arrays).inputs]
    x, g, u = pt.vector("x"), pt.vector("g"), pt.vector("u")
    shapes = [
        banded_log_matvec(*inputs, x).shape,
        LogMatVecSum(True).make_node(*inputs, x).outputs[1].shape,
        LogMatVecVJP(True)(*inputs, x, g).shape,
        LogMatVecJVP(True)(*inputs, x, g, u).shape,
        LogMatVecHVP(True)(*inputs, x, g, u).shape,
    ]
    function = pytensor.function([*inputs, x, g, u], shapes, on_unused_input="ignore")
    assert not any(type(n.op).__name__.startswith("LogMatVec") for n in function.maker.fgraph.toposort())
    n = full.shape[1]
    found = function(*arrays.inputs, np.ones(n), np.ones(N_EVENTS), np.ones(n))
    assert [tuple(s) for s in found] == [(N_EVENTS,), (n,), (n,), (N_EVENTS,), (n,)]


def test_bad_input(rng):
    arrays, full = banded(rng)
    with pytest.raises(ValueError, match="does not match the bands"):
        kernels.fused(arrays.table, arrays.multiplicity, arrays.unit, np.ones(full.shape[1] - 15), arrays.tiles[:3])
    with pytest.raises(ValueError, match="number of coefficients"):
        kernels.fused(arrays.table, arrays.multiplicity, arrays.unit, np.ones(1), arrays.tiles[:3])
    inputs = EventTable(arrays).inputs
    with pytest.raises(TypeError, match="table inputs"):
        banded_log_matvec(*inputs[:5], np.ones(3))
    with pytest.raises(TypeError, match="numbers must be a float32 tensor"):
        banded_log_matvec(*inputs[:5], pt.vector(dtype="float64"), *inputs[6:], np.ones(3))
    with pytest.raises(Exception, match="event table is data"):
        pytensor.grad(LogMatVecSum(True)(*inputs, np.ones(full.shape[1])), inputs[5])
