r"""Expected limits: which limits data without a signal would give.

The median is that of Asimov data, cells that hold what is expected without signal, and bands are those of simulations:
Poisson numbers of events in the same cells, so that densities are folded once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import xarray as xr
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pymc_gamma.arguments import checked, integer, kind, number, quantity, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import ModelError, warn_user
from pymc_gamma.events import Events
from pymc_gamma.inference.marginal import MarginalPosterior
from pymc_gamma.model.event_source import ResponseSource
from pymc_gamma.model.random import EventMixtureRV
from pymc_gamma.model.table import EventTable
from pymc_gamma.units import to_value

__all__ = ["QUANTILES", "expected_limits", "observed_limits"]

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Median, and ends of the bands that hold 68 % and 95 % of the limits."""

Limit = Callable[[pm.Model], float]
Builder = Callable[[Events, Any], pm.Model]


@checked(
    masses=quantity("TeV"),
    variable=text,
    probability=partial(number, low=0.0, high=1.0),
    n=integer,
    rebuild=kind("bool"),
    random_seed=integer,
    previous=kind("Dataset", "NoneType"),
)
def expected_limits(
    build: Builder,
    null: Events | Callable[[np.random.Generator], Events],
    masses: Any,
    *,
    variable: str = "sigmav",
    probability: float = 0.95,
    n: int = 100,
    limit: Limit | None = None,
    rebuild: bool = False,
    random_seed: int = 0,
    previous: xr.Dataset | None = None,
    progressbar: bool = True,
) -> xr.Dataset:
    """Upper limits that data without a signal would give, for each of several masses.

    Parameters
    ----------
    build : callable
        Function of events and a mass to a model in which they are observed: ``build(events, mass)``. The mass is a
        PyTensor variable in TeV whose value changes, so that a model is built and compiled once; see ``rebuild``.
    null : Events, or callable
        What is expected without a signal, from :meth:`Response.asimov`: simulations are Poisson numbers of events in
        its cells. Or a function of a random generator to simulated events, such as ``lambda rng:
        response.simulate(rng=rng)``; models are then built for each.
    masses : Quantity
        Masses, shape (n_masses,).
    variable : str
        Free variable to limit, a single number.
    probability : float
        Posterior probability below the limit.
    n : int
        Number of simulations for each mass, the same data for all masses. 0: Asimov data alone.
    limit : callable, optional
        Function of a model to its limit, for example by :func:`pymc.sample` and :func:`~pymc_gamma.upper_limit`; a
        model is then built for each simulation. Default: the quantile of the marginal posterior, with the other
        variables integrated out as Gaussians around where they fit best for each value of the variable.
    rebuild : bool
        Whether to call ``build`` for each mass, with a number, because the model depends on it otherwise than as a
        PyTensor expression.
    random_seed : int
        Seed; simulation *k* has the same events whatever ``n`` is.
    previous : xarray.Dataset, optional
        Result of an earlier call with the same arguments but ``n``, maybe interrupted: limits in it are not computed
        again.
    progressbar : bool
        Show the progress.

    Returns
    -------
    xarray.Dataset
        ``asimov`` (mass), the limit of Asimov data, if ``null`` are such; ``limit`` (mass, simulation); ``quantiles``
        (mass, quantile), of the limits at 2.5, 16, 50, 84 and 97.5 %. NaN where an interruption (Ctrl-C) left out what
        ``previous`` completes.

    Raises
    ------
    ModelError
        If masses are not positive, a model has not one variable of events, or no limit is found; if ``previous`` is of
        other masses or seeds.

    See Also
    --------
    observed_limits : limits of what was observed.
    upper_limit : limit of a posterior.
    plot_limits : picture of limits against mass.

    Examples
    --------
    >>> def build(events, mass):
    ...     with pm.Model() as model:
    ...         sigmav = pm.Uniform("sigmav", 0, 1e4)  # 1e-26 cm3 s-1
    ...         spectrum = pmg.darkmatter.Annihilation(mass, 1e-26 * sigmav, "gamma", j_factor=j)
    ...         pmg.ExtendedEventMixture("events", response=response, spectra={"dm": spectrum}, observed=events)
    ...     return model
    >>> null = response.asimov(energy=30, pixel=0.2 * u.deg, norms={"dm": 0})  # doctest: +SKIP
    >>> expected = pmg.expected_limits(build, null, [0.5, 1, 2] * u.TeV)  # doctest: +SKIP
    """
    grid = _masses(masses)
    if not isinstance(null, Events) and not callable(null):
        raise TypeError(
            f"null must be Events of Response.asimov, or a function of a random generator to events, got "
            f"{type(null).__name__}."
        )
    if not isinstance(null, Events) and n < 1:
        raise ModelError("n must be at least 1 where null are simulations: there are no Asimov data.")
    runs = _Runs(build, null, variable, probability, limit, rebuild, random_seed)
    done = _earlier(previous, grid, n, runs.settings)
    todo = [(j, k) for j in range(len(grid)) for k in range(-1, n) if np.isnan(done[j, k + 1]) and runs.has(k)]
    try:
        for j, k in _shown(todo, progressbar):
            done[j, k + 1] = runs.limit(float(grid[j]), k)
    except KeyboardInterrupt:
        warn_user("interrupted; pass previous= the result, to go on.")
    return _dataset(grid, done, runs)


