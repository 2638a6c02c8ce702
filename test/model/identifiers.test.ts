import test from "ava";
import fc from "fast-check";
import {
  correlationFromBytes,
  correlationToBytes,
  type Identifier,
  identifierFromText,
  identifierToText,
  jmsCorrelationId,
  jmsMessageId,
} from "../../src/model/identifiers.ts";
import { long, sameTyped } from "../../src/model/values.ts";

const U = "12345678-9abc-def0-1234-56789abcdef0";

const text = fc
  .tuple(
    fc.constantFrom("", "ID:AMQP_STRING:", "ID:AMQP_STRING:ID:AMQP_STRING:"),
    fc.constantFrom("", "ID:", "ID:AMQP_", "ID:AMQP_UUID:", "urn:uuid:", "URN:UUID:"),
    fc.constantFrom("", "ID:AMQP_NO_PREFIX:", "ID:AMQP_ULONG:", "ID:AMQP_BINARY:"),
    fc.oneof(fc.string(), fc.constantFrom(U, U.toUpperCase(), "12", "012", "-0", "0aff", "0AFF")),
  )
  .map((parts) => parts.join(""));

test("every text leads to one typed id and back, byte for byte", (t) => {
  fc.assert(
    fc.property(text, (one) => {
      t.is(identifierToText(identifierFromText(one)), one);
      t.is(correlationToBytes(correlationFromBytes(Buffer.from(one))).toString(), one);
    }),
    { numRuns: 2000 },
  );
});

test("an id that is a form of a form of a form takes no time", (t) => {
  const long = `${"ID:AMQP_STRING:".repeat(200_000)}ID:AMQP_ULONG:7`;
  t.is(identifierToText(identifierFromText(long)).length, long.length);
});

test("every typed id survives its text form", (t) => {
  const id: fc.Arbitrary<Identifier> = fc.oneof(
    text.map((value) => ({ type: "string", value }) as const),
    fc.uuid().map((value) => ({ type: "uuid", value }) as const),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => long("u64", value) as Identifier),
    fc.uint8Array().map((value) => ({ type: "bytes", value: Buffer.from(value) }) as const),
  );
  fc.assert(
    fc.property(id, (one) => {
      const back = identifierFromText(identifierToText(one));
      t.true(sameTyped(back, one), identifierToText(one));
    }),
    { numRuns: 500 },
  );
});

test("the text forms are those of the clients", (t) => {
  t.is(identifierToText({ type: "uuid", value: U }), `urn:uuid:${U}`);
  t.is(identifierToText({ type: "u64", value: 7 }), "ID:AMQP_ULONG:7");
  t.is(identifierToText({ type: "bytes", value: Buffer.from([1, 0xab]) }), "ID:AMQP_BINARY:01AB");
  t.is(identifierToText({ type: "string", value: "c1" }), "c1");
  t.is(identifierToText({ type: "string", value: "ID:abc" }), "ID:abc");
  t.deepEqual(identifierFromText(`urn:uuid:${U}`), { type: "uuid", value: U });
  t.deepEqual(identifierFromText("urn:uuid:nonsense"), {
    type: "string",
    value: "urn:uuid:nonsense",
  });
});

test("a JMS application sees ids as Qpid JMS shows them", (t) => {
  t.is(jmsMessageId({ type: "string", value: "ID:x" }), "ID:x");
  t.is(jmsMessageId({ type: "string", value: "x" }), "ID:AMQP_NO_PREFIX:x");
  t.is(jmsMessageId({ type: "uuid", value: U }), `ID:AMQP_UUID:${U}`);
  t.is(jmsCorrelationId({ type: "string", value: "c1" }), "c1");
  t.is(jmsCorrelationId({ type: "bytes", value: Buffer.from([1, 2]) }), "ID:AMQP_BINARY:0102");
});
