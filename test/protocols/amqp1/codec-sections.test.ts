import { createRequire } from "node:module";
import test from "ava";
import fc from "fast-check";
import { SECTION } from "../../../protocols/amqp1/codec/codes.ts";
import { encodeValue } from "../../../protocols/amqp1/codec/encode.ts";
import { ANNOTATION, MessageScan, PROPERTY } from "../../../protocols/amqp1/codec/sections.ts";
import {
  binary,
  bool,
  composite,
  described,
  list,
  long,
  NULL,
  string,
  timestamp,
  ubyte,
  uint,
} from "../../../protocols/amqp1/codec/value.ts";
import { ConnectionError } from "../../../protocols/amqp1/errors.ts";
import { symbolMap } from "./support/peer.ts";
import { value } from "./support/values.ts";

const rhea = createRequire(import.meta.url)("rhea") as {
  message: {
    encode(message: object): Buffer;
    data_section(bytes: Buffer): object;
  };
};

const scan = new MessageScan();

test("the fields the broker needs are found in a message that rhea made", (t) => {
  const bytes = rhea.message.encode({
    durable: true,
    priority: 7,
    ttl: 5000,
    delivery_annotations: { ignored: 1 },
    message_annotations: { "x-tag": "created", "x-opt-delivery-delay": 250, other: "x" },
    message_id: "id",
    to: "queue",
    absolute_expiry_time: new Date(1_700_000_000_000),
    creation_time: new Date(1_600_000_000_000),
    group_id: "group",
    application_properties: { a: 1 },
    body: "text",
  });
  scan.scan(bytes, 0, bytes.length);
  t.true(scan.isDurable);
  t.is(scan.priority, 7);
  t.is(scan.ttlMs, 5000);
  t.is(scan.textAt(scan.property(PROPERTY.TO)), "queue");
  t.is(scan.textAt(scan.property(PROPERTY.GROUP_ID)), "group");
  t.is(scan.integerAt(scan.property(PROPERTY.ABSOLUTE_EXPIRY)), 1_700_000_000_000);
  t.is(scan.integerAt(scan.property(PROPERTY.CREATION_TIME)), 1_600_000_000_000);
  t.is(scan.property(PROPERTY.SUBJECT), -1);
  t.is(scan.textAt(scan.annotation(ANNOTATION.TAG)), "created");
  t.is(scan.integerAt(scan.annotation(ANNOTATION.DELIVERY_DELAY)), 250);
  t.is(scan.annotation(ANNOTATION.KEYS), -1);
  // Header and delivery annotations are not stored.
  t.is(bytes[scan.start + 2], SECTION.MESSAGE_ANNOTATIONS);
  t.is(bytes[scan.bodyAt + 2], SECTION.VALUE);
});

const header = encodeValue(composite(SECTION.HEADER, [bool(true)]));
const deliveryAnnotations = encodeValue(described(SECTION.DELIVERY_ANNOTATIONS, symbolMap([])));
const annotations = encodeValue(
  described(SECTION.MESSAGE_ANNOTATIONS, symbolMap([["x-tag", string("t")]])),
);
const properties = encodeValue(composite(SECTION.PROPERTIES, [string("id")]));
const applicationProperties = encodeValue(described(SECTION.APPLICATION_PROPERTIES, symbolMap([])));
const data = encodeValue(described(SECTION.DATA, binary(Buffer.from("x"))));
const sequence = encodeValue(described(SECTION.SEQUENCE, list([uint(1)])));
const amqpValue = encodeValue(described(SECTION.VALUE, NULL));
const footer = encodeValue(described(SECTION.FOOTER, symbolMap([])));

const scanned = (...sections: Buffer[]): MessageScan => {
  const bytes = Buffer.concat(sections);
  scan.scan(bytes, 0, bytes.length);
  return scan;
};

test("every combination of sections in their order is a message", (t) => {
  const optional = [header, deliveryAnnotations, annotations, properties, applicationProperties];
  for (let mask = 0; mask < 32; mask++) {
    const head = optional.filter((_, index) => mask & (1 << index));
    for (const body of [[data], [data, data], [sequence, sequence], [amqpValue], []]) {
      for (const tail of [[], [footer]]) t.notThrows(() => scanned(...head, ...body, ...tail));
    }
  }
});

test("sections out of order, twice, unknown or mixed are refused", (t) => {
  const wrong = [
    [properties, header],
    [annotations, deliveryAnnotations],
    [header, header, data],
    [data, sequence],
    [amqpValue, amqpValue],
    [data, amqpValue],
    [footer, data],
    [encodeValue(described(0x79, NULL))],
    [encodeValue(string("no section"))],
    [encodeValue(described(SECTION.DATA, string("not binary")))],
    [encodeValue(described(SECTION.HEADER, symbolMap([])))],
    [encodeValue(described(SECTION.MESSAGE_ANNOTATIONS, list([])))],
    [encodeValue(composite(SECTION.HEADER, [string("yes")]))],
    [encodeValue(composite(SECTION.HEADER, [NULL, uint(4)]))],
    [encodeValue(composite(SECTION.HEADER, [NULL, NULL, long(4)]))],
  ];
  for (const sections of wrong) {
    t.throws(() => scanned(...sections), { instanceOf: ConnectionError });
  }
});

test("descriptors may be symbols or long numbers", (t) => {
  const symbolic = encodeValue({
    type: "described",
    descriptor: { type: "symbol", value: "amqp:header:list" },
    value: list([bool(true), ubyte(3)]),
  });
  t.is(scanned(symbolic, data).priority, 3);
  const wide = Buffer.concat([
    Buffer.from("00800000000000000070", "hex"),
    Buffer.from("c0020141", "hex"),
  ]);
  t.true(scanned(wide, data).isDurable);
  t.is(scanned(wide, data).start, wide.length);
});

test("a message cut anywhere but between its sections is refused", (t) => {
  const sections = [header, annotations, properties, data];
  const bytes = Buffer.concat(sections);
  const whole = new Set<number>([0]);
  let at = 0;
  for (const section of sections) {
    at += section.length;
    whole.add(at);
  }
  for (let end = 0; end <= bytes.length; end++) {
    if (whole.has(end)) t.notThrows(() => scan.scan(bytes, 0, end));
    else t.throws(() => scan.scan(bytes, 0, end), { instanceOf: ConnectionError });
  }
});

test("any annotations are walked, known ones are found among them", (t) => {
  fc.assert(
    fc.property(
      fc.array(value, { maxLength: 5 }),
      fc.nat({ max: 5 }),
      fc.nat({ max: 2 ** 41 }),
      (values, at, time) => {
        const entries = values.map((held, index) => [`k${index}`, held] as const);
        const withTime = [
          ...entries.slice(0, at),
          ["x-opt-delivery-time", timestamp(time)] as const,
          ...entries.slice(at),
        ];
        const section = encodeValue(described(SECTION.MESSAGE_ANNOTATIONS, symbolMap(withTime)));
        const found = scanned(section, data);
        t.is(found.integerAt(found.annotation(ANNOTATION.DELIVERY_TIME)), time);
        t.is(found.annotation(ANNOTATION.TAG), -1);
      },
    ),
  );
});

test("any bytes are a message or a decode error", (t) => {
  const good = Buffer.concat([header, annotations, properties, data, footer]);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }), (changes) => {
      const bytes = Buffer.from(good);
      for (const [at, octet] of changes) bytes[at % bytes.length] = octet;
      try {
        scan.scan(bytes, 0, bytes.length);
        t.true(scan.start <= bytes.length);
      } catch (error) {
        t.true(error instanceof ConnectionError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
});
