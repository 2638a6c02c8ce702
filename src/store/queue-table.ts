/**
 * All ConsumeQueues of the store, on the event loop: by name, their entries in pages, what is still to be written.
 */
import { join } from "node:path";
import { COMMAND, type CommandRing } from "./command-ring.ts";
import { ConsumeQueue, ENTRY_SIZE, readEntries, slotAt, writeEntry } from "./consume-queue.ts";
import type { EntryBatch } from "./message-store.ts";
import { PAGE_ENTRIES, PagePool } from "./page-pool.ts";
import { offsetName } from "./segment-list.ts";
import type { Storage, StorageFile } from "./storage-file.ts";
import type { ToWriter } from "./writer-messages.ts";

/** 300,000 entries: RocketMQ's file. */
export const QUEUE_FILE_BYTES = 6_000_000;
const READ_BLOCK_ENTRIES = 3200;
const MAX_READ_BLOCKS = 64;

/** A run of entries read from a file. */
interface ReadBlock {
  queue: ConsumeQueue | null;
  firstOffset: number;
  count: number;
  readonly bytes: Buffer;
  readonly view: DataView;
  lastUse: number;
}

export class QueueTable {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #commands: CommandRing;
  readonly #post: (message: ToWriter) => void;
  readonly pool: PagePool;
  readonly #topics = new Map<string, Map<number, ConsumeQueue>>();
  readonly #light = new Map<string, ConsumeQueue>();
  #nextNumber = 1;
  #dirty: ConsumeQueue[] = [];
  readonly #blocks: ReadBlock[] = [];
  #uses = 0;

  constructor(
    storage: Storage,
    directory: string,
    commands: CommandRing,
    pageLimit: number,
    post: (message: ToWriter) => void,
  ) {
    this.#storage = storage;
    this.#directory = directory;
    this.#commands = commands;
    this.#post = post;
    this.pool = new PagePool(pageLimit, (index, memory) => post({ kind: "slab", index, memory }));
  }

  queue(topic: string, queueId: number): ConsumeQueue {
    let shards = this.#topics.get(topic);
    if (shards === undefined) {
      shards = new Map();
      this.#topics.set(topic, shards);
    }
    let queue = shards.get(queueId);
    if (queue === undefined) {
      queue = new ConsumeQueue(topic, queueId, false, this.#nextNumber++);
      shards.set(queueId, queue);
    }
    return queue;
  }

  lightQueue(name: string): ConsumeQueue {
    let queue = this.#light.get(name);
    if (queue === undefined) {
      queue = new ConsumeQueue(name, 0, true, this.#nextNumber++);
      this.#light.set(name, queue);
    }
    return queue;
  }

  *queues(): Generator<ConsumeQueue> {
    for (const shards of this.#topics.values()) yield* shards.values();
    yield* this.#light.values();
  }

  drop(queue: ConsumeQueue): void {
    queue.isDropped = true;
    queue.releasePages(this.pool);
    if (queue.isLight) {
      this.#light.delete(queue.topic);
      return;
    }
    const shards = this.#topics.get(queue.topic);
    shards?.delete(queue.queueId);
    if (shards?.size === 0) this.#topics.delete(queue.topic);
  }

  /** Entries before `offset` are owed to nobody. */
  trim(queue: ConsumeQueue, offset: number): void {
    if (offset <= queue.minOffset) return;
    queue.minOffset = Math.min(offset, queue.maxOffset);
    this.markDirty(queue);
  }

  /** Adds the next entry of a queue. */
  append(queue: ConsumeQueue, physicalOffset: number, size: number, tagHash: number): void {
    let page = queue.tail;
    if (page < 0) page = this.#newTail(queue);
    const slot = queue.tailSlot;
    const { pool } = this;
    writeEntry(pool.view(page), pool.base(page) + slotAt(slot), physicalOffset, size, tagHash);
    queue.maxOffset++;
    if (!queue.isDirty) this.markDirty(queue);
    if (slot + 1 === PAGE_ENTRIES) this.#sealTail(queue, page);
    else queue.tailSlot = slot + 1;
  }

  markDirty(queue: ConsumeQueue): void {
    if (queue.isDirty) return;
    queue.isDirty = true;
    this.#dirty.push(queue);
  }

  #newTail(queue: ConsumeQueue): number {
    const pageNumber = Math.floor(queue.maxOffset / PAGE_ENTRIES);
    const page = this.pool.allocate(queue, pageNumber, queue.tailSlot, this.#commands.done);
    queue.addPage(pageNumber, page);
    return page;
  }

  #sealTail(queue: ConsumeQueue, page: number): void {
    queue.tailSlot = PAGE_ENTRIES;
    this.#flush(queue, page);
    queue.tail = -1;
    queue.tailSlot = 0;
  }

  /** Hands the entries of the newest page that are not written yet to the writer. */
  #flush(queue: ConsumeQueue, page: number): void {
    const from = this.pool.flushed(page);
    const to = queue.tailSlot;
    if (from === to) return;
    const pageNumber = Math.floor((queue.maxOffset - 1) / PAGE_ENTRIES);
    if (!queue.isAnnounced) {
      queue.isAnnounced = true;
      this.#post({ kind: "queue", number: queue.number, folder: this.#folder(queue) });
    }
    const command = this.#commands.push(
      COMMAND.WRITE_PAGE,
      queue.number,
      page,
      from,
      to,
      pageNumber,
      0,
    );
    this.pool.setFlushed(page, to, command);
  }

