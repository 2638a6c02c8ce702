/**
 * One MQTT peer: frames its input, walks it through CONNECT and authentication, and holds together what follows: inbound
 * messages, outbound messages, subscriptions, keep-alive and the end.
 *
 * States: new → login (credentials are being checked) ⇄ challenge (AUTH from the client is awaited) → open → closed.
 * Input is left unread while something before it is undecided, so no queue grows.
 */
import type { BrokerConnection, BrokerFacade, ConfirmWaiter } from "../../src/broker/facade.ts";
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import type {
  Grant,
  KeptDelivery,
  Session,
  SessionHost,
  SessionSink,
  SessionSource,
} from "../../src/broker/session-facade.ts";
import { BrokerError } from "../../src/model/errors.ts";
import type { RecordView } from "../../src/model/record-view.ts";
import type { Principal } from "../../src/security/principal.ts";
import type { ProtocolConnection, Wire } from "../../src/transport/wire.ts";
import { PHASE, type TurnTask } from "../../src/util/turn.ts";
import { Authentication, type AuthenticationHost } from "./authentication.ts";
import { ACK_SIZE_MAX, AckView, putAck } from "./codec/ack.ts";
import { ConnectPacket, decodeConnect } from "./codec/connect.ts";
import {
  PACKET,
  PACKET_NAMES,
  REASON,
  type Reason,
  VERSION,
  type Version,
} from "./codec/constants.ts";
import {
  decodeAuth,
  decodeDisconnect,
  decodeEmpty,
  encodeConnack,
  encodeDisconnect,
  PINGRESP_BYTES,
} from "./codec/control.ts";
import { checkFirstByte, Frame } from "./codec/framing.ts";
import { ProtocolError, protocolError } from "./codec/protocol-error.ts";
import { PacketReader } from "./codec/reader.ts";
import { decodeSubscribe, decodeUnsubscribe } from "./codec/subscribe.ts";
import { ConfirmRing } from "./confirm-ring.ts";
import type { Counters } from "./counters.ts";
import { endReason, returnCodeOf } from "./errors.ts";
import { Inbound, type InboundHost, LEVELS } from "./inbound.ts";
import { checkExpiryChange, connackProperties, type Login, readLogin } from "./login.ts";
import { Outbound, type OutboundHost } from "./outbound.ts";
import type { MqttSettings } from "./settings.ts";
import type { SharedPackets } from "./shared-packets.ts";
import { Subscriptions, type SubscriptionsHost } from "./subscriptions.ts";
import type { SysTree } from "./sys-tree.ts";

/** OPENING: the session is there, and CONNACK waits until it is safe. */
const STATE = { NEW: 0, LOGIN: 1, OPENING: 2, OPEN: 3, CLOSED: 4 } as const;
type State = (typeof STATE)[keyof typeof STATE];

/** Messages sent to subscribers while one chunk is read, before the connection rests. */
const DIRECT_PER_READ = 8192;
/** First byte of PUBACK. */
const PLAIN_PUBACK = PACKET.PUBACK << 4;
/** Answers to SUBSCRIBE and UNSUBSCRIBE that may wait for the disk before input is held. */
const ANSWERS_MAX = 64;

/** What all connections of a listener share. */
export interface MqttServer {
  readonly services: ProtocolServices;
  readonly sessions: SessionHost;
  readonly settings: MqttSettings;
  readonly counters: Counters;
  readonly sysTree: SysTree;
  readonly packets: SharedPackets;
}

interface Answer {
  readonly position: number;
  readonly packet: Buffer;
  readonly sent: () => void;
}

const reader = new PacketReader();
const frame = new Frame();
const ack = new AckView();
const confirmed: number[] = [];

