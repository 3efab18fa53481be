"""What a distribution needs from a response, and from a list of events.

Anything with these attributes will do: the response that this package folds, a user's own density estimate, or the
analytic toy of the tests.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.folding.bands import Bands
from pymc_gamma.folding.free import FreeComponent

__all__ = ["EventList", "MixtureResponse", "PoissonResponse", "SpectralResponse"]


@runtime_checkable
class MixtureResponse(Protocol):
    """Densities of *K* components over a region of interest, and draws from them."""

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names of the components, in the order of the columns."""
        ...

    @property
    def coords(self) -> dict[str, Any]:
        """Coordinates for a `pymc.Model`: at least ``"component"`` and ``"reco"``."""
        ...

    @property
    def reco(self) -> tuple[str, ...]:
        """Names of the columns of an event row, for example ``("energy", "lon", "lat")`` in TeV, deg, deg."""
        ...

    def component_pdf(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Density of every event under every component, normalised over the region of interest.

        Parameters
        ----------
        rows : ndarray, shape (N, len(reco))
            One event per row. The edges of its cell follow in six columns more, if ``event_rows`` gave them.

        Returns
        -------
        ndarray, shape (N, K)
            In TeV-1 sr-1.

        Raises
        ------
        EventError
            If a row is outside the region or the energy range, or not finite.
        """
        ...

    def event_rows(self, events: Any) -> NDArray[np.float64]:
        """Rows of a list of events, in the frame and with the columns of the response.

        Where a multiplicity differs from 1, a column more holds the multiplicities. A response that can average
        densities over cells adds the edges of those that events fill (:mod:`pymc_gamma.events.rows`).

        Parameters
        ----------
        events : EventList
            N events, of the kind the response knows.

        Returns
        -------
        ndarray, shape (N, len(reco)), (N, len(reco) + 1) or (N, len(reco) + 7)
            One event per row.
        """
        ...

    def simulate_rows(self, weights: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Events of the mixture.

        Parameters
        ----------
        weights : ndarray, shape (K,)
            Fractions of the components; they need not be normalised.
        n : int
            Number of events.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        ndarray, shape (n, len(reco))
            One event per row.
        """
        ...


@runtime_checkable
class SpectralResponse(MixtureResponse, Protocol):
    """A response with components whose spectrum is free; its densities are those of their nominal spectra."""

    @property
    def free_spectrum(self) -> tuple[str, ...]:
        """Names of these components, in the order of the components."""
        ...

    @property
    def free_components(self) -> tuple[FreeComponent, ...]:
        """Nodes, acceptances and nominal spectra of these components."""
        ...

    @property
    def instrumental(self) -> tuple[str, ...]:
        """Names of the components that are residual background."""
        ...

    def column_densities(
        self, rows: NDArray[np.float64], smooth: Collection[str] = ()
    ) -> tuple[NDArray[np.float64], Bands]:
        """``component_pdf`` of the components that are not of free spectrum, in their order, and ``spectral_bands``."""
        ...

    def spectral_bands(self, rows: NDArray[np.float64], smooth: Collection[str] = ()) -> Bands:
        """Densities of events (N, len(reco)) per unit coefficient over the total acceptance, TeV-1 sr-1.

        The columns of the components named ``smooth`` are those of the fewer nodes of smooth spectra.
        """
        ...

    def simulate_rows(
        self,
        weights: NDArray[np.float64],
        n: int,
        rng: np.random.Generator,
        spectra: Sequence[ArrayLike] | None = None,
    ) -> NDArray[np.float64]:
        """Events of the mixture, with given spectra of the free components."""
        ...


@runtime_checkable
class PoissonResponse(SpectralResponse, Protocol):
    """A response that knows how many events to expect."""

    @property
    def energy_true(self) -> NDArray[np.float64]:
        """Nodes of true energy in TeV, ascending."""
        ...

    def nominal_flux(self, component: str, energy: ArrayLike) -> NDArray[np.float64]:
        """Spectrum of a sky component, TeV-1 cm-2 s-1 at true energies in TeV."""
        ...

    def mean_exposure(self, component: str, energy: ArrayLike) -> NDArray[np.float64]:
        """Exposure of a sky component, averaged over its brightness, cm2 s, shape (n_observations, n)."""
        ...

    @property
    def acceptance(self) -> Any:
        """Expected counts of each component at its nominal flux, shape (K,)."""
        ...

    def expected_parts(self, spectra: Sequence[ArrayLike] | None = None) -> list[list[NDArray[np.float64]]]:
        """Expected counts of the parts, by observation and component, for given spectra of the free components."""
        ...

    def draw_rows(
        self,
        counts: NDArray[np.int64],
        rng: np.random.Generator,
        spectra: Sequence[ArrayLike] | None = None,
        parts: list[list[NDArray[np.float64]]] | None = None,
        *,
        psf_scale: float = 1.0,
    ) -> NDArray[np.float64]:
        """Given numbers of events of each component in each observation, (K, n_observations), in random order."""
        ...

    def with_systematics(self, *, energy_scale: float = 1.0, psf_scale: float = 1.0) -> "PoissonResponse":
        """The response of an instrument whose energies or PSF are off by factors."""
        ...


@runtime_checkable
class EventList(Protocol):
    """A list of events that knows how to write itself as rows of numbers."""

    @property
    def multiplicity(self) -> NDArray[np.float64]:
        """How many events each row stands for, shape (N,)."""
        ...

    def to_rows(self, reco: tuple[str, ...]) -> NDArray[np.float64]:
        """Rows with the given columns, shape (N, len(reco))."""
        ...
