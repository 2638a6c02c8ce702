/** A property read alone is what decoding the whole message says it is. */
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
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import { writeOpaqueMark } from "../../../protocols/amqp1/draft-filler.ts";
import { decodeAmqp1 } from "../../../protocols/amqp1/neutral.ts";
import { readAmqp1Property } from "../../../protocols/amqp1/property-reader.ts";
import { fromTyped } from "../../../protocols/amqp1/typed.ts";
import { NOT_ALONE } from "../../../src/model/conversion.ts";
import { findProperty, sameTyped, type Typed } from "../../../src/model/values.ts";
import { scalar } from "../../support/typed-values.ts";
import { symbolMap } from "./support/peer.ts";
import { stored, storedAsIs } from "./support/stored.ts";

const BODY = encodeValue(described(SECTION.DATA, binary(Buffer.from("body"))));
const NOTES = encodeValue(
  described(
    SECTION.MESSAGE_ANNOTATIONS,
    symbolMap([["x-opt-jms-msg-type", { type: "byte", value: 5 }]]),
  ),
);
const FIELDS = encodeValue(composite(SECTION.PROPERTIES, [NULL, NULL, NULL, string("subject")]));
const properties = (entries: Array<[Value, Value]>): Buffer =>
  encodeValue(described(SECTION.APPLICATION_PROPERTIES, map(entries)));

const isSame = (a: Typed | undefined, b: Typed | undefined): boolean =>
  a === undefined || b === undefined ? a === b : sameTyped(a, b);

const NAMES = ["a", "ab", "abc", "coin", "colour", "x.y", "größe", "a;json", "b;b64", ""];

test("whatever properties a message has, each is read alone as it is read with all the others", (t) => {
  const name = fc.oneof(fc.constantFrom(...NAMES), fc.string({ maxLength: 300 }));
  const entry = fc.tuple(name, scalar, fc.boolean());
  let alone = 0;
  fc.assert(
    fc.property(fc.uniqueArray(entry, { selector: ([key]) => key, maxLength: 12 }), (entries) => {
      const pairs = entries.map(([key, value]): [Value, Value] => [string(key), fromTyped(value)]);
      const record = stored(Buffer.concat([NOTES, FIELDS, properties(pairs), BODY]));
      const whole = decodeAmqp1(record).properties;
      for (const wanted of [...NAMES, ...entries.map(([key]) => key)]) {
        const found = readAmqp1Property(record, wanted);
        if (found === NOT_ALONE) continue;
        alone++;
        if (!isSame(found, findProperty(whole, wanted))) {
          throw new Error(`${JSON.stringify(wanted)}: ${JSON.stringify(found)}`);
        }
      }
    }),
    { numRuns: 300 },
  );
  t.true(alone > 1000, `${alone}`);
});

test("many properties, and none, are read alone", (t) => {
  const many = Array.from({ length: 500 }, (_, i): [Value, Value] => [
    string(`key-${i}`),
    string(`value-${i}`),
  ]);
  const record = stored(Buffer.concat([properties(many), BODY]));
  t.deepEqual(readAmqp1Property(record, "key-499"), { type: "string", value: "value-499" });
  t.is(readAmqp1Property(record, "key-500"), undefined);
  t.is(readAmqp1Property(stored(BODY), "key"), undefined);
  t.is(readAmqp1Property(stored(Buffer.concat([properties([]), BODY])), "key"), undefined);
});

test("what is out of the ordinary is left to the decoder", (t) => {
  const alone = (entries: Array<[Value, Value]>, name: string): unknown =>
    readAmqp1Property(stored(Buffer.concat([properties(entries), BODY])), name);
  t.is(alone([[symbol("a"), string("x")]], "a"), NOT_ALONE, "a key that is no string");
  t.is(alone([[string("a;json"), string("[1]")]], "a"), NOT_ALONE, "a list as text");
  t.is(
    alone([[string("a;json"), string("[1]")]], "a;json"),
    NOT_ALONE,
    "the same, by its own name",
  );
  t.is(
    alone(
      [
        [string("a"), string("x")],
        [string("a"), string("y")],
      ],
      "a",
    ),
    NOT_ALONE,
    "twice",
  );
  t.deepEqual(
    alone([[string("a"), list([string("x")])]], "a"),
    { type: "list", value: [{ type: "string", value: "x" }] },
    "a list that should not be there",
  );
  // Bytes of another message format say nothing.
  const mark = Buffer.alloc(8);
  writeOpaqueMark(mark, 0, 7);
  const opaque = storedAsIs(Buffer.concat([mark, Buffer.from("anything")]));
  t.is(readAmqp1Property(opaque, "a"), NOT_ALONE);
});
