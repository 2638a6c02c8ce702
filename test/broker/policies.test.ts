import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { Inspection } from "../../src/broker/inspect.ts";
import { Operations } from "../../src/broker/operations.ts";
import { DEFAULT_SETTINGS, retryDelayMs, settingsFor } from "../../src/broker/policy.ts";
import { type Clock, REAL_CLOCK } from "../../src/util/turn.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

test("higher priorities overtake, equal ones keep their order, also after a restart", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (const [text, priority] of [
    ["a", -1],
    ["b", 9],
    ["c", 4],
    ["d", 0],
    ["e", 9],
    ["f", 255],
  ] as const) {
    target.publish(draft(text, { priority }));
  }
  await settle();
  await close();
  const again = await openTestBroker({ store });
  const sink = consume(connect(again.broker), queue("q"));
  await settle();
  t.deepEqual(sink.texts, ["f", "b", "e", "a", "c", "d"]);
  await again.close();
});

test("drop-head keeps the newest, reject refuses, dead-letter moves the oldest aside", async (t) => {
  const limit = { maxLength: 2 };
  const { broker, close } = await openTestBroker({
    policies: [
      { match: "drop", settings: { ...limit, overflow: "drop-head" } },
      { match: "reject", settings: { ...limit, overflow: "reject" } },
      { match: "dead", settings: { ...limit, overflow: "dead-letter" } },
    ],
  });
  const peer = connect(broker);
  const send = (name: string): string[] => {
    const target = peer.openTarget(queue(name));
    const refused: string[] = [];
    for (const text of ["1", "2", "3", "4"]) {
      try {
        target.publish(draft(text));
      } catch (error) {
        refused.push(`${text}: ${(error as { code: string }).code}`);
      }
    }
    return refused;
  };
  t.deepEqual(send("drop"), []);
  t.deepEqual(send("reject"), ["3: queue-full", "4: queue-full"]);
  t.deepEqual(send("dead"), []);
  await settle();
  const texts = async (name: string): Promise<string[]> => {
    const sink = consume(peer, queue(name));
    await settle();
    return sink.texts;
  };
  t.deepEqual(await texts("drop"), ["3", "4"]);
  t.deepEqual(await texts("reject"), ["1", "2"]);
  t.deepEqual(await texts("dead"), ["3", "4"]);
  t.deepEqual(await texts("DLQ.dead"), ["1", "2"]);
  await close();
});

test("a queue limited in bytes drops its oldest messages, and counts right after a restart", async (t) => {
  const policies = [{ match: "q", settings: { maxBytes: 1000 } }];
  const { broker, store, close } = await openTestBroker({ policies });
  const target = connect(broker).openTarget(queue("q"));
  for (let i = 0; i < 10; i++) target.publish(draft(`${i}`.padEnd(200, "x")));
  const node = broker.registry.find("queue", "/", "q")!;
  t.true(node.storedBytes - node.leavingBytes <= 1000);
  await settle();
  t.true(node.storedBytes <= 1000 && node.leavingBytes === 0);
  t.true(node.backlog >= 2 && node.backlog < 5, `${node.backlog}`);
  const { storedBytes } = node;
  await close();
  const again = await openTestBroker({ store, policies });
  t.is(again.broker.registry.find("queue", "/", "q")!.storedBytes, storedBytes);
  await again.close();
});

test("a blocking queue gives no credit while it is full, and says so when there is room", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "q", settings: { maxLength: 3, overflow: "block" } }],
  });
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  let calls = 0;
  target.onAllowance = () => calls++;
  t.true(target.creditAllowance > 0);
  for (const text of ["1", "2", "3"]) target.publish(draft(text));
  t.is(target.creditAllowance, 0);
  const sink = consume(peer, queue("q"));
  await settle();
  sink.consumer.settle(0, 2, OUTCOME.ACCEPT);
  await settle();
  t.is(calls, 1);
  t.true(target.creditAllowance > 0);
  await close();
});

test("an id seen within the window is confirmed and not stored again, also after a restart", async (t) => {
  const policies = [{ match: "q", settings: { dedupWindowMs: 60_000 } }];
  const { broker, store, close } = await openTestBroker({ policies });
  const target = connect(broker).openTarget(queue("q"));
  const first = target.publish(draft("once", { dedupId: "m1" }));
  t.is(target.publish(draft("once", { dedupId: "m1" })), first, "confirmed with the first");
  target.publish(draft("other", { dedupId: "m2" }));
  target.publish(draft("no id"));
  await settle();
  await close();
  const again = await openTestBroker({ store, policies });
  const peer = connect(again.broker);
  peer.openTarget(queue("q")).publish(draft("once", { dedupId: "m1" }));
  const sink = consume(peer, queue("q"));
  await settle();
  t.deepEqual(sink.texts, ["once", "other", "no id"]);
  t.is(again.broker.registry.find("queue", "/", "q")!.counters.duplicates, 1);
  await again.close();
});

