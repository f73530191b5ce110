#!/usr/bin/env bash
# Builds the virtual environment of the MLflow client suite, which also has the server of the load test, outside the
# checkout and prints its folder on the last line. Idempotent.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../venv.sh"
build_venv mlflow
echo "$venv"
