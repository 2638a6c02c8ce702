import test from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { StoreQueue } from "../../src/store/message-store.ts";
import { repairStore } from "../../src/store/repair.ts";
import type { Storage } from "../../src/store/storage-file.ts";
import { bodiesOf } from "../suites/message-store.ts";
import { buildStore, SILENT, storeOn } from "../support/built-store.ts";
import { copyStorage } from "../support/copy-storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { fieldsOf, propertiesOf } from "../support/store-events.ts";

const ROOT = "/data";
const SEGMENT = 65_536;
const FIRST = `${ROOT}/commitlog/${"0".repeat(20)}`;

/** Contents of all queues, by name. */
function contentsOf(store: CommitLogStore): Map<string, string[]> {
  const contents = new Map<string, string[]>();
  for (const queue of store.queues()) {
    if (queue.maxOffset > queue.minOffset) {
      const name = `${queue.isLight ? "~" : ""}${queue.topic}/${queue.queueId}`;
      contents.set(name, bodiesOf(store, queue, queue.minOffset));
    }
  }
  return new Map([...contents].sort());
}

async function contentsAt(storage: Storage): Promise<Map<string, string[]>> {
  const store = storeOn(storage, ROOT);
  await store.open(SILENT);
  const contents = contentsOf(store);
  await store.close();
  return contents;
}

/** A store that stays open in `storage`: as a killed process leaves it. */
async function abandoned(
  append: (store: CommitLogStore, queue: StoreQueue) => void,
): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  const store = storeOn(storage, ROOT);
  await store.open(SILENT);
  append(store, store.queue("q", 0));
  store.publish(true);
  return storage;
}

test("removing anything derived costs a rebuild and nothing else", async (t) => {
  const storage = copyStorage((await buildStore(7, ROOT, 200)).storage, ROOT);
  const expected = await contentsAt(storage.copy());
  t.true(expected.size > 5);
  const harms: Array<[string, (copy: MemoryStorage) => void]> = [
    ["consumequeue", (copy) => copy.removeTree(`${ROOT}/consumequeue`)],
    ["one topic", (copy) => copy.removeTree(`${ROOT}/consumequeue/A`)],
    ["queues", (copy) => copy.removeTree(`${ROOT}/queues`)],
    ["the catalog", (copy) => copy.remove(`${ROOT}/queues/catalog-1`)],
    ["our checkpoint", (copy) => copy.remove(`${ROOT}/queues/checkpoint`)],
    ["RocketMQ's checkpoint", (copy) => copy.remove(`${ROOT}/checkpoint`)],
    ["the arena", (copy) => copy.remove(`${ROOT}/queues/arena`)],
    ["the index", (copy) => copy.removeTree(`${ROOT}/index`)],
    [
      "all of it",
      (copy) => {
        for (const name of ["consumequeue", "queues", "index", "checkpoint"]) {
          copy.removeTree(`${ROOT}/${name}`);
        }
      },
    ],
  ];
  for (const [what, harm] of harms) {
    const copy = storage.copy();
    harm(copy);
    const store = storeOn(copy, ROOT);
    const report = await store.open(SILENT);
    t.deepEqual(contentsOf(store), expected, what);
    t.is(report.quarantinedRecords, 0, what);
    t.true(store.searchByKey("A", "all", 64, 0, Date.now() + 1000).length > 0, `${what}: keys`);
    await store.close();
    // And what was built stays.
    t.deepEqual(await contentsAt(copy), expected, `${what}, opened again`);
  }
});

