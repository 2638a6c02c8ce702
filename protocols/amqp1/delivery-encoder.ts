/**
 * Writes transfer frames and the header section of outgoing messages by offset. The stored sections follow unchanged
 * (spec protocols.md §6.6): only the header is made anew for every delivery.
 */
import { putUint32 } from "../../src/util/big-endian.ts";
import { CODE, PERFORMATIVE, SECTION } from "./codec/codes.ts";

/** Most bytes of a transfer's frame header and performative, and of a header section. */
export const TRANSFER_MAX = 40;
export const HEADER_MAX = 32;

function writeUint(out: Buffer, at: number, value: number): number {
  if (value < 256) {
    out[at] = CODE.SMALL_UINT;
    out[at + 1] = value;
    return at + 2;
  }
  out[at] = CODE.UINT;
  putUint32(out, at + 1, value);
  return at + 5;
}

/** The frame's size, once its end is known. */
export const setFrameSize = (out: Buffer, start: number, end: number): void =>
  putUint32(out, start, end - start);

/** First (or only) frame of a delivery, up to its payload. The tag is the delivery-id: unique among what is unsettled. */
export function writeTransfer(
  out: Buffer,
  start: number,
  channel: number,
  handle: number,
  deliveryId: number,
  messageFormat: number,
  isSettled: boolean,
  hasMore: boolean,
): number {
  out[start + 4] = 2;
  out[start + 5] = 0;
  out[start + 6] = channel >>> 8;
  out[start + 7] = channel;
  out[start + 8] = CODE.DESCRIBED;
  out[start + 9] = CODE.SMALL_ULONG;
  out[start + 10] = PERFORMATIVE.TRANSFER;
  out[start + 11] = CODE.LIST8;
  out[start + 13] = hasMore ? 6 : 5;
  let at = writeUint(out, start + 14, handle);
  out[at] = CODE.UINT;
  putUint32(out, at + 1, deliveryId);
  out[at + 5] = CODE.BINARY8;
  out[at + 6] = 4;
  putUint32(out, at + 7, deliveryId);
  at += 11;
  if (messageFormat === 0) out[at++] = CODE.UINT0;
  else at = writeUint(out, at, messageFormat);
  out[at++] = isSettled ? CODE.TRUE : CODE.FALSE;
  if (hasMore) out[at++] = CODE.TRUE;
  out[start + 12] = at - start - 13;
  return at;
}

/** A handle below this takes two bytes, which puts everything behind it into a fixed place. */
export const SMALL_HANDLES = 256;

/** Makes the copy of another peer's transfer (small handle, one frame) one's own. */
export function patchTransfer(
  out: Buffer,
  start: number,
  channel: number,
  handle: number,
  deliveryId: number,
): void {
  out[start + 6] = channel >>> 8;
  out[start + 7] = channel;
  out[start + 15] = handle;
  putUint32(out, start + 17, deliveryId);
  putUint32(out, start + 23, deliveryId);
}

/** A later frame of the same delivery. */
export function writeContinuation(
  out: Buffer,
  start: number,
  channel: number,
  handle: number,
  isSettled: boolean,
  hasMore: boolean,
): number {
  out[start + 4] = 2;
  out[start + 5] = 0;
  out[start + 6] = channel >>> 8;
  out[start + 7] = channel;
  out[start + 8] = CODE.DESCRIBED;
  out[start + 9] = CODE.SMALL_ULONG;
  out[start + 10] = PERFORMATIVE.TRANSFER;
  out[start + 11] = CODE.LIST8;
  out[start + 13] = 6;
  let at = writeUint(out, start + 14, handle);
  out[at++] = CODE.NULL;
  out[at++] = CODE.NULL;
  out[at++] = CODE.NULL;
  out[at++] = isSettled ? CODE.TRUE : CODE.FALSE;
  out[at++] = hasMore ? CODE.TRUE : CODE.FALSE;
  out[start + 12] = at - start - 13;
  return at;
}

/** `priority` -1: the publisher gave none. `ttlMs` 0: none. */
export function writeHeader(
  out: Buffer,
  start: number,
  isDurable: boolean,
  priority: number,
  ttlMs: number,
  isFirstAcquirer: boolean,
  deliveryCount: number,
): number {
  out[start] = CODE.DESCRIBED;
  out[start + 1] = CODE.SMALL_ULONG;
  out[start + 2] = SECTION.HEADER;
  out[start + 3] = CODE.LIST8;
  out[start + 5] = 5;
  let at = start + 6;
  out[at++] = isDurable ? CODE.TRUE : CODE.FALSE;
  if (priority < 0) out[at++] = CODE.NULL;
  else {
    out[at++] = CODE.UBYTE;
    out[at++] = priority;
  }
  if (ttlMs === 0) out[at++] = CODE.NULL;
  else at = writeUint(out, at, Math.min(ttlMs, 0xffffffff));
  out[at++] = isFirstAcquirer ? CODE.TRUE : CODE.FALSE;
  if (deliveryCount === 0) out[at++] = CODE.UINT0;
  else at = writeUint(out, at, deliveryCount);
  out[start + 4] = at - start - 5;
  return at;
}
