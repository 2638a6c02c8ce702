/**
 * The one run object that the dispatcher fills and hands to a sink (facade.ts DeliveryRun). Its messages are ascending
 * offsets of one shard, of which each need not follow the one before: what is settled or not wanted is left out.
 */
import { RecordView } from "../model/record-view.ts";
import type { EntryBatch, MessageStore, StoreQueue } from "../store/message-store.ts";
import type { Consumer } from "./consumer.ts";
import type { DeliveryRun } from "./facade.ts";
import type { ShardProgress } from "./shard-progress.ts";

/** Most messages in one run: enough to make the cost per run vanish, few enough to keep turns short and sharing fair. */
export const RUN_MAX = 256;
/** Most bytes of records in one run (one record may be larger). */
export const RUN_MAX_BYTES = 256 * 1024;
/** What lies between messages is read with them, up to so many times their size: what lies further apart is read apart. */
const READ_BETWEEN = 8;
/** Runs a shard may send in one turn before others get theirs. */
export const RUNS_PER_TURN = 16;

/** Where entries of queues come from: the store, or an index in memory. */
export type EntrySource = Pick<MessageStore, "read" | "readEach">;

export class Run implements DeliveryRun, EntryBatch {
  count = 0;
  firstDelivery = 0;
  /** In the queue. Filled by who looks for messages, before `load`. */
  readonly offsets = new Float64Array(RUN_MAX);
  readonly physicalOffset = new Float64Array(RUN_MAX);
  readonly size = new Int32Array(RUN_MAX);
  readonly tagHash = new Int32Array(RUN_MAX);
  shard: ShardProgress | null = null;
  /** No offset of the run has attempts or was released: the two look-ups below are constant. */
  isPlain = true;
  readonly #view = new RecordView();
  readonly #store: MessageStore;

  constructor(store: MessageStore) {
    this.#store = store;
  }

  /** Reads the entries of the first `count` offsets; returns how many there were. */
  load(entries: EntrySource, queue: StoreQueue, count: number): number {
    const { offsets } = this;
    const first = offsets[0]!;
    if (offsets[count - 1]! - first === count - 1) return entries.read(queue, first, count, this);
    return entries.readEach(queue, offsets, count, this);
  }

  /** Makes the first `count` entries the consumer's next deliveries; they are taken off its credit. */
  assign(shard: ShardProgress, consumer: Consumer, count: number): void {
    this.count = count;
    this.shard = shard;
    this.isPlain = shard.attempts.size === 0;
    this.firstDelivery = consumer.deliveredCount;
    consumer.deliveredCount += count;
    consumer.credit -= count;
  }

  /** Drops the first entries, so that `left` after them come first. */
  shift(by: number, left: number): void {
    this.offsets.copyWithin(0, by, by + left);
    this.physicalOffset.copyWithin(0, by, by + left);
    this.size.copyWithin(0, by, by + left);
    this.tagHash.copyWithin(0, by, by + left);
  }

  /** Takes an entry to where one before it was left out. */
  keep(to: number, from: number): void {
    if (to === from) return;
    this.offsets[to] = this.offsets[from]!;
    this.physicalOffset[to] = this.physicalOffset[from]!;
    this.size[to] = this.size[from]!;
    this.tagHash[to] = this.tagHash[from]!;
  }

  /** Bytes that were read for the first `count` messages, about. */
  bytesRead(count: number): number {
    const { physicalOffset, size } = this;
    const bytes = count * size[0]!;
    if (physicalOffset[0]! >= this.#store.atHandFrom) return bytes;
    const span = physicalOffset[count - 1]! + size[count - 1]! - physicalOffset[0]!;
    return Math.min(Math.max(span, bytes), bytes * READ_BETWEEN);
  }

  deliveryCount(index: number): number {
    if (this.isPlain) return 0;
    return this.shard!.attempts.get(this.offsets[index]!)?.failed ?? 0;
  }

  isRedelivered(index: number): boolean {
    if (this.isPlain) return false;
    return this.shard!.attempts.has(this.offsets[index]!);
  }

  queueOffset(index: number): number {
    return this.offsets[index]!;
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
