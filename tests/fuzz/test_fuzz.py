"""Changed files: past failures again, a few new cases of every target, and that failures are noticed.

``make fuzz`` tries many more.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from attempts import EXPECTED, TARGETS, Case, outcome_of
from limits import limited_memory
from mutators import Change
from targets import Target

from pymc_gamma.errors import DataFileError, warn_user

HERE = Path(__file__).parent
CORPUS = json.loads((HERE / "corpus.json").read_text())
CASES = 4
"""Of each target."""


def tried(case):
    if why := TARGETS[case.target].missing():
        pytest.skip(why)
    with limited_memory():
        outcome = outcome_of(case)
    assert outcome.kind in EXPECTED, f"{outcome}; again: python tests/fuzz --replay {case}"
    return outcome


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: str(Case(*list(entry.values())[:3])))
def test_past_failures(entry):
    outcome = tried(Case(entry["target"], entry["mutator"], entry["number"]))
    assert outcome.told == entry["told"], "the mutator does something else now: find another case of this failure"


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_as_they_were_or_refused(name):
    if why := TARGETS[name].missing():
        pytest.skip(why)
    mutators = list(dict.fromkeys(TARGETS[name].mutators))
    for k in range(CASES):
        tried(Case(name, mutators[k % len(mutators)].__name__, k))


def toy(monkeypatch, read, visible=True, keeps_sums=False, sums=False):
    """A target whose content is changed from ``old`` to ``new``."""

    def change(content, rng):
        assert content == b"old"
        return Change(b"new", "old to new", visible, keeps_sums)

    def place(folder, content):
        (folder / "toy.txt").write_bytes(content)
        return folder / "toy.txt"

    target = Target(lambda: b"old", (change,), place, lambda path: read(path.read_text()), ("toy.txt",), sums)
    name = f"toy {read.__name__} {visible} {keeps_sums} {sums}"
    monkeypatch.setitem(TARGETS, name, target)
    return outcome_of(Case(name, "change", 1)).kind


def test_outcomes_are_told_apart(monkeypatch):
    def as_it_is(text):
        return text

    def the_same(text):
        return "same"

    def with_warning(text):
        if text == "new":
            warn_user("toy.txt is another")
        return text

    def with_warning_of_both(text):
        warn_user("always")
        return text

    def raising(error):
        def read(text):
            if text == "new":
                raise error
            return text

        return read

    assert toy(monkeypatch, the_same) == "equal"
    assert toy(monkeypatch, as_it_is) == "silent"
    assert toy(monkeypatch, as_it_is, visible=False) == "unseen"
    assert toy(monkeypatch, as_it_is, visible=False, keeps_sums=True) == "unseen"
    assert toy(monkeypatch, as_it_is, visible=False, keeps_sums=True, sums=True) == "silent"
    assert toy(monkeypatch, with_warning) == "told"
    assert toy(monkeypatch, with_warning_of_both) == "silent"
    assert toy(monkeypatch, raising(DataFileError("toy.txt is damaged"))) == "refused"
    assert toy(monkeypatch, raising(DataFileError("a file is damaged"))) == "unnamed"
    assert toy(monkeypatch, raising(KeyError("toy.txt"))) == "raw"


LIMITED = """
import os, signal, time
from limits import Child, Limits

def spin():
    while True:
        pass

for work, limits in (
    (lambda: 7, Limits()),
    (lambda: os.kill(os.getpid(), signal.SIGSEGV), Limits()),
    (lambda: os._exit(3), Limits()),
    (lambda: len(bytearray(2**28)), Limits(memory=2**26)),
    (lambda: len(bytearray(2**24)), Limits(memory=2**28)),
    (spin, Limits(cpu=1)),
    (lambda: time.sleep(10**6), Limits(wall=1)),
):
    child = Child(work, limits)
    from limits import ended
    while not ended([child], 1.0):
        pass
    print(*child.result(), sep=": ", end="|")
"""


def test_crashes_hangs_and_memory_are_seen():
    done = subprocess.run([sys.executable, "-c", LIMITED], cwd=HERE, capture_output=True, text=True, check=True)
    found = done.stdout.split("|")[:-1]
    assert found[0] == "done: 7"
    assert found[1].startswith("crash: exit code -11")
    assert found[2].startswith("crash: exit code 3")
    assert found[3].startswith("crash: exit code 1")
    assert "MemoryError" in found[3]
    assert found[4] == f"done: {2**24}"
    assert found[5] == "hang: more computing time than allowed"
    assert found[6] == "hang: no end within the time"


def test_the_command_prints_a_table(tmp_path):
    command = [sys.executable, str(HERE), "--cases", "4", "--save", str(tmp_path / "failures"), "regions"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    header, regions, total = (line.split() for line in done.stdout.splitlines()[-3:])
    assert header[:3] == ["target", "mutations", "equal"]
    assert regions[:2] == ["regions", "4"]
    assert total[0] == "all"
    assert not (tmp_path / "failures").exists()
