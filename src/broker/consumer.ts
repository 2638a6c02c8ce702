/**
 * One consumer: its credit, its unsettled deliveries, and what settling them means for the group. The protocol adapter
 * holds it through the facade; the dispatcher gives it runs.
 */
import type { Address } from "../model/address.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import type { Consumer as ConsumerFacade, ConsumerInfo, DeliverySink, Outcome } from "./facade.ts";
import { OUTCOME } from "./facade.ts";
import type { MessageFilter } from "./filter.ts";
import { retryDelayMs } from "./policy.ts";
import { runIn, type ShardProgress } from "./shard-progress.ts";
import type { Tally } from "./tally.ts";
import { STAGED, UnsettledRing } from "./unsettled-ring.ts";

export interface ConsumerHost {
  readonly tally: Tally;
  /** A delivery is dead: dead-letter or drop it, then settle. */
  bury(shard: ShardProgress, offset: number, reason: "rejected" | "delivery_limit"): void;
  /** Position for `settledTo` of what was settled in this turn. */
  settlePosition(): number;
  /** A failed delivery waits before it is ready again. */
  retryLater(shard: ShardProgress, offset: number, delayMs: number): void;
  scheduleDrain(consumer: Consumer): void;
  scheduleBrowse(consumer: Consumer): void;
  consumerClosed(consumer: Consumer): void;
}

export interface ConsumerOptions {
  readonly id: number;
  readonly address: Address;
  readonly info: ConsumerInfo;
  readonly group: ConsumerGroup;
  readonly sink: DeliverySink;
  readonly isPreSettled: boolean;
  readonly isBrowser: boolean;
  readonly isExclusive: boolean;
  readonly priority: number;
  readonly filter: MessageFilter | null;
  readonly connectionId: number;
  readonly onLost: Outcome;
}

export class Consumer implements ConsumerFacade {
  readonly id: number;
  readonly address: Address;
  readonly info: ConsumerInfo;
  readonly group: ConsumerGroup;
  sink: DeliverySink;
  readonly isPreSettled: boolean;
  readonly isBrowser: boolean;
  readonly isExclusive: boolean;
  readonly priority: number;
  /** A filter of its own on a shared queue (selector); it then skips what it does not want, leaving it to others. */
  readonly filter: MessageFilter | null;
  readonly connectionId: number;
  readonly onLost: Outcome;
  credit = 0;
  isDraining = false;
  isClosed = false;
  readonly unsettled = new UnsettledRing();
  /** Own search position per shard, for consumers with a filter and browsers. */
  readonly scan: number[] = [];
  /** Browsers: where the snapshot ends, per shard. */
  readonly scanEnd: number[] = [];
  /** By shard: the first message it wants and was passed over with, because another has its ordering key. */
  passedOver: Array<number | undefined> | null = null;
  /** Offsets refused by FAIL_ELSEWHERE: not to this consumer again. */
  refused: Set<number> | null = null;
  deliveredCount = 0;
  /** Already in this turn's list of drains, of browsers. */
  isDrainScheduled = false;
  isBrowseScheduled = false;
  readonly #host: ConsumerHost;

  constructor(options: ConsumerOptions, host: ConsumerHost) {
    this.id = options.id;
    this.address = options.address;
    this.info = options.info;
    this.group = options.group;
    this.sink = options.sink;
    this.isPreSettled = options.isPreSettled;
    this.isBrowser = options.isBrowser;
    this.isExclusive = options.isExclusive;
    this.priority = options.priority;
    this.filter = options.filter;
    this.connectionId = options.connectionId;
    this.onLost = options.onLost;
    this.#host = host;
  }

  get unsettledCount(): number {
    return this.unsettled.count;
  }
  get available(): number {
    return this.isClosed ? 0 : this.group.readyCount;
  }
  /** Can it take a run now? */
  get isReady(): boolean {
    return this.credit > 0 && this.sink.isReady();
  }

  setCredit(credit: number): void {
    if (this.isClosed) return;
    this.credit = credit;
    if (credit > 0) this.#scheduleWork();
  }

  drain(): void {
    if (this.isClosed) return;
    this.isDraining = true;
    this.#scheduleWork();
    this.#host.scheduleDrain(this);
  }

