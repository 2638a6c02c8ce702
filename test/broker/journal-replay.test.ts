/** After a crash the journal is replayed into packed nodes: what it says of them holds, and nobody is made an object for it. */
import test from "ava";
import type { Broker } from "../../src/broker/broker.ts";
import { CatalogWriter } from "../../src/broker/catalog.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import { JournalReplay } from "../../src/broker/journal-replay.ts";
import { nodeKey } from "../../src/broker/node-key.ts";
import { RestingNodes } from "../../src/broker/resting-nodes.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { StoreQueue } from "../../src/store/message-store.ts";
import { crash, makeStore, openLogBroker } from "../support/log-broker.ts";
import { Random } from "../support/random.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

const COUNT = 300;
const lightName = (i: number): string => `light-${i}`;

async function fill(broker: Broker, count: number): Promise<void> {
  const queues: StoreQueue[] = [];
  for (let i = 0; i < count; i++) queues.push(broker.registry.lightNode(lightName(i)).shards[0]!);
  broker.core.appendNote("", queues);
  broker.requestPublish();
  await settle();
}

for (const hasCheckpoint of [false, true]) {
  const when = hasCheckpoint ? "after" : "before";
  test(`light queues with a message each are at rest after a crash ${when} a checkpoint, and owe it`, async (t) => {
    const disk = new MemoryStorage();
    const first = await openLogBroker(disk, { keepAwake: 0 });
    await fill(first.broker, COUNT);
    const group = first.broker.registry.lightNode(lightName(7)).ownGroup;
    group.shards[0]!.settle(0, 1);
    await until("the journal has the settlement", () => first.broker.settlePosition() === 0);
    await settle();
    if (hasCheckpoint) first.store.tick(true);
    await crash(first.broker);

    const { broker } = await openLogBroker(disk, { keepAwake: 0 });
    const { registry } = broker;
    t.is(registry.awakeCount, 0);
    const { nodes, groups, backlog } = registry.resting.sums.light;
    t.deepEqual([nodes, groups, backlog], [COUNT, COUNT, COUNT - 1]);
    t.is(registry.findLight(lightName(7))!.ownGroup.backlog, 0);
    t.is(registry.findLight(lightName(8))!.ownGroup.backlog, 1);
    t.true(registry.findLight(lightName(8))!.mayExpire, "nobody remembers whether it does");
    t.is(registry.awakeCount, 2);
    await broker.close();
  });
}

test("queues, topics and subscriptions go on after a crash where they were, those in use and those at rest", async (t) => {
  const disk = new MemoryStorage();
  const subscription = { clientId: "c", name: "s", isDurable: true, isShared: false };
  const first = await openLogBroker(disk, { keepAwake: 0 });
  const peer = connect(first.broker, "c");
  consume(peer, topic("news"), { subscription }).consumer.close(OUTCOME.RELEASE);
  for (const name of ["idle", "busy", "gone", "scattered"]) {
    const target = peer.openTarget(queue(name));
    for (const text of ["a", "b", "c"]) if (name !== "idle") target.publish(draft(text));
    target.close();
  }
  await settle();
  const busy = consume(peer, queue("busy"), { credit: 2 });
  const scattered = consume(peer, queue("scattered"), { credit: 3 });
  await settle();
  busy.consumer.settle(0, 0, OUTCOME.ACCEPT);
  scattered.consumer.settle(1, 1, OUTCOME.ACCEPT);
  first.broker.deleteNode(first.broker.registry.find("queue", "/", "gone")!);
  const news = peer.openTarget(topic("news"));
  news.publish(draft("n"));
  news.close();
  await settle();
  await crash(first.broker);

  const { broker } = await openLogBroker(disk, { keepAwake: 0 });
  t.is(broker.registry.size, 4);
  t.true(broker.registry.rests("queue", "/", "idle"));
  const again = connect(broker, "c");
  const read = async (name: string): Promise<string[]> => {
    const reader = consume(again, queue(name));
    await settle();
    return reader.texts;
  };
  t.deepEqual(await read("busy"), ["b", "c"]);
  t.deepEqual(await read("scattered"), ["a", "c"]);
  t.deepEqual(await read("idle"), []);
  t.deepEqual(await read("gone"), []);
  const reader = consume(again, topic("news"), { subscription });
  await settle();
  t.deepEqual(reader.texts, ["n"]);
  await broker.close();
});

