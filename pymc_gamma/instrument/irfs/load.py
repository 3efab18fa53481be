"""Reading instrument response functions: from a name, a file or gammapy objects to clean arrays."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pymc_gamma import datasets
from pymc_gamma.arguments import checked, text
from pymc_gamma.errors import DataFileError, IRFError, PymcGammaError, PymcGammaWarning, untold
from pymc_gamma.instrument.irfs.background import background
from pymc_gamma.instrument.irfs.core import EffectiveArea, EnergyDispersion, IRFs, PointSpread
from pymc_gamma.instrument.irfs.effective_area import effective_area
from pymc_gamma.instrument.irfs.energy_dispersion import energy_dispersion
from pymc_gamma.instrument.irfs.fits_file import check_fits
from pymc_gamma.instrument.irfs.point_spread import point_spread, poor_fit
from pymc_gamma.instrument.irfs.rad_max import is_point_like, rad_max
from pymc_gamma.instrument.irfs.reading import read_axis

__all__ = ["load_irfs"]

OFFSET_RATIO = 10.0
"""Ratio of the largest offsets of two tables from which their axes cannot be of the same instrument."""
ENERGY_RATIO = 500.0
"""Ratio of their lowest energies, or of their highest, from which they cannot be in the same unit."""


@checked(name=text)
def load_irfs(source: str | Path | Mapping[str, Any], *, name: str | None = None) -> IRFs:
    """Load instrument response functions.

    Parameters
    ----------
    source : str, pathlib.Path or mapping
        Name of a data set (``"prod5-south-20deg-50h"`` is bundled; see :mod:`pymc_gamma.datasets`), path of a
        GADF/CTAO FITS file, or a dictionary of gammapy IRFs (``aeff``, ``edisp``, ``psf``, optional ``bkg``). A
        point-like response has no ``psf``, and a ``rad_max`` or a header keyword ``RAD_MAX``.
    name : str, optional
        Name of the IRFs, for messages; by default that of the data set or the file.

    Returns
    -------
    IRFs

    Raises
    ------
    DataFileError
        If the file is missing, cut anywhere or not FITS.
    IRFError
        If a table is missing, has the wrong unit or an unknown alignment, or is empty; if an axis or a value cannot be
        what it says; if some tables are point-like and others are not. The message names the table, the axis or cell,
        and the value.
    TypeError
        If ``source`` is something else.

    Warns
    -----
    PymcGammaWarning
        What was repaired in a file of the user (normalisation, invalid cells); what is known about bundled files is
        listed in ``repairs`` only. Where the Gaussians that stand for a tabulated PSF do not describe it well: by how
        much, at which energies and offsets.

    Examples
    --------
    >>> irfs = load_irfs("prod5-south-20deg-50h")
    >>> irfs.offset_max
    6.0
    """
    if not isinstance(source, str | Path | Mapping):
        raise TypeError(
            f"load_irfs takes the name of a data set, the path of a file or a dictionary of gammapy IRFs, got "
            f"{type(source).__name__} as source; the data sets are those of pymc_gamma.datasets.names()."
        )
    citations: tuple[Any, ...] = ()
    repairs: list[str] = []
    known = not isinstance(source, Mapping) and str(source) in datasets.names()
    if isinstance(source, Mapping):
        default_name, tables = "gammapy IRF dictionary", dict(source)
    else:
        path = datasets.fetch(str(source)) if known else Path(source)
        default_name = str(source) if known else path.name
        citations = (datasets.citation(str(source)),) if known else ()
        tables, repairs = _read(path)
    name = default_name if name is None else name
    try:
        irfs, poor = _converted(tables, name, repairs, citations)
    except PymcGammaError:
        raise
    except Exception as error:
        raise IRFError(
            f"IRFs {name}: a table cannot be used ({type(error).__name__}: {error}). Its axes, units or values are not "
            "those of a response; if it was read from a file, that is damaged or of another kind."
        ) from error
    messages = [] if poor is None else [f"IRFs {name}: {poor}"]
    if repairs and not known:
        messages.append("\n".join([f"IRFs {name}:", *repairs]))
    for message in messages:
        for one in untold([message], message):
            warnings.warn(one, PymcGammaWarning, stacklevel=2)
    return irfs


def _converted(
    tables: Mapping[str, Any], name: str, repairs: list[str], citations: tuple[Any, ...]
) -> tuple[IRFs, str | None]:
    """Clean arrays of all tables, and what is to be said of the Gaussians of the PSF; adds to ``repairs``."""
    point_like = is_point_like(tables, name)
    aeff = effective_area(tables, name, repairs)
    if tables.get("bkg") is not None:
        for axis in tables["bkg"].axes.names:
            read_axis(tables["bkg"], axis, "TeV" if axis == "energy" else "deg", "background", name)
    irfs = IRFs(
        name=name,
        aeff=aeff,
        edisp=energy_dispersion(tables, name, repairs, aeff),
        psf=None if point_like else point_spread(tables, name, repairs, aeff),
        bkg=background(tables, name, repairs),
        repairs=tuple(repairs),
        citations=citations,
        rad_max=rad_max(tables, name) if point_like else None,
    )
    _check_agreement(irfs)
    return irfs, None if irfs.psf is None else poor_fit(irfs.psf)


def _check_agreement(irfs: IRFs) -> None:
    """Raise IRFError where an axis of one table is in another unit than those of the others."""
    tables: dict[str, EffectiveArea | EnergyDispersion | PointSpread] = {
        "effective area": irfs.aeff, "energy dispersion": irfs.edisp
    }  # fmt: skip
    if irfs.psf is not None:
        tables["point spread function"] = irfs.psf
    offsets = {what: float(table.offset[-1]) for what, table in tables.items() if len(table.offset) > 1}
    # edges: centres of one or two wide bins are far inside the range
    ends = {
        "effective area": (float(irfs.aeff.energy[0]), float(irfs.aeff.energy[-1])),
        "energy dispersion": irfs.edisp.energy_range,
    }
    if irfs.psf is not None:
        ends["point spread function"] = irfs.psf.energy_range
    covered = dict(ends)
    if irfs.bkg is not None:
        offsets["background"] = float(np.abs(irfs.bkg.fov_lon).max())
        ends["background"] = irfs.bkg.energy_range
    wide, close = max(offsets, key=lambda what: offsets[what]), min(offsets, key=lambda what: offsets[what])
    if offsets[wide] > OFFSET_RATIO * offsets[close]:
        raise IRFError(
            f"IRFs {irfs.name}: the offsets of the {wide} reach to {offsets[wide]:g} deg, those of the {close} to "
            f"{offsets[close]:g} deg; the axis of one of them is in another unit, or damaged."
        )
    for one, (low, high) in ends.items():
        for other, (other_low, other_high) in ends.items():
            if low > ENERGY_RATIO * other_low or high > ENERGY_RATIO * other_high:
                raise IRFError(
                    f"IRFs {irfs.name}: the axis of energy of the {one} goes from {low:.3g} to {high:.3g} TeV, that "
                    f"of the {other} from {other_low:.3g} to {other_high:.3g} TeV; one of them is in another unit."
                )
    low, high = irfs.energy_true_range
    if not low < high:
        raise IRFError(
            f"IRFs {irfs.name}: no true energy at which all tables are given; their axes: "
            + ", ".join(f"{what} {low:.3g}-{high:.3g} TeV" for what, (low, high) in covered.items())
            + "."
        )


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Gammapy IRF objects of a FITS file, and what was left out; every way a file can be damaged becomes one error."""
    if not path.exists():
        raise DataFileError(
            f"no IRF file {str(path)!r}, and no data set of that name; pymc_gamma.datasets.available() lists the data "
            "sets, for example 'prod5-south-20deg-50h'."
        )
    from gammapy.irf import load_irf_dict_from_file

    with warnings.catch_warnings():
        # Unit spellings of old files are harmless.
        warnings.filterwarnings("ignore", message=".*extra padding.*")
        warnings.filterwarnings("ignore", message=".*did not parse as fits unit.*")
        try:
            left_out = check_fits(path)
            return dict(load_irf_dict_from_file(path)), left_out
        except IRFError as error:
            raise IRFError(f"IRFs {error}") from error
        except DataFileError:
            raise
        except Exception as error:
            if "FoVAlignment" in str(error):
                raise IRFError(
                    f"IRFs {path.name}: the alignment of a table (FOVALIGN) is not known: {error}; expected RADEC, "
                    "ALTAZ or REVERSE_LON_RADEC."
                ) from error
            raise DataFileError(
                f"cannot read IRFs from {str(path)!r}: {type(error).__name__}: {error}. "
                "Expected a complete GADF FITS file with EFFECTIVE AREA, POINT SPREAD FUNCTION and "
                "ENERGY DISPERSION; if the file is damaged, download it again."
            ) from error
