"""What a component of a mixture is to the numerics, whatever it is made of.

A component answers for one observation at a time: its counts density, its expected counts, and how they are parted. Its
class is its kind; nothing else asks what it is. The methods take the observation that they are asked for, which holds
the tables of its response (:class:`pymc_gamma.folding.folded.FoldedObservation`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.energies import Energies, Located
from pymc_gamma.folding.folded import FoldedObservation
from pymc_gamma.folding.live_shapes import LiveShape, model_names
from pymc_gamma.folding.raster import Raster
from pymc_gamma.geometry import RegionOfInterest

__all__ = ["CompiledComponent", "Points", "component_from_arrays"]

_KINDS: dict[str, type["CompiledComponent"]] = {}


class Points(NamedTuple):
    """Reconstructed directions and energies at which densities are asked.

    Attributes
    ----------
    vectors : numpy.ndarray
        Unit vectors, shape (N, 3).
    energies : Energies
        Their energies.
    located : Located
        Where these lie on the tables of the observation.
    """

    vectors: FloatArray
    energies: Energies
    located: Located


@dataclass(frozen=True, eq=False)
class CompiledComponent(ABC):
    """One component of a mixture as plain arrays.

    Attributes
    ----------
    name : str
        Name of the component.
    """

    name: str
    kind: ClassVar[str]
    """Name of the class in a store."""
    irfs: ClassVar[frozenset[str]]
    """Which instrument response functions its events pass: ``aeff``, ``edisp``, ``psf``, ``bkg``."""

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            _KINDS[cls.kind] = cls

    @property
    @abstractmethod
    def n_parts(self) -> int:
        """Number of parts that counts are told apart for."""

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """The component with all its fluxes or rates times a factor."""

    @property
    def shape(self) -> LiveShape | None:
        """Position and extension, of a single source that may leave them to a model; none by default."""
        return None

    @property
    def is_free(self) -> bool:
        """Whether its position and extension are left to a model; not by default."""
        return False

    def freed(self) -> Self:
        """The component with its position and extension left to a model.

        Raises
        ------
        SkyModelError
            If it is not a single source of a known shape, as by default.
        """
        raise SkyModelError(
            f"the component {self.name!r} cannot have a free shape; free_shape takes components that are one source "
            f"whose spatial model is one of gammapy's {', '.join(model_names())} (a disc of e = 0 and a sharp edge). "
            "Leave it out of free_shape, or give its sources one component each."
        )

    @property
    def shape_example(self) -> str:
        """What a model may be given as its shape, for messages."""
        return "pmg.GaussianShape(lon_0, lat_0, sigma)"

    def own_shape(self, given: Any) -> Any:
        """What :meth:`shape` does not tell, where a component of free shape has none: numbers of another kind.

        Raises
        ------
        SkyModelError
            If it has no such, as by default.
        """
        raise SkyModelError(f"the component {self.name!r} has no free shape.")

    def with_fluxes(self, fluxes: FloatArray) -> Self:
        """The component with other spectra for its parts on the nodes, shape (n_parts, n_nodes).

        Raises
        ------
        SkyModelError
            If it has no true energy, as by default.
        """
        raise self._has_no_true_energy()

    def spectra(self) -> list[FloatArray]:
        """Spectra on the nodes that the bins of true energy must resolve; none by default."""
        return []

    def rasters(self) -> dict[str, Raster]:
        """Brightness that is convolved with the PSF numerically, by the name of the part; none by default."""
        return {}

    def peaks(self) -> tuple[FloatArray, FloatArray]:
        """Unit vectors (n, 3) of what shines from less than a few widths of the PSF, and its variances in deg2 (n,)."""
        return np.empty((0, 3)), np.empty(0)

    def part_fluxes(self) -> FloatArray:
        """Spectra of all parts on the spectrum nodes, TeV-1 cm-2 s-1, shape (n_parts, n_nodes).

        Raises
        ------
        SkyModelError
            If it has no true energy, as by default.
        """
        raise self._has_no_true_energy()

    def part_exposure(self, folded: FoldedObservation, energy: FloatArray) -> FloatArray:
        """Exposure in cm2 s of each part, averaged over its brightness, at true energies in TeV, (n_parts, n).

        Raises
        ------
        SkyModelError
            If it has no true energy, as by default.
        """
        raise self._has_no_true_energy()

    def flux_scale(self, roi: RegionOfInterest, shape: Any = None) -> Any:
        """What its spectrum is multiplied with to be a flux; a shape is that which a model gives it. By default 1."""
        return 1.0

    def check_spectrum(self, spectrum: Any) -> None:  # noqa: B027
        """Raise SkyModelError if a model may not give it a spectrum; by default any is right."""

    def check_observations(self, n: int) -> None:  # noqa: B027
        """Raise ModelError if it cannot be folded for *n* observations; by default it can for any number."""

    def _has_no_true_energy(self) -> SkyModelError:
        return SkyModelError(
            f"{self.name!r} is given in reconstructed coordinates, as a residual background is; "
            "it has no true energies."
        )

    @abstractmethod
    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a store keeps of it: numbers and names, and arrays."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The component from what :meth:`to_arrays` returned."""

    def contrast(self, folded: FoldedObservation, vectors: FloatArray, log_energy: FloatArray) -> FloatArray | None:
        """Density at events over its mean on the domain at their energies, (N,); None unless it shines everywhere."""
        return None

    @abstractmethod
    def offsets(self, axis: FloatArray) -> tuple[float, float]:
        """Range in deg of the offsets from a pointing (a unit vector) at which it needs the dispersion of energies."""

    @abstractmethod
    def prepare(self, folded: FoldedObservation) -> None:
        """Make what threads would otherwise make several times."""

    @abstractmethod
    def density(self, folded: FoldedObservation, points: Points) -> FloatArray:
        """Expected counts density in TeV-1 sr-1, shape (N,)."""

    @abstractmethod
    def density_in_bins(
        self, folded: FoldedObservation, vectors: FloatArray, energy_edges: FloatArray, dispersion: NDArray[Any]
    ) -> FloatArray:
        """Expected counts per sr at unit vectors (N, 3), integrated over bins of energy, shape (n_bins, N).

        ``dispersion`` is that of the true energies integrated over the bins, shape (n_offsets, n_bins + 1, n_e); its
        last row is not used.
        """

    @abstractmethod
    def part_acceptance(self, folded: FoldedObservation, energy_edges: FloatArray) -> FloatArray:
        """Expected counts in the domain of each part, per bin of reconstructed energy, shape (n_parts, n_bins)."""


def component_from_arrays(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> CompiledComponent:
    """A component from a store; its kind is in ``meta``.

    Raises
    ------
    KeyError
        If no class is of that kind, or something is missing.
    """
    return _KINDS[meta["kind"]].from_arrays(meta, arrays)
