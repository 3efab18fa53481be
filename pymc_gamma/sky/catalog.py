r"""The H.E.S.S. Galactic plane survey (H.E.S.S. Collaboration 2018, A&A 612, A1).

78 sources in 96 parts: points, Gaussians (one to three per source, the flux shared by their map fluxes) and
shells. A shell is a sphere's hull seen in projection,

.. math:: S(r) = \frac{3}{2\pi (R^3 - r_i^3)}
          \left[\sqrt{R^2 - r^2} - \sqrt{r_i^2 - r^2}\right]_{\ge 0},

the roots being zero where their argument is negative; the survey gives the outer radius :math:`R`, and the
hull is taken to be 5 % of it (gammapy's choice). Gaussians are :math:`e^{-r^2/2\sigma^2}` here and
:math:`e^{-(1-\cos r)/2(1-\cos\sigma)}` in gammapy: less than :math:`10^{-3}` apart for the widest source
(0.65 deg), out to where it has fallen to a hundredth.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pymc_gamma import datasets
from pymc_gamma.arguments import is_several
from pymc_gamma.arrays import FloatArray
from pymc_gamma.errors import DataFileError, SkyModelError
from pymc_gamma.fits_files import check_whole, reading
from pymc_gamma.geometry import separation_deg, unit_vectors
from pymc_gamma.sky.component import (
    Shape,
    SkyComponent,
    SkyGaussian,
    SkyPart,
    SkyPoint,
    TemplateShape,
)
from pymc_gamma.sky.frames import parts_near
from pymc_gamma.sky.spectra import PowerLawSpectrum

if TYPE_CHECKING:
    from pymc_gamma.geometry import RegionOfInterest

__all__ = ["HGPSCatalog", "ShellBrightness"]

DEG2_PER_SR = np.degrees(1.0) ** 2

#: Thickness of a shell relative to its outer radius; the survey does not give one.
SHELL_THICKNESS = 0.05


@dataclass(frozen=True)
class ShellBrightness:
    """Projected hull of a sphere, of unit integral.

    Parameters
    ----------
    lon, lat : float
        Centre in degrees.
    inner, outer : float
        Radii in degrees.
    """

    lon: float
    lat: float
    inner: float
    outer: float

    def __call__(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        """Brightness in sr-1 at directions in degrees."""
        r2 = separation_deg(unit_vectors(lon, lat), unit_vectors(self.lon, self.lat)) ** 2
        chord = np.sqrt(np.maximum(self.outer**2 - r2, 0)) - np.sqrt(np.maximum(self.inner**2 - r2, 0))
        return 3 * DEG2_PER_SR / (2 * np.pi * (self.outer**3 - self.inner**3)) * chord


@dataclass(frozen=True)
class _Entry:
    """One part of a catalogue source, with the names it can be selected by."""

    source: str
    identified: str
    part: SkyPart

    def is_called(self, name: str) -> bool:
        return name in (self.source, self.identified, self.part.name)


class HGPSCatalog(SkyComponent):
    """Sources of the Galactic plane survey by H.E.S.S. (HGPS).

    Parameters
    ----------
    name : str
        Name of the component.
    path : path-like, optional
        The official catalogue file, read with gammapy. Default: the bundled table of the same numbers.
    sources : iterable of str, optional
        Keep only these. A name is that of a source (``"HESS J1745-290"``), of an identified object
        (``"RX J1713.7-3946"``) or of a part (``"HESS J1804-216/HGPSC 054"``).
    exclude : iterable of str, optional
        Leave these out.

    Raises
    ------
    SkyModelError
        If a selected or excluded name is not in the catalogue, or nothing is left.
    DataFileError
        If ``path`` is not the catalogue.

    Examples
    --------
    >>> catalog = HGPSCatalog()
    >>> len(catalog.source_names), len(catalog)
    (78, 96)
    >>> HGPSCatalog("centre", sources=["HESS J1745-290", "HESS J1747-281"]).source_names
    ('HESS J1745-290', 'HESS J1747-281')
    """

    def __init__(
        self,
        name: str = "hgps",
        path: str | os.PathLike[str] | None = None,
        *,
        sources: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
    ) -> None:
        super().__init__(name, [datasets.citation("hgps-sources")])
        entries = _read_bundled() if path is None else _read_official(Path(path))
        if sources is not None:
            entries = _matching(entries, _names(sources, "sources"), keep=True)
        self._entries = _matching(entries, _names(exclude, "exclude"), keep=False)
        if not self._entries:
            raise SkyModelError(f"The selection of {name!r} leaves no source of the catalogue.")

    def __len__(self) -> int:
        """Count the parts."""
        return len(self._entries)

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of the sources, in the order of the catalogue."""
        return tuple(dict.fromkeys(entry.source for entry in self._entries))

    def parts(self, roi: "RegionOfInterest", margin_deg: float = 0.8) -> tuple[SkyPart, ...]:
        """Parts that reach into a region of interest.

        Parameters
        ----------
        roi : RegionOfInterest
            Region of interest.
        margin_deg : float
            Sources are kept when their extent comes within this many degrees of the region.

        Returns
        -------
        tuple of SkyPart
            Empty when nothing is near.

        Examples
        --------
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> from pymc_gamma.geometry import RegionOfInterest
        >>> centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
        >>> roi = RegionOfInterest(center=centre, width=0.5 * u.deg, energy=(0.1, 100) * u.TeV)
        >>> [part.name for part in HGPSCatalog().parts(roi, margin_deg=0)]
        ['HESS J1745-290', 'HESS J1746-285']
        """
        return parts_near([entry.part for entry in self._entries], "galactic", roi, margin_deg)


