r"""Components whose spectrum is free: what a model needs to know of them, and what a response asks of them.

A component of free spectrum has a density that is linear in coefficients :math:`\rho` with columns along an energy:
:mod:`pymc_gamma.folding.free_sources` along the true energy, :mod:`pymc_gamma.folding.free_background` along the
reconstructed one. Which of them a component has is a matter of its class.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np
from numpy.typing import ArrayLike

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.bands import Averaging, Bands, merge
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.energies import Energies
from pymc_gamma.folding.fine import FineBins, FineTables
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.tables import IN_BIN_INDEX
from pymc_gamma.threads import run_parallel
from pymc_gamma.units import numbers

__all__ = ["FreeColumns", "FreeComponent", "FreeComponents", "free_columns", "hat_coefficients"]


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
    rows : numpy.ndarray or None
        Expected counts per unit coefficient in each observation, shape (n_observations, n), where ``acceptance`` has
        one row for all.
    """

    name: str
    energy: FloatArray
    acceptance: FloatArray
    nominal: FloatArray
    index: float
    unit: str
    smooth: "FreeComponent | None" = None
    rows: FloatArray | None = None

    def by_observation(self) -> "FreeComponent":
        """The same with coefficients for each observation."""
        if self.rows is None:
            return self
        smooth = None if self.smooth is None else self.smooth.by_observation()
        return replace(self, acceptance=self.rows, rows=None, smooth=smooth)

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
        """Coefficients (size,) of a spectrum (n,), or of one for each row (n_rows, n) or observation."""
        if self.smooth is None:
            rows = hat_coefficients(spectrum, self.energy, self.index)
        else:
            rows = np.asarray(spectrum, float) * self.energy**self.index
        return np.broadcast_to(rows, np.broadcast_shapes(rows.shape, self.acceptance.shape)).ravel()


class FreeColumns(ABC):
    """Columns of one component of free spectrum under several observations."""

    @abstractmethod
    def count(self, bins: FineBins, observations: Sequence[FoldedObservation]) -> None:
        """Find the acceptances under observations that share a response, whose narrow bins are given."""

    @property
    @abstractmethod
    def component(self) -> FreeComponent:
        """What a model needs to know of it, when all observations are counted."""

    @abstractmethod
    def bands(
        self,
        bins: FineBins,
        folded: FoldedObservation,
        vectors: FloatArray,
        energies: Energies,
        smooth: bool,
        averaging: Averaging,
    ) -> Bands:
        """Densities per unit coefficient over the total of the acceptance, TeV-1 sr-1, of events of an observation.

        Parameters
        ----------
        bins : FineBins
            Narrow bins of the response of the observation.
        folded : FoldedObservation
            The observation.
        vectors : numpy.ndarray
            Unit vectors of the reconstructed directions, shape (N, 3).
        energies : Energies
            Reconstructed energies, or the ranges over which densities are averaged.
        smooth : bool
            Whether the columns are those of ``component.smooth``.
        averaging : Averaging
            Cells that the points belong to: bands are averages over them, one for each cell.
        """

    @abstractmethod
    def part_counts(self, coefficients: FloatArray) -> list[FloatArray]:
        """Expected counts of the parts in each observation, for coefficients (size,), or of each observation."""

    def acceptances(self) -> FloatArray:
        """Expected counts per unit coefficient in each observation, shape (n_observations, size)."""
        return np.array([[parts.sum() for parts in self.part_counts(one)] for one in np.eye(self.component.size)]).T

    @abstractmethod
    def with_coefficients(self, coefficients: FloatArray) -> CompiledComponent:
        """The component with another spectrum, given by its coefficients.

        Raises
        ------
        ModelError
            If there are coefficients for each observation, and the component has one spectrum for all.
        """

    def seen_by(self, observation: int, coefficients: FloatArray) -> CompiledComponent:
        """What one observation sees of it, for coefficients (size,), or of each observation: the simulator draws it."""
        return self.with_coefficients(coefficients)


@singledispatch
def free_columns(component: CompiledComponent, folded: Sequence[FoldedObservation], fine: FineTables) -> FreeColumns:
    """Columns of a component along its energy; the class of the component says which."""
    raise ModelError(
        f"the component {component.name!r} ({type(component).__name__}) cannot have a free spectrum; leave it out of "
        "free_spectrum."
    )


class FreeComponents:
    """The components of free spectrum of a response, in their order.

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
    columns : tuple of FreeColumns
        One for each.
    components : tuple of FreeComponent
        What a model needs to know of each.
    """

    def __init__(
        self, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation], energy_edges: FloatArray
    ) -> None:
        self._count(components, folded, FineTables(components, folded, energy_edges))

    def under(self, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation]) -> "FreeComponents":
        """Some of the components under another PSF: the narrow bins of true energy are shared."""
        other = copy(self)
        other._count(components, folded, self._fine)
        return other

    def _count(
        self, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation], fine: FineTables
    ) -> None:
        self._folded, self._fine = tuple(folded), fine
        self.columns = tuple(free_columns(component, folded, self._fine) for component in components)

        def count(sharing: Sequence[FoldedObservation]) -> None:
            bins = self._fine.of(sharing[0])
            for one in self.columns:
                one.count(bins, sharing)

        run_parallel(count, self._fine.sharing(folded))
        self.components = tuple(one.component for one in self.columns)

    def take(self, names: Collection[str]) -> "FreeComponents":
        """Some of them."""
        which = [j for j, one in enumerate(self.components) if one.name in names]
        if len(which) == len(self.components):
            return self
        some = copy(self)
        some.columns = tuple(self.columns[j] for j in which)
        some.components = tuple(self.components[j] for j in which)
        return some

    def release(self) -> None:
        """Drop the tables of narrow bins, up to 0.4 GB for each set of IRFs; :meth:`bands` makes them again."""
        self._fine.release()

    def bands(
        self,
        observation: int,
        vectors: FloatArray,
        energies: Energies,
        smooth: Collection[str] = (),
        averaging: Averaging | None = None,
    ) -> Bands:
        """Columns of events of one observation; see :meth:`FreeColumns.bands`.

        ``smooth`` names the components whose columns are those of ``components[k].smooth``.
        """
        folded = self._folded[observation]
        bins, cells = self._fine.of(folded), averaging or Averaging.of_single(len(vectors))
        return merge(
            [one.bands(bins, folded, vectors, energies, one.component.name in smooth, cells) for one in self.columns]
        )

    def of_observation(self, k: int, observation: int) -> tuple[FreeColumns, FineBins, FoldedObservation]:
        """Columns of component *k*, with the narrow bins and tables of an observation."""
        folded = self._folded[observation]
        return self.columns[k], self._fine.of(folded), folded

    def coefficients(self, k: int, spectrum: ArrayLike) -> FloatArray:
        """Coefficients (size,) of component *k* for a spectrum (n,) or (n_rows, n), checked.

        Raises
        ------
        ModelError
            If the spectrum has another shape, or is negative or not finite somewhere.
        """
        component = self.components[k]
        values = numbers(spectrum, f"the spectrum of {component.name!r}", component.unit, finite=False)
        n_rows, n = len(self._folded), len(component.energy)
        if values.shape not in {(n,), (1, n), (n_rows, n)}:
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
