"""What the outputs of the Ops depend on: as they say to PyTensor, and as they do."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import DisconnectedType, disconnected_type

from pymc_gamma.model.table import EventTable, TableArrays
from pymc_gamma.ops import LogMatVec, LogMatVecHVP, LogMatVecJVP, LogMatVecSum, LogMatVecVJP
from pymc_gamma.ops.hats import HatMap

N_EVENTS = 9


def table(rng, banded):
    rows = rng.uniform(0.1, 1, (N_EVENTS, 2))
    bands = rng.uniform(0.1, 1, 3 * N_EVENTS).astype(np.float32), 3 * np.arange(N_EVENTS + 1), np.full((N_EVENTS, 1), 2)
    counts = rng.integers(1, 4, N_EVENTS).astype(float)
    return EventTable(TableArrays.build(rows, counts, rng.normal(size=N_EVENTS), bands if banded else None)).inputs


VECTORS = {
    LogMatVec: ("columns",),
    LogMatVecSum: ("columns",),
    LogMatVecVJP: ("columns", "events"),
    LogMatVecJVP: ("columns", "events", "columns"),
    LogMatVecHVP: ("columns", "events", "columns"),
}


def applied(rng, kind, banded):
    sizes = {"columns": 5 if banded else 2, "events": N_EVENTS}
    values = [rng.uniform(0.5, 1, sizes[of]) for of in VECTORS[kind]]
    vectors = [pt.vector(shape=value.shape) for value in values]
    inputs = table(rng, banded)
    node = kind(banded).make_node(*inputs, *vectors)
    return node, [np.asarray(one.get_value() if hasattr(one, "get_value") else one.data) for one in inputs] + values


def perform(node, values):
    storage = [[None] for _ in node.outputs]
    node.op.perform(node, values, storage)
    return [np.array(one[0]) for one in storage]


@pytest.mark.parametrize("banded", [False, True])
@pytest.mark.parametrize("kind", [LogMatVec, LogMatVecSum, LogMatVecVJP])
def test_patterns_say_what_the_outputs_depend_on(rng, kind, banded):
    node, values = applied(rng, kind, banded)
    pattern = node.op.connection_pattern(node)
    assert len(pattern) == len(node.inputs)
    before = perform(node, values)
    for i, value in enumerate(values):
        if value.dtype.kind == "f" and value.size:  # there are no rows of logarithms here
            other = list(values)
            other[i] = (value * 1.01 + 0.01).astype(value.dtype)
            changed = [not np.array_equal(a, b) for a, b in zip(before, perform(node, other), strict=True)]
            assert pattern[i] == changed, i


@pytest.mark.parametrize("banded", [False, True])
@pytest.mark.parametrize("kind", [LogMatVec, LogMatVecSum, LogMatVecVJP])
def test_nothing_flows_back_where_nothing_is_asked(rng, kind, banded):
    node, _ = applied(rng, kind, banded)
    found = node.op.pullback(node.inputs, node.outputs, [disconnected_type() for _ in node.outputs])
    assert len(found) == len(node.inputs)
    assert all(isinstance(one.type, DisconnectedType) for one in found)


@pytest.mark.parametrize("banded", [False, True])
@pytest.mark.parametrize("kind", [LogMatVec, LogMatVecSum, LogMatVecVJP])
def test_cotangents_are_void_where_the_pattern_says_so(rng, kind, banded):
    """And only there; of several outputs each alone, and together."""
    node, _ = applied(rng, kind, banded)
    pattern = np.array(node.op.connection_pattern(node))
    some = [one.type() for one in node.outputs]
    choices = [[True] * len(some)] + ([[True, False], [False, True]] if len(some) == 2 else [])
    for asked in choices:
        cotangents = [one if use else disconnected_type() for one, use in zip(some, asked, strict=True)]
        found = node.op.pullback(node.inputs, node.outputs, cotangents)
        void = [isinstance(one.type, DisconnectedType) for one in found]
        assert void == (~pattern[:, asked].any(axis=1)).tolist()


def test_value_and_gradient_may_both_be_asked_for(rng):
    """Cotangents of both outputs add up: the gradient, and the Hessian times a vector."""
    node, values = applied(rng, LogMatVecSum, False)
    of_value, of_gradient = pt.scalar(), pt.vector(shape=(2,))
    cotangent = node.op.pullback(node.inputs, node.outputs, [of_value, of_gradient])[-1]
    direction = rng.normal(size=2)
    found = cotangent.eval({node.inputs[-1]: values[-1], of_value: 1.7, of_gradient: direction}, mode="FAST_COMPILE")
    rows = values[0].transpose(0, 2, 1).reshape(-1, 2)[:N_EVENTS]
    ratio = rows / (rows @ values[-1])[:, None]
    expected = 1.7 * values[1] @ ratio - (values[1] * (ratio @ direction)) @ ratio
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", [LogMatVec, LogMatVecSum])
def test_nothing_flows_forward_from_nothing(rng, kind):
    node, _ = applied(rng, kind, False)
    found = node.op.pushforward(node.inputs, node.outputs, [disconnected_type() for _ in node.inputs])
    assert len(found) == len(node.outputs)
    assert all(isinstance(one.type, DisconnectedType) for one in found)


def test_shapes_of_hat_maps_are_known_without_running_them():
    x = pt.vector()
    shape = HatMap()(x, x, pt.constant(np.ones(4)), pt.constant(np.array([0, 4]))).shape
    function = pytensor.function([x], shape, mode="CVM")
    assert not any(isinstance(node.op, HatMap) for node in function.maker.fgraph.toposort())
    assert function(np.ones(4)).tolist() == [4]


def test_hat_maps(rng):
    x = pt.vector(shape=(4,))
    node = HatMap().make_node(x, x, pt.constant(np.ones(4)), pt.constant(np.array([0, 4])))
    assert node.op.connection_pattern(node) == [[False], [True], [False], [False]]
    for found in (
        node.op.pullback(node.inputs, node.outputs, [disconnected_type()]),
        node.op.pushforward(node.inputs, node.outputs, [disconnected_type() for _ in node.inputs]),
    ):
        assert all(isinstance(one.type, DisconnectedType) for one in found)
    cotangents = node.op.pullback(node.inputs, node.outputs, [x.type()])
    assert [isinstance(one.type, DisconnectedType) for one in cotangents] == [True, False, True, True]
