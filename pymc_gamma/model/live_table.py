"""Event tables of data that can change between evaluations, such as a `pymc.Data` container."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.gradient import grad_not_implemented
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.link.numba.dispatch.basic import numba_funcify

from pymc_gamma.ops.layout import BLOCK
from pymc_gamma.ops.object_mode import object_mode_form

if TYPE_CHECKING:
    from pymc_gamma.model.event_source import EventSource

__all__ = ["LiveTable"]

N_DENSE, N_TILES = 6, 4
"""Outputs of a table of dense columns, and how many more bands take."""


class LiveTable(Op):
    """``value -> table inputs``: builds an event table while the model runs.

    The last table is kept and used again as long as the value is the same, number by number.

    Parameters
    ----------
    source : EventSource
        Where densities come from.
    """

    __props__ = ("source",)

    def __init__(self, source: "EventSource") -> None:
        self.source = source
        self._last: tuple[Any, tuple[Any, ...]] | None = None
        # Tables are kept for the next call: nothing may compute in their place. As views of the events, which are data,
        # they are left alone.
        n_outputs = N_DENSE + N_TILES * source.banded + sum(map(len, source.added_types()))
        self.view_map = {k: [0] for k in range(n_outputs)}

    def make_node(self, value: Any) -> Apply:
        """Apply node on rows of events, shape (N, n_columns)."""
        value = pt.as_tensor_variable(value)
        n_events = value.type.shape[0]
        outputs = [
            pt.tensor3(dtype="float64", shape=(None, self.source.n_columns, BLOCK)),
            pt.vector(dtype="float64", shape=(n_events,)),
            pt.vector(dtype="bool"),
            pt.vector(dtype="float64", shape=(n_events,)),
            pt.scalar(dtype="float64"),
            pt.matrix(dtype="float64", shape=(None, 1 + self.source.n_columns)),
        ]
        more = [one() for tables in self.source.added_types() for one in tables]
        if self.source.banded:
            tiles = [
                pt.vector(dtype="float32"),
                pt.matrix(dtype="int64", shape=(None, 5)),
                pt.vector(dtype="int64"),
                pt.vector(dtype="int64", shape=(n_events,)),
            ]
            return Apply(self, [value], [*outputs, *tiles, *more])
        return Apply(self, [value], [*outputs, *more])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Build the table, or hand out the last one."""
        (value,) = inputs
        last = self._last
        if last is None or not np.array_equal(last[0], value, equal_nan=True):  # rows without event are NaN
            # other graphs of the same model may have asked for the same events already
            arrays = tuple(shared.get_value(borrow=True).view() for shared in self.source.table(value).every)
            for array in arrays:
                array.setflags(write=False)
            last = self._last = (value.copy(), arrays)
        for cell, array in zip(output_storage, last[1], strict=True):
            cell[0] = array

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """Blocks of events; everything else is one number per event."""
        n_events = shapes[0][0]
        n_blocks = (n_events + BLOCK - 1) // BLOCK
        per_event = (n_events,)
        # how many rows of logarithms and tiles there are is known only once they are there
        log_rows, *rest = node.outputs[5:]
        bands, added = (rest[:4], rest[4:]) if self.source.banded else ([], rest)
        table = (n_blocks, self.source.n_columns, BLOCK)
        shapes = [table, per_event, (n_blocks,), per_event, (), tuple(log_rows.shape)]
        if bands:
            numbers, tiles, _, _ = bands
            shapes += [tuple(numbers.shape), tuple(tiles.shape), (n_blocks + 1,), per_event]
        return [*shapes, *(tuple(one.shape) for one in added)]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Events are data."""
        return [
            grad_not_implemented(
                self,
                0,
                inputs[0],
                "the density of events has no gradient with respect to the events; observe them",
            )
        ]

    def do_constant_folding(self, fgraph: FunctionGraph, node: Apply) -> bool:
        """Never while compiling: it calls the response."""
        return False


@numba_funcify.register(LiveTable)
def _live_table(op: LiveTable, node: Apply, **kwargs: Any) -> Callable[..., Any]:
    return object_mode_form(op, node)


@node_rewriter([LiveTable])
def build_constant_table(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Build the table of constant events: JAX cannot call back, and PyMC freezes all data for it."""
    (value,) = node.inputs
    if not isinstance(value, Constant):
        return None
    return [pt.constant(shared.get_value(borrow=True)) for shared in node.op.source.table(value.data).every]


optdb.register(
    "pymc_gamma_build_constant_table",
    dfs_rewriter(build_constant_table, ignore_newtrees=True),
    "jax",
    position=1.94,
)
