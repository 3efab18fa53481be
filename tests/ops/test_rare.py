"""Events whose densities are too small for floating-point numbers: the Ops against sums in logarithms."""

import importlib.util

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy.special import logsumexp

from pymc_gamma.model.table import EventTable, TableArrays
from pymc_gamma.ops import BLOCK, LogMatVec, LogMatVecHVP, LogMatVecJVP, LogMatVecSum, LogMatVecVJP

N_EVENTS = 2 * BLOCK + 37
BACK_ENDS = ["NUMBA", "FAST_COMPILE"]
if importlib.util.find_spec("jax"):
    BACK_ENDS.append("JAX")

DEEP = np.array(
    [
        [0.0, -800.0, -np.inf],
        [0.0, -740.0, -735.5],
        [-740.0, 0.0, -1480.0],
        [-1e5, 0.0, -3e4],
        [0.0, -np.inf, -np.inf],
        [-300.0, -650.0, 0.0],
        [-690.0, 0.0, -700.0],
        [0.0, -720.0, -745.2],
    ]
)
COEFFICIENTS = [[0.0, 1.0, 0.0], [0.0, 0.4, 0.6], [1e-200, 1.0, 1e-200], [1e-320, 1.0, 0.0], [0.2, 0.3, 0.5]]


def reference(logs, multiplicity, offset, v):
    """Values, and ratios of densities to their sums, of events with multiplicities that are not zero."""
    with np.errstate(divide="ignore"):
        total = logsumexp(logs + np.log(v), axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.where(np.isneginf(logs), 0.0, np.exp(np.minimum(logs - total[:, None], np.log(1e302))))
    each = multiplicity * (np.where(multiplicity == 0, 0.0, total) + offset)
    return each, np.where(multiplicity[:, None] == 0, 0.0, ratio)


def logs_of_events(rng, n_events=N_EVENTS):
    """Ordinary events, some of multiplicity zero, and deep ones in full blocks and in the last."""
    logs = np.log(rng.uniform(0.1, 1, (n_events, 3)))
    logs[:: n_events // (3 * len(DEEP))][: 3 * len(DEEP)] = np.tile(DEEP, (3, 1))
    logs[-len(DEEP) :] = DEEP
    return logs


def ops(inputs, *, banded, n, n_events):
    x, g, u = pt.vector("x", shape=(n,)), pt.vector("g", shape=(n_events,)), pt.vector("u", shape=(n,))
    value, slope = LogMatVecSum(banded).make_node(*inputs, x).outputs
    outputs = [
        LogMatVec(banded)(*inputs, x),
        value,
        slope,
        LogMatVecVJP(banded)(*inputs, x, g),
        LogMatVecJVP(banded)(*inputs, x, g, u),
        LogMatVecHVP(banded)(*inputs, x, g, u),
    ]
    return [x, g, u], outputs


def check(found, logs, multiplicity, offset, v, weight, direction):
    each, ratio = reference(logs, multiplicity, offset, v)
    slope = ratio @ direction
    own = weight * multiplicity
    with np.errstate(over="ignore"):
        expected = [each, each.sum(), multiplicity @ ratio, own @ ratio, own * slope, -((own * slope) @ ratio)]
    scale = [1.0, 1.0, multiplicity @ ratio, np.abs(own) @ ratio, 1 + np.abs(own) * (ratio @ np.abs(direction))]
    for a, b in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    for a, b, size in zip(found[2:5], expected[2:5], scale[2:], strict=True):
        np.testing.assert_array_less(np.abs(a - b), 1e-11 * np.maximum(size, 1e-300))
    assert all(np.isfinite(a).all() for a in found if np.isfinite(b).all())
    return expected[5]


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_all_ops_with_deep_events(rng, mode, weighted):
    logs = logs_of_events(rng)
    multiplicity = rng.integers(0, 4, N_EVENTS).astype(float) if weighted else np.ones(N_EVENTS)
    multiplicity[-len(DEEP) :] = 2 if weighted else 1
    offset = rng.normal(size=N_EVENTS)
    arrays = TableArrays.build(np.exp(logs), multiplicity, offset, log_densities=logs)
    assert len(arrays.log_rows) < 100
    variables, outputs = ops(EventTable(arrays).inputs, banded=False, n=3, n_events=N_EVENTS)
    function = pytensor.function(variables, outputs, mode=mode, on_unused_input="ignore")
    weight = rng.normal(size=N_EVENTS)
    for v in COEFFICIENTS:
        v = np.array(v)
        if mode == "JAX":
            v[(v > 0) & (v < 1e-300)] = 1e-300  # XLA takes subnormal numbers for zero
        # an event that no column of a coefficient above zero can produce has a test of its own
        possible = (np.exp(np.maximum(logs, -1)) * (logs > -np.inf)) @ v > 0
        counts = np.where(possible, multiplicity, 0)
        function_of = function
        if not possible.all():
            own = TableArrays.build(np.exp(logs), counts, offset, log_densities=logs)
            variables, outputs = ops(EventTable(own).inputs, banded=False, n=3, n_events=N_EVENTS)
            function_of = pytensor.function(variables, outputs, mode=mode, on_unused_input="ignore")
        for direction in (v, rng.normal(size=3) * v):
            found = [np.asarray(one) for one in function_of(v, weight, direction)]
            hessian = check(found, logs, counts, offset, v, weight, direction)
            np.testing.assert_allclose((found[5] * v), hessian * v, rtol=1e-9, atol=1e-9)
            assert np.isfinite(found[5]).all()


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("n_dense", [0, 2])
def test_deep_events_with_tiles(rng, mode, n_dense):
    """Products of tiles that underflow, next to rows in logarithms, in an order of events of their own."""
    n_events, n_nodes = BLOCK + 9, 12
    length = rng.integers(2, 5, n_events)
    column = rng.integers(0, n_nodes - 5, (n_events, 1)) + n_dense
    pointer = np.concatenate([[0], np.cumsum(length)])
    values = (rng.uniform(0.1, 1, pointer[-1]) * 10.0 ** -rng.integers(0, 30, pointer[-1])).astype(np.float32)
    logs = np.full((n_events, n_dense + n_nodes), -np.inf)
    dense = rng.uniform(-3, 0, (n_events, n_dense))
    if n_dense:
        dense[::50, 0] = -900.0
        dense[::60, 1] = -np.inf
        logs[:, :n_dense] = dense
    for i in range(n_events):
        here = slice(column[i, 0], column[i, 0] + length[i])
        logs[i, here] = np.log(values[pointer[i] : pointer[i + 1]].astype(float))
    multiplicity = rng.integers(1, 4, n_events).astype(float)
    arrays = TableArrays.build(np.exp(dense), multiplicity, None, (values, pointer, column), dense)
    assert len(arrays.log_rows) == (11 if n_dense else 0)
    n = logs.shape[1]
    variables, outputs = ops(EventTable(arrays).inputs, banded=True, n=n, n_events=n_events)
    function = pytensor.function(variables, outputs, mode=mode, on_unused_input="ignore")
    weight = rng.normal(size=n_events)
    spectrum = np.linspace(1, 2, n_nodes)
    vectors = [np.append([1.0, 0.0][:n_dense], 1e-280 * spectrum), np.append([0.0, 0.3][:n_dense], 1e-3 * spectrum)]
    if n_dense:
        vectors.append(np.append([1.0, 1e-200], 1e-290 * spectrum))
    for v in vectors:
        if mode == "JAX":
            v[n_dense:] = np.maximum(v[n_dense:], 1e-260)  # products of tiles are not kept in logarithms there
        found = [np.asarray(one) for one in function(v, weight, v)]
        hessian = check(found, logs, multiplicity, 0.0, v, weight, v)
        np.testing.assert_allclose(found[5] * v, hessian * v, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("v", [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
def test_impossible_events(mode, v):
    """No component of a coefficient above zero can produce the event: -inf, and derivatives that may be multiplied."""
    logs = np.array([[0.0, -800.0, -np.inf], [0.0, -1.0, -np.inf], [-1.0, 0.0, -np.inf]])
    arrays = TableArrays.build(np.exp(logs), None, None, log_densities=logs)
    variables, outputs = ops(EventTable(arrays).inputs, banded=False, n=3, n_events=3)
    function = pytensor.function(variables, outputs, mode=mode, on_unused_input="ignore")
    each, value, *derivatives = function(np.array(v), np.ones(3), np.array([0.5, 0.5, 0.0]))
    assert np.isneginf(each).all()
    assert np.isneginf(value)
    for derivative in derivatives:
        assert np.isfinite(derivative).all()
    gradient = np.asarray(derivatives[0])
    assert gradient[0] > 1e300
    assert gradient[2] == 0


def test_tables_of_numbers_keep_what_is_small():
    """Bare densities that are small but there have logarithms of their own."""
    rows = np.array([[1.0, 1e-150], [1.0, 0.0], [0.5, 1.0]])
    log_rows = TableArrays.build(rows).log_rows
    np.testing.assert_allclose(log_rows, [[0, 0, np.log(1e-150)]])


def test_no_ratio_of_coefficients_spoils_a_sum_that_is_rare(rng):
    """Signs count, as where a sum is ordinary: a density of zero is impossible, one below zero is not a number."""
    logs = np.array([[-800.0, -800.0]])
    arrays = TableArrays.build(np.exp(logs), None, None, log_densities=logs)
    x = pt.vector("x", shape=(2,))
    function = pytensor.function([x], LogMatVec()(*EventTable(arrays).inputs, x))
    np.testing.assert_allclose(function(np.array([1.0, -0.5])), [-800 + np.log(0.5)], rtol=1e-13)
    assert np.isneginf(function(np.array([1.0, -1.0])))
    assert np.isnan(function(np.array([1.0, -2.0])))
