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

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.arguments import (
    array,
    ascending,
    checked,
    energy_edges,
    generator,
    instance,
    integer,
    kind,
    mapping,
    number,
    path,
    plain,
    several,
    text,
    texts,
)
from pymc_gamma.arrays import FloatArray
from pymc_gamma.datasets import Citation
from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.events import Events
from pymc_gamma.events.rows import EVENT_ROWS, EventRows
from pymc_gamma.events.splitting import draw_times, outside_good_time
from pymc_gamma.flux import photons_of, spectrum_values
from pymc_gamma.folding.bands import Bands, no_bands
from pymc_gamma.folding.component import CompiledComponent
from pymc_gamma.folding.free import FreeComponent, FreeComponents
from pymc_gamma.folding.nodes import photons_at_nodes, tabulate, warn_unresolved
from pymc_gamma.geometry import RegionOfInterest
from pymc_gamma.instrument.domain import Domain
from pymc_gamma.instrument.observation import Observation
from pymc_gamma.labelled import as_mapping
from pymc_gamma.response import storage
from pymc_gamma.response.asimov import CellEdges, asimov_events, norm_factors
from pymc_gamma.response.checks import check_labels
from pymc_gamma.response.densities import bands, columns, densities
from pymc_gamma.response.draws import Draws, PartCounts
from pymc_gamma.response.folds import Fold
from pymc_gamma.response.halo import HaloComponent
from pymc_gamma.response.live import LiveComponent, shapes_of
from pymc_gamma.response.npred import npred
from pymc_gamma.response.scans import ScannedComponent
from pymc_gamma.response.surface import surface_density
from pymc_gamma.simulation import TrueEvents
from pymc_gamma.tensors import value_of
from pymc_gamma.units import numbers, scalar_value

__all__ = ["Response"]


