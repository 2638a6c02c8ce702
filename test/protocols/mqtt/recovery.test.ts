/** What survives when the broker is cut off at any moment, and what comes back only once. */
import test from "ava";
import type { Packet } from "mqtt-packet";
import { CrashingBroker } from "../../support/crashing-broker.ts";
import { kept, MqttPeer, V5 } from "../../support/mqtt-peer.ts";
import { until } from "../../support/wait.ts";

const send = (peer: MqttPeer, cmd: string, messageId: number | undefined): void =>
  peer.send({ cmd, messageId } as Packet);

for (const how of ["crash", "restart"] as const) {
  test(`a session with its subscriptions and waiting messages survives a ${how}`, async (t) => {
    let broker = await CrashingBroker.open();
    const { peer } = await MqttPeer.connect(broker, kept("c"));
    await peer.subscribe("a/#", 1);
    await peer.subscribe("b/+", 2, { nl: true });
    peer.send({ cmd: "unsubscribe", messageId: 2, unsubscriptions: ["b/+"] });
    await peer.take("unsuback");
    const { peer: writer } = await MqttPeer.connect(broker, V5);
    await writer.publish("a/1", "taken", 1);
    await peer.message();
    await peer.settle();
    peer.drop();
    for (let i = 0; i < 5; i++) await writer.publish("a/2", String(i), 1);
    await writer.publish("b/1", "not wanted any more", 1);
    broker = await broker[how]();
    const { peer: again, connack } = await MqttPeer.connect(broker, kept("c"));
    t.true(connack.sessionPresent);
    for (let i = 0; i < 5; i++) t.is((await again.message()).text, String(i));
    const { peer: later } = await MqttPeer.connect(broker, V5);
    await later.publish("a/3", "new", 2);
    t.is((await again.message()).text, "new");
    await again.settle();
    t.is(again.publishes.length, 0);
    await broker.broker.close();
  });
}

test("retained messages survive, and so does taking one away", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer } = await MqttPeer.connect(broker, V5);
  for (const topic of ["r/1", "r/2", "r/3"])
    await peer.publish(topic, `old ${topic}`, 1, { retain: true });
  await peer.publish("r/1", "new", 2, { retain: true });
  await peer.publish("r/2", "", 1, { retain: true });
  await peer.publish("r/4", "never expires", 1, { retain: true, properties: { contentType: "x" } });
  await peer.settle();
  broker = await broker.crash();
  const { peer: reader } = await MqttPeer.connect(broker, V5);
  await reader.subscribe("r/#", 1);
  const got: string[] = [];
  for (let i = 0; i < 3; i++) {
    const { topic, text } = await reader.message();
    got.push(`${topic} ${text}`);
  }
  t.deepEqual(got.sort(), ["r/1 new", "r/3 old r/3", "r/4 never expires"]);
  await reader.settle();
  t.is(reader.publishes.length, 0);
  t.is(broker.broker.sessions.stats.retained, 3);
  await broker.broker.close();
});

test("[MQTT-4.3.3-8] a message of QoS 2 is taken once, although the broker crashes before its exchange is over", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer: reader } = await MqttPeer.connect(broker, kept("reader"));
  await reader.subscribe("a", 2);
  const { peer: writer } = await MqttPeer.connect(broker, kept("writer"));
  writer.send({
    cmd: "publish",
    topic: "a",
    payload: "once",
    qos: 2,
    messageId: 77,
    dup: false,
    retain: false,
  });
  await writer.take("pubrec");
  broker = await broker.crash();
  const { peer: again } = await MqttPeer.connect(broker, kept("writer"));
  again.send({
    cmd: "publish",
    topic: "a",
    payload: "once",
    qos: 2,
    messageId: 77,
    dup: true,
    retain: false,
  });
  await again.take("pubrec");
  send(again, "pubrel", 77);
  await again.take("pubcomp");
  broker = await broker.crash();
  const { peer: third } = await MqttPeer.connect(broker, kept("writer"));
  send(third, "pubrel", 77);
  t.is((await third.take("pubcomp")).reasonCode ?? 0, 0, "no error: PUBCOMP may have been lost");
  t.is([...broker.broker.sessions.sessions()][1]?.receivedCount, 0);
  const { peer: back } = await MqttPeer.connect(broker, kept("reader"));
  t.is((await back.message()).text, "once");
  await back.settle();
  t.is(back.publishes.length, 0);
  await broker.broker.close();
});

