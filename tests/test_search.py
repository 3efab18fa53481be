"""Where a number lies between nodes."""

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymc_gamma.search_kernels import count_below, interval

FINITE = st.floats(-1e6, 1e6)


@nb.njit
def both(nodes, x):
    return count_below(nodes, x, len(nodes)), interval(nodes, x)


@given(st.lists(FINITE, min_size=2, max_size=30, unique=True), FINITE)
def test_agrees_with_numpy(nodes, x):
    nodes = np.sort(nodes)
    count, (k, t) = both(nodes, x)
    assert count == np.searchsorted(nodes, x, side="right")
    assert 0 <= k <= len(nodes) - 2
    assert 0 <= t <= 1
    position = np.interp(x, nodes, np.arange(len(nodes)))
    assert k + t == pytest.approx(position, abs=1e-9)


def test_a_node_belongs_to_the_interval_above_it():
    assert both(np.array([0.0, 1.0, 3.0]), 1.0) == (2, (1, 0.0))


def test_a_single_node():
    assert both(np.array([2.0]), 5.0)[1] == (0, 0.0)
