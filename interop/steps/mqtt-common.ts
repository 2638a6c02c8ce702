/** MQTT.js: what holds in every version of MQTT. Runs over TCP and WebSocket. */
import type { BrokerProcess, Endpoint } from "../harness/broker-process.ts";
import { sleep } from "../harness/broker-process.ts";
import type { CapabilityKey } from "../harness/capabilities.ts";
import { equal, truly } from "../harness/expect.ts";
import type { MqttOptions, MqttPeer, MqttVersion } from "../harness/mqtt-peer.ts";

export interface MqttScene {
  /** A clean connection to begin with. */
  readonly peer: MqttPeer;
  connect(options?: MqttOptions): Promise<MqttPeer>;
  readonly endpoint: Endpoint;
  readonly version: MqttVersion;
  /** First level of this check's topics, and part of its client ids. */
  readonly prefix: string;
}

export type MqttCheck = (scene: MqttScene) => Promise<void>;
export type MqttChecks = Partial<Record<CapabilityKey, MqttCheck>>;

/** A session that outlives its connection, spelled as the version spells it. */
export const persistent = (version: MqttVersion, clientId: string): MqttOptions => ({
  clientId,
  clean: false,
  ...(version === 5 ? { properties: { sessionExpiryInterval: 600 } } : {}),
});

const numbered = (count: number): string => Array.from({ length: count }, (_, n) => `m${n}`).join();

async function publishNumbered(
  peer: MqttPeer,
  topic: string,
  count: number,
  qos: 0 | 1 | 2 = 1,
): Promise<void> {
  const sent = Array.from({ length: count }, (_, n) => peer.publish(topic, `m${n}`, { qos }));
  await Promise.all(sent);
}

