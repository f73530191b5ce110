#!/usr/bin/env bash
# A throw-away Ray head node on loopback, from PyPI's ray[default].
#   ray.sh install        builds its virtual environment into the cache, outside the checkout
#   ray.sh start [port]   prints the address of its dashboard for SWITCHYARD_TEST_RAY_URL (default port 18265)
#   ray.sh stop [port]
set -euo pipefail
ray=2.60.0
verb=${1:-}
port=${2:-18265}
venv=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}/venvs/ray-$ray
dir=${TMPDIR:-/tmp}/switchyard-ray-$port

case $verb in
  install)
    [ ! -e "$venv/.done" ] || exit 0
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check "ray[default]==$ray" >&2
    touch "$venv/.done"
    ;;
  start)
    [ -e "$venv/.done" ] || { echo 'Ray is not installed; run ray.sh install' >&2; exit 1; }
    mkdir -m 700 "$dir" 2>/dev/null || { echo "$dir is in the way; ray.sh stop $port" >&2; exit 1; }
    # --block: all of its processes are children of this one, and go with it.
    # Without tokens, whatever other programs of Ray have left in ~/.ray.
    RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1 RAY_JOB_STOP_WAIT_TIME_S=2 PATH="$venv/bin:$PATH" \
      "$venv/bin/ray" start --head --block --disable-usage-stats --node-ip-address 127.0.0.1 --port "$((port + 1))" \
      --min-worker-port "$((port + 20))" --max-worker-port "$((port + 400))" --ray-client-server-port "$((port + 2))" \
      --dashboard-agent-listen-port "$((port + 3))" --dashboard-host 127.0.0.1 --dashboard-port "$port" --num-cpus 4 --object-store-memory 80000000 \
      --temp-dir "$dir/ray" > "$dir/log" 2>&1 < /dev/null &
    pid=$!
    echo "$pid" > "$dir/pid"
    tries=0
    until curl -sf -o /dev/null "http://127.0.0.1:$port/api/jobs/"; do
      tries=$((tries + 1))
      [ "$tries" -lt 600 ] && kill -0 "$pid" 2>/dev/null || { echo 'Ray did not start:' >&2; tail -n 5 "$dir/log" >&2; exit 1; }
      sleep 0.2
    done
    echo "http://127.0.0.1:$port"
    ;;
  stop)
    if [ -s "$dir/pid" ]; then
      pid=$(cat "$dir/pid")
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
      kill -9 "$pid" 2>/dev/null || true
    fi
    rm -rf "$dir"
    ;;
  *)
    echo 'usage: ray.sh install | start|stop [port]' >&2
    exit 2
    ;;
esac
