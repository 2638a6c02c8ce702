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
}

interface Held {
  readonly offset: number;
  position: number;
}

export class Visibility {
  readonly #held = new Map<StoreQueue, Held[]>();
  /** Held since the batch began: they wait for its end, whose position is not known yet. */
  #batch: Held[] = [];
  /** Everything published now belongs to one atomic batch and is to be held. */
  isBatch = false;

  beginBatch(): void {
    this.isBatch = true;
  }

  /** The batch ends at this position of the log. */
  endBatch(position: number): void {
    this.isBatch = false;
    for (const held of this.#batch) held.position = position;
    this.#batch = [];
  }

  /** Where the queue ends for its readers. */
  endOf(queue: StoreQueue): number {
    if (this.#held.size === 0) return queue.maxOffset;
    const first = this.#held.get(queue)?.[0];
    return first === undefined ? queue.maxOffset : first.offset;
  }

  /** The entry at `offset` and all behind it wait until the log is durable up to `position`. */
  hold(queue: StoreQueue, offset: number, position: number): void {
    const list = this.#held.get(queue);
    const last = list?.at(-1);
    // One entry for a run that becomes visible together.
    if (this.isBatch && last?.position === Number.POSITIVE_INFINITY) return;
    const held: Held = { offset, position: this.isBatch ? Number.POSITIVE_INFINITY : position };
    if (this.isBatch) this.#batch.push(held);
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
