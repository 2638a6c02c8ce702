/** Moving takes no more memory for more to move: copies wait for the disk, and are made no further while many do. */
import test from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { StoreEvents, StoreQueue } from "../../src/store/message-store.ts";
import { MOST_SWITCHES } from "../../src/store/pending-switches.ts";
import { recordFields } from "../support/record-fields.ts";
import { StoreProbe } from "../support/store-events.ts";

const MESSAGES = 1500;
/** Few enough to be named by the record itself. */
const READERS = 25;

test("while the disk is busy with copies, entries wait in bounded number; then all are changed", async (t) => {
  let isDiskBusy = false;
  const held: Array<() => void> = [];
  const store = new CommitLogStore({
    directory: "/data",
    segmentBytes: 1 << 20,
    ringBytes: 16 << 20,
    minFreeBytes: 0,
    tickMs: 0,
    inlineOn: new MemoryStorage(),
    inlineSchedule: {
      writer: (task) => void setImmediate(() => (isDiskBusy ? held.push(task) : task())),
      loop: (task) => void setImmediate(task),
      later: (task) => void setImmediate(task),
    },
    reclaim: { surveyMs: 0, patienceMs: 0, restMs: 0 },
  });
  const events = Object.assign(new StoreProbe(), {
    // Only the readers are owed anything.
    owed: (queue: StoreQueue, _from: number, count: number, into: Uint8Array) => {
      into.fill(queue.isLight ? 1 : 0, 0, count);
      return queue.isLight ? count : 0;
    },
  } satisfies Partial<StoreEvents>);
  await store.open(events);
  const home = store.queue("news", 0);
  const readers = Array.from({ length: READERS }, (_, i) => store.lightQueue(`reader-${i}`));
  for (let i = 0; i < MESSAGES; i++) {
    store.append(home, recordFields({ body: `message ${i}`, dispatch: readers }));
    store.append(home, recordFields({ body: Buffer.alloc(2000) }));
    if (i % 100 === 99) {
      store.publish(true);
      await events.durable(store, store.watermarks.appended);
    }
  }
  isDiskBusy = true;
  for (let i = 0; i < 200; i++) {
    store.tick();
    await new Promise(setImmediate);
  }
  const waiting = store.reclaimed.movedRecords;
  t.true(waiting * READERS >= MOST_SWITCHES, `${waiting} records wait`);
  t.true(waiting * READERS < MOST_SWITCHES + READERS, `${waiting} records wait`);
  isDiskBusy = false;
  for (const task of held.splice(0)) task();
  for (let i = 0; i < 5000 && store.reclaimed.logStart < 2 << 20; i++) {
    store.tick(true);
    await new Promise(setImmediate);
  }
  t.true(store.reclaimed.logStart >= 2 << 20, "segments went");
  t.true(store.reclaimed.movedRecords > waiting);
  const entry = entryBatch();
  const view = new RecordView();
  for (let i = 0; i < MESSAGES; i += 7) {
    t.is(store.read(readers[i % READERS]!, i, 1, entry), 1);
    t.true(store.view(entry.physicalOffset[0]!, entry.size[0]!, view));
    t.is(view.buffer.toString("latin1", view.bodyStart, view.bodyEnd), `message ${i}`);
  }
  await store.close();
});
