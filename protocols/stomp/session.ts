/**
 * What a connected peer may do: every client frame but CONNECT, turned into calls of the broker. Reads the frame the parser
 * stands on; throws StompError and BrokerError for what is refused, and leaves it to connection.ts to tell the peer.
 */
import {
  type BrokerConnection,
  type BrokerFacade,
  OUTCOME,
  type Outcome,
} from "../../src/broker/facade.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { hasWildcard } from "../../src/model/topic-path.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { COMMAND, commandName, type FrameParser } from "./codec/frame-parser.ts";
import { writeHeartbeat } from "./codec/frame-writer.ts";
import { type StompVersion, VERSION_TEXT } from "./codec/header-escape.ts";
import { HEADER, type HeaderId, headerText } from "./codec/header-names.ts";
import { Destinations } from "./destinations.ts";
import { StompError } from "./errors.ts";
import type { StompOptions } from "./options.ts";
import { type ReceiptOwner, ReceiptQueue } from "./receipts.ts";
import { RecordSpelling } from "./record-spelling.ts";
import { Sender } from "./sender.ts";
import { readDurable, readSubscribe, type Subscriber } from "./subscribe.ts";
import { Subscription, type SubscriptionOwner } from "./subscription.ts";
import { Transactions } from "./transactions.ts";

export interface SessionOwner extends ReceiptOwner {
  /** The broker ended a subscription: the peer has to hear of it. */
  onSubscriptionEnded(reason: BrokerError): void;
}

export interface SessionSetup {
  readonly broker: BrokerFacade;
  readonly wire: Wire;
  readonly connection: BrokerConnection;
  readonly version: StompVersion;
  readonly options: StompOptions;
  readonly owner: SessionOwner;
}

/** Record bytes beyond headers and body, for `hasRoom`. */
const RECORD_OVERHEAD = 512;

export class Session implements SubscriptionOwner {
  readonly version: StompVersion;
  readonly wire: Wire;
  readonly receipts: ReceiptQueue;
  readonly spelling: RecordSpelling;
  /** Something was written since the last heart-beat looked. */
  hasWritten = false;
  readonly #broker: BrokerFacade;
  readonly #connection: BrokerConnection;
  readonly #options: StompOptions;
  readonly #owner: SessionOwner;
  readonly #subscriber: Subscriber;
  readonly #destinations: Destinations;
  readonly #transactions: Transactions;
  /** Made with the first SEND. */
  #sender: Sender | null = null;
  readonly #byId = new Map<string, Subscription>();
  readonly #byIndex = new Map<number, Subscription>();
  /** Own temporary destination → the subscription that was made for its replies. */
  readonly #replies = new Map<string, Subscription>();
  #lastIndex = 0;
  /** The subscription of the ACK before. */
  #lastAcked: Subscription | null = null;
  /** Subscriptions that get credit again at the end of this chunk. */
  readonly #settledIn: Subscription[] = [];
  // What `#readDeliveryId` found.
  #idIndex = 0;
  #idDelivery = 0;

  constructor(setup: SessionSetup) {
    this.#broker = setup.broker;
    this.wire = setup.wire;
    this.#connection = setup.connection;
    this.version = setup.version;
    this.#options = setup.options;
    this.#owner = setup.owner;
    this.#subscriber = {
      clientId: setup.connection.clientId,
      user: setup.connection.principal.name,
    };
    this.receipts = new ReceiptQueue(setup.broker, setup.wire, setup.owner);
    this.#destinations = new Destinations(setup.connection, setup.options);
    this.spelling = new RecordSpelling(this.#destinations);
    this.#transactions = new Transactions(setup.connection, setup.options);
  }

  /** May this frame be taken now? False: keep it; `release` is called when it is worth another try. */
  hasRoomFor(parser: FrameParser, bytes: Buffer, release: () => void): boolean {
    // The receipts' owner hears of it when some went out.
    if (this.receipts.isFull) return false;
    if (parser.command !== COMMAND.SEND) return true;
    if (!this.#connection.hasRoom(parser.bodyEnd + RECORD_OVERHEAD)) {
      this.#connection.onRoom(release);
      return false;
    }
    return this.#sender === null || !this.#sender.isHeldBack(parser, bytes, release);
  }

