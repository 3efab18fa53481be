r"""Observations as gammapy reads them from DL3 files.

A run in the Data formats for gamma-ray astronomy (https://gamma-astro-data-formats.readthedocs.io) has a pointing, good
time intervals (GTIs), a dead-time correction, events, and its own instrument response. What the response needs is

.. math:: t_{\rm on} = f\, \Big| \bigcup_{\rm GTI} [t_{\rm start}, t_{\rm stop}] \Big|, \qquad
          t_{\rm live} = (1 - d)\, t_{\rm on} ,

with the dead-time fraction :math:`d` (header keyword ``DEADC`` :math:`= 1 - d`) and the share :math:`f` of the time
that a selection in phase leaves, 1 without one. The exposure goes with :math:`t_{\rm live}`, the residual background, a
rate per on-time, with :math:`t_{\rm on}`. The events are those of the same intervals
(:mod:`pymc_gamma.instrument.good_time`).

A background that is aligned with altitude and azimuth turns on the sky while the telescope follows its pointing. The
position angle :math:`\chi` of the zenith at the pointing is averaged over the good time as a direction,
:math:`\bar\chi = \arg \int e^{i\chi(t)}\,\mathrm{d}t`.

gammapy reads a cut file up to the cut, and takes a table that it does not find for one that the run does not have. A
run of a data store knows its files and the tables that the index lists, so both are compared before anything is read
(:func:`check_files`). A run of ``gammapy.data.Observation.read`` holds the tables only, not the name of the file.
"""

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.utils import iers

from pymc_gamma.arguments import is_several
from pymc_gamma.errors import DataFileError, IRFError, PymcGammaError, PymcGammaWarning, untold, warn_user
from pymc_gamma.fits_files import reading
from pymc_gamma.instrument.good_time import TOLERANCE, good_time, phase_band
from pymc_gamma.instrument.irfs import IRFs, load_irfs
from pymc_gamma.instrument.irfs.background import unaligned
from pymc_gamma.instrument.irfs.fits_file import check_extensions
from pymc_gamma.instrument.irfs.point_spread import poor_fit

__all__ = [
    "EVENT_HDUS",
    "FieldOrientation",
    "check_files",
    "field_orientation",
    "gammapy_runs",
    "has_response",
    "index_of",
    "is_gammapy_run",
    "missing_keyword",
    "reading_run",
    "run_arguments",
    "run_label",
    "run_responses",
]

IRF_TABLES = ("aeff", "edisp", "psf", "bkg", "rad_max")

ORIENTATION_STEP = 60.0
"""Longest piece of good time in s in which the field of view is taken not to turn."""

TURN_TOLD = 20.0
"""Degrees that a field of view may turn in a run before its mean orientation is worth a word: of a uniform turn by so
much the mean orientation overestimates a gradient by 0.5 %."""

EVENT_HDUS = ("events", "gti")
"""What the events of a run of a data store cannot do without."""

REQUIRED_HDUS = (*EVENT_HDUS, "aeff", "edisp", "psf")
"""What a run of a data store cannot do without; one with a point-like response has no PSF."""

READ_HDUS = (*REQUIRED_HDUS, "bkg", "rad_max", "pointing", "meta")
"""What is read of a run. gammapy keeps pointing and header (``meta``) as places of their own, both in ``events``."""

READ_ANEW = ("aeff", "edisp", "psf", "_bkg", "_events")
"""Attributes of a gammapy run that it never keeps after reading them; one that is there was put there by the user."""

MAX_TOLD = 5
"""Runs of which a warning speaks one by one."""


def is_gammapy_run(thing: Any) -> bool:
    """Whether something is one gammapy ``Observation``."""
    from gammapy.data import Observation

    return isinstance(thing, Observation)


