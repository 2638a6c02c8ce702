import test from "ava";
import {
  amqp1BodyKind,
  amqp091BodyKind,
  mqttBodyKind,
  rocketmqBodyKind,
  stompBodyKind,
} from "../../src/model/body-kind.ts";
import { charsetOf, decodeText, isTextual } from "../../src/model/content-type.ts";
import { Neutral } from "../../src/model/neutral.ts";
import { payloadOf, setPayload, textOf } from "../../src/model/payload.ts";
import { i32, list, record, sameTyped, string } from "../../src/model/values.ts";

test("an AMQP 1.0 body is what its section says, and the JMS annotation where they agree", (t) => {
  t.is(amqp1BodyKind("data", -1, ""), "bytes");
  t.is(amqp1BodyKind("data", -1, "application/x-java-serialized-object"), "object");
  t.is(amqp1BodyKind("data", 1, ""), "object");
  t.is(amqp1BodyKind("data", 2, ""), "bytes");
  t.is(amqp1BodyKind("value-string", -1, ""), "text");
  t.is(amqp1BodyKind("value-string", 5, ""), "text");
  t.is(amqp1BodyKind("value-binary", -1, ""), "bytes");
  t.is(amqp1BodyKind("value-map", 2, ""), "map");
  t.is(amqp1BodyKind("value-null", -1, ""), "none");
  t.is(amqp1BodyKind("absent", -1, ""), "none");
  t.is(amqp1BodyKind("sequence", 4, ""), "list");
  t.is(amqp1BodyKind("value-list", -1, ""), "list");
  t.is(amqp1BodyKind("other", 3, ""), "amqp");
});

test("a 0-9-1 body is bytes unless its type or x-body-kind says otherwise", (t) => {
  t.is(amqp091BodyKind("", undefined, "text/plain"), "bytes");
  t.is(amqp091BodyKind("amqp-1.0", "map", ""), "amqp");
  t.is(amqp091BodyKind("", "list", ""), "list");
  t.is(amqp091BodyKind("", "nonsense", ""), "bytes");
});

test("a STOMP body without content-length is text, with it bytes, and headers decide first", (t) => {
  const hints = { hasContentLength: true, contentType: "" };
  t.is(stompBodyKind({ ...hints, hasContentLength: false }), "text");
  t.is(stompBodyKind(hints), "bytes");
  t.is(stompBodyKind({ ...hints, contentType: "text/plain" }), "text");
  t.is(stompBodyKind({ ...hints, amqMsgType: "text" }), "text");
  t.is(stompBodyKind({ ...hints, hasContentLength: false, amqMsgType: "bytes" }), "bytes");
  t.is(stompBodyKind({ ...hints, transformation: "jms-map-json" }), "map");
  t.is(stompBodyKind({ ...hints, xBodyKind: "list" }), "list");
});

test("an MQTT body is text by its format indicator, a map by content type and user property", (t) => {
  t.is(mqttBodyKind(true, "", undefined), "text");
  t.is(mqttBodyKind(false, "text/plain", undefined), "bytes");
  t.is(mqttBodyKind(false, "application/json", "map"), "map");
  t.is(mqttBodyKind(true, "text/plain", "map"), "text");
  t.is(rocketmqBodyKind(undefined), "bytes");
  t.is(rocketmqBodyKind("text"), "text");
});

test("textual content types are those a JMS client shows as text", (t) => {
  for (const type of [
    "text/plain",
    "TEXT/html; charset=x",
    "application/json",
    "application/xml-dtd",
    "image/svg+xml",
    "a/b+json",
  ]) {
    t.true(isTextual(type), type);
  }
  for (const type of [
    "",
    "application/octet-stream",
    "application/x-json",
    "image/png",
    "jsontext/x",
  ]) {
    t.false(isTextual(type), type);
  }
  t.is(charsetOf('text/plain; a=b; charset="ISO-8859-1"'), "iso-8859-1");
  t.is(charsetOf("text/plain"), "utf-8");
});

test("text is decoded in its character set or not at all", (t) => {
  t.is(decodeText(Buffer.from("hé"), "text/plain"), "hé");
  t.is(decodeText(Buffer.from([0xe9]), "text/plain"), undefined);
  t.is(decodeText(Buffer.from([0xe9]), "text/plain; charset=iso-8859-1"), "é");
  t.is(decodeText(Buffer.from([1]), "text/plain; charset=klingon"), undefined);
});

test("a map and a list become JSON for protocols of octets and come back the same", (t) => {
  for (const value of [record([["a", i32(1)]]), list([string("x"), i32(2)])]) {
    const message = new Neutral();
    message.bodyKind = value.type;
    message.value = value;
    const payload = payloadOf(message);
    t.is(payload.contentType, "application/json");
    t.is(payload.bodyKind, value.type);
    const back = new Neutral();
    setPayload(back, value.type, payload.bytes);
    t.is(back.bodyKind, value.type);
    t.true(sameTyped(back.value!, value));
  }
});

test("a body that is not what its header claims is delivered as bytes", (t) => {
  for (const [kind, payload] of [
    ["map", "[1]"],
    ["list", "{}"],
    ["map", "{"],
    ["none", "something"],
  ] as const) {
    const message = new Neutral();
    setPayload(message, kind, Buffer.from(payload));
    t.is(message.bodyKind, "bytes");
    t.is(message.bytes.toString(), payload);
  }
  const message = new Neutral();
  setPayload(message, "text", Buffer.from([0xff]));
  t.is(message.bodyKind, "bytes");
});

test("text in another character set is UTF-8 inside", (t) => {
  const message = new Neutral();
  message.contentType = "text/plain; charset=ISO-8859-1";
  setPayload(message, "text", Buffer.from([0x68, 0xe9]));
  t.is(message.bodyKind, "text");
  t.is(textOf(message), "hé");
  t.is(message.contentType, "text/plain; charset=utf-8");
});
