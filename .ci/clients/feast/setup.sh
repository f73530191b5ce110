#!/usr/bin/env bash
# Builds the virtual environment of Feast outside the checkout and prints its interpreter on the last line.
# Idempotent: a finished environment is kept until requirements.txt or this script changes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}/venvs/feast
stamp=$(cat "$here/requirements.txt" "$here/setup.sh" | sha256sum | cut -d' ' -f1)

if [ "$(cat "$venv/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
  echo "$stamp" > "$venv/.stamp"
fi
echo "$venv/bin/python"
