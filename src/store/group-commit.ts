/**
 * When to sync. One sync serves everything written before it: waiting a little makes each sync worth more, waiting for
 * nothing makes a lone sender slow. The rule: when nothing arrived while the last sync ran, its senders are waiting
 * for the answer, and the next request is served at once; otherwise syncs begin at least `spacingMs` apart.
 */
export class GroupCommit {
  readonly #spacingMs: number;
  #begunAt = Number.NEGATIVE_INFINITY;
  #isFlowing = false;

  constructor(spacingMs: number) {
    this.#spacingMs = spacingMs;
  }

  /** ms to wait before the next sync; 0 or less: now. */
  delay(now: number): number {
    return this.#isFlowing ? this.#begunAt + this.#spacingMs - now : 0;
  }

  begin(now: number): void {
    this.#begunAt = now;
  }

  /** `isCaughtUp`: the sync covered everything that was there when it ended. */
  end(isCaughtUp: boolean): void {
    this.#isFlowing = !isCaughtUp;
  }
}
