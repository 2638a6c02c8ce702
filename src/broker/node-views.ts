/**
 * Queues, topics and groups as plain values for lists: of those in use what their objects say, of those at rest what their bytes
 * say, without making objects of them.
 */
import { makeAddress, printAddress } from "../model/address.ts";
import { topicNameOf } from "../model/names.ts";
import type { MessageStore } from "../store/message-store.ts";
import type { CatalogImage, GroupEntry } from "./catalog.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import type { Node, NodeCounters } from "./node.ts";

export interface NodeView {
  readonly kind: "queue" | "topic";
  readonly namespace: string;
  readonly name: string;
  readonly address: string;
  readonly isTemporary: boolean;
  readonly shards: ReadonlyArray<{
    readonly queueId: number;
    readonly minOffset: number;
    readonly maxOffset: number;
  }>;
  /** Messages owed by the group that owes most. */
  readonly backlog: number;
  readonly ready: number;
  readonly unsettled: number;
  readonly consumers: number;
  readonly producers: number;
  readonly groups: readonly string[];
  readonly counters: NodeCounters;
}

export interface GroupView {
  readonly node: string;
  readonly name: string;
  readonly isDurable: boolean;
  readonly isOrdered: boolean;
  readonly tags: string;
  readonly selector: string;
  readonly path: string;
  readonly members: number;
  readonly backlog: number;
  readonly ready: number;
  readonly unsettled: number;
  readonly shards: ReadonlyArray<{
    readonly queueId: number;
    readonly low: number;
    readonly maxOffset: number;
  }>;
}

/** A node at rest: its entries as a journal has them, to be used up, and what it counted. */
export interface NodeAtRest {
  readonly image: CatalogImage;
  readonly counters: NodeCounters;
}

export function nodeView(node: Node): NodeView {
  let unsettled = 0;
  for (const group of node.groups.awake()) {
    for (const shard of group.shards) unsettled += shard.state.heldCount;
  }
  return {
    kind: node.kind,
    namespace: node.address.namespace,
    name: node.address.name,
    address: printAddress(node.address),
    isTemporary: node.isTemporary,
    shards: node.shards.map(({ queueId, minOffset, maxOffset }) => ({
      queueId,
      minOffset,
      maxOffset,
    })),
    backlog: node.groups.mostOwed(node.shards),
    ready: node.groups.mostReady(node.shards),
    unsettled,
    consumers: node.consumerCount,
    producers: node.producerCount,
    groups: node.groups.keys(),
    counters: { ...node.counters },
  };
}

export function groupView(group: ConsumerGroup): GroupView {
  const { isDurable, isOrdered, tags, selector, path } = group.settings;
  let unsettled = 0;
  for (const shard of group.shards) unsettled += shard.state.heldCount;
  return {
    node: printAddress(group.node.address),
    name: group.name,
    isDurable,
    isOrdered,
    tags,
    selector,
    path,
    members: group.members.length,
    backlog: group.backlog,
    ready: group.readyCount,
    unsettled,
    shards: group.shards.map(({ queue, state }) => ({
      queueId: queue.queueId,
      low: state.low,
      maxOffset: queue.maxOffset,
    })),
  };
}

export interface RestingViews {
  readonly node: NodeView;
  readonly groups: readonly GroupView[];
}

/** What both say of a node at rest: nobody holds anything there, so all that is owed is ready. */
export function viewsAtRest({ image, counters }: NodeAtRest, store: MessageStore): RestingViews {
  const [entry] = image.nodes.values();
  const { kind, namespace, name, queueIds } = entry!;
  const ofNode = makeAddress(kind, name, { namespace });
  const topic = topicNameOf(ofNode);
  const address = printAddress(ofNode);
  const shards = queueIds.map((queueId) => {
    const range = { minOffset: 0, maxOffset: 0 };
    store.rangeOf(topic, queueId, false, range);
    return { queueId, ...range };
  });
  const groups = [...image.groups.values()].map((group) =>
    groupAtRest(group, image, address, shards),
  );
  let backlog = 0;
  for (const group of groups) backlog = Math.max(backlog, group.backlog);
  const node = {
    ...{ kind, namespace, name, address, isTemporary: false, shards },
    ...{ backlog, ready: backlog, unsettled: 0, consumers: 0, producers: 0 },
    groups: groups.map((group) => group.name),
    counters: { ...counters },
  };
  return { node, groups };
}

function groupAtRest(
  { name, isOrdered, tags, selector, path, from, progress }: GroupEntry,
  image: CatalogImage,
  node: string,
  queues: NodeView["shards"],
): GroupView {
  let backlog = 0;
  const shards = queues.map(({ queueId, minOffset, maxOffset }, index) => {
    const start = Math.min(Math.max(from[index] ?? 0, minOffset), maxOffset);
    const state = image.progress.get(progress[index] ?? -1)?.state.clampedTo(maxOffset);
    if (state !== undefined && start > state.low) state.settleBelow(start);
    const low = state?.low ?? start;
    backlog += state?.backlog(maxOffset) ?? maxOffset - low;
    return { queueId, low, maxOffset };
  });
  return {
    ...{ node, name, isDurable: true, isOrdered, tags, selector, path, members: 0 },
    ...{ backlog, ready: backlog, unsettled: 0, shards },
  };
}
