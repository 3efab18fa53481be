"""Parameters of live shapes, their limits, and tables of round profiles."""

import pickle
from itertools import pairwise

import astropy.units as u
import numpy as np
import pytensor.tensor as pt
import pytest
from gammapy.modeling.models import DiskSpatialModel, GaussianSpatialModel, ShellSpatialModel
from scipy import integrate, special

from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.live_shapes import DiskShape, GaussianShape, PointShape, ShellShape

SHAPES = [
    PointShape(1.0, 2.0),
    GaussianShape(1.0, 2.0, 0.3, 0.6, 40.0),
    DiskShape(1.0, 2.0, 0.3),
    ShellShape(1.0, 2.0, 0.3, 0.1),
]
BY_NAME = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)


@BY_NAME
def test_numbers_and_variables_give_the_same(shape):
    variables = {name: pt.constant(float(value)) for name, value in shape.parameters.items()}
    found = pt.stack([pt.as_tensor_variable(one) for one in type(shape)(**variables).theta(1.1)]).eval()
    np.testing.assert_allclose(found, np.array(shape.theta(1.1), float), rtol=1e-12)


@BY_NAME
def test_the_reference_lies_within_its_limits(shape):
    limits = shape.limits()
    for name, (low, high) in limits.items():
        assert low <= shape.parameters[name] <= high
    low, high, _ = shape.sizes(limits)
    assert low <= high
    largest = shape.largest(limits)
    assert shape.family.extent(np.array(largest.own)) >= shape.family.extent(np.array(shape.own))


@BY_NAME
def test_transforms_begin_at_one(shape):
    wave = np.array([0.0, 1e-3, 1.0, 30.0])
    found = shape.family.transform(wave, 0.2)
    assert found[0] == pytest.approx(1)
    assert found[1] == pytest.approx(1, abs=1e-6)
    assert np.all(np.abs(found) <= 1)


def test_a_gaussian_has_gammapys_axes():
    shape = GaussianShape(0.0, 0.0, 0.3, 0.8, 30.0)
    model = GaussianSpatialModel(lon_0="0 deg", lat_0="0 deg", sigma="0.3 deg", e=0.8, phi="30 deg", frame="galactic")
    major, minor, turn = shape.own
    rng = np.random.default_rng(1)
    lon, lat = rng.normal(size=(2, 40)) * 0.3
    across, along = np.cos(turn) * lon - np.sin(turn) * lat, np.sin(turn) * lon + np.cos(turn) * lat
    expected = model.evaluate(lon * u.deg, lat * u.deg, 0 * u.deg, 0 * u.deg, 0.3 * u.deg, 0.8, 30 * u.deg).to_value(
        "deg-2"
    )
    found = np.exp(-0.5 * (along**2 / major + across**2 / minor)) / (2 * np.pi * np.sqrt(major * minor))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def brightness(shape, distance):
    """Sum of the terms of a round shape, deg-2."""
    total = np.zeros_like(distance)
    for radius, amplitude in np.reshape(shape.own[1:], (-1, 2)):
        y = np.sqrt(np.maximum(1 - (distance / radius) ** 2, 0))
        total += amplitude * np.where(y > 0, shape.family.brightness(y), 0) / radius**2
    return total


def test_discs_and_shells_are_gammapys():
    distance = np.array([0.0, 0.1, 0.25, 0.31, 0.38, 0.45])
    at = (distance * u.deg, 0 * u.deg, 0 * u.deg, 0 * u.deg)
    shell = ShellShape(0.0, 0.0, 0.3, 0.1)
    expected = ShellSpatialModel.evaluate(*at, 0.3 * u.deg, 0.1 * u.deg).to_value("deg-2")
    np.testing.assert_allclose(brightness(shell, distance), expected, rtol=1e-9)
    disc = DiskShape(0.0, 0.0, 0.3)
    sharp = DiskSpatialModel.evaluate(*at, 0.3 * u.deg, 0, 0 * u.deg, 1e-6 * u.one).to_value("deg-2")
    np.testing.assert_allclose(brightness(disc, distance), sharp, rtol=1e-4)


def convolved(shape, distance, width):
    """A round brightness convolved with a Gaussian, by adaptive quadrature, deg-2."""

    def integrand(r):
        bessel = special.i0e(distance * r / width**2)
        gaussian = np.exp(-0.5 * ((distance - r) / width) ** 2) / width**2
        return brightness(shape, np.array([r]))[0] * r * gaussian * bessel

    radii = sorted({0.0, *shape.own[1::2]})
    points = np.clip([distance - 4 * width, distance, distance + 4 * width], 0, radii[-1])
    edges = np.unique([*radii, *points])
    return sum(integrate.quad(integrand, *ends, epsabs=0, epsrel=1e-10, limit=200)[0] for ends in pairwise(edges))


@pytest.mark.parametrize("shape", [DiskShape(0.0, 0.0, 0.3), ShellShape(0.0, 0.0, 0.2, 0.1)], ids=["disc", "shell"])
@pytest.mark.parametrize("width", [0.005, 0.02, 0.08, 0.4, 3.0])
def test_table_of_a_profile(shape, width):
    distance = np.array([0.0, 0.05, 0.15, 0.21, 0.29, 0.31, 0.3 + 2 * width, 0.3 + 5 * width])
    distance = distance[distance < 0.3 + 6 * width]
    found, _, _ = shape.family.seen(np.array(shape.own, float), distance, 0 * distance, np.array([width**2]))
    expected = [np.log(convolved(shape, d, width)) for d in distance]
    np.testing.assert_allclose(found[:, 0], expected, atol=4e-5)


@pytest.mark.parametrize("shape", [DiskShape(0.0, 0.0, 0.3), ShellShape(0.0, 0.0, 0.2, 0.1)], ids=["disc", "shell"])
def test_posterior_mean_is_tweedies(shape):
    width, distance, step = 0.1, 0.25, 1e-4
    own = np.array(shape.own, float)
    _, _, mean = shape.family.seen(own, np.zeros(1), np.array([distance]), np.array([width**2]))
    around = [np.log(convolved(shape, distance + h, width)) for h in (-step, step)]
    assert mean.item() == pytest.approx(distance + width**2 * (around[1] - around[0]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (GaussianShape, {"sigma": -0.1}, "GaussianShape needs sigma of at least 0 deg, got -0.1"),
        (GaussianShape, {"sigma": 0.1, "e": 1.2}, "GaussianShape needs e between 0 and 1, got 1.2"),
        (GaussianShape, {"sigma": 0.1, "phi": np.nan}, "GaussianShape: phi must be finite, got nan"),
        (PointShape, {"lon_0": np.inf}, "PointShape: lon_0 must be finite, got inf"),
        (DiskShape, {"r_0": 0.0}, "DiskShape needs r_0 of more than 0 deg, got 0.0"),
        (ShellShape, {"radius": -1.0, "width": 0.1}, "ShellShape needs radius of more than 0 deg, got -1.0"),
        (ShellShape, {"radius": 1.0, "width": 0.0}, "ShellShape needs width of more than 0 deg, got 0.0"),
    ],
)
def test_numbers_without_meaning(kind, parameters, message):
    with pytest.raises(SkyModelError, match=message):
        kind(**{"lon_0": 1.0, "lat_0": 2.0, **parameters})


def test_families_are_keys_without_their_tables():
    family = DiskShape.family
    bare = pickle.dumps(type(family)())
    assert family.profile.size > 0
    assert pickle.dumps(family) == bare
    assert pickle.loads(bare) == family
    assert family != ShellShape.family
