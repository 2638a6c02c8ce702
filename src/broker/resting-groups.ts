/**
 * Groups of one node that nobody reads just now: some seventy bytes each (packed-group.ts) in place of objects. How far
 * they have got is known without looking at each, for publishing and trimming ask for it all the time.
 */
import type { QueueRange } from "../store/message-store.ts";
import { ByteTable } from "../util/byte-table.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { type GroupPacker, lowAt } from "./packed-group.ts";

type QueueEnd = Pick<QueueRange, "maxOffset">;

export class RestingGroups {
  readonly #table = new ByteTable();
  readonly #unpack: (name: string, value: Buffer) => ConsumerGroup;
  /** By shard: the sum of all low-water marks, and the lowest; -1: to be looked for. */
  readonly #sums: number[];
  readonly #lowest: number[];

  /** `unpack` makes a group that its node does not know yet. */
  constructor(shards: number, unpack: (name: string, value: Buffer) => ConsumerGroup) {
    this.#unpack = unpack;
    this.#sums = Array.from({ length: shards }, () => 0);
    this.#lowest = Array.from({ length: shards }, () => Number.POSITIVE_INFINITY);
  }

  get size(): number {
    return this.#table.size;
  }
  get bytes(): number {
    return this.#table.bytes;
  }

  has(name: string): boolean {
    return this.#table.find(name) >= 0;
  }

  /** False when it cannot be packed. */
  add(group: ConsumerGroup, packer: GroupPacker): boolean {
    const length = packer.pack(group);
    if (length === 0 || !ByteTable.fits(group.name, length)) return false;
    this.#table.set(group.name, packer.bytes, length);
    for (const [index, { state }] of group.shards.entries()) {
      this.#sums[index]! += state.low;
      const lowest = this.#lowest[index]!;
      if (lowest >= 0 && state.low < lowest) this.#lowest[index] = state.low;
    }
    return true;
  }

  /** As an object, at rest no longer. */
  take(name: string): ConsumerGroup | undefined {
    const group = this.look(name);
    if (group === undefined) return undefined;
    this.#table.delete(name);
    for (const [index, { state }] of group.shards.entries()) {
      this.#sums[index]! -= state.low;
      if (this.#lowest[index] === state.low) this.#lowest[index] = -1;
    }
    return group;
  }

  /** As an object to look at: it stays at rest. */
  look(name: string): ConsumerGroup | undefined {
    const found = this.#table.find(name);
    return found < 0 ? undefined : this.#unpack(name, this.#table.valueOf(found));
  }

  /** All of them to look at, one after the other. Groups may be taken between two steps. */
  *looks(): Generator<ConsumerGroup> {
    for (const reference of this.#table.references()) {
      yield this.#unpack(this.#table.keyOf(reference), this.#table.valueOf(reference));
    }
  }

  *names(): Generator<string> {
    for (const reference of this.#table.references()) yield this.#table.keyOf(reference);
  }

  /** First offset of a shard that some of them is owed; infinite where there are none. */
  lowest(shard: number): number {
    if (this.size === 0) return Number.POSITIVE_INFINITY;
    const known = this.#lowest[shard]!;
    if (known >= 0) return known;
    let lowest = Number.POSITIVE_INFINITY;
    const place = lowAt(shard);
    this.#each((view, at) => {
      lowest = Math.min(lowest, view.getFloat64(at + place, true));
    });
    this.#lowest[shard] = lowest;
    return lowest;
  }

  /** What all of them are owed. */
  backlog(shards: readonly QueueEnd[]): number {
    let sum = 0;
    for (const [index, { maxOffset }] of shards.entries()) {
      sum += maxOffset * this.size - this.#sums[index]!;
    }
    return sum;
  }

  /** What the one is owed that is owed most. */
  mostOwed(shards: readonly QueueEnd[]): number {
    if (this.size === 0) return 0;
    if (shards.length === 1) return shards[0]!.maxOffset - this.lowest(0);
    let most = 0;
    this.#each((view, at) => {
      let owed = 0;
      for (const [index, { maxOffset }] of shards.entries()) {
        owed += maxOffset - view.getFloat64(at + lowAt(index), true);
      }
      most = Math.max(most, owed);
    });
    return most;
  }

  #each(visit: (view: DataView, at: number) => void): void {
    const isWanted = (view: DataView, at: number): boolean => {
      visit(view, at);
      return false;
    };
    for (const _ of this.#table.seek(isWanted, Number.POSITIVE_INFINITY));
  }

  tidy(): void {
    this.#table.tidy();
  }
}