@checked(
    events=kind("Events"),
    masses=quantity("TeV"),
    variable=text,
    probability=partial(number, low=0.0, high=1.0),
    rebuild=kind("bool"),
)
def observed_limits(
    build: Builder,
    events: Events,
    masses: Any,
    *,
    variable: str = "sigmav",
    probability: float = 0.95,
    limit: Limit | None = None,
    rebuild: bool = False,
    progressbar: bool = True,
) -> xr.DataArray:
    """Upper limits of events, for each of several masses, as :func:`expected_limits` has those of simulations.

    Parameters
    ----------
    build : callable
        Function of events and a mass to a model, see :func:`expected_limits`.
    events : Events
        What was observed, single events or cells.
    masses : Quantity
        Masses, shape (n_masses,).
    variable : str
        Free variable to limit, a single number.
    probability : float
        Posterior probability below the limit.
    limit : callable, optional
        Function of a model to its limit, see :func:`expected_limits`.
    rebuild : bool
        Whether to call ``build`` for each mass, with a number.
    progressbar : bool
        Show the progress.

    Returns
    -------
    xarray.DataArray
        Limits, dims (mass); the coordinate is in TeV.

    Raises
    ------
    ModelError
        As :func:`expected_limits` does.

    Examples
    --------
    >>> limits = pmg.observed_limits(build, events, [0.5, 1, 2] * u.TeV)  # doctest: +SKIP
    """
    grid, runs = _masses(masses), _Runs(build, events, variable, probability, limit, rebuild, 0)
    found = [runs.limit(float(grid[j]), -1) for j, _ in _shown([(j, -1) for j in range(len(grid))], progressbar)]
    coords = {"mass": ("mass", grid, {"units": "TeV"})}
    return xr.DataArray(found, coords, ("mass",), name=variable, attrs={"probability": probability})


class _Runs:
    """Limits of simulations, and of Asimov data, which are number -1."""

    def __init__(
        self,
        build: Builder,
        null: Any,
        variable: str,
        probability: float,
        limit: Limit | None,
        rebuild: bool,
        seed: int,
    ) -> None:
        if not callable(build):
            raise TypeError(f"build must be a function of events and a mass to a model, got {type(build).__name__}.")
        if limit is not None and not callable(limit):
            raise TypeError(f"limit must be a function of a model to a number, got {type(limit).__name__}.")
        self._build, self._null, self._rebuild, self._seed = build, null, rebuild, seed
        self._given, self._variable, self._probability = limit, variable, probability
        self._mass = None if rebuild else pytensor.shared(1.0, name="mass")
        self._compiled: tuple[float | None, MarginalPosterior, list[EventTable]] | None = None
        self.asimov = null if isinstance(null, Events) else None
        self.settings = {"variable": variable, "probability": probability, "random_seed": seed}

    def has(self, k: int) -> bool:
        """Whether there are data of this number."""
        return k >= 0 or self.asimov is not None

    def limit(self, mass: float, k: int) -> float:
        """Limit for a mass and data of a number."""
        if self.asimov is not None and self._given is None:
            posterior, tables = self._posterior(mass)
            with _multiplicities(tables, self.asimov, self._counts(k)):
                return self._checked(posterior.quantile(self._probability), mass, k)
        model = self._model(self._events(k), mass)
        if self._given is not None:
            return self._checked(float(self._given(model)), mass, k)
        return self._checked(MarginalPosterior(model, self._variable).quantile(self._probability), mass, k)

    def _posterior(self, mass: float) -> tuple[MarginalPosterior, list[EventTable]]:
        """The compiled posterior for a mass, and the tables of its events."""
        at = mass if self._rebuild else None
        if self._mass is not None:
            self._mass.set_value(mass)
        if self._compiled is None or self._compiled[0] != at:
            model = self._model(self.asimov, mass)
            self._compiled = at, MarginalPosterior(model, self._variable), [_table_of(model)]
        return self._compiled[1:]

    def _model(self, events: Any, mass: float) -> pm.Model:
        if self._mass is not None:
            self._mass.set_value(mass)
        model = self._build(events, mass if self._mass is None else self._mass)
        if not isinstance(model, pm.Model):
            raise TypeError(f"build must return a pymc.Model, got {type(model).__name__}.")
        return model

    def _counts(self, k: int) -> FloatArray:
        """Numbers of events in the cells."""
        assert self.asimov is not None
        expected = self.asimov.multiplicity
        return expected if k < 0 else self._rng(k).poisson(expected).astype(float)

    def _events(self, k: int) -> Events:
        if self.asimov is None:
            events = self._null(self._rng(k))
            if not isinstance(events, Events):
                raise TypeError(f"null must return Events, got {type(events).__name__}.")
            return events
        if k < 0:
            return self.asimov
        counts = self._counts(k)
        events = self.asimov[counts > 0]
        return Events(
            events.energy,
            events.lon,
            events.lat,
            frame=events.frame,
            observation=events.observation,
            multiplicity=counts[counts > 0],
            cells=events.cells,
        )

    def _rng(self, k: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, k])

    def _checked(self, value: float, mass: float, k: int) -> float:
        if not np.isfinite(value):
            data = "Asimov data" if k < 0 else f"simulation {k}"
            raise ModelError(f"the limit of {data} at {mass:g} TeV is {value:g}; it must be a finite number.")
        return value


