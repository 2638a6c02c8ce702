/** MQTT beside other protocols: what the mapping tables (spec protocols.md §4.3-4.7) say, both ways. */
import test from "ava";
import type { Packet } from "mqtt-packet";
import { encodeAmqp1, registerAmqp1Decoder } from "../../../protocols/amqp1/neutral.ts";
import { decodeMqtt } from "../../../protocols/mqtt/neutral.ts";
import { OUTCOME } from "../../../src/broker/facade.ts";
import { makeAddress } from "../../../src/model/address.ts";
import { Neutral } from "../../../src/model/neutral.ts";
import { ENCODING } from "../../../src/model/record-view.ts";
import { MqttPeer, V5 } from "../../support/mqtt-peer.ts";
import { StompPeer } from "../../support/stomp-peer.ts";
import type { TestBroker } from "../../support/test-broker.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { connect, draft, topic } from "../../support/test-client.ts";
import { until } from "../../support/wait.ts";

/** Messages of a topic as other protocols' adapters get them. */
function neutralReader(test: TestBroker, topic: string): Neutral[] {
  const found: Neutral[] = [];
  const consumer = connect(test.broker).openConsumer(
    {
      address: makeAddress("topic", topic),
      mode: "consume",
      preSettled: true,
      onLost: OUTCOME.RELEASE,
    },
    {
      isReady: () => true,
      deliver(run) {
        for (let i = 0; i < run.count; i++) {
          const message = decodeMqtt(run.record(i));
          message.bytes = Buffer.from(message.bytes);
          found.push(message);
        }
      },
      onDrained() {},
      onCancel() {},
    },
  );
  consumer.setCredit(1000);
  return found;
}

test("golden case 5: a payload of MQTT 3.1.1 is bytes, durable by QoS 1, and keeps its path", async (t) => {
  const broker = await openTestBroker();
  const found = neutralReader(broker, "a/b");
  const { peer } = await MqttPeer.connect(broker);
  await peer.publish("a/b", "1.5", 1);
  await until("it came", () => found.length === 1);
  t.like(found[0], { bodyKind: "bytes", isDurable: true, tag: "b", isTagInPath: true });
  t.is(found[0]?.bytes.toString(), "1.5");
  t.is(found[0]?.to.name, "a/b");
  await broker.close();
});

test("golden case 6: response topic and correlation data are reply-to and a binary correlation id", async (t) => {
  const broker = await openTestBroker();
  const found = neutralReader(broker, "q");
  const { peer } = await MqttPeer.connect(broker, V5);
  await peer.publish("q", "?", 1, {
    properties: { responseTopic: "r/1", correlationData: Buffer.from([1, 2]) },
  });
  await until("it came", () => found.length === 1);
  t.like(found[0]?.replyTo, { kind: "topic", name: "r/1" });
  t.deepEqual(found[0]?.correlation, { type: "bytes", value: Buffer.from([1, 2]) });
  await broker.close();
});

test("what answers a MQTT request over AMQP 1.0 has its correlation data to the byte, however that is spelled", async (t) => {
  const broker = await openTestBroker();
  const found = neutralReader(broker, "q");
  const { peer } = await MqttPeer.connect(broker, V5);
  await peer.subscribe("answers", 0);
  const spelled = [
    "plain",
    "urn:uuid:00112233-4455-6677-8899-aabbccddeeff",
    "urn:uuid:00112233-4455-6677-8899-AABBCCDDEEFF",
    "ID:AMQP_BINARY:0102",
    "ID:AMQP_ULONG:007",
    "ID:AMQP_NO_PREFIX:x",
    "a\x7fb",
    "",
  ];
  for (const text of spelled) {
    await peer.publish("q", "?", 1, { properties: { correlationData: Buffer.from(text) } });
  }
  await until("all came", () => found.length === spelled.length);
  registerAmqp1Decoder();
  const target = connect(broker.broker).openTarget(topic("answers"));
  for (const { correlation } of found) {
    const answer = new Neutral();
    answer.correlation = correlation;
    const bytes = encodeAmqp1(answer);
    target.publish(draft("", { bytes, end: bytes.length, encoding: ENCODING.AMQP1 }));
  }
  for (const text of spelled) {
    const { properties } = await peer.take("publish");
    t.is(properties?.correlationData?.toString(), text);
  }
  await broker.close();
});

