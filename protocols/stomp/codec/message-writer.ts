/**
 * Writes MESSAGE frames for one subscription. What does not change from message to message is encoded once; a record
 * that came in over STOMP gives its stored header block and its body, both copied as they are.
 */
import { ENCODING, FLAG, type RecordView } from "../../../src/model/record-view.ts";
import type { Wire } from "../../../src/transport/wire.ts";
import { FrameBefore } from "./frame-before.ts";
import { writeBytes, writeDecimal } from "./frame-writer.ts";
import { deathHeaders, StoredBlock } from "./header-block.ts";
import { headerLineBytes, type StompVersion } from "./header-escape.ts";

const ascii = (text: string): Buffer => Buffer.from(text, "latin1");

const COMMAND_LINE = ascii("MESSAGE\n");
const ACK = ascii("\nack:");
const REDELIVERED = ascii("\nredelivered:true");
const DELIVERY_COUNT = ascii("\nx-delivery-count:");
const TIMESTAMP = ascii("\ntimestamp:");
const PERSISTENT = ascii("\npersistent:true");
const PRIORITY = ascii("\npriority:");
const EXPIRES = ascii("\nexpires:");
const OFFSET = ascii("\nx-stream-offset:");
const CONTENT_LENGTH = ascii("content-length:");
const LF = 0x0a;
/** More than all fixed and numeric parts of one frame take. */
const FIXED_BYTES = 320;
/** Larger bodies are not copied into the output buffer in one piece. */
const LARGE_BYTES = 512 * 1024;

/** A message that did not come over STOMP, as the conversion gives it. */
export interface ConvertedMessage {
  /** Lines `name:value\n`, escaped for the peer's version. */
  readonly headers: Buffer;
  readonly body: Buffer;
  readonly bodyStart: number;
  readonly bodyEnd: number;
  /** A text body: 1.0 peers get no content-length, which would mean bytes to them. */
  readonly isText: boolean;
}

/** The facts of a delivery that are not in the record. */
export interface DeliveryFacts {
  /** The subscription's number of it. */
  readonly delivery: number;
  readonly isRedelivered: boolean;
  readonly deliveryCount: number;
  /** Offset to tell the reader of a stream, or −1. */
  readonly streamOffset: number;
}

export interface MessageWriterOptions {
  readonly version: StompVersion;
  /** Value of `subscription`, "" for none (1.0 without id). */
  readonly subscriptionId: string;
  /** What every `message-id` and `ack` begins with. */
  readonly idPrefix: string;
  readonly needsAck: boolean;
}

export class MessageWriter {
  readonly #version: StompVersion;
  readonly #needsAck: boolean;
  readonly #subscription: Buffer;
  readonly #idPrefix: Buffer;
  readonly #block = new StoredBlock();
  /** Everything from the command to the message-id's digits. */
  #head: Buffer = COMMAND_LINE;
  // The last timestamp written, as digits.
  #timestamp = -1;
  readonly #timestampText = Buffer.alloc(24);
  #timestampLength = 0;
  // Where the number of the delivery ended in the last frame: in `message-id`, in `ack` (0 for none).
  #digitsEnd = 0;
  #ackDigitsEnd = 0;
  #isOurs = true;
  readonly #before = new FrameBefore();

  constructor(options: MessageWriterOptions) {
    this.#version = options.version;
    this.#needsAck = options.needsAck && options.version > 10;
    this.#subscription =
      options.subscriptionId === ""
        ? Buffer.alloc(0)
        : headerLineBytes("subscription", options.subscriptionId, options.version);
    this.#idPrefix = ascii(options.idPrefix);
  }

