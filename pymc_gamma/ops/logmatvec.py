r"""PyTensor Ops for the log-likelihood of events, :math:`\ell_i = m_i (\log ((P v)_i + r_i) + o_i)`.

All models of this package end in this expression (see ``docs/development/architecture.md``): *P* is the table of
scaled densities, *o* the logarithms of the scales, *m* the multiplicities, *v* the coefficients, and *r*, if there is
one, a density that is no linear form of a table, one number per event.

========================  =======================================================================================
:class:`LogMatVec`        :math:`\ell_i`, one value per event: what a distribution's ``logp`` returns
:class:`LogMatVecSum`     :math:`\sum_i \ell_i` and its gradient in one pass: what samplers run (by rewrite)
:class:`LogMatVecVJP`     :math:`\sum_i g_i \, \partial \ell_i / \partial (v, r)` for any cotangent *g*
:class:`LogMatVecJVP`     :math:`g_i \, \partial \ell_i / \partial (v, r) \cdot u` for any direction *u*
:class:`LogMatVecHVP`     :math:`\sum_i g_i \, \partial^2 \ell_i / \partial (v, r)^2 \, u`
========================  =======================================================================================

The first inputs describe the data and are shared by all (:data:`TABLE_INPUTS`); they are arrays, never differentiated
with respect to. ``offset_sum`` is :math:`\sum_i m_i o_i`, carried along so that the fused form need not read *o*;
``log_rows`` has the rows that a table of floating-point numbers cannot hold (:mod:`pymc_gamma.ops.rare_kernels`).

Where some columns reach few events and are stored as tiles (:mod:`pymc_gamma.ops.tiles`), the Ops are made with
``banded=True`` and take four inputs more, :data:`BAND_INPUTS`; the coefficients of these columns follow those of the
others. All table inputs are then in the order of the tiles; all other numbers per event are in the user's order.

Where a density is added, the Ops are made with ``added=True`` and take *r* after *v*, not negative and in the units of
the table, :math:`r_i = \rho_i e^{-o_i}` for a density :math:`\rho_i`. Everything that has one number per column, a
gradient, a direction, is then followed by its counterpart with one per event. A table may have no columns at all.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from pymc_gamma.ops import kernels
from pymc_gamma.ops.layout import EventArrays, Tiles

__all__ = [
    "BAND_INPUTS",
    "FAMILY",
    "PER_EVENT",
    "TABLE_INPUTS",
    "EventOp",
    "LogMatVec",
    "LogMatVecHVP",
    "LogMatVecJVP",
    "LogMatVecSum",
    "LogMatVecVJP",
    "banded_log_matvec",
    "log_matvec",
    "log_matvec_sum",
]

TABLE_INPUTS = EventArrays._fields
"""Names of the inputs that describe the events, see `pymc_gamma.ops.layout.EventArrays`."""

BAND_INPUTS = Tiles._fields
"""Names of the inputs that describe columns stored as tiles, see `pymc_gamma.ops.layout.Tiles`."""

_TYPES = {
    "table": (3, "float64"),
    "multiplicity": (1, "float64"),
    "unit": (1, "bool"),
    "offset": (1, "float64"),
    "offset_sum": (0, "float64"),
    "log_rows": (2, "float64"),
    "numbers": (1, "float32"),
    "tiles": (2, "int64"),
    "pointer": (1, "int64"),
    "order": (1, "int64"),
}

PER_EVENT = frozenset({"added", "weight", "added_direction", "events"})
"""Names of vectors and outputs with one number per event; the others have one per column."""


def _is_disconnected(variable: Variable) -> bool:
    return isinstance(variable.type, DisconnectedType)


class EventOp(Op):
    """What the Ops of this family have in common.

    Parameters
    ----------
    banded : bool
        Whether some columns are stored as tiles.
    added : bool
        Whether a vector is added to the products of the table.
    """

    __props__ = ("banded", "added")

    kernel: ClassVar[Callable[..., Any]]
    """What computes the outputs; see :mod:`pymc_gamma.ops.kernels` for its arguments."""

    _vectors: ClassVar[tuple[str, ...]]
    _returns: ClassVar[tuple[str, ...]]
    """Names of the vectors after the table inputs, and of the outputs; those of ``added...`` may not be there."""

    _readers: ClassVar[dict[str, tuple[str, ...]]] = {"unit": (), "offset": (), "offset_sum": ()}
    """The outputs that depend on a table input, where these are not all."""

    def __init__(self, banded: bool = False, added: bool = False) -> None:
        self.banded = banded
        self.added = added

    def like(self, kind: "type[EventOp]") -> "EventOp":
        """Another Op of the family, for the same inputs."""
        return kind(self.banded, self.added)

    @property
    def table_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that describe the events."""
        return (*TABLE_INPUTS, *BAND_INPUTS) if self.banded else TABLE_INPUTS

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the inputs after those."""
        return self._present(self._vectors)

    @property
    def returns(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self._present(self._returns)

    def _present(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if self.added or not name.startswith("added"))

    def split(self, inputs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """The inputs that describe the events, and the vectors after them by name."""
        n = len(self.table_inputs)
        return list(inputs[:n]), dict(zip(self.vectors, inputs[n:], strict=True))

    def make_node(self, *inputs: Any) -> Apply:
        """Apply node on variables of the right dtype and rank, or a TypeError that names the input."""
        names = (*self.table_inputs, *self.vectors)
        if len(inputs) != len(names):
            raise TypeError(
                f"expected the table inputs {self.table_inputs} and the vectors {self.vectors}, {len(names)} in all; "
                f"got {len(inputs)} variables"
            )
        variables = []
        for name, value in zip(names, inputs, strict=True):
            variable = pt.as_tensor_variable(value)
            if name not in _TYPES:
                if variable.type.ndim != 1:
                    raise TypeError(
                        f"{name}: coefficients, directions and weights must be vectors, got {variable.type}"
                    )
                variable = variable.astype("float64")
            elif (variable.type.ndim, variable.type.dtype) != _TYPES[name]:
                ndim, dtype = _TYPES[name]
                raise TypeError(f"{name} must be a {dtype} tensor with {ndim} dimensions, got {variable.type}")
            variables.append(variable)
        shapes = self.infer_shape(None, [variable.type.shape for variable in variables])
        return Apply(self, variables, [pt.tensor(dtype="float64", shape=shape) for shape in shapes])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Run the kernel."""
        arrays, vectors = self.split(inputs)
        n = len(TABLE_INPUTS)
        tiles = Tiles(*arrays[n:]) if self.banded else None
        outputs = self.kernel(EventArrays(*arrays[:n]), tiles, *map(vectors.get, self._vectors))
        for storage, output in zip(output_storage, outputs if len(self.returns) > 1 else [outputs], strict=True):
            storage[0] = output

    def infer_shape(self, node: Apply | None, shapes: Sequence[Any]) -> list[Any]:
        """Nothing, one number per column, or one per event."""
        n_events, n_columns = shapes[1][0], shapes[len(self.table_inputs)][0]
        sizes = {"total": (), "columns": (n_columns,)}
        return [(n_events,) if name in PER_EVENT else sizes[name] for name in self.returns]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """All outputs depend on all vectors."""
        readers = [self._readers.get(name, self.returns) for name in self.table_inputs]
        return [
            [name in of_input for name in self.returns] for of_input in (*readers, *[self.returns] * len(self.vectors))
        ]


