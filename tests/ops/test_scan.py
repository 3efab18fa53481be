"""Densities of scans inside a model: values, derivatives, back ends, discrete parameters."""

import importlib.util

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import NullTypeGradError, verify_grad
from pytensor.graph.replace import vectorize_graph
from scipy.special import logsumexp

from pymc_gamma.ops.scan import (
    ScanCurvature,
    ScanDensity,
    inside,
    marginal_log_likelihood,
    node_log_probabilities,
    scan_counts,
    scan_density,
    scan_inputs,
)
from pymc_gamma.ops.scan_tables import ScanTables

BACK_ENDS = ["NUMBA", "FAST_COMPILE"]
if importlib.util.find_spec("jax"):
    BACK_ENDS.append("JAX")

N = 700
SIGMA = np.linspace(0.2, 0.4, 11)
TILT = np.array([-1.0, -0.4, 0.0, 0.5, 1.5])
POINTS = {1: [(0.29,), (0.2,), (0.213,), (0.4,), (0.24,)], 2: [(0.29, 0.7), (0.2, -1.0), (0.33, 0.5), (0.4, 1.5)]}


@pytest.fixture(params=[1, 2], ids=["one parameter", "two parameters"])
def tables(request, rng):
    """A Gaussian source of free width, tilted along an axis or not, with events of zero density at some nodes."""
    r2 = rng.exponential(2 * 0.3**2, N)
    logs = -r2[:, None] / (2 * SIGMA**2) - 2 * np.log(SIGMA)
    logs[:5, 3:6] = -np.inf
    if request.param == 1:
        return ScanTables.build(SIGMA, logs, rng.normal(size=N))
    return ScanTables.build([SIGMA, TILT], logs[:, :, None] + np.multiply.outer(rng.normal(size=N), TILT)[:, None])


def scalars(tables):
    return [pt.scalar(name) for name in ("a", "b")[: tables.n_axes]]


@pytest.mark.parametrize("mode", BACK_ENDS)
def test_values(tables, mode):
    x = scalars(tables)
    function = pytensor.function(x, scan_density(x, tables), mode=mode)
    for point in (*POINTS[tables.n_axes], (0.05, -7.0)[: tables.n_axes], (9.0, 9.0)[: tables.n_axes]):
        np.testing.assert_allclose(function(*point), np.exp(tables.log_values(*point)), rtol=1e-11)


@pytest.mark.parametrize("mode", BACK_ENDS)
def test_derivatives(tables, mode):
    """First and second, of a log likelihood beside a background, against finite differences."""
    x = scalars(tables)
    weights = np.linspace(0.5, 1.5, N)
    value = pt.sum(weights * pt.log(scan_density(x, tables) + 0.3))
    slopes = pt.grad(value, x)
    second = [one for slope in slopes for one in pt.grad(slope, x)]
    function = pytensor.function(x, [value, *slopes, *second], mode=mode)
    n = tables.n_axes

    def log_likelihood(at):
        return np.sum(weights * np.log(np.exp(tables.log_values(*at)) + 0.3))

    def slope(at, step):
        return np.array([log_likelihood(at + h) - log_likelihood(at - h) for h in step * np.eye(n)]) / (2 * step)

    for point in POINTS[n]:
        if point[0] in (0.2, 0.24, 0.4):
            continue  # second derivatives jump at nodes
        at = np.array(point)
        found = np.array([float(one) for one in function(*point)])
        assert found[0] == pytest.approx(log_likelihood(at), rel=1e-12)
        np.testing.assert_allclose(found[1 : 1 + n], slope(at, 1e-6), rtol=1e-6, atol=1e-3)
        expected = [(slope(at + h, 2e-4) - slope(at - h, 2e-4)) / 4e-4 for h in 2e-4 * np.eye(n)]
        np.testing.assert_allclose(found[1 + n :].reshape(n, n), expected, rtol=2e-3, atol=2)


