/**
 * One ConsumeQueue: 20 bytes per message that say where it lies in the CommitLog. A topic's shard has RocketMQ's files,
 * a light queue blocks in the shared arena; the entries in memory are kept alike.
 *
 *   at  size  field            big-endian
 *    0     8  physicalOffset   first byte of the record in the CommitLog
 *    8     4  sizeBytes        whole record
 *   12     8  tagHash          Java String.hashCode of the tag, sign-extended; lets a tag filter skip the CommitLog
 *
 * The entry of queueOffset q is number q. Entries are kept in pages (page-pool.ts); the newest page grows. A full page of
 * a topic queue is handed to the store thread at once; what else is unwritten the next checkpoint takes along
 * (entry-flusher.ts). Pages stay until the pool wants them back; what is not in memory is read from the file.
 * Entries are derived from the log: a missing or broken one is rebuilt by recovery.
 */
import type { LogQueue } from "./commit-log.ts";
import type { EntryBatch } from "./message-store.ts";
import type { HeldChunks } from "./page-cache-advice.ts";
import { ENTRY_SIZE, LIGHT_PAGE_ENTRIES, type PagePool, TOPIC_PAGE_ENTRIES } from "./page-pool.ts";
import { LIGHT_PREFIX } from "./record.ts";

const TWO_POW_32 = 2 ** 32;

/** Pages in memory further apart than this are kept in two places: a deep queue may be read, or moved, far from its end. */
const FAR = 64;

/** A number for each of a row of pages, and for some far from it; -1 where there is none. */
class PageNumbers {
  first = 0;
  values: number[] = [];
  /** Those far from the row, in the order they came. */
  far: Map<number, number> | null = null;
  count = 0;

  get(page: number): number {
    const near = page < this.first ? -1 : (this.values[page - this.first] ?? -1);
    return near >= 0 || this.far === null ? near : (this.far.get(page) ?? -1);
  }

  set(page: number, value: number): void {
    if (this.get(page) < 0) this.count++;
    this.far?.delete(page);
    if (this.values.length === 0) this.first = page;
    if (page < this.first - FAR || page > this.first + this.values.length + FAR) {
      this.far ??= new Map();
      this.far.set(page, value);
      return;
    }
    if (page < this.first) {
      this.values = new Array<number>(this.first - page).fill(-1).concat(this.values);
      this.first = page;
    }
    const { values } = this;
    for (let gap = this.first + values.length; gap < page; gap++) values.push(-1);
    values[page - this.first] = value;
  }

  /** Removes one; true when none is left. */
  clear(page: number): boolean {
    if (this.get(page) >= 0) this.count--;
    if (this.count === 0) return true;
    this.far?.delete(page);
    const { values } = this;
    if (page >= this.first && page < this.first + values.length) values[page - this.first] = -1;
    let gone = 0;
    while (gone < values.length && values[gone] === -1) gone++;
    if (gone > 16 && gone > values.length / 2) {
      values.splice(0, gone);
      this.first += gone;
    }
    return false;
  }

  /** Page and number of those before `end`, the lowest first. */
  before(end: number): Array<[page: number, value: number]> {
    const found = [...(this.far ?? [])].filter(([page]) => page < end);
    const { first, values } = this;
    for (let i = 0; i < values.length && first + i < end; i++) {
      if (values[i]! >= 0) found.push([first + i, values[i]!]);
    }
    return this.far === null ? found : found.sort(([a], [b]) => a - b);
  }

  /** The lowest page that is there, or -1. */
  lowest(): number {
    const index = this.values.findIndex((value) => value >= 0);
    let lowest = index < 0 ? Number.POSITIVE_INFINITY : this.first + index;
    for (const page of this.far?.keys() ?? []) if (page < lowest) lowest = page;
    return lowest === Number.POSITIVE_INFINITY ? -1 : lowest;
  }

