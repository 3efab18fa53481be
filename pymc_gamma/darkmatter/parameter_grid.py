"""Numbers on a grid of parameters, and what is between them: the same for NumPy and PyTensor.

Between them, products of monotone cubics in the logarithms of the parameters (Fritsch & Carlson 1980, SIAM J. Num.
Anal. 17, 238): smooth, exact at the numbers, with nothing that overshoots at a threshold.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from scipy.interpolate import PchipInterpolator

from pymc_gamma.arguments import ascending
from pymc_gamma.arrays import FloatArray
from pymc_gamma.tensors import joined
from pymc_gamma.units import numbers, to_value

__all__ = ["NEGLIGIBLE", "Axes", "Fractions", "Grid", "checked_axes"]

NEGLIGIBLE = 1e-6
"""Share below which a final state is left out: what a table has where there is nothing (1e-50)."""

Axes = Mapping[str, FloatArray]


class Fractions(dict[str, Any]):
    """Branching fractions by channel, and which parameters they are known for.

    Attributes
    ----------
    conditions : tuple
        As :attr:`pymc_gamma.model.spectra.Spectrum.conditions`.
    """

    def __init__(self, fractions: Mapping[str, Any], conditions: tuple[tuple[Variable, str], ...] = ()) -> None:
        super().__init__(fractions)
        self.conditions = conditions


def checked_axes(axes: Mapping[str, Any], masses: tuple[str, ...], what: str) -> dict[str, FloatArray]:
    """Values of each parameter, positive and ascending; those of masses in TeV.

    Raises
    ------
    ValueError
        If they are not.
    """
    found: dict[str, FloatArray] = {}
    for name, values in axes.items():
        label = f"{what}(axes={{{name!r}: ...}})"
        found[str(name)] = ascending(values, label, unit="TeV" if name in masses else "")
        if found[str(name)][0] <= 0:
            raise ValueError(f"{label} must be positive, got {found[str(name)][0]:g}.")
    return found


class Grid:
    """Numbers on a grid.

    Parameters
    ----------
    axes : mapping of str to numpy.ndarray
        Values of each parameter, positive and ascending.
    values : numpy.ndarray
        Numbers, shape (one axis for each parameter, n).
    masses : tuple of str
        Which parameters are masses, in TeV.
    what : str
        What holds the grid, for messages.
    """

    def __init__(self, axes: Axes, values: FloatArray, masses: tuple[str, ...], what: str) -> None:
        self.axes, self.values, self.masses, self.what = axes, values, masses, what

    def checked(self, parameters: Mapping[str, Any], method: str) -> dict[str, Any]:
        """Parameters as plain numbers or variables, in the order of the axes.

        Raises
        ------
        ValueError
            If one is missing, or a number outside the grid.
        TypeError
            If one is unknown, or no single number.
        """
        label = f"{self.what}.{method}"
        missing = [name for name in self.axes if name not in parameters]
        unknown = [name for name in parameters if name not in self.axes]
        if missing or unknown:
            wrong = TypeError if unknown else ValueError
            raise wrong(f"{label} needs the parameters {list(self.axes)}; missing {missing}, unknown {unknown}.")
        found = {}
        for name, axis in self.axes.items():
            own = f"{label}({name}=...)"
            value = joined(parameters[name], own)
            if isinstance(value, Variable):
                if value.type.ndim:
                    raise TypeError(f"{own} must be a single number, got {value.type}.")
                found[name] = value.astype("float64")
                continue
            is_mass = name in self.masses and hasattr(value, "unit")
            value = to_value(value, "TeV", own) if is_mass else numbers(value, own)
            if value.ndim:
                raise TypeError(f"{own} must be a single number, got an array of shape {value.shape}.")
            if not axis[0] <= value <= axis[-1]:
                raise ValueError(f"{own} must lie within the table, from {axis[0]:g} to {axis[-1]:g}, got {value:g}.")
            found[name] = float(value)
        return found

    def conditions(self, given: Mapping[str, Any]) -> tuple[tuple[Variable, str], ...]:
        """That variables lie within the grid, and what to tell if not."""
        return tuple(
            (
                (value >= self.axes[name][0]) & (value <= self.axes[name][-1]),
                f"{name!r} is outside the table of cross-sections, which reaches from {self.axes[name][0]:g} to "
                f"{self.axes[name][-1]:g}; give it a prior within that range and an initial value (initval=) in it.",
            )
            for name, value in given.items()
            if isinstance(value, Variable)
        )

    def at(self, given: Mapping[str, Any]) -> Any:
        """Numbers for parameters, shape (n,): those at the nearest edge outside the grid."""
        varies = any(isinstance(one, Variable) for one in given.values())
        # of the corners of the cell, weights of the values and derivatives there: (2^d, 2^d)
        place: Any = np.zeros(1, np.int64)
        weight: Any = np.ones((1, 1))
        for name, value in given.items():
            x, xp = np.log(self.axes[name]), pt if isinstance(value, Variable) else np
            axis, width = (pt.constant(x), pt.constant(np.diff(x))) if xp is pt else (x, np.diff(x))
            at = xp.clip(xp.log(value), x[0], x[-1])
            i = xp.clip(xp.searchsorted(axis, at, side="right") - 1, 0, len(x) - 2)
            s, h = (at - axis[i]) / width[i], width[i]
            low, high = [(1 + 2 * s) * (1 - s) ** 2, h * s * (1 - s) ** 2], [s**2 * (3 - 2 * s), h * s**2 * (s - 1)]
            own = xp.stack([xp.stack(low), xp.stack(high)])
            place = (place[:, None] * len(x) + (i + np.arange(2))).reshape((-1,))
            size = 2 * weight.shape[0]
            weight = (weight[:, None, :, None] * own[None, :, None, :]).reshape((size, size))
        held = (self._shared if varies else self._nodes)[place]
        return (held * weight[:, None, :]).sum(axis=(0, 2))

    @cached_property
    def _nodes(self) -> FloatArray:
        """Numbers, and derivatives along each set of axes: (n_points, n, 2^d)."""
        found = self.values
        for k, axis in enumerate(self.axes.values()):
            x = np.log(axis)
            found = np.stack([found, PchipInterpolator(x, found, axis=k).derivative()(x)], axis=-1)
        return np.ascontiguousarray(found.reshape(-1, self.values.shape[-1], 2 ** len(self.axes)))

    @cached_property
    def _shared(self) -> Any:
        return pytensor.shared(self._nodes, name="table", borrow=True)
