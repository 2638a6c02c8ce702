/** What a broker owes survives the removal of the log around it, whoever is owed it and however it is kept. */
import test from "ava";
import type { Broker } from "../../src/broker/broker.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import { RecordView } from "../../src/model/record-view.ts";
import type { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { openLogBroker } from "../support/log-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

const SEGMENT = { segmentBytes: 16_384, ringBytes: 65_536 };

const firstSegment = (disk: MemoryStorage): string =>
  disk
    .list("/data/commitlog")
    .map(({ name }) => name)
    .sort()[0]!;

/** The store's clock, until nothing before the newest segments is left. */
async function reclaim(broker: Broker, store: CommitLogStore, disk: MemoryStorage): Promise<void> {
  const isShort = (): boolean =>
    disk.list("/data/commitlog").length <= 3 && firstSegment(disk) !== "0".repeat(20);
  for (let i = 0; i < 500 && !isShort(); i++) {
    broker.keepHouse();
    store.tick(true);
    await settle();
  }
}

async function publishMany(broker: Broker, name: string, count: number): Promise<void> {
  const target = connect(broker, "filler").openTarget(queue(name));
  for (let i = 0; i < count; i++) {
    target.publish(draft(`${i}`.padEnd(500, ".")));
    if (i % 20 === 19) await settle();
  }
  await settle();
  target.close();
}

/** Publishes 200 messages and accepts all but the fifth. */
async function leaveOne(broker: Broker, name: string): Promise<void> {
  await publishMany(broker, name, 200);
  const peer = connect(broker, "reader");
  const sink = consume(peer, queue(name), { credit: 1000 });
  await until("all of them", () => sink.texts.length === 200);
  sink.consumer.settle(0, 3, OUTCOME.ACCEPT);
  sink.consumer.settle(5, 199, OUTCOME.ACCEPT);
  sink.consumer.close(OUTCOME.RELEASE);
  await settle();
}

test("a message that nobody acknowledges is delivered once, with its attempts, long after the log around it went", async (t) => {
  const disk = new MemoryStorage();
  let { broker, store } = await openLogBroker(disk, SEGMENT);
  await leaveOne(broker, "q");
  await reclaim(broker, store, disk);
  t.not(firstSegment(disk), "0".repeat(20));
  for (const isRestarted of [false, true]) {
    if (isRestarted) {
      await broker.close();
      ({ broker, store } = await openLogBroker(disk, SEGMENT));
    }
    const sink = consume(connect(broker, "late"), queue("q"));
    await settle();
    t.deepEqual(
      sink.texts.map((text) => Number.parseInt(text, 10)),
      [4],
    );
    sink.consumer.close(OUTCOME.RELEASE);
    await settle();
  }
  await broker.close();
});

test("a queue at rest says what it owes without being woken", async (t) => {
  const disk = new MemoryStorage();
  const first = await openLogBroker(disk, SEGMENT);
  await leaveOne(first.broker, "q");
  await first.broker.close();
  const { broker, store } = await openLogBroker(disk, SEGMENT);
  t.is(broker.registry.awakeCount, 0);
  await publishMany(broker, "other", 1);
  await reclaim(broker, store, disk);
  t.is(broker.registry.awakeCount, 1, "only the other one");
  t.true(store.reclaimed.movedRecords < 60, `${store.reclaimed.movedRecords} moved`);
  const sink = consume(connect(broker, "late"), queue("q"));
  await settle();
  t.deepEqual(
    sink.texts.map((text) => Number.parseInt(text, 10)),
    [4],
  );
  await broker.close();
});

test("retained messages are found where they were moved to", async (t) => {
  const disk = new MemoryStorage();
  const { broker, store } = await openLogBroker(disk, SEGMENT);
  for (const path of ["a/one", "a/two"]) {
    broker.core.publishToTopic("/", path, draft(path, { isRetained: true }), null);
  }
  await settle();
  await publishMany(broker, "q", 200);
  const sink = consume(connect(broker, "reader"), queue("q"), { credit: 1000 });
  await until("all of them", () => sink.texts.length === 200);
  sink.consumer.settle(0, 199, OUTCOME.ACCEPT);
  await settle();
  await reclaim(broker, store, disk);
  t.not(firstSegment(disk), "0".repeat(20));
  const view = new RecordView();
  const cursor = broker.sessions.retained.cursor("/", "a/#");
  const found: string[] = [];
  while (cursor.next(view)) {
    found.push(view.buffer.toString("utf8", view.bodyStart, view.bodyEnd));
  }
  t.deepEqual(found.sort(), ["a/one", "a/two"]);
  await broker.close();
});

test("a durable subscription that is away keeps its messages, and no more of the log than these", async (t) => {
  const disk = new MemoryStorage();
  const { broker, store } = await openLogBroker(disk, SEGMENT);
  const group = { name: "away", mode: "clustering" as const };
  const subscriber = consume(connect(broker, "subscriber"), topic("news"), { group });
  await settle();
  const target = connect(broker, "press").openTarget(topic("news"));
  for (let i = 0; i < 5; i++) target.publish(draft(`news ${i}`));
  await settle();
  subscriber.consumer.close(OUTCOME.RELEASE);
  await leaveOne(broker, "q");
  await reclaim(broker, store, disk);
  t.not(firstSegment(disk), "0".repeat(20));
  const again = consume(connect(broker, "subscriber"), topic("news"), { group });
  await settle();
  t.deepEqual(
    again.texts,
    [0, 1, 2, 3, 4].map((i) => `news ${i}`),
  );
  await broker.close();
});

test("a last-value topic takes the space of its last values, however much was published", async (t) => {
  const disk = new MemoryStorage();
  const options = { ...SEGMENT, policies: [{ match: "prices", settings: { isLastValue: true } }] };
  let { broker, store } = await openLogBroker(disk, options);
  const target = connect(broker, "market").openTarget(topic("prices"));
  for (let i = 0; i < 400; i++) {
    const key = i === 0 ? "rare" : `k${i % 7}`;
    target.publish(draft(`${key} ${i}`.padEnd(300, "."), { keys: key }));
    if (i % 20 === 19) await settle();
  }
  await settle();
  await reclaim(broker, store, disk);
  t.true(disk.list("/data/commitlog").length <= 3);
  for (const isRestarted of [false, true]) {
    if (isRestarted) {
      await broker.close();
      ({ broker, store } = await openLogBroker(disk, options));
    }
    const late = consume(connect(broker, "late"), topic("prices"), { from: { kind: "first" } });
    await settle();
    const words = late.texts.map((text) => text.split(".")[0]);
    t.is(words[0], "rare 0");
    t.deepEqual(
      words.slice(1).sort(),
      Array.from({ length: 7 }, (_, i) => `k${(393 + i) % 7} ${393 + i}`).sort(),
    );
    late.consumer.close(OUTCOME.RELEASE);
    await settle();
  }
  await broker.close();
});
