r"""The halo of dark matter around the Galactic centre: a density profile, shining with a spectrum.

.. math:: \phi(E, \Omega) = \phi_J(E)\,\frac{\mathrm dJ}{\mathrm d\Omega}(\Omega)

with the spectrum :math:`\phi_J` of annihilation for a J factor of 1 TeV2 cm-5; of decay for a D factor of 1 TeV cm-2.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pymc_gamma.arguments import checked, kind, text
from pymc_gamma.arrays import FloatArray
from pymc_gamma.darkmatter.pair_table import PairAnnihilation
from pymc_gamma.darkmatter.spectra import Annihilation, Decay
from pymc_gamma.datasets.references import DARK_MATTER_SPECTRA
from pymc_gamma.errors import SkyModelError
from pymc_gamma.folding.compile import Field, compile_component
from pymc_gamma.folding.halo import UNIT_OF_POWER, CompiledHalo
from pymc_gamma.folding.nodes import photons_at_nodes, spectrum_nodes
from pymc_gamma.folding.tables import IN_BIN_INDEX
from pymc_gamma.geometry import convert_lonlat, separation_deg, unit_vectors
from pymc_gamma.halos import GAUSSIAN_WIDTHS, Profile, gaussian_density, gaussian_weights
from pymc_gamma.sky.component import SkyComponent, SkyPart, TemplateShape
from pymc_gamma.tensors import value_of

if TYPE_CHECKING:
    from pymc_gamma.geometry import RegionOfInterest

__all__ = ["DarkMatterHalo"]


@dataclass(frozen=True)
class _HaloBrightness:
    """J factor per solid angle, TeV2 cm-5 sr-1, or D factor, TeV cm-2 sr-1; finite at the centre."""

    centre: FloatArray
    weights: FloatArray

    def __call__(self, lon: FloatArray, lat: FloatArray) -> FloatArray:
        separation = np.maximum(separation_deg(unit_vectors(lon, lat), self.centre), 0.5 * GAUSSIAN_WIDTHS[1])
        return np.asarray(gaussian_density(separation) @ self.weights)


class DarkMatterHalo(SkyComponent):
    """Dark matter of the Milky Way: annihilation or decay in a density profile around the Galactic centre.

    Its flux is proportional to the J factor for annihilation, the integral of the squared density along the lines of
    sight and over the region, or to the D factor for decay, that of the density. They follow from the profile, so that
    spectra are given without them, and cross-sections and lifetimes are physical ones.

    Folded with ``free_spectrum=["dm"]`` its spectrum may have parameters in a model, ``spectra={"dm":
    Annihilation(mass, sigmav, ...)}``; with ``free_shape=["dm"]`` the parameters of its profile are free,
    ``shapes={"dm": {"gamma": gamma}}``.

    Parameters
    ----------
    profile : Profile
        Density, with its scale and normalisation.
    spectrum : Annihilation or Decay
        Of numbers, without a J or D factor; or what `AnnihilationTable.annihilation` or `PairTable.annihilation`
        return.
    name : str
        Name of the component.

    Raises
    ------
    SkyModelError
        If the J or D factor of the profile is infinite, or it is no sum of Gaussians with positive weights (an
        `Einasto` profile of alpha above 1, a `Zhao` profile of alpha below 0.5); if the spectrum has a J or D factor,
        or parameters that are variables.
    TypeError
        If the profile or the spectrum is something else.

    Examples
    --------
    >>> import astropy.units as u
    >>> from pymc_gamma import darkmatter
    >>> spectrum = darkmatter.Annihilation(1 * u.TeV, 3e-26 * u.cm**3 / u.s, channels="W")
    >>> darkmatter.DarkMatterHalo(darkmatter.NFW(), spectrum)
    DarkMatterHalo(name='dm')
    """

    @checked(profile=kind("Profile"), name=text)
    def __init__(self, profile: Profile, spectrum: Annihilation | Decay | PairAnnihilation, name: str = "dm") -> None:
        if not isinstance(spectrum, Annihilation | Decay | PairAnnihilation):
            raise TypeError(
                f"the spectrum of the halo {name!r} must be an Annihilation or a Decay, or that of a PairTable, got "
                f"{type(spectrum).__name__}."
            )
        default = spectrum.table is None
        super().__init__(name, [DARK_MATTER_SPECTRA] if default else [])
        if spectrum.free:
            raise SkyModelError(
                f"the halo {name!r} is folded with a spectrum of numbers, but {', '.join(spectrum.free)} are "
                f"variables; fold it with free_spectrum=[{name!r}], and give the spectrum of variables to the model, "
                f"spectra={{{name!r}: ...}}."
            )
        self.profile, self.spectrum, self.power = profile, spectrum, spectrum.density_power
        self._weights = gaussian_weights(profile, self.power) * UNIT_OF_POWER[self.power]
        self._compiled(np.zeros(3), np.zeros(1)).check_spectrum(spectrum)

    def _compiled(self, vector: FloatArray, flux: FloatArray) -> CompiledHalo:
        return CompiledHalo(self.name, vector, flux, self.profile, self.power)

    def parts(self, roi: "RegionOfInterest", margin_deg: float = 0.8) -> tuple[SkyPart, ...]:
        """One part that shines everywhere.

        Parameters
        ----------
        roi : RegionOfInterest
            Region of interest; its frame is that of the shape.
        margin_deg : float
            Not used: the part has no edge.

        Returns
        -------
        tuple of SkyPart
            The brightness is the J factor per solid angle in TeV2 cm-5 sr-1, or the D factor in TeV cm-2 sr-1; the
            spectrum the flux for a factor of 1.
        """
        brightness = _HaloBrightness(_centre(roi.frame), self._weights)
        shape = TemplateShape(
            lon=roi.lon, lat=roi.lat, radius=np.inf, brightness=brightness, unit_integral=False, feature=0.02
        )
        return (SkyPart(self.name, shape, self._at),)

    def _at(self, energy: FloatArray) -> FloatArray:
        return value_of(self.spectrum(np.ravel(energy))).reshape(np.shape(energy))


def _centre(frame: str) -> FloatArray:
    """Unit vector of the Galactic centre in a frame."""
    return unit_vectors(*(float(one) for one in convert_lonlat(0.0, 0.0, "galactic", frame)))


@compile_component.register
def _(component: DarkMatterHalo, field: Field) -> CompiledHalo:
    nodes = spectrum_nodes(field.energy_edges)
    photons = component.spectrum.photons(nodes)
    places, photons_there = (value_of(one) for one in photons)
    flux = np.asarray(photons_at_nodes(places, photons_there, nodes, IN_BIN_INDEX, np))
    if not flux.any():
        raise SkyModelError(
            f"component {component.name!r}: the spectrum is zero at {nodes[0]:.4g}-{nodes[-1]:.4g} TeV."
        )
    return component._compiled(_centre(field.roi.frame), flux)
