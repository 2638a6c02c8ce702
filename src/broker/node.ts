/**
 * A node of the broker: a queue (one shard, one group) or a topic (shards, any number of groups). What is on disk of it
 * is its ConsumeQueues; what is in memory is this object, its groups and their consumers.
 */
import type { Address } from "../model/address.ts";
import type { StoreQueue } from "../store/message-store.ts";
import type { Connection } from "./connection.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { DuplicateWindow } from "./duplicate-window.ts";
import { ExpiryIndex } from "./expiry-index.ts";
import type { ExpiryNotes } from "./expiry-notes.ts";
import { GroupSet } from "./group-set.ts";
import { LastValues } from "./last-values.ts";
import type { NodeSettings } from "./policy.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Target } from "./target.ts";

export interface NodeCounters {
  published: number;
  publishedBytes: number;
  delivered: number;
  accepted: number;
  redelivered: number;
  deadLettered: number;
  /** Nobody wanted it, or it was dead without a dead-letter queue. */
  dropped: number;
  expired: number;
  /** Refused at publish: the queue was full. */
  rejected: number;
  /** Published again within the duplicate window. */
  duplicates: number;
}

export const noCounts = (): NodeCounters => ({
  published: 0,
  publishedBytes: 0,
  delivered: 0,
  accepted: 0,
  redelivered: 0,
  deadLettered: 0,
  dropped: 0,
  expired: 0,
  rejected: 0,
  duplicates: 0,
});

export const COUNTER_NAMES = Object.keys(noCounts()) as ReadonlyArray<keyof NodeCounters>;

/** The level of messages without a priority, and of shard 0. */
export const DEFAULT_PRIORITY = 4;

/** Queue id of a priority's shard: the default level is 0, so that a plain queue is one ConsumeQueue. */
export const queueIdOfPriority = (priority: number): number =>
  priority === DEFAULT_PRIORITY ? 0 : priority + 1;
export const priorityOfQueueId = (queueId: number): number =>
  queueId === 0 ? DEFAULT_PRIORITY : queueId - 1;

/** Who looks after nodes from time to time. */
export interface NodeHost {
  /** Something was published or settled: sets `isTouched`. */
  touched(node: Node): void;
  /** From now on it may hold messages with an expiry. */
  expiring(node: Node): void;
  /** Are there messages in this queue that nobody may see yet? */
  isHeld(queue: StoreQueue): boolean;
}

/** Somebody who keeps a node by reference, not by name: it is asked before the node is put to rest, and told. */
export interface NodeTenant {
  mayLetGo(): boolean;
  letGo(): void;
}

/** One that never lets go. */
export const PERMANENT: NodeTenant = { mayLetGo: () => false, letGo() {} };

