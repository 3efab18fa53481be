r"""Densities averaged over the cells of binned events.

The density of an event of which only its cell is known is

.. math:: \bar p_k(c) = \frac{1}{|c \cap D|} \int_{c \cap D} p_k(E, \Omega)\,\mathrm{d}E\,\mathrm{d}\Omega ,

where :math:`D` is the domain in which events were selected. The measure of the cell is the same for all components, so
that it cancels in a mixture and adds a constant to the log-likelihood of a Poisson process.

Along the energy the average is exact (:mod:`pymc_gamma.folding.energies`). On the sky cells are boxes in longitude and
latitude, cut into smaller ones

* at first where a source could hide between the nodes: until its half width is about that of the narrowest Gaussian of
  the PSF there, or half its distance from the source, whichever is larger; and along the edge of the domain;
* then where the averages by the nodes of the 1 x 1, 2 x 2 and 3 x 3 Gauss-Legendre rules differ by more than what may
  be neglected, along the axis on which the density is most curved. If one node differs from four by a share :math:`c`,
  and these by a share :math:`s` among themselves, four are wrong by up to :math:`0.4\,c^2`, as at the centre of a
  Gaussian, and :math:`0.003\,s^4`, as on its flank, where curvatures cancel.

The error estimates use the densities of components for their nominal spectra. Where many numbers are kept of each node,
as of components of free spectrum, these have a quadrature of their own, which knows how bright the others are: it does
not follow the structure of a template.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.errors import EventError
from pymc_gamma.events.rows import CELL, EventRows
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.energies import EnergyRanges, InRanges
from pymc_gamma.folding.engine import density as density_at
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.geometry import separation_deg, unit_vectors

__all__ = ["CellGroup", "CellNodes", "SourceWidths", "average_over_cells", "check_cells", "integrate_cells"]

Density = Callable[[FloatArray, FloatArray, IntArray], FloatArray]
Inside = Callable[[FloatArray, FloatArray], NDArray[np.bool_]]

TOLERANCE = 1e-3
"""Error of an average that may be neglected, relative to the component and a tenth of the brightest one."""
ONE_NODE = 5e-4
"""Relative difference between one node and four below which the place of one will do."""
NINE_NODES = 0.01
"""Relative difference between four and nine nodes below which nine will do."""
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
RANGES_AT_ONCE = 256
TINY = np.finfo(float).tiny
_ROUNDING = 1e-9


class CellNodes(NamedTuple):
    """Quadrature of cells: points on the sky, in the order of the cells.

    Attributes
    ----------
    lon, lat : numpy.ndarray
        Deg, shape (n_points,).
    weight : numpy.ndarray
        Of what is averaged over the points of each cell, shape (n_points,). They sum to 1, or a little more or less
        where one node stands for a box: what it stands for has the mean of four.
    first : numpy.ndarray
        First point of each cell, and at last the number of points, shape (n_cells + 1,).
    density : numpy.ndarray
        Averages of the densities, shape (n_cells, K).
    area : numpy.ndarray
        Solid angle in sr of the part of each cell in the domain, 0 where no node hit it, shape (n_cells,).
    """

    lon: FloatArray
    lat: FloatArray
    weight: FloatArray
    first: IntArray
    density: FloatArray
    area: FloatArray


class CellGroup(NamedTuple):
    """Some cells of one observation.

    Attributes
    ----------
    observation : int
        Index of the observation.
    rows : numpy.ndarray
        Numbers of the cells among all, shape (n,).
    ranges : EnergyRanges
        Ranges of energy of the cells.
    which : numpy.ndarray
        Range of each cell, shape (n,).
    nodes : CellNodes
        Their quadrature; densities are expected counts, TeV-1 sr-1.
    """

    observation: int
    rows: NDArray[np.intp]
    ranges: EnergyRanges
    which: IntArray
    nodes: CellNodes


class SourceWidths:
    """How finely cells must be sampled not to miss what shines in one observation.

    Parameters
    ----------
    components : sequence of CompiledComponent
        What shines.
    folded : FoldedObservation
        Where its PSF is taken from.
    ranges : EnergyRanges
        Ranges of energy of the cells.
    """

    def __init__(
        self, components: Sequence[CompiledComponent], folded: FoldedObservation, ranges: EnergyRanges
    ) -> None:
        tables = folded.tables
        narrow = np.where(tables.weight > LEAST_WEIGHT, tables.variance, np.inf).min(axis=0)  # (n_o, n_e)
        log_energy = np.log(tables.energy)
        first = np.searchsorted(log_energy, np.log(ranges.low) - REACH_IN_ENERGY)
        last = np.searchsorted(log_energy, np.log(ranges.high) + REACH_IN_ENERGY)
        n_e = len(log_energy)
        # (n_o, n_ranges)
        narrow = np.stack(
            [narrow[:, min(i, n_e - 1) : max(j, i + 1)].min(axis=1) for i, j in zip(first, last, strict=True)], axis=1
        )
        vectors, variance = [np.empty((0, 3))], [np.empty((0, narrow.shape[1]))]
        pixels = [raster.pixel for component in components for raster in component.rasters().values()]
        for component in components:
            where, width = component.peaks()
            offset = separation_deg(where, folded.axis) / tables.offset_step
            below = np.minimum(offset.astype(np.int64), len(narrow) - 2)
            vectors.append(where)
            variance.append(np.minimum(narrow[below], narrow[below + 1]) + width[:, None])
        self._vectors, self._variance = np.concatenate(vectors), np.concatenate(variance)
        self._template = np.full(narrow.shape[1], np.inf)
        if pixels:
            self._template = TEMPLATE_STEP * np.sqrt(narrow.min(axis=0) + min(pixels) ** 2)

    def limit(self, which: IntArray, vectors: FloatArray, radius: FloatArray) -> FloatArray:
        """Largest half width in deg of boxes in given ranges (N,), in directions (N, 3), as far as ``radius`` (N,)."""
        out = self._template[which].copy()
        for vector, variance in zip(self._vectors, self._variance, strict=True):
            distance = POINT_DISTANCE * np.maximum(separation_deg(vectors, vector) - radius, 0)
            np.minimum(out, np.maximum(distance, POINT_STEP * np.sqrt(variance[which])), out=out)
        return out


@dataclass
class _Boxes:
    """Boxes in longitude and latitude, parts of cells.

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
        """The halves of boxes (N,) along several axes each (N, 2)."""
        boxes = self
        for axis in range(2):
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
        """Longitude and latitude at nodes (n, 2) in [-1, 1] of each box, shape (N, n, 2)."""
        middle, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        return middle[:, None] + half[:, None] * nodes


