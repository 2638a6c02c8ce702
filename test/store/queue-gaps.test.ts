import test from "ava";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { QUEUE_FILE_BYTES, QUEUE_FILE_ENTRIES } from "../../src/store/page-writer.ts";
import { FILLER_SIZE } from "../../src/store/record.ts";
import { offsetName } from "../../src/store/segment-list.ts";
import { bodiesOf } from "../suites/message-store.ts";
import { SILENT } from "../support/built-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { fieldsOf } from "../support/store-events.ts";

const TOPICS = ["a", "b", "c"];

const storeOn = (disk: FaultyStorage): CommitLogStore =>
  new CommitLogStore({
    directory: "/data",
    segmentBytes: 1 << 22,
    minFreeBytes: 0,
    tickMs: 0,
    // Of all queues that change, none has its file synced.
    syncedQueues: 0,
    inlineOn: disk,
  });

async function append(store: CommitLogStore, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    for (const topic of TOPICS) {
      const queue = store.queue(topic, 0);
      store.append(queue, fieldsOf(`${queue.maxOffset}`));
    }
    if (i % 50 !== 49) continue;
    store.publish(true);
    await new Promise(setImmediate);
  }
  store.publish(true);
  await new Promise(setImmediate);
}

function consume(store: CommitLogStore, keep: number): void {
  for (const topic of TOPICS) {
    const queue = store.queue(topic, 0);
    store.trim(queue, queue.maxOffset - keep);
  }
}

async function checkpoint(store: CommitLogStore): Promise<void> {
  store.tick(true);
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
}

/** Sizes as a file says them, up to the first that is empty: where RocketMQ takes the queue to end. */
function readThrough(disk: FaultyStorage, topic: string, fileNumber = 0): number[] {
  const path = `/data/consumequeue/${topic}/0/${offsetName(fileNumber * QUEUE_FILE_BYTES)}`;
  const file = disk.open(path, "read");
  const bytes = Buffer.alloc(QUEUE_FILE_BYTES);
  file.readInto(bytes, 0, bytes.length, 0);
  file.close();
  const entries: number[] = [];
  for (let at = 0; at < bytes.length && bytes.readInt32BE(at + 8) > 0; at += 20) {
    entries.push(bytes.readInt32BE(at + 8));
  }
  return entries;
}

for (const how of ["power", "process"] as const) {
  for (const keep of [0, 3]) {
    test(`after a crash the files of a queue have no hole before what comes next (${how}, ${keep} left)`, async (t) => {
      const disk = new FaultyStorage(new Random(7));
      let store = storeOn(disk);
      await store.open(SILENT);
      let written = 0;
      for (const count of [250, 120, 450]) {
        await append(store, count);
        written += count;
        consume(store, keep);
        await checkpoint(store);
        disk.restart(how);
        store = storeOn(disk);
        await store.open(SILENT);
        await append(store, 10);
        written += 10;
      }
      const numbers = Array.from({ length: keep + 10 }, (_, i) => `${written - keep - 10 + i}`);
      for (const topic of TOPICS) {
        t.deepEqual(bodiesOf(store, store.queue(topic, 0)).slice(-keep - 10), numbers);
      }
      await store.close();
      for (const topic of TOPICS) {
        const entries = readThrough(disk, topic);
        t.is(entries.length, written);
      }
    });
  }
}

test("a queue that goes on far behind its end has no hole before it, nor in the file before", async (t) => {
  const disk = new FaultyStorage(new Random(8));
  const store = storeOn(disk);
  await store.open(SILENT);
  await append(store, 450);
  await checkpoint(store);
  const queue = store.queue("a", 0);
  store.trim(queue, QUEUE_FILE_ENTRIES + 100);
  await append(store, 5);
  await store.close();
  const first = readThrough(disk, "a");
  t.is(first.length, QUEUE_FILE_ENTRIES);
  t.is(first.indexOf(FILLER_SIZE), 450, "what was there is as it was");
  t.is(first.at(-1), FILLER_SIZE);
  t.is(readThrough(disk, "a", 1).length, 105);
});

test("a sector of consumed entries that cannot be read stops nothing", async (t) => {
  const disk = new FaultyStorage(new Random(9));
  let store = storeOn(disk);
  await store.open(SILENT);
  await append(store, 450);
  consume(store, 0);
  await checkpoint(store);
  disk.restart("power");
  store = storeOn(disk);
  await store.open(SILENT);
  disk.fail({ operation: "read", path: /consumequeue/, code: "EIO", times: 1000 });
  await append(store, 450);
  await checkpoint(store);
  t.is(store.health.state, "ok");
  t.is(store.watermarks.durable, store.watermarks.appended);
  t.is(bodiesOf(store, store.queue("a", 0), 890).length, 10);
  await store.close();
});

test("an empty entry of a message that somebody is owed stays empty: no filler may hide the harm", async (t) => {
  const disk = new FaultyStorage(new Random(10));
  let store = storeOn(disk);
  await store.open(SILENT);
  await append(store, 450);
  await store.close();
  store = storeOn(disk);
  await store.open(SILENT);
  store.trim(store.queue("a", 0), 100);
  const path = `/data/consumequeue/a/0/${offsetName(0)}`;
  const file = disk.open(path, "write");
  file.write(Buffer.alloc(20 * 300), 0, 20 * 300, 20 * 50);
  file.close();
  await append(store, 5);
  await store.close();
  const sizes = readThrough(disk, "a");
  t.is(sizes.length, 100, "what was settled reads through, what is owed does not");
  t.is(sizes.indexOf(FILLER_SIZE), 50);
});
