"""The setting all benchmarks share: 50 h on the Galactic centre, three components."""

import astropy.units as u
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg

FRACTIONS = (1 / 6, 1 / 3, 1 / 2)


def galactic_centre() -> tuple[list[pmg.SkyComponent], pmg.Observation, pmg.RegionOfInterest]:
    """Components, observation and region of the quick start."""
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    irfs = pmg.load_irfs("prod5-south-20deg-50h")
    observation = pmg.Observation(irfs=irfs, pointing=centre, livetime=50 * u.h)
    roi = pmg.RegionOfInterest(center=centre, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)
    return [pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()], observation, roi
