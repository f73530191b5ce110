#!/usr/bin/env bash
# Compares our drift statistics with SciPy, evidently, nannyml and datasketches on the same windows.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$("$here/setup.sh" | tail -n 1)
cd "$here"
NML_DISABLE_USAGE_LOGGING=1 "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$here" "$here" "$@"
