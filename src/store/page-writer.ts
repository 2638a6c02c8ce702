/**
 * Carries out the commands of the command ring: writes queue entries from shared pages into the queues' files and the
 * arena, neighbours together. Used by the store thread, and by recovery before that thread runs. It knows what is to be
 * synced with the next checkpoint; files are kept open up to a bound.
 */
import { dirname, join } from "node:path";
import { BLOCK_BYTES, BLOCK_ENTRIES, BLOCK_HEADER, writeBlockHeader } from "./arena.ts";
import { COMMAND, type CommandRing } from "./command-ring.ts";
import { ENTRY_SIZE, LIGHT_PAGE_ENTRIES, PageSlabs, TOPIC_PAGE_ENTRIES } from "./page-pool.ts";
import { fillGaps } from "./queue-gaps.ts";
import { offsetName } from "./segment-list.ts";
import type { Storage, StorageFile } from "./storage-file.ts";

/** 300,000 entries: RocketMQ's file. */
export const QUEUE_FILE_BYTES = 6_000_000;
export const QUEUE_FILE_ENTRIES = QUEUE_FILE_BYTES / ENTRY_SIZE;
const MAX_OPEN_FILES = 256;
const SCRATCH_ENTRIES = 3200;
/** Bytes of queue files searched for empty entries although they take the space that they should. */
const LOOK_BYTES = 64 << 20;
/** Space is taken in such pieces, or smaller ones. */
const FILE_PAGE = 4096;

interface QueueFile {
  readonly folder: string;
  file: StorageFile | null;
  /** Number of the file that is open. */
  index: number;
  /** Number of the file whose name the next checkpoint makes durable, or an earlier one has. */
  namedIndex: number;
  /** Entries before this offset are in the files for sure, or fillers. */
  wholeTo: number;
  /** Entries before this offset are owed to nobody: empty ones there may become fillers. */
  settledTo: number;
}

export class PageWriter {
  readonly #storage: Storage;
  readonly #arenaPath: string;
  readonly #commands: CommandRing;
  readonly #topicPages = new PageSlabs(TOPIC_PAGE_ENTRIES);
  readonly #lightPages = new PageSlabs(LIGHT_PAGE_ENTRIES);
  readonly #queues = new Map<number, QueueFile>();
  /** Queues with an open file, the one used last at the end. */
  readonly #open = new Set<QueueFile>();
  #arena: StorageFile | null = null;
  readonly #scratch = Buffer.alloc(BLOCK_HEADER + SCRATCH_ENTRIES * ENTRY_SIZE);
  /** Paths of files and folders with unsynced changes. */
  #unsyncedFiles = new Set<string>();
  #unsyncedFolders = new Set<string>();
  #looked = 0;
  #head = 0;
  /** Commands carried out. */
  completed = 0;

  constructor(storage: Storage, directory: string, commands: CommandRing) {
    this.#storage = storage;
    this.#arenaPath = join(directory, "queues", "arena");
    this.#commands = commands;
  }

  addSlab(isLight: boolean, index: number, memory: SharedArrayBuffer | null): void {
    (isLight ? this.#lightPages : this.#topicPages).add(index, memory);
  }
  addQueue(number: number, folder: string, settledTo: number): void {
    const nothing = { file: null, index: -1, namedIndex: -1, wholeTo: 0 };
    this.#queues.set(number, { folder, ...nothing, settledTo });
  }
  settle(number: number, settledTo: number): void {
    const queue = this.#queues.get(number);
    if (queue !== undefined) queue.settledTo = settledTo;
  }

  /** Removes a queue's files; commands for it that are still to come are skipped. */
  drop(number: number, folder: string): void {
    const queue = this.#queues.get(number);
    if (queue !== undefined) {
      queue.file?.close();
      this.#open.delete(queue);
      this.#queues.delete(number);
    }
    this.#storage.removeTree(folder);
    for (const path of this.#unsyncedFiles) {
      if (path.startsWith(`${folder}/`)) this.#unsyncedFiles.delete(path);
    }
    this.#unsyncedFolders.delete(folder);
  }

  /** Forgets a queue without touching its files: its commands are skipped from now on. */
  forget(number: number): void {
    const queue = this.#queues.get(number);
    if (queue === undefined) return;
    queue.file?.close();
    this.#open.delete(queue);
    this.#queues.delete(number);
  }

  /** Carries out commands before `head`, `max` writes at most. True when there are more. */
  run(max: number, head: number): boolean {
    this.#head = head;
    for (let i = 0; i < max; i++) {
      const at = this.#commands.peek(0, head);
      if (at < 0) return false;
      const count = this.#carryOut(at);
      this.#commands.complete(count);
      this.completed += count;
    }
    return this.#commands.peek(0, head) >= 0;
  }

  #carryOut(at: number): number {
    switch (this.#commands.words[at]) {
      case COMMAND.FILE:
        return this.#writeFile(at);
      case COMMAND.SYNC:
        this.#wantSync(at);
        return 1;
      default:
        return this.#writeBlock(at);
    }
  }

