/**
 * Messages that nobody may see before they are durable (transactions, exactly-once publishing, copies of messages that
 * are settled when the copy is safe, records too large for the ring): each queue that has one ends, for its readers,
 * before it.
 */
import type { EntryBatch, MessageStore, StoreQueue } from "../store/message-store.ts";
import { VolatileIndex } from "./volatile-index.ts";

/** Entries of any queue, kept by the store or in memory. */
export class Entries {
  readonly #store: MessageStore;

  constructor(store: MessageStore) {
    this.#store = store;
  }

  read(queue: StoreQueue, from: number, max: number, into: EntryBatch): number {
    return queue instanceof VolatileIndex
      ? queue.read(from, max, into)
      : this.#store.read(queue, from, max, into);
  }

  readEach(queue: StoreQueue, offsets: Float64Array, count: number, into: EntryBatch): number {
    return queue instanceof VolatileIndex
      ? queue.readEach(offsets, count, into)
      : this.#store.readEach(queue, offsets, count, into);
  }
}

/** Waits for a position of the log to be durable. */
export interface Pending {
  position: number;
}

interface Held extends Pending {
  readonly offset: number;
}

export class Visibility {
  readonly #held = new Map<StoreQueue, Held[]>();
  /** Since the batch began: they wait for its end, whose position is not known yet. */
  #batch: Pending[] = [];
  /** Everything published now belongs to one atomic batch and is to be held. */
  isBatch = false;

  beginBatch(): void {
    this.isBatch = true;
  }

  /** The batch ends at this position of the log. */
  endBatch(position: number): void {
    this.isBatch = false;
    for (const pending of this.#batch) pending.position = position;
    this.#batch = [];
  }

  /** In a batch, what waits for one of its records waits for all of them. */
  awaitBatch(pending: Pending): void {
    if (!this.isBatch) return;
    pending.position = Number.POSITIVE_INFINITY;
    this.#batch.push(pending);
  }

  /** Where the queue ends for its readers. */
  endOf(queue: StoreQueue): number {
    if (this.#held.size === 0) return queue.maxOffset;
    const first = this.#held.get(queue)?.[0];
    return first === undefined ? queue.maxOffset : first.offset;
  }

  /** May a copy of this message be stored now? Not one that a crash could leave without it. */
  mayCopy(queue: StoreQueue, offset: number): boolean {
    if (offset < this.endOf(queue)) return true;
    const last = this.#held.get(queue)!.at(-1)!;
    // The copy belongs to the same batch.
    return last.position === Number.POSITIVE_INFINITY && offset >= last.offset;
  }

  /** The entry at `offset` and all behind it wait until the log is durable up to `position`. */
  hold(queue: StoreQueue, offset: number, position: number): void {
    const list = this.#held.get(queue);
    const last = list?.at(-1);
    // One entry for a run that becomes visible together.
    if (this.isBatch && last?.position === Number.POSITIVE_INFINITY) return;
    const held: Held = { offset, position };
    this.awaitBatch(held);
    if (list === undefined) this.#held.set(queue, [held]);
    else list.push(held);
  }

  /** Calls back with each queue of which more can be seen now. */
  release(durable: number, callback: (queue: StoreQueue) => void): void {
    if (this.#held.size === 0) return;
    for (const [queue, list] of [...this.#held]) {
      let done = 0;
      while (done < list.length && list[done]!.position <= durable) done++;
      if (done === 0) continue;
      if (done === list.length) this.#held.delete(queue);
      else list.splice(0, done);
      callback(queue);
    }
  }

  holds(queue: StoreQueue): boolean {
    return this.#held.has(queue);
  }

  forget(queue: StoreQueue): void {
    this.#held.delete(queue);
  }
}
