/**
 * The three performatives of the hot path, read and written by offset: transfer, flow and disposition. The readers are
 * complete (every encoding of every field) and are reused for each frame: no objects, no views, no bigint.
 *
 * A list is trusted only after it was read: reading past its end yields nonsense but touches nothing, and `finish`
 * then refuses the frame.
 */
import { putUint32 } from "../../../src/util/big-endian.ts";
import { decodeError } from "../errors.ts";
import { CODE, PERFORMATIVE } from "./codes.ts";
import { skipValue } from "./decode.ts";

/** A field that is absent or null. */
export const ABSENT = -1;

/** Walks the fields of one list. */
class FieldReader {
  protected bytes: Buffer = Buffer.alloc(0);
  protected at = 0;
  /** End of the list. */
  protected end = 0;
  #left = 0;

  /** Positions on the fields of the list whose constructor is at `at`. */
  protected begin(bytes: Buffer, at: number, end: number): void {
    this.bytes = bytes;
    const code = at < end ? bytes[at]! : -1;
    if (code === CODE.LIST8 && at + 3 <= end) {
      this.end = at + 2 + bytes[at + 1]!;
      this.#left = bytes[at + 2]!;
      this.at = at + 3;
    } else if (code === CODE.LIST32 && at + 9 <= end) {
      this.end = at + 5 + bytes.readUInt32BE(at + 1);
      this.#left = bytes.readUInt32BE(at + 5);
      this.at = at + 9;
    } else if (code === CODE.LIST0) {
      this.end = at + 1;
      this.#left = 0;
      this.at = at + 1;
    } else {
      throw decodeError("A performative is not a list.");
    }
    if (this.end > end || this.at > this.end || this.#left > this.end - this.at) {
      throw decodeError("A performative is longer than its frame.");
    }
  }

