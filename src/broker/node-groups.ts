/** Groups and shards of nodes: made, made to last, removed, with the journal entries that make them durable. */
import { BrokerError } from "../model/errors.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import { skipSuperseded } from "./admission.ts";
import { ConsumerGroup, type GroupHost, type GroupSettings } from "./consumer-group.ts";
import type { MessageFilter } from "./filter.ts";
import { filterOf, ownGroupSettings, withFilter } from "./group-settings.ts";
import { type Node, queueIdOfPriority } from "./node.ts";
import { groupEntry, makeLasting, nodeEntry } from "./node-entries.ts";
import { GroupPacker, unpackGroup } from "./packed-group.ts";
import type { ProgressJournal } from "./progress-journal.ts";
import { rememberingSelectors } from "./selector-memo.ts";
import { ShardProgress } from "./shard-progress.ts";

export class NodeGroups {
  readonly #packer = new GroupPacker();
  readonly #store: MessageStore;
  readonly #journal: ProgressJournal;
  readonly #host: GroupHost;
  readonly #selectors: (text: string) => MessageFilter;
  /** The number the next shard's progress gets in the journal. */
  nextNumber = 1;

  constructor(
    store: MessageStore,
    journal: ProgressJournal,
    host: GroupHost,
    compileSelector: (text: string) => MessageFilter,
  ) {
    this.#store = store;
    this.#journal = journal;
    this.#host = host;
    this.#selectors = rememberingSelectors(compileSelector);
  }

  nextProgress(): number {
    return this.nextNumber++;
  }

  /** `from`: "first" all that is there, "next" what comes from now on, or an offset per shard. */
  add(
    node: Node,
    settings: GroupSettings,
    from: "first" | "next" | readonly number[],
  ): ConsumerGroup {
    const group = this.addUnnoted(node, settings, from);
    if (settings.isDurable) {
      const lows = group.shards.map((shard) => shard.state.low);
      this.#journal.catalog.group(groupEntry(group, lows));
    }
    return group;
  }

  /** Without an entry in the journal: the caller writes it. */
  addUnnoted(
    node: Node,
    settings: GroupSettings,
    from: "first" | "next" | readonly number[],
  ): ConsumerGroup {
    const offsets = node.shards.map((queue, index) =>
      from === "first"
        ? queue.minOffset
        : from === "next"
          ? queue.maxOffset
          : Math.min(Math.max(from[index] ?? 0, queue.minOffset), queue.maxOffset),
    );
    const group = this.#make(node, settings);
    node.shards.forEach((queue, index) => {
      // What others have settled is owed again, as far as it is still there.
      if (offsets[index]! < queue.maxOffset) this.#store.owesAgain(queue);
      this.#addProgress(group, index, offsets[index]!);
    });
    if (node.keepsLastValues && from !== "next") {
      for (const shard of group.shards) skipSuperseded(node, shard);
    }
    if (settings.isDurable) group.journalId = group.shards[0]!.journalId;
    return group;
  }

  /** Without progress: the caller knows it. */
  make(node: Node, settings: Omit<GroupSettings, "filter">): ConsumerGroup {
    if (settings.name === "" && settings.path === "") {
      return this.#make(node, ownGroupSettings(true));
    }
    const filter = this.filterOf(settings, settings.identity?.clientId ?? "");
    return this.#make(node, withFilter(settings, filter));
  }

  #make(node: Node, settings: GroupSettings): ConsumerGroup {
    if (node.groups.has(settings.name)) {
      throw new BrokerError(
        "already-exists",
        `group '${settings.name}' exists on '${node.address.name}'`,
      );
    }
    const group = new ConsumerGroup(node, settings, this.#host);
    node.addGroup(group);
    return group;
  }

  filterOf(settings: Omit<GroupSettings, "filter">, clientId: string): MessageFilter | null {
    return filterOf(settings, clientId, this.#selectors);
  }

  /** A subscription becomes a named group that outlives its members. */
  keep(group: ConsumerGroup, name: string): void {
    makeLasting(group, name, () => this.nextProgress(), this.#journal.catalog);
    group.node.touch();
  }

  /** Puts groups of a node to rest that nobody uses, beyond a number that may stay; one a step. */
  *restIdle(node: Node, keep: number): Generator<void> {
    const { groups } = node;
    // Limits and last values have to do with each group as messages come.
    if (groups.awakeCount <= keep || node.id < 0 || !node.isPlain) return;
    const unpack = (name: string, value: Buffer) => this.#unpack(node, name, value);
    for (const group of groups.awake()) {
      if (groups.awakeCount <= keep) break;
      if (!group.isKept && !group.isInUse()) groups.rest(group, this.#packer, unpack);
      yield;
    }
    groups.resting?.tidy();
  }

  #unpack(node: Node, name: string, value: Buffer): ConsumerGroup {
    const { settings, progress, lows } = unpackGroup(name, value);
    const filter = this.filterOf(settings, "");
    const group = new ConsumerGroup(node, withFilter(settings, filter), this.#host);
    group.journalId = progress[0]!;
    for (const [index, number] of progress.entries()) {
      const queue = node.shards[index]!;
      group.addShard(new ShardProgress(number, group, queue, index, lows[index]!));
    }
    return group;
  }

  delete(group: ConsumerGroup): void {
    group.node.removeGroup(group);
    for (const shard of group.shards) shard.state.clear();
    group.node.touch();
    if (group.isDurable && group.journalId >= 0) this.#journal.catalog.groupGone(group.journalId);
  }

  /** The queue's shard for a priority, made when the first message of that priority comes. */
  shardOfPriority(node: Node, priority: number): StoreQueue {
    const queueId = queueIdOfPriority(priority);
    for (const queue of node.shards) if (queue.queueId === queueId) return queue;
    const queue = this.addShard(node, queueId);
    this.#noteShards(node);
    return queue;
  }

  /** A topic gets the shards that it is to have, and those that a crash has left out; it keeps what it has more. */
  growTo(node: Node, count: number): void {
    const { shards, kind, isTemporary } = node;
    if (kind !== "topic" || isTemporary || (count === 1 && shards.length === 1)) return;
    const known = new Set(shards.map(({ queueId }) => queueId));
    const all = Math.max(count, ...[...known].map((queueId) => queueId + 1));
    if (shards.length >= all) return;
    for (let queueId = 0; queueId < all; queueId++) {
      if (!known.has(queueId)) this.addShard(node, queueId);
    }
    this.#noteShards(node);
  }

  #noteShards(node: Node): void {
    if (node.id >= 0) this.#journal.catalog.node(nodeEntry(node));
    for (const group of node.groups.values()) {
      if (!group.isDurable) continue;
      const lows = group.shards.map((shard) => shard.state.low);
      this.#journal.catalog.group(groupEntry(group, lows));
    }
  }

  addShard(node: Node, queueId: number): StoreQueue {
    const queue = this.#store.queue(node.shards[0]!.topic, queueId);
    node.shards.push(queue);
    queue.owner = node;
    for (const group of node.groups.values()) {
      this.#addProgress(group, node.shards.length - 1, queue.minOffset);
    }
    return queue;
  }

  #addProgress(group: ConsumerGroup, index: number, low: number): void {
    const number = group.isDurable ? this.nextProgress() : -1;
    group.addShard(new ShardProgress(number, group, group.node.shards[index]!, index, low));
  }
}
