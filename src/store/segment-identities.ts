/**
 * Which files are this log's: `segments` in the store's folder knows each segment by the beginning of its first record, which
 * has size, checksum, place, origin and time. Every record of another store may be sound and say that it belongs exactly
 * there; nothing in the log itself, which is in RocketMQ's format, says whose it is.
 *
 *   at  size  an entry, big-endian
 *    0     8  offset of the segment's first byte (double)
 *    8     4  CRC-32 of its first 64 bytes
 *   12     4  CRC-32 of the 12 bytes before
 *
 * An entry is made by the first checkpoint that lies beyond the segment's first byte: from then on these bytes are durable and
 * do not change. The file is written anew as a whole and renamed. An entry that is not valid, or the whole file missing,
 * says nothing: the next checkpoint makes it again from what is there.
 */
import { join } from "node:path";
import { crc32 } from "../util/crc32.ts";
import { offsetName, offsetOfName } from "./segment-list.ts";
import { isSystemError, removeIfPossible, type Storage } from "./storage-file.ts";

const ENTRY_BYTES = 16;
const HEAD_BYTES = 64;
/** Segments of the largest log there may be: what is more is no file of ours. */
const FILE_MAX_BYTES = 1 << 24;

const pathIn = (directory: string): string => join(directory, "segments");

/** By first offset of the segment. */
export function readIdentities(storage: Storage, directory: string): Map<number, number> {
  const found = new Map<number, number>();
  const path = pathIn(directory);
  const size = Math.min(storage.stat(path)?.size ?? 0, FILE_MAX_BYTES);
  if (size === 0) return found;
  const bytes = Buffer.alloc(size);
  const file = storage.open(path, "read");
  const got = file.readInto(bytes, 0, size, 0);
  file.close();
  for (let at = 0; at + ENTRY_BYTES <= got; at += ENTRY_BYTES) {
    if (crc32(bytes, at, at + 12) !== bytes.readUInt32BE(at + 12)) continue;
    found.set(bytes.readDoubleBE(at), bytes.readUInt32BE(at + 8));
  }
  return found;
}

/** What tells a segment from all others; -1 when it has no beginning. */
export function identityOf(storage: Storage, path: string): number {
  if (storage.stat(path) === undefined) return -1;
  const head = Buffer.alloc(HEAD_BYTES);
  const file = storage.open(path, "read");
  try {
    if (file.readInto(head, 0, HEAD_BYTES, 0) < HEAD_BYTES || head.readInt32BE(0) === 0) return -1;
  } finally {
    file.close();
  }
  return crc32(head, 0, HEAD_BYTES);
}

function write(storage: Storage, directory: string, identities: Map<number, number>): void {
  const bytes = Buffer.alloc(identities.size * ENTRY_BYTES);
  let at = 0;
  for (const [start, identity] of identities) {
    bytes.writeDoubleBE(start, at);
    bytes.writeUInt32BE(identity, at + 8);
    bytes.writeUInt32BE(crc32(bytes, at, at + 12), at + 12);
    at += ENTRY_BYTES;
  }
  const draft = `${pathIn(directory)}.new`;
  const file = storage.open(draft, "create");
  try {
    file.truncate(0);
    file.write(bytes, 0, bytes.length, 0);
    file.sync();
  } finally {
    file.close();
  }
  storage.rename(draft, pathIn(directory));
  storage.syncDirectory(directory);
}

/** The log ends here: what was known of segments behind is over, before they are begun anew. */
export function forgetIdentitiesFrom(storage: Storage, directory: string, end: number): void {
  const known = readIdentities(storage, directory);
  const kept = new Map([...known].filter(([start]) => start < end));
  if (kept.size === known.size) return;
  try {
    write(storage, directory, kept);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    // It would take the new ones for somebody else's; without it nothing is known until the next checkpoint.
    storage.remove(pathIn(directory));
    storage.syncDirectory(directory);
  }
}

/** The store thread's side: takes note of segments as checkpoints pass their beginnings. */
export class SegmentIdentities {
  readonly #storage: Storage;
  readonly #directory: string;
  #known: Map<number, number> | null = null;
  /** Nothing is to be done before a checkpoint lies behind this. */
  #notedTo = -1;

  constructor(storage: Storage, directory: string) {
    this.#storage = storage;
    this.#directory = directory;
  }

  /**
   * The log is durable up to `offset`; what lies before `logStart` is done with. A disk that fails here costs nothing
   * but that the next checkpoint tries again.
   */
  note(offset: number, segmentBytes: number, logStart: number): void {
    if (offset <= this.#notedTo) return;
    try {
      this.#note(offset, logStart);
      this.#notedTo = Math.ceil(offset / segmentBytes) * segmentBytes;
    } catch (error) {
      if (!isSystemError(error)) throw error;
      removeIfPossible(this.#storage, `${pathIn(this.#directory)}.new`);
    }
  }

  #note(offset: number, logStart: number): void {
    const storage = this.#storage;
    const folder = join(this.#directory, "commitlog");
    this.#known ??= readIdentities(storage, this.#directory);
    const known = new Map([...this.#known].filter(([start]) => start >= logStart));
    let isNew = false;
    for (const { name } of storage.list(folder)) {
      const start = offsetOfName(name);
      if (start < logStart || start < 0 || start >= offset || known.has(start)) continue;
      const identity = identityOf(storage, join(folder, offsetName(start)));
      if (identity < 0) continue;
      known.set(start, identity);
      isNew = true;
    }
    if (isNew) write(storage, this.#directory, known);
    this.#known = known;
  }
}
