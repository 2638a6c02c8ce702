/** Bytes of stored records that a queue with a byte limit still owes; from the sizes in its ConsumeQueue entries. */
import { entryBatch } from "../model/entry-batch.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import { STATE } from "./ack-state.ts";
import type { Node } from "./node.ts";
import type { ShardProgress } from "./shard-progress.ts";

const BATCH = 256;

export class StoredBytes {
  readonly #store: MessageStore;
  readonly #entries = entryBatch(BATCH);

  constructor(store: MessageStore) {
    this.#store = store;
  }

  /** Before the states change: what was not settled yet no longer counts. */
  settled(shard: ShardProgress, from: number, count: number): void {
    shard.group.node.storedBytes -= this.#sizeOf(shard.queue, from, count, shard);
  }

  /** The store has moved the record of this offset: its size is not the same. */
  moved(node: Node, queue: StoreQueue, offset: number, change: number): void {
    const shard = node.kind === "queue" ? node.ownGroup.shards[node.shards.indexOf(queue)] : null;
    const isCounted = shard == null || shard.state.stateOf(offset) !== STATE.SETTLED;
    if (isCounted) node.storedBytes += change;
  }

  /** After a restart: everything not settled. */
  restore(node: Node): void {
    node.storedBytes = 0;
    for (const shard of node.ownGroup.shards) {
      const from = shard.state.low;
      node.storedBytes += this.#sizeOf(shard.queue, from, shard.queue.maxOffset - from, shard);
    }
  }

  #sizeOf(queue: StoreQueue, from: number, count: number, shard: ShardProgress | null): number {
    let bytes = 0;
    for (let at = from; at < from + count; ) {
      const read = this.#store.read(queue, at, Math.min(BATCH, from + count - at), this.#entries);
      if (read === 0) break;
      for (let i = 0; i < read; i++) {
        if (shard === null || shard.state.stateOf(at + i) !== STATE.SETTLED) {
          bytes += this.#entries.size[i]!;
        }
      }
      at += read;
    }
    return bytes;
  }
}
