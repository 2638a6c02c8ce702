/** What stands for something else may be taken by a crash as long as it is not durable: then nothing was changed. */
import test from "ava";
import type { Broker } from "../../src/broker/broker.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import type { Policy } from "../../src/broker/policy.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { makeBroker } from "../support/log-broker.ts";
import { MemoryStore } from "../support/memory-store.ts";
import { Random } from "../support/random.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";

const POLICIES: Policy[] = [
  { match: "latest", settings: { isLastValue: true } },
  { match: "short", settings: { maxLength: 1, overflow: "drop-head" } },
  { match: "dead", settings: { maxLength: 1, overflow: "dead-letter" } },
  { match: "bytes", settings: { maxBytes: 1000, overflow: "dead-letter" } },
  { match: "once", settings: { dedupWindowMs: 60_000 } },
];
const CRASHES = 40;

async function open(store: MemoryStore): Promise<Broker> {
  const broker = makeBroker(store, { policies: POLICIES });
  await broker.open();
  return broker;
}

function backlogOf(broker: Broker, name: string): number {
  return broker.registry.find("queue", "/", name)?.backlog ?? 0;
}

async function textsIn(broker: Broker, name: string): Promise<string[]> {
  const reader = consume(connect(broker), queue(name));
  await settle();
  return reader.texts;
}

async function retainedIn(broker: Broker, path: string): Promise<string[]> {
  const view = new RecordView();
  const cursor = broker.sessions.retained.cursor("/", path);
  const texts: string[] = [];
  while (cursor.next(view)) {
    texts.push(view.buffer.toString("utf8", view.bodyStart, view.bodyEnd));
  }
  return texts;
}

const send = (broker: Broker, name: string, text: string): void => {
  connect(broker)
    .openTarget(queue(name))
    .publish(draft(text, { keys: "k" }));
};
const retain = (broker: Broker, text: string): void => {
  connect(broker)
    .openTarget(topic("state"))
    .publish(draft(text, { isRetained: true }));
};

/** `first` is confirmed, then `second` is not: after a power cut one of them is there. */
const CASES: ReadonlyArray<{
  title: string;
  first: (broker: Broker) => void;
  second: (broker: Broker) => void;
  found: (broker: Broker) => Promise<string[]>;
  expected: string[];
}> = [
  {
    title: "the newest message of a key",
    first: (broker) => send(broker, "latest", "old"),
    second: (broker) => send(broker, "latest", "new"),
    found: (broker) => textsIn(broker, "latest"),
    expected: ["old", "new"],
  },
  {
    title: "a message that pushes out another",
    first: (broker) => send(broker, "short", "old"),
    second: (broker) => send(broker, "short", "new"),
    found: async (broker) => (await textsIn(broker, "short")).slice(-1),
    expected: ["old", "new"],
  },
  {
    title: "a transaction whose message pushes out another",
    first: (broker) => send(broker, "dead", "old"),
    second: (broker) => {
      const peer = connect(broker);
      const transaction = peer.beginTransaction();
      transaction.publish(peer.openTarget(queue("dead")), draft("new"));
      transaction.publish(peer.openTarget(queue("other")), draft("more"));
      transaction.commit();
    },
    found: async (broker) => {
      const dead = await textsIn(broker, "dead");
      return dead.includes("new") ? ["new"] : dead;
    },
    expected: ["old", "new"],
  },
  {
    title: "a retained message",
    first: (broker) => retain(broker, "old"),
    second: (broker) => retain(broker, "new"),
    found: (broker) => retainedIn(broker, "state"),
    expected: ["old", "new"],
  },
  {
    title: "the end of a retained message",
    first: (broker) => retain(broker, "old"),
    second: (broker) => retain(broker, ""),
    found: async (broker) => {
      const texts = await retainedIn(broker, "state");
      return texts.length === 0 ? ["none"] : texts;
    },
    expected: ["old", "none"],
  },
];

