r"""Event tables: the arrays that the Ops of this package read.

Row *i* of the table holds the densities of event *i* under each column, divided by their largest,
:math:`P_{ik} = p_{ik} e^{-o_i}` with :math:`o_i = \log \max_k p_{ik}`. Columns that reach few events are not
part of it: they are stored as tiles (:mod:`pymc_gamma.ops.tiles`), and all arrays are then in an order of events that
suits these.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self
from uuid import uuid4

import numpy as np
import pytensor
from numpy.typing import NDArray
from pytensor.compile.sharedvalue import SharedVariable

from pymc_gamma.ops.layout import BLOCK, to_blocks
from pymc_gamma.ops.logmatvec import BAND_INPUTS, TABLE_INPUTS
from pymc_gamma.ops.tiles import Tiles, to_tiles
from pymc_gamma.sums import weighted_sum

__all__ = ["EventTable", "ScaledDensities", "TableArrays", "TableInputs"]

_SMALL = 1e-100
"""Numbers below are kept as logarithms too: times a coefficient of 1e-200 they would underflow."""


class ScaledDensities(NamedTuple):
    """Densities of events, scaled row by row.

    Attributes
    ----------
    densities : ndarray, shape (N, K)
        Densities over the scale of their row.
    log_scale : ndarray, shape (N,)
        Logarithms of the scales.
    logs : ndarray, shape (N, K), optional
        Logarithms of the scaled densities, where some of these underflowed.
    """

    densities: NDArray[np.float64]
    log_scale: NDArray[np.float64]
    logs: NDArray[np.float64] | None

    @classmethod
    def of(cls, densities: NDArray[np.float64], scale: NDArray[np.float64]) -> Self:
        """Densities (N, K) over scales (N,), and their logarithms if a quotient is too small for a number.

        Examples
        --------
        >>> import numpy as np
        >>> ScaledDensities.of(np.array([[1e100, 1e-250]]), np.array([1e100])).logs.round(3).tolist()
        [[0.0, -805.905]]
        """
        scaled, log_scale = densities / scale[:, None], np.log(scale)
        logs = None
        if np.any((scaled < np.finfo(float).tiny) & (densities > 0)):
            logs = np.log(densities, out=np.full(densities.shape, -np.inf), where=densities > 0) - log_scale[:, None]
        return cls(scaled, log_scale, logs)


class TableArrays(NamedTuple):
    """Arrays of an event table, in the order of `pymc_gamma.ops.TABLE_INPUTS`.

    Attributes
    ----------
    table : ndarray, shape (n_blocks, K, BLOCK)
        Scaled densities.
    multiplicity : ndarray, shape (N,)
        How many events each row stands for.
    unit : ndarray of bool, shape (n_blocks,)
        Whether all events of a block have multiplicity one.
    offset : ndarray, shape (N,)
        Logarithm of the scale of each row.
    offset_sum : ndarray, shape ()
        Sum of multiplicity times offset.
    log_rows : ndarray, shape (n, 1 + K)
        Rows with numbers that floating point holds badly or not at all, as logarithms: the place of the event, and
        those of its row.
    tiles : Tiles or tuple
        Columns that reach few events, and the order of the events; empty if there are none.
    added : tuple of tuple of ndarray
        Tables of what has no columns, in the order of its source.
    """

    table: NDArray[np.float64]
    multiplicity: NDArray[np.float64]
    unit: NDArray[np.bool_]
    offset: NDArray[np.float64]
    offset_sum: NDArray[np.float64]
    log_rows: NDArray[np.float64]
    tiles: Tiles | tuple[()] = ()
    added: tuple[tuple[NDArray[Any], ...], ...] = ()

    @property
    def inputs(self) -> tuple[NDArray[Any], ...]:
        """First inputs of the Ops."""
        dense = (self.table, self.multiplicity, self.unit, self.offset, self.offset_sum, self.log_rows)
        return (*dense, *self.tiles)

    @classmethod
    def build(
        cls,
        densities: NDArray[np.float64],
        multiplicity: NDArray[np.float64] | None = None,
        log_scale: NDArray[np.float64] | None = None,
        bands: tuple[NDArray[Any], ...] = (),
        log_densities: NDArray[np.float64] | None = None,
        added: tuple[tuple[NDArray[Any], ...], ...] = (),
    ) -> Self:
        """Arrays from rows.

        Parameters
        ----------
        densities : ndarray, shape (N, K)
            Scaled densities, not negative.
        multiplicity : ndarray, shape (N,), optional
            Ones if not given.
        log_scale : ndarray, shape (N,), optional
            Logarithm of what each row was divided by; zeros if not given.
        bands : tuple of ndarray, optional
            Columns that reach few events, as `pymc_gamma.ops.to_tiles` takes them, scaled alike.
        log_densities : ndarray, shape (N, K), optional
            Logarithms of the scaled densities, where these were computed from them and some underflowed.
        added : tuple of tuple of ndarray
            Tables of what has no columns.

        Raises
        ------
        ValueError
            If the bands are not those of N events.

        Examples
        --------
        >>> import numpy as np
        >>> TableArrays.build(np.ones((4500, 3))).table.shape
        (9, 3, 512)
        """
        n_events = len(densities)
        counts = np.ones(n_events) if multiplicity is None else np.ascontiguousarray(multiplicity)
        offset = np.zeros(n_events) if log_scale is None else np.ascontiguousarray(log_scale)
        tiles: Tiles | tuple[()] = ()
        if bands:
            tiles = to_tiles(*bands)
            if len(tiles.order) != n_events:
                raise ValueError(f"the bands are those of {len(tiles.order)} events, but there are {n_events} rows")
            densities, counts, offset = densities[tiles.order], counts[tiles.order], offset[tiles.order]
            log_densities = None if log_densities is None else log_densities[tiles.order]
        unit = _unit_blocks(counts)
        log_rows = _log_rows(densities, log_densities)
        return cls(to_blocks(densities), counts, unit, offset, weighted_sum(offset, counts), log_rows, tiles, added)


def _unit_blocks(counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether all events of a block have multiplicity one."""
    return np.array([np.all(counts[i : i + BLOCK] == 1) for i in range(0, len(counts), BLOCK)], dtype=bool)


