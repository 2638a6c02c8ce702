/**
 * A link on which the peer sends: collects deliveries, hands them to the broker, confirms them in order once they are
 * as durable as the destination asks for, and keeps the peer in credit.
 *
 * Per message this does one section scan, one draft and one publish. Confirms are kept as runs of delivery-ids, credit
 * is renewed at half: both cost a chunk, not a message.
 */
import type { Target } from "../../src/broker/facade.ts";
import { Draft } from "../../src/model/draft.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import { ABSENT, type FlowFrame, type TransferFrame } from "./codec/frames.ts";
import type { Attach } from "./codec/performatives.ts";
import { RCV_SETTLE } from "./codec/performatives.ts";
import { MessageScan } from "./codec/sections.ts";
import { ConfirmQueue } from "./confirm-queue.ts";
import {
  fillDraft,
  messageIdOf,
  OPAQUE_MARK_BYTES,
  withOpaqueMark,
  writeOpaqueMark,
} from "./draft-filler.ts";
import { CONDITION, type ConnectionError, type ErrorInfo, errorInfo, LinkError } from "./errors.ts";
import { modifiedState, readState, rejectedState } from "./outcomes.ts";
import type { Receipts } from "./receipts.ts";
import type { Session } from "./session.ts";
import type { OpenTransaction } from "./transactions.ts";

/** Where a link's messages go. */
export interface Destination {
  /** The target for this message, for links that name one per message. Throws LinkError or BrokerError. */
  targetFor(scan: MessageScan): Target;
  /** How many more messages a producer should be allowed. */
  readonly allowance: number;
  close(): void;
}

const SCAN = new MessageScan();
const DRAFT = new Draft();
const FIRST_PARTIAL_BYTES = 262_144;
const NOTHING = Buffer.alloc(0);

/** A delivery whose frames are still coming. */
interface Partial {
  readonly deliveryId: number;
  readonly messageFormat: number;
  isSettled: boolean;
  transaction: OpenTransaction | null;
  bytes: Buffer;
  length: number;
  touchedAt: number;
  readonly tag: string;
  readonly isResumed: boolean;
}

export class ReceiverLink {
  readonly session: Session;
  readonly name: string;
  readonly handle: number;
  readonly #destination: Destination;
  readonly #isSecond: boolean;
  readonly #mayReject: boolean;
  readonly #maxMessageBytes: number;
  readonly #window: number;
  #deliveryCount: number;
  #credit = 0;
  #isCreditDue = false;
  #isClosed = false;
  #partial: Partial | null = null;

  /** Runs that wait, oldest first, and the run of the current chunk. */
  readonly #confirms = new ConfirmQueue();
  #runLength = 0;
  #runFirst = 0;
  #runLast = 0;
  #runPosition = 0;
  #level: Target["level"] = "memory";
  isConfirming = false;

  /** Deliveries that may be asked for when the link comes back; null where nobody will. */
  readonly #receipts: Receipts | null;
  /** Of those, which have a delivery-id here. */
  readonly #tags = new Map<number, string>();
  /** Of the delivery that is being taken. */
  #tag = "";
  #isResumed = false;

  constructor(
    session: Session,
    attach: Attach,
    destination: Destination,
    mayReject: boolean,
    receipts: Receipts | null = null,
  ) {
    const { settings, services } = session.connection;
    this.session = session;
    this.name = attach.name;
    this.handle = attach.handle;
    this.#destination = destination;
    this.#mayReject = mayReject;
    this.#isSecond = attach.rcvSettleMode === RCV_SETTLE.SECOND;
    this.#maxMessageBytes = services.broker.limits.maxMessageBytes;
    this.#window = settings.producerCredit;
    this.#deliveryCount = attach.initialDeliveryCount ?? 0;
    this.#receipts = receipts;
    if (receipts !== null) receipts.owner = this;
  }

