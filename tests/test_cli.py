"""The command line, and the quick start it runs."""

import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from pymc_gamma import cli
from pymc_gamma.analysis import quickstart as workflow
from pymc_gamma.events import Events


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small quick start, run through the command line."""
    folder = tmp_path_factory.mktemp("quickstart") / "results"
    code = cli.main(["quickstart", "--events", "400", "--seed", "3", "--output", str(folder)])
    return code, folder


def test_quickstart_writes_everything(finished):
    code, folder = finished
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(workflow.OUTPUT_FILES)
    for name in ("corner.png", "counts.png", "ppc.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_quickstart_results_read_back(finished):
    _, folder = finished
    events = Events.read(folder / "events.fits")
    assert len(events) == 400
    assert events.frame == "galactic"
    with xr.open_datatree(folder / "posterior.nc", engine="h5netcdf") as tree:
        nuts, nested = (tree[group]["fraction"].load() for group in ("posterior", "nested_posterior"))
        attrs = tree.attrs
    assert nuts.dims == ("chain", "draw", "component")
    assert nuts.sizes["chain"] == 4
    assert nested.coords["component"].values.tolist() == ["diffuse", "hgps", "ccr"]
    np.testing.assert_allclose(nuts.sum("component"), 1)
    assert np.isfinite(attrs["log_evidence"])
    assert 0 < attrs["log_evidence_err"] < 1
    np.testing.assert_allclose(attrs["true_fraction"], [1 / 6, 1 / 3, 1 / 2])
    # Both samplers see the same posterior.
    samples = ("chain", "draw")
    difference = np.abs(nuts.mean(samples) - nested.mean(samples)) / nuts.std(samples)
    assert float(difference.max()) < 0.25


def test_quickstart_never_overwrites_unasked(finished, capsys):
    _, folder = finished
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert cli.main(["quickstart", "--output", str(folder)]) == 2
    assert "--force" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--events", "-5"], r"must be at least 1, got -5"),
        (["--events", "0"], r"must be at least 1, got 0"),
        (["--seed", "-1"], r"seed must be at least 0"),
        (["--fractions", "0.5,0.5"], r"fractions must be 3 numbers.*got 2"),
        (["--fractions", "0.5,0.6,0.1"], r"sum to 1, got 0\.5, 0\.6, 0\.1"),
        (["--fractions=-1,1,1"], r"at least 0"),
    ],
)
def test_bad_arguments_are_named(arguments, names, tmp_path, capsys):
    output = tmp_path / "new"
    assert cli.main(["quickstart", "--output", str(output), *arguments]) == 2
    message = capsys.readouterr().err
    assert "error" in message
    assert re.search(names, message)
    assert not output.exists()


@pytest.mark.parametrize("arguments", [["--events", "many"], ["--fractions", "a,b,c"], ["--fractions", "1/0,1,1"]])
def test_arguments_that_cannot_be_read(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["quickstart", *arguments])
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_output_may_not_be_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    assert cli.main(["quickstart", "--output", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("/proc/results", "/proc/results"),
        ("/dev/null/results", "/dev/null/results"),
        ("a\0b", "cannot be the name of a file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_places_that_cannot_be_written_are_said_before_the_work(output, told, capsys, monkeypatch):
    monkeypatch.setattr(workflow, "quickstart", lambda *_, **__: pytest.fail("it must not begin"))
    assert cli.main(["quickstart", "--output", output]) == 2
    assert told in capsys.readouterr().err


def test_looking_whether_a_place_can_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "quickstart", lambda *_, **__: None)
    assert cli.main(["quickstart", "--output", str(tmp_path / "new")]) == 0
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_libraries_are_imported(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parser", interrupt)
    assert cli.main(["quickstart"]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert workflow.check_output(tmp_path) == tmp_path
    (tmp_path / "ppc.png").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"ppc\.png"):
        workflow.check_output(tmp_path)
    assert workflow.check_output(tmp_path, overwrite=True) == tmp_path


def test_failures_and_interruptions_have_their_exit_codes(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(workflow, "quickstart", fail)
    assert cli.main(["quickstart", "--output", str(tmp_path)]) == 1
    assert "no space left" in capsys.readouterr().err

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "quickstart", interrupt)
    assert cli.main(["quickstart", "--output", str(tmp_path)]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err


def test_fractions_may_be_ratios(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(workflow, "quickstart", lambda n, fractions, **_: seen.append((n, fractions)))
    arguments = ["quickstart", "--output", str(tmp_path), "--fractions", "1/4, 0.25,1/2"]
    assert cli.main(arguments) == 0
    assert seen == [(4500, (0.25, 0.25, 0.5))]


def test_no_command_prints_help(capsys):
    assert cli.main([]) == 2
    assert "quickstart" in capsys.readouterr().out


HELP_SCRIPT = """
import sys
from pymc_gamma import cli
try:
    cli.main([sys.argv[1]])
