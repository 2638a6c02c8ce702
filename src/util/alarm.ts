/** One timer for the earliest of many due times, however far away. */
import type { Clock } from "./turn.ts";

/** setTimeout takes 31 bits: longer waits go in steps. */
const LONGEST_MS = 2 ** 31 - 1;

export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #timer: unknown;
  #due = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings at this time (ms since the epoch), or earlier when it was set earlier. It may ring early: look at the clock. */
  set(due: number): void {
    if (due >= this.#due) return;
    this.#clock.cancel(this.#timer);
    this.#due = due;
    const wait = Math.min(Math.max(0, due - this.#clock.now()), LONGEST_MS);
    this.#timer = this.#clock.after(wait, () => {
      this.#due = Number.POSITIVE_INFINITY;
      this.#ring();
    });
  }

  clear(): void {
    this.#clock.cancel(this.#timer);
    this.#due = Number.POSITIVE_INFINITY;
  }
}
