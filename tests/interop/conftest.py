"""Events of the field, simulated once."""

import astropy.units as u
import numpy as np
import pytest
from dl3_field import REFERENCE, RUNS, observations, region, run_of, sky_model
from gammapy.data import EventList

import pymc_gamma as pmg


@pytest.fixture(scope="session")
def simulated():
    """Events of both runs in a region wider than the one of the tests, by this package."""
    components = [pmg.SkySource.from_gammapy(sky_model()), pmg.CosmicRayBackground()]
    response = pmg.fold(components, observations(), region(0.8))
    return response.simulate(rng=5)


@pytest.fixture(scope="session")
def runs(simulated):
    """Both runs with their events, in memory."""
    made = []
    for k, obs_id in enumerate(RUNS):
        mine = simulated[simulated.observation == k]
        times = REFERENCE + np.linspace(0.1, 60, len(mine)) * u.s
        table = mine.with_observation(0).to_gammapy().table
        table["TIME"] = times
        table.remove_column("OBS_INDEX")
        made.append(run_of(obs_id, EventList(table)))
    return made
