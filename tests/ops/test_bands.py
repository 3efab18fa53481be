"""Columns that reach few events: the Op family against the same table written out in full, in the user's order."""

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from kernel_inputs import events_of
from pytensor.gradient import verify_grad

from pymc_gamma.model.table import EventTable, TableArrays
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


@dataclass
class Banded:
    """Arrays of a table with bands, and the same in the order of the user, as rows in full."""

    arrays: TableArrays
    full: np.ndarray
    multiplicity: np.ndarray
    offset: np.ndarray

    @property
    def tiles(self):
        """What the kernels take."""
        return self.arrays.tiles


def banded(rng, n_events=N_EVENTS, n_dense=2, n_bands=2, weighted=False, least=0):
    """A table with bands of ``least`` to 11 numbers; those of the first three events have the least."""
    rows = rng.uniform(0.1, 1, (n_events, n_dense))
    length = rng.integers(least, 12, (n_events, n_bands))
    length[:3] = least
    column = rng.integers(0, N_NODES - 12, (n_events, n_bands)) + n_dense + N_NODES * np.arange(n_bands)
    pointer = np.concatenate([[0], np.cumsum(length)])
    values = rng.uniform(0.1, 1, pointer[-1]).astype(np.float32)
    full = np.zeros((n_events, n_dense + n_bands * N_NODES))
    full[:, :n_dense] = rows
    for i, k in np.ndindex(n_events, n_bands):
        band = i * n_bands + k
        full[i, column[i, k] : column[i, k] + length[i, k]] = values[pointer[band] : pointer[band + 1]]
    multiplicity = rng.integers(0, 4, n_events).astype(float) if weighted else np.ones(n_events)
    offset = rng.normal(size=n_events)
    arrays = TableArrays.build(rows, multiplicity, offset, (values, pointer, column))
    assert not np.array_equal(arrays.tiles.order, np.arange(n_events)) or n_events < 8
    return Banded(arrays, full, multiplicity, offset)


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize(("weighted", "n_dense"), [(False, 2), (True, 2), (False, 0)])
def test_all_ops_in_every_back_end(rng, mode, weighted, n_dense):
    data = banded(rng, n_dense=n_dense, n_bands=2 if n_dense else 7, weighted=weighted, least=0 if n_dense else 1)
    full, inputs = data.full, EventTable(data.arrays).inputs
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
    m, s = data.multiplicity, full @ v
    terms = m * (np.log(s) + data.offset)
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


