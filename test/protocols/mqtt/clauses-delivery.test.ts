/** QoS 1 and 2 in both directions, order, redelivery, wills, by clause. */
import test from "ava";
import type { Packet, QoS } from "mqtt-packet";
import { MqttPeer, publish, V5 } from "../../support/mqtt-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

const KEPT = { ...V5, clean: false, properties: { sessionExpiryInterval: 600 } } as const;

const send = (
  peer: MqttPeer,
  cmd: string,
  messageId: number | undefined,
  reasonCode?: number,
): void =>
  peer.send({ cmd, messageId, ...(reasonCode === undefined ? {} : { reasonCode }) } as Packet);

test("[MQTT-4.3.2-4] PUBACK comes only after the message is durable", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  await peer.subscribe("a", 1);
  broker.store.isManual = true;
  publish(peer, { qos: 1, messageId: 3 });
  t.is((await peer.message()).text, "x", "delivered early");
  await peer.settle();
  t.is(peer.packets.filter(({ cmd }) => cmd === "puback").length, 0);
  broker.store.sync();
  t.is((await peer.take("puback")).messageId, 3);
  broker.store.isManual = false;
  await broker.close();
});

test("[MQTT-4.3.3-8] PUBREC comes only after the message is durable, and nobody sees it before", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, KEPT);
  await reader.subscribe("a", 1);
  const { peer: writer } = await MqttPeer.connect(broker, { ...KEPT, clientId: "w" });
  broker.store.isManual = true;
  publish(writer, { qos: 2, messageId: 3 });
  await writer.settle();
  await reader.settle();
  t.is(writer.packets.length, 0);
  t.is(reader.publishes.length, 0);
  broker.store.sync();
  broker.store.isManual = false;
  t.is((await writer.take("pubrec")).messageId, 3);
  t.is((await reader.message()).text, "x");
  await broker.close();
});

test("[MQTT-4.3.3-10] [MQTT-4.3.3-12] a repeated PUBLISH of QoS 2 is answered again and delivered once", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("a", 2);
  for (const connect of [V5, { ...KEPT, clientId: "w" }]) {
    const { peer } = await MqttPeer.connect(broker, connect);
    publish(peer, { qos: 2, messageId: 5 });
    publish(peer, { qos: 2, messageId: 5, dup: true });
    await peer.take("pubrec");
    publish(peer, { qos: 2, messageId: 5, dup: true });
    await peer.take("pubrec");
    await peer.take("pubrec");
    send(peer, "pubrel", 5);
    t.is((await peer.take("pubcomp")).messageId, 5);
    publish(peer, { qos: 2, messageId: 5, payload: "next" });
    await peer.take("pubrec");
    t.is((await reader.message()).text, "x");
    t.is((await reader.message()).text, "next");
    await reader.settle();
    t.is(reader.publishes.length, 0);
    peer.drop();
  }
  await broker.close();
});

test("[MQTT-4.3.3-11] PUBREL is answered with PUBCOMP of the same identifier; an unknown one with 0x92", async (t) => {
  const broker = await openTestBroker();
  for (const version of [4, 5] as const) {
    const { peer } = await MqttPeer.connect(broker, { protocolVersion: version });
    send(peer, "pubrel", 99);
    const { messageId, reasonCode } = await peer.take("pubcomp");
    t.is(messageId, 99);
    t.is(reasonCode ?? 0, version === 5 ? 0x92 : 0);
  }
  await broker.close();
});

test("a QoS 2 exchange survives the publisher's reconnect: the same message is not taken twice", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("a", 2);
  const id = { ...KEPT, clientId: "w" };
  const { peer: first } = await MqttPeer.connect(broker, id);
  publish(first, { qos: 2, messageId: 9 });
  await first.take("pubrec");
  first.drop();
  const { peer: second } = await MqttPeer.connect(broker, id);
  publish(second, { qos: 2, messageId: 9, dup: true });
  await second.take("pubrec");
  send(second, "pubrel", 9);
  await second.take("pubcomp");
  t.is((await reader.message()).text, "x");
  await reader.settle();
  t.is(reader.publishes.length, 0);
  await broker.close();
});

