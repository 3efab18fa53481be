"""The commands for analysis files: exit codes, messages, options."""

import signal
import subprocess
import sys

import pytest
from scenes import SMALL

from pymc_gamma import cli
from pymc_gamma.analysis import analysis as module
from pymc_gamma.analysis.analysis import Analysis
from pymc_gamma.analysis.templates import template


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def run(*arguments):
    return cli.main([*map(str, arguments)])


def test_init_writes_a_file_and_never_over_another(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("init") == 0
    assert (tmp_path / "analysis.yaml").read_text(encoding="utf-8") == template("quickstart")
    assert run("init", "--template", "crab") == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "analysis.yaml").read_text(encoding="utf-8") == template("quickstart")
    assert run("init", "--template", "crab", "--force") == 0
    assert (tmp_path / "analysis.yaml").read_text(encoding="utf-8") == template("crab")
    assert run("init", "new.yaml", "--template", "carb") == 2
    assert "did you mean 'crab'" in capsys.readouterr().err
    assert not (tmp_path / "new.yaml").exists()
    assert run("init", "--list") == 0
    assert "quickstart" in capsys.readouterr().out


def test_check_says_that_there_is_no_fault_or_which(file, capsys):
    assert run("check", file) == 0
    assert "no fault found" in capsys.readouterr().out
    assert run("check", file, "--set", "fit.drwas=1") == 2
    assert "--set fit.drwas=1: fit.drwas: unknown key; did you mean 'draws'?" in capsys.readouterr().err
    assert run("check", file, "--set", "pointings.centre.irf=none.fits") == 2
    assert "none.fits" in capsys.readouterr().err
    assert run("check", file.with_name("none.yaml")) == 2
    assert "there is no analysis file" in capsys.readouterr().err
    assert [path.name for path in file.parent.iterdir()] == ["mine.yaml"]


def test_a_dry_run_says_what_would_run_and_writes_nothing(file, capsys):
    assert run("run", file, "--dry-run", "--seed", 5, "--output", file.parent / "there") == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [f"{name}: would run, not there yet" for name in ("fold", "events", "nuts", "predict", "report")]
    assert [path.name for path in file.parent.iterdir()] == ["mine.yaml"]


def test_options_change_the_file(file, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(Analysis, "run", lambda self, **options: seen.append((self, options)))
    output = file.parent / "there"
    assert (
        run("run", file, "--seed", 5, "--output", output, "--set", "fit.draws=7", "--set", "fit.tune=8", "--force") == 0
    )
    ((analysis, options),) = seen
    assert options == {"force": True}
    assert analysis.config.general.seed == 5
    assert analysis.output == output
    (sampler,) = analysis.config.fit.samplers
    assert (sampler.draws, sampler.tune) == (7, 8)
    assert f"Results are in {output}" in capsys.readouterr().out
    assert run("run", file) == 0
    assert seen[1][0].output == file.parent / "results"  # beside the file, wherever one is


def test_failures_and_interruptions_have_their_exit_codes(file, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("no space left")

    def interrupt(*_, **__):
        raise KeyboardInterrupt("fold complete")

    monkeypatch.setattr(Analysis, "run", fail)
    assert run("run", file) == 1
    assert "no space left" in capsys.readouterr().err
    monkeypatch.setattr(Analysis, "run", interrupt)
    assert run("run", file) == 130
    assert "interrupted; fold complete" in capsys.readouterr().err
    assert run("report", file, "--set", "results.report=false") == 1
    assert "results.report is false" in capsys.readouterr().err


STUB = """
import signal, sys, time
from pymc_gamma import cli
from pymc_gamma.analysis.steps import EventsStage

signal.signal(signal.SIGINT, signal.default_int_handler)

def work(*_):
    print("at work", flush=True)
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            pass  # as PyMC does: the chain ends early and the next begins

EventsStage.compute = work
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""


def test_ctrl_c_says_what_is_complete(file):
    command = [sys.executable, "-c", STUB, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "at work" not in (line := process.stdout.readline()):
            assert line or process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert f"interrupted; fold in {file.parent / 'results'} complete; the next run goes on from there" in told
    assert "Traceback" not in told
    states = {name: state.is_current for name, state in Analysis.read(file).states().items()}
    assert states["fold"]
    assert not states["events"]
    assert not list((file.parent / "results").rglob(".*")), "nothing is left behind"


def test_help_imports_nothing_heavy():
    script = (
        "import sys\nfrom pymc_gamma import cli\ntry:\n    cli.main(['run', '--help'])\nexcept SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "heavy = {'pymc', 'gammapy', 'astropy', 'numpy', 'pydantic'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--dry-run" in done.stdout


def test_checkpoints_of_samplers_are_removed_at_the_end(tmp_path):
    folder = tmp_path / module.CHECKPOINTS
    folder.mkdir()
    (folder / "nested-0123").write_text("state")
    module._remove(folder)
    assert not folder.exists()
    module._remove(folder)
