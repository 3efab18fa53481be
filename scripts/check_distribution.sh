#!/usr/bin/env bash
# Build wheel and sdist into dist/, and see that what would be published works without this checkout: the wheel is
# installed into an empty environment, where the command and the example of the README run from another folder.
#
#   scripts/check_distribution.sh PYTHON      PYTHON: one that has the package "build"
#
# PIP_ARGS are passed on to pip, for mirrors.
set -euo pipefail

python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/.."
checkout=$PWD

rm -rf dist
"$python" -m build --outdir dist . # the wheel is built from the sdist, so the sdist is complete
wheels=(dist/*.whl)

"$python" - "${wheels[0]}" <<'CHECK'
import subprocess, sys, zipfile

shipped = set(zipfile.ZipFile(sys.argv[1]).namelist())
tracked = subprocess.run(["git", "ls-files", "pymc_gamma"], check=True, capture_output=True, text=True).stdout.split()
missing = [path for path in tracked if path not in shipped]
if missing:
    sys.exit(f"{sys.argv[1]} lacks {missing}")
CHECK

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/environment"
# shellcheck disable=SC2086 # several arguments
"$folder/environment/bin/python" -m pip install --quiet --disable-pip-version-check ${PIP_ARGS:-} "${wheels[0]}"

cp examples/quickstart.py "$folder"
cd "$folder"
unset PYTHONPATH
where=$(environment/bin/python -c 'import pymc_gamma; print(pymc_gamma.__file__)')
case "$where" in
    "$checkout"/*) echo "the checkout was imported: $where" >&2 && exit 1 ;;
esac
MPLBACKEND=Agg environment/bin/python quickstart.py
environment/bin/pymc-gamma quickstart --output quickstart
ls quickstart
echo "built: $(cd "$checkout" && echo dist/*)"
