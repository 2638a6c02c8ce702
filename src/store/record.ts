/**
 * The CommitLog record of Apache RocketMQ 5 (v1, or v2 when the topic is longer than 127 bytes): writing, sealing,
 * checking. Fields and their places: model/record-view.ts. All integers are big-endian.
 *
 * What the store adds at the end of the properties, in this order:
 *
 *   INNER_MULTI_DISPATCH      light queues that have an entry for this record: `%LMQ%name`, separated by commas
 *   INNER_MULTI_QUEUE_OFFSET  its offset in each of them, separated by commas
 *   x-batch                   `<id>:<index>:<+|.>`, for a record of an atomic batch. The id is the physical offset of the
 *                             batch's first record, the index counts from 0, `.` marks the last record. The records
 *                             of a batch follow each other in the log; recovery drops a batch whose end is missing.
 *   __MOVED                   in a record that was moved forward: moved-record.ts
 *   __CRC32#                  CRC-32 of the record up to here, lower 31 bits, ten decimal digits, the least first
 *
 * Valid: the magic is known, the lengths add up to totalSize, physicalOffset is where the record lies, bodyCRC (lower
 * 31 bits) and, where it is there, `__CRC32#` are right. A blank record (8 bytes: the bytes left in the segment, its
 * magic) ends a segment; what follows it there means nothing. Recovery: recovery.ts.
 *
 * The event loop writes everything but the two checksums, and leaves hints for the store thread where bodyCRC will be.
 */
import { int32At } from "../model/record-view.ts";
import { crc32, crc32Combine } from "../util/crc32.ts";

/** Host fields of a record that this process made itself: address (4 bytes) and port (int 4). */
export const LOCALHOST = Buffer.from([127, 0, 0, 1, 0, 0, 0, 0]);

export const MAGIC_V1 = 0xdaa320a7 | 0;
export const MAGIC_V2 = 0xdaa320ab | 0;
export const MAGIC_BLANK = 0xcbd43194 | 0;
export const BLANK_SIZE = 8;

export const SYS_FLAG = {
  /** Set in prepared (0100) and rolled-back (1100) half messages: they get no queue offset and no entry. */
  NOT_DISPATCHED: 1 << 2,
  BORN_HOST_V6: 1 << 4,
  STORE_HOST_V6: 1 << 5,
  /** Ours: a copy of a record whose segment was given back (moved-record.ts). RocketMQ uses bits 0 to 10. */
  MOVED: 1 << 24,
  /** Ours: the records before it say which light queues it lies in (fan-record.ts). */
  FANNED: 1 << 25,
} as const;

/** Hints from the event loop to the store thread, in the place of bodyCRC until the record is sealed. */
export const HINT_HAS_KEYS = 1;

/** Bytes of the fixed fields without hosts, body, topic and properties, for a one-byte topic length. */
const FIXED_SIZE = 75;
/** The smallest record: IPv4 hosts, nothing else. */
export const MIN_RECORD_SIZE = FIXED_SIZE + 16;
/** Size in a filler entry that names no place, as RocketMQ writes it: no record is that large. */
export const FILLER_SIZE = 0x7fffffff;
/** The same where a place is named: RocketMQ adds the two in 32 bits, and would take what overflows for a record. */
export const PLACED_FILLER_SIZE = 0x40000000;
/** Does an entry of this size name no record? */
export const isFiller = (size: number): boolean =>
  size === FILLER_SIZE || size === PLACED_FILLER_SIZE;
export const MAX_PROPERTIES_BYTES = 32_767;

export const CRC_TAIL_SIZE = 20;
/** First property of every record of ours (model/record-view.ts). */
const X_ENC = Buffer.from("x-enc\x01", "latin1");
const CRC_NAME = Buffer.from("__CRC32#\x01", "latin1");
export const CRC_TAIL = Buffer.from("__CRC32#\x010000000000\x02", "latin1");
const TAIL_0 = CRC_TAIL.readInt32BE(0);
const TAIL_4 = CRC_TAIL.readInt32BE(4);
const TAIL_8 = CRC_TAIL.readInt32BE(8);
const TAIL_12 = CRC_TAIL.readInt32BE(12);
const TAIL_16 = CRC_TAIL.readInt32BE(16);
export const BATCH_NAME = Buffer.from("x-batch\x01", "latin1");
/** From the end of a record back to the mark that says whether its batch goes on. */
export const BATCH_MARK_FROM_END = CRC_TAIL_SIZE + 2;
export const BATCH_MORE = 0x2b; // "+"
export const BATCH_END = 0x2e; // "."
const DISPATCH_NAME = Buffer.from("INNER_MULTI_DISPATCH\x01", "latin1");
const OFFSETS_NAME = Buffer.from("INNER_MULTI_QUEUE_OFFSET\x01", "latin1");
/** Both names and both final separators of the dispatch list. */
export const DISPATCH_OVERHEAD = DISPATCH_NAME.length + OFFSETS_NAME.length + 2;
/** RocketMQ's prefix for light queues. */
export const LIGHT_PREFIX = "%LMQ%";

