"""Stages: kept whole or not at all, run again when what they depend on changes, and said why."""

import json

import pytest
from rich.console import Console

from pymc_gamma.analysis import stages
from pymc_gamma.analysis.progress import Bars
from pymc_gamma.analysis.stages import RECORD, Job, Stage, mark_of_files
from pymc_gamma.errors import AnalysisFileError


class Number(Stage):
    """A number that is the sum of its own and those of other stages."""

    def __init__(self, name, own, needs=(), fails=False):
        self.name, self.own, self.needs, self.fails = name, own, needs, fails

    def inputs(self):
        return {"own": self.own}

    def compute(self, job):
        if self.fails:
            raise ValueError("it fails")
        return self.own + sum(job.value(name) for name in self.needs)

    def write(self, value, folder):
        (folder / "number.txt").write_text(str(value))

    def read(self, folder):
        return int((folder / "number.txt").read_text())


def chain(a=1, b=10, c=100, **options):
    return [Number("a", a), Number("b", b, ("a",)), Number("c", c, ("a", "b"), **options)]


def ran(job):
    """Which stages a job runs."""
    console = Console(quiet=True)
    with Bars(console) as bars:
        job.run(bars)
    return sorted(job._done)


def why(job):
    return {name: state.why for name, state in job.states().items()}


def test_what_is_there_is_not_made_again(tmp_path):
    job = Job(chain(), tmp_path)
    assert set(why(job).values()) == {"not there yet"}
    assert ran(job) == ["a", "b", "c"]
    again = Job(chain(), tmp_path)
    assert set(why(again).values()) == {"up to date"}
    assert ran(again) == []
    assert again.value("c") == 112
    assert again.complete() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"c": 200}, {"a": "up to date", "b": "up to date", "c": "changed: own"}),
        ({"b": 20}, {"a": "up to date", "b": "changed: own", "c": "changed: stage b"}),
        ({"a": 2}, {"a": "changed: own", "b": "changed: stage a", "c": "changed: stage a, stage b"}),
    ],
)
def test_a_change_runs_what_depends_on_it_and_says_so(changed, expected, tmp_path):
    ran(Job(chain(), tmp_path))
    job = Job(chain(**changed), tmp_path)
    assert why(job) == expected
    assert ran(job) == [name for name, told in expected.items() if told != "up to date"]
    assert Job(chain(**changed), tmp_path).value("c") == 111 + sum(
        new - old for new, old in ((changed.get(k, v), v) for k, v in {"a": 1, "b": 10, "c": 100}.items())
    ) + changed.get("a", 1)


def test_force_runs_all_once(tmp_path):
    ran(Job(chain(), tmp_path))
    job = Job(chain(), tmp_path, force=True)
    assert set(why(job).values()) == {"asked for"}
    assert ran(job) == ["a", "b", "c"]
    assert set(why(job).values()) == {"up to date"}


def test_a_failure_leaves_what_was_complete(tmp_path):
    job = Job(chain(fails=True), tmp_path)
    with pytest.raises(ValueError, match="it fails"):
        ran(job)
    assert job.complete() == ["a", "b"]
    assert not (tmp_path / "c").exists()
    assert ran(Job(chain(), tmp_path)) == ["c"]


@pytest.mark.parametrize("what", ["content", "missing", "more", "record", "no record"])
def test_results_that_are_not_as_they_were_written_are_made_again(what, tmp_path):
    ran(Job(chain(), tmp_path))
    file = tmp_path / "b" / "number.txt"
    if what == "content":
        file.write_text("0")
    elif what == "missing":
        file.unlink()
    elif what == "more":
        (tmp_path / "b" / "notes.txt").write_text("mine")
    elif what == "record":
        (tmp_path / "b" / RECORD).write_text("{")
    if what == "no record":
        (tmp_path / "b" / RECORD).unlink()
        with pytest.raises(FileExistsError, match="no result of an analysis"):
            ran(Job(chain(), tmp_path))
        return
    job = Job(chain(), tmp_path)
    assert why(job)["b"] != "up to date"
    assert ran(job) == ["b"]  # what it was made of is the same, and so are its results
    assert Job(chain(), tmp_path).value("c") == 112


def test_another_version_is_another_input(tmp_path, monkeypatch):
    ran(Job(chain(), tmp_path))
    monkeypatch.setattr(stages, "__version__", "99")
    assert why(Job(chain(), tmp_path))["a"] == "changed: version of pymc_gamma"


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Job(chain())
    ran(job)
    assert job.value("c") == 112
    assert not list(tmp_path.iterdir())


def test_one_stage_alone_takes_what_is_there(tmp_path):
    class Told(Number):
        def compute(self, job):
            return sum(job.found(name) or 0 for name in self.needs)

    def several(**options):
        return [*chain(**options)[:2], Told("c", 0, ("a", "b"))]

    with Bars(Console(quiet=True)) as bars:
        Job(several(), tmp_path).run(bars, "a")
        job = Job(several(), tmp_path)
        job.run(bars, "c")
        assert job.value("c") == 1
    job = Job(several(), tmp_path)
    assert why(job)["c"].startswith("changed: ")  # b was missing
    assert ran(job) == ["b", "c"]
    assert job.value("c") == 12


def test_files_of_data_are_told_by_their_content(tmp_path, monkeypatch):
    path = tmp_path / "data"
    path.write_text("one")
    first = mark_of_files([path])
    (tmp_path / "moved").mkdir()
    assert mark_of_files([path.rename(tmp_path / "moved" / "data")]) == first
    (tmp_path / "moved" / "data").write_text("two")
    assert mark_of_files([tmp_path / "moved" / "data"]) != first
    monkeypatch.setattr(stages, "LARGEST_HASHED", 0)
    assert "3 bytes" in json.dumps(mark_of_files([tmp_path / "moved" / "data"]))
    with pytest.raises(AnalysisFileError, match="cannot be read"):
        mark_of_files([tmp_path / "none"])
