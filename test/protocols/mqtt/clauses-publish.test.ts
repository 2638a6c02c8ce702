/** PUBLISH: topics, aliases, properties, retained messages, quotas, by clause. */
import test from "ava";
import type { Packet } from "mqtt-packet";
import { MqttPeer, publish, V5 } from "../../support/mqtt-peer.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";

/** The reason the connection is ended with after these bytes. */
async function endedBy(broker: TestBroker, send: (peer: MqttPeer) => void): Promise<number> {
  const { peer } = await MqttPeer.connect(broker, V5);
  send(peer);
  const { reasonCode } = await peer.take("disconnect");
  await peer.closed();
  return reasonCode ?? 0;
}

test("[MQTT-3.3.2-2] a topic name with a wildcard ends the connection", async (t) => {
  const broker = await openTestBroker();
  for (const topic of ["a/+", "#", "a#b"]) {
    t.is(await endedBy(broker, (peer) => publish(peer, { topic })), 0x90, topic);
    const { peer } = await MqttPeer.connect(broker);
    publish(peer, { topic });
    await peer.closed();
  }
  await broker.close();
});

test("[MQTT-4.7.3-1] an empty topic name is refused", async (t) => {
  const broker = await openTestBroker();
  t.is(await endedBy(broker, (peer) => peer.sendBytes(Buffer.from("300400000078", "hex"))), 0x82);
  const { peer } = await MqttPeer.connect(broker);
  peer.sendBytes(Buffer.from("3003000078", "hex"));
  await peer.closed();
  await broker.close();
});

test("[MQTT-1.5.4-1] [MQTT-1.5.4-2] topics that are not UTF-8, or hold U+0000, end the connection", async (t) => {
  const broker = await openTestBroker();
  for (const bad of ["c328", "6100", "eda080", "f8888080"]) {
    const topic = Buffer.from(bad, "hex");
    const packet = Buffer.concat([
      Buffer.from([0x30, 3 + topic.length, 0, topic.length]),
      topic,
      Buffer.from([0]),
    ]);
    const reason = await endedBy(broker, (peer) => peer.sendBytes(packet));
    t.true(reason === 0x81 || reason === 0x90, bad);
  }
  await broker.close();
});

test("[MQTT-1.5.4-3] U+FEFF is a character like others: it stays where it is", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker);
  await peer.subscribe("\ufeffa", 0);
  await peer.publish("\ufeffa", "x");
  t.is((await peer.message()).topic, "\ufeffa");
  await broker.close();
});

test("[MQTT-4.7.3-4] topics are compared character by character: no normalisation, case counts, slashes count", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker);
  for (const topic of ["A\u030a", "\u212b", "\u00c5", "a", "A", "/a", "a/", "//", "a//b"]) {
    await peer.subscribe(topic, 0);
    await peer.publish(topic, "x");
    t.is((await peer.message()).topic, topic);
    await peer.settle();
    t.is(peer.publishes.length, 0, topic);
    peer.send({ cmd: "unsubscribe", messageId: 1, unsubscriptions: [topic] });
    await peer.take("unsuback");
  }
  await broker.close();
});

test("a topic of any length the standard allows: delivered with QoS 0; what no record holds is refused in words", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("#", 1);
  for (const topic of ["x".repeat(65_535), `a/${"x".repeat(65_533)}`, "\u20ac".repeat(21_845)]) {
    for (const protocolVersion of [4, 5] as const) {
      const { peer } = await MqttPeer.connect(broker, { protocolVersion });
      await peer.subscribe(topic, 0);
      await peer.publish(topic, "hello");
      for (const one of [peer, reader]) {
        const message = await one.message();
        t.is(message.text, "hello");
        t.true(message.topic === topic);
      }
    }
    const { peer: v5 } = await MqttPeer.connect(broker, V5);
    t.is(await v5.publish(topic, "kept", 1), 0x97);
    await v5.publish(topic, "kept", 0, { retain: true });
    t.is((await v5.take("disconnect")).reasonCode, 0x95);
    for (const qos of [0, 1] as const) {
      const { peer: v4 } = await MqttPeer.connect(broker);
      publish(v4, { topic, qos, messageId: 1, retain: true });
      await v4.closed();
      t.deepEqual(v4.packets, []);
    }
  }
  await reader.settle();
  t.deepEqual(reader.publishes, []);
  await broker.close();
});

