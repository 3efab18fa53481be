r"""Expected counts in bins, for draws of the mixture fractions.

Of :math:`N` events a fraction :math:`f_k` comes from component *k*, and those fall into bin *b* with
probability :math:`n_{kb}/c_k`, where :math:`n_{kb}` are the expected counts of the component at its nominal
flux and :math:`c_k = \sum_b n_{kb}` its acceptance. So

.. math:: \mu_{kb} = N f_k\, n_{kb} / c_k

is exact, needs no simulation, and the counts of a bin are binomial with mean :math:`\sum_k \mu_{kb}`.
"""

from dataclasses import dataclass
from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import ModelError
from pymc_gamma.events.histogram import Bins
from pymc_gamma.events.skymap import SkyMap
from pymc_gamma.geometry import RegionOfInterest

__all__ = ["SkyCells", "energy_edges", "energy_probability", "expected_counts", "replicated_counts"]

FloatArray = NDArray[np.float64]

# Points per side of a cell, over which its expected counts are averaged.
_POINTS_PER_SIDE = 4


@dataclass(frozen=True, eq=False)
class SkyCells:
    """Cells that cover a region of interest, and where the events of each component fall.

    The costly part of a counts map; pictures that show the same cells share it.

    Parameters
    ----------
    lon, lat : numpy.ndarray
        Edges of the cells in the coordinates of ``sky`` [deg]: longitude and latitude, or offsets near a pole.
    probability : numpy.ndarray
        Probability of each cell for an event of each component, shape ``(component, lat, lon)``.
    sky : SkyMap
        Coordinates of the cells.
    """

    lon: FloatArray
    lat: FloatArray
    probability: FloatArray
    sky: SkyMap

    @classmethod
    def from_response(cls, response: Any, cells: int) -> Self:
        """Divide the region of a response into ``cells`` x ``cells`` cells."""
        sky = SkyMap(response.roi.frame, response.roi.lon, response.roi.lat)
        lon, lat = _sky_edges(response.roi, sky, cells)
        if sky.polar:
            return cls(lon, lat, _normalised(_plane_counts(response, sky, lon, lat)), sky)
        step = float(lat[1] - lat[0]) / _POINTS_PER_SIDE
        counts = response.npred(lon=lon * u.deg, lat=lat * u.deg, step=step).transpose("component", "lat", "lon")
        return cls(lon, lat, _normalised(np.asarray(counts.values, dtype=np.float64)), sky)

    @property
    def bins(self) -> Bins:
        """The cells as bins of latitude and longitude, or of offsets."""
        return Bins(self.sky.frame, lon=self.lon, lat=self.lat, sky=self.sky)


def energy_probability(response: Any, edges: FloatArray) -> FloatArray:
    """Probability of each energy bin for an event of each component, shape ``(component, bin)``.

    Parameters
    ----------
    response : Response
        Has ``npred``.
    edges : numpy.ndarray
        Edges of bins that cover the energy range of the region [TeV].
    """
    counts = response.npred(energy=edges * u.TeV).transpose("component", "energy")
    return _normalised(np.asarray(counts.values, dtype=np.float64))


def expected_counts(fractions: FloatArray, probability: FloatArray, n_events: float) -> FloatArray:
    """Expected counts per draw and component, shape ``(sample, component, *bins)``.

    Parameters
    ----------
    fractions : numpy.ndarray
        Shape ``(sample, component)``.
    probability : numpy.ndarray
        Shape ``(component, *bins)``.
    n_events : float
        Number of events observed.

    Examples
    --------
    >>> import numpy as np
    >>> expected_counts(np.array([[0.25, 0.75]]), np.array([[1.0, 0.0], [0.5, 0.5]]), 8)[0].sum(axis=0)
    array([5., 3.])
    """
    if fractions.shape[1] != len(probability):
        raise ModelError(f"{fractions.shape[1]} fractions do not fit {len(probability)} components.")
    shape = (*fractions.shape, *[1] * (probability.ndim - 1))
    return np.asarray(n_events * fractions.reshape(shape) * probability)


def replicated_counts(total: FloatArray, n_events: float, rng: np.random.Generator) -> FloatArray:
    """Replicated counts of each bin, binomial around their expectation, same shape as ``total``."""
    probability = np.clip(total / n_events, 0.0, 1.0)
    return rng.binomial(round(n_events), probability).astype(np.float64)


def energy_edges(roi: RegionOfInterest, bins: int) -> FloatArray:
    """Logarithmic bins over the energy range of a region [TeV], ``bins + 1`` edges."""
    return np.asarray(np.geomspace(roi.energy_min, roi.energy_max, bins + 1), dtype=np.float64)


def _sky_edges(roi: RegionOfInterest, sky: SkyMap, bins: int) -> tuple[FloatArray, FloatArray]:
    """Bins of both coordinates of a map that cover a region [deg], ``bins + 1`` edges each."""
    # Walking along the cell edges of the region covers its boundary, also away from the equator of the frame.
    lam, beta = roi.cell_edges(0.1)
    lon, lat = sky.coordinates(*roi.from_offset(*np.meshgrid(lam, beta)))
    return (
        np.asarray(np.linspace(lon.min(), lon.max(), bins + 1), dtype=np.float64),
        np.asarray(np.linspace(lat.min(), lat.max(), bins + 1), dtype=np.float64),
    )


def _plane_counts(response: Any, sky: SkyMap, x: FloatArray, y: FloatArray) -> FloatArray:
    """Expected counts of each component in cells of a plane, up to a common factor, shape ``(component, y, x)``."""
    n, roi = _POINTS_PER_SIDE, response.roi
    fraction = (np.arange(n) + 0.5) / n
    points = [(edges[:-1, None] + np.diff(edges)[:, None] * fraction).ravel() for edges in (x, y)]
    lon, lat = sky.directions(*(axis.ravel() for axis in np.meshgrid(*points)))
    density = response.surface_density(lon, lat, np.array([roi.energy_min, roi.energy_max]))[:, 0]
    return np.asarray(density.reshape(len(density), len(y) - 1, n, len(x) - 1, n).sum(axis=(2, 4)))


def _normalised(counts: FloatArray) -> FloatArray:
    # The bins cover the region, so dividing by their sum rather than by the acceptance takes the error of the
    # quadrature inside the bins out of the total.
    axes = tuple(range(1, counts.ndim))
    return np.asarray(counts / counts.sum(axis=axes, keepdims=True))
