/**
 * Entries to be changed once the copies of their records are durable (segment-mover.ts), oldest first: a ring of columns,
 * not an object each. Those would live just long enough to become old garbage, which takes tens of megabytes until it is
 * collected.
 *
 * There is room for MOST_SWITCHES of them. A record that lies in more light queues than that has its own all the same: the
 * columns grow for it, and go when all are taken.
 */
import type { ConsumeQueue } from "./consume-queue.ts";

/** Records are copied no further while so many entries wait: more than a few MiB of short messages have. */
export const MOST_SWITCHES = 8192;

export class PendingSwitches {
  #capacity = 0;
  /** Slot of the oldest one. */
  #head = 0;
  length = 0;
  #queues: Array<ConsumeQueue | null> = [];
  #offsets = new Float64Array(0);
  /** Where its record lies, and where the copy. */
  #froms = new Float64Array(0);
  #tos = new Float64Array(0);
  /** Of the copy. */
  #sizes = new Int32Array(0);
  #tagHashes = new Int32Array(0);

  /** Nothing more is to be added, but for what belongs to the same record. */
  get isFull(): boolean {
    return this.length >= MOST_SWITCHES;
  }

  /** Bytes of columns, for tests. */
  get memory(): number {
    return this.#capacity * 40;
  }

  add(
    queue: ConsumeQueue,
    offset: number,
    from: number,
    to: number,
    size: number,
    tagHash: number,
  ): void {
    if (this.length === this.#capacity) this.#grow();
    const slot = (this.#head + this.length++) % this.#capacity;
    this.#queues[slot] = queue;
    this.#offsets[slot] = offset;
    this.#froms[slot] = from;
    this.#tos[slot] = to;
    this.#sizes[slot] = size;
    this.#tagHashes[slot] = tagHash;
  }

  /** The oldest one, of which there is one. */
  get queue(): ConsumeQueue {
    return this.#queues[this.#head]!;
  }
  get offset(): number {
    return this.#offsets[this.#head]!;
  }
  get from(): number {
    return this.#froms[this.#head]!;
  }
  get to(): number {
    return this.#tos[this.#head]!;
  }
  get size(): number {
    return this.#sizes[this.#head]!;
  }
  get tagHash(): number {
    return this.#tagHashes[this.#head]!;
  }

  /** Takes the oldest one out. */
  shift(): void {
    // A queue that is put to rest must not stay in memory for it.
    this.#queues[this.#head] = null;
    this.#head = (this.#head + 1) % this.#capacity;
    this.length--;
    if (this.length === 0 && this.#capacity > MOST_SWITCHES) this.release();
  }

  /** Gives the columns back, when nothing is in them. */
  release(): void {
    if (this.length === 0 && this.#capacity > 0) this.#resize(0);
  }

  #grow(): void {
    this.#resize(this.#capacity < MOST_SWITCHES ? MOST_SWITCHES : this.#capacity * 2);
  }

  #resize(capacity: number): void {
    const head = this.#head;
    this.#queues = inOrder(this.#queues, head, this.length, new Array(capacity).fill(null));
    this.#offsets = inOrder(this.#offsets, head, this.length, new Float64Array(capacity));
    this.#froms = inOrder(this.#froms, head, this.length, new Float64Array(capacity));
    this.#tos = inOrder(this.#tos, head, this.length, new Float64Array(capacity));
    this.#sizes = inOrder(this.#sizes, head, this.length, new Int32Array(capacity));
    this.#tagHashes = inOrder(this.#tagHashes, head, this.length, new Int32Array(capacity));
    this.#head = 0;
    this.#capacity = capacity;
  }
}

/** Copies what a ring holds to the beginning of a larger one. */
function inOrder<T extends { [index: number]: unknown; readonly length: number }>(
  from: T,
  head: number,
  count: number,
  to: T,
): T {
  for (let i = 0; i < count; i++) to[i] = from[(head + i) % from.length];
  return to;
}
