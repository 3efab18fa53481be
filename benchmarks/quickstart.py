"""The quick start as a user runs it: a new process, with empty and with filled compilation caches."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._timing import Figures


def run(cache: Path, output: Path) -> float:
    """Seconds of one quick start whose numba and PyTensor caches are in ``cache``."""
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(cache / "numba"),
        "PYTENSOR_FLAGS": f"base_compiledir={cache / 'pytensor'}",
    }
    command = [sys.executable, "-m", "pymc_gamma.cli", "quickstart", "--output", str(output), "--force"]
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    figures = Figures("quick start: 4500 events, posterior, evidence, pictures")
    with tempfile.TemporaryDirectory() as folder:
        cold = run(Path(folder), Path(folder) / "out")
        warm = min(run(Path(folder), Path(folder) / "out") for _ in range(2))
    figures.add("empty caches", "<= 40 s", f"{cold:.1f} s", cold <= 40)
    figures.add("filled caches", "<= 20 s", f"{warm:.1f} s", warm <= 20)
    figures.show()


if __name__ == "__main__":
    main()
