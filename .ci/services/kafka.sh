#!/bin/sh
# Starts a throw-away Kafka (one node, KRaft, loopback only) or stops it. Needs Java 17 and Maven.
#   kafka.sh install          copies the broker's jars into the cache, outside the checkout
#   kafka.sh start [port]     prints the bootstrap address for SWITCHYARD_TEST_KAFKA_URL (default port 19092)
#   kafka.sh kill [port]      ends the broker at once and keeps its data; `start` goes on with it
#   kafka.sh restart [port]
#   kafka.sh stop [port]      ends the broker and removes its data
#   kafka.sh join [port]      starts a second broker of the same cluster; `leave` ends it
# The controller listens on the port behind the broker's, the second broker on the one behind that. Who connects through
# a proxy on port + 21 to port + 20 is told the proxy's address. Topics are made when they are first used, unless KAFKA_AUTO_CREATE is false.
# With KAFKA_ACLS=true the broker knows access control lists; what none speaks of is allowed to everyone.
set -eu
verb=${1:-}
port=${2:-19092}
version=3.9.1
cache=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}
lib=$cache/kafka-$version
dir=${TMPDIR:-/tmp}/switchyard-kafka-$port

install() {
  [ -d "$lib" ] && return
  command -v mvn >/dev/null || { echo 'Maven is not installed; apt-get install maven' >&2; exit 1; }
  mkdir -p "$cache"
  build=$(mktemp -d "$cache/kafka-build.XXXXXX")
  cat > "$build/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>switchyard</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
XML
  mvn -q -B -f "$build/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$build/lib" >&2
  # Whole or not at all, also when two come at once.
  mv -T "$build/lib" "$lib" 2>/dev/null || [ -d "$lib" ]
  rm -rf "$build"
}

# A broker that is soon ready, on little memory. KAFKA_JVM=-Xmx512m gives Java's own choices: who measures wants a broker that
# is compiled as well as one that has run for days.
jvm="${KAFKA_JVM:--Xms64m -Xmx320m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}
  -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"

# Of the broker, or with the argument 2 of the second one.
alive() { [ -s "$dir/pid${1:-}" ] && kill -0 "$(cat "$dir/pid${1:-}")" 2>/dev/null; }

start() {
  install
  mkdir -m 700 "$dir" 2>/dev/null || [ -O "$dir" ] || { echo "another user's Kafka folder is in the way" >&2; exit 1; }
  if alive; then echo "127.0.0.1:$port"; return; fi
  if [ ! -s "$dir/server.properties" ]; then
    cat > "$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,PROXIED://127.0.0.1:$((port + 20)),CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port,PROXIED://127.0.0.1:$((port + 21))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
num.partitions=3
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=2
auto.create.topics.enable=${KAFKA_AUTO_CREATE:-true}
${KAFKA_ACLS:+authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true}
PROPERTIES
    format "$dir/server.properties"
  fi
  launch "$dir/server.properties" ''
  echo "127.0.0.1:$port"
}

join() {
  alive || { echo 'the first broker does not run' >&2; exit 1; }
  alive 2 && return
  if [ ! -s "$dir/second.properties" ]; then
    cat > "$dir/second.properties" <<PROPERTIES
process.roles=broker
node.id=2
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$((port + 2))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data2
num.network.threads=2
num.io.threads=2
PROPERTIES
    format "$dir/second.properties"
  fi
  launch "$dir/second.properties" 2
}

format() {
  # shellcheck disable=SC2086 # several options
  java $jvm -cp "$lib/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg -c "$1" > "$dir/log" 2>&1 \
    || { echo 'Kafka could not format its folder:' >&2; tail -5 "$dir/log" >&2; exit 1; }
}

# launch <properties> <'' or 2>
launch() {
  # What the one before said is not what this one says.
  : > "$dir/log$2"
  # shellcheck disable=SC2086
  java $jvm -cp "$lib/*" kafka.Kafka "$1" > "$dir/log$2" 2>&1 &
  pid=$!
  echo "$pid" > "$dir/pid$2"
  tries=0
  until grep -q 'Kafka Server started' "$dir/log$2"; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] && kill -0 "$pid" 2>/dev/null || { echo 'Kafka did not start:' >&2; tail -5 "$dir/log$2" >&2; kill "$pid" 2>/dev/null; exit 1; }
    sleep 0.1
  done
}

# end <signal> <'' or 2>
end() {
  alive "$2" || return 0
  kill -"$1" "$(cat "$dir/pid$2")" 2>/dev/null || true
  tries=0
  while alive "$2" && [ "$tries" -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
  rm -f "$dir/pid$2"
}

case $verb in
  install) install ;;
  start) start ;;
  kill) end KILL '' ;;
  restart) end TERM ''; start ;;
  join) join ;;
  leave) end TERM 2 ;;
  stop) end KILL 2; end KILL ''; rm -rf "$dir" ;;
  *)
    echo 'usage: kafka.sh install | start|kill|restart|join|leave|stop [port]' >&2
    exit 2
    ;;
esac