  resume(): void {
    if (this.isClosed) return;
    if (this.credit > 0) this.#scheduleWork();
    if (this.isDraining) this.#host.scheduleDrain(this);
  }

  #scheduleWork(): void {
    if (this.isBrowser) this.#host.scheduleBrowse(this);
    else this.group.scheduleAll();
  }

  settle(first: number, last: number, outcome: Outcome): number {
    const ring = this.unsettled;
    if (!this.#settleWhere(first, last, outcome, 0)) return 0;
    ring.advance();
    return outcome === OUTCOME.ACCEPT || outcome === OUTCOME.REJECT
      ? this.#host.settlePosition()
      : 0;
  }

  /**
   * A transaction takes these deliveries: they stay acquired and nothing else settles them. Calls back with each range
   * taken; what is settled, or another transaction has, is left out.
   */
  stage(first: number, last: number, taken: (first: number, last: number) => void): void {
    const { shards, mask, tail, head } = this.unsettled;
    const end = Math.min(last + 1, head);
    for (let number = Math.max(first, tail); number < end; number++) {
      const from = number;
      while (number < end && isFree(shards[number & mask]!)) shards[number++ & mask]! |= STAGED;
      if (number > from) taken(from, number - 1);
    }
  }

  /** Back to plain unsettled. */
  unstage(first: number, last: number): void {
    const { shards, mask, tail, head } = this.unsettled;
    for (let number = Math.max(first, tail); number <= last && number < head; number++) {
      shards[number & mask]! &= ~STAGED;
    }
  }

  settleStaged(first: number, last: number, outcome: Outcome): void {
    this.#settleWhere(first, last, outcome, STAGED);
    this.unsettled.advance();
  }

  forEachStagedRun(
    first: number,
    last: number,
    callback: (shard: ShardProgress, from: number, count: number) => void,
  ): void {
    const { offsets, shards, mask, tail, head } = this.unsettled;
    let number = Math.max(first, tail);
    const end = Math.min(last + 1, head);
    while (number < end) {
      const slot = number & mask;
      const shard = shards[slot]!;
      const from = offsets[slot]!;
      let count = 1;
      for (number++; number < end; number++, count++) {
        const next = number & mask;
        if (shards[next] !== shard || offsets[next] !== from + count) break;
      }
      if ((shard & STAGED) !== 0) {
        callback(this.group.shards[(shard & ~STAGED) - 1]!, from, count);
      }
    }
  }

  /** Settles those of the range that are staged (`mark` STAGED) or plain (`mark` 0). */
  #settleWhere(first: number, last: number, outcome: Outcome, mark: number): boolean {
    const ring = this.unsettled;
    const { offsets, shards, mask } = ring;
    let number = Math.max(first, ring.tail);
    const end = Math.min(last + 1, ring.head);
    let settledSome = false;
    while (number < end) {
      const slot = number & mask;
      const shard = shards[slot]!;
      if (shard === 0 || (shard & STAGED) !== mark) {
        number++;
        continue;
      }
      // The longest row of neighbours: same shard, ascending offsets.
      let last = offsets[slot]!;
      shards[slot] = 0;
      const stop = Math.min(mask + 1, slot + end - number);
      let next = slot + 1;
      for (; next < stop && shards[next] === shard && offsets[next]! > last; next++) {
        last = offsets[next]!;
        shards[next] = 0;
      }
      const count = next - slot;
      number += count;
      ring.count -= count;
      settledSome = true;
      this.#applyRow(this.group.shard((shard & ~STAGED) - 1), offsets, slot, count, outcome);
    }
    return settledSome;
  }

  #applyRow(
    shard: ShardProgress,
    offsets: Float64Array,
    at: number,
    count: number,
    outcome: Outcome,
  ): void {
    const end = at + count;
    if (outcome === OUTCOME.ACCEPT && offsets[end - 1]! - offsets[at]! >= count) {
      shard.settleRow(offsets, at, count);
      this.#countAccepted(count);
      this.#releaseShard(shard);
      return;
    }
    while (at < end) {
      const from = offsets[at]!;
      const length = runIn(offsets, at, end);
      this.#apply(shard, from, length, outcome);
      at += length;
    }
  }

  close(outcome: Outcome): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.credit = 0;
    this.group.remove(this);
    if (this.unsettled.count > 0)
      this.settle(this.unsettled.tail, this.unsettled.head - 1, outcome);
    this.#host.consumerClosed(this);
  }

  /** The connection vanished: deliveries take `onLost` and count as lost. */
  lose(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.credit = 0;
    this.group.remove(this);
    const ring = this.unsettled;
    for (let number = ring.tail; number < ring.head; number++) {
      const slot = number & ring.mask;
      const index = ring.shards[slot]!;
      // What a transaction holds stays with it until it ends.
      if (index === 0 || (index & STAGED) !== 0) continue;
      ring.shards[slot] = 0;
      ring.count--;
      const shard = this.group.shards[index - 1]!;
      const offset = ring.offsets[slot]!;
      if (this.onLost === OUTCOME.ACCEPT) shard.settle(offset, 1);
      else if (this.onLost === OUTCOME.REJECT) this.#host.bury(shard, offset, "rejected");
      else {
        const attempts = shard.countAttempt(offset, this.onLost !== OUTCOME.RELEASE);
        const { maxDeliveries, maxLosses } = this.group.node.settings;
        const isDead =
          (maxDeliveries >= 0 && attempts.failed >= maxDeliveries) ||
          (maxLosses >= 0 && attempts.lost >= maxLosses);
        if (isDead) this.#host.bury(shard, offset, "delivery_limit");
        else shard.release(offset, 1);
      }
    }
    this.#host.consumerClosed(this);
  }

  #countAccepted(count: number): void {
    this.group.node.counters.accepted += count;
    this.#host.tally.accepted += count;
  }

  #apply(shard: ShardProgress, from: number, count: number, outcome: Outcome): void {
    switch (outcome) {
      case OUTCOME.ACCEPT:
        shard.settle(from, count);
        this.#countAccepted(count);
        break;
      case OUTCOME.RELEASE:
        // Seen by somebody, but no failure: the redelivered mark only.
        for (let i = 0; i < count; i++) touchAttempts(shard, from + i);
        shard.release(from, count);
        break;
      case OUTCOME.FAIL:
      case OUTCOME.FAIL_ELSEWHERE:
        for (let i = 0; i < count; i++) this.#fail(shard, from + i, outcome);
        break;
      case OUTCOME.REJECT:
        for (let i = 0; i < count; i++) this.#host.bury(shard, from + i, "rejected");
        break;
      default: {
        const never: never = outcome;
        throw new Error(`unknown outcome ${String(never)}`);
      }
    }
    this.#releaseShard(shard);
  }

  /** An ordered shard is free for others once nothing of it is outstanding. */
  #releaseShard(shard: ShardProgress): void {
    if (shard.holder !== this.id || this.unsettled.count > 0) return;
    shard.holder = -1;
    this.group.schedule(shard);
  }

  #fail(shard: ShardProgress, offset: number, outcome: Outcome): void {
    if (outcome === OUTCOME.FAIL_ELSEWHERE) {
      this.refused ??= new Set();
      this.group.isSelective = true;
      this.refused.add(shard.index * 2 ** 48 + offset);
      touchAttempts(shard, offset);
      shard.release(offset, 1);
      return;
    }
    const attempts = shard.countAttempt(offset, true);
    const { maxDeliveries, retry } = this.group.node.settings;
    if (maxDeliveries >= 0 && attempts.failed >= maxDeliveries) {
      this.#host.bury(shard, offset, "delivery_limit");
      return;
    }
    const delayMs = retryDelayMs(retry, attempts.failed);
    if (delayMs > 0) this.#host.retryLater(shard, offset, delayMs);
    else shard.release(offset, 1);
  }

  /** Was this offset refused by this consumer? */
  hasRefused(shard: ShardProgress, offset: number): boolean {
    return this.refused?.has(shard.index * 2 ** 48 + offset) ?? false;
  }
}

/** Neither settled nor staged. */
const isFree = (slot: number): boolean => slot !== 0 && (slot & STAGED) === 0;

function touchAttempts(shard: ShardProgress, offset: number): void {
  if (!shard.attempts.has(offset)) shard.noteAttempts(offset, { failed: 0, lost: 0 });
}
