#!/bin/sh
# Starts a throw-away Redis on loopback, or stops it.
#   redis.sh start [port]   prints the URL for SWITCHYARD_TEST_REDIS_URL (default port 16379)
#   redis.sh stop [port]
set -eu
verb=${1:-}
port=${2:-16379}
dir=${TMPDIR:-/tmp}/switchyard-redis-$port

case $verb in
  start)
    command -v redis-server >/dev/null || { echo 'redis-server is not installed; apt-get install redis-server' >&2; exit 1; }
    mkdir -m 700 "$dir" 2>/dev/null || [ -O "$dir" ] || { echo "another user's Redis folder is in the way" >&2; exit 1; }
    redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --daemonize yes \
      --dir "$dir" --pidfile "$dir/pid" --logfile "$dir/log" >/dev/null
    tries=0
    until redis-cli -h 127.0.0.1 -p "$port" ping 2>/dev/null | grep -q PONG; do
      tries=$((tries + 1))
      [ "$tries" -lt 50 ] || { echo 'Redis did not start:' >&2; tail -5 "$dir/log" >&2; exit 1; }
      sleep 0.1
    done
    [ -s "$dir/pid" ] || { echo "port $port is taken by another Redis" >&2; exit 1; }
    echo "redis://127.0.0.1:$port"
    ;;
  stop)
    if [ -s "$dir/pid" ]; then
      pid=$(cat "$dir/pid")
      kill "$pid" 2>/dev/null || true
      # It writes into its folder until it is gone.
      tries=0
      while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
    fi
    rm -rf "$dir"
    ;;
  *)
    echo 'usage: redis.sh start|stop [port]' >&2
    exit 2
    ;;
esac
