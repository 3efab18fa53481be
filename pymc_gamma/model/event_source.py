r"""Where the densities of an event mixture come from: a response, or a table that the user computed.

A source turns rows of the observed value into scaled densities: :math:`p_{ik} = e^{o_i} P_{ik}` with
:math:`\max_k P_{ik} = 1`, so that neither very small densities nor log-likelihoods of -1e5 overflow or underflow;
where columns of one event differ by as much, their logarithms go with the table.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.basic import Variable

from pymc_gamma.errors import EventError, ModelError
from pymc_gamma.events.rows import EVENT_ROWS, MULTIPLICITY, RowLayout, row_layout
from pymc_gamma.labelled import aligned
from pymc_gamma.model.protocol import EventList, MixtureResponse
from pymc_gamma.model.table import EventTable, ScaledDensities, TableArrays, TableInputs
from pymc_gamma.ops.logmatvec import log_matvec
from pymc_gamma.units import numbers

__all__ = ["EventSource", "ResponseSource", "TabulatedSource", "list_first", "lists_of_events"]

# enough for a model and its posterior predictive twin, without hoarding the tables of a loop over data sets
_N_TABLES = 2


class EventSource(ABC):
    """Densities and draws of *K* components, and the tables built from them.

    Tables are remembered by the content of the rows (with their multiplicities), so that the several graphs PyMC
    derives from one model share one table and new data never meets an old one.
    """

    units: dict[str, str]
    """Units of variables of the model that it was made for: those noted of variables are lost in copies of a model."""
    descriptions: dict[str, str]
    """What these variables are used for."""
    row_kinds: ClassVar[tuple[tuple[str, ...], ...]] = EVENT_ROWS
    """Columns that may follow those of the source in an observed value."""

    def __init__(self, columns: tuple[str, ...], component_names: tuple[str, ...]) -> None:
        self.columns = columns
        self.component_names = component_names
        self.units: dict[str, str] = {}
        self.descriptions: dict[str, str] = {}
        self._tables: OrderedDict[bytes, EventTable] = OrderedDict()

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.component_names)

    @property
    def n_columns(self) -> int:
        """Number of columns of the table that are not stored as bands."""
        return self.n_components

    @property
    def banded(self) -> bool:
        """Whether the table has columns stored as bands."""
        return False

    @property
    def signature(self) -> str:
        """Parameters of the random variable that draws from this source."""
        return "(k)"

    def check_parameters(self, fraction: NDArray[np.float64], *rest: NDArray[np.float64]) -> None:
        """Raise a ModelError unless events can be drawn with these parameters, which may have batch axes."""
        if fraction.shape[-1] != len(self.component_names):
            raise ModelError(
                f"{fraction.shape[-1]} fractions for the {len(self.component_names)} components {self.component_names}."
            )
        if not (np.all(fraction >= 0) and np.all(np.isfinite(fraction)) and np.all(fraction.sum(axis=-1) > 0)):
            raise ModelError(
                f"the fractions of {self.component_names} must be finite and not negative, with a positive sum; got "
                f"{np.array2string(np.asarray(fraction), threshold=10)}."
            )

    def without(self, component: str, inputs: Sequence[Variable]) -> list[Variable]:
        """Parameters of the random variable with nothing of a component; the others keep their ratios."""
        fraction, *rest = inputs
        kept = np.array([name != component for name in self.component_names], float)
        return [fraction * pt.constant(kept), *rest]

    def draw(self, n: int, rng: np.random.Generator, *parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """``n`` rows for parameters without batch axes."""
        return self.simulate(parameters[0], n, rng)

    def representative_row(self) -> NDArray[np.float64]:
        """An event that is possible."""
        n = self.n_components
        return self.simulate(np.full(n, 1.0 / n), 1, np.random.default_rng(0))[0]

    def __getstate__(self) -> dict[str, Any]:
        """Without the tables: they are made again from the rows."""
        return {**self.__dict__, "_tables": OrderedDict()}

    def added_types(self) -> list[list[Any]]:
        """Types of the variables that hold more tables than that of the columns."""
        return []

    def mixture_log_density(self, inputs: TableInputs, fraction: Variable, parameters: Sequence[Variable]) -> Variable:
        """Logarithm of the density of events, times their multiplicities, for fractions that sum to one; (N,)."""
        return log_matvec(*inputs.columns, fraction)

    @abstractmethod
    def scaled_densities(self, rows: NDArray[np.float64]) -> ScaledDensities:
        """Densities of rows, each over the largest of its row."""

    @abstractmethod
    def simulate(
        self,
        weights: NDArray[np.float64],
        n: int,
        rng: np.random.Generator,
        spectra: list[Any] | None = None,
    ) -> NDArray[np.float64]:
        """``n`` rows drawn from the mixture with these weights (K,), and spectra of the free components."""

    def layout(self, n_columns: int | None) -> RowLayout:
        """Names of the columns of an observed value with so many of them.

        Raises
        ------
        EventError
            If no value of this source has so many columns.
        """
        found = row_layout(self.columns, n_columns or 0, self.row_kinds)
        if found is None:
            allowed = " or ".join(str((*self.columns, *kind)) for kind in self.row_kinds)
            raise EventError(
                f"observed events must have the columns {self.columns}, optionally followed by {MULTIPLICITY!r}; got "
                f"{'an unknown number of' if n_columns is None else n_columns} columns (possible are {allowed})."
            )
        return found

    def split(self, value: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows (N, n_columns) and multiplicities (N,) of an observed value, checked.

        The edges of cells, if there are any, follow the columns of the source in the rows.
        """
        if value.ndim != 2:
            raise EventError(
                f"observed events must have the columns {self.columns}, optionally followed by {MULTIPLICITY!r}; "
                f"got an array of shape {value.shape}."
            )
        layout = self.layout(value.shape[1])
        if len(value) == 0:
            raise EventError("the list of observed events is empty; an event mixture needs at least one event.")
        if MULTIPLICITY not in layout.extra:
            return np.ascontiguousarray(value, dtype=np.float64), np.ones(len(value))
        column = layout.column(MULTIPLICITY)
        rows = np.ascontiguousarray(np.delete(value, column, axis=1), dtype=np.float64)
        multiplicity = np.ascontiguousarray(value[:, column], dtype=np.float64)
        _reject(
            ~(np.isfinite(multiplicity) & (multiplicity >= 0)),
            "have a multiplicity that is negative or not finite",
        )
        return rows, multiplicity

    def arrays(self, value: NDArray[np.float64]) -> TableArrays:
        """Blocked arrays of an observed value.

        Raises
        ------
        EventError
            If rows are malformed, or no component can produce an event.
        """
        rows, multiplicity = self.split(value)
        densities, log_scale, logs = self.scaled_densities(rows)
        self._check_possible(densities.max(axis=1), multiplicity, rows)
        return TableArrays.build(densities, multiplicity, log_scale, log_densities=logs)

    def _check_possible(
        self, largest: NDArray[np.float64], multiplicity: NDArray[np.float64], rows: NDArray[np.float64]
    ) -> None:
        _reject(
            (largest == 0) & (multiplicity > 0),
            f"have zero density under every component ({', '.join(self.component_names)})",
            "; remove them, or add the component that produced them.",
            rows,
        )

    def table(self, value: NDArray[np.float64]) -> EventTable:
        """Shared table of an observed value, made on first use."""
        content = np.ascontiguousarray(value)
        key = blake2b(content, digest_size=16, person=str(content.shape).encode()[:16]).digest()
        if key not in self._tables:
            self._tables[key] = EventTable(self.arrays(content))
            while len(self._tables) > _N_TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(key)
        return self._tables[key]


