/**
 * Carries out the commands of the command ring: writes queue entries from shared pages into the queues' files.
 * Used by the store thread, and by recovery before that thread runs. Files are kept open up to a bound.
 */
import { join } from "node:path";
import { COMMAND, type CommandRing } from "./command-ring.ts";
import { ENTRY_SIZE, slotAt } from "./consume-queue.ts";
import { PAGE_ENTRIES, PageSlabs } from "./page-pool.ts";
import { QUEUE_FILE_BYTES } from "./queue-table.ts";
import { offsetName } from "./segment-list.ts";
import type { Storage, StorageFile } from "./storage-file.ts";

const MAX_OPEN_FILES = 256;
const PAGES_PER_FILE = QUEUE_FILE_BYTES / (PAGE_ENTRIES * ENTRY_SIZE);

interface QueueFile {
  readonly folder: string;
  file: StorageFile | null;
  /** Number of the file that is open. */
  index: number;
}

export class PageWriter {
  readonly #storage: Storage;
  readonly #commands: CommandRing;
  readonly #slabs = new PageSlabs();
  readonly #queues = new Map<number, QueueFile>();
  /** Queues with an open file, the one used last at the end. */
  readonly #open = new Set<QueueFile>();

  constructor(storage: Storage, commands: CommandRing) {
    this.#storage = storage;
    this.#commands = commands;
  }

  addSlab(index: number, memory: SharedArrayBuffer): void {
    this.#slabs.add(index, memory);
  }
  addQueue(number: number, folder: string): void {
    this.#queues.set(number, { folder, file: null, index: -1 });
  }

  /** Carries out up to `max` commands. True when there are more. */
  run(max: number): boolean {
    const commands = this.#commands;
    const { words } = commands;
    for (let i = 0; i < max; i++) {
      const at = commands.next();
      if (at < 0) return false;
      switch (words[at]) {
        case COMMAND.WRITE_PAGE:
          this.#writePage(
            words[at + 1]!,
            words[at + 2]!,
            words[at + 3]!,
            words[at + 4]!,
            commands.pageNumber(at),
          );
          break;
      }
      commands.complete();
    }
    return commands.next() >= 0;
  }

  close(): void {
    for (const queue of this.#open) queue.file?.close();
    this.#open.clear();
  }

  #writePage(number: number, page: number, from: number, to: number, pageNumber: number): void {
    const queue = this.#queues.get(number)!;
    const index = Math.floor(pageNumber / PAGES_PER_FILE);
    const file = this.#file(queue, index);
    file.write(
      this.#slabs.bytes(page),
      this.#slabs.base(page) + slotAt(from),
      (to - from) * ENTRY_SIZE,
      ((pageNumber - index * PAGES_PER_FILE) * PAGE_ENTRIES + from) * ENTRY_SIZE,
    );
  }

  #file(queue: QueueFile, index: number): StorageFile {
    if (queue.file !== null && queue.index === index) return queue.file;
    queue.file?.close();
    queue.file = null;
    const path = join(queue.folder, offsetName(index * QUEUE_FILE_BYTES));
    if (this.#storage.stat(queue.folder) === undefined) this.#storage.makeDirectory(queue.folder);
    const file = this.#storage.open(path, "create");
    // RocketMQ expects the full length; the unused rest takes no space.
    if (file.size() < QUEUE_FILE_BYTES) file.truncate(QUEUE_FILE_BYTES);
    queue.file = file;
    queue.index = index;
    this.#open.delete(queue);
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
