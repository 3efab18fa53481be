r"""Halos of free profile: what a model needs to know of them.

A halo is a sum of Gaussians of fixed widths, with J factors that depend on the profile. Its density at an event, per
unit coefficient of its spectrum, is

.. math:: \sum_g J_g(\theta)\,D_{ing} / C, \qquad C = \sum_n C_n ,

with the total acceptance :math:`C` of the halo as it was folded: the scale of `LiveComponent`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.events.rows import EventRows
from pymc_gamma.folding.bands import Averaging, concatenate
from pymc_gamma.folding.energies import AtEnergies, Energies, InRanges
from pymc_gamma.folding.engine import CHUNK
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.free import FreeComponents
from pymc_gamma.folding.free_halo import FactoredColumns, FreeHalo
from pymc_gamma.folding.halo import VARIANCE, CompiledHalo
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.halos import Profile
from pymc_gamma.response.checks import check_rows
from pymc_gamma.response.densities import over_cells
from pymc_gamma.response.folds import Fold
from pymc_gamma.threads import piece_size, run_parallel

__all__ = ["HaloComponent"]


class HaloComponent:
    """A halo whose profile is left to a model.

    Parameters
    ----------
    fold : Fold
        Components and observations.
    name : str
        Name of the halo.
    free : FreeComponents or None
        Components of free spectrum, if it is one of them.
    smooth : bool
        Whether coefficients are those of the few nodes of smooth spectra.

    Attributes
    ----------
    name : str
        Name of the halo.
    profile : Profile
        With which it was folded.
    power : int
        2 for annihilation, 1 for decay.
    unit : float
        J factor in TeV2 cm-5, or D factor, that those of the Gaussians are given in.
    total : float
        Expected counts that densities and counts are over.
    """

    def __init__(self, fold: Fold, name: str, free: FreeComponents | None, smooth: bool = True) -> None:
        component = fold.components[fold.index(name)]
        if not isinstance(component, CompiledHalo) or not component.is_free:
            raise ModelError(
                f"the component {name!r} is no halo of free profile; fold a DarkMatterHalo with free_shape=[{name!r}]."
            )
        self.name, self._fold, self._halo, self._free, self._smooth = name, fold, component, free, smooth
        self.unit = float(component.amounts.sum())
        self._k = None if free is None else [one.name for one in free.components].index(name)
        self.total = float(fold.counts[fold.index(name)].sum())
        if free is not None and self._k is not None:
            whole = free.components[self._k]
            assert whole.smooth is not None
            self.total = float((whole.smooth if smooth else whole).acceptance.sum())

    @property
    def profile(self) -> Profile:
        """With which it was folded."""
        return self._halo.profile

    @property
    def power(self) -> int:
        """2 for annihilation, 1 for decay."""
        return self._halo.power

    def named(self, given: Any) -> Any:
        """Parameters of the profile by name, checked; see `CompiledHalo.named`."""
        return self._halo.named(given)

    def counts(self) -> FloatArray:
        """Expected counts over the total, per unit coefficient and J factor, (n_observations, n_nodes, n_widths)."""
        found = []
        for folded in self._fold.folded:
            response = self._halo.true_sky_of_widths(folded)
            migration = folded.tables.migration(np.array(folded.domain.energy_range))[:, 0]
            found.append(folded.observation.livetime_s * np.einsum("gje,je->eg", response, migration))
        by_bin = np.stack(found) * self.unit
        if self._free is None or self._k is None:
            flux = np.stack([folded.at_bins(self._halo.part_fluxes())[0] for folded in self._fold.folded])
            return np.asarray(np.einsum("oeg,oe->og", by_bin, flux)[:, None] / self.total)
        # of each width against all as it was folded: smooth in energy, and so on the nodes
        whole = self._free.components[self._k]
        nodes = whole.smooth if self._smooth else whole
        assert nodes is not None
        assert nodes.rows is not None
        edges = self._fold.folded[0].tables.energy_edges
        centre, at = 0.5 * (np.log(edges[1:]) + np.log(edges[:-1])), np.log(nodes.energy)
        every = by_bin @ (self._halo.amounts / self.unit)
        ratio = by_bin / np.where(every > 0, every, np.inf)[..., None]
        out = np.maximum(CubicSpline(centre, ratio, axis=1)(np.clip(at, centre[0], centre[-1])), 0)
        # and such that the Gaussians add up to the halo as it was folded
        out /= np.maximum(out @ (self._halo.amounts / self.unit), np.finfo(float).tiny)[..., None]
        return np.asarray(out * nodes.rows[..., None] / self.total)

    def densities(self, rows: Any) -> FloatArray:
        """Densities of events for the spectrum that it was folded with, over the total, shape (N, n_widths).

        Parameters
        ----------
        rows : EventRows or array_like
            As for `Response.component_pdf`; densities are averaged over cells.

        Raises
        ------
        EventError
            If a row is not finite or outside the domain of its observation.
        """
        events, out = self._events(rows), None
        for o, vectors, energies, averaging, mine in self._points(events):
            found = self._of_widths(self._fold.folded[o], vectors, energies, averaging)
            out = np.empty((len(events), len(VARIANCE))) if out is None else out
            out[mine] = found
        return np.zeros((0, len(VARIANCE))) if out is None else out * (self.unit / self.total)

    def factored(self, rows: Any) -> FactoredColumns:
        """Columns of events for any spectrum, over the total, as products of factors of widths and bands of nodes.

        Parameters
        ----------
        rows : EventRows or array_like
            As for :meth:`densities`.
        """
        assert self._free is not None
        assert self._k is not None
        events, parts = self._events(rows), []
        for o, vectors, energies, averaging, mine in self._points(events):
            columns, bins, folded = self._free.of_observation(self._k, o)
            assert isinstance(columns, FreeHalo)
            found = columns.factored(bins, folded, vectors, energies, self._smooth, averaging)
            parts.append(found._replace(event=np.asarray(mine)[found.event]))
        self._free.release()
        every = FactoredColumns(
            np.concatenate([np.empty(0, np.int64), *(one.event for one in parts)]),
            np.concatenate([np.empty((0, len(VARIANCE)), np.float32), *(one.factors for one in parts)]),
            concatenate([one.bands for one in parts], 1),
        )
        # numbers of single precision hold densities over the total only
        values = every.bands.values * np.float32(self.unit / self.total)
        return every._replace(bands=every.bands._replace(values=values))

    def _events(self, rows: Any) -> EventRows:
        if isinstance(rows, EventRows):
            return rows
        return EventRows.from_array(np.asarray(rows, float), self._fold.reco)

    def _points(self, events: EventRows) -> list[tuple[int, FloatArray, Energies, Averaging, NDArray[np.intp]]]:
        """Points at which densities are asked, by observation, and which events they are averaged to."""
        if events.cells is None:
            check_rows(events, self._fold.domains)
            return [
                (o, events.vectors[mine], AtEnergies(events.energy[mine]), Averaging.of_single(len(mine)), mine)
                for o, mine in events.by_observation()
            ]
        return [
            (
                group.observation,
                unit_vectors(group.nodes.lon, group.nodes.lat),
                InRanges(group.ranges, np.repeat(group.which, np.diff(group.nodes.first))),
                Averaging(group.nodes.weight, group.nodes.first),
                group.rows,
            )
            for group in over_cells(self._fold, events)
        ]

    def _of_widths(
        self, folded: FoldedObservation, vectors: FloatArray, energies: Energies, averaging: Averaging
    ) -> FloatArray:
        locate = energies.on(folded.tables)

        def one_chunk(chunk: tuple[slice, Averaging]) -> FloatArray:
            rows, average = chunk
            place, band, dispersion = locate(rows)
            out = np.zeros((len(band), len(VARIANCE), band.shape[1]))
            self._halo.add_widths(folded, np.ascontiguousarray(vectors[rows]), place, dispersion, out)
            return average.apply(np.maximum(out.sum(axis=2), 0))

        size = piece_size(len(vectors), CHUNK // 8)
        return np.concatenate(run_parallel(one_chunk, averaging.chunks(size)))
