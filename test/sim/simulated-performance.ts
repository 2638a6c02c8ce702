/**
 * `performance.now` of a simulation: stands still but for what the story lets pass, so that a seed tells the same story on
 * every machine. Some of the store's duties are timed: when the journal is synced, when a checkpoint is due.
 */
import type { Random } from "../support/random.ts";

const PAUSES_MS = [0, 0, 1, 1, 10, 60, 400] as const;

export class SimulatedPerformance {
  #now = 1000;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  pass(): void {
    this.#now += this.#random.pick(PAUSES_MS);
  }

  /** Runs the story on this time, and on that of `clock` where it is given. One at a time. */
  async during<T>(story: () => Promise<T>, clock: (() => number) | null = null): Promise<T> {
    const real = performance.now;
    const realDate = Date.now;
    performance.now = () => this.#now;
    if (clock !== null) Date.now = clock;
    try {
      return await story();
    } finally {
      performance.now = real;
      Date.now = realDate;
    }
  }
}
