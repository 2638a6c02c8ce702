import test from "ava";
import fc from "fast-check";
import { ADDRESS_KINDS, makeAddress } from "../../src/model/address.ts";
import {
  addressOfTopicName,
  isShortened,
  lightNameOf,
  storeName,
  topicNameOf,
} from "../../src/model/names.ts";

const ROCKETMQ_NAME = /^[%|a-zA-Z0-9_-]{1,127}$/;
const name = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "Q-",
        "X-",
        "TQ-",
        "%",
        "/",
        ".",
        "-",
        "AB",
        "0F",
        "a",
        "%2D",
        "é",
        "漢",
        " ",
        "DLQ",
        "%RETRY%",
      ),
      fc.string({ maxLength: 3, unit: "grapheme" }),
    ),
    { minLength: 1, maxLength: 6 },
  )
  .map((pieces) => pieces.join(""))
  .filter((text) => text !== "" && !text.includes("\u0000") && !/\p{Surrogate}/u.test(text));
const kind = fc.constantFrom(...ADDRESS_KINDS);
const namespace = fc.oneof(fc.constant("/"), name);

test("a queue, a topic and an exchange of one name have three names on disk", (t) => {
  t.is(topicNameOf(makeAddress("queue", "orders")), "Q-orders");
  t.is(topicNameOf(makeAddress("topic", "orders")), "orders");
  t.is(topicNameOf(makeAddress("topic", "orders/created")), "orders");
  t.is(topicNameOf(makeAddress("exchange", "audit")), "X-audit");
  t.is(topicNameOf(makeAddress("dlq", "orders")), "%DLQ%orders");
  t.is(topicNameOf(makeAddress("queue", "a.b c")), "Q-a%2Eb%20c");
  t.is(topicNameOf(makeAddress("topic", "t", { namespace: "ns" })), "ns%t");
  t.is(topicNameOf(makeAddress("retry", "g", { namespace: "ns" })), "%RETRY%ns%g");
  t.is(lightNameOf(makeAddress("sub", "C/N")), "%LMQ%S-C%2FN");
});

test("a topic called like a queue's name on disk does not collide with it", (t) => {
  t.is(topicNameOf(makeAddress("topic", "Q-orders")), "Q%2Dorders");
  t.deepEqual(addressOfTopicName("Q%2Dorders"), makeAddress("topic", "Q-orders"));
  t.deepEqual(addressOfTopicName("Q-orders"), makeAddress("queue", "orders"));
});

test("every name on disk is one RocketMQ accepts and leads back to its address", (t) => {
  fc.assert(
    fc.property(kind, name, namespace, (k, n, ns) => {
      const plain = k === "topic" ? n.replaceAll("/", "_") : n;
      const onDisk = storeName(k, plain, ns);
      t.regex(onDisk, ROCKETMQ_NAME);
      if (isShortened(onDisk)) return;
      t.deepEqual(addressOfTopicName(onDisk), makeAddress(k, plain, { namespace: ns }));
    }),
  );
});

test("an over-long name is shortened the same way each time, and differently from its neighbour", (t) => {
  const long = storeName("queue", "x".repeat(200));
  t.is(long.length, 107);
  t.true(isShortened(long));
  t.is(storeName("queue", "x".repeat(200)), long);
  t.not(storeName("queue", "x".repeat(201)), long);
  t.is(storeName("queue", "x".repeat(125)).length, 127);
  t.true(isShortened(storeName("queue", "x".repeat(126))));
  t.is(addressOfTopicName(long), undefined);
});

test("a topic called like a shortened name does not collide with it", (t) => {
  const long = storeName("topic", "y".repeat(200));
  const imitation = storeName("topic", long);
  t.not(imitation, long);
  t.deepEqual(addressOfTopicName(imitation), makeAddress("topic", long));
});

test("the empty root has a name too", (t) => {
  t.is(topicNameOf(makeAddress("topic", "/a")), "%00");
  t.deepEqual(addressOfTopicName("%00"), makeAddress("topic", ""));
});
