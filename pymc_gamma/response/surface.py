r"""Expected counts per solid angle at chosen directions.

Integrated over bins of reconstructed energy only, so that a sum over the nodes of any quadrature of the sky gives
expected counts in cells of any shape: rings, or pixels of a plane.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymc_gamma.geometry import unit_vectors

if TYPE_CHECKING:
    from pymc_gamma.response.core import Response

__all__ = ["surface_density"]

FloatArray = NDArray[np.float64]


def surface_density(
    response: "Response", lon: ArrayLike, lat: ArrayLike, energy_edges: FloatArray, observation: int | str | None = None
) -> FloatArray:
    """Expected counts per solid angle of each component at its nominal flux.

    Parameters
    ----------
    response : Response
        What was folded.
    lon, lat : array_like
        Directions in the frame of the region [deg], shape ``(n,)``.
    energy_edges : numpy.ndarray
        Edges of bins of reconstructed energy [TeV], cut at the region.
    observation : int or str, optional
        Index or name of one observation; default the sum over all.

    Returns
    -------
    numpy.ndarray
        sr-1, shape ``(component, bin, n)``; zero outside the region.
    """
    folded = response._folded
    if observation is not None:
        folded = (folded[response._observation_index(observation)],)
    vectors, edges = unit_vectors(lon, lat), np.asarray(energy_edges, dtype=np.float64)
    return np.sum([one.density_in_bins(response._components, vectors, edges) for one in folded], axis=0)
