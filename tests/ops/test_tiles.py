"""Tiles: the numbers of bands and nothing else, whatever the bands and the order of events."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_inputs import events_of

from pymc_gamma.model.table import TableArrays
from pymc_gamma.ops import BLOCK, kernels, to_tiles
from pymc_gamma.ops.tiles import LARGEST

N_COLUMNS = 40


def dense_of_bands(values, pointer, column, n_columns):
    """Rows written out in full."""
    n_events, n_bands = column.shape
    full = np.zeros((n_events, n_columns))
    for i, k in np.ndindex(n_events, n_bands):
        start, stop = pointer[i * n_bands + k : i * n_bands + k + 2]
        full[i, column[i, k] : column[i, k] + stop - start] += values[start:stop]
    return full


def dense_of_tiles(tiles, n_columns):
    """The same from tiles, in the user's order; every number is visited once."""
    full = np.zeros((len(tiles.order), n_columns))
    at = 0
    for start, event, n, column, width in tiles.tiles:
        assert start == at
        assert event // BLOCK == (event + n - 1) // BLOCK
        at += n * width
        full[event : event + n, column : column + width] += tiles.numbers[start:at].reshape(width, n).T
    assert at == len(tiles.numbers)
    back = np.empty_like(full)
    back[tiles.order] = full
    return back


@st.composite
def bands(draw):
    """Bands of up to three components over columns of their own, with empty ones and zeros inside and at the ends."""
    n_events = draw(st.sampled_from([0, 1, 2, 7, 65, 200, BLOCK, BLOCK + 1, 1300]))
    n_bands = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    longest = draw(st.integers(0, 15))
    length = rng.integers(0, longest + 1, (n_events, n_bands))
    column = rng.integers(0, N_COLUMNS - 15, (n_events, n_bands))
    if draw(st.booleans()):  # the bands of an event go together, as the energy has it
        column[:] = np.sort(column[:, :1], axis=0)
    column += N_COLUMNS * np.arange(n_bands)
    pointer = np.concatenate([[0], np.cumsum(length)])
    values = rng.uniform(0.1, 1, pointer[-1]).astype(np.float32)
    values[rng.random(len(values)) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0
    return values, pointer, column


@settings(deadline=None, max_examples=60)
@given(bands())
def test_tiles_hold_the_bands(given_bands):
    n_columns = N_COLUMNS * given_bands[2].shape[1]
    tiles = to_tiles(*given_bands)
    np.testing.assert_array_equal(np.sort(tiles.order), np.arange(len(given_bands[2])))
    np.testing.assert_array_equal(dense_of_tiles(tiles, n_columns), dense_of_bands(*given_bands, n_columns))
    n_blocks = -(-len(tiles.order) // BLOCK)
    assert len(tiles.pointer) == n_blocks + 1
    assert tiles.pointer[-1] == len(tiles.tiles)
    block = np.repeat(np.arange(n_blocks), np.diff(tiles.pointer))
    np.testing.assert_array_equal(tiles.tiles[:, 1] // BLOCK, block)


@settings(deadline=None, max_examples=40)
@given(bands(), st.integers(0, 2**32 - 1))
def test_the_order_of_events_does_not_matter(given_bands, seed):
    """Values per event move with the events; sums and gradients stay."""
    values, pointer, column = given_bands
    n_events, n_bands = column.shape
    rng = np.random.default_rng(seed)
    rows, counts = rng.uniform(0.1, 1, (n_events, 2)), rng.integers(0, 3, n_events).astype(float)
    offset, v = rng.normal(size=n_events), rng.uniform(0.1, 1, 2 + n_bands * N_COLUMNS)
    move = rng.permutation(n_events)
    pieces = [values[pointer[i * n_bands] : pointer[(i + 1) * n_bands]] for i in move]
    length = np.diff(pointer).reshape(n_events, n_bands)[move]
    moved = (
        np.concatenate([np.empty(0, np.float32), *pieces]),
        np.concatenate([[0], np.cumsum(length)]),
        column[move] + 2,
    )
    found = []
    for arrays in (
        TableArrays.build(rows, counts, offset, (values, pointer, column + 2)),
        TableArrays.build(rows[move], counts[move], offset[move], moved),
    ):
        events, tiles = events_of(arrays), arrays.tiles
        found.append((kernels.pointwise(events, tiles, v, None), *kernels.fused(events, tiles, v, None)))
    (each, value, gradient), (each_moved, *sums_moved) = found
    np.testing.assert_allclose(each_moved, each[move], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(each.sum(), value, rtol=1e-9, atol=1e-9)
    for one, other in zip((value, gradient), sums_moved, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


def smooth_bands(rng, n_events, n_observations=1, n_hats=8):
    """A free spectrum, whose bands move slowly with the energy, and two hat functions of a background."""
    energy = rng.beta(1, 3, n_events)
    spectrum = (100 * energy).astype(np.int64)
    hat = (energy * (n_hats - 1)).astype(np.int64) + n_hats * rng.integers(0, n_observations, n_events)
    column = np.column_stack([spectrum, 130 + hat])
    length = np.column_stack([np.full(n_events, 30), np.full(n_events, 2)])
    pointer = np.concatenate([[0], np.cumsum(length)])
    return rng.uniform(0.1, 1, pointer[-1]).astype(np.float32), pointer, column


@pytest.mark.parametrize(("n_events", "n_observations", "waste"), [(20_000, 1, 1.1), (4500, 1, 1.4), (20_000, 10, 1.4)])
def test_tiles_waste_little(rng, n_events, n_observations, waste):
    values, pointer, column = smooth_bands(rng, n_events, n_observations)
    tiles = to_tiles(values, pointer, column)
    assert len(tiles.numbers) < waste * len(values)
    assert len(tiles.tiles) < n_events / 4
    assert tiles.tiles[:, 2].max() == LARGEST


def test_bands_without_any_order_do_not_explode(rng):
    """Two bands per event that have nothing to do with each other nor with any order."""
    n_events = 3000
    column = rng.integers(0, 10_000, (n_events, 2)) + np.array([0, 10_100])
    pointer = 20 * np.arange(2 * n_events + 1)
    values = rng.uniform(0.1, 1, pointer[-1]).astype(np.float32)
    assert len(to_tiles(values, pointer, column).numbers) < 2 * len(values)


def test_no_bands_at_all():
    tiles = to_tiles(np.empty(0, np.float32), np.zeros(1, np.int64), np.empty((5, 0), np.int64))
    assert tiles.order.tolist() == [0, 1, 2, 3, 4]
    assert tiles.pointer.tolist() == [0, 0]
    assert tiles.tiles.shape == (0, 5)


def test_arrays_that_do_not_fit():
    values, pointer, column = np.ones(4, np.float32), np.array([0, 2, 4]), np.zeros((2, 1), np.int64)
    with pytest.raises(ValueError, match="2 events with 1 bands need 3 pointers up to 4"):
        to_tiles(values, pointer[:-1], column)
    with pytest.raises(ValueError, match="need 3 pointers up to 3"):
        to_tiles(values[:-1], pointer, column)
    with pytest.raises(ValueError, match="bands are those of 2 events, but there are 3 rows"):
        TableArrays.build(np.ones((3, 1)), None, None, (values, pointer, column))
