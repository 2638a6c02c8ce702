/** Puts queues away that nobody uses, in slices between which others go on. */

/** Longest time that it keeps the event loop. */
const SLICE_MS = 1;

export interface TidierHost {
  /** One more was put away; false when none is left. */
  tidySome(): boolean;
  /** After a slice that ran by itself: what it asked of the store thread is on its way. */
  handOver(): void;
  isOpen(): boolean;
}

export class Tidier {
  readonly #host: TidierHost;
  readonly #isSliced: boolean;
  #isScheduled = false;

  /** `isSliced`: false does all at once, where time is simulated. */
  constructor(host: TidierHost, isSliced: boolean) {
    this.#host = host;
    this.#isSliced = isSliced;
  }

  run(): void {
    const until = performance.now() + SLICE_MS;
    while (this.#host.tidySome()) {
      if (!this.#isSliced || performance.now() < until) continue;
      if (!this.#isScheduled) setImmediate(() => this.#more());
      this.#isScheduled = true;
      return;
    }
  }

  #more(): void {
    this.#isScheduled = false;
    if (!this.#host.isOpen()) return;
    this.run();
    this.#host.handOver();
  }
}
