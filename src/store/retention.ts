/**
 * Which segments nobody needs any more. A segment may go when it is sealed, wholly below the first record that some
 * queue still owes, and a checkpoint has noted the trims that say so.
 *
 * A queue whose records were moved (moved-record.ts) does not owe them in the order of the log: the lowest place of all
 * is found by live-survey.ts, and nothing goes before that.
 *
 * The search starts with the queue that held the oldest segment last time: usually it still does, and that is all the
 * work there is. Otherwise all queues are looked at, in one go, so that none can hide by going to rest meanwhile: of those
 * that rest this takes a hundredth of a microsecond each. Where the files have to be asked, only so many are in one call.
 */
import { entryBatch } from "../model/entry-batch.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import { ListSeams } from "./list-seams.ts";
import type { QueueTable } from "./queue-table.ts";
import { isFiller } from "./record.ts";
import type { SegmentList } from "./segment-list.ts";

/** Queues of which the files are asked in one call. */
const READS_PER_CALL = 2000;

/** Nobody is owed anything. */
const isEmpty = (queue: ConsumeQueue): boolean =>
  queue.isDropped || queue.minOffset >= queue.maxOffset;

class Retention {
  readonly #table: QueueTable;
  readonly #entry = entryBatch();
  #holder: ConsumeQueue | null = null;
  /** No queue owes anything before this offset, and none will. */
  #freeBelow = 0;

  readonly #durable: () => number;
  readonly #onReadError: (error: unknown) => void;

  constructor(table: QueueTable, durable: () => number, onReadError: (error: unknown) => void) {
    this.#table = table;
    this.#durable = durable;
    this.#onReadError = onReadError;
  }

  /** Somebody is owed more than before: nothing is known any more. */
  forget(): void {
    this.#freeBelow = 0;
  }

  /**
   * True when no queue owes a record before `limit`; call again later when it says "unsure": not all were looked at.
   */
  isFree(limit: number): boolean | "unsure" {
    if (limit <= this.#freeBelow) return true;
    const { names } = this.#table;
    const holder = this.#holder === null ? undefined : names.current(this.#holder);
    if (holder !== undefined && !isEmpty(holder) && this.#owedFrom(holder) < limit) return false;
    this.#holder = null;
    let readsLeft = READS_PER_CALL;
    // What is appended from now on lies behind what is durable now.
    const passed = { lowest: this.#durable() };
    for (const queues of [names.awake(), names.restingOwedBelow(limit, passed)]) {
      for (const queue of queues) {
        if (isEmpty(queue)) continue;
        if (queue.owed < 0 && --readsLeft < 0) return "unsure";
        const owed = this.#owedFrom(queue);
        if (owed < limit) {
          this.#holder = queue;
          return false;
        }
        passed.lowest = Math.min(passed.lowest, owed);
      }
    }
    this.#freeBelow = passed.lowest;
    return true;
  }

  /** As `#firstOwed`, looked for once. */
  #owedFrom(queue: ConsumeQueue): number {
    if (queue.owed < 0) queue.owed = this.#firstOwed(queue);
    return queue.owed;
  }

  /** Physical offset of the first record that the queue owes. */
  #firstOwed(queue: ConsumeQueue): number {
    // Where records were moved, places do not ascend with offsets: only a look at all of them says more.
    if (queue.movedTo > queue.minOffset) return 0;
    for (let offset = queue.minOffset; offset < queue.maxOffset; offset++) {
      if (!this.#read(queue, offset)) break;
      const physicalOffset = this.#entry.physicalOffset[0]!;
      if (physicalOffset < 0) break; // An entry that was lost: what it owes is not known.
      if (!isFiller(this.#entry.size[0]!)) return physicalOffset;
    }
    return 0; // Nothing known: nothing may go.
  }

  #read(queue: ConsumeQueue, offset: number): boolean {
    try {
      return this.#table.read(queue, offset, 1, this.#entry) === 1;
    } catch (error) {
      this.#onReadError(error);
      return false;
    }
  }
}

export interface RemovedFiles {
  readonly paths: string[];
  readonly moves: ReadonlyArray<readonly [from: string, to: string]>;
}

/** Removes segments from the front of the log, and the queue files that only speak of them. */
export class SegmentRetention {
  readonly #table: QueueTable;
  readonly #segments: SegmentList;
  readonly #durable: () => number;
  readonly #search: Retention;
  readonly #seams: ListSeams;
  readonly #onReadError: (error: unknown) => void;
  /** Segments that may go once the checkpoint that is being made is done. */
  #chosen: number[] = [];

  /** `onReadError`: the disk refused to give an entry. Throws what is no such error. */
  constructor(
    table: QueueTable,
    segments: SegmentList,
    durable: () => number,
    onReadError: (error: unknown) => void,
  ) {
    this.#table = table;
    this.#segments = segments;
    this.#durable = durable;
    this.#search = new Retention(table, durable, onReadError);
    this.#seams = new ListSeams(segments);
    this.#onReadError = onReadError;
  }

  /** A queue owes entries that it did not owe before. */
  forget(): void {
    this.#search.forget();
  }

  /** Is there a segment to remove? Then a checkpoint is worth making. */
  isWanted(): boolean {
    return this.#free(1).length > 0;
  }

  /** A checkpoint begins. */
  choose(): void {
    this.#chosen = this.#free(Number.POSITIVE_INFINITY);
  }

  /** The first segments that may go, `wanted` or more. None of them has a part of a list of which another part stays. */
  #free(wanted: number): number[] {
    const { minOffset, segmentBytes } = this.#segments;
    const free: number[] = [];
    let count = 0;
    // The active segment holds the end of the log, and stays.
    for (let start = minOffset; start + segmentBytes <= this.#durable(); start += segmentBytes) {
      if (count >= wanted || this.#search.isFree(start + segmentBytes) !== true) break;
      free.push(start);
      if (!this.#isSeam(start + segmentBytes)) count = free.length;
    }
    return free.slice(0, count);
  }

  #isSeam(start: number): boolean {
    try {
      return this.#seams.isSeam(start);
    } catch (error) {
      this.#onReadError(error);
      return true;
    }
  }

  /** Where the log begins once the chosen segments are gone. */
  get keptFrom(): number {
    const last = this.#chosen.at(-1);
    return last === undefined ? this.#segments.minOffset : last + this.#segments.segmentBytes;
  }

  /**
   * It is done: the paths of the files to remove, and of those that go elsewhere (`placeFor`). The log begins behind them
   * from now on.
   */
  take(placeFor: (segment: number) => string | null): RemovedFiles {
    const paths: string[] = [];
    const moves: Array<readonly [from: string, to: string]> = [];
    if (this.#chosen.length === 0) return { paths, moves };
    for (const start of this.#chosen) {
      const place = placeFor(start);
      if (place === null) paths.push(this.#segments.path(start));
      else moves.push([this.#segments.path(start), place]);
    }
    this.#segments.minOffset = this.#chosen.at(-1)! + this.#segments.segmentBytes;
    this.#chosen = [];
    this.#table.oldFiles(paths);
    return { paths, moves };
  }
}