test("a log that ends at any byte keeps exactly the records and batches that are whole", async (t) => {
  const ends: number[] = [0];
  const bodies = ["first", "second ".repeat(9), "in batch 1", "in batch 2", "after"];
  const storage = await abandoned((store, queue) => {
    ends.push(store.append(queue, fieldsOf(bodies[0]!)));
    ends.push(store.append(queue, fieldsOf(bodies[1]!)));
    store.beginAtomic();
    store.append(queue, fieldsOf(bodies[2]!));
    store.append(queue, fieldsOf(bodies[3]!));
    const end = store.endAtomic();
    ends.push(end, end);
    ends.push(store.append(queue, fieldsOf(bodies[4]!)));
  });
  const image = storage.copy();
  const last = ends.at(-1)!;
  for (let cut = 0; cut <= last; cut++) {
    const copy = image.copy();
    const file = copy.open(FIRST, "write");
    file.truncate(cut);
    file.truncate(SEGMENT);
    const whole = ends.filter((end) => end > 0 && end <= cut).length;
    const store = storeOn(copy, ROOT);
    const report = await store.open(SILENT);
    t.is(store.watermarks.appended, ends[whole === 3 ? 4 : whole]!, `cut at ${cut}`);
    t.deepEqual(bodiesOf(store, store.queue("q", 0)), bodies.slice(0, whole), `cut at ${cut}`);
    t.is(report.quarantinedRecords, 0);
    // The cut leaves zeros, and the log goes on there.
    const tail = Buffer.alloc(last);
    file.readInto(tail, 0, last, store.watermarks.appended);
    t.true(
      tail.every((byte) => byte === 0),
      `cut at ${cut}`,
    );
    store.append(store.queue("q", 0), fieldsOf("new"));
    store.publish(true);
    t.deepEqual(bodiesOf(store, store.queue("q", 0)), [...bodies.slice(0, whole), "new"]);
  }
});

test("a flipped bit in any field costs that record only: it is told, kept aside, and damaged for readers", async (t) => {
  const ends: number[] = [0];
  const storage = await abandoned((store, queue) => {
    const more = propertiesOf({ TAGS: "blue", KEYS: "k" });
    for (const body of ["one", "two", "three"])
      ends.push(store.append(queue, fieldsOf(body, { ...more, tagHash: 3027034 })));
  });
  const image = storage.copy();
  for (let at = ends[1]!; at < ends[2]!; at++) {
    const copy = image.copy();
    const file = copy.open(FIRST, "write");
    const byte = Buffer.alloc(1);
    file.readInto(byte, 0, 1, at);
    byte[0]! ^= 1 << (at % 8);
    file.write(byte, 0, 1, at);
    const store = storeOn(copy, ROOT);
    const report = await store.open(SILENT);
    const where = `byte ${at - ends[1]!} of the record`;
    t.is(report.quarantinedRecords, 1, where);
    t.is(report.warnings.length, 1);
    const queue = store.queue("q", 0);
    t.is(queue.maxOffset, 3, where);
    const batch = entryBatch(3);
    t.is(store.read(queue, 0, 3, batch), 3);
    const view = new RecordView();
    t.true(store.view(batch.physicalOffset[0]!, batch.size[0]!, view));
    t.false(store.view(batch.physicalOffset[1]!, batch.size[1]!, view), where);
    t.true(store.isDamaged(batch.physicalOffset[1]!), where);
    t.true(store.view(batch.physicalOffset[2]!, batch.size[2]!, view));
    t.is(view.buffer.toString("latin1", view.bodyStart, view.bodyEnd), "three");
    t.false(store.isDamaged(batch.physicalOffset[2]!));
    const kept = copy.list(`${ROOT}/quarantine`).map(({ name }) => name);
    t.is(kept.length, 2, where);
    await store.close();
    // The next start knows it from its report.
    const again = storeOn(copy, ROOT);
    t.is((await again.open(SILENT)).quarantinedRecords, 0);
    t.true(again.isDamaged(batch.physicalOffset[1]!));
    await again.close();
  }
});

