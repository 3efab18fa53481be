"""What the kernels of the likelihood take, from arrays."""

import numpy as np

from pymc_gamma.model.table import TableArrays
from pymc_gamma.ops.layout import EventArrays

__all__ = ["described", "events_of"]


def events_of(arrays: TableArrays, **changes: np.ndarray) -> EventArrays:
    """The events of a table, some of their arrays replaced."""
    return EventArrays(*arrays.inputs[: len(EventArrays._fields)])._replace(**changes)


def described(table, multiplicity, unit=None, offset=None):
    """Events of a blocked table, none of whose rows needs logarithms."""
    return EventArrays(
        table,
        multiplicity,
        np.zeros(len(table), bool) if unit is None else unit,
        np.zeros(len(multiplicity)) if offset is None else offset,
        np.array(0.0),
        np.empty((0, 1 + table.shape[1])),
    )
