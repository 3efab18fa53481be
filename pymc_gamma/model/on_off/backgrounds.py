r"""What is assumed of the background of an ON region, of which an OFF region is the measurement.

In channel :math:`c` the ON counts are :math:`n \sim \mathrm{Poisson}(s + \alpha b)` and the OFF counts
:math:`m \sim \mathrm{Poisson}(b)`. With a flat prior on :math:`b \ge 0` of each channel by itself,
:math:`b | m \sim \mathrm{Gamma}(m + 1, 1)`, and the integral over it is (Loredo 1992; Nosek & Noskova 2016)

.. math:: p(n | s, m) = e^{-s} \sum_{k=0}^n \frac{s^{n-k}}{(n-k)!}\, \binom{m + k}{k}\,
          \frac{\alpha^k}{(1+\alpha)^{m+k+1}} ,

the sum over how many of the ON counts are background, a negative binomial number. The flat prior expects one event
more in each channel than there were OFF, so :math:`\alpha` events of the background too many in each channel, which
matters where channels hold few. The profile likelihood puts the :math:`b` that maximises the product of both Poisson
probabilities (WStat: Cash 1979; Wachter et al. 1979; XSPEC manual, appendix B). It is no probability of the data, and
biased where they are few.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.model.on_off.channels import Channels, CountsLikelihood
from pymc_gamma.model.on_off.measurement import Measurement, RegionIntensity

__all__ = ["FlatBackground", "OffBackground", "ProfiledBackground"]


NO_PARTS = (
    "the flux in parts of the data needs the background of each, which is integrated out or profiled here; observe "
    "them with background=MeasuredBackground()."
)

MOST_TERMS = 5_000_000
"""Of the sums of one data set; 40 MB for each intermediate result."""


class SourceOf(Protocol):
    """Makes what the observed variable is made of known to estimators."""

    def __call__(self, background: Variable | None, refusal: str = "") -> RegionIntensity:
        """For the background of the ON region; with a reason why there are no parts of the data, if so."""
        ...


class OffBackground(ABC):
    """An assumption about the background of an ON region; derive a class with :meth:`observe` to make another one."""

    @abstractmethod
    def observe(self, name: str, data: Measurement, signal: Variable, source: SourceOf, dims: str) -> Variable:
        """Add the observed data to the model on the context stack.

        Parameters
        ----------
        name : str
            Of the variable of ON events, and the beginning of the names of all others.
        data : Measurement
            ON and OFF data, by their rows; it adds what is observed to the model (``observe_on``, ``observe_off``).
        signal : TensorVariable
            Rows of the source, shape (n_rows,).
        source : callable
            From the rows of the background in the ON region to what ``observe_on`` asks for.
        dims : str
            Dim of the variable of ON events.

        Returns
        -------
        TensorVariable
            The ON events.
        """


@dataclass(frozen=True)
class FlatBackground(OffBackground):
    """A flat prior on the background of each channel by itself, integrated out.

    Exact and without parameters, for OFF regions that hold many events in each channel; where they hold few, take
    `MeasuredBackground`, which knows that a background is smooth.
    """

    def observe(self, name: str, data: Measurement, signal: Variable, source: SourceOf, dims: str) -> Variable:
        """ON counts whose distribution is that for given OFF counts.

        Raises
        ------
        ModelError
            If the events are not counted in channels, or so many that the sums over them would fill the memory.
        """
        channels = _channels(name, data, "FlatBackground is a prior of the background of each channel")
        most = int(channels.counts.max())
        if (most + 1) * channels.n_rows > MOST_TERMS:
            raise ModelError(
                f"{name}: FlatBackground sums over how many ON counts are background, up to {most} in each of the "
                f"{channels.n_rows} channels of {data.name!r}, which takes too long. Use MeasuredBackground(), which "
                "differs little where counts are many."
            )
        parameters = (signal, channels.counts_off, channels.alpha)
        return channels.observe_as(FlatCounts(), name, source(None, NO_PARTS), parameters, dims)


@dataclass(frozen=True)
class ProfiledBackground(OffBackground):
    """The background that fits best in each channel: the statistic WStat, to compare with other programs.

    The logarithm of the probability is -WStat/2. There are no predictive draws: it is no probability of data.
    """

    def observe(self, name: str, data: Measurement, signal: Variable, source: SourceOf, dims: str) -> Variable:
        """ON counts with -WStat/2 as the logarithm of their probability.

        Raises
        ------
        ModelError
            If the events are not counted in channels.
        """
        channels = _channels(name, data, "WStat has a background in each channel")
        parameters = (signal, channels.counts_off, channels.alpha)
        return channels.observe_as(ProfiledCounts(), name, source(None, NO_PARTS), parameters, dims)


def _channels(name: str, data: Measurement, why: str) -> Channels:
    if not isinstance(data, Channels):
        raise ModelError(
            f"{name}: {why}, and the events of {data.name!r} are observed one by one. Use MeasuredBackground(), or "
            "count them in channels, OnOffEvents.binned(edges)."
        )
    return data


@dataclass(frozen=True)
class FlatCounts(CountsLikelihood):
    """ON counts for given OFF counts: the parameters are the expected counts of the source, OFF counts and alpha."""

    n_parameters = 3

    def logp(self, value: Variable, signal: Variable, *parameters: Variable) -> Variable:
        """Logarithm of the sum of the module."""
        off, alpha = parameters
        n = value.astype("float64")[..., None]
        k = pt.arange(pt.max(value) + 1).astype("float64")
        m, a = pt.as_tensor_variable(off).astype("float64")[..., None], pt.as_tensor_variable(alpha)[..., None]
        left = pt.maximum(n - k, 0.0)
        s = pt.as_tensor_variable(signal)[..., None]
        # logarithms of positive numbers alone: derivatives of the others would be lost in channels that see no source
        log_signal = pt.switch(pt.gt(s, 0.0), left * pt.log(pt.switch(pt.gt(s, 0.0), s, 1.0)), -np.inf)
        log_signal = pt.switch(pt.eq(left, 0.0), 0.0, log_signal)
        terms = (
            log_signal
            - pt.gammaln(left + 1)
            + pt.gammaln(m + k + 1)
            - pt.gammaln(k + 1)
            - pt.gammaln(m + 1)
            + k * pt.log(a)
            - (m + k + 1) * pt.log1p(a)
        )
        terms = pt.switch(k <= n, terms, -np.inf)
        total = pt.logsumexp(terms, axis=-1) - pt.as_tensor_variable(signal)
        return pt.switch((value >= 0) & (signal >= 0), total, -np.inf)

    def draw(self, rng: np.random.Generator, signal: FloatArray, *parameters: FloatArray) -> FloatArray:
        """Counts of a background that is drawn from what OFF counts say of it."""
        off, alpha = parameters
        return np.asarray(rng.poisson(signal + alpha * rng.gamma(off + 1.0)))


@dataclass(frozen=True)
class ProfiledCounts(CountsLikelihood):
    """Of the background that fits best; the parameters are those of `FlatCounts`."""

    n_parameters = 3

    def logp(self, value: Variable, signal: Variable, *parameters: Variable) -> Variable:
        """-WStat/2."""
        off, alpha = parameters
        n, m = value.astype("float64"), pt.as_tensor_variable(off).astype("float64")
        a, s = pt.as_tensor_variable(alpha), pt.as_tensor_variable(signal)
        middle = a * (n + m) - (1 + a) * s
        square = middle**2 + 4 * a * (a + 1) * pt.maximum(m, 0.5) * s
        root = pt.sqrt(pt.switch(square > 0, square, 1.0))  # without counts and source it is not needed
        # the larger root, without a difference of nearly equal numbers
        with_off = pt.switch(
            middle > 0, (middle + root) / (2 * a * (a + 1)), 2 * m * s / pt.switch(middle > 0, 1.0, root - middle)
        )
        background = pt.switch(m > 0, with_off, pt.maximum(n / (1 + a) - s / a, 0.0))

        def deviance(count: Variable, expected: Variable) -> Variable:
            """Expected less observed, and what the logarithms say, of a count; 0 where both are."""
            seen = count > 0
            ratio = pt.switch(seen, count, 1.0) / pt.switch(seen, expected, 1.0)
            return expected - count + pt.switch(seen, count * pt.log(ratio), 0.0)

        total = -deviance(n, s + a * background) - deviance(m, background)
        return pt.switch((value >= 0) & (signal >= 0), total, -np.inf)

    def draw(self, rng: np.random.Generator, signal: FloatArray, *parameters: FloatArray) -> FloatArray:
        """None."""
        raise ModelError(
            "ProfiledBackground has no predictive draws: WStat is no probability of data. Use MeasuredBackground() or "
            "FlatBackground()."
        )
