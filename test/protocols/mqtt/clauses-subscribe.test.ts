/** SUBSCRIBE, UNSUBSCRIBE, filters, shared subscriptions, by clause. */
import test from "ava";
import type { Packet } from "mqtt-packet";
import { matches } from "../../../protocols/mqtt/codec/topic.ts";
import { MqttPeer, V5 } from "../../support/mqtt-peer.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

const KEPT = { ...V5, clean: false, properties: { sessionExpiryInterval: 600 } } as const;

async function pair(broker: TestBroker): Promise<{ reader: MqttPeer; writer: MqttPeer }> {
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  return { reader, writer };
}

const texts = async (peer: MqttPeer, count: number): Promise<string[]> => {
  const found: string[] = [];
  for (let i = 0; i < count; i++) found.push((await peer.message()).text);
  await peer.settle();
  if (peer.publishes.length > 0) throw new Error(`${peer.publishes.length} messages too many`);
  return found;
};

test("[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-6] [MQTT-3.9.3-1] one code per filter, in their order, under the same packet identifier", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  const subscriptions = [
    { topic: "a", qos: 2 },
    { topic: "a/#/b", qos: 1 },
    { topic: "b", qos: 0 },
    { topic: "+x", qos: 0 },
    { topic: "c", qos: 1 },
  ];
  peer.send({ cmd: "subscribe", messageId: 777, subscriptions } as Packet);
  const suback = await peer.take("suback");
  t.is(suback.messageId, 777);
  t.deepEqual(suback.granted, [2, 0x8f, 0, 0x8f, 1]);
  const { peer: three } = await MqttPeer.connect(broker);
  three.send({ cmd: "subscribe", messageId: 1, subscriptions } as Packet);
  t.deepEqual((await three.take("suback")).granted, [2, 0x80, 0, 0x80, 1]);
  await broker.close();
});

test("[MQTT-3.8.4-3] subscribing again replaces the options, without a second copy or a gap", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  await reader.subscribe("a", 0);
  await writer.publish("a", "1", 1);
  t.is((await reader.message()).qos, 0);
  await reader.subscribe("a", 1);
  await writer.publish("a", "2", 1);
  t.is((await reader.message()).qos, 1);
  await reader.settle();
  t.is(reader.publishes.length, 0);
  await broker.close();
});

test("[MQTT-3.8.4-8] a message is delivered at the lower of published and granted QoS", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  for (const granted of [0, 1, 2] as const) {
    await reader.subscribe("a", granted);
    for (const published of [0, 1, 2] as const) {
      await writer.publish("a", "x", published);
      t.is((await reader.message()).qos, Math.min(granted, published));
    }
  }
  await broker.close();
});

test("[MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] overlapping subscriptions: one copy, the highest QoS, every identifier", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  const filters = [
    ["a/b", 0, 5],
    ["a/#", 2, 268_435_455],
    ["+/b", 1, 7],
    ["other", 2, 9],
  ] as const;
  for (const [topic, qos, id] of filters) {
    reader.send({
      cmd: "subscribe",
      messageId: 1,
      subscriptions: [{ topic, qos }],
      properties: { subscriptionIdentifier: id },
    });
    await reader.take("suback");
  }
  await reader.subscribe("#", 0);
  for (const qos of [0, 1, 2] as const) {
    await writer.publish("a/b", "x", qos);
    const packet = await reader.take("publish");
    t.is(packet.qos, qos);
    const ids = packet.properties?.subscriptionIdentifier as unknown as number[];
    t.deepEqual(
      [...ids].sort((a, b) => a - b),
      [5, 7, 268_435_455],
    );
    await reader.settle();
    t.is(reader.publishes.length, 0);
  }
  await broker.close();
});

test("[MQTT-3.8.3-3] no local: a client does not get its own messages, others do", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  for (const qos of [0, 1] as const) {
    await reader.subscribe(`nl${qos}`, qos, { nl: true });
    await reader.publish(`nl${qos}`, "own", qos);
    await writer.publish(`nl${qos}`, "other", qos);
    t.deepEqual(await texts(reader, 1), ["other"]);
  }
  await broker.close();
});

test("[MQTT-3.8.3-4] no local on a shared subscription is a protocol error", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  peer.send({
    cmd: "subscribe",
    messageId: 1,
    subscriptions: [{ topic: "$share/g/a", qos: 0, nl: true }],
  });
  t.is((await peer.take("disconnect")).reasonCode, 0x82);
  await broker.close();
});

test("[MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-1] UNSUBSCRIBE stops deliveries and answers per filter", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  await reader.subscribe("a", 1);
  await reader.subscribe("b", 1);
  reader.send({ cmd: "unsubscribe", messageId: 4711, unsubscriptions: ["a", "never", "a/#/b"] });
  const unsuback = await reader.take("unsuback");
  t.is(unsuback.messageId, 4711);
  t.deepEqual(unsuback.granted, [0, 0x11, 0x8f]);
  await writer.publish("a", "gone", 1);
  await writer.publish("b", "there", 1);
  t.deepEqual(await texts(reader, 1), ["there"]);
  await broker.close();
});

