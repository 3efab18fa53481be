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

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.events.histogram import Bins
from pymc_gamma.events.skymap import SkyMap
from pymc_gamma.geometry import RegionOfInterest

__all__ = ["SkyCells", "energy_edges", "energy_probability", "expected_counts", "replicated_counts"]


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
    observation : int, optional
        Index of the only observation that counts; the probabilities sum to its share of the events.
    """

    lon: FloatArray
    lat: FloatArray
    probability: FloatArray
    sky: SkyMap
    observation: int | None = None

    @classmethod
    def from_response(cls, response: Any, cells: int, observation: int | str | None = None) -> Self:
        """Divide the region of a response into ``cells`` x ``cells`` cells."""
        index = None if observation is None else response.observation_index(observation)
        sky = SkyMap(response.roi.frame, response.roi.lon, response.roi.lat)
        lon, lat = _sky_edges(response.roi, sky, cells)
        return cls(lon, lat, _cell_probability(response, sky, lon, lat, index), sky, index)

    def of_observation(self, response: Any, observation: int | None) -> "SkyCells":
        """The same cells with the probabilities of one observation, or of all."""
        if observation == self.observation:
            return self
        probability = _cell_probability(response, self.sky, self.lon, self.lat, observation)
        return SkyCells(self.lon, self.lat, probability, self.sky, observation)

    @property
    def bins(self) -> Bins:
        """The cells as bins of latitude and longitude, or of offsets."""
        return Bins(self.sky.frame, lon=self.lon, lat=self.lat, sky=self.sky)


def _cell_probability(
    response: Any, sky: SkyMap, lon: FloatArray, lat: FloatArray, observation: int | None
) -> FloatArray:
    if sky.polar:
        counts = _plane_counts(response, sky, lon, lat, observation)
    else:
        step = float(lat[1] - lat[0]) / _POINTS_PER_SIDE
        found = response.npred(lon=lon * u.deg, lat=lat * u.deg, step=step * u.deg, observation=observation)
        counts = np.asarray(found.transpose("component", "lat", "lon").values, dtype=np.float64)
    return _normalised(counts, _share(response, observation))


def energy_probability(response: Any, edges: FloatArray, observation: int | None = None) -> FloatArray:
    """Probability of each energy bin for an event of each component, shape ``(component, bin)``.

    Parameters
    ----------
    response : Response
        Has ``npred``.
    edges : numpy.ndarray
        Edges of bins that cover the energy range of the region [TeV].
    observation : int, optional
        Index of the only observation that counts; the probabilities then sum to its share of the events.
    """
    counts = response.npred(energy=edges * u.TeV, observation=observation).transpose("component", "energy")
    return _normalised(np.asarray(counts.values, dtype=np.float64), _share(response, observation))


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


def _plane_counts(response: Any, sky: SkyMap, x: FloatArray, y: FloatArray, observation: int | None) -> FloatArray:
    """Expected counts of each component in cells of a plane, up to a common factor, shape ``(component, y, x)``."""
    n, roi = _POINTS_PER_SIDE, response.roi
    fraction = (np.arange(n) + 0.5) / n
    points = [(edges[:-1, None] + np.diff(edges)[:, None] * fraction).ravel() for edges in (x, y)]
    lon, lat = sky.directions(*(axis.ravel() for axis in np.meshgrid(*points)))
    span = np.array([roi.energy_min, roi.energy_max])
    density = response.surface_density(lon, lat, span, observation=observation)[:, 0]
    return np.asarray(density.reshape(len(density), len(y) - 1, n, len(x) - 1, n).sum(axis=(2, 4)))


def _share(response: Any, observation: int | None) -> FloatArray | float:
    """Share of the events of each component that one observation takes, shape ``(component,)``; 1 for all."""
    if observation is None:
        return 1.0
    counts = response.acceptance_by_observation.transpose("component", "observation").values
    return np.asarray(counts[:, observation] / counts.sum(axis=1))


def _normalised(counts: FloatArray, share: FloatArray | float) -> FloatArray:
    # The bins cover the region, so dividing by their sum rather than by the acceptance takes the error of the
    # quadrature inside the bins out of the total.
    total = counts.reshape(len(counts), -1).sum(axis=1)
    # an observation may not see a component at all
    factor = np.divide(share, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(counts * factor.reshape(-1, *[1] * (counts.ndim - 1)))
