"""Log densities at nodes and the cubics between them: accuracy, zeros, bad input, the report on a grid."""

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline, CubicSpline, RectBivariateSpline

from pymc_gamma.errors import ModelError
from pymc_gamma.ops.scan_kernels import densities
from pymc_gamma.ops.scan_tables import LOG_ZERO, ScanTables, grid_error

SIGMA = np.linspace(0.24, 0.36, 21)


@pytest.fixture
def distance(rng):
    """Distances from the centre of a Gaussian source of width 0.3."""
    return np.hypot(*rng.normal(0, 0.3, (2, 4500)))


def log_gaussian(distance, sigma):
    """Logarithm of the density of events, shape (N, ...), at widths of any shape."""
    r2 = np.square(distance).reshape(-1, *[1] * np.ndim(sigma))
    return -r2 / (2 * np.square(sigma)) - 2 * np.log(sigma) - np.log(2 * np.pi)


def density(tables, *x):
    return densities(tables.table, *tables.padded_nodes, np.array(x, float))[0]


def midpoints(nodes):
    return (nodes[1:] + nodes[:-1]) / 2


def test_log_likelihood_of_a_gaussian_source_between_nodes(distance):
    tables = ScanTables.build(SIGMA, log_gaussian(distance, SIGMA))
    background = 0.2
    for sigma in midpoints(SIGMA):
        exact, found = np.exp(log_gaussian(distance, sigma)), density(tables, sigma)
        assert abs(np.log(found).sum() - np.log(exact).sum()) < 0.01
        assert abs(np.log(0.3 * found + background).sum() - np.log(0.3 * exact + background).sum()) < 0.01


def test_nodes_are_met_exactly(distance):
    tables = ScanTables.build(SIGMA, log_gaussian(distance, SIGMA))
    for sigma in SIGMA:
        np.testing.assert_allclose(density(tables, sigma), np.exp(log_gaussian(distance, sigma)), rtol=1e-12)


def test_a_polynomial_of_degree_six_has_its_own_slopes(rng):
    """Then the interpolant is the Hermite cubic of the exact values and slopes, on nodes that are not even."""
    nodes = np.cumsum(rng.uniform(0.5, 1.0, 9))
    coefficients = rng.normal(size=(7, 5)) * 1e-5
    powers = np.vander(nodes, 7, increasing=True)
    slopes = np.column_stack([np.zeros(9), *(k * nodes ** (k - 1) for k in range(1, 7))])
    expected = CubicHermiteSpline(nodes, powers @ coefficients, slopes @ coefficients)
    tables = ScanTables.build(nodes, (powers @ coefficients).T)
    for x in rng.uniform(nodes[0], nodes[-1], 30):
        np.testing.assert_allclose(tables.log_values(x), expected(x), rtol=1e-10)


def test_better_than_a_spline_that_scipy_makes(distance):
    """Not-a-knot splines of two continuous derivatives are worse near the edges, and as good within."""
    logs = log_gaussian(distance, SIGMA)
    spline, tables = CubicSpline(SIGMA, logs.T), ScanTables.build(SIGMA, logs)
    exact = log_gaussian(distance, midpoints(SIGMA))
    own, other = (
        np.abs(np.column_stack([found(sigma) for sigma in midpoints(SIGMA)]) - exact).max(axis=0)
        for found in (tables.log_values, spline)
    )
    assert own.max() < other.max() / 3
    assert np.all(own[4:-4] < 1.5 * other[4:-4])


def test_fourth_order():
    """Half the spacing, a sixteenth of the error."""
    errors = []
    for n in (11, 21, 41):
        nodes = np.linspace(1.0, 2.0, n)
        tables = ScanTables.build(nodes, -2 * np.log(nodes)[None])
        x = np.linspace(1.2, 1.8, 101)
        errors.append(max(abs(tables.log_values(one)[0] + 2 * np.log(one)) for one in x))
    ratios = np.divide(errors[:-1], errors[1:])
    assert np.all((ratios > 12) & (ratios < 20))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_nodes_give_the_polynomial_through_them(n):
    """Up to a cubic; two nodes a line."""
    nodes = np.array([0.0, 1.0, 2.5, 3.0])[:n]
    polynomial = np.polynomial.Polynomial([0.3, -0.2, 0.5, -0.1][:n])
    tables = ScanTables.build(nodes, polynomial(nodes)[None])
    for x in np.linspace(0, nodes[-1], 13):
        assert tables.log_values(x)[0] == pytest.approx(polynomial(x), rel=1e-12)


