import test from "ava";
import fc from "fast-check";
import {
  Decoder,
  decodeValue,
  MAX_DEPTH,
  skipValue,
} from "../../../protocols/amqp1/codec/decode.ts";
import { encodeValue } from "../../../protocols/amqp1/codec/encode.ts";
import { list, NULL, string, uint, type Value } from "../../../protocols/amqp1/codec/value.ts";
import { ConnectionError } from "../../../protocols/amqp1/errors.ts";
import { plainArrays, rheaDecode, rheaEncode, toRhea, value } from "./support/values.ts";

const decode = (bytes: Buffer): Value => decodeValue(bytes, 0, bytes.length);

test("what we encode we decode to the same values and types", (t) => {
  fc.assert(
    fc.property(value, (original) => {
      t.deepEqual(decode(encodeValue(original)), original);
    }),
    { numRuns: 500 },
  );
});

test("what rhea encodes, in any width, we decode to the same values and types", (t) => {
  fc.assert(
    fc.property(value, fc.infiniteStream(fc.nat()), (original, choices) => {
      const pick = (count: number): number => (choices.next().value as number) % count;
      const bytes = rheaEncode(toRhea(original, pick));
      t.deepEqual(decode(bytes), original);
    }),
    { numRuns: 500 },
  );
});

test("what we encode rhea decodes, and encodes to what we decode to the original", (t) => {
  fc.assert(
    fc.property(value, (original) => {
      const again = rheaEncode(plainArrays(rheaDecode(encodeValue(original))));
      t.deepEqual(decode(again), original);
    }),
    { numRuns: 500 },
  );
});

test("a value is skipped exactly to its end", (t) => {
  fc.assert(
    fc.property(value, fc.uint8Array({ maxLength: 4 }), (original, rest) => {
      const bytes = encodeValue(original);
      const followed = Buffer.concat([bytes, rest]);
      t.is(skipValue(followed, 0, followed.length), bytes.length);
    }),
  );
});

test("a value cut anywhere is refused, never read beyond its end", (t) => {
  fc.assert(
    fc.property(value, (original) => {
      const bytes = encodeValue(original);
      for (let end = 0; end < bytes.length; end++) {
        // The bytes after the cut are there: only the limit says that they are not ours.
        t.throws(() => decodeValue(bytes, 0, end), { instanceOf: ConnectionError });
      }
    }),
    { numRuns: 60 },
  );
});

test("any bytes at all decode or are refused with a decode error", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const buffer = Buffer.from(bytes);
      try {
        const decoder = new Decoder(buffer, 0, buffer.length);
        decoder.value();
        t.true(decoder.at <= buffer.length);
      } catch (error) {
        t.true(error instanceof ConnectionError);
      }
    }),
    { numRuns: 3000 },
  );
});

test("values nest to 32 levels and no deeper", (t) => {
  let nested: Value = NULL;
  for (let i = 0; i < MAX_DEPTH; i++) nested = list([nested]);
  t.deepEqual(decode(encodeValue(nested)), nested);
  const tooDeep = encodeValue(list([nested]));
  t.throws(() => decode(tooDeep), { message: /deeper than 32/ });
  const descriptors = Buffer.alloc(5000);
  t.throws(() => decode(descriptors), { message: /deeper than 32/ });
  t.throws(() => skipValue(descriptors, 0, descriptors.length), { message: /deeper than 32/ });
});

test("counts beyond the bytes are refused before anything is made", (t) => {
  // list32 of 2^32-1 elements in 8 bytes; array32 of 2^32-1 nulls.
  t.throws(() => decode(Buffer.from("d000000004ffffffff", "hex")), { message: /more elements/ });
  t.throws(() => decode(Buffer.from("f000000005ffffffff40", "hex")), { message: /more elements/ });
  t.throws(() => decode(Buffer.from("e002ff40", "hex")), { message: /more elements/ });
});

test("a map with the same key twice is refused, equal keys of two types are not", (t) => {
  const twice: Value = {
    type: "map",
    value: [
      [string("a"), NULL],
      [string("a"), NULL],
    ],
  };
  t.throws(() => decode(encodeValue(twice)), { message: /same key twice/ });
  const two: Value = {
    type: "map",
    value: [
      [string("1"), NULL],
      [uint(1), NULL],
    ],
  };
  t.deepEqual(decode(encodeValue(two)), two);
});

test("strings must be UTF-8, symbols ASCII, booleans 0 or 1", (t) => {
  t.throws(() => decode(Buffer.from("a102c328", "hex")), { message: /UTF-8/ });
  t.throws(() => decode(Buffer.from("a301e9", "hex")), { message: /ASCII/ });
  t.throws(() => decode(Buffer.from("5602", "hex")), { message: /boolean/ });
  t.throws(() => decode(Buffer.from("3f", "hex")), { message: /not a type/ });
});
