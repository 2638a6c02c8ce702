/**
 * The seam between the store and a file system: files read and written by position, and the few directory operations a
 * log needs. Everything is synchronous; the store thread may block, the event loop uses it for cold reads only.
 *
 * What a caller may build on:
 *  - `write` has written everything when it returns. When it throws, any part may have been written.
 *  - Written bytes survive a crash of the process at once, and a power cut only after `sync`. Without a sync between
 *    them, any subset of earlier writes may survive, each in any part. The same holds for names: a created, renamed or
 *    removed file is only sure to stay so after `syncDirectory` of its directory.
 *  - When `sync` throws, what was written since the last good sync may be gone for good, even if it can still be read:
 *    the kernel reports the error once and drops the pages. Never retry a sync; stop confirming.
 *  - Bytes between the old end and a growing `truncate` or a write beyond the end read as zeros and use no space.
 *
 * Errors are those of node:fs, with `code` and the path; `isDiskFull` tells the two that pass by themselves.
 */
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  read,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { forgetPages, reserveSpace } from "./page-cache.ts";

/** read: must exist, not writable. write: must exist. create: made when missing. new: must not exist. */
export type OpenMode = "read" | "write" | "create" | "new";

export interface StorageFile {
  readonly path: string;
  /** Reads up to `length` bytes at `position` into `target` from `start` on; returns how many. Fewer only at the end. */
  readInto(target: Uint8Array, start: number, length: number, position: number): number;
  /**
   * The same without waiting, for bytes that nobody waits for: `done` is called later with how many were read, or -1. The
   * target is not to be touched before that.
   */
  readLater?(
    target: Uint8Array,
    length: number,
    position: number,
    done: (got: number) => void,
  ): void;
  /** Writes `source[start, start + length)` at `position`, all of it. */
  write(source: Uint8Array, start: number, length: number, position: number): void;
  /** Sees to it that writes in this range find their space: best effort, the bytes stay zeros. */
  reserve?(from: number, length: number): void;
  /** These bytes, already synced, will hardly be read again: best effort. */
  forget?(from: number, length: number): void;
  /** Makes the data durable (fdatasync: contents and length, not times). */
  sync(): void;
  /** Cuts or grows the file to `size` bytes. */
  truncate(size: number): void;
  size(): number;
  /** No more calls after this one. A second close does nothing. */
  close(): void;
}

export interface StorageEntry {
  readonly name: string;
  readonly isDirectory: boolean;
}

export interface StorageStat {
  readonly size: number;
  readonly modifiedMs: number;
  readonly isDirectory: boolean;
  /** Space that the file takes; less than its size when parts were never written. Absent when unknown. */
  readonly usedBytes?: number;
}

export interface Storage {
  open(path: string, mode: OpenMode): StorageFile;
  /** What the directory holds, by name; empty when there is no such directory. */
  list(path: string): StorageEntry[];
  /** undefined when there is nothing. */
  stat(path: string): StorageStat | undefined;
  /** With its parents; nothing happens when it is there. Durable, if not told otherwise: the parents are synced. */
  makeDirectory(path: string, isDurable?: boolean): void;
  /** Replaces what is at `to`. Not durable before `syncDirectory`. */
  rename(from: string, to: string): void;
  /** Removes a file; nothing happens when it is not there. Open files stay readable. */
  remove(path: string): void;
  /** Removes a directory with everything in it. */
  removeTree(path: string): void;
  /** Makes the names in a directory durable. */
  syncDirectory(path: string): void;
  /** Bytes that this process may still write on the file system of `path`. */
  freeBytes(path: string): number;
  /** Size of the file system of `path`. Absent when unknown. */
  totalBytes?(path: string): number;
}

/** No space, or no quota: passes when somebody frees some. Every other error is for good. */
export function isDiskFull(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "ENOSPC" || code === "EDQUOT";
}

/** An answer of the operating system, not a bug. */
export const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  typeof (error as { code?: unknown } | null)?.code === "string";