def test_the_unit(distance, rng):
    logs, scale = log_gaussian(distance, SIGMA), rng.normal(size=4500) * 30
    plain, scaled = ScanTables.build(SIGMA, logs), ScanTables.build(SIGMA, logs, scale)
    np.testing.assert_allclose(density(scaled, 0.311), density(plain, 0.311) / np.exp(scale), rtol=1e-10)


def test_outside_of_the_nodes_the_edge_counts(distance):
    tables = ScanTables.build(SIGMA, log_gaussian(distance, SIGMA))
    for sigma, edge in ((0.1, SIGMA[0]), (2.0, SIGMA[-1])):
        values, slopes = densities(tables.table, *tables.padded_nodes, np.array([sigma]))
        np.testing.assert_array_equal(values, density(tables, edge))
        assert not slopes.any()


def test_two_parameters(distance):
    """Against scipy's tensor product, and the truth: a source of another width and a tilt of its density."""
    tilt = np.linspace(-1.0, 1.0, 9)
    rows = distance[:300]

    def logs(sigma, tilt):
        return log_gaussian(rows, sigma) + np.log1p(0.3 * rows[:, None] * tilt + 0.3 * tilt**2 * sigma)

    table = np.stack([logs(np.full(9, one), tilt) for one in SIGMA], axis=1)
    tables = ScanTables.build([SIGMA, tilt], table)
    splines = [RectBivariateSpline(SIGMA, tilt, own, s=0) for own in table[:5]]
    for sigma, t in zip(midpoints(SIGMA)[2:-2], np.tile(midpoints(tilt)[1:-1], 3), strict=False):
        found = tables.log_values(sigma, t)
        np.testing.assert_allclose(found[:5], [one(sigma, t)[0, 0] for one in splines], atol=2e-4)
        np.testing.assert_allclose(found, logs(np.array([sigma]), t)[:, 0], atol=2e-5)


def test_one_parameter_of_two_that_does_nothing(distance):
    logs = log_gaussian(distance, SIGMA)
    one, two = ScanTables.build(SIGMA, logs), ScanTables.build([SIGMA, [1.0, 2.0, 7.0]], np.stack([logs] * 3, axis=2))
    np.testing.assert_allclose(two.log_values(0.3123, 4.4), one.log_values(0.3123), rtol=1e-12)
    swapped = ScanTables.build([[1.0, 2.0, 7.0], SIGMA], np.stack([logs] * 3, axis=1))
    np.testing.assert_allclose(swapped.log_values(4.4, 0.3123), one.log_values(0.3123), rtol=1e-12)


def rough(rng, shape):
    """Log densities that jump by hundreds from node to node, a third of them -inf."""
    jumps = rng.choice([0.0, -3.0, -30.0, -300.0], shape) * rng.random(shape)
    return np.where(rng.random(shape) < 0.3, -np.inf, jumps)


@pytest.mark.parametrize("even", [True, False])
def test_zeros_and_jumps_are_not_overshot(rng, even):
    """The density never exceeds its larger neighbour by more than exp(8 c/27), whatever the table."""
    for n in (2, 3, 5, 12):
        nodes = np.arange(n) if even else np.cumsum(rng.uniform(0.05, 1.0, n))
        logs = rough(rng, (200, n))
        tables = ScanTables.build(nodes, logs)
        for x in rng.uniform(nodes[0], nodes[-1], 50):
            k = min(np.searchsorted(nodes, x, side="right") - 1, n - 2)
            found = tables.log_values(x)
            assert np.all(np.isfinite(found))
            assert np.max(found - np.maximum(logs[:, k : k + 2].max(axis=1), LOG_ZERO)) <= 32 / 27 + 1e-9