test("[MQTT-3.3.2-7] [MQTT-3.3.2-12] a topic alias stands for its topic, on its connection only", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("long/#", 0);
  const { peer: one } = await MqttPeer.connect(broker, V5);
  const { peer: two } = await MqttPeer.connect(broker, V5);
  publish(one, { topic: "long/one", payload: "1", properties: { topicAlias: 64 } });
  publish(two, { topic: "long/two", payload: "2", properties: { topicAlias: 64 } });
  publish(one, { topic: "", payload: "3", properties: { topicAlias: 64 } });
  publish(two, { topic: "", payload: "4", properties: { topicAlias: 64 } });
  publish(one, { topic: "long/new", payload: "5", properties: { topicAlias: 64 } });
  publish(one, { topic: "", payload: "6", properties: { topicAlias: 64 } });
  const seen: string[] = [];
  for (let i = 0; i < 6; i++) {
    const { topic, text } = await reader.message();
    seen.push(`${topic} ${text}`);
  }
  t.deepEqual(seen.sort(), [
    "long/new 5",
    "long/new 6",
    "long/one 1",
    "long/one 3",
    "long/two 2",
    "long/two 4",
  ]);
  await broker.close();
});

test("[MQTT-3.3.2-8] [MQTT-3.3.2-9] alias 0 and aliases above the maximum end the connection with 0x94", async (t) => {
  const broker = await openTestBroker();
  const zero = Buffer.from("30080001610323000078", "hex");
  t.is(await endedBy(broker, (peer) => peer.sendBytes(zero)), 0x94);
  t.is(await endedBy(broker, (peer) => publish(peer, { properties: { topicAlias: 65 } })), 0x94);
  await broker.close();
});

test("an alias that was never defined is a protocol error", async (t) => {
  const broker = await openTestBroker();
  const undefinedAlias = Buffer.from("3007000003230005 78".replace(" ", ""), "hex");
  t.is(await endedBy(broker, (peer) => peer.sendBytes(undefinedAlias)), 0x82);
  await broker.close();
});

test("[MQTT-3.1.2-26] [MQTT-3.1.2-27] aliases towards a client: as many as it allows, none without leave", async (t) => {
  const broker = await openTestBroker();
  const { peer: allows } = await MqttPeer.connect(broker, {
    ...V5,
    properties: { topicAliasMaximum: 2 },
  });
  const { peer: none } = await MqttPeer.connect(broker, V5);
  await allows.subscribe("t/#", 0);
  await none.subscribe("t/#", 0);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  const topics = ["t/1", "t/1", "t/1", "t/2", "t/2", "t/3", "t/3", "t/3", "t/1", "t/2"];
  for (const topic of topics) await writer.publish(topic, topic);
  const known = new Map<number, string>();
  for (const topic of topics) {
    const packet = await allows.take("publish");
    const alias = packet.properties?.topicAlias;
    if (alias !== undefined) t.true(alias >= 1 && alias <= 2);
    if (packet.topic !== "") {
      t.is(packet.topic, topic);
      if (alias !== undefined) known.set(alias, topic);
    } else t.is(known.get(alias!), topic);
    const plain = await none.take("publish");
    t.is(plain.topic, topic);
    t.is(plain.properties?.topicAlias, undefined);
  }
  await broker.close();
});