class _FirstOrder(EventOp):
    """An Op that has cotangents."""

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> list[Variable]:
        """Cotangents of the vectors; the table is data, which nothing may be differentiated with respect to."""
        given = {name: one for name, one in zip(self.returns, cotangents, strict=True) if not _is_disconnected(one)}
        if not given:
            return [disconnected_type() for _ in inputs]
        data = [
            grad_not_implemented(self, i, inputs[i], "the event table is data; only its coefficients have gradients")
            if given.keys() & set(self._readers.get(name, self.returns))
            else disconnected_type()
            for i, name in enumerate(self.table_inputs)
        ]
        return [*data, *self._pull(inputs, outputs, given)]

    def _pull(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], given: dict[str, Variable]
    ) -> list[Variable]:
        """Cotangents of the vectors, for those of some outputs."""
        raise NotImplementedError

    def _direction(self, inputs: Sequence[Variable], parts: Sequence[Variable | None]) -> list[Variable]:
        """A direction in the space of coefficients and of what is added, zero where it is not given."""
        point = inputs[len(self.table_inputs) :][: len(parts)]
        return [pt.zeros_like(one) if part is None else part for one, part in zip(point, parts, strict=True)]

    def _along(self, inputs: Sequence[Variable], tangents: Sequence[Variable]) -> list[Variable] | None:
        """The direction that tangents of the inputs say, if there is one."""
        parts = [None if _is_disconnected(one) else one for one in tangents[len(self.table_inputs) :]]
        return self._direction(inputs, parts) if any(part is not None for part in parts) else None


