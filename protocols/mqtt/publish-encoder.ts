/**
 * Writes PUBLISH packets straight into a wire's output. The caller has decided everything; this puts the bytes down,
 * without an object per message.
 */
import type { Wire } from "../../src/transport/wire.ts";
import { copyBytes } from "../../src/util/copy-memory.ts";
import { PACKET } from "./codec/constants.ts";
import { PROPERTY } from "./codec/properties.ts";
import { putVarint, varintSize } from "./codec/writer.ts";
import type { TopicOut } from "./topic-out.ts";

/** Packets up to this size are copied in one piece; larger bodies go through `Wire.write`. */
const ONE_PIECE = 256 * 1024;
/** `Buffer.copy` has a fixed cost that a loop beats below this length. */
const LOOP_BYTES = 32;

const NO_IDS: readonly number[] = [];
const NO_LIST = Buffer.alloc(0);

export class PublishEncoder {
  readonly #wire: Wire;
  readonly #isV5: boolean;
  readonly #maxPacketBytes: number;
  /** MQTT 5: seconds left to live, -1 for no limit. Reset by the caller. */
  expirySeconds = -1;
  /** MQTT 5: the property list that came with the message. */
  list: Buffer = NO_LIST;
  identifiers: readonly number[] = NO_IDS;
  /** Of the packet put last: where its identifier stands, counted from its start; -1 when it is not in one piece. */
  lastIdAt = -1;
  lastSize = 0;

  constructor(wire: Wire, isV5: boolean, maxPacketBytes: number) {
    this.#wire = wire;
    this.#isV5 = isV5;
    this.#maxPacketBytes = maxPacketBytes;
  }

  /** May the packet put last, to a client without aliases, be put to others as it is? */
  get wasPlain(): boolean {
    return this.lastIdAt >= 0 && this.expirySeconds < 0 && this.identifiers.length === 0;
  }

  /** Nothing but the body: the ordinary message. */
  plain(): void {
    this.expirySeconds = -1;
    this.list = NO_LIST;
    this.identifiers = NO_IDS;
  }

  /** False, and nothing written, when the packet is larger than the peer takes. `flags`: DUP, QoS and RETAIN in place. */
  put(
    topic: TopicOut,
    flags: number,
    packetId: number,
    body: Buffer,
    start: number,
    end: number,
  ): boolean {
    const bodyLength = end - start;
    const isAliased = topic.isAliasSent;
    const topicLength = isAliased ? 2 : topic.bytes.length;
    let length = topicLength + (packetId === 0 ? 0 : 2) + bodyLength;
    let listLength = 0;
    if (this.#isV5) {
      listLength = this.#listLength(topic);
      length += varintSize(listLength) + listLength;
    }
    const size = 1 + varintSize(length) + length;
    if (size > this.#maxPacketBytes) return false;
    const wire = this.#wire;
    const isOnePiece = size <= ONE_PIECE;
    wire.reserve(isOnePiece ? size : size - bodyLength);
    const { out } = wire;
    let at = wire.outAt;
    this.lastSize = size;
    this.lastIdAt = isOnePiece ? size - length + topicLength : -1;
    out[at++] = (PACKET.PUBLISH << 4) | flags;
    at = putVarint(out, at, length);
    if (isAliased) {
      out[at++] = 0;
      out[at++] = 0;
    } else at = putBytes(out, at, topic.bytes, 0, topicLength);
    if (packetId !== 0) {
      out[at++] = packetId >> 8;
      out[at++] = packetId & 0xff;
    }
    if (this.#isV5) {
      at = putVarint(out, at, listLength);
      if (listLength > 0) at = this.#putList(out, at, topic);
    }
    if (isOnePiece) {
      wire.outAt = putBytes(out, at, body, start, end);
    } else {
      wire.outAt = at;
      wire.write(body, start, end);
    }
    return true;
  }

  #listLength(topic: TopicOut): number {
    let length = this.list.length;
    if (this.expirySeconds >= 0) length += 5;
    if (topic.alias !== 0) length += 3;
    const ids = this.identifiers;
    for (let i = 0; i < ids.length; i++) length += 1 + varintSize(ids[i]!);
    return length;
  }

  #putList(out: Buffer, from: number, topic: TopicOut): number {
    let at = from;
    if (this.expirySeconds >= 0) {
      out[at++] = PROPERTY.MESSAGE_EXPIRY;
      at = out.writeUInt32BE(this.expirySeconds, at);
    }
    if (topic.alias !== 0) {
      out[at++] = PROPERTY.TOPIC_ALIAS;
      out[at++] = topic.alias >> 8;
      out[at++] = topic.alias & 0xff;
      topic.isAliasSent = true;
    }
    const ids = this.identifiers;
    for (let i = 0; i < ids.length; i++) {
      out[at++] = PROPERTY.SUBSCRIPTION_ID;
      at = putVarint(out, at, ids[i]!);
    }
    return putBytes(out, at, this.list, 0, this.list.length);
  }
}

function putBytes(out: Buffer, at: number, from: Buffer, start: number, end: number): number {
  if (end - start >= LOOP_BYTES) return copyBytes(from, start, end, out, at);
  let to = at;
  for (let i = start; i < end; i++) out[to++] = from[i]!;
  return to;
}
