/**
 * Messages on their way to one client: packet identifiers, the window of open QoS 1 and 2 messages, and what the
 * client's acknowledgements mean for the session's sources. Runs are encoded straight into the wire.
 *
 * Identifiers 1..32,768 belong to the session's own messages (offset in its index, modulo): they stay the same over a
 * reconnect. The others serve shared subscriptions and retained messages.
 */
import type { DeliveryRun, DeliverySink } from "../../src/broker/facade.ts";
import { OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import type {
  Grant,
  KeptDelivery,
  RetainedCursor,
  Session,
  SessionSource,
} from "../../src/broker/session-facade.ts";
import type { BrokerError } from "../../src/model/errors.ts";
import { FLAG, RecordView } from "../../src/model/record-view.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { copyBytes } from "../../src/util/copy-memory.ts";
import { PACKET } from "./codec/constants.ts";
import type { Counters } from "./counters.ts";
import { OPEN, PacketIdRing } from "./packet-id-ring.ts";
import { PublishEncoder } from "./publish-encoder.ts";
import { RecordReader } from "./record-reader.ts";
import { flagsOfKind, kindOf, type SharedPackets, topicOfKind } from "./shared-packets.ts";
import { Stream } from "./stream.ts";
import { isFromMqtt, type TopicOut, TopicOutCache } from "./topic-out.ts";

/** Of what is sent again; used at once. */
const again = new RecordView();
const OWN_FIRST = 1;
const OWN_SPAN = 32_768;
const OTHER_FIRST = OWN_FIRST + OWN_SPAN;
const OTHER_SPAN = 65_535 - OWN_SPAN;

const DUP = 8;
const RETAIN = 1;
/** Most bytes of packets copied at once. */
const SHARED_BYTES = 64 * 1024;
/** A client that takes less is served packet by packet. */
const SHARED_PACKET_MAX = 64 * 1024;

export interface OutboundHost {
  readonly wire: Wire;
  readonly isV5: boolean;
  readonly counters: Counters;
  readonly packets: SharedPackets;
  readonly turn: { readonly now: number };
  /** Output that waits for a settlement: PUBREL. */
  pushSettled(type: number, packetId: number, position: number): void;
  onSourceCancelled(reason: BrokerError): void;
}

export interface OutboundLimits {
  /** Open QoS 1 and 2 messages. */
  readonly window: number;
  readonly maxPacketBytes: number;
  readonly aliasMaximum: number;
  readonly directMaxBytes: number;
}

export class Outbound {
  readonly #host: OutboundHost;
  readonly #limits: OutboundLimits;
  readonly #encoder: PublishEncoder;
  readonly #topics: TopicOutCache;
  readonly #reader: RecordReader;
  readonly #own = new PacketIdRing(OWN_FIRST, OWN_SPAN);
  readonly #others = new PacketIdRing(OTHER_FIRST, OTHER_SPAN);
  /** By index; a closed one leaves a hole until its place is taken. */
  readonly #streams: Array<Stream | undefined> = [];
  /** Retained messages that are open, by packet identifier. */
  readonly #retained = new Map<number, UnfinishedRetained>();
  /** From the session's last connection, until their stream opens. */
  #unfinished: readonly UnfinishedShared[] = [];
  #session: Session | null = null;
  /** Nothing about this client's packets is its own: no aliases, and any size is taken. */
  readonly #isPlain: boolean;
  #open = 0;
  /** Deliveries of one stream acknowledged in a row, settled together at the end of the batch. */
  #ackStream: Stream | null = null;
  #ackFirst = 0;
  #ackLast = 0;
  /** The window opened in this batch of input: credit is given at its end. */
  #isCreditDue = false;

  constructor(host: OutboundHost, limits: OutboundLimits) {
    this.#host = host;
    this.#limits = limits;
    this.#encoder = new PublishEncoder(host.wire, host.isV5, limits.maxPacketBytes);
    this.#topics = new TopicOutCache(host.packets.topics, limits.aliasMaximum);
    this.#reader = new RecordReader();
    this.#isPlain = limits.aliasMaximum === 0 && limits.maxPacketBytes >= SHARED_PACKET_MAX;
  }

  /** QoS 1 and 2 messages the client has not finished with. */
  get openCount(): number {
    return this.#open;
  }

  get hasWindow(): boolean {
    return this.#open < this.#limits.window && this.#others.room > 0;
  }

  start(session: Session): void {
    this.#session = session;
    const unfinished = session.attachment instanceof Unfinished ? session.attachment : null;
    session.attachment = null;
    // Their messages are with the client already: only the end of the exchange is missing.
    const ended = [...session.awaitingCompletion].sort((a, b) => a - b);
    for (const packetId of ended) {
      this.#open++;
      this.#host.pushSettled(PACKET.PUBREL, packetId, 0);
    }
    // Identifiers of the upper half are handed out in a row: begin behind those that are still in use.
    const used = [
      ...ended.filter((packetId) => packetId >= OTHER_FIRST).map((packetId) => ({ packetId })),
      ...(unfinished?.retained ?? []),
      ...(unfinished?.shared ?? []),
    ].sort((a, b) => a.packetId - b.packetId);
    for (const one of used) this.#restore(one);
    this.#unfinished = unfinished?.shared ?? [];
  }

  #restore(one: { packetId: number } | UnfinishedRetained | UnfinishedShared): void {
    const sequence = one.packetId - OTHER_FIRST;
    if (!this.#others.fits(sequence)) return;
    if ("source" in one) {
      // Sent again once its stream is open.
      this.#others.put(sequence, PENDING, one.delivery, OPEN.AWAITS_RECEIVED);
      this.#open++;
    } else if ("place" in one) {
      if (this.#sendAgain(one)) {
        this.#others.put(sequence, RETAINED, 0, one.state);
        this.#retained.set(one.packetId, one);
        this.#open++;
      }
    } else this.#others.put(sequence, PENDING, 0, OPEN.AWAITS_COMPLETE);
  }

  #sendAgain(one: UnfinishedRetained): boolean {
    const { physicalOffset, size } = one.place;
    if (!this.#session!.view(physicalOffset, size, again)) return false;
    const topic = this.#topics.ofPath(one.path);
    this.#topics.tag.find(again);
    const flags = ((one.state === OPEN.AWAITS_ACK ? 1 : 2) << 1) | RETAIN | DUP;
    return this.#send(topic, again, flags, one.packetId, one.grant);
  }

  /** What the client may have taken although its answer did not come; kept with the session. */
  finish(): readonly KeptDelivery[] {
    const keep = new Unfinished();
    const ring = this.#others;
    ring.forEach((sequence) => {
      const state = ring.stateOf(sequence);
      const stream = this.#streams[ring.sourceOf(sequence)];
      if (state === OPEN.AWAITS_RECEIVED && stream !== undefined) {
        const { source } = stream;
        const delivery = ring.deliveryOf(sequence);
        keep.shared.push({ packetId: ring.idOf(sequence), source, delivery });
      }
    });
    for (const one of this.#retained.values()) keep.retained.push(one);
    if (this.#session !== null && keep.shared.length + keep.retained.length > 0)
      this.#session.attachment = keep;
    return keep.shared;
  }

  openSource(source: SessionSource): DeliverySink {
    let index = this.#streams.indexOf(undefined);
    if (index < 0) index = this.#streams.length;
    const stream = new Stream(this, source, index);
    this.#streams[index] = stream;
    for (const one of this.#unfinished) {
      if (one.source === source) this.#resend(stream, one);
    }
    // The consumer exists only once the sink does: credit follows at the end of this batch.
    this.#isCreditDue = true;
    return stream;
  }

  closeSource(source: SessionSource): void {
    const index = this.#streams.findIndex((stream) => stream?.source === source);
    if (index < 0) return;
    this.#streams[index] = undefined;
    this.#others.forEach((sequence) => {
      // What the client still sends for them finds nothing, which is an allowed answer.
      if (
        this.#others.sourceOf(sequence) === index &&
        this.#others.stateOf(sequence) !== OPEN.AWAITS_COMPLETE
      )
        this.#close(this.#others, sequence);
    });
  }

  /** MQTT-4.8.2-4: a shared message of QoS 2 is completed with the client that had it. */
  #resend(stream: Stream, one: UnfinishedShared): void {
    const sequence = this.#others.find(one.packetId);
    if (sequence < 0) return;
    this.#others.setSource(sequence, stream.index);
    if (!stream.source.read(one.delivery, again)) return;
    const topic = this.#topics.ofRecord(again);
    const grant = stream.source.grantFor(topic.path);
    if (grant !== null) this.#send(topic, again, (2 << 1) | DUP, one.packetId, grant);
  }

  get isReady(): boolean {
    return !this.#host.wire.isBackedUp;
  }

  onCancel(reason: BrokerError): void {
    this.#host.onSourceCancelled(reason);
  }

  // ── messages out ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Encodes a run of one stream. */
  deliver(stream: Stream, run: DeliveryRun): void {
    const { count, firstDelivery } = run;
    const { source } = stream;
    let doneFrom = -1;
    let wasAnyDone = false;
    for (let i = 0; i < count; i++) {
      const delivery = firstDelivery + i;
      const shared = stream.frames === null ? 0 : this.#deliverShared(stream, source, run, i);
      if (shared > 0) i += shared - 1;
      else if (this.#deliverOne(stream, source, run, i)) {
        if (doneFrom < 0) doneFrom = delivery;
        wasAnyDone = true;
        continue;
      }
      if (doneFrom >= 0) {
        source.consumer.settle(doneFrom, delivery - 1, OUTCOME.ACCEPT);
        doneFrom = -1;
      }
    }
    if (doneFrom >= 0) {
      source.consumer.settle(doneFrom, firstDelivery + count - 1, OUTCOME.ACCEPT);
    }
    // The stream's own credit went down by what was sent. Others share the window; what was done at once used none of it.
    if (this.#streams.length > 1 || wasAnyDone) this.giveCredit();
  }

  /** True when nothing more will come of it: QoS 0, or not to be sent at all. */
  #deliverOne(stream: Stream, source: SessionSource, run: DeliveryRun, index: number): boolean {
    const record = run.record(index);
    const delivery = run.firstDelivery + index;
    const offset = run.queueOffset(index);
    const topic = this.#topics.ofRecord(record);
    const version = source.grantVersion;
    let { grant } = topic;
    if (source.isShared) grant = source.grantFor(topic.path);
    else if (topic.grantVersion !== version) {
      grant = source.grantFor(topic.path);
      topic.grant = grant;
      topic.grantVersion = version;
    }
    if (grant === null) return true;
    const { flag } = record;
    const qos = Math.min(publishedQoS(record), grant.qos);
    let flags = qos << 1;
    if (grant.isRetainAsPublished && (flag & FLAG.RETAIN) !== 0) flags |= RETAIN;
    if (qos === 0) {
      this.#send(topic, record, flags, 0, grant);
      return true;
    }
    const state = qos === 1 ? OPEN.AWAITS_ACK : OPEN.AWAITS_RECEIVED;
    let ring = this.#others;
    let sequence = ring.next;
    if (!source.isShared && this.#isOwnIdFree(offset)) {
      ring = this.#own;
      sequence = offset;
      if (offset < source.resentBelow) flags |= DUP;
    }
    const packetId = ring.idOf(sequence);
    if (!this.#send(topic, record, flags, packetId, grant)) return true;
    ring.put(sequence, stream.index, delivery, state);
    this.#open++;
    if (ring === this.#own && (flags & DUP) === 0 && topic.alias === 0 && this.#encoder.wasPlain) {
      this.#share(stream, topic, grant, run.physicalOffset[index]!, flags, record.bodyLength);
    }
    return false;
  }

  /** Others may get the packet that was just written: keeps it for them, if it was asked for before. */
  #share(
    stream: Stream,
    topic: TopicOut,
    grant: Grant,
    key: number,
    flags: number,
    bodyBytes: number,
  ): void {
    if (this.#limits.maxPacketBytes < SHARED_PACKET_MAX) return;
    const { packets, isV5, wire } = this.#host;
    const ring = packets.ringOf(isV5, grant);
    const topicNumber = topic.name.number;
    stream.mayShare(ring, topicNumber, stream.source.grantVersion);
    const length = this.#encoder.lastSize;
    if (!ring.wants(key, length)) return;
    const at = ring.room(length);
    copyBytes(wire.out, wire.outAt - length, wire.outAt, ring.bytes, at);
    ring.put(key, at, length, kindOf(topicNumber, flags), this.#encoder.lastIdAt, bodyBytes);
  }

  /** Copies packets that were written for another client, with identifiers of this one. Returns how many; 0 for none. */
  #deliverShared(stream: Stream, source: SessionSource, run: DeliveryRun, index: number): number {
    const frames = stream.frames!;
    const slot = frames.find(run.physicalOffset[index]!);
    if (slot < 0) return 0;
    const kind = frames.kinds[slot]!;
    if (!stream.shares(topicOfKind(kind), source.grantVersion)) return 0;
    const offset = run.queueOffset(index);
    if (offset < source.resentBelow) return 0;
    const most = run.count - index;
    const count = frames.runFrom(slot, run.physicalOffset, index, most, SHARED_BYTES);
    const own = this.#own;
    if (!own.fitsRun(offset, count) || this.#areHeld(offset, count)) return 0;
    const { wire, counters } = this.#host;
    const { starts, lengths, details, sizes } = frames;
    const start = starts[slot]!;
    const last = frames.slotOf(slot, count - 1);
    const bytes = starts[last]! + lengths[last]! - start;
    wire.reserve(bytes);
    const { out, outAt } = wire;
    wire.outAt = copyBytes(frames.bytes, start, start + bytes, out, outAt);
    let body = 0;
    for (let i = 0; i < count; i++) {
      const one = frames.slotOf(slot, i);
      const at = outAt + starts[one]! - start + details[one]!;
      const packetId = own.idOf(offset + i);
      out[at] = packetId >> 8;
      out[at + 1] = packetId & 0xff;
      body += sizes[one]!;
    }
    const isOnce = (flagsOfKind(kind) & 6) === 2;
    const state = isOnce ? OPEN.AWAITS_ACK : OPEN.AWAITS_RECEIVED;
    own.putRun(offset, count, stream.index, run.firstDelivery + index, state);
    this.#open += count;
    counters.publishesOut += count;
    counters.bytesOut += body;
    return count;
  }

  /** Does an exchange of an earlier connection hold one of these identifiers? */
  #areHeld(offset: number, count: number): boolean {
    const session = this.#session!;
    if (session.awaitingCount === 0) return false;
    for (let i = 0; i < count; i++) if (session.isReceived(this.#own.idOf(offset + i))) return true;
    return false;
  }

  #isOwnIdFree(offset: number): boolean {
    if (!this.#own.fits(offset)) return false;
    // Rare: an exchange of an earlier connection that still waits for PUBCOMP holds an identifier.
    return !this.#session!.isReceived(this.#own.idOf(offset));
  }

  /** False when the peer does not take packets of this size. */
  #send(
    topic: TopicOut,
    record: RecordView,
    flags: number,
    packetId: number,
    grant: Grant,
  ): boolean {
    const encoder = this.#encoder;
    const { counters } = this.#host;
    let { buffer: body, bodyStart, bodyEnd } = record;
    if (isFromMqtt(record)) {
      if (this.#host.isV5) {
        this.#topics.useAlias(topic);
        encoder.list = this.#reader.listOf(record, this.#topics.tag.after);
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
    const topic = this.#topics.ofPath(path);
    this.#topics.tag.find(record);
    const isSent = this.#send(topic, record, isRetained ? RETAIN : 0, 0, grant);
    const encoder = this.#encoder;
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
    const encoder = this.#encoder;
    encoder.plain();
    if (isV5) encoder.identifiers = grant.identifiers;
    encoder.put(this.#topics.ofPath(path), isRetained ? RETAIN : 0, 0, body, 0, body.length);
  }

  /** A retained message of a new subscription. The caller has asked `hasWindow`. */
  deliverRetained(cursor: RetainedCursor, record: RecordView, grant: Grant): void {
    const topic = this.#topics.ofPath(cursor.path);
    this.#topics.tag.find(record);
    const qos = Math.min(publishedQoS(record), grant.qos);
    const flags = (qos << 1) | RETAIN;
    if (qos === 0) {
      this.#send(topic, record, flags, 0, grant);
      return;
    }
    const ring = this.#others;
    const sequence = ring.next;
    if (!this.#send(topic, record, flags, ring.idOf(sequence), grant)) return;
    const state = qos === 1 ? OPEN.AWAITS_ACK : OPEN.AWAITS_RECEIVED;
    const packetId = ring.put(sequence, RETAINED, 0, state);
    const place = { physicalOffset: record.physicalOffset, size: record.size };
    this.#retained.set(packetId, { packetId, state, place, path: cursor.path, grant });
    this.#open++;
    this.#isCreditDue = true;
  }

  // ── acknowledgements in ─────────────────────────────────────────────────────────────────────────────────────────

  /** PUBACK; false when nothing waits for it. */
  acknowledge(packetId: number, reason: number): boolean {
    const ring = packetId < OTHER_FIRST ? this.#own : this.#others;
    const sequence = ring.find(packetId);
    if (sequence < 0 || ring.stateOf(sequence) !== OPEN.AWAITS_ACK) return false;
    const delivery = ring.deliveryOf(sequence);
    const stream = this.#streams[ring.sourceOf(sequence)];
    this.#close(ring, sequence);
    if (stream === undefined) return true;
    if (reason >= 0x80) {
      this.#settle(stream, delivery, OUTCOME.REJECT);
    } else if (stream === this.#ackStream && delivery === this.#ackLast + 1) {
      this.#ackLast = delivery;
    } else {
      this.#settleAcks();
      this.#ackStream = stream;
      this.#ackFirst = delivery;
      this.#ackLast = delivery;
    }
    return true;
  }

  /** PUBREC: PUBREL follows once that is durable. False when nothing waits for it. */
  received(packetId: number, reason: number): boolean {
    const session = this.#session!;
    const ring = packetId < OTHER_FIRST ? this.#own : this.#others;
    const sequence = ring.find(packetId);
    const state = sequence < 0 ? OPEN.FREE : ring.stateOf(sequence);
    if (state === OPEN.AWAITS_COMPLETE || (sequence < 0 && session.isReceived(packetId))) {
      this.#host.pushSettled(PACKET.PUBREL, packetId, 0);
      return true;
    }
    if (state !== OPEN.AWAITS_RECEIVED) return false;
    const delivery = ring.deliveryOf(sequence);
    const stream = this.#streams[ring.sourceOf(sequence)];
    if (reason >= 0x80) {
      this.#close(ring, sequence);
      if (stream !== undefined) this.#settle(stream, delivery, OUTCOME.REJECT);
      return true;
    }
    ring.setState(sequence, OPEN.AWAITS_COMPLETE);
    this.#retained.delete(packetId);
    // First that the client has it, then that the message is done: cut between the two, the first one counts.
    const known = session.received(packetId);
    const settled = stream === undefined ? 0 : this.#settle(stream, delivery, OUTCOME.ACCEPT);
    this.#host.pushSettled(PACKET.PUBREL, packetId, Math.max(known, settled));
    return true;
  }

  /** PUBCOMP; false when nothing waits for it. */
  complete(packetId: number): boolean {
    const session = this.#session!;
    const ring = packetId < OTHER_FIRST ? this.#own : this.#others;
    const sequence = ring.find(packetId);
    if (sequence >= 0 && ring.stateOf(sequence) === OPEN.AWAITS_COMPLETE) {
      this.#close(ring, sequence);
    } else if (session.isReceived(packetId)) {
      this.#open--;
      this.#isCreditDue = true;
    } else return false;
    session.completed(packetId);
    return true;
  }

  #settle(stream: Stream, delivery: number, outcome: Outcome): number {
    this.#settleAcks();
    return stream.source.consumer.settle(delivery, delivery, outcome);
  }

  #close(ring: PacketIdRing, sequence: number): void {
    if (ring === this.#others && this.#retained.size > 0)
      this.#retained.delete(ring.idOf(sequence));
    ring.free(sequence);
    this.#open--;
    this.#isCreditDue = true;
  }

  #settleAcks(): void {
    const stream = this.#ackStream;
    if (stream === null) return;
    this.#ackStream = null;
    if (this.#streams[stream.index] !== stream) return;
    stream.source.consumer.settle(this.#ackFirst, this.#ackLast, OUTCOME.ACCEPT);
  }

  /** The batch of input is over: settle what was acknowledged, open the window. */
  endBatch(): void {
    if (this.#ackStream !== null) this.#settleAcks();
    if (this.#isCreditDue) this.giveCredit();
  }

  giveCredit(): void {
    this.#isCreditDue = false;
    const credit = Math.max(0, Math.min(this.#limits.window - this.#open, this.#others.room));
    for (const stream of this.#streams) stream?.source.consumer.setCredit(credit);
  }

  /** The wire takes more. */
  resume(): void {
    for (const stream of this.#streams) stream?.source.consumer.resume();
  }
}

/** Stream index of retained messages: nothing is settled for them. */
const RETAINED = 0xffff;
/** Stream index of what an earlier connection left. */
const PENDING = 0xfffe;

interface UnfinishedShared extends KeptDelivery {
  readonly packetId: number;
}

interface UnfinishedRetained {
  readonly packetId: number;
  readonly state: number;
  readonly place: { readonly physicalOffset: number; readonly size: number };
  readonly path: string;
  readonly grant: Grant;
}

/** What a session remembers between connections; an index in the log remembers the session's own messages. */
class Unfinished {
  readonly shared: UnfinishedShared[] = [];
  readonly retained: UnfinishedRetained[] = [];
}

/** QoS the message was published with; what other protocols call durable is at-least-once. */
function publishedQoS(record: RecordView): number {
  const { flag } = record;
  if ((flag & FLAG.EXACTLY_ONCE) !== 0 && isFromMqtt(record)) return 2;
  return record.isDurable ? 1 : 0;
}
