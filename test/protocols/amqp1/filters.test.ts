import test from "ava";
import * as amqp from "../../../protocols/amqp1/codec/value.ts";
import { Filters } from "../../../protocols/amqp1/filters.ts";

type Value = amqp.Value;

const filter = (descriptor: Value, value: Value): [Value, Value] => [
  amqp.symbol("any-name"),
  { type: "described", descriptor, value },
];
const map = (...pairs: Array<[Value, Value]>): Value => amqp.map(pairs);

test("a selector is known by its number and by all its names", (t) => {
  for (const descriptor of [
    amqp.ulong(0x468c00000004),
    amqp.ulong(0x120),
    amqp.symbol("apache.org:selector-filter:string"),
    amqp.symbol("apache.org:jms-selector-filter:string"),
    amqp.symbol("amqp:sql-filter"),
  ]) {
    const filters = new Filters(map(filter(descriptor, amqp.string("a = 1"))), 0);
    t.is(filters.selector, "a = 1");
    t.not(filters.honoured("queue"), undefined);
  }
});

test("filters by properties join the selector: all must hold", (t) => {
  const filters = new Filters(
    map(
      filter(amqp.symbol("amqp:sql-filter"), amqp.string("a > 1")),
      filter(
        amqp.symbol("amqp:properties-filter"),
        map([amqp.symbol("subject"), amqp.string("&p:or'")]),
      ),
      filter(
        amqp.ulong(0x174),
        map(
          [amqp.string("n"), amqp.uint(3)],
          [amqp.string("ok"), { type: "boolean", value: true }],
        ),
      ),
    ),
    0,
  );
  t.is(
    filters.selector,
    `((a > 1) AND ("properties.subject" STARTSWITH 'or''')) AND ("application-properties.n" = 3 AND "application-properties.ok" = TRUE)`,
  );
});

test("a properties filter of something that cannot be compared is refused", (t) => {
  for (const value of [amqp.string("x"), map([amqp.symbol("to"), amqp.list([])])]) {
    t.throws(() => new Filters(map(filter(amqp.symbol("amqp:properties-filter"), value)), 0), {
      message: /Invalid filter/,
    });
  }
});

test("an unknown filter is left out of the answer, never an error", (t) => {
  const filters = new Filters(map(filter(amqp.symbol("x:y"), amqp.string("z"))), 0);
  t.is(filters.selector, "");
  t.is(filters.honoured("topic"), undefined);
});