  /** Numbers of up to `most` pages that were probably not used for longest: far ones, then the lowest. */
  oldest(most: number): number[] {
    const found: number[] = [];
    for (const value of this.far?.values() ?? []) {
      if (found.length === most) return found;
      found.push(value);
    }
    for (let i = 0; i < this.values.length && found.length < most; i++) {
      if (this.values[i]! >= 0) found.push(this.values[i]!);
    }
    return found;
  }
}

/** Entries of a light queue that lie beside what is known of it: in the catalog, and with it where it rests. */
export interface KeptEntries {
  readonly first: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export const keptEntries = (first: number, bytes: Uint8Array): KeptEntries => ({
  first,
  bytes,
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
});

/** What each message touches comes first: with thousands of queues it is the processor's cache that counts. */
export class ConsumeQueue implements LogQueue {
  readonly isLight: boolean;
  /** Has changes that no checkpoint holds yet. */
  isDirty = false;
  /** Page that takes the next entry, or -1. */
  tail = -1;
  /** Slot of the next entry in its page. */
  tailSlot = 0;
  maxOffset = 0;
  minOffset = 0;
  readonly queueId: number;
  #topicBytes: Buffer | null = null;
  /** What it keeps in the page cache, as last said; null while it never did. */
  held: HeldChunks | null = null;
  readonly topic: string;
  /** Its number in commands and in the catalog. */
  readonly number: number;
  owner: unknown = null;
  isDropped = false;
  /** Number of flushes of the table when it became dirty last; -1: not since it was read. */
  dirtySince = -1;
  /** Where it stands in the list of those. */
  dirtyAt = -1;
  /** Its owner has let go of it: it is packed when all of it is in the files. */
  isReleased = false;
  /** Does the catalog know it? */
  isDefined = false;
  /** Does the writer know where its files go? */
  isAnnounced = false;
  readonly pageEntries: number;
  /** Entries before this offset were handed to the writer, or are owed to nobody. */
  flushedOffset = 0;
  /** Of a topic queue: entries before this offset are in its file for good, with the last checkpoint that was planned. */
  safeOffset = 0;
  /** The same, or they are in the catalog. */
  notedOffset = 0;
  /** Physical offset that it still owes, as retention last found it; -1 when it has to look again. */
  owed = -1;
  /** Entries before this offset may name records that were moved: their places do not ascend. */
  movedTo = 0;
  /** Its owner owes more again than it did: a survey under way says nothing about it. */
  isOwedAnew = false;
  /** Files before this number have been removed. */
  firstFile = 0;
  /** A light queue's number in fan records, in which epoch, and the offset it had then (fan-writer.ts). */
  fanEpoch = 0;
  fanNumber = 0;
  fanBase = 0;
  /** All entries of a light queue that is looked at, or about to rest, where neither page nor block has them. */
  kept: KeptEntries | null = null;
  #pages: PageNumbers | null = null;
  #blocks: PageNumbers | null = null;

  constructor(topic: string, queueId: number, isLight: boolean, number: number) {
    this.topic = topic;
    this.queueId = queueId;
    this.isLight = isLight;
    this.number = number;
    this.pageEntries = isLight ? LIGHT_PAGE_ENTRIES : TOPIC_PAGE_ENTRIES;
  }

  get topicBytes(): Buffer {
    this.#topicBytes ??= Buffer.from(this.isLight ? LIGHT_PREFIX + this.topic : this.topic);
    return this.#topicBytes;
  }

  /** Takes the range that is known from disk; nothing is in memory. */
  restore(minOffset: number, maxOffset: number): void {
    this.minOffset = minOffset;
    this.maxOffset = maxOffset;
    this.tail = -1;
    this.tailSlot = maxOffset % this.pageEntries;
    this.flushedOffset = maxOffset;
    this.safeOffset = maxOffset;
    this.notedOffset = maxOffset;
    this.owed = -1;
  }

  /** Entries from here on are not in its file for good, and owed or not yet given to the writer. */
  get unsafeFrom(): number {
    if (this.isLight) return this.flushedOffset;
    return Math.min(this.flushedOffset, Math.max(this.safeOffset, this.minOffset));
  }

  addPage(pageNumber: number, page: number): void {
    this.addOldPage(pageNumber, page);
    this.tail = page;
  }

