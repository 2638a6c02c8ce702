/**
 * The state machine of one AMQP 1.0 peer: protocol headers, SASL, open and close, heart-beats, and the loop that hands
 * each frame to its session.
 *
 * A chunk is read in one pass by offset. What its frames owe (settlements, credit, windows, confirms) is done once at
 * the chunk's end. An undecodable frame closes the connection; other errors cost the session or the link they belong to.
 */
import type { BrokerConnection, ConfirmWaiter } from "../../src/broker/facade.ts";
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import { BrokerError } from "../../src/model/errors.ts";
import type { Principal } from "../../src/security/principal.ts";
import type { ProtocolConnection, Wire } from "../../src/transport/wire.ts";
import { CODE, FRAME_TYPE, PERFORMATIVE } from "./codec/codes.ts";
import { Decoder, descriptorNumber } from "./codec/decode.ts";
import { Encoder } from "./codec/encode.ts";
import {
  closeFrame,
  endFrame,
  type Open,
  readAttach,
  readBegin,
  readDetach,
  readGoodbye,
  readOpen,
} from "./codec/performatives.ts";
import type { Value } from "./codec/value.ts";
import {
  type BugReporter,
  CONDITION,
  ConnectionError,
  type ErrorInfo,
  errorInfo,
  fromBrokerError,
  SessionError,
} from "./errors.ts";
import { answerOpen, clientIdPolicyOf, namespaceOf, refusalOf } from "./open.ts";
import type { ReceiverLink } from "./receiver-link.ts";
import { SaslServer } from "./sasl.ts";
import { Session } from "./session.ts";
import type { Amqp1Settings } from "./settings.ts";
import { Transactions } from "./transactions.ts";

const AMQP_HEADER = Buffer.from("AMQP\x00\x01\x00\x00", "latin1");
const SASL_HEADER = Buffer.from("AMQP\x03\x01\x00\x00", "latin1");
const HEARTBEAT = Buffer.from([0, 0, 0, 8, 2, 0, 0, 0]);
const MIN_FRAME_BYTES = 512;
/** Larger frames than this are not made, whatever the peer takes: others want to be served in between. */
const MAX_OUTGOING_FRAME = 262_144;
const MAX_SASL_FRAME = 65_536;
const CLOSE_GRACE_MS = 2_000;
const MIN_PEER_IDLE_MS = 1_000;
/** How long an unfinished message may rest when the budget for them is used up. */
const STALLED_MS = 10_000;

type Phase = "header" | "sasl" | "amqp-header" | "opening" | "open" | "closing" | "closed";

/** What all connections of one adapter share. */
export interface AdapterShared {
  readonly services: ProtocolServices;
  readonly settings: Amqp1Settings;
  readonly partials: PartialBudget;
}

/** Bytes of unfinished messages of all peers. */
export interface PartialBudget {
  usedBytes: number;
  readonly waiting: Array<() => void>;
}

/** A link that confirms deliveries once a watermark is reached. */
export interface Confirming {
  isConfirming: boolean;
  /** Sends what it can; true while something still waits. */
  sendConfirms(): boolean;
}

const ENCODER = new Encoder();

export class AmqpConnection implements ProtocolConnection, ConfirmWaiter, BugReporter {
  readonly wire: Wire;
  readonly services: ProtocolServices;
  readonly settings: Amqp1Settings;
  readonly shared: AdapterShared;
  readonly transactions: Transactions;
  /** The broker's end; only while open. */
  #broker: BrokerConnection | null = null;
  #phase: Phase = "header";
  #sasl: SaslServer | null = null;
  #principal: Principal | null = null;
  #saslHostname = "";
  #open: Open | null = null;
  readonly #sessions: Array<Session | undefined> = [];
  #channelMax = 0;
  /** Bytes the frame at the front needs; 0 when any helps. */
  #wanted = 0;
  #isHeld = false;
  #openedAt: number;
  #readAt: number;
  #wroteAt: number;
  #peerIdleMs = 0;
  #heartbeat: NodeJS.Timeout | null = null;
  /** Largest frame to send. */
  maxOutgoingFrame = MIN_FRAME_BYTES;

