/**
 * A link on which the peer receives: the sink of one consumer. Encodes each run of messages straight into the wire's
 * buffer, within the peer's window and credit.
 */
import {
  type Consumer,
  type DeliveryRun,
  type DeliverySink,
  OUTCOME,
  type Outcome,
} from "../../src/broker/facade.ts";
import type { BrokerError } from "../../src/model/errors.ts";
import { ENCODING, FLAG, type RecordView } from "../../src/model/record-view.ts";
import { copyBytes } from "../../src/util/copy-memory.ts";
import type { FrameRing } from "../../src/util/frame-ring.ts";
import { ABSENT, type FlowFrame } from "./codec/frames.ts";
import type { Attach } from "./codec/performatives.ts";
import type { Confirming } from "./confirms.ts";
import {
  HEADER_MAX,
  patchTransfer,
  SMALL_HANDLES,
  setFrameSize,
  TRANSFER_MAX,
  writeContinuation,
  writeHeader,
  writeTransfer,
} from "./delivery-encoder.ts";
import { messageFormatOf, OPAQUE_MARK_BYTES } from "./draft-filler.ts";
import { fromBrokerError } from "./errors.ts";
import { hasDeaths, outgoingSections } from "./outgoing-message.ts";
import type { Session } from "./session.ts";

/** Header and performative of a frame. */
const OVERHEAD = TRANSFER_MAX + HEADER_MAX;
/** Most bytes of transfers copied at once. */
const SHARED_BYTES = 64 * 1024;
/** To a peer with smaller frames, or a limit for messages, every message is looked at. */
const SHARED_FRAME_MAX = 32 * 1024;

export interface SenderLinkOptions {
  /** Settled when sent. */
  readonly isPreSettled: boolean;
  readonly defaultOutcome: Outcome;
  /** What detaching does besides closing the consumer. */
  readonly onClosed: (isClosed: boolean) => void;
}

export class SenderLink implements DeliverySink, Confirming {
  readonly session: Session;
  readonly name: string;
  readonly handle: number;
  readonly defaultOutcome: Outcome;
  readonly #isPreSettled: boolean;
  readonly #onClosed: (isClosed: boolean) => void;
  /** Largest message the peer takes; 0 for any. */
  readonly #maxMessageBytes: number;
  readonly #maxFrame: number;
  /** Transfers written for other peers that may be copied to this one; null where they may not. */
  readonly #frames: FrameRing | null;
  #consumer: Consumer | null = null;
  #deliveryCount = 0;
  /** delivery-count up to which the peer gave credit. */
  #limit = 0;
  #isClosed = false;
  /** A drain ended while frames waited for the session's window: its answer comes after them. */
  #owesDrained = false;
  /** Answers the attach, once the durable subscription is on the disk: on the scale of `settledTo`. */
  #answer: (() => void) | null = null;
  #answerAt = 0;
  isConfirming = false;

  constructor(session: Session, attach: Attach, options: SenderLinkOptions) {
    this.session = session;
    this.name = attach.name;
    this.handle = attach.handle;
    this.defaultOutcome = options.defaultOutcome;
    this.#isPreSettled = options.isPreSettled;
    this.#onClosed = options.onClosed;
    this.#maxMessageBytes = attach.maxMessageSize;
    this.#maxFrame = session.connection.maxOutgoingFrame;
    const { frames } = session.connection.shared;
    const mayShare =
      this.handle < SMALL_HANDLES &&
      this.#maxFrame >= SHARED_FRAME_MAX &&
      this.#maxMessageBytes === 0;
    this.#frames = !mayShare ? null : this.#isPreSettled ? frames.settled : frames.unsettled;
  }

  get consumer(): Consumer {
    return this.#consumer!;
  }

  set consumer(consumer: Consumer) {
    this.#consumer = consumer;
  }

  // ── the attach ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** The attach is answered when `settledTo` is here, and before anything else is said on this link. */
  answerAt(position: number, answer: () => void): void {
    this.#answer = answer;
    this.#answerAt = position;
    this.session.connection.confirms.add(this);
  }

