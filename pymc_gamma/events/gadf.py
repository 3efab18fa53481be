"""Event lists as astropy tables, gammapy event lists and GADF files.

The file format is that of the Data formats for gamma-ray astronomy,
https://gamma-astro-data-formats.readthedocs.io (version 0.3, section EVENTS), with two columns of our own:
``OBS_INDEX`` and ``MULTIPLICITY``. Events in cells have six more, the edges in the frame of the analysis. GADF asks for
a ``TIME``; of events that have none the column holds zeros, and the header says so. ``RA`` and ``DEC`` are the
standard's coordinates; ``GLON`` and ``GLAT`` are optional there, and some files hold placeholders in them.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time

from pymc_gamma.errors import DataFileError, EventError, IRFError, PymcGammaWarning, warn_user
from pymc_gamma.events.cells import Cells
from pymc_gamma.events.columns import absolute_times, as_table, plain_column
from pymc_gamma.events.rows import CELL, MULTIPLICITY, RECO, TIME
from pymc_gamma.events.validation import check_frame, without_masked
from pymc_gamma.files import atomic_path, refuse_full_disk
from pymc_gamma.fits_files import open_fits, reading
from pymc_gamma.geometry import convert_lonlat, separation_deg, unit_vectors
from pymc_gamma.instrument.dl3 import (
    EVENT_HDUS,
    check_files,
    gammapy_runs,
    has_response,
    missing_keyword,
    reading_run,
    run_label,
)
from pymc_gamma.instrument.good_time import (
    NO_TIMES_KEY,
    events_inside,
    good_time,
    of_intervals,
    placeholders,
    selected_events,
)
from pymc_gamma.times import TIME_REFERENCE, reference

if TYPE_CHECKING:
    from astropy.table import QTable, Table

    from pymc_gamma.events.container import Events
    from pymc_gamma.instrument.observation import Observation

__all__ = [
    "FRAME_KEY",
    "GADF_HEADER",
    "SUFFIXES",
    "coordinate_columns",
    "from_gammapy",
    "from_table",
    "read_gadf",
    "to_gammapy",
    "to_table",
    "write_gadf",
]

SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz")

_PAIRS = {"galactic": ("GLON", "GLAT"), "icrs": ("RA", "DEC")}

_EDGES = tuple(name.upper() for name in CELL)
_CELL_UNITS = {name: "TeV" if name.startswith("energy") else "deg" for name in CELL}
_OF_A_FILE = ("EXTNAME", "CHECKSUM", "DATASUM")
"""Keywords that belong to a file and not to its events: another file with them would seem damaged."""
_DISAGREEMENT = 1.0  # arcsec; tables in single precision are good to 0.1
FRAME_KEY = "PGFRAME"  # which pair of columns is the original one
GADF_HEADER = {
    "HDUCLASS": "GADF",
    "HDUDOC": "https://gamma-astro-data-formats.readthedocs.io",
    "HDUVERS": "0.3",
    "HDUCLAS1": "EVENTS",
    **TIME_REFERENCE,
    "TIMEREF": "LOCAL",
    "RADECSYS": "ICRS",
    "EQUINOX": 2000.0,
    "CREATOR": "pymc_gamma",
}


def to_table(events: "Events") -> "QTable":
    """See :meth:`pymc_gamma.events.Events.to_table`."""
    from astropy.table import QTable

    rows = events.without_cells()
    icrs, galactic = rows.to_frame("icrs"), rows.to_frame("galactic")
    table = QTable(
        {
            "ENERGY": events.energy,
            "RA": _positive(icrs.lon),
            "DEC": icrs.lat,
            "GLON": _positive(galactic.lon),
            "GLAT": galactic.lat,
            "OBS_INDEX": events.observation,
            "MULTIPLICITY": events.multiplicity,
        }
    )
    if (time := events.time) is not None:
        table["TIME"] = time
    if events.cells is not None:
        for name, edges in zip(CELL, events.cells.edges.T, strict=True):
            table[name.upper()] = edges * u.Unit(_CELL_UNITS[name])
    table.meta.update({key: value for key, value in events.meta.items() if key not in _OF_A_FILE})
    table.meta[FRAME_KEY] = events.frame
    return table


def from_table[EventsT: "Events"](
    cls: type[EventsT], table: Any, *, frame: str | None, units: Mapping[str, Any] | None = None
) -> EventsT:
    """See :meth:`pymc_gamma.events.Events.from_table`."""
    table = as_table(table, units)
    names = _names(table)
    original = table.meta.get(FRAME_KEY)
    frame = frame or original or "galactic"
    order = ("galactic", "icrs") if original == "galactic" else ("icrs", "galactic")
    held = [one for one in order if all(name in names for name in _PAIRS[one])]
    if not held or "ENERGY" not in names:
        raise EventError(
            "An event table needs the columns ENERGY and RA, DEC (or GLON, GLAT); "
            f"this one has {', '.join(table.colnames) or 'none'}."
        )
    found = held[0]
    wanted = {"ENERGY": "TeV", **dict.fromkeys(_PAIRS[found], "deg")}
    columns = {names[name]: _quantity(table[names[name]], names[name], unit) for name, unit in wanted.items()}
    columns |= {names[name]: table[names[name]] for name in ("OBS_INDEX", "MULTIPLICITY") if name in names}
    if len(held) > 1:
        _compare_coordinates(table, names, found, held[1])
    cell = {names[name.upper()]: unit for name, unit in _CELL_UNITS.items() if name.upper() in names}
    if 0 < len(cell) < len(CELL):
        warn_user(
            f"{', '.join(cell)} of the event table are not taken as edges of cells, which need all of "
            f"{', '.join(_EDGES)}."
        )
        cell = {}
    columns |= {name: _quantity(table[name], name, unit) for name, unit in cell.items()}
    time = _times(table, names)
    if time is not None:
        columns["TIME"] = np.arange(len(table))  # the rows that are left
    columns = without_masked(columns)
    if time is not None:
        time = time[columns.pop("TIME")]
    cells = None
    if cell:
        edges = [u.Quantity(columns[name]).to_value(unit) for name, unit in cell.items()]
        cells = Cells.from_edges(np.stack(edges, axis=1))
    events = cls(
        *(columns[names[name]] for name in wanted),
        frame=found,
        observation=columns.get(names.get("OBS_INDEX", "")),
        multiplicity=columns.get(names.get("MULTIPLICITY", "")),
        time=time,
        cells=cells,
        meta={
            key: value
            for key, value in table.meta.items()
            if key not in GADF_HEADER and key not in (FRAME_KEY, NO_TIMES_KEY, *_OF_A_FILE)
        },
    )
    return events.to_frame(frame)


def _times(table: "Table", names: dict[str, str]) -> Time | None:
    """Arrival times of a table of events, masked where one is missing; None if there are none."""
    if "TIME" not in names:
        return None
    column = table[names["TIME"]]
    try:
        times = absolute_times(column, names["TIME"], table.meta)
        return None if placeholders(table.meta, times) else times
    except KeyError as error:
        warn_user(
            f"the times of the events, column {names['TIME']}, are not taken: the table does not say what they count "
            f"from, there is no {error}. Give them as astropy times, or put MJDREFI, MJDREFF and TIMESYS into its meta."
        )
        return None


def _names(table: "Table") -> dict[str, str]:
    """Column names of a table by their upper-case form; those that are read must be there once."""
    names: dict[str, str] = {}
    known = (
        "ENERGY",
        *(name for pair in _PAIRS.values() for name in pair),
        "OBS_INDEX",
        "MULTIPLICITY",
        "TIME",
        *_EDGES,
    )
    for name in table.colnames:
        if name.upper() in known and name.upper() in names:
            raise EventError(
                f"An event table must have one column {name.upper()}; this has {names[name.upper()]}, {name}."
            )
        names[name.upper()] = name
    return names


def _quantity(column: Any, name: str, unit: str) -> Any:
    """A column of a table, masked or not, in a unit."""
    if isinstance(column, SkyCoord) or (of_file := getattr(column, "unit", None)) is None:
        raise EventError(
            f"Column {name} of the event table has no unit, and none is guessed; give it with "
            f"Events.from_table(table, units={{{name!r}: {unit!r}}}), or as table[{name!r}].unit."
        )
    if not u.Unit(of_file).is_equivalent(unit):
        raise EventError(f"Column {name} of the event table is in '{of_file}', which is not convertible to {unit}.")
    return column


def _compare_coordinates(table: "Table", names: dict[str, str], used: str, other: str) -> None:
    """Warn if the two pairs of coordinates of a table are those of different directions."""
    lonlat = {}
    for frame in (used, other):
        pair = []
        for name in _PAIRS[frame]:
            column = table[names[name]]
            if getattr(column, "unit", None) is None or not u.Unit(column.unit).is_equivalent("deg"):
                return  # only the pair that is used needs a unit
            values, mask = plain_column(column, names[name])
            pair.append(np.where(False if mask is None else mask, np.nan, values.to_value("deg")))
        lonlat[frame] = pair
    lon, lat = lonlat[other]
    here = convert_lonlat(lon, lat, other, used)
    apart = 3600 * separation_deg(unit_vectors(*lonlat[used]), unit_vectors(*here))
    wrong = apart > _DISAGREEMENT  # never so where a value is NaN or masked
    if wrong.any():
        kept, left = (" and ".join(names[name] for name in _PAIRS[frame]) for frame in (used, other))
        warn_user(
            f"{left} of the event table disagree with {kept} in {int(wrong.sum())} of {len(apart)} rows, by up to "
            f"{np.max(apart[wrong]):.4g} arcsec; {kept} are used."
        )


def to_gammapy(events: "Events") -> Any:
    """See :meth:`pymc_gamma.events.Events.to_gammapy`."""
    from astropy.table import Table
    from gammapy.data import EventList

    table = Table(to_table(events))
    table.meta.update({key: value for key, value in GADF_HEADER.items() if key != "CREATOR"})
    if events.time is None:
        table["TIME"] = reference() + np.zeros(len(events)) * u.s
        table.meta[NO_TIMES_KEY] = True
    return EventList(table)


def from_gammapy[EventsT: "Events"](
    cls: type[EventsT], source: Any, *, frame: str, observation: int, respond: bool = False
) -> tuple[EventsT, "list[Observation] | None"]:
    """Events, and their runs as observations without limits of their own.

    See :meth:`pymc_gamma.events.Events.from_gammapy`. There are observations if ``respond`` asks for them and the runs
    have instrument responses, else None.
    """
    from gammapy.data import EventList

    if isinstance(source, EventList):
        events = from_table(cls, source.table, frame=frame)
        return (events if "OBS_INDEX" in source.table.colnames else events.with_observation(observation)), None
    runs = gammapy_runs(source, EVENT_HDUS)
    observations = _responding(runs) if respond else None
    if observations is None:
        check_files(runs, EVENT_HDUS)
    outside: dict[str, tuple[int, int]] = {}
    lists = [_events_of_run(cls, run, frame, observation + k, outside) for k, run in enumerate(runs)]
    if outside:
        told = ", ".join(f"{label}: {n} of {total}" for label, (n, total) in outside.items())
        warn_user(f"events outside the good time intervals of their observation are left out ({told}).")
    meta = {
        "obs_ids": [run.obs_id for run in runs],
        "outside_good_time": {label: n for label, (n, _) in outside.items()},
    }
    return _join(cls, lists, frame, meta), observations


def _responding(runs: list[Any]) -> "list[Observation] | None":
    """Runs as observations, their files checked; None, and a warning, where their responses cannot be used."""
    from pymc_gamma.instrument.observation import Observation

    if not any(has_response(run) for run in runs):
        return None
    try:
        with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):  # told where observations are made
            return Observation.list_from_gammapy(runs, safe_mask=None)
    except (DataFileError, IRFError) as error:
        check_files(runs, EVENT_HDUS)  # where the events are damaged too, that is what to tell
        warn_user(f"events are kept wherever they are, not only where the response reaches, because: {error}")
        return None


def _events_of_run[EventsT: "Events"](
    cls: type[EventsT], run: Any, frame: str, observation: int, outside: dict[str, tuple[int, int]]
) -> EventsT:
    """Events of a run in good time; those left out are added to ``outside``, with the number of all."""
    label = run_label(run)
    with reading_run(run, "events"):
        table = selected_events(run, label)
        if table is None:
            raise EventError(missing_keyword(run, "events") or f"observation {label} has no event list.")
        if run.gti is not None:
            inside = events_inside(table, good_time(run, label), f"observation {label}")
            if not inside.all():
                n, total = outside.get(label, (0, 0))
                outside[label] = (n + int((~inside).sum()), total + len(inside))
                table = table[inside]
        try:
            # the place in the list counts, not the index an earlier analysis may have left in the file
            return from_table(cls, table, frame=frame).with_observation(observation)
        except EventError as error:
            raise EventError(f"observation {label}: {error}") from error


def _join[EventsT: "Events"](cls: type[EventsT], lists: Sequence[EventsT], frame: str, meta: dict[str, Any]) -> EventsT:
    """All lists in one; they share a frame."""
    columns: tuple[str, ...] = (*RECO, "observation", MULTIPLICITY)
    if not lists:
        return cls([] * u.TeV, [] * u.deg, [] * u.deg, frame=frame, meta=meta)
    if any(one.time is not None for one in lists):
        columns = (*columns, TIME)
    if any(one.cells is not None for one in lists):
        columns = (*columns, *CELL)
    rows = np.concatenate([one.to_rows(columns) for one in lists])
    return cls.from_rows(rows, columns, frame, meta=meta)


def coordinate_columns(events: "Events") -> list[Any]:
    """FITS columns ``ENERGY``, ``RA``, ``DEC``, ``GLON`` and ``GLAT``."""
    from astropy.io import fits

    table = to_table(events)
    return [
        fits.Column(name, "D", unit=table[name].unit.to_string("fits"), array=table[name].value)
        for name in ("ENERGY", "RA", "DEC", "GLON", "GLAT")
    ]


def write_gadf(events: "Events", path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """See :meth:`pymc_gamma.events.Events.write`."""
    from astropy.io import fits

    if not str(path).lower().endswith(SUFFIXES):
        raise EventError(
            f"events are written as FITS files, so their name must end in {', '.join(SUFFIXES)}; got {str(path)!r}. "
            "For another format write `events.to_table()`."
        )
    timeless = events.time is None
    columns = [
        fits.Column("EVENT_ID", "K", array=np.arange(len(events))),
        fits.Column("TIME", "D", unit="s", array=np.zeros(len(events)) if timeless else events.to_rows((TIME,))[:, 0]),
        *coordinate_columns(events),
        fits.Column("OBS_INDEX", "K", array=events.observation),
        fits.Column("MULTIPLICITY", "D", array=events.multiplicity),
    ]
    if events.cells is not None:
        for name, edges in zip(CELL, events.cells.edges.T, strict=True):
            columns.append(fits.Column(name.upper(), "D", unit=_CELL_UNITS[name], array=edges))
    hdu = fits.BinTableHDU.from_columns(columns, name="EVENTS")
    hdu.header.update(GADF_HEADER)
    hdu.header[FRAME_KEY] = (events.frame, "frame of the analysis")
    if timeless:
        hdu.header[NO_TIMES_KEY] = (True, "no arrival times: TIME is 0 for all")
    if not str(path).lower().endswith(".gz"):
        refuse_full_disk(path, hdu.size)
    with atomic_path(path, overwrite=overwrite) as temporary:
        _write_hdus(fits.HDUList([fits.PrimaryHDU(), hdu]), temporary)


def _write_hdus(hdus: Any, path: Path) -> None:
    """Write a FITS file by the methods of Python's files: NumPy's own do not say why the disk refused the data."""
    if path.suffix.lower() == ".gz":
        hdus.writeto(path, checksum=True)
    else:
        with path.open("wb") as file:
            stream = SimpleNamespace(write=file.write, tell=file.tell, seek=file.seek, flush=file.flush)
            hdus.writeto(stream, checksum=True)


def read_gadf[EventsT: "Events"](
    cls: type[EventsT], path: str | os.PathLike[str], *, hdu: str, frame: str | None
) -> EventsT:
    """See :meth:`pymc_gamma.events.Events.read`."""
    from astropy.table import Table

    if frame is not None:
        check_frame(frame)
    with reading(path, "a GADF event file"), open_fits(path) as hdus:
        if hdu not in hdus:
            held = ", ".join(h.name for h in hdus)
            raise DataFileError(f"{path} has no HDU {hdu}; it has {held}. Give hdu= if the events are in one of them.")
        if getattr(hdus[hdu], "columns", None) is None:
            held = ", ".join(h.name for h in hdus if "ENERGY" in (n.upper() for n in _columns_of(h)))
            raise DataFileError(
                f"{path}: the HDU {hdu} is no table, so it holds no events; "
                + (f"those with a column ENERGY are {held}: give hdu=." if held else "no HDU has a column ENERGY.")
            )
        # astropy writes absolute times in a way of its own, as pairs of days
        table = Table.read(hdus[hdu], astropy_native="JDREF" in hdus[hdu].header)
        n = len(table)
        _check_own(hdus[hdu].header, table.colnames, path)
        try:
            if "GTI" in hdus:
                table = _in_good_time(table, hdus["GTI"], path)
            elif "OBS_ID" in hdus[hdu].header:
                warn_user(f"{path} holds events of a run, but no good time intervals (GTI); all its events are taken.")
            events = from_table(cls, table, frame=frame)
        except EventError as error:
            raise EventError(f"{path}: {error}") from error
    if len(table) < n:
        events.meta["outside_good_time"] = {Path(path).name: n - len(table)}
    return events


def _check_own(header: Any, columns: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Refuse a list that :func:`write_gadf` wrote and that has lost one of its columns; files of runs have no such."""
    if header.get("CREATOR") != GADF_HEADER["CREATOR"] or "OBS_ID" in header:
        return
    names = ("ENERGY", *(name for pair in _PAIRS.values() for name in pair), "OBS_INDEX", "MULTIPLICITY")
    if missing := [name for name in names if name not in columns]:
        raise DataFileError(
            f"{path} was written by this package with the columns {', '.join(names)}, and has lost "
            f"{', '.join(missing)}. Take the original; or remove the keyword CREATOR too."
        )


