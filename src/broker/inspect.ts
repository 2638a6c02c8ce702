/**
 * Looking into the broker: plain values for the admin API, the command line and metrics. Reads only; nothing here is on
 * the path of a message. Values are copies, safe to keep and to turn into JSON.
 */
import { printAddress } from "../model/address.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { topicNameOf } from "../model/names.ts";
import { ENCODING_NAMES, RecordView } from "../model/record-view.ts";
import type { ReclaimFigures } from "../store/message-store.ts";
import { STATE } from "./ack-state.ts";
import type { Broker } from "./broker.ts";
import type { Connection } from "./connection.ts";
import type { Consumer } from "./consumer.ts";
import { COUNTER_NAMES, type Node, type NodeCounters, noCounts } from "./node.ts";
import { nodeKey } from "./node-key.ts";
import { forEachOfPage, type PageRequest } from "./node-pages.ts";
import {
  type GroupView,
  groupView,
  type NodeAtRest,
  type NodeView,
  nodeView,
  viewsAtRest,
} from "./node-views.ts";
import type { Outcomes } from "./tally.ts";

export interface Overview {
  readonly node: string;
  readonly version: string;
  readonly uptimeMs: number;
  readonly connections: number;
  readonly consumers: number;
  readonly queues: number;
  readonly topics: number;
  readonly groups: number;
  readonly sessions: number;
  readonly retained: number;
  /** Messages that wait for their time. */
  readonly delayed: number;
  /** Why publishing is held back, or null. */
  readonly blocked: string | null;
  readonly store: "ok" | "full" | "failed";
  readonly log: { readonly appended: number; readonly written: number; readonly durable: number };
  /** What the store does to give space back; null where it has no segments. */
  readonly reclaimed: ReclaimFigures | null;
  /** Sums over all nodes. */
  readonly counters: NodeCounters;
  /** What did not go the usual way, by reason. */
  readonly outcomes: Outcomes;
}

export interface ConsumerView {
  readonly id: number;
  readonly connection: number;
  readonly address: string;
  readonly group: string;
  readonly isBrowser: boolean;
  readonly priority: number;
  /** null for unlimited. */
  readonly credit: number | null;
  readonly unsettled: number;
  readonly delivered: number;
}

export interface ConnectionView {
  readonly id: number;
  readonly protocol: string;
  readonly remote: string;
  readonly user: string;
  readonly clientId: string;
  readonly namespace: string;
  readonly connectedAt: number;
  readonly producers: number;
  readonly consumers: number;
}

export type MessageState = "ready" | "acquired" | "settled" | "held";

export interface MessageView {
  readonly topic: string;
  readonly queueId: number;
  readonly offset: number;
  readonly physicalOffset: number;
  readonly size: number;
  readonly encoding: string;
  readonly isDurable: boolean;
  readonly priority: number;
  readonly expiresAt: number;
  readonly bornAt: number;
  readonly storedAt: number;
  readonly properties: ReadonlyArray<readonly [name: string, value: string]>;
  /** The first bytes of the record's body. */
  readonly bodyBase64: string;
  readonly bodyBytes: number;
  /** For each group of the node. */
  readonly states: ReadonlyArray<{
    readonly group: string;
    readonly state: MessageState;
    readonly failed: number;
  }>;
}

const BODY_SHOWN = 4096;
const STATE_NAMES: readonly MessageState[] = ["ready", "acquired", "settled", "ready", "held"];

/** Part of a long list. */
export interface Page<T> {
  readonly items: T[];
  /** What to ask for the next page after; null at the end. */
  readonly next: number | null;
}

/** Sums over many nodes. */
export interface NodeSums {
  nodes: number;
  backlog: number;
  readonly counters: NodeCounters;
}

const sumsOf = ({ nodes, backlog, counters }: NodeSums): NodeSums => ({
  nodes,
  backlog,
  counters: { ...counters },
});

