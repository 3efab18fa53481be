"""The environment that GammaBayes 0.1.9 needs, which pymc_gamma cannot share.

The peer requires exact versions of astropy, scipy, gammapy and dynesty, which exist for Python 3.11 and 3.12
and work with NumPy 1 only.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PYTHONS = ("3.11", "3.12")
PEER_VERSION = "0.1.9"
#: Exact versions are GammaBayes' own requirements; the upper limits are what those still work with.
PINS = (
    f"GammaBayes=={PEER_VERSION}",
    "astropy==5.3.4",
    "scipy==1.11.3",
    "gammapy==1.1",
    "dynesty==2.1.2",
    "numpy<2",
    "matplotlib<3.10",
    "pandas<3",
)


class ComparisonError(RuntimeError):
    """The comparison cannot be run; the message says what to do."""


def interpreter_version(python: str) -> str | None:
    """Return ``"major.minor"`` of an interpreter, or None if it does not start."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def find_base_python() -> str:
    """Return a Python that the peer can run on.

    Raises
    ------
    ComparisonError
        If there is none on the PATH.
    """
    for candidate in (*(shutil.which(f"python{version}") for version in PYTHONS), sys.executable):
        if candidate and interpreter_version(candidate) in PYTHONS:
            return candidate
    raise ComparisonError(
        f"GammaBayes {PEER_VERSION} needs Python {' or '.join(PYTHONS)}, and none is on the PATH. Install "
        "one, or give --peer-python an interpreter that has the peer, or --reuse the file of an earlier run."
    )


def has_peer(python: Path) -> bool:
    """Return whether an interpreter can import the peer, in the version compared."""
    code = "from importlib.metadata import version; import gammabayes.hyper_inference; print(version('GammaBayes'))"
    try:
        answer = subprocess.run([python, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return answer.stdout.split()[-1:] == [PEER_VERSION]


def ensure_peer(environment: Path) -> Path:
    """Return the interpreter of the peer's environment, making the environment when it is missing.

    Parameters
    ----------
    environment : pathlib.Path
        Folder of the environment.

    Raises
    ------
    ComparisonError
        If there is no suitable Python, or the peer cannot be installed or imported.
    """
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if has_peer(python):
        return python
    base = find_base_python()
    print(
        f"Installing GammaBayes {PEER_VERSION} into {environment}; takes minutes.",
        file=sys.stderr,
        flush=True,
    )
    try:
        subprocess.run([base, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS], check=True)
    except subprocess.CalledProcessError as error:
        raise ComparisonError(
            f"The peer's environment could not be made: `{' '.join(map(str, error.cmd))}` failed with exit "
            f"status {error.returncode}, see above. It needs a package index and 1 GB of disk. Remove "
            f"{environment} before trying again, or --reuse the JSON file of an earlier run."
        ) from error
    if not has_peer(python):
        raise ComparisonError(
            f"GammaBayes {PEER_VERSION} was installed into {environment} but does not import; "
            f"`{python} -c 'import gammabayes.hyper_inference'` says why."
        )
    return python