  /** Hands everything unwritten to the writer. */
  flushAll(): void {
    for (const queue of this.#dirty) {
      queue.isDirty = false;
      if (!queue.isDropped && queue.tail >= 0) this.#flush(queue, queue.tail);
    }
    this.#dirty = [];
  }

  /** Copies up to `max` entries from `from` on; how many. */
  read(queue: ConsumeQueue, from: number, max: number, into: EntryBatch): number {
    const end = Math.min(queue.maxOffset, from + max);
    let offset = from;
    while (offset < end) {
      const pageNumber = Math.floor(offset / PAGE_ENTRIES);
      const slot = offset - pageNumber * PAGE_ENTRIES;
      const page = queue.page(pageNumber);
      let count: number;
      if (page >= 0 && slot >= this.pool.firstSlot(page)) {
        count = Math.min(end - offset, PAGE_ENTRIES - slot);
        readEntries(
          this.pool.view(page),
          this.pool.base(page) + slotAt(slot),
          count,
          into,
          offset - from,
        );
        this.pool.touch(page);
      } else {
        const block = this.#block(queue, offset);
        const skip = offset - block.firstOffset;
        // Up to where entries in memory begin at the latest: what the file holds there may be older.
        count = Math.min(end - offset, block.count - skip);
        if (count <= 0) break;
        readEntries(block.view, skip * ENTRY_SIZE, count, into, offset - from);
      }
      offset += count;
    }
    return offset - from;
  }

  /** The block of entries around `offset`, from the file. */
  #block(queue: ConsumeQueue, offset: number): ReadBlock {
    let oldest: ReadBlock | null = null;
    for (const block of this.#blocks) {
      if (
        block.queue === queue &&
        offset >= block.firstOffset &&
        offset < block.firstOffset + block.count
      ) {
        block.lastUse = ++this.#uses;
        return block;
      }
      if (oldest === null || block.lastUse < oldest.lastUse) oldest = block;
    }
    let block = oldest;
    if (block === null || this.#blocks.length < MAX_READ_BLOCKS) {
      const memory = new ArrayBuffer(READ_BLOCK_ENTRIES * ENTRY_SIZE);
      block = {
        queue: null,
        firstOffset: 0,
        count: 0,
        bytes: Buffer.from(memory),
        view: new DataView(memory),
        lastUse: 0,
      };
      this.#blocks.push(block);
    }
    block.queue = null;
    block.lastUse = ++this.#uses;
    this.#load(queue, offset, block);
    return block;
  }

  #load(queue: ConsumeQueue, offset: number, block: ReadBlock): void {
    const pageNumber = Math.floor(offset / PAGE_ENTRIES);
    const perFile = QUEUE_FILE_BYTES / ENTRY_SIZE;
    const file = Math.floor(offset / perFile);
    // Whole pages that are not in memory, within one file.
    let last = pageNumber + 1;
    const lastOfFile = ((file + 1) * perFile) / PAGE_ENTRIES;
    const limit = Math.min(pageNumber + READ_BLOCK_ENTRIES / PAGE_ENTRIES, lastOfFile);
    let end = last * PAGE_ENTRIES;
    const own = queue.page(pageNumber);
    if (own >= 0) {
      end = pageNumber * PAGE_ENTRIES + this.pool.firstSlot(own);
    } else {
      while (last < limit && queue.page(last) < 0) last++;
      end = last * PAGE_ENTRIES;
    }
    const first = pageNumber * PAGE_ENTRIES;
    const count = Math.min(end, queue.maxOffset) - first;
    const start = file * QUEUE_FILE_BYTES;
    const handle = this.#open(queue, start);
    const got =
      handle?.readInto(block.bytes, 0, count * ENTRY_SIZE, first * ENTRY_SIZE - start) ?? 0;
    handle?.close();
    block.bytes.fill(0, got, count * ENTRY_SIZE);
    block.queue = queue;
    block.firstOffset = first;
    block.count = count;
  }

  #open(queue: ConsumeQueue, start: number): StorageFile | undefined {
    const path = join(this.#folder(queue), offsetName(start));
    return this.#storage.stat(path) === undefined ? undefined : this.#storage.open(path, "read");
  }

  #folder(queue: ConsumeQueue): string {
    return join(this.#directory, "consumequeue", queue.topic, String(queue.queueId));
  }
}