export class Inspection {
  readonly #broker: Broker;
  readonly #startedAt = Date.now();
  readonly #view = new RecordView();
  readonly #entry = entryBatch();

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  overview(): Overview {
    const { registry, connections, store, sessions } = this.#broker;
    const counters: NodeCounters = noCounts();
    let queues = 0;
    let topics = 0;
    let groups = 0;
    for (const node of registry.awake()) {
      if (node.kind === "queue") queues++;
      else topics++;
      groups += node.groups.size;
      for (const name of COUNTER_NAMES) counters[name] += node.counters[name];
    }
    const { queue, topic } = registry.resting.sums;
    queues += queue.nodes;
    topics += topic.nodes;
    groups += queue.groups + topic.groups;
    for (const name of COUNTER_NAMES) counters[name] += queue.counters[name] + topic.counters[name];
    // Sessions and subscriptions of MQTT take from indexes of their own, which are no queues that anybody sees.
    counters.delivered = this.#broker.tally.delivered;
    counters.accepted = this.#broker.tally.accepted;
    let consumers = 0;
    for (const connection of connections.values()) consumers += connection.consumers.size;
    const { appended, written, durable } = store.watermarks;
    return {
      node: this.#broker.nodeName,
      version: this.#broker.version,
      uptimeMs: Date.now() - this.#startedAt,
      connections: connections.size,
      consumers,
      queues,
      topics,
      groups,
      sessions: sessions.stats.sessions,
      retained: sessions.stats.retained,
      delayed: this.#broker.delayed.waitingCount,
      blocked: this.#broker.blocked?.reason ?? null,
      store: store.health.state,
      log: { appended, written, durable },
      reclaimed: this.#broker.store.reclaimed ?? null,
      counters,
      outcomes: this.#broker.tally.outcomes(),
    };
  }

  /** A page of queues or topics (node-pages.ts). */
  nodes(kind: "queue" | "topic", page: PageRequest = {}): Page<NodeView> {
    const items: NodeView[] = [];
    const { registry, store } = this.#broker;
    const show = (node: Node): void => void items.push(nodeView(node));
    const showAtRest = (node: NodeAtRest): void => void items.push(viewsAtRest(node, store).node);
    return { items, next: forEachOfPage(registry, [kind], page, show, showAtRest) };
  }

