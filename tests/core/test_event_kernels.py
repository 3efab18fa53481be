"""Kernels of the likelihood on few events, against NumPy with the same table written out in full."""

import math
from decimal import Decimal, localcontext
from itertools import pairwise

import numba as nb
import numpy as np
import pytest
from kernel_inputs import described

from pymc_gamma.folding.free import hat_coefficients
from pymc_gamma.ops import block_kernels, hat_kernels, kernels, log_kernels, tile_kernels
from pymc_gamma.ops.layout import BLOCK, Tiles, to_blocks
from pymc_gamma.ops.rare_kernels import RARE
from pymc_gamma.ops.tiles import to_tiles

N_EVENTS = BLOCK + 9


def callable_from_python(part):
    """What only kernels call has no way in from Python."""
    return nb.njit(lambda *arguments: part(*arguments))


log_and_weights, sum_log_and_reciprocal, log_ordinary, all_ordinary, log_term, quotient = map(
    callable_from_python,
    (
        log_kernels.log_and_weight,
        log_kernels._sum_log_and_reciprocal,
        log_kernels._log_ordinary,
        log_kernels._all_ordinary,
        log_kernels.log_term,
        log_kernels.quotient,
    ),
)
add_tiles, accumulate_tiles, distance = map(
    callable_from_python, (tile_kernels.add_tiles, tile_kernels.accumulate_tiles, tile_kernels._distance)
)
value_and_gradient_of_few = callable_from_python(block_kernels.value_and_gradient_of_few)


class Table:
    """Dense columns and bands in the order of the kernels, and the same rows in full."""

    def __init__(self, rng, n_dense, n_bands=0, n_events=N_EVENTS):
        rows = rng.uniform(0.1, 1, (n_events, n_dense))
        if n_bands == 0:
            self.full, self.table, self.tiles, self.order = rows, to_blocks(rows), None, np.arange(n_events)
            return
        length = rng.integers(1, 12, (n_events, n_bands))
        column = rng.integers(0, 8, (n_events, n_bands)) + n_dense + 20 * np.arange(n_bands)
        column = np.sort(column, axis=0)
        pointer = np.concatenate([[0], np.cumsum(length)])
        values = rng.uniform(0.1, 1, pointer[-1]).astype(np.float32)
        full = np.zeros((n_events, n_dense + 20 * n_bands))
        full[:, :n_dense] = rows
        for i, k in np.ndindex(n_events, n_bands):
            band = i * n_bands + k
            full[i, column[i, k] : column[i, k] + length[i, k]] = values[pointer[band] : pointer[band + 1]]
        tiles = to_tiles(values, pointer, column)
        self.order, self.tiles = tiles.order, tiles
        self.full, self.table = full[self.order], to_blocks(rows[self.order])


SHAPES = [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (0, 1), (2, 2), (5, 1)]


@pytest.fixture(params=SHAPES, ids=str)
def table(request, rng):
    return Table(rng, *request.param)


@pytest.fixture
def point(table, rng):
    n = table.full.shape[1]
    return rng.uniform(0.1, 1, n), rng.normal(size=n), rng.integers(0, 4, len(table.full)).astype(float)


def test_value_and_gradient(table, point):
    v, _, m = point
    s = table.full @ v
    for counts, unit in (
        (m, [False, False]),
        (np.ones_like(m), [True, True]),
        (np.r_[np.ones(BLOCK), m[BLOCK:]], [1, 0]),
    ):
        value, gradient = kernels.fused(described(table.table, counts, np.array(unit, bool)), table.tiles, v, None)
        assert value == pytest.approx(counts @ np.log(s), rel=1e-12)
        np.testing.assert_allclose(gradient, table.full.T @ (counts / s), rtol=1e-12)


def test_values_of_events(table, point, rng):
    v, _, m = point
    offset = rng.normal(size=len(m))
    found = kernels.pointwise(described(table.table, m, offset=offset), table.tiles, v, None)
    np.testing.assert_allclose(found[table.order], m * (np.log(table.full @ v) + offset), rtol=1e-12, atol=1e-13)


