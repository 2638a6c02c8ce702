/** A composer that has been used composes what a new one does. */
import test from "ava";
import fc from "fast-check";
import { LOOPBACK, RecordComposer, RecordTemplate } from "../../src/broker/record-composer.ts";
import { Draft } from "../../src/model/draft.ts";
import { ENCODING } from "../../src/model/record-view.ts";

const TEMPLATES = [
  new RecordTemplate(""),
  new RecordTemplate("a/b"),
  new RecordTemplate("", true),
  new RecordTemplate("", false, "topic://x", ""),
  new RecordTemplate("", false, "", "label"),
];

const draft = fc
  .record({
    encoding: fc.constantFrom(ENCODING.STOMP, ENCODING.MQTT, ENCODING.AMQP1),
    isDurable: fc.boolean(),
    isRetained: fc.boolean(),
    priority: fc.constantFrom(-1, 0, 9),
    tag: fc.constantFrom("", "", "", "t"),
    keys: fc.constantFrom("", "", "", "k l"),
    group: fc.constantFrom("", "", "", "g"),
    head: fc.constantFrom("", "", "h\x01ü\x02").map((text) => Buffer.from(text)),
    properties: fc.constantFrom("", "", "a\x011\x02", "é\x012\x02", `b\x01${"x".repeat(60)}\x02`),
  })
  .map((fields) => Object.assign(new Draft(), fields, { headEnd: fields.head.length }));

function composed(
  composer: RecordComposer,
  template: RecordTemplate,
  draft: Draft,
  expiresAt: number,
) {
  const fields = composer.compose(template, draft, LOOPBACK, 1, expiresAt, null);
  const { flag, tagHash, keys, propertiesLength, properties } = fields as typeof composer.fields;
  return { flag, tagHash, keys, text: properties.toString("utf8", 0, propertiesLength) };
}

test("whatever was composed before, a message gets its own properties", (t) => {
  const messages = fc.array(
    fc.tuple(fc.constantFrom(...TEMPLATES), draft, fc.constantFrom(0, 0, 0, 1234), fc.boolean()),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(messages, (all) => {
      const used = new RecordComposer();
      for (const [template, one, expiresAt, isTwice] of all) {
        const expected = composed(new RecordComposer(), template, one, expiresAt);
        t.deepEqual(composed(used, template, one, expiresAt), expected);
        // The store's owner may add to what was composed.
        if (isTwice) used.add("x-more", "y");
        t.deepEqual(composed(used, template, one, expiresAt), expected);
      }
    }),
    { numRuns: 500 },
  );
});

test("properties given as bytes come before those given as text", (t) => {
  fc.assert(
    fc.property(fc.constantFrom(...TEMPLATES), draft, fc.constantFrom(0, 1234), (...all) => {
      const [template, one, expiresAt] = all;
      const asText = new Draft().like(one);
      asText.properties = one.head.toString("utf8", 0, one.headEnd) + one.properties;
      asText.headEnd = 0;
      t.deepEqual(
        composed(new RecordComposer(), template, one, expiresAt),
        composed(new RecordComposer(), template, asText, expiresAt),
      );
    }),
  );
});

test("a message whose properties do not fit is refused every time", (t) => {
  const composer = new RecordComposer();
  const one = new Draft();
  one.properties = `a\x01${"x".repeat(31_000)}\x02`;
  const compose = () => composer.compose(TEMPLATES[0]!, one, LOOPBACK, 1, 0, null);
  for (let i = 0; i < 3; i++) t.throws(compose, { message: /headers take \d+ bytes/ });
  one.properties = "";
  one.head = Buffer.alloc(40_000, "x");
  one.headEnd = one.head.length;
  for (let i = 0; i < 3; i++) t.throws(compose, { message: /headers take \d+ bytes/ });
  one.headEnd = 0;
  t.is(compose().propertiesLength, "x-enc\x01raw\x02".length);
});