test("[MQTT-3.10.4-1] UNSUBSCRIBE takes exactly the filter it names, not what it matches", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  await reader.subscribe("a/b", 1);
  reader.send({ cmd: "unsubscribe", messageId: 1, unsubscriptions: ["a/#", "a/+", "#"] });
  t.deepEqual((await reader.take("unsuback")).granted, [0x11, 0x11, 0x11]);
  await writer.publish("a/b", "x", 1);
  t.deepEqual(await texts(reader, 1), ["x"]);
  await broker.close();
});

test("[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] filters that are none are refused one by one", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  for (const bad of ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/+b", "a\u0001"]) {
    t.deepEqual(await peer.subscribe(bad, 0), [0x8f], bad);
  }
  for (const good of ["#", "+", "a/#", "+/+", "/+", "a/+/b", "//", " "]) {
    t.deepEqual(await peer.subscribe(good, 1), [1], good);
  }
  await broker.close();
});

test("[MQTT-4.7.2-1] wildcards at the first level do not reach topics that begin with $", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  await writer.publish("$own/a", "kept", 1, { retain: true });
  await reader.subscribe("#", 1);
  await reader.subscribe("+/a", 1);
  await writer.publish("$own/a", "x", 1);
  await reader.settle();
  t.is(reader.publishes.length, 0);
  await reader.subscribe("$own/#", 1);
  t.is((await reader.message()).text, "kept");
  await writer.publish("$own/a", "y", 1);
  t.is((await reader.message()).text, "y");
  await broker.close();
});

test("the broker matches as the standard's rule says, for filters and topics of all kinds", async (t) => {
  const broker = await openTestBroker();
  const { peer: writer } = await MqttPeer.connect(broker);
  const topics = ["a", "a/b", "a/b/c", "/a", "a/", "/", "a//c", "b/b", "$s/a"];
  const filters = [
    "a",
    "a/#",
    "a/+",
    "+",
    "#",
    "+/+",
    "/+",
    "+/b/#",
    "a/+/c",
    "a/b/c/#",
    "+/",
    "$s/#",
  ];
  for (const filter of filters) {
    const { peer } = await MqttPeer.connect(broker);
    await peer.subscribe(filter, 0);
    for (const topic of topics) await writer.publish(topic, topic, 0);
    await peer.settle();
    const got = peer.publishes.map(({ topic }) => topic);
    t.deepEqual(
      got,
      topics.filter((topic) => matches(filter, topic)),
      filter,
    );
    peer.disconnect();
    await peer.closed();
  }
  await broker.close();
});

test("[MQTT-4.8.2-1] [MQTT-4.8.2-2] names of shared subscriptions: what is one and what is not", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  for (const bad of [
    "$share//a",
    "$share/g",
    "$share/g/",
    "$share/g+/a",
    "$share/#/a",
    "$share/g/a#",
  ]) {
    t.deepEqual(await peer.subscribe(bad, 0), [0x8f], bad);
  }
  for (const good of ["$share/g/a", "$share/g/#", "$share/g/+/a", "$queue/a"]) {
    t.deepEqual(await peer.subscribe(good, 1), [1], good);
  }
  await broker.close();
});

test("a shared subscription divides its messages among members, at each member's QoS, each message once", async (t) => {
  const broker = await openTestBroker();
  const { peer: one } = await MqttPeer.connect(broker, V5);
  const { peer: two } = await MqttPeer.connect(broker, V5);
  const { peer: whole } = await MqttPeer.connect(broker, V5);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await one.subscribe("$share/g/job/+", 1);
  await two.subscribe("$share/g/job/+", 0);
  await whole.subscribe("job/+", 1);
  for (let i = 0; i < 40; i++) await writer.publish("job/x", String(i), 1);
  await until("all were delivered", () => one.publishes.length + two.publishes.length === 40);
  await whole.settle();
  t.is(whole.publishes.length, 40);
  t.true(one.publishes.length > 5 && two.publishes.length > 5);
  const seen = [...one.publishes, ...two.publishes].map(({ payload }) =>
    Number(payload.toString()),
  );
  t.deepEqual(
    seen.sort((a, b) => a - b),
    Array.from({ length: 40 }, (_, i) => i),
  );
  t.true(one.publishes.every(({ qos }) => qos === 1));
  t.true(two.publishes.every(({ qos }) => qos === 0));
  for (let i = 0; i < 10; i++) await writer.publish("job/x", "zero", 0);
  await one.settle();
  await two.settle();
  t.is(one.publishes.length + two.publishes.length, 50);
  await broker.close();
});

test("retained messages are not sent to shared subscriptions", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  await writer.publish("r", "x", 1, { retain: true });
  await reader.subscribe("$share/g/r", 1);
  await reader.settle();
  t.is(reader.publishes.length, 0);
  await broker.close();
});

