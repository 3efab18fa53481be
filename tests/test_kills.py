"""A writer may be killed at any time: the old or the new is there, bit for bit, and the next one cleans up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kills.py")
CASES = ["stage", "store", "node", "events", "quickstart", "folders", "report"]


def survive(case, folder, number, seed, *how):
    command = [sys.executable, str(SCRIPT), case, str(folder), str(number), str(seed), *how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{'interrupted' if how else 'killed'} {number} times" in done.stdout


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children that are killed are forked")


@pytest.mark.parametrize("case", CASES)
def test_killed_at_fifty_points(case, tmp_path):
    survive(case, tmp_path, 50, 8)


@pytest.mark.parametrize(
    "case", [case if case in ("store", "stage") else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_interrupted_by_ctrl_c(case, tmp_path):
    survive(case, tmp_path, 30, 10, "interrupt")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_at_many_points(case, tmp_path):
    survive(case, tmp_path, 500, 9)
