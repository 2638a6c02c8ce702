import test from "ava";
import {
  list,
  string,
  symbol,
  timestamp,
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import { LinkError } from "../../../protocols/amqp1/errors.ts";
import { Filters, startPosition } from "../../../protocols/amqp1/filters.ts";
import { lookedUp, subscriptionOf } from "../../../protocols/amqp1/subscription-name.ts";
import { symbolMap } from "./support/peer.ts";

const NOW = 1_700_000_000_000;
const filter = (descriptor: string | number, value: Value): Value => ({
  type: "described",
  descriptor:
    typeof descriptor === "string" ? symbol(descriptor) : { type: "ulong", value: descriptor },
  value,
});
const read = (...filters: Value[]): Filters =>
  new Filters(symbolMap(filters.map((held, index) => [`f${index}`, held] as const)), NOW);

test("a selector is known by its number and by each of its names", (t) => {
  for (const descriptor of [
    0x468c00000004,
    0x120,
    "apache.org:selector-filter:string",
    "apache.org:jms-selector-filter:string",
    "amqp:sql-filter",
  ]) {
    t.is(read(filter(descriptor, string("a = 1"))).selector, "a = 1");
  }
  const both = read(filter(0x120, string("a = 1")), filter("amqp:sql-filter", string("b = 2")));
  t.is(both.selector, "(a = 1) AND (b = 2)");
});

test("a reader may begin at a name, an offset, a time, or some time ago", (t) => {
  const from = (value: Value) => read(filter("rabbitmq:stream-offset-spec", value)).from;
  t.deepEqual(from(string("first")), { kind: "first" });
  t.deepEqual(from(symbol("next")), { kind: "next" });
  t.deepEqual(from({ type: "ulong", value: 12 }), { kind: "offset", offset: 12 });
  t.deepEqual(from(timestamp(99)), { kind: "time", timestampMs: 99 });
  t.deepEqual(from(string("5m")), { kind: "time", timestampMs: NOW - 300_000 });
  t.deepEqual(startPosition("offset:7", NOW), { kind: "offset", offset: 7 });
  t.deepEqual(startPosition("time:2026-01-02T00:00:00Z", NOW), {
    kind: "time",
    timestampMs: Date.UTC(2026, 0, 2),
  });
  for (const wrong of ["", "middle", "5x", "offset:-1", "time:never"]) {
    t.throws(() => startPosition(wrong, NOW), { instanceOf: LinkError });
  }
  t.throws(() => from(list([])), { instanceOf: LinkError });
});

test("the link names of JMS mean these subscriptions", (t) => {
  const of = (name: string, durable: number, ...capabilities: string[]) =>
    subscriptionOf(name, "C", { durable, capabilities: ["topic", ...capabilities] });
  t.is(of("N", 0), undefined);
  const durable = { name: "N", isDurable: true };
  t.deepEqual(of("N", 2), { ...durable, clientId: "C", isShared: false });
  t.deepEqual(of("N|2", 2, "shared"), { ...durable, clientId: "C", isShared: true });
  t.deepEqual(of("N|global2", 2, "shared", "global"), { ...durable, clientId: "", isShared: true });
  t.deepEqual(of("N|volatile1", 0, "shared"), {
    name: "N",
    isDurable: false,
    clientId: "C",
    isShared: true,
  });
  t.deepEqual(of("N|global-volatile1", 0, "shared", "global"), {
    name: "N",
    isDurable: false,
    clientId: "",
    isShared: true,
  });
  t.deepEqual(lookedUp("N", "C", []), { ...durable, clientId: "C", isShared: false });
  t.deepEqual(lookedUp("N", "C", ["shared"]), { ...durable, clientId: "C", isShared: true });
  t.deepEqual(lookedUp("N|global", "C", ["shared", "global"]), {
    ...durable,
    clientId: "",
    isShared: true,
  });
});
