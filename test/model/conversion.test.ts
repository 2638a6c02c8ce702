import { deflateSync } from "node:zlib";
import test from "ava";
import fc from "fast-check";
import { makeAddress, printAddress } from "../../src/model/address.ts";
import type { BodyKind } from "../../src/model/body-kind.ts";
import { registerDecoder, toNeutral } from "../../src/model/conversion.ts";
import { addDeath, type Death, deathSummary, isCycle } from "../../src/model/deaths.ts";
import { Draft } from "../../src/model/draft.ts";
import { readFieldHeader, writeFieldHeaders } from "../../src/model/field-headers.ts";
import { decodeRaw, fillRawDraft } from "../../src/model/foreign.ts";
import { topicNameOf } from "../../src/model/names.ts";
import { Neutral, priorityOf } from "../../src/model/neutral.ts";
import { propertyText } from "../../src/model/properties.ts";
import { neutralFromRecord, pathOfRecord } from "../../src/model/record-fields.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import { i32, list, record, sameTyped, string, type Typed } from "../../src/model/values.ts";
import { buildRecord } from "../support/record-builder.ts";
import { anyText, anyValue } from "../support/typed-values.ts";

const property = fc.record({ name: anyText, value: anyValue });

test("a message without a protocol keeps every property, annotation, name and type in a record", (t) => {
  fc.assert(
    fc.property(
      fc.array(property, { maxLength: 5 }),
      fc.array(property, { maxLength: 3 }),
      (properties, annotations) => {
        const message = new Neutral();
        message.properties = properties;
        message.annotations = annotations;
        const back = decodeRaw(buildRecord(fillRawDraft(new Draft(), message), { topic: "T" }));
        t.deepEqual(
          back.properties.map((p) => p.name),
          properties.map((p) => p.name),
        );
        t.deepEqual(
          back.annotations.map((p) => p.name),
          annotations.map((p) => p.name),
        );
        for (const [i, p] of [...properties, ...annotations].entries()) {
          const found = [...back.properties, ...back.annotations][i]!;
          t.true(sameTyped(found.value, p.value), `${p.name}: ${found.value.type}`);
        }
      },
    ),
    { numRuns: 400 },
  );
});

test("a message without a protocol keeps its fields in a record", (t) => {
  const message = new Neutral();
  message.id = { type: "uuid", value: "12345678-9abc-def0-1234-56789abcdef0" };
  message.correlation = { type: "bytes", value: Buffer.from([1, 2]) };
  message.replyTo = makeAddress("topic", "r/1");
  message.exchange = "";
  message.routingKeys = ["Q", "cc"];
  message.keys = ["K1", "K2"];
  message.tag = "created";
  message.group = "G";
  message.groupSequence = -1;
  message.replyGroup = "RG";
  message.isDurable = false;
  message.priority = 7;
  message.ttlMs = 5000;
  message.expiresAt = 1_800_000_000_000;
  message.deliverAt = 1_700_000_000_000;
  message.bornAt = 1_600_000_000_000;
  message.appId = "app";
  message.type = "T";
  message.contentType = "text/plain";
  message.contentEncoding = "gzip";
  message.userId = Buffer.from("guest");
  message.isRetained = true;
  message.bodyKind = "text";
  message.bytes = Buffer.from("hé");
  message.deaths = addDeath(
    [],
    { queue: "Q", reason: "rejected", exchange: "", routingKeys: ["Q"], originalTtlMs: 0 },
    1000,
  );
  const back = decodeRaw(
    buildRecord(fillRawDraft(new Draft(), message), {
      topic: topicNameOf(makeAddress("queue", "Q")),
      physicalOffset: 4711,
    }),
  );
  message.to = makeAddress("queue", "Q");
  message.seq = 4711;
  t.deepEqual({ ...back, bytes: back.bytes.toString() }, { ...message, bytes: "hé" });
});

test("an empty property value and the separators themselves survive a record", (t) => {
  const draft = new Draft();
  draft.properties = propertyText("x-type", "") + propertyText("x-app-id", "a\x01b\x02c\x03d");
  const back = decodeRaw(buildRecord(draft, { topic: "T" }));
  t.is(back.type, "");
  t.is(back.appId, "a\x01b\x02c\x03d");
});

