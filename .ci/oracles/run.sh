#!/usr/bin/env bash
# Compares our statistics, policies and estimators with SciPy, mabwiser, spotify-confidence and the Open Bandit sample.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$("$here/setup.sh" | tail -n 1)
cd "$here"
OPEN_BANDIT=$venv/obp/obp/dataset/obd "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$here" "$here" --ignore "$here/drift" "$@"
