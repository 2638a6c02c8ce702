/** A node and its groups as entries of the journal (catalog.ts): what makes them durable, and what a snapshot holds. */
import type { CatalogWriter, GroupEntry, NodeEntry } from "./catalog.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import type { Node } from "./node.ts";

export function nodeEntry(node: Node): NodeEntry {
  const { namespace, name } = node.address;
  const queueIds = node.shards.map((queue) => queue.queueId);
  const entry = { id: node.id, kind: node.kind, namespace, name, queueIds };
  return node.shards[0]!.isLight ? { ...entry, isLight: true } : entry;
}

export function groupEntry(group: ConsumerGroup, from: readonly number[]): GroupEntry {
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

/** Everything durable of a node, a group a step. */
export function* writeNode(node: Node, catalog: CatalogWriter): Generator<void> {
  catalog.node(nodeEntry(node));
  for (const group of node.groups.values()) {
    if (!group.isDurable) continue;
    writeGroup(group, catalog);
    yield;
  }
}

function writeGroup(group: ConsumerGroup, catalog: CatalogWriter): void {
  const lows = group.shards.map((shard) => shard.state.low);
  catalog.group(groupEntry(group, lows));
  for (const { journalId, state, attempts } of group.shards) {
    // Of a group that is known already, `from` says nothing.
    catalog.low(journalId, state.low);
    state.forEachSettledRun((from, count) => {
      catalog.run(journalId, from, count);
    });
    catalog.endRuns();
    for (const [offset, { failed, lost }] of attempts) {
      if (failed + lost > 0) catalog.attempts(journalId, offset, failed, lost);
    }
  }
}
