/**
 * One MQTT peer: frames its input, walks it through CONNECT and authentication, keeps watch over keep-alive, and ends it
 * in the protocol's way. What an accepted client does is in client.ts.
 *
 * States: new → login (credentials are being checked) ⇄ challenge (AUTH from the client is awaited) → open → closed.
 * Input is left unread while something before it is undecided, so no queue grows.
 */
import type { BrokerConnection, BrokerFacade } from "../../src/broker/facade.ts";
import { BrokerError } from "../../src/model/errors.ts";
import type { Principal } from "../../src/security/principal.ts";
import type { ProtocolConnection, Wire } from "../../src/transport/wire.ts";
import { PHASE } from "../../src/util/turn.ts";
import { Authentication, type AuthenticationHost } from "./authentication.ts";
import { Client, type ClientHost } from "./client.ts";
import { ConnectPacket, decodeConnect } from "./codec/connect.ts";
import {
  PACKET,
  PACKET_NAMES,
  REASON,
  type Reason,
  VERSION,
  type Version,
} from "./codec/constants.ts";
import { decodeAuth, decodeDisconnect, encodeConnack, encodeDisconnect } from "./codec/control.ts";
import { checkFirstByte, Frame } from "./codec/framing.ts";
import { ProtocolError, protocolError } from "./codec/protocol-error.ts";
import { PacketReader } from "./codec/reader.ts";
import type { Counters } from "./counters.ts";
import { endReason, returnCodeOf } from "./errors.ts";
import { connackProperties, type Login, readLogin } from "./login.ts";
import type { MqttServer } from "./server.ts";
import type { MqttSettings } from "./settings.ts";

/** OPENING: the session is there, and CONNACK waits until it is safe. */
const STATE = { NEW: 0, LOGIN: 1, OPENING: 2, OPEN: 3, CLOSED: 4 } as const;
type State = (typeof STATE)[keyof typeof STATE];

/** Messages sent to subscribers while one chunk is read, before the connection rests. */
const DIRECT_PER_READ = 8192;
/** First byte of PUBACK. */
const PLAIN_PUBACK = PACKET.PUBACK << 4;

const reader = new PacketReader();
const frame = new Frame();

export class MqttConnection implements ProtocolConnection, ClientHost, AuthenticationHost {
  readonly wire: Wire;
  readonly server: MqttServer;
  version: Version = VERSION.V311;
  readonly #settings: MqttSettings;
  readonly #counters: Counters;
  readonly #broker: BrokerFacade;
  readonly #openedAt: number;
  #state: State = STATE.NEW;
  #isV5 = false;
  #wanted = 0;
  #lastInputAt: number;
  /** Why input is left unread; 0 for nothing. */
  #holds = 0;
  readonly #authentication: Authentication;
  #login: Login | null = null;
  /** Until CONNACK was sent. */
  #packet: ConnectPacket | null = null;
  #authData: Buffer | undefined;
  #connection: BrokerConnection | null = null;
  #client: Client | null = null;

  constructor(server: MqttServer, wire: Wire) {
    this.server = server;
    this.wire = wire;
    this.#settings = server.settings;
    this.#counters = server.counters;
    this.#broker = server.services.broker;
    this.#openedAt = this.#broker.turn.uptime;
    this.#lastInputAt = this.#openedAt;
    this.#authentication = new Authentication(this);
  }

