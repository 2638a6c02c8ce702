/**
 * Acknowledgements that wait until what they confirm is durable, in the order they were asked for. Typed arrays, no
 * object per entry; grows by doubling up to one entry per packet identifier, and takes nothing before its first use.
 */
const INITIAL = 16;
const NO_POSITIONS = new Float64Array(0);
const NO_FACTS = new Uint32Array(0);

export class ConfirmRing {
  #positions = NO_POSITIONS;
  /** Packet identifier in bits 0-15, reason in 16-23, type in 24-27, level in 28-29. */
  #facts = NO_FACTS;
  #mask = -1;
  #head = 0;
  #tail = 0;

  get length(): number {
    return this.#tail - this.#head;
  }

  /** `level` tells which watermark the position is compared with. */
  push(type: number, packetId: number, reason: number, position: number, level: number): void {
    if (this.#tail - this.#head > this.#mask) this.#grow();
    const at = this.#tail++ & this.#mask;
    this.#positions[at] = position;
    this.#facts[at] = packetId | (reason << 16) | (type << 24) | (level << 28);
  }

  /** How many from the front are confirmed, given how far each level is. */
  readyCount(confirmed: readonly number[]): number {
    let at = this.#head;
    while (at < this.#tail) {
      const slot = at & this.#mask;
      if (this.#positions[slot]! > confirmed[(this.#facts[slot]! >>> 28) & 3]!) break;
      at++;
    }
    return at - this.#head;
  }

  typeAt(index: number): number {
    return (this.#facts[(this.#head + index) & this.#mask]! >>> 24) & 15;
  }
  packetIdAt(index: number): number {
    return this.#facts[(this.#head + index) & this.#mask]! & 0xffff;
  }
  reasonAt(index: number): number {
    return (this.#facts[(this.#head + index) & this.#mask]! >>> 16) & 0xff;
  }

  drop(count: number): void {
    this.#head += count;
  }

  clear(): void {
    this.#head = this.#tail;
  }

  #grow(): void {
    const size = Math.max(INITIAL, (this.#mask + 1) * 2);
    const positions = new Float64Array(size);
    const facts = new Uint32Array(size);
    for (let i = this.#head; i < this.#tail; i++) {
      positions[i & (size - 1)] = this.#positions[i & this.#mask]!;
      facts[i & (size - 1)] = this.#facts[i & this.#mask]!;
    }
    this.#positions = positions;
    this.#facts = facts;
    this.#mask = size - 1;
  }
}