def test_pullback_and_pushforward(tables, rng):
    """Of the values and of the slopes that come with them."""
    inputs = scan_inputs(tables)
    for output in (0, 1):
        verify_grad(
            lambda x, output=output: ScanDensity().make_node(*inputs, x).outputs[output],
            [np.array(POINTS[tables.n_axes][0])],
            rng=rng,
            mode="FAST_COMPILE",
        )
    x, along = pt.vector("x", shape=(tables.n_axes,)), pt.vector("along", shape=(tables.n_axes,))
    outputs = ScanDensity().make_node(*inputs, x).outputs
    pushed = pytensor.gradient.pushforward(outputs, x, along)
    slopes, curvature = outputs[1], ScanCurvature()(*inputs, x)
    expected = [along @ slopes, pt.tensordot(along, curvature, axes=1)]
    function = pytensor.function([x, along], [*pushed, *expected], mode="FAST_COMPILE")
    found = function(POINTS[tables.n_axes][0], rng.normal(size=tables.n_axes))
    for own, other in zip(found[:2], found[2:], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-12, atol=1e-12)


def test_no_kinks(tables):
    """The slope at a node is the same from both sides."""
    x = scalars(tables)
    function = pytensor.function(x, ScanDensity().make_node(*scan_inputs(tables), pt.stack(x)).outputs[1])
    for node in SIGMA[1:-1]:
        others = (0.3,) * (tables.n_axes - 1)
        left, right = (function(node + side, *others)[:, 5:] for side in (-1e-10, 1e-10))
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_second_derivatives_are_symmetric(tables):
    found = ScanCurvature()(*scan_inputs(tables), np.array(POINTS[tables.n_axes][0])).eval()
    np.testing.assert_allclose(found, found.swapaxes(0, 1), rtol=1e-12)


@pytest.mark.parametrize("mode", BACK_ENDS)
def test_edges_and_nan(tables, mode):
    x = scalars(tables)
    value = scan_density(x, tables).sum()
    function = pytensor.function(x, [value, *pt.grad(value, x), inside(x, tables)], mode=mode)
    others = (0.3,) * (tables.n_axes - 1)
    for at, is_inside in ((0.1999, False), (0.2, True), (0.4, True), (0.4001, False)):
        found = function(at, *others)
        assert bool(found[-1]) == is_inside
        assert (float(found[1]) == 0) == (not is_inside)
    found = function(np.nan, *others)
    assert np.isnan(found[0])
    assert not found[-1]


def test_shapes_are_known(tables):
    x = scalars(tables)
    density = scan_density(x, tables)
    slopes = density.owner.outputs[1]
    assert density.type.shape == (N,)
    assert slopes.type.shape == (tables.n_axes, N)
    lengths = pytensor.function(x, [density.shape[0], slopes.shape[0], slopes.shape[1]], mode="FAST_RUN")
    assert [int(one) for one in lengths(*POINTS[tables.n_axes][0])] == [N, tables.n_axes, N]
    ops = {type(node.op) for node in lengths.maker.fgraph.apply_nodes}
    assert not ops & {ScanDensity, ScanCurvature}


def test_tables_are_data(tables):
    inputs = scan_inputs(tables)
    with pytest.raises(NullTypeGradError, match="are data"):
        pt.grad(scan_density([0.3] * tables.n_axes, inputs).sum(), inputs[0])


def test_one_table_in_several_graphs(tables):
    inputs = scan_inputs(tables)
    x = scalars(tables)
    both = pytensor.function(x, [scan_density(x, inputs), 2 * scan_density(x, inputs)])
    first, second = both(*POINTS[tables.n_axes][0])
    np.testing.assert_array_equal(2 * first, second)
    assert sum(isinstance(node.op, ScanDensity) for node in both.maker.fgraph.apply_nodes) == 1
    assert not {one.name for one in inputs} & {one.name for one in scan_inputs(tables)}


