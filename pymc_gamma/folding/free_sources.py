r"""Sources of free spectrum: columns along the true energy.

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
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.bands import Averaging, Bands, compress, concatenate
from pymc_gamma.folding.energies import Energies
from pymc_gamma.folding.engine import CHUNK
from pymc_gamma.folding.fine import FineBins, FineTables, Level
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.free import FreeColumns, FreeComponent, free_columns
from pymc_gamma.folding.nodes import nodes_per_bin, sharpened, spectrum_nodes
from pymc_gamma.folding.photons import PhotonComponent
from pymc_gamma.folding.tables import IN_BIN_INDEX
from pymc_gamma.sums import weighted_sum
from pymc_gamma.threads import piece_size, run_parallel

__all__ = ["FreeSources", "extrapolate"]


class FreeSources(FreeColumns):
    """One component of free spectrum under one or several observations.

    Parameters
    ----------
    source : PhotonComponent
        The component.
    folded : sequence of FoldedObservation
        The observations.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV: the nodes of smooth spectra.
    """

    def __init__(self, source: PhotonComponent, folded: Sequence[FoldedObservation], energy_edges: FloatArray) -> None:
        self._source, self._smooth_energy = source, energy_edges
        self._energy = spectrum_nodes(energy_edges)
        self._shares = _shares(source)
        self._part_acceptance: list[FloatArray] = [np.empty(0)] * len(folded)
        self._smooth_acceptance: list[FloatArray] = [np.empty(0)] * len(folded)

    def count(self, bins: FineBins, observations: Sequence[FoldedObservation]) -> None:
        """Acceptances, at all nodes and at those of smooth spectra, under observations that share a response."""
        for folded in observations:
            fine, coarse = (
                self._on(level).part_acceptance_by_energy_true(folded.on_tables(level.tables))
                for level in (bins.fine, bins.coarse)
            )
            smooth = extrapolate(bins.fine.hats(fine), bins.coarse.hats(coarse))
            self._smooth_acceptance[folded.index] = smooth.sum(axis=0)
            self._part_acceptance[folded.index] = _at_nodes(
                fine, bins.fine.energy_edges, self._energy, smooth.sum(axis=1)
            )

    @property
    def component(self) -> FreeComponent:
        """What a model needs to know of it."""
        name, unit = self._source.name, "TeV-1 cm-2 s-1"
        nominal = self._source.part_fluxes().sum(axis=0)
        every = nodes_per_bin(self._smooth_energy)

        def one(energy: FloatArray, rows: FloatArray, flux: FloatArray, smooth: FreeComponent | None) -> FreeComponent:
            return FreeComponent(name, energy, rows.sum(axis=0)[None], flux, IN_BIN_INDEX, unit, smooth, rows)

        few = one(self._smooth_energy, np.stack(self._smooth_acceptance), nominal[::every], None)
        return one(self._energy, np.stack([parts.sum(axis=0) for parts in self._part_acceptance]), nominal, few)

    def bands(
        self,
        bins: FineBins,
        folded: FoldedObservation,
        vectors: FloatArray,
        energies: Energies,
        smooth: bool,
        averaging: Averaging,
    ) -> Bands:
        """Densities per unit coefficient of events of one observation; see `FreeColumns.bands`."""
        whole = self.component
        assert whole.smooth is not None
        total = (whole.smooth if smooth else whole).acceptance.sum()
        levels = (bins.fine, bins.coarse) if smooth else (bins.boxes,)
        placed = [
            (self._on(level), level, folded.on_tables(level.tables), energies.on(level.tables)) for level in levels
        ]
        largest = CHUNK if smooth else CHUNK // nodes_per_bin(self._smooth_energy)
        size = piece_size(len(vectors), largest)

        def one_chunk(chunk: tuple[slice, Averaging]) -> Bands:
            rows, average = chunk
            here, dense = np.ascontiguousarray(vectors[rows]), []
            for source, level, on_level, locate in placed:
                located = locate(rows)
                source.add_bands(on_level, here, located.place, located.dispersion, located.band)
                dense.append(average.apply(level.columns(located)))
            columns = extrapolate(*dense) if smooth else sharpened(dense[0])
            return compress(columns[:, None] / total)

        return concatenate(run_parallel(one_chunk, averaging.chunks(size)), 1)

    def part_counts(self, coefficients: FloatArray) -> list[FloatArray]:
        """Expected counts of the parts in each observation, for coefficients (size,), or of each observation."""
        return [weighted_sum(parts, self._own(o, coefficients)) for o, parts in enumerate(self._part_acceptance)]

    def with_coefficients(self, coefficients: FloatArray) -> PhotonComponent:
        """The component with another spectrum, given by its coefficients."""
        if len(coefficients) > len(self._energy):
            raise ModelError(
                f"the spectrum of {self._source.name!r} is one for all observations here; got one for each of "
                f"{len(coefficients) // len(self._energy)}. Pick that of an observation."
            )
        return self._source.with_fluxes(self._shares * coefficients * self._energy**-IN_BIN_INDEX)

    def seen_by(self, observation: int, coefficients: FloatArray) -> PhotonComponent:
        """What one observation sees of it."""
        return self.with_coefficients(self._own(observation, coefficients))

    def _own(self, observation: int, coefficients: FloatArray) -> FloatArray:
        """Coefficients of one observation."""
        rows = coefficients.reshape(-1, len(self._energy))
        return np.asarray(rows[observation if len(rows) > 1 else 0])

    def _on(self, level: Level) -> PhotonComponent:
        """The component with a power law of the reference index on the nodes of narrow bins."""
        logs = np.log(level.nodes)
        at = np.linspace(logs[0], logs[-1], self._shares.shape[1])
        shares = np.stack([np.interp(logs, at, one) for one in self._shares])
        return self._source.with_fluxes(shares * level.nodes**-IN_BIN_INDEX)


@free_columns.register
def _(component: PhotonComponent, folded: Sequence[FoldedObservation], fine: FineTables) -> FreeColumns:
    return FreeSources(component, folded, fine.energy_edges)


def extrapolate(fine: FloatArray, coarse: FloatArray) -> FloatArray:
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


def _shares(component: PhotonComponent) -> FloatArray:
    """Share of each part in the summed spectrum; where that is zero, as at the nearest energy where it is not."""
    fluxes = component.part_fluxes()
    total = fluxes.sum(axis=0)
    lit = np.flatnonzero(total > 0)
    if not len(lit):  # a norm of zero: all parts alike
        return np.full(fluxes.shape, 1 / len(fluxes))
    at = np.arange(len(total))
    right = np.clip(np.searchsorted(lit, at), 0, len(lit) - 1)
    left = np.clip(right - 1, 0, None)
    nearest = np.where(np.abs(lit[left] - at) < np.abs(lit[right] - at), lit[left], lit[right])
    return fluxes[:, nearest] / total[nearest]
