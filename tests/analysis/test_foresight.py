"""What `check` says of a model before anything is folded: values to simulate with, and where priors reach."""

import re

import numpy as np
import pytest
from scenes import SMALL, SOURCE, small
from scipy import stats

from pymc_gamma import cli
from pymc_gamma.analysis.analysis import Analysis
from pymc_gamma.analysis.foresight import foresee
from pymc_gamma.analysis.modelling import settable
from pymc_gamma.analysis.templates import template, template_names
from pymc_gamma.errors import AnalysisFileError

pytestmark = pytest.mark.filterwarnings("ignore:IRFs of :pymc_gamma.errors.PymcGammaWarning")

HALO = "components.0={{kind: dark_matter, name: dm, process: {2}, channels: W, mass: {0}, profile: {1}}}"
PROFILE = "{{type: GeneralisedNFW, r_s: 20 kpc, gamma: {}}}"


def halo(mass="2 TeV", gamma="1", process="annihilation"):
    return HALO.format(mass, PROFILE.format(gamma), process)


@pytest.mark.parametrize("text", [SMALL, SOURCE, *map(template, ("quickstart", "dark-matter"))])
def test_the_variables_are_those_of_the_folded_model(text):
    analysis = Analysis.from_yaml(text, set=["pointings=[{lon: 0.3 deg, lat: 0 deg, livetime: 1 h, id: a}]"])
    with analysis._plan(None) as plan:
        alone = foresee(plan.modelling).built
        made = plan.modelling.build(plan.modelling.fold())
    assert sorted(settable(alone.model)) == sorted(settable(made.model))
    assert {name: alone.units.get(name) for name in settable(made.model)} == {
        name: made.units.get(name) for name in settable(made.model)
    }
    for name in settable(made.model):
        assert alone.model[name].type == made.model[name].type


@pytest.mark.parametrize(
    ("text", "changes", "told"),
    [
        (SMALL, ["simulate.values.fractoin=[1, 0]"], r"no variable 'fractoin'; did you mean 'fraction'\?"),
        (SMALL, ["simulate.values.fraction=[0.5, 0.6]"], r"sum to 1, got \[0\.5, 0\.6\]"),
        (SMALL, ["simulate.values.fraction={hgps: 1}"], r"give a value for each of \['hgps', 'ccr'\]"),
        (SMALL, [halo("{prior: Uniform, lower: 1, upper: 9}"), "simulate.values={dm.mass: 3 deg}"], "such as 'TeV'"),
        (SOURCE, ["simulate.values.index=2 TeV"], "2.0 TeV must have no unit"),
        (SOURCE, ["simulate.values.events=2"], "no variable 'events'"),
        (SOURCE, ["simulate.values={ccr.norm: [1, 2, 3]}"], r"expected \(2,\)"),
        (SMALL, ["mixture.tree={a: [hgps], b: [dm]}"], "leaves of the mixture tree"),
        (
            SMALL,
            [halo("{prior: LogUniform, lower: 0.05, upper: 9}"), "simulate.values={dm.mass: 0.06 TeV}"],
            r"components\.0: impossible with simulate\.values: .* masses from 0\.09 to 100 TeV",
        ),
    ],
)
def test_values_to_simulate_with_that_are_wrong_are_told_with_their_line(text, changes, told):
    with pytest.raises(AnalysisFileError, match=told) as error:
        Analysis.from_yaml(text, set=changes).check()
    assert str(error.value).startswith(("--set ", "analysis:"))


def test_all_of_them_are_told_at_once():
    with pytest.raises(AnalysisFileError) as error:
        Analysis.from_yaml(SOURCE, set=["simulate.values={idx: 2, index: 2 TeV}"]).check()
    assert len(str(error.value).splitlines()) == 2


def test_values_that_nothing_depends_on_are_refused(tmp_path):
    mass = "{prior: LogUniform, lower: 1 TeV, upper: 9 TeV}"
    analysis = small(halo(mass), "simulate.values={dm.sigmav: 3e-26 cm3 s-1}", output=tmp_path)
    with pytest.raises(AnalysisFileError, match=r"'dm\.sigmav'"):
        analysis.check()
    with analysis._plan(None) as plan:
        made = plan.modelling.build(plan.modelling.fold())
        with pytest.raises(AnalysisFileError, match="events do not depend on it"):
            plan.modelling.true_values(made)


def test_variables_without_a_value_are_noted():
    assert small().check() == []
    (note,) = small("simulate.values={}").check()
    assert re.match(r"analysis:\d+: simulate\.values says nothing of fraction: ", note)
    (note,) = Analysis.from_yaml(SOURCE, set=["simulate.values={index: 2}"]).check()
    assert "nothing of star.spectral.amplitude, ccr.norm:" in note
    tree = ["mixture.tree={a: [hgps], b: [ccr]}", "simulate.values={fraction: [0.5, 0.5]}"]
    assert small(*tree).check() == []  # the shares of the nodes say no more
    assert Analysis.from_yaml(template("crab")).check() == []  # real events


def test_priors_that_reach_where_nothing_is_possible_are_noted(tmp_path, capsys):
    mass = "{prior: LogUniform, lower: 0.05 TeV, upper: 50 TeV}"
    changes = [halo(mass, "{prior: Normal, mu: 1.2, sigma: 0.2}"), "simulate.values={dm.mass: 2 TeV, dm.gamma: 1}"]
    _, *notes = small(*changes, "simulate.values={}").check()
    expected = [np.log(0.09 / 0.05) / np.log(1000), stats.norm(1.2, 0.2).sf(1.5)]
    assert len(notes) == 2
    for note, share, told in zip(notes, expected, ("'W' for masses from 0.09", "J factor is infinite"), strict=True):
        assert told in note
        assert "components.0: " in note
        error = 3.3 * np.sqrt(share / 1000)
        assert float(re.search(r"in ([\d.]+) % of", note)[1]) / 100 == pytest.approx(share, abs=error)
        assert "initval" not in note
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL, encoding="utf-8")
    assert cli.main(["check", str(path), "--set", changes[0], "--set", changes[1]]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line[:6] for line in told[:-1]] == ["note: "] * 3  # of the fraction as well
    assert told[-1] == f"{path}: no fault found"


def test_decay_has_other_limits():
    mass = "{prior: Uniform, lower: 0.1 TeV, upper: 1 TeV}"
    change = halo(mass, "{prior: Uniform, lower: 1, upper: 2}", "decay")
    (note,) = small(change, "simulate.values={fraction: [0.5, 0.5], dm.mass: 1 TeV, dm.gamma: 1}").check()
    assert "masses from 0.18 to 200 TeV" in note
    wider = change.replace("upper: 2}", "upper: 4}")
    assert any("from 0 to below 3, where the D factor is infinite" in note for note in small(wider).check())


@pytest.mark.parametrize("name", template_names())
def test_examples_give_no_reason_for_notes(name):
    assert Analysis.from_yaml(template(name)).check() == []
