/** A queue far deeper than what is in memory of it. */
import test from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { TOPIC_PAGE_ENTRIES } from "../../src/store/page-pool.ts";
import { bodiesOf } from "../suites/message-store.ts";
import { SILENT } from "../support/built-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { fieldsOf } from "../support/store-events.ts";

const PAGES = 64;

test("one deep queue does not take the memory of all pages, and is read from its beginning all the same", async (t) => {
  const disk = new FaultyStorage(new Random(7));
  const store = new CommitLogStore({
    directory: "/data",
    segmentBytes: 1 << 20,
    minFreeBytes: 0,
    tickMs: 0,
    inlineOn: disk,
    queuePages: PAGES,
  });
  await store.open(SILENT);
  const deep = store.queue("deep", 0);
  const count = TOPIC_PAGE_ENTRIES * PAGES;
  for (let i = 0; i < count; i++) {
    store.append(deep, fieldsOf(`${i}`));
    if (i % 100 === 99) {
      store.publish(true);
      await new Promise(setImmediate);
    }
  }
  const { pageCount } = deep as unknown as { readonly pageCount: number };
  t.true(pageCount > 0 && pageCount <= PAGES / 8, `${pageCount} pages`);
  const bodies = bodiesOf(store, deep);
  t.is(bodies.length, count);
  t.is(
    bodies.findIndex((body, at) => body !== `${at}`),
    -1,
  );
  // The same of some of them, from the file and from memory.
  const random = new Random(11);
  const some = Float64Array.from(deepOffsets(random, count));
  const batch = entryBatch(some.length);
  const one = entryBatch();
  t.is(store.readEach(deep, some, some.length, batch), some.length);
  for (const [i, offset] of some.entries()) {
    store.read(deep, offset, 1, one);
    if (batch.physicalOffset[i] !== one.physicalOffset[0] || batch.size[i] !== one.size[0]) {
      t.fail(`entry ${offset}`);
    }
  }
  await store.close();
});

/** About a tenth of them, ascending, in runs and alone. */
function* deepOffsets(random: Random, count: number): Generator<number> {
  for (let at = 0; at < count; at += random.between(1, 19)) yield at;
}