class Response:
    """Densities, acceptances and simulation of sky components; made by :func:`pymc_gamma.fold`.

    Parameters
    ----------
    fold : Fold
        Components folded for observations.
    citations : sequence of Citation
        What to cite.
    free_spectrum : sequence of str
        Names of the components whose spectrum is free.

    Attributes
    ----------
    free_spectrum : tuple of str
        Names of the components whose spectrum is free, in the order of the components.
    """

    def __init__(self, fold: Fold, citations: Sequence[Citation] = (), free_spectrum: Collection[str] = ()) -> None:
        self._fold, self._citations = fold, tuple(citations)
        self.free_spectrum = tuple(name for name in fold.names if name in free_spectrum)
        both = [one.name for one in fold.scans if one.name in self.free_spectrum]
        if both:
            raise ModelError(
                f"{both} are scans and cannot have a free spectrum too; scan the parameters of the spectrum as "
                "well (one or two parameters in all, the flux is a norm), or leave them out of free_spectrum."
            )

    def __repr__(self) -> str:
        scans = {one.name: one for one in self._fold.scans}
        rows = [
            f"  {name:<16} {count:12.5g} expected counts"
            + (", spectrum free" if name in self.free_spectrum else "")
            + (", shape free" if name in self.free_shape else "")
            + (f", scan of {', '.join(scans[name].grid)}" if name in scans else "")
            for name, count in zip(self.component_names, self._fold.counts.sum(axis=1), strict=True)
        ]
        head = f"<Response: {len(rows)} components, {len(self.observations)} observation(s), {self.roi!r}>"
        return "\n".join([head, *rows])

    @property
    def free_shape(self) -> tuple[str, ...]:
        """Names of the components whose position and extension are free, in the order of the components."""
        return tuple(component.name for component in self._fold.components if component.is_free)

    @cached_property
    def scans(self) -> dict[str, ScannedComponent]:
        """The components that were folded as a :class:`pymc_gamma.Scanned`, by name: grids, units, expected counts.

        At other places the response has such a component at its middle node, see :meth:`at_scan`.
        """
        return {one.name: ScannedComponent(self._fold, one.name) for one in self._fold.scans}

    @property
    def components(self) -> tuple[CompiledComponent, ...]:
        """Components as they were folded, with their nominal fluxes."""
        return self._fold.components

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names, in the order of the columns."""
        return self._fold.names

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Pointings, in the order of the events' ``observation`` index."""
        return self._fold.observations

    @property
    def domains(self) -> tuple[Domain, ...]:
        """What is kept of each observation."""
        return self._fold.domains

    @property
    def roi(self) -> RegionOfInterest:
        """Region of interest."""
        return self._fold.roi

    @property
    def energy_true_edges(self) -> FloatArray:
        """Edges of the true-energy bins in TeV."""
        return self._fold.energy_true_edges

    @property
    def reco(self) -> tuple[str, ...]:
        """Columns of an event row: energy (TeV), lon, lat (deg), and observation where there are several."""
        return self._fold.reco

    @property
    def coords(self) -> dict[str, list[Any]]:
        """Coordinates for ``pm.Model(coords=...)``: components, observations, columns of events.

        Observations are labelled by their names where all have one of their own, else by their indices.
        """
        return {
            "component": list(self.component_names),
            "observation": list(self._fold.observation_labels),
            "reco": list(self.reco),
        }

    @property
    def energy_true(self) -> FloatArray:
        """Nodes of true energy in TeV at which spectra are tabulated and free ones evaluated, shape (n,)."""
        return self._fold.energy_true

    @property
    def instrumental(self) -> tuple[str, ...]:
        """Names of the components that are residual background."""
        return tuple(component.name for component in self._fold.components if "bkg" in component.irfs)

    @property
    def acceptance(self) -> xr.DataArray:
        """Expected counts of each component at its nominal flux, over all observations."""
        return self.acceptance_by_observation.sum("observation")

    @property
    def acceptance_by_observation(self) -> xr.DataArray:
        """Expected counts, dims (component, observation), with the labels of :attr:`coords`."""
        coords = {name: self.coords[name] for name in ("component", "observation")}
        return xr.DataArray(
            self._fold.counts.copy(),
            coords,
            ("component", "observation"),
            name="acceptance",
            attrs={"units": "counts"},
        )

    def observation_index(self, observation: int | str) -> int:
        """Index of an observation given by its index or its name.

        Raises
        ------
        EventError
            If there is none, or several.
        """
        return self._fold.observation_index(observation)

    @checked(events=kind("Events"))
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
            If an event is outside the domain of its observation, or of none of them; says why.
        """
        rows = self.event_rows(events)
        if rows.shape[1] > len(self.reco):
            rows = np.delete(rows, len(self.reco), axis=1)  # densities do not depend on multiplicities
        return densities(self._fold, EventRows.from_array(rows, self.reco))

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
        names, norms = self.component_names, as_mapping(norms, self.component_names, "norms")
        components, given = list(self._fold.components), {} if spectra is None else spectra
        scans = list(self._fold.scans)
        for j, spectrum in enumerate(self.spectra_values(given)):
            name, free = self.free_spectrum[j], self._free_components
            if name in given:
                components[names.index(name)] = free.columns[j].with_coefficients(free.coefficients(j, spectrum))
        for name, value in norms.items():
            norm = np.squeeze(numbers(value, f"the norm of {name!r}", finite=False))
            if norm.ndim or not (np.isfinite(norm) and norm >= 0):
                raise ModelError(f"the norm of {name!r} must be a finite number, not negative, got {value}.")
            k = names.index(name)
            components[k] = components[k].scaled(float(norm))
            scans = [one.scaled(float(norm)) if one.name == name else one for one in scans]
        return Response(self._fold.with_components(components, scans), self._citations, self.free_spectrum)

    def with_shapes(self, shapes: Mapping[str, Any]) -> "Response":
        """The same response with components of free shape elsewhere, or larger or smaller.

        Everything follows: ``npred``, ``acceptance``, ``simulate``, pictures, stores.

        Parameters
        ----------
        shapes : mapping
            For each component a shape of numbers, such as :class:`pymc_gamma.GaussianShape`, or a mapping of some of
            its parameters, in deg or as quantities: ``{"msh": {"lon_0": 320.33, "sigma": 0.06}}``. For a halo a density
            profile, or some of its parameters: ``{"dm": {"gamma": 1.2}}``.

        Returns
        -------
        Response

        Raises
        ------
        ModelError
            If a name is not that of a component of free shape, or of one of its parameters.
        SkyModelError
            If numbers have no meaning (an extension below zero), or a position is outside the region.
        """
        return Response(self._fold.with_shapes(shapes_of(self._fold, shapes)), self._citations, self.free_spectrum)

    @checked(values=mapping)
    def at_scan(self, values: Mapping[str, Mapping[str, Any]]) -> "Response":
        """The same response with components that are scans at given values of their parameters, fixed ones from now on.

        The factory of the scan makes the component, which is folded: nothing is interpolated. A response that was
        loaded has no factory, and takes the nearest node.

        Parameters
        ----------
        values : mapping
            For some of the scans, a value of each parameter: numbers in the unit of the nodes, or quantities:
            ``{"rxj": {"radius": 0.4}}``.

        Returns
        -------
        Response

        Raises
        ------
        ModelError
            If a name is not that of a scan, a parameter is missing or unknown, or outside its nodes.
        SkyModelError
            If the factory fails, or no event is expected from what it makes.
        """
        given = {name: mapping(own, f"values of {name!r}") for name, own in values.items()}
        return Response(self._fold.at_scan(given), self._citations, self.free_spectrum)

    @checked(component=text, free=texts, widest_psf=partial(number, low=0), smooth=kind("bool"))
    def live_source(
        self,
        component: str,
        *,
        free: Collection[str] | None = None,
        widest_psf: float = 1.0,
        smooth: bool = True,
    ) -> LiveComponent:
        """What a model needs of a component of free shape: densities and counts for any position and extension.

        Parameters
        ----------
        component : str
            Name of the component.
        free : collection of str, optional
            Names of the parameters that vary; all unless given.
        widest_psf : float
            Largest factor on the width of the PSF, if that varies too: events are sought as far as it then reaches.
        smooth : bool
            For a free spectrum, whether coefficients are those of ``free_components[k].smooth``.

        Raises
        ------
        ModelError
            If the component was folded with a fixed shape.
        SkyModelError
            If there is no such component, or its shape has no parameter of a name.
        """
        spectrum = None
        if component in self.free_spectrum:
            spectrum = self._free_components.columns[self.free_spectrum.index(component)]
        return LiveComponent(self._fold, component, spectrum, smooth, free, widest_psf)

    @checked(component=text, smooth=kind("bool"))
    def halo_source(self, component: str, *, smooth: bool = True) -> HaloComponent:
        """What a model needs of a halo of free profile: densities and counts of the Gaussians that it is a sum of.

        Parameters
        ----------
        component : str
            Name of the component.
        smooth : bool
            For a free spectrum, whether coefficients are those of ``free_components[k].smooth``.

        Raises
        ------
        ModelError
            If the component is no halo of free profile.
        SkyModelError
            If there is no such component.
        """
        free = self._free_components if component in self.free_spectrum else None
        return HaloComponent(self._fold, component, free, smooth)

    @checked(observations=several("Observation"), free_spectrum=texts)
    def refold(
        self,
        observations: Observation | Sequence[Observation] | None = None,
        *,
        free_spectrum: Collection[str] | None = None,
    ) -> "Response":
        """The same components folded for other observations, or with other free spectra.

        Parameters
        ----------
        observations : Observation or sequence of Observation, optional
            Pointings; those of the response by default. A shape of the residual background goes with the numbers of the
            observations.
        free_spectrum : collection of str, optional
            Names of the components whose spectrum is free; those of the response by default.

        Returns
        -------
        Response

        Raises
        ------
        ModelError
            If ``free_spectrum`` names something that is not a component, the residual background has a shape for
            another number of observations, or two observations have one name.
        RegionError
            If there is no observation, one sees nothing of the region, or its IRFs do not reach all true energies.
        IRFError
            If there is a residual background, and the IRFs of an observation have none.

        Examples
        --------
        >>> longer = response.refold(Observation(irfs, pointing, livetime=100 * u.h))  # doctest: +SKIP
        """
        free = self.free_spectrum if free_spectrum is None else tuple(free_spectrum)
        unknown = [name for name in free if name not in self.component_names]
        if unknown:
            raise ModelError(f"free_spectrum names {unknown}, but the components are {self.component_names}.")
        if observations is None:
            return Response(self._fold, self._citations, free)
        each = [observations] if isinstance(observations, Observation) else observations
        check_labels(each)
        fold = Fold.make(self.components, each, self.roi, self.energy_true_edges, self._fold.scans)
        citations = dict.fromkeys([*self._citations, *(one for obs in each for one in obs.irfs.citations)])
        return Response(fold, tuple(citations), free)

    @checked(energy=energy_edges)
    def in_energy_range(self, energy: Any) -> "Response":
        """The same components folded for a part of the reconstructed energies.

        True energies stay what they are, and so do the observations: of one that keeps none of these energies
        next to nothing is expected.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Range of reconstructed energy, shape (2,); of that of the region the part that lies in it counts.

        Returns
        -------
        Response
            Without the components of which nothing is expected at these energies.

        Raises
        ------
        RegionError
            If no observation keeps any of these energies.
        """
        if len(energy) != 2:
            raise ValueError(f"energy must be a range (minimum, maximum), got {len(energy)} numbers.")
        return Response(self._fold.in_energy_range(*map(float, energy)), self._citations, self.free_spectrum)

    @checked(energy_scale=partial(number, low=0), psf_scale=partial(number, low=0))
    def with_systematics(self, *, energy_scale: float = 1.0, psf_scale: float = 1.0) -> "Response":
        """The response of an instrument whose energies or PSF are off by factors, see `IRFs.distorted`."""
        irfs = {
            one: one.distorted(energy_scale=energy_scale, psf_scale=psf_scale)
            for one in {observation.irfs for observation in self.observations}
        }
        return self.refold([observation.with_irfs(irfs[observation.irfs]) for observation in self.observations])

    @checked(scales=ascending, span=ascending, names=texts)
    def under_psf_scales(
        self, scales: Sequence[float] | FloatArray, span: Sequence[float] | FloatArray, names: Collection[str]
    ) -> "list[Response]":
        """Some of the components under PSFs whose widths are off by factors: what a model interpolates between.

        Tables of the effective area and the dispersion of energies are shared with this response, and events are
        evaluated as far from sources as the widest PSF reaches. Draws are of the nominal PSF, see :meth:`draw_rows`.

        Parameters
        ----------
        scales : array_like
            Factors on the width of the PSF, ascending, two at least.
        span : array_like
            The smallest and the largest factor that they may be compared with.
        names : str or collection of str
            Names of the components.

        Raises
        ------
        ValueError
            If factors do not ascend, are not positive, or lie outside the range.
        SkyModelError
            If there is no component of a name.
        """
        low, high = float(span[0]), float(span[-1])
        if not 0 < low <= scales[0] <= scales[-1] <= high:
            raise ValueError(
                f"factors on the width of the PSF must be positive and within {low:g} to {high:g}, got {scales}."
            )
        made = []
        for fold in self._fold.with_psf_scales(list(map(float, scales)), (low, high), tuple(names)):
            other = Response(fold, self._citations, [name for name in names if name in self.free_spectrum])
            if other.free_spectrum:
                free = [one for one in fold.components if one.name in other.free_spectrum]
                other.__dict__["_free_components"] = self._free_components.under(free, fold.folded)
            made.append(other)
        return made

    @checked(component=text, energy=plain("TeV"))
    def nominal_flux(self, component: str, energy: ArrayLike) -> FloatArray:
        """Spectrum of a sky component, summed over its parts, TeV-1 cm-2 s-1 at true energies in TeV.

        Raises
        ------
        SkyModelError
            If there is no such component, or it is the residual background.
        ModelError
            If an energy is outside those that the response was folded for.
        """
        return self._fold.nominal_flux(component, energy)

    @checked(component=text, energy=plain("TeV", None))
    def mean_exposure(self, component: str, energy: ArrayLike) -> FloatArray:
        """Exposure in cm2 s of a sky component, averaged over its brightness, at true energies in TeV (n,).

        By observation, shape (n_observations, n).

        Raises
        ------
        SkyModelError
            If there is no such component, or it is the residual background.
        """
        return self._fold.mean_exposure(component, energy)

    @checked(events=kind("Events"))
    def event_rows(self, events: Events) -> FloatArray:
        """Rows of an event list in the frame of the region: TeV, deg, and observation where there are several.

        A column more holds the multiplicities, if any differs from 1, and six more after it the edges of the cells that
        events fill (:mod:`pymc_gamma.events.rows`): `EventMixture` knows what they mean.

        Raises
        ------
        EventError
            If an event belongs to an observation that the response does not have, or arrived outside the good time of
            its own, or events fill cells in another frame.
        """
        unknown = events.observation >= len(self.observations)
        if unknown.any():
            first = np.flatnonzero(unknown)[:5].tolist()
            raise EventError(
                f"{int(unknown.sum())} of {len(events)} events, first rows {first}, belong to observation "
                f"{int(events.observation.max())}, but the response has {len(self.observations)} observation(s)."
            )
        late = outside_good_time(events, self.observations)
        if late.any():
            raise EventError(
                f"{int(late.sum())} of {len(events)} events, first rows {np.flatnonzero(late)[:5].tolist()}, arrived "
                "outside the good time of their observation, so the response does not expect them; give events to "
                "observations cut in time by events.split(observations), or leave them out by "
                "events.select(roi, observations)."
            )
        single, counted, celled = EVENT_ROWS
        extra = single if np.all(events.multiplicity == 1) else counted
        columns = (*self.reco, *(extra if events.cells is None else celled))
        return events.to_frame(self.roi.frame).to_rows(columns)

    def component_pdf(self, rows: ArrayLike) -> FloatArray:
        """Probability density of event rows under each component.

        Parameters
        ----------
        rows : array_like
            Shape (N, len(reco)): TeV, degrees in the frame of the region, observation index. Six columns more are edges
            of cells (:data:`pymc_gamma.events.rows.CELL`), over whose part in the region densities are averaged.

        Returns
        -------
        numpy.ndarray
            TeV-1 sr-1, shape (N, K); each column integrates to 1 over the region and observations.

        Raises
        ------
        EventError
            If a row is not finite or outside the domain of its observation.
        """
        found = densities(self._fold, EventRows.from_array(np.asarray(rows, float), self.reco))
        return found / self._fold.counts.sum(axis=1)

    @checked(smooth=texts)
    def column_densities(
        self, rows: ArrayLike, smooth: Collection[str] = (), names: Collection[str] | None = None
    ) -> tuple[FloatArray, Bands]:
        """Densities as a model needs them: of fixed components as in :meth:`component_pdf`, bands of the free ones.

        Parameters
        ----------
        rows : array_like
            As for :meth:`component_pdf`.
        smooth : collection of str
            As for :meth:`spectral_bands`.
        names : collection of str, optional
            Some of the components; all by default.

        Returns
        -------
        fixed : numpy.ndarray
            Of those that are not of free spectrum, in their order, TeV-1 sr-1, shape (N, n).
        bands : Bands
            Of the others, as of :meth:`spectral_bands`.
        """
        events = EventRows.from_array(np.asarray(rows, float), self.reco)
        wanted = self.component_names if names is None else names
        fixed = [k for k, one in enumerate(self.component_names) if one in wanted and one not in self.free_spectrum]
        free = [name for name in self.free_spectrum if name in wanted]
        found = columns(self._fold, events, fixed, self._free_components.take(free) if free else None, smooth)
        own = no_bands(len(events)) if found.bands is None else found.bands
        return found.fixed / self._fold.counts.sum(axis=1)[fixed], own

    @cached_property
    def free_components(self) -> tuple[FreeComponent, ...]:
        """Nodes, acceptances and nominal spectra of the components of free spectrum, in their order.

        Raises
        ------
        ModelError
            If the response was folded without ``free_spectrum``.
        """
        return self._free_components.components

    @checked(smooth=texts)
    def spectral_bands(self, rows: ArrayLike, smooth: Collection[str] = ()) -> Bands:
        """Columns of event rows for each free component.

        Parameters
        ----------
        rows : array_like
            As for :meth:`component_pdf`.
        smooth : collection of str
            Names of the components whose spectrum has no narrow features: their columns are those of
            ``free_components[k].smooth``.

        Returns
        -------
        Bands
            TeV-1 sr-1 per unit coefficient, over the total acceptance of each component of :attr:`free_components`.

        Raises
        ------
        EventError
            If a row is not finite or outside the domain of its observation.
        """
        events = EventRows.from_array(np.asarray(rows, float), self.reco)
        return bands(self._free_components, self._fold, events, smooth)

    def release(self) -> None:
        """Drop large tables that only :meth:`spectral_bands` needs; it makes them again."""
        if "_free_components" in self.__dict__:
            self._free_components.release()

    def expected_parts(
        self,
        spectra: Sequence[ArrayLike] | None = None,
        shapes: Mapping[str, Any] | None = None,
        scans: Mapping[str, Mapping[str, float]] | None = None,
    ) -> PartCounts:
        """Expected counts of the parts of each component, at nominal fluxes or given spectra of the free components.

        Parameters
        ----------
        spectra : sequence of array_like, optional
            One for each of :attr:`free_components`: values at its energies, shape (n,) or (n_observations, n).
        shapes : mapping, optional
            As for :meth:`with_shapes`.
        scans : mapping, optional
            As for :meth:`at_scan`.

        Returns
        -------
        list of list of numpy.ndarray
            By observation and component, shape (n_parts,) each.
        """
        return self._draws.expected_parts(spectra, shapes_of(self._fold, shapes), scans)

    def spectra_values(self, spectra: Mapping[str, Any]) -> list[FloatArray]:
        """Values of given spectra at the energies of the free components, nominal where none is given.

        Raises
        ------
        ModelError
            If a name is not that of a free component.
        """
        spectra = as_mapping(spectra, self.free_spectrum, "spectra", "components of free spectrum")
        values = []
        for component in self.free_components if spectra else ():
            if component.name in spectra:
                self.components[self.component_names.index(component.name)].check_spectrum(spectra[component.name])
            values.append(self._spectrum_values(component, spectra.get(component.name, component.nominal)))
        return values

    def _spectrum_values(self, component: FreeComponent, given: Any) -> FloatArray:
        """Values of a function at the energies of a free component, or the values given, checked."""

        def at(energy: FloatArray) -> FloatArray:
            flux = spectrum_values(given, energy, component.unit, component.name)
            return value_of(flux).astype(float)

        if component.smooth is None:
            return at(component.energy)
        label = f"the spectrum of {component.name!r}"
        if callable(given):
            photons = photons_of(given, component.energy)
            if photons is not None:
                places, flux = (value_of(one) for one in photons)
                return np.asarray(photons_at_nodes(places, flux, component.energy, component.index, np))
            return tabulate(at, self.energy_true_edges, label)
        values = at(component.energy)
        if values.shape == component.energy.shape and given is not component.nominal:
            warn_unresolved(values, self.energy_true_edges, label)
        return values

    def simulate_rows(
        self,
        weights: ArrayLike,
        n: int,
        rng: np.random.Generator,
        spectra: Sequence[ArrayLike] | None = None,
        shapes: Mapping[str, Any] | None = None,
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
        shapes : mapping, optional
            As for :meth:`with_shapes`.

        Returns
        -------
        numpy.ndarray
            Shape (n, len(reco)), in random order.

        Raises
        ------
        ModelError
            If the weights or spectra do not match the components, or are negative or not finite.
        """
        return self._draws.mixture_rows(weights, n, generator(rng), spectra, shapes_of(self._fold, shapes))

    def draw_rows(
        self,
        counts: NDArray[np.int64],
        rng: np.random.Generator,
        spectra: Sequence[ArrayLike] | None = None,
        parts: PartCounts | None = None,
        *,
        psf_scale: float = 1.0,
        shapes: Mapping[str, Any] | None = None,
        scans: Mapping[str, Mapping[str, float]] | None = None,
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
        shapes : mapping, optional
            As for :meth:`with_shapes`.
        scans : mapping, optional
            As for :meth:`at_scan`.

        Returns
        -------
        numpy.ndarray
            Shape (counts.sum(), len(reco)), in random order.
        """
        counts = array(counts, "counts", (len(self.component_names), len(self.observations))).astype(np.int64)
        rng, psf_scale = generator(rng), number(psf_scale, "psf_scale", low=0)
        at = shapes_of(self._fold, shapes)
        parts = self._draws.expected_parts(spectra, at, scans) if parts is None else parts
        return self._draws.rows(counts, rng, spectra, parts, psf_scale, at, scans)

    def simulate(
        self,
        weights: ArrayLike | Mapping[str, float] | None = None,
        n_events: int | None = None,
        *,
        spectra: Mapping[str, Any] | None = None,
        shapes: Mapping[str, Any] | None = None,
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
        shapes : mapping, optional
            Positions and extensions of components of free shape, see :meth:`with_shapes`.
        rng : numpy.random.Generator or int, optional
            Random numbers or a seed.

        Returns
        -------
        Events
            In random order, in the frame of the region; with arrival times, drawn uniformly in the good time of their
            observation, where this is known.

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
            parts = self.expected_parts(given, shapes)
            weights = [sum(float(of[k].sum()) for of in parts) for k in range(len(self.component_names))]
        values = self._draws.weights(weights)
        n = int(rng.poisson(values.sum())) if n_events is None else integer(n_events, "n_events")
        rows = self.simulate_rows(values, n, rng, given, shapes)
        return draw_times(Events.from_rows(rows, self.reco, frame=self.roi.frame), self.observations, rng)

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
        return self._draws.photons(component, integer(n, "n"), observation, generator(rng))

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
        photons = instance(photons, TrueEvents, "photons")
        return self._draws.reconstruct(photons, observation, generator(rng))

    def npred(
        self,
        energy: u.Quantity | None = None,
        lon: u.Quantity | None = None,
        lat: u.Quantity | None = None,
        *,
        step: u.Quantity = 0.05 * u.deg,
        observation: int | str | None = None,
        spectra: Mapping[str, Any] | None = None,
        norms: Mapping[str, float] | None = None,
        shapes: Mapping[str, Any] | None = None,
    ) -> xr.DataArray:
        """Expected counts of each component, in bins, at its nominal flux or at that of given spectra.

        Parameters
        ----------
        energy, lon, lat : `~astropy.units.Quantity`, optional
            Bin edges, of directions in the frame of the region. An axis left out is integrated over the region.
            Bins are cut at the region. Give ``lon`` and ``lat`` together; longitudes may be counted in any turn (-1 to
            1, or 359 to 361), but not over more than one.
        step : `~astropy.units.Quantity`
            Largest spacing of the points at which a spatial bin is sampled.
        observation : int or str, optional
            One observation only, by its index or its name; default all.
        spectra, norms : mapping, optional
            Other fluxes than the nominal ones, see :meth:`with_spectra`.
        shapes : mapping, optional
            Positions and extensions of components of free shape, see :meth:`with_shapes`.

        Returns
        -------
        xarray.DataArray
            Dims (component[, energy][, lat, lon]); coordinates are bin centres.
        """
        response = self if spectra is None and norms is None else self.with_spectra(spectra, norms)
        response = response if shapes is None else response.with_shapes(shapes)
        return npred(response._fold, energy, lon, lat, scalar_value(step, "deg", "step"), observation)

    def asimov(
        self,
        weights: ArrayLike | Mapping[str, float] | None = None,
        n_events: float | None = None,
        *,
        energy: int | u.Quantity,
        pixel: u.Quantity | None = None,
        lon: u.Quantity | None = None,
        lat: u.Quantity | None = None,
        spectra: Mapping[str, Any] | None = None,
        norms: Mapping[str, Any] | None = None,
        shapes: Mapping[str, Any] | None = None,
        scan: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Events:
        """Asimov data: cells that hold as many events as are expected, without noise.

        A fit to them finds the parameters they were made with, and errors and limits that are typical of all data sets
        with these parameters.

        Parameters
        ----------
        weights : array_like or mapping, optional
            Fraction of each component (need not be normalised), as for :meth:`simulate`. Default: the expected counts
            of the given fluxes.
        n_events : float, optional
            Number of events, with ``weights``.
        energy : int or `~astropy.units.Quantity`
            Number of logarithmic bins over the energies of the region, or edges that cover them.
        pixel : `~astropy.units.Quantity`, optional
            Width of square cells in longitude and latitude; edges lie at its multiples, as those of
            :meth:`Events.binned`.
        lon, lat : `~astropy.units.Quantity`, optional
            Edges that cover the region, instead of ``pixel``.
        spectra : mapping, optional
            Spectra of free components, as for :meth:`simulate`. Default: the nominal ones.
        norms : mapping, optional
            Factors on the fluxes of any components, each a number or one for each observation.
        shapes : mapping, optional
            Positions and extensions of components of free shape, see :meth:`with_shapes`.
        scan : mapping, optional
            Values of the parameters of components that are scans, see :meth:`at_scan`.

        Returns
        -------
        Events
            Cells of positive expected counts, which are their multiplicities, for each observation.

        Raises
        ------
        ModelError
            If weights, norms, spectra or shapes do not fit the components, no event is expected, or events are expected
            outside the cells.
        EventError
            If edges do not increase, or neither ``pixel`` nor both ``lon`` and ``lat`` are given.

        Examples
        --------
        >>> events = response.asimov(energy=20, pixel=0.1 * u.deg, norms={"crab": 0.5})  # doctest: +SKIP
        """
        edges = CellEdges(self.roi, energy, pixel, lon, lat)
        if (weights is None) != (n_events is None):
            raise ModelError("weights are fractions of n_events: give both, or neither.")
        if weights is not None and norms is not None:
            raise ModelError(
                "norms change the number of events, which weights and n_events say already; leave one out."
            )
        response = self if spectra is None else self.with_spectra(spectra)
        response = response if scan is None else response.at_scan(scan)
        response = response if shapes is None else response.with_shapes(shapes)
        factors = norm_factors(self._fold, norms)
        if weights is None or n_events is None:
            return asimov_events(response._fold, edges, factors)
        n = number(n_events, "n_events", low=0)
        return asimov_events(response._fold, edges, factors, self._draws.weights(weights), n)

    @checked("lon", "lat", lon=plain("deg", None), lat=plain("deg", None), energy=plain("TeV", None))
    def surface_density(
        self, lon: ArrayLike, lat: ArrayLike, energy: ArrayLike, *, observation: int | str | None = None
    ) -> FloatArray:
        """Expected counts per solid angle of each component at its nominal flux, in bins of energy.

        Parameters
        ----------
        lon, lat : array_like
            Directions in degrees in the frame of the region, shape (n,).
        energy : array_like
            Edges of bins of reconstructed energy in TeV; bins are cut at the region.
        observation : int or str, optional
            One observation only, by its index or its name; default the sum over all.

        Returns
        -------
        numpy.ndarray
            sr-1, shape (component, bin, n); zero outside the region.
        """
        return surface_density(self._fold, lon, lat, np.asarray(energy, float), observation)

    def citations(self) -> tuple[Citation, ...]:
        """What a paper that uses this response should cite."""
        return self._citations

    def fingerprint(self) -> dict[str, str]:
        """Hash of each input: IRFs and pointing of each observation, region, energy bins, components."""
        return storage.fingerprint(self._stored)

    @checked(path=path)
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
            If it exists and ``overwrite`` is false, or is a folder that is no zarr store.
        OSError
            If it cannot be written, on a full disk for instance; a store that was there is unchanged.
        ModelError
            If the regions have more corners than a store can hold.
        """
        storage.save(self._stored, path, overwrite=overwrite)

    @classmethod
    @checked(path=path)
    def load(cls, path: str | Path) -> "Response":
        """Read a response written by :meth:`save`; the sky models that made it are not needed.

        Nothing in a store is run, and only arrays of the kind that :meth:`save` writes are read, so that a store of
        unknown origin can do no harm.

        Raises
        ------
        DataFileError
            If there is no response at ``path``, it cannot be read, or its content does not match its hashes.
        ResponseMismatchError
            If it was written in another format.
        """
        return cls(*storage.load(path))

    @checked(path=path)
    def keep(self, path: str | Path) -> None:
        """Save the response unless there is a store at ``path``, and otherwise compare it with that.

        Raises
        ------
        ResponseMismatchError
            If the store holds the response of other inputs; names them.
        DataFileError
            If the store cannot be read.
        """
        storage.keep(self._stored, path)

    @property
    def _stored(self) -> storage.Stored:
        return storage.Stored(self._fold, self._citations, self.free_spectrum)

    @cached_property
    def _free_components(self) -> FreeComponents:
        if not self.free_spectrum:
            raise ModelError(
                "no component has a free spectrum; name those that should in fold(..., free_spectrum=[...])."
            )
        free = [component for component in self._fold.components if component.name in self.free_spectrum]
        return FreeComponents(free, self._fold.folded, self.energy_true_edges)

    @cached_property
    def _draws(self) -> Draws:
        return Draws(self._fold, self._free_components if self.free_spectrum else None)
