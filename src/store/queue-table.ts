/**
 * All ConsumeQueues of the store, on the event loop: their entries in pages, what is still to be written, and what the
 * next checkpoint tells the catalog. By name: queue-names.ts.
 */
import { join } from "node:path";
import { Arena, BLOCK_ENTRIES } from "./arena.ts";
import { CatalogBatch } from "./catalog.ts";
import type { CatalogLoader, CatalogTail } from "./catalog-loader.ts";
import type { CommandRing } from "./command-ring.ts";
import { ConsumeQueue, keptEntries, readEntries, readSome, writeEntry } from "./consume-queue.ts";
import { DROP_TOPIC } from "./drop-record.ts";
import { EntryFlusher } from "./entry-flusher.ts";
import { EntryReader } from "./entry-reader.ts";
import type { EntryBatch } from "./message-store.ts";
import { ENTRY_SIZE, LIGHT_PAGE_ENTRIES, PagePool, TOPIC_PAGE_ENTRIES } from "./page-pool.ts";
import { QUEUE_FILE_BYTES, QUEUE_FILE_ENTRIES } from "./page-writer.ts";
import { QueueNames } from "./queue-names.ts";
import { FILLER_SIZE, isFiller } from "./record.ts";
import { offsetOfName } from "./segment-list.ts";
import type { Storage } from "./storage-file.ts";
import type { ToWriter } from "./writer-messages.ts";

/** Each queue with unwritten entries may have a page more than the limit, up to so many times the limit. */
const SPARE_TIMES = 7;
/** Part of all pages that one queue has, as long as what it has is in its file. */
const OWN_SHARE = 16;
/** Queues whose pages are handed over for each page that is wanted from a full pool, and when it is full beyond measure. */
const RELIEF_PER_PAGE = 8;
const RELIEF_WHEN_OVERFULL = 1024;
/** Queues settled or packed before the clock is looked at. */
const QUEUES_PER_STEP = 64;

interface Replaced {
  queue: ConsumeQueue | null;
  page: number;
  pageNumber: number;
  /** Slots of the page. */
  from: number;
  to: number;
}

export class QueueTable {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #post: (message: ToWriter) => void;
  /** No record lies there or behind. */
  logEnd: () => number = () => Number.POSITIVE_INFINITY;
  readonly #topicPages: PagePool;
  readonly #lightPages: PagePool;
  readonly #reader: EntryReader;
  readonly arena = new Arena();
  readonly names: QueueNames;
  /** What was handed over up to this `flushAll` is in the files. */
  #flushesDone = 0;
  /** Entries replaced in one page, not yet handed to the writer. */
  readonly #replaced: Replaced = { queue: null, page: -1, pageNumber: 0, from: 0, to: 0 };
  readonly catalog = new CatalogBatch();
  readonly #flusher: EntryFlusher;

  constructor(
    storage: Storage,
    directory: string,
    commands: CommandRing,
    pageLimit: number,
    syncedQueues: number,
    post: (message: ToWriter) => void,
  ) {
    this.#storage = storage;
    this.#directory = directory;
    this.#post = post;
    const poolOf = (isLight: boolean, entries: number, limit: number): PagePool =>
      new PagePool(entries, commands, {
        ownLimit: Math.max(2, Math.floor(limit / OWN_SHARE)),
        limit: () => limit + Math.min(this.#flusher.unwritten(isLight), limit * SPARE_TIMES),
        onSlab: (index, memory) => post({ kind: "slab", isLight, index, memory }),
      });
    this.#topicPages = poolOf(false, TOPIC_PAGE_ENTRIES, pageLimit);
    this.#lightPages = poolOf(true, LIGHT_PAGE_ENTRIES, pageLimit * 10);
    this.#reader = new EntryReader(storage, directory);
    const { arena, catalog } = this;
    this.#flusher = new EntryFlusher({
      ...{ commands, arena, catalog, syncedQueues, post },
      pool: (queue) => this.#pool(queue),
      folder: (queue) => this.folder(queue),
    });
    this.names = new QueueNames({
      release: (queue) => {
        // What only the catalog has of it goes into its file first.
        if (queue.unsafeFrom === queue.maxOffset) return;
        this.flushReplaced();
        if (!this.#flusher.keepNow(queue)) this.#flusher.markDirty(queue);
      },
      isInFiles: (queue) =>
        this.#flusher.isKept(queue) ||
        (!queue.isDirty &&
          queue.dirtySince < this.#flushesDone &&
          queue.unsafeFrom === queue.maxOffset),
      fold: (queue) => this.#fold(queue),
      unfold: (queue) => this.#unfold(queue),
      forget: (queue) => {
        this.#reader.forget(queue);
        if (queue.isAnnounced) this.#post({ kind: "rest", number: queue.number });
      },
    });
  }