def gammapy_runs(source: Any, required: Collection[str] = REQUIRED_HDUS) -> list[Any]:
    """The gammapy observations in an ``Observation``, ``Observations``, ``DataStore`` or sequence of observations.

    Parameters
    ----------
    source : gammapy.data.Observation, gammapy.data.Observations, gammapy.data.DataStore or iterable
        Of a data store all runs are taken, in the order of its index.
    required : collection of str
        Tables that the runs of a data store must have.

    Returns
    -------
    list of gammapy.data.Observation
        At least one.

    Raises
    ------
    TypeError
        If it is none of these; names what was found.
    DataFileError
        If there is no run, or runs of a data store lack a table that is required; names them.
    """
    from gammapy.data import DataStore

    if is_gammapy_run(source):
        return [source]
    if isinstance(source, DataStore):
        with reading(index_of(source, "hdu-index"), "an index of files"):
            runs = _runs_of_store(source, required)
    elif not is_several(source):
        raise TypeError(
            "expected a gammapy Observation, Observations, DataStore or a list of observations, got "
            f"{type(source).__name__} as source of observations; read files with "
            "gammapy.data.Observation.read or DataStore.from_dir."
        )
    else:
        runs = list(source)
    if not runs:
        raise DataFileError(f"there is no observation in the {type(source).__name__}; give at least one.")
    for run in runs:
        if not is_gammapy_run(run):
            raise TypeError(f"expected gammapy observations as source, found {type(run).__name__} among them.")
    return runs


def index_of(store: Any, name: str) -> str:
    """What an index of a gammapy ``DataStore`` is called in messages."""
    return f"{name} of the data store {store.hdu_table.meta.get('BASE_DIR', 'in memory')}"


def _runs_of_store(store: Any, required: Collection[str]) -> list[Any]:
    """All runs of a data store; gammapy's ``get_observations`` would leave out those that lack a table."""
    response = [kind for kind in required if kind not in EVENT_HDUS]
    index = store.hdu_table
    runs = []
    lacking: dict[str, list[Any]] = {}
    for obs_id in store.obs_ids:
        held = {str(kind).strip().lower() for kind in index["HDU_TYPE"][index["OBS_ID"] == obs_id]}
        missing = [kind for kind in required if kind not in held]
        if missing == ["psf"] and _is_point_like(run := store.obs(obs_id, required_irf=["aeff", "edisp"])):
            runs.append(run)
        elif missing:
            lacking.setdefault(", ".join(missing), []).append(obs_id)
        else:
            runs.append(store.obs(obs_id, required_irf=response))
    if lacking:
        told = "; ".join(f"{_few([str(one) for one in obs_ids])}: no {missing}" for missing, obs_ids in lacking.items())
        raise DataFileError(
            f"{sum(map(len, lacking.values()))} of {len(store.obs_ids)} observations of the data store lack tables "
            f"({told}). To go on with the others, choose them: [store.obs(i, required_irf={response}) for i in ids]."
        )
    return runs


def _is_point_like(run: Any) -> bool:
    with reading_run(run, "response"):
        return any(getattr(getattr(run, key), "is_pointlike", False) for key in ("aeff", "edisp"))


def has_response(run: Any) -> bool:
    """Whether a run has any table of an instrument response, in memory or by the index of its data store."""
    held = vars(run)
    names = (name for key in IRF_TABLES for name in (key, f"_{key}", f"_{key}_hdu", f"__{key}_hdu"))
    return any(held.get(name) is not None for name in names)


@contextmanager
def reading_run(run: Any, what: str) -> Iterator[None]:
    """Make one error of every way in which a table of a run can fail, which gammapy reads only when it is used.

    Parameters
    ----------
    run : gammapy.data.Observation
        The run.
    what : str
        The table, for the message.

    Raises
    ------
    DataFileError
        If the block raises anything but an error of this package, which passes; names the run and its files.
    """
    try:
        yield
    except PymcGammaError:
        raise
    except Exception as error:
        files = sorted({str(_path(place)) for _, place in _places(run, READ_HDUS)})
        raise DataFileError(
            f"observation {run_label(run)}: its {what} cannot be used ({type(error).__name__}: {error})."
            + (f" It is read from {', '.join(files)}: copy the file again, or correct it." if files else "")
        ) from error


def run_label(run: Any) -> str:
    """Name of a run: its observation id."""
    return str(run.obs_id)