class LogMatVec(_FirstOrder):
    """``(*table_inputs, v[, r]) -> m_i (log ((P v)_i + r_i) + o_i)``, shape (N,).

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_gamma.model.table import EventTable
    >>> table = EventTable(np.array([[0.5, 0.1], [0.2, 0.7]]))
    >>> LogMatVec()(*table.inputs, [0.3, 0.7]).eval().round(3).tolist()
    [-1.514, -0.598]
    """

    kernel = staticmethod(kernels.pointwise)
    _vectors = ("coefficients", "added")
    _returns = ("events",)
    _readers: ClassVar = {"unit": (), "offset_sum": ()}

    def _pull(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], given: dict[str, Variable]
    ) -> list[Variable]:
        return self.like(LogMatVecVJP).make_node(*inputs, given["events"]).outputs

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Derivative along a direction of the vectors, by :class:`LogMatVecJVP`."""
        direction = self._along(inputs, tangents)
        if direction is None:
            return [disconnected_type()]
        return self.like(LogMatVecJVP).make_node(*inputs, pt.ones_like(inputs[1]), *direction).outputs


class LogMatVecSum(_FirstOrder):
    """``(*table_inputs, v[, r]) -> (sum_i m_i (log ((P v)_i + r_i) + o_i), its gradient in v[, in r])`` in one pass."""

    default_output = 0
    kernel = staticmethod(kernels.fused)
    _vectors = ("coefficients", "added")
    _returns = ("total", "columns", "added")
    _readers: ClassVar = {"unit": (), "offset": (), "offset_sum": ("total",)}

    def _pull(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], given: dict[str, Variable]
    ) -> list[Variable]:
        """The gradient that is there already, and the Hessian for the outputs after the first."""
        total = given.pop("total", None)
        terms = [] if total is None else [[total * one for one in outputs[1:]]]
        if given:
            direction = self._direction(inputs, [given.get(name) for name in self.returns[1:]])
            terms.append(self.like(LogMatVecHVP).make_node(*inputs, pt.ones_like(inputs[1]), *direction).outputs)
        return [sum(more, start=first) for first, *more in zip(*terms, strict=True)]

    def pushforward(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], tangents: Sequence[Variable]
    ) -> list[Variable]:
        """Derivatives of value and gradient along a direction of the vectors."""
        direction = self._along(inputs, tangents)
        if direction is None:
            return [disconnected_type() for _ in outputs]
        products = [pt.dot(one, along) for one, along in zip(outputs[1:], direction, strict=True)]
        hessian = self.like(LogMatVecHVP).make_node(*inputs, pt.ones_like(inputs[1]), *direction)
        return [sum(products[1:], start=products[0]), *hessian.outputs]


class LogMatVecVJP(_FirstOrder):
    """``(*table_inputs, v[, r], g) -> sum_i g_i m_i P_ik / s_i``, shape (K,)``[, g_i m_i / s_i``, shape (N,)``]``."""

    kernel = staticmethod(kernels.vjp)
    _vectors = ("coefficients", "added", "weight")
    _returns = ("columns", "added")

    def _pull(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], given: dict[str, Variable]
    ) -> list[Variable]:
        """Cotangents of the vectors (Hessian) and of the weights."""
        *others, weight = inputs
        direction = self._direction(inputs, [given.get(name) for name in self.returns])
        hessian = self.like(LogMatVecHVP).make_node(*inputs, *direction)
        along = self.like(LogMatVecJVP).make_node(*others, pt.ones_like(weight), *direction)
        return [*hessian.outputs, *along.outputs]


class LogMatVecJVP(EventOp):
    """``(*table_inputs, v[, r], g, u[, q]) -> g_i m_i ((P u)_i + q_i) / s_i``, shape (N,)."""

    kernel = staticmethod(kernels.pushforward)
    _vectors = ("coefficients", "added", "weight", "direction", "added_direction")
    _returns = ("events",)


class LogMatVecHVP(EventOp):
    """``(*table_inputs, v[, r], g, u[, q]) -> -sum_i P_ik c_i[, -c_i]``, ``c_i = g_i m_i ((P u)_i + q_i) / s_i^2``."""

    kernel = staticmethod(kernels.hessian_product)
    _vectors = ("coefficients", "added", "weight", "direction", "added_direction")
    _returns = ("columns", "added")


FAMILY: tuple[type[EventOp], ...] = (LogMatVec, LogMatVecSum, LogMatVecVJP, LogMatVecJVP, LogMatVecHVP)
"""All Ops on event tables."""


def _for_inputs(kind: type[EventOp], inputs: Sequence[Any], added: Any) -> Variable:
    """An Op of the family, as the number of table inputs and what is added say."""
    banded = len(inputs) > len(TABLE_INPUTS) + 1
    if added is None:
        return kind(banded)(*inputs)
    return kind(banded, added=True)(*inputs, added)


def log_matvec(*inputs: Any, added: Any = None) -> Variable:
    """Log-likelihood of each event, by :class:`LogMatVec`.

    Parameters
    ----------
    *inputs : tensor_like
        The table inputs, with those of bands or without, and the coefficients.
    added : tensor_like, shape (N,), optional
        What is added to the densities, in the units of the table.

    Returns
    -------
    TensorVariable
        Vector of shape (N,).

    Raises
    ------
    TypeError
        If an input is missing or of another type.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_gamma.model.table import EventTable
    >>> table = EventTable(np.array([[0.5, 0.1], [0.2, 0.7]]))
    >>> log_matvec(*table.inputs, [0.3, 0.7], added=[0.1, 0.0]).eval().round(3).tolist()
    [-1.139, -0.598]
    """
    return _for_inputs(LogMatVec, inputs, added)


def log_matvec_sum(*inputs: Any, added: Any = None) -> Variable:
    """Log-likelihood of all events, by :class:`LogMatVecSum`; the arguments are those of :func:`log_matvec`.

    Parameters
    ----------
    *inputs : tensor_like
        The table inputs, with those of bands or without, and the coefficients.
    added : tensor_like, shape (N,), optional
        What is added to the densities, in the units of the table.

    Returns
    -------
    TensorVariable
        Scalar.

    Raises
    ------
    TypeError
        If an input is missing or of another type.

    Examples
    --------
    >>> import numpy as np
    >>> from pymc_gamma.model.table import EventTable
    >>> table = EventTable(np.array([[0.5, 0.1], [0.2, 0.7]]))
    >>> log_matvec_sum(*table.inputs, [0.3, 0.7]).eval().round(3)
    np.float64(-2.112)
    """
    return _for_inputs(LogMatVecSum, inputs, added)


banded_log_matvec = LogMatVec(banded=True)
