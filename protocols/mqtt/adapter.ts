/** MQTT 3.1, 3.1.1 and 5.0 as a listener sees them: how to recognise the protocol and how to open a connection. */
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import type { SessionHost } from "../../src/broker/session-facade.ts";
import type { ProtocolAdapter, ProtocolConnection, Wire } from "../../src/transport/wire.ts";
import { MqttConnection } from "./connection.ts";
import { Counters } from "./counters.ts";
import { registerMqttDecoder } from "./neutral.ts";
import type { MqttServer } from "./server.ts";
import { DEFAULT_SETTINGS, type MqttSettings } from "./settings.ts";
import { SharedPackets } from "./shared-packets.ts";
import { SysTree } from "./sys-tree.ts";

const CONNECT = 0x10;

export interface MqttAdapter extends ProtocolAdapter {
  readonly counters: Counters;
  /** Other settings: of connections for those that come from now on, of sessions and shares for all. */
  configure(settings: Partial<MqttSettings>): void;
}

export function createAdapter(
  services: ProtocolServices,
  settings: Partial<MqttSettings> = {},
): MqttAdapter {
  const { sessions } = services.broker;
  registerMqttDecoder();
  const merged = { ...DEFAULT_SETTINGS, ...settings };
  boundSessions(sessions, merged);
  const counters = new Counters();
  services.broker.tally.watch(() => ({
    too_large_for_client: counters.tooLarge,
    unreadable: counters.unreadable,
    refused_silently: counters.refused,
  }));
  const server: MqttServer = {
    services,
    sessions,
    settings: merged,
    counters,
    packets: new SharedPackets(),
    sysTree: new SysTree(services.broker, sessions, counters, merged.sysIntervalMs),
  };
  return {
    name: "mqtt",
    subProtocols: ["mqtt", "mqttv3.1"],
    counters,
    sniff,
    open: (wire: Wire): ProtocolConnection => new MqttConnection(server, wire),
    configure: (changes) => {
      server.settings = { ...server.settings, ...changes };
      boundSessions(sessions, server.settings);
      server.sysTree.intervalMs = server.settings.sysIntervalMs;
    },
  };
}

function boundSessions(sessions: SessionHost, settings: MqttSettings): void {
  const { maxQueued, maxQueuedInMemory, queueOverflow } = settings;
  sessions.shareExpiryMs = settings.sharedExpiryMs;
  sessions.limits = { maxQueued, maxQueuedInMemory, overflow: queueOverflow };
}

/** CONNECT, its remaining length, then the protocol name "MQTT" or "MQIsdp" with its own length. */
export function sniff(bytes: Buffer, start: number, end: number): "yes" | "no" | "more" {
  if (start >= end) return "more";
  if (bytes[start] !== CONNECT) return "no";
  let at = start + 1;
  for (;;) {
    if (at >= end) return "more";
    const byte = bytes[at++]!;
    if (byte < 0x80) break;
    if (at - start > 4) return "no";
  }
  if (at + 1 >= end) return "more";
  const length = (bytes[at]! << 8) | bytes[at + 1]!;
  const name = length === 4 ? "MQTT" : length === 6 ? "MQIsdp" : "";
  if (name === "") return "no";
  for (let i = 0; i < name.length && i < 2; i++) {
    if (at + 2 + i >= end) return "more";
    if (bytes[at + 2 + i] !== name.charCodeAt(i)) return "no";
  }
  return "yes";
}
