/** Finding the first entry of a queue that was stored at or after a time: a binary search over store timestamps. */
import { entryBatch } from "../model/entry-batch.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore, StoreQueue } from "./message-store.ts";

const entry = entryBatch();
const view = new RecordView();

export function searchByTime(store: MessageStore, queue: StoreQueue, timestampMs: number): number {
  let low = queue.minOffset;
  let high = queue.maxOffset;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    // An entry without a readable record says nothing: the next one that has one decides for all before it.
    let probe = middle;
    let time = -1;
    for (; probe < high && time < 0; probe++) time = timeOf(store, queue, probe);
    if (time < 0 || time >= timestampMs) high = middle;
    else low = probe;
  }
  return low;
}

function timeOf(store: MessageStore, queue: StoreQueue, offset: number): number {
  if (store.read(queue, offset, 1, entry) !== 1) return -1;
  return store.view(entry.physicalOffset[0]!, entry.size[0]!, view) ? view.storeTimestamp : -1;
}
