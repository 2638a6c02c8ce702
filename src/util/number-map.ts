/** A map from whole numbers to whole numbers, both below 2^32, for millions: two words each, in one piece of memory. */
const MIN_SLOTS = 16;
const NONE = 0;
const GONE = 1;
/** Keys are kept with this added. */
const FIRST = 2;

export class NumberMap {
  /** Key and value by turns; keys are doubles, so that no number stands for "none". */
  #slots = new Float64Array(MIN_SLOTS * 2);
  #mask = MIN_SLOTS - 1;
  #size = 0;
  /** Slots that are not free, those of removed keys among them. */
  #taken = 0;

  get size(): number {
    return this.#size;
  }

  get(key: number): number | undefined {
    const slot = this.#find(key);
    return slot < 0 ? undefined : this.#slots[slot + 1];
  }

  set(key: number, value: number): void {
    const known = this.#find(key);
    if (known >= 0) {
      this.#slots[known + 1] = value;
      return;
    }
    if ((this.#taken + 1) * 4 > (this.#mask + 1) * 3) this.#resize();
    this.#enter(key + FIRST, value);
    this.#size++;
    this.#taken++;
  }

  delete(key: number): boolean {
    const slot = this.#find(key);
    if (slot < 0) return false;
    this.#slots[slot] = GONE;
    this.#size--;
    return true;
  }

  *values(): Generator<number> {
    const slots = this.#slots;
    for (let at = 0; at < slots.length; at += 2) if (slots[at]! >= FIRST) yield slots[at + 1]!;
  }

  #find(key: number): number {
    const slots = this.#slots;
    const kept = key + FIRST;
    for (let slot = hashOf(kept) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const found = slots[slot * 2]!;
      if (found === kept) return slot * 2;
      if (found === NONE) return -1;
    }
  }

  #enter(kept: number, value: number): void {
    const slots = this.#slots;
    let slot = hashOf(kept) & this.#mask;
    while (slots[slot * 2] !== NONE) slot = (slot + 1) & this.#mask;
    slots[slot * 2] = kept;
    slots[slot * 2 + 1] = value;
  }

  #resize(): void {
    const before = this.#slots;
    let slots = MIN_SLOTS;
    while (slots < this.#size * 2 + 2) slots *= 2;
    this.#slots = new Float64Array(slots * 2);
    this.#mask = slots - 1;
    this.#taken = this.#size;
    for (let at = 0; at < before.length; at += 2) {
      if (before[at]! >= FIRST) this.#enter(before[at]!, before[at + 1]!);
    }
  }
}

/** Neighbouring numbers stay neighbours: they come one after the other. Those far apart do not all meet in one place. */
const hashOf = (kept: number): number => kept ^ (kept >>> 7) ^ (kept >>> 15);
