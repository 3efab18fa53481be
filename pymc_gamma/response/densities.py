"""Densities of folded components at events or averaged over cells, and the bands of those of free spectrum."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.events.rows import EventRows
from pymc_gamma.folding.bands import Averaging, Bands, concatenate, reorder
from pymc_gamma.folding.energies import AtEnergies, InRanges
from pymc_gamma.folding.engine import density
from pymc_gamma.folding.free import FreeComponents
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.response.cells import CellGroup, average_over_cells, check_cells
from pymc_gamma.response.checks import check_rows, warn_unexplained
from pymc_gamma.response.folds import Fold
from pymc_gamma.threads import run_parallel

__all__ = ["EventColumns", "bands", "columns", "densities", "over_cells"]


class EventColumns(NamedTuple):
    """Densities of events under the components of a fold.

    Attributes
    ----------
    fixed : numpy.ndarray
        Expected counts density of some components, TeV-1 sr-1, shape (N, n).
    bands : Bands or None
        Densities of the components of free spectrum per unit coefficient, over their total acceptance, TeV-1 sr-1.
    """

    fixed: FloatArray
    bands: Bands | None


def densities(fold: Fold, rows: EventRows, which: Sequence[int] | None = None) -> FloatArray:
    """Expected counts density of all components, or some given by number, at events or averaged over their cells.

    Returns
    -------
    numpy.ndarray
        TeV-1 sr-1, shape (N, n).

    Raises
    ------
    EventError
        If a row is not finite or outside the domain of its observation.
    """
    if rows.cells is not None:
        averages = _in_order(over_cells(fold, rows), len(rows), len(fold.components))
        return averages if which is None else averages[:, which]
    check_rows(rows, fold.domains)
    return _at_points(fold, rows, range(len(fold.components)) if which is None else which)


def columns(
    fold: Fold,
    rows: EventRows,
    fixed: Sequence[int],
    free: FreeComponents | None,
    smooth: Collection[str] = (),
) -> EventColumns:
    """Densities as a model needs them: of the fixed components, given by number, and bands of the free ones.

    Warns of events at which the components that shine everywhere do not.

    Parameters
    ----------
    fold : Fold
        Components and observations.
    rows : EventRows
        The events.
    fixed : sequence of int
        Components that are not of free spectrum.
    free : FreeComponents or None
        Those that are.
    smooth : collection of str
        Names of the latter whose columns are to be those of few nodes.

    Raises
    ------
    EventError
        If a row is not finite or outside the domain of its observation.
    """
    if rows.cells is not None:
        averages = _in_order(over_cells(fold, rows, fixed), len(rows), len(fixed))
        if free is None:
            return EventColumns(averages, None)
        others = fold.counts[list(fixed)].sum(axis=1)
        beside = (averages / np.where(others > 0, others, 1)).max(axis=1, initial=0.0)
        groups = over_cells(fold, rows, [fold.index(one.name) for one in free.components], beside)
        return EventColumns(averages, _bands_of_cells(free, groups, smooth))
    check_rows(rows, fold.domains)
    contrast = _contrast(fold, rows)
    if contrast is not None:
        warn_unexplained(rows, contrast, fold.domains)
    return EventColumns(_at_points(fold, rows, fixed), None if free is None else _bands_of_points(free, rows, smooth))


def _at_points(fold: Fold, rows: EventRows, which: Sequence[int]) -> FloatArray:
    components = [fold.components[k] for k in which]
    out = np.empty((len(rows), len(components)))
    if not components:
        return out

    def one_observation(of: tuple[int, NDArray[np.intp]]) -> None:
        o, mine = of
        own = rows.take(mine)
        part = out if own is rows else np.empty((len(own), len(components)))
        density(fold.folded[o], components, own.vectors, AtEnergies(own.energy), part)
        if part is not out:
            out[mine] = part

    run_parallel(one_observation, rows.by_observation())
    return out


def _contrast(fold: Fold, rows: EventRows) -> FloatArray | None:
    """Largest contrast at events of the components that shine everywhere; None if there are none."""
    out = np.zeros(len(rows))
    found = False
    for o, mine in rows.by_observation():
        own = rows.take(mine)
        log_energy = np.log(own.energy)
        for component in fold.components:
            contrast = component.contrast(fold.folded[o], own.vectors, log_energy)
            if contrast is not None:
                found = True
                out[mine] = np.maximum(out[mine], contrast)
    return out if found else None


def _bands_of_points(free: FreeComponents, rows: EventRows, smooth: Collection[str]) -> Bands:
    held = rows.by_observation()

    def one_observation(of: tuple[int, NDArray[np.intp]]) -> Bands:
        o, mine = of
        own = rows.take(mine)
        return free.bands(o, own.vectors, AtEnergies(own.energy), smooth)

    parts = run_parallel(one_observation, held)
    if len(parts) == 1:
        only: Bands = parts[0]
        return only
    order = np.concatenate([np.empty(0, np.intp), *(mine for _, mine in held)])
    return reorder(concatenate(parts, len(free.columns)), np.argsort(order))


def over_cells(
    fold: Fold, rows: EventRows, which: Sequence[int] | None = None, beside: FloatArray | None = None
) -> list[CellGroup]:
    """Averages of all components, or some given by number, over the cells that rows fill, by observation.

    ``beside`` is the largest probability density of the others in each, TeV-1 sr-1.
    """
    assert rows.cells is not None
    which = range(len(fold.components)) if which is None else which
    components, counts = [fold.components[k] for k in which], fold.counts[list(which)].sum(axis=1)
    if not components:
        return []
    check_cells(rows, len(fold.folded))
    means = np.column_stack([rows.energy, rows.lon, rows.lat])
    return [
        group
        for o, mine in rows.by_observation()
        for group in average_over_cells(rows.cells, means, mine, fold.folded[o], components, counts, beside)
    ]


def _in_order(groups: Sequence[CellGroup], n_rows: int, n_components: int) -> FloatArray:
    """Averaged densities in the order of the rows, shape (n_rows, K)."""
    out = np.empty((n_rows, n_components))
    for group in groups:
        out[group.rows] = group.nodes.density
    return out


def _bands_of_cells(free: FreeComponents, groups: Sequence[CellGroup], smooth: Collection[str]) -> Bands:
    """Bands averaged over cells, in the order of the rows."""
    parts = []
    for group in groups:
        nodes = group.nodes
        energies = InRanges(group.ranges, np.repeat(group.which, np.diff(nodes.first)))
        averaging = Averaging(nodes.weight, nodes.first)
        parts.append(free.bands(group.observation, unit_vectors(nodes.lon, nodes.lat), energies, smooth, averaging))
    order = np.concatenate([np.empty(0, np.intp), *(group.rows for group in groups)])
    return reorder(concatenate(parts, len(free.columns)), np.argsort(order))


def bands(free: FreeComponents, fold: Fold, rows: EventRows, smooth: Collection[str] = ()) -> Bands:
    """Bands of the components of free spectrum at events, or averaged over their cells.

    Raises
    ------
    EventError
        If a row is not finite or outside the domain of its observation.
    """
    if rows.cells is not None:
        return _bands_of_cells(free, over_cells(fold, rows), smooth)
    check_rows(rows, fold.domains)
    return _bands_of_points(free, rows, smooth)