/** What each message touches comes first: with thousands of nodes it is the processor's cache that counts. */
export class Node {
  /** Gone, or at rest under its name: whoever has this object asks for the node again. */
  isDeleted = false;
  /** No policy looks at single messages: publish and settle take the short way. */
  isPlain = true;
  /** Some reader asked not to get its own messages: record who sent each. */
  hasNoLocal = false;
  /** Already on the list of what is to be trimmed. */
  isTouched = false;
  /** Messages with an expiry may be here: check at delivery. */
  mayExpire = false;
  /** Messages with an ordering key may be here: a key is worked on by one consumer at a time. */
  mayHaveKeys = false;
  readonly kind: "queue" | "topic";
  /** The first shard: of a queue, that of messages without a priority. */
  readonly first: StoreQueue;
  #own: ConsumerGroup | null = null;
  settings: NodeSettings;
  readonly counters = noCounts();
  /** Called before a run is settled, where a policy counts what is stored. */
  onSettled: ((shard: ShardProgress, from: number, count: number) => void) | null = null;
  host: NodeHost | null = null;
  readonly shards: StoreQueue[];
  /** Number in the journal; -1 for temporary nodes. */
  readonly id: number;
  readonly address: Address;
  readonly isTemporary: boolean;
  readonly groups = new GroupSet();
  /** Groups with members. */
  #active: ConsumerGroup[] = [];
  tenant: NodeTenant | null = null;
  /** What it had done when it was looked at last: idle is who has done nothing since. */
  #doneBefore = 0;
  /** The connection that a temporary node belongs to. */
  owner: Connection | null = null;
  /** Open targets: a temporary node may live only as long as it has links. */
  producerCount = 0;
  /** Where messages with an expiry lie; null while there are none. */
  expiry: ExpiryIndex | null = null;
  /** By shard: how far the journal knows. */
  readonly expiryNotes: ExpiryNotes = [];
  /** Ids seen lately, when duplicates are to be found. */
  duplicates: DuplicateWindow | null = null;
  /** Last-value nodes: the newest offset of each key. */
  lastValues: LastValues | null = null;
  /** By shard: from this offset on there is none. */
  readonly keyedTo: number[] = [];
  /** Body bytes of messages not settled, kept only where a byte limit is set. */
  storedBytes = 0;
  /** ... and of those, what is settled as soon as the record that took its place is durable. */
  leavingBytes = 0;
  /** Targets that got no credit because the queue is full (overflow "block"). */
  heldTargets: Set<Target> | null = null;
  /** Topics: messages that no group owes are kept for a while. */
  hasHistory = false;
  /** ... of which the newest of each key stays, whatever the limits of the others are. */
  keepsLastValues = false;
  /** ... and there are limits for them; without, they stay only as long as a group is owed them. */
  hasHistoryLimit = false;
  /** With last values: by shard, what is history from here on stays. */
  historyStarts: number[] = [];
  /** Topics: `storedBytes` is what the log holds, owed or not. */
  countsHistory = false;
  /** Something is limited in bytes. */
  countsBytes = false;

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
    this.first = shards[0]!;
    this.configure(settings);
  }

  /** From now on these hold. What they remember of single messages begins anew. */
  configure(settings: NodeSettings): void {
    this.settings = settings;
    const { maxLength, maxBytes, dedupWindowMs, isLastValue } = settings;
    const { historyMs, historyCount, historyBytes, countsBytes } = settings;
    const isTopic = this.kind === "topic";
    this.hasHistoryLimit = isTopic && (historyMs > 0 || historyCount >= 0 || historyBytes >= 0);
    this.keepsLastValues = isTopic && isLastValue;
    this.hasHistory = this.hasHistoryLimit || this.keepsLastValues;
    this.historyStarts = [];
    this.countsHistory = isTopic && (historyBytes >= 0 || maxBytes >= 0 || countsBytes);
    this.countsBytes = this.countsHistory || maxBytes >= 0 || countsBytes;
    this.isPlain = maxLength < 0 && !this.countsBytes && dedupWindowMs === 0 && !isLastValue;
    this.duplicates = dedupWindowMs > 0 ? new DuplicateWindow(dedupWindowMs) : null;
    this.lastValues = isLastValue ? new LastValues() : null;
  }

  noteExpiry(queue: StoreQueue, offset: number, expiresAt: number): void {
    this.mayExpire = true;
    this.expiryIndex().note(queue, offset, expiresAt);
  }

  /** Made when there is none. */
  expiryIndex(): ExpiryIndex {
    if (this.expiry === null) {
      this.expiry = new ExpiryIndex();
      this.host?.expiring(this);
    }
    return this.expiry;
  }

  /** A queue's one group. */
  get ownGroup(): ConsumerGroup {
    return this.#own!;
  }

  /** Is there anybody to keep a message for? A queue keeps everything; a topic what a group or its history wants. */
  get isWanted(): boolean {
    return this.kind === "queue" || this.groups.size > 0 || this.hasHistory;
  }

  /** A message with an ordering key is, or may be, in this shard below `end`. */
  noteKey(shard: number, end: number): void {
    this.mayHaveKeys = true;
    if (end > (this.keyedTo[shard] ?? 0)) this.keyedTo[shard] = end;
  }

  /** Something of it may be trimmed soon. */
  touch(): void {
    if (!this.isTouched) this.host?.touched(this);
  }

  /** Something arrived in this shard: its groups look at it at the end of the turn. */
  scheduleShard(queue: StoreQueue): void {
    const own = this.#own;
    const at = queue === this.first ? 0 : this.shards.indexOf(queue);
    if (own !== null) {
      own.schedule(own.shard(at));
      return;
    }
    for (const group of this.#active) group.schedule(group.shards[at]!);
  }

  /** Its group has members now, or none any more: a topic may have many groups that nobody reads. */
  setActive(group: ConsumerGroup, isActive: boolean): void {
    this.#active = this.#active.filter((each) => each !== group);
    if (isActive) this.#active.push(group);
  }

  /** Does anything hold on to this object, or is something in it that only memory knows? */
  isInUse(): boolean {
    if (this.isDeleted || this.isTouched || this.producerCount > 0 || this.#active.length > 0) {
      return true;
    }
    if (this.owner !== null || this.expiry !== null || this.heldTargets !== null) return true;
    for (const group of this.groups.awake()) if (group.isInUse()) return true;
    return false;
  }

  /** Has nothing happened here since this was asked last? Of one where nothing ever did: yes. */
  isIdle(): boolean {
    const { published, delivered, accepted } = this.counters;
    let done = published + delivered + accepted;
    for (const { minOffset, maxOffset } of this.shards) done += minOffset + maxOffset;
    const isSame = done === this.#doneBefore;
    this.#doneBefore = done;
    return isSame;
  }

  addGroup(group: ConsumerGroup): void {
    this.groups.set(group.name, group);
    if (this.kind === "queue") this.#own = group;
  }

  removeGroup(group: ConsumerGroup): void {
    this.groups.delete(group.name);
    if (group.members.length > 0) this.setActive(group, false);
  }

  get consumerCount(): number {
    let sum = 0;
    for (const group of this.groups.awake()) sum += group.members.length;
    return sum;
  }

  get backlog(): number {
    return this.groups.backlog(this.shards);
  }
}

