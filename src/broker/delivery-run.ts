/** The one run object that the dispatcher fills and hands to a sink (facade.ts DeliveryRun). */
import { RecordView } from "../model/record-view.ts";
import type { EntryBatch, MessageStore } from "../store/message-store.ts";
import type { Consumer } from "./consumer.ts";
import type { DeliveryRun } from "./facade.ts";
import type { ShardProgress } from "./shard-progress.ts";

/** Most messages in one run: enough to make the cost per run vanish, few enough to keep turns short and sharing fair. */
export const RUN_MAX = 256;
/** Most bytes of records in one run (one record may be larger). */
export const RUN_MAX_BYTES = 256 * 1024;
/** Runs a shard may send in one turn before others get theirs. */
export const RUNS_PER_TURN = 16;

/** Where entries of queues come from: the store, or an index in memory. */
export type EntrySource = Pick<MessageStore, "read">;

export class Run implements DeliveryRun, EntryBatch {
  count = 0;
  firstDelivery = 0;
  readonly physicalOffset = new Float64Array(RUN_MAX);
  readonly size = new Int32Array(RUN_MAX);
  readonly tagHash = new Int32Array(RUN_MAX);
  firstOffset = 0;
  shard: ShardProgress | null = null;
  /** No offset of the run has attempts or was released: the two look-ups below are constant. */
  isPlain = true;
  readonly #view = new RecordView();
  readonly #store: MessageStore;

  constructor(store: MessageStore) {
    this.#store = store;
  }

  /** Makes the first `count` entries, which begin at `at`, the consumer's next deliveries; they are taken off its credit. */
  assign(shard: ShardProgress, consumer: Consumer, at: number, count: number): void {
    this.count = count;
    this.firstOffset = at;
    this.shard = shard;
    this.isPlain = shard.attempts.size === 0;
    this.firstDelivery = consumer.deliveredCount;
    consumer.deliveredCount += count;
    consumer.credit -= count;
  }

  /** Drops the first entries, so that `left` after them come first. */
  shift(by: number, left: number): void {
    this.physicalOffset.copyWithin(0, by, by + left);
    this.size.copyWithin(0, by, by + left);
    this.tagHash.copyWithin(0, by, by + left);
  }

  deliveryCount(index: number): number {
    if (this.isPlain) return 0;
    return this.shard!.attempts.get(this.firstOffset + index)?.failed ?? 0;
  }

  isRedelivered(index: number): boolean {
    if (this.isPlain) return false;
    return this.shard!.attempts.has(this.firstOffset + index);
  }

  queueOffset(index: number): number {
    return this.firstOffset + index;
  }

  /** Can the record be read now? */
  isAtHand(index: number): boolean {
    return this.#store.view(this.physicalOffset[index]!, this.size[index]!, this.#view);
  }

  record(index: number): RecordView {
    this.#store.view(this.physicalOffset[index]!, this.size[index]!, this.#view);
    return this.#view;
  }
}
