/** Clauses that hold for whole conversations, and those about what a server never sends. */
import test from "ava";
import type { Packet } from "mqtt-packet";
import { CrashingBroker } from "../../support/crashing-broker.ts";
import { MqttPeer, type PeerOptions, V5 } from "../../support/mqtt-peer.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

const KEPT = { ...V5, clean: false, properties: { sessionExpiryInterval: 600 } } as const;

const publish = (messageId: number, qos: 1 | 2, more: object = {}): Packet =>
  ({
    cmd: "publish",
    topic: "t",
    payload: "x",
    qos,
    messageId,
    dup: false,
    retain: false,
    ...more,
  }) as Packet;
const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
};
/** A packet by hand: first byte, then everything behind the remaining length. */
const packet = (first: number, ...parts: Array<Buffer | number[]>): Buffer => {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  const length: number[] = [];
  for (let rest = body.length; ; rest >>= 7) {
    length.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest <= 127) break;
  }
  return Buffer.concat([Buffer.from([first, ...length]), body]);
};
const connect5 = (flags: number, ...payload: Buffer[]): Buffer =>
  packet(0x10, text("MQTT"), [5, flags, 0, 0, 0], ...payload);

async function connected(
  broker: TestBroker,
  connect: object = V5,
  options: PeerOptions = {},
): Promise<MqttPeer> {
  return (await MqttPeer.connect(broker, connect, options)).peer;
}

/** What a peer that sends these bytes gets to hear before it is cut off. */
async function answersTo(broker: TestBroker, bytes: Buffer, isOpen: boolean): Promise<Packet[]> {
  const peer = isOpen ? await connected(broker) : new MqttPeer(broker);
  if (!isOpen) peer.setVersion(5);
  peer.sendBytes(bytes);
  await peer.closed();
  return peer.packets;
}

test("[MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1] reserved flags that are wrong are malformed", async (t) => {
  const broker = await openTestBroker();
  const wrong: Array<[string, Buffer]> = [
    ["PUBACK", packet(0x41, [0, 1])],
    ["PUBREL", packet(0x60, [0, 1])],
    ["PUBREL", packet(0x63, [0, 1])],
    ["SUBSCRIBE", packet(0x80, [0, 1, 0], text("a"), [0])],
    ["UNSUBSCRIBE", packet(0xa0, [0, 1, 0], text("a"))],
    ["PINGREQ", packet(0xc1)],
    ["DISCONNECT", packet(0xe1)],
    ["AUTH", packet(0xf1)],
  ];
  for (const [name, bytes] of wrong) {
    const [last] = (await answersTo(broker, bytes, true)).slice(-1);
    t.is(last?.cmd, "disconnect", name);
    t.is((last as { reasonCode?: number }).reasonCode, 0x81, name);
  }
  await broker.close();
});

test("[MQTT-1.5.5-1] a length in more bytes than it needs is malformed", async (t) => {
  const broker = await openTestBroker();
  const bytes = Buffer.from([0xc0, 0x80, 0x00]);
  const [last] = (await answersTo(broker, bytes, true)).slice(-1);
  t.is((last as { reasonCode?: number }).reasonCode, 0x81);
  await broker.close();
});

