/** STOMP 1.0, 1.1 and 1.2 for the listeners: how to recognise a peer, and how to open it. */
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import type { ProtocolAdapter } from "../../src/transport/wire.ts";
import { StompConnection } from "./connection.ts";
import { registerStompDecoder } from "./neutral.ts";
import { DEFAULT_OPTIONS, type StompOptions } from "./options.ts";

const CONNECT = Buffer.from("CONNECT", "latin1");
const STOMP = Buffer.from("STOMP", "latin1");
const LF = 0x0a;
const CR = 0x0d;
/** Letters that tell STOMP from every other protocol. */
const ENOUGH = 4;

export interface StompAdapter extends ProtocolAdapter {
  /** Other settings, for connections that come from now on. */
  configure(settings: Partial<StompOptions>): void;
}

export function createAdapter(
  services: ProtocolServices,
  settings: Partial<StompOptions> = {},
): StompAdapter {
  let options: StompOptions = { ...DEFAULT_OPTIONS, ...settings };
  registerStompDecoder();
  return {
    name: "stomp",
    subProtocols: ["v12.stomp", "v11.stomp", "v10.stomp"],
    sniff,
    open: (wire) => new StompConnection(services, options, wire),
    configure: (changes) => {
      options = { ...options, ...changes };
    },
  };
}

/** "CONN…" or "STOM…", after any line ends. */
export function sniff(bytes: Buffer, start: number, end: number): "yes" | "no" | "more" {
  let at = start;
  while (at < end && (bytes[at] === LF || bytes[at] === CR)) at++;
  if (at === end) return "more";
  const word = bytes[at] === STOMP[0] ? STOMP : CONNECT;
  for (let i = 0; i < ENOUGH; i++) {
    if (at + i === end) return "more";
    if (bytes[at + i] !== word[i]) return "no";
  }
  return "yes";
}
