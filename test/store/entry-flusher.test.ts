import test from "ava";
import { checkStore } from "../../src/store/check.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { bodiesOf } from "../suites/message-store.ts";
import { SILENT } from "../support/built-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { fieldsOf } from "../support/store-events.ts";

const QUEUES = 1000;

const storeOn = (disk: FaultyStorage, syncedQueues?: number): CommitLogStore =>
  new CommitLogStore({
    directory: "/data",
    segmentBytes: 1 << 20,
    minFreeBytes: 0,
    tickMs: 0,
    inlineOn: disk,
    ...(syncedQueues !== undefined && { syncedQueues }),
  });

async function append(store: CommitLogStore, queues: number, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < queues; i++) {
      store.append(store.queue(`q${i}`, 0), fieldsOf(`${i}-${store.queue(`q${i}`, 0).maxOffset}`));
    }
    store.publish(true);
    await new Promise(setImmediate);
  }
}

async function checkpoint(store: CommitLogStore): Promise<void> {
  store.tick(true);
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
}

test("a checkpoint of a thousand changed queues syncs a few files, and a power cut after it costs none of their entries", async (t) => {
  const disk = new FaultyStorage(new Random(1));
  const store = storeOn(disk);
  await store.open(SILENT);
  await append(store, QUEUES, 3);
  const before = disk.counts.get("sync") ?? 0;
  await checkpoint(store);
  t.true((disk.counts.get("sync") ?? 0) - before < 20);
  await append(store, QUEUES, 2);
  await checkpoint(store);

  disk.restart("power");
  const again = storeOn(disk);
  const report = await again.open(SILENT);
  t.is(report.scannedBytes, 0);
  t.deepEqual(report.warnings, []);
  for (let i = 0; i < QUEUES; i += 97) {
    const expected = Array.from({ length: 5 }, (_, offset) => `${i}-${offset}`);
    t.deepEqual(bodiesOf(again, again.queue(`q${i}`, 0)), expected);
  }
  await again.close();
});

test("a store that is closed in order has all entries in the files of its queues, however many had changed", async (t) => {
  const disk = new FaultyStorage(new Random(2));
  const store = storeOn(disk);
  await store.open(SILENT);
  await append(store, QUEUES, 1);
  await checkpoint(store);
  await append(store, QUEUES, 1);
  await store.close();
  for (let i = 0; i < QUEUES; i += 97) {
    const file = disk.open(`/data/consumequeue/q${i}/0/00000000000000000000`, "read");
    const entries = Buffer.alloc(60);
    file.readInto(entries, 0, 60, 0);
    file.close();
    t.true(entries.readInt32BE(8) > 0 && entries.readInt32BE(28) > 0);
    t.is(entries.readInt32BE(48), 0);
  }
  t.is((await checkStore({ directory: "/data", storage: disk })).state, "sound");
});

test("a queue goes on behind entries that only the catalog had, page after page", async (t) => {
  const disk = new FaultyStorage(new Random(3));
  let written = 0;
  for (const rounds of [3, 198, 250, 5]) {
    const store = storeOn(disk, 0);
    await store.open(SILENT);
    t.is(store.queue("q1", 0).maxOffset, written);
    await append(store, 3, rounds);
    written += rounds;
    await checkpoint(store);
    disk.restart("power");
  }
  const store = storeOn(disk, 0);
  await store.open(SILENT);
  const expected = Array.from({ length: written }, (_, offset) => `1-${offset}`);
  t.deepEqual(bodiesOf(store, store.queue("q1", 0)), expected);
  await store.close();
});

test("what was consumed is never synced into the file of a queue with many beside it", async (t) => {
  const disk = new FaultyStorage(new Random(4));
  const store = storeOn(disk, 0);
  await store.open(SILENT);
  disk.fail({ operation: "sync", path: /consumequeue\/.*\/0\/\d+/, code: "EIO", times: 1000 });
  for (let round = 0; round < 13; round++) {
    await append(store, 4, 50);
    for (let i = 0; i < 4; i++) {
      const queue = store.queue(`q${i}`, 0);
      store.trim(queue, queue.maxOffset - 5);
    }
    await checkpoint(store);
  }
  t.is(store.health.state, "ok");
  disk.heal();
  disk.restart("power");
  const again = storeOn(disk, 0);
  await again.open(SILENT);
  const queue = again.queue("q2", 0);
  t.is(queue.maxOffset, 650);
  const { minOffset } = queue;
  t.true(minOffset === 645 || minOffset === 595);
  t.deepEqual(
    bodiesOf(again, queue, minOffset),
    Array.from({ length: 650 - minOffset }, (_, i) => `2-${minOffset + i}`),
  );
  await again.close();
});
