"""Event lists as astropy tables, gammapy event lists and GADF files.

The file format is that of the Data formats for gamma-ray astronomy,
https://gamma-astro-data-formats.readthedocs.io (version 0.3, section EVENTS), with two columns of our own:
``OBS_INDEX`` and ``MULTIPLICITY``. Events in cells have six more, the edges in the frame of the analysis. GADF asks for
a ``TIME``; events here have none, so the column holds zeros and the header says so.
"""

import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from pymc_gamma.dl3 import gammapy_runs, run_label
from pymc_gamma.errors import DataFileError, EventError
from pymc_gamma.events.cells import Cells
from pymc_gamma.events.rows import CELL, MULTIPLICITY, RECO
from pymc_gamma.files import atomic_path, check_compression

if TYPE_CHECKING:
    from astropy.table import QTable, Table

    from pymc_gamma.events.container import Events

__all__ = ["from_gammapy", "from_table", "read_gadf", "to_gammapy", "to_table", "write_gadf"]

_FRAME_KEY = "PGFRAME"  # which pair of columns is the original one
# MJD 51910 + 64.184 s (TT): the reference epoch of the CTA science data challenges.
_TIME_REFERENCE = {"MJDREFI": 51910, "MJDREFF": 0.000742870370370241, "TIMEUNIT": "s", "TIMESYS": "TT"}
_HEADER = {
    "HDUCLASS": "GADF",
    "HDUDOC": "https://gamma-astro-data-formats.readthedocs.io",
    "HDUVERS": "0.3",
    "HDUCLAS1": "EVENTS",
    **_TIME_REFERENCE,
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
    if events.cells is not None:
        for name, edges in zip(CELL, events.cells.edges.T, strict=True):
            table[name.upper()] = edges * (u.TeV if name.startswith("energy") else u.deg)
    table.meta.update(events.meta)
    table.meta[_FRAME_KEY] = events.frame
    return table


def from_table[EventsT: "Events"](cls: type[EventsT], table: "Table", *, frame: str | None) -> EventsT:
    """See :meth:`pymc_gamma.events.Events.from_table`."""
    names = {name.upper(): name for name in table.colnames}
    original = table.meta.get(_FRAME_KEY)
    frame = frame or original or "galactic"
    galactic_first = original != "icrs" and (original == "galactic" or frame == "galactic")
    pairs = {"galactic": ("GLON", "GLAT"), "icrs": ("RA", "DEC")}
    order = ("galactic", "icrs") if galactic_first else ("icrs", "galactic")
    found = next((f for f in order if all(name in names for name in pairs[f])), None)
    if found is None or "ENERGY" not in names:
        raise EventError(
            "An event table needs the columns ENERGY and RA, DEC (or GLON, GLAT); "
            f"this one has {', '.join(table.colnames) or 'none'}."
        )

    def quantity(name: str) -> u.Quantity:
        column = table[names[name]]
        if isinstance(column, SkyCoord) or getattr(column, "unit", None) is None:
            raise EventError(f"Column {names[name]} of the event table has no unit.")
        return u.Quantity(np.ma.filled(np.asarray(column, dtype=np.float64), np.nan), column.unit)

    cells = None
    if all(name.upper() in names for name in CELL):
        edges = [quantity(name.upper()).to_value("TeV" if name.startswith("energy") else "deg") for name in CELL]
        cells = Cells.from_edges(np.stack(edges, axis=1))
    meta = {key: value for key, value in table.meta.items() if key not in _HEADER and key != _FRAME_KEY}
    events = cls(
        quantity("ENERGY"),
        quantity(pairs[found][0]),
        quantity(pairs[found][1]),
        frame=found,
        observation=np.asarray(table[names["OBS_INDEX"]]) if "OBS_INDEX" in names else None,
        multiplicity=np.asarray(table[names["MULTIPLICITY"]]) if "MULTIPLICITY" in names else None,
        cells=cells,
        meta=meta,
    )
    return events.to_frame(frame)


def to_gammapy(events: "Events") -> Any:
    """See :meth:`pymc_gamma.events.Events.to_gammapy`."""
    from astropy.table import Table
    from astropy.time import Time, TimeDelta
    from gammapy.data import EventList

    table = Table(to_table(events))
    table.meta.update({key: value for key, value in _HEADER.items() if key != "CREATOR"})
    reference = Time(_TIME_REFERENCE["MJDREFI"], _TIME_REFERENCE["MJDREFF"], format="mjd", scale="tt")
    table["TIME"] = reference + TimeDelta(np.zeros(len(events)), format="sec")
    return EventList(table)


def from_gammapy[EventsT: "Events"](cls: type[EventsT], source: Any, *, frame: str, observation: int) -> EventsT:
    """See :meth:`pymc_gamma.events.Events.from_gammapy`."""
    from gammapy.data import EventList

    if isinstance(source, EventList):
        events = from_table(cls, source.table, frame=frame)
        return events if "OBS_INDEX" in source.table.colnames else events.with_observation(observation)
    runs = gammapy_runs(source)
    lists = [_events_of_run(cls, run, frame, observation + k) for k, run in enumerate(runs)]
    return _join(cls, lists, frame, {"obs_ids": [run.obs_id for run in runs]})


def _events_of_run[EventsT: "Events"](cls: type[EventsT], run: Any, frame: str, observation: int) -> EventsT:
    found = run.events
    if found is None:
        raise EventError(f"observation {run_label(run)} has no event list.")
    try:
        # the place in the list counts, not the index an earlier analysis may have left in the file
        return from_table(cls, found.table, frame=frame).with_observation(observation)
    except EventError as error:
        raise EventError(f"observation {run_label(run)}: {error}") from error


def _join[EventsT: "Events"](cls: type[EventsT], lists: Sequence[EventsT], frame: str, meta: dict[str, Any]) -> EventsT:
    """All lists in one; they share a frame."""
    columns: tuple[str, ...] = (*RECO, "observation", MULTIPLICITY)
    if not lists:
        return cls([] * u.TeV, [] * u.deg, [] * u.deg, frame=frame, meta=meta)
    if any(one.cells is not None for one in lists):
        columns = (*columns, *CELL)
    rows = np.concatenate([one.to_rows(columns) for one in lists])
    return cls.from_rows(rows, columns, frame, meta=meta)


def write_gadf(events: "Events", path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """See :meth:`pymc_gamma.events.Events.write`."""
    from astropy.io import fits

    table = to_table(events)
    columns = [
        fits.Column("EVENT_ID", "K", array=np.arange(len(events))),
        fits.Column("TIME", "D", unit="s", array=np.zeros(len(events))),
    ]
    for name in ("ENERGY", "RA", "DEC", "GLON", "GLAT"):
        columns.append(fits.Column(name, "D", unit=table[name].unit.to_string("fits"), array=table[name].value))
    columns.append(fits.Column("OBS_INDEX", "K", array=events.observation))
    columns.append(fits.Column("MULTIPLICITY", "D", array=events.multiplicity))
    for name in (name.upper() for name in CELL if events.cells is not None):
        columns.append(fits.Column(name, "D", unit=table[name].unit.to_string("fits"), array=table[name].value))
    hdu = fits.BinTableHDU.from_columns(columns, name="EVENTS")
    hdu.header.update(_HEADER)
    hdu.header[_FRAME_KEY] = (events.frame, "frame of the analysis")
    hdu.header["COMMENT"] = "The events carry no arrival times: TIME is 0 for all."
    with atomic_path(path, overwrite=overwrite) as temporary:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(temporary, checksum=True)


def read_gadf[EventsT: "Events"](
    cls: type[EventsT], path: str | os.PathLike[str], *, hdu: str, frame: str | None
) -> EventsT:
    """See :meth:`pymc_gamma.events.Events.read`."""
    from astropy.io import fits
    from astropy.table import Table
    from astropy.utils.exceptions import AstropyUserWarning

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no event file {path}.")
    try:
        check_compression(path)
        # Memory maps would keep the file open, and would find a truncated one only later.
        with warnings.catch_warnings(), fits.open(path, memmap=False) as hdus:
            warnings.filterwarnings("error", message="File may have been truncated")
            if hdu not in hdus:
                held = ", ".join(h.name for h in hdus)
                raise DataFileError(
                    f"{path} has no HDU {hdu}; it has {held}. Give hdu= if the events are in one of them."
                )
            table = Table.read(hdus[hdu])
    except DataFileError:
        raise
    except (OSError, TypeError, ValueError, EOFError, zlib.error, AstropyUserWarning) as error:
        raise DataFileError(f"{path} cannot be read as a FITS event file; is it truncated? ({error})") from error
    try:
        return from_table(cls, table, frame=frame)
    except EventError as error:
        raise EventError(f"{path}: {error}") from error


def _positive(lon: u.Quantity) -> u.Quantity:
    """Longitudes in [0, 360), the convention of FITS files."""
    return np.where(lon < 0 * u.deg, lon + 360 * u.deg, lon)
