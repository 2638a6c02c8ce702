/**
 * Log that nobody needs soon leaves the page cache of the kernel, in steps: otherwise it pushes out what is needed, and
 * the kernel's search for pages to give up costs the writer more than the writing.
 */
import type { SegmentRetention } from "./retention.ts";

/** Log that is appended between two looks, or more where there are many queues to look at; half of it is worth a word. */
const STEP_BYTES = 16 << 20;
const QUEUE_BYTES = 8 << 10;

export class PageCacheAdvice {
  readonly #retention: Pick<SegmentRetention, "unusedBelow" | "usedQueues">;
  readonly #tell: (from: number, to: number) => void;
  /** Log before this offset has left. */
  #forgotten = 0;
  /** End of the log when that was last looked at. */
  #lookedAt = 0;

  /** `tell`: the store thread, that [from, to) may go. */
  constructor(
    retention: Pick<SegmentRetention, "unusedBelow" | "usedQueues">,
    tell: (from: number, to: number) => void,
  ) {
    this.#retention = retention;
    this.#tell = tell;
  }

  /** Asked in every turn. */
  look(appended: number, durable: number): void {
    const since = appended - this.#lookedAt;
    if (since < STEP_BYTES || since < this.#retention.usedQueues * QUEUE_BYTES) return;
    this.#lookedAt = appended;
    const free = this.#retention.unusedBelow(durable, this.#forgotten + STEP_BYTES / 2);
    if (free - this.#forgotten < STEP_BYTES / 2) return;
    this.#tell(this.#forgotten, free);
    this.#forgotten = free;
  }
}