test("of messages with one key a last-value queue keeps the newest", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "q", settings: { isLastValue: true } }],
  });
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (const [text, keys] of [
    ["a1", "a"],
    ["b1", "b"],
    ["a2", "a"],
    ["plain", ""],
    ["a3", "a"],
  ] as const) {
    target.publish(draft(text, { keys }));
  }
  const sink = consume(peer, queue("q"));
  await settle();
  t.deepEqual(sink.texts, ["b1", "plain", "a3"]);
  await close();
});

test("a failed message waits for its retry delay, others go on meanwhile", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "q", settings: { retry: { kind: "fixed", delayMs: 2000 } } }],
  });
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (const text of ["1", "2"]) target.publish(draft(text));
  const sink = consume(peer, queue("q"), { credit: 100 });
  await settle();
  sink.consumer.settle(0, 0, OUTCOME.FAIL);
  await settle();
  t.deepEqual(sink.texts, ["1", "2"], "not at once");
  await until("the retry", () => sink.texts.length === 3);
  t.is(sink.received[2]!.text, "1");
  t.is(sink.received[2]!.deliveryCount, 1);
  await close();
});

test("retry delays: fixed, doubling up to a bound, a table whose last entry holds for all later ones", (t) => {
  t.is(retryDelayMs({ kind: "none" }, 1), 0);
  const exponential = { kind: "exponential", delayMs: 100, maxDelayMs: 1000 } as const;
  t.deepEqual(
    [1, 2, 3, 4, 5, 60].map((n) => retryDelayMs(exponential, n)),
    [100, 200, 400, 800, 1000, 1000],
  );
  const table = { kind: "table", delaysMs: [10_000, 30_000, 7_200_000] } as const;
  t.deepEqual(
    [1, 2, 3, 4, 17].map((n) => retryDelayMs(table, n)),
    [10_000, 30_000, 7_200_000, 7_200_000, 7_200_000],
  );
});

test("of several policies the later wins, key by key; dots of queue names are levels", (t) => {
  const policies = [
    { match: "#", settings: { maxLength: 1, maxDeliveries: 2 } },
    { match: "orders/+", kind: "queue" as const, settings: { maxLength: 5 } },
  ];
  const settings = settingsFor("queue", "orders.eu", DEFAULT_SETTINGS, policies);
  t.is(settings.maxLength, 5);
  t.is(settings.maxDeliveries, 2);
  t.is(settingsFor("topic", "orders/eu", DEFAULT_SETTINGS, policies).maxLength, 1);
});

test("messages of one key go to one consumer while any is outstanding, in order, through a member's loss", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const other = connect(broker);
  const one = consume(peer, queue("q"), { credit: 10 });
  const two = consume(other, queue("q"), { credit: 10 });
  const target = peer.openTarget(queue("q"));
  for (const text of ["a1", "b1", "a2", "b2", "a3", "c1"]) {
    target.publish(draft(text, { group: text[0]! }));
  }
  await settle();
  const holderOf = (key: string) => {
    const holders = [one, two].filter((sink) => sink.texts.some((text) => text.startsWith(key)));
    t.is(holders.length, 1, `one holder of ${key}`);
    return holders[0]!;
  };
  for (const key of ["a", "b", "c"]) holderOf(key);
  t.deepEqual(
    holderOf("a").texts.filter((text) => text.startsWith("a")),
    ["a1", "a2", "a3"],
  );
  // The second member vanishes: what it held comes to the first, key by key in order.
  const lost = two.texts;
  other.close();
  await settle();
  for (const key of ["a", "b", "c"]) {
    const mine = one.texts.filter((text) => text.startsWith(key));
    if (lost.some((text) => text.startsWith(key))) {
      t.deepEqual(mine, [...mine].sort(), `order of ${key}`);
    }
  }
  t.is(new Set(one.texts).size, 6);
  await close();
});

