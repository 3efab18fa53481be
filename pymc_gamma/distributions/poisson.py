r"""A Poisson process of physical fluxes: its expected counts, coefficients and draws.

What a user gives, spectra, norms and systematics, becomes three tensors: a norm for each component, the spectra of the
free components one after the other, and the scale of the PSF. From these follow the coefficients of the columns
and the expected counts (:mod:`pymc_gamma.distributions.columns`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.distributions.columns import ColumnSource, Variants
from pymc_gamma.distributions.energy_scale import shift_spectrum
from pymc_gamma.distributions.own_table import coords_of_last_dim
from pymc_gamma.distributions.protocol import EventList, PoissonResponse
from pymc_gamma.distributions.sources import lists_of_events
from pymc_gamma.distributions.spectral import (
    check_spectra,
    narrow_spectra,
    not_smooth,
    spectra_tensor,
    value_at_start,
)
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import spectrum_values
from pymc_gamma.folding.nodes import NODE_STEP
from pymc_gamma.labelled import aligned, as_mapping, has_labels, match_labels
from pymc_gamma.spectra import FLUX, PowerLawNorm
from pymc_gamma.systematics import (
    BackgroundNorm,
    BackgroundTilt,
    EffectiveAreaNorm,
    EffectiveAreaShape,
    EnergyScale,
    PSFScale,
    Systematic,
    Systematics,
)
from pymc_gamma.tensors import joined
from pymc_gamma.units import numbers, to_value

__all__ = ["PoissonProcess", "PoissonSource", "one_list"]

FloatArray = NDArray[np.float64]
Spectra = Mapping[str, Callable[[Any], Any]]

_ENERGIES_PER_DECADE = 50


class PoissonSource(ColumnSource):
    """Densities and draws of a Poisson process; a row that is NaN throughout holds no event.

    Parameters
    ----------
    response : PoissonResponse
        The response.
    variants : Variants, optional
        Responses between which to interpolate.
    """

    response: PoissonResponse

    @property
    def signature(self) -> str:
        """Norms, spectra, and the scale of the PSF (a vector of one)."""
        return "(k),(s),(q)"

    def split(self, value: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rows and multiplicities; of multiplicity 0 where there is no event."""
        empty = np.isnan(value).all(axis=-1) if value.ndim == 2 else np.zeros(1, bool)
        if value.ndim != 2 or not empty.any():
            return super().split(value)
        held, counts = super().split(np.where(empty[:, None], 0.0, value))
        return np.where(empty[:, None], np.nan, held), np.where(empty, 0.0, counts)

    def padded(self, events: Any, n_rows: int | None) -> FloatArray:
        """Rows of events, checked, and rows of NaN after them up to ``n_rows``; by default enough for other draws."""
        listed = events.multiplicity if isinstance(events, EventList) else events
        empty = isinstance(listed, np.ndarray) and listed.ndim > 0 and len(listed) == 0
        if isinstance(events, np.ndarray) and events.ndim == 2 and not empty:
            events = events[~np.isnan(events).all(axis=1)]
            empty = len(events) == 0
        value = np.empty((0, len(self.columns))) if empty else self.numbers(events)
        if value.ndim != 2:
            self.split(value)  # says what is wrong with it
        n = len(value)
        n_rows = n + 10 * int(np.ceil(np.sqrt(2.0 * n))) + 50 if n_rows is None else int(n_rows)
        if n > n_rows:
            raise ModelError(f"{n} events are observed, more than max_events={n_rows}.")
        value = np.concatenate([value, np.full((n_rows - n, value.shape[1]), np.nan)])
        self.table(value)  # the one that the model reads, made here, so that a bad event is refused at once
        return value

    def poisson_coefficients(self, norms: Variable, flux: Variable, psf_scale: Variable) -> tuple[Variable, Variable]:
        """Coefficients of the columns, and expected counts (K,), of a Poisson process.

        Parameters
        ----------
        norms : TensorVariable
            Factor on the flux of each component, shape (K,).
        flux : TensorVariable
            Spectra of the free components, one after the other, shape (n_flux,).
        psf_scale : TensorVariable
            Scale of the PSF, shape (1,).
        """
        responses = self.variants.responses
        weights = self.variants.weights(psf_scale[0], pt)
        counts: dict[int, Variable] = {}
        columns = []
        for weight, response in zip(weights, responses, strict=True):
            acceptance = np.asarray(response.acceptance)
            own = [weight * norms[k] * float(acceptance[k]) for k in self.fixed_sky]
            columns += own
            for k, expected in zip(self.fixed_sky, own, strict=True):
                counts[k] = counts[k] + expected if k in counts else expected
        acceptance = np.asarray(self.response.acceptance)
        for k in self.fixed_background:
            counts[k] = norms[k] * float(acceptance[k])
            columns.append(counts[k])
        parts = [pt.stack(columns)] if columns else []
        coefficients = self.spectral_coefficients(flux)
        for g, j in self.groups():
            k = self.free_index[j]
            one = self.component(responses[g], j)
            of_background = j not in self._free_sky
            factor = norms[k] if of_background else norms[k] * weights[g]
            columns_of = factor * float(one.acceptance.sum()) * coefficients[j]
            expected = pt.sum(pt.constant(one.share) * columns_of)
            counts[k] = counts[k] + expected if k in counts else expected
            parts.append(columns_of)
        return pt.concatenate(parts), pt.stack([counts[k] for k in range(self.n_components)])

    def observed_value(self, events: Any, variable: Variable) -> FloatArray:
        """Rows of other events, as many as the variable has, or more where it has too few."""
        events = one_list(variable.name or "events", events)
        n_rows = variable.type.shape[-2]
        return self.padded(events, None if n_rows is not None and len(events) > n_rows else n_rows)

    def check_parameters(self, *parameters: FloatArray) -> None:
        """Raise a ModelError unless norms are possible; spectra are checked where they are used."""
        norms = parameters[0]
        if not (np.all(np.isfinite(norms)) and np.all(norms >= 0)):
            raise ModelError(
                f"the norms of {self.component_names} must be finite and not negative to draw events, got {norms}."
            )

    def expected_parts(self, norms: FloatArray, spectra: list[FloatArray], psf_scale: float) -> list[list[FloatArray]]:
        """Expected counts of the parts, by observation and component."""
        weights = self.variants.weights(np.asarray(psf_scale))
        total: list[list[FloatArray]] = []
        for weight, response in zip(weights, self.variants.responses, strict=True):
            own = response.expected_parts(spectra or None)
            if not total:
                total = [[np.zeros_like(parts, dtype=float) for parts in of] for of in own]
            for mine, of in zip(total, own, strict=True):
                for k, parts in enumerate(of):
                    mine[k] = mine[k] + weight * norms[k] * parts
        return [[np.maximum(parts, 0) for parts in of] for of in total]

    def draw(self, n: int, rng: np.random.Generator, *parameters: FloatArray) -> FloatArray:
        """A Poisson number of events, and rows of NaN after them up to ``n``."""
        norms, flux, (psf_scale,) = parameters
        spectra = self.spectra(flux)
        parts = self.expected_parts(norms, spectra, psf_scale)
        expected = np.array([[of[k].sum() for of in parts] for k in range(self.n_components)])
        counts = rng.poisson(expected)
        total = int(counts.sum())
        if total > n:
            raise ModelError(
                f"a draw holds {total} events ({expected.sum():.6g} were expected, most of them of "
                f"{self.component_names[int(expected.sum(axis=1).argmax())]!r}), more than max_events={n} rows; pass a "
                "larger max_events=, or narrow the priors of the fluxes. (pymc.Data has no rows to spare: pass the "
                "events themselves as observed= for predictive draws.)"
            )
        rows = np.full((n, len(self.columns)), np.nan)
        rows[:total] = self.response.draw_rows(counts, rng, spectra or None, parts, psf_scale=float(psf_scale))
        return rows

    def representative_row(self) -> FloatArray:
        """A row without event, which is always possible."""
        return np.full(len(self.columns), np.nan)