export class MqttConnection
  implements
    ProtocolConnection,
    ConfirmWaiter,
    SessionSink,
    InboundHost,
    OutboundHost,
    SubscriptionsHost,
    AuthenticationHost,
    TurnTask
{
  readonly wire: Wire;
  readonly settings: MqttSettings;
  readonly counters: Counters;
  readonly sysTree: SysTree;
  readonly broker: BrokerFacade;
  readonly server: MqttServer;
  readonly openedAt: number;
  version: Version = VERSION.V311;
  wantsProblemInfo = true;
  #state: State = STATE.NEW;
  #isV5 = false;
  #wanted = 0;
  #lastInputAt: number;
  #keepAliveMs = 0;
  /** Why input is left unread; 0 for nothing. */
  #holds = 0;
  #isWaiting = false;
  #isReplayRequested = false;
  #expirySeconds = 0;
  readonly #authentication: Authentication;
  #login: Login | null = null;
  #packet: ConnectPacket | null = null;
  #authData: Buffer | undefined;
  #connection: BrokerConnection | null = null;
  #session: Session | null = null;
  #inbound: Inbound | null = null;
  #outbound: Outbound | null = null;
  #subscriptions: Subscriptions | null = null;
  /** PUBREL and PUBCOMP that wait for a settlement. */
  readonly #settled = new ConfirmRing();
  readonly #answers: Answer[] = [];

  constructor(server: MqttServer, wire: Wire) {
    this.server = server;
    this.wire = wire;
    this.settings = server.settings;
    this.counters = server.counters;
    this.sysTree = server.sysTree;
    this.broker = server.services.broker;
    this.openedAt = this.broker.turn.now;
    this.#lastInputAt = this.openedAt;
    this.#authentication = new Authentication(this);
  }

  get connection(): BrokerConnection {
    return this.#connection!;
  }
  get session(): Session {
    return this.#session!;
  }
  get packets(): SharedPackets {
    return this.server.packets;
  }
  get outbound(): Outbound {
    return this.#outbound!;
  }
  get isV5(): boolean {
    return this.#isV5;
  }
  get turn(): { readonly now: number } {
    return this.broker.turn;
  }

  // ── input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  onData(bytes: Buffer, start: number, end: number): number {
    let at = start;
    this.#wanted = 0;
    // QoS 0 messages go to their subscribers as they are read: many subscribers make a chunk long.
    const restAt = this.counters.publishesOut + DIRECT_PER_READ;
    try {
      while (at < end && this.#holds === 0 && this.#state !== STATE.CLOSED) {
        if (!frame.open(bytes, at, end)) {
          this.#checkFirst(bytes[at]!);
          break;
        }
        const { first, bodyStart, end: next } = frame;
        if (next > end) {
          this.#checkPartial(first, next - at);
          break;
        }
        if (first === PLAIN_PUBACK && next === bodyStart + 2 && this.#state === STATE.OPEN) {
          this.#acknowledge((bytes[bodyStart]! << 8) | bytes[bodyStart + 1]!);
          at = next;
          continue;
        }
        if (!this.#take(bytes, first, bodyStart, next, next - at)) break;
        at = next;
        if (this.counters.publishesOut > restAt) this.#rest();
      }
      this.#lastInputAt = this.broker.turn.now;
      if (this.#state === STATE.OPEN) this.#endBatch();
    } catch (error) {
      this.#fail(error);
    }
    return this.#state === STATE.CLOSED ? end : at;
  }

  wantedBytes(): number {
    return this.#wanted;
  }

  /** Says no before a packet is collected that would be refused anyway. */
  #checkPartial(first: number, size: number): void {
    this.#checkFirst(first);
    this.#checkSize(size);
    this.#wanted = size;
  }

  #checkFirst(first: number): void {
    if (this.#state === STATE.NEW) {
      if (first >> 4 !== PACKET.CONNECT)
        throw protocolError("the first packet is not CONNECT", "MQTT-3.1.0-1");
      if ((first & 15) !== 0)
        throw protocolError("reserved flags of CONNECT are set", "MQTT-2.1.3-1");
    } else checkFirstByte(first, this.version);
  }

  #checkSize(size: number): void {
    const limit =
      this.#state === STATE.NEW ? this.settings.maxConnectBytes : this.settings.maxPacketBytes;
    if (size > limit)
      throw new ProtocolError(
        REASON.PACKET_TOO_LARGE,
        `packet of ${size} bytes is larger than the limit of ${limit}`,
        "MQTT-3.2.2-15",
      );
  }

  /** One whole packet. False: not now, offer it again. */
  #take(bytes: Buffer, first: number, start: number, end: number, size: number): boolean {
    const type = first >> 4;
    if (this.#state === STATE.OPEN && type === PACKET.PUBLISH) {
      if (size > this.settings.maxPacketBytes) this.#checkSize(size);
      checkFirstByte(first, this.version);
      if (!this.#connection!.hasRoom(size)) {
        // MQTT 5 has a word for it; who cannot be told is not read from until there is room.
        const isTold = this.#isV5 && (first & 6) !== 0 && this.broker.blocked !== null;
        if (!isTold) {
          this.#holdForRoom();
          return false;
        }
        this.#inbound!.refuse(bytes, first, start, end);
        return true;
      }
      this.counters.packetsIn++;
      this.#inbound!.publish(bytes, first, start, end);
      return true;
    }
    this.#checkFirst(first);
    this.#checkSize(size);
    this.counters.packetsIn++;
    if (this.#state === STATE.OPEN) this.#onPacket(bytes, type, start, end);
    else if (this.#state === STATE.NEW) this.#onConnect(bytes, start, end);
    else this.#onLoginPacket(bytes, type, start, end);
    return true;
  }

  /** PUBACK without reason and properties: most of what a subscriber sends. */
  #acknowledge(packetId: number): void {
    if (packetId === 0) throw protocolError("packet identifier 0", "MQTT-2.2.1-3");
    this.counters.packetsIn++;
    this.#outbound!.acknowledge(packetId, 0);
  }

  #onPacket(bytes: Buffer, type: number, start: number, end: number): void {
    switch (type) {
      case PACKET.PUBACK:
        ack.open(bytes, type, start, end, this.version);
        this.#outbound!.acknowledge(ack.packetId, ack.reason);
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
        this.#outbound!.complete(ack.packetId);
        return;
      case PACKET.SUBSCRIBE:
        this.#subscriptions!.subscribe(
          decodeSubscribe(reader.open(bytes, start, end), this.version),
        );
        return;
      case PACKET.UNSUBSCRIBE:
        this.#subscriptions!.unsubscribe(
          decodeUnsubscribe(reader.open(bytes, start, end), this.version),
        );
        return;
      case PACKET.PINGREQ:
        decodeEmpty(reader.open(bytes, start, end), "PINGREQ");
        this.wire.write(PINGRESP_BYTES);
        return;
      case PACKET.DISCONNECT:
        this.#onDisconnect(bytes, start, end);
        return;
      case PACKET.AUTH:
        this.#authentication.onAuth(decodeAuth(reader.open(bytes, start, end)));
        return;
      case PACKET.CONNECT:
        throw protocolError("second CONNECT", "MQTT-3.1.0-2");
      default:
        throw protocolError(`unexpected ${PACKET_NAMES[type]}`);
    }
  }

  /** While a challenge is out: AUTH, or giving up. */
  #onLoginPacket(bytes: Buffer, type: number, start: number, end: number): void {
    if (type === PACKET.AUTH) {
      this.#authentication.onAuth(decodeAuth(reader.open(bytes, start, end)));
      return;
    }
    if (type === PACKET.DISCONNECT) {
      this.#detach(false);
      this.#end();
      return;
    }
    throw protocolError(`${PACKET_NAMES[type]} before CONNACK`, "MQTT-3.1.2-30");
  }

  #onReceived(packetId: number, reason: number): void {
    if (this.#outbound!.received(packetId, reason)) return;
    // MQTT 5 says so; MQTT 3 has no word for it, and PUBREL lets both forget.
    if (reason < 0x80)
      this.#putNow(PACKET.PUBREL, packetId, this.#isV5 ? REASON.PACKET_ID_NOT_FOUND : 0);
  }

  #onRelease(packetId: number): void {
    const position = this.#session!.release(packetId);
    if (position < 0) {
      // §3.7.2.1: no error during recovery. Our PUBCOMP may have been lost with the connection, and some clients would
      // tell their application that the message failed.
      const isStrange = this.#isV5 && !this.#session!.isPresent;
      this.#putNow(PACKET.PUBCOMP, packetId, isStrange ? REASON.PACKET_ID_NOT_FOUND : 0);
    } else this.pushSettled(PACKET.PUBCOMP, packetId, position);
  }

  #putNow(type: number, packetId: number, reason: number): void {
    const { wire } = this;
    wire.reserve(ACK_SIZE_MAX);
    wire.outAt = putAck(wire.out, wire.outAt, type, packetId, reason);
  }

  // ── back-pressure ───────────────────────────────────────────────────────────────────────────────────────────────

  #holdForRoom(): void {
    this.hold();
    this.#connection!.onRoom(() => this.release());
  }

  /** Enough for one turn: the rest of the input waits until others had theirs. */
  #rest(): void {
    this.hold();
    this.broker.turn.request(PHASE.FLUSH, { runTurn: () => this.release() });
  }

  /** Leaves input unread until `release`. */
  hold(): void {
    if (this.#holds++ === 0) this.wire.pauseInput();
  }

  release(): void {
    if (--this.#holds > 0 || this.#state === STATE.CLOSED) return;
    this.#lastInputAt = this.broker.turn.now;
    this.wire.resumeInput();
  }

  // ── confirmations ───────────────────────────────────────────────────────────────────────────────────────────────

  pushSettled(type: number, packetId: number, position: number): void {
    this.#settled.push(type, packetId, 0, position, 0);
  }

  answer(position: number, packet: Buffer, sent: () => void): void {
    this.#answers.push({ position, packet, sent });
    if (this.#answers.length === ANSWERS_MAX) this.hold();
  }

  #endBatch(): void {
    this.#outbound!.endBatch();
    this.#flushConfirms();
    const isWaiting =
      this.#inbound!.waitingCount > 0 || this.#settled.length > 0 || this.#answers.length > 0;
    if (isWaiting && !this.#isWaiting) {
      this.#isWaiting = true;
      this.broker.awaitConfirm(this);
    }
    if (this.#subscriptions!.isReplaying) this.requestReplay();
  }

  onConfirm(): boolean {
    if (this.#state === STATE.OPENING) return this.#confirmOpening();
    if (this.#state !== STATE.OPEN) return false;
    this.#flushConfirms();
    this.#isWaiting =
      this.#inbound!.waitingCount > 0 || this.#settled.length > 0 || this.#answers.length > 0;
    return this.#isWaiting;
  }

  #flushConfirms(): void {
    const inbound = this.#inbound!;
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
      this.#write(packet);
      sent();
      if (this.#answers.length === ANSWERS_MAX - 1) this.release();
    }
  }

  /** MQTT-3.1.2-24: never more than the client takes. */
  #write(packet: Buffer): void {
    if (packet.length <= (this.#login?.maxPacketBytes ?? Number.POSITIVE_INFINITY))
      this.wire.write(packet);
  }

  // ── CONNECT ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #onConnect(bytes: Buffer, start: number, end: number): void {
    const packet = new ConnectPacket();
    try {
      decodeConnect(reader.open(bytes, start, end), packet);
    } finally {
      if (packet.version !== 0) {
        this.version = packet.version;
        this.#isV5 = packet.version === VERSION.V5;
      }
    }
    this.#packet = packet;
    this.#login = readLogin(packet, this.settings);
    this.wantsProblemInfo = this.#login.wantsProblemInfo;
    this.#state = STATE.LOGIN;
    this.#authentication.begin(this.#login);
  }

  /** Credentials are good. `data`: the mechanism's last word. */
  onAuthenticated(principal: Principal, data: Buffer | undefined): void {
    if (this.#state !== STATE.LOGIN) return;
    try {
      this.#open(principal, data);
    } catch (error) {
      this.#fail(error);
    }
  }

  onRenewed(principal: Principal): void {
    this.#connection?.renewLogin(principal);
  }

  onRefused(error: unknown): void {
    if (this.#state !== STATE.CLOSED) this.#fail(error);
  }

  #open(principal: Principal, data: Buffer | undefined): void {
    const login = this.#login!;
    const { info } = this.wire;
    this.#connection = this.broker.connect({
      protocol: this.#isV5 ? "MQTT 5" : this.version === VERSION.V31 ? "MQTT 3.1" : "MQTT 3.1.1",
      remoteAddress: info.remoteAddress,
      remotePort: info.remotePort,
      principal,
      clientId: login.clientId,
      namespace: login.namespace,
      // Taking over is a matter of the session: it keeps its state while its connection changes.
      clientIdPolicy: "coexist",
      willReplace: true,
      peer: info,
      close: (reason: BrokerError) => this.#fail(reason),
    });
    this.#outbound = new Outbound(this, {
      window: login.window,
      maxPacketBytes: login.maxPacketBytes,
      aliasMaximum: login.aliasMaximum,
      directMaxBytes: this.settings.directMaxBytes,
    });
    const { clientId, isCleanStart, expirySeconds, will } = login;
    const session = this.server.sessions.open(
      this.#connection,
      { clientId, isCleanStart, expirySeconds, will },
      this,
    );
    this.#session = session;
    this.#expirySeconds = expirySeconds;
    this.#keepAliveMs = login.keepAliveSeconds * 1500;
    this.#inbound = new Inbound(this);
    this.#subscriptions = new Subscriptions(this);
    this.#authData = data;
    if (this.#isSessionSafe()) {
      this.#opened();
      return;
    }
    this.#state = STATE.OPENING;
    this.hold();
    this.#isWaiting = true;
    this.broker.awaitConfirm(this);
  }

  #isSessionSafe(): boolean {
    const { journaledAt, willEnd } = this.#session!;
    return (
      (journaledAt === 0 || this.broker.settledTo() >= journaledAt) &&
      (willEnd === 0 || this.broker.confirmedTo("fsync") >= willEnd)
    );
  }

  #confirmOpening(): boolean {
    if (!this.#isSessionSafe()) return true;
    this.#isWaiting = false;
    try {
      this.#opened();
      this.release();
    } catch (error) {
      this.#fail(error);
    }
    // What is waited for now has been registered anew.
    return false;
  }

  #opened(): void {
    const login = this.#login!;
    const session = this.#session!;
    const properties = this.#isV5 ? connackProperties(login, this.#packet!, this.settings) : {};
    if (this.#authData !== undefined) properties.authData = this.#authData;
    this.#authData = undefined;
    this.wire.write(encodeConnack(this.version, session.isPresent, REASON.SUCCESS, properties));
    this.#state = STATE.OPEN;
    this.#packet = null;
    this.#countIn();
    this.#outbound!.start(session);
    session.attach();
    this.#subscriptions!.restore();
    this.#endBatch();
  }

  #countIn(): void {
    const c = this.counters;
    c.connections++;
    c.connectionsTotal++;
    c.connectionsMax = Math.max(c.connectionsMax, c.connections);
  }

  // ── deliveries ──────────────────────────────────────────────────────────────────────────────────────────────────

  openSource(source: SessionSource): ReturnType<SessionSink["openSource"]> {
    return this.#outbound!.openSource(source);
  }

  closeSource(source: SessionSource): void {
    this.#outbound!.closeSource(source);
  }

  deliverNow(record: RecordView, path: string, grant: Grant): boolean {
    return this.#state === STATE.OPEN && this.#outbound!.deliverNow(record, path, grant);
  }

  onSourceCancelled(reason: BrokerError): void {
    this.#fail(reason);
  }

  sendSys(topic: string, value: string, isRetained: boolean, grant: Grant): void {
    if (this.#state === STATE.OPEN) this.#outbound!.sendValue(topic, value, isRetained, grant);
  }

  requestReplay(): void {
    if (this.#isReplayRequested || this.#state !== STATE.OPEN) return;
    this.#isReplayRequested = true;
    this.broker.turn.request(PHASE.ENCODE, this);
  }

  runTurn(): void {
    this.#isReplayRequested = false;
    if (this.#state !== STATE.OPEN) return;
    const hasMore = this.#subscriptions!.pump();
    this.#outbound!.endBatch();
    if (hasMore) this.requestReplay();
  }

  onDrain(): void {
    if (this.#state !== STATE.OPEN) return;
    this.#outbound!.resume();
    if (this.#subscriptions!.isReplaying) this.requestReplay();
  }

  noteRefusal(path: string, error: BrokerError): void {
    const { logger } = this.server.services;
    if (logger.isDebug)
      logger.debug("mqtt.publish-refused", { topic: path, client: this.session.clientId, error });
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #onDisconnect(bytes: Buffer, start: number, end: number): void {
    const { reason, properties } = decodeDisconnect(reader.open(bytes, start, end), this.version);
    const { sessionExpiry } = properties;
    if (sessionExpiry !== undefined) {
      checkExpiryChange(this.#expirySeconds, sessionExpiry);
      this.#session!.setExpiry(Math.min(sessionExpiry, this.settings.maxSessionExpirySeconds));
    }
    // What was acknowledged in this batch still counts.
    this.#outbound!.endBatch();
    this.#flushConfirms();
    this.#detach(reason === REASON.SUCCESS);
    this.#end();
  }

  onTakenOver(): readonly KeptDelivery[] {
    const keep = this.#outbound!.finish();
    // The session is the other connection's now: nothing of it is touched after this.
    this.#session = null;
    const text = "another connection uses this client identifier";
    if (this.#state === STATE.OPEN) this.#say(REASON.SESSION_TAKEN_OVER, text);
    else this.#refuse(REASON.SERVER_BUSY, text);
    this.#detach(false);
    this.#end();
    return keep;
  }

  onEnded(reason: BrokerError): void {
    this.#session = null;
    this.#fail(reason);
  }

  /** Ends the connection in the protocol's way. */
  #fail(error: unknown): void {
    if (this.#state === STATE.CLOSED) return;
    const reason = endReason(error);
    const text = this.#explain(error);
    if (this.#state === STATE.OPEN) {
      this.#outbound!.endBatch();
      this.#say(reason, text);
    } else this.#refuse(reason, text);
    this.#detach(false);
    this.#end();
  }

  #explain(error: unknown): string {
    const { logger } = this.server.services;
    if (error instanceof ProtocolError) {
      this.counters.protocolErrors++;
      logger.debug("mqtt.protocol-error", {
        client: this.#login?.clientId,
        remote: this.wire.info.remoteAddress,
        clause: error.clause,
        message: error.message,
      });
      return error.message;
    }
    if (error instanceof BrokerError) return error.message;
    logger.error("mqtt.bug", { error: error instanceof Error ? error : new Error(String(error)) });
    return "";
  }

  /** CONNACK with a refusal, where the version has one for it and the peer has said its version. */
  #refuse(reason: Reason, text: string): void {
    if (this.version === VERSION.V5 && this.#isV5) {
      const properties = text === "" ? {} : { reasonString: text };
      this.wire.write(encodeConnack(this.version, false, reason, properties));
      return;
    }
    const code = returnCodeOf(reason);
    if (code >= 0) this.wire.write(encodeConnack(VERSION.V311, false, code));
  }

  /** DISCONNECT exists for servers in MQTT 5 only. */
  #say(reason: Reason, text: string): void {
    if (!this.#isV5) return;
    const explained = encodeDisconnect(reason, text === "" ? {} : { reasonString: text });
    // MQTT-3.14.2-3: the reason goes without its explanation where that would be too much.
    const isFit = explained.length <= (this.#login?.maxPacketBytes ?? Number.POSITIVE_INFINITY);
    this.#write(isFit ? explained : encodeDisconnect(reason, {}));
  }

  #detach(dropWill: boolean): void {
    const wasOpen = this.#state === STATE.OPEN;
    this.#state = STATE.CLOSED;
    this.#authentication.cancel();
    if (wasOpen) this.counters.connections--;
    this.#subscriptions?.close();
    this.#session?.detach(dropWill, this.#outbound!.finish());
    this.#session = null;
    this.#inbound?.close();
    this.#connection?.close();
    this.#connection = null;
  }

  #end(): void {
    this.#state = STATE.CLOSED;
    this.wire.end();
  }

  onClose(): void {
    if (this.#state !== STATE.CLOSED) this.#detach(false);
  }

  onTick(nowMs: number): void {
    if (this.#state === STATE.CLOSED) return;
    if (this.#state !== STATE.OPEN) {
      if (nowMs - this.openedAt > this.settings.connectTimeoutMs) {
        this.#detach(false);
        this.wire.destroy();
      }
      return;
    }
    // Input that we do not read ourselves proves nothing about the peer.
    if (this.#holds > 0 || this.#keepAliveMs === 0) return;
    if (nowMs - this.#lastInputAt > this.#keepAliveMs)
      this.#fail(
        new ProtocolError(
          REASON.KEEP_ALIVE_TIMEOUT,
          "nothing came within one and a half keep-alive intervals",
          "MQTT-3.1.2-22",
        ),
      );
  }

  onShutdown(): void {
    this.#fail(new BrokerError("shutting-down", "the broker is stopping"));
  }
}
