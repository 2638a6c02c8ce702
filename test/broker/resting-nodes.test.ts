import test from "ava";
import { type BrokerConnection, OUTCOME } from "../../src/broker/facade.ts";
import { Inspection } from "../../src/broker/inspect.ts";
import type { Address } from "../../src/model/address.ts";
import { type Clock, REAL_CLOCK } from "../../src/util/turn.ts";
import { makeBroker } from "../support/log-broker.ts";
import { MemoryStore } from "../support/memory-store.ts";
import {
  type Collector,
  connect,
  consume,
  draft,
  queue,
  settle,
  topic,
} from "../support/test-client.ts";
import { until } from "../support/wait.ts";

const SUBSCRIPTION = { clientId: "c", name: "s", isDurable: true, isShared: false };

function send(peer: BrokerConnection, address: Address, text: string): void {
  const target = peer.openTarget(address);
  target.publish(draft(text));
  target.close();
}

const NAMES = Array.from({ length: 200 }, (_, i) => `q${i}`);

async function received(sink: Collector): Promise<Collector> {
  await settle();
  return sink;
}

/** Rounds of housekeeping are the test's own: on a busy machine the clock's would come between its steps. */
const clock: Clock = {
  ...REAL_CLOCK,
  after: (ms, task) => (ms < 1000 ? REAL_CLOCK.after(ms, task) : undefined),
};

async function open(store: MemoryStore) {
  const broker = makeBroker(store, { keepAwake: 0, clock });
  await broker.open();
  return broker;
}

test("queues that nobody uses are at rest, and a message wakes its own only", async (t) => {
  const broker = await open(new MemoryStore());
  const peer = connect(broker, "c");
  for (const name of NAMES) send(peer, queue(name), `to ${name}`);
  await settle();
  broker.keepHouse();
  broker.keepHouse();
  t.is(broker.registry.awakeCount, 0);
  t.is(broker.registry.size, NAMES.length);
  const { texts } = await received(consume(peer, queue("q7")));
  t.deepEqual(texts, ["to q7"]);
  t.is(broker.registry.awakeCount, 1);
  await broker.close();
});

test("what was settled stays settled, what was not comes back, over rest and restart", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const peer = connect(broker, "c");
  for (const text of ["a", "b", "c"]) send(peer, queue("q"), text);
  const first = await received(consume(peer, queue("q"), { credit: 1 }));
  t.deepEqual(first.texts, ["a"]);
  first.consumer.settle(0, 0, OUTCOME.ACCEPT);
  first.consumer.close(OUTCOME.RELEASE);
  await settle();
  for (let i = 0; i < 3; i++) broker.keepHouse();
  t.is(broker.registry.awakeCount, 0);
  await broker.close();

  const again = await open(store);
  t.is(again.registry.size, 1);
  const rest = await received(consume(connect(again, "c"), queue("q")));
  t.deepEqual(rest.texts, ["b", "c"]);
  await again.close();
});

test("a durable subscription of a topic at rest gets what was published meanwhile", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const peer = connect(broker, "c");
  consume(peer, topic("news"), { subscription: SUBSCRIPTION }).consumer.close(OUTCOME.RELEASE);
  await settle();
  for (let i = 0; i < 3; i++) broker.keepHouse();
  t.is(broker.registry.awakeCount, 0);
  t.is(peer.findSubscription(SUBSCRIPTION)?.backlog, 0);
  for (let i = 0; i < 3; i++) broker.keepHouse();
  send(peer, topic("news"), "n1");
  await settle();
  for (let i = 0; i < 3; i++) broker.keepHouse();
  await broker.close();

  const again = await open(store);
  const back = connect(again, "c");
  const { texts } = await received(consume(back, topic("news"), { subscription: SUBSCRIPTION }));
  t.deepEqual(texts, ["n1"]);
  await again.close();
});