test("[MQTT-4.4.0-1] [MQTT-3.3.1-1] what was not acknowledged is sent again on reconnect: same identifier, DUP, in order", async (t) => {
  const broker = await openTestBroker();
  const id = { ...KEPT, clientId: "c" };
  const { peer: first } = await MqttPeer.connect(broker, id, { autoAck: false });
  await first.subscribe("a", 2);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  for (let i = 0; i < 6; i++) await writer.publish("a", String(i), i < 3 ? 1 : 2);
  const sent: Array<number | undefined> = [];
  for (let i = 0; i < 6; i++) {
    const packet = await first.take("publish");
    t.false(packet.dup);
    sent.push(packet.messageId);
  }
  t.is(new Set(sent).size, 6);
  send(first, "puback", sent[1]); // out of order
  send(first, "pubrec", sent[4]);
  await first.take("pubrel");
  first.drop();
  const { peer: second } = await MqttPeer.connect(broker, id, { autoAck: false });
  t.is((await second.take("pubrel")).messageId, sent[4]);
  for (const i of [0, 2, 3, 5]) {
    const packet = await second.take("publish");
    t.is(packet.payload.toString(), String(i));
    t.is(packet.messageId, sent[i]);
    t.true(packet.dup);
  }
  await second.settle();
  t.is(second.publishes.length, 0);
  await writer.publish("a", "new", 1);
  const fresh = await second.take("publish");
  t.false(fresh.dup);
  t.false([sent[0], sent[2], sent[3], sent[4], sent[5]].includes(fresh.messageId));
  await broker.close();
});

test("[MQTT-4.4.0-1] nothing is sent again while the connection stands", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5, { autoAck: false });
  await peer.subscribe("a", 1);
  await peer.publish("a", "x", 1);
  await peer.take("publish");
  peer.wire.tick(broker.turn.uptime + 3_600_000);
  await peer.settle();
  t.is(peer.publishes.length, 0);
  await broker.close();
});

test("[MQTT-4.3.3-5] PUBREL is sent once more after a reconnect, until PUBCOMP comes", async (t) => {
  const broker = await openTestBroker();
  const id = { ...KEPT, clientId: "c" };
  const { peer: first } = await MqttPeer.connect(broker, id, { autoAck: false });
  await first.subscribe("a", 2);
  await first.publish("a", "x", 2);
  const { messageId } = await first.take("publish");
  send(first, "pubrec", messageId);
  await first.take("pubrel");
  first.drop();
  const { peer: second } = await MqttPeer.connect(broker, id, { autoAck: false });
  t.is((await second.take("pubrel")).messageId, messageId);
  send(second, "pubcomp", messageId);
  await second.settle();
  second.drop();
  const { peer: third } = await MqttPeer.connect(broker, id, { autoAck: false });
  await third.settle();
  t.deepEqual(third.packets, []);
  await broker.close();
});

test("[MQTT-4.3.3-4] PUBREL follows PUBREC only when it is durable that the client has the message", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, KEPT, { autoAck: false });
  await peer.subscribe("a", 2);
  await peer.publish("a", "x", 2);
  const { messageId } = await peer.take("publish");
  broker.store.isManual = true;
  send(peer, "pubrec", messageId);
  await peer.settle();
  t.is(peer.packets.length, 0);
  broker.store.sync();
  t.is((await peer.take("pubrel")).messageId, messageId);
  broker.store.isManual = false;
  await broker.close();
});

test("PUBACK and PUBREC with a reason of refusal end the exchange", async (t) => {
  const broker = await openTestBroker();
  const id = { ...KEPT, clientId: "c" };
  const { peer } = await MqttPeer.connect(broker, id, { autoAck: false });
  await peer.subscribe("a", 2);
  for (const qos of [1, 2] as const) {
    await peer.publish("a", "x", qos);
    const { messageId } = await peer.take("publish");
    send(peer, qos === 1 ? "puback" : "pubrec", messageId, 0x83);
  }
  await peer.settle();
  t.deepEqual(peer.packets, []);
  peer.drop();
  const { peer: again } = await MqttPeer.connect(broker, id, { autoAck: false });
  await again.settle();
  t.deepEqual(again.packets, []);
  await broker.close();
});

test("acknowledgements of identifiers that are not open are answered or ignored, and cost nothing", async (t) => {
  const broker = await openTestBroker();
  for (const version of [4, 5] as const) {
    const { peer } = await MqttPeer.connect(broker, { protocolVersion: version });
    for (const id of [1, 2, 32_768, 32_769, 65_535]) {
      send(peer, "puback", id);
      send(peer, "pubcomp", id);
      send(peer, "pubrec", id);
      const pubrel = await peer.take("pubrel");
      t.is(pubrel.messageId, id);
      t.is(pubrel.reasonCode ?? 0, version === 5 ? 0x92 : 0);
    }
    await peer.settle();
    t.false(peer.wire.isOver);
  }
  await broker.close();
});

