/**
 * Ranges of deliveries that wait for a watermark, in the order they came: [first, last] of delivery-ids, the position
 * that confirms them, and the outcome (an encoded state, or none for accepted). One entry per run, not per message.
 * Grows by doubling, gives the space back when it was emptied.
 */

const INITIAL = 16;
/** An emptied queue larger than this is made small again. */
const KEEP = 1024;

export class ConfirmQueue {
  #first = new Uint32Array(INITIAL);
  #last = new Uint32Array(INITIAL);
  #position = new Float64Array(INITIAL);
  /** Only while some entry is not simply accepted. */
  #states: Array<Buffer | null> | null = null;
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Positions must not fall: an entry that needs less waits for those before it. */
  push(first: number, last: number, position: number, state: Buffer | null): void {
    if (this.#size === this.#first.length) this.#grow();
    const mask = this.#first.length - 1;
    const at = (this.#head + this.#size) & mask;
    this.#first[at] = first;
    this.#last[at] = last;
    const before = (at - 1) & mask;
    this.#position[at] =
      this.#size > 0 && this.#position[before]! > position ? this.#position[before]! : position;
    if (state !== null && this.#states === null) {
      this.#states = new Array(this.#first.length).fill(null);
    }
    if (this.#states !== null) this.#states[at] = state;
    this.#size++;
  }

  get headFirst(): number {
    return this.#first[this.#head]!;
  }
  get headLast(): number {
    return this.#last[this.#head]!;
  }
  get headPosition(): number {
    return this.#position[this.#head]!;
  }
  get headState(): Buffer | null {
    return this.#states === null ? null : this.#states[this.#head]!;
  }

  shift(): void {
    if (this.#states !== null) this.#states[this.#head] = null;
    this.#head = (this.#head + 1) & (this.#first.length - 1);
    if (--this.#size > 0) return;
    this.#states = null;
    this.#head = 0;
    if (this.#first.length > KEEP) this.#resize(INITIAL);
  }

  clear(): void {
    this.#size = 0;
    this.#head = 0;
    this.#states = null;
  }

  #grow(): void {
    const { length } = this.#first;
    const first = this.#first;
    const last = this.#last;
    const position = this.#position;
    const states = this.#states;
    const head = this.#head;
    this.#resize(length * 2);
    if (states !== null) this.#states = new Array(length * 2).fill(null);
    for (let i = 0; i < this.#size; i++) {
      const from = (head + i) & (length - 1);
      this.#first[i] = first[from]!;
      this.#last[i] = last[from]!;
      this.#position[i] = position[from]!;
      if (states !== null) this.#states![i] = states[from]!;
    }
  }

  #resize(length: number): void {
    this.#first = new Uint32Array(length);
    this.#last = new Uint32Array(length);
    this.#position = new Float64Array(length);
    this.#head = 0;
  }
}