  addUnsynced(unsynced: { files: string[]; folders: string[] }): void {
    for (const path of unsynced.files) this.#unsyncedFiles.add(path);
    for (const path of unsynced.folders) this.#unsyncedFolders.add(path);
  }

  /** What was written since the last call and has to be synced: files, then folders. */
  takeUnsynced(): { files: string[]; folders: string[] } {
    const files = [...this.#unsyncedFiles];
    const folders = [...this.#unsyncedFolders];
    this.#unsyncedFiles = new Set();
    this.#unsyncedFolders = new Set();
    return { files, folders };
  }

  close(): void {
    for (const queue of this.#open) {
      queue.file?.close();
      queue.file = null;
    }
    this.#open.clear();
    this.#arena?.close();
    this.#arena = null;
  }

  /** Collects commands whose entries follow each other up to `limit`; returns how many. */
  #gather(
    at: number,
    pages: PageSlabs,
    into: number,
    limit: number,
  ): { count: number; entries: number } {
    const commands = this.#commands;
    const { words } = commands;
    const queue = words[at + 1]!;
    let next = commands.offset(at);
    let count = 0;
    let entries = 0;
    for (let to = into; at >= 0; at = commands.peek(count, this.#head)) {
      const length = words[at + 7]!;
      if (words[at + 1] !== queue || commands.offset(at) !== next || next + length > limit) break;
      if (count > 0 && (words[at] === COMMAND.NEW_BLOCK || words[at] === COMMAND.SYNC)) break;
      const page = words[at + 2]!;
      const from = pages.at(page, words[at + 3]!);
      pages.bytes(page).copy(this.#scratch, to, from, from + length * ENTRY_SIZE);
      to += length * ENTRY_SIZE;
      next += length;
      entries += length;
      count++;
    }
    return { count, entries };
  }

  #writeFile(at: number): number {
    const { words } = this.#commands;
    const queue = this.#queues.get(words[at + 1]!);
    if (queue === undefined) return 1; // Dropped meanwhile.
    const offset = this.#commands.offset(at);
    const index = Math.floor(offset / QUEUE_FILE_ENTRIES);
    const limit = Math.min((index + 1) * QUEUE_FILE_ENTRIES, offset + SCRATCH_ENTRIES);
    const { count, entries } = this.#gather(at, this.#topicPages, 0, limit);
    const position = (offset - index * QUEUE_FILE_ENTRIES) * ENTRY_SIZE;
    const file = this.#file(queue, index);
    if (offset > queue.wholeTo) this.#fillGaps(queue, offset);
    queue.wholeTo = Math.max(queue.wholeTo, offset + entries);
    file.write(this.#scratch, 0, entries * ENTRY_SIZE, position);
    return count;
  }

  /**
   * What is empty before `offset` in the file that is open, and in the two before it, becomes fillers: best effort. Only
   * where nobody is owed anything: elsewhere an empty entry is harm, of which a reader makes a rebuild (doubts.ts).
   */
  #fillGaps(queue: QueueFile, offset: number): void {
    const { index, folder, wholeTo } = queue;
    const settled = Math.min(offset, queue.settledTo);
    for (let number = Math.max(0, index - 2); number <= index; number++) {
      const end = Math.min(QUEUE_FILE_ENTRIES, settled - number * QUEUE_FILE_ENTRIES);
      if (end <= 0 || number * QUEUE_FILE_ENTRIES + end <= wholeTo) continue;
      const path = join(folder, offsetName(number * QUEUE_FILE_BYTES));
      const stat = this.#storage.stat(path);
      if (stat === undefined || stat.size < QUEUE_FILE_BYTES) continue;
      // Where it takes all the space that it should, a look costs more than it is worth for thousands of queues.
      const isSparse = (stat.usedBytes ?? 0) < end * ENTRY_SIZE - FILE_PAGE;
      if (!isSparse && this.#looked >= LOOK_BYTES) continue;
      this.#looked += end * ENTRY_SIZE;
      const file = number === index ? queue.file! : this.#storage.open(path, "write");
      // Not synced for it: what a power cut takes again is filled in again.
      fillGaps(file, end);
      if (number !== index) file.close();
    }
  }

  #wantSync(at: number): void {
    const { words } = this.#commands;
    const queue = this.#queues.get(words[at + 1]!);
    if (queue === undefined) return; // Dropped meanwhile.
    const offset = this.#commands.offset(at);
    const last = Math.floor((offset + words[at + 7]! - 1) / QUEUE_FILE_ENTRIES);
    for (let index = Math.floor(offset / QUEUE_FILE_ENTRIES); index <= last; index++) {
      this.#unsyncedFiles.add(join(queue.folder, offsetName(index * QUEUE_FILE_BYTES)));
      if (index === queue.namedIndex) continue;
      // Once per process: whoever has created it may not have come to syncing its name.
      this.#unsyncedFolders.add(queue.folder);
      if (queue.namedIndex < 0) {
        const topic = dirname(queue.folder);
        this.#unsyncedFolders
          .add(topic)
          .add(dirname(topic))
          .add(dirname(dirname(topic)));
      }
      queue.namedIndex = index;
    }
  }

  #writeBlock(at: number): number {
    const { words } = this.#commands;
    const offset = this.#commands.offset(at);
    const page = Math.floor(offset / BLOCK_ENTRIES);
    const slot = offset - page * BLOCK_ENTRIES;
    const isNew = words[at] === COMMAND.NEW_BLOCK;
    const block = words[at + 6]! * BLOCK_BYTES;
    const { count, entries } = this.#gather(
      at,
      this.#lightPages,
      BLOCK_HEADER,
      (page + 1) * BLOCK_ENTRIES,
    );
    if (this.#arena === null) this.#openArena();
    const length = entries * ENTRY_SIZE;
    if (isNew) writeBlockHeader(this.#scratch, words[at + 1]!, page);
    if (isNew && slot === 0) {
      this.#arena!.write(this.#scratch, 0, BLOCK_HEADER + length, block);
    } else {
      if (isNew) this.#arena!.write(this.#scratch, 0, BLOCK_HEADER, block);
      const position = block + BLOCK_HEADER + slot * ENTRY_SIZE;
      this.#arena!.write(this.#scratch, BLOCK_HEADER, length, position);
    }
    this.#unsyncedFiles.add(this.#arenaPath);
    return count;
  }

  #openArena(): void {
    this.#arena = this.#storage.open(this.#arenaPath, "create");
    this.#unsyncedFolders.add(join(this.#arenaPath, ".."));
  }

  #file(queue: QueueFile, index: number): StorageFile {
    if (queue.file !== null && queue.index === index) return queue.file;
    queue.file?.close();
    queue.file = null;
    this.#open.delete(queue);
    const path = join(queue.folder, offsetName(index * QUEUE_FILE_BYTES));
    if (queue.index < 0) this.#storage.makeDirectory(queue.folder, false);
    const file = this.#storage.open(path, "create");
    // RocketMQ expects the full length; the unused rest takes no space.
    if (file.size() < QUEUE_FILE_BYTES) file.truncate(QUEUE_FILE_BYTES);
    queue.file = file;
    queue.index = index;
    this.#open.add(queue);
    if (this.#open.size > MAX_OPEN_FILES) {
      const oldest = this.#open.values().next().value!;
      oldest.file?.close();
      oldest.file = null;
      this.#open.delete(oldest);
    }
    return file;
  }
}
