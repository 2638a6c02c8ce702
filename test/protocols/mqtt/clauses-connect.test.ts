/** CONNECT, CONNACK, DISCONNECT, keep-alive and take-over: what the standards say a server must do, by clause. */
import test from "ava";
import { MqttPeer, mqttAdapter, V5 } from "../../support/mqtt-peer.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

const NEVER = 0xffffffff;

/** Sends raw bytes to a new connection and waits until it is closed; returns what the server said. */
async function refusedBytes(broker: TestBroker, hex: string): Promise<MqttPeer> {
  const peer = new MqttPeer(broker);
  peer.sendBytes(Buffer.from(hex.replaceAll(" ", ""), "hex"));
  await peer.closed();
  return peer;
}

test("[MQTT-3.1.0-1] a first packet that is not CONNECT closes the connection without an answer", async (t) => {
  const broker = await openTestBroker();
  for (const hex of ["c000", "300500016178", "f000", "820600010001610 0", "e000"]) {
    const peer = await refusedBytes(broker, hex);
    t.deepEqual(peer.packets, []);
  }
  await broker.close();
});

test("[MQTT-3.1.0-2] a second CONNECT is a protocol error", async (t) => {
  const broker = await openTestBroker();
  for (const version of [4, 5] as const) {
    const { peer } = await MqttPeer.connect(broker, { protocolVersion: version });
    peer.sendConnect({ protocolVersion: version });
    await peer.closed();
    if (version === 5) t.is((await peer.take("disconnect")).reasonCode, 0x82);
    else t.deepEqual(peer.packets, []);
  }
  await broker.close();
});

test("[MQTT-3.1.2-1] an unknown protocol name is not taken for MQTT", async (t) => {
  const broker = await openTestBroker();
  const peer = await refusedBytes(broker, "10 0c 0004 4d515458 04 02 0000 0000");
  t.true(peer.packets.length <= 1);
  await broker.close();
});

test("[MQTT-3.1.2-2] an unsupported level is refused in a form its client can read", async (t) => {
  const broker = await openTestBroker();
  const older = await refusedBytes(broker, "10 0c 0004 4d515454 02 02 0000 0000");
  t.is((await older.take("connack")).returnCode, 1);
  const bridge = await refusedBytes(broker, "10 0c 0004 4d515454 84 02 0000 0000");
  t.is((await bridge.take("connack")).returnCode, 1);
  const newer = new MqttPeer(broker);
  newer.version = 5;
  const raw: Buffer[] = [];
  const { wire } = newer;
  void wire;
  const direct = await refusedRaw(broker, "10 0d 0004 4d515454 06 02 0000 00 0000");
  raw.push(direct);
  t.is(direct[3], 0x84);
  await broker.close();
});

/** The bytes the server answered before it closed. */
async function refusedRaw(broker: TestBroker, hex: string): Promise<Buffer> {
  const { MemoryWire } = await import("../../../src/transport/memory-wire.ts");
  const chunks: Buffer[] = [];
  const wire = MemoryWire.open(mqttAdapter(broker), {
    turn: broker.turn,
    onOutput: (bytes) => chunks.push(Buffer.from(bytes)),
  });
  wire.send(Buffer.from(hex.replaceAll(" ", ""), "hex"));
  await until("closed", () => wire.isOver);
  return Buffer.concat(chunks);
}

test("[MQTT-3.1.2-3] the reserved connect flag closes the connection", async (t) => {
  const broker = await openTestBroker();
  const peer = await refusedBytes(broker, "10 0c 0004 4d515454 04 03 0000 0000");
  t.deepEqual(peer.packets, []);
  t.is((await refusedRaw(broker, "10 0d 0004 4d515454 05 03 0000 00 0000"))[3], 0x81);
  await broker.close();
});

test("[MQTT-3.1.2-4] [MQTT-3.1.4-4] clean start throws the old session away", async (t) => {
  const broker = await openTestBroker();
  const id = { ...V5, clientId: "c", properties: { sessionExpiryInterval: NEVER } };
  const { peer: first } = await MqttPeer.connect(broker, { ...id, clean: false });
  await first.subscribe("a", 1);
  first.disconnect();
  const { connack } = await MqttPeer.connect(broker, { ...id, clean: true });
  t.false(connack.sessionPresent);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  t.is(await writer.publish("a", "x", 1), 0x10);
  await broker.close();
});

test("[MQTT-3.1.2-5] [MQTT-3.2.2-3] without clean start a session goes on, and CONNACK says so", async (t) => {
  const broker = await openTestBroker();
  const id = { ...V5, clientId: "c", clean: false, properties: { sessionExpiryInterval: 60 } };
  const { peer: first } = await MqttPeer.connect(broker, id);
  await first.subscribe("a", 1);
  first.disconnect();
  const { peer: second, connack } = await MqttPeer.connect(broker, id);
  t.true(connack.sessionPresent);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await writer.publish("a", "x", 1);
  t.is((await second.message()).text, "x");
  await broker.close();
});

