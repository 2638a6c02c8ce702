#!/usr/bin/env bash
# Apache Artemis from Maven Central; AMQP 1.0, STOMP and MQTT on one port. Durable messages are fdatasynced before the confirm
# (journal-datasync, as shipped); journal NIO; web console off.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
V=2.56.0
DIST=$LAB/apache-artemis-$V
case "${1:-}" in
  setup) [ -d "$DIST" ] || tar xzf "$(fetch_mvn org.apache.artemis:apache-artemis:$V:tar.gz:bin)" -C "$LAB" ;;
  version) echo "Artemis-$V" ;;
  run)
    INSTANCE=$LAB/artemis-$PORT; rm -rf "$INSTANCE"
    "$DIST/bin/artemis" create "$INSTANCE" --silent --user guest --password guest --allow-anonymous --nio \
      --host $HOST --default-port "$PORT" --no-web \
      --no-amqp-acceptor --no-stomp-acceptor --no-mqtt-acceptor --no-hornetq-acceptor --java-memory "$HEAP" >"$LAB/artemis-create.log" 2>&1
    # /queue/NAME and /topic/NAME over STOMP as clients write them; and the guard that stops producers at 90 % disk use is off.
    sed -i -E "s#(tcp://$HOST:$PORT\?[^<]*)<#\1;anycastPrefix=/queue/;multicastPrefix=/topic/<#; s#<max-disk-usage>[0-9]+#<max-disk-usage>100#" "$INSTANCE/etc/broker.xml"
    exec "$INSTANCE/bin/artemis" run ;;
  *) echo "usage: $0 setup|version|run" >&2; exit 2 ;;
esac
