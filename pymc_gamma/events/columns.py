"""Columns and tables of other libraries as plain arrays: what is masked is known, what is no number is refused.

A column of events may be an astropy quantity, masked or not, a column of an astropy table, a pandas series, or a list
of quantities. No unit is guessed: a series and a data frame of pandas have none, so it is named beside them.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import BaseCoordinateFrame, SkyCoord
from astropy.time import Time
from numpy.typing import NDArray

from pymc_gamma.errors import EventError
from pymc_gamma.times import header_reference

__all__ = ["absolute_times", "as_table", "plain_column", "plain_rows", "with_unit"]

KINDS = {"b": "truth values", "c": "complex numbers", "U": "text", "S": "text", "T": "text", "M": "times",
         "m": "durations", "V": "records of several fields"}  # fmt: skip
"""What a column may hold that is no number, by the kind of its dtype."""


def plain_column(values: Any, name: str) -> tuple[Any, NDArray[np.bool_] | None]:
    """An array or a quantity without its mask, and the mask if there is one; None stays None.

    Raises
    ------
    EventError
        If it holds something else than numbers; names the column and what it holds.
    """
    if values is None:
        return None, None
    if isinstance(values, SkyCoord | BaseCoordinateFrame) or hasattr(values, "colnames"):
        raise EventError(f"{name} must be numbers with a unit, one for each event, got {type(values).__name__}.")
    if isinstance(values, list | tuple) and any(isinstance(one, u.Quantity) for one in values):
        return _joined(values, name)
    mask = getattr(values, "mask", None)
    unit = getattr(values, "unit", None)
    if hasattr(values, "unmasked"):  # astropy.utils.masked.Masked
        plain = values.unmasked
    elif isinstance(values, np.ma.MaskedArray):
        plain = np.asarray(values)
    elif hasattr(values, "isna") and hasattr(values, "to_numpy"):  # pandas, where a missing value is NA or NaN
        mask = np.asarray(values.isna(), dtype=bool)
        plain = np.asarray(values.fillna(0) if mask.any() else values)
    else:
        plain, mask = values, None
    if not isinstance(plain, u.Quantity):
        plain = _numbers(plain, name)
        if unit is not None:
            plain = u.Quantity(plain, u.Unit(unit))
    elif plain.dtype.kind not in "iuf":
        _numbers(plain.value, name)  # says what it is instead
    if mask is not None:
        mask, plain = np.atleast_1d(mask), np.atleast_1d(plain)
        mask = np.broadcast_to(mask, plain.shape)
    return plain, mask


def _numbers(values: Any, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:  # lists of different lengths
        raise EventError(f"{name} must be numbers, one for each event; got {_shown(values)} ({error}).") from error
    if array.dtype.kind == "O":
        odd = [(k, one) for k, one in enumerate(array.ravel()) if not isinstance(one, Real) or isinstance(one, bool)]
        if odd:
            row, one = odd[0]
            raise EventError(
                f"{name} must be numbers; {len(odd)} of {array.size} rows are none (row {row}: {_shown(one)})."
            )
        return array.astype(np.float64)
    if array.dtype.kind not in "iuf":
        what = KINDS.get(array.dtype.kind, str(array.dtype))
        example = f", for example {_shown(array.ravel()[0].item())}" if array.size else ""
        raise EventError(f"{name} must be numbers, got {what}{example}.")
    return array


def _joined(values: Sequence[Any], name: str) -> tuple[u.Quantity, NDArray[np.bool_] | None]:
    """One quantity of a list of quantities, in the unit of the first."""
    odd = [(k, one) for k, one in enumerate(values) if not isinstance(one, u.Quantity) or one.ndim]
    if odd:
        row, one = odd[0]
        raise EventError(
            f"{name} is a list in which {len(odd)} of {len(values)} entries are no single quantity with a unit (entry "
            f"{row}: {_shown(one)}); give every entry a unit, or one unit to all: `[1, 2] * u.TeV`."
        )
    unit = values[0].unit
    wrong = [k for k, one in enumerate(values) if not one.unit.is_equivalent(unit)]
    if wrong:
        raise EventError(
            f"{name} is a list of quantities in {unit} (entry 0) and {values[wrong[0]].unit} ({wrong[0]})."
        )
    mask = np.array([bool(getattr(one, "mask", False)) for one in values])
    plain = u.Quantity([getattr(one, "unmasked", one).to(unit) for one in values])
    return plain, mask if mask.any() else None


def with_unit(quantity: Any, unit: str, name: str) -> u.Quantity:
    """A quantity, or an error that shows how to make one of numbers without a unit.

    Raises
    ------
    TypeError
        If there is no unit.
    """
    if isinstance(quantity, u.Quantity):
        return quantity
    raise TypeError(
        f"{name} must be an astropy Quantity in units of {unit}, got {_shown(quantity)} without a unit; write for "
        f"example `{name}={_example(quantity)} * u.{unit}`."
    )


def _shown(values: Any) -> str:
    """Something in one short line."""
    shown = " ".join(repr(values).split())
    return shown if len(shown) <= 60 else f"{type(values).__name__} of {np.size(values)} values"


def _example(values: Any) -> str:
    if isinstance(values, int | float):
        return repr(values)
    array = np.asarray(values)
    return str(array.tolist()) if array.dtype.kind in "iuf" and 0 < array.size <= 4 else "values"


def absolute_times(column: Any, name: str, header: Mapping[str, Any]) -> Time:
    """Times of a column; if it is one of numbers these count from the reference of a header, NaN where masked.

    Raises
    ------
    KeyError
        If they are numbers, and the header does not say what they count from.
    EventError
        If they are something else, or not one for each event; names the column.
    """
    if isinstance(column, Time):
        return column
    if np.ndim(column) > 1:
        raise EventError(
            f"Column {name} of the event table must have one number for each event, got the shape {np.shape(column)}; "
            "a table that astropy wrote has absolute times again when it is read with Table.read(..., "
            "astropy_native=True)."
        )
    if getattr(column, "dtype", np.dtype(object)).kind not in "iuf":
        raise EventError(
            f"Column {name} of the event table must hold astropy times, or numbers that count from MJDREFI and MJDREFF "
            f"in its meta; it holds {getattr(column, 'dtype', type(column).__name__)}. No scale (UTC, TT) is guessed."
        )
    plain, mask = plain_column(column, name)
    unit = u.Unit(getattr(plain, "unit", None) or header.get("TIMEUNIT", "s"))
    if not unit.is_equivalent("s"):
        raise EventError(f"Column {name} of the event table is in '{unit}', which is not convertible to s.")
    seconds = (np.asarray(getattr(plain, "value", plain), dtype=np.float64) * unit).to("s")
    unknown = ~np.isfinite(seconds) if mask is None else mask | ~np.isfinite(seconds)
    return header_reference(header) + np.where(unknown, np.nan, seconds)


def as_table(table: Any, units: Mapping[str, Any] | None = None) -> Any:
    """An astropy table of a table of astropy or pandas, a structured array or a mapping of columns.

    Parameters
    ----------
    table : astropy.table.Table, pandas.DataFrame, numpy.ndarray or mapping
        The table.
    units : mapping, optional
        Name of a column to its unit, for columns that have none; case does not count.

    Returns
    -------
    astropy.table.Table
        With those units.

    Raises
    ------
    TypeError
        If it is no table, or ``units`` no mapping.
    EventError
        If two columns have the same name, or ``units`` names a column that the table lacks, one that has another unit,
        or no unit.
    """
    from astropy.table import QTable, Table

    if not isinstance(units, Mapping | None):
        raise TypeError(
            "units must be a mapping from names of columns to units, for example "
            f'{{"energy": "TeV", "ra": "deg", "dec": "deg"}}, got {_shown(units)}.'
        )
    if hasattr(table, "columns") and hasattr(table, "to_numpy"):  # a data frame
        names = [str(name) for name in table.columns]
        columns = [plain_series(table.iloc[:, k]) for k in range(len(names))]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise EventError(
                f"the data frame has more than one column of the name {', '.join(twice)}; name the columns apart, or "
                "leave all but one out."
            )
        held = Table(columns, names=names)
    elif isinstance(table, Table):
        held = table
    elif isinstance(table, Mapping) or (isinstance(table, np.ndarray) and table.dtype.names):
        try:
            held = QTable(table)
        except Exception as error:
            raise EventError(f"the columns given do not make a table ({type(error).__name__}: {error}).") from error
    else:
        raise TypeError(
            f"expected a table of events (astropy Table or QTable, pandas DataFrame, structured array or a mapping of "
            f"columns), got {type(table).__name__}; of arrays make events by Events(energy, lon, lat)."
        )
    if not units:
        return held
    held = held.copy(copy_data=False)
    known = {name.upper(): name for name in held.colnames}
    for key, unit in units.items():
        name = known.get(str(key).upper())
        if name is None:
            raise EventError(f"units names the column {key!r}, which is not in the table: {', '.join(held.colnames)}.")
        try:
            wanted = u.Unit(unit)
        except (TypeError, ValueError) as error:
            raise EventError(f"units: {unit!r} of the column {key!r} is no unit ({error}).") from error
        own = getattr(held[name], "unit", None)
        if own is not None and own != wanted:
            raise EventError(
                f"units says that the column {name} is in '{wanted}', the table itself '{own}'; which is it?"
            )
        if own is None:
            held[name].unit = wanted
    return held


def plain_series(series: Any) -> Any:
    """A series of pandas as an array, masked where a value is missing."""
    missing = np.asarray(series.isna(), dtype=bool)
    return np.ma.MaskedArray(np.asarray(series.fillna(0)), mask=missing) if missing.any() else np.asarray(series)


def plain_rows(rows: Any, reco: Sequence[str]) -> NDArray[np.float64]:
    """Rows of numbers with the columns ``reco``, by their names where they have any.

    Raises
    ------
    EventError
        If they are no numbers, or their names are not those of ``reco``.
    """
    if hasattr(rows, "colnames") or (isinstance(rows, np.ndarray) and rows.dtype.names):
        raise EventError("rows are plain numbers in TeV and deg; of a table make events by Events.from_table.")
    if hasattr(rows, "unit"):
        raise EventError(
            "rows are plain numbers in TeV and deg; of quantities make events by Events(energy, lon, lat)."
        )
    names = None
    if hasattr(rows, "columns") and hasattr(rows, "to_numpy"):  # a data frame
        names = list(rows.columns)
        rows = np.ma.MaskedArray(np.asarray(rows.fillna(0)), mask=np.asarray(rows.isna(), dtype=bool))
    elif hasattr(rows, "dims") and "reco" in rows.dims:  # xarray
        rows = rows.transpose(..., "reco")
        names = [str(name) for name in rows.coords["reco"].values] if "reco" in rows.coords else None
        rows = rows.values
    mask = getattr(rows, "mask", None) if hasattr(rows, "unmasked") or isinstance(rows, np.ma.MaskedArray) else None
    rows = getattr(rows, "unmasked", rows)
    table = np.asarray(_numbers(rows, "rows"), dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(names if names is not None else reco):
        raise EventError(f"rows must have shape (event, {len(reco)}) for reco={tuple(reco)}, got {table.shape}.")
    if mask is not None:
        table = np.ma.MaskedArray(table, mask=mask)
    if names is None or names == list(reco):
        return table
    if missing := [name for name in reco if name not in names]:
        raise EventError(f"rows have the columns {', '.join(map(str, names))}, but not {', '.join(missing)}.")
    return table[:, [names.index(name) for name in reco]]