  #fold(queue: ConsumeQueue): void {
    if (this.#flusher.isKept(queue)) {
      const { minOffset, maxOffset } = queue;
      const bytes = new Uint8Array((maxOffset - minOffset) * ENTRY_SIZE);
      this.#copyEntries(queue, minOffset, maxOffset, bytes);
      queue.kept = keptEntries(minOffset, bytes);
      this.#flusher.forget(queue);
    }
    queue.releasePages(this.#pool(queue), Number.POSITIVE_INFINITY);
  }

  /** Entries of pages in memory. */
  #copyEntries(queue: ConsumeQueue, from: number, to: number, into: Uint8Array): void {
    const pool = this.#pool(queue);
    for (let offset = from; offset < to; ) {
      const slot = offset % pool.entries;
      const count = Math.min(pool.entries - slot, to - offset);
      const page = queue.page((offset - slot) / pool.entries);
      const bytes = pool.bytes(page);
      const at = pool.at(page, slot);
      const start = (offset - from) * ENTRY_SIZE;
      for (let i = 0; i < count * ENTRY_SIZE; i++) into[start + i] = bytes[at + i]!;
      offset += count;
    }
  }

  #unfold(queue: ConsumeQueue): void {
    const { kept, maxOffset } = queue;
    if (kept === null) return;
    const pool = this.#pool(queue);
    queue.flushedOffset = kept.first;
    for (let offset = kept.first; offset < maxOffset; ) {
      const slot = offset % pool.entries;
      const count = Math.min(pool.entries - slot, maxOffset - offset);
      if (pool.isFull) this.#flusher.relieve(RELIEF_PER_PAGE, queue.isLight);
      const pageNumber = (offset - slot) / pool.entries;
      const page = pool.allocate(queue, pageNumber, slot);
      queue.addPage(pageNumber, page);
      const start = (offset - kept.first) * ENTRY_SIZE;
      const entries = kept.bytes.subarray(start, start + count * ENTRY_SIZE);
      pool.bytes(page).set(entries, pool.at(page, slot));
      offset += count;
    }
    if (maxOffset % pool.entries === 0) queue.tail = -1;
    queue.kept = null;
    this.#flusher.noteKept(queue);
  }

  /** What was handed over with the flush before the last checkpoint is in the files now. */
  endCheckpoint(): void {
    this.arena.endCheckpoint();
    this.#flushesDone = this.#flusher.flushes;
    this.names.packLeaving();
  }

  /** So much has changed that a checkpoint had better wait until `tidySome` has been at it. */
  get isMuch(): boolean {
    return this.#flusher.isMuch;
  }

  /** A step of what need not be done at once. False when there is nothing of the kind. */
  tidySome(): boolean {
    if (this.names.isPacking) {
      this.names.packSome(QUEUES_PER_STEP);
      if (!this.names.isPacking)
        for (const pool of [this.#topicPages, this.#lightPages]) pool.shrink();
    }
    if (this.#flusher.isMuch) this.#flusher.settleSome(QUEUES_PER_STEP);
    return this.names.isPacking || this.#flusher.isMuch;
  }

  /** Queues that have changed since the last checkpoint. */
  get changed(): readonly ConsumeQueue[] {
    return this.#flusher.changed;
  }
  get changes(): number {
    return this.#flusher.changes;
  }

  /** Pages wait to be written beyond all measure: nothing more may be appended until some are. */
  isOverfull(): boolean {
    if (!this.#topicPages.isOverfull() && !this.#lightPages.isOverfull()) return false;
    for (const isLight of [false, true]) this.#flusher.relieve(RELIEF_WHEN_OVERFULL, isLight);
    return true;
  }

  /** Takes part in drop records only; it has no entries and is no queue. */
  readonly dropTopic = new ConsumeQueue(DROP_TOPIC, 0, false, 0);

  /** Queues dropped so far. */
  drops = 0;

  /** Forgets a queue. `logEnd`: its files go once the log is durable up to there. */
  drop(queue: ConsumeQueue, logEnd: number): void {
    if (queue.isDropped) return;
    this.flushReplaced();
    this.drops++;
    queue.isDropped = true;
    this.#flusher.forget(queue);
    queue.releasePages(this.#pool(queue), Number.POSITIVE_INFINITY);
    for (const [, block] of queue.blocks()) this.arena.release(block);
    this.#reader.drop(queue);
    if (queue.isDefined) this.catalog.drop(queue.number);
    this.names.remove(queue);
    if (!queue.isLight && (queue.isAnnounced || queue.isDefined)) {
      this.#post({ kind: "drop", number: queue.number, folder: this.folder(queue), logEnd });
    }
  }

  /** Entries before `offset` are owed to nobody. Beyond the end: the queue goes on from there. */
  trim(queue: ConsumeQueue, offset: number): void {
    if (offset <= queue.minOffset) return;
    this.flushReplaced();
    if (offset > queue.maxOffset) {
      queue.releasePages(this.#pool(queue), Number.POSITIVE_INFINITY);
      this.#releaseBlocks(queue, Number.POSITIVE_INFINITY);
      queue.restore(offset, offset);
      if (queue.isAnnounced)
        this.#post({ kind: "settled", number: queue.number, settledTo: offset });
    }
    queue.minOffset = offset;
    // Where entries name moved records the first one says nothing about the others: live-survey.ts looks at all.
    if (queue.movedTo <= offset) queue.owed = -1;
    if (queue.isLight) {
      const isEmpty = offset === queue.maxOffset;
      queue.flushedOffset = Math.max(queue.flushedOffset, offset);
      const end = isEmpty ? Number.POSITIVE_INFINITY : Math.floor(offset / LIGHT_PAGE_ENTRIES);
      queue.releasePages(this.#lightPages, end);
      this.#releaseBlocks(
        queue,
        isEmpty ? Number.POSITIVE_INFINITY : Math.floor(offset / BLOCK_ENTRIES),
      );
    }
    if (!queue.isDirty) this.#flusher.markDirty(queue);
  }

  #releaseBlocks(queue: ConsumeQueue, endPage: number): void {
    for (let page = queue.firstBlock(); page >= 0 && page < endPage; page = queue.firstBlock()) {
      this.arena.release(queue.block(page));
      this.catalog.free(queue.number, page);
      queue.clearBlock(page);
    }
  }

  /** Adds the next entry of a queue. */
  append(queue: ConsumeQueue, physicalOffset: number, size: number, tagHash: number): void {
    const pool = queue.isLight ? this.#lightPages : this.#topicPages;
    let page = queue.tail;
    const slot = queue.tailSlot;
    if (page < 0) {
      // The pool may take back a page of which it does not know that it changed.
      this.flushReplaced();
      if (pool.isFull) this.#flusher.relieve(RELIEF_PER_PAGE, queue.isLight);
      const pageNumber = Math.floor(queue.maxOffset / pool.entries);
      page = pool.allocate(queue, pageNumber, slot);
      queue.addPage(pageNumber, page);
    }
    writeEntry(pool.view(page), pool.at(page, slot), physicalOffset, size, tagHash);
    queue.maxOffset++;
    if (!queue.isDirty) this.#flusher.markDirty(queue);
    if (slot + 1 < pool.entries) {
      queue.tailSlot = slot + 1;
      return;
    }
    queue.tail = -1;
    queue.tailSlot = 0;
    if (!queue.isLight) this.#flusher.flush(queue);
  }

  /**
   * The record of an entry that the queue has lies elsewhere now. The page is in memory from now on, until its file has
   * the change. `flushReplaced` ends a row of these.
   */
  replace(
    queue: ConsumeQueue,
    offset: number,
    physicalOffset: number,
    size: number,
    tagHash: number,
  ): void {
    const pool = this.#pool(queue);
    const pageNumber = Math.floor(offset / pool.entries);
    const slot = offset - pageNumber * pool.entries;
    const replaced = this.#replaced;
    if (replaced.queue !== queue || replaced.pageNumber !== pageNumber) this.flushReplaced();
    let page = queue.page(pageNumber);
    if (page < 0 || slot < pool.firstSlot(page)) page = this.#load(queue, pool, pageNumber, page);
    writeEntry(pool.view(page), pool.at(page, slot), physicalOffset, size, tagHash);
    if (offset >= queue.movedTo) queue.movedTo = offset + 1;
    this.#flusher.markDirty(queue);
    if (offset >= queue.safeOffset && offset < queue.notedOffset) queue.notedOffset = offset;
    if (offset >= queue.flushedOffset) return; // Written with what is new.
    if (replaced.queue === null) {
      replaced.queue = queue;
      replaced.page = page;
      replaced.pageNumber = pageNumber;
      replaced.from = slot;
      replaced.to = slot + 1;
    } else {
      replaced.from = Math.min(replaced.from, slot);
      replaced.to = Math.max(replaced.to, slot + 1);
    }
  }

  /** Hands what was replaced to the writer. */
  flushReplaced(): void {
    const { queue, page, pageNumber, from, to } = this.#replaced;
    if (queue === null) return;
    this.#replaced.queue = null;
    const offset = pageNumber * this.#pool(queue).entries + from;
    this.#flusher.rewrite(queue, page, from, offset, to - from);
  }

  /** Entries of `[from, to)` that were never written name no record. */
  fillGap(queue: ConsumeQueue, from: number, to: number): void {
    const pool = this.#pool(queue);
    for (let offset = from; offset < to; ) {
      const pageNumber = Math.floor(offset / pool.entries);
      const end = Math.min(to, (pageNumber + 1) * pool.entries);
      let page = queue.page(pageNumber);
      const first = offset - pageNumber * pool.entries;
      if (page < 0 || first < pool.firstSlot(page)) {
        this.flushReplaced();
        page = this.#load(queue, pool, pageNumber, page);
      }
      for (; offset < end; offset++) {
        const at = pool.at(page, offset - pageNumber * pool.entries);
        if (pool.view(page).getInt32(at + 8) === 0) this.replace(queue, offset, 0, FILLER_SIZE, 0);
      }
    }
    this.flushReplaced();
  }

  /** Brings a page into memory: what the file has of it, beside what is there already. */
  #load(queue: ConsumeQueue, pool: PagePool, pageNumber: number, known: number): number {
    const first = pageNumber * pool.entries;
    const slots = known < 0 ? pool.entries : pool.firstSlot(known);
    const end = Math.min(first + slots, queue.maxOffset);
    let page = known;
    if (known < 0) {
      if (pool.isFull) this.#flusher.relieve(RELIEF_PER_PAGE, queue.isLight);
      page = pool.allocate(queue, pageNumber, 0);
    }
    const view = pool.view(page);
    const limit = known < 0 ? Number.POSITIVE_INFINITY : first + slots;
    for (let offset = first; offset < end; ) {
      const block = this.#reader.find(queue, this, offset, limit);
      const skip = offset - block.firstOffset;
      const count = Math.min(end - offset, block.count - skip);
      const from = block.bytes.subarray(skip * ENTRY_SIZE, (skip + count) * ENTRY_SIZE);
      const at = view.byteOffset + pool.at(page, offset - first);
      new Uint8Array(view.buffer, at, from.length).set(from);
      offset += count;
    }
    // From here on the file may be behind.
    this.#reader.forgetEntry(queue, first);
    if (known >= 0) {
      pool.setWhole(page);
      return page;
    }
    queue.addOldPage(pageNumber, page);
    const isLast = first + pool.entries > queue.maxOffset;
    if (isLast) queue.tail = page;
    return page;
  }

  /** For a checkpoint: everything unwritten to the writer or into the catalog, and the state of each changed queue. */
  flushAll(isClosing: boolean): void {
    this.flushReplaced();
    this.#flusher.flushAll(isClosing);
  }

  get isDirty(): boolean {
    return this.#flusher.changes > 0 || !this.catalog.isEmpty;
  }

  /** With the last `flushAll` the files of topic queues got every entry. */
  get areFilesComplete(): boolean {
    return this.#flusher.isComplete;
  }

  /** All that the catalog has to say of a queue, for a new file. */
  describe(queue: ConsumeQueue, batch: CatalogBatch): void {
    this.#flusher.describe(queue, batch);
  }

  /** Copies up to `max` entries from `from` on; how many. */
  read(queue: ConsumeQueue, from: number, max: number, into: EntryBatch): number {
    const pool = this.#pool(queue);
    const { tail, tailSlot, maxOffset } = queue;
    if (tail >= 0) {
      // Mostly it is what came last, in the page that grows.
      const slot = from - maxOffset + tailSlot;
      if (slot >= 0 && slot >= pool.firstSlot(tail)) {
        const count = Math.min(max, tailSlot - slot);
        readEntries(pool.view(tail), pool.at(tail, slot), count, into, 0);
        pool.touch(tail);
        return Math.max(0, count);
      }
    }
    const end = Math.min(maxOffset, from + max);
    let offset = from;
    while (offset < end) {
      const pageNumber = Math.floor(offset / pool.entries);
      const slot = offset - pageNumber * pool.entries;
      const page = queue.page(pageNumber);
      let count: number;
      if (page >= 0 && slot >= pool.firstSlot(page)) {
        count = Math.min(end - offset, pool.entries - slot);
        readEntries(pool.view(page), pool.at(page, slot), count, into, offset - from);
        pool.touch(page);
      } else if (queue.kept !== null) {
        const { first, view } = queue.kept;
        count = end - offset;
        readEntries(view, (offset - first) * ENTRY_SIZE, count, into, offset - from);
      } else {
        const inMemory =
          page >= 0 ? offset - slot + pool.firstSlot(page) : Number.POSITIVE_INFINITY;
        const block = this.#reader.find(queue, this, offset, inMemory);
        const skip = offset - block.firstOffset;
        count = Math.min(end - offset, block.count - skip);
        readEntries(block.view, skip * ENTRY_SIZE, count, into, offset - from);
        markLost(into, offset - from, count, this.logEnd());
      }
      offset += count;
    }
    return offset - from;
  }

  /** The same of ascending offsets with gaps between them. */
  readEach(queue: ConsumeQueue, offsets: Float64Array, count: number, into: EntryBatch): number {
    const pool = this.#pool(queue);
    const { maxOffset } = queue;
    let done = 0;
    while (done < count && offsets[done]! < maxOffset) {
      const offset = offsets[done]!;
      const pageNumber = Math.floor(offset / pool.entries);
      const first = pageNumber * pool.entries;
      const page = queue.page(pageNumber);
      const from = done;
      if (page >= 0 && offset - first >= pool.firstSlot(page)) {
        const end = Math.min(first + pool.entries, maxOffset);
        while (done < count && offsets[done]! < end) done++;
        readSome(pool.view(page), pool.at(page, 0), first, offsets, from, done, into);
        pool.touch(page);
      } else if (queue.kept !== null) {
        while (done < count && offsets[done]! < maxOffset) done++;
        readSome(queue.kept.view, 0, queue.kept.first, offsets, from, done, into);
      } else {
        const inMemory = page >= 0 ? first + pool.firstSlot(page) : Number.POSITIVE_INFINITY;
        const block = this.#reader.find(queue, this, offset, inMemory);
        const end = Math.min(block.firstOffset + block.count, maxOffset);
        while (done < count && offsets[done]! < end) done++;
        readSome(block.view, 0, block.firstOffset, offsets, from, done, into);
        markLost(into, from, done - from, this.logEnd());
      }
    }
    return done;
  }

  folder(queue: ConsumeQueue): string {
    return join(this.#directory, "consumequeue", queue.topic, String(queue.queueId));
  }

  /** Adds the paths of files that hold only entries before the queues' minOffset. */
  oldFiles(paths: string[]): void {
    for (const queue of this.names.restingSettledTo(QUEUE_FILE_ENTRIES)) {
      this.#oldFiles(queue, paths);
    }
    for (const queue of this.names.awake()) this.#oldFiles(queue, paths);
  }

  #oldFiles(queue: ConsumeQueue, paths: string[]): void {
    if (queue.isLight) return;
    const end = Math.floor(queue.minOffset / QUEUE_FILE_ENTRIES);
    if (end <= queue.firstFile) return;
    queue.firstFile = end;
    const folder = this.folder(queue);
    for (const { name } of this.#storage.list(folder)) {
      const start = offsetOfName(name);
      if (start >= 0 && start < end * QUEUE_FILE_BYTES) paths.push(join(folder, name));
    }
    this.#reader.drop(queue);
  }

  close(): void {
    this.#reader.close();
  }

  #pool(queue: ConsumeQueue): PagePool {
    return queue.isLight ? this.#lightPages : this.#topicPages;
  }

  /** Forgets every queue: the catalog was not to be trusted. */
  clear(): void {
    this.names.clear();
    // Its files are made anew.
    this.#reader.close();
    this.#flusher.clear();
    this.arena.restore(() => {});
  }

  /** Takes over what the catalog says. */
  restore(catalog: CatalogLoader): void {
    this.names.restore(catalog, (queue, tail) => this.#restoreTail(queue, tail));
    this.arena.restore((tell) => catalog.forEachBlock(tell));
  }

  /** Takes entries into memory that the queue's file may not have. */
  #restoreTail(queue: ConsumeQueue, { from, parts }: CatalogTail): void {
    const pool = this.#topicPages;
    const { maxOffset } = queue;
    queue.safeOffset = from;
    queue.flushedOffset = from;
    for (let offset = from; offset < maxOffset; offset += pool.entries - (offset % pool.entries)) {
      const slot = offset % pool.entries;
      const page = pool.allocate(queue, (offset - slot) / pool.entries, slot);
      queue.addPage((offset - slot) / pool.entries, page);
    }
    if (maxOffset % pool.entries === 0) queue.tail = -1;
    this.#flusher.noteBehind(queue);
    for (const { first, entries } of parts) {
      for (let at = 0; at < entries.length; at += ENTRY_SIZE) {
        const offset = first + at / ENTRY_SIZE;
        if (offset < from) continue;
        const slot = offset % pool.entries;
        const page = queue.page((offset - slot) / pool.entries);
        pool.bytes(page).set(entries.subarray(at, at + ENTRY_SIZE), pool.at(page, slot));
      }
    }
  }
}

/** Entries that their file does not hold any more, or that cannot be, point nowhere: to a place before every log. */
function markLost(batch: EntryBatch, index: number, count: number, logEnd: number): void {
  const { physicalOffset, size } = batch;
  for (let i = index; i < index + count; i++) {
    const at = physicalOffset[i]!;
    const bytes = size[i]!;
    if (isFiller(bytes) ? at >= 0 : bytes > 0 && at >= 0 && at + bytes <= logEnd) continue;
    physicalOffset[i] = -1;
    size[i] = FILLER_SIZE;
  }
}