test("[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] the properties of a message reach its receiver unaltered and in order", async (t) => {
  const broker = await openTestBroker();
  for (const qos of [0, 1] as const) {
    const { peer: reader } = await MqttPeer.connect(broker, V5);
    await reader.subscribe("a", qos);
    const { peer: writer } = await MqttPeer.connect(broker, V5);
    const properties = {
      payloadFormatIndicator: true,
      responseTopic: "answer/ä",
      correlationData: Buffer.from([0, 1, 2, 255]),
      userProperties: { z: ["1", "2"], a: "3", "": "", "x-\u0001": "\u0002\u0003" },
      contentType: "text/plain",
    };
    publish(writer, { qos, messageId: 1, payload: "text", properties: properties as never });
    const packet = await reader.take("publish");
    const { userProperties: _, ...single } = properties;
    t.like(packet.properties, single);
    t.deepEqual({ ...packet.properties?.userProperties }, properties.userProperties);
    t.deepEqual(Object.keys(packet.properties?.userProperties ?? {}), ["z", "a", "", "x-\u0001"]);
    reader.disconnect();
  }
  await broker.close();
});

test("[MQTT-3.3.2-14] a response topic with a wildcard ends the connection", async (t) => {
  const broker = await openTestBroker();
  const bad = (peer: MqttPeer): void => publish(peer, { properties: { responseTopic: "a/+" } });
  t.is(await endedBy(broker, bad), 0x82);
  await broker.close();
});

test("[MQTT-3.3.4-6] a subscription identifier from a client ends the connection", async (t) => {
  const broker = await openTestBroker();
  const bad = Buffer.from("30060001 61020b01".replace(" ", ""), "hex");
  t.is(await endedBy(broker, (peer) => peer.sendBytes(bad)), 0x82);
  await broker.close();
});

test("a payload that claims to be UTF-8 and is not: 0x99", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  const properties = { payloadFormatIndicator: true };
  const payload = Buffer.from([0xc3, 0x28]);
  t.is(await peer.publish("a", payload, 1, { properties }), 0x99);
  t.is(await peer.publish("a", payload, 2, { properties }), 0x99);
  t.is(await endedBy(broker, (p) => publish(p, { payload, properties })), 0x99);
  await broker.close();
});

test("[MQTT-3.3.2-5] [MQTT-3.3.2-6] a message that expired is not delivered; one that did not says how long it has", async (t) => {
  const broker = await openTestBroker();
  const id = { ...V5, clientId: "c", clean: false, properties: { sessionExpiryInterval: 60 } };
  const { peer } = await MqttPeer.connect(broker, id);
  await peer.subscribe("a", 1);
  peer.disconnect();
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await writer.publish("a", "short", 1, { properties: { messageExpiryInterval: 1 } });
  await writer.publish("a", "long", 1, { properties: { messageExpiryInterval: 100 } });
  await writer.publish("a", "ever", 1);
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const { peer: again } = await MqttPeer.connect(broker, id);
  const long = await again.take("publish");
  t.is(long.payload.toString(), "long");
  const left = long.properties?.messageExpiryInterval ?? 0;
  t.true(left >= 97 && left <= 99, String(left));
  const ever = await again.take("publish");
  t.is(ever.properties?.messageExpiryInterval, undefined);
  await broker.close();
});

test("[MQTT-3.3.1-5] [MQTT-3.3.1-9] a new subscription gets the newest retained message of each topic, marked so", async (t) => {
  const broker = await openTestBroker();
  const { peer: writer } = await MqttPeer.connect(broker);
  for (const [topic, text] of [
    ["r/a", "old"],
    ["r/a", "new"],
    ["r/b", "b"],
    ["r/b/c", "c"],
    ["other", "o"],
  ] as const) {
    await writer.publish(topic, text, 1, { retain: true });
  }
  for (const [filter, want] of [
    ["r/#", ["r/a new", "r/b b", "r/b/c c"]],
    ["r/+", ["r/a new", "r/b b"]],
    ["r/a", ["r/a new"]],
    ["+/+/c", ["r/b/c c"]],
    ["#", ["other o", "r/a new", "r/b b", "r/b/c c"]],
  ] as const) {
    const { peer } = await MqttPeer.connect(broker);
    await peer.subscribe(filter, 1);
    const got: string[] = [];
    for (const _ of want) {
      const message = await peer.message();
      t.true(message.retain);
      t.is(message.qos, 1);
      got.push(`${message.topic} ${message.text}`);
    }
    t.deepEqual(got.sort(), [...want], filter);
    await peer.settle();
    t.is(peer.publishes.length, 0);
  }
  await broker.close();
});

