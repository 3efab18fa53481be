r"""Galactic diffuse emission.

.. math:: \phi(E, \Omega) = I_0(E)\,\frac{S(\Omega)}{\langle S\rangle}, \qquad
          \langle S\rangle = \frac{1}{\Delta\Omega}\int_{\rm ROI} S\,d\Omega,

with a template :math:`S` of arbitrary unit and :math:`I_0` the mean intensity over the region of interest of
solid angle :math:`\Delta\Omega`. By default :math:`S` is the 0.1-0.6 TeV shape of the Fermi-LAT interstellar
emission model (Acero et al. 2016, ApJS 223, 26) and :math:`I_0 = 1.36\times10^{-8}\,(E/{\rm TeV})^{-2.41}`
TeV-1 cm-2 s-1 sr-1 (Gaggero et al. 2015, ApJ 815, L25).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from pymc_gamma.arguments import checked, number, quantity
from pymc_gamma.arrays import FloatArray
from pymc_gamma.datasets.citation import Citation
from pymc_gamma.datasets.references import FERMI_DIFFUSE, GAGGERO_2015
from pymc_gamma.errors import SkyModelError
from pymc_gamma.geometry import convert_lonlat
from pymc_gamma.sky.component import SkyComponent, SkyPart, Spectrum, TemplateShape
from pymc_gamma.sky.spectra import FLUX_UNIT, GammapySpectrum, PowerLawSpectrum
from pymc_gamma.sky.template import GridTemplate, load_template
from pymc_gamma.sums import weighted_sum
from pymc_gamma.units import scalar_value

if TYPE_CHECKING:
    from pymc_gamma.geometry import RegionOfInterest

__all__ = ["GalacticDiffuse"]

INTENSITY_UNIT = "TeV-1 cm-2 s-1 sr-1"

GAGGERO_NORM = 1.36e-8 * u.Unit(INTENSITY_UNIT)
GAGGERO_INDEX = 2.41


@dataclass(frozen=True)
class _DiffuseBrightness:
    """Template in sr-1, normalised to unit integral over the region."""

    template: GridTemplate
    frame: str
    scale: float

    def __call__(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        return self.scale * self.template(*convert_lonlat(lon, lat, self.frame, self.template.frame))


@dataclass(frozen=True)
class _RegionFlux:
    """Mean intensity times the solid angle of the region, in TeV-1 cm-2 s-1."""

    intensity: Spectrum
    solid_angle: float

    def __call__(self, energy_true: FloatArray) -> FloatArray:
        return self.solid_angle * self.intensity(energy_true)


class GalacticDiffuse(SkyComponent):
    """Galactic diffuse emission: a template in space, one spectrum.

    Parameters
    ----------
    name : str
        Name of the component.
    norm : `~astropy.units.Quantity`, optional
        Mean intensity over the region of interest at the reference energy. Default 1.36e-8 TeV-1 cm-2 s-1
        sr-1.
    index : float, optional
        Photon index. Default 2.41.
    reference : `~astropy.units.Quantity`
        Reference energy.
    template : path-like or gammapy.maps.Map, optional
        Image of relative brightness, or a cube whose 0.1-0.6 TeV integral is taken. Default: the bundled
        Fermi-LAT shape, which covers 7.4 deg in longitude and 4 deg in latitude around the Galactic centre.
    spectral : gammapy.modeling.models.SpectralModel, optional
        Spectrum instead of the power law. Its unit says what it is: the mean intensity over the region of
        interest (TeV-1 cm-2 s-1 sr-1), or the flux from the whole region (TeV-1 cm-2 s-1).

    Raises
    ------
    SkyModelError
        If the template or the spectrum cannot be used, or both a power law and ``spectral`` are given.
    DataFileError
        If ``template`` names a file that is missing or is not a map.

    Examples
    --------
    >>> import astropy.units as u
    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from pymc_gamma.geometry import RegionOfInterest
    >>> centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    >>> roi = RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
    >>> (part,) = GalacticDiffuse().parts(roi)
    >>> lon, lat, weight = roi.quadrature()
    >>> round(float(part.shape.brightness(lon, lat) @ weight), 3)
    1.0
    >>> bool(np.isclose(part.spectrum(np.array([1.0]))[0] / roi.solid_angle, 1.36e-8))
    True
    """

    @checked(norm=quantity("TeV-1 cm-2 s-1 sr-1"), index=number, reference=quantity("TeV"))
    def __init__(
        self,
        name: str = "diffuse",
        *,
        norm: u.Quantity | None = None,
        index: float | None = None,
        reference: u.Quantity = 1 * u.TeV,
        template: Any = None,
        spectral: Any = None,
    ) -> None:
        citations: list[Citation] = []
        if norm is None and index is None and spectral is None:
            citations.append(GAGGERO_2015)
        if template is None:
            citations.append(FERMI_DIFFUSE)
        super().__init__(name, citations)
        self._spectrum: Spectrum
        self._is_intensity = True
        if spectral is None:
            self._spectrum = PowerLawSpectrum(
                amplitude=scalar_value(GAGGERO_NORM if norm is None else norm, INTENSITY_UNIT, "norm"),
                index=float(GAGGERO_INDEX if index is None else index),
                reference=scalar_value(reference, "TeV", "reference"),
            )
        elif norm is None and index is None:
            unit = u.Quantity(spectral(np.array([1.0]) * u.TeV)).unit
            self._is_intensity = not unit.is_equivalent(FLUX_UNIT)
            wanted = u.Unit(INTENSITY_UNIT) if self._is_intensity else FLUX_UNIT
            self._spectrum = GammapySpectrum(name, spectral.copy(), wanted)
        else:
            raise SkyModelError(f"{name!r}: give either norm and index, or spectral, not both.")
        self._template = load_template(template)

    def parts(self, roi: "RegionOfInterest", margin_deg: float = 0.8) -> tuple[SkyPart, ...]:
        """One part that fills the region of interest.

        Parameters
        ----------
        roi : RegionOfInterest
            Region of interest, over which the template is normalised.
        margin_deg : float
            Not used: the part has no edge. Where the margin reaches over the edge of the template, the
            brightness of the edge continues.

        Returns
        -------
        tuple of SkyPart
            The brightness integrates to one over the region; the spectrum is the flux from the region.

        Raises
        ------
        SkyModelError
            If the region reaches over the template, or the template is dark in it.
        """
        template = self._template
        lon, lat, weight = roi.quadrature(0.5 * template.step)
        own_lon, own_lat = convert_lonlat(lon, lat, roi.frame, template.frame)
        covered = template.contains(own_lon, own_lat)
        if not covered.all():
            lon_min, lon_max, lat_min, lat_max = template.cover
            raise SkyModelError(
                f"{self.name!r}: {100 * (1 - covered.mean()):.1f} % of {roi!r} lies outside the template "
                f"{template.name!r}, which covers {template.frame} longitude {lon_min:.2f} to {lon_max:.2f} "
                f"deg, latitude {lat_min:.2f} to {lat_max:.2f} deg. Choose a smaller region, or pass "
                "`template=` a map that covers it, such as the all-sky Fermi-LAT model gll_iem_v06.fits."
            )
        integral = float(weighted_sum(template(own_lon, own_lat), weight))
        if integral <= 0:
            raise SkyModelError(f"{self.name!r}: the template {template.name!r} is zero all over {roi!r}.")
        shape = TemplateShape(
            lon=roi.lon,
            lat=roi.lat,
            radius=np.inf,
            brightness=_DiffuseBrightness(template, roi.frame, 1 / integral),
            unit_integral=False,
            feature=template.step,
        )
        flux = _RegionFlux(self._spectrum, roi.solid_angle) if self._is_intensity else self._spectrum
        return (SkyPart(self.name, shape, flux),)
