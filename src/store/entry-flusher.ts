/**
 * How queue entries leave memory, on the event loop: commands for the writer (command-ring.ts), and what each checkpoint
 * tells the catalog of the queues that changed since the last one.
 *
 * A file a queue is dear where there are thousands: each costs the store thread several system calls, and a sync of its
 * own. So where many queues have changed, a checkpoint puts what is new of each into the catalog, which is one write and
 * one sync for all; their files get it page by page, unsynced. A file is synced when its queue has a long backlog that
 * only the catalog has, or is let go of, a number of these with each checkpoint. What was consumed meanwhile never is.
 */
import { type Arena, BLOCK_ENTRIES } from "./arena.ts";
import { type CatalogBatch, KEPT_MAX } from "./catalog.ts";
import { COMMAND, type CommandRing } from "./command-ring.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import { ENTRY_SIZE, type PagePool } from "./page-pool.ts";
import type { ToWriter } from "./writer-messages.ts";

/** A queue with more entries than this that no file has for good gets its file synced. */
const NOTED_ENTRIES = 400;
/** With more light queues changed than this times those that are synced, they are settled bit by bit before the checkpoint. */
const EARLY_TIMES = 16;
/** Files of queues that nobody uses any more synced by one checkpoint, where many queues have changed. */
const RESTING_SYNCS = 1024;

export interface FlusherHost {
  readonly commands: CommandRing;
  readonly arena: Arena;
  readonly catalog: CatalogBatch;
  /** So many changed queues have their files synced by each checkpoint. */
  readonly syncedQueues: number;
  pool(queue: ConsumeQueue): PagePool;
  folder(queue: ConsumeQueue): string;
  post(message: ToWriter): void;
}

export class EntryFlusher {
  readonly #host: FlusherHost;
  /** Null: it has been told, and is to be kept in memory by nobody. */
  #dirty: Array<ConsumeQueue | null> = [];
  #told = 0;
  #dirtyLight = 0;
  /** Queues of which the catalog knows entries that the writer was not given. */
  readonly #behind = new Set<ConsumeQueue>();
  /** Light queues all entries of which the catalog knows and no block has; pages in memory hold them. */
  readonly #kept = new Set<ConsumeQueue>();
  /** Where in the dirty list relief goes on. */
  #reliefAt = 0;
  /** Where in the dirty list settling before the checkpoint goes on. */
  #earlyAt = 0;
  /** Counts `flushAll`. */
  flushes = 0;

  constructor(host: FlusherHost) {
    this.#host = host;
  }

  /** Queues that have changed since the last checkpoint. */
  get changed(): ConsumeQueue[] {
    return this.#dirty.filter((queue) => queue !== null);
  }
  /** How many, those included that the catalog has been told of. */
  get changes(): number {
    return this.#dirty.length;
  }

  markDirty(queue: ConsumeQueue): void {
    if (queue.isDirty) return;
    queue.isDirty = true;
    queue.dirtySince = this.flushes;
    queue.dirtyAt = this.#dirty.length;
    this.#dirty.push(queue);
    if (queue.isLight) this.#dirtyLight++;
  }

  /** Queues that may have entries in memory only. */
  unwritten(isLight: boolean): number {
    if (isLight) return this.#dirtyLight + this.#kept.size;
    return this.#dirty.length - this.#told - this.#dirtyLight + this.#behind.size;
  }

  /** The writer has been given all that there is. */
  get isComplete(): boolean {
    return this.#behind.size === 0;
  }

  /** The catalog has entries of this queue that the writer was not given. */
  noteBehind(queue: ConsumeQueue): void {
    this.#behind.add(queue);
  }

  forget(queue: ConsumeQueue): void {
    this.#behind.delete(queue);
    this.#kept.delete(queue);
  }

  clear(): void {
    this.#dirty = [];
    this.#told = 0;
    this.#dirtyLight = 0;
    this.#earlyAt = 0;
    this.#behind.clear();
    this.#kept.clear();
  }

  /** A light queue whose entries the catalog has, and pages now: they are in no block. */
  noteKept(queue: ConsumeQueue): void {
    this.#kept.add(queue);
  }

  isKept(queue: ConsumeQueue): boolean {
    return !queue.isDirty && this.#kept.has(queue);
  }

  /** Its owner has let go of it: tells the catalog of a light queue with few entries now. False when it has to wait. */
  keepNow(queue: ConsumeQueue): boolean {
    if (!isKeepable(queue)) return false;
    if (!queue.isDirty) return this.#kept.has(queue);
    queue.isDirty = false;
    this.#dirtyLight--;
    this.#dirty[queue.dirtyAt] = null;
    this.#told++;
    this.#define(queue);
    this.#keep(queue, this.#host.catalog);
    return true;
  }