const TWO_POW_32 = 2 ** 32;
const DIGIT_0 = 0x30;

/** Bodies up to this size are summed twice: that costs less than joining three sums. */
const TWICE_BYTES = 512;

/** Size of a record whose parts have these sizes. */
export function recordSize(
  bodyBytes: number,
  topicBytes: number,
  propertiesBytes: number,
  bornHostBytes: number,
  storeHostBytes: number,
): number {
  return (
    FIXED_SIZE +
    (topicBytes > 127 ? 1 : 0) +
    bodyBytes +
    topicBytes +
    propertiesBytes +
    bornHostBytes +
    storeHostBytes
  );
}

export function writeBlank(view: DataView, at: number, bytesLeft: number): void {
  view.setInt32(at, bytesLeft);
  view.setInt32(at + 4, MAGIC_BLANK);
}

/** Decimal digits of an offset. */
export function digitsOf(value: number): number {
  if (value < 1e4) return value < 100 ? (value < 10 ? 1 : 2) : value < 1000 ? 3 : 4;
  let digits = 5;
  for (let limit = 1e5; value >= limit; limit *= 10) digits++;
  return digits;
}

/** Writes an offset in decimal; returns where it ends. */
export function writeDecimal(bytes: Uint8Array, at: number, value: number): number {
  const end = at + digitsOf(value);
  let i = end - 1;
  let rest = value;
  for (; rest > 0x7fffffff; i--) {
    const next = Math.floor(rest / 10);
    bytes[i] = DIGIT_0 + (rest - next * 10);
    rest = next;
  }
  // Whole numbers of the machine from here on.
  for (let small = rest | 0; i >= at; i--) {
    const next = (small / 10) | 0;
    bytes[i] = DIGIT_0 + (small - next * 10);
    small = next;
  }
  return end;
}

/** Copies a short constant; a call of Buffer.copy costs more below some 32 bytes. */
export function writeShort(bytes: Uint8Array, at: number, source: Uint8Array): number {
  for (let i = 0; i < source.length; i++) bytes[at + i] = source[i]!;
  return at + source.length;
}

export function writeCrcTail(view: DataView, at: number): number {
  view.setInt32(at, TAIL_0);
  view.setInt32(at + 4, TAIL_4);
  view.setInt32(at + 8, TAIL_8);
  view.setInt32(at + 12, TAIL_12);
  view.setInt32(at + 16, TAIL_16);
  return at + CRC_TAIL_SIZE;
}
export function writeDispatchName(bytes: Uint8Array, at: number): number {
  return writeShort(bytes, at, DISPATCH_NAME);
}
export function writeOffsetsName(bytes: Uint8Array, at: number): number {
  return writeShort(bytes, at, OFFSETS_NAME);
}

/** Of both hosts together. */
export const hostBytes = (sysFlag: number): number =>
  (sysFlag & SYS_FLAG.BORN_HOST_V6 ? 20 : 8) + (sysFlag & SYS_FLAG.STORE_HOST_V6 ? 20 : 8);

/**
 * Puts both checksums into the record of `size` bytes at `at`; each byte is read once, a short body twice.
 * The record ends with the CRC tail. Returns the hints that lay in the place of bodyCRC.
 */
export function sealRecord(bytes: Uint8Array, view: DataView, at: number, size: number): number {
  const hints = view.getInt32(at + 8);
  const bodyLengthAt = at + 68 + hostBytes(view.getInt32(at + 36));
  const bodyStart = bodyLengthAt + 4;
  const bodyEnd = bodyStart + view.getInt32(bodyLengthAt);
  const sealEnd = at + size - CRC_TAIL_SIZE;
  const bodyCrc = crc32(bytes, bodyStart, bodyEnd);
  view.setInt32(at + 8, bodyCrc & 0x7fffffff);
  let crc: number;
  if (bodyEnd - bodyStart < TWICE_BYTES) {
    crc = crc32(bytes, at, sealEnd);
  } else {
    crc = crc32Combine(crc32(bytes, at, bodyStart), bodyCrc, bodyEnd - bodyStart);
    crc = crc32(bytes, bodyEnd, sealEnd, crc);
  }
  let rest = crc & 0x7fffffff;
  for (let i = sealEnd + CRC_NAME.length, end = i + 10; i < end; i++) {
    const next = (rest / 10) | 0;
    bytes[i] = DIGIT_0 + (rest - next * 10);
    rest = next;
  }
  return hints;
}

/** What `checkRecord` finds wrong, for reports. */
export type RecordFault = "size" | "magic" | "offset" | "lengths" | "bodyCRC" | "recordCRC";

/**
 * Checks the record at `at` of which at least MIN_RECORD_SIZE bytes are there. Returns its size, or the fault.
 * `limit`: no record reaches beyond this index. When it reaches beyond `available`, "more" asks for its bytes.
 */