test("[MQTT-1.5.7-1] [MQTT-3.3.2-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19] [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-2] text that is no UTF-8, or holds U+0000, is malformed wherever it stands", async (t) => {
  const broker = await openTestBroker();
  for (const bad of [Buffer.from([0xff]), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from([0])]) {
    const string = Buffer.concat([Buffer.from([0, bad.length]), bad]);
    const property = (id: number, ...parts: Buffer[]): Buffer => {
      const bytes = Buffer.concat([Buffer.from([id]), ...parts]);
      return Buffer.concat([Buffer.from([bytes.length]), bytes]);
    };
    const places: Array<[string, Buffer]> = [
      ["topic name", packet(0x32, string, [0, 1, 0])],
      ["user property name", packet(0x32, text("t"), [0, 1], property(0x26, string, text("v")))],
      ["user property value", packet(0x32, text("t"), [0, 1], property(0x26, text("n"), string))],
      ["response topic", packet(0x32, text("t"), [0, 1], property(0x08, string))],
      ["content type", packet(0x32, text("t"), [0, 1], property(0x03, string))],
      ["filter of SUBSCRIBE", packet(0x82, [0, 1, 0], string, [0])],
      ["filter of UNSUBSCRIBE", packet(0xa2, [0, 1, 0], string)],
    ];
    for (const [place, bytes] of places) {
      const answers = await answersTo(broker, bytes, true);
      const last = answers.at(-1) as { cmd: string; reasonCode?: number };
      t.is(last.cmd, "disconnect", place);
      t.true(
        [0x81, 0x82, 0x8f, 0x90].includes(last.reasonCode ?? 0),
        `${place}: ${last.reasonCode}`,
      );
    }
  }
  await broker.close();
});

test("[MQTT-2.2.1-2] a QoS 0 message has no packet identifier, in and out", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker);
  await peer.subscribe("t", 2);
  peer.sendBytes(packet(0x30, text("t"), [0], Buffer.from("payload")));
  const got = await peer.take("publish");
  t.is(got.payload.toString(), "payload");
  t.is(got.messageId, undefined);
  await broker.close();
});

test("[MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.3.4-1] every packet is answered by its own kind, under its identifier", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker);
  for (const messageId of [1, 77, 65_535]) {
    peer.send(publish(messageId, 1));
    t.is((await peer.take("puback")).messageId, messageId);
    peer.send(publish(messageId, 2));
    t.is((await peer.take("pubrec")).messageId, messageId);
    peer.send({ cmd: "pubrel", messageId } as Packet);
    t.is((await peer.take("pubcomp")).messageId, messageId);
    peer.send({ cmd: "subscribe", messageId, subscriptions: [{ topic: "t", qos: 1 }] } as Packet);
    t.is((await peer.take("suback")).messageId, messageId);
    peer.send({ cmd: "unsubscribe", messageId, unsubscriptions: ["t"] } as Packet);
    t.is((await peer.take("unsuback")).messageId, messageId);
  }
  await broker.close();
});

test("[MQTT-2.2.2-1] properties that are not there have length zero, in packets of the server as well", async (t) => {
  const broker = await openTestBroker();
  const out: Buffer[] = [];
  const peer = new MqttPeer(broker, {});
  peer.setVersion(5);
  peer.wire.send(connect5(2, text("plain")));
  await peer.take("connack");
  peer.wire.send(packet(0x82, [0, 9, 0], text("p"), [1]));
  const suback = await peer.take("suback");
  t.is(suback.messageId, 9);
  peer.wire.send(packet(0x32, text("p"), [0, 5, 0], Buffer.from("body")));
  const got = await peer.take("publish");
  t.is(got.payload.toString(), "body");
  t.deepEqual(got.properties ?? {}, {});
  t.is(out.length, 0);
  await broker.close();
});

test("[MQTT-3.1.2-7] [MQTT-4.5.0-1] the will and messages that wait belong to the session, not to its connection", async (t) => {
  const broker = await openTestBroker();
  const will = {
    topic: "w",
    payload: Buffer.from("gone"),
    qos: 1 as const,
    retain: false,
    properties: { willDelayInterval: 600 },
  };
  const peer = await connected(broker, { ...KEPT, clientId: "c", will });
  await peer.subscribe("t", 1);
  peer.drop();
  await peer.closed();
  const watcher = await connected(broker);
  await watcher.subscribe("w", 1);
  await watcher.publish("t", "waits", 1);
  const again = await connected(broker, { ...KEPT, clientId: "c" });
  t.is((await again.message()).text, "waits");
  await watcher.settle();
  t.is(watcher.publishes.length, 0);
  await broker.close();
});

