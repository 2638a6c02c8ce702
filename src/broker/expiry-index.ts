/**
 * Where in a node's shards messages with an expiry lie: the earliest expiry of each page of 4,096 offsets. 16 bytes a
 * page, whatever the depth; a page is read again when its earliest time has come. After a restart every page counts as
 * due once, so the first rounds rebuild the index while the broker already runs.
 */
import type { StoreQueue } from "../store/message-store.ts";

export const EXPIRY_PAGE = 4096;

export interface DuePage {
  readonly queue: StoreQueue;
  readonly from: number;
  readonly to: number;
  /** Not that something is over time there: nobody has looked since the start. */
  readonly isUnknown: boolean;
}

export class ExpiryIndex {
  /** Page number → earliest expiry (ms since the epoch), per shard. */
  readonly #pages = new Map<StoreQueue, Map<number, number>>();
  /** No page is due before this (ms since the epoch). */
  earliest = Number.POSITIVE_INFINITY;

  note(queue: StoreQueue, offset: number, expiresAt: number): void {
    const page = Math.floor(offset / EXPIRY_PAGE);
    let pages = this.#pages.get(queue);
    if (pages === undefined) {
      pages = new Map();
      this.#pages.set(queue, pages);
    }
    const known = pages.get(page);
    if (known === undefined || expiresAt < known) pages.set(page, expiresAt);
    if (expiresAt < this.earliest) this.earliest = expiresAt;
  }

  /** Everything in [from, to) may hold anything: look at it once. */
  noteUnknown(queue: StoreQueue, from: number, to: number): void {
    for (let page = Math.floor(from / EXPIRY_PAGE); page * EXPIRY_PAGE < to; page++) {
      this.note(queue, page * EXPIRY_PAGE, 0);
    }
  }

  /** Takes out a page that is due, or undefined. The caller notes again what is still alive there. */
  takeDue(now: number): DuePage | undefined {
    if (this.earliest > now) return undefined;
    let first = Number.POSITIVE_INFINITY;
    for (const [queue, pages] of this.#pages) {
      for (const [page, earliest] of pages) {
        if (earliest > now) {
          if (earliest < first) first = earliest;
          continue;
        }
        pages.delete(page);
        const from = page * EXPIRY_PAGE;
        return { queue, from, to: from + EXPIRY_PAGE, isUnknown: earliest === 0 };
      }
      if (pages.size === 0) this.#pages.delete(queue);
    }
    this.earliest = first;
    return undefined;
  }

  get isEmpty(): boolean {
    return this.#pages.size === 0;
  }
}
