"""The headline of arXiv:2401.13876: 10^8 events of CTAO, from nothing to a posterior of mass and cross-section.

Runs ``examples/scalar_singlet.py`` in a process of its own, without the data set ``z2-darksusy`` for the channel W:
once with the 525 h of the paper, of which the Fisher information is that of a mass to 0.1 TeV, and once with the
exposure and the threshold with which as many events know the mass as well as the paper states.
"""

import re
import subprocess
import sys
from pathlib import Path

from benchmarks._timing import Figures
from pymc_gamma import datasets
from pymc_gamma.errors import PymcGammaError

EXAMPLE = Path(__file__).parents[1] / "examples" / "scalar_singlet.py"


def options() -> list[str]:
    """Options of the example for the data that are there."""
    try:
        datasets.path("z2-darksusy")
    except (PymcGammaError, OSError):
        return ["--channel", "W"]
    return []


def main() -> None:
    for hours in (6000, 525):
        command = [sys.executable, str(EXAMPLE), "--hours", str(hours), *options()]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(told)
        seconds, memory = (float(one) for one in re.findall(r"(\d+) s +([\d.]+) GB  sampled", told)[0])
        low, high = (float(one) for one in re.findall(r"mass +([\d.]+) to ([\d.]+)", told)[0])
        figures = Figures(f"scalar singlet of 1 TeV, 10^8 events in {hours} h: {' '.join(options()) or 'darkSUSY'}")
        figures.add("nothing to posterior", "<= 20 min", f"{seconds / 60:.1f} min", seconds <= 1200)
        figures.add("peak memory", "<= 12 GB", f"{memory:.1f} GB", memory <= 12)
        good = low < 1 < high and high - low <= 0.11
        figures.add("95 % of the mass", "0.11 TeV wide, with 1", f"{low:.3f}-{high:.3f} TeV", good)
        figures.show()


if __name__ == "__main__":
    main()