  /** All entries of a light queue into the catalog, which takes no file and hardly any room. */
  #keep(queue: ConsumeQueue, batch: CatalogBatch): void {
    const { number, minOffset, maxOffset } = queue;
    const to = batch.kept(number, minOffset, maxOffset - minOffset);
    this.#putEntries(queue, minOffset, batch, to);
    if (queue.movedTo > minOffset) batch.moved(number, queue.movedTo);
    if (queue.kept === null) this.#kept.add(queue);
  }

  /** Hands the entries that are not written yet to the writer. */
  flush(queue: ConsumeQueue): void {
    const pool = this.#host.pool(queue);
    const { maxOffset } = queue;
    let from = queue.flushedOffset;
    if (from < maxOffset) this.#announce(queue);
    while (from < maxOffset) {
      const pageNumber = Math.floor(from / pool.entries);
      const slot = from - pageNumber * pool.entries;
      const count = Math.min(maxOffset - from, pool.entries - slot);
      const page = queue.page(pageNumber);
      pool.setCommand(page, this.#command(queue, page, slot, from, count));
      from += count;
    }
    queue.flushedOffset = maxOffset;
    if (this.#behind.size > 0) this.#behind.delete(queue);
    // The catalog hears that it has a block now.
    if (this.#kept.size > 0 && this.#kept.delete(queue)) this.markDirty(queue);
  }

  /** Entries that the writer had already are others now. */
  rewrite(queue: ConsumeQueue, page: number, slot: number, offset: number, count: number): void {
    this.#announce(queue);
    const command = this.#command(queue, page, slot, offset, count);
    this.#host.pool(queue).setCommand(page, command);
    if (!queue.isLight) this.#sync(queue, offset, count);
  }

  #announce(queue: ConsumeQueue): void {
    if (queue.isLight || queue.isAnnounced) return;
    queue.isAnnounced = true;
    const folder = this.#host.folder(queue);
    const { number, minOffset: settledTo } = queue;
    this.#host.post({ kind: "queue", number, folder, settledTo });
  }

  #command(queue: ConsumeQueue, page: number, slot: number, offset: number, count: number): number {
    const { commands, arena, catalog } = this.#host;
    if (!queue.isLight) {
      return commands.push(COMMAND.FILE, queue.number, page, slot, offset, count, -1);
    }
    const blockPage = Math.floor(offset / BLOCK_ENTRIES);
    let block = queue.block(blockPage);
    let operation: number = COMMAND.BLOCK;
    if (block < 0) {
      block = arena.allocate();
      queue.setBlock(blockPage, block);
      this.#define(queue);
      catalog.block(queue.number, blockPage, block);
      operation = COMMAND.NEW_BLOCK;
    }
    return commands.push(operation, queue.number, page, slot, offset, count, block);
  }

  #sync(queue: ConsumeQueue, offset: number, count: number): void {
    this.#announce(queue);
    this.#host.commands.push(COMMAND.SYNC, queue.number, 0, 0, offset, count, -1);
  }

  /** The pool is full of unwritten pages: so many queues are written before their time. */
  relieve(queues: number, isLight: boolean): void {
    let left = queues;
    for (const queue of isLight ? this.#kept : this.#behind) {
      this.flush(queue);
      if (--left === 0) return;
    }
    const end = Math.min(this.#dirty.length, this.#reliefAt + left);
    for (; this.#reliefAt < end; this.#reliefAt++) {
      const queue = this.#dirty[this.#reliefAt] ?? null;
      if (queue !== null && !queue.isDropped) this.flush(queue);
    }
    if (this.#reliefAt === this.#dirty.length) this.#reliefAt = 0;
  }

  /** So many light queues have changed that a checkpoint would keep the event loop for too long. */
  get isMuch(): boolean {
    return this.#dirtyLight > this.#host.syncedQueues * EARLY_TIMES;
  }

  /**
   * Light queues that have changed, `max` of them looked at: they are settled before the checkpoint comes to them, and again
   * only if they change until then.
   */
  settleSome(max: number): void {
    const dirty = this.#dirty;
    const end = Math.min(dirty.length, this.#earlyAt + max);
    for (; this.#earlyAt < end; this.#earlyAt++) {
      const queue = dirty[this.#earlyAt] ?? null;
      if (queue === null || !queue.isLight || !queue.isDirty) continue;
      queue.isDirty = false;
      this.#dirtyLight--;
      dirty[this.#earlyAt] = null;
      this.#told++;
      if (queue.isDropped) continue;
      this.#define(queue);
      this.#settle(queue, this.#host.catalog);
    }
    if (this.#earlyAt < dirty.length) return;
    this.#earlyAt = 0;
    this.#dirtyLight = 0;
  }

  /** For a checkpoint: all that changed goes to the writer or into the catalog, which gets the state of each queue. */
  flushAll(isClosing: boolean): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    this.#told = 0;
    this.#dirtyLight = 0;
    this.flushes++;
    this.#reliefAt = 0;
    this.#earlyAt = 0;
    const isMany = dirty.length > this.#host.syncedQueues;
    let syncsLeft = isClosing ? 0 : RESTING_SYNCS;
    for (const queue of dirty) {
      if (queue === null || !queue.isDirty) continue;
      queue.isDirty = false;
      if (queue.isDropped) continue;
      this.#define(queue);
      const isDue = queue.isReleased && syncsLeft > 0;
      if (isMany && !isDue && this.#note(queue)) continue;
      if (queue.isReleased) syncsLeft--;
      this.#settle(queue, this.#host.catalog);
    }
    // A file never has a gap: it gets what there is before anything that comes later.
    if (isClosing) for (const queue of this.#behind) this.flush(queue);
  }

  /** Puts what is new of a queue into the catalog. False when its file is to have it. */
  #note(queue: ConsumeQueue): boolean {
    const { catalog } = this.#host;
    const from = queue.unsafeFrom;
    if (queue.isLight || from === queue.maxOffset) return false;
    if (!this.#tell(queue, catalog, from, Math.max(from, queue.notedOffset))) return false;
    queue.notedOffset = queue.maxOffset;
    if (queue.movedTo > queue.minOffset) catalog.moved(queue.number, queue.movedTo);
    if (queue.flushedOffset < queue.maxOffset) this.#behind.add(queue);
    // Its file has its turn with one of the next checkpoints.
    if (queue.isReleased) this.markDirty(queue);
    return true;
  }

  /** Entries from `first` on into the catalog. False when they are too many, or not all in memory. */
  #tell(queue: ConsumeQueue, batch: CatalogBatch, from: number, first: number): boolean {
    const { number, minOffset, maxOffset } = queue;
    if (maxOffset - from > NOTED_ENTRIES) return false;
    const pool = this.#host.pool(queue);
    const { entries } = pool;
    for (let offset = first; offset < maxOffset; offset += entries - (offset % entries)) {
      const page = queue.page(Math.floor(offset / entries));
      if (page < 0 || offset % entries < pool.firstSlot(page)) return false;
    }
    const to = batch.tail(number, minOffset, from, first, maxOffset - first);
    this.#putEntries(queue, first, batch, to);
    return true;
  }

  /** What pages in memory have from `first` on, or what is kept with a queue that is looked at. */
  #putEntries(queue: ConsumeQueue, first: number, batch: CatalogBatch, at: number): void {
    const { kept, maxOffset } = queue;
    if (kept !== null) {
      batch.put(kept.bytes, 0, kept.bytes.length, at);
      return;
    }
    const pool = this.#host.pool(queue);
    const { entries } = pool;
    let to = at;
    for (let offset = first; offset < maxOffset; ) {
      const slot = offset % entries;
      const count = Math.min(entries - slot, maxOffset - offset);
      const page = queue.page((offset - slot) / entries);
      const place = pool.at(page, slot);
      to = batch.put(pool.bytes(page), place, place + count * ENTRY_SIZE, to);
      offset += count;
    }
  }

  /** All of a queue is in its file, or in the arena, with the checkpoint that is planned now. */
  #settle(queue: ConsumeQueue, batch: CatalogBatch): void {
    if (queue.isLight) {
      if (isKeepable(queue)) {
        this.#keep(queue, batch);
        return;
      }
      this.#kept.delete(queue);
    }
    this.flush(queue);
    const { maxOffset, minOffset } = queue;
    if (!queue.isLight) {
      const from = Math.max(queue.safeOffset, minOffset);
      if (from < maxOffset) this.#sync(queue, from, maxOffset - from);
      queue.safeOffset = maxOffset;
      queue.notedOffset = maxOffset;
    }
    batch.state(queue.number, minOffset, maxOffset);
    if (queue.movedTo > minOffset) batch.moved(queue.number, queue.movedTo);
  }

  #define(queue: ConsumeQueue): void {
    if (queue.isDefined) return;
    queue.isDefined = true;
    this.#host.catalog.define(queue.number, queue.topic, queue.queueId, queue.isLight);
  }

  /** All that the catalog has to say of a queue, for a new file. */
  describe(queue: ConsumeQueue, batch: CatalogBatch): void {
    if (queue.isDropped || !queue.isDefined) return;
    batch.define(queue.number, queue.topic, queue.queueId, queue.isLight);
    for (const [page, block] of queue.blocks()) batch.block(queue.number, page, block);
    const from = queue.unsafeFrom;
    if (queue.isLight || from === queue.maxOffset || !this.#tell(queue, batch, from, from)) {
      const isNews = !queue.isLight && queue.safeOffset < queue.maxOffset;
      this.#settle(queue, batch);
      // The file that counts until the new one is whole would still have its tail.
      if (isNews) this.#settle(queue, this.#host.catalog);
      return;
    }
    if (queue.movedTo > queue.minOffset) batch.moved(queue.number, queue.movedTo);
  }
}

/** Has a light queue so few entries, all of them in memory and in no block, that the catalog may have them? */
function isKeepable(queue: ConsumeQueue): boolean {
  const { isLight, minOffset, maxOffset, flushedOffset } = queue;
  const count = maxOffset - minOffset;
  if (!isLight || count === 0 || count > KEPT_MAX) return false;
  return queue.kept !== null || (flushedOffset <= minOffset && queue.firstBlock() < 0);
}