test("[MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-1] [MQTT-3.1.3-3] CONNECT holds what its flags say, in their order, and nothing else", async (t) => {
  const broker = await openTestBroker();
  const wrong: Array<[string, Buffer]> = [
    ["no client identifier", connect5(2)],
    ["a user name that no flag tells of", connect5(2, text("c"), text("user"))],
    ["no user name although told", connect5(0x82, text("c"))],
    ["a password that no flag tells of", connect5(0x82, text("c"), text("user"), text("pass"))],
    ["no password although told", connect5(0xc2, text("c"), text("user"))],
    ["no will although told", connect5(0x06, text("c"))],
    ["a will without payload", connect5(0x06, text("c"), Buffer.from([0]), text("w"))],
  ];
  for (const [what, bytes] of wrong) {
    const answers = await answersTo(broker, bytes, false);
    t.is((answers[0] as { reasonCode?: number }).reasonCode, 0x81, what);
    t.is(answers.length, 1);
  }
  const fine = new MqttPeer(broker);
  fine.setVersion(5);
  fine.sendBytes(
    connect5(0xc6, text("c"), Buffer.from([0]), text("w"), text("x"), text("user"), text("pass")),
  );
  t.is((await fine.take("connack")).reasonCode, 0);
  await broker.close();
});

test("3.1.1 [MQTT-3.1.2-22]: a password without a user name is refused", async (t) => {
  const broker = await openTestBroker();
  const peer = new MqttPeer(broker);
  peer.sendBytes(packet(0x10, text("MQTT"), [4, 0x42, 0, 0], text("c"), text("pass")));
  await peer.closed();
  t.deepEqual(
    peer.packets
      .filter(({ cmd }) => cmd === "connack")
      .map((one) => (one as { returnCode?: number }).returnCode)
      .filter((code) => code === 0),
    [],
  );
  await broker.close();
});

test("[MQTT-3.1.3-2] [MQTT-3.1.3-4] sessions are told apart by their client identifiers, byte by byte; one that is no UTF-8 is refused", async (t) => {
  const broker = await openTestBroker();
  for (const clientId of ["\u00e9", "e\u0301", "E"]) {
    const { peer, connack } = await MqttPeer.connect(broker, { ...KEPT, clientId });
    t.false(connack.sessionPresent, clientId);
    peer.disconnect();
    await peer.closed();
  }
  for (const clientId of ["\u00e9", "e\u0301", "E"]) {
    const { connack } = await MqttPeer.connect(broker, { ...KEPT, clientId });
    t.true(connack.sessionPresent, clientId);
  }
  const [answer] = await answersTo(broker, connect5(2, Buffer.from([0, 1, 0xff])), false);
  t.is((answer as { reasonCode?: number }).reasonCode, 0x81);
  await broker.close();
});

test("[MQTT-3.1.3-11] [MQTT-3.1.3-12] will topic and user name are UTF-8", async (t) => {
  const broker = await openTestBroker();
  const bad = Buffer.from([0, 1, 0xff]);
  for (const bytes of [
    connect5(0x06, text("c"), Buffer.from([0]), bad, text("x")),
    connect5(0x82, text("c"), bad),
  ]) {
    const [answer] = await answersTo(broker, bytes, false);
    t.true([0x81, 0x90].includes((answer as { reasonCode?: number }).reasonCode ?? 0));
  }
  await broker.close();
});

test("[MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] a refusal says session present 0 and its reason, and is the last word", async (t) => {
  const broker = await openTestBroker();
  const first = await connected(broker, {
    ...KEPT,
    clientId: "c",
    username: "u",
    password: Buffer.from("p"),
  });
  first.drop();
  const peer = new MqttPeer(broker);
  peer.sendConnect({ ...KEPT, clientId: "c", username: "u", password: Buffer.from("wrong") });
  peer.send({ cmd: "pingreq" });
  const connack = await peer.take("connack");
  t.is(connack.reasonCode, 0x86);
  t.false(connack.sessionPresent);
  await peer.closed();
  t.is(peer.packets.length, 0);
  const old = new MqttPeer(broker);
  old.sendConnect({ clean: false, clientId: "c", username: "u", password: Buffer.from("wrong") });
  const answer = await old.take("connack");
  t.is(answer.returnCode, 4);
  t.false(answer.sessionPresent);
  await old.closed();
  await broker.close();
});