test("light nodes go to rest while a snapshot is collected, and it has each of them as it is in the end", async (t) => {
  let late = 0;
  for (let seed = 0; seed < 20; seed++) {
    const random = new Random(seed);
    const disk = new MemoryStorage();
    const { broker, store } = await openLogBroker(disk, { keepAwake: 0 });
    const { registry, core } = broker;
    const expected = new Map<string, readonly [low: number, end: number, backlog: number]>();
    let count = 0;
    const touch = (name: string): void => {
      const node = registry.lightNode(name);
      const progress = node.ownGroup.shards[0]!;
      const { queue, state } = progress;
      if (random.chance(60)) core.appendNote("", [queue]);
      const left = queue.maxOffset - state.low;
      if (left > 0 && random.chance(60)) progress.settle(state.low, 1 + random.below(left));
      // Out of order: bytes do not tell it until what comes before is settled too.
      else if (left > 1 && random.chance(40)) progress.settle(queue.maxOffset - 1, 1);
      expected.set(name, [state.low, queue.maxOffset, progress.backlog]);
    };
    const some = async (isLate: boolean): Promise<void> => {
      for (let i = random.below(12); i > 0; i--) touch(lightName(random.below(count)));
      for (let i = random.below(6); i > 0; i--) touch(lightName(count++));
      broker.requestPublish();
      await settle();
      for (const node of count === 0 ? [] : [...expected.keys()]) {
        if (!random.chance(30)) continue;
        const found = registry.findLight(node)!;
        if (registry.rest(found) && isLate) late++;
      }
    };
    for (let i = 0; i < 6; i++) {
      touch(lightName(count++));
      await some(false);
    }
    const steps = broker.snapshotSteps();
    for (let i = 0; steps.next().done !== true; i++) if (i < 40) await some(true);
    if (random.chance(50)) await some(false);
    broker.requestPublish();
    await until("the journal has the settlements", () => broker.settlePosition() === 0);
    store.publish(true);
    await settle();
    await crash(broker);

    const again = (await openLogBroker(disk, { keepAwake: 0 })).broker;
    t.is([...again.registry.lightNames()].length, expected.size);
    for (const [name, facts] of expected) {
      const { state, queue, backlog } = again.registry.findLight(name)!.ownGroup.shards[0]!;
      t.deepEqual([state.low, queue.maxOffset, backlog], [...facts], `seed ${seed}, ${name}`);
    }
    await again.close();
  }
  t.true(late > 100, `${late} went to rest while one was collected`);
});

/** A journal in memory, and what comes of it. */
function replayed(write: (catalog: CatalogWriter, born: (name: string) => number) => void) {
  const replay = new JournalReplay();
  const catalog = new CatalogWriter({
    append(bytes, start, end) {
      replay.apply(Buffer.from(bytes.subarray(start, end)));
      return 0;
    },
  });
  const disk = new MemoryStorage();
  return openLogBroker(disk).then(async ({ broker }) => {
    const journal = broker.store.journal;
    let id = 0;
    const born = (name: string): number => {
      const append = journal.append.bind(journal);
      Object.assign(journal, {
        append(bytes: Uint8Array, start: number, end: number): number {
          replay.apply(Buffer.from(bytes.subarray(start, end)));
          return append(bytes, start, end);
        },
      });
      id = broker.registry.lightNode(name).id;
      Object.assign(journal, { append });
      return id;
    };
    write(catalog, born);
    await broker.close();
    return replay;
  });
}

test("a node that is told twice only ever gets further, and one that is unpacked is there once", async (t) => {
  const replay = await replayed((catalog, born) => {
    born("a");
    catalog.low(1, 5);
    catalog.endLows();
    born("b");
    catalog.run(2, 3, 2);
    catalog.endRuns();
  });
  const key = (name: string): string => nodeKey("light", "/", name);
  t.true(replay.packed.find(key("a")) >= 0);
  t.is(replay.packed.find(key("b")), -1);
  t.deepEqual([...replay.image.ids.keys()], [key("b")]);
  const a = new RestingNodes(replay.packed).image(key("a"))!;
  t.is([...a.progress.values()][0]!.state.low, 5);
  t.is([...replay.image.progress.values()][0]!.state.backlog(10), 8);
  t.is([...replay.used].length, 1);
});

test("a store tells of a queue without waking it", async (t) => {
  const store = makeStore(new MemoryStorage());
  await store.open({ onWatermark() {}, onRoom() {}, onHealth() {}, onReadable() {} });
  const range = { minOffset: -1, maxOffset: -1 };
  store.rangeOf("q", 0, false, range);
  t.deepEqual(range, { minOffset: 0, maxOffset: 0 });
  store.trim(store.queue("q", 0), 3);
  store.rangeOf("q", 0, false, range);
  t.is(range.maxOffset, 3);
  store.rangeOf("q", 0, true, range);
  t.is(range.maxOffset, 0);
  await store.close();
});
