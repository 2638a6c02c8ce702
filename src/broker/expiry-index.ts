/**
 * Where in a node's shards messages with an expiry lie: the earliest expiry of each page of 4,096 offsets. 16 bytes a
 * page, whatever the depth; a page is read again when its earliest time has come. The journal remembers it
 * (expiry-notes.ts); what it does not know of after a restart is looked at once, behind everything that is due.
 */
import type { StoreQueue } from "../store/message-store.ts";
import { EXPIRY_PAGE } from "./expiry-entry.ts";

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
  /** Pages that nobody has looked at. */
  readonly #unknown = new Map<StoreQueue, Set<number>>();
  unknownPages = 0;
  /** The page that is being looked at: what is in it is not known until `looked`. */
  #current: DuePage | null = null;
  /** No page that is known is due before this (ms since the epoch). */
  #earliest = Number.POSITIVE_INFINITY;

  note(queue: StoreQueue, offset: number, expiresAt: number): void {
    const page = Math.floor(offset / EXPIRY_PAGE);
    let pages = this.#pages.get(queue);
    if (pages === undefined) {
      pages = new Map();
      this.#pages.set(queue, pages);
    }
    const known = pages.get(page);
    if (known === undefined || expiresAt < known) pages.set(page, expiresAt);
    if (expiresAt < this.#earliest) this.#earliest = expiresAt;
  }

  /** Everything in [from, to) may hold anything: look at it once. */
  noteUnknown(queue: StoreQueue, from: number, to: number): void {
    let pages = this.#unknown.get(queue);
    if (pages === undefined) {
      pages = new Set();
      this.#unknown.set(queue, pages);
    }
    this.unknownPages -= pages.size;
    for (let page = Math.floor(from / EXPIRY_PAGE); page * EXPIRY_PAGE < to; page++) {
      pages.add(page);
    }
    this.unknownPages += pages.size;
  }

  /** Earliest expiry in a page: infinite when there is none, 0 when nobody knows. */
  earliestOf(queue: StoreQueue, page: number): number {
    const current = this.#current;
    if (current?.queue === queue && current.from === page * EXPIRY_PAGE) return 0;
    if (this.#unknown.get(queue)?.has(page) === true) return 0;
    return this.#pages.get(queue)?.get(page) ?? Number.POSITIVE_INFINITY;
  }

  isDue(now: number): boolean {
    return this.unknownPages > 0 || this.#earliest <= now;
  }

  /** Takes out a page that is due, or undefined. The caller notes again what is still alive there, and that it `looked`. */
  takeDue(now: number): DuePage | undefined {
    this.#current = (this.#earliest <= now ? this.#takeKnown(now) : null) ?? this.#takeUnknown();
    return this.#current ?? undefined;
  }

  looked(): void {
    this.#current = null;
  }

  #takeKnown(now: number): DuePage | null {
    let first = Number.POSITIVE_INFINITY;
    for (const [queue, pages] of this.#pages) {
      for (const [page, earliest] of pages) {
        if (earliest > now) {
          if (earliest < first) first = earliest;
          continue;
        }
        pages.delete(page);
        return pageAt(queue, page, this.#takeFrom(queue, page));
      }
      if (pages.size === 0) this.#pages.delete(queue);
    }
    this.#earliest = first;
    return null;
  }

  #takeUnknown(): DuePage | null {
    for (const [queue, pages] of this.#unknown) {
      for (const page of pages) {
        this.#takeFrom(queue, page);
        return pageAt(queue, page, true);
      }
    }
    return null;
  }

  /** It is looked at now. True when nobody had before. */
  #takeFrom(queue: StoreQueue, page: number): boolean {
    const pages = this.#unknown.get(queue);
    if (pages?.delete(page) !== true) return false;
    this.unknownPages--;
    if (pages.size === 0) this.#unknown.delete(queue);
    return true;
  }

  get isEmpty(): boolean {
    return this.#pages.size === 0 && this.unknownPages === 0 && this.#current === null;
  }
}

const pageAt = (queue: StoreQueue, page: number, isUnknown: boolean): DuePage => ({
  queue,
  from: page * EXPIRY_PAGE,
  to: (page + 1) * EXPIRY_PAGE,
  isUnknown,
});
