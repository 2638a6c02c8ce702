/** Writes messages as PUBLISH packets into one client's output: of MQTT as they are, of other protocols converted. */
import type { Grant } from "../../src/broker/session-facade.ts";
import { FLAG, type RecordView } from "../../src/model/record-view.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { copyBytes } from "../../src/util/copy-memory.ts";
import type { Counters } from "./counters.ts";
import { PublishEncoder } from "./publish-encoder.ts";
import { RecordReader } from "./record-reader.ts";
import type { SharedPackets } from "./shared-packets.ts";
import { isFromMqtt, type TopicOut, TopicOutCache } from "./topic-out.ts";

export const RETAIN = 1;
/** A client that takes less is served packet by packet. */
export const SHARED_PACKET_MAX = 64 * 1024;

export interface MessageWriterHost {
  readonly wire: Wire;
  readonly isV5: boolean;
  readonly counters: Counters;
  readonly packets: SharedPackets;
  readonly turn: { readonly now: number };
}

export interface MessageWriterLimits {
  readonly maxPacketBytes: number;
  readonly aliasMaximum: number;
  readonly directMaxBytes: number;
}

export class MessageWriter {
  readonly encoder: PublishEncoder;
  readonly topics: TopicOutCache;
  readonly #host: MessageWriterHost;
  readonly #limits: MessageWriterLimits;
  readonly #reader = new RecordReader();
  /** Nothing about this client's packets is its own: no aliases, and any size is taken. */
  readonly #isPlain: boolean;

  constructor(host: MessageWriterHost, limits: MessageWriterLimits) {
    this.#host = host;
    this.#limits = limits;
    this.encoder = new PublishEncoder(host.wire, host.isV5, limits.maxPacketBytes);
    this.topics = new TopicOutCache(host.packets.topics, limits.aliasMaximum);
    this.#isPlain = limits.aliasMaximum === 0 && limits.maxPacketBytes >= SHARED_PACKET_MAX;
  }

  /** False when the peer does not take packets of this size. */
  send(
    topic: TopicOut,
    record: RecordView,
    flags: number,
    packetId: number,
    grant: Grant,
  ): boolean {
    const { encoder } = this;
    const { counters } = this.#host;
    let { buffer: body, bodyStart, bodyEnd } = record;
    if (isFromMqtt(record)) {
      if (this.#host.isV5) {
        this.topics.useAlias(topic);
        encoder.list = this.#reader.listOf(record, this.topics.tag.after);
        encoder.expirySeconds = this.#expiry(record);
        encoder.identifiers = grant.identifiers;
      }
    } else {
      const converted = this.#reader.convert(record);
      if (converted === null) {
        counters.unreadable++;
        return false;
      }
      body = converted.body;
      bodyStart = 0;
      bodyEnd = body.length;
      encoder.list = converted.list;
      encoder.expirySeconds = this.#host.isV5 ? this.#expiry(record) : -1;
      encoder.identifiers = this.#host.isV5 ? grant.identifiers : [];
    }
    if (!encoder.put(topic, flags, packetId, body, bodyStart, bodyEnd)) {
      counters.tooLarge++;
      return false;
    }
    counters.publishesOut++;
    counters.bytesOut += bodyEnd - bodyStart;
    return true;
  }

  #expiry(record: RecordView): number {
    if ((record.flag & FLAG.HAS_EXPIRY) === 0) return -1;
    const { expiresAt } = record;
    if (expiresAt === 0) return -1;
    return Math.max(1, Math.ceil((expiresAt - this.#host.turn.now) / 1000));
  }

  /** QoS 0, at the moment it is published. False: dropped, too much is waiting. */
  deliverNow(record: RecordView, path: string, grant: Grant): boolean {
    const { wire, counters } = this.#host;
    if (wire.pendingBytes > this.#limits.directMaxBytes) {
      counters.dropped++;
      return false;
    }
    const { isV5, packets } = this.#host;
    const isRetained = grant.isRetainAsPublished && (record.flag & FLAG.RETAIN) !== 0;
    const isPlain = this.#isPlain && (!isV5 || grant.identifiers.length === 0);
    const shared = isPlain ? packets.directOf(isV5, isRetained) : null;
    if (shared?.holds(record.physicalOffset)) {
      wire.reserve(shared.length);
      wire.outAt = copyBytes(shared.bytes!, 0, shared.length, wire.out, wire.outAt);
      counters.publishesOut++;
      counters.bytesOut += shared.bodyLength;
      return true;
    }
    const topic = this.topics.ofPath(path);
    this.topics.tag.find(record);
    const isSent = this.send(topic, record, isRetained ? RETAIN : 0, 0, grant);
    const { encoder } = this;
    if (isSent && shared !== null && encoder.wasPlain) {
      const start = wire.outAt - encoder.lastSize;
      shared.offer(record.physicalOffset, wire.out, start, wire.outAt, record.bodyLength);
    }
    return true;
  }

  /** A value that is no message: QoS 0, text. */
  sendValue(path: string, value: string, isRetained: boolean, grant: Grant): void {
    const { wire, counters, isV5 } = this.#host;
    if (wire.pendingBytes > this.#limits.directMaxBytes) {
      counters.dropped++;
      return;
    }
    const body = Buffer.from(value);
    const { encoder } = this;
    encoder.plain();
    if (isV5) encoder.identifiers = grant.identifiers;
    encoder.put(this.topics.ofPath(path), isRetained ? RETAIN : 0, 0, body, 0, body.length);
  }
}
