/**
 * Messages that are not to be delivered before a certain time. Each waits as a record of the internal queue `~delayed`,
 * durable like any other; when due it is published to its destination and settled there, both in one atomic batch.
 * What nobody may see yet (of a transaction that is not durable) is not released either: a power cut could leave the copy
 * and not the rest of the transaction.
 * In memory: one heap entry (16 bytes) per waiting message. Looking at them and taking them back is in delayed.ts.
 */
import { type Address, parseCanonical, printAddress } from "../model/address.ts";
import { Draft } from "../model/draft.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { BrokerError } from "../model/errors.ts";
import { RecordView } from "../model/record-view.ts";
import { Alarm } from "../util/alarm.ts";
import { MinHeap } from "../util/min-heap.ts";
import { STATE } from "./ack-state.ts";
import type { Broker } from "./broker.ts";
import { type Node, PERMANENT } from "./node.ts";
import { LOOPBACK, RecordTemplate } from "./record-composer.ts";
import { redraft } from "./redraft.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Target } from "./target.ts";
import { controlRun } from "./transaction-log.ts";

const NODE_NAME = "~delayed";
/** RocketMQ's name for the time a message is due. */
export const DUE_PROPERTY = "TIMER_DELIVER_MS";
export const DELAYED_TO_PROPERTY = "x-delay-to";
/** The number a message is known by: its first offset here. */
const NUMBER_PROPERTY = "x-delay-id";
/** Due messages that find no room are tried again after this. */
const AGAIN_MS = 100;
/** ... those that the disk refuses to give, after this. */
const UNREADABLE_MS = 60_000;
/** Due messages released in one go, and bytes of them. */
const BATCH = 512;
const BATCH_BYTES = 1024 * 1024;
/** Room for what a record has around its body. */
const RECORD_ROOM = 1024;
/** Offsets that old messages may keep others from being forgotten; beyond it, and four times what waits, they move on. */
const SPREAD_MIN = 65_536;
const SPREAD_FACTOR = 4;
const TIDY_BATCH = 256;

/** What waits for one destination. */
export interface DelayedCount {
  readonly namespace: string;
  count: number;
  bytes: number;
}

export class DelayScheduler {
  readonly #broker: Broker;
  readonly #heap = new MinHeap();
  readonly #draft = new Draft();
  readonly #view = new RecordView();
  readonly #template = new RecordTemplate("");
  readonly #entry = entryBatch();
  #node: Node | undefined;
  readonly #alarm: Alarm;
  readonly #damaged: (shard: ShardProgress, offset: number, physicalOffset: number) => void;
  /** Messages that come into the heap when they can be seen, in order. */
  #unseen: Array<{ readonly due: number; readonly offset: number }> = [];
  /** Of the heap and of the unseen: those that were taken back. */
  #cancelled = 0;
  /** Where those lie that moved on, by number. */
  readonly #moved = new Map<number, number>();
  /** By canonical address. */
  readonly counts = new Map<string, DelayedCount>();

  /** `damaged`: a waiting message cannot be read any more; it is settled there, so that nobody waits for it for ever. */
  constructor(
    broker: Broker,
    damaged: (shard: ShardProgress, offset: number, physicalOffset: number) => void,
  ) {
    this.#broker = broker;
    this.#damaged = damaged;
    this.#alarm = new Alarm(broker.turn.clock, () => this.#fire());
  }

  get waitingCount(): number {
    return this.#heap.size + this.#unseen.length - this.#cancelled;
  }

  /** What waits for a queue; null for nothing. Of a topic, what is due waits until there is room. */
  waitingFor(node: Node): DelayedCount | null {
    if (this.counts.size === 0 || node.kind !== "queue") return null;
    return this.counts.get(printAddress(node.address)) ?? null;
  }

  /** Where waiting messages lie; undefined while there never was one. */
  get progress(): ShardProgress | undefined {
    return this.#node?.ownGroup.shards[0];
  }

