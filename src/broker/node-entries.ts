/** A node and its groups as entries of the journal (catalog.ts): what makes them durable, and what a snapshot holds. */
import type { CatalogWriter, GroupEntry, NodeEntry } from "./catalog.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { writeNodeExpiries } from "./expiry-notes.ts";
import type { Node } from "./node.ts";
import { writeSettled } from "./settled-pages.ts";

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

/** Of a new one: of what may lie in its queues already nothing is known. */
export function writeNodeAndGroups(node: Node, catalog: CatalogWriter): void {
  catalog.node(nodeEntry(node));
  for (const group of node.groups.looks()) {
    const lows = group.shards.map((shard) => shard.state.low);
    if (group.isDurable) catalog.group(groupEntry(group, lows));
  }
}

/** Everything durable of a node, a group a step. */
export function* writeNode(node: Node, catalog: CatalogWriter): Generator<void> {
  catalog.node(nodeEntry(node));
  for (const group of node.groups.looks()) {
    if (!group.isDurable) continue;
    yield* writeGroup(group, catalog);
    yield;
  }
  writeNodeExpiries(node, catalog);
}

/** A group that others count on gets the name they know it by, and lasts: written as it is now. */
export function makeLasting(
  group: ConsumerGroup,
  name: string,
  nextProgress: () => number,
  catalog: CatalogWriter,
): void {
  const { groups } = group.node;
  groups.delete(group.name);
  group.settings = {
    ...group.settings,
    name,
    isDurable: true,
    isVolatile: false,
    identity: null,
  };
  groups.set(name, group);
  for (const shard of group.shards) if (shard.journalId < 0) shard.journalId = nextProgress();
  group.journalId = group.shards[0]!.journalId;
  for (const _ of writeGroup(group, catalog));
}

/** The group that a global shared subscription has become, by the name it had before. */
export function keptAs(node: Node, nameBefore: string): ConsumerGroup | undefined {
  const name = /^(?:~volatile-)?~global\/(.*)$/s.exec(nameBefore)?.[1];
  if (name === undefined) return undefined;
  for (const { settings } of node.groups.looks()) {
    const { path } = settings;
    const rest = path.slice(path.indexOf("/") + 1);
    const isThis = settings.name === name || settings.name === `${rest}#${name}`;
    if (isThis) return node.groups.get(settings.name);
  }
  return undefined;
}

function* writeGroup(group: ConsumerGroup, catalog: CatalogWriter): Generator<void> {
  const lows = group.shards.map((shard) => shard.state.low);
  catalog.group(groupEntry(group, lows));
  for (const { journalId, state, attempts } of group.shards) {
    // Of a group that is known already, `from` says nothing.
    catalog.low(journalId, state.low);
    catalog.endLows();
    yield* writeSettled(journalId, state, catalog);
    for (const [offset, { failed, lost }] of attempts) {
      if (failed + lost > 0) catalog.attempts(journalId, offset, failed, lost);
    }
  }
}
