"""Sources compiled to plain arrays.

Spectra are tabulated at nodes of true energy (:mod:`pymc_gamma.folding.nodes`). What is stored here is also what a
saved response holds, so a response can be loaded without the sky models that made it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.raster import Raster
from pymc_gamma.geometry import gaussian_nodes

__all__ = ["Analytic", "Template"]


@dataclass(frozen=True)
class Analytic:
    """Point and Gaussian sources.

    Attributes
    ----------
    names : tuple of str
        One per source.
    vectors : numpy.ndarray
        Unit vectors of their positions, shape (n, 3).
    variance : numpy.ndarray
        Variances along the major axis in deg2, 0 for points, shape (n,).
    minor_variance : numpy.ndarray
        Variances along the minor axis in deg2, those of the major axis for points and round Gaussians, shape (n,).
    major_axis : numpy.ndarray
        Unit vectors along the major axis, tangent to the sphere at the source, shape (n, 3).
    flux : numpy.ndarray
        TeV-1 cm-2 s-1 on the spectrum nodes, shape (n, n_nodes).
    """

    names: tuple[str, ...]
    vectors: FloatArray
    variance: FloatArray
    minor_variance: FloatArray
    major_axis: FloatArray
    flux: FloatArray

    @property
    def elongated(self) -> NDArray[np.bool_]:
        """Which sources are elongated, shape (n,)."""
        return np.asarray(self.minor_variance != self.variance)

    def nodes(self, p: int, radii: int, azimuths: int) -> tuple[FloatArray, FloatArray]:
        """Quadrature nodes of the brightness of source *p*; see :func:`pymc_gamma.geometry.gaussian_nodes`."""
        return gaussian_nodes(
            self.vectors[p], self.variance[p], radii, azimuths, self.minor_variance[p], self.major_axis[p]
        )


@dataclass(frozen=True)
class Template:
    """A source of any other brightness: its raster, and its spectrum on the nodes."""

    name: str
    raster: Raster
    flux: FloatArray
