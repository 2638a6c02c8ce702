/**
 * The groups of a node by name. A topic may have very many that nobody reads: those rest (resting-groups.ts), and become
 * objects again when somebody asks for them.
 */
import type { QueueRange } from "../store/message-store.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import type { GroupPacker } from "./packed-group.ts";
import { RestingGroups } from "./resting-groups.ts";

/** Where a shard ends. */
export type QueueEnd = Pick<QueueRange, "maxOffset">;

export class GroupSet {
  readonly #awake = new Map<string, ConsumerGroup>();
  /** Null while there are none. */
  #resting: RestingGroups | null = null;

  get size(): number {
    return this.#awake.size + this.restingCount;
  }
  get awakeCount(): number {
    return this.#awake.size;
  }
  get restingCount(): number {
    return this.#resting === null ? 0 : this.#resting.size;
  }
  get resting(): RestingGroups | null {
    return this.#resting;
  }

  has(name: string): boolean {
    return this.#awake.has(name) || this.#resting?.has(name) === true;
  }

  /** Woken when it rests. */
  get(name: string): ConsumerGroup | undefined {
    const awake = this.#awake.get(name);
    if (awake !== undefined || this.#resting === null) return awake;
    const group = this.#resting.take(name);
    if (group !== undefined) this.#awake.set(name, group);
    return group;
  }

  /** Is this object the group? One that was at rest meanwhile is another. */
  isAwake(group: ConsumerGroup): boolean {
    return this.#awake.get(group.name) === group;
  }

  set(name: string, group: ConsumerGroup): void {
    this.#awake.set(name, group);
  }

  delete(name: string): void {
    if (!this.#awake.delete(name)) this.#resting?.take(name);
  }

  keys(): string[] {
    return [...this.#awake.keys(), ...(this.#resting?.names() ?? [])];
  }

  /** Those in memory: all that have members, do not last, or hold anything. */
  awake(): IterableIterator<ConsumerGroup> {
    return this.#awake.values();
  }

  /** All of them; those at rest are woken for it. To look only, `looks` does. */
  values(): IterableIterator<ConsumerGroup> {
    this.wakeAll();
    return this.#awake.values();
  }

  /**
   * All of them to look at; nothing may be done to those that rest. They come first: one that is woken between two steps
   * is met again among the others.
   */
  *looks(): Generator<ConsumerGroup> {
    if (this.#resting !== null) yield* this.#resting.looks();
    yield* this.#awake.values();
  }

  wakeAll(): void {
    const resting = this.#resting;
    if (resting === null) return;
    for (const name of resting.names()) this.get(name);
    this.#resting = null;
  }

  /** Puts one to rest; the caller knows that nobody has to do with it. False when it cannot be packed. */
  rest(
    group: ConsumerGroup,
    packer: GroupPacker,
    unpack: (name: string, value: Buffer) => ConsumerGroup,
  ): boolean {
    this.#resting ??= new RestingGroups(group.shards.length, unpack);
    if (!this.#resting.add(group, packer)) return false;
    this.#awake.delete(group.name);
    return true;
  }

  /** First offset of a shard that somebody is owed, `end` at most. */
  owedFrom(shard: number, end: number): number {
    let owed = this.#resting === null ? end : Math.min(end, this.#resting.lowest(shard));
    for (const group of this.#awake.values()) owed = Math.min(owed, group.shards[shard]!.state.low);
    return owed;
  }

  /** What all of them are owed together, and what the one is that is owed most. */
  backlog(shards: readonly QueueEnd[]): number {
    let sum = this.#resting?.backlog(shards) ?? 0;
    for (const group of this.#awake.values()) sum += group.backlog;
    return sum;
  }
  mostOwed(shards: readonly QueueEnd[]): number {
    let most = this.#resting?.mostOwed(shards) ?? 0;
    for (const group of this.#awake.values()) most = Math.max(most, group.backlog);
    return most;
  }
  /** Of what nobody holds: those at rest hold nothing. */
  mostReady(shards: readonly QueueEnd[]): number {
    let most = this.#resting?.mostOwed(shards) ?? 0;
    for (const group of this.#awake.values()) most = Math.max(most, group.readyCount);
    return most;
  }
}