test("damage does not reach into later segments, and a missing segment costs its records only", async (t) => {
  const built = await buildStore(3, ROOT, 300);
  const { messages } = built;
  const storage = copyStorage(built.storage, ROOT);
  const second = SEGMENT;
  for (const harm of ["wiped", "missing", "short"]) {
    const copy = storage.copy();
    copy.removeTree(`${ROOT}/queues`);
    const path = `${ROOT}/commitlog/${String(second).padStart(20, "0")}`;
    if (harm === "missing") copy.remove(path);
    else copy.open(path, "write").truncate(harm === "short" ? 1000 : 0);
    if (harm === "wiped") copy.open(path, "write").truncate(SEGMENT);
    const store = storeOn(copy, ROOT);
    await store.open(SILENT);
    const found = new Set([...contentsOf(store).values()].flat());
    for (const { body, from, batch } of messages) {
      const isHit = from >= second && from < second * 2;
      if (!isHit && batch === 0) t.true(found.has(body.toString("latin1")), `${harm}: ${from}`);
    }
    t.true(store.watermarks.appended >= messages.at(-1)!.to);
    await store.close();
  }
});

test("a segment that was created and never written to is no damage", async (t) => {
  const storage = await abandoned((store, queue) => void store.append(queue, fieldsOf("x")));
  storage.open(`${ROOT}/commitlog/${String(SEGMENT).padStart(20, "0")}`, "create");
  const store = storeOn(storage, ROOT);
  const report = await store.open(SILENT);
  t.deepEqual(report.warnings, []);
  t.deepEqual(bodiesOf(store, store.queue("q", 0)), ["x"]);
  await store.close();
});

test("dropped queues stay dropped, and their names begin anew, whatever is read again", async (t) => {
  const storage = new MemoryStorage();
  const store = storeOn(storage, ROOT);
  await store.open(SILENT);
  const names = ["a", "b"];
  for (let round = 0; round < 3; round++) {
    for (const name of names) {
      const queue = store.queue(name, 0);
      const light = store.lightQueue(name);
      t.is(queue.maxOffset, 0);
      for (let i = 0; i <= round * 250; i++) {
        store.append(queue, fieldsOf(`${name} ${round} ${i}`, { dispatch: [light] }));
      }
      if (name === "a" || round < 2) {
        store.dropQueue(queue);
        store.dropQueue(light);
      }
    }
    store.publish(true);
    if (round === 1) store.tick(true);
  }
  await new Promise(setImmediate);
  const expected = contentsOf(store);
  t.deepEqual([...expected.keys()], ["b/0", "~b/0"]);
  t.deepEqual(await contentsAt(storage.copy()), expected, "after a crash");
  const bare = storage.copy();
  for (const name of ["consumequeue", "queues"]) bare.removeTree(`${ROOT}/${name}`);
  t.deepEqual(await contentsAt(bare), expected, "after a rebuild");
  await store.close();
  t.deepEqual(await contentsAt(storage), expected, "after a clean stop");
});

test("trimmed segments are removed behind every queue's last debt, and the rest still opens", async (t) => {
  const storage = new MemoryStorage();
  const store = storeOn(storage, ROOT);
  await store.open(SILENT);
  const fast = store.queue("fast", 0);
  const slow = store.queue("slow", 0);
  const light = store.lightQueue("light");
  store.append(slow, fieldsOf("owed for long", { dispatch: [light] }));
  for (let i = 0; i < 400; i++) {
    store.append(fast, fieldsOf(`${i}`.repeat(200)));
    store.publish(true);
  }
  const settle = async (): Promise<number> => {
    for (let i = 0; i < 4; i++) {
      store.tick(true);
      await new Promise(setImmediate);
    }
    return storage.list(`${ROOT}/commitlog`).length;
  };
  const before = await settle();
  t.true(before >= 4);
  store.trim(fast, 400);
  t.is(await settle(), before, "slow and light still owe the first record");
  store.trim(slow, 1);
  t.is(await settle(), before, "light still does");
  store.trim(light, 1);
  t.true((await settle()) <= 2);
  t.false(store.isDamaged(store.watermarks.appended - 10));
  t.true(store.isDamaged(0), "what is gone will not come");
  store.append(fast, fieldsOf("next"));
  store.publish(true);
  t.is(fast.maxOffset, 401);
  await store.close();
  const again = storeOn(storage, ROOT);
  const report = await again.open(SILENT);
  t.true(report.wasClean);
  const queue = again.queue("fast", 0);
  t.is(queue.maxOffset, 401);
  t.deepEqual(bodiesOf(again, queue, 400), ["next"]);
  await again.close();
});

