/**
 * Every node by its address: creation on first use, deletion, groups, and the journal entries that make them durable.
 * Also turns what recovery found (the journal's image and the queues on disk) back into nodes.
 */
import { makeAddress } from "../model/address.ts";
import { BrokerError } from "../model/errors.ts";
import { addressOfTopicName, topicNameOf } from "../model/names.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { CatalogImage, CatalogWriter, GroupEntry } from "./catalog.ts";
import { ConsumerGroup, type GroupHost, type GroupSettings } from "./consumer-group.ts";
import { bothOf, type MessageFilter } from "./filter.ts";
import { Node, type NodeSettings } from "./node.ts";
import { noLocalFilter, pathFilter, tagFilter } from "./path-filter.ts";
import type { ProgressJournal } from "./progress-journal.ts";
import { ShardProgress } from "./shard-progress.ts";

export interface RegistryOptions {
  readonly queueDefaults: NodeSettings;
  readonly topicDefaults: NodeSettings;
  /** Compiles a selector to a filter; throws BrokerError invalid-argument. */
  readonly compileSelector: (text: string) => MessageFilter;
}

/** Home of control records: what a transaction settled, in the same atomic batch as what it published. */
export const CONTROL_TOPIC = "SLUICE_CONTROL";

export class NodeRegistry {
  readonly #nodes = new Map<string, Node>();
  readonly #byShard = new Map<StoreQueue, Node>();
  readonly #store: MessageStore;
  readonly #journal: ProgressJournal;
  readonly #options: RegistryOptions;
  readonly #host: GroupHost;
  #nextNodeId = 1;
  #nextProgress = 1;

  constructor(
    store: MessageStore,
    journal: ProgressJournal,
    host: GroupHost,
    options: RegistryOptions,
  ) {
    this.#store = store;
    this.#journal = journal;
    this.#host = host;
    this.#options = options;
  }

  get size(): number {
    return this.#nodes.size;
  }
  nodes(): Iterable<Node> {
    return this.#nodes.values();
  }

  find(kind: "queue" | "topic", namespace: string, name: string): Node | undefined {
    return this.#nodes.get(keyOf(kind, namespace, name));
  }

  /** The node of a shard, or undefined for queues that belong to nobody. */
  ofShard(queue: StoreQueue): Node | undefined {
    return this.#byShard.get(queue);
  }

  create(kind: "queue" | "topic", namespace: string, name: string, isTemporary: boolean): Node {
    const id = isTemporary ? -1 : this.#nextNodeId++;
    const node = this.#make(id, kind, namespace, name, 1, isTemporary);
    if (!isTemporary) {
      this.#journal.catalog.node({ id, kind, namespace, name, shards: node.shards.length });
    }
    if (kind === "queue") this.addGroup(node, ownGroupSettings(!isTemporary), "first");
    return node;
  }

  /** Removes the node, its groups and its index; its consumers have been told already. */
  delete(node: Node): void {
    node.isDeleted = true;
    this.#nodes.delete(keyOf(node.kind, node.address.namespace, node.address.name));
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
    let journalId = -1;
    if (settings.isDurable) {
      journalId = this.#nextProgress;
      this.#nextProgress += node.shards.length;
      this.#journal.catalog.group(groupEntry(journalId, node, settings, offsets));
    }
    const group = this.#makeGroup(node, settings, journalId);
    node.shards.forEach((queue, index) => {
      group.shards.push(new ShardProgress(journalId + index, group, queue, index, offsets[index]!));
    });
    return group;
  }

  deleteGroup(group: ConsumerGroup): void {
    group.node.groups.delete(group.name);
    for (const shard of group.shards) shard.state.clear();
    if (group.isDurable && group.journalId >= 0) this.#journal.catalog.groupGone(group.journalId);
  }

