/**
 * SEND → Draft → Target. The body stays where it came in; of the headers, those that routing, expiry and order need are
 * read into the draft, the rest is kept as the stored header block (codec/header-block.ts).
 *
 * Targets stay open for the life of the connection, up to a bound; one that is used again and again is found by comparing
 * the destination's bytes with the last one's.
 */
import type { BrokerConnection, Target, Transaction } from "../../src/broker/facade.ts";
import { Draft } from "../../src/model/draft.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import { printable } from "./codec/frame-bytes.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { HeaderBlockWriter } from "./codec/header-block.ts";
import { HEADER } from "./codec/header-names.ts";
import type { Destinations } from "./destinations.ts";
import { StompError } from "./errors.ts";
import type { StompOptions } from "./options.ts";
import type { ReceiptQueue } from "./receipts.ts";
import { RepeatedSend } from "./repeated-send.ts";

/** Record bytes beyond headers and body, for `hasRoom`. */
export const RECORD_OVERHEAD = 512;

/** How often one SEND may be delivered by AMQ_SCHEDULED_REPEAT. */
const MAX_REPEATS = 1000;
/** Latest time a Date can hold: what is later is a mistake. */
const MAX_TIME_MS = 8.64e15;

/** The open targets of one destination header. */
interface Route {
  readonly targets: Target[];
  /** What `persistent` means when it is missing. */
  readonly isDurableByDefault: boolean;
}

export interface SenderContext {
  readonly connection: BrokerConnection;
  readonly destinations: Destinations;
  readonly receipts: ReceiptQueue;
  readonly options: StompOptions;
  /** ms, of this turn. */
  now(): number;
  /** The reply to a SEND with `reply-to:/temp-queue/x` comes without a SUBSCRIBE, as RabbitMQ's users expect. */
  expectReply(name: string): void;
}

export class Sender {
  readonly #context: SenderContext;
  readonly #draft = new Draft();
  readonly #block = new HeaderBlockWriter();
  readonly #routes = new Map<string, Route>();
  // The destination of the SEND before, as it came.
  #lastName = Buffer.alloc(0);
  #lastRoute: Route | null = null;
  // AMQ_SCHEDULED_PERIOD and _REPEAT of the message at hand.
  #periodMs = 0;
  #repeats = 0;
  /** The SEND before, when another one with its headers means the same. */
  readonly #last = new RepeatedSend();
  #isRepeatable = false;
  /** Why the frame at which `sendAlike` stopped was refused. */
  #refusal: unknown = null;

  constructor(context: SenderContext) {
    this.#context = context;
  }

