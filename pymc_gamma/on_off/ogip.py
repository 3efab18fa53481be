r"""Counts spectra in files of the OGIP format: PHA with its background, ARF and RMF.

The format is that of X-ray astronomy (OGIP/92-007, CAL/GEN/92-002), which gamma-ray telescopes use for spectra of point
sources. The files that a PHA file names lie beside it. Expected counts in channel :math:`c` are

.. math:: \lambda_c = t\, a_c \sum_e A_e\, R_{ec} \int_e \phi(E)\,\mathrm{d}E + \alpha_c\, b_c, \qquad
          \alpha_c = \frac{(t\, s_c\, a_c)_\mathrm{on}}{(t\, s_c\, a_c)_\mathrm{off}} ,

with the exposure :math:`t`, `AREASCAL` :math:`a`, `BACKSCAL` :math:`s`, the effective area of the ARF, the
redistribution of the RMF, and the counts :math:`b_c` that are expected in the background file.

Channels of an RMF are counted as its `CHANNEL` column counts them, which begins at 0 or 1. gammapy takes 0 for granted,
which moves matrices of X-ray instruments by a channel.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from pymc_gamma.arrays import FloatArray, IntArray
from pymc_gamma.errors import DataFileError
from pymc_gamma.fits_files import open_fits, reading

__all__ = ["OGIPSpectrum", "read_ogip"]

SAME_EDGE = 1e-3
"""Relative difference of edges of energy that rounding in files may make."""
NO_FILE = ("", "none")


class OGIPSpectrum(NamedTuple):
    """What the files say.

    Attributes
    ----------
    counts, counts_off : numpy.ndarray
        In each channel, shape (n,); None where the file names no background.
    alpha : numpy.ndarray
        Ratio of exposures of ON and OFF, shape (n,); None likewise.
    energy : numpy.ndarray
        Edges of the channels in TeV, shape (n + 1,).
    energy_true : numpy.ndarray
        Edges of the true energies in TeV, shape (m + 1,).
    exposure : numpy.ndarray
        Effective area times exposure, times the largest `AREASCAL`, in cm2 s, shape (m,).
    edisp : numpy.ndarray
        Probability of each channel, times `AREASCAL` over the largest, shape (m, n).
    good : numpy.ndarray
        Channels with quality 0 in both, shape (n,).
    grouping : numpy.ndarray
        1 where a group of channels begins, -1 where it goes on, 0 in channels of no group; None if the file has none.
    livetime : float
        Exposure in s.
    name : str
        Of the observation.
    """

    counts: FloatArray
    counts_off: FloatArray | None
    alpha: FloatArray | None
    energy: FloatArray
    energy_true: FloatArray
    exposure: FloatArray
    edisp: FloatArray
    good: NDArray[np.bool_]
    grouping: IntArray | None
    livetime: float
    name: str


class _Counts(NamedTuple):
    """One PHA file."""

    counts: FloatArray
    exposure: float
    backscal: FloatArray
    areascal: FloatArray
    quality: IntArray
    grouping: IntArray | None
    channel: IntArray | None
    header: Any


def read_ogip(path: str | os.PathLike[str]) -> OGIPSpectrum:
    """Read a PHA file and the files it names.

    Raises
    ------
    DataFileError
        If a file is missing, damaged, of another kind, or does not fit the others; names it.
    """
    path = Path(path)
    on = _read_counts(path)
    rmf_path = _named(path, on.header, "RESPFILE")
    if rmf_path is None:
        raise DataFileError(f"{path} names no RMF (RESPFILE), which says what a channel is; give it one.")
    matrix, energy_true, energy, channel = _read_rmf(rmf_path)
    if not _same_channels(channel, on):
        raise DataFileError(
            f"{rmf_path} has the channels {_span(channel)}, and {path} "
            f"{_span(on.channel, len(on.counts))}: they do not belong together."
        )
    arf_path = _named(path, on.header, "ANCRFILE")
    if arf_path is None:
        raise DataFileError(f"{path} names no ARF (ANCRFILE), the effective area; give it one.")
    area = _read_arf(arf_path, energy_true, rmf_path)
    bkg_path = _named(path, on.header, "BACKFILE")
    counts_off = alpha = None
    good = (on.quality == 0) & np.isfinite(on.areascal) & (on.areascal > 0)
    if not good.any():
        raise DataFileError(f"{path}: no channel has quality 0 and a positive AREASCAL; there is nothing to use.")
    if bkg_path is not None:
        if bkg_path.exists() and bkg_path.samefile(path):
            raise DataFileError(
                f"{path} names itself as its background (BACKFILE): ON counts cannot measure it. Give BACKFILE the "
                "spectrum of the OFF region, or 'none'."
            )
        off = _read_counts(bkg_path)
        if not _same_channels(channel, off):
            raise DataFileError(
                f"{bkg_path} has the channels {_span(off.channel, len(off.counts))}, and {path} "
                f"{_span(on.channel, len(on.counts))}: they do not belong together."
            )
        scale_on, scale_off = (one.exposure * one.backscal * one.areascal for one in (on, off))
        # channels that are not used may have no exposure
        good &= (off.quality == 0) & (scale_on > 0) & (scale_off > 0)
        if not good.any():
            raise DataFileError(
                f"{path}: in no channel of quality 0 are exposure, BACKSCAL and AREASCAL positive in both ON and OFF "
                f"({bkg_path.name}); the ratio alpha of the exposures would be zero or infinite."
            )
        alpha = np.divide(scale_on, scale_off, out=np.zeros_like(scale_on), where=scale_off > 0)
        counts_off = off.counts
    largest = float(on.areascal[good].max())  # it may be above one, and edisp holds probabilities
    return OGIPSpectrum(
        on.counts,
        counts_off,
        alpha,
        energy,
        energy_true,
        area * on.exposure * largest,
        matrix * np.where(good, on.areascal / largest, 1.0),
        good,
        on.grouping,
        on.exposure,
        str(on.header.get("OBS_ID", "")).strip() or path.name.split(".")[0].removeprefix("pha_obs"),
    )


def _named(path: Path, header: Any, key: str) -> Path | None:
    """The file that a header names: beside its own, or where the name leads from here."""
    name = str(header.get(key, "")).strip()
    if name.lower() in NO_FILE:
        return None
    beside = path.parent / name
    if beside.exists() or not Path(name).exists():
        return beside
    return Path(name)


def _read_counts(path: Path) -> _Counts:
    with open_fits(path) as hdus, reading(path, "a PHA file"):
        hdu = next((one for one in hdus[1:] if "SPECTRUM" in (one.name, one.header.get("HDUCLAS1"))), None)
        if hdu is None:
            raise DataFileError(f"{path} has no extension SPECTRUM: it is no PHA file.")
        header, names = hdu.header, hdu.columns.names
        if "COUNTS" not in names:
            raise DataFileError(
                f"{path} holds {names}, not COUNTS: the likelihood needs the counts themselves, not a rate."
            )
        if np.ndim(hdu.data["COUNTS"]) > 1:
            raise DataFileError(f"{path} holds several spectra (PHA of type II); write one of type I for each.")
        if header.get("HDUCLAS2") == "NET" or header.get("POISSERR") is False:
            raise DataFileError(
                f"{path} holds counts that are not those of a Poisson process (HDUCLAS2 = {header.get('HDUCLAS2')!r}, "
                f"POISSERR = {header.get('POISSERR')}), such as a spectrum from which the background was subtracted; "
                "give ON and OFF counts as they are."
            )
        n = len(hdu.data)
        counts = np.asarray(hdu.data["COUNTS"], float)
        bad = ~(np.isfinite(counts) & (counts >= 0) & (counts == np.round(counts)))
        if bad.any():
            row = int(bad.argmax())
            raise DataFileError(
                f"{path}: {int(bad.sum())} of {n} channels hold counts that are not whole numbers from 0 on, the first "
                f"{counts[row]:g} in row {row}."
            )

        def column(key: str, default: float) -> FloatArray:
            if key in names:
                return np.asarray(hdu.data[key], float)
            return np.full(n, float(header.get(key, default)))

        if "EXPOSURE" not in header:
            raise DataFileError(f"{path} has no EXPOSURE in the header of SPECTRUM.")
        exposure = float(header["EXPOSURE"])
        if not (np.isfinite(exposure) and exposure > 0):
            raise DataFileError(f"{path}: EXPOSURE is {exposure:g} s; it must be positive.")
        grouping = np.asarray(hdu.data["GROUPING"], np.int64) if "GROUPING" in names else None
        channel = np.asarray(hdu.data["CHANNEL"], np.int64) if "CHANNEL" in names else None
        return _Counts(
            counts,
            exposure,
            column("BACKSCAL", 1.0),
            column("AREASCAL", 1.0),
            column("QUALITY", 0).astype(np.int64),
            grouping,
            channel,
            header.copy(),
        )


def _rounding(edges: FloatArray) -> FloatArray:
    """How far edges in two files may lie apart: less than by a bin, however narrow bins are."""
    width = np.diff(edges)
    return np.minimum(SAME_EDGE * edges, 0.1 * np.minimum(np.append(width, width[-1]), np.append(width[0], width)))


def _read_arf(path: Path, energy_true: FloatArray, rmf_path: Path) -> FloatArray:
    """Effective area in cm2 in the bins of an RMF."""
    with open_fits(path) as hdus, reading(path, "an ARF file"):
        hdu = next((one for one in hdus[1:] if one.name == "SPECRESP"), None)
        if hdu is None:
            raise DataFileError(f"{path} has no extension SPECRESP: it is no ARF file.")
        edges = _edges(path, hdu, "ENERG_LO", "ENERG_HI")
        area = np.asarray(hdu.data["SPECRESP"], float) * _unit(hdu, "SPECRESP", "cm2").to("cm2")
    if len(edges) != len(energy_true) or np.any(np.abs(edges - energy_true) > _rounding(energy_true)):
        raise DataFileError(
            f"{path} and {rmf_path} have different true energies: {len(edges) - 1} bins from {edges[0]:.4g} to "
            f"{edges[-1]:.4g} TeV, and {len(energy_true) - 1} from {energy_true[0]:.4g} to {energy_true[-1]:.4g} TeV; "
            "make both on the same ones."
        )
    bad = ~(np.isfinite(area) & (area >= 0))
    if bad.any():
        row = int(bad.argmax())
        raise DataFileError(f"{path}: the effective area is {area[row]:g} cm2 in row {row}; it must not be negative.")
    return area


def _read_rmf(path: Path) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Probabilities (m, n), edges of true energies and of channels in TeV, and numbers of the channels."""
    with open_fits(path) as hdus, reading(path, "an RMF file"):
        named = {one.name: one for one in hdus[1:]}
        hdu = named.get("MATRIX", named.get("SPECRESP MATRIX"))
        if hdu is None or "EBOUNDS" not in named:
            raise DataFileError(f"{path} has the extensions {list(named)}, not MATRIX and EBOUNDS: it is no RMF file.")
        bounds = named["EBOUNDS"]
        energy = _edges(path, bounds, "E_MIN", "E_MAX")
        channel = np.asarray(bounds.data["CHANNEL"], np.int64)
        energy_true = _edges(path, hdu, "ENERG_LO", "ENERG_HI")
        matrix = np.zeros((len(energy_true) - 1, len(channel)))
        position = {int(number): i for i, number in enumerate(channel)}
        for e, row in enumerate(hdu.data):
            begin = 0
            values = np.atleast_1d(row["MATRIX"])
            groups = zip(np.atleast_1d(row["F_CHAN"]), np.atleast_1d(row["N_CHAN"]), strict=True)
            for first, n in list(groups)[: int(row["N_GRP"])]:
                if n == 0:
                    continue
                last = int(first) + int(n) - 1
                if int(first) not in position or last not in position or begin + n > len(values):
                    raise DataFileError(
                        f"{path}: row {e} of the matrix fills the channels {first} to {last} with {len(values)} "
                        f"values; EBOUNDS has the channels {_span(channel)}."
                    )
                matrix[e, position[int(first)] : position[last] + 1] += values[begin : begin + int(n)]
                begin += int(n)
    if not np.all(np.isfinite(matrix) & (matrix >= 0)):
        raise DataFileError(f"{path}: the matrix has entries that are negative or not finite.")
    if matrix.sum(axis=1).max() > 1.01:
        raise DataFileError(
            f"{path}: the probabilities of a true energy add up to {matrix.sum(axis=1).max():.4g}; a matrix that holds "
            "the effective area too (SPECRESP MATRIX) must be split into ARF and RMF."
        )
    return matrix, energy_true, energy, channel