class ResponseSource(EventSource):
    """Densities and draws of a response.

    Parameters
    ----------
    response : MixtureResponse
        The response.
    """

    def __init__(self, response: MixtureResponse) -> None:
        if not isinstance(response, MixtureResponse):
            raise TypeError(
                "response must offer component_names, coords, reco, component_pdf and simulate_rows "
                f"(as what `fold` returns does), got {type(response).__name__}."
            )
        super().__init__(tuple(response.reco), tuple(response.component_names))
        self.response = response

    def scaled_densities(self, rows: NDArray[np.float64]) -> ScaledDensities:
        """Densities of the response over their largest in each row."""
        densities = self.densities(rows)
        largest = densities.max(axis=1)
        return ScaledDensities.of(densities, np.where(largest > 0, largest, 1.0))

    def densities(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Densities of all components (N, K), checked."""
        return self.checked(self.response.component_pdf(rows), rows, range(self.n_components))

    def checked(self, given: Any, rows: NDArray[np.float64], which: Sequence[int]) -> NDArray[np.float64]:
        """Densities of some components, given by number, that a response returned for rows."""
        densities = np.asarray(given, dtype=np.float64)
        if densities.shape != (len(rows), len(which)):
            raise EventError(
                f"the response returned shape {densities.shape}, expected {(len(rows), len(which))} "
                f"for {len(rows)} events and the components {tuple(self.component_names[k] for k in which)}."
            )
        _reject(
            ~(np.isfinite(densities) & (densities >= 0)).all(axis=1),
            "got a negative or non-finite density from the response",
            rows=rows,
        )
        return densities

    def simulate(
        self,
        weights: NDArray[np.float64],
        n: int,
        rng: np.random.Generator,
        spectra: list[Any] | None = None,
    ) -> NDArray[np.float64]:
        """Events drawn through the response."""
        return np.asarray(self.response.simulate_rows(weights, n, rng), dtype=np.float64)

    def value(self, events: Any) -> NDArray[np.float64]:
        """Observed value of a list of events or an array of rows, of one of the layouts of :meth:`layout`."""
        value = self.numbers(events)
        if value.ndim <= 2:
            # made here, where the user is, so that a bad event is refused at once; the model finds it again
            self.table(value)
        return value

    def numbers(self, events: Any) -> NDArray[np.float64]:
        """As :meth:`value`, before the densities of the events are asked for."""
        if isinstance(events, EventList):
            value = np.asarray(self.response.event_rows(events), dtype=np.float64)
        elif isinstance(events, u.Quantity):
            raise EventError(
                f"observed events must be Events, or an array of rows with the columns {self.columns} without a unit, "
                f"got a quantity in {str(events.unit)!r}."
            )
        else:
            events = aligned(events, {"event": None, "reco": self._labels(events)}, "observed events")
            try:
                value = numbers(events, "observed events", finite=False)
            except TypeError as error:
                raise EventError(
                    f"observed events must be Events, or an array of rows with the columns {self.columns}, got "
                    f"{type(events).__name__}; make them with Events.from_table, from_skycoord or from_gammapy."
                ) from error
        if value.ndim >= 2 and value.size and np.isnan(value).any():
            # PyMC would take NaN for missing data and invent events
            flat = value.reshape(-1, value.shape[-1])
            _reject(np.isnan(flat).any(axis=1), "contain NaN", rows=flat)
        return value

    def _labels(self, events: Any) -> tuple[str, ...]:
        """Names of the columns of labelled events: those of the kind that has as many."""
        found = row_layout(self.columns, np.shape(events)[-1] if np.ndim(events) else 0, self.row_kinds)
        return self.columns if found is None else found.names

    def stacked(self, lists: Sequence[Any]) -> NDArray[np.float64]:
        """Observed value of several lists of events, one for each vector of fractions.

        Lists of different lengths or kinds get multiplicities, and rows of multiplicity 0 after the shorter ones.
        """
        values = [self.numbers(events) for events in lists]
        for one in values:
            self.split(one)  # says what is wrong with it
        layouts = [self.layout(one.shape[1]) for one in values]
        longest = max(map(len, values))
        if len({one.shape for one in values}) > 1:
            layout = max((self.layout(len(self.columns) + 1), *layouts), key=lambda one: len(one.extra))
            spare = layout.completed(np.asarray(self.representative_row())[None])
            spare[:, layout.column(MULTIPLICITY)] = 0
            values = [
                np.concatenate([one if own == layout else layout.completed(one), spare.repeat(longest - len(one), 0)])
                for one, own in zip(values, layouts, strict=True)
            ]
        for one in values:
            self.table(one)
        return np.stack(values)

    def batch(
        self, observed: Any, wanted: tuple[int | None, ...], name: str, label: str = "the fractions"
    ) -> NDArray[np.float64]:
        """Rows of observed events, as many lists of them as there are vectors of fractions.

        Raises
        ------
        ModelError
            If there are other numbers of lists; names the variable ``name`` and the fractions ``label``.
        """
        lists, shape = lists_of_events(observed, name)
        if len(lists) == 1 and not wanted:
            observed, shape = lists[0], ()
        value = self.stacked(lists) if shape else self.value(observed)
        if shape:
            value = value.reshape(*shape, *value.shape[1:])
        batches = value.shape[:-2]
        if len(batches) != len(wanted) or any(w not in (None, n) for w, n in zip(wanted, batches, strict=True)):
            told = f"{' x '.join(map(str, batches))} lists of events" if batches else "one list of events"
            given = f"{' x '.join('?' if w is None else str(w) for w in wanted)} vectors" if wanted else "one vector"
            raise ModelError(
                f"{name}: observed holds {told}, and {label!r} {given} of fractions; each vector has a list of its "
                f"own: pass fractions of shape {(*batches, self.n_components)}, or, for events that share their "
                "fractions, one list (join Events with +)."
            )
        return value

    def observed_value(self, events: Any, variable: Variable) -> NDArray[np.float64]:
        """Value of a variable of this source that observes other events."""
        return self.batch(events, variable.type.shape[:-2], variable.name or "events")


class TabulatedSource(EventSource):
    """A user's own log-likelihood of every event under every component; the rows are that table.

    Parameters
    ----------
    component_names : tuple of str
        Names of the columns.
    """

    row_kinds = ((), (MULTIPLICITY,))

    def __init__(self, component_names: tuple[str, ...]) -> None:
        super().__init__(component_names, component_names)

    def scaled_densities(self, rows: NDArray[np.float64]) -> ScaledDensities:
        """Exponentials of the rows less their largest."""
        self._check_rows(rows)
        largest = rows.max(axis=1)
        scale = np.where(np.isfinite(largest), largest, 0.0)
        logs = rows - scale[:, None]
        return ScaledDensities(np.exp(logs), scale, logs)

    def simulate(
        self,
        weights: NDArray[np.float64],
        n: int,
        rng: np.random.Generator,
        spectra: list[Any] | None = None,
    ) -> NDArray[np.float64]:
        """Not possible: a table of likelihoods does not say how events are distributed."""
        raise NotImplementedError(
            "an EventMixture made from a log_likelihood table cannot draw events: the table says how likely the "
            "given events are, not how others are distributed. Use a response for predictive draws, or leave this "
            "variable out of var_names."
        )

    def _check_rows(self, rows: NDArray[np.float64]) -> None:
        _reject(np.isnan(rows).any(axis=1), "have NaN in the log_likelihood table")
        _reject((rows == np.inf).any(axis=1), "have +inf in the log_likelihood table")

    def value(self, log_likelihood: Any, multiplicity: Any = None) -> NDArray[np.float64]:
        """Observed value of a table (N, K), with multiplicities (N,) as a last column if there are any."""
        table = np.asarray(log_likelihood, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != self.n_components:
            raise ModelError(
                f"log_likelihood must have one row per event and one column for each of the {self.n_components} "
                f"components {self.component_names}, got shape {table.shape}."
            )
        if multiplicity is None:
            value = table
        else:
            counts = np.asarray(multiplicity, dtype=np.float64)
            if counts.shape != table.shape[:1]:
                raise ModelError(
                    f"multiplicity must have one entry per row of log_likelihood ({len(table)}), "
                    f"got shape {counts.shape}."
                )
            value = np.column_stack([table, counts])
        self.arrays(value)
        return value


def lists_of_events(observed: Any, name: str) -> tuple[list[Any], tuple[int, ...]]:
    """Lists of events one after the other, and the shape of the batch they make; () if it is but one list.

    Raises
    ------
    ModelError
        If they make no batch: some lie deeper than others, or rows of them have other lengths.
    """
    if not _is_batch(observed):
        return [observed], ()
    parts = [lists_of_events(one, name) for one in observed]
    if len({shape for _, shape in parts}) > 1:
        raise ModelError(
            f"{name}: lists of events must make a batch, as many in each row as in the others; got rows of "
            f"{', '.join(' x '.join(map(str, shape)) or 'one list' for _, shape in parts)}."
        )
    return [one for own, _ in parts for one in own], (len(parts), *parts[0][1])


def _is_batch(observed: Any) -> bool:
    """Whether this is a list of lists of events, not one of rows."""
    return isinstance(observed, list | tuple) and any(map(_is_list, observed))


def _is_list(one: Any) -> bool:
    """Whether an entry is a list of events or several, not a row or a number."""
    if isinstance(one, list | tuple):
        return any(not isinstance(x, int | float) and _has_several(x) for x in one)
    return getattr(one, "ndim", 0) == 2 or isinstance(one, EventList)


def _has_several(one: Any) -> bool:
    return isinstance(one, list | tuple) or getattr(one, "ndim", 0) > 0 or isinstance(one, EventList)


def list_first(indices: NDArray[np.intp], n: int = 5) -> str:
    """The first few of some indices, for messages."""
    shown = ", ".join(str(i) for i in indices[:n])
    return f"{shown}, ..." if len(indices) > n else shown


def _reject(
    bad: NDArray[np.bool_],
    fault: str,
    advice: str = ".",
    rows: NDArray[np.float64] | None = None,
) -> None:
    """Raise an EventError with the number of bad rows and the first of them."""
    if not bad.any():
        return
    indices = np.flatnonzero(bad)
    example = "" if rows is None else f" (row {indices[0]} is {rows[indices[0]].tolist()})"
    raise EventError(f"{len(indices)} of {len(bad)} events {fault}: rows {list_first(indices)}{example}{advice}")
