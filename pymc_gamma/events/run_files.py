"""Whole runs as DL3 files: events, good time, pointing and instrument response, with the indices of a data store.

The format is that of the Data formats for gamma-ray astronomy, https://gamma-astro-data-formats.readthedocs.io
(version 0.3). A folder holds one file per run and two tables, ``hdu-index.fits.gz`` and ``obs-index.fits.gz``, which is
what ``gammapy.data.DataStore.from_dir`` opens. The response is copied from the file it was read from, table by table,
and the finished files are read back and compared with the response in memory: what was simulated is what is written.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import EarthLocation
from astropy.time import Time

from pymc_gamma import datasets
from pymc_gamma.arguments import checked, path, seed, several
from pymc_gamma.errors import DataFileError, EventError, IRFError, PymcGammaWarning, warn_user
from pymc_gamma.events.container import Events
from pymc_gamma.events.gadf import FRAME_KEY, GADF_HEADER, SUFFIXES, coordinate_columns
from pymc_gamma.events.rows import TIME
from pymc_gamma.events.splitting import outside_good_time
from pymc_gamma.files import atomic_path, refuse_overwrite, user_path
from pymc_gamma.fits_files import open_fits, reading
from pymc_gamma.instrument.dl3 import run_responses
from pymc_gamma.instrument.good_time import TOLERANCE, GoodTime
from pymc_gamma.instrument.observation import NO_LIMIT, Observation
from pymc_gamma.times import TIME_REFERENCE, reference, to_seconds

__all__ = ["write_runs"]

HDU_INDEX, OBS_INDEX = "hdu-index.fits.gz", "obs-index.fits.gz"

GAP_S = 60.0
"""Seconds from the end of one run to the start of the next."""

TABLE_TYPES = {"EFF_AREA": "aeff", "EDISP": "edisp", "RPSF": "psf", "PSF": "psf", "BKG": "bkg"}
"""``HDUCLAS2`` of a table of the response, and its type in the index."""

TABLE_CLASSES = ("aeff_2d", "edisp_2d", "psf_table", "psf_3gauss", "psf_king", "bkg_2d", "bkg_3d")


SITES = {("cta", "south"): "ctao_south", ("cta", "north"): "ctao_north", ("hess",): "hess"}
"""Words in the name of an instrument, and gammapy's name of its site."""


@dataclass(frozen=True, eq=False)
class _Run:
    """One run about to be written; times in seconds since the reference time.

    Its good time is that of the observation (``own``), or one interval as long as its on-time.
    """

    obs_id: int
    observation: Observation
    events: Events
    source: Path
    location: EarthLocation
    good: GoodTime
    own: bool

    @property
    def tstart(self) -> float:
        return float(self.good.start[0])

    @property
    def tstop(self) -> float:
        return float(self.good.stop[-1])

    @property
    def file_name(self) -> str:
        return f"run_{self.obs_id:06d}.fits.gz"


