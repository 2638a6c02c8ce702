/**
 * A read-only view of one stored record: the RocketMQ layout (v1/v2) plus what Sluice keeps in `flag` and properties.
 *
 *   at        size  field (big-endian)                at        size  field
 *    0           4  totalSize                         40           8  bornTimestamp ms
 *    4           4  magic                             48        8|20  bornHost
 *    8           4  bodyCRC                           +            8  storeTimestamp ms
 *   12           4  queueId                           +         8|20  storeHost
 *   16           4  flag                              +            4  reconsumeTimes
 *   20           8  queueOffset                       +            8  preparedTransactionOffset
 *   28           8  physicalOffset                    +            4  bodyLength, body
 *   36           4  sysFlag                           +          1|2  topicLength, topic; 2 propertiesLength, properties
 *
 * One view object is reused for many records: `open` repositions it, and everything read from it must be used or
 * copied before the next `open`. It trusts the record: the store has checked it.
 */

/** Bits of the record's `flag` field, valid only where the properties begin with `x-enc` (a record of ours). */
export const FLAG = {
  PRIORITY_MASK: 0xff,
  HAS_PRIORITY: 1 << 8,
  NOT_DURABLE: 1 << 9,
  /** Property `x-exp` (ms since the epoch) follows `x-enc`. */
  HAS_EXPIRY: 1 << 10,
  /** The tag is the rest of the topic path (`root "/" tag`), not a label. */
  TAG_IN_PATH: 1 << 11,
  RETAIN: 1 << 12,
  /** Property `__SHARDINGKEY` (message group) is there. */
  HAS_KEY: 1 << 13,
  /** The publisher asked for exactly-once (MQTT QoS 2). */
  EXACTLY_ONCE: 1 << 14,
} as const;

/** How the body is encoded: property `x-enc`, always the first property of a record of ours. */
export const ENCODING = {
  /** No `x-enc`: written by RocketMQ; the body is opaque bytes. */
  FOREIGN: 0,
  /** AMQP 1.0 sections from message-annotations (if any) on: [annotations] [properties] [application-properties] body [footer]. */
  AMQP1: 1,
  /** AMQP 0-9-1 body; property list in `x-pl`. */
  AMQP091: 2,
  STOMP: 3,
  MQTT: 4,
  /** Payload bytes with neutral text properties only. */
  RAW: 5,
} as const;
export type Encoding = (typeof ENCODING)[keyof typeof ENCODING];

/** The text of `x-enc`, by number. */
export const ENCODING_NAMES = ["", "amqp", "amqp091", "stomp", "mqtt", "raw"] as const;

const SYS_BORN_V6 = 1 << 4;
const SYS_STORE_V6 = 1 << 5;
/** A copy of a record whose segment was given back (src/store/moved-record.ts). */
const SYS_MOVED = 1 << 24;
const MAGIC_V2 = 0xdaa320ab | 0;
const TWO_POW_32 = 2 ** 32;
const X_ENC = Buffer.from("x-enc\x01", "latin1");
const X_EXP = Buffer.from("x-exp\x01", "latin1");