test("after a crash no more than the log since the checkpoint is read again", async (t) => {
  const storage = new MemoryStorage();
  const store = storeOn(storage, ROOT);
  await store.open(SILENT);
  const queue = store.queue("q", 0);
  for (let i = 0; i < 1000; i++) store.append(queue, fieldsOf(`${i}`));
  store.publish(true);
  store.tick(true);
  const at = store.watermarks.appended;
  for (let i = 1000; i < 1010; i++) store.append(queue, fieldsOf(`${i}`));
  store.publish(true);
  const again = storeOn(storage.copy(), ROOT);
  const report = await again.open(SILENT);
  t.is(report.scannedBytes, store.watermarks.appended - at);
  t.false(report.wasClean);
  t.deepEqual(
    bodiesOf(again, again.queue("q", 0)),
    Array.from({ length: 1010 }, (_, i) => `${i}`),
  );
});

test("a log of other segment length is opened with its own", async (t) => {
  const storage = new MemoryStorage();
  const store = storeOn(storage, ROOT);
  await store.open(SILENT);
  for (let i = 0; i < 300; i++) store.append(store.queue("q", 0), fieldsOf("x".repeat(600)));
  await store.close();
  const other = new CommitLogStore({ directory: ROOT, segmentBytes: 1 << 20, inlineOn: storage });
  const report = await other.open(SILENT);
  t.true(report.wasClean);
  t.is(bodiesOf(other, other.queue("q", 0)).length, 300);
  await other.close();
});

test("searching by time finds the first entry not older, also around damaged ones", async (t) => {
  const storage = new MemoryStorage();
  const store = storeOn(storage, ROOT);
  await store.open(SILENT);
  const queue = store.queue("q", 0);
  const view = new RecordView();
  const batch = entryBatch(1);
  const times: number[] = [];
  for (let i = 0; i < 50; i++) {
    const offset = store.watermarks.appended;
    store.append(queue, fieldsOf(`${i}`));
    store.publish(false);
    store.read(queue, i, 1, batch);
    t.is(batch.physicalOffset[0], offset);
    store.view(offset, batch.size[0]!, view);
    times.push(view.storeTimestamp);
    const next = Date.now() + 1;
    while (i % 10 === 9 && Date.now() < next);
  }
  for (const time of [0, times[0]!, times[0]! + 1, times[25]!, times[49]!, times[49]! + 1]) {
    const expected = times.findIndex((each) => each >= time);
    t.is(store.searchByTime(queue, time), expected < 0 ? 50 : expected);
  }
  await store.close();
});

test("a store that is closed while its disk is full is looked at closely, whatever an older checkpoint says", async (t) => {
  const disk = new FaultyStorage(new Random(1));
  const waiting: Array<() => void> = [];
  const open = async (later?: (task: () => void) => void) => {
    const store = new CommitLogStore({
      directory: ROOT,
      segmentBytes: SEGMENT,
      ringBytes: SEGMENT,
      minFreeBytes: 0,
      tickMs: 0,
      inlineOn: disk,
      ...(later && {
        inlineSchedule: { writer: (task) => task(), loop: (task) => setImmediate(task), later },
      }),
    });
    return { store, report: await store.open(SILENT) };
  };
  const first = (await open()).store;
  first.append(first.queue("q", 0), fieldsOf("before"));
  await first.close();
  // The checkpoint of this stop is the last one for a while.
  const { store } = await open((task) => void waiting.push(task));
  disk.capacityBytes = 0;
  const body = "x".repeat(40_000);
  store.append(store.queue("q", 0), fieldsOf(body));
  store.publish(true);
  await new Promise(setImmediate);
  t.is(store.health.state, "full");
  disk.heal();
  const closed = store.close();
  for (const task of waiting.splice(0)) task();
  await closed;
  t.truthy(disk.stat(`${ROOT}/abort`));
  // As when the page in which the log went on was torn off or damaged: what lies behind is still to be found.
  const again = await open();
  t.false(again.report.wasClean);
  t.is(again.store.queue("q", 0).maxOffset, 2);
  await again.store.close();
  t.true((await open()).report.wasClean);
});

