r"""Densities averaged over the cells of binned events.

The density of an event of which only its cell is known is

.. math:: \bar p_k(c) = \frac{1}{|c \cap D|} \int_{c \cap D} p_k(E, \Omega)\,\mathrm{d}E\,\mathrm{d}\Omega ,

where :math:`D` is the domain in which events were selected. The measure of the cell is the same for all components, so
that it cancels in a mixture and adds a constant to the log-likelihood of a Poisson process.

Cells are boxes in the logarithm of the energy, longitude and latitude. A box is cut into smaller ones

* at first where a source could hide between the nodes: until its half width is that of the narrowest Gaussian of the
  PSF there, or half its distance from the source, whichever is larger; and along the edge of the domain;
* then where the averages by one node, the 4 or 8 nodes of the 2 x 2 x 2 Gauss-Legendre rule and the 27 of
  3 x 3 x 3 differ by more than what may be neglected, along the axes on which the density is most curved.

Half of the 8 nodes, the corners of a tetrahedron, are a rule of its own that is exact up to second order. If one node
differs from 8 by a share :math:`c`, then 8 are wrong by up to :math:`0.4\,c^2` (the centre of a Gaussian) and 4 by up
to :math:`0.5\,c^{3/2}` (equal slopes along all axes).

The error estimates use the densities of all components for their nominal spectra. Components of free spectrum are
averaged over the same nodes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import EventError
from pymc_gamma.events.rows import CELL, RECO
from pymc_gamma.folding.engine import FoldedObservation
from pymc_gamma.folding.parts import CompiledComponent
from pymc_gamma.geometry import separation_deg, unit_vectors

__all__ = ["CellGroup", "CellNodes", "SourceWidths", "average_over_cells", "check_cells", "integrate_cells"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Density = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
Inside = Callable[[FloatArray, FloatArray, FloatArray], NDArray[np.bool_]]

TOLERANCE = 1e-3
"""Error of an average that may be neglected, relative to the component and a tenth of the brightest one."""
ONE_NODE = 5e-4
"""Relative difference between one node and four below which one node will do."""
MANY_NODES = 0.01
"""Relative difference between 8 and 27 nodes below which 27 will do."""
ENERGY_STEP = 0.3
"""Largest width of a box in the logarithm of the energy, a few times the energy resolution."""
TEMPLATE_STEP = 2.0
"""Half width of a box over the width of the finest structure of a template, at most."""
POINT_STEP = 1.7
"""Half width of a box over the width of a source in it, at most."""
POINT_DISTANCE = 0.5
"""Half width of a box over its distance from a source, at most."""
LEAST_WEIGHT = 0.01
"""Gaussians of the PSF of smaller weight need no boxes of their own."""
REACH_IN_ENERGY = 0.7
"""Logarithm of the factor within which true energies are looked at for the narrowest PSF."""
EDGE_CUTS = 3
"""How often a box on the edge of the domain is halved."""
MAX_CUTS = 16
CELLS_AT_ONCE = 16384
_ROUNDING = 1e-9


class CellNodes(NamedTuple):
    """Quadrature of cells: points in the order of the cells.

    Attributes
    ----------
    energy, lon, lat : numpy.ndarray
        TeV and deg, shape (n_points,).
    weight : numpy.ndarray
        Sums to 1 over the points of each cell, shape (n_points,).
    first : numpy.ndarray
        First point of each cell, and at last the number of points, shape (n_cells + 1,).
    density : numpy.ndarray
        Averages of the densities, shape (n_cells, K).
    """

    energy: FloatArray
    lon: FloatArray
    lat: FloatArray
    weight: FloatArray
    first: IntArray
    density: FloatArray


class CellGroup(NamedTuple):
    """Some cells of one observation.

    Attributes
    ----------
    observation : int
        Index of the observation.
    rows : numpy.ndarray
        Numbers of the cells among all, shape (n,).
    nodes : CellNodes
        Their quadrature; densities are expected counts, TeV-1 sr-1.
    """

    observation: int
    rows: NDArray[np.intp]
    nodes: CellNodes


class SourceWidths:
    """How finely cells must be sampled not to miss what shines in one observation.

    Parameters
    ----------
    components : sequence of CompiledComponent
        What shines.
    folded : FoldedObservation
        Where its PSF is taken from.
    """

    def __init__(self, components: Sequence[CompiledComponent], folded: FoldedObservation) -> None:
        tables = folded.tables
        narrow = np.where(tables.weight > LEAST_WEIGHT, tables.variance, np.inf).min(axis=0)  # (n_o, n_e)
        self._log_energy = np.log(tables.energy)
        step = self._log_energy[1] - self._log_energy[0] if len(self._log_energy) > 1 else 1.0
        reach = int(np.ceil(REACH_IN_ENERGY / step))
        padded = np.pad(narrow, ((0, 0), (reach, reach)), constant_values=np.inf)
        narrow = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1).min(axis=-1)
        vectors, variance = [np.empty((0, 3))], [np.empty((0, narrow.shape[1]))]
        pixels = []
        for component in components:
            pixels += [template.raster.pixel for template in component.templates]
            if component.analytic is not None:
                offset = separation_deg(component.analytic.vectors, folded.axis) / tables.offset_step
                below = np.minimum(offset.astype(np.int64), len(narrow) - 2)
                vectors.append(component.analytic.vectors)
                variance.append(np.minimum(narrow[below], narrow[below + 1]) + component.analytic.variance[:, None])
        self._vectors, self._variance = np.concatenate(vectors), np.concatenate(variance)
        self._template = np.full(narrow.shape[1], np.inf)
        if pixels:
            self._template = TEMPLATE_STEP * np.sqrt(narrow.min(axis=0) + min(pixels) ** 2)

    def limit(self, log_energy: FloatArray, vectors: FloatArray, radius: FloatArray) -> FloatArray:
        """Largest half width in deg of boxes around directions (N, 3), which reach as far as ``radius`` (N,)."""
        e = np.clip(np.rint(np.interp(log_energy, self._log_energy, np.arange(len(self._log_energy)))), 0, None)
        e = e.astype(np.int64)
        out = self._template[e].copy()
        for vector, variance in zip(self._vectors, self._variance, strict=True):
            distance = POINT_DISTANCE * np.maximum(separation_deg(vectors, vector) - radius, 0)
            np.minimum(out, np.maximum(distance, POINT_STEP * np.sqrt(variance[e])), out=out)
        return out


@dataclass
class _Boxes:
    """Boxes in (log energy, longitude, latitude), parts of cells.

    ``share`` is the volume of a box over that of its cell, ``cuts`` how often its sides were halved along an edge of
    the domain, ``cut`` whether an edge goes through it.
    """

    low: FloatArray
    high: FloatArray
    owner: IntArray
    share: FloatArray
    cuts: IntArray
    cut: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, which: NDArray[np.bool_] | IntArray) -> "_Boxes":
        return _Boxes(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def halved(self, axes: NDArray[np.bool_]) -> "_Boxes":
        """The halves of boxes (N,) along several axes each (N, 3)."""
        boxes = self
        for axis in range(3):
            mask = axes[:, axis]
            if not mask.any():
                continue
            middle = 0.5 * (boxes.low[mask, axis] + boxes.high[mask, axis])
            lower, upper = boxes.take(mask), boxes.take(mask)
            lower.high[:, axis], upper.low[:, axis] = middle, middle
            lower.share *= 0.5
            upper.share *= 0.5
            boxes = _join([boxes.take(~mask), lower, upper])
            axes = np.concatenate([axes[~mask], axes[mask], axes[mask]])
        return boxes

    def points(self, nodes: FloatArray) -> FloatArray:
        """Energy, longitude, latitude at nodes (n, 3) in [-1, 1] of each box, shape (N, n, 3)."""
        middle, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        points = middle[:, None] + half[:, None] * nodes
        points[..., 0] = np.exp(points[..., 0])
        return points


def _join(several: Sequence[_Boxes]) -> _Boxes:
    return _Boxes(*(np.concatenate([getattr(one, name) for one in several]) for name in _Boxes.__dataclass_fields__))


def _gauss(n: int) -> tuple[FloatArray, FloatArray]:
    """Nodes (n^3, 3) and weights, which sum to 1, of a product of Gauss-Legendre rules."""
    node, weight = np.polynomial.legendre.leggauss(n)
    return np.array(list(product(node, repeat=3))), np.prod(list(product(weight / 2, repeat=3)), axis=1)


_CENTRE, _CORNERS, _MANY = _gauss(1), _gauss(2), _gauss(3)
_EVEN = _CORNERS[0].prod(axis=1) > 0
_HALVES = [(_CORNERS[0][which], _CORNERS[1][which] * 2) for which in (_EVEN, ~_EVEN)]
_SIDES = np.array([(0.0, x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]) * (1 - 1e-7)


def check_cells(rows: FloatArray, cells: FloatArray, reco: Sequence[str], n_observations: int) -> None:
    """Raise EventError unless rows (N, len(reco)) and the edges of their cells (N, 6) are possible."""
    problems = {
        "not finite": ~(np.isfinite(rows).all(axis=1) & np.isfinite(cells).all(axis=1)),
        "with their edges reversed": (cells[:, ::2] > cells[:, 1::2]).any(axis=1),
        "from an energy that is not positive": ~(cells[:, 0] > 0),
        "beyond a pole": (np.abs(cells[:, 4:]) > 90).any(axis=1),
    }
    if len(reco) > len(RECO):
        known = np.isin(rows[:, len(RECO)], np.arange(n_observations))
        problems[f"of an unknown observation (there are {n_observations})"] = ~known
    for what, bad in problems.items():
        if bad.any():
            first = np.flatnonzero(bad)[:5]
            raise EventError(
                f"{int(bad.sum())} of {len(rows)} cells are {what}, first rows {first.tolist()}: "
                f"{dict(zip((*reco, *CELL), [*rows[first[0]].tolist(), *cells[first[0]].tolist()], strict=True))}."
            )


def average_over_cells(
    cells: FloatArray,
    means: FloatArray,
    which: NDArray[np.intp],
    observation: int,
    folded: FoldedObservation,
    components: Sequence[CompiledComponent],
    counts: FloatArray,
) -> Iterator[CellGroup]:
    """Average the densities of components over cells, some at a time, so that memory stays bounded.

    Parameters
    ----------
    cells : numpy.ndarray
        Edges of all cells in TeV and deg, shape (N, 6).
    means : numpy.ndarray
        Energy, longitude and latitude of an event in each, shape (N, 3).
    which : numpy.ndarray
        Those of one observation.
    observation : int
        Its index.
    folded : FoldedObservation
        The observation.
    components : sequence of CompiledComponent
        What is expected, K components.
    counts : numpy.ndarray
        Their expected counts, which say what is bright, shape (K,).
    """
    roi = folded.roi
    widths = SourceWidths(components, folded)

    def density(energy: FloatArray, lon: FloatArray, lat: FloatArray) -> FloatArray:
        out = np.empty((len(energy), len(components)))
        folded.density(components, unit_vectors(lon, lat), energy, out)
        return out / counts

    def inside(energy: FloatArray, lon: FloatArray, lat: FloatArray) -> NDArray[np.bool_]:
        return roi.contains(lon, lat)

    for begin in range(0, len(which), CELLS_AT_ONCE):
        rows = which[begin : begin + CELLS_AT_ONCE]
        nodes = integrate_cells(cells[rows], means[rows], (roi.energy_min, roi.energy_max), density, inside, widths)
        yield CellGroup(observation, rows, nodes._replace(density=nodes.density * counts))


def integrate_cells(
    cells: FloatArray,
    means: FloatArray,
    energy_range: tuple[float, float],
    density: Density,
    inside: Inside,
    widths: SourceWidths,
) -> CellNodes:
    """Average densities over cells of one observation.

    Parameters
    ----------
    cells : numpy.ndarray
        Edges of energy in TeV, longitude and latitude in deg, shape (N, 6).
    means : numpy.ndarray
        Energy, longitude and latitude of an event that is in the cell for certain, shape (N, 3).
    energy_range : tuple of float
        Energies in TeV at which cells are cut off.
    density : callable
        Densities (n, K) at energies, longitudes and latitudes (n,) within the domain.
    inside : callable
        Whether energies, longitudes and latitudes (n,) are in the domain.
    widths : SourceWidths
        How fine the sampling must be.

    Raises
    ------
    EventError
        If no part of a cell lies in the domain.
    """
    beyond = (cells[:, 1] < energy_range[0] * (1 - _ROUNDING)) | (cells[:, 0] > energy_range[1] * (1 + _ROUNDING))
    _refuse(beyond, means)
    quadrature = _Quadrature(len(cells), density, inside)
    boxes = _first_boxes(cells, energy_range)
    exact = (boxes.low == boxes.high).all(axis=1)
    quadrature.add_single(means[exact], np.flatnonzero(exact))
    boxes = boxes.take(~exact)
    if len(boxes):
        quadrature.integrate(_cut_at_first(boxes, inside, widths))
    nodes = quadrature.collect()
    empty = np.flatnonzero(np.diff(nodes.first) == 0)
    if empty.size:
        # a sliver of the cell that no node hit: its event knows where
        quadrature.add_single(means[empty], empty)
        nodes = quadrature.collect()
    return nodes


def _first_boxes(cells: FloatArray, energy_range: tuple[float, float]) -> _Boxes:
    low, high = cells[:, ::2].copy(), cells[:, 1::2].copy()
    low[:, 0], high[:, 0] = np.log(np.clip(low[:, 0], *energy_range)), np.log(np.clip(high[:, 0], *energy_range))
    n = len(cells)
    return _Boxes(low, high, np.arange(n), np.ones(n), np.zeros(n, np.int64), np.ones(n, bool))


def _cut_at_first(boxes: _Boxes, inside: Inside, widths: SourceWidths) -> _Boxes:
    """Boxes small enough not to miss a source, and those that are outside of the domain left out."""
    done = []
    for _ in range(MAX_CUTS):
        asked = np.flatnonzero(boxes.cut)
        points = boxes.take(asked).points(_SIDES)
        kept = inside(*points.reshape(-1, 3).T).reshape(points.shape[:2])
        boxes.cut[asked] = ~kept.all(axis=1)
        outside = np.zeros(len(boxes), bool)
        outside[asked] = ~kept.any(axis=1) & (boxes.cuts[asked] >= EDGE_CUTS)
        boxes = boxes.take(~outside)
        middle, half = 0.5 * (boxes.low + boxes.high), 0.5 * (boxes.high - boxes.low)
        half[:, 1] *= np.cos(np.radians(middle[:, 2]))
        limit = widths.limit(middle[:, 0], unit_vectors(middle[:, 1], middle[:, 2]), np.hypot(half[:, 1], half[:, 2]))
        axes = half > np.stack([np.full(len(half), ENERGY_STEP / 2), limit, limit], axis=1)
        at_edge = boxes.cut & (boxes.cuts < EDGE_CUTS)
        axes[:, 1:] |= at_edge[:, None]
        axes &= half > 0
        boxes.cuts = boxes.cuts + at_edge
        split = axes.any(axis=1)
        done.append(boxes.take(~split))
        if not split.any():
            break
        boxes = boxes.take(split).halved(axes[split])
    else:
        done.append(boxes)
    return _join(done)


class _Quadrature:
    """Sums over the nodes of boxes, and the nodes themselves."""

    def __init__(self, n_cells: int, density: Density, inside: Inside) -> None:
        self._density, self._inside = density, inside
        self._n_cells = n_cells
        self._owner: list[IntArray] = []
        self._points: list[FloatArray] = []
        self._weight: list[FloatArray] = []
        self._value: list[FloatArray] = []

    def add_single(self, means: FloatArray, owner: IntArray) -> None:
        """Cells of one node each, which must be in the domain."""
        if not len(owner):
            return
        _refuse(~self._inside(*means.T), means)
        self._keep(means, owner, np.ones(len(owner)), self._density(*means.T))

    def integrate(self, boxes: _Boxes) -> None:
        """Add nodes until the averages are good enough."""
        sums, volumes = np.zeros((self._n_cells, 0)), np.zeros(self._n_cells)

        def add(which: NDArray[np.bool_], boxes: _Boxes, averages: _Averages) -> None:
            np.add.at(sums, boxes.owner[which], (averages.mean * averages.volume[:, None])[which])
            np.add.at(volumes, boxes.owner[which], averages.volume[which])

        for last in [False] * MAX_CUTS + [True]:
            one, four = self._evaluate(boxes, _CENTRE), self._evaluate(boxes, _HALVES[0])
            if not sums.size:
                sums = np.zeros((self._n_cells, four.mean.shape[1]))
            # what is known of each cell so far
            total, volume = sums.copy(), volumes.copy()
            np.add.at(total, boxes.owner, four.mean * four.volume[:, None])
            np.add.at(volume, boxes.owner, four.volume)
            volume = np.where(volume > 0, volume, 1)
            average = total / volume[:, None]
            allowed = TOLERANCE * (average + 0.1 * average.max(axis=1, keepdims=True, initial=0))[boxes.owner]
            # of the mean over a box: large where the box is a small part of its cell
            share = four.volume / volume[boxes.owner]
            allowed = 0.5 * allowed / np.maximum(share, np.finfo(float).tiny)[:, None]

            change = np.abs(four.mean - one.mean)
            single = (change <= ONE_NODE * four.mean).all(axis=1) & ~boxes.cut
            good = _negligible(0.5 * change * np.sqrt(_ratio(change, four.mean)), allowed) & ~boxes.cut & ~single
            self._accept(boxes, one, single, four)
            self._accept(boxes, four, good)
            add(single | good, boxes, four)
            rest = ~(single | good)
            if not rest.any():
                return

            boxes, allowed, one, four = boxes.take(rest), allowed[rest], one.take(rest), four.take(rest)
            eight = _both(four, self._evaluate(boxes, _HALVES[1]))
            change = np.abs(eight.mean - one.mean)
            good = _negligible(0.4 * change * _ratio(change, eight.mean), allowed)
            self._accept(boxes, eight, good)
            add(good, boxes, eight)
            if good.all():
                return

            boxes, allowed, eight = boxes.take(~good), allowed[~good], eight.take(~good)
            many = self._evaluate(boxes, _MANY)
            change = np.abs(many.mean - eight.mean)
            good = ((change <= MANY_NODES * many.mean) | (change <= allowed)).all(axis=1) | last
            self._accept(boxes, many, good)
            add(good, boxes, many)
            if good.all():
                return
            boxes = boxes.take(~good)
            axes = _curved_axes(many.values[~good], allowed[~good]) & (boxes.high > boxes.low)
            boxes = boxes.halved(axes)

    def collect(self) -> CellNodes:
        """All nodes, sorted by cell."""
        owner = np.concatenate([np.empty(0, np.int64), *self._owner])
        order = np.argsort(owner, kind="stable")
        points = np.concatenate([np.empty((0, 3)), *self._points])[order]
        weight = np.concatenate([np.empty(0), *self._weight])[order]
        first = np.searchsorted(owner[order], np.arange(self._n_cells + 1))
        total = np.bincount(owner, np.concatenate([np.empty(0), *self._weight]), self._n_cells)
        weight = weight / total[owner[order]]
        value = np.concatenate(self._value)[order] if self._value else np.empty((0, 0))
        density = np.zeros((self._n_cells, value.shape[1]))
        np.add.at(density, owner[order], weight[:, None] * value)
        energy, lon, lat = np.ascontiguousarray(points.T)
        return CellNodes(energy, lon, lat, weight, first, density)

    def _evaluate(self, boxes: _Boxes, rule: tuple[FloatArray, FloatArray]) -> "_Averages":
        nodes, weight = rule
        points = boxes.points(nodes)
        measure = weight * points[..., 0] * np.cos(np.radians(points[..., 2])) * boxes.share[:, None]
        flat = points.reshape(-1, 3)
        kept = np.repeat(~boxes.cut, len(nodes))
        kept[~kept] = self._inside(*flat[~kept].T)
        values = self._density(*flat[kept].T)
        if kept.all():
            spread = values
        else:
            spread = np.zeros((len(flat), values.shape[1]))
            spread[kept] = values
            measure = measure * kept.reshape(measure.shape)
        spread = spread.reshape(*measure.shape, values.shape[1])
        return _averages(points, measure, spread)

    def _accept(
        self,
        boxes: _Boxes,
        averages: "_Averages",
        which: NDArray[np.bool_],
        better: "_Averages | None" = None,
    ) -> None:
        """Keep the nodes of some boxes; of single ones with averages and volumes that are known better."""
        measure, values = averages.measure[which], averages.values[which]
        if better is not None:
            measure, values = better.volume[which][:, None], better.mean[which][:, None]
        n = measure.shape[1]
        used = (measure > 0).ravel()
        self._keep(
            averages.points[which].reshape(-1, 3)[used],
            np.repeat(boxes.owner[which], n)[used],
            measure.ravel()[used],
            values.reshape(-1, values.shape[-1])[used],
        )

    def _keep(self, points: FloatArray, owner: IntArray, weight: FloatArray, value: FloatArray) -> None:
        self._points.append(points)
        self._owner.append(owner)
        self._weight.append(weight)
        self._value.append(value)


def _refuse(bad: NDArray[np.bool_], means: FloatArray) -> None:
    if bad.any():
        raise EventError(
            f"no part of {int(bad.sum())} cells is in the region or its range of energies; the events of the first are "
            f"at {means[bad][0].tolist()} (energy in TeV, lon and lat in deg). Use events.select(roi) before "
            "events.binned(...)."
        )


class _Averages(NamedTuple):
    """Of the densities over boxes: nodes (B, n, 3), their measures (B, n), densities (B, n, K), sums and means."""

    points: FloatArray
    measure: FloatArray
    values: FloatArray
    volume: FloatArray
    mean: FloatArray

    def take(self, which: NDArray[np.bool_]) -> "_Averages":
        return _Averages(*(one[which] for one in self))


def _averages(points: FloatArray, measure: FloatArray, values: FloatArray) -> _Averages:
    volume = measure.sum(axis=1)
    mean = np.einsum("bn,bnk->bk", measure, values) / np.where(volume > 0, volume, 1)[:, None]
    return _Averages(points, measure, values, volume, mean)


def _both(one: _Averages, other: _Averages) -> _Averages:
    """The averages over the nodes of two rules."""
    points, values = (np.concatenate([getattr(one, n), getattr(other, n)], axis=1) for n in ("points", "values"))
    return _averages(points, 0.5 * np.concatenate([one.measure, other.measure], axis=1), values)


def _ratio(change: FloatArray, mean: FloatArray) -> FloatArray:
    """Relative change, 1 at most: a series that has not begun to converge says nothing."""
    return np.minimum(change / np.maximum(mean, np.finfo(float).tiny), 1.0)


def _negligible(error: FloatArray, allowed: FloatArray) -> NDArray[np.bool_]:
    return np.asarray((error <= allowed).all(axis=1))


def _curved_axes(values: FloatArray, allowed: FloatArray) -> NDArray[np.bool_]:
    """Axes along which boxes with densities (N, 27, K) are halved: those of the greatest second differences."""
    cube = values.reshape(len(values), 3, 3, 3, -1) / np.maximum(allowed, np.finfo(float).tiny)[:, None, None, None, :]
    curvature = np.stack(
        [np.abs(np.diff(cube, n=2, axis=axis)).reshape(len(values), -1).sum(axis=1) for axis in (1, 2, 3)], axis=1
    )
    largest = curvature.max(axis=1, keepdims=True)
    return (curvature >= 0.25 * largest) & (largest > 0) | (largest == 0)
