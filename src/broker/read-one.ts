/** One message of a queue, and what it means when it cannot be read. */
import type { RecordView } from "../model/record-view.ts";
import type { EntryBatch, MessageStore, StoreQueue } from "../store/message-store.ts";

type Knows = Pick<MessageStore, "isDamaged" | "isUnreadable">;

/** Positions `view` on the record of this entry, which is left in `entry` (its size is 0 when it could not be read). */
export function readOne(
  entries: Pick<MessageStore, "read">,
  store: Pick<MessageStore, "view">,
  queue: StoreQueue,
  offset: number,
  entry: EntryBatch,
  view: RecordView,
): boolean {
  entry.size[0] = 0;
  if (entries.read(queue, offset, 1, entry) !== 1) {
    entry.physicalOffset[0] = -1;
    return false;
  }
  return store.view(entry.physicalOffset[0]!, entry.size[0]!, view);
}

/** Of one that `readOne` did not find: it is not lost, the disk refuses to give it or it is still on its way. */
export function mayCome(store: Knows, { physicalOffset }: EntryBatch): boolean {
  const at = physicalOffset[0]!;
  return at < 0 || store.isUnreadable(at) || !store.isDamaged(at);
}
