/**
 * Ordering keys in work: while deliveries of a key are unsettled, only their consumer gets more of it. Bounded by what is
 * in flight. A key is free for anybody as soon as nothing of it is outstanding, so members may come and go.
 */
const NOBODY = -1;

export class KeyOwners {
  /** Key → consumer id (NOBODY while its message waits for a retry) and deliveries outstanding. */
  readonly #owners = new Map<string, { consumer: number; count: number }>();
  /** Shard and offset → key. */
  readonly #outstanding = new Map<number, string>();

  /** Nothing with a key is outstanding. */
  get isIdle(): boolean {
    return this.#outstanding.size === 0;
  }

  /** Consumer id that has the key, NOBODY when it is held back, undefined when it is free. */
  ownerOf(key: string): number | undefined {
    return this.#owners.get(key)?.consumer;
  }

  take(key: string, consumer: number, shardIndex: number, offset: number): void {
    const owner = this.#owners.get(key);
    if (owner === undefined) this.#owners.set(key, { consumer, count: 1 });
    else {
      owner.count++;
      owner.consumer = consumer;
    }
    this.#outstanding.set(slotOf(shardIndex, offset), key);
  }

  /** Its consumer is gone or failed it, and it waits: nobody may have the key meanwhile. */
  hold(shardIndex: number, offset: number): void {
    const key = this.#outstanding.get(slotOf(shardIndex, offset));
    const owner = key === undefined ? undefined : this.#owners.get(key);
    if (owner !== undefined) owner.consumer = NOBODY;
  }

  /** No longer outstanding; true when that frees a key. */
  release(shardIndex: number, offset: number): boolean {
    const slot = slotOf(shardIndex, offset);
    const key = this.#outstanding.get(slot);
    if (key === undefined) return false;
    this.#outstanding.delete(slot);
    const owner = this.#owners.get(key)!;
    if (--owner.count > 0) return false;
    this.#owners.delete(key);
    return true;
  }
}

/** Offsets stay below 2^45 here: one number for both. */
const slotOf = (shardIndex: number, offset: number): number => offset * 256 + shardIndex;