for (const { title, first, second, found, expected } of CASES) {
  test(`${title} takes the older one's place when it is durable, and not before`, async (t) => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= CRASHES; seed++) {
      const store = new MemoryStore();
      const broker = await open(store);
      first(broker);
      await settle();
      store.sync();
      await settle();
      store.isManual = true;
      second(broker);
      // Everything has been handed over, nothing is safe.
      await settle();
      store.crash(new Random(seed));
      store.isManual = false;
      const again = await open(store);
      const [text, ...more] = await found(again);
      t.deepEqual(more, [], `seed ${seed}`);
      t.true(text !== undefined && expected.includes(text), `seed ${seed}: ${text}`);
      // What the crash has left is settled with the journal of the next life as well.
      seen.add(text!);
      await again.close();
    }
    t.deepEqual([...seen].sort(), [...expected].sort(), "crashes before and after");
  });
}

test("what takes another's place settles it once it is durable, without anybody's asking", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  for (const text of ["1", "2", "3"]) send(broker, "latest", text);
  for (const text of ["1", "2", "3"]) retain(broker, text);
  await settle();
  store.sync();
  await settle();
  t.is(backlogOf(broker, "latest"), 1);
  t.is(broker.registry.findLight("retained")!.backlog, 1);
  t.is(broker.superseded.count, 0);
  await broker.close();
});

test("a message of a commit does not die before the commit is durable", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  store.isManual = true;
  const peer = connect(broker);
  const transaction = peer.beginTransaction();
  transaction.publish(peer.openTarget(queue("q")), draft("short-lived", { ttlMs: 1 }));
  transaction.publish(peer.openTarget(queue("dead")), draft("one"));
  transaction.publish(peer.openTarget(queue("q")), draft("other"));
  transaction.commit();
  await settle();
  await new Promise((resolve) => setTimeout(resolve, 5));
  broker.keepHouse();
  t.is(backlogOf(broker, "DLQ.q"), 0, "its time is over, and a crash could still undo it");
  send(broker, "dead", "two");
  await settle();
  t.is(backlogOf(broker, "DLQ.dead"), 0, "pushed out, and a crash could still undo it");
  store.isManual = false;
  store.sync();
  await settle();
  t.is(backlogOf(broker, "DLQ.dead"), 1);
  t.deepEqual(await textsIn(broker, "q"), ["other"]);
  t.is(backlogOf(broker, "DLQ.q"), 1);
  await broker.close();
});

test("what a commit itself pushes out is part of it", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const peer = connect(broker);
  const transaction = peer.beginTransaction();
  const target = peer.openTarget(queue("dead"));
  for (const text of ["1", "2", "3"]) transaction.publish(target, draft(text));
  transaction.commit();
  await settle();
  t.deepEqual(await textsIn(broker, "DLQ.dead"), ["1", "2"]);
  t.deepEqual(await textsIn(broker, "dead"), ["3"]);
  await broker.close();
});

test("a queue limited in bytes sends no more to its dead letters than is too much", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const target = connect(broker).openTarget(queue("bytes"));
  for (let i = 0; i < 10; i++) target.publish(draft(`${i}`.padEnd(200, "x")));
  await settle();
  const kept = backlogOf(broker, "bytes");
  t.true(kept >= 2 && kept < 5, `${kept}`);
  t.is(backlogOf(broker, "DLQ.bytes"), 10 - kept);
  await broker.close();
});

test("a duplicate of a message in a commit is confirmed with the whole commit", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  store.isManual = true;
  const peer = connect(broker);
  const target = peer.openTarget(queue("once"));
  const transaction = peer.beginTransaction();
  transaction.publish(target, draft("m", { dedupId: "1" }));
  transaction.publish(target, draft("n", { dedupId: "2" }));
  const end = transaction.commit();
  t.is(target.publish(draft("m", { dedupId: "1" })), end);
  await broker.close();
});

test("a value that is given back or fails does not come again once there is a newer one of its key", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const reader = consume(connect(broker), queue("latest"), { credit: 1 });
  for (const outcome of [OUTCOME.RELEASE, OUTCOME.FAIL]) {
    send(broker, "latest", "old");
    await settle();
    send(broker, "latest", "new");
    await settle();
    const number = reader.received.length - 1;
    reader.consumer.settle(number, number, outcome);
    reader.consumer.setCredit(1);
    await settle();
    t.deepEqual(reader.texts.slice(-2), ["old", "new"]);
    reader.consumer.settle(number + 1, number + 1, OUTCOME.ACCEPT);
    t.is(backlogOf(broker, "latest"), 0);
    reader.consumer.setCredit(1);
  }
  await broker.close();
});
