/**
 * What leads a run of messages that was read: how many of them are sound, alive, and not too many bytes; and which of them the
 * group, or one consumer, wants: those are put together at the run's beginning. What is not to be delivered is settled,
 * buried or set aside on the way.
 */
import { ENCODING, FLAG } from "../model/record-view.ts";
import type { MessageStore } from "../store/message-store.ts";
import type { Turn } from "../util/turn.ts";
import { STATE } from "./ack-state.ts";
import type { Consumer } from "./consumer.ts";
import { RUN_MAX, RUN_MAX_BYTES, type Run } from "./delivery-run.ts";
import { type MessageFilter, VERDICT } from "./filter.ts";
import type { ShardProgress } from "./shard-progress.ts";

export interface PrefixHost {
  /** A record cannot be read any more: count it, say so, settle it. */
  damaged(shard: ShardProgress, offset: number, physicalOffset: number): void;
  /** The disk refuses to give a record: it is set aside for a while. */
  unreadable(shard: ShardProgress, offset: number): void;
  /** Its time is over: dead-letter or drop it, then settle. */
  expired(shard: ShardProgress, offset: number): void;
}

export class RunPrefix {
  readonly #store: MessageStore;
  readonly #turn: Turn;
  readonly #host: PrefixHost;
  readonly #run: Run;
  /** Offsets that the group does not want. */
  readonly #unwanted = new Float64Array(RUN_MAX);
  /** How many entries `wanted` or `own` has looked at: those behind them are where they were. */
  looked = 0;
  /** The shard that is searched may hold ordering keys. */
  isKeyed = false;

  constructor(store: MessageStore, turn: Turn, host: PrefixHost, run: Run) {
    this.#store = store;
    this.#turn = turn;
    this.#host = host;
    this.#run = run;
  }

  /** Leading entries without an ordering key; 0 when the first has one. */
  unkeyed(count: number): number {
    let length = 0;
    while (length < count) {
      const record = this.#run.record(length);
      if ((record.flag & FLAG.HAS_KEY) !== 0 && record.encoding !== ENCODING.FOREIGN) break;
      length++;
    }
    return length;
  }

  /** How many entries are alive and wanted by the group: they come first now. What is not is settled away. */
  wanted(shard: ShardProgress, count: number): number {
    const { group } = shard;
    this.looked = count;
    if (group.node.mayExpire) {
      const fresh = this.#freshPrefix(count);
      this.looked = Math.abs(fresh);
      if (fresh < 0) {
        const { offsets } = this.#run;
        for (let i = 0; i < -fresh; i++) this.#host.expired(shard, offsets[i]!);
        return 0;
      }
      count = fresh;
    }
    const { filter } = group.settings;
    return filter === null ? count : this.#matching(filter, shard, count);
  }

  #matching(filter: MessageFilter, shard: ShardProgress, count: number): number {
    const run = this.#run;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      if (this.#matches(filter, i)) run.keep(kept++, i);
      else this.#unwanted[i - kept] = run.offsets[i]!;
    }
    if (kept < count) shard.settleRow(this.#unwanted, 0, count - kept);
    return kept;
  }

  /** How many entries this consumer wants, at most `most`: they come first now. */
  own(shard: ShardProgress, consumer: Consumer, count: number, most: number): number {
    let kept = 0;
    let i = 0;
    for (; i < count && kept < most; i++) {
      if (this.#isOwn(shard, consumer, i)) this.#run.keep(kept++, i);
    }
    this.looked = i;
    return kept;
  }

  #isOwn(shard: ShardProgress, consumer: Consumer, index: number): boolean {
    if (consumer.refused !== null && consumer.hasRefused(shard, this.#run.offsets[index]!)) {
      return false;
    }
    if (consumer.filter !== null && !this.#matches(consumer.filter, index)) return false;
    return !this.isKeyed || this.#isKeyFree(shard, consumer, index);
  }

  /** Nobody else has the ordering key of this message, or it has none. */
  #isKeyFree(shard: ShardProgress, consumer: Consumer, index: number): boolean {
    const key = this.#keyOf(index);
    const owner = key === "" ? undefined : shard.group.keys?.ownerOf(key);
    if (owner === undefined || owner === consumer.id) return true;
    consumer.passedOver ??= [];
    const first = consumer.passedOver[shard.index] ?? Number.POSITIVE_INFINITY;
    consumer.passedOver[shard.index] = Math.min(first, this.#run.offsets[index]!);
    return false;
  }

  takeKeys(shard: ShardProgress, consumer: Consumer, count: number): void {
    for (let i = 0; i < count; i++) {
      const key = this.#keyOf(i);
      if (key !== "") shard.group.takeKey(key, consumer, shard, this.#run.offsets[i]!);
    }
  }

  #keyOf(index: number): string {
    const record = this.#run.record(index);
    const isKeyed = (record.flag & FLAG.HAS_KEY) !== 0 && record.encoding !== ENCODING.FOREIGN;
    return isKeyed ? (record.property("__SHARDINGKEY") ?? "") : "";
  }

  #matches(filter: MessageFilter, index: number): boolean {
    const verdict = filter.byHash(this.#run.tagHash[index]!);
    if (verdict !== VERDICT.MAYBE) return verdict === VERDICT.YES;
    return filter.byRecord(this.#run.record(index));
  }

  /** Leading entries still alive (positive) or expired (negative). */
  #freshPrefix(count: number): number {
    const { now } = this.#turn;
    const isExpired = (index: number): boolean => {
      const { expiresAt } = this.#run.record(index);
      return expiresAt !== 0 && expiresAt <= now;
    };
    const first = isExpired(0);
    let length = 1;
    while (length < count && isExpired(length) === first) length++;
    return first ? -length : length;
  }

  /**
   * Cold records are checked before anything is promised: damaged ones are settled away, unreadable ones set aside,
   * missing ones cut the run.
   */
  sound(shard: ShardProgress, count: number): number {
    const run = this.#run;
    const at = run.offsets[0]!;
    const hotFrom = this.#store.atHandFrom;
    for (let i = 0; i < count; i++) {
      const physicalOffset = run.physicalOffset[i]!;
      // A moved record lies behind younger ones: each is looked at.
      if (physicalOffset >= hotFrom || run.isAtHand(i)) continue;
      // What somebody holds is his.
      if (i > 0 || !isReady(shard, at)) return i;
      if (this.#store.isUnreadable(physicalOffset)) this.#host.unreadable(shard, at);
      else if (this.#store.isDamaged(physicalOffset)) this.#host.damaged(shard, at, physicalOffset);
      return 0;
    }
    return count;
  }

  withinBytes(count: number): number {
    const sizes = this.#run.size;
    let bytes = sizes[0]!;
    let fit = 1;
    while (fit < count) {
      bytes += sizes[fit]!;
      if (bytes > RUN_MAX_BYTES) break;
      fit++;
    }
    return fit;
  }
}

export function isReady({ state }: ShardProgress, offset: number): boolean {
  const one = state.stateOf(offset);
  return one === STATE.READY || one === STATE.READY_AGAIN;
}

/**
 * May a message at `offset` or behind it have an ordering key? Where the search for what is ready has passed the last of
 * them, the plain path is taken, however long one of before stays with its consumer.
 */
export const mayHaveKeysFrom = ({ group, index }: ShardProgress, offset: number): boolean =>
  group.node.mayHaveKeys && offset < (group.node.keyedTo[index] ?? 0);
