"""Runs that failed half-way, and results that were damaged: what the next run and the report say."""

import json
import shutil

import numpy as np
import pytest
from markupsafe import escape
from rich.console import Console
from scenes import SMALL, small

from pymc_gamma import cli
from pymc_gamma.analysis.samplers import nuts
from pymc_gamma.analysis.stages import FAILURE
from pymc_gamma.analysis.steps import EventsStage

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:arviz_stats")  # of twenty draws

QUIET = Console(quiet=True)
PYTHON = ("pm.sample_posterior", "model=", "tune=", "draws=", "nlive=", "pmg.summary(", "target_accept=", "config=")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small(output=tmp_path_factory.mktemp("whole") / "results").run(console=QUIET)


@pytest.fixture
def copied(whole, tmp_path):
    """Folder of results of one's own."""
    return shutil.copytree(whole.output, tmp_path / "results")


def text_of(path):
    return path.read_text(encoding="utf-8")


def told_by(call):
    """What is printed."""
    console = Console(record=True, width=200, force_terminal=False, quiet=False)
    call(console)
    return console.export_text()


@pytest.mark.parametrize("error", [ValueError("the chains are <lost>"), KeyboardInterrupt()])
def test_the_report_says_which_stage_failed_and_why(error, copied, monkeypatch):
    for name in ("nuts", "predict", "report"):
        shutil.rmtree(copied / name)

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(nuts.Nuts, "run", fail)
        with pytest.raises(type(error)):
            small(output=copied).run(console=QUIET)
    page = text_of(small(output=copied).report(console=QUIET))
    first = page[page.index("<h2") :]
    assert "How far it came" in first[:200]
    assert f"The stage nuts failed ({json.loads(text_of(copied / FAILURE))['when']}): " in page
    assert str(escape(f"{type(error).__name__}: {error}".rstrip(": "))) in page
    for name, word in (("fold", "complete"), ("events", "complete"), ("nuts", "failed"), ("predict", "not complete")):
        assert f'<tr><th scope="row">{name}</th><td>{word}</td>' in page
    assert not [one for one in PYTHON if one in page]
    small(output=copied).run(console=QUIET)
    assert not (copied / FAILURE).exists()
    assert "How far it came" not in text_of(copied / "report" / "report.html")


def test_a_model_that_cannot_be_made_has_a_report_of_the_rest(copied):
    changes = ["systematics=[{type: EffectiveAreaNorm}]", "fit.draws=21"]
    job = json.loads(text_of(copied / "events" / "stage.json"))
    analysis = small(*changes, output=copied)
    with pytest.raises(ValueError, match="a factor on all events"):
        analysis.run(console=QUIET)
    page = text_of(analysis.report(console=QUIET))
    assert "The stage events failed" in page
    assert "a factor on all events" in page
    assert json.loads(text_of(copied / "events" / "stage.json")) == job  # what was there is kept


@pytest.mark.parametrize("keep", [0.5, 0.0, 1.5])
def test_results_that_were_cut_are_noticed(keep, copied):
    path = copied / "nuts" / "posterior.nc"
    content = path.read_bytes()
    path.write_bytes((content * 2)[: int(keep * len(content))])
    told = told_by(lambda console: small(output=copied).report(console=console))
    assert "report: without nuts" in told
    page = text_of(copied / "report" / "report.html")
    assert "posterior.nc is not as it was written" in page
    assert "There is no posterior: no stage of a sampler has run to its end." in page
    told = told_by(lambda console: small(output=copied).run(console=console))
    assert "nuts: posterior.nc is not as it was written" in told
    assert "How far it came" not in text_of(copied / "report" / "report.html")
    assert all(state.is_current for state in small(output=copied).states().values())


def test_a_report_of_whole_results_is_not_made_again(copied):
    before = (copied / "report" / "report.html").stat().st_mtime_ns
    assert "report: up to date" in told_by(lambda console: small(output=copied).report(console=console))
    assert (copied / "report" / "report.html").stat().st_mtime_ns == before


def test_a_failure_is_forgotten_with_another_file(copied, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no events today")

    with monkeypatch.context() as patched:
        patched.setattr(EventsStage, "compute", fail)
        with pytest.raises(ValueError, match="no events today"):
            small("general.seed=9", output=copied).run(console=QUIET)
    page = text_of(small("fit.draws=30", output=copied).report(console=QUIET))
    assert "no events today" not in page  # with the old seed they are there
    assert "How far it came" in page
    (copied / FAILURE).write_text("{", encoding="utf-8")
    assert "How far it came" in text_of(small("fit.draws=31", output=copied).report(console=QUIET))


def test_simulated_events_are_called_so_and_their_true_values_shown(whole):
    page = text_of(whole.output / "report" / "report.html")
    assert "Events that were read" not in page
    assert "40 were simulated, with the seed 3 of general.seed" in page
    assert ">Truth</th>" in page
    row = page[page.index('<th scope="row">fraction[hgps]') :]
    assert row[: row.index("</tr>")].split("</td>")[0].endswith(">0.500")
    np.testing.assert_array_equal(whole.truth["fraction"], [0.5, 0.5])


def test_results_do_not_go_into_a_file(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(SMALL, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for command in (["run", "--dry-run"], ["run"], ["report"], ["check"]):
        code = cli.main([*command, str(tmp_path / "mine.yaml"), "--output", str(tmp_path / "notes.txt")])
        assert code == (1 if command == ["report"] else 2)
        assert "notes.txt is a file; give a folder by general.outdir or --output" in capsys.readouterr().err
    assert text_of(tmp_path / "notes.txt") == "mine"
