/**
 * What policies remember about single messages, read back from the records after a restart: ids of the duplicate window,
 * the newest offset of each key, bytes owed. Only nodes with such policies are read.
 */
import { RecordView } from "../model/record-view.ts";
import type { EntryBatch, MessageStore, StoreQueue } from "../store/message-store.ts";
import { dedupIdOf } from "./admission.ts";
import type { Node } from "./node.ts";
import type { StoredBytes } from "./stored-bytes.ts";

const BATCH = 256;

export function restorePolicies(
  node: Node,
  store: MessageStore,
  storedBytes: StoredBytes,
  now: number,
): void {
  if (node.isPlain) return;
  if (node.kind === "queue" && node.countsBytes) storedBytes.restore(node);
  for (const queue of node.shards) {
    if (node.duplicates !== null) {
      const from = store.searchByTime(queue, now - node.settings.dedupWindowMs);
      forEachRecord(store, queue, from, (view, _, position) => {
        const id = dedupIdOf(view);
        if (id !== undefined) node.duplicates!.add(id, view.storeTimestamp, position);
      });
    }
    if (node.lastValues !== null) {
      const index = node.shards.indexOf(queue);
      const groups = [...node.groups.values()];
      const low = Math.min(
        queue.maxOffset,
        ...groups.map((group) => group.shards[index]!.state.low),
      );
      forEachRecord(store, queue, Math.max(low, queue.minOffset), (view, offset) => {
        const key = view.property("KEYS");
        if (key !== undefined) node.lastValues!.set(key, offset);
      });
    }
  }
}

function forEachRecord(
  store: MessageStore,
  queue: StoreQueue,
  from: number,
  callback: (view: RecordView, offset: number, position: number) => void,
): void {
  const entries: EntryBatch = {
    physicalOffset: new Float64Array(BATCH),
    size: new Int32Array(BATCH),
    tagHash: new Int32Array(BATCH),
  };
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
