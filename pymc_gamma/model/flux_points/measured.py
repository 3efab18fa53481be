"""Flux points of files, gammapy and this package as plain arrays."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import DataFileError, EventError
from pymc_gamma.fits_files import check_whole, reading
from pymc_gamma.model.spectra import FLUX
from pymc_gamma.units import to_value

__all__ = ["MeasuredFluxes", "measured_fluxes"]

FITS = (".fits", ".fit", ".fits.gz")
SIGMA_OF_LIMITS = 2.0
"""Standard deviations that a limit lies above zero, where the points do not say; gammapy's default."""


@dataclass(frozen=True, eq=False)
class Profiles:
    """The likelihood of each of n fluxes as a function of a factor on a reference flux.

    Attributes
    ----------
    norm : numpy.ndarray
        The factors, ascending, shape (n_scan,).
    stat : numpy.ndarray
        -2 log of the likelihood, less that of the best factor, shape (n, n_scan); NaN where there is none.
    reference : numpy.ndarray
        Reference fluxes in TeV-1 cm-2 s-1, shape (n,).
    """

    norm: FloatArray
    stat: FloatArray
    reference: FloatArray


@dataclass(frozen=True, eq=False)
class MeasuredFluxes:
    """Differential fluxes of n energies, in TeV-1 cm-2 s-1; what is not known is NaN.

    Attributes
    ----------
    energy : numpy.ndarray
        TeV, shape (n,).
    dnde, err, errn, errp, limit : numpy.ndarray
        Fluxes, their symmetric errors and those downwards and upwards, upper limits, shape (n,).
    n_sigma : float
        Standard deviations that the errors are.
    n_sigma_limit : float
        Standard deviations that the limits lie above zero.
    is_limit : numpy.ndarray
        Which are quoted as upper limits, shape (n,).
    mask : numpy.ndarray
        Which are to be used, shape (n,).
    statistic : str
        What they are to be compared by.
    profiles : Profiles, optional
        If the points have them.
    """

    energy: FloatArray
    dnde: FloatArray
    err: FloatArray
    errn: FloatArray
    errp: FloatArray
    limit: FloatArray
    n_sigma: float
    n_sigma_limit: float
    is_limit: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    statistic: str
    profiles: Profiles | None = None

    def symmetric(self) -> FloatArray:
        """One standard deviation of each: the symmetric error if there is one, else the mean of both, as gammapy."""
        return np.where(np.isnan(self.err), 0.5 * (self.errn + self.errp), self.err) / self.n_sigma

    def sides(self) -> tuple[FloatArray, FloatArray]:
        """One standard deviation downwards and upwards: of each side, or the symmetric one where it is missing."""
        down, up = (np.where(np.isnan(one), self.err, one) / self.n_sigma for one in (self.errn, self.errp))
        return down, up


def measured_fluxes(label: str, points: Any, statistic: str | None) -> MeasuredFluxes:
    """Flux points as arrays.

    Parameters
    ----------
    label : str
        What they are called in messages.
    points : FluxPoints, gammapy FluxPoints or FluxPointsDataset, astropy Table or path
        The points.
    statistic : str, optional
        What they are to be compared by. By default that of a data set of gammapy; of other points the profile if they
        have one, else ``"distrib"``.

    Raises
    ------
    TypeError
        If they are something else.
    EventError
        If they have no energies or several other axes, are light curves, or a mask does not fit.
    DataFileError
        If a file cannot be read.
    """
    dataset = _dataset(label, points)
    theirs = dataset.data
    if statistic is None:
        default = "profile" if theirs.has_stat_profiles else "distrib"
        statistic = dataset.stat_type if dataset is points else default
    others = [axis.name for axis in theirs.geom.axes if axis.name != "energy" and axis.nbin > 1]
    if others:
        raise EventError(
            f"{label} has an axis of {', '.join(others)}; give the points of one bin of it, one flux for each energy."
        )
    energy = to_value(theirs.energy_ref, "TeV", f"{label}: energy_ref").ravel()
    n = len(energy)
    known = set(theirs.available_quantities)

    def column(name: str) -> FloatArray:
        if f"norm{name}" not in known:
            return np.full(n, np.nan)
        values = getattr(theirs, f"dnde{name}").quantity
        return to_value(values, FLUX, f"{label}: dnde{name}").reshape(n)

    profiles = None
    if theirs.has_stat_profiles:
        norm = np.asarray(theirs.stat_scan.geom.axes["norm"].center.to_value(""), float)
        best = np.asarray(theirs.stat.data, float).reshape(n, 1)
        stat = np.asarray(theirs.stat_scan.data, float).reshape(n, len(norm)) - best
        profiles = Profiles(norm, stat, to_value(theirs.dnde_ref, FLUX, f"{label}: dnde_ref").reshape(n))
    return MeasuredFluxes(
        energy=energy,
        dnde=column(""),
        err=column("_err"),
        errn=column("_errn"),
        errp=column("_errp"),
        limit=column("_ul"),
        n_sigma=float(theirs.n_sigma),
        n_sigma_limit=float(theirs.n_sigma_ul or SIGMA_OF_LIMITS),
        is_limit=np.asarray(theirs.is_ul.data, bool).reshape(n),
        mask=_mask(label, dataset, n),
        profiles=profiles,
        statistic=statistic,
    )