test("a RocketMQ message is a topic message with tag, keys and ordering key", (t) => {
  const draft = new Draft();
  draft.bytes = Buffer.from("hello");
  draft.end = 5;
  draft.tag = "created";
  draft.keys = "K1 K2";
  draft.group = "S";
  draft.properties =
    "UNIQ_KEY\x017F00000100002A9F0000000000000000\x02WAIT\x01true\x02region\x01eu\x02x-app-id\x01shop\x02x-z\x01q\x02CLUSTER\x01c\x02";
  const message = toNeutral(
    buildRecord(draft, { topic: "orders", isForeign: true, reconsumeTimes: 2 }),
  );
  t.is(printAddress(message.to), "topic:orders");
  t.is(message.tag, "created");
  t.false(message.isTagInPath);
  t.deepEqual(message.keys, ["K1", "K2"]);
  t.is(message.group, "S");
  t.is(message.id?.value, "7F00000100002A9F0000000000000000");
  t.deepEqual(message.properties, [{ name: "region", value: string("eu") }]);
  t.deepEqual(message.annotations, [{ name: "x-z", value: string("q") }]);
  t.is(message.appId, "shop");
  t.is(message.bodyKind, "bytes");
  t.is(message.bytes.toString(), "hello");
  t.true(message.isDurable);
  t.is(priorityOf(message), 4);
  t.is(message.reconsumeTimes, 2);
});

test("a compressed RocketMQ body is inflated; a damaged one is given as it is", (t) => {
  const draft = new Draft();
  const text = "hello ".repeat(1000);
  draft.bytes = deflateSync(text);
  draft.end = draft.bytes.length;
  const at = { topic: "T", isForeign: true };
  t.is(toNeutral(buildRecord(draft, { ...at, sysFlag: 0x301 })).bytes.toString(), text);
  t.is(toNeutral(buildRecord(draft, { ...at, sysFlag: 1 })).bytes.toString(), text);
  draft.bytes = Buffer.from("no zlib");
  draft.end = draft.bytes.length;
  const damaged = toNeutral(buildRecord(draft, { ...at, sysFlag: 0x301 }));
  t.is(damaged.bytes.toString(), "no zlib");
  t.is(damaged.contentEncoding, "deflate");
  t.is(toNeutral(buildRecord(draft, { ...at, sysFlag: 0x101 })).contentEncoding, "lz4");
});

test("a topic message knows its whole path", (t) => {
  const draft = new Draft();
  const built = buildRecord(draft, { topic: "a", pathTag: "b/c" });
  t.is(pathOfRecord(built), "a/b/c");
  const message = toNeutral(built);
  t.is(printAddress(message.to), "topic:a/b/c");
  t.true(message.isTagInPath);
});

test("one record is decoded once per turn, and another record in the same bytes is another message", async (t) => {
  let decoded = 0;
  registerDecoder(ENCODING.MQTT, (view) => {
    decoded += 1;
    return neutralFromRecord(view);
  });
  const draft = new Draft();
  draft.encoding = ENCODING.MQTT;
  const view = buildRecord(draft, { topic: "T", physicalOffset: 640 });
  const first = toNeutral(view);
  t.is(toNeutral(view), first);
  t.is(decoded, 1);
  view.buffer.writeBigInt64BE(641n, 28);
  t.not(toNeutral(view), first);
  t.is(decoded, 2);
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  toNeutral(view);
  t.is(decoded, 3);
});

test("an encoding without its protocol is an error that says what to do", (t) => {
  const draft = new Draft();
  draft.encoding = ENCODING.STOMP;
  const error = t.throws(() => toNeutral(buildRecord(draft, { topic: "T" })));
  t.regex(error?.message ?? "", /stomp, which is switched off here: enable/);
});

