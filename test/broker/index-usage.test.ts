import test from "ava";
import { STATE } from "../../src/broker/ack-state.ts";
import { countIndexed } from "../../src/broker/index-usage.ts";
import type { ShardProgress } from "../../src/broker/shard-progress.ts";
import { IndexMemory, VolatileIndex } from "../../src/broker/volatile-index.ts";
import type { EntryBatch, StoreQueue } from "../../src/store/message-store.ts";

/** An index of records at these places; what lies at offset `settled` and below is done. */
function index(places: Iterable<number>, settled = -1): ShardProgress {
  const queue = new VolatileIndex("index", new IndexMemory(), () => 0);
  for (const place of places) queue.push(place, 100, 0);
  const state = {
    low: 0,
    stateOf: (offset: number) => (offset <= settled ? STATE.SETTLED : STATE.READY),
  };
  return { queue, state, backlog: queue.maxOffset - settled - 1 } as unknown as ShardProgress;
}
const entries = {
  read: (queue: StoreQueue, from: number, max: number, into: EntryBatch) =>
    (queue as VolatileIndex).read(from, max, into),
};
const places = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => (from + i) * 200);

test("a message that waits in many indexes counts once, a settled one not at all", (t) => {
  const indexes = [index(places(0, 1000), 499), index(places(250, 500)), index(places(0, 10), 9)];
  t.deepEqual(countIndexed(indexes, entries), { messages: 750, bytes: 75_000 });
  t.deepEqual(countIndexed([], entries), { messages: 0, bytes: 0 });
});

test("of very many a sample is counted, and comes close", (t) => {
  const indexes = [index(places(0, 700_000)), index(places(300_000, 700_000))];
  const { messages, bytes } = countIndexed(indexes, entries);
  t.true(Math.abs(messages - 1_000_000) < 30_000, `${messages}`);
  t.is(bytes, messages * 100);
});

test("counting ends where the limit is exceeded", (t) => {
  let looked = 0;
  function* many() {
    for (; ; looked++) yield index(places(looked * 100, 100));
  }
  const { messages } = countIndexed(many(), entries, { messages: 250, bytes: 0 });
  t.is(messages, 300);
  t.is(looked, 2);
});