test("[MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.14.0-1] CONNACK comes first, and once", async (t) => {
  const broker = await openTestBroker();
  const before = await connected(broker, { ...KEPT, clientId: "c" });
  await before.subscribe("t", 1);
  before.drop();
  const writer = await connected(broker);
  for (let i = 0; i < 3; i++) await writer.publish("t", String(i), 1);
  const peer = new MqttPeer(broker);
  peer.sendConnect({ ...KEPT, clientId: "c" });
  peer.send({ cmd: "pingreq" });
  peer.send({ cmd: "subscribe", messageId: 3, subscriptions: [{ topic: "u", qos: 1 }] } as Packet);
  await until("all is there", () => peer.packets.length >= 6);
  t.is(peer.packets[0]!.cmd, "connack");
  t.is(peer.packets.filter(({ cmd }) => cmd === "connack").length, 1);
  const stranger = new MqttPeer(broker);
  stranger.setVersion(5);
  stranger.send({ cmd: "pingreq" });
  await stranger.closed();
  t.is(stranger.packets.length, 0, "no DISCONNECT before CONNACK");
  await broker.close();
});

test("[MQTT-3.2.2-1] the reserved bits of CONNACK's flags are zero", async (t) => {
  const broker = await openTestBroker();
  const { connack } = await MqttPeer.connect(broker, { ...KEPT, clientId: "c" });
  t.false(connack.sessionPresent);
  const { connack: second } = await MqttPeer.connect(broker, { ...KEPT, clientId: "c" });
  // The parser of these tests refuses other bits.
  t.true(second.sessionPresent);
  await broker.close();
});

test("[MQTT-3.2.2-16] clients without an identifier get different ones, usable like any other", async (t) => {
  const broker = await openTestBroker();
  const assigned = new Set<string>();
  for (let i = 0; i < 5; i++) {
    const { connack } = await MqttPeer.connect(broker, { ...V5, clientId: "" });
    assigned.add(connack.properties!.assignedClientIdentifier!);
  }
  t.is(assigned.size, 5);
  await broker.close();
});

test("[MQTT-3.2.2-18] where no topic alias is allowed, one is an error", async (t) => {
  const broker = await openTestBroker();
  const { peer, connack } = await MqttPeer.connect(broker, V5, {
    settings: { topicAliasMaximum: 0 },
  });
  t.is(connack.properties?.topicAliasMaximum ?? 0, 0);
  peer.send(publish(1, 1, { properties: { topicAlias: 1 } }));
  t.is((await peer.take("disconnect")).reasonCode, 0x94);
  await broker.close();
});

test("[MQTT-3.1.2-24] [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.14.2-3] what explains is left out where the client takes no packet of that size", async (t) => {
  const broker = await openTestBroker();
  const small = { ...V5, properties: { maximumPacketSize: 20 } };
  const peer = await connected(broker, small);
  peer.send({
    cmd: "connect",
    protocolId: "MQTT",
    protocolVersion: 5,
    clientId: "x",
    clean: true,
  } as Packet);
  await peer.closed();
  t.is((peer.packets.at(-1) as { reasonCode?: number }).reasonCode, 0x82);
  for (const one of peer.packets) t.true(peer.encode(one).length <= 20, one.cmd);
  await broker.close();
});

test("[MQTT-3.2.2-22] without Server Keep Alive the client's own holds", async (t) => {
  const broker = await openTestBroker();
  const { connack } = await MqttPeer.connect(broker, { ...V5, keepalive: 60 });
  t.is(connack.properties?.serverKeepAlive, undefined);
  await broker.close();
});

test("[MQTT-3.3.1-3] DUP of what comes in says nothing about DUP of what goes out", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker);
  await peer.subscribe("t", 2);
  for (const [messageId, qos] of [
    [1, 1],
    [2, 2],
  ] as const) {
    peer.send(publish(messageId, qos, { dup: true }));
    t.false((await peer.message()).dup);
  }
  await broker.close();
});

