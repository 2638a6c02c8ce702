/**
 * The deliveries of one subscription that wait for their ACK: number → bytes of the frame, in a ring of integers indexed
 * by `number & mask`. Numbers are dense; the ring spans from the oldest that waits to the newest and doubles when full.
 */
const INITIAL = 64;

export class PendingDeliveries {
  #bytes = new Int32Array(INITIAL);
  #mask = INITIAL - 1;
  /** Oldest number that may wait, and the next one to come. */
  #low = 0;
  #high = 0;
  /** What `findRun` found. */
  runFirst = 0;
  runLast = 0;
  /** Bytes and number of all that wait. */
  totalBytes = 0;
  count = 0;

  /** The next delivery went out, as a frame of so many bytes. */
  push(number: number, bytes: number): void {
    if (this.count === 0) this.#low = number;
    if (number - this.#low > this.#mask) this.#grow();
    this.#bytes[number & this.#mask] = bytes;
    this.#high = number + 1;
    this.totalBytes += bytes;
    this.count++;
  }

  has(number: number): boolean {
    return number >= this.#low && number < this.#high && this.#bytes[number & this.#mask] !== 0;
  }

  /** The first run of waiting numbers in `first..last`, left in `runFirst..runLast`. */
  findRun(first: number, last: number): boolean {
    const end = Math.min(last + 1, this.#high);
    let at = Math.max(first, this.#low);
    while (at < end && this.#bytes[at & this.#mask] === 0) at++;
    if (at >= end) return false;
    this.runFirst = at;
    while (at < end && this.#bytes[at & this.#mask] !== 0) at++;
    this.runLast = at - 1;
    return true;
  }

  /** All of `first..last` wait; they do not any more. */
  remove(first: number, last: number): void {
    const bytes = this.#bytes;
    const mask = this.#mask;
    for (let at = first; at <= last; at++) {
      this.totalBytes -= bytes[at & mask]!;
      bytes[at & mask] = 0;
    }
    this.count -= last - first + 1;
    if (first === this.#low) {
      let low = last + 1;
      while (low < this.#high && bytes[low & mask] === 0) low++;
      this.#low = low;
    }
  }

  /** Numbers that were removed wait again (their transaction was aborted). Their size is not known any more. */
  restore(first: number, last: number): void {
    if (this.count === 0 || first < this.#low) {
      const high = Math.max(this.#high, last + 1);
      while (high - first > this.#mask + 1) this.#grow();
      this.#low = first;
      this.#high = high;
    }
    for (let at = first; at <= last; at++) this.#bytes[at & this.#mask] = 1;
    this.totalBytes += last - first + 1;
    this.count += last - first + 1;
  }

  #grow(): void {
    const size = (this.#mask + 1) * 2;
    const bytes = new Int32Array(size);
    for (let at = this.#low; at < this.#high; at++) {
      bytes[at & (size - 1)] = this.#bytes[at & this.#mask]!;
    }
    this.#bytes = bytes;
    this.#mask = size - 1;
  }
}
