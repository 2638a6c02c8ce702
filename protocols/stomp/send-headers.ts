/**
 * The headers of a SEND → Draft. Those that routing, expiry and order need are read into it, the rest is kept as the stored
 * header block (codec/header-block.ts) in its properties; what only speaks to the broker, or states a fact that only the
 * broker may state, goes nowhere.
 */
import { Draft } from "../../src/model/draft.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import { printable } from "./codec/frame-bytes.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { HeaderBlockWriter } from "./codec/header-block.ts";
import { HEADER } from "./codec/header-names.ts";
import type { Destinations } from "./destinations.ts";
import { StompError } from "./errors.ts";

/** How often one SEND may be delivered by AMQ_SCHEDULED_REPEAT. */
const MAX_REPEATS = 1000;
/** Latest time a Date can hold: what is later is a mistake. */
const MAX_TIME_MS = 8.64e15;

/** Headers behind these are not looked for in the block. */
const MAX_PLACES = 16;

export interface SendHeadersContext {
  readonly destinations: Destinations;
  /** ms, of this turn. */
  now(): number;
  /** The reply to a SEND with `reply-to:/temp-queue/x` comes without a SUBSCRIBE, as RabbitMQ's users expect. */
  expectReply(name: string): void;
}

export class SendHeaders {
  /** What `read` found; used again for every message. */
  readonly draft = new Draft();
  /** AMQ_SCHEDULED_PERIOD and _REPEAT of it. */
  periodMs = 0;
  repeats = 0;
  /** The same headers mean the same at any other time. */
  isRepeatable = false;
  /** Where in the block the value of a header lies that only readers know the meaning of, by the header's index. */
  readonly places = new Int32Array(MAX_PLACES);
  readonly #context: SendHeadersContext;
  readonly #block = new HeaderBlockWriter();

  constructor(context: SendHeadersContext) {
    this.#context = context;
  }

  /**
   * Of the frame that the parser stands on: everything but where it goes. `keepText` or `keepBytes` has to follow. Throws
   * StompError.
   */
  read(parser: FrameParser, bytes: Buffer, isDurableByDefault: boolean): Draft {
    const draft = this.draft.reset();
    draft.bytes = bytes;
    draft.start = parser.base + parser.bodyStart;
    draft.end = parser.base + parser.bodyEnd;
    draft.encoding = ENCODING.STOMP;
    draft.isDurable = isDurableByDefault;
    this.periodMs = 0;
    this.repeats = 0;
    this.isRepeatable = true;
    this.#readAll(parser, bytes, draft);
    this.#block.end();
    return draft;
  }

  /** The headers that are kept, as a property of the record. */
  get block(): Readonly<Pick<HeaderBlockWriter, "bytes" | "length">> {
    return this.#block;
  }

  /** The headers that are kept go into the draft as text, which lives on. */
  keepText(): void {
    this.draft.properties = this.#block.text();
  }

  /** They go there as bytes, until the next frame; as the text of those before where they are the same. */
  keepBytes(): void {
    const block = this.#block;
    if (block.isKnown) {
      this.keepText();
      return;
    }
    this.draft.head = block.bytes;
    this.draft.headStart = 0;
    this.draft.headEnd = block.length;
  }

  /** Every header once, in order: into the draft, into the block, or nowhere. */
  #readAll(parser: FrameParser, bytes: Buffer, draft: Draft): void {
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
          block.add(parser, bytes, i);
          if (i < MAX_PLACES) this.places[i] = block.valueStart;
          continue;
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
          this.isRepeatable = false;
          draft.dedupId = parser.valueAt(bytes, index);
          this.#block.addText("amqp-message-id", draft.dedupId);
        }
        return false;
      case HEADER.REPLY_TO:
        return this.#readReplyTo(parser.valueAt(bytes, index), isFirst);
      case HEADER.SCHEDULED_DELAY:
        if (isFirst) {
          this.isRepeatable = false;
          draft.deliverAt =
            this.#context.now() + this.#number(parser, bytes, index, MAX_TIME_MS / 2);
        }
        return true;
      case HEADER.SCHEDULED_TIME:
      case HEADER.DELIVER_AT:
        if (isFirst) draft.deliverAt = this.#number(parser, bytes, index, MAX_TIME_MS);
        return true;
      case HEADER.SCHEDULED_PERIOD:
        if (isFirst) this.periodMs = this.#number(parser, bytes, index, MAX_TIME_MS / 1e6);
        return true;
      case HEADER.SCHEDULED_REPEAT:
        if (isFirst) this.repeats = this.#number(parser, bytes, index, MAX_REPEATS);
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
    this.isRepeatable = false;
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

/** Text that goes into record properties: without their separators. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they separate record properties
const cleanText = (text: string): string => text.replace(/[\x01\x02]/g, "");
