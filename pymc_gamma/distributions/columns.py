r"""Columns of a response in an event table, and the coefficients that a model gives them.

The table of a response has one column for each component of fixed shape, the probability density
:math:`p_{ik} = D_{ik}/c_k`, and one for each node of a component of free spectrum, :math:`q_{ikn} = A_{ikn} / C_k` with
:math:`C_k = \sum_n C_{kn}`. Integrated over the region and the observations the columns are 1 and
:math:`a_{kn} = C_{kn}/C_k`; so with coefficients :math:`v` the expected number of events is :math:`a \cdot v`.

With the coefficients :math:`\rho_{kn}` of a spectrum (:mod:`pymc_gamma.folding.free`):

* in a mixture :math:`v_{kn} = f_k\, \rho_{kn} / \sum_m a_{km}\, \rho_{km}`. A factor common to a spectrum cancels: the
  fraction says how many events a component has, the spectrum which;
* in a Poisson process of physical fluxes :math:`v_k = N_k c_k` for a norm :math:`N_k` on the nominal flux, and
  :math:`v_{kn} = N_k C_k\, \rho_{kn}`.

A scale of the PSF, :math:`s`, changes the columns themselves. They are computed for a few scales, a step :math:`h`
apart, and mixed with the weights of cubic B-splines,

.. math:: D_{ij}(s) = \sum_g B_3\Big(\frac{s - s_g}{h}\Big)\, D_{ij}\Big(\sqrt{s_g^2 - h^2/3}\Big) ,

which is again a linear form: every column :math:`j` becomes several, of coefficients :math:`B_3\, v_j`. The weights are
smooth and not negative, so that densities never are. As :math:`\sum_g B_3\, s_g^2 = s^2 + h^2/3`, the variance of the
mixed PSF is exactly :math:`s^2` times the nominal one.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable
from scipy.interpolate import PchipInterpolator

from pymc_gamma.distributions.protocol import SpectralResponse
from pymc_gamma.distributions.sources import ResponseSource
from pymc_gamma.distributions.table import ScaledDensities, TableArrays
from pymc_gamma.folding.bands import Bands, merge, no_bands, take_components
from pymc_gamma.folding.free import FreeComponent
from pymc_gamma.ops.hats import hat_map

__all__ = ["ColumnSource", "Variants", "spline_weights"]

FloatArray = NDArray[np.float64]


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
        Knots of the splines, one for each response; a single one for the nominal response alone.
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

    def weights(self, psf_scale: Any, maths: Any = np) -> Any:
        """Weight of each response for a scale."""
        if len(self.responses) == 1:
            return [1.0]
        return spline_weights(self.knots, psf_scale, maths)


class ColumnSource(ResponseSource):
    """Densities and draws of a response with components of free spectrum, or several variants of it.

    Parameters
    ----------
    response : SpectralResponse
        The response.
    variants : Variants, optional
        Responses between which to interpolate; ``response`` alone if not given.
    narrow : collection of str
        Names of the components whose spectra need all nodes; the others have columns for the fewer nodes of smooth
        spectra, and cost less.

    Attributes
    ----------
    free : tuple of FreeComponent
        Components of free spectrum, on the nodes that they have here.
    smooth : tuple of str
        Names of those on the fewer nodes of smooth spectra.
    """

    response: SpectralResponse

    def __init__(
        self, response: SpectralResponse, variants: Variants | None = None, narrow: Collection[str] = ()
    ) -> None:
        super().__init__(response)
        self.variants = variants or Variants(np.ones(1), (response,))
        every = response.free_components if response.free_spectrum else ()
        self.narrow = frozenset(narrow)
        self.smooth = tuple(one.name for one in every if one.smooth is not None and one.name not in self.narrow)
        self.free: tuple[FreeComponent, ...] = tuple(self.component(response, j) for j in range(len(every)))
        free = [self.component_names.index(one.name) for one in self.free]
        self.free_index = tuple(free)
        fixed = [k for k in range(self.n_components) if k not in free]
        instrumental = response.instrumental
        self.fixed_sky = tuple(k for k in fixed if self.component_names[k] not in instrumental)
        self.fixed_background = tuple(k for k in fixed if self.component_names[k] in instrumental)
        # the residual background is measured in reconstructed coordinates: it knows no PSF
        self._free_sky = [j for j, one in enumerate(self.free) if one.name not in instrumental]

    def component(self, response: SpectralResponse, j: int) -> FreeComponent:
        """Free component *j* of the response or of a variant of it, on the nodes that it has here."""
        one = response.free_components[j]
        return one.smooth if one.smooth is not None and one.name in self.smooth else one

    @property
    def n_flux(self) -> int:
        """Length of the vector of all spectra."""
        return sum(one.size for one in self.free)

    @property
    def banded(self) -> bool:
        """Whether the table has columns stored as bands."""
        return bool(self.free)

    @property
    def n_columns(self) -> int:
        """Number of columns of the table that are not stored as bands."""
        return len(self.variants.responses) * len(self.fixed_sky) + len(self.fixed_background)

    def groups(self) -> list[tuple[int, int]]:
        """Variant and free component of each group of columns stored as bands, in their order."""
        first = [(0, j) for j in range(len(self.free))]
        return first + [(g, j) for g in range(1, len(self.variants.responses)) for j in self._free_sky]

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Where the spectrum of each free component starts in the vector of all, and its length."""
        return np.cumsum([0, *(one.size for one in self.free)])

    def values(self, flux: FloatArray) -> list[FloatArray]:
        """The spectrum of each free component, shape (n_rows, n), from the vector of all."""
        parts = np.split(np.asarray(flux), self.bounds[1:-1])
        return [part.reshape(one.acceptance.shape) for one, part in zip(self.free, parts, strict=False)]

    def spectra(self, flux: FloatArray) -> list[FloatArray]:
        """As :meth:`values`, on the nodes of the response, where the simulator has spectra."""
        out: list[FloatArray] = []
        if not self.free:
            return out
        for one, whole, rows in zip(self.free, self.response.free_components, self.values(flux), strict=True):
            out.append(_onto(whole.energy, one.energy, rows) if one.name in self.smooth else rows)
        return out

    def spectral_coefficients(self, flux: Variable) -> list[Variable]:
        """Coefficients of each free component, shape (size,), for all spectra (n_flux,)."""
        if not self.free:
            return []
        if not self.narrow:
            return self._parts(self._corrected(flux, self.free))
        return [
            part * pt.constant(one.scale) if one.name in self.narrow else self._corrected(part, (one,))
            for one, part in zip(self.free, self._parts(flux), strict=True)
        ]

    @staticmethod
    def _corrected(flux: Variable, free: Collection[FreeComponent]) -> Variable:
        """Coefficients of the hats of few nodes, for the values of spectra there, one after the other."""
        rows = np.concatenate([np.full(len(one.acceptance), len(one.energy)) for one in free])
        nodes = np.cumsum([0, *rows]).astype(np.int64)
        return hat_map(flux, flux, pt.constant(np.concatenate([one.scale for one in free])), pt.constant(nodes))

    def _parts(self, flux: Variable) -> list[Variable]:
        """The vector of all components in parts."""
        if len(self.free) == 1:
            return [flux]
        # split, not sliced: the gradient of it is a concatenation, that of slices a sum of vectors of zeros
        return list(pt.split(flux, np.diff(self.bounds), n_splits=len(self.free)))

    def arrays(self, value: FloatArray) -> TableArrays:
        """Blocked arrays of an observed value: the fixed columns, and bands for the free ones.

        Rows are scaled by the largest density, where that of a free component is the one with all coefficients 1, or
        by less where numbers of bands would be lost.
        """
        rows, multiplicity = self.split(value)
        present = np.flatnonzero(~np.isnan(rows[:, 0]))
        densities, bands = self._columns(rows[present])
        if len(present) < len(rows):
            densities, bands = _spread(densities, bands, present, len(rows))
        largest = densities.max(axis=1, initial=0)
        if self.banded:
            per_event = np.diff(bands.pointer[:: bands.column.shape[1]])
            # reduceat gives an entry, not zero, for an event without any
            sums = np.add.reduceat(np.append(bands.values, np.float32(0)), bands.pointer[: -1 : bands.column.shape[1]])
            largest = np.maximum(largest, np.where(per_event > 0, sums, 0))
        self._check_possible(largest, multiplicity, rows)
        scale = np.where(largest > 0, largest, 1.0)
        packed: tuple[NDArray[Any], ...] = ()
        if self.banded:
            scale = _scale_for_single_precision(scale, bands)
            sizes = [self.free[j].size for _, j in self.groups()]
            numbers = (bands.values * np.repeat(1 / scale, per_event)).astype(np.float32)
            packed = (numbers, bands.pointer, bands.column + self.n_columns + np.cumsum([0, *sizes[:-1]]))
        scaled, log_scale, logs = ScaledDensities.of(densities, scale)
        return TableArrays.build(scaled, multiplicity, log_scale, packed, logs)

    def _columns(self, rows: FloatArray) -> tuple[FloatArray, Bands]:
        """Densities (N, n_columns) of the fixed columns, and the bands of the free ones."""
        fixed = sorted([*self.fixed_sky, *self.fixed_background])
        sky, background = ([fixed.index(k) for k in kind] for kind in (self.fixed_sky, self.fixed_background))
        dense, bands = [], []
        of_background = np.empty((len(rows), 0))
        for g, response in enumerate(self.variants.responses):
            given, own = response.column_densities(rows, self.smooth)
            densities = self.checked(given, rows, fixed)
            dense.append(densities[:, sky])
            if g == 0:
                of_background = densities[:, background]
            if self.banded:
                bands.append(own if g == 0 else take_components(own, self._free_sky))
            if response is not self.response:
                response.release()
        return np.concatenate([*dense, of_background], axis=1), merge(bands) if bands else no_bands(len(rows))

    def mixture_coefficients(self, fraction: Variable, flux: Variable) -> Variable:
        """Coefficients of the columns for fractions (K,) and spectra (n_flux,)."""
        free = []
        coefficients = self.spectral_coefficients(flux)
        for k, one, own in zip(self.free_index, self.free, coefficients, strict=True):
            free.append(own * (fraction[k] / pt.sum(pt.constant(one.share) * own)))
        fixed = [*self.fixed_sky, *self.fixed_background]
        return pt.concatenate([fraction[fixed], *free] if fixed else free)

    def simulate(
        self, weights: FloatArray, n: int, rng: np.random.Generator, flux: FloatArray | None = None
    ) -> FloatArray:
        """Events drawn through the response, with given spectra (n_flux,) or the nominal ones."""
        spectra = None if flux is None else self.spectra(flux)
        return np.asarray(self.response.simulate_rows(weights, n, rng, spectra), dtype=np.float64)


