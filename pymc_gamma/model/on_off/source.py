"""The source and the background of an ON region, for estimators of fluxes and significances."""

from collections.abc import Sequence
from typing import NamedTuple

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.on_off.measurement import Measurement, RegionIntensity
from pymc_gamma.model.parts import FluxPart
from pymc_gamma.model.poisson import emitted_flux

__all__ = ["BACKGROUND", "RegionSource", "row_of"]

BACKGROUND = "background"
"""Name of what the OFF region measures, as a component."""


class RegionObservation(NamedTuple):
    """What estimators ask of an observation.

    Attributes
    ----------
    name : str
        Of the data set.
    livetime_s : float
        Seconds; 1 where it is not known.
    good_time_s : numpy.ndarray or None
        Intervals, shape (n, 2).
    """

    name: str
    livetime_s: float
    good_time_s: FloatArray | None


class RegionSource(RegionIntensity):
    """A source in one data set; a :class:`~pymc_gamma.model.parts.FluxSource`.

    Parameters
    ----------
    component : ModelComponent
        The source before any systematic acts on it, in all data sets.
    k, n : int
        Which data set of how many.
    measurement : Measurement
        The data.
    signal, background : TensorVariable
        Rows of the source and of the background in the ON region; None without a background.
    refusal : str
        Why there are no parts of the data; empty if there are.
    """

    def __init__(
        self,
        component: ModelComponent,
        k: int,
        n: int,
        measurement: Measurement,
        signal: Variable,
        background: Variable | None,
        refusal: str = "",
    ) -> None:
        self._component, self._k, self._n = component, k, n
        self._measurement, self._signal, self._background, self._refusal = measurement, signal, background, refusal
        self.component_names = (component.name, BACKGROUND) if measurement.has_off else (component.name,)

    @property
    def energy_range(self) -> tuple[float, float]:
        """Reconstructed energies of the data in TeV."""
        return self._measurement.energy_range

    @property
    def observations(self) -> Sequence[RegionObservation]:
        """The data set."""
        data = self._measurement.data
        livetime = 1.0 if data.livetime is None else float(data.livetime.to_value("s"))
        return (RegionObservation(self._measurement.name, livetime, data.good_time_s),)

    def flux(self, component: str, energy: FloatArray) -> Variable:
        """Flux of the source, TeV-1 cm-2 s-1 at true energies in TeV (n,), shape (n,).

        Raises
        ------
        ModelError
            If the component is the background.
        """
        self._check(component)
        return row_of(component, emitted_flux(self._component, energy), self._k, self._n, energy.shape)

    def flux_part(self, component: str, value: FloatArray, energy: tuple[float, float]) -> FluxPart:
        """The part of observed ON events with reconstructed energies in a range in TeV; one group.

        Raises
        ------
        ModelError
            If the component is the background, or the likelihood of the data is not that of a Poisson process.
        RegionError
            If the data have no such energies.
        """
        self._check(component)
        if self._refusal:
            raise ModelError(f"{self._measurement.name!r}: {self._refusal}")
        return self._measurement.flux_part(self._signal, self._background, value, energy)

    def without(self, component: str, inputs: Sequence[Variable]) -> list[Variable]:
        """Parameters of the random variable where a component is absent."""
        signal, *others = inputs
        if component == BACKGROUND:
            raise ModelError("the background of ON and OFF regions is measured; a model without it says nothing.")
        return [pt.zeros_like(signal), *others]

    def _check(self, component: str) -> None:
        if component != self._component.name:
            raise ModelError(
                f"{component!r} is the background of the region, which has no flux; choose {self._component.name!r}."
            )


def row_of(name: str, values: Variable, k: int, n: int, shape: tuple[int | None, ...]) -> Variable:
    """The values of the k-th of n data sets, of a shape, where there is a row for each.

    Raises
    ------
    ModelError
        If there are rows for another number of data sets, or values for another number of energies.
    """
    given = values.type.shape
    fits = zip(reversed(given), reversed(shape), strict=False)
    if len(given) > len(shape) + 1 or any(None not in pair and pair[0] not in (1, pair[1]) for pair in fits):
        raise ModelError(
            f"the spectrum of {name!r} must have one value for each energy it is called with, shape {shape}, or a row "
            f"of these for each of the {n} data sets; got the shape {given}."
        )
    if len(given) <= len(shape):
        return values
    if given[0] not in (None, n):
        raise ModelError(
            f"the spectrum of {name!r} has parameters for {given[0]} observations, and there "
            f"{'is 1 data set' if n == 1 else f'are {n} data sets'}; give a number, or one for each."
        )
    return values[k]
