import { createRequire } from "node:module";
import test from "ava";
import fc from "fast-check";
import { SECTION } from "../../../protocols/amqp1/codec/codes.ts";
import { encodeValue } from "../../../protocols/amqp1/codec/encode.ts";
import {
  binary,
  composite,
  described,
  list,
  map,
  NULL,
  string,
  symbol,
  timestamp,
  uint,
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import { writeOpaqueMark } from "../../../protocols/amqp1/draft-filler.ts";
import { decodeAmqp1, encodeAmqp1 } from "../../../protocols/amqp1/neutral.ts";
import { hasDeaths, outgoingSections } from "../../../protocols/amqp1/outgoing-message.ts";
import { fromTyped, toTyped } from "../../../protocols/amqp1/typed.ts";
import { makeAddress } from "../../../src/model/address.ts";
import { deathsToText } from "../../../src/model/deaths.ts";
import { Draft } from "../../../src/model/draft.ts";
import { identifierToText } from "../../../src/model/identifiers.ts";
import { Neutral } from "../../../src/model/neutral.ts";
import { ENCODING } from "../../../src/model/record-view.ts";
import {
  bool,
  i32,
  long,
  sameTyped,
  string as text,
  list as typedList,
  record as typedRecord,
} from "../../../src/model/values.ts";
import { buildRecord } from "../../support/record-builder.ts";
import { scalar } from "../../support/typed-values.ts";
import { sections, symbolMap } from "./support/peer.ts";
import { stored } from "./support/stored.ts";

const rhea = createRequire(import.meta.url)("rhea") as {
  message: { encode(message: object): Buffer; decode(bytes: Buffer): Record<string, unknown> };
  types: Record<string, (value: unknown) => unknown>;
};

const amqpValue = (value: Value): Buffer => encodeValue(described(SECTION.VALUE, value));
const data = (bytes: string | Buffer): Buffer =>
  encodeValue(described(SECTION.DATA, binary(Buffer.from(bytes))));
const jmsType = (value: number): Buffer =>
  encodeValue(
    described(
      SECTION.MESSAGE_ANNOTATIONS,
      symbolMap([["x-opt-jms-msg-type", { type: "byte", value }]]),
    ),
  );
const withType = (contentType: string): Buffer =>
  encodeValue(
    composite(SECTION.PROPERTIES, [NULL, NULL, NULL, NULL, NULL, NULL, symbol(contentType)]),
  );

test("1: a JMS text message is text with typed properties, type, correlation and priority", (t) => {
  const record = stored(
    Buffer.concat([
      jmsType(5),
      encodeValue(
        composite(SECTION.PROPERTIES, [
          string("ID:x"),
          NULL,
          string("Q"),
          string("T"),
          string("answers"),
          string("c1"),
        ]),
      ),
      encodeValue(
        described(
          SECTION.APPLICATION_PROPERTIES,
          map([
            [string("a"), { type: "int", value: 1 }],
            [string("b"), { type: "boolean", value: true }],
          ]),
        ),
      ),
      amqpValue(string("hé")),
    ]),
    (draft) => {
      draft.priority = 7;
    },
  );
  const message = decodeAmqp1(record);
  t.is(message.bodyKind, "text");
  t.is(message.bytes.toString("hex"), "68c3a9");
  t.deepEqual(message.properties, [
    { name: "a", value: i32(1) },
    { name: "b", value: bool(true) },
  ]);
  t.is(message.type, "T");
  t.deepEqual(message.correlation, { type: "string", value: "c1" });
  t.is(message.priority, 7);
  t.is(message.replyTo?.name, "answers");
  t.deepEqual(message.annotations, []);
});

test("the body's kind follows its sections, the JMS annotation where it agrees, and the content type", (t) => {
  const kind = (...parts: Buffer[]): string => decodeAmqp1(stored(Buffer.concat(parts))).bodyKind;
  t.is(kind(data("x")), "bytes");
  t.is(kind(jmsType(3), data("x")), "bytes");
  t.is(kind(withType("application/x-java-serialized-object"), data("x")), "object");
  t.is(kind(amqpValue(string("x"))), "text");
  t.is(kind(amqpValue(binary(Buffer.from("x")))), "bytes");
  t.is(kind(amqpValue(NULL)), "none");
  t.is(kind(jmsType(0), amqpValue(NULL)), "none");
  t.is(kind(jmsType(2), amqpValue(map([[string("a"), uint(1)]]))), "map");
  t.is(kind(amqpValue(list([uint(1)]))), "list");
  t.is(kind(encodeValue(described(SECTION.SEQUENCE, list([uint(1)])))), "list");
  t.is(kind(amqpValue(uint(5))), "amqp");
  t.is(kind(data("x"), data("y")), "amqp");
  t.is(kind(withType("text/plain")), "none");
  // An annotation that does not agree is not believed.
  t.is(kind(jmsType(2), data("x")), "bytes");
});

test("7: typed ids stay typed, their text leads back to them", (t) => {
  const uuid = Buffer.from("00112233445566778899aabbccddeeff", "hex");
  const record = stored(
    Buffer.concat([
      encodeValue(
        composite(SECTION.PROPERTIES, [
          { type: "uuid", value: uuid },
          NULL,
          NULL,
          NULL,
          NULL,
          { type: "ulong", value: 7 },
        ]),
      ),
      data("x"),
    ]),
  );
  const message = decodeAmqp1(record);
  t.is(identifierToText(message.id!), "urn:uuid:00112233-4455-6677-8899-aabbccddeeff");
  t.is(identifierToText(message.correlation!), "ID:AMQP_ULONG:7");
  const again = sections(encodeAmqp1(message)).get(SECTION.PROPERTIES)!;
  t.true(again.type === "list");
  if (again.type !== "list") return;
  t.deepEqual(again.value[0], { type: "uuid", value: uuid });
  t.deepEqual(again.value[5], { type: "ulong", value: 7 });
});

test("a message of another protocol is one that rhea reads", (t) => {
  const message = new Neutral();
  message.to = makeAddress("topic", "s/t");
  message.replyTo = makeAddress("queue", "answers");
  message.bodyKind = "text";
  message.bytes = Buffer.from("hé");
  message.type = "T";
  message.id = { type: "u64", value: 9 };
  message.correlation = { type: "bytes", value: Buffer.from([1, 2]) };
  message.contentType = "text/plain";
  message.bornAt = 1_700_000_000_000;
  message.group = "g";
  message.groupSequence = 3;
  message.userId = Buffer.from("ann");
  message.tag = "label";
  message.keys = ["k1", "k2"];
  message.properties = [
    { name: "a", value: i32(1) },
    { name: "a", value: i32(2) },
    { name: "deep", value: typedList([i32(1), typedRecord([["y", text("z")]])]) },
  ];
  message.annotations = [{ name: "x-mine", value: long("i64", 5) }];
  const read = rhea.message.decode(encodeAmqp1(message));
  t.is(read["body"], "hé");
  t.is(read["to"], "s.t");
  t.is(read["reply_to"], "answers");
  t.is(read["subject"], "T");
  t.is(read["message_id"], 9);
  t.deepEqual(read["correlation_id"], Buffer.from([1, 2]));
  t.is(read["content_type"], "text/plain");
  t.deepEqual(read["creation_time"], new Date(1_700_000_000_000));
  t.is(read["group_id"], "g");
  t.is(read["group_sequence"], 3);
  t.deepEqual(read["application_properties"], { a: 1, "deep;json": '[1,{"y":"z"}]' });
  t.deepEqual(read["message_annotations"], {
    "x-opt-jms-dest": 1,
    "x-opt-jms-reply-to": 0,
    "x-tag": "label",
    "x-keys": "k1 k2",
    "x-mine": 5,
  });
});

test("every kind of body goes out as JMS clients know it and comes back as itself", (t) => {
  const cases: Array<[Partial<Neutral>, number | undefined]> = [
    [{ bodyKind: "bytes", bytes: Buffer.from([0, 255]) }, undefined],
    [{ bodyKind: "text", bytes: Buffer.from("text") }, undefined],
    [
      {
        bodyKind: "map",
        value: typedRecord([
          ["i", i32(1)],
          ["l", long("i64", 2)],
        ]),
      },
      2,
    ],
    [{ bodyKind: "list", value: typedList([i32(1), text("x")]) }, 4],
    [{ bodyKind: "object", bytes: Buffer.from([0xac, 0xed]) }, 1],
    [{ bodyKind: "none" }, 0],
    [{ bodyKind: "amqp", bytes: Buffer.concat([data("a"), data("b")]) }, undefined],
  ];
  for (const [body, type] of cases) {
    const message = Object.assign(new Neutral(), { to: makeAddress("queue", "Q") }, body);
    const bytes = encodeAmqp1(message);
    const annotations = sections(bytes).get(SECTION.MESSAGE_ANNOTATIONS);
    const found =
      annotations?.type === "map"
        ? annotations.value.find(([key]) => key.value === "x-opt-jms-msg-type")?.[1]
        : undefined;
    t.deepEqual(found, type === undefined ? undefined : { type: "byte", value: type });
    const back = decodeAmqp1(stored(bytes));
    t.is(back.bodyKind, message.bodyKind);
    if (message.value === null) t.deepEqual(back.bytes, message.bytes);
    else t.true(back.value !== null && sameTyped(back.value, message.value));
  }
});

test("typed values go to AMQP and back without a change", (t) => {
  fc.assert(
    fc.property(scalar, (typed) => {
      const back = toTyped(fromTyped(typed));
      // A decimal whose bytes nobody kept is its text; AMQP symbols are ASCII.
      const isText =
        (typed.type === "decimal" && typed.raw === undefined) ||
        (typed.type === "symbol" && back.type === "string");
      if (isText) t.is(back.value, typed.value);
      else t.true(sameTyped(back, typed), JSON.stringify(String(typed.value)));
    }),
    { numRuns: 500 },
  );
});

test("annotations and headers are the broker's fields where they name one, others stay", (t) => {
  const record = stored(
    Buffer.concat([
      encodeValue(
        described(
          SECTION.MESSAGE_ANNOTATIONS,
          symbolMap([
            ["x-keys", string("k1 k2")],
            ["x-opt-delivery-time", timestamp(99)],
            ["x-app-id", string("app")],
            ["x-opt-jms-dest", { type: "byte", value: 0 }],
            ["x-other", uint(1)],
          ]),
        ),
      ),
      data("x"),
    ]),
  );
  const message = decodeAmqp1(record);
  t.deepEqual(message.keys, ["k1", "k2"]);
  t.is(message.deliverAt, 99);
  t.is(message.appId, "app");
  t.deepEqual(message.annotations, [{ name: "x-other", value: { type: "u32", value: 1 } }]);
});

test("a message of an unknown format is an opaque body for others", (t) => {
  const bytes = Buffer.alloc(10, 7);
  writeOpaqueMark(bytes, 0, 0x80013700);
  const draft = new Draft().reset();
  draft.encoding = ENCODING.AMQP1;
  draft.bytes = bytes;
  draft.end = bytes.length;
  const message = decodeAmqp1(buildRecord(draft, { topic: "Q-Q" }));
  t.is(message.bodyKind, "amqp");
});

test("12: a dead letter shows its history, its bare message stays byte for byte", (t) => {
  const bare = Buffer.concat([withType("text/plain"), data("x"), data("y")]);
  const deaths = deathsToText([
    {
      queue: "Q",
      reason: "rejected",
      count: 3,
      firstAt: 1,
      lastAt: 2,
      exchange: "",
      routingKeys: ["Q"],
      originalTtlMs: 0,
    },
  ]);
  for (const annotations of [Buffer.alloc(0), jmsType(3)]) {
    const record = stored(Buffer.concat([annotations, bare]), (draft) => {
      draft.properties = `x-deaths\x01${deaths}\x02`;
    });
    t.true(hasDeaths(record));
    const out = outgoingSections(record);
    t.deepEqual(out.subarray(out.length - bare.length), bare);
    const found = sections(out).get(SECTION.MESSAGE_ANNOTATIONS);
    t.true(found?.type === "map");
    if (found?.type !== "map") continue;
    t.is(found.value.length, annotations.length > 0 ? 2 : 1);
    const death = found.value.at(-1)![1];
    t.true(death.type === "list" && death.value.length === 1);
  }
  t.false(hasDeaths(stored(bare)));
  t.false(
    hasDeaths(
      stored(bare, (draft) => {
        draft.properties = `${"p".repeat(60)}\x01not x-death\x02`;
      }),
    ),
  );
});

test("what cannot be converted goes out as it is and says so", (t) => {
  const draft = new Draft().reset();
  draft.encoding = ENCODING.MQTT;
  draft.bytes = Buffer.from("payload");
  draft.end = 7;
  const found = sections(outgoingSections(buildRecord(draft, { topic: "t" })));
  const body = found.get(SECTION.DATA);
  t.is(body?.type === "binary" ? body.value.toString() : "", "payload");
  const annotations = found.get(SECTION.MESSAGE_ANNOTATIONS);
  t.is(annotations?.type === "map" ? annotations.value[0]![0].value : "", "x-opt-conversion-error");
});