def check_files(runs: list[Any], kinds: Collection[str] = READ_HDUS) -> None:
    """Check the files that runs are going to be read from, each once.

    Parameters
    ----------
    runs : list of gammapy.data.Observation
        Those in memory pass: they do not know where they came from.
    kinds : collection of str
        Tables that will be read.

    Raises
    ------
    DataFileError
        If a file is not there, cut or damaged, does not hold a table that the index lists for the run, or a header
        lacks a keyword; names run, file and what is missing.
    IRFError
        If the axes of a table contradict each other; names run, file, table and bin.
    """
    wanted: dict[Path, dict[str, None]] = {}
    for run in runs:
        for _, place in _places(run, kinds):
            wanted.setdefault(_path(place), {})[place.hdu_name] = None
    missing: dict[Path, list[str]] = {}
    for run in runs:
        for kind, place in _places(run, kinds):
            path = _path(place)
            if path not in missing:
                missing[path] = _missing_extensions(path, wanted[path], run_label(run))
            if place.hdu_name in missing[path] and not _assumed(kind, place):
                raise DataFileError(
                    f"observation {run_label(run)}: the index lists {kind!r} as extension {place.hdu_name!r} of "
                    f"{path}, which the file does not have. It is cut or another one; copy it again, or correct the "
                    "index."
                )
        _check_headers(run, kinds)


