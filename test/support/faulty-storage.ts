/**
 * A disk in memory that behaves as badly as a real one is allowed to: full, failing, slow to keep what it was given.
 *
 *  - `capacityBytes`: writes beyond it stop part of the way with ENOSPC (or EDQUOT).
 *  - `fail(...)`: the next operations that match a rule fail; a failed sync loses the unsynced writes for good.
 *  - `dieAfter(n)`: the process dies in the nth mutating operation from now, a write being done up to any byte.
 *  - `restart("process")`: keeps all that was written. `restart("power")`: of what was not synced any part survives, in
 *    any order, cut at any byte; of names that were not synced, each directory keeps some first ones of its changes.
 */
import { basename, dirname, join } from "node:path";
import type {
  OpenMode,
  Storage,
  StorageEntry,
  StorageFile,
  StorageStat,
} from "../../src/store/storage-file.ts";
import type { Random } from "./random.ts";
import { Inode, PAGE } from "./simulated-file.ts";

export type Operation =
  | "open"
  | "read"
  | "write"
  | "sync"
  | "truncate"
  | "rename"
  | "remove"
  | "list"
  | "syncDirectory";

export interface FaultRule {
  readonly operation: Operation | "any";
  /** Part of the path, or a pattern; all paths when absent. */
  readonly path?: string | RegExp;
  readonly code: "ENOSPC" | "EDQUOT" | "EIO" | "EROFS" | "EACCES" | "EMFILE";
  /** Matching operations that still succeed first; default 0. */
  readonly after?: number;
  /** How many then fail; default 1. */
  readonly times?: number;
  /** Bytes that a failing write or read still does; default 0. */
  readonly partialBytes?: number;
}

/** Thrown out of the operation in which the simulated process dies, and out of every later one until `restart`. */
export class ProcessDied extends Error {
  override name = "ProcessDied";
}

type NameChange = { readonly name: string; readonly inode: Inode | null };

interface Directory {
  readonly current: Map<string, Inode>;
  readonly durable: Map<string, Inode>;
  /** Each inner list is one atomic step (a rename is two changes). */
  pending: NameChange[][];
  readonly children: Set<string>;
}

