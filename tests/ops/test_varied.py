"""Densities under a response with a parameter: values between nodes, derivatives, back ends."""

import importlib.util

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import NullTypeGradError

from pymc_gamma.ops.varied import VariedDensity, VariedPull, polynomial_at, varied_types
from pymc_gamma.ops.varied_kernels import VariedArrays
from pymc_gamma.ops.varied_tables import Runs, VariedTables, basis, polynomials, varied_nodes

BACK_ENDS = ["NUMBA", "FAST_COMPILE"]
if importlib.util.find_spec("jax"):
    BACK_ENDS.append("JAX")

N, COEFFICIENTS = 300, 24
SPAN = (np.log(0.55), np.log(1.45))
POINTS = [SPAN[0], -0.3, -0.04, 0.0, 0.11, SPAN[1]]


class Source:
    """A point source whose PSF narrows with energy: one Gaussian at each node, exact for any scale."""

    def __init__(self, rng, few=False):
        self.r2 = rng.exponential(2 * 0.1**2, N) * np.linspace(0.2, 3, N)
        self.first = np.zeros(N, np.int64) if few else rng.integers(0, COEFFICIENTS - 9, N)
        self.length = np.ones(N, np.int64) if few else rng.integers(3, 9, N)
        self.pointer = np.concatenate([[0], np.cumsum(self.length)])
        self.event = np.repeat(np.arange(N), self.length)
        self.place = np.arange(self.pointer[-1]) - self.pointer[self.event]
        self.node = self.first[self.event] + self.place
        self.response = rng.uniform(0.1, 1.0, len(self.event))
        self.spectrum = np.exp(-0.1 * np.arange(COEFFICIENTS))[: 1 if few else None]

    def runs(self, x):
        variance = np.exp(2 * x) * 0.1**2 * np.exp(-0.03 * self.node)
        values = self.response * np.exp(-self.r2[self.event] / (2 * variance)) / variance
        return Runs(values, self.pointer, self.first)

    def densities(self, x, v):
        return np.bincount(self.event, self.runs(x).values * v[self.node], N)

    def tables(self, n=9):
        nodes = varied_nodes(*SPAN, n)
        return VariedTables.build(nodes, SPAN, self.runs(0.0), lambda g: self.runs(nodes[g]), self.spectrum)


@pytest.fixture
def source(rng):
    return Source(rng)


def inputs(tables):
    variables = [
        pytensor.shared(np.asarray(one), shape=(None,) * np.ndim(one)) for one in (*tables.arrays, tables.n_events)
    ]
    for k, one in enumerate(tables.arrays):
        if np.ndim(one) == 2:
            variables[k] = pt.specify_shape(variables[k], (one.shape[0], None))
    variables[-1] = pt.constant(np.asarray(tables.n_events, np.int64))
    assert [one.type.dtype for one in variables] == [kind.dtype for kind in varied_types()]
    return variables


def test_a_polynomial_goes_through_its_nodes_and_is_zero_at_zero():
    nodes = varied_nodes(*SPAN, 7)
    assert np.all(np.diff(nodes) > 0)
    assert np.all((nodes > SPAN[0]) & (nodes < SPAN[1]) & (nodes != 0))
    values = np.sin(3 * nodes) * np.array([[1.0], [2.0]])
    found = polynomials(nodes, SPAN, values)
    np.testing.assert_allclose(basis(nodes, SPAN, 7) @ found.T, values.T, atol=1e-13)
    at = pt.dscalar()
    function = pytensor.function([at], polynomial_at(at, SPAN, found), mode="FAST_COMPILE")
    np.testing.assert_allclose(function(0.1), np.sin(0.3) * np.array([1, 2]), atol=1e-5)
    assert np.all(function(0.0) == 0)


def test_a_node_at_zero_is_moved():
    assert np.all(varied_nodes(-0.3, 0.3, 9) != 0)


