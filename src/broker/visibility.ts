/**
 * Messages that nobody may see before they are durable (exactly-once publishing, records too large for the ring): each
 * queue that has one ends, for its readers, before it.
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
  readonly position: number;
}

export class Visibility {
  readonly #held = new Map<StoreQueue, Held[]>();

  /** Where the queue ends for its readers. */
  endOf(queue: StoreQueue): number {
    if (this.#held.size === 0) return queue.maxOffset;
    const first = this.#held.get(queue)?.[0];
    return first === undefined ? queue.maxOffset : first.offset;
  }

  /** The entry at `offset` and all behind it wait until the log is durable up to `position`. */
  hold(queue: StoreQueue, offset: number, position: number): void {
    const list = this.#held.get(queue);
    if (list === undefined) this.#held.set(queue, [{ offset, position }]);
    else list.push({ offset, position });
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

  forget(queue: StoreQueue): void {
    this.#held.delete(queue);
  }
}