  /** Links whose credit is used by half; links with deliveries to confirm. */
  readonly creditDue: ReceiverLink[] = [];
  readonly confirming: Confirming[] = [];
  readonly #settling: Session[] = [];
  /** Links with an unfinished message. */
  readonly partialLinks = new Set<ReceiverLink>();
  #isWaiting = false;
  /** Messages sent settled that could not be taken. */
  droppedSettled = 0;

  constructor(wire: Wire, shared: AdapterShared) {
    this.wire = wire;
    this.shared = shared;
    this.services = shared.services;
    this.settings = shared.settings;
    this.transactions = new Transactions(this);
    this.#openedAt = this.#readAt = this.#wroteAt = shared.services.broker.turn.now;
  }

  get broker(): BrokerConnection {
    return this.#broker!;
  }
  get containerId(): string {
    return this.#open?.containerId ?? "";
  }
  get maxFrameBytes(): number {
    return this.settings.maxFrameBytes;
  }
  get isOpen(): boolean {
    return this.#phase === "open";
  }

  // ── input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  onData(bytes: Buffer, start: number, end: number): number {
    let at = start;
    this.#readAt = this.services.broker.turn.now;
    this.#wanted = 0;
    while (at < end) {
      if (this.#phase === "closed") return end;
      if (end - at < 8) {
        this.#wanted = 8;
        break;
      }
      try {
        if (this.#phase === "header" || this.#phase === "amqp-header") {
          this.#onHeader(bytes, at);
          at += 8;
          continue;
        }
        const size =
          ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>>
          0;
        this.#checkFrameSize(size, bytes[at + 4]!);
        if (end - at < size) {
          this.#wanted = size;
          break;
        }
        if (!this.#onFrame(bytes, at, at + size)) break;
        at += size;
      } catch (error) {
        this.#failConnection(error);
        return end;
      }
      if (this.#isHeld) break;
    }
    this.#endChunk();
    return at;
  }

  wantedBytes(): number {
    return this.#wanted;
  }

  #checkFrameSize(size: number, doff: number): void {
    const limit = this.#phase === "sasl" ? MAX_SASL_FRAME : this.settings.maxFrameBytes;
    if (size > limit) {
      throw new ConnectionError(
        CONDITION.FRAMING_ERROR,
        `A frame of ${size} bytes came, max-frame-size is ${limit}.`,
      );
    }
    if (size < 8 || doff < 2 || doff * 4 > size) {
      throw new ConnectionError(
        CONDITION.FRAMING_ERROR,
        `A frame has size ${size} and doff ${doff}: the data offset must be 2 or more and within the frame.`,
      );
    }
  }

  /** False: held back, it has to come again. */
  #onFrame(bytes: Buffer, start: number, end: number): boolean {
    const type = bytes[start + 5]!;
    let at = start + bytes[start + 4]! * 4;
    if (this.#phase === "sasl") {
      if (type !== FRAME_TYPE.SASL) throw wrongType(type);
      this.#onSaslFrame(bytes, at, end);
      return true;
    }
    if (type !== FRAME_TYPE.AMQP) throw wrongType(type);
    if (at === end) return true;
    let code: number;
    if (bytes[at] === CODE.DESCRIBED && bytes[at + 1] === CODE.SMALL_ULONG && at + 3 <= end) {
      code = bytes[at + 2]!;
      at += 3;
    } else {
      const decoder = new Decoder(bytes, at + 1, end);
      code = bytes[at] === CODE.DESCRIBED ? descriptorNumber(decoder.value()) : -1;
      at = decoder.at;
    }
    const channel = (bytes[start + 6]! << 8) | bytes[start + 7]!;
    if (this.#phase !== "open") return this.#onEarlyFrame(code, bytes, at, end);
    const session = this.#sessions[channel];
    if (session === undefined) return this.#onFrameWithoutSession(code, channel, bytes, at, end);
    if (session.isEnding && code !== PERFORMATIVE.END && code !== PERFORMATIVE.CLOSE) return true;
    try {
      switch (code) {
        case PERFORMATIVE.TRANSFER:
          return session.onTransfer(bytes, at, end);
        case PERFORMATIVE.DISPOSITION:
          session.onDisposition(bytes, at, end);
          return true;
        case PERFORMATIVE.FLOW:
          session.onFlow(bytes, at, end);
          return true;
        case PERFORMATIVE.ATTACH:
          session.onAttach(readAttach(bytes, at, end));
          return true;
        case PERFORMATIVE.DETACH:
          session.onDetach(readDetach(bytes, at, end));
          return true;
        case PERFORMATIVE.END:
          this.#onEnd(session, readGoodbye("end", bytes, at, end));
          return true;
        case PERFORMATIVE.CLOSE:
          this.#onClose(readGoodbye("close", bytes, at, end));
          return true;
        case PERFORMATIVE.BEGIN:
          throw new ConnectionError(
            CONDITION.NOT_ALLOWED,
            `Channel ${channel} has a session already.`,
          );
        case PERFORMATIVE.OPEN:
          throw new ConnectionError(CONDITION.NOT_ALLOWED, "The connection is open already.");
        default:
          throw unknownPerformative();
      }
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      session.fail(error);
      return true;
    }
  }

  #onFrameWithoutSession(
    code: number,
    channel: number,
    bytes: Buffer,
    at: number,
    end: number,
  ): boolean {
    switch (code) {
      case PERFORMATIVE.BEGIN:
        if (channel > this.#channelMax) {
          throw new ConnectionError(
            CONDITION.FRAMING_ERROR,
            `Channel ${channel} is above channel-max ${this.#channelMax}.`,
          );
        }
        this.#sessions[channel] = new Session(this, channel, readBegin(bytes, at, end));
        return true;
      case PERFORMATIVE.CLOSE:
        this.#onClose(readGoodbye("close", bytes, at, end));
        return true;
      case PERFORMATIVE.OPEN:
        throw new ConnectionError(CONDITION.NOT_ALLOWED, "The connection is open already.");
      case PERFORMATIVE.ATTACH:
      case PERFORMATIVE.FLOW:
      case PERFORMATIVE.TRANSFER:
      case PERFORMATIVE.DISPOSITION:
      case PERFORMATIVE.DETACH:
      case PERFORMATIVE.END:
        throw new ConnectionError(
          CONDITION.NOT_ALLOWED,
          `A frame came on channel ${channel}, where no session was begun.`,
        );
      default:
        throw unknownPerformative();
    }
  }

