/** Whatever bytes come, in whatever pieces: the answer does not depend on the pieces, and only the sender pays. */
import { readFileSync } from "node:fs";
import test from "ava";
import { generate, type Packet } from "mqtt-packet";
import { createAdapter } from "../../../protocols/mqtt/adapter.ts";
import type { Logger } from "../../../src/telemetry/log.ts";
import { SILENT } from "../../../src/telemetry/log.ts";
import { MemoryWire } from "../../../src/transport/memory-wire.ts";
import { MqttPeer, mqttAdapter, OPEN_DOOR } from "../../support/mqtt-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

const conversation = (version: 4 | 5): Buffer =>
  Buffer.concat(
    (
      [
        {
          cmd: "connect",
          protocolId: "MQTT",
          protocolVersion: version,
          clientId: "split",
          clean: true,
          keepalive: 60,
          will: { topic: "w", payload: Buffer.from("x"), qos: 0, retain: false },
        },
        { cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "s/#", qos: 2 }] },
        {
          cmd: "publish",
          topic: "s/1",
          payload: "a".repeat(200),
          qos: 1,
          messageId: 2,
          dup: false,
          retain: false,
        },
        {
          cmd: "publish",
          topic: "s/2",
          payload: "",
          qos: 2,
          messageId: 3,
          dup: false,
          retain: true,
        },
        { cmd: "publish", topic: "s/ü", payload: "zero", qos: 0, dup: false, retain: false },
        { cmd: "pubrel", messageId: 3 },
        { cmd: "unsubscribe", messageId: 4, unsubscriptions: ["s/#"] },
        { cmd: "pingreq" },
      ] as Packet[]
    ).map((packet) => generate(packet, { protocolVersion: version })),
  );

test("a conversation gets the same answers wherever it is cut", async (t) => {
  for (const version of [4, 5] as const) {
    const bytes = conversation(version);
    const answers = new Set<string>();
    for (const piece of [bytes.length, 1, 2, 3, 5, 7, 64]) {
      const broker = await openTestBroker();
      const kinds: string[] = [];
      const peer = new MqttPeer(broker, { autoAck: false });
      peer.setVersion(version);
      peer.wire.send(bytes, piece);
      await until("the last answer came", () => peer.packets.some(({ cmd }) => cmd === "pingresp"));
      await until("all answers came", () => peer.packets.length >= 10);
      for (const packet of peer.packets) kinds.push(`${packet.cmd} ${packet.messageId ?? ""}`);
      answers.add(kinds.sort().join("\n"));
      await broker.close();
    }
    t.is(answers.size, 1);
  }
});

test("cut in two at every byte, every packet is read once", async (t) => {
  const bytes = conversation(4);
  const broker = await openTestBroker();
  const adapter = mqttAdapter(broker);
  for (let cut = 1; cut < bytes.length; cut++) {
    const out: Buffer[] = [];
    const wire = MemoryWire.open(adapter, {
      turn: broker.turn,
      onOutput: (chunk) => out.push(Buffer.from(chunk)),
    });
    wire.send(bytes.subarray(0, cut));
    wire.send(bytes.subarray(cut));
    await until("PINGRESP", () => Buffer.concat(out).includes(Buffer.from([0xd0, 0])));
    t.is(Buffer.concat(out).subarray(0, 4).toString("hex"), "20020000");
    wire.sendEnd();
  }
  await broker.close();
});

/** Mutations of a valid stream: bits flipped, bytes cut out, doubled, replaced, lengths made large. */
function mutate(bytes: Buffer, random: (below: number) => number): Buffer {
  let out = Buffer.from(bytes);
  for (let times = 1 + random(4); times > 0; times--) {
    const at = random(out.length);
    switch (random(6)) {
      case 0:
        out[at] = out[at]! ^ (1 << random(8));
        break;
      case 1:
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + random(5))]);
        break;
      case 2:
        out = Buffer.concat([out.subarray(0, at), out.subarray(Math.max(0, at - random(20)))]);
        break;
      case 3:
        out[at] = random(256);
        break;
      case 4:
        out[at] = 0xff;
        break;
      default:
        out = Buffer.concat([
          out.subarray(0, at),
          Buffer.from(Array.from({ length: random(12) }, () => random(256))),
          out.subarray(at),
        ]);
    }
    if (out.length === 0) return Buffer.from([0]);
  }
  return out;
}

test("3,000 malformed streams: no bug, no crash, nobody else notices", async (t) => {
  const bugs: unknown[] = [];
  const logger: Logger = {
    ...SILENT,
    isDebug: true,
    error: (event, fields) => bugs.push([event, fields]),
    child: () => logger,
  };
  const broker = await openTestBroker();
  const adapter = createAdapter({ broker: broker.broker, authenticator: OPEN_DOOR, logger });
  const { peer: other } = await MqttPeer.connect(broker, { protocolVersion: 5 });
  await other.subscribe("alive", 1);
  const golden = JSON.parse(readFileSync("test/fixtures/mqtt/packets.json", "utf8")) as Array<{
    version: number;
    from: string;
    hex: string;
  }>;
  const packets = (version: number): Buffer[] =>
    golden
      .filter((one) => one.version === version && one.from !== "server")
      .map(({ hex }) => Buffer.from(hex, "hex"));
  let state = 20260101;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 7) % below;
  };
  for (let round = 0; round < 3000; round++) {
    const version = [3, 4, 5][round % 3]!;
    const all = packets(version);
    const connect = all[0]!;
    const parts = [connect];
    for (let i = 1 + random(6); i > 0; i--) parts.push(all[1 + random(all.length - 1)]!);
    const stream = Buffer.concat(parts);
    // Half of them keep CONNECT whole, so that what follows is reached.
    const bad =
      round % 2 === 0
        ? mutate(stream, random)
        : Buffer.concat([connect, mutate(stream.subarray(connect.length), random)]);
    const wire = MemoryWire.open(adapter, { turn: broker.turn, onOutput: () => {} });
    wire.send(bad, 1 + random(200));
    if (round % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    wire.sendEnd();
  }
  await other.publish("alive", "yes", 1);
  t.is((await other.message()).text, "yes");
  t.deepEqual(bugs, []);
  await until("all connections are gone", () => broker.broker.sessions.stats.connected === 1);
  await broker.close();
});

test("a claimed length costs nothing: the connection ends before the bytes are collected", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, { protocolVersion: 5 });
  peer.sendBytes(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]));
  t.is((await peer.take("disconnect")).reasonCode, 0x95);
  const early = new MqttPeer(broker);
  early.sendBytes(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]));
  await early.closed();
  await broker.close();
});
