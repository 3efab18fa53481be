r"""A shift of the energy scale, as a change of the spectrum.

If the energies that the response knows are :math:`\tilde E = s E`, photons of energy :math:`E` are dispersed and
blurred as the response says for :math:`s E`, while as many of them pass the effective area :math:`A(E)` as before. Then

.. math:: \int \phi(E)\, A(E)\, R(E' | s E)\, \mathrm{d}E = \int \tilde\phi(\tilde E)\, A(\tilde E)\,
          R(E' | \tilde E)\, \mathrm{d}\tilde E, \qquad
          \tilde\phi(\tilde E) = \frac{1}{s}\, \phi\Big(\frac{\tilde E}{s}\Big)\,
          \frac{A(\tilde E / s)}{A(\tilde E)} :

the columns of a component of free spectrum stay as they are, whatever the scale. For an extended source :math:`A` is
its mean over the brightness, and for several observations that over them, with a warning where they differ.

`IRFs.distorted` changes the energies that come out of the dispersion instead, :math:`R(E'/s \,|\, E)/s`. The two agree
where the dispersion depends slowly on the energy. Near the threshold, where only upward fluctuations trigger, they are
different models of what is wrong.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError, PymcGammaWarning
from pymc_gamma.flux import is_gammapy_model, spectrum_values
from pymc_gamma.folding.nodes import NODE_STEP, bends_between
from pymc_gamma.folding.tables import IN_BIN_INDEX
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.protocol import PoissonResponse
from pymc_gamma.model.spectra import FLUX, conditions_of, is_smooth
from pymc_gamma.model.systematics.base import Systematic
from pymc_gamma.units import numbers

__all__ = ["EnergyScale", "shift_spectrum"]


_STEP, _FINE_STEP = 0.02, 0.5 * NODE_STEP
_REACH = 1.0
"""Width of the cells of the tables of exposures and of spectra, and their reach beyond the true energies, in the
logarithm of the energy. Effective areas are straight between the nodes of a file: cells narrower than their noise would
only show the kinks, which a Hessian takes for information on the scale."""
SMOOTH_STEP = 0.028
"""Step in the logarithm of the energy in which features are looked for."""
_TINY = float(np.finfo(np.float64).tiny)
_STEEPEST = 15.0
"""Largest power of the energy in the effective area: near the threshold it rises as about the tenth."""
_BRIGHT = 0.1
"""Share of the largest rate of detected photons above which effective areas are compared."""


class _Table:
    """A positive function of the energy between equidistant nodes of log E, constant beyond.

    Its logarithm is a Catmull-Rom spline: samplers need a slope without jumps.
    """

    def __init__(self, energy: FloatArray, values: FloatArray) -> None:
        self._first, self._step = float(np.log(energy[0])), float(np.log(energy[1] / energy[0]))
        self._logs = np.log(np.maximum(values, _TINY))

    @property
    def smooth(self) -> bool:
        """Whether the function times a power of the energy has no narrow features."""
        every = round(SMOOTH_STEP / self._step)
        at = np.exp(self._first + self._step * np.arange(0, len(self._logs), every))
        return not bends_between(np.exp(self._logs[::every]), at)

    def log(self, log_energy: Variable) -> Variable:
        """Logarithm of the function."""
        n = len(self._logs)
        position = pt.clip((log_energy - self._first) / self._step, 1, n - 2)
        node = pt.minimum(pt.floor(position).astype("int64"), n - 3)
        t = position - node
        logs = pt.constant(self._logs)
        a, b, c, d = (logs[node + shift] for shift in (-1, 0, 1, 2))
        return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


@dataclass(frozen=True, eq=False)
class EnergyScale(Systematic):
    """Factor on the energies that the response assumes for gamma rays; prior LogNormal(0, ``sigma``).

    A photon of energy E is dispersed and blurred like one of the factor times E
    (:mod:`pymc_gamma.model.systematics.energy_scale`), while the effective area stays. The residual background stays
    too: it was measured in reconstructed energies. All sky components must be of free spectrum. There is one factor for
    all observations by default; a ``value`` with an entry for each is one for each.

    Parameters
    ----------
    sigma : float
        Width of the prior.
    value : TensorVariable or float, optional
        Instead of the default prior.
    shift_area : bool
        Whether the effective area shifts too, as that of a telescope which sees less light than its simulation: a
        photon of energy E then is detected, too, like one of the factor times E (Nigro et al. 2019, A&A 625, A10).
    """

    shift_area: bool = False
    variable: ClassVar[str] = "energy_scale"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.shift_area, bool | np.bool_):
            raise TypeError(f"EnergyScale(shift_area=...) must be True or False, got {self.shift_area!r}.")
        if self.value is not None and not isinstance(self.value, Variable):
            label = "EnergyScale(value=...)"
            if not np.all(numbers(self.value, label) > 0):
                raise ValueError(f"{label} must be positive, a factor on energies, got {self.value}.")

    def prior(self, n_observations: int, energy: FloatArray) -> Variable:
        """Variable ``energy_scale``."""
        return pm.LogNormal(self.variable, 0.0, self.sigma)

    def shapes(self, n_observations: int, energy: FloatArray) -> list[tuple[int, ...]]:
        """One number, or one for each observation."""
        return [(), (n_observations,)]

    def act(self, component: ModelComponent, value: Variable) -> ModelComponent:
        """The spectrum as the response sees it."""
        if "edisp" not in component.irfs:
            return component
        component.check_free()
        if component.separate and value.type.ndim == 0:
            # each observation by its own effective area, instead of all by their mean
            value = value * pt.ones(component.n_observations)
        return component.with_spectrum(
            shift_spectrum(
                component.spectrum, component.response, component.name, value, shift_area=bool(self.shift_area)
            )
        )


def shift_spectrum(
    spectrum: Callable[[Any], Any] | None,
    response: PoissonResponse,
    component: str,
    scale: Variable,
    *,
    shift_area: bool = False,
) -> Callable[[FloatArray], Variable]:
    """Spectrum of a component as the response sees it if its energies are off by a factor.

    Parameters
    ----------
    spectrum : callable or None
        Spectrum in TeV-1 cm-2 s-1 as a function of the true energy in TeV; None for that of the response.
    response : PoissonResponse
        Knows the exposure.
    component : str
        Name of the component.
    scale : TensorVariable
        The factor, for all observations or for each, shape (n_observations,).
    shift_area : bool
        Whether the effective area shifts too.

    Returns
    -------
    callable
        From energies of the response in TeV (n,) to TeV-1 cm-2 s-1, with a row for each observation if the factor has
        an entry for each.
    """
    low, high = np.log(response.energy_true[[0, -1]])
    grid, fine = (np.exp(np.arange(low - _REACH, high + _REACH + step, step)) for step in (_STEP, _FINE_STEP))
    inside = np.clip(grid, np.exp(low), np.exp(high))
    exposures = response.mean_exposure(component, inside)
    if scale.type.ndim == 0:
        if not shift_area:
            _compare(component, exposures, grid)
        exposures = exposures.sum(axis=0, keepdims=True)
    areas = [_Table(grid, _without_cliffs(exposure)) for exposure in exposures]
    tabulated = None
    if spectrum is None:
        inside = np.clip(fine, np.exp(low), np.exp(high))
        tabulated = _Table(fine, _extended(response.nominal_flux(component, inside), fine, inside))
    elif is_gammapy_model(spectrum):
        tabulated = _Table(fine, spectrum_values(spectrum, fine, FLUX, component))

    def seen(energy: FloatArray, one: Variable, exposure: _Table) -> Variable:
        log_energy = pt.constant(np.log(energy))
        positive = one > 0
        before = log_energy - pt.log(pt.switch(positive, one, 1.0))
        one = pt.switch(positive, one, np.nan)  # without a meaning: nothing is known then, and events are impossible
        if tabulated is not None:
            log_flux = tabulated.log(before)
            flux = pt.switch(log_flux <= np.log(2 * _TINY), 0.0, pt.exp(log_flux))
        else:
            assert spectrum is not None
            try:
                flux = spectrum(pt.exp(before))
            except (TypeError, ValueError, NotImplementedError) as error:
                raise ModelError(
                    f"the spectrum of {component!r} must take a PyTensor vector of energies where EnergyScale shifts "
                    f"them, and failed with: {error}"
                ) from error
        return flux / one if shift_area else flux * pt.exp(exposure.log(before) - exposure.log(log_energy)) / one

    def shifted(energy: FloatArray) -> Variable:
        if scale.type.ndim == 0:
            return seen(energy, scale, areas[0])
        return pt.stack([one(energy) for one in each])

    def of_observation(o: int) -> Callable[[FloatArray], Variable]:
        def row(energy: FloatArray) -> Variable:
            found = seen(energy, scale[o], areas[o])
            # a spectrum that differs between observations has its own row for each of them
            return found[o] if found.type.ndim > 1 else found

        return row

    each = () if scale.type.ndim == 0 else tuple(of_observation(o) for o in range(len(areas)))
    smooth = is_smooth(spectrum) or (tabulated is not None and tabulated.smooth)
    return _Shifted(shifted, smooth, conditions_of(spectrum), each)


@dataclass(frozen=True)
class _Shifted:
    """A function of the energy, whether it has no narrow features, what its parameters must fulfil, and its rows."""

    function: Callable[[FloatArray], Variable]
    smooth: bool
    conditions: tuple[tuple[Variable, str], ...]
    each: tuple[Callable[[FloatArray], Variable], ...] = ()

    def __call__(self, energy: FloatArray) -> Variable:
        return self.function(energy)


def _without_cliffs(values: FloatArray) -> FloatArray:
    """Values that rise and fall at most as a high power of the energy: what is dark has no logarithm."""
    logs = np.log(np.maximum(values, _TINY))
    most = _STEEPEST * _STEP
    for i in range(len(logs) - 2, -1, -1):
        logs[i] = max(logs[i], logs[i + 1] - most)
    for i in range(1, len(logs)):
        logs[i] = max(logs[i], logs[i - 1] - most)
    return np.asarray(np.exp(logs))


def _compare(component: str, exposures: FloatArray, energy: FloatArray) -> None:
    """Warn if the effective areas of several observations have different slopes where they see most of a source."""
    total = exposures.sum(axis=0)
    rate = exposures * energy ** (1 - IN_BIN_INDEX)
    bright = (rate > _BRIGHT * rate.max(axis=1, keepdims=True)).all(axis=0)
    if len(exposures) < 2 or bright.sum() < 2:
        return
    slopes = np.gradient(np.log(exposures[:, bright]), _STEP, axis=1)
    mean = np.gradient(np.log(total[bright]), _STEP)
    worst = float(np.abs(slopes - mean).max())
    if worst > 1:
        warnings.warn(
            f"EnergyScale shifts energies under the mean effective area of all observations for {component!r}; that of "
            f"one is steeper or flatter by a power of E up to {worst:.1f} where it matters, so that a scale of 1.1 is "
            f"wrong by up to {0.1 * worst:.0%} of the flux at some energies.",
            PymcGammaWarning,
            stacklevel=2,
        )


def _extended(values: FloatArray, grid: FloatArray, inside: FloatArray) -> FloatArray:
    """Values beyond the nodes of a response continued as power laws."""
    logs, x = np.log(np.maximum(values, _TINY)), np.log(grid)
    within = np.flatnonzero(grid == inside)
    a, b = within[0], within[-1]
    logs[:a] = logs[a] + (logs[a + 1] - logs[a]) / (x[a + 1] - x[a]) * (x[:a] - x[a])
    logs[b + 1 :] = logs[b] + (logs[b] - logs[b - 1]) / (x[b] - x[b - 1]) * (x[b + 1 :] - x[b])
    return np.asarray(np.exp(np.maximum(logs, np.log(_TINY))))
