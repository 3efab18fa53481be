"""Ops of live shapes: gradients, second derivatives, shapes, back ends."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from live_scene import GaussianShape, Scene, mixed_irfs, wider_irfs
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import DisconnectedType, NullType
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import graph_inputs

from pymc_gamma.folding.live import LiveSource
from pymc_gamma.folding.live_counts import live_counts as tabulate_counts
from pymc_gamma.folding.live_shapes import DiskShape, ShellShape
from pymc_gamma.ops.live_counts import live_counts
from pymc_gamma.ops.live_density import LiveDensity, live_density, table_inputs

MODES = ["NUMBA", "FAST_COMPILE"]
SHAPES = {
    "Gaussian": (GaussianShape(0.85, -0.1, 0.1, 0.5, 30.0), [0.852, -0.099, 0.11, 0.4, 20.0]),
    "disc": (DiskShape(0.85, -0.1, 0.25), [0.852, -0.099, 0.26]),
    "shell": (ShellShape(0.85, -0.1, 0.2, 0.1), [0.852, -0.099, 0.21, 0.08]),
}


class Model:
    """Log-likelihood of some events, with all parameters of a shape, the scale of the PSF and a norm in a vector."""

    def __init__(self, shape, at):
        scene = Scene(
            GaussianShape(0.85, -0.1, 0.15),
            pointings=((0.5, 0.3), (359.5, -0.4)),
            irfs=(wider_irfs(1.0), mixed_irfs()),
            n_events=60,
        )
        response = scene.response(scene.shape)
        spectrum = response.components[0].part_fluxes()[0]
        self.source = LiveSource(shape, response._fold.folded, response.energy_true_edges, spectrum)
        self.tables, self.counts = scene.tables(self.source), tabulate_counts(self.source)
        self.at = np.array([*at, 1.02, 1.1])
        self.x = pt.vector("x", shape=(len(self.at),))
        live = type(shape)(*(self.x[k] for k in range(len(at))))
        theta, rho = pt.stack(live.theta(self.x[-2])), pt.constant(self.source.nominal) * self.x[-1]
        self.density, self.per_coefficient = live_density(theta, rho, self.tables), live_counts(theta, self.counts)
        background = 0.1 * float(self.tables.density(shape, self.source.nominal).max())
        counts = (self.per_coefficient * rho).sum()
        self.log_likelihood = pt.log(self.density + background).sum() - counts


@pytest.fixture(scope="module", params=SHAPES)
def model(request):
    return Model(*SHAPES[request.param])


def differences(function, at, steps):
    return np.array([
        (function(at + h) - function(at - h)) / (2 * h[k]) for k, h in enumerate(np.diag(steps))
    ])  # fmt: skip


@pytest.fixture(scope="module")
def gradient(model):
    """Log-likelihood and its gradient, compiled."""
    return pytensor.function([model.x], [model.log_likelihood, pt.grad(model.log_likelihood, model.x)], mode="NUMBA")


def test_gradient(model, gradient):
    steps = 1e-5 * np.maximum(np.abs(model.at), 0.1)
    expected = differences(lambda x: gradient(x)[0], model.at, steps)
    found = gradient(model.at)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(found).max())


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in SHAPES if name != "Gaussian"]  # a minute to compile each


@pytest.mark.parametrize("model", ["Gaussian", *SLOW], indirect=True, scope="module")
def test_hessian(model, gradient):
    direction = pt.vector("direction", shape=model.x.type.shape)
    along = pt.dot(pt.grad(model.log_likelihood, model.x), direction)
    product = pytensor.function([model.x, direction], pt.grad(along, model.x), mode="NUMBA")
    hessian = np.array([product(model.at, unit) for unit in np.eye(len(model.at))])
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-8, atol=1e-10 * np.abs(hessian).max())
    steps = 1e-5 * np.maximum(np.abs(model.at), 0.1)
    expected = differences(lambda x: gradient(x)[1], model.at, steps)
    np.testing.assert_allclose(hessian, expected, rtol=1e-5, atol=1e-6 * np.abs(hessian).max())


def test_modes_agree(model):
    outputs = [model.density, model.per_coefficient, pt.grad(model.log_likelihood, model.x)]
    values = [pytensor.function([model.x], outputs, mode=mode)(model.at) for mode in MODES]
    for one, other in zip(*values, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="needs JAX")
def test_jax_differentiates_for_itself():
    """An independent form: PyTensor's own derivatives of the formulas, against those of the kernels."""
    model = Model(*SHAPES["Gaussian"])
    gradient = pt.grad(model.log_likelihood, model.x)
    along = pt.dot(gradient, np.linspace(0.5, 1.5, len(model.at)))
    outputs = [model.density, model.per_coefficient, gradient, pt.grad(along, model.x)]
    shared = [one for one in graph_inputs(outputs) if isinstance(one, SharedVariable)]
    frozen = graph_replace(outputs, {one: pt.constant(one.get_value()) for one in shared})
    expected = pytensor.function([model.x], outputs, mode="NUMBA")(model.at)
    found = pytensor.function([model.x], frozen, mode="JAX")(model.at)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8 * np.abs(other).max())


