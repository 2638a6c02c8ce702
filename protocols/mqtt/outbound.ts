/**
 * Messages on their way to one client: runs straight into the wire, the window of open QoS 1 and 2 messages, and what the
 * client's acknowledgements mean for the session's sources. Identifiers: open-packets.ts; packets: message-writer.ts.
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
import { copyBytes } from "../../src/util/copy-memory.ts";
import { PACKET } from "./codec/constants.ts";
import {
  MessageWriter,
  type MessageWriterHost,
  type MessageWriterLimits,
  RETAIN,
  SHARED_PACKET_MAX,
} from "./message-writer.ts";
import {
  OpenPackets,
  RETAINED,
  Unfinished,
  type UnfinishedRetained,
  type UnfinishedShared,
} from "./open-packets.ts";
import { OPEN, type PacketIdRing } from "./packet-id-ring.ts";
import { flagsOfKind, kindOf, topicOfKind } from "./shared-packets.ts";
import { Stream } from "./stream.ts";
import { isFromMqtt, type TopicOut } from "./topic-out.ts";

const DUP = 8;
/** Most bytes of packets copied at once. */
const SHARED_BYTES = 64 * 1024;
/** Of what is sent again; used at once. */
const again = new RecordView();

export interface OutboundHost extends MessageWriterHost {
  /** Output that waits for a settlement: PUBREL. */
  pushSettled(type: number, packetId: number, position: number): void;
  onSourceCancelled(reason: BrokerError): void;
}

export interface OutboundLimits extends MessageWriterLimits {
  /** Open QoS 1 and 2 messages. */
  readonly window: number;
}

export class Outbound {
  readonly #host: OutboundHost;
  readonly #limits: OutboundLimits;
  readonly #writer: MessageWriter;
  readonly #open = new OpenPackets();
  /** By index; a closed one leaves a hole until its place is taken. */
  readonly #streams: Array<Stream | undefined> = [];
  /** From the session's last connection, until their stream opens. */
  #unfinished: readonly UnfinishedShared[] = [];
  #session: Session | null = null;
  /** Deliveries of one stream acknowledged in a row, settled together at the end of the batch. */
  #ackStream: Stream | null = null;
  #ackFirst = 0;
  #ackLast = 0;
  /** The window opened in this batch of input: credit is given at its end. */
  #isCreditDue = false;

  constructor(host: OutboundHost, limits: OutboundLimits) {
    this.#host = host;
    this.#limits = limits;
    this.#writer = new MessageWriter(host, limits);
  }

  /** QoS 1 and 2 messages the client has not finished with. */
  get openCount(): number {
    return this.#open.count;
  }

  get hasWindow(): boolean {
    return this.#open.count < this.#limits.window && this.#open.others.room > 0;
  }

  start(session: Session): void {
    this.#session = session;
    const unfinished = session.attachment instanceof Unfinished ? session.attachment : null;
    session.attachment = null;
    // Their messages are with the client already: only the end of the exchange is missing.
    const ended = [...session.awaitingCompletion].sort((a, b) => a - b);
    for (const packetId of ended) {
      this.#open.count++;
      this.#host.pushSettled(PACKET.PUBREL, packetId, 0);
    }
    for (const one of this.#open.inOrder(ended, unfinished)) {
      if (!this.#open.fits(one.packetId)) continue;
      if (!("place" in one) || this.#sendAgain(one)) this.#open.restore(one);
    }
    this.#unfinished = unfinished?.shared ?? [];
  }

  #sendAgain(one: UnfinishedRetained): boolean {
    const { physicalOffset, size } = one.place;
    if (!this.#session!.view(physicalOffset, size, again)) return false;
    const { topics } = this.#writer;
    const topic = topics.ofPath(one.path);
    topics.tag.find(again);
    const flags = ((one.state === OPEN.AWAITS_ACK ? 1 : 2) << 1) | RETAIN | DUP;
    return this.#writer.send(topic, again, flags, one.packetId, one.grant);
  }

  /** What the client may have taken although its answer did not come; kept with the session. */
  finish(): readonly KeptDelivery[] {
    const keep = this.#open.unfinished(this.#streams);
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
    this.#open.others.forEach((sequence) => {
      // What the client still sends for them finds nothing, which is an allowed answer.
      if (
        this.#open.others.sourceOf(sequence) === index &&
        this.#open.others.stateOf(sequence) !== OPEN.AWAITS_COMPLETE
      )
        this.#close(this.#open.others, sequence);
    });
  }

