r"""From a spectrum to what is expected in an ON region: a linear map from its values at nodes of true energy.

What is expected is :math:`\int \phi(E)\, K_r(E)\,\mathrm{d}E`, with a response :math:`K_r`, the exposure times the
probability of channel :math:`r`, or times the density at the reconstructed energy of node :math:`r`. The integral is a
Gauss-Legendre rule in the logarithm of the energy in each of narrow bins, of as many nodes as make it right to 1e-6 for
a power law of an index of 6. For :math:`n` nodes and a bin of width :math:`h` in :math:`\ln E` the relative error is
about :math:`(sh)^{2n} (n!)^4 / (2n+1) / ((2n)!)^3`, with the slope :math:`s` of the integrand (Abramowitz & Stegun
25.4.30).

Some spectra know the photons in bins better than their values at nodes tell (:func:`pymc_gamma.flux.photons_of`); for
these there is a second map. Where the response is a function of the energy, photons have what is linear in its
logarithm between the edges, so that a line that moves within a bin moves what is expected; else the mean in the bin.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pytensor.tensor as pt
from pymc.pytensorf import rvs_in_graph
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.flux import photons_of, spectrum_values
from pymc_gamma.tensors import value_of

__all__ = ["FLUX", "SpectrumNodes"]

FLUX = "TeV-1 cm-2 s-1"
STEEPEST = 5.0
"""Power of the energy of a spectrum times the energy for which sums are right."""
ACCURACY = 1e-6
MOST_NODES = 8
IN_BIN_INDEX = 2.5
"""Power law with which the response is averaged over a bin."""


class SpectrumNodes(NamedTuple):
    """Nodes and the maps from them.

    Attributes
    ----------
    energy : numpy.ndarray
        TeV, shape (n_nodes,).
    matrix : numpy.ndarray
        From a flux there in TeV-1 cm-2 s-1 to what is expected, shape (n_rows, n_nodes).
    edges : numpy.ndarray
        Edges of the bins of true energy that matter, TeV, shape (m + 1,).
    from_photons : numpy.ndarray
        From photons in these bins in cm-2 s-1 to what is expected, the mean in the bins, shape (n_rows, m).
    at_edges : numpy.ndarray, optional
        The same of photons at the edges, shape (n_rows, m + 1); None for a response that is constant in bins.
    """

    energy: FloatArray
    matrix: FloatArray
    edges: FloatArray
    from_photons: FloatArray
    at_edges: FloatArray | None = None

    @classmethod
    def of(cls, edges: FloatArray, exposure: FloatArray, edisp: FloatArray) -> Self:
        """Nodes for an exposure (m,) and a dispersion (m, n_rows) that are constant in bins of true energy."""
        response = exposure[:, None] * edisp
        lit = np.flatnonzero(response.any(axis=1))
        if not len(lit):  # nothing is seen: one bin says so
            lit = np.arange(1)
        kept = slice(lit[0], lit[-1] + 1)
        response, edges = response[kept], edges[lit[0] : lit[-1] + 2]
        energy, measure = _rule(edges)
        matrix = (response.T[:, :, None] * measure).reshape(response.shape[1], -1)
        return cls(energy.ravel(), matrix, edges, np.ascontiguousarray(response.T))

    @classmethod
    def of_function(cls, edges: FloatArray, response: Callable[[FloatArray], FloatArray]) -> Self:
        """Nodes for a response that is a smooth function of true energies in TeV, from (n,) to (n, n_rows)."""
        energy, measure = _rule(edges)
        values = response(energy.ravel()).reshape(*energy.shape, -1)
        weight = measure * energy**-IN_BIN_INDEX
        mean = np.einsum("bqr,bq->rb", values, weight / weight.sum(axis=1, keepdims=True))
        matrix = np.moveaxis(values * measure[..., None], 2, 0).reshape(values.shape[2], -1)
        at_edges = np.ascontiguousarray(response(edges).T)
        return cls(energy.ravel(), np.ascontiguousarray(matrix), edges, np.ascontiguousarray(mean), at_edges)

    @classmethod
    def added(cls, several: Sequence["SpectrumNodes"]) -> "SpectrumNodes":
        """The sum of what is expected by several that have the same nodes and bins."""
        at_edges = [one.at_edges for one in several if one.at_edges is not None]
        return several[0]._replace(
            matrix=np.sum([one.matrix for one in several], axis=0),
            from_photons=np.sum([one.from_photons for one in several], axis=0),
            at_edges=np.sum(at_edges, axis=0) if len(at_edges) == len(several) else None,
        )

    @property
    def photon_table(self) -> FloatArray:
        """From what :meth:`photon_vector` returns to what is expected."""
        return self.from_photons if self.at_edges is None else self.at_edges

    def photon_vector(self, energy: Variable, flux: Variable) -> Variable:
        """Photons in bins, or shared by the edges around them, in cm-2 s-1.

        Parameters
        ----------
        energy, flux : TensorVariable
            TeV and cm-2 s-1, in the bins, shape (m, q).
        """
        if self.at_edges is None:
            return pt.sum(flux, axis=-1)
        log = np.log(self.edges)
        part = pt.clip((pt.log(energy) - log[:-1, None]) / np.diff(log)[:, None], 0.0, 1.0)
        above = pt.sum(flux * part, axis=-1)
        below = pt.sum(flux, axis=-1) - above
        return pt.concatenate([below, pt.zeros(1)]) + pt.concatenate([pt.zeros(1), above])

    def expected(self, spectrum: Any, name: str) -> FloatArray:
        """What is expected of a spectrum with numbers as parameters, shape (n_rows,).

        Raises
        ------
        ModelError
            If it is no function of the energy alone, has random variables as parameters, or returns anything but a
            number for each energy.
        """
        if not callable(spectrum):
            raise ModelError(
                f"{name!r}: spectrum must be a function of the energy such as pmg.PowerLaw(...), got {spectrum!r}."
            )
        photons = photons_of(spectrum, self.edges)
        if photons is not None:
            flux = _numbers(photons.flux, name)
            _one_each(flux.sum(axis=-1), len(self.edges) - 1, name)
            return np.asarray(self.photon_table @ value_of(self.photon_vector(photons.energy, pt.constant(flux))))
        values = _numbers(spectrum_values(spectrum, self.energy, FLUX, name), name)
        return np.asarray(self.matrix @ _one_each(values, len(self.energy), name))


def _rule(edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Energies and weights of sums over bins, TeV, shape (m, n) each."""
    log = np.log(edges)
    node, weight = np.polynomial.legendre.leggauss(_n_nodes(float(np.diff(log).max())))
    middle, half = 0.5 * (log[1:] + log[:-1]), 0.5 * np.diff(log)
    energy = np.exp(middle[:, None] + half[:, None] * node)
    return energy, energy * half[:, None] * weight


def _n_nodes(width: float) -> int:
    """Nodes of a rule that is right to the accuracy in a bin of that width."""
    for n in range(1, MOST_NODES):
        error = (STEEPEST * width) ** (2 * n) * math.factorial(n) ** 4 / (2 * n + 1) / math.factorial(2 * n) ** 3
        if error < ACCURACY:
            return n
    return MOST_NODES


def _numbers(values: Any, name: str) -> FloatArray:
    """Values of a spectrum; a ModelError if they are those of chance."""
    if isinstance(values, Variable) and rvs_in_graph([values]):
        raise ModelError(
            f"{name!r}: the spectrum has random variables as parameters; npred wants numbers, such as those of a best "
            "fit. For draws use OnOffCounts(..., expected_counts=True)."
        )
    return np.asarray(value_of(values))


def _one_each(values: FloatArray, n: int, name: str) -> FloatArray:
    if values.shape not in ((), (1,), (n,)):
        raise ModelError(
            f"{name!r}: the spectrum must return one value for each energy it is called with, got the shape "
            f"{values.shape} for {n} energies."
        )
    return np.broadcast_to(values, (n,))
