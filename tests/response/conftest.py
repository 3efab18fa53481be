import astropy.units as u
import numpy as np
import pytest
from galactic_centre import CENTRE, observe

import pymc_gamma as pmg


@pytest.fixture(scope="session")
def observation():
    return observe()


@pytest.fixture(scope="session")
def roi():
    return pmg.RegionOfInterest(CENTRE, width=6.4 * u.deg, energy=(0.1, 100) * u.TeV)


@pytest.fixture(scope="session")
def components():
    return [pmg.GalacticDiffuse(), pmg.HGPSCatalog(), pmg.CosmicRayBackground()]


@pytest.fixture(scope="session")
def response(components, observation, roi):
    return pmg.fold(components, observation, roi)


@pytest.fixture(scope="session")
def two_pointings(components, roi):
    return pmg.fold(components, [observe(-1.0, 0.5, 10.0), observe(1.0, -0.5, 30.0)], roi)


@pytest.fixture(scope="session")
def events(response):
    return response.simulate([1, 2, 3], 300, rng=np.random.default_rng(5))
