r"""Components under a PSF of another width: columns for a few scales, mixed.

The columns of a component are computed for a few scales :math:`s_g` of the PSF, a step :math:`h` apart, and mixed with
the weights of cubic B-splines,

.. math:: D_{ij}(s) = \sum_g B_3\Big(\frac{s - s_g}{h}\Big)\, D_{ij}\Big(\sqrt{s_g^2 - h^2/3}\Big) ,

which is again a linear form: every column :math:`j` becomes several, of coefficients :math:`B_3\, v_j`. The weights are
smooth and not negative, so that densities never are. As :math:`\sum_g B_3\, s_g^2 = s^2 + h^2/3`, the variance of the
mixed PSF is exactly :math:`s^2` times the nominal one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.bands import Bands, merge
from pymc_gamma.folding.free import FreeComponent
from pymc_gamma.model.blocks import LinearBlock

__all__ = ["Refolded", "Variants", "spline_weights"]


def spline_weights(knots: FloatArray, value: Any, maths: Any = np) -> Any:
    """Weights of the cubic B-splines around equidistant ``knots`` at ``value``, one for each.

    They sum to one between the second and the last but one of the knots, and are held constant beyond.

    Examples
    --------
    >>> spline_weights(np.arange(5.0), 2.0).round(3).tolist()
    [0.0, 0.167, 0.667, 0.167, 0.0]
    """
    x = maths.abs(maths.clip(value, knots[1], knots[-2]) - knots) / (knots[1] - knots[0])
    inner, outer = 2 / 3 - x**2 + x**3 / 2, (2 - x) ** 3 / 6
    where = maths.where
    return where(x < 1, inner, where(x < 2, outer, 0.0))


class Variants(NamedTuple):
    """Responses for several scales of the PSF.

    Attributes
    ----------
    knots : numpy.ndarray
        Knots of the splines, one for each response.
    responses : tuple of PoissonResponse
        Responses for the scales that go with the knots.
    """

    knots: FloatArray
    responses: tuple[Any, ...]

    @classmethod
    def build(cls, response: Any, knots: FloatArray) -> "Variants":
        """Fold the response for the scales that go with the knots."""
        scales = np.sqrt(knots**2 - (knots[1] - knots[0]) ** 2 / 3)
        return cls(knots, tuple(response.with_systematics(psf_scale=float(scale)) for scale in scales))


class Refolded(LinearBlock):
    """A component whose PSF has a scale that is a parameter.

    Parameters
    ----------
    variants : Variants
        Responses between which to interpolate.
    k : int
        Number of the component in them.
    block : LinearBlock
        The component under the nominal PSF.
    theta : TensorVariable
        The scale, shape (1,).
    """

    def __init__(self, variants: Variants, k: int, block: LinearBlock, theta: Variable) -> None:
        super().__init__(
            block.name,
            block.acceptance,
            block.nodes,
            by_observation=block.by_observation,
            theta=theta,
            few_nodes=block.few_nodes,
        )
        self._variants, self._k = variants, k
        n = len(variants.responses)
        self.n_dense, self.sizes = (n, ()) if block.dense else (0, (self.size,) * n)
        acceptances = [self._acceptance(response) for response in variants.responses]
        self._ratio = np.array([one.sum() / self.total for one in acceptances])
        self._shares = np.array([one.ravel() / one.sum() for one in acceptances])

    def _acceptance(self, response: Any) -> FloatArray:
        if self.nodes is None:
            counts = np.asarray(response.acceptance_by_observation)[self._k]
            return np.asarray(counts[:, None] if self.by_observation else counts.sum()[None, None])
        one: FreeComponent = next(free for free in response.free_components if free.name == self.name)
        one = one.smooth if self.few_nodes and one.smooth is not None else one
        return one.by_observation().acceptance if self.by_observation else one.acceptance

    def _weights(self, theta: Any, maths: Any = np) -> Any:
        return spline_weights(self._variants.knots, theta[0], maths) * self._ratio

    def counts(self, theta: Variable | None, u: Variable) -> Variable:
        """Expected counts for coefficients (size,), over the nominal acceptance."""
        return pt.dot(self._weights(theta, pt), pt.dot(pt.constant(self._shares), u))

    def columns(self, rows: FloatArray, observation: NDArray[np.int64]) -> tuple[FloatArray, Bands | None]:
        """Columns of events for all scales."""
        dense, bands = [], []
        for response in self._variants.responses:
            given, own = response.column_densities(rows, (self.name,) if self.few_nodes else (), (self.name,))
            if self.nodes is not None:
                bands.append(own._replace(column=own.column + self.offsets(observation)))
                response.release()
            elif self.by_observation:
                bands.append(Bands(given[:, 0].astype(np.float32), np.arange(len(rows) + 1), observation[:, None]))
            else:
                dense.append(given)
        return np.concatenate([np.empty((len(rows), 0)), *dense], axis=1), merge(bands) if bands else None

    def spread(self, theta: Variable, v: Variable) -> Variable:
        """Coefficients of these columns, one scale after the other."""
        return (self._weights(theta, pt)[:, None] * v).reshape((len(self._ratio) * self.size,))

    def frozen(self, theta: FloatArray) -> Mapping[str, Any]:
        """The scale, for draws."""
        return {"psf_scale": float(theta[0])}

    def expected_parts(self, theta: FloatArray, spectra: Sequence[FloatArray] | None, response: Any) -> Any:
        """Expected counts of the parts of all components, mixed as densities are."""
        weights = spline_weights(self._variants.knots, theta[0])
        each = [one.expected_parts(spectra) for one in self._variants.responses]
        return [
            [np.sum([w * one[o][k] for w, one in zip(weights, each, strict=True)], axis=0) for k in range(len(of))]
            for o, of in enumerate(each[0])
        ]
