/**
 * What the clock does about every second: expired messages out, what nobody needs any more given back to the store,
 * histories within their limits, the journal replaced by a snapshot. Only nodes of which something changed are looked
 * at, in slices of a few milliseconds, so that its cost does not depend on how many nodes there are.
 */
import { entryBatch } from "../model/entry-batch.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { Turn } from "../util/turn.ts";
import type { Expirer } from "./expirer.ts";
import { type Node, type NodeHost, owedCount, owedFrom } from "./node.ts";
import { VolatileIndex } from "./volatile-index.ts";

/** Longest time the event loop is kept from its other work. */
const SLICE_MS = 2;
/** While others have work for the event loop, what can wait for a pause takes this part of the time. */
const PATIENT_PART = 1 / 15;
/** The event loop comes back within this time when nobody else has anything to do. */
const PAUSE_MS = 0.2;
/** The clock is read after so many steps. */
const STEPS_PER_LOOK = 16;
/** A history is looked at for its age after at most so many rounds. */
const HISTORY_ROUNDS = 10;
const BATCH = 256;
/** While so much log is written or read, or by so much for each busy node, all of them are looked after once, a part in each turn. */
const PASS_BYTES = 16 << 20;
const NODE_BYTES = 8 << 10;
/** Nodes between two points at which others may have their turn. */
const NODES_PER_STEP = 4;
/** Busy nodes in one turn, whatever was written in it. */
const NODES_PER_TURN = 256;

export interface HousekeepingHost {
  readonly store: MessageStore;
  readonly turn: Turn;
  readonly expirer: Expirer;
  /** Tells the journal of expiries; true when there is more to tell later. */
  noteExpiries(node: Node): boolean;
  /** Are there messages in this queue that nobody may see yet? */
  isHeld(queue: StoreQueue): boolean;
  /** Something was published or settled here: what is too much for readers that end with their link is dropped. */
  limit(node: Node): void;
  /** Nodes that nobody uses are put to rest, one a step. */
  restWork(): Iterator<void>;
  /** The steps of a snapshot when one is due, or null. */
  snapshotWork(): Iterator<void> | null;
  /** Small things of others, once a round. */
  keepHouse(): void;
}

export class Housekeeping implements NodeHost {
  readonly #host: HousekeepingHost;
  /** Nodes of which something was settled or published since they were last trimmed. */
  #touched: Node[] = [];
  readonly #expiring = new Set<Node>();
  /** Topics that keep messages nobody owes. */
  readonly #histories = new Set<Node>();
  #historyRound = 0;
  /** Those that are looked after now, one after the other, and how many of them have been. */
  #pass: Node[] = [];
  #passed = 0;
  /** End of the log when this began. */
  #passEnd = 0;
  /** What the store had written and read then, and how much more it is to be at the last of them. */
  #passFrom = 0;
  #passBytes = PASS_BYTES;
  #work: Iterator<void> | null = null;
  /** What the round is at can wait: nodes going to rest, a snapshot. */
  #isPatient = false;
  /** End of the last slice or look, and how long others were at work since that slice. */
  #lookedAt = 0;
  #othersMs = 0;
  readonly #entries = entryBatch(BATCH);

  constructor(host: HousekeepingHost) {
    this.#host = host;
  }

  get touchedCount(): number {
    return this.#touched.length + this.#pass.length - this.#passed;
  }

  touched(node: Node): void {
    node.isTouched = true;
    this.#touched.push(node);
  }
  expiring(node: Node): void {
    this.#expiring.add(node);
  }
  isHeld(queue: StoreQueue): boolean {
    return this.#host.isHeld(queue);
  }
  watchHistory(node: Node): void {
    this.#histories.add(node);
  }
  forget(node: Node): void {
    this.#expiring.delete(node);
    this.#histories.delete(node);
  }

  /** Begins a round, unless the last one is still at work. */
  begin(): void {
    this.#host.turn.touch();
    if (this.#work === null) {
      this.#work = this.#round();
      this.#slice();
    }
  }

