/** What we say and accept in `open` (spec protocols.md §6.3). */
import type { BrokerFacade, ConnectRequest } from "../../src/broker/facade.ts";
import { type Open, openFrame } from "./codec/performatives.ts";
import { mapGet, string, symbol, TRUE, uint, type Value } from "./codec/value.ts";
import { CONDITION, type ErrorInfo } from "./errors.ts";
import type { Amqp1Settings } from "./settings.ts";

/** Always offered: Qpid JMS enables its features by them. */
const OFFERED = [
  "ANONYMOUS-RELAY",
  "DELAYED_DELIVERY",
  "SHARED-SUBS",
  "sole-connection-for-container",
] as const;
const SOLE_CONNECTION = "sole-connection-for-container";
const CHANNEL_MAX = 2047;

export interface OpenAnswer {
  readonly channelMax: number;
  accepted(): Value;
  /** Followed by `close`: peers that see the property wait for it. */
  refused(): Value;
}

/** `open` null: the peer's could not be read. */
export function answerOpen(
  broker: BrokerFacade,
  settings: Amqp1Settings,
  open: Open | null,
): OpenAnswer {
  const channelMax = Math.min(
    open?.channelMax ?? 0xffff,
    CHANNEL_MAX,
    broker.limits.maxSessionsPerConnection - 1,
  );
  const properties: Array<readonly [Value, Value]> = [
    [symbol("product"), string("Sluice")],
    [symbol("version"), string(broker.version)],
    [symbol("platform"), string(`Node.js ${process.versions.node}`)],
    [symbol("node"), string(broker.nodeName)],
    [symbol("cluster_name"), string(broker.nodeName)],
  ];
  if (open?.desiredCapabilities.includes(SOLE_CONNECTION)) {
    properties.push([symbol("sole-connection-detection-policy"), uint(0)]);
  }
  const frame = (extra: ReadonlyArray<readonly [Value, Value]>): Value =>
    openFrame({
      containerId: broker.nodeName,
      maxFrameSize: settings.maxFrameBytes,
      channelMax,
      idleTimeoutMs: settings.idleTimeoutMs >> 1,
      offeredCapabilities: OFFERED,
      properties: [...extra, ...properties],
    });
  return {
    channelMax,
    accepted: () => frame([]),
    refused: () => frame([[symbol("amqp:connection-establishment-failed"), TRUE]]),
  };
}

/** Values that no connection can have. */
export function refusalOf(open: Open, minFrameBytes: number, minIdleMs: number): ErrorInfo | null {
  if (open.maxFrameSize < minFrameBytes) {
    return {
      condition: CONDITION.FRAME_SIZE_TOO_SMALL,
      description: `open.max-frame-size is ${open.maxFrameSize}, at least ${minFrameBytes} is needed.`,
    };
  }
  if (open.idleTimeoutMs > 0 && open.idleTimeoutMs < minIdleMs) {
    return {
      condition: CONDITION.INVALID_FIELD,
      description: `open.idle-time-out is ${open.idleTimeoutMs} ms, at least ${minIdleMs} ms is needed.`,
      info: { "invalid-field": "idle-time-out" },
    };
  }
  return null;
}

/** The tenant: sasl-init's hostname before open's; only `vhost:NAME` names one. */
export function namespaceOf(saslHostname: string, hostname: string): string {
  for (const name of [saslHostname, hostname]) {
    if (name.startsWith("vhost:") && name.length > 6) return name.slice(6);
  }
  return "/";
}

export function clientIdPolicyOf(open: Open): ConnectRequest["clientIdPolicy"] {
  if (!open.desiredCapabilities.includes(SOLE_CONNECTION)) return "coexist";
  const policy = mapGet(open.properties, "sole-connection-enforcement-policy");
  return policy?.value === 1 ? "close-existing" : "refuse";
}
