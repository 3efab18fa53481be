"""Pointings at the Galactic centre, the setting of the tests of responses."""

import astropy.units as u
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg

CENTRE = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")


def observe(lon=0.0, lat=0.0, hours=50.0, **options):
    pointing = SkyCoord(lon * u.deg, lat * u.deg, frame="galactic")
    return pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), pointing=pointing, livetime=hours * u.h, **options)