  /** Stores the message until it is due. Returns the position to confirm at. */
  add(target: Target, draft: Draft, expiresAt: number): number {
    const node = this.#open();
    const { deliverAt, properties, expiresAt: ownExpiry, ttlMs } = draft;
    const to = printAddress(target.address);
    const offset = node.shards[0]!.maxOffset;
    // In front of the publisher's own: the first of a name counts.
    draft.properties =
      `${DUE_PROPERTY}\x01${deliverAt}\x02${DELAYED_TO_PROPERTY}\x01${to}\x02` +
      `${NUMBER_PROPERTY}\x01${offset}\x02${properties}`;
    const position = this.#append(draft, expiresAt);
    draft.properties = properties;
    draft.expiresAt = ownExpiry;
    draft.ttlMs = ttlMs;
    this.#broker.noteAppend(draft.isDurable);
    this.#note(to, target.address.namespace, 1, this.#broker.store.lastSize);
    this.#await(deliverAt, offset, position);
    return draft.isDurable ? position : 0;
  }

  /** Its record was just appended and ends at `position`. */
  #await(due: number, offset: number, position: number): void {
    const { store, visibility } = this.#broker;
    const queue = this.#open().shards[0]!;
    // A record beside the ring has no entry yet.
    if (visibility.isBatch || store.read(queue, offset, 1, this.#entry) !== 1) {
      visibility.hold(queue, offset, position);
      this.#unseen.push({ due, offset });
      this.#broker.noteAppend(true);
      return;
    }
    this.#heap.push(due, offset);
    this.#arm();
  }

