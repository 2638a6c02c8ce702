/**
 * A node of the broker: a queue (one shard, one group) or a topic (shards, any number of groups). What is on disk of it
 * is its ConsumeQueues; what is in memory is this object, its groups and their consumers.
 */
import type { Address } from "../model/address.ts";
import type { StoreQueue } from "../store/message-store.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import type { DurabilityLevel } from "./facade.ts";

export interface NodeSettings {
  readonly level: DurabilityLevel;
  /** Failed attempts before a message is dead; -1 for no limit. */
  readonly maxDeliveries: number;
  /** Lost (never reported) attempts before a message is dead. */
  readonly maxLosses: number;
  /** Dead letters go to `DLQ.<name>`; otherwise they are dropped and counted. */
  readonly hasDeadLetters: boolean;
  /** Topics: history kept for late and positional readers, ms; 0 keeps nothing that no group owes. */
  readonly historyMs: number;
}

export interface NodeCounters {
  published: number;
  publishedBytes: number;
  delivered: number;
  accepted: number;
  redelivered: number;
  deadLettered: number;
  dropped: number;
  expired: number;
}

/** The level of messages without a priority, and of shard 0. */
export const DEFAULT_PRIORITY = 4;

/** Queue id of a priority's shard: the default level is 0, so that a plain queue is one ConsumeQueue. */
export const queueIdOfPriority = (priority: number): number =>
  priority === DEFAULT_PRIORITY ? 0 : priority + 1;
export const priorityOfQueueId = (queueId: number): number =>
  queueId === 0 ? DEFAULT_PRIORITY : queueId - 1;

export class Node {
  /** Number in the journal; -1 for temporary nodes. */
  readonly id: number;
  readonly address: Address;
  readonly kind: "queue" | "topic";
  readonly isTemporary: boolean;
  readonly settings: NodeSettings;
  readonly shards: StoreQueue[];
  readonly groups = new Map<string, ConsumerGroup>();
  readonly counters: NodeCounters = {
    published: 0,
    publishedBytes: 0,
    delivered: 0,
    accepted: 0,
    redelivered: 0,
    deadLettered: 0,
    dropped: 0,
    expired: 0,
  };
  isDeleted = false;
  /** Open targets: a temporary node may live only as long as it has links. */
  producerCount = 0;
  nextShard = 0;
  /** Messages with an expiry may be here: check at delivery. */
  mayExpire = false;
  /** Some reader asked not to get its own messages: record who sent each. */
  hasNoLocal = false;

  constructor(
    id: number,
    address: Address,
    kind: "queue" | "topic",
    isTemporary: boolean,
    settings: NodeSettings,
    shards: StoreQueue[],
  ) {
    this.id = id;
    this.address = address;
    this.kind = kind;
    this.isTemporary = isTemporary;
    this.settings = settings;
    this.shards = shards;
  }

  #own: ConsumerGroup | null = null;

  /** A queue's one group. */
  get ownGroup(): ConsumerGroup {
    return this.#own!;
  }

  /** Is there anybody to keep a message for? A queue keeps everything; a topic what a group or its history wants. */
  get isWanted(): boolean {
    return this.kind === "queue" || this.groups.size > 0 || this.settings.historyMs > 0;
  }

  /** Something arrived in this shard: its groups look at it at the end of the turn. */
  scheduleShard(queue: StoreQueue): void {
    const at = this.shards.length === 1 ? 0 : this.shards.indexOf(queue);
    const own = this.#own;
    if (own !== null) {
      own.schedule(own.shards[at]!);
      return;
    }
    for (const group of this.groups.values()) group.schedule(group.shards[at]!);
  }

  addGroup(group: ConsumerGroup): void {
    this.groups.set(group.name, group);
    if (this.kind === "queue") this.#own = group;
  }

  get consumerCount(): number {
    let sum = 0;
    for (const group of this.groups.values()) sum += group.members.length;
    return sum;
  }

  get backlog(): number {
    let sum = 0;
    for (const group of this.groups.values()) sum += group.backlog;
    return sum;
  }
}
