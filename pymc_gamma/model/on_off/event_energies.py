r"""Energies of events as they are observed, one by one: the rows are rates at nodes of the reconstructed energy.

With the rate :math:`\lambda(E')` of ON events, of which :math:`E'\lambda` is linear in :math:`\ln E'` between nodes,

.. math:: \log L = \sum_i \log \lambda(E'_i) - \int \lambda\,\mathrm{d}E' .

The integral is that of the same lines, and events are drawn from them, so that nothing depends on how close the nodes
are but the rate itself.
"""

from collections.abc import Callable
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.distribution import Distribution, _support_point
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Variable

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError, RegionError
from pymc_gamma.model.on_off.measurement import Histogram, Measurement, RegionIntensity, measurement_of, share_of
from pymc_gamma.model.parts import PoissonPart
from pymc_gamma.model.random import DrawnAtOnce
from pymc_gamma.on_off import OnOffEvents
from pymc_gamma.on_off.grid import EnergyGrid

__all__ = ["EventEnergies"]

BINS_PER_DECADE = 20
"""By which the nodes of a background are placed."""
ROUNDING = 1e-12
SPARE, SPREAD = 20, 10.0
"""Rows beyond the observed events, and in their standard deviations."""


class RegionEventsRV(DrawnAtOnce):
    """``(rng, size, *rates) -> energies``: TeV, and NaN in rows that hold no event; of the sum of all rates.

    Parameters
    ----------
    grid : EnergyGrid
        Nodes at which the rates are given.
    n_rows : int
        Number of rows.
    source : RegionIntensity, optional
        What the rates are made of.
    n_rates : int
        Number of rates.
    """

    name = "RegionEvents"
    dtype = "float64"
    _print_name = ("RegionEvents", "\\operatorname{RegionEvents}")
    __props__ = ("name", "signature", "dtype", "inplace", "grid", "n_rows", "source", "n_rates")

    def __init__(
        self, grid: EnergyGrid, n_rows: int, source: RegionIntensity | None, n_rates: int, **kwargs: Any
    ) -> None:
        self.grid, self.n_rows, self.source, self.n_rates = grid, n_rows, source, n_rates
        kwargs["signature"] = f"{','.join(['(g)'] * n_rates)}->(n)"
        super().__init__(**kwargs)

    def _supp_shape_from_params(self, dist_params: Any, param_shapes: Any = None) -> Any:
        return (pt.constant(self.n_rows, dtype="int64"),)

    def rng_fn(self, rng: np.random.Generator, *inputs: Any) -> FloatArray:  # type: ignore[override]
        """Draw a number of events, and their energies."""
        *rates, size = inputs
        total = np.asarray(sum(rates))
        batch = total.shape[:-1] if size is None else tuple(size)
        total = np.broadcast_to(total, (*batch, total.shape[-1]))
        out = np.full((*batch, self.n_rows), np.nan)
        for index in np.ndindex(batch):
            energies = self.grid.draw(rng, total[index])
            if len(energies) > self.n_rows:
                raise ModelError(
                    f"a draw has {len(energies)} events, and the variable {self.n_rows} rows, enough for about as many "
                    "as were observed. For draws far from these, as those of a wide prior, count the events in "
                    "channels, OnOffEvents.binned(edges)."
                )
            out[(*index, slice(len(energies)))] = energies
        return out


class RegionEvents(Distribution):
    """Energies of the events of a region."""

    rv_type = RegionEventsRV

    @classmethod
    def dist(
        cls, rates: Any, *, grid: EnergyGrid, n_rows: int, source: RegionIntensity | None = None, **kwargs: Any
    ) -> Any:
        """Energies that belong to no model, of rates per TeV at the nodes that add up."""
        rates = [pt.as_tensor_variable(one) for one in rates]
        kwargs.pop("shape", None)
        return super().dist(rates, grid=grid, n_rows=n_rows, source=source, **kwargs)

    @classmethod
    def rv_op(
        cls,
        *rates: Variable,
        grid: EnergyGrid,
        n_rows: int,
        source: RegionIntensity | None,
        size: Any = None,
        rng: Any = None,
    ) -> Any:
        """Random variable on a grid."""
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        op = RegionEventsRV(grid, n_rows, source, len(rates))
        return op(*rates, size=size, rng=rng, return_next_rng=True)[1]


@_logprob.register(RegionEventsRV)
def _region_events_logp(
    op: RegionEventsRV,
    values: list[Variable],
    rng: Variable,
    size: Variable,
    *rates: Variable,
    **kwargs: Any,
) -> Variable:
    (value,) = values
    if value.type.ndim != 1:
        raise NotImplementedError(f"events of a region have no batch axes; got energies of type {value.type}.")
    total = reduce(add, rates)
    n = value.shape[0].astype("float64")
    held = pt.invert(pt.isnan(value))
    inside = pt.and_(
        pt.ge(value, op.grid.energy[0] * (1 - ROUNDING)), pt.le(value, op.grid.energy[-1] * (1 + ROUNDING))
    )
    rate = rates_at(op.grid, total, pt.switch(inside, value, op.grid.energy[0]))
    possible = pt.and_(inside, pt.gt(rate, 0))
    log_rate = pt.switch(possible, pt.log(pt.switch(possible, rate, 1.0)), -np.inf)
    return pt.switch(held, log_rate, 0.0) - pt.dot(op.grid.weights, total) / n