export class FaultyStorage implements Storage {
  capacityBytes = Number.POSITIVE_INFINITY;
  fullCode: "ENOSPC" | "EDQUOT" = "ENOSPC";
  /** Does `stat` tell how much space a file takes? Some file systems do not. */
  tellsUsage = true;
  /** ... or tell less than it does: they compress, or say zero for everything. */
  usageFactor = 1;
  /** ms since the epoch, for modification times. */
  now: () => number = () => 0;
  /** Operations so far, for tests that want to fail at each place in turn. */
  mutations = 0;
  readonly counts = new Map<Operation, number>();
  /** Reads that failed. */
  refusals = 0;
  readonly #directories = new Map<string, Directory>();
  /** Directories whose names a power cut may lose. */
  readonly #unsynced = new Set<string>();
  #rules: Array<{ rule: FaultRule; skip: number; left: number }> = [];
  #deathAt = Number.POSITIVE_INFINITY;
  #isDead = false;
  /** Grows with each restart: a file opened before belongs to a process that is gone. */
  life = 0;
  #usedPages = 0;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
    this.#directories.set("/", newDirectory());
  }

  fail(rule: FaultRule): void {
    this.#rules.push({ rule, skip: rule.after ?? 0, left: rule.times ?? 1 });
  }

  heal(): void {
    this.#rules = [];
    this.capacityBytes = Number.POSITIVE_INFINITY;
  }

  dieAfter(mutations: number): void {
    this.#deathAt = this.mutations + mutations;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  get usedBytes(): number {
    return this.#usedPages * PAGE;
  }

  /** Ends the process, if it has not died yet, and lets the next one begin. Open files are gone. */
  restart(kind: "process" | "power"): void {
    this.#isDead = false;
    this.#deathAt = Number.POSITIVE_INFINITY;
    this.pendingError = null;
    this.life++;
    const unsynced = [...this.#unsynced];
    this.#unsynced.clear();
    if (kind === "power") for (const path of unsynced) this.#mayLose(path);
    for (const directory of this.#directories.values()) {
      if (kind === "power") this.#cutNames(directory);
    }
    for (const inode of this.#inodes()) {
      if (kind === "power") inode.cut(this.#random);
      inode.forget();
    }
    this.#usedPages = 0;
    for (const inode of this.#inodes()) this.#usedPages += inode.current.pages.size;
  }

  open(path: string, mode: OpenMode): StorageFile {
    this.#enter("open", path);
    const directory = this.#directory(dirname(path), "open", path);
    let inode = directory.current.get(basename(path));
    if (inode === undefined) {
      if (mode === "read" || mode === "write") throw failure("ENOENT", "open", path);
      inode = new Inode();
      inode.modifiedMs = this.now();
      this.#mutate();
      change(directory, [{ name: basename(path), inode }]);
    } else if (mode === "new") {
      throw failure("EEXIST", "open", path);
    }
    inode.openCount++;
    return new FaultyFile(this, path, inode, mode === "read");
  }

  list(path: string): StorageEntry[] {
    this.#enter("list", path);
    const directory = this.#directories.get(path);
    if (directory === undefined) return [];
    return [
      ...[...directory.children].map((name) => ({ name, isDirectory: true })),
      ...[...directory.current.keys()].map((name) => ({ name, isDirectory: false })),
    ];
  }

  stat(path: string): StorageStat | undefined {
    this.#alive();
    if (this.#directories.has(path)) return { size: 0, modifiedMs: 0, isDirectory: true };
    const inode = this.#directories.get(dirname(path))?.current.get(basename(path));
    if (inode === undefined) return undefined;
    const stat = { size: inode.current.size, modifiedMs: inode.modifiedMs, isDirectory: false };
    const usedBytes = Math.floor(inode.current.pages.size * PAGE * this.usageFactor);
    return this.tellsUsage ? { ...stat, usedBytes } : stat;
  }

  makeDirectory(path: string, isDurable = true): void {
    this.#alive();
    if (this.#directories.has(path)) return;
    this.makeDirectory(dirname(path), isDurable);
    this.#mutate();
    this.#directories.get(dirname(path))!.children.add(basename(path));
    this.#directories.set(path, newDirectory());
    if (!isDurable) this.#unsynced.add(path);
  }

  rename(from: string, to: string): void {
    this.#enter("rename", from);
    const source = this.#directory(dirname(from), "rename", from);
    const inode = source.current.get(basename(from));
    if (inode === undefined) throw failure("ENOENT", "rename", from);
    this.#mutate();
    const target = this.#directory(dirname(to), "rename", to);
    const replaced = target.current.get(basename(to));
    const put = { name: basename(to), inode };
    const drop = { name: basename(from), inode: null };
    if (source === target) change(source, [put, drop]);
    else {
      change(target, [put]);
      change(source, [drop]);
    }
    if (replaced !== undefined && replaced !== inode) this.release(replaced);
  }

  remove(path: string): void {
    this.#enter("remove", path);
    const directory = this.#directories.get(dirname(path));
    const inode = directory?.current.get(basename(path));
    if (directory === undefined || inode === undefined) return;
    this.#mutate();
    change(directory, [{ name: basename(path), inode: null }]);
    this.release(inode);
  }

  removeTree(path: string): void {
    const directory = this.#directories.get(path);
    if (directory === undefined) {
      this.remove(path);
      return;
    }
    for (const name of directory.current.keys()) this.remove(`${path}/${name}`);
    for (const name of directory.children) this.removeTree(`${path}/${name}`);
    this.#mutate();
    this.#directories.get(dirname(path))!.children.delete(basename(path));
    this.#directories.delete(path);
    this.#unsynced.delete(path);
  }

  syncDirectory(path: string): void {
    this.#enter("syncDirectory", path);
    const directory = this.#directory(path, "syncDirectory", path);
    this.#mutate();
    for (const step of directory.pending) apply(directory.durable, step);
    directory.pending = [];
    for (const name of directory.children) this.#unsynced.delete(join(path, name));
  }

  freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.usedBytes);
  }

  // What follows is for FaultyFile.

  /** Counts the operation, dies or fails when it is time. Returns the bytes that may still be done, or null for all. */
  begin(operation: "read" | "write" | "sync" | "truncate", path: string, length: number): number {
    this.#alive();
    const rule = this.#match(operation, path);
    if (operation !== "read") this.mutations++;
    if (operation !== "read" && this.mutations > this.#deathAt) {
      this.#isDead = true;
      return operation === "write" ? this.#random.between(0, length) : -1;
    }
    if (rule === undefined) return length;
    if (operation === "read") this.refusals++;
    this.pendingError = failure(rule.code, operation, path);
    return Math.min(rule.partialBytes ?? 0, length);
  }

  /** The error that `begin` found; thrown after the partial work. */
  pendingError: Error | null = null;

  finish(path: string): void {
    if (this.#isDead) throw new ProcessDied(`the process died working on ${path}`);
    const error = this.pendingError;
    this.pendingError = null;
    if (error !== null) throw error;
  }

  /** Of `length` bytes at `position`, how many still fit on the disk. Reserves them. */
  reserve(inode: Inode, position: number, length: number): number {
    let fits = length;
    const room = Math.floor(this.capacityBytes / PAGE) - this.#usedPages;
    if (inode.current.pagesNeeded(position, length) > room) {
      let end = position;
      let taken = 0;
      while (end < position + length) {
        const pageEnd = (Math.floor(end / PAGE) + 1) * PAGE;
        taken += inode.current.pages.has(Math.floor(end / PAGE)) ? 0 : 1;
        if (taken > room) break;
        end = Math.min(pageEnd, position + length);
      }
      fits = end - position;
    }
    this.#usedPages += inode.current.pagesNeeded(position, fits);
    return fits;
  }

  changedPages(by: number): void {
    this.#usedPages += by;
  }

  /** Gives the space back once nobody holds the file. */
  release(inode: Inode): void {
    if (inode.openCount > 0) return;
    for (const directory of this.#directories.values()) {
      for (const other of directory.current.values()) if (other === inode) return;
    }
    this.#usedPages -= inode.current.pages.size;
  }

  #alive(): void {
    if (this.#isDead) throw new ProcessDied("the process is dead");
  }

  #mutate(): void {
    this.mutations++;
    if (this.mutations > this.#deathAt) {
      this.#isDead = true;
      throw new ProcessDied("the process died in a directory operation");
    }
  }

  #enter(operation: Operation, path: string): void {
    this.#alive();
    const rule = this.#match(operation, path);
    if (rule !== undefined) throw failure(rule.code, operation, path);
  }

  #match(operation: Operation, path: string): FaultRule | undefined {
    this.counts.set(operation, (this.counts.get(operation) ?? 0) + 1);
    for (const entry of this.#rules) {
      const { rule } = entry;
      if (entry.left === 0) continue;
      if (rule.operation !== "any" && rule.operation !== operation) continue;
      if (typeof rule.path === "string" && !path.includes(rule.path)) continue;
      if (rule.path instanceof RegExp && !rule.path.test(path)) continue;
      if (entry.skip > 0) {
        entry.skip--;
        continue;
      }
      entry.left--;
      return rule;
    }
    return undefined;
  }

  #directory(path: string, operation: string, of: string): Directory {
    const directory = this.#directories.get(path);
    if (directory === undefined) throw failure("ENOENT", operation, of);
    return directory;
  }

  #inodes(): Set<Inode> {
    const all = new Set<Inode>();
    for (const directory of this.#directories.values()) {
      for (const inode of directory.current.values()) all.add(inode);
    }
    return all;
  }

  /** A directory of which nobody has synced the name. */
  #mayLose(path: string): void {
    if (this.#directories.has(path) && this.#random.chance(50)) this.removeTree(path);
  }

  #cutNames(directory: Directory): void {
    const kept = this.#random.between(0, directory.pending.length);
    for (const step of directory.pending.slice(0, kept)) apply(directory.durable, step);
    directory.pending = [];
    directory.current.clear();
    for (const [name, inode] of directory.durable) directory.current.set(name, inode);
  }
}

