"""The random variable behind `EventMixture`: rows of events, drawn through a response; and how draws are compiled."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.compile import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import copy_stack_trace, dfs_rewriter, node_rewriter
from pytensor.link.numba.dispatch.basic import numba_funcify
from pytensor.tensor.random.op import RandomVariable, RNGConsumerOp
from pytensor.tensor.variable import TensorVariable

from pymc_gamma.events.rows import RowLayout
from pymc_gamma.model.event_source import EventSource
from pymc_gamma.ops.object_mode import object_mode_form

__all__ = ["DrawnAtOnce", "EventDraw", "EventMixtureRV"]


class DrawnVariable(TensorVariable):  # type: ignore[misc]
    """What a `DrawnAtOnce` draws; its shape is known from what is asked for, and takes no draw.

    PyMC evaluates ``variable.shape`` without rewriting it, to group variables of a picture of the model.
    """

    @property
    def shape(self) -> Variable:
        """Symbolic shape, from the size and the parameters of the random variable."""
        if self.owner is None or not isinstance(self.owner.op, DrawnAtOnce) or self.type.ndim == 0:
            return pt.shape(self)
        op = self.owner.op
        return pt.stack(op._infer_shape(op.size_param(self.owner), op.dist_params(self.owner)))


class DrawnAtOnce(RandomVariable):
    """A random variable whose draws are made by one call, whatever its shape; so also in compiled code."""

    def make_node(self, *inputs: Variable) -> Apply:
        """Apply node whose draws know their shape."""
        node = super().make_node(*inputs)
        rng, drawn = node.outputs
        return Apply(self, node.inputs, [rng.type(), DrawnVariable(drawn.type, None)])


class EventMixtureRV(DrawnAtOnce):
    """``(rng, size, *parameters) -> event rows``; the last batch axis counts events.

    The source knows its parameters: fractions, and the vector of all free spectra where there are any.

    Parameters
    ----------
    source : EventSource
        Densities and draws of the components.
    extra : tuple of str
        Columns of observed rows after those of the source: the multiplicity, and the edges of cells.
    """

    name = "EventMixture"
    dtype = "float64"
    _print_name = ("EventMixture", "\\operatorname{EventMixture}")
    __props__ = ("name", "signature", "dtype", "inplace", "source", "extra")

    def __init__(self, source: EventSource, extra: tuple[str, ...] = (), **kwargs: Any) -> None:
        self.source = source
        self.extra = extra
        kwargs["signature"] = f"{source.signature}->({len(self.layout.names)})"
        super().__init__(**kwargs)

    @property
    def layout(self) -> RowLayout:
        """Names of the columns of a row."""
        return RowLayout(self.source.columns, self.extra)

    def rng_fn(  # type: ignore[override]
        self, rng: np.random.Generator, *inputs: Any
    ) -> NDArray[np.float64]:
        """Draw rows: one call of the simulator for each distinct parameter row, never one per event."""
        *parameters, size = inputs
        if self.extra:
            raise NotImplementedError(
                "events with multiplicities (binned or weighted events) cannot be drawn row by row. For predictive "
                "draws use response.simulate(...), or a second model with EventMixture(..., n_events=...) and "
                "unbinned events."
            )
        self.source.check_parameters(*parameters)
        batch = np.broadcast_shapes(*(one.shape[:-1] for one in parameters))
        size = batch if size is None else size
        batch = (1,) * (len(size) - len(batch)) + batch
        parameters = [np.broadcast_to(one, (*batch, one.shape[-1])) for one in parameters]
        rows = np.empty((*size, len(self.source.columns)))
        for index in np.ndindex(batch):
            block = tuple(
                slice(None) if length == 1 else slice(i, i + 1) for i, length in zip(index, batch, strict=True)
            )
            shape = rows[block].shape
            n_rows = int(np.prod(shape[:-1], dtype=np.int64))
            rows[block] = self.source.draw(n_rows, rng, *(one[index] for one in parameters)).reshape(shape)
        return rows


class EventDraw(RNGConsumerOp):
    """Draws of a `DrawnAtOnce` in compiled code.

    PyTensor's numba linker would call the random variable once per event, or fall back to Python with a warning.
    Simulators vectorise over events themselves; this Op, put in place of the random variable when a graph is
    compiled for numba, calls it once.
    """

    __props__ = ("rv_op",)

    def __init__(self, rv_op: DrawnAtOnce) -> None:
        self.rv_op = rv_op
        if rv_op.inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, *inputs: Variable) -> Apply:
        """Apply node on the inputs of the random variable."""
        outputs = self.rv_op.make_node(*inputs).outputs
        return Apply(self, inputs, [output.type() for output in outputs])

    def update(self, node: Apply) -> dict[Variable, Variable]:
        """The next state of the random generator."""
        return {node.inputs[0]: node.outputs[0]}

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Draw as the random variable does."""
        self.rv_op.perform(node, inputs, output_storage)

    def infer_shape(self, node: Apply, shapes: Sequence[Any]) -> list[Any]:
        """Shape of the random variable."""
        return self.rv_op.infer_shape(node, shapes)


@node_rewriter([DrawnAtOnce])
def draw_events_at_once(fgraph: FunctionGraph, node: Apply) -> list[Variable]:
    """``DrawnAtOnce`` -> ``EventDraw``."""
    outputs = EventDraw(node.op).make_node(*node.inputs).outputs
    copy_stack_trace(node.outputs, outputs)
    return outputs


optdb.register(
    "pymc_gamma_draw_events_at_once",
    dfs_rewriter(draw_events_at_once, ignore_newtrees=True),
    "numba",
    position=99,  # after in-place rewrites, before PyTensor wraps random variables for numba (100)
)


@numba_funcify.register(EventDraw)
def _event_draw(op: EventDraw, node: Apply, **kwargs: Any) -> Callable[..., Any]:
    return object_mode_form(op, node)


def representative_rows(op: EventMixtureRV, rv: Variable) -> Variable:
    """A valid event, repeated: where PyMC starts when events are not observed."""
    row = op.layout.completed(op.source.representative_row()[None])[0]
    return pt.broadcast_to(pt.constant(row), rv.shape)
