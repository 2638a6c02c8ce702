import test from "ava";
import fc from "fast-check";
import {
  ADDRESS_KINDS,
  type Address,
  checkName,
  MAX_NAME_BYTES,
  makeAddress,
  parseCanonical,
  printAddress,
  splitParams,
} from "../../src/model/address.ts";
import {
  formatAddress,
  type ParseOptions,
  parseAddress,
  withKind,
} from "../../src/model/address-dialects.ts";
import { BrokerError } from "../../src/model/errors.ts";

const nameText = fc
  .array(
    fc.constantFrom(
      ..."a b c . / ? # % = & + * > : :: %2E %2F %3F %23 %253F ?tag=x ?from=first #g é".split(" "),
    ),
    { minLength: 1, maxLength: 7 },
  )
  .map((pieces) => pieces.join(""));

test("the printed form reads back as the same address", (t) => {
  const params = fc.dictionary(fc.constantFrom("selector", "shard", "from", "key"), nameText);
  fc.assert(
    fc.property(
      fc.constantFrom(...ADDRESS_KINDS),
      nameText,
      fc.constantFrom("/", "tenant", "a/b"),
      fc.oneof(fc.constant(""), nameText),
      fc.oneof(fc.constant(""), nameText),
      params,
      (kind, name, namespace, tags, group, extra) => {
        fc.pre(!name.startsWith("//"));
        const address = makeAddress(kind, name, {
          namespace,
          tags,
          group,
          params: { ...extra },
        });
        t.deepEqual(parseCanonical(printAddress(address)), address);
      },
    ),
  );
});

test("the examples of the canonical form print as documented", (t) => {
  t.is(
    printAddress(makeAddress("topic", "orders", { tags: "created||paid" })),
    "topic:orders?tag=created||paid",
  );
  t.is(printAddress(makeAddress("topic", "orders", { group: "billing" })), "topic:orders#billing");
  t.is(printAddress(makeAddress("topic", "a/#")), "topic:a/#");
  t.is(printAddress(makeAddress("queue", "a?b", { namespace: "t" })), "//t/queue:a%3Fb");
});

const cases: Array<[string, ParseOptions, string]> = [
  ["Q", {}, "any:Q"],
  ["Q", { kind: "queue" }, "queue:Q"],
  ["a.b", { kind: "topic" }, "topic:a/b"],
  ["a.b", { kind: "queue" }, "queue:a.b"],
  ["queue://a.b", { kind: "topic" }, "queue:a.b"],
  ["topic://a.*.#", {}, "topic:a/+/#"],
  ["temp-queue://t", {}, "temp-queue:t"],
  ["/queue/Q", {}, "queue:Q"],
  ["/queues/a%2Fb", {}, "queue:a/b"],
  ["/amq/queue/Q", {}, "queue:Q"],
  ["/topic/a.b", {}, "topic:a/b"],
  ["/topic/x.1%2E5", {}, "topic:x/1.5"],
  ["/exchanges/amq.topic/a.b", {}, "topic:a/b"],
  ["/exchange/X", {}, "exchange:X"],
  ["/exchange/X/k%2F1", {}, "exchange:X?routing-key=k%2F1"],
  ["/exchanges/amq.default/Q", {}, "queue:Q"],
  ["/reply/C", {}, "reply:C"],
  ["topic:T#G", {}, "topic:T#G"],
  ["topic://T#G", {}, "topic:T#G"],
  ["//tenant/queue:Q", {}, "//tenant/queue:Q"],
  ["T?tag=x%7C%7Cy", { kind: "topic" }, "topic:T?tag=x||y"],
  ["a?b", {}, "any:a%3Fb"],
  ["a?tag=x&b=1", {}, "any:a%3Ftag=x&b=1"],
  ["a#b", {}, "any:a%23b"],
  [
    "T#G",
    { kind: "topic", knowsGroup: (topic, group) => topic === "T" && group === "G" },
    "topic:T#G",
  ],
  ["DLQ.Q", { kind: "queue" }, "dlq:Q"],
  ["events::client1.alerts", {}, "sub:client1/alerts?topic=events"],
  ["~temp-queue.abc", {}, "temp-queue:~temp-queue.abc"],
  ["Q", { namespace: "ns" }, "//ns/any:Q"],
];
for (const [text, options, expected] of cases) {
  test(`AMQP 1.0 and STOMP read ${text} ${options.kind ?? ""} as ${expected}`, (t) => {
    t.is(printAddress(parseAddress(text, "amqp1", options)), expected);
    t.is(printAddress(parseAddress(text, "stomp", options)), expected);
  });
}

