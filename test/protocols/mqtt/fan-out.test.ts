/** One message to many clients: each gets it once, whole and in order, as it asked for, whatever the others asked for. */
import test from "ava";
import type { Packet } from "mqtt-packet";
import { MqttPeer, mqttAdapter } from "../../support/mqtt-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

type Publish = Extract<Packet, { cmd: "publish" }>;

/** Publishes as one chunk, so that several messages go out in one turn. */
function publishAll(
  peer: MqttPeer,
  messages: ReadonlyArray<Partial<Publish> & { topic: string; payload: string; qos: 1 | 2 }>,
): void {
  const packets = messages.map((message, i) =>
    peer.encode({
      cmd: "publish",
      dup: false,
      retain: false,
      messageId: 1 + (i % 60_000),
      ...message,
    } as Packet),
  );
  peer.sendBytes(Buffer.concat(packets));
}

const texts = (peer: MqttPeer, topic?: string): string[] =>
  peer.publishes
    .filter((one) => topic === undefined || one.topic === topic)
    .map(({ payload }) => payload.toString());

test("clients of all versions, QoS and options get the same messages, each under its own identifiers", async (t) => {
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker);
  const peers: Array<{ peer: MqttPeer; qos: 0 | 1 | 2; rap: boolean; id: number }> = [];
  for (const protocolVersion of [3, 4, 5] as const) {
    for (const qos of [0, 1, 2] as const) {
      for (const variant of protocolVersion === 5 ? ["plain", "rap", "id"] : ["plain", "plain"]) {
        const { peer } = await MqttPeer.connect(broker, { protocolVersion }, { adapter });
        const rap = variant === "rap";
        const id = variant === "id" ? peers.length + 1 : 0;
        peer.send({
          cmd: "subscribe",
          messageId: 1,
          subscriptions: [{ topic: "f/#", qos, ...(protocolVersion === 5 ? { rap } : {}) }],
          ...(id > 0 ? { properties: { subscriptionIdentifier: id } } : {}),
        } as Packet);
        await peer.take("suback");
        peers.push({ peer, qos, rap, id });
      }
    }
  }
  const { peer: writer } = await MqttPeer.connect(broker, { protocolVersion: 5 }, { adapter });
  const expected: Array<{ topic: string; text: string; qos: number; retain: boolean }> = [];
  for (let round = 0; round < 4; round++) {
    const messages = Array.from({ length: 60 }, (_, i) => {
      const n = round * 60 + i;
      const qos = (n % 5 === 0 ? 2 : 1) as 1 | 2;
      const topic = `f/${n % 7 === 0 ? "other" : "usual"}`;
      const retain = n % 11 === 0;
      const payload = `${n} ${"x".repeat((n * 37) % 900)}`;
      expected.push({ topic, text: payload, qos, retain });
      const properties = n % 3 === 0 ? { userProperties: { n: String(n) } } : {};
      return { topic, payload, qos, retain, properties, messageId: n + 1 };
    });
    publishAll(writer, messages);
    for (const { qos, messageId } of messages) {
      if (qos === 2) writer.send({ cmd: "pubrel", messageId } as Packet);
    }
  }
  for (const { peer, qos, rap, id } of peers) {
    await until("all messages are there", () => peer.publishes.length >= expected.length);
    await peer.settle();
    t.is(peer.publishes.length, expected.length);
    for (const [i, got] of peer.publishes.entries()) {
      const want = expected[i]!;
      t.is(got.topic, want.topic);
      t.is(got.payload.toString(), want.text);
      t.is(got.qos, Math.min(qos, want.qos) as 0 | 1 | 2);
      t.is(got.retain, rap && want.retain);
      t.false(got.dup);
      t.is(got.properties?.subscriptionIdentifier as unknown, id === 0 ? undefined : id);
      const user = i % 3 === 0 && peer.version === 5 ? String(i) : undefined;
      t.is(got.properties?.userProperties?.["n"], user);
    }
    if (qos > 0) {
      const ids = peer.publishes.map(({ messageId }) => messageId!);
      for (let i = 1; i < ids.length; i++) t.is(ids[i], ids[i - 1]! + 1);
    }
  }
  await broker.close();
});

