"""Coefficients of spectra inside a model: values, derivatives, back ends."""

import importlib.util

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad

from pymc_gamma.folding.free import hat_coefficients
from pymc_gamma.ops import hat_kernels
from pymc_gamma.ops.hats import HatMap, hat_map

BACK_ENDS = ["NUMBA", "FAST_COMPILE"]
if importlib.util.find_spec("jax"):
    BACK_ENDS.append("JAX")

ENERGY = np.geomspace(0.1, 100, 40)
BOUNDS = np.array([0, 25, 38, 39, 40])
"""The last two nodes are runs by themselves, which nothing corrects."""


@pytest.fixture
def flux(rng):
    """A smooth spectrum with a line in it, and one of noise: both sides of the limit, and just beyond and within it."""
    values = ENERGY**-2.3
    values[12] *= 30
    values[17:24] = [4.1, 1.0, 4.1, 1.0, 3.9, 1.0, 3.9]  # second differences of 6.2 and 5.8; the limit is 6
    values[25:] *= rng.random(15)
    return values


def expected(flux, index):
    return np.concatenate(
        [hat_coefficients(flux[a:b], ENERGY[a:b], index) for a, b in ((0, 25), (25, 38))]
        + [flux[38:] * ENERGY[38:] ** index]
    )


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("index", [2.5, 0.0])
def test_values(flux, index, mode):
    x = pt.vector("x", shape=(40,))
    function = pytensor.function([x], hat_map(x, x, pt.constant(ENERGY**index), pt.constant(BOUNDS)), mode=mode)
    np.testing.assert_allclose(function(flux), expected(flux, index), rtol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_derivatives(flux, rng, transposed):
    scale, bounds, op = pt.constant(ENERGY**0.5), pt.constant(BOUNDS), HatMap(transposed)
    verify_grad(lambda x: op(pt.constant(flux), x, scale, bounds), [rng.random(40)], rng=rng, mode="FAST_COMPILE")


@pytest.mark.parametrize("mode", BACK_ENDS)
def test_transpose(flux, rng, mode):
    x, y = pt.vector("x", shape=(40,)), pt.vector("y", shape=(40,))
    scale, bounds = pt.constant(ENERGY**2.5), pt.constant(BOUNDS)
    products = [
        pt.dot(y, HatMap(False)(pt.constant(flux), x, scale, bounds)),
        pt.dot(x, HatMap(True)(pt.constant(flux), y, scale, bounds)),
    ]
    first, second = pytensor.function([x, y], products, mode=mode)(rng.random(40), rng.random(40))
    assert float(first) == pytest.approx(float(second), rel=1e-10)


def test_gradient_of_a_model(flux):
    """Along the spectrum itself the map is homogeneous: the directional derivative is the value."""
    x = pt.vector("x", shape=(40,))
    value = hat_map(x, x, pt.constant(ENERGY**2.5), pt.constant(BOUNDS)).sum()
    function = pytensor.function([x], [value, pt.dot(pt.grad(value, x), x)], mode="FAST_COMPILE")
    total, along = function(flux)
    assert along == pytest.approx(total, rel=1e-12)


def test_bad_input():
    with pytest.raises(TypeError, match="must be vectors"):
        hat_map(np.ones((2, 2)), np.ones(4), np.ones(4), np.array([0, 4]))


@pytest.mark.parametrize("transposed", [False, True])
def test_the_map_does_not_depend_on_where_its_arrays_lie(transposed, rng):
    at = np.exp(-0.03 * np.arange(172)) * rng.uniform(1, 1.01, 172)
    inputs, bounds = (at, rng.uniform(0.5, 1.5, 172), rng.uniform(0.5, 1.5, 172)), np.array([0, 151, 172])
    found, between = set(), []
    for size in rng.integers(1, 3000, 5000):
        copies = [one.copy() for one in inputs]
        between = [*between[-50:], np.empty(size, np.uint8)]
        found.add(hat_kernels.hat_map(*copies, bounds, transposed).tobytes())
    assert len(found) == 1
