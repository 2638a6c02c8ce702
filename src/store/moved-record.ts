/**
 * A record that is still owed while almost nothing else of its segment is: written once more at the end of the log, so
 * that the segment can be removed. The copy is the same message: body, topic, queueId, queueOffset, flag, born and store
 * times, hosts and properties are those of the original. What differs:
 *
 *   sysFlag          bit 24 is set (record.ts SYS_FLAG.MOVED)
 *   physicalOffset   where it lies now
 *   INNER_MULTI_*    only the light queues that still have their entry here; where they are too many for it, they are
 *                    named by fan records before the copy (fan-record.ts), as they may have been before the original
 *   x-batch          left out: its batch was whole, or it would not be owed
 *   __MOVED          `<first>:<h|->:<end>`: where the record was first stored; "h" when the entry of its home queue points
 *                    here, "-" when that queue is done with it; the end of the home queue at that time
 *
 * Recovery reads it as "the entry of this queueOffset is here from now on", never as a new message. A queue that is not
 * named by the copy has forgotten the record, or was dropped: its entry is left as it is.
 */
import type { RecordView } from "../model/record-view.ts";
import { copyBytes, fastBuffer } from "../util/copy-memory.ts";
import {
  CRC_TAIL,
  CRC_TAIL_SIZE,
  hostBytes,
  LIGHT_PREFIX,
  MAX_PROPERTIES_BYTES,
  SYS_FLAG,
  writeDecimal,
  writeShort,
} from "./record.ts";
import type { RecordDispatch } from "./record-dispatch.ts";

/** Of the properties that the store has added to the original: written anew. */
const OWN: readonly Buffer[] = [
  "INNER_MULTI_DISPATCH",
  "INNER_MULTI_QUEUE_OFFSET",
  "x-batch",
  "__MOVED",
  "__CRC32#",
].map((name) => Buffer.from(`${name}\x01`, "latin1"));
/** Room for what most records have around their body. */
const USUAL_BYTES = 16 << 10;
const VALUE_END = 0x02;
const COLON = 0x3a;
const HYPHEN = 0x2d;
const LETTER_H = 0x68;
const LETTER_I = 0x49;
const LETTER_X = 0x78;
const UNDERSCORE = 0x5f;
const MOVED_NAME = Buffer.from("__MOVED\x01", "latin1");
/** More than `__MOVED` takes. */
const MOVED_MAX = 64;

export class MovedRecord {
  /** Before the body and behind it, without its place and its checksums: `bytes[0, headEnd)` and `bytes[headEnd, tailEnd)`. */
  bytes = fastBuffer(USUAL_BYTES);
  headEnd = 0;
  tailEnd = 0;
  /** The body is that of the original, where it lies. */
  body = this.bytes;
  bodyStart = 0;
  bodyEnd = 0;
  /** Of the whole. */
  size = 0;
  hasKeys = false;

  /**
   * Makes the copy of `view`, of which `dispatch` was read. `lights`: which of its light queues still have their entry
   * here, by their place in the list. False when it has no room in a record.
   */
  compose(
    view: RecordView,
    dispatch: RecordDispatch,
    keepsHome: boolean,
    homeEnd: number,
    lights: readonly number[],
  ): boolean {
    const { buffer, start, bodyStart, bodyEnd, propertiesStart, propertiesEnd } = view;
    const first = dispatch.movedFrom >= 0 ? dispatch.movedFrom : view.physicalOffset;
    let text = "";
    if (lights.length > 0) {
      const names = lights.map((i) => LIGHT_PREFIX + dispatch.lightNames[i]!);
      const offsets = lights.map((i) => dispatch.lightOffsets[i]!);
      text += `INNER_MULTI_DISPATCH\x01${names.join(",")}\x02`;
      text += `INNER_MULTI_QUEUE_OFFSET\x01${offsets.join(",")}\x02`;
    }
    const headEnd = bodyStart - start;
    const own = text.length * 3 + 1 + MOVED_MAX + CRC_TAIL_SIZE;
    const most = headEnd + propertiesEnd - bodyEnd + own;
    if (this.bytes.length < most) this.bytes = Buffer.allocUnsafeSlow(most * 2);
    const { bytes } = this;
    copyBytes(buffer, start, bodyStart, bytes, 0);
    const properties = copyBytes(buffer, bodyEnd, propertiesStart, bytes, headEnd);
    let at = copyProperties(view, bytes, properties);
    if (text !== "") at += bytes.write(text, at);
    at = writeMoved(bytes, at, first, keepsHome, homeEnd);
    at = writeShort(bytes, at, CRC_TAIL);
    if (at - properties > MAX_PROPERTIES_BYTES) return false;
    this.body = buffer;
    this.bodyStart = bodyStart;
    this.bodyEnd = bodyEnd;
    this.headEnd = headEnd;
    this.tailEnd = at;
    this.size = at + bodyEnd - bodyStart;
    bytes.writeUInt16BE(at - properties, properties - 2);
    bytes.writeInt32BE(this.size, 0);
    bytes.writeInt32BE((bytes.readInt32BE(36) | SYS_FLAG.MOVED) & ~SYS_FLAG.FANNED, 36);
    if ((view.sysFlag & SYS_FLAG.FANNED) !== 0) this.#setFirstFan(0);
    this.hasKeys = dispatch.keys !== "" || dispatch.uniqueKey !== "";
    return true;
  }

  /** The light queues are named by the fan records that begin at this offset. */
  setFanned(firstFan: number): void {
    this.bytes.writeInt32BE(this.bytes.readInt32BE(36) | SYS_FLAG.FANNED, 36);
    this.#setFirstFan(firstFan);
  }

  #setFirstFan(offset: number): void {
    const hosts = hostBytes(this.bytes.readInt32BE(36));
    this.bytes.writeBigInt64BE(BigInt(offset), 60 + hosts);
  }
}

/** `__MOVED`; returns where it ends. */
function writeMoved(
  bytes: Buffer,
  at: number,
  first: number,
  keepsHome: boolean,
  homeEnd: number,
): number {
  let to = writeShort(bytes, at, MOVED_NAME);
  to = writeDecimal(bytes, to, first);
  bytes[to++] = COLON;
  bytes[to++] = keepsHome ? LETTER_H : HYPHEN;
  bytes[to++] = COLON;
  to = writeDecimal(bytes, to, homeEnd);
  bytes[to++] = VALUE_END;
  return to;
}

/** Copies what is not the store's own; returns where it ends. */
function copyProperties(view: RecordView, bytes: Buffer, to: number): number {
  const { buffer, propertiesEnd: end } = view;
  // What is to be copied, and follows one another.
  let from = view.propertiesStart;
  for (let at = from; at < end; ) {
    let stop = buffer.indexOf(VALUE_END, at);
    if (stop < 0 || stop > end) stop = end;
    if (isOwn(buffer, at, stop)) {
      to = copyBytes(buffer, from, at, bytes, to);
      from = stop + 1;
    }
    at = stop + 1;
  }
  if (from >= end) return to;
  to = copyBytes(buffer, from, end, bytes, to);
  if (buffer[end - 1] !== VALUE_END) bytes[to++] = VALUE_END; // RocketMQ may leave out the last one.
  return to;
}

function isOwn(buffer: Buffer, at: number, stop: number): boolean {
  const first = buffer[at]!;
  if (first !== LETTER_I && first !== LETTER_X && first !== UNDERSCORE) return false;
  for (const name of OWN) {
    let i = 0;
    while (i < name.length && at + i < stop && buffer[at + i] === name[i]) i++;
    if (i === name.length) return true;
  }
  return false;
}
