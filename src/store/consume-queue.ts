/**
 * One ConsumeQueue: 20 bytes per message that say where it lies in the CommitLog. A topic's shard has RocketMQ's files,
 * a light queue blocks in the shared arena; the entries in memory are kept alike.
 *
 *   at  size  field            big-endian
 *    0     8  physicalOffset   first byte of the record in the CommitLog
 *    8     4  sizeBytes        whole record
 *   12     8  tagHash          Java String.hashCode of the tag, sign-extended; lets a tag filter skip the CommitLog
 *
 * The entry of queueOffset q is number q: page q / 200, slot q % 200. The newest page grows here; a full page is handed
 * to the store thread at once and stays until the pool wants it back. What is not in memory is read from the file.
 * Entries are derived from the log: a missing or broken one is rebuilt by recovery.
 */

import type { LogQueue } from "./commit-log.ts";
import type { EntryBatch } from "./message-store.ts";
import { PAGE_ENTRIES, PAGE_HEADER, type PagePool } from "./page-pool.ts";
import { LIGHT_PREFIX } from "./record.ts";

export const ENTRY_SIZE = 20;
const TWO_POW_32 = 2 ** 32;

export class ConsumeQueue implements LogQueue {
  readonly topic: string;
  readonly queueId: number;
  readonly isLight: boolean;
  /** Its number in commands and in the catalog. */
  readonly number: number;
  owner: unknown = null;
  minOffset = 0;
  maxOffset = 0;
  isDropped = false;
  /** Has entries or a trim that no checkpoint holds yet. */
  isDirty = false;
  /** Knows the writer where its files go? */
  isAnnounced = false;
  /** Page that takes the next entry, or -1. */
  tail = -1;
  /** Slot of the next entry: maxOffset % 200. */
  tailSlot = 0;
  /** Pages in memory from number `firstPage` on; -1 for those that were dropped. */
  #pages: number[] | null = null;
  #firstPage = 0;
  #topicBytes: Buffer | null = null;

  constructor(topic: string, queueId: number, isLight: boolean, number: number) {
    this.topic = topic;
    this.queueId = queueId;
    this.isLight = isLight;
    this.number = number;
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
    this.tailSlot = maxOffset % PAGE_ENTRIES;
  }

  addPage(pageNumber: number, page: number): void {
    if (this.#pages === null || this.#pages.length === 0) {
      this.#pages ??= [];
      this.#firstPage = pageNumber;
    }
    for (let gap = this.#firstPage + this.#pages.length; gap < pageNumber; gap++) {
      this.#pages.push(-1);
    }
    this.#pages[pageNumber - this.#firstPage] = page;
    this.tail = page;
  }

  /** The page of this number, or -1 when it is not in memory. */
  page(pageNumber: number): number {
    if (this.#pages === null || pageNumber < this.#firstPage) return -1;
    return this.#pages[pageNumber - this.#firstPage] ?? -1;
  }

  /** The pool wants a page back whose slots before `flushed` are in the file. False when it has others. */
  dropPage(page: number, pageNumber: number, flushed: number): boolean {
    if (page === this.tail) {
      if (this.tailSlot > flushed) return false;
      this.tail = -1;
    }
    const pages = this.#pages!;
    pages[pageNumber - this.#firstPage] = -1;
    let gone = 0;
    while (gone < pages.length && pages[gone] === -1) gone++;
    if (gone === pages.length) {
      this.#pages = null;
    } else if (gone > 16 && gone > pages.length / 2) {
      pages.splice(0, gone);
      this.#firstPage += gone;
    }
    return true;
  }

  /** Gives all pages back. */
  releasePages(pool: PagePool): void {
    for (const page of this.#pages ?? []) if (page >= 0) pool.release(page);
    this.#pages = null;
    this.tail = -1;
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

/** Index of a slot's entry behind the page's first byte. */
export const slotAt = (slot: number): number => PAGE_HEADER + slot * ENTRY_SIZE;