@pytest.mark.parametrize("mode", BACK_ENDS[:2])
def test_many_points_at_once(mode):
    """As PyMC evaluates a graph at all posterior draws."""
    tables = ScanTables.build(SIGMA, -np.log(SIGMA)[None] - np.arange(3.0)[:, None])
    x, many = pt.scalar("x"), pt.vector("many")
    found = pytensor.function([many], vectorize_graph(scan_density(x, tables), {x: many}), mode=mode)([0.21, 0.3, 0.37])
    np.testing.assert_allclose(found, np.outer([1 / 0.21, 1 / 0.3, 1 / 0.37], np.exp(-np.arange(3.0))), rtol=1e-4)


@pytest.mark.parametrize("mode", BACK_ENDS)
def test_counts(mode):
    """Of two observations, one that expects none at a node."""
    radius = np.linspace(0.1, 0.5, 9)
    log_counts = np.stack([3 - radius**2, np.where(radius > 0.2, np.log(radius), -np.inf)])
    x = pt.scalar("x")
    function = pytensor.function([x], scan_counts(x, radius, log_counts), mode=mode)
    np.testing.assert_allclose(function(0.37), [np.exp(3 - 0.37**2), 0.37], rtol=1e-4)
    np.testing.assert_allclose(function(0.12)[1], 0.0)


@pytest.mark.parametrize(
    "x", [np.array([0.3, 0.2, 0.1]), [0.1, 0.2, 0.3], np.zeros((2, 2)), pt.vector("x"), [pt.vector("x")]]
)
def test_parameters_must_be_scalars(x):
    with pytest.raises(TypeError, match="a scalar for each of its one or two parameters"):
        scan_density(x, ScanTables.build([0.0, 1.0], np.zeros((1, 2))))


def test_number_of_parameters(tables):
    wrong = [0.3] * (3 - tables.n_axes)
    with pytest.raises(ValueError, match="one value of each of its parameters"):
        scan_density(wrong, tables).eval()


def test_bad_types():
    with pytest.raises(TypeError, match="table must be a float64 tensor with 2 dimensions"):
        ScanDensity()(np.zeros(3), np.zeros(2), np.zeros(0), np.zeros(1))
    with pytest.raises(TypeError, match="x must be a vector of one or two numbers"):
        ScanDensity()(np.zeros((4, 3)), np.zeros(2), np.zeros(0), np.zeros(3))


def test_discrete_parameters(rng):
    """Pointwise or summed, one axis or two, against scipy."""
    pointwise, prior = rng.normal(size=(50, 3, 4)) * 2, np.log(rng.dirichlet(np.ones(12)).reshape(3, 4))
    prior[1, 2] = -np.inf
    joint = pointwise.sum(axis=0) + prior
    for values in (pointwise, pointwise.sum(axis=0)):
        found = marginal_log_likelihood(values, prior + 3.0).eval()
        assert found == pytest.approx(logsumexp(joint) - logsumexp(prior), rel=1e-12)
        logs = node_log_probabilities(values, prior).eval()
        np.testing.assert_allclose(logs, joint - logsumexp(joint), rtol=1e-10)
        assert np.exp(logs).sum() == pytest.approx(1)


@pytest.mark.parametrize("mode", BACK_ENDS)
def test_gradient_of_a_marginal_likelihood(mode):
    """Nodes that cannot produce the events do not spoil it; where none can, it is -inf and the derivative zero."""
    a, likelihood = pt.scalar("a"), pt.vector("likelihood")
    value = marginal_log_likelihood(likelihood + a * np.array([0.0, 1.0, 2.0]), np.zeros(3))
    function = pytensor.function([a, likelihood], [value, pt.grad(value, a)], mode=mode)
    found = function(0.3, np.array([-1e5, -np.inf, -1e5 - 1]))
    weights = np.array([1.0, np.exp(-1 + 0.6)])
    assert float(found[0]) == pytest.approx(-1e5 + np.log(weights.sum() / 3))
    assert float(found[1]) == pytest.approx(2 * weights[1] / weights.sum())
    found = function(0.3, np.full(3, -np.inf))
    assert [float(one) for one in found] == [-np.inf, 0.0]


def test_axes_of_a_discrete_parameter():
    with pytest.raises(TypeError, match="the axes of log_prior last"):
        marginal_log_likelihood(np.zeros(3), np.zeros((3, 2)))
