/**
 * The state machine of one AMQP 1.0 peer: protocol headers, SASL, open and close, heart-beats, and the loop that hands
 * each frame to its session.
 *
 * A chunk is read in one pass by offset. What its frames owe (settlements, credit, windows, confirms) is done once at
 * the chunk's end. An undecodable frame closes the connection; other errors cost the session or the link they belong to.
 */
import type { BrokerConnection } from "../../src/broker/facade.ts";
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import { BrokerError } from "../../src/model/errors.ts";
import type { ProtocolConnection, Wire } from "../../src/transport/wire.ts";
import { Channels } from "./channels.ts";
import { FRAME_TYPE, PERFORMATIVE } from "./codec/codes.ts";
import { Encoder } from "./codec/encode.ts";
import { closeFrame, type Open, readGoodbye, readOpen } from "./codec/performatives.ts";
import type { Value } from "./codec/value.ts";
import { Confirms } from "./confirms.ts";
import {
  type BugReporter,
  CONDITION,
  ConnectionError,
  type ErrorInfo,
  errorInfo,
  fromBrokerError,
} from "./errors.ts";
import { checkFrameSize, PerformativeHead, unknownPerformative, wrongType } from "./frame-head.ts";
import { Handshake, MAX_SASL_FRAME } from "./handshake.ts";
import { KeepAlive } from "./keep-alive.ts";
import { answerOpen, clientIdPolicyOf, namespaceOf, refusalOf } from "./open.ts";
import type { LinkReceipts } from "./receipts.ts";
import type { ReceiverLink } from "./receiver-link.ts";
import { type PartialBudget, Room } from "./room.ts";
import type { Amqp1Settings } from "./settings.ts";
import type { SharedTransfers } from "./shared-transfers.ts";
import { Transactions } from "./transactions.ts";

const MIN_FRAME_BYTES = 512;
/** Larger frames than this are not made, whatever the peer takes: others want to be served in between. */
const MAX_OUTGOING_FRAME = 262_144;
const CLOSE_GRACE_MS = 2_000;
const MIN_PEER_IDLE_MS = 1_000;
/** How long an unfinished message may rest when the budget for them is used up. */
const STALLED_MS = 10_000;

type Phase = "handshake" | "opening" | "open" | "closing" | "closed";

/** What all connections of one adapter share. */
export interface AdapterShared {
  readonly services: ProtocolServices;
  /** Of connections that come from now on. */
  settings: Amqp1Settings;
  readonly partials: PartialBudget;
  /** Of producers that may come back. */
  readonly receipts: LinkReceipts;
  /** Transfers to several peers: those sent settled, the others. */
  readonly frames: SharedTransfers;
}

const ENCODER = new Encoder();
const HEAD = new PerformativeHead();

export class AmqpConnection implements ProtocolConnection, BugReporter {
  readonly wire: Wire;
  readonly services: ProtocolServices;
  readonly settings: Amqp1Settings;
  readonly shared: AdapterShared;
  readonly transactions: Transactions;
  /** The broker's end; only while open. */
  #broker: BrokerConnection | null = null;
  #phase: Phase = "handshake";
  readonly #handshake: Handshake;
  #open: Open | null = null;
  readonly #channels = new Channels(this);
  /** Bytes the frame at the front needs; 0 when any helps. */
  #wanted = 0;
  readonly #openedAt: number;
  readonly #alive: KeepAlive;
  /** Largest frame to send. */
  maxOutgoingFrame = MIN_FRAME_BYTES;

  /** Links whose credit is used by half. */
  readonly creditDue: ReceiverLink[] = [];
  readonly confirms: Confirms;
  readonly room: Room;
  /** Links with an unfinished message. */
  readonly partialLinks = new Set<ReceiverLink>();
  /** Links attached, of all sessions. */
  linkCount = 0;
  /** Messages sent settled that could not be taken. */
  droppedSettled = 0;