  sendConfirms(): boolean {
    if (this.#answer === null) return false;
    if (this.session.connection.services.broker.settledTo() < this.#answerAt) return true;
    this.answerNow();
    this.resume();
    return false;
  }

  /** Something else is to be said on this link: the attach comes first. */
  answerNow(): void {
    const answer = this.#answer;
    this.#answer = null;
    answer?.();
  }

  // ── the peer's side ─────────────────────────────────────────────────────────────────────────────────────────────

  onFlow(frame: FlowFrame): void {
    const consumer = this.#consumer;
    if (consumer === null) return;
    const isDrain = frame.drain === 1;
    if (frame.linkCredit !== ABSENT) {
      const theirs = frame.deliveryCount === ABSENT ? 0 : frame.deliveryCount;
      // Credit counts from the peer's view of delivery-count: what is on its way is covered already.
      const asked = (theirs + frame.linkCredit - this.#deliveryCount) | 0;
      const isHuge = asked < 0 && frame.linkCredit >= 0x80000000;
      const credit = isHuge ? 0x7fffffff : Math.max(0, asked);
      this.#limit = (this.#deliveryCount + credit) >>> 0;
      consumer.setCredit(credit);
    }
    if (isDrain) consumer.drain();
    else if (frame.echo === 1) this.#sendFlow(false);
  }

  settle(first: number, last: number, outcome: Outcome): number {
    return this.#isClosed ? 0 : this.#consumer!.settle(first, last, outcome);
  }

  close(isClosed: boolean): void {
    if (this.#isClosed) return;
    this.#answer = null;
    this.#isClosed = true;
    this.#consumer?.close(OUTCOME.RELEASE);
    this.#onClosed(isClosed);
  }

  /** The session's window opened. */
  onWindow(): void {
    if (this.#owesDrained) this.onDrained();
    this.resume();
  }

  resume(): void {
    if (!this.#isClosed) this.#consumer?.resume();
  }

  #sendFlow(isDrain: boolean): void {
    const consumer = this.#consumer!;
    this.answerNow();
    this.session.sendFlow(
      this.handle,
      this.#deliveryCount,
      (this.#limit - this.#deliveryCount) >>> 0,
      Math.min(consumer.available, 0xffffffff),
      isDrain,
    );
  }

  // ── the broker's side ───────────────────────────────────────────────────────────────────────────────────────────

  isReady(): boolean {
    return (
      !this.#isClosed &&
      this.session.isReady &&
      !this.session.wire.isBackedUp &&
      this.#answer === null
    );
  }

  onDrained(): void {
    const consumer = this.#consumer;
    if (this.#isClosed || consumer === null) return;
    this.#owesDrained = this.session.hasParked;
    if (this.#owesDrained) return;
    consumer.setCredit(0);
    // The credit that is left counts as used.
    this.#deliveryCount = this.#limit;
    this.#sendFlow(true);
  }

  onCancel(reason: BrokerError): void {
    this.session.detach(this.handle, fromBrokerError(reason));
  }

  deliver(run: DeliveryRun): void {
    const { session } = this;
    const { connection } = session;
    const now = connection.services.broker.turn.now;
    const { count, firstDelivery } = run;
    this.#deliveryCount = (this.#deliveryCount + count) >>> 0;
    const frames = run.isPlain ? this.#frames : null;
    for (let i = 0; i < count; i++) {
      if (frames !== null) {
        i += this.#deliverShared(frames, run, i);
        if (i === count) break;
      }
      const record = run.record(i);
      let bytes = record.buffer;
      let start = record.bodyStart;
      let end = record.bodyEnd;
      let format = 0;
      const isOurs = record.encoding === ENCODING.AMQP1;
      if (isOurs) format = messageFormatOf(bytes, start, end);
      if (format !== 0) {
        start += OPAQUE_MARK_BYTES;
      } else if (!isOurs || hasDeaths(record)) {
        bytes = outgoingSections(record);
        start = 0;
        end = bytes.length;
      }
      const number = firstDelivery + i;
      if (this.#maxMessageBytes > 0 && end - start + HEADER_MAX > this.#maxMessageBytes) {
        this.#skip(number);
        continue;
      }
      const id = this.#isPreSettled
        ? session.unsettled.pushSettled()
        : session.unsettled.push(this.handle, number);
      if (end - start + OVERHEAD <= this.#maxFrame && session.takeWindow()) {
        const { wire } = session;
        wire.reserve(end - start + OVERHEAD);
        const { out } = wire;
        const from = wire.outAt;
        let at = writeTransfer(
          out,
          from,
          session.channel,
          this.handle,
          id,
          format,
          this.#isPreSettled,
          false,
        );
        if (format === 0) at = writeRecordHeader(out, at, record, now, run, i);
        at = copyBytes(bytes, start, end, out, at);
        setFrameSize(out, from, at);
        wire.outAt = at;
        // A time to live goes down; a format that is not 0 is rare.
        if (frames !== null && format === 0 && (record.flag & FLAG.HAS_EXPIRY) === 0) {
          const key = run.physicalOffset[i]!;
          if (frames.wants(key, at - from)) keep(frames, key, out, from, at);
        }
      } else {
        this.#deliverInPieces(run, i, record, id, format, now, bytes, start, end);
      }
    }
    connection.wrote();
  }

  /** Copies transfers that were written for another peer. Returns how many. */
  #deliverShared(frames: FrameRing, run: DeliveryRun, index: number): number {
    const slot = frames.find(run.physicalOffset[index]!);
    if (slot < 0) return 0;
    const { session, handle } = this;
    const { channel, unsettled, wire } = session;
    const most = run.count - index;
    const count = session.takeWindows(
      frames.runFrom(slot, run.physicalOffset, index, most, SHARED_BYTES),
    );
    if (count === 0) return 0;
    const { starts, lengths } = frames;
    const start = starts[slot]!;
    const last = frames.slotOf(slot, count - 1);
    const bytes = starts[last]! + lengths[last]! - start;
    wire.reserve(bytes);
    const { out, outAt } = wire;
    wire.outAt = copyBytes(frames.bytes, start, start + bytes, out, outAt);
    const number = run.firstDelivery + index;
    for (let i = 0; i < count; i++) {
      const id = this.#isPreSettled ? unsettled.pushSettled() : unsettled.push(handle, number + i);
      const at = outAt + starts[frames.slotOf(slot, i)]! - start;
      patchTransfer(out, at, channel, handle, id);
    }
    return count;
  }

  /** A message in frames of the peer's size, some of which may have to wait for its window. */
  #deliverInPieces(
    run: DeliveryRun,
    index: number,
    record: RecordView,
    id: number,
    format: number,
    now: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    const { session, handle } = this;
    const { channel } = session;
    let from = start;
    let isFirst = true;
    do {
      const piece = Math.min(end - from, this.#maxFrame - OVERHEAD);
      const hasMore = from + piece < end;
      const frame = Buffer.allocUnsafe(piece + OVERHEAD);
      let at: number;
      if (isFirst) {
        at = writeTransfer(frame, 0, channel, handle, id, format, this.#isPreSettled, hasMore);
        if (format === 0) at = writeRecordHeader(frame, at, record, now, run, index);
      } else {
        at = writeContinuation(frame, 0, channel, handle, this.#isPreSettled, hasMore);
      }
      at += bytes.copy(frame, at, from, from + piece);
      setFrameSize(frame, 0, at);
      if (session.takeWindow()) session.wire.write(frame, 0, at);
      else session.park(frame.subarray(0, at));
      from += piece;
      isFirst = false;
    } while (from < end);
  }

  /** Larger than this peer takes: left for others, and the credit it had cost is given back. */
  #skip(number: number): void {
    this.#deliveryCount = (this.#deliveryCount - 1) >>> 0;
    const consumer = this.#consumer!;
    if (!this.#isPreSettled) consumer.settle(number, number, OUTCOME.FAIL_ELSEWHERE);
    consumer.setCredit(consumer.credit + 1);
  }
}

function keep(frames: FrameRing, key: number, out: Buffer, from: number, end: number): void {
  const length = end - from;
  const at = frames.room(length);
  copyBytes(out, from, end, frames.bytes, at);
  frames.put(key, at, length, 0, 0, 0);
}

function writeRecordHeader(
  out: Buffer,
  at: number,
  record: RecordView,
  now: number,
  run: DeliveryRun,
  index: number,
): number {
  const { flag } = record;
  let isDurable = true;
  let priority = -1;
  let ttlMs = 0;
  if (flag !== 0 && record.encoding !== ENCODING.FOREIGN) {
    isDurable = (flag & FLAG.NOT_DURABLE) === 0;
    if (flag & FLAG.HAS_PRIORITY) priority = flag & FLAG.PRIORITY_MASK;
    if (flag & FLAG.HAS_EXPIRY) ttlMs = Math.max(1, record.expiresAt - now);
  }
  return writeHeader(
    out,
    at,
    isDurable,
    priority,
    ttlMs,
    !run.isRedelivered(index),
    run.deliveryCount(index),
  );
}
