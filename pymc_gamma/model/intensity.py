r"""The intensity of events as a sum of blocks: what both distributions are made of.

The rows of the observed value become a table of the columns of all linear blocks, and tables of the added ones
(:mod:`pymc_gamma.model.blocks`). From norms, spectra and the parameters of blocks follow the coefficients

.. math:: u_{bon} = N_{bo}\, \rho_{bon} ,

with the norm of block *b* in observation *o* and the coefficients :math:`\rho` of its spectrum
(:mod:`pymc_gamma.folding.free`), 1 for a fixed one; and from these expected counts and densities. The columns are
probability densities over the region and the observations: :math:`p_{ik} = D_{ik}/c_k` for a component of fixed shape,
:math:`q_{ikn} = A_{ikn} / C_k` with :math:`C_k = \sum_n C_{kn}` for each node of one of free spectrum.

A factor common to a spectrum cancels in a mixture: the fraction says how many events a component has, the spectrum
which.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable
from scipy.interpolate import PchipInterpolator

from pymc_gamma.arrays import FloatArray
from pymc_gamma.folding.bands import Bands, merge, no_bands
from pymc_gamma.folding.free import FreeComponent
from pymc_gamma.model.blocks import AddedBlock, Block, LinearBlock
from pymc_gamma.model.event_source import ResponseSource
from pymc_gamma.model.marginal import Marginal
from pymc_gamma.model.negligible import without_negligible
from pymc_gamma.model.protocol import MixtureResponse
from pymc_gamma.model.table import ScaledDensities, TableArrays, TableInputs
from pymc_gamma.ops.hats import hat_map
from pymc_gamma.ops.logmatvec import log_matvec

__all__ = ["Intensity", "Parameters"]


class Parameters(NamedTuple):
    """Parameters of an intensity, as inputs of a random variable or as numbers.

    Attributes
    ----------
    norms : TensorVariable or numpy.ndarray, optional
        Norms of all blocks, one after the other, each a number or one for each observation; 1 if not given.
    flux : TensorVariable or numpy.ndarray, optional
        Spectra of those of free spectrum, at their nodes, one after the other.
    thetas : tuple of TensorVariable or numpy.ndarray
        Parameters of the blocks that have any.
    """

    norms: Any
    flux: Any
    thetas: tuple[Any, ...] = ()

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Those that there are."""
        return (*(one for one in (self.norms, self.flux) if one is not None), *self.thetas)