  /** More can be seen. */
  onDurable(): void {
    if (this.#unseen.length === 0) return;
    const end = this.#broker.visibility.endOf(this.#open().shards[0]!);
    let seen = 0;
    for (const { due, offset } of this.#unseen) {
      if (offset >= end) break;
      this.#heap.push(due, offset);
      seen++;
    }
    if (seen === 0) return;
    this.#unseen.splice(0, seen);
    this.#arm();
  }

  #append(draft: Draft, expiresAt: number): number {
    const { store, composer, turn } = this.#broker;
    return store.append(
      this.#open().shards[0]!,
      composer.compose(this.#template, draft, LOOPBACK, turn.now, expiresAt, null),
    );
  }

  /** Takes a waiting message back, by its offset; `view` is on its record. False when it is on its way already. */
  cancel(offset: number, view: RecordView, size: number): boolean {
    const shard = this.progress;
    if (shard === undefined || !isWaiting(shard, offset)) return false;
    const to = view.property(DELAYED_TO_PROPERTY) ?? "";
    this.#note(to, "", -1, -size);
    this.#moved.delete(numberOf(view, offset));
    shard.settle(offset, 1);
    this.#cancelled++;
    if (this.#cancelled > 1024 && this.#cancelled * 2 > this.#heap.size) {
      this.#heap.retain((at) => isWaiting(shard, at));
      this.#unseen = this.#unseen.filter((unseen) => isWaiting(shard, unseen.offset));
      this.#cancelled = 0;
    }
    return true;
  }

  /** Where the message of this number lies. */
  offsetOf(number: number): number {
    return this.#moved.get(number) ?? number;
  }

  /**
   * After recovery: what still waits, by reading it. `redoneFrom`: records from there on were stored so shortly before a
   * crash that the journal may have lost the queues they were meant for: those are made again.
   */
  restore(
    redoneFrom: number,
    noteId: (to: Address, view: RecordView, position: number) => void,
  ): void {
    const node = this.#broker.registry.find("queue", "/", NODE_NAME);
    if (node === undefined) return;
    this.#node = node;
    node.tenant = PERMANENT;
    // What is over time before it is due dies where it was to go, and says so there.
    node.expiry = null;
    node.mayExpire = false;
    const shard = node.ownGroup.shards[0]!;
    const end = shard.queue.maxOffset;
    for (let at = shard.state.findReady(shard.state.low, end); at < end; ) {
      if (this.#read(at)) {
        const view = this.#view;
        const to = view.property(DELAYED_TO_PROPERTY) ?? "";
        const address = parseCanonical(to);
        const size = this.#entry.size[0]!;
        this.#note(to, address.namespace, 1, size);
        if (this.#entry.physicalOffset[0]! >= redoneFrom) this.#makeAgain(address);
        noteId(address, view, this.#entry.physicalOffset[0]! + size);
        const number = numberOf(view, at);
        if (number !== at) this.#moved.set(number, at);
        this.#heap.push(dueOf(view), at);
      } else if (this.#isDamaged(at)) {
        this.#damaged(shard, at, this.#entry.physicalOffset[0]!);
      } else {
        // When it is due will be known when it can be read.
        this.#heap.push(this.#broker.turn.now + UNREADABLE_MS, at);
      }
      at = shard.state.findReady(at + 1, end);
    }
    this.#arm();
  }

  #makeAgain({ kind, namespace, name }: Address): void {
    const { registry } = this.#broker;
    if (kind !== "queue" || registry.find("queue", namespace, name) !== undefined) return;
    registry.create("queue", namespace, name, false);
  }

  close(): void {
    this.#alarm.clear();
  }

  /** One that waits for years must not make the broker remember everything that came and went since: it moves on. */
  tidy(): void {
    const shard = this.progress;
    const { store, blocked } = this.#broker;
    if (shard === undefined || blocked !== null) return;
    const { state, queue } = shard;
    const spread = Math.max(SPREAD_MIN, SPREAD_FACTOR * this.waitingCount);
    const end = queue.maxOffset;
    if (end - state.low <= spread) return;
    const old: number[] = [];
    let bytes = 0;
    for (let at = state.findReady(state.low, end); old.length < TIDY_BATCH; ) {
      if (end - at <= spread || !this.#read(at)) break;
      bytes += this.#entry.size[0]! + RECORD_ROOM;
      if ((old.length > 0 && bytes > BATCH_BYTES) || !store.hasRoom(bytes)) break;
      old.push(at);
      at = state.findReady(at + 1, end);
    }
    if (old.length > 0) this.#moveOn(shard, old);
  }

  #moveOn(shard: ShardProgress, old: readonly number[]): void {
    const { turn } = this.#broker;
    const done: number[] = [];
    for (const offset of old) shard.state.park(offset, 1);
    this.#broker.atomically(
      () => {
        for (const offset of old) {
          if (!this.#read(offset)) continue;
          const view = this.#view;
          const number = numberOf(view, offset);
          const due = Number(view.property(DUE_PROPERTY) ?? turn.now);
          const { expiresAt } = view;
          redraft(view, this.#draft, () => true);
          const at = shard.queue.maxOffset;
          const position = this.#append(this.#draft, expiresAt);
          this.#moved.set(number, at);
          this.#await(due, at, position);
          done.push(offset);
        }
        this.#broker.appendControl(
          Buffer.concat(done.map((offset) => controlRun(shard, offset, 1))),
        );
      },
      () => {
        for (const offset of done) shard.settle(offset, 1);
      },
    );
    // Their heap entries of before are void now.
    this.#cancelled += done.length;
    for (const offset of old) if (!done.includes(offset)) shard.state.release(offset, 1);
  }

  #open(): Node {
    this.#node ??=
      this.#broker.registry.find("queue", "/", NODE_NAME) ??
      this.#broker.registry.create("queue", "/", NODE_NAME, false);
    this.#node.tenant = PERMANENT;
    return this.#node;
  }

  #note(to: string, namespace: string, count: number, bytes: number): void {
    let known = this.counts.get(to);
    if (known === undefined) {
      if (count < 0) return;
      known = { namespace, count: 0, bytes: 0 };
      this.counts.set(to, known);
    }
    known.count += count;
    known.bytes += bytes;
    if (known.count === 0) this.counts.delete(to);
  }

  #arm(): void {
    if (this.#heap.size > 0) this.#alarm.set(this.#heap.topKey);
  }

