/**
 * Messages that nobody may get any more: rejected, failed too often, expired. A copy goes to the queue's dead-letter queue
 * `DLQ.<name>` with its history in properties; the original is settled only once the copy is durable (at least once).
 */
import { Draft } from "../model/draft.ts";
import { RecordView } from "../model/record-view.ts";
import type { EntryBatch, MessageStore } from "../store/message-store.ts";
import type { Node } from "./node.ts";
import { redraft } from "./redraft.ts";
import type { ShardProgress } from "./shard-progress.ts";

export type DeathReason = "rejected" | "delivery-limit" | "expired" | "maxlen";

export const DEATH = {
  queue: "x-death-queue",
  reason: "x-death-reason",
  time: "x-death-time",
  count: "x-death-count",
} as const;

export interface DeadLetterHost {
  readonly store: MessageStore;
  /** The dead-letter queue's publish, or null when this node has none. */
  publishDead(node: Node, draft: Draft): number;
  noteDeath(shard: ShardProgress, reason: DeathReason): void;
}

export class DeadLetters {
  readonly #host: DeadLetterHost;
  readonly #draft = new Draft();
  readonly #view = new RecordView();
  readonly #entry: EntryBatch = {
    physicalOffset: new Float64Array(1),
    size: new Int32Array(1),
    tagHash: new Int32Array(1),
  };
  /** Copies on their way to the disk, in order of their position. */
  readonly #waiting: Array<{ position: number; shard: ShardProgress; offset: number }> = [];

  constructor(host: DeadLetterHost) {
    this.#host = host;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  bury(shard: ShardProgress, offset: number, reason: DeathReason, now: number): void {
    const { node } = shard.group;
    this.#host.noteDeath(shard, reason);
    if (!node.settings.hasDeadLetters || !this.#compose(shard, offset, reason, now)) {
      node.counters.dropped++;
      shard.settle(offset, 1);
      return;
    }
    node.counters.deadLettered++;
    const position = this.#host.publishDead(node, this.#draft);
    if (position === 0) {
      shard.settle(offset, 1);
      return;
    }
    shard.state.park(offset, 1);
    this.#waiting.push({ position, shard, offset });
  }

  /** Copies up to `durable` are safe: their originals are done. */
  onDurable(durable: number): void {
    let done = 0;
    while (done < this.#waiting.length && this.#waiting[done]!.position <= durable) {
      const { shard, offset } = this.#waiting[done]!;
      shard.settle(offset, 1);
      done++;
    }
    if (done > 0) this.#waiting.splice(0, done);
  }

  /** Fills the draft from the record; false when it cannot be read. */
  #compose(shard: ShardProgress, offset: number, reason: DeathReason, now: number): boolean {
    const { store } = this.#host;
    if (store.read(shard.queue, offset, 1, this.#entry) !== 1) return false;
    const view = this.#view;
    if (!store.view(this.#entry.physicalOffset[0]!, this.#entry.size[0]!, view)) return false;
    const draft = this.#draft;
    let deaths = 1;
    redraft(view, draft, (name, value) => {
      if (name === DEATH.count) deaths = Number(value) + 1;
      return !name.startsWith("x-death-");
    });
    const { name } = shard.group.node.address;
    draft.properties += `${DEATH.queue}\x01${name}\x02${DEATH.reason}\x01${reason}\x02${DEATH.time}\x01${now}\x02${DEATH.count}\x01${deaths}\x02`;
    return true;
  }
}