class FaultyFile implements StorageFile {
  readonly path: string;
  readonly #disk: FaultyStorage;
  readonly #inode: Inode;
  readonly #isReadOnly: boolean;
  readonly #life: number;
  #isOpen = true;

  constructor(disk: FaultyStorage, path: string, inode: Inode, isReadOnly: boolean) {
    this.#disk = disk;
    this.path = path;
    this.#inode = inode;
    this.#isReadOnly = isReadOnly;
    this.#life = disk.life;
  }

  readInto(target: Uint8Array, start: number, length: number, position: number): number {
    this.#check(false);
    assertRange(target, start, length, position);
    const allowed = this.#disk.begin("read", this.path, length);
    const count = this.#inode.current.read(target, start, allowed, position);
    this.#disk.finish(this.path);
    return count;
  }

  write(source: Uint8Array, start: number, length: number, position: number): void {
    this.#check(true);
    assertRange(source, start, length, position);
    const allowed = this.#disk.begin("write", this.path, length);
    const fits = this.#disk.reserve(this.#inode, position, allowed);
    if (fits > 0) {
      this.#inode.write(Buffer.from(source.slice(start, start + fits)), position);
      this.#inode.modifiedMs = this.#disk.now();
    }
    this.#disk.finish(this.path);
    if (fits < allowed) throw failure(this.#disk.fullCode, "write", this.path);
  }

  reserve(from: number, length: number): void {
    this.#check(true);
    const fits = this.#disk.reserve(this.#inode, from, length);
    this.#inode.current.allocate(from, fits);
  }

  sync(): void {
    this.#check(false);
    const allowed = this.#disk.begin("sync", this.path, 1);
    if (allowed === 1) this.#inode.sync();
    // A sync in which the process dies has done any part of its work: leave that to the power cut.
    else if (allowed === 0) this.#inode.loseChanges();
    this.#disk.finish(this.path);
  }

  truncate(size: number): void {
    this.#check(true);
    const allowed = this.#disk.begin("truncate", this.path, 1);
    if (allowed === 1) {
      const before = this.#inode.current.pages.size;
      this.#inode.truncate(size);
      this.#disk.changedPages(this.#inode.current.pages.size - before);
    }
    this.#disk.finish(this.path);
  }

  size(): number {
    this.#check(false);
    return this.#inode.current.size;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.#disk.isDead || this.#life !== this.#disk.life) return;
    this.#inode.openCount--;
    this.#disk.release(this.#inode);
  }

  #check(forWriting: boolean): void {
    if (!this.#isOpen) throw new Error(`${this.path}: used after close`);
    if (this.#life !== this.#disk.life)
      throw new ProcessDied(`${this.path}: opened in a past life`);
    if (forWriting && this.#isReadOnly) throw failure("EBADF", "write", this.path);
  }
}

function assertRange(bytes: Uint8Array, start: number, length: number, position: number): void {
  if (start < 0 || length < 0 || start + length > bytes.length || !(position >= 0)) {
    throw new RangeError(`range ${start}+${length} of ${bytes.length} bytes at ${position}`);
  }
}

function newDirectory(): Directory {
  return { current: new Map(), durable: new Map(), pending: [], children: new Set() };
}

function change(directory: Directory, step: NameChange[]): void {
  apply(directory.current, step);
  directory.pending.push(step);
}

function apply(names: Map<string, Inode>, step: readonly NameChange[]): void {
  for (const { name, inode } of step) {
    if (inode === null) names.delete(name);
    else names.set(name, inode);
  }
}

function failure(code: string, operation: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${operation} '${path}'`), {
    code,
    path,
    syscall: operation,
  });
}