def test_derivatives(table, point, rng):
    v, u, m = point
    g = rng.normal(size=len(table.full))
    events, own = described(table.table, m), g[table.order] * m
    s, t = table.full @ v, table.full @ u
    found = kernels.vjp(events, table.tiles, v, None, g)
    np.testing.assert_allclose(found, table.full.T @ (own / s), rtol=1e-10)
    found = kernels.pushforward(events, table.tiles, v, None, g, u, None)
    np.testing.assert_allclose(found[table.order], own * t / s, rtol=1e-10)
    found = kernels.hessian_product(events, table.tiles, v, None, g, u, None)
    np.testing.assert_allclose(found, -table.full.T @ (own * t / s**2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_events", [1, BLOCK - 1, BLOCK, 2 * BLOCK])
def test_numbers_of_events(rng, n_events):
    table = Table(rng, 3, n_events=n_events)
    v, m = rng.random(3), rng.uniform(1, 2, n_events)
    value, gradient = kernels.fused(described(table.table, m), None, v, None)
    s = table.full @ v
    assert value == pytest.approx(m @ np.log(s), rel=1e-12)
    np.testing.assert_allclose(gradient, table.full.T @ (m / s), rtol=1e-12)


def test_blocks(rng):
    for n in (0, 1, BLOCK, BLOCK + 1):
        rows = rng.random((n, 2))
        blocks = to_blocks(rows)
        assert blocks.shape == (math.ceil(n / BLOCK), 2, BLOCK)
        assert blocks.flags.c_contiguous
        flat = blocks.transpose(0, 2, 1).reshape(-1, 2)
        np.testing.assert_array_equal(flat[:n], rows)
        assert not flat[n:].any()


def test_wrong_numbers_of_coefficients(rng):
    plain, banded, bands = Table(rng, 3), Table(rng, 2, 1), Table(rng, 0, 1)
    one = np.ones(N_EVENTS)
    events = described(plain.table, one)
    for n in (2, 4):
        wrong = np.ones(n)
        for call, vectors in (
            (kernels.fused, (wrong, None)),
            (kernels.pointwise, (wrong, None)),
            (kernels.vjp, (wrong, None, one)),
            (kernels.pushforward, (wrong, None, one, np.ones(3), None)),
            (kernels.pushforward, (np.ones(3), None, one, wrong, None)),
            (kernels.hessian_product, (wrong, None, one, np.ones(3), None)),
            (kernels.hessian_product, (np.ones(3), None, one, wrong, None)),
        ):
            with pytest.raises(ValueError, match="number of columns of the event table"):
                call(events, None, *vectors)
    with pytest.raises(ValueError, match="number of columns of the event table"):
        kernels.fused(described(banded.table, one), banded.tiles, np.ones(1), None)
    for table in (banded, bands):
        reached = int((table.tiles[1][:, 3] + table.tiles[1][:, 4]).max())
        with pytest.raises(ValueError, match="does not match the bands"):
            kernels.fused(described(table.table, one), table.tiles, np.ones(reached - 1), None)
        kernels.fused(described(table.table, one), table.tiles, np.ones(reached), None)


# --------------------------------------------------------------------------------------------------------- logarithms


def sum_of_logs(numbers, multiplicity=None):
    """With 40 digits."""
    counts = np.ones(len(numbers)) if multiplicity is None else multiplicity
    with localcontext(prec=40):
        return float(sum(Decimal(float(m)) * Decimal(float(x)).ln() for x, m in zip(numbers, counts, strict=True)))


def log_and_weight(density, multiplicity, unit):
    weight = np.full(BLOCK, np.nan)
    n = len(density)
    total, rare = log_and_weights(np.r_[density, np.full(BLOCK - n, np.nan)], multiplicity, unit, n, weight)
    # what is too small for sums is left to logarithms
    assert rare == bool(np.any((density >= 0) & (density < RARE) & (multiplicity != 0)))
    return total, weight[:n]


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("n", [1, 7, BLOCK])
@pytest.mark.parametrize("exponent", [-300, -289, -160, -151, -149, -30, 0, 40, 149, 151, 160, 290, 307])
def test_logarithms_and_reciprocals(rng, n, unit, exponent):
    """Against 40 digits: blocks in which numbers go in pairs, those that are too far from one, and the very small."""
    density = rng.uniform(1.0, 1.5, n) * 10.0 ** rng.integers(exponent, exponent + 1, n)
    multiplicity = np.ones(n) if unit else rng.integers(1, 5, n).astype(float)
    total, weight = log_and_weight(density, multiplicity, unit)
    counted = density >= RARE
    expected = sum_of_logs(density[counted], multiplicity[counted])
    assert total == pytest.approx(expected, rel=2e-15, abs=1e-13)
    np.testing.assert_allclose(weight, np.where(counted, multiplicity / density, 0), rtol=1e-15)


def test_pairs_of_very_different_numbers(rng):
    """The product of a pair is exact to rounding only while both lie in the range; one number decides."""
    for position in (0, 255, 256, 511):
        for odd in (9e-151, 1.1e-150, 9e149, 1.1e150, 1e-200, 1e200):
            density = rng.uniform(0.5, 2, BLOCK)
            density[position] = odd
            total, weight = log_and_weight(density, np.ones(BLOCK), True)
            assert total == pytest.approx(sum_of_logs(density), rel=2e-15)
            np.testing.assert_allclose(weight, 1 / density, rtol=1e-15)
            within = 1e-150 <= odd <= 1e150
            paired = sum_log_and_reciprocal(density, np.empty(BLOCK))
            assert np.isnan(paired) != within


@pytest.mark.parametrize("n_columns", range(1, block_kernels.FEW + 1))
@pytest.mark.parametrize("b", [0, 1])
def test_few_columns_at_once(rng, n_columns, b):
    """One reading of a block, the last one or not, gives value and gradient; or nothing, if one number is far off."""
    table = to_blocks(rng.uniform(0.1, 1, (2 * BLOCK, n_columns)))
    v, total = rng.uniform(0.1, 1, n_columns), rng.uniform(0.1, 1, n_columns)
    before, density = total.copy(), np.tensordot(v, table[b], 1)
    assert value_and_gradient_of_few(table, b, v, total) == pytest.approx(sum_of_logs(density), rel=1e-14)
    np.testing.assert_allclose(total - before, table[b] @ (1 / density), rtol=1e-13)
    for position in (0, 31, 32, 255, 256, 511):
        for odd in (0.0, -1.0, np.nan, np.inf, 9e-151, 1.1e150):
            far = table.copy()
            far[b, :, position] = odd / v.sum()
            after = total.copy()
            assert np.isnan(value_and_gradient_of_few(far, b, v, after))
            np.testing.assert_array_equal(after, total)


@pytest.mark.parametrize(
    "x", [1e-290, 1e-100, 0.3, math.sqrt(0.5), 0.70711, 1.0, 1 + 1e-9, 1.4142, 1.4143, 7e20, 1.7e308]
)
def test_logarithm_of_an_ordinary_number(x):
    assert float(log_ordinary(x)) == pytest.approx(sum_of_logs([x]), rel=1.5e-15, abs=1e-300)


@pytest.mark.parametrize(
    ("odd", "ordinary"),
    [
        (1.0, True),
        (1.1e-290, True),
        (0.9e-290, False),
        (5e-324, False),
        (0.0, False),
        (-0.0, False),
        (-1.0, False),
        (-1e-300, False),
        (1.797e308, True),
        (np.inf, False),
        (-np.inf, False),
        (np.nan, False),
    ],
)
def test_ordinary_numbers(odd, ordinary):
    density = np.ones(9)
    density[4] = odd
    assert bool(all_ordinary(density, 9)) == ordinary
    assert all_ordinary(density, 4)
    assert bool(all_ordinary(density, 5)) == ordinary


def test_terms_of_exceptional_numbers():
    assert log_term(0.0, 0.0) == 0.0
    assert np.isnan(log_term(-1.0, 1.0))
    assert np.isnan(log_term(np.nan, 1.0))
    assert log_term(5e-324, 2.0) == pytest.approx(2 * math.log(5e-324))
    zero, one, tiny = np.array([0.0, 1.0, 5e-324])
    assert quotient(zero, zero) == 0.0
    assert quotient(one, np.float64(4.0)) == 0.25
    assert quotient(zero, np.float64(4.0)) == 0.0
    assert quotient(np.float64(3.0), np.float64(-4.0)) == -0.75
    for weight, density, large in ((one, zero, 1), (one, tiny, 1), (-one, tiny, -1)):
        found = quotient(weight, density)
        assert np.isfinite(found)
        assert found * large > 1e308
    assert np.isnan(quotient(one, np.float64(np.nan)))
    assert np.isnan(quotient(zero, np.float64(np.nan)))


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize(("odd", "value"), [(0.0, 0), (-1.0, np.nan), (np.nan, np.nan), (np.inf, np.inf), (1e-300, 0)])
def test_blocks_with_an_exceptional_number(odd, value, unit):
    for n in (5, BLOCK):
        density = np.full(n, 2.0)
        density[3] = odd
        total, weight = log_and_weight(density, np.ones(n), unit)
        if value == 0:
            assert total == pytest.approx((n - 1) * math.log(2), rel=1e-13)  # the odd one is left out
        else:
            assert total == value or (np.isnan(total) and np.isnan(value))
        np.testing.assert_allclose(np.delete(weight, 3), 0.5)
        assert np.isnan(weight[3]) == np.isnan(odd)
        assert value != 0 or weight[3] == 0


def test_impossible_events_without_multiplicity_do_not_count():
    density, multiplicity = np.array([0.0, 2.0, 0.0]), np.array([0.0, 3.0, 0.0])
    total, weight = log_and_weight(density, multiplicity, False)
    assert total == pytest.approx(3 * math.log(2))
    np.testing.assert_allclose(weight, [0, 1.5, 0])


# -------------------------------------------------------------------------------------------------------------- tiles


def test_tiles_far_into_their_arrays(rng):
    """Products of one block: tiles of 1 to 9 columns that start anywhere, and their transpose."""
    widths, sizes = [1, 3, 4, 5, 8, 9], [64, 5, 128, 1, 32, 7]
    starts = 11 + np.concatenate([[0], np.cumsum(np.array(widths) * sizes)])
    events = BLOCK + np.concatenate([[0], np.cumsum(sizes)])[:-1]
    columns = [0, 2, 7, 3, 9, 10]
    tiles = np.column_stack([starts[:-1], events, sizes, columns, widths])
    numbers = rng.random(starts[-1] + 5).astype(np.float32)
    order = np.zeros(0, np.int64)  # of no matter here
    table = Tiles(numbers, np.concatenate([[[0, 0, 1, 0, 1]], tiles]), np.array([0, 1, 7]), order)
    full = np.zeros((BLOCK, 20))
    for start, event, n, column, width in tiles:
        part = numbers[start : start + n * width].reshape(width, n).T
        full[event - BLOCK : event - BLOCK + n, column : column + width] += part
    coefficients, weight = rng.normal(size=20), rng.normal(size=BLOCK)
    density, total = rng.random(BLOCK), rng.random(20)
    expected = density + full @ coefficients, total + full.T @ weight
    add_tiles(table, 1, coefficients, density)
    accumulate_tiles(table, 1, weight, total)
    np.testing.assert_allclose(density, expected[0], rtol=1e-12)
    np.testing.assert_allclose(total, expected[1], rtol=1e-12)


def test_tiles_by_hand():
    """Two neighbours share a tile of the columns that either reaches; a zero at an end is not reached."""
    values = np.array([1, 2, 3, 4, 5, 6, 0], np.float32)
    tiles = to_tiles(values, np.array([0, 3, 7]), np.array([[4], [2]]))
    assert tiles.order.tolist() == [1, 0]
    assert tiles.tiles.tolist() == [[0, 0, 2, 2, 5]]  # columns 2 to 6 of events 1 and 0
    assert tiles.numbers.tolist() == [4, 0, 5, 0, 6, 1, 0, 2, 0, 3]
    assert tiles.pointer.tolist() == [0, 1]


def test_distance_to_the_next_block():
    tiles = np.array([[0, 0, 4, 0, 2], [8, 4, 4, 0, 1], [12, 512, 4, 0, 2], [20, 1536, 4, 0, 1]])
    table = Tiles(np.zeros(24, np.float32), tiles, np.array([0, 2, 3, 3, 4]), np.zeros(0, np.int64))
    assert [distance(table, b) for b in range(4)] == [12, 8, 0, 0]


# --------------------------------------------------------------------------------------------- coefficients of spectra


@pytest.mark.parametrize("index", [0.0, 2.5])
def test_hat_map(rng, index):
    """A smooth spectrum, one of noise whose coefficients are cut, and one of two nodes."""
    bounds = np.array([0, 12, 30, 32])
    energy = np.geomspace(0.1, 100, 32)
    flux = energy**-2.3
    flux[12:] *= rng.random(20) ** 3
    flux[15] = 0.0
    scale = energy**index
    ends = list(pairwise(bounds))
    ratio = flux * scale
    expected = np.concatenate([hat_coefficients(flux[a:b], energy[a:b], index) for a, b in ends])
    np.testing.assert_allclose(hat_kernels.hat_map(flux, flux, scale, bounds, False), expected, rtol=1e-12, atol=1e-300)
    # the map itself: a matrix for each spectrum
    matrix = np.zeros((32, 32))
    for a, b in ends:
        for i in range(a, b):
            second = ratio[i - 1] - 2 * ratio[i] + ratio[(i + 1) % 32]
            if i in (a, b - 1):
                matrix[i, i] = 1
            elif ratio[i] - second / 12 < ratio[i] / 2:
                matrix[i, i] = 0.5
            else:
                matrix[i, i - 1 : i + 2] = [-1 / 12, 7 / 6, -1 / 12]
    matrix *= scale
    assert (np.diag(matrix) == 0.5 * scale).any()
    x = rng.normal(size=32)
    np.testing.assert_allclose(hat_kernels.hat_map(flux, x, scale, bounds, False), matrix @ x, rtol=1e-11, atol=1e-11)
    transposed = hat_kernels.hat_map(flux, x, scale, bounds, True)
    np.testing.assert_allclose(transposed, matrix.T @ x, rtol=1e-11, atol=1e-11)


def test_a_flat_spectrum_keeps_its_ratio():
    """At the limit itself, half of the ratio, both sides agree."""
    bounds, one = np.array([0, 5]), np.ones(5)
    assert hat_kernels.hat_map(one, one, one, bounds, False).tolist() == pytest.approx([1.0] * 5)
    limit = np.array([4.0, 1.0, 4.0, 1.0, 4.0])  # second difference 6, ratio 1: 1 - 6 / 12 = 1 / 2
    assert hat_kernels.hat_map(limit, limit, one, bounds, False)[1] == pytest.approx(0.5)