  // ── transfers ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** False: there is no room for it now; the frame has to come again. */
  onTransfer(frame: TransferFrame, bytes: Buffer, end: number): boolean {
    if (this.#partial !== null) return this.#onContinuation(frame, bytes, end);
    if (frame.deliveryId === ABSENT) {
      throw new LinkError(
        CONDITION.NOT_ALLOWED,
        "The first transfer of a delivery needs a delivery-id.",
      );
    }
    if (this.#credit === 0) {
      throw new LinkError(
        CONDITION.TRANSFER_LIMIT,
        "A transfer came without link-credit: wait for a flow.",
      );
    }
    const size = end - frame.payloadStart;
    const { connection } = this.session;
    if (this.#receipts !== null) this.#readTag(frame, bytes);
    if (frame.aborted === 1) {
      this.#countDelivery();
      return true;
    }
    if (frame.more === 1) {
      // One that is on its way here must be able to end, so its connection is not held.
      if (connection.partialLinks.size === 0 && !connection.room.mayBeginPartial()) return false;
      this.#countDelivery();
      this.#beginPartial(frame, bytes, end);
      return true;
    }
    if (!connection.room.hasRoom(size)) return false;
    this.#checkSize(size);
    this.#countDelivery();
    const transaction =
      frame.stateStart === ABSENT
        ? null
        : this.#transactionIn(bytes, frame.stateStart, frame.stateEnd);
    const isSettled = frame.settled === 1;
    if (frame.messageFormat > 0) {
      const marked = withOpaqueMark(bytes, frame.payloadStart, end, frame.messageFormat);
      this.#accept(frame.deliveryId, isSettled, transaction, marked, 0, marked.length, true);
    } else {
      const { deliveryId, payloadStart } = frame;
      this.#accept(deliveryId, isSettled, transaction, bytes, payloadStart, end, false);
    }
    return true;
  }

  #countDelivery(): void {
    this.#deliveryCount = (this.#deliveryCount + 1) >>> 0;
    if (--this.#credit <= this.#window >> 1 && !this.#isCreditDue) {
      this.#isCreditDue = true;
      this.session.connection.creditDue.push(this);
    }
  }

  #beginPartial(frame: TransferFrame, bytes: Buffer, end: number): void {
    this.#partial = {
      deliveryId: frame.deliveryId,
      messageFormat: frame.messageFormat,
      isSettled: frame.settled === 1,
      transaction: null,
      bytes: NOTHING,
      length: 0,
      touchedAt: 0,
      tag: this.#tag,
      isResumed: this.#isResumed,
    };
    this.session.connection.partialLinks.add(this);
    this.#collect(this.#partial, frame, bytes, end);
  }

  #onContinuation(frame: TransferFrame, bytes: Buffer, end: number): boolean {
    const partial = this.#partial!;
    if (frame.deliveryId !== ABSENT && frame.deliveryId !== partial.deliveryId) {
      throw new LinkError(
        CONDITION.NOT_ALLOWED,
        `Delivery ${frame.deliveryId} begins before delivery ${partial.deliveryId} has ended.`,
      );
    }
    if (
      frame.messageFormat !== ABSENT &&
      frame.messageFormat !== (partial.messageFormat === ABSENT ? 0 : partial.messageFormat)
    ) {
      throw new LinkError(CONDITION.NOT_ALLOWED, "The message-format changes within a delivery.");
    }
    if (frame.aborted === 1) {
      this.#dropPartial();
      return true;
    }
    const isLast = frame.more !== 1;
    const size = partial.length + end - frame.payloadStart;
    if (isLast && !this.session.connection.room.hasRoom(size)) return false;
    this.#collect(partial, frame, bytes, end);
    if (!isLast) return true;
    const { deliveryId, isSettled, transaction, bytes: whole, length } = partial;
    this.#tag = partial.tag;
    this.#isResumed = partial.isResumed;
    this.#dropPartial();
    const isOpaque = partial.messageFormat > 0;
    this.#accept(deliveryId, isSettled, transaction, whole, 0, length, isOpaque);
    return true;
  }

  /** Adds a frame's payload. */
  #collect(partial: Partial, frame: TransferFrame, bytes: Buffer, end: number): void {
    const isFirst = partial.bytes.length === 0;
    const mark = isFirst && partial.messageFormat > 0 ? OPAQUE_MARK_BYTES : 0;
    const size = partial.length + mark + end - frame.payloadStart;
    this.#checkSize(size - mark);
    if (size > partial.bytes.length) {
      const capacity = Math.min(
        Math.max(partial.bytes.length * 2, FIRST_PARTIAL_BYTES, size),
        this.#maxMessageBytes + OPAQUE_MARK_BYTES,
      );
      this.session.connection.room.growPartial(capacity - partial.bytes.length);
      const grown = Buffer.allocUnsafeSlow(capacity);
      partial.bytes.copy(grown, 0, 0, partial.length);
      partial.bytes = grown;
    }
    if (mark > 0) {
      writeOpaqueMark(partial.bytes, 0, partial.messageFormat);
      partial.length = mark;
    }
    bytes.copy(partial.bytes, partial.length, frame.payloadStart, end);
    partial.length = size;
    partial.touchedAt = this.session.connection.services.broker.turn.uptime;
    if (frame.settled === 1) partial.isSettled = true;
    if (frame.stateStart !== ABSENT) {
      partial.transaction = this.#transactionIn(bytes, frame.stateStart, frame.stateEnd);
    }
  }

  #dropPartial(): void {
    const partial = this.#partial;
    if (partial === null) return;
    this.#partial = null;
    this.session.connection.partialLinks.delete(this);
    this.session.connection.room.growPartial(-partial.bytes.length);
  }

  /** Memory for large messages is short: one that got no frame since `limitMs` gives its share back. */
  dropStalled(limitMs: number): void {
    if (this.#partial === null || this.#partial.touchedAt > limitMs) return;
    this.session.detach(this.handle, {
      condition: CONDITION.RESOURCE_LIMIT,
      description: "A message was left unfinished while memory for large messages was short.",
    });
  }

  #checkSize(size: number): void {
    if (size <= this.#maxMessageBytes) return;
    throw new LinkError(
      CONDITION.MESSAGE_SIZE,
      `The message has more than ${this.#maxMessageBytes} bytes, the largest size allowed here.`,
    );
  }

  /** A whole message; an opaque one begins with its mark and is not looked into. */
  #accept(
    deliveryId: number,
    isSettled: boolean,
    transaction: OpenTransaction | null,
    bytes: Buffer,
    start: number,
    end: number,
    isOpaque: boolean,
  ): void {
    try {
      if (this.#isResumed && this.#isKnown(deliveryId, isSettled, end - start)) return;
      if (isOpaque) SCAN.skip(start, end);
      else SCAN.scan(bytes, start, end);
      const target = this.#destination.targetFor(SCAN);
      const draft = DRAFT.reset();
      draft.encoding = ENCODING.AMQP1;
      draft.bytes = bytes;
      draft.start = SCAN.start;
      draft.end = end;
      fillDraft(draft, SCAN);
      if (target.wantsMessageId) draft.dedupId = messageIdOf(SCAN);
      if (transaction !== null) {
        transaction.publish(target, draft);
        if (!isSettled) this.#confirmLater(deliveryId, 0, transaction.acceptedState);
        return;
      }
      if (target.level !== this.#level) this.#level = stronger(target.level, this.#level);
      const position = target.publish(draft);
      if (isSettled) return;
      if (this.#receipts !== null) this.#keepReceipt(this.#receipts, deliveryId, position);
      this.#confirm(deliveryId, position);
    } catch (error) {
      this.#refuse(deliveryId, isSettled, error);
    }
  }

  // ── resumed links ───────────────────────────────────────────────────────────────────────────────────────────────

  #readTag(frame: TransferFrame, bytes: Buffer): void {
    const { tagStart, tagEnd } = frame;
    this.#tag = tagStart === ABSENT ? "" : bytes.toString("latin1", tagStart, tagEnd);
    this.#isResumed = frame.resume === 1;
  }

  #keepReceipt(receipts: Receipts, deliveryId: number, position: number): void {
    // Somebody else is this link now.
    if (receipts.owner !== this) return;
    receipts.note(this.#tag, position);
    this.#tags.set(deliveryId, this.#tag);
  }

  /** Goes on with a delivery of before: true when it is stored already, or the peer has settled it. */
  #isKnown(deliveryId: number, isSettled: boolean, bytes: number): boolean {
    const position = this.#receipts!.positionOf(this.#tag);
    if (isSettled) {
      this.#receipts!.forget(this.#tag);
      // Settled and without a message: the peer says good-bye to what it knows was accepted.
      return position !== undefined || bytes === 0;
    }
    if (position === undefined) {
      if (bytes > 0) return false;
      throw new LinkError(
        CONDITION.NOT_FOUND,
        "A delivery was resumed that is not known here, without its message: send it again.",
      );
    }
    this.#tags.set(deliveryId, this.#tag);
    this.#confirm(deliveryId, position);
    return true;
  }

  /** The peer settled these (mode second), or was just told that we did: their tags may be used again. */
  forgetReceipts(first: number, last: number): void {
    const receipts = this.#receipts;
    if (receipts === null || receipts.owner !== this || this.#tags.size === 0) return;
    const forget = (id: number): void => {
      const tag = this.#tags.get(id);
      if (tag === undefined) return;
      this.#tags.delete(id);
      receipts.forget(tag);
    };
    const count = ((last - first) >>> 0) + 1;
    if (count <= this.#tags.size) {
      for (let i = 0; i < count; i++) forget((first + i) >>> 0);
    } else {
      for (const id of [...this.#tags.keys()]) if ((id - first) >>> 0 < count) forget(id);
    }
  }

  /** The message cannot be taken: rejected where the peer can be told so, else the link goes. */
  #refuse(deliveryId: number, isSettled: boolean, error: unknown): void {
    const info = errorInfo(error, this.session.connection);
    const isDecode = info.condition === CONDITION.DECODE_ERROR;
    if (isSettled) {
      // Settled messages that find a full queue are lost by their sender's own choice; what it sends wrongly it must hear.
      if (isDecode || !(error instanceof BrokerError)) throw linkError(info);
      this.session.connection.droppedSettled++;
      return;
    }
    if (
      error instanceof BrokerError &&
      (error.code === "store-read-only" || error.code === "internal")
    ) {
      this.#confirmLater(deliveryId, 0, modifiedState());
      return;
    }
    if (!this.#mayReject) throw linkError(info);
    this.#confirmLater(deliveryId, 0, rejectedState(info));
  }

  /** The transaction that a transfer's state names. */
  #transactionIn(bytes: Buffer, start: number, end: number): OpenTransaction | null {
    const decoded = readState(bytes, start, end);
    if (decoded.kind !== "transactional") return null;
    const transaction = this.session.connection.transactions.get(decoded.txnId);
    if (transaction === undefined) {
      throw new LinkError(
        CONDITION.UNKNOWN_TRANSACTION,
        "The transfer names a transaction that was never declared or is over.",
      );
    }
    return transaction;
  }

  // ── confirms ────────────────────────────────────────────────────────────────────────────────────────────────────

  #confirm(deliveryId: number, position: number): void {
    if (this.#runLength > 0) {
      if (deliveryId === (this.#runLast + 1) >>> 0) {
        this.#runLast = deliveryId;
        this.#runLength++;
        if (position > this.#runPosition) this.#runPosition = position;
        return;
      }
      this.#endRun();
    }
    this.#runFirst = this.#runLast = deliveryId;
    this.#runLength = 1;
    this.#runPosition = position;
    this.session.connection.confirms.add(this);
  }

  /** In its place among the confirms of this link, with its own state. */
  #confirmLater(deliveryId: number, position: number, state: Buffer): void {
    this.#endRun();
    this.#confirms.push(deliveryId, deliveryId, position, state);
    this.session.connection.confirms.add(this);
  }

  #endRun(): void {
    if (this.#runLength === 0) return;
    this.#confirms.push(this.#runFirst, this.#runLast, this.#runPosition, null);
    this.#runLength = 0;
  }

  /** Sends what is confirmed, neighbouring runs as one. True while something still waits. */
  sendConfirms(): boolean {
    this.#endRun();
    const queue = this.#confirms;
    if (this.session.isEnding) {
      queue.clear();
      return false;
    }
    const confirmed = this.session.connection.services.broker.confirmedTo(this.#level);
    while (queue.size > 0 && queue.headPosition <= confirmed) {
      const first = queue.headFirst;
      let last = queue.headLast;
      const state = queue.headState;
      queue.shift();
      if (state === null) {
        while (
          queue.size > 0 &&
          queue.headPosition <= confirmed &&
          queue.headState === null &&
          queue.headFirst === (last + 1) >>> 0
        ) {
          last = queue.headLast;
          queue.shift();
        }
      }
      // Mode second: the peer settles after us; but for links that may be resumed, we keep nothing that this could free.
      this.session.sendDisposition(true, first, last, !this.#isSecond, state);
      if (!this.#isSecond) this.forgetReceipts(first, last);
    }
    return queue.size > 0;
  }

  // ── credit ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Renews the credit as far as the destination allows. */
  grantCredit(): void {
    this.#isCreditDue = false;
    if (this.#isClosed) return;
    const credit = Math.min(this.#window, this.#destination.allowance);
    if (credit <= this.#credit) return;
    this.#credit = credit;
    this.session.sendFlow(this.handle, this.#deliveryCount, credit, ABSENT, false);
  }

  onFlow(frame: FlowFrame): void {
    if (frame.deliveryCount !== ABSENT && frame.deliveryCount !== this.#deliveryCount) {
      // The peer gave credit away (drain, or it skipped): what it counts as sent is sent.
      const skipped = (frame.deliveryCount - this.#deliveryCount) | 0;
      if (skipped > 0 && this.#partial === null) {
        this.#deliveryCount = frame.deliveryCount;
        this.#credit = Math.max(0, this.#credit - skipped);
      }
    }
    if (frame.echo === 1) {
      this.session.sendFlow(this.handle, this.#deliveryCount, this.#credit, ABSENT, false);
    }
    this.grantCredit();
  }

  /** Unconfirmed messages are confirmed all the same, while the session lives. */
  /** Closed for good: it will not come back. */
  close(isClosed: boolean): void {
    this.#isClosed = true;
    if (this.#receipts?.owner === this) {
      this.#receipts.owner = null;
      if (isClosed) this.#receipts.clear();
    }
    this.#dropPartial();
    this.#destination.close();
  }
}

const linkError = (info: ErrorInfo): ConnectionError =>
  new LinkError(info.condition, info.description, info.info);

/** Links with many targets wait for the most careful of them. */
function stronger(a: Target["level"], b: Target["level"]): Target["level"] {
  if (a === "fsync" || b === "fsync") return "fsync";
  return a === "os" || b === "os" ? "os" : "memory";
}
