/** What every implementation of the MessageStore seam promises. Called once per implementation. */
import type { ExecutionContext, TestFn } from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import type { MessageStore, StoreQueue } from "../../src/store/message-store.ts";
import { fieldsOf, propertiesOf, StoreProbe } from "../support/store-events.ts";

export type MakeStore = (t: ExecutionContext<unknown>) => () => MessageStore;

/** Bodies of the queue's records `[from, maxOffset)`, read in batches of `step`. */
export function bodiesOf(store: MessageStore, queue: StoreQueue, from = 0, step = 64): string[] {
  const batch = entryBatch(step);
  const view = new RecordView();
  const out: string[] = [];
  for (let at = from; at < queue.maxOffset; ) {
    const count = store.read(queue, at, step, batch);
    if (count === 0) throw new Error(`${queue.topic}: nothing to read at ${at}`);
    for (let i = 0; i < count; i++) {
      const isThere = store.view(batch.physicalOffset[i]!, batch.size[i]!, view);
      out.push(
        isThere
          ? view.buffer.toString("latin1", view.bodyStart, view.bodyEnd)
          : `missing ${at + i}`,
      );
    }
    at += count;
  }
  return out;
}

/** `make` gives a function that opens the same data each time it is called; `persists`: also after close. */
export function messageStoreSuite(
  name: string,
  test: TestFn<unknown>,
  make: MakeStore,
  persists: boolean,
): void {
  test(`${name}: what is appended to a queue is read from it in order, with every field`, async (t) => {
    const store = make(t)();
    t.teardown(() => store.close());
    const probe = new StoreProbe();
    await store.open(probe);
    const queue = store.queue("orders", 3);
    t.is(queue.maxOffset, 0);
    for (let i = 0; i < 500; i++) {
      store.append(
        queue,
        fieldsOf(`body ${i}`, {
          ...propertiesOf({ TAGS: "blue", a: `${i}` }),
          tagHash: i - 250,
          flag: 0x1234,
          reconsumeTimes: 2,
          preparedTransactionOffset: 2 ** 40 + 5,
          bornTimestamp: 1_700_000_000_123,
        }),
      );
    }
    store.publish(true);
    t.is(queue.maxOffset, 500);
    await probe.durable(store, store.watermarks.appended);
    const batch = entryBatch(64);
    t.is(store.read(queue, 490, 64, batch), 10);
    t.is(batch.tagHash[0], 240);
    const some = Float64Array.of(3, 4, 17, 250, 251, 499, 500, 501);
    t.is(store.readEach(queue, some, 8, batch), 6, "as far as there are entries");
    t.deepEqual([...batch.tagHash.subarray(0, 6)], [-247, -246, -233, 0, 1, 249]);
    t.is(store.read(queue, 10, 64, batch), 64);
    t.is(batch.tagHash[0], -240);
    const view = new RecordView();
    t.true(store.view(batch.physicalOffset[1]!, batch.size[1]!, view));
    t.is(view.topic, "orders");
    t.is(view.queueId, 3);
    t.is(view.queueOffset, 11);
    t.is(view.physicalOffset, batch.physicalOffset[1]!);
    t.is(view.flag, 0x1234);
    t.is(view.reconsumeTimes, 2);
    t.is(view.bornTimestamp, 1_700_000_000_123);
    t.is(view.property("a"), "11");
    t.is(view.property("TAGS"), "blue");
    t.true(Math.abs(Date.now() - view.storeTimestamp) < 60_000);
    t.deepEqual(
      bodiesOf(store, queue),
      Array.from({ length: 500 }, (_, i) => `body ${i}`),
    );
  });

  test(`${name}: positions grow, and the watermarks reach them without a further call`, async (t) => {
    const store = make(t)();
    t.teardown(() => store.close());
    const probe = new StoreProbe();
    await store.open(probe);
    const queue = store.queue("q", 0);
    let last = store.watermarks.appended;
    for (let i = 0; i < 20; i++) {
      const position = store.append(queue, fieldsOf("x".repeat(i * 100)));
      t.true(position > last);
      last = position;
    }
    t.is(store.watermarks.appended, last);
    store.publish(false);
    await probe.until("written", () => store.watermarks.written >= last);
    store.publish(true);
    await probe.durable(store, last);
    t.true(store.watermarks.written >= store.watermarks.durable);
  });

  test(`${name}: a record dispatched to light queues is stored once and read from each of them`, async (t) => {
    const store = make(t)();
    t.teardown(() => store.close());
    const probe = new StoreProbe();
    await store.open(probe);
    const topic = store.queue("news", 0);
    const lights = ["a", "b", "c"].map((light) => store.lightQueue(light));
    for (let i = 0; i < 300; i++) {
      const dispatch = lights.filter((_, k) => i % (k + 1) === 0);
      store.append(topic, fieldsOf(`n${i}`, { dispatch }));
    }
    store.publish(false);
    await probe.until("written", () => store.watermarks.written === store.watermarks.appended);
    t.is(lights[0]!.maxOffset, 300);
    t.is(lights[1]!.maxOffset, 150);
    t.is(lights[2]!.maxOffset, 100);
    t.true(lights[0]!.isLight);
    t.deepEqual(
      bodiesOf(store, lights[2]!),
      Array.from({ length: 100 }, (_, i) => `n${i * 3}`),
    );
    t.is(store.lightQueue("b"), lights[1]!);
    t.is(store.queue("news", 0), topic);
    t.is([...store.queues()].length, 4);
  });

  test(`${name}: a queue that was let go is the same when it is asked for again`, async (t) => {
    const store = make(t)();
    t.teardown(() => store.close());
    const probe = new StoreProbe();
    await store.open(probe);
    const expected: string[] = [];
    for (let round = 0; round < 3; round++) {
      const topic = store.queue("news", 0);
      const light = store.lightQueue("sub");
      store.append(topic, fieldsOf(`n${round}`, { dispatch: [light] }));
      expected.push(`n${round}`);
      store.publish(true);
      await probe.until("durable", () => store.watermarks.durable === store.watermarks.appended);
      store.rest(topic);
      store.rest(light);
      t.deepEqual(bodiesOf(store, store.queue("news", 0)), expected);
      t.deepEqual(bodiesOf(store, store.lightQueue("sub")), expected);
      t.is([...store.queues()].length, 2);
    }
  });

  test(`${name}: a batch gets positions that grow and is read like other records`, async (t) => {
    const store = make(t)();
    t.teardown(() => store.close());
    const probe = new StoreProbe();
    await store.open(probe);
    const queue = store.queue("q", 0);
    store.append(queue, fieldsOf("before"));
    store.beginAtomic();
    for (let i = 0; i < 12; i++) store.append(queue, fieldsOf(`in ${i}`));
    const position = store.endAtomic();
    store.append(queue, fieldsOf("after"));
    store.publish(true);
    await probe.durable(store, position);
    t.deepEqual(bodiesOf(store, queue), [
      "before",
      ...Array.from({ length: 12 }, (_, i) => `in ${i}`),
      "after",
    ]);
  });

  test(`${name}: bodies from nothing to a few MiB come back byte for byte`, async (t) => {
    const store = make(t)();
    t.teardown(() => store.close());
    const probe = new StoreProbe();
    await store.open(probe);
    const queue = store.queue("big", 0);
    const bodies: Buffer[] = [];
    let position = 0;
    for (const size of [0, 1, 33, 1000, 70_000, 400_000, 3_000_000, 10, 6_000_000, 5]) {
      const body = Buffer.alloc(size);
      for (let i = 0; i < size; i++) body[i] = (i * 31 + size) & 0xff;
      bodies.push(body);
      await probe.until("room", () => store.hasRoom(size + 1000));
      position = store.append(queue, fieldsOf(body));
      store.publish(true);
    }
    await probe.durable(store, position);
    const found = bodiesOf(store, queue);
    for (let i = 0; i < bodies.length; i++) {
      t.is(found[i]!.length, bodies[i]!.length);
      t.true(Buffer.from(found[i]!, "latin1").equals(bodies[i]!), `body ${i}`);
    }
  });

  test(`${name}: a dropped queue begins anew`, async (t) => {
    const store = make(t)();
    t.teardown(() => store.close());
    await store.open(new StoreProbe());
    const queue = store.queue("t", 0);
    const light = store.lightQueue("l");
    store.append(queue, fieldsOf("old", { dispatch: [light] }));
    store.publish(false);
    store.dropQueue(queue);
    store.dropQueue(light);
    t.is([...store.queues()].length, 0);
    const again = store.queue("t", 0);
    t.not(again, queue);
    t.is(again.maxOffset, 0);
    t.is(store.lightQueue("l").maxOffset, 0);
    store.append(again, fieldsOf("new"));
    store.publish(false);
    t.deepEqual(bodiesOf(store, again), ["new"]);
  });

  test(`${name}: trim raises minOffset and never beyond the end`, async (t) => {
    const store = make(t)();
    t.teardown(() => store.close());
    await store.open(new StoreProbe());
    const queue = store.queue("t", 0);
    for (let i = 0; i < 10; i++) store.append(queue, fieldsOf("x"));
    store.publish(false);
    store.trim(queue, 4);
    t.is(queue.minOffset, 4);
    store.trim(queue, 2);
    t.is(queue.minOffset, 4);
    store.trim(queue, 10);
    t.is(queue.minOffset, 10);
  });

  if (!persists) return;

  test(`${name}: after close and open everything is where it was`, async (t) => {
    const open = make(t);
    const first = open();
    await first.open(new StoreProbe());
    const queue = first.queue("orders", 1);
    const light = first.lightQueue("sub");
    for (let i = 0; i < 1000; i++) {
      first.append(queue, fieldsOf(`m${i}`, { dispatch: i % 2 === 0 ? [light] : null }));
      if (i % 10 === 9) first.publish(false);
    }
    const end = first.watermarks.appended;
    await first.close();

    const second = open();
    t.teardown(() => second.close());
    const probe = new StoreProbe();
    const report = await second.open(probe);
    t.is(report.truncatedBytes, 0);
    t.is(report.quarantinedRecords, 0);
    t.is(second.watermarks.appended, end);
    t.is(second.watermarks.durable, end);
    const again = second.queue("orders", 1);
    t.is(again.maxOffset, 1000);
    t.deepEqual(
      bodiesOf(second, again),
      Array.from({ length: 1000 }, (_, i) => `m${i}`),
    );
    t.deepEqual(
      bodiesOf(second, second.lightQueue("sub")),
      Array.from({ length: 500 }, (_, i) => `m${i * 2}`),
    );
    const position = second.append(again, fieldsOf("more"));
    second.publish(true);
    await probe.durable(second, position);
    t.deepEqual(bodiesOf(second, again, 999), ["m999", "more"]);
  });
}
