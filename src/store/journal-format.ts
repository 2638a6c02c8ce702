/**
 * The owner's journal on disk: files `journal/<20-digit number>`, and a snapshot `journal/<number>.snapshot` that stands
 * for everything before the file of the same number.
 *
 *   at  size  field, big-endian            one file
 *    0     8  "SLUICEJ2"                   magic and version
 *    8     8  position of its first frame  on the journal's own scale, two 32-bit halves
 *   16     8  identity of the store        store-identity.ts; zeros when it has none
 *   24     4  CRC-32 of bytes 0..24         a file without a good header was never synced: it holds nothing
 *   28     -  frames
 *
 * Files of version 1 have no identity, and the CRC in its place.
 *
 *   at  size  field, big-endian            one frame
 *    0     4  CRC-32 of the rest of the frame
 *    4     4  length of the entry, 1..65,536
 *    8     4  bytes before this frame that were not yet durable when it was written (4,294,967,295: that many or more)
 *   12     -  the entry
 *
 * A frame is valid when its length and CRC are. A snapshot ends with a frame whose entry is the 8 bytes "SLUICEJ1"; it
 * gets its name only when all of it is on the disk. Frames that are missing inside the journal were torn off by a power
 * cut when nothing behind the gap says that they had been durable: then the journal ends at the gap. Otherwise they
 * were damaged: what follows is kept, and the opener says so.
 */
import { crc32 } from "../util/crc32.ts";
import { readOffset } from "./record.ts";

const MAGIC = Buffer.from("SLUICEJ2", "latin1");
const MAGIC_1 = Buffer.from("SLUICEJ1", "latin1");
/** The last entry of a snapshot. */
export const SNAPSHOT_END = MAGIC_1;
export const JOURNAL_HEADER = 28;
const HEADER_1 = 20;
export const FRAME_HEADER = 12;
export const MAX_ENTRY_BYTES = 65_536;
const UNKNOWN = 0xffffffff;

/** `identity` in hexadecimal. */
export function journalHeader(position: number, identity: string): Buffer {
  const bytes = Buffer.alloc(JOURNAL_HEADER);
  MAGIC.copy(bytes);
  bytes.writeUInt32BE(Math.floor(position / 2 ** 32), 8);
  bytes.writeUInt32BE(position >>> 0, 12);
  bytes.write(identity, 16, "hex");
  bytes.writeUInt32BE(crc32(bytes, 0, 24), 24);
  return bytes;
}

/** Length of the header that a file begins with, 0 when that is none. */
function headerOf(bytes: Buffer): number {
  const isMagic = (magic: Buffer, length: number): boolean =>
    bytes.length >= length &&
    bytes.compare(magic, 0, 8, 0, 8) === 0 &&
    bytes.readUInt32BE(length - 4) === crc32(bytes, 0, length - 4);
  if (isMagic(MAGIC, JOURNAL_HEADER)) return JOURNAL_HEADER;
  return isMagic(MAGIC_1, HEADER_1) ? HEADER_1 : 0;
}

/** Whose file this is, by its first bytes; undefined when they do not say. */
export const identityOfJournal = (bytes: Buffer): string | undefined =>
  headerOf(bytes) === JOURNAL_HEADER ? bytes.toString("hex", 16, 24) : undefined;

/** Completes the frame whose length and entry are there. Returns its size. */
export function sealFrame(
  bytes: Buffer,
  view: DataView,
  at: number,
  position: number,
  durable: number,
): number {
  const size = FRAME_HEADER + view.getUint32(at + 4);
  view.setUint32(at + 8, Math.min(position - durable, UNKNOWN));
  view.setUint32(at, crc32(bytes, at + 4, at + size));
  return size;
}

export interface JournalFile {
  readonly start: number;
  /** Length of its header. */
  readonly header: number;
  readonly frames: JournalFrames;
  /** Bytes that are no frames, in the middle or at the end. */
  readonly lostBytes: number;
}

/** The frames of a file by number: there may be millions, so each is where it lies and no object. */
export class JournalFrames {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  /** Position of the file's first byte behind its header, on the journal's own scale. */
  readonly #start: number;
  readonly #header: number;
  readonly #at: number[] = [];

  constructor(bytes: Buffer, start: number, header: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#start = start;
    this.#header = header;
  }

  get length(): number {
    return this.#at.length;
  }
  /** Takes the frame at this place in. Returns its size, 0 when there is none that is valid. */
  add(at: number): number {
    const size = frameAt(this.#bytes, this.#view, at);
    if (size > 0) this.#at.push(at);
    return size;
  }

  position(index: number): number {
    return this.#start + this.#at[index]! - this.#header;
  }
  end(index: number): number {
    return this.position(index) + FRAME_HEADER + this.#view.getUint32(this.#at[index]! + 4);
  }
  /** Everything before this position was durable when the frame was written. */
  durable(index: number): number {
    return this.position(index) - this.#view.getUint32(this.#at[index]! + 8);
  }
  /** What was known to be durable by some frame from this one on, of those before `limit`. */
  durableFrom(index: number, limit = Number.POSITIVE_INFINITY): number {
    let known = 0;
    for (let i = index; i < this.length && this.position(i) < limit; i++) {
      known = Math.max(known, this.durable(i));
    }
    return known;
  }
  entry(index: number): Buffer {
    const at = this.#at[index]!;
    const start = at + FRAME_HEADER;
    return this.#bytes.subarray(start, start + this.#view.getUint32(at + 4));
  }
  isSnapshotEnd(index: number): boolean {
    const at = this.#at[index]!;
    const length = this.#view.getUint32(at + 4);
    return length === SNAPSHOT_END.length && this.entry(index).equals(SNAPSHOT_END);
  }
}

/** Reads a file; undefined when it has no header (it was created and never written). */
export function parseJournal(bytes: Buffer): JournalFile | undefined {
  const header = headerOf(bytes);
  if (header === 0) return undefined;
  const start = readOffset(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 8);
  const frames = new JournalFrames(bytes, start, header);
  let lostBytes = 0;
  for (let at = header; at < bytes.length; ) {
    const size = frames.add(at);
    if (size === 0) lostBytes++;
    at += Math.max(1, size);
  }
  return { start, header, frames, lostBytes };
}

/** Does it end as a snapshot does? */
export const isCompleteSnapshot = ({ frames }: JournalFile): boolean =>
  frames.length > 0 && frames.isSnapshotEnd(frames.length - 1);

/** Size of the valid frame at `at`, or 0. */
function frameAt(bytes: Buffer, view: DataView, at: number): number {
  if (at + FRAME_HEADER >= bytes.length) return 0;
  const length = view.getUint32(at + 4);
  const end = at + FRAME_HEADER + length;
  if (length === 0 || length > MAX_ENTRY_BYTES || end > bytes.length) return 0;
  return crc32(bytes, at + 4, end) === view.getUint32(at) ? end - at : 0;
}
