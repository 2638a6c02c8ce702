/** Segments that nobody needs go, however many queues there are. */
import test, { type ExecutionContext } from "ava";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { StoreQueue } from "../../src/store/message-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { fieldsOf, StoreProbe } from "../support/store-events.ts";

const SEGMENT = 1 << 20;
const LIGHT = 24_000;
const BODY = "x".repeat(8000);

async function open(t: ExecutionContext): Promise<{ store: CommitLogStore; probe: StoreProbe }> {
  const disk = new FaultyStorage(new Random(1));
  const store = new CommitLogStore({
    ...{ directory: "/data", segmentBytes: SEGMENT, tickMs: 0, minFreeBytes: 0 },
    inlineOn: disk,
  });
  const probe = new StoreProbe();
  await store.open(probe);
  t.teardown(() => store.close());
  return { store, probe };
}

/** Light queues with a message each that lie in the files, and rest. */
async function restMany(store: CommitLogStore, probe: StoreProbe, isSettled: boolean) {
  const names = Array.from({ length: LIGHT }, (_, i) => `sub-${i}`);
  for (let i = 0; i < LIGHT; i += 25) {
    const dispatch = names.slice(i, i + 25).map((name) => store.lightQueue(name));
    if (!store.hasRoom(8192)) await probe.until("room", () => store.hasRoom(8192));
    store.append(store.queue("news", 0), fieldsOf("m", { dispatch }));
    store.publish(true);
  }
  store.trim(store.queue("news", 0), LIGHT / 25);
  if (isSettled) for (const name of names) store.trim(store.lightQueue(name), 1);
  await ticks(store, probe);
  for (const name of names) store.rest(store.lightQueue(name));
  await ticks(store, probe);
  return names;
}

async function ticks(store: CommitLogStore, probe: StoreProbe): Promise<void> {
  for (let i = 0; i < 3; i++) {
    store.tick(true);
    await probe.durable(store, store.watermarks.appended);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  }
}

/** Messages that are settled at once. */
async function pass(
  store: CommitLogStore,
  probe: StoreProbe,
  queue: StoreQueue,
  segments: number,
): Promise<void> {
  const end = store.watermarks.appended + segments * SEGMENT;
  while (store.watermarks.appended < end) {
    store.append(queue, fieldsOf(BODY));
    store.publish(true);
    await probe.durable(store, store.watermarks.appended);
  }
  store.trim(queue, queue.maxOffset);
}

const kept = (store: CommitLogStore): number =>
  (store.watermarks.appended - store.reclaimed.logStart) / SEGMENT;

test("segments go at the next checkpoint although 24,000 queues rest", async (t) => {
  const { store, probe } = await open(t);
  await restMany(store, probe, true);
  await pass(store, probe, store.queue("busy", 0), 8);
  await ticks(store, probe);
  t.true(kept(store) < 3, `${kept(store)} segments are left`);
});

test("a segment stays for one of 24,000 queues at rest, until that one is settled", async (t) => {
  const { store, probe } = await open(t);
  const names = await restMany(store, probe, false);
  for (const name of names) {
    if (name === "sub-21234") continue;
    store.trim(store.lightQueue(name), 1);
    store.rest(store.lightQueue(name));
  }
  await ticks(store, probe);
  await pass(store, probe, store.queue("busy", 0), 4);
  const start = store.reclaimed.logStart;
  await ticks(store, probe);
  t.is(store.reclaimed.logStart, start);
  store.trim(store.lightQueue("sub-21234"), 1);
  store.rest(store.lightQueue("sub-21234"));
  await ticks(store, probe);
  t.true(kept(store) < 3, `${kept(store)} segments are left`);
});
