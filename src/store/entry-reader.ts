/**
 * Reads queue entries that are not in memory: blocks of a topic queue's file or of the arena, a bounded number of them
 * kept. Entries that the file does not hold (it was removed) have size 0.
 */
import { join } from "node:path";
import { BLOCK_BYTES, BLOCK_ENTRIES, BLOCK_HEADER, isBlockOf } from "./arena.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import { ENTRY_SIZE } from "./page-pool.ts";
import { QUEUE_FILE_ENTRIES } from "./page-writer.ts";
import { offsetName } from "./segment-list.ts";
import type { Storage, StorageFile } from "./storage-file.ts";

const BLOCK_OF_FILE = 3200;
const MAX_BLOCKS = 64;

export interface EntryBlock {
  queue: ConsumeQueue | null;
  firstOffset: number;
  count: number;
  /** Room for what is read at once of a light queue, or of a file. */
  bytes: Buffer;
  view: DataView;
  lastUse: number;
}

/** Where a queue's files lie. Asked only when they are read: a path is a string to be made. */
export interface QueueFolders {
  folder(queue: ConsumeQueue): string;
}

export class EntryReader {
  readonly #storage: Storage;
  readonly #arenaPath: string;
  readonly #blocks: EntryBlock[] = [];
  #uses = 0;
  #arena: StorageFile | null = null;
  /** The file read last stays open. */
  #file: StorageFile | null = null;
  readonly #scratch = Buffer.alloc(BLOCK_BYTES);

  constructor(storage: Storage, directory: string) {
    this.#storage = storage;
    this.#arenaPath = join(directory, "queues", "arena");
  }

  /**
   * A block with the entry of `offset`, which is in no page in memory. `end`: entries from there on are, or there is no
   * such page. Those in memory may not be written yet: what the file holds there is never read, nor kept.
   */
  find(queue: ConsumeQueue, folders: QueueFolders, offset: number, end: number): EntryBlock {
    let oldest: EntryBlock | null = null;
    let before: EntryBlock | null = null;
    let empty: EntryBlock | null = null;
    for (const block of this.#blocks) {
      const blockEnd = block.firstOffset + block.count;
      if (block.queue === queue && offset >= block.firstOffset && offset < blockEnd) {
        block.lastUse = ++this.#uses;
        return block;
      }
      // Whoever reads a queue from its beginning to its end needs one.
      if (block.queue === queue && offset === blockEnd) before = block;
      if (block.queue === null) empty = block;
      if (oldest === null || block.lastUse < oldest.lastUse) oldest = block;
    }
    const isFull = this.#blocks.length >= MAX_BLOCKS;
    const block = before ?? empty ?? (isFull ? oldest! : this.#newBlock());
    block.queue = null; // Holds nothing if the read throws.
    this.#makeRoom(block, queue.isLight ? BLOCK_ENTRIES : BLOCK_OF_FILE);
    const first = offset - (offset % queue.pageEntries);
    if (queue.isLight) this.#readArena(block, queue, first, end);
    else this.#readFile(block, queue, folders.folder(queue), first, end);
    block.queue = queue;
    block.lastUse = ++this.#uses;
    return block;
  }

  /** Forgets what is kept of this entry and its neighbours: it changes. */
  forgetEntry(queue: ConsumeQueue, offset: number): void {
    for (const block of this.#blocks) {
      const at = offset - block.firstOffset;
      if (block.queue === queue && at >= 0 && at < block.count) block.queue = null;
    }
  }

  /** Forgets what is kept of a queue. */
  drop(queue: ConsumeQueue): void {
    this.forget(queue);
    this.#file?.close();
    this.#file = null;
  }

  /** The same, where the files stay as they are. */
  forget(queue: ConsumeQueue): void {
    for (const block of this.#blocks) if (block.queue === queue) block.queue = null;
  }

  close(): void {
    this.#file?.close();
    this.#arena?.close();
    this.#file = null;
    this.#arena = null;
    for (const block of this.#blocks) block.queue = null;
  }

  #makeRoom(block: EntryBlock, entries: number): void {
    if (block.bytes.length >= entries * ENTRY_SIZE) return;
    const memory = new ArrayBuffer(entries * ENTRY_SIZE);
    block.bytes = Buffer.from(memory);
    block.view = new DataView(memory);
  }

  #newBlock(): EntryBlock {
    const memory = new ArrayBuffer(0);
    const block: EntryBlock = {
      queue: null,
      firstOffset: 0,
      count: 0,
      bytes: Buffer.from(memory),
      view: new DataView(memory),
      lastUse: 0,
    };
    this.#blocks.push(block);
    return block;
  }

  #count(queue: ConsumeQueue, first: number, known: number, limit: number): number {
    let end = Math.min(first + queue.pageEntries, known);
    if (end === first + queue.pageEntries) {
      while (end < limit && queue.page(end / queue.pageEntries) < 0) end += queue.pageEntries;
    }
    return Math.min(end, limit, queue.flushedOffset) - first;
  }

  #readFile(
    block: EntryBlock,
    queue: ConsumeQueue,
    folder: string,
    first: number,
    end: number,
  ): void {
    const fileStart = Math.floor(first / QUEUE_FILE_ENTRIES) * QUEUE_FILE_ENTRIES;
    const limit = Math.min(first + BLOCK_OF_FILE, fileStart + QUEUE_FILE_ENTRIES);
    block.firstOffset = first;
    block.count = this.#count(queue, first, end, limit);
    const length = block.count * ENTRY_SIZE;
    const path = join(folder, offsetName(fileStart * ENTRY_SIZE));
    if (this.#file?.path !== path) {
      this.#file?.close();
      this.#file = this.#storage.stat(path) ? this.#storage.open(path, "read") : null;
    }
    const got = this.#file?.readInto(block.bytes, 0, length, (first - fileStart) * ENTRY_SIZE) ?? 0;
    block.bytes.fill(0, got, length);
  }

  #readArena(block: EntryBlock, queue: ConsumeQueue, first: number, end: number): void {
    const page = Math.floor(first / BLOCK_ENTRIES);
    block.firstOffset = first;
    block.count = this.#count(queue, first, end, (page + 1) * BLOCK_ENTRIES);
    block.bytes.fill(0, 0, block.count * ENTRY_SIZE);
    const at = queue.block(page);
    if (at < 0) return;
    if (this.#arena === null && this.#storage.stat(this.#arenaPath) !== undefined) {
      this.#arena = this.#storage.open(this.#arenaPath, "read");
    }
    const got = this.#arena?.readInto(this.#scratch, 0, BLOCK_BYTES, at * BLOCK_BYTES) ?? 0;
    if (got < BLOCK_HEADER || !isBlockOf(this.#scratch, queue.number, page)) return;
    const from = BLOCK_HEADER + (first - page * BLOCK_ENTRIES) * ENTRY_SIZE;
    this.#scratch.copy(block.bytes, 0, from, Math.max(from, got));
  }
}