/** Which of these offsets of a shard somebody is owed: 1 or 0 for each; returns how many (message-store.ts OwedMask). */
export function maskOwed(
  node: Node,
  queue: StoreQueue,
  from: number,
  count: number,
  into: Uint8Array,
): number {
  const index = node.shards.indexOf(queue);
  // Everything that is there is history, or has an id of the duplicate window.
  const isAll = (node.hasHistory && !node.keepsLastValues) || node.duplicates !== null;
  if (index < 0 || isAll) {
    into.fill(1, 0, count);
    return count;
  }
  into.fill(0, 0, count);
  const { resting } = node.groups;
  // Those at rest are owed everything from their mark on.
  const lowest = resting === null ? Number.POSITIVE_INFINITY : resting.lowest(index);
  if (lowest < from + count) into.fill(1, Math.max(0, lowest - from), count);
  for (const group of node.groups.awake()) group.shards[index]!.state.markOwed(from, count, into);
  if (node.keepsLastValues) {
    const start = node.hasHistoryLimit
      ? (node.historyStarts[index] ?? 0)
      : Number.POSITIVE_INFINITY;
    for (let i = 0; i < count; i++) {
      if (from + i >= start || node.lastValues!.has(index, from + i)) into[i] = 1;
    }
  }
  let owed = 0;
  for (let i = 0; i < count; i++) owed += into[i]!;
  return owed;
}

/** First offset of a shard that some group is owed. */
export function owedFrom(node: Node, index: number): number {
  return node.groups.owedFrom(index, node.shards[index]!.maxOffset);
}

/** Entries of a shard that the group which is furthest behind is owed, of those that are in use. */
export function owedCount(node: Node, index: number): number {
  const { maxOffset } = node.shards[index]!;
  let count = 0;
  for (const group of node.groups.awake()) {
    count = Math.max(count, group.shards[index]!.state.backlog(maxOffset));
  }
  return count;
}
