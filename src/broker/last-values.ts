/**
 * Where the newest message of each key lies, for queues and topics that keep only that one. In memory: an entry per key.
 * A topic keeps it for readers that come later: everything else of it is owed to nobody once its groups are done with it.
 */

/** Shards of one node at most: a place is one number. */
const SHARDS = 4096;

export class LastValues {
  /** Offset times SHARDS, and the shard. */
  readonly #places = new Map<string, number>();
  /** By shard: offsets, in the order in which they came, which is ascending. */
  readonly #offsets: Array<Set<number>> = [];
  /** Keys whose newest message has no body: until when that is kept, ms. In the order of that, of one shard. */
  readonly #ending = new Map<string, number>();

  /** The key's newest message is here now. Returns the shard and the offset of the one before, or null. */
  replace(key: string, shard: number, offset: number): { shard: number; offset: number } | null {
    const before = this.#places.get(key);
    if (this.#ending.size > 0) this.#ending.delete(key);
    this.#places.set(key, offset * SHARDS + shard);
    let offsets = this.#offsets[shard];
    if (offsets === undefined) {
      offsets = new Set();
      this.#offsets[shard] = offsets;
    }
    offsets.add(offset);
    if (before === undefined) return null;
    const older = { shard: before % SHARDS, offset: Math.floor(before / SHARDS) };
    this.#offsets[older.shard]?.delete(older.offset);
    return older;
  }

  /** The key's newest message says that there is nothing any more: forgotten at `until`, unless another comes. */
  end(key: string, until: number): void {
    this.#ending.delete(key);
    this.#ending.set(key, until);
  }

  /** Forgets keys whose time is over. */
  forgetEnded(now: number): void {
    for (const [key, until] of this.#ending) {
      if (until > now) return;
      this.#ending.delete(key);
      const place = this.#places.get(key);
      if (place === undefined) continue;
      this.#places.delete(key);
      this.#offsets[place % SHARDS]?.delete(Math.floor(place / SHARDS));
    }
  }

  get size(): number {
    return this.#places.size;
  }

  has(shard: number, offset: number): boolean {
    return this.#offsets[shard]?.has(offset) ?? false;
  }

  /** The first offset of a shard that is some key's newest; -1 for none. */
  lowest(shard: number): number {
    for (const offset of this.#offsets[shard] ?? []) return offset;
    return -1;
  }

  /** All of a shard, ascending. */
  offsets(shard: number): Iterable<number> {
    return this.#offsets[shard] ?? [];
  }
}
