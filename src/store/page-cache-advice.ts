/**
 * Log that nobody needs any more leaves the page cache of the kernel, in steps: otherwise it pushes out what is needed, and
 * the kernel's search for pages to give up costs the writer more than the writing.
 */
import type { SegmentRetention } from "./retention.ts";

/** Log that is appended between two looks; half of it is worth a word. */
const STEP_BYTES = 16 << 20;

export class PageCacheAdvice {
  readonly #retention: SegmentRetention;
  readonly #tell: (from: number, to: number) => void;
  /** Log before this offset has left. */
  #forgotten = 0;
  /** End of the log when that was last looked at. */
  #lookedAt = 0;

  /** `tell`: the store thread, that [from, to) may go. */
  constructor(retention: SegmentRetention, tell: (from: number, to: number) => void) {
    this.#retention = retention;
    this.#tell = tell;
  }

  /** Asked in every turn. */
  look(appended: number, durable: number): void {
    if (appended - this.#lookedAt < STEP_BYTES) return;
    this.#lookedAt = appended;
    const free = this.#retention.freeBelow(durable);
    if (free - this.#forgotten < STEP_BYTES / 2) return;
    this.#tell(this.#forgotten, free);
    this.#forgotten = free;
  }
}
