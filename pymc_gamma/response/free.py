"""Components of free spectrum: those of the sky along true energy, the background along measured energy."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.errors import ModelError
from pymc_gamma.folding.engine import BackgroundRate, FoldedObservation
from pymc_gamma.folding.free import (
    Averaging,
    Bands,
    FreeBackground,
    FreeComponent,
    FreeSpectra,
    merge,
    take_components,
)
from pymc_gamma.folding.parts import CompiledComponent
from pymc_gamma.folding.ranges import InRanges
from pymc_gamma.sums import weighted_sum
from pymc_gamma.units import numbers

__all__ = ["FreeColumns"]

FloatArray = NDArray[np.float64]


class FreeColumns:
    """Columns of the components of free spectrum.

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
    components : tuple of FreeComponent
        What a model needs to know of each, in the order given.
    """

    def __init__(
        self, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation], energy_edges: FloatArray
    ) -> None:
        sky = [k for k, component in enumerate(components) if not component.instrumental]
        instrumental = [k for k, component in enumerate(components) if component.instrumental]
        self._sky = FreeSpectra([components[k] for k in sky], folded, energy_edges) if sky else None
        self._background = {
            k: FreeBackground(components[k].name, [one.background_of(components[k].name) for one in folded])
            for k in instrumental
        }
        self._place = {k: j for j, k in enumerate(sky)}
        self._order = [[*sky, *instrumental].index(k) for k in range(len(components))]
        self.components = tuple(
            self._background[k].describe() if k in self._background else self._sky_component(k)
            for k in range(len(components))
        )

    def _sky_component(self, k: int) -> FreeComponent:
        assert self._sky is not None
        return self._sky.describe(self._place[k])

    def release(self) -> None:
        """Drop what only the bands of events need; it is made again for them."""
        if self._sky is not None:
            self._sky.release()

    def bands(
        self,
        observation: int,
        vectors: FloatArray,
        energy: FloatArray | InRanges,
        smooth: Collection[str] = (),
        averaging: Averaging | None = None,
    ) -> Bands:
        """Densities per unit coefficient over the total of the acceptance, TeV-1 sr-1, of events of one observation.

        Parameters
        ----------
        observation : int
            Index of the observation.
        vectors : numpy.ndarray
            Unit vectors of the reconstructed directions, shape (N, 3).
        energy : numpy.ndarray or InRanges
            Reconstructed energies in TeV, shape (N,), or the ranges over which densities are averaged.
        smooth : collection of str
            Names of the components whose columns are to be those of ``components[k].smooth``.
        averaging : Averaging, optional
            Cells that the events are points of; bands are then averages, one for each cell.
        """
        groups = [group.bands(observation, vectors, energy, averaging) for group in self._background.values()]
        if self._sky is not None:
            groups.insert(0, self._sky.bands(observation, vectors, energy, smooth, averaging))
        merged = merge(groups)
        return merged if self._order == sorted(self._order) else take_components(merged, self._order)

    def part_counts(self, k: int, coefficients: FloatArray) -> list[FloatArray]:
        """Expected counts of the parts of component *k* in each observation, for coefficients (size,)."""
        if k in self._background:
            rows = self._background[k].acceptance * coefficients.reshape(self._background[k].acceptance.shape)
            return [np.atleast_1d(row.sum()) for row in rows]
        assert self._sky is not None
        return [weighted_sum(of[self._place[k]], coefficients) for of in self._sky.part_acceptance]

    def compiled(self, k: int, coefficients: FloatArray) -> CompiledComponent:
        """Sky component *k* with another spectrum, given by its coefficients."""
        assert self._sky is not None
        return self._sky.with_spectrum(self._place[k], coefficients)

    def background(self, k: int, coefficients: FloatArray) -> list[BackgroundRate] | None:
        """Rates of component *k* in each observation with another shape; None for a sky component."""
        if k not in self._background:
            return None
        one = self._background[k]
        return one.with_shape(coefficients.reshape(one.acceptance.shape))

    def coefficients(self, k: int, spectrum: ArrayLike) -> FloatArray:
        """Coefficients (size,) of component *k* for a spectrum (n,) or (n_observations, n), checked.

        Raises
        ------
        ModelError
            If the spectrum has another shape, or is negative or not finite somewhere.
        """
        component = self.components[k]
        values = numbers(spectrum, f"the spectrum of {component.name!r}", component.unit, finite=False)
        n_rows, n = component.acceptance.shape
        if values.shape not in {(n,), (n_rows, n)}:
            raise ModelError(
                f"the spectrum of {component.name!r} must have {n} values, one for each of its energies"
                + (f", or one such row for each of {n_rows} observations" if n_rows > 1 else "")
                + f"; got shape {values.shape}."
            )
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            raise ModelError(
                f"the spectrum of {component.name!r} is negative or not finite at {int(bad.sum())} of {bad.size} "
                "energies."
            )
        return np.asarray(component.coefficients(values))
