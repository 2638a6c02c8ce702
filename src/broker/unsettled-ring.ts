/**
 * A consumer's deliveries that are not settled yet: delivery number → offset and shard, in typed arrays. Numbers are
 * dense and grow by one per delivery, so the ring is indexed by `number & mask`; it doubles when full and is bounded by
 * the consumer's credit.
 */
const INITIAL = 16;
/** Most consumers are idle. */
const NO_OFFSETS = new Float64Array(0);
const NO_SHARDS = new Uint16Array(0);
export const STAGED = 0x8000;

export class UnsettledRing {
  offsets = NO_OFFSETS;
  /** Shard index + 1; 0 = settled or unused; with STAGED: held by a transaction. */
  shards = NO_SHARDS;
  mask = -1;
  /** Oldest number that may be unsettled. */
  tail = 0;
  /** Number of the next delivery. */
  head = 0;
  /** Deliveries between tail and head that are unsettled. */
  count = 0;

  /** Delivers the first `count` of these. */
  push(shard: number, from: Float64Array, count: number): void {
    if (this.head + count - this.tail > this.mask + 1) this.#grow(this.head + count - this.tail);
    const { offsets, shards, mask } = this;
    for (let i = 0; i < count; i++) {
      const at = (this.head + i) & mask;
      offsets[at] = from[i]!;
      shards[at] = shard + 1;
    }
    this.head += count;
    this.count += count;
  }

  /** Moves the tail over settled numbers. */
  advance(): void {
    const { shards, mask } = this;
    let tail = this.tail;
    while (tail < this.head && shards[tail & mask] === 0) tail++;
    this.tail = tail;
  }

  #grow(atLeast: number): void {
    let size = Math.max(INITIAL, (this.mask + 1) * 2);
    while (size < atLeast) size *= 2;
    const offsets = new Float64Array(size);
    const shards = new Uint16Array(size);
    for (let number = this.tail; number < this.head; number++) {
      offsets[number & (size - 1)] = this.offsets[number & this.mask]!;
      shards[number & (size - 1)] = this.shards[number & this.mask]!;
    }
    this.offsets = offsets;
    this.shards = shards;
    this.mask = size - 1;
  }
}
