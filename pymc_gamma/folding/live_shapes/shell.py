r"""A shell of constant emissivity between two spheres, seen in projection.

A ball of radius :math:`R` has the projected brightness :math:`\sqrt{R^2 - r^2}`, and a shell is the difference of two,

.. math:: S = \frac{3}{2\pi (R_o^3 - R_i^3)}
    \left( \sqrt{R_o^2 - r^2} - \sqrt{R_i^2 - r^2} \right) ,

each root where it is real. With balls of unit integral the amplitudes are :math:`R_o^3/(R_o^3 - R_i^3)` and
:math:`-R_i^3/(R_o^3 - R_i^3)`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.live_shapes.base import Limits, LiveShape, is_number
from pymc_gamma.folding.live_shapes.radial import RadialFamily

__all__ = ["BallFamily", "ShellShape"]


class BallFamily(RadialFamily):
    """Sums of projected balls."""

    def brightness(self, y: FloatArray) -> FloatArray:
        """See :class:`RadialFamily`."""
        return np.asarray(3 * y / (2 * math.pi))

    def transform(self, wave: FloatArray, size: float) -> FloatArray:
        """See :class:`Family`; the size is the radius in deg."""
        x = wave * size
        safe = np.maximum(x, 1e-2)
        series = 1 - x**2 / 10 + x**4 / 280
        return np.where(x < 1e-2, series, 3 * (np.sin(safe) - safe * np.cos(safe)) / safe**3)


@dataclass(frozen=True, eq=False)
class ShellShape(LiveShape):
    """A projected shell, as gammapy's ``ShellSpatialModel``.

    Parameters
    ----------
    lon_0, lat_0 : float or variable
        Position in deg.
    radius : float or variable
        Inner radius in deg.
    width : float or variable
        Outer less inner radius in deg.

    Raises
    ------
    SkyModelError
        If a number is not finite, or ``radius`` or ``width`` not positive.

    Examples
    --------
    >>> [round(value, 4) for value in ShellShape(258.4, -39.8, radius=0.4, width=0.2).own]
    [0.0888, 0.6, 1.4211, 0.4, -0.4211]
    """

    lon_0: Any
    lat_0: Any
    radius: Any
    width: Any
    family = BallFamily()
    extents = ("radius", "width")
    model = "ShellSpatialModel"

    def __post_init__(self) -> None:
        self.check()
        for name in self.extents:
            value = getattr(self, name)
            if is_number(value) and not value > 0:
                raise self._refuse(name, "of more than 0 deg")

    @property
    def own(self) -> tuple[Any, ...]:
        """Two terms; the amplitudes without a difference of cubes."""
        inner, outer = self.radius, self.radius + self.width
        volume = self.width * (outer * outer + outer * inner + inner * inner)
        a, b = outer**3 / volume, -(inner**3) / volume
        return (a * outer * outer + b * inner * inner) / 5, outer, a, inner, b

    def limits(self) -> Limits:
        """Inner radii from a third to one and a half times that of the reference, widths from a fifth to twice its."""
        return {"radius": (self.radius / 3, 1.5 * self.radius), "width": (self.width / 5, 2 * self.width)}

    def sizes(self, limits: Limits) -> tuple[float, float, float]:
        """Inner and outer radii."""
        (low, high), (_, wide) = limits["radius"], limits["width"]
        return low, high + wide, 0.0
