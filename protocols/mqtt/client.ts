/**
 * A client that was let in: its session, the messages it sends and gets, its subscriptions, and the answers that wait until
 * what they promise is safe.
 *
 * States: opening (CONNACK waits until the session is on disk) → open → closed.
 */
import type { BrokerConnection, BrokerFacade, ConfirmWaiter } from "../../src/broker/facade.ts";
import type {
  Grant,
  KeptDelivery,
  Session,
  SessionSink,
  SessionSource,
} from "../../src/broker/session-facade.ts";
import type { BrokerError } from "../../src/model/errors.ts";
import type { RecordView } from "../../src/model/record-view.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { PHASE, type Turn, type TurnTask } from "../../src/util/turn.ts";
import { ACK_SIZE_MAX, AckView, putAck } from "./codec/ack.ts";
import { PACKET, PACKET_NAMES, REASON, VERSION, type Version } from "./codec/constants.ts";
import { decodeEmpty, PINGRESP_BYTES } from "./codec/control.ts";
import { protocolError } from "./codec/protocol-error.ts";
import { PacketReader } from "./codec/reader.ts";
import { decodeSubscribe, decodeUnsubscribe } from "./codec/subscribe.ts";
import { ConfirmRing } from "./confirm-ring.ts";
import type { Counters } from "./counters.ts";
import { Inbound, type InboundHost, LEVELS } from "./inbound.ts";
import { checkExpiryChange, type Login } from "./login.ts";
import { Outbound, type OutboundHost } from "./outbound.ts";
import type { MqttServer } from "./server.ts";
import type { MqttSettings } from "./settings.ts";
import type { SharedPackets } from "./shared-packets.ts";
import { Subscriptions, type SubscriptionsHost } from "./subscriptions.ts";
import type { SysTree } from "./sys-tree.ts";

const STATE = { OPENING: 0, OPEN: 1, CLOSED: 2 } as const;
type State = (typeof STATE)[keyof typeof STATE];

/** Answers to SUBSCRIBE and UNSUBSCRIBE that may wait for the disk before input is held. */
const ANSWERS_MAX = 64;

/** The connection below. */
export interface ClientHost {
  readonly wire: Wire;
  readonly server: MqttServer;
  readonly version: Version;
  /** Leaves input unread until `release`; counted. */
  hold(): void;
  release(): void;
  /** As `wire.write`, unless the packet is more than the client takes. */
  send(packet: Buffer): void;
  /** The session is on disk: CONNACK may go. */
  onSafe(): void;
  /** Another connection has the session now: say so and end. */
  onTakenOver(): void;
  /** Ends the connection in the protocol's way. */
  fail(error: unknown): void;
}

interface Answer {
  readonly position: number;
  readonly packet: Buffer;
  readonly sent: () => void;
}

const reader = new PacketReader();
const ack = new AckView();
const confirmed: number[] = [];

