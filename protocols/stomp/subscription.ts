/**
 * One SUBSCRIBE: the sink that turns runs of records into MESSAGE frames, and the window that says how many may be on
 * their way. A delivery's number travels in `message-id` and `ack` as `<session>:<subscription>:<number>`, so an ACK leads
 * back to it without a table of deliveries.
 *
 * Windows. `prefetch` counts messages not yet settled; `windowBytes` (Artemis' consumer-window-size) the bytes of them.
 * Credit is given again once per chunk of input, not per ACK.
 */
import {
  type Consumer,
  type DeliveryRun,
  type DeliverySink,
  OUTCOME,
  type Outcome,
  type SubscriptionIdentity,
} from "../../src/broker/facade.ts";
import type { BrokerError } from "../../src/model/errors.ts";
import type { RecordView } from "../../src/model/record-view.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { writeFrame } from "./codec/frame-writer.ts";
import { headerLine, type StompVersion } from "./codec/header-escape.ts";
import { type DeliveryFacts, MessageWriter } from "./codec/message-writer.ts";
import { PendingDeliveries } from "./pending-deliveries.ts";
import type { RecordSpelling } from "./record-spelling.ts";
import type { StagedWork } from "./transactions.ts";

export type AckMode = "auto" | "client" | "client-individual";

export interface SubscriptionOptions {
  /** Counts up from 1 in its session. */
  readonly index: number;
  /** The `id` header, "" in 1.0 without one. */
  readonly id: string;
  /** As SUBSCRIBE spelled it. */
  readonly destination: string;
  /** What MESSAGE shows as subscription; the id, or the name of an own reply queue. */
  readonly shownId: string;
  readonly ackMode: AckMode;
  readonly prefetch: number;
  /** 0 for no limit by bytes. */
  readonly windowBytes: number;
  readonly isBrowser: boolean;
  /** MESSAGE carries x-stream-offset. */
  readonly showsOffset: boolean;
  /** The destination header is each message's own, not the subscription's. */
  readonly hasWildcard: boolean;
  /** UNSUBSCRIBE with the durable headers deletes this; null for volatile ones. */
  readonly durable: SubscriptionIdentity | null;
  readonly version: StompVersion;
  readonly idPrefix: string;
}

export interface SubscriptionOwner {
  readonly wire: Wire;
  readonly spelling: RecordSpelling;
  /** RECEIPTs of this session that must go before its first MESSAGE are out. */
  wrote(): void;
  ended(subscription: Subscription, reason: BrokerError): void;
}

export class Subscription implements DeliverySink {
  readonly options: SubscriptionOptions;
  /** It is in the session's list of those that get credit at the end of this chunk. */
  needsCredit = false;
  readonly #owner: SubscriptionOwner;
  readonly #writer: MessageWriter;
  readonly #facts = { delivery: 0, isRedelivered: false, deliveryCount: 0, streamOffset: -1 };
  #consumer: Consumer | null = null;
  /** Deliveries that wait for an ACK; unused in auto mode. */
  readonly #pending = new PendingDeliveries();
  readonly #needsAck: boolean;