def _edges(path: Path, hdu: Any, low: str, high: str) -> FloatArray:
    """Edges in TeV of bins that follow each other upwards."""
    unit = _unit(hdu, low, "keV")
    lower, upper = (np.asarray(hdu.data[name], float) * unit.to("TeV") for name in (low, high))
    if len(lower) == 0:
        raise DataFileError(f"{path}: {hdu.name} has no rows.")
    width = upper - lower
    if len(lower) > 1 and np.all(lower[1:] < lower[:-1]):
        raise DataFileError(
            f"{path}: the energies {low} of {hdu.name} run downwards, as those of gratings do; here they must run "
            "upwards. Turn the rows round, and what belongs to them: rows of the ARF with those of the matrix, "
            "channels of the matrix and of the PHA files with those of EBOUNDS."
        )
    apart = np.abs(lower[1:] - upper[:-1]) > SAME_EDGE * np.minimum(width[1:], width[:-1])
    if not np.all(width > 0) or not lower[0] >= 0 or apart.any():
        row = int(np.argmax(width <= 0)) if not np.all(width > 0) else int(np.argmax(apart)) if apart.any() else 0
        raise DataFileError(
            f"{path}: the bins {low} to {high} of {hdu.name} must follow each other upwards; they do not at row {row}."
        )
    edges = np.append(lower, upper[-1])
    edges[0] = max(edges[0], 1e-6 * edges[1])  # of a first bin from zero, which has no logarithm
    return edges


def _unit(hdu: Any, name: str, default: str) -> Any:
    given = hdu.columns[name].unit
    return u.Unit(given) if given else u.Unit(default)


def _same_channels(channel: IntArray, spectrum: _Counts) -> bool:
    """Whether counts are those of channels; where they have no numbers, of as many."""
    if spectrum.channel is None:
        return len(spectrum.counts) == len(channel)
    return np.array_equal(channel, spectrum.channel)


def _span(channel: IntArray | None, n: int = 0) -> str:
    if channel is None:
        return f"without numbers, {n}"
    return f"{int(channel[0])} to {int(channel[-1])}" if len(channel) else "none"
