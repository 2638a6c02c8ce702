import test from "ava";
import type { Policy } from "../../src/broker/policy.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { type Clock, REAL_CLOCK } from "../../src/util/turn.ts";
import { SimulatedClock } from "../sim/simulated-clock.ts";
import { openLogBroker } from "../support/log-broker.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { consume, connect as dial, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

const HOUR = 3_600_000;
const YEAR = 365.25 * 24 * 3_600_000;
const namesOf = (list: { messages: ReadonlyArray<{ name: string }> }) =>
  list.messages.map(({ name }) => name);

test("what waits is listed by destination, whatever its time, also after a restart", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const peer = dial(broker);
  const now = Date.now();
  const years = now + 80 * YEAR;
  peer.openTarget(queue("a")).publish(draft("1", { deliverAt: years, keys: "k1" }));
  peer.openTarget(topic("b/c")).publish(draft("2", { deliverAt: now + 3_600_000 }));
  peer.openTarget(queue("a")).publish(draft("3", { deliverAt: now + 7_200_000, priority: 7 }));
  await settle();
  const check = ({ delayed }: typeof broker) => {
    const all = delayed.list({});
    t.is(all.waiting, 3);
    t.is(all.next, null);
    t.deepEqual(namesOf(all), ["a", "b/c", "a"]);
    t.like(all.messages[0], { number: 0, kind: "queue", dueAt: years, keys: "k1", namespace: "/" });
    t.deepEqual(
      delayed.list({ kind: "queue", name: "a" }).messages.map(({ number }) => number),
      [0, 2],
    );
    t.deepEqual(namesOf(delayed.list({ kind: "topic", name: "b/c" })), ["b/c"]);
    t.deepEqual(namesOf(delayed.list({ kind: "topic", name: "a" })), []);
    t.deepEqual(namesOf(delayed.list({ namespace: "other" })), []);
    const first = delayed.list({}, 0, 2);
    t.deepEqual([first.messages.length, first.next], [2, 2]);
    t.deepEqual(namesOf(delayed.list({}, first.next!, 2)), ["a"]);
    t.like(delayed.find(2), { number: 2, priority: 7 });
    t.is(delayed.find(3), undefined);
  };
  check(broker);
  await close();
  const again = await openTestBroker({ store });
  check(again.broker);
  await again.close();
});

test("a message that was taken back never comes, nor after a crash; the others do", async (t) => {
  const disk = new MemoryStorage();
  const first = await openLogBroker(disk);
  const peer = dial(first.broker);
  const due = Date.now() + HOUR;
  const target = peer.openTarget(queue("q"));
  for (const text of ["a", "b", "c"]) target.publish(draft(text, { deliverAt: due }));
  target.publish(draft("far", { deliverAt: Date.now() + 50 * YEAR }));
  await settle();
  t.true(await first.broker.delayed.cancel(1));
  t.false(await first.broker.delayed.cancel(1), "once only");
  t.false(await first.broker.delayed.cancel(99));
  t.true(await first.broker.delayed.cancel(3), "one that is due in fifty years");
  t.is(first.broker.delayed.waitingCount, 2);
  // The process is gone without a word: what was answered has to hold.
  const clock: Clock = { ...REAL_CLOCK, now: () => Date.now() + passed };
  let passed = 0;
  const again = await openLogBroker(disk.copy(), { clock });
  t.is(again.broker.delayed.waitingCount, 2);
  passed = HOUR;
  await again.broker.close();
  const late = await openLogBroker(disk.copy(), { clock });
  const sink = consume(dial(late.broker), queue("q"));
  await until("the two that are left", () => sink.texts.length === 2);
  t.deepEqual(sink.texts, ["a", "c"]);
  await until("they are settled", () => late.broker.delayed.waitingCount === 0);
  t.deepEqual(late.broker.delayed.list({}), { waiting: 0, messages: [], next: null });
  await late.broker.close();
});

