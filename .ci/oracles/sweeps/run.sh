#!/usr/bin/env bash
# Compares our TPE and ASHA with Optuna's: the best value of a sweep, over seeds. Writes the raw figures where
# SWITCHYARD_SWEEP_FIGURES says. Arguments: number of seeds (default 30).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$("$here/setup.sh" | tail -n 1)
cd "$here/../../.."
# One thread each: the models are too small for more, and the two sides run one after the other.
OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "$venv/bin/python" "$here/compare.py" "${1:-30}"
