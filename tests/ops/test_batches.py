"""Batches of tiles against the bands they came from, number by number."""

import numpy as np
import pytest

from pymc_gamma.ops.batches import GROUPS, to_batches
from pymc_gamma.ops.tiles import to_tiles


def bands_of(column, length, rng):
    pointer = np.concatenate([[0], np.cumsum(length.ravel())])
    return rng.uniform(0.1, 1, pointer[-1]).astype(np.float32), pointer, column


def rows_of(bands, n_columns):
    """All columns of all events, in the user's order."""
    values, pointer, column = bands
    rows = np.zeros((len(column), n_columns), np.float32)
    for k, first in enumerate(column.ravel()):
        own = values[pointer[k] : pointer[k + 1]]
        rows[k // column.shape[1], first : first + len(own)] += own
    return rows


def check(bands, n_columns):
    """Every number is in its place once; returns what was checked."""
    tiles = to_tiles(*bands)
    batches, n_groups, length = found = to_batches(tiles)
    room = np.zeros((n_groups * length, n_columns), np.float32)
    for batch in batches:
        assert batch.numbers.dtype == np.float32
        assert batch.column.shape == batch.numbers.shape[:2]
        assert batch.column.max() < n_columns
        for numbers, column, group in zip(*batch, strict=True):
            np.add.at(room.T, (column[:, None], group * length + np.arange(length)), numbers)
    n_events = len(bands[2])
    np.testing.assert_array_equal(room[:n_events], rows_of(bands, n_columns)[tiles.order])
    assert not room[n_events:].any()
    groups = sorted(group for batch in batches for group in batch.group)
    assert found.single == (groups == list(range(n_groups)))
    return found


@pytest.mark.parametrize("n_events", [1, 7, 128, 129, 1000])
@pytest.mark.parametrize("n_bands", [1, 3])
def test_bands_anywhere(rng, n_events, n_bands):
    length = rng.integers(0, 12, (n_events, n_bands))
    column = rng.integers(0, 25, (n_events, n_bands)) + 40 * np.arange(n_bands)
    check(bands_of(column, length, rng), 40 * n_bands)


def test_bands_that_move_with_the_event_fill_one_tile_a_group(rng):
    column = np.sort(rng.integers(0, 100, 20_000))[:, None]
    found = check(bands_of(column, np.full(column.shape, 41), rng), 150)
    assert found.single
    assert found.length == max(GROUPS)
    numbers = sum(batch.numbers.size for batch in found.batches)
    assert numbers < 1.2 * 41 * 20_000


def test_bands_without_order_are_put_into_small_groups(rng):
    """Many bands each with a place of its own: neighbours in one are none in the others."""
    column = rng.integers(0, 900, (3000, 4)) + 1000 * np.arange(4)
    found = check(bands_of(column, np.full(column.shape, 5), rng), 4000)
    assert found.length == min(GROUPS)
    assert not found.single


def test_widths_are_few(rng):
    length = rng.integers(1, 600, (2000, 1))
    found = check(bands_of(rng.integers(0, 100, (2000, 1)), length, rng), 700)
    assert len(found.batches) < 30
    for batch in found.batches:
        needed = (batch.numbers != 0).any(axis=2).sum(axis=1).max()
        assert batch.numbers.shape[1] <= max(8, needed * 1.25 + 8)


def test_nothing(rng):
    found = check(bands_of(np.zeros((5, 1), np.int64), np.zeros((5, 1), np.int64), rng), 3)
    assert found.batches == ()
    assert not found.single