  /** A page whose entries are in the file already. */
  addOldPage(pageNumber: number, page: number): void {
    this.#pages ??= new PageNumbers();
    this.#pages.set(pageNumber, page);
  }

  /** The page of this number, or -1 when it is not in memory. */
  page(pageNumber: number): number {
    return this.#pages === null ? -1 : this.#pages.get(pageNumber);
  }

  /** The pool wants a page back. False when it holds entries that the file does not. */
  dropPage(page: number, pageNumber: number): boolean {
    const end = Math.min((pageNumber + 1) * this.pageEntries, this.maxOffset);
    if (end > this.flushedOffset) return false;
    if (page === this.tail) this.tail = -1;
    if (this.#pages!.clear(pageNumber)) this.#pages = null;
    return true;
  }

  /** How many pages are in memory. */
  get pageCount(): number {
    return this.#pages?.count ?? 0;
  }

  /** Some of the pages in memory, which were probably not used for longest. */
  oldestPages(most: number): number[] {
    return this.#pages?.oldest(most) ?? [];
  }

  /** Gives pages before `pageNumber` back to the pool. */
  releasePages(pool: PagePool, pageNumber: number): void {
    const pages = this.#pages;
    if (pages === null) return;
    for (const [number, page] of pages.before(pageNumber)) {
      if (page === this.tail) this.tail = -1;
      pool.release(page);
      if (pages.clear(number)) this.#pages = null;
    }
  }

  /** The arena block of a light queue's page, or -1. */
  block(pageNumber: number): number {
    return this.#blocks === null ? -1 : this.#blocks.get(pageNumber);
  }
  setBlock(pageNumber: number, block: number): void {
    this.#blocks ??= new PageNumbers();
    this.#blocks.set(pageNumber, block);
  }
  /** The lowest page that has a block, or -1. */
  firstBlock(): number {
    return this.#blocks?.lowest() ?? -1;
  }
  clearBlock(pageNumber: number): void {
    if (this.#blocks?.clear(pageNumber)) this.#blocks = null;
  }
  /** Page and block, of all that it has. */
  blocks(): Array<[page: number, block: number]> {
    return this.#blocks?.before(Number.POSITIVE_INFINITY) ?? [];
  }
}

export function writeEntry(
  view: DataView,
  at: number,
  physicalOffset: number,
  size: number,
  tagHash: number,
): void {
  // Two halves instead of a bigint: about ten times faster, and a log never reaches 2^53 bytes.
  view.setInt32(at, Math.floor(physicalOffset / TWO_POW_32));
  view.setInt32(at + 4, physicalOffset | 0);
  view.setInt32(at + 8, size);
  view.setInt32(at + 12, tagHash >> 31);
  view.setInt32(at + 16, tagHash);
}

/** Copies `count` entries at `at` to `into` from its index `index` on. */
export function readEntries(
  view: DataView,
  at: number,
  count: number,
  into: EntryBatch,
  index: number,
): void {
  const { physicalOffset, size, tagHash } = into;
  for (let end = index + count; index < end; index++, at += ENTRY_SIZE) {
    physicalOffset[index] = view.getInt32(at) * TWO_POW_32 + view.getUint32(at + 4);
    size[index] = view.getInt32(at + 8);
    tagHash[index] = view.getInt32(at + 16);
  }
}

/** Copies the entries of `offsets[from … end)` to the same places of `into`; that of `first` is at `at`. */
export function readSome(
  view: DataView,
  at: number,
  first: number,
  offsets: Float64Array,
  from: number,
  end: number,
  into: EntryBatch,
): void {
  const { physicalOffset, size, tagHash } = into;
  for (let i = from; i < end; i++) {
    const entry = at + ((offsets[i]! - first) | 0) * ENTRY_SIZE;
    physicalOffset[i] = view.getInt32(entry) * TWO_POW_32 + view.getUint32(entry + 4);
    size[i] = view.getInt32(entry + 8);
    tagHash[i] = view.getInt32(entry + 16);
  }
}
