/**
 * One session: windows and delivery-ids. Its links are in link-table.ts, what the peer says of deliveries in settlements.ts.
 *
 * Our channel and our handles are the peer's: we begin no session and attach no link of our own. After an error of the
 * session everything but the peer's `end` is dropped. Windows are renewed once per chunk.
 */
import type { Wire } from "../../src/transport/wire.ts";
import { attachLink } from "./attach.ts";
import { DELIVERY_STATE } from "./codec/codes.ts";
import {
  ABSENT,
  DISPOSITION_MAX,
  FLOW_MAX,
  FlowFrame,
  TransferFrame,
  writeDisposition,
  writeFlow,
} from "./codec/frames.ts";
import { type Attach, type Begin, beginFrame, endFrame } from "./codec/performatives.ts";
import type { Value } from "./codec/value.ts";
import type { AmqpConnection } from "./connection.ts";
import { CONDITION, type ErrorInfo, errorInfo, SessionError } from "./errors.ts";
import { LinkTable, type LinkTableHost } from "./link-table.ts";
import { type SettlementHost, Settlements } from "./settlements.ts";

const OUTGOING_WINDOW = 0x7fffffff;
const INCOMING_WINDOW_MAX = 65_535;

// One of each for the whole process: a frame is read and used up before the next.
const TRANSFER = new TransferFrame();
const FLOW = new FlowFrame();

export class Session implements SettlementHost, LinkTableHost {
  readonly connection: AmqpConnection;
  readonly wire: Wire;
  readonly channel: number;
  readonly settlements = new Settlements(this);
  readonly links = new LinkTable(this);
  /** What was sent and is not settled. */
  readonly unsettled = this.settlements.unsettled;
  readonly senders = this.links.outgoing;
  readonly #incoming = this.links.incoming;
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
        this.links.fail(handle, link, error);
      }
    } else if (!this.links.isEnding(handle)) {
      throw this.links.noLink(handle, "transfer");
    }
    this.#nextIncomingId = (this.#nextIncomingId + 1) >>> 0;
    this.#incomingWindow--;
    return true;
  }

  /** After a chunk: settles what was collected, renews the window. */
  endChunk(): void {
    if (this.settlements.isCollecting()) this.settlements.flush();
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
    if (this.settlements.isCollecting()) this.settlements.flush();
    if (handle !== ABSENT) {
      const sender = this.senders[handle];
      const receiver = this.#incoming[handle];
      if (sender !== undefined) sender.onFlow(FLOW);
      else if (receiver !== undefined) receiver.onFlow(FLOW);
      else if (!this.links.isEnding(handle)) throw this.links.noLink(handle, "flow");
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
    for (const link of this.senders) link?.onWindow();
  }

  /** The wire drained: links may send again. */
  onDrain(): void {
    for (const link of this.senders) link?.resume();
  }

  // ── settlements and links ───────────────────────────────────────────────────────────────────────────────────────

  onSenderSettled(first: number, last: number): void {
    for (const link of this.#incoming) link?.forgetReceipts(first, last);
  }

  onSettled(): void {
    if (this.#isStalled) this.#resume();
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

  onAttach(attach: Attach): void {
    const { links } = this;
    links.checkHandle(attach);
    links.steal(attach);
    try {
      links.checkQuota(attach);
      attachLink(this, attach);
    } catch (error) {
      if (error instanceof SessionError) throw error;
      links.refuse(attach, errorInfo(error, this.connection));
    }
  }

  /** Ends a link from our side. */
  detach(handle: number, error: ErrorInfo, isClosed = true): void {
    this.links.detach(handle, error, isClosed);
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
    this.settlements.flush();
    this.links.closeAll();
    this.settlements.clear();
    this.#parked = [];
  }

  sendFrame(performative: Value): void {
    this.connection.send(this.channel, performative);
  }
}