  #fire(): void {
    const { turn } = this.#broker;
    turn.touch();
    // Not while the disk is full: due messages wait where they are.
    const isFree = this.#broker.blocked === null && this.#release(turn.now);
    if (this.#heap.size > 0) {
      this.#alarm.set(
        isFree ? this.#heap.topKey : Math.max(this.#heap.topKey, turn.now + AGAIN_MS),
      );
    }
  }

  /** Publishes what is due, a batch of it. False when there is no room. */
  #release(now: number): boolean {
    const { store } = this.#broker;
    const shard = this.#open().ownGroup.shards[0]!;
    const due: number[] = [];
    let bytes = 0;
    while (due.length < BATCH && this.#heap.topKey <= now) {
      const offset = this.#heap.topValue;
      if (isWaiting(shard, offset)) {
        if (store.read(shard.queue, offset, 1, this.#entry) === 1) {
          bytes += this.#entry.size[0]! + RECORD_ROOM;
        }
        if (due.length > 0 && bytes > BATCH_BYTES) break;
        if (!store.hasRoom(bytes)) {
          if (due.length === 0) return false;
          break;
        }
        due.push(offset);
      } else this.#cancelled--;
      this.#heap.pop();
    }
    if (due.length > 0) this.#publishAll(shard, due);
    return true;
  }

  #publishAll(shard: ShardProgress, due: readonly number[]): void {
    const done: number[] = [];
    const { now } = this.#broker.turn;
    const again = new Map<number, number>();
    for (const offset of due) shard.state.park(offset, 1);
    this.#broker.atomically(
      () => {
        for (const offset of due) {
          try {
            if (this.#read(offset)) {
              const at = dueOf(this.#view);
              // It could not be read at the start.
              if (at > now) {
                again.set(offset, at);
                continue;
              }
              this.#publish(offset);
            } else if (this.#isDamaged(offset)) {
              this.#open().counters.dropped++;
              this.#broker.tally.dropped.damaged++;
            } else {
              again.set(offset, now + UNREADABLE_MS);
              continue;
            }
            done.push(offset);
          } catch (error) {
            // Its destination refuses it now (a full topic): it was taken, so it stays and tries again.
            if (!(error instanceof BrokerError)) throw error;
          }
        }
        if (done.length === 0) return;
        this.#broker.appendControl(
          Buffer.concat(done.map((offset) => controlRun(shard, offset, 1))),
        );
      },
      () => {
        for (const offset of done) shard.settle(offset, 1);
      },
    );
    if (done.length === due.length) return;
    const released = new Set(done);
    for (const offset of due) {
      if (released.has(offset)) continue;
      shard.state.release(offset, 1);
      this.#heap.push(again.get(offset) ?? now + AGAIN_MS, offset);
    }
  }

  /** For sure: it will not come. Of an entry that cannot be read nothing is known. */
  #isDamaged(offset: number): boolean {
    const { store } = this.#broker;
    const queue = this.#open().shards[0]!;
    if (store.read(queue, offset, 1, this.#entry) !== 1) return false;
    const physicalOffset = this.#entry.physicalOffset[0]!;
    return store.isDamaged(physicalOffset) && !store.isUnreadable(physicalOffset);
  }

  /** Publishes the record in the view to where it was meant to go; nowhere when that is gone. */
  #publish(offset: number): void {
    const view = this.#view;
    const draft = this.#draft;
    const size = this.#entry.size[0]!;
    const { expiresAt } = view;
    const to = view.property(DELAYED_TO_PROPERTY) ?? "";
    const number = numberOf(view, offset);
    const own = new Set([DUE_PROPERTY, DELAYED_TO_PROPERTY, NUMBER_PROPERTY]);
    redraft(view, draft, (name) => !own.delete(name));
    draft.expiresAt = expiresAt;
    const address = parseCanonical(to);
    if (address.kind === "topic" || address.kind === "temp-topic") {
      this.#broker.core.publishToTopic(address.namespace, address.name, draft, null);
    } else {
      const node = this.#broker.registry.find("queue", address.namespace, address.name);
      if (node === undefined) {
        this.#open().counters.dropped++;
        this.#broker.tally.dropped.no_queue++;
      } else this.#broker.publishInternal(node, this.#template, draft, LOOPBACK);
    }
    this.#note(to, "", -1, -size);
    this.#moved.delete(number);
  }

  #read(offset: number): boolean {
    const { store } = this.#broker;
    const queue = this.#open().shards[0]!;
    if (store.read(queue, offset, 1, this.#entry) !== 1) return false;
    return store.view(this.#entry.physicalOffset[0]!, this.#entry.size[0]!, this.#view);
  }
}

const dueOf = (view: RecordView): number => Number(view.property(DUE_PROPERTY) ?? 0);

/** The number an operator knows a waiting message by: it stays the same when the message moves on. */
export const numberOf = (view: RecordView, offset: number): number => {
  const text = view.property(NUMBER_PROPERTY);
  return text === undefined ? offset : Number(text);
};

export function isWaiting(shard: ShardProgress, offset: number): boolean {
  if (offset < shard.state.low || offset >= shard.queue.maxOffset) return false;
  const state = shard.state.stateOf(offset);
  return state === STATE.READY || state === STATE.READY_AGAIN;
}