test("[MQTT-3.3.2-3] [MQTT-3.3.2-11] the name that is sent matches the filter, and aliases stay within what the client takes", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker, { ...V5, properties: { topicAliasMaximum: 2 } });
  await peer.subscribe("a/+/c", 1);
  const writer = await connected(broker);
  for (let i = 0; i < 30; i++) await writer.publish(`a/${i % 5}/c`, String(i), 1);
  await until("all are there", () => peer.publishes.length === 30);
  const names = new Map<number, string>();
  for (const [i, { topic, properties }] of peer.publishes.entries()) {
    const alias = properties?.topicAlias ?? 0;
    t.true(alias <= 2);
    if (topic !== "") names.set(alias, topic);
    t.is(topic === "" ? names.get(alias) : topic, `a/${i % 5}/c`);
  }
  await broker.close();
});

test("[MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3] a full window holds back messages of QoS 1 and 2 and nothing else", async (t) => {
  const broker = await openTestBroker();
  const connect = { ...V5, properties: { receiveMaximum: 2 } };
  const peer = await connected(broker, connect, { autoAck: false });
  await peer.subscribe("t", 2);
  const writer = await connected(broker);
  for (let i = 0; i < 5; i++) await writer.publish("t", String(i), (1 + (i % 2)) as 1 | 2);
  await until("the window is full", () => peer.publishes.length === 2);
  await peer.settle();
  t.is(peer.publishes.length, 2);
  peer.send({ cmd: "subscribe", messageId: 9, subscriptions: [{ topic: "u", qos: 0 }] } as Packet);
  await peer.take("suback");
  peer.send(publish(7, 1, { topic: "elsewhere" }));
  await peer.take("puback");
  await writer.publish("u", "QoS 0", 0);
  await until("QoS 0 comes", () => peer.publishes.some(({ qos }) => qos === 0));
  peer.send({ cmd: "puback", messageId: peer.publishes[0]!.messageId } as Packet);
  await until("one more", () => peer.publishes.filter(({ qos }) => qos > 0).length === 3);
  await broker.close();
});

test("[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.15.2-1] reason codes of other packets are errors", async (t) => {
  const broker = await openTestBroker();
  for (const [first, code] of [
    [0x40, 0x01],
    [0x50, 0x92],
    [0x62, 0x10],
    [0x70, 0x80],
    [0xf0, 0x01],
  ] as const) {
    const bytes = first === 0xf0 ? packet(first, [code, 0]) : packet(first, [0, 1, code, 0]);
    const last = (await answersTo(broker, bytes, true)).at(-1) as { reasonCode?: number };
    t.true([0x81, 0x82].includes(last.reasonCode ?? 0), `0x${first.toString(16)}`);
  }
  await broker.close();
});

test("[MQTT-3.8.4-4] [MQTT-3.10.4-3] a subscription that is replaced or taken back loses no message on its way", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker, { ...KEPT, clientId: "c" }, { autoAck: false });
  await peer.subscribe("t", 2);
  const writer = await connected(broker);
  await writer.publish("t", "kept", 1, { retain: true });
  await until("it is there", () => peer.publishes.length === 1);
  await peer.subscribe("t", 1, { rh: 0 });
  await until("sent again as retained", () => peer.publishes.length === 2);
  t.true(peer.publishes[1]!.retain);
  await writer.publish("t", "twice", 2);
  await until("the next one", () => peer.publishes.length === 3);
  peer.send({ cmd: "unsubscribe", messageId: 4, unsubscriptions: ["t"] } as Packet);
  await peer.take("unsuback");
  peer.drop();
  const again = await connected(broker, { ...KEPT, clientId: "c" });
  await until("both come again", () => again.publishes.length >= 2);
  t.true(again.publishes.some(({ payload }) => payload.toString() === "twice"));
  await broker.close();
});