test("all of a destination, or of a message id, are taken back at once; nothing named is an error", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = dial(broker);
  const deliverAt = Date.now() + 3_600_000;
  for (let n = 0; n < 2500; n++) {
    peer.openTarget(queue(n % 2 === 0 ? "even" : "odd")).publish(draft(`${n}`, { deliverAt }));
  }
  const target = peer.openTarget(queue("one"));
  target.publish(draft("x", { deliverAt, properties: "x-message-id\x01order-7\x02" }));
  await settle();
  await t.throwsAsync(broker.delayed.cancelAll({}), { message: /name a queue/ });
  t.is(await broker.delayed.cancelAll({ kind: "queue", name: "even" }), 1250);
  t.is(broker.delayed.waitingCount, 1251);
  t.like(broker.delayed.list({ messageId: "order-7" }).messages[0], { name: "one", number: 2500 });
  t.is(await broker.delayed.cancelAll({ messageId: "order-7" }), 1);
  t.is(await broker.delayed.cancelAll({ messageId: "order-7" }), 0);
  t.is(broker.delayed.waitingCount, 1250);
  const { ownGroup } = broker.registry.find("queue", "/", "~delayed")!;
  t.is(ownGroup.backlog, 1250);
  await close();
});

test("an id seen with a delayed message is a duplicate, also after a restart, until that one is taken back", async (t) => {
  const policies: Policy[] = [{ match: "q", settings: { dedupWindowMs: 600_000 } }];
  const { broker, store, close } = await openTestBroker({ policies });
  const deliverAt = Date.now() + 3_600_000;
  const send = (to: typeof broker, fields: object) =>
    dial(to)
      .openTarget(queue("q"))
      .publish(draft("x", { dedupId: "id\x02\x01", ...fields }));
  const position = send(broker, { deliverAt });
  t.is(send(broker, { deliverAt }), position, "confirmed with the first");
  t.is(send(broker, {}), position, "though not delayed itself");
  await settle();
  t.is(broker.delayed.waitingCount, 1);
  t.is(broker.registry.find("queue", "/", "q")!.counters.duplicates, 2);
  await close();
  const again = await openTestBroker({ store, policies });
  send(again.broker, { deliverAt });
  t.is(again.broker.delayed.waitingCount, 1);
  t.true(await again.broker.delayed.cancel(0));
  send(again.broker, { deliverAt });
  t.is(again.broker.delayed.waitingCount, 1, "sent anew");
  await again.close();
});

test("of a key's values the one that comes last is kept, also when it was delayed", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "q", settings: { isLastValue: true } }],
  });
  const target = dial(broker).openTarget(queue("q"));
  target.publish(draft("old", { keys: "k" }));
  target.publish(draft("later", { keys: "k", deliverAt: Date.now() + 200 }));
  target.publish(draft("other", { keys: "l" }));
  const node = broker.registry.find("queue", "/", "q")!;
  t.is(node.ownGroup.readyCount, 2);
  await until("the delayed one", () => node.counters.published === 3);
  await settle();
  const sink = consume(dial(broker), queue("q"));
  await until("both values", () => sink.texts.length === 2);
  t.deepEqual(sink.texts, ["other", "later"]);
  await close();
});

test("a queue's limit of life begins when the message comes, the publisher's when it was sent", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "q", settings: { ttlMs: 60_000 } }],
  });
  const target = dial(broker).openTarget(queue("q"));
  const deliverAt = Date.now() + 3_600_000;
  target.publish(draft("x", { deliverAt }));
  target.publish(draft("y", { deliverAt, ttlMs: 7_200_000 }));
  const [x, y] = broker.delayed.list({}).messages;
  t.is(x!.expiresAt, 0);
  t.true(y!.expiresAt > deliverAt);
  await close();
});

test("a delayed message has its place in a queue that rejects: whoever comes when it is full is refused at once", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "q", kind: "queue", settings: { maxLength: 2, overflow: "reject" } }],
  });
  const target = dial(broker).openTarget(queue("q"));
  const deliverAt = Date.now() + 300;
  target.publish(draft("later", { deliverAt }));
  target.publish(draft("now"));
  t.throws(() => target.publish(draft("too many")), { code: "queue-full" });
  t.throws(() => target.publish(draft("too many", { deliverAt })), { code: "queue-full" });
  t.is(broker.delayed.waitingCount, 1);
  // Whoever takes one makes room for one, of either kind.
  const [first] = broker.delayed.list({}).messages;
  t.true(await broker.delayed.cancel(first!.number));
  target.publish(draft("later", { deliverAt: Date.now() + 50 }));
  const node = broker.registry.find("queue", "/", "q")!;
  await until("it came", () => node.backlog === 2);
  t.throws(() => target.publish(draft("too many")), { code: "queue-full" });
  t.is(node.backlog, 2);
  const reader = consume(dial(broker), queue("q"));
  await until("both", () => reader.texts.length === 2);
  t.deepEqual(reader.texts, ["now", "later"]);
  await close();
});

