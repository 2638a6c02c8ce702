/**
 * One group's progress over one shard (ConsumeQueue): what is ready for it, acquired, settled, and how often it failed.
 * The consumers and their credit live in the group; this knows offsets only.
 *
 * `next` is where the search for ready offsets begins. It runs ahead with every acquisition and falls back to the lowest
 * offset that was released, so a redelivery is found again in its original place.
 */
import type { StoreQueue } from "../store/message-store.ts";
import { AckState } from "./ack-state.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { priorityOfQueueId } from "./node.ts";

/** How often an offset failed or was lost; kept only for offsets that did. */
export interface Attempts {
  failed: number;
  lost: number;
}

/** Most shards settle in order: one list, always empty, for all of them. */
const NONE_PENDING: number[] = [];
/** Most shards never see a failure. */
const NO_ATTEMPTS: ReadonlyMap<number, Attempts> = new Map();

export class ShardProgress {
  /** Already in the dispatch list of this turn. */
  isScheduled = false;
  isDirty = false;
  readonly group: ConsumerGroup;
  readonly queue: StoreQueue;
  readonly state: AckState;
  next: number;
  /** Number of this (group, shard) in the owner's journal. */
  journalId: number;
  /** Index within the group. */
  readonly index: number;
  /** By offset; change it through `noteAttempts`. */
  attempts: ReadonlyMap<number, Attempts> = NO_ATTEMPTS;
  /** Runs settled above `low` since the last journal write: from, count, from, count … */
  pendingRuns = NONE_PENDING;
  /** Offsets whose attempts changed since the last journal write. */
  pendingAttempts = NONE_PENDING;
  journaledLow: number;
  /** Of last-value nodes: offsets that are with somebody while a newer value of their key is here. */
  outdated: Set<number> | null = null;
  /** Consumer that holds an ordered shard while it has deliveries outstanding, by consumer id; -1 for none. */
  holder = -1;

  constructor(
    journalId: number,
    group: ConsumerGroup,
    queue: StoreQueue,
    index: number,
    low: number,
    state?: AckState,
  ) {
    this.journalId = journalId;
    this.group = group;
    this.queue = queue;
    this.index = index;
    this.state = state ?? new AckState(low);
    if (state !== undefined && low > state.low) state.settleBelow(low);
    this.next = this.state.low;
    this.journaledLow = this.state.low;
  }

  /** Messages this group still owes to somebody, acquired ones included. */
  get backlog(): number {
    return this.state.backlog(this.queue.maxOffset);
  }

  /** Priority of the messages here (queues). */
  get level(): number {
    return priorityOfQueueId(this.queue.queueId);
  }

  get readyCount(): number {
    return this.backlog - this.state.heldCount;
  }

  /** Something is delivered, waits, or is not in the journal yet. */
  isInUse(): boolean {
    return (
      this.isDirty ||
      this.isScheduled ||
      this.holder >= 0 ||
      this.state.heldCount > 0 ||
      this.pendingRuns.length > 0 ||
      this.pendingAttempts.length > 0
    );
  }

  settle(from: number, count: number): void {
    const state = this.state;
    const end = from + count;
    if (end <= state.low) return;
    const { onSettled } = this.group.node;
    if (onSettled !== null) onSettled(this, from, count);
    if (this.attempts.size > 0) {
      const attempts = this.attempts as Map<number, Attempts>;
      for (let offset = from; offset < end; offset++) attempts.delete(offset);
    }
    if (state.settle(from, count)) this.group.node.touch();
    else if (this.group.isDurable) this.#addRun(from, count);
    if (this.outdated !== null) this.#forgetOutdated(from, end);
    if (this.next < state.low) this.next = state.low;
    this.group.releaseKeys(this, from, count);
    this.group.markDirty(this);
  }

