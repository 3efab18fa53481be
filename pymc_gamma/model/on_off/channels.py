"""Counts in channels as they are observed: the rows are expected counts."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.distribution import Distribution, _support_point
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.model.on_off.measurement import Histogram, Measurement, RegionIntensity, measurement_of, share_of
from pymc_gamma.model.parts import PoissonPart
from pymc_gamma.model.random import DrawnAtOnce
from pymc_gamma.on_off import CountsSpectrum

__all__ = ["Channels", "CountsLikelihood", "PoissonCounts"]

POINTS = 6
"""Gauss-Legendre nodes between two edges."""
SAME_EDGE = 1e-6


class CountsLikelihood(ABC):
    """The distribution of ON counts in channels, given the expected counts of the source and other numbers."""

    n_parameters: int

    @abstractmethod
    def logp(self, value: Variable, signal: Variable, *parameters: Variable) -> Variable:
        """Logarithm of the probability of each channel."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, signal: FloatArray, *parameters: FloatArray) -> FloatArray:
        """Counts, of the shape of the parameters."""


@dataclass(frozen=True)
class PoissonCounts(CountsLikelihood):
    """Of a Poisson process: the parameters are the expected counts of the source and of the background."""

    n_parameters = 2

    def logp(self, value: Variable, signal: Variable, *parameters: Variable) -> Variable:
        """That of `pymc.Poisson`."""
        return pm.logp(pm.Poisson.dist(signal + parameters[0]), value)

    def draw(self, rng: np.random.Generator, signal: FloatArray, *parameters: FloatArray) -> FloatArray:
        """Poisson counts."""
        return np.asarray(rng.poisson(signal + parameters[0]))


class OnCountsRV(DrawnAtOnce):
    """``(rng, size, signal, *parameters) -> counts``, channel by channel."""

    name = "OnCounts"
    dtype = "int64"
    _print_name = ("OnCounts", "\\operatorname{OnCounts}")
    __props__ = ("name", "signature", "dtype", "inplace", "likelihood", "source")

    def __init__(self, likelihood: CountsLikelihood, source: RegionIntensity | None, **kwargs: Any) -> None:
        self.likelihood, self.source = likelihood, source
        kwargs["signature"] = f"{','.join(['()'] * likelihood.n_parameters)}->()"
        super().__init__(**kwargs)

    def rng_fn(self, rng: np.random.Generator, *inputs: Any) -> FloatArray:  # type: ignore[override]
        """Draw counts."""
        *parameters, size = inputs
        shape = np.broadcast_shapes(*(np.shape(one) for one in parameters)) if size is None else tuple(size)
        return self.likelihood.draw(rng, *(np.broadcast_to(one, shape) for one in parameters))


class OnCounts(Distribution):
    """ON counts in channels."""

    rv_type = OnCountsRV

    @classmethod
    def dist(
        cls, parameters: Any, *, likelihood: CountsLikelihood, source: RegionIntensity | None = None, **kwargs: Any
    ) -> Any:
        """Counts that belong to no model."""
        return super().dist(
            [pt.as_tensor_variable(one) for one in parameters], likelihood=likelihood, source=source, **kwargs
        )

    @classmethod
    def rv_op(
        cls,
        *parameters: Variable,
        likelihood: CountsLikelihood,
        source: RegionIntensity | None,
        size: Any = None,
        rng: Any = None,
    ) -> Any:
        """Random variable of a likelihood."""
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        op = OnCountsRV(likelihood, source)
        return op(*parameters, size=size, rng=rng, return_next_rng=True)[1]


@_logprob.register(OnCountsRV)
def _on_counts_logp(
    op: OnCountsRV, values: list[Variable], rng: Variable, size: Variable, *parameters: Variable, **kwargs: Any
) -> Variable:
    (value,) = values
    return op.likelihood.logp(value, *parameters)


@_support_point.register(OnCountsRV)
def _on_counts_support_point(op: OnCountsRV, rv: Variable, *inputs: Variable) -> Variable:
    return pt.zeros_like(rv)


