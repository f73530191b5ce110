#!/usr/bin/env bash
# A real Triton Inference Server (2.51, CPU, Python backend) for the service tests, from a PyPI wheel.
#
#   triton.sh install    fetch and unpack it into the cache folder, once
#   triton.sh run        install, then become the server (exec: the caller's child is Triton itself)
#
# Ports: TRITON_HTTP_PORT (18000), TRITON_GRPC_PORT (18001), TRITON_METRICS_PORT (18002), loopback only.
# Cache: SWITCHYARD_CACHE, else ~/.cache/switchyard. Needs Python 3.9 to 3.12 with its shared library.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
home=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}/triton-2.51-py$version
server=$home/wheel/pytriton/tritonserver

install() {
  [ -e "$home/complete" ] && return
  mkdir -p "$(dirname "$home")"
  # Unpacked in a folder of its own and renamed, so that a cut-off installation is never taken for a whole one.
  local work
  work=$(mktemp -d "$home.XXXXXX")
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" nvidia-pytriton==0.7.0
  "$python" -m zipfile -e "$work"/nvidia_pytriton-*.whl "$work/wheel"
  rm "$work"/nvidia_pytriton-*.whl
  "$python" -m pip install --quiet --disable-pip-version-check --target "$work/packages" numpy==1.26.4
  local unpacked=$work/wheel/pytriton/tritonserver
  cp "$unpacked/python_backend_stubs/$version/triton_python_backend_stub" "$unpacked/backends/python/"
  chmod +x "$unpacked/bin/tritonserver" "$unpacked/backends/python/triton_python_backend_stub"
  touch "$work/complete"
  # Another run may have been faster; either result is whole.
  mv -T "$work" "$home" 2>/dev/null || rm -rf "$work"
}

run() {
  install
  libraries=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')
  export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export TRITON_PYTHON_PACKAGES="$home/packages"
  export PYTHONDONTWRITEBYTECODE=1
  # A Triton that was killed leaves its workers' shared memory behind; the next one on the same port takes it away.
  local region=switchyard_triton_${TRITON_GRPC_PORT:-18001}
  rm -f /dev/shm/"${region}"_*
  exec "$server/bin/tritonserver" \
    --model-repository="$here/triton/models" \
    --backend-directory="$server/backends" \
    --backend-config=python,shm-region-prefix-name="${region}_" \
    --http-address=127.0.0.1 --http-port="${TRITON_HTTP_PORT:-18000}" \
    --grpc-address=127.0.0.1 --grpc-port="${TRITON_GRPC_PORT:-18001}" \
    --metrics-address=127.0.0.1 --metrics-port="${TRITON_METRICS_PORT:-18002}" \
    --exit-timeout-secs=2 --log-verbose=0
}

case "${1:-}" in
  install) install ;;
  run) run ;;
  *)
    echo "usage: $0 install|run" >&2
    exit 2
    ;;
esac
