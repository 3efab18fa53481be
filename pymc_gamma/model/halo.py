"""Halos whose density profile has parameters of a model: sums of Gaussians of fixed widths with free weights.

With a fixed spectrum each width is a column of the table. With a free one, columns of a few widths stand for all of
them (:mod:`pymc_gamma.folding.free_halo`), and densities are products of what profile and spectrum make of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.folding.bands import Bands
from pymc_gamma.folding.halo import UNIT_OF_POWER, VARIANCE, CompiledHalo
from pymc_gamma.halos import Profile, gaussian_weights
from pymc_gamma.model.blocks import AddedBlock, AddedTables, Block, LinearBlock
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.shapes import shape_block
from pymc_gamma.ops.coarse_kernels import coarsened, no_few_nodes
from pymc_gamma.ops.factored import factored_density, factored_types
from pymc_gamma.tensors import described, with_unit

__all__ = ["FreeHaloBlock", "HaloBlock"]

LENGTHS = ("r_s", "r_c")
"""Parameters of a profile in kpc; its slopes have no unit."""


class _FreeProfile:
    """A profile with parameters of a model.

    Parameters
    ----------
    source : HaloComponent
        The halo.
    given : Profile or mapping
        Another profile of numbers, or parameters by name: numbers and variables.
    """

    def __init__(self, source: Any, given: Any) -> None:
        self.source, self.profile = source, given if isinstance(given, Profile) else source.profile
        values = {} if isinstance(given, Profile) else dict(source.named(given))
        free = {name: value for name, value in values.items() if isinstance(value, Variable)}
        bad = [name for name, value in free.items() if value.type.ndim]
        if bad:
            raise ModelError(f"the profile of {source.name!r}: {bad} must be single numbers or variables.")
        numbers = {name: value for name, value in values.items() if name not in free}
        self.profile = self.profile.with_parameters(**numbers)
        if not free:  # a block with parameters has at least one
            free = {"r_s": pt.constant(float(self.profile.parameters["r_s"]))}
        for name, value in free.items():
            with_unit(described(value, f"{name} of {type(self.profile).__name__}"), "kpc" if name in LENGTHS else "")
        self.names = tuple(free)
        self.theta = pt.stack([pt.as_tensor_variable(one).astype("float64") for one in free.values()])

    def values(self, theta: Any) -> dict[str, Any]:
        """Free parameters by name."""
        return {name: theta[j] for j, name in enumerate(self.names)}

    def weights(self, theta: Variable) -> Variable:
        """J factors of the Gaussians over the unit of the source, shape (n_widths,)."""
        own = gaussian_weights(self.profile, self.source.power, **self.values(theta))
        return own * (UNIT_OF_POWER[self.source.power] / self.source.unit)

    def valid(self, theta: Variable) -> Variable:
        """Whether the profile is a sum of Gaussians, with a finite J factor."""
        own = self.profile.parameters
        every = {name: pt.constant(float(own[name])) for name in ("beta", "gamma") if name in own}
        conditions = self.profile.mixture_conditions(every | self.values(theta), self.source.power)
        return pt.all(pt.stack([fulfilled for fulfilled, *_ in conditions]))

    @property
    def known(self) -> FloatArray:
        """Parameters with which it was folded."""
        return np.array([float(self.profile.parameters[name]) for name in self.names])

    def at(self, theta: FloatArray) -> Profile:
        """The profile for numbers."""
        return self.profile.with_parameters(**{name: float(value) for name, value in self.values(theta).items()})

    def check(self, theta: FloatArray) -> None:
        """Raise a SkyModelError that says what is wrong with parameters."""
        gaussian_weights(self.at(theta), self.source.power)

    def expected_parts(
        self, theta: FloatArray, spectra: Sequence[FloatArray] | None, response: Any
    ) -> list[list[FloatArray]]:
        """Expected counts of the parts of all components, of this one for the profile."""
        found: list[list[FloatArray]] = [list(of_observation) for of_observation in response.expected_parts(spectra)]
        name = self.source.name
        k, power = list(response.component_names).index(name), self.source.power
        source, coefficients = response.halo_source(name, smooth=False), np.ones(1)
        if name in response.free_spectrum:
            j = response.free_spectrum.index(name)
            whole = response.free_components[j]
            coefficients = whole.coefficients(whole.nominal if spectra is None else spectra[j])
        weights = gaussian_weights(self.at(theta), power) * (UNIT_OF_POWER[power] / source.unit)
        per_node = source.counts() @ weights * source.total
        rows = np.broadcast_to(coefficients.reshape(-1, per_node.shape[1]), per_node.shape)
        for of_observation, one in zip(found, (per_node * rows).sum(axis=1), strict=True):
            of_observation[k] = np.array([one])
        return found


class _OfProfile(Block):
    """What blocks of a free profile answer alike."""

    _free: _FreeProfile

    def valid(self, theta: Variable) -> Variable:
        """Whether the profile has a finite J factor."""
        return self._free.valid(theta)

    @property
    def known(self) -> FloatArray:
        """The profile that it was folded with."""
        return self._free.known

    def flux_scale(self, response: Any, theta: Variable | None) -> Any:
        """J or D factor of the region for the profile."""
        assert theta is not None
        compiled = next(one for one in response.components if one.name == self.name)
        return replace(compiled, profile=self._free.profile).flux_scale(response.roi, self._free.values(theta))

    def check_start(self, theta: FloatArray) -> None:
        """See :class:`Block`."""
        self._free.check(theta)

    def frozen(self, theta: FloatArray) -> Mapping[str, Any]:
        """The profile, for draws."""
        return {"shapes": {self.name: self._free.at(theta)}}

    def expected_parts(self, theta: FloatArray, spectra: Sequence[FloatArray] | None, response: Any) -> Any:
        """Expected counts of the parts of all components, by observation."""
        return self._free.expected_parts(theta, spectra, response)


class HaloBlock(_OfProfile, LinearBlock):
    """A halo of free profile and fixed spectrum: a column for each width.

    Parameters
    ----------
    free : _FreeProfile
        Its profile.
    block : LinearBlock
        The halo as it was folded.
    """

    def __init__(self, free: _FreeProfile, block: LinearBlock) -> None:
        super().__init__(
            block.name, block.acceptance, by_observation=block.by_observation, theta=free.theta, conditional=False
        )
        self._free = free
        n = len(VARIANCE)
        self.n_dense, self.sizes = (0, (n * self.n_rows,)) if self.by_observation else (n, ())
        counts = free.source.counts()[:, 0]
        self._counts = counts if self.n_rows > 1 else counts.sum(axis=0, keepdims=True)

    def counts(self, theta: Variable | None, u: Variable) -> Variable:
        """Expected counts for coefficients (size,), over the acceptance of the halo as it was folded."""
        assert theta is not None
        return pt.dot(u, pt.dot(pt.constant(self._counts), self._free.weights(theta)))

    def columns(self, rows: FloatArray, observation: NDArray[np.int64]) -> tuple[FloatArray, Bands | None]:
        """Densities of the Gaussians."""
        found = self._free.source.densities(rows)
        if not self.by_observation:
            return found, None
        n, n_widths = found.shape
        column = observation[:, None] * n_widths
        return np.empty((n, 0)), Bands(found.astype(np.float32).ravel(), np.arange(n + 1) * n_widths, column)

    def spread(self, theta: Variable, v: Variable) -> Variable:
        """Weights of the Gaussians, for each observation one after the other."""
        weights = self._free.weights(theta)
        return pt.outer(v, weights).ravel() if self.by_observation else v[0] * weights


class FreeHaloBlock(_OfProfile, AddedBlock):
    """A halo of free profile and free spectrum.

    Parameters
    ----------
    free : _FreeProfile
        Its profile.
    block : LinearBlock
        The halo as it was folded: its acceptance, and where its spectrum is evaluated.
    place : int or None
        Column of event rows that says to which observation they belong.
    """

    def __init__(self, free: _FreeProfile, block: LinearBlock, place: int | None) -> None:
        super().__init__(
            block.name,
            block.acceptance,
            block.nodes,
            theta=free.theta,
            few_nodes=block.few_nodes,
            conditional=block.conditional,
        )
        self._free, self._block, self._place = free, block, place
        counts = free.source.counts()
        counts = counts if self.n_rows > 1 else counts.sum(axis=0, keepdims=True)
        self._counts = counts.reshape(self.size, -1)

    def counts(self, theta: Variable | None, u: Variable) -> Variable:
        """Expected counts for coefficients (size,), over the acceptance of the halo as it was folded."""
        assert theta is not None
        return pt.dot(pt.dot(u, pt.constant(self._counts)), self._free.weights(theta))

    def tables(self, rows: FloatArray) -> AddedTables:
        """Columns of few widths for each event."""
        made = self._free.source.factored(rows)
        column = made.bands.column[:, 0]
        # few nodes stand for many, not for those of smooth spectra, and not across observations
        few = no_few_nodes(len(column))
        if self.n_rows == 1 and not self.few_nodes:
            few = coarsened(made.bands.values, made.bands.pointer, column, self.size)
        if self._place is not None:
            observation = rows[:, self._place].astype(np.int64)
            offsets = np.broadcast_to(self._block.offsets(observation), (len(rows), 1))[:, 0]
            column = column + offsets[made.event]
        bands, n = made.bands, len(rows)
        weights = gaussian_weights(self._free.source.profile, self._free.source.power)
        factors = made.factors @ (weights / weights.sum())
        # reduceat gives an entry, not zero, for a row without any
        sums = np.add.reduceat(np.append(bands.values, np.float32(0)), bands.pointer[:-1]) if len(column) else column
        of_row = factors * np.where(np.diff(bands.pointer) > 0, sums, 0)
        reference = np.bincount(made.event, of_row, n)
        arrays = (made.factors, bands.values, bands.pointer, column, *few, made.event)
        return AddedTables(arrays, np.maximum(reference, 0))

    def table_types(self) -> list[Any]:
        """Types of the variables that hold the tables."""
        return factored_types()

    def density(self, tables: tuple[Variable, ...], theta: Variable, v: Variable, n_events: Variable) -> Variable:
        """Densities of the events."""
        return factored_density(self._free.weights(theta), v, tables, n_events)


@shape_block.register
def _(
    compiled: CompiledHalo, component: ModelComponent, block: LinearBlock, place: int | None
) -> tuple[Block, Variable]:
    if component.psf_scaling is not None:
        raise ModelError(
            f"the PSF of {component.name!r}, a halo of free profile, cannot be scaled; leave that systematic out, or "
            "fold without free_shape."
        )
    source = component.response.halo_source(component.name, smooth=block.few_nodes)
    free = _FreeProfile(source, component.shape)
    made: Block = HaloBlock(free, block) if block.nodes is None else FreeHaloBlock(free, block, place)
    return made, free.theta