  /** Settles `count` ascending offsets, with gaps between them, from `offsets[at]` on. */
  settleRow(offsets: Float64Array, at: number, count: number): void {
    const { state, group } = this;
    // What was purged meanwhile.
    for (; count > 0 && offsets[at]! < state.low; at++) count--;
    if (count === 0) return;
    const end = at + count;
    const isRun = offsets[end - 1]! - offsets[at]! === count - 1;
    const hasKeys = group.keys !== null && !group.keys.isIdle;
    if (isRun || hasKeys || group.node.onSettled !== null || this.outdated !== null) {
      this.#settleRuns(offsets, at, end);
      return;
    }
    if (this.attempts.size > 0) {
      const attempts = this.attempts as Map<number, Attempts>;
      for (let i = at; i < end; i++) attempts.delete(offsets[i]!);
    }
    if (state.settleRow(offsets, at, count)) group.node.touch();
    if (group.isDurable && offsets[end - 1]! >= state.low) this.#addRow(offsets, at, end);
    if (this.next < state.low) this.next = state.low;
    group.markDirty(this);
  }

  /** Somebody looks at single messages. */
  #settleRuns(offsets: Float64Array, at: number, end: number): void {
    while (at < end) {
      const from = offsets[at]!;
      const count = runIn(offsets, at, end);
      this.settle(from, count);
      at += count;
    }
  }

  release(from: number, count: number): void {
    if (this.outdated !== null) {
      this.#releaseNewest(this.outdated, from, count);
      return;
    }
    this.#release(from, count);
  }

  /** What a newer value has replaced meanwhile does not come back. */
  #releaseNewest(outdated: Set<number>, from: number, count: number): void {
    for (let offset = from; offset < from + count; offset++) {
      if (outdated.has(offset)) this.group.outdated(this, offset);
      else this.#release(offset, 1);
    }
  }

  noteOutdated(offset: number): void {
    this.outdated ??= new Set();
    this.outdated.add(offset);
  }

  #forgetOutdated(from: number, end: number): void {
    const outdated = this.outdated!;
    for (const offset of outdated) if (offset >= from && offset < end) outdated.delete(offset);
    if (outdated.size === 0) this.outdated = null;
  }

  #release(from: number, count: number): void {
    this.state.release(from, count);
    if (from < this.next) this.next = from;
    this.group.releaseKeys(this, from, count);
    this.group.rewind(this, from);
    this.group.schedule(this);
  }

  noteAttempts(offset: number, attempts: Attempts): void {
    if (this.attempts === NO_ATTEMPTS) this.attempts = new Map();
    (this.attempts as Map<number, Attempts>).set(offset, attempts);
  }

  /** Counts a failed or lost attempt; returns the record of attempts. */
  countAttempt(offset: number, isFailure: boolean): Attempts {
    let attempts = this.attempts.get(offset);
    if (attempts === undefined) {
      attempts = { failed: 0, lost: 0 };
      this.noteAttempts(offset, attempts);
    }
    if (isFailure) attempts.failed++;
    else attempts.lost++;
    if (this.group.isDurable) {
      if (this.pendingAttempts === NONE_PENDING) this.pendingAttempts = [];
      this.pendingAttempts.push(offset);
      this.group.markDirty(this);
    }
    return attempts;
  }

  /** A row whose gaps are settled is one run. */
  #addRow(offsets: Float64Array, at: number, end: number): void {
    const { state } = this;
    while (offsets[at]! < state.low) at++;
    let from = offsets[at]!;
    let to = from + 1;
    for (let i = at + 1; i < end; i++) {
      const offset = offsets[i]!;
      if (offset > to && !state.isSettled(to, offset)) {
        this.#addRun(from, to - from);
        from = offset;
      }
      to = offset + 1;
    }
    this.#addRun(from, to - from);
  }

  #addRun(from: number, count: number): void {
    if (this.pendingRuns === NONE_PENDING) this.pendingRuns = [];
    const runs = this.pendingRuns;
    const last = runs.length - 2;
    if (last >= 0 && runs[last]! + runs[last + 1]! === from) runs[last + 1]! += count;
    else runs.push(from, count);
  }
}

/** How many of the offsets from `at` on, below `end`, follow each other without a gap. */
export function runIn(offsets: Float64Array, at: number, end: number): number {
  const from = offsets[at]!;
  if (offsets[end - 1]! - from === end - 1 - at) return end - at;
  let count = 1;
  while (at + count < end && offsets[at + count] === from + count) count++;
  return count;
}
