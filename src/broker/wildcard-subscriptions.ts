/**
 * Subscriptions whose filter begins with a wildcard (`+/alarms`, `#`): they have no topic of their own to read, so each
 * has an index that the routes of all topics feed at publish time, those made later included. Durable ones: a light
 * queue, named in the records' dispatch lists. Volatile ones: entries in memory. Durable or not, every message that
 * matches gets an entry.
 */
import { makeAddress } from "../model/address.ts";
import type { StoreQueue } from "../store/message-store.ts";
import type { ConsumerGroup, GroupSettings } from "./consumer-group.ts";
import { Node, PERMANENT } from "./node.ts";
import type { NodeRegistry } from "./node-registry.ts";
import { WILDCARD_PREFIX } from "./node-restorer.ts";
import type { ShardProgress } from "./shard-progress.ts";
import { Binding, type RouteReader, type TopicRoutes } from "./topic-routes.ts";
import { type IndexMemory, VolatileIndex } from "./volatile-index.ts";

class WildcardReader implements RouteReader {
  readonly namespace: string;
  readonly filter: string;
  readonly index: StoreQueue;
  readonly volatileIndex: VolatileIndex | null;
  readonly progress: ShardProgress;
  /** Merged with nothing: whoever opens two subscriptions gets two copies. */
  readonly isShared = true;
  readonly takesAll = true;
  readonly binding: Binding;

  constructor(namespace: string, group: ConsumerGroup) {
    this.namespace = namespace;
    this.filter = group.settings.path;
    this.progress = group.shards[0]!;
    const { queue } = this.progress;
    this.index = queue;
    this.volatileIndex = queue instanceof VolatileIndex ? queue : null;
    const options = { qos: 1, isNoLocal: false, isRetainAsPublished: true, identifier: 0 } as const;
    this.binding = new Binding(this, options);
  }

  /** Everything comes through the index. */
  deliverNow(): boolean {
    return false;
  }
}

export class WildcardSubscriptions {
  readonly #memory: IndexMemory;
  readonly #registry: NodeRegistry;
  readonly #routes: TopicRoutes;
  readonly #readers = new Map<Node, WildcardReader>();

  constructor(registry: NodeRegistry, routes: TopicRoutes, memory: IndexMemory) {
    this.#registry = registry;
    this.#memory = memory;
    this.#routes = routes;
  }

  get count(): number {
    return this.#readers.size;
  }

  groups(): ConsumerGroup[] {
    return [...this.#readers.values()].map((reader) => reader.progress.group);
  }

  has(group: ConsumerGroup): boolean {
    return this.#readers.has(group.node);
  }

  namespaceOf(group: ConsumerGroup): string {
    return this.#readers.get(group.node)?.namespace ?? "/";
  }

  *indexesIn(namespace: string): Generator<ShardProgress> {
    for (const reader of this.#readers.values()) {
      if (reader.namespace === namespace) yield reader.progress;
    }
  }

  /** `key` is unique among the durable ones of the namespace. */
  add(namespace: string, key: string, settings: GroupSettings): ConsumerGroup {
    const group = settings.isDurable
      ? this.#registry.lightNode(`${WILDCARD_PREFIX}${namespace}\x00${key}`, settings).ownGroup
      : this.#volatileGroup(settings);
    this.#connect(namespace, group);
    return group;
  }

  #volatileGroup(settings: GroupSettings): ConsumerGroup {
    let low = (): number => 0;
    const index = new VolatileIndex(`wildcard ${settings.path}`, this.#memory, () => low());
    const address = makeAddress("sub", settings.path);
    const node = new Node(-1, address, "queue", true, this.#registry.wildcardSettings, [index]);
    index.owner = node;
    this.#registry.addVolatile(node, settings);
    const group = node.ownGroup;
    low = () => group.shards[0]!.state.low;
    return group;
  }

  #connect(namespace: string, group: ConsumerGroup): void {
    const reader = new WildcardReader(namespace, group);
    this.#readers.set(group.node, reader);
    group.node.tenant = PERMANENT;
    this.#routes.add(namespace, reader.filter, reader.binding);
    if (group.settings.noLocal) this.#registry.noteNoLocal();
  }

  remove(group: ConsumerGroup): void {
    const { node } = group;
    const reader = this.#readers.get(node);
    if (reader === undefined) return;
    this.#readers.delete(node);
    this.#routes.remove(reader.namespace, reader.filter, reader.binding);
    if (reader.volatileIndex === null) this.#registry.deleteLight(node);
    else {
      this.#registry.deleteVolatile(node);
      reader.volatileIndex.clear();
    }
  }

  /** After recovery: the durable ones. */
  restore(): void {
    for (const name of [...this.#registry.lightNames(WILDCARD_PREFIX)]) {
      const node = this.#registry.findLight(name)!;
      const group = node.groups.awake().next().value;
      const namespace = name.slice(WILDCARD_PREFIX.length).split("\x00", 1)[0]!;
      // A crash came between the node and its group: nobody was told that it is there.
      if (group === undefined || group.settings.path === "") this.#registry.deleteLight(node);
      else this.#connect(namespace, group);
    }
  }
}
