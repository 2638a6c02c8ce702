/** The golden cases of the mapping that need no wire, by their numbers in docs/protocol-mapping.md. */
import test from "ava";
import fc from "fast-check";
import { makeAddress } from "../../src/model/address.ts";
import { formatAddress, parseAddress } from "../../src/model/address-dialects.ts";
import { stompBodyKind } from "../../src/model/body-kind.ts";
import { toNeutral } from "../../src/model/conversion.ts";
import { Draft } from "../../src/model/draft.ts";
import { writeFieldHeaders } from "../../src/model/field-headers.ts";
import {
  correlationFromBytes,
  correlationToBytes,
  identifierFromText,
  identifierToText,
  jmsCorrelationId,
} from "../../src/model/identifiers.ts";
import { Neutral } from "../../src/model/neutral.ts";
import { payloadOf, setPayload } from "../../src/model/payload.ts";
import { headerOf } from "../../src/model/properties.ts";
import { restoreProperty, simpleProperty } from "../../src/model/property-text.ts";
import { parseTagExpression } from "../../src/model/tag.ts";
import { bool, bytes, i32, list, long, record, sameTyped, string } from "../../src/model/values.ts";
import { compileSelector } from "../../src/selector/selector.ts";
import { buildRecord } from "../support/record-builder.ts";

function jmsTextMessage(): Neutral {
  const message = new Neutral();
  message.to = makeAddress("queue", "Q");
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
  message.expiresAt = 105_000;
  return message;
}

test("1–3: a JMS TextMessage is UTF-8 text with text headers for everybody", (t) => {
  const message = jmsTextMessage();
  const payload = payloadOf(message);
  t.is(payload.bytes.toString("hex"), "68c3a9");
  t.true(payload.isText);
  t.is(payload.bodyKind, "");
  t.deepEqual(message.properties.map(headerOf), [
    ["a", "1"],
    ["b", "true"],
  ]);
  t.is(formatAddress(message.to, "stomp"), "/queue/Q");
  t.is(formatAddress(message.to, "amqp091"), "Q");
  t.is(formatAddress(makeAddress("topic", "s/t"), "amqp1"), "s.t");
  t.is(formatAddress(parseAddress("s.t", "amqp1", { kind: "topic" }), "mqtt"), "s/t");
  t.is(correlationToBytes(message.correlation!).toString(), "c1");
});

test("4: a 0-9-1 header array is a ;json property for AMQP 1.0 and an array again after", (t) => {
  const header = { name: "x", value: list([i32(1), record([["y", string("z")]])]) };
  t.deepEqual(simpleProperty(header), { name: "x;json", value: string('[1,{"y":"z"}]') });
  t.deepEqual(restoreProperty(simpleProperty(header)), header);
});

test("6: an MQTT request reaches JMS with its reply topic and binary correlation, and comes back as the same bytes", (t) => {
  const replyTo = parseAddress("r/1", "mqtt");
  t.is(formatAddress(replyTo, "amqp1"), "r.1");
  const correlation = correlationFromBytes(Buffer.from([1, 2]));
  t.is(jmsCorrelationId(correlation), "ID:AMQP_BINARY:0102");
  t.is(correlationToBytes(correlation).toString("hex"), "0102");
  fc.assert(
    fc.property(fc.uint8Array(), (data) => {
      t.is(Buffer.compare(correlationToBytes(correlationFromBytes(data)), data), 0);
    }),
  );
});

test("6: text correlation of a JMS requester comes back from an MQTT responder as the same text", (t) => {
  for (const id of ["c1", "ID:host-1:2", "ID:AMQP_STRING:x", "é"]) {
    const sent = { type: "string", value: id } as const;
    t.deepEqual(correlationFromBytes(correlationToBytes(sent)), sent);
  }
});

test("7: a uuid message id is a uuid again after a 0-9-1 client echoed it", (t) => {
  const id = { type: "uuid", value: "12345678-9abc-def0-1234-56789abcdef0" } as const;
  t.deepEqual(identifierFromText(identifierToText(id)), id);
});

test("8: a STOMP body without content-length is text, with it and without a type bytes", (t) => {
  t.is(stompBodyKind({ hasContentLength: false, contentType: "" }), "text");
  t.is(stompBodyKind({ hasContentLength: true, contentType: "" }), "bytes");
});

test("9: a JMS MapMessage is typed JSON for MQTT, and the same map again", (t) => {
  const message = new Neutral();
  message.bodyKind = "map";
  message.value = record([
    ["i", i32(1)],
    ["l", long("i64", 2)],
    ["b", bytes(Buffer.from([1]))],
    ["s", string("x")],
  ]);
  const payload = payloadOf(message);
  t.is(payload.bytes.toString(), '{"i":1,"l":{"$l":"2"},"b":{"$b":"AQ=="},"s":"x"}');
  t.is(payload.contentType, "application/json");
  t.is(payload.bodyKind, "map");
  const back = new Neutral();
  setPayload(back, "map", payload.bytes);
  t.true(sameTyped(back.value!, message.value));
});

test("11: a RocketMQ message is seen by topic, by tag and by its fields", (t) => {
  const draft = new Draft();
  draft.tag = "created";
  draft.keys = "K1";
  draft.group = "S";
  const stored = buildRecord(draft, { topic: "orders", isForeign: true });
  const message = toNeutral(stored);
  t.is(formatAddress(message.to, "amqp1"), "orders");
  t.is(formatAddress(message.to, "mqtt"), "orders");
  t.true(parseTagExpression("created || paid").matchesTag(message.tag));
  t.true(
    compileSelector("x_tag = 'created' AND x_keys = 'K1' AND JMSXGroupID = 'S'").byRecord(stored),
  );
  const headers: string[] = [];
  writeFieldHeaders(message, "amqp091", (name, value) => headers.push(`${name}=${value.value}`));
  t.deepEqual(headers, ["x-tag=created", "x-keys=K1", "x-group-id=S"]);
});
