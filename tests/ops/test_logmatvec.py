"""The Op family against NumPy: values, gradients, second derivatives, shapes, back ends, rewrites."""

import importlib.util

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from kernel_inputs import events_of
from pytensor.gradient import verify_grad
from pytensor.tensor.basic import Split

from pymc_gamma.model.table import EventTable, TableArrays
from pymc_gamma.ops import (
    BLOCK,
    LogMatVec,
    LogMatVecHVP,
    LogMatVecJVP,
    LogMatVecSum,
    LogMatVecVJP,
    kernels,
    log_matvec,
    log_matvec_sum,
    to_blocks,
)

N_EVENTS = 2 * BLOCK + 37
BACK_ENDS = ["NUMBA", "FAST_COMPILE"]
if importlib.util.find_spec("jax"):
    BACK_ENDS.append("JAX")


def reference(rows, multiplicity, offset, v):
    s = rows @ v
    terms = np.where(multiplicity == 0, 0.0, multiplicity * (np.log(np.where(multiplicity == 0, 1, s)) + offset))
    weight = np.divide(multiplicity, s, out=np.zeros_like(s), where=multiplicity != 0)
    gradient = rows.T @ weight
    hessian = -(rows * np.divide(weight, s, out=np.zeros_like(s), where=multiplicity != 0)[:, None]).T @ rows
    return terms, gradient, hessian


@pytest.fixture(params=["unit", "weighted"])
def data(request, rng):
    n_columns = 5
    rows = rng.random((N_EVENTS, n_columns))
    rows /= rows.max(axis=1, keepdims=True)
    multiplicity = np.ones(N_EVENTS)
    if request.param == "weighted":
        multiplicity = rng.integers(0, 5, N_EVENTS).astype(float)
        multiplicity[BLOCK : 2 * BLOCK] = 1.0  # one block of single events among the others
    return rows, multiplicity, rng.normal(size=N_EVENTS), rng.dirichlet(np.ones(n_columns))


def table_inputs(rows, multiplicity, offset):
    return EventTable(TableArrays.build(rows, multiplicity, offset)).inputs


