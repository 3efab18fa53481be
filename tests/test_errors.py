"""What was found in a file is told once in a process, but always where the user asks for all warnings or for errors."""

import warnings

import pytest
from gammapy.data import DataStore

import pymc_gamma as pmg
from pymc_gamma import errors
from pymc_gamma.errors import PymcGammaWarning, untold


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch):
    monkeypatch.setattr(errors, "_told", set())


def of_repairs(messages):
    return [str(one.message) for one in messages if "energy dispersion" in str(one.message)]


def read(ids, action):
    runs = DataStore.from_dir(pmg.datasets.fetch("hess-dl3-dr1-crab")).get_observations(ids)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter(action, PymcGammaWarning)
        pmg.Observation.list_from_gammapy(runs)
    return of_repairs(told)


def test_repairs_of_a_run_are_told_once():
    first = read([23523], "default")
    assert len(first) == 1
    assert "23523" in first[0]
    assert read([23523], "default") == []
    (other,) = read([23523, 23526], "default")
    assert "1 observation(s), 23526" in other
    assert len(read([23523], "always")) == 1
    with pytest.raises(PymcGammaWarning, match="23523"):
        read([23523], "error")


def test_what_was_ignored_counts_as_untold():
    assert read([23523], "ignore") == []
    assert len(read([23523], "default")) == 1


@pytest.mark.parametrize(
    ("filters", "repeated"),
    [
        ([], False),
        ([{"action": "once"}], False),
        ([{"action": "always"}], True),
        ([{"action": "always", "message": "something else"}], False),
        ([{"action": "always", "message": "a cell"}], True),
        ([{"action": "always", "category": DeprecationWarning}], False),
        ([{"action": "always", "category": UserWarning}], True),
        ([{"action": "default", "module": "mine"}], True),  # may be of the caller
    ],
)
def test_filters_decide(filters, repeated):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for one in filters:
            warnings.filterwarnings(**one)
        assert untold(["a", "b", "a"], "a cell is empty") == ["a", "b"]
        assert untold(["b", "c"], "a cell is empty") == (["b", "c"] if repeated else ["c"])
