"""The rate of the residual background of one observation, in reconstructed coordinates."""

from copy import copy
from functools import cached_property

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import IRFError
from pymc_gamma.instrument.domain import Domain, DomainCells
from pymc_gamma.instrument.irfs.core import TINY_RATE, Background
from pymc_gamma.power_laws import mean_exponential
from pymc_gamma.sums import weighted_sum

__all__ = ["BackgroundRate"]

BACKGROUND_CELL = 0.05


class BackgroundRate:
    """Residual background of one observation in reconstructed coordinates.

    Parameters
    ----------
    domain : Domain
        What is kept of an observation.
    own : Background, optional
        A rate instead of that of the IRFs.
    name : str
        What that is called, for messages.

    Raises
    ------
    IRFError
        If the IRFs have no background, or the rate given is not known everywhere in the domain.
    """

    def __init__(self, domain: Domain, own: Background | None = None, name: str = "") -> None:
        observation = domain.observation
        assert observation is not None
        bkg = observation.irfs.bkg if own is None else own
        if bkg is None:
            raise IRFError(
                f"IRFs {observation.irfs.name} have no background (bkg), which CosmicRayBackground needs; "
                "use IRFs with one or leave the component out."
            )
        self._bkg, self.domain, self.ontime_s = bkg, domain, observation.ontime_s
        self._basis = observation.background_basis(domain.roi.frame, bkg)
        self._shapes: tuple[tuple[FloatArray, FloatArray], ...] = ()
        if own is not None:
            self._check_coverage(name)

    def _check_coverage(self, name: str) -> None:
        """Raise an IRFError where events may be kept and the rate is not known: they would all be taken for signal."""
        (low, high), known = self.domain.energy_range, self._bkg.energy_range
        if low < known[0] * (1 - 1e-9) or high > known[1] * (1 + 1e-9):
            raise IRFError(
                f"the background {name!r} is known from {known[0]:.4g} to {known[1]:.4g} TeV, and events are kept from "
                f"{low:.4g} to {high:.4g} TeV; give one that reaches as far, or narrow the energies of the region."
            )
        unknown = ~self._bkg.covers(self.cells.vectors, self._basis)
        if unknown.any():
            share = self.cells.solid_angle[unknown].sum() / self.cells.solid_angle.sum()
            raise IRFError(
                f"the background {name!r} is not known in {share:.1%} of the field in which events are kept; give one "
                "that reaches as far, or limit the observations by offset_max=."
            )

    def with_shape(self, energy: FloatArray, values: FloatArray) -> "BackgroundRate":
        """The rate times a factor, linear in the logarithm of the energy between nodes in TeV, constant beyond."""
        other = copy(self)
        other._shapes = (*self._shapes, (np.log(energy), np.asarray(values, float)))
        return other

    def scaled(self, factor: float) -> "BackgroundRate":
        """The rate times a constant factor."""
        other = copy(self)
        other.ontime_s = self.ontime_s * factor
        return other

    def density(self, vectors: FloatArray, log_energy: FloatArray) -> FloatArray:
        """Counts density in TeV-1 sr-1 at unit vectors (N, 3) and natural logarithms of the energy in TeV (N,)."""
        out = self._bkg.rate_at(vectors, log_energy, self._basis) * self.ontime_s
        for shape in self._shapes:
            out *= np.interp(log_energy, *shape)
        return out

    def contrast(self, vectors: FloatArray, log_energy: FloatArray) -> FloatArray:
        """The density at events over its mean on the domain at their energies, shape (N,)."""
        energy = self.segments(np.array(self.domain.energy_range))
        at, solid_angle = np.log(energy), self.cells.solid_angle
        rate = self._bkg.spectra_at(self.cells.vectors, at, self._basis) * self.ontime_s
        for shape in self._shapes:
            rate *= np.interp(at, *shape)[:, None]
        mean = np.log(np.maximum(weighted_sum(rate, solid_angle) / solid_angle.sum(), TINY_RATE))
        return self.density(vectors, log_energy) / np.exp(np.interp(log_energy, at, mean))

    @cached_property
    def cells(self) -> DomainCells:
        """Small cells of the domain."""
        return self.domain.cells(BACKGROUND_CELL)

    def segments(self, energy_edges: FloatArray) -> FloatArray:
        """Energies in TeV between which the rate is a power law: the given edges and the nodes between them."""
        nodes = self._bkg.energy
        nodes = np.concatenate([nodes, *(np.exp(log_energy) for log_energy, _ in self._shapes)])
        inside = nodes[(nodes > energy_edges[0] * (1 + 1e-9)) & (nodes < energy_edges[-1] * (1 - 1e-9))]
        inside = np.sort(inside)
        fresh = np.r_[True, np.diff(inside) > 1e-9 * inside[1:]] if len(inside) else np.empty(0, bool)
        near = np.abs(inside[:, None] / energy_edges - 1).min(axis=1) < 1e-9
        return np.sort(np.concatenate([energy_edges, inside[fresh & ~near]]))

    def cell_counts(self, energy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Counts in each (segment, cell), and the power-law index of each; shapes (n - 1, n_cells)."""
        integral, slope = self._segment_integrals(self.cells.vectors, energy)
        return integral * self.cells.solid_angle, slope

    def density_in_bins(self, vectors: FloatArray, energy_edges: FloatArray) -> FloatArray:
        """Counts per sr at unit vectors (N, 3), integrated over bins of energy, shape (n_bins, N)."""
        energy = self.segments(energy_edges)
        integral, _ = self._segment_integrals(vectors, energy)
        return np.asarray(np.add.reduceat(integral, np.searchsorted(energy, energy_edges[:-1]), axis=0))

    def counts(self, energy_edges: FloatArray) -> FloatArray:
        """Expected counts in the domain on the sky per bin of energy, shape (n_bins,)."""
        return weighted_sum(self.density_in_bins(self.cells.vectors, energy_edges), self.cells.solid_angle)

    def _segment_integrals(self, vectors: FloatArray, energy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Counts per sr between neighbouring energies, and the index of the power law there; (n - 1, N)."""
        log_energy = np.log(energy)
        rate = self._bkg.spectra_at(vectors, log_energy, self._basis) * self.ontime_s
        for shape in self._shapes:
            rate *= np.interp(log_energy, *shape)[:, None]
        slope = np.diff(np.log(np.maximum(rate, TINY_RATE)), axis=0) / np.diff(log_energy)[:, None]
        span = np.diff(log_energy)[:, None]
        return energy[:-1, None] * rate[:-1] * span * mean_exponential((slope + 1) * span), slope
