/** STOMP messages as others see them, and others' messages as STOMP (spec protocols.md §4.3, §4.5, §4.7). */
import test from "ava";
import { decodeStomp, encodeStomp } from "../../../protocols/stomp/neutral.ts";
import { OUTCOME } from "../../../src/broker/facade.ts";
import { makeAddress } from "../../../src/model/address.ts";
import { formatAddress } from "../../../src/model/address-dialects.ts";
import { Draft } from "../../../src/model/draft.ts";
import { fillRawDraft } from "../../../src/model/foreign.ts";
import { Neutral } from "../../../src/model/neutral.ts";
import type { RecordView } from "../../../src/model/record-view.ts";
import {
  bool,
  bytes,
  i32,
  list,
  long,
  record,
  string,
  timestamp,
} from "../../../src/model/values.ts";
import { parseAll } from "../../support/stomp-frames.ts";
import { publish } from "../../support/stomp-helpers.ts";
import { type Frame, StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { connect } from "../../support/test-client.ts";
import { until } from "../../support/wait.ts";

/** The neutral message of what a SEND with these headers stores. */
async function neutralOf(headers: string, body: string, to = "/queue/a"): Promise<Neutral> {
  const broker = await openTestBroker();
  const connection = connect(broker.broker);
  let message: Neutral | undefined;
  const address = to.startsWith("/topic") ? makeAddress("topic", "a/b") : makeAddress("queue", "a");
  const consumer = connection.openConsumer(
    { address, mode: "consume", preSettled: true, onLost: OUTCOME.RELEASE },
    {
      isReady: () => true,
      deliver: (run) => {
        const view: RecordView = run.record(0);
        message = decodeStomp(view);
        // The view is good for this turn only.
        message.bytes = Buffer.from(message.bytes);
      },
      onDrained() {},
      onCancel() {},
    },
  );
  consumer.setCredit(1);
  await publish(broker, to, [body], headers);
  await until("the message", () => message !== undefined);
  await broker.close();
  return message!;
}

test("fields of the message are read from their headers, the rest are properties in order with repeats", async (t) => {
  const message = await neutralOf(
    "b:1\na:2\nb:3\ntype:T\ncorrelation-id:urn:uuid:00112233-4455-6677-8899-aabbccddeeff\n" +
      "reply-to:/topic/x.y\nJMSXGroupID:g\nJMSXGroupSeq:3\ntag:t\nkeys:k1 k2\napp-id:app\nmessage-id:id-1\n" +
      "priority:7\npersistent:true\nx-note:n\nblob;b64:AQI=\nexpiration:5000\ncontent-encoding:gzip\n",
    "x",
  );
  t.deepEqual(
    message.properties.map(({ name, value }) => [name, value]),
    [
      ["b", string("1")],
      ["a", string("2")],
      ["b", string("3")],
      ["blob", bytes(Buffer.from([1, 2]))],
    ],
  );
  t.deepEqual(message.annotations, [{ name: "x-note", value: string("n") }]);
  t.is(message.type, "T");
  t.deepEqual(message.correlation, { type: "uuid", value: "00112233-4455-6677-8899-aabbccddeeff" });
  t.is(message.replyTo?.kind, "topic");
  t.is(message.replyTo?.name, "x/y");
  t.is(message.group, "g");
  t.is(message.groupSequence, 3);
  t.is(message.tag, "t");
  t.deepEqual(message.keys, ["k1", "k2"]);
  t.is(message.appId, "app");
  t.deepEqual(message.id, { type: "string", value: "id-1" });
  t.is(message.priority, 7);
  t.true(message.isDurable);
  t.is(message.ttlMs, 5000);
  t.is(message.contentEncoding, "gzip");
  t.is(message.to.name, "a");
});

test("a topic's path is the message's address", async (t) => {
  const message = await neutralOf("", "x", "/topic/a.b");
  t.is(message.to.kind, "topic");
  t.is(message.to.name, "a/b");
});

test("the body is text or bytes by the rules: amq-msg-type, content-type, content-length", async (t) => {
  const kind = async (headers: string): Promise<string> => (await neutralOf(headers, "x")).bodyKind;
  t.is(await kind(""), "text");
  t.is(await kind("content-length:1\n"), "bytes");
  t.is(await kind("content-length:1\ncontent-type:text/plain\n"), "text");
  t.is(await kind("content-type:application/octet-stream\n"), "text");
  t.is(await kind("amq-msg-type:bytes\n"), "bytes");
  t.is(await kind("content-length:1\namq-msg-type:text\n"), "text");
  t.is(await kind("content-type:application/x-java-serialized-object\n"), "object");
});

test("a JSON map with its transformation is a map, and without it is not guessed", async (t) => {
  const json = '{"i":1,"l":{"$l":"2"}}';
  const map = await neutralOf("transformation:jms-map-json\n", json);
  t.is(map.bodyKind, "map");
  t.deepEqual(
    map.value,
    record([
      ["i", i32(1)],
      ["l", long("i64", 2)],
    ]),
  );
  const list = await neutralOf("x-body-kind:list\n", "[1]");
  t.is(list.bodyKind, "list");
  t.is((await neutralOf("content-type:application/json\n", json)).bodyKind, "text");
});

/** Header lines of a neutral message as a reader of this version sees them. */
function headersOf(message: Neutral, version: 10 | 11 | 12 = 12) {
  const { headers } = encodeStomp(message, version, (address) => formatAddress(address, "stomp"));
  const frame = parseAll(
    Buffer.concat([Buffer.from("SEND\n"), headers, Buffer.from("\n\0")]),
    version,
  )[0]!;
  return frame.headers.map(([name, value]) => `${name}=${value}`);
}

test("a neutral message has its fields in the usual headers, typed values as text", (t) => {
  const message = new Neutral();
  message.correlation = { type: "bytes", value: Buffer.from([1, 2]) };
  message.id = { type: "u64", value: 7 };
  message.replyTo = makeAddress("topic", "x/y");
  message.type = "T";
  message.group = "g";
  message.tag = "t";
  message.contentType = "text/plain";
  message.bodyKind = "text";
  message.bytes = Buffer.from("hé");
  message.properties = [
    { name: "a", value: i32(1) },
    { name: "b", value: bool(true) },
    { name: "when", value: timestamp(1234) },
    { name: "blob", value: bytes(Buffer.from([0xff])) },
    { name: "l", value: list([i32(1), string("z")]) },
  ];
  message.annotations = [
    { name: "x-note", value: string("n") },
    { name: "x-opt-jms-dest", value: i32(0) },
    { name: "other", value: string("not shown") },
  ];
  t.deepEqual(headersOf(message), [
    "correlation-id=ID:AMQP_BINARY:0102",
    "reply-to=/topic/x.y",
    "content-type=text/plain",
    "tag=t",
    "JMSXGroupID=g",
    "amqp-message-id=ID:AMQP_ULONG:7",
    "type=T",
    "a=1",
    "b=true",
    "when=1234",
    "blob;b64=/w==",
    'l;json=[1,"z"]',
    "x-note=n",
  ]);
});

test("properties cannot forge what only the broker may say, nor break out of their line", (t) => {
  const message = new Neutral();
  message.properties = [
    { name: "content-length", value: string("1") },
    { name: "destination", value: string("/queue/x") },
    { name: "a\nack:1\n\nforged", value: string("x\r\n\0y\n\nMESSAGE\n") },
  ];
  t.deepEqual(headersOf(message), [
    "property-content-length=1",
    "property-destination=/queue/x",
    "a\nack:1\n\nforged=x\r\n\ufffdy\n\nMESSAGE\n",
  ]);
  t.is(headersOf(message, 10).length, 3);
});

test("maps and lists go out as typed JSON and say so", (t) => {
  const message = new Neutral();
  message.bodyKind = "map";
  message.value = record([
    ["i", i32(1)],
    ["l", long("i64", 2)],
    ["b", bytes(Buffer.from([1]))],
  ]);
  const { body, isText } = encodeStomp(message, 12, () => "");
  t.is(body.toString(), '{"i":1,"l":{"$l":"2"},"b":{"$b":"AQ=="}}');
  t.true(isText);
  t.deepEqual(headersOf(message), [
    "content-type=application/json",
    "x-body-kind=map",
    "transformation=jms-map-json",
  ]);
});

/** A message that came in neutral form, as a STOMP subscriber gets it. */
async function received(message: Neutral, version: 10 | 12 = 12): Promise<Frame> {
  const broker = await openTestBroker();
  const target = connect(broker.broker).openTarget(makeAddress("queue", "a"));
  target.publish(fillRawDraft(new Draft(), message));
  const peer = await StompPeer.connect(broker, version === 10 ? null : version);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\n\n\0");
  const frame = await peer.take("MESSAGE");
  await broker.close();
  return frame;
}

test("golden 2: text with typed properties reaches a 1.2 subscriber as the table says", async (t) => {
  const message = new Neutral();
  message.bodyKind = "text";
  message.bytes = Buffer.from("hé");
  message.properties = [
    { name: "a", value: i32(1) },
    { name: "b", value: bool(true) },
  ];
  message.type = "T";
  message.correlation = { type: "string", value: "c1" };
  message.priority = 7;
  message.ttlMs = 5000;
  const { headers, body } = await received(message);
  t.is(body.toString(), "hé");
  t.is(headers["destination"], "/queue/a");
  t.is(headers["a"], "1");
  t.is(headers["b"], "true");
  t.is(headers["type"], "T");
  t.is(headers["correlation-id"], "c1");
  t.is(headers["priority"], "7");
  t.is(headers["persistent"], "true");
  t.is(headers["content-length"], "3");
  const left = Number(headers["expires"]) - Date.now();
  t.true(left > 0 && left <= 5000);
});

test("a 1.0 subscriber gets text without content-length and bytes with it", async (t) => {
  const message = new Neutral();
  message.bodyKind = "text";
  message.bytes = Buffer.from("hi");
  t.is((await received(message, 10)).headers["content-length"], undefined);
  message.bodyKind = "bytes";
  t.is((await received(message, 10)).headers["content-length"], "2");
});

test("a body of several MiB from elsewhere comes through", async (t) => {
  const message = new Neutral();
  message.bytes = Buffer.alloc(2 * 1024 * 1024, 7);
  t.true((await received(message)).body.equals(message.bytes));
});