export const COMMON_CHECKS: MqttChecks = {
  "publish-subscribe": async ({ peer, prefix }) => {
    equal(await peer.subscribe(`${prefix}/a`), 1, "granted QoS");
    await peer.publish(`${prefix}/a`, "hello");
    const message = await peer.next();
    equal(message.topic, `${prefix}/a`, "topic");
    equal(message.payload.toString(), "hello", "payload");
    await peer.publish(`${prefix}/a`, Buffer.alloc(0));
    equal((await peer.next()).payload.length, 0, "empty payload");
    await peer.unsubscribe(`${prefix}/a`);
    await peer.publish(`${prefix}/a`, "unheard");
    await peer.expectQuiet();
  },

  qos: async ({ peer, connect, prefix }) => {
    for (const qos of [0, 1, 2] as const) {
      const subscriber = await connect();
      equal(await subscriber.subscribe(`${prefix}/${qos}`, { qos }), qos, "granted QoS");
      for (const sent of [0, 1, 2] as const) {
        await peer.publish(`${prefix}/${qos}`, `sent ${sent}`, { qos: sent });
        const message = await subscriber.next();
        equal(message.qos, Math.min(qos, sent), `QoS ${sent} published, ${qos} granted`);
      }
      await subscriber.expectQuiet();
    }
  },

  order: async ({ peer, connect, prefix }) => {
    const subscriber = await connect();
    await subscriber.subscribe(`${prefix}/#`, { qos: 2 });
    for (const qos of [1, 2] as const) {
      await publishNumbered(peer, `${prefix}/${qos}`, 1000, qos);
      equal(await subscriber.texts(1000), numbered(1000), `order at QoS ${qos}`);
    }
    await subscriber.expectQuiet();
  },

  large: async ({ peer, prefix }) => {
    const body = Buffer.alloc(8 * 1024 * 1024);
    for (let at = 0; at < body.length; at += 4) body.writeUInt32BE(at, at);
    await peer.subscribe(`${prefix}/large`);
    await peer.publish(`${prefix}/large`, body);
    const { payload } = await peer.next();
    truly(body.equals(payload as Buffer), `8 MiB came back as sent (${payload.length} bytes)`);
  },

  "topic-fanout": async ({ peer, connect, prefix }) => {
    const subscribers = await Promise.all([connect(), connect(), connect()]);
    for (const subscriber of subscribers) await subscriber.subscribe(`${prefix}/fan`);
    await publishNumbered(peer, `${prefix}/fan`, 50);
    for (const subscriber of subscribers) equal(await subscriber.texts(50), numbered(50), "texts");
  },

  "topic-wildcard": async ({ peer, connect, prefix }) => {
    const filters = [`${prefix}/+/c`, `${prefix}/#`, `${prefix}/a/b/+`, `+/${prefix}`, "#"];
    const subscribers: MqttPeer[] = [];
    for (const filter of filters) {
      const subscriber = await connect();
      await subscriber.subscribe(filter);
      subscribers.push(subscriber);
    }
    const topics = [
      `${prefix}/x/c`,
      `${prefix}/a/b/c`,
      `${prefix}/a/b`,
      prefix,
      `x/${prefix}`,
      `${prefix}/a/b/1.5`,
    ];
    for (const topic of topics) await peer.publish(topic, topic);
    const expected = [[0], [0, 1, 2, 3, 5], [1, 5], [4], [0, 1, 2, 3, 4, 5]];
    for (const [at, subscriber] of subscribers.entries()) {
      const wanted = (expected[at] ?? []).map((index) => topics[index]).join();
      equal(await subscriber.texts((expected[at] ?? []).length), wanted, `through ${filters[at]}`);
      await subscriber.expectQuiet(50);
    }
  },

  retained: async ({ peer, connect, prefix }) => {
    await peer.publish(`${prefix}/state/a`, "first", { qos: 1, retain: true });
    await peer.publish(`${prefix}/state/a`, "second", { qos: 1, retain: true });
    await peer.publish(`${prefix}/state/b`, "other", { qos: 1, retain: true });
    const late = await connect();
    await late.subscribe(`${prefix}/state/+`);
    const got = [await late.next(), await late.next()];
    equal(
      got
        .map((message) => message.payload.toString())
        .sort()
        .join(),
      "other,second",
      "retained",
    );
    truly(
      got.every((message) => message.retain),
      "RETAIN is set on what was there before",
    );
    await peer.publish(`${prefix}/state/a`, "live", { qos: 1, retain: true });
    const live = await late.next();
    equal(live.payload.toString(), "live", "payload");
    equal(live.retain, false, "RETAIN of a live message");
    await peer.publish(`${prefix}/state/a`, "", { qos: 1, retain: true });
    const after = await connect();
    await after.subscribe(`${prefix}/state/a`);
    await after.expectQuiet();
  },

  will: async ({ peer, connect, prefix }) => {
    await peer.subscribe(`${prefix}/will/#`);
    const will = (name: string) => ({
      topic: `${prefix}/will/${name}`,
      payload: Buffer.from(name),
      qos: 1 as const,
      retain: false,
    });
    const polite = await connect({ will: will("polite") });
    await polite.end();
    const lost = await connect({ will: will("lost") });
    lost.drop();
    equal((await peer.next()).payload.toString(), "lost", "the will of the one that vanished");
    await peer.expectQuiet();
  },

  session: async ({ peer, connect, version, prefix }) => {
    const mine = persistent(version, `${prefix}-session`);
    const first = await connect(mine);
    equal(first.sessionPresent, false, "session present at first");
    await first.subscribe(`${prefix}/one`, { qos: 1 });
    await first.subscribe(`${prefix}/two`, { qos: 2 });
    await first.end();
    await peer.publish(`${prefix}/one`, "a", { qos: 1 });
    await peer.publish(`${prefix}/two`, "b", { qos: 2 });
    await peer.publish(`${prefix}/one`, "c", { qos: 2 });
    const second = await connect(mine);
    equal(second.sessionPresent, true, "session present on return");
    // QoS 2 takes two more packets before the client hands it out: order holds per QoS.
    const texts = (await second.texts(3)).split(",");
    equal(texts.filter((text) => text !== "b").join(), "a,c", "what came meanwhile at QoS 1");
    truly(texts.includes("b"), "what came meanwhile at QoS 2");
    await peer.publish(`${prefix}/one`, "d");
    equal(await second.texts(1), "d", "and the subscription still holds");
    await second.end();
    const clean = await connect({ clientId: `${prefix}-session`, clean: true });
    equal(clean.sessionPresent, false, "session present after a clean start");
    await peer.publish(`${prefix}/one`, "gone");
    await clean.expectQuiet();
  },

  redelivery: async ({ peer, connect, version, prefix }) => {
    const mine = persistent(version, `${prefix}-redelivery`);
    const silent = await connect({ ...mine, withholdAcks: true });
    await silent.subscribe(`${prefix}/r`);
    await publishNumbered(peer, `${prefix}/r`, 3);
    await sleep(200);
    silent.drop();
    const again = await connect(mine);
    const got = [await again.next(), await again.next(), await again.next()];
    equal(got.map((message) => message.payload.toString()).join(), numbered(3), "again, in order");
    truly(
      got.every((message) => message.dup),
      "DUP is set on what was sent before",
    );
    await again.expectQuiet();
  },

  "session-takeover": async ({ connect, version, prefix }) => {
    const mine = persistent(version, `${prefix}-takeover`);
    const old = await connect(mine);
    await old.subscribe(`${prefix}/t`);
    const fresh = await connect(mine);
    equal(fresh.sessionPresent, true, "session present");
    await old.closed();
    await fresh.publish(`${prefix}/t`, "to the new one");
    equal(await fresh.texts(1), "to the new one", "text");
  },

  "mqtt-shared": async ({ peer, connect, prefix }) => {
    const filter = `$share/${prefix}/${prefix}/jobs`;
    const members = await Promise.all([connect(), connect()]);
    for (const member of members) await member.subscribe(filter);
    await publishNumbered(peer, `${prefix}/jobs`, 40);
    await sleep(300);
    const counts = members.map((member) => member.pending);
    equal(
      counts.reduce((sum, count) => sum + count, 0),
      40,
      `messages over both members (${counts.join("+")})`,
    );
    truly(
      counts.every((count) => count > 0),
      `both got some: ${counts.join("+")}`,
    );
    const [first, second] = members as [MqttPeer, MqttPeer];
    await first.end();
    const before = second.pending;
    await publishNumbered(peer, `${prefix}/jobs`, 10);
    await sleep(300);
    equal(second.pending - before, 10, "messages of the member that is left");
  },

  "concurrent-consumers": async ({ peer, connect, prefix }) => {
    const publishers = await Promise.all(Array.from({ length: 8 }, () => connect()));
    await peer.subscribe(`${prefix}/many/#`);
    await Promise.all(
      publishers.map((publisher, at) => publishNumbered(publisher, `${prefix}/many/${at}`, 100)),
    );
    const seen = new Map<string, string[]>();
    for (let left = 800; left > 0; left--) {
      const { topic, payload } = await peer.next();
      seen.set(topic, [...(seen.get(topic) ?? []), payload.toString()]);
    }
    for (const [topic, texts] of seen) equal(texts.join(), numbered(100), `order of ${topic}`);
    await peer.expectQuiet();
  },

  heartbeat: async ({ connect, prefix }) => {
    const idle = await connect({ keepaliveSeconds: 1 });
    await idle.subscribe(`${prefix}/idle`);
    await sleep(3500);
    await idle.publish(`${prefix}/idle`, "still here");
    equal(await idle.texts(1), "still here", "text");
  },

  refusals: async ({ peer, connect, prefix }) => {
    // A message for a topic with a wildcard is a protocol error; it costs only its sender.
    const bad = await connect();
    bad.client.stream.write(Buffer.from([0x30, 0x05, 0x00, 0x03, 0x61, 0x2f, 0x23]));
    await bad.closed();
    await peer.subscribe(`${prefix}/fine`);
    await peer.publish(`${prefix}/fine`, "fine");
    equal(await peer.texts(1), "fine", "text");
    const wrong = await connect({ password: "not the password" }).then(
      () => false,
      () => true,
    );
    truly(wrong, "a wrong password is refused");
  },
};

/** Needs a broker that can be killed: what a persistent session was promised is there after SIGKILL. */
export async function sessionSurvivesRestart(
  broker: BrokerProcess,
  connect: (options?: MqttOptions) => Promise<MqttPeer>,
  version: MqttVersion,
): Promise<void> {
  const mine = persistent(version, `restart-${version}`);
  const first = await connect(mine);
  await first.subscribe("restart/#", { qos: 2 });
  await first.end();
  const publisher = await connect();
  await publisher.publish("restart/a", "kept", { qos: 1 });
  await publisher.publish("restart/b", "kept too", { qos: 2 });
  await publisher.publish("restart/state", "retained", { qos: 1, retain: true });
  await broker.kill();
  await broker.restart();
  const second = await connect(mine);
  equal(second.sessionPresent, true, "session present after the restart");
  const texts = (await second.texts(3)).split(",").sort().join();
  equal(texts, "kept,kept too,retained", "what was confirmed before the kill");
  const late = await connect();
  await late.subscribe("restart/state");
  const state = await late.next();
  equal(state.payload.toString(), "retained", "retained message");
  await late.publish("restart/state", "", { qos: 1, retain: true });
}