def _log_rows(densities: NDArray[np.float64], logs: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Rows with a very small density as logarithms, after their place."""
    if logs is None:
        (place,) = np.nonzero(((densities > 0) & (densities < _SMALL)).any(axis=1))
        own = densities[place]
        logs_of_rows = np.log(own, out=np.full(own.shape, -np.inf), where=own > 0)
    else:
        (place,) = np.nonzero(((logs < np.log(_SMALL)) & (logs > -np.inf)).any(axis=1))
        logs_of_rows = logs[place]
    return np.column_stack([place.astype(float), logs_of_rows])


class EventTable:
    """An event table as shared variables: compilation does not depend on its size, and its values can be swapped.

    Parameters
    ----------
    arrays : TableArrays or ndarray of shape (N, K)
        The arrays, or bare scaled densities.

    Attributes
    ----------
    inputs : tuple of SharedVariable
        First inputs of the Ops, with or without tiles. Their names are unique, because nutpie's ``with_data`` looks
        them up by name.
    added : tuple of tuple of SharedVariable
        Tables of what has no columns.

    Examples
    --------
    >>> import numpy as np
    >>> table = EventTable(np.array([[1.0, 0.1], [0.2, 1.0]]))
    >>> [variable.type.shape for variable in table.inputs]
    [(1, 2, 512), (2,), (1,), (2,), (), (None, 3)]
    """

    def __init__(self, arrays: TableArrays | NDArray[np.float64]) -> None:
        if not isinstance(arrays, TableArrays):
            arrays = TableArrays.build(np.asarray(arrays, dtype=np.float64))
        label = uuid4().hex[:12]
        self.inputs: tuple[SharedVariable, ...] = tuple(
            pytensor.shared(array, name=f"events_{name}_{label}", borrow=True, shape=_static_shape(name, array))
            for name, array in zip((*TABLE_INPUTS, *BAND_INPUTS), arrays.inputs, strict=False)
        )
        self.added: tuple[tuple[SharedVariable, ...], ...] = tuple(
            tuple(
                pytensor.shared(np.asarray(array), name=f"events_added_{k}_{j}_{label}", borrow=True)
                for j, array in enumerate(tables)
            )
            for k, tables in enumerate(arrays.added)
        )

    def set_multiplicity(self, multiplicity: NDArray[np.float64]) -> None:
        """Let the rows stand for other numbers of events, shape (N,) in the order of the value; densities stay.

        Examples
        --------
        >>> import numpy as np
        >>> table = EventTable(np.array([[1.0, 0.1], [0.2, 1.0]]))
        >>> table.set_multiplicity(np.array([3.0, 0.0]))
        >>> table.inputs[1].get_value()
        array([3., 0.])
        """
        counts = np.ascontiguousarray(multiplicity, dtype=np.float64)
        named = dict(zip((*TABLE_INPUTS, *BAND_INPUTS), self.inputs, strict=False))
        if len(self.inputs) > len(TABLE_INPUTS):
            counts = counts[named["order"].get_value(borrow=True)]
        offset = named["offset"].get_value(borrow=True)
        if counts.shape != offset.shape:
            raise ValueError(f"there are {len(offset)} rows, got multiplicities of shape {counts.shape}")
        named["multiplicity"].set_value(counts)
        named["unit"].set_value(_unit_blocks(counts))
        named["offset_sum"].set_value(weighted_sum(offset, counts))

    @property
    def every(self) -> tuple[SharedVariable, ...]:
        """All variables, one after the other."""
        return (*self.inputs, *(one for tables in self.added for one in tables))


class TableInputs(NamedTuple):
    """Variables that hold the tables of events.

    Attributes
    ----------
    columns : sequence of TensorVariable
        First inputs of the Ops.
    added : sequence of sequence of TensorVariable
        Tables of what has no columns.
    """

    columns: Sequence[Any]
    added: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, types: Sequence[Sequence[Any]], variables: Sequence[Any]) -> Self:
        """From variables one after the other, where tables of what has no columns have these types."""
        n = len(variables) - sum(map(len, types))
        rest = iter(variables[n:])
        return cls(variables[:n], [[next(rest) for _ in own] for own in types])


def _static_shape(name: str, array: NDArray[Any]) -> tuple[int | None, ...]:
    """Shape that graphs may rely on: how many rows need logarithms is a matter of the values."""
    return (None, *array.shape[1:]) if name == "log_rows" else array.shape
