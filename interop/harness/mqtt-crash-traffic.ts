/**
 * The traffic of the MQTT crash rounds: MQTT.js clients that keep their sessions and reconnect by themselves, as an application
 * would have them. Publishers of QoS 1 and 2 go on as fast as they are confirmed, subscribers of each version acknowledge, one
 * of them is away now and then, and some share a subscription, at QoS 1 and at QoS 2. What they know is in the ledger.
 */
import type { Socket } from "node:net";
import mqtt, { type IClientOptions, type IConnackPacket, type MqttClient } from "mqtt";
import type { Endpoint } from "./broker-process.ts";
import { Ledger } from "./ledger.ts";
import { MqttPeer } from "./mqtt-peer.ts";
import { within } from "./step.ts";

const WINDOW = 30;
const PAUSE_EVERY = 20;
const RECONNECT_MS = 20;
const RECONNECT_LIMIT_MS = 20_000;
const SESSION_SECONDS = 3600;
const QUIET_MS = 1500;
const DRAIN_LIMIT_MS = 60_000;

interface Publisher {
  readonly name: string;
  readonly version: 4 | 5;
  readonly qos: 1 | 2;
}

interface Subscriber {
  readonly group: string;
  readonly version: 4 | 5;
  readonly qos: 1 | 2;
  readonly filter: string;
  readonly members: number;
}

const PUBLISHERS: readonly Publisher[] = [
  { name: "two-v4", version: 4, qos: 2 },
  { name: "two-v5", version: 5, qos: 2 },
  { name: "one-v4", version: 4, qos: 1 },
  { name: "one-v5", version: 5, qos: 1 },
];

const SUBSCRIBERS: readonly Subscriber[] = [
  { group: "QoS 2, 3.1.1", version: 4, qos: 2, filter: "crash/q2/#", members: 1 },
  { group: "QoS 2, 5", version: 5, qos: 2, filter: "crash/q2/+", members: 1 },
  { group: "QoS 1, 3.1.1", version: 4, qos: 1, filter: "crash/q1/#", members: 1 },
  { group: "QoS 1, 5", version: 5, qos: 1, filter: "crash/q1/+", members: 1 },
  { group: "shared", version: 5, qos: 1, filter: "$share/g/crash/q1/#", members: 2 },
  { group: "shared, QoS 2", version: 5, qos: 2, filter: "$share/two/crash/q2/#", members: 3 },
];
/** Its session is there from the beginning, the client only in some rounds. */
const ABSENT = "sometimes away";

const groupsOf = (qos: 1 | 2): string[] => [
  ...SUBSCRIBERS.filter((each) => each.qos === qos).map(({ group }) => group),
  ...(qos === 1 ? [ABSENT] : []),
];

export class MqttCrashTraffic {
  readonly ledger = new Ledger();
  /** Reconnections that did not find their session. */
  readonly lostSessions: string[] = [];
  reconnects = 0;
  readonly #endpoint: Endpoint;
  readonly #isWebSocket: boolean;
  readonly #random: () => number;
  readonly #clients = new Map<string, MqttClient>();
  /** Published at QoS 1 and not answered: these are published again after a kill. */
  readonly #unanswered = new Set<string>();
  #loops: Promise<void>[] = [];
  #isProducing = true;
  #lastDeliveryAt = 0;
  #absent: MqttPeer | undefined;

  constructor(endpoint: Endpoint, isWebSocket: boolean, random: () => number) {
    this.#endpoint = endpoint;
    this.#isWebSocket = isWebSocket;
    this.#random = random;
    for (const { group, qos } of SUBSCRIBERS) this.ledger.addGroup(group, qos === 2);
    this.ledger.addGroup(ABSENT);
  }

  /** Everybody connects; publishers begin once every subscription stands. */
  async start(): Promise<void> {
    for (const subscriber of SUBSCRIBERS) {
      for (let member = 0; member < subscriber.members; member++) {
        const { group, version, qos, filter } = subscriber;
        const client = await this.client(`${group} ${member}`, version);
        const take = this.#taker(group, subscriber.members === 1);
        client.on("message", (_topic, payload) => take(payload));
        await client.subscribeAsync(filter, { qos });
      }
    }
    await this.#comeBack();
    await this.#absent?.subscribe("crash/q1/#");
    for (const publisher of PUBLISHERS) {
      const client = await this.client(publisher.name, publisher.version);
      this.#loops.push(this.#publish(client, publisher));
    }
  }

  /** A client that keeps its session and finds its way back by itself. */
  async client(name: string, version: 4 | 5, more: IClientOptions = {}): Promise<MqttClient> {
    const { host, port, user, password } = this.#endpoint;
    const url = this.#isWebSocket ? `ws://${host}:${port}/mqtt` : `mqtt://${host}:${port}`;
    const client = mqtt.connect(url, {
      clientId: `crash ${name}`,
      protocolVersion: version,
      clean: false,
      reconnectPeriod: RECONNECT_MS,
      resubscribe: false,
      username: user,
      password,
      ...(version === 5 ? { properties: { sessionExpiryInterval: SESSION_SECONDS } } : {}),
      ...more,
    });
    this.#clients.set(name, client);
    let isFirst = true;
    client.on("connect", ({ sessionPresent }: IConnackPacket) => {
      if (!isFirst) {
        this.reconnects++;
        if (!sessionPresent) this.lostSessions.push(name);
      }
      isFirst = false;
    });
    // What a broken connection reports is expected here; refusals show as what never comes.
    client.on("error", () => undefined);
    const connected = new Promise<void>((resolve) => client.once("connect", () => resolve()));
    await within(RECONNECT_LIMIT_MS, connected, `${name}: CONNACK`);
    return client;
  }