  /** `destination` of the messages that follow. */
  setDestination(destination: string): void {
    this.#head = Buffer.concat([
      COMMAND_LINE,
      this.#subscription,
      headerLineBytes("destination", destination, this.#version),
      ascii("message-id:"),
      this.#idPrefix,
    ]);
  }

  /** A run of deliveries begins: what another wrote meanwhile is not repeated. */
  begin(): void {
    this.#before.forget();
  }

  /**
   * A record that differs from the one before in number and body only, not delivered before: its headers are copied from
   * there. Returns the bytes written, 0 when it is another one.
   */
  writeAlike(wire: Wire, record: RecordView, delivery: number): number {
    return this.#before.repeat(wire, record, delivery);
  }

  /** The block of this record, if it has one: then `writeStored` can write it. */
  findBlock(record: RecordView): StoredBlock | null {
    return this.#block.find(record) ? this.#block : null;
  }

  /** A record with a stored header block, which `findBlock` just found. Returns the bytes written. */
  writeStored(wire: Wire, record: RecordView, facts: DeliveryFacts): number {
    const block = this.#block;
    const { buffer, bodyStart, bodyEnd } = record;
    const isPlain = block.isPlainFor(this.#version) && !block.isDead;
    const headers = isPlain ? buffer : this.#blockFor(record, block);
    const start = isPlain ? block.start : 0;
    const end = isPlain ? block.end : headers.length;
    const isUsual = isPlain && !facts.isRedelivered && facts.streamOffset < 0;
    const isText = !block.isBytes;
    const hasLength = (bodyEnd > bodyStart || !isText) && !(isText && this.#version === 10);
    this.#isOurs = true;
    this.#reserve(wire, end - start, bodyEnd - bodyStart);
    const from = wire.outAt;
    let at = this.#begin(wire.out, from, record, facts, isUsual);
    at = writeBytes(wire.out, at, headers, start, end);
    at = this.#endHeaders(wire.out, at, hasLength, bodyEnd - bodyStart);
    const head = at - from;
    if (isUsual && bodyEnd - bodyStart <= LARGE_BYTES) {
      this.#before.ended(record, block.end, head);
    }
    return head + this.#writeBody(wire, at, buffer, bodyStart, bodyEnd);
  }

  /** A stored block that this peer cannot take as it is. */
  #blockFor(record: RecordView, block: StoredBlock): Buffer {
    const version = this.#version;
    const deaths = block.isDead ? deathHeaders(record, version) : "";
    return Buffer.from(deaths + block.text(record.buffer, version), "utf8");
  }

  writeConverted(
    wire: Wire,
    record: RecordView,
    facts: DeliveryFacts,
    message: ConvertedMessage,
  ): number {
    const { headers, body, bodyStart, bodyEnd, isText } = message;
    this.#isOurs = record.encoding !== ENCODING.FOREIGN;
    const hasNul = isText && body.subarray(bodyStart, bodyEnd).includes(0);
    const hasLength =
      (bodyEnd > bodyStart || !isText) && !(isText && !hasNul && this.#version === 10);
    this.#reserve(wire, headers.length, bodyEnd - bodyStart);
    const from = wire.outAt;
    let at = this.#begin(wire.out, from, record, facts, false);
    at = writeBytes(wire.out, at, headers, 0, headers.length);
    at = this.#endHeaders(wire.out, at, hasLength, bodyEnd - bodyStart);
    return at - from + this.#writeBody(wire, at, body, bodyStart, bodyEnd);
  }

  /** Room for a frame, but for a large body. */
  #reserve(wire: Wire, headersLength: number, bodyLength: number): void {
    const headBytes = this.#head.length + this.#idPrefix.length + FIXED_BYTES + headersLength;
    wire.reserve(headBytes + (bodyLength > LARGE_BYTES ? 0 : bodyLength + 1));
  }

  /** The frame up to and with the broker's headers. */
  #begin(
    out: Buffer,
    from: number,
    record: RecordView,
    facts: DeliveryFacts,
    isUsual: boolean,
  ): number {
    const before = this.#before;
    if (isUsual) {
      const repeated = before.repeatFacts(out, from, record, facts.delivery);
      if (repeated > 0) return repeated;
    }
    const at = this.#writeFacts(out, this.#writeHead(out, from, facts.delivery), record, facts);
    if (isUsual) {
      before.begun(out, from, record, at - from);
      before.number(facts.delivery, this.#digitsEnd, this.#ackDigitsEnd);
    }
    return at;
  }

  /** The last header and the blank line. */
  #endHeaders(out: Buffer, at: number, hasLength: boolean, bodyLength: number): number {
    if (hasLength) {
      at = writeBytes(out, at, CONTENT_LENGTH, 0, CONTENT_LENGTH.length);
      at = writeDecimal(out, at, bodyLength);
      out[at++] = LF;
    }
    out[at++] = LF;
    return at;
  }

  /** Body and NUL behind the headers, which end at `at`. Returns their bytes. */
  #writeBody(wire: Wire, at: number, body: Buffer, bodyStart: number, bodyEnd: number): number {
    const bodyLength = bodyEnd - bodyStart;
    if (bodyLength > LARGE_BYTES) {
      wire.outAt = at;
      // The output may come back with parts of the body where the frame was.
      this.#before.forget();
      wire.write(body, bodyStart, bodyEnd);
      wire.reserve(1);
      wire.out[wire.outAt++] = 0;
    } else {
      const { out } = wire;
      const end = writeBytes(out, at, body, bodyStart, bodyEnd);
      out[end] = 0;
      wire.outAt = end + 1;
    }
    return bodyLength + 1;
  }

  /** What is the same for all messages of the subscription, and the number of the delivery. */
  #writeHead(out: Buffer, from: number, delivery: number): number {
    const head = this.#head;
    const digits = writeBytes(out, from, head, 0, head.length);
    let at = writeDecimal(out, digits, delivery);
    this.#digitsEnd = at - from;
    this.#ackDigitsEnd = 0;
    if (!this.#needsAck) return at;
    const end = at;
    at = writeBytes(out, at, ACK, 0, ACK.length);
    at = writeBytes(out, at, this.#idPrefix, 0, this.#idPrefix.length);
    for (let i = digits; i < end; i++) out[at++] = out[i]!;
    this.#ackDigitsEnd = at - from;
    return at;
  }

  /** The other headers that the broker makes, up to and with their last LF. */
  #writeFacts(out: Buffer, at: number, record: RecordView, facts: DeliveryFacts): number {
    if (facts.isRedelivered) {
      at = writeBytes(out, at, REDELIVERED, 0, REDELIVERED.length);
      if (facts.deliveryCount > 0) {
        at = writeBytes(out, at, DELIVERY_COUNT, 0, DELIVERY_COUNT.length);
        at = writeDecimal(out, at, facts.deliveryCount);
      }
    }
    at = this.#writeTimestamp(out, at, record.bornTimestamp);
    // The flag bits of a record that others wrote mean something else.
    const flag = this.#isOurs ? record.flag : 0;
    if ((flag & FLAG.NOT_DURABLE) === 0) {
      at = writeBytes(out, at, PERSISTENT, 0, PERSISTENT.length);
    }
    if ((flag & FLAG.HAS_PRIORITY) !== 0) {
      at = writeBytes(out, at, PRIORITY, 0, PRIORITY.length);
      at = writeDecimal(out, at, flag & FLAG.PRIORITY_MASK);
    }
    if ((flag & FLAG.HAS_EXPIRY) !== 0) {
      const { expiresAt } = record;
      if (expiresAt !== 0) {
        at = writeBytes(out, at, EXPIRES, 0, EXPIRES.length);
        at = writeDecimal(out, at, expiresAt);
      }
    }
    if (facts.streamOffset >= 0) {
      at = writeBytes(out, at, OFFSET, 0, OFFSET.length);
      at = writeDecimal(out, at, facts.streamOffset);
    }
    out[at++] = LF;
    return at;
  }

  /** Messages of one millisecond share their digits. */
  #writeTimestamp(out: Buffer, at: number, timestamp: number): number {
    if (timestamp !== this.#timestamp) {
      this.#timestamp = timestamp;
      this.#timestampLength = writeDecimal(this.#timestampText, 0, Math.max(0, timestamp));
    }
    at = writeBytes(out, at, TIMESTAMP, 0, TIMESTAMP.length);
    return writeBytes(out, at, this.#timestampText, 0, this.#timestampLength);
  }
}