test("[MQTT-4.3.3-5] towards a client an exchange of QoS 2 goes on where it was, under the same identifiers", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer } = await MqttPeer.connect(broker, kept("c"), { autoAck: false });
  await peer.subscribe("a", 2);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  for (const text of ["received", "sent", "waiting"]) await writer.publish("a", text, 2);
  const first = await peer.take("publish");
  const second = await peer.take("publish");
  send(peer, "pubrec", first.messageId);
  t.is((await peer.take("pubrel")).messageId, first.messageId);
  broker = await broker.crash();
  const { peer: again } = await MqttPeer.connect(broker, kept("c"), { autoAck: false });
  t.is((await again.take("pubrel")).messageId, first.messageId);
  const resent = await again.take("publish");
  t.is(resent.payload.toString(), "sent");
  t.is(resent.messageId, second.messageId);
  send(again, "pubcomp", first.messageId);
  t.is((await again.take("publish")).payload.toString(), "waiting");
  await again.settle();
  t.deepEqual(again.packets, []);
  await broker.broker.close();
});

test("a share and what waits in it survive", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer } = await MqttPeer.connect(broker, kept("c"));
  await peer.subscribe("$share/g/job/#", 1);
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  await writer.publish("job/1", "done", 1);
  await peer.message();
  await peer.settle();
  peer.drop();
  await writer.publish("job/2", "waits", 1);
  broker = await broker.crash();
  const { peer: other } = await MqttPeer.connect(broker, V5);
  await other.subscribe("$share/g/job/#", 1);
  t.is((await other.message()).text, "waits");
  const { peer: back, connack } = await MqttPeer.connect(broker, kept("c"));
  t.true(connack.sessionPresent);
  other.disconnect();
  await other.closed();
  const { peer: later } = await MqttPeer.connect(broker, V5);
  await later.publish("job/3", "for the one who came back", 1);
  t.is((await back.message()).text, "for the one who came back");
  await broker.broker.close();
});

test("the will of a client that does not come back after a crash is published once", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer: reader } = await MqttPeer.connect(broker, kept("reader"));
  await reader.subscribe("will/#", 1);
  const will = (name: string, delay: number): object => ({
    will: {
      topic: `will/${name}`,
      payload: Buffer.from(name),
      qos: 1,
      retain: true,
      properties: { willDelayInterval: delay, contentType: "text/plain" },
    },
  });
  await MqttPeer.connect(broker, kept("gone", will("gone", 0)));
  await MqttPeer.connect(broker, kept("back", will("back", 5)));
  const { peer: polite } = await MqttPeer.connect(broker, kept("polite", will("polite", 0)));
  polite.disconnect();
  await polite.closed();
  await reader.settle();
  broker = await broker.crash();
  const { peer: back } = await MqttPeer.connect(broker, kept("back"));
  const { peer: again } = await MqttPeer.connect(broker, kept("reader"));
  const packet = await again.take("publish");
  t.is(packet.topic, "will/gone");
  t.is(packet.properties?.contentType, "text/plain");
  await again.settle();
  t.is(again.publishes.length, 0);
  back.disconnect();
  broker = await broker.crash();
  const { peer: third } = await MqttPeer.connect(broker, kept("reader"));
  await third.settle();
  t.is(third.publishes.length, 0, "not a second time");
  await third.subscribe("will/#", 1);
  t.is((await third.message()).text, "gone", "retained, as it was asked to be");
  await broker.broker.close();
});

test("a session that ended does not come back", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer } = await MqttPeer.connect(broker, kept("c"));
  await peer.subscribe("a", 1);
  peer.disconnect();
  const { peer: clean } = await MqttPeer.connect(broker, { ...V5, clientId: "c", clean: true });
  await clean.settle();
  broker = await broker.crash();
  const { connack } = await MqttPeer.connect(broker, kept("c"));
  t.false(connack.sessionPresent);
  t.deepEqual([...broker.broker.registry.lightNames()], []);
  await broker.broker.close();
});