def _dataset(label: str, points: Any) -> Any:
    """The points as a data set of gammapy, which has masks and a statistic."""
    from astropy.table import Table
    from gammapy.datasets import FluxPointsDataset
    from gammapy.estimators import FluxPoints

    if isinstance(points, FluxPointsDataset):
        return points
    if isinstance(points, str | Path):
        return _read(Path(points))
    if isinstance(points, Table):
        with reading(label, "a table of flux points"):
            return _from_table(Table(points))
    if hasattr(points, "to_gammapy"):
        points = points.to_gammapy()
    if not isinstance(points, FluxPoints):
        raise TypeError(
            f"{label} must be flux points: pmg.FluxPoints, FluxPoints or a FluxPointsDataset of gammapy, a table or "
            f"the path of a file, got {type(points).__name__}."
        )
    if not points.geom.has_energy_axis:
        raise EventError(f"{label} has no axis of energy.")
    return FluxPointsDataset(data=points)


def _read(path: Path) -> Any:
    """A file of flux points."""
    from astropy.table import Table

    if not path.is_file():
        raise DataFileError(f"there is no file {path}; check the path.")
    is_fits = path.name.endswith(FITS)
    if is_fits:
        check_whole(path)
    with reading(path, "a file of flux points"):
        return _from_table(Table.read(path) if is_fits else Table.read(path, format="ascii.ecsv"))


def _from_table(table: Any) -> Any:
    """A table of flux points, with its masks if there are; what is missing is not known."""
    from gammapy.datasets import FluxPointsDataset
    from gammapy.estimators import FluxPoints

    # gammapy takes what lies below the mask of a column for measured
    for name in table.colnames:
        column = table[name]
        if hasattr(column, "mask") and np.any(column.mask):
            table[name] = column.filled(np.nan if column.dtype.kind == "f" else False)
    if "e_ref" in table.colnames and not {"flux", "eflux"} & {*table.colnames}:
        # and the middle of the band, or of what it takes for the band, for the energy of the flux
        table.remove_columns([name for name in ("e_min", "e_max") if name in table.colnames])
    masks = {name: np.asarray(table[name], bool) for name in ("mask_safe", "mask_fit") if name in table.colnames}
    return FluxPointsDataset(data=FluxPoints.from_table(table), **masks)


def _mask(label: str, dataset: Any, n: int) -> NDArray[np.bool_]:
    """Points in ``mask_safe`` and ``mask_fit``."""
    # not dataset.mask_safe, which leaves out what the statistic of the data set cannot use: that is decided here
    masks = {"mask_safe": dataset._mask_safe, "mask_fit": dataset.mask_fit}
    used = np.ones(n, bool)
    for name, one in masks.items():
        if one is None:
            continue
        values = np.asarray(getattr(one, "data", one))
        if values.size != n:
            raise EventError(
                f"{label}: {name} has the shape {values.shape}, and there are {n} points; give it the shape of "
                f"the fluxes, {dataset.data.dnde.data.shape}."
            )
        used &= values.astype(bool).reshape(n)
    return used


def energies(values: FloatArray, which: Collection[bool]) -> str:
    """Some energies, for messages."""
    return ", ".join(f"{one:.4g}" for one in values[np.asarray(which)]) + " TeV"
