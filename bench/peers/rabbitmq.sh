#!/usr/bin/env bash
# RabbitMQ from Debian, with its plugins for AMQP 1.0, STOMP and MQTT, each on a port of its own:
# PORT AMQP, PORT+1 STOMP, PORT+2 MQTT. Durable classic queues: synced in groups before the confirm.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PATH=$PATH:/usr/sbin
case "${1:-}" in
  setup) debian rabbitmq-server rabbitmq-server ;;
  version) echo "RabbitMQ-$(dpkg-query -W -f '${Version}' rabbitmq-server | cut -d- -f1)" ;;
  run)
    data=$LAB/rabbitmq-$PORT; rm -rf "$data"; mkdir -p "$data"
    cat >"$data/rabbitmq.conf" <<CONF
listeners.tcp.1 = $HOST:$PORT
stomp.listeners.tcp.1 = $HOST:$((PORT + 1))
mqtt.listeners.tcp.1 = $HOST:$((PORT + 2))
vm_memory_high_watermark.absolute = 6GB
log.console.level = warning
CONF
    echo '[rabbitmq_amqp1_0,rabbitmq_stomp,rabbitmq_mqtt].' >"$data/enabled_plugins"
    export RABBITMQ_BASE=$data RABBITMQ_MNESIA_BASE=$data/mnesia RABBITMQ_LOG_BASE=$data/log \
      RABBITMQ_CONFIG_FILE=$data/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$data/enabled_plugins HOME=$data \
      RABBITMQ_NODENAME=bench$PORT@localhost RABBITMQ_DIST_PORT=$((PORT + 3)) ERL_EPMD_ADDRESS=$HOST \
      RABBITMQ_CONF_ENV_FILE=/dev/null
    exec /usr/lib/rabbitmq/bin/rabbitmq-server ;;
  *) echo "usage: $0 setup|version|run" >&2; exit 2 ;;
esac
