/**
 * Turns what recovery found (the journal's image and the queues on disk) back into nodes and groups. The same is done for
 * a single node that was at rest.
 */
import { addressOfTopicName } from "../model/names.ts";
import { COPIES_TOPIC } from "../model/record-fields.ts";
import type { MessageStore } from "../store/message-store.ts";
import type { CatalogImage, GroupEntry, NodeEntry } from "./catalog.ts";
import { noteUnknownExpiries, restoreExpiries } from "./expiry-notes.ts";
import { ownGroupSettings } from "./group-settings.ts";
import type { Node } from "./node.ts";
import type { NodeGroups } from "./node-groups.ts";
import { ShardProgress } from "./shard-progress.ts";

/** Home of control records: what a transaction settled, in the same atomic batch as what it published. */
export const CONTROL_TOPIC = "SLUICE_CONTROL";

/** Light nodes of wildcard subscriptions; then namespace and key, each behind a NUL. */
export const WILDCARD_PREFIX = "wild\x00";

/** What the registry lends for the making of nodes. */
export interface NodeMaker {
  makeNode(entry: NodeEntry): Node;
  readonly groups: NodeGroups;
  /** Is it known, and at rest? */
  rests(kind: "queue" | "topic", namespace: string, name: string): boolean;
  /** By name; what is at rest is woken. */
  find(kind: "queue" | "topic", namespace: string, name: string): Node | undefined;
  /** A new one, with its entries in the journal. */
  create(
    kind: "queue" | "topic",
    namespace: string,
    name: string,
    isTemporary: boolean,
    queueIds: readonly number[],
  ): Node;
}

export class NodeRestorer {
  readonly #store: MessageStore;
  readonly #maker: NodeMaker;

  constructor(store: MessageStore, maker: NodeMaker) {
    this.#store = store;
    this.#maker = maker;
  }

  /** The nodes of an image, with their groups. */
  restore(image: CatalogImage): Node[] {
    const byId = new Map<number, Node>();
    for (const entry of image.nodes.values()) byId.set(entry.id, this.#maker.makeNode(entry));
    for (const entry of image.groups.values()) {
      const node = byId.get(entry.node);
      if (node === undefined) continue;
      // Two of a name: of the older one the end is among what was damaged.
      const older = node.groups.get(entry.name);
      if (older !== undefined) node.removeGroup(older);
      this.#restoreGroup(node, entry, image);
    }
    const nodes = [...byId.values()];
    for (const node of nodes) {
      if (node.kind === "queue" && node.groups.size === 0)
        this.#maker.groups.add(node, ownGroupSettings(true), "first");
      if (!node.shards[0]!.isLight) restoreExpiries(node, image.expiry);
    }
    return nodes;
  }

  #restoreGroup(node: Node, entry: GroupEntry, image: CatalogImage): void {
    const { name, isOrdered, identity, tags, selector, noLocal, path } = entry;
    const group = this.#maker.groups.make(node, {
      name,
      isDurable: true,
      isOrdered,
      isVolatile: false,
      identity,
      tags,
      selector,
      noLocal,
      path,
    });
    group.journalId = entry.journalId;
    node.shards.forEach((queue, index) => {
      const number = entry.progress[index] ?? this.#maker.groups.nextProgress();
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
    if (noLocal) node.hasNoLocal = true;
  }

  /**
   * What lies here from before may be anything: ordering keys, and expiries that the journal does not know of. Keys are looked
   * for as what lay there is delivered, by a flag in each record: measured, 0.2 to 0.4 µs a message of 100 bytes, nothing of
   * 1 KiB, and only after a crash, for a stop in order says where there are none. Entries in the journal would cost every publish more.
   */
  noteUnknown(node: Node): void {
    node.mayExpire = true;
    for (const [index, queue] of node.shards.entries()) {
      if (queue.isLight && !node.address.name.startsWith(WILDCARD_PREFIX)) continue;
      node.noteKey(index, queue.maxOffset);
    }
    if (!node.shards[0]!.isLight) noteUnknownExpiries(node);
  }

  /**
   * ConsumeQueues without a node: temporary leftovers go, a store that RocketMQ wrote becomes topics and queues. Returns
   * the nodes that were made.
   */
  adopt(awake: Iterable<Node>): Node[] {
    const known = new Set<string>();
    for (const { shards } of awake) {
      for (const { isLight, topic, queueId } of shards)
        if (!isLight) known.add(`${topic}/${queueId}`);
    }
    const orphans = new Map<string, number[]>();
    for (const { topic, queueId } of this.#store.topicQueues()) {
      if (known.has(`${topic}/${queueId}`)) continue;
      const list = orphans.get(topic) ?? [];
      list.push(queueId);
      orphans.set(topic, list);
    }
    const made: Node[] = [];
    for (const [topic, queueIds] of orphans) {
      const node = this.#adoptOne(topic, queueIds);
      if (node !== undefined) made.push(node);
    }
    return made;
  }

  #adoptOne(topic: string, queueIds: readonly number[]): Node | undefined {
    if (topic === CONTROL_TOPIC || topic === COPIES_TOPIC) return undefined;
    const address = addressOfTopicName(topic);
    if (address === undefined) return undefined;
    if (address.kind === "temp-queue" || address.kind === "temp-topic") {
      for (const queueId of queueIds) this.#store.dropQueue(this.#store.queue(topic, queueId));
      return undefined;
    }
    const kind = address.kind === "queue" ? "queue" : "topic";
    const { namespace, name } = address;
    // Few have more than one: the others are not woken for this.
    const isPlain = queueIds.length === 1 && queueIds[0] === 0;
    if (isPlain && this.#maker.rests(kind, namespace, name)) return undefined;
    const known = this.#maker.find(kind, namespace, name);
    if (known !== undefined) {
      // The journal ends before the entry that gave the node these shards; the log has more.
      const missing = queueIds.filter((id) => known.shards.every(({ queueId }) => queueId !== id));
      for (const queueId of missing) this.#maker.groups.addShard(known, queueId);
      return missing.length === 0 ? undefined : known;
    }
    const all =
      kind === "queue"
        ? [0, ...queueIds.filter((queueId) => queueId !== 0)]
        : Array.from({ length: Math.max(...queueIds) + 1 }, (_, queueId) => queueId);
    // Not left to the snapshot that follows: a crash may take that, and leave entries that speak of this node.
    return this.#maker.create(kind, namespace, name, false, all);
  }
}
