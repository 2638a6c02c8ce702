/**
 * What a session has sent and the peer has not settled: from the delivery-id (a 32-bit serial number, consecutive) to
 * the link and the consumer's own number of that delivery. Two typed arrays, no object per delivery.
 *
 * A settled entry keeps a pointer to where the next unsettled one may be, and pointers are shortened when followed:
 * however a peer orders its dispositions, walking a range costs about the entries that are still open in it.
 */

const INITIAL = 16;
/** Most delivery-ids between the oldest unsettled one and the next: then the session sends nothing more. */
const MAX_SPAN = 131_072;

/** Gets runs of consecutive deliveries of one link. */
export interface SettledRuns {
  onSettledRun(slot: number, first: number, last: number): void;
}

export class UnsettledRing {
  /** Link slot + 1; 0 once settled. */
  #slots = new Uint32Array(INITIAL);
  /** Delivery number; once settled, how many ids further the next open entry may be. */
  #numbers = new Float64Array(INITIAL);
  /** Oldest id that may be unsettled, and the next id to be given. */
  #base = 0;
  #next = 0;

  get nextId(): number {
    return this.#next;
  }

  get isFull(): boolean {
    return (this.#next - this.#base) >>> 0 >= MAX_SPAN;
  }

  get span(): number {
    return (this.#next - this.#base) >>> 0;
  }

  /** Gives the next delivery-id to a delivery that will be settled by the peer. */
  push(slot: number, number: number): number {
    const id = this.#next;
    if ((id - this.#base) >>> 0 === this.#slots.length) this.#grow();
    const at = id & (this.#slots.length - 1);
    this.#slots[at] = slot + 1;
    this.#numbers[at] = number;
    this.#next = (id + 1) >>> 0;
    return id;
  }

  /** Gives the next delivery-id to a delivery that is settled already. */
  pushSettled(): number {
    const id = this.#next;
    if (id === this.#base) {
      this.#base = this.#next = (id + 1) >>> 0;
      return id;
    }
    if ((id - this.#base) >>> 0 === this.#slots.length) this.#grow();
    const at = id & (this.#slots.length - 1);
    this.#slots[at] = 0;
    this.#numbers[at] = 1;
    this.#next = (id + 1) >>> 0;
    return id;
  }

  /** Settles every open delivery with an id in [first, last] (serial numbers); ids never given or long settled are skipped. */
  settle(first: number, last: number, runs: SettledRuns): void {
    const span = (this.#next - this.#base) >>> 0;
    // As distances from the base: signed, so that ranges beginning before it work.
    let from = (first - this.#base) | 0;
    let to = (last - this.#base) | 0;
    if (from < 0) from = 0;
    if (to >= span) to = span - 1;
    const slots = this.#slots;
    const numbers = this.#numbers;
    const mask = slots.length - 1;
    const base = this.#base;
    let runSlot = 0;
    let runFirst = 0;
    let runLast = 0;
    for (let i = from; i <= to; ) {
      const at = (base + i) & mask;
      const slot = slots[at]!;
      if (slot === 0) {
        i = this.#nextOpen(i, to);
        continue;
      }
      const number = numbers[at]!;
      slots[at] = 0;
      numbers[at] = 1;
      if (slot === runSlot && number === runLast + 1) {
        runLast = number;
      } else {
        if (runSlot !== 0) runs.onSettledRun(runSlot - 1, runFirst, runLast);
        runSlot = slot;
        runFirst = runLast = number;
      }
      i++;
    }
    this.#advance();
    if (runSlot !== 0) runs.onSettledRun(runSlot - 1, runFirst, runLast);
  }

  /** Forgets what a closed link had open. */
  dropLink(slot: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let id = this.#base; id !== this.#next; id = (id + 1) >>> 0) {
      if (slots[id & mask] === slot + 1) {
        slots[id & mask] = 0;
        this.#numbers[id & mask] = 1;
      }
    }
    this.#advance();
  }

  /** First distance from `i` on that may be open, at most `to + 1`; shortens the pointers on the way. */
  #nextOpen(i: number, to: number): number {
    const slots = this.#slots;
    const numbers = this.#numbers;
    const mask = slots.length - 1;
    const base = this.#base;
    let end = i;
    while (end <= to && slots[(base + end) & mask] === 0) end += numbers[(base + end) & mask]!;
    for (let at = i; at < end; ) {
      const index = (base + at) & mask;
      const step = numbers[index]!;
      numbers[index] = end - at;
      at += step;
    }
    return end;
  }

  #advance(): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    const next = this.#next;
    let base = this.#base;
    while (base !== next && slots[base & mask] === 0) base = (base + 1) >>> 0;
    this.#base = base;
  }

  #grow(): void {
    const slots = this.#slots;
    const numbers = this.#numbers;
    const mask = slots.length - 1;
    this.#slots = new Uint32Array(slots.length * 2);
    this.#numbers = new Float64Array(slots.length * 2);
    const grownMask = slots.length * 2 - 1;
    for (let id = this.#base; id !== this.#next; id = (id + 1) >>> 0) {
      this.#slots[id & grownMask] = slots[id & mask]!;
      this.#numbers[id & grownMask] = numbers[id & mask]!;
    }
  }
}
