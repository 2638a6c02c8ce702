import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { SimulatedClock } from "../sim/simulated-clock.ts";
import { copyFiles, openLogBroker } from "../support/log-broker.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

test("what a commit published is seen only when the whole batch is durable, in every queue and index", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const peer = connect(broker);
  const sinks = [
    consume(peer, queue("a")),
    consume(peer, queue("b")),
    consume(peer, topic("t/x")),
    consume(peer, topic("+/x")),
    consume(peer, topic("#"), {
      subscription: { clientId: "c", name: "s", isShared: false, isDurable: true },
    }),
  ];
  const targets = [queue("a"), queue("b"), topic("t/x")].map((to) => peer.openTarget(to));
  store.isManual = true;
  const transaction = peer.beginTransaction();
  for (const target of targets) transaction.publish(target, draft("in"));
  transaction.publish(targets[0]!, draft("urgent", { priority: 9 }));
  const position = transaction.commit();
  targets[0]!.publish(draft("behind"));
  await settle();
  for (const sink of sinks) t.deepEqual(sink.texts, []);
  const browser = consume(peer, queue("a"), { mode: "browse" });
  browser.consumer.drain();
  await settle();
  t.deepEqual(browser.texts, []);
  store.sync();
  t.true(broker.confirmedTo("fsync") >= position);
  await settle();
  t.deepEqual(
    sinks.map((sink) => sink.texts),
    [["urgent", "in", "behind"], ["in"], ["in"], ["in"], ["in"]],
  );
  store.isManual = false;
  await close();
});

test("a delayed message of a commit is not released before the whole batch is durable, however soon it is due", async (t) => {
  const clock = new SimulatedClock();
  const { broker, store } = await openTestBroker({ clock });
  const peer = connect(broker);
  const turn = (ms: number) => {
    clock.advance(ms);
    clock.run();
  };
  store.isManual = true;
  const target = peer.openTarget(queue("q"));
  const transaction = peer.beginTransaction();
  transaction.publish(target, draft("now"));
  transaction.publish(target, draft("soon", { deliverAt: clock.now() + 10 }));
  transaction.commit();
  turn(1000);
  // A copy of it could outlive the rest in a power cut.
  t.is(broker.registry.find("queue", "/", "q")!.counters.published, 1);
  t.is(broker.delayed.waitingCount, 1);
  // One that is published alone does not wait for it.
  target.publish(draft("alone", { deliverAt: clock.now() + 10 }));
  turn(1000);
  t.is(broker.delayed.waitingCount, 1);
  t.is(broker.registry.find("queue", "/", "q")!.counters.published, 2);
  const sink = consume(peer, queue("q"));
  for (let i = 0; i < 3; i++) {
    store.sync();
    turn(1000);
  }
  t.deepEqual([...sink.texts].sort(), ["alone", "now", "soon"]);
  t.is(broker.delayed.waitingCount, 0);
});

test("a delivery belongs to the transaction that settled it first; a second one gets nothing of it", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (const text of ["0", "1", "2", "3"]) target.publish(draft(text));
  const sink = consume(peer, queue("q"));
  await settle();
  const first = peer.beginTransaction();
  const second = peer.beginTransaction();
  first.settle(sink.consumer, 1, 2, OUTCOME.ACCEPT);
  second.settle(sink.consumer, 0, 3, OUTCOME.ACCEPT);
  second.settle(sink.consumer, 0, 3, OUTCOME.ACCEPT);
  second.rollback(false);
  t.is(sink.consumer.unsettledCount, 4);
  first.commit();
  await settle();
  t.is(sink.consumer.unsettledCount, 2);
  sink.consumer.settle(0, 3, OUTCOME.ACCEPT);
  await settle();
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 0);
  await close();
});

test("a consumer may close before the commit; what it staged is settled with it, the rest goes back", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (const text of ["0", "1", "2"]) target.publish(draft(text));
  const sink = consume(peer, queue("q"));
  await settle();
  const transaction = peer.beginTransaction();
  transaction.settle(sink.consumer, 0, 0, OUTCOME.ACCEPT);
  transaction.settle(sink.consumer, 2, 2, OUTCOME.ACCEPT);
  sink.consumer.close(OUTCOME.RELEASE);
  const other = consume(peer, queue("q"));
  await settle();
  t.deepEqual(other.texts, ["1"]);
  transaction.commit();
  other.consumer.settle(0, 0, OUTCOME.ACCEPT);
  await settle();
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 0);
  await close();
});

test("a lost connection takes its transactions along: nothing published, deliveries back in their places", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (const text of ["0", "1"]) target.publish(draft(text));
  const sink = consume(peer, queue("q"));
  await settle();
  const transaction = peer.beginTransaction();
  transaction.publish(target, draft("never"));
  transaction.settle(sink.consumer, 0, 1, OUTCOME.ACCEPT);
  peer.close();
  t.throws(() => transaction.commit(), { code: "unknown-transaction" });
  const other = consume(connect(broker), queue("q"));
  await settle();
  t.deepEqual(other.texts, ["0", "1"]);
  await close();
});