@pytest.mark.parametrize("even", [True, False])
def test_zeros_and_jumps_of_two_parameters(rng, even):
    for n, m in ((2, 2), (2, 7), (5, 4), (9, 9)):
        first, second = (np.arange(k) if even else np.cumsum(rng.uniform(0.05, 1.0, k)) for k in (n, m))
        logs = rough(rng, (200, n, m))
        tables = ScanTables.build([first, second], logs)
        for x, y in zip(rng.uniform(first[0], first[-1], 50), rng.uniform(second[0], second[-1], 50), strict=True):
            k = min(np.searchsorted(first, x, side="right") - 1, n - 2)
            j = min(np.searchsorted(second, y, side="right") - 1, m - 2)
            found = tables.log_values(x, y)
            corners = logs[:, k : k + 2, j : j + 2].max(axis=(1, 2))
            assert np.max(found - np.maximum(corners, LOG_ZERO)) < 4.0  # a factor, not orders of magnitude


def test_zero_density():
    """Zero where both neighbours are, tiny on the way, the density itself beyond; events are on their own."""
    nodes = np.arange(6.0)
    logs = np.array([[-np.inf, -np.inf, -np.inf, -2.0, -1.0, 0.0], [-3.0, -2.5, -2.0, -1.5, -1.0, -0.5]])
    tables = ScanTables.build(nodes, logs)
    values = np.array([density(tables, x) for x in (0.5, 1.0, 1.9, 2.0, 2.5, 3.0, 4.5)])
    assert np.all(values[:4, 0] == 0.0)
    assert 0 < values[4, 0] < 1e-100
    np.testing.assert_allclose(values[5:, 0], np.exp([-2.0, -0.5]), rtol=1e-10)
    np.testing.assert_allclose(
        values[:, 1], np.exp(-3 + 0.5 * np.array([0.5, 1.0, 1.9, 2.0, 2.5, 3.0, 4.5])), rtol=1e-10
    )


def test_zero_density_at_a_node_leaves_the_rest_accurate():
    """Next to it slopes are of third order, beyond of seventh."""
    nodes, distance = np.linspace(0.2, 0.4, 11), np.array([0.1, 0.6, 0.9])
    logs = log_gaussian(distance, nodes)
    logs[:, 0] = -np.inf
    tables = ScanTables.build(nodes, logs)
    errors = np.stack([np.abs(tables.log_values(x) - log_gaussian(distance, x)) for x in midpoints(nodes)])
    assert errors[1].max() < 0.05
    assert errors[2:4].max() < 2e-3
    assert errors[4:].max() < 5e-5


def test_events_without_any_density():
    assert not density(ScanTables.build([1.0, 2.0], np.full((3, 2), -np.inf)), 1.5).any()


def test_nan_parameters_give_nan(distance):
    tables = ScanTables.build(SIGMA, log_gaussian(distance, SIGMA))
    values, slopes = densities(tables.table, *tables.padded_nodes, np.array([np.nan]))
    assert np.isnan(values).all()
    assert np.isnan(slopes).all()


def test_the_exponential(rng):
    """Against numpy's, over the whole range; 0 and inf beyond."""
    logs = np.concatenate([rng.uniform(-707, 709, 5000), [0.0, -1e-20, 1e-300, -708.5, -1e4, 709.5, 1e4]])
    values = densities(np.stack([logs, np.zeros_like(logs)] * 2), np.array([0.0, 1.0]), np.empty(0), np.array([0.0]))[0]
    np.testing.assert_allclose(values[:5003], np.exp(logs[:5003]), rtol=1e-15)
    assert values[5003:].tolist() == [0.0, 0.0, np.inf, np.inf]


