"""The command line, and the quick start it runs."""

import re
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from pymc_gamma import cli, workflow
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


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert workflow.check_output(tmp_path) == tmp_path
    (tmp_path / "ppc.png").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"ppc\.png"):
        workflow.check_output(tmp_path)
    assert workflow.check_output(tmp_path, force=True) == tmp_path


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
