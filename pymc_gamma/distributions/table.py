r"""Event tables: the arrays that the Ops of this package read.

Row *i* of the table holds the densities of event *i* under each column, divided by their largest,
:math:`P_{ik} = p_{ik} e^{-o_i}` with :math:`o_i = \log \max_k p_{ik}`. Columns that reach few events are not
part of it: they are stored as tiles (:mod:`pymc_gamma.ops.tiles`), and all arrays are then in an order of events that
suits these.
"""

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

__all__ = ["EventTable", "TableArrays"]


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
    tiles : Tiles or tuple
        Columns that reach few events, and the order of the events; empty if there are none.
    """

    table: NDArray[np.float64]
    multiplicity: NDArray[np.float64]
    unit: NDArray[np.bool_]
    offset: NDArray[np.float64]
    offset_sum: NDArray[np.float64]
    tiles: Tiles | tuple[()] = ()

    @property
    def inputs(self) -> tuple[NDArray[Any], ...]:
        """First inputs of the Ops."""
        return (self.table, self.multiplicity, self.unit, self.offset, self.offset_sum, *self.tiles)

    @classmethod
    def build(
        cls,
        densities: NDArray[np.float64],
        multiplicity: NDArray[np.float64] | None = None,
        log_scale: NDArray[np.float64] | None = None,
        bands: tuple[NDArray[Any], ...] = (),
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
        unit = np.array([np.all(counts[i : i + BLOCK] == 1) for i in range(0, n_events, BLOCK)], dtype=bool)
        return cls(to_blocks(densities), counts, unit, offset, weighted_sum(offset, counts), tiles)


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

    Examples
    --------
    >>> import numpy as np
    >>> table = EventTable(np.array([[1.0, 0.1], [0.2, 1.0]]))
    >>> [variable.type.shape for variable in table.inputs]
    [(1, 2, 512), (2,), (1,), (2,), ()]
    """

    def __init__(self, arrays: TableArrays | NDArray[np.float64]) -> None:
        if not isinstance(arrays, TableArrays):
            arrays = TableArrays.build(np.asarray(arrays, dtype=np.float64))
        label = uuid4().hex[:12]
        self.inputs: tuple[SharedVariable, ...] = tuple(
            pytensor.shared(array, name=f"events_{name}_{label}", borrow=True, shape=array.shape)
            for name, array in zip((*TABLE_INPUTS, *BAND_INPUTS), arrays.inputs, strict=False)
        )