@checked(path=path, observations=several("Observation"), rng=seed)
def write_runs(
    path: str | os.PathLike[str],
    events: Events,
    observations: Observation | Sequence[Observation],
    *,
    irfs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    start: Time | None = None,
    location: EarthLocation | None = None,
    rng: np.random.Generator | int | None = None,
    overwrite: bool = False,
) -> list[int]:
    """Write events and observations as a folder of DL3 files that gammapy reads with ``DataStore.from_dir``.

    Each observation becomes a run: one file with its events, its good time (where that is not known one interval as
    long as its on-time), its pointing and its instrument response. The folder appears whole or not at all.

    Parameters
    ----------
    path : path-like
        Folder to make.
    events : Events
        Events of all observations, by their index; of ``simulate`` for instance.
    observations : Observation or sequence of Observation
        The observations, in the order of the indices.
    irfs : str, path-like or sequence of these, optional
        The FITS file (or the name of the data set) that the response was read from; one for all observations, or one
        for each. A DL3 file with its own response will do. Default: the data set that the response is named after.
    start : `~astropy.time.Time`, optional
        Start of the first run, in place of the good times of the observations; each further one starts a minute after
        the end of the one before. Default: the good time of each observation; where that is not known, from 2030-01-01
        (TT) on.
    location : `~astropy.coordinates.EarthLocation`, optional
        Place of the telescopes, which gammapy asks for. Default: that in the file of the response, or that of its
        instrument, CTAO or H.E.S.S.
    rng : numpy.random.Generator or int, optional
        For the times of events that have none, or not in the good time that is written: they are drawn uniformly within
        the run; the header says so.
    overwrite : bool
        Replace a folder that was written by this function.

    Returns
    -------
    list of int
        ``OBS_ID`` of each observation: its name where all names are distinct numbers, else 1, 2, ... A data store sorts
        runs by it.

    Raises
    ------
    TypeError
        If ``events`` or ``observations`` are something else.
    EventError
        If an event belongs to no observation or arrived outside its good time, or the rows are cells of several events.
    DataFileError
        If a file of the response is missing or cannot be read, or the place of the telescopes is not known.
    IRFError
        If the response of an observation is not that of its file.
    FileExistsError
        If the folder exists and ``overwrite`` is false, or holds other files.
    OSError
        If it cannot be written, on a full disk for instance; a folder that was there is unchanged.

    Warns
    -----
    PymcGammaWarning
        If an observation has a largest offset, for which the format has no place; if events have times, which other
        ones take the place of.

    See Also
    --------
    Events.write : the event list alone.

    Notes
    -----
    The energy range of an observation is written as ``LO_THRES`` and ``HI_THRES`` of its effective area, where
    :meth:`Observation.from_gammapy` finds it.

    Examples
    --------
    >>> import tempfile, warnings
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from gammapy.data import DataStore
    >>> import pymc_gamma as pmg
    >>> centre = SkyCoord(83.63 * u.deg, 22.01 * u.deg)
    >>> observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), centre, livetime=0.5 * u.h, name="7")
    >>> events = pmg.Events([1, 2] * u.TeV, [83.6, 83.7] * u.deg, [22, 22.1] * u.deg, frame="icrs")
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):  # of repairs
    ...     pmg.write_runs(folder + "/runs", events, observation, rng=1)
    ...     store = DataStore.from_dir(folder + "/runs")
    ...     (again,) = pmg.Observation.list_from_gammapy(store)
    ...     pmg.Events.from_gammapy(store, frame="icrs")
    [7]
    Events(2 events, 1 to 2 TeV, icrs)
    >>> again
    Observation('7', icrs lon=83.63 lat=22.01 deg, livetime=0.5 h)
    """
    folder = user_path(path)
    pointings = [observations] if isinstance(observations, Observation) else list(observations)
    _check(folder, events, pointings, overwrite)
    generator = np.random.default_rng(rng)
    runs = _runs(events, pointings, _sources(pointings, irfs), start, location)
    with atomic_path(folder, overwrite=overwrite) as temporary:
        temporary.mkdir()
        index = [row for run in runs for row in _write_run(run, temporary, generator)]
        _compare_responses(runs, temporary)
        _write_indices(runs, index, temporary)
    return [run.obs_id for run in runs]


def _check(folder: Path, events: Events, pointings: list[Observation], overwrite: bool) -> None:
    if not isinstance(events, Events):
        raise TypeError(f"events must be Events, got {type(events).__name__}.")
    if wrong := [type(one).__name__ for one in pointings if not isinstance(one, Observation)]:
        raise TypeError(f"observations must be Observation, found {wrong[0]}.")
    if not pointings:
        raise EventError("there is no observation to write; give at least one.")
    if len(events) and events.observation.max() >= len(pointings):
        raise EventError(
            f"an event belongs to observation {events.observation.max()}, but there are {len(pointings)}, from 0."
        )
    if (late := outside_good_time(events, pointings)).any():
        raise EventError(
            f"{int(late.sum())} of {len(events)} events, first rows {np.flatnonzero(late)[:5].tolist()}, arrived "
            "outside the good time of their observation; leave them out by events.select(roi, observations), or "
            "give them to observations cut in time by events.split(observations)."
        )
    if not np.all(events.multiplicity == 1):
        raise EventError("cells of several events (Events.binned) cannot be written as a run; give the events.")
    if folder.name.lower().endswith(SUFFIXES):
        raise EventError(f"write_runs makes a folder, got the name of a file, {str(folder)!r}; see Events.write.")
    refuse_overwrite(folder, overwrite=overwrite)
    if folder.exists():
        held = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else [folder.name]
        foreign = [name for name in held if name not in (HDU_INDEX, OBS_INDEX) and not _is_run_file(name)]
        if foreign:
            raise FileExistsError(
                f"{folder} holds what write_runs did not write ({', '.join(foreign[:3])}) and is left as it is; choose "
                "another folder."
            )
    limited = [one.name or str(k) for k, one in enumerate(pointings) if np.isfinite(one.offset_max)]
    if limited:
        warn_user(
            f"offset_max of observation {', '.join(limited)} has no place in a DL3 file; give it again when the run is "
            "read: Observation.from_gammapy(run, offset_max=...)."
        )