test("a share outlives its members: messages wait for the next one", async (t) => {
  const broker = await openTestBroker();
  const { reader, writer } = await pair(broker);
  await reader.subscribe("$share/g/job", 1);
  reader.disconnect();
  await reader.closed();
  await writer.publish("job", "waits", 1);
  const { peer: next } = await MqttPeer.connect(broker, V5);
  await next.subscribe("$share/g/job", 1);
  t.is((await next.message()).text, "waits");
  await broker.close();
});

test("what a member did not acknowledge goes to another when it leaves", async (t) => {
  const broker = await openTestBroker();
  const { peer: slow } = await MqttPeer.connect(broker, V5, { autoAck: false });
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await slow.subscribe("$share/g/job", 1);
  await writer.publish("job", "1", 1);
  await slow.take("publish");
  const { peer: other } = await MqttPeer.connect(broker, V5);
  await other.subscribe("$share/g/job", 1);
  slow.drop();
  const message = await other.message();
  t.is(message.text, "1");
  t.false(message.dup, "it is the first time for this client");
  await broker.close();
});

test("[MQTT-4.8.2-4] a shared message of QoS 2 is completed with the client that had it, under its identifier", async (t) => {
  const broker = await openTestBroker();
  const id = { ...KEPT, clientId: "had-it" };
  const { peer: first } = await MqttPeer.connect(broker, id, { autoAck: false });
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await first.subscribe("$share/g/job", 2);
  await writer.publish("job", "mine", 2);
  const { messageId } = await first.take("publish");
  const { peer: other } = await MqttPeer.connect(broker, V5);
  await other.subscribe("$share/g/job", 2);
  first.drop();
  await other.settle();
  t.is(other.publishes.length, 0);
  const { peer: again } = await MqttPeer.connect(broker, id, { autoAck: false });
  const resent = await again.take("publish");
  t.is(resent.messageId, messageId);
  t.true(resent.dup);
  t.is(resent.payload.toString(), "mine");
  again.send({ cmd: "pubrec", messageId } as Packet);
  t.is((await again.take("pubrel")).messageId, messageId);
  again.send({ cmd: "pubcomp", messageId } as Packet);
  await again.settle();
  await broker.close();
});

test("[MQTT-4.8.2-5] a shared message of QoS 2 dies with the session that had it", async (t) => {
  const broker = await openTestBroker();
  const id = { ...KEPT, clientId: "had-it" };
  const { peer: first } = await MqttPeer.connect(broker, id, { autoAck: false });
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await first.subscribe("$share/g/job", 2);
  await writer.publish("job", "mine", 2);
  await first.take("publish");
  const { peer: other } = await MqttPeer.connect(broker, V5);
  await other.subscribe("$share/g/job", 2);
  first.drop();
  await MqttPeer.connect(broker, { ...V5, clientId: "had-it", clean: true });
  await other.settle();
  t.is(other.publishes.length, 0);
  await broker.close();
});

test("[MQTT-4.8.2-6] a shared message that its member refuses goes to nobody else", async (t) => {
  const broker = await openTestBroker();
  const { peer: one } = await MqttPeer.connect(broker, V5, { autoAck: false });
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await one.subscribe("$share/g/job", 1);
  await writer.publish("job", "bad", 1);
  const { messageId } = await one.take("publish");
  const { peer: two } = await MqttPeer.connect(broker, V5);
  await two.subscribe("$share/g/job", 1);
  one.send({ cmd: "puback", messageId, reasonCode: 0x83 } as Packet);
  await one.settle();
  one.drop();
  await two.settle();
  t.is(two.publishes.length, 0);
  await broker.close();
});

test("a subscription that is not allowed is refused with 0x87, in MQTT 3 with 0x80", async (t) => {
  const broker = await openTestBroker({
    authorizer: {
      permissionsFor: () => ({ allows: (_action, { name }) => name !== "secret", generation: 0 }),
    },
  });
  const { peer: five } = await MqttPeer.connect(broker, V5);
  t.deepEqual(await five.subscribe("secret", 1), [0x87]);
  const { peer: three } = await MqttPeer.connect(broker);
  t.deepEqual(await three.subscribe("secret", 1), [0x80]);
  await broker.close();
});

test("$SYS tells about the broker, at once and at intervals, and cannot be reached by wildcards", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5, { settings: { sysIntervalMs: 20 } });
  await peer.subscribe("$SYS/broker/version", 1);
  const first = await peer.message();
  t.is(first.topic, "$SYS/broker/version");
  t.true(first.retain);
  const later = await peer.message();
  t.false(later.retain);
  const { peer: other } = await MqttPeer.connect(broker, V5, { settings: { sysIntervalMs: 20 } });
  await other.subscribe("#", 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(other.publishes.length, 0);
  peer.send({ cmd: "unsubscribe", messageId: 1, unsubscriptions: ["$SYS/broker/version"] });
  await peer.take("unsuback");
  peer.packets.length = 0;
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(peer.publishes.length, 0);
  await broker.close();
});
