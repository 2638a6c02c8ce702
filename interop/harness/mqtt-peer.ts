/** MQTT.js behind promises: one connection that never reconnects by itself, and an inbox that is asked for the next message. */
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from "mqtt";
import type { Endpoint } from "./broker-process.ts";
import { within } from "./step.ts";

export type MqttVersion = 3 | 4 | 5;

export interface MqttOptions {
  readonly version?: MqttVersion;
  readonly webSocket?: boolean;
  readonly clientId?: string;
  readonly clean?: boolean;
  readonly keepaliveSeconds?: number;
  readonly will?: IClientOptions["will"];
  readonly properties?: IClientOptions["properties"];
  readonly password?: string;
  readonly namespace?: string;
  /** Receives and does not acknowledge. */
  readonly withholdAcks?: boolean;
}

const LIMIT_MS = 10_000;
const QUIET_MS = 250;
let lastId = 0;

export class MqttPeer {
  readonly client: MqttClient;
  readonly clientId: string;
  /** What the broker said in CONNACK. */
  sessionPresent = false;
  readonly #inbox: IPublishPacket[] = [];
  #wake: (() => void) | undefined;
  #closed: Promise<void>;

  private constructor(client: MqttClient, clientId: string) {
    this.client = client;
    this.clientId = clientId;
    this.#closed = new Promise((resolve) => client.once("close", () => resolve()));
    client.on("message", (topic, _payload, packet) => {
      // The packet's own topic is empty where an alias stands for it.
      this.#inbox.push({ ...packet, topic });
      this.#wake?.();
    });
  }

  static async connect(endpoint: Endpoint, options: MqttOptions = {}): Promise<MqttPeer> {
    const clientId = options.clientId ?? `mqttjs-${process.pid}-${++lastId}`;
    const version = options.version ?? 4;
    const { tls } = endpoint;
    const scheme = `${options.webSocket === true ? "ws" : "mqtt"}${tls === undefined ? "" : "s"}`;
    const path = options.webSocket === true ? "/mqtt" : "";
    const url = `${scheme}://${endpoint.host}:${endpoint.port}${path}`;
    const settings: IClientOptions = {
      clientId,
      protocolVersion: version,
      // The name of the protocol before it was a standard.
      protocolId: version === 3 ? "MQIsdp" : "MQTT",
      clean: options.clean ?? true,
      keepalive: options.keepaliveSeconds ?? 60,
      reconnectPeriod: 0,
      resubscribe: false,
      connectTimeout: LIMIT_MS,
      username:
        options.namespace === undefined ? endpoint.user : `${options.namespace}:${endpoint.user}`,
      password: options.password ?? endpoint.password,
    };
    if (tls !== undefined) {
      const own = { ca: tls.pem, ...tls.identity };
      Object.assign(settings, { ...own, wsOptions: own });
    }
    if (tls?.identity !== undefined) {
      delete settings.username;
      delete settings.password;
    }
    if (options.will !== undefined) settings.will = options.will;
    if (options.properties !== undefined) settings.properties = options.properties;
    const client = mqtt.connect(url, settings);
    // MQTT.js acknowledges when this calls back, which it never does.
    if (options.withholdAcks === true) client.handleMessage = () => undefined;
    const peer = new MqttPeer(client, clientId);
    const connected = new Promise<void>((resolve, reject) => {
      client.once("connect", (packet) => {
        peer.sessionPresent = packet.sessionPresent;
        resolve();
      });
      client.once("error", reject);
      client.once("close", () => reject(new Error("closed before CONNACK")));
    });
    // Later errors show in what is waited for; without a listener they would end the process.
    client.on("error", () => undefined);
    await within(LIMIT_MS, connected, `${clientId}: CONNACK`);
    return peer;
  }

  async subscribe(
    filter: string,
    options: Parameters<MqttClient["subscribeAsync"]>[1] = { qos: 1 },
  ): Promise<number> {
    const granted = await within(
      LIMIT_MS,
      this.client.subscribeAsync(filter, options),
      `SUBACK for ${filter}`,
    );
    return granted[0]?.qos ?? 128;
  }

  async unsubscribe(filter: string): Promise<void> {
    await within(LIMIT_MS, this.client.unsubscribeAsync(filter), `UNSUBACK for ${filter}`);
  }

  /** Resolves with the acknowledgement of its QoS. */
  async publish(
    topic: string,
    payload: string | Buffer,
    options: Parameters<MqttClient["publishAsync"]>[2] = { qos: 1 },
  ): Promise<void> {
    await within(
      LIMIT_MS,
      this.client.publishAsync(topic, payload, options),
      `acknowledgement of ${topic}`,
    );
  }

  get pending(): number {
    return this.#inbox.length;
  }

  async next(limitMs = LIMIT_MS): Promise<IPublishPacket> {
    if (this.#inbox.length === 0) {
      const arrived = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await within(limitMs, arrived, `${this.clientId}: a message`);
    }
    return this.#inbox.shift()!;
  }

  async texts(count: number, limitMs = LIMIT_MS): Promise<string> {
    const texts: string[] = [];
    while (texts.length < count) texts.push((await this.next(limitMs)).payload.toString());
    return texts.join(",");
  }

  async expectQuiet(ms = QUIET_MS): Promise<void> {
    const extra = await this.next(ms).catch(() => undefined);
    if (extra !== undefined)
      throw new Error(`unexpected message ${extra.topic}: ${extra.payload.toString()}`);
  }

  /** Resolves when the connection is gone, whoever ended it. */
  closed(limitMs = LIMIT_MS): Promise<void> {
    return within(limitMs, this.#closed, `${this.clientId}: end of the connection`);
  }

  /** DISCONNECT. */
  async end(): Promise<void> {
    if (this.client.disconnected && !this.client.connected) return;
    await within(LIMIT_MS, this.client.endAsync(), `${this.clientId}: end`).catch(() => undefined);
  }

  /** The socket breaks, without DISCONNECT. */
  drop(): void {
    this.client.stream.destroy();
  }
}