test("[MQTT-4.6.0-2] [MQTT-4.6.0-3] acknowledgements go out in the order of the messages", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("wanted/#", 1);
  const { peer } = await MqttPeer.connect(broker, V5);
  broker.store.isManual = true;
  for (let id = 1; id <= 30; id++) {
    // Some are wanted and wait for the disk, some are not and could be answered at once.
    publish(peer, {
      qos: id % 2 === 0 ? 1 : 2,
      messageId: id,
      topic: id % 3 === 0 ? "nobody" : "wanted/x",
    });
  }
  await peer.settle();
  broker.store.sync();
  broker.store.isManual = false;
  await until("all are answered", () => peer.packets.length === 30);
  t.deepEqual(
    peer.packets.map(({ messageId }) => messageId),
    Array.from({ length: 30 }, (_, i) => i + 1),
  );
  await broker.close();
});

test("[MQTT-4.6.0-5] [MQTT-4.6.0-6] messages of one topic and QoS arrive in the order they were published", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, KEPT);
  await reader.subscribe("o/#", 2);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  for (let i = 0; i < 300; i++) {
    publish(writer, {
      qos: (i % 3) as QoS,
      messageId: i + 1,
      topic: `o/${i % 3}/${i % 2}`,
      payload: String(i),
    });
  }
  await until("all came", () => reader.publishes.length === 300);
  const last = new Map<string, number>();
  for (const { topic, qos, payload } of reader.publishes) {
    const number = Number(payload.toString());
    const key = `${topic} ${qos}`;
    t.true(number > (last.get(key) ?? -1), key);
    last.set(key, number);
  }
  await broker.close();
});

test("[MQTT-2.2.1-4] identifiers of open messages are never used twice, whatever is acknowledged when", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, KEPT, { autoAck: false });
  await peer.subscribe("a", 1);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  const open = new Set<number>();
  let seed = 7;
  for (let i = 0; i < 200; i++) {
    await writer.publish("a", String(i), 1);
    const { messageId } = await peer.take("publish");
    t.false(open.has(messageId!));
    open.add(messageId!);
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    if (seed % 3 > 0) {
      const any = [...open][seed % open.size]!;
      open.delete(any);
      send(peer, "puback", any);
    }
  }
  await broker.close();
});

test("a retained message that was not acknowledged is sent again on reconnect, marked as retained", async (t) => {
  const broker = await openTestBroker();
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await writer.publish("r", "kept", 1, { retain: true });
  const id = { ...KEPT, clientId: "c" };
  const { peer: first } = await MqttPeer.connect(broker, id, { autoAck: false });
  await first.subscribe("r", 1);
  const { messageId } = await first.take("publish");
  first.drop();
  const { peer: second } = await MqttPeer.connect(broker, id, { autoAck: false });
  const again = await second.take("publish");
  t.is(again.messageId, messageId);
  t.true(again.dup && again.retain);
  send(second, "puback", messageId);
  await second.settle();
  second.drop();
  const { peer: third } = await MqttPeer.connect(broker, id);
  await third.settle();
  t.is(third.publishes.length, 0);
  await broker.close();
});

test("QoS 0 is dropped for a client that does not read, QoS 1 waits in the log", async (t) => {
  const broker = await openTestBroker();
  const { peer: slow } = await MqttPeer.connect(broker, KEPT, {
    settings: { directMaxBytes: 10_000 },
  });
  await slow.subscribe("#", 1);
  slow.wire.isPeerReading = false;
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  for (let i = 0; i < 100; i++) await writer.publish("zero", Buffer.alloc(1000), 0);
  for (let i = 0; i < 100; i++) await writer.publish("one", Buffer.alloc(1000), 1);
  t.true(broker.broker.sessions.stats.droppedDirect >= 80);
  slow.wire.isPeerReading = true;
  slow.wire.drainOutput();
  await until(
    "all of QoS 1 came",
    () => slow.publishes.filter(({ qos }) => qos === 1).length === 100,
  );
  t.true(slow.publishes.filter(({ qos }) => qos === 0).length <= 20);
  await broker.close();
});

const WILL = { topic: "will", payload: Buffer.from("gone"), qos: 1, retain: false } as const;

