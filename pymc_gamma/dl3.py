r"""Observations as gammapy reads them from DL3 files.

A run in the Data formats for gamma-ray astronomy (https://gamma-astro-data-formats.readthedocs.io) has a pointing, good
time intervals (GTIs), a dead-time correction, events, and its own instrument response. What the response needs is

.. math:: t_{\rm on} = f \sum_{\rm GTI} (t_{\rm stop} - t_{\rm start}), \qquad t_{\rm live} = (1 - d)\, t_{\rm on} ,

with the dead-time fraction :math:`d` (header keyword ``DEADC`` :math:`= 1 - d`) and the share :math:`f` of the time
that a selection in phase leaves, 1 without one. The exposure goes with :math:`t_{\rm live}`, the residual background, a
rate per on-time, with :math:`t_{\rm on}`.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import astropy.units as u

from pymc_gamma.errors import DataFileError, PymcGammaWarning
from pymc_gamma.irfs import IRFs, load_irfs
from pymc_gamma.irfs.point_spread import poor_fit

__all__ = ["gammapy_runs", "is_gammapy_run", "run_arguments", "run_label", "run_responses"]

IRF_TABLES = ("aeff", "edisp", "psf", "bkg")

MAX_TOLD = 5
"""Runs of which a warning speaks one by one."""

_HERE = (str(Path(__file__).parent),)
"""The package: warnings point at the line of the user that called it."""


def is_gammapy_run(thing: Any) -> bool:
    """Whether something is one gammapy ``Observation``."""
    from gammapy.data import Observation

    return isinstance(thing, Observation)


def gammapy_runs(source: Any) -> list[Any]:
    """The gammapy observations in an ``Observation``, ``Observations``, ``DataStore`` or sequence of observations.

    Parameters
    ----------
    source : gammapy.data.Observation, gammapy.data.Observations, gammapy.data.DataStore or iterable
        Of a data store all runs are taken, in the order of its index.

    Returns
    -------
    list of gammapy.data.Observation

    Raises
    ------
    TypeError
        If it is none of these; names what was found.
    """
    from gammapy.data import DataStore

    if is_gammapy_run(source):
        return [source]
    if isinstance(source, DataStore):
        return list(source.get_observations(required_irf=["aeff", "edisp", "psf"]))
    if not isinstance(source, Iterable) or isinstance(source, str | bytes | Mapping):
        raise TypeError(
            "expected a gammapy Observation, Observations, DataStore or a list of observations, got "
            f"{type(source).__name__}; read files with gammapy.data.Observation.read or DataStore.from_dir."
        )
    runs = list(source)
    for run in runs:
        if not is_gammapy_run(run):
            raise TypeError(f"expected gammapy observations, found {type(run).__name__} among them.")
    return runs


def run_label(run: Any) -> str:
    """Name of a run: its observation id."""
    return str(run.obs_id)


def run_arguments(run: Any) -> dict[str, Any]:
    """Pointing, times and name of a run, as :class:`~pymc_gamma.Observation` takes them.

    Raises
    ------
    DataFileError
        If the run has no good time interval or no pointing, drifts in right ascension, or has a selection of events
        that its live time does not reflect; names the run.
    """
    label = run_label(run)
    if run.gti is None or len(run.gti.table) == 0:
        raise DataFileError(f"observation {label} has no good time interval (GTI), so its duration is not known.")
    for selection in run.obs_filter.event_filters:
        if selection.get("opts", {}).get("parameter") != "PHASE":
            raise DataFileError(
                f"observation {label} has the event filter {selection!r}, which the instrument response does not know; "
                "remove it, and choose events by a region of interest instead."
            )
    ontime = run.observation_time_duration * run.obs_filter.livetime_fraction
    return {
        "pointing": _fixed_pointing(run, label),
        "ontime": u.Quantity(ontime),
        "livetime": u.Quantity(run.observation_live_time_duration),
        "name": label,
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
        What was repaired, once for all runs in which it was the same; of each run whose PSF the Gaussians do not
        describe well, by how much and where.
    """
    known: dict[str, IRFs] = {}
    repaired: dict[tuple[str, ...], list[str]] = {}
    poor: list[str] = []
    responses = []
    for run in runs:
        tables = {key: table for key in IRF_TABLES if (table := getattr(run, key)) is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PymcGammaWarning)  # told once, below
            irfs = load_irfs(tables, name=f"of observation {run_label(run)}")
        if irfs.repairs:
            repaired.setdefault(irfs.repairs, []).append(run_label(run))
        quality = poor_fit(irfs.psf)
        if quality is not None:
            poor.append(f"IRFs {irfs.name}: {quality}")
        responses.append(known.setdefault(irfs.fingerprint(), irfs))
    for repairs, labels in repaired.items():
        told = "\n".join([f"IRFs of {len(labels)} observation(s), {_few(labels)}:", *repairs])
        warnings.warn(told, PymcGammaWarning, skip_file_prefixes=_HERE)
    if poor:
        told = "\n".join(poor[:MAX_TOLD]) + (f"\nand {len(poor) - MAX_TOLD} more" if len(poor) > MAX_TOLD else "")
        warnings.warn(told, PymcGammaWarning, skip_file_prefixes=_HERE)
    return responses


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


def _few(labels: list[str], n: int = 5) -> str:
    return ", ".join(labels[:n]) + (", ..." if len(labels) > n else "")