except SystemExit as stop:
    assert stop.code == 0
heavy = {"pymc", "gammapy", "astropy", "numba", "matplotlib", "numpy", "xarray"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option):
    command = [sys.executable, "-c", HELP_SCRIPT, option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pymc-gamma" in done.stdout


def test_quickstart_refuses_before_it_works(tmp_path):
    console = Console(quiet=True)
    (tmp_path / "corner.png").write_bytes(b"")
    with pytest.raises(FileExistsError):
        workflow.quickstart(10, output=tmp_path, console=console)
    with pytest.raises(ValueError, match="number of events"):
        workflow.quickstart(0, output=tmp_path / "new", console=console)
    assert not (tmp_path / "new").exists()


STUB = """
import signal, sys, time
from pymc_gamma import cli
from pymc_gamma.analysis import quickstart as workflow

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell inherit that it is ignored

def work(*_):
    print("at work", flush=True)
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            pass  # as PyMC does: the chain ends early and the next begins

workflow._work = work
sys.exit(cli.main(["quickstart", *sys.argv[1:]]))
"""


def at_work(*arguments):
    """A quick start that works for ever, and notices Ctrl-C no more than a sampler does."""
    command = [sys.executable, "-c", STUB, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "at work" not in (line := process.stdout.readline()):
        assert line or process.poll() is None, process.stderr.read()
    return process


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("earlier", [True, False])
def test_ctrl_c_says_what_is_there(earlier, tmp_path):
    folder = tmp_path / "results"
    if earlier:
        folder.mkdir()
        for name in workflow.OUTPUT_FILES:
            (folder / name).write_text("earlier")
        before = content(folder)
    with at_work("--output", folder, "--force") as process:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in told
    if earlier:
        assert f"interrupted; the earlier results in {folder} are unchanged" in told
        assert content(folder) == before
    else:
        assert f"interrupted; nothing was written into {folder}" in told
        assert not folder.exists()


def test_ctrl_c_when_the_results_are_there(tmp_path, monkeypatch):
    def write(folder, *_, **__):
        for name in written:
            (folder / name).write_text("new")

    monkeypatch.setattr(workflow, "_work", lambda *_: workflow._Results(None, None, None, {}))
    monkeypatch.setattr(workflow, "_write", write)
    monkeypatch.setattr(workflow, "_report", lambda *_: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    for written, told in (
        (workflow.OUTPUT_FILES, "the new results in .* are complete"),
        (["ppc.png"], "are being replaced; the next run into this folder completes that"),
    ):
        with pytest.raises(KeyboardInterrupt, match=told):
            workflow.quickstart(output=tmp_path / str(len(written)), console=Console(quiet=True))
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_ctrl_c_names_the_place_of_what_is_not_back(tmp_path, monkeypatch):
    def write(folder, *_, **__):
        hidden.mkdir(parents=True)
        raise KeyboardInterrupt

    hidden = tmp_path / ".results.0123abcd.set" / "whole"
    monkeypatch.setattr(workflow, "_work", lambda *_: workflow._Results(None, None, None, {}))
    monkeypatch.setattr(workflow, "_write", write)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt, match=f"until the next run into this folder the rest is in {hidden.parent}"):
        workflow.quickstart(output="results", console=Console(quiet=True))


def test_the_loser_of_two_runs_learns_it_before_it_works(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workflow, "_work", lambda *_: pytest.fail("it must not begin"))
    arguments = ["--output", str(tmp_path), "--force"]
    with at_work(*arguments) as first:
        assert cli.main(["quickstart", *arguments]) == 1
        told = capsys.readouterr().err
        assert f"another run is writing into {tmp_path} (process {first.pid} on" in told
        first.kill()
    with at_work(*arguments) as second:  # the lock of a killed run does not count
        second.kill()


def test_messages_name_the_interface_in_use(tmp_path, capsys):
    (tmp_path / "corner.png").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"with output=, or replace them with overwrite=True"):
        workflow.quickstart(10, output=tmp_path, console=Console(quiet=True))
    assert cli.main(["quickstart", "--output", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "with --output, or replace them with --force" in told
    assert "overwrite" not in told
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="results with output="):
        workflow.quickstart(10, output=tmp_path / "file", console=Console(quiet=True))


def test_a_full_disk_is_noticed_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workflow, "_work", lambda *_: pytest.fail("it must not begin"))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert cli.main(["quickstart", "--output", str(tmp_path / "new")]) == 1
    assert re.search(r"No space left.*MB are needed and 1 MB are free.*new", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_the_room_that_is_asked_for_is_what_the_results_need(finished):
    _, folder = finished
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert 0.5 < size / (workflow._SIZE + workflow._SIZE_PER_EVENT * 400) < 1
