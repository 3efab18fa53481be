r"""The domain of selection: which reconstructed events of an observation are kept.

An event at energy :math:`E'` and direction :math:`\Omega'` is kept when all of these hold:

* the direction lies in the region of interest, and in nothing that is cut out of it;
* it lies within the largest offset of the observation, and where *all* its instrument response functions are given:
  effective area, energy dispersion, PSF and, if there is one, the background;
* the energy lies in the range of the region, in that of the observation (its safe energies), and in that of the
  background.

Events are selected, counts integrated, events drawn and pictures masked by this object and by nothing else: expected
counts :math:`\Lambda = \int \lambda\,dE'\,d\Omega'` mean something only over the set that the events were taken from.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import BoolArray, FloatArray
from pymc_gamma.errors import RegionError
from pymc_gamma.geometry import RegionOfInterest, covered_cells, separation_deg
from pymc_gamma.instrument.observation import NO_LIMIT, Observation

__all__ = ["Domain", "DomainCells"]

ROUNDING = 1e-9
"""Edges in energy are inclusive up to rounding: bins and files store them in single precision."""


class Domain:
    """What is kept of one observation; without an observation, what a region of interest keeps of any.

    Parameters
    ----------
    roi : RegionOfInterest
        Region and energy range of the analysis.
    observation : Observation, optional
        Pointing, response and limits.

    Attributes
    ----------
    asked, given : tuple of float
        Reconstructed energies in TeV that the region and the observation allow, and that the IRFs give.
    energy_range : tuple of float
        Reconstructed energies in TeV that are kept: both.
    offset_max : float
        Largest offset in degrees; inf without an observation.

    Raises
    ------
    RegionError
        If no energy is left; says what each side allows.
    """

    def __init__(self, roi: RegionOfInterest, observation: Observation | None = None) -> None:
        self.roi, self.observation = roi, observation
        self._bkg = None if observation is None else observation.irfs.bkg
        self._safe = NO_LIMIT if observation is None else observation.energy_range
        self.asked = max(roi.energy_min, self._safe[0]), min(roi.energy_max, self._safe[1])
        self.given = NO_LIMIT
        if observation is not None:
            response = observation.irfs.energy_true_range
            table = NO_LIMIT if self._bkg is None else self._bkg.energy_range
            self.given = max(response[0], table[0]), min(response[1], table[1])
        low, high = max(self.asked[0], self.given[0]), min(self.asked[1], self.given[1])
        if not low < high:
            raise RegionError(
                f"no energies are left for {self._label()}: the region asks for {roi.energy_min:g}-{roi.energy_max:g} "
                f"TeV, the observation is safe at {self._safe[0]:.4g}-{self._safe[1]:.4g} TeV and its response given "
                f"at {self.given[0]:.4g}-{self.given[1]:.4g} TeV. Leave it out or change the range."
            )
        self.energy_range = (low, high)
        self.offset_max = np.inf
        if observation is not None:
            self.offset_max = min(observation.offset_max, observation.irfs.offset_max)
            self._axis = observation.axis_vector(roi.frame)
            self._basis = observation.background_basis(roi.frame)

    def _label(self) -> str:
        name = getattr(self.observation, "name", None)
        return f"observation {name}" if name else "the observation"

    def contains(self, vectors: FloatArray, energy: FloatArray) -> BoolArray:
        """Whether events are kept.

        Parameters
        ----------
        vectors : numpy.ndarray
            Unit vectors of reconstructed directions in the frame of the region, shape (n, 3).
        energy : numpy.ndarray
            Reconstructed energies in TeV, shape (n,).
        """
        inside = self.contains_energy(energy)
        inside[inside] = self.contains_sky(vectors[inside])
        return inside

    def contains_energy(self, energy: FloatArray) -> BoolArray:
        """Whether reconstructed energies in TeV are kept."""
        low, high = self.energy_range
        return np.asarray((energy >= low * (1 - ROUNDING)) & (energy <= high * (1 + ROUNDING)))

    def contains_sky(self, vectors: FloatArray) -> BoolArray:
        """Whether unit vectors (..., 3) of reconstructed directions are kept."""
        return self.roi.contains_vectors(vectors) & self.is_covered(vectors)

    def is_covered(self, vectors: FloatArray) -> BoolArray:
        """Whether the observation can be trusted at unit vectors (..., 3), in the region or not."""
        if self.observation is None:
            return np.ones(np.shape(vectors)[:-1], bool)
        return (separation_deg(vectors, self._axis) <= self.offset_max) & self._has_background(vectors)

    def is_given(self, vectors: FloatArray) -> BoolArray:
        """Whether all IRFs of the observation are given at unit vectors (..., 3), whatever its largest offset."""
        if self.observation is None:
            return np.ones(np.shape(vectors)[:-1], bool)
        offset = separation_deg(vectors, self._axis)
        return (offset <= self.observation.irfs.offset_max) & self._has_background(vectors)

    def _has_background(self, vectors: FloatArray) -> BoolArray:
        if self._bkg is None:
            return np.ones(np.shape(vectors)[:-1], bool)
        flat = np.ascontiguousarray(vectors).reshape(-1, 3)
        return self._bkg.covers(flat, self._basis).reshape(np.shape(vectors)[:-1])

    def reasons(self, vectors: FloatArray, energy: FloatArray) -> dict[str, BoolArray]:
        """Why events are not kept: for each reason the events whose first one it is, in the order they are checked.

        Parameters and shapes are those of :meth:`contains`.
        """
        roi, (safe_low, safe_high) = self.roi, self._safe
        checks: list[tuple[str, BoolArray]] = [
            ("outside the region on the sky", ~roi.outline.contains(vectors)),
            ("in an excluded part of the region", roi.excludes_vectors(vectors)),
        ]
        if self.observation is not None:
            offset = separation_deg(vectors, self._axis)
            checks += [
                (f"beyond the largest offset, {self.offset_max:g} deg", offset > self.offset_max),
                ("where the IRFs give no background", ~self._has_background(vectors)),
            ]
        checks += [
            (f"below {roi.energy_min:g} TeV", energy < roi.energy_min * (1 - ROUNDING)),
            (f"above {roi.energy_max:g} TeV", energy > roi.energy_max * (1 + ROUNDING)),
        ]
        if self.observation is not None:
            checks += [
                (f"below {safe_low:.4g} TeV, where {self._label()} is not safe", energy < safe_low * (1 - ROUNDING)),
                (f"above {safe_high:.4g} TeV, where {self._label()} is not safe", energy > safe_high * (1 + ROUNDING)),
                ("at energies that the IRFs do not give", ~self.contains_energy(energy)),
            ]
        left = np.ones(len(energy), bool)
        found = {}
        for reason, bad in checks:
            first = left & bad
            if first.any():
                found[reason] = first
            left &= ~bad
        return found

    def clip(self, energy_edges: FloatArray) -> FloatArray:
        """Edges of bins of energy in TeV cut at the domain: bins outside become empty."""
        return np.clip(energy_edges, *self.energy_range)

    def cells(self, step: float) -> "DomainCells":
        """Small cells that cover the domain, no wider than ``step`` in degrees."""
        return DomainCells(self.roi, self.contains_sky, step)


class DomainCells:
    """Cells of a domain on the sky, those at its edge without what lies outside.

    Parameters
    ----------
    roi : RegionOfInterest
        Whose outline is cut into cells.
    contains : callable
        Which unit vectors (n, 3) belong to the domain.
    step : float
        Largest size of a cell in degrees.

    Attributes
    ----------
    vectors : numpy.ndarray
        Unit vectors of the middle of what belongs to the domain of each cell, shape (n, 3).
    solid_angle : numpy.ndarray
        Its solid angle in sr, shape (n,).
    """

    def __init__(self, roi: RegionOfInterest, contains: Callable[[FloatArray], BoolArray], step: float) -> None:
        self._cells, self._contains = roi.cells(step), contains
        self._index, self.vectors, fraction = covered_cells(self._cells, contains)
        self._whole = fraction == 1
        self.solid_angle = self._cells.solid_angle[self._index] * fraction

    def sample(self, cell: NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
        """Unit vectors (n, 3) uniform in the part of cells, given by index, that belongs to the domain."""
        out = self._cells.points(self._index[cell], rng.random(len(cell)), rng.random(len(cell)))
        again = np.flatnonzero(~self._whole[cell])
        again = again[~self._contains(out[again])]
        while len(again):
            which = self._index[cell[again]]
            out[again] = self._cells.points(which, rng.random(len(again)), rng.random(len(again)))
            again = again[~self._contains(out[again])]
        return out
