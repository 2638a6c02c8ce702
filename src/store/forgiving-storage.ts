/**
 * For looking at what is left of a store: a file that the disk refuses to give, or that is none, reads as zeros where it
 * cannot be read, and is noted. Only for reading; everything else is passed on as it is.
 */
import { isSystemError, type OpenMode, type Storage, type StorageFile } from "./storage-file.ts";

/** What is lost of a range with a bad sector in it. */
const PIECE = 4096;

export class ForgivingStorage implements Storage {
  readonly #storage: Storage;
  /** The first refusal of each file, by path. */
  readonly refusals = new Map<string, string>();

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  open(path: string, mode: OpenMode): StorageFile {
    if (mode !== "read") return this.#storage.open(path, mode);
    let file: StorageFile | null = null;
    try {
      file = this.#storage.open(path, mode);
    } catch (error) {
      this.note(path, error);
    }
    return new ForgivingFile(this, path, file);
  }

  /** Throws what is no answer of the operating system. */
  note(path: string, error: unknown): void {
    if (!isSystemError(error)) throw error;
    if (!this.refusals.has(path)) this.refusals.set(path, `cannot be read: ${error.message}`);
  }

  list(path: string): ReturnType<Storage["list"]> {
    try {
      return this.#storage.list(path);
    } catch (error) {
      this.note(path, error);
      return [];
    }
  }

  stat(path: string): ReturnType<Storage["stat"]> {
    try {
      return this.#storage.stat(path);
    } catch (error) {
      this.note(path, error);
      return undefined;
    }
  }

  makeDirectory(path: string, isDurable?: boolean): void {
    this.#storage.makeDirectory(path, isDurable);
  }
  rename(from: string, to: string): void {
    this.#storage.rename(from, to);
  }
  remove(path: string): void {
    this.#storage.remove(path);
  }
  removeTree(path: string): void {
    this.#storage.removeTree(path);
  }
  syncDirectory(path: string): void {
    this.#storage.syncDirectory(path);
  }
  freeBytes(path: string): number {
    return this.#storage.freeBytes(path);
  }
}

class ForgivingFile implements StorageFile {
  readonly path: string;
  readonly #storage: ForgivingStorage;
  readonly #file: StorageFile | null;

  constructor(storage: ForgivingStorage, path: string, file: StorageFile | null) {
    this.#storage = storage;
    this.path = path;
    this.#file = file;
  }

  readInto(target: Uint8Array, start: number, length: number, position: number): number {
    const file = this.#file;
    if (file === null) return 0;
    try {
      return file.readInto(target, start, length, position);
    } catch (error) {
      this.#storage.note(this.path, error);
    }
    for (let at = 0; at < length; at += PIECE) {
      const piece = Math.min(PIECE, length - at);
      try {
        const got = file.readInto(target, start + at, piece, position + at);
        if (got < piece) return at + got;
      } catch (error) {
        this.#storage.note(this.path, error);
        target.fill(0, start + at, start + at + piece);
      }
    }
    return length;
  }

  write(): void {
    throw new Error(`${this.path} is open for reading only`);
  }
  sync(): void {}
  truncate(): void {
    throw new Error(`${this.path} is open for reading only`);
  }

  size(): number {
    return this.#file?.size() ?? 0;
  }

  close(): void {
    this.#file?.close();
  }
}