  /** Before `open`, and after our `close`. */
  #onEarlyFrame(code: number, bytes: Buffer, at: number, end: number): boolean {
    if (this.#phase === "closing") {
      if (code === PERFORMATIVE.CLOSE) this.#finish();
      return true;
    }
    if (code === PERFORMATIVE.CLOSE) {
      this.#finish();
      return true;
    }
    if (code !== PERFORMATIVE.OPEN) {
      if (code < PERFORMATIVE.OPEN || code > PERFORMATIVE.CLOSE) throw unknownPerformative();
      throw new ConnectionError(CONDITION.NOT_ALLOWED, "The first frame must be an open.");
    }
    this.#onOpen(readOpen(bytes, at, end));
    return true;
  }

  /** What the frames of a chunk owe. */
  #endChunk(): void {
    if (this.#phase !== "open") return;
    const { creditDue } = this;
    if (creditDue.length > 0) {
      for (let i = 0; i < creditDue.length; i++) creditDue[i]!.grantCredit();
      creditDue.length = 0;
    }
    for (const session of this.#sessions) session?.endChunk();
    if (this.confirming.length > 0) this.confirmSoon();
  }

  // ── confirms ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Confirms what it can now, and waits for the rest. */
  confirmSoon(): void {
    if (this.onConfirm() && !this.#isWaiting) {
      this.#isWaiting = true;
      this.services.broker.awaitConfirm(this.#waiter);
    }
  }

  readonly #waiter: ConfirmWaiter = {
    onConfirm: (): boolean => {
      this.#isWaiting = this.onConfirm();
      return this.#isWaiting;
    },
  };

  onConfirm(): boolean {
    if (this.#phase !== "open") return false;
    const { confirming } = this;
    let kept = 0;
    for (let i = 0; i < confirming.length; i++) {
      const link = confirming[i]!;
      if (link.sendConfirms()) confirming[kept++] = link;
      else link.isConfirming = false;
    }
    confirming.length = kept;
    return this.#confirmSettled() || kept > 0;
  }

  #confirmSettled(): boolean {
    const settling = this.#settling;
    if (settling.length === 0) return false;
    const settledTo = this.services.broker.settledTo();
    let kept = 0;
    for (const session of settling) {
      if (session.confirmSettled(settledTo)) settling[kept++] = session;
      else session.isAwaitingSettle = false;
    }
    settling.length = kept;
    return kept > 0;
  }

  awaitSettle(session: Session): void {
    if (!session.isAwaitingSettle) {
      session.isAwaitingSettle = true;
      this.#settling.push(session);
    }
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.services.broker.awaitConfirm(this.#waiter);
  }

  // ── room ────────────────────────────────────────────────────────────────────────────────────────────────────────

  hasRoom(bytes: number): boolean {
    if (this.services.broker.hasRoom(bytes)) return true;
    this.#hold((resume) => this.services.broker.onRoom(resume));
    return false;
  }

  mayBeginPartial(): boolean {
    const { partials } = this.shared;
    if (partials.usedBytes < this.settings.partialBudgetBytes) return true;
    this.#hold((resume) => partials.waiting.push(resume));
    return false;
  }

  /** Keeps the input until `resume` is called. */
  #hold(register: (resume: () => void) => void): void {
    this.#isHeld = true;
    this.wire.pauseInput();
    register(() => {
      this.#isHeld = false;
      this.wire.resumeInput();
    });
  }

  growPartial(bytes: number): void {
    const { partials } = this.shared;
    partials.usedBytes += bytes;
    if (bytes <= 0) {
      if (partials.usedBytes < this.settings.partialBudgetBytes) {
        for (const resume of partials.waiting.splice(0)) resume();
      }
      return;
    }
    if (partials.usedBytes <= this.settings.partialBudgetBytes * 2) return;
    partials.usedBytes -= bytes;
    throw new BrokerError("limit-exceeded", "too many large messages are on their way at once");
  }

  // ── header and SASL ─────────────────────────────────────────────────────────────────────────────────────────────

  #onHeader(bytes: Buffer, at: number): void {
    const isAmqp = AMQP_HEADER.compare(bytes, at, at + 8) === 0;
    if (this.#phase === "amqp-header") {
      if (!isAmqp) {
        this.#refuseHeader(AMQP_HEADER);
        return;
      }
      this.wire.write(AMQP_HEADER);
      this.#phase = "opening";
      return;
    }
    if (SASL_HEADER.compare(bytes, at, at + 8) === 0) {
      this.wire.write(SASL_HEADER);
      this.#sasl = new SaslServer(this.services.authenticator, this.wire.info);
      this.#phase = "sasl";
      this.#sendSasl(this.#sasl.mechanisms());
      return;
    }
    if (isAmqp) {
      // No SASL layer: whoever needs no password may go on.
      const principal = this.services.authenticator.withoutCredentials(this.wire.info);
      if (principal !== undefined) {
        this.#principal = principal;
        this.wire.write(AMQP_HEADER);
        this.#phase = "opening";
        return;
      }
    }
    this.#refuseHeader(SASL_HEADER);
  }

  #refuseHeader(answer: Buffer): void {
    this.wire.write(answer);
    this.#phase = "closed";
    this.wire.end(CLOSE_GRACE_MS);
  }

  #onSaslFrame(bytes: Buffer, at: number, end: number): void {
    const step = this.#sasl!.onFrame(bytes, at, end);
    if (!(step instanceof Promise)) {
      this.#afterSasl(step);
      return;
    }
    this.#hold((resume) => {
      step.then(
        (answer) => {
          if (this.#phase === "sasl") this.#afterSasl(answer);
          resume();
        },
        (error: unknown) => {
          this.#failConnection(error);
          resume();
        },
      );
    });
  }

  #afterSasl(step: Awaited<ReturnType<SaslServer["onFrame"]>>): void {
    this.#sendSasl(step.frame);
    if (step.kind === "continue") return;
    if (step.kind === "failed") {
      this.services.logger.info("amqp1.authentication-failed", {
        remote: this.wire.info.remoteAddress,
        listener: this.wire.info.listener,
      });
      this.#phase = "closed";
      this.wire.end(CLOSE_GRACE_MS);
      return;
    }
    this.#principal = step.principal;
    this.#saslHostname = this.#sasl!.hostname;
    this.#sasl = null;
    this.#phase = "amqp-header";
  }

  #sendSasl(performative: Value): void {
    this.wire.write(ENCODER.reset().frame(FRAME_TYPE.SASL, 0, performative).bytes());
    this.wroteNow();
  }

  // ── open and close ──────────────────────────────────────────────────────────────────────────────────────────────

  #onOpen(open: Open): void {
    this.#open = open;
    const { services, settings, wire } = this;
    this.maxOutgoingFrame = Math.min(
      Math.max(open.maxFrameSize, MIN_FRAME_BYTES),
      MAX_OUTGOING_FRAME,
    );
    const answer = answerOpen(services.broker, settings, open);
    this.#channelMax = answer.channelMax;
    const refusal = refusalOf(open, MIN_FRAME_BYTES, MIN_PEER_IDLE_MS) ?? this.#connectBroker(open);
    if (refusal !== null) {
      this.send(0, answer.refused());
      this.closeWith(refusal);
      return;
    }
    this.#phase = "open";
    this.#peerIdleMs = open.idleTimeoutMs;
    if (open.idleTimeoutMs > 0 && open.idleTimeoutMs < 4_000) {
      // The wire's tick of a second is too coarse for these.
      this.#heartbeat = setInterval(() => this.#beat(), open.idleTimeoutMs / 4);
      this.#heartbeat.unref();
    }
    this.send(0, answer.accepted());
    if (services.logger.isDebug) {
      services.logger.debug("amqp1.opened", {
        remote: wire.info.remoteAddress,
        container: open.containerId,
        user: this.#principal?.name,
      });
    }
  }

  #connectBroker(open: Open): ErrorInfo | null {
    const { info } = this.wire;
    try {
      this.#broker = this.services.broker.connect({
        protocol: "amqp1",
        remoteAddress: info.remoteAddress,
        remotePort: info.remotePort,
        peer: info,
        principal: this.#principal!,
        clientId: open.containerId,
        namespace: namespaceOf(this.#saslHostname, open.hostname),
        clientIdPolicy: clientIdPolicyOf(open),
        close: (reason) => this.#closedByBroker(reason),
      });
      return null;
    } catch (error) {
      if (error instanceof BrokerError && error.code === "resource-locked") {
        // Qpid JMS maps exactly this to InvalidClientIDException.
        return {
          condition: CONDITION.INVALID_FIELD,
          description: `Another connection has the container-id "${open.containerId.slice(0, 100)}".`,
          info: { "invalid-field": "container-id" },
        };
      }
      return errorInfo(error, this);
    }
  }

  #closedByBroker(reason: BrokerError): void {
    const isReplaced = reason.code === "resource-locked" || reason.code === "connection-forced";
    const info = fromBrokerError(reason);
    this.closeWith(
      isReplaced && clientIdPolicyOf(this.#open!) !== "coexist"
        ? {
            ...info,
            condition: CONDITION.RESOURCE_LOCKED,
            info: { "sole-connection-enforcement": true },
          }
        : info,
    );
  }

  #onEnd(session: Session, error: string): void {
    if (error !== "" && this.services.logger.isDebug) {
      this.services.logger.debug("amqp1.session-ended", { error });
    }
    session.closeLinks();
    this.#sessions[session.channel] = undefined;
    if (!session.isEnding) this.send(session.channel, endFrame());
    session.isEnding = true;
  }

  #onClose(error: string): void {
    if (error !== "" && this.services.logger.isDebug) {
      this.services.logger.debug("amqp1.closed-by-peer", { error });
    }
    this.#closeSessions();
    this.send(0, closeFrame());
    this.#finish();
  }

  /** Our `close`; the peer's answer is waited for a moment. */
  closeWith(error: ErrorInfo | undefined): void {
    if (this.#phase === "closing" || this.#phase === "closed") return;
    this.#closeSessions();
    this.send(0, closeFrame(error));
    this.#phase = "closing";
    this.#leave();
    this.wire.end(CLOSE_GRACE_MS);
  }

  #failConnection(error: unknown): void {
    const info = errorInfo(error, this);
    if (this.services.logger.isDebug) {
      this.services.logger.debug("amqp1.connection-failed", {
        remote: this.wire.info.remoteAddress,
        condition: info.condition,
        message: info.description,
      });
    }
    if (this.#phase === "open" || this.#phase === "opening") {
      if (this.#phase === "opening") {
        this.send(0, answerOpen(this.services.broker, this.settings, null).refused());
      }
      this.closeWith(info);
      return;
    }
    this.#phase = "closed";
    this.#leave();
    this.wire.end(CLOSE_GRACE_MS);
  }

  #closeSessions(): void {
    for (const session of this.#sessions) session?.closeLinks();
    this.#sessions.length = 0;
    this.transactions.rollbackAll();
  }

  #finish(): void {
    this.#phase = "closed";
    this.#leave();
    this.wire.end(CLOSE_GRACE_MS);
  }

  #leave(): void {
    if (this.#heartbeat !== null) clearInterval(this.#heartbeat);
    this.#heartbeat = null;
    const broker = this.#broker;
    this.#broker = null;
    broker?.close();
  }

  onClose(_error: Error | null): void {
    this.#phase = "closed";
    // Consumers first: deliveries of a lost connection take their own outcome, not that of a link closed in order.
    const broker = this.#broker;
    if (broker !== null) {
      this.transactions.rollbackAll();
      broker.close();
    }
    this.#closeSessions();
    this.#leave();
  }

  onShutdown(): void {
    if (this.#phase === "open") {
      this.closeWith({
        condition: CONDITION.CONNECTION_FORCED,
        description: "The broker is stopping; connect again later or to another node.",
      });
    } else {
      this.#phase = "closed";
      this.wire.end(CLOSE_GRACE_MS);
    }
  }

  // ── output ──────────────────────────────────────────────────────────────────────────────────────────────────────

  onDrain(): void {
    for (const session of this.#sessions) session?.onDrain();
  }

  send(channel: number, performative: Value): void {
    this.wire.write(ENCODER.reset().frame(FRAME_TYPE.AMQP, channel, performative).bytes());
    this.wroteNow();
  }

  /** Something was written in this turn. */
  wrote(): void {
    this.#wroteAt = this.services.broker.turn.now;
  }

  wroteNow(): void {
    this.#wroteAt = Date.now();
  }

  onTick(nowMs: number): void {
    const { settings } = this;
    if (this.#phase !== "open") {
      if (this.#phase !== "closing" && nowMs - this.#openedAt > settings.handshakeTimeoutMs) {
        this.#phase = "closed";
        this.wire.destroy();
      }
      return;
    }
    if (
      settings.idleTimeoutMs > 0 &&
      !this.#isHeld &&
      nowMs - this.#readAt > settings.idleTimeoutMs
    ) {
      this.closeWith({
        condition: CONDITION.RESOURCE_LIMIT,
        description: "local-idle-timeout expired: nothing came, not even a heart-beat.",
      });
      return;
    }
    this.transactions.onTick(nowMs);
    if (
      this.partialLinks.size > 0 &&
      this.shared.partials.usedBytes >= settings.partialBudgetBytes
    ) {
      for (const link of this.partialLinks) link.dropStalled(nowMs - STALLED_MS);
    }
    if (this.#peerIdleMs > 0 && nowMs - this.#wroteAt + 1_000 >= this.#peerIdleMs / 2) {
      this.wire.write(HEARTBEAT);
      this.#wroteAt = nowMs;
    }
  }

  #beat(): void {
    if (this.#phase !== "open" || Date.now() - this.#wroteAt < this.#peerIdleMs / 4) return;
    this.wire.write(HEARTBEAT);
    this.#wroteAt = Date.now();
  }

  #bugs = 0;
  reportBug(error: unknown): number {
    const number = Math.floor(Math.random() * 1e9) * 10 + (this.#bugs++ % 10);
    this.services.logger.error("amqp1.bug", {
      number,
      remote: this.wire.info.remoteAddress,
      error: error instanceof Error ? error : new Error(String(error)),
    });
    return number;
  }
}

const wrongType = (type: number): ConnectionError =>
  new ConnectionError(CONDITION.FRAMING_ERROR, `A frame of type ${type} came out of its place.`);

const unknownPerformative = (): ConnectionError =>
  new ConnectionError(
    CONDITION.DECODE_ERROR,
    "A frame's descriptor is none of the performatives of AMQP 1.0.",
  );