  constructor(wire: Wire, shared: AdapterShared) {
    this.wire = wire;
    this.shared = shared;
    this.services = shared.services;
    this.settings = shared.settings;
    this.transactions = new Transactions(this);
    this.#handshake = new Handshake(wire, shared.services);
    this.confirms = new Confirms(shared.services.broker);
    this.room = new Room(wire, shared.partials);
    this.#openedAt = shared.services.broker.turn.uptime;
    this.#alive = new KeepAlive(wire, shared.services.broker.turn.clock);
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
    this.#alive.readAt = this.services.broker.turn.uptime;
    this.#wanted = 0;
    while (at < end) {
      if (this.#phase === "closed") return end;
      if (end - at < 8) {
        this.#wanted = 8;
        break;
      }
      try {
        if (this.#phase === "handshake" && this.#handshake.state !== "sasl") {
          this.#handshake.onHeader(bytes, at);
          this.#afterHandshake();
          at += 8;
          continue;
        }
        const size =
          ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>>
          0;
        checkFrameSize(size, bytes[at + 4]!, this.#frameLimit);
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
      if (this.room.isHeld) break;
    }
    this.#endChunk();
    return at;
  }

  wantedBytes(): number {
    return this.#wanted;
  }

  get #frameLimit(): number {
    return this.#phase === "handshake" ? MAX_SASL_FRAME : this.settings.maxFrameBytes;
  }

  /** False: held back, it has to come again. */
  #onFrame(bytes: Buffer, start: number, end: number): boolean {
    const type = bytes[start + 5]!;
    let at = start + bytes[start + 4]! * 4;
    if (this.#phase === "handshake") {
      if (type !== FRAME_TYPE.SASL) throw wrongType(type);
      this.#onSaslFrame(bytes, at, end);
      return true;
    }
    if (type !== FRAME_TYPE.AMQP) throw wrongType(type);
    if (at === end) return true;
    HEAD.read(bytes, at, end);
    const { code } = HEAD;
    at = HEAD.at;
    const channel = (bytes[start + 6]! << 8) | bytes[start + 7]!;
    if (this.#phase !== "open") return this.#onEarlyFrame(code, bytes, at, end);
    if (code === PERFORMATIVE.CLOSE) {
      this.#onClose(readGoodbye("close", bytes, at, end));
      return true;
    }
    return this.#channels.onFrame(code, channel, bytes, at, end);
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
    this.#channels.endChunk();
    this.confirms.endChunk();
  }

  // ── open and close ──────────────────────────────────────────────────────────────────────────────────────────────

  #onSaslFrame(bytes: Buffer, at: number, end: number): void {
    const pending = this.#handshake.onFrame(bytes, at, end);
    if (pending === null) {
      this.#afterHandshake();
      return;
    }
    this.room.hold((resume) => {
      pending.then(
        () => {
          this.#afterHandshake();
          resume();
        },
        (error: unknown) => {
          this.#failConnection(error);
          resume();
        },
      );
    });
  }

  #afterHandshake(): void {
    if (this.#phase !== "handshake") return;
    this.wroteNow();
    const { state } = this.#handshake;
    if (state === "done") this.#phase = "opening";
    else if (state === "refused") this.#finish();
  }

  #onOpen(open: Open): void {
    this.#open = open;
    const { services, settings, wire } = this;
    this.maxOutgoingFrame = Math.min(
      Math.max(open.maxFrameSize, MIN_FRAME_BYTES),
      MAX_OUTGOING_FRAME,
    );
    const answer = answerOpen(services.broker, settings, open);
    this.#channels.max = answer.channelMax;
    const refusal = refusalOf(open, MIN_FRAME_BYTES, MIN_PEER_IDLE_MS) ?? this.#connectBroker(open);
    if (refusal !== null) {
      this.send(0, answer.refused());
      this.closeWith(refusal);
      return;
    }
    this.#phase = "open";
    this.#alive.begin(open.idleTimeoutMs);
    this.send(0, answer.accepted());
    if (services.logger.isDebug) {
      services.logger.debug("amqp1.opened", {
        remote: wire.info.remoteAddress,
        container: open.containerId,
        user: this.#handshake.principal?.name,
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
        principal: this.#handshake.principal!,
        clientId: open.containerId,
        namespace: namespaceOf(this.#handshake.hostname, open.hostname),
        clientIdPolicy: clientIdPolicyOf(open),
        close: (reason) => this.#closedByBroker(reason),
      });
      this.room.connection = this.#broker;
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
    this.#channels.closeAll();
    this.transactions.rollbackAll();
  }

  #finish(): void {
    this.#phase = "closed";
    this.#leave();
    this.wire.end(CLOSE_GRACE_MS);
  }

  #leave(): void {
    this.#alive.stop();
    this.confirms.stop();
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
    this.#channels.onDrain();
  }

  send(channel: number, performative: Value): void {
    this.wire.write(ENCODER.reset().frame(FRAME_TYPE.AMQP, channel, performative).bytes());
    this.wroteNow();
  }

  /** Something was written in this turn. */
  wrote(): void {
    this.#alive.wroteAt = this.services.broker.turn.uptime;
  }

  wroteNow(): void {
    this.#alive.wroteAt = this.services.broker.turn.clock.uptime();
  }

  onTick(uptimeMs: number): void {
    const { settings } = this;
    if (this.#phase !== "open") {
      if (this.#phase !== "closing" && uptimeMs - this.#openedAt > settings.handshakeTimeoutMs) {
        this.#phase = "closed";
        this.wire.destroy();
      }
      return;
    }
    if (!this.room.isHeld && this.#alive.isSilent(uptimeMs, settings.idleTimeoutMs)) {
      this.closeWith({
        condition: CONDITION.RESOURCE_LIMIT,
        description: "local-idle-timeout expired: nothing came, not even a heart-beat.",
      });
      return;
    }
    this.transactions.onTick(uptimeMs);
    if (this.partialLinks.size > 0 && this.room.isShort) {
      for (const link of this.partialLinks) link.dropStalled(uptimeMs - STALLED_MS);
    }
    this.#alive.onTick(uptimeMs);
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