  /** After a restart: everybody is back. */
  async reconnected(): Promise<void> {
    this.ledger.restarted();
    await Promise.all(
      [...this.#clients].map(async ([name, client]) => {
        if (client.connected) return;
        const heard: string[] = [];
        const began = Date.now();
        const note = (what: string) => (): void => {
          heard.push(`${Date.now() - began} ${what}`);
        };
        const notes = ["reconnect", "close", "offline", "error", "end"].map(
          (event) => [event, note(event)] as const,
        );
        for (const [event, listener] of notes) client.on(event as "close", listener);
        const connected = new Promise<void>((resolve) => client.once("connect", () => resolve()));
        await within(RECONNECT_LIMIT_MS, connected, `${name}: connected again`).catch((error) => {
          const { stream } = client as unknown as { stream?: Socket };
          const state = `${stream?.readyState}, ${stream?.localPort}, ${stream?.bytesWritten} written, ${stream?.bytesRead} read`;
          throw new Error(`${String(error)}; ${heard.slice(-6).join(", ")}; ${state}`);
        });
        for (const [event, listener] of notes) client.off(event as "close", listener);
      }),
    );
    if (this.#random() < 0.5) await this.#comeBack();
  }

  /** Before a kill: whoever does not come back by itself forgets its connection. */
  killed(): void {
    this.ledger.killed();
    for (const id of this.#unanswered) this.ledger.repeated(groupsOf(1), id);
    this.#absent = undefined;
  }

  /** Ends publishing; waits until every publication was answered, and until nothing more is delivered. */
  async drain(): Promise<void> {
    this.#isProducing = false;
    await within(DRAIN_LIMIT_MS, Promise.all(this.#loops), "every publication is answered");
    if (this.#absent === undefined) await this.#comeBack();
    const began = performance.now();
    this.#lastDeliveryAt = began;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const now = performance.now();
      if (now - began > DRAIN_LIMIT_MS || now - this.#lastDeliveryAt > 10_000) return;
      if (this.ledger.owed === 0 && now - this.#lastDeliveryAt > QUIET_MS) return;
    }
  }

  async end(): Promise<void> {
    for (const client of this.#clients.values()) client.end(true);
    await this.#absent?.end();
  }

  async #comeBack(): Promise<void> {
    const isKnown = this.#absent !== undefined || this.reconnects > 0;
    const peer = await MqttPeer.connect(this.#endpoint, {
      clientId: `crash ${ABSENT}`,
      clean: false,
      webSocket: this.#isWebSocket,
    });
    if (isKnown && !peer.sessionPresent) this.lostSessions.push(ABSENT);
    this.#absent = peer;
    const take = this.#taker(ABSENT, true);
    // What came in one read with CONNACK is in the inbox already.
    while (peer.pending > 0) take((await peer.next()).payload as Buffer);
    peer.client.on("message", (_topic, payload) => take(payload));
  }

  async #publish(client: MqttClient, { name, qos }: Publisher): Promise<void> {
    const groups = groupsOf(qos);
    const topic = `crash/q${qos}/${name}`;
    const pending = new Set<Promise<void>>();
    for (let sequence = 0; this.#isProducing; ) {
      // While it is not connected, MQTT.js gives up what it is told to publish if connecting fails once more.
      if (!client.connected) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      const id = `${name}:${sequence++}`;
      this.ledger.sent(groups, id);
      if (qos === 1) this.#unanswered.add(id);
      const answered = client
        .publishAsync(topic, `${id}|${this.#padding()}`, { qos })
        .then(() => this.ledger.confirmed(groups, id))
        .catch(() => undefined)
        .finally(() => {
          pending.delete(answered);
          this.#unanswered.delete(id);
        });
      pending.add(answered);
      if (pending.size >= WINDOW) await Promise.race(pending);
      if (sequence % PAUSE_EVERY === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await Promise.all(pending);
  }

  #padding(): string {
    const isLarge = this.#random() < 0.005;
    return "x".repeat(Math.floor(this.#random() * (isLarge ? 100_000 : 500)));
  }

  #taker(group: string, isOrdered: boolean): (payload: Buffer) => void {
    const lastOf = new Map<string, number>();
    return (payload) => {
      const text = payload.toString("latin1");
      const id = text.slice(0, text.indexOf("|"));
      this.#lastDeliveryAt = performance.now();
      const isNew = this.ledger.delivered(group, id);
      if (isOrdered && isNew) this.#checkOrder(lastOf, group, id);
      // MQTT.js acknowledges after its listeners; by the next turn that has been written.
      setImmediate(() => this.ledger.acknowledged(group, id));
    };
  }

  /** Of what is seen for the first time, each publisher's comes in the order it was published. */
  #checkOrder(lastOf: Map<string, number>, group: string, id: string): void {
    const [publisher, text] = id.split(":") as [string, string];
    const sequence = Number(text);
    const last = lastOf.get(publisher) ?? -1;
    if (sequence <= last) this.ledger.disordered(`${group}: ${id} came after ${last}`);
    lastOf.set(publisher, Math.max(last, sequence));
  }
}