def _onto(energy: FloatArray, nodes: FloatArray, rows: FloatArray) -> FloatArray:
    """Smooth spectra (n_rows, n) between their nodes: monotone cubics of logarithms, zero where they are."""
    tiny = np.finfo(float).tiny
    logs = PchipInterpolator(np.log(nodes), np.log(np.maximum(rows, tiny)), axis=-1)(np.log(energy))
    return np.where(logs <= np.log(2 * tiny), 0.0, np.exp(logs))


def _scale_for_single_precision(scale: FloatArray, bands: Bands) -> FloatArray:
    """Scales of events, reduced where a number of a band is positive and would fall below the normal numbers."""
    limits = np.finfo(np.float32)
    (small,) = np.nonzero((bands.values > 0) & (bands.values < limits.tiny * scale.max(initial=0)))
    ends = bands.pointer[bands.column.shape[1] :: bands.column.shape[1]]
    event = np.searchsorted(ends, small, side="right")
    wanted = scale.copy()
    np.minimum.at(wanted, event, bands.values[small] / float(limits.tiny))
    return np.maximum(wanted, scale / float(limits.max))


def _spread(densities: FloatArray, bands: Bands, present: NDArray[np.intp], n_rows: int) -> tuple[FloatArray, Bands]:
    """Columns of the rows that hold an event, among others of zeros."""
    dense = np.zeros((n_rows, densities.shape[1]))
    dense[present] = densities
    n_bands = bands.column.shape[1]
    lengths = np.zeros((n_rows, n_bands), np.int64)
    lengths[present] = np.diff(bands.pointer).reshape(len(present), n_bands)
    column = np.zeros((n_rows, n_bands), np.int64)
    column[present] = bands.column
    return dense, Bands(bands.values, np.concatenate([[0], np.cumsum(lengths.ravel())]), column)