test("expiry goes on while the broker is down", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer } = await MqttPeer.connect(broker, {
    ...kept("c"),
    properties: { sessionExpiryInterval: 1 },
  });
  await peer.subscribe("a", 1);
  peer.disconnect();
  await peer.closed();
  broker = await broker.restart();
  await until("the session is gone", () => broker.broker.sessions.stats.sessions === 0);
  const { connack } = await MqttPeer.connect(broker, kept("c"));
  t.false(connack.sessionPresent);
  await broker.broker.close();
});

test("exactly once, whatever breaks: connections and broker are cut at random, every message arrives once and in order", async (t) => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    let state = seed * 2654435761;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return (state >>> 8) % below;
    };
    let broker = await CrashingBroker.open();
    const total = 60;
    const delivered: string[] = [];
    // The receiver's memory of open identifiers, and the sender's of unfinished messages, as a client keeps them.
    const receiving = new Set<number>();
    let reader: MqttPeer | null = null;
    let writer: MqttPeer | null = null;
    let next = 0;
    let open: { id: number; text: string; isReceived: boolean } | null = null;

    const takeAll = (): void => {
      if (reader === null) return;
      for (const packet of reader.packets.splice(0)) {
        if (packet.cmd === "publish") {
          if (!receiving.has(packet.messageId!)) delivered.push(packet.payload.toString());
          receiving.add(packet.messageId!);
          send(reader, "pubrec", packet.messageId);
        } else if (packet.cmd === "pubrel") {
          receiving.delete(packet.messageId!);
          send(reader, "pubcomp", packet.messageId);
        }
      }
    };
    const step = (): void => {
      if (writer === null) return;
      for (const packet of writer.packets.splice(0)) {
        if (open === null || packet.messageId !== open.id) continue;
        if (packet.cmd === "pubrec") {
          open.isReceived = true;
          send(writer, "pubrel", open.id);
        } else if (packet.cmd === "pubcomp") open = null;
      }
      if (open !== null || next === total) return;
      open = { id: 1 + (next % 7), text: String(next++), isReceived: false };
      writer.send({
        cmd: "publish",
        topic: "a",
        payload: open.text,
        qos: 2,
        messageId: open.id,
        dup: false,
        retain: false,
      });
    };
    const connectReader = async (): Promise<void> => {
      ({ peer: reader } = await MqttPeer.connect(broker, kept("reader"), { autoAck: false }));
    };
    const connectWriter = async (): Promise<void> => {
      ({ peer: writer } = await MqttPeer.connect(broker, kept("writer")));
      if (open === null) return;
      if (open.isReceived) send(writer, "pubrel", open.id);
      else
        writer.send({
          cmd: "publish",
          topic: "a",
          payload: open.text,
          qos: 2,
          messageId: open.id,
          dup: true,
          retain: false,
        });
    };
    await connectReader();
    await reader!.subscribe("a", 2);
    await connectWriter();
    for (let round = 0; delivered.length < total && round < 4000; round++) {
      takeAll();
      step();
      const chance = random(100);
      if (chance < 4) {
        reader!.drop();
        await connectReader();
      } else if (chance < 8) {
        writer!.drop();
        await connectWriter();
      } else if (chance < 11) {
        broker = await broker.crash();
        await connectReader();
        await connectWriter();
      } else await new Promise((resolve) => setImmediate(resolve));
    }
    for (let i = 0; i < 20; i++) {
      takeAll();
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.deepEqual(
      delivered,
      Array.from({ length: total }, (_, i) => String(i)),
      `seed ${seed}`,
    );
    await broker.broker.close();
  }
});

