/**
 * A client of any protocol that stays connected, with a subscription and a way to publish, while something is taken away from
 * it: what comes, whether it may still send, and in which words its subscription or its connection ends.
 */
import { type Endpoint, sleep } from "./broker-process.ts";
import { MqttPeer } from "./mqtt-peer.ts";
import { RheaPeer, type RheaReceiver, type RheaSender, textOf } from "./rhea-peer.ts";
import { reason } from "./step.ts";
import type { Inbox, StompClient } from "./stomp-client.ts";
import { Stompit } from "./stompit-client.ts";
import { Stompjs } from "./stompjs-client.ts";

export interface Holder {
  /** Subscribes; texts that come are in `got`. */
  receive(topic: string): Promise<void>;
  /** On the same link or connection each time; resolves with the confirm. */
  send(topic: string, text: string): Promise<void>;
  readonly got: readonly string[];
  /** How the subscription or the connection was ended; "" while nothing was. */
  readonly ended: string;
  close(): Promise<void>;
}

export interface HolderKind {
  readonly name: string;
  /** For what is refused on a connection that stays, or ends with it. */
  readonly denied: RegExp;
  /** For a connection whose login is not good any more. */
  readonly unwelcome: RegExp;
  /** For one whose token is over. */
  readonly expired: RegExp;
  open(endpoint: Endpoint): Promise<Holder>;
}

class RheaHolder implements Holder {
  readonly got: string[] = [];
  readonly #peer: RheaPeer;
  #receiver: RheaReceiver | undefined;
  #sender: RheaSender | undefined;

  constructor(peer: RheaPeer) {
    this.#peer = peer;
  }

  async receive(topic: string): Promise<void> {
    this.#receiver = await this.#peer.receiver(`topic:${topic}`, "topic");
    this.#receiver.each(10, ({ message, delivery }) => {
      this.got.push(textOf(message));
      delivery.accept();
    });
  }
  async send(topic: string, text: string): Promise<void> {
    this.#sender ??= await this.#peer.sender(`topic:${topic}`, "topic");
    await this.#sender.deliver({ body: text, durable: true });
  }
  get ended(): string {
    const error = this.#peer.error ?? this.#receiver?.link.error;
    return error === undefined ? "" : reason(error);
  }
  close(): Promise<void> {
    return this.#peer.close();
  }
}

class StompHolder implements Holder {
  readonly got: string[] = [];
  readonly #client: StompClient;
  #isOver = false;
  ended = "";

  constructor(client: StompClient) {
    this.#client = client;
    client.failure().then(
      (text) => {
        this.ended = text;
      },
      () => undefined,
    );
  }

  async receive(topic: string): Promise<void> {
    void this.#fill(await this.#client.subscribe(spelled(topic)));
  }
  async #fill(inbox: Inbox): Promise<void> {
    while (!this.#isOver) {
      const message = await inbox.next(500).catch(() => undefined);
      if (message !== undefined) this.got.push(message.body.toString());
    }
  }
  send(topic: string, text: string): Promise<void> {
    return this.#client.send(spelled(topic), text, { persistent: "true" });
  }
  async close(): Promise<void> {
    this.#isOver = true;
    this.#client.drop();
  }
}

const spelled = (topic: string): string => `/topic/${topic.replaceAll("/", ".")}`;

class MqttHolder implements Holder {
  readonly got: string[] = [];
  readonly #peer: MqttPeer;
  ended = "";

  constructor(peer: MqttPeer) {
    this.#peer = peer;
    peer.client.on("message", (_topic, payload) => this.got.push(payload.toString()));
    peer.client.once("disconnect", ({ reasonCode }) => {
      this.ended = `DISCONNECT 0x${reasonCode?.toString(16)}`;
    });
  }

  async receive(topic: string): Promise<void> {
    const granted = await this.#peer.subscribe(topic);
    if (granted >= 128) throw new Error(`SUBACK ${granted}`);
  }
  send(topic: string, text: string): Promise<void> {
    return this.#peer.publish(topic, text, { qos: 1 });
  }
  close(): Promise<void> {
    return this.#peer.end();
  }
}

const STOMP = { denied: /access refused/i, unwelcome: /access refused/i, expired: /login expired/ };

export const HOLDERS: readonly HolderKind[] = [
  {
    name: "rhea",
    denied: /amqp:unauthorized-access/,
    unwelcome: /amqp:unauthorized-access/,
    expired: /amqp:unauthorized-access.*token/,
    open: async (endpoint) => new RheaHolder(await RheaPeer.connect(endpoint)),
  },
  {
    name: "stompit",
    ...STOMP,
    open: async (endpoint) => new StompHolder(await Stompit.connect(endpoint)),
  },
  {
    name: "stompjs (WebSocket)",
    ...STOMP,
    open: async (endpoint) => new StompHolder(await Stompjs.connect(endpoint, { webSocket: true })),
  },
  {
    name: "MQTT.js 5",
    denied: /not authorized|DISCONNECT 0x87/i,
    unwelcome: /DISCONNECT 0x87/,
    expired: /DISCONNECT 0xa0/,
    open: async (endpoint) => new MqttHolder(await MqttPeer.connect(endpoint, { version: 5 })),
  },
];

/** The words in which it ends; rejects when it does not in time. */
export async function endOf(holder: Holder, limitMs = 15_000): Promise<string> {
  for (let waited = 0; holder.ended === ""; waited += 20) {
    if (waited > limitMs) throw new Error(`not ended within ${limitMs} ms`);
    await sleep(20);
  }
  return holder.ended;
}
