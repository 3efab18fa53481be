"""The residual cosmic-ray background of the instrument."""

from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u

from pymc_gamma.arguments import checked, kind
from pymc_gamma.instrument.irfs.background import read_background
from pymc_gamma.pictures import picture
from pymc_gamma.sky.component import SkyComponent, SkyPart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pymc_gamma.geometry import RegionOfInterest
    from pymc_gamma.instrument.observation import Observation

__all__ = ["CosmicRayBackground"]


class CosmicRayBackground(SkyComponent):
    """Cosmic rays that pass the gamma-ray selection, as the instrument response functions give them, or a table.

    A background is a rate per *reconstructed* energy and direction in the field of view. It is not folded again, so it
    has no sky parts; the response takes it from the IRFs of each observation, unless it has one of its own. There may
    be several, each with its own name, norm and shape (``free_spectrum``).

    Parameters
    ----------
    name : str
        Name of the component.
    bkg : gammapy.irf.Background2D, gammapy.irf.Background3D or `~pymc_gamma.instrument.irfs.core.Background`, optional
        A rate of your own, the same for all observations, in the field of view: a template of electrons, of stars, of
        another zenith angle. By default that of the IRFs of each observation. It must be known wherever events of an
        observation are kept.

    Raises
    ------
    IRFError
        If a table cannot be used.
    TypeError
        If ``bkg`` is something else.

    Examples
    --------
    >>> background = CosmicRayBackground()
    >>> background.name, background.instrumental
    ('ccr', True)

    The background of one telescope configuration, for another:

    >>> from pymc_gamma import load_irfs
    >>> electrons = CosmicRayBackground("electrons", bkg=load_irfs("prod5-south-20deg-50h").bkg)
    """

    instrumental: ClassVar[bool] = True

    def __init__(self, name: str = "ccr", bkg: Any = None) -> None:
        super().__init__(name)
        self.bkg = None if bkg is None else read_background(bkg, name)

    def parts(self, roi: "RegionOfInterest", margin_deg: float = 0.8) -> tuple[SkyPart, ...]:
        """No parts: the background does not come from the sky."""
        return ()

    @checked(roi=kind("RegionOfInterest"), observation=kind("Observation"))
    def peek(  # type: ignore[override]  # of an instrument, in reconstructed energy
        self,
        roi: "RegionOfInterest | None" = None,
        observation: "Observation | None" = None,
        *,
        energy: u.Quantity = 1 * u.TeV,
        fig: "Figure | None" = None,
    ) -> "Figure":
        """Plot the rate on the sky and its integrated spectrum, for one observation.

        Parameters
        ----------
        roi : RegionOfInterest, optional
            What to show. Default: 6.4 deg around the pointing.
        observation : Observation
            Whose instrument and pointing.
        energy : `~astropy.units.Quantity`
            Reconstructed energy of the map.
        fig : matplotlib.figure.Figure, optional
            Where to draw.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.

        Raises
        ------
        TypeError
            If no observation is given: the background is a property of the instrument.
        IRFError
            If the observation has no background.
        """
        from pymc_gamma.geometry import RegionOfInterest

        if observation is None:
            raise TypeError("The residual background belongs to an instrument: pass `observation=` an Observation.")
        if roi is None:
            roi = RegionOfInterest(center=observation.pointing, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
        figure: Figure = picture("peek_background")(self, roi, observation, energy=energy, fig=fig)
        return figure
