/**
 * A client of any protocol that asks for something it may or may not have: log in, send, receive, browse. Every refusal is
 * rejected with the words that the client's library shows for it; `words` says which they have to be.
 */
import type { Endpoint } from "./broker-process.ts";
import { MqttPeer } from "./mqtt-peer.ts";
import { capability, RheaPeer } from "./rhea-peer.ts";
import { reason } from "./step.ts";
import type { StompClient } from "./stomp-client.ts";
import { Stompit } from "./stompit-client.ts";
import { Stompjs } from "./stompjs-client.ts";

export type Kind = "queue" | "topic";

export interface Login {
  readonly user: string;
  readonly password: string;
  readonly namespace?: string;
  readonly clientId?: string;
}

export interface Visitor {
  /** Resolves when the broker has confirmed the message. */
  send(kind: Kind, name: string, body: string | Buffer): Promise<void>;
  /** All on their way at once. */
  sendMany(kind: Kind, name: string, bodies: readonly string[]): Promise<void>;
  /** Resolves when the broker has taken the subscription. */
  receive(kind: Kind, name: string): Promise<void>;
  browse(queue: string): Promise<void>;
  /** A temporary queue of its own. */
  temporary(): Promise<void>;
  close(): Promise<void>;
}

export interface VisitorKind {
  readonly name: string;
  /** MQTT knows topics only. */
  readonly kinds: readonly Kind[];
  /** How the library tells each refusal. */
  readonly words: {
    readonly denied: RegExp;
    readonly limit: RegExp;
    readonly full: RegExp;
    readonly login: RegExp;
    readonly large: RegExp;
  };
  open(endpoint: Endpoint, login: Login): Promise<Visitor>;
  /** Bytes after which a peer of this protocol has said nothing yet. */
  readonly greeting: Buffer;
}

/** Topics in the canonical form, which has levels and wildcards as the rules have them. */
const plain = (kind: Kind, name: string): string => (kind === "topic" ? `topic:${name}` : name);

class RheaVisitor implements Visitor {
  readonly #peer: RheaPeer;

  constructor(peer: RheaPeer) {
    this.#peer = peer;
  }

  async send(kind: Kind, name: string, body: string | Buffer): Promise<void> {
    const sender = await this.#peer.sender(plain(kind, name), kind);
    await sender.deliver({ body, durable: true });
    await sender.close();
  }
  async sendMany(kind: Kind, name: string, bodies: readonly string[]): Promise<void> {
    const sender = await this.#peer.sender(plain(kind, name), kind);
    await sender.deliverAll(bodies.length, (index) => ({ body: bodies[index]!, durable: true }));
    await sender.close();
  }
  async receive(kind: Kind, name: string): Promise<void> {
    await this.#peer.receiver(plain(kind, name), kind);
  }
  async browse(queue: string): Promise<void> {
    const source = { address: queue, distribution_mode: "copy", ...capability("queue") };
    await this.#peer.receiver({ source } as Parameters<RheaPeer["receiver"]>[0]);
  }
  async temporary(): Promise<void> {
    await this.#peer.receiver({ source: { dynamic: true } as never });
  }
  close(): Promise<void> {
    return this.#peer.close();
  }
}

class StompVisitor implements Visitor {
  readonly #client: StompClient;

  constructor(client: StompClient) {
    this.#client = client;
  }

  send(kind: Kind, name: string, body: string | Buffer): Promise<void> {
    return this.#client.send(spelled(kind, name), body, { persistent: "true" });
  }
  async sendMany(kind: Kind, name: string, bodies: readonly string[]): Promise<void> {
    await Promise.all(bodies.map((body) => this.send(kind, name, body)));
  }
  async receive(kind: Kind, name: string): Promise<void> {
    await this.#client.subscribe(spelled(kind, name));
  }
  async browse(queue: string): Promise<void> {
    await this.#client.subscribe(`/queue/${queue}`, { browser: "true" });
  }
  async temporary(): Promise<void> {
    await this.#client.subscribe("/temp-queue/own");
  }
  async close(): Promise<void> {
    this.#client.drop();
  }
}

/** Levels of a topic are separated by dots, and wildcards are ActiveMQ's. */
const spelled = (kind: Kind, name: string): string =>
  kind === "queue"
    ? `/queue/${name}`
    : `/topic/${name.replaceAll("/", ".").replaceAll("+", "*").replaceAll("#", ">")}`;

class MqttVisitor implements Visitor {
  readonly #peer: MqttPeer;

  /** What the broker said when it ended the connection; the library leaves its publishers waiting. */
  readonly #ended: Promise<never>;

