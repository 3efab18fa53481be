r"""A disc of constant brightness, :math:`S = 1 / \pi R^2` within the radius :math:`R`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import j1

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.live_shapes.base import Limits, LiveShape, is_number
from pymc_gamma.folding.live_shapes.radial import RadialFamily

__all__ = ["DiskFamily", "DiskShape"]

SHARP = 0.02
"""Share of the radius over which the edge of a disc may fall off."""


class DiskFamily(RadialFamily):
    """Sums of discs."""

    def brightness(self, y: FloatArray) -> FloatArray:
        """See :class:`RadialFamily`."""
        return np.full_like(y, 1 / math.pi)

    def transform(self, wave: FloatArray, size: float) -> FloatArray:
        """See :class:`Family`; the size is the radius in deg."""
        x = np.maximum(wave * size, 1e-6)
        return np.asarray(2 * j1(x) / x)


@dataclass(frozen=True, eq=False)
class DiskShape(LiveShape):
    """A round disc, as gammapy's ``DiskSpatialModel`` with ``e = 0`` and a sharp edge.

    Parameters
    ----------
    lon_0, lat_0 : float or variable
        Position in deg.
    r_0 : float or variable
        Radius in deg.

    Raises
    ------
    SkyModelError
        If a number is not finite, or ``r_0`` not positive.

    Examples
    --------
    >>> [round(value, 6) for value in DiskShape(83.6, 22.0, r_0=0.2).own]
    [0.01, 0.2, 1.0]
    """

    lon_0: Any
    lat_0: Any
    r_0: Any
    family = DiskFamily()
    extents = ("r_0",)
    model = "DiskSpatialModel"

    def __post_init__(self) -> None:
        self.check()
        if is_number(self.r_0) and not self.r_0 > 0:
            raise self._refuse("r_0", "of more than 0 deg")

    @classmethod
    def of(cls, lon: float, lat: float, parameters: Mapping[str, float]) -> "DiskShape | None":
        """See :class:`LiveShape`; none for elongated discs and those of a wide edge."""
        round_ = parameters["e"] == 0 and parameters["edge_width"] <= SHARP
        return cls(lon, lat, parameters["r_0"]) if round_ else None

    @property
    def own(self) -> tuple[Any, ...]:
        """One term."""
        return 0.25 * self.r_0 * self.r_0, self.r_0, 1.0

    def limits(self) -> Limits:
        """Radii from a third to twice that of the reference."""
        return {"r_0": (self.r_0 / 3, 2 * self.r_0)}

    def sizes(self, limits: Limits) -> tuple[float, float, float]:
        """Radii."""
        return *limits["r_0"], 0.0
