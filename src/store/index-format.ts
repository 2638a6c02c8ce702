/**
 * RocketMQ's Index file: from a message key to places in the CommitLog, by hash. Big-endian.
 *
 *   at                  size  header field                at  size  entry field
 *    0                     8  beginTimestamp, ms           0     4  keyHash
 *    8                     8  endTimestamp, ms             4     8  physicalOffset
 *   16                     8  beginPhysicalOffset         12     4  seconds since beginTimestamp
 *   24                     8  endPhysicalOffset           16     4  previous entry of the same slot, 0 for none
 *   32                     4  slots in use
 *   36                     4  entry count + 1
 *   40             4 × slots  newest entry of each slot, 0 for none
 *   40 + 4 × slots 20 × entries; RocketMQ never uses entry 0, here it holds the mark of the last checkpoint:
 *                            entry count + 1 (4), endPhysicalOffset (8), slots in use (4), CRC-32 of those (4)
 *
 * The key is `topic#key`, its hash Java's, made positive; the slot is hash mod slots. An entry is a candidate only:
 * whoever asks compares topic and key with the record. File name: time of creation, yyyyMMddHHmmssSSS.
 *
 * A checkpoint syncs slots and entries, writes the mark, syncs, writes the header; the header is synced with the next
 * checkpoint's data. So of mark and header one is always whole: an intact mark counts, else the header does. Entries
 * beyond that count are not there as far as recovery is concerned, and slots are rebuilt from entries after an unclean
 * stop. Entries lie in the order of the log. The whole file is derived data and can be deleted.
 */
import { crc32 } from "../util/crc32.ts";

export const INDEX_HEADER_SIZE = 40;
export const SLOT_SIZE = 4;
export const INDEX_ENTRY_SIZE = 20;
/** RocketMQ's defaults: 420,000,040 bytes, sparse. */
const DEFAULT_SLOTS = 5_000_000;
const DEFAULT_ENTRIES = 20_000_000;

const TWO_POW_32 = 2 ** 32;

export interface IndexShape {
  readonly slots: number;
  /** Including the unused entry 0. */
  readonly entries: number;
}

export const DEFAULT_SHAPE: IndexShape = { slots: DEFAULT_SLOTS, entries: DEFAULT_ENTRIES };

export interface IndexHeader {
  beginTimestamp: number;
  endTimestamp: number;
  beginPhysicalOffset: number;
  endPhysicalOffset: number;
  usedSlots: number;
  /** Number that the next entry gets; 1 when the file is empty. */
  nextEntry: number;
}

export const indexFileSize = (shape: IndexShape): number =>
  INDEX_HEADER_SIZE + shape.slots * SLOT_SIZE + shape.entries * INDEX_ENTRY_SIZE;

export const slotPosition = (slot: number): number => INDEX_HEADER_SIZE + slot * SLOT_SIZE;

export const entryPosition = (shape: IndexShape, entry: number): number =>
  INDEX_HEADER_SIZE + shape.slots * SLOT_SIZE + entry * INDEX_ENTRY_SIZE;

/** The hash of `topic#key`: String.hashCode over UTF-16 units, made positive as RocketMQ does. */
export function indexKeyHash(topic: string, key: string): number {
  let hash = 0;
  for (let i = 0; i < topic.length; i++) hash = (Math.imul(hash, 31) + topic.charCodeAt(i)) | 0;
  hash = (Math.imul(hash, 31) + 0x23) | 0; // "#"
  for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + key.charCodeAt(i)) | 0;
  // Java's Math.abs(MIN_VALUE) is negative; RocketMQ takes 0 then.
  return hash === -0x8000_0000 ? 0 : Math.abs(hash);
}

/** The same over the bytes of a record; null when they are not all ASCII (then decode and use the other). */
export function indexKeyHashOfBytes(
  bytes: Uint8Array,
  topicStart: number,
  topicEnd: number,
  keyStart: number,
  keyEnd: number,
): number | null {
  let hash = 0;
  let all = 0;
  for (let i = topicStart; i < topicEnd; i++) {
    const byte = bytes[i]!;
    all |= byte;
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  hash = (Math.imul(hash, 31) + 0x23) | 0;
  for (let i = keyStart; i < keyEnd; i++) {
    const byte = bytes[i]!;
    all |= byte;
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  if (all > 0x7f) return null;
  return hash === -0x8000_0000 ? 0 : Math.abs(hash);
}

export function readIndexHeader(bytes: Buffer): IndexHeader {
  return {
    beginTimestamp: readInt64(bytes, 0),
    endTimestamp: readInt64(bytes, 8),
    beginPhysicalOffset: readInt64(bytes, 16),
    endPhysicalOffset: readInt64(bytes, 24),
    usedSlots: bytes.readInt32BE(32),
    // A file that was made but never checkpointed holds zeros.
    nextEntry: Math.max(1, bytes.readInt32BE(36)),
  };
}

export function writeIndexHeader(bytes: Buffer, header: IndexHeader): void {
  writeInt64(bytes, 0, header.beginTimestamp);
  writeInt64(bytes, 8, header.endTimestamp);
  writeInt64(bytes, 16, header.beginPhysicalOffset);
  writeInt64(bytes, 24, header.endPhysicalOffset);
  bytes.writeInt32BE(header.usedSlots, 32);
  bytes.writeInt32BE(header.nextEntry, 36);
}

/** The mark of a checkpoint, for entry 0. */
export function writeCheckpointMark(bytes: Buffer, header: IndexHeader): void {
  bytes.writeInt32BE(header.nextEntry, 0);
  writeInt64(bytes, 4, header.endPhysicalOffset);
  bytes.writeInt32BE(header.usedSlots, 12);
  bytes.writeUInt32BE(crc32(bytes, 0, 16), 16);
}

/** Corrects the header by the mark, when there is an intact one. */
export function applyCheckpointMark(bytes: Buffer, header: IndexHeader): void {
  const nextEntry = bytes.readInt32BE(0);
  if (nextEntry < 1 || bytes.readUInt32BE(16) !== crc32(bytes, 0, 16)) return;
  header.nextEntry = nextEntry;
  header.endPhysicalOffset = readInt64(bytes, 4);
  header.usedSlots = bytes.readInt32BE(12);
}

export const readInt64 = (bytes: Buffer, at: number): number =>
  bytes.readInt32BE(at) * TWO_POW_32 + bytes.readUInt32BE(at + 4);

export function writeInt64(bytes: Buffer, at: number, value: number): void {
  bytes.writeInt32BE(Math.floor(value / TWO_POW_32), at);
  bytes.writeUInt32BE(value >>> 0, at + 4);
}

const FILE_NAME = /^\d{17}$/;
export const isIndexFileName = (name: string): boolean => FILE_NAME.test(name);

/** The name of a file made now (UTC). Names sort by age, so it is above `last`, whatever the clock says. */
export function indexFileName(nowMs: number, last: string | undefined): string {
  const name = new Date(nowMs).toISOString().replaceAll(/\D/g, "").slice(0, 17);
  if (last === undefined || name > last) return name;
  return String(BigInt(last) + 1n).padStart(17, "0");
}