  /** The filter that a group's settings spell. */
  filterOf(settings: Omit<GroupSettings, "filter">, clientId: string): MessageFilter | null {
    let filter = settings.path === "" ? null : pathFilter(restOf(settings.path));
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
      const node = this.#make(
        entry.id,
        entry.kind,
        entry.namespace,
        entry.name,
        entry.shards,
        false,
      );
      byId.set(entry.id, node);
      this.#nextNodeId = Math.max(this.#nextNodeId, entry.id + 1);
    }
    for (const entry of image.groups.values()) {
      this.#nextProgress = Math.max(this.#nextProgress, entry.journalId + entry.shards);
      const node = byId.get(entry.node);
      if (node !== undefined) this.#restoreGroup(node, entry, image);
    }
    this.#adopt();
    for (const node of this.#nodes.values()) {
      if (node.kind === "queue" && !node.groups.has("")) {
        this.addGroup(node, ownGroupSettings(true), "first");
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
    const group = this.#makeGroup(node, { ...settings, filter }, entry.journalId);
    node.shards.forEach((queue, index) => {
      const progress = image.progress.get(entry.journalId + index);
      const low = Math.max(entry.from[index] ?? 0, queue.minOffset);
      const shard = new ShardProgress(
        entry.journalId + index,
        group,
        queue,
        index,
        Math.min(low, queue.maxOffset),
        progress?.state.clampedTo(queue.maxOffset),
      );
      for (const [offset, attempts] of progress?.attempts ?? []) {
        if (offset >= shard.state.low && offset < queue.maxOffset) {
          shard.attempts.set(offset, attempts);
        }
      }
      group.shards.push(shard);
    });
    node.mayExpire = true;
    if (settings.noLocal) node.hasNoLocal = true;
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
      if (topic === CONTROL_TOPIC) continue;
      const address = addressOfTopicName(topic);
      if (address === undefined) continue;
      if (address.kind === "temp-queue" || address.kind === "temp-topic") {
        for (const queue of queues) this.#store.dropQueue(queue);
        continue;
      }
      const kind = address.kind === "queue" ? "queue" : "topic";
      if (this.find(kind, address.namespace, address.name) !== undefined) continue;
      const shards = Math.max(...queues.map((queue) => queue.queueId)) + 1;
      const id = this.#nextNodeId++;
      this.#make(id, kind, address.namespace, address.name, shards, false);
    }
  }

  /** Everything as journal entries: what a snapshot holds. */
  writeSnapshot(catalog: CatalogWriter): void {
    for (const node of this.#nodes.values()) {
      if (node.id < 0) continue;
      const { namespace, name } = node.address;
      catalog.node({ id: node.id, kind: node.kind, namespace, name, shards: node.shards.length });
      for (const group of node.groups.values()) {
        if (!group.isDurable) continue;
        const lows = group.shards.map((shard) => shard.state.low);
        catalog.group(groupEntry(group.journalId, node, group.settings, lows));
        for (const shard of group.shards) {
          shard.journaledLow = shard.state.low;
          shard.state.forEachSettledRun((from, count) => {
            catalog.run(shard.journalId, from, count);
          });
          for (const [offset, { failed, lost }] of shard.attempts) {
            if (failed + lost > 0) catalog.attempts(shard.journalId, offset, failed, lost);
          }
        }
      }
    }
  }

  #make(
    id: number,
    kind: "queue" | "topic",
    namespace: string,
    name: string,
    shardCount: number,
    isTemporary: boolean,
  ): Node {
    const address = makeAddress(isTemporary ? `temp-${kind}` : kind, name, { namespace });
    const topic = topicNameOf(address);
    const shards: StoreQueue[] = [];
    for (let shard = 0; shard < shardCount; shard++) shards.push(this.#store.queue(topic, shard));
    const defaults = kind === "queue" ? this.#options.queueDefaults : this.#options.topicDefaults;
    const settings = isTemporary
      ? { ...defaults, level: "memory" as const, hasDeadLetters: false, historyMs: 0 }
      : defaults;
    const node = new Node(id, address, kind, isTemporary, settings, shards);
    this.#nodes.set(keyOf(kind, namespace, name), node);
    for (const queue of shards) this.#byShard.set(queue, node);
    return node;
  }

  #makeGroup(node: Node, settings: GroupSettings, journalId: number): ConsumerGroup {
    if (node.groups.has(settings.name)) {
      throw new BrokerError(
        "already-exists",
        `group '${settings.name}' exists on '${node.address.name}'`,
      );
    }
    const group = new ConsumerGroup(node, settings, this.#host);
    group.journalId = journalId;
    node.addGroup(group);
    return group;
  }
}

function groupEntry(
  journalId: number,
  node: Node,
  settings: GroupSettings,
  from: readonly number[],
): GroupEntry {
  const { name, isOrdered, tags, selector, noLocal, path, identity } = settings;
  return {
    journalId,
    node: node.id,
    name,
    shards: node.shards.length,
    from,
    isOrdered,
    tags,
    selector,
    noLocal,
    path,
    identity,
  };
}

export function ownGroupSettings(isDurable: boolean): GroupSettings {
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