@pytest.mark.parametrize("mode", BACK_ENDS)
def test_values(source, mode):
    """Exact for the spectrum that the tables know, near it for others."""
    x, v = pt.dscalar(), pt.dvector()
    function = pytensor.function([x, v], VariedDensity()(x, v, *inputs(source.tables())), mode=mode)
    harder = source.spectrum * np.exp(0.05 * np.arange(COEFFICIENTS))
    for at in POINTS:
        np.testing.assert_allclose(function(at, source.spectrum), source.densities(at, source.spectrum), rtol=2e-5)
        np.testing.assert_allclose(function(at, harder), source.densities(at, harder), rtol=2e-3)
    np.testing.assert_allclose(function(0.0, harder), source.densities(0.0, harder), rtol=1e-6)


def test_more_nodes_are_nearer(source):
    def error(n):
        x, v = pt.dscalar(), pt.dvector()
        op = VariedDensity()(x, v, *inputs(source.tables(n)))
        function = pytensor.function([x, v], op, mode="FAST_COMPILE")
        expected = [source.densities(at, source.spectrum) for at in POINTS]
        return max(
            np.max(np.abs(np.log(function(at, source.spectrum) / one)))
            for at, one in zip(POINTS, expected, strict=True)
        )

    errors = [error(n) for n in (4, 6, 8)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


@pytest.mark.parametrize("mode", BACK_ENDS)
@pytest.mark.parametrize("few", [False, True], ids=["free spectrum", "fixed spectrum"])
def test_derivatives(rng, mode, few):
    """First and second, of a log likelihood beside a background, against finite differences of NumPy's own."""
    source = Source(rng, few)
    x, v = pt.dscalar(), pt.dvector()
    weights = np.linspace(0.5, 1.5, N)
    value = pt.sum(weights * pt.log(VariedDensity()(x, v, *inputs(source.tables())) + 0.3))
    slopes = pt.grad(value, [x, v])
    along = np.linspace(-1, 1, len(source.spectrum))
    directional = slopes[0] + pt.dot(slopes[1], along)
    second = pt.grad(directional, [x, v])
    function = pytensor.function([x, v], [value, *slopes, *second], mode=mode)
    given = pytensor.function([x, v], value, mode="FAST_COMPILE")
    h = 1e-5
    for at in (-0.3, 0.07):
        _, slope_x, slope_v, second_x, second_v = function(at, source.spectrum)

        def changed(t, at=at):
            """Slope along the direction (1, along) by central differences."""
            here = at + t, source.spectrum + t * along
            return (given(here[0] + h, here[1] + h * along) - given(here[0] - h, here[1] - h * along)) / (2 * h)

        directional_slope = slope_x + slope_v @ along
        assert directional_slope == pytest.approx(changed(0.0), rel=1e-6)
        step = 1e-3
        curvature = (changed(step) - changed(-step)) / (2 * step)
        assert second_x + second_v @ along == pytest.approx(curvature, rel=2e-4)


def test_events_out_of_reach_are_dark(source):
    far = source.r2.copy()
    source.r2[:7] = 50.0
    op = VariedDensity()(pt.constant(0.1), pt.constant(source.spectrum), *inputs(source.tables()))
    found = op.eval()
    assert np.all(found[:7] == 0)
    assert np.all(found[7:] > 0)
    assert len(far) == len(found)


def test_events_that_only_wide_psfs_reach(source):
    """Dark at the nominal width: not lost, and as faint there as their neighbours let expect."""
    nodes = varied_nodes(*SPAN, 7)
    reach = 0.02

    def runs(x):
        found = source.runs(x)
        outside = (source.r2 > reach * np.exp(2 * x))[source.event]
        return Runs(np.where(outside, 0.0, found.values), found.pointer, found.column)

    tables = VariedTables.build(nodes, SPAN, runs(0.0), lambda g: runs(nodes[g]), source.spectrum)
    x, v = pt.dscalar(), pt.dvector()
    function = pytensor.function([x, v], VariedDensity()(x, v, *inputs(tables)), mode="FAST_COMPILE")
    wide = nodes[-1]
    seen = source.r2 < reach * np.exp(2 * wide)
    dark = seen & (source.r2 > reach)
    assert dark.any()
    expected = source.densities(wide, source.spectrum)
    np.testing.assert_allclose(function(wide, source.spectrum)[seen], expected[seen], rtol=1e-4)
    at_zero = np.log(function(0.0, source.spectrum)[dark] / source.densities(0.0, source.spectrum)[dark])
    assert np.all(np.abs(at_zero) < 1)
    assert np.all(function(wide, source.spectrum)[~seen] == 0)


def test_a_band_whose_spectrum_is_dark_counts(source):
    """Coefficients that the spectrum near the truth does not have may be free to shine."""
    source.spectrum[:20] = 0.0
    found = VariedDensity()(pt.constant(0.1), pt.ones(COEFFICIENTS), *inputs(source.tables())).eval()
    np.testing.assert_allclose(found, source.densities(0.1, np.ones(COEFFICIENTS)), rtol=5e-3)


def test_interpolation_does_not_overshoot():
    """Densities with noise near zero, as of rasters: nothing is brighter between the nodes."""
    rng = np.random.default_rng(5)
    nodes = varied_nodes(*SPAN, 9)
    pointer, column = np.arange(N + 1), np.zeros(N, np.int64)
    noise = np.maximum(rng.normal(size=(9, N)) * 1e-9, 0.0)
    noise[:, 0] = 1.0
    nominal = Runs(np.maximum(rng.normal(size=N) * 1e-9, 0.0) + (np.arange(N) == 0), pointer, column)
    tables = VariedTables.build(nodes, SPAN, nominal, lambda g: Runs(noise[g], pointer, column), np.ones(1))
    x = pt.dscalar()
    function = pytensor.function([x], VariedDensity()(x, pt.ones(1), *inputs(tables)), mode="FAST_COMPILE")
    for at in np.linspace(*SPAN, 60):
        found = function(at)
        assert np.all(np.isfinite(found))
        assert found[1:].max() < 1e-6


def test_third_derivatives_and_tables_have_no_gradient(source):
    x, v = pt.dscalar(), pt.constant(source.spectrum)
    tables = inputs(source.tables())
    value = pt.sum(VariedDensity()(x, v, *tables))
    second = pt.grad(pt.grad(value, x), x)
    with pytest.raises((NullTypeGradError, NotImplementedError)):
        pt.grad(second, x)
    level = pt.fmatrix()
    tables[5] = pt.specify_shape(level, (9, None))
    with pytest.raises(NullTypeGradError):
        pt.grad(pt.sum(VariedDensity()(x, v, *tables)), level)


def test_bad_inputs(source):
    tables = inputs(source.tables())
    with pytest.raises(TypeError, match="input 0 must be a float64 tensor with 0"):
        VariedDensity()(pt.dvector(), pt.dvector(), *tables)
    with pytest.raises(TypeError, match="pointer must be a int64"):
        VariedDensity()(pt.dscalar(), pt.dvector(), *tables[:2], pt.dvector(), *tables[3:])
    with pytest.raises(TypeError, match="input 1"):
        VariedPull(0)(pt.dscalar(), pt.dmatrix(), pt.dvector(), *tables)


def test_no_events():
    empty = Runs(np.empty(0), np.zeros(1, np.int64), np.empty(0, np.int64))
    nodes = varied_nodes(*SPAN, 5)
    tables = VariedTables.build(nodes, SPAN, empty, lambda g: empty, np.ones(3))
    assert isinstance(tables.arrays, VariedArrays)
    assert VariedDensity()(pt.constant(0.1), pt.ones(3), *inputs(tables)).eval().shape == (0,)
