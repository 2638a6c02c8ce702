#!/usr/bin/env bash
# rumqttd from crates.io (not --locked: its lock holds a crate that newer compilers refuse). MQTT. A log in memory, per topic filter; nothing is on disk, and what is too far behind is dropped.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
V=0.20.0
case "${1:-}" in
  setup) [ -x "$LAB/rumqttd/bin/rumqttd" ] || cargo install -q --root "$LAB/rumqttd" --version $V rumqttd >&2 ;;
  version) echo "rumqttd-$V" ;;
  run)
    config=$LAB/rumqttd-$PORT.toml
    cat >"$config" <<CONF
id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = "v4-1"
listen = "$HOST:$PORT"
next_connection_delay_ms = 1
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480000
max_inflight_count = 1000
dynamic_filters = true
CONF
    exec "$LAB/rumqttd/bin/rumqttd" -q -c "$config" ;;
  *) echo "usage: $0 setup|version|run" >&2; exit 2 ;;
esac