test("lists come in pages, wake nobody for long, and count everything", async (t) => {
  const broker = await open(new MemoryStore());
  const peer = connect(broker, "c");
  for (const name of NAMES) send(peer, queue(name), name);
  await settle();
  broker.keepHouse();
  broker.keepHouse();
  const inspection = new Inspection(broker);
  const seen: string[] = [];
  for (let next: number | null = 0; next !== null; ) {
    const page = inspection.nodes("queue", { after: next, max: 33 });
    t.true(page.items.length <= 33);
    for (const { name, backlog, counters } of page.items) {
      seen.push(name);
      t.is(backlog, 1);
      t.is(counters.published, 1);
    }
    next = page.next;
  }
  t.deepEqual(seen, NAMES);
  t.is(broker.registry.awakeCount, 0);
  const begin = (name: string, namespace = "/") =>
    inspection.nodes("queue", { prefix: { namespace, name } }).items.map((node) => node.name);
  t.deepEqual(
    begin("n19"),
    NAMES.filter((name) => name.startsWith("n19")),
  );
  t.deepEqual(begin("n19", "other"), []);
  t.deepEqual(inspection.nodes("queue", { isAwake: true }), { items: [], next: null });
  const target = peer.openTarget(queue(NAMES[7]!));
  const [active] = inspection.nodes("queue", { isAwake: true }).items;
  t.is(active!.name, NAMES[7]!);
  t.deepEqual(begin(""), NAMES);
  target.close();
  broker.keepHouse();
  broker.keepHouse();
  const { queues, groups, counters } = inspection.overview();
  t.deepEqual([queues, groups, counters.published], [200, 200, 200]);
  const { nodes, rest } = inspection.busyNodes(inspection.nodes("queue", { max: 5 }).items);
  t.is(nodes.length, 5);
  t.is(rest.queue.backlog, 195);
  t.is(rest.queue.counters.published, 195);
  await broker.close();
});

test("a queue that is deleted while at rest is gone, and its name begins anew", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const peer = connect(broker, "c");
  send(peer, queue("q"), "old");
  await settle();
  broker.keepHouse();
  broker.keepHouse();
  t.is(broker.registry.awakeCount, 0);
  broker.deleteNode(broker.registry.find("queue", "/", "q")!);
  await settle();
  t.is(broker.registry.size, 0);
  await broker.close();
  const again = await open(store);
  t.is(again.registry.size, 0);
  const { texts } = await received(consume(connect(again, "c"), queue("q")));
  t.deepEqual(texts, []);
  await again.close();
});

test("of tens of thousands that are made in a row most rest at once: whoever makes them waits for it", async (t) => {
  const broker = await open(new MemoryStore());
  let most = 0;
  for (let i = 0; i < 30_000; i++) {
    broker.registry.lightNode(`light-${i}`);
    if (i % 500 !== 499) continue;
    broker.requestPublish();
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    most = Math.max(most, broker.registry.awakeCount);
  }
  t.true(most < 6000, `${most} awake at once`);
  t.true(broker.registry.hasLight("light-0"));
  t.is(broker.registry.findLight("light-29999")?.address.name, "light-29999");
  await broker.close();
});

test("lists of what is at rest say the same as of what is awake, wake nothing and write nothing", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const peer = connect(broker, "c");
  for (const name of ["a", "b", "c"]) send(peer, queue("some"), name);
  const first = await received(consume(peer, queue("some"), { credit: 2 }));
  // Out of order: what is left of it is not a mere low-water mark.
  first.consumer.settle(1, 1, OUTCOME.ACCEPT);
  first.consumer.close(OUTCOME.RELEASE);
  send(peer, queue("none"), "x");
  const none = await received(consume(peer, queue("none"), { credit: 1 }));
  none.consumer.settle(0, 0, OUTCOME.ACCEPT);
  none.consumer.close(OUTCOME.RELEASE);
  const reader = consume(peer, topic("news"), { subscription: SUBSCRIPTION });
  reader.consumer.close(OUTCOME.RELEASE);
  send(peer, topic("news"), "y");
  await settle();
  // Until then nothing of which it speaks may rest.
  await until("the journal has what was settled", () => broker.settlePosition() === 0);
  const inspection = new Inspection(broker);
  const all = () => [
    inspection.nodes("queue").items,
    inspection.nodes("topic").items,
    inspection.groups().items,
    inspection.groupsOf("queue", "/", "some"),
  ];
  for (let i = 0; i < 4; i++) broker.keepHouse();
  t.is(broker.registry.awakeCount, 0);
  const noted = store.journal.bytesSinceSnapshot;
  const atRest = all();
  t.is(broker.registry.awakeCount, 0);
  t.is(store.journal.bytesSinceSnapshot, noted);
  for (const name of ["some", "none"]) broker.registry.find("queue", "/", name);
  broker.registry.find("topic", "/", "news");
  t.is(broker.registry.awakeCount, 3);
  t.deepEqual(atRest, all());
  await broker.close();
});
