"""Real runs of H.E.S.S. cut into time bins, against gammapy's selection in time."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from gammapy.data import DataStore

import pymc_gamma as pmg
from pymc_gamma.errors import PymcGammaWarning

EDGES = [0, 7, 14, 40] * u.min


@pytest.fixture(scope="module")
def read():
    store = DataStore.from_dir(pmg.datasets.path("hess-dl3-dr1-crab"))
    runs = store.get_observations()
    with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):  # of repairs
        return runs, pmg.Observation.list_from_gammapy(runs), pmg.Events.from_gammapy(runs, frame="icrs")


def test_nothing_is_lost(read):
    _, observations, events = read
    pieces = pmg.Observation.split_list(observations, EDGES)
    cut = events.split(pieces)
    assert "outside_time_bins" not in cut.meta
    assert np.array_equal(cut.to_rows(), events.to_rows())
    for k, one in enumerate(observations):
        mine = [j for j, piece in enumerate(pieces) if piece.name.startswith(f"{one.name} ")]
        assert len(mine) == 3
        assert sum(pieces[j].livetime_s for j in mine) == pytest.approx(one.livetime_s, rel=1e-12)
        assert np.array_equal(np.isin(cut.observation, mine), events.observation == k)


def test_bins_are_those_of_gammapy(read):
    runs, observations, events = read
    for k, run in enumerate(runs):
        pieces = observations[k].split(EDGES)
        cut = events[events.observation == k].split(pieces)
        for j, piece in enumerate(pieces):
            selected = run.select_time(piece.good_time[0])
            with warnings.catch_warnings(action="ignore", category=PymcGammaWarning):
                theirs, found = pmg.Observation.from_gammapy(selected), pmg.Events.from_gammapy(selected, frame="icrs")
            assert piece.livetime_s == pytest.approx(theirs.livetime_s, rel=1e-9)
            assert np.array_equal(cut[cut.observation == j].to_rows(), found.to_rows())
            first, last = found.time.min(), found.time.max()
            assert piece.good_time[0, 0] <= first < last <= piece.good_time[0, 1]


def test_arrival_times_are_those_of_the_file(read):
    runs, _, events = read
    for k, run in enumerate(runs):
        ours = (events[events.observation == k].time - run.events.time[0]).to_value("s")
        theirs = np.sort((run.events.time - run.events.time[0]).to_value("s"))
        after = np.searchsorted(theirs, ours).clip(1, len(theirs) - 1)
        nearest = np.minimum(np.abs(theirs[after] - ours), np.abs(theirs[after - 1] - ours))
        assert nearest.max() < 1e-6 < np.diff(theirs).mean()
