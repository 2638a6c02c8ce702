/**
 * Message ids seen within a time window, with the position of the first. A Map keeps them in order of arrival, so that
 * old ones are dropped from its front; bounded by number as well.
 */
const IDS_MAX = 1_000_000;

export interface Seen {
  readonly at: number;
  /** Of a batch, its end, which comes later. */
  position: number;
}

export class DuplicateWindow {
  readonly #windowMs: number;
  readonly #seen = new Map<string, Seen>();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  get size(): number {
    return this.#seen.size;
  }

  /** Position of the earlier message with this id, or -1 when it is new. */
  find(id: string, now: number): number {
    const seen = this.#seen.get(id);
    return seen === undefined || seen.at + this.#windowMs <= now ? -1 : seen.position;
  }

  /** It may come again: the message was taken back. */
  remove(id: string): void {
    this.#seen.delete(id);
  }

  add(id: string, now: number, position: number): Seen {
    this.#seen.delete(id);
    const seen = { at: now, position };
    this.#seen.set(id, seen);
    for (const [oldest, { at }] of this.#seen) {
      if (at + this.#windowMs > now && this.#seen.size <= IDS_MAX) break;
      this.#seen.delete(oldest);
    }
    return seen;
  }
}
