"""Checks of a FITS file of IRFs or of a run that need the file itself.

Of an axis gammapy takes the lower edges and the last upper edge only. So the columns ``*_LO`` and ``*_HI`` of the axes
are compared before gammapy reads the file, which must be whole (:mod:`pymc_gamma.fits_files`).
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits

from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import DataFileError, IRFError
from pymc_gamma.fits_files import open_fits, reading

__all__ = ["check_extensions", "check_fits"]

AXIS_UNITS = {
    "ENERG": u.TeV, "ETRUE": u.TeV, "THETA": u.deg, "RAD": u.deg, "DETX": u.deg, "DETY": u.deg,
    "MIGRA": u.dimensionless_unscaled,
}  # fmt: skip
"""Axes of the data format and the kind of their unit."""
JOIN_TOLERANCE = 1e-3
"""Largest gap or overlap of neighbouring bins, in widths of a bin; files hold single precision."""


def check_fits(path: Path) -> list[str]:
    """Check a file of IRFs.

    Parameters
    ----------
    path : pathlib.Path
        FITS file, plain or compressed.

    Returns
    -------
    list of str
        What is in the file and will not be read, to be reported.

    Raises
    ------
    DataFileError
        If the file is not whole (:func:`~pymc_gamma.fits_files.open_fits`) or has a table without a row.
    IRFError
        If the columns of an axis contradict each other or hold values that no axis can have; names table, column, bin.
    """
    left_out = []
    with reading(path, "a file of instrument responses"), open_fits(path) as hdus:
        for hdu in hdus:
            if not _is_response(hdu):
                continue
            _check_table(hdu, path.name)
            if not _is_known(hdu.header):
                left_out.append(
                    f"extension {hdu.name!r}: HDUCLAS2={hdu.header.get('HDUCLAS2')!r}, "
                    f"HDUCLAS4={hdu.header.get('HDUCLAS4')!r} is no kind of response that is known, left out"
                )
    return left_out


def check_extensions(path: Path, names: Collection[str]) -> list[str]:
    """Check that a file is complete, and of some extensions that they are there and their axes make sense.

    Parameters
    ----------
    path : pathlib.Path
        FITS file, plain or compressed.
    names : collection of str
        The extensions that are to be read from it; case does not count.

    Returns
    -------
    list of str
        Those that are not in the file.

    Raises
    ------
    DataFileError, IRFError
        As for :func:`check_fits`; tables of a response are looked at if they are among ``names``.
    """
    with reading(path, "a file of a run"), open_fits(path) as hdus:
        found = {str(hdu.name).strip().upper(): hdu for hdu in hdus}
        for name in names:
            hdu = found.get(name.strip().upper())
            if hdu is not None and _is_response(hdu):
                _check_table(hdu, path.name)
    return [name for name in names if name.strip().upper() not in found]


def _is_response(hdu: Any) -> bool:
    return str(hdu.header.get("HDUCLAS1", "")).lower() == "response"


def _is_known(header: Any) -> bool:
    from gammapy.irf.io import UnknownHDUClass, _get_hdu_type_and_class

    try:
        _get_hdu_type_and_class(header)
    except UnknownHDUClass:
        return False
    return True


def _check_table(hdu: Any, file: str) -> None:
    if not isinstance(hdu, fits.BinTableHDU) or hdu.data is None or len(hdu.data) == 0:
        raise DataFileError(f"{file}: extension {hdu.name!r} is a response without a row, its table is empty.")
    names = set(hdu.columns.names)
    for name in hdu.columns.names:
        prefix = name.removesuffix("_LO").removesuffix("_HI")
        if prefix == name or prefix not in AXIS_UNITS:
            continue
        place = f"{file}, extension {hdu.name!r}, axis {prefix}"
        other = f"{prefix}_HI" if name.endswith("_LO") else f"{prefix}_LO"
        if other not in names:
            raise IRFError(f"{place}: column {name} has no {other} beside it.")
        if name.endswith("_LO"):
            _check_axis(_column(hdu, name, prefix, place), _column(hdu, other, prefix, place), prefix, place)


def _column(hdu: Any, name: str, prefix: str, place: str) -> FloatArray:
    """Values of a column of an axis in the unit of that kind of axis."""
    expected = AXIS_UNITS[prefix]
    values = np.atleast_1d(np.asarray(hdu.data[name][0], dtype=np.float64)).ravel()
    if len(values) == 0:
        raise IRFError(f"{place}: column {name} is empty.")
    given = hdu.columns[name].unit or ""
    try:
        return np.asarray(u.Quantity(values, u.Unit(given)).to_value(expected))
    except (ValueError, TypeError, u.UnitsError) as error:
        raise IRFError(f"{place}: column {name} is in {given!r}, expected a unit such as '{expected}'.") from error


def _check_axis(low: FloatArray, high: FloatArray, prefix: str, place: str) -> None:
    unit = f" {AXIS_UNITS[prefix]}".rstrip()
    for end, values in (("LO", low), ("HI", high)):
        if not np.isfinite(values).all():
            k = int((~np.isfinite(values)).argmax())
            raise IRFError(f"{place}: {prefix}_{end} of bin {k} is {values[k]}, not a finite number.")
        if prefix in ("ENERG", "ETRUE") and not (values > 0).all():
            k = int((values <= 0).argmax())
            raise IRFError(f"{place}: {prefix}_{end} of bin {k} is {values[k]:g}{unit}; energies are positive.")
        if not (np.diff(values) > 0).all():
            k = int((np.diff(values) <= 0).argmax())
            raise IRFError(
                f"{place}: {prefix}_{end} does not ascend, bin {k} has {values[k]:g}, the next {values[k + 1]:g}{unit}."
            )
    if len(low) != len(high):
        raise IRFError(f"{place}: {len(low)} lower and {len(high)} upper edges.")
    if np.allclose(low, high, rtol=1e-6, atol=0):
        return  # nodes
    if not (high > low).all():
        k = int((high <= low).argmax())
        raise IRFError(
            f"{place}: bin {k} reaches from {low[k]:g} to {high[k]:g}{unit}; are the two columns in the same unit?"
        )
    gap = np.abs(low[1:] - high[:-1])
    width = np.minimum(np.diff(low), np.diff(high)) if len(low) > 1 else np.ones(0)
    if (gap > JOIN_TOLERANCE * width).any():
        k = int((gap > JOIN_TOLERANCE * width).argmax())
        raise IRFError(
            f"{place}: bins do not join, bin {k} ends at {high[k]:g} and bin {k + 1} starts at {low[k + 1]:g}{unit}."
        )