/** Removes a file that does no harm when it stays: the next one who looks for such files tries again. */
export function removeIfPossible(storage: Storage, path: string): void {
  try {
    storage.remove(path);
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

const FLAGS: Record<OpenMode, number> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT,
  new: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
};

/** A file of the operating system, read and written by position. */
class PositionedFile implements StorageFile {
  readonly path: string;
  #descriptor: number;

  constructor(path: string, mode: OpenMode) {
    this.path = path;
    this.#descriptor = openSync(path, FLAGS[mode], 0o600);
  }

  readInto(target: Uint8Array, start: number, length: number, position: number): number {
    let done = 0;
    const descriptor = this.#open();
    try {
      while (done < length) {
        const count = readSync(descriptor, target, start + done, length - done, position + done);
        if (count === 0) break;
        done += count;
      }
    } catch (error) {
      throw named(error, this.path);
    }
    return done;
  }

  write(source: Uint8Array, start: number, length: number, position: number): void {
    let done = 0;
    const descriptor = this.#open();
    try {
      // The kernel may take less (a signal, a limit, the last free bytes): the next call takes more or says why not.
      while (done < length) {
        done += writeSync(descriptor, source, start + done, length - done, position + done);
      }
    } catch (error) {
      throw named(error, this.path);
    }
  }

  readLater(
    target: Uint8Array,
    length: number,
    position: number,
    done: (got: number) => void,
  ): void {
    read(this.#open(), target, 0, length, position, (error, got) => done(error ? -1 : got));
  }

  reserve(from: number, length: number): void {
    reserveSpace(this.#open(), from, length);
  }

  forget(from: number, length: number): void {
    forgetPages(this.#open(), from, length);
  }

  sync(): void {
    const descriptor = this.#open();
    try {
      fdatasyncSync(descriptor);
    } catch (error) {
      throw named(error, this.path);
    }
  }

  truncate(size: number): void {
    ftruncateSync(this.#open(), size);
  }

  size(): number {
    return fstatSync(this.#open()).size;
  }

  close(): void {
    if (this.#descriptor < 0) return;
    const descriptor = this.#descriptor;
    // First, so that a failing close cannot lead to a second one of a number that means another file by then.
    this.#descriptor = -1;
    closeSync(descriptor);
  }

  #open(): number {
    if (this.#descriptor < 0) throw new Error(`${this.path}: used after close`);
    return this.#descriptor;
  }
}

/** Calls on a descriptor fail without saying which file it was. */
function named(error: unknown, path: string): unknown {
  const failure = error as NodeJS.ErrnoException;
  if (typeof failure?.code === "string" && failure.path === undefined) {
    failure.path = path;
    failure.message += ` '${path}'`;
  }
  return failure;
}

/** The file system of this machine. */
export const fileSystem: Storage = {
  open: (path, mode) => new PositionedFile(path, mode),

  list(path) {
    const found = ifThere(() => readdirSync(path, { withFileTypes: true })) ?? [];
    return found.map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory() }));
  },

  stat(path) {
    const found = ifThere(() => statSync(path));
    if (found === undefined) return undefined;
    return {
      size: found.size,
      modifiedMs: found.mtimeMs,
      isDirectory: found.isDirectory(),
      ...(process.platform === "win32" ? {} : { usedBytes: found.blocks * 512 }),
    };
  },

  makeDirectory(path, isDurable = true) {
    const first = mkdirSync(resolve(path), { recursive: true, mode: 0o700 });
    if (first === undefined || !isDurable) return;
    // Every directory from the first new one down is a new name in its parent.
    for (let at = resolve(path); ; at = dirname(at)) {
      this.syncDirectory(dirname(at));
      if (at.length <= first.length) break;
    }
  },

  rename: (from, to) => renameSync(from, to),
  remove: (path) => void ifThere(() => unlinkSync(path)),
  removeTree: (path) => rmSync(path, { recursive: true, force: true }),

  syncDirectory(path) {
    if (process.platform === "win32") return; // Directories cannot be opened there; NTFS journals names by itself.
    const descriptor = openSync(path, constants.O_RDONLY);
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  },

  freeBytes(path) {
    const found = statfsSync(path);
    return found.bavail * found.bsize;
  },

  totalBytes(path) {
    const found = statfsSync(path);
    return found.blocks * found.bsize;
  },
};

function ifThere<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