test("properties of MQTT 5 are the neutral message's fields", async (t) => {
  const broker = await openTestBroker();
  const found = neutralReader(broker, "q");
  const { peer } = await MqttPeer.connect(broker, V5);
  await peer.publish("q", '{"a":1}', 1, {
    retain: true,
    properties: {
      payloadFormatIndicator: true,
      contentType: "application/json",
      messageExpiryInterval: 60,
      correlationData: Buffer.from("urn:uuid:00112233-4455-6677-8899-aabbccddeeff"),
      userProperties: {
        plain: "1",
        "x-message-id": "ID:AMQP_ULONG:7",
        "x-group-id": "g",
        "x-keys": "k1 k2",
        "x-priority": "7",
        "x-body-kind": "map",
        "x-other": "annotation",
      },
    },
  });
  await until("it came", () => found.length === 1);
  const message = found[0]!;
  t.like(message, { bodyKind: "map", group: "g", priority: 7, isRetained: true });
  t.deepEqual(message.id, { type: "u64", value: 7 });
  t.like(message.correlation, { type: "uuid" });
  t.deepEqual(message.keys, ["k1", "k2"]);
  t.deepEqual(message.properties, [{ name: "plain", value: { type: "string", value: "1" } }]);
  t.deepEqual(
    message.annotations.map(({ name }) => name),
    ["x-other"],
  );
  t.true(message.expiresAt > 0);
  await broker.close();
});

test("STOMP to MQTT: headers are user properties, text is text, expiry is what is left", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  const { peer: old } = await MqttPeer.connect(broker);
  await peer.subscribe("s/t", 2);
  await old.subscribe("s/+", 1);
  const stomp = await StompPeer.connect(broker);
  stomp.send(
    "SEND\ndestination:/topic/s.t\ncontent-type:text/plain\ncorrelation-id:c1\nreply-to:/topic/r.1\n" +
      "persistent:true\na:1\nb:two\npriority:7\n\nhé\0",
  );
  const packet = await peer.take("publish");
  t.is(packet.topic, "s/t");
  t.is(packet.qos, 1);
  t.is(packet.payload.toString(), "hé");
  const properties = packet.properties!;
  t.true(properties.payloadFormatIndicator);
  t.is(properties.contentType, "text/plain");
  t.is(properties.correlationData?.toString(), "c1");
  t.is(properties.responseTopic, "r/1");
  t.like({ ...properties.userProperties }, { a: "1", b: "two", "x-priority": "7" });
  t.is((await old.message()).text, "hé");
  await broker.close();
});

test("MQTT to STOMP", async (t) => {
  const broker = await openTestBroker();
  const stomp = await StompPeer.connect(broker);
  stomp.send("SUBSCRIBE\nid:1\ndestination:/topic/m.>\nreceipt:r\n\n\0");
  await stomp.take("RECEIPT");
  const { peer } = await MqttPeer.connect(broker, V5);
  await peer.publish("m/1.5", "x", 1, {
    properties: { contentType: "text/plain", userProperties: { a: "1" } },
  });
  const { headers, body } = await stomp.take("MESSAGE");
  t.is(headers["destination"], "/topic/m.1%2E5");
  t.is(headers["a"], "1");
  t.is(headers["content-type"], "text/plain");
  t.is(body.toString(), "x");
  await broker.close();
});

test("what other protocols retain, MQTT finds, and the other way round", async (t) => {
  const broker = await openTestBroker();
  const stomp = await StompPeer.connect(broker);
  stomp.send("SEND\ndestination:/topic/r.s\nretain:true\npersistent:true\nreceipt:1\n\nkept\0");
  await stomp.take("RECEIPT");
  const { peer } = await MqttPeer.connect(broker, V5);
  await peer.subscribe("r/#", 1);
  t.like(await peer.message(), { topic: "r/s", text: "kept", retain: true });
  await broker.close();
});

test("a path with an empty last level, and a very long first one, come back as they were", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, {
    ...V5,
    clean: false,
    clientId: "c",
    properties: { sessionExpiryInterval: 60 },
  });
  await peer.subscribe("#", 1);
  for (const topic of [
    "a/",
    "/",
    "//",
    `${"long".repeat(50)}/x`,
    "ü".repeat(60),
    "SLUICE_COPIES/a",
    "Q-a",
    "a b/ c",
  ]) {
    await peer.publish(topic, "x", 1);
    t.is((await peer.message()).topic, topic);
  }
  peer.send({
    cmd: "publish",
    topic: `t/${"x".repeat(40_000)}`,
    payload: "z",
    qos: 0,
    dup: false,
    retain: false,
  } as Packet);
  t.is((await peer.message()).topic.length, 40_002);
  t.is(await peer.publish(`t/${"x".repeat(40_000)}`, "z", 1), 0x97);
  await broker.close();
});