test("a single active consumer has everything until it leaves", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "q", settings: { isSingleActive: true } }],
  });
  const peer = connect(broker);
  const first = consume(peer, queue("q"));
  const second = consume(peer, queue("q"));
  const target = peer.openTarget(queue("q"));
  for (const text of ["1", "2"]) target.publish(draft(text));
  await settle();
  t.deepEqual([first.texts, second.texts], [["1", "2"], []]);
  first.consumer.settle(0, 0, OUTCOME.ACCEPT);
  first.consumer.close(OUTCOME.RELEASE);
  await settle();
  t.deepEqual(second.texts, ["2"]);
  await close();
});

test("an exclusive consumer keeps others out, and does not come in where others are", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const sink = consume(peer, queue("q"), { isExclusive: true });
  t.throws(() => consume(peer, queue("q")), { message: /has an exclusive consumer/ });
  sink.consumer.close(OUTCOME.RELEASE);
  consume(peer, queue("q"));
  t.throws(() => consume(peer, queue("q"), { isExclusive: true }), {
    message: /must be the only one/,
  });
  await close();
});

test("expired messages are never delivered, wherever they lie, and become dead letters", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  target.publish(draft("stays"));
  target.publish(draft("over", { expiresAt: Date.now() - 1 }));
  target.publish(draft("soon", { ttlMs: 20 }));
  target.publish(draft("stays too"));
  const node = broker.registry.find("queue", "/", "q")!;
  await until("both to expire without a consumer", () => node.backlog === 2, 5000);
  const sink = consume(peer, queue("q"));
  const dead = consume(peer, queue("DLQ.q"));
  await settle();
  t.deepEqual(sink.texts, ["stays", "stays too"]);
  t.deepEqual(dead.texts, ["over", "soon"]);
  t.is(node.counters.expired, 2);
  await close();
});

test("a delayed message comes when it is due and not before, also after a restart", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const target = connect(broker).openTarget(queue("q"));
  const due = Date.now() + 1500;
  t.true(target.publish(draft("later", { deliverAt: due })) > 0);
  target.publish(draft("now"));
  await settle();
  await close();
  const again = await openTestBroker({ store });
  const sink = consume(connect(again.broker), queue("q"));
  await settle();
  t.deepEqual(sink.texts, ["now"]);
  await until("the delayed message", () => sink.texts.length === 2);
  t.true(Date.now() >= due);
  await again.close();
});

test("a transaction is visible with its commit, settles with it, and leaves nothing when rolled back", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("out"));
  peer.openTarget(queue("in")).publish(draft("work"));
  const input = consume(peer, queue("in"));
  const output = consume(peer, queue("out"));
  await settle();
  const first = peer.beginTransaction();
  first.publish(target, draft("dropped"));
  first.settle(input.consumer, 0, 0, OUTCOME.ACCEPT);
  await settle();
  t.deepEqual(output.texts, []);
  first.rollback(true);
  await settle();
  t.deepEqual(input.texts, ["work", "work"], "redelivered");
  t.is(input.received[1]!.deliveryCount, 1);
  const second = peer.beginTransaction();
  second.publish(target, draft("done"));
  second.settle(input.consumer, 1, 1, OUTCOME.ACCEPT);
  const position = second.commit();
  t.true(position > 0);
  await settle();
  t.deepEqual(output.texts, ["done"]);
  t.is(broker.registry.find("queue", "/", "in")!.backlog, 0);
  t.throws(() => second.commit(), { message: /has ended/ });
  await close();
});

test("purge takes what is ready, move sends dead letters back to where they died", async (t) => {
  const { broker, close } = await openTestBroker({ settings: { maxDeliveries: 1 } });
  const peer = connect(broker);
  const operations = new Operations(broker);
  const target = peer.openTarget(queue("q"));
  for (const text of ["1", "2", "3"]) target.publish(draft(text));
  const sink = consume(peer, queue("q"), { credit: 2 });
  await settle();
  sink.consumer.settle(0, 1, OUTCOME.FAIL);
  await settle();
  t.is(operations.purge({ kind: "queue", namespace: "/", name: "q" }), 1);
  t.is(await operations.move("DLQ.q", undefined), 2);
  sink.consumer.setCredit(10);
  await settle();
  t.deepEqual(sink.texts, ["1", "2", "1", "2"]);
  t.is(broker.registry.find("queue", "/", "DLQ.q")!.backlog, 0);
  await close();
});

