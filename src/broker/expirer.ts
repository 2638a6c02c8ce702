/**
 * Takes expired messages out wherever they lie in a queue: reads the pages that are due (expiry-index.ts), a bounded
 * number per sweep, and buries what nobody holds just now. What a consumer holds is looked at again when it comes back.
 */
import { entryBatch } from "../model/entry-batch.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import { STATE } from "./ack-state.ts";
import type { Node } from "./node.ts";
import type { ShardProgress } from "./shard-progress.ts";

const PAGES_PER_SWEEP = 16;
/**
 * Looking at a page of which nobody knows anything counts as so many. After a crash there are a few, of what was published
 * last. A whole deep queue of them (its journal is lost, or from before there were such notes) is not urgent, since what is
 * over time is not delivered either way: it is read through as fast as this lets it, beside the traffic.
 */
const UNKNOWN_PAGE = 2;
const MANY_UNKNOWN = 128;
const UNKNOWN_PAGE_OF_MANY = 8;
/** Records looked at in one piece. */
const BATCH = 32;
/** A page with held messages that are over time is looked at again after this long. */
const HELD_AGAIN_MS = 5000;
/** One in which something was buried as well: until that is durable, a crash can bring it back. */
const BURIED_AGAIN_MS = 30_000;

export class Expirer {
  readonly #store: MessageStore;
  readonly #visibleEnd: (queue: StoreQueue) => number;
  readonly #bury: (shard: ShardProgress, offset: number) => void;
  readonly #looked: (node: Node, queue: StoreQueue, from: number) => void;
  readonly #view = new RecordView();
  readonly #entries = entryBatch(BATCH);

  /**
   * `visibleEnd`: what lies behind it may still be taken by a crash, and nothing may be made of it before. `looked`: it is
   * known now what is in a page of which it was not.
   */
  constructor(
    store: MessageStore,
    visibleEnd: (queue: StoreQueue) => number,
    bury: (shard: ShardProgress, offset: number) => void,
    looked: (node: Node, queue: StoreQueue, from: number) => void,
  ) {
    this.#store = store;
    this.#visibleEnd = visibleEnd;
    this.#bury = bury;
    this.#looked = looked;
  }

  /** A sweep in pieces of a few records each: between two of them anything may happen to the node. */
  *sweep(node: Node, now: number): Generator<void> {
    const index = node.expiry!;
    const unknownPage = index.unknownPages > MANY_UNKNOWN ? UNKNOWN_PAGE_OF_MANY : UNKNOWN_PAGE;
    for (let pages = 0; pages < PAGES_PER_SWEEP; ) {
      const due = index.takeDue(now);
      if (due === undefined) break;
      pages += due.isUnknown ? unknownPage : 1;
      const { queue } = due;
      const to = Math.min(due.to, queue.maxOffset);
      let earliest = Number.POSITIVE_INFINITY;
      for (let at = due.from; at < to; ) {
        if (node.isDeleted) return;
        const shards = shardsOf(node, queue);
        if (shards.length === 0) break;
        at = Math.max(at, Math.min(...shards.map((shard) => shard.state.low)));
        const end = Math.min(to, at + BATCH, this.#visibleEnd(queue));
        if (end <= at) {
          if (at < to) earliest = Math.min(earliest, now + HELD_AGAIN_MS);
          break;
        }
        earliest = Math.min(earliest, this.#sweepRange(shards, at, end, now));
        at = end;
        yield;
      }
      if (earliest !== Number.POSITIVE_INFINITY) index.note(queue, due.from, earliest);
      index.looked();
      if (due.isUnknown) this.#looked(node, queue, due.from);
    }
    if (!index.isEmpty || node.expiry !== index) return;
    node.expiry = null;
    // Nothing that can expire is owed to anybody. Who comes later to a history may find some.
    if (!node.hasHistory) node.mayExpire = false;
  }

  /** Buries what is over; returns the earliest expiry of what stays. */
  #sweepRange(shards: readonly ShardProgress[], from: number, to: number, now: number): number {
    let earliest = Number.POSITIVE_INFINITY;
    const { queue } = shards[0]!;
    const { physicalOffset, size } = this.#entries;
    for (let at = from; at < to; ) {
      const count = this.#store.read(queue, at, to - at, this.#entries);
      if (count === 0) return Math.min(earliest, now + HELD_AGAIN_MS);
      for (let i = 0; i < count; i++) {
        if (!this.#store.view(physicalOffset[i]!, size[i]!, this.#view)) {
          // What the disk does not give just now may have an expiry; what is damaged is nobody's any more.
          if (!isLost(this.#store, physicalOffset[i]!)) {
            earliest = Math.min(earliest, now + HELD_AGAIN_MS);
          }
          continue;
        }
        const { expiresAt } = this.#view;
        if (expiresAt === 0) continue;
        if (expiresAt > now) earliest = Math.min(earliest, expiresAt);
        else earliest = Math.min(earliest, now + this.#expire(shards, at + i));
      }
      at += count;
    }
    return earliest;
  }

  /** Returns how long from now it is to be looked at again. */
  #expire(shards: readonly ShardProgress[], offset: number): number {
    let againMs = Number.POSITIVE_INFINITY;
    for (const shard of shards) {
      const state = shard.state.stateOf(offset);
      if (state === STATE.SETTLED) continue;
      if (state === STATE.READY || state === STATE.READY_AGAIN) {
        this.#bury(shard, offset);
        againMs = Math.min(againMs, BURIED_AGAIN_MS);
      } else againMs = Math.min(againMs, HELD_AGAIN_MS);
    }
    return againMs;
  }
}

const isLost = (store: MessageStore, physicalOffset: number): boolean =>
  store.isDamaged(physicalOffset) && !store.isUnreadable(physicalOffset);

/** Where the node's groups stand in this queue; nothing when it is not the node's own any more. */
function shardsOf(node: Node, queue: StoreQueue): ShardProgress[] {
  const at = node.shards.indexOf(queue);
  return at < 0 ? [] : [...node.groups.values()].map((group) => group.shards[at]!);
}