test("[MQTT-3.1.2-6] [MQTT-3.2.2-2] without a session to go on with, a new one is made and CONNACK says so", async (t) => {
  const broker = await openTestBroker();
  for (const version of [4, 5] as const) {
    const { connack } = await MqttPeer.connect(broker, {
      protocolVersion: version,
      clientId: `new-${version}`,
      clean: false,
    });
    t.false(connack.sessionPresent);
  }
  await broker.close();
});

test("[MQTT-3.1.2-23] a session with an expiry is kept after the connection; one without is not", async (t) => {
  const broker = await openTestBroker();
  const kept = { ...V5, clientId: "kept", clean: false, properties: { sessionExpiryInterval: 60 } };
  const lost = { ...V5, clientId: "lost", clean: false };
  for (const [id, isPresent] of [
    [kept, true],
    [lost, false],
  ] as const) {
    const { peer } = await MqttPeer.connect(broker, id);
    peer.drop();
    const { connack } = await MqttPeer.connect(broker, id);
    t.is(connack.sessionPresent, isPresent);
  }
  await broker.close();
});

test("[MQTT-4.1.0-2] a session ends when its expiry has passed", async (t) => {
  const broker = await openTestBroker();
  const id = { ...V5, clientId: "c", clean: false, properties: { sessionExpiryInterval: 1 } };
  const { peer } = await MqttPeer.connect(broker, id);
  await peer.subscribe("a", 1);
  peer.disconnect();
  await until("the session is gone", () => broker.broker.sessions.stats.sessions === 0);
  const { connack } = await MqttPeer.connect(broker, id);
  t.false(connack.sessionPresent);
  await broker.close();
});

test("DISCONNECT may change the session's expiry, but not keep what was to end", async (t) => {
  const broker = await openTestBroker();
  const id = { ...V5, clientId: "c", clean: false };
  const { peer } = await MqttPeer.connect(broker, {
    ...id,
    properties: { sessionExpiryInterval: 60 },
  });
  peer.send({ cmd: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
  await peer.closed();
  t.is(broker.broker.sessions.stats.sessions, 0);
  const { peer: second } = await MqttPeer.connect(broker, id);
  second.send({ cmd: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 60 } });
  t.is((await second.take("disconnect")).reasonCode, 0x82);
  await broker.close();
});

test("[MQTT-3.1.3-6] [MQTT-3.1.3-7] an empty client identifier gets one, and MQTT 5 is told", async (t) => {
  const broker = await openTestBroker();
  const { connack } = await MqttPeer.connect(broker, { ...V5, clientId: "" });
  t.regex(connack.properties?.assignedClientIdentifier ?? "", /^\S{10,}$/);
  await MqttPeer.connect(broker, { protocolVersion: 4, clientId: "", clean: true });
  await broker.close();
});

test("[MQTT-3.1.3-8] 3.1.1: an empty client identifier with clean session 0 is refused with code 2", async (t) => {
  const broker = await openTestBroker();
  const peer = await refusedBytes(broker, "10 0c 0004 4d515454 04 00 003c 0000");
  t.is((await peer.take("connack")).returnCode, 2);
  await broker.close();
});

test("[MQTT-3.1.3-5] client identifiers of any length up to the standard's are taken", async (t) => {
  const broker = await openTestBroker();
  for (const length of [1, 23, 24, 1000, 65_535]) {
    const clientId = "x".repeat(length);
    const { connack } = await MqttPeer.connect(broker, { clientId });
    t.is(connack.returnCode, 0);
    const clientIds = [...broker.broker.connections.values()].map((one) => one.clientId);
    t.true(clientIds.includes(clientId));
  }
  await broker.close();
});

test("[MQTT-3.1.4-3] a client identifier in use: the older connection is told 0x8E and closed", async (t) => {
  const broker = await openTestBroker();
  for (const version of [4, 5] as const) {
    const id = { protocolVersion: version, clientId: "twice" };
    const { peer: first } = await MqttPeer.connect(broker, id);
    await MqttPeer.connect(broker, id);
    await first.closed();
    if (version === 5) t.is((await first.take("disconnect")).reasonCode, 0x8e);
  }
  await broker.close();
});

test("[MQTT-3.1.4-5] CONNACK comes before anything else, also when messages wait", async (t) => {
  const broker = await openTestBroker();
  const id = { clientId: "c", clean: false } as const;
  const { peer } = await MqttPeer.connect(broker, id);
  await peer.subscribe("a", 1);
  peer.disconnect();
  const { peer: writer } = await MqttPeer.connect(broker);
  await writer.publish("a", "waits", 1);
  const again = new MqttPeer(broker);
  again.sendConnect(id);
  await until("a message came", () => again.publishes.length > 0);
  t.is(again.packets[0]?.cmd, "connack");
  await broker.close();
});

test("[MQTT-3.1.2-24] [MQTT-3.1.2-25] what is larger than the client takes is not sent, and the rest goes on", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, {
    ...V5,
    properties: { maximumPacketSize: 60 },
  });
  await peer.subscribe("a", 1);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await writer.publish("a", "x".repeat(100), 1);
  await writer.publish("a", "small", 1);
  t.is((await peer.message()).text, "small");
  await peer.settle();
  t.is(peer.publishes.length, 0);
  await broker.close();
});