  /** A whole round now, for the end and for tests. */
  finish(): void {
    this.#host.turn.touch();
    this.#work ??= this.#round();
    while (this.#work.next().done !== true);
    this.#work = null;
  }

  /** Drops what the last round has not done, but for what the store is to know. */
  close(): void {
    this.#work = null;
    for (const node of [...this.#pass.slice(this.#passed), ...this.#touched]) {
      node.isTouched = false;
      if (!node.isDeleted) this.trim(node);
    }
    this.#touched = [];
    this.#pass = [];
    this.#passed = 0;
  }

  #slice(): void {
    const work = this.#work;
    if (work === null) return;
    const began = performance.now();
    if (this.#isPatient && this.#hasToWait(began)) {
      this.#host.turn.clock.soon(() => this.#slice());
      return;
    }
    const until = began + SLICE_MS;
    this.#host.turn.touch();
    do {
      for (let i = 0; i < STEPS_PER_LOOK; i++) {
        if (work.next().done === true) {
          this.#work = null;
          return;
        }
      }
      this.#lookedAt = performance.now();
    } while (this.#lookedAt < until);
    this.#othersMs = 0;
    this.#host.turn.clock.soon(() => this.#slice());
  }

  /** Others are at work, and had not enough of the time since the last slice. */
  #hasToWait(now: number): boolean {
    const passed = now - this.#lookedAt;
    this.#lookedAt = now;
    this.#othersMs += passed;
    return passed > PAUSE_MS && this.#othersMs * PATIENT_PART < SLICE_MS;
  }

  /**
   * Once per turn: under load the store hears more often what is done with, so that it need not stay in memory. Each turn has
   * its part, so that none is kept long by ten thousand nodes.
   */
  keepPace(): void {
    const { movedBytes } = this.#host.store;
    if (this.#passed === this.#pass.length) {
      if (movedBytes - this.#passFrom < this.#passBytes) return;
      this.#beginPass();
    }
    const { length } = this.#pass;
    const due = Math.ceil((length * (movedBytes - this.#passFrom + 1)) / this.#passBytes);
    const to = Math.min(length, due, this.#passed + NODES_PER_TURN);
    while (this.#passed < to) this.#lookAfterNext();
  }

  #beginPass(): void {
    const { store } = this.#host;
    this.#pass = this.#touched;
    this.#passed = 0;
    this.#touched = [];
    this.#passEnd = store.watermarks.appended;
    this.#passFrom = store.movedBytes;
    this.#passBytes = Math.max(PASS_BYTES, this.#pass.length * NODE_BYTES);
    if (this.#pass.length === 0) this.#endPass();
  }

  #lookAfterNext(): void {
    this.#lookAfter(this.#pass[this.#passed]!);
    if (++this.#passed === this.#pass.length) this.#endPass();
  }

  #endPass(): void {
    this.#host.store.owesReviewed?.(this.#passEnd);
  }

  *#round(): Generator<void> {
    const { expirer, turn } = this.#host;
    this.#isPatient = false;
    for (const node of this.#expiring) {
      if (node.expiry === null || node.isDeleted) this.#expiring.delete(node);
      else if (node.expiry.isDue(turn.now)) yield* expirer.sweep(node, turn.now);
      yield;
    }
    yield* this.#finishPass();
    this.#beginPass();
    yield* this.#finishPass();
    const round = this.#historyRound++ % HISTORY_ROUNDS;
    let number = 0;
    for (const node of this.#histories) {
      if (number++ % HISTORY_ROUNDS === round) this.trim(node);
      yield;
    }
    this.#host.keepHouse();
    this.#isPatient = true;
    const rest = this.#host.restWork();
    while (rest.next().done !== true) yield;
    const snapshot = this.#host.snapshotWork();
    if (snapshot !== null) while (snapshot.next().done !== true) yield;
  }

  *#finishPass(): Generator<void> {
    while (this.#passed < this.#pass.length) {
      this.#lookAfterNext();
      if (this.#passed % NODES_PER_STEP === 0) yield;
    }
  }

  #lookAfter(node: Node): void {
    node.isTouched = false;
    if (node.isDeleted) return;
    this.trim(node);
    this.#tellOwed(node);
    if (this.#host.noteExpiries(node)) node.touch();
  }

  /** The disk is short: histories go, what groups are owed stays. */
  dropHistories(): void {
    for (const node of this.#histories) this.dropHistory(node);
  }

  /** Gives back everything of a node that no group owes. True when there was something. */
  dropHistory(node: Node): boolean {
    let isSome = false;
    for (let index = 0; index < node.shards.length; index++) {
      const queue = node.shards[index]!;
      let owed = owedFrom(node, index);
      if (node.keepsLastValues) owed = beforeLastValues(node, index, owed);
      if (owed <= queue.minOffset) continue;
      this.#trimTo(node, queue, owed);
      isSome = true;
    }
    return isSome;
  }

  /** Tells the store what nobody needs any more. */
  trim(node: Node): void {
    if (node.keepsLastValues) node.lastValues!.forgetEnded(this.#host.turn.now);
    if (node.kind === "topic") this.#host.limit(node);
    for (let index = 0; index < node.shards.length; index++) {
      const queue = node.shards[index]!;
      if (queue instanceof VolatileIndex) continue;
      const owed = owedFrom(node, index);
      if (owed <= queue.minOffset) continue;
      let to = node.hasHistoryLimit ? this.#historyStart(node, queue, owed) : owed;
      if (node.keepsLastValues) to = beforeLastValues(node, index, to);
      if (node.duplicates !== null) to = Math.min(to, this.#windowStart(node, queue));
      if (to > queue.minOffset) this.#trimTo(node, queue, to);
    }
  }

  #tellOwed(node: Node): void {
    const { store } = this.#host;
    if (store.owes === undefined) return;
    for (let index = 0; index < node.shards.length; index++) {
      const queue = node.shards[index]!;
      if (!(queue instanceof VolatileIndex)) store.owes(queue, owedCount(node, index));
    }
  }

  /** The ids of the duplicate window are in the messages: after a restart they are read again from here on. */
  #windowStart(node: Node, queue: StoreQueue): number {
    const { store, turn } = this.#host;
    return store.searchByTime(queue, turn.now - node.settings.dedupWindowMs);
  }

  #trimTo(node: Node, queue: StoreQueue, to: number): void {
    if (node.countsHistory) node.storedBytes -= this.#bytes(queue, queue.minOffset, to);
    this.#host.store.trim(queue, to);
  }

  /** First offset that time, count and bytes let stay; never beyond what somebody is owed. */
  #historyStart(node: Node, queue: StoreQueue, owed: number): number {
    const { historyMs, historyCount, historyBytes } = node.settings;
    let start = queue.minOffset;
    if (historyMs > 0) {
      start = Math.max(
        start,
        this.#host.store.searchByTime(queue, this.#host.turn.now - historyMs),
      );
    }
    if (historyCount >= 0) start = Math.max(start, queue.maxOffset - historyCount);
    if (historyBytes >= 0) {
      // Of a topic with several shards, each may have its part.
      let over = node.storedBytes - historyBytes;
      over -= this.#bytes(queue, queue.minOffset, Math.min(start, owed));
      start = this.#passOver(
        queue,
        Math.max(start, queue.minOffset),
        owed,
        over / node.shards.length,
      );
    }
    return Math.min(start, owed);
  }

  /** Passes over entries from `from` on until they make up `bytes`. */
  #passOver(queue: StoreQueue, from: number, to: number, bytes: number): number {
    let at = from;
    let left = bytes;
    while (at < to && left > 0) {
      const count = this.#host.store.read(queue, at, Math.min(BATCH, to - at), this.#entries);
      if (count === 0) break;
      for (let i = 0; i < count && left > 0; i++, at++) left -= this.#entries.size[i]!;
    }
    return at;
  }

  #bytes(queue: StoreQueue, from: number, to: number): number {
    let bytes = 0;
    for (let at = from; at < to; ) {
      const count = this.#host.store.read(queue, at, Math.min(BATCH, to - at), this.#entries);
      if (count === 0) break;
      for (let i = 0; i < count; i++) bytes += this.#entries.size[i]!;
      at += count;
    }
    return bytes;
  }

  /** After a restart: what the log holds of a topic whose history is limited in bytes. */
  restore(node: Node): void {
    if (!node.countsHistory) return;
    node.storedBytes = 0;
    for (const queue of node.shards) {
      node.storedBytes += this.#bytes(queue, queue.minOffset, queue.maxOffset);
    }
  }
}

/** History goes up to `to`, apart from the newest message of each key: trimming ends at the first of those. */
function beforeLastValues(node: Node, index: number, to: number): number {
  node.historyStarts[index] = to;
  const lowest = node.lastValues!.lowest(index);
  return lowest < 0 ? to : Math.min(to, lowest);
}