@pytest.mark.parametrize(
    ("nodes", "logs", "told"),
    [
        ([1.0], np.zeros((3, 1)), "at least 2 ascending"),
        ([[1.0, 2.0], [3.0]], np.zeros((3, 2, 1)), "at least 2 ascending"),
        ([1.0, 3.0, 2.0], np.zeros((3, 3)), "must be ascending, got 3 before 2"),
        ([1.0, 1.0, 2.0], np.zeros((3, 3)), "must be ascending, got 1 before 1"),
        ([1.0, np.nan], np.zeros((3, 2)), "must be finite"),
        ([1.0, 2.0], np.zeros((3, 3)), r"shape \(events, 2\), got \(3, 3\)"),
        ([1.0, 2.0], np.zeros(2), r"shape \(events, 2\), got \(2,\)"),
        ([[1.0, 2.0], [1.0, 2.0, 3.0]], np.zeros((3, 3, 2)), r"shape \(events, 2, 3\), got"),
        ([[1.0, 2.0]] * 3, np.zeros((3, 2, 2, 2)), "one or two parameters, got nodes of 3"),
        ([1.0, 2.0], np.array([[0.0, 0.0], [0.0, np.nan]]), "those of event 1 hold NaN or inf"),
        ([1.0, 2.0], np.array([[0.0, np.inf]]), "those of event 0 hold NaN or inf"),
    ],
)
def test_bad_input(nodes, logs, told):
    with pytest.raises(ValueError, match=told):
        ScanTables.build(nodes, logs)


@pytest.mark.parametrize("scale", [np.zeros(2), np.array([0.0, np.nan, 0.0]), np.inf])
def test_bad_scales(scale):
    with pytest.raises(ModelError, match="scales of log densities must be finite, one of each of 3 events"):
        ScanTables.build([1.0, 2.0], np.zeros((3, 2)), scale)


def test_the_report_on_a_grid(distance):
    """What it says is the error of the coarser grid, and sixteen times that of the grid."""
    nodes = np.linspace(0.2, 0.4, 13)
    logs = log_gaussian(distance, nodes)
    change, left_out = grid_error(nodes, logs)
    np.testing.assert_array_equal(left_out, np.arange(13) % 2 == 1)
    assert not change[~left_out].any()
    coarse = ScanTables.build(nodes[::2], logs[:, ::2])
    expected = [coarse.log_values(x).sum() - log_gaussian(distance, x).sum() for x in nodes[1::2]]
    np.testing.assert_allclose(change[1::2], expected, rtol=1e-6)
    fine = ScanTables.build(nodes, logs)
    own = [fine.log_values(x).sum() - log_gaussian(distance, x).sum() for x in midpoints(nodes)]
    assert 10 < np.mean(change[5:8:2]) / np.mean(own[4:8]) < 25


def test_the_report_with_multiplicities_and_the_rest(distance):
    nodes = np.linspace(0.2, 0.4, 9)
    logs = log_gaussian(distance, nodes)
    counts = np.arange(4500) % 3
    change, _ = grid_error(nodes, logs, counts, np.full(4500, np.log(0.7)))
    coarse = ScanTables.build(nodes[::2], logs[:, ::2])
    for k in (1, 5):
        found, exact = np.exp(coarse.log_values(nodes[k])) + 0.7, np.exp(log_gaussian(distance, nodes[k])) + 0.7
        assert change[k] == pytest.approx(counts @ np.log(found / exact), rel=1e-6)


def test_the_report_of_two_parameters_keeps_the_last_node(distance):
    """An even number of nodes, an axis of two, and densities of zero: all finite, small where all is smooth."""
    nodes = [np.linspace(0.29, 0.31, 6), np.array([0.0, 1.0])]
    logs = np.stack([log_gaussian(distance, nodes[0])] * 2, axis=2)
    change, left_out = grid_error(nodes, logs)
    assert left_out[:, 0].tolist() == [False, True, False, True, False, False]
    assert np.abs(change).max() < 0.01
    logs[0, 1] = logs[1, :] = -np.inf
    assert np.all(np.isfinite(grid_error(nodes, logs)[0]))


def test_a_report_needs_a_node_to_leave_out():
    with pytest.raises(ModelError, match="three nodes or more"):
        grid_error([1.0, 2.0], np.zeros((3, 2)))
    with pytest.raises(ModelError, match=r"shape \(events, 3\), got"):
        grid_error([1.0, 2.0, 3.0], np.zeros((3, 2)))
    with pytest.raises(ModelError, match="one entry for each of 3 events"):
        grid_error([1.0, 2.0, 3.0], np.zeros((3, 3)), np.ones(2))
