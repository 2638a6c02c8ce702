/**
 * Counts how many bytes of each sealed segment are still owed, by walking through the entries of all queues and asking
 * their owner about each, a bounded number at a time. On the way each queue learns the lowest place in the log that it
 * owes. What is owed of the
 * sealed segments only falls while time goes on; a queue whose owner says otherwise (`owesAgain`) is left for the next one.
 *
 * A record with entries in many light queues counts once, as long as a small table remembers it: counted twice, a segment
 * looks fuller than it is, and stays.
 */
import { entryBatch } from "../model/entry-batch.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import type { OwedMask } from "./message-store.ts";
import type { QueueTable } from "./queue-table.ts";
import { isFiller } from "./record.ts";

const BATCH = 2048;
/** A queue without anything to look at counts as so many entries. */
const QUEUE_COST = 4;
const SEEN_SLOTS = 1 << 16;

const slotOf = (physicalOffset: number): number =>
  Math.floor(physicalOffset / 91) & (SEEN_SLOTS - 1);

export class LiveSurvey {
  /** Where the first segment counted begins, and how long each is. */
  readonly base: number;
  readonly #segmentBytes: number;
  /** Owed bytes by segment, from `base` on. */
  readonly live: Float64Array;
  /** Entries looked at. */
  entries = 0;
  isDone = false;
  readonly #table: QueueTable;
  readonly #owed: OwedMask;
  readonly #walk: Iterator<ConsumeQueue | null>;
  #queue: ConsumeQueue | null = null;
  #at = 0;
  #end = 0;
  /** Lowest place that the queue owes, as far as it was looked at. */
  #lowest = 0;
  #seen: Float64Array | null = null;
  readonly #mask = new Uint8Array(BATCH);
  readonly #batch = entryBatch(BATCH);
  readonly #logEnd: () => number;

  /** Segments from `base` to `end` are counted. */
  constructor(
    table: QueueTable,
    owed: OwedMask,
    base: number,
    end: number,
    segmentBytes: number,
    logEnd: () => number,
  ) {
    this.#table = table;
    this.#owed = owed;
    this.base = base;
    this.#segmentBytes = segmentBytes;
    this.live = new Float64Array(Math.max(0, Math.floor((end - base) / segmentBytes)));
    this.#walk = table.names.withEntries();
    this.#logEnd = logEnd;
  }

  /** Looks at about so many entries. True when all were. */
  step(entries: number): boolean {
    let left = entries;
    while (left > 0 && !this.isDone) {
      if (this.#queue === null) {
        const next = this.#walk.next();
        if (next.done === true) this.isDone = true;
        else if (next.value !== null) this.#begin(next.value);
        left -= QUEUE_COST;
      } else {
        left -= this.#look(this.#queue);
      }
    }
    return this.isDone;
  }

  #begin(queue: ConsumeQueue): void {
    if (queue.isDropped || queue.minOffset >= queue.maxOffset) return;
    this.#queue = queue;
    queue.isOwedAnew = false;
    this.#at = queue.minOffset;
    this.#end = queue.maxOffset;
    // What comes later lies behind.
    this.#lowest = this.#logEnd();
  }

  #look(queue: ConsumeQueue): number {
    const from = Math.max(this.#at, queue.minOffset);
    if (queue.isDropped || from >= this.#end) {
      if (!queue.isDropped && !queue.isOwedAnew) queue.owed = this.#lowest;
      this.#queue = null;
      return QUEUE_COST;
    }
    const count = Math.min(BATCH, this.#end - from);
    if (this.#owed(queue, from, count, this.#mask) === 0) {
      this.#at = from + count;
      return Math.ceil(count / 16);
    }
    if (count === 1 && this.#isKnown(queue, from)) {
      this.#lowest = Math.min(this.#lowest, queue.owed);
      this.#at = from + 1;
      return 1;
    }
    const got = this.#table.read(queue, from, count, this.#batch);
    if (got === 0) {
      queue.owed = 0; // Not known: nothing may go.
      this.#queue = null;
      return QUEUE_COST;
    }
    this.#count(queue, got);
    this.#at = from + got;
    this.entries += got;
    return got;
  }

  /** The one entry of a light queue, of a record that was counted already: no need to read it again to know so. */
  #isKnown({ isLight, owed, minOffset, maxOffset, movedTo }: ConsumeQueue, from: number): boolean {
    if (!isLight || owed < 0 || minOffset !== from || maxOffset !== from + 1) return false;
    return movedTo <= from && this.#seen?.[slotOf(owed)] === owed;
  }

  #count(queue: ConsumeQueue, count: number): void {
    const { physicalOffset, size } = this.#batch;
    const { base, live } = this;
    const end = base + live.length * this.#segmentBytes;
    for (let i = 0; i < count; i++) {
      if (this.#mask[i] === 0) continue;
      const at = physicalOffset[i]!;
      if (isFiller(size[i]!)) {
        // An entry that was lost, where what it owes is not known; or one that never had a record.
        if (at < 0) this.#lowest = 0;
        continue;
      }
      if (at < base) continue;
      if (at < this.#lowest) this.#lowest = at;
      if (at >= end || (queue.isLight && this.#wasSeen(at))) continue;
      live[Math.floor((at - base) / this.#segmentBytes)]! += size[i]!;
    }
  }

  #wasSeen(physicalOffset: number): boolean {
    this.#seen ??= new Float64Array(SEEN_SLOTS).fill(-1);
    const slot = slotOf(physicalOffset);
    if (this.#seen[slot] === physicalOffset) return true;
    this.#seen[slot] = physicalOffset;
    return false;
  }
}
