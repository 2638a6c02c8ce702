/**
 * What policies remember about single messages, read back from the records after a restart: ids of the duplicate window,
 * the newest offset of each key, bytes owed. Only nodes with such policies are read.
 */
import { entryBatch } from "../model/entry-batch.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import { dedupIdOf, isEndOfKey, leaveOlder, replaceValue } from "./admission.ts";
import type { Node } from "./node.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { StoredBytes } from "./stored-bytes.ts";

const BATCH = 256;
const settleOne = (shard: ShardProgress, offset: number): void => shard.settle(offset, 1);

export function restorePolicies(
  node: Node,
  store: MessageStore,
  storedBytes: StoredBytes,
  now: number,
): void {
  if (node.isPlain) return;
  if (node.kind === "queue" && node.countsBytes) storedBytes.restore(node);
  const firsts = new Map<string, number>();
  for (const queue of node.shards) {
    if (node.duplicates !== null) {
      const from = store.searchByTime(queue, now - node.settings.dedupWindowMs);
      forEachRecord(store, queue, from, (view, _, position) => {
        const id = dedupIdOf(view);
        if (id !== undefined) node.duplicates!.add(id, view.storeTimestamp, position);
      });
    }
    if (node.lastValues !== null) {
      restoreLastValues(node, node.shards.indexOf(queue), store, firsts);
    }
  }
}

/** `firsts`: where the newest message of a key was stored first; a key may have been in several shards. */
function restoreLastValues(
  node: Node,
  index: number,
  store: MessageStore,
  firsts: Map<string, number>,
): void {
  const queue = node.shards[index]!;
  let from = queue.minOffset;
  const isOne = node.shards.length === 1;
  // In another shard than what it replaced, the newest is looked for among what was taken as well: that it was is known
  // to the journal sooner, perhaps, than that it had replaced another.
  if (!node.keepsLastValues && isOne) {
    const lows = [...node.groups.values()].map((group) => group.shards[index]!.state.low);
    from = Math.max(from, Math.min(queue.maxOffset, ...lows));
  }
  forEachRecord(store, queue, from, (view, offset) => {
    const key = view.property("KEYS");
    if (key === undefined) return;
    if (!isOne) {
      const first = view.firstOffset;
      if ((firsts.get(key) ?? -1) > first) {
        leaveOlder(node, index, offset, settleOne);
        return;
      }
      firsts.set(key, first);
    }
    replaceValue(node, queue, offset, key, settleOne);
    if (isEndOfKey(view)) {
      node.lastValues!.end(key, view.storeTimestamp + node.settings.endedKeysMs);
    }
  });
}

function forEachRecord(
  store: MessageStore,
  queue: StoreQueue,
  from: number,
  callback: (view: RecordView, offset: number, position: number) => void,
): void {
  const entries = entryBatch(BATCH);
  const view = new RecordView();
  for (let at = from; at < queue.maxOffset; ) {
    const count = store.read(queue, at, Math.min(BATCH, queue.maxOffset - at), entries);
    if (count === 0) return;
    for (let i = 0; i < count; i++) {
      const physicalOffset = entries.physicalOffset[i]!;
      const size = entries.size[i]!;
      if (store.view(physicalOffset, size, view)) callback(view, at + i, physicalOffset + size);
    }
    at += count;
  }
}
