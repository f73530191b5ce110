#!/bin/sh
# Builds and starts a throw-away MinIO (S3-compatible storage) on loopback, or stops it.
#   minio.sh install        builds the server into the cache, outside the checkout (some minutes, needs Go)
#   minio.sh start [port]   prints the URL for SWITCHYARD_TEST_S3_URL (default port 19000)
#   minio.sh bucket <name> [port]
#   minio.sh stop [port]
set -eu
verb=${1:-}
if [ "$verb" = bucket ]; then bucket=${2:?name}; shift; fi
port=${2:-19000}
cache=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}
server=$cache/minio/minio
dir=${TMPDIR:-/tmp}/switchyard-minio-$port

case $verb in
  install)
    [ -x "$server" ] && exit 0
    command -v go >/dev/null || { echo 'Go is not installed; it builds MinIO' >&2; exit 1; }
    mkdir -p "$cache/minio"
    GOBIN="$cache/minio" go install github.com/minio/minio@latest
    ;;
  start)
    [ -x "$server" ] || { echo 'MinIO is not built; run minio.sh install' >&2; exit 1; }
    mkdir -m 700 "$dir" 2>/dev/null || [ -O "$dir" ] || { echo "another user's MinIO folder is in the way" >&2; exit 1; }
    MINIO_ROOT_USER=switchyard MINIO_ROOT_PASSWORD=switchyard-test MINIO_BROWSER=off MINIO_UPDATE=off \
      "$server" server --quiet --address "127.0.0.1:$port" "$dir/data" > "$dir/log" 2>&1 &
    pid=$!
    echo "$pid" > "$dir/pid"
    tries=0
    until curl -sf -o /dev/null "http://127.0.0.1:$port/minio/health/ready"; do
      tries=$((tries + 1))
      [ "$tries" -lt 150 ] && kill -0 "$pid" 2>/dev/null || { echo 'MinIO did not start:' >&2; tail -5 "$dir/log" >&2; exit 1; }
      sleep 0.1
    done
    echo "http://switchyard:switchyard-test@127.0.0.1:$port"
    ;;
  bucket)
    curl -sf -X PUT --aws-sigv4 aws:amz:us-east-1:s3 -u switchyard:switchyard-test "http://127.0.0.1:$port/$bucket"
    ;;
  stop)
    [ -s "$dir/pid" ] && kill "$(cat "$dir/pid")" 2>/dev/null || true
    rm -rf "$dir"
    ;;
  *)
    echo 'usage: minio.sh install | start|stop [port] | bucket <name> [port]' >&2
    exit 2
    ;;
esac
