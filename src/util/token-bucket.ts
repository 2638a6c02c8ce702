/**
 * A rate as a bucket of tokens: it fills evenly, holds a second's worth, and may be drawn below zero by the last one who
 * found it open. So the average holds exactly, whatever the size of what is drawn.
 */
export class TokenBucket {
  /** Per second. */
  readonly rate: number;
  /** The bucket is open while it holds so many. */
  readonly #enough: number;
  #tokens: number;
  #at: number;

  constructor(rate: number, enough: number, now: number) {
    this.rate = rate;
    this.#enough = enough;
    this.#tokens = rate;
    this.#at = now;
  }

  draw(count: number): void {
    this.#tokens -= count;
  }

  /** How many there are now; below zero while a debt is paid off. */
  level(now: number): number {
    if (now > this.#at) {
      this.#tokens = Math.min(this.rate, this.#tokens + ((now - this.#at) * this.rate) / 1000);
    }
    // A clock that went back must not stop the filling.
    this.#at = now;
    return this.#tokens;
  }

  /** Time until it is open, ms; 0 when it is. */
  waitMs(now: number): number {
    const missing = this.#enough - this.level(now);
    return missing <= 0 ? 0 : (missing * 1000) / this.rate;
  }
}
