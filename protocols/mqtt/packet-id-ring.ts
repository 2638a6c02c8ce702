/**
 * Packet identifiers we gave to messages that are on their way to a client: sequence number → delivery, state. The
 * identifier is a fixed function of the sequence number, `first + sequence mod span`, so that a session's own messages
 * (sequence = offset in its index) keep theirs over reconnects and restarts without anything being written down.
 *
 * A ring of typed arrays between the oldest open sequence number and the next; gaps are allowed.
 */
export const OPEN = {
  FREE: 0,
  /** QoS 1: PUBACK is outstanding. */
  AWAITS_ACK: 1,
  /** QoS 2: PUBREC is outstanding. */
  AWAITS_RECEIVED: 2,
  /** QoS 2: PUBREC came, PUBCOMP is outstanding. */
  AWAITS_COMPLETE: 3,
} as const;

const INITIAL = 16;
const NO_DELIVERIES = new Float64Array(0);
const NO_FACTS = new Uint32Array(0);

export class PacketIdRing {
  readonly #first: number;
  readonly #span: number;
  #deliveries = NO_DELIVERIES;
  /** State in bits 0-1, index of the stream it came from in 2-17. */
  #facts = NO_FACTS;
  #mask = -1;
  /** Oldest open sequence number; equal to `next` when none is open. */
  #oldest = 0;
  #next = 0;

  constructor(first: number, span: number) {
    this.#first = first;
    this.#span = span;
  }

  /** Sequence number after the highest one put. */
  get next(): number {
    return this.#next;
  }

  /** Sequence numbers that can follow `next` before an identifier would repeat. */
  get room(): number {
    return this.#oldest === this.#next ? this.#span : this.#span - (this.#next - this.#oldest);
  }

  /** Can this sequence number be put without its identifier being in use? */
  fits(sequence: number): boolean {
    return (
      this.#oldest === this.#next ||
      (sequence >= this.#next && sequence - this.#oldest < this.#span)
    );
  }

  /** As `fits`, for as many in a row. */
  fitsRun(sequence: number, count: number): boolean {
    if (this.#oldest === this.#next) return count <= this.#span;
    return sequence >= this.#next && sequence + count - 1 - this.#oldest < this.#span;
  }

  idOf(sequence: number): number {
    return this.#first + (sequence % this.#span);
  }

  /** Opens a sequence number that `fits`; returns its identifier. */
  put(sequence: number, source: number, delivery: number, state: number): number {
    if (this.#oldest === this.#next) {
      this.#oldest = sequence;
      this.#next = sequence;
    }
    const length = sequence - this.#oldest + 1;
    if (length > this.#mask + 1) this.#grow(length);
    for (; this.#next < sequence; this.#next++) this.#facts[this.#next & this.#mask] = OPEN.FREE;
    const at = sequence & this.#mask;
    this.#deliveries[at] = delivery;
    this.#facts[at] = state | (source << 2);
    this.#next = sequence + 1;
    return this.#first + (sequence % this.#span);
  }

  /** Opens as many in a row, whose deliveries are in a row as well; `fitsRun` was asked. */
  putRun(sequence: number, count: number, source: number, delivery: number, state: number): void {
    this.put(sequence, source, delivery, state);
    const length = sequence + count - this.#oldest;
    if (length > this.#mask + 1) this.#grow(length);
    const facts = state | (source << 2);
    for (let i = 1; i < count; i++) {
      const at = (sequence + i) & this.#mask;
      this.#deliveries[at] = delivery + i;
      this.#facts[at] = facts;
    }
    this.#next = sequence + count;
  }

  /** The open sequence number of a packet identifier, or -1. */
  find(packetId: number): number {
    const isOurs = packetId >= this.#first && packetId < this.#first + this.#span;
    if (!isOurs || this.#oldest === this.#next) return -1;
    const ahead = (packetId - this.#first - (this.#oldest % this.#span) + this.#span) % this.#span;
    const sequence = this.#oldest + ahead;
    if (sequence >= this.#next || this.stateOf(sequence) === OPEN.FREE) return -1;
    return sequence;
  }

  stateOf(sequence: number): number {
    return this.#facts[sequence & this.#mask]! & 3;
  }
  setState(sequence: number, state: number): void {
    const at = sequence & this.#mask;
    this.#facts[at] = (this.#facts[at]! & ~3) | state;
  }
  deliveryOf(sequence: number): number {
    return this.#deliveries[sequence & this.#mask]!;
  }
  sourceOf(sequence: number): number {
    return this.#facts[sequence & this.#mask]! >>> 2;
  }

  setSource(sequence: number, source: number): void {
    const at = sequence & this.#mask;
    this.#facts[at] = (this.#facts[at]! & 3) | (source << 2);
  }

  /** Closes a sequence number: its identifier may be used again. */
  free(sequence: number): void {
    this.#facts[sequence & this.#mask] = OPEN.FREE;
    if (sequence !== this.#oldest) return;
    let oldest = sequence + 1;
    while (oldest < this.#next && this.stateOf(oldest) === OPEN.FREE) oldest++;
    this.#oldest = oldest;
  }

  /** Calls back with each open sequence number, oldest first. */
  forEach(callback: (sequence: number) => void): void {
    for (let at = this.#oldest; at < this.#next; at++) {
      if (this.stateOf(at) !== OPEN.FREE) callback(at);
    }
  }

  #grow(atLeast: number): void {
    let size = Math.max(INITIAL, (this.#mask + 1) * 2);
    while (size < atLeast) size *= 2;
    const deliveries = new Float64Array(size);
    const facts = new Uint32Array(size);
    for (let i = this.#oldest; i < this.#next; i++) {
      const from = i & this.#mask;
      const to = i & (size - 1);
      deliveries[to] = this.#deliveries[from]!;
      facts[to] = this.#facts[from]!;
    }
    this.#deliveries = deliveries;
    this.#facts = facts;
    this.#mask = size - 1;
  }
}