def test_pushforward_is_the_transpose(model):
    direction = np.linspace(0.5, 1.5, len(model.at))
    weight = np.random.default_rng(4).random(model.tables.n_events)
    forward = pt.dot(weight, pytensor.gradient.pushforward(model.density, model.x, pt.constant(direction)))
    backward = pt.dot(direction, pt.grad(pt.dot(weight, model.density), model.x))
    one, other = pytensor.function([model.x], [forward, backward])(model.at)
    assert one == pytest.approx(other, rel=1e-10)


def test_shapes_are_inferred(model):
    shapes = pytensor.function([model.x], [model.density.shape, model.per_coefficient.shape])(model.at)
    assert shapes[0].tolist() == [model.tables.n_events]
    assert shapes[1].tolist() == [2, model.source.n_coefficients]


def test_values_are_those_without_a_graph(model):
    shape = replace(model.source.shape, **dict(zip(model.source.shape.parameters, model.at[:-2], strict=True)))
    expected = model.tables.density(shape, model.source.nominal * model.at[-1], model.at[-2])
    density, counts = pytensor.function([model.x], [model.density, model.per_coefficient])(model.at)
    np.testing.assert_allclose(density, expected, rtol=1e-10)
    np.testing.assert_allclose(counts, model.counts.per_coefficient(shape, model.at[-2]), rtol=1e-10)


@pytest.fixture(scope="module")
def gaussian():
    return Model(*SHAPES["Gaussian"])


def test_round_gaussian_has_a_finite_gradient(gaussian):
    gradient = pytensor.function([gaussian.x], pt.grad(gaussian.log_likelihood, gaussian.x))
    at = gaussian.at.copy()
    at[3] = 0.0
    assert np.all(np.isfinite(gradient(at)))
    assert gradient(at)[3] == pytest.approx(0, abs=1e-6 * np.abs(gradient(at)).max())
    at[2] = 0.0
    assert np.all(np.isfinite(gradient(at)))


def test_rows_of_each_observation(gaussian):
    theta = np.array(gaussian.source.shape.theta(), float)
    rows = np.stack([theta, theta])
    rows[1, 0] += 0.01
    rho = np.stack([gaussian.source.nominal, 2 * gaussian.source.nominal])
    found = live_density(rows, rho, gaussian.tables).eval()
    moved = replace(gaussian.source.shape, lon_0=rows[1, 0])
    first = gaussian.tables.density(gaussian.source.shape, gaussian.source.nominal)
    second = 2 * gaussian.tables.density(moved, gaussian.source.nominal)
    of_first = np.isin(np.arange(len(found)), gaussian.tables.arrays.place[gaussian.tables.arrays.observation == 0])
    np.testing.assert_allclose(found, np.where(of_first, first, second), rtol=1e-10)


def test_tables_have_no_gradient(gaussian):
    op = LiveDensity(gaussian.source.shape.family)
    inputs = [pt.matrix(), pt.matrix(), *table_inputs(gaussian.tables)]
    node = op.make_node(*inputs)
    cotangents = op.pullback(node.inputs, node.outputs, [pt.vector(), DisconnectedType()()])
    assert all(isinstance(one.type, NullType) for one in cotangents[2:-1])
    assert isinstance(cotangents[-1].type, DisconnectedType)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: pt.vector()}, "input 0 must have 2 dimensions"),
        ({2: pt.matrix()}, "events must be a float64 tensor with 3 dimensions"),
        ({5: pt.vector(dtype="float64")}, "numbers must be a float32 tensor"),
    ],
)
def test_inputs_are_checked(gaussian, change, message):
    inputs = [pt.matrix(), pt.matrix(), *table_inputs(gaussian.tables)]
    for k, value in change.items():
        inputs[k] = value
    with pytest.raises(TypeError, match=message):
        LiveDensity(gaussian.source.shape.family)(*inputs)
    with pytest.raises(TypeError, match="expected 2 variables and 11 tables"):
        LiveDensity(gaussian.source.shape.family)(*inputs[:-1])
    with pytest.raises(ValueError, match="a row for each of 2 observations"):
        live_density(np.ones((3, 6)), gaussian.source.nominal, gaussian.tables)


def test_ops_are_equal_by_family(gaussian):
    assert LiveDensity(GaussianShape.family) == LiveDensity(type(GaussianShape.family)())
    assert LiveDensity(GaussianShape.family) != LiveDensity(DiskShape.family)
    assert hash(LiveDensity(GaussianShape.family)) == hash(LiveDensity(type(GaussianShape.family)()))
