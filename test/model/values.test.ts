import test from "ava";
import fc from "fast-check";
import { headerOf } from "../../src/model/properties.ts";
import {
  propertyFromText,
  restoreProperty,
  simpleProperty,
  valueText,
} from "../../src/model/property-text.ts";
import { fromTypedJson, toTypedJson } from "../../src/model/typed-json.ts";
import {
  bytes,
  decimalFromBytes,
  floatText,
  i32,
  list,
  long,
  map,
  parseInteger,
  record,
  sameTyped,
  string,
} from "../../src/model/values.ts";
import { anyValue } from "../support/typed-values.ts";

test("typed JSON keeps every value and its type", (t) => {
  fc.assert(
    fc.property(anyValue, (value) => {
      const back = fromTypedJson(toTypedJson(value));
      t.true(back !== undefined && sameTyped(back, value), toTypedJson(value));
    }),
    { numRuns: 1000 },
  );
});

test("a JMS map is the JSON that the mapping table shows, and comes back typed", (t) => {
  const content = record([
    ["i", i32(1)],
    ["l", long("i64", 2)],
    ["b", bytes(Buffer.from([1]))],
    ["s", string("x")],
  ]);
  const json = '{"i":1,"l":{"$l":"2"},"b":{"$b":"AQ=="},"s":"x"}';
  t.is(toTypedJson(content), json);
  t.true(sameTyped(fromTypedJson(json)!, content));
});

test("plain JSON of strangers reads as the types a reader expects", (t) => {
  t.deepEqual(
    fromTypedJson('{"a":[1,1.5,3000000000,true,null,"x",{"$b":"AQ==","c":1}]}'),
    record([
      [
        "a",
        list([
          i32(1),
          { type: "f64", value: 1.5 },
          { type: "i64", value: 3000000000 },
          { type: "bool", value: true },
          { type: "null", value: null },
          string("x"),
          record([
            ["$b", string("AQ==")],
            ["c", i32(1)],
          ]),
        ]),
      ],
    ]),
  );
});

test("text that is no typed JSON is refused, not guessed", (t) => {
  for (const text of [
    "",
    "{",
    '{"$l":"x"}',
    '{"$b":1}',
    '{"$i8":300}',
    '{"$zz":1}',
    '{"$m":[1]}',
  ]) {
    t.is(fromTypedJson(text), undefined, text);
  }
  t.is(fromTypedJson("[".repeat(70) + "]".repeat(70)), undefined);
  t.not(fromTypedJson("[".repeat(60) + "]".repeat(60)), undefined);
  t.is(fromTypedJson("[".repeat(100_000)), undefined);
});

test("lists and bytes survive a protocol with text headers under a suffixed name", (t) => {
  fc.assert(
    fc.property(anyValue, (value) => {
      fc.pre(value.type === "list" || value.type === "map" || value.type === "bytes");
      const [name, text] = headerOf({ name: "k", value });
      const back = propertyFromText(name, text);
      t.is(back.name, "k");
      t.true(sameTyped(back.value, value));
    }),
  );
  t.deepEqual(propertyFromText("a", "1"), { name: "a", value: string("1") });
  t.deepEqual(propertyFromText("a;json", "no"), { name: "a;json", value: string("no") });
});

test("an array in a 0-9-1 header is a ;json string in application properties, and an array again after", (t) => {
  const value = list([i32(1), record([["y", string("z")]])]);
  const simple = simpleProperty({ name: "x", value });
  t.deepEqual(simple, { name: "x;json", value: string('[1,{"y":"z"}]') });
  t.deepEqual(restoreProperty(simple), { name: "x", value });
  t.deepEqual(simpleProperty({ name: "n", value: i32(1) }), { name: "n", value: i32(1) });
});

test("scalars are plain text", (t) => {
  t.is(valueText(i32(-5)), "-5");
  t.is(valueText({ type: "bool", value: true }), "true");
  t.is(valueText({ type: "f32", value: Math.fround(0.1) }), "0.1");
  t.is(valueText({ type: "f64", value: 0.1 }), "0.1");
  t.is(valueText({ type: "f64", value: Number.NaN }), "NaN");
  t.is(valueText(long("u64", 2n ** 64n - 1n)), "18446744073709551615");
  t.is(valueText({ type: "null", value: null }), "");
});

test("a float's text reads back as the same float", (t) => {
  fc.assert(
    fc.property(fc.float(), (value) =>
      t.true(Object.is(Math.fround(Number(floatText("f32", value))), value)),
    ),
  );
});

test("integers are accepted only in the range of their type", (t) => {
  t.deepEqual(parseInteger("u8", "255"), { type: "u8", value: 255 });
  t.is(parseInteger("u8", "256"), undefined);
  t.is(parseInteger("i8", "-129"), undefined);
  t.is(parseInteger("i32", "1.5"), undefined);
  t.deepEqual(parseInteger("i64", "9223372036854775807"), { type: "i64", value: 2n ** 63n - 1n });
  t.is(parseInteger("i64", "9223372036854775808"), undefined);
});

test("decimals of AMQP 1.0 show their value as text", (t) => {
  const text = (hex: string): unknown => decimalFromBytes(Buffer.from(hex, "hex")).value;
  t.is(text("32800001"), "1");
  t.is(text("b2800001"), "-1");
  t.is(text("3200000f"), "1.5"); // 15 x 10^-1
  t.is(text("31c00000000000f1"), "241");
  t.is(text("30400000000000000000000000000007"), "7");
  t.is(text("78000000"), "Infinity");
  t.is(text("7c000000"), "NaN");
});

test("values are the same only with the same type", (t) => {
  t.false(sameTyped(i32(1), { type: "i64", value: 1 }));
  t.true(sameTyped({ type: "f64", value: Number.NaN }, { type: "f64", value: Number.NaN }));
  t.true(sameTyped(map([[i32(1), string("a")]]), map([[i32(1), string("a")]])));
});
