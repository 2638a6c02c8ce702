/** Binary min-heap of (key, value) numbers in typed arrays: 16 bytes an entry, O(log n) push and pop. Equal keys come out by value. */
export class MinHeap {
  #keys = new Float64Array(16);
  #values = new Float64Array(16);
  #size = 0;

  get size(): number {
    return this.#size;
  }
  /** Smallest key; Infinity when empty. */
  get topKey(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : this.#keys[0]!;
  }

  /** Value of the entry with the smallest key; NaN when empty. */
  get topValue(): number {
    return this.#size === 0 ? Number.NaN : this.#values[0]!;
  }

  push(key: number, value: number): void {
    if (this.#size === this.#keys.length) this.#grow();
    let at = this.#size++;
    const keys = this.#keys;
    const values = this.#values;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(key, value, keys[parent]!, values[parent]!)) break;
      keys[at] = keys[parent]!;
      values[at] = values[parent]!;
      at = parent;
    }
    keys[at] = key;
    values[at] = value;
  }

  /** Removes the entry with the smallest key (smallest value among equals) and returns its value; NaN when empty. */
  pop(): number {
    if (this.#size === 0) return Number.NaN;
    const keys = this.#keys;
    const values = this.#values;
    const top = values[0]!;
    const size = --this.#size;
    this.#sink(0, keys[size]!, values[size]!);
    return top;
  }

  /** Drops the entries whose value is not wanted: O(n). */
  retain(isWanted: (value: number) => boolean): void {
    const keys = this.#keys;
    const values = this.#values;
    let kept = 0;
    for (let at = 0; at < this.#size; at++) {
      if (!isWanted(values[at]!)) continue;
      keys[kept] = keys[at]!;
      values[kept++] = values[at]!;
    }
    this.#size = kept;
    for (let at = (kept >> 1) - 1; at >= 0; at--) this.#sink(at, keys[at]!, values[at]!);
  }

  /** Puts an entry at `at` or below, where it belongs. */
  #sink(from: number, key: number, value: number): void {
    const keys = this.#keys;
    const values = this.#values;
    const size = this.#size;
    let at = from;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      const right = child + 1;
      if (right < size && isBefore(keys[right]!, values[right]!, keys[child]!, values[child]!)) {
        child = right;
      }
      if (!isBefore(keys[child]!, values[child]!, key, value)) break;
      keys[at] = keys[child]!;
      values[at] = values[child]!;
      at = child;
    }
    keys[at] = key;
    values[at] = value;
  }

  #grow(): void {
    const keys = new Float64Array(this.#keys.length * 2);
    const values = new Float64Array(keys.length);
    keys.set(this.#keys);
    values.set(this.#values);
    this.#keys = keys;
    this.#values = values;
  }
}

const isBefore = (key: number, value: number, otherKey: number, otherValue: number): boolean =>
  key < otherKey || (key === otherKey && value < otherValue);
