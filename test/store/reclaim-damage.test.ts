/** Damage in a segment costs what was hit: what is owed behind it is moved, and the segment goes when nothing else is. */
import test from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { StoreEvents, StoreQueue } from "../../src/store/message-store.ts";
import { recordFields } from "../support/record-fields.ts";
import { StoreProbe } from "../support/store-events.ts";

const SEGMENT = 32_768;
const MESSAGES = 300;
const KEPT = 7;
const HIT = 5;

const entry = entryBatch();

async function makeStore(owed: ReadonlySet<number>, segmentBytes = SEGMENT, repeat = 120) {
  const disk = new MemoryStorage();
  const store = new CommitLogStore({
    directory: "/data",
    segmentBytes,
    ringBytes: 65_536,
    minFreeBytes: 0,
    tickMs: 0,
    inlineOn: disk,
    reclaim: { surveyMs: 0, patienceMs: 0, restMs: 0 },
  });
  const events = Object.assign(new StoreProbe(), {
    owed: (_: StoreQueue, from: number, count: number, into: Uint8Array) => {
      let sum = 0;
      for (let i = 0; i < count; i++) sum += into[i] = owed.has(from + i) ? 1 : 0;
      return sum;
    },
  } satisfies Partial<StoreEvents>);
  await store.open(events);
  const queue = store.queue("old", 0);
  for (let i = 0; i < MESSAGES; i++) {
    store.append(queue, recordFields({ body: `${i} `.repeat(repeat) }));
    if (i % 10 === 9) store.publish(true);
  }
  store.publish(true);
  await events.durable(store, store.watermarks.appended);
  const tick = async (): Promise<void> => {
    store.journal.append(Buffer.from("settled"), 0, 7);
    for (let i = 0; i < 60; i++) {
      store.tick(true);
      await new Promise(setImmediate);
    }
  };
  return { disk, store, queue, tick };
}

/** Writes over bytes of a record in the first segment. */
function damage(
  { disk, store, queue }: { disk: MemoryStorage; store: CommitLogStore; queue: StoreQueue },
  offset: number,
  at: number,
  bytes: readonly number[],
): void {
  store.read(queue, offset, 1, entry);
  const file = disk.open(`/data/commitlog/${"0".repeat(20)}`, "write");
  file.write(Buffer.from(bytes), 0, bytes.length, entry.physicalOffset[0]! + at);
  file.close();
}

function bodyOf(store: CommitLogStore, queue: StoreQueue, offset: number): string {
  const view = new RecordView();
  if (store.read(queue, offset, 1, entry) !== 1) return "no entry";
  if (!store.view(entry.physicalOffset[0]!, entry.size[0]!, view)) return "no record";
  return view.buffer.toString("latin1", view.bodyStart, view.bodyEnd);
}

const KINDS: ReadonlyArray<readonly [string, number, readonly number[]]> = [
  ["its size is too large", 0, [0x00, 0x10, 0x00, 0x00]],
  ["its size is negative", 0, [0xff, 0xff, 0xff, 0xff]],
  ["its size is a little too small", 0, [0x00, 0x00, 0x00, 0x80]],
  ["its magic is gone", 4, [0, 0, 0, 0]],
  ["it says to lie elsewhere", 28, [0, 0, 0, 1]],
  ["the length of its body is negative", 84, [0xff, 0xff, 0xff, 0x00]],
  ["the length of its body is too large", 84, [0x7f, 0xff, 0xff, 0xff]],
  ["it has addresses of another length", 36, [0x00, 0x00, 0x00, 0x30]],
];

for (const [what, at, bytes] of KINDS) {
  test(`a damaged record that nobody is owed keeps no segment: ${what}`, async (t) => {
    const made = await makeStore(new Set([KEPT, MESSAGES - 1]));
    const { store, queue, tick } = made;
    damage(made, HIT, at, bytes);
    await tick();
    t.true(store.reclaimed.logStart > 0, "the segment went");
    t.is(bodyOf(store, queue, KEPT), `${KEPT} `.repeat(120));
    t.is(bodyOf(store, queue, MESSAGES - 1), `${MESSAGES - 1} `.repeat(120));
    await store.close();
  });
}

test("a damaged record that is owed keeps its segment until it is settled, and nothing else is lost", async (t) => {
  const owed = new Set([HIT, KEPT, MESSAGES - 1]);
  const made = await makeStore(owed);
  const { store, queue, tick } = made;
  damage(made, HIT, 0, [0, 0, 0, 0]);
  await tick();
  t.is(store.reclaimed.logStart, 0);
  t.is(bodyOf(store, queue, KEPT), `${KEPT} `.repeat(120));
  owed.delete(HIT);
  await tick();
  t.true(store.reclaimed.logStart > 0);
  t.is(bodyOf(store, queue, KEPT), `${KEPT} `.repeat(120));
  await store.close();
});

test("all that is owed around a long damaged stretch is moved", async (t) => {
  const repeat = 4000;
  const owed = new Set([0, 1, 111, 112, MESSAGES - 1]);
  const made = await makeStore(owed, 2 << 20, repeat);
  const { store, queue, tick } = made;
  // More than is read at once; what follows it begins within another read.
  for (let offset = 20; offset < 111; offset++) {
    damage(made, offset, 0, new Array(8000).fill(offset));
  }
  await tick();
  t.true(store.reclaimed.logStart > 0);
  for (const offset of owed) t.true(bodyOf(store, queue, offset) === `${offset} `.repeat(repeat));
  await store.close();
});
