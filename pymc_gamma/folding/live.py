r"""A source whose position, extension and spectrum are left to the model: tables of the events near it.

A *reference* says where the source is roughly, how large, and with which spectrum. Around it the density of an event,

.. math:: r_i = \sum_n \rho_n \sum_g K_{ing}(u)\, F(d_i; v_{ng}(u)) ,

a sum over true energies *n* and the Gaussians *g* of the PSF, is reduced to a few widths per event, once per data set:

* rates :math:`K` and widths :math:`v` are expanded to first order in :math:`u`, the squared offset of the posterior
  mean of the true direction. It is smooth on the axis too, and rates are nearly exponential in it: their common slope
  :math:`\Lambda` is taken out;
* with :math:`F_0` the reference, :math:`F(d; v)/F_0(v)` is interpolated in :math:`\ln v` through :math:`L` Chebyshev
  nodes (Lagrange), within the range of widths that matter for the event. The weights go into :math:`K_{iln}`. At the
  reference this is exact whatever :math:`L`.

:mod:`pymc_gamma.folding.live_kernels` evaluates what is left. For a free spectrum *n* are the hats of smooth spectra
(:mod:`pymc_gamma.folding.free_sources`), integrated on two binnings and extrapolated as there, or boxes around all
nodes, sharpened as there; a fixed one is a single number per rung.

Tables are valid within ``reach`` of the reference in position, and within the limits of the shape.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.energies import AtEnergies, Energies, Located
from pymc_gamma.folding.fine import FineBins
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.free import hat_coefficients
from pymc_gamma.folding.live_blocks import Blocks, join_blocks, pack_blocks
from pymc_gamma.folding.live_kernels import LANES, LiveArrays, out_shape, scatter
from pymc_gamma.folding.live_shapes import REACH, Limits, LiveShape
from pymc_gamma.folding.live_table_kernels import Band, Profile, Rungs, fill_rungs, reference_columns, reference_state
from pymc_gamma.folding.nodes import at_bins, nodes_per_bin, sharpened, spectrum_nodes
from pymc_gamma.folding.tables import IN_BIN_INDEX, FoldTables, build_tables
from pymc_gamma.geometry import separation_deg, tangent_basis
from pymc_gamma.instrument.irfs import IRFs
from pymc_gamma.threads import run_parallel

__all__ = ["LivePoints", "LiveSource", "LiveTables"]

CHUNK = 128 * LANES
PROFILE_NODES = 128
"""Variances at which the reference source is tabulated."""
OFFSET_REACH = 0.1
"""Half the range of offsets in deg over which changes of the response are taken: the spacing of its tables."""
FAINT_NODE = 1e-5
"""Share of the largest column of an event below which columns are not sharpened."""
LEAST_WEIGHT = 1e-3
"""Weight of a Gaussian of the PSF below which events are not sought for its sake."""


class Level(NamedTuple):
    """A binning in true energy.

    Attributes
    ----------
    tables : FoldTables
        The response on it.
    flux : numpy.ndarray
        Spectrum of a unit coefficient in its bins.
    per_bin : int
        Number of its bins between two hats; 0 if bins are not gathered into hats.
    place : tuple of float
        Where the first bin lies among the coefficients, and how much further each next one.
    factor : float
        With which it counts.
    """

    tables: FoldTables
    flux: FloatArray
    per_bin: int
    place: tuple[float, float]
    factor: float


class LivePoints(NamedTuple):
    """Reconstructed directions and energies under one observation.

    Attributes
    ----------
    observation : int
        Index of the observation.
    vectors : numpy.ndarray
        Unit vectors, shape (n, 3).
    energies : Energies
        Energies, or ranges over which densities are averaged.
    place : numpy.ndarray
        Number of the event, or the cell, that each stands for, shape (n,).
    weight : numpy.ndarray
        With which it counts there, shape (n,).
    """

    observation: int
    vectors: FloatArray
    energies: Energies
    place: IntArray
    weight: FloatArray

    @classmethod
    def of_events(cls, observation: int, vectors: FloatArray, energies: Energies, place: IntArray) -> "LivePoints":
        """Points that are events."""
        return cls(observation, vectors, energies, place, np.ones(len(place)))

    def take(self, rows: slice | IntArray) -> "LivePoints":
        """Some of the points."""
        return LivePoints(
            self.observation,
            np.ascontiguousarray(self.vectors[rows]),
            self.energies.take(rows),
            self.place[rows],
            self.weight[rows],
        )


Placed = list[tuple[Level, Callable[[slice], Located]]]


@dataclass(frozen=True, eq=False)
class LiveTables:
    """Events near a source, under all observations.

    Attributes
    ----------
    arrays : LiveArrays
        What the kernels read.
    n_events : int
        Number of all events, near or not.
    source : LiveSource
        What they were made for.
    """

    arrays: LiveArrays
    n_events: int
    source: "LiveSource"

    def scaled(self, factor: float) -> "LiveTables":
        """The same with all densities times a factor."""
        return LiveTables(
            self.arrays._replace(numbers=self.arrays.numbers * np.float32(factor)), self.n_events, self.source
        )

    @property
    def near(self) -> IntArray:
        """Indices of the events that the source may reach; the density of all others is zero."""
        place = self.arrays.place
        return np.unique(place[place >= 0])

    def density(self, shape: LiveShape, coefficients: FloatArray, psf_scale: float = 1.0) -> FloatArray:
        """Density of all events in TeV-1 sr-1, shape (N,), for a shape of numbers.

        Parameters
        ----------
        shape : LiveShape
            Of the family of the reference.
        coefficients : numpy.ndarray
            Of the spectrum, shape (n,), or for each observation, (n_observations, n).
        psf_scale : float
            Scale of the widths of the PSF.

        Raises
        ------
        SkyModelError
            If the shape is of another family.
        """
        shape.check_family(self.source.shape)
        theta = np.tile(np.array(shape.theta(psf_scale), float), (len(self.arrays.axes), 1))
        rho = np.ascontiguousarray(np.broadcast_to(coefficients, (len(theta), self.source.n_coefficients)), dtype=float)
        out, density = np.empty(out_shape(self.arrays, theta.shape[1])), np.empty(self.n_events)
        shape.family.density(theta, rho, self.arrays, out)
        scatter(out, self.arrays, theta.shape[1], density)
        return density


class LiveSource:
    """The reference of a source of free shape, under one or several observations.

    Parameters
    ----------
    shape : LiveShape
        Position and extension, as numbers; near the truth.
    folded : sequence of FoldedObservation
        The observations.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV, equidistant in the logarithm: the nodes of a free spectrum.
    spectrum : numpy.ndarray
        Spectrum in TeV-1 cm-2 s-1 at ``spectrum_nodes(energy_edges)``; near the truth if it is free.
    free_spectrum : bool
        Whether coefficients are those of the hats of a free spectrum, or one factor on the spectrum.
    smooth : bool
        Whether coefficients of a free spectrum are those of the hats at the edges, for smooth spectra; else of boxes
        around all its nodes.
    free : collection of str, optional
        Names of the parameters that a model leaves free; all of them unless given. Position apart, others stay as they
        are, which saves tables.
    widest_psf : float
        Largest factor on the width of the PSF, if that varies too: events are sought as far as it then reaches.
    reach : float
        How far in deg the position may be from the reference.

    Raises
    ------
    SkyModelError
        If the reach is not positive, or the shape has no parameter of a name.
    """

    def __init__(
        self,
        shape: LiveShape,
        folded: Sequence[FoldedObservation],
        energy_edges: FloatArray,
        spectrum: FloatArray,
        *,
        free_spectrum: bool = True,
        smooth: bool = True,
        free: Collection[str] | None = None,
        widest_psf: float = 1.0,
        reach: float = REACH,
    ) -> None:
        if not reach > 0:
            raise SkyModelError(f"the position of a live shape needs a reach of more than 0 deg, got {reach!r}.")
        names = shape.parameters
        self.free = tuple(names) if free is None else tuple(free)
        unknown = [name for name in self.free if name not in names]
        if unknown:
            raise SkyModelError(f"{type(shape).__name__} has no parameters {unknown}; it has {list(names)}.")
        self.smooth = smooth
        self.shape, self.folded, self.free_spectrum, self.reach = shape, tuple(folded), free_spectrum, float(reach)
        self.energy_edges, self.spectrum = energy_edges, spectrum
        self._widening = max(widest_psf, 1.0)
        theta = np.array(shape.theta(), float)
        self.lon, self.lat, self.own = float(theta[0]), float(theta[1]), theta[3:]
        self._levels: dict[IRFs, list[Level]] = {}

    @property
    def limits(self) -> Limits:
        """Range of each parameter but the position in which tables are valid."""
        limits = self.shape.limits()
        return {
            name: limits[name] if name in self.free else (float(value),) * 2
            for name, value in self.shape.parameters.items()
            if name in limits
        }

    @cached_property
    def largest(self) -> LiveShape:
        """The shape within the limits that reaches furthest."""
        return self.shape.largest(self.limits)

    @cached_property
    def basis(self) -> FloatArray:
        """Rows: direction of the reference, east and north of it."""
        return tangent_basis(self.lon, self.lat)

    @property
    def nominal(self) -> FloatArray:
        """Coefficients of the reference, shape (n,)."""
        if not self.free_spectrum:
            return np.ones(1)
        if not self.smooth:
            return self.spectrum * spectrum_nodes(self.energy_edges) ** IN_BIN_INDEX
        return hat_coefficients(self.spectrum[:: nodes_per_bin(self.energy_edges)], self.energy_edges)

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients of the spectrum."""
        return len(self.nominal)

    def offset(self, observation: int) -> float:
        """Offset of the reference in an observation, in deg."""
        return float(separation_deg(self.basis[0], self.folded[observation].axis))

    def levels(self, observation: int) -> list[Level]:
        """Binnings of the true energy for the response of an observation."""
        irfs = self.folded[observation].observation.irfs
        if irfs not in self._levels:
            # dispersions are needed wherever the source may shine, and changes of it
            extent = self.reach + self.shape.family.extent(np.array(self.largest.own, float)) + OFFSET_REACH
            own = [self.offset(o) for o, one in enumerate(self.folded) if one.observation.irfs is irfs]
            offsets = max(min(own) - extent, 0.0), max(own) + extent
            roi = self.folded[observation].roi
            self._levels[irfs] = self._made(irfs, (roi.energy_min, roi.energy_max), offsets)
        return self._levels[irfs]

    def release(self) -> None:
        """Drop the responses, which are large; :meth:`tables` makes them again."""
        self._levels.clear()

    def _made(self, irfs: IRFs, span: tuple[float, float], offsets: tuple[float, float]) -> list[Level]:
        edges = self.energy_edges
        if not self.free_spectrum:
            # not kept for others: no other has the same offsets
            tables = build_tables.__wrapped__(irfs, tuple(edges.tolist()), span, offsets)
            return [Level(tables, at_bins(self.spectrum, edges), 0, (0.0, 0.0), 1.0)]
        bins = FineBins(irfs, edges, span, offsets)
        used = ((bins.fine, 4 / 3), (bins.coarse, -1 / 3)) if self.smooth else ((bins.boxes, 1.0),)
        levels = []
        for one, factor in used:
            place = (0.5 / one.per_bin, 1 / one.per_bin) if self.smooth else (0.0, 1.0)
            flux = at_bins(one.nodes**-IN_BIN_INDEX, one.energy_edges)
            levels.append(Level(one.tables, flux, one.per_bin, place, factor))
        return levels

    def _reference_flux(self, level: Level) -> FloatArray:
        """Spectrum of the reference in the bins of a level."""
        if not self.free_spectrum:
            return level.flux
        centre = np.log(level.tables.energy)
        ratio = self.spectrum * spectrum_nodes(self.energy_edges) ** IN_BIN_INDEX
        return level.flux * np.interp(centre, np.log(spectrum_nodes(self.energy_edges)), ratio)

    def tables(
        self,
        vectors: FloatArray,
        energy: FloatArray,
        observation: IntArray | int = 0,
    ) -> LiveTables:
        """Tables of some events.

        Parameters
        ----------
        vectors : numpy.ndarray
            Unit vectors of their directions, shape (N, 3).
        energy : numpy.ndarray
            Their energies in TeV, shape (N,).
        observation : numpy.ndarray or int
            Index of the observation of each.

        Returns
        -------
        LiveTables
        """
        which = np.broadcast_to(np.asarray(observation, np.int64), (len(energy),))
        points = []
        for o in np.unique(which):
            mine = np.flatnonzero(which == o)
            points.append(LivePoints.of_events(int(o), vectors[mine], AtEnergies(energy[mine]), mine))
        return self.at(points, len(energy))

    def at(self, points: Sequence[LivePoints], n_events: int) -> LiveTables:
        """Tables of points that stand for events, or for cells over which densities are averaged."""
        blocks: list[Blocks] = []
        for one in points:
            near = one.take(np.flatnonzero(self._is_near(one.observation, one.vectors)))
            near = near.take(np.argsort(near.energies.quadrature()[0][:, 0], kind="stable"))
            placed = [(level, near.energies.on(level.tables)) for level in self.levels(one.observation)]
            size = CHUNK if self.smooth else CHUNK // nodes_per_bin(self.energy_edges)
            chunks = [slice(k, k + size) for k in range(0, len(near.place), size)]

            def one_chunk(rows: slice, near: LivePoints = near, placed: Placed = placed) -> Blocks:
                return self._blocks(near.take(rows), [(level, locate(rows)) for level, locate in placed])

            blocks += run_parallel(one_chunk, chunks)
        arrays = join_blocks(blocks, np.stack([one.axis for one in self.folded]), self.shape.family.profile)
        return LiveTables(arrays, n_events, self)

    def _is_near(self, o: int, vectors: FloatArray) -> NDArray[np.bool_]:
        tables = self.levels(o)[0].tables
        widest = float(tables.variance[tables.weight > LEAST_WEIGHT].max())
        limit = self.reach + self.shape.family.widest(np.array(self.largest.own, float), widest * self._widening**2)
        return np.asarray(separation_deg(vectors, self.basis[0]) < limit)

    def _blocks(self, points: LivePoints, placed: Sequence[tuple[Level, Located]]) -> Blocks:
        o, vectors, n = points.observation, points.vectors, len(points.place)
        one, levels = self.folded[o], [level for level, _ in placed]
        x, y = _tangent(vectors, self.basis)
        px, py = _tangent(one.axis, self.basis)
        turn = self.shape.family.turn(self.own)
        log_range = np.log([min(t.tables.variance.min() for t in levels), max(t.tables.variance.max() for t in levels)])
        logs = np.linspace(log_range[0] - 0.01, log_range[1] + 0.01, PROFILE_NODES)

        def seen(shrink: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            across, along = math.cos(turn) * x - math.sin(turn) * y, math.sin(turn) * x + math.cos(turn) * y
            return self.shape.family.seen(self.own, across * shrink, along * shrink, np.exp(logs))

        distance = np.hypot(x, y)
        log_density, m1, m2 = seen(np.ones(n))
        log_closer, _, _ = seen(np.maximum(distance - self.reach, 0) / np.maximum(distance, 1e-9))
        log_peak = self.shape.family.seen(self.own, np.zeros(1), np.zeros(1), np.exp(logs))[0][0]
        mx, my = math.cos(turn) * m1 + math.sin(turn) * m2, math.cos(turn) * m2 - math.sin(turn) * m1
        profile = Profile(
            log_density,
            log_closer,
            log_peak,
            (mx - px) ** 2 + (my - py) ** 2,
            float(logs[0]),
            float(logs[1] - logs[0]),
            self.shape.family.blur(self.own),
        )
        fields, widths = np.empty((n, 4)), Rungs.empty(n)
        bands = [_band(level.tables, located) for level, located in placed]
        first = levels[-1]  # the widest bins are fine enough for it
        reference_state(
            bands[-1],
            first.tables.aeff_smooth,
            self._reference_flux(first),
            profile,
            self.offset(o),
            OFFSET_REACH,
            fields,
            widths,
        )
        dense = np.zeros((n, self.n_coefficients + 1, max(int(widths.total.max(initial=0)), 1), 2))
        for level, band in zip(levels, bands, strict=True):
            last = (level.tables.aeff.shape[0] - 1) * level.tables.offset_step
            factor = level.factor * one.observation.livetime_s
            fill_rungs(band, level.flux, profile, fields, widths, OFFSET_REACH, last, level.place, factor, dense)
        dense = dense[:, :-1]
        if not self.smooth:
            columns = np.zeros(dense.shape[:2])
            reference_columns(profile, widths, dense, columns)
            lit = columns > FAINT_NODE * columns.max(axis=1, keepdims=True)
            dense *= np.where(lit, sharpened(np.maximum(columns, 0)) / np.where(lit, columns, 1.0), 1.0)[
                ..., None, None
            ]
        dense *= points.weight[:, None, None, None]
        return pack_blocks(o, points.place, vectors, fields, widths, dense, self.nominal)


def _band(tables: FoldTables, located: Located) -> Band:
    return Band(
        *located.place,
        located.dispersion,
        tables.edisp_offset,
        tables.aeff,
        tables.variance,
        tables.weight,
        tables.offset_step,
    )


def _tangent(vectors: FloatArray, basis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coordinates east and north in deg of unit vectors, as long as the arc from the origin of a basis."""
    x, y = vectors @ basis[1], vectors @ basis[2]
    sine = np.hypot(x, y)
    arc = separation_deg(vectors, basis[0]) / np.where(sine > 0, sine, 1.0)
    return x * arc, y * arc
