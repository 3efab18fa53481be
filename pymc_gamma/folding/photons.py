"""Components whose photons pass the whole response, wherever they shine from."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.component import CompiledComponent, Points
from pymc_gamma.folding.energies import Place
from pymc_gamma.folding.folded import FoldedObservation

__all__ = ["PhotonComponent"]


class PhotonComponent(CompiledComponent):
    """A component with true energies and directions: its bands of true energy, and integrals over the true sky."""

    irfs: ClassVar[frozenset[str]] = frozenset({"aeff", "edisp", "psf"})

    def scaled(self, factor: float) -> Self:
        """The component with all its fluxes times a factor."""
        return self.with_fluxes(self.part_fluxes() * factor)

    @abstractmethod
    def with_fluxes(self, fluxes: FloatArray) -> Self:
        """The component with other spectra for its parts, shape (n_parts, n_nodes)."""

    @abstractmethod
    def part_fluxes(self) -> FloatArray:
        """Spectra of all parts on the spectrum nodes, TeV-1 cm-2 s-1, shape (n_parts, n_nodes)."""

    @abstractmethod
    def add_bands(
        self,
        folded: FoldedObservation,
        vectors: FloatArray,
        place: Place,
        dispersion: NDArray[Any],
        out: FloatArray,
    ) -> None:
        """Add the component to bands of true energy, for its spectra.

        ``dispersion[j, r, e]`` weighs true-energy bin e at row r (density in reconstructed energy, or probability of
        a bin) and dispersion offset j; ``out[i, b]`` is in units of it times sr-1.
        """

    @abstractmethod
    def true_sky(self, folded: FoldedObservation) -> list[FloatArray]:
        """Integrals of the response over the true sky for a flux of 1 of each part, (n_j, n_e) in cm2 TeV."""

    def prepare(self, folded: FoldedObservation) -> None:
        """Nothing to be made."""

    def density(self, folded: FoldedObservation, points: Points) -> FloatArray:
        """Expected counts density in TeV-1 sr-1, shape (N,)."""
        place, band, dispersion = points.located
        band[:] = 0
        self.add_bands(folded, points.vectors, place, dispersion, band)
        return np.maximum(band.sum(axis=1), 0)  # the bins undershoot beside lines

    def density_in_bins(
        self, folded: FoldedObservation, vectors: FloatArray, energy_edges: FloatArray, dispersion: NDArray[Any]
    ) -> FloatArray:
        """Expected counts per sr at unit vectors (N, 3), integrated over bins of energy, shape (n_bins, N)."""
        n, n_e = len(vectors), dispersion.shape[2]
        band = np.empty((n, n_e))
        every = (np.zeros(n), np.zeros(n, np.int64), np.full(n, n_e))
        out = np.empty((len(energy_edges) - 1, n))
        for b in range(len(out)):
            band[:] = 0
            self.add_bands(folded, vectors, (np.full(n, b), *every), dispersion, band)
            out[b] = np.maximum(band.sum(axis=1), 0)
        return out

    def part_acceptance(self, folded: FoldedObservation, energy_edges: FloatArray) -> FloatArray:
        """Expected counts in the domain of each part, per bin of reconstructed energy, shape (n_parts, n_bins)."""
        migration, livetime = folded.tables.migration(energy_edges), folded.observation.livetime_s
        return np.stack(
            [
                livetime * np.einsum("je,jke,e->k", response, migration, flux)
                for response, flux in self._part_responses(folded)
            ]
        )

    def part_acceptance_by_energy_true(self, folded: FoldedObservation) -> FloatArray:
        """As :meth:`part_acceptance` for the whole range of energies, by true-energy bin, shape (n_parts, n_e)."""
        migration = folded.tables.migration(np.array(folded.domain.energy_range))[:, 0]
        livetime = folded.observation.livetime_s
        return np.stack(
            [
                livetime * np.einsum("je,je,e->e", response, migration, flux)
                for response, flux in self._part_responses(folded)
            ]
        )

    def _part_responses(self, folded: FoldedObservation) -> list[tuple[FloatArray, FloatArray]]:
        """Integrals over the true sky (n_j, n_e) in cm2 TeV, and fluxes (n_e,), of the parts."""
        seen = folded.kept(self.name, lambda: self.true_sky(folded))
        return list(zip(seen, folded.at_bins(self.part_fluxes()), strict=True))
