"""Events near a source in blocks: what the kernels of live shapes read."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.folding.live_kernels import LANES, N_FIELDS, LiveArrays
from pymc_gamma.folding.live_table_kernels import Rungs

__all__ = ["Blocks", "join_blocks", "pack_blocks"]

NEGLIGIBLE = 1e-7
"""Share of the density of an event below which nodes at the ends of its band are left out."""
RUNG_COUNTS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64])
"""Widths per event are made up to one of these: then blocks have events of similar energies."""


class Blocks(NamedTuple):
    """Blocks of some events of one observation; counts instead of pointers."""

    events: FloatArray
    rungs: FloatArray
    rung_count: IntArray
    numbers: NDArray[np.float32]
    node: IntArray
    length: IntArray
    observation: IntArray
    place: IntArray

    @classmethod
    def none(cls) -> "Blocks":
        """No blocks."""
        whole: IntArray = np.empty(0, np.int64)
        rows, numbers = np.empty((0, LANES)), np.empty(0, np.float32)
        place: IntArray = np.empty((0, LANES), np.int64)
        return cls(np.empty((0, N_FIELDS, LANES)), rows, whole, numbers, whole, whole, whole, place)


def pack_blocks(
    o: int,
    rows: IntArray,
    vectors: FloatArray,
    fields: FloatArray,
    rungs: Rungs,
    dense: FloatArray,
    nominal: FloatArray,
) -> Blocks:
    """Blocks of events that are reached, each with a band of nodes and a number of rungs common to its lanes."""
    weight = np.abs(dense[..., 0]).sum(axis=2) * nominal
    used = np.flatnonzero(weight.max(axis=1, initial=0.0) > 0)
    n, n_nodes = len(used), dense.shape[1]
    if n == 0:
        return Blocks.none()
    count = RUNG_COUNTS[np.searchsorted(RUNG_COUNTS, rungs.total[used])]
    order = np.argsort(count, kind="stable")  # within a number of rungs by energy, as before
    used, count = used[order], count[order]
    keep = weight[used] > NEGLIGIBLE * weight[used].max(axis=1, keepdims=True)
    first, stop = keep.argmax(axis=1), n_nodes - keep[:, ::-1].argmax(axis=1)
    starts = np.concatenate([np.arange(a, z, LANES) for a, z in pairwise(_runs(count))])
    lanes = [used[k : min(k + LANES, z)] for k, z in zip(starts, _run_end(starts, count), strict=True)]
    blocks = []
    for k, lane in zip(starts, lanes, strict=True):
        m, n_l = len(lane), int(count[k])
        a, z = int(first[k : k + m].min()), int(stop[k : k + m].max())
        full = np.append(lane, np.repeat(lane[-1:], LANES - m))  # the last event fills its block
        own = rungs.total[full]
        # rungs that an event does not have are any width with no weight
        width = np.where(np.arange(n_l) < own[:, None], rungs.variance[full, :n_l], rungs.variance[full, :1])
        numbers = np.zeros((z - a, 2, n_l, LANES), np.float32)
        given = min(n_l, dense.shape[2])
        numbers[:, :, :given] = dense[full, a:z, :given].transpose(1, 3, 2, 0)
        blocks.append(
            Blocks(
                np.concatenate([vectors[full], fields[full]], axis=1).T[None],
                width.T,
                np.array([n_l]),
                numbers.ravel(),
                np.array([a]),
                np.array([numbers.size]),
                np.array([o]),
                np.append(rows[lane], np.full(LANES - m, -1))[None],
            )
        )
    return Blocks(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _runs(values: IntArray) -> IntArray:
    """Where runs of equal values begin, and at last their number."""
    return np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])


def _run_end(starts: IntArray, values: IntArray) -> IntArray:
    """End of the run of equal values that each start lies in."""
    bounds = _runs(values)
    return bounds[np.searchsorted(bounds, starts, side="right")]


def join_blocks(blocks: Sequence[Blocks], axes: FloatArray, profile: FloatArray) -> LiveArrays:
    """Blocks of all observations."""
    joined = Blocks(*(np.concatenate(parts) for parts in zip(Blocks.none(), *blocks, strict=True)))
    rung_pointer, pointer = (
        np.append(0, np.cumsum(one)).astype(np.int64) for one in (joined.rung_count, joined.length)
    )
    return LiveArrays(
        np.ascontiguousarray(joined.events),
        np.ascontiguousarray(joined.rungs),
        rung_pointer,
        joined.numbers,
        joined.node.astype(np.int64),
        pointer,
        joined.observation.astype(np.int64),
        joined.place.astype(np.int64),
        np.ascontiguousarray(axes),
        profile,
    )
