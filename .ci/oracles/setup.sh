#!/usr/bin/env bash
# Builds the virtual environment of the oracles outside the checkout and prints its folder on the last line.
# Idempotent: a finished environment is kept until requirements.txt or this script changes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../venv.sh"

add_bandit_sample() {
  # Of obp only the sample of the Open Bandit Dataset inside its wheel is used; its own dependencies are from 2021.
  "$venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$venv/obp" obp==0.4.1
  "$venv/bin/python" -m zipfile -e "$venv"/obp/obp-0.4.1-py3-none-any.whl "$venv/obp"
}

build_venv oracles add_bandit_sample
echo "$venv"
