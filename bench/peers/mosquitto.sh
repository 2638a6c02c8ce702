#!/usr/bin/env bash
# Eclipse Mosquitto from Debian. MQTT. Messages are kept in memory; the store is written every half hour and at exit.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PATH=$PATH:/usr/sbin
case "${1:-}" in
  setup) debian mosquitto mosquitto ;;
  version) { mosquitto -h || true; } | sed -n '1s/mosquitto version /Mosquitto-/p' ;;
  run)
    data=$LAB/mosquitto-$PORT; rm -rf "$data"; mkdir -p "$data"
    # Its defaults drop messages of a slow subscriber beyond 1,000 and hold 20 unconfirmed.
    cat >"$data/mosquitto.conf" <<CONF
listener $PORT $HOST
allow_anonymous true
persistence true
persistence_location $data/
max_queued_messages 0
max_inflight_messages 1000
CONF
    # Started as root it would become another user, who cannot write here.
    [ "$(id -u)" = 0 ] && echo "user root" >>"$data/mosquitto.conf"
    exec mosquitto -c "$data/mosquitto.conf" ;;
  *) echo "usage: $0 setup|version|run" >&2; exit 2 ;;
esac