  constructor(options: SubscriptionOptions, owner: SubscriptionOwner) {
    this.options = options;
    this.#owner = owner;
    this.#needsAck = options.ackMode !== "auto";
    this.#writer = new MessageWriter({
      version: options.version,
      subscriptionId: options.shownId,
      idPrefix: options.idPrefix,
      needsAck: this.#needsAck,
    });
    this.#writer.setDestination(options.destination);
  }

  /** Begins to deliver. */
  start(consumer: Consumer): void {
    this.#consumer = consumer;
    consumer.setCredit(this.options.prefetch);
    if (this.options.isBrowser) consumer.drain();
  }

  get consumer(): Consumer {
    return this.#consumer!;
  }

  // ---- sink

  isReady(): boolean {
    if (this.#owner.wire.isBackedUp) return false;
    const { windowBytes } = this.options;
    return windowBytes === 0 || this.#pending.totalBytes < windowBytes;
  }

  deliver(run: DeliveryRun): void {
    const owner = this.#owner;
    const { wire } = owner;
    const { showsOffset, hasWildcard } = this.options;
    const { count, firstDelivery } = run;
    const mayRepeat = run.isPlain && !showsOffset && !hasWildcard;
    const writer = this.#writer;
    writer.begin();
    for (let i = 0; i < count; i++) {
      const record = run.record(i);
      const delivery = firstDelivery + i;
      let bytes = mayRepeat ? writer.writeAlike(wire, record, delivery) : 0;
      if (bytes === 0) {
        const facts = this.#factsOf(run, i);
        if (hasWildcard) this.#nameDestination(record);
        bytes = this.#write(wire, record, facts);
      }
      if (this.#needsAck) this.#pending.push(delivery, bytes);
    }
    owner.wrote();
  }

  #factsOf(run: DeliveryRun, index: number): DeliveryFacts {
    const facts: { -readonly [K in keyof DeliveryFacts]: DeliveryFacts[K] } = this.#facts;
    facts.delivery = run.firstDelivery + index;
    facts.isRedelivered = run.isRedelivered(index);
    facts.deliveryCount = facts.isRedelivered ? run.deliveryCount(index) : 0;
    if (this.options.showsOffset) facts.streamOffset = run.queueOffset(index);
    return facts;
  }

  onDrained(): void {
    if (!this.options.isBrowser) return;
    const { version, shownId, destination } = this.options;
    const id = shownId === "" ? "" : headerLine("subscription", shownId, version);
    const to = headerLine("destination", destination, version);
    writeFrame(this.#owner.wire, "MESSAGE", `${id}${to}message-id:0\nbrowser:end\n`, "");
    this.#owner.wrote();
  }

  onCancel(reason: BrokerError): void {
    this.#owner.ended(this, reason);
  }

  #write(wire: Wire, record: RecordView, facts: DeliveryFacts): number {
    const writer = this.#writer;
    if (writer.findBlock(record) !== null) return writer.writeStored(wire, record, facts);
    const message = this.#owner.spelling.convert(record, this.options.version);
    return writer.writeConverted(wire, record, facts, message);
  }

  #nameDestination(record: RecordView): void {
    const destination = this.#owner.spelling.topicOf(record, this.options.destination);
    if (destination === this.#shownDestination) return;
    this.#shownDestination = destination;
    this.#writer.setDestination(destination);
  }
  #shownDestination = "";

  // ---- settlement

  /** Does this delivery wait for an ACK or NACK? */
  isWaiting(delivery: number): boolean {
    return this.#pending.has(delivery);
  }

  /**
   * Settles what ACKs or NACKs of the deliveries `first..last`, which all wait, stand for: themselves, in client mode also
   * all before them. With a transaction the settlement is staged there. Returns the position for `settledTo`.
   */
  settle(first: number, last: number, outcome: Outcome, transaction: StagedWork | null): number {
    const pending = this.#pending;
    let position = 0;
    let from = this.options.ackMode === "client" ? 0 : first;
    while (pending.findRun(from, last)) {
      const { runFirst, runLast } = pending;
      if (transaction === null) {
        position = Math.max(position, this.consumer.settle(runFirst, runLast, outcome));
      } else {
        transaction.settle(this, runFirst, runLast, outcome);
      }
      pending.remove(runFirst, runLast);
      from = runLast + 1;
    }
    return position;
  }

  /** The transaction that held these was aborted without redelivery. */
  restore(first: number, last: number): void {
    this.#pending.restore(first, last);
  }

  /** Gives back the room that was settled: once per chunk of input. */
  replenish(): void {
    const consumer = this.#consumer;
    if (consumer === null || this.options.isBrowser) return;
    const { prefetch, windowBytes } = this.options;
    if (prefetch !== Number.POSITIVE_INFINITY) {
      const credit = Math.max(0, prefetch - consumer.unsettledCount);
      if (credit !== consumer.credit) {
        consumer.setCredit(credit);
        return;
      }
    }
    if (windowBytes > 0) consumer.resume();
  }

  resume(): void {
    this.#consumer?.resume();
  }

  close(): void {
    this.#consumer?.close(OUTCOME.RELEASE);
    this.#consumer = null;
  }
}
