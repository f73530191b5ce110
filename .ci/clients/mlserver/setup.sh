#!/usr/bin/env bash
# Builds the virtual environment of a real MLServer outside the checkout and prints its interpreter on the last line.
# Idempotent: a finished environment is kept until requirements.txt or this script changes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../venv.sh"
build_venv v2-mlserver
echo "$venv/bin/python"
