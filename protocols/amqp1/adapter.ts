/** AMQP 1.0 as the listeners see it: how to recognise a peer, and how to open its connection. */
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import type { ProtocolAdapter, ProtocolConnection, Wire } from "../../src/transport/wire.ts";
import { type AdapterShared, AmqpConnection } from "./connection.ts";
import { registerAmqp1Decoder } from "./neutral.ts";
import { LinkReceipts } from "./receipts.ts";
import { type Amqp1Settings, DEFAULT_SETTINGS } from "./settings.ts";
import { SharedTransfers } from "./shared-transfers.ts";

/** "AMQP", then the protocol id (0: AMQP, 3: SASL), then 1.0.0. */
const HEADERS = [
  Buffer.from("AMQP\x00\x01\x00\x00", "latin1"),
  Buffer.from("AMQP\x03\x01\x00\x00", "latin1"),
];

export interface Amqp1Adapter extends ProtocolAdapter {
  /** Other settings, for connections that come from now on. */
  configure(settings: Partial<Amqp1Settings>): void;
}

export function createAdapter(
  services: ProtocolServices,
  settings: Partial<Amqp1Settings> = {},
): Amqp1Adapter {
  registerAmqp1Decoder();
  const all = { ...DEFAULT_SETTINGS, ...settings };
  const shared: AdapterShared = {
    services,
    settings: all,
    frames: new SharedTransfers(),
    receipts: new LinkReceipts(),
    partials: { limitBytes: all.partialBudgetBytes, usedBytes: 0, waiting: [] },
  };
  return {
    name: "amqp1",
    sniff,
    subProtocols: ["amqp", "AMQPWSB10", "binary"],
    open: (wire: Wire): ProtocolConnection => new AmqpConnection(wire, shared),
    configure: (changes) => {
      shared.settings = { ...shared.settings, ...changes };
      shared.partials.limitBytes = shared.settings.partialBudgetBytes;
    },
  };
}

function sniff(bytes: Buffer, start: number, end: number): "yes" | "no" | "more" {
  const length = Math.min(end - start, 8);
  for (const header of HEADERS) {
    if (header.compare(bytes, start, start + length, 0, length) === 0) {
      return length === 8 ? "yes" : "more";
    }
  }
  return "no";
}
