/** What waits for a session is bounded as configured, and what it does not get is counted. */
import test from "ava";
import type { Packet } from "mqtt-packet";
import type { MqttSettings } from "../../../protocols/mqtt/settings.ts";
import { MqttPeer, mqttAdapter } from "../../support/mqtt-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

const KEPT = {
  protocolVersion: 5,
  clean: false,
  properties: { sessionExpiryInterval: 600 },
} as const;

async function prepare(settings: Partial<MqttSettings>) {
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker, settings);
  const { peer: writer } = await MqttPeer.connect(broker, { protocolVersion: 5 }, { adapter });
  return { broker, adapter, writer };
}

const send = (writer: MqttPeer, count: number): void =>
  writer.sendBytes(
    Buffer.concat(
      Array.from({ length: count }, (_, i) =>
        writer.encode({
          cmd: "publish",
          topic: "t",
          payload: `${i}`,
          qos: 1,
          messageId: i + 1,
          dup: false,
          retain: false,
        } as Packet),
      ),
    ),
  );

async function answers(writer: MqttPeer, count: number): Promise<number[]> {
  const isAck = ({ cmd }: Packet): boolean => cmd === "puback";
  await until("all are answered", () => writer.packets.filter(isAck).length === count);
  return writer.packets
    .filter(isAck)
    .map((one) => (one as { reasonCode?: number }).reasonCode ?? 0);
}

const texts = (peer: MqttPeer): string[] => peer.publishes.map(({ payload }) => payload.toString());
const range = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => `${from + i}`);

for (const overflow of ["drop-oldest", "drop-newest"] as const) {
  for (const isKept of [true, false]) {
    const whose = isKept ? "a session on disk" : "a session in memory";
    test(`${overflow}: more than so many never wait for ${whose}, and the others get everything`, async (t) => {
      const limits = isKept ? { maxQueued: 10 } : { maxQueuedInMemory: 10 };
      const { broker, adapter, writer } = await prepare({ ...limits, queueOverflow: overflow });
      const connect = isKept
        ? { ...KEPT, clientId: "slow" }
        : { protocolVersion: 5 as const, properties: { receiveMaximum: 1 } };
      const { peer: slow } = await MqttPeer.connect(broker, connect, { adapter, autoAck: false });
      await slow.subscribe("t", 1);
      const { peer: quick } = await MqttPeer.connect(broker, { clientId: "quick" }, { adapter });
      await quick.subscribe("t", 1);
      if (isKept) slow.drop();
      send(writer, 50);
      t.deepEqual(new Set(await answers(writer, 50)), new Set([0]));
      await until("the quick one has all", () => quick.publishes.length === 50);
      await quick.settle();
      let reader = slow;
      if (isKept) {
        t.is(broker.broker.sessions.stats.droppedQueued, 40);
        ({ peer: reader } = await MqttPeer.connect(broker, connect, { adapter }));
        await until("the rest is there", () => reader.publishes.length >= 10);
        t.deepEqual(texts(reader), overflow === "drop-oldest" ? range(40, 50) : range(0, 10));
      } else {
        t.is(broker.broker.sessions.stats.droppedQueued, 39);
        t.deepEqual(texts(slow), ["0"], "one is on its way");
        slow.autoAck = true;
        slow.send({ cmd: "puback", messageId: slow.publishes[0]!.messageId } as Packet);
        await until("the rest is there", () => slow.publishes.length >= 11);
        const rest = overflow === "drop-oldest" ? range(40, 50) : range(1, 11);
        t.deepEqual(texts(slow), ["0", ...rest]);
      }
      await reader.settle();
      t.is(reader.publishes.length, isKept ? 10 : 11);
      await broker.close();
    });
  }
}

test("a burst that a connected client takes at once is not too much", async (t) => {
  const { broker, adapter, writer } = await prepare({ maxQueued: 10, maxQueuedInMemory: 10 });
  const readers: MqttPeer[] = [];
  for (const connect of [{ ...KEPT, clientId: "kept" }, {}]) {
    const { peer } = await MqttPeer.connect(broker, connect, { adapter });
    await peer.subscribe("t", 1);
    readers.push(peer);
  }
  send(writer, 500);
  await answers(writer, 500);
  for (const reader of readers) {
    await until("all are there", () => reader.publishes.length === 500);
    t.deepEqual(texts(reader), range(0, 500));
  }
  t.is(broker.broker.sessions.stats.droppedQueued, 0);
  await broker.close();
});

