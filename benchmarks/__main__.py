"""Run the benchmarks one after the other: ``python -m benchmarks [name ...]``.

Each runs in a process of its own, so that imports and caches of one do not help the next. The comparison with
GammaBayes takes minutes and installs that program; run it by hand, ``python benchmarks/gammabayes/compare.py``.
"""

import subprocess
import sys

NAMES = (
    "folding",
    "simulation",
    "likelihood",
    "spectra",
    "gpu",
    "live_shapes",
    "shapes",
    "scans",
    "psf_scale",
    "halo",
    "many_sources",
    "scalar_singlet",
    "point_source",
    "gammapy_fit",
    "quickstart",
)


def main() -> int:
    names = sys.argv[1:] or NAMES
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"unknown benchmarks {unknown}; there are {list(NAMES)}", file=sys.stderr)
        return 2
    return max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main())
