/** Ids of a STOMP requester come back as they were sent, from whoever answers over AMQP 1.0; and the other way round. */
import test from "ava";
import { encodeAmqp1, registerAmqp1Decoder } from "../../../protocols/amqp1/neutral.ts";
import { decodeStomp } from "../../../protocols/stomp/neutral.ts";
import { OUTCOME } from "../../../src/broker/facade.ts";
import type { Identifier } from "../../../src/model/identifiers.ts";
import { Neutral } from "../../../src/model/neutral.ts";
import { ENCODING, type RecordView } from "../../../src/model/record-view.ts";
import { long } from "../../../src/model/values.ts";
import { publish } from "../../support/stomp-helpers.ts";
import { StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { connect, draft, queue } from "../../support/test-client.ts";
import { until } from "../../support/wait.ts";

const UUID = "00112233-4455-6677-8899-aabbccddeeff";
const SPELLED: ReadonlyArray<readonly [text: string, type: Identifier["type"]]> = [
  ["plain", "string"],
  [`urn:uuid:${UUID}`, "uuid"],
  [`urn:uuid:${UUID.toUpperCase()}`, "string"],
  [UUID.toUpperCase(), "string"],
  [`ID:AMQP_UUID:${UUID}`, "string"],
  [`ID:${UUID}:1:1:1-1`, "string"],
  ["ID:AMQP_ULONG:7", "u64"],
  ["ID:AMQP_ULONG:007", "string"],
  ["ID:AMQP_BINARY:0AFF", "bytes"],
  ["ID:AMQP_BINARY:0aff", "string"],
  ["ID:AMQP_NO_PREFIX:x", "string"],
  ["ID:AMQP_STRING:x", "string"],
  [`ID:AMQP_STRING:urn:uuid:${UUID}`, "string"],
];

/** What lies in a queue, as neutral messages. */
function read(test: TestBroker, name: string, decode: (record: RecordView) => Neutral): Neutral[] {
  const found: Neutral[] = [];
  const consumer = connect(test.broker).openConsumer(
    { address: queue(name), mode: "consume", preSettled: true, onLost: OUTCOME.RELEASE },
    {
      isReady: () => true,
      deliver(run) {
        for (let i = 0; i < run.count; i++) found.push(decode(run.record(i)));
      },
      onDrained() {},
      onCancel() {},
    },
  );
  consumer.setCredit(1000);
  return found;
}

function publishAmqp(test: TestBroker, name: string, fields: Partial<Neutral>): void {
  const bytes = encodeAmqp1(Object.assign(new Neutral(), fields));
  const target = connect(test.broker).openTarget(queue(name));
  target.publish(draft("", { bytes, end: bytes.length, encoding: ENCODING.AMQP1 }));
}

/** `correlation-id` of each answer, as a STOMP subscriber sees it. */
async function answersOf(test: TestBroker, count: number): Promise<string[]> {
  const peer = await StompPeer.connect(test);
  peer.send("SUBSCRIBE\nid:1\ndestination:/queue/answers\n\n\0");
  const found: string[] = [];
  for (let i = 0; i < count; i++)
    found.push((await peer.take("MESSAGE")).headers["correlation-id"]!);
  return found;
}

test("the correlation-id of a STOMP request: typed for AMQP 1.0 where it is spelled so, and to the byte in the answer", async (t) => {
  const broker = await openTestBroker();
  registerAmqp1Decoder();
  const requests = read(broker, "requests", decodeStomp);
  for (const [text] of SPELLED) {
    await publish(
      broker,
      "/queue/requests",
      ["?"],
      `correlation-id:${text.replaceAll(":", "\\c")}\n`,
    );
  }
  await until("all came", () => requests.length === SPELLED.length);
  t.deepEqual(
    requests.map(({ correlation }) => correlation?.type),
    SPELLED.map(([, type]) => type),
  );
  for (const { correlation } of requests) publishAmqp(broker, "answers", { correlation });
  t.deepEqual(
    await answersOf(broker, SPELLED.length),
    SPELLED.map(([text]) => text),
  );
  await broker.close();
});

test("the message-id of a STOMP request is the correlation-id of its answer, as JMS does it", async (t) => {
  const broker = await openTestBroker();
  registerAmqp1Decoder();
  const requests = read(broker, "requests", decodeStomp);
  for (const [text] of SPELLED) {
    await publish(broker, "/queue/requests", ["?"], `message-id:${text.replaceAll(":", "\\c")}\n`);
  }
  await until("all came", () => requests.length === SPELLED.length);
  for (const { id } of requests) publishAmqp(broker, "answers", { correlation: id });
  t.deepEqual(
    await answersOf(broker, SPELLED.length),
    SPELLED.map(([text]) => text),
  );
  await broker.close();
});

test("the message-id of an AMQP 1.0 request has its type again when STOMP answers with it", async (t) => {
  const broker = await openTestBroker();
  registerAmqp1Decoder();
  const ids: Identifier[] = [
    { type: "string", value: "plain" },
    { type: "string", value: `urn:uuid:${UUID}` },
    { type: "string", value: "ID:AMQP_STRING:urn:uuid:x" },
    { type: "uuid", value: UUID },
    long("u64", 2n ** 63n) as Identifier,
    { type: "bytes", value: Buffer.from([0, 255]) },
  ];
  for (const id of ids) publishAmqp(broker, "requests", { id });
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:1\ndestination:/queue/requests\n\n\0");
  const answers = read(broker, "answers", decodeStomp);
  for (const _ of ids) {
    const text = (await peer.take("MESSAGE")).headers["amqp-message-id"]!;
    await publish(
      broker,
      "/queue/answers",
      ["!"],
      `correlation-id:${text.replaceAll(":", "\\c")}\n`,
    );
  }
  await until("all came", () => answers.length === ids.length);
  t.deepEqual(
    answers.map(({ correlation }) => correlation),
    ids,
  );
  await broker.close();
});
