"""The columns of event tables in PyTensor's own operations, for JAX: products with coefficients, and their transpose.

What XLA makes fast is not the same everywhere. On a GPU a product that is summed at once becomes one loop over the
numbers as they lie in memory, in the precision that they are kept in. On a processor such a loop is not vectorised, and
numbers in single precision are copied to double precision in every call; matrix products of float64 tables have code
of their own there.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable

from pymc_gamma.ops.batches import Batch, Batches, to_batches
from pymc_gamma.ops.device import in_precision, on_processor
from pymc_gamma.ops.layout import BLOCK, Tiles

__all__ = ["Rows", "known"]


def known(variable: Variable) -> NDArray[Any] | None:
    """The value of a table, if it has one while functions are compiled: it stays the same."""
    if isinstance(variable, Constant):
        return variable.data
    return variable.get_value(borrow=True) if isinstance(variable, SharedVariable) else None


class Rows:
    """The columns of an event table. Numbers per event are in the order of the table.

    Parameters
    ----------
    table : TensorVariable
        Dense columns.
    n_events : TensorVariable
        Number of events.
    tiles : sequence of TensorVariable
        Columns that reach few events, of known values; empty if there are none.
    """

    def __init__(self, table: Variable, n_events: Variable, tiles: Sequence[Variable]) -> None:
        self._n_dense = table.shape[1]
        self._dense: _Dense = (_Matrix if on_processor() else _Blocks)(table, n_events)
        self._tiles = _Batched(tiles, n_events) if tiles else None

    def of_tiles(self, coefficients: Variable) -> Variable | None:
        """One number per event, of the columns in tiles alone."""
        return None if self._tiles is None else self._tiles.dot(coefficients)

    def dot(self, coefficients: Variable) -> Variable:
        """One number per event."""
        total = self._dense.dot(coefficients[: self._n_dense])
        more = self.of_tiles(coefficients)
        return total if more is None else total + more

    def transposed(self, weight: Variable, of_tiles: Variable, coefficients: Variable) -> Variable:
        """One number per column, of which there are as many as coefficients, for weights of events in the two parts."""
        dense = self._dense.transposed(weight)
        if self._tiles is None:
            return dense
        total = pt.set_subtensor(pt.zeros_like(coefficients)[: self._n_dense], dense)
        return self._tiles.add_transposed(total, of_tiles)


class _Dense(Protocol):
    def __init__(self, table: Variable, n_events: Variable) -> None: ...

    def dot(self, coefficients: Variable) -> Variable:
        """One number per event."""

    def transposed(self, weight: Variable) -> Variable:
        """One number per column."""


class _Matrix:
    """Dense columns as one matrix."""

    def __init__(self, table: Variable, n_events: Variable) -> None:
        n_blocks, n_dense = table.shape[0], table.shape[1]
        self._matrix = table.transpose(1, 0, 2).reshape((n_dense, n_blocks * BLOCK))[:, :n_events]

    def dot(self, coefficients: Variable) -> Variable:
        return pt.dot(coefficients, self._matrix)

    def transposed(self, weight: Variable) -> Variable:
        return pt.dot(self._matrix, weight)


class _Blocks:
    """Dense columns as they lie in memory."""

    def __init__(self, table: Variable, n_events: Variable) -> None:
        self._blocks, self._n_events = in_precision(table, known(table)), n_events

    def dot(self, coefficients: Variable) -> Variable:
        return pt.sum(self._blocks * coefficients[None, :, None], axis=1).ravel()[: self._n_events]

    def transposed(self, weight: Variable) -> Variable:
        return pt.sum(self._blocks * _in_groups(weight, self._blocks.shape[0], BLOCK)[:, None, :], axis=(0, 2))


def _in_groups(values: Variable, n_groups: Variable | int, length: int) -> Variable:
    """Numbers per event as a matrix of groups of some length, zeros at its end."""
    return pt.concatenate([values, pt.zeros(n_groups * length - values.shape[0])]).reshape((n_groups, length))


class _Batched:
    """Tiles in batches of equal ones, see :mod:`pymc_gamma.ops.batches`."""

    def __init__(self, tiles: Sequence[Variable], n_events: Variable) -> None:
        self._products = on_processor()
        self._n_events = n_events
        self._layout: Batches
        self._batches: Sequence[Any]
        dtype = "float64" if self._products else "float32"
        kept = tiles[0].tag.__dict__.setdefault("batches", {})  # several Ops of a graph share them
        if dtype not in kept:
            arrays: Any = [known(one) for one in tiles]
            layout = to_batches(Tiles(*arrays))
            batches = [one._replace(numbers=one.numbers.astype(dtype, copy=False)) for one in layout.batches]
            kept[dtype] = layout, [Batch(*map(pt.constant, one)) for one in batches]
        self._layout, self._batches = kept[dtype]

    def dot(self, coefficients: Variable) -> Variable:
        """One number per event."""
        if not self._batches:
            return pt.zeros(self._n_events)
        each = pt.concatenate([self._of_rows(one.numbers, coefficients[one.column]) for one in self._batches])
        groups = np.concatenate([one.group for one in self._layout.batches])
        if self._layout.single:
            total = each[np.argsort(groups)]  # cheaper than adding up
        else:
            total = pt.inc_subtensor(pt.zeros((self._layout.n_groups, self._layout.length))[groups], each)
        return total.ravel()[: self._n_events]

    def add_transposed(self, total: Variable, weight: Variable) -> Variable:
        """Numbers per column, and those of the tiles on top."""
        groups = _in_groups(weight, self._layout.n_groups, self._layout.length)
        for one in self._batches:
            total = pt.inc_subtensor(total[one.column], self._of_events(one.numbers, groups[one.group]))
        return total

    def _of_rows(self, numbers: Variable, coefficients: Variable) -> Variable:
        """Sums over the columns of each tile, for each of its events."""
        if self._products:
            return pt.matmul(coefficients[:, None, :], numbers)[:, 0, :]
        return pt.sum(numbers * coefficients[:, :, None], axis=1)

    def _of_events(self, numbers: Variable, weights: Variable) -> Variable:
        """Sums over the events of each tile, for each of its columns."""
        if self._products:
            return pt.matmul(numbers, weights[:, :, None])[:, :, 0]
        return pt.sum(numbers * weights[:, None, :], axis=2)