test("a new folder is clean, one that was not closed is not, and one that has lost its log is not opened", async (t) => {
  const fresh = new MemoryStorage();
  const store = storeOn(fresh, ROOT);
  t.like(await store.open(SILENT), { wasClean: true, warnings: [] });
  const killed = fresh.copy();
  store.append(store.queue("q", 0), fieldsOf("one"));
  await store.close();
  const aborted = storeOn(killed, ROOT);
  t.false((await aborted.open(SILENT)).wasClean);
  fresh.removeTree(`${ROOT}/commitlog`);
  const lost = await t.throwsAsync(storeOn(fresh, ROOT).open(SILENT));
  t.regex(lost.message, /commitlog\/0+ is missing: .*sluice store repair/);
  const { after } = await repairStore({ storage: fresh, directory: ROOT });
  t.is(after.records, 0);
  t.false((await storeOn(fresh, ROOT).open(SILENT)).warnings.length > 0);
});

for (const usageFactor of [0, 0.001]) {
  test(`a file system that tells too little of the space in use loses nothing, and leaves nothing behind the end (${usageFactor})`, async (t) => {
    const disk = new FaultyStorage(new Random(3));
    disk.usageFactor = usageFactor;
    const storage = (): CommitLogStore =>
      new CommitLogStore({
        directory: ROOT,
        // More than what is looked through beyond the space in use.
        segmentBytes: 80 << 20,
        ringBytes: 1 << 22,
        minFreeBytes: 0,
        tickMs: 0,
        inlineOn: disk,
      });
    let store = storage();
    await store.open(SILENT);
    const body = "x".repeat(1 << 20);
    const append = (count: number): void => {
      for (let i = 0; i < count; i++) {
        const queue = store.queue("q", 0);
        store.append(queue, fieldsOf(`${queue.maxOffset} ${body}`));
        store.publish(true);
      }
    };
    append(150);
    const end = store.watermarks.appended;
    const damage = (at: number): void => {
      const start = at - (at % (80 << 20));
      const file = disk.open(`${ROOT}/commitlog/${String(start).padStart(20, "0")}`, "write");
      file.write(Buffer.alloc(2000, 0x5a), 0, 2000, at - start);
      file.close();
    };
    // Beyond what is in use as it says, in both segments; and what a torn write left behind the end.
    for (const at of [75 << 20, 145 << 20]) damage(at);
    damage(end + 5000);
    disk.removeTree(`${ROOT}/queues`);
    disk.restart("process");
    store = storage();
    const report = await store.open(SILENT);
    t.is(report.quarantinedRecords, 2);
    t.true(report.truncatedBytes > 0);
    const numbers = bodiesOf(store, store.queue("q", 0)).map((text) => Number.parseInt(text, 10));
    t.is(numbers.length, 150);
    t.is(numbers.filter((number, offset) => number === offset).length, 148);
    const tail = Buffer.alloc(1 << 20);
    const file = disk.open(`${ROOT}/commitlog/${String(80 << 20).padStart(20, "0")}`, "read");
    file.readInto(tail, 0, tail.length, end - (80 << 20));
    t.true(tail.every((byte) => byte === 0));
    await store.close();
  });
}
