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
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from pymc_gamma.folding import kernels
from pymc_gamma.folding.engine import CHUNK, BackgroundRate, FoldedObservation
from pymc_gamma.folding.nodes import nodes_per_bin, sharpened, spectrum_nodes
from pymc_gamma.folding.parts import CompiledComponent
from pymc_gamma.folding.tables import IN_BIN_INDEX, build_tables
from pymc_gamma.threads import cpu_count, run_parallel

__all__ = [
    "Bands",
    "FreeBackground",
    "FreeComponent",
    "FreeSpectra",
    "concatenate",
    "hat_coefficients",
    "merge",
    "reorder",
    "take_components",
]

FloatArray = NDArray[np.float64]

FINE_STEP = 0.014
"""Width of the fine bins in the logarithm of the energy, at most."""
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
        self._folded = folded
        fine, coarse = (level.part_acceptance() for level in self._levels)
        finest = self._levels[0].energy_edges
        smooth = [
            [
                _extrapolate(self._levels[0].hats(a), self._levels[1].hats(b))
                for a, b in zip(of_fine, of_coarse, strict=True)
            ]
            for of_fine, of_coarse in zip(fine, coarse, strict=True)
        ]
        self.part_acceptance = [
            [
                _at_nodes(parts, finest, self.energy, hats.sum(axis=1))
                for parts, hats in zip(of_fine, of_hats, strict=True)
            ]
            for of_fine, of_hats in zip(fine, smooth, strict=True)
        ]
        self.nominal = np.stack([component.part_fluxes().sum(axis=0) for component in self.components])
        self.acceptance, self.smooth_acceptance = (
            np.stack([sum(of[k].sum(axis=0) for of in every) for k in range(len(self.components))])
            for every in (self.part_acceptance, smooth)
        )

    @cached_property
    def _levels(self) -> "list[_Level]":
        edges = self.smooth_energy
        per_bin = 2 * math.ceil(math.log(edges[1] / edges[0]) / (2 * FINE_STEP))
        return [_Level.of_hats(self.components, self._folded, edges, n) for n in (per_bin, per_bin // 2)]

    @cached_property
    def _boxes(self) -> "_Level":
        return _Level.of_boxes(self.components, self._folded, self.energy)

    def __getstate__(self) -> dict[str, Any]:
        """Without the tables of the fine bins: they would make a pickled model a hundred times larger."""
        return {name: value for name, value in self.__dict__.items() if name not in {"_levels", "_boxes"}}

    def release(self) -> None:
        """Drop the tables of the fine bins, 0.1 GB for each set of IRFs; :meth:`bands` makes them again."""
        self.__dict__.pop("_levels", None)
        self.__dict__.pop("_boxes", None)

    def describe(self, k: int) -> FreeComponent:
        """What a model needs to know of component *k*."""
        name, unit = self.names[k], "TeV-1 cm-2 s-1"
        every = nodes_per_bin(self.smooth_energy)
        smooth = FreeComponent(
            name, self.smooth_energy, self.smooth_acceptance[k : k + 1], self.nominal[k, ::every], IN_BIN_INDEX, unit
        )
        return FreeComponent(name, self.energy, self.acceptance[k : k + 1], self.nominal[k], IN_BIN_INDEX, unit, smooth)

    def bands(self, observation: int, vectors: FloatArray, energy: FloatArray, smooth: Collection[str]) -> Bands:
        """Densities per unit coefficient of events of one observation.

        Parameters
        ----------
        observation : int
            Index of the observation.
        vectors : numpy.ndarray
            Unit vectors of the reconstructed directions, shape (N, 3).
        energy : numpy.ndarray
            Reconstructed energies in TeV, shape (N,).
        smooth : collection of str
            Names of the components whose columns are to be those of the fewer nodes.

        Returns
        -------
        Bands
            Over the total of the acceptance of each component: TeV-1 sr-1.
        """
        kinds = [name in smooth for name in self.names]
        levels = self._levels if any(kinds) else []
        boxes = None if all(kinds) else self._boxes
        largest = CHUNK if boxes is None else CHUNK // nodes_per_bin(self.smooth_energy)
        size = min(largest, max(256, -(-len(energy) // cpu_count())))
        totals = [(self.smooth_acceptance if kind else self.acceptance)[k].sum() for k, kind in enumerate(kinds)]

        def one_chunk(first: int) -> Bands:
            rows = slice(first, first + size)
            here, log_energy = np.ascontiguousarray(vectors[rows]), np.log(energy[rows])
            groups = []
            for k, kind in enumerate(kinds):
                if kind:
                    fine, coarse = (level.hats(*level.columns(observation, k, here, log_energy)) for level in levels)
                    dense = _extrapolate(fine, coarse)
                else:
                    assert boxes is not None
                    dense = sharpened(boxes.dense(*boxes.columns(observation, k, here, log_energy)))
                groups.append(_compress(dense[:, None] / totals[k]))
            return merge(groups)

        return concatenate(run_parallel(one_chunk, range(0, len(energy), size)), len(self.components))

    def with_spectrum(self, k: int, coefficients: FloatArray) -> CompiledComponent:
        """Component *k* with another spectrum, given by its coefficients: what the simulator draws from."""
        component = self.components[k]
        return _with_fluxes(component, _shares(component) * coefficients * self.energy**-IN_BIN_INDEX)


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
        roi = rates[0].roi
        n = max(math.ceil(BACKGROUND_NODES_PER_DECADE * math.log10(roi.energy_max / roi.energy_min)), 2)
        self.energy = np.geomspace(roi.energy_min, roi.energy_max, n + 1)
        position = (np.arange(n * BACKGROUND_BINS_PER_NODE) + 0.5) / BACKGROUND_BINS_PER_NODE
        hats = np.maximum(1 - np.abs(position[:, None] - np.arange(n + 1)), 0)
        edges = np.geomspace(roi.energy_min, roi.energy_max, n * BACKGROUND_BINS_PER_NODE + 1)
        self.acceptance = np.stack([rate.counts(edges) @ hats for rate in rates])

    def describe(self) -> FreeComponent:
        """What a model needs to know of it."""
        return FreeComponent(self.name, self.energy, self.acceptance, np.ones(len(self.energy)), 0.0, "")

    def bands(self, observation: int, vectors: FloatArray, energy: FloatArray) -> Bands:
        """Densities per unit coefficient over the total of :attr:`acceptance`, TeV-1 sr-1; see `FreeSpectra.bands`."""
        log_energy, n = np.log(energy), len(self.energy)
        density = self._rates[observation].density(vectors, log_energy) / self.acceptance.sum()
        position = np.clip(np.interp(log_energy, np.log(self.energy), np.arange(n)), 0, n - 1)
        node = np.minimum(position.astype(np.int64), n - 2)
        above = position - node
        values = np.stack([density * (1 - above), density * above], axis=1)
        column = (observation * n + node)[:, None]
        return Bands(values.astype(np.float32).ravel(), 2 * np.arange(len(energy) + 1), column)

    def with_shape(self, values: FloatArray) -> list[BackgroundRate]:
        """The rate in each observation times a shape, given by its coefficients (n_observations, n)."""
        return [rate.with_shape(self.energy, row) for rate, row in zip(self._rates, values, strict=True)]


class _Level:
    """The components folded on bins of their own, for a power law of the reference index.

    Parameters
    ----------
    components : sequence of CompiledComponent
        Those of free spectrum.
    folded : sequence of FoldedObservation
        The observations.
    energy_edges : numpy.ndarray
        Edges of the bins in TeV.
    nodes : numpy.ndarray
        Equidistant energies in TeV that hold the edges and the centres, at which spectra are tabulated.
    per_bin : int
        Number of these bins between two nodes of hats.
    """

    def __init__(
        self,
        components: Sequence[CompiledComponent],
        folded: Sequence[FoldedObservation],
        energy_edges: FloatArray,
        nodes: FloatArray,
        per_bin: int,
    ) -> None:
        self.energy_edges, self._per_bin = energy_edges, per_bin
        self._components = []
        for component in components:
            given = _shares(component)
            at = np.linspace(np.log(nodes[0]), np.log(nodes[-1]), given.shape[1])
            shares = np.stack([np.interp(np.log(nodes), at, one) for one in given])
            self._components.append(_with_fluxes(component, shares * nodes**-IN_BIN_INDEX))
        span = (folded[0].roi.energy_min, folded[0].roi.energy_max)
        # not kept for other responses: they are large, and no other has the same bins
        tables = {
            irfs: build_tables.__wrapped__(irfs, tuple(energy_edges.tolist()), span)
            for irfs in {one.observation.irfs for one in folded}
        }
        self._folded = [
            FoldedObservation(
                one.observation,
                tables[one.observation.irfs],
                one.roi,
                one.ladders,
            )
            for one in folded
        ]

    @classmethod
    def of_hats(
        cls,
        components: Sequence[CompiledComponent],
        folded: Sequence[FoldedObservation],
        energy: FloatArray,
        per_bin: int,
    ) -> Self:
        """On bins a number of times narrower than the spacing of the nodes."""
        position = np.arange((len(energy) - 1) * per_bin + 1) / per_bin
        edges = np.exp(np.interp(position, np.arange(len(energy)), np.log(energy)))
        return cls(components, folded, edges, spectrum_nodes(edges), per_bin)

    @classmethod
    def of_boxes(
        cls, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation], energy: FloatArray
    ) -> Self:
        """On bins around the nodes, from half-way to half-way."""
        half = np.geomspace(energy[0], energy[-1], 2 * len(energy) - 1)
        return cls(components, folded, np.concatenate([half[:1], half[1::2], half[-1:]]), half, 1)

    def part_acceptance(self) -> list[list[FloatArray]]:
        """Counts by observation and component, shape (n_parts, n_bins)."""
        return [
            [np.stack(folded.part_acceptance_by_energy_true(component)) for component in self._components]
            for folded in self._folded
        ]

    def columns(
        self, observation: int, k: int, vectors: FloatArray, log_energy: FloatArray
    ) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
        """Densities of one component in the bins, and where the band of each event starts and stops."""
        folded = self._folded[observation]
        place, band = folded.place(log_energy)
        folded.band_density(self._components[k], vectors, place, folded.tables.edisp, band)
        return band, place[2], place[3]

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

    def dense(self, band: FloatArray, start: NDArray[np.int64], stop: NDArray[np.int64]) -> FloatArray:
        """Bands of bins among zeros, shape (N, n_bins)."""
        out = np.zeros((len(band), len(self.energy_edges) - 1))
        at = start[:, None] + np.arange(band.shape[1])
        row, column = np.nonzero(at < stop[:, None])
        out[row, at[row, column]] = band[row, column]
        return out


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


def _compress(dense: FloatArray) -> Bands:
    """Bands of a dense table (N, K, n)."""
    n, n_components, n_nodes = dense.shape
    start, length = np.empty(n * n_components, np.int64), np.empty(n * n_components, np.int64)
    flat = dense.reshape(n * n_components, n_nodes)
    kernels.band_extents(flat, NEGLIGIBLE, BAND_MULTIPLE, start, length)
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


def _with_fluxes(component: CompiledComponent, fluxes: FloatArray) -> CompiledComponent:
    """The component with other spectra for its parts."""
    n = 0 if component.analytic is None else len(component.analytic.flux)
    return replace(
        component,
        analytic=None if component.analytic is None else replace(component.analytic, flux=fluxes[:n]),
        templates=tuple(replace(t, flux=flux) for t, flux in zip(component.templates, fluxes[n:], strict=True)),
    )