@pytest.mark.parametrize("n_columns", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("n_events", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_kernels_for_every_shape(rng, n_columns, n_events):
    rows = rng.random((n_events, n_columns)) + 1e-6
    v = rng.random(n_columns)
    u = rng.normal(size=n_columns)
    arrays = TableArrays.build(rows, None, rng.normal(size=n_events))
    events, one = events_of(arrays), np.ones(n_events)
    terms, gradient, hessian = reference(rows, one, arrays.offset, v)
    value, found = kernels.fused(events_of(arrays), None, v, None)
    np.testing.assert_allclose(value, terms.sum(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found, gradient, rtol=1e-12)
    np.testing.assert_allclose(kernels.pointwise(events, None, v, None), terms, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(kernels.vjp(events, None, v, None, one), gradient, rtol=1e-12)
    np.testing.assert_allclose(
        kernels.hessian_product(events, None, v, None, one, u, None), hessian @ u, rtol=1e-10, atol=1e-9
    )
    np.testing.assert_allclose(
        kernels.pushforward(events, None, v, None, one, u, None),
        rows @ u / (rows @ v),
        rtol=1e-10,
        atol=1e-13,
    )


def test_blocks_hold_the_rows(rng):
    rows = rng.random((N_EVENTS, 3))
    blocks = to_blocks(rows)
    assert blocks.shape == (3, 3, BLOCK)
    np.testing.assert_array_equal(blocks.transpose(0, 2, 1).reshape(-1, 3)[:N_EVENTS], rows)


@pytest.mark.parametrize("exponent", [-300, -160, -149, -36, 0, 36, 149, 160, 300])
def test_logarithm_over_the_whole_range_of_numbers(rng, exponent):
    """Blocks within and beyond the range in which densities are multiplied in pairs."""
    rows = rng.uniform(0.1, 1.0, (4 * BLOCK, 1)) * 10.0**exponent
    rows[: 2 * BLOCK] *= 10.0 ** rng.integers(-4, 4, (2 * BLOCK, 1))
    arrays = TableArrays.build(rows)
    value, gradient = kernels.fused(events_of(arrays), None, np.ones(1), None)
    np.testing.assert_allclose(value, np.log(rows).sum(), rtol=1e-13)
    np.testing.assert_allclose(gradient, [len(rows)], rtol=1e-13)


@pytest.mark.parametrize(
    ("density", "multiplicity", "value", "gradient_is"),
    [
        (0.0, 0.0, 0.0, "unchanged"),
        (0.0, 1.0, -np.inf, "large"),
        (0.0, 2.0, -np.inf, "large"),
        (-0.5, 1.0, np.nan, "anything"),
        (np.nan, 1.0, np.nan, "nan"),
        (np.inf, 1.0, np.inf, "anything"),
        (5e-310, 1.0, np.log(5e-310), "large"),
    ],
)
@pytest.mark.parametrize("position", [3, BLOCK + 1])
def test_exceptional_events(density, multiplicity, value, gradient_is, position):
    rows = np.ones((BLOCK + 5, 2))
    rows[position] = density
    counts = np.ones(len(rows))
    counts[position] = multiplicity
    arrays = TableArrays.build(rows, counts)
    v, one = np.array([0.5, 0.5]), np.ones(len(rows))
    total, gradient = kernels.fused(events_of(arrays), None, v, None)
    np.testing.assert_allclose(total, value, rtol=1e-13)
    each = kernels.pointwise(events_of(arrays), None, v, None)
    np.testing.assert_allclose(each[position], value, rtol=1e-13)
    assert np.all(np.delete(each, position) == 0)
    if gradient_is == "unchanged":
        np.testing.assert_allclose(gradient, len(rows) - 1)
        np.testing.assert_allclose(kernels.vjp(events_of(arrays), None, v, None, one), gradient)
        np.testing.assert_allclose(kernels.hessian_product(events_of(arrays), None, v, None, one, v, None), -gradient)
    elif gradient_is == "large":
        assert not np.isnan(gradient).any()
    elif gradient_is == "nan":
        assert np.isnan(gradient).all()


def test_a_zero_column_does_not_turn_an_impossible_event_into_nan():
    """One column cannot produce the event and the other has coefficient zero: value -inf, gradient 0 and large."""
    arrays = TableArrays.build(np.array([[0.0, 1.0]]))
    value, gradient = kernels.fused(events_of(arrays), None, np.array([1.0, 0.0]), None)
    assert value == -np.inf
    assert gradient[0] == 0
    assert gradient[1] > 1e300


def test_tables_of_any_memory_layout(rng):
    """Tables that a graph computes, or that Python hands over, need not be contiguous."""
    arrays = TableArrays.build(rng.random((N_EVENTS, 3)) + 0.1)
    strided = np.repeat(arrays.table, 2, axis=1)[:, ::2]
    v = np.array([0.2, 0.3, 0.5])
    expected, gradient = kernels.fused(events_of(arrays), None, v, None)
    value, found = kernels.fused(events_of(arrays, table=strided), None, v, None)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(found, gradient, rtol=1e-13)


def test_wrong_number_of_coefficients():
    arrays = TableArrays.build(np.ones((4, 3)))
    with pytest.raises(ValueError, match="number of coefficients"):
        kernels.fused(events_of(arrays), None, np.ones(2), None)


@pytest.mark.parametrize("mode", BACK_ENDS)
def test_all_ops_in_every_back_end(data, rng, mode):
    rows, multiplicity, offset, v = data
    terms, gradient, hessian = reference(*data)
    inputs = table_inputs(rows, multiplicity, offset)
    x, g, u = pt.vector("x", shape=(5,)), pt.vector("g", shape=(N_EVENTS,)), pt.vector("u", shape=(5,))
    value, slope = LogMatVecSum().make_node(*inputs, x).outputs
    outputs = [
        log_matvec(*inputs, x),
        value,
        slope,
        LogMatVecVJP()(*inputs, x, g),
        LogMatVecJVP()(*inputs, x, g, u),
        LogMatVecHVP()(*inputs, x, pt.ones_like(g), u),
    ]
    function = pytensor.function([x, g, u], outputs, mode=mode, on_unused_input="ignore")
    weight, direction = rng.normal(size=N_EVENTS), rng.normal(size=5)
    found = [np.asarray(a) for a in function(v, weight, direction)]
    ratio = multiplicity / (rows @ v)
    expected = [
        terms,
        terms.sum(),
        gradient,
        rows.T @ (weight * ratio),
        weight * ratio * (rows @ direction),
        hessian @ direction,
    ]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("v", [[0.2, 0.3, 0.5], [1e-6, 0.4, 0.6], [1e-12, 1e-12, 1.0]])
def test_gradients(rng, v):
    rows = rng.uniform(0.1, 1.0, (40, 3))
    inputs = table_inputs(rows, rng.integers(0, 4, 40).astype(float), np.zeros(40))
    options = {"rng": rng, "mode": "FAST_COMPILE", "eps": 1e-7}
    point = [np.array(v) + 1e-7]
    verify_grad(lambda x: log_matvec(*inputs, x), point, **options)
    verify_grad(lambda x: log_matvec_sum(*inputs, x), point, **options)
    verify_grad(lambda x: LogMatVecSum().make_node(*inputs, x).outputs[1], point, **options)
    weight = rng.normal(size=40)
    verify_grad(lambda x, g: LogMatVecVJP()(*inputs, x, g), [*point, weight], **options)


def test_hessian(data):
    rows, multiplicity, offset, v = data
    x = pt.vector("x", shape=(5,))
    inputs = table_inputs(rows, multiplicity, offset)
    _, _, hessian = reference(*data)
    for value in (log_matvec(*inputs, x).sum(), log_matvec_sum(*inputs, x)):
        second = pytensor.gradient.hessian(value, x, disconnected_inputs="raise")
        found = pytensor.function([x], second, mode="FAST_COMPILE")(v)
        np.testing.assert_allclose(found, hessian, rtol=1e-10)


def test_pushforward(data, rng):
    rows, multiplicity, offset, v = data
    x, u = pt.vector("x", shape=(5,)), pt.vector("u", shape=(5,))
    inputs = table_inputs(rows, multiplicity, offset)
    each = log_matvec(*inputs, x)
    value, slope = LogMatVecSum().make_node(*inputs, x).outputs
    outputs = pytensor.gradient.pushforward([each, value, slope], [x], [u], use_op_pushforward=True)
    direction = rng.normal(size=5)
    found = pytensor.function([x, u], outputs, mode="FAST_COMPILE")(v, direction)
    _, gradient, hessian = reference(*data)
    np.testing.assert_allclose(found[0], multiplicity * (rows @ direction) / (rows @ v), rtol=1e-10)
    np.testing.assert_allclose(found[1], gradient @ direction, rtol=1e-10)
    np.testing.assert_allclose(found[2], hessian @ direction, rtol=1e-10)


def test_tables_are_data(data):
    rows, multiplicity, offset, v = data
    shared = table_inputs(rows, multiplicity, offset)
    with pytest.raises(Exception, match="event table is data"):
        pytensor.grad(log_matvec_sum(*shared, v), shared[0])


def test_infer_shape(data):
    rows, multiplicity, offset, _ = data
    inputs = [v.type() for v in table_inputs(rows, multiplicity, offset)]
    inputs = [pt.tensor(dtype=v.type.dtype, shape=(None,) * v.type.ndim) for v in inputs]
    x, g, u = pt.vector("x"), pt.vector("g"), pt.vector("u")
    shapes = [
        log_matvec(*inputs, x).shape,
        LogMatVecSum().make_node(*inputs, x).outputs[1].shape,
        LogMatVecVJP()(*inputs, x, g).shape,
        LogMatVecJVP()(*inputs, x, g, u).shape,
        LogMatVecHVP()(*inputs, x, g, u).shape,
    ]
    function = pytensor.function([*inputs, x, g, u], shapes, on_unused_input="ignore")
    ops = [type(node.op).__name__ for node in function.maker.fgraph.toposort()]
    assert not any(name.startswith("LogMatVec") for name in ops)
    arrays = TableArrays.build(rows, multiplicity, offset)
    found = function(*arrays.inputs, np.ones(5), np.ones(N_EVENTS), np.ones(5))
    assert [tuple(s) for s in found] == [(N_EVENTS,), (5,), (5,), (N_EVENTS,), (5,)]


@pytest.mark.parametrize("order", ["sum first", "gradient first"])
def test_one_pass_over_the_table(data, order):
    """Sum and gradient compile to one fused Op, however the graph was made."""
    rows, multiplicity, offset, v = data
    x = pt.vector("x", shape=(5,))
    total = log_matvec(*table_inputs(rows, multiplicity, offset), x).sum()
    if order == "sum first":
        total = pytensor.graph.rewrite_graph(total, include=("canonicalize", "stabilize"))
        assert isinstance(total.owner.op, LogMatVecSum)
    function = pytensor.function([x], [2 * total, pytensor.grad(2 * total, x)])
    family = [n.op for n in function.maker.fgraph.toposort() if type(n.op).__name__.startswith("LogMatVec")]
    assert len(family) == 1
    assert isinstance(family[0], LogMatVecSum)
    terms, gradient, _ = reference(*data)
    value, slope = function(v)
    np.testing.assert_allclose(value, 2 * terms.sum(), rtol=1e-10)
    np.testing.assert_allclose(slope, 2 * gradient, rtol=1e-10)


def test_pointwise_values_are_left_alone(data):
    rows, multiplicity, offset, v = data
    x = pt.vector("x", shape=(5,))
    each = log_matvec(*table_inputs(rows, multiplicity, offset), x)
    function = pytensor.function([x], pt.exp(each).sum())
    assert any(isinstance(n.op, LogMatVec) for n in function.maker.fgraph.toposort())
    np.testing.assert_allclose(function(v), np.exp(reference(*data)[0]).sum(), rtol=1e-10)


def test_inputs_of_the_wrong_kind():
    inputs = EventTable(np.ones((4, 2))).inputs
    with pytest.raises(TypeError, match="table must be a float64 tensor with 3 dimensions"):
        log_matvec(pt.matrix(), *inputs[1:], pt.vector())
    with pytest.raises(TypeError, match="must be vectors"):
        log_matvec(*inputs, pt.matrix())
    with pytest.raises(TypeError, match="table inputs"):
        log_matvec(*inputs[1:], pt.vector())


def split_function(sizes, *, with_events: bool):
    """A compiled function that splits a vector of length 4, next to an event table or not."""
    x = pt.vector("x", shape=(4,))
    parts = pt.split(x, sizes, n_splits=len(sizes))
    table = EventTable(np.random.default_rng(0).random((20, 4)))
    total = log_matvec_sum(*table.inputs, pt.exp(x)) if with_events else x.sum()
    return pytensor.function([x], [*parts, total], mode="NUMBA")


def has_split(function) -> bool:
    return any(isinstance(node.op, Split) for node in function.maker.fgraph.apply_nodes)


def test_constant_splits_become_slices_next_to_events():
    function = split_function([1, 3], with_events=True)
    assert not has_split(function)
    first, second, _ = function(np.arange(4.0))
    np.testing.assert_array_equal(first, [0])
    np.testing.assert_array_equal(second, [1, 2, 3])


def test_other_splits_are_left_alone():
    assert has_split(split_function([1, 3], with_events=False))


def test_wrong_splits_are_left_to_fail():
    assert has_split(split_function([1, 2], with_events=True))