@_support_point.register(RegionEventsRV)
def _region_events_support_point(op: RegionEventsRV, rv: Variable, *inputs: Variable) -> Variable:
    return pt.full_like(rv, op.grid.energy[len(op.grid.energy) // 2])


def rates_at(grid: EnergyGrid, rates: Variable, energy: Variable) -> Variable:
    """Rates per TeV at energies in TeV, of those at nodes."""
    log, at = pt.as_tensor_variable(np.log(grid.energy)), pt.log(energy)
    k = pt.clip(pt.searchsorted(log, at, side="right") - 1, 0, len(grid.energy) - 2)
    part = (at - log[k]) / (log[k + 1] - log[k])
    scaled = rates * pt.constant(grid.energy)
    return (scaled[k] * (1 - part) + scaled[k + 1] * part) / energy


@measurement_of.register(OnOffEvents)
class EventEnergies(Measurement):
    """Energies of ON and OFF events.

    Parameters
    ----------
    data : OnOffEvents
        The events.
    """

    def __init__(self, data: OnOffEvents) -> None:
        super().__init__(data)
        self.data: OnOffEvents = data
        self.nodes, self.grid = data.nodes(), data.grid
        self.weights = self.grid.weights

    @property
    def alpha(self) -> FloatArray:
        """That at the nodes."""
        return self.data.alpha

    @property
    def energy_range(self) -> tuple[float, float]:
        """First and last node."""
        return float(self.grid.energy[0]), float(self.grid.energy[-1])

    @cached_property
    def histogram_off(self) -> Histogram:
        """Fine bins."""
        low, high = self.energy_range
        edges = np.geomspace(low, high, max(int(np.ceil(BINS_PER_DECADE * np.log10(high / low))), 1) + 1)
        return Histogram(edges, np.histogram(self.data.energy_off.value, edges)[0].astype(float))

    def rows_of(self, function: Callable[[FloatArray], FloatArray], cuts: FloatArray) -> FloatArray:
        """Rates at the nodes, times the acceptance of the OFF region over its largest."""
        acceptance = self.data.acceptance_off
        return np.asarray(function(self.grid.energy) * (acceptance / acceptance.max())).T

    def add_coords(self, name: str, model: pm.Model) -> str:
        """Rows of the variable of ON events."""
        dims = f"{name}_event"
        model.add_coord(dims, length=_n_rows(len(self.data)))
        return dims

    def observe_off(self, name: str, background: Variable, dims: str) -> Variable:
        """Energies of OFF events."""
        own = f"{name}_event"
        n_rows = _n_rows(len(self.data.energy_off))
        pm.modelcontext(None).add_coord(own, length=n_rows)
        observed = _padded(self.data.energy_off.value, n_rows)
        return RegionEvents(name, [background], grid=self.grid, n_rows=n_rows, observed=observed, dims=own)

    def observe_on(
        self, name: str, source: RegionIntensity, signal: Variable, background: Variable | None, dims: str
    ) -> Variable:
        """Energies of ON events."""
        n_rows = _n_rows(len(self.data))
        rates = [signal] if background is None else [signal, background]
        observed = _padded(self.data.energy.value, n_rows)
        return RegionEvents(name, rates, grid=self.grid, n_rows=n_rows, source=source, observed=observed, dims=dims)

    def signal_of(self, name: str, signal: Variable, dims: str) -> Variable:
        """Expected number of events of the source."""
        return pm.Deterministic(name, pt.dot(self.weights, signal))

    def check_signal(self, name: str, values: FloatArray) -> None:
        """See :class:`Measurement`."""
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            r = int(bad.argmax())
            raise ModelError(
                f"{name}: {values[r]:g} events of the source per TeV are expected in {self.name!r} at "
                f"{self.grid.energy[r]:.4g} TeV for the initial values of the parameters; it must be finite and not "
                "negative. Check the parameters of the spectrum and their priors."
            )
        if not self.has_off and len(self.data):
            rate = self.grid.rates_at(values, self.data.energy.value)
            if (rate == 0).any():
                at = self.data.energy.value[(rate == 0).argmax()]
                raise ModelError(
                    f"{name}: {self.name!r} has no OFF events, and an event at {at:.4g} TeV, where none are expected "
                    "of the source for the initial values of the parameters. Give OFF events, or fewer energies."
                )

    def flux_part(
        self, signal: Variable, background: Variable | None, value: FloatArray, energy: tuple[float, float]
    ) -> PoissonPart:
        """Events within a range; one at its upper end belongs to the next, but at the end of the data.

        Raises
        ------
        RegionError
            If the data have no such energies.
        """
        first, last = self.energy_range
        low, high = max(energy[0], first), min(energy[1], last)
        if not low < high:
            raise RegionError(
                f"{self.name!r} has energies from {first:.4g} to {last:.4g} TeV, none from {energy[0]:g} to "
                f"{energy[1]:g} TeV."
            )
        inside = (value >= low) & ((value < high) | (high == last))
        chosen = pt.constant(value[inside])
        own = rates_at(self.grid, signal, chosen)
        share = share_of(own, None if background is None else rates_at(self.grid, background, chosen))
        expected = pt.dot(self.grid.weights_between(low, high), signal)[None]
        n = int(inside.sum())
        return PoissonPart(share, expected, np.ones(n), np.zeros(n, np.int64), 1)


def _n_rows(n: int) -> int:
    """Rows for as many events, and for predictive draws of more."""
    return n + SPARE + int(np.ceil(SPREAD * np.sqrt(n)))


def _padded(energy: FloatArray, n_rows: int) -> Variable:
    """Energies and rows of NaN; a Variable, as PyMC imputes NaN of arrays."""
    return pt.constant(np.concatenate([energy, np.full(n_rows - len(energy), np.nan)]))
