"""Writers on a full disk: ``python disk_full.py FOLDER LIMIT``; prints the name of each that fails as it should.

LIMIT is the size in bytes at which the system refuses to write more into a file. Or it is "all": then FOLDER is a file
system of its own, which is filled up.
"""

import errno
import resource
import sys
from contextlib import suppress
from pathlib import Path
from unittest import mock

import astropy.units as u
import kills
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import pymc_gamma as pmg
from pymc_gamma.analysis import quickstart as workflow
from pymc_gamma.analysis.stages import FAILURE
from pymc_gamma.events import gadf

N_LARGE = 100_000


class Uncompressed(kills.EventFile):
    name = "events.fits"


class Runs:
    name = "runs"

    def __init__(self, path):
        self.path = path
        centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
        self.observation = pmg.Observation(pmg.load_irfs("prod5-south-20deg-50h"), centre, livetime=1 * u.h)

    def write(self, version):
        pmg.write_runs(self.path, kills.some_events(version), self.observation, rng=1, overwrite=True)


def large(_version):
    rng = np.random.default_rng(5)
    return pmg.Events(
        rng.uniform(1, 10, N_LARGE) * u.TeV, rng.random(N_LARGE) * u.deg, rng.random(N_LARGE) * u.deg, frame="galactic"
    )


def content(folder):
    """What there is but for what fills the disk, and for the note of an analysis that a stage failed, which may fit."""
    beside = ("filler", FAILURE)
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in beside}


def fill(folder):
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        for size in (65536, 1):
            with suppress(OSError):
                while filler.write(b"x" * size) == size:
                    pass


def main(folder, limit):
    # several cases of kills may be of one writer
    kinds = {one.name: one for one in (*reversed(kills.CASES.values()), Uncompressed, Runs)}
    writers = [kinds[name](folder / name) for name in sorted(kinds)]
    for one in writers:
        one.write(0)
    before = content(folder)
    expected = errno.ENOSPC if limit == "all" else errno.EFBIG
    if limit == "all":
        fill(folder)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    kills.some_events = large
    for one in writers:
        # The disk may fill up after they have looked, so they must not rely on that.
        with (
            mock.patch.object(workflow, "refuse_full_disk"),
            mock.patch.object(gadf, "refuse_full_disk"),
            pytest.raises(OSError, match="what was there is unchanged") as told,
        ):
            one.write(1)
        assert told.value.errno == expected
        assert told.value.filename == str(one.path)
        assert content(folder) == before, one.name
        print(one.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
