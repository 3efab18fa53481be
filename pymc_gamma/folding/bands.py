"""Columns of an event table that are zero for most events: a short run of numbers for each event and component."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding import kernels

__all__ = ["Averaging", "Bands", "compress", "concatenate", "merge", "no_bands", "reorder"]

BAND_MULTIPLE = 8
"""Bands are filled up with zeros to this multiple: loops over them then leave no remainder."""
NEGLIGIBLE = 1e-12
"""Ends of bands below this share of their largest number are cut off."""


class Bands(NamedTuple):
    """Columns that are zero for most events.

    Attributes
    ----------
    values : numpy.ndarray
        Numbers of all bands, event by event and component by component, float32.
    pointer : numpy.ndarray
        Where each band starts in ``values``, and at last their count, shape (N * K + 1,).
    column : numpy.ndarray
        Node that goes with the first number of each band, shape (N, K).
    """

    values: NDArray[np.float32]
    pointer: NDArray[np.int64]
    column: NDArray[np.int64]


def no_bands(n_events: int) -> Bands:
    """Bands of a response without components of free spectrum."""
    return Bands(np.empty(0, np.float32), np.zeros(1, np.int64), np.empty((n_events, 0), np.int64))


class Averaging(NamedTuple):
    """Which points are averaged to one event: those of a cell.

    Attributes
    ----------
    weight : numpy.ndarray
        Weights of the points, which sum to 1 in each cell, shape (n_points,).
    first : numpy.ndarray
        First point of each cell, and at last the number of points, shape (n_cells + 1,).
    """

    weight: FloatArray
    first: NDArray[np.int64]

    @classmethod
    def of_single(cls, n: int) -> "Averaging":
        """Every point for itself."""
        return cls(np.ones(n), np.arange(n + 1))

    @property
    def is_single(self) -> bool:
        """Whether every point stands for itself."""
        return len(self.first) == len(self.weight) + 1

    def chunks(self, size: int) -> "list[tuple[slice, Averaging]]":
        """Points of whole cells, about ``size`` each, and how these are averaged."""
        n = len(self.first) - 1
        starts = np.unique(np.searchsorted(self.first[:n], np.arange(0, self.first[-1], size))).tolist()
        parts = []
        for begin, end in pairwise([*starts, n]):
            rows = slice(int(self.first[begin]), int(self.first[end]))
            parts.append((rows, Averaging(self.weight[rows], self.first[begin : end + 1] - self.first[begin])))
        return parts

    def apply(self, values: FloatArray) -> FloatArray:
        """Averages of values at the points (n_points, ...), shape (n_cells, ...)."""
        if self.is_single:
            return values
        weight = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(np.add.reduceat(values * weight, self.first[:-1], axis=0))


def concatenate(parts: Sequence[Bands], n_components: int) -> Bands:
    """Bands of several lists of events, one after the other."""
    pointer = [np.zeros(1, np.int64)]
    for part in parts:
        pointer.append(part.pointer[1:] + pointer[-1][-1])
    return Bands(
        np.concatenate([np.empty(0, np.float32), *(part.values for part in parts)]),
        np.concatenate(pointer),
        np.concatenate([np.empty((0, n_components), np.int64), *(part.column for part in parts)]),
    )


def merge(groups: Sequence[Bands]) -> Bands:
    """Bands of several groups of components for the same events: those of the first group first."""
    if len(groups) == 1:
        return groups[0]
    lengths: list[NDArray[np.int64]] = [np.diff(group.pointer).reshape(group.column.shape) for group in groups]
    length = np.concatenate(lengths, axis=1)
    pointer = np.concatenate([[0], np.cumsum(length.ravel())])
    start = pointer[:-1].reshape(length.shape)
    values = np.empty(pointer[-1], np.float32)
    first = 0
    for group, own in zip(groups, lengths, strict=True):
        to = start[:, first : first + own.shape[1]].ravel()
        values[np.arange(len(group.values)) + np.repeat(to - group.pointer[:-1], own.ravel())] = group.values
        first += own.shape[1]
    return Bands(values, pointer, np.concatenate([group.column for group in groups], axis=1))


def reorder(bands: Bands, order: NDArray[np.intp]) -> Bands:
    """Bands of the events in another order."""
    n_components = bands.column.shape[1]
    which = (order[:, None] * n_components + np.arange(n_components)).ravel()
    length = np.diff(bands.pointer)[which]
    pointer = np.concatenate([[0], np.cumsum(length)])
    at = np.arange(pointer[-1]) + np.repeat(bands.pointer[which] - pointer[:-1], length)
    return Bands(bands.values[at], pointer, bands.column[order])


def compress(dense: FloatArray, multiple: int = BAND_MULTIPLE) -> Bands:
    """Bands of a dense table (N, K, n), of lengths that are multiples of a number."""
    n, n_components, n_nodes = dense.shape
    start, length = np.empty(n * n_components, np.int64), np.empty(n * n_components, np.int64)
    flat = dense.reshape(n * n_components, n_nodes)
    kernels.band_extents(flat, NEGLIGIBLE, multiple, start, length)
    pointer = np.concatenate([[0], np.cumsum(length)])
    values = np.empty(pointer[-1], np.float32)
    kernels.gather_bands(flat, start, pointer, values)
    return Bands(values, pointer, start.reshape(n, n_components))
