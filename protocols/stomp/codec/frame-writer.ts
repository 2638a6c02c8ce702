/**
 * Writes the frames a server sends straight into a wire's output buffer. Values have to be
 * escaped for the peer's version before (header-escape.ts).
 */
import type { Wire } from "../../../src/transport/wire.ts";
import { copyBytes } from "../../../src/util/copy-memory.ts";

const LF = 0x0a;
const RECEIPT_HEAD = Buffer.from("RECEIPT\nreceipt-id:", "latin1");
/** What `Wire.reserve` gives in one piece. */
const MAX_RESERVE = 1024 * 1024;

/** Decimal digits of a whole number >= 0 at `out[at]`; returns the index after them. */
export function writeDecimal(out: Buffer, at: number, value: number): number {
  if (value >= 0x8000_0000) return at + out.write(String(value), at, "latin1");
  let rest = value | 0;
  let digits = 1;
  for (let power = 10; digits < 10 && rest >= power; power *= 10) digits++;
  for (let i = at + digits - 1; i >= at; i--) {
    const next = (rest / 10) | 0;
    out[i] = 0x30 + rest - next * 10;
    rest = next;
  }
  return at + digits;
}

/** Short runs by a loop: up to here it beats the native copy, which makes a view first. */
const LOOP_BYTES = 64;

export function writeBytes(
  out: Buffer,
  at: number,
  bytes: Buffer,
  start: number,
  end: number,
): number {
  if (end - start < LOOP_BYTES) {
    for (let i = start; i < end; i++) out[at++] = bytes[i]!;
    return at;
  }
  return copyBytes(bytes, start, end, out, at);
}

/** Bytes of a RECEIPT frame but for its id. */
export const RECEIPT_BYTES = RECEIPT_HEAD.length + 3;

/** A RECEIPT frame at `out[at]`; `id[start, end)` as the peer spelled it in its `receipt` header. Returns the index after it. */
export function writeReceipt(
  out: Buffer,
  at: number,
  id: Buffer,
  start: number,
  end: number,
): number {
  let to = writeBytes(out, at, RECEIPT_HEAD, 0, RECEIPT_HEAD.length);
  to = writeBytes(out, to, id, start, end);
  out[to] = LF;
  out[to + 1] = LF;
  out[to + 2] = 0;
  return to + 3;
}

/** A frame of few headers: CONNECTED, ERROR. `headers` are lines `name:value\n`, escaped already. */
export function writeFrame(wire: Wire, command: string, headers: string, body: string): void {
  const length = body === "" ? "" : `content-length:${Buffer.byteLength(body)}\n`;
  writeText(wire, `${command}\n${headers}${length}\n${body}\0`);
}

function writeText(wire: Wire, text: string): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_RESERVE) {
    wire.write(Buffer.from(text));
    return;
  }
  wire.reserve(bytes);
  wire.outAt += wire.out.write(text, wire.outAt, "utf8");
}

/** LF between frames: "I am alive". */
export function writeHeartbeat(wire: Wire): void {
  wire.reserve(1);
  wire.out[wire.outAt++] = LF;
}
