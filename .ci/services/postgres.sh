#!/bin/sh
# Starts a throw-away PostgreSQL on loopback, or stops it.
#   postgres.sh start [port]   prints the URL for SWITCHYARD_TEST_POSTGRES_URL (default port 15432)
#   postgres.sh stop [port]
set -eu
verb=${1:-}
port=${2:-15432}
dir=${TMPDIR:-/tmp}/switchyard-postgres-$port
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)

# PostgreSQL refuses to run as root; the Debian package brings a user for it.
as_postgres() { if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

case $verb in
  start)
    [ -n "$bin" ] || { echo 'postgresql is not installed; apt-get install postgresql' >&2; exit 1; }
    mkdir -m 700 "$dir" 2>/dev/null || { echo "$dir is in the way; postgres.sh stop $port" >&2; exit 1; }
    if [ "$(id -u)" -eq 0 ]; then chown postgres "$dir"; fi
    cd "$dir"
    as_postgres "$bin/initdb" -D "$dir/data" -U switchyard -A trust -E UTF8 --no-locale >"$dir/initdb.log" 2>&1 \
      || { tail -5 "$dir/initdb.log" >&2; exit 1; }
    as_postgres "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 30 \
      -o "-p $port -h 127.0.0.1 -k $dir -c max_connections=300" start >/dev/null \
      || { echo 'PostgreSQL did not start:' >&2; tail -5 "$dir/log" >&2; exit 1; }
    echo "postgres://switchyard@127.0.0.1:$port/postgres"
    ;;
  stop)
    [ ! -d "$dir/data" ] || (cd "$dir" && as_postgres "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1) || true
    rm -rf "$dir"
    ;;
  *)
    echo 'usage: postgres.sh start|stop [port]' >&2
    exit 2
    ;;
esac
