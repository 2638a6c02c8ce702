import test from "ava";
import { makeAddress } from "../../src/model/address.ts";
import { Draft } from "../../src/model/draft.ts";
import { fillRawDraft } from "../../src/model/foreign.ts";
import { topicNameOf } from "../../src/model/names.ts";
import { Neutral } from "../../src/model/neutral.ts";
import { ENCODING, type RecordView } from "../../src/model/record-view.ts";
import { javaHash } from "../../src/model/tag.ts";
import { bytes, i32, string, symbol, type Typed } from "../../src/model/values.ts";
import {
  bothSelectors,
  type FilteredSection,
  selectorOfProperties,
} from "../../src/selector/property-filters.ts";
import { compileSelector, MessageSelector } from "../../src/selector/selector.ts";
import { buildRecord } from "../support/record-builder.ts";

function sample(change: (message: Neutral) => void = () => {}): RecordView {
  const message = new Neutral();
  message.id = { type: "string", value: "ID:1" };
  message.correlation = { type: "bytes", value: Buffer.from([1, 2]) };
  message.type = "T";
  message.priority = 7;
  message.isDurable = false;
  message.bornAt = 1_600_000_000_000;
  message.expiresAt = 1_800_000_000_000;
  message.group = "G";
  message.groupSequence = 3;
  message.tag = "created";
  message.keys = ["K1"];
  message.contentType = "text/plain";
  message.replyTo = makeAddress("topic", "r/1");
  message.properties = [
    { name: "a", value: i32(1) },
    { name: "f", value: { type: "f64", value: 4 } },
    { name: "s", value: string("x") },
    { name: "raw", value: bytes(Buffer.from([1])) },
    { name: "a", value: i32(2) },
  ];
  message.annotations = [{ name: "x-opt-key", value: symbol("v") }];
  change(message);
  return buildRecord(fillRawDraft(new Draft(), message), {
    topic: topicNameOf(makeAddress("queue", "Q")),
  });
}

const selected: string[] = [
  "JMSMessageID = 'ID:1'",
  "JMSCorrelationID = 'ID:AMQP_BINARY:0102'",
  "JMSType = 'T' AND properties.subject = 'T' AND p.subject = 'T'",
  "JMSPriority = 7 AND JMSPriority > 4",
  "JMSDeliveryMode = 'NON_PERSISTENT'",
  "JMSTimestamp = 1600000000000",
  "JMSExpiration = 1800000000000",
  "JMSXGroupID = 'G' AND JMSXGroupSeq = 3",
  "JMSXDeliveryCount = 3 AND JMSRedelivered",
  "JMSReplyTo = 'r.1' AND JMSDestination = 'Q'",
  "a = 1 AND s = 'x' AND a + 1 = 2",
  "f / 8 = 0.5",
  "a / 2 = 0",
  "raw IS NOT NULL AND NOT raw = 'x'",
  "JMSXUserID IS NULL AND missing IS NULL",
  "\"m.x-opt-key\" = 'v' AND \"x-opt-key\" = 'v'",
  "x_tag = 'created' AND tag = 'created' AND TAGS = 'created'",
  "x_keys = 'K1' AND keys = 'K1'",
  "properties.content_type = 'text/plain' AND \"properties.content-type\" = 'text/plain'",
  'header.priority = 7 AND h.durable = FALSE AND "header.delivery-count" = 2',
  "application_properties.a = 1 AND a.s = 'x'",
];
for (const text of selected) {
  test(`a message is selected by  ${text}`, (t) => {
    t.true(compileSelector(text).byRecord(sample(), 2));
  });
}