def _names(names: Iterable[str], parameter: str) -> tuple[str, ...]:
    found = tuple(names) if is_several(names) else ()
    if not is_several(names) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"{parameter} must be a list of names, got {names!r}.")
    return found


def _matching(entries: Sequence[_Entry], names: Sequence[str], *, keep: bool) -> tuple[_Entry, ...]:
    for name in names:
        if not any(entry.is_called(name) for entry in entries):
            raise SkyModelError(
                f"There is no source {name!r} in the H.E.S.S. Galactic plane survey, or in the selection; "
                "names look like 'HESS J1745-290'."
            )
    return tuple(entry for entry in entries if any(map(entry.is_called, names)) is keep)


def _read_bundled() -> tuple[_Entry, ...]:
    from astropy.table import Table

    table = Table.read(datasets.path("hgps-sources"), format="ascii.ecsv")
    # Plain lists: a masked or Quantity column costs a hundred times more per element.
    columns = {column: table[column].tolist() for column in table.colnames}
    entries = []
    for k in range(len(table)):
        # Empty names are masked, which a list holds as None.
        row: dict[str, Any] = {c: "" if values[k] is None else values[k] for c, values in columns.items()}
        spectrum = PowerLawSpectrum(
            amplitude=row["amplitude"] * row["fraction"],
            index=row["index"],
            reference=row["reference"],
            cutoff=row["lambda"],
        )
        shape = _shape(row["morphology"], row["glon"], row["glat"], row["size"])
        name = _part_name(row["source"], row["component"])
        entries.append(_Entry(row["source"], row["identified"], SkyPart(name, shape, spectrum)))
    return tuple(entries)


def _part_name(source: str, component: str) -> str:
    return f"{source}/{component}" if component else source


def _shape(morphology: str, lon: float, lat: float, size: float) -> Shape:
    if morphology == "point":
        return SkyPoint(lon, lat)
    if morphology == "gaussian":
        return SkyGaussian(lon, lat, size)
    brightness = ShellBrightness(lon, lat, (1 - SHELL_THICKNESS) * size, size)
    return TemplateShape(lon, lat, size, brightness, unit_integral=True, feature=SHELL_THICKNESS * size)


def _read_official(path: Path) -> tuple[_Entry, ...]:
    from gammapy.catalog import SourceCatalogHGPS

    from pymc_gamma.sky.gammapy_models import convert_model

    if not path.exists():
        raise DataFileError(
            f"There is no file {path}. Leave `path` out to use the bundled table, or get the catalogue from "
            f"{datasets.info('hgps-catalog').home}."
        )
    check_whole(path)
    entries = []
    with reading(path, "the H.E.S.S. Galactic plane survey catalogue"):
        catalog = SourceCatalogHGPS(path)
        for k in range(len(catalog.table)):  # an iteration would end where a source cannot be made
            source = catalog[k]
            identified = str(source.data["Identified_Object"]).strip("- ")
            # gammapy evaluates each model once; one Gaussian of the survey is so narrow that it divides by zero.
            with np.errstate(divide="ignore", invalid="ignore"):
                models = source.components_models()
            for model in models:
                component = "" if model.name == source.name else model.name
                name = _part_name(source.name, component)
                try:
                    _, (part,) = convert_model(name, model.spatial_model, model.spectral_model)
                except SkyModelError as error:
                    raise DataFileError(f"{path}: {error}") from error
                flux = part.spectrum(np.ones(1))[0]
                if not (np.isfinite(flux) and flux > 0):
                    raise ValueError(f"the flux of {name} at 1 TeV is {flux:g} TeV-1 cm-2 s-1, expected more than 0")
                entries.append(_Entry(source.name, identified, part))
        if not entries:
            raise ValueError("there is no source in it")
    return tuple(entries)