  /** The frame is the one the parser stands on. Throws StompError and BrokerError; nothing was published then, unless a list of destinations broke in the middle. */
  send(parser: FrameParser, bytes: Buffer, transaction: Transaction | null): void {
    const refusal = this.#refusal;
    if (refusal !== null) {
      this.#refusal = null;
      throw refusal;
    }
    const route = this.#routeOf(parser, bytes);
    const draft = this.#draft.reset();
    draft.bytes = bytes;
    draft.start = parser.base + parser.bodyStart;
    draft.end = parser.base + parser.bodyEnd;
    draft.encoding = ENCODING.STOMP;
    draft.isDurable = route.isDurableByDefault;
    this.#periodMs = 0;
    this.#repeats = 0;
    this.#isRepeatable = transaction === null;
    this.#readHeaders(parser, bytes, draft);
    draft.properties = this.#block.end();
    const { targets } = route;
    if (targets.length > 1 || this.#repeats > 0) {
      this.#publishMany(targets, draft, transaction);
      return;
    }
    const target = targets[0]!;
    // Before it is published: that may change the draft.
    if (this.#isRepeatable) this.#last.learn(parser, bytes, draft, target);
    this.#publish(target, draft, transaction);
  }

  /**
   * Publishes the frames from `at` on that repeat the last SEND but for body and receipt. Returns where others begin, or one
   * that cannot be taken now; one that was refused is left to `send`, which throws the reason.
   */
  sendAlike(bytes: Buffer, at: number, end: number): number {
    const { connection, receipts } = this.#context;
    const last = this.#last;
    const draft = this.#draft;
    const { target } = last;
    this.#refusal = null;
    if (target === null) return at;
    for (;;) {
      const next = last.read(bytes, at, end);
      if (next === 0 || receipts.isFull || target.creditAllowance === 0) return at;
      if (!connection.hasRoom(last.bodyEnd - at + RECORD_OVERHEAD)) return at;
      draft.like(last.draft);
      draft.bytes = bytes;
      draft.start = last.bodyStart;
      draft.end = last.bodyEnd;
      try {
        receipts.published(target.level, target.publish(draft));
      } catch (error) {
        this.#refusal = error;
        return at;
      }
      if (last.hasReceipt) receipts.request(bytes, last.receiptStart, last.receiptEnd, false);
      at = next;
    }
  }

  /**
   * Would a message for this frame's destination be held back now (its queue is full and its policy is to wait)? Then
   * `release` is called once that changes. A destination not used before is found out by `send`.
   */
  isHeldBack(parser: FrameParser, bytes: Buffer, release: () => void): boolean {
    const route = this.#knownRoute(parser, bytes);
    if (route === null) return false;
    const { targets } = route;
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i]!;
      if (target.creditAllowance > 0) continue;
      target.onAllowance = () => {
        target.onAllowance = null;
        release();
      };
      return true;
    }
    return false;
  }

  close(): void {
    for (const route of this.#routes.values()) closeRoute(route);
    this.#routes.clear();
    this.#lastRoute = null;
    this.#last.forget();
  }

  #publish(target: Target, draft: Draft, transaction: Transaction | null): void {
    if (transaction !== null) transaction.publish(target, draft);
    else this.#context.receipts.published(target.level, target.publish(draft));
  }

  /** Several destinations, or again and again. Publishing may change the draft, by the rules of one destination. */
  #publishMany(targets: readonly Target[], draft: Draft, transaction: Transaction | null): void {
    const { ttlMs, expiresAt, properties, deliverAt, dedupId } = draft;
    const first = deliverAt === 0 ? this.#context.now() : deliverAt;
    for (let i = 0; i <= this.#repeats; i++) {
      for (const target of targets) {
        draft.ttlMs = ttlMs;
        draft.expiresAt = expiresAt;
        draft.properties = properties;
        draft.deliverAt = i === 0 ? deliverAt : first + i * this.#periodMs;
        // The repetitions were asked for.
        draft.dedupId = i === 0 ? dedupId : "";
        this.#publish(target, draft, transaction);
      }
    }
  }

  #routeOf(parser: FrameParser, bytes: Buffer): Route {
    const index = parser.indexOf(HEADER.DESTINATION);
    if (index < 0) {
      throw new StompError("No destination", "A SEND frame needs the header destination.");
    }
    const known = this.#knownRoute(parser, bytes);
    if (known !== null) return known;
    const type = parser.text(bytes, HEADER.DESTINATION_TYPE);
    const route = this.#open(parser.valueAt(bytes, index), type);
    if (type === undefined) this.#remember(parser, bytes, index, route);
    return route;
  }

  /** The open route of this frame's destination, or null. */
  #knownRoute(parser: FrameParser, bytes: Buffer): Route | null {
    const index = parser.indexOf(HEADER.DESTINATION);
    if (index < 0) return null;
    const type = parser.text(bytes, HEADER.DESTINATION_TYPE);
    if (type !== undefined) {
      return this.#routes.get(keyOf(parser.valueAt(bytes, index), type)) ?? null;
    }
    const start = parser.base + parser.table[index * 4 + 2]!;
    const length = parser.base + parser.table[index * 4 + 3]! - start;
    const last = this.#lastName;
    if (this.#lastRoute !== null && last.length === length) {
      let i = 0;
      while (i < length && bytes[start + i] === last[i]) i++;
      if (i === length) return this.#lastRoute;
    }
    const route = this.#routes.get(parser.valueAt(bytes, index));
    if (route === undefined) return null;
    this.#remember(parser, bytes, index, route);
    return route;
  }

  #remember(parser: FrameParser, bytes: Buffer, index: number, route: Route): void {
    const start = parser.base + parser.table[index * 4 + 2]!;
    const end = parser.base + parser.table[index * 4 + 3]!;
    this.#lastName = Buffer.from(bytes.subarray(start, end));
    this.#lastRoute = route;
  }

  #open(text: string, type: string | undefined): Route {
    const { connection, destinations, options } = this.#context;
    const targets: Target[] = [];
    try {
      for (const address of destinations.resolveAll(text, type)) {
        targets.push(connection.openTarget(address));
      }
    } catch (error) {
      for (const target of targets) target.close();
      throw error;
    }
    const isTopic = targets.every((target) => target.address.kind.endsWith("topic"));
    const route: Route = {
      targets,
      isDurableByDefault: isTopic ? options.persistentTopics : options.persistentQueues,
    };
    if (this.#routes.size >= options.maxTargets) this.#forgetOldest();
    this.#routes.set(keyOf(text, type), route);
    return route;
  }

  #forgetOldest(): void {
    for (const [key, route] of this.#routes) {
      this.#routes.delete(key);
      closeRoute(route);
      this.#last.forget();
      if (route === this.#lastRoute) this.#lastRoute = null;
      return;
    }
  }

  /** Every header once, in order: into the draft, into the block, or nowhere. */
  #readHeaders(parser: FrameParser, bytes: Buffer, draft: Draft): void {
    const block = this.#block;
    block.begin(parser.hasContentLength);
    const { ids, headerCount } = parser;
    for (let i = 0; i < headerCount; i++) {
      const id = ids[i]!;
      switch (id) {
        case HEADER.DESTINATION:
        case HEADER.CONTENT_LENGTH:
        case HEADER.RECEIPT:
        case HEADER.TRANSACTION:
        case HEADER.DESTINATION_TYPE:
        // RabbitMQ's queue creation headers: for the broker, not for readers.
        case HEADER.DURABLE:
        case HEADER.AUTO_DELETE:
        case HEADER.EXCLUSIVE:
        case HEADER.X_MESSAGE_TTL:
        case HEADER.X_EXPIRES:
        case HEADER.X_MAX_LENGTH:
        case HEADER.X_MAX_LENGTH_BYTES:
        case HEADER.X_DEAD_LETTER_EXCHANGE:
        case HEADER.X_DEAD_LETTER_ROUTING_KEY:
        case HEADER.X_MAX_PRIORITY:
        case HEADER.X_QUEUE_TYPE:
        case HEADER.X_QUEUE_NAME:
        // Facts of a delivery that only the broker may state.
        case HEADER.ACK:
        case HEADER.SUBSCRIPTION:
        case HEADER.REDELIVERED:
        case HEADER.X_DELIVERY_COUNT:
        case HEADER.X_STREAM_OFFSET:
        case HEADER.BROWSER:
          continue;
        case HEADER.UNKNOWN:
        case HEADER.CONTENT_TYPE:
          block.add(parser, bytes, i);
          continue;
      }
      const isFirst = parser.indexOf(id as 1) === i;
      if (this.#readKnown(parser, bytes, i, isFirst, draft)) block.add(parser, bytes, i);
    }
  }

  /** Reads one header that means something here; true when readers should see it as well. */
  #readKnown(
    parser: FrameParser,
    bytes: Buffer,
    index: number,
    isFirst: boolean,
    draft: Draft,
  ): boolean {
    switch (parser.ids[index]) {
      case HEADER.PERSISTENT:
        if (isFirst) draft.isDurable = !isFalse(parser, bytes, index);
        return false;
      case HEADER.PRIORITY:
        if (isFirst) draft.priority = this.#number(parser, bytes, index, 255);
        return false;
      case HEADER.EXPIRES:
        if (isFirst) draft.expiresAt = this.#number(parser, bytes, index, MAX_TIME_MS);
        return false;
      case HEADER.TIMESTAMP:
        if (isFirst) draft.bornAt = this.#number(parser, bytes, index, MAX_TIME_MS);
        return false;
      case HEADER.EXPIRATION:
        if (isFirst) draft.ttlMs = this.#number(parser, bytes, index, 0xffff_ffff);
        return true;
      case HEADER.JMSX_GROUP_ID:
        if (isFirst) draft.group = cleanText(parser.valueAt(bytes, index));
        return true;
      case HEADER.TAG:
      case HEADER.X_TAG:
        if (draft.tag === "") draft.tag = cleanText(parser.valueAt(bytes, index));
        return true;
      case HEADER.KEYS:
      case HEADER.X_KEYS:
        if (draft.keys === "") draft.keys = cleanText(parser.valueAt(bytes, index));
        return true;
      case HEADER.RETAIN:
        if (isFirst) draft.isRetained = parser.valueAt(bytes, index) === "true";
        return true;
      case HEADER.MESSAGE_ID:
        // MESSAGE has a message-id of its own; the publisher's goes by the name RabbitMQ gives it.
        if (isFirst) {
          this.#isRepeatable = false;
          draft.dedupId = parser.valueAt(bytes, index);
          this.#block.addText("amqp-message-id", draft.dedupId);
        }
        return false;
      case HEADER.REPLY_TO:
        return this.#readReplyTo(parser.valueAt(bytes, index), isFirst);
      case HEADER.SCHEDULED_DELAY:
        if (isFirst) {
          this.#isRepeatable = false;
          draft.deliverAt =
            this.#context.now() + this.#number(parser, bytes, index, MAX_TIME_MS / 2);
        }
        return true;
      case HEADER.SCHEDULED_TIME:
      case HEADER.DELIVER_AT:
        if (isFirst) draft.deliverAt = this.#number(parser, bytes, index, MAX_TIME_MS);
        return true;
      case HEADER.SCHEDULED_PERIOD:
        if (isFirst) this.#periodMs = this.#number(parser, bytes, index, MAX_TIME_MS / 1e6);
        return true;
      case HEADER.SCHEDULED_REPEAT:
        if (isFirst) this.#repeats = this.#number(parser, bytes, index, MAX_REPEATS);
        return true;
      case HEADER.SCHEDULED_CRON:
        if (parser.valueAt(bytes, index).trim() === "") return false;
        throw new StompError(
          "not offered",
          "AMQ_SCHEDULED_CRON is not offered; AMQ_SCHEDULED_DELAY, _PERIOD and _REPEAT are.",
          { isFatal: false },
        );
      default:
        return true;
    }
  }

  #readReplyTo(text: string, isFirst: boolean): boolean {
    const { destinations } = this.#context;
    if (!isFirst || !destinations.isOwnTemporary(text)) return true;
    this.#isRepeatable = false;
    this.#block.addText("reply-to", destinations.publicSpelling(text));
    this.#context.expectReply(text);
    return false;
  }

  #number(parser: FrameParser, bytes: Buffer, index: number, most: number): number {
    const start = parser.base + parser.table[index * 4 + 2]!;
    const end = parser.base + parser.table[index * 4 + 3]!;
    let value = start < end && end - start <= 16 ? 0 : Number.NaN;
    for (let i = start; i < end; i++) {
      const digit = bytes[i]! - 0x30;
      value = digit >= 0 && digit <= 9 ? value * 10 + digit : Number.NaN;
    }
    if (value <= most) return value;
    throw new StompError(
      "Invalid argument",
      `The header ${parser.nameAt(bytes, index)} has to be a whole number from 0 to ${most}, not "${printable(bytes, start, end)}".`,
      { isFatal: false },
    );
  }
}

const FALSE = Buffer.from("false");

function isFalse(parser: FrameParser, bytes: Buffer, index: number): boolean {
  const start = parser.base + parser.table[index * 4 + 2]!;
  const end = parser.base + parser.table[index * 4 + 3]!;
  if (end - start !== FALSE.length) return false;
  for (let i = 0; i < FALSE.length; i++) if (bytes[start + i] !== FALSE[i]) return false;
  return true;
}

const keyOf = (text: string, type: string | undefined): string =>
  type === undefined ? text : `${type}\n${text}`;

function closeRoute(route: Route): void {
  for (const target of route.targets) target.close();
}

/** Text that goes into record properties: without their separators. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they separate record properties
const cleanText = (text: string): string => text.replace(/[\x01\x02]/g, "");
