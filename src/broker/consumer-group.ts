/**
 * A consumer group: members that share (or one that has to itself) the messages of a queue or topic. A queue's consumers
 * are one group; a durable or shared subscription is one; a plain topic subscriber is a group of one that dies with it.
 */
import type { Consumer } from "./consumer.ts";
import type { SubscriptionIdentity } from "./facade.ts";
import type { MessageFilter } from "./filter.ts";
import { KeyOwners } from "./key-owners.ts";
import type { Node } from "./node.ts";
import type { ShardProgress } from "./shard-progress.ts";

export interface GroupHost {
  schedule(shard: ShardProgress): void;
  markDirty(shard: ShardProgress): void;
  /** Came back after a newer value of its key had been stored: nobody gets it again. */
  outdated(shard: ShardProgress, offset: number): void;
}

export interface GroupSettings {
  /** Unique within its node; "" is the queue's own group. */
  readonly name: string;
  /** Survives restarts: its progress is journaled. */
  readonly isDurable: boolean;
  /** A shard is worked on by one member at a time. */
  readonly isOrdered: boolean;
  /** Deleted when its last member leaves. */
  readonly isVolatile: boolean;
  readonly filter: MessageFilter | null;
  readonly identity: SubscriptionIdentity | null;
  /** As asked for, to tell a changed subscription from the same one. */
  readonly tags: string;
  readonly selector: string;
  readonly noLocal: boolean;
  /** Canonical path the subscription was made for. */
  readonly path: string;
}

/** What each message touches comes first: with thousands of groups it is the processor's cache that counts. */
export class ConsumerGroup {
  readonly node: Node;
  /** Its one member; null where there are more, or none. */
  only: Consumer | null = null;
  /** The first of its shards; null before there is one. */
  #first: ShardProgress | null = null;
  /** Shards by falling priority, when the node has more than one level; else null. */
  levels: ShardProgress[] | null = null;
  /** Some member takes only part of what is ready (a filter of its own, or refused messages): each searches for itself. */
  isSelective = false;
  /** Ordering keys in work; null while none is. */
  keys: KeyOwners | null = null;
  /** Where the round robin goes on. */
  turn = 0;
  readonly #host: GroupHost;
  settings: GroupSettings;
  shards: ShardProgress[] = [];
  /** Members, highest priority first, then oldest. */
  readonly members: Consumer[] = [];
  /** Journal number of its first shard, and the group's own. -1: not journaled. */
  journalId = -1;
  /** Consumers that look and take nothing. */
  browserCount = 0;
  /** Somebody without members has this object: it does not go to rest. */
  isKept = false;

  constructor(node: Node, settings: GroupSettings, host: GroupHost) {
    this.node = node;
    this.settings = settings;
    this.#host = host;
  }

  get name(): string {
    return this.settings.name;
  }
  get isDurable(): boolean {
    return this.settings.isDurable;
  }

  get backlog(): number {
    let sum = 0;
    for (const shard of this.shards) sum += shard.backlog;
    return sum;
  }
  get readyCount(): number {
    let sum = 0;
    for (const shard of this.shards) sum += shard.readyCount;
    return sum;
  }

  addShard(shard: ShardProgress): void {
    // An array of exactly this length: `push` would reserve room for many.
    this.shards = [...this.shards, shard];
    this.#first = this.shards[0]!;
    if (this.node.kind !== "queue" || this.shards.length === 1) return;
    this.levels = [...this.shards].sort((a, b) => b.level - a.level);
  }

  shard(index: number): ShardProgress {
    return index === 0 ? this.#first! : this.shards[index]!;
  }

  schedule(shard: ShardProgress): void {
    if (shard.isScheduled || (this.only === null && this.members.length === 0)) return;
    shard.isScheduled = true;
    this.#host.schedule(shard);
  }

  scheduleAll(): void {
    if (this.levels === null && this.node.kind === "queue") {
      if (this.#first !== null) this.schedule(this.#first);
      return;
    }
    for (const shard of this.shards) this.schedule(shard);
  }

  takeKey(key: string, consumer: Consumer, shard: ShardProgress, offset: number): void {
    this.keys ??= new KeyOwners();
    this.keys.take(key, consumer.id, shard.index, offset);
  }

  /** These offsets are no longer in work: keys they held may go to others. */
  releaseKeys(shard: ShardProgress, from: number, count: number): void {
    if (this.keys === null || this.keys.isIdle) return;
    let isFreed = false;
    for (let i = 0; i < count; i++) {
      if (this.keys.release(shard.index, from + i)) isFreed = true;
    }
    if (!isFreed) return;
    // What waits for a key may be of another priority, or in the shard that it has moved to.
    if (this.shards.length === 1) this.#searchAgain(shard);
    else for (const each of this.shards) this.#searchAgain(each);
  }

  /** Those that were passed over are looked at from the first of them on. */
  #searchAgain(shard: ShardProgress): void {
    for (const member of this.members) {
      const from = member.passedOver?.[shard.index];
      if (from === undefined) continue;
      member.passedOver![shard.index] = undefined;
      member.scan[shard.index] = Math.min(member.scan[shard.index] ?? 0, from);
    }
    this.schedule(shard);
  }

  /** Members that search for themselves look from `offset` again. */
  rewind(shard: ShardProgress, offset: number): void {
    if (!this.isSelective) return;
    for (const member of this.members) {
      const scan = member.scan[shard.index];
      if (scan !== undefined && scan > offset) member.scan[shard.index] = offset;
    }
  }

  /** Are there members, or is something in it that the journal does not know? */
  isInUse(): boolean {
    if (!this.isDurable || this.members.length > 0 || this.browserCount > 0) return true;
    if (this.keys !== null && !this.keys.isIdle) return true;
    for (const shard of this.shards) if (shard.isInUse()) return true;
    return false;
  }

  markDirty(shard: ShardProgress): void {
    if (shard.isDirty || !this.settings.isDurable) return;
    shard.isDirty = true;
    this.#host.markDirty(shard);
  }

  outdated(shard: ShardProgress, offset: number): void {
    this.#host.outdated(shard, offset);
  }

  add(consumer: Consumer): void {
    let at = this.members.length;
    while (at > 0 && this.members[at - 1]!.priority < consumer.priority) at--;
    this.members.splice(at, 0, consumer);
    this.only = this.members.length === 1 ? consumer : null;
    if (this.members.length === 1) this.node.setActive(this, true);
    if (consumer.filter !== null) this.isSelective = true;
    this.scheduleAll();
  }

  remove(consumer: Consumer): void {
    const at = this.members.indexOf(consumer);
    if (at >= 0) this.members.splice(at, 1);
    this.only = this.members.length === 1 ? this.members[0]! : null;
    // Room for many would stay with each of thousands of groups that nobody reads just now.
    if (this.members.length === 0) this.members.length = 0;
    if (this.members.length === 0) this.node.setActive(this, false);
    this.isSelective = this.members.some((m) => m.filter !== null || m.refused !== null);
    if (this.isSelective) for (const shard of this.shards) shard.next = shard.state.low;
    for (const shard of this.shards) {
      if (shard.holder === consumer.id) shard.holder = -1;
    }
  }
}
