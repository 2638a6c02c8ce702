/**
 * Messages that are not to be delivered before a certain time. Each waits as a record of the internal queue `~delayed`,
 * durable like any other; when due it is published to its destination and settled there, both in one atomic batch.
 * In memory: one heap entry (16 bytes) per waiting message.
 */
import { makeAddress, parseCanonical, printAddress } from "../model/address.ts";
import { Draft } from "../model/draft.ts";
import { RecordView } from "../model/record-view.ts";
import type { EntryBatch } from "../store/message-store.ts";
import { Alarm } from "../util/alarm.ts";
import { MinHeap } from "../util/min-heap.ts";
import type { Broker } from "./broker.ts";
import type { Node } from "./node.ts";
import { RecordTemplate } from "./record-composer.ts";
import { redraft } from "./redraft.ts";
import type { Target } from "./target.ts";
import { controlRun } from "./transaction-log.ts";

const NODE_NAME = "~delayed";
/** RocketMQ's name for the time a message is due. */
const DUE_PROPERTY = "TIMER_DELIVER_MS";
const TO_PROPERTY = "x-delay-to";
/** Due messages that find no room are tried again after this. */
const AGAIN_MS = 100;
/** Due messages released in one go. */
const BATCH = 512;

export class DelayScheduler {
  readonly #broker: Broker;
  readonly #heap = new MinHeap();
  readonly #draft = new Draft();
  readonly #view = new RecordView();
  readonly #template = new RecordTemplate("");
  readonly #host = Buffer.from([127, 0, 0, 1, 0, 0, 0, 0]);
  readonly #entry: EntryBatch = {
    physicalOffset: new Float64Array(1),
    size: new Int32Array(1),
    tagHash: new Int32Array(1),
  };
  #node: Node | undefined;
  readonly #alarm: Alarm;

  constructor(broker: Broker) {
    this.#broker = broker;
    this.#alarm = new Alarm(broker.turn.clock, () => this.#fire());
  }

  get waitingCount(): number {
    return this.#heap.size;
  }

  /** Stores the message until it is due. Returns the position to confirm at. */
  add(target: Target, draft: Draft, expiresAt: number): number {
    const node = this.#open();
    const { deliverAt, properties, expiresAt: ownExpiry, ttlMs } = draft;
    draft.properties = `${DUE_PROPERTY}\x01${deliverAt}\x02${TO_PROPERTY}\x01${printAddress(target.address)}\x02${properties}`;
    const offset = node.shards[0]!.maxOffset;
    const position = this.#broker.store.append(
      node.shards[0]!,
      this.#broker.composer.compose(
        this.#template,
        draft,
        this.#host,
        this.#broker.turn.now,
        expiresAt,
        null,
      ),
    );
    draft.properties = properties;
    draft.expiresAt = ownExpiry;
    draft.ttlMs = ttlMs;
    this.#broker.noteAppend(draft.isDurable);
    this.#heap.push(deliverAt, offset);
    this.#arm();
    return draft.isDurable ? position : 0;
  }

  /** After recovery: what still waits, by reading it. */
  restore(): void {
    const node = this.#broker.registry.find("queue", "/", NODE_NAME);
    if (node === undefined) return;
    this.#node = node;
    // What is over time before it is due dies where it was to go, and says so there.
    node.expiry = null;
    node.mayExpire = false;
    const shard = node.ownGroup.shards[0]!;
    const end = shard.queue.maxOffset;
    for (let at = shard.state.findReady(shard.state.low, end); at < end; ) {
      if (this.#read(at)) {
        this.#heap.push(Number(this.#view.property(DUE_PROPERTY) ?? 0), at);
      }
      at = shard.state.findReady(at + 1, end);
    }
    this.#arm();
  }

  close(): void {
    this.#alarm.clear();
  }

  #open(): Node {
    this.#node ??=
      this.#broker.registry.find("queue", "/", NODE_NAME) ??
      this.#broker.registry.create("queue", "/", NODE_NAME, false);
    return this.#node;
  }

  #arm(): void {
    if (this.#heap.size > 0) this.#alarm.set(this.#heap.topKey);
  }

  #fire(): void {
    const { turn, store } = this.#broker;
    turn.touch();
    // Not while the disk is full: due messages wait where they are.
    const isFree = this.#broker.blocked === null && store.hasRoom(BATCH * 1024);
    if (isFree) this.#release(turn.now);
    if (this.#heap.size > 0) {
      this.#alarm.set(
        isFree ? this.#heap.topKey : Math.max(this.#heap.topKey, turn.now + AGAIN_MS),
      );
    }
  }

  #release(now: number): void {
    const shard = this.#open().ownGroup.shards[0]!;
    const done: number[] = [];
    while (done.length < BATCH && this.#heap.topKey <= now) done.push(this.#heap.pop());
    if (done.length === 0) return;
    const control = Buffer.concat(done.map((offset) => controlRun(shard, offset, 1)));
    for (const offset of done) shard.state.park(offset, 1);
    this.#broker.atomically(
      () => {
        for (const offset of done) if (this.#read(offset)) this.#publish();
        this.#broker.appendControl(control);
      },
      () => {
        for (const offset of done) shard.settle(offset, 1);
      },
    );
  }

  /** Publishes the record in the view to where it was meant to go; nowhere when that is gone. */
  #publish(): void {
    const view = this.#view;
    const draft = this.#draft;
    let to = "";
    const { expiresAt } = view;
    redraft(view, draft, (name, value) => {
      if (name === TO_PROPERTY) to = value;
      return name !== TO_PROPERTY && name !== DUE_PROPERTY;
    });
    draft.expiresAt = expiresAt;
    const address = parseCanonical(to);
    if (address.kind === "topic" || address.kind === "temp-topic") {
      this.#broker.core.publishToTopic(address.namespace, address.name, draft, null);
      return;
    }
    const node = this.#broker.registry.find("queue", address.namespace, address.name);
    if (node === undefined) return;
    this.#broker.publishInternal(node, this.#template, draft, this.#host);
  }

  #read(offset: number): boolean {
    const { store } = this.#broker;
    const queue = this.#open().shards[0]!;
    if (store.read(queue, offset, 1, this.#entry) !== 1) return false;
    return store.view(this.#entry.physicalOffset[0]!, this.#entry.size[0]!, this.#view);
  }
}

/** The internal queue's address, for listings. */
export const DELAYED_ADDRESS = makeAddress("queue", NODE_NAME);