  /** Those in memory, and of the others those asked for; `rest`: sums over all others. */
  busyNodes(also: readonly NodeView[]): {
    readonly nodes: readonly NodeView[];
    readonly rest: Readonly<Record<"queue" | "topic", NodeSums>>;
  } {
    const { registry } = this.#broker;
    const nodes = [...registry.awake()].map(nodeView);
    const known = new Set(nodes.map(({ address }) => address));
    const { queue, topic } = registry.resting.sums;
    const rest = { queue: sumsOf(queue), topic: sumsOf(topic) };
    for (const { address, kind, namespace, name } of also) {
      if (known.has(address)) continue;
      const found = registry.atRest(nodeKey(kind, namespace, name));
      if (found === undefined) continue;
      const { node } = viewsAtRest(found, this.#broker.store);
      nodes.push(node);
      rest[kind].nodes--;
      rest[kind].backlog -= node.backlog;
      for (const name of COUNTER_NAMES) rest[kind].counters[name] -= node.counters[name];
    }
    return { nodes, rest };
  }

  /** How many queues and topics there are. */
  get nodeCount(): number {
    return this.#broker.registry.size;
  }

  node(kind: "queue" | "topic", namespace: string, name: string): NodeView | undefined {
    const node = this.#broker.registry.find(kind, namespace, name);
    return node === undefined ? undefined : nodeView(node);
  }

  /** Groups of a page of queues and topics. */
  groups(page: PageRequest = {}): Page<GroupView> {
    const { registry } = this.#broker;
    const items: GroupView[] = [];
    const show = (node: Node): void => this.#showGroups(node, items);
    const showAtRest = (node: NodeAtRest): void => this.#showGroupsAtRest(node, items);
    return { items, next: forEachOfPage(registry, ["queue", "topic"], page, show, showAtRest) };
  }

  groupsOf(kind: "queue" | "topic", namespace: string, name: string): GroupView[] {
    const { registry } = this.#broker;
    const views: GroupView[] = [];
    const key = nodeKey(kind, namespace, name);
    registry.look(
      key,
      (node) => this.#showGroups(node, views),
      (node) => this.#showGroupsAtRest(node, views),
    );
    return views;
  }

  #showGroups(node: Node, into: GroupView[]): void {
    for (const group of node.groups.looks()) into.push(groupView(group));
  }
  #showGroupsAtRest(node: NodeAtRest, into: GroupView[]): void {
    for (const view of viewsAtRest(node, this.#broker.store).groups) into.push(view);
  }

  connections(): ConnectionView[] {
    return [...this.#broker.connections.values()].map(connectionView);
  }

  consumers(): ConsumerView[] {
    const views: ConsumerView[] = [];
    for (const connection of this.#broker.connections.values()) {
      for (const consumer of connection.consumers) views.push(consumerView(consumer));
    }
    return views.sort((a, b) => a.id - b.id);
  }

  /** Messages of a node from an offset on (default: the first that somebody is owed), settled ones included on request. */
  browse(
    node: { readonly kind: "queue" | "topic"; readonly namespace: string; readonly name: string },
    options: {
      readonly queueId?: number;
      readonly from?: number;
      readonly max?: number;
      readonly withSettled?: boolean;
    } = {},
  ): MessageView[] {
    const found = this.#broker.registry.find(node.kind, node.namespace, node.name);
    if (found === undefined) return [];
    const max = Math.min(options.max ?? 100, 1000);
    const views: MessageView[] = [];
    for (const [index, queue] of found.shards.entries()) {
      if (options.queueId !== undefined && queue.queueId !== options.queueId) continue;
      const groups = [...found.groups.looks()];
      const low = found.groups.owedFrom(index, queue.maxOffset);
      const from = Math.max(options.from ?? low, queue.minOffset);
      for (let offset = from; offset < queue.maxOffset && views.length < max; offset++) {
        const isOwed =
          options.withSettled === true ||
          groups.length === 0 ||
          groups.some((group) => group.shards[index]!.state.stateOf(offset) !== STATE.SETTLED);
        const view = isOwed ? this.#message(found, index, offset) : undefined;
        if (view !== undefined) views.push(view);
      }
    }
    return views;
  }

  messageAt(
    kind: "queue" | "topic",
    namespace: string,
    name: string,
    queueId: number,
    offset: number,
  ): MessageView | undefined {
    const node = this.#broker.registry.find(kind, namespace, name);
    const index = node?.shards.findIndex((queue) => queue.queueId === queueId) ?? -1;
    return node === undefined || index < 0 ? undefined : this.#message(node, index, offset);
  }

  /** By business key (KEYS) or unique id (UNIQ_KEY): newest first. */
  messagesByKey(
    kind: "queue" | "topic",
    namespace: string,
    name: string,
    key: string,
    max = 64,
  ): MessageView[] {
    const node = this.#broker.registry.find(kind, namespace, name);
    if (node === undefined) return [];
    const { store } = this.#broker;
    const topic = topicNameOf(node.address);
    const views: MessageView[] = [];
    for (const physicalOffset of store.searchByKey(topic, key, max, 0, Date.now())) {
      if (!store.view(physicalOffset, 0, this.#view)) continue;
      const { queueId, queueOffset } = this.#view;
      const index = node.shards.findIndex((queue) => queue.queueId === queueId);
      const view = index < 0 ? undefined : this.#message(node, index, queueOffset);
      if (view !== undefined) views.push(view);
    }
    return views;
  }

  #message(node: Node, index: number, offset: number): MessageView | undefined {
    const { store } = this.#broker;
    const queue = node.shards[index]!;
    if (offset < queue.minOffset || offset >= queue.maxOffset) return undefined;
    if (store.read(queue, offset, 1, this.#entry) !== 1) return undefined;
    const physicalOffset = this.#entry.physicalOffset[0]!;
    const size = this.#entry.size[0]!;
    const view = this.#view;
    if (!store.view(physicalOffset, size, view)) return undefined;
    const shown = Math.min(view.bodyEnd, view.bodyStart + BODY_SHOWN);
    return {
      topic: view.topic,
      queueId: queue.queueId,
      offset,
      physicalOffset,
      size,
      encoding: ENCODING_NAMES[view.encoding],
      isDurable: view.isDurable,
      priority: view.priority,
      expiresAt: view.expiresAt,
      bornAt: view.bornTimestamp,
      storedAt: view.storeTimestamp,
      properties: view.properties(),
      bodyBase64: view.buffer.toString("base64", view.bodyStart, shown),
      bodyBytes: view.bodyEnd - view.bodyStart,
      states: [...node.groups.looks()].map((group) => {
        const shard = group.shards[index]!;
        return {
          group: group.name,
          state: STATE_NAMES[shard.state.stateOf(offset)]!,
          failed: shard.attempts.get(offset)?.failed ?? 0,
        };
      }),
    };
  }
}

function consumerView(consumer: Consumer): ConsumerView {
  return {
    id: consumer.id,
    connection: consumer.connectionId,
    address: printAddress(consumer.address),
    group: consumer.group.name,
    isBrowser: consumer.isBrowser,
    priority: consumer.priority,
    credit: Number.isFinite(consumer.credit) ? consumer.credit : null,
    unsettled: consumer.unsettledCount,
    delivered: consumer.deliveredCount,
  };
}

function connectionView(connection: Connection): ConnectionView {
  const { protocol, remoteAddress, remotePort } = connection.request;
  return {
    id: connection.id,
    protocol,
    remote: `${remoteAddress}:${remotePort}`,
    user: connection.principal.name,
    clientId: connection.clientId,
    namespace: connection.namespace,
    connectedAt: connection.connectedAt,
    producers: connection.targets.size,
    consumers: connection.consumers.size,
  };
}
