r"""Expected counts per solid angle at chosen directions.

Integrated over bins of reconstructed energy only, so that a sum over the nodes of any quadrature of the sky gives
expected counts in cells of any shape: rings, or pixels of a plane.
"""

import numpy as np
from numpy.typing import ArrayLike

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.engine import density_in_bins
from pymc_gamma.geometry import unit_vectors
from pymc_gamma.response.folds import Fold

__all__ = ["surface_density"]


def surface_density(
    fold: Fold, lon: ArrayLike, lat: ArrayLike, energy_edges: FloatArray, observation: int | str | None = None
) -> FloatArray:
    """See :meth:`pymc_gamma.Response.surface_density`."""
    vectors, edges = unit_vectors(lon, lat), np.asarray(energy_edges, dtype=np.float64)
    found = [density_in_bins(one, fold.components, vectors, edges) for one in fold.chosen(observation)]
    return np.asarray(np.sum(found, axis=0))