test("fields without a native place survive every protocol as headers", (t) => {
  const message = new Neutral();
  message.tag = "created";
  message.keys = ["K1", "K2"];
  message.group = "G";
  message.groupSequence = 3;
  message.replyGroup = "RG";
  message.id = { type: "u64", value: 7 };
  message.appId = "app";
  message.deliverAt = 1_700_000_000_000;
  message.priority = 9;
  message.contentEncoding = "gzip";
  message.isRetained = true;
  const carried = {
    amqp091: ["tag", "keys", "group", "groupSequence", "replyGroup", "deliverAt", "isRetained"],
    stomp: [
      "tag",
      "keys",
      "group",
      "groupSequence",
      "replyGroup",
      "id",
      "appId",
      "deliverAt",
      "contentEncoding",
      "isRetained",
    ],
    mqtt: [
      "tag",
      "keys",
      "group",
      "groupSequence",
      "replyGroup",
      "id",
      "appId",
      "deliverAt",
      "priority",
      "contentEncoding",
    ],
    amqp1: ["tag", "keys", "appId", "deliverAt", "isRetained"],
  } as const;
  for (const dialect of ["amqp091", "stomp", "mqtt", "amqp1"] as const) {
    const back = new Neutral();
    writeFieldHeaders(message, dialect, (name, value) => {
      t.true(readFieldHeader(back, dialect, name, value), `${dialect} ${name}`);
    });
    for (const field of carried[dialect])
      t.deepEqual(back[field], message[field], `${dialect} ${field}`);
  }
});

test("an ordinary header is not taken for a field", (t) => {
  const message = new Neutral();
  t.false(readFieldHeader(message, "mqtt", "color", "red"));
  t.false(readFieldHeader(message, "mqtt", "x-priority", "very high"));
  t.false(readFieldHeader(message, "mqtt", "x-priority", "256"));
  t.is(message.priority, -1);
});

test("deaths count per queue and reason, the latest first", (t) => {
  const death = (queue: string, reason: Death["reason"]) => ({
    queue,
    reason,
    exchange: "",
    routingKeys: [queue],
    originalTtlMs: 0,
  });
  let deaths = addDeath([], death("a", "expired"), 1);
  deaths = addDeath(deaths, death("b", "expired"), 2);
  deaths = addDeath(deaths, death("a", "expired"), 3);
  t.deepEqual(
    deaths.map((d) => [d.queue, d.count, d.firstAt, d.lastAt]),
    [
      ["a", 2, 1, 3],
      ["b", 1, 2, 2],
    ],
  );
  t.true(isCycle(deaths, "a"));
  t.false(isCycle(addDeath(deaths, death("a", "rejected"), 4), "a"));
  t.deepEqual(
    deathSummary(deaths).map((p) => `${p.name}=${p.value.value}`),
    [
      "x-first-death-exchange=",
      "x-first-death-queue=a",
      "x-first-death-reason=expired",
      "x-last-death-exchange=",
      "x-last-death-queue=a",
      "x-last-death-reason=expired",
    ],
  );
  const message = new Neutral();
  message.deaths = deaths;
  const headers = new Map<string, Typed>();
  writeFieldHeaders(message, "amqp091", (name, value) => headers.set(name, value));
  const first = (headers.get("x-death") as Extract<Typed, { type: "list" }>).value[0]!;
  t.true(
    sameTyped(
      first,
      record([
        ["count", { type: "i64", value: 2 }],
        ["reason", string("expired")],
        ["queue", string("a")],
        ["time", { type: "timestamp", value: 1 }],
        ["exchange", string("")],
        ["routing-keys", list([string("a")])],
      ]),
    ),
  );
});

test("every body kind survives a record without a protocol", (t) => {
  const cases: Array<[BodyKind, Partial<Neutral>]> = [
    ["none", {}],
    ["bytes", { bytes: Buffer.from([0, 255]) }],
    ["text", { bytes: Buffer.from("hé") }],
    ["map", { value: record([["a", i32(1)]]) }],
    ["list", { value: list([i32(1)]) }],
    ["object", { bytes: Buffer.from([0xac, 0xed]) }],
    ["amqp", { bytes: Buffer.from([0, 0x53, 0x77, 0x40]) }],
  ];
  for (const [kind, rest] of cases) {
    const message = Object.assign(new Neutral(), { bodyKind: kind }, rest);
    const back = decodeRaw(buildRecord(fillRawDraft(new Draft(), message), { topic: "T" }));
    t.is(back.bodyKind, kind);
    t.is(Buffer.compare(back.bytes, message.bytes), 0);
    t.deepEqual(back.value, message.value);
  }
});