test("[MQTT-3.3.1-6] [MQTT-3.3.1-7] an empty retained message takes the old one away and is delivered as any other", async (t) => {
  const broker = await openTestBroker();
  const { peer: writer } = await MqttPeer.connect(broker);
  await writer.publish("r", "x", 1, { retain: true });
  const { peer: live } = await MqttPeer.connect(broker);
  await live.subscribe("r", 1);
  t.is((await live.message()).text, "x");
  await writer.publish("r", "", 1, { retain: true });
  t.is((await live.message()).text, "");
  const { peer } = await MqttPeer.connect(broker);
  await peer.subscribe("r", 1);
  await peer.settle();
  t.is(peer.publishes.length, 0);
  t.is(broker.broker.sessions.stats.retained, 0);
  await broker.close();
});

test("[MQTT-3.3.1-8] a message without RETAIN neither replaces nor removes a retained one", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker);
  await peer.publish("r", "kept", 1, { retain: true });
  await peer.publish("r", "passing", 1);
  await peer.publish("r", "", 1);
  await peer.subscribe("r", 1);
  t.is((await peer.message()).text, "kept");
  await broker.close();
});

test("a retained message of QoS 0 is kept too", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker);
  await peer.publish("r", "zero", 0, { retain: true });
  await peer.subscribe("r", 2);
  const message = await peer.message();
  t.is(message.text, "zero");
  t.is(message.qos, 0);
  await broker.close();
});

test("[MQTT-3.3.1-10] [MQTT-3.3.1-11] retain handling 1 and 2", async (t) => {
  const broker = await openTestBroker();
  const { peer: writer } = await MqttPeer.connect(broker);
  await writer.publish("r", "x", 1, { retain: true });
  const { peer } = await MqttPeer.connect(broker, V5);
  const count = async (rh: number): Promise<number> => {
    await peer.subscribe("r", 1, { rh });
    await peer.settle();
    return peer.packets.splice(0).filter(({ cmd }) => cmd === "publish").length;
  };
  t.is(await count(2), 0);
  t.is(await count(1), 0, "the subscription existed");
  t.is(await count(0), 1);
  peer.send({ cmd: "unsubscribe", messageId: 2, unsubscriptions: ["r"] });
  await peer.take("unsuback");
  t.is(await count(1), 1, "a new subscription");
  await broker.close();
});

test("[MQTT-3.3.1-12] [MQTT-3.3.1-13] the RETAIN flag of live messages: off, unless asked to be as published", async (t) => {
  const broker = await openTestBroker();
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  for (const qos of [0, 1] as const) {
    const { peer: plain } = await MqttPeer.connect(broker, V5);
    const { peer: exact } = await MqttPeer.connect(broker, V5);
    await plain.subscribe(`live${qos}`, qos, { rap: false });
    await exact.subscribe(`live${qos}`, qos, { rap: true });
    await writer.publish(`live${qos}`, "r", qos, { retain: true });
    await writer.publish(`live${qos}`, "n", qos);
    t.false((await plain.message()).retain);
    t.false((await plain.message()).retain);
    t.true((await exact.message()).retain);
    t.false((await exact.message()).retain);
  }
  await broker.close();
});

