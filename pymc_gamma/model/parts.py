r"""What a component adds to the likelihood of a part of the data: of a band of energy, an observation.

With the share :math:`r_i` of the component in the intensity at event *i*, of multiplicity :math:`m_i`, and
:math:`\Lambda` events expected from it, a factor *s* on its flux in the part changes the logarithm of the likelihood by

.. math:: \log L(s) - \log L(1) = \sum_i m_i \log\big(1 + (s - 1)\, r_i\big) - (s - 1)\,\Lambda .

Estimators of fluxes (:mod:`pymc_gamma.inference.flux_points`) ask an observed variable for nothing else. A distribution
that offers them its ``source`` as a :class:`FluxSource` takes part, whatever its data are.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import astropy.units as u
import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError
from pymc_gamma.events.rows import CELL, MULTIPLICITY
from pymc_gamma.model.build import build_intensity
from pymc_gamma.model.component import ModelComponent
from pymc_gamma.model.intensity import Intensity
from pymc_gamma.model.table import TableInputs

__all__ = ["FluxPart", "FluxSource", "PoissonPart", "poisson_part"]


_CHUNK = 4096
"""Events at a time."""
_ROUNDING = 1e-6
"""Relative, of edges of cells."""


class FluxPart(ABC):
    """The likelihood of a part of the data for factors on the flux of a component.

    Attributes
    ----------
    expression : TensorVariable
        What it needs of the parameters of the model, a vector.
    counts : numpy.ndarray
        Events of all components in each group, shape (n_groups,).
    """

    expression: Variable
    counts: FloatArray

    @abstractmethod
    def log_likelihood(self, factor: FloatArray, values: FloatArray, group: int) -> FloatArray:
        """Logarithm of the likelihood of a group, over that of a factor of 1.

        Parameters
        ----------
        factor : numpy.ndarray
            Factors on the flux, not negative, shape (n,).
        values : numpy.ndarray
            The expression at parameters of the model.
        group : int
            Which group.

        Returns
        -------
        numpy.ndarray
            Shape (n,).
        """

    @abstractmethod
    def expected(self, values: FloatArray) -> FloatArray:
        """Events expected from the component in each group, shape (n_groups,)."""


@runtime_checkable
class FluxSource(Protocol):
    """What observed variables must offer for fluxes of components to be estimated from them."""

    component_names: tuple[str, ...]

    @property
    def energy_range(self) -> tuple[float, float]:
        """Reconstructed energies of its data in TeV."""
        ...

    @property
    def observations(self) -> Sequence[Any]:
        """Observations that its data belong to: they are the groups."""
        ...

    def flux(self, component: str, energy: FloatArray) -> Variable:
        """Flux of a component, TeV-1 cm-2 s-1 at true energies in TeV (n,), shape (n,) or (n_observations, n)."""
        ...

    def flux_part(self, component: str, value: FloatArray, energy: tuple[float, float]) -> FluxPart:
        """The part of observed data with reconstructed energies in a range in TeV; a group for each observation."""
        ...


class PoissonPart(FluxPart):
    """Events of a Poisson process.

    Parameters
    ----------
    share : TensorVariable
        Share of the component in the intensity at each event, shape (N,).
    expected : TensorVariable
        Events expected from it in each group, shape (n_groups,).
    multiplicity : numpy.ndarray
        How often each event counts, shape (N,).
    group : numpy.ndarray
        Group of each, shape (N,).
    n_groups : int
        Number of groups.
    """

    def __init__(
        self, share: Variable, expected: Variable, multiplicity: FloatArray, group: NDArray[np.int64], n_groups: int
    ) -> None:
        self.expression = pt.concatenate([share, expected])
        self._multiplicity, self._group, self._n = multiplicity, group, n_groups
        self.counts = np.bincount(group, weights=multiplicity, minlength=n_groups)

    def log_likelihood(self, factor: FloatArray, values: FloatArray, group: int) -> FloatArray:
        """Sum of logarithms at events less what is expected."""
        n = len(self._multiplicity)
        found = -(factor - 1) * values[n + group]
        mine = np.flatnonzero(self._group == group)
        for start in range(0, len(mine), _CHUNK):
            chosen = mine[start : start + _CHUNK]
            with np.errstate(divide="ignore"):  # where no other component is an event is impossible without this one
                found = found + np.log1p((factor - 1)[:, None] * values[chosen]) @ self._multiplicity[chosen]
        return np.asarray(found)

    def expected(self, values: FloatArray) -> FloatArray:
        """The last numbers."""
        return values[len(self._multiplicity) :]


def poisson_part[I: Intensity](
    source: I, components: Sequence[ModelComponent], component: str, value: FloatArray, energy: tuple[float, float]
) -> PoissonPart:
    """The part of the events of a Poisson process with reconstructed energies in a range in TeV.

    Events at its upper end are part of the next one, unless it is the end of the region.

    Parameters
    ----------
    source : Intensity
        The process.
    components : sequence of ModelComponent
        What it was made of.
    component : str
        Name of one of them.
    value : numpy.ndarray
        Observed rows.
    energy : tuple of float
        The range.

    Raises
    ------
    ModelError
        If nothing is expected from the component at these energies, or cells lie across an end of the range.
    RegionError
        If no observation keeps any of these energies.
    """
    response = source.response.in_energy_range(energy * u.TeV)
    if component not in response.component_names:
        raise ModelError(
            f"nothing is expected from {component!r} at {energy[0]:g}-{energy[1]:g} TeV; leave this band out."
        )
    n_groups = len(response.observations)
    scale = pt.vector("scale", shape=(n_groups,)) if n_groups > 1 else pt.scalar("scale")
    own = [replace(one, response=response) for one in components if one.name in response.component_names]
    own = [one.times(scale) if one.name == component else one for one in own]
    rough = [one.name for one in own if one.free and one.name not in source.smooth]
    part, parameters = build_intensity(component, type(source), own, None, needs_norms=True, not_smooth_names=rough)
    weighted = part.weighted(parameters)
    expected = pt.grad(weighted.total, scale).reshape((n_groups,))
    rows, multiplicity = _rows_of(source, value, energy, response.roi.energy_max == source.response.roi.energy_max)
    group = np.zeros(len(rows), np.int64)
    if "observation" in source.columns:
        group = rows[:, source.columns.index("observation")].astype(np.int64)
    share = pt.zeros((0,))
    zeros, ones = (pt.constant(np.full(scale.type.shape, one)) for one in (0.0, 1.0))
    if len(rows):
        table = part.table(rows)
        log_density = part.log_density(TableInputs(table.inputs, table.added), weighted)
        without = graph_replace(log_density, {scale: zeros}, strict=False)
        share = 1 - pt.exp(without - log_density)
    share, expected = graph_replace([share, expected], {scale: ones}, strict=False)
    return PoissonPart(share, expected, multiplicity, group, n_groups)


def _rows_of(
    source: Intensity, value: FloatArray, energy: tuple[float, float], last: bool
) -> tuple[FloatArray, FloatArray]:
    """Rows in a range, each as one event, and how often they count."""
    layout = source.layout(value.shape[-1])
    rows = value[~np.isnan(value).all(axis=1)]
    if layout.cell is None:
        at = rows[:, source.columns.index("energy")]
        inside = (at >= energy[0]) & ((at <= energy[1]) if last else (at < energy[1]))
    else:
        low, high = rows[:, layout.column(CELL[0])], rows[:, layout.column(CELL[1])]
        inside = (low >= energy[0] * (1 - _ROUNDING)) & (high <= energy[1] * (1 + _ROUNDING))
        across = ~inside & (high > energy[0] * (1 + _ROUNDING)) & (low < energy[1] * (1 - _ROUNDING))
        if across.any():
            first = int(across.argmax())
            raise ModelError(
                f"{int(across.sum())} cells lie across an end of {energy[0]:g}-{energy[1]:g} TeV, the first at "
                f"{low[first]:g}-{high[first]:g} TeV; choose edges among those of the cells."
            )
    rows = rows[inside].copy()
    multiplicity = np.ones(len(rows))
    if MULTIPLICITY in layout.extra:
        multiplicity = rows[:, layout.column(MULTIPLICITY)].copy()
        rows[:, layout.column(MULTIPLICITY)] = 1.0
    return rows[multiplicity > 0], multiplicity[multiplicity > 0]