  /** MQTT-4.8.2-4: a shared message of QoS 2 is completed with the client that had it. */
  #resend(stream: Stream, one: UnfinishedShared): void {
    const sequence = this.#open.others.find(one.packetId);
    if (sequence < 0) return;
    this.#open.others.setSource(sequence, stream.index);
    if (!stream.source.read(one.delivery, again)) return;
    const topic = this.#writer.topics.ofRecord(again);
    const grant = stream.source.grantFor(topic.path);
    if (grant !== null) this.#writer.send(topic, again, (2 << 1) | DUP, one.packetId, grant);
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
    const topic = this.#writer.topics.ofRecord(record);
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
      this.#writer.send(topic, record, flags, 0, grant);
      return true;
    }
    const state = qos === 1 ? OPEN.AWAITS_ACK : OPEN.AWAITS_RECEIVED;
    let ring = this.#open.others;
    let sequence = ring.next;
    if (!source.isShared && this.#isOwnIdFree(offset)) {
      ring = this.#open.own;
      sequence = offset;
      if (offset < source.resentBelow) flags |= DUP;
    }
    const packetId = ring.idOf(sequence);
    if (!this.#writer.send(topic, record, flags, packetId, grant)) return true;
    ring.put(sequence, stream.index, delivery, state);
    this.#open.count++;
    if (
      ring === this.#open.own &&
      (flags & DUP) === 0 &&
      topic.alias === 0 &&
      this.#writer.encoder.wasPlain
    ) {
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
    const length = this.#writer.encoder.lastSize;
    if (!ring.wants(key, length)) return;
    const at = ring.room(length);
    copyBytes(wire.out, wire.outAt - length, wire.outAt, ring.bytes, at);
    ring.put(key, at, length, kindOf(topicNumber, flags), this.#writer.encoder.lastIdAt, bodyBytes);
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
    const alike = frames.runFrom(slot, run.physicalOffset, index, most, SHARED_BYTES);
    const count = inARow(run, index, alike);
    const own = this.#open.own;
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
    this.#open.count += count;
    counters.publishesOut += count;
    counters.bytesOut += body;
    return count;
  }

  /** Does an exchange of an earlier connection hold one of these identifiers? */
  #areHeld(offset: number, count: number): boolean {
    const session = this.#session!;
    if (session.awaitingCount === 0) return false;
    for (let i = 0; i < count; i++)
      if (session.isReceived(this.#open.own.idOf(offset + i))) return true;
    return false;
  }

  #isOwnIdFree(offset: number): boolean {
    if (!this.#open.own.fits(offset)) return false;
    // Rare: an exchange of an earlier connection that still waits for PUBCOMP holds an identifier.
    return !this.#session!.isReceived(this.#open.own.idOf(offset));
  }

  /** QoS 0, at the moment it is published. False: dropped, too much is waiting. */
  deliverNow(record: RecordView, path: string, grant: Grant): boolean {
    return this.#writer.deliverNow(record, path, grant);
  }

  /** A value that is no message: QoS 0, text. */
  sendValue(path: string, value: string, isRetained: boolean, grant: Grant): void {
    this.#writer.sendValue(path, value, isRetained, grant);
  }

  /** A retained message of a new subscription. The caller has asked `hasWindow`. */
  deliverRetained(cursor: RetainedCursor, record: RecordView, grant: Grant): void {
    const topic = this.#writer.topics.ofPath(cursor.path);
    this.#writer.topics.tag.find(record);
    const qos = Math.min(publishedQoS(record), grant.qos);
    const flags = (qos << 1) | RETAIN;
    if (qos === 0) {
      this.#writer.send(topic, record, flags, 0, grant);
      return;
    }
    const ring = this.#open.others;
    const sequence = ring.next;
    if (!this.#writer.send(topic, record, flags, ring.idOf(sequence), grant)) return;
    const state = qos === 1 ? OPEN.AWAITS_ACK : OPEN.AWAITS_RECEIVED;
    const packetId = ring.put(sequence, RETAINED, 0, state);
    const place = { physicalOffset: record.physicalOffset, size: record.size };
    this.#open.retained.set(packetId, { packetId, state, place, path: cursor.path, grant });
    this.#open.count++;
    this.#isCreditDue = true;
  }

  // ── acknowledgements in ─────────────────────────────────────────────────────────────────────────────────────────

  /** PUBACK; false when nothing waits for it. */
  acknowledge(packetId: number, reason: number): boolean {
    const ring = this.#open.ringOf(packetId);
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
    const ring = this.#open.ringOf(packetId);
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
    this.#open.retained.delete(packetId);
    // First that the client has it, then that the message is done: cut between the two, the first one counts.
    const known = session.received(packetId);
    const settled = stream === undefined ? 0 : this.#settle(stream, delivery, OUTCOME.ACCEPT);
    this.#host.pushSettled(PACKET.PUBREL, packetId, Math.max(known, settled));
    return true;
  }

  /** PUBCOMP; false when nothing waits for it. */
  complete(packetId: number): boolean {
    const session = this.#session!;
    const ring = this.#open.ringOf(packetId);
    const sequence = ring.find(packetId);
    if (sequence >= 0 && ring.stateOf(sequence) === OPEN.AWAITS_COMPLETE) {
      this.#close(ring, sequence);
    } else if (session.isReceived(packetId)) {
      this.#open.count--;
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
    this.#open.close(ring, sequence);
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
    const credit = Math.max(
      0,
      Math.min(this.#limits.window - this.#open.count, this.#open.others.room),
    );
    for (const stream of this.#streams) stream?.source.consumer.setCredit(credit);
  }

  /** The wire takes more. */
  resume(): void {
    for (const stream of this.#streams) stream?.source.consumer.resume();
  }
}

/** QoS the message was published with; what other protocols call durable is at-least-once. */
function publishedQoS(record: RecordView): number {
  const { flag } = record;
  if ((flag & FLAG.EXACTLY_ONCE) !== 0 && isFromMqtt(record)) return 2;
  return record.isDurable ? 1 : 0;
}

/** How many of `count` messages from `index` on have offsets without a gap: their identifiers follow each other. */
function inARow(run: DeliveryRun, index: number, count: number): number {
  const offset = run.queueOffset(index);
  if (run.queueOffset(index + count - 1) === offset + count - 1) return count;
  let length = 1;
  while (run.queueOffset(index + length) === offset + length) length++;
  return length;
}
