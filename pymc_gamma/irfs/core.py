r"""Instrument response functions (IRFs) as clean arrays.

The expected rate of reconstructed events of a sky brightness :math:`\phi(E,\Omega)` is

.. math:: \lambda(E',\Omega') = \int A(E, o)\, R(E'\mid E, o)\, P(\Omega'\mid \Omega, E, o)\,
          \phi(E,\Omega)\,\mathrm{d}E\,\mathrm{d}\Omega ,

with effective area :math:`A`, energy dispersion :math:`R`, point spread function :math:`P` and offset :math:`o` from
the pointing. The residual background is given directly in reconstructed coordinates. Every table is a set of nodes
with multilinear interpolation between them, the convention of gammapy: logarithmic in energy, linear in offset,
linear extrapolation from the outermost bin centres to the bin edges, zero beyond
(GADF, https://gamma-astro-data-formats.readthedocs.io).

Files are read by gammapy; :mod:`pymc_gamma.irfs.hygiene` checks and repairs what is in them.
"""

import gzip
import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymc_gamma.errors import DataFileError, IRFError, PymcGammaWarning

__all__ = ["Background", "EffectiveArea", "EnergyDispersion", "IRFs", "PointSpread", "load_irfs"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class EffectiveArea:
    """Effective area on nodes of true energy and offset.

    Attributes
    ----------
    energy : numpy.ndarray
        Nodes of true energy in TeV, shape (n_energy,).
    offset : numpy.ndarray
        Nodes of offset in deg, shape (n_offset,).
    values : numpy.ndarray
        cm2, shape (n_energy, n_offset). Extrapolated to the edges it may be negative there: interpolate
        first, then clip at zero, as gammapy does.
    """

    energy: FloatArray
    offset: FloatArray
    values: FloatArray


@dataclass(frozen=True)
class EnergyDispersion:
    r"""Probability density of the migration :math:`\mu = E'/E`, normalised to :math:`\int p\,\mathrm{d}\mu = 1`.

    Attributes
    ----------
    energy, offset : numpy.ndarray
        Nodes in TeV (n_energy,) and deg (n_offset,). Constant beyond the outermost nodes.
    migra : numpy.ndarray
        Equidistant nodes of the migration, shape (n_migra,).
    density : numpy.ndarray
        Shape (n_energy, n_offset, n_migra).
    """

    energy: FloatArray
    offset: FloatArray
    migra: FloatArray
    density: FloatArray


@dataclass(frozen=True)
class PointSpread:
    r"""Sum of Gaussians :math:`\sum_g w_g \exp(-r^2/2\sigma_g^2)/(2\pi\sigma_g^2)` with :math:`\sum_g w_g = 1`.

    Attributes
    ----------
    energy, offset : numpy.ndarray
        Nodes in TeV (n_energy,) and deg (n_offset,).
    sigma : numpy.ndarray
        Widths in deg, shape (n_gauss, n_energy, n_offset).
    weight : numpy.ndarray
        Weights, same shape.
    fit_error : float
        Largest difference in containment between a tabulated PSF and its Gaussian mixture; 0 when
        the file holds Gaussians.
    """

    energy: FloatArray
    offset: FloatArray
    sigma: FloatArray
    weight: FloatArray
    fit_error: float = 0.0


@dataclass(frozen=True)
class Background:
    """Residual background rate in reconstructed energy and field-of-view coordinates.

    Attributes
    ----------
    energy : numpy.ndarray
        Nodes of reconstructed energy in TeV.
    fov_lon, fov_lat : numpy.ndarray
        Nodes in deg. A radial background has its offsets in ``fov_lon`` and one node, 0, in ``fov_lat``.
    rate : numpy.ndarray
        s-1 TeV-1 sr-1, shape (n_energy, n_lon, n_lat), interpolated in the logarithm.
    radial : bool
        Whether the rate depends on the offset only.
    energy_range : tuple of float
        Edges of the energy axis in TeV; the rate is zero beyond.
    """

    energy: FloatArray
    fov_lon: FloatArray
    fov_lat: FloatArray
    rate: FloatArray
    radial: bool
    energy_range: tuple[float, float]


@dataclass(frozen=True, eq=False)
class IRFs:
    """One set of instrument response functions.

    Made by :func:`load_irfs`. Compared by identity; :meth:`fingerprint` compares content.

    Attributes
    ----------
    name : str
        Name of the data set, or the file it came from.
    aeff, edisp, psf : EffectiveArea, EnergyDispersion, PointSpread
        Full-enclosure response.
    bkg : Background or None
        Residual background, if the file has one.
    repairs : tuple of str
        What was put right at load.
    citation : str or None
        What to cite, for bundled data.
    """

    name: str
    aeff: EffectiveArea
    edisp: EnergyDispersion
    psf: PointSpread
    bkg: Background | None
    repairs: tuple[str, ...] = ()
    citations: tuple[Any, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        lo, hi = self.energy_true_range
        return (
            f"IRFs({self.name!r}, energy_true=({lo:.3g}, {hi:.3g}) TeV, offset<={self.offset_max:g} deg, "
            f"background={'no' if self.bkg is None else 'yes'}, repairs={len(self.repairs)})"
        )

    @property
    def offset_max(self) -> float:
        """Largest offset in deg at which the effective area is given."""
        return float(self.aeff.offset[-1])

    @property
    def energy_true_range(self) -> tuple[float, float]:
        """Range of true energy in TeV in which the effective area is given."""
        return float(self.aeff.energy[0]), float(self.aeff.energy[-1])

    def arrays(self) -> dict[str, FloatArray]:
        """All tables, flat, by name; enough to rebuild the IRFs (see :meth:`from_arrays`)."""
        tables: dict[str, FloatArray] = {
            "aeff_energy": self.aeff.energy,
            "aeff_offset": self.aeff.offset,
            "aeff_values": self.aeff.values,
            "edisp_energy": self.edisp.energy,
            "edisp_offset": self.edisp.offset,
            "edisp_migra": self.edisp.migra,
            "edisp_density": self.edisp.density,
            "psf_energy": self.psf.energy,
            "psf_offset": self.psf.offset,
            "psf_sigma": self.psf.sigma,
            "psf_weight": self.psf.weight,
            "psf_fit_error": np.array([self.psf.fit_error]),
        }
        if self.bkg is not None:
            tables |= {
                "bkg_energy": self.bkg.energy,
                "bkg_fov_lon": self.bkg.fov_lon,
                "bkg_fov_lat": self.bkg.fov_lat,
                "bkg_rate": self.bkg.rate,
                "bkg_radial": np.array([float(self.bkg.radial)]),
                "bkg_energy_range": np.array(self.bkg.energy_range),
            }
        return tables

    @classmethod
    def from_arrays(cls, tables: Mapping[str, FloatArray], name: str) -> "IRFs":
        """Inverse of :meth:`arrays`."""
        bkg = None
        if "bkg_energy" in tables:
            low, high = tables["bkg_energy_range"]
            bkg = Background(
                energy=tables["bkg_energy"],
                fov_lon=tables["bkg_fov_lon"],
                fov_lat=tables["bkg_fov_lat"],
                rate=tables["bkg_rate"],
                radial=bool(tables["bkg_radial"][0]),
                energy_range=(float(low), float(high)),
            )
        return cls(
            name=name,
            aeff=EffectiveArea(*(tables[f"aeff_{key}"] for key in ("energy", "offset", "values"))),
            edisp=EnergyDispersion(*(tables[f"edisp_{key}"] for key in ("energy", "offset", "migra", "density"))),
            psf=PointSpread(
                energy=tables["psf_energy"],
                offset=tables["psf_offset"],
                sigma=tables["psf_sigma"],
                weight=tables["psf_weight"],
                fit_error=float(tables["psf_fit_error"][0]),
            ),
            bkg=bkg,
        )

    def fingerprint(self) -> str:
        """Hash of the content of all tables."""
        digest = hashlib.blake2b(digest_size=16)
        for key, table in self.arrays().items():
            digest.update(f"{key}{table.shape}".encode())
            digest.update(np.ascontiguousarray(table, dtype=np.float64).tobytes())
        return digest.hexdigest()

    def peek(self, figsize: tuple[float, float] = (12, 8)) -> Any:
        """Picture of the effective area, energy dispersion, PSF and background.

        Returns
        -------
        numpy.ndarray
            The (2, 2) array of matplotlib axes.
        """
        from pymc_gamma.irfs.peek import peek

        return peek(self, figsize)


def load_irfs(source: str | Path | Mapping[str, Any]) -> IRFs:
    """Load instrument response functions.

    Parameters
    ----------
    source : str, pathlib.Path or mapping
        Name of a data set (``"prod5-south-20deg-50h"`` is bundled; see :mod:`pymc_gamma.datasets`), path of a
        GADF/CTAO FITS file, or a dictionary of gammapy IRFs (``aeff``, ``edisp``, ``psf``, optional ``bkg``).

    Returns
    -------
    IRFs

    Raises
    ------
    DataFileError
        If the file is missing, truncated or not FITS.
    IRFError
        If a table is missing, point-like, has the wrong unit or is empty.

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
    from pymc_gamma import datasets
    from pymc_gamma.irfs import hygiene

    citations: tuple[Any, ...] = ()
    known = not isinstance(source, Mapping) and str(source) in datasets.names()
    if isinstance(source, Mapping):
        name, tables = "gammapy IRF dictionary", dict(source)
    else:
        path = datasets.fetch(str(source)) if known else Path(source)
        name = str(source) if known else path.name
        citations = (datasets.citation(str(source)),) if known else ()
        tables = _read(path)
    repairs: list[str] = []
    irfs = IRFs(
        name=name,
        aeff=hygiene.effective_area(tables, name),
        edisp=hygiene.energy_dispersion(tables, name, repairs),
        psf=hygiene.point_spread(tables, name, repairs),
        bkg=hygiene.background(tables, name, repairs),
        repairs=tuple(repairs),
        citations=citations,
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
            _check_compression(path)
            return dict(load_irf_dict_from_file(path))
        except Exception as error:
            raise DataFileError(
                f"cannot read IRFs from {str(path)!r}: {type(error).__name__}: {error}. "
                "Expected a complete GADF FITS file with EFFECTIVE AREA, POINT SPREAD FUNCTION and "
                "ENERGY DISPERSION; if the file is damaged, download it again."
            ) from error


def _check_compression(path: Path) -> None:
    """Raise where a gzip file ends early; FITS readers would take the tables before the end and go on."""
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            gzip.decompress(path.read_bytes())


def require(tables: Mapping[str, Any], key: str, what: str, name: str) -> Any:
    """The table ``key``, or an error that says which IRF file lacks it."""
    if tables.get(key) is None:
        raise IRFError(f"IRFs {name} have no {what} ({key!r}); present: {sorted(tables)}.")
    return tables[key]