test("[MQTT-3.8.4-5] [MQTT-3.8.4-7] [MQTT-3.9.3-2] [MQTT-3.10.4-6] [MQTT-3.11.3-2] several filters in one packet are as many packets, answered by one", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker);
  const topics = ["a", "b/#", "bad/#/x", "c/+", "$share/g/d"];
  peer.send({
    cmd: "subscribe",
    messageId: 5,
    subscriptions: topics.map((topic, i) => ({ topic, qos: i % 3 })),
  } as Packet);
  t.deepEqual((await peer.take("suback")).granted, [0, 1, 0x8f, 0, 1]);
  peer.send({ cmd: "unsubscribe", messageId: 6, unsubscriptions: ["a", "never", "b/#"] } as Packet);
  const unsuback = await peer.take("unsuback");
  t.deepEqual(unsuback.granted as unknown, [0, 0x11, 0]);
  await broker.close();
});

test("[MQTT-3.14.2-2] [MQTT-3.14.4-1] DISCONNECT of the server has no session expiry, and nothing follows it", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker, { ...KEPT, clientId: "c" });
  await peer.subscribe("t", 1);
  const { peer: other } = await MqttPeer.connect(broker, { ...KEPT, clientId: "c" });
  await other.publish("t", "for the new one", 1);
  await peer.closed();
  const last = peer.packets.at(-1) as { cmd: string; reasonCode?: number; properties?: object };
  t.is(last.cmd, "disconnect");
  t.is(last.reasonCode, 0x8e);
  t.false("sessionExpiryInterval" in (last.properties ?? {}));
  await broker.close();
});

test("[MQTT-4.1.0-1] a session lives at least as long as its connection", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker, { ...V5, clientId: "short", clean: false });
  await peer.subscribe("t", 1);
  const writer = await connected(broker);
  await writer.publish("t", "still here", 1);
  t.is((await peer.message()).text, "still here");
  await broker.close();
});

test("[MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2] new messages go out with DUP 0 and an identifier that is free", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker, V5, { autoAck: false });
  await peer.subscribe("t", 2);
  const writer = await connected(broker);
  for (let i = 0; i < 30; i++) await writer.publish("t", String(i), (i % 3) as 0 | 1 | 2);
  await until("all are there", () => peer.publishes.length === 30);
  t.true(peer.publishes.every(({ dup }) => !dup));
  const ids = peer.publishes.filter(({ qos }) => qos > 0).map(({ messageId }) => messageId);
  t.is(new Set(ids).size, 20);
  await broker.close();
});

test("[MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-6] [MQTT-4.4.0-2] open is what has no PUBACK or PUBREC yet; the rest is never sent again", async (t) => {
  let broker = await CrashingBroker.open();
  const connect = { ...KEPT, clientId: "c" };
  const peer = await connected(broker as unknown as TestBroker, connect, { autoAck: false });
  await peer.subscribe("t", 2);
  const writer = await connected(broker as unknown as TestBroker);
  for (const [i, qos] of [1, 1, 1, 2, 2, 2].entries())
    await writer.publish("t", String(i), qos as 1 | 2);
  await until("all are there", () => peer.publishes.length === 6);
  const [acked, refused, , received, denied] = peer.publishes.map(({ messageId }) => messageId!);
  peer.send({ cmd: "puback", messageId: acked } as Packet);
  peer.send({ cmd: "puback", messageId: refused, reasonCode: 0x80 } as Packet);
  peer.send({ cmd: "pubrec", messageId: received } as Packet);
  peer.send({ cmd: "pubrec", messageId: denied, reasonCode: 0x80 } as Packet);
  t.is((await peer.take("pubrel")).messageId, received);
  peer.drop();
  await peer.closed();
  for (const how of ["none", "crash"] as const) {
    if (how === "crash") broker = await broker.crash();
    const again = await connected(broker as unknown as TestBroker, connect, { autoAck: false });
    t.is((await again.take("pubrel")).messageId, received);
    await until("the open ones", () => again.publishes.length === 2);
    await again.settle();
    t.deepEqual(
      again.publishes.map(({ payload }) => payload.toString()),
      ["2", "5"],
    );
    again.drop();
    await again.closed();
  }
  await broker.broker.close();
});

