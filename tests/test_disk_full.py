"""On a full disk: one error that names the file, the old result as it was, nothing half written, no crash at exit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("disk_full.py")
WRITERS = ["events.fits", "events.fits.gz", "report.html", "response.zarr", "results", "runs", "sigma=0.1.npz", "stage"]

pytest.importorskip("resource", reason="limits of file sizes are set by POSIX systems")


def check(folder, limit):
    command = [sys.executable, str(SCRIPT), str(folder), limit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == WRITERS
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("limit", ["500", pytest.param("20000", marks=pytest.mark.slow)])
def test_every_writer_says_why_it_failed_and_leaves_the_old(limit, tmp_path):
    check(tmp_path, limit)


def test_a_file_system_that_is_full(tmp_path):
    mounted = os.name == "posix" and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system needs permission")
    try:
        check(tmp_path, "all")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