export function checkRecord(
  bytes: Buffer,
  view: DataView,
  at: number,
  available: number,
  limit: number,
  physicalOffset: number,
): number | RecordFault | "more" {
  const size = view.getInt32(at);
  if (size < MIN_RECORD_SIZE || at + size > limit) return "size";
  const magic = view.getInt32(at + 4);
  if (magic !== MAGIC_V1 && magic !== MAGIC_V2) return "magic";
  if (readOffset(view, at + 28) !== physicalOffset) return "offset";
  if (at + size > available) return "more";
  const bodyLengthAt = at + 68 + hostBytes(view.getInt32(at + 36));
  const end = at + size;
  if (bodyLengthAt + 4 > end) return "lengths";
  const bodyLength = view.getInt32(bodyLengthAt);
  const bodyEnd = bodyLengthAt + 4 + bodyLength;
  if (bodyLength < 0 || bodyEnd + 3 > end) return "lengths";
  const topicStart = magic === MAGIC_V2 ? bodyEnd + 2 : bodyEnd + 1;
  const topicEnd =
    topicStart + (magic === MAGIC_V2 ? view.getUint16(bodyEnd) : view.getUint8(bodyEnd));
  if (topicEnd + 2 > end || topicEnd + 2 + view.getInt16(topicEnd) !== end) return "lengths";
  const bodyCrc = crc32(bytes, bodyLengthAt + 4, bodyEnd);
  // RocketMQ writes 0 for the empty body, which is also its checksum.
  if (view.getInt32(at + 8) !== (bodyCrc & 0x7fffffff)) return "bodyCRC";
  if (hasCrcTail(bytes, topicEnd + 2, end)) {
    const crc = crc32(bytes, at, end - CRC_TAIL_SIZE) & 0x7fffffff;
    if (crc !== crcOfTail(bytes, end)) return "recordCRC";
  } else if (
    startsWith(bytes, topicEnd + 2, end, X_ENC) ||
    bytes.subarray(topicStart, topicEnd).includes(0) ||
    bytes.subarray(topicEnd + 2, end).includes(0)
  ) {
    // Every record of ours has the tail, so it was hit. One of RocketMQ's may have none, and then only its body is
    // summed; but names and properties are text, and where a write was torn off there are zeros.
    return "recordCRC";
  }
  return size;
}

/**
 * Has a record that is read back the bytes it was written with? One pass: over the whole of it where it has the CRC
 * tail, else over the body. Its size was checked; lengths inside of it may be anything.
 */
export function isIntact(bytes: Buffer, at: number, size: number): boolean {
  const end = at + size;
  if (size >= MIN_RECORD_SIZE + CRC_TAIL_SIZE && hasCrcTail(bytes, at, end)) {
    return (crc32(bytes, at, end - CRC_TAIL_SIZE) & 0x7fffffff) === crcOfTail(bytes, end);
  }
  const bodyLengthAt = at + 68 + hostBytes(bytes.readInt32BE(at + 36));
  if (bodyLengthAt + 4 > end) return false;
  const bodyLength = bytes.readInt32BE(bodyLengthAt);
  const bodyEnd = bodyLengthAt + 4 + bodyLength;
  if (bodyLength < 0 || bodyEnd + 3 > end) return false;
  const isV2 = bytes.readInt32BE(at + 4) === MAGIC_V2;
  const topicStart = bodyEnd + (isV2 ? 2 : 1);
  const topicEnd = topicStart + (isV2 ? bytes.readUInt16BE(bodyEnd) : bytes[bodyEnd]!);
  if (topicEnd + 2 > end || topicEnd + 2 + bytes.readInt16BE(topicEnd) !== end) return false;
  // One of ours has the tail: its name was hit.
  if (startsWith(bytes, topicEnd + 2, end, X_ENC)) return false;
  const bodyCrc = crc32(bytes, bodyLengthAt + 4, bodyEnd) & 0x7fffffff;
  return bytes.readInt32BE(at + 8) === bodyCrc;
}

function crcOfTail(bytes: Uint8Array, end: number): number {
  let crc = 0;
  for (let i = end - 2, low = end - 11; i >= low; i--) crc = crc * 10 + bytes[i]! - DIGIT_0;
  return crc;
}

function hasCrcTail(bytes: Uint8Array, propertiesStart: number, end: number): boolean {
  const at = end - CRC_TAIL_SIZE;
  return (
    at >= propertiesStart &&
    bytes[end - 1] === 0x02 &&
    int32At(bytes, at) === TAIL_0 &&
    int32At(bytes, at + 4) === TAIL_4 &&
    bytes[at + 8] === 0x01
  );
}

function startsWith(bytes: Uint8Array, at: number, end: number, name: Uint8Array): boolean {
  if (at + name.length > end) return false;
  for (let i = 0; i < name.length; i++) if (bytes[at + i] !== name[i]) return false;
  return true;
}

export function readOffset(view: DataView, at: number): number {
  return view.getInt32(at) * TWO_POW_32 + view.getUint32(at + 4);
}
export function writeOffset(view: DataView, at: number, value: number): void {
  view.setInt32(at, Math.floor(value / TWO_POW_32));
  view.setInt32(at + 4, value | 0);
}

/** Java's String.hashCode: the tag hash of a ConsumeQueue entry. */
export function javaHash(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = (Math.imul(31, hash) + text.charCodeAt(i)) | 0;
  return hash;
}