export class Client
  implements ConfirmWaiter, SessionSink, InboundHost, OutboundHost, SubscriptionsHost, TurnTask
{
  readonly wire: Wire;
  readonly version: Version;
  readonly isV5: boolean;
  readonly wantsProblemInfo: boolean;
  readonly settings: MqttSettings;
  readonly counters: Counters;
  readonly sysTree: SysTree;
  readonly packets: SharedPackets;
  readonly broker: BrokerFacade;
  readonly turn: Turn;
  readonly connection: BrokerConnection;
  readonly session: Session;
  readonly inbound: Inbound;
  readonly outbound: Outbound;
  readonly #host: ClientHost;
  readonly #subscriptions: Subscriptions;
  #state: State = STATE.OPENING;
  #expirySeconds: number;
  /** Another connection, or nobody, has the session now: nothing of it is touched any more. */
  #isSessionLost = false;
  #isWaiting = false;
  #isReplayRequested = false;
  /** PUBREL and PUBCOMP that wait for a settlement. */
  readonly #settled = new ConfirmRing();
  readonly #answers: Answer[] = [];

  /** Opens the session; throws what keeps it from being opened. */
  constructor(host: ClientHost, connection: BrokerConnection, login: Login) {
    const { server, version, wire } = host;
    this.#host = host;
    this.wire = wire;
    this.version = version;
    this.isV5 = version === VERSION.V5;
    this.wantsProblemInfo = login.wantsProblemInfo;
    this.settings = server.settings;
    this.counters = server.counters;
    this.sysTree = server.sysTree;
    this.packets = server.packets;
    this.broker = server.services.broker;
    this.turn = this.broker.turn;
    this.connection = connection;
    this.outbound = new Outbound(this, {
      window: login.window,
      maxPacketBytes: login.maxPacketBytes,
      aliasMaximum: login.aliasMaximum,
      directMaxBytes: this.settings.directMaxBytes,
    });
    const { clientId, isCleanStart, expirySeconds, will } = login;
    const request = { clientId, isCleanStart, expirySeconds, will };
    this.session = server.sessions.open(connection, request, this);
    this.#expirySeconds = expirySeconds;
    this.inbound = new Inbound(this);
    this.#subscriptions = new Subscriptions(this);
  }

  // ── the session ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** Is all on disk that CONNACK promises? */
  get isSafe(): boolean {
    const { journaledAt, willEnd } = this.session;
    return (
      (journaledAt === 0 || this.broker.settledTo() >= journaledAt) &&
      (willEnd === 0 || this.broker.confirmedTo("fsync") >= willEnd)
    );
  }

  /** The host's `onSafe` follows. */
  awaitSafety(): void {
    this.#isWaiting = true;
    this.broker.awaitConfirm(this);
  }

  /** CONNACK is on its way: messages may follow. */
  start(): void {
    this.#state = STATE.OPEN;
    this.outbound.start(this.session);
    this.session.attach();
    this.#subscriptions.restore();
    this.endBatch();
  }

  /** DISCONNECT: what was acknowledged before it still counts. */
  leave(sessionExpiry: number | undefined): void {
    if (sessionExpiry !== undefined) {
      checkExpiryChange(this.#expirySeconds, sessionExpiry);
      this.session.setExpiry(Math.min(sessionExpiry, this.settings.maxSessionExpirySeconds));
    }
    this.outbound.endBatch();
    this.#flushConfirms();
  }

  onTakenOver(): readonly KeptDelivery[] {
    const keep = this.outbound.finish();
    this.#isSessionLost = true;
    this.#host.onTakenOver();
    return keep;
  }

  onEnded(reason: BrokerError): void {
    this.#isSessionLost = true;
    this.#host.fail(reason);
  }

  /** The connection is over. `dropWill`: it said goodbye in order. */
  close(dropWill: boolean): void {
    this.#state = STATE.CLOSED;
    this.#subscriptions.close();
    if (!this.#isSessionLost) this.session.detach(dropWill, this.outbound.finish());
    this.inbound.close();
  }

  // ── packets ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Any packet of a client but PUBLISH and those that begin and end its connection. */
  onPacket(bytes: Buffer, type: number, start: number, end: number): void {
    switch (type) {
      case PACKET.PUBACK:
        ack.open(bytes, type, start, end, this.version);
        this.outbound.acknowledge(ack.packetId, ack.reason);
        return;
      case PACKET.PUBREC:
        ack.open(bytes, type, start, end, this.version);
        this.#onReceived(ack.packetId, ack.reason);
        return;
      case PACKET.PUBREL:
        ack.open(bytes, type, start, end, this.version);
        this.#onRelease(ack.packetId);
        return;
      case PACKET.PUBCOMP:
        ack.open(bytes, type, start, end, this.version);
        this.outbound.complete(ack.packetId);
        return;
      case PACKET.SUBSCRIBE:
        this.#subscriptions.subscribe(
          decodeSubscribe(reader.open(bytes, start, end), this.version),
        );
        return;
      case PACKET.UNSUBSCRIBE:
        this.#subscriptions.unsubscribe(
          decodeUnsubscribe(reader.open(bytes, start, end), this.version),
        );
        return;
      case PACKET.PINGREQ:
        decodeEmpty(reader.open(bytes, start, end), "PINGREQ");
        this.wire.write(PINGRESP_BYTES);
        return;
      default:
        throw protocolError(`unexpected ${PACKET_NAMES[type]}`);
    }
  }

  #onReceived(packetId: number, reason: number): void {
    if (this.outbound.received(packetId, reason)) return;
    // MQTT 5 says so; MQTT 3 has no word for it, and PUBREL lets both forget.
    if (reason < 0x80)
      this.#putNow(PACKET.PUBREL, packetId, this.isV5 ? REASON.PACKET_ID_NOT_FOUND : 0);
  }

  #onRelease(packetId: number): void {
    const position = this.session.release(packetId);
    if (position < 0) {
      // §3.7.2.1: no error during recovery. Our PUBCOMP may have been lost with the connection, and some clients would
      // tell their application that the message failed.
      const isStrange = this.isV5 && !this.session.isPresent;
      this.#putNow(PACKET.PUBCOMP, packetId, isStrange ? REASON.PACKET_ID_NOT_FOUND : 0);
    } else this.pushSettled(PACKET.PUBCOMP, packetId, position);
  }

  #putNow(type: number, packetId: number, reason: number): void {
    const { wire } = this;
    wire.reserve(ACK_SIZE_MAX);
    wire.outAt = putAck(wire.out, wire.outAt, type, packetId, reason);
  }

  // ── confirmations ───────────────────────────────────────────────────────────────────────────────────────────────

  pushSettled(type: number, packetId: number, position: number): void {
    this.#settled.push(type, packetId, 0, position, 0);
  }

  answer(position: number, packet: Buffer, sent: () => void): void {
    this.#answers.push({ position, packet, sent });
    if (this.#answers.length === ANSWERS_MAX) this.#host.hold();
  }

  get #owesAnswers(): boolean {
    return this.inbound.waitingCount > 0 || this.#settled.length > 0 || this.#answers.length > 0;
  }

  /** A chunk of input is over. */
  endBatch(): void {
    this.outbound.endBatch();
    this.#flushConfirms();
    if (!this.#isWaiting && this.#owesAnswers) {
      this.#isWaiting = true;
      this.broker.awaitConfirm(this);
    }
    if (this.#subscriptions.isReplaying) this.requestReplay();
  }

  onConfirm(): boolean {
    if (this.#state === STATE.OPENING) {
      if (!this.isSafe) return true;
      // What is waited for from then on is registered anew.
      this.#isWaiting = false;
      this.#host.onSafe();
      return false;
    }
    if (this.#state !== STATE.OPEN) return false;
    this.#flushConfirms();
    this.#isWaiting = this.#owesAnswers;
    return this.#isWaiting;
  }

  #flushConfirms(): void {
    const { inbound } = this;
    if (inbound.waitingCount > 0) {
      for (let i = 0; i < LEVELS.length; i++) confirmed[i] = this.broker.confirmedTo(LEVELS[i]!);
      inbound.flush(this.wire, confirmed);
    }
    if (this.#settled.length > 0 || this.#answers.length > 0) this.#flushSettled();
  }

  #flushSettled(): void {
    const settledTo = this.broker.settledTo();
    const ring = this.#settled;
    confirmed[0] = settledTo;
    const count = ring.readyCount(confirmed);
    if (count > 0) {
      const { wire } = this;
      wire.reserve(count * ACK_SIZE_MAX);
      let at = wire.outAt;
      for (let i = 0; i < count; i++) {
        at = putAck(wire.out, at, ring.typeAt(i), ring.packetIdAt(i), ring.reasonAt(i));
      }
      wire.outAt = at;
      ring.drop(count);
    }
    while (this.#answers.length > 0 && this.#answers[0]!.position <= settledTo) {
      const { packet, sent } = this.#answers.shift()!;
      this.#host.send(packet);
      sent();
      if (this.#answers.length === ANSWERS_MAX - 1) this.#host.release();
    }
  }

  // ── deliveries ──────────────────────────────────────────────────────────────────────────────────────────────────

  openSource(source: SessionSource): ReturnType<SessionSink["openSource"]> {
    return this.outbound.openSource(source);
  }

  closeSource(source: SessionSource): void {
    this.outbound.closeSource(source);
  }

  deliverNow(record: RecordView, path: string, grant: Grant): boolean {
    return this.#state === STATE.OPEN && this.outbound.deliverNow(record, path, grant);
  }

  onSourceCancelled(reason: BrokerError): void {
    this.#host.fail(reason);
  }

  sendSys(topic: string, value: string, isRetained: boolean, grant: Grant): void {
    if (this.#state === STATE.OPEN) this.outbound.sendValue(topic, value, isRetained, grant);
  }

  requestReplay(): void {
    if (this.#isReplayRequested || this.#state !== STATE.OPEN) return;
    this.#isReplayRequested = true;
    this.turn.request(PHASE.ENCODE, this);
  }

  runTurn(): void {
    this.#isReplayRequested = false;
    if (this.#state !== STATE.OPEN) return;
    const hasMore = this.#subscriptions.pump();
    this.outbound.endBatch();
    if (hasMore) this.requestReplay();
  }

  /** The wire takes more. */
  onDrain(): void {
    this.outbound.resume();
    if (this.#subscriptions.isReplaying) this.requestReplay();
  }

  noteRefusal(path: string, error: BrokerError): void {
    const { logger } = this.#host.server.services;
    if (logger.isDebug)
      logger.debug("mqtt.publish-refused", { topic: path, client: this.session.clientId, error });
  }
}