test("two brokers in one process never mix their messages up", async (t) => {
  const brokers = [await openTestBroker(), await openTestBroker()];
  for (const [number, broker] of brokers.entries()) {
    const adapter = mqttAdapter(broker);
    const readers: MqttPeer[] = [];
    for (let i = 0; i < 4; i++) {
      const { peer } = await MqttPeer.connect(broker, {}, { adapter });
      await peer.subscribe("m", 1);
      readers.push(peer);
    }
    const { peer: writer } = await MqttPeer.connect(broker, {}, { adapter });
    publishAll(
      writer,
      Array.from({ length: 20 }, (_, i) => ({ topic: "m", payload: `${number}/${i}`, qos: 1 })),
    );
    for (const reader of readers) {
      await until("all are there", () => reader.publishes.length === 20);
      t.deepEqual(
        texts(reader),
        Array.from({ length: 20 }, (_, i) => `${number}/${i}`),
      );
    }
  }
  for (const broker of brokers) await broker.close();
});

test("a client that changes its subscription gets the next messages as it wants them now", async (t) => {
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker);
  const peers: MqttPeer[] = [];
  for (let i = 0; i < 4; i++) {
    const { peer } = await MqttPeer.connect(broker, { protocolVersion: 5 }, { adapter });
    await peer.subscribe("c/#", 1);
    peers.push(peer);
  }
  const { peer: writer } = await MqttPeer.connect(broker, { protocolVersion: 5 }, { adapter });
  const send = (from: number): void =>
    publishAll(
      writer,
      Array.from({ length: 10 }, (_, i) => ({ topic: "c/1", payload: `${from + i}`, qos: 2 })),
    );
  const release = (): void => {
    for (let i = 1; i <= 10; i++) writer.send({ cmd: "pubrel", messageId: i } as Packet);
  };
  send(0);
  for (const peer of peers) await until("ten are there", () => peer.publishes.length === 10);
  release();
  await writer.settle();
  await peers[3]!.subscribe("c/1", 2);
  send(10);
  for (const peer of peers) await until("twenty are there", () => peer.publishes.length === 20);
  for (const [n, peer] of peers.entries()) {
    const qos = peer.publishes.map((one) => one.qos);
    t.deepEqual(qos, [...Array(10).fill(1), ...Array(10).fill(n === 3 ? 2 : 1)]);
  }
  await broker.close();
});

test("who acknowledges nothing gets its window full, the others everything; after a reconnect the rest, repeated where it was sent", async (t) => {
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker, { maxInflight: 25 });
  const kept = { clean: false, clientId: "slow" };
  const { peer: slow } = await MqttPeer.connect(broker, kept, { adapter, autoAck: false });
  await slow.subscribe("w", 1);
  const quick: MqttPeer[] = [];
  for (let i = 0; i < 3; i++) {
    const { peer } = await MqttPeer.connect(broker, {}, { adapter });
    await peer.subscribe("w", 1);
    quick.push(peer);
  }
  const { peer: writer } = await MqttPeer.connect(broker, {}, { adapter });
  const all = Array.from({ length: 200 }, (_, i) => `${i}`);
  publishAll(
    writer,
    all.map((payload) => ({ topic: "w", payload, qos: 1 })),
  );
  for (const peer of quick) {
    await until("all are there", () => peer.publishes.length === all.length);
    t.deepEqual(texts(peer), all);
  }
  await slow.settle();
  t.deepEqual(texts(slow), all.slice(0, 25));
  const ids = slow.publishes.map(({ messageId }) => messageId);
  slow.send({ cmd: "puback", messageId: ids[0] } as Packet);
  await until("one more is there", () => slow.publishes.length === 26);
  slow.drop();
  const { peer: again } = await MqttPeer.connect(broker, kept, { adapter });
  await until("the rest is there", () => again.publishes.length === 199);
  t.deepEqual(texts(again), all.slice(1));
  t.deepEqual(
    again.publishes.map(({ dup }) => dup),
    all.slice(1).map((_, i) => i < 25),
  );
  t.deepEqual(
    again.publishes.slice(0, 24).map(({ messageId }) => messageId),
    ids.slice(1),
  );
  await broker.close();
});

test("a client that takes small packets only gets those, the others all", async (t) => {
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker);
  const peers: MqttPeer[] = [];
  for (let i = 0; i < 3; i++) {
    const { peer } = await MqttPeer.connect(
      broker,
      { protocolVersion: 5, properties: i === 0 ? { maximumPacketSize: 100 } : {} },
      { adapter },
    );
    await peer.subscribe("s", 1);
    peers.push(peer);
  }
  const { peer: writer } = await MqttPeer.connect(broker, {}, { adapter });
  publishAll(
    writer,
    Array.from({ length: 20 }, (_, i) => ({
      topic: "s",
      payload: `${i} ${"y".repeat(i % 2 === 0 ? 10 : 500)}`,
      qos: 1,
    })),
  );
  for (const [i, peer] of peers.entries()) {
    await until("all are there", () => peer.publishes.length === (i === 0 ? 10 : 20));
    await peer.settle();
    t.is(peer.publishes.length, i === 0 ? 10 : 20);
  }
  await broker.close();
});