/** As `readInt32BE`, which checks every call's arguments: the whole of `open` takes half the time. */
export function int32At(buffer: Uint8Array, at: number): number {
  return (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!;
}

export class RecordView {
  buffer: Buffer = Buffer.alloc(0);
  /** First byte of the record in `buffer`. */
  start = 0;
  bodyStart = 0;
  bodyEnd = 0;
  topicStart = 0;
  topicEnd = 0;
  propertiesStart = 0;
  propertiesEnd = 0;
  sysFlag = 0;
  flag = 0;
  #hosts = 16;

  open(buffer: Buffer, start: number): this {
    this.buffer = buffer;
    this.start = start;
    const sysFlag = int32At(buffer, start + 36);
    this.sysFlag = sysFlag;
    this.flag = int32At(buffer, start + 16);
    const hosts = (sysFlag & SYS_BORN_V6 ? 20 : 8) + (sysFlag & SYS_STORE_V6 ? 20 : 8);
    this.#hosts = hosts;
    let at = start + 68 + hosts; // 48 up to bornHost, 8 storeTimestamp, 4 + 8 before the body length
    const bodyLength = int32At(buffer, at);
    at += 4;
    this.bodyStart = at;
    at += bodyLength;
    this.bodyEnd = at;
    let topicLength: number;
    if (int32At(buffer, start + 4) === MAGIC_V2) {
      topicLength = (buffer[at]! << 8) | buffer[at + 1]!;
      at += 2;
    } else {
      topicLength = buffer[at]!;
      at += 1;
    }
    this.topicStart = at;
    at += topicLength;
    this.topicEnd = at;
    const propertiesLength = (buffer[at]! << 8) | buffer[at + 1]!;
    at += 2;
    this.propertiesStart = at;
    this.propertiesEnd = at + propertiesLength;
    return this;
  }

  /** Bytes of the whole record. */
  get size(): number {
    return this.buffer.readInt32BE(this.start);
  }
  get bodyLength(): number {
    return this.bodyEnd - this.bodyStart;
  }
  get queueId(): number {
    return this.buffer.readInt32BE(this.start + 12);
  }
  get queueOffset(): number {
    return this.#int64(this.start + 20);
  }
  get physicalOffset(): number {
    return this.#int64(this.start + 28);
  }
  /** Where the record was first stored: the same for as long as it exists, also when the store moves it. */
  get firstOffset(): number {
    if ((this.sysFlag & SYS_MOVED) === 0) return this.physicalOffset;
    return Number.parseInt(this.property("__MOVED") ?? "", 10);
  }
  get bornTimestamp(): number {
    return this.#int64(this.start + 40);
  }
  get storeTimestamp(): number {
    return this.#int64(this.start + 48 + (this.sysFlag & SYS_BORN_V6 ? 20 : 8));
  }
  get reconsumeTimes(): number {
    return this.buffer.readInt32BE(this.start + 56 + this.#hosts);
  }
  /** Of a record of ours with a long dispatch list: where that begins (src/store/fan-record.ts). */
  get preparedTransactionOffset(): number {
    return this.#int64(this.start + 60 + this.#hosts);
  }
  get topic(): string {
    return this.buffer.toString("latin1", this.topicStart, this.topicEnd);
  }

  get encoding(): Encoding {
    const { buffer, propertiesStart: at, propertiesEnd: end } = this;
    if (end - at < 8) return ENCODING.FOREIGN;
    for (let i = 0; i < 6; i++) if (buffer[at + i] !== X_ENC[i]) return ENCODING.FOREIGN;
    switch (buffer[at + 6]) {
      case 0x61: // "amqp" or "amqp091"
        return buffer[at + 10] === 0x02 ? ENCODING.AMQP1 : ENCODING.AMQP091;
      case 0x73:
        return ENCODING.STOMP;
      case 0x6d:
        return ENCODING.MQTT;
      case 0x72:
        return ENCODING.RAW;
      default:
        return ENCODING.FOREIGN;
    }
  }

  /** Delivery mode as the publisher asked for it; foreign records are persistent. */
  get isDurable(): boolean {
    return (this.flag & FLAG.NOT_DURABLE) === 0 || this.encoding === ENCODING.FOREIGN;
  }

  /** Did the publisher give a priority? */
  get hasPriority(): boolean {
    return (this.flag & FLAG.HAS_PRIORITY) !== 0 && this.encoding !== ENCODING.FOREIGN;
  }

  /** 0..255; 4 when the publisher gave none. */
  get priority(): number {
    return this.flag & FLAG.HAS_PRIORITY && this.encoding !== ENCODING.FOREIGN
      ? this.flag & FLAG.PRIORITY_MASK
      : 4;
  }

  /** Absolute expiry in ms since the epoch; 0 for none. */
  get expiresAt(): number {
    if ((this.flag & FLAG.HAS_EXPIRY) === 0 || this.encoding === ENCODING.FOREIGN) return 0;
    const { buffer } = this;
    let at = buffer.indexOf(0x02, this.propertiesStart) + 1;
    for (let i = 0; i < X_EXP.length; i++) if (buffer[at + i] !== X_EXP[i]) return 0;
    at += X_EXP.length;
    let value = 0;
    for (let c = buffer[at]!; c !== 0x02 && at < this.propertiesEnd; c = buffer[++at]!) {
      value = value * 10 + (c - 0x30);
    }
    return value;
  }

  /** The value of one property, or undefined. Walks the text: not for the hot path. */
  property(name: string): string | undefined {
    const text = this.buffer.toString("utf8", this.propertiesStart, this.propertiesEnd);
    const key = `${name}\x01`;
    let at = text.startsWith(key) ? 0 : text.indexOf(`\x02${key}`);
    if (at < 0) return undefined;
    if (at > 0 || !text.startsWith(key)) at += 1;
    const from = at + key.length;
    const to = text.indexOf("\x02", from);
    return text.slice(from, to < 0 ? undefined : to);
  }

  /** All properties in order, repeats kept; names the store adds (`__CRC32#`) left out. */
  properties(): Array<[name: string, value: string]> {
    const out: Array<[string, string]> = [];
    const text = this.buffer.toString("utf8", this.propertiesStart, this.propertiesEnd);
    for (const piece of text.split("\x02")) {
      const eq = piece.indexOf("\x01");
      if (eq > 0 && !piece.startsWith("__CRC32#"))
        out.push([piece.slice(0, eq), piece.slice(eq + 1)]);
    }
    return out;
  }

  #int64(at: number): number {
    return int32At(this.buffer, at) * TWO_POW_32 + (int32At(this.buffer, at + 4) >>> 0);
  }
}
