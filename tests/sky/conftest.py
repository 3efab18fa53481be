"""Regions around the Galactic centre."""

import astropy.units as u
import pytest
from astropy.coordinates import SkyCoord

from pymc_gamma.geometry import RegionOfInterest

ENERGY = (0.1, 100) * u.TeV


def make_region(lon=0.0, lat=0.0, frame="galactic", width=6.4):
    center = SkyCoord(lon, lat, unit="deg", frame="galactic").transform_to(frame)
    return RegionOfInterest(center=center, width=width * u.deg, energy=ENERGY)


@pytest.fixture
def region():
    """Make square regions; the centre is given in galactic coordinates."""
    return make_region


@pytest.fixture
def roi():
    """Region of the quick start."""
    return make_region()


@pytest.fixture(params=["galactic", "icrs"])
def frame(request):
    return request.param
