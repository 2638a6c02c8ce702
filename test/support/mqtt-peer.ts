/**
 * A MQTT client for tests, over a wire in memory. Packets are written and read by mqtt-packet, so that our codec is never
 * its own judge.
 */
import { generate, type IConnackPacket, type Packet, parser } from "mqtt-packet";
import { createAdapter } from "../../protocols/mqtt/adapter.ts";
import type { MqttSettings } from "../../protocols/mqtt/settings.ts";
import type { BrokerFacade } from "../../src/broker/facade.ts";
import type { Authenticator } from "../../src/security/authenticator.ts";
import { ANONYMOUS } from "../../src/security/principal.ts";
import { SILENT } from "../../src/telemetry/log.ts";
import { MemoryWire, type MemoryWireOptions } from "../../src/transport/memory-wire.ts";
import type { ProtocolAdapter } from "../../src/transport/wire.ts";
import type { Turn } from "../../src/util/turn.ts";
import { until } from "./wait.ts";

/** Everybody is let in as who they say, except with the password "wrong". */
export const OPEN_DOOR: Authenticator = {
  mechanismsFor: () => [],
  startSasl: () => undefined,
  checkPassword: async (user, password) =>
    password === "wrong" ? undefined : { name: user, isAnonymous: false, mechanism: "password" },
  withoutCredentials: () => ANONYMOUS,
};

/** What tests need of a broker: the real one over any store. */
export interface BrokerUnderTest {
  readonly broker: BrokerFacade;
  readonly turn: Turn;
}

export function mqttAdapter(
  test: BrokerUnderTest,
  settings: Partial<MqttSettings> = {},
  authenticator: Authenticator = OPEN_DOOR,
): ProtocolAdapter {
  return createAdapter({ broker: test.broker, authenticator, logger: SILENT }, settings);
}

type Connect = Partial<Extract<Packet, { cmd: "connect" }>>;

/** CONNECT of MQTT 5. */
export const V5 = { protocolVersion: 5 } as const;

/** CONNECT of MQTT 5 for a session that is kept. */
export const kept = (clientId: string, more: Connect = {}): Connect => ({
  ...V5,
  clientId,
  clean: false,
  properties: { sessionExpiryInterval: 600 },
  ...more,
});

export interface PeerOptions {
  readonly settings?: Partial<MqttSettings>;
  readonly adapter?: ProtocolAdapter;
  readonly authenticator?: Authenticator;
  readonly wire?: MemoryWireOptions;
  /** Acknowledge what arrives (default true). */
  readonly autoAck?: boolean;
}

let clientNumber = 0;

type Publish = Extract<Packet, { cmd: "publish" }>;

/** Sends a PUBLISH of "x" to "a", or what is said otherwise, and waits for nothing. */
export const publish = (peer: MqttPeer, packet: Partial<Publish>): void =>
  peer.send({
    cmd: "publish",
    topic: "a",
    payload: "x",
    qos: 0,
    dup: false,
    retain: false,
    ...packet,
  } as Packet);

export class MqttPeer {
  readonly wire: MemoryWire;
  /** What came and was not taken yet. */
  readonly packets: Packet[] = [];
  version: 3 | 4 | 5 = 4;
  autoAck: boolean;
  readonly #parser: ReturnType<typeof parser>;

