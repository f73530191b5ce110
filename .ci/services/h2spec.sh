#!/usr/bin/env bash
# Builds h2spec, the conformance tests of HTTP/2, once into the cache folder and prints the program's path.
# Cache: SWITCHYARD_CACHE, else ~/.cache/switchyard. Needs Go.
set -euo pipefail
home=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}/h2spec-2.2.1
if [ ! -x "$home/h2spec" ]; then
  mkdir -p "$home"
  GOBIN=$home go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible >&2
fi
echo "$home/h2spec"
