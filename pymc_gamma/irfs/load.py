"""Reading instrument response functions: from a name, a file or gammapy objects to clean arrays."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymc_gamma import datasets
from pymc_gamma.errors import DataFileError, IRFError, PymcGammaWarning
from pymc_gamma.files import check_compression
from pymc_gamma.irfs.background import background
from pymc_gamma.irfs.core import IRFs
from pymc_gamma.irfs.effective_area import effective_area
from pymc_gamma.irfs.energy_dispersion import energy_dispersion
from pymc_gamma.irfs.point_spread import point_spread

__all__ = ["load_irfs"]


POOR_FIT = 0.02
"""Largest difference in containment between a PSF and its Gaussians that passes without a warning of its own."""


def load_irfs(source: str | Path | Mapping[str, Any], *, name: str | None = None) -> IRFs:
    """Load instrument response functions.

    Parameters
    ----------
    source : str, pathlib.Path or mapping
        Name of a data set (``"prod5-south-20deg-50h"`` is bundled; see :mod:`pymc_gamma.datasets`), path of a
        GADF/CTAO FITS file, or a dictionary of gammapy IRFs (``aeff``, ``edisp``, ``psf``, optional ``bkg``).
    name : str, optional
        Name of the IRFs, for messages; by default that of the data set or the file.

    Returns
    -------
    IRFs

    Raises
    ------
    DataFileError
        If the file is missing, truncated or not FITS.
    IRFError
        If a table is missing, point-like, has the wrong unit or an unknown alignment, or is empty.
    TypeError
        If ``source`` is something else.

    Warns
    -----
    PymcGammaWarning
        What was repaired in a file of the user (normalisation, invalid cells). What is known about bundled files
        is listed in ``repairs`` only.

    Examples
    --------
    >>> irfs = load_irfs("prod5-south-20deg-50h")
    >>> irfs.offset_max
    6.0
    """
    if not isinstance(source, str | Path | Mapping):
        raise TypeError(
            f"load_irfs takes the name of a data set, the path of a file or a dictionary of gammapy IRFs, got "
            f"{type(source).__name__}; the data sets are those of pymc_gamma.datasets.names()."
        )
    citations: tuple[Any, ...] = ()
    known = not isinstance(source, Mapping) and str(source) in datasets.names()
    if isinstance(source, Mapping):
        default_name, tables = "gammapy IRF dictionary", dict(source)
    else:
        path = datasets.fetch(str(source)) if known else Path(source)
        default_name = str(source) if known else path.name
        citations = (datasets.citation(str(source)),) if known else ()
        tables = _read(path)
    name = default_name if name is None else name
    repairs: list[str] = []
    irfs = IRFs(
        name=name,
        aeff=effective_area(tables, name),
        edisp=energy_dispersion(tables, name, repairs),
        psf=point_spread(tables, name, repairs),
        bkg=background(tables, name, repairs),
        repairs=tuple(repairs),
        citations=citations,
    )
    if irfs.psf.fit_error > POOR_FIT:
        warnings.warn(
            f"IRFs {name}: the sum of Gaussians that stands for the PSF is wrong by up to {irfs.psf.fit_error:.1%} "
            "of its containment; positions and extents of sources will be off by as much.",
            PymcGammaWarning,
            stacklevel=2,
        )
    if repairs and not known:
        warnings.warn("\n".join([f"IRFs {name}:", *repairs]), PymcGammaWarning, stacklevel=2)
    return irfs


def _read(path: Path) -> dict[str, Any]:
    """Gammapy IRF objects of a FITS file; every way a file can be damaged becomes one error."""
    if not path.is_file():
        raise DataFileError(
            f"no IRF file {str(path)!r}, and no data set of that name; pymc_gamma.datasets.available() lists the data "
            "sets, for example 'prod5-south-20deg-50h'."
        )
    from gammapy.irf import load_irf_dict_from_file

    with warnings.catch_warnings():
        # a short file makes astropy warn and go on; here it is an error. Unit spellings of old files are harmless.
        warnings.filterwarnings("error", message=".*truncated.*")
        warnings.filterwarnings("ignore", message=".*did not parse as fits unit.*")
        try:
            check_compression(path)
            return dict(load_irf_dict_from_file(path))
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