test("delayed messages count by their bytes, and are counted again after a restart", async (t) => {
  const policies = [
    { match: "q", kind: "queue", settings: { maxBytes: 2000, overflow: "reject" } },
  ] as const;
  const first = await openTestBroker({ policies });
  const body = "x".repeat(700);
  const deliverAt = Date.now() + 3_600_000;
  const put = (broker: typeof first.broker) =>
    dial(broker).openTarget(queue("q")).publish(draft(body, { deliverAt }));
  put(first.broker);
  put(first.broker);
  t.throws(() => put(first.broker), { code: "queue-full" });
  await first.close();
  const again = await openTestBroker({ policies, store: first.store });
  t.throws(() => put(again.broker), { code: "queue-full" });
  await again.close();
});

test("a message for a full topic waits until there is room, and is not lost", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "t", kind: "topic", settings: { maxLength: 1, overflow: "reject" } }],
  });
  const reader = consume(dial(broker), topic("t"), { credit: 0 });
  const target = dial(broker).openTarget(topic("t"));
  target.publish(draft("now"));
  target.publish(draft("later", { deliverAt: Date.now() + 50 }));
  const node = broker.registry.find("topic", "/", "t")!;
  await until("it was refused", () => node.counters.rejected > 0);
  t.is(broker.delayed.waitingCount, 1);
  reader.consumer.setCredit(10);
  await until("both", () => reader.texts.length === 2);
  t.deepEqual(reader.texts, ["now", "later"]);
  t.is(broker.delayed.waitingCount, 0);
  await close();
});

test("one that waits for years does not make the broker remember what came since", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const target = dial(broker).openTarget(queue("q"));
  const far = Date.now() + 30 * YEAR;
  target.publish(draft("far", { deliverAt: far, dedupId: "d" }));
  const shard = () => broker.registry.find("queue", "/", "~delayed")!.ownGroup.shards[0]!;
  const soon = Date.now() + 3_600_000;
  for (let n = 0; n < 70_000; n++) target.publish(draft("soon", { deliverAt: soon }));
  await settle();
  const { state } = shard();
  state.park(1, 70_000);
  shard().settle(1, 70_000);
  broker.keepHouse();
  t.is(state.low, 0, "while more than a quarter waits, it stays");
  // Those in between are gone from the heap's point of view as well.
  await broker.delayed.cancelAll({ kind: "queue", name: "nothing" });
  await close();
  const again = await openTestBroker({ store });
  again.broker.keepHouse();
  await settle();
  t.is(again.broker.delayed.waitingCount, 1);
  const moved = again.broker.registry.find("queue", "/", "~delayed")!.ownGroup.shards[0]!.state;
  t.is(moved.low, 70_001);
  t.like(again.broker.delayed.find(0), { number: 0, dueAt: far }, "still known by its number");
  await again.close();
  const third = await openTestBroker({ store });
  t.like(third.broker.delayed.list({}).messages[0], { number: 0, dueAt: far });
  t.true(await third.broker.delayed.cancel(0));
  t.is(third.broker.delayed.waitingCount, 0);
  await third.close();
});

test("a large delayed message comes, though it was due before the disk had it", async (t) => {
  const clock = new SimulatedClock();
  const writer: Array<() => void> = [];
  const soon = (task: () => void): void => void setImmediate(task);
  const schedule = {
    writer: (task: () => void) => void writer.push(task),
    loop: soon,
    later: soon,
  };
  const { broker } = await openLogBroker(new MemoryStorage(), { clock, schedule });
  const turn = async (ms: number): Promise<void> => {
    clock.advance(ms);
    clock.run();
    await settle();
  };
  const peer = dial(broker);
  const text = "x".repeat(30_000);
  peer
    .openTarget(queue("q"))
    .publish(draft(text, { deliverAt: clock.now() + 10, isDurable: false }));
  await turn(1000);
  t.is(broker.delayed.waitingCount, 1);
  const sink = consume(peer, queue("q"));
  await until("it is there", () => {
    while (writer.length > 0) writer.shift()!();
    clock.advance(10);
    clock.run();
    return sink.texts.length === 1;
  });
  t.is(sink.texts[0], text);
  t.is(broker.registry.find("queue", "/", "~delayed")!.counters.dropped, 0);
});