  constructor(peer: MqttPeer) {
    this.#peer = peer;
    this.#ended = new Promise((_, reject) => {
      peer.client.once("disconnect", ({ reasonCode }) => {
        reject(new Error(`DISCONNECT 0x${reasonCode?.toString(16)}`));
      });
      // MQTT 3 says nothing before it.
      peer.client.once("close", () => setImmediate(reject, new Error("connection closed")));
    });
    this.#ended.catch(() => undefined);
  }

  send(_kind: Kind, name: string, body: string | Buffer): Promise<void> {
    return Promise.race([this.#peer.publish(name, body, { qos: 1 }), this.#ended]);
  }
  async sendMany(kind: Kind, name: string, bodies: readonly string[]): Promise<void> {
    await Promise.all(bodies.map((body) => this.send(kind, name, body)));
  }
  async receive(_kind: Kind, name: string): Promise<void> {
    const granted = await this.#peer.subscribe(name);
    if (granted >= 128) throw new Error(`SUBACK ${granted}`);
  }
  browse(): Promise<void> {
    return Promise.reject(new Error("MQTT has no browsing"));
  }
  temporary(): Promise<void> {
    return Promise.reject(new Error("MQTT has no temporary queues"));
  }
  async close(): Promise<void> {
    // Of a connection that the broker has ended, the library waits for an end that came already.
    if (this.#peer.client.connected) await this.#peer.end();
    else this.#peer.client.end(true);
  }
}

const as = (endpoint: Endpoint, { user, password }: Login): Endpoint => ({
  ...endpoint,
  host: endpoint.host,
  port: endpoint.port,
  user,
  password,
});
const inNamespace = ({ namespace, clientId }: Login) => ({
  ...(namespace === undefined ? {} : { namespace }),
  ...(clientId === undefined ? {} : { clientId }),
});

const STOMP_WORDS: VisitorKind["words"] = {
  denied: /access refused/i,
  limit: /limit exceeded/i,
  full: /destination is full/i,
  login: /Bad CONNECT/i,
  large: /too large|too long|exceeds|larger/i,
};
const STOMP_GREETING = Buffer.from("CONNECT\naccept-version:1.2\n");

const MQTT5_WORDS: VisitorKind["words"] = {
  denied: /not authorized/i,
  limit: /quota exceeded/i,
  full: /quota exceeded/i,
  login: /user ?name or password|not authorized/i,
  large: /DISCONNECT 0x95|packet/i,
};
const MQTT_GREETING = Buffer.from([0x10, 0x20, 0x00, 0x04]);

export const VISITORS: readonly VisitorKind[] = [
  {
    name: "rhea",
    kinds: ["queue", "topic"],
    words: {
      denied: /amqp:unauthorized-access/,
      limit: /amqp:resource-limit-exceeded/,
      full: /amqp:resource-limit-exceeded/,
      login: /amqp:unauthorized-access|Failed to authenticate/,
      large: /amqp:link:message-size-exceeded/,
    },
    open: async (endpoint, login) => {
      const { namespace } = login;
      const options = namespace === undefined ? {} : { namespace };
      const peer = await RheaPeer.connect(as(endpoint, login), options);
      // AMQP answers every open with an open; a refusal is the close that follows.
      await peer.until<void>("a session", 10_000, (resolve) => {
        const session = peer.connection.create_session();
        peer.connection.once("session_open", () => resolve());
        session.begin();
      });
      return new RheaVisitor(peer);
    },
    greeting: Buffer.from("AMQP\x00\x01\x00\x00", "latin1"),
  },
  {
    name: "stompit",
    kinds: ["queue", "topic"],
    words: STOMP_WORDS,
    open: async (endpoint, login) =>
      new StompVisitor(await Stompit.connect(as(endpoint, login), inNamespace(login))),
    greeting: STOMP_GREETING,
  },
  {
    name: "stompjs (WebSocket)",
    kinds: ["queue", "topic"],
    words: STOMP_WORDS,
    open: async (endpoint, login) =>
      new StompVisitor(
        await Stompjs.connect(as(endpoint, login), { webSocket: true, ...inNamespace(login) }),
      ),
    greeting: Buffer.from("GET /stomp HTTP/1.1\r\n"),
  },
  {
    name: "MQTT.js 5",
    kinds: ["topic"],
    words: MQTT5_WORDS,
    open: async (endpoint, login) =>
      new MqttVisitor(
        await MqttPeer.connect(as(endpoint, login), { version: 5, ...inNamespace(login) }),
      ),
    greeting: MQTT_GREETING,
  },
  {
    name: "MQTT.js 5 (WebSocket)",
    kinds: ["topic"],
    words: MQTT5_WORDS,
    open: async (endpoint, login) =>
      new MqttVisitor(
        await MqttPeer.connect(as(endpoint, login), {
          version: 5,
          webSocket: true,
          ...inNamespace(login),
        }),
      ),
    greeting: Buffer.from("GET /mqtt HTTP/1.1\r\n"),
  },
  {
    name: "MQTT.js 3.1.1",
    kinds: ["topic"],
    // SUBACK and CONNACK have codes; of a PUBLISH that is refused the end of the connection tells.
    words: {
      denied: /connection closed|SUBACK 128|Subscribe error/,
      limit: /connection closed|Server unavailable/i,
      full: /connection closed/,
      login: /user ?name or password|not authorized/i,
      large: /connection closed/,
    },
    open: async (endpoint, login) =>
      new MqttVisitor(
        await MqttPeer.connect(as(endpoint, login), { version: 4, ...inNamespace(login) }),
      ),
    greeting: MQTT_GREETING,
  },
];

/** Runs what is to be refused; throws unless it is, in these words. */
export async function refused(words: RegExp, attempt: () => Promise<unknown>): Promise<void> {
  let text: string;
  try {
    await attempt();
    text = "";
  } catch (error) {
    text = reason(error);
  }
  if (text === "") throw new Error("it was allowed");
  if (!words.test(text)) throw new Error(`refused with other words: ${text}`);
}