test("[MQTT-3.2.2-15] a packet larger than the server takes ends the connection with 0x95", async (t) => {
  const broker = await openTestBroker();
  const { peer, connack } = await MqttPeer.connect(broker, V5, {
    settings: { maxPacketBytes: 200 },
  });
  t.is(connack.properties?.maximumPacketSize, 200);
  peer.send({
    cmd: "publish",
    topic: "a",
    payload: "x".repeat(300),
    qos: 0,
    dup: false,
    retain: false,
  });
  t.is((await peer.take("disconnect")).reasonCode, 0x95);
  await broker.close();
});

test("[MQTT-3.1.2-22] [MQTT-3.1.2-24 of 3.1.1] one and a half keep-alive intervals of silence end the connection", async (t) => {
  const broker = await openTestBroker();
  for (const version of [4, 5] as const) {
    const { peer } = await MqttPeer.connect(broker, { protocolVersion: version, keepalive: 10 });
    peer.wire.tick(broker.turn.uptime + 14_000);
    t.false(peer.wire.isOver);
    peer.wire.tick(broker.turn.uptime + 16_000);
    await peer.closed();
    if (version === 5) t.is((await peer.take("disconnect")).reasonCode, 0x8d);
  }
  await broker.close();
});

test("keep-alive 0 turns it off", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, { keepalive: 0 });
  peer.wire.tick(broker.turn.uptime + 3_600_000);
  t.false(peer.wire.isOver);
  await broker.close();
});

test("[MQTT-3.1.2-21] [MQTT-3.2.2-21] a keep-alive that is too long is cut, and MQTT 5 is told", async (t) => {
  const broker = await openTestBroker();
  const { connack, peer } = await MqttPeer.connect(
    broker,
    { ...V5, keepalive: 60_000 },
    { settings: { maxKeepAliveSeconds: 100 } },
  );
  t.is(connack.properties?.serverKeepAlive, 100);
  peer.wire.tick(broker.turn.uptime + 151_000);
  t.is((await peer.take("disconnect")).reasonCode, 0x8d);
  await broker.close();
});

test("a session expiry above the limit is cut, and MQTT 5 is told", async (t) => {
  const broker = await openTestBroker();
  const { connack } = await MqttPeer.connect(
    broker,
    { ...V5, clean: false, clientId: "c", properties: { sessionExpiryInterval: 1000 } },
    { settings: { maxSessionExpirySeconds: 10 } },
  );
  t.is(connack.properties?.sessionExpiryInterval, 10);
  await broker.close();
});

test("[MQTT-3.1.2-28] response information is given to who asks for it only", async (t) => {
  const broker = await openTestBroker();
  const { connack: asked } = await MqttPeer.connect(broker, {
    ...V5,
    clientId: "asks",
    properties: { requestResponseInformation: true },
  });
  t.is(asked.properties?.responseInformation, "reply/asks/");
  const { connack: silent } = await MqttPeer.connect(broker, V5);
  t.is(silent.properties?.responseInformation, undefined);
  await broker.close();
});

test("[MQTT-3.1.2-29] without request problem information there are no reason strings on SUBACK", async (t) => {
  const broker = await openTestBroker();
  for (const wants of [true, false]) {
    const { peer } = await MqttPeer.connect(broker, {
      ...V5,
      properties: { requestProblemInformation: wants },
    });
    peer.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "a/#/b", qos: 0 }] });
    const suback = await peer.take("suback");
    t.is(suback.properties?.reasonString !== undefined, wants);
  }
  await broker.close();
});

