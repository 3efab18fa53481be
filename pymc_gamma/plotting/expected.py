r"""Expected counts in bins, for draws of the mixture fractions.

Of :math:`N` events a fraction :math:`f_k` comes from component *k*, and those fall into bin *b* with
probability :math:`n_{kb}/c_k`, where :math:`n_{kb}` are the expected counts of the component at its nominal
flux and :math:`c_k = \sum_b n_{kb}` its acceptance. So

.. math:: \mu_{kb} = N f_k\, n_{kb} / c_k

is exact, needs no simulation, and the counts of a bin are binomial with mean :math:`\sum_k \mu_{kb}`.
"""

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import ModelError
from pymc_gamma.events.validation import wrap_longitude
from pymc_gamma.geometry import RegionOfInterest

__all__ = ["bin_probability", "energy_edges", "expected_counts", "predictive_counts", "sky_edges"]

FloatArray = NDArray[np.float64]

_UNITS = {"energy": "TeV", "lon": "deg", "lat": "deg"}


def bin_probability(response: Any, **edges: FloatArray) -> FloatArray:
    """Probability of each bin for an event of each component, shape ``(component, *bins)``.

    Parameters
    ----------
    response : Response
        Has ``npred`` and ``acceptance``.
    **edges : numpy.ndarray
        Bin edges of any of ``energy`` [TeV], ``lat`` and ``lon`` [deg]. Axes come in the order energy, lat,
        lon.
    """
    counts = response.npred(**{name: values * u.Unit(_UNITS[name]) for name, values in edges.items()})
    order = [dim for dim in ("component", "energy", "lat", "lon") if dim in counts.dims]
    npred = np.asarray(counts.transpose(*order).values, dtype=np.float64)
    acceptance = np.asarray(response.acceptance, dtype=np.float64)
    return np.asarray(npred / acceptance.reshape(-1, *[1] * (npred.ndim - 1)))


def expected_counts(fractions: FloatArray, probability: FloatArray, n_events: float) -> FloatArray:
    """Expect counts per draw and component, shape ``(sample, component, *bins)``.

    Parameters
    ----------
    fractions : numpy.ndarray
        Shape ``(sample, component)``.
    probability : numpy.ndarray
        From :func:`bin_probability`.
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


def predictive_counts(total: FloatArray, n_events: float, rng: np.random.Generator) -> FloatArray:
    """Replicated counts of each bin, binomial around their expectation, same shape as ``total``."""
    probability = np.clip(total / n_events, 0.0, 1.0)
    return rng.binomial(round(n_events), probability).astype(np.float64)


def energy_edges(roi: RegionOfInterest, bins: int) -> FloatArray:
    """Logarithmic bins over the energy range of a region [TeV], ``bins + 1`` edges."""
    return np.asarray(np.geomspace(roi.energy_min, roi.energy_max, bins + 1), dtype=np.float64)


def sky_edges(roi: RegionOfInterest, bins: int) -> tuple[FloatArray, FloatArray]:
    """Bins in longitude and latitude that cover a region [deg], in its frame, ``bins + 1`` edges each."""
    # Walking along the cell edges of the region covers its boundary, also away from the equator of the frame.
    lam, beta = roi.cell_edges(0.1)
    lon, lat = roi.from_offset(*np.meshgrid(lam, beta))
    lon = wrap_longitude(np.asarray(lon), roi.lon)
    return (
        np.asarray(np.linspace(lon.min(), lon.max(), bins + 1), dtype=np.float64),
        np.asarray(np.linspace(lat.min(), lat.max(), bins + 1), dtype=np.float64),
    )