def _join(several: Sequence[_Boxes]) -> _Boxes:
    return _Boxes(*(np.concatenate([getattr(one, name) for one in several]) for name in _Boxes.__dataclass_fields__))


def _gauss(n: int) -> tuple[FloatArray, FloatArray]:
    """Nodes (n^2, 2) and weights, which sum to 1, of a product of Gauss-Legendre rules."""
    node, weight = np.polynomial.legendre.leggauss(n)
    return np.array(list(product(node, repeat=2))), np.prod(list(product(weight / 2, repeat=2)), axis=1)


_ONE, _FOUR, _NINE = _gauss(1), _gauss(2), _gauss(3)
_SIDES = np.array(list(product((-1.0, 0.0, 1.0), repeat=2))) * (1 - 1e-7)


def check_cells(rows: EventRows, n_observations: int) -> None:
    """Raise EventError unless rows and the edges of their cells are possible."""
    cells = rows.cells
    assert cells is not None
    finite = np.isfinite(cells).all(axis=1)
    for column in (rows.energy, rows.lon, rows.lat, rows.observation):
        finite &= np.isfinite(column)
    problems = {
        "not finite": ~finite,
        "with their edges reversed": (cells[:, ::2] > cells[:, 1::2]).any(axis=1),
        "from an energy that is not positive": ~(cells[:, 0] > 0),
        "beyond a pole": (np.abs(cells[:, 4:]) > 90).any(axis=1),
        f"of an unknown observation (there are {n_observations})": ~np.isin(
            rows.observation, np.arange(n_observations)
        ),
    }
    for what, bad in problems.items():
        if bad.any():
            first = np.flatnonzero(bad)[:5]
            edges = dict(zip(CELL, cells[first[0]].tolist(), strict=True))
            raise EventError(
                f"{int(bad.sum())} of {len(rows)} cells are {what}, first rows {first.tolist()}: "
                f"{rows.describe(int(first[0])) | edges}."
            )