def _is_run_file(name: str) -> bool:
    return name.startswith("run_") and name.endswith(".fits.gz")


def _sources(pointings: list[Observation], irfs: Any) -> list[Path]:
    """File of the response of each observation."""
    if irfs is None or isinstance(irfs, str | os.PathLike):
        given = [irfs] * len(pointings)
    elif isinstance(irfs, Iterable):
        given = list(irfs)
    else:
        raise TypeError(f"irfs must be the path of a file or the name of a data set, got {type(irfs).__name__}.")
    if len(given) != len(pointings):
        raise IRFError(f"irfs names {len(given)} files for {len(pointings)} observations; give one for each, or one.")
    found = []
    for k, (one, observation) in enumerate(zip(given, pointings, strict=True)):
        name = observation.irfs.name if one is None else str(one)
        if name in datasets.names():
            found.append(datasets.fetch(name))
        elif one is None:
            raise IRFError(
                f"the response of observation {observation.name or k}, {name!r}, is not a data set of this package; "
                "say which file it was read from with irfs=."
            )
        else:
            found.append(Path(one))
        if not found[-1].is_file():
            raise DataFileError(f"there is no file {found[-1]} to take the response of observation {k} from.")
    return found


def _runs(
    events: Events,
    pointings: list[Observation],
    sources: list[Path],
    start: Time | None,
    location: EarthLocation | None,
) -> list[_Run]:
    names = [one.name or "" for one in pointings]
    numbers = all(name.isdecimal() and name.isascii() for name in names) and len(set(map(int, names))) == len(names)
    begin = Time("2030-01-01T00:00:00", scale="tt") if start is None else start
    tstart = float(to_seconds(begin, "start"))
    places = {source: _location(source) if location is None else location for source in set(sources)}
    runs: list[_Run] = []
    for k, (observation, source) in enumerate(zip(pointings, sources, strict=True)):
        mine = events[events.observation == k]
        obs_id = int(names[k]) if numbers else k + 1
        own = None if start is not None else _own_good_time(observation)
        if own is None:
            good = GoodTime(reference(), np.array([tstart]), np.array([tstart + observation.ontime_s]))
            tstart += observation.ontime_s + GAP_S
        runs.append(_Run(obs_id, observation, mine, source, places[source], own or good, own is not None))
    replaced = sum(len(run.events) for run in runs if not run.own and run.events.time is not None)
    if replaced:
        warn_user(
            f"the arrival times of {replaced} events are not written, but others, drawn within runs that "
            + ("begin at start=." if start is not None else "have no good time, or one that differs from the on-time.")
        )
    return runs


def _own_good_time(observation: Observation) -> GoodTime | None:
    """Good time of an observation, if it is known and as long as its on-time, as the format has it."""
    if observation.good_time_s is None:
        return None
    good = GoodTime(reference(), *observation.good_time_s.T)
    return good if abs(good.duration_s - observation.ontime_s) <= 1e-6 * observation.ontime_s + TOLERANCE else None


def _location(source: Path) -> EarthLocation:
    """Place of the telescopes in the file of a response, or that of the instrument it names."""
    with reading(source, "a file of instrument responses"), open_fits(source) as hdus:
        headers = [hdu.header for hdu in hdus]
        for header in headers:
            if "GEOLON" in header and "GEOLAT" in header:
                height = header.get("ALTITUDE", header.get("GEOALT", 0.0))
                return EarthLocation.from_geodetic(header["GEOLON"] * u.deg, header["GEOLAT"] * u.deg, height * u.m)
    from gammapy.data import observatory_locations

    for header in headers:
        instrument = f"{header.get('TELESCOP', '')} {header.get('INSTRUME', '')}".lower()
        for words, site in SITES.items():
            if all(word in instrument for word in words):
                return observatory_locations[site]
    raise DataFileError(
        f"{source} does not say where its telescopes stand, which gammapy asks for; give location=, an astropy "
        "EarthLocation."
    )