test("[MQTT-4.3.2-5] after PUBACK the same identifier is a new message, whatever DUP says", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker);
  await peer.subscribe("t", 1);
  for (const dup of [false, true, true]) {
    peer.send(publish(3, 1, { dup }));
    await peer.take("puback");
    t.is((await peer.message()).text, "x");
  }
  await broker.close();
});

test("[MQTT-4.3.3-7] [MQTT-4.3.3-13] a message that was sent does not expire, its exchange goes on to the end", async (t) => {
  const broker = await openTestBroker();
  const connect = { ...KEPT, clientId: "c" };
  const peer = await connected(broker, connect, { autoAck: false });
  await peer.subscribe("t", 2);
  const writer = await connected(broker);
  await writer.publish("t", "short-lived", 2, { properties: { messageExpiryInterval: 1 } });
  await until("it is there", () => peer.publishes.length === 1);
  const { messageId } = peer.publishes[0]!;
  const sentAt = Date.now();
  await until("its time is over", () => Date.now() - sentAt > 1200);
  peer.send({ cmd: "pubrec", messageId } as Packet);
  t.is((await peer.take("pubrel")).messageId, messageId);
  peer.send({ cmd: "pubcomp", messageId } as Packet);
  await peer.settle();
  t.is(peer.packets.filter(({ cmd }) => cmd === "pubrel").length, 0);
  await broker.close();
});

test("[MQTT-4.3.3-9] after a PUBREC that refused, the same identifier is a new message", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker);
  await peer.subscribe("t", 2);
  const bad = { payload: Buffer.from([0xff]), properties: { payloadFormatIndicator: true } };
  peer.send(publish(3, 2, bad));
  t.is((await peer.take("pubrec")).reasonCode, 0x99);
  peer.send(publish(3, 2));
  t.is((await peer.take("pubrec")).reasonCode ?? 0, 0);
  peer.send({ cmd: "pubrel", messageId: 3 } as Packet);
  await peer.take("pubcomp");
  t.is((await peer.message()).text, "x");
  await broker.close();
});

test("[MQTT-4.7.0-1] [MQTT-4.7.3-3] wildcards and lengths in topic names: refused and taken as the standard says", async (t) => {
  const broker = await openTestBroker();
  for (const topic of ["a/#", "+/a", "#"]) {
    const answers = await answersTo(broker, packet(0x32, text(topic), [0, 1, 0]), true);
    t.is((answers.at(-1) as { reasonCode?: number }).reasonCode, 0x90, topic);
  }
  const peer = await connected(broker);
  const longest = `a/${"x".repeat(65_533)}`;
  t.deepEqual(await peer.subscribe(longest, 0), [0]);
  peer.send({
    cmd: "publish",
    topic: longest,
    payload: "far",
    qos: 0,
    dup: false,
    retain: false,
  } as Packet);
  t.is((await peer.message()).text, "far");
  await broker.close();
});

test("[MQTT-4.8.2-3] a member of a share gets messages at the QoS it was granted", async (t) => {
  const broker = await openTestBroker();
  const peer = await connected(broker);
  await peer.subscribe("$share/g/t", 1);
  const writer = await connected(broker);
  for (const qos of [1, 2] as const) {
    await writer.publish("t", "x", qos);
    t.is((await peer.message()).qos, 1);
  }
  await broker.close();
});

test("[MQTT-4.12.0-6] [MQTT-4.12.0-7] without an authentication method there is no AUTH, from either side", async (t) => {
  const broker = await openTestBroker();
  const { peer, connack } = await MqttPeer.connect(broker, V5);
  t.is(connack.properties?.authenticationMethod, undefined);
  peer.sendBytes(packet(0xf0, [0x19, 0]));
  t.is((await peer.take("disconnect")).reasonCode, 0x82);
  t.false(peer.packets.some(({ cmd }) => cmd === "auth"));
  await broker.close();
});