class PoissonProcess:
    """The parameters of a Poisson process, from what the user gives.

    Attributes
    ----------
    source : PoissonSource
        Columns and draws.
    norms : TensorVariable, shape (K,)
        Factors on the fluxes, with those of the systematics.
    flux : TensorVariable, shape (n_flux,)
        Spectra of the free components, with the factors of the systematics.
    psf_scale : TensorVariable, shape (1,)
        Scale of the PSF.
    counts : TensorVariable, shape (K,)
        Expected counts.
    """

    def __init__(
        self,
        name: str,
        response: Any,
        spectra: Spectra | None,
        norms: Any,
        systematics: Sequence[Systematic],
    ) -> None:
        if not isinstance(response, PoissonResponse):
            raise TypeError(
                f"{name}: response must come from `fold`: a Poisson process needs expected counts, got "
                f"{type(response).__name__}."
            )
        self.name, self.response = name, response
        self.spectra = as_mapping(spectra, tuple(response.component_names), f"{name}: spectra")
        self._n_observations = len(response.expected_parts())
        self._given = self._checked_norms(norms)
        kinds = Systematics(name, systematics)
        n_observations = self._n_observations
        span = response.energy_true[[0, -1]]
        self._sky = [c for c in response.component_names if c not in response.instrumental]
        self._background = [c for c in response.component_names if c in response.instrumental]
        self._check_targets(kinds)
        self._values = {kind: one.tensor(n_observations, span) for kind, one in kinds}
        psf = kinds.get(PSFScale)
        variants = None if psf is None else Variants.build(response, psf.knots)
        factors = self._factors(kinds, span, n_observations)
        seen = self._seen_spectra(kinds)
        narrow = narrow_spectra(response, seen)
        self.source = PoissonSource(response, variants, narrow)
        self.flux = spectra_tensor(name, self.source, seen, nominal=True, factors=factors)
        if self.source.free:
            start = value_at_start(self.flux, pm.modelcontext(None))
            if more := not_smooth(self.source, start):
                self.source = PoissonSource(response, variants, narrow | more)
                self.flux = spectra_tensor(name, self.source, seen, nominal=True, factors=factors)
                start = value_at_start(self.flux, pm.modelcontext(None))
            check_spectra(name, self.source, start, dark=True)
        self.norms = pt.stack([self._norm(component, kinds) for component in response.component_names])
        kinds.check_known()
        self.psf_scale = pt.stack([self._values.get(PSFScale, pt.constant(1.0))])
        _, self.counts = self.source.poisson_coefficients(self.norms, self.flux, self.psf_scale)

    def _checked_norms(self, norms: Any) -> dict[str, Variable]:
        names, model = tuple(self.response.component_names), pm.modelcontext(None)
        what = f"{self.name}: norms"
        norms = joined(norms, what, low=0.0)
        if isinstance(norms, Variable) or not (norms is None or isinstance(norms, Mapping) or has_labels(norms)):
            vector = pt.as_tensor_variable(norms if isinstance(norms, Variable) else numbers(norms, what))
            if vector.type.ndim != 1 or vector.type.shape[0] not in (None, len(names)):
                raise ModelError(
                    f"{what} must be a mapping from names of components, or a vector with one entry for each of "
                    f"{names}, got {vector.type}."
                )
            labels = coords_of_last_dim(model, norms)
            places = (
                range(len(names))
                if labels is None
                else match_labels(labels, names, f"the coords of {what}", "component")
            )
            norms = {component: vector[k] for component, k in zip(names, places, strict=True)}
        return {
            component: self._one_norm(component, value) for component, value in as_mapping(norms, names, what).items()
        }

    def _one_norm(self, component: str, value: Any) -> Variable:
        """Norm of one component, a number; of one for each of a single observation, that one."""
        n_observations = self._n_observations
        label = f"{self.name}: the norm of {component!r}"
        if not isinstance(value, Variable):
            value = joined(aligned(value, {"observation": range(n_observations)}, label), label, low=0.0)
        if not isinstance(value, Variable):
            value = numbers(value, label, finite=False)
            if not np.all(np.isfinite(value) & (value >= 0)):
                raise ModelError(f"{label} must be finite and not negative, got {value.tolist()}.")
        norm = pt.as_tensor_variable(value)
        if norm.type.ndim == 1 and n_observations == 1 and norm.type.shape[0] in (None, 1):
            return pt.specify_shape(norm, (1,))[0]
        if norm.type.ndim == 0:
            return norm
        free = self.response.free_spectrum
        if component not in self.response.instrumental:
            remedy = (
                "the norm of a sky component is the same in all observations. For one in each, fold the observations "
                f"one by one and give each its own ExtendedEventMixture with norms={{{component!r}: norm[i]}}; "
                "components, spectra and other variables may be shared."
            )
        else:
            again = "" if component in free else f"fold with free_spectrum={[*free, component]}, and "
            remedy = (
                f"for a background with a norm in each observation {again}give spectra="
                f"{{{component!r}: pmg.PowerLawNorm(norm=...)}} instead."
            )
        raise ModelError(f"{label} must be a single number, got {norm.type}: {remedy}")

    def _check_targets(self, kinds: Systematics) -> None:
        """Raise a ModelError if there is nothing that a systematic could change."""
        for kind, _ in kinds:
            if not (self._sky if kind.of_sky else self._background):
                what = "sky component" if kind.of_sky else "residual background"
                raise ModelError(f"{self.name}: the response has no {what} for {kind.__name__}; leave it out.")

    def _norm(self, component: str, kinds: Systematics) -> Variable:
        norm = self._given.get(component, pt.constant(1.0)).astype("float64")
        if component in self._sky and EffectiveAreaNorm in kinds:
            norm = norm * self._values[EffectiveAreaNorm]
        free = self.response.free_spectrum
        if component in self._background and component not in free and BackgroundNorm in kinds:
            value = self._values[BackgroundNorm]
            norm = norm * (value[0] if value.type.ndim else value)
        return norm

    def _seen_spectra(self, kinds: Systematics) -> dict[str, Callable[[Any], Any]]:
        """Spectra as the response sees them if the energy scale is off."""
        if EnergyScale not in kinds:
            return self.spectra
        self._check_free("EnergyScale")
        seen = dict(self.spectra)
        for component in self._sky:
            spectrum = self.spectra.get(component)
            if spectrum is None or callable(spectrum):
                seen[component] = shift_spectrum(spectrum, self.response, component, self._values[EnergyScale])
        return seen

    def _check_free(self, systematic: str) -> None:
        """Raise a ModelError unless all sky components are of free spectrum."""
        free = self.response.free_spectrum
        fixed = [component for component in self._sky if component not in free]
        if fixed:
            raise ModelError(
                f"{self.name}: {systematic} changes spectra, and {fixed} were folded with a fixed spectrum; "
                f"fold with free_spectrum={[*free, *fixed]} (they keep their spectra unless you give others)."
            )

    def _factors(
        self, kinds: Systematics, span: FloatArray, n_observations: int
    ) -> dict[str, Callable[[FloatArray], Any]]:
        """Factors of the systematics on the spectra of free components."""
        free = self.response.free_spectrum
        factors: dict[str, Callable[[FloatArray], Any]] = {}
        if (shape := kinds.get(EffectiveAreaShape)) is not None:
            self._check_free("EffectiveAreaShape")
            factors |= dict.fromkeys(self._sky, shape.factor(self._values[EffectiveAreaShape], span))
        of_background = [kind for kind in (BackgroundNorm, BackgroundTilt) if kind in kinds]
        if not of_background:
            return factors
        fixed = [component for component in self._background if component not in free]
        if fixed and (BackgroundTilt in kinds or n_observations > 1):
            raise ModelError(
                f"{self.name}: a tilt, or a norm for each of several observations, needs a background of free "
                f"shape; fold with free_spectrum={[*free, *fixed]}."
            )
        for component in set(self._background) & set(free):
            factors[component] = self._background_factor(kinds)
        return factors

    def _background_factor(self, kinds: Systematics) -> Callable[[FloatArray], Any]:
        tilt = kinds.get(BackgroundTilt)
        return PowerLawNorm(
            norm=self._values.get(BackgroundNorm, 1.0),
            tilt=self._values.get(BackgroundTilt, 0.0),
            reference=1.0 if tilt is None else tilt.reference,
        )

    def add_integrated_flux(self, energies: Any) -> None:
        """Deterministic of the flux of each sky component in a range of energy."""
        span = np.ravel(to_value(energies, "TeV", "integrated_flux"))
        if len(span) != 2:
            raise ModelError(f"{self.name}: integrated_flux must be two energies, got {len(span)}.")
        low, high = span
        if not 0 < low < high < np.inf:
            raise ModelError(
                f"{self.name}: integrated_flux must be two finite, positive and ascending energies, got {low:g} and "
                f"{high:g} TeV."
            )
        fluxes = []
        for component in self._sky:
            spectrum = self.spectra.get(component)
            narrow = component not in self.source.smooth
            step = 0.5 * NODE_STEP if narrow else np.log(10) / _ENERGIES_PER_DECADE
            energy = np.geomspace(low, high, max(int(np.log(high / low) / step), 2) + 1)
            if spectrum is None:
                flux = pt.constant(self.response.nominal_flux(component, energy))
            else:
                flux = pt.as_tensor_variable(spectrum_values(spectrum, energy, FLUX, component))
            integral = _trapezoid(flux, energy) if narrow else _power_law_integral(flux, energy)
            fluxes.append(self._given.get(component, pt.constant(1.0)) * integral)
        model = pm.modelcontext(None)
        dim = f"{self.name}_source"
        model.add_coord(dim, self._sky)
        pm.Deterministic(f"{self.name}_flux", pt.stack(fluxes), dims=dim)


