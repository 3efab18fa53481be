r"""Components under a response with a parameter: the scale of the PSF.

Densities and expected counts are evaluated for some scales :math:`s`, with the tables of the response that is there
but for the widths of the PSF, and interpolated in :math:`x = \log s` (:mod:`pymc_gamma.ops.varied_tables`). Nothing is
folded again, points, Gaussians, templates and whole catalogues are treated alike, and at :math:`s = 1` everything is as
without the parameter.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.free import FreeComponent
from pymc_gamma.model.blocks import AddedBlock, AddedTables, LinearBlock
from pymc_gamma.model.component import PSFScaling
from pymc_gamma.ops.varied import VariedDensity, polynomial_at, varied_types
from pymc_gamma.ops.varied_kernels import VariedArrays
from pymc_gamma.ops.varied_tables import Runs, VariedTables, basis, polynomials, varied_nodes

__all__ = ["PSFScales", "VariedBlock"]


class PSFScales:
    """Components of a response under PSFs of several widths.

    Parameters
    ----------
    nominal : PoissonResponse
        The response.
    span : tuple of float
        Range of the factor on the width.
    n : int
        For how many factors densities are evaluated.
    names : sequence of str
        Names of the components.

    Attributes
    ----------
    nodes : numpy.ndarray
        Logarithms of the factors.
    responses : list of PoissonResponse
        Those components under each.
    """

    def __init__(self, nominal: Any, span: tuple[float, float], n: int, names: Sequence[str]) -> None:
        self.span = (float(np.log(span[0])), float(np.log(span[1])))
        self.nodes = varied_nodes(*self.span, n)
        self.nominal, self.responses = nominal, nominal.under_psf_scales(np.exp(self.nodes), span, names)

    @classmethod
    def of(cls, response: Any, scaled: Mapping[str, PSFScaling]) -> dict[str, Self]:
        """For components by name; those of one range share the responses."""
        alike: dict[PSFScaling, list[str]] = {}
        for name, given in scaled.items():
            alike.setdefault(given, []).append(name)
        made = {given: cls(response, *given, names) for given, names in alike.items()}
        return {name: made[given] for name, given in scaled.items()}

    def log_ratio(self, of_response: Callable[[Any], FloatArray]) -> FloatArray:
        """Polynomials of the logarithm of a positive array of each response over that of the nominal one, (..., G)."""
        return self.of_logs(of_response(self.nominal), np.stack([of_response(one) for one in self.responses], axis=-1))

    def of_logs(self, before: FloatArray, after: FloatArray) -> FloatArray:
        """Polynomials of the logarithm of numbers at the nodes (..., G) over the nominal ones (...)."""
        before, after = np.asarray(before, float), np.asarray(after, float)
        known = (before > 0)[..., None] & (after > 0)
        ratio = np.where(known, after, 1.0) / np.where(known, before[..., None], 1.0)
        return polynomials(self.nodes, self.span, np.log(ratio))


def in_range(scale: Variable, span: Any) -> Variable:
    """Whether a scale of the PSF is within its range."""
    low, high = span
    return pt.ge(scale, low * (1 - 1e-12)) & pt.le(scale, high * (1 + 1e-12))


def check_range(scale: float, span: Any) -> None:
    """Raise a ModelError unless a scale of the PSF is within its range."""
    low, high = span
    if not low * (1 - 1e-9) <= scale <= high * (1 + 1e-9):
        raise ModelError(
            f"the scale of the PSF is {scale:.4g}, outside {low:.4g} to {high:.4g}, three sigma around 1; give "
            "PSFScale a larger sigma, or its value a prior within that range."
        )


class VariedBlock(AddedBlock):
    """A component whose PSF has a scale that is a parameter.

    Parameters
    ----------
    scales : PSFScales
        The component under several.
    block : LinearBlock
        The component under the nominal PSF.
    place : int or None
        Column of event rows that says to which observation they belong.
    """

    def __init__(self, scales: PSFScales, block: LinearBlock, place: int | None) -> None:
        super().__init__(
            block.name,
            block.acceptance,
            block.nodes,
            theta=pt.ones(1),
            few_nodes=block.few_nodes,
            conditional=block.conditional,
        )
        self._scales, self._block, self._place = scales, block, place
        self._counts = scales.log_ratio(self._acceptance).reshape(self.size, -1)

    def _acceptance(self, response: Any) -> FloatArray:
        """Expected counts per unit coefficient, of the shape of :attr:`acceptance`."""
        if self.nodes is None:
            k = list(response.component_names).index(self.name)
            counts = np.asarray(response.acceptance_by_observation)[k]
            return np.asarray(counts[:, None] if self.n_rows > 1 else counts.sum()[None, None])
        one: FreeComponent = next(free for free in response.free_components if free.name == self.name)
        one = one.smooth if self.few_nodes and one.smooth is not None else one
        return one.by_observation().acceptance if self._block.by_observation else one.acceptance

    def counts(self, theta: Variable | None, u: Variable) -> Variable:
        """Expected counts for coefficients (size,), over the nominal acceptance."""
        assert theta is not None
        ratio = pt.exp(polynomial_at(pt.log(theta[0]), self._scales.span, self._counts))
        return pt.sum(ratio * pt.constant(self.share) * u)

    def valid(self, theta: Variable) -> Variable:
        """Whether the scale is within its range."""
        return in_range(theta[0], np.exp(self._scales.span))

    @property
    def known(self) -> FloatArray:
        """See :class:`Block`."""
        return np.ones(1)

    def check_start(self, theta: FloatArray) -> None:
        """See :class:`Block`."""
        check_range(theta[0], np.exp(self._scales.span))

    def tables(self, rows: FloatArray) -> AddedTables:
        """Densities of the events for all scales."""
        observation = np.zeros(len(rows), np.int64)
        if self._place is not None:
            observation = rows[:, self._place].astype(np.int64)
        nominal, scales = self._runs(self._scales.nominal, rows, observation), self._scales
        spectrum = np.ones(1) if self.nodes is None else self.nodes.coefficients(self.nodes.nominal)
        made = VariedTables.build(
            scales.nodes,
            scales.span,
            nominal,
            lambda g: self._runs(scales.responses[g], rows, observation),
            spectrum,
        )
        reference = nominal.totals(np.ones_like(nominal.values))
        own = (observation,) if self._one_by_one else ()
        return AddedTables((*made.arrays, *own), reference)

    @property
    def _one_by_one(self) -> bool:
        """Whether events have a coefficient each, that of their observation."""
        return self.nodes is None and self.n_rows > 1

    def _runs(self, response: Any, rows: FloatArray, observation: NDArray[np.int64]) -> Runs:
        """Densities of the events under one response, over the nominal acceptance."""
        smooth = (self.name,) if self.few_nodes else ()
        factor = float(self._acceptance(response).sum()) / self.total
        fixed, bands = response.column_densities(rows, smooth, (self.name,))
        if self.nodes is None:
            # over the expected counts of all observations
            return Runs(fixed[:, 0] * factor, np.arange(len(rows) + 1), np.zeros(len(rows), np.int64))
        column = bands.column + self._block.offsets(observation)
        return Runs(bands.values * bands.values.dtype.type(factor), bands.pointer, column[:, 0])

    def table_types(self) -> list[Any]:
        """Types of the variables that hold the tables."""
        return [*varied_types()[:-1], *([pt.lvector] if self._one_by_one else [])]

    def density(self, tables: tuple[Variable, ...], theta: Variable, v: Variable, n_events: Variable) -> Variable:
        """Densities of the events."""
        n, x = len(self._scales.nodes), pt.log(theta[0])
        arrays = [*tables[: len(VariedArrays._fields)], n_events]
        level, slope = VariedArrays._fields.index("level"), VariedArrays._fields.index("slope")
        arrays[level] = pt.specify_shape(arrays[level], (n, None))
        arrays[slope] = pt.specify_shape(arrays[slope], (0 if self.nodes is None else n, None))
        if self.nodes is not None:
            return VariedDensity()(x, v, *arrays)
        coefficient = v[tables[-1]] if self._one_by_one else v[0]
        return VariedDensity()(x, pt.ones(1), *arrays) * coefficient

    def frozen(self, theta: FloatArray) -> Mapping[str, Any]:
        """The scale, for draws."""
        return {"psf_scale": float(theta[0])}

    def expected_parts(self, theta: FloatArray, spectra: Sequence[FloatArray] | None, response: Any) -> Any:
        """Expected counts of the parts of all components: of this one under the scale."""
        found = [list(of_observation) for of_observation in response.expected_parts(spectra)]
        k, scales = list(response.component_names).index(self.name), self._scales
        own = [one.expected_parts(self._spectra(one, response, spectra)) for one in scales.responses]
        mine = list(scales.responses[0].component_names).index(self.name)
        at = basis(np.log(float(theta[0])), scales.span, len(scales.nodes))
        for o, of_observation in enumerate(found):
            before = np.asarray(of_observation[k], float)
            after = np.stack([np.asarray(one[o][mine], float) for one in own], axis=-1)
            of_observation[k] = before * np.exp(scales.of_logs(before, after) @ at)
        return found

    def _spectra(self, of: Any, response: Any, spectra: Sequence[FloatArray] | None) -> list[FloatArray] | None:
        """Spectra of the components of free spectrum that another response has."""
        if spectra is None:
            return None
        return [one for name, one in zip(response.free_spectrum, spectra, strict=True) if name in of.free_spectrum]