@pytest.mark.parametrize(
    ("n_events", "n_dense", "n_bands"), [(1, 0, 1), (BLOCK - 3, 0, 3), (BLOCK + 1, 5, 1), (7, 1, 4), (3 * BLOCK, 2, 2)]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_kernels_for_every_shape(rng, n_events, n_dense, n_bands, weighted):
    data = banded(rng, n_events + 3, n_dense, n_bands, weighted=weighted)
    v = rng.uniform(0.1, 1, data.full.shape[1])
    s = data.full @ v
    if n_dense == 0:
        impossible = s == 0
        assert impossible.any()
        m = np.where(impossible, 0, data.multiplicity)
        sorted_m = m[data.arrays.tiles.order]
        arrays = data.arrays._replace(multiplicity=sorted_m, unit=np.zeros_like(data.arrays.unit))
        s[impossible] = 1
    else:
        arrays, m = data.arrays, data.multiplicity
    value, gradient = kernels.fused(events_of(arrays), data.tiles, v, None)
    np.testing.assert_allclose(value - arrays.offset_sum, m @ np.log(s), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, data.full.T @ (m / s), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("multiplicity", [0.0, 1.0, 3.0])
def test_an_impossible_event(rng, multiplicity):
    """Nothing reaches event 1: nothing if it does not count, minus infinity and a finite gradient if it does."""
    data = banded(rng, BLOCK + 20, n_dense=0)
    counts = np.where(data.full.any(axis=1), 1.0, 0.0)
    counts[1] = multiplicity
    order = data.arrays.tiles.order
    arrays = data.arrays._replace(multiplicity=counts[order], unit=np.zeros_like(data.arrays.unit))
    v = rng.uniform(0.1, 1, data.full.shape[1])
    value, gradient = kernels.fused(events_of(arrays), data.tiles, v, None)
    each = kernels.pointwise(events_of(arrays, offset=0 * arrays.offset), data.tiles, v, None)
    possible = np.delete(np.arange(BLOCK + 20), 1)[counts[np.delete(np.arange(BLOCK + 20), 1)] > 0]
    np.testing.assert_allclose(gradient, data.full[possible].T @ (1 / (data.full[possible] @ v)), rtol=1e-12)
    np.testing.assert_allclose(each[possible], np.log(data.full[possible] @ v), rtol=1e-12, atol=1e-15)
    assert each[1] == (-np.inf if multiplicity else 0)
    assert value == -np.inf if multiplicity else np.isfinite(value)


def test_densities_close_to_the_smallest_number(rng):
    """Multiplicity over density overflows; the zeros of a tile must not become NaN."""
    data = banded(rng, 40, n_dense=1, n_bands=1, weighted=True)
    v = np.full(data.full.shape[1], 1e-307)
    arrays = data.arrays
    many = arrays.multiplicity * 1e4
    value, gradient = kernels.fused(events_of(arrays, multiplicity=many), data.tiles, v, None)
    np.testing.assert_allclose(value - arrays.offset_sum, 1e4 * data.multiplicity @ np.log(data.full @ v), rtol=1e-12)
    assert not np.isnan(gradient).any()


@pytest.mark.parametrize(("bad", "value"), [(-1.0, np.nan), (np.nan, np.nan)])
def test_negative_and_void_coefficients(rng, bad, value):
    data = banded(rng)
    v = rng.uniform(0.1, 1, data.full.shape[1])
    v[:2] = bad * 100
    arrays = data.arrays
    found, _ = kernels.fused(events_of(arrays), data.tiles, v, None)
    assert np.isnan(found)


def test_gradients_and_hessian(rng):
    data = banded(rng)
    full, inputs = data.full, EventTable(data.arrays).inputs
    point = [rng.uniform(0.5, 1, full.shape[1])]
    options = {"rng": rng, "mode": "FAST_COMPILE", "eps": 1e-7}
    for value in (
        lambda x: banded_log_matvec(*inputs, x),
        lambda x: LogMatVecSum(True)(*inputs, x),
        lambda x: LogMatVecSum(True).make_node(*inputs, x).outputs[1],
    ):
        verify_grad(value, point, **options)
    weight = rng.normal(size=N_EVENTS)
    verify_grad(lambda x, g: LogMatVecVJP(True)(*inputs, x, g), [*point, weight], **options)
    x = pt.vector("x", shape=(full.shape[1],))
    second = pytensor.gradient.hessian(banded_log_matvec(*inputs, x).sum(), x)
    ratio = full / (full @ point[0])[:, None]
    np.testing.assert_allclose(
        pytensor.function([x], second, mode="FAST_COMPILE")(point[0]), -ratio.T @ ratio, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("order", ["sum first", "gradient first"])
def test_one_pass_over_the_table(rng, order):
    data = banded(rng)
    x = pt.vector("x", shape=(data.full.shape[1],))
    total = banded_log_matvec(*EventTable(data.arrays).inputs, x).sum()
    if order == "sum first":
        total = pytensor.graph.rewrite_graph(total, include=("canonicalize", "stabilize"))
    function = pytensor.function([x], [total, pytensor.grad(total, x)])
    family = [n.op for n in function.maker.fgraph.toposort() if type(n.op).__name__.startswith("LogMatVec")]
    assert family == [LogMatVecSum(True)]


def test_infer_shape(rng):
    data = banded(rng)
    arrays, full = data.arrays, data.full
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
    data = banded(rng)
    arrays, full = data.arrays, data.full
    with pytest.raises(ValueError, match="does not match the bands"):
        kernels.fused(events_of(arrays), data.tiles, np.ones(full.shape[1] - 15), None)
    with pytest.raises(ValueError, match="number of coefficients"):
        kernels.fused(events_of(arrays), data.tiles, np.ones(1), None)
    inputs = EventTable(arrays).inputs
    with pytest.raises(TypeError, match="table inputs"):
        banded_log_matvec(*inputs[:-4], np.ones(3))
    with pytest.raises(TypeError, match="numbers must be a float32 tensor"):
        banded_log_matvec(*inputs[:6], pt.vector(dtype="float64"), *inputs[7:], np.ones(3))
    with pytest.raises(Exception, match="event table is data"):
        pytensor.grad(LogMatVecSum(True)(*inputs, np.ones(full.shape[1])), inputs[6])
