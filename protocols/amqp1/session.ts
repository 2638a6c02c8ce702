/**
 * One session: windows, delivery-ids, link handles, and the way from the peer's dispositions to the consumers.
 *
 * Our channel and our handles are the peer's: we begin no session and attach no link of our own. After an error of the
 * session everything but the peer's `end` is dropped. Work per chunk: dispositions of consecutive deliveries become one
 * `Consumer.settle`, windows are renewed once.
 */
import { OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { attachLink } from "./attach.ts";
import { DELIVERY_STATE } from "./codec/codes.ts";
import {
  ABSENT,
  DISPOSITION_MAX,
  DispositionFrame,
  FLOW_MAX,
  FlowFrame,
  TransferFrame,
  writeDisposition,
  writeFlow,
} from "./codec/frames.ts";
import {
  type Attach,
  attachFrame,
  type Begin,
  beginFrame,
  type Detach,
  detachFrame,
  endFrame,
} from "./codec/performatives.ts";
import { NULL, type Value } from "./codec/value.ts";
import { ConfirmQueue } from "./confirm-queue.ts";
import type { AmqpConnection } from "./connection.ts";
import type { CoordinatorLink } from "./coordinator-link.ts";
import {
  CONDITION,
  ConnectionError,
  type ErrorInfo,
  errorInfo,
  LinkError,
  SessionError,
} from "./errors.ts";
import { DEFAULT_OUTCOME, type PeerState, readState, simpleOutcome } from "./outcomes.ts";
import type { ReceiverLink } from "./receiver-link.ts";
import type { SenderLink } from "./sender-link.ts";
import type { OpenTransaction } from "./transactions.ts";
import { type SettledRuns, UnsettledRing } from "./unsettled-ring.ts";

/** A link on which the peer sends. */
export type IncomingLink = ReceiverLink | CoordinatorLink;

const OUTGOING_WINDOW = 0x7fffffff;
const INCOMING_WINDOW_MAX = 65_535;
/** Names are kept as long as their links. */
const MAX_NAME = 4_096;

// One of each for the whole process: a frame is read and used up before the next.
const TRANSFER = new TransferFrame();
const DISPOSITION = new DispositionFrame();
const FLOW = new FlowFrame();

export class Session implements SettledRuns {
  readonly connection: AmqpConnection;
  readonly wire: Wire;
  readonly channel: number;
  readonly unsettled = new UnsettledRing();
  /** By handle. */
  readonly #incoming: Array<IncomingLink | undefined> = [];
  readonly #outgoing: Array<SenderLink | undefined> = [];
  /** Links we detached with an error, until the peer's detach: their handles are in use, their frames are dropped. */
  readonly #detaching = new Set<number>();
  /** Handles of such links once the peer detached too: frames for them are a mistake. */
  readonly #errant = new Set<number>();
  /** We ended it: only the peer's `end` counts. */
  isEnding = false;
  #isClosed = false;

  #nextIncomingId: number;
  #incomingWindow: number;
  #windowSize: number;
  #nextOutgoingId = 0;
  #remoteIncomingWindow: number;
  /** Frames that found the peer's window closed, oldest first. */
  #parked: Buffer[] = [];
  #isStalled = false;

  /** Dispositions collected in this chunk: `[first, last]` of one link with one outcome. */
  #settleLink: SenderLink | null = null;
  #settleFirst = 0;
  #settleLast = 0;
  #settleOutcome: Outcome = DEFAULT_OUTCOME;
  #currentOutcome: Outcome = DEFAULT_OUTCOME;
  /** The peer waits for our answer to a settlement: positions on the scale of `settledTo`. */
  readonly #settleConfirms = new ConfirmQueue();
  #settlePosition = 0;
  isAwaitingSettle = false;

  constructor(connection: AmqpConnection, channel: number, begin: Begin) {
    this.connection = connection;
    this.wire = connection.wire;
    this.channel = channel;
    this.#nextIncomingId = begin.nextOutgoingId;
    this.#windowSize = connection.settings.incomingWindow;
    this.#incomingWindow = this.#windowSize;
    this.#remoteIncomingWindow = begin.incomingWindow;
    connection.send(
      channel,
      beginFrame({
        remoteChannel: channel,
        nextOutgoingId: 0,
        incomingWindow: this.#windowSize,
        outgoingWindow: OUTGOING_WINDOW,
        handleMax: connection.services.broker.limits.maxLinksPerSession - 1,
      }),
    );
  }

  // ── transfers in ────────────────────────────────────────────────────────────────────────────────────────────────

  /** False: held back, the same frame has to come again. */
  onTransfer(bytes: Buffer, at: number, end: number): boolean {
    TRANSFER.read(bytes, at, end);
    const { handle } = TRANSFER;
    const link = this.#incoming[handle];
    if (this.#incomingWindow === 0) {
      throw new SessionError(
        CONDITION.WINDOW_VIOLATION,
        "A transfer came with the session's incoming-window at 0: wait for a flow.",
      );
    }
    if (link !== undefined) {
      try {
        if (!link.onTransfer(TRANSFER, bytes, end)) return false;
      } catch (error) {
        this.#failLink(handle, link, error);
      }
    } else if (!this.#detaching.has(handle)) {
      throw this.#noLink(handle, "transfer");
    }
    this.#nextIncomingId = (this.#nextIncomingId + 1) >>> 0;
    this.#incomingWindow--;
    return true;
  }

  /** After a chunk: settles what was collected, renews the window. */
  endChunk(): void {
    if (this.#settleLink !== null) this.flushSettled();
    if (this.#incomingWindow > this.#windowSize >> 1 || this.isEnding) return;
    // A window that is used up within one chunk holds the peer back for a round trip: widen it.
    if (this.#incomingWindow === 0 && this.#windowSize < INCOMING_WINDOW_MAX) {
      this.#windowSize = Math.min(this.#windowSize * 2, INCOMING_WINDOW_MAX);
    }
    this.sendFlow(ABSENT, 0, 0, ABSENT, false);
  }

  // ── flow ────────────────────────────────────────────────────────────────────────────────────────────────────────

  onFlow(bytes: Buffer, at: number, end: number): void {
    FLOW.read(bytes, at, end);
    const { handle } = FLOW;
    const start = FLOW.nextIncomingId === ABSENT ? 0 : FLOW.nextIncomingId;
    const window = (start + FLOW.incomingWindow - this.#nextOutgoingId) | 0;
    // A window of 2^31 or more looks negative: it is as good as open.
    this.#remoteIncomingWindow =
      window >= 0 ? window : FLOW.incomingWindow >= 0x80000000 ? 0x7fffffff : 0;
    if (this.#settleLink !== null) this.flushSettled();
    if (handle !== ABSENT) {
      const sender = this.#outgoing[handle];
      const receiver = this.#incoming[handle];
      if (sender !== undefined) sender.onFlow(FLOW);
      else if (receiver !== undefined) receiver.onFlow(FLOW);
      else if (!this.#detaching.has(handle)) throw this.#noLink(handle, "flow");
    } else if (FLOW.echo === 1) {
      this.sendFlow(ABSENT, 0, 0, ABSENT, false);
    }
    if (this.#isStalled) this.#resume();
  }

  sendFlow(
    handle: number,
    deliveryCount: number,
    credit: number,
    available: number,
    isDrain: boolean,
  ): void {
    const { wire } = this;
    this.#incomingWindow = this.#windowSize;
    wire.reserve(FLOW_MAX);
    wire.outAt = writeFlow(
      wire.out,
      wire.outAt,
      this.channel,
      this.#nextIncomingId,
      this.#windowSize,
      this.#nextOutgoingId,
      OUTGOING_WINDOW,
      handle,
      deliveryCount,
      credit,
      available,
      isDrain,
      false,
    );
    this.connection.wrote();
  }

  // ── transfers out ───────────────────────────────────────────────────────────────────────────────────────────────

  /** May deliveries be encoded now? When not, links are resumed later. */
  get isReady(): boolean {
    if (this.#remoteIncomingWindow > 0 && this.#parked.length === 0 && !this.unsettled.isFull) {
      return true;
    }
    this.#isStalled = true;
    return false;
  }

  /** Takes one frame from the peer's window; false when it is closed: the frame must be parked. */
  takeWindow(): boolean {
    if (this.#remoteIncomingWindow === 0 || this.#parked.length > 0) return false;
    this.#remoteIncomingWindow--;
    this.#nextOutgoingId = (this.#nextOutgoingId + 1) >>> 0;
    return true;
  }

  /** As `takeWindow`, for up to so many frames; returns for how many. */
  takeWindows(frames: number): number {
    if (this.#parked.length > 0) return 0;
    const taken = Math.min(frames, this.#remoteIncomingWindow);
    this.#remoteIncomingWindow -= taken;
    this.#nextOutgoingId = (this.#nextOutgoingId + taken) >>> 0;
    return taken;
  }

  /** Keeps an encoded transfer frame (its own copy) until the window opens. */
  park(frame: Buffer): void {
    this.#parked.push(frame);
    this.#isStalled = true;
  }

  get hasParked(): boolean {
    return this.#parked.length > 0;
  }

  #resume(): void {
    const parked = this.#parked;
    let sent = 0;
    while (sent < parked.length && this.#remoteIncomingWindow > 0) {
      this.wire.write(parked[sent]!);
      this.#remoteIncomingWindow--;
      this.#nextOutgoingId = (this.#nextOutgoingId + 1) >>> 0;
      sent++;
    }
    if (sent > 0) {
      this.#parked = parked.slice(sent);
      this.connection.wrote();
    }
    if (this.#parked.length > 0 || this.#remoteIncomingWindow === 0 || this.unsettled.isFull)
      return;
    this.#isStalled = false;
    for (const link of this.#outgoing) link?.onWindow();
  }

  /** The wire drained: links may send again. */
  onDrain(): void {
    for (const link of this.#outgoing) link?.resume();
  }

  // ── dispositions ────────────────────────────────────────────────────────────────────────────────────────────────

  onDisposition(bytes: Buffer, at: number, end: number): void {
    DISPOSITION.read(bytes, at, end);
    // Role sender: the peer settles what it sent to us, for us it is settled already.
    if (!DISPOSITION.isReceiver) return;
    const { first, last, stateStart, stateEnd } = DISPOSITION;
    const isSettled = DISPOSITION.settled === 1;
    let outcome = DEFAULT_OUTCOME;
    if (stateStart !== ABSENT) {
      const simple = simpleOutcome(bytes, stateStart, stateEnd);
      if (simple !== ABSENT) {
        outcome = simple as Outcome;
      } else {
        const state = readState(bytes, stateStart, stateEnd);
        if (state.kind === "received") return;
        if (state.kind === "transactional") {
          this.#retire(first, last, state, isSettled);
          return;
        }
        outcome = state.outcome;
      }
    } else if (!isSettled) {
      return;
    }
    this.#currentOutcome = outcome;
    if (!isSettled) {
      this.#settleForConfirm(first, last, bytes, stateStart, stateEnd);
      return;
    }
    this.unsettled.settle(first, last, this);
    if (this.#isStalled) this.#resume();
  }

  onSettledRun(slot: number, first: number, last: number): void {
    const link = this.#outgoing[slot];
    if (link === undefined) return;
    const outcome =
      this.#currentOutcome === DEFAULT_OUTCOME ? link.defaultOutcome : this.#currentOutcome;
    if (
      this.#settleLink === link &&
      this.#settleOutcome === outcome &&
      first === this.#settleLast + 1
    ) {
      this.#settleLast = last;
      return;
    }
    if (this.#settleLink !== null) this.flushSettled();
    this.#settleLink = link;
    this.#settleOutcome = outcome;
    this.#settleFirst = first;
    this.#settleLast = last;
  }

  /** Hands the collected range to its consumer. */
  flushSettled(): void {
    const link = this.#settleLink;
    if (link === null) return;
    this.#settleLink = null;
    const position = link.settle(this.#settleFirst, this.#settleLast, this.#settleOutcome);
    if (position > this.#settlePosition) this.#settlePosition = position;
  }

  /** An outcome without settlement: the peer wants to hear that we settled, and hears it when that is durable. */
  #settleForConfirm(first: number, last: number, bytes: Buffer, start: number, end: number): void {
    this.flushSettled();
    this.#settlePosition = 0;
    this.unsettled.settle(first, last, this);
    this.flushSettled();
    const isAccepted = simpleOutcome(bytes, start, end) === 0;
    const state = isAccepted ? null : Buffer.from(bytes.subarray(start, end));
    this.#settleConfirms.push(first, last, this.#settlePosition, state);
    this.connection.confirms.addSettling(this);
    if (this.#isStalled) this.#resume();
  }

  /** True while answers still wait. */
  confirmSettled(settledTo: number): boolean {
    const queue = this.#settleConfirms;
    while (queue.size > 0 && queue.headPosition <= settledTo) {
      this.sendDisposition(false, queue.headFirst, queue.headLast, true, queue.headState);
      queue.shift();
    }
    return queue.size > 0;
  }

  /** `state` null: accepted. */
  sendDisposition(
    isReceiver: boolean,
    first: number,
    last: number,
    isSettled: boolean,
    state: Buffer | null,
  ): void {
    const { wire } = this;
    const extra = state === null ? 0 : state.length;
    wire.reserve(DISPOSITION_MAX + extra);
    wire.outAt = writeDisposition(
      wire.out,
      wire.outAt,
      this.channel,
      isReceiver,
      first,
      last,
      isSettled,
      state === null ? DELIVERY_STATE.ACCEPTED : ABSENT,
      state,
    );
    this.connection.wrote();
  }

  /** Settlements under a transaction stay acquired until it ends. */
  #retire(
    first: number,
    last: number,
    state: PeerState & { kind: "transactional" },
    isSettled: boolean,
  ): void {
    this.flushSettled();
    const transaction = this.connection.transactions.get(state.txnId);
    if (transaction === undefined) {
      throw new SessionError(
        CONDITION.UNKNOWN_TRANSACTION,
        "The disposition names a transaction that was never declared or is over.",
      );
    }
    if (transaction.isExpired) {
      // Its discharge will say so; until then nobody holds these deliveries any more.
      this.#currentOutcome = OUTCOME.FAIL;
      this.unsettled.settle(first, last, this);
    } else {
      this.#stage(transaction, first, last, state.outcome);
    }
    if (!isSettled) this.sendDisposition(false, first, last, true, state.echo);
    if (this.#isStalled) this.#resume();
  }

  #stage(transaction: OpenTransaction, first: number, last: number, outcome?: Outcome): void {
    try {
      this.unsettled.settle(first, last, {
        onSettledRun: (slot, from, to) => {
          const link = this.#outgoing[slot];
          if (link === undefined) return;
          transaction.settle(link.consumer, from, to, outcome ?? link.defaultOutcome);
        },
      });
    } catch (error) {
      const { condition, description } = errorInfo(error, this.connection);
      throw new SessionError(condition, description);
    }
  }

  // ── links ───────────────────────────────────────────────────────────────────────────────────────────────────────

  onAttach(attach: Attach): void {
    const { handle } = attach;
    const limit = this.connection.services.broker.limits.maxLinksPerSession;
    if (handle >= limit) {
      throw new ConnectionError(
        CONDITION.FRAMING_ERROR,
        `Handle ${handle} is above the session's handle-max ${limit - 1}.`,
      );
    }
    if (
      this.#incoming[handle] !== undefined ||
      this.#outgoing[handle] !== undefined ||
      this.#detaching.has(handle)
    ) {
      throw new SessionError(CONDITION.HANDLE_IN_USE, `Handle ${handle} is in use.`);
    }
    this.#steal(attach);
    this.#errant.delete(handle);
    try {
      this.#checkQuota(attach);
      attachLink(this, attach);
    } catch (error) {
      if (error instanceof SessionError) throw error;
      this.refuse(attach, errorInfo(error, this.connection));
    }
  }

  #checkQuota(attach: Attach): void {
    const { maxLinks } = this.connection.settings;
    if (this.connection.linkCount >= maxLinks) {
      throw new LinkError(
        CONDITION.RESOURCE_LIMIT,
        `This connection has ${maxLinks} links, no more are allowed.`,
      );
    }
    if (attach.name.length > MAX_NAME) {
      throw new LinkError(
        CONDITION.INVALID_FIELD,
        `A link's name must not be longer than ${MAX_NAME} characters.`,
      );
    }
  }

  /** Answers with a null terminus, then detaches: Qpid JMS and others wait for the error only then (spec §6.5). */
  refuse(attach: Attach, error: ErrorInfo): void {
    const { connection, channel } = this;
    connection.send(
      channel,
      attachFrame({
        name: attach.name,
        handle: attach.handle,
        isReceiver: !attach.isReceiver,
        sndSettleMode: attach.sndSettleMode,
        rcvSettleMode: attach.rcvSettleMode,
        source: attach.isReceiver ? NULL : (attach.source ?? NULL),
        target: attach.isReceiver ? (attach.target ?? NULL) : NULL,
        initialDeliveryCount: attach.isReceiver ? 0 : undefined,
        maxMessageSize: 0,
        offeredCapabilities: [],
      }),
    );
    this.#detaching.add(attach.handle);
    connection.send(channel, detachFrame(attach.handle, true, error));
  }

  addIncoming(link: IncomingLink): void {
    this.#incoming[link.handle] = link;
    this.connection.linkCount++;
  }

  addOutgoing(link: SenderLink): void {
    this.#outgoing[link.handle] = link;
    this.connection.linkCount++;
  }

  /** A link's name belongs to its newest attachment (AMQP 1.0 part 2, 2.6.1). */
  #steal(attach: Attach): void {
    const links = attach.isReceiver ? this.#outgoing : this.#incoming;
    for (const link of links) {
      if (link?.name !== attach.name) continue;
      this.detach(link.handle, {
        condition: CONDITION.STOLEN,
        description: "A link of this name was attached again.",
      });
    }
  }

  onDetach(detach: Detach): void {
    const { handle } = detach;
    if (this.#settleLink !== null) this.flushSettled();
    if (this.#detaching.delete(handle)) {
      this.#errant.add(handle);
      return;
    }
    const link = this.#incoming[handle] ?? this.#outgoing[handle];
    if (link === undefined) throw this.#noLink(handle, "detach");
    this.#outgoing[handle]?.answerNow();
    this.#remove(handle);
    let error: ErrorInfo | undefined;
    try {
      link.close(detach.isClosed);
    } catch (problem) {
      error = errorInfo(problem, this.connection);
    }
    this.connection.send(this.channel, detachFrame(handle, detach.isClosed, error));
  }

  /** Ends a link from our side. */
  detach(handle: number, error: ErrorInfo, isClosed = true): void {
    const link = this.#incoming[handle] ?? this.#outgoing[handle];
    if (link === undefined) return;
    this.#outgoing[handle]?.answerNow();
    this.#remove(handle);
    try {
      link.close(false);
    } catch (problem) {
      errorInfo(problem, this.connection);
    }
    this.#detaching.add(handle);
    this.connection.send(this.channel, detachFrame(handle, isClosed, error));
  }

  #remove(handle: number): void {
    if (this.#outgoing[handle] !== undefined) {
      if (this.#settleLink === this.#outgoing[handle]) this.flushSettled();
      this.unsettled.dropLink(handle);
    }
    this.#incoming[handle] = undefined;
    this.#outgoing[handle] = undefined;
    this.connection.linkCount--;
  }

  #failLink(handle: number, link: IncomingLink, error: unknown): void {
    // Undecodable frames and errors of the session cost more than the link.
    if (error instanceof ConnectionError && !(error instanceof LinkError)) throw error;
    if (this.#incoming[handle] !== link) return;
    this.detach(handle, errorInfo(error, this.connection));
  }

  #noLink(handle: number, frame: string): SessionError {
    return new SessionError(
      this.#errant.has(handle) ? CONDITION.ERRANT_LINK : CONDITION.UNATTACHED_HANDLE,
      `A ${frame} came for handle ${handle}, which is not attached.`,
    );
  }

  // ── end ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends the session from our side; the peer's frames are dropped until its `end`. */
  fail(error: ErrorInfo): void {
    this.closeLinks();
    this.isEnding = true;
    this.connection.send(this.channel, endFrame(error));
  }

  /** Closes every link in order: what is unsettled is released. */
  closeLinks(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.flushSettled();
    for (
      let handle = 0;
      handle < Math.max(this.#incoming.length, this.#outgoing.length);
      handle++
    ) {
      const link = this.#incoming[handle] ?? this.#outgoing[handle];
      if (link === undefined) continue;
      this.#incoming[handle] = undefined;
      this.#outgoing[handle] = undefined;
      this.connection.linkCount--;
      try {
        link.close(false);
      } catch (problem) {
        errorInfo(problem, this.connection);
      }
    }
    this.#settleConfirms.clear();
    this.#parked = [];
  }

  sendFrame(performative: Value): void {
    this.connection.send(this.channel, performative);
  }
}