test("[MQTT-3.1.4-1] [MQTT-3.1.4-6] wrong credentials: the refusal has its code, and nothing after it is looked at", async (t) => {
  const broker = await openTestBroker();
  for (const [version, code] of [
    [4, 4],
    [5, 0x86],
  ] as const) {
    const peer = new MqttPeer(broker);
    peer.sendConnect({ protocolVersion: version, username: "u", password: Buffer.from("wrong") });
    peer.send({
      cmd: "publish",
      topic: "a",
      payload: "x",
      qos: 1,
      messageId: 1,
      dup: false,
      retain: false,
    });
    const connack = await peer.take("connack");
    t.is(connack.returnCode ?? connack.reasonCode, code);
    t.false(connack.sessionPresent);
    await peer.closed();
    t.deepEqual(peer.packets, []);
  }
  await broker.close();
});

test("packets sent right behind CONNECT wait for the credentials to be checked, and count", async (t) => {
  const broker = await openTestBroker();
  const peer = new MqttPeer(broker);
  peer.sendConnect({ username: "u", password: Buffer.from("p") });
  peer.send({ cmd: "subscribe", messageId: 9, subscriptions: [{ topic: "a", qos: 1 }] });
  peer.send({
    cmd: "publish",
    topic: "a",
    payload: "early",
    qos: 1,
    messageId: 1,
    dup: false,
    retain: false,
  });
  t.is((await peer.take("connack")).returnCode, 0);
  t.is((await peer.take("suback")).messageId, 9);
  t.is((await peer.message()).text, "early");
  await broker.close();
});

test("[MQTT-3.2.2-17] [MQTT-3.2.2-9] what the server supports is told where it differs from the default", async (t) => {
  const broker = await openTestBroker();
  const { connack } = await MqttPeer.connect(broker, V5);
  t.is(connack.properties?.receiveMaximum, 1024);
  t.is(connack.properties?.topicAliasMaximum, 64);
  t.is(connack.properties?.maximumQoS, undefined);
  t.is(connack.properties?.retainAvailable, undefined);
  t.is(connack.properties?.sharedSubscriptionAvailable, undefined);
  await broker.close();
});

test("[MQTT-3.12.4-1] PINGREQ is answered with PINGRESP", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker);
  peer.send({ cmd: "pingreq" });
  t.is((await peer.take("pingresp")).cmd, "pingresp");
  await broker.close();
});

test("[MQTT-3.14.4-2] after DISCONNECT the server closes and answers nothing", async (t) => {
  const broker = await openTestBroker();
  for (const version of [4, 5] as const) {
    const { peer } = await MqttPeer.connect(broker, { protocolVersion: version });
    peer.disconnect();
    await peer.closed();
    t.deepEqual(peer.packets, []);
  }
  await broker.close();
});

test("[MQTT-4.13.1-1] [MQTT-4.13.2-1] a malformed packet ends the connection with 0x81", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  peer.sendBytes(Buffer.from([0xc0, 0x80, 0x00]));
  t.is((await peer.take("disconnect")).reasonCode, 0x81);
  await peer.closed();
  await broker.close();
});

test("a connection that never says CONNECT is closed in time", async (t) => {
  const broker = await openTestBroker();
  const peer = new MqttPeer(broker, { settings: { connectTimeoutMs: 1000 } });
  peer.wire.tick(broker.turn.uptime + 500);
  t.false(peer.wire.isOver);
  peer.wire.tick(broker.turn.uptime + 1500);
  t.true(peer.wire.isOver);
  t.deepEqual(peer.packets, []);
  await broker.close();
});

test("a session belongs to the user who made it", async (t) => {
  const broker = await openTestBroker();
  const id = { clientId: "mine", clean: false } as const;
  const { peer } = await MqttPeer.connect(broker, {
    ...id,
    username: "a",
    password: Buffer.from("p"),
  });
  peer.disconnect();
  const other = new MqttPeer(broker);
  other.sendConnect({ ...id, username: "b", password: Buffer.from("p") });
  t.is((await other.take("connack")).returnCode, 5);
  await broker.close();
});

test("namespaces are apart: the same client identifier and topic in two of them do not meet", async (t) => {
  const broker = await openTestBroker();
  const as = (user: string): object => ({
    clientId: "same",
    username: user,
    password: Buffer.from("p"),
  });
  const { peer: one } = await MqttPeer.connect(broker, as("one:u"));
  const { peer: two } = await MqttPeer.connect(broker, as("two:u"));
  t.false(one.wire.isOver);
  await one.subscribe("a", 1);
  await two.publish("a", "for two", 1);
  await one.publish("a", "for one", 1);
  t.is((await one.message()).text, "for one");
  t.is(one.publishes.length, 0);
  await broker.close();
});

test("when the broker stops, MQTT 5 clients are told 0x8B", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  peer.wire.shutdown();
  t.is((await peer.take("disconnect")).reasonCode, 0x8b);
  await broker.close();
});
