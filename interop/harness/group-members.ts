/**
 * Members of one consumer group over a topic, each a client of another protocol: a MQTT shared subscription, an AMQP 1.0
 * receiver, a STOMP subscriber. Each gets a few messages ahead, works on one at a time and acknowledges it; it can leave in
 * order or break off with what it holds.
 */
import type { Message } from "rhea";
import { type Endpoint, sleep } from "./broker-process.ts";
import { MqttPeer } from "./mqtt-peer.ts";
import { RheaPeer, type RheaReceiver, textOf } from "./rhea-peer.ts";
import { Stompit } from "./stompit-client.ts";

/** `shared` and `durable`: shared subscriptions as Qpid JMS attaches them for a client without an identifier. */
export type MemberKind = PublisherKind | "shared" | "durable";
export type PublisherKind = "mqtt" | "amqp" | "stomp";
export const MEMBER_KINDS: readonly PublisherKind[] = ["mqtt", "amqp", "stomp"];

const AHEAD = 5;

export interface Member {
  readonly kind: MemberKind;
  /** Breaks off: nothing more is worked on, what was not acknowledged goes to others. */
  drop(): void;
  leave(): Promise<void>;
}

export interface Work {
  readonly text: string;
  readonly member: Member;
}

/** Works on one message; it is acknowledged when this resolves. */
export type Worker = (work: Work) => Promise<void>;

export interface Membership {
  /** Levels, `a.b`. */
  readonly topic: string;
  /** "" for a subscription of its own. */
  readonly group: string;
  readonly worker: Worker;
}

export function join(
  endpoint: Endpoint,
  kind: MemberKind,
  membership: Membership,
): Promise<Member> {
  switch (kind) {
    case "mqtt":
      return joinMqtt(endpoint, membership);
    case "amqp":
      return joinAmqp(endpoint, membership);
    case "shared":
    case "durable":
      return joinShared(endpoint, kind, membership);
    case "stomp":
      return joinStomp(endpoint, membership);
  }
}

/** Takes messages one after the other until it is told to stop. */
class Line {
  isOver = false;
  #last: Promise<void> = Promise.resolve();

  add(work: () => Promise<void>): void {
    this.#last = this.#last.then(() => (this.isOver ? undefined : work())).catch(() => undefined);
  }
}

async function joinMqtt(endpoint: Endpoint, { topic, group, worker }: Membership): Promise<Member> {
  const peer = await MqttPeer.connect(endpoint, {
    version: 5,
    properties: { receiveMaximum: AHEAD },
  });
  const line = new Line();
  const member: Member = {
    kind: "mqtt",
    drop: () => {
      line.isOver = true;
      peer.drop();
    },
    leave: async () => {
      line.isOver = true;
      await peer.end();
    },
  };
  // MQTT.js acknowledges when this calls back, and gives the next message after that.
  peer.client.handleMessage = (packet, done) => {
    if (packet.cmd !== "publish") return done();
    const text = packet.payload.toString();
    line.add(async () => {
      await worker({ text, member });
      if (!line.isOver) done();
    });
  };
  const path = topic.replaceAll(".", "/");
  await peer.subscribe(group === "" ? path : `$share/${group}/${path}`, { qos: 1 });
  return member;
}

async function joinAmqp(endpoint: Endpoint, membership: Membership): Promise<Member> {
  const { topic, group } = membership;
  const peer = await RheaPeer.connect(endpoint);
  const address = group === "" ? topic : `topic://${topic}#${group}`;
  return onLink(peer, await peer.receiver(address, "topic"), "amqp", membership);
}

async function joinShared(
  endpoint: Endpoint,
  kind: "shared" | "durable",
  membership: Membership,
): Promise<Member> {
  const { topic, group } = membership;
  const peer = await RheaPeer.connect(endpoint);
  const lasting = kind === "durable" ? { durable: 2, expiry_policy: "never" } : { durable: 0 };
  const receiver = await peer.receiver({
    name: kind === "durable" ? `${group}|global` : `${group}|global-volatile1`,
    source: { address: topic, capabilities: ["topic", "shared", "global"], ...lasting },
  } as Parameters<RheaPeer["receiver"]>[0]);
  return onLink(peer, receiver, kind, membership);
}

function onLink(
  peer: RheaPeer,
  receiver: RheaReceiver,
  kind: MemberKind,
  { worker }: Membership,
): Member {
  const line = new Line();
  const member: Member = {
    kind,
    drop: () => {
      line.isOver = true;
      peer.abort();
    },
    leave: async () => {
      line.isOver = true;
      await peer.close();
    },
  };
  receiver.each(AHEAD, ({ message, delivery }) =>
    line.add(async () => {
      await worker({ text: textOf(message), member });
      if (!line.isOver) delivery.accept();
    }),
  );
  return member;
}

async function joinStomp(endpoint: Endpoint, membership: Membership): Promise<Member> {
  const { topic, group, worker } = membership;
  const client = await Stompit.connect(endpoint);
  const inbox = await client.subscribe(`/topic/${topic}`, {
    ack: "client-individual",
    "prefetch-count": String(AHEAD),
    ...(group === "" ? {} : { group }),
  });
  let isOver = false;
  const member: Member = {
    kind: "stomp",
    drop: () => {
      isOver = true;
      client.drop();
    },
    leave: async () => {
      isOver = true;
      await client.disconnect();
    },
  };
  void (async () => {
    while (!isOver) {
      const message = await inbox.next(200).catch(() => undefined);
      if (message === undefined) continue;
      await worker({ text: message.body.toString(), member });
      if (!isOver) message.ack();
    }
  })();
  return member;
}

/** Publishes texts over each protocol in turn; `key` makes those with the same one an ordered group. */
export class Publishers {
  readonly #mqtt: MqttPeer;
  readonly #amqp: RheaPeer;
  readonly #stomp: Stompit;

  private constructor(mqtt: MqttPeer, amqp: RheaPeer, stomp: Stompit) {
    this.#mqtt = mqtt;
    this.#amqp = amqp;
    this.#stomp = stomp;
  }

  static async connect(endpoint: Endpoint): Promise<Publishers> {
    return new Publishers(
      await MqttPeer.connect(endpoint, { version: 5 }),
      await RheaPeer.connect(endpoint),
      await Stompit.connect(endpoint),
    );
  }

  async publish(
    kind: PublisherKind,
    topic: string,
    texts: readonly string[],
    key = "",
  ): Promise<void> {
    switch (kind) {
      case "mqtt": {
        const properties =
          key === "" ? {} : { properties: { userProperties: { "x-group-id": key } } };
        const path = topic.replaceAll(".", "/");
        for (const text of texts) await this.#mqtt.publish(path, text, { qos: 1, ...properties });
        return;
      }
      case "amqp": {
        const sender = await this.#amqp.sender(topic, "topic");
        const group = key === "" ? {} : { group_id: key };
        for (const body of texts)
          await sender.deliver({ body, durable: true, ...group } as Message);
        await sender.close();
        return;
      }
      case "stomp": {
        const group = key === "" ? {} : { JMSXGroupID: key };
        const headers = { persistent: "true", ...group };
        for (const text of texts) await this.#stomp.send(`/topic/${topic}`, text, headers);
        return;
      }
    }
  }

  async close(): Promise<void> {
    await this.#mqtt.end();
    await this.#amqp.close();
    this.#stomp.drop();
  }
}

/** Waits until a condition holds. */
export async function until(what: string, holds: () => boolean, limitMs = 20_000): Promise<void> {
  for (let waited = 0; !holds(); waited += 20) {
    if (waited > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(20);
  }
}
