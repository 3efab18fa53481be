"""Draws from a response: :class:`pymc_gamma.Response` run forwards.

A component is picked with probability proportional to its weight, an observation and a source of it with probability
proportional to their share of the expected counts; then a true photon is drawn and passed through the instrument.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import array, checked, generator, instance, integer, number, text
from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.events import Events
from pymc_gamma.geometry import lonlat_from_vectors, unit_vectors
from pymc_gamma.labelled import as_mapping, has_labels
from pymc_gamma.response.columns import Columns
from pymc_gamma.simulation import BackgroundSampler, Simulator, SourceSampler, TrueEvents
from pymc_gamma.units import numbers

__all__ = ["Draws"]

FloatArray = NDArray[np.float64]


class Draws(Columns):
    """Columns that events can be drawn from: the second layer of :class:`pymc_gamma.Response`."""

    def simulate_rows(
        self,
        weights: ArrayLike,
        n: int,
        rng: np.random.Generator,
        spectra: Sequence[ArrayLike] | None = None,
    ) -> FloatArray:
        """Draw event rows.

        Parameters
        ----------
        weights : array_like
            Fraction of each component, shape (K,); need not be normalised.
        n : int
            Number of events.
        rng : numpy.random.Generator
            Random numbers.
        spectra : sequence of array_like, optional
            One for each of :attr:`free_components`: values at its energies, shape (n,) or (n_observations, n); only
            their shapes matter. Default: the nominal ones.

        Returns
        -------
        numpy.ndarray
            Shape (n, len(reco)), in random order.

        Raises
        ------
        ModelError
            If the weights or spectra do not match the components, or are negative or not finite.
        """
        weights, rng, n = self._weights(weights), generator(rng), integer(n, "n")
        parts = self.expected_parts(spectra)
        expected = np.array([[of[k].sum() for of in parts] for k in range(len(self.component_names))])
        dark = [name for k, name in enumerate(self.component_names) if weights[k] > 0 and not expected[k].any()]
        if dark:
            raise ModelError(f"the spectra of {dark} are zero everywhere; no event of them can be drawn.")
        share = expected / np.maximum(expected.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        share[~expected.any(axis=1), 0] = 1.0  # drawn from never, but a distribution all the same
        counts = rng.multinomial(rng.multinomial(n, weights / weights.sum()), share)
        return self.draw_rows(counts, rng, spectra, parts)

    def draw_rows(
        self,
        counts: NDArray[np.int64],
        rng: np.random.Generator,
        spectra: Sequence[ArrayLike] | None = None,
        parts: list[list[FloatArray]] | None = None,
        *,
        psf_scale: float = 1.0,
    ) -> FloatArray:
        """Draw given numbers of events of each component in each observation.

        Parameters
        ----------
        counts : numpy.ndarray
            Shape (K, n_observations).
        rng : numpy.random.Generator
            Random numbers.
        spectra : sequence of array_like, optional
            As for :meth:`simulate_rows`.
        parts : list of list of numpy.ndarray, optional
            Expected counts of the parts of each component; by default those of :meth:`expected_parts`.
        psf_scale : float
            Factor on the width of the PSF.

        Returns
        -------
        numpy.ndarray
            Shape (counts.sum(), len(reco)), in random order.
        """
        counts = array(counts, "counts", (len(self.component_names), len(self.observations))).astype(np.int64)
        rng, psf_scale = generator(rng), number(psf_scale, "psf_scale", low=0)
        parts = self.expected_parts(spectra) if parts is None else parts
        simulator = self._simulator
        for j, spectrum in enumerate(() if spectra is None else spectra):
            if not counts[self.component_names.index(self.free_spectrum[j])].any():
                continue
            simulator = self._with_spectrum(simulator, j, spectrum, parts)
        if psf_scale != 1:
            simulator = simulator.with_psf_scale(psf_scale, parts)
        rows = simulator.rows(counts, rng)[:, : len(self.reco)]
        return rows[rng.permutation(len(rows))]

    def simulate(
        self,
        weights: ArrayLike | Mapping[str, float] | None = None,
        n_events: int | None = None,
        *,
        spectra: Mapping[str, Any] | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> Events:
        """Simulate an event list through the instrument response.

        Parameters
        ----------
        weights : array_like or mapping, optional
            Fraction of each component (need not be normalised), in order or by name; names left out count as 0.
            Default: proportional to the expected counts of the given spectra and the nominal fluxes.
        n_events : int, optional
            Number of events. Default, without ``weights``: a Poisson number around these expected counts.
        spectra : mapping, optional
            Spectra of free components, as functions of the true energy in TeV such as :class:`pymc_gamma.PowerLaw`, or
            values at the energies of :attr:`free_components`, in TeV-1 cm-2 s-1. With ``weights`` only
            their shapes matter. Default: the nominal ones.
        rng : numpy.random.Generator or int, optional
            Random numbers or a seed.

        Returns
        -------
        Events
            In random order, in the frame of the region.

        Raises
        ------
        ModelError
            If the weights or spectra do not match the components, or weights are given without ``n_events``.

        Examples
        --------
        >>> events = response.simulate({"diffuse": 1, "hgps": 2, "ccr": 3}, 4500, rng=1)  # doctest: +SKIP
        """
        if weights is not None and n_events is None:
            raise ModelError("weights are fractions: say how many events to draw with n_events=.")
        rng = generator(rng)
        given = None if spectra is None else self.spectra_values(spectra)
        if weights is None:
            parts = self.expected_parts(given)
            weights = [sum(float(of[k].sum()) for of in parts) for k in range(len(self.component_names))]
        values = self._weights(weights)
        n = int(rng.poisson(values.sum())) if n_events is None else integer(n_events, "n_events")
        rows = self.simulate_rows(values, n, rng, given)
        return Events.from_rows(rows, self.reco, frame=self.roi.frame)

    @checked(component=text)
    def simulate_true(
        self, component: str, n: int, *, observation: int = 0, rng: np.random.Generator | int | None = None
    ) -> TrueEvents:
        """Photons of one component that pass the effective area, before reconstruction.

        Parameters
        ----------
        component : str
            Name of a sky component.
        n : int
            Number of photons.
        observation : int
            Index of the observation.
        rng : numpy.random.Generator or int, optional
            Random numbers or a seed.

        Returns
        -------
        TrueEvents

        Raises
        ------
        SkyModelError
            If the component is the residual background, which has no true coordinates, or unknown.
        """
        return self._sky_sampler(component, observation).sample_true(generator(rng), integer(n, "n"))

    def reconstruct(
        self, photons: TrueEvents, *, observation: int = 0, rng: np.random.Generator | int | None = None
    ) -> Events:
        """Pass photons through the energy dispersion and the PSF.

        Nothing is cut: use ``events.select(response.roi)`` afterwards.

        Parameters
        ----------
        photons : TrueEvents
            From :meth:`simulate_true`, in the frame of the region.
        observation : int
            Index of the observation.
        rng : numpy.random.Generator or int, optional
            Random numbers or a seed.

        Returns
        -------
        Events
            One per photon, in the same order; photons reconstructed at zero energy are left out and counted in
            ``meta["lost"]``.
        """
        photons, rng = instance(photons, TrueEvents, "photons"), generator(rng)
        if photons.frame != self.roi.frame:
            raise EventError(f"photons are in the frame {photons.frame}, the response in {self.roi.frame}.")
        samplers = self._simulator.samplers[self._observation_index(observation)]
        sampler = next(s for s in samplers if isinstance(s, SourceSampler))
        vectors = unit_vectors(photons.lon_true, photons.lat_true)
        energy, directions = sampler.reconstruct(rng, np.log(photons.energy_true), vectors)
        seen = energy > 0
        lon, lat = lonlat_from_vectors(directions[seen])
        rows = np.column_stack([energy[seen], lon, lat, np.full(int(seen.sum()), float(observation))])
        events = Events.from_rows(rows, ("energy", "lon", "lat", "observation"), frame=self.roi.frame)
        events.meta["lost"] = int((~seen).sum())
        return events

    def _weights(self, weights: ArrayLike | Mapping[str, float]) -> FloatArray:
        if isinstance(weights, Mapping) or has_labels(weights):
            named = as_mapping(weights, self.component_names, "weights")
            weights = [named.get(name, 0.0) for name in self.component_names]
        values = numbers(weights, "weights", finite=False)
        if values.shape != (len(self.component_names),):
            raise ModelError(
                f"{values.size} weights for {len(self.component_names)} components {self.component_names}; there must "
                f"be one for each, got shape {values.shape}."
            )
        if not (np.all(np.isfinite(values)) and np.all(values >= 0) and values.sum() > 0):
            raise ModelError(f"weights must be finite, not negative and not all zero, got {values}.")
        return values

    @cached_property
    def _simulator(self) -> Simulator:
        return Simulator(self._components, self._folded, self.energy_true_edges, self._part_counts)

    def _with_spectrum(
        self, simulator: Simulator, j: int, spectrum: ArrayLike, parts: list[list[FloatArray]]
    ) -> Simulator:
        """A simulator that draws free component *j* with another spectrum."""
        coefficients = self._free.coefficients(j, spectrum)
        k = self.component_names.index(self.free_spectrum[j])
        rates = self._free.background(j, coefficients)
        if rates is not None:
            return simulator.with_component(k, [BackgroundSampler(rate) for rate in rates])
        component = self._free.compiled(j, coefficients)
        samplers = [self._sky_sampler(self.component_names[k], o) for o in range(len(parts))]
        return simulator.with_component(
            k, [sampler.with_spectrum(component, parts[o][k]) for o, sampler in enumerate(samplers)]
        )

    def _sky_sampler(self, component: str, observation: int) -> SourceSampler:
        self._sky_component(component)
        sampler = self._simulator.samplers[self._observation_index(observation)][self.component_names.index(component)]
        assert isinstance(sampler, SourceSampler)
        return sampler
