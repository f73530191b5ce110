#!/bin/sh
# Starts a throw-away schema registry (Apicurio, in memory, loopback only), which speaks Confluent's REST, or stops it.
# Needs Java 17 and Maven.
#   schema-registry.sh start [port]   prints the URL for SWITCHYARD_TEST_SCHEMA_REGISTRY_URL (default port 19095)
#   schema-registry.sh stop [port]
set -eu
verb=${1:-}
port=${2:-19095}
version=2.6.13.Final
cache=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}
app=$cache/apicurio-$version
dir=${TMPDIR:-/tmp}/switchyard-schema-registry-$port
url=http://127.0.0.1:$port/apis/ccompat/v7

install() {
  [ -d "$app" ] && return
  command -v mvn >/dev/null || { echo 'Maven is not installed; apt-get install maven' >&2; exit 1; }
  mkdir -p "$cache"
  build=$(mktemp -d "$cache/apicurio-build.XXXXXX")
  mvn -q -B dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" -DoutputDirectory="$build" >&2
  mkdir "$build/app"
  tar xzf "$build/apicurio-registry-app-$version-all.tar.gz" -C "$build/app"
  mv -T "$build/app" "$app" 2>/dev/null || [ -d "$app" ]
  rm -rf "$build"
}

alive() { [ -s "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; }

case $verb in
  start)
    install
    mkdir -p -m 700 "$dir"
    if ! alive; then
      java -Xms64m -Xmx320m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dquarkus.http.host=127.0.0.1 \
        -Dquarkus.http.port="$port" -Dquarkus.log.level=WARN -jar "$app/apicurio-registry-app-$version-runner.jar" > "$dir/log" 2>&1 &
      echo "$!" > "$dir/pid"
    fi
    tries=0
    until curl -sf -o /dev/null "$url/subjects"; do
      tries=$((tries + 1))
      [ "$tries" -lt 900 ] && alive || { echo 'The schema registry did not start:' >&2; tail -5 "$dir/log" >&2; exit 1; }
      sleep 0.2
    done
    echo "$url"
    ;;
  stop)
    if alive; then kill "$(cat "$dir/pid")"; fi
    rm -rf "$dir"
    ;;
  *)
    echo 'usage: schema-registry.sh start | stop [port]' >&2
    exit 2
    ;;
esac
