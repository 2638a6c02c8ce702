/**
 * Every node by its address: creation on first use, deletion, groups, and the journal entries that make them durable.
 * Also turns what recovery found (the journal's image and the queues on disk) back into nodes.
 */
import { makeAddress } from "../model/address.ts";
import { BrokerError } from "../model/errors.ts";
import { addressOfTopicName, lightNameOf, topicNameOf } from "../model/names.ts";
import { COPIES_TOPIC } from "../model/record-fields.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { CatalogImage, CatalogWriter, GroupEntry, NodeEntry } from "./catalog.ts";
import { ConsumerGroup, type GroupHost, type GroupSettings } from "./consumer-group.ts";
import { ExpiryIndex } from "./expiry-index.ts";
import { bothOf, type MessageFilter } from "./filter.ts";
import { isInternalQueue } from "./internal-queues.ts";
import { Node, type NodeHost, owedFrom, queueIdOfPriority } from "./node.ts";
import { noLocalFilter, pathFilter, tagFilter } from "./path-filter.ts";
import { type NodeSettings, type Policy, sessionSettings, settingsFor } from "./policy.ts";
import type { ProgressJournal } from "./progress-journal.ts";
import { ShardProgress } from "./shard-progress.ts";

export interface RegistryOptions {
  readonly queueDefaults: NodeSettings;
  readonly topicDefaults: NodeSettings;
  readonly policies: readonly Policy[];
  /** Are stored bytes counted in this namespace? */
  readonly countsBytes?: (namespace: string) => boolean;
  /** Compiles a selector to a filter; throws BrokerError invalid-argument. */
  readonly compileSelector: (text: string) => MessageFilter;
}

/** Home of control records: what a transaction settled, in the same atomic batch as what it published. */
export const CONTROL_TOPIC = "SLUICE_CONTROL";

/** Light nodes of wildcard subscriptions; then namespace and key, each behind a NUL. */
export const WILDCARD_PREFIX = "wild\x00";

export class NodeRegistry {
  readonly #nodes = new Map<string, Node>();
  readonly #perNamespace = new Map<string, number>();
  readonly #byShard = new Map<StoreQueue, Node>();
  /** Indexes of sessions and shares, by name: nobody can address them. */
  readonly #light = new Map<string, Node>();
  readonly #store: MessageStore;
  readonly #journal: ProgressJournal;
  readonly #options: RegistryOptions;
  readonly #host: GroupHost;
  readonly #nodeHost: NodeHost;
  readonly #onNode: (node: Node) => void;
  #nextNodeId = 1;
  #nextProgress = 1;
  /** What holds at indexes of sessions. */
  readonly indexSettings: NodeSettings;
  /** What holds at indexes of wildcard subscriptions: as at topics, as far as it is about deliveries. */
  readonly wildcardSettings: NodeSettings;
  /** Somebody who reads all topics asked not to get its own messages. */
  #isNoLocalEverywhere = false;

  constructor(
    store: MessageStore,
    journal: ProgressJournal,
    host: GroupHost,
    nodeHost: NodeHost,
    options: RegistryOptions,
    onNode: (node: Node) => void,
  ) {
    this.#onNode = onNode;
    this.#nodeHost = nodeHost;
    this.#store = store;
    this.#journal = journal;
    this.#host = host;
    this.#options = options;
    this.indexSettings = sessionSettings(options.queueDefaults);
    const { maxDeliveries, maxLosses, hasDeadLetters, deadLetterTo, retry } = options.topicDefaults;
    this.wildcardSettings = {
      ...this.indexSettings,
      maxDeliveries,
      maxLosses,
      hasDeadLetters,
      deadLetterTo,
      retry,
    };
  }