test("filters by properties are selectors", (t) => {
  const at = (section: FilteredSection, name: string, value: Typed): string =>
    selectorOfProperties(section, [[name, value]]) ?? "undefined";
  const record = sample();
  for (const [section, name, value, expected] of [
    ["properties", "subject", string("T"), true],
    ["properties", "subject", string("t"), false],
    ["properties", "message-id", string("ID:1"), true],
    ["properties", "correlation-id", bytes(Buffer.from([1, 2])), true],
    ["properties", "content-type", symbol("&p:text/"), true],
    ["properties", "content-type", symbol("&s:plain"), true],
    ["properties", "content-type", symbol("&s:html"), false],
    ["properties", "creation-time", { type: "timestamp", value: 1_600_000_000_000 }, true],
    ["properties", "reply-to-group-id", { type: "null", value: null }, false],
    ["properties", "group-id", { type: "null", value: null }, true],
    ["application-properties", "a", i32(1), true],
    ["application-properties", "a", { type: "u64", value: 1 }, true],
    ["application-properties", "a", { type: "u64", value: 2n ** 64n - 1n }, false],
    ["application-properties", "f", { type: "f32", value: 4 }, true],
    ["application-properties", "f", { type: "f64", value: 1e300 }, false],
    ["application-properties", "s", string("&&x"), false],
    ["application-properties", "s", string("x"), true],
    ["application-properties", 'it"s', string("it's"), false],
  ] as const) {
    const text = at(section, name, value);
    t.is(compileSelector(text).byRecord(record), expected, text);
  }
  const both = selectorOfProperties("application-properties", [
    ["a", i32(1)],
    ["s", string("y")],
  ]);
  t.false(compileSelector(both ?? "").byRecord(record));
  t.true(compileSelector(bothSelectors("a = 1", "s = 'x' OR s = 'y'")).byRecord(record));
  t.is(selectorOfProperties("properties", [["to", { type: "list", value: [] }]]), undefined);
  t.true(compileSelector(selectorOfProperties("properties", []) ?? "").byRecord(record));
});

test("an application's property named tag is its own; the message's tag is the fallback", (t) => {
  const record = sample((message) => {
    message.properties = [{ name: "tag", value: string("mine") }];
  });
  t.true(compileSelector("tag = 'mine' AND x_tag = 'created'").byRecord(record));
});

test("a selector that only asks for the tag is answered by the hash first", (t) => {
  for (const [text, tags, isTagOnly] of [
    ["x_tag = 'a'", ["a"], true],
    ["x_tag IN ('a', 'b')", ["a", "b"], true],
    ["x_tag = 'a' OR TAGS = 'b'", ["a", "b"], true],
    ["x_tag = 'a' AND c > 1", ["a"], false],
    ["c > 1 AND x_tag IN ('a','b')", ["a", "b"], false],
  ] as const) {
    const selector = new MessageSelector(text);
    t.deepEqual(selector.tags?.tags, tags, text);
    t.is(selector.isTagOnly, isTagOnly, text);
    t.is(selector.byHash(javaHash("a")), 1);
    t.is(selector.byHash(javaHash("z")), 0);
  }
  for (const text of [
    "tag = 'a'",
    "x_tag <> 'a'",
    "x_tag NOT IN ('a')",
    "x_tag = 'a' OR c = 1",
    "NOT x_tag = 'a'",
    "x_tag = ''",
    "x_tag LIKE 'a%'",
  ]) {
    const selector = new MessageSelector(text);
    t.is(selector.tags, null, text);
    t.is(selector.byHash(0), 1);
  }
});

test("the fields a record tells by itself never decode the message", (t) => {
  const draft = new Draft();
  draft.encoding = ENCODING.AMQP1;
  draft.priority = 8;
  draft.tag = "x";
  const record = buildRecord(draft, { topic: "T" });
  t.true(
    compileSelector("JMSPriority = 8 AND JMSDeliveryMode = 'PERSISTENT' AND x_tag = 'x'").byRecord(
      record,
    ),
  );
});

test("a message that cannot be decoded is not selected, and nothing else happens", (t) => {
  const draft = new Draft();
  draft.encoding = ENCODING.AMQP1;
  const record = buildRecord(draft, { topic: "T" });
  t.false(compileSelector("a = 1").byRecord(record));
  t.false(compileSelector("a IS NULL").byRecord(record));
});

test("a prefix asks for text to be converted", (t) => {
  const record = sample((message) => {
    message.properties = [{ name: "n", value: string("12") }];
  });
  t.false(compileSelector("n > 9").byRecord(record));
  t.true(compileSelector("convert_string_expressions:n > 9").byRecord(record));
});

test("equal texts share one compiled selector", (t) => {
  t.is(compileSelector("a = 17"), compileSelector("a = 17"));
  t.throws(() => compileSelector("a = "));
});
