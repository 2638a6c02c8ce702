/**
 * The segments of the CommitLog: files of one fixed length whose names are the 20-digit physical offset of their first
 * byte, created sparse at full length. Reading them: segment-reader.ts. Writing them: log-writer.ts.
 */
import { join } from "node:path";
import type { Storage, StorageFile } from "./storage-file.ts";
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

  constructor(storage: Storage, directory: string, segmentBytes: number) {
    this.#storage = storage;
    this.directory = directory;
    this.segmentBytes = segmentBytes;
  }

  /** Length of the segments that are there, as their sizes and names say; undefined when there are none. */
  static lengthOnDisk(storage: Storage, directory: string): number | undefined {
    const sizes = new Map<number, number>();
    for (const { name, isDirectory } of storage.list(directory)) {
      const start = offsetOfName(name);
      if (start < 0 || isDirectory) continue;
      const size = storage.stat(join(directory, name))?.size ?? 0;
      if (size > 0) sizes.set(start, size);
    }
    if (sizes.size === 0) return undefined;
    // A torn one may be shorter: the longest is whole, and all begin at multiples of it.
    const length = Math.max(...sizes.values());
    for (const start of sizes.keys()) {
      if (start % length !== 0) {
        throw new StoreOpenError(
          `store: ${join(directory, offsetName(start))} does not begin at a multiple of ${length}, the length of the ` +
            "segments beside it; restore the missing or exchanged files, or move it away",
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
   * what a file uses says how far it can reach; the margin is for holes that a power cut may have left.
   */
  usedEnd(start: number): number {
    const stat = this.#storage.stat(this.path(start));
    if (stat === undefined) return 0;
    if (stat.usedBytes === undefined) return stat.size;
    return stat.usedBytes === 0 ? 0 : Math.min(stat.size, stat.usedBytes + HOLE_MARGIN);
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