test("retained messages that stand still are moved forward, and nobody notices", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer } = await MqttPeer.connect(broker, V5);
  const old = Array.from({ length: 300 }, (_, i) => `old/${i}`);
  for (const topic of old) await peer.publish(topic, `payload of ${topic}`, 0, { retain: true });
  await peer.publish("old/7", "kept with properties", 1, {
    retain: true,
    properties: { contentType: "text/plain", userProperties: { a: "1" } },
  });
  const packet = peer.encode({
    cmd: "publish",
    topic: "busy",
    payload: "x",
    qos: 0,
    dup: false,
    retain: true,
  });
  for (let i = 0; i < 11; i++) {
    peer.sendBytes(Buffer.concat(Array.from({ length: 1000 }, () => packet)));
    await peer.settle();
  }
  const { peer: slow } = await MqttPeer.connect(broker, {
    ...V5,
    properties: { receiveMaximum: 1 },
  });
  const index = broker.broker.registry.findLight("retained")!.ownGroup.shards[0]!;
  const before = index.state.low;
  for (let i = 0; i < 4; i++) broker.broker.sessions.keepHouse();
  await until("the index is short again", () => index.state.low > before + 10_000);
  slow.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "old/+", qos: 1 }] });
  await until("all came", () => slow.publishes.length === 300);
  t.deepEqual(slow.publishes.map(({ topic }) => topic).sort(), [...old].sort());
  const special = slow.publishes.find(({ topic }) => topic === "old/7")!;
  t.is(special.payload.toString(), "kept with properties");
  t.is(special.properties?.contentType, "text/plain");
  broker = await broker.crash();
  t.is(broker.broker.sessions.stats.retained, 301);
  const { peer: again } = await MqttPeer.connect(broker, V5);
  await again.subscribe("old/9", 0);
  t.is((await again.message()).text, "payload of old/9");
  await broker.broker.close();
});

for (const how of ["crash", "restart"] as const) {
  test(`[MQTT-3.3.1-1] what was sent before a ${how} comes again as a repetition, what was not does not`, async (t) => {
    let broker = await CrashingBroker.open();
    const { peer: writer } = await MqttPeer.connect(broker, V5);
    const connect = kept("c", {
      properties: { sessionExpiryInterval: 600, receiveMaximum: 3 },
    });
    const { peer } = await MqttPeer.connect(broker, connect, { autoAck: false });
    await peer.subscribe("d", 2);
    for (let i = 0; i < 6; i++) await writer.publish("d", String(i), i % 2 === 0 ? 1 : 2);
    await until("three are there", () => peer.publishes.length === 3);
    t.deepEqual(
      peer.publishes.map(({ dup }) => dup),
      [false, false, false],
    );
    const ids = peer.publishes.map(({ messageId }) => messageId);
    // An orderly end closes connections first.
    if (how === "restart") {
      peer.drop();
      await peer.closed();
    }
    broker = await broker[how]();
    const { peer: later } = await MqttPeer.connect(broker, V5);
    await later.publish("d", "new", 1);
    const { peer: again } = await MqttPeer.connect(broker, kept("c"));
    await until("all are there", () => again.publishes.length === 7);
    t.deepEqual(
      again.publishes.map(({ payload }) => payload.toString()),
      ["0", "1", "2", "3", "4", "5", "new"],
    );
    const dup = again.publishes.map((one) => one.dup);
    t.deepEqual(dup.slice(0, 3), [true, true, true]);
    // Cut off, the broker cannot know how far it was; what came afterwards it does.
    if (how === "restart") t.deepEqual(dup.slice(3, 6), [false, false, false]);
    t.false(dup[6]);
    t.deepEqual(
      again.publishes.slice(0, 3).map(({ messageId }) => messageId),
      ids,
      "under the same identifiers",
    );
    await broker.broker.close();
  });
}

test("what a session got before two crashes in a row is a repetition, although nobody looked at it between them", async (t) => {
  let broker = await CrashingBroker.open();
  const { peer: writer } = await MqttPeer.connect(broker, V5);
  const { peer } = await MqttPeer.connect(broker, kept("c"), { autoAck: false });
  await peer.subscribe("d", 1);
  await writer.publish("d", "once", 1);
  await until("it is there", () => peer.publishes.length === 1);
  broker = await broker.crash();
  broker = await broker.restart();
  broker = await broker.crash();
  const { peer: again } = await MqttPeer.connect(broker, kept("c"));
  const got = await again.message();
  t.is(got.text, "once");
  t.true(got.dup);
  await broker.broker.close();
});