  // ── input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  onData(bytes: Buffer, start: number, end: number): number {
    let at = start;
    this.#wanted = 0;
    // QoS 0 messages go to their subscribers as they are read: many subscribers make a chunk long.
    const restAt = this.#counters.publishesOut + DIRECT_PER_READ;
    try {
      while (at < end && this.#holds === 0 && this.#state !== STATE.CLOSED) {
        // A PUBACK without reason and properties: most of what a subscriber sends.
        if (
          bytes[at] === PLAIN_PUBACK &&
          bytes[at + 1] === 2 &&
          at + 4 <= end &&
          this.#state === STATE.OPEN
        ) {
          this.#acknowledge((bytes[at + 2]! << 8) | bytes[at + 3]!);
          at += 4;
          continue;
        }
        if (!frame.open(bytes, at, end)) {
          this.#checkFirst(bytes[at]!);
          break;
        }
        const { first, bodyStart, end: next } = frame;
        if (next > end) {
          this.#checkPartial(first, next - at);
          break;
        }
        if (!this.#take(bytes, first, bodyStart, next, next - at)) break;
        at = next;
        if (this.#counters.publishesOut > restAt) this.#rest();
      }
      this.#lastInputAt = this.#broker.turn.uptime;
      if (this.#state === STATE.OPEN) this.#client!.endBatch();
    } catch (error) {
      this.fail(error);
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
      this.#state === STATE.NEW ? this.#settings.maxConnectBytes : this.#settings.maxPacketBytes;
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
      if (size > this.#settings.maxPacketBytes) this.#checkSize(size);
      checkFirstByte(first, this.version);
      if (!this.#connection!.hasRoom(size)) {
        // MQTT 5 has a word for it; who cannot be told is not read from until there is room.
        const isTold = this.#isV5 && (first & 6) !== 0 && this.#broker.blocked !== null;
        if (!isTold) {
          this.#holdForRoom();
          return false;
        }
        this.#client!.inbound.refuse(bytes, first, start, end);
        return true;
      }
      this.#counters.packetsIn++;
      this.#client!.inbound.publish(bytes, first, start, end);
      return true;
    }
    this.#checkFirst(first);
    this.#checkSize(size);
    this.#counters.packetsIn++;
    if (this.#state === STATE.OPEN) this.#onPacket(bytes, type, start, end);
    else if (this.#state === STATE.NEW) this.#onConnect(bytes, start, end);
    else this.#onLoginPacket(bytes, type, start, end);
    return true;
  }

  #acknowledge(packetId: number): void {
    if (packetId === 0) throw protocolError("packet identifier 0", "MQTT-2.2.1-3");
    this.#counters.packetsIn++;
    this.#client!.outbound.acknowledge(packetId, 0);
  }

  #onPacket(bytes: Buffer, type: number, start: number, end: number): void {
    switch (type) {
      case PACKET.DISCONNECT:
        this.#onDisconnect(bytes, start, end);
        return;
      case PACKET.AUTH:
        this.#authentication.onAuth(decodeAuth(reader.open(bytes, start, end)));
        return;
      case PACKET.CONNECT:
        throw protocolError("second CONNECT", "MQTT-3.1.0-2");
      default:
        this.#client!.onPacket(bytes, type, start, end);
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

  // ── back-pressure ───────────────────────────────────────────────────────────────────────────────────────────────

  #holdForRoom(): void {
    this.hold();
    this.#connection!.onRoom(() => this.release());
  }

  /** Enough for one turn: the rest of the input waits until others had theirs. */
  #rest(): void {
    this.hold();
    this.#broker.turn.request(PHASE.FLUSH, { runTurn: () => this.release() });
  }

  /** Leaves input unread until `release`. */
  hold(): void {
    if (this.#holds++ === 0) this.wire.pauseInput();
  }

  release(): void {
    if (--this.#holds > 0 || this.#state === STATE.CLOSED) return;
    this.#lastInputAt = this.#broker.turn.uptime;
    this.wire.resumeInput();
  }

  /** MQTT-3.1.2-24: never more than the client takes. */
  send(packet: Buffer): void {
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
    this.#login = readLogin(packet, this.#settings);
    this.#state = STATE.LOGIN;
    this.#authentication.begin(this.#login);
  }

  /** Credentials are good. `data`: the mechanism's last word. */
  onAuthenticated(principal: Principal, data: Buffer | undefined): void {
    if (this.#state !== STATE.LOGIN) return;
    try {
      this.#open(principal, data);
    } catch (error) {
      this.fail(error);
    }
  }

  onRenewed(principal: Principal): void {
    this.#connection?.renewLogin(principal);
  }

  onRefused(error: unknown): void {
    if (this.#state !== STATE.CLOSED) this.fail(error);
  }

  #open(principal: Principal, data: Buffer | undefined): void {
    const login = this.#login!;
    const { info } = this.wire;
    this.#connection = this.#broker.connect({
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
      close: (reason: BrokerError) => this.fail(reason),
    });
    this.#client = new Client(this, this.#connection, login);
    this.#authData = data;
    if (this.#client.isSafe) {
      this.#opened(this.#client);
      return;
    }
    this.#state = STATE.OPENING;
    this.hold();
    this.#client.awaitSafety();
  }

  onSafe(): void {
    try {
      this.#opened(this.#client!);
      this.release();
    } catch (error) {
      this.fail(error);
    }
  }

  #opened(client: Client): void {
    const properties = this.#isV5
      ? connackProperties(this.#login!, this.#packet!, this.#settings)
      : {};
    if (this.#authData !== undefined) properties.authData = this.#authData;
    this.#authData = undefined;
    const { isPresent } = client.session;
    this.wire.write(encodeConnack(this.version, isPresent, REASON.SUCCESS, properties));
    this.#state = STATE.OPEN;
    this.#packet = null;
    this.#countIn();
    client.start();
  }

  #countIn(): void {
    const c = this.#counters;
    c.connections++;
    c.connectionsTotal++;
    c.connectionsMax = Math.max(c.connectionsMax, c.connections);
  }

  onDrain(): void {
    if (this.#state === STATE.OPEN) this.#client!.onDrain();
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #onDisconnect(bytes: Buffer, start: number, end: number): void {
    const { reason, properties } = decodeDisconnect(reader.open(bytes, start, end), this.version);
    this.#client!.leave(properties.sessionExpiry);
    this.#detach(reason === REASON.SUCCESS);
    this.#end();
  }

  onTakenOver(): void {
    const text = "another connection uses this client identifier";
    if (this.#state === STATE.OPEN) this.#say(REASON.SESSION_TAKEN_OVER, text);
    else this.#refuse(REASON.SERVER_BUSY, text);
    this.#detach(false);
    this.#end();
  }

  /** Ends the connection in the protocol's way. */
  fail(error: unknown): void {
    if (this.#state === STATE.CLOSED) return;
    const reason = endReason(error);
    const text = this.#explain(error);
    if (this.#state === STATE.OPEN) {
      this.#client!.outbound.endBatch();
      this.#say(reason, text);
    } else this.#refuse(reason, text);
    this.#detach(false);
    this.#end();
  }

  #explain(error: unknown): string {
    const { logger } = this.server.services;
    if (error instanceof ProtocolError) {
      this.#counters.protocolErrors++;
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
    this.send(isFit ? explained : encodeDisconnect(reason, {}));
  }

  #detach(dropWill: boolean): void {
    const wasOpen = this.#state === STATE.OPEN;
    this.#state = STATE.CLOSED;
    this.#authentication.cancel();
    if (wasOpen) this.#counters.connections--;
    this.#client?.close(dropWill);
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

  onTick(uptimeMs: number): void {
    if (this.#state === STATE.CLOSED) return;
    if (this.#state !== STATE.OPEN) {
      if (uptimeMs - this.#openedAt > this.#settings.connectTimeoutMs) {
        this.#detach(false);
        this.wire.destroy();
      }
      return;
    }
    const keepAliveMs = this.#login!.keepAliveSeconds * 1500;
    // Input that we do not read ourselves proves nothing about the peer.
    if (this.#holds > 0 || keepAliveMs === 0) return;
    if (uptimeMs - this.#lastInputAt > keepAliveMs)
      this.fail(
        new ProtocolError(
          REASON.KEEP_ALIVE_TIMEOUT,
          "nothing came within one and a half keep-alive intervals",
          "MQTT-3.1.2-22",
        ),
      );
  }

  onShutdown(): void {
    this.fail(new BrokerError("shutting-down", "the broker is stopping"));
  }
}