test("reject: the publisher is told with 0x97, and may go on when the client has taken some", async (t) => {
  const { broker, adapter, writer } = await prepare({ maxQueued: 10, queueOverflow: "reject" });
  const { peer: slow } = await MqttPeer.connect(broker, { ...KEPT, clientId: "s" }, { adapter });
  await slow.subscribe("t", 1);
  slow.drop();
  send(writer, 15);
  t.deepEqual(await answers(writer, 15), [...Array(10).fill(0), ...Array(5).fill(0x97)]);
  t.is(broker.broker.sessions.stats.droppedQueued, 0);
  writer.packets.length = 0;
  t.is(await writer.publish("t", "exactly once", 2), 0x97);
  t.is(await writer.publish("elsewhere", "fine", 1), 0x10);
  const { peer: again } = await MqttPeer.connect(broker, { ...KEPT, clientId: "s" }, { adapter });
  await until("all are there", () => again.publishes.length === 10);
  await again.settle();
  writer.packets.length = 0;
  t.is(await writer.publish("t", "now", 1), 0);
  await until("it is there", () => again.publishes.length === 11);
  t.deepEqual(texts(again), [...range(0, 10), "now"]);
  await broker.close();
});

test("reject: a will is published all the same, there is nobody to be told; a full session keeps what it was promised", async (t) => {
  const { broker, adapter, writer } = await prepare({ maxQueued: 1, queueOverflow: "reject" });
  const { peer: slow } = await MqttPeer.connect(broker, { ...KEPT, clientId: "s" }, { adapter });
  await slow.subscribe("t", 1);
  slow.drop();
  const { peer: watching } = await MqttPeer.connect(broker, {}, { adapter });
  t.is(await writer.publish("t", "first", 1), 0);
  await watching.subscribe("t", 1);
  const will = { topic: "t", payload: Buffer.from("will"), qos: 1 as const, retain: false };
  const { peer: dying } = await MqttPeer.connect(broker, { will }, { adapter });
  dying.drop();
  await dying.closed();
  await until("the will is there", () => watching.publishes.length === 1);
  const { peer: again } = await MqttPeer.connect(broker, { ...KEPT, clientId: "s" }, { adapter });
  await until("the first is there", () => again.publishes.length === 1);
  t.is(await writer.publish("t", "next", 1), 0);
  await until("the next is there", () => again.publishes.length === 2);
  t.deepEqual(texts(again), ["first", "next"]);
  t.deepEqual(texts(watching), ["will", "next"]);
  t.is(broker.broker.sessions.stats.droppedQueued, 1);
  await broker.close();
});

test("what waits in a shared subscription is bounded too", async (t) => {
  const { broker, adapter, writer } = await prepare({ maxQueued: 5 });
  const { peer: member } = await MqttPeer.connect(broker, {}, { adapter });
  await member.subscribe("$share/g/t", 1);
  member.disconnect();
  await member.closed();
  send(writer, 20);
  await answers(writer, 20);
  const { peer: next } = await MqttPeer.connect(broker, {}, { adapter });
  await next.subscribe("$share/g/t", 1);
  await until("the rest is there", () => next.publishes.length >= 5);
  await next.settle();
  t.deepEqual(texts(next), range(15, 20));
  await broker.close();
});

test("a large limit holds as well, give or take the messages between two looks", async (t) => {
  const { broker, adapter, writer } = await prepare({ maxQueued: 2000 });
  const { peer: slow } = await MqttPeer.connect(broker, { ...KEPT, clientId: "s" }, { adapter });
  await slow.subscribe("t", 1);
  slow.drop();
  for (let i = 0; i < 5; i++) {
    send(writer, 1000);
    await answers(writer, 1000);
    writer.packets.length = 0;
  }
  const { droppedQueued } = broker.broker.sessions.stats;
  t.true(droppedQueued >= 2900 && droppedQueued <= 3000, `${droppedQueued}`);
  await broker.close();
});

test("one message to more than a thousand kept sessions: each gets it once, also after a crash of all connections", async (t) => {
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker);
  const { peer: writer } = await MqttPeer.connect(broker, { protocolVersion: 5 }, { adapter });
  const count = 1200;
  const peers: MqttPeer[] = [];
  for (let i = 0; i < count; i++) {
    const { peer } = await MqttPeer.connect(broker, { ...KEPT, clientId: `k${i}` }, { adapter });
    peer.send({
      cmd: "subscribe",
      messageId: 1,
      subscriptions: [{ topic: "t", qos: 1 }],
    } as Packet);
    peers.push(peer);
  }
  for (const peer of peers) await peer.take("suback");
  t.is(await writer.publish("t", "while connected", 1), 0);
  for (const peer of peers) t.is((await peer.message()).text, "while connected");
  for (const peer of peers) await peer.settle();
  for (const peer of peers) peer.drop();
  t.is(await writer.publish("t", "while away", 1), 0);
  for (let i = 0; i < count; i++) {
    const { peer } = await MqttPeer.connect(broker, { ...KEPT, clientId: `k${i}` }, { adapter });
    t.is((await peer.message()).text, "while away");
    await peer.settle();
    t.is(peer.publishes.length, 0);
  }
  await broker.close();
});
