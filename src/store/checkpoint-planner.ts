/**
 * When to make a checkpoint, and what is in it. On the event loop; the writing is the store thread's (checkpointer.ts).
 * After 64 MiB of log, so that a crash costs no more to read again, or five seconds after something changed.
 * One at a time.
 */
import { CatalogBatch } from "./catalog.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import type { QueueTable } from "./queue-table.ts";
import type { CheckpointRequest } from "./writer-messages.ts";

const CHECKPOINT_BYTES = 64 << 20;
const CHECKPOINT_MS = 5000;
/** Each queue that has changed puts it off, up to the same length again: a checkpoint takes so much longer. */
const QUEUE_BYTES = 8 << 10;
/** The catalog is written anew when it is this many times what it was after the last time, and over 1 MiB. */
const REWRITE_FACTOR = 4;
const REWRITE_MIN_BYTES = 1 << 20;
/** Of one checkpoint: a few milliseconds of the event loop. */
const REWRITE_QUEUES = 5000;

export class CheckpointPlanner {
  readonly #table: QueueTable;
  readonly #segmentBytes: number;
  #file: number;
  #bytes: number;
  #fullBytes: number;
  #offset: number;
  #plannedAt: number;
  /** Of the newest record when the files of queues had every entry; 0: not since this process began. */
  #filesTimestamp = 0;
  /** Planned and not yet on the disk: one, or two when the store is closed meanwhile. */
  running = 0;
  #rewrite: {
    file: number;
    bytes: number;
    queues: Iterator<ConsumeQueue>;
    isDone: boolean;
  } | null = null;

  constructor(table: QueueTable, segmentBytes: number, from: Checkpoint | null, end: number) {
    this.#table = table;
    this.#segmentBytes = segmentBytes;
    this.#file = from?.catalogFile ?? 1;
    this.#bytes = from?.catalogBytes ?? 0;
    this.#fullBytes = this.#bytes;
    this.#offset = from?.offset ?? 0;
    // What recovery had to read again should not be read a third time.
    this.#plannedAt = this.#offset === end ? performance.now() : Number.NEGATIVE_INFINITY;
  }

  get isRunning(): boolean {
    return this.running > 0;
  }

  /** Is it time, by the bytes appended since the last one? */
  isDueAt(appended: number): boolean {
    const length = appended - this.#offset;
    if (length < CHECKPOINT_BYTES || this.isRunning) return false;
    return (
      length >= CHECKPOINT_BYTES + Math.min(this.#table.changes * QUEUE_BYTES, CHECKPOINT_BYTES)
    );
  }

  /** Is it time, by the clock? */
  isDue(appended: number): boolean {
    if (this.isRunning || !this.hasNews(appended)) return false;
    return this.#rewrite !== null || performance.now() - this.#plannedAt >= CHECKPOINT_MS;
  }

  /** By either of the two. */
  isDueBy(appended: number): boolean {
    return this.isDueAt(appended) || this.isDue(appended);
  }

  /** Anything that a checkpoint would tell? */
  hasNews(appended: number): boolean {
    return appended !== this.#offset || this.#table.isDirty || this.#rewrite !== null;
  }

  /** The next checkpoint: everything appended so far. `closedAt`: the last one of this process. */
  plan(
    appended: number,
    storeTimestamp: number,
    commandsIssued: () => number,
    isClosing: boolean,
  ): CheckpointRequest {
    const table = this.#table;
    table.flushAll(isClosing);
    const batches: Array<{ file: number; at: number; bytes: ArrayBuffer }> = [];
    const rewrite = this.#rewriteSome(isClosing);
    // After the rewrite: it may have added to the batch. Both files get it.
    if (!table.catalog.isEmpty) {
      const bytes = table.catalog.take();
      batches.push({ file: this.#file, at: this.#bytes, bytes });
      this.#bytes += bytes.byteLength;
      if (this.#rewrite !== null) {
        batches.push({ file: this.#rewrite.file, at: this.#rewrite.bytes, bytes });
        this.#rewrite.bytes += bytes.byteLength;
      }
    }
    if (rewrite !== null && this.#rewrite !== null) {
      batches.push({ file: this.#rewrite.file, at: this.#rewrite.bytes, bytes: rewrite });
      this.#rewrite.bytes += rewrite.byteLength;
      if (this.#rewrite.isDone) {
        this.#file = this.#rewrite.file;
        this.#bytes = this.#fullBytes = this.#rewrite.bytes;
        this.#rewrite = null;
      }
    }
    if (table.areFilesComplete) this.#filesTimestamp = storeTimestamp;
    this.#plannedAt = performance.now();
    table.arena.beginCheckpoint();
    this.running++;
    this.#offset = appended;
    return {
      kind: "checkpoint",
      checkpoint: {
        offset: appended,
        catalogFile: this.#file,
        catalogBytes: this.#bytes,
        closedAt: isClosing ? appended : -1,
        segmentBytes: this.#segmentBytes,
        storeTimestamp,
        indexEnd: -1, // The store thread knows.
        logStart: -1, // The caller knows.
      },
      commands: commandsIssued(),
      batches,
      filesTimestamp: this.#filesTimestamp,
    };
  }

  onDone(): void {
    this.running--;
    this.#table.endCheckpoint();
  }

  /** The next piece of a new catalog file, when one is due. */
  #rewriteSome(isClosing: boolean): ArrayBuffer | null {
    if (this.#rewrite === null) {
      const isDue =
        this.#bytes > REWRITE_MIN_BYTES && this.#bytes > this.#fullBytes * REWRITE_FACTOR;
      if (!isDue || isClosing) return null;
      const queues = this.#table.names.describing();
      this.#rewrite = { file: this.#file + 1, bytes: 0, queues, isDone: false };
    }
    const rewrite = this.#rewrite;
    const batch = new CatalogBatch();
    for (let i = 0; i < REWRITE_QUEUES && !rewrite.isDone; i++) {
      const next = rewrite.queues.next();
      if (next.done === true) rewrite.isDone = true;
      else this.#table.describe(next.value, batch);
    }
    return batch.take();
  }
}
