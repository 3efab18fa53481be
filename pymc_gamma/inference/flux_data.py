"""What a model knows of the flux of a component: its spectrum at draws, and its likelihood in parts of the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError, RegionError, warn_user
from pymc_gamma.inference.best_fit import BestFit, best_fit
from pymc_gamma.inference.evaluate import expression_draws
from pymc_gamma.inference.norm_posterior import NormPosterior
from pymc_gamma.inference.posterior import SAMPLE_DIMS, posterior_dataset
from pymc_gamma.model.parts import FluxPart, FluxSource
from pymc_gamma.power_laws import mean_exponential

__all__ = ["Band", "Spectrum", "band_of", "check_edges", "draws_of", "norm_posterior", "observed_sources"]

N_ENERGIES = 21
"""True energies per band at which spectra are evaluated; odd, so that the middle of the band is one."""
FEW_DRAWS = 50
ROUNDING = 1e-9


@dataclass(frozen=True)
class Observed:
    """An observed variable that tells fluxes.

    Attributes
    ----------
    name : str
        Its name.
    source : FluxSource
        What it offers.
    value : numpy.ndarray
        What was observed.
    """

    name: str
    source: FluxSource
    value: FloatArray


@dataclass(frozen=True)
class Spectrum:
    """Fluxes of a component in a band, at draws.

    Attributes
    ----------
    energy : numpy.ndarray
        True energies in TeV, shape (n,).
    dnde : numpy.ndarray
        TeV-1 cm-2 s-1 at these, shape (n_draws, n_observations, n).
    """

    energy: FloatArray
    dnde: FloatArray

    @property
    def flux(self) -> FloatArray:
        """Integral, cm-2 s-1, shape (n_draws, n_observations)."""
        return _integral(self.energy, self.dnde)

    @property
    def eflux(self) -> FloatArray:
        """Integral of energy times flux, TeV cm-2 s-1, shape (n_draws, n_observations)."""
        return _integral(self.energy, self.energy * self.dnde)

    def averaged(self, observations: Sequence[Any]) -> "Spectrum":
        """The mean over observations, by their live times."""
        weight = np.array([one.livetime_s for one in observations])
        return Spectrum(self.energy, np.einsum("don,o->dn", self.dnde, weight / weight.sum())[:, None])

    def typical(self) -> "Spectrum":
        """The geometric mean over draws: that of power laws is one."""
        with np.errstate(divide="ignore"):
            return Spectrum(self.energy, np.exp(np.log(self.dnde).mean(axis=0, keepdims=True)))


@dataclass(frozen=True)
class Band:
    """The likelihood of the events of a band of energy, at draws.

    Attributes
    ----------
    parts : list of FluxPart
        One for each observed variable that has such events.
    values : list of numpy.ndarray
        What each needs, at the draws, shape (n_draws, ...).
    spectra : list of Spectrum
        Spectrum of the component for each.
    observations : list of list
        Observations of each.
    """

    parts: list[FluxPart]
    values: list[FloatArray]
    spectra: list[Spectrum]
    observations: list[list[Any]]

    def expected(self, factors: Sequence[FloatArray]) -> list[FloatArray]:
        """Events expected from the component where it has the reference flux, by group, the mean over draws."""
        return [
            np.mean([part.expected(one) * of for one, of in zip(values, factor, strict=True)], axis=0)
            for part, values, factor in zip(self.parts, self.values, factors, strict=True)
        ]


def observed_sources(model: pm.Model, component: str) -> list[Observed]:
    """Observed variables of a model that tell the flux of a component.

    Raises
    ------
    ModelError
        If there is none; says what there is.
    """
    found, known, others = [], [], []
    for rv in model.observed_RVs:
        source = getattr(getattr(rv.owner, "op", None), "source", None)
        if not isinstance(source, FluxSource):
            others.append(rv.name)
            continue
        known += [name for name in source.component_names if name not in known]
        if component in source.component_names:
            value = model.rvs_to_values[rv]
            data = value.get_value() if hasattr(value, "get_value") else value.data
            found.append(Observed(str(rv.name), source, np.asarray(data, float)))
    if found:
        return found
    if known:
        raise ModelError(f"the model has no component {component!r}; it has {known}.")
    given = f"; {others} have none (an EventMixture knows shares of events, not fluxes)" if others else ""
    raise ModelError(
        f"the model observes no events with fluxes{given}. Observe events with an ExtendedEventMixture "
        "(observed=..., or pmg.observe_events) or OnOffCounts."
    )


def check_edges(edges: FloatArray, observed: Sequence[Observed]) -> None:
    """Raise RegionError if edges in TeV lie outside the reconstructed energies of all data."""
    ranges = [one.source.energy_range for one in observed]
    low, high = min(one[0] for one in ranges), max(one[1] for one in ranges)
    if edges[0] < low * (1 - ROUNDING) or edges[-1] > high * (1 + ROUNDING):
        raise RegionError(
            f"the edges {edges[0]:g}-{edges[-1]:g} TeV reach outside of the reconstructed energies of the data, "
            f"{low:g}-{high:g} TeV; choose edges within these, or fold a region with more energies."
        )


def draws_of(model: pm.Model, idata: Any, max_draws: int) -> xr.Dataset:
    """Parameters at some draws of a posterior, or at the best fit, which is found if nothing is given."""
    if idata is None:
        idata = best_fit(model)
    if isinstance(idata, BestFit):
        return idata.value.expand_dims(chain=[0], draw=[0])
    posterior = posterior_dataset(idata)
    dims = [dim for dim in SAMPLE_DIMS if dim in posterior.dims]
    if not dims:
        raise ModelError(f"the posterior has dims {tuple(posterior.dims)}, none of them chain or draw.")
    names = [rv.name for rv in model.free_RVs]
    missing = [name for name in names if name not in posterior.data_vars]
    if missing:
        raise ModelError(f"the posterior lacks {missing}, which are free variables of the model.")
    flat = posterior[names].stack(draw_=dims).transpose("draw_", ...)
    n = flat.sizes["draw_"]
    chosen = np.unique(np.linspace(0, n - 1, min(n, max_draws)).round().astype(int))
    thinned = flat.isel(draw_=chosen).drop_vars(["draw_", *dims], errors="ignore")
    return thinned.rename(draw_="draw").expand_dims("chain")


def spectrum_in(one: Observed, component: str, energy: tuple[float, float], draws: xr.Dataset) -> Spectrum:
    """Spectrum of a component at draws, in a band."""
    at = np.geomspace(*energy, N_ENERGIES)
    dnde = expression_draws(draws, one.source.flux(component, at), f"the flux of {component!r}")
    dnde = dnde if dnde.ndim == 3 else dnde[:, None]
    n = len(one.source.observations)
    return Spectrum(at, np.broadcast_to(dnde, (len(dnde), n, N_ENERGIES)))


def band_of(observed: Sequence[Observed], component: str, energy: tuple[float, float], draws: xr.Dataset) -> Band:
    """The likelihood of the events of a band, of all variables that have some.

    Raises
    ------
    RegionError
        If none keeps such energies.
    """
    band, faults = Band([], [], [], []), []
    for one in observed:
        try:
            part = one.source.flux_part(component, one.value, energy)
        except RegionError as error:
            faults.append(error)
            continue
        band.parts.append(part)
        band.values.append(expression_draws(draws, part.expression, f"the intensity of {one.name!r}"))
        band.spectra.append(spectrum_in(one, component, energy, draws))
        band.observations.append(list(one.source.observations))
    if not band.parts:
        raise faults[0]
    return band


def norm_posterior(
    band: Band, chosen: Sequence[Sequence[int]], factors: Sequence[FloatArray], told: str
) -> NormPosterior:
    """Posterior of a factor on a reference flux.

    Parameters
    ----------
    band : Band
        The likelihood.
    chosen : sequence of sequence of int
        For each of its parts the groups that count.
    factors : sequence of numpy.ndarray
        For each of its parts the reference flux over that of each draw, shape (n_draws, n_groups).
    told : str
        What it is a posterior of, for messages.

    Warns
    -----
    PymcGammaWarning
        If few draws make up for most of it.
    """
    n_draws = len(band.values[0])

    def log_likelihood(norm: FloatArray, step: int) -> FloatArray:
        draws = range(0, n_draws, step)
        found = np.zeros((len(draws), len(norm)))
        for part, values, groups, factor in zip(band.parts, band.values, chosen, factors, strict=True):
            for row, d in enumerate(draws):
                for group in groups:
                    found[row] += part.log_likelihood(norm * factor[d, group], values[d], group)
        return found

    made = NormPosterior.tabulate(log_likelihood, n_draws)
    if n_draws > 1 and made.n_effective < min(FEW_DRAWS, n_draws / 4):
        warn_user(
            f"the posterior of {told} rests on {made.n_effective:.0f} of {n_draws} draws: with its flux free there the "
            "other parameters would lie elsewhere. Give more draws, or a model whose spectrum fits."
        )
    return made


def _integral(energy: FloatArray, flux: FloatArray) -> FloatArray:
    """Integral over energies of what is a power law between neighbours."""
    product = np.maximum(flux * energy, np.finfo(float).tiny)
    growth = np.log(product[..., 1:] / product[..., :-1])
    return np.asarray((product[..., :-1] * np.diff(np.log(energy)) * mean_exponential(growth)).sum(axis=-1))
