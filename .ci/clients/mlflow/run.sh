#!/usr/bin/env bash
# Runs the suites of an unchanged mlflow client against this checkout's build. Arguments go to pytest.
#   SWITCHYARD_REGISTRY_DATABASE   'sqlite' (default) or the URL of an empty PostgreSQL database
#   SWITCHYARD_REGISTRY_ARTIFACTS  a file with the section registry.artifacts as YAML flow text (default: files)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
venv=$("$here/setup.sh" | tail -n 1)
work=$(mktemp -d)
token=mlflow-suite-token-0123456789

read -r http grpc metrics admin < <("$venv/bin/python" -c '
import socket
sockets = [socket.socket() for _ in range(4)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in sockets])')
cat > "$work/switchyard.yaml" <<YAML
server: {httpPort: $http, grpcPort: $grpc, metricsPort: $metrics, adminPort: $admin, adminToken: $token}
models: {source: registry}
registry:
  webhooks: {schemes: [https, http], privateHosts: [127.0.0.1]}
  database: ${SWITCHYARD_REGISTRY_DATABASE:-sqlite}
  artifacts: $(if [ -n "${SWITCHYARD_REGISTRY_ARTIFACTS:-}" ]; then cat "$SWITCHYARD_REGISTRY_ARTIFACTS"; else echo '{}'; fi)
dataDir: $work/data
YAML
node "$root/dist/cli/main.js" serve --config "$work/switchyard.yaml" > "$work/serve.log" 2>&1 &
server=$!
export SWITCHYARD_PID=$server
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
  if curl -sf -o /dev/null "http://127.0.0.1:$admin/health/ready"; then break; fi
  kill -0 "$server"
  sleep 0.1
done

# A server error is a failure of ours, not something to be patient with.
export MLFLOW_TRACKING_URI=http://127.0.0.1:$admin MLFLOW_TRACKING_TOKEN=$token MLFLOW_HTTP_REQUEST_MAX_RETRIES=0
export SWITCHYARD_HTTP=127.0.0.1:$http
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true GIT_PYTHON_REFRESH=quiet
cd "$here"
"$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$here" "$@"
