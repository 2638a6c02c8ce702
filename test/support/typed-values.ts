/** Arbitrary typed values for property tests. */
import fc from "fast-check";
import { type IntegerType, long, type Typed } from "../../src/model/values.ts";

export const anyText = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.string({ maxLength: 5, unit: "grapheme" }),
  fc.constantFrom(
    "",
    "\x01",
    "\x02\x03",
    "a;json",
    "x-a",
    "@x",
    "=",
    "KEYS",
    "$b",
    "__proto__",
    "\x03e",
  ),
);

const integer = (type: IntegerType, min: number, max: number): fc.Arbitrary<Typed> =>
  fc.integer({ min, max }).map((value) => ({ type, value }));

export const scalar: fc.Arbitrary<Typed> = fc.oneof(
  fc.constant<Typed>({ type: "null", value: null }),
  fc.boolean().map<Typed>((value) => ({ type: "bool", value })),
  integer("i8", -128, 127),
  integer("i16", -32768, 32767),
  integer("i32", -(2 ** 31), 2 ** 31 - 1),
  integer("u8", 0, 255),
  integer("u16", 0, 65535),
  integer("u32", 0, 2 ** 32 - 1),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => long("i64", value)),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => long("u64", value)),
  fc.float().map<Typed>((value) => ({ type: "f32", value })),
  fc.double().map<Typed>((value) => ({ type: "f64", value })),
  fc.integer().map<Typed>((value) => ({ type: "decimal", value: String(value) })),
  fc.constantFrom("a", "é", "😀", ";").map<Typed>((value) => ({ type: "char", value })),
  fc.integer({ min: 0, max: 4e12 }).map<Typed>((value) => ({ type: "timestamp", value })),
  fc.uuid().map<Typed>((value) => ({ type: "uuid", value })),
  fc
    .uint8Array({ maxLength: 6 })
    .map<Typed>((value) => ({ type: "bytes", value: Buffer.from(value) })),
  anyText.map<Typed>((value) => ({ type: "string", value })),
  anyText.map<Typed>((value) => ({ type: "symbol", value })),
);

export const anyValue: fc.Arbitrary<Typed> = fc.letrec<{ value: Typed }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(tie("value"), { maxLength: 3 }).map<Typed>((value) => ({ type: "list", value })),
    fc
      .array(
        fc.tuple(
          fc.oneof(
            scalar,
            anyText.map<Typed>((value) => ({ type: "string", value })),
          ),
          tie("value"),
        ),
        {
          maxLength: 3,
        },
      )
      .map<Typed>((value) => ({ type: "map", value })),
  ),
})).value;
