r"""Columns of a sky model under one or several observations.

.. math:: D_{ik} = \lambda_k(x_i) \;[\mathrm{TeV^{-1}\,sr^{-1}}], \qquad
          c_k = \sum_{\rm obs} \int_{\rm ROI} \lambda_{k,\rm obs}(x)\,\mathrm{d}E\,\mathrm{d}\Omega ,

the expected counts density of component :math:`k` at event :math:`i` (under the observation the event belongs to)
and its total over all observations, for the nominal fluxes. The model uses :math:`p_{ik} = D_{ik}/c_k`.

A component of free spectrum also keeps its true-energy axis, :math:`\lambda_k(x_i) = \sum_n A_{in}\,\rho_n`
(:mod:`pymc_gamma.folding.free`), so that a model can give it any spectrum.

The same object runs forwards: :meth:`Response.simulate` picks a component with probability proportional to its
weight, an observation and a source of it with probability proportional to their share of :math:`c_k`, draws a true
photon and passes it through the response.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.datasets import Citation
from pymc_gamma.errors import EventError, ModelError, SkyModelError
from pymc_gamma.events import Events
from pymc_gamma.folding.engine import FoldedObservation
from pymc_gamma.folding.free import Bands, FreeComponent, concatenate, reorder
from pymc_gamma.folding.parts import CompiledComponent, spectrum_nodes
from pymc_gamma.folding.raster import Ladder
from pymc_gamma.folding.tables import build_tables
from pymc_gamma.geometry import RegionOfInterest, lonlat_from_vectors, unit_vectors
from pymc_gamma.observation import Observation
from pymc_gamma.response.checks import check_coverage, check_rows
from pymc_gamma.response.free import FreeColumns
from pymc_gamma.simulation import BackgroundSampler, Simulator, SourceSampler, TrueEvents

__all__ = ["Response"]

FloatArray = NDArray[np.float64]


class Response:
    """Densities, acceptances and simulation of sky components; made by :func:`pymc_gamma.fold`.

    Parameters
    ----------
    components : sequence of CompiledComponent
        Mixture components.
    observations : sequence of Observation
        Pointings.
    roi : RegionOfInterest
        Region of interest.
    energy_edges : numpy.ndarray
        Edges of the true-energy bins in TeV.
    citations : sequence of Citation
        What to cite.
    free_spectrum : sequence of str
        Names of the components whose spectrum is free.

    Attributes
    ----------
    component_names : tuple of str
        Names, in the order of the columns.
    observations : tuple of Observation
        Pointings, in the order of the events' ``observation`` index.
    roi : RegionOfInterest
        Region of interest.
    energy_true_edges : numpy.ndarray
        TeV.
    reco : tuple of str
        Columns of an event row: energy (TeV), lon, lat (deg), and observation where there are several.
    free_spectrum : tuple of str
        Names of the components whose spectrum is free, in the order of the components.
    """

    def __init__(
        self,
        components: Sequence[CompiledComponent],
        observations: Sequence[Observation],
        roi: RegionOfInterest,
        energy_edges: FloatArray,
        citations: Sequence[Citation] = (),
        free_spectrum: Sequence[str] = (),
    ) -> None:
        self._components = tuple(components)
        self.component_names = tuple(component.name for component in components)
        self.observations = tuple(observations)
        self.roi = roi
        self.energy_true_edges = np.ascontiguousarray(energy_edges, float)
        self._citations = tuple(citations)
        self._background_is_nominal = True
        self.reco: tuple[str, ...] = ("energy", "lon", "lat")
        if len(self.observations) > 1:
            self.reco = (*self.reco, "observation")
        check_coverage(self.observations, roi)
        self._folded = self._fold()
        self._counts = self._acceptances()
        dark = ~(self._counts.sum(axis=1) > 0)
        if dark.any():
            names = [name for name, is_dark in zip(self.component_names, dark, strict=True) if is_dark]
            raise SkyModelError(f"no events expected from {names} in {roi!r}; leave them out or enlarge the region.")
        self.free_spectrum = tuple(name for name in self.component_names if name in free_spectrum)

    def __repr__(self) -> str:
        rows = [
            f"  {name:<16} {count:12.5g} expected counts" + (", spectrum free" if name in self.free_spectrum else "")
            for name, count in zip(self.component_names, self._counts.sum(axis=1), strict=True)
        ]
        head = f"<Response: {len(rows)} components, {len(self.observations)} observation(s), {self.roi!r}>"
        return "\n".join([head, *rows])

    @property
    def coords(self) -> dict[str, list[str]]:
        """Coordinates for ``pm.Model(coords=...)``."""
        return {"component": list(self.component_names), "reco": list(self.reco)}

    @property
    def energy_true(self) -> FloatArray:
        """True energies in TeV at which free spectra are evaluated: the edges of the bins, shape (n,)."""
        return self.energy_true_edges

    @property
    def instrumental(self) -> tuple[str, ...]:
        """Names of the components that are residual background."""
        return tuple(component.name for component in self._components if component.instrumental)

    @property
    def acceptance(self) -> xr.DataArray:
        """Expected counts of each component at its nominal flux, over all observations."""
        return self.acceptance_by_observation.sum("observation")

    @property
    def acceptance_by_observation(self) -> xr.DataArray:
        """Expected counts, dims (component, observation)."""
        coords = {"component": list(self.component_names), "observation": np.arange(len(self.observations))}
        return xr.DataArray(
            self._counts.copy(),
            coords,
            ("component", "observation"),
            name="acceptance",
            attrs={"units": "counts"},
        )

    def density(self, events: Events) -> FloatArray:
        """Expected counts density of each component at each event, at nominal fluxes.

        Parameters
        ----------
        events : Events
            N events inside the region.

        Returns
        -------
        numpy.ndarray
            TeV-1 sr-1, shape (N, K), under the observation each event belongs to.

        Raises
        ------
        EventError
            If an event is outside the region, the energy range or the list of observations.
        """
        return self._density(self.event_rows(events)[:, : len(self.reco)])

    def with_spectra(
        self, spectra: Mapping[str, Any] | None = None, norms: Mapping[str, float] | None = None
    ) -> "Response":
        """The same response with other nominal fluxes, which its ``npred``, ``acceptance`` and ``simulate`` follow.

        Parameters
        ----------
        spectra : mapping, optional
            Spectra of free components, as for :meth:`simulate`, in TeV-1 cm-2 s-1; factors on the rate of the residual
            background.
        norms : mapping, optional
            Factors on the fluxes of any components.

        Returns
        -------
        Response

        Raises
        ------
        ModelError
            If a name is not that of a component (of free spectrum), or a number is negative or not finite.
        """
        norms = dict(norms or {})
        unknown = sorted(set(norms) - set(self.component_names))
        if unknown:
            raise ModelError(f"norms are given for {unknown}, but the components are {self.component_names}.")
        components, folded = list(self._components), list(self._folded)
        for j, spectrum in enumerate(self.spectra_values(spectra or {})):
            coefficients = self._free.coefficients(j, spectrum)
            k = self.component_names.index(self.free_spectrum[j])
            rates = self._free.background(j, coefficients)
            if rates is None:
                components[k] = self._free.compiled(j, coefficients)
            else:
                folded = [one.with_background(rate) for one, rate in zip(folded, rates, strict=True)]
        for name, norm in norms.items():
            if not (np.isfinite(norm) and norm >= 0):
                raise ModelError(f"the norm of {name!r} must be a finite number, not negative, got {norm}.")
            k = self.component_names.index(name)
            components[k] = components[k].scaled(float(norm))
            if components[k].instrumental:
                folded = [one.with_background(one.background.scaled(float(norm))) for one in folded]
        changed = self._changed(components, folded)
        changed._background_is_nominal = self._background_is_nominal and folded == list(self._folded)
        return changed

    def with_systematics(self, *, energy_scale: float = 1.0, psf_scale: float = 1.0) -> "Response":
        """The response of an instrument whose energies or PSF are off by factors, see `IRFs.distorted`."""
        irfs = {
            one: one.distorted(energy_scale=energy_scale, psf_scale=psf_scale)
            for one in {observation.irfs for observation in self.observations}
        }
        observations = [observation.with_irfs(irfs[observation.irfs]) for observation in self.observations]
        return Response(
            self._components, observations, self.roi, self.energy_true_edges, self._citations, self.free_spectrum
        )

    def nominal_flux(self, component: str, energy: ArrayLike) -> FloatArray:
        """Spectrum of a sky component, summed over its parts, TeV-1 cm-2 s-1 at true energies in TeV.

        Raises
        ------
        SkyModelError
            If there is no such component, or it is the residual background.
        """
        flux = self._sky_component(component).part_fluxes().sum(axis=0)
        tiny = np.finfo(float).tiny
        nodes = np.log(spectrum_nodes(self.energy_true_edges))
        value = np.exp(np.interp(np.log(np.asarray(energy, float)), nodes, np.log(np.maximum(flux, tiny))))
        return np.where(value <= 2 * tiny, 0.0, value)

    def mean_exposure(self, component: str, energy: ArrayLike) -> FloatArray:
        """Exposure in cm2 s of a sky component, averaged over its brightness, at true energies in TeV.

        Raises
        ------
        SkyModelError
            If there is no such component, or it is the residual background.
        """
        compiled, at = self._sky_component(component), np.asarray(energy, float)
        fluxes = compiled.part_fluxes()
        share = fluxes / np.where(fluxes.sum(axis=0) > 0, fluxes.sum(axis=0), 1)
        nodes = np.log(spectrum_nodes(self.energy_true_edges))
        weight = np.stack([np.interp(np.log(at), nodes, one) for one in share])
        weight = np.where(weight.sum(axis=0) > 0, weight, 1 / len(weight))
        exposure = sum(np.stack(one.part_exposure(compiled, at)) for one in self._folded)
        return np.asarray((weight * exposure).sum(axis=0))

    def event_rows(self, events: Events) -> FloatArray:
        """Rows of an event list in the frame of the region: TeV, deg, and observation where there are several.

        A last column holds the multiplicities, if any differs from 1: `EventMixture` knows what it means.

        Raises
        ------
        EventError
            If an event belongs to an observation that the response does not have.
        """
        unknown = events.observation >= len(self.observations)
        if unknown.any():
            first = np.flatnonzero(unknown)[:5].tolist()
            raise EventError(
                f"{int(unknown.sum())} of {len(events)} events, first rows {first}, belong to observation "
                f"{int(events.observation.max())}, but the response has {len(self.observations)} observation(s)."
            )
        columns = self.reco if np.all(events.multiplicity == 1) else (*self.reco, "multiplicity")
        return events.to_frame(self.roi.frame).to_rows(columns)

    def component_pdf(self, rows: ArrayLike) -> FloatArray:
        """Probability density of event rows under each component.

        Parameters
        ----------
        rows : array_like
            Shape (N, len(reco)): TeV, degrees in the frame of the region, observation index.

        Returns
        -------
        numpy.ndarray
            TeV-1 sr-1, shape (N, K); each column integrates to 1 over the region and observations.

        Raises
        ------
        EventError
            If a row is not finite or outside the region.
        """
        return self._density(np.asarray(rows, float)) / self._counts.sum(axis=1)

    @cached_property
    def free_components(self) -> tuple[FreeComponent, ...]:
        """Nodes, acceptances and nominal spectra of the components of free spectrum, in their order.

        Raises
        ------
        ModelError
            If the response was folded without ``free_spectrum``.
        """
        return self._free.components

    def spectral_bands(self, rows: ArrayLike) -> Bands:
        """Columns of event rows for each free component.

        Parameters
        ----------
        rows : array_like
            Shape (N, len(reco)).

        Returns
        -------
        Bands
            TeV-1 sr-1 per unit coefficient, over the total acceptance of each component of :attr:`free_components`.

        Raises
        ------
        EventError
            If a row is not finite or outside the region.
        """
        rows = np.asarray(rows, float)
        check_rows(rows, self.reco, self.roi, len(self.observations))
        vectors = unit_vectors(rows[:, 1], rows[:, 2])
        if len(self.observations) == 1:
            return self._free.bands(0, vectors, rows[:, 0])
        which = rows[:, 3].astype(int)
        order = np.argsort(which, kind="stable")
        mine = [np.flatnonzero(which == o) for o in range(len(self.observations))]
        parts = [self._free.bands(o, vectors[i], rows[i, 0]) for o, i in enumerate(mine) if len(i)]
        return reorder(concatenate(parts, len(self.free_spectrum)), np.argsort(order))

    def expected_parts(self, spectra: Sequence[ArrayLike] | None = None) -> list[list[FloatArray]]:
        """Expected counts of the parts of each component, at nominal fluxes or given spectra of the free components.

        Parameters
        ----------
        spectra : sequence of array_like, optional
            One for each of :attr:`free_components`: values at its energies, shape (n,) or (n_observations, n).

        Returns
        -------
        list of list of numpy.ndarray
            By observation and component, shape (n_parts,) each.
        """
        counts = [list(of_observation) for of_observation in self._part_counts]
        for j, spectrum in enumerate(() if spectra is None else spectra):
            coefficients = self._free.coefficients(j, np.asarray(spectrum, float))
            k = self.component_names.index(self.free_spectrum[j])
            for o, parts in enumerate(self._free.part_counts(j, coefficients)):
                counts[o][k] = parts
        return counts

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
        weights = self._weights(weights)
        parts = self.expected_parts(spectra)
        expected = np.array([[of[k].sum() for of in parts] for k in range(len(self.component_names))])
        share = expected / expected.sum(axis=1, keepdims=True)
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
        parts = self.expected_parts(spectra) if parts is None else parts
        simulator = self._simulator
        for j, spectrum in enumerate(() if spectra is None else spectra):
            simulator = self._with_spectrum(simulator, j, np.asarray(spectrum, float), parts)
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
        rng = np.random.default_rng(rng)
        given = None if spectra is None else self.spectra_values(spectra)
        if weights is None:
            parts = self.expected_parts(given)
            weights = [sum(float(of[k].sum()) for of in parts) for k in range(len(self.component_names))]
        values = self._weights(weights)
        n = int(rng.poisson(values.sum())) if n_events is None else int(n_events)
        if n < 0:
            raise ModelError(f"n_events must be at least 0, got {n}.")
        rows = self.simulate_rows(values, n, rng, given)
        return Events.from_rows(rows, self.reco, frame=self.roi.frame)

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
        return self._sky_sampler(component, observation).sample_true(np.random.default_rng(rng), n)

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
        if photons.frame != self.roi.frame:
            raise EventError(f"photons are in the frame {photons.frame}, the response in {self.roi.frame}.")
        samplers = self._simulator.samplers[self._observation_index(observation)]
        sampler = next(s for s in samplers if isinstance(s, SourceSampler))
        vectors = unit_vectors(photons.lon_true, photons.lat_true)
        energy, directions = sampler.reconstruct(np.random.default_rng(rng), np.log(photons.energy_true), vectors)
        seen = energy > 0
        lon, lat = lonlat_from_vectors(directions[seen])
        rows = np.column_stack([energy[seen], lon, lat, np.full(int(seen.sum()), float(observation))])
        events = Events.from_rows(rows, ("energy", "lon", "lat", "observation"), frame=self.roi.frame)
        events.meta["lost"] = int((~seen).sum())
        return events

    def npred(
        self,
        energy: Any = None,
        lon: Any = None,
        lat: Any = None,
        *,
        step: float = 0.05,
        observation: int | None = None,
        spectra: Mapping[str, Any] | None = None,
        norms: Mapping[str, float] | None = None,
    ) -> xr.DataArray:
        """Expected counts of each component, in bins, at its nominal flux or at that of given spectra.

        Parameters
        ----------
        energy, lon, lat : array_like or `~astropy.units.Quantity`, optional
            Bin edges (TeV; degrees in the frame of the region). An axis left out is integrated over the region.
            Bins are cut at the region. Give ``lon`` and ``lat`` together.
        step : float
            Largest spacing in deg of the points at which a spatial bin is sampled.
        observation : int, optional
            One observation only; default all.
        spectra, norms : mapping, optional
            Other fluxes than the nominal ones, see :meth:`with_spectra`.

        Returns
        -------
        xarray.DataArray
            Dims (component[, energy][, lat, lon]); coordinates are bin centres.
        """
        from pymc_gamma.response.npred import npred

        response = self.with_spectra(spectra, norms) if spectra or norms else self
        return npred(response, energy, lon, lat, step, observation)

    def surface_density(self, lon: ArrayLike, lat: ArrayLike, energy: ArrayLike) -> FloatArray:
        """Expected counts per solid angle of each component at its nominal flux, in bins of energy.

        Parameters
        ----------
        lon, lat : array_like
            Directions in degrees in the frame of the region, shape (n,).
        energy : array_like
            Edges of bins of reconstructed energy in TeV; bins are cut at the region.

        Returns
        -------
        numpy.ndarray
            sr-1, shape (component, bin, n), over all observations; zero outside the region.
        """
        from pymc_gamma.response.surface import surface_density

        return surface_density(self, lon, lat, np.asarray(energy, float))

    def citations(self) -> tuple[Citation, ...]:
        """What a paper that uses this response should cite."""
        return self._citations

    def fingerprint(self) -> dict[str, str]:
        """Hash of each input: IRFs and pointing of each observation, region, energy bins, components."""
        from pymc_gamma.response.storage import fingerprint

        return fingerprint(self)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the response to a zarr store, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            Directory of the store.
        overwrite : bool
            Replace an existing store.

        Raises
        ------
        FileExistsError
            If it exists and ``overwrite`` is false.
        ModelError
            If the residual background is not that of the IRFs.
        """
        from pymc_gamma.response.storage import save

        if not self._background_is_nominal:
            raise ModelError(
                "the residual background of this response was changed by with_spectra, which a store does not "
                "hold; save "
                "the response it was made from, and change it again after loading."
            )
        save(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> "Response":
        """Read a response written by :meth:`save`; the sky models that made it are not needed.

        Raises
        ------
        DataFileError
            If there is no response at ``path`` or it cannot be read.
        ResponseMismatchError
            If it was written by another format or its content does not match its hash.
        """
        from pymc_gamma.response.storage import load

        return load(path)

    def _density(self, rows: FloatArray) -> FloatArray:
        check_rows(rows, self.reco, self.roi, len(self.observations))
        vectors = unit_vectors(rows[:, 1], rows[:, 2])
        out = np.empty((len(rows), len(self._components)))
        if len(self.observations) == 1:
            self._folded[0].density(self._components, vectors, rows[:, 0], out)
            return out
        which = rows[:, 3].astype(int)
        for k, folded in enumerate(self._folded):
            mine = np.flatnonzero(which == k)
            if len(mine):
                part = np.empty((len(mine), len(self._components)))
                folded.density(self._components, vectors[mine], rows[mine, 0], part)
                out[mine] = part
        return out

    def _weights(self, weights: ArrayLike | Mapping[str, float]) -> FloatArray:
        if isinstance(weights, Mapping):
            unknown = sorted(set(weights) - set(self.component_names))
            if unknown:
                raise ModelError(f"weights are given for {unknown}, but the components are {self.component_names}.")
            weights = [weights.get(name, 0.0) for name in self.component_names]
        values = np.asarray(weights, float).ravel()
        if len(values) != len(self.component_names):
            raise ModelError(
                f"{len(values)} weights for {len(self.component_names)} components {self.component_names}."
            )
        if not (np.all(np.isfinite(values)) and np.all(values >= 0) and values.sum() > 0):
            raise ModelError(f"weights must be finite, not negative and not all zero, got {values}.")
        return values

    def spectra_values(self, spectra: Mapping[str, Any]) -> list[FloatArray]:
        """Values of given spectra at the energies of the free components, nominal where none is given.

        Raises
        ------
        ModelError
            If a name is not that of a free component.
        """
        unknown = sorted(set(spectra) - set(self.free_spectrum))
        if unknown:
            raise ModelError(
                f"spectra are given for {unknown}, but the components of free spectrum are {self.free_spectrum}."
            )
        values = []
        for component in self.free_components if spectra else ():
            spectrum = spectra.get(component.name, component.nominal)
            flux = spectrum(component.energy) if callable(spectrum) else spectrum
            values.append(np.asarray(flux.eval() if hasattr(flux, "eval") else flux, float))
        return values

    def _changed(self, components: Sequence[CompiledComponent], folded: Sequence[FoldedObservation]) -> "Response":
        """A copy with other fluxes of the same components."""
        other = copy(self)
        for derived in ("_simulator", "_free", "free_components"):
            other.__dict__.pop(derived, None)
        other._components, other._folded = tuple(components), tuple(folded)
        other._counts = other._acceptances()
        return other

    def _fold(self) -> tuple[FoldedObservation, ...]:
        span = (self.roi.energy_min, self.roi.energy_max)
        edges = tuple(self.energy_true_edges.tolist())
        instruments = {observation.irfs for observation in self.observations}
        tables = {irfs: build_tables(irfs, edges, span) for irfs in instruments}
        low = min(float(table.variance.min()) for table in tables.values())
        high = max(float(table.variance.max()) for table in tables.values())
        ladders = {
            (component.name, template.name): Ladder(template.raster, (low, high))
            for component in self._components
            for template in component.templates
        }
        return tuple(
            FoldedObservation(observation, tables[observation.irfs], self.roi, ladders)
            for observation in self.observations
        )

    def _acceptances(self) -> FloatArray:
        edges = np.array([self.roi.energy_min, self.roi.energy_max])
        self._part_counts = [
            [np.ravel(folded.part_acceptance(component, edges)) for component in self._components]
            for folded in self._folded
        ]
        return np.array([[counts[k].sum() for counts in self._part_counts] for k in range(len(self._components))])

    @cached_property
    def _simulator(self) -> Simulator:
        return Simulator(self._components, self._folded, self.roi, self.energy_true_edges, self._part_counts)

    def _with_spectrum(
        self, simulator: Simulator, j: int, spectrum: FloatArray, parts: list[list[FloatArray]]
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

    def _observation_index(self, observation: int) -> int:
        if not 0 <= observation < len(self.observations):
            raise EventError(f"no observation {observation}; the response has {len(self.observations)}, from 0.")
        return observation

    @cached_property
    def _free(self) -> FreeColumns:
        if not self.free_spectrum:
            raise ModelError(
                "no component has a free spectrum; name those that should in fold(..., free_spectrum=[...])."
            )
        components = [c for c in self._components if c.name in self.free_spectrum]
        return FreeColumns(components, self._folded, self.energy_true)

    def _sky_component(self, component: str) -> CompiledComponent:
        if component not in self.component_names:
            raise SkyModelError(f"no component {component!r}; there are {self.component_names}.")
        compiled = self._components[self.component_names.index(component)]
        if compiled.instrumental:
            raise SkyModelError(f"{component!r} is the residual background; it has no true coordinates.")
        return compiled

    def _sky_sampler(self, component: str, observation: int) -> SourceSampler:
        self._sky_component(component)
        sampler = self._simulator.samplers[self._observation_index(observation)][self.component_names.index(component)]
        assert isinstance(sampler, SourceSampler)
        return sampler
