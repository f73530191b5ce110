#!/usr/bin/env bash
# Builds the virtual environment of the client suites outside the checkout and prints its folder on the last line.
# Idempotent: a finished environment is kept until requirements.txt or this script changes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../venv.sh"

add_message_classes() {
  # The stubs need TensorFlow's message classes and nothing else of it; silero-vad's model needs no torch. So the
  # wheels are fetched without their dependencies and only what is used of them is unpacked.
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  wheels=$(mktemp -d)
  trap 'rm -rf "$wheels"' EXIT
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps tensorflow-serving-api==2.19.1
  "$venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$wheels" tensorflow-cpu==2.19.1 silero-vad==6.2.3
  "$venv/bin/python" - "$wheels" "$site" <<'PY'
import re, sys, zipfile
from pathlib import Path

wheels, site = map(Path, sys.argv[1:])
wanted = {"tensorflow_cpu": re.compile(r"tensorflow/.*_pb2\.py$"), "silero_vad": re.compile(r"silero_vad/data/.*\.onnx$")}
for package, pattern in wanted.items():
    with zipfile.ZipFile(next(wheels.glob(f"{package}*.whl"))) as wheel:
        wheel.extractall(site, [name for name in wheel.namelist() if pattern.search(name)])
PY
}

build_venv clients add_message_classes
echo "$venv"