  constructor(test: BrokerUnderTest, options: PeerOptions = {}) {
    this.autoAck = options.autoAck ?? true;
    this.#parser = parser({ protocolVersion: 4 } as never);
    this.#parser.on("packet", (packet: Packet) => this.#onPacket(packet));
    this.#parser.on("error", (error: Error) => {
      throw error;
    });
    const adapter = options.adapter ?? mqttAdapter(test, options.settings, options.authenticator);
    this.wire = MemoryWire.open(adapter, {
      turn: test.turn,
      ...options.wire,
      onOutput: (bytes) => this.#parser.parse(Buffer.from(bytes)),
    });
  }

  /** Opened, connected and accepted. */
  static async connect(
    test: BrokerUnderTest,
    connect: Connect = {},
    options: PeerOptions = {},
  ): Promise<{ peer: MqttPeer; connack: IConnackPacket }> {
    const peer = new MqttPeer(test, options);
    peer.sendConnect(connect);
    const connack = (await peer.take("connack")) as IConnackPacket;
    const code = connack.returnCode ?? connack.reasonCode;
    if (code !== 0) throw new Error(`refused: ${code}`);
    return { peer, connack };
  }

  /** Packets are read and written as this version from now on. */
  setVersion(version: 3 | 4 | 5): void {
    this.version = version;
    const { settings } = this.#parser as unknown as { settings: { protocolVersion: number } };
    settings.protocolVersion = version;
  }

  sendConnect(connect: Connect = {}): void {
    this.setVersion(connect.protocolVersion ?? 4);
    this.send({
      cmd: "connect",
      protocolId: this.version === 3 ? "MQIsdp" : "MQTT",
      protocolVersion: this.version,
      clientId: connect.clientId ?? `test-${++clientNumber}`,
      clean: true,
      keepalive: 0,
      ...connect,
    } as Packet);
  }

  send(packet: Packet): void {
    this.wire.send(this.encode(packet));
  }

  encode(packet: Packet): Buffer {
    return generate(packet, { protocolVersion: this.version });
  }

  sendBytes(bytes: Uint8Array): void {
    this.wire.send(bytes);
  }

  #onPacket(packet: Packet): void {
    this.packets.push(packet);
    if (!this.autoAck) return;
    const { messageId } = packet;
    if (packet.cmd === "publish" && packet.qos === 1)
      this.send({ cmd: "puback", messageId } as Packet);
    if (packet.cmd === "publish" && packet.qos === 2)
      this.send({ cmd: "pubrec", messageId } as Packet);
    if (packet.cmd === "pubrel") this.send({ cmd: "pubcomp", messageId } as Packet);
  }

  /** The first packet of this kind that has not been taken, once it is there. */
  async take<C extends Packet["cmd"]>(cmd: C): Promise<Extract<Packet, { cmd: C }>> {
    await until(
      `${cmd} arrives (have ${this.packets.map((packet) => packet.cmd).join(", ") || "nothing"})`,
      () => this.packets.some((packet) => packet.cmd === cmd) || this.wire.isOver,
      5000,
    );
    this.wire.flush();
    const at = this.packets.findIndex((packet) => packet.cmd === cmd);
    if (at < 0) throw new Error(`connection closed while waiting for ${cmd}`);
    return this.packets.splice(at, 1)[0] as Extract<Packet, { cmd: C }>;
  }

  async subscribe(topic: string, qos: 0 | 1 | 2 = 0, more: object = {}): Promise<number[]> {
    this.send({
      cmd: "subscribe",
      messageId: 1,
      subscriptions: [{ topic, qos, ...more }],
    } as Packet);
    const suback = await this.take("suback");
    return suback.granted as number[];
  }

  /** Publishes and waits until the exchange is over. */
  async publish(
    topic: string,
    payload: string | Buffer,
    qos: 0 | 1 | 2 = 0,
    more: object = {},
  ): Promise<number> {
    const messageId = qos === 0 ? undefined : 100;
    this.send({
      cmd: "publish",
      topic,
      payload,
      qos,
      messageId,
      dup: false,
      retain: false,
      ...more,
    } as Packet);
    if (qos === 0) return 0;
    if (qos === 1) return (await this.take("puback")).reasonCode ?? 0;
    const { reasonCode } = await this.take("pubrec");
    if ((reasonCode ?? 0) >= 0x80) return reasonCode ?? 0;
    this.send({ cmd: "pubrel", messageId } as Packet);
    await this.take("pubcomp");
    return reasonCode ?? 0;
  }

  /** The next message, as text. */
  async message(): Promise<{
    topic: string;
    text: string;
    qos: number;
    retain: boolean;
    dup: boolean;
  }> {
    const { topic, payload, qos, retain, dup } = await this.take("publish");
    return { topic, text: payload.toString(), qos, retain, dup };
  }

  get publishes(): Publish[] {
    return this.packets.filter((packet): packet is Publish => packet.cmd === "publish");
  }

  /** Nothing more is on its way: everything sent before has been answered. */
  async settle(): Promise<void> {
    this.send({ cmd: "pingreq" });
    await this.take("pingresp");
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    this.send({ cmd: "pingreq" });
    await this.take("pingresp");
  }

  async closed(): Promise<void> {
    await until("the connection is closed", () => this.wire.isOver);
  }

  disconnect(): void {
    this.send({ cmd: "disconnect" } as Packet);
  }

  /** The socket breaks. */
  drop(): void {
    this.wire.sendEnd(new Error("reset"));
  }
}