def average_over_cells(
    cells: FloatArray,
    means: FloatArray,
    which: NDArray[np.intp],
    folded: FoldedObservation,
    components: Sequence[CompiledComponent],
    counts: FloatArray,
    beside: FloatArray | None = None,
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
    folded : FoldedObservation
        The observation.
    components : sequence of CompiledComponent
        What is expected, K components.
    counts : numpy.ndarray
        Their expected counts, which say what is bright, shape (K,).
    beside : numpy.ndarray, optional
        Probability density of what else shines, TeV-1 sr-1, in each of all cells, shape (N,).
    """
    domain, (lowest, highest) = folded.domain, folded.domain.energy_range
    bounds = domain.clip(cells[which, :2])
    beyond = (cells[which, 1] < lowest * (1 - _ROUNDING)) | (cells[which, 0] > highest * (1 + _ROUNDING))
    _refuse(beyond, means[which])
    # sorted by energy, so that few ranges are at work at a time
    distinct, range_of = np.unique(bounds, axis=0, return_inverse=True)
    order = np.argsort(range_of, kind="stable")

    def inside(lon: FloatArray, lat: FloatArray) -> NDArray[np.bool_]:
        return domain.contains_sky(unit_vectors(lon, lat))

    begin = 0
    while begin < len(order):
        end = min(begin + CELLS_AT_ONCE, int(np.searchsorted(range_of[order], range_of[order[begin]] + RANGES_AT_ONCE)))
        chosen = order[begin:end]
        first = range_of[chosen[0]]
        own, rows = range_of[chosen] - first, which[chosen]
        low, high = distinct[first : range_of[chosen[-1]] + 1].T
        ranges = EnergyRanges(low, high)
        widths = SourceWidths(components, folded, ranges)

        def density(
            lon: FloatArray,
            lat: FloatArray,
            cell: IntArray,
            ranges: EnergyRanges = ranges,
            own: IntArray = own,
        ) -> FloatArray:
            found = np.empty((len(lon), len(components)))
            density_at(folded, components, unit_vectors(lon, lat), InRanges(ranges, own[cell]), found)
            return found / counts

        also = None if beside is None else beside[rows]
        nodes = integrate_cells(cells[rows, 2:], own, means[rows, 1:], density, inside, widths, also)
        yield CellGroup(folded.index, rows, ranges, own, nodes._replace(density=nodes.density * counts))
        begin = end


def integrate_cells(
    cells: FloatArray,
    ranges: IntArray,
    means: FloatArray,
    density: Density,
    inside: Inside,
    widths: SourceWidths,
    beside: FloatArray | None = None,
) -> CellNodes:
    """Average densities over cells of one observation.

    Parameters
    ----------
    cells : numpy.ndarray
        Edges of longitude and latitude in deg, shape (N, 4).
    ranges : numpy.ndarray
        Range of energies of each cell, shape (N,).
    means : numpy.ndarray
        Longitude and latitude of an event that is in the cell for certain, shape (N, 2).
    density : callable
        Densities (n, K) at longitudes and latitudes in the domain, in the energies of given cells (n,).
    inside : callable
        Whether longitudes and latitudes (n,) are in the domain.
    widths : SourceWidths
        How fine the sampling must be.
    beside : numpy.ndarray, optional
        Density of what else shines in each cell, which says what is bright, shape (N,).

    Raises
    ------
    EventError
        If no part of a cell lies in the domain.
    """
    quadrature = _Quadrature(cells, density, inside, beside)
    n = len(cells)
    low, high = cells[:, ::2].copy(), cells[:, 1::2].copy()
    boxes = _Boxes(low, high, np.arange(n), np.ones(n), np.zeros(n, np.int64), np.ones(n, bool))
    exact = (boxes.low == boxes.high).all(axis=1)
    quadrature.add_single(means[exact], np.flatnonzero(exact))
    boxes = boxes.take(~exact)
    if len(boxes):
        quadrature.integrate(_cut_at_first(boxes, ranges, inside, widths))
    nodes = quadrature.collect()
    empty = np.flatnonzero(np.diff(nodes.first) == 0)
    if empty.size:
        # a sliver of the cell that no node hit: its event knows where
        quadrature.add_single(means[empty], empty)
        nodes = quadrature.collect()
    return nodes


def _cut_at_first(boxes: _Boxes, ranges: IntArray, inside: Inside, widths: SourceWidths) -> _Boxes:
    """Boxes small enough not to miss a source, and those that are outside of the domain left out."""
    done = []
    for _ in range(MAX_CUTS):
        asked = np.flatnonzero(boxes.cut)
        points = boxes.take(asked).points(_SIDES)
        kept = inside(*points.reshape(-1, 2).T).reshape(points.shape[:2])
        boxes.cut[asked] = ~kept.all(axis=1)
        outside = np.zeros(len(boxes), bool)
        outside[asked] = ~kept.any(axis=1) & (boxes.cuts[asked] >= EDGE_CUTS)
        boxes = boxes.take(~outside)
        middle, half = 0.5 * (boxes.low + boxes.high), 0.5 * (boxes.high - boxes.low)
        half[:, 0] *= np.cos(np.radians(middle[:, 1]))
        limit = widths.limit(ranges[boxes.owner], unit_vectors(*middle.T), np.hypot(*half.T))
        axes = half > limit[:, None]
        at_edge = boxes.cut & (boxes.cuts < EDGE_CUTS)
        axes |= at_edge[:, None]
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

    def __init__(self, cells: FloatArray, density: Density, inside: Inside, beside: FloatArray | None = None) -> None:
        self._density, self._inside = density, inside
        self._n_cells = len(cells)
        self._beside = np.zeros(len(cells)) if beside is None else beside
        self._sides = np.prod(np.radians(cells[:, 1::2] - cells[:, ::2]), axis=1)
        self._single = np.zeros(len(cells), bool)
        self._owner: list[IntArray] = []
        self._points: list[FloatArray] = []
        self._weight: list[FloatArray] = []
        self._value: list[FloatArray] = []
        self._gain: list[FloatArray] = []

    def add_single(self, means: FloatArray, owner: IntArray) -> None:
        """Cells of one node each, which must be in the domain."""
        if not len(owner):
            return
        _refuse(~self._inside(*means.T), means)
        self._single[owner] = True
        self._keep(means, owner, np.ones(len(owner)), self._density(means[:, 0], means[:, 1], owner))

    def integrate(self, boxes: _Boxes) -> None:
        """Add nodes until the averages are good enough."""
        sums, volumes = np.zeros((self._n_cells, 0)), np.zeros(self._n_cells)

        def add(which: NDArray[np.bool_], boxes: _Boxes, averages: _Averages) -> None:
            np.add.at(sums, boxes.owner[which], (averages.mean * averages.volume[:, None])[which])
            np.add.at(volumes, boxes.owner[which], averages.volume[which])

        for last in [False] * MAX_CUTS + [True]:
            one, four = self._evaluate(boxes, _ONE), self._evaluate(boxes, _FOUR)
            if not sums.size:
                sums = np.zeros((self._n_cells, four.mean.shape[1]))
            # what is known of each cell so far
            total, volume = sums.copy(), volumes.copy()
            np.add.at(total, boxes.owner, four.mean * four.volume[:, None])
            np.add.at(volume, boxes.owner, four.volume)
            volume = np.where(volume > 0, volume, 1)
            average = total / volume[:, None]
            brightest = np.maximum(average.max(axis=1, initial=0), self._beside)
            allowed = TOLERANCE * (average + 0.1 * brightest[:, None])[boxes.owner]
            # of the mean over a box: large where the box is a small part of its cell
            share = four.volume / volume[boxes.owner]
            allowed = 0.5 * allowed / np.maximum(share, TINY)[:, None]

            change = np.abs(four.mean - one.mean)
            # a series that has not begun to converge says nothing of its error: at most all of the change
            relative = np.minimum(change / np.maximum(four.mean, TINY), 1.0)
            spread = np.minimum(np.ptp(four.values, axis=1) / np.maximum(four.mean, TINY), 4.0)
            error = 0.4 * change * relative + 0.003 * spread**4 * four.mean
            good = (error <= allowed).all(axis=1)
            single = good & (change <= ONE_NODE * four.mean).all(axis=1) & ~boxes.cut
            self._accept(boxes, one, single, four)
            self._accept(boxes, four, good & ~single)
            add(single | good, boxes, four)
            rest = ~(single | good)
            if not rest.any():
                return

            boxes, allowed, four = boxes.take(rest), allowed[rest], four.take(rest)
            nine = self._evaluate(boxes, _NINE)
            change = np.abs(nine.mean - four.mean)
            good = ((change <= NINE_NODES * nine.mean) | (change <= allowed)).all(axis=1) | last
            self._accept(boxes, nine, good)
            add(good, boxes, nine)
            if good.all():
                return
            boxes = boxes.take(~good)
            axes = _curved_axes(nine.values[~good], allowed[~good]) & (boxes.high > boxes.low)
            boxes = boxes.halved(axes)

    def collect(self) -> CellNodes:
        """All nodes, sorted by cell."""
        owner = np.concatenate([np.empty(0, np.int64), *self._owner])
        order = np.argsort(owner, kind="stable")
        points = np.concatenate([np.empty((0, 2)), *self._points])[order]
        weight = np.concatenate([np.empty(0), *self._weight])[order]
        first = np.searchsorted(owner[order], np.arange(self._n_cells + 1))
        total = np.bincount(owner, np.concatenate([np.empty(0), *self._weight]), self._n_cells)
        weight = weight / total[owner[order]]
        area = np.where(self._single, 0.0, total * self._sides)
        gain = np.concatenate([np.empty(0), *self._gain])[order]
        value = np.concatenate(self._value)[order] if self._value else np.empty((0, 0))
        density = np.zeros((self._n_cells, value.shape[1]))
        np.add.at(density, owner[order], weight[:, None] * value)
        lon, lat = np.ascontiguousarray(points.T)
        return CellNodes(lon, lat, weight * gain, first, density, area)

    def _evaluate(self, boxes: _Boxes, rule: tuple[FloatArray, FloatArray]) -> "_Averages":
        nodes, weight = rule
        points = boxes.points(nodes)
        measure = weight * np.cos(np.radians(points[..., 1])) * boxes.share[:, None]
        flat, owner = points.reshape(-1, 2), np.repeat(boxes.owner, len(nodes))
        kept = np.repeat(~boxes.cut, len(nodes))
        kept[~kept] = self._inside(*flat[~kept].T)
        values = self._density(flat[kept, 0], flat[kept, 1], owner[kept])
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
        gain = np.ones(measure.shape)
        if better is not None:
            here = values.sum(axis=2)
            measure, values = better.volume[which][:, None], better.mean[which][:, None]
            gain = np.divide(values.sum(axis=2), here, out=gain, where=here > 0)
        n = measure.shape[1]
        used = (measure > 0).ravel()
        self._keep(
            averages.points[which].reshape(-1, 2)[used],
            np.repeat(boxes.owner[which], n)[used],
            measure.ravel()[used],
            values.reshape(-1, values.shape[-1])[used],
            gain.ravel()[used],
        )

    def _keep(
        self,
        points: FloatArray,
        owner: IntArray,
        weight: FloatArray,
        value: FloatArray,
        gain: FloatArray | None = None,
    ) -> None:
        self._gain.append(np.ones(len(weight)) if gain is None else gain)
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
    """Of the densities over boxes: nodes (B, n, 2), their measures (B, n), densities (B, n, K), sums and means."""

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


def _curved_axes(values: FloatArray, allowed: FloatArray) -> NDArray[np.bool_]:
    """Axes along which boxes with densities (N, 9, K) are halved: those of the greatest second differences."""
    square = values.reshape(len(values), 3, 3, -1) / np.maximum(allowed, TINY)[:, None, None, :]
    curvature = np.stack(
        [np.abs(np.diff(square, n=2, axis=axis)).reshape(len(values), -1).sum(axis=1) for axis in (1, 2)], axis=1
    )
    return np.asarray(curvature >= 0.25 * curvature.max(axis=1, keepdims=True))
