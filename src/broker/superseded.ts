/**
 * Messages that another record takes the place of: pushed out of a full queue, older than the newest of their key or
 * topic, copied to a dead-letter queue, stored anew further on. Nobody gets them from then on, but they are settled only
 * when that record is durable: a crash that takes it away leaves them owed, as they were.
 */
import { entryBatch } from "../model/entry-batch.ts";
import type { MessageStore } from "../store/message-store.ts";
import type { Clock } from "../util/turn.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Pending, Visibility } from "./visibility.ts";

/** Where nobody waits for a confirm, a sync is asked for after this time: as the journal does for settlements. */
const SYNC_MS = 50;

interface Waiting extends Pending {
  readonly shard: ShardProgress;
  readonly offset: number;
  /** Where the node counts them. */
  readonly bytes: number;
}

export interface SupersededHost {
  readonly store: Pick<MessageStore, "read" | "watermarks">;
  readonly clock: Clock;
  readonly visibility: Visibility;
  requestSync(): void;
}

export class Superseded {
  readonly #host: SupersededHost;
  /** In order of their position. */
  readonly #waiting: Waiting[] = [];
  #isTimed = false;
  readonly #entry = entryBatch();

  constructor(host: SupersededHost) {
    this.#host = host;
  }

  get count(): number {
    return this.#waiting.length;
  }

  /** The record that takes the place of this one ends at `position`; by default, it is the last one in the log. */
  add(shard: ShardProgress, offset: number, position = this.#host.store.watermarks.appended): void {
    const { node, isDurable } = shard.group;
    const { store, visibility } = this.#host;
    const isSafe = position <= store.watermarks.durable && !visibility.isBatch;
    // What ends with this process need not survive it.
    if (isSafe || !isDurable || node.isTemporary) {
      shard.settle(offset, 1);
      return;
    }
    shard.state.park(offset, 1);
    const bytes = node.countsBytes ? this.#sizeOf(shard, offset) : 0;
    node.leavingBytes += bytes;
    const waiting = { position, shard, offset, bytes };
    visibility.awaitBatch(waiting);
    this.#waiting.push(waiting);
    if (this.#isTimed) return;
    this.#isTimed = true;
    this.#host.clock.after(SYNC_MS, () => {
      this.#isTimed = false;
      if (this.#waiting.length > 0) this.#host.requestSync();
    });
  }

  onDurable(durable: number): void {
    const waiting = this.#waiting;
    let done = 0;
    for (; done < waiting.length && waiting[done]!.position <= durable; done++) {
      const { shard, offset, bytes } = waiting[done]!;
      const { node } = shard.group;
      node.leavingBytes -= bytes;
      if (!node.isDeleted) shard.settle(offset, 1);
    }
    if (done > 0) waiting.splice(0, done);
  }

  #sizeOf({ queue }: ShardProgress, offset: number): number {
    const entry = this.#entry;
    return this.#host.store.read(queue, offset, 1, entry) === 1 ? entry.size[0]! : 0;
  }
}