def one_list(name: str, observed: Any) -> Any:
    """The one list of events; a ModelError for several of them: a Poisson process has no batch axes."""
    lists, _ = lists_of_events(observed, name)
    if len(lists) == 1:
        return lists[0]
    raise ModelError(
        f"{name}: observed holds {len(lists)} lists of events, and an ExtendedEventMixture has one. Join those of "
        "the observations of a response with + (`Events.with_observation` says which is which), or give each its own "
        "ExtendedEventMixture; they may share variables."
    )


def _power_law_integral(flux: Variable, energy: FloatArray) -> Variable:
    """Integral over energies of a spectrum that is a power law between neighbours."""
    step = np.diff(np.log(energy))
    product = pt.maximum(flux * energy, np.finfo(float).tiny)
    growth = pt.log(product[1:] / product[:-1])
    small = pt.abs(growth) < 1e-6
    safe = pt.switch(small, 1.0, growth)
    return pt.sum(product[:-1] * step * pt.switch(small, 1.0 + growth / 2, pt.expm1(safe) / safe))


def _trapezoid(flux: Variable, energy: FloatArray) -> Variable:
    """Integral over energies of a spectrum that may be zero, by trapezoids in the logarithm of the energy."""
    weight = np.full(len(energy), np.log(energy[1] / energy[0]))
    weight[[0, -1]] /= 2
    return pt.sum(flux * pt.constant(energy * weight))
