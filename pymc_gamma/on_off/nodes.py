r"""From a spectrum to expected counts in channels: a linear map from its values at nodes of true energy.

Exposure and dispersion are those of bins of true energy, in which they are constant. The photons in one are

.. math:: \int_e \phi\,\mathrm{d}E = \sum_q w_{eq}\, \phi(E_{eq}) ,

by a Gauss-Legendre rule in the logarithm of the energy, of as many nodes as make it right to 1e-6 for a power law of an
index of 6. For :math:`n` nodes and a bin of width :math:`h` in :math:`\ln E` the relative error is about
:math:`(sh)^{2n} (n!)^4 / (2n+1) / ((2n)!)^3`, with the slope :math:`s` of the integrand (Abramowitz & Stegun 25.4.30).
"""

import math
from typing import NamedTuple, Self

import numpy as np

from pymc_gamma.arrays import FloatArray

__all__ = ["SpectrumNodes"]

STEEPEST = 5.0
"""Power of the energy of a spectrum times the energy for which sums are right."""
ACCURACY = 1e-6
MOST_NODES = 8


class SpectrumNodes(NamedTuple):
    """Nodes and the map from them.

    Attributes
    ----------
    energy : numpy.ndarray
        TeV, shape (n_nodes,).
    matrix : numpy.ndarray
        From a flux there in TeV-1 cm-2 s-1 to expected counts, shape (n_channels, n_nodes).
    edges : numpy.ndarray
        Edges of the bins of true energy that matter, TeV, shape (m + 1,).
    from_photons : numpy.ndarray
        From photons in these bins in cm-2 s-1 to expected counts, shape (n_channels, m).
    """

    energy: FloatArray
    matrix: FloatArray
    edges: FloatArray
    from_photons: FloatArray

    @classmethod
    def of(cls, edges: FloatArray, exposure: FloatArray, edisp: FloatArray) -> Self:
        """Nodes for an exposure (m,) in bins of true energy and the probabilities (m, n_channels) of channels."""
        response = exposure[:, None] * edisp
        lit = np.flatnonzero(response.any(axis=1))
        if not len(lit):  # nothing is seen: one bin says so
            lit = np.arange(1)
        kept = slice(lit[0], lit[-1] + 1)
        response, edges = response[kept], edges[lit[0] : lit[-1] + 2]
        log = np.log(edges)
        node, weight = np.polynomial.legendre.leggauss(_n_nodes(float(np.diff(log).max())))
        middle, half = 0.5 * (log[1:] + log[:-1]), 0.5 * np.diff(log)
        energy = np.exp(middle[:, None] + half[:, None] * node)
        measure = energy * half[:, None] * weight
        matrix = (response.T[:, :, None] * measure).reshape(response.shape[1], -1)
        return cls(energy.ravel(), matrix, edges, np.ascontiguousarray(response.T))


def _n_nodes(width: float) -> int:
    """Nodes of a rule that is right to the accuracy in a bin of that width."""
    for n in range(1, MOST_NODES):
        error = (STEEPEST * width) ** (2 * n) * math.factorial(n) ** 4 / (2 * n + 1) / math.factorial(2 * n) ** 3
        if error < ACCURACY:
            return n
    return MOST_NODES