test("[MQTT-3.3.4-7] no more messages are open towards a client than it takes", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(
    broker,
    { ...V5, properties: { receiveMaximum: 3 } },
    { autoAck: false },
  );
  await peer.subscribe("#", 2);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  for (let i = 0; i < 10; i++) await writer.publish("a", String(i), i % 2 === 0 ? 1 : 2);
  await peer.settle();
  t.is(peer.publishes.length, 3);
  for (let i = 0; i < 10; i++) {
    const message = await peer.take("publish");
    t.is(message.payload.toString(), String(i));
    const { messageId } = message;
    if (message.qos === 1) peer.send({ cmd: "puback", messageId } as Packet);
    else {
      peer.send({ cmd: "pubrec", messageId } as Packet);
      await peer.take("pubrel");
      peer.send({ cmd: "pubcomp", messageId } as Packet);
    }
    await peer.settle();
    t.true(peer.publishes.length <= 3);
  }
  await broker.close();
});

test("[MQTT-3.3.4-9] more open messages than the server takes end the connection with 0x93", async (t) => {
  const broker = await openTestBroker();
  broker.store.isManual = true;
  const { peer } = await MqttPeer.connect(broker, V5, { settings: { receiveMaximum: 5 } });
  for (let id = 1; id <= 5; id++) publish(peer, { qos: 2, messageId: id, topic: "q" });
  t.false(peer.wire.isOver);
  publish(peer, { qos: 1, messageId: 6, topic: "q" });
  t.is((await peer.take("disconnect")).reasonCode, 0x93);
  broker.store.isManual = false;
  await broker.close();
});

test("[MQTT-3.3.4-8] QoS 0 messages are not counted against the receive maximum", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(
    broker,
    { ...V5, properties: { receiveMaximum: 1 } },
    { autoAck: false },
  );
  await peer.subscribe("a", 1);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await writer.publish("a", "one", 1);
  for (let i = 0; i < 5; i++) await writer.publish("a", "zero", 0);
  await peer.settle();
  t.is(peer.publishes.length, 6);
  await broker.close();
});

test("[MQTT-3.3.5-1 of 3.1.1] a publish that is not allowed: MQTT 5 is told 0x87, MQTT 3 is acknowledged and it is dropped", async (t) => {
  const broker = await openTestBroker({
    authorizer: {
      permissionsFor: () => ({
        allows: (action, { name }) => action !== "send" || name !== "secret",
        generation: 0,
      }),
    },
  });
  const { peer: reader } = await MqttPeer.connect(broker);
  await reader.subscribe("secret", 2);
  const { peer: five } = await MqttPeer.connect(broker, V5);
  t.is(await five.publish("secret", "x", 1), 0x87);
  t.is(await five.publish("secret", "x", 2), 0x87);
  const { peer: three } = await MqttPeer.connect(broker);
  t.is(await three.publish("secret", "x", 1), 0);
  t.is(await three.publish("secret", "x", 2), 0);
  const { peer: strict } = await MqttPeer.connect(broker, {}, { settings: { closeOnDeny: true } });
  publish(strict, { topic: "secret" });
  await strict.closed();
  await reader.settle();
  t.is(reader.publishes.length, 0);
  await broker.close();
});

test("topics of the broker itself cannot be published to", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  t.is(await peer.publish("$SYS/broker/version", "x", 1), 0x90);
  t.is(await peer.publish("$share/g/t", "x", 1), 0x90);
  await broker.close();
});

test("while publishing is blocked MQTT 5 is told 0x97; MQTT 3 waits and goes on by itself", async (t) => {
  const broker = await openTestBroker();
  const { peer: five } = await MqttPeer.connect(broker, V5);
  const { peer: three } = await MqttPeer.connect(broker);
  await three.subscribe("q", 1);
  broker.store.setHealth({ state: "full", reason: "disk full" });
  publish(three, { qos: 1, messageId: 7, topic: "q" });
  publish(five, { qos: 1, messageId: 7, topic: "q" });
  t.is((await five.take("puback")).reasonCode, 0x97);
  t.is(three.packets.length, 0);
  t.false(three.wire.isReading);
  broker.store.setHealth({ state: "ok" });
  t.is((await three.take("puback")).messageId, 7);
  await broker.close();
});