test("a fan-out too large for one turn reaches everybody, and its publisher's confirms come meanwhile", async (t) => {
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker);
  const peers: MqttPeer[] = [];
  for (let i = 0; i < 60; i++) {
    const { peer } = await MqttPeer.connect(broker, {}, { adapter });
    await peer.subscribe("big", 1);
    peers.push(peer);
  }
  const { peer: writer } = await MqttPeer.connect(broker, {}, { adapter });
  const all = Array.from({ length: 800 }, (_, i) => `${i}`);
  publishAll(
    writer,
    all.map((payload) => ({ topic: "big", payload, qos: 1 })),
  );
  await until(
    "the publisher has its confirms",
    () => writer.packets.filter(({ cmd }) => cmd === "puback").length === all.length,
  );
  for (const peer of peers) {
    await until("all are there", () => peer.publishes.length === all.length, 20_000);
    t.deepEqual(texts(peer), all);
  }
  await broker.close();
});

test("messages of QoS 0 reach clients of all versions and options alike, each as it asked for", async (t) => {
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker);
  const peers: Array<{ peer: MqttPeer; rap: boolean; id: number }> = [];
  // Three of each kind: the first is written, the second kept, the third copied.
  for (let i = 0; i < 3; i++) {
    for (const kind of ["3.1.1", "5", "rap", "id", "alias", "small"] as const) {
      const { peer } = await MqttPeer.connect(
        broker,
        kind === "3.1.1"
          ? {}
          : {
              protocolVersion: 5,
              properties: {
                topicAliasMaximum: kind === "alias" ? 1 : 0,
                ...(kind === "small" ? { maximumPacketSize: 1000 } : {}),
              },
            },
        { adapter },
      );
      const rap = kind === "rap";
      const id = kind === "id" ? peers.length + 1 : 0;
      peer.send({
        cmd: "subscribe",
        messageId: 1,
        subscriptions: [{ topic: "f/#", qos: 1, ...(kind === "3.1.1" ? {} : { rap }) }],
        ...(id > 0 ? { properties: { subscriptionIdentifier: id } } : {}),
      } as Packet);
      await peer.take("suback");
      peers.push({ peer, rap, id });
    }
  }
  const { peer: writer } = await MqttPeer.connect(broker, { protocolVersion: 5 }, { adapter });
  const sizes = [0, 10, 300, 900, 16_300, 16_400, 70_000, 10];
  const sent = sizes.map((size, i) => ({
    topic: `f/${i % 3}`,
    payload: `${i}${"x".repeat(size)}`,
    retain: i % 4 === 0,
    properties: i % 2 === 0 ? {} : { contentType: `t${i}`, messageExpiryInterval: 100 },
  }));
  for (const message of sent) {
    writer.send({ cmd: "publish", qos: 0, dup: false, ...message } as Packet);
  }
  await writer.settle();
  for (const [at, { peer, rap, id }] of peers.entries()) {
    const isSmall = at % 6 === 5;
    const wanted = sent.filter(({ payload }) => !isSmall || payload.length < 950);
    await until(`${at} has all`, () => peer.publishes.length >= wanted.length);
    const aliases = new Map<number, string>();
    for (const [i, got] of peer.publishes.entries()) {
      const { topic, payload, retain, properties } = wanted[i]!;
      const alias = got.properties?.topicAlias;
      if (alias !== undefined && got.topic !== "") aliases.set(alias, got.topic);
      t.is(got.topic === "" ? aliases.get(alias!) : got.topic, topic);
      t.is(got.payload.toString(), payload);
      t.is(got.qos, 0);
      t.is(got.retain, rap && retain);
      t.is(got.properties?.subscriptionIdentifier as number | undefined, id > 0 ? id : undefined);
      if (peer.version === 5) {
        t.is(got.properties?.contentType, properties.contentType);
        t.is(got.properties?.messageExpiryInterval, properties.messageExpiryInterval);
      }
    }
    t.is(peer.publishes.length, wanted.length);
  }
  await broker.close();
});
