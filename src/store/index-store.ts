/**
 * The directory of index files: the newest is written, all are searched.
 *
 * Writing belongs to the store thread (`IndexStore`); searching (`IndexReader`) works in any thread on what was flushed,
 * by position, without keeping anything of the files in memory but their headers.
 */
import { applyMarkOf, IndexFile, walkChain } from "./index-file.ts";
import {
  DEFAULT_SHAPE,
  INDEX_HEADER_SIZE,
  type IndexHeader,
  type IndexShape,
  indexFileName,
  indexFileSize,
  indexKeyHash,
  indexKeyHashOfBytes,
  isIndexFileName,
  readIndexHeader,
} from "./index-format.ts";
import type { Storage, StorageFile } from "./storage-file.ts";

const UNIQ_KEY = Buffer.from("UNIQ_KEY\x01", "latin1");
const KEYS = Buffer.from("KEYS\x01", "latin1");

export interface IndexStoreOptions {
  readonly storage: Storage;
  /** `<root>/index` */
  readonly directory: string;
  readonly shape?: IndexShape;
  readonly now?: () => number;
}

export class IndexStore {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #shape: IndexShape;
  readonly #now: () => number;
  #current: IndexFile | null = null;
  /** Older files, oldest first: name and end of the log they cover. */
  #sealed: Array<{ readonly name: string; readonly endPhysicalOffset: number }> = [];
  /** Store time of the newest entry: the files follow each other in time, whatever lies in them. */
  #lastTimestamp = 0;
  /** What lies at or before this is in the files already: a redo skips it. */
  #recoveredTo = -1;