  /** From now on every topic's messages say who sent them. */
  noteNoLocal(): void {
    this.#isNoLocalEverywhere = true;
    for (const node of this.#nodes.values()) if (node.kind === "topic") node.hasNoLocal = true;
  }

  get size(): number {
    return this.#nodes.size;
  }
  nodes(): Iterable<Node> {
    return this.#nodes.values();
  }
  /** Queues and topics of a namespace, without those of the broker's own. */
  *nodesIn(namespace: string): Generator<Node> {
    for (const node of this.#nodes.values()) {
      const { address, kind } = node;
      if (address.namespace === namespace && !isInternalQueue(kind, address.name)) yield node;
    }
  }
  countIn(namespace: string): number {
    return this.#perNamespace.get(namespace) ?? 0;
  }
  #countIn({ address, kind }: Node, change: number): void {
    if (isInternalQueue(kind, address.name)) return;
    this.#perNamespace.set(address.namespace, this.countIn(address.namespace) + change);
  }

  find(kind: "queue" | "topic", namespace: string, name: string): Node | undefined {
    return this.#nodes.get(keyOf(kind, namespace, name));
  }

  /** The index of this name, made when it is not there. */
  lightNode(name: string, settings = ownGroupSettings(true)): Node {
    const found = this.#light.get(name);
    if (found !== undefined) return found;
    const node = this.#makeLight(this.#nextNodeId++, name);
    this.#journal.catalog.node(nodeEntry(node));
    this.addGroup(node, settings, "first");
    return node;
  }

  findLight(name: string): Node | undefined {
    return this.#light.get(name);
  }

  lightNodes(): Iterable<Node> {
    return this.#light.values();
  }

  deleteLight(node: Node): void {
    node.isDeleted = true;
    this.#light.delete(node.address.name);
    for (const group of [...node.groups.values()]) this.deleteGroup(group);
    this.#journal.catalog.nodeGone(node.id);
    for (const queue of node.shards) {
      this.#byShard.delete(queue);
      this.#store.dropQueue(queue);
    }
  }

  /** A node without a name and its one group, which ends with its reader. */
  addVolatile(node: Node, settings = ownGroupSettings(false)): void {
    this.addGroup(node, settings, "first");
    for (const queue of node.shards) this.#byShard.set(queue, node);
  }

  deleteVolatile(node: Node): void {
    node.isDeleted = true;
    for (const group of [...node.groups.values()]) this.deleteGroup(group);
    for (const queue of node.shards) this.#byShard.delete(queue);
  }