class Intensity(ResponseSource):
    """Densities, expected counts and draws of the blocks of a model.

    Parameters
    ----------
    response : MixtureResponse
        The response.
    blocks : sequence of Block
        One for each component of the response, in their order.
    has_norms : bool
        Whether norms are among the parameters.
    marginal : Marginal, optional
        A parameter of blocks that is summed over.

    Attributes
    ----------
    free : tuple of FreeComponent
        Where the spectra of those of free spectrum are evaluated.
    smooth : tuple of str
        Names of those on the fewer nodes of smooth spectra.
    """

    response: Any

    def __init__(
        self,
        response: MixtureResponse,
        blocks: Sequence[Block],
        *,
        has_norms: bool = False,
        marginal: Marginal | None = None,
    ) -> None:
        super().__init__(response)
        self.blocks, self.has_norms, self.marginal = tuple(blocks), has_norms, marginal
        linear = {k: one for k, one in enumerate(self.blocks) if isinstance(one, LinearBlock)}
        plain = {k: one for k, one in linear.items() if not one.has_theta}
        self._dense = [k for k, one in plain.items() if one.dense]
        # of the others first those of free spectrum: their coefficients are one vector
        wide = (k for k in range(len(self.blocks)) if k not in self._dense)
        self._wide = sorted(wide, key=lambda k: self.blocks[k].nodes is None)
        self._runs = {k: plain[k] for k in self._wide if k in plain}
        self._odd = {k: linear[k] for k in self._wide if k in linear and k not in plain}
        added = {k: one for k, one in enumerate(self.blocks) if isinstance(one, AddedBlock)}
        self._added = {k: added[k] for k in self._wide if k in added}
        self.free: tuple[FreeComponent, ...] = tuple(one.nodes for one in self.blocks if one.nodes is not None)
        self.smooth = tuple(one.name for one in self.blocks if one.few_nodes)

    @property
    def n_flux(self) -> int:
        """Length of the vector of all spectra."""
        return sum(one.size for one in self.free)

    @property
    def n_norms(self) -> int:
        """Length of the vector of all norms."""
        return sum(one.n_rows for one in self.blocks)

    @property
    def banded(self) -> bool:
        """Whether the table has columns stored as bands."""
        return bool(self._runs) or any(block.sizes for block in self._odd.values())

    @property
    def n_columns(self) -> int:
        """Number of columns of the table that are not stored as bands."""
        return len(self._dense) + sum(block.n_dense for block in self._odd.values())

    @property
    def signature(self) -> str:
        """Parameters of a random variable that draws from this intensity, after those of its distribution."""
        letters = [*("r" * self.has_norms), *("s" * bool(self.n_flux))]
        letters += [f"t{k}" for k, one in enumerate(self.blocks) if one.has_theta]
        return ",".join(f"({letter})" for letter in letters)

    def parameters(self, inputs: Sequence[Any]) -> Parameters:
        """Parameters from the inputs of the random variable."""
        rest = list(inputs)
        norms = rest.pop(0) if self.has_norms else None
        flux = rest.pop(0) if self.n_flux else None
        return Parameters(norms, flux, tuple(rest))

    # ------------------------------------------------------------------------------------------------------ tables

    def arrays(self, value: FloatArray) -> TableArrays:
        """Blocked arrays of an observed value: the dense columns, bands, and the tables of added blocks.

        Rows are scaled by the largest density, where that of a free component is the one with all coefficients 1, or
        by less where numbers of bands would be lost.
        """
        rows, multiplicity = self.split(value)
        present = np.flatnonzero(~np.isnan(rows[:, 0]))
        own = rows[present]
        densities, bands = self._columns(own, multiplicity[present])
        added = [block.tables(own) for block in self._added.values()]
        if len(present) < len(rows):
            densities, bands = _spread(densities, bands, present, len(rows))
        largest = densities.max(axis=1, initial=0)
        if self.banded:
            per_event = np.diff(bands.pointer[:: bands.column.shape[1]])
            # reduceat gives an entry, not zero, for an event without any
            sums = np.add.reduceat(np.append(bands.values, np.float32(0)), bands.pointer[: -1 : bands.column.shape[1]])
            largest = np.maximum(largest, np.where(per_event > 0, sums, 0))
        for one in added:
            largest[present] = np.maximum(largest[present], one.reference)
        self._check_possible(largest, multiplicity, rows)
        scale = np.where(largest > 0, largest, 1.0)
        packed: tuple[NDArray[Any], ...] = ()
        if self.banded:
            scale = _scale_for_single_precision(scale, bands)
            sizes = [block.size for block in self._runs.values()]
            sizes += [size for block in self._odd.values() for size in block.sizes]
            numbers = (bands.values * np.repeat(1 / scale, per_event)).astype(np.float32)
            packed = (numbers, bands.pointer, bands.column + self.n_columns + np.cumsum([0, *sizes[:-1]]))
        scaled, log_scale, logs = ScaledDensities.of(densities, scale)
        tables = tuple((present, 1 / scale[present], *one.arrays) for one in added)
        return TableArrays.build(scaled, multiplicity, log_scale, packed, logs, tables)

    def added_types(self) -> list[list[Any]]:
        """Types of the variables that hold the tables of added blocks."""
        first = [pt.lvector, pt.dvector]
        return [[*first, *block.table_types()] for block in self._added.values()]

    def _columns(self, rows: FloatArray, multiplicity: FloatArray) -> tuple[FloatArray, Bands]:
        """Densities (N, n_columns) of the dense columns, and bands."""
        plain = [*self._dense, *self._runs]
        names = [self.component_names[k] for k in plain]
        fixed = sorted(k for k in plain if self.blocks[k].nodes is None)
        bands = no_bands(len(rows))
        if hasattr(self.response, "column_densities"):
            given, bands = self.response.column_densities(rows, self.smooth, names)
            densities = self.checked(given, rows, fixed)
        else:
            densities = self.densities(rows)[:, fixed]
        place = {k: j for j, k in enumerate(fixed)}
        dense, groups = [densities[:, [place[k] for k in self._dense]]], []
        observation = self._observation(rows)
        free = [block for block in self._runs.values() if block.nodes is not None]
        if free:
            column = bands.column.copy()
            for j, block in enumerate(free):
                column[:, [j]] += block.offsets(observation)
            groups.append(bands._replace(column=column))
        for k in self._runs:
            if k in place:
                values = densities[:, place[k]].astype(np.float32)
                groups.append(Bands(values, np.arange(len(rows) + 1), observation[:, None]))
        if groups:
            shares = [block.share for block in self._runs.values()]
            groups = [without_negligible(merge(groups), shares, dense[0], multiplicity)]
        for block in self._odd.values():
            own, more = block.columns(rows, observation)
            dense.append(own)
            groups += [more] if more is not None else []
        return np.concatenate(dense, axis=1), merge(groups) if groups else no_bands(len(rows))

    def _observation(self, rows: FloatArray) -> NDArray[np.int64]:
        """Observation of each event."""
        if "observation" not in self.columns:
            return np.zeros(len(rows), np.int64)
        return rows[:, self.columns.index("observation")].astype(np.int64)

    # ------------------------------------------------------------------------------------------------- expressions

    def weighted(self, parameters: Parameters, fraction: Variable | None = None) -> "Weighted":
        """Coefficients and expected counts.

        Parameters
        ----------
        parameters : Parameters
            Norms (n_norms,), spectra (n_flux,), parameters of blocks.
        fraction : TensorVariable, optional
            Fractions of the components, shape (K,), of a mixture; without them, of a Poisson process.
        """
        wide = [self.blocks[k] for k in self._wide]
        if fraction is not None:  # a norm of all observations cancels
            dense = _take(fraction, self._dense, len(self.blocks))
        else:
            acceptance = np.array([self.blocks[k].total for k in self._dense])
            dense = _take(parameters.norms, self._rows(self._dense), self.n_norms) * pt.constant(acceptance)
        if not wide:
            return Weighted(dense, {}, dense, [int(k) for k in np.argsort(self._dense)])
        thetas, checks = self._checked_thetas(parameters)
        parameters, known = self._known_spectra(parameters)
        checks += known
        u, sizes = self._unit(parameters), [one.size for one in wide]
        which, bounds = np.repeat(np.arange(len(wide)), sizes), np.cumsum([0, *sizes])
        place = {k: slice(int(bounds[j]), int(bounds[j + 1])) for j, k in enumerate(self._wide)}
        counts = self._unit_counts(u, which, place, thetas)
        if fraction is None:
            total = np.array([one.total for one in wide])
            v, counts = u * pt.constant(total[which]), counts * pt.constant(total)
        else:
            share = _take(fraction, self._wide, len(self.blocks))
            if self.free:
                # a spectrum that ends below the energies of the events: a mixture with a share of it has none
                dark = pt.eq(counts, 0)
                counts, checks = pt.switch(dark, 1.0, counts), (*checks, pt.all(~dark | pt.eq(share, 0)))
            weight = share / counts
            v = u * (weight[0] if len(wide) == 1 else weight[which])
        parts = [dense] if self._dense else []
        if len(self._runs) == len(wide):
            parts.append(v)
        else:
            odd = {k: block.spread(thetas[k], v[place[k]]) for k, block in self._odd.items()}
            parts += [one for k, one in odd.items() if self._odd[k].n_dense]
            parts += [v[place[k]] for k in self._runs]
            parts += [one for k, one in odd.items() if self._odd[k].sizes]
        columns = pt.concatenate(parts) if len(parts) > 1 else (parts[0] if parts else pt.zeros(0))
        every = pt.concatenate([dense, counts]) if self._dense else counts
        order = [int(k) for k in np.argsort([*self._dense, *self._wide])]
        added = {k: (thetas[k], v[place[k]]) for k in self._added}
        return Weighted(columns, added, every, order, checks)

    def flux_scales(self, parameters: Parameters) -> dict[str, Any]:
        """What spectra are multiplied with to be fluxes, by the name of the component, at these parameters."""
        thetas = iter(parameters.thetas)
        return {one.name: one.flux_scale(self.response, next(thetas) if one.has_theta else None) for one in self.blocks}

    def _checked_thetas(self, parameters: Parameters) -> tuple[dict[int, Variable], tuple[Variable, ...]]:
        """Parameters of blocks, and whether these know their densities there; where not, others are in their place."""
        found, checks = {}, []
        with_theta = (k for k, one in enumerate(self.blocks) if one.has_theta)
        for k, theta in zip(with_theta, parameters.thetas, strict=True):
            valid = self.blocks[k].valid(theta)
            found[k] = theta if valid is None else pt.switch(valid, theta, self.blocks[k].known)
            checks += [] if valid is None else [valid]
        return found, tuple(checks)

    def _known_spectra(self, parameters: Parameters) -> tuple[Parameters, tuple[Variable, ...]]:
        """Spectra, and whether they are known where that depends on parameters; where not, ones in their place."""
        free = [one for one in self.blocks if one.nodes is not None]
        starts = np.cumsum([0, *(one.size for one in free)])
        places = [int(start) for one, start in zip(free, starts, strict=False) if one.conditional]
        if not places:
            return parameters, ()
        known = pt.all(~pt.isnan(parameters.flux[places]))
        return parameters._replace(flux=pt.switch(known, parameters.flux, 1.0)), (known,)

    def each_node(self, parameters: Parameters) -> list[Parameters]:
        """Parameters at each node of what is summed over; else these themselves."""
        if self.marginal is None:
            return [parameters]
        return [parameters._replace(thetas=own) for own in self.marginal.each(parameters.thetas)]

    def at_nodes(self, parameters: Parameters, function: Callable[[Parameters], Variable]) -> Variable:
        """A function of parameters, at each node of what is summed over: (n_nodes, ...); else its value itself."""
        if self.marginal is None:
            return function(parameters)
        return self.marginal.at_nodes(parameters.thetas, lambda own: function(parameters._replace(thetas=own)))

    def mixture_log_densities(
        self, inputs: TableInputs, fraction: Variable, parameters: Sequence[Variable]
    ) -> Variable:
        """As :meth:`mixture_log_density`, at each node of what is summed over, (n_nodes, N)."""
        given = self.parameters([one.reshape((one.shape[-1],)) for one in parameters])
        return self.at_nodes(given, lambda own: self.log_density(inputs, self.weighted(own, fraction)))

    def mixture_log_density(self, inputs: TableInputs, fraction: Variable, parameters: Sequence[Variable]) -> Variable:
        """Logarithm of the density of events, times their multiplicities, for fractions that sum to one; (N,)."""
        if not all(all(one.type.broadcastable[:-1]) for one in parameters):
            raise NotImplementedError("the spectra of an EventMixture must not have batch axes")
        every = self.mixture_log_densities(inputs, fraction, parameters)
        return every if self.marginal is None else self.marginal.shared_out(every)

    def log_density(self, inputs: TableInputs, weighted: "Weighted") -> Variable:
        """Logarithm of the intensity at events, times their multiplicities, for table inputs; shape (N,)."""
        own, rest = inputs.columns, None
        for tables, (k, block) in zip(inputs.added, self._added.items(), strict=True):
            present, scale, *arrays = tables
            theta, v = weighted.added[k]
            density = block.density(tuple(arrays), theta, v, present.shape[0]) * scale
            density = pt.zeros(own[1].shape)[present].set(density)
            rest = density if rest is None else rest + density
        value = log_matvec(*own, weighted.columns, added=rest)
        for valid in weighted.valid:
            value = value + pt.switch(valid, 0.0, -np.inf)
        return value

    def _rows(self, which: Sequence[int]) -> list[int]:
        """Places of the norms of some blocks in the vector of all."""
        first = np.cumsum([0, *(one.n_rows for one in self.blocks)])
        return [row for k in which for row in range(first[k], first[k + 1])]

    def _unit(self, parameters: Parameters) -> Variable:
        """Coefficients of the blocks that are not dense, one after the other: norms times spectra."""
        fixed = [self.blocks[k] for k in self._wide if self.blocks[k].nodes is None]
        parts = [self.spectral_coefficients(parameters.flux)] if self.free else []
        if fixed:
            parts.append(pt.ones(sum(one.size for one in fixed)))
        u = pt.concatenate(parts) if len(parts) > 1 else parts[0]
        if parameters.norms is None:
            return u
        norms = _take(parameters.norms, self._rows(self._wide), self.n_norms)
        repeats = np.concatenate(
            [np.full(b.n_rows, b.size // b.n_rows) for b in map(self.blocks.__getitem__, self._wide)]
        )
        return u * (norms[0] if len(repeats) == 1 else norms[np.repeat(np.arange(len(repeats)), repeats)])

    def _unit_counts(
        self, u: Variable, which: NDArray[np.int64], place: dict[int, slice], thetas: dict[int, Variable]
    ) -> Variable:
        """Expected counts of the blocks that are not dense over their acceptance, one for each."""
        if len(self._runs) == len(self._wide) > 1:
            share = np.concatenate([self.blocks[k].share for k in self._wide])
            return pt.zeros(len(self._wide))[which].inc(u * pt.constant(share))
        return pt.stack([self.blocks[k].counts(thetas.get(k), u[place[k]]) for k in self._wide])

    def spectral_coefficients(self, flux: Variable) -> Variable:
        """Coefficients of the hats of spectra, for their values at nodes, one after the other, shape (n_flux,)."""
        bounds, scale = [0], []
        for one in self.free:
            rows, n = one.acceptance.shape
            # at all nodes values are averages already: each is a run of its own, which nothing corrects
            step = n if one.smooth is None else 1
            bounds += range(bounds[-1] + step, bounds[-1] + rows * n + 1, step)
            scale.append(one.scale)
        return hat_map(flux, flux, pt.constant(np.concatenate(scale)), pt.constant(np.array(bounds, np.int64)))

    # ------------------------------------------------------------------------------------------------------- draws

    def values(self, flux: FloatArray) -> list[FloatArray]:
        """The spectrum of each free component, shape (n_rows, n), from the vector of all."""
        bounds = np.cumsum([one.size for one in self.free])
        parts = np.split(np.asarray(flux), bounds[:-1])
        return [part.reshape(one.acceptance.shape) for one, part in zip(self.free, parts, strict=False)]

    def spectra(self, flux: FloatArray | None) -> list[FloatArray] | None:
        """As :meth:`values`, on the nodes of the response, where the simulator has spectra."""
        if flux is None or not self.free:
            return None
        return [
            _onto(whole.energy, one.energy, rows) if one.name in self.smooth else rows
            for one, whole, rows in zip(self.free, self.response.free_components, self.values(flux), strict=True)
        ]

    def drawn(self, parameters: Parameters, rng: np.random.Generator) -> Parameters:
        """Numbers with which events are drawn: what is summed over is at a node drawn from its prior."""
        if self.marginal is None:
            return parameters
        return parameters._replace(thetas=self.marginal.drawn(parameters.thetas, rng))

    def frozen(self, parameters: Parameters) -> dict[str, Any]:
        """Keywords with which the response draws events, for numbers."""
        found: dict[str, Any] = {}
        for block, theta in self._with_theta(parameters):
            for keyword, value in block.frozen(theta).items():
                found[keyword] = {**found.get(keyword, {}), **value} if isinstance(value, dict) else value
        return found

    def expected_parts(self, parameters: Parameters) -> list[list[FloatArray]]:
        """Expected counts of the parts, by observation and component, for numbers."""
        given = self.response.expected_parts(self.spectra(parameters.flux))
        total = [[np.array(parts, float) for parts in of] for of in given]
        of_block = {id(block): theta for block, theta in self._with_theta(parameters)}
        norms, row = parameters.norms, 0
        for k, block in enumerate(self.blocks):
            if block.has_theta:
                own = block.expected_parts(of_block[id(block)], self.spectra(parameters.flux), self.response)
                for mine, parts in zip(total, own, strict=True):
                    mine[k] = np.array(parts[k], float)
            for o, mine in enumerate(total):
                mine[k] = np.maximum(mine[k] * (1.0 if norms is None else norms[row + o * (block.n_rows > 1)]), 0)
            row += block.n_rows
        return total

    def _with_theta(self, parameters: Parameters) -> list[tuple[Block, FloatArray]]:
        blocks = [one for one in self.blocks if one.has_theta]
        return [(block, np.asarray(theta)) for block, theta in zip(blocks, parameters.thetas, strict=True)]


def _take(vector: Variable, which: Sequence[int], n: int) -> Variable:
    """Some entries of a vector of n, or all of them."""
    first, length = (which[0], len(which)) if len(which) else (0, 0)
    if list(which) != list(range(first, first + length)):
        return vector[np.asarray(which, np.int64)]
    return vector if length == n else vector[first : first + length]


class Weighted(NamedTuple):
    """Coefficients of an intensity.

    Attributes
    ----------
    columns : TensorVariable
        Coefficients of the columns of the table.
    added : dict
        By number of the block, parameters and coefficients of those with an Op of their own.
    unordered : TensorVariable
        Expected counts of the components, shape (K,), in the order in which the intensity has them.
    order : list of int
        Where in it each component is.
    valid : tuple of TensorVariable
        Whether parameters of blocks are where these know their densities.
    """

    columns: Variable
    added: dict[int, tuple[Variable, Variable]]
    unordered: Variable
    order: list[int]
    valid: tuple[Variable, ...] = ()

    @property
    def known_counts(self) -> Variable:
        """Expected counts of the components; NaN where parameters are outside of what is known."""
        return pt.switch(pt.all(list(self.valid)), self.counts, np.nan) if self.valid else self.counts

    @property
    def counts(self) -> Variable:
        """Expected counts of the components, shape (K,); those of a mixture over their acceptances."""
        return _take(self.unordered, self.order, len(self.order))

    @property
    def total(self) -> Variable:
        """Sum of the expected counts."""
        return pt.sum(self.unordered)


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