def _write_run(run: _Run, folder: Path, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Write one file; yields its rows of the index of HDUs."""
    from astropy.io import fits

    with _response(run) as tables:
        hdus = [fits.PrimaryHDU(), _events_hdu(run, tables["aeff"].header, rng), _gti_hdu(run)]
        kinds = [("events", "events"), ("gti", "gti")]
        for kind, hdu in tables.items():
            kinds.append((kind, _table_class(kind, hdu.header)))
            hdus.append(hdu)
        fits.HDUList(hdus).writeto(folder / run.file_name, checksum=True)
        names = [hdu.name for hdu in hdus[1:]]
    for (kind, hdu_class), name in zip(kinds, names, strict=True):
        yield {
            "OBS_ID": run.obs_id,
            "HDU_TYPE": kind,
            "HDU_CLASS": hdu_class,
            "FILE_DIR": ".",
            "FILE_NAME": run.file_name,
            "HDU_NAME": name,
        }


@contextmanager
def _response(run: _Run) -> Iterator[dict[str, Any]]:
    """Tables of the response by type, the energy range of the observation in the header of the effective area."""
    from astropy.io import fits

    tables: dict[str, Any] = {}
    with open_fits(run.source) as hdus:
        with reading(run.source, "a file of instrument responses"):
            events = next((hdu.header for hdu in hdus if hdu.name == "EVENTS"), fits.Header())
            # gammapy knows the mirrored backgrounds of these files by the header of their events, which is not copied
            mirrored = events.get("CREATOR") == "SASH FITS::EventListWriter" and events.get("HDUVERS") == "0.2"
            for hdu in hdus:
                kind = TABLE_TYPES.get(str(hdu.header.get("HDUCLAS2", "")).upper())
                if str(hdu.header.get("HDUCLAS1", "")).upper() != "RESPONSE" or kind is None or kind in tables:
                    continue
                if kind == "bkg" and run.observation.irfs.bkg is None:
                    continue
                tables[kind] = hdu.copy()
                if kind == "bkg" and mirrored:
                    tables[kind].header["FOVALIGN"] = "REVERSE_LON_RADEC"
        missing = [kind for kind in ("aeff", "edisp", "psf") if kind not in tables]
        if missing:
            raise IRFError(f"{run.source} has no table {', '.join(missing)} of the response.")
        header = tables["aeff"].header
        for key, value, none in zip(("LO_THRES", "HI_THRES"), run.observation.energy_range, NO_LIMIT, strict=True):
            header.remove(key, ignore_missing=True)
            if value != none:
                header[key] = (value, "TeV, safe reconstructed energy")
        yield tables


def _table_class(kind: str, header: Any) -> str:
    """Class of a table in the index; some files shorten ``BKG_3D`` to ``3D``."""
    found = str(header.get("HDUCLAS4", "")).lower()
    for one in (found, f"{kind}_{found}"):
        if one in TABLE_CLASSES:
            return one
    raise IRFError(f"table {header.get('EXTNAME')} has HDUCLAS4={found!r}, expected one of {', '.join(TABLE_CLASSES)}.")


def _times(run: _Run) -> dict[str, Any]:
    observation = run.observation
    return {
        "TSTART": run.tstart,
        "TSTOP": run.tstop,
        "ONTIME": observation.ontime_s,
        "LIVETIME": observation.livetime_s,
        "DEADC": observation.livetime_s / observation.ontime_s,
    }


def _place(run: _Run) -> dict[str, float]:
    place = run.location.to_geodetic()
    height = float(place.height.to_value("m"))
    return {"GEOLON": float(place.lon.deg), "GEOLAT": float(place.lat.deg), "ALTITUDE": height}


def _events_hdu(run: _Run, response: Any, rng: np.random.Generator) -> Any:
    from astropy.io import fits

    n = len(run.events)
    times = run.events.to_rows((TIME,))[:, 0] if run.own else np.full(n, np.nan)
    drawn = np.isnan(times)
    times[drawn] = run.good.draw(int(drawn.sum()), rng)
    hdu = fits.BinTableHDU.from_columns(
        [
            fits.Column("EVENT_ID", "K", array=np.arange(1, n + 1)),
            fits.Column("TIME", "D", unit="s", array=times),
            *coordinate_columns(run.events),
        ],
        name="EVENTS",
    )
    pointing = run.observation.pointing.icrs
    header = hdu.header
    header.update(GADF_HEADER)
    header[FRAME_KEY] = (run.events.frame, "frame of the analysis")
    header["OBS_ID"] = run.obs_id
    header.update(_times(run))
    header.update({"OBS_MODE": "POINTING", "RA_PNT": float(pointing.ra.deg), "DEC_PNT": float(pointing.dec.deg)})
    for key in ("TELESCOP", "INSTRUME", "ORIGIN"):
        if key in response:
            header[key] = response[key]
    header.update(_place(run))
    if drawn.any():
        header["COMMENT"] = f"TIME of {int(drawn.sum())} of {n} events is not their own: drawn uniformly in good time."
    return hdu


def _gti_hdu(run: _Run) -> Any:
    from astropy.io import fits

    columns = [
        fits.Column(name, "D", unit="s", array=values)
        for name, values in (("START", run.good.start), ("STOP", run.good.stop))
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="GTI")
    hdu.header.update({**GADF_HEADER, "HDUCLAS1": "GTI", "OBS_ID": run.obs_id})
    return hdu


def _compare_responses(runs: list[_Run], folder: Path) -> None:
    """Read the response back, once per file and response, and compare it with that of the observation."""
    import warnings

    from gammapy.data import Observation as GammapyObservation

    checked: set[tuple[Path, int]] = set()
    for run in runs:
        key = (run.source, id(run.observation.irfs))
        if key in checked:
            continue
        checked.add(key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PymcGammaWarning)  # the user has seen them when the response was read
            (found,) = run_responses([GammapyObservation.read(folder / run.file_name)])
        if found.fingerprint() != run.observation.irfs.fingerprint():
            raise IRFError(
                f"the response of observation {run.observation.name or run.obs_id}, {run.observation.irfs.name!r}, is "
                f"not that of {run.source}; name the file that it was read from with irfs=. A response that was "
                "changed in memory cannot be written."
            )


def _write_indices(runs: list[_Run], index: list[dict[str, Any]], folder: Path) -> None:
    from astropy.io import fits
    from astropy.table import Table

    standard = {key: GADF_HEADER[key] for key in ("HDUCLASS", "HDUDOC", "HDUVERS")} | {"HDUCLAS1": "INDEX"}
    hdus = Table(rows=index)
    hdus.meta.update({**standard, "HDUCLAS2": "HDU"})
    rows = []
    for run in runs:
        pointing = run.observation.pointing
        rows.append(
            {
                "OBS_ID": run.obs_id,
                "RA_PNT": pointing.icrs.ra.deg,
                "DEC_PNT": pointing.icrs.dec.deg,
                "GLON_PNT": pointing.galactic.l.deg,
                "GLAT_PNT": pointing.galactic.b.deg,
                **_times(run),
                "EVENT_COUNT": len(run.events),
            }
        )
    table = Table(rows=rows)
    for names, unit in ((("RA_PNT", "DEC_PNT", "GLON_PNT", "GLAT_PNT"), u.deg), (("ONTIME", "LIVETIME"), u.s)):
        for name in names:
            table[name].unit = unit
    for name in ("TSTART", "TSTOP"):
        table[name].unit = u.s
    table.meta.update(
        {**standard, "HDUCLAS2": "OBS", **TIME_REFERENCE, "TIMEREF": GADF_HEADER["TIMEREF"], **_place(runs[0])}
    )
    for content, name, file_name in ((hdus, "HDU_INDEX", HDU_INDEX), (table, "OBS_INDEX", OBS_INDEX)):
        hdu = fits.BinTableHDU(content, name=name)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(folder / file_name, checksum=True)
