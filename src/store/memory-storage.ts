/**
 * The Storage seam in RAM: files of pages that take space when they are written. Syncs do nothing, and everything is
 * gone with the object. For the memory store and for tests that want no disk.
 */
import { basename, dirname } from "node:path";
import type { OpenMode, Storage, StorageEntry, StorageFile, StorageStat } from "./storage-file.ts";

const PAGE = 16 << 10;

interface MemoryNode {
  size: number;
  modifiedMs: number;
  readonly pages: Map<number, Buffer>;
}

class MemoryFile implements StorageFile {
  readonly path: string;
  readonly #node: MemoryNode;
  readonly #isReadOnly: boolean;
  #isClosed = false;

  constructor(path: string, node: MemoryNode, isReadOnly: boolean) {
    this.path = path;
    this.#node = node;
    this.#isReadOnly = isReadOnly;
  }

  readInto(target: Uint8Array, start: number, length: number, position: number): number {
    this.#check();
    checkRange(target, start, length);
    const count = Math.max(0, Math.min(length, this.#node.size - position));
    for (let done = 0; done < count; ) {
      const page = Math.floor((position + done) / PAGE);
      const from = (position + done) % PAGE;
      const run = Math.min(count - done, PAGE - from);
      const bytes = this.#node.pages.get(page);
      if (bytes === undefined) target.fill(0, start + done, start + done + run);
      else bytes.copy(target, start + done, from, from + run);
      done += run;
    }
    return count;
  }

  write(source: Uint8Array, start: number, length: number, position: number): void {
    this.#check();
    checkRange(source, start, length);
    if (this.#isReadOnly) throw failure("EBADF", this.path);
    const bytes = Buffer.from(source.buffer, source.byteOffset, source.byteLength);
    for (let done = 0; done < length; ) {
      const page = Math.floor((position + done) / PAGE);
      const at = (position + done) % PAGE;
      const run = Math.min(length - done, PAGE - at);
      let target = this.#node.pages.get(page);
      if (target === undefined) {
        target = Buffer.alloc(PAGE);
        this.#node.pages.set(page, target);
      }
      bytes.copy(target, at, start + done, start + done + run);
      done += run;
    }
    this.#node.size = Math.max(this.#node.size, position + length);
    this.#node.modifiedMs = Date.now();
  }

  sync(): void {
    this.#check();
  }

  truncate(size: number): void {
    this.#check();
    if (this.#isReadOnly) throw failure("EINVAL", this.path);
    const { pages } = this.#node;
    for (const [page, bytes] of pages) {
      if (page * PAGE >= size) pages.delete(page);
      else if ((page + 1) * PAGE > size) bytes.fill(0, size - page * PAGE);
    }
    this.#node.size = size;
  }

  size(): number {
    this.#check();
    return this.#node.size;
  }

  close(): void {
    this.#isClosed = true;
  }

  #check(): void {
    if (this.#isClosed) throw new Error(`${this.path}: used after close`);
  }
}

function checkRange(bytes: Uint8Array, start: number, length: number): void {
  if (!(start >= 0 && length >= 0 && start + length <= bytes.length)) {
    throw new RangeError(`range ${start}+${length} is outside of ${bytes.length} bytes`);
  }
}

export class MemoryStorage implements Storage {
  readonly #files = new Map<string, MemoryNode>();
  readonly #directories = new Set<string>(["/", "."]);

  /** Another one with the same files, as they are now. */
  copy(): MemoryStorage {
    const copy = new MemoryStorage();
    for (const path of this.#directories) copy.#directories.add(path);
    for (const [path, { size, modifiedMs, pages }] of this.#files) {
      const copied = new Map([...pages].map(([page, bytes]) => [page, Buffer.from(bytes)]));
      copy.#files.set(path, { size, modifiedMs, pages: copied });
    }
    return copy;
  }

  open(path: string, mode: OpenMode): StorageFile {
    let node = this.#files.get(path);
    if (node === undefined) {
      if (mode === "read" || mode === "write") throw failure("ENOENT", path);
      if (!this.#directories.has(dirname(path))) throw failure("ENOENT", path);
      node = { size: 0, modifiedMs: Date.now(), pages: new Map() };
      this.#files.set(path, node);
    } else if (mode === "new") {
      throw failure("EEXIST", path);
    }
    return new MemoryFile(path, node, mode === "read");
  }

  list(path: string): StorageEntry[] {
    const found: StorageEntry[] = [];
    for (const [isDirectory, names] of [
      [false, this.#files.keys()],
      [true, this.#directories],
    ] as const) {
      for (const name of names) {
        if (name !== path && dirname(name) === path)
          found.push({ name: basename(name), isDirectory });
      }
    }
    return found;
  }

  stat(path: string): StorageStat | undefined {
    const node = this.#files.get(path);
    if (node !== undefined) {
      return { size: node.size, modifiedMs: node.modifiedMs, isDirectory: false };
    }
    return this.#directories.has(path) ? { size: 0, modifiedMs: 0, isDirectory: true } : undefined;
  }

  makeDirectory(path: string): void {
    for (let at = path; !this.#directories.has(at); at = dirname(at)) this.#directories.add(at);
  }

  rename(from: string, to: string): void {
    const node = this.#files.get(from);
    if (node === undefined) throw failure("ENOENT", from);
    this.#files.delete(from);
    this.#files.set(to, node);
  }

  remove(path: string): void {
    this.#files.delete(path);
  }

  removeTree(path: string): void {
    for (const name of this.#files.keys())
      if (name.startsWith(`${path}/`)) this.#files.delete(name);
    for (const name of this.#directories) {
      if (name === path || name.startsWith(`${path}/`)) this.#directories.delete(name);
    }
    this.#files.delete(path);
  }

  syncDirectory(_path: string): void {}

  freeBytes(_path: string): number {
    return Number.MAX_SAFE_INTEGER;
  }
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code, path });
}