  constructor(options: IndexStoreOptions) {
    this.#storage = options.storage;
    this.#directory = options.directory;
    this.#shape = options.shape ?? DEFAULT_SHAPE;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Opens what is there. Files that cannot be what they should be (length, header) are removed: they are derived data.
   * `logEnd`: where the log ends now; entries from there on are dropped, and files that have no others are removed.
   * Returns the physical offset of the last record that is in the index for sure, -1 for none: put all later ones.
   */
  open(wasClean: boolean, logEnd: number): number {
    this.#storage.makeDirectory(this.#directory);
    const names = listIndexFiles(this.#storage, this.#directory);
    const kept: Array<{ name: string; header: IndexHeader }> = [];
    for (const name of names) {
      const isNewest = name === names.at(-1);
      const header = this.#readHeader(name, isNewest && !wasClean);
      const isUsable =
        header !== null &&
        (header.nextEntry === 1 || header.beginPhysicalOffset < logEnd) &&
        header.endPhysicalOffset >= (kept.at(-1)?.header.endPhysicalOffset ?? 0);
      if (!isUsable) {
        this.#storage.remove(this.#path(name));
      } else if (header.nextEntry === 1 && !isNewest) {
        this.#storage.remove(this.#path(name));
      } else {
        kept.push({ name, header });
      }
    }
    this.#storage.syncDirectory(this.#directory);
    const last = kept.pop();
    this.#sealed = kept.map(({ name, header }) => ({
      name,
      endPhysicalOffset: header.endPhysicalOffset,
    }));
    if (last !== undefined) {
      const { name } = last;
      this.#current = IndexFile.open(
        this.#storage,
        this.#directory,
        name,
        this.#shape,
        wasClean,
        logEnd,
      );
    }
    const newest = [this.#current, kept.at(-1)].find((file) => (file?.header.nextEntry ?? 1) > 1);
    this.#lastTimestamp = newest?.header.endTimestamp ?? 0;
    this.#recoveredTo = newest?.header.endPhysicalOffset ?? -1;
    return this.#recoveredTo;
  }

  /** Adds one key of the record at `physicalOffset`. When it throws (full disk), call again later. */
  put(topic: string, key: string, physicalOffset: number, storeTimestamp: number): void {
    if (physicalOffset <= this.#recoveredTo) return;
    this.#put(indexKeyHash(topic, key), physicalOffset, storeTimestamp);
  }

  /** Adds the keys that a record names: UNIQ_KEY, and each word of KEYS. Offsets are positions in `bytes`. */
  putRecord(
    bytes: Buffer,
    topicStart: number,
    topicEnd: number,
    propertiesStart: number,
    propertiesEnd: number,
    physicalOffset: number,
    storeTimestamp: number,
  ): void {
    if (physicalOffset <= this.#recoveredTo) return;
    let uniqueStart = 0;
    let uniqueEnd = 0;
    let keysStart = 0;
    let keysEnd = 0;
    for (let at = propertiesStart; at < propertiesEnd; ) {
      let end = bytes.indexOf(0x02, at);
      if (end < 0 || end > propertiesEnd) end = propertiesEnd;
      if (startsWith(bytes, at, end, UNIQ_KEY)) {
        uniqueStart = at + UNIQ_KEY.length;
        uniqueEnd = end;
      } else if (startsWith(bytes, at, end, KEYS)) {
        keysStart = at + KEYS.length;
        keysEnd = end;
      }
      at = end + 1;
    }
    // In RocketMQ's order: the unique key, then the words of KEYS.
    const put = (from: number, to: number): void =>
      this.#putBytes(bytes, topicStart, topicEnd, from, to, physicalOffset, storeTimestamp);
    put(uniqueStart, uniqueEnd);
    while (keysStart < keysEnd) {
      let end = bytes.indexOf(0x20, keysStart);
      if (end < 0 || end > keysEnd) end = keysEnd;
      put(keysStart, end);
      keysStart = end + 1;
    }
  }

  /** Lets readers see what was put. */
  flush(): void {
    this.#current?.flush();
  }

  /** Makes what was put durable: before the store's own checkpoint moves past it. */
  checkpoint(): void {
    this.#current?.checkpoint();
  }

  /** Store time of the newest entry that is durable: `indexMsgTimestamp` of RocketMQ's checkpoint file. */
  get endTimestamp(): number {
    return this.#current?.header.endTimestamp ?? 0;
  }

  /** Physical offset of the last record that was put, -1 for none. */
  get endPhysicalOffset(): number {
    const current = this.#current?.header;
    if (current !== undefined && current.nextEntry > 1) return current.endPhysicalOffset;
    return this.#sealed.at(-1)?.endPhysicalOffset ?? -1;
  }

  /** Removes files that only know of records before `minPhysicalOffset`; never the newest. Returns how many. */
  deleteBelow(minPhysicalOffset: number): number {
    const dead = this.#sealed.filter((file) => file.endPhysicalOffset < minPhysicalOffset);
    if (dead.length === 0) return 0;
    for (const { name } of dead) this.#storage.remove(this.#path(name));
    this.#sealed = this.#sealed.filter((file) => file.endPhysicalOffset >= minPhysicalOffset);
    this.#storage.syncDirectory(this.#directory);
    return dead.length;
  }

  /** Checkpoints and closes. */
  close(): void {
    this.#current?.checkpoint();
    this.#current?.syncHeader();
    this.#current?.close();
    this.#current = null;
  }

  #putBytes(
    bytes: Buffer,
    topicStart: number,
    topicEnd: number,
    keyStart: number,
    keyEnd: number,
    physicalOffset: number,
    storeTimestamp: number,
  ): void {
    if (keyEnd <= keyStart) return;
    const hash =
      indexKeyHashOfBytes(bytes, topicStart, topicEnd, keyStart, keyEnd) ??
      indexKeyHash(
        bytes.toString("utf8", topicStart, topicEnd),
        bytes.toString("utf8", keyStart, keyEnd),
      );
    this.#put(hash, physicalOffset, storeTimestamp);
  }

  #put(keyHash: number, physicalOffset: number, storeTimestamp: number): void {
    let file = this.#current;
    if (file === null || file.isFull) file = this.#roll(file);
    // A moved record is older than those around it. Its key counts as stored when it was moved.
    const time = Math.max(storeTimestamp, this.#lastTimestamp);
    file.put(keyHash, physicalOffset, time);
    this.#lastTimestamp = time;
  }

  #roll(full: IndexFile | null): IndexFile {
    const name = indexFileName(this.#now(), full?.name ?? this.#sealed.at(-1)?.name);
    if (full !== null) {
      full.checkpoint();
      full.syncHeader();
    }
    const next = IndexFile.create(this.#storage, this.#directory, name, this.#shape);
    if (full !== null) {
      full.close();
      this.#sealed.push({ name: full.name, endPhysicalOffset: full.header.endPhysicalOffset });
    }
    this.#current = next;
    return next;
  }

  #readHeader(name: string, mayBeTorn: boolean): IndexHeader | null {
    const file = this.#storage.open(this.#path(name), "read");
    try {
      const header = headerOf(file, this.#shape);
      if (header !== null && mayBeTorn) applyMarkOf(file, this.#shape, header);
      return header;
    } finally {
      file.close();
    }
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }
}

/** Searches flushed index files. */
export class IndexReader {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #shape: IndexShape;

  constructor(options: Omit<IndexStoreOptions, "now">) {
    this.#storage = options.storage;
    this.#directory = options.directory;
    this.#shape = options.shape ?? DEFAULT_SHAPE;
  }

  /**
   * Physical offsets of records of `topic` that may carry `key`, newest first, stored between the two times. The
   * caller compares with the record: hashes collide, and times are kept in seconds.
   */
  query(topic: string, key: string, max: number, fromMs: number, toMs: number): number[] {
    const found: number[] = [];
    const keyHash = indexKeyHash(topic, key);
    const names = listIndexFiles(this.#storage, this.#directory);
    for (let i = names.length - 1; i >= 0 && found.length < max; i--) {
      const path = `${this.#directory}/${names[i]}`;
      let file: StorageFile;
      try {
        file = this.#storage.open(path, "read");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") continue; // Removed meanwhile.
        throw error;
      }
      try {
        const header = headerOf(file, this.#shape);
        if (header === null || header.beginTimestamp === 0) continue;
        // The newest file's end is not in its header yet.
        const isNewest = i === names.length - 1;
        const endsBefore = !isNewest && header.endTimestamp < fromMs;
        if (header.beginTimestamp <= toMs && !endsBefore) {
          walkChain(file, this.#shape, keyHash, (physicalOffset, seconds) => {
            const time = header.beginTimestamp + seconds * 1000;
            if (time + 999 >= fromMs && time <= toMs && !found.includes(physicalOffset)) {
              found.push(physicalOffset);
            }
            return found.length < max;
          });
        }
        if (header.beginTimestamp < fromMs) break;
      } finally {
        file.close();
      }
    }
    return found;
  }
}

function listIndexFiles(storage: Storage, directory: string): string[] {
  return storage
    .list(directory)
    .filter((entry) => !entry.isDirectory && isIndexFileName(entry.name))
    .map((entry) => entry.name)
    .sort();
}

function headerOf(file: StorageFile, shape: IndexShape): IndexHeader | null {
  if (file.size() !== indexFileSize(shape)) return null;
  const bytes = Buffer.alloc(INDEX_HEADER_SIZE);
  if (file.readInto(bytes, 0, INDEX_HEADER_SIZE, 0) < INDEX_HEADER_SIZE) return null;
  const header = readIndexHeader(bytes);
  return header.beginTimestamp < 0 ? null : header;
}

function startsWith(bytes: Buffer, at: number, end: number, prefix: Buffer): boolean {
  if (end - at < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (bytes[at + i] !== prefix[i]) return false;
  return true;
}
