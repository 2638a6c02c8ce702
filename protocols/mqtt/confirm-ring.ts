/**
 * Acknowledgements that wait until what they confirm is durable, in the order they were asked for. Typed arrays, no
 * object per entry; grows by doubling up to one entry per packet identifier.
 */
const INITIAL = 32;

export class ConfirmRing {
  #positions = new Float64Array(INITIAL);
  #packetIds = new Uint16Array(INITIAL);
  #types = new Uint8Array(INITIAL);
  #reasons = new Uint8Array(INITIAL);
  /** Which watermark the position is compared with. */
  #levels = new Uint8Array(INITIAL);
  #mask = INITIAL - 1;
  #head = 0;
  #tail = 0;

  get length(): number {
    return this.#tail - this.#head;
  }

  push(type: number, packetId: number, reason: number, position: number, level: number): void {
    if (this.#tail - this.#head > this.#mask) this.#grow();
    const at = this.#tail++ & this.#mask;
    this.#positions[at] = position;
    this.#packetIds[at] = packetId;
    this.#types[at] = type;
    this.#reasons[at] = reason;
    this.#levels[at] = level;
  }

  /** How many from the front are confirmed, given how far each level is. */
  readyCount(confirmed: readonly number[]): number {
    let at = this.#head;
    while (at < this.#tail) {
      const slot = at & this.#mask;
      if (this.#positions[slot]! > confirmed[this.#levels[slot]!]!) break;
      at++;
    }
    return at - this.#head;
  }

  typeAt(index: number): number {
    return this.#types[(this.#head + index) & this.#mask]!;
  }
  packetIdAt(index: number): number {
    return this.#packetIds[(this.#head + index) & this.#mask]!;
  }
  reasonAt(index: number): number {
    return this.#reasons[(this.#head + index) & this.#mask]!;
  }

  drop(count: number): void {
    this.#head += count;
  }

  clear(): void {
    this.#head = this.#tail;
  }

  #grow(): void {
    const size = (this.#mask + 1) * 2;
    const positions = new Float64Array(size);
    const packetIds = new Uint16Array(size);
    const types = new Uint8Array(size);
    const reasons = new Uint8Array(size);
    const levels = new Uint8Array(size);
    for (let i = this.#head; i < this.#tail; i++) {
      const from = i & this.#mask;
      const to = i & (size - 1);
      positions[to] = this.#positions[from]!;
      packetIds[to] = this.#packetIds[from]!;
      types[to] = this.#types[from]!;
      reasons[to] = this.#reasons[from]!;
      levels[to] = this.#levels[from]!;
    }
    this.#positions = positions;
    this.#packetIds = packetIds;
    this.#types = types;
    this.#reasons = reasons;
    this.#levels = levels;
    this.#mask = size - 1;
  }
}