def _places(run: Any, kinds: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Kinds of tables of a run that gammapy will read, and where from; without those that the user replaced."""
    held = vars(run)
    for kind in kinds:
        # gammapy's names: _aeff_hdu is the place of aeff, __bkg_hdu that of _bkg
        for name in (kind, f"_{kind}"):
            replaced = held.get(name) is not None or (name in held and name in READ_ANEW)
            if f"_{name}_hdu" in held and not replaced:
                yield kind, held[f"_{name}_hdu"]


def _path(place: Any) -> Path:
    """File of a place; gammapy leaves the folder out where there is no file."""
    found = Path(place.path())
    return found if found.is_file() else Path(place.base_dir, place.file_dir, place.file_name)


def _missing_extensions(path: Path, names: Collection[str], label: str) -> list[str]:
    """Extensions that a file does not have; every way it can be damaged becomes one error."""
    if not path.is_file():
        raise DataFileError(f"observation {label}: there is no file {path}, which the index lists for it.")
    try:
        return check_extensions(path, names)
    except IRFError as error:
        raise IRFError(f"observation {label}: {error}") from error
    except DataFileError as error:
        raise DataFileError(f"observation {label}: {error}") from error


def _check_headers(run: Any, kinds: Collection[str]) -> None:
    """Read what is small and in headers, while the place of it is still known."""
    for kind, place in list(_places(run, [kind for kind in ("gti", "pointing", "meta") if kind in kinds])):
        try:
            value = getattr(run, f"_{kind}")
        except Exception as error:
            raise DataFileError(
                f"observation {run_label(run)}: the header of {place.hdu_name!r} in {_path(place)} cannot be used: "
                f"{type(error).__name__}: {error}. Correct the header (astropy.io.fits.setval)."
            ) from error
        if value is None:
            raise DataFileError(missing_keyword(run, kind) or f"observation {run_label(run)} has no {kind}.")


def missing_keyword(run: Any, kind: str) -> str:
    """What to say of a table that gammapy did not read because its header lacks a keyword; empty if it is not that."""
    for _, place in _places(run, [kind]):
        try:
            place.load()
        except KeyError as error:
            # "DEADC" of a dict, "Keyword 'DEADC' not found." of a header
            keyword = str(error.args[0]).removeprefix("Keyword ").removesuffix(" not found.").strip("'")
            return (
                f"observation {run_label(run)}: the header of {place.hdu_name!r} in {_path(place)} lacks the keyword "
                f"{keyword}. Add it (astropy.io.fits.setval)."
            )
    return ""


def run_arguments(run: Any) -> dict[str, Any]:
    """Pointing, times and name of a run, as :class:`~pymc_gamma.Observation` takes them.

    Raises
    ------
    DataFileError
        If the run has no good time or no pointing, drifts in right ascension, has a selection of events that its live
        time does not reflect, or a dead time that leaves nothing; names the run.
    """
    label = run_label(run)
    with reading_run(run, "good time"):
        good = good_time(run, label)
        band, dead = phase_band(run, label), float(run.observation_dead_time_fraction)
    share = 1.0 if band is None else band[1] - band[0]
    if not 0 <= dead < 1:
        raise DataFileError(
            f"observation {label} has a dead-time fraction of {dead:g} (DEADC = {1 - dead:g}), so no live time; "
            "DEADC is the share of the time that is live, above 0 and at most 1."
        )
    ontime = share * good.duration_s
    lasting = good.stop - good.start > TOLERANCE  # shorter ones are less than what times are exact to
    intervals = np.stack([good.start, good.stop], axis=1)[lasting]
    with reading_run(run, "pointing"):
        pointing = _fixed_pointing(run, label)
    return {
        "pointing": pointing,
        "ontime": ontime * u.s,
        "livetime": (1 - dead) * ontime * u.s,
        "name": label,
        "good_time": good.reference + intervals * u.s if len(intervals) else None,
    }


def run_responses(runs: list[Any]) -> list[IRFs]:
    """Instrument response of each run; runs with equal tables share one object.

    Raises
    ------
    IRFError
        If a table is missing or cannot be used; names the run.

    Warns
    -----
    PymcGammaWarning
        What was repaired, once for all runs in which it was the same, and not again when they are read again, unless
        the filters of `warnings` ask for that (:func:`pymc_gamma.errors.untold`); of each run whose PSF the Gaussians
        do not describe well, by how much and where; which runs have no background and no index that says so, because
        a cut file looks the same.
    """
    known: dict[str, IRFs] = {}
    repaired: dict[tuple[str, ...], list[str]] = {}
    poor: list[str] = []
    unsure: list[str] = []
    responses = []
    for run in runs:
        tables = {key: table for key in IRF_TABLES if (table := _table(run, key)) is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PymcGammaWarning)  # told once, below
            irfs = load_irfs(tables, name=f"of observation {run_label(run)}")
        irfs = _with_orientation(irfs, run)
        if irfs.bkg is None and not irfs.is_point_like and _may_be_cut(run):
            unsure.append(run_label(run))
        if irfs.repairs:
            repaired.setdefault(irfs.repairs, []).append(run_label(run))
        quality = None if irfs.psf is None else poor_fit(irfs.psf)
        if quality is not None:
            poor.append(f"IRFs {irfs.name}: {quality}")
        responses.append(known.setdefault(irfs.fingerprint(), irfs))
    for repairs, labels in repaired.items():
        fresh = [label for label, _ in untold([(label, repairs) for label in labels], _told(labels, repairs))]
        if fresh:
            warn_user(_told(fresh, repairs))
    if unsure:
        warn_user(
            f"{len(unsure)} observation(s), {_few(unsure)}, have no background table. If the file should hold one, it "
            "is cut there: gammapy reads what is left, and no index lists the tables of these runs (Observation.read, "
            "DataStore.from_events_files). Look at the file with astropy.io.fits.info, or use DataStore.from_dir."
        )
    poor = untold(poor, "\n".join(poor))
    if poor:
        told = "\n".join(poor[:MAX_TOLD]) + (f"\nand {len(poor) - MAX_TOLD} more" if len(poor) > MAX_TOLD else "")
        warn_user(told)
    return responses


@dataclass(frozen=True)
class FieldOrientation:
    """How a field of view that is aligned with altitude and azimuth lies on the sky during a run.

    Attributes
    ----------
    angle : `~astropy.units.Quantity` or None
        Position angle of the zenith at the pointing, from ICRS north through east, averaged over the good time; None
        where it does not matter or is not known.
    note : str
        What is worth saying: why it is not known, or that the field turns far; empty if nothing is.
    """

    angle: u.Quantity | None = None
    note: str = ""


def field_orientation(run: Any, irfs: IRFs) -> FieldOrientation:
    """Orientation of the field of view of a run, if its background is aligned with altitude and azimuth.

    Parameters
    ----------
    run : gammapy.data.Observation
        With a fixed pointing and good time intervals.
    irfs : IRFs
        Its response.

    Returns
    -------
    FieldOrientation
    """
    if irfs.bkg is None or irfs.bkg.radial or irfs.bkg.alignment != "ALTAZ":
        return FieldOrientation()
    location = run.observatory_earth_location
    if location is None:
        return FieldOrientation(note="the observation has no location")
    from astropy.coordinates import AltAz, SkyCoord

    good = good_time(run, run_label(run))
    duration = good.stop - good.start
    pieces = np.maximum(np.ceil(duration / ORIENTATION_STEP), 1).astype(int)
    interval = np.repeat(np.arange(len(pieces)), pieces)
    piece = np.arange(len(interval)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    length = (duration / pieces)[interval]
    times = good.reference + (good.start[interval] + (piece + 0.5) * length) * u.s
    # The table that comes with astropy, for any date: no download, and the rotation of the Earth to 0.005 deg.
    with (
        iers.earth_orientation_table.set(iers.IERS_B.open()),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
        warnings.catch_warnings(action="ignore"),
    ):
        frame = AltAz(obstime=times, location=location)
        pointing = run.pointing.fixed_icrs
        here = pointing.transform_to(frame)
        above = SkyCoord(az=here.az, alt=here.alt + 0.01 * u.deg, frame=frame).transform_to("icrs")
    if np.any(here.alt < 0):
        return FieldOrientation(note="its pointing is below the horizon at the location and times of the observation")
    angle = pointing.position_angle(above).rad
    mean = float(np.angle(np.exp(1j * angle) @ length))
    away = np.degrees(np.angle(np.exp(1j * (angle - mean))))
    turn = float(away.max() - away.min())
    note = f"it turns by {turn:.0f} deg during the run; its mean orientation is used" if turn > TURN_TOLD else ""
    return FieldOrientation(np.degrees(mean) * u.deg, note)


def _with_orientation(irfs: IRFs, run: Any) -> IRFs:
    """The response, saying of an unknown orientation of its background only what is so for the run."""
    told = None if irfs.bkg is None else unaligned(irfs.bkg)
    if told is None:
        return irfs
    orientation = field_orientation(run, irfs)
    repairs = [repair for repair in irfs.repairs if repair != told]
    if orientation.angle is None:
        repairs.append(f"{told}; {orientation.note}")
    elif orientation.note:
        repairs.append(f"background: aligned with altitude and azimuth; {orientation.note}")
    return replace(irfs, repairs=tuple(repairs))


def _may_be_cut(run: Any) -> bool:
    """Whether a run without background has events, and nothing but its file says what it should have."""
    held = vars(run)
    if "__bkg_hdu" in held:
        return _assumed("bkg", held["__bkg_hdu"])
    return held.get("_events") is not None and not any(key.endswith("_hdu") for key in held)


def _assumed(kind: str, place: Any) -> bool:
    """Whether gammapy lists a background without having looked for it.

    ``DataStore.from_events_files`` lists the same tables of every file, by the names that CTAO gives them. Such an
    index was not read from a file, so it has no folder.
    """
    return kind == "bkg" and place.hdu_name == "BACKGROUND" and str(place.base_dir) in ("", ".")


def _table(run: Any, key: str) -> Any:
    """A table of a run; gammapy reads it from the file only now."""
    with reading_run(run, key):
        try:
            # gammapy makes a table of the header, which may lack the keyword; load_irfs reads it itself
            return getattr(run, "_rad_max" if key == "rad_max" else key)
        except ValueError as error:
            if "FoVAlignment" not in str(error):
                raise
            raise IRFError(
                f"observation {run_label(run)}: the alignment of its {key} (FOVALIGN) is not known: {error}; expected "
                "RADEC, ALTAZ or REVERSE_LON_RADEC."
            ) from error


def _fixed_pointing(run: Any, label: str) -> Any:
    from gammapy.data import PointingMode

    if run.pointing is None:
        raise DataFileError(f"observation {label} has no pointing.")
    if run.pointing.mode is not PointingMode.POINTING:
        raise DataFileError(
            f"observation {label} drifts: its pointing is fixed in altitude and azimuth and moves on the sky. Cut it "
            "into short pieces (`observation.select_time`) and give each a pointing in right ascension and declination."
        )
    return run.pointing.fixed_icrs


def _told(labels: list[str], repairs: tuple[str, ...]) -> str:
    return "\n".join([f"IRFs of {len(labels)} observation(s), {_few(labels)}:", *repairs])


def _few(labels: list[str], n: int = 5) -> str:
    return ", ".join(labels[:n]) + (", ..." if len(labels) > n else "")