  #makeLight(id: number, name: string): Node {
    const address = makeAddress("sub", name);
    const queue = this.#store.lightQueue(lightNameOf(address));
    const settings = name.startsWith(WILDCARD_PREFIX) ? this.wildcardSettings : this.indexSettings;
    const node = new Node(id, address, "queue", false, settings, [queue]);
    node.host = this.#nodeHost;
    this.#light.set(name, node);
    this.#byShard.set(queue, node);
    return node;
  }

  /** The node of a shard, or undefined for queues that belong to nobody. */
  ofShard(queue: StoreQueue): Node | undefined {
    return this.#byShard.get(queue);
  }

  create(kind: "queue" | "topic", namespace: string, name: string, isTemporary: boolean): Node {
    const id = isTemporary ? -1 : this.#nextNodeId++;
    const node = this.#make(id, kind, namespace, name, [0], isTemporary);
    if (!isTemporary) this.#journal.catalog.node(nodeEntry(node));
    if (kind === "queue") this.addGroup(node, ownGroupSettings(!isTemporary), "first");
    return node;
  }

  /** Removes the node, its groups and its index; its consumers have been told already. */
  delete(node: Node): void {
    node.isDeleted = true;
    const { namespace, name } = node.address;
    if (this.#nodes.delete(keyOf(node.kind, namespace, name))) this.#countIn(node, -1);
    for (const group of [...node.groups.values()]) this.deleteGroup(group);
    if (node.id >= 0) this.#journal.catalog.nodeGone(node.id);
    for (const queue of node.shards) {
      this.#byShard.delete(queue);
      this.#store.dropQueue(queue);
    }
  }

  /** `from`: "first" all that is there, "next" what comes from now on, or an offset per shard. */
  addGroup(
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
    const group = this.#makeGroup(node, settings);
    node.shards.forEach((queue, index) => {
      // What others have settled is owed again, as far as it is still there.
      if (offsets[index]! < queue.maxOffset) this.#store.owesAgain(queue);
      this.#addProgress(group, index, offsets[index]!);
    });
    if (settings.isDurable) {
      group.journalId = group.shards[0]!.journalId;
      this.#journal.catalog.group(groupEntry(group, offsets));
    }
    return group;
  }

  #addProgress(group: ConsumerGroup, index: number, low: number): void {
    const number = group.isDurable ? this.#nextProgress++ : -1;
    group.addShard(new ShardProgress(number, group, group.node.shards[index]!, index, low));
  }

  /** The queue's shard for a priority, made when the first message of that priority comes. */
  shardOfPriority(node: Node, priority: number): StoreQueue {
    const queueId = queueIdOfPriority(priority);
    for (const queue of node.shards) if (queue.queueId === queueId) return queue;
    const queue = this.#addShard(node, queueId);
    if (node.id >= 0) this.#journal.catalog.node(nodeEntry(node));
    for (const group of node.groups.values()) {
      if (!group.isDurable) continue;
      const lows = group.shards.map((shard) => shard.state.low);
      this.#journal.catalog.group(groupEntry(group, lows));
    }
    return queue;
  }

  #addShard(node: Node, queueId: number): StoreQueue {
    const queue = this.#store.queue(node.shards[0]!.topic, queueId);
    node.shards.push(queue);
    this.#byShard.set(queue, node);
    for (const group of node.groups.values()) {
      this.#addProgress(group, node.shards.length - 1, queue.minOffset);
    }
    return queue;
  }

  deleteGroup(group: ConsumerGroup): void {
    group.node.groups.delete(group.name);
    for (const shard of group.shards) shard.state.clear();
    group.node.touch();
    if (group.isDurable && group.journalId >= 0) this.#journal.catalog.groupGone(group.journalId);
  }

  /** The filter that a group's settings spell. */
  filterOf(settings: Omit<GroupSettings, "filter">, clientId: string): MessageFilter | null {
    const rest = restOf(settings.path);
    // A tag expression is about tags below the root, in the path or beside it (spec protocols.md §3.2).
    const isAnyRest = rest === "" && settings.tags !== "";
    // Wildcards in the first level: the routes have seen to it.
    const isByPath = settings.path !== "" && !isWild(settings.path) && !isAnyRest;
    let filter = isByPath ? pathFilter(rest) : null;
    filter = bothOf(filter, settings.tags === "" ? null : tagFilter(settings.tags));
    if (settings.noLocal) filter = bothOf(filter, noLocalFilter(clientId));
    if (settings.selector !== "") {
      filter = bothOf(filter, this.#options.compileSelector(settings.selector));
    }
    return filter;
  }

  /** Rebuilds nodes and groups from the journal's image and adopts queues that only the disk knows of. */
  restore(image: CatalogImage): void {
    const byId = new Map<number, Node>();
    for (const entry of image.nodes.values()) {
      const { id, kind, namespace, name, queueIds } = entry;
      const node = entry.isLight
        ? this.#makeLight(id, name)
        : this.#make(id, kind, namespace, name, queueIds, false);
      byId.set(entry.id, node);
      this.#nextNodeId = Math.max(this.#nextNodeId, entry.id + 1);
    }
    // All of them before any group gets a new one.
    for (const { progress } of image.groups.values()) {
      for (const number of progress) this.#nextProgress = Math.max(this.#nextProgress, number + 1);
    }
    for (const entry of image.groups.values()) {
      const node = byId.get(entry.node);
      if (node !== undefined) this.#restoreGroup(node, entry, image);
    }
    this.#adopt();
    for (const node of [...this.#nodes.values(), ...this.#light.values()]) {
      if (node.kind === "queue" && node.groups.size === 0) {
        this.addGroup(node, ownGroupSettings(true), "first");
      }
      // What lies here from before may be anything.
      node.mayExpire = true;
      for (const [index, queue] of node.shards.entries()) {
        if (queue.isLight && !node.address.name.startsWith(WILDCARD_PREFIX)) continue;
        node.noteKey(index, queue.maxOffset);
        if (!queue.isLight) this.#noteUnknown(node, queue, owedFrom(node, index));
      }
    }
  }

  #restoreGroup(node: Node, entry: GroupEntry, image: CatalogImage): void {
    const settings: Omit<GroupSettings, "filter"> = {
      name: entry.name,
      isDurable: true,
      isOrdered: entry.isOrdered,
      isVolatile: false,
      identity: entry.identity,
      tags: entry.tags,
      selector: entry.selector,
      noLocal: entry.noLocal,
      path: entry.path,
    };
    const filter = this.filterOf(settings, entry.identity?.clientId ?? "");
    const group = this.#makeGroup(node, { ...settings, filter });
    group.journalId = entry.journalId;
    node.shards.forEach((queue, index) => {
      const number = entry.progress[index] ?? this.#nextProgress++;
      const progress = image.progress.get(number);
      const low = Math.max(entry.from[index] ?? 0, queue.minOffset);
      const shard = new ShardProgress(
        number,
        group,
        queue,
        index,
        Math.min(low, queue.maxOffset),
        progress?.state.clampedTo(queue.maxOffset),
      );
      for (const [offset, attempts] of progress?.attempts ?? []) {
        if (offset >= shard.state.low && offset < queue.maxOffset) {
          shard.noteAttempts(offset, attempts);
        }
      }
      group.addShard(shard);
    });
    if (settings.noLocal) node.hasNoLocal = true;
  }

  /** What lies here from before: it may hold expiries that nobody remembers. */
  #noteUnknown(node: Node, queue: StoreQueue, from: number): void {
    if (queue.maxOffset === from) return;
    if (node.expiry === null) {
      node.expiry = new ExpiryIndex();
      node.host?.expiring(node);
    }
    node.expiry.noteUnknown(queue, from, queue.maxOffset);
  }

  /** ConsumeQueues without a node: temporary leftovers go, a store that RocketMQ wrote becomes topics and queues. */
  #adopt(): void {
    const orphans = new Map<string, StoreQueue[]>();
    for (const queue of this.#store.queues()) {
      if (queue.isLight || this.#byShard.has(queue)) continue;
      const list = orphans.get(queue.topic) ?? [];
      list.push(queue);
      orphans.set(queue.topic, list);
    }
    for (const [topic, queues] of orphans) {
      if (topic === CONTROL_TOPIC || topic === COPIES_TOPIC) continue;
      const address = addressOfTopicName(topic);
      if (address === undefined) continue;
      if (address.kind === "temp-queue" || address.kind === "temp-topic") {
        for (const queue of queues) this.#store.dropQueue(queue);
        continue;
      }
      const kind = address.kind === "queue" ? "queue" : "topic";
      const queueIds = queues.map((queue) => queue.queueId);
      const known = this.find(kind, address.namespace, address.name);
      if (known !== undefined) {
        // The journal ends before the entry that gave the node these shards; the log has more.
        for (const queueId of queueIds) this.#addShard(known, queueId);
        continue;
      }
      const all =
        kind === "queue"
          ? [0, ...queueIds.filter((queueId) => queueId !== 0)]
          : Array.from({ length: Math.max(...queueIds) + 1 }, (_, queueId) => queueId);
      this.#make(this.#nextNodeId++, kind, address.namespace, address.name, all, false);
    }
  }

  /** A group's progress over a shard, by names that mean the same whatever the journal remembers. */
  findShard(isLight: boolean, topic: string, queueId: number, group: string) {
    const queue = isLight ? this.#store.lightQueue(topic) : this.#store.queue(topic, queueId);
    const node = this.#byShard.get(queue);
    return node?.groups.get(group)?.shards.find((shard) => shard.queue === queue);
  }

  /** Everything as journal entries, a node a step: what a snapshot holds. */
  *writeSnapshot(catalog: CatalogWriter): Generator<void> {
    for (const nodes of [this.#nodes, this.#light]) {
      for (const node of nodes.values()) {
        if (node.id < 0) continue;
        writeNode(node, catalog);
        yield;
      }
    }
  }

  #make(
    id: number,
    kind: "queue" | "topic",
    namespace: string,
    name: string,
    queueIds: readonly number[],
    isTemporary: boolean,
  ): Node {
    const address = makeAddress(isTemporary ? `temp-${kind}` : kind, name, { namespace });
    const topic = topicNameOf(address);
    const shards = queueIds.map((queueId) => this.#store.queue(topic, queueId));
    const defaults = kind === "queue" ? this.#options.queueDefaults : this.#options.topicDefaults;
    const own = isTemporary
      ? {
          ...defaults,
          level: "memory" as const,
          hasDeadLetters: false,
          historyMs: 0,
          historyCount: -1,
          historyBytes: -1,
        }
      : settingsFor(kind, name, defaults, this.#options.policies);
    const countsBytes = this.#options.countsBytes?.(namespace) ?? false;
    const settings = countsBytes ? { ...own, countsBytes } : own;
    const node = new Node(id, address, kind, isTemporary, settings, shards);
    if (kind === "topic") node.hasNoLocal = this.#isNoLocalEverywhere;
    node.host = this.#nodeHost;
    this.#nodes.set(keyOf(kind, namespace, name), node);
    this.#countIn(node, 1);
    for (const queue of shards) this.#byShard.set(queue, node);
    this.#onNode(node);
    return node;
  }

  #makeGroup(node: Node, settings: GroupSettings): ConsumerGroup {
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
}

function writeNode(node: Node, catalog: CatalogWriter): void {
  catalog.node(nodeEntry(node));
  for (const group of node.groups.values()) {
    if (!group.isDurable) continue;
    const lows = group.shards.map((shard) => shard.state.low);
    catalog.group(groupEntry(group, lows));
    for (const shard of group.shards) {
      // Of a group that is known already, `from` says nothing.
      catalog.low(shard.journalId, shard.state.low);
      shard.state.forEachSettledRun((from, count) => {
        catalog.run(shard.journalId, from, count);
      });
      for (const [offset, { failed, lost }] of shard.attempts) {
        if (failed + lost > 0) catalog.attempts(shard.journalId, offset, failed, lost);
      }
    }
  }
}

function nodeEntry(node: Node): NodeEntry {
  const { namespace, name } = node.address;
  const queueIds = node.shards.map((queue) => queue.queueId);
  const entry = { id: node.id, kind: node.kind, namespace, name, queueIds };
  return node.shards[0]!.isLight ? { ...entry, isLight: true } : entry;
}

function groupEntry(group: ConsumerGroup, from: readonly number[]): GroupEntry {
  const { name, isOrdered, tags, selector, noLocal, path, identity } = group.settings;
  return {
    journalId: group.journalId,
    node: group.node.id,
    name,
    progress: group.shards.map((shard) => shard.journalId),
    from,
    isOrdered,
    tags,
    selector,
    noLocal,
    path,
    identity,
  };
}

/** The settings of a queue's own group: two objects for all. */
export const ownGroupSettings = (isDurable: boolean): GroupSettings =>
  isDurable ? DURABLE_OWN : VOLATILE_OWN;

const DURABLE_OWN = makeOwn(true);
const VOLATILE_OWN = makeOwn(false);

function makeOwn(isDurable: boolean): GroupSettings {
  return {
    name: "",
    isDurable,
    isOrdered: false,
    isVolatile: false,
    filter: null,
    identity: null,
    tags: "",
    selector: "",
    noLocal: false,
    path: "",
  };
}

/** Does the filter's first level match any topic? */
export function isWild(filter: string): boolean {
  const first = rootOf(filter);
  return first === "+" || first === "#";
}

/** Levels below the root. */
export function restOf(path: string): string {
  const slash = path.indexOf("/");
  return slash < 0 ? "" : path.slice(slash + 1);
}

export function rootOf(path: string): string {
  const slash = path.indexOf("/");
  return slash < 0 ? path : path.slice(0, slash);
}

const keyOf = (kind: string, namespace: string, name: string): string =>
  `${kind}\x00${namespace}\x00${name}`;