def _table_of(model: pm.Model) -> EventTable:
    """The table that a model reads its events from."""
    found = [rv for rv in model.observed_RVs if rv.owner is not None and isinstance(rv.owner.op, EventMixtureRV)]
    if len(found) != 1:
        raise ModelError(
            f"the model has {len(found)} variables of observed events, {[rv.name for rv in found]}; limits are swapped "
            "into one. Pass limit=, which is given a model for each simulation."
        )
    source, value = found[0].owner.op.source, model.rvs_to_values[found[0]]
    if not isinstance(source, ResponseSource):
        raise ModelError(f"{found[0].name!r} was made from a log_likelihood table; pass limit=, and events in build.")
    return source.table(np.asarray(value.data))


@contextmanager
def _multiplicities(tables: Sequence[EventTable], events: Events, counts: FloatArray) -> Iterator[None]:
    """Let the cells of a model hold other numbers of events, for a while."""
    n_rows = [len(table.inputs[1].get_value(borrow=True)) for table in tables]
    if any(rows < len(events) for rows in n_rows):
        raise ModelError(f"the model observes {n_rows} rows, fewer than the {len(events)} cells that build was given.")

    def put(values: FloatArray) -> None:
        for table, rows in zip(tables, n_rows, strict=True):
            table.set_multiplicity(np.concatenate([values, np.zeros(rows - len(values))]))  # rows to spare

    put(counts)
    try:
        yield
    finally:
        put(events.multiplicity)


def _masses(masses: Any) -> FloatArray:
    grid = np.atleast_1d(to_value(masses, "TeV", "masses"))
    if grid.ndim != 1 or not len(grid) or not np.all((grid > 0) & np.isfinite(grid)):
        raise ModelError(f"masses must be a vector of positive masses, got {masses}.")
    if len(np.unique(grid)) < len(grid):
        raise ModelError(f"masses must differ from each other, got {grid.tolist()}.")
    return np.asarray(grid, float)


def _earlier(previous: xr.Dataset | None, grid: FloatArray, n: int, settings: dict[str, Any]) -> FloatArray:
    """Limits (mass, 1 + n) that are known, of Asimov data and of simulations; NaN for the others."""
    done = np.full((len(grid), 1 + n), np.nan)
    if previous is None:
        return done
    other = {key: previous.attrs.get(key) for key, value in settings.items() if previous.attrs.get(key) != value}
    if other or not np.array_equal(previous["mass"].values, grid):
        raise ModelError(f"previous is a result of other masses or settings ({other}); leave it out.")
    if "asimov" in previous:
        done[:, 0] = previous["asimov"].values
    known = previous["limit"].values[:, :n]
    done[:, 1 : 1 + known.shape[1]] = known
    return done


def _dataset(grid: FloatArray, done: FloatArray, runs: _Runs) -> xr.Dataset:
    limits = done[:, 1:]
    variables: dict[str, Any] = {"limit": (("mass", "simulation"), limits)}
    if runs.asimov is not None:
        variables["asimov"] = ("mass", done[:, 0])
    quantiles = np.full((len(grid), len(QUANTILES)), np.nan)
    some = np.isfinite(limits).any(axis=1)
    if some.any():  # n=0 has none
        quantiles[some] = np.nanquantile(limits[some], QUANTILES, axis=1).T
    variables["quantiles"] = (("mass", "quantile"), quantiles)
    coords = {"mass": ("mass", grid, {"units": "TeV"}), "quantile": list(QUANTILES)}
    return xr.Dataset(variables, coords, {**runs.settings})


def _shown(todo: list[tuple[int, int]], progressbar: bool) -> Iterator[tuple[int, int]]:
    """What is to be done, with a bar of what is done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True, disable=not progressbar) as progress:
        yield from progress.track(todo, description="limits")
