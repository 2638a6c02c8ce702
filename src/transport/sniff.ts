/**
 * Which protocol speaks on a fresh connection? Looks at the first bytes and consumes none (spec protocols.md §1). Pure.
 */
import type { ProtocolAdapter } from "./wire.ts";

export interface SniffOptions {
  readonly adapters: readonly ProtocolAdapter[];
  /** A certificate is configured and TLS has not begun yet. */
  readonly mayStartTls: boolean;
  /** HTTP and WebSocket are served here. */
  readonly isHttp: boolean;
  /** The peer is a trusted proxy and has not introduced its client yet. */
  readonly mayProxy: boolean;
}

export type Sniffed =
  | { readonly kind: "more" }
  | { readonly kind: "protocol"; readonly adapter: ProtocolAdapter }
  | { readonly kind: "tls" }
  /** AMQP's own way to ask for TLS: its eight bytes are consumed and sent back. */
  | { readonly kind: "amqp-tls" }
  | { readonly kind: "http" }
  | { readonly kind: "proxy" }
  /** An AMQP version that nobody here speaks: answer with the header of the best one, then close. */
  | { readonly kind: "refuse"; readonly answer: Buffer }
  | { readonly kind: "unknown" };

/** More than any protocol needs to make itself known. */
const SNIFF_BYTES_MAX = 4096;

export const AMQP_TLS_HEADER = Buffer.from("AMQP\x02\x01\x00\x00", "latin1");
const AMQP_SASL_HEADER = Buffer.from("AMQP\x03\x01\x00\x00", "latin1");
const AMQP_091_HEADER = Buffer.from("AMQP\x00\x00\x09\x01", "latin1");
const AMQP = Buffer.from("AMQP");
const HTTP_METHODS = ["GET ", "POST", "PUT ", "HEAD", "DELE", "OPTI"].map((m) => Buffer.from(m));
const PROXY_V1 = Buffer.from("PROXY ");
const PROXY_V2 = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const TLS_HANDSHAKE = 0x16;

const MORE: Sniffed = { kind: "more" };

export function sniff(bytes: Buffer, start: number, end: number, options: SniffOptions): Sniffed {
  if (start >= end) return MORE;
  let isOpen = false;
  if (options.mayProxy) {
    const v1 = begins(bytes, start, end, PROXY_V1);
    const v2 = begins(bytes, start, end, PROXY_V2);
    if (v1 === "yes" || v2 === "yes") return { kind: "proxy" };
    isOpen = v1 === "more" || v2 === "more";
  }
  if (options.mayStartTls) {
    if (bytes[start] === TLS_HANDSHAKE) {
      if (end - start < 2) return MORE;
      if (bytes[start + 1] === 3) return { kind: "tls" };
    }
    const header = begins(bytes, start, end, AMQP_TLS_HEADER);
    if (header === "yes") return { kind: "amqp-tls" };
    if (header === "more") isOpen = true;
  }
  if (options.isHttp) {
    for (const method of HTTP_METHODS) {
      const answer = begins(bytes, start, end, method);
      if (answer === "yes") return { kind: "http" };
      if (answer === "more") isOpen = true;
    }
  }
  for (const adapter of options.adapters) {
    const answer = adapter.sniff(bytes, start, end);
    if (answer === "yes") return { kind: "protocol", adapter };
    if (answer === "more") isOpen = true;
  }
  const refusal = refuse(bytes, start, end, options.adapters);
  if (refusal === "more") isOpen = true;
  else if (refusal !== null) return { kind: "refuse", answer: refusal };
  return isOpen && end - start < SNIFF_BYTES_MAX ? MORE : { kind: "unknown" };
}

/** The answer to an AMQP header of a version we do not have; null when this is not AMQP or nobody here speaks it. */
function refuse(
  bytes: Buffer,
  start: number,
  end: number,
  adapters: readonly ProtocolAdapter[],
): Buffer | "more" | null {
  const has1 = adapters.some((adapter) => adapter.name === "amqp1");
  const has091 = adapters.some((adapter) => adapter.name === "amqp091");
  if (!has1 && !has091) return null;
  const isAmqp = begins(bytes, start, end, AMQP);
  if (isAmqp !== "yes") return isAmqp === "more" ? "more" : null;
  if (end - start < 8) return "more";
  // AMQP 0-8, 0-9, 0-9-1 and 0-10 put 1 or 0 in byte 4 and their version after it.
  const looksOld = (bytes[start + 5] === 0 && bytes[start + 6]! <= 9) || bytes[start + 4] === 1;
  if (has091 && (looksOld || !has1)) return AMQP_091_HEADER;
  return has1 ? AMQP_SASL_HEADER : null;
}

/** Does `bytes[start, end)` begin with `literal`? "more" while it is only a part of it. */
export function begins(
  bytes: Buffer,
  start: number,
  end: number,
  literal: Buffer,
): "yes" | "no" | "more" {
  const count = Math.min(end - start, literal.length);
  for (let i = 0; i < count; i++) if (bytes[start + i] !== literal[i]) return "no";
  return count === literal.length ? "yes" : "more";
}