test("MQTT topics are canonical as they are; queues only where allowed", (t) => {
  t.is(parseAddress("a.b/1%2E5/+/#", "mqtt").name, "a.b/1%2E5/+/#");
  t.is(parseAddress("queue://Q", "mqtt").kind, "topic");
  t.is(printAddress(parseAddress("$queue/Q", "mqtt", { allowQueues: true })), "queue:Q");
  t.is(parseAddress("$queue/Q", "mqtt").kind, "topic");
  t.is(printAddress(parseAddress("$dlq/Q", "mqtt", { allowQueues: true })), "dlq:Q");
});

test("whoever is given a temporary destination can answer to it, over every protocol", (t) => {
  for (const kind of ["temp-queue", "temp-topic"] as const) {
    const address = makeAddress(kind, `~${kind}.1-x_Y`);
    for (const dialect of ["amqp1", "amqp091", "stomp", "mqtt"] as const) {
      const text = formatAddress(address, dialect);
      t.is(printAddress(parseAddress(text, dialect)), printAddress(address), text);
    }
  }
});

test("AMQP 0-9-1 names are queues, except replies, URLs and the canonical form", (t) => {
  t.is(printAddress(parseAddress("a.b", "amqp091")), "queue:a.b");
  t.is(printAddress(parseAddress("/queue/a", "amqp091")), "queue:/queue/a");
  t.is(printAddress(parseAddress("amq.rabbitmq.reply-to.tok", "amqp091")), "reply:tok");
  t.is(printAddress(parseAddress("sub:C/N", "amqp091")), "sub:C/N");
  t.is(printAddress(parseAddress("topic://a.b", "amqp091")), "topic:a/b");
});

test("a bare name becomes a topic by its dialect's rules once the broker says so", (t) => {
  t.is(withKind(parseAddress("a.b.*", "amqp1"), "topic").name, "a/b/+");
  t.is(withKind(parseAddress("a.b", "stomp"), "queue").name, "a.b");
});

test("an address written for a client comes back as the same entity", (t) => {
  const kinds = fc.constantFrom<Address["kind"]>("queue", "topic", "temp-queue", "exchange", "dlq");
  fc.assert(
    fc.property(
      kinds,
      nameText,
      fc.constantFrom("amqp1", "stomp", "mqtt"),
      (kind, name, dialect) => {
        // A topic has no escape for "?": one that ends in what reads as parameters is read so.
        fc.pre(kind !== "topic" || splitParams(name).name === name);
        const hint = kind === "any" || kind === "exchange" ? {} : { kind };
        const address = makeAddress(kind, name);
        let text: string;
        if (dialect === "mqtt") {
          fc.pre(kind === "queue" || kind === "topic");
          fc.pre(!(kind === "topic" && name.startsWith("$")));
          text = formatAddress(address, dialect);
        } else {
          // In AMQP 1.0 a bare name that looks like another spelling is read as that spelling: known and accepted.
          fc.pre(dialect !== "amqp1" || kind === "exchange" || /^[a-z.]+$/.test(name));
          text = formatAddress(address, dialect as "amqp1" | "stomp");
        }
        const back = parseAddress(text, dialect as "amqp1", {
          ...hint,
          allowQueues: kind === "queue",
        });
        t.is(printAddress(back), printAddress(address), text);
      },
    ),
  );
});

test("bad names are refused with the reason", (t) => {
  for (const text of ["", "a\u0000b", "a\u0007", "x".repeat(MAX_NAME_BYTES + 1), "\ud800"]) {
    const error = t.throws(() => parseAddress(text, "amqp1", { kind: "queue" }), {
      instanceOf: BrokerError,
    });
    t.is(error?.code, "invalid-address");
  }
  t.notThrows(() => checkName("x".repeat(MAX_NAME_BYTES)));
  t.throws(() => checkName("é".repeat(128)));
});
