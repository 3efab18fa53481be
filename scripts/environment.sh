#!/usr/bin/env bash
# Make the virtual environment of this checkout and install the package into it.
#
#   scripts/environment.sh FOLDER [EXTRA]     EXTRA: test, lint, docs, dist, jax or notebook
#
# Uses uv where there is one, else pip and any Python of 3.12 or later. PYTHON=/path/to/python chooses one.
set -euo pipefail

folder=$1
extra=${2:-}
cd "$(dirname "$0")/.."

fits() { # a Python of 3.12 or later that can make virtual environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" && echo "$PYTHON" && return
        echo "PYTHON=$PYTHON is not a Python of 3.12 or later with the modules venv and ensurepip." >&2
        return 1
    fi
    for candidate in python3.13 python3.12 python3.14 python python3; do
        if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    if command -v pyenv >/dev/null 2>&1; then # installed by pyenv, but not the version it has switched to
        for candidate in $(pyenv versions --bare 2>/dev/null); do
            candidate="$(pyenv prefix "$candidate" 2>/dev/null)/bin/python" || continue
            if fits "$candidate"; then
                echo "$candidate"
                return
            fi
        done
    fi
    cat >&2 <<'MESSAGE'
pymc_gamma needs Python 3.12 or later, and none was found.

Any one of these helps:
  * install uv (it brings its own Python), then run make again
  * install Python 3.12 or later from your system's packages, with its venv module
    (on Debian and Ubuntu: python3.13 and python3.13-venv)
  * name one: make PYTHON=/path/to/python ...
MESSAGE
    return 1
}

# An environment whose Python is gone (moved folder, upgraded system) is of no use: start again.
if [ -e "$folder" ] && ! "$folder/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
    if [ ! -e "$folder/pyvenv.cfg" ] && [ -n "$(ls -A "$folder" 2>/dev/null)" ]; then
        echo "$folder exists and is not a virtual environment; move it away." >&2
        exit 1
    fi
    rm -rf "$folder"
fi

target=.${extra:+[$extra]}
if command -v uv >/dev/null 2>&1; then
    [ -e "$folder/bin/python" ] || uv venv --quiet --python "${PYTHON:->=3.12}" "$folder"
    echo "Installing pymc_gamma${extra:+ with what '$extra' needs} into $folder (first time: a minute or two) ..."
    uv pip install --quiet --python "$folder/bin/python" --editable "$target"
else
    if [ ! -e "$folder/bin/python" ]; then
        python=$(find_python)
        echo "Making $folder with $("$python" --version) ..."
        "$python" -m venv "$folder"
    fi
    echo "Installing pymc_gamma${extra:+ with what '$extra' needs} into $folder (first time: a few minutes) ..."
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$target"
fi