@measurement_of.register(CountsSpectrum)
class Channels(Measurement):
    """Counts in the channels that are used.

    Parameters
    ----------
    data : CountsSpectrum
        The counts.
    """

    def __init__(self, data: CountsSpectrum) -> None:
        super().__init__(data)
        self.data: CountsSpectrum = data
        self.nodes = data.nodes()
        self.weights = np.ones(int(data.mask.sum()))

    @property
    def alpha(self) -> FloatArray:
        """That of the channels."""
        return np.asarray(self.data.alpha.values)

    @property
    def counts(self) -> FloatArray:
        """ON counts."""
        return np.asarray(self.data.counts.values)

    @property
    def counts_off(self) -> FloatArray:
        """OFF counts."""
        return np.asarray(self.data.counts_off.values)

    @property
    def energy_range(self) -> tuple[float, float]:
        """Outermost edges."""
        low, high = self.data.energy_range.to_value("TeV")
        return float(low), float(high)

    @cached_property
    def histogram_off(self) -> Histogram:
        """The channels from the first to the last that is used; those between that are not hold nothing."""
        used = np.flatnonzero(self.data.mask)
        counts = np.zeros(used[-1] + 1 - used[0])
        counts[used - used[0]] = self.counts_off
        return Histogram(self.data.energy.to_value("TeV")[used[0] : used[-1] + 2], counts)

    def rows_of(self, function: Callable[[FloatArray], FloatArray], cuts: FloatArray) -> FloatArray:
        """Integrals over channels."""
        x, weight = np.polynomial.legendre.leggauss(POINTS)
        edges = self.data.energy.to_value("TeV")
        low, high = self.energy_range
        every = np.unique(np.concatenate([edges, cuts]))
        every = every[(every >= low * (1 - 1e-12)) & (every <= high * (1 + 1e-12))]
        pieces: dict[int, Any] = {}
        for a, b in pairwise(np.log(every).tolist()):
            at = np.exp(0.5 * (a + b) + 0.5 * (b - a) * x)
            channel = int(np.searchsorted(edges, np.exp(0.5 * (a + b)))) - 1
            pieces[channel] = pieces.get(channel, 0.0) + 0.5 * (b - a) * (function(at) * at) @ weight
        return np.array([pieces[channel] for channel in np.flatnonzero(self.data.mask).tolist()])

    def add_coords(self, name: str, model: pm.Model) -> str:
        """The middle of the channels."""
        dims = f"{name}_channel"
        model.add_coord(dims, self.data.channel_energy)
        return dims

    def observe_off(self, name: str, background: Variable, dims: str) -> Variable:
        """OFF counts."""
        return pm.Poisson(name, background, observed=self.counts_off.astype(np.int64), dims=dims)

    def observe_on(
        self, name: str, source: RegionIntensity, signal: Variable, background: Variable | None, dims: str
    ) -> Variable:
        """ON counts of a Poisson process."""
        other = pt.zeros_like(signal) if background is None else background
        return self.observe_as(PoissonCounts(), name, source, (signal, other), dims)

    def observe_as(
        self, likelihood: CountsLikelihood, name: str, source: RegionIntensity, parameters: Any, dims: str
    ) -> Variable:
        """ON counts of any likelihood."""
        observed = self.counts.astype(np.int64)
        return OnCounts(name, parameters, likelihood=likelihood, source=source, observed=observed, dims=dims)

    def signal_of(self, name: str, signal: Variable, dims: str) -> Variable:
        """Expected counts in the channels."""
        return pm.Deterministic(name, signal, dims=dims)

    def check_signal(self, name: str, values: FloatArray) -> None:
        """See :class:`Measurement`."""
        at = self.data.channel_energy
        bad = np.zeros(0, bool) if self.has_off else (values == 0) & (self.counts > 0)
        if bad.any():
            raise ModelError(
                f"{name}: {self.name!r} has no OFF counts, and {self.counts[bad.argmax()]:g} events in the channel at "
                f"{at[bad.argmax()]:.4g} TeV, where none are expected of the source for the initial values of the "
                "parameters. Give OFF counts, or leave such channels out by mask= or select(...)."
            )
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            c = int(bad.argmax())
            raise ModelError(
                f"{name}: {values[c]:g} events of the source are expected in the channel of {self.name!r} at "
                f"{at[c]:.4g} TeV (and in {int(bad.sum())} more) for the initial values of the parameters; it must be "
                "finite and not negative. Check the parameters of the spectrum and their priors."
            )

    def flux_part(
        self, signal: Variable, background: Variable | None, value: FloatArray, energy: tuple[float, float]
    ) -> PoissonPart:
        """Channels within a range.

        Raises
        ------
        ModelError
            If channels lie across an end of it.
        """
        low, high = (self.data.energy.to_value("TeV")[k : len(self.data) + k][self.data.mask] for k in (0, 1))
        inside = (low >= energy[0] * (1 - SAME_EDGE)) & (high <= energy[1] * (1 + SAME_EDGE))
        across = ~inside & (high > energy[0] * (1 + SAME_EDGE)) & (low < energy[1] * (1 - SAME_EDGE))
        if across.any():
            c = int(across.argmax())
            raise ModelError(
                f"{int(across.sum())} channels of {self.name!r} lie across an end of {energy[0]:g}-{energy[1]:g} TeV, "
                f"the first at {low[c]:g}-{high[c]:g} TeV; choose edges among those of the channels."
            )
        chosen = np.flatnonzero(inside)
        own = signal[chosen]
        share = share_of(own, None if background is None else background[chosen])
        group = np.zeros(len(chosen), np.int64)
        return PoissonPart(share, pt.sum(own)[None], np.asarray(value, float)[chosen], group, 1)