test("[MQTT-3.1.2-8] a will is published when the connection ends without DISCONNECT", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("will", 2);
  for (const version of [4, 5] as const) {
    const { peer } = await MqttPeer.connect(broker, { protocolVersion: version, will: WILL });
    peer.drop();
    t.like(await reader.message(), { text: "gone", qos: 1, retain: false });
    const { peer: bad } = await MqttPeer.connect(broker, { protocolVersion: version, will: WILL });
    bad.sendBytes(Buffer.from([0xc0, 0x80, 0]));
    t.is((await reader.message()).text, "gone", "after a protocol error");
    const { peer: silent } = await MqttPeer.connect(broker, {
      protocolVersion: version,
      will: WILL,
      keepalive: 1,
    });
    silent.wire.tick(broker.turn.uptime + 2000);
    t.is((await reader.message()).text, "gone", "after the keep-alive");
  }
  await broker.close();
});

test("[MQTT-3.1.2-10] [MQTT-3.14.4-3] DISCONNECT takes the will away; reason 0x04 keeps it", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("will", 1);
  for (const version of [4, 5] as const) {
    const { peer } = await MqttPeer.connect(broker, { protocolVersion: version, will: WILL });
    peer.disconnect();
    await peer.closed();
  }
  await reader.settle();
  t.is(reader.publishes.length, 0);
  const { peer } = await MqttPeer.connect(broker, { ...V5, will: WILL });
  peer.send({ cmd: "disconnect", reasonCode: 4 });
  t.is((await reader.message()).text, "gone");
  await broker.close();
});

test("[MQTT-3.1.2-14] [MQTT-3.1.2-15] a will can be retained", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, { will: { ...WILL, retain: true } });
  peer.drop();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("will", 1);
  t.like(await reader.message(), { text: "gone", retain: true });
  await broker.close();
});

test("[MQTT-3.1.2-9] [MQTT-3.1.3-10] a will has its properties", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("will", 1);
  const properties = {
    payloadFormatIndicator: true,
    contentType: "text/plain",
    responseTopic: "r",
    correlationData: Buffer.from([1]),
    messageExpiryInterval: 50,
    userProperties: { b: ["1", "2"], a: "3" },
  };
  const { peer } = await MqttPeer.connect(broker, { ...V5, will: { ...WILL, properties } });
  peer.drop();
  const packet = await reader.take("publish");
  t.is(packet.properties?.contentType, "text/plain");
  t.is(packet.properties?.responseTopic, "r");
  t.deepEqual({ ...packet.properties?.userProperties }, properties.userProperties);
  t.true((packet.properties?.messageExpiryInterval ?? 0) >= 48);
  await broker.close();
});

test("[MQTT-3.1.3-9] a delayed will is not published when the client comes back in time", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("will", 1);
  const will = { ...WILL, properties: { willDelayInterval: 1 } };
  const id = { ...KEPT, clientId: "c", will };
  const { peer: first } = await MqttPeer.connect(broker, id);
  first.drop();
  const { peer: second } = await MqttPeer.connect(broker, id);
  await new Promise((resolve) => setTimeout(resolve, 1200));
  await reader.settle();
  t.is(reader.publishes.length, 0);
  second.drop();
  t.is((await reader.message()).text, "gone", "a second later");
  await broker.close();
});

test("a delayed will is published when the session ends, if that is earlier", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("will", 1);
  const will = { ...WILL, properties: { willDelayInterval: 3600 } };
  const { peer: short } = await MqttPeer.connect(broker, { ...V5, will });
  short.drop();
  t.is((await reader.message()).text, "gone", "a session that ends with its connection");
  const { peer: kept } = await MqttPeer.connect(broker, { ...KEPT, clientId: "c", will });
  kept.drop();
  await reader.settle();
  t.is(reader.publishes.length, 0);
  await MqttPeer.connect(broker, { ...V5, clientId: "c", clean: true });
  t.is((await reader.message()).text, "gone", "a session thrown away by clean start");
  await broker.close();
});

test("taking over publishes the older connection's will", async (t) => {
  const broker = await openTestBroker();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("will", 1);
  await MqttPeer.connect(broker, { ...V5, clientId: "c", will: WILL });
  await MqttPeer.connect(broker, { ...V5, clientId: "c" });
  t.is((await reader.message()).text, "gone");
  await broker.close();
});

test("a will that may not be sent is refused with CONNECT", async (t) => {
  const broker = await openTestBroker({
    authorizer: {
      permissionsFor: () => ({ allows: (_action, { name }) => name !== "will", generation: 0 }),
    },
  });
  const peer = new MqttPeer(broker);
  peer.sendConnect({ ...V5, will: WILL });
  t.is((await peer.take("connack")).reasonCode, 0x87);
  const bad = new MqttPeer(broker);
  bad.sendConnect({ ...V5, will: { ...WILL, topic: "a/+" } });
  t.is((await bad.take("connack")).reasonCode, 0x90);
  await broker.close();
});
