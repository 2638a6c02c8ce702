/**
 * What a connected peer may do: every client frame but CONNECT, turned into calls of the broker. Reads the frame the parser
 * stands on; throws StompError and BrokerError for what is refused, and leaves it to connection.ts to tell the peer.
 */
import { type BrokerConnection, type BrokerFacade, OUTCOME } from "../../src/broker/facade.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { hasWildcard } from "../../src/model/topic-path.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import { COMMAND, commandName } from "./codec/commands.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { writeHeartbeat } from "./codec/frame-writer.ts";
import type { StompVersion } from "./codec/header-escape.ts";
import { HEADER, type HeaderId } from "./codec/header-names.ts";
import { Destinations } from "./destinations.ts";
import { StompError } from "./errors.ts";
import { missingDestination, missingHeader } from "./missing-header.ts";
import type { StompOptions } from "./options.ts";
import { type ReceiptOwner, ReceiptQueue } from "./receipts.ts";
import { RecordSpelling } from "./record-spelling.ts";
import { RECORD_OVERHEAD, Sender } from "./sender.ts";
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

const ACK_LETTER = 0x41;
const SEND_LETTER = 0x53;

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
  readonly #acknowledgements: Acknowledgements;
  #lastIndex = 0;

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
    this.#acknowledgements = new Acknowledgements({
      version: setup.version,
      connectionId: setup.connection.id,
      subscriptions: this.#byIndex,
      transactions: this.#transactions,
      receipts: this.receipts,
      lastIndex: () => this.#lastIndex,
    });
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
        this.#acknowledgements.ack(parser, bytes);
        this.#receipt(parser, bytes, true);
        return;
      case COMMAND.NACK:
        this.#acknowledgements.nack(parser, bytes);
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

  /**
   * Takes frames from `at` on that repeat the last SEND or ACK in all that matters, without the parser. Returns where
   * others begin: those that do not, and those that cannot be taken now or not at all.
   */
  takeAlike(bytes: Buffer, at: number, end: number): number {
    if (bytes[at] === ACK_LETTER) return this.#acknowledgements.ackAlike(bytes, at, end);
    if (bytes[at] !== SEND_LETTER || this.#sender === null) return at;
    const next = this.#sender.sendAlike(bytes, at, end);
    if (next > at) this.hasWritten = true;
    return next;
  }

  /** The chunk is done: consumers that were acknowledged get credit again. */
  endOfChunk(): void {
    this.#acknowledgements.endOfChunk();
    this.receipts.endOfChunk();
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

  #subscribe(parser: FrameParser, bytes: Buffer): void {
    const destination = parser.text(bytes, HEADER.DESTINATION);
    if (destination === undefined) throw missingDestination(parser, bytes);
    const given = parser.text(bytes, HEADER.ID);
    if (given === undefined && this.version > 10) {
      throw missingHeader(parser, bytes, HEADER.ID, this.version);
    }
    const key = given ?? destination;
    this.#demandPlace(key);
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

  /** Throws when there can be no further subscription, or none of this id. */
  #demandPlace(id: string): void {
    if (this.#byId.has(id)) {
      throw new StompError(
        "Duplicate subscription",
        `A subscription with the id "${id.slice(0, 80)}" exists on this connection.`,
      );
    }
    const most = this.#options.maxSubscriptions;
    if (this.#byIndex.size >= most) {
      throw new StompError("limit exceeded", `A connection may have ${most} subscriptions.`);
    }
  }

  #unsubscribe(parser: FrameParser, bytes: Buffer): void {
    const given = parser.text(bytes, HEADER.ID);
    const key = given ?? (this.version === 10 ? parser.text(bytes, HEADER.DESTINATION) : undefined);
    if (key === undefined) throw missingHeader(parser, bytes, HEADER.ID, this.version);
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
    this.#acknowledgements.forget(subscription);
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
    this.#acknowledgements.forget(subscription);
    this.#owner.onSubscriptionEnded(reason);
  }

  // ---- details

  /** `<connection>-<subscription>-`: no colon, which 1.1 and 1.2 would have to escape. */
  #idPrefix(index: number): string {
    return `${this.#connection.id}-${index}-`;
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
    if (text === undefined || text === "") throw missingHeader(parser, bytes, header, this.version);
    return text;
  }
}