test("inspection shows nodes, groups, consumers and single messages with their state", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker, "c");
  const target = peer.openTarget(queue("q"));
  for (const text of ["1", "2"]) target.publish(draft(text, { tag: "t" }));
  consume(peer, queue("q"), { credit: 1 });
  await settle();
  const inspection = new Inspection(broker);
  const node = inspection.node("queue", "/", "q")!;
  t.is(node.backlog, 2);
  t.is(node.unsettled, 1);
  t.is(node.consumers, 1);
  const messages = inspection.browse({ kind: "queue", namespace: "/", name: "q" });
  t.deepEqual(
    messages.map((message) => [message.offset, message.states[0]!.state]),
    [
      [0, "acquired"],
      [1, "ready"],
    ],
  );
  t.is(Buffer.from(messages[0]!.bodyBase64, "base64").toString(), "1");
  t.true(messages[0]!.properties.some(([name, value]) => name === "TAGS" && value === "t"));
  t.is(inspection.overview().counters.published, 2);
  t.is(inspection.connections()[0]!.clientId, "c");
  t.is(inspection.consumers()[0]!.unsettled, 1);
  await close();
});

test("a last-value topic keeps the newest of each key for later readers, and nothing else", async (t) => {
  const policies = [{ match: "prices", settings: { isLastValue: true } }];
  const host = await openTestBroker({ policies });
  const { broker, store } = host;
  const target = connect(broker).openTarget(topic("prices"));
  for (let i = 0; i < 30; i++)
    target.publish(draft(`${"abc"[i % 3]}${i}`, { keys: "abc"[i % 3]! }));
  target.publish(draft("no key"));
  target.publish(draft("b30", { keys: "b" }));
  await settle();
  const late = async (at: typeof broker): Promise<string[]> => {
    at.keepHouse();
    const sink = consume(connect(at), topic("prices"), { from: { kind: "first" } });
    await settle();
    sink.consumer.close(OUTCOME.RELEASE);
    return sink.texts;
  };
  t.deepEqual(await late(broker), ["a27", "c29", "b30"]);
  // A subscriber that is there sees each, as far as it has not been replaced before its turn.
  const live = consume(connect(broker), topic("prices"));
  await settle();
  for (const text of ["a31", "a32"]) {
    target.publish(draft(text, { keys: "a" }));
    await settle();
  }
  t.deepEqual(live.texts, ["a31", "a32"]);
  t.deepEqual(await late(broker), ["c29", "b30", "a32"]);
  await host.close();
  const again = await openTestBroker({ policies, store });
  t.deepEqual(await late(again.broker), ["c29", "b30", "a32"]);
  connect(again.broker)
    .openTarget(topic("prices"))
    .publish(draft("c33", { keys: "c" }));
  await settle();
  t.deepEqual(await late(again.broker), ["b30", "a32", "c33"]);
  await again.close();
});

test("in a last-value topic a message without a body ends its key, after a while for good, also over a restart", async (t) => {
  const policies = [{ match: "prices", settings: { isLastValue: true, endedKeysMs: 60_000 } }];
  let passed = 0;
  const clock: Clock = { ...REAL_CLOCK, now: () => Date.now() + passed };
  const host = await openTestBroker({ policies, clock });
  const late = async (at: typeof host.broker): Promise<string[]> => {
    at.turn.touch();
    at.keepHouse();
    await settle();
    const sink = consume(connect(at), topic("prices"), { from: { kind: "first" } });
    await settle();
    sink.consumer.close(OUTCOME.RELEASE);
    return sink.texts;
  };
  const target = connect(host.broker).openTarget(topic("prices"));
  for (const key of ["a", "b", "c"]) target.publish(draft(`${key}1`, { keys: key }));
  target.publish(draft("", { keys: "a" }));
  target.publish(draft("encoded nothing", { keys: "b", isEmptyBody: true }));
  await settle();
  t.deepEqual(await late(host.broker), ["c1", "", "encoded nothing"]);
  passed += 30_000;
  target.publish(draft("b2", { keys: "b" }));
  await settle();
  t.deepEqual(await late(host.broker), ["c1", "", "b2"], "a new value is no end any more");
  await host.close();
  const again = await openTestBroker({ policies, clock, store: host.store });
  t.deepEqual(await late(again.broker), ["c1", "", "b2"]);
  passed += 40_000;
  t.deepEqual(await late(again.broker), ["c1", "b2"], "its time is over");
  connect(again.broker)
    .openTarget(topic("prices"))
    .publish(draft("a2", { keys: "a" }));
  await settle();
  t.deepEqual(await late(again.broker), ["c1", "b2", "a2"], "and it may begin anew");
  await again.close();
});
