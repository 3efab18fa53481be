"""The residual background: a rate in reconstructed coordinates, which nothing is folded with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.background_rate import BackgroundRate
from pymc_gamma.folding.component import CompiledComponent, Points
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.instrument.domain import Domain
from pymc_gamma.instrument.irfs.core import Background

__all__ = ["CompiledBackground"]


@dataclass(frozen=True, eq=False)
class CompiledBackground(CompiledComponent):
    """Residual background of the IRFs of each observation, with a factor and a shape of its own.

    Attributes
    ----------
    factor : float
        Factor on the rate.
    shapes : tuple of tuple of numpy.ndarray
        Factors that depend on the reconstructed energy: nodes in TeV, shape (n,), and the values there in each
        observation, between which it is linear in the logarithm of the energy, shape (n_observations, n).
    bkg : Background, optional
        Its rate, the same for all observations; that of the IRFs of each if not given.
    """

    kind: ClassVar[str] = "background"
    irfs: ClassVar[frozenset[str]] = frozenset({"bkg"})
    factor: float = 1.0
    shapes: tuple[tuple[FloatArray, FloatArray], ...] = ()
    bkg: Background | None = None
    _rates: dict[Domain, BackgroundRate] = field(default_factory=dict, init=False, repr=False)

    @property
    def n_parts(self) -> int:
        """One."""
        return 1

    def scaled(self, factor: float) -> "CompiledBackground":
        """The background with its rate times a factor."""
        return replace(self, factor=self.factor * factor)

    def with_shape(self, energy: FloatArray, values: FloatArray) -> "CompiledBackground":
        """The background times a factor that depends on the reconstructed energy, see :attr:`shapes`."""
        return replace(self, shapes=(*self.shapes, (energy, values)))

    def check_observations(self, n: int) -> None:
        """Raise ModelError unless its shapes are those of *n* observations."""
        for _, values in self.shapes:
            if len(values) != n:
                raise ModelError(
                    f"the shape of {self.name!r} was given for {len(values)} observation(s) and says nothing of "
                    f"{n}: fold for as many, or give the shape after that."
                )

    def offsets(self, axis: FloatArray) -> tuple[float, float]:
        """None: it knows no true energies."""
        return np.inf, 0.0

    def rate(self, folded: FoldedObservation) -> BackgroundRate:
        """Its rate in one observation; an IRFError where the IRFs have none."""
        made = self._rates.get(folded.domain)
        if made is None:
            made = folded.background if self.bkg is None else BackgroundRate(folded.domain, self.bkg, self.name)
            if self.factor != 1:
                made = made.scaled(self.factor)
            for energy, values in self.shapes:
                made = made.with_shape(energy, values[folded.index])
            self._rates[folded.domain] = made
        return made

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a store keeps of it."""
        arrays: dict[str, NDArray[Any]] = {}
        for k, (energy, values) in enumerate(self.shapes):
            arrays |= {f"shape_{k}_energy": energy, f"shape_{k}_values": values}
        if self.bkg is not None:
            arrays |= self.bkg.arrays()
        meta = {"name": self.name, "factor": self.factor, "n_shapes": len(self.shapes), "own": self.bkg is not None}
        return meta, arrays

    @classmethod
    def from_arrays(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "CompiledBackground":
        """The background from a store."""
        shapes = [(arrays[f"shape_{k}_energy"], arrays[f"shape_{k}_values"]) for k in range(meta["n_shapes"])]
        bkg = Background.from_arrays(arrays) if meta["own"] else None
        return cls(meta["name"], meta["factor"], tuple(shapes), bkg)

    def prepare(self, folded: FoldedObservation) -> None:
        """Make the rate."""
        self.rate(folded)

    def contrast(self, folded: FoldedObservation, vectors: FloatArray, log_energy: FloatArray) -> FloatArray:
        """Density at events over its mean on the domain at their energies, shape (N,)."""
        return self.rate(folded).contrast(vectors, log_energy)

    def density(self, folded: FoldedObservation, points: Points) -> FloatArray:
        """Expected counts density in TeV-1 sr-1, shape (N,)."""
        rate = self.rate(folded)
        return points.energies.average(lambda log_energy: rate.density(points.vectors, log_energy))

    def density_in_bins(
        self, folded: FoldedObservation, vectors: FloatArray, energy_edges: FloatArray, dispersion: NDArray[Any]
    ) -> FloatArray:
        """Expected counts per sr at unit vectors (N, 3), integrated over bins of energy, shape (n_bins, N)."""
        return self.rate(folded).density_in_bins(vectors, energy_edges)

    def part_acceptance(self, folded: FoldedObservation, energy_edges: FloatArray) -> FloatArray:
        """Expected counts in the domain per bin of reconstructed energy, shape (1, n_bins)."""
        return self.rate(folded).counts(energy_edges)[None]
