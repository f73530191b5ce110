#!/usr/bin/env bash
# Builds the virtual environment of the sweeps' oracle and of the scripts that sweeps run, outside the checkout, and
# prints its folder on the last line. Idempotent: it is kept until requirements.txt or this script changes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../venv.sh"
build_venv sweeps
echo "$venv"