  protected uint(): number {
    if (this.#left === 0) return ABSENT;
    this.#left--;
    const { bytes, at } = this;
    switch (bytes[at]) {
      case CODE.SMALL_UINT:
        this.at = at + 2;
        return bytes[at + 1]!;
      case CODE.UINT0:
        this.at = at + 1;
        return 0;
      case CODE.UINT:
        this.at = at + 5;
        return (
          ((bytes[at + 1]! << 24) |
            (bytes[at + 2]! << 16) |
            (bytes[at + 3]! << 8) |
            bytes[at + 4]!) >>>
          0
        );
      case CODE.NULL:
        this.at = at + 1;
        return ABSENT;
      default:
        throw decodeError("A field is not a uint.");
    }
  }

  /** 0, 1 or ABSENT. */
  protected boolean(): number {
    if (this.#left === 0) return ABSENT;
    this.#left--;
    const { bytes, at } = this;
    this.at = at + 1;
    switch (bytes[at]) {
      case CODE.TRUE:
        return 1;
      case CODE.FALSE:
        return 0;
      case CODE.NULL:
        return ABSENT;
      case CODE.BOOLEAN:
        this.at = at + 2;
        return bytes[at + 1] === 0 ? 0 : 1;
      default:
        throw decodeError("A field is not a boolean.");
    }
  }

  protected ubyte(): number {
    if (this.#left === 0) return ABSENT;
    this.#left--;
    const { bytes, at } = this;
    if (bytes[at] === CODE.UBYTE) {
      this.at = at + 2;
      return bytes[at + 1]!;
    }
    if (bytes[at] !== CODE.NULL) throw decodeError("A field is not a ubyte.");
    this.at = at + 1;
    return ABSENT;
  }

  /** Steps over a field of any type; returns where it starts, or ABSENT. `this.at` is its end. */
  protected any(): number {
    if (this.#left === 0) return ABSENT;
    this.#left--;
    const { at } = this;
    if (at < this.end && this.bytes[at] === CODE.NULL) {
      this.at = at + 1;
      return ABSENT;
    }
    this.at = skipValue(this.bytes, at, this.end);
    return at;
  }

  protected finish(): void {
    if (this.at > this.end) throw decodeError("A performative's fields are cut off.");
  }
}

export class TransferFrame extends FieldReader {
  handle = 0;
  deliveryId = ABSENT;
  /** The tag's bytes are `[tagStart, tagEnd)`; ABSENT for none. */
  tagStart = ABSENT;
  tagEnd = 0;
  messageFormat = ABSENT;
  settled = ABSENT;
  more = 0;
  rcvSettleMode = ABSENT;
  /** The delivery state is the value at `[stateStart, stateEnd)`; ABSENT for none. */
  stateStart = ABSENT;
  stateEnd = 0;
  resume = 0;
  aborted = 0;
  payloadStart = 0;

  read(bytes: Buffer, at: number, end: number): void {
    this.begin(bytes, at, end);
    this.handle = this.uint();
    this.deliveryId = this.uint();
    const tag = this.any();
    this.tagStart = ABSENT;
    if (tag !== ABSENT) {
      const code = bytes[tag];
      if (code === CODE.BINARY8) this.tagStart = tag + 2;
      else if (code === CODE.BINARY32) this.tagStart = tag + 5;
      else throw decodeError("transfer.delivery-tag is not binary.");
      this.tagEnd = this.at;
      if (this.tagEnd - this.tagStart > 32) {
        throw decodeError("transfer.delivery-tag is longer than 32 bytes.");
      }
    }
    this.messageFormat = this.uint();
    this.settled = this.boolean();
    this.more = this.boolean();
    this.rcvSettleMode = this.ubyte();
    this.stateStart = this.any();
    this.stateEnd = this.at;
    this.resume = this.boolean();
    this.aborted = this.boolean();
    this.finish();
    this.payloadStart = this.end;
    if (this.handle === ABSENT) throw decodeError("transfer.handle is missing.");
  }
}

export class DispositionFrame extends FieldReader {
  /** 1: the sender's side, a receiver (true on the wire). */
  isReceiver = false;
  first = 0;
  last = 0;
  settled = 0;
  stateStart = ABSENT;
  stateEnd = 0;

  read(bytes: Buffer, at: number, end: number): void {
    this.begin(bytes, at, end);
    const role = this.boolean();
    const first = this.uint();
    const last = this.uint();
    this.settled = this.boolean();
    this.stateStart = this.any();
    this.stateEnd = this.at;
    this.finish();
    if (role === ABSENT) throw decodeError("disposition.role is missing.");
    if (first === ABSENT) throw decodeError("disposition.first is missing.");
    this.isReceiver = role === 1;
    this.first = first;
    this.last = last === ABSENT ? first : last;
  }
}

export class FlowFrame extends FieldReader {
  nextIncomingId = ABSENT;
  incomingWindow = 0;
  nextOutgoingId = 0;
  outgoingWindow = 0;
  handle = ABSENT;
  deliveryCount = ABSENT;
  linkCredit = ABSENT;
  available = ABSENT;
  drain = 0;
  echo = 0;
  /** Where `properties` begin; ABSENT for none. */
  propertiesStart = ABSENT;
  propertiesEnd = 0;

  read(bytes: Buffer, at: number, end: number): void {
    this.begin(bytes, at, end);
    this.nextIncomingId = this.uint();
    this.incomingWindow = this.uint();
    this.nextOutgoingId = this.uint();
    this.outgoingWindow = this.uint();
    this.handle = this.uint();
    this.deliveryCount = this.uint();
    this.linkCredit = this.uint();
    this.available = this.uint();
    this.drain = this.boolean();
    this.echo = this.boolean();
    this.propertiesStart = this.any();
    this.propertiesEnd = this.at;
    this.finish();
    if (this.incomingWindow === ABSENT) throw decodeError("flow.incoming-window is missing.");
    if (this.nextOutgoingId === ABSENT) throw decodeError("flow.next-outgoing-id is missing.");
    if (this.outgoingWindow === ABSENT) throw decodeError("flow.outgoing-window is missing.");
  }
}

/** Most bytes that `writeDisposition` (besides its state) and `writeFlow` need. */
export const DISPOSITION_MAX = 48;
export const FLOW_MAX = 64;

function writeUintField(out: Buffer, at: number, value: number): number {
  if (value === 0) {
    out[at] = CODE.UINT0;
    return at + 1;
  }
  if (value < 256) {
    out[at] = CODE.SMALL_UINT;
    out[at + 1] = value;
    return at + 2;
  }
  out[at] = CODE.UINT;
  putUint32(out, at + 1, value);
  return at + 5;
}

/** Frame header and descriptor; the size and the list's size are filled in by `endFrame`. */
function beginFrame(
  out: Buffer,
  at: number,
  channel: number,
  performative: number,
  fields: number,
): number {
  out[at + 4] = 2;
  out[at + 5] = 0;
  out[at + 6] = channel >>> 8;
  out[at + 7] = channel;
  out[at + 8] = CODE.DESCRIBED;
  out[at + 9] = CODE.SMALL_ULONG;
  out[at + 10] = performative;
  out[at + 11] = CODE.LIST8;
  out[at + 13] = fields;
  return at + 14;
}

function beginLongFrame(
  out: Buffer,
  at: number,
  channel: number,
  performative: number,
  fields: number,
): number {
  beginFrame(out, at, channel, performative, fields);
  out[at + 11] = CODE.LIST32;
  putUint32(out, at + 16, fields);
  return at + 20;
}

function endLongFrame(out: Buffer, start: number, at: number): number {
  putUint32(out, start + 12, at - start - 16);
  putUint32(out, start, at - start);
  return at;
}

function endFrame(out: Buffer, start: number, at: number): number {
  out[start + 12] = at - start - 13;
  putUint32(out, start, at - start);
  return at;
}

/** `outcome`: one without fields (accepted, released); ignored when the encoded `state` is given. Returns the end. */
export function writeDisposition(
  out: Buffer,
  start: number,
  channel: number,
  isReceiver: boolean,
  first: number,
  last: number,
  isSettled: boolean,
  outcome: number,
  state: Buffer | null,
): number {
  // A state of any length may follow: then the list is written in its long form.
  const isLong = state !== null && state.length > 200;
  let at = isLong
    ? beginLongFrame(out, start, channel, PERFORMATIVE.DISPOSITION, 5)
    : beginFrame(out, start, channel, PERFORMATIVE.DISPOSITION, 5);
  out[at++] = isReceiver ? CODE.TRUE : CODE.FALSE;
  at = writeUintField(out, at, first);
  if (last === first) out[at++] = CODE.NULL;
  else at = writeUintField(out, at, last);
  out[at++] = isSettled ? CODE.TRUE : CODE.FALSE;
  if (state === null) {
    out[at++] = CODE.DESCRIBED;
    out[at++] = CODE.SMALL_ULONG;
    out[at++] = outcome;
    out[at++] = CODE.LIST0;
  } else {
    at += state.copy(out, at);
  }
  return isLong ? endLongFrame(out, start, at) : endFrame(out, start, at);
}

/** The session's half of a flow; with `handle` ABSENT nothing of a link is written. Returns the end. */
export function writeFlow(
  out: Buffer,
  start: number,
  channel: number,
  nextIncomingId: number,
  incomingWindow: number,
  nextOutgoingId: number,
  outgoingWindow: number,
  handle: number,
  deliveryCount: number,
  linkCredit: number,
  available: number,
  isDrain: boolean,
  isEcho: boolean,
): number {
  let at = beginFrame(out, start, channel, PERFORMATIVE.FLOW, handle === ABSENT ? 4 : 10);
  at = writeUintField(out, at, nextIncomingId);
  at = writeUintField(out, at, incomingWindow);
  at = writeUintField(out, at, nextOutgoingId);
  at = writeUintField(out, at, outgoingWindow);
  if (handle !== ABSENT) {
    at = writeUintField(out, at, handle);
    at = writeUintField(out, at, deliveryCount);
    at = writeUintField(out, at, linkCredit);
    if (available === ABSENT) out[at++] = CODE.NULL;
    else at = writeUintField(out, at, available);
    out[at++] = isDrain ? CODE.TRUE : CODE.FALSE;
    out[at++] = isEcho ? CODE.TRUE : CODE.FALSE;
  }
  return endFrame(out, start, at);
}
