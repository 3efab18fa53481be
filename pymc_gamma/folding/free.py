r"""Components whose spectrum is free: columns along the true energy.

A spectrum is compared with a reference, :math:`\phi(E) = E^{-2.5} r(E)`. With functions :math:`h_n` around nodes
:math:`E_n` and the response :math:`K_i(E)` of event *i* the density is a linear form,

.. math::

    \lambda(x_i) = \sum_n A_{in}\, \rho_n, \qquad
    A_{in} = \int K_i(E)\, E^{-2.5}\, h_n(E)\,\mathrm{d}E, \qquad
    c = \sum_n C_n\, \rho_n .

There are two sets of nodes.

**All nodes** (:mod:`pymc_gamma.folding.nodes`), as narrow as the features of any energy dispersion, for spectra of
which nothing is known. The :math:`h_n` are boxes around the nodes. A spectrum is projected,
:math:`r_n = \int \phi\, h_n' / \int E^{-2.5} h_n'` with hats :math:`h_n'`, so that its counts are right wherever a line
or a step lies. Box and hat together would widen what they see by :math:`h^2/4`; the columns make up for it, see
:func:`pymc_gamma.folding.nodes.sharpened`. A line of 1 % then has densities within 1 % of the exact ones.

**Few nodes**, the edges of the bins, for smooth spectra: an eighth of the cost. The ratio :math:`r` is taken as linear
in :math:`\log E` between them, and the :math:`h_n` are hats. The likelihood must not depend on the number of nodes.
Three errors are of second order in their spacing, and each would shift a log-likelihood of 4500 events by 0.01 to 0.1:

* The ratio is curved between nodes, and a chord lies above a convex curve by a twelfth of the second difference in
  the mean. So :math:`\rho_n = r_n - \delta^2 r_n / 12`, see :func:`hat_coefficients`.
* Dispersion and effective area vary inside the hats, the former as a noisy histogram. So the integrals are sums over
  true-energy bins several times finer than the nodes.
* Inside even those bins the factors of the response are averaged apart from each other. So the integrals are done on
  two binnings and extrapolated, :math:`A = (4 A_{\rm fine} - A_{\rm coarse}) / 3` (Richardson 1911).

What remains is 1e-3 in log L, and 1e-4 in its differences within a posterior.

A component of several parts keeps their shares: part *p* has the flux :math:`\phi(E)\, w_p(E)`, where :math:`w_p` is
its share of the sum of the spectra that the parts were given.

The residual background has no true energy. Its free shape is a factor on the rate of the IRFs, linear in the logarithm
of the *reconstructed* energy between nodes, in each observation its own: every event has two numbers.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from pymc_gamma.folding import kernels
from pymc_gamma.folding.engine import CHUNK, BackgroundRate, FoldedObservation, Place
from pymc_gamma.folding.nodes import nodes_per_bin, sharpened, spectrum_nodes
from pymc_gamma.folding.parts import CompiledComponent, shining_offsets
from pymc_gamma.folding.ranges import InRanges
from pymc_gamma.folding.tables import IN_BIN_INDEX, build_tables
from pymc_gamma.irfs import IRFs
from pymc_gamma.sums import weighted_sum
from pymc_gamma.threads import piece_size, run_parallel

__all__ = [
    "Averaging",
    "Bands",
    "FreeBackground",
    "FreeComponent",
    "FreeSpectra",
    "concatenate",
    "hat_coefficients",
    "merge",
    "no_bands",
    "reorder",
    "take_components",
]

FloatArray = NDArray[np.float64]

FINE_STEP = 0.014
"""Width of the fine bins in the logarithm of the energy, at most."""
KEPT_BYTES = 2**29
"""Tables of fine bins are kept for other events until they take up as much memory."""
BAND_MULTIPLE = 8
"""Bands are filled up with zeros to this multiple: loops over them then leave no remainder."""
NEGLIGIBLE = 1e-12
"""Ends of bands below this share of their largest number are cut off."""
BACKGROUND_NODES_PER_DECADE = 10
BACKGROUND_BINS_PER_NODE = 8


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
        if len(self.first) == len(values) + 1:
            return values
        weight = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(np.add.reduceat(values * weight, self.first[:-1], axis=0))


def hat_coefficients(flux: ArrayLike, energy: FloatArray, index: float = IN_BIN_INDEX) -> FloatArray:
    """Coefficients of the hat functions for a smooth spectrum; :mod:`pymc_gamma.ops.hats` does so inside a model.

    Parameters
    ----------
    flux : array_like, shape (..., n)
        Spectrum at the nodes, TeV-1 cm-2 s-1.
    energy : numpy.ndarray
        Nodes in TeV, shape (n,).
    index : float
        Index of the power law that the spectrum is compared with.

    Returns
    -------
    numpy.ndarray, shape (..., n)
        Not negative where the flux is not, also in the tail of a cut-off, where it falls by a factor from node to node.
    """
    ratio = np.asarray(flux, float) * energy**index
    inner = ratio[..., 1:-1]
    corrected = inner - (ratio[..., 2:] - 2 * inner + ratio[..., :-2]) / 12
    return np.concatenate([ratio[..., :1], np.maximum(corrected, inner / 2), ratio[..., -1:]], axis=-1)


@dataclass(frozen=True, eq=False)
class FreeComponent:
    """What a model needs to know of a component of free spectrum.

    Attributes
    ----------
    name : str
        Name of the component.
    energy : numpy.ndarray
        Nodes in TeV at which its spectrum is evaluated, shape (n,): true energies, or reconstructed ones for the
        residual background.
    acceptance : numpy.ndarray
        Expected counts per unit coefficient, shape (n_rows, n): one row, or for the residual background one per
        observation.
    nominal : numpy.ndarray
        What the component was folded with, at the nodes: TeV-1 cm-2 s-1, or ones for the background, shape (n,).
    index : float
        Index of the power law that its spectrum is compared with.
    unit : str
        Unit of its spectrum.
    smooth : FreeComponent or None
        The same on fewer nodes, for spectra without narrow features; None for the background.
    """

    name: str
    energy: FloatArray
    acceptance: FloatArray
    nominal: FloatArray
    index: float
    unit: str
    smooth: "FreeComponent | None" = None

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return self.acceptance.size

    @property
    def share(self) -> FloatArray:
        """Share of each coefficient in the acceptance, shape (size,)."""
        return np.asarray(self.acceptance.ravel() / self.acceptance.sum())

    @property
    def scale(self) -> FloatArray:
        """Coefficients over the values of a spectrum, shape (size,)."""
        return np.tile(self.energy**self.index, len(self.acceptance))

    def coefficients(self, spectrum: ArrayLike) -> FloatArray:
        """Coefficients (size,) of a spectrum (n,), or of one for each row (n_rows, n)."""
        if self.smooth is None:
            rows = hat_coefficients(spectrum, self.energy, self.index)
        else:
            rows = np.asarray(spectrum, float) * self.energy**self.index
        return np.broadcast_to(rows, self.acceptance.shape).ravel()


class FreeSpectra:
    """Components of free spectrum under one or several observations.

    Parameters
    ----------
    components : sequence of CompiledComponent
        Those of free spectrum.
    folded : sequence of FoldedObservation
        The observations.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.

    Attributes
    ----------
    names : tuple of str
        Names of the components.
    energy : numpy.ndarray
        Nodes in TeV, shape (n,).
    part_acceptance : list of list of numpy.ndarray
        Expected counts per unit coefficient by observation and component, shape (n_parts, n).
    nominal : numpy.ndarray
        Summed spectra that the parts were given, at the nodes, TeV-1 cm-2 s-1, shape (K, n).
    acceptance : numpy.ndarray
        Expected counts per unit coefficient over all observations, shape (K, n).
    smooth_energy, smooth_acceptance : numpy.ndarray
        Energies and acceptance of the fewer nodes for smooth spectra: the edges of the bins.
    """

    def __init__(
        self, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation], energy_edges: FloatArray
    ) -> None:
        self.components = tuple(components)
        self.names = tuple(component.name for component in components)
        self.energy, self.smooth_energy = spectrum_nodes(energy_edges), energy_edges
        self._folded = tuple(folded)
        self._offsets = shining_offsets(
            self.components, [one.observation for one in folded], folded[0].roi.frame if folded else ""
        )
        self._levels: dict[IRFs, _Levels] = {}
        sharing = [[o for o, one in enumerate(folded) if one.observation.irfs is irfs] for irfs in self._offsets]
        self.part_acceptance: list[list[FloatArray]] = [[] for _ in folded]
        smooth: list[list[FloatArray]] = [[] for _ in folded]
        run_parallel(lambda observations: self._add_acceptances(observations, smooth), sharing)
        self.nominal = np.stack([component.part_fluxes().sum(axis=0) for component in self.components])
        self.acceptance, self.smooth_acceptance = (
            np.stack([sum(of[k].sum(axis=0) for of in every) for k in range(len(self.components))])
            for every in (self.part_acceptance, smooth)
        )

    def _add_acceptances(self, observations: Sequence[int], smooth: list[list[FloatArray]]) -> None:
        """Acceptances, at all nodes and at those of smooth spectra, under observations that share a response."""
        levels = self._levels_of(observations[0])
        finest = levels.fine.energy_edges
        for o in observations:
            fine, coarse = (level.part_acceptance(self._folded[o]) for level in (levels.fine, levels.coarse))
            smooth[o] = [
                _extrapolate(levels.fine.hats(a), levels.coarse.hats(b)) for a, b in zip(fine, coarse, strict=True)
            ]
            self.part_acceptance[o] = [
                _at_nodes(parts, finest, self.energy, hats.sum(axis=1))
                for parts, hats in zip(fine, smooth[o], strict=True)
            ]

    def _levels_of(self, observation: int) -> "_Levels":
        """Bins finer than the nodes under the response of an observation, kept as long as there is room for them."""
        irfs = self._folded[observation].observation.irfs
        levels = self._levels.get(irfs)
        if levels is None:
            span = (self._folded[0].roi.energy_min, self._folded[0].roi.energy_max)
            levels = _Levels(self.components, irfs, self.smooth_energy, span, self._offsets[irfs])
            if sum(kept.n_bytes for kept in self._levels.copy().values()) < KEPT_BYTES:
                self._levels[irfs] = levels
        return levels

    def __getstate__(self) -> dict[str, Any]:
        """Without the tables of the fine bins: they would make a pickled model a hundred times larger."""
        return {**self.__dict__, "_levels": {}}

    def release(self) -> None:
        """Drop the tables of the fine bins, up to 0.4 GB for each set of IRFs; :meth:`bands` makes them again."""
        self._levels.clear()

    def describe(self, k: int) -> FreeComponent:
        """What a model needs to know of component *k*."""
        name, unit = self.names[k], "TeV-1 cm-2 s-1"
        every = nodes_per_bin(self.smooth_energy)
        smooth = FreeComponent(
            name, self.smooth_energy, self.smooth_acceptance[k : k + 1], self.nominal[k, ::every], IN_BIN_INDEX, unit
        )
        return FreeComponent(name, self.energy, self.acceptance[k : k + 1], self.nominal[k], IN_BIN_INDEX, unit, smooth)

    def bands(
        self,
        observation: int,
        vectors: FloatArray,
        energy: FloatArray | InRanges,
        smooth: Collection[str] = (),
        averaging: Averaging | None = None,
    ) -> Bands:
        """Densities per unit coefficient of events of one observation.

        Parameters
        ----------
        observation : int
            Index of the observation.
        vectors : numpy.ndarray
            Unit vectors of the reconstructed directions, shape (N, 3).
        energy : numpy.ndarray or InRanges
            Reconstructed energies in TeV, shape (N,), or the ranges over which densities are averaged.
        smooth : collection of str
            Names of the components whose columns are to be those of the fewer nodes.
        averaging : Averaging, optional
            Cells that the events are points of; bands are then averages, one for each cell.

        Returns
        -------
        Bands
            Over the total of the acceptance of each component: TeV-1 sr-1.
        """
        kinds = [name in smooth for name in self.names]
        kept, folded = self._levels_of(observation), self._folded[observation]
        largest = CHUNK if all(kinds) else CHUNK // nodes_per_bin(self.smooth_energy)
        size = piece_size(len(vectors), largest)
        totals = [(self.smooth_acceptance if kind else self.acceptance)[k].sum() for k, kind in enumerate(kinds)]
        # another thread may make the same level: all that follows is of this one
        boxes = None if all(kinds) else kept.boxes
        levels = [*((kept.fine, kept.coarse) if any(kinds) else ()), *([] if boxes is None else [boxes])]
        tables = {
            level: energy.ranges.table(level.tables) if isinstance(energy, InRanges) else None for level in levels
        }

        def columns(level: _Level, k: int, rows: slice) -> FloatArray:
            here, table = np.ascontiguousarray(vectors[rows]), tables[level]
            if isinstance(energy, InRanges) and table is not None:
                return level.columns(folded, k, here, *table.place(energy.which[rows]), table.edisp)
            assert not isinstance(energy, InRanges)
            located = level.fold(folded).place(np.log(energy[rows]))
            return level.columns(folded, k, here, *located, level.tables.edisp)

        def one_chunk(chunk: tuple[slice, Averaging]) -> Bands:
            rows, average = chunk
            groups = []
            for k, kind in enumerate(kinds):
                if kind or boxes is None:
                    fine, coarse = (average.apply(columns(level, k, rows)) for level in (kept.fine, kept.coarse))
                    dense = _extrapolate(fine, coarse)
                else:
                    dense = sharpened(average.apply(columns(boxes, k, rows)))
                groups.append(_compress(dense[:, None] / totals[k]))
            return merge(groups)

        cells = averaging or Averaging.of_single(len(vectors))
        return concatenate(run_parallel(one_chunk, cells.chunks(size)), len(self.components))

    def with_spectrum(self, k: int, coefficients: FloatArray) -> CompiledComponent:
        """Component *k* with another spectrum, given by its coefficients: what the simulator draws from."""
        component = self.components[k]
        return component.with_fluxes(_shares(component) * coefficients * self.energy**-IN_BIN_INDEX)


class FreeBackground:
    """Residual background of free shape under one or several observations.

    Parameters
    ----------
    name : str
        Name of the component.
    rates : sequence of BackgroundRate
        Its rate in each observation.
    """

    def __init__(self, name: str, rates: Sequence[BackgroundRate]) -> None:
        self.name, self._rates = name, tuple(rates)
        roi = rates[0].domain.roi
        n = max(math.ceil(BACKGROUND_NODES_PER_DECADE * math.log10(roi.energy_max / roi.energy_min)), 2)
        self.energy = np.geomspace(roi.energy_min, roi.energy_max, n + 1)
        self.acceptance = np.stack([self._hat_counts(rate) for rate in rates])

    def _hat_counts(self, rate: BackgroundRate) -> FloatArray:
        """Expected counts of an observation under each hat, shape (n,)."""
        low, high = rate.domain.energy_range
        position = np.arange((len(self.energy) - 1) * BACKGROUND_BINS_PER_NODE + 1) / BACKGROUND_BINS_PER_NODE
        nodes, log_nodes = np.arange(len(self.energy)), np.log(self.energy)
        edges = np.exp(np.interp(position, nodes, log_nodes))
        edges = np.r_[low, edges[(edges > low * (1 + 1e-9)) & (edges < high * (1 - 1e-9))], high]
        middle = np.interp(0.5 * np.log(edges[1:] * edges[:-1]), log_nodes, nodes)
        hats = np.maximum(1 - np.abs(middle[:, None] - nodes), 0)
        return weighted_sum(hats.T, rate.counts(edges))

    def describe(self) -> FreeComponent:
        """What a model needs to know of it."""
        return FreeComponent(self.name, self.energy, self.acceptance, np.ones(len(self.energy)), 0.0, "")

    def bands(
        self,
        observation: int,
        vectors: FloatArray,
        energy: FloatArray | InRanges,
        averaging: Averaging | None = None,
    ) -> Bands:
        """Densities per unit coefficient over the total of :attr:`acceptance`, TeV-1 sr-1; see `FreeSpectra.bands`."""
        if isinstance(energy, InRanges):
            # points at some energies of each range
            nodes, share = (one[energy.which] for one in energy.ranges.nodes())
            cells, n_nodes = averaging or Averaging.of_single(len(vectors)), nodes.shape[1]
            averaging = Averaging((cells.weight[:, None] * share).ravel(), cells.first * n_nodes)
            vectors, energy = np.repeat(vectors, n_nodes, axis=0), nodes.ravel()
        log_energy, n = np.log(energy), len(self.energy)
        density = self._rates[observation].density(vectors, log_energy) / self.acceptance.sum()
        position = np.clip(np.interp(log_energy, np.log(self.energy), np.arange(n)), 0, n - 1)
        node = np.minimum(position.astype(np.int64), n - 2)
        above = position - node
        values = np.stack([density * (1 - above), density * above], axis=1)
        if averaging is not None:
            # points of a cell lie between different nodes
            n_cells = len(averaging.first) - 1
            to = np.repeat(np.arange(n_cells) * n, np.diff(averaging.first)) + node
            dense = np.zeros(n_cells * n)
            for side in (0, 1):
                np.add.at(dense, to + side, averaging.weight * values[:, side])
            bands = _compress(dense.reshape(n_cells, 1, n), multiple=1)
            return bands._replace(column=bands.column + observation * n)
        column = (observation * n + node)[:, None]
        return Bands(values.astype(np.float32).ravel(), 2 * np.arange(len(energy) + 1), column)

    def with_shape(self, values: FloatArray) -> list[BackgroundRate]:
        """The rate in each observation times a shape, given by its coefficients (n_observations, n)."""
        return [rate.with_shape(self.energy, row) for rate, row in zip(self._rates, values, strict=True)]


class _Level:
    """The components folded on bins of their own, for a power law of the reference index, under one response.

    Parameters
    ----------
    components : sequence of CompiledComponent
        Those of free spectrum.
    irfs : IRFs
        The response.
    energy_edges : numpy.ndarray
        Edges of the bins in TeV.
    nodes : numpy.ndarray
        Equidistant energies in TeV that hold the edges and the centres, at which spectra are tabulated.
    per_bin : int
        Number of these bins between two nodes of hats; 0 for bins around the nodes.
    energy_range, offsets : tuple of float
        As for :func:`pymc_gamma.folding.tables.build_tables`.
    """

    def __init__(
        self,
        components: Sequence[CompiledComponent],
        irfs: IRFs,
        energy_edges: FloatArray,
        nodes: FloatArray,
        per_bin: int,
        energy_range: tuple[float, float],
        offsets: tuple[float, float],
    ) -> None:
        self.energy_edges, self._per_bin = energy_edges, per_bin
        self._components = []
        for component in components:
            given = _shares(component)
            at = np.linspace(np.log(nodes[0]), np.log(nodes[-1]), given.shape[1])
            shares = np.stack([np.interp(np.log(nodes), at, one) for one in given])
            self._components.append(component.with_fluxes(shares * nodes**-IN_BIN_INDEX))
        # not kept for other responses: they are large, and no other has the same bins
        self.tables = build_tables.__wrapped__(irfs, tuple(energy_edges.tolist()), energy_range, offsets)

    @property
    def n_bytes(self) -> int:
        """Memory of the tables."""
        return self.tables.edisp.nbytes

    def fold(self, folded: FoldedObservation) -> FoldedObservation:
        """An observation on the fine bins."""
        return FoldedObservation(folded.domain, self.tables, folded.mask, folded.ladders)

    def part_acceptance(self, folded: FoldedObservation) -> list[FloatArray]:
        """Counts by component in an observation, shape (n_parts, n_bins)."""
        here = self.fold(folded)
        return [np.stack(here.part_acceptance_by_energy_true(component)) for component in self._components]

    def columns(
        self,
        folded: FoldedObservation,
        k: int,
        vectors: FloatArray,
        place: Place,
        band: FloatArray,
        dispersion: NDArray[np.float32],
    ) -> FloatArray:
        """Densities of one component at the nodes, shape (N, n_nodes); see `FoldedObservation.band_density`."""
        self.fold(folded).band_density(self._components[k], vectors, place, dispersion, band)
        return self.hats(band, place[2], place[3]) if self._per_bin else self._dense(band, place[2], place[3])

    def hats(
        self,
        band: FloatArray,
        start: NDArray[np.int64] | None = None,
        stop: NDArray[np.int64] | None = None,
    ) -> FloatArray:
        """Bands of bins, or values in all of them, gathered into hats around the nodes, shape (N, n)."""
        n = len(band)
        start = np.zeros(n, np.int64) if start is None else start
        stop = np.full(n, band.shape[1]) if stop is None else stop
        hats = np.zeros((n, (len(self.energy_edges) - 1) // self._per_bin + 1))
        kernels.gather_hats(band, start, stop, self._per_bin, hats)
        return hats

    def _dense(self, band: FloatArray, start: NDArray[np.int64], stop: NDArray[np.int64]) -> FloatArray:
        """Bands of bins among zeros, shape (N, n_bins)."""
        out = np.zeros((len(band), len(self.energy_edges) - 1))
        at = start[:, None] + np.arange(band.shape[1])
        row, column = np.nonzero(at < stop[:, None])
        out[row, at[row, column]] = band[row, column]
        return out


class _Levels:
    """Components on the fine and coarse bins of smooth spectra, and on bins around all nodes, under one response."""

    def __init__(
        self,
        components: Sequence[CompiledComponent],
        irfs: IRFs,
        energy_edges: FloatArray,
        energy_range: tuple[float, float],
        offsets: tuple[float, float],
    ) -> None:
        self._given = components, irfs, energy_edges, energy_range, offsets
        per_bin = 2 * math.ceil(math.log(energy_edges[1] / energy_edges[0]) / (2 * FINE_STEP))
        self.fine, self.coarse = (self._of_hats(n) for n in (per_bin, per_bin // 2))

    def _of_hats(self, per_bin: int) -> _Level:
        """On bins a number of times narrower than the spacing of the nodes of smooth spectra."""
        components, irfs, energy, span, offsets = self._given
        position = np.arange((len(energy) - 1) * per_bin + 1) / per_bin
        edges = np.exp(np.interp(position, np.arange(len(energy)), np.log(energy)))
        return _Level(components, irfs, edges, spectrum_nodes(edges), per_bin, span, offsets)

    @cached_property
    def boxes(self) -> _Level:
        """On bins around all nodes, from half-way to half-way."""
        components, irfs, edges, span, offsets = self._given
        energy = spectrum_nodes(edges)
        half = np.geomspace(energy[0], energy[-1], 2 * len(energy) - 1)
        bounds = np.concatenate([half[:1], half[1::2], half[-1:]])
        return _Level(components, irfs, bounds, half, 0, span, offsets)

    @property
    def n_bytes(self) -> int:
        """Memory of the tables made so far."""
        made = [self.fine, self.coarse, *([self.boxes] if "boxes" in self.__dict__ else [])]
        return sum(level.n_bytes for level in made)


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


def take_components(bands: Bands, order: Sequence[int]) -> Bands:
    """Bands with their components in another order."""
    n_events, n_components = bands.column.shape
    which = (np.arange(n_events)[:, None] * n_components + np.asarray(order)).ravel()
    return _take(bands, which, bands.column[:, list(order)])


def reorder(bands: Bands, order: NDArray[np.intp]) -> Bands:
    """Bands of the events in another order."""
    n_components = bands.column.shape[1]
    which = (order[:, None] * n_components + np.arange(n_components)).ravel()
    return _take(bands, which, bands.column[order])


def _take(bands: Bands, which: NDArray[np.intp], column: NDArray[np.int64]) -> Bands:
    length = np.diff(bands.pointer)[which]
    pointer = np.concatenate([[0], np.cumsum(length)])
    at = np.arange(pointer[-1]) + np.repeat(bands.pointer[which] - pointer[:-1], length)
    return Bands(bands.values[at], pointer, column)


def _compress(dense: FloatArray, multiple: int = BAND_MULTIPLE) -> Bands:
    """Bands of a dense table (N, K, n), of lengths that are multiples of a number."""
    n, n_components, n_nodes = dense.shape
    start, length = np.empty(n * n_components, np.int64), np.empty(n * n_components, np.int64)
    flat = dense.reshape(n * n_components, n_nodes)
    kernels.band_extents(flat, NEGLIGIBLE, multiple, start, length)
    pointer = np.concatenate([[0], np.cumsum(length)])
    values = np.empty(pointer[-1], np.float32)
    kernels.gather_bands(flat, start, pointer, values)
    return Bands(values, pointer, start.reshape(n, n_components))


def _extrapolate(fine: FloatArray, coarse: FloatArray) -> FloatArray:
    """Value for infinitely narrow bins from two widths, one twice the other; what is negative by noise is zero."""
    return np.maximum((4 * fine - coarse) / 3, 0)


def _at_nodes(counts: FloatArray, energy_edges: FloatArray, nodes: FloatArray, total: FloatArray) -> FloatArray:
    """Counts per unit coefficient at equidistant nodes, for sums over them, from counts in narrow bins (n, n_bins).

    For the reference index they add up to a total (n,).
    """
    power = 1 - IN_BIN_INDEX
    weight = np.diff(energy_edges**power) / power
    centre = 0.5 * (np.log(energy_edges[1:]) + np.log(energy_edges[:-1]))
    mean = counts / weight
    mean[:, 1:-1] -= np.diff(mean, 2) / 24  # to the value at the centre of a bin from the mean over it
    exposure = np.maximum(CubicSpline(centre, mean, axis=1)(np.log(nodes)), 0)
    step = np.full(len(nodes), math.log(nodes[1] / nodes[0]))
    step[[0, -1]] /= 2
    found = exposure * nodes**power * step
    return np.asarray(found * (total / np.maximum(found.sum(axis=1), np.finfo(float).tiny))[:, None])


def _shares(component: CompiledComponent) -> FloatArray:
    """Share of each part in the summed spectrum; where that is zero, as at the nearest energy where it is not."""
    fluxes = component.part_fluxes()
    total = fluxes.sum(axis=0)
    lit = np.flatnonzero(total > 0)
    at = np.arange(len(total))
    right = np.clip(np.searchsorted(lit, at), 0, len(lit) - 1)
    left = np.clip(right - 1, 0, None)
    nearest = np.where(np.abs(lit[left] - at) < np.abs(lit[right] - at), lit[left], lit[right])
    return fluxes[:, nearest] / total[nearest]
