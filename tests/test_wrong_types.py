"""What a newcomer passes by mistake: each gets an error that says what was expected."""

import astropy.units as u
import numpy as np
import pymc as pm
import pytest
from setups import direction, pointing, region

import pymc_gamma as pmg
from pymc_gamma.arguments import integer
from pymc_gamma.errors import EventError, SkyModelError
from pymc_gamma.units import numbers


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


@pytest.mark.parametrize("three", [3, 3.0, np.int8(3), np.float32(3), np.array(3), np.array(3.0, "f4"), np.float16(3)])
def test_whole_numbers_of_numpy(three):
    found = integer(three, "bins")
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize(
    "wrong", [True, np.True_, np.array(True), 2.5, np.float32(2.5), np.array(2.5), np.nan, np.array([3]), "3", None]
)
def test_no_whole_numbers(wrong):
    with pytest.raises(TypeError, match="bins must be a whole number"):
        integer(wrong, "bins")


@pytest.mark.parametrize("wrong", ["5", b"5", ["1", "2"], np.timedelta64(5, "s"), np.datetime64("2020-01-01")])
def test_no_numbers(wrong):
    with pytest.raises(TypeError, match="step must be numbers, got"):
        numbers(wrong, "step")