  /** Everything but CONNECT and DISCONNECT. */
  handle(parser: FrameParser, bytes: Buffer): void {
    switch (parser.command) {
      case COMMAND.SEND:
        this.#send(parser, bytes);
        break;
      case COMMAND.ACK:
        this.#acknowledge(parser, bytes, OUTCOME.ACCEPT);
        this.#receipt(parser, bytes, true);
        return;
      case COMMAND.NACK:
        this.#nack(parser, bytes);
        this.#receipt(parser, bytes, true);
        return;
      case COMMAND.SUBSCRIBE:
        this.#subscribe(parser, bytes);
        return;
      case COMMAND.UNSUBSCRIBE:
        this.#unsubscribe(parser, bytes);
        break;
      case COMMAND.BEGIN:
        this.#transactions.begin(this.#required(parser, bytes, HEADER.TRANSACTION));
        break;
      case COMMAND.COMMIT: {
        const position = this.#transactions.commit(
          this.#required(parser, bytes, HEADER.TRANSACTION),
        );
        this.receipts.published("fsync", position);
        this.#receipt(parser, bytes, true);
        return;
      }
      case COMMAND.ABORT:
        this.#transactions.abort(this.#required(parser, bytes, HEADER.TRANSACTION));
        break;
      default:
        throw new StompError(
          "Unexpected command",
          `${commandName(parser.command)} is not possible now.`,
        );
    }
    this.#receipt(parser, bytes, false);
  }

  /** The chunk is done: consumers that were acknowledged get credit again. */
  endOfChunk(): void {
    const settled = this.#settledIn;
    for (let i = 0; i < settled.length; i++) {
      settled[i]!.needsCredit = false;
      settled[i]!.replenish();
    }
    settled.length = 0;
  }

  /** Stops deliveries and undoes what is not done; receipts may still go out. */
  disconnect(): void {
    this.#transactions.abortAll();
    for (const subscription of this.#byIndex.values()) subscription.close();
    this.#byIndex.clear();
    this.#byId.clear();
    this.#replies.clear();
    this.#sender?.close();
  }

  /** The peer is gone. What it had not settled is lost, not released. */
  close(): void {
    this.receipts.close();
    this.#transactions.abortAll();
    this.#byIndex.clear();
    this.#byId.clear();
    this.#connection.close();
  }

  onDrain(): void {
    for (const subscription of this.#byIndex.values()) subscription.resume();
  }

  heartbeat(): void {
    writeHeartbeat(this.wire);
  }

  // ---- frames

  #send(parser: FrameParser, bytes: Buffer): void {
    const index = parser.indexOf(HEADER.TRANSACTION);
    const work = index < 0 ? null : this.#transactions.get(parser.valueAt(bytes, index));
    this.#sender ??= this.#makeSender();
    try {
      this.#sender.send(parser, bytes, work === null ? null : work.transaction);
    } catch (error) {
      if (error instanceof BrokerError && error.code === "resource-deleted") this.#sender.close();
      throw error;
    }
  }

  #makeSender(): Sender {
    const { turn } = this.#broker;
    return new Sender({
      connection: this.#connection,
      destinations: this.#destinations,
      receipts: this.receipts,
      options: this.#options,
      now: () => turn.now,
      expectReply: (name) => this.#expectReply(name),
    });
  }

  #nack(parser: FrameParser, bytes: Buffer): void {
    if (this.version === 10) throw new StompError("Unknown command", "STOMP 1.0 has no NACK.");
    const requeue = parser.text(bytes, HEADER.REQUEUE);
    this.#acknowledge(
      parser,
      bytes,
      requeue === "false" ? OUTCOME.REJECT : requeue === "true" ? OUTCOME.RELEASE : OUTCOME.FAIL,
    );
  }

  #acknowledge(parser: FrameParser, bytes: Buffer, outcome: Outcome): void {
    const header = this.version === 12 ? HEADER.ID : HEADER.MESSAGE_ID;
    const index = parser.indexOf(header);
    if (index < 0) throw this.#missing(parser, header);
    const start = parser.base + parser.table[index * 4 + 2]!;
    const end = parser.base + parser.table[index * 4 + 3]!;
    const isOurs = this.#readDeliveryId(bytes, start, end);
    let subscription = this.#lastAcked;
    if (subscription === null || subscription.options.index !== this.#idIndex) {
      subscription = (isOurs ? this.#byIndex.get(this.#idIndex) : undefined) ?? null;
      this.#lastAcked = subscription;
    }
    if (this.version === 11) this.#checkSubscription(parser, bytes, subscription);
    const named = parser.indexOf(HEADER.TRANSACTION);
    const work = named < 0 ? null : this.#transactions.get(parser.valueAt(bytes, named));
    if (!isOurs) throw this.#unknownDelivery(parser, bytes, index);
    if (subscription === null) {
      // It was unsubscribed while this frame was on its way: its deliveries have gone back already.
      if (this.#idIndex > 0 && this.#idIndex <= this.#lastIndex) return;
      throw this.#unknownDelivery(parser, bytes, index);
    }
    const position = subscription.settle(this.#idDelivery, outcome, work);
    if (position < 0) {
      if (subscription.options.ackMode === "auto") {
        throw new StompError(
          "Unexpected ACK",
          `The subscription "${subscription.options.id}" has ack:auto; its messages are not acknowledged.`,
        );
      }
      throw this.#unknownDelivery(parser, bytes, index);
    }
    this.receipts.settled(position);
    if (!subscription.needsCredit) {
      subscription.needsCredit = true;
      this.#settledIn.push(subscription);
    }
  }

  /** 1.1 "ACK": the header subscription is REQUIRED and names the subscription of the message. */
  #checkSubscription(parser: FrameParser, bytes: Buffer, subscription: Subscription | null): void {
    const id = parser.text(bytes, HEADER.SUBSCRIPTION);
    if (id === undefined) throw this.#missing(parser, HEADER.SUBSCRIPTION);
    if (subscription !== null && subscription.options.shownId !== id) {
      throw new StompError(
        "Subscription not found",
        `The message does not belong to the subscription "${id.slice(0, 80)}".`,
      );
    }
  }

  #subscribe(parser: FrameParser, bytes: Buffer): void {
    const destination = parser.text(bytes, HEADER.DESTINATION);
    if (destination === undefined) {
      throw new StompError("No destination", "A SUBSCRIBE frame needs the header destination.");
    }
    const given = parser.text(bytes, HEADER.ID);
    if (given === undefined && this.version > 10) throw this.#missing(parser, HEADER.ID);
    const key = given ?? destination;
    if (this.#byId.has(key)) {
      throw new StompError(
        "Duplicate subscription",
        `A subscription with the id "${key.slice(0, 80)}" exists on this connection.`,
      );
    }
    if (this.#byIndex.size >= this.#options.maxSubscriptions) {
      throw new StompError(
        "limit exceeded",
        `A connection may have ${this.#options.maxSubscriptions} subscriptions.`,
      );
    }
    const type = parser.text(bytes, HEADER.SUBSCRIPTION_TYPE);
    const resolved = this.#destinations.resolve(destination, type);
    const frame = readSubscribe(parser, bytes, key, resolved, this.#subscriber, this.#options);
    this.#closeReply(destination);
    const { address } = frame.request;
    const index = this.#lastIndex + 1;
    const subscription = new Subscription(
      {
        index,
        id: key,
        destination,
        shownId: given ?? "",
        ackMode: frame.ackMode,
        prefetch: frame.prefetch,
        windowBytes: frame.windowBytes,
        isBrowser: frame.isBrowser,
        showsOffset: frame.showsOffset,
        hasWildcard: address.kind === "topic" && hasWildcard(address.name),
        durable: frame.durable,
        version: this.version,
        idPrefix: this.#idPrefix(index),
      },
      this,
    );
    const consumer = this.#connection.openConsumer(frame.request, subscription);
    this.#lastIndex = index;
    this.#byIndex.set(index, subscription);
    this.#byId.set(key, subscription);
    const { durableAt } = consumer.info;
    if (durableAt === 0) {
      // The receipt goes before the first message, so it does not wait behind others.
      this.receipts.requestNow(parser, bytes);
    } else {
      this.receipts.settled(durableAt);
      this.#receipt(parser, bytes, true);
    }
    subscription.start(consumer);
  }

  #unsubscribe(parser: FrameParser, bytes: Buffer): void {
    const given = parser.text(bytes, HEADER.ID);
    const key = given ?? (this.version === 10 ? parser.text(bytes, HEADER.DESTINATION) : undefined);
    if (key === undefined) throw this.#missing(parser, HEADER.ID);
    const subscription = this.#byId.get(key);
    const named = readDurable(parser, bytes, key, undefined, this.#subscriber);
    if (subscription === undefined) {
      if (named !== null && !named.isShared) {
        this.#connection.deleteSubscription(named);
        return;
      }
      throw new StompError(
        "Subscription not found",
        `There is no subscription with the id "${key.slice(0, 80)}".`,
        { isFatal: false },
      );
    }
    this.#drop(subscription);
    const { durable } = subscription.options;
    if (durable !== null && named !== null) this.#connection.deleteSubscription(durable);
  }

  #drop(subscription: Subscription): void {
    this.#byId.delete(subscription.options.id);
    this.#byIndex.delete(subscription.options.index);
    if (this.#lastAcked === subscription) this.#lastAcked = null;
    subscription.close();
  }

  // ---- replies

  /** RabbitMQ's way: who sends with `reply-to:/temp-queue/x` gets the answers without a SUBSCRIBE. */
  #expectReply(name: string): void {
    if (this.#replies.has(name)) return;
    for (const { options } of this.#byIndex.values()) if (options.destination === name) return;
    const index = ++this.#lastIndex;
    const subscription = new Subscription(
      {
        index,
        id: name,
        destination: name,
        shownId: name,
        ackMode: "auto",
        prefetch: Number.POSITIVE_INFINITY,
        windowBytes: 0,
        isBrowser: false,
        showsOffset: false,
        hasWildcard: false,
        durable: null,
        version: this.version,
        idPrefix: this.#idPrefix(index),
      },
      this,
    );
    const address = this.#destinations.resolve(name, undefined);
    const consumer = this.#connection.openConsumer(
      { address, mode: "consume", preSettled: true, onLost: OUTCOME.RELEASE },
      subscription,
    );
    this.#byIndex.set(index, subscription);
    this.#replies.set(name, subscription);
    subscription.start(consumer);
  }

  /** Who subscribes by itself does not want the automatic one beside it. */
  #closeReply(name: string): void {
    const subscription = this.#replies.get(name);
    if (subscription === undefined) return;
    this.#replies.delete(name);
    this.#drop(subscription);
  }

  // ---- subscriptions' side

  wrote(): void {
    this.hasWritten = true;
  }

  ended(subscription: Subscription, reason: BrokerError): void {
    this.#byId.delete(subscription.options.id);
    this.#byIndex.delete(subscription.options.index);
    this.#owner.onSubscriptionEnded(reason);
  }

  // ---- details

  /** `<connection>-<subscription>-`: no colon, which 1.1 and 1.2 would have to escape. */
  #idPrefix(index: number): string {
    return `${this.#connection.id}-${index}-`;
  }

  /** Reads `<connection>-<subscription>-<delivery>`. False when it is not one of ours. */
  #readDeliveryId(bytes: Buffer, start: number, end: number): boolean {
    let part = 0;
    let value = 0;
    let digits = 0;
    this.#idIndex = 0;
    for (let i = start; i < end; i++) {
      const c = bytes[i]!;
      if (c === 0x2d) {
        if (digits === 0) return false;
        if (part === 0 && value !== this.#connection.id) return false;
        if (part === 1) this.#idIndex = value;
        if (++part > 2) return false;
        value = 0;
        digits = 0;
      } else {
        if (c < 0x30 || c > 0x39 || ++digits > 15) return false;
        value = value * 10 + c - 0x30;
      }
    }
    this.#idDelivery = value;
    return part === 2 && digits > 0;
  }

  #receipt(parser: FrameParser, bytes: Buffer, withSettled: boolean): void {
    const index = parser.indexOf(HEADER.RECEIPT);
    if (index < 0) return;
    const start = parser.base + parser.table[index * 4 + 2]!;
    const end = parser.base + parser.table[index * 4 + 3]!;
    this.receipts.request(bytes, start, end, withSettled);
    this.hasWritten = true;
  }

  #required(parser: FrameParser, bytes: Buffer, header: HeaderId): string {
    const text = parser.text(bytes, header);
    if (text === undefined || text === "") throw this.#missing(parser, header);
    return text;
  }

  #missing(parser: FrameParser, header: HeaderId): StompError {
    return new StompError(
      "Missing header",
      `${commandName(parser.command)} needs the header ${headerText(header)} in STOMP ${VERSION_TEXT[this.version]}.`,
    );
  }

  #unknownDelivery(parser: FrameParser, bytes: Buffer, index: number): StompError {
    return new StompError(
      "Message not found",
      `No message "${parser.valueAt(bytes, index).slice(0, 80)}" waits for an acknowledgement.`,
    );
  }
}
