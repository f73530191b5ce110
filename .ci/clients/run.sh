#!/usr/bin/env bash
# Runs the client suites against this checkout's build. Arguments, if any, go to one pytest run instead of them all.
#   SWITCHYARD_CLIENTS_LIBRARY: the socket library that serves them (native, uws, node).
#   SWITCHYARD_HTTP, SWITCHYARD_GRPC and SWITCHYARD_MODELS set: against that running gateway instead.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=$("$here/setup.sh" | tail -n 1)

if [ -z "${SWITCHYARD_HTTP:-}" ]; then
  work=$(mktemp -d)
  "$venv/bin/python" "$here/prepare.py" "$work/models"
  read -r http grpc metrics admin < <("$venv/bin/python" -c '
import socket
sockets = [socket.socket() for _ in range(4)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in sockets])')
  env ${SWITCHYARD_CLIENTS_LIBRARY:+"SWITCHYARD_HTTP=$SWITCHYARD_CLIENTS_LIBRARY"} node "$root/dist/cli/main.js" serve --model-repository "$work/models" --model-control-mode explicit --load-model '*' \
    --data-dir "$work/data" --http-port "$http" --grpc-port "$grpc" --metrics-port "$metrics" --admin-port "$admin" \
    > "$work/serve.log" 2>&1 &
  server=$!
  finish() {
    status=$?
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then tail -n 40 "$work/serve.log"; fi
    rm -rf "$work"
    exit "$status"
  }
  trap finish EXIT
  for _ in $(seq 300); do
    if curl -sf -o /dev/null "http://127.0.0.1:$http/v2/health/ready"; then break; fi
    kill -0 "$server"
    sleep 0.1
  done
  export SWITCHYARD_HTTP=127.0.0.1:$http SWITCHYARD_GRPC=127.0.0.1:$grpc SWITCHYARD_MODELS=$work/models
fi

suite() { "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$here" --ignore "$here/mlflow" "$@"; }
if [ "$#" -gt 0 ]; then
  (cd "$here" && suite "$@")
else
  suite "$here" --ignore "$here/test_kserve.py"
  # KServe's SDK and tritonclient register the same protobuf names: one process cannot hold both.
  suite "$here/test_kserve.py"
fi
