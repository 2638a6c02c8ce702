/**
 * The segments of the CommitLog: files of one fixed length whose names are the 20-digit physical offset of their first
 * byte, created sparse at full length. Reading them: segment-reader.ts. Writing them: log-writer.ts.
 */
import { join } from "node:path";
import { isSystemError, type Storage, type StorageFile } from "./storage-file.ts";
import { StoreOpenError } from "./store-lock.ts";

/** `00000000001073741824`: the name of the file that begins at this offset. */
export const offsetName = (offset: number): string => String(offset).padStart(20, "0");

/** The offset in a file name, or -1 when it is none. */
export function offsetOfName(name: string): number {
  return /^\d{20}$/.test(name) && Number.isSafeInteger(Number(name)) ? Number(name) : -1;
}

const HOLE_MARGIN = 64 << 20;

export class SegmentList {
  readonly directory: string;
  readonly segmentBytes: number;
  readonly #storage: Storage;
  /** Files opened for reading, by start offset. */
  readonly #open = new Map<number, StorageFile>();
  /** First byte of the oldest segment. */
  minOffset = 0;
  /** As far as we know, the space that a file takes says how far it reaches. */
  #tellsUsage = true;

  constructor(storage: Storage, directory: string, segmentBytes: number) {
    this.#storage = storage;
    this.directory = directory;
    this.segmentBytes = segmentBytes;
  }

  /**
   * Length of the segments that are there, undefined when there are none. Names say it where there are several: a file
   * may be torn, but one of ours has its full length before anything is written to it.
   */
  static lengthOnDisk(storage: Storage, directory: string): number | undefined {
    const starts: number[] = [];
    let longest = 0;
    let fullOnes = 0;
    for (const { name, isDirectory } of storage.list(directory)) {
      const start = offsetOfName(name);
      if (start < 0 || isDirectory) continue;
      starts.push(start);
      const size = storage.stat(join(directory, name))?.size ?? 0;
      fullOnes = size > longest ? 1 : size === longest ? fullOnes + 1 : fullOnes;
      longest = Math.max(longest, size);
    }
    starts.sort((a, b) => a - b);
    if (longest === 0 || isUntouched(storage, directory, starts)) return undefined;
    // Two of the same length are whole: names tell more than that where some are missing between the others.
    if (fullOnes > 1 && starts.every((start) => start % longest === 0)) return longest;
    let length = starts.length > 1 ? Number.POSITIVE_INFINITY : longest;
    for (let i = 1; i < starts.length; i++) length = Math.min(length, starts[i]! - starts[i - 1]!);
    for (const start of starts) {
      if (start % length !== 0 || longest > length) {
        throw new StoreOpenError(
          `store: ${join(directory, offsetName(start))} does not fit between segments of ${length} bytes; ` +
            "restore the missing or exchanged files, or move it away",
        );
      }
    }
    return length;
  }

  startOf(physicalOffset: number): number {
    return physicalOffset - (physicalOffset % this.segmentBytes);
  }

  path(start: number): string {
    return join(this.directory, offsetName(start));
  }

  /** Start offsets on disk, ascending. */
  starts(): number[] {
    const found: number[] = [];
    for (const entry of this.#storage.list(this.directory)) {
      const start = offsetOfName(entry.name);
      if (start >= 0 && !entry.isDirectory) found.push(start);
    }
    return found.sort((a, b) => a - b);
  }

  /**
   * No byte of the segment at or behind this position is anything but zero. Space is taken in the order of the log, so
   * what a file uses says how far it can reach; the margin is for holes that a power cut may have left. `known`: there is
   * something before this position. A file system that says less (it compresses, tells later, or not at all) is not
   * believed any more.
   */
  usedEnd(start: number, known = 0): number {
    const stat = this.#storage.stat(this.path(start));
    if (stat === undefined) return 0;
    const { size, usedBytes = 0 } = stat;
    if (this.#tellsUsage && usedBytes < Math.max(known, this.#hasHead(start) ? 1 : 0)) {
      this.#tellsUsage = false;
    }
    if (!this.#tellsUsage || stat.usedBytes === undefined) return size;
    return usedBytes === 0 ? 0 : Math.min(size, usedBytes + HOLE_MARGIN);
  }

  #hasHead(start: number): boolean {
    const head = Buffer.alloc(8);
    try {
      this.file(start)?.readInto(head, 0, head.length, 0);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      return true;
    }
    return head.some((byte) => byte !== 0);
  }

  /** The segment's file, open for reading, or undefined when it is not there. */
  file(start: number): StorageFile | undefined {
    let file = this.#open.get(start);
    if (file === undefined) {
      if (this.#storage.stat(this.path(start)) === undefined) return undefined;
      file = this.#storage.open(this.path(start), "read");
      this.#open.set(start, file);
    }
    return file;
  }

  /** Closes the reading side of a segment, before it is removed. */
  forget(start: number): void {
    this.#open.get(start)?.close();
    this.#open.delete(start);
  }

  close(): void {
    for (const file of this.#open.values()) file.close();
    this.#open.clear();
  }
}

/** A single file without a first record: a crash may have come between giving it its length and that being durable. */
function isUntouched(storage: Storage, directory: string, starts: readonly number[]): boolean {
  if (starts.length !== 1) return false;
  const file = storage.open(join(directory, offsetName(starts[0]!)), "read");
  const head = Buffer.alloc(8);
  file.readInto(head, 0, 8, 0);
  file.close();
  return head.every((byte) => byte === 0);
}
