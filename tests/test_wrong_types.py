"""What a newcomer passes by mistake: each gets an error that says what was expected."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from setups import direction, pointing, region

import pymc_gamma as pmg
from pymc_gamma.errors import EventError, SkyModelError


@pytest.fixture(scope="module")
def response():
    return pmg.fold(pmg.CosmicRayBackground(), pointing(hours=1), region(width=2.0, energy=(0.5, 50)))


@pytest.mark.parametrize("item", [None, np.zeros((2, 2), int), "energy", (0, 1)])
def test_choosing_events(response, item):
    with pytest.raises(EventError, match="events are a list: choose some by"):
        response.simulate(rng=1)[item]


def test_loading_and_folding():
    with pytest.raises(TypeError, match="load_irfs takes the name"):
        pmg.load_irfs(None)
    with pytest.raises(TypeError, match="components must be one or several"):
        pmg.fold(None, pointing(), region())
    with pytest.raises(SkyModelError, match="not a sky component"):
        pmg.fold([None], pointing(), region())
    with pytest.raises(TypeError, match="observation must be one or several"):
        pmg.fold(pmg.CosmicRayBackground(), None, region())
    with pytest.raises(TypeError, match=r"energy=\(0.1, 100\) \* u.TeV"):
        pmg.RegionOfInterest(center=direction(0, 0), width=2 * u.deg, energy=(0.1, 100))


@pytest.mark.parametrize("distribution", ["EventMixture", "ExtendedEventMixture"])
def test_observed(response, distribution):
    events = response.simulate(rng=1)
    arguments = [[1.0]] if distribution == "EventMixture" else []
    with pm.Model():
        for observed in (events.to_table(), events.coords, "events.fits"):
            with pytest.raises(EventError, match="must be Events, or an array of rows"):
                getattr(pmg, distribution)("events", *arguments, response=response, observed=observed)