test("a commit that has become impossible changes nothing and gives its deliveries back", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "small", settings: { maxLength: 2, overflow: "reject" } }],
  });
  const peer = connect(broker);
  const work = peer.openTarget(queue("work"));
  const small = peer.openTarget(queue("small"));
  const fine = peer.openTarget(queue("fine"));
  work.publish(draft("job"));
  const sink = consume(peer, queue("work"));
  await settle();
  const transaction = peer.beginTransaction();
  transaction.settle(sink.consumer, 0, 0, OUTCOME.ACCEPT);
  transaction.publish(fine, draft("x"));
  for (const text of ["1", "2", "3"]) transaction.publish(small, draft(text));
  t.throws(() => transaction.commit(), { code: "transaction-rollback", message: /full/ });
  await settle();
  t.is(broker.registry.find("queue", "/", "fine")!.backlog, 0);
  t.is(broker.registry.find("queue", "/", "small")!.backlog, 0);
  t.deepEqual(sink.texts, ["job", "job"]);
  const deleted = peer.beginTransaction();
  deleted.publish(fine, draft("x"));
  broker.deleteNode(broker.registry.find("queue", "/", "fine")!);
  t.throws(() => deleted.commit(), { code: "transaction-rollback", message: /deleted/ });
  await close();
});

test("a transaction has its bounds, and refuses what could not be stored when it is staged", async (t) => {
  const { broker, close } = await openTestBroker({ maxMessageBytes: 1000 });
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  const transaction = peer.beginTransaction();
  t.throws(() => transaction.publish(target, draft("x".repeat(1001))), {
    code: "message-too-large",
  });
  t.throws(() => transaction.publish(target, draft("x", { properties: "p".repeat(40_000) })), {
    code: "properties-too-large",
  });
  const one = draft("");
  t.throws(
    () => {
      for (let i = 0; i <= 100_001; i++) transaction.publish(target, one);
    },
    { code: "limit-exceeded" },
  );
  transaction.rollback(false);
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 0);
  await close();
});

test("a commit much larger than the ring goes through, all of it at once", async (t) => {
  const disk = new MemoryStorage();
  const { broker } = await openLogBroker(disk);
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  const sink = consume(peer, queue("q"), { credit: 10_000 });
  const transaction = peer.beginTransaction();
  const body = "x".repeat(1000);
  for (let i = 0; i < 500; i++) transaction.publish(target, draft(`${i} ${body}`));
  const position = transaction.commit();
  await until("the commit", () => broker.confirmedTo("fsync") >= position);
  await until("its messages", () => sink.texts.length === 500);
  t.deepEqual(
    sink.texts.map((text) => Number.parseInt(text, 10)),
    Array.from({ length: 500 }, (_, i) => i),
  );
  await broker.close();
});

test("cut at any byte, a commit is there with everything or with nothing", async (t) => {
  const disk = new MemoryStorage();
  const { broker, store } = await openLogBroker(disk);
  const peer = connect(broker);
  const input = peer.openTarget(queue("in"));
  const last = ["i0", "i1", "i2"].map((text) => input.publish(draft(text))).at(-1)!;
  const outputs = [peer.openTarget(queue("out")), peer.openTarget(topic("news/x"))];
  consume(peer, topic("+/x"), {
    subscription: { clientId: "c", name: "s", isShared: false, isDurable: true },
    credit: 0,
  });
  const sink = consume(peer, queue("in"));
  await until("the input", () => sink.texts.length === 3 && broker.confirmedTo("fsync") >= last);
  await settle();
  const before = new MemoryStorage();
  copyFiles(disk, before, "/data");
  const start = store.watermarks.appended;
  const transaction = peer.beginTransaction();
  for (const target of outputs) transaction.publish(target, draft("o"));
  transaction.publish(outputs[0]!, draft("later", { deliverAt: Date.now() + 1e9 }));
  transaction.settle(sink.consumer, 0, 0, OUTCOME.ACCEPT);
  transaction.settle(sink.consumer, 2, 2, OUTCOME.ACCEPT);
  const end = transaction.commit();
  await until("the commit", () => broker.confirmedTo("fsync") >= end);
  const after = new MemoryStorage();
  copyFiles(disk, after, "/data");
  await broker.close();

  const state = async (storage: MemoryStorage): Promise<string> => {
    const again = await openLogBroker(storage);
    const backlog = (kind: "queue" | "topic", name: string): number =>
      again.broker.registry.find(kind, "/", name)?.backlog ?? 0;
    const inbox = consume(connect(again.broker), queue("in"));
    await settle(2);
    const found = [
      inbox.texts.join(","),
      backlog("queue", "out"),
      again.broker.subscriptions.wildcards.groups()[0]!.backlog,
      backlog("queue", "~delayed"),
    ].join(" ");
    await again.broker.close();
    return found;
  };
  const found = new Map<string, number>();
  for (let cut = start; cut <= end; cut++) {
    // The log reached the disk up to here; the journal and everything derived are those from before the commit.
    const torn = new MemoryStorage();
    copyFiles(before, torn, "/data", (path, bytes) => {
      if (!path.includes("/commitlog/")) return bytes;
      const log = after.open(path, "read");
      const whole = Buffer.alloc(log.size());
      log.readInto(whole, 0, whole.length, 0);
      log.close();
      return whole.fill(0, cut);
    });
    const one = await state(torn);
    found.set(one, (found.get(one) ?? 0) + 1);
    if (cut < end) t.is(one, "i0,i1,i2 0 0 0", `cut at ${cut - start} of ${end - start}`);
    else t.is(one, "i1 1 1 1", "the whole batch");
  }
  t.is(found.size, 2);
  t.true(end - start > 500, `${end - start} bytes`);
});