def _columns_of(hdu: Any) -> list[str]:
    """Names of the columns of an HDU, none if it is no table."""
    columns = getattr(hdu, "columns", None)
    return [] if columns is None else list(columns.names)


def _in_good_time(table: "Table", intervals: Any, path: str | os.PathLike[str]) -> "Table":
    """Events of a file within the good time intervals in it; says how many are not."""
    from astropy.table import Table
    from gammapy.data import GTI

    if missing := [name for name in ("START", "STOP") if name not in intervals.columns.names]:
        raise DataFileError(f"{path}: its good time intervals (GTI) have no column {', '.join(missing)}.")
    try:
        good = of_intervals(GTI.from_table_hdu(intervals), str(path))
        times = Table(meta=table.meta)
        if "TIME" in table.colnames:
            times["TIME"] = absolute_times(table["TIME"], "TIME", table.meta)
        else:
            times["ROW"] = np.arange(len(table))
    except KeyError as error:
        warn_user(f"{path}: its good time intervals are not looked at, because a header has no {error}.")
        return table
    inside = events_inside(times, good, str(path))
    if not inside.all():
        told = f"{int((~inside).sum())} of {len(inside)} events"
        warn_user(f"{path}: {told} outside its good time intervals (GTI) are left out.")
    return table[inside]


def _positive(lon: u.Quantity) -> u.Quantity:
    """Longitudes in [0, 360), the convention of FITS files."""
    return np.where(lon < 0 * u.deg, lon + 360 * u.deg, lon)
